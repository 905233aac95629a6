"""Values that model files hold as JSON: what comes back, and what is refused."""

import copy
import datetime

import model_files
import numpy as np
import pytest

from sksiamese import MotorProgramClassifier, SiameseOneShotClassifier, SiameseVerifier
from sksiamese.datasets import make_glyphs
from sksiamese.model_selection import make_pairs

X, y = make_glyphs(n_classes=6, n_samples=4, image_size=16, random_state=0)
PAIRS = make_pairs(y, n_pairs=30, random_state=0)
NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def small():
    clf = SiameseOneShotClassifier(
        encoder_params={"width": 1}, resize=8, max_iter=1, random_state=0
    )
    return clf.fit(X, y)


@pytest.fixture(scope="module")
def saved(small, tmp_path_factory):
    """What a file says of a classifier, and its arrays."""
    path = tmp_path_factory.mktemp("values") / "network"
    small.save(path)
    return model_files.read(path)


def refuse(tmp_path, about, arrays, cls=SiameseOneShotClassifier):
    """Check that a file of these contents is refused, in few words that name it."""
    model_files.write(tmp_path / "changed", about, arrays)
    with pytest.raises(ValueError, match="changed") as error:
        cls.load(tmp_path / "changed")
    assert type(error.value) is ValueError
    assert len(str(error.value)) < 2000


# Labels


def test_save_keeps_a_wide_string_dtype_and_narrows_a_very_wide_one(tmp_path, small):
    for width, expected in [(21, 21), (1000, 32)]:
        clf = copy.copy(small).set_support(X[::4], np.array(list("abcdef"), dtype=f"U{width}"))
        clf.save(tmp_path / "network")
        again = SiameseOneShotClassifier.load(tmp_path / "network")
        assert again.classes_.dtype == np.dtype(f"U{expected}")
        assert again.predict(X).tolist() == clf.predict(X).tolist()


def test_save_keeps_long_strings(tmp_path, small):
    labels = np.array(["a" * 50, "b", "c", "d", "e", "f\ud800"])
    copy.copy(small).set_support(X[::4], labels).save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    assert again.classes_.tolist() == sorted(labels.tolist())


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("U100000000", list("abcdef")),
        ("U10000000", list("abcdef")),
        ("<U1", ["aa", *"bcdef"]),
        ("<U2", ["a\0", *"bcdef"]),
        ("object", [None] * 6),
        ("object", [["a"]] * 6),
        ("object", [1, 2, 3, 4, 5, 6]),
        ("?", [0, 1, 2, 3, 4, 5]),
        ("bool", [0, 1, 2, 3, 4, 5]),
        ("int8", [0, 1, 2, 3, 4, 300]),
        ("int64", [0, 1, 2, 3, 4, 5.0]),
        ("int64", [0, 1, 2, 3, 4, True]),
        ("int64", [0, 1, 2, 3, 4, 10**30]),
        ("uint8", [-1, 1, 2, 3, 4, 5]),
        ("i8", [0, 1, 2, 3, 4, 5]),
        ("float32", [0.0, 1.0, 2.0, 3.0, 4.0, NAN]),
        ("float64", [0.0, 1.0, 2.0, 3.0, 4.0, INF]),
        ("float64", [0.0, 1.0, 2.0, 3.0, 4.0, 0.5]),
        ("float16", [0.0, 1.0, 2.0, 3.0, 4.0, 70001.0]),
        ("complex128", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ("|S1", list("abcdef")),
        ("|V8", [0, 1, 2, 3, 4, 5]),
        ("i4,i4", [0, 1, 2, 3, 4, 5]),
        ("(9,9)f8", [0, 1, 2, 3, 4, 5]),
        ("datetime64", [0, 1, 2, 3, 4, 5]),
        ("datetime64[D]", [0, 1, 2, 3, 4, -(2**63)]),
        ("datetime64[9999999999D]", [0, 1, 2, 3, 4, 5]),
        ("int64", {"0": 1}),
        ("int64", "012345"),
        (None, [0, 1, 2, 3, 4, 5]),
        (5, [0, 1, 2, 3, 4, 5]),
        ("int64", [0, 1, 2, 3, 4]),
        ("int64", []),
    ],
)
def test_load_refuses_labels_that_save_does_not_write(tmp_path, saved, dtype, values):
    about, arrays = saved
    arrays = {**arrays, "support.embeddings": arrays["support.embeddings"][::4]}
    model_files.write(
        tmp_path / "right",
        {**about, "labels": {"dtype": "int16", "values": [0, 1, 2, 3, 4, 5]}},
        arrays,
    )
    assert SiameseOneShotClassifier.load(tmp_path / "right").classes_.dtype == np.int16
    refuse(tmp_path, {**about, "labels": {"dtype": dtype, "values": values}}, arrays)


# Parameters


@pytest.mark.parametrize(
    "label", [np.datetime64("2026-01-01"), np.timedelta64(5, "s"), np.str_("x"), np.int8(5), 7.0]
)
def test_save_keeps_an_unknown_label(tmp_path, small, label):
    copy.copy(small).set_params(unknown_label=label).save(tmp_path / "network")
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    assert again.unknown_label == label
    assert np.asarray(again.unknown_label).dtype.kind == np.asarray(label).dtype.kind


@pytest.mark.parametrize("label", [b"x", datetime.date(2026, 1, 1)])
def test_save_of_another_unknown_label_does_not_advise_what_changes_predictions(
    tmp_path, small, label
):
    clf = copy.copy(small).set_params(unknown_label=label)
    with pytest.raises(ValueError, match="unknown_label=.*a label that is a number or a string"):
        clf.save(tmp_path / "network")


def params(**values):
    return lambda about: about["params"].update(values)


def learned(**values):
    return lambda about: about["fitted"].update(values)


@pytest.mark.parametrize(
    "change",
    [
        params(speed=1),
        params(aggregation="median"),
        params(augmentation="x"),
        params(batch_size="x"),
        params(callbacks=["x"]),
        params(channels=None),
        params(class_augmentation=1),
        params(crop="x"),
        params(device=5),
        params(device="abacus"),
        params(early_stopping=1),
        params(ema_decay=1.5),
        params(encoder=None),
        params(encoder={"x": 1}),
        params(encoder="resnet"),
        params(encoder_params={"width": 500}),
        params(encoder_params={"width": True}),
        params(encoder_params={"width": 10**400}),
        params(encoder_params={"width": 1, "max_cells": 0}),
        params(encoder_params={"width": 1, "depth": 9}),
        params(encoder_params=[1]),
        params(false_acceptance_rate=0),
        params(head="signed_l1"),
        params(head_params={"x": 1}),
        params(image_shape=[0, 1]),
        params(learning_rate=NAN),
        params(loss=["x"]),
        params(max_iter="x"),
        params(max_iter=0),
        params(n_estimators=0),
        params(net_params={"lr": 1}),
        params(optimizer=5),
        params(precision="x"),
        params(random_state="x"),
        params(random_state=-1),
        params(resize=[INF, 1]),
        params(unknown_label=[1]),
        params(unknown_label={"dtype": "object", "values": [None]}),
        params(verbose=-1),
        params(warm_start="x"),
        params(checkpoint_dir="/tmp"),
        learned(predict="abc"),
        learned(input_shape=[1, 0, 0]),
        learned(input_shape=[1, 10**9, 10**9]),
        learned(input_shape=[3, 16, 16]),
        learned(input_shape=[256]),
        learned(input_shape=None),
        learned(flat="x"),
        learned(flat=True),
        learned(feature_names={"dtype": "object", "values": ["a"]}),
        learned(calibration=[NAN, 0]),
        learned(calibration=[-1, 0]),
        learned(calibration=[0.0, 0]),
        learned(calibration=[1.0, INF]),
        learned(calibration=[5e-324, 0]),
        learned(calibration=[1e300, 0]),
        learned(calibration=[1.0, 1e300]),
        learned(calibration="ab"),
        learned(calibration=[1.0]),
        learned(rejection_threshold=NAN),
        learned(rejection_threshold=1e300, genuine_scores=[0.0]),
        learned(rejection_threshold=1.0),
        learned(genuine_scores=[0.0]),
        learned(rejection_threshold=1.0, genuine_scores=[]),
        learned(rejection_threshold=1.0, genuine_scores=[1e300]),
        learned(prior_calibration=[1.0, 0.0]),
        learned(prior_calibration=[1.0, 0.0], prior_unknown=[0.0]),
        learned(prior_calibration=[1.0, 0.0], prior_unknown=[*range(201, 0, -1)]),
        learned(level_offset=1.0),
        learned(rejection_threshold="x"),
        learned(rejection_threshold=True),
        learned(decision_threshold=None),
        learned(decision_threshold=10**400),
        learned(negative_label=1),
        learned(negative_label=False),
        learned(held_out_classes=[1, 2]),
        learned(held_out_classes={"dtype": "int64", "values": [2, 1]}),
        learned(held_out_classes={"dtype": "int64", "values": [1, 1]}),
        learned(held_out_groups={"dtype": "object", "values": [None]}),
        learned(held_out_groups={"dtype": "int64", "values": [1]}),
        learned(history=None),
        learned(history="x"),
        learned(history=[{"x": 1}]),
        learned(history=[[1]]),
        learned(history=[[], []]),
        learned(history=[[{}]]),
        learned(history=[[{"epoch": 0, "train_loss": 0.5}]]),
        learned(history=[[{"epoch": 1, "train_loss": NAN}]]),
        learned(adapts=0),
        lambda about: about.update(working_size=None),
        lambda about: about.update(working_size=[0, 8]),
        lambda about: about.update(working_size=[8.0, 8]),
        lambda about: about.update(working_size=[10**6, 10**6]),
        lambda about: about.update(working_size=[8, 513]),
        lambda about: about.update(programs={}),
        lambda about: about.update(extra=1),
        lambda about: about.update(params=[]),
        lambda about: about.update(fitted=None),
        lambda about: about.pop("working_size"),
        lambda about: about["fitted"].pop("input_shape"),
        lambda about: about.update({"class": ["x" * 10**6]}),
    ],
)
def test_load_refuses_values_that_no_estimator_has(tmp_path, saved, change):
    about, arrays = copy.deepcopy(saved)
    change(about)
    refuse(tmp_path, about, arrays)


def test_load_of_a_file_without_a_later_parameter_takes_its_default(tmp_path, saved, small):
    about, arrays = copy.deepcopy(saved)
    del about["params"]["verbose"], about["fitted"]["adapts"]
    model_files.write(tmp_path / "network", about, arrays)
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    assert again.get_params() == small.get_params()
    np.testing.assert_array_equal(again.predict(X), small.predict(X))


def test_load_keeps_a_device_that_is_not_here(tmp_path, saved, small):
    about, arrays = copy.deepcopy(saved)
    about["params"]["device"] = "cuda:7"
    model_files.write(tmp_path / "network", about, arrays)
    again = SiameseOneShotClassifier.load(tmp_path / "network")
    with pytest.raises(ValueError, match="set_params\\(device='cpu'\\)"):
        again.predict(X)
    expected = small.predict(X)
    np.testing.assert_array_equal(again.set_params(device="cpu").predict(X), expected)


@pytest.mark.parametrize("text", ['{"x": 1, "x": 1}', '{"x":1}', '{"x": 1} ', '{"x": 1.00}'])
def test_load_refuses_json_that_save_does_not_write(tmp_path, saved, text):
    about, arrays = saved
    written = model_files.json.dumps({**about, "labels": "PLACE"})
    refuse(tmp_path, written.replace('"PLACE"', text), arrays)


# Arrays


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("scaling.scale"),
        lambda arrays: arrays.update({"scaling.scale": np.zeros((1, 1, 1))}),
        lambda arrays: arrays.update({"scaling.scale": np.full((1, 1, 1), NAN)}),
        lambda arrays: arrays.update({"scaling.offset": np.zeros((1, 1, 1), np.float32)}),
        lambda arrays: arrays.update({"scaling.offset": np.zeros((2, 1, 1))}),
        lambda arrays: arrays.update({"network.head.margin": np.zeros(1, np.float32)}),
        lambda arrays: arrays.update({"network.head.margin": np.zeros((), np.float16)}),
        lambda arrays: arrays.update({"network.head.margin": np.float32(INF)}),
        lambda arrays: arrays.update({"support.points": np.zeros((1, 2), np.float32)}),
        lambda arrays: arrays.update({"level_weights": np.zeros((1, 2), np.float32)}),
        lambda arrays: arrays.update({"extra": np.zeros(1, np.float32)}),
        lambda arrays: arrays.update(
            {f"network.members.{n}.q": np.zeros(0, np.float32) for n in range(1000)}
        ),
        lambda arrays: arrays.update(
            {"support.embeddings": arrays["support.embeddings"][:, :-1].copy()}
        ),
        lambda arrays: arrays.update({"support.embeddings": arrays["support.embeddings"][:0]}),
        lambda arrays: [
            arrays.update({name: -array - 1})
            for name, array in list(arrays.items())
            if name.endswith("running_var")
        ],
    ],
)
def test_load_refuses_arrays_that_no_network_has(tmp_path, saved, change):
    about, arrays = copy.deepcopy(saved)
    change(arrays)
    refuse(tmp_path, about, arrays)


def test_load_refuses_a_head_whose_cells_need_much_memory(tmp_path):
    clf = SiameseOneShotClassifier(
        head="aligned", encoder_params={"width": 1}, resize=8, max_iter=1, random_state=0
    )
    clf.fit(X, PAIRS).save(tmp_path / "network")
    about, arrays = model_files.read(tmp_path / "network")
    about["params"].update(resize=1000, encoder_params={"width": 1, "max_cells": 10**9})
    about["working_size"] = [1000, 1000]
    refuse(tmp_path, about, arrays)


def test_load_refuses_values_that_no_verifier_has(tmp_path):
    verifier = SiameseVerifier(
        encoder_params={"width": 1}, resize=8, max_iter=1, random_state=0
    ).fit(X[PAIRS[:, :2]], PAIRS[:, 2])
    verifier.save(tmp_path / "network")
    about, arrays = model_files.read(tmp_path / "network")
    refuse(
        tmp_path, {**about, "labels": {"dtype": "int64", "values": []}}, arrays, SiameseVerifier
    )
    adapting = copy.deepcopy(about)
    adapting["fitted"]["adapts"] = True
    refuse(tmp_path, adapting, arrays, SiameseVerifier)
    about["params"]["aggregation"] = "mean"
    refuse(tmp_path, about, arrays, SiameseVerifier)


# Motor programs


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    path = tmp_path_factory.mktemp("values") / "programs"
    MotorProgramClassifier(random_state=0, n_walks=4).fit(X[::4], y[::4]).save(path)
    return model_files.read(path)


def options(**values):
    return lambda about, arrays: about["programs"].update(values)


def of_programs(**values):
    return lambda about, arrays: about["fitted"].update(values)


def replaced(name, change):
    return lambda about, arrays: arrays.update({name: change(arrays[name])})


@pytest.mark.parametrize(
    "change",
    [
        options(n_walks=0),
        options(n_walks=10**9),
        options(n_walks="x"),
        options(primitives=None),
        options(model=[]),
        options(seed=-1),
        options(seed=10**400),
        options(n_jobs=10**9),
        options(scaling=None),
        lambda about, arrays: about.update(programs=None),
        lambda about, arrays: about["params"].update(n_walks=None),
        lambda about, arrays: about["params"].update(aggregation="prototype"),
        lambda about, arrays: about["params"].update(n_jobs=10**9),
        replaced("support.points", lambda points: points * NAN),
        replaced("support.points", lambda points: points * np.float32(1e30)),
        replaced("support.points", lambda points: points.astype(np.float64)),
        replaced("support.points", lambda points: points.reshape(-1)),
        replaced("support.weights", lambda weights: -weights),
        replaced("support.strokes", lambda strokes: strokes + np.int16(1)),
        replaced("support.strokes", lambda strokes: strokes[::-1].copy()),
        replaced("support.strokes", lambda strokes: np.where(strokes > 0, 32767, strokes)),
        replaced("support.strokes", lambda strokes: np.arange(len(strokes), dtype=np.int16) % 64),
        replaced("support.substrokes", np.zeros_like),
        replaced("support.n_points", lambda n: n[::-1] - 1),
        replaced("support.n_points", lambda n: np.array([n.sum() - 5, 1, 1, 1, 1, 1])),
        replaced("support.n_points", lambda n: n * 0 + 2**62),
        replaced("support.n_parts", lambda n: n * 0),
        replaced("support.n_parts", lambda n: n + 2**60),
        replaced("support.holes", lambda holes: holes - 1),
        replaced("support.holes", lambda holes: np.sort(holes + np.arange(4, dtype=np.float32))),
        replaced("support.weights", lambda weights: weights * np.float32(1e30)),
        replaced("support.weights", lambda weights: weights * np.float32(1e-30)),
        of_programs(adapts=False),
        of_programs(history=[[]]),
        of_programs(negative_label=-1),
        of_programs(decision_threshold=1.0),
        of_programs(held_out_classes={"dtype": "int64", "values": [1]}),
        replaced("support.holes", lambda holes: holes[:, :3].copy()),
    ],
)
def test_load_refuses_values_that_no_motor_programs_have(tmp_path, programs, change):
    about, arrays = copy.deepcopy(programs)
    change(about, arrays)
    refuse(tmp_path, about, arrays, MotorProgramClassifier)
