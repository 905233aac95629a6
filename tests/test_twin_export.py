"""Export: `torch.export` and ONNX agree with the network, for any number of samples."""

import numpy as np
import pytest
import torch
from torch import nn

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import make_glyphs

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
N_CLASSES, N_SAMPLES = 6, 4
KINDS = {
    "conv-weighted_l1": {"encoder": "conv", "head": "weighted_l1"},
    "conv-aligned": {"encoder": "conv", "head": "aligned"},
    "mlp-weighted_l1": {"encoder": "mlp", "head": "weighted_l1"},
    "koch-signed_l1": {
        "encoder": "koch",
        "head": "signed_l1",
        "encoder_params": {"n_units": 32, "units_std": 0.2},
        "head_params": {"alpha_std": 1.0},
        "learning_rate": 1e-5,  # larger ones collapse it
    },
    "ensemble": {"encoder": "conv", "head": "weighted_l1", "n_estimators": 2},
}


def samples_of(kind):
    """Return drawings, or, for the MLP, rows of a table."""
    if kind.startswith("mlp"):
        return np.random.default_rng(0).normal(size=(N_CLASSES * N_SAMPLES, 12))
    side = 65 if kind.startswith("koch") else 20
    return make_glyphs(N_CLASSES, N_SAMPLES, image_size=side, random_state=0)[0]


@pytest.fixture(scope="module", params=KINDS)
def scene(request):
    """A fitted classifier, samples, and the same samples scaled."""
    X = samples_of(request.param)
    y = np.repeat(np.arange(N_CLASSES), N_SAMPLES)
    clf = SiameseOneShotClassifier(
        max_iter=2,
        augmentation=None,
        resize=None,
        precision="float32",
        random_state=0,
        **KINDS[request.param],
    ).fit(X, y)
    rows = torch.from_numpy(X.astype(np.float32))
    return clf, X, clf.fitted_.comparer.scaling(rows if X.ndim == 2 else rows[:, None])


class Embedding(nn.Module):
    """The part of a network that embeds."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network.embed(images)


class Comparison(nn.Module):
    """The part of a network that compares the embeddings of queries and exemplars."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, queries, exemplars):
        return self.network.head.logits(queries, exemplars)


def dynamic(*names):
    """Return dynamic shapes in which each of these inputs has any number of rows."""
    return {name: {0: torch.export.Dim(name)} for name in names}


def exported(module, *inputs, names=("images",)):
    return torch.export.export(module, inputs, dynamic_shapes=dynamic(*names)).module()


def test_twin_network_forward_agrees_with_the_estimator_s_similarity(scene):
    clf, X, scaled = scene
    logits = clf.network_(scaled)
    np.testing.assert_allclose(logits, clf.similarity(X, X), **CLOSE)
    assert logits.std() > 500 * CLOSE["atol"]  # what follows does not compare constants


def test_torch_export_agrees_with_the_network_for_any_number_of_samples(scene):
    clf, X, scaled = scene
    program = exported(clf.network_, scaled[:5])
    for n in (2, 5, len(scaled)):
        torch.testing.assert_close(program(scaled[:n]), clf.network_(scaled[:n]), **CLOSE)
    np.testing.assert_allclose(program(scaled), clf.similarity(X, X), **CLOSE)
    many = scaled.repeat(4, *[1] * (scaled.ndim - 1))  # more than a tile
    torch.testing.assert_close(program(many), clf.network_(many), **CLOSE)


def test_torch_export_of_embed_agrees_with_the_estimator_s_transform(scene):
    clf, X, scaled = scene
    embeddings = exported(Embedding(clf.network_).eval(), scaled[:5])(scaled)
    torch.testing.assert_close(embeddings, clf.network_.embed(scaled), **CLOSE)
    rows = embeddings.flatten(1) / clf.n_estimators
    np.testing.assert_allclose(rows, clf.transform(X), **CLOSE)


def test_torch_export_of_the_head_compares_any_numbers_of_queries_and_exemplars(scene):
    clf, X, scaled = scene
    embeddings = clf.network_.embed(scaled)
    compare = exported(
        Comparison(clf.network_).eval(),
        embeddings[:5],
        embeddings[:3],
        names=("queries", "exemplars"),
    )
    for n_queries, n_exemplars in ((2, 7), (len(X), 4)):
        queries, exemplars = embeddings[:n_queries], embeddings[-n_exemplars:]
        expected = clf.similarity(X[:n_queries], X[-n_exemplars:])
        np.testing.assert_allclose(compare(queries, exemplars), expected, **CLOSE)


@pytest.fixture(scope="module")
def onnxruntime():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


def session_of(onnxruntime, path, module, *inputs, names=("images",)):
    """Return a function that runs the exported module on arrays."""
    torch.onnx.export(
        module, inputs, str(path), dynamo=True, dynamic_shapes=dynamic(*names), verbose=False
    )
    session = onnxruntime.InferenceSession(str(path))
    assert [node.name for node in session.get_inputs()] == list(names)

    def run(*arrays):
        feed = {name: array.numpy() for name, array in zip(names, arrays, strict=True)}
        return session.run(None, feed)[0]

    return run


def test_onnx_export_agrees_with_the_network_for_any_number_of_samples(
    scene, onnxruntime, tmp_path
):
    clf, X, scaled = scene
    run = session_of(onnxruntime, tmp_path / "network.onnx", clf.network_, scaled[:5])
    for n in (2, 5, len(scaled)):
        np.testing.assert_allclose(run(scaled[:n]), clf.network_(scaled[:n]), **CLOSE)
    np.testing.assert_allclose(run(scaled), clf.similarity(X, X), **CLOSE)


def test_onnx_export_of_embed_and_of_the_head_agrees_with_the_estimator(
    scene, onnxruntime, tmp_path
):
    clf, X, scaled = scene
    embed = session_of(
        onnxruntime, tmp_path / "embedding.onnx", Embedding(clf.network_).eval(), scaled[:5]
    )
    embeddings = torch.from_numpy(embed(scaled))
    torch.testing.assert_close(embeddings, clf.network_.embed(scaled), **CLOSE)
    compare = session_of(
        onnxruntime,
        tmp_path / "head.onnx",
        Comparison(clf.network_).eval(),
        embeddings[:5],
        embeddings[:3],
        names=("queries", "exemplars"),
    )
    for n in (2, len(X)):
        logits = compare(embeddings, embeddings[:n])
        np.testing.assert_allclose(logits, clf.similarity(X, X[:n]), **CLOSE)
