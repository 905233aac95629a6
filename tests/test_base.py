"""Parameters and input that estimators of a twin share."""

import numpy as np
import pytest

from sksiamese import SiameseOneShotClassifier


@pytest.mark.parametrize("random_state", [0, np.random.RandomState(0), np.int64(0)])
def test_random_state_decides_the_seed(random_state):
    clf = SiameseOneShotClassifier(random_state=random_state)
    assert clf._rng().randint(2**31 - 1) == np.random.RandomState(0).randint(2**31 - 1)


def test_without_random_state_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()
    seeds = {SiameseOneShotClassifier()._rng().randint(2**31 - 1) for _ in range(3)}
    assert len(seeds) == 3
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def shape_error(fitted_on, X, **params):
    clf = SiameseOneShotClassifier(**params)
    clf._store(fitted_on, reset=True)
    with pytest.raises(ValueError, match="was fitted on") as error:
        clf._store(X)
    return str(error.value)


def test_the_first_store_decides_the_shape_of_the_next():
    clf = SiameseOneShotClassifier(image_shape=(4, 5))
    clf._store(np.zeros((3, 20)), reset=True)
    assert (clf.input_shape_, clf.n_features_in_) == ((1, 4, 5), 20)
    assert clf._store(np.ones((2, 4, 5))).input_shape == (1, 4, 5)
    assert clf._store(np.ones((2, 20))).input_shape == (1, 4, 5)


def test_another_shape_is_refused_and_what_was_fitted_kept():
    message = shape_error(np.zeros((3, 8, 6)), np.zeros((2, 8, 7)))
    assert "8x7" in message and "8x6" in message


@pytest.mark.parametrize(("image", "hint"), [((8, 6), True), ((6, 8), False)])
def test_a_single_image_is_told_apart_from_another_shape(image, hint):
    assert ("X[None]" in shape_error(np.zeros((3, 8, 6)), np.zeros(image))) == hint


def test_image_shape_must_not_contradict_images():
    clf = SiameseOneShotClassifier(image_shape=(8, 7))
    with pytest.raises(ValueError, match=r"image_shape=\(8, 7\)"):
        clf._store(np.zeros((3, 8, 6)), reset=True)
