"""Encoders: the paper's figures, any image size, and weights from the generator alone."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sksiamese.twin.encoders import KochEncoder, build_encoder, feature_shape
from sksiamese.twin.heads import HEADS

PAPER = (1, 105, 105)
SHAPES = {"conv": (1, 28, 28), "mlp": (20,)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def koch():
    return build_encoder("koch", PAPER, generator()).eval()


@pytest.fixture
def small_koch():
    """The smallest image and few units: the paper's layers in milliseconds."""
    encoder = KochEncoder((1, 65, 65), n_units=8)
    encoder.initialise(generator())
    return encoder.eval()


def test_koch_has_the_paper_s_sides(koch):
    sides = [105]
    hooks = [
        layer.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
        for layer in koch.convs
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d)
    ]
    with torch.no_grad():
        features = koch(torch.zeros(1, *PAPER))
    for hook in hooks:
        hook.remove()
    assert sides == [105, 96, 48, 42, 21, 18, 9, 6]
    assert features.shape == (1, 4096)


def test_koch_has_the_paper_s_layers(koch):
    convs = [layer for layer in koch.convs if isinstance(layer, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0]) for c in convs] == [
        (64, 10),
        (128, 7),
        (128, 4),
        (256, 4),
    ]
    assert koch.units[0].in_features == 9216


@pytest.mark.parametrize("head", ["weighted_l1", "signed_l1"])
def test_koch_twin_has_the_paper_s_number_of_parameters(koch, head):
    twin = nn.ModuleList([koch, HEADS[head]((4096,))])
    assert sum(p.numel() for p in twin.parameters()) == 38_951_745


def test_koch_starts_with_the_paper_s_moments(koch):
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


def test_koch_ends_in_sigmoids(small_koch):
    features = small_koch(torch.rand(3, 1, 65, 65))
    assert features.min() > 0 and features.max() < 1


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 105, 64), (3, 28, 28)])
def test_koch_names_its_smallest_image(shape):
    with pytest.raises(ValueError, match=rf"at least 65x65 pixels, got {shape[1]}x{shape[2]}"):
        build_encoder("koch", shape, generator())


@pytest.mark.parametrize("shape", [(1, 65, 65), (3, 65, 80)])
def test_koch_takes_any_image_from_65_pixels(shape):
    assert KochEncoder(shape, n_units=8)(torch.rand(2, *shape)).shape == (2, 8)


@settings(deadline=None, max_examples=12)
@given(
    channels=st.integers(1, 5),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    n=st.integers(1, 3),
)
def test_conv_adapts_to_any_size_and_channels(channels, height, width, n):
    shape = (channels, height, width)
    encoder = build_encoder("conv", shape, generator()).eval()
    with torch.no_grad():
        features = encoder(torch.rand(n, *shape))
    assert features.shape == (n, 128, *(min(3, -(-side // 8)) for side in (height, width)))
    assert features.isfinite().all()
    assert features.shape[1:] == feature_shape(encoder, shape)


@pytest.mark.parametrize("shape", [(7,), (1, 6, 5), (3, 4, 4)])
def test_mlp_takes_rows_and_images(shape):
    encoder = build_encoder("mlp", shape, generator())
    n_features = math.prod(shape)
    assert feature_shape(encoder, shape) == (n_features,)
    rows = torch.rand(4, *shape)
    torch.testing.assert_close(encoder(rows), rows.flatten(1))  # where it starts


@pytest.mark.parametrize("name", SHAPES)
def test_weights_depend_on_the_generator_alone(name):
    torch.manual_seed(1)
    first = build_encoder(name, SHAPES[name], generator(5))
    torch.manual_seed(2)
    again = build_encoder(name, SHAPES[name], generator(5))
    other = build_encoder(name, SHAPES[name], generator(6))
    assert same_weights(first, again)
    assert not same_weights(first, other)


@pytest.mark.parametrize("name", SHAPES)
def test_building_leaves_torch_s_generator_alone(name):
    before = torch.get_rng_state()
    build_encoder(name, SHAPES[name], generator())
    assert torch.equal(before, torch.get_rng_state())


def test_building_in_threads_gives_the_same_weights():
    with ThreadPoolExecutor(4) as pool:
        built = list(
            pool.map(lambda seed: build_encoder("conv", (1, 28, 28), generator(seed)), range(16))
        )
    for seed, encoder in enumerate(built):
        assert same_weights(encoder, build_encoder("conv", (1, 28, 28), generator(seed)))
    assert torch.zeros(1).device.type == "cpu"


@pytest.mark.parametrize("name", SHAPES)
def test_every_parameter_is_set(name):
    """Layers come from the meta device, so memory that no initialisation fills would be noise."""
    built = build_encoder(name, SHAPES[name], generator())
    for parameter in [*built.parameters(), *built.buffers()]:
        assert parameter.device.type == "cpu"
        assert parameter.isfinite().all()
    norms = [m for m in built.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() and (norm.running_var == 1).all() for norm in norms)
    assert all((norm.bias == 0).all() and (norm.running_mean == 0).all() for norm in norms)
    layers = [m for m in built.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if name == "mlp":  # starts as the rows themselves
        assert not layers.pop().weight.any()
    for layer in layers:
        fan_in = layer.weight[0].numel()
        expected = (2 / fan_in) ** 0.5
        assert layer.weight.detach().std() == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("name", SHAPES)
def test_in_evaluation_a_row_does_not_depend_on_the_others(name):
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


@pytest.mark.parametrize("training", [True, False])
def test_feature_shape_restores_the_mode_and_changes_nothing(training):
    encoder = build_encoder("conv", (2, 9, 12), generator()).train(training)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert feature_shape(encoder, (2, 9, 12)) == (128, 2, 2)
    assert all(module.training == training for module in encoder.modules())
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


class Returns(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


@pytest.mark.parametrize(
    "value, got",
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


def seen_encoder(input_shape):
    """A conv encoder whose batch-norm has running statistics of its own."""
    encoder = build_encoder("conv", input_shape, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for _ in range(3):
            encoder(torch.rand(16, *input_shape))
    return encoder.eval()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
@pytest.mark.parametrize("input_shape", [(1, 36, 36), (3, 20, 28), (2, 7, 5)])
def test_the_folded_encoder_computes_the_same_but_for_rounding(input_shape):
    encoder = seen_encoder(input_shape)
    folded = encoder.folded()
    with torch.no_grad():
        for n_images in (1, 5, 300):
            images = torch.rand(n_images, *input_shape).contiguous(
                memory_format=torch.channels_last
            )
            torch.testing.assert_close(folded(images), encoder(images), rtol=1e-4, atol=1e-4)
    assert any(isinstance(m, nn.BatchNorm2d) for m in encoder.modules())
    assert not any(isinstance(m, nn.Conv2d | nn.BatchNorm2d) for m in folded.modules())


def test_without_onednn_the_encoder_itself_predicts(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    encoder = seen_encoder((1, 12, 12))
    assert encoder.folded() is encoder


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize(("width", "side"), [(32, 36), (48, 40)])
def test_the_folded_encoder_is_not_the_slower_one(width, side):
    """Weights in an order that oneDNN does not want made it fifty times slower, an image."""
    encoder = build_encoder("conv", (1, side, side), generator(), width=width)
    encoder.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    image = torch.rand(1, 1, side, side).to(memory_format=torch.channels_last)
    durations = {encoder: [], encoder.folded(): []}
    for _ in range(10):
        for one, taken in durations.items():
            start = time.perf_counter()
            one(image)
            taken.append(time.perf_counter() - start)
    plain, folded = (min(taken[1:]) for taken in durations.values())
    assert folded < 5 * plain
