"""Encoders: the paper's figures, any image size, and weights from the generator alone."""

import copy
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from training_runs import equal, network_of, seen_network, weights

from sksiamese.twin.encoders import (
    KochEncoder,
    build_encoder,
    can_pack,
    feature_shape,
    fuse,
    in_bfloat16,
    pack,
    strides_outrun_maps,
)
from sksiamese.twin.heads import HEADS
from sksiamese.twin.network import TwinEnsemble

PAPER = (1, 105, 105)
SHAPES = {"conv": (1, 28, 28), "conv1d": (2, 30), "mlp": (20,)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same_weights(a, b):
    return equal(a.state_dict(), b.state_dict())


@pytest.fixture(scope="module")
def koch():
    return build_encoder("koch", PAPER, generator()).eval()


@pytest.fixture
def small_koch():
    """The paper's layers for the smallest image, with few units."""
    encoder = KochEncoder((1, 65, 65), n_units=8)
    encoder.initialise(generator())
    return encoder.eval()


def test_koch_encoder_has_the_paper_s_sides(koch):
    sides = [105]
    hooks = [
        layer.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
        for layer in koch.convs
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d)
    ]
    with torch.no_grad():
        koch(torch.zeros(1, *PAPER))
    for hook in hooks:
        hook.remove()
    assert sides == [105, 96, 48, 42, 21, 18, 9, 6]


def test_koch_encoder_has_the_paper_s_layers(koch):
    convs = [layer for layer in koch.convs if isinstance(layer, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0]) for c in convs] == [
        (64, 10),
        (128, 7),
        (128, 4),
        (256, 4),
    ]
    assert (koch.units[0].in_features, koch.units[0].out_features) == (9216, 4096)


@pytest.mark.parametrize("head", ["weighted_l1", "signed_l1"])
def test_koch_encoder_and_head_have_the_paper_s_number_of_parameters(koch, head):
    network = nn.ModuleList([koch, HEADS[head]((4096,))])
    assert sum(p.numel() for p in network.parameters()) == 38_951_745


def test_koch_encoder_initialise_has_the_paper_s_moments(koch):
    biases = []
    for module in koch.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            scale = 0.01 if isinstance(module, nn.Conv2d) else 0.2
            sample = module.weight.detach().flatten()[:500_000]
            standard_error = scale / len(sample) ** 0.5
            assert abs(sample.mean()) < 5 * standard_error
            assert sample.std() == pytest.approx(scale, rel=5 / (2 * len(sample)) ** 0.5)
            biases.append(module.bias.detach())
    biases = torch.cat(biases)
    assert biases.mean() == pytest.approx(0.5, abs=5 * 0.01 / len(biases) ** 0.5)
    assert biases.std() == pytest.approx(0.01, rel=5 / (2 * len(biases)) ** 0.5)


def test_koch_encoder_initialise_he_keeps_the_spread_of_what_passes_through():
    encoder = build_encoder("koch", (1, 65, 65), generator(), n_units=256, initial="he")
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            gain = 2 if isinstance(module, nn.Conv2d) else 1
            weight = module.weight.detach()
            expected = (gain / weight[0].numel()) ** 0.5
            assert weight.std() == pytest.approx(expected, rel=5 / (2 * weight.numel()) ** 0.5)
            assert (module.bias == 0).all()
    with torch.no_grad():
        features = encoder.convs(torch.rand(20, 1, 65, 65, generator=generator()))
    assert 0.1 < features.std() < 10  # the paper's weights of 0.01 let nothing but biases pass


def test_koch_encoder_refuses_unknown_initial_weights():
    with pytest.raises(ValueError, match="initial='xavier'; expected 'paper' or 'he'"):
        build_encoder("koch", (1, 65, 65), generator(), initial="xavier")


def test_koch_encoder_features_are_between_0_and_1(small_koch):
    features = small_koch(torch.rand(3, 1, 65, 65))
    assert features.min() > 0
    assert features.max() < 1


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 105, 64), (3, 28, 28)])
def test_koch_encoder_refuses_small_images(shape):
    with pytest.raises(ValueError, match=rf"at least 65x65 pixels, got {shape[1]}x{shape[2]}"):
        build_encoder("koch", shape, generator())


@pytest.mark.parametrize("shape", [(1, 65, 65), (3, 65, 80)])
def test_koch_encoder_sees_every_channel_of_any_image_from_65_pixels(shape):
    encoder = build_encoder("koch", shape, generator(), n_units=8).eval()
    images = torch.rand(2, *shape, generator=generator()).requires_grad_()
    encoder(images).sum().backward()
    assert (images.grad.abs().amax((2, 3)) > 0).all()


@settings(deadline=None, max_examples=12)
@given(
    channels=st.integers(1, 5),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    n=st.integers(1, 3),
)
def test_conv_encoder_adapts_to_any_size_and_channels(channels, height, width, n):
    shape = (channels, height, width)
    encoder = build_encoder("conv", shape, generator()).eval()
    images = torch.rand(n, *shape, generator=generator(1)).requires_grad_()
    features = encoder(images)
    features.sum().backward()
    assert (images.grad.abs().amax((2, 3)) > 0).all()  # every channel counts
    assert features.shape == (n, 128, *(min(3, -(-side // 8)) for side in (height, width)))
    assert features.isfinite().all()
    assert features.shape[1:] == feature_shape(encoder, shape)


@pytest.mark.parametrize("shape", [(7,), (1, 6, 5), (3, 4, 4)])
def test_mlp_encoder_starts_as_the_flattened_input(shape):
    encoder = build_encoder("mlp", shape, generator())
    n_features = math.prod(shape)
    assert feature_shape(encoder, shape) == (n_features,)
    rows = torch.rand(4, *shape, generator=generator())
    torch.testing.assert_close(encoder(rows), rows.flatten(1))


@settings(deadline=None, max_examples=12)
@given(channels=st.integers(1, 4), length=st.integers(8, 300), n=st.integers(1, 3))
def test_conv1d_encoder_adapts_to_any_length_and_channels(channels, length, n):
    shape = (channels, length)
    encoder = build_encoder("conv1d", shape, generator(), width=2).eval()
    series = torch.rand(n, *shape, generator=generator(1)).requires_grad_()
    features = encoder(series)
    features.sum().backward()
    assert (series.grad.abs().amax(2) > 0).all()  # every channel counts
    assert features.isfinite().all()
    assert features.shape[1:] == feature_shape(encoder, shape)


@pytest.mark.parametrize(("length", "n_scales"), [(8, 1), (15, 1), (16, 2), (63, 3), (64, 4)])
def test_conv1d_encoder_has_scales_down_to_eight_time_points(length, n_scales):
    encoder = build_encoder("conv1d", (3, length), generator(), width=5)
    assert feature_shape(encoder, (3, length)) == (n_scales * 4 * 5,)


def test_conv1d_encoder_sees_the_shape_of_a_series_and_its_level():
    encoder = build_encoder("conv1d", (1, 40), generator(), width=5).eval()
    series = torch.rand(1, 1, 40, generator=generator(1))
    with torch.no_grad():
        same = (encoder(3 * series + 7) - encoder(series))[0].abs() < 1e-3
    shape_only = same.view(-1, 2, 5)[:, 0]  # at each scale, of the mean and the spread
    level_too = same.view(-1, 2, 5)[:, 1]
    assert shape_only.all()
    assert level_too.double().mean() < 0.5  # a filter that is never above zero has no level


@pytest.mark.parametrize("value", [0.0, -3.0, 1e4])
def test_conv1d_encoder_takes_constant_series(value):
    encoder = build_encoder("conv1d", (1, 40), generator()).train()
    series = torch.full((4, 1, 40), value, requires_grad=True)
    encoder(series).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_conv1d_encoder_refuses_short_series():
    message = "encoder='conv1d' needs series of at least 8 time points, got 7"
    with pytest.raises(ValueError, match=message):
        build_encoder("conv1d", (2, 7), generator())


@pytest.mark.parametrize(
    ("name", "shape", "params"),
    [
        ("conv", (2, 9, 50), {"width": 3, "max_cells": 2}),
        ("conv", (1, 4, 4), {"max_cells": 10**9}),
        ("conv1d", (2, 50), {"width": 3}),
        ("koch", (1, 65, 80), {"n_units": 7}),
        ("mlp", (3, 4, 5), {"n_units": 6}),
    ],
)
def test_build_encoder_without_a_generator_has_shapes_only(name, shape, params):
    empty = build_encoder(name, shape, None, **params)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    encoder = build_encoder(name, shape, generator(), **params).eval()
    shapes = {key: value.shape for key, value in encoder.state_dict().items()}
    assert {key: value.shape for key, value in empty.state_dict().items()} == shapes
    features = encoder(torch.zeros(1, *shape))
    assert feature_shape(empty, shape) == features.shape[1:]


@pytest.mark.parametrize("params", [{"width": 0}, {"width": 2.0}, {"max_cells": -1}])
def test_conv_encoder_refuses_sizes_that_are_no_positive_integers(params):
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(params))}=.*; expected"):
        build_encoder("conv", (1, 28, 28), generator(), **params)


@pytest.mark.parametrize("name", SHAPES)
def test_build_encoder_depends_on_the_generator_alone(name):
    torch.manual_seed(1)
    first = build_encoder(name, SHAPES[name], generator(5))
    torch.manual_seed(2)
    again = build_encoder(name, SHAPES[name], generator(5))
    other = build_encoder(name, SHAPES[name], generator(6))
    assert same_weights(first, again)
    assert not same_weights(first, other)


@pytest.mark.parametrize("name", SHAPES)
def test_build_encoder_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    build_encoder(name, SHAPES[name], generator())
    assert torch.equal(before, torch.get_rng_state())


def test_build_encoder_in_threads_gives_the_same_weights():
    with ThreadPoolExecutor(4) as pool:
        built = list(
            pool.map(lambda seed: build_encoder("conv", (1, 28, 28), generator(seed)), range(16))
        )
    for seed, encoder in enumerate(built):
        assert same_weights(encoder, build_encoder("conv", (1, 28, 28), generator(seed)))
    assert torch.zeros(1).device.type == "cpu"  # not meta


@pytest.mark.parametrize("name", SHAPES)
def test_build_encoder_sets_every_parameter(name):
    """Layers come from the meta device: memory that nothing fills would be noise."""
    built = build_encoder(name, SHAPES[name], generator())
    for parameter in [*built.parameters(), *built.buffers()]:
        assert parameter.device.type == "cpu"
        assert parameter.isfinite().all()
    norms = [m for m in built.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() and (norm.running_var == 1).all() for norm in norms)
    assert all((norm.bias == 0).all() and (norm.running_mean == 0).all() for norm in norms)
    layers = [m for m in built.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)]
    if name == "mlp":  # starts as the rows themselves
        assert not layers.pop().weight.any()
    for layer in layers:
        fan_in = layer.weight[0].numel()
        expected = (2 / fan_in) ** 0.5
        assert layer.weight.detach().std() == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("name", SHAPES)
def test_encoder_features_do_not_depend_on_other_rows_in_evaluation(name):
    encoder = build_encoder(name, SHAPES[name], generator())
    x = torch.rand(6, *SHAPES[name], generator=generator())
    with torch.no_grad():
        encoder.train()(10 * x)  # moves the running statistics away from their start
        encoder.eval()
        torch.testing.assert_close(
            encoder(x), torch.cat([encoder(row[None]) for row in x]), rtol=1e-4, atol=1e-5
        )
        changed = x.clone()
        changed[1:] *= 100
        torch.testing.assert_close(encoder(x)[0], encoder(changed)[0], rtol=1e-4, atol=1e-5)


class Functional(nn.Module):
    """Convolutions that are no modules."""

    def __init__(self, convolution, **params):
        super().__init__()
        self.convolution, self.params = convolution, params

    def forward(self, x):
        weight = torch.zeros(x.shape[1], x.shape[1], *[1] * (x.ndim - 2))
        return self.convolution(x, weight, **self.params)


@pytest.mark.parametrize(
    ("encoder", "shape", "expected"),
    [
        ("conv", (1, 36, 36), False),
        ("conv", (1, 36, 5), False),  # 5, 3, 2 and 1 columns
        ("conv", (1, 36, 4), True),  # 4, 2, 1 and 1
        ("conv", (1, 4, 36), True),
        ("conv", (1, 1, 1), True),
        ("koch", (1, 65, 65), False),
        ("mlp", (3,), False),
        (nn.Conv2d(1, 2, 3, stride=2, padding=1), (1, 9, 2), False),
        (nn.Conv2d(1, 2, 3, stride=3, padding=1), (1, 9, 2), True),
        (nn.Conv2d(1, 2, 3, stride=(1, 2), padding=1), (1, 9, 1), True),
        (nn.Conv2d(1, 2, 3, padding=1), (1, 9, 1), False),
        (nn.Conv1d(1, 2, 3, stride=2, padding=1), (1, 1), True),
        (nn.ConvTranspose2d(1, 2, 3, stride=2), (1, 9, 1), True),
        (Functional(nn.functional.conv2d, stride=2), (1, 9, 1), True),
        (Functional(nn.functional.conv3d, stride=2), (1, 9, 9, 1), True),
        (Functional(nn.functional.conv1d), (1, 1), False),
    ],
    ids=str,
)
def test_strides_outrun_maps_narrower_than_a_stride(encoder, shape, expected):
    if isinstance(encoder, str):
        encoder = build_encoder(encoder, shape, generator())
    encoder.train()
    before = copy.deepcopy(encoder.state_dict())
    assert strides_outrun_maps(encoder, shape) is expected
    assert encoder.training
    assert equal(encoder.state_dict(), before)


@pytest.mark.parametrize("training", [True, False])
def test_feature_shape_leaves_the_encoder_unchanged(training):
    encoder = build_encoder("conv", (2, 9, 12), generator()).train(training)
    before = weights(encoder)
    assert feature_shape(encoder, (2, 9, 12)) == (128, 2, 2)
    assert all(module.training == training for module in encoder.modules())
    assert equal(before, weights(encoder))


class Returns(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (torch.zeros(5), r"\(5,\)"),
        (torch.zeros(2, 5), r"\(2, 5\)"),
        (torch.tensor(1.0), "Tensor"),
        (None, "NoneType"),
        ((torch.zeros(1, 5),), "tuple"),
    ],
)
def test_feature_shape_refuses_a_wrong_encoder(value, got):
    encoder = Returns(value).train()
    with pytest.raises(ValueError, match=f"encoder returned {got} for one input of shape"):
        feature_shape(encoder, (1, 8, 8))
    assert encoder.training


EACH_NETWORK = pytest.mark.parametrize(
    ("encoder", "shape", "head", "params"),
    [
        pytest.param("conv", (1, 28, 28), "weighted_l1", {}, id="conv"),
        pytest.param("conv", (3, 20, 28), "weighted_l1", {}, id="conv-channels"),
        pytest.param("conv", (2, 7, 5), "signed_l1", {}, id="conv-small"),
        pytest.param("conv", (1, 1, 1), "weighted_l1", {}, id="conv-pixel"),
        pytest.param(
            "conv", (1, 36, 36), "aligned", {"width": 48, "max_cells": 5}, id="conv-wide"
        ),
        pytest.param("koch", (1, 65, 70), "signed_l1", {"n_units": 16}, id="koch"),
        pytest.param("mlp", (20,), "weighted_l1", {}, id="mlp"),
        pytest.param("mlp", (2, 4, 4), "signed_l1", {}, id="mlp-images"),
    ],
)


@pytest.mark.parametrize("then", [fuse, lambda network: pack(fuse(network))], ids=["fuse", "pack"])
@EACH_NETWORK
def test_fuse_computes_the_same_as_the_network(encoder, shape, head, params, then):
    network = seen_network(encoder, shape, head, **params)
    fused = then(network)
    for n_images in (1, 5, 70):
        images = torch.rand(n_images, *shape, generator=generator(n_images))
        with torch.no_grad():
            torch.testing.assert_close(
                fused.embed(images), network.embed(images), rtol=1e-5, atol=1e-5
            )
            torch.testing.assert_close(fused(images), network(images), rtol=1e-5, atol=1e-5)


def test_fuse_of_an_ensemble_fuses_every_member():
    members = [seen_network("conv", (1, 16, 16), seed=seed) for seed in range(3)]
    ensemble = TwinEnsemble(members).eval()
    images = torch.rand(5, 1, 16, 16, generator=generator())
    with torch.no_grad():
        for fused in (fuse(ensemble), pack(fuse(ensemble))):
            assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
            torch.testing.assert_close(fused(images), ensemble(images), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(
                fused.embed(images), ensemble.embed(images), rtol=1e-5, atol=1e-5
            )


@EACH_NETWORK
def test_fuse_leaves_the_original_unchanged(encoder, shape, head, params):
    network = network_of(encoder, shape, head, **params)
    modules, before = [type(module) for module in network.modules()], weights(network)
    fused = pack(fuse(network))
    with torch.no_grad():
        fused.embed(torch.rand(2, *shape))
    assert [type(module) for module in network.modules()] == modules
    assert equal(weights(network), before)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    network(torch.rand(4, *shape, generator=generator())).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_fuse_returns_a_network_without_batch_norm_or_gradients():
    fused = fuse(network_of("conv", (1, 12, 12)))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert not any(parameter.requires_grad for parameter in fused.parameters())


def test_fuse_keeps_a_module_without_batch_norm():
    module = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))
    fused = fuse(module)
    x = torch.rand(3, 1, 3, 3, generator=generator())
    assert fused is not module
    assert torch.equal(fused(x), module(x))


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 20, 28)])
def test_pack_embeds_nan_as_nan(shape):
    """oneDNN's own ReLU makes 0 of NaN."""
    network = seen_network("conv", shape)
    images = torch.rand(2, *shape, generator=generator())
    images[1, 0, 3, 4] = torch.nan
    for packed in (pack(fuse(network)), pack(in_bfloat16(fuse(network)))):
        embeddings = packed.embed(images)
        assert embeddings[0].isfinite().all()
        assert embeddings[1].isnan().any()


@pytest.mark.parametrize("n_first", [1, 40])
def test_pack_computes_the_same_as_fuse_whatever_the_first_batch(n_first):
    fused = fuse(seen_network("conv", (1, 28, 28)))
    images = torch.rand(40, 1, 28, 28, generator=generator())
    packed = pack(copy.deepcopy(fused))
    for batch in (images[:n_first], images):
        torch.testing.assert_close(packed.embed(batch), fused.embed(batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 20, 28)])
def test_in_bfloat16_computes_the_same_but_for_rounding(shape):
    network = seen_network("conv", shape)
    images = torch.rand(9, *shape, generator=generator())
    fused = in_bfloat16(fuse(network))
    packed = pack(copy.deepcopy(fused))
    expected = network.embed(images)
    for other in (fused, packed):
        embeddings = other.embed(images)
        assert embeddings.dtype == torch.float32
        assert 0 < (embeddings - expected).norm() < 0.02 * expected.norm()
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_in_bfloat16_leaves_other_encoders_as_they_are():
    for encoder, shape in (("mlp", (7,)), ("hog", (1, 20, 20))):
        network = seen_network(encoder, shape)
        images = torch.rand(3, *shape, generator=generator())
        assert torch.equal(in_bfloat16(fuse(network)).embed(images), network.embed(images))


class Operators:
    """oneDNN's operators with other results, or errors."""

    def __init__(self, convolution):
        self._reorder_convolution_weight = lambda weight, *geometry: weight
        self._convolution_pointwise = convolution


def failing(*args):
    raise NotImplementedError("no kernel for this device")


def wrong(x, *args):
    return x


wrong.binary = wrong


@pytest.mark.parametrize("operators", [object(), Operators(failing), Operators(wrong)])
def test_pack_computes_the_same_if_operators_lack_fail_or_disagree(monkeypatch, operators):
    """torch may change oneDNN's operators, which are private to it."""
    network = seen_network("conv", (1, 28, 28))
    images = torch.rand(5, 1, 28, 28, generator=generator())
    monkeypatch.setattr(torch.ops, "mkldnn", operators)
    can_pack.cache_clear()
    try:
        embeddings = pack(fuse(network)).embed(images)
    finally:
        can_pack.cache_clear()
    torch.testing.assert_close(embeddings, network.embed(images), rtol=1e-5, atol=1e-5)
