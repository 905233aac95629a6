"""The command line: what it writes, and how it fails."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sksiamese import SiameseOneShotClassifier
from sksiamese._cli import main
from sksiamese.datasets import make_glyphs


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """known/ and new/, a folder a class; support/, the first of each new class; query/."""
    X, y = make_glyphs(n_classes=12, n_samples=6, image_size=24, random_state=0)
    images = (255 * (X - X.min()) / (X.max() - X.min())).astype(np.uint8)
    root = tmp_path_factory.mktemp("images")
    (root / "query").mkdir()
    for n, (image, label) in enumerate(zip(images, y, strict=True)):
        kind = "known" if label < 8 else "new"
        places = [root / kind / f"c{label}" / f"{n}.png"]
        if kind == "new":
            first = n % 6 == 0
            places.append(root / (f"support/c{label}" if first else "query") / f"c{label}_{n}.png")
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place)
    return root


@pytest.fixture(scope="module")
def twin(folders):
    path = folders / "twin.safetensors"
    assert main(["train", str(folders / "known"), "-o", str(path), "--epochs", "8"]) == 0
    return path


@pytest.fixture(scope="module")
def rows(folders):
    """A twin of a table."""
    path = folders / "rows.safetensors"
    X, y = np.random.default_rng(0).normal(size=(12, 9)), np.repeat([0, 1, 2], 4)
    SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, y).save(path)
    return path


def label(folders, capsys, *more):
    status = main(
        ["label", "--support", str(folders / "support"), "--query", str(folders / "query"), *more]
    )
    out, err = capsys.readouterr()
    return status, list(csv.reader(out.splitlines())), err


def test_training_writes_a_twin_without_a_support(twin):
    clf = SiameseOneShotClassifier.load(twin)
    assert clf.support_ is None
    assert clf.input_shape_ == (1, 24, 24)
    assert clf.n_iter_ == 8


def test_labels_are_written_as_csv(folders, twin, capsys):
    status, rows, err = label(folders, capsys, "--twin", str(twin))
    assert (status, err) == (0, "")
    assert rows[0] == ["file", "label", "probability"]
    assert len(rows) == 1 + 4 * 5
    right = [row[0].split("/")[-1].split("_")[0] == row[1] for row in rows[1:]]
    assert np.mean(right) > 0.5  # chance is a quarter
    assert all(0.25 <= float(row[2]) <= 1 for row in rows[1:])


def test_the_twin_that_ships_labels_without_training(folders, capsys, tmp_path):
    status, rows, _ = label(folders, capsys, "--image-shape", "32", "32")
    assert status == 0
    assert len(rows) == 21
    status, rows, _ = label(folders, capsys, "-o", str(tmp_path / "labels.csv"))
    assert (status, rows) == (0, [])
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 21
    assert not list(tmp_path.glob("*.part"))


def test_a_twin_that_rejects_says_unknown(folders, twin, capsys):
    clf = SiameseOneShotClassifier.load(twin)
    clf.unknown_label, clf.threshold_ = "none of them", np.inf
    path = folders / "rejecting.safetensors"
    clf.save(path)
    status, rows, _ = label(folders, capsys, "--twin", str(path))
    assert status == 0
    assert {tuple(row[1:]) for row in rows[1:]} == {("none of them", "")}


def test_a_twin_of_colours_reads_files_as_it_needs(folders, capsys):
    X, y = make_glyphs(n_classes=4, n_samples=3, image_size=24, random_state=0)
    X = np.repeat(X[:, None], 3, axis=1)
    path = folders / "colours.safetensors"
    clf = SiameseOneShotClassifier(channels="first", max_iter=1, random_state=0).fit(X, y)
    clf.save(path)
    status, rows, err = label(folders, capsys, "--twin", str(path))
    assert (status, len(rows), err) == (0, 21, "")


def test_who_stops_reading_gets_no_traceback(folders, twin):
    command = [sys.executable, "-m", "sksiamese", "label", "--twin", str(twin)]
    command += ["--support", str(folders / "support"), "--query", str(folders / "query")]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.close()
    assert run.stderr.read() == b""
    run.stderr.close()
    assert run.wait() == 1


def test_evaluation_says_its_protocol(folders, twin, capsys):
    arguments = [
        "evaluate",
        str(folders / "new"),
        "--twin",
        str(twin),
        "--way",
        "3",
        "--seed",
        "7",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "3-way 1-shot, unstructured, 60 trials, seed 7" in out
    assert main(arguments) == 0
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere", "-o", "twin"], "path='nowhere' is no folder"),
        (["train", "{known}", "-o", "no/where/twin"], "--output no/where/twin cannot be written"),
        (["train", "{known}", "-o", "{root}"], "is a folder; expected the name of a file"),
        (["train", "{known}", "-o", ""], "is a folder; expected the name of a file"),
        (
            ["label", "--support", "{support}", "--query", "{support}", "--twin", "{rows}"],
            "takes flat rows of 9 features; expected one that takes gray or RGB images",
        ),
        (
            ["evaluate", "{new}", "--twin", "{twin}", "--image-shape", "8", "8"],
            "--image-shape 8 8, but --twin",
        ),
        (
            [
                "label",
                "--support",
                "{support}",
                "--query",
                "{query}",
                "--twin",
                "{twin}",
                "-o",
                "{root}",
            ],
            "is a folder; expected the name of a file",
        ),
        (["evaluate", "{new}", "--twin", "nowhere"], "there is no file nowhere"),
        (["evaluate", "{new}", "--way", "9"], "9"),
        (["label", "--support", "{support}", "--query", "nowhere"], "nowhere is no folder"),
        (["label", "--support", "{support}", "--query", "{support}"], "has no images"),
    ],
)
def test_errors_are_one_line_and_status_one(folders, twin, rows, arguments, message, capsys):
    names = {name: folders / name for name in ("known", "new", "support", "query")}
    names |= {"root": folders, "twin": twin, "rows": rows}
    assert main([part.format(**names) for part in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"sksiamese {arguments[0]}: ")
    assert message in err
    assert "Traceback" not in err


def test_advice_is_in_words_of_the_command_line(tmp_path, capsys):
    for name, size in (("a", 8), ("b", 9)):
        (tmp_path / name).mkdir()
        Image.new("L", (size, size)).save(tmp_path / name / "1.png")
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "twin")]) == 1
    assert "by --image-shape HEIGHT WIDTH" in capsys.readouterr().err
    (tmp_path / "b/1.png").write_bytes(b"none")
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "twin")]) == 1
    assert "pass --on-error skip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "usage: sksiamese train"),
        (
            ["train", "x", "-o", "y", "--epochs", "0"],
            "--epochs: 0; expected a whole number from 1",
        ),
        (["train", "x", "-o", "y", "--seed", "-1"], "--seed: -1; expected a whole number from 0"),
        (["evaluate", "x", "--way", "one"], "--way: one; expected a whole number from 2"),
    ],
)
def test_wrong_usage_is_status_two(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_standard_output_has_a_name_too(folders, twin):
    arguments = ["label", "--support", str(folders / "support"), "--query", str(folders / "query")]
    command = [sys.executable, "-m", "sksiamese", *arguments, "--twin", str(twin)]
    out = subprocess.run([*command, "-o", "/dev/stdout"], stdout=subprocess.PIPE, check=True)
    assert out.stdout.startswith(b"file,label,probability")


def test_a_pipe_is_written_to_and_stays_one(folders, twin, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    arguments = ["label", "--support", str(folders / "support"), "--query", str(folders / "query")]
    command = [sys.executable, "-m", "sksiamese", *arguments, "--twin", str(twin), "-o", str(pipe)]
    with subprocess.Popen(command) as run:
        assert pipe.read_text().startswith("file,label,probability")
    assert run.returncode == 0
    assert pipe.is_fifo()


def test_no_twin_is_trained_for_what_it_cannot_be_written_to(folders, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert main(["train", str(folders / "known"), "-o", str(tmp_path / "pipe")]) == 1
    assert "pipe is no ordinary file" in capsys.readouterr().err


def test_it_runs_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "sksiamese", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "0.1.0"
