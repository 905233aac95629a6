"""Inference: embeddings depend on nothing but their sample; matrices are made in blocks."""

import copy
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from training_runs import ArrayStore, equal, identity_scaling, seen_network, weights

from sksiamese.exceptions import InvertedImageError
from sksiamese.twin import inference, reading, search
from sksiamese.twin.inference import NeuralComparer
from sksiamese.twin.network import TwinEnsemble
from sksiamese.twin.scaling import InputScaling, learn_scaling

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
KINDS = {
    "conv": ("conv", (2, 10, 13), "weighted_l1"),
    "signed": ("conv", (2, 10, 13), "signed_l1"),
    "aligned": ("conv", (1, 17, 20), "aligned"),
    "mlp": ("mlp", (7,), "weighted_l1"),
    "ensemble": ("conv", (1, 10, 13), "weighted_l1"),
}


def comparer_of(kind):
    """Return a comparer whose scaling and running statistics are not at their start."""
    encoder, shape, head = KINDS[kind]
    if kind == "ensemble":
        network = TwinEnsemble(seen_network(encoder, shape, head, seed) for seed in range(2))
        network = network.eval()
    else:
        network = seen_network(encoder, shape, head)
    return with_scaling(network, shape)


def with_scaling(network, shape):
    channels = shape if len(shape) == 1 else (shape[0], 1, 1)
    offset, scale = torch.full(channels, 100.0).double(), torch.full(channels, 200.0).double()
    size = None if len(shape) == 1 else shape[1:]
    return NeuralComparer(network, InputScaling(offset, scale, size, size))


def store_of(shape, n=11, seed=0):
    return ArrayStore(200 * np.random.default_rng(seed).random((n, *shape)))


@pytest.fixture(scope="module", params=KINDS)
def scene(request):
    """A comparer and a store of 11 samples."""
    return comparer_of(request.param), store_of(KINDS[request.param][1])


def test_embed_is_that_of_the_scaled_images(scene):
    comparer, store = scene
    scaled = ((store.samples - 100) / 200).float()
    embeddings = comparer.embed(store)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, comparer.network.embed(scaled), **CLOSE)


@pytest.mark.parametrize("batch_size", [1, 3, 11])
def test_embed_does_not_depend_on_the_batch_size(scene, batch_size, monkeypatch):
    comparer, store = scene
    whole = comparer.embed(store)
    monkeypatch.setattr(reading, "READ_BYTES", batch_size * 4 * store.samples[0].numel())
    np.testing.assert_allclose(comparer.embed(store), whole, **CLOSE)


def test_embed_does_not_depend_on_other_samples(scene):
    """Mistake 8: batch-norm uses running statistics at prediction."""
    comparer, store = scene
    others = store.samples.clone()
    others[1:] *= 1e4
    changed = comparer.embed(ArrayStore(others), check=False)
    np.testing.assert_allclose(changed[0], comparer.embed(store)[0], **CLOSE)
    assert np.abs(changed[1:] - comparer.embed(store)[1:]).max() > 0.01


@pytest.mark.parametrize("rows", [[4], [7, 0, 7, 3], range(10, -1, -2)])
def test_embed_takes_rows_in_their_order(scene, rows, monkeypatch):
    comparer, store = scene
    monkeypatch.setattr(reading, "READ_BYTES", 2 * 4 * store.samples[0].numel())
    rows = np.array(rows)
    np.testing.assert_allclose(comparer.embed(store, rows), comparer.embed(store)[rows], **CLOSE)


def test_embed_takes_every_sample_once(scene):
    comparer, _ = scene
    store = store_of(scene[1].input_shape)
    comparer.embed(store, check=False)
    np.testing.assert_array_equal(store.taken, 1)


def test_neural_comparer_changes_nothing_of_the_network(scene):
    comparer, store = scene
    before = weights(comparer.network)
    modules = [type(module) for module in comparer.network.modules()]
    embeddings = comparer.embed(store)
    comparer.logits(embeddings, embeddings)
    comparer.distances(embeddings, embeddings)
    assert equal(weights(comparer.network), before)
    assert [type(module) for module in comparer.network.modules()] == modules
    assert not comparer.network.training


def slow_logits(comparer, store):
    """Return the logits of all pairs of samples, each by the network's own forward pass."""
    scaled = comparer.scaling(store.samples)
    pairs = [[comparer.network(torch.stack([x, y]))[0, 1] for y in scaled] for x in scaled]
    return np.array(pairs)


def test_logits_pair_logits_and_distances_agree_with_the_network(scene):
    comparer, store = scene
    embeddings, expected = comparer.embed(store), slow_logits(comparer, store)
    scale = {"rtol": 1e-4, "atol": 1e-4}
    logits = comparer.logits(embeddings, embeddings[:4])
    np.testing.assert_allclose(logits, expected[:, :4], **scale)
    i, j = np.array([0, 3, 9, 2]), np.array([3, 0, 9, 10])
    pairs = comparer.pair_logits(embeddings[i], embeddings[j])
    np.testing.assert_allclose(pairs, expected[i, j], **scale)
    distances = comparer.distances(embeddings, embeddings)
    bias = comparer.network.head.bias.item()
    np.testing.assert_allclose(distances, bias - expected, **scale)
    assert {a.dtype for a in (logits, pairs, distances)} == {np.dtype(np.float32)}


def test_distances_are_zero_for_the_same_sample_and_positive_for_others():
    comparer = comparer_of("conv")
    embeddings = comparer.embed(store_of((2, 10, 13)))
    distances = comparer.distances(embeddings, embeddings)
    np.testing.assert_allclose(distances.diagonal(), 0, atol=1e-4)
    assert (distances[~np.eye(11, dtype=bool)] > 0.01).all()


@pytest.mark.parametrize("block", [1, 4, 11, 1000])
def test_logits_and_pair_logits_in_blocks_are_those_of_the_whole(scene, block, monkeypatch):
    comparer, store = scene
    embeddings = comparer.embed(store)
    matrix = comparer.logits(embeddings, embeddings[:5])
    pairs = comparer.pair_logits(embeddings, embeddings[::-1])
    monkeypatch.setattr(inference, "BLOCK_ROWS", block)
    np.testing.assert_allclose(comparer.logits(embeddings, embeddings[:5]), matrix, **CLOSE)
    np.testing.assert_allclose(comparer.pair_logits(embeddings, embeddings[::-1]), pairs, **CLOSE)


@pytest.mark.parametrize("head", ["cosine", "whitened", "aligned", "weighted_l1"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_shortlist_has_the_greatest_logits(head, n_members, monkeypatch):
    members = [seen_network("conv", (1, 17, 20), head, seed) for seed in range(n_members)]
    network = members[0] if n_members == 1 else TwinEnsemble(members)
    comparer = with_scaling(network.eval(), (1, 17, 20))
    exemplars, queries = (comparer.embed(store_of((1, 17, 20), n, n)) for n in (300, 7))
    queries[:5] = exemplars[100:105] + 0.01 * queries[:5]
    logits = comparer.logits(queries, exemplars)
    keys = comparer.keys(exemplars)
    scores, rows = comparer.shortlist(queries, keys, 20)
    assert scores.shape == rows.shape == (7, 20)
    assert all(len(set(row)) == 20 for row in rows.tolist())
    best = logits.argmax(axis=1)
    assert best[:5].tolist() == [100, 101, 102, 103, 104]
    assert (rows == best[:, None]).any(axis=1).all()
    monkeypatch.setattr(search, "BLOCK_SCORES", 7 * 30)
    in_blocks, rows = comparer.shortlist(queries, keys, 20)
    np.testing.assert_allclose(np.sort(in_blocks), np.sort(scores), **CLOSE)
    assert all(len(set(row)) == 20 for row in rows.tolist())
    assert (rows == best[:, None]).any(axis=1).all()


@pytest.mark.parametrize("head", ["cosine", "whitened"])
def test_shortlist_of_a_cosine_is_exact_and_copies_nothing(head):
    comparer = with_scaling(seen_network("mlp", (7,), head), (7,))
    rng = np.random.default_rng(0)
    exemplars = rng.normal(size=(300, comparer.n_features)).astype(np.float32)
    exemplars /= np.linalg.norm(exemplars, axis=1, keepdims=True)
    queries = exemplars[:7] + exemplars[7:14] / 2
    keys = comparer.keys(exemplars)
    assert np.shares_memory(keys.vectors.numpy(), exemplars)
    scores, rows = comparer.shortlist(queries, keys, 20)
    logits = comparer.logits(queries, exemplars)
    np.testing.assert_array_equal(np.sort(rows), np.sort(np.argsort(-logits, axis=1)[:, :20]))
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = np.take_along_axis(queries @ exemplars.T / lengths, rows, axis=1)
    np.testing.assert_allclose(scores, cosines, **CLOSE)
    shorter = comparer.keys(0.5 * exemplars)  # as means of several are
    np.testing.assert_allclose(shorter.vectors, keys.vectors, atol=4e-3)


@pytest.mark.parametrize("n_queries", [1, 7, 20])
def test_shortlist_of_a_weighted_l1_has_the_least_euclidean_distances(n_queries):
    comparer = with_scaling(seen_network("mlp", (7,), "weighted_l1"), (7,))
    rng = np.random.default_rng(0)
    exemplars = rng.normal(size=(300, comparer.n_features)).astype(np.float32)
    queries = exemplars[:n_queries] + exemplars[20 : 20 + n_queries] / 2
    keys = comparer.keys(exemplars)
    assert np.shares_memory(keys.vectors.numpy(), exemplars)
    scores, rows = comparer.shortlist(queries, keys, 20)
    squares = np.square(queries[:, None] - exemplars).sum(axis=2)
    np.testing.assert_array_equal(np.sort(rows), np.sort(np.argsort(squares, axis=1)[:, :20]))
    expected = (np.square(queries).sum(1, keepdims=True) - squares) / 2
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "heads",
    [
        ("signed_l1",),
        ("signed_l1", "signed_l1"),
        ("cosine", "signed_l1"),
        ("cosine", "weighted_l1"),
    ],
)
def test_keys_are_none_without_vectors_in_one_order(heads):
    members = [seen_network("mlp", (7,), head) for head in heads]
    network = members[0] if len(members) == 1 else TwinEnsemble(members)
    comparer = with_scaling(network.eval(), (7,))
    assert comparer.keys(comparer.embed(store_of((7,)))) is None


def test_keys_of_several_weighted_l1_are_not_rounded():
    """A product in bfloat16 is too coarse beside the lengths that are taken off."""
    members = [seen_network("conv", (1, 17, 20), "weighted_l1", seed) for seed in range(2)]
    comparer = with_scaling(TwinEnsemble(members).eval(), (1, 17, 20)).to("cpu", True)
    keys = comparer.keys(comparer.embed(store_of((1, 17, 20))))
    assert keys.vectors.dtype == keys.offsets.dtype == torch.float32


def test_pair_logits_refuses_different_numbers_of_rows():
    comparer = comparer_of("mlp")
    embeddings = comparer.embed(store_of((7,)))
    with pytest.raises((ValueError, RuntimeError)):
        comparer.pair_logits(embeddings, embeddings[:3])


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_may_be_read_only_and_memory_mapped(kind, tmp_path):
    comparer = comparer_of(kind)
    embeddings = comparer.embed(store_of(KINDS[kind][1]))
    np.save(tmp_path / "embeddings.npy", embeddings)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits = comparer.logits(mapped, mapped[:3])
        pairs = comparer.pair_logits(mapped, mapped)
        distances = comparer.distances(mapped, mapped)
    np.testing.assert_array_equal(logits, comparer.logits(embeddings, embeddings[:3]))
    np.testing.assert_array_equal(pairs, comparer.pair_logits(embeddings, embeddings))
    np.testing.assert_allclose(distances, comparer.distances(embeddings, embeddings), **CLOSE)


@pytest.mark.parametrize("device", ["cpu:0", torch.device("cpu"), torch.device("cpu", 0)])
def test_to_a_device_embeds_and_compares_alike(scene, device):
    comparer, store = scene
    other = comparer.to(device)
    assert str(other.device) == str(device)
    assert comparer.device == "cpu"
    assert other.network is comparer.network
    embeddings = comparer.embed(store)
    np.testing.assert_allclose(other.embed(store), embeddings, **CLOSE)
    np.testing.assert_allclose(
        other.logits(embeddings, embeddings), comparer.logits(embeddings, embeddings), **CLOSE
    )


@pytest.mark.parametrize("device", ["meta", torch.device("meta")])
def test_to_reaches_the_fused_copy_alone(scene, device):
    comparer, _ = scene
    assert {p.device.type for p in comparer.fused.parameters()} == {"cpu"}
    other = comparer.to(device)
    assert {p.device.type for p in other.fused.parameters()} == {"meta"}
    assert {p.device.type for p in comparer.fused.parameters()} == {"cpu"}
    assert {p.device.type for p in comparer.network.parameters()} == {"cpu"}
    assert comparer.scaling.offset.device.type == "cpu"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_to_the_same_device_is_the_same_comparer(device):
    comparer = comparer_of("mlp").to(device)
    assert comparer.to(device) is comparer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch has no CUDA device")
def test_to_cuda_embeds_and_compares_alike(scene):
    comparer, store = scene
    other = comparer.to("cuda")
    embeddings = comparer.embed(store)
    assert {p.device.type for p in other.fused.parameters()} == {"cuda"}
    np.testing.assert_allclose(other.embed(store), embeddings, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        other.logits(embeddings, embeddings[:3]),
        comparer.logits(embeddings, embeddings[:3]),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize("batch_size", [1, 3, 11])
def test_embed_in_bfloat16_does_not_depend_on_the_batch_size(batch_size, monkeypatch):
    """The same image has the same embedding, so that duplicates are found."""
    comparer, store = comparer_of("aligned").to("cpu", True), store_of(KINDS["aligned"][1])
    whole = comparer.embed(store)
    monkeypatch.setattr(reading, "READ_BYTES", batch_size * 4 * store.samples[0].numel())
    np.testing.assert_allclose(comparer.embed(store), whole, rtol=1e-5, atol=1e-6)


def test_to_bfloat16_embeds_alike_and_shares_the_network(scene):
    comparer, store = scene
    other = comparer.to("cpu", True)
    assert other.network is comparer.network
    assert comparer.to("cpu", True) is other
    assert other.to("cpu").bfloat16
    assert comparer.to("cpu") is comparer
    embeddings, expected = other.embed(store), comparer.embed(store)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected, atol=0.02 * np.abs(expected).max())
    np.testing.assert_array_equal(
        other.logits(expected, expected), comparer.logits(expected, expected)
    )
    again = pickle.loads(pickle.dumps(other))
    assert again.bfloat16
    np.testing.assert_array_equal(again.embed(store), embeddings)


def test_embed_is_in_the_precision_of_the_comparer_inside_autocast():
    comparer, store = comparer_of("conv"), store_of(KINDS["conv"][1])
    embeddings = comparer.embed(store)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(comparer.embed(store), embeddings)


def test_pickle_holds_the_network_but_not_the_fused_copy(scene):
    _, store = scene
    comparer = copy.deepcopy(scene[0])
    fresh = len(pickle.dumps(comparer))
    embeddings = comparer.embed(store)
    comparer.logits(embeddings, embeddings)
    assert isinstance(comparer.n_features, int)
    pickled = pickle.dumps(comparer)
    assert len(pickled) == fresh
    again = pickle.loads(pickled)
    assert again.device == comparer.device
    np.testing.assert_array_equal(again.embed(store), embeddings)
    np.testing.assert_array_equal(
        again.distances(embeddings, embeddings), comparer.distances(embeddings, embeddings)
    )


def test_deepcopy_shares_no_weights(scene):
    comparer, store = copy.deepcopy(scene[0]), scene[1]
    embeddings = comparer.embed(store)
    again = copy.deepcopy(comparer)
    with torch.no_grad():
        for parameter in comparer.network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(again.embed(store), embeddings)


@pytest.mark.parametrize("kind", KINDS)
def test_n_features_is_the_length_of_an_embedding(kind):
    comparer = comparer_of(kind)
    embeddings = comparer.embed(store_of(KINDS[kind][1]))
    assert comparer.n_features == embeddings[0].size


def test_n_features_is_that_of_the_working_size():
    network = seen_network("conv", (1, 24, 24), "aligned", max_cells=5)
    scaling = identity_scaling((1, 60, 40), size=(60, 40), working_size=(24, 24))
    comparer = NeuralComparer(network, scaling)
    embeddings = comparer.embed(store_of((1, 60, 40), 3), check=False)
    assert comparer.n_features == embeddings[0].size


class Doubling(nn.Module):
    """An encoder that is not one of ours."""

    def forward(self, x):
        return 2 * x.flatten(1)


def test_embed_by_an_encoder_of_another_kind():
    store = store_of((1, 4, 4))
    comparer = NeuralComparer(
        seen_network(Doubling(), (1, 4, 4)),
        identity_scaling((1, 4, 4), size=(4, 4), working_size=(4, 4)),
    )
    expected = comparer.network.head.embed(2 * store.samples.float().flatten(1))
    np.testing.assert_allclose(comparer.embed(store, check=False), expected, rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e42])
def test_embed_refuses_embeddings_that_are_not_finite(scene, value):
    comparer, store = scene
    samples = store.samples.clone()
    samples[6] = value
    with pytest.raises(ValueError, match=r"X\[6\] has an embedding with NaN or infinity"):
        comparer.embed(ArrayStore(samples), check=False)
    with pytest.raises(ValueError, match=r"X\[6\] has an embedding with NaN or infinity"):
        comparer.embed(ArrayStore(samples), np.array([3, 6, 1]), check=False)


@pytest.fixture
def cropped(glyphs):
    """A comparer that crops the foreground, and drawings of the kind that it knows."""
    images = glyphs[0][:12, None]
    scaling = InputScaling(*learn_scaling(ArrayStore(images)), (16, 16), (16, 16), "foreground")
    return NeuralComparer(seen_network("conv", (1, 16, 16)), scaling), images


def test_embed_raises_inverted_image_error_that_names_the_row(cropped):
    comparer, images = cropped
    comparer.embed(ArrayStore(images))
    images = images.copy()
    images[[5, 8]] = 255 - images[[5, 8]]
    store = ArrayStore(images)
    with pytest.raises(InvertedImageError, match=r"X\[5\] appears to have inverted polarity"):
        comparer.embed(store)
    with pytest.raises(InvertedImageError, match=r"X\[8\]"):
        comparer.embed(store, np.array([0, 8, 5]))
    assert np.isfinite(comparer.embed(store, check=False)).all()


def test_embed_does_not_check_polarity_without_crop(cropped):
    comparer, images = cropped
    scaling = InputScaling(comparer.scaling.offset, comparer.scaling.scale, (16, 16), (16, 16))
    whole = NeuralComparer(comparer.network, scaling)
    assert np.isfinite(whole.embed(ArrayStore(255 - images))).all()


# Processes

FORK = """
import multiprocessing, os, threading
import numpy as np
import torch
from joblib import Parallel, delayed
from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import make_glyphs

torch.set_num_threads(2)
X, y = make_glyphs(n_classes=6, n_samples=8, image_size=40, random_state=0)
clf = SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, y)
expected = clf.decision_function(X)

def predict(_=None):
    return clf.decision_function(X)

def predict_in_a_thread(_):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(predict()))
    thread.start()
    thread.join()
    return answers[0]

def add(_):  # another thread of the parent may be adding at the moment of the fork
    return clf.add_support(X[:1], [99]).classes_.tolist()

def fit(_):
    return SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, y).decision_function(X)

with multiprocessing.get_context("fork").Pool(2) as pool:
    for call in (predict, predict_in_a_thread):
        for answer in pool.map(call, range(2)):
            np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-3)
    assert np.isfinite(pool.map(fit, [0])[0]).all()
    assert pool.map(add, [0]) == [[0, 1, 2, 3, 4, 5, 99]]
for answer in Parallel(2, backend="multiprocessing")(delayed(predict)() for _ in range(2)):
    np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-3)
assert torch.get_num_threads() == 2
np.testing.assert_array_equal(predict(), expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_embed_works_in_a_process_forked_after_it_was_used_on_two_threads():
    """torch alone waits for ever for the threads that it had in the parent."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
