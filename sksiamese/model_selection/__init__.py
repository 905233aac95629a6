"""Model selection for one-shot classification: trials, scores, a scorer and training pairs.

One-shot trials can score any scikit-learn classifier, so a baseline and a twin network can be
compared on the same trials. This subpackage needs only NumPy and scikit-learn.
"""

from ._pairs import make_pairs
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
    "make_pairs",
    "one_shot_score",
    "score_runs",
    "wilson_interval",
]
