"""
Verification: are two drawings the same character?
==================================================

The twin that ships, as a `SiameseVerifier`: a sample is a pair of images, and the answer is same
or different. The threshold is chosen on pairs of the five alphabets that ship; it is then judged
on pairs of the official one-shot runs, whose characters the twin has never seen.
"""

import argparse

import numpy as np
from sklearn.metrics import roc_auc_score

from sksiamese import SiameseVerifier, load_pretrained
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.plotting import ThresholdDisplay

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--picture", default="verification.png", help="where the picture goes")
args = parser.parse_args()


def draw_pairs(labels, groups, n_pairs, rng):
    """Row numbers of pairs, half of one class, the others of two classes of one group."""
    rows = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    of_group = {group: np.unique(labels[groups == group]) for group in np.unique(groups)}
    pairs = []
    for _ in range(n_pairs // 2):
        first, second = rng.choice(of_group[rng.choice(list(of_group))], 2, replace=False)
        pairs.append(rng.choice(rows[first], 2, replace=False))
        pairs.append([rng.choice(rows[first]), rng.choice(rows[second])])
    return np.array(pairs), np.tile([1, 0], n_pairs // 2)


# %%
# The twin that ships learns size and ground of the images from any of them.

omniglot = load_omniglot_minimal()
rng = np.random.default_rng(0)
clf = load_pretrained("omniglot").set_support(omniglot.images[:20], omniglot.target[:20])
verifier = SiameseVerifier.from_classifier(clf, preprocessor=omniglot.images)

# %%
# A sample may be two row numbers of what `preprocessor` holds, so that each image is encoded once.

X, y = draw_pairs(omniglot.target, omniglot.alphabets, 4000, rng)
verifier.calibrate_threshold(X, y)
print(f"threshold {verifier.threshold_:.2f}, chosen on {len(y)} pairs of background alphabets")

# %%
# Each run has twenty characters of one alphabet, two drawings of each.

images = np.concatenate(
    [np.concatenate([r.support_images, r.query_images]) for r in omniglot.runs]
)
labels = np.concatenate(
    [
        np.char.add(f"{n} ", np.concatenate([r.support_labels, r.query_labels]).astype(str))
        for n, r in enumerate(omniglot.runs)
    ]
)
X, y = draw_pairs(labels, np.repeat(np.arange(len(omniglot.runs)), 40), 4000, rng)
verifier.set_params(preprocessor=images)
area = roc_auc_score(y, verifier.decision_function(X))
print(
    f"{len(y)} pairs within the 20 official runs: accuracy {100 * verifier.score(X, y):.1f} %, "
    f"area under the ROC curve {area:.4f}"
)
ThresholdDisplay.from_estimator(verifier, X, y).figure_.savefig(args.picture)
