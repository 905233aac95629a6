"""The command line: what it writes, and how it fails."""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import entry_points

import numpy as np
import pytest
from PIL import Image

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import load_image_folder, load_images, make_glyphs
from sksiamese.datasets.folder import image_files

(command_line,) = set(entry_points(group="console_scripts", name="sksiamese"))
main = command_line.load()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """known/ and new/, a folder per class; support/, the first of each new class; query/."""
    X, y = make_glyphs(n_classes=12, n_samples=6, image_size=24, random_state=0)
    root = tmp_path_factory.mktemp("images")
    (root / "query").mkdir()
    for n, (image, label) in enumerate(zip(X, y, strict=True)):
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
def network(folders):
    path = folders / "network.safetensors"
    assert main(["train", str(folders / "known"), "-o", str(path), "--epochs", "8"]) == 0
    return path


@pytest.fixture(scope="module")
def of_rows(folders):
    """A network of flat rows."""
    path = folders / "rows.safetensors"
    X, y = np.random.default_rng(0).normal(size=(12, 9)), np.repeat([0, 1, 2], 4)
    SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, y).save(path)
    return path


def label_arguments(folders, *more):
    return ["label", "--support", f"{folders}/support", "--query", f"{folders}/query", *more]


def label(folders, capsys, *more):
    status = main(label_arguments(folders, *more))
    out, err = capsys.readouterr()
    return status, list(csv.reader(out.splitlines())), err


def invert_files(folder):
    for path in folder.rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def test_train_writes_a_network_without_a_support(network):
    clf = SiameseOneShotClassifier.load(network)
    assert not hasattr(clf, "support_")
    assert clf.input_shape_ == (1, 24, 24)
    assert clf.n_iter_ == 8


@pytest.mark.parametrize(
    ("options", "shape"),
    [(["--resize", "16", "20"], (1, 16, 20)), (["--color"], (3, 24, 24))],
)
def test_train_reads_files_as_the_options_say(folders, tmp_path, options, shape):
    path = tmp_path / "network.safetensors"
    arguments = ["train", str(folders / "known"), "-o", str(path), "--epochs", "1", *options]
    assert main(arguments) == 0
    assert SiameseOneShotClassifier.load(path).input_shape_ == shape


def test_train_uses_the_recipe(folders, tmp_path, capsys):
    path = tmp_path / "network.safetensors"
    arguments = ["train", str(folders / "known"), "-o", str(path), "--epochs", "1"]
    assert main([*arguments, "--recipe", "omniglot"]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: 48 images, loss ")
    assert SiameseOneShotClassifier.load(path).head == "aligned"


@pytest.mark.parametrize("terminal", [True, False])
def test_train_shows_progress_on_a_terminal(folders, tmp_path, capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    path = tmp_path / "network.safetensors"
    assert main(["train", str(folders / "known"), "-o", str(path), "--epochs", "2"]) == 0
    err = capsys.readouterr().err
    assert "2/2" in err and "loss=" in err if terminal else err == ""
    assert SiameseOneShotClassifier.load(path).verbose == 0


def test_train_checks_the_output_first(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert main(["train", "nowhere", "-o", str(tmp_path / "pipe")]) == 1
    assert "pipe: it is not a regular file" in capsys.readouterr().err


def test_label_writes_csv(folders, network, capsys):
    status, rows, err = label(folders, capsys, "--network", str(network))
    assert (status, err) == (0, "")
    assert rows[0] == ["file", "label", "probability"]
    assert [row[0] for row in rows[1:]] == sorted(map(str, (folders / "query").iterdir()))
    right = [row[0].split("/")[-1].split("_")[0] == row[1] for row in rows[1:]]
    assert np.mean(right) > 0.5  # chance is a quarter
    assert all(0.25 <= float(row[2]) <= 1 for row in rows[1:])


def test_label_uses_the_pretrained_network_by_default(folders, capsys, tmp_path):
    status, rows, err = label(folders, capsys, "--resize", "32", "32")
    assert (status, err) == (0, "")
    right = [row[0].split("/")[-1].split("_")[0] == row[1] for row in rows[1:]]
    assert np.mean(right) > 0.8


def test_label_writes_the_output_file_as_a_whole(folders, network, capsys, tmp_path):
    _, expected, _ = label(folders, capsys, "--network", str(network))
    path = tmp_path / "labels.csv"
    status, rows, _ = label(folders, capsys, "--network", str(network), "-o", str(path))
    assert (status, rows) == (0, [])
    assert list(csv.reader(path.read_text().splitlines())) == expected
    assert list(tmp_path.iterdir()) == [path]


def test_label_writes_no_probability_of_the_unknown_label(folders, network, capsys):
    clf = SiameseOneShotClassifier.load(network).set_params(unknown_label="none of them")
    clf.fitted_ = replace(clf.fitted_, rejection_threshold=np.inf)
    path = folders / "rejecting.safetensors"
    clf.save(path)
    status, rows, _ = label(folders, capsys, "--network", str(path))
    assert status == 0
    assert {tuple(row[1:]) for row in rows[1:]} == {("none of them", "")}


def test_label_reads_colours_if_the_network_takes_them(folders, capsys):
    X, y = make_glyphs(n_classes=4, n_samples=3, image_size=24, random_state=0)
    X = np.repeat(X[:, None], 3, axis=1)
    path = folders / "colours.safetensors"
    clf = SiameseOneShotClassifier(channels="first", max_iter=1, random_state=0).fit(X, y)
    clf.save(path)
    support = load_image_folder(folders / "support", color=True)
    query = load_images(image_files(folders / "query"), color=True)
    clf.set_params(channels="last").set_support(support.images, support.target)
    expected = clf.predict(query.images)
    status, rows, err = label(folders, capsys, "--network", str(path))
    assert (status, err) == (0, "")
    assert [row[0] for row in rows[1:]] == query.filenames.tolist()
    assert [row[1] for row in rows[1:]] == expected.tolist()


def test_label_refuses_images_of_the_other_polarity(folders, tmp_path, capsys):
    shutil.copytree(folders / "support", tmp_path / "support")
    shutil.copytree(folders / "query", tmp_path / "query")
    invert_files(tmp_path / "query")
    status, rows, err = label(tmp_path, capsys)
    assert (status, rows) == (1, [])
    assert err.startswith(f"sksiamese label: --query {tmp_path / 'query'}: ")
    assert "--invert auto makes all images dark on light" in err


@pytest.mark.parametrize(
    ("inverted", "option"), [(("query",), "auto"), (("query", "support"), "always")]
)
def test_label_inverts_images(folders, tmp_path, capsys, network, inverted, option):
    _, expected, _ = label(folders, capsys, "--network", str(network))
    for name in ("support", "query"):
        shutil.copytree(folders / name, tmp_path / name)
    for name in inverted:
        invert_files(tmp_path / name)
    status, rows, _ = label(tmp_path, capsys, "--network", str(network), "--invert", option)
    assert status == 0
    assert [row[1:] for row in rows] == [row[1:] for row in expected]


def test_label_skips_damaged_files_with_a_warning(folders, tmp_path, capsys, network):
    _, expected, _ = label(folders, capsys, "--network", str(network))
    for name in ("support", "query"):
        shutil.copytree(folders / name, tmp_path / name)
    damaged = sorted((tmp_path / "query").iterdir())[3]
    damaged.write_bytes(b"no image")
    status, rows, err = label(tmp_path, capsys, "--network", str(network), "--on-error", "skip")
    assert status == 0
    assert err.startswith("sksiamese label: warning: 1 of 20 files cannot be read: ")
    assert len(err.splitlines()) == 1
    assert [row[0].split("/")[-1] for row in rows[1:]] == [
        row[0].split("/")[-1] for row in expected[1:] if not row[0].endswith(damaged.name)
    ]
    assert [row[1] for row in rows] == [
        row[1] for row in expected if not row[0].endswith(damaged.name)
    ]


def test_label_writes_to_standard_output_by_name(folders, network):
    command = [sys.executable, "-m", "sksiamese"]
    command += label_arguments(folders, "--network", str(network), "-o", "/dev/stdout")
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert out.stdout.startswith(b"file,label,probability")


def test_label_writes_to_a_pipe(folders, network, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "sksiamese"]
    command += label_arguments(folders, "--network", str(network), "-o", str(pipe))
    with subprocess.Popen(command) as run:
        assert pipe.read_text().startswith("file,label,probability")
    assert run.returncode == 0
    assert pipe.is_fifo()


def test_label_ends_quietly_if_the_reader_closes_the_pipe(folders, network):
    command = [sys.executable, "-m", "sksiamese"]
    command += label_arguments(folders, "--network", str(network))
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.close()
    assert run.stderr.read() == b""
    run.stderr.close()
    assert run.wait() == 1


def test_evaluate_writes_the_accuracy_and_its_protocol(folders, network, capsys):
    arguments = ["evaluate", str(folders / "new"), "--network", str(network)]
    arguments += ["--way", "3", "--episodes", "20", "--seed", "7"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "3-way 1-shot, unstructured, 60 trials, seed 7" in out
    assert float(out.split()[0]) > 50  # chance is a third
    assert main(arguments) == 0
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train nowhere -o network", "FOLDER nowhere is not a folder"),
        ("train {known} -o no/where/network", "--output no/where/network cannot be written"),
        ("train {known} -o {root}", "is a folder; expected the name of a file"),
        ("train {known} --output=", "is a folder; expected the name of a file"),
        (
            "label --support {support} --query {query} --network {of_rows}",
            "takes flat rows of 9 features; expected a network that takes gray or RGB images",
        ),
        (
            "evaluate {new} --network {network} --resize 8 8",
            "--resize 8 8 differs from the size 24 24 that --network",
        ),
        (
            "label --support {support} --query {query} --network {network} -o {root}",
            "is a folder; expected the name of a file",
        ),
        ("evaluate {new} --network nowhere", "Cannot read nowhere: there is no such file"),
        ("evaluate {new} --way 9", "--way 9 needs 9 classes with at least --shot + 1 = 2 samples"),
        ("evaluate {new} --shot 9", "Decrease --way or --shot, or give more data"),
        ("label --support {support} --query nowhere", "--query nowhere is not a folder"),
        ("label --support nowhere --query {query}", "--support nowhere is not a folder"),
        ("label --support {support} --query {support}", "contains no images"),
    ],
)
def test_main_reports_errors_in_one_line(folders, network, of_rows, arguments, message, capsys):
    names = {name: folders / name for name in ("known", "new", "support", "query")}
    names |= {"root": folders, "network": network, "of_rows": of_rows}
    assert main([part.format(**names) for part in arguments.split()]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"sksiamese {arguments.split()[0]}: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_main_advises_options_not_parameters(tmp_path, capsys):
    for name, size in (("a", 8), ("b", 9)):
        (tmp_path / name).mkdir()
        Image.new("L", (size, size)).save(tmp_path / name / "1.png")
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "network")]) == 1
    assert "Pass --resize HEIGHT WIDTH to resize" in capsys.readouterr().err
    (tmp_path / "b/1.png").write_bytes(b"none")
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "network")]) == 1
    assert "pass --on-error skip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train", "usage: sksiamese train"),
        ("train x -o y --epochs 0", "--epochs: 0; expected an integer from 1 to"),
        ("train x -o y --seed -1", "--seed: -1; expected an integer from 0 to"),
        ("evaluate x --way one", "--way: one; expected an integer from 2 to"),
        ("evaluate x --resize 8", "--resize: expected 2 arguments"),
    ],
)
def test_main_exits_with_status_two_on_wrong_usage(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_main_runs_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "sksiamese", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "0.1.0"
