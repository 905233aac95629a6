"""Whitening: what is made white, what does not matter to it, and the line of the logits."""

import numpy as np
import pytest
import torch
from helpers import make_features
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from sksiamese.twin.heads import Whitened
from sksiamese.twin.whitening import (
    knows_scatter,
    logistic_line,
    rows_to_whiten,
    set_line,
    whiten,
    whitening,
)


@pytest.fixture(scope="module")
def data():
    X, y = make_features(n_classes=8, n_samples=6, n_features=16)
    return torch.from_numpy(X), torch.from_numpy(y)


def scatter_of(features, classes):
    """Return the mean of the outer products of what differs from the mean of its class."""
    within = features.double().clone()
    for c in classes.unique():
        within[classes == c] -= within[classes == c].mean(0)
    return within.T @ within / len(within)


def cosines(features, mean, projection):
    head = Whitened((features.shape[1],))
    whiten(head, mean, projection)
    embeddings = head.embed(features)
    return embeddings @ embeddings.T


def test_whitening_makes_the_scatter_and_the_ridge_the_identity(data):
    features, classes = data
    _, projection = whitening(features, classes)
    scatter, projection = scatter_of(features, classes), projection.double()
    ridge = scatter.trace() / len(scatter) * torch.eye(len(scatter), dtype=torch.float64)
    white = projection.T @ (scatter + ridge) @ projection
    identity = torch.eye(len(white), dtype=torch.float64)
    torch.testing.assert_close(white / white[0, 0], identity, atol=1e-4, rtol=0)


def test_whitening_returns_the_mean_of_the_class_means(data):
    features, classes = data
    kept = torch.cat([torch.arange(6, len(features)), torch.tensor([0])])  # one of the first class
    means = torch.stack([features[kept][classes[kept] == c].mean(0) for c in range(8)])
    mean, projection = whitening(features[kept], classes[kept])
    torch.testing.assert_close(mean, means.mean(0))
    assert mean.dtype == projection.dtype == torch.float32


@settings(deadline=None, max_examples=10)
@given(exponent=st.floats(-12, 12))
def test_whitening_does_not_depend_on_the_scale_of_all_features(data, exponent):
    features, classes = data
    scaled = features * 10.0**exponent
    expected = cosines(features, *whitening(features, classes))
    torch.testing.assert_close(
        cosines(scaled, *whitening(scaled, classes)), expected, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("widths", [(10, 6), (10,)])
def test_whitening_with_widths_does_not_depend_on_the_scale_of_one_kind(data, widths):
    """Of features that are left over, too."""
    features, classes = data
    scaled = features.clone()
    scaled[:, 10:] *= 1000
    same = [cosines(x, *whitening(x, classes, widths)) for x in (features, scaled)]
    torch.testing.assert_close(*same, atol=1e-4, rtol=0)
    other = [cosines(x, *whitening(x, classes)) for x in (features, scaled)]
    assert (other[0] - other[1]).abs().max() > 0.1


def test_whitening_with_the_width_of_all_features_is_that_without(data):
    expected = whitening(*data)
    for part, other in zip(whitening(*data, (16,)), expected, strict=True):
        torch.testing.assert_close(part, other)


@pytest.mark.parametrize(
    "classes",
    [[0, 0, 1, 1, 1], [0, 1, 2, 3, 4], [0, 0, 1, 1, 2]],
    ids=["two", "single", "two and a single one"],
)
def test_whitening_knows_nothing_of_two_classes_or_of_single_samples(classes):
    assert not knows_scatter(torch.tensor(classes))
    features = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    mean, projection = whitening(features, torch.tensor(classes))
    assert not mean.any()
    assert torch.equal(projection, torch.eye(7))
    known = torch.rand(7, 7)
    assert torch.equal(whitening(features, torch.tensor(classes), known=known)[1], known)


def test_whitening_with_a_known_projection_whitens_what_that_makes(data):
    features, classes = data
    known = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    mean, projection = whitening(features, classes, known=known)
    torch.testing.assert_close(mean, whitening(features, classes)[0])
    expected = cosines(features @ known, *whitening(features @ known, classes))
    torch.testing.assert_close(cosines(features, mean, projection), expected, atol=1e-4, rtol=0)


def test_whitening_of_equal_samples_subtracts_the_mean_alone():
    features = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    features = features.repeat_interleave(3, 0)
    mean, projection = whitening(features, torch.arange(4).repeat_interleave(3))
    torch.testing.assert_close(mean, features.mean(0))
    assert torch.equal(projection, torch.eye(5))


def test_whitening_of_a_kind_that_does_not_vary_is_finite(data):
    features, classes = data
    features = torch.cat([features, torch.ones(len(features), 3)], 1)
    assert all(part.isfinite().all() for part in whitening(features, classes, (16, 3)))


def test_whitening_of_more_features_than_samples_is_finite():
    X, y = make_features(n_classes=4, n_samples=2, n_features=200)
    features, classes = torch.from_numpy(X), torch.from_numpy(y)
    found = cosines(features, *whitening(features, classes))
    assert found.isfinite().all()
    torch.testing.assert_close(found.diagonal(), torch.ones(8))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.05, 0.95), slope=st.floats(-30, 30))
def test_logistic_line_is_that_of_scikit_learn(seed, share, slope):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, 400)
    middle = np.quantile(values, share)
    same = (rng.random(400) < 1 / (1 + np.exp(-slope * (values - middle)))).astype(int)
    if same.min() == same.max():
        return
    theirs = LogisticRegression(C=1e3, tol=1e-10, max_iter=10_000).fit(values[:, None], same)
    found = logistic_line(torch.from_numpy(values), torch.from_numpy(same))
    expected = theirs.coef_[0, 0], theirs.intercept_[0]
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-2)


def test_logistic_line_of_values_that_separate_is_finite_and_between_them():
    values = torch.cat([torch.linspace(-0.2, 0.1, 50), torch.linspace(0.5, 1, 50)])
    slope, intercept = logistic_line(values, (values > 0.3).long())
    assert 10 < slope < 1e3
    assert 0.1 < -intercept / slope < 0.5


def test_set_line_gives_the_logits_of_a_line():
    head = Whitened((5,))
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    a, b = head.embed(features).split(3)
    set_line(head, 7.0, -2.5)
    torch.testing.assert_close(head.logits(a, b), 7 * (a @ b.T) - 2.5)
    torch.testing.assert_close(head.bias, torch.tensor(4.5))


def test_whiten_forgets_the_weights_that_were_trained(data):
    features, classes = data
    head = Whitened((16,))
    with torch.no_grad():
        head.log_weight.uniform_(-1, 1)
    whiten(head, *whitening(features, classes))
    expected = cosines(features, *whitening(features, classes))
    embeddings = head.embed(features)
    torch.testing.assert_close(embeddings @ embeddings.T, expected)


def test_whitening_leaves_the_features_as_they_are(data):
    features, classes = data[0].double(), data[1]
    before = features.clone()
    whitening(features, classes)
    assert torch.equal(features, before)


@pytest.mark.parametrize(
    ("sizes", "n_classes", "of_each"),
    [
        ([30] * 2000, 125, (20, 20)),  # many classes: some of them
        ([4000] * 10, 10, (250, 250)),  # few: some samples of each
        ([50, 51], 2, (50, 51)),
    ],
)
def test_rows_to_whiten_are_bounded_and_mostly_of_whole_classes(sizes, n_classes, of_each):
    classes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = rows_to_whiten(classes, n_numbers=10_000, n_features=10)
    assert len(rows) == min(2500, len(classes))
    assert (np.diff(rows) > 0).all()
    found, counts = np.unique(classes[rows], return_counts=True)
    assert len(found) == n_classes
    assert (counts.min(), counts.max()) == of_each


def test_rows_to_whiten_are_enough_to_know_the_scatter():
    assert len(rows_to_whiten(np.arange(10**5) // 20, 10**4, 8000)) == 4 * 8000
