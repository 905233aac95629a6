"""Displays of networks and one-shot trials, in the manner of scikit-learn; need matplotlib."""

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
