"""From parameters and data to a network: working size, building, holding out."""

import numpy as np
import pytest
import torch
from torch import nn

from sksiamese import SiameseOneShotClassifier
from sksiamese._fitting import AUTO_SIDE
from sksiamese._validation import ImageStore, SubStore
from sksiamese.twin import distortions
from sksiamese.twin.encoders import ConvEncoder, KochEncoder, MLPEncoder
from sksiamese.twin.network import TwinNetwork
from sksiamese.twin.scaling import learn_scaling

# Working size


@pytest.mark.parametrize(
    ("image_size", "encoder", "shape", "working"),
    [
        ("auto", "auto", (1, 105, 105), (1, AUTO_SIDE, AUTO_SIDE)),
        ("auto", "conv", (3, 64, 32), (3, AUTO_SIDE, AUTO_SIDE // 2)),
        ("auto", "auto", (1, 28, 28), (1, AUTO_SIDE, AUTO_SIDE)),
        ("auto", "auto", (3, 8, 4), (3, AUTO_SIDE, AUTO_SIDE // 2)),
        ("auto", "mlp", (1, 8, 8), (1, 8, 8)),
        ("auto", "koch", (1, 105, 105), (1, 105, 105)),
        (None, "auto", (1, 105, 105), (1, 105, 105)),
        (20, "auto", (1, 105, 50), (1, 20, 10)),
        (20, "auto", (1, 10, 10), (1, 20, 20)),
        (8, "auto", (1, 105, 1), (1, 8, 1)),
        ((12, 18), "koch", (1, 50, 50), (1, 12, 18)),
        (20, "auto", (64,), (64,)),
        ("auto", "mlp", (64,), (64,)),
    ],
)
def test_working_size(image_size, encoder, shape, working):
    clf = SiameseOneShotClassifier(encoder, image_size=image_size)
    assert clf._working_shape(shape) == working


def test_an_image_that_works_smaller_is_compared_smaller(glyphs, monkeypatch):
    X, y = glyphs
    clf = SiameseOneShotClassifier(image_size=(8, 12), max_iter=1, random_state=0).fit(X, y)
    seen, codes = [], TwinNetwork.codes

    def note(network, images):
        seen.append(images.shape)
        return codes(network, images)

    monkeypatch.setattr(TwinNetwork, "codes", note)
    clf.predict(X[:3])
    assert seen == [(3, 1, 8, 12)]
    assert clf.input_shape_ == (1, 16, 16)


# Building


def network_of(clf, X):
    store = ImageStore(X, clf.image_shape)
    clf.input_shape_ = store.input_shape
    return clf._assemble(*learn_scaling(store), seed=0)


def test_auto_is_conv_for_images_and_mlp_for_rows(glyphs):
    X = glyphs[0]
    clf = SiameseOneShotClassifier()
    assert isinstance(network_of(clf, X).encoder, ConvEncoder)
    assert isinstance(network_of(clf, X.reshape(len(X), -1)).encoder, MLPEncoder)
    clf.image_shape = (16, 16)
    assert isinstance(network_of(clf, X.reshape(len(X), -1)).encoder, ConvEncoder)


def test_names_choose_the_encoder(glyphs):
    X = np.zeros((2, 65, 70), np.float32)
    assert isinstance(network_of(SiameseOneShotClassifier("koch"), X).encoder, KochEncoder)
    assert isinstance(network_of(SiameseOneShotClassifier("mlp"), X).encoder, MLPEncoder)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_timm_backbone_in_colour(glyphs, frozen):
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision, if torch is of another build
        pytest.skip(f"timm cannot be imported here: {error}")
    X, y = glyphs
    X = np.stack([X, 1 - X, X / 2], axis=1)[y < 4][:, :, :16, :16]
    backbones = []

    def backbone(shape):
        network = timm.create_model("resnet10t", in_chans=shape[0], num_classes=0)
        backbones.append(
            {name: w.clone() for name, w in network.requires_grad_(not frozen).named_parameters()}
        )
        return network

    clf = SiameseOneShotClassifier(backbone, max_iter=1, random_state=0).fit(X, y[y < 4])
    assert clf.input_shape_ == (3, 16, 16)
    assert clf.transform(X[:2]).shape == (2, 512)
    after = dict(clf.network_.encoder.named_parameters())
    same = [torch.equal(after[name], weights) for name, weights in backbones[0].items()]
    assert np.mean(same) == 1 if frozen else np.mean(same) < 0.5


def test_a_module_is_copied_and_made_float32(glyphs):
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 4)).double()
    encoder = network_of(SiameseOneShotClassifier(module), glyphs[0]).encoder
    assert encoder is not module
    assert encoder[1].weight.dtype == torch.float32
    assert module[1].weight.dtype == torch.float64


def test_a_callable_gets_the_shape(glyphs):
    shapes = []

    def build(shape):
        shapes.append(shape)
        return nn.Flatten()

    network_of(SiameseOneShotClassifier(build), glyphs[0])
    assert shapes == [(1, 16, 16)]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (nn.Linear(3, 3), r"encoder, a Linear, cannot be used for inputs of shape \(1, 36, 36\)"),
        (lambda shape: nn.Conv2d(3, 4, 3), r"encoder, a Conv2d, cannot be used"),
        (lambda shape: "resnet", r"encoder, called .* returned str; expected a torch.nn.Module"),
        (nn.Flatten(0), r"encoder, a Flatten, cannot be used .*encoder returned \(1296,\)"),
    ],
)
def test_an_encoder_that_cannot_take_the_images_is_named(glyphs, encoder, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SiameseOneShotClassifier(encoder, image_size=36).fit(*glyphs)


def test_the_default_distortion_follows_the_images():
    clf = SiameseOneShotClassifier()
    assert clf._distortion((1, 8, 8)) is distortions.DISTORTIONS["strokes"]
    assert clf._distortion((3, 8, 8)) is distortions.DISTORTIONS["warp"]
    assert clf._distortion((8,)) is None
    assert SiameseOneShotClassifier(distortion=None)._distortion((1, 8, 8)) is None
    assert SiameseOneShotClassifier(distortion=abs)._distortion((8,)) is abs
    with pytest.raises(ValueError, match="distortion='affine' needs images, got flat rows of 8"):
        SiameseOneShotClassifier(distortion="affine")._distortion((8,))


# Holding out


def held_out(y, groups=None, **params):
    clf = SiameseOneShotClassifier(early_stopping=True, **params)
    y = np.asarray(y)
    groups = np.zeros_like(y) if groups is None else np.asarray(groups)
    store = ImageStore(np.arange(len(y), dtype=float).reshape(-1, 1, 1))
    kept, rows, trials = clf._hold_out(y, groups, 0, "early_stopping=True")
    kept_out, classes, patience = SubStore(store, rows), y[rows], clf.n_iter_no_change
    held = kept_out.take(np.arange(len(kept_out))).flatten().numpy().astype(int)
    return y, groups, kept, held, trials, classes, patience


def test_whole_classes_are_held_out():
    y, _, kept, held, trials, classes, patience = held_out(np.repeat(np.arange(10), 3))
    assert sorted([*kept, *held]) == list(range(30))
    assert len(set(y[held])) == 2
    assert not set(y[held]) & set(y[kept])
    assert classes.tolist() == y[held].tolist()
    assert patience == 10
    for support, query in trials:
        assert sorted(classes[support]) == sorted(classes[query])
        assert not set(support) & set(query)


def test_whole_groups_are_held_out_where_there_are_several():
    y = np.repeat(np.arange(12), 3)
    y, groups, kept, held, *_ = held_out(y, y // 3, validation_fraction=0.5)
    assert len(set(groups[held])) == 2
    assert not set(groups[held]) & set(groups[kept])


def test_trials_stay_inside_a_held_out_group():
    y = np.repeat(np.arange(12), 3)
    _, groups, _, held, trials, *_ = held_out(y, y // 3, validation_fraction=0.5)
    for support, query in trials:
        assert len(set(groups[held][support]) | set(groups[held][query])) == 1


@pytest.mark.parametrize(
    ("y", "params"),
    [
        ([0, 0, 1, 1], {}),
        ([0, 0, 1, 1, 2, 2], {}),
        ([0, 0, 0, 1, 2, 3, 4, 5, 6, 7], {}),
        (np.repeat(np.arange(10), 2), {"validation_fraction": 0.99}),
    ],
)
def test_too_few_classes_to_hold_out_is_said(y, params):
    message = r"early_stopping=True holds out \d+ of \d+ classes \(validation_fraction=0\.\d+\)"
    with pytest.raises(ValueError, match=message):
        held_out(y, **params)


def test_every_held_out_group_has_trials():
    y = np.repeat(np.arange(21), 3)
    groups = np.repeat([0, 1, 2, 3], [24, 15, 12, 12])
    _, groups, _, held, trials, *_ = held_out(y, groups, validation_fraction=0.75)
    assert {*groups[held]} == {g for s, _ in trials for g in groups[held][s]}
