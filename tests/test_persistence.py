"""save and load: the same estimator comes back, or an error says why not, and nothing is lost."""

import copy
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

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
        np.array([b"\xff", b"b", b"c", b"d", b"e", b"f"]),
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
    verifier = fitted_verifier()
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
        ({"encoder": torch.nn.Flatten()}, "encoder=.*cannot write. Pickle the estimator"),
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


def test_save_keeps_the_old_file_if_writing_fails(tmp_path, monkeypatch, plain):
    path = tmp_path / "network"
    path.write_bytes(b"old")

    def full(part, content):
        with part.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        plain.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_save_raises_for_a_path_that_cannot_be_written(tmp_path, plain):
    with pytest.raises(OSError, match="nowhere.*its parent directory does not exist"):
        plain.save(tmp_path / "nowhere" / "network")
    with pytest.raises(OSError, match="it is a directory"):
        plain.save(tmp_path)
    with pytest.raises(TypeError, match="path=5; expected a str or path-like"):
        plain.save(5)


def test_load_raises_for_a_path_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        SiameseOneShotClassifier.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no such file"):
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
    with pytest.raises(OSError, match="network is damaged, or not a safetensors file"):
        SiameseOneShotClassifier.load(path)


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        (None, "None"),
        ({"format": "pt"}, "None"),
        ({"format": "sksiamese twin 1", "about": "{}"}, "None"),
        ({"sksiamese": "{}"}, "None"),
        ({"sksiamese": '{"format": "sksiamese 9"}'}, "'sksiamese 9'"),
    ],
)
def test_load_raises_for_other_formats(tmp_path, metadata, found):
    path = tmp_path / "network"
    save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(ValueError, match=f"format {found}; expected 'sksiamese 2', a file that"):
        SiameseOneShotClassifier.load(path)


def test_load_raises_for_another_class(tmp_path, plain):
    plain.save(tmp_path / "classifier")
    fitted_verifier().save(tmp_path / "verifier")
    with pytest.raises(ValueError, match="verifier holds a SiameseVerifier"):
        SiameseOneShotClassifier.load(tmp_path / "verifier")
    with pytest.raises(ValueError, match="classifier holds a SiameseOneShotClassifier"):
        SiameseVerifier.load(tmp_path / "classifier")


@pytest.mark.parametrize("about", ["", "[]", '{"format": "sksiamese 2"}'])
def test_load_raises_for_incomplete_metadata(tmp_path, about):
    path = tmp_path / "network"
    save_file({"weight": torch.zeros(3)}, path, {"sksiamese": about})
    with pytest.raises(ValueError, match="network lacks what save writes about an estimator"):
        SiameseOneShotClassifier.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda about, tensors: about["params"].update(speed=1),
        lambda about, tensors: about["params"].update(encoder="resnet"),
        lambda about, tensors: about["params"].update(head="signed_l1"),
        lambda about, tensors: about["fitted"].update(speed=1),
        lambda about, tensors: about["fitted"].pop("input_shape"),
        lambda about, tensors: about.pop("labels"),
        lambda about, tensors: about["labels"]["values"].pop(),
        lambda about, tensors: [tensors.pop(name) for name in list(tensors) if "scaling" in name],
        lambda about, tensors: tensors.update({"network.head.log_weight": torch.zeros(2)}),
        lambda about, tensors: tensors.update({"extra": torch.zeros(2)}),
    ],
)
def test_load_raises_for_a_changed_file(tmp_path, plain, change):
    path = tmp_path / "network"
    plain.save(path)
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["sksiamese"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"sksiamese": json.dumps(about)})
    SiameseOneShotClassifier.load(path)
    change(about, tensors)
    save_file(tensors, path, {"sksiamese": json.dumps(about)})
    with pytest.raises(ValueError, match="network|encoder"):
        SiameseOneShotClassifier.load(path)


def test_load_raises_for_weights_that_do_not_fit_the_parameters(tmp_path, plain):
    clf = copy.copy(plain).set_params(head="signed_l1")
    clf.save(tmp_path / "network")
    with pytest.raises(ValueError, match=r"lacks \['head.alpha'.*has \['head.log_weight'"):
        SiameseOneShotClassifier.load(tmp_path / "network")


@pytest.mark.parametrize("kind", ["calibrated", "ensemble", "verifier", "pretrained"])
def test_save_writes_plain_values_and_tensors_only(tmp_path, kind):
    """The header is JSON of plain values, the rest is numbers."""
    path = tmp_path / "network"
    ESTIMATORS[kind]().save(path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    metadata = header.pop("__metadata__")
    assert metadata.keys() == {"sksiamese"}
    about = json.loads(metadata["sksiamese"])
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
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    about = json.loads(header.pop("__metadata__")["sksiamese"])
    assert {"format", "class", "params", "fitted", "programs"} <= about.keys()
    assert {entry["dtype"] for entry in header.values()} <= {"F32", "F64", "I64", "I16"}
    assert len(raw) < 100_000


def test_load_of_motor_programs_raises_for_another_class(tmp_path, plain):
    PROGRAMS["default"]().save(tmp_path / "programs")
    plain.save(tmp_path / "network")
    with pytest.raises(ValueError, match="programs holds a MotorProgramClassifier: load it by"):
        SiameseOneShotClassifier.load(tmp_path / "programs")
    with pytest.raises(ValueError, match="network holds a SiameseOneShotClassifier"):
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
        lambda about, tensors: tensors.update({"support.n_points": torch.zeros(6).long()}),
        lambda about, tensors: tensors["support.substrokes"].add_(1),
        lambda about, tensors: tensors.update({"extra": torch.zeros(2)}),
    ],
)
def test_load_of_motor_programs_raises_for_a_changed_file(tmp_path, change):
    path = tmp_path / "programs"
    PROGRAMS["default"]().save(path)
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["sksiamese"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"sksiamese": json.dumps(about)})
    MotorProgramClassifier.load(path)
    change(about, tensors)
    save_file(tensors, path, {"sksiamese": json.dumps(about)})
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
