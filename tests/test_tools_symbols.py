"""tools/symbols: what the pretrained network "symbols" is trained on, and how."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils import Bunch

from sksiamese import recipes
from sksiamese.datasets import make_glyphs

FOLDER = Path(__file__).parents[1] / "tools" / "symbols"
N_CLASSES = 24


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import train

    return train


@pytest.fixture
def symbols(tool, tmp_path):
    """Two families of icons of the same names, a script, emoji, and names to choose by."""
    glyphs, of = make_glyphs(n_classes=N_CLASSES, n_samples=10, image_size=32, random_state=0)
    images = 255 - glyphs.reshape(N_CLASSES, 10, 32, 32)  # as drawn in the file, 255 on 0
    rows = [
        (image, f"{family}/{name}", style, family, -1 if ":" in family else name, split)
        for name in range(N_CLASSES)
        for first, (family, split) in enumerate(
            [
                ("one", "train"),
                ("two", "train"),
                ("script:s", "train"),
                ("emoji", "train"),
                ("three", "choose"),
            ]
        )
        for style, image in enumerate(images[name, 2 * first : 2 * first + 2])
    ]
    images, classes, styles, families, concepts, splits = map(np.array, zip(*rows, strict=True))
    class_names, cls = np.unique(classes, return_inverse=True)
    group_names, group = np.unique(families, return_inverse=True)
    path = tmp_path / "symbols.npz"
    np.savez(
        path,
        images=images.astype(np.uint8),
        cls=cls,
        class_names=class_names,
        group=group,
        group_names=group_names,
        style=styles,
        concept=concepts,
        concept_names=np.arange(N_CLASSES).astype(str),
        split=splits,
    )
    return tool.Symbols(path)


@pytest.fixture
def drawings(tool):
    images, target = make_glyphs(n_classes=8, n_samples=4, image_size=32, random_state=1)
    alphabets = np.where(target < 4, "A", "B")
    found = Bunch(images=images, target=target.astype(str), alphabets=alphabets)
    return found, tool.cropped(images, 255.0, 0.0)


def test_symbols_hold_training_families_without_emoji(symbols):
    assert set(symbols.family) == {"one", "two", "script:s"}
    assert symbols.images.shape == (3 * 2 * N_CLASSES, 40, 40)
    assert symbols.images.max() > 200
    assert np.median(symbols.images[:, 0]) < 20, "the border is background, 0"


def test_symbols_concepts_take_two_drawings_of_each_family(symbols):
    rows, classes, _ = symbols.concepts()
    assert len(np.unique(classes)) == N_CLASSES
    for name in np.unique(classes):
        families, counts = np.unique(symbols.family[rows[classes == name]], return_counts=True)
        assert list(families) == ["one", "two"]
        assert counts.max() <= 2


def test_union_keeps_groups_of_each_source_apart(tool, symbols, drawings):
    X, classes, groups = tool.union(symbols, *drawings)
    n_omniglot = tool.OMNIGLOT_TIMES * len(drawings[1])
    n_concepts = 2 * 2 * N_CLASSES
    assert len(X) == len(classes) == len(groups) == len(symbols.images) + n_concepts + n_omniglot
    of_class = {c: set(groups[classes == c]) for c in np.unique(classes)}
    assert all(len(own) == 1 for own in of_class.values())
    # Two families, the script, what both families draw, and two alphabets several times.
    assert len(np.unique(groups)) == 2 + 1 + 1 + 2 * tool.OMNIGLOT_TIMES


def test_part_of_makes_parts_of_neighbouring_names(tool):
    names = np.array([f"{n:03}" for n in range(100)]).repeat(2)
    parts = tool.part_of(names, 25)
    assert list(np.bincount(parts)) == [50] * 4
    assert (np.diff(parts) >= 0).all()


def test_half_applies_each_augmentation_to_about_half(tool):
    half = tool.Half(lambda x, generator: x + 1, lambda x, generator: x - 1)
    changed = half(torch.zeros(400, 1, 2, 2), torch.Generator().manual_seed(0))
    assert set(changed.unique().tolist()) == {-1.0, 1.0}
    assert 150 < (changed[:, 0, 0, 0] > 0).sum() < 250


def test_network_is_a_part_of_the_way_to_the_mean_of_several(tool, symbols, drawings):
    found, _ = drawings
    clf = recipes.omniglot(max_iter=1, random_state=0).set_params(encoder_params={"width": 8})
    old = clf.fit(found.images, found.target, groups=found.alphabets).network_
    args = Namespace(augmentation="half", n_images=160, learning_rate=2e-3)
    data = tool.union(symbols, *drawings)
    trained = [tool.fine_tuned(old, data, args, seed) for seed in (0, 1)]
    states = [network.state_dict() for network in trained]
    between = tool.between(old, trained, 0.25)
    moved = False
    for name, weight in old.named_parameters():
        after = (states[0][name] + states[1][name]) / 2
        moved |= not torch.equal(weight, after)
        assert torch.allclose(between.state_dict()[name], torch.lerp(weight, after, 0.25))
    assert moved


def test_network_of_gradients_is_whitened_by_all_kinds(tool, symbols, drawings):
    found, images = drawings
    network = tool.gradients_network(tool.kinds_of(symbols, *drawings), 4.0)
    embeddings = network.embed(torch.from_numpy(images).float()[:, None] / 255)
    assert embeddings.shape == (len(images), tool.N_COMPONENTS)
    cosines = embeddings @ embeddings.T
    assert network.head.logits(embeddings, embeddings) == pytest.approx(4 * cosines, abs=1e-4)
    same = torch.from_numpy(found.target[:, None] == found.target)
    assert cosines[same].mean() > cosines[~same].mean() + 0.1
