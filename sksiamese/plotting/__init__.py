"""Displays of what a twin does, in scikit-learn's manner; they need matplotlib."""

from ._scores import (
    EpisodeAccuracyDisplay,
    SimilarityDisplay,
    ThresholdDisplay,
    TrainingCurveDisplay,
)
from ._trials import NeighborsDisplay, OneShotTrialDisplay

__all__ = [
    "EpisodeAccuracyDisplay",
    "NeighborsDisplay",
    "OneShotTrialDisplay",
    "SimilarityDisplay",
    "ThresholdDisplay",
    "TrainingCurveDisplay",
]
