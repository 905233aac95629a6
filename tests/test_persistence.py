"""save and load: the same estimator comes back, or an error says why not, and nothing is lost."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import make_glyphs

X, y = make_glyphs(n_classes=6, n_samples=4, random_state=0)


def fitted(**params):
    params = {"max_iter": 2, "random_state": 0, **params}
    return SiameseOneShotClassifier(**params).fit(X, y)


@pytest.mark.parametrize("head", ["weighted_l1", "signed_l1", "aligned"])
def test_the_same_estimator_comes_back(tmp_path, head):
    clf = fitted(
        head=head, batch_shape=(1, 5, 3), encoder_params={"width": 8}, image_size=(20, 24)
    )
    clf.save(tmp_path / "twin.safetensors")
    again = SiameseOneShotClassifier.load(tmp_path / "twin.safetensors")
    assert again.get_params() == clf.get_params()
    assert np.array_equal(again.decision_function(X), clf.decision_function(X))
    assert np.array_equal(again.classes_, clf.classes_)
    assert again.classes_.dtype == clf.classes_.dtype
    assert again.history_ == clf.history_
    assert again.input_shape_ == clf.input_shape_
    assert again.n_features_in_ == clf.n_features_in_
    assert np.array_equal(again.get_feature_names_out(), clf.get_feature_names_out())
    assert not any(p.requires_grad for p in again.network_.parameters())


def test_members_come_back(tmp_path):
    clf = fitted(n_members=2)
    clf.save(tmp_path / "twin")
    again = SiameseOneShotClassifier.load(tmp_path / "twin")
    assert again.network_.n_members == 2
    assert np.array_equal(again.decision_function(X), clf.decision_function(X))
    assert np.array_equal(again.get_feature_names_out(), clf.get_feature_names_out())


@pytest.mark.parametrize(
    "labels",
    [
        np.array(list("abcdef")),
        np.array(list("abcdef"), dtype=object),
        np.arange(6.0),
        np.array([2**63 + i for i in range(6)], dtype=np.uint64),
        np.array([b"\xff", b"b", b"c", b"d", b"e", b"f"]),
        np.arange(6).astype("datetime64[D]"),
        np.arange(6).astype("timedelta64[s]"),
        np.array([True, False] * 3),
    ],
)
def test_labels_of_any_kind_come_back(tmp_path, labels):
    clf = fitted().set_support(X[::4], labels)
    clf.save(tmp_path / "twin")
    again = SiameseOneShotClassifier.load(str(tmp_path / "twin"))
    assert again.classes_.dtype == labels.dtype
    assert np.array_equal(again.predict(X), clf.predict(X))


@pytest.mark.skipif(not hasattr(np, "strings"), reason="NumPy 2 has them")
def test_strings_of_any_length_come_back_as_objects(tmp_path):
    labels = np.array(["a", "bb", "c" * 50, "d", "e", "f"], dtype=np.dtypes.StringDType())
    clf = fitted().set_support(X[::4], labels)
    clf.save(tmp_path / "twin")
    again = SiameseOneShotClassifier.load(tmp_path / "twin")
    assert again.predict(X).tolist() == clf.predict(X).tolist()


def test_numpy_s_numbers_in_the_history_are_numbers(tmp_path):
    class Record(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("steps", np.float32(3))

    clf = fitted(callbacks=[Record()]).set_params(callbacks=None)
    clf.save(tmp_path / "twin")
    assert SiameseOneShotClassifier.load(tmp_path / "twin").history_[0]["steps"] == 3


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "twin")
    fitted().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "twin").is_file()


def test_a_twin_without_support_and_a_table_with_names(tmp_path):
    table = pd.DataFrame(X.reshape(len(X), -1)[:, :40]).rename(columns=str)
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0)
    clf.fit(table, np.array([[0, 1, 1], [0, 5, 0], [4, 5, 1]]))
    clf.save(tmp_path / "twin")
    again = SiameseOneShotClassifier.load(tmp_path / "twin")
    assert list(again.feature_names_in_) == list(table.columns)
    with pytest.raises(NotFittedError, match="no support yet"):
        again.predict(table)
    again.set_support(table[::4], y[::4])
    assert np.array_equal(again.predict(table), clf.set_support(table[::4], y[::4]).predict(table))


def test_half_precision_is_half_the_size_and_about_the_same(tmp_path):
    clf = fitted()
    clf.support_ = None
    clf.save(tmp_path / "whole")
    clf.save(tmp_path / "half", half=True)
    assert os.path.getsize(tmp_path / "half") < 0.6 * os.path.getsize(tmp_path / "whole")
    whole, half = (SiameseOneShotClassifier.load(tmp_path / name) for name in ("whole", "half"))
    difference = np.abs(whole.similarity(X, X) - half.similarity(X, X)).max()
    assert 0 < difference < 0.1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"callbacks": [Callback()]}, r"callbacks=.*set_params\(callbacks=None\) first"),
        ({"net_params": {"optimizer": torch.optim.SGD}}, "net_params=.*cannot write"),
        ({"distortion": lambda images, generator: images}, "distortion=.*cannot write"),
        ({"random_state": np.random.RandomState(0)}, "random_state=.*cannot write"),
        ({"encoder": torch.nn.Flatten()}, "encoder=.*cannot write: pickle the estimator"),
    ],
)
def test_objects_of_python_are_not_written(tmp_path, params, message):
    clf = fitted(**params)
    with pytest.raises(ValueError, match=message):
        clf.save(tmp_path / "twin")
    assert not list(tmp_path.iterdir())


def test_an_unfitted_estimator_has_nothing_to_save(tmp_path):
    with pytest.raises(NotFittedError):
        SiameseOneShotClassifier().save(tmp_path / "twin")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "twin"
    path.write_bytes(b"old")
    clf = fitted()

    def full(part, content):
        with part.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        clf.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        fitted().save(tmp_path / "nowhere" / "twin")
    with pytest.raises(OSError, match="is a folder; expected the name of a file"):
        fitted().save(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        SiameseOneShotClassifier.load(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_a_truncated_file_is_said_to_be_damaged(tmp_path, keep):
    path = tmp_path / "twin"
    fitted().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(OSError, match="twin is damaged"):
        SiameseOneShotClassifier.load(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "twin"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="format None; expected 'sksiamese twin 1'"):
        SiameseOneShotClassifier.load(path)


@pytest.mark.parametrize("about", [{}, {"about": ""}, {"about": "[]"}, {"about": "{}"}])
def test_a_file_without_what_is_said_about_the_twin_is_refused(tmp_path, about):
    path = tmp_path / "twin"
    save_file({"weight": torch.zeros(3)}, path, {"format": "sksiamese twin 1", **about})
    with pytest.raises(ValueError, match="twin lacks what save writes about a twin"):
        SiameseOneShotClassifier.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda about, tensors: about["params"].update(speed=1),
        lambda about, tensors: about["params"].update(encoder="resnet"),
        lambda about, tensors: about.pop("labels"),
        lambda about, tensors: about["labels"]["values"].pop(),
        lambda about, tensors: [tensors.pop(name) for name in list(tensors) if "scaling" in name],
        lambda about, tensors: tensors.update({"network.head.log_weight": torch.zeros(2)}),
    ],
)
def test_a_file_that_was_changed_is_refused_as_one(tmp_path, change):
    path = tmp_path / "twin"
    fitted().save(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    about = json.loads(metadata["about"])
    change(about, tensors)
    save_file(tensors, path, {**metadata, "about": json.dumps(about)})
    with pytest.raises(ValueError, match="twin"):
        SiameseOneShotClassifier.load(path)


def test_a_file_that_contradicts_itself_is_refused(tmp_path):
    path = tmp_path / "twin"
    clf = fitted()
    clf.head = "signed_l1"
    clf.save(path)
    with pytest.raises(ValueError, match=r"lacks \['head.alpha'.*has \['head.log_weight'"):
        SiameseOneShotClassifier.load(path)


def test_nothing_that_could_run_is_in_the_file(tmp_path):
    """The header is JSON of plain values, the rest is numbers."""
    path = tmp_path / "twin"
    fitted().save(path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    about = json.loads(header.pop("__metadata__")["about"])
    assert set(about) == {"class", "params", "fitted", "calibration", "labels"}
    assert {entry["dtype"] for entry in header.values()} <= {"F32", "F64", "I64"}
