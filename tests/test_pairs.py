"""The threshold that pairs give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sksiamese._pairs import STRATEGIES, calibrated_threshold

LOGITS = np.array([-3.0, -2.0, -1.0, 0.5, 1.0, 2.0], dtype=np.float32)
SAME = np.array([0, 0, 1, 0, 1, 1])


def rates(threshold, logits=LOGITS, same=SAME):
    accepted = logits >= threshold
    return accepted[same == 1].mean(), 1 - accepted[same == 0].mean()


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
def test_rates_that_were_asked_for_are_kept(pairs, rate):
    logits = np.array([logit for logit, _ in pairs], dtype=np.float32)
    same = np.array([0, 1] + [s for _, s in pairs[2:]])
    assert rates(calibrated_threshold(logits, same, "max_tpr", rate, 1.0), logits, same)[1] >= rate
    assert rates(calibrated_threshold(logits, same, "max_tnr", rate, 1.0), logits, same)[0] >= rate


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pairs_that_are_told_apart_are_told_apart(strategy):
    logits, same = np.array([-1.0, 1.0], dtype=np.float32), np.array([0, 1])
    rate = 0.5 if strategy.startswith("max") else None
    assert calibrated_threshold(logits, same, strategy, rate, 1.0) == 0.0
