"""load_pretrained: networks are as their cards say, and take the images that users have."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import sksiamese
from sksiamese import SiameseOneShotClassifier, SiameseVerifier, load_pretrained
from sksiamese.datasets import fetch_omniglot_runs, make_glyphs
from sksiamese.exceptions import DuplicateExemplarWarning
from sksiamese.model_selection import one_shot_score, score_runs

ROOT = Path(__file__).parents[1]
WEIGHTS = Path(sksiamese.__file__).parent / "weights"
X, y = make_glyphs(n_classes=8, n_samples=5, random_state=0)
SUPPORT = np.arange(0, len(X), 5)


@pytest.fixture(scope="module")
def runs():
    return fetch_omniglot_runs()


@pytest.fixture
def pretrained():
    return load_pretrained("omniglot")


def drawn(images):
    """Where the foreground is."""
    return np.asarray(images) < 128


# The network


def test_weights_files_are_small():
    sizes = [path.stat().st_size for path in WEIGHTS.rglob("*.safetensors")]
    assert max(sizes) <= 4 * 2**20


def test_load_pretrained_has_the_accuracy_of_its_card(pretrained, runs):
    assert float(score_runs(pretrained, runs)) == 0.9925
    card = (WEIGHTS / "omniglot.md").read_text()
    assert "400 trials | 99.25 (" in card
    assert f"{sum(p.numel() for p in pretrained.network_.parameters()):,} parameters" in card


def test_load_pretrained_has_the_parameters_of_the_recipe_for_fine_tuning(pretrained):
    expected = sksiamese.recipes.omniglot(random_state=0).get_params()
    expected |= {"weights": "omniglot", "max_iter": pretrained.max_iter}
    assert pretrained.get_params() == expected
    assert clone(pretrained).get_params() == expected
    assert pretrained.max_iter < 30
    page = (ROOT / "docs" / "fine_tuning.md").read_text()
    assert f"`max_iter={pretrained.max_iter}`" in page


def test_load_pretrained_is_calibrated(pretrained):
    assert np.isfinite(pretrained.rejection_threshold_)
    assert pretrained.fitted_.calibration != (1.0, 0.0)


def test_load_pretrained_shares_nothing_between_calls(pretrained):
    other = load_pretrained("omniglot")
    pretrained.set_support(X[SUPPORT], y[SUPPORT])
    assert not hasattr(other, "support_")
    assert other.input_shape_ == (1, 105, 105)
    assert other.network_ is not pretrained.network_


def test_load_pretrained_raises_for_other_names():
    with pytest.raises(
        ValueError, match="name='imagenet' is not known; expected one of 'omniglot', 'symbols'"
    ):
        load_pretrained("imagenet")


# Before the first support


def test_load_pretrained_clones_say_what_to_call(pretrained):
    verifier = SiameseVerifier(weights="omniglot")
    for call in (clone(pretrained).predict, verifier.predict):
        with pytest.raises(NotFittedError, match=r"not fitted yet.* or use load_pretrained"):
            call(X)


def test_load_pretrained_predict_raises_without_support(pretrained):
    with pytest.raises(NotFittedError, match="no support yet. Call set_support"):
        pretrained.predict(X)


@pytest.mark.parametrize(
    "call",
    [
        lambda clf: clf.transform(X),
        lambda clf: clf.pair_proba(X, X),
        lambda clf: clf.similarity(X, X),
        lambda clf: SiameseVerifier.from_classifier(clf),
    ],
)
def test_load_pretrained_embedding_raises_before_images_are_known(pretrained, call):
    with pytest.raises(NotFittedError, match="learns the size .*set_support"):
        call(pretrained)


def test_load_pretrained_add_support_begins_a_support(pretrained):
    added = load_pretrained("omniglot").add_support(X[SUPPORT], y[SUPPORT])
    pretrained.set_support(X[SUPPORT], y[SUPPORT])
    np.testing.assert_array_equal(added.support_.embeddings, pretrained.support_.embeddings)
    np.testing.assert_array_equal(added.predict(X), pretrained.predict(X))


def test_one_shot_score_of_a_pretrained_network_needs_no_support(pretrained):
    score = one_shot_score(pretrained, 255 - X, y, n_way=5, n_episodes=10, random_state=0)
    assert float(score) > 0.9
    assert not hasattr(pretrained, "support_")


# Images of any size, range and polarity


@pytest.mark.parametrize("side", [20, 28, 64, 150])
@pytest.mark.parametrize("kind", ["light on dark", "dark on light", "grey pencil"])
def test_load_pretrained_set_support_infers_size_range_and_polarity(pretrained, side, kind):
    images = torch.nn.functional.interpolate(
        1 - torch.from_numpy(X).float()[:, None] / 255,
        (side, side),
        mode="bilinear",
        antialias=True,
    )[:, 0].numpy()
    if kind == "dark on light":
        images = (255 - 255 * images).astype(np.uint8)
    if kind == "grey pencil":
        images = 0.8 - 0.3 * images
    pretrained.set_support(images[SUPPORT], y[SUPPORT])
    assert pretrained.score(images, y) > 0.9
    assert pretrained.input_shape_ == (1, side, side)


def test_load_pretrained_set_support_accepts_oblong_images(pretrained):
    wide = np.pad(X, ((0, 0), (0, 3), (9, 20)), constant_values=255)
    pretrained.set_support(wide[SUPPORT], y[SUPPORT])
    expected = load_pretrained("omniglot").set_support(X[SUPPORT], y[SUPPORT])
    np.testing.assert_array_equal(pretrained.predict(wide), expected.predict(X))


def test_load_pretrained_set_support_may_change_the_range_of_images(pretrained):
    pretrained.set_support(X[SUPPORT], y[SUPPORT])
    before = pretrained.predict(X)
    other = 5 + (255 - X.astype(float)) / 255
    after = pretrained.set_support(other[SUPPORT], y[SUPPORT]).predict(other)
    np.testing.assert_array_equal(after, before)


def test_load_pretrained_set_support_needs_the_image_shape_of_flat_rows(pretrained):
    flat = X.reshape(len(X), -1)
    with pytest.raises(ValueError, match=r"set_params\(image_shape=\(height, width\)\)"):
        pretrained.set_support(flat[SUPPORT], y[SUPPORT])
    pretrained.set_params(image_shape=(28, 28)).set_support(flat[SUPPORT], y[SUPPORT])
    expected = load_pretrained("omniglot").set_support(X[SUPPORT], y[SUPPORT]).predict(X)
    np.testing.assert_array_equal(pretrained.predict(flat), expected)


def test_load_pretrained_set_support_raises_for_colours_and_changes_nothing(pretrained):
    pretrained.set_support(X[SUPPORT], y[SUPPORT])
    before = pretrained.predict(X)
    with pytest.raises(ValueError, match="this network was trained on images of 1 channel"):
        pretrained.set_support(np.repeat(X[:2, None], 3, axis=1), [0, 1])
    np.testing.assert_array_equal(pretrained.predict(X), before)


# Photographs of drawings


@pytest.mark.parametrize("kind", ["paper", "exposure"])
def test_load_pretrained_predict_accepts_images_in_different_light(pretrained, runs, kind):
    """Other paper, or the same in less light, is read as that of the support."""
    run = runs[0]

    def photographs(images, seed):
        light = np.random.default_rng(seed).uniform(0.75, 1, (len(images), 1, 1))
        dark = 30 * light if kind == "exposure" else 30
        return np.where(drawn(images), dark, 250 * light).astype(np.uint8)

    pretrained.set_support(photographs(run.support_images, 0), run.support_labels)
    assert pretrained.score(photographs(run.query_images, 1), run.query_labels) >= 0.95


@pytest.mark.parametrize(("paper", "stroke"), [(150, 10), (130, 10), (110, 0)])
def test_load_pretrained_predict_accepts_darker_paper(pretrained, runs, paper, stroke):
    run = runs[0]
    support = np.where(drawn(run.support_images), 55, 255).astype(np.uint8)
    pretrained.set_support(support, run.support_labels)
    queries = np.where(drawn(run.query_images), stroke, paper).astype(np.uint8)
    assert pretrained.score(queries, run.query_labels) >= 0.95


def test_load_pretrained_set_support_accepts_a_speck(pretrained, runs):
    run = runs[0]
    support, query = (
        np.where(drawn(images), 30, 120).astype(np.uint8)
        for images in (run.support_images, run.query_images)
    )
    support[0, 0, 0] = 255
    pretrained.set_support(support, run.support_labels)
    assert pretrained.score(query, run.query_labels) >= 0.95


# Training


def test_load_pretrained_fit_makes_an_ordinary_classifier(pretrained):
    pretrained.set_params(max_iter=1).fit(X, y)
    assert pretrained.input_shape_ == (1, 28, 28)
    assert pretrained.n_iter_ == 1
    assert not hasattr(pretrained, "rejection_threshold_")
    with pytest.raises(ValueError, match="Bring X to that shape"):
        pretrained.set_support(X[:2, :20, :20], [0, 1])


def test_load_pretrained_fit_without_weights_trains_from_scratch(pretrained):
    params = {"max_iter": 1, "encoder_params": {"width": 8}}
    pretrained.set_params(weights=None, **params).fit(X, y)
    recipe = sksiamese.recipes.omniglot(random_state=0).set_params(**params).fit(X, y)
    np.testing.assert_array_equal(pretrained.transform(X), recipe.transform(X))


def test_load_pretrained_warm_start_continues_from_its_weights(pretrained):
    before = pretrained.set_support(X, y).similarity(X[:20], X[20:])
    pretrained.set_params(warm_start=True, max_iter=1, learning_rate=1e-12, precision="float32")
    pretrained.fit(X, y)
    # Its logits are no longer calibrated, but nearly those of the same weights.
    slope, intercept = load_pretrained("omniglot").fitted_.calibration
    after = slope * pretrained.similarity(X[:20], X[20:]) + intercept
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.95
    assert pretrained.n_iter_ == load_pretrained("omniglot").n_iter_ + 1


# Speed


def test_load_pretrained_and_predict_import_no_compiler_of_torch():
    """sympy, which torch's meta device and compiler import, takes half a second."""
    code = """
import sys
import numpy as np
from sksiamese import load_pretrained

X = np.full((2, 40, 40), 255, dtype=np.uint8)
X[0, 10:30, 15], X[1, 20, 5:35] = 0, 0
for name in ("symbols", "omniglot"):
    assert load_pretrained(name).set_support(X, [0, 1]).predict(X).tolist() == [0, 1]
print(sorted({"sympy", "torch._dynamo"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("name", ["omniglot", "symbols"])
def test_load_pretrained_answers_alike_in_both_precisions(name, runs):
    run = runs[0]
    clf = load_pretrained(name)
    logits = {}
    for precision in ("float32", "bfloat16", "auto"):
        clf.set_params(precision=precision).set_support(run.support_images, run.support_labels)
        labels, logits[precision] = clf.predict(run.query_images, return_logits=True)
        assert labels.tolist() == clf.classes_[logits["float32"].argmax(1)].tolist()
    assert 0 < np.abs(logits["bfloat16"] - logits["float32"]).max() < 0.2
    assert any(np.array_equal(logits["auto"], logits[p]) for p in ("float32", "bfloat16"))


def test_set_params_changes_the_precision_of_a_fitted_estimator(pretrained):
    pretrained.set_params(precision="float32").set_support(X[SUPPORT], y[SUPPORT])
    embeddings = pretrained.transform(X)
    rounded = pretrained.set_params(precision="bfloat16").transform(X)
    assert rounded.dtype == embeddings.dtype == np.float32
    assert 0 < np.abs(rounded - embeddings).max() < 0.02
    np.testing.assert_array_equal(
        pretrained.set_params(precision="float32").transform(X), embeddings
    )
    with pytest.raises(ValueError, match="precision='half' is not known"):
        pretrained.set_params(precision="half").transform(X)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_add_support_finds_the_same_image_in_another_batch(pretrained, precision):
    pretrained.set_params(precision=precision).set_support(X, np.arange(len(X)))
    with pytest.warns(DuplicateExemplarWarning, match=r"X\[0\] has the label 99"):
        pretrained.add_support(X[3:4], [99])


def test_save_keeps_the_precision_and_the_answers(pretrained, tmp_path):
    pretrained.set_params(precision="bfloat16").set_support(X[SUPPORT], y[SUPPORT])
    pretrained.save(tmp_path / "clf.safetensors")
    loaded = SiameseOneShotClassifier.load(tmp_path / "clf.safetensors")
    assert loaded.precision == "bfloat16"
    for other in (loaded, pickle.loads(pickle.dumps(pretrained))):
        np.testing.assert_array_equal(other.similarity(X, X), pretrained.similarity(X, X))
