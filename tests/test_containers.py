"""Containers: lists, columns, tensors, Pillow images and what is no array, for every estimator."""

import collections
import copy
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import classifier, unchanged
from PIL import Image
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseVerifier,
)
from sksiamese.datasets import make_glyphs

X, Y = make_glyphs(n_classes=6, n_samples=4, image_size=20, random_state=0)
FIRST = slice(None, None, 4)


def as_objects(items):
    """Return a column of objects, as pandas has it."""
    column = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        column[row] = item
    return column


def pictures(images=X):
    return [Image.fromarray(image) for image in images]


# Every kind of estimator


@pytest.fixture(scope="module")
def one_shot():
    return classifier().fit(X, Y).set_support(X[FIRST], Y[FIRST])


@pytest.fixture(scope="module")
def estimators(one_shot):
    """(estimator, what it answers for images of any container), by name."""
    frozen = FrozenTwinClassifier(one_shot).fit(X[FIRST], Y[FIRST])
    pipeline = make_pipeline(FunctionTransformer(), copy.copy(one_shot))
    pipeline.fit(X, Y)
    motor = MotorProgramClassifier(n_walks=1, primitives=False).fit(X[FIRST], Y[FIRST])
    return {
        "classifier": one_shot,
        "frozen": frozen,
        "pipeline": pipeline,
        "motor programs": motor,
        "verifier": SiameseVerifier.from_classifier(one_shot),
    }


NAMES = ["classifier", "frozen", "pipeline", "motor programs", "verifier"]


def answer(estimator, images):
    """Return what the estimator says of images: of a verifier their embeddings."""
    if isinstance(estimator, SiameseVerifier):
        return estimator.transform(images)
    return estimator.decision_function(images)


# What is taken, as the array that it stands for

TAKEN = {
    "list of arrays": lambda: list(X),
    "tuple of arrays": lambda: tuple(X),
    "nested lists": lambda: X.tolist(),
    "deque": lambda: collections.deque(X),
    "column of arrays": lambda: as_objects(X),
    "series of arrays": lambda: pd.Series(list(X)),
    "frame of one column": lambda: pd.DataFrame({"image": list(X)}),
    "object pixels": lambda: X.astype(object),
    "tensor": lambda: torch.tensor(X),
    "tensor that requires grad": lambda: torch.tensor(X).float().requires_grad_(),
    "bfloat16 tensor": lambda: torch.tensor(X).bfloat16(),
    "float16 tensor": lambda: torch.tensor(X).half(),
    "list of tensors": lambda: list(torch.tensor(X)),
    "list of tensors that require grad": lambda: [
        image.bfloat16().requires_grad_() for image in torch.tensor(X)
    ],
    "masked array without mask": lambda: np.ma.masked_array(X),
    "Pillow images": lambda: pictures(),
    "tuple of Pillow images": lambda: tuple(pictures()),
    "column of Pillow images": lambda: as_objects(pictures()),
    "series of Pillow images": lambda: pd.Series(pictures()),
    "mode P": lambda: [image.convert("P") for image in pictures()],
    "mode P, palette in another order": lambda: [reordered(image) for image in pictures()],
    "mode LA": lambda: [image.convert("LA") for image in pictures()],
    "mode RGB": lambda: [image.convert("RGB") for image in pictures()],
    "mode RGBA": lambda: [image.convert("RGBA") for image in pictures()],
    "mode I;16": lambda: [Image.fromarray(image.astype(np.uint16) * 257) for image in X],
    "some of mode RGB": lambda: [
        image.convert("RGB") if row % 2 else image for row, image in enumerate(pictures())
    ],
}


def reordered(image):
    """Return a palette image whose indices are not gray values."""
    palette = np.repeat(np.arange(256)[::-1], 3).astype(np.uint8)
    other = Image.fromarray(255 - np.asarray(image), mode="P")
    other.putpalette(palette.tobytes())
    return other


@pytest.mark.parametrize("estimator", NAMES)
@pytest.mark.parametrize("name", TAKEN)
def test_predict_takes_every_container_for_its_images(estimators, estimator, name):
    if name == "frame of one column" and estimator == "pipeline":
        pytest.skip("a Pipeline checks the names of columns")
    own = estimators[estimator]
    rows = slice(0, 24, 12)
    images = TAKEN[name]()
    images = images[rows] if not isinstance(images, collections.deque) else list(images)[rows]
    expected = X.astype(np.float32)[rows]
    if "bfloat16" in name or "require grad" in name:
        expected = torch.tensor(X[rows]).bfloat16().float().numpy()
    np.testing.assert_allclose(answer(own, images), answer(own, expected), atol=1e-4)


@pytest.mark.parametrize("name", ["list of arrays", "series of arrays", "Pillow images", "mode P"])
def test_fit_and_set_support_take_containers(one_shot, name):
    expected = classifier().fit(X, Y)
    clf = classifier().fit(TAKEN[name](), Y)
    np.testing.assert_array_equal(clf.transform(X), expected.transform(X))
    support = copy.copy(one_shot).set_support(TAKEN[name](), Y).add_support(TAKEN[name](), Y)
    assert len(support.support_) == 48


def test_mode_1_becomes_black_and_white(one_shot):
    bilevel = [image.point(lambda v: 255 * (v > 127)).convert("1") for image in pictures()]
    expected = one_shot.decision_function(np.where(X > 127, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(one_shot.decision_function(bilevel), expected)


def test_pillow_images_are_turned_upright_by_exif(one_shot):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 270 degrees
    sideways = []
    for image in pictures()[:3]:
        file = io.BytesIO()
        image.transpose(Image.Transpose.ROTATE_90).save(file, "png", exif=exif)
        sideways.append(Image.open(file))
    expected = one_shot.decision_function(X[:3])
    np.testing.assert_array_equal(one_shot.decision_function(sideways), expected)


def test_colored_pillow_images_are_taken_as_the_network_knows_them(one_shot):
    tinted = [
        Image.merge("RGB", [image, image, image.point(lambda v: v * 0.9)]) for image in pictures()
    ]
    of_colors = classifier().fit(tinted, Y)
    assert of_colors.input_shape_ == (3, 20, 20)
    # One that has no colors is a picture in color all the same.
    gray = of_colors.decision_function(pictures()[:1])
    np.testing.assert_allclose(gray, of_colors.decision_function(np.stack([X[:1]] * 3, -1)), 1e-4)
    as_gray = np.stack([np.asarray(image.convert("L")) for image in tinted])
    np.testing.assert_array_equal(
        one_shot.decision_function(tinted), one_shot.decision_function(as_gray)
    )


def test_verifier_takes_pairs_of_pillow_images(estimators):
    verifier, images = estimators["verifier"], pictures()
    pairs = list(zip(images[:5], images[4:9], strict=True))
    expected = verifier.decision_function(np.stack([X[:5], X[4:9]], axis=1))
    np.testing.assert_array_equal(verifier.decision_function(pairs), expected)
    columns = pd.Series(pairs)
    np.testing.assert_array_equal(verifier.decision_function(columns), expected)
    with_callable = copy.copy(verifier).set_params(
        preprocessor=lambda rows: [images[row] for row in rows]
    )
    rows = np.stack([np.arange(5), np.arange(4, 9)], axis=1)
    np.testing.assert_array_equal(with_callable.decision_function(rows), expected)


# What is refused, in words that say what to pass


class Drawings(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, row):
        return X[row], int(Y[row])


FILES = r"sksiamese\.datasets\.load_images\(files\)\.images"
REFUSED = {
    "one path": (lambda: "a.png", f"X is a path, 'a.png'; .*{FILES}"),
    "a Path": (lambda: Path("a.png"), f"X is a path, .*{FILES}"),
    "list of paths": (lambda: ["a.png", "b.png"], rf"X\[0\] is 'a.png'; .*{FILES}"),
    "list of Paths": (lambda: [Path("a.png")], rf"X\[0\] is .*{FILES}"),
    "array of paths": (lambda: np.array(["a.png", "b.png"]), f"X has text, .*{FILES}"),
    "series of paths": (lambda: pd.Series(["a.png", "b.png"]), FILES),
    "bytes of a file": (lambda: [b"\x89PNG"], FILES),
    "generator": (lambda: (image for image in X), "X is of type generator, .*Pass list"),
    "map": (lambda: map(np.asarray, X), "X is of type map, .*Pass list"),
    "Dataset": (Drawings, r"X is of type Drawings; .*\[image for image, _ in dataset\]"),
    "DataLoader": (
        lambda: torch.utils.data.DataLoader(Drawings()),
        r"X is of type DataLoader, .*torch\.cat\(\[images for images, _ in loader\]\)",
    ),
    "images with labels": (
        lambda: [(X[0], 0), (X[1], 1)],
        r"X\[0\] is a pair \(image, label\); .*and the labels as y",
    ),
    "Pillow images with labels": (lambda: [(pictures()[0], "a")], r"X\[0\] is a pair \(image, la"),
    "dict": (lambda: {"images": X}, "X is a dict; expected an array or a list"),
    "list of dicts": (lambda: [{"image": X[0]}], r"X\[0\] is a dict; expected an image"),
    "set": (lambda: {1, 2}, "X is a set; expected an array"),
    "number": (lambda: 5, "X is a single number, 5; expected images"),
    "array without axes": (lambda: np.array(5.0), "X is a single value; expected an array"),
    "None in a list": (lambda: [X[0], None, X[1]], r"X\[1\] is None; expected an image"),
    "column of None": (lambda: np.array([None, None]), r"X\[0\] is None; expected an image"),
    "None among pixels": (
        lambda: np.where(np.arange(400).reshape(20, 20) == 7, None, X.astype(object)),
        r"X\[0\] holds None; expected numbers",
    ),
    "arrays of several sizes": (
        lambda: [*X[:2], X[2, :9]],
        r"X\[2\] has shape \(9, 20\), but X\[0\] shape \(20, 20\); expected images of one size",
    ),
    "column of several sizes": (lambda: as_objects([*X[:2], X[2, :9]]), r"X\[2\] has shape \(9,"),
    "tensors of several sizes": (
        lambda: [torch.zeros(20, 20), torch.zeros(20, 9)],
        r"X\[1\] has shape \(20, 9\), but",
    ),
    "ragged lists": (lambda: [[1, 2], [1, 2], [1]], r"X\[2\] has shape \(1,\), but X\[0\] shape"),
    "Pillow images of several sizes": (
        lambda: [*pictures()[:3], Image.new("L", (30, 40))],
        r"X\[3\] has 40x30 pixels, but the first image has 20x20; expected images of one size",
    ),
    "one Pillow image": (lambda: pictures()[0], r"X is a single Pillow image; .*Pass \[image\]"),
    "Pillow image beside an array": (lambda: [*pictures()[:2], X[2]], r"X\[2\] is a ndarray, but"),
    "mode LAB": (
        lambda: [*pictures()[:1], Image.new("LAB", (20, 20))],
        r"X\[1\] cannot be used: mode 'LAB'",
    ),
    "complex": (lambda: X + 1j, "Complex data not supported: X has dtype complex128"),
    "complex tensor": (lambda: torch.tensor(X) + 0j, "Complex data not supported"),
    "datetimes": (lambda: X.astype("M8[s]"), r"X has dtype datetime64\[s\]; expected integers"),
    "text": (lambda: X.astype(str), r"X has text, dtype <U3 .*X\.astype\(float\)"),
    "records": (lambda: np.zeros((3, 20, 20), "i4,f4"), "X has dtype .*; expected integers"),
    "sparse tensor": (lambda: torch.tensor(X).to_sparse(), r"X is a sparse tensor; .*to_dense"),
    "tensor without values": (
        lambda: torch.empty(3, 20, 20, device="meta"),
        "X is a tensor of torch.float32 on device meta",
    ),
    "sparse matrix": (
        lambda: sparse.csr_matrix(X.reshape(24, -1)),
        "Sparse data was passed for X, but dense data is required",
    ),
    "masked array": (
        lambda: np.ma.masked_array(X, np.arange(24)[:, None, None] == np.full(X.shape, 3)),
        r"X is a masked array, with 400 values masked, the first in X\[3\]",
    ),
    "masked array in a list": (
        lambda: [X[0], np.ma.masked_equal(X[1], X[1].min())],
        r"X\[1\] is a masked array",
    ),
}


@pytest.mark.parametrize("estimator", NAMES)
@pytest.mark.parametrize("name", REFUSED)
def test_methods_refuse_what_holds_no_images(estimators, estimator, name):
    make, message = REFUSED[name]
    own = estimators[estimator]
    fitted = own.fitted_ if estimator != "pipeline" else own[-1].fitted_
    with pytest.raises((ValueError, TypeError), match=message):
        answer(own, make())
    assert (own.fitted_ if estimator != "pipeline" else own[-1].fitted_) is fitted


@pytest.mark.parametrize("name", REFUSED)
def test_fit_and_set_support_refuse_what_holds_no_images(one_shot, name):
    make, message = REFUSED[name]
    clf = copy.copy(one_shot)
    for method in ("fit", "set_support", "add_support", "calibrate", "score"):
        with unchanged(clf), pytest.raises((ValueError, TypeError), match=message):
            getattr(clf, method)(make(), Y)
    verifier = SiameseVerifier()
    message = f"{message}|expected pairs"
    with unchanged(verifier), pytest.raises((ValueError, TypeError), match=message):
        verifier.fit(make(), np.arange(24) % 2)


def test_similarity_and_pair_proba_name_the_argument(one_shot):
    for method in (one_shot.similarity, one_shot.pair_proba):
        with pytest.raises(ValueError, match=r"XB\[5\] has values from 0 to 1"):
            method(X, np.where(np.arange(24)[:, None, None] == 5, X / 255, X))


# Labels, groups, pairs and row numbers

LABELS = np.ma.masked_array(np.arange(24) // 4, np.arange(24) == 9)


@pytest.mark.parametrize("labels", [LABELS, [*range(23), np.ma.masked]], ids=["array", "list"])
def test_masked_labels_are_refused(one_shot, labels):
    message = r"y(\[23\])? is (a )?masked"
    for method in ("fit", "set_support", "add_support", "calibrate", "score"):
        clf = copy.copy(one_shot)
        with unchanged(clf), pytest.raises(ValueError, match=message):
            getattr(clf, method)(X, labels)
    for clf in (FrozenTwinClassifier(one_shot), MotorProgramClassifier()):
        with unchanged(clf), pytest.raises(ValueError, match=message):
            clf.fit(X, labels)


def test_masked_groups_pairs_and_rows_are_refused(one_shot):
    with pytest.raises(ValueError, match=r"groups is a masked array.*groups\[9\]"):
        classifier().fit(X, Y, groups=LABELS)
    pairs = np.ma.masked_array([[0, 1, 1], [0, 5, 0]], [[0, 0, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match=r"y is a masked array.*y\[1\]"):
        classifier().fit(X, pairs)
    with pytest.raises(ValueError, match="labels is a masked array"):
        copy.copy(one_shot).remove_support(np.ma.masked_array([0, 1], [0, 1]))
    rows = np.ma.masked_array([[0, 1], [0, 5]], [[0, 0], [1, 0]])
    verifier = SiameseVerifier.from_classifier(one_shot, preprocessor=X)
    with pytest.raises(ValueError, match=r"X is a masked array.*X\[1\]"):
        verifier.predict(rows)
    with pytest.raises(ValueError, match=r"X is a masked array.*X\[1\]"):
        verifier.transform(rows[:, 0])
    verifier.set_params(preprocessor=np.ma.masked_equal(X, 255))
    with pytest.raises(ValueError, match="preprocessor is a masked array"):
        verifier.predict([[0, 1]])


@pytest.mark.parametrize("name", ["y", "groups"])
def test_missing_labels_of_pandas_are_refused(one_shot, name):
    labels = pd.Series([*range(23), None], dtype="Int64")
    arguments = {"y": labels} if name == "y" else {"y": Y, "groups": labels}
    with pytest.raises(ValueError, match="contains NaN|holds <NA>"):
        classifier().fit(X, **arguments)
    with pytest.raises(ValueError, match="contains NaN|NA"):
        classifier("mlp").fit(pd.DataFrame({"a": labels, "b": labels}), Y)


def test_labels_may_be_tensors(one_shot):
    y = torch.tensor(Y)
    assert copy.copy(one_shot).set_support(X, y).classes_.tolist() == list(range(6))
    assert one_shot.score(X, y) == one_shot.score(X, Y)
