"""save and load: the same estimator comes back, or an error says why not, and nothing is lost."""

import copy
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import model_files
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import classifier, make_features, make_table
from safetensors.torch import save_file
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback
from torch import nn

from sksiamese import (
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
    load_pretrained,
)
from sksiamese.datasets import ImageArray, make_glyphs
from sksiamese.model_selection import make_pairs

X, y = make_glyphs(n_classes=6, n_samples=4, random_state=0)
PAIRS = make_pairs(y, n_pairs=60, random_state=0)


def fitted(**params):
    params = {"max_iter": 2, "random_state": 0, **params}
    return SiameseOneShotClassifier(**params).fit(X, y)


def fitted_verifier(**params):
    params = {"max_iter": 2, "random_state": 0, **params}
    return SiameseVerifier(**params).fit(X[PAIRS[:, :2]], PAIRS[:, 2])


@pytest.fixture(scope="module")
def plain():
    """A classifier to save; copy it before you change it."""
    return fitted()


def calibrated():
    """Calibrated on held-out classes of its own, with text labels and an unknown label."""
    glyphs, labels = make_glyphs(n_classes=16, n_samples=6, random_state=0)
    clf = SiameseOneShotClassifier(
        unknown_label="unknown", early_stopping=True, max_iter=4, random_state=0
    )
    return clf.fit(glyphs, labels.astype(str))


def of_rows():
    clf = SiameseOneShotClassifier(image_shape=(28, 28), max_iter=1, random_state=0)
    return clf.fit(X.reshape(len(X), -1), y)


def of_pairs():
    return SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, PAIRS)


def grown():
    """A support of several blocks."""
    clf = fitted().set_support(X[:8], y[:8])
    for row in range(8, 16):
        clf.add_support(X[row : row + 1], y[row : row + 1])
    return clf


ESTIMATORS = {
    "default": fitted,
    "aligned": lambda: fitted(head="aligned", head_params={"window": 2}),
    "signed_l1": lambda: fitted(head="signed_l1", head_params={"alpha_std": 0.1}),
    "ensemble": lambda: fitted(n_estimators=2),
    "mlp": lambda: fitted(encoder="mlp"),
    "conv1d": lambda: fitted(encoder="conv1d"),  # 28 channels
    "conv1d verifier": lambda: fitted_verifier(encoder="conv1d"),
    "pairs": of_pairs,
    "flat": of_rows,
    "parameters": lambda: fitted(
        batch_size=(1, 5, 3),
        encoder_params={"width": 8},
        resize=(20, 24),
        crop="foreground",
        class_augmentation="rotate",
        optimizer="sgd",
        optimizer_params={"momentum": 0.5, "param_groups": (("head.*", {"lr": 1e-3}),)},
    ),
    "calibrated": calibrated,
    "grown": grown,
    "verifier": fitted_verifier,
    "verifier ensemble": lambda: fitted_verifier(n_estimators=2),
    "verifier threshold": lambda: fitted_verifier().calibrate_threshold(
        X[PAIRS[:, :2]], PAIRS[:, 2], "max_tnr", min_rate=1.0
    ),
    "verifier -1": lambda: SiameseVerifier(max_iter=1, random_state=0).fit(
        X[PAIRS[:, :2]], 2 * PAIRS[:, 2] - 1
    ),
    "from a classifier": lambda: SiameseVerifier.from_classifier(calibrated()),
    "to a classifier": lambda: fitted_verifier().to_classifier(),
    "pretrained": lambda: load_pretrained("omniglot").set_support(X[::4], y[::4]),
}


def answers(estimator):
    """Return what an estimator says of X: logits of all pairs, and its labels where it has any."""
    said = [estimator.similarity(X, X), estimator.transform(X)]
    if isinstance(estimator, SiameseVerifier):
        said.append(estimator.predict(X[PAIRS[:, :2]]))
    elif hasattr(estimator, "support_"):
        said += [estimator.predict(X), estimator.decision_function(X), estimator.kneighbors(X, 4)]
    return said


PUBLIC = [
    "history_",
    "n_iter_",
    "input_shape_",
    "n_features_in_",
    "classes_",
    "held_out_classes_",
    "rejection_threshold_",
    "decision_threshold_",
    "feature_names_in_",
]


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_load_returns_the_estimator_that_save_wrote(tmp_path, kind):
    saved = ESTIMATORS[kind]()
    saved.save(tmp_path / "one")
    again = type(saved).load(tmp_path / "one")
    assert again.get_params() == saved.get_params()
    for expected, found in zip(answers(saved), answers(again), strict=True):
        np.testing.assert_array_equal(found, expected)
    for name in PUBLIC:
        assert hasattr(again, name) == hasattr(saved, name)
        if hasattr(saved, name):
            expected, found = getattr(saved, name), getattr(again, name)
            np.testing.assert_array_equal(found, expected)
            if isinstance(expected, np.ndarray):
                assert found.dtype == expected.dtype
    assert again.fitted_.calibration == saved.fitted_.calibration
    assert not any(p.requires_grad for p in again.network_.parameters())
    again.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_load_returns_the_classifier_of_series_of_one_channel(tmp_path):
    rows = X[:, 14].astype(float)
    saved = SiameseOneShotClassifier("conv1d", max_iter=1, random_state=0).fit(rows, y)
    saved.save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    assert again.input_shape_ == (1, 28)
    for series in (rows, rows[:, None]):
        np.testing.assert_array_equal(again.transform(series), saved.transform(series))


def test_save_writes_the_same_bytes_again(tmp_path, plain):
    plain.save(tmp_path / "one")
    pickle.loads(pickle.dumps(plain)).save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_load_returns_what_can_be_fitted_and_supported(tmp_path, plain):
    plain.save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    assert again.set_support(X[:4], list("abcd")).predict(X[:4]).tolist() == list("abcd")
    np.testing.assert_array_equal(again.fit(X, y).transform(X), plain.transform(X))


def test_load_returns_what_warm_start_continues(tmp_path, plain):
    plain.save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network").set_params(warm_start=True)
    expected = copy.copy(plain).set_params(warm_start=True).fit(X, y)
    np.testing.assert_array_equal(again.fit(X, y).transform(X), expected.transform(X))
    assert again.n_iter_ == 4


def test_load_restores_lists_in_parameters_as_tuples(tmp_path):
    layers = [("head.*", {"lr": 1e-3})]
    clf = fitted(optimizer_params={"param_groups": layers}, resize=[20, 24])
    clf.save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    assert again.optimizer_params == {"param_groups": tuple(layers)}
    assert again.resize == (20, 24)
    np.testing.assert_array_equal(again.fit(X, y).transform(X), clf.transform(X))


# Labels and names


@pytest.mark.parametrize(
    "labels",
    [
        np.array(list("abcdef")),
        np.array(list("abcdef"), dtype=object),
        np.arange(6.0),
        np.arange(6, dtype=np.int8),
        np.array([2**63 + i for i in range(6)], dtype=np.uint64),
        np.arange(6, dtype=">i4"),
        np.arange(6, dtype=np.float16),
        np.arange(6).astype("datetime64[D]"),
        np.arange(6).astype("timedelta64[s]"),
        np.array([True, False] * 3),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_save_keeps_labels_of_any_dtype(tmp_path, plain, labels):
    clf = copy.copy(plain).set_support(X[::4], labels)
    clf.save(tmp_path / "one")
    again = SiameseOneShotClassifier.load(str(tmp_path / "one"))
    assert again.classes_.dtype == labels.dtype
    np.testing.assert_array_equal(again.support_.labels, labels)
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))
    again.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.skipif(not hasattr(np, "strings"), reason="NumPy 2 has them")
def test_save_keeps_strings_of_any_length_as_objects(tmp_path, plain):
    labels = np.array(["a", "bb", "c" * 50, "d", "e", "f"], dtype=np.dtypes.StringDType())
    clf = copy.copy(plain).set_support(X[::4], labels)
    clf.save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    assert again.predict(X).tolist() == clf.predict(X).tolist()


def test_save_keeps_feature_names(tmp_path):
    table = pd.DataFrame(X.reshape(len(X), -1)[:, 300:340]).rename(columns=str)
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0)
    clf.fit(table, np.array([[0, 1, 1], [0, 5, 0], [4, 5, 1]])).save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    assert list(again.feature_names_in_) == list(table.columns)
    with pytest.raises(ValueError, match="feature names"):
        again.set_support(table.rename(columns={"0": "other"}), y)
    again.set_support(table[::4], y[::4])
    expected = clf.set_support(table[::4], y[::4]).predict(table)
    np.testing.assert_array_equal(again.predict(table), expected)


def test_save_keeps_numbers_of_numpy_in_the_history(tmp_path):
    class Record(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("steps", np.float32(3))

    clf = fitted(callbacks=[Record()]).set_params(callbacks=None)
    clf.save(tmp_path / "network")
    assert SiameseOneShotClassifier.load(tmp_path / "network").history_[0][0]["steps"] == 3


def test_save_raises_for_objects_in_the_history(tmp_path):
    class Record(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("net", object())

    clf = fitted(callbacks=[Record()]).set_params(callbacks=None)
    with pytest.raises(ValueError, match="history_ holds <object"):
        clf.save(tmp_path / "network")
    assert not list(tmp_path.iterdir())


# Options


def test_save_without_support_leaves_out_embeddings_and_labels(tmp_path, plain):
    clf = copy.copy(plain).set_support(X, np.char.add("person ", y.astype(str)))
    clf.save(tmp_path / "whole")
    clf.save(tmp_path / "network", support=False)
    assert b"person 3" in (tmp_path / "whole").read_bytes()
    assert b"person 3" not in (tmp_path / "network").read_bytes()
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    with pytest.raises(NotFittedError, match="no support yet"):
        again.predict(X)
    np.testing.assert_array_equal(again.transform(X), clf.transform(X))
    copy.copy(plain).clear_support().save(tmp_path / "cleared")
    assert (tmp_path / "cleared").read_bytes() == (tmp_path / "network").read_bytes()


def test_save_half_writes_half_the_size_and_about_the_same_network(tmp_path, plain):
    plain.save(tmp_path / "whole")
    plain.save(tmp_path / "half", half=True)
    assert os.path.getsize(tmp_path / "half") < 0.6 * os.path.getsize(tmp_path / "whole")
    whole, half = (SiameseOneShotClassifier.load(tmp_path / name) for name in ("whole", "half"))
    difference = np.abs(whole.similarity(X, X) - half.similarity(X, X)).max()
    assert 0 < difference < 0.1
    assert (whole.predict(X) == half.predict(X)).mean() > 0.9
    half.save(tmp_path / "again", half=True)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "half").read_bytes()


def test_save_half_of_a_verifier(tmp_path):
    verifier = fitted_verifier().set_params(precision="float32")
    verifier.save(tmp_path / "whole")
    verifier.save(tmp_path / "half", half=True)
    assert os.path.getsize(tmp_path / "half") < 0.6 * os.path.getsize(tmp_path / "whole")
    half = SiameseVerifier.load(tmp_path / "half")
    difference = np.abs(verifier.similarity(X, X) - half.similarity(X, X)).max()
    assert 0 < difference < 0.1


def test_save_of_a_pretrained_network_keeps_the_input_scaling_of_its_support(tmp_path):
    clf = load_pretrained("omniglot").set_support(X[::4], y[::4])
    clf.save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))
    other = np.pad(255 - X, ((0, 0), (3, 3), (3, 3)))  # light on dark, and larger
    np.testing.assert_array_equal(
        again.set_support(other[::4], y[::4]).predict(other), clf.predict(X)
    )


def test_save_without_support_keeps_a_pretrained_network_adaptable(tmp_path):
    load_pretrained("omniglot").save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    with pytest.raises(NotFittedError, match="set_support"):
        again.transform(X)
    expected = load_pretrained("omniglot").set_support(X[::4], y[::4])
    np.testing.assert_array_equal(
        again.set_support(X[::4], y[::4]).predict(X), expected.predict(X)
    )


# What cannot be saved


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"callbacks": [Callback()]}, r"callbacks=.*set_params\(callbacks=None\) first"),
        ({"optimizer": torch.optim.SGD}, r"optimizer=.*set_params\(optimizer='adamw'\) first"),
        ({"augmentation": lambda images, generator: images}, "augmentation=.*cannot write"),
        ({"random_state": np.random.RandomState(0)}, "random_state=.*cannot write"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_save_raises_for_python_objects(tmp_path, params, message):
    clf = fitted(**params)
    with pytest.raises(ValueError, match=message):
        clf.save(tmp_path / "network")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("params", "advised"),
    [
        ({"callbacks": [Callback()]}, {"callbacks": None}),
        ({"optimizer": torch.optim.SGD}, {"optimizer": "adamw"}),
        ({"augmentation": lambda images, generator: images}, {"augmentation": None}),
        ({"random_state": np.random.RandomState(0)}, {"random_state": None}),
    ],
    ids=lambda value: "",
)
def test_save_works_after_what_its_error_advises(tmp_path, params, advised):
    clf = fitted(**params)
    clf.set_params(**advised).save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    np.testing.assert_array_equal(again.decision_function(X), clf.decision_function(X))


def test_save_raises_for_a_preprocessor(tmp_path):
    verifier = SiameseVerifier(preprocessor=ImageArray(X), max_iter=1, random_state=0)
    verifier.fit(PAIRS[:, :2], PAIRS[:, 2])
    with pytest.raises(ValueError, match=r"set_params\(preprocessor=None\) first.*after load"):
        verifier.save(tmp_path / "verifier")
    expected = verifier.predict_proba(PAIRS[:, :2])
    verifier.set_params(preprocessor=None).save(tmp_path / "verifier")
    again = SiameseVerifier.load(tmp_path / "verifier").set_params(preprocessor=X)
    np.testing.assert_array_equal(again.predict_proba(PAIRS[:, :2]), expected)


@pytest.mark.parametrize("estimator", [SiameseOneShotClassifier(), SiameseVerifier()])
def test_save_raises_before_fit(tmp_path, estimator):
    with pytest.raises(NotFittedError):
        estimator.save(tmp_path / "network")
    assert not list(tmp_path.iterdir())


# Files


def test_save_writes_through_a_link(tmp_path, plain):
    (tmp_path / "link").symlink_to(tmp_path / "network")
    plain.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "network").is_file()


def test_save_raises_for_a_path_that_cannot_be_written(tmp_path, plain):
    with pytest.raises(OSError, match="nowhere.*its parent directory does not exist"):
        plain.save(tmp_path / "nowhere" / "network")
    with pytest.raises(OSError, match="it is a directory"):
        plain.save(tmp_path)
    with pytest.raises(TypeError, match="path=5; expected a str or path-like"):
        plain.save(5)
    with pytest.raises(ValueError, match="path='a.x00b' has a null character"):
        plain.save("a\0b")


def test_load_raises_for_a_path_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        SiameseOneShotClassifier.load(tmp_path / "nowhere")
    with pytest.raises(OSError, match="it is a folder"):
        SiameseOneShotClassifier.load(tmp_path)
    with pytest.raises(TypeError, match="path=None; expected a str or path-like"):
        SiameseOneShotClassifier.load(None)


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_load_raises_for_a_truncated_file(tmp_path, plain, keep):
    path = tmp_path / "network"
    plain.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(OSError, match="network is damaged"):
        SiameseOneShotClassifier.load(path)


def test_load_raises_for_a_pickle(tmp_path, plain):
    path = tmp_path / "network"
    path.write_bytes(pickle.dumps(plain))
    with pytest.raises(OSError, match="network is damaged, or not a file that save wrote"):
        SiameseOneShotClassifier.load(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "format 'None', which save did not write"),
        ({"format": "pt"}, "format 'None', which save did not write"),
        ({"format": "sksiamese twin 1", "about": "{}"}, "twin 1'.*fit again, and save"),
        ({"sksiamese": "{}"}, "format 'None', which save did not write"),
        ({"sksiamese": '{"format": "sksiamese 2"}'}, "sksiamese 2'.*fit again, and save"),
        ({"sksiamese": '{"format": "sksiamese 9"}'}, "format 'sksiamese 9'"),
    ],
)
def test_load_raises_for_other_safetensors_files(tmp_path, metadata, message):
    path = tmp_path / "network"
    save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(ValueError, match=f"network is a safetensors file of .*{message}"):
        SiameseOneShotClassifier.load(path)


def test_load_raises_for_another_class(tmp_path, plain):
    plain.save(tmp_path / "classifier")
    fitted_verifier().save(tmp_path / "verifier")
    with pytest.raises(ValueError, match="verifier: it holds a SiameseVerifier"):
        SiameseOneShotClassifier.load(tmp_path / "verifier")
    with pytest.raises(ValueError, match="classifier: it holds a SiameseOneShotClassifier"):
        SiameseVerifier.load(tmp_path / "classifier")


@pytest.mark.parametrize("about", ["", "[]", '{"format": "sksiamese 3"}', "[" * 100_000])
def test_load_raises_for_incomplete_metadata(tmp_path, about):
    path = tmp_path / "network"
    model_files.write(path, about, {"weight": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="Cannot load .*network"):
        SiameseOneShotClassifier.load(path)


def test_load_raises_for_another_format(tmp_path, plain):
    path = tmp_path / "network"
    plain.save(path)
    about, arrays = model_files.read(path)
    model_files.write(path, about | {"format": "sksiamese 4"}, arrays)
    with pytest.raises(ValueError, match="format 'sksiamese 4'; expected 'sksiamese 3'"):
        SiameseOneShotClassifier.load(path)


def test_save_raises_for_parameters_that_do_not_fit_the_weights(tmp_path, plain):
    clf = copy.copy(plain).set_params(head="signed_l1")
    with pytest.raises(ValueError, match=r"lacks \['network.head.alpha'.*has .*log_weight'"):
        clf.save(tmp_path / "network")
    with pytest.raises(ValueError, match="cannot be saved: max_iter='x'|max_iter must be"):
        copy.copy(plain).set_params(max_iter="x").save(tmp_path / "network")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["calibrated", "ensemble", "verifier", "pretrained"])
def test_save_writes_plain_values_and_tensors_only(tmp_path, kind):
    """The header is JSON of plain values, the rest is numbers."""
    path = tmp_path / "network"
    ESTIMATORS[kind]().save(path)
    header, _ = model_files.header_of(path.read_bytes())
    metadata = header.pop("__metadata__")
    assert metadata.keys() == {"sksiamese"}
    about = json.loads(metadata["sksiamese"][64:])
    assert {"format", "class", "params", "fitted"} <= about.keys()
    assert {entry["dtype"] for entry in header.values()} <= {"F32", "F64", "I64"}


# Motor programs, which have no network


def programs(**params):
    return MotorProgramClassifier(**{"random_state": 0, **params})


PROGRAMS = {
    "default": lambda: programs().fit(X[::4], y[::4]),
    "simple strokes": lambda: programs(model="simple_strokes").fit(X[::4], y[::4]),
    "affine": lambda: programs(model="affine", primitives=False).fit(X[::4], y[::4]),
    "mean": lambda: programs(n_walks=9, aggregation="mean").fit(X[::2], y[::2]),
    "grown": lambda: programs().fit(X[::4], y[::4]).add_support(X[1:4], y[1:4]).remove_support(2),
    "flat": lambda: programs(image_shape=(28, 28)).fit(X.reshape(24, -1)[::4], y[::4]),
    "colour": lambda: programs(channels="last").fit(np.stack([X, X, X], -1)[::4], y[::4]),
    "curves": lambda: programs().fit(X.reshape(24, -1)[::4, 300:340], y[::4]),
    "calibrated": lambda: programs(unknown_label="unknown").fit(X[::2], y[::2].astype(str)),
    "support": lambda: programs(random_state=None).set_support(X[::4], list("abcdef")),
    "cleared": lambda: programs().fit(X[::4], y[::4]).clear_support(),
}


def input_of(clf):
    """Return X as a classifier of motor programs takes it."""
    if clf.fitted_.flat:
        rows = X.reshape(len(X), -1)
        return rows if clf.image_shape else rows[:, 300:340]
    return np.stack([X, X, X], -1) if clf.input_shape_[0] == 3 else X


@pytest.mark.parametrize("kind", PROGRAMS)
def test_load_returns_the_motor_programs_that_save_wrote(tmp_path, kind):
    saved = PROGRAMS[kind]()
    saved.save(tmp_path / "one")
    again = MotorProgramClassifier.load(tmp_path / "one")
    assert again.get_params() == saved.get_params()
    assert again.fitted_.calibration == saved.fitted_.calibration
    for name in PUBLIC:
        assert hasattr(again, name) == hasattr(saved, name)
        if hasattr(saved, name):
            np.testing.assert_array_equal(getattr(again, name), getattr(saved, name))
    if kind != "cleared":
        queries = input_of(saved)[:7]
        np.testing.assert_array_equal(again.predict(queries), saved.predict(queries))
        expected = saved.decision_function(queries)
        np.testing.assert_array_equal(again.decision_function(queries), expected)
        np.testing.assert_array_equal(again.kneighbors(queries, 3), saved.kneighbors(queries, 3))
        for found, program in zip(again.programs_, saved.programs_, strict=True):
            assert found.score == program.score
            for name in ("points", "weights", "strokes", "substrokes"):
                expected = getattr(program, name)
                np.testing.assert_array_equal(getattr(found, name), expected)
                assert getattr(found, name).dtype == expected.dtype
    again.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_load_of_motor_programs_without_support(tmp_path):
    clf = programs().set_support(X[::4], np.char.add("person ", y[::4].astype(str)))
    clf.save(tmp_path / "whole")
    clf.save(tmp_path / "empty", support=False)
    assert b"person 3" in (tmp_path / "whole").read_bytes()
    assert b"person 3" not in (tmp_path / "empty").read_bytes()
    again = MotorProgramClassifier.load(tmp_path / "empty")
    with pytest.raises(NotFittedError, match="no support yet"):
        again.predict(X)
    assert not hasattr(again, "programs_")
    again.set_support(X[::4], y[::4])
    expected = clf.set_support(X[::4], y[::4]).decision_function(X[:5])
    np.testing.assert_array_equal(again.decision_function(X[:5]), expected)


def test_load_returns_motor_programs_that_were_calibrated_before_any_support(tmp_path):
    rows, labels = make_table(n_classes=6)
    clf = programs().calibrate(rows, labels)
    clf.save(tmp_path / "programs")
    again = MotorProgramClassifier.load(tmp_path / "programs")
    assert again.rejection_threshold_ == clf.rejection_threshold_
    expected = clf.set_support(rows[::10], labels[::10]).predict_set(rows)
    found = again.set_support(rows[::10], labels[::10]).predict_set(rows)
    np.testing.assert_array_equal(found, expected)


def test_load_returns_motor_programs_that_take_other_images(tmp_path):
    PROGRAMS["default"]().save(tmp_path / "programs")
    again = MotorProgramClassifier.load(tmp_path / "programs")
    with pytest.raises(ValueError, match="inverted polarity"):
        again.predict(255 - X)
    other = np.pad(255 - X, ((0, 0), (3, 3), (3, 3)))
    assert again.set_support(other[::4], y[::4]).score(other, y) > 0.8


@pytest.mark.parametrize("kind", ["default", "mean", "calibrated"])
def test_save_of_motor_programs_writes_plain_values_and_tensors_only(tmp_path, kind):
    PROGRAMS[kind]().save(tmp_path / "programs")
    raw = (tmp_path / "programs").read_bytes()
    header, _ = model_files.header_of(raw)
    about = json.loads(header.pop("__metadata__")["sksiamese"][64:])
    assert {"format", "class", "params", "fitted", "programs"} <= about.keys()
    assert {entry["dtype"] for entry in header.values()} <= {"F32", "F64", "I64", "I16"}
    assert len(raw) < 100_000


def test_load_of_motor_programs_raises_for_another_class(tmp_path, plain):
    PROGRAMS["default"]().save(tmp_path / "programs")
    plain.save(tmp_path / "network")
    with pytest.raises(ValueError, match="programs: it holds a MotorProgramClassifier: load"):
        SiameseOneShotClassifier.load(tmp_path / "programs")
    with pytest.raises(ValueError, match="network: it holds a SiameseOneShotClassifier"):
        MotorProgramClassifier.load(tmp_path / "network")


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_load_of_motor_programs_raises_for_a_truncated_file(tmp_path, keep):
    path = tmp_path / "programs"
    PROGRAMS["default"]().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(OSError, match="programs is damaged"):
        MotorProgramClassifier.load(path)


def drop(name):
    return lambda about, tensors: tensors.pop(name)


def cut(name):
    return lambda about, tensors: tensors.update({name: tensors[name][:-1]})


@pytest.mark.parametrize(
    "change",
    [
        lambda about, tensors: about["params"].update(speed=1),
        lambda about, tensors: about["programs"].update(speed=1),
        lambda about, tensors: about["programs"].update(model="bpl"),
        lambda about, tensors: about.pop("programs"),
        lambda about, tensors: about.pop("labels"),
        lambda about, tensors: about["labels"]["values"].pop(),
        lambda about, tensors: about["fitted"].pop("input_shape"),
        drop("scaling.scale"),
        drop("support.points"),
        drop("support.n_parts"),
        drop("support.scores"),
        cut("support.n_parts"),
        cut("support.holes"),
        cut("support.n_points"),
        cut("support.scores"),
        cut("support.points"),
        cut("support.strokes"),
        lambda about, tensors: tensors.update({"support.n_points": np.zeros(6, int)}),
        lambda about, tensors: tensors["support.substrokes"].__iadd__(1),
        lambda about, tensors: tensors.update({"extra": np.zeros(2)}),
    ],
)
def test_load_of_motor_programs_raises_for_a_changed_file(tmp_path, change):
    path = tmp_path / "programs"
    PROGRAMS["default"]().save(path)
    about, tensors = model_files.read(path)
    model_files.write(path, about, tensors)
    MotorProgramClassifier.load(path)
    change(about, tensors)
    model_files.write(path, about, tensors)
    with pytest.raises(ValueError, match="programs"):
        MotorProgramClassifier.load(path)


def test_save_of_motor_programs_raises_for_what_it_cannot_write(tmp_path):
    with pytest.raises(NotFittedError):
        programs().save(tmp_path / "programs")
    clf = programs(random_state=np.random.RandomState(0)).fit(X[::4], y[::4])
    message = r"random_state=.*cannot write.*set_params\(random_state=None\) first"
    with pytest.raises(ValueError, match=message):
        clf.save(tmp_path / "programs")
    assert not list(tmp_path.iterdir())
    expected = clf.decision_function(X[:5])
    clf.set_params(random_state=None).save(tmp_path / "programs")
    again = MotorProgramClassifier.load(tmp_path / "programs")
    np.testing.assert_array_equal(again.decision_function(X[:5]), expected)


# Encoders given as modules or callables


def network(width=8):
    """Return a network with batch normalisation that has seen images of 28x28 pixels."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
    )
    module.append(nn.Linear(4 * 9 * 9, width))
    module(torch.rand(16, 1, 28, 28))
    return module.eval()


def build(shape):
    return network()


def of_module(encoder=None, cls=SiameseOneShotClassifier, **params):
    encoder = network() if encoder is None else encoder
    params = {"max_iter": 1, "random_state": 0, "batch_size": (1, 4, 2), **params}
    if cls is SiameseVerifier:
        params["batch_size"] = "auto"
        return cls(encoder, **params).fit(X[PAIRS[:, :2]], PAIRS[:, 2])
    return cls(encoder, **params).fit(X, y)


MODULES = {
    "module": (of_module, network),
    "frozen": (lambda: of_module(network().requires_grad_(False)), network),
    "whitened": (
        lambda: of_module(network().requires_grad_(False), head="whitened"),
        lambda: network().requires_grad_(False),
    ),
    "callable": (lambda: of_module(build), lambda: build),
    "signed_l1": (lambda: of_module(head="signed_l1"), network),
    "cosine": (lambda: of_module(head="cosine"), network),
    "ensemble": (lambda: of_module(n_estimators=2), network),
    "frozen ensemble": (
        lambda: of_module(network().requires_grad_(False), n_estimators=2, head="whitened"),
        network,
    ),
    "normalization": (lambda: of_module(normalization=(0.5, 0.25)), network),
    "verifier": (lambda: of_module(cls=SiameseVerifier), network),
    "verifier of a callable": (lambda: of_module(build, cls=SiameseVerifier), lambda: build),
}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", list(MODULES))
def test_load_returns_what_save_wrote_of_a_module(tmp_path, name, half):
    make, encoder = MODULES[name]
    estimator, encoder = make(), encoder()
    estimator.save(tmp_path / "one", half=half)
    again = type(estimator).load(tmp_path / "one", encoder=encoder)
    assert again.encoder is encoder
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if half else {"rtol": 0, "atol": 0}
    for own, theirs in zip(answers(again)[:2], answers(estimator)[:2], strict=True):
        np.testing.assert_allclose(own, theirs, **tolerance)
    again.save(tmp_path / "two", half=half)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    if half:
        assert (tmp_path / "one").stat().st_size < 2 * of_bytes(estimator)


def of_bytes(estimator):
    return sum(v.numel() * v.element_size() for v in estimator.network_.state_dict().values())


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_save_half_of_a_whitened_head_takes_features_of_any_size(tmp_path, scale):
    features, labels = make_features()
    clf = SiameseOneShotClassifier(nn.Identity(), head="whitened", normalization=None)
    clf.fit(scale * features, labels).save(tmp_path / "file", half=True)
    again = SiameseOneShotClassifier.load(tmp_path / "file", encoder=nn.Identity())
    logits = [e.similarity(scale * features, scale * features) for e in (clf, again)]
    np.testing.assert_allclose(*logits, atol=0.02)


def test_load_leaves_the_module_as_it_is(tmp_path):
    of_module(learning_rate=0.1).save(tmp_path / "file")
    module = network().double()
    before = pickle.dumps(module)
    clf = SiameseOneShotClassifier.load(tmp_path / "file", encoder=module)
    assert pickle.dumps(module) == before
    assert not torch.equal(clf.network_.encoder[0].weight, module[0].weight.float())


def test_load_of_a_module_goes_on_as_an_estimator(tmp_path):
    of_module().save(tmp_path / "file")
    clf = SiameseOneShotClassifier.load(tmp_path / "file", encoder=network())
    clf.set_support(X[::4], y[::4]).predict(X)
    clf.set_params(warm_start=True).fit(X, y)
    assert len(clf.history_[0]) == 2


def test_save_writes_the_name_of_a_module_and_not_its_path(tmp_path):
    for encoder, name in ((None, b"Sequential"), (build, b"build")):
        of_module(encoder).save(tmp_path / "file")
        assert name in (tmp_path / "file").read_bytes()
        assert __name__.encode() not in (tmp_path / "file").read_bytes()


@pytest.mark.parametrize(
    ("saved", "encoder", "message"),
    [
        (None, None, r"its encoder was module Sequential, .* load\(path, encoder=...\)"),
        (build, None, r"its encoder was callable build, .* load\(path, encoder=...\)"),
        (None, build, "its encoder was module Sequential"),
        (build, network(), "its encoder was callable build"),
        (None, "conv", "its encoder was module Sequential"),
        (None, network(width=6), "has shape.*expected"),
        (None, network()[:4], "of another network: it lacks .* has|has shape"),
        (None, nn.Linear(3, 3), "encoder, a Linear, cannot be used for inputs of shape"),
        (build, lambda shape: 3, "encoder, called .* returned int"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_load_of_a_module_refuses_another_encoder(tmp_path, saved, encoder, message):
    of_module(saved).save(tmp_path / "file")
    with pytest.raises(ValueError, match=f"Cannot load .*file: .*({message})"):
        SiameseOneShotClassifier.load(tmp_path / "file", encoder=encoder)


@pytest.mark.parametrize("encoder", [network(), build, "conv"])
def test_load_of_a_named_encoder_refuses_an_encoder(plain, tmp_path, encoder):
    plain.save(tmp_path / "file")
    with pytest.raises(ValueError, match="its encoder is 'auto', but encoder= was given"):
        SiameseOneShotClassifier.load(tmp_path / "file", encoder=encoder)


def test_load_of_a_module_runs_no_code_of_the_file(tmp_path):
    """The name of the encoder is a text that nothing is made of."""
    of_module().save(tmp_path / "file")
    path = tmp_path / "other"
    for name in ("os.system", "__import__('os')", "Sequential.__class__", ""):
        about, arrays = model_files.read(tmp_path / "file")
        about["params"]["encoder"] = {"module": name}
        model_files.write(path, about, arrays)
        clf = SiameseOneShotClassifier.load(path, encoder=network())
        assert isinstance(clf.encoder, nn.Sequential)


@pytest.mark.parametrize(
    "encoder", [{}, {"module": 3}, {"module": "a", "callable": "b"}, {"class": "a"}, ["module"], 3]
)
def test_load_refuses_other_descriptions_of_an_encoder(tmp_path, encoder):
    of_module().save(tmp_path / "file")
    about, arrays = model_files.read(tmp_path / "file")
    about["params"]["encoder"] = encoder
    model_files.write(tmp_path / "file", about, arrays)
    with pytest.raises(ValueError, match="Cannot load .*encoder"):
        SiameseOneShotClassifier.load(tmp_path / "file", encoder=network())


@pytest.mark.parametrize("unit", [3.5, "255", True, -1.0, [255.0]])
def test_load_refuses_units_that_no_images_have(tmp_path, unit):
    of_module(normalization=(0.5, 0.25)).save(tmp_path / "file")
    about, arrays = model_files.read(tmp_path / "file")
    assert about["unit"] == 255
    about["unit"] = unit
    model_files.write(tmp_path / "file", about, arrays)
    with pytest.raises(ValueError, match="Cannot load .*unit="):
        SiameseOneShotClassifier.load(tmp_path / "file", encoder=network())


def test_save_raises_for_a_module_whose_state_is_no_tensors(tmp_path):
    class Stateful(nn.Flatten):
        def get_extra_state(self):
            return {"a": 1}

        def set_extra_state(self, state):
            pass

    clf = of_module(nn.Sequential(Stateful(), nn.Linear(28 * 28, 4)))
    with pytest.raises(ValueError, match="cannot be saved"):
        clf.save(tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_weights_of_a_module_start_from_its_file(tmp_path):
    of_module(learning_rate=0.1).save(tmp_path / "file")
    saved = SiameseOneShotClassifier.load(tmp_path / "file", encoder=network())
    params = {"weights": tmp_path / "file", "max_iter": 0}
    clf = SiameseOneShotClassifier(network(), **params).fit(X, y)
    np.testing.assert_allclose(clf.transform(X), saved.transform(X), rtol=1e-4, atol=1e-4)
    for encoder, message in (
        ("auto", "its encoder was module Sequential"),
        (build, "its encoder was module Sequential"),
        (network(6), "has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            SiameseOneShotClassifier(encoder, **params).fit(X, y)
    with pytest.raises(ValueError, match=r"its encoder is 'conv', but encoder="):
        SiameseOneShotClassifier(network(), weights="omniglot").fit(X, y)


# Saved once more, after whatever may happen to an estimator


def quick(**params):
    small = {"encoder_params": {"width": 8}, "resize": 16, "max_iter": 1}
    return fitted(**{**small, **params})


def quick_verifier(**params):
    small = {"encoder_params": {"width": 8}, "resize": 16, "max_iter": 1}
    return fitted_verifier(**{**small, **params})


KINDS = {
    "one network": quick,
    "three networks": lambda: quick(n_estimators=3),
    "three of the paper's head": lambda: quick(
        n_estimators=3, head="signed_l1", head_params={"alpha_mean": -0.005, "alpha_std": 0.0}
    ),
    "two of rows": lambda: SiameseOneShotClassifier(
        "mlp", n_estimators=2, max_iter=1, random_state=0
    ).fit(X.reshape(len(X), -1), y),
    "two of pairs": lambda: quick(n_estimators=2).fit(X, PAIRS).set_support(X[::4], y[::4]),
    "verifier": quick_verifier,
    "verifier of two networks": lambda: quick_verifier(n_estimators=2),
    "pretrained": lambda: load_pretrained("omniglot").set_support(X[::4], y[::4]),
    "two from pretrained weights": lambda: (
        load_pretrained("omniglot").set_params(n_estimators=2, max_iter=0).fit(X, y)
    ),
    "motor programs": lambda: MotorProgramClassifier(random_state=0).fit(X[::8], y[::8]),
}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request):
    return KINDS[request.param]()


def data_of(estimator):
    """Return what an estimator of this kind is fitted on and asked of."""
    if isinstance(estimator, SiameseVerifier):
        return X[PAIRS[:, :2]], PAIRS[:, 2]
    if isinstance(estimator, MotorProgramClassifier):
        return X[::8], y[::8]
    return (X if len(estimator.input_shape_) == 3 else X.reshape(len(X), -1)), y


def saved(estimator, path, **options):
    """Return the estimator that is loaded from what is saved."""
    estimator.save(path, **options)
    return type(estimator).load(path)


def assert_answers_alike(a, b):
    images, _ = data_of(a)
    np.testing.assert_array_equal(a.predict(images[:8]), b.predict(images[:8]))
    np.testing.assert_array_equal(a.decision_function(images[:8]), b.decision_function(images[:8]))


def test_save_writes_again_what_load_returned(kind, tmp_path):
    again = saved(kind, tmp_path / "one")
    again.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_save_writes_again_what_was_pickled(kind, tmp_path):
    kind.save(tmp_path / "one")
    pickle.loads(pickle.dumps(kind)).save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_save_writes_again_what_was_read_in_half_precision(kind, tmp_path):
    if isinstance(kind, MotorProgramClassifier):
        pytest.skip("programs are small")
    half = saved(kind, tmp_path / "half", half=True)
    again = saved(half, tmp_path / "half", half=True)
    assert_answers_alike(again, saved(half, tmp_path / "whole"))


def test_save_after_fit_of_what_load_returned(kind, tmp_path):
    images, labels = data_of(kind)
    again = saved(kind, tmp_path / "one")
    if hasattr(again, "warm_start"):
        again.set_params(warm_start=True, max_iter=1)
    again.fit(images, labels)
    assert_answers_alike(again, saved(again, tmp_path / "two"))


def test_save_after_set_support_of_what_load_returned(kind, tmp_path):
    if isinstance(kind, SiameseVerifier):
        pytest.skip("a verifier has no support")
    images, labels = data_of(kind)
    again = saved(kind, tmp_path / "one").set_support(images[::2], labels[::2].astype(str))
    again.add_support(images[1::2], labels[1::2].astype(str))
    assert_answers_alike(again, saved(again, tmp_path / "two"))


def test_save_after_calibration_of_what_load_returned(kind, tmp_path):
    images, labels = data_of(kind)
    if isinstance(kind, SiameseVerifier):
        again = saved(kind, tmp_path / "one").calibrate_threshold(images, labels)
    else:
        again = saved(kind, tmp_path / "one").set_support(images, labels)
        glyphs, of_glyphs = make_glyphs(n_classes=8, n_samples=3, random_state=5)
        glyphs = glyphs.reshape(len(glyphs), *images.shape[1:])
        again.calibrate(glyphs, of_glyphs).set_params(unknown_label=-1)
        assert np.isfinite(again.rejection_threshold_)
    assert_answers_alike(again, saved(again, tmp_path / "two"))


def test_save_after_fit_with_an_unknown_label_of_what_load_returned(kind, tmp_path):
    if isinstance(kind, SiameseVerifier | MotorProgramClassifier):
        pytest.skip("only the classifier calibrates in fit")
    glyphs, labels = make_glyphs(n_classes=16, n_samples=4, random_state=5)
    glyphs = glyphs.reshape(len(glyphs), *data_of(kind)[0].shape[1:])
    again = saved(kind, tmp_path / "one").set_params(unknown_label=-1, max_iter=1)
    again.fit(glyphs, labels)
    assert_answers_alike(again, saved(again, tmp_path / "two"))


# Files changed at random


@pytest.mark.skipif(sys.platform != "linux", reason="needs processes of limited memory")
def test_load_contains_changed_files():
    """A short run of ``tests/long/fuzz_model_files.py``."""
    script = Path(__file__).parent / "long" / "fuzz_model_files.py"
    command = [sys.executable, script, "--count", "150", "--short"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "150 files, 0 failures" in run.stdout
    assert "OSError" in run.stdout
    assert "loaded, other answers" in run.stdout


@pytest.mark.parametrize(
    ("crop", "params_crop"),
    [("box", "auto"), (True, "auto"), (["foreground"], "auto"), ("foreground", None)],
)
def test_load_refuses_a_crop_that_disagrees_with_the_parameters(tmp_path, crop, params_crop):
    path = tmp_path / "a.safetensors"
    load_pretrained().save(path)
    about, arrays = model_files.read(path)
    assert about["crop"] == "foreground"
    about["crop"] = crop
    about["params"]["crop"] = params_crop
    model_files.write(path, about, arrays)
    with pytest.raises(ValueError, match="Cannot load .*crop=.* does not agree with crop="):
        SiameseOneShotClassifier.load(path)


def test_load_refuses_a_file_without_the_crop_of_its_parameters(tmp_path):
    path = tmp_path / "a.safetensors"
    load_pretrained().save(path)
    about, arrays = model_files.read(path)
    del about["crop"]
    model_files.write(path, about, arrays)
    with pytest.raises(ValueError, match="crop=None does not agree with crop='foreground'"):
        SiameseOneShotClassifier.load(path)


# search="faiss"


@pytest.fixture
def indexed(monkeypatch):
    """A function that makes a classifier with an index, and 50 embedded queries."""
    pytest.importorskip("faiss")
    monkeypatch.setattr("sksiamese.twin.inference.INDEXED", 500)
    X, y = make_table()
    clf = classifier("mlp", head="cosine", search="faiss").fit(X, y)
    embeddings = np.random.default_rng(0).normal(size=(2550, clf.transform(X[:1]).shape[1]))
    embeddings = embeddings.astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    queries = embeddings[2500:]

    def make(n_classes=2500):
        clf.set_support(embeddings[:2400], np.arange(2400) % n_classes, embedded=True)
        answers_of(clf, queries)
        return clf.add_support(embeddings[2400:2500], np.arange(2400, 2500), embedded=True)

    return make, queries


def answers_of(clf, queries):
    """Return labels and nearest exemplars of embedded queries."""
    fitted = clf.fitted_
    fitted = replace(fitted, comparer=fitted.comparer.to("cpu", None, clf.search))
    nearest = fitted.support.kneighbors(fitted.comparer, queries, 5)
    return fitted.labels(queries, clf.aggregation), *nearest


@pytest.mark.parametrize("n_classes", [2500, 2200])
def test_load_takes_the_index_that_save_wrote(indexed, n_classes, monkeypatch, tmp_path):
    """With fewer classes than exemplars, also that of their means."""
    make, queries = indexed
    clf = make(n_classes)
    expected = answers_of(clf, queries)
    clf.save(tmp_path / "a")
    clf.save(tmp_path / "half", half=True)
    about, arrays = model_files.read(tmp_path / "a")
    assert about["blocks"] == [2400, 100]
    names = {name.removeprefix("support.") for name in arrays if name.startswith("support.")}
    means = {"means.centroids", "means.places"} if n_classes == 2200 else set()
    assert names == {"embeddings", "0.centroids", "0.places"} | means
    monkeypatch.setattr("faiss.Kmeans", None)
    for path in (tmp_path / "a", tmp_path / "half"):
        again = SiameseOneShotClassifier.load(path)
        found = answers_of(again, queries)
        for own, known in zip(found, expected, strict=True):
            if path.name == "a":
                np.testing.assert_array_equal(own, known)
            else:
                assert np.isclose(own, known, rtol=0.01).mean() > 0.9
    SiameseOneShotClassifier.load(tmp_path / "a").save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "a").read_bytes()


def test_load_of_an_index_needs_no_faiss(indexed, monkeypatch, tmp_path):
    make, queries = indexed
    clf = make()
    clf.save(tmp_path / "a")
    expected = answers_of(clf.set_params(search="auto"), queries)
    monkeypatch.setitem(sys.modules, "faiss", None)
    again = SiameseOneShotClassifier.load(tmp_path / "a")
    X, _ = make_table()
    with pytest.raises(ImportError, match="search='faiss' needs faiss: pip install"):
        again.predict(X)
    for own, known in zip(
        answers_of(again.set_params(search="auto"), queries), expected, strict=True
    ):
        np.testing.assert_array_equal(own, known)


def test_save_without_the_support_writes_no_index(indexed, tmp_path):
    make, _ = indexed
    make().save(tmp_path / "a", support=False)
    about, arrays = model_files.read(tmp_path / "a")
    assert "blocks" not in about
    assert not any(name.startswith("support.") for name in arrays)


CENTROIDS, PLACES = "support.0.centroids", "support.0.places"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about, arrays: arrays.pop(CENTROIDS), "it lacks 0.centroids"),
        (lambda about, arrays: arrays.pop(PLACES), "which are not of its estimator"),
        (lambda about, arrays: arrays.update({PLACES: arrays[PLACES][1:]}), "places has shape"),
        (lambda about, arrays: arrays.update({PLACES: arrays[PLACES] + 100}), "not of the centr"),
        (
            lambda about, arrays: arrays.update({PLACES: arrays[PLACES] - 2}),
            "not of the centroids",
        ),
        (lambda about, arrays: arrays.update({PLACES: arrays[PLACES] * 1.0}), "dtype float64"),
        (lambda about, arrays: arrays.update({CENTROIDS: arrays[CENTROIDS][0]}), "not of the c"),
        (lambda about, arrays: arrays.update({CENTROIDS: arrays[CENTROIDS] * np.nan}), "has NaN"),
        (lambda about, arrays: about.update(blocks=[2400, 99]), "do not sum to 2500"),
        (lambda about, arrays: about.update(blocks=[2500]), "places has shape"),
        (lambda about, arrays: about.update(blocks=[2400, 200, -100]), "do not sum to 2500"),
        (lambda about, arrays: about.update(blocks=[2400.0, 100]), "do not sum to 2500"),
        (lambda about, arrays: about.update(blocks=2500), "not iterable"),
    ],
)
def test_load_refuses_an_index_that_is_not_of_its_exemplars(indexed, change, message, tmp_path):
    make, _ = indexed
    make().save(tmp_path / "a")
    about, arrays = model_files.read(tmp_path / "a")
    change(about, arrays)
    model_files.write(tmp_path / "a", about, arrays)
    with pytest.raises(ValueError, match=f"Cannot load .*{message}"):
        SiameseOneShotClassifier.load(tmp_path / "a")


def test_load_of_an_index_of_other_vectors_makes_another(indexed, tmp_path):
    make, queries = indexed
    clf = make()
    expected = answers_of(clf, queries)
    clf.save(tmp_path / "a")
    about, arrays = model_files.read(tmp_path / "a")
    arrays[CENTROIDS] = arrays[CENTROIDS][:, 1:]
    model_files.write(tmp_path / "a", about, arrays)
    again = SiameseOneShotClassifier.load(tmp_path / "a")
    for own, known in zip(answers_of(again, queries), expected, strict=True):
        np.testing.assert_array_equal(own, known)
