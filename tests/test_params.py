"""Parameters are of their kind and in their range, or an error names them."""

import numpy as np
import pytest
from skorch.callbacks import Callback, EarlyStopping
from torch.optim import SGD

from sksiamese._params import check_choice, check_number, check_shape, check_skorch


@pytest.mark.parametrize("value", ["c", 1, None, ["a"], np.array(["a"])])
def test_choices_are_named(value):
    assert check_choice("a", "loss", ("a", "b")) is None
    with pytest.raises(ValueError, match=r"loss=.*expected one of 'a', 'b'"):
        check_choice(value, "loss", ("a", "b"))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (2.5, TypeError),
        (True, TypeError),
        ("3", TypeError),
        (None, TypeError),
    ],
)
def test_numbers_are_of_their_kind_and_in_their_range(value, error):
    assert check_number(np.int64(3), "max_iter", int, 1) is None
    with pytest.raises(error, match="max_iter"):
        check_number(value, "max_iter", int, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value):
    with pytest.raises(ValueError, match="learning_rate=(nan|inf); expected a finite number"):
        check_number(value, "learning_rate", float, 0)


@pytest.mark.parametrize("value", [(1,), (1, 0), (1, 2.0), "ab", 7, None])
def test_shapes_are_tuples_of_positive_integers(value):
    assert check_shape((2, np.int64(3)), "image_shape", (2, 3)) is None
    with pytest.raises(ValueError, match="image_shape=.*tuple of 2 or 3 positive integers"):
        check_shape(value, "image_shape", (2, 3))


def test_what_goes_to_skorch_is_looked_at():
    assert check_skorch(None, None, "adamw") is None
    assert check_skorch([Callback(), ("name", Callback())], {}, "muon") is None
    for callbacks in (3, Callback(), ["a"], [()]):
        with pytest.raises(TypeError, match="callbacks=.*expected a list of skorch callbacks"):
            check_skorch(callbacks, None, "adamw")
    best = EarlyStopping(load_best=True)
    with pytest.raises(ValueError, match="load_best=True.*use early_stopping=True"):
        check_skorch([best], None, "adamw")
    with pytest.raises(TypeError, match=r"net_params=\[1\]; expected a dict"):
        check_skorch([], [1], "adamw")
    assert check_skorch(None, {"optimizer": SGD}, "adamw") is None
    with pytest.raises(ValueError, match="optimizer='muon', and net_params has the optimizer"):
        check_skorch(None, {"optimizer": SGD}, "muon")
