"""
Quickstart: twenty unseen characters from one example each
==========================================================

A twin network learns from five alphabets what makes two drawings the same character. It then reads
characters of alphabets it has never seen, twenty at a time, from one drawing of each: the 20
official one-shot runs of Omniglot, with 1-nearest-neighbour on pixels beside it.

Training takes a few minutes on two CPU cores; ``--epochs`` makes it shorter.
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.callback import ProgressBar
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import OneShotScore, wilson_interval

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
parser.add_argument("--epochs", type=int, default=60, help="epochs of training (default 60)")
parser.add_argument("--picture", default="quickstart.png", help="where the picture goes")
args, _ = parser.parse_known_args()

# %%
# Five background alphabets ship with the package: 136 characters, 20 drawings of each.

omniglot = load_omniglot_minimal()
print(
    f"training on {len(omniglot.images)} drawings of {len(np.unique(omniglot.target))} characters, "
    f"{len(np.unique(omniglot.alphabets))} alphabets"
)

# %%
# Fit once. Groups are the alphabets: the twin learns to tell characters of one alphabet apart.

clf = SiameseOneShotClassifier(
    class_transforms="rotate_reflect", max_iter=args.epochs, random_state=0
)
clf.set_callbacks(ProgressBar())
start = time.perf_counter()
clf.fit(omniglot.images, omniglot.target, groups=omniglot.alphabets)
print(f"trained {clf.n_iter_} epochs in {(time.perf_counter() - start) / 60:.1f} minutes")

# %%
# Each official run has 20 new characters of one alphabet, one exemplar of each, and 20 queries. Per
# run the twin is given the exemplars and answers, with no further training.


def right_answers(classifier, run):
    """Which queries of a run the classifier reads right."""
    support = run.support_images, run.query_images
    if hasattr(classifier, "set_support"):
        classifier.set_support(support[0], run.support_labels)
        return classifier.predict(support[1]) == run.query_labels
    support = [images.reshape(len(images), -1) for images in support]
    return classifier.fit(support[0], run.support_labels).predict(support[1]) == run.query_labels


for name, classifier in {
    "twin network": clf,
    "1-NN on pixels": KNeighborsClassifier(1),
}.items():
    right = np.concatenate([right_answers(classifier, run) for run in omniglot.runs])
    print(f"{name:>15}: {right.mean():.1%}")
