"""Networks and motor programs in scikit-learn's own ensembles, fitted on support sets."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier

from sksiamese import FrozenTwinClassifier, MotorProgramClassifier, load_pretrained
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import EpisodeSplit, one_shot_score

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
N_CLASSES = 6


@pytest.fixture(scope="module")
def network():
    return FrozenTwinClassifier(load_pretrained("omniglot"))


@pytest.fixture(scope="module")
def programs():
    return MotorProgramClassifier(random_state=0)


@pytest.fixture(scope="module")
def experts(network, programs):
    return [("network", network), ("programs", programs)]


@pytest.fixture(scope="module")
def exemplars():
    """(X, y): one exemplar of some characters of the first official run."""
    run = load_omniglot_minimal().runs[0]
    return run.support_images[:N_CLASSES], run.support_labels[:N_CLASSES]


@pytest.fixture(scope="module")
def queries():
    """(X, y): one query of each of the characters."""
    run = load_omniglot_minimal().runs[0]
    chosen = np.isin(run.query_labels, run.support_labels[:N_CLASSES])
    return run.query_images[chosen], run.query_labels[chosen]


@pytest.fixture(scope="module")
def drawings():
    """(X, y): four drawings of some characters; the first two runs have the same characters."""
    first, second = load_omniglot_minimal().runs[:2]
    X, y = [], []
    for run in (first, second):
        for images, labels in (
            (run.support_images, run.support_labels),
            (run.query_images, run.query_labels),
        ):
            chosen = np.isin(labels, first.support_labels[:N_CLASSES])
            X.append(images[chosen])
            y.append(labels[chosen])
    return np.concatenate(X), np.concatenate(y)


@pytest.mark.parametrize("weights", [None, [3, 1]])
def test_voting_soft_is_the_weighted_mean_of_the_probabilities(
    experts, exemplars, queries, weights
):
    vote = VotingClassifier(experts, voting="soft", weights=weights).fit(*exemplars)
    p = vote.predict_proba(queries[0])
    own = [clone(expert).fit(*exemplars).predict_proba(queries[0]) for _, expert in experts]
    np.testing.assert_allclose(p, np.average(own, axis=0, weights=weights), atol=1e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert vote.classes_.tolist() == sorted(exemplars[1])
    assert vote.predict(queries[0]).tolist() == vote.classes_[p.argmax(axis=1)].tolist()
    assert vote.score(*queries) > 0.8


def test_voting_hard_answers_what_most_answer(experts, exemplars, queries):
    affine = MotorProgramClassifier(model="affine", n_walks=1, random_state=0)
    voters = [*experts, ("affine", affine)]
    vote = VotingClassifier(voters, voting="hard").fit(*exemplars)
    own = np.array([clone(clf).fit(*exemplars).predict(queries[0]) for _, clf in voters])
    for answer, answers in zip(vote.predict(queries[0]), own.T, strict=True):
        labels, counts = np.unique(answers, return_counts=True)
        assert answer == labels[counts.argmax()]
    assert vote.score(*queries) > 0.8


def test_voting_leaves_the_experts_unchanged_and_can_be_cloned(experts, exemplars, queries):
    vote = VotingClassifier(experts, voting="soft").fit(*exemplars)
    again = clone(vote)
    assert not hasattr(again, "estimators_")
    np.testing.assert_array_equal(
        again.fit(*exemplars).predict_proba(queries[0]), vote.predict_proba(queries[0])
    )
    assert not any(hasattr(expert, "classes_") for _, expert in experts)
    # A further fit replaces the support.
    assert vote.fit(exemplars[0][:2], exemplars[1][:2]).classes_.tolist() == sorted(
        exemplars[1][:2]
    )


def test_voting_is_scored_by_cross_validation_over_support_sets(experts, drawings):
    vote = VotingClassifier(experts, voting="soft")
    trials = EpisodeSplit(3, n_episodes=2, random_state=0)
    scores = cross_val_score(vote, *drawings, cv=trials)
    assert scores.shape == (2,)
    assert scores.mean() > 0.8


@pytest.mark.parametrize("stack_method", ["predict_proba", "decision_function"])
def test_stacking_learns_from_several_exemplars(experts, drawings, stack_method):
    X, y = drawings
    held_out = np.arange(len(y)) >= 3 * N_CLASSES  # the fourth drawing of each character
    stack = StackingClassifier(experts, LogisticRegression(C=10), cv=3, stack_method=stack_method)
    stack.fit(X[~held_out], y[~held_out])
    p = stack.predict_proba(X[held_out])
    assert p.shape == (N_CLASSES, N_CLASSES)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert stack.score(X[held_out], y[held_out]) > 0.6  # chance is 0.17
    assert clone(stack).get_params().keys() == stack.get_params().keys()


@pytest.fixture
def soft_vote(monkeypatch):
    """Return the class of the benchmark that embeds the samples of many trials once."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from together import SoftVote

    return SoftVote


@pytest.mark.parametrize("n_shot", [1, 2])
def test_soft_vote_answers_trials_as_voting_does(soft_vote, experts, drawings, n_shot):
    (_, network), (_, programs) = experts
    X, y = drawings
    support = np.arange(n_shot * N_CLASSES)
    query = np.arange(n_shot * N_CLASSES, len(y))
    fast = soft_vote.of(network, programs, 0.75)
    logits, classes = fast.trial_function(X)(support, query, y[support])
    vote = VotingClassifier(experts, voting="soft", weights=[0.75, 0.25])
    vote.fit(X[support], y[support])
    assert classes.tolist() == vote.classes_.tolist()
    np.testing.assert_allclose(np.exp(logits), vote.predict_proba(X[query]), atol=1e-5)
    slow = fast.fit(X[support], y[support])
    np.testing.assert_array_equal(slow.predict(X[query]), classes[logits.argmax(axis=1)])


def test_soft_vote_is_scored_by_one_shot_score(soft_vote, network, programs, drawings):
    trials = {"n_way": 4, "n_episodes": 3, "random_state": 0}
    score = one_shot_score(soft_vote.of(network, programs, 0.5), *drawings, **trials)
    alone = one_shot_score(soft_vote.of(network, programs, 1.0), *drawings, **trials)
    assert alone == one_shot_score(network, *drawings, **trials)
    assert score.n_trials == 12
    assert float(score) > 0.8


# Rejection, which ensembles have no place for


def rejecting(unknown_label):
    """Return a network whose `predict` may return `unknown_label`."""
    return FrozenTwinClassifier(
        load_pretrained("omniglot").set_params(unknown_label=unknown_label)
    )


NUMBERS = "replace labels by numbers from 0.* set unknown_label=None.*score_samples"


@pytest.mark.parametrize("programs_too", [False, True])
@pytest.mark.parametrize("unknown_label", ["?", 3])
@pytest.mark.parametrize(
    "fit",
    [
        lambda clf, X, y: VotingClassifier([("a", clf)]).fit(X, y),
        lambda clf, X, y: VotingClassifier([("a", clf)], voting="soft").fit(X, y),
        lambda clf, X, y: StackingClassifier([("a", clf)], cv=2).fit(X, y),
        lambda clf, X, y: cross_val_predict(clf, X, y, cv=2, method="predict_proba"),
    ],
)
def test_unknown_label_among_numbered_labels_is_refused(
    drawings, fit, unknown_label, programs_too
):
    """The labels are strings, which these tools replace by 0, 1, 2, ..."""
    X, y = drawings
    clf = rejecting(unknown_label)
    if programs_too:
        clf = MotorProgramClassifier(unknown_label=unknown_label, n_walks=1, random_state=0)
    with pytest.raises(ValueError, match=f"{re.escape(repr(unknown_label))} is .*{NUMBERS}"):
        fit(clf, X, y)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda clf: VotingClassifier([("a", clf)], voting="soft"),
        lambda clf: StackingClassifier([("a", clf)], LogisticRegression(C=10), cv=2),
        lambda clf: CalibratedClassifierCV(clf, cv=2),
        OneVsRestClassifier,
    ],
)
def test_ensembles_of_probabilities_reject_nothing(drawings, wrap):
    """Their answers are those that they have without `unknown_label`."""
    X, y = drawings
    y = np.unique(y, return_inverse=True)[1]
    X, y = X[y < 3], y[y < 3]
    answers = [wrap(rejecting(label)).fit(X, y).predict(X[::-1]) for label in (-1, None)]
    np.testing.assert_array_equal(*answers)


def test_rejection_of_an_ensemble_is_by_the_scores_of_a_member(experts, drawings):
    X, y = drawings[0], np.unique(drawings[1], return_inverse=True)[1]
    vote = VotingClassifier(experts, voting="soft").fit(X[:3], y[:3])
    network = vote.named_estimators_["network"]
    known = network.score_samples(X) >= network.rejection_threshold_
    expected = rejecting(-1).fit(X[:3], y[:3]).predict(X)
    np.testing.assert_array_equal(known, expected != -1)
    assert not known.all()
    assert known[:3].all()
