"""
Text: topics from one example each
==================================

Rows of a table instead of images. Texts are what numpy, scipy and scikit-learn say of their own
functions and classes, their topics the modules these come from: every installation has them. A
twin learns on the texts of most modules what makes two texts of one topic, and then tells texts of
five other modules apart by one text of each, with 1-nearest-neighbour on the same features beside
it, as they are and brought to unit length, which the twin gets.
"""

import importlib
import pkgutil
import re

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize

from sksiamese import SiameseOneShotClassifier
from sksiamese.model_selection import one_shot_score, wilson_interval


def texts_of(package):
    """(text, topic) of the public functions and classes of a package's modules."""
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if info.name.startswith("_") or info.name in ("tests", "testing", "f2py", "conftest"):
            continue
        try:
            module = importlib.import_module(f"{package}.{info.name}")
        except Exception:  # a module that wants more than is installed
            continue
        texts = set()
        for name in getattr(module, "__all__", dir(module)):
            thing = vars(module).get(name)
            text = getattr(thing, "__doc__", None) if callable(thing) else None
            if isinstance(text, str) and not name.startswith("_"):
                # Examples and addresses are new in each run.
                text = re.sub("0x[0-9a-f]+", "", text.split("Examples\n")[0])
                texts |= {text} if len(text) > 400 else set()
        if len(texts) >= 8:
            for text in sorted(texts)[:60]:
                yield text, f"{package}.{info.name}"


pairs = [pair for package in ("numpy", "scipy", "sklearn") for pair in texts_of(package)]
texts, topics = map(np.array, zip(*pairs, strict=True))
names = np.unique(topics)
print(f"{len(texts)} texts of {len(names)} topics")

# %%
# Five splits of the topics; the twin's parameters were chosen on four others. Words and their
# directions are learned without the topics held out. A distortion of our own drops features.


def drop_features(rows, generator):
    return rows * (torch.rand(rows.shape, generator=generator) > 0.2)


right, n_trials = {"twin": 0.0, "1-NN": 0.0, "1-NN, unit length": 0.0}, 0
for split in range(10, 15):
    held_out = np.random.default_rng(split).permutation(names)[: len(names) // 3]
    known = ~np.isin(topics, held_out)
    features = make_pipeline(
        TfidfVectorizer(stop_words="english", max_features=5000, sublinear_tf=True),
        TruncatedSVD(100, random_state=0),
    ).fit(texts[known])
    raw = features.transform(texts)
    X = normalize(raw)
    twin = SiameseOneShotClassifier(
        encoder="mlp", loss="verification", distortion=drop_features, random_state=0
    )
    twin.fit(X[known], topics[known])
    nearest = KNeighborsClassifier(1)
    for name, clf, rows in (
        ("twin", twin, X),
        ("1-NN", nearest, raw),
        ("1-NN, unit length", nearest, X),
    ):
        trials = {"n_way": 5, "n_episodes": 200, "random_state": 0}
        score = one_shot_score(clf, rows[~known], topics[~known], **trials)
        right[name] += float(score) * score.n_trials
    n_trials += score.n_trials

for name, n_right in right.items():
    low, high = (100 * end for end in wilson_interval(n_right, n_trials))
    print(
        f"{name}: {100 * n_right / n_trials:.1f} % (95 % interval {low:.1f}-{high:.1f}), 5-way "
        f"1-shot over topics never seen, 5 splits, {n_trials} trials"
    )
