"""One-shot classification with a twin network, as a scikit-learn estimator."""

from . import recipes
from ._classifier import SiameseOneShotClassifier
from ._frozen import FrozenTwinClassifier
from ._motor_programs import MotorProgramClassifier
from ._verifier import SiameseVerifier
from .weights import load_pretrained

__version__ = "1.0.0rc1"
__all__ = [
    "FrozenTwinClassifier",
    "MotorProgramClassifier",
    "SiameseOneShotClassifier",
    "SiameseVerifier",
    "__version__",
    "load_pretrained",
    "recipes",
]
