"""Learning: the network that parameters build, who is held out, and what decides its weights."""

import copy
import random
import signal
import warnings

import joblib
import numpy as np
import pytest
import torch
from helpers import (
    CLOSE,
    assert_same_network,
    classifier,
    make_table,
    small_encoder,
    unchanged,
    weights,
)
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch import nn

from sksiamese import SiameseOneShotClassifier, load_pretrained
from sksiamese.augmentation import Affine, Augmentation
from sksiamese.callbacks import StopTraining
from sksiamese.datasets import make_glyphs
from sksiamese.exceptions import DivergedError
from sksiamese.twin import training as twin_training
from sksiamese.twin.encoders import ConvEncoder, KochEncoder, MLPEncoder
from sksiamese.twin.inference import NeuralComparer


@pytest.fixture(scope="module")
def table():
    return make_table()


class Seen:
    """An augmentation that changes nothing and notes the images that training shows."""

    def __init__(self):
        self.images = []

    def __call__(self, images, generator):
        self.images.append(images.clone())
        return images

    @property
    def all(self):
        return torch.cat(self.images)


# Size of what the encoder sees


@pytest.mark.parametrize(
    ("resize", "encoder", "shape", "working"),
    [
        ("auto", "auto", (1, 105, 105), (1, 36, 36)),
        ("auto", "conv", (3, 64, 32), (3, 36, 18)),
        ("auto", "auto", (3, 8, 4), (3, 36, 18)),
        ("auto", "mlp", (1, 8, 8), (1, 8, 8)),
        ("auto", "koch", (1, 70, 65), (1, 70, 65)),
        ("auto", small_encoder(), (1, 16, 16), (1, 16, 16)),
        (None, "auto", (1, 40, 40), (1, 40, 40)),
        (20, "auto", (1, 105, 50), (1, 20, 10)),
        (20, "auto", (1, 10, 10), (1, 20, 20)),
        (8, "auto", (1, 105, 1), (1, 8, 1)),
        ((12, 18), "mlp", (1, 50, 50), (1, 12, 18)),
        (20, "auto", (9,), (9,)),
        ("auto", "mlp", (9,), (9,)),
    ],
)
def test_resize_decides_what_the_encoder_sees(resize, encoder, shape, working):
    X = np.random.default_rng(0).random((4, *shape))
    seen, others = Seen(), {"batch_size": (1, 2, 2), "precision": "float32"}
    clf = classifier(encoder, resize=resize, augmentation=seen, channels="first", **others)
    assert clf.fit(X, [0, 0, 1, 1]).input_shape_ == shape
    assert tuple(seen.all.shape[1:]) == working
    assert np.isfinite(clf.transform(X)).all()


def test_resize_of_a_cropped_drawing_is_a_square(training):
    seen = Seen()
    X, y = training
    classifier(resize=12, crop="foreground", augmentation=seen).fit(X[:, :8], y)
    assert seen.all.shape[1:] == (1, 12, 12)


# Encoders


def test_encoder_auto_is_conv_for_images_and_mlp_for_rows(training, table):
    X, y = training
    rows = X.reshape(len(X), -1)
    assert isinstance(classifier().fit(X, y).network_.encoder, ConvEncoder)
    assert isinstance(classifier().fit(*table).network_.encoder, MLPEncoder)
    clf = classifier(image_shape=(16, 16)).fit(rows, y)
    assert isinstance(clf.network_.encoder, ConvEncoder)


def test_encoder_koch_takes_images_of_at_least_65_pixels():
    X, y = make_glyphs(n_classes=3, n_samples=2, image_size=65, random_state=0)
    clf = classifier("koch", batch_size=(1, 2, 2), augmentation=None).fit(X, y)
    assert isinstance(clf.network_.encoder, KochEncoder)
    scaled = clf.fitted_.comparer.scaling(torch.from_numpy(X).float()[:, None])
    np.testing.assert_allclose(clf.transform(X), clf.network_.embed(scaled), **CLOSE)
    np.testing.assert_array_equal(clf.predict(X), y)


def test_encoder_module_is_copied_and_not_trained_in_place(training):
    module = small_encoder()
    before = [p.detach().clone() for p in module.parameters()]
    clf = classifier(module).fit(*training)
    assert clf.encoder is module
    assert clf.network_.encoder is not module
    for p, old in zip(module.parameters(), before, strict=True):
        assert torch.equal(p, old)
        assert p.grad is None
        assert p.requires_grad
    assert not torch.equal(clf.network_.encoder[1].weight, module[1].weight)
    assert module.training
    assert_same_network(clf, classifier(module).fit(*training))


def test_encoder_module_is_made_float32(training):
    module = small_encoder().double()
    clf = classifier(module).fit(*training)
    assert clf.network_.encoder[1].weight.dtype == torch.float32
    assert module[1].weight.dtype == torch.float64


def test_encoder_callable_is_called_with_the_shape_and_draws_by_random_state(training):
    shapes = []

    def build(shape):
        shapes.append(shape)
        return small_encoder()

    a, b = (classifier(build).fit(*training) for _ in range(2))
    other = classifier(build, random_state=1).fit(*training)
    assert shapes == [(1, 16, 16)] * 3
    assert_same_network(a, b)
    assert not np.array_equal(a.transform(training[0]), other.transform(training[0]))


@pytest.mark.parametrize(
    "module",
    [
        lambda shape: nn.Sequential(small_encoder(), nn.Dropout(0.5)),
        nn.Sequential(nn.Flatten(), nn.LazyLinear(8)),
    ],
    ids=["dropout", "lazy layer"],
)
def test_encoder_that_draws_from_the_global_generator_draws_by_random_state(training, module):
    before = torch.get_rng_state()
    fits = [classifier(module).fit(*training) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_network(*fits)


def test_encoder_may_hold_a_view(training):
    """`view` fails on channels-last tensors, which only our own encoders get."""

    class Viewed(nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            x = self.conv(x)
            return x.view(x.size(0), -1)

    conv = nn.Conv2d(1, 2, 3)
    viewed, flattened = (
        classifier(module).fit(*training).transform(training[0])
        for module in (Viewed(conv), nn.Sequential(conv, nn.Flatten()))
    )
    np.testing.assert_array_equal(viewed, flattened)


@pytest.mark.parametrize("frozen", [False, True])
def test_encoder_of_timm_for_colour_images(training, frozen):
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision, if torch is of another build
        pytest.skip(f"timm cannot be imported here: {error}")
    X, y = training[0][:32], training[1][:32]
    X = np.stack([X, 255 - X, X // 2], axis=1)
    before = {}

    def backbone(shape):
        network = timm.create_model("resnet10t", in_chans=shape[0], num_classes=0)
        network.requires_grad_(not frozen)
        before.update((name, w.clone()) for name, w in network.named_parameters())
        return network

    clf = classifier(backbone).fit(X, y)
    assert clf.input_shape_ == (3, 16, 16)
    assert clf.transform(X[:2]).shape == (2, 512)
    after = dict(clf.network_.encoder.named_parameters())
    same = [torch.equal(after[name], value) for name, value in before.items()]
    assert np.mean(same) == 1 if frozen else np.mean(same) < 0.5


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (nn.Linear(3, 3), r"encoder, a Linear, cannot be used for inputs of shape \(1, 36, 36\)"),
        (lambda shape: nn.Conv2d(3, 4, 3), r"encoder, a Conv2d, cannot be used"),
        (lambda shape: "resnet", r"encoder, called .* returned str; expected a torch.nn.Module"),
        (nn.Flatten(0), r"encoder, a Flatten, cannot be used .*encoder returned \(1296,\)"),
    ],
)
def test_encoder_that_cannot_take_the_images_is_named(training, encoder, message):
    clf = classifier(encoder, resize=36)
    with unchanged(clf), pytest.raises((ValueError, TypeError), match=message):
        clf.fit(*training)


# Augmentation and loss


@pytest.mark.parametrize(
    ("augmentation", "X", "expected"),
    [
        ("auto", "gray", "strokes"),
        ("auto", "colour", "warp"),
        ("auto", "rows", None),
        ("affine", "gray", Augmentation(affine=Affine())),
    ],
)
def test_augmentation_follows_the_images(training, table, augmentation, X, expected):
    """Two names of one augmentation train the same network."""
    gray, y = training
    forms = {"gray": (gray, y), "colour": (np.stack([gray] * 3, 1), y), "rows": table}
    fits = [classifier("mlp", augmentation=a).fit(*forms[X]) for a in (augmentation, expected)]
    assert_same_network(*fits)
    if X != "rows":
        other = classifier("mlp", augmentation=None).fit(*forms[X])
        assert not np.array_equal(other.transform(forms[X][0]), fits[0].transform(forms[X][0]))


def test_augmentation_callable_gets_scaled_images(training):
    seen = Seen()
    classifier(augmentation=seen).fit(*training)
    images = seen.all
    assert images.dtype == torch.float32
    assert images.shape[1:] == (1, 16, 16)
    assert images.flatten(1).median() == 0  # background
    assert images.max() == pytest.approx(1, abs=0.1)  # foreground


@pytest.mark.parametrize(
    ("augmentation", "got"),
    [
        (lambda images, generator: images[:1], r"torch.Size\(\[1, 1, 16, 16\]\)|\(1, 1, 16, 16\)"),
        (lambda images, generator: images.double(), "float64"),
        (lambda images, generator: images.numpy(), "float32|ndarray"),
        (lambda images, generator: None, "NoneType"),
    ],
)
def test_augmentation_that_returns_something_else_is_refused(training, augmentation, got):
    with pytest.raises(TypeError, match=f"augmentation returned .*({got}).*expected float32"):
        classifier(augmentation=augmentation).fit(*training)


@pytest.mark.parametrize(("name", "factor"), [("rotate", 4), ("rotate_reflect", 8)])
def test_class_augmentation_shows_turned_images(training, name, factor):
    """Two classes of one drawing each, all of whose turns differ."""
    X = np.repeat(training[0][[0, 8]], 2, axis=0)
    seen = Seen()
    clf = classifier("mlp", augmentation=seen, class_augmentation=name, max_iter=10 * factor)
    clf.set_params(batch_size=(1, 2, 2)).fit(X, [0, 0, 1, 1])
    assert len(np.unique(seen.all.flatten(1).numpy(), axis=0)) == 2 * factor
    plain = Seen()
    clf.set_params(augmentation=plain, class_augmentation=None).fit(X, [0, 0, 1, 1])
    assert len(np.unique(plain.all.flatten(1).numpy(), axis=0)) == 2


def test_loss_callable_trains(training, new):
    seen = set()

    def margin(logits, same):
        seen.update(same.unique().tolist())
        return (1 - logits[same == 1]).relu().mean() + (1 + logits[same == 0]).relu().mean()

    clf = classifier(loss=margin, max_iter=8).fit(*training)
    assert seen == {-1, 0, 1}
    X, y = new
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.5


def test_fit_refuses_a_loss_that_is_not_finite(table):
    clf = classifier("mlp", loss=lambda logits, same: logits.sum() * np.nan)
    with unchanged(clf), pytest.raises(DivergedError):
        clf.fit(*table)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_of_training_leaves_a_float32_network(training, precision):
    clf = classifier(precision=precision, max_iter=2).fit(*training)
    floating = {v.dtype for v in weights(clf).values() if v.dtype.kind == "f"}
    assert floating <= {np.dtype("float32"), np.dtype("float64")}
    assert clf.score(*training) > 0.3


# Classes held out


def test_held_out_classes_are_those_that_training_does_not_show(table):
    """The table's first feature tells the class."""
    X, y = np.column_stack([table[1], table[0]]).astype(np.float32), table[1]
    for params, n_held in (
        ({"early_stopping": True}, 2),
        ({"unknown_label": -1}, 2),
        ({"early_stopping": True, "unknown_label": -1, "validation_fraction": 0.25}, 3 + 2),
    ):
        seen = Seen()
        clf = classifier("mlp", augmentation=seen, max_iter=6, **params).fit(X, y)
        feature = clf.fitted_.comparer.scaling(torch.from_numpy(X))[:, 0]
        shown = np.isin(feature, seen.all[:, 0])
        assert clf.held_out_classes_.tolist() == np.setdiff1d(y, y[shown]).tolist()
        assert len(clf.held_out_classes_) == n_held
        assert clf.classes_.tolist() == list(range(12))


def test_held_out_classes_are_whole_groups(table):
    X, y = table
    groups = y // 3
    clf = classifier("mlp", early_stopping=True, validation_fraction=0.5).fit(X, y, groups=groups)
    held = clf.held_out_classes_
    assert len(held) == 6
    assert len(set(held // 3)) == 2


def test_held_out_classes_keep_the_labels(table):
    X, y = table
    names = np.array(list("abcdefghijkl"))
    held = classifier("mlp", early_stopping=True).fit(X, names[y]).held_out_classes_
    assert len(held) == 2
    assert set(held) <= set(names)


@pytest.mark.parametrize(
    ("y", "params"),
    [
        ([0, 0, 1, 1], {}),
        ([0, 0, 1, 1, 2, 2], {}),
        ([0, 0, 0, 1, 2, 3, 4, 5, 6, 7], {}),
        (np.repeat(np.arange(10), 2), {"validation_fraction": 0.99}),
    ],
)
@pytest.mark.parametrize("reason", ["early_stopping", "unknown_label"])
def test_held_out_classes_are_refused_where_too_few_are_left(table, y, params, reason):
    reasons = {"unknown_label": {"unknown_label": -1}, "early_stopping": {"early_stopping": True}}
    clf = classifier("mlp", **params, **reasons[reason])
    message = (
        rf"{reason}.* holds out \d+ of \d+ classes \(validation_fraction=0\.\d+\).*do without"
    )
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.fit(table[0][: len(y)], y)


def test_early_stopping_is_refused_for_pairs(table):
    clf = classifier("mlp", early_stopping=True)
    with pytest.raises(ValueError, match="early_stopping=True needs class labels .* y has pairs"):
        clf.fit(table[0], [[0, 1, 1], [0, 10, 0]])


class StopAfter(Callback):
    """Ends training after an epoch."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.n_epochs:
            self.stop()

    def stop(self):
        raise StopTraining


def test_early_stopping_records_the_accuracy_and_restores_the_best_epoch(training):
    params = {"early_stopping": True, "max_iter": 12, "n_iter_no_change": 2}
    clf = classifier(**params).fit(*training)
    accuracies = [epoch["one_shot_accuracy"] for epoch in clf.history_[0]]
    best = int(np.argmax(accuracies))
    assert clf.n_iter_ == len(accuracies) == min(12, best + 3)
    until_best = classifier(callbacks=[StopAfter(best + 1)], **params).fit(*training)
    assert_same_network(clf, until_best)


# Several networks


def test_n_estimators_trains_different_networks_whose_mean_logit_decides(training, new):
    clf = classifier(n_estimators=2, max_iter=3).fit(*training)
    alone = classifier(max_iter=3).fit(*training)
    X, labels = new[0][:9], np.arange(9)
    each = []
    for member in clf.network_.members:
        one = copy.copy(alone)
        comparer = NeuralComparer(member, clf.fitted_.comparer.scaling)
        one.fitted_ = type(clf.fitted_)(comparer, clf.input_shape_)
        each.append(one.set_support(X, labels).decision_function(X))
    expected = np.mean(each, axis=0)
    np.testing.assert_allclose(
        clf.set_support(X, labels).decision_function(X), expected, atol=1e-4
    )
    assert not np.allclose(each[0], each[1], atol=0.1)
    first = clf.network_.members[0].state_dict()
    for name, value in alone.network_.state_dict().items():
        assert torch.equal(first[name], value), name


def test_n_estimators_has_a_history_for_each_network(table):
    clf = classifier("mlp", n_estimators=3, max_iter=2).fit(*table)
    assert [len(history) for history in clf.history_] == [2, 2, 2]
    assert clf.n_iter_ == 2
    assert len({history[0]["train_loss"] for history in clf.history_}) == 3


def test_n_iter_is_that_of_the_network_with_most_epochs(table):
    lengths = iter([3, 1, 2])

    class StopAtDifferentEpochs(StopAfter):
        def on_train_begin(self, net, **kwargs):
            self.n_epochs = next(lengths)

    callbacks = [StopAtDifferentEpochs(0)]
    clf = classifier("mlp", n_estimators=3, max_iter=9, callbacks=callbacks).fit(*table)
    assert [len(history) for history in clf.history_] == [3, 1, 2]
    assert clf.n_iter_ == 3


def test_transform_of_several_networks_has_their_mean_metric(training, new):
    X, _ = new
    clf = classifier(n_estimators=2, max_iter=2).fit(*training)
    embeddings = clf.transform(X)
    distances = np.abs(embeddings[:, None] - embeddings).sum(axis=2)
    bias = float(clf.network_.head.bias)
    np.testing.assert_allclose(bias - clf.similarity(X, X), distances, atol=1e-2)
    assert len(clf.get_feature_names_out()) == embeddings.shape[1]


# Ctrl-C


class CtrlC(StopAfter):
    """What the terminal sends, and Python raises."""

    def stop(self):
        signal.raise_signal(signal.SIGINT)


KEPT = "The network trained so far is kept"


def test_fit_keeps_the_network_trained_so_far_on_ctrl_c(training, new):
    X, y = new
    clf = classifier(max_iter=50, callbacks=[CtrlC(3)])
    with pytest.raises(KeyboardInterrupt, match=KEPT):
        clf.fit(*training)
    assert clf.n_iter_ == 3
    assert clf.classes_.tolist() == list(range(10))
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.3


def test_fit_keeps_the_network_on_ctrl_c_while_the_support_is_embedded(training, new, monkeypatch):
    embed = NeuralComparer.embed

    def interrupted(comparer, store, rows=None, **kwargs):
        if rows is None:  # all of X
            signal.raise_signal(signal.SIGINT)
        return embed(comparer, store, rows, **kwargs)

    X, y = new
    monkeypatch.setattr(NeuralComparer, "embed", interrupted)
    clf = classifier()
    with pytest.raises(KeyboardInterrupt, match=KEPT):
        clf.fit(*training)
    monkeypatch.undo()
    with pytest.raises(NotFittedError, match="no support yet. Call set_support"):
        clf.predict(X)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.3


def test_fit_keeps_the_network_on_ctrl_c_after_the_last_epoch(training, monkeypatch):
    def press(*args):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(twin_training, "has_collapsed", press)
    clf = classifier(max_iter=2)
    with pytest.raises(KeyboardInterrupt, match=KEPT):
        clf.fit(*training)
    monkeypatch.undo()
    assert clf.n_iter_ == 2
    assert_same_network(clf, classifier(max_iter=2).fit(*training))


@pytest.mark.parametrize(
    ("when", "lengths"), [("on_epoch_end", [2, 1]), ("on_train_begin", [2, 2])]
)
def test_fit_keeps_the_networks_trained_so_far_on_ctrl_c(table, when, lengths):
    calls = []

    def press(self, net, **kwargs):
        calls.append(net)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)

    press_at = type("PressAt", (Callback,), {when: press})
    clf = classifier("mlp", n_estimators=3, max_iter=2, callbacks=[press_at()])
    with pytest.raises(KeyboardInterrupt, match=KEPT):
        clf.fit(*table)
    assert len(clf.network_.members) == 2
    assert [len(history) for history in clf.history_] == lengths
    assert clf.score(*table) > 0.5
    assert len(clf.get_feature_names_out()) == clf.transform(table[0]).shape[1]


def test_fit_ends_a_grid_search_on_ctrl_c(table):
    fits = []

    class Count(CtrlC):
        def on_train_begin(self, net, **kwargs):
            fits.append(self)

    search = GridSearchCV(classifier("mlp", callbacks=[Count(1)]), {"max_iter": [2, 3]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*table)
    assert len(fits) == 1


# Warm start


def test_warm_start_continues_from_the_current_weights(glyphs):
    X, y = glyphs
    clf = classifier(max_iter=6).fit(X[y < 8], y[y < 8])
    (history,) = clf.history_
    clf.set_params(warm_start=True, max_iter=2).fit(X[y >= 8], y[y >= 8])
    assert clf.n_iter_ == 8
    assert clf.history_[0][:6] == history
    anew = classifier(max_iter=2).fit(X[y >= 8], y[y >= 8])
    assert clf.history_[0][-1]["train_loss"] < anew.history_[0][-1]["train_loss"]
    assert clf.classes_.tolist() == list(range(8, 16))


def test_warm_start_of_an_unfitted_classifier_is_a_start(table):
    fits = [classifier("mlp", warm_start=warm).fit(*table) for warm in (True, False)]
    assert_same_network(*fits)


def test_warm_start_leaves_the_earlier_network_unchanged(table):
    clf = classifier("mlp").fit(*table)
    before = copy.copy(clf)
    embeddings = before.transform(table[0])
    clf.set_params(warm_start=True).fit(*table)
    np.testing.assert_array_equal(before.transform(table[0]), embeddings)
    assert not np.array_equal(clf.transform(table[0]), embeddings)


def test_warm_start_needs_the_same_images_and_the_same_network(training):
    X, y = training
    clf = classifier(warm_start=True).fit(X, y)
    with (
        unchanged(clf),
        pytest.raises(
            ValueError,
            match="X has images of 12x16 .* warm_start=True continues a network for .* 16x16",
        ),
    ):
        clf.fit(X[:, :12], y)
    clf.set_params(encoder_params={"width": 8})
    with (
        unchanged(clf),
        pytest.raises(
            ValueError, match="parameters that decide how the network is built have changed since"
        ),
    ):
        clf.fit(X, y)


def test_warm_start_trains_a_pretrained_network_on_other_images(training, new):
    X, y = new
    clf = load_pretrained("omniglot")
    clf.set_params(warm_start=True, max_iter=1, random_state=0).fit(*training)
    assert clf.input_shape_ == (1, 16, 16)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.5


def test_warm_start_continues_each_network_and_adds_others(table):
    clf = classifier("mlp", n_estimators=2).fit(*table)
    clf.set_params(warm_start=True, n_estimators=3).fit(*table)
    assert len(clf.network_.members) == 3
    assert [len(history) for history in clf.history_] == [2, 2, 1]
    assert clf.n_iter_ == 2


def test_fit_without_warm_start_forgets_the_earlier_fit(table):
    clf = classifier("mlp", max_iter=2).fit(*table)
    first = {name: value.copy() for name, value in weights(clf).items()}
    for name, value in weights(clf.fit(*table)).items():
        np.testing.assert_array_equal(value, first[name])
    assert clf.n_iter_ == 2


# Nothing but random_state decides


def test_random_state_gives_the_same_bits_whatever_the_global_generators_are(fitted, training):
    torch.manual_seed(12345)
    np.random.seed(12345)  # noqa: NPY002 - the point is the global one
    again = SiameseOneShotClassifier(max_iter=8, random_state=0).fit(*training)
    assert_same_network(fitted, again)
    losses, expected = (
        [epoch["train_loss"] for epoch in clf.history_[0]] for clf in (again, fitted)
    )
    assert losses == expected


def test_random_state_of_another_value_gives_another_network(training):
    a, b = (classifier(random_state=seed).fit(*training) for seed in (0, 1))
    assert not np.array_equal(a.transform(training[0]), b.transform(training[0]))


@pytest.mark.parametrize(
    ("shape", "params"),
    [
        ((8, 2), {}),
        ((36, 4), {}),
        ((90, 10), {"resize": "auto"}),  # to 36x4
        ((1, 1), {}),
        ((9, 1), {"n_estimators": 2}),
        ((3, 40), {"head": "aligned"}),
        ((36, 6), {"encoder": lambda shape: strided(6, 2, 2, 2)}),  # 6 columns, then 1
        ((36, 8), {"encoder": lambda shape: strided(3, 3)}),
        ((36, 2), {"encoder": lambda shape: strided(3)}),
    ],
    ids=str,
)
def test_random_state_gives_the_same_bits_for_narrow_images(shape, params):
    """Of such maps, torch's bfloat16 gradients hold what happened to be in memory."""
    X = np.random.default_rng(0).random((8, *shape), np.float32)
    own = {"batch_size": (1, 4, 2), "precision": "bfloat16", "augmentation": None}
    if "encoder" not in params:
        own["encoder_params"] = {"width": 4}
    seen = set()
    for _ in range(12):
        for size in (1_000, 10_000, 100_000, 1_000_000):
            torch.full((size,), float("nan"))
        clf = classifier(**{**own, **params}).fit(X, np.arange(8) // 2)
        assert all(torch.isfinite(tensor).all() for tensor in clf.network_.state_dict().values())
        seen.add(b"".join(t.numpy().tobytes() for t in clf.network_.state_dict().values()))
    assert len(seen) == 1


def strided(*strides):
    """Return convolutions of 3x3 with these strides, and a map for each image."""
    layers = [nn.Conv2d(1, 8, 3, padding=1)]
    for stride in strides:
        layers += [nn.Conv2d(8, 8, 3, stride, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("encoder", ["auto", lambda shape: small_encoder()], ids=["auto", "own"])
def test_fit_leaves_the_global_generators_alone(training, encoder, random_state):
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one
    states = torch.get_rng_state(), random.getstate()
    classifier(encoder, random_state=random_state).fit(*training).predict(training[0])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("encoder", ["auto", "own"])
def test_fit_in_threads_learns_the_same_bits(training, encoder):
    """Dropout draws from torch's global generator, which one thread at a time is lent."""

    def build(shape):
        return nn.Sequential(small_encoder(), nn.Dropout(0.5))

    encoder = build if encoder == "own" else encoder
    here = classifier(encoder).fit(*training)
    before = torch.get_rng_state()
    fits = joblib.Parallel(n_jobs=3, backend="threading")(
        joblib.delayed(classifier(encoder).fit)(*training) for _ in range(3)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for there in fits:
        assert_same_network(here, there)


def test_fit_in_another_process_learns_the_same_bits(training):
    here = classifier().fit(*training)
    (there,) = joblib.Parallel(n_jobs=2)([joblib.delayed(classifier().fit)(*training)])
    assert_same_network(here, there)
    np.testing.assert_allclose(
        there.decision_function(training[0]), here.decision_function(training[0]), **CLOSE
    )


def test_fit_warns_of_nothing(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier("mlp", early_stopping=True, unknown_label=-1).fit(*table).predict(table[0])
