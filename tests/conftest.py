"""One torch thread, Ctrl-C that is heard, and small data that several files use."""

import signal

import numpy as np
import pytest
import torch

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import make_glyphs


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two busy cores make OpenMP threads wait for each other longer than they compute."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard():
    """A suite that was started in the background would ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def glyphs():
    """(X, y): 16 classes of 8 drawings, 16x16 pixels."""
    return make_glyphs(n_classes=16, n_samples=8, image_size=16, random_state=0)


@pytest.fixture(scope="session")
def fitted(glyphs):
    """A classifier trained on the first ten classes; copy it before you change its support."""
    X, y = glyphs
    background = np.flatnonzero(y < 10)
    return SiameseOneShotClassifier(max_iter=8, random_state=0).fit(X[background], y[background])
