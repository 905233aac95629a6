"""One-shot classification with a twin network, as a scikit-learn estimator."""

from ._classifier import SiameseOneShotClassifier

__version__ = "0.1.0"
__all__ = ["SiameseOneShotClassifier", "__version__"]
