"""Building: the network, working size, augmentation and loss that parameters ask for."""

import copy

import numpy as np
import pytest
import torch
from helpers import (
    CLOSE,
    Seen,
    assert_same_network,
    classifier,
    make_table,
    small_encoder,
    unchanged,
    weights,
)
from torch import nn

from sksiamese.augmentation import Affine, Augmentation
from sksiamese.datasets import make_glyphs
from sksiamese.exceptions import DivergedError
from sksiamese.twin.encoders import ConvEncoder, KochEncoder, MLPEncoder, build_encoder


@pytest.fixture(scope="module")
def table():
    return make_table()


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


def test_fit_leaves_a_frozen_encoder_as_it_is(training):
    encoder = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()
    ).requires_grad_(False)
    clf = classifier(encoder, max_iter=3).fit(*training)
    after = clf.network_.encoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in encoder.state_dict().items())


def normed(seen=True):
    """Return a network with batch normalisation that has seen images of 16x16 pixels, or not."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
    )
    if seen:
        module(torch.rand(8, 1, 16, 16))
    return module


@pytest.mark.filterwarnings("error")
def test_batch_norm_of_a_module_stays_still_and_its_weights_train(training):
    module = normed()
    norm = classifier(module, max_iter=3).fit(*training).network_.encoder[1]
    assert torch.equal(norm.running_mean, module[1].running_mean)
    assert torch.equal(norm.running_var, module[1].running_var)
    assert norm.num_batches_tracked == module[1].num_batches_tracked
    assert not torch.equal(norm.weight, module[1].weight)


@pytest.mark.filterwarnings("error")
def test_batch_norm_of_a_callable_trains(training):
    encoder = classifier(lambda shape: normed(seen=False), max_iter=3).fit(*training)
    norm = encoder.network_.encoder[1]
    assert norm.running_mean.any()
    assert norm.num_batches_tracked > 0


@pytest.mark.parametrize("partly", [False, True])
def test_fit_warns_of_batch_norm_of_a_module_that_has_seen_nothing(training, partly):
    module = normed(seen=False)
    module[0].requires_grad_(not partly)
    with pytest.warns(UserWarning, match="batch normalisation has no statistics.*a callable"):
        clf = classifier(module).fit(*training)
    assert not clf.network_.encoder[1].running_mean.any()


@pytest.mark.filterwarnings("error")
def test_fit_does_not_warn_of_new_batch_norm_that_is_frozen_or_ours(training):
    classifier(normed(seen=False).requires_grad_(False)).fit(*training)
    ours = build_encoder("conv", (1, 16, 16), torch.Generator().manual_seed(0), width=8)
    classifier(nn.Sequential(ours)).fit(*training)


def test_encoder_of_this_package_inside_a_module_is_drawn_by_random_state_and_trains(training):
    """Its batch normalisation trains, too."""
    ours = build_encoder("conv", (1, 16, 16), torch.Generator().manual_seed(5), width=8)
    other = copy.deepcopy(ours)
    other.initialise(torch.Generator().manual_seed(6))
    fits = [
        classifier(nn.Sequential(part), random_state=seed).fit(*training)
        for part, seed in ((ours, 0), (other, 0), (ours, 1))
    ]
    assert_same_network(*fits[:2])
    assert not np.array_equal(fits[0].transform(training[0]), fits[2].transform(training[0]))
    norms = [m for m in fits[0].network_.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(norm.running_mean.any() for norm in norms)


@pytest.mark.parametrize("head", ["weighted_l1", "signed_l1"])
def test_l1_heads_of_a_module_take_features_of_any_size(training, head):
    """Of a callable, whose features are trained from the start, they take them as they are."""

    class Large(nn.Flatten):
        def forward(self, x):
            return 1e4 * super().forward(x)

    large, plain = (
        classifier(module, head=head, normalization=None).fit(training[0] / 255, training[1])
        for module in (Large(), nn.Flatten())
    )
    X = training[0][:5] / 255
    np.testing.assert_allclose(large.similarity(X, X), plain.similarity(X, X), **CLOSE)
    assert plain.network_.head.unit
    assert not classifier(lambda shape: nn.Flatten(), head=head).fit(*training).network_.head.unit
    params = {"head": head, "head_params": {"unit": False}}
    assert not classifier(nn.Flatten(), **params).fit(*training).network_.head.unit


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
