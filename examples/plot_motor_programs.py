"""
Motor programs: drawings explained by the strokes that made them
================================================================

A program says how a drawing was made: how many strokes, in which order and direction, where each
starts, and of which simpler movements (sub-strokes) it consists. `MotorProgramClassifier` finds
the program of each exemplar, draws it once more so that it covers the query as well as it can, and
does the same with the query's program and the exemplar. The answer is the class of the exemplar
that explains the query, and is explained by it, best. Nothing is trained.

This follows Bayesian program learning (Lake, Salakhutdinov and Tenenbaum, 2013 and 2015). Random
walks over the thinned drawing propose programs, and a prior learned from how people draw chooses
among them. When a program is drawn once more, its stroke starts, shapes and sizes vary as people's
do. The long search over programs is replaced by fast fits; ``docs/motor_programs.md`` lists what
is kept and what is replaced.

    python examples/plot_motor_programs.py
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import numpy as np

from sksiamese import MotorProgramClassifier
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import score_runs
from sksiamese.plotting import MotorProgramDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=20, help="official runs to score (default 20)")
parser.add_argument("--picture", default="motor_programs.png", help="file to draw programs to")
args = parser.parse_args()

# %%
# The package includes the official one-shot runs of Omniglot. Each has 20 characters of an
# alphabet, with one exemplar and one query of each. The exemplars are parsed into programs.

runs = load_omniglot_minimal().runs
run = runs[4]
clf = MotorProgramClassifier(random_state=0).fit(run.support_images, run.support_labels)
for label, program in zip(clf.classes_[:3], clf.programs_, strict=False):
    print(f"{label}: strokes {program.n_strokes}, sub-strokes {program.n_substrokes}")

# %%
# Score the official runs, 20-way 1-shot within an alphabet.

print(f"motor programs, {args.runs} official runs:", score_runs(clf, runs[: args.runs]))

# %%
# Classify the queries of one run. Show three that are recognised, from the most to the least
# certain of them, and one that is not.

predicted, logits = clf.predict(run.query_images, return_logits=True)
right = np.flatnonzero(predicted == run.query_labels)
right = right[logits[right].max(axis=1).argsort()[::-1]]
wrong = np.flatnonzero(predicted != run.query_labels)
shown = [right[0], right[len(right) // 2], right[-1], *wrong[:1]]

# %%
# Strokes are numbered and coloured in their order; a dot marks where each starts, arrow heads its
# direction. In the two columns on the right a program is drawn once more, over another drawing.
# Where it covers that drawing without bending much, the two are likely to be the same character.

display = MotorProgramDisplay.from_estimator(
    clf,
    run.query_images[shown],
    y=run.query_labels[shown],
    X_support=run.support_images,
    both_directions=True,
)
display.figure_.savefig(args.picture, dpi=120, bbox_inches="tight")
print(f"drew programs of {len(shown)} queries to {args.picture}")
