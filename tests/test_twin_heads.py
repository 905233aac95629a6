"""Heads: matrix forms equal the formulas, without a temporary of all pairs by all features."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import profile

from sksiamese.twin import heads
from sksiamese.twin.heads import (
    TILE,
    Aligned,
    MeanHead,
    SignedL1,
    Whitened,
    build_head,
    l1_distances,
)
from sksiamese.twin.whitening import whiten

BOTH = pytest.mark.parametrize("name", ["weighted_l1", "signed_l1"])
ANY = pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("weighted_l1", (9,)),
        ("signed_l1", (9,)),
        ("aligned", (6, 3, 4)),
        ("cosine", (9,)),
        ("whitened", (6, 3, 4)),
    ],
)
SEEDS = st.integers(0, 2**32 - 1)


def random_head(name, feature_shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    head = build_head(name, feature_shape, generator).to(dtype)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head


def random_features(n, feature_shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *feature_shape, generator=generator, dtype=dtype)


def naive(head, a, b):
    """b + sum_j alpha_j |a_j - b_j| by broadcasting."""
    a, b = a.flatten(1), b.flatten(1)
    alpha = head.alpha if isinstance(head, SignedL1) else -heads.GAIN * head.log_weight.exp()
    return (a[:, None] - b[None]).abs() @ alpha + head.bias


@BOTH
@settings(deadline=None, max_examples=10)
@given(
    n_a=st.integers(1, 5),
    n_b=st.integers(1, 5),
    shape=st.sampled_from([(1,), (7,), (3, 2, 4)]),
    seed=SEEDS,
)
def test_logits_are_the_paper_s_formula(name, n_a, n_b, shape, seed):
    head = random_head(name, shape, seed)
    a, b = random_features(n_a, shape, seed + 1), random_features(n_b, shape, seed + 2)
    logits = head.logits(head.embed(a), head.embed(b))
    torch.testing.assert_close(logits, naive(head, a, b))


@BOTH
def test_logits_are_the_paper_s_formula_in_float32(name):
    head = random_head(name, (256,), dtype=torch.float32)
    a, b = (random_features(20, (256,), seed, torch.float32) for seed in (1, 2))
    logits = head.logits(head.embed(a), head.embed(b))
    torch.testing.assert_close(logits, naive(head, a, b), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("n_a", [1, TILE // 4 - 1, TILE // 4, TILE, 2 * TILE + 3])
@pytest.mark.parametrize("n_b", [1, TILE, TILE + 1])
def test_l1_distances_of_any_number_of_rows(n_a, n_b):
    """By cdist, in tiles, and of rows with themselves."""
    a, b = random_features(n_a, (5,), 1), random_features(n_b, (5,), 2)
    torch.testing.assert_close(l1_distances(a, b), (a[:, None] - b).abs().sum(2))
    torch.testing.assert_close(l1_distances(a, a), (a[:, None] - a).abs().sum(2))


@ANY
def test_pair_logits_are_the_diagonal_of_logits(name, shape):
    head = random_head(name, shape)
    a, b = (head.embed(random_features(6, shape, seed)) for seed in (1, 2))
    torch.testing.assert_close(head.pair_logits(a, b), head.logits(a, b).diagonal())


@ANY
def test_logits_are_symmetric(name, shape):
    head = random_head(name, shape)
    a, b = (head.embed(random_features(5, shape, seed)) for seed in (1, 2))
    torch.testing.assert_close(head.logits(a, b), head.logits(b, a).T)
    torch.testing.assert_close(head.pair_logits(a, b), head.pair_logits(b, a))


@BOTH
def test_logits_of_identical_images_are_the_bias(name):
    head = random_head(name, (9,))
    embeddings = head.embed(random_features(5, (9,)))
    assert torch.equal(head.logits(embeddings, embeddings).diagonal(), head.bias.expand(5))
    assert torch.equal(head.pair_logits(embeddings, embeddings), head.bias.expand(5))


@pytest.mark.parametrize(("name", "shape"), [("weighted_l1", (50,)), ("aligned", (8, 4, 4))])
def test_build_head_gives_identical_images_the_greatest_logits(name, shape):
    head = build_head(name, shape, torch.Generator().manual_seed(0))
    embeddings = head.embed(random_features(4, shape, dtype=torch.float32))
    logits = head.logits(embeddings, embeddings)
    assert (logits.diagonal() > 0).all()
    assert (logits[~torch.eye(4, dtype=torch.bool)] < head.bias).all()


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_weighted_l1_is_a_pseudo_metric(seed, scale):
    head = random_head("weighted_l1", (6,), seed)
    embeddings = head.embed(scale * random_features(8, (6,), seed))
    d = head.bias - head.logits(embeddings, embeddings)
    slack = 1e-9 * (1 + d.max())
    assert (d >= -slack).all()
    assert (d.diagonal().abs() <= slack).all()
    assert ((d - d.T).abs() <= slack).all()
    assert (d[:, None, :] <= d[:, :, None] + d[None, :, :] + slack).all()  # x-z <= x-y + y-z


def test_weighted_l1_embeddings_hold_the_metric():
    """What `transform` promises: their L1 distance is bias - logit."""
    head = random_head("weighted_l1", (6,))
    a, b = (head.embed(random_features(5, (6,), seed)) for seed in (1, 2))
    distances = (a[:, None] - b[None]).abs().sum(2)
    torch.testing.assert_close(head.bias - head.logits(a, b), distances)


def test_signed_l1_logit_may_exceed_the_bias():
    head = build_head("signed_l1", (1,), torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.alpha.fill_(2.0)
    torch.testing.assert_close(
        head.logits(torch.zeros(1, 1), torch.ones(1, 1)).view(()), head.bias + 2
    )


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_weighted_l1_weights_are_negative_whatever_the_parameters(seed):
    head = random_head("weighted_l1", (6,), seed)
    none, one = head.embed(torch.zeros(6, 6).double()), head.embed(torch.eye(6).double())
    assert (head.pair_logits(none, one) < head.bias).all()


@BOTH
def test_logits_gradients_are_those_of_the_formula(name):
    head = random_head(name, (7,))
    a, b = (random_features(4, (7,), seed).requires_grad_() for seed in (1, 2))
    upstream = random_features(4, (4,), 3)
    wanted = [a, b, *head.parameters()]
    ours = torch.autograd.grad(
        (head.logits(head.embed(a), head.embed(b)) * upstream).sum(), wanted
    )
    theirs = torch.autograd.grad((naive(head, a, b) * upstream).sum(), wanted)
    assert all(gradient.abs().sum() > 0 for gradient in theirs)
    torch.testing.assert_close(ours, theirs)


@BOTH
def test_logits_gradients_are_finite_for_identical_images(name):
    """A batch compares every image with itself too, where |x| has its kink."""
    head = random_head(name, (7,))
    features = random_features(4, (7,)).requires_grad_()
    embeddings = head.embed(features)
    wanted = [features, *head.parameters()]
    ours = torch.autograd.grad(head.logits(embeddings, embeddings).sum(), wanted)
    theirs = torch.autograd.grad(naive(head, features, features).sum(), wanted)
    torch.testing.assert_close(ours, theirs)


def largest_allocation(function):
    with profile(profile_memory=True) as profiler:
        function()
    return max(event.self_cpu_memory_usage for event in profiler.events())


@BOTH
def test_logits_need_no_temporary_of_all_pairs_by_all_features(name):
    n, n_features = 100, 1000
    head = random_head(name, (n_features,), dtype=torch.float32)
    a, b = (
        random_features(n, (n_features,), seed, torch.float32).requires_grad_() for seed in (1, 2)
    )
    temporary = 4 * n * n * n_features
    assert largest_allocation(lambda: naive(head, a, b)) >= temporary
    largest = largest_allocation(
        lambda: head.logits(head.embed(a), head.embed(b)).square().sum().backward()
    )
    assert 0 < largest < temporary / 20


def test_signed_l1_initialise_has_the_paper_s_moments():
    """Section 3.2: weights N(0, 0.2), biases N(0.5, 0.01)."""
    head = build_head("signed_l1", (4096,), torch.Generator().manual_seed(0))
    assert abs(head.alpha.mean()) < 4 * 0.2 / 64
    assert abs(head.alpha.std() / 0.2 - 1) < 0.05
    assert 0 < abs(head.bias - 0.5) < 0.05


def test_aligned_initialise_draws_the_projection_by_the_number_of_channels():
    head = build_head("aligned", (64, 2, 2), torch.Generator().manual_seed(0))
    assert head.projection.shape == (64, 64)
    assert abs(head.projection.mean()) < 4 / 8 / 64
    assert abs(8 * head.projection.std() - 1) < 0.05
    assert (head.saliency == 0).all()


@pytest.mark.parametrize(("name", "bias"), [("weighted_l1", 12.0), ("aligned", 6.0)])
def test_build_head_starts_with_the_margin_of_its_head(name, bias):
    """Logits of random networks lie on both sides of zero."""
    head = build_head(name, (8, 2, 2), torch.Generator().manual_seed(0))
    assert head.bias.item() == pytest.approx(bias)
    if name == "weighted_l1":  # distances are mean differences of the 32 features
        torch.testing.assert_close(
            head.embed(torch.ones(1, 8, 2, 2)), torch.full((1, 32), 20 / 32)
        )


def test_aligned_keeps_its_parameters_alone():
    """What files hold: which cells are near each other is computed again."""
    head = build_head("aligned", (4, 3, 3), torch.Generator().manual_seed(0))
    names = {"projection", "saliency", "log_sharpness", "margin"}
    assert head.state_dict().keys() == dict(head.named_parameters()).keys() == names
    assert head.log_sharpness.exp().item() == pytest.approx(10)


def test_signed_l1_starts_as_a_distance_with_a_negative_mean_alpha():
    generator = torch.Generator().manual_seed(0)
    head = build_head("signed_l1", (50,), generator, alpha_mean=-0.3, alpha_std=0.0)
    a, b = torch.rand(2, 4, 50, generator=generator)
    expected = head.bias - 0.3 * (a[:, None] - b).abs().sum(2)
    torch.testing.assert_close(head.logits(a, b), expected)


def naive_aligned(head, a, b, window=1):
    """The formula of `Aligned`, cell by cell, for one pair of feature maps (C, h, w)."""

    def cells(features):
        flat = features.flatten(1).T
        vectors = flat @ head.projection
        return vectors / vectors.norm(dim=1, keepdim=True), (flat @ head.saliency).softmax(0)

    (u, weight_u), (v, weight_v) = cells(a), cells(b)
    _, height, width = a.shape
    sharpness = head.log_sharpness.exp()

    def one_way(x, weights, y):
        total = 0
        for r in range(height):
            for c in range(width):
                near = [
                    x[r * width + c] @ y[r2 * width + c2]
                    for r2 in range(max(0, r - window), min(height, r + window + 1))
                    for c2 in range(max(0, c - window), min(width, c + window + 1))
                ]
                soft = ((torch.stack(near) - 1) * sharpness).exp().mean().log() / sharpness
                total = total - weights[r * width + c] * soft
        return total

    distance = (one_way(u, weight_u, v) + one_way(v, weight_v, u)) / 2
    return heads.GAIN * (head.margin - distance)


@pytest.mark.parametrize("window", [0, 1, 2])
@pytest.mark.parametrize("shape", [(5, 3, 3), (4, 1, 2), (3, 4, 2)])
def test_aligned_logits_and_gradients_are_those_of_the_formula(shape, window):
    head = build_head("aligned", shape, torch.Generator().manual_seed(0), window=window).double()
    with torch.no_grad():
        head.saliency.copy_(torch.linspace(-1, 1, shape[0]))
    a, b = (random_features(3, shape, seed).requires_grad_() for seed in (1, 2))
    ours = head.logits(head.embed(a), head.embed(b))
    theirs = torch.stack([torch.stack([naive_aligned(head, x, y, window) for y in b]) for x in a])
    torch.testing.assert_close(ours, theirs)
    wanted = [a, b, *head.parameters()]
    upstream = random_features(3, (3,), 3)
    torch.testing.assert_close(
        torch.autograd.grad((ours * upstream).sum(), wanted),
        torch.autograd.grad((theirs * upstream).sum(), wanted),
    )


def test_aligned_window_finds_a_stroke_one_cell_away():
    features = torch.zeros(3, 2, 5, 5)
    features[:, 0] = 1.0  # background
    for image, column in enumerate((1, 2, 4)):
        features[image, :, 2, column] = torch.tensor([0.0, 3.0])
    near, wide = (
        build_head("aligned", (2, 5, 5), torch.Generator().manual_seed(0), window=window)
        for window in (0, 1)
    )
    same, beside, away = (wide.logits(wide.embed(features), wide.embed(features)))[0]
    assert beside > away
    assert same - beside < (same - away) / 2
    same, beside, away = (near.logits(near.embed(features), near.embed(features)))[0]
    torch.testing.assert_close(beside, away)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_aligned_logits_are_finite_and_at_most_the_bias(seed, scale):
    head = build_head("aligned", (4, 3, 3), torch.Generator().manual_seed(seed))
    features = scale * random_features(6, (4, 3, 3), seed, torch.float32)
    features[0] = 0  # an empty image
    embeddings = head.embed(features)
    assert embeddings.isfinite().all()
    assert (head.logits(embeddings, embeddings) <= head.bias + 1e-3).all()


@pytest.mark.parametrize(("shape", "window"), [((6, 3, 4), 1), ((4, 5, 5), 2), ((3, 2, 2), 0)])
def test_aligned_cell_logits_sum_to_the_logit(shape, window):
    head = build_head("aligned", shape, torch.Generator().manual_seed(0), window=window)
    with torch.no_grad():
        head.saliency.copy_(torch.linspace(-1, 1, shape[0]))
    a, b = (head.embed(random_features(5, shape, seed, torch.float32)) for seed in (1, 2))
    cells = head.cell_logits(a, b)
    assert cells.shape == (5, 2, shape[1] * shape[2])
    torch.testing.assert_close(cells.sum((1, 2)), head.pair_logits(a, b), rtol=0, atol=1e-5)
    torch.testing.assert_close(cells.flip(1), head.cell_logits(b, a))


def test_aligned_cell_logits_are_low_where_a_stroke_has_no_match():
    features = torch.zeros(2, 2, 5, 5)
    features[:, 0] = 1.0  # background
    features[0, :, 1, 2] = torch.tensor([0.0, 3.0])
    head = build_head("aligned", (2, 5, 5), torch.Generator().manual_seed(0))
    a, b = head.embed(features).split(1)
    own, other = head.cell_logits(a, b)[0]
    assert own.argmin() == 1 * head.map_shape[1] + 2
    assert own.min() < other.min()


def test_aligned_best_matches_are_the_most_similar_cells_nearby():
    shape, window = (6, 3, 4), 1
    head = build_head("aligned", shape, torch.Generator().manual_seed(0), window=window)
    a, b = (head.embed(random_features(3, shape, seed, torch.float32)) for seed in (1, 2))
    best = head.best_matches(a, b)
    places = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    near = (places[:, None] - places).abs().amax(2) <= window
    cosine = a[..., :-1] @ b[..., :-1].transpose(1, 2)
    assert torch.equal(best[:, 0], cosine.masked_fill(~near, -2).argmax(2))
    assert torch.equal(best[:, 1], cosine.masked_fill(~near, -2).argmax(1))


def test_aligned_embed_does_not_blow_up_what_is_next_to_nothing():
    head = build_head("aligned", (4, 3, 3), torch.Generator().manual_seed(0))
    features = random_features(5, (4, 3, 3), dtype=torch.float32)
    norms = [head.embed(scale * features)[..., :-1].norm(dim=2) for scale in (1e-3, 1e-9)]
    torch.testing.assert_close(norms[0], torch.ones(5, 9))
    assert (norms[1] < 0.1).all()


def test_aligned_gradients_are_finite_for_empty_images():
    head = build_head("aligned", (4, 3, 3), torch.Generator().manual_seed(0))
    features = torch.zeros(4, 4, 3, 3, requires_grad=True)
    embeddings = head.embed(features)
    gradients = torch.autograd.grad(
        head.logits(embeddings, embeddings).sum(), [features, *head.parameters()]
    )
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("pairs", [False, True])
def test_aligned_logits_of_many_are_computed_in_blocks(monkeypatch, pairs):
    generator = torch.Generator().manual_seed(0)
    head = build_head("aligned", (4, 3, 3), generator, n_channels=2).double()
    a, b = (head.embed(random_features(n, (4, 3, 3), n)) for n in (70, 110))
    compare = (lambda: head.pair_logits(b, b.flip(0))) if pairs else (lambda: head.logits(a, b))
    whole = compare()
    temporary = largest_allocation(compare)
    monkeypatch.setattr(heads, "BLOCK", 9 * 9 * (20 if pairs else 7 * 40))
    monkeypatch.setattr(heads, "ROWS", 7)
    torch.testing.assert_close(compare(), whole)
    assert largest_allocation(compare) < temporary / 2.9


def test_aligned_refuses_vectors():
    message = (
        r"^head='aligned' compares feature maps \(channels, height, width\), but the encoder "
        r"returns features of shape \(9,\): use head='whitened'.$"
    )
    with pytest.raises(ValueError, match=message):
        Aligned((9,))


@pytest.mark.parametrize(
    ("params", "came"),
    [
        ({"window": -1}, "window=-1, n_channels=64"),
        ({"window": 1.5}, "window=1.5, n_channels=64"),
        ({"n_channels": 0}, "window=1, n_channels=0"),
    ],
)
def test_aligned_refuses_parameters_out_of_range(params, came):
    message = f"^{came}; expected integers, window >= 0 and n_channels >= 1.$"
    with pytest.raises(ValueError, match=message):
        Aligned((4, 3, 3), **params)


def test_aligned_takes_the_least_that_its_parameters_may_be():
    head = build_head("aligned", (4, 2, 3), torch.Generator(), n_channels=1, window=0)
    assert head.embed(torch.ones(2, 4, 2, 3)).shape == (2, 6, 2)


def test_aligned_refuses_maps_whose_pairs_of_cells_need_too_much_memory(monkeypatch):
    n_near = 300 * 200 * 11**2
    message = (
        f"^window=5 of a map of 300x200 cells compares {n_near} pairs of cells, which needs too "
        "much memory: use smaller max_cells in encoder_params, or a smaller window.$"
    )
    with pytest.raises(ValueError, match=message):
        Aligned((4, 300, 200), window=5)
    with pytest.raises(ValueError, match=f" 3x3000 cells compares {9000 * 3 * 9} pairs"):
        Aligned((4, 3, 3000), window=4)  # the whole of a column of three
    monkeypatch.setattr(heads, "LARGEST", 2 * 12 * 12 * 9)
    assert Aligned((4, 3, 4)).near.shape == (12, 9)
    monkeypatch.setattr(heads, "LARGEST", 2 * 12 * 12 * 9 - 1)
    with pytest.raises(ValueError, match="compares 108 pairs"):
        Aligned((4, 3, 4))


@pytest.mark.parametrize("window", [0, 1, 2, 9])
def test_aligned_compares_cells_at_most_the_window_away(window):
    head = Aligned((4, 5, 3), window=window)
    cells = np.indices((5, 3)).reshape(2, -1)
    apart = np.abs(cells[:, :, None] - cells[:, None]).max(axis=0)
    i, j = head.near.flatten().numpy(), np.repeat(np.arange(15), head.near.shape[1])
    for part, own in zip(head.members.numpy().reshape(2, 15, -1), (i, j), strict=True):
        cell, place = part.nonzero()
        assert (own[place] == cell).all()
        compared = sorted(zip(i[place], j[place], strict=True))
        assert compared == list(zip(*(apart <= window).nonzero(), strict=True))
        np.testing.assert_allclose(part.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["weighted_l1", "signed_l1", "aligned"])
def test_build_head_without_a_generator_has_shapes_only(name):
    head = build_head(name, (6, 3, 3), torch.Generator())
    empty = build_head(name, (6, 3, 3), None)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    shapes = {name: value.shape for name, value in head.state_dict().items()}
    assert {name: value.shape for name, value in empty.state_dict().items()} == shapes
    empty.load_state_dict(head.state_dict(), assign=True)
    a, b = head.embed(torch.ones(2, 6, 3, 3)), empty.embed(torch.ones(2, 6, 3, 3))
    torch.testing.assert_close(empty.logits(b, b), head.logits(a, a), rtol=0, atol=0)


def test_build_head_without_a_generator_takes_parameters():
    head = build_head("aligned", (6, 3, 3), None, n_channels=5, window=0)
    assert head.projection.shape == (6, 5)
    assert head.near.tolist() == [[cell] for cell in range(9)]


@pytest.mark.parametrize("name", ["signed_l1", "aligned"])
def test_build_head_depends_on_the_generator_alone(name):
    def drawn(seed):
        head = build_head(name, (6, 3, 3), torch.Generator().manual_seed(seed))
        return torch.cat([parameter.flatten() for parameter in head.parameters()])

    torch.manual_seed(1)
    first = drawn(5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first, drawn(5))
    assert not torch.equal(first, drawn(6))
    assert torch.equal(before, torch.get_rng_state())


@ANY
def test_mean_head_logits_are_the_mean_of_its_heads(name, shape):
    members = [random_head(name, shape, seed) for seed in range(3)]
    mean = MeanHead(members)
    a, b = (
        [head.embed(random_features(4, shape, 10 * seed + n)) for n, head in enumerate(members)]
        for seed in (1, 2)
    )
    logits = [head.logits(x, y) for head, x, y in zip(members, a, b, strict=True)]
    expected = torch.stack(logits).mean(0)
    a, b = torch.stack(a, 1), torch.stack(b, 1)
    torch.testing.assert_close(mean.logits(a, b), expected)
    torch.testing.assert_close(mean.pair_logits(a, b), expected.diagonal())
    torch.testing.assert_close(mean.bias, torch.stack([head.bias for head in members]).mean())


@ANY
def test_mean_head_refuses_embeddings_of_another_number_of_networks(name, shape):
    members = [random_head(name, shape, seed) for seed in range(2)]
    embeddings = torch.stack([members[0].embed(random_features(4, shape))] * 3, 1)
    for compare in (MeanHead(members).logits, MeanHead(members).pair_logits):
        for a, b in ((embeddings, embeddings), (embeddings[:, :2], embeddings)):
            with pytest.raises(ValueError, match="is (longer|shorter) than"):
                compare(a, b)


# Cosine and whitened


CLOSE_TO_COSINE = pytest.mark.parametrize("name", ["cosine", "whitened"])


@CLOSE_TO_COSINE
@settings(deadline=None, max_examples=10)
@given(seed=SEEDS, scale=st.sampled_from([1e-2, 1.0, 1e3]))
def test_cosine_logits_are_the_formula(name, seed, scale):
    head = random_head(name, (3, 2, 2), seed)
    a, b = (random_features(n, (3, 2, 2), seed + n) for n in (4, 5))
    weight = head.log_weight.exp()
    x, y = a.flatten(1) * weight, b.flatten(1) * weight
    cosine = (x @ y.T) / (x.norm(dim=1)[:, None] * y.norm(dim=1))
    gain = heads.GAIN * head.log_gain.exp()
    expected = gain * (cosine - head.margin)
    a, b = head.embed(scale * a), head.embed(scale * b)
    torch.testing.assert_close(head.logits(a, b), expected)
    torch.testing.assert_close(head.pair_logits(a, b[:4]), expected[:, :4].diagonal())
    torch.testing.assert_close(a.norm(dim=1), torch.ones(4).double())
    assert (head.logits(a, b) <= head.bias).all()
    torch.testing.assert_close(head.logits(a, a).diagonal(), head.bias.expand(4))


@CLOSE_TO_COSINE
def test_cosine_of_a_mean_of_embeddings_is_that_of_its_direction(name):
    head = random_head(name, (7,))
    a = head.embed(random_features(6, (7,)))
    mean = a[:3].mean(0, keepdim=True)
    torch.testing.assert_close(head.logits(a, mean), head.logits(a, 100 * mean))
    torch.testing.assert_close(head.logits(a[:1], mean)[0], head.pair_logits(a[:1], mean))


@CLOSE_TO_COSINE
def test_cosine_of_empty_features_is_finite(name):
    head = random_head(name, (7,), dtype=torch.float32)
    features = torch.zeros(3, 7, requires_grad=True)
    embeddings = head.embed(features)
    logits = head.logits(embeddings, embeddings)
    assert logits.isfinite().all()
    (logits.sum() + head.pair_logits(embeddings, embeddings).sum()).backward()
    assert all(p.grad.isfinite().all() for p in (features, *head.parameters()))


def test_cosine_starts_with_equal_weights_and_trains_all_it_has():
    head = build_head("cosine", (5,), torch.Generator().manual_seed(0))
    assert not head.log_weight.any()
    embeddings = head.embed(random_features(4, (5,), dtype=torch.float32))
    head.logits(embeddings, embeddings).square().sum().backward()
    assert all(p.grad.any() for p in head.parameters())
    assert {name for name, _ in head.named_parameters()} == {"log_weight", "log_gain", "margin"}


def test_whitened_projects_what_differs_from_the_mean():
    head = random_head("whitened", (4,))
    features, other = random_features(6, (4,)), random_features(4, (4,), 1)
    with torch.no_grad():
        head.log_weight.zero_()
        head.mean.copy_(features.mean(0))
        head.projection.copy_(other)
    expected = (features - features.mean(0)) @ other
    expected = expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(head.embed(features), expected)
    assert {"mean", "projection"} <= head.state_dict().keys()


@pytest.mark.parametrize(
    ("most", "shape", "sides"),
    [
        (24, (2, 3, 4), (3, 4)),
        (23, (2, 3, 4), (3, 3)),
        (17, (2, 3, 4), (2, 2)),
        (7, (2, 3, 4), (1, 1)),
        (2, (2, 9, 1), (1, 1)),
        (6, (6,), ()),
    ],
)
def test_whitened_averages_maps_of_too_many_features(monkeypatch, most, shape, sides):
    monkeypatch.setattr(heads, "MOST_WHITENED", most)
    head = build_head("whitened", shape, torch.Generator().manual_seed(0))
    features = random_features(3, shape, dtype=torch.float32)
    expected = features
    if sides:
        expected = torch.nn.functional.adaptive_avg_pool2d(features, sides)
    torch.testing.assert_close(head.pool(features), expected.flatten(1))
    assert head.embed(features).shape == (3, *head.embedding_shape)


@pytest.mark.parametrize("shape", [(7,), (7, 3, 3)])
def test_whitened_refuses_too_many_features(monkeypatch, shape):
    monkeypatch.setattr(heads, "MOST_WHITENED", 6)
    with pytest.raises(ValueError, match="head='whitened' takes at most 6 features.* returns 7"):
        build_head("whitened", shape, torch.Generator().manual_seed(0))


# Features of any size


@BOTH
def test_unit_heads_do_not_depend_on_the_size_of_features(name):
    head = build_head(name, (3, 2, 2), torch.Generator().manual_seed(0), unit=True)
    a, b = (random_features(5, (3, 2, 2), seed, torch.float32) for seed in (1, 2))
    logits = head.logits(head.embed(a), head.embed(b))
    sizes = 10.0 ** torch.arange(-2, 3)[:, None, None, None]
    torch.testing.assert_close(head.logits(head.embed(sizes * a), head.embed(b)), logits)
    plain = build_head(name, (3, 2, 2), torch.Generator().manual_seed(0))
    assert not torch.allclose(plain.logits(plain.embed(sizes * a), plain.embed(b)), logits)


@BOTH
def test_unit_heads_start_as_the_same_distance(name):
    """The mean difference of features whose mean magnitude is 1."""
    head = build_head(name, (9,), torch.Generator().manual_seed(0), unit=True)
    a, b = (random_features(5, (9,), seed, torch.float32) for seed in (1, 2))
    x, y = (part / part.abs().mean(1, keepdim=True) for part in (a, b))
    distance = (x[:, None] - y).abs().mean(2)
    expected = heads.GAIN * (heads.MARGIN - distance)
    torch.testing.assert_close(head.logits(head.embed(a), head.embed(b)), expected)
    pairs = head.pair_logits(head.embed(a), head.embed(b))
    torch.testing.assert_close(pairs, expected.diagonal())


@BOTH
def test_unit_heads_have_finite_logits_and_gradients_of_empty_features(name):
    head = build_head(name, (9,), torch.Generator().manual_seed(0), unit=True)
    features = torch.zeros(3, 9, requires_grad=True)
    embeddings = head.embed(features)
    logits = head.logits(embeddings, embeddings)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert features.grad.isfinite().all()


def test_unit_aligned_does_not_depend_on_the_size_of_features():
    head = build_head("aligned", (6, 2, 2), torch.Generator().manual_seed(0), unit=True)
    with torch.no_grad():
        head.saliency.copy_(torch.arange(6.0))
    features = random_features(5, (6, 2, 2), dtype=torch.float32)
    embeddings = head.embed(features)
    sizes = 10.0 ** torch.arange(-2, 3)[:, None, None, None]
    torch.testing.assert_close(head.embed(sizes * features), embeddings)
    assert embeddings[..., -1].std() > 0.1  # cells differ in saliency


@pytest.mark.parametrize("n_channels", [6, 9])
def test_unit_aligned_starts_at_the_cosines_of_cells(n_channels):
    head = build_head(
        "aligned",
        (6, 2, 3),
        torch.Generator().manual_seed(0),
        n_channels=n_channels,
        window=0,
        unit=True,
    )
    a, b = (random_features(4, (6, 2, 3), seed, torch.float32) for seed in (1, 2))
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=2).mean((2, 3))
    logits = head.logits(head.embed(a), head.embed(b))
    torch.testing.assert_close(logits, head.bias - heads.GAIN * (1 - cosines))


def test_unit_aligned_learns_slowly_of_a_projection_to_fewer_channels():
    """Adam moves all numbers at one pace: of greater ones, it changes the cosines less."""

    def changed(unit):
        generator = torch.Generator().manual_seed(0)
        head = build_head("aligned", (90, 2, 2), generator, n_channels=40, unit=unit)
        a, b = (random_features(9, (90, 2, 2), seed, torch.float32) for seed in (1, 2))
        before = head.logits(head.embed(a), head.embed(b)).detach()
        optimizer = torch.optim.Adam([head.projection], lr=0.005)
        head.pair_logits(head.embed(a), head.embed(b)).sum().backward()
        optimizer.step()
        return (head.logits(head.embed(a), head.embed(b)) - before).abs().mean()

    assert changed(unit=True) < changed(unit=False) / 5


# n_components of the whitened head


def test_whitened_keeps_all_features_until_it_is_known_which_to_keep():
    head = build_head("whitened", (9,), torch.Generator().manual_seed(0), n_components=4)
    features = random_features(5, (9,), dtype=torch.float32)
    cosine = build_head("cosine", (9,), torch.Generator().manual_seed(0))
    assert head.embedding_shape == (9,)
    torch.testing.assert_close(head.embed(features), cosine.embed(features))


@pytest.mark.parametrize(("n_components", "n_kept"), [(4, 4), (9, 9), (20, 9), (None, 9)])
def test_whitened_of_n_components_projects_to_so_many(n_components, n_kept):
    head = Whitened((9,), n_components)
    whiten(head, torch.rand(9), torch.rand(9, n_kept))
    assert head.embedding_shape == (n_kept,)
    assert head.embed(random_features(5, (9,), dtype=torch.float32)).shape == (5, n_kept)
    again = build_head("whitened", (9,), torch.Generator(), n_components=n_components)
    again.load_state_dict(head.state_dict())
    assert torch.equal(again.projection, head.projection)


def test_whitened_takes_no_projection_to_another_number_of_components():
    head = Whitened((9,), 4)
    whiten(head, torch.rand(9), torch.rand(9, 4))
    with pytest.raises(RuntimeError, match="projection"):
        Whitened((9,), 5).load_state_dict(head.state_dict())


@pytest.mark.parametrize("n_components", [0, -1, 2.5, True, "all"])
def test_whitened_refuses_bad_n_components(n_components):
    with pytest.raises(ValueError, match="n_components=.*; expected an integer >= 1, or None"):
        Whitened((9,), n_components)
