"""ImageArray: shared by clones, and pickled by its path."""

import pickle

import joblib
import numpy as np
from sklearn.base import clone

from sksiamese import SiameseVerifier
from sksiamese.datasets import ImageArray


def test_clones_share_the_images():
    images = ImageArray(np.zeros((4, 8, 8), dtype=np.uint8))
    verifier = SiameseVerifier(preprocessor=images)
    assert clone(verifier).preprocessor is images
    assert (len(images), images.shape, images.dtype) == (4, (4, 8, 8), np.uint8)
    assert repr(images) == "ImageArray(4 of shape (8, 8))"


def test_a_file_is_pickled_as_its_path(tmp_path):
    images = np.arange(4 * 64 * 64, dtype=np.uint8).reshape(4, 64, 64)
    np.save(tmp_path / "images.npy", images)
    opened = ImageArray(tmp_path / "images.npy")
    assert isinstance(opened.images, np.memmap)
    data = pickle.dumps(opened)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data)[:], images)
    np.testing.assert_array_equal(opened[[2, 0]], images[[2, 0]])


def test_images_in_memory_are_pickled_whole():
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ImageArray(images)))[:], images)


def test_workers_get_them(tmp_path):
    images = np.ones((4, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    opened = ImageArray(tmp_path / "images.npy")
    sums = joblib.Parallel(n_jobs=2)(joblib.delayed(total)(opened, i) for i in range(4))
    assert sums == [64] * 4


def total(images, i):
    return int(images[i].sum())
