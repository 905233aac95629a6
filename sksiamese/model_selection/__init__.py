"""One-shot trials: a splitter that draws them, scores with their interval, a scorer for searches.

Any scikit-learn classifier can be scored, so that a baseline and a twin take the same trials.
"""

from ._score import (
    OneShotScore,
    OneShotScorer,
    make_one_shot_scorer,
    one_shot_score,
    score_runs,
    wilson_interval,
)
from ._split import EpisodeSplit

__all__ = [
    "EpisodeSplit",
    "OneShotScore",
    "OneShotScorer",
    "make_one_shot_scorer",
    "one_shot_score",
    "score_runs",
    "wilson_interval",
]
