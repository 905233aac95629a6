"""calibrate_threshold: the threshold that given logits lead to, by each strategy."""

import copy
import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sksiamese import SiameseVerifier

LOGITS = np.array([-3.0, -2.0, -1.0, 0.5, 1.0, 2.0], dtype=np.float32)
SAME = np.array([0, 0, 1, 0, 1, 1])


class Sum:
    """A comparer whose logit is the sum of the first numbers of two rows."""

    def embed(self, store, rows=None, *, check=True):
        embeddings = store.take(np.arange(len(store))).numpy()[:, 0]
        return embeddings if rows is None else embeddings[rows]

    def pair_logits(self, a, b):
        return (a + b).astype(np.float32)


@pytest.fixture(scope="module")
def verifier():
    """A verifier whose logit of `pairs_with(logits)` is what is given."""
    X = np.random.default_rng(0).normal(size=(4, 2, 1))
    verifier = SiameseVerifier(max_iter=1, random_state=0).fit(X, [0, 1, 0, 1])
    verifier.fitted_ = dataclasses.replace(verifier.fitted_, comparer=Sum())
    return verifier


def pairs_with(logits):
    """Pairs of rows, (n_pairs, 2, 1)."""
    return np.stack([logits, np.zeros_like(logits)], axis=1)[:, :, None]


def threshold_of(verifier, logits, same, *args, **kwargs):
    verifier = copy.copy(verifier)
    return verifier.calibrate_threshold(
        pairs_with(logits), same, *args, **kwargs
    ).decision_threshold_


def rates_of(threshold, logits, same):
    """Return exact fractions: of different pairs rejected, and of same pairs accepted."""
    accepted = logits >= threshold
    n_same, n = int(same.sum()), len(same)
    rejected = n - n_same - int(accepted[same == 0].sum())
    return Fraction(rejected, n - n_same), Fraction(int(accepted[same == 1].sum()), n_same)


def test_decision_function_gives_the_logits_of_a_comparer(verifier):
    np.testing.assert_array_equal(verifier.decision_function(pairs_with(LOGITS)), LOGITS)


@pytest.mark.parametrize(
    ("strategy", "min_rate", "threshold"),
    [
        ("accuracy", None, 0.75),
        ("f_beta", None, -1.5),
        ("max_tpr", 1.0, 0.75),
        ("max_tpr", 0.6, -1.5),
        ("max_tnr", 1.0, -1.5),
        ("max_tnr", 0.6, 0.75),
        ("equal_error", None, -0.25),
    ],
)
def test_calibrate_threshold_lies_between_two_logits(verifier, strategy, min_rate, threshold):
    assert threshold_of(verifier, LOGITS, SAME, strategy, min_rate=min_rate) == threshold


def test_calibrate_threshold_weighs_recall_by_beta(verifier):
    assert threshold_of(verifier, LOGITS, SAME, "f_beta", beta=0.2) == 0.75
    assert threshold_of(verifier, LOGITS, SAME, "f_beta", beta=5.0) == -1.5


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 1)), min_size=2, max_size=30),
    st.floats(0, 1),
)
def test_calibrate_threshold_is_the_best_that_keeps_min_rate(verifier, pairs, rate):
    logits = np.array([logit for logit, _ in pairs], dtype=np.float32)
    same = np.array([0, 1] + [s for _, s in pairs[2:]])
    rate = Fraction(rate).limit_denominator(100)  # as people ask, and exactly
    every = [rates_of(t, logits, same) for t in [*np.unique(logits), np.inf]]
    for of, other, strategy in ((0, 1, "max_tpr"), (1, 0, "max_tnr")):
        threshold = threshold_of(verifier, logits, same, strategy, min_rate=float(rate))
        kept = rates_of(threshold, logits, same)
        assert kept[of] >= rate
        assert kept[other] == max(each[other] for each in every if each[of] >= rate)


@pytest.mark.parametrize("strategy", ["accuracy", "f_beta", "max_tpr", "max_tnr", "equal_error"])
def test_calibrate_threshold_is_halfway_between_separated_pairs(verifier, strategy):
    logits, same = np.array([-1.0, 1.0], dtype=np.float32), np.array([0, 1])
    rate = 0.5 if strategy.startswith("max") else None
    assert threshold_of(verifier, logits, same, strategy, min_rate=rate) == 0.0


@st.composite
def crowded_logits(draw):
    """Logits of which many are neighbours in float32."""
    base = np.float32(draw(st.floats(-100, 100, width=32)))
    steps = draw(st.lists(st.integers(0, 4), min_size=2, max_size=12))
    values = [base]
    for _ in range(4):
        values.append(np.nextafter(values[-1], np.float32(np.inf)))
    return np.array(values)[steps]


def merits_of(threshold, logits, same, rate):
    """Return what each strategy maximises, exactly."""
    tnr, tpr = rates_of(threshold, logits, same)
    accepted = logits >= threshold
    f1 = Fraction(2 * int((accepted & (same == 1)).sum()), int(accepted.sum() + same.sum()))
    return {
        "accuracy": int((accepted == same).sum()),
        "f_beta": f1,
        "max_tpr": tpr if tnr >= rate else -1,
        "max_tnr": tnr if tpr >= rate else -1,
        "equal_error": -abs(tpr - tnr),
    }


@given(crowded_logits(), st.randoms(), st.integers(0, 10))
def test_calibrate_threshold_attains_the_best_of_logits_that_are_neighbours(
    verifier, logits, random, tenths
):
    same = np.array([0, 1] + [random.randint(0, 1) for _ in logits[2:]])
    rate = Fraction(tenths, 10)
    every = [merits_of(t, logits, same, rate) for t in [*np.unique(logits), np.inf]]
    for strategy in every[0]:
        own = copy.copy(verifier).calibrate_threshold(
            pairs_with(logits),
            same,
            strategy,
            min_rate=float(rate) if strategy.startswith("max") else None,
        )
        merit = merits_of(own.decision_threshold_, logits, same, rate)[strategy]
        assert merit == max(each[strategy] for each in every)
        accepted = own.predict(pairs_with(logits)) == 1
        np.testing.assert_array_equal(accepted, logits >= own.decision_threshold_)


def test_calibrate_threshold_accepts_minus_one_for_different_pairs(verifier):
    assert threshold_of(verifier, LOGITS, 2 * SAME - 1) == threshold_of(verifier, LOGITS, SAME)


def test_calibrate_threshold_may_reject_every_pair(verifier):
    same = np.array([1, 1, 1, 0, 0, 0])  # the different pairs have the greatest logits
    threshold = threshold_of(verifier, LOGITS, same, "max_tpr", min_rate=1.0)
    assert threshold > LOGITS.max()
    assert np.isfinite(threshold)


# What X and preprocessor may be

IMAGES = np.zeros((4, 8, 8))


@pytest.mark.parametrize("preprocessor", ["path", 5, {"a": 1}, ["a.png", "b.png"], np.zeros(4)])
def test_fit_raises_for_a_preprocessor_without_images(preprocessor):
    with pytest.raises(TypeError, match="preprocessor=.*; expected images or flat rows, an array"):
        SiameseVerifier(preprocessor=preprocessor).fit([[0, 1], [0, 2]], [0, 1])


@pytest.mark.parametrize(
    ("preprocessor", "shape"),
    [(None, (0, 2, 8, 8)), (IMAGES, (0, 2)), (IMAGES.__getitem__, (0, 2)), (IMAGES, (0,))],
)
def test_fit_raises_without_pairs(preprocessor, shape):
    with pytest.raises(ValueError, match=r"X has no samples, shape \(0,.*expected at least one"):
        SiameseVerifier(preprocessor=preprocessor).fit(np.empty(shape), [])


def test_fit_raises_for_pairs_of_an_image_and_itself():
    X = [["a", "b"], ["c", "c"], ["d", "d"]]
    verifier = SiameseVerifier(preprocessor=lambda names: IMAGES[: len(names)])
    message = r"X\[1\] is \('c', 'c'\), an image and itself.* 2 of 3 rows"
    with pytest.raises(ValueError, match=message):
        verifier.fit(X, [0, 1, 1])
