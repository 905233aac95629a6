"""Displays of networks, programs and trials, in the manner of scikit-learn; need matplotlib."""

from ._matches import MatchDisplay
from ._programs import MotorProgramDisplay
from ._scores import (
    EpisodeAccuracyDisplay,
    ThresholdDisplay,
    TrainingCurveDisplay,
)
from ._trials import NeighborsDisplay, OneShotTrialDisplay, SimilarityDisplay

__all__ = [
    "EpisodeAccuracyDisplay",
    "MatchDisplay",
    "MotorProgramDisplay",
    "NeighborsDisplay",
    "OneShotTrialDisplay",
    "SimilarityDisplay",
    "ThresholdDisplay",
    "TrainingCurveDisplay",
]
