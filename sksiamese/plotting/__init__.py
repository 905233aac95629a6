"""Displays of networks, programs and trials, in the manner of scikit-learn; need matplotlib."""

from ._programs import MotorProgramDisplay
from ._scores import (
    EpisodeAccuracyDisplay,
    ThresholdDisplay,
    TrainingCurveDisplay,
)
from ._trials import NeighborsDisplay, OneShotTrialDisplay, SimilarityDisplay

__all__ = [
    "EpisodeAccuracyDisplay",
    "MotorProgramDisplay",
    "NeighborsDisplay",
    "OneShotTrialDisplay",
    "SimilarityDisplay",
    "ThresholdDisplay",
    "TrainingCurveDisplay",
]
