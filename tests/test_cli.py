"""The command line: what it writes, and how it fails."""

import csv
import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_same_network
from PIL import Image

import sksiamese
from sksiamese import SiameseOneShotClassifier, SiameseVerifier, load_pretrained
from sksiamese.datasets import load_image_folder, load_images, make_glyphs
from sksiamese.datasets.folder import image_files
from sksiamese.model_selection import one_shot_score

(command_line,) = set(entry_points(group="console_scripts", name="sksiamese"))
main = command_line.load()

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "sksiamese"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


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


@pytest.fixture
def copies(folders, tmp_path):
    """support/ and query/, to change."""
    for name in ("support", "query"):
        shutil.copytree(folders / name, tmp_path / name)
    return tmp_path


def label_arguments(folders, *more):
    return ["label", "--support", f"{folders}/support", "--query", f"{folders}/query", *more]


def label(folders, capsys, *more):
    """Return status, rows and what was written to stderr."""
    status = main(label_arguments(folders, *more))
    out, err = capsys.readouterr()
    return status, list(csv.reader(out.splitlines())), err


def test_commands_refuse_to_replace_what_they_read(folders, network, tmp_path, capsys):
    work = tmp_path / "work"
    shutil.copytree(folders / "new", work)
    own = tmp_path / "network"
    shutil.copy(network, own)
    drawing = sorted((work / "c8").iterdir())[0]
    (tmp_path / "link.csv").symlink_to(drawing)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"{drawing},{drawing}\n")
    before = drawing.read_bytes(), own.read_bytes(), pairs.read_bytes()
    for arguments in (
        ["label", "--support", work, "--query", work, "--output", drawing],
        ["label", "--support", work, "--query", work, "--output", tmp_path / "link.csv"],
        ["label", "--support", work, "--query", work, "--network", own, "--output", own],
        ["evaluate", work, "--output", drawing],
        ["verify", "--pairs", pairs, "--output", pairs],
    ):
        assert main(list(map(str, arguments))) == 2
        assert "is a file that the command reads" in capsys.readouterr().err
    assert (drawing.read_bytes(), own.read_bytes(), pairs.read_bytes()) == before


def by_name(rows):
    """Return the cells of each row by the name of its file."""
    return {row[0].split("/")[-1]: row[1:] for row in rows[1:]}


def accuracy(rows):
    return np.mean([name.split("_")[0] == cells[0] for name, cells in by_name(rows).items()])


def invert_files(*paths):
    for path in paths:
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


# train


def test_train_writes_a_network_without_a_support(network):
    clf = SiameseOneShotClassifier.load(network)
    assert not hasattr(clf, "support_")
    assert clf.input_shape_ == (1, 24, 24)
    assert clf.n_iter_ == 8


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--resize 16 20 --seed 7", {"input_shape_": (1, 16, 20), "random_state": 7}),
        ("--n-estimators 2 --learning-rate 0.001", {"n_estimators": 2, "learning_rate": 0.001}),
        ("--color", {"input_shape_": (3, 24, 24)}),
        ("--recipe omniglot --early-stopping", {"head": "aligned", "early_stopping": True}),
    ],
)
def test_train_does_what_the_options_say(folders, tmp_path, options, expected):
    path = tmp_path / "network.safetensors"
    arguments = ["train", str(folders / "known"), "-o", str(path), "--epochs", "1"]
    assert main([*arguments, *options.split()]) == 0
    clf = SiameseOneShotClassifier.load(path)
    assert {name: getattr(clf, name) for name in expected} == expected


def test_train_chooses_the_median_size_of_the_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n, size in enumerate([(30, 20), (30, 21), (31, 20), (9, 200)]):
            pixels = np.random.default_rng(n).integers(256, size=size[::-1], dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{n}.png")
    path = tmp_path / "network.safetensors"
    assert main(["train", str(tmp_path / "images"), "-o", str(path), "--epochs", "1"]) == 0
    assert SiameseOneShotClassifier.load(path).input_shape_ == (1, 20, 30)


def test_train_bounds_the_size_of_photographs(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(2):
            pixels = np.random.default_rng(n).integers(256, size=(300, 600), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{n}.png")
    path = tmp_path / "network.safetensors"
    assert main(["train", str(tmp_path / "images"), "-o", str(path), "--epochs", "1"]) == 0
    assert SiameseOneShotClassifier.load(path).input_shape_ == (1, 128, 256)


def test_train_compares_classes_inside_groups(folders, tmp_path, monkeypatch):
    for n, folder in enumerate(sorted((folders / "known").iterdir())):
        shutil.copytree(folder, tmp_path / "images" / f"group{n % 2}" / folder.name)
    seen = []
    fit = SiameseOneShotClassifier.fit

    def watched(self, X, y, groups=None):
        seen.append((y.tolist(), groups.tolist()))
        return fit(self, X, y, groups)

    monkeypatch.setattr(SiameseOneShotClassifier, "fit", watched)
    path = tmp_path / "network.safetensors"
    assert main(["train", str(tmp_path / "images"), "-o", str(path), "--epochs", "1"]) == 0
    ((labels, groups),) = seen
    assert set(groups) == {"group0", "group1"}
    assert [name.split("/")[0] for name in labels] == groups


def test_train_continues_from_weights(folders, network, tmp_path, capsys):
    path = tmp_path / "network.safetensors"
    arguments = ["train", str(folders / "known"), "-o", str(path), "--epochs", "1"]
    losses = []
    for options in ([], ["--weights", str(network)]):
        assert main([*arguments, *options]) == 0
        losses.append(float(capsys.readouterr().out.split()[-1]))
    assert losses[1] < losses[0] / 2
    assert SiameseOneShotClassifier.load(path).weights == str(network)


def test_train_continues_from_the_pretrained_network(folders, tmp_path):
    path = tmp_path / "network.safetensors"
    arguments = ["train", str(folders / "known"), "-o", str(path), "--epochs", "1"]
    assert main([*arguments, "--weights", "omniglot"]) == 0
    clf, pretrained = SiameseOneShotClassifier.load(path), load_pretrained("omniglot")
    assert (clf.weights, clf.encoder_params) == ("omniglot", pretrained.encoder_params)


def test_train_calibrates_for_unknown_classes(folders, tmp_path, capsys):
    path = tmp_path / "network.safetensors"
    arguments = ["train", str(folders / "known"), "-o", str(path), "--epochs", "1"]
    assert main([*arguments, "--calibrate"]) == 0
    clf = SiameseOneShotClassifier.load(path)
    assert clf.unknown_label is None
    assert np.isfinite(clf.rejection_threshold_)
    capsys.readouterr()
    status, rows, _ = label(folders, capsys, "--network", str(path), "--unknown", "none")
    assert (status, len(rows)) == (0, 21)


@pytest.mark.parametrize(("terminal", "option"), [(True, []), (False, ["-v"]), (False, [])])
def test_train_shows_progress(folders, tmp_path, capsys, monkeypatch, terminal, option):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    path = tmp_path / "network.safetensors"
    arguments = ["train", str(folders / "known"), "-o", str(path), "--epochs", "1", *option]
    assert main(arguments) == 0
    err = capsys.readouterr().err
    assert "1/1" in err and "loss=" in err if terminal or option else err == ""
    assert SiameseOneShotClassifier.load(path).verbose == 0


def test_train_resumes_from_checkpoints(folders, tmp_path, monkeypatch, capsys):
    arguments = ["train", str(folders / "known"), "--epochs", "3"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert main([*arguments, "-o", str(whole)]) == 0
    arguments += ["-o", str(resumed), "--checkpoint-dir", str(tmp_path / "checkpoints")]

    def interrupt(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sksiamese.twin.callbacks.ProgressBar.on_epoch_end", interrupt)
        assert main([*arguments, "-v"]) == 130
    assert not resumed.exists()
    assert "interrupted; the same command with --resume continues" in capsys.readouterr().err
    assert main(arguments) == 2  # not without a word
    assert "is not empty. Pass --resume to continue" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0  # without a progress bar
    assert_same_network(*map(SiameseOneShotClassifier.load, (whole, resumed)))


def test_train_checks_the_output_first(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert main(["train", "nowhere", "-o", str(tmp_path / "pipe")]) == 1
    assert "pipe: it is not a regular file" in capsys.readouterr().err


def test_train_replaces_networks_only(folders, network, tmp_path, capsys):
    path = shutil.copy(network, tmp_path / "network.safetensors")
    arguments = ["train", str(folders / "known"), "--epochs", "1", "-o"]
    assert main([*arguments, str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: 48 images, loss ")
    assert SiameseOneShotClassifier.load(path).n_iter_ == 1
    (tmp_path / "photo.png").write_bytes(b"precious")
    assert main([*arguments, str(tmp_path / "photo.png")]) == 1
    assert "photo.png exists and is no network that train wrote" in capsys.readouterr().err
    assert (tmp_path / "photo.png").read_bytes() == b"precious"


def test_train_skips_images_that_cannot_be_used(folders, tmp_path, capsys):
    shutil.copytree(folders / "known", tmp_path / "known")
    (tmp_path / "known/c0/0.png").write_bytes(b"no image")
    arguments = ["train", str(tmp_path / "known"), "--epochs", "1", "-o", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "known/c0/0.png" in capsys.readouterr().err
    assert main([*arguments, "--on-error", "skip"]) == 3
    out, err = capsys.readouterr()
    assert ": 47 images, loss" in out
    assert err.startswith("sksiamese train: 1 of 48 files were skipped:\n")
    assert "known/c0/0.png: " in err


# label


def test_label_writes_csv(folders, network, capsys):
    status, rows, err = label(folders, capsys, "--network", str(network))
    assert (status, err) == (0, "")
    assert rows[0] == ["file", "label", "probability"]
    assert [row[0] for row in rows[1:]] == sorted(map(str, (folders / "query").iterdir()))
    assert accuracy(rows) > 0.5  # chance is a quarter
    assert all(0.25 <= float(row[2]) <= 1 for row in rows[1:])


def test_label_writes_json(folders, network, capsys):
    _, rows, _ = label(folders, capsys, "--network", str(network))
    arguments = label_arguments(folders, "--network", str(network), "--format", "json")
    assert main(arguments) == 0
    out = capsys.readouterr().out
    objects = json.loads(out)
    assert out == json.dumps(objects, indent=1) + "\n"
    assert [[o["file"], o["label"], f"{o['probability']:.4f}"] for o in objects] == rows[1:]


def test_label_uses_the_pretrained_network_by_default(folders, capsys):
    status, rows, err = label(folders, capsys)
    assert (status, err) == (0, "")
    assert accuracy(rows) > 0.8


def test_label_uses_motor_programs(folders, capsys):
    status, rows, err = label(folders, capsys, "--model", "programs")
    assert (status, err) == (0, "")
    assert accuracy(rows) > 0.5


def test_label_takes_files_and_sub_folders(folders, capsys):
    _, expected, _ = label(folders, capsys)
    files = sorted(map(str, (folders / "query").iterdir()))
    arguments = ["label", "--support", str(folders / "support"), "--query"]
    # A file that a folder contains too is labelled once.
    assert main([*arguments, *files, files[0], str(folders / "query")]) == 0
    assert list(csv.reader(capsys.readouterr().out.splitlines())) == expected
    assert main([*arguments, str(folders / "new")]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert [row[0] for row in rows[1:]] == sorted(map(str, (folders / "new").rglob("*.png")))


def test_label_takes_exemplars_named_by_class(folders, tmp_path, capsys):
    _, expected, _ = label(folders, capsys)
    (tmp_path / "support").mkdir()
    for path in (folders / "support").rglob("*.png"):
        shutil.copy(path, tmp_path / "support" / f"{path.parent.name}.png")
    arguments = ["label", "--support", str(tmp_path / "support"), "--query"]
    assert main([*arguments, str(folders / "query")]) == 0
    assert list(csv.reader(capsys.readouterr().out.splitlines())) == expected


def test_label_adds_the_columns_asked_for(folders, capsys):
    _, plain, _ = label(folders, capsys)
    options = ["--top-k", "2", "--probabilities", "--nearest"]
    status, rows, _ = label(folders, capsys, *options)
    assert status == 0
    table = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [row[:3] for row in rows] == plain
    for row in table:
        p = {name: float(row[f"probability:{name}"]) for name in ("c8", "c9", "c10", "c11")}
        first = max(p, key=p.get)
        assert sum(p.values()) == pytest.approx(1, abs=1e-3)
        assert row["label"] == row["label_1"] == first
        assert float(row["probability_2"]) == p[row["label_2"]] == sorted(p.values())[-2]
        assert row["nearest"].split("/")[-2] == first  # one exemplar a class


def test_label_top_k_has_as_many_columns_as_there_are_classes(folders, capsys):
    _, rows, _ = label(folders, capsys, "--top-k", "99")
    assert [name for name in rows[0] if name.startswith("label_")][-1] == "label_4"
    assert {len(row) for row in rows} == {3 + 8}


def test_label_combines_exemplars_as_aggregation_says(folders, capsys):
    found = {}
    for aggregation in ("mean", "max"):
        arguments = ["label", "--support", str(folders / "new"), "--query"]
        arguments += [str(folders / "query"), "--aggregation", aggregation]
        assert main(arguments) == 0
        found[aggregation] = capsys.readouterr().out
    clf = load_pretrained().set_params(aggregation="max")
    support = load_image_folder(folders / "new")
    queries = load_images(image_files(folders / "query"))
    clf.set_support(support.images, support.target)
    p = clf.predict_proba(queries.images).max(axis=1)
    rows = list(csv.reader(found["max"].splitlines()))
    assert [row[2] for row in rows[1:]] == [f"{value:.4f}" for value in p]
    assert found["mean"] != found["max"]


def test_label_match_gives_each_image_another_label(folders, capsys):
    queries = sorted((folders / "query").iterdir())[::5]
    arguments = ["label", "--support", str(folders / "support"), "--match", "--query"]
    assert main([*arguments, *map(str, queries)]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert sorted(row[1] for row in rows[1:]) == ["c10", "c11", "c8", "c9"]
    assert main([*arguments, str(folders / "query")]) == 1
    assert "20 queries" in capsys.readouterr().err


def test_label_calibrates_for_unknown_classes(folders, capsys):
    options = ["--unknown", "none", "--calibrate", str(folders / "known")]
    found = {}
    for rate in ("0.01", "0.9"):
        status, rows, _ = label(folders, capsys, *options, "--false-acceptance-rate", rate)
        assert status == 0
        found[rate] = sum(row[1] == "none" for row in rows[1:])
        assert {row[2] for row in rows[1:] if row[1] == "none"} <= {""}
    assert found["0.01"] > found["0.9"]


def test_label_writes_sets_of_classes(folders, capsys):
    options = ["--calibrate", str(folders / "known"), "--coverage"]
    sizes = []
    for coverage in ("0.2", "0.8"):
        status, rows, _ = label(folders, capsys, *options, coverage)
        assert status == 0
        assert rows[0][3:] == ["set"]
        sets = [set(row[3].split("|")) - {""} for row in rows[1:]]
        assert all(names <= {"c8", "c9", "c10", "c11"} for names in sets)
        sizes.append(sum(map(len, sets)))
    assert sizes[0] < sizes[1]


def test_label_unknown_needs_a_calibrated_network(folders, network, capsys):
    status, rows, err = label(folders, capsys, "--network", str(network), "--unknown", "none")
    assert (status, rows) == (1, [])
    assert "--calibrate FOLDER" in err


def test_label_writes_no_probability_of_the_unknown_label(folders, network, capsys):
    clf = SiameseOneShotClassifier.load(network).set_params(unknown_label="none of them")
    clf.fitted_ = replace(clf.fitted_, rejection_threshold=1e6, genuine_scores=(0.0,))
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


def test_label_takes_files_of_different_sizes(copies, capsys):
    for n, path in enumerate(sorted((copies / "query").iterdir())):
        image = Image.open(path)
        image.resize((24 + n % 3 * 12, 24 + n % 3 * 12)).save(path)
    status, rows, err = label(copies, capsys)
    assert (status, err) == (0, "")
    assert accuracy(rows) > 0.7


@pytest.mark.parametrize(
    ("inverted", "option"), [(("query",), "auto"), (("query", "support"), "always")]
)
def test_label_inverts_images(folders, copies, capsys, network, inverted, option):
    _, expected, _ = label(folders, capsys, "--network", str(network))
    for name in inverted:
        invert_files(*(copies / name).rglob("*.png"))
    status, rows, _ = label(copies, capsys, "--network", str(network), "--invert", option)
    assert status == 0
    assert [row[1:] for row in rows] == [row[1:] for row in expected]


def damage(path):
    path.write_bytes(b"no image")


def make_faint(path):
    """Give a drawing the values 0 and 1."""
    Image.fromarray((np.asarray(Image.open(path)) > 127).astype(np.uint8)).save(path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (damage, "not an image in a format that can be read"),
        (invert_files, "inverted polarity"),
        (make_faint, "range of values"),
    ],
)
def test_label_names_or_skips_images_that_cannot_be_used(copies, capsys, spoil, reason):
    _, expected, _ = label(copies, capsys)
    spoiled = sorted((copies / "query").iterdir())[3:12:4]
    for path in spoiled:
        spoil(path)
    status, rows, err = label(copies, capsys)
    assert (status, rows) == (1, [])
    assert err.startswith("sksiamese label: error: ")
    assert all(str(path) in err for path in spoiled)
    assert reason in err
    assert len(err.splitlines()) == 1

    status, rows, err = label(copies, capsys, "--on-error", "skip")
    assert status == 3
    assert rows[0] == ["file", "label", "probability", "reason"]
    found, known = by_name(rows), by_name(expected)
    assert list(found) == list(known)
    for path in spoiled:
        assert found[path.name][:2] == ["", ""]
        assert reason in found[path.name][2]
        assert f"{path}: " in err
        known.pop(path.name)
    assert [[*cells, ""] for cells in known.values()] == [found[name] for name in known]


@pytest.mark.parametrize("spoil", [damage, invert_files])
def test_label_writes_a_row_for_each_file_even_if_none_can_be_used(copies, capsys, spoil):
    files = sorted((copies / "query").iterdir())
    for path in files[2:]:
        path.unlink()
    for path in files[:2]:
        spoil(path)
    status, rows, _ = label(copies, capsys, "--on-error", "skip", "--top-k", "1")
    assert status == 3
    assert [row[:-1] for row in rows[1:]] == [[str(path), "", "", "", ""] for path in files[:2]]
    assert all(row[-1] for row in rows)


def test_label_warns_of_blank_images_by_file(copies, capsys):
    path = sorted((copies / "query").iterdir())[5]
    Image.new("L", (24, 24), 255).save(path)
    status, rows, err = label(copies, capsys)
    assert (status, len(rows)) == (0, 21)
    assert err.startswith("sksiamese label: warning: ")
    assert f"{path} has no foreground" in err
    assert len(err.splitlines()) == 1


def test_label_warns_of_identical_exemplars_by_file(copies, capsys):
    first, second = sorted((copies / "support").rglob("*.png"))[:2]
    shutil.copy(first, second)
    status, _, err = label(copies, capsys)
    assert status == 0
    assert err.startswith("sksiamese label: warning: ")
    assert str(first) in err
    assert str(second) in err
    assert len(err.splitlines()) == 1


def test_label_warns_of_classes_without_exemplars(copies, capsys):
    first = sorted((copies / "support").rglob("*.png"))[0]
    damage(first)
    status, rows, err = label(copies, capsys, "--on-error", "skip")
    assert status == 3
    assert f"no exemplar is left of {first.parent.name}." in err
    assert first.parent.name not in {row[1] for row in rows}
    assert len(rows) == 21


def test_label_names_pictures_that_are_not_read(copies, capsys):
    for name in ("a.heic", "b.svg"):
        (copies / "query" / name).touch()
    status, rows, err = label(copies, capsys)
    assert (status, len(rows)) == (0, 21)
    assert "a.heic" in err
    assert "b.svg" in err
    assert len(err.splitlines()) == 1


def test_label_writes_names_of_any_bytes(copies, network, tmp_path):
    names = [b"a,b.png", b'c"d.png', b"e\nf.png", b"g\rh.png", b"\xff\xfe.png", "ü雪.png".encode()]
    query = os.fsencode(copies / "query")
    for path, name in zip(sorted(os.listdir(query)), names, strict=False):
        os.rename(os.path.join(query, path), os.path.join(query, name))
    command = [*COMMAND, *label_arguments(copies, "--network", str(network), "-o", "/dev/stdout")]
    # A locale that knows ASCII alone.
    ascii_only = {**ENVIRONMENT, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    path = tmp_path / "labels.csv"
    path.write_text("before\n")
    with path.open("a") as file:
        subprocess.run(command, stdout=file, check=True, env=ascii_only)
    out = path.read_bytes()
    assert out.startswith(b"before\nfile,label,probability\n")
    # A reader that takes a carriage return for the end of a line finds it in quotes.
    assert b'g\rh.png",' in out
    rows = list(csv.reader(out.decode("utf-8", "surrogateescape").splitlines(True)[1:]))
    found = [row[0].encode("utf-8", "surrogateescape") for row in rows[1:]]
    assert sorted(found) == sorted(os.path.join(query, name) for name in os.listdir(query))
    assert {len(row) for row in rows} == {3}


def test_label_writes_json_of_names_of_any_bytes(copies, network, capsys):
    query = os.fsencode(copies / "query")
    first = sorted(os.listdir(query))[0]
    os.rename(os.path.join(query, first), os.path.join(query, b"\xff.png"))
    assert main(label_arguments(copies, "--network", str(network), "--format", "json")) == 0
    files = [row["file"] for row in json.loads(capsys.readouterr().out)]
    assert os.path.join(query, b"\xff.png") in map(os.fsencode, files)


# Where the results go


def test_label_writes_the_output_file_as_a_whole(folders, network, capsys, tmp_path):
    _, expected, _ = label(folders, capsys, "--network", str(network))
    path = tmp_path / "labels.csv"
    path.write_text("old")
    status, rows, _ = label(folders, capsys, "--network", str(network), "-o", str(path))
    assert (status, rows) == (0, [])
    assert list(csv.reader(path.read_text().splitlines())) == expected
    assert list(tmp_path.iterdir()) == [path]
    status, rows, _ = label(folders, capsys, "--network", str(network), "-o", "-")
    assert rows == expected


def test_label_keeps_the_output_file_if_it_fails(copies, capsys, tmp_path):
    damage(sorted((copies / "query").iterdir())[0])
    path = tmp_path / "labels.csv"
    path.write_text("old")
    assert label(copies, capsys, "-o", str(path))[0] == 1
    assert path.read_text() == "old"


# Labelling that was stopped goes on. Images of this size are labelled in blocks of four.
IN_BLOCKS = ["--resize", "720", "720", "--nearest"]
KILLED = """
import os, runpy, signal

left, fsync = 3, os.fsync  # the first line and two blocks

def sync_or_die(number):
    global left
    fsync(number)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

os.fsync = sync_or_die
runpy.run_module("sksiamese", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def stopped(copies, capsys):
    """Label 10 of 20 files, of which the tenth is damaged; return the output and what it is to be.

    Two blocks are done.
    """
    path = copies / "labels.csv"
    assert main(label_arguments(copies, *IN_BLOCKS, "-o", str(path))) == 0
    expected = path.read_text()
    path.write_text("old")
    files = sorted((copies / "query").iterdir())
    content = files[9].read_bytes()
    damage(files[9])
    assert main(label_arguments(copies, *IN_BLOCKS, "-o", str(path))) == 1
    assert str(files[9]) in capsys.readouterr().err
    assert path.read_text() == "old"
    files[9].write_bytes(content)
    return path, expected


def spoil_unnoticed(path):
    """Damage a file, but not its size or time, so that only who reads it again finds out."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_label_goes_on_after_a_kill(copies, capsys):
    path, part = copies / "labels.csv", copies / "labels.csv.part"
    arguments = label_arguments(copies, *IN_BLOCKS, "-o", str(path))
    assert main(arguments) == 0
    expected = path.read_text()
    path.unlink()
    run = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=ENVIRONMENT, check=False)
    assert run.returncode == -signal.SIGKILL
    assert not path.exists()
    for file in sorted((copies / "query").iterdir())[:8]:
        spoil_unnoticed(file)
    with open(part, "ab") as file:
        file.write(b'{"stamp": "torn')
    capsys.readouterr()
    assert main(arguments) == 0
    assert capsys.readouterr().err == (
        f"sksiamese label: 8 of 20 files are labelled already, in {part}\n"
    )
    assert path.read_text() == expected
    assert not part.exists()


def test_label_says_that_it_goes_on_after_ctrl_c(copies, capsys, monkeypatch):
    path, synced = copies / "labels.csv", []

    def interrupted(number):
        synced.append(number)
        if len(synced) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    assert main(label_arguments(copies, *IN_BLOCKS, "-o", str(path))) == 130
    advice = "interrupted; the same command goes on where this one stopped"
    assert capsys.readouterr().err == f"sksiamese label: {advice}\n"


def test_label_labels_again_what_has_changed(stopped, copies, capsys):
    path, expected = stopped
    fifth, sixth = sorted((copies / "query").iterdir())[4:6]
    shutil.copy(sixth, fifth)
    assert main(label_arguments(copies, *IN_BLOCKS, "-o", str(path))) == 0
    assert "4 of 20 files are labelled already" in capsys.readouterr().err
    found, before = ([*csv.reader(text.splitlines())] for text in (path.read_text(), expected))
    assert found[5][1:] == found[6][1:] == before[6][1:]
    assert found[6:] == before[6:]


def test_label_goes_on_with_files_that_are_skipped(stopped, copies, capsys):
    path, expected = stopped
    tenth = sorted((copies / "query").iterdir())[9]
    damage(tenth)
    arguments = label_arguments(copies, *IN_BLOCKS, "-o", str(path))
    assert main([*arguments, "--on-error", "skip"]) == 3
    err = capsys.readouterr().err
    assert "8 of 20 files are labelled already" in err
    assert "1 of 24 files were skipped" in err
    lines = [f"{line}," for line in expected.splitlines()[1:]]
    found = path.read_text().splitlines()[1:]
    assert found[9].startswith(f"{tenth},,,,")
    assert found[:9] + found[10:] == lines[:9] + lines[10:]


def test_label_refuses_to_go_on_with_other_rows(stopped, copies, capsys):
    path, _ = stopped
    part = Path(f"{path}.part")

    def refuses(named, *more):
        before = part.read_bytes()
        assert main(label_arguments(copies, *IN_BLOCKS, "-o", str(path), *more)) == 1
        err = capsys.readouterr().err
        assert str(part) in err
        assert named in err
        assert part.read_bytes() == before
        assert path.read_text() == "old"

    refuses("another set of options", "--top-k", "1")
    shutil.rmtree(sorted((copies / "support").iterdir())[0])
    refuses("another support")
    part.write_text("own notes\n")
    refuses("is no file that label left")


def test_label_refuses_an_output_that_another_command_writes(copies, capsys):
    fcntl = pytest.importorskip("fcntl")
    with open(copies / "labels.csv.part", "w") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        assert main(label_arguments(copies, "-o", str(copies / "labels.csv"))) == 1
    part = copies / "labels.csv.part"
    assert f"{part}: another command is writing it" in capsys.readouterr().err


def test_label_names_the_file_that_cannot_be_written(copies, capsys, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    path = copies / "labels.csv"
    assert main(label_arguments(copies, "-o", str(path))) == 1
    err = f"sksiamese label: error: {path}.part: No space left on device\n"
    assert capsys.readouterr().err == err
    assert sorted(copies.iterdir()) == [copies / "query", copies / "support"]


def test_label_writes_to_a_pipe(folders, network, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert main(label_arguments(folders, "--network", str(network), "-o", str(pipe))) == 0
    reader.join()
    assert read[0].startswith("file,label,probability")
    assert pipe.is_fifo()


def test_label_ends_quietly_if_the_reader_closes_the_pipe(folders, network, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:  # closed as at the end of the process
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(label_arguments(folders, "--network", str(network))) == 1
    assert capsys.readouterr().err == ""


def test_train_ends_quietly_after_ctrl_c(folders, tmp_path):
    path = tmp_path / "network"
    command = [*COMMAND, "train", str(folders / "known"), "-o", str(path), "-v"]
    run = subprocess.Popen(
        [*command, "--epochs", "100000"], stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    assert run.stderr.read(1)  # of the progress bar
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    err = run.stderr.read()
    run.stderr.close()
    assert run.wait() == 130
    assert err.splitlines()[-1] == b"sksiamese train: interrupted"
    assert b"Traceback" not in err
    assert not path.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("output", ["file", "standard output"])
def test_verify_reports_a_full_disk(folders, capsys, monkeypatch, output):
    file = str(folders / "new/c8/48.png")
    options, name = ["--output", "/dev/full"], "--output /dev/full"
    if output == "standard output":
        options, name = [], output
        monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))  # noqa: SIM115
    assert main(["verify", file, file, *options]) == 1
    err = f"sksiamese verify: error: {name} cannot be written: No space left on device.\n"
    assert capsys.readouterr().err == err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_label_writes_its_table_if_nobody_can_be_told(folders, tmp_path):
    shutil.copytree(folders / "new", tmp_path / "new")
    (tmp_path / "new/c8/photo.heic").write_bytes(b"x")  # of which a warning tells
    out = tmp_path / "out.csv"
    arguments = ["label", "--support", tmp_path / "new", "--query", tmp_path / "new"]
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "sksiamese", *arguments, "--output", out]
        run = subprocess.run(command, stderr=full, env=ENVIRONMENT, check=False)
    assert run.returncode == 0
    assert len(out.read_text().splitlines()) > 2


# verify


def verify(capsys, *arguments):
    status = main(["verify", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, list(csv.reader(out.splitlines())), err


def test_verify_compares_two_files(folders, capsys):
    first, second = sorted((folders / "new/c8").iterdir())[:2]
    status, rows, err = verify(capsys, first, second)
    assert (status, err) == (0, "")
    assert rows[0] == ["file_1", "file_2", "probability", "same"]
    assert rows[1][:2] == [str(first), str(second)]
    assert len(rows) == 2


@pytest.fixture
def pairs(folders):
    """All pairs of new/ of files with different names, with the true answer."""
    files = sorted((folders / "new").rglob("*.png"))
    return [(a, b, int(a.parent == b.parent)) for a in files for b in files if a.name < b.name]


def test_verify_compares_the_pairs_of_a_file(folders, tmp_path, pairs, capsys):
    path = tmp_path / "pairs.csv"
    path.write_text("file_1,file_2\n" + "".join(f"{a},{b}\n" for a, b, _ in pairs))
    status, rows, err = verify(capsys, "--pairs", path)
    assert (status, err) == (0, "")
    assert [row[:2] for row in rows[1:]] == [[str(a), str(b)] for a, b, _ in pairs]
    found = np.array([float(row[2]) for row in rows[1:]])
    assert [int(row[3]) for row in rows[1:]] == (found >= 0.5).astype(int).tolist()
    assert (
        np.mean([int(row[3]) == same for row, (*_, same) in zip(rows[1:], pairs, strict=True)])
        > 0.85
    )

    images = load_images(sorted((folders / "new").rglob("*.png")))
    clf = load_pretrained().set_support(images.images, np.zeros(len(images.images)))
    verifier = SiameseVerifier.from_classifier(clf, preprocessor=images.images)
    row_of = {file: row for row, file in enumerate(images.filenames)}
    X = [[row_of[str(a)], row_of[str(b)]] for a, b, _ in pairs]
    np.testing.assert_allclose(found, verifier.predict_proba(X)[:, 1], atol=1e-4)

    status, strict, _ = verify(capsys, "--pairs", path, "--threshold", "0.99")
    assert [int(row[3]) for row in strict[1:]] == [int(float(row[2]) >= 0.99) for row in rows[1:]]


def test_verify_names_a_file_of_pairs_that_is_no_table(tmp_path, capsys):
    path = tmp_path / "pairs.csv"
    path.write_text('"' + "a.png,b.png\n" * 20_000)
    status, rows, err = verify(capsys, "--pairs", path)
    assert (status, rows) == (1, [])
    assert f"--pairs {path} is not a table of file names: field larger than" in err


@pytest.mark.skipif(os.name == "nt", reason="needs devices")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (".", "it is a folder; expected a regular file."),
        ("/dev/zero", "it is a device; expected a regular file."),
        ("nowhere.csv", "No such file or directory."),
        ("a\0b", "no file can have this name."),
    ],
)
def test_verify_names_a_file_of_pairs_that_cannot_be_read(capsys, path, reason):
    status, rows, err = verify(capsys, "--pairs", path)
    name = path.replace("\0", "\\x00")
    assert (status, rows) == (1, [])
    assert err == f"sksiamese verify: error: --pairs {name} cannot be read: {reason}\n"


def test_verify_names_files_that_do_not_exist_although_it_writes_to_one(tmp_path, capsys):
    (tmp_path / "pairs.csv").write_bytes(b"a,b\n")
    (tmp_path / "out.csv").touch()
    arguments = "--pairs", tmp_path / "pairs.csv", "-o", tmp_path / "out.csv"
    status, _, err = verify(capsys, *arguments)
    assert status == 1
    assert "a (No such file or directory); b (No such file or directory)" in err


def test_commands_name_all_images_if_no_polarity_has_the_majority(copies, capsys):
    dark, light = sorted((copies / "support").rglob("*.png"))[:2]
    invert_files(light)
    status, _, err = verify(capsys, dark, light)
    assert status == 1
    assert f"{dark}, {light}: inverted polarity" in err
    for path in sorted((copies / "support").iterdir())[2:]:
        shutil.rmtree(path)
    status, _, err = label(copies, capsys)
    assert status == 1
    assert f"{dark}, {light}: inverted polarity" in err


def test_verify_compares_files_of_the_same_name_in_two_folders(folders, tmp_path, capsys):
    for n, side in enumerate(("left", "right")):
        for name in ("c8", "c9"):
            (tmp_path / side / name).mkdir(parents=True)
            source = sorted((folders / "new" / name).iterdir())[n]
            shutil.copy(source, tmp_path / side / name / "drawing.png")
    status, rows, _ = verify(capsys, tmp_path / "left", tmp_path / "right", "--format", "csv")
    assert status == 0
    assert [row[:2] for row in rows[1:]] == [
        [f"{tmp_path}/{side}/{name}/drawing.png" for side in ("left", "right")]
        for name in ("c8", "c9")
    ]
    (tmp_path / "left/c8/drawing.png").rename(tmp_path / "left/c8/another.png")
    status, rows, err = verify(capsys, tmp_path / "left", tmp_path / "right")
    assert (status, rows) == (1, [])
    assert "c8/another.png" in err
    assert "in one of the folders" in err


@pytest.mark.parametrize("options", [["--network", "{network}"], ["--model", "programs"]])
def test_verify_uses_the_model_asked_for(folders, network, pairs, options, capsys):
    options = [option.format(network=network) for option in options]
    found = [verify(capsys, *pair[:2], *options)[1][1][2] for pair in (pairs[0], pairs[-9])]
    assert all(0 <= float(p) <= 1 for p in found)
    default = [verify(capsys, *pair[:2])[1][1][2] for pair in (pairs[0], pairs[-9])]
    assert found != default


def test_verify_skips_pairs_of_files_that_cannot_be_used(folders, tmp_path, capsys):
    first, second = sorted((folders / "new/c8").iterdir())[:2]
    bad = tmp_path / "bad.png"
    damage(bad)
    path = tmp_path / "pairs.csv"
    path.write_text(f"{first},{bad}\n{first},{second}\n")
    status, rows, err = verify(capsys, "--pairs", path)
    assert (status, rows) == (1, [])
    assert str(bad) in err
    status, rows, err = verify(capsys, "--pairs", path, "--on-error", "skip")
    assert status == 3
    assert rows[0] == ["file_1", "file_2", "probability", "same", "reason"]
    assert rows[1][2:4] == ["", ""]
    assert f"{bad}: " in rows[1][4]
    assert rows[2][3] in ("0", "1")
    assert rows[2][4] == ""
    path.write_text(f"{bad},{bad}\n")
    status, rows, err = verify(capsys, "--pairs", path, "--on-error", "skip")
    assert (status, rows[1][2:4]) == (3, ["", ""])


# evaluate


def test_evaluate_writes_the_accuracy_and_its_protocol(folders, network, capsys):
    arguments = ["evaluate", str(folders / "new"), "--network", str(network)]
    arguments += ["--way", "3", "--episodes", "20", "--seed", "7"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "3-way 1-shot, unstructured, 60 trials, seed 7" in out
    assert float(out.split()[0]) > 50  # chance is a third
    assert main(arguments) == 0
    assert capsys.readouterr().out == out


@pytest.mark.parametrize("form", ["csv", "json"])
def test_evaluate_writes_tables(folders, capsys, form):
    data = load_image_folder(folders / "new")
    expected = one_shot_score(
        load_pretrained(), data.images, data.target, n_way=4, n_shot=2, n_episodes=30,
        random_state=3,
    )  # fmt: skip
    arguments = ["evaluate", str(folders / "new"), "--way", "4", "--shot", "2"]
    assert main([*arguments, "--episodes", "30", "--seed", "3", "--format", form]) == 0
    out = capsys.readouterr().out
    if form == "json":
        row = json.loads(out)
    else:
        (row,) = csv.DictReader(out.splitlines())
    assert float(row["accuracy"]) == pytest.approx(expected.accuracy, abs=1e-4)
    interval = float(row["interval_low"]), float(row["interval_high"])
    assert interval == pytest.approx(expected.interval, abs=1e-4)
    assert [int(row[name]) for name in ("way", "shot", "trials", "seed")] == [4, 2, 120, 3]
    assert row["protocol"] == "unstructured"


def test_evaluate_draws_trials_within_groups(folders, tmp_path, capsys):
    for n, folder in enumerate(sorted((folders / "known").iterdir())):
        shutil.copytree(folder, tmp_path / f"group{n % 2}" / folder.name)
    arguments = ["evaluate", str(tmp_path), "--way", "4", "--episodes", "5"]
    assert main(arguments) == 0
    assert "within groups, 20 trials" in capsys.readouterr().out
    assert main([*arguments, "--unstructured"]) == 0
    assert "unstructured, 20 trials" in capsys.readouterr().out


@pytest.mark.parametrize("spoil", [damage, invert_files, make_faint])
def test_evaluate_names_or_skips_images_that_cannot_be_used(folders, tmp_path, capsys, spoil):
    shutil.copytree(folders / "new", tmp_path / "new")
    spoiled = sorted((tmp_path / "new/c9").iterdir())[1]
    spoil(spoiled)
    arguments = ["evaluate", str(tmp_path / "new"), "--way", "4", "--shot", "2"]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert str(spoiled) in err
    assert len(err.splitlines()) == 1
    assert main([*arguments, "--on-error", "skip"]) == 3
    out, err = capsys.readouterr()
    assert "4-way 2-shot, unstructured, 400 trials" in out
    assert err.startswith("sksiamese evaluate: 1 of 24 files were skipped:\n")
    assert f"{spoiled}: " in err


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train nowhere -o network", "FOLDER nowhere does not exist"),
        ("train {known} -o no/where/network", "--output no/where/network cannot be written"),
        ("train {known} -o {root}", "is a folder; expected the name of a file"),
        ("train {known} --output=", "is a folder; expected the name of a file"),
        ("train {known} -o {root}/x --weights nowhere", "nowhere"),
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
        ("label --support {support} --query nowhere", "--query nowhere does not exist"),
        ("label --support nowhere --query {query}", "--support nowhere does not exist"),
        ("label --support {support} --query {empty}", "contains no images"),
        ("label --support {empty} --query {query}", "contains no images"),
        (
            "label --support {support} --query {query} --unknown c8",
            "--unknown 'c8' is also the label of a class",
        ),
        (
            "label --support {support} --query {query} --unknown x --calibrate {one}",
            "--calibrate {one} has only one class, 'c0'; calibration needs",
        ),
        ("train {one} -o {root}/x", "FOLDER {one} has only one class, 'c0'"),
        ("label --support {support} --query {query} -o a\0b", "--output='a\\x00b' has a null"),
        ("verify {support} nowhere", "nowhere does not exist"),
        ("verify {support} {network}", "is a folder; expected two files or two folders"),
        ("verify --pairs nowhere", "nowhere"),
    ],
)
def test_main_reports_errors_in_one_line(folders, network, of_rows, arguments, message, capsys):
    (folders / "empty").mkdir(exist_ok=True)
    shutil.copytree(folders / "known/c0", folders / "one/c0", dirs_exist_ok=True)
    kinds = "known", "new", "support", "query", "empty", "one"
    names = {name: folders / name for name in kinds}
    names |= {"root": folders, "network": network, "of_rows": of_rows}
    assert main([part.format(**names) for part in arguments.split()]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"sksiamese {arguments.split()[0]}: error: ")
    assert message.format(**names) in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train {known} -o x --resume", "--resume needs --checkpoint-dir"),
        ("train {known} -o -", "--output - is standard output"),
        (
            "label --support {support} --query {query} --calibrate {known}",
            "--calibrate has no effect without --unknown or --coverage",
        ),
        (
            "label --support {support} --query {query} --false-acceptance-rate 0.1",
            "--false-acceptance-rate needs --calibrate",
        ),
        ("verify", "0 paths were given; expected two files or two folders, or --pairs"),
        ("verify a b --pairs c", "expected one of them"),
    ],
)
def test_main_returns_two_for_options_that_do_not_go_together(folders, arguments, message, capsys):
    names = {name: folders / name for name in ("known", "support", "query")}
    assert main([part.format(**names) for part in arguments.split()]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"sksiamese {arguments.split()[0]}: error: ")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train", "usage: sksiamese train"),
        ("train x -o y --epochs 0", "--epochs: 0; expected an integer from 1 to"),
        ("train x -o y --seed -1", "--seed: -1; expected an integer from 0 to"),
        ("train x -o y --learning-rate 0", "--learning-rate: 0; expected a number above 0"),
        ("train x -o y --recipe omniglot --weights omniglot", "not allowed with argument"),
        ("evaluate x --way one", "--way: one; expected an integer from 2 to"),
        ("evaluate x --resize 8", "--resize: expected 2 arguments"),
        ("evaluate x --resize 8 20000", "20000; expected an integer from 1 to 10000"),
        ("label --support x --query y --unknown u --match", "not allowed with argument"),
        ("verify x y --threshold 1", "--threshold: 1; expected a number above 0 and below 1"),
    ],
)
def test_main_exits_with_status_two_on_wrong_usage(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_main_advises_options_not_parameters(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "1.png")
    (tmp_path / "b/1.png").write_bytes(b"none")
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "network")]) == 1
    assert "pass --on-error skip" in capsys.readouterr().err


def commands_of(page):
    """Return the commands on a page, and what it shows of their output."""
    blocks = re.findall(r"^    \$ (.*)\n((?:    .*\n)*)", page, re.MULTILINE)
    assert len(blocks) == page.count("$ sksiamese")
    return [(command, textwrap.dedent(shown)) for command, shown in blocks]


def without_numbers(text):
    return re.sub(r"\d+(\.\d+)?", "#", text)


def test_main_writes_what_the_documentation_shows(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(script, "command_line.md", "exec"), {})
    for command, shown in commands_of(page):
        command, _, head = command.replace("--epochs 20", "--epochs 1").partition(" | head -")
        status = main(shlex.split(command)[1:])
        assert status == (3 if "--on-error skip" in command else 0)
        out, err = capsys.readouterr()
        lines = (out + err).splitlines(keepends=True)
        written = "".join(lines[: int(head)] if head else lines)
        assert without_numbers(written) == without_numbers(shown)


def test_documentation_shows_each_command():
    page = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    shown = {command.split()[1] for command, _ in commands_of(page)}
    assert shown == {"evaluate", "label", "train", "verify"}


def test_main_writes_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"{sksiamese.__version__}\n"
