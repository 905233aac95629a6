"""
Verification: are two drawings of the same character?
=====================================================

The pretrained network as a `SiameseVerifier`: a sample is a pair of images, and its class is same
or different. The decision threshold is chosen on pairs of the five alphabets that the package
includes. It is then tested on pairs of the official one-shot runs, whose characters the network
has never seen.
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import numpy as np
from sklearn.metrics import roc_auc_score

from sksiamese import SiameseVerifier, load_pretrained
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import make_pairs
from sksiamese.plotting import ThresholdDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--picture", default="verification.png", help="file to draw the scores to")
args = parser.parse_args()

# %%
# A pretrained network infers image size, background level and polarity from its support.

omniglot = load_omniglot_minimal()
clf = load_pretrained("omniglot").set_support(omniglot.images[:20], omniglot.target[:20])

# %%
# With a `preprocessor`, a sample is a pair of row numbers of its images, and each image is encoded
# once. Half of the pairs are of one character; both images of a pair are of the same alphabet.

verifier = SiameseVerifier.from_classifier(clf, preprocessor=omniglot.images)
pairs = make_pairs(omniglot.target, omniglot.alphabets, n_pairs=4000, random_state=0)
verifier.calibrate_threshold(pairs[:, :2], pairs[:, 2])
print(
    f"threshold {verifier.decision_threshold_:.2f}, chosen on {len(pairs)} pairs of training "
    "alphabets"
)

# %%
# Each official run has twenty characters of one alphabet, two drawings of each.

runs = omniglot.runs
images = np.concatenate([part for run in runs for part in (run.support_images, run.query_images)])
labels = np.concatenate([part for run in runs for part in (run.support_labels, run.query_labels)])
pairs = make_pairs(labels, np.repeat(np.arange(len(runs)), 40), n_pairs=4000, random_state=0)
X, y = pairs[:, :2], pairs[:, 2]
verifier.set_params(preprocessor=images)
area = roc_auc_score(y, verifier.decision_function(X))
print(
    f"{len(y)} pairs within the 20 official runs: accuracy {100 * verifier.score(X, y):.1f} %, "
    f"area under the ROC curve {area:.4f}"
)
ThresholdDisplay.from_estimator(verifier, X, y).figure_.savefig(args.picture)
print(f"drew the scores to {args.picture}")
