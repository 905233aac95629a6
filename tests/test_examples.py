"""The examples and benchmarks run as a user would run them, on little data."""

import json
import os
import re
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sksiamese.datasets import load_omniglot_minimal

ROOT = Path(__file__).parents[1]


def run(script, *arguments, cwd, **environment):
    """Output of a script in a process of its own; an error shows what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data_home(tmp_path_factory):
    """A folder with Omniglot zips of a few drawings, in the release's layout."""
    home = tmp_path_factory.mktemp("omniglot")
    write_zip(home, "images_background", [("Greek", "Greek", 6)])
    write_zip(home, "images_evaluation", [("Korean", "Korean", 20)])
    return home


def write_zip(home, name, alphabets):
    """A zip of the release with four drawings of each character of (alphabet, called, number)."""
    data = load_omniglot_minimal()
    with zipfile.ZipFile(home / f"{name}.zip", "w") as archive:
        for alphabet, called, n_classes in alphabets:
            for label in np.unique(data.target[data.alphabets == alphabet])[:n_classes]:
                for row in np.flatnonzero(data.target == label)[:4]:
                    png = BytesIO()
                    Image.fromarray(255 * (1 - data.images[row])).convert("1").save(png, "PNG")
                    folder = str(label).replace(alphabet, called, 1)
                    file = f"{name}/{folder}/0001_{data.drawers[row]:02d}.png"
                    archive.writestr(file, png.getvalue())


def test_quickstart_trains_scores_both_and_draws_a_trial(tmp_path):
    out = run("examples/plot_quickstart.py", "--epochs", "1", cwd=tmp_path)
    assert "2720 drawings of 136 characters from 5 alphabets" in out
    twin, pixels = (line for line in out.splitlines() if "20-way 1-shot" in line)
    assert "95 % interval" in twin and "400 trials" in twin
    assert "19.0 %" in pixels
    # One epoch is little, but twenty characters by chance are 5 %.
    assert float(twin.split(":")[1].split("%")[0]) > 25
    picture = Image.open(tmp_path / "quickstart.png")
    assert min(picture.size) > 300
    assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_verification_by_the_twin_that_ships(tmp_path):
    out = run("examples/plot_verification.py", cwd=tmp_path)
    assert "chosen on 4000 pairs of background alphabets" in out
    assert float(re.search(r"accuracy ([\d.]+) %", out)[1]) > 96
    assert float(re.search(r"ROC curve ([\d.]+)", out)[1]) > 0.99
    assert min(Image.open(tmp_path / "verification.png").size) > 300


def test_open_world_rejects_what_it_does_not_know(tmp_path):
    out = run("examples/plot_open_world.py", "--epochs", "1", cwd=tmp_path)
    assert "400 queries of the 20 official runs, 200 of known characters" in out
    assert float(re.search(r"known against unknown: ([\d.]+)", out)[1]) > 0.6
    assert min(Image.open(tmp_path / "open_world.png").size) > 300


def test_own_images_in_colour_from_folders(tmp_path):
    out = run("examples/plot_own_images.py", "--epochs", "8", cwd=tmp_path)
    assert "600 images of 50 classes, 10 of them held out" in out
    twin, pixels = (
        [float(number) for number in re.findall(r"[\d.]+", line.split(":")[1])]
        for line in out.splitlines()
        if "10-way 1-shot" in line
    )
    assert twin[2] > pixels[3]  # the intervals do not meet
    assert min(Image.open(tmp_path / "own_images.png").size) > 300


def write_folder(folder, n_classes, n_images):
    """A folder of as many coloured images for each class."""
    for label in range(n_classes):
        for number in range(n_images):
            path = folder / f"kind{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20 + number, 20), (25 * label, 80, 200)).save(path)


@pytest.mark.parametrize("n_classes", [4, 10])
def test_own_images_of_few_classes(tmp_path, n_classes):
    write_folder(tmp_path / "parts", n_classes, 6)
    arguments = ["--folder", "parts", "--epochs", "1"]
    out = run("examples/plot_own_images.py", *arguments, cwd=tmp_path)
    assert f"{6 * n_classes} images of {n_classes} classes, 2 of them held out" in out
    assert "2-way 1-shot" in out


def test_own_images_say_what_a_folder_lacks(tmp_path):
    write_folder(tmp_path / "few", 3, 2)
    write_folder(tmp_path / "single", 5, 1)
    for folder, message in (
        ("missing", "--folder: path='missing' is no folder"),
        ("few", "--folder has 3 classes of two or more images; expected at least four"),
        ("single", "--folder has 0 classes of two or more images"),
    ):
        command = [sys.executable, str(ROOT / "examples/plot_own_images.py"), "--folder", folder]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stderr and "Traceback" not in done.stderr


def test_text_by_topic_beats_nearest_neighbour_on_the_same_features(tmp_path):
    out = run("examples/text_topics.py", cwd=tmp_path)
    twin, nearest, normalized = (
        [float(number) for number in re.findall(r"[\d.]+", line.split(":")[1])]
        for line in out.splitlines()
        if "5-way" in line
    )
    assert twin[0] > normalized[0]
    assert twin[2] > nearest[3]  # the intervals do not meet


def test_omniglot_20way_runs_from_a_folder_of_zips(tmp_path, data_home):
    arguments = ["--data-home", str(data_home), "--epochs", "1"]
    out = run("examples/omniglot_20way.py", *arguments, cwd=tmp_path)
    assert "24 drawings of 6 characters from 1 alphabets" in out
    assert out.count("400 trials") == 2


def accuracy(*arguments, cwd, data_home):
    """Rows that the accuracy benchmark writes."""
    arguments += ("--data-home", str(data_home))
    run("benchmarks/accuracy.py", *arguments, cwd=cwd, SKSIAMESE_RESULTS=str(cwd))
    return json.loads((cwd / "accuracy.json").read_text())


def test_accuracy_benchmark_writes_a_row_a_model_and_seed(tmp_path, data_home):
    quick = ["--epochs", "1", "--protocols", "official", "verification"]
    rows = accuracy("default", "--seeds", "0", "1", *quick, cwd=tmp_path, data_home=data_home)
    assert [(row["model"], row["seed"]) for row in rows] == [("default", 0), ("default", 1)]
    for row in rows:
        official, verification = row["scores"]["official"], row["scores"]["verification"]
        assert official["low"] < official["accuracy"] < official["high"]
        assert official["n"] == 400
        assert verification["n"] == 20_000
        assert verification["auc"] > verification["accuracy"] > 0.5
        assert verification["equal_error"] == pytest.approx(1 - verification["accuracy"], abs=0.1)
        assert "max_iter=1" in row["estimator"] and row["parameters"] > 100_000
        assert {"processor", "cores", "torch", "torch_threads"} <= row["machine"].keys()
    rows = accuracy("default", "pixels", "--seeds", "1", *quick, cwd=tmp_path, data_home=data_home)
    assert [row["model"] for row in rows] == ["default", "default", "pixels"]
    assert rows[-1]["scores"]["official"]["accuracy"] == pytest.approx(0.19)
    assert "verification" not in rows[-1]["scores"]  # pixels have no logit of a pair


def test_accuracy_benchmark_tells_transductive_figures_apart(tmp_path, data_home):
    protocols = ["official", "within_20", "official_assigned", "within_20_assigned"]
    arguments = ["default", "--epochs", "1", "--protocols", *protocols]
    (row,) = accuracy(*arguments, cwd=tmp_path, data_home=data_home)
    scores = {name: row["scores"][name]["accuracy"] for name in protocols}
    assert scores["official_assigned"] > scores["official"]
    assert row["scores"]["within_20"]["n"] == row["scores"]["within_20_assigned"]["n"] == 4000
    page = ROOT / "docs" / "results.md"
    inductive, transductive = page.read_text().split("## Transductive")
    assert "official runs, assigned |" in transductive
    assert "official runs, assigned |" not in inductive


def test_the_page_of_results_is_made_of_the_results(monkeypatch, tmp_path):
    """Nothing in it was written by hand."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import page

    made = {
        "PAGE": "docs/results.md",
        "CARD": "sksiamese/weights/omniglot.md",
        "README": "README.md",
    }
    for name in made:
        monkeypatch.setattr(page, name, tmp_path / name)
    (tmp_path / "README").write_text((ROOT / "README.md").read_text())
    page.write_page(json.loads((ROOT / "benchmarks/results/accuracy.json").read_text()))
    for name, path in made.items():
        assert (tmp_path / name).read_text() == (ROOT / path).read_text()


def test_search_trains_on_some_alphabets_and_scores_others(tmp_path):
    write_zip(tmp_path, "images_background", [("Greek", "Greek", 6), ("Korean", "Hebrew", 20)])
    arguments = ["window 2", "--epochs", "1", "--data-home", str(tmp_path)]
    out = run("benchmarks/search.py", *arguments, cwd=tmp_path, SKSIAMESE_RESULTS=str(tmp_path))
    (row,) = json.loads((tmp_path / "search.json").read_text())
    assert (row["variant"], row["seed"]) == ("window 2", 0)
    assert row["variant"] in out
    assert "max_iter=1" in row["estimator"] and "'window': 2" in row["estimator"]
    assert row["low"] < row["accuracy"] < row["high"]
    assert row["accuracy"] > 0.1  # twenty characters that it has not seen; chance is 0.05


def test_the_page_of_the_search_is_made_of_its_results(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import search

    monkeypatch.setattr(search, "PAGE", tmp_path / "search.md")
    search.write_page(json.loads((ROOT / "benchmarks/results/search.json").read_text()))
    assert (tmp_path / "search.md").read_text() == (ROOT / "docs/search.md").read_text()


def test_the_paper_s_recipe_scaled_down_says_so(tmp_path, data_home):
    scale = ["--side", "65", "--pairs", "8", "--batch-size", "4", "--minutes", "0.01"]
    arguments = ["--recipe", "keras2017", *scale, "--data-home", str(data_home)]
    run("benchmarks/koch2015.py", *arguments, cwd=tmp_path, SKSIAMESE_RESULTS=str(tmp_path))
    record = json.loads((tmp_path / "keras2017_8.json").read_text())
    assert record["scaled"] and record["epochs"] < 200
    assert {"official", "within_20", "verification"} == record["scores"].keys()
    assert record["scores"]["official"]["n"] == 400


def test_pretrained_reads_strokes_in_seconds(tmp_path):
    out = run("examples/plot_pretrained.py", cwd=tmp_path)
    right, total = [int(word) for word in out.split() if word.isdigit()][:2]
    assert right / total > 0.9
    assert min(Image.open(tmp_path / "pretrained.png").size) > 300


def test_speed_benchmark_reports_ratios(tmp_path):
    run("benchmarks/speed.py", "--rounds", "1", cwd=tmp_path, SKSIAMESE_RESULTS=str(tmp_path))
    record = json.loads((tmp_path / "speed.json").read_text())
    assert all(record[name]["ratio"] > 0 for name in ("predict", "step", "growing"))


def test_digits_benchmark_and_what_the_limits_quote_of_it(tmp_path):
    run("benchmarks/digits.py", "--splits", "1", cwd=tmp_path, SKSIAMESE_RESULTS=str(tmp_path))
    record = json.loads((tmp_path / "digits.json").read_text())
    assert record["scores"]["1-NN"]["n"] == 1000
    committed = json.loads((ROOT / "benchmarks/results/digits.json").read_text())
    assert committed["scores"].keys() == record["scores"].keys()
    limits = (ROOT / "docs/limits.md").read_text()
    for name, score in committed["scores"].items():
        assert f"{100 * score['accuracy']:.1f}" in limits or name == "as it starts"


def test_open_world_benchmark_measures_rejection_and_calibration(tmp_path):
    write_zip(tmp_path, "images_background", [("Greek", "Greek", 12), ("Latin", "Latin", 12)])
    write_zip(tmp_path, "images_evaluation", [("Korean", "Korean", 20)])
    arguments = ["--epochs", "1", "--episodes", "10", "--data-home", str(tmp_path)]
    arguments += ["--picture", "reliability.png"]
    run("benchmarks/open_world.py", *arguments, cwd=tmp_path, SKSIAMESE_RESULTS=str(tmp_path))
    record = json.loads((tmp_path / "open_world.json").read_text())
    held_out, shipped = record["twins"]["held out"], record["twins"]["shipped"]
    assert shipped["official"]["auroc"] > 0.95 > held_out["official"]["auroc"] > 0.5
    assert shipped["resampled"]["n"] == 200
    assert 0 < held_out["official"]["false_acceptance"] < 1
    assert record["seen_or_not"]["alphabets"] in (["Greek"], ["Latin"])
    own = record["seen_or_not"]["held out"]  # by what has calibrated it: the same again
    assert (own["slope"], own["intercept"]) == (held_out["slope"], held_out["intercept"])
    for twin in held_out, shipped:
        for curve in twin["before"], twin["after"]:
            assert len(curve["said"]) == len(curve["was"]) <= 15
            assert curve["error"] <= max(np.abs(np.subtract(curve["said"], curve["was"]))) + 1e-4
    assert set(record["seen_or_not"]["intercepts"]) == {"Greek", "Latin"}
    assert min(Image.open(tmp_path / "reliability.png").size) > 300
