"""ImageArray: shared by clones, and pickled by the place of its file."""

import pickle

import joblib
import numpy as np
import pytest
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


def test_a_file_that_has_become_another_is_noticed(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 8, 8), dtype=np.uint8))
    data = pickle.dumps(ImageArray(path))
    np.save(path, np.zeros((3, 8, 8)))
    with pytest.raises(ValueError, match=r"float64 of shape \(3, 8, 8\), and had uint8"):
        pickle.loads(data)
    np.save(path, np.zeros((4, 8, 8), dtype=np.uint8))
    data = pickle.dumps(ImageArray(np.load(path, mmap_mode="r")[1:]))
    np.save(path, np.ones((9, 8, 8), dtype=np.float32))
    with pytest.raises(ValueError, match=r"float32 of shape \(9, 8, 8\), and had uint8"):
        pickle.loads(data)


def test_a_path_is_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", np.ones((4, 8, 8)))
    data = [pickle.dumps(ImageArray(images)) for images in
            ("images.npy", np.load("images.npy", mmap_mode="r"))]  # fmt: skip
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert all(pickle.loads(each)[:].all() for each in data)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "part",
    [
        lambda images: images,
        lambda images: images[3:30],
        lambda images: images[5:][::-2, :, 2:9],
        np.asarray,
        lambda images: images.reshape(40, -1, order="A")[7:],
    ],
)
def test_what_is_mapped_already_is_pickled_as_its_place(tmp_path, order, part):
    images = np.arange(40 * 64, dtype=np.uint16).reshape(40, 8, 8)
    np.save(tmp_path / "images.npy", np.asarray(images, order=order))
    mapped = part(np.load(tmp_path / "images.npy", mmap_mode="r"))
    opened = ImageArray(mapped)
    for _ in range(2):
        data = pickle.dumps(opened)
        assert len(data) < 1000
        opened = pickle.loads(data)
        np.testing.assert_array_equal(opened[:], mapped)


def test_files_of_that_name_that_are_none_are_pickled_whole(tmp_path):
    images = np.arange(20 * 16, dtype=np.uint16).reshape(20, 4, 4)
    images.tofile(tmp_path / "raw.npy")
    np.save(tmp_path / "part.npy", images)
    raw = np.memmap(tmp_path / "raw.npy", np.uint16, "r", shape=(20, 4, 4))
    part = np.memmap(tmp_path / "part.npy", np.uint16, "r", offset=128, shape=(10, 4, 4))
    for mapped in (raw, part):
        again = pickle.loads(pickle.dumps(ImageArray(mapped)))
        np.testing.assert_array_equal(again[:], mapped)


def test_changes_that_no_file_has_are_pickled(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((2, 4, 4)))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="c")
    mapped[0] = 1
    for images in (mapped, np.load(tmp_path / "images.npy", mmap_mode="r") + 1):
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(ImageArray(images)))[:], images)


def test_images_in_memory_are_pickled_whole():
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ImageArray(images)))[:], images)


def made(images):
    return ImageArray(images[:2])


def test_one_that_a_worker_makes_of_what_joblib_mapped_outlives_the_worker():
    images = np.ones((4, 8, 8), dtype=np.uint8)
    (back,) = joblib.Parallel(n_jobs=2, max_nbytes=100)([joblib.delayed(made)(images)])
    assert pickle.loads(pickle.dumps(back))[:].sum() == 2 * 64


def test_workers_get_them(tmp_path):
    images = np.ones((4, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    opened = ImageArray(tmp_path / "images.npy")
    # Those in memory get to workers by way of a file that joblib then removes.
    held = ImageArray(images)
    with joblib.Parallel(n_jobs=2, max_nbytes=100) as parallel:
        sums = parallel(joblib.delayed(total)(opened, i) for i in range(4))
        back = parallel(joblib.delayed(same)(held) for _ in range(2))
    assert sums == [64] * 4
    assert [pickle.loads(pickle.dumps(one))[:].sum() for one in back] == [4 * 64] * 2


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([[1, 2], [3, 4]], TypeError, "images is a list; expected an array .* or the path of an"),
        (None, TypeError, "images is a NoneType"),
        (np.float64(3), TypeError, r"images is of shape \(\); expected an array"),
        ("missing.npy", FileNotFoundError, "images='missing.npy' is no file; expected the path"),
        (".", FileNotFoundError, "images='.' is no file"),
        ("x.npz", ValueError, r"images='x.npz' cannot be mapped .* pass one array, np.load\(path"),
        ("objects.npy", ValueError, "images='objects.npy' .*Python objects"),
        ("number.npy", TypeError, r"images is of shape \(\)"),
    ],
)
def test_what_is_no_images_is_said(images, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", np.zeros((2, 2)))
    np.save("objects.npy", np.array([[None]]), allow_pickle=True)
    np.save("number.npy", 5)
    with pytest.raises(error, match=message):
        ImageArray(images)


def total(images, i):
    return int(images[i].sum())


def same(images):
    return images
