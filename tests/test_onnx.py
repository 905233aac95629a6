"""`export_onnx`: a program that knows only the folder gives the estimator's answers."""

import errno
import json
import os
import pickle
import re
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import classifier, make_series
from scipy.special import softmax
from sklearn.exceptions import NotFittedError
from torch import nn

from sksiamese import SiameseOneShotClassifier, load_pretrained
from sksiamese.datasets import load_omniglot_minimal, make_glyphs

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
N_CLASSES, N_SAMPLES = 6, 4
SMALL = {"width": 8}


class Program:
    """What a program without this package does with an export, as docs/export.md has it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.about = json.loads((self.folder / "model.json").read_text())
        support = self.about["support"]
        if support:
            rows = np.fromfile(self.folder / support["file"], "<f4")
            self.exemplars = rows.reshape(support["shape"])
            self.labels = np.array(support["labels"])
            self.classes = np.unique(self.labels)

    def run(self, graph, **inputs):
        path = self.folder / self.about[graph]["file"]
        return onnxruntime.InferenceSession(path).run(None, inputs)

    def embed(self, samples):
        return self.run("embed", samples=samples.astype(self.about["embed"]["dtype"]))

    def similarity(self, queries, exemplars):
        (logits,) = self.run("compare", queries=queries, exemplars=exemplars)
        line = self.about["calibration"]
        return line["slope"] * logits + line["intercept"]

    def of_classes(self, values):
        return np.stack([values[self.labels == label].mean(0) for label in self.classes])

    def logits(self, queries):
        """By the class's mean embedding, as ``aggregation="prototype"``."""
        return self.similarity(queries, self.of_classes(self.exemplars))

    def score(self, queries, levels):
        levels = levels[:, None] + self.of_classes(np.array(self.about["support"]["levels"]))
        scores = self.logits(queries) - self.about["calibration"]["slope"] / 2 * levels
        return scores.max(1) - np.log(len(self.classes))


def glyphs_of(side, **params):
    return make_glyphs(N_CLASSES, N_SAMPLES, image_size=side, random_state=0, **params)[0]


def drawn(side=28):
    return glyphs_of(side)


def colored(side=20):
    """Photographs, as far as a network can tell: colours everywhere."""
    shades = np.random.default_rng(0).uniform(0.5, 1, (N_CLASSES * N_SAMPLES, 3, side, side))
    return (255 * shades * (1 - 0.7 * drawn(side)[:, None])).astype(np.uint8)


def tabular():
    """Features whose offset takes float32 more digits than it has."""
    return 1e4 + np.random.default_rng(0).normal(size=(N_CLASSES * N_SAMPLES, 12))


def serial():
    return make_series(N_CLASSES, N_SAMPLES)[0]


KINDS = {
    "cropped-whitened": (drawn, {"resize": 24, "crop": "foreground", "encoder_params": SMALL}),
    "colour-signed_l1": (
        colored,
        {"resize": 16, "encoder_params": SMALL, "head": "signed_l1"},
    ),
    "rows-weighted_l1": (tabular, {"encoder": "mlp", "head": "weighted_l1"}),
    "series-cosine": (serial, {"encoder": "conv1d", "encoder_params": SMALL, "head": "cosine"}),
    "ensemble-aligned": (
        drawn,
        {
            "encoder": ("conv", "conv"),
            "encoder_params": SMALL,
            "head": ("aligned", "aligned"),
            "resize": None,
            "crop": None,
        },
    ),
}
PRETRAINED = ("omniglot", "symbols")


def trained(kind):
    """Return a classifier with two exemplars of each class, and queries."""
    make, params = KINDS[kind]
    X, y = make(), np.repeat(np.arange(N_CLASSES), N_SAMPLES)
    clf = classifier(
        augmentation=None, precision="float32", max_iter=2, **{"resize": None} | params
    )
    clf.fit(X, y).calibrate(X, y)
    first = np.arange(len(X)) % N_SAMPLES < 2
    return clf.set_support(X[first], y[first]), X[~first]


def pretrained(name):
    run = load_omniglot_minimal().runs[0]
    clf = load_pretrained(name).set_params(precision="float32")
    return clf.set_support(run.support_images, run.support_labels), run.query_images


@pytest.fixture(scope="module", params=[*KINDS, *PRETRAINED])
def scene(request, tmp_path_factory):
    """A classifier, queries, and a program that runs its export."""
    clf, X = (pretrained if request.param in PRETRAINED else trained)(request.param)
    folder = tmp_path_factory.mktemp("export") / request.param
    clf.export_onnx(folder)
    return clf, X, Program(folder)


def clone_of(clf):
    """Return a copy of a classifier, fitted as it is."""
    return pickle.loads(pickle.dumps(clf))


def as_samples(clf, X):
    return np.reshape(X, (len(X), *clf.input_shape_))


def test_export_onnx_embeds_as_the_estimator(scene):
    clf, X, program = scene
    # The square root of the "hog" encoder magnifies what rounding leaves of empty cells.
    atol = 1e-4 if "hog" in clf.encoder else 1e-5
    expected = clf.transform(X)
    for n in (1, 2, len(X)):
        embeddings = program.embed(as_samples(clf, X[:n]))[0]
        # The mean of the logits of several networks is the logit of scaled embeddings.
        scale = np.linalg.norm(expected[:n]) / np.linalg.norm(embeddings)
        np.testing.assert_allclose(embeddings * scale, expected[:n], rtol=1e-5, atol=atol)


def test_export_onnx_compares_as_the_estimator(scene):
    clf, X, program = scene
    queries = program.embed(as_samples(clf, X))[0]
    expected = clf.similarity(X, X[:3])
    most = np.abs(expected).max()
    assert expected.std() > 100 * CLOSE["atol"]  # constants would always agree
    logits = program.similarity(queries, queries[:3])
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * most)
    one = program.similarity(queries[:1], queries[1:2])
    np.testing.assert_allclose(one, clf.similarity(X[:1], X[1:2]), rtol=1e-5, atol=1e-5 * most)


def test_export_onnx_predicts_as_the_estimator(scene):
    clf, X, program = scene
    queries = program.embed(as_samples(clf, X))[0]
    p = softmax(program.logits(queries), axis=1)
    np.testing.assert_allclose(p, clf.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(program.classes[p.argmax(1)], clf.predict(X))


def test_export_onnx_scores_as_the_estimator(scene):
    clf, X, program = scene
    queries, levels, *_ = program.embed(as_samples(clf, X))
    expected = clf.score_samples(X)
    most = max(1, np.abs(clf.decision_function(X)).max())
    np.testing.assert_allclose(program.score(queries, levels), expected, atol=1e-5 * most)
    assert program.about["rejection_threshold"] == clf.rejection_threshold_


def test_export_onnx_writes_the_embeddings_of_the_support(scene):
    clf, _, program = scene
    rows = clf.support_.embeddings.reshape(len(clf.support_), -1)
    np.testing.assert_array_equal(program.exemplars, rows)
    np.testing.assert_array_equal(program.labels, clf.support_.labels)


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_export_onnx_has_what_other_aggregations_need(scene, aggregation):
    clf, X, program = scene
    queries = program.embed(as_samples(clf, X))[0]
    logits = program.similarity(queries, program.exemplars)
    combine = getattr(np, aggregation)
    own = np.stack([combine(logits[:, program.labels == c], 1) for c in program.classes], 1)
    assert program.about["aggregation"] == clf.aggregation == "prototype"
    expected = clone_of(clf).set_params(aggregation=aggregation).decision_function(X)
    np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_export_onnx_names_the_boxes_that_the_encoder_sees(scene):
    clf, X, program = scene
    boxes = program.embed(as_samples(clf, X))[2:]
    if len(clf.input_shape_) < 3:
        assert boxes == []
        return
    images = torch.from_numpy(as_samples(clf, X).astype(np.float32))
    expected = clf.fitted_.comparer.scaling.boxes(images)
    np.testing.assert_allclose(boxes[0], expected, rtol=1e-5, atol=1e-4)


def test_export_onnx_compares_cells_if_a_head_does(scene):
    clf, X, program = scene
    if "aligned" not in clf.head:
        assert program.about["cells"] is None
        assert not (program.folder / "cells.onnx").exists()
        return
    queries = program.embed(as_samples(clf, X))[0]
    (cells,) = program.run("cells", queries=queries[:2], exemplars=queries[1:3])
    assert cells.shape == (2, 2, *program.about["cells"]["shape"])
    head = clf.network_.head
    if hasattr(head, "heads"):
        embedded = torch.from_numpy(queries[:3]).unflatten(1, head.embedding_shape)
        aligned, parts = head.heads[0], head.parts(embedded)[0]
    else:
        aligned, parts = head, torch.from_numpy(queries[:3]).unflatten(1, head.embedding_shape)
    with torch.no_grad():
        expected = aligned.pair_logits(parts[:2], parts[1:3])
    np.testing.assert_allclose(cells.sum((1, 2, 3)), expected, **CLOSE)


def test_export_onnx_writes_digests_of_its_files(scene):
    _, _, program = scene
    digests = {
        file.name: sha256(file.read_bytes()).hexdigest()
        for file in program.folder.iterdir()
        if file.name != "model.json"
    }
    assert program.about["sha256"] == digests
    assert program.about["format"] == "sksiamese onnx 1"


# What is refused, and what is left of it


@pytest.fixture(scope="module")
def rows():
    """A classifier of rows, whose export takes a second."""
    X, y = tabular(), np.repeat(np.arange(N_CLASSES), N_SAMPLES)
    return classifier("mlp", encoder_params={"n_units": 8}).fit(X, y)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


GRAPHS = ["compare.onnx", "embed.onnx", "model.json"]


def test_export_onnx_replaces_an_earlier_export_as_a_whole(rows, tmp_path):
    rows.export_onnx(tmp_path / "rows")
    assert names_in(tmp_path / "rows") == [*GRAPHS, "support.f32"]
    other = clone_of(rows).clear_support()
    other.export_onnx(tmp_path / "rows")
    assert names_in(tmp_path / "rows") == GRAPHS
    assert names_in(tmp_path) == ["rows"]
    assert Program(tmp_path / "rows").about["support"] is None


def test_export_onnx_writes_names_and_an_unknown_label(rows, tmp_path):
    X, y = tabular(), np.repeat(list("abcdef"), N_SAMPLES)
    clf = clone_of(rows).set_support(X, y).set_params(unknown_label="none")
    clf.export_onnx(str(tmp_path / "rows"))
    about = Program(tmp_path / "rows").about
    assert about["unknown_label"] == "none"
    assert about["support"]["labels"] == y.tolist()
    assert about["rejection_threshold"] is None


@pytest.mark.parametrize("name", ["notes.txt", "model.json.bak"])
def test_export_onnx_refuses_a_folder_with_other_files(rows, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OSError, match=re.escape(f"such as {name}")):
        rows.export_onnx(tmp_path)
    assert names_in(tmp_path) == [name]


def test_export_onnx_refuses_paths_that_no_folder_can_have(rows, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="it is a file; expected a new folder"):
        rows.export_onnx(tmp_path / "file")
    with pytest.raises(OSError, match="its parent directory does not exist"):
        rows.export_onnx(tmp_path / "none" / "rows")
    with pytest.raises(TypeError, match="path=3; expected a str or path-like"):
        rows.export_onnx(3)
    assert names_in(tmp_path) == ["file"]


def test_export_onnx_before_fit_raises_not_fitted(tmp_path):
    with pytest.raises(NotFittedError):
        SiameseOneShotClassifier().export_onnx(tmp_path / "none")


@pytest.mark.parametrize("module", ["onnx", "onnxscript"])
def test_export_onnx_names_the_extra_that_is_missing(rows, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'sksiamese\[onnx\]'"):
        rows.export_onnx(tmp_path / "rows")
    assert names_in(tmp_path) == []


class Branching(nn.Module):
    """An encoder whose steps depend on the values of its input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 4)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else -self.linear(x)


def test_export_onnx_of_an_encoder_that_torch_cannot_trace_leaves_no_file(tmp_path):
    X, y = tabular(), np.repeat(np.arange(N_CLASSES), N_SAMPLES)
    clf = classifier(Branching()).fit(X, y)
    with pytest.raises(ValueError, match="torch.export cannot trace its encoder"):
        clf.export_onnx(tmp_path / "rows")
    assert names_in(tmp_path) == []


def test_export_onnx_that_cannot_replace_an_earlier_export_leaves_it(rows, tmp_path, monkeypatch):
    target = tmp_path / "rows"
    rows.export_onnx(target)
    before = (target / "model.json").read_bytes()
    replace, refused = os.replace, []

    def refuse_once(source, place):
        if Path(place) == target and not refused:
            refused.append(source)
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, place)

    monkeypatch.setattr(os, "replace", refuse_once)
    with pytest.raises(OSError, match="No space left"):
        clone_of(rows).clear_support().export_onnx(target)
    assert refused
    assert names_in(tmp_path) == ["rows"]
    assert (target / "model.json").read_bytes() == before
