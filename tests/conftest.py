"""Fixtures of all tests: working Ctrl-C, small data and a fitted classifier."""

import copy
import os
import signal
from importlib.util import find_spec

# On busy cores, threads wait for each other longer than they compute. The libraries read it when
# they are imported, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import make_glyphs

collect_ignore = ["long"]  # scripts that `tox -e long` runs


def pytest_collection_modifyitems(items):
    """Skip the docstring that needs the extra onnx where this is not installed."""
    if find_spec("onnxscript") is None:
        for item in items:
            if item.name.endswith(".export_onnx"):
                item.add_marker(pytest.mark.skip(reason="needs the extra onnx"))


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    """Handle SIGINT as Python does by default; a suite started in the background ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def glyphs():
    """(X, y): 16 classes of 8 drawings, 16x16 pixels, uint8, dark on light."""
    return make_glyphs(n_classes=16, n_samples=8, image_size=16, random_state=0)


@pytest.fixture(scope="session")
def training(glyphs):
    """(X, y): the 80 drawings of the ten classes that `fitted` is trained on."""
    X, y = glyphs
    return X[y < 10], y[y < 10]


@pytest.fixture(scope="session")
def new(glyphs):
    """(X, y): 48 drawings of the six other classes, 10 to 15, in their order."""
    X, y = glyphs
    return X[y >= 10], y[y >= 10]


@pytest.fixture(scope="session")
def fitted(training):
    """A classifier trained on the first ten classes. Copy it before you change its support."""
    return SiameseOneShotClassifier(max_iter=8, random_state=0).fit(*training)


@pytest.fixture
def clf(fitted, new):
    """A copy of `fitted` whose support is the first drawing of each of the six new classes."""
    X, y = new
    return copy.copy(fitted).set_support(X[::8], y[::8])
