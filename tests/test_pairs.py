"""Pairs as samples, and the threshold that they give."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sksiamese._pairs import STRATEGIES, calibrated_threshold, check_different, pairs_of

LOGITS = np.array([-3.0, -2.0, -1.0, 0.5, 1.0, 2.0], dtype=np.float32)
SAME = np.array([0, 0, 1, 0, 1, 1])


IMAGES = np.zeros((4, 8, 8))


@pytest.mark.parametrize("preprocessor", ["path", 5, {"a": 1}, ["a.png", "b.png"], np.zeros(4)])
def test_a_preprocessor_that_has_no_images_is_named(preprocessor):
    with pytest.raises(TypeError, match="preprocessor=.*; expected images or flat rows, an array"):
        pairs_of([[0, 1]], preprocessor)


@pytest.mark.parametrize(
    ("preprocessor", "shape"),
    [(None, (0, 2, 8, 8)), (IMAGES, (0, 2)), (IMAGES.__getitem__, (0, 2)), (IMAGES, (0,))],
)
def test_no_pairs_are_said_to_be_none(preprocessor, shape):
    with pytest.raises(ValueError, match=r"X has no samples, shape \(0,.*expected at least one"):
        pairs_of(np.empty(shape), preprocessor)


def test_pairs_of_an_image_and_itself_are_named_as_x_has_them():
    X = [["a", "b"], ["c", "c"], ["d", "d"]]
    _, i, j = pairs_of(X, lambda names: IMAGES[: len(names)])
    message = r"X, row 1 is \('c', 'c'\), an image and itself.* 2 of 3 rows"
    with pytest.raises(ValueError, match=message):
        check_different(X, i, j)


def rates(threshold, logits=LOGITS, same=SAME):
    accepted = logits >= threshold
    return accepted[same == 1].mean(), 1 - accepted[same == 0].mean()


def fractions_of(threshold, logits, same):
    """What `rates` says, exactly: parts of different pairs rejected and of same ones accepted."""
    accepted = logits >= threshold
    n_same, n = int(same.sum()), len(same)
    rejected = n - n_same - int(accepted[same == 0].sum())
    return Fraction(rejected, n - n_same), Fraction(int(accepted[same == 1].sum()), n_same)


@pytest.mark.parametrize(
    ("strategy", "min_rate", "threshold"),
    [
        ("accuracy", None, 0.75),
        ("max_tpr", 1.0, 0.75),
        ("max_tpr", 0.6, -1.5),
        ("max_tnr", 1.0, -1.5),
        ("max_tnr", 0.6, 0.75),
        ("equal_error", None, -0.25),
    ],
)
def test_thresholds_lie_between_the_logits(strategy, min_rate, threshold):
    assert calibrated_threshold(LOGITS, SAME, strategy, min_rate, 1.0) == threshold


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 1)), min_size=2, max_size=30),
    st.floats(0, 1),
)
def test_of_the_thresholds_that_keep_a_rate_the_best_is_found(pairs, rate):
    logits = np.array([logit for logit, _ in pairs], dtype=np.float32)
    same = np.array([0, 1] + [s for _, s in pairs[2:]])
    rate = Fraction(rate).limit_denominator(100)  # as people ask, and exactly
    every = [fractions_of(t, logits, same) for t in [*np.unique(logits), np.inf]]
    for of, other, strategy in ((0, 1, "max_tpr"), (1, 0, "max_tnr")):
        threshold = calibrated_threshold(logits, same, strategy, float(rate), 1.0)
        kept = fractions_of(threshold, logits, same)
        assert kept[of] >= rate
        assert kept[other] == max(each[other] for each in every if each[of] >= rate)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pairs_that_are_told_apart_are_told_apart(strategy):
    logits, same = np.array([-1.0, 1.0], dtype=np.float32), np.array([0, 1])
    rate = 0.5 if strategy.startswith("max") else None
    assert calibrated_threshold(logits, same, strategy, rate, 1.0) == 0.0
