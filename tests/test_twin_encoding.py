"""Encoding: an encoder that does not train is run once, and what is learned stays the same."""

import numpy as np
import pytest
import torch
from helpers import assert_same_network, classifier, cosine_nearest, make_features, pairs_of
from skorch.callbacks import Callback
from torch import nn
from training_runs import ArrayStore, identity_scaling, seen_network

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.twin.encoding import FeatureStore, embed_features, encode, unscaled
from sksiamese.twin.heads import HEADS
from sksiamese.twin.network import TwinEnsemble, trains

ENCODED = []  # how many images an encoder was given, batch by batch
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


class Counted(nn.Module):
    """A small frozen network of maps that counts images, but for those of zeros."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(1, 6, 5, stride=4)
        self.norm = nn.BatchNorm2d(6)
        self.dropout = nn.Dropout(0.5)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)
            self.norm.running_var.fill_(4.0)
        self.requires_grad_(False)

    def forward(self, x):
        ENCODED.append(int(x.flatten(1).any(1).sum()))
        return self.dropout(self.norm(self.conv(x)).relu())


@pytest.fixture(autouse=True)
def counting():
    ENCODED.clear()


def frozen(**params):
    return classifier(Counted(), **{"head": "weighted_l1", "max_iter": 3, **params})


# Stores and functions


def test_trains_is_whether_a_parameter_does():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert trains(module)
    assert not trains(module.requires_grad_(False))
    module[1].bias.requires_grad_(True)
    assert trains(module)
    assert not trains(nn.Flatten())


def test_feature_store_is_a_store_of_features():
    samples = ArrayStore(np.zeros((5, 1, 8, 8)))
    features = torch.arange(30.0).reshape(5, 6)
    store = FeatureStore(features, samples)
    assert (len(store), store.input_shape, store.dtype) == (5, (6,), np.float32)
    rows = np.array([4, 0])
    assert torch.equal(store.take(rows), features[[4, 0]])
    assert store.named(rows)[0] == ["X[4]", "X[0]"]


@pytest.mark.parametrize("shape", [(6,), (6, 9), (6, 3, 4)])
def test_unscaled_leaves_features_as_they_are(shape):
    features = torch.randn(4, *shape)
    assert torch.equal(unscaled(shape)(features), features)


@pytest.mark.parametrize("head", ["weighted_l1", "aligned"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_embed_features_of_encoded_samples_are_their_embeddings(head, n_members):
    members = [seen_network("conv", (1, 16, 16), head, seed) for seed in range(n_members)]
    for member in members[1:]:
        member.encoder = members[0].encoder
    network = members[0] if n_members == 1 else TwinEnsemble(members).eval()
    images = torch.rand(2000, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    features = encode(members[0], ArrayStore(images), identity_scaling((1, 16, 16)))
    assert features.shape[0] == 2000
    assert features.dtype == torch.float32
    found = embed_features(network, features)
    with torch.no_grad():
        expected = torch.cat([network.embed(part) for part in images.split(500)])
    np.testing.assert_allclose(found, expected, **CLOSE)


# In `fit`


@pytest.mark.parametrize(
    "params",
    [
        *({"head": head} for head in HEADS),
        {"early_stopping": True},
        {"unknown_label": -1},
        {"unknown_label": -1, "head": "whitened"},
        {"n_estimators": 3},
        {"n_estimators": 2, "head": "whitened"},
        {"n_pairs": 100},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_fit_runs_a_frozen_encoder_once(training, params):
    clf = frozen(**params).fit(*training)
    assert sum(ENCODED) == len(training[0])
    images = ArrayStore(training[0][:, None])
    expected = clf.fitted_.comparer.embed(images)
    np.testing.assert_allclose(clf.support_.embeddings, expected, **CLOSE)
    assert clf.score(*training) > 0.2  # chance is 0.1


def test_fit_runs_a_frozen_encoder_of_pairs_once(training):
    X, y = training
    pairs = pairs_of(y, 200)
    frozen().fit(X, pairs)
    assert sum(ENCODED) == len(X)
    ENCODED.clear()
    SiameseVerifier(Counted(), max_iter=3, preprocessor=lambda rows: X[rows]).fit(
        pairs[:, :2], pairs[:, 2]
    )
    assert sum(ENCODED) == len(np.unique(pairs[:, :2]))


def test_fit_runs_a_frozen_encoder_that_a_callable_returns_once(training):
    classifier(lambda shape: Counted(), max_iter=3).fit(*training)
    assert sum(ENCODED) == len(training[0])


@pytest.mark.parametrize("params", [{"augmentation": "warp"}, {"class_augmentation": "rotate"}])
def test_fit_with_augmentation_runs_a_frozen_encoder_in_each_epoch(training, params):
    frozen(**params).fit(*training)
    assert sum(ENCODED) >= 4 * len(training[0])


@pytest.mark.parametrize("head", ["weighted_l1", "aligned", "cosine"])
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_fit_learns_of_features_made_once_what_it_learns_of_images(training, head, n_estimators):
    params = {"head": head, "precision": "float32", "n_estimators": n_estimators}
    once = frozen(**params).fit(*training)
    each = frozen(**params, augmentation=lambda images, generator: images).fit(*training)
    X = training[0][::5]
    np.testing.assert_allclose(once.similarity(X, X), each.similarity(X, X), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(
        [row["train_loss"] for row in once.history_[-1]],
        [row["train_loss"] for row in each.history_[-1]],
        rtol=1e-3,
    )


@pytest.mark.parametrize("head", ["weighted_l1", "whitened"])
def test_fit_leaves_buffers_and_weights_of_a_frozen_encoder(training, head):
    module = Counted()
    clf = classifier(module, head=head, max_iter=3).fit(*training)
    for member in (clf.network_.encoder, clf.encoder):
        state = member.state_dict()
        assert all(torch.equal(v, state[name]) for name, v in Counted().state_dict().items())
    assert not any(part.training for part in clf.network_.modules())


class Raising(Callback):
    """Raises in the second epoch what is in `errors`, once."""

    errors = []

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2 and Raising.errors:
            raise Raising.errors.pop()


def test_fit_of_a_frozen_encoder_keeps_what_was_learned_on_ctrl_c(training):
    Raising.errors = [KeyboardInterrupt()]
    clf = frozen(callbacks=[Raising()], max_iter=5)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*training)
    assert 1 <= len(clf.history_[0]) <= 2
    assert sum(ENCODED) == len(training[0])
    assert clf.score(*training) > 0.5


@pytest.mark.parametrize("params", [{}, {"n_estimators": 2}, {"early_stopping": True}])
def test_fit_of_a_frozen_encoder_goes_on_from_checkpoints(training, tmp_path, params):
    whole = frozen(**params).fit(*training)
    options = {**params, "checkpoint_dir": tmp_path, "checkpoint_minutes": 1e-9}
    Raising.errors = [RuntimeError("cut")]
    with pytest.raises(RuntimeError, match="cut"):
        frozen(**options, callbacks=[Raising()]).fit(*training)
    again = frozen(**options, callbacks=[Raising()]).fit(*training)
    assert_same_network(again, whole)
    np.testing.assert_array_equal(again.support_.embeddings, whole.support_.embeddings)


def test_repeated_fit_of_a_whitened_head_reads_its_checkpoint(training, tmp_path):
    params = {"head": "whitened", "n_estimators": 2, "checkpoint_dir": tmp_path}
    fits = [frozen(**params).fit(*training) for _ in range(2)]
    assert_same_network(*fits)
    assert_same_network(fits[0], frozen(head="whitened", n_estimators=2).fit(*training))


def test_checkpoints_are_of_one_frozen_encoder(training, tmp_path):
    frozen(checkpoint_dir=tmp_path).fit(*training)
    other = Counted()
    with torch.no_grad():
        other.conv.weight.add_(1)
    with pytest.raises(ValueError, match="checkpoint_dir"):
        classifier(other, max_iter=3, checkpoint_dir=tmp_path).fit(*training)


def test_fit_with_memory_runs_a_frozen_encoder_once_for_all_fits(training, tmp_path):
    X, y = training
    expected = frozen().fit(X, y)
    ENCODED.clear()
    fits = [
        frozen(memory=tmp_path).fit(X, y),
        frozen(memory=str(tmp_path)).fit(X, y),
        frozen(memory=tmp_path, head="whitened").fit(X, y),
    ]
    assert sum(ENCODED) == len(X)
    for clf in fits[:2]:
        assert_same_network(clf, expected)
    np.testing.assert_array_equal(fits[0].support_.embeddings, expected.support_.embeddings)


def test_fit_with_memory_runs_another_encoder_and_encoder_of_other_images(training, tmp_path):
    X, y = training
    frozen(memory=tmp_path).fit(X, y)
    ENCODED.clear()
    other = Counted()
    with torch.no_grad():
        other.conv.weight.add_(1)
    changed = X.copy()
    changed[0, 0, 0] ^= 1
    for clf, images in (
        (classifier(other), X),
        (frozen(), changed),
        (frozen(normalization=(0.5, 0.5)), X),
        (frozen(resize=12), X),
    ):
        clf.set_params(memory=tmp_path).fit(images, y)
        assert sum(ENCODED) == len(X)
        ENCODED.clear()


def test_warm_start_of_a_frozen_encoder_goes_on_training_the_head(training):
    clf = frozen(warm_start=True).fit(*training)
    before = clf.network_.head.log_weight.clone()
    ENCODED.clear()
    clf.fit(*training)
    assert len(clf.history_[0]) == 6
    assert sum(ENCODED) == len(training[0])
    assert not torch.equal(clf.network_.head.log_weight, before)


def test_weights_of_a_module_are_where_training_starts(training, tmp_path):
    frozen().fit(*training).save(tmp_path / "file")
    clf = frozen(weights=tmp_path / "file", max_iter=0).fit(*training)
    expected = SiameseOneShotClassifier.load(tmp_path / "file", encoder=Counted())
    np.testing.assert_allclose(
        clf.transform(training[0]), expected.transform(training[0]), **CLOSE
    )
    ENCODED.clear()
    further = frozen(weights=tmp_path / "file").fit(*training)
    assert sum(ENCODED) == len(training[0])
    assert not np.allclose(further.transform(training[0]), clf.transform(training[0]))


def test_weights_of_two_encoders_that_differ_stay_two(training, tmp_path):
    """They were trained, and are frozen since."""
    module = Counted()
    module.conv.requires_grad_(True)
    trained = frozen(n_estimators=2, learning_rate=0.05).set_params(encoder=module)
    trained.fit(*training)
    trained.save(tmp_path / "file")
    clf = frozen(weights=tmp_path / "file", n_estimators=2, max_iter=1).fit(*training)
    for own, theirs in zip(clf.network_.members, trained.network_.members, strict=True):
        assert torch.equal(own.encoder.conv.weight, theirs.encoder.conv.weight)


def test_fitted_estimator_of_a_frozen_encoder_predicts_during_training(training):
    pytest.importorskip("sklearn.callback")
    seen = []

    class Look:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
            if context.task_name == "epoch":
                seen.append((sum(ENCODED), fitted_estimator.decision_function(X[:9])))
            return False

    clf = frozen(n_estimators=2, max_iter=2).set_callbacks(Look()).fit(*training)
    assert len(seen) == 4
    assert [n - seen[0][0] for n, _ in seen] == [0, 9, 9 + 9, 9 + 9 + 2 * 9]
    np.testing.assert_allclose(seen[-1][1], clf.decision_function(training[0][:9]), **CLOSE)


@pytest.mark.parametrize("head", ["weighted_l1", "signed_l1", "cosine", "whitened"])
@pytest.mark.parametrize("max_iter", [1, 10])
def test_fit_of_a_frozen_encoder_is_not_below_the_nearest_cosine(head, max_iter):
    X, y = make_features(n_classes=15, n_samples=8)
    new, of_new = make_features(n_classes=25, n_samples=8, seed=1)
    clf = classifier(nn.Identity(), head=head, max_iter=max_iter, normalization=None).fit(X, y)
    support = slice(None, None, 8)
    queries = np.arange(len(new)) % 8 > 0
    clf.set_support(new[support], of_new[support])
    right = cosine_nearest(new[support], of_new[support], new[queries]) == of_new[queries]
    assert clf.score(new[queries], of_new[queries]) > right.mean() - 0.03


def make_maps(n_classes, seed, n_samples=8, shape=(200, 2, 2), n_causes=60):
    """Return (X, y): rows that hold maps of many channels, positive as after a ReLU."""
    mixing = np.random.default_rng(0).normal(size=(n_causes, shape[0])) / n_causes**0.5
    rng = np.random.default_rng([1, seed])
    y = np.repeat(np.arange(n_classes), n_samples)
    causes = rng.normal(size=(n_classes, 1, n_causes))[y]
    cells = causes + 2 * rng.normal(size=(len(y), shape[1] * shape[2], n_causes))
    maps = np.maximum(3 + cells @ mixing, 0).transpose(0, 2, 1)
    return maps.reshape(len(y), -1).astype(np.float32), y


@pytest.mark.parametrize("max_iter", [1, 10])
def test_fit_of_a_frozen_encoder_of_maps_is_not_below_the_nearest_cosine(max_iter):
    X, y = make_maps(15, 0)
    new, of_new = make_maps(25, 1)
    clf = classifier(
        nn.Unflatten(1, (200, 2, 2)), head="aligned", max_iter=max_iter, normalization=None
    ).fit(X, y)
    queries = np.arange(len(new)) % 8 > 0
    clf.set_support(new[~queries], of_new[~queries])
    right = cosine_nearest(new[~queries], of_new[~queries], new[queries]) == of_new[queries]
    assert clf.score(new[queries], of_new[queries]) > right.mean() - 0.03
