"""Tests of ImageArray: clones share the images, and pickles refer to their file."""

import mmap
import os
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.datasets import ImageArray


def test_image_array_is_shared_by_clones():
    images = ImageArray(np.zeros((4, 8, 8), dtype=np.uint8))
    verifier = SiameseVerifier(preprocessor=images)
    assert clone(verifier).preprocessor is images


def test_image_array_describes_its_images():
    images = ImageArray(np.zeros((4, 8, 8), dtype=np.uint8))
    assert (len(images), images.shape, images.dtype) == (4, (4, 8, 8), np.uint8)
    assert images.path is None
    assert repr(images) == "ImageArray(4 images of shape (8, 8))"


def test_image_array_of_a_path_is_pickled_as_the_path(tmp_path):
    images = np.arange(4 * 64 * 64, dtype=np.uint8).reshape(4, 64, 64)
    np.save(tmp_path / "images.npy", images)
    opened = ImageArray(tmp_path / "images.npy")
    assert isinstance(opened.images, np.memmap)
    assert opened.path == str(tmp_path / "images.npy")
    data = pickle.dumps(opened)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data)[:], images)
    np.testing.assert_array_equal(opened[[2, 0]], images[[2, 0]])


def test_image_array_refuses_to_unpickle_when_the_file_has_changed(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 8, 8), dtype=np.uint8))
    data = pickle.dumps(ImageArray(path))
    np.save(path, np.zeros((3, 8, 8)))
    with pytest.raises(
        ValueError, match=r"float64 values of shape \(3, 8, 8\), but contained uin"
    ):
        pickle.loads(data)
    np.save(path, np.zeros((4, 8, 8), dtype=np.uint8))
    data = pickle.dumps(ImageArray(np.load(path, mmap_mode="r")[1:]))
    np.save(path, np.ones((9, 8, 8), dtype=np.float32))
    with pytest.raises(
        ValueError, match=r"float32 values of shape \(9, 8, 8\), but contained uin"
    ):
        pickle.loads(data)


@pytest.mark.parametrize("source", ["path", "memory map", "view"])
def test_image_array_refuses_to_unpickle_when_the_content_has_changed(tmp_path, source):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 8, 8), dtype=np.uint8))
    os.utime(path, ns=(10**18, 10**18))
    mapped = np.load(path, mmap_mode="r")
    data = pickle.dumps(
        ImageArray({"path": path, "memory map": mapped, "view": mapped[1:]}[source])
    )
    np.testing.assert_array_equal(pickle.loads(data)[0], 0)
    np.save(path, np.ones((4, 8, 8), dtype=np.uint8))  # of the same size
    with pytest.raises(ValueError, match="images=.* has been changed since .* was pickled. Resto"):
        pickle.loads(data)


def test_image_array_of_a_writable_memory_map_pickles_what_was_written(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((4, 8, 8), dtype=np.uint8))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r+")
    images = ImageArray(mapped)
    mapped[2] = 7
    assert (pickle.loads(pickle.dumps(images))[2] == 7).all()


@pytest.mark.parametrize("source", ["path", "memory map", "view"])
@pytest.mark.parametrize("use", [lambda images: images[:], lambda images: images.images])
def test_image_array_notices_a_file_that_was_truncated(tmp_path, source, use):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((40, 80, 80), dtype=np.uint8))
    mapped = np.load(path, mmap_mode="r")
    images = ImageArray({"path": path, "memory map": mapped, "view": mapped[1:]}[source])
    os.truncate(path, 5000)
    with pytest.raises(OSError, match="images.npy has been truncated to 5000 bytes since"):
        use(images)
    assert images.shape[1:] == (80, 80)  # known without the file


def test_image_array_notices_a_file_that_was_changed_in_its_place(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 8, 8), dtype=np.uint8))
    os.utime(path, ns=(10**18, 10**18))
    images = ImageArray(path)
    assert (images[:] == 0).all()
    with open(path, "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"other")
    with pytest.raises(OSError, match="has been changed since it was opened. Make a new ImageArr"):
        images[:]
    assert ImageArray(path)[-1].any()


def test_image_array_keeps_a_file_that_was_replaced_or_deleted(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 8, 8), dtype=np.uint8))
    images = ImageArray(path)
    np.save(tmp_path / "new.npy", np.ones((4, 8, 8), dtype=np.uint8))
    os.replace(tmp_path / "new.npy", path)
    assert (images[:] == 0).all()
    path.unlink()
    assert (images[:] == 0).all()


def test_estimators_notice_a_memory_map_that_was_truncated(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).random((40, 50, 50)))
    images = np.load(path, mmap_mode="r")
    os.truncate(path, 5000)
    for X in images, images[:20]:
        with pytest.raises(OSError, match="images.npy has been truncated to 5000 bytes since"):
            SiameseOneShotClassifier(max_iter=1).fit(X, np.arange(len(X)) % 10)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (lambda rows, buffer: rows, "the file .*rows.npy"),
        (lambda rows, buffer: list(rows), "the file .*rows.npy"),
        (lambda rows, buffer: np.frombuffer(buffer, np.float32).reshape(-1, 64), "a file"),
        (lambda rows, buffer: np.ndarray((40, 64), np.float32, buffer)[::2], "a file"),
    ],
    ids=["rows", "list", "frombuffer", "ndarray"],
)
def test_estimators_notice_flat_rows_of_a_file_that_was_truncated(tmp_path, form, name):
    path = tmp_path / "rows.npy"
    rows = np.memmap(path, np.float32, "w+", shape=(160, 64))
    with open(path, "r+b") as file:
        X = form(rows, mmap.mmap(file.fileno(), 0))
    os.truncate(path, 5000)
    with pytest.raises(OSError, match=f"{name} has been truncated to 5000 bytes since"):
        SiameseOneShotClassifier("mlp", max_iter=1).fit(X, np.arange(len(X)) % 10)


def test_estimators_take_arrays_that_map_no_file(tmp_path):
    X = np.frombuffer(mmap.mmap(-1, 4 * 64 * 8), np.float64).reshape(4, 64)
    X[:] = np.random.default_rng(0).random(X.shape)
    clf = SiameseOneShotClassifier("mlp", max_iter=1, batch_size=(1, 2, 2)).fit(X, [0, 0, 1, 1])
    assert clf.predict(X).shape == (4,)


@pytest.mark.parametrize("name", ["y", "groups"])
def test_estimators_notice_labels_in_a_memory_map_that_was_truncated(tmp_path, name):
    path = tmp_path / "labels.npy"
    np.save(path, np.arange(5000) % 10)
    given = {"y": np.arange(5000) % 10, name: np.load(path, mmap_mode="r")}
    os.truncate(path, 0)
    with pytest.raises(OSError, match="labels.npy has been truncated to 0 bytes since"):
        SiameseOneShotClassifier(max_iter=1).fit(np.zeros((5000, 4)), **given)


@pytest.mark.skipif(os.name == "nt", reason="needs pipes")
def test_image_array_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "images.npy")
    with pytest.raises(FileNotFoundError, match="is not an existing file"):
        ImageArray(tmp_path / "images.npy")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 8, 8)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 8, 8)}",
        b"{'descr': 'zz', 'fortran_order': False, 'shape': (4, 8, 8)}",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 8, 8)}",
        b"{'descr': '|u1'}",
        b"(" * 9000,
        b"\xff\xff",
        b"",
    ],
)
@pytest.mark.parametrize("version", [b"\1\0", b"\2\0", b"\3\0", b"\7\0"])
def test_image_array_refuses_a_damaged_header(tmp_path, header, version):
    size = len(header).to_bytes(2 if version == b"\1\0" else 4, "little")
    path = tmp_path / "images.npy"
    path.write_bytes(b"\x93NUMPY" + version + size + header + bytes(256))
    with pytest.raises(ValueError, match="images=.* cannot be memory-mapped"):
        ImageArray(path)


def test_image_array_unpickles_in_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", np.ones((4, 8, 8)))
    sources = "images.npy", np.load("images.npy", mmap_mode="r")
    data = [pickle.dumps(ImageArray(images)) for images in sources]
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert all(pickle.loads(each)[:].all() for each in data)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "view",
    [
        lambda images: images,
        lambda images: images[3:30],
        lambda images: images[5:][::-2, :, 2:9],
        np.asarray,
        lambda images: images.reshape(40, -1, order="A")[7:],
    ],
)
def test_image_array_of_a_memory_map_is_pickled_as_a_view_of_the_file(tmp_path, order, view):
    images = np.arange(40 * 64, dtype=np.uint16).reshape(40, 8, 8)
    np.save(tmp_path / "images.npy", np.asarray(images, order=order))
    mapped = view(np.load(tmp_path / "images.npy", mmap_mode="r"))
    opened = ImageArray(mapped)
    for _ in range(2):
        data = pickle.dumps(opened)
        assert len(data) < 1000
        opened = pickle.loads(data)
        np.testing.assert_array_equal(opened[:], mapped)


def test_image_array_of_a_raw_memory_map_is_pickled_with_its_images(tmp_path):
    images = np.arange(20 * 16, dtype=np.uint16).reshape(20, 4, 4)
    images.tofile(tmp_path / "raw.npy")  # the name of an .npy file, but no header
    np.save(tmp_path / "cut.npy", images)
    raw = np.memmap(tmp_path / "raw.npy", np.uint16, "r", shape=(20, 4, 4))
    cut = np.memmap(tmp_path / "cut.npy", np.uint16, "r", offset=128, shape=(10, 4, 4))
    for mapped in (raw, cut):
        again = pickle.loads(pickle.dumps(ImageArray(mapped)))
        np.testing.assert_array_equal(again[:], mapped)


def test_image_array_pickles_changes_that_the_file_does_not_have(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((2, 4, 4)))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="c")
    mapped[0] = 1
    for images in (mapped, np.load(tmp_path / "images.npy", mmap_mode="r") + 1):
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(ImageArray(images)))[:], images)


def test_image_array_in_memory_is_pickled_with_its_images():
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ImageArray(images)))[:], images)


def wrap_two(images):
    return ImageArray(images[:2])


def test_image_array_made_in_a_joblib_worker_outlives_the_worker():
    images = np.ones((4, 8, 8), dtype=np.uint8)
    (back,) = joblib.Parallel(n_jobs=2, max_nbytes=100)([joblib.delayed(wrap_two)(images)])
    assert pickle.loads(pickle.dumps(back))[:].sum() == 2 * 64


def sum_one(images, i):
    return int(images[i].sum())


def identity(images):
    return images


def test_image_array_is_passed_to_joblib_workers_and_back(tmp_path):
    images = np.ones((4, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    in_file = ImageArray(tmp_path / "images.npy")
    in_memory = ImageArray(images)  # joblib writes it to a temporary file
    with joblib.Parallel(n_jobs=2, max_nbytes=100) as parallel:
        sums = parallel(joblib.delayed(sum_one)(in_file, i) for i in range(4))
        back = parallel(joblib.delayed(identity)(in_memory) for _ in range(2))
    assert sums == [64] * 4
    assert [pickle.loads(pickle.dumps(one))[:].sum() for one in back] == [4 * 64] * 2


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([[1, 2], [3, 4]], TypeError, "images is a list; expected an array .* or the path of an"),
        (None, TypeError, "images is a NoneType"),
        (np.float64(3), TypeError, r"images is of shape \(\); expected an array"),
        ("missing.npy", FileNotFoundError, "images='missing.npy' is not an existing file"),
        (".", FileNotFoundError, "images='.' is not an existing file; expected the path"),
        ("x.npz", ValueError, r"images='x.npz' cannot be memory-mapped .* np.load\(path\)\[name"),
        ("objects.npy", ValueError, "images='objects.npy' .*Python objects"),
        ("a\0b", ValueError, r"images='a\\x00b' has a null character"),
        ("number.npy", TypeError, r"images is of shape \(\)"),
    ],
)
def test_image_array_refuses_what_is_not_images(images, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", np.zeros((2, 2)))
    np.save("objects.npy", np.array([[None]]), allow_pickle=True)
    np.save("number.npy", 5)
    with pytest.raises(error, match=message):
        ImageArray(images)
