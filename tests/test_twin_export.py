"""Export: what `torch.export` makes of network and scaling agrees with the estimator."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import make_glyphs
from sksiamese.twin.export import CellComparison, Comparison, Embedding, scaling_module
from sksiamese.twin.scaling import InputScaling

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
    samples = rows if X.ndim == 2 else rows[:, None]
    return clf, X, samples, clf.fitted_.comparer.scaling(samples)


def dynamic(*names):
    """Return dynamic shapes in which each of these inputs has any number of rows."""
    return {name: {0: torch.export.Dim(name)} for name in names}


def exported(module, *inputs, names=("images",)):
    return torch.export.export(module, inputs, dynamic_shapes=dynamic(*names)).module()


def test_twin_network_forward_agrees_with_the_estimator_s_similarity(scene):
    clf, X, samples, scaled = scene
    logits = clf.network_(scaled)
    np.testing.assert_allclose(logits, clf.similarity(X, X), **CLOSE)
    assert logits.std() > 500 * CLOSE["atol"]  # what follows does not compare constants


def test_torch_export_agrees_with_the_network_for_any_number_of_samples(scene):
    clf, X, samples, scaled = scene
    program = exported(clf.network_, scaled[:5])
    for n in (2, 5, len(scaled)):
        torch.testing.assert_close(program(scaled[:n]), clf.network_(scaled[:n]), **CLOSE)
    np.testing.assert_allclose(program(scaled), clf.similarity(X, X), **CLOSE)
    many = scaled.repeat(4, *[1] * (scaled.ndim - 1))  # more than a tile
    torch.testing.assert_close(program(many), clf.network_(many), **CLOSE)


def test_embedding_exported_takes_raw_samples_as_transform(scene):
    clf, X, samples, _ = scene
    embedding = Embedding(clf.network_, clf.fitted_.comparer.scaling).eval()
    embeddings, levels, *boxes = exported(embedding, samples[:5], names=("samples",))(samples)
    np.testing.assert_allclose(embeddings / clf.n_estimators, clf.transform(X), **CLOSE)
    assert not levels.any()
    assert len(boxes) == (X.ndim > 2)


def test_comparison_exported_compares_any_numbers_of_queries_and_exemplars(scene):
    clf, X, _, scaled = scene
    embeddings = clf.network_.embed(scaled).flatten(1)
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


def test_embedding_returns_levels_that_are_linear_in_the_embeddings(scene):
    clf, _, samples, _ = scene
    weights = torch.linspace(-1, 1, math.prod(clf.network_.head.embedding_shape))
    weights = weights.reshape(clf.network_.head.embedding_shape)
    embedding = Embedding(clf.network_, clf.fitted_.comparer.scaling, weights, 0.5)
    embeddings, levels, *_ = embedding(samples)
    torch.testing.assert_close(levels, embeddings @ weights.flatten() + 0.5, **CLOSE)


def test_cell_comparison_adds_up_to_the_logits_of_the_head_that_compares_cells(scene):
    clf, _, _, scaled = scene
    if clf.head != "aligned":
        with pytest.raises(ValueError, match="no head of the network compares cells"):
            CellComparison(clf.network_)
        return
    embeddings = clf.network_.embed(scaled)
    rows = embeddings.flatten(1)
    pairs = {0: torch.export.Dim("pairs")}
    shapes = {"queries": pairs, "exemplars": pairs}
    module = CellComparison(clf.network_).eval()
    cells = torch.export.export(module, (rows[:5], rows[5:10]), dynamic_shapes=shapes).module()
    for n in (2, 7):
        found = cells(rows[:n], rows[n : 2 * n])
        assert found.shape == (n, 2, *clf.network_.head.map_shape)
        logits = clf.network_.head.pair_logits(embeddings[:n], embeddings[n : 2 * n])
        torch.testing.assert_close(found.sum((1, 2, 3)), logits, **CLOSE)


# Cropping, by the steps of docs/export.md

SIDE = 40


def square(paper, pen, top=12, left=8, height=10, width=16, channels=1):
    """Return an image with a rectangle, (channels, SIDE, SIDE)."""
    image = np.full((channels, SIDE, SIDE), paper, dtype=np.float32)
    image[:, top : top + height, left : left + width] = pen
    return image


def noisy(image, strength):
    return image + strength * np.random.default_rng(0).normal(size=image.shape).astype(np.float32)


def striped(image, strength):
    """Return an image on paper of three shades, which correction leaves as it is."""
    rows, columns = np.indices(image.shape[1:])
    return (image - strength * ((rows + columns) % 3)).astype(np.float32)


IMAGES = {
    "drawing": square(255, 0),
    "at the border": square(255, 0, top=0, left=0),
    "large": square(255, 0, 2, 2, 36, 36),
    "a speck": square(255, 0, height=1, width=1),
    "faint": square(255, 180),
    "fainter than noise": square(255, 230),
    "blank": square(255, 255),
    "on gray paper": square(150, 20),
    "on paper as dark as foreground": square(60, 0),
    "light on dark gray": square(120, 220),
    "light on light gray": square(195, 255),
    "cut off by the border": square(150, 255, 5, 5, 25, 25),
    "blank as dark as foreground": square(60, 60),
    "mostly foreground": square(20, 255, 2, 2, 36, 36),
    "noisy": noisy(square(255, 0), 10),
    "too noisy for a quarter": striped(np.minimum(square(255, 0), square(255, 170, 28)), 15),
    "wide": square(255, 0, height=2, width=30),
}


def crop_to(channels=1, size=(SIDE, SIDE), working_size=(24, 20)):
    full = torch.full((channels, 1, 1), 255.0, dtype=torch.float64)
    return InputScaling(full, -full, size, working_size, "foreground")


def assert_crops_alike(scaling, images):
    x = torch.from_numpy(images)
    scaled, boxes = scaling_module(scaling)(x)
    torch.testing.assert_close(scaled, scaling(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(boxes.double(), scaling.boxes(x), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", IMAGES)
def test_scaling_module_crops_as_input_scaling(name):
    assert_crops_alike(crop_to(), IMAGES[name][None])


def test_scaling_module_crops_each_image_by_itself():
    assert_crops_alike(crop_to(), np.stack([IMAGES["drawing"], IMAGES["faint"], IMAGES["wide"]]))


def test_scaling_module_crops_colours_as_input_scaling():
    image = square(200, 200, channels=3)
    image[1, 10:20, 5:30] = 20  # foreground in one channel
    image[2] = 90  # another paper
    image[2, 15:18, 10:12] = 0
    assert_crops_alike(crop_to(3), image[None])
    assert_crops_alike(crop_to(3), square(255, 0)[None])  # gray, for three channels


@pytest.mark.parametrize("shape", [(30, 60), (105, 90), (24, 24)])
def test_scaling_module_crops_images_of_any_size(shape):
    image = np.full((1, 1, *shape), 255, dtype=np.float32)
    image[..., 5:15, 8:12] = 0
    module = scaling_module(crop_to(size=(SIDE, SIDE)))
    scaling = crop_to(size=shape)
    torch.testing.assert_close(
        module(torch.from_numpy(image))[0], scaling(torch.from_numpy(image)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("working_size", [(SIDE, SIDE), (24, 20), (64, 50)])
def test_scaling_module_resizes_whole_images_as_input_scaling(working_size):
    scaling = replace(crop_to(working_size=working_size), crop=None)
    x = torch.from_numpy(np.stack([IMAGES["drawing"], IMAGES["noisy"]]))
    scaled, boxes = scaling_module(scaling)(x)
    torch.testing.assert_close(scaled, scaling(x), rtol=1e-5, atol=1e-5)
    assert boxes.tolist() == [[0, SIDE, 0, SIDE]] * 2
