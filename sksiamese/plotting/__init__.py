"""Displays of what a twin does, in scikit-learn's manner; they need matplotlib."""

from ._scores import (
    EpisodeAccuracyDisplay,
    ThresholdDisplay,
    TrainingCurveDisplay,
)
from ._trials import NeighborsDisplay, OneShotTrialDisplay, SimilarityDisplay

__all__ = [
    "EpisodeAccuracyDisplay",
    "NeighborsDisplay",
    "OneShotTrialDisplay",
    "SimilarityDisplay",
    "ThresholdDisplay",
    "TrainingCurveDisplay",
]
