"""Parameters: `fit` checks each of them, and what `batch_size`, `optimizer` and others mean."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers import classifier, make_table, name_of, pairs_of, unchanged
from skorch.callbacks import Callback, EarlyStopping

from sksiamese import SiameseOneShotClassifier
from sksiamese.twin.encoders import MLPEncoder
from sksiamese.twin.optimizers import Muon

TUPLE = "expected a tuple of 2 or 3 positive integers"
SKORCH = "expected a list of skorch callbacks, or None"

# Bad values of every parameter, and what the message says beside the parameter's name.
BAD = [
    ("encoder", "resnet", "'resnet'.*'auto', 'conv', .*'mlp'"),
    ("encoder", 3, "3.*'auto'"),
    ("encoder", None, "None.*'auto'"),
    ("encoder", lambda shape: 3, "returned int; expected a torch.nn.Module"),
    ("encoder_params", 3, "3; expected a dict, or None"),
    ("encoder_params", {"widht": 8}, "widht.* cannot be used: .*widht"),
    ("encoder_params", {"width": "wide"}, "wide.* cannot be used"),
    ("encoder_params", {"width": 0}, "'width': 0.* cannot be used"),
    ("head", "dot", "'dot'.*'weighted_l1'"),
    ("head_params", [3], r"\[3\]; expected a dict"),
    ("head_params", {"window": 1}, "window.* cannot be used: .*window"),
    ("crop", "box", "'box' is not known; expected one of 'auto', 'foreground', None"),
    ("n_pairs", 1, "1.*>= 2"),
    ("n_pairs", 9.5, "int.*float"),
    ("loss", "hinge", "'hinge'.*'both'"),
    ("augmentation", "blur", "'blur'.*'affine'"),
    ("augmentation", ["affine"], "'affine'.*expected one of"),
    ("class_augmentation", "mirror", "'mirror'.*'auto', None, 'rotate', 'rotate_reflect'"),
    ("class_augmentation", False, "False.*'rotate_reflect'"),
    ("image_shape", 16, f"16; {TUPLE}"),
    ("image_shape", (16, 0), rf"\(16, 0\); {TUPLE}"),
    ("image_shape", (16,), rf"\(16,\); {TUPLE}"),
    ("image_shape", (16, 2.0), rf"\(16, 2.0\); {TUPLE}"),
    ("image_shape", "ab", f"'ab'; {TUPLE}"),
    ("channels", "middle", "'middle'.*'auto', 'first', 'last'"),
    ("channels", 1, "1.*'auto', 'first', 'last'"),
    ("normalization", "unit", "'unit' is not known; expected one of 'auto', 'foreground', 'imag"),
    ("normalization", 0.5, r"0.5; expected .* or a pair \(mean, std\)"),
    ("normalization", (0.5,), r"\(0.5,\); expected .* or a pair \(mean, std\)"),
    ("normalization", (0.5, 0.0), r"\(0.5, 0.0\); expected .*std above 0"),
    ("normalization", (0.5, float("nan")), r"\(0.5, nan\); expected .*std above 0"),
    ("normalization", ((0.5, 0.5), (1, 1, 1)), r"1, 1\)\); expected .*as many numbers as"),
    ("normalization", ("a", "b"), r"\('a', 'b'\); expected .* or a pair"),
    ("resize", "large", "'large'.*'auto'"),
    ("resize", 0, "0.*>= 1"),
    ("resize", True, "True is a bool; expected a number"),
    ("resize", (8,), r"\(8,\); expected a tuple of 2 positive integers"),
    ("resize", 8.5, "8.5; expected a tuple of 2 positive integers"),
    ("batch_size", (2, 20), r"\(2, 20\); expected a tuple of 3 positive integers"),
    ("batch_size", (True, 20, 2), r"\(True, 20, 2\); expected a tuple of 3 positive integers"),
    ("batch_size", (1, 1, 4), r"\(1, 1, 4\); expected .*at least two classes of each group"),
    ("batch_size", (1, 4, 1), r"\(1, 4, 1\); expected .*two samples of each class"),
    ("batch_size", 1, "1.*>= 2"),
    ("batch_size", 64.0, "64.0; expected a tuple of 3 positive integers"),
    ("batch_size", "large", "'large' is not known; expected one of 'auto'"),
    ("batch_size", None, "None; expected a tuple of 3 positive integers"),
    ("batch_size", 64, "64 counts pairs, but y has labels and n_pairs=None compares all pairs"),
    ("max_iter", 0, "0.*>= 1"),
    ("max_iter", "ten", "int.*str"),
    ("max_iter", True, "True is a bool; expected a number"),
    ("max_iter", None, "int.*NoneType"),
    ("n_estimators", 0, "0.*>= 1"),
    ("n_estimators", 1.5, "int.*float"),
    ("optimizer", "lion", "'lion' is not known; expected one of 'adamw', 'adam', 'sgd', 'muon'"),
    ("optimizer", None, "None is not known; expected one of 'adamw'"),
    ("optimizer", torch.nn.Linear, "Linear.* is not known; expected one of 'adamw'"),
    ("optimizer_params", [("lr", 1)], r"\('lr', 1\)\]; expected a dict, or None"),
    ("optimizer_params", {"lr": 0.1}, "has 'lr': use the parameter learning_rate"),
    ("optimizer_params", {"weight_decay": 0.1}, "has 'weight_decay': use the parameter weight_d"),
    ("optimizer_params", {"momentm": 0.9}, "momentm.* cannot be used: .*momentm"),
    ("learning_rate", 0, "0.*> 0"),
    ("learning_rate", -1e-3, "-0.001.*> 0"),
    ("learning_rate", float("nan"), "nan; expected a finite number"),
    ("learning_rate", float("inf"), "inf; expected a finite number"),
    ("learning_rate", "fast", "str"),
    ("weight_decay", -1, "-1.*>= 0"),
    ("ema_decay", 1.0, "1.0.*< 1"),
    ("ema_decay", -0.1, "-0.1.*>= 0"),
    ("early_stopping", "yes", "'yes'; expected True or False"),
    ("early_stopping", 1, "1; expected True or False"),
    ("validation_fraction", 0, "0.*> 0"),
    ("validation_fraction", 1.0, "1.0.*< 1"),
    ("n_iter_no_change", 0, "0.*>= 1"),
    ("aggregation", "median", "'median'.*'mean', 'max', 'prototype'"),
    ("search", "annoy", "'annoy' is not known; expected one of 'auto', 'faiss'"),
    ("unknown_label", "none", "'none' is not of the type of the labels, which have dtype int"),
    ("unknown_label", [-1], r"\[-1\] is not of the type of the labels"),
    ("unknown_label", 0, "0 is also the label of a class. Use another label"),
    ("false_acceptance_rate", 0, "0.*> 0"),
    ("false_acceptance_rate", "low", "str"),
    ("weights", "", "''; expected the name of a pretrained network"),
    ("weights", 3, "3; expected the name of a pretrained network, the path of a file"),
    ("weights", "image-net", "'image-net' is not known; expected one of 'omniglot', 'symbols'"),
    ("weights", "omniglot", "another architecture: .*head='whitened' instead of 'aligned'"),
    ("warm_start", "yes", "'yes'; expected True or False"),
    ("checkpoint_dir", 3, "3; expected the path of a folder, or None"),
    ("checkpoint_dir", "a\0b", r"'a\\x00b' has a null character"),
    ("checkpoint_minutes", 0, "0.*> 0"),
    ("checkpoint_minutes", "one", "str"),
    ("memory", 3, "3; expected the path of a folder, an object with the interface of"),
    ("precision", "float16", "'float16'.*'auto', 'float32', 'bfloat16'"),
    ("device", "abacus", "'abacus' is not known to torch"),
    ("device", None, "None is not known to torch"),
    ("callbacks", 3, f"3; {SKORCH}"),
    ("callbacks", Callback(), SKORCH),
    ("callbacks", ["bar"], rf"\['bar'\]; {SKORCH}"),
    ("callbacks", [()], rf"\[\(\)\]; {SKORCH}"),
    ("callbacks", [EarlyStopping], rf"EarlyStopping'>\]; {SKORCH}"),
    ("callbacks", [EarlyStopping(load_best=True)], "load_best=True.*Use early_stopping=True"),
    ("net_params", 3, "3; expected a dict, or None"),
    ("net_params", {"lr": 0.1}, "has 'lr', .*: use the parameter learning_rate"),
    ("net_params", {"batch_size": 3}, "has 'batch_size', .*: use the parameter batch_size"),
    ("net_params", {"criterion": 3}, "has 'criterion', .*: use the parameter loss"),
    ("net_params", {"module": 3}, "has 'module', .*: use the parameter encoder"),
    ("net_params", {"max_epochs": 3}, "has 'max_epochs', .*: use the parameter max_iter"),
    ("net_params", {"train_split": None}, "has 'train_split', .*: use the parameter early_sto"),
    ("net_params", {"verbose": 1}, "has 'verbose', .*: use the parameter verbose"),
    ("net_params", {"optimizer": 3}, "has 'optimizer', .*: use the parameter optimizer, optimiz"),
    ("net_params", {"optimizer__momentum": 0.9}, "has 'optimizer__momentum', .*optimizer_params"),
    ("net_params", {"learning_rat": 1.0}, "learning_rat.* cannot be used: .*learning_rat"),
    ("verbose", -1, "-1.*>= 0"),
    ("verbose", "loud", "int.*str"),
    ("random_state", "a", "'a'; expected None, an integer"),
    ("random_state", -1, "-1; expected None, an integer"),
]


@pytest.fixture(scope="module")
def few(training):
    """Two classes of eight drawings."""
    return training[0][:16], training[1][:16]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    BAD,
    ids=[name_of(f"{name}={value!r}")[:40] for name, value, _ in BAD],
)
def test_fit_refuses_bad_values_of_a_parameter(name, value, message, few, clf):
    for estimator in (classifier(), clf):
        estimator.set_params(**{name: value})  # is checked by fit, as everywhere in scikit-learn
        with (
            unchanged(estimator),
            pytest.raises((ValueError, TypeError), match=rf"(?s){name}.*({message})"),
        ):
            estimator.fit(*few)


def test_fit_checks_every_parameter():
    assert {name for name, _, _ in BAD} == set(SiameseOneShotClassifier().get_params())


@pytest.mark.parametrize("params", [{"window": -1}, {"n_channels": 0}, {"window": "near"}])
def test_head_params_that_the_aligned_head_cannot_use_are_refused(few, params):
    with pytest.raises(ValueError, match="head_params=.* cannot be used"):
        classifier(head="aligned", head_params=params).fit(*few)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder": "conv"}, "encoder='conv' needs images, got flat rows of 6.*image_shape="),
        ({"augmentation": "affine"}, "augmentation='affine' needs images, got flat rows of 6"),
        ({"head": "aligned"}, "head='aligned' compares feature maps.*use head='whitened'"),
        ({"crop": "foreground"}, "crop='foreground' needs images, got flat rows.*image_shape"),
    ],
)
def test_fit_refuses_parameters_of_images_for_flat_rows(params, message):
    with pytest.raises(ValueError, match=message):
        classifier(**params).fit(*make_table(n_classes=2, n_features=6))


def test_encoder_params_are_refused_beside_an_encoder_that_is_no_name():
    encoder = partial(MLPEncoder, n_units=3)
    with pytest.raises(ValueError, match=r"encoder_params=\{'n_units': 4\} are for .* by name"):
        classifier(encoder, encoder_params={"n_units": 4}).fit(*make_table(n_classes=2))


# batch_size and n_pairs


class Steps(Callback):
    """Notes how many images and how many pairs each step has."""

    def on_train_begin(self, net, **kwargs):
        self.images, self.pairs = [], []

    def on_batch_begin(self, net, batch=None, **kwargs):
        inputs, same = batch
        self.images.append(len(inputs["images"]))
        self.pairs.append(same.numel())


@pytest.fixture
def steps():
    return Steps()


@pytest.mark.parametrize(
    ("batch_size", "images"),
    [("auto", 20 * 4), ((1, 4, 3), 12), ([1, np.int64(4), 3], 12)],
)
def test_batch_size_of_labels_is_a_shape(steps, batch_size, images):
    X, y = make_table(n_classes=24, n_samples=5, n_features=4)
    classifier("mlp", batch_size=batch_size, callbacks=[steps]).fit(X, y)
    n_steps = -(-len(X) // images)
    assert steps.images == [images] * n_steps
    assert steps.pairs == [images**2] * n_steps


@pytest.mark.parametrize(("batch_size", "pairs"), [("auto", [128] * 2), (64, [64] * 4)])
def test_batch_size_of_pairs_counts_them(training, steps, batch_size, pairs):
    X, y = training
    classifier(batch_size=batch_size, callbacks=[steps]).fit(X, pairs_of(y, 256))
    assert steps.pairs == pairs


@pytest.mark.parametrize(("batch_size", "pairs"), [("auto", [128] * 2), (64, [64] * 4)])
def test_n_pairs_are_drawn_once_from_labels(training, steps, batch_size, pairs):
    X, y = training
    clf = classifier(n_pairs=256, batch_size=batch_size, max_iter=2, callbacks=[steps])
    assert clf.fit(X, y).classes_.tolist() == list(range(10))
    assert steps.pairs == 2 * pairs


def test_n_pairs_are_half_of_one_class(training):
    same = []

    class Note(Callback):
        def on_batch_begin(self, net, batch=None, **kwargs):
            same.extend(batch[1].tolist())

    classifier(n_pairs=300, callbacks=[Note()]).fit(*training)
    assert (same.count(1), same.count(0)) == (150, 150)


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"batch_size": 64}, "labels", "batch_size=64 counts pairs.*set n_pairs to draw a fixed"),
        ({"batch_size": (1, 4, 2)}, "pairs", r"\(1, 4, 2\) is for labels, but y has pairs: give"),
        (
            {"batch_size": (1, 4, 2), "n_pairs": 50},
            "labels",
            r"batch_size=\(1, 4, 2\) compares all pairs inside a batch, but n_pairs=50 draws",
        ),
    ],
)
def test_batch_size_of_the_other_kind_is_refused(training, params, y, message):
    X, labels = training
    clf = classifier(**params)
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.fit(X, labels if y == "labels" else pairs_of(labels, 50))


# optimizer and optimizer_params


class Look(Callback):
    """Notes the optimizer, and the arguments of its parameter groups."""

    def on_train_begin(self, net, **kwargs):
        self.optimizer = net.optimizer_
        self.groups = [
            {name: value for name, value in group.items() if name != "params"}
            for group in net.optimizer_.param_groups
        ]


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        ("adamw", torch.optim.AdamW),
        ("adam", torch.optim.Adam),
        ("sgd", torch.optim.SGD),
        ("muon", Muon),
        (torch.optim.RMSprop, torch.optim.RMSprop),
    ],
)
def test_optimizer_is_a_name_or_a_type(optimizer, kind):
    look = Look()
    clf = classifier("mlp", optimizer=optimizer, learning_rate=1e-3, weight_decay=0.03)
    X, y = make_table(n_classes=4)
    assert np.isfinite(clf.set_params(callbacks=[look]).fit(X, y).transform(X)).all()
    assert type(look.optimizer) is kind
    assert {group["weight_decay"] for group in look.groups} == {0.03}


def test_optimizer_params_are_its_arguments():
    look = Look()
    params = {"momentum": 0.5, "nesterov": True, "param_groups": [("head*", {"lr": 1e-4})]}
    clf = classifier("mlp", optimizer="sgd", optimizer_params=params, callbacks=[look])
    clf.fit(*make_table(n_classes=4))
    assert len(look.groups) == 2
    assert {group["momentum"] for group in look.groups} == {0.5}
    assert all(group["nesterov"] for group in look.groups)
    assert look.groups[0]["lr"] != look.groups[1]["lr"]


def test_optimizer_params_of_another_optimizer_are_refused():
    clf = classifier("mlp", optimizer="adamw", optimizer_params={"momentum": 0.9})
    with (
        unchanged(clf),
        pytest.raises(TypeError, match=r"optimizer_params=.*momentum.* cannot be"),
    ):
        clf.fit(*make_table(n_classes=4))


def test_net_params_reach_skorch():
    seen = []

    class Note(Callback):
        def on_train_begin(self, net, **kwargs):
            seen.append((dict(net.callbacks_)["clip"].gradient_clip_value, net.compile))

    params = {"callbacks__clip__gradient_clip_value": 7.0, "compile": False}
    classifier("mlp", net_params=params, callbacks=[Note()]).fit(*make_table(n_classes=4))
    assert seen == [(7.0, False)]


# random_state and verbose


@pytest.mark.parametrize("random_state", [np.random.RandomState(0), np.int64(0)])
def test_random_state_may_be_a_generator_or_a_numpy_integer(random_state):
    X, y = make_table(n_classes=4)
    expected = classifier("mlp", random_state=0).fit(X, y).transform(X)
    clf = classifier("mlp", random_state=random_state).fit(X, y)
    np.testing.assert_array_equal(clf.transform(X), expected)


def test_random_state_none_draws_a_new_seed_each_time():
    X, y = make_table(n_classes=4)
    a, b = (classifier("mlp", random_state=None).fit(X, y).transform(X) for _ in range(2))
    assert not np.array_equal(a, b)


def test_random_state_draws_nothing_in_a_fit_that_fails(few):
    random_state = np.random.RandomState(3)
    clf = classifier("koch", random_state=random_state)
    with pytest.raises(ValueError, match="encoder='koch' needs images"):
        clf.fit(*few)
    assert random_state.randint(2**31 - 1) == np.random.RandomState(3).randint(2**31 - 1)


@pytest.mark.parametrize("verbose", [1, True])
def test_verbose_shows_a_bar_with_the_loss_of_each_network(capfd, verbose):
    X, y = make_table(n_classes=4)
    clf = classifier("mlp", max_iter=3, n_estimators=2, verbose=verbose).fit(X, y)
    output = capfd.readouterr()
    assert output.out == ""
    for n, history in enumerate(clf.history_, 1):
        assert f"training {n}/2: 100%" in output.err
        assert f"loss={history[-1]['train_loss']:.3f}" in output.err
    assert "3/3" in output.err


def test_verbose_shows_the_accuracy_of_early_stopping(capfd):
    X, y = make_table(n_classes=10)
    clf = classifier("mlp", max_iter=2, early_stopping=True, verbose=1).fit(X, y)
    accuracy = clf.history_[0][-1]["one_shot_accuracy"]
    assert f"one-shot={accuracy:.1%}" in capfd.readouterr().err


@pytest.mark.parametrize("params", [{}, {"verbose": 0}, {"verbose": False}])
def test_verbose_0_writes_nothing(capfd, params):
    X, y = make_table(n_classes=10)
    clf = classifier("mlp", max_iter=2, early_stopping=True, n_estimators=2, **params)
    clf.fit(X, y).predict(X)
    output = capfd.readouterr()
    assert output.out == output.err == ""
