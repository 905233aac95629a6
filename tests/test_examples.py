"""The examples and benchmarks run as a user would run them, on little data."""

import json
import os
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
    data = load_omniglot_minimal()
    for name, alphabet, n_classes in (
        ("images_background", "Greek", 6),
        ("images_evaluation", "Korean", 20),
    ):
        labels = np.unique(data.target[data.alphabets == alphabet])[:n_classes]
        with zipfile.ZipFile(home / f"{name}.zip", "w") as archive:
            for label in labels:
                for row in np.flatnonzero(data.target == label)[:4]:
                    png = BytesIO()
                    Image.fromarray(255 * (1 - data.images[row])).convert("1").save(png, "PNG")
                    file = f"{name}/{label}/0001_{data.drawers[row]:02d}.png"
                    archive.writestr(file, png.getvalue())
    return home


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


def test_omniglot_20way_runs_from_a_folder_of_zips(tmp_path, data_home):
    arguments = ["--data-home", str(data_home), "--epochs", "1"]
    out = run("examples/omniglot_20way.py", *arguments, cwd=tmp_path)
    assert "24 drawings of 6 characters from 1 alphabets" in out
    assert out.count("400 trials") == 2


def test_accuracy_benchmark_writes_the_protocol_beside_the_figures(tmp_path, data_home):
    arguments = ["background", "--epochs", "1", "--seeds", "0", "1"]
    arguments += ["--data-home", str(data_home)]
    run("benchmarks/accuracy.py", *arguments, cwd=tmp_path, SKSIAMESE_RESULTS=str(tmp_path))
    record = json.loads((tmp_path / "accuracy_background.json").read_text())
    assert "within alphabet" in record["protocol"] and "2 seeds" in record["protocol"]
    scores = [row["official"] for row in record["seeds"]]
    assert record["official_mean"] == pytest.approx(np.mean(scores))
    low, high = record["official_mean_interval_95"]
    assert low < record["official_mean"] < high
    assert record["nearest_neighbour_on_pixels"]["official"] == pytest.approx(0.19)
    assert {"processor", "cores", "torch", "torch_threads"} <= record["machine"].keys()


def test_speed_benchmark_reports_ratios(tmp_path):
    run("benchmarks/speed.py", "--rounds", "1", cwd=tmp_path, SKSIAMESE_RESULTS=str(tmp_path))
    record = json.loads((tmp_path / "speed.json").read_text())
    assert record["predict"]["ratio"] > 0 and record["step"]["ratio"] > 0
