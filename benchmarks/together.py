"""The pretrained network and motor programs together: how to weigh their votes.

    python benchmarks/together.py --network held_out.safetensors
    python benchmarks/accuracy.py together --seeds 0 1 2

scikit-learn's ``VotingClassifier(voting="soft")`` averages the probabilities of both. The
pretrained network was trained on all background alphabets, and is more accurate there than on new
ones. So a network of the same recipe is trained on 24 of them, with fewer epochs, and the weight
is chosen on the other six (`search.HELD_OUT`): trials resampled within alphabets, 20-way 1-shot.
The result, ``results/together.json``, has the accuracy by weight. The row "together" of the table
of accuracies uses the weight with the pretrained network. No evaluation alphabet is read here.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from machine import RESULTS, report
from scipy.special import log_softmax, logsumexp, softmax
from search import HELD_OUT
from sklearn.ensemble import VotingClassifier
from sklearn.utils import Bunch

from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    recipes,
)
from sksiamese.datasets import fetch_omniglot
from sksiamese.model_selection import EpisodeSplit, wilson_interval

WEIGHTS = np.linspace(0, 1, 21)  # of the network; that of the programs is the rest
N_WAY = 20


class SoftVote(VotingClassifier):
    """A soft vote that embeds the samples of many trials once, with the same answers."""

    @classmethod
    def of(cls, network, programs, weight):
        """Return the vote of two classifiers, with this weight of the first."""
        estimators = [("network", network), ("programs", programs)]
        return cls(estimators, voting="soft", weights=[weight, 1 - weight])

    def trial_function(self, X):
        trials = [clf.trial_function(X) for _, clf in self.estimators]
        weights = np.reshape(self.weights, (-1, 1, 1)) / np.sum(self.weights)

        def trial(support, query, y_support):
            logits, classes = zip(*(own(support, query, y_support) for own in trials), strict=True)
            own = [log_softmax(each.astype(float), axis=1) for each in logits]
            return logsumexp(own, axis=0, b=weights), classes[0]

        return trial


def chosen_weight():
    """Return the network's weight that was chosen on background alphabets."""
    return json.loads((RESULTS / "together.json").read_text())["weight"]


def held_out_network(background, epochs, file):
    """Return a network trained without six alphabets, from the file if it exists."""
    if file and file.exists():
        return SiameseOneShotClassifier.load(file)
    seen = ~np.isin(background.alphabets, HELD_OUT)
    clf = recipes.omniglot(max_iter=epochs, random_state=0)
    clf.fit(background.images[seen], background.target[seen], groups=background.alphabets[seen])
    if file:
        clf.save(file, support=False)
    return clf


def probabilities(classifiers, drawings, n_episodes):
    """Return the probabilities of each classifier in the same trials, and the true classes.

    The first is of shape (n_classifiers, n_trials, N_WAY), the second of (n_trials, N_WAY).
    """
    trials = [clf.trial_function(drawings.images) for clf in classifiers]
    splitter = EpisodeSplit(N_WAY, n_episodes=n_episodes, random_state=0)
    columns, truth = [], []
    for support, query in splitter.split(drawings.images, drawings.target, drawings.alphabets):
        answers = [trial(support, query, drawings.target[support]) for trial in trials]
        columns.append([softmax(logits, axis=1) for logits, _ in answers])
        truth.append(drawings.target[query, None] == answers[0][1])
    return np.concatenate(columns, axis=1), np.concatenate(truth)


def accuracies(p, truth):
    """Return the accuracy of the vote at each of `WEIGHTS`."""
    votes = ((weight * p[0] + (1 - weight) * p[1]).argmax(axis=1) for weight in WEIGHTS)
    return np.array([truth[np.arange(len(truth)), vote].mean() for vote in votes])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=9, help="of the network that is trained")
    parser.add_argument("--episodes", type=int, default=300, help="trials of 20 queries each")
    parser.add_argument("--network", type=Path, help="its file, which is read if it exists")
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    background = fetch_omniglot("background", data_home=args.data_home)
    clf = held_out_network(background, args.epochs, args.network)
    new = np.isin(background.alphabets, HELD_OUT)
    names = ("images", "target", "alphabets")
    drawings = Bunch(**{name: background[name][new] for name in names})
    classifiers = FrozenTwinClassifier(clf), MotorProgramClassifier(random_state=0)
    p, truth = probabilities(classifiers, drawings, args.episodes)
    by_weight = accuracies(p, truth)
    # The middle one of those that are equally accurate.
    weight = float(np.median(WEIGHTS[by_weight == by_weight.max()]))
    network, programs = (truth[np.arange(len(truth)), own.argmax(axis=1)] for own in p)
    report(
        "together",
        {
            "weight": round(weight, 3),
            "weights": WEIGHTS.round(3).tolist(),
            "accuracies": by_weight.round(4).tolist(),
            "interval": wilson_interval(by_weight.max() * len(truth), len(truth)),
            "n": len(truth),
            "right": {
                "both": int((network & programs).sum()),
                "network alone": int((network & ~programs).sum()),
                "programs alone": int((programs & ~network).sum()),
            },
            "protocol": f"{N_WAY}-way 1-shot within alphabet, resampled",
            "alphabets": np.unique(drawings.alphabets).tolist(),
            "epochs": clf.n_iter_,
        },
    )


if __name__ == "__main__":
    main()
