"""Images of one's own, from a folder for each class."""

import numpy as np
import pytest
from PIL import Image

from sksiamese.datasets import load_image_folder
from sksiamese.datasets.folder import UnreadableImageWarning


def write(path, pixels, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **save)
    return path


def gray(value, shape=(6, 8)):
    return np.full(shape, value, np.uint8)


def test_a_folder_a_class(tmp_path):
    for name in ("b", "a"):
        for i in (1, 0):
            write(tmp_path / name / f"{i}.png", gray(10 * i + (name == "b")))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    data = load_image_folder(tmp_path)
    assert data.target.tolist() == ["a", "a", "b", "b"]
    assert data.groups is None
    assert data.images.dtype == np.uint8
    assert data.images[:, 0, 0].tolist() == [0, 10, 1, 11]
    assert data.images.shape == (4, 6, 8)
    assert data.filenames[1] == str(tmp_path / "a" / "1.png")


def test_a_second_level_is_groups(tmp_path):
    for group in "xy":
        for name in "ab":
            write(tmp_path / group / name / "0.png", gray(1))
    data = load_image_folder(tmp_path)
    assert data.target.tolist() == ["x/a", "x/b", "y/a", "y/b"]
    assert data.groups.tolist() == ["x", "x", "y", "y"]


def test_images_are_brought_to_one_shape_and_padded_with_their_ground(tmp_path):
    image = gray(200, (20, 10))
    image[5:15, 3:7] = 0
    write(tmp_path / "a" / "0.png", image)
    write(tmp_path / "a" / "1.png", gray(50, (7, 7)))
    with pytest.raises(ValueError, match=r"has 7x7 pixels, and those before it 20x10: say what"):
        load_image_folder(tmp_path)
    data = load_image_folder(tmp_path, (10, 10))
    assert data.images.shape == (2, 10, 10)
    assert data.images[0, 5, 0] == 200  # the padding
    assert data.images[0, 5, 4] < 20
    assert (data.images[1] == 50).all()


def test_colour_and_transparency(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (255, 0, 0, 255)
    write(tmp_path / "a" / "0.png", pixels)
    data = load_image_folder(tmp_path, color=True)
    assert data.images.shape == (1, 4, 4, 3)
    assert data.images[0, 0, 0].tolist() == [255, 0, 0]
    assert data.images[0, 3, 3].tolist() == [255, 255, 255]
    assert load_image_folder(tmp_path).images[0, 3, 3] == 255


def test_more_digits_than_a_byte_has(tmp_path):
    write(tmp_path / "a" / "0.png", np.full((4, 4), 65535, np.uint16))
    write(tmp_path / "a" / "1.png", np.full((4, 4), 32768, np.uint16))
    assert load_image_folder(tmp_path).images[:, 0, 0].tolist() == [255, 128]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((4, 4), 65535, np.int32), 255),
        (np.full((4, 4), 1000, np.int32), 4),
        (np.full((4, 4), 0.5, np.float32), 128),
        (np.full((4, 4), 200, np.float32), 200),
        (np.zeros((4, 4), np.float32), 0),
    ],
)
def test_the_range_of_a_deep_image_is_the_least_that_holds_it(tmp_path, values, expected):
    write(tmp_path / "a" / "0.tiff", values)
    assert load_image_folder(tmp_path).images[0, 0, 0] == expected


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(-1, np.float32), (np.nan, np.float32), (np.inf, np.float32), (70000, np.int32)],
)
def test_deep_images_of_no_known_range_are_damage(tmp_path, value, dtype):
    write(tmp_path / "a" / "0.tiff", np.full((4, 4), value, dtype))
    with pytest.raises(OSError, match=f"0.tiff .values from {value:g} to {value:g}"):
        load_image_folder(tmp_path)


def test_ink_is_inverted_where_the_ground_is_light(tmp_path):
    dark, light = gray(0), gray(255)
    dark[2:4, 3:5], light[2:4, 3:5] = 255, 0
    write(tmp_path / "a" / "0.png", dark)
    write(tmp_path / "a" / "1.png", light)
    images = load_image_folder(tmp_path, invert="auto").images
    np.testing.assert_array_equal(images, [dark, dark])
    for invert in True, np.True_:
        turned = load_image_folder(tmp_path, invert=invert).images
        np.testing.assert_array_equal(turned, [light, dark])


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    write(tmp_path / "a" / "0.jpg", gray(9, (4, 8)), exif=exif)
    assert load_image_folder(tmp_path).images.shape == (1, 8, 4)


def test_files_that_cannot_be_read_are_named(tmp_path):
    good = write(tmp_path / "a" / "0.png", gray(3))
    (tmp_path / "a" / "1.png").write_bytes(good.read_bytes()[:40])
    (tmp_path / "a" / "2.png").write_bytes(b"")
    write(tmp_path / "b" / "0.png", gray(4))
    with pytest.raises(OSError, match=r"2 of 4 files cannot be read: .*1\.png.*2\.png"):
        load_image_folder(tmp_path)
    with pytest.warns(UnreadableImageWarning, match="2 of 4 files") as caught:
        data = load_image_folder(tmp_path, on_error="skip")
    assert len(caught) == 1
    assert data.target.tolist() == ["a", "b"]
    assert data.images[:, 0, 0].tolist() == [3, 4]
    assert len(data.filenames) == 2


def test_nothing_but_damage_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    with pytest.raises(OSError, match="1 of 1 files"):
        load_image_folder(tmp_path, on_error="skip")


def test_images_that_do_not_fit_in_memory_are_mapped(tmp_path):
    write(tmp_path / "images" / "a" / "0.png", gray(3))
    data = load_image_folder(tmp_path / "images", memmap=tmp_path / "images.npy")
    assert isinstance(data.images, np.memmap)
    data.images.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), data.images)


def test_a_map_has_the_images_kept_and_no_others(tmp_path):
    for name, value in ("0", 3), ("2", 5):
        write(tmp_path / "images" / "a" / f"{name}.png", gray(value))
    (tmp_path / "images" / "a" / "1.png").write_bytes(b"no image")
    path = tmp_path / "images.npy"
    with pytest.warns(UnreadableImageWarning):
        data = load_image_folder(tmp_path / "images", memmap=path, on_error="skip")
    assert np.load(path)[:, 0, 0].tolist() == data.images[:, 0, 0].tolist() == [3, 5]
    with pytest.raises(OSError, match="1 of 3 files"):
        load_image_folder(tmp_path / "images", memmap=path)
    assert np.load(path).shape == (2, 6, 8)  # the file that was there
    assert sorted(file.name for file in tmp_path.iterdir()) == ["images", "images.npy"]


@pytest.mark.parametrize("stray", ["0.png", "a/0.png", "x/0.png", "x/c/d/0.png"])
def test_images_that_would_be_left_out_are_an_error(tmp_path, stray):
    for place in ("x/a/0.png", "x/b/0.png", "y/a/0.png"):
        write(tmp_path / place, gray(1))
    write(tmp_path / stray, gray(1))
    with pytest.raises(ValueError, match="expected path/class/image or, everywhere, path/group"):
        load_image_folder(tmp_path)


def test_a_group_without_classes_is_an_error(tmp_path):
    write(tmp_path / "x" / "a" / "0.png", gray(1))
    (tmp_path / "y").mkdir()
    with pytest.raises(ValueError, match="y has no folders, or images beside them, where"):
        load_image_folder(tmp_path)


def test_what_is_hidden_does_not_count(tmp_path):
    write(tmp_path / "a" / "0.png", gray(1))
    (tmp_path / "a" / "._0.png").write_bytes(b"of macOS")
    write(tmp_path / "__MACOSX" / "a" / "0.png", gray(1))
    assert load_image_folder(tmp_path).target.tolist() == ["a"]


@pytest.mark.parametrize("memmap", ["", ".", "no/such/folder/images.npy"])
def test_a_map_is_a_file_in_a_folder_there_is(tmp_path, memmap):
    write(tmp_path / "a" / "0.png", gray(1))
    with pytest.raises(OSError, match="memmap=.*; expected the path of a file in a folder there"):
        load_image_folder(tmp_path, memmap=memmap)
    with pytest.raises(TypeError, match="memmap=True; expected the path of an .npy file"):
        load_image_folder(tmp_path, memmap=True)


@pytest.mark.parametrize("path", [None, 5, ["parts"]])
def test_a_path_is_a_path(path):
    with pytest.raises(TypeError, match="path=.*; expected the path of a folder"):
        load_image_folder(path)


def test_what_is_no_image_folder_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        load_image_folder(tmp_path / "nothing")
    with pytest.raises(NotADirectoryError, match="is no folder"):
        load_image_folder(write(tmp_path / "file.png", gray(0)))
    with pytest.raises(ValueError, match="has no folders; expected one for each class"):
        load_image_folder(tmp_path)
    (tmp_path / "file.png").unlink()
    write(tmp_path / "a" / "0.png", gray(0))
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="b has no images; expected path/class/image"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_error": "ignore"},
        {"invert": "maybe"},
        {"invert": 1},
        {"image_shape": 8},
        {"image_shape": (8, 0)},
        {"image_shape": (True, True)},
    ],
)
def test_arguments_are_checked(tmp_path, wrong):
    write(tmp_path / "a" / "0.png", gray(0))
    with pytest.raises(ValueError, match=next(iter(wrong))):
        load_image_folder(tmp_path, **wrong)
