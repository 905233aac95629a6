"""Tests of load_image_folder, load_images and image_files."""

import numpy as np
import pytest
from PIL import Image

from sksiamese.datasets import load_image_folder, load_images
from sksiamese.datasets.folder import image_files
from sksiamese.exceptions import UnreadableImageWarning


def write(path, pixels, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **save)
    return path


def gray(value, shape=(6, 8)):
    return np.full(shape, value, np.uint8)


@pytest.fixture
def one_file(tmp_path):
    """A folder path/class/image with one image."""
    write(tmp_path / "a" / "0.png", gray(1))
    return tmp_path


# load_image_folder: which files, labels and groups


def test_load_image_folder_reads_one_class_per_folder(tmp_path):
    for name in ("b", "a"):
        for i in (1, 0):
            write(tmp_path / name / f"{i}.png", gray(10 * i + (name == "b")))
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    data = load_image_folder(tmp_path)
    assert data.target.tolist() == ["a", "a", "b", "b"]
    assert data.groups is None
    assert data.images.dtype == np.uint8
    assert data.images[:, 0, 0].tolist() == [0, 10, 1, 11]
    assert data.images.shape == (4, 6, 8)
    assert data.filenames[1] == str(tmp_path / "a" / "1.png")


def test_load_image_folder_reads_groups_from_two_levels(tmp_path):
    for group in "xy":
        for name in "ab":
            write(tmp_path / group / name / "0.png", gray(1))
    data = load_image_folder(tmp_path)
    assert data.target.tolist() == ["x/a", "x/b", "y/a", "y/b"]
    assert data.groups.tolist() == ["x", "x", "y", "y"]


def test_load_image_folder_ignores_hidden_files(one_file):
    (one_file / "a" / "._0.png").write_bytes(b"written by macOS")
    write(one_file / "__MACOSX" / "a" / "0.png", gray(1))
    assert load_image_folder(one_file).target.tolist() == ["a"]


@pytest.mark.parametrize("stray", ["0.png", "a/0.png", "x/0.png", "x/c/d/0.png"])
def test_load_image_folder_refuses_images_at_an_unexpected_level(tmp_path, stray):
    for place in ("x/a/0.png", "x/b/0.png", "y/a/0.png"):
        write(tmp_path / place, gray(1))
    write(tmp_path / stray, gray(1))
    with pytest.raises(ValueError, match="expected files path/class/image, or path/group/class/i"):
        load_image_folder(tmp_path)


def test_load_image_folder_refuses_a_group_without_classes(tmp_path):
    write(tmp_path / "x" / "a" / "0.png", gray(1))
    (tmp_path / "y").mkdir()
    with pytest.raises(ValueError, match="y must contain only folders"):
        load_image_folder(tmp_path)


def test_load_image_folder_refuses_a_class_without_images(one_file):
    (one_file / "b").mkdir()
    with pytest.raises(ValueError, match="b contains no images; expected files path/class/image"):
        load_image_folder(one_file)


def test_load_image_folder_refuses_a_folder_without_folders(tmp_path):
    write(tmp_path / "0.png", gray(0))
    with pytest.raises(ValueError, match="contains no folders; expected one folder of images per"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("path", [None, 5, ["parts"]])
def test_load_image_folder_refuses_a_path_of_another_type(path):
    with pytest.raises(TypeError, match="path=.*; expected the path of a folder"):
        load_image_folder(path)


def test_load_image_folder_refuses_what_is_not_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="path='.*nothing' does not exist; expected a fol"):
        load_image_folder(tmp_path / "nothing")
    with pytest.raises(NotADirectoryError, match="path='.*file.png' is not a folder"):
        load_image_folder(write(tmp_path / "file.png", gray(0)))


def test_load_image_folder_leaves_out_labels_of_skipped_files(tmp_path):
    for group, name, value in ("x", "a", 3), ("y", "b", 4):
        write(tmp_path / group / name / "0.png", gray(value))
    (tmp_path / "x" / "a" / "1.png").write_bytes(b"")
    with pytest.warns(UnreadableImageWarning, match=r"1 of 3 files cannot be read: .*1\.png") as w:
        data = load_image_folder(tmp_path, on_error="skip")
    assert [one.filename for one in w] == [__file__]
    assert data.target.tolist() == ["x/a", "y/b"]
    assert data.groups.tolist() == ["x", "y"]
    assert data.images[:, 0, 0].tolist() == [3, 4]
    assert data.filenames.tolist() == [str(tmp_path / p) for p in ("x/a/0.png", "y/b/0.png")]


def test_load_image_folder_passes_its_options_on(tmp_path):
    write(tmp_path / "images" / "a" / "0.png", gray(10, (4, 4)))
    data = load_image_folder(
        tmp_path / "images", (2, 3), color=True, invert=True, memmap=tmp_path / "images.npy"
    )
    assert data.images.shape == (1, 2, 3, 3)
    assert (data.images == 245).all()
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), data.images)


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_error": "ignore"},
        {"invert": "maybe"},
        {"invert": 1},
        {"resize": 8},
        {"resize": (8, 0)},
        {"resize": (True, True)},
        {"resize": (8, 8, 3)},
    ],
)
@pytest.mark.parametrize(
    "load", [load_image_folder, lambda p, **o: load_images([p / "0.png"], **o)]
)
def test_load_image_folder_and_load_images_refuse_unknown_options(one_file, load, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        load(one_file, **wrong)


# load_images: how files are decoded


def test_load_images_returns_images_in_the_order_of_files(tmp_path):
    files = [write(tmp_path / f"{i}.png", gray(i)) for i in (2, 0, 1)]
    data = load_images(map(str, files))
    assert data.images.dtype == np.uint8
    assert data.images[:, 0, 0].tolist() == [2, 0, 1]
    assert data.filenames.tolist() == list(map(str, files))
    assert data.rows.tolist() == [0, 1, 2]


def test_load_images_returns_values_as_they_are(tmp_path):
    drawing = gray(255)
    drawing[2:4, 3:5] = [[0, 40], [90, 200]]
    data = load_images(
        [write(tmp_path / "0.png", drawing), write(tmp_path / "1.png", 255 - drawing)]
    )
    np.testing.assert_array_equal(data.images, [drawing, 255 - drawing])


def test_load_images_inverts(tmp_path):
    dark, light = gray(0), gray(255)
    dark[2:4, 3:5], light[2:4, 3:5] = 255, 0
    files = [write(tmp_path / "dark.png", dark), write(tmp_path / "light.png", light)]
    for invert in True, np.True_:
        np.testing.assert_array_equal(load_images(files, invert=invert).images, [light, dark])


@pytest.mark.parametrize("color", [False, True])
def test_load_images_inverts_images_with_a_dark_border_if_auto(tmp_path, color):
    dark, light = gray(0), gray(255)
    dark[2:4, 3:5], light[2:4, 3:5] = 255, 0
    files = [write(tmp_path / "dark.png", dark), write(tmp_path / "light.png", light)]
    images = load_images(files, invert="auto", color=color).images
    expected = light if not color else np.stack([light] * 3, axis=-1)
    np.testing.assert_array_equal(images, [expected, expected])


def test_load_images_resizes_and_pads_with_the_border_colour(tmp_path):
    image = gray(200, (20, 10))
    image[5:15, 3:7] = 0
    files = [write(tmp_path / "0.png", image), write(tmp_path / "1.png", gray(50, (7, 7)))]
    images = load_images(files, (10, 10)).images
    assert images.shape == (2, 10, 10)
    assert images[0, 5, 0] == 200  # the padding
    assert images[0, 5, 4] < 20
    assert (images[1] == 50).all()
    np.testing.assert_array_equal(load_images(files, [10, 10]).images, images)


def test_load_images_refuses_images_of_several_sizes_without_resize(tmp_path):
    files = [write(tmp_path / f"{h}.png", gray(0, (h, 10))) for h in (20, 7)]
    message = r"7.png has 7x10 pixels, but .* have 20x10. Pass resize=\(height, width\) to"
    with pytest.raises(ValueError, match=message):
        load_images(files)


def test_load_images_loads_colour_on_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (255, 0, 0, 255)
    file = write(tmp_path / "0.png", pixels)
    images = load_images([file], color=True).images
    assert images.shape == (1, 4, 4, 3)
    assert images[0, 0, 0].tolist() == [255, 0, 0]
    assert images[0, 3, 3].tolist() == [255, 255, 255]  # was transparent
    assert load_images([file]).images[0, 3, 3] == 255


def test_load_images_scales_16_bit_images(tmp_path):
    files = [
        write(tmp_path / f"{value}.png", np.full((4, 4), value, np.uint16))
        for value in (65535, 32768)
    ]
    assert load_images(files).images[:, 0, 0].tolist() == [255, 128]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((4, 4), 65535, np.int32), 255),
        (np.full((4, 4), 1000, np.int32), 4),
        (np.full((4, 4), 0.5, np.float32), 128),
        (np.full((4, 4), 200, np.float32), 200),
        (np.full((4, 4), 32768, np.float32), 128),
        (np.zeros((4, 4), np.float32), 0),
    ],
)
def test_load_images_scales_deep_images_by_the_smallest_range(tmp_path, values, expected):
    file = write(tmp_path / "0.tiff", values)
    assert load_images([file]).images[0, 0, 0] == expected


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(-1, np.float32), (np.nan, np.float32), (np.inf, np.float32), (70000, np.int32)],
)
def test_load_images_refuses_deep_images_of_unknown_range(tmp_path, value, dtype):
    file = write(tmp_path / "0.tiff", np.full((4, 4), value, dtype))
    with pytest.raises(
        OSError, match=f"0.tiff .values from {value:g} to {value:g}; expected 0 to"
    ):
        load_images([file])


def test_load_images_applies_the_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to display
    pixels = gray(250, (16, 32))
    pixels[:, :16] = 5  # the left half becomes the top half
    (image,) = load_images([write(tmp_path / "0.jpg", pixels, exif=exif)]).images
    assert image.shape == (32, 16)
    assert image[:12].max() < 100 < image[20:].min()


# load_images: damaged files, memory maps, wrong arguments


def test_load_images_lists_damaged_files(tmp_path):
    good = write(tmp_path / "0.png", gray(3))
    files = [
        good,
        tmp_path / "cut.png",
        tmp_path / "empty.png",
        write(tmp_path / "3.png", gray(4)),
    ]
    files[1].write_bytes(good.read_bytes()[:40])
    files[2].write_bytes(b"")
    with pytest.raises(OSError, match=r"2 of 4 files cannot be read: .*cut\.png.*empty\.png") as e:
        load_images(files)
    assert "pass on_error='skip'" in str(e.value)
    with pytest.warns(UnreadableImageWarning, match=r"2 of 4 .*cut\.png.*empty\.png") as caught:
        data = load_images(files, on_error="skip")
    assert [one.filename for one in caught] == [__file__]
    assert data.rows.tolist() == [0, 3]
    assert data.filenames.tolist() == [str(files[0]), str(files[3])]
    assert data.images[:, 0, 0].tolist() == [3, 4]


def test_load_images_raises_if_no_file_can_be_read(tmp_path):
    (tmp_path / "0.png").write_bytes(b"not an image")
    with pytest.raises(OSError, match="2 of 2 files"):
        load_images([tmp_path / "0.png", tmp_path / "missing.png"], on_error="skip")


def test_load_images_writes_a_memory_map(tmp_path):
    file = write(tmp_path / "0.png", gray(3))
    data = load_images([file], memmap=tmp_path / "images.npy")
    assert isinstance(data.images, np.memmap)
    written = np.load(tmp_path / "images.npy")
    np.testing.assert_array_equal(written, [gray(3)])
    np.testing.assert_array_equal(written, data.images)


def test_load_images_writes_a_memory_map_only_when_all_is_read(tmp_path):
    files = [write(tmp_path / "in" / f"{i}.png", gray(3 + i)) for i in range(3)]
    files[1].write_bytes(b"not an image")
    path = tmp_path / "images.npy"
    with pytest.warns(UnreadableImageWarning):
        data = load_images(files, memmap=path, on_error="skip")
    assert np.load(path)[:, 0, 0].tolist() == data.images[:, 0, 0].tolist() == [3, 5]
    with pytest.raises(OSError, match="1 of 3 files"):
        load_images(files, memmap=path)
    assert np.load(path).shape == (2, 6, 8)  # the earlier file
    assert sorted(file.name for file in tmp_path.iterdir()) == ["images.npy", "in"]


@pytest.mark.parametrize(
    ("memmap", "message"),
    [
        ("", "is a folder"),
        (".", "is a folder; expected a path of an .npy file"),
        ("no/such/folder/images.npy", "cannot be written: its parent folder does not exist"),
    ],
)
def test_load_images_refuses_a_memory_map_that_cannot_be_written(tmp_path, memmap, message):
    file = write(tmp_path / "0.png", gray(1))
    with pytest.raises(OSError, match=f"memmap=.*{message}"):
        load_images([file], memmap=memmap)


def test_load_images_refuses_a_memory_map_of_another_type(tmp_path):
    file = write(tmp_path / "0.png", gray(1))
    with pytest.raises(TypeError, match="memmap=True; expected the path of an .npy file"):
        load_images([file], memmap=True)


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ("a.png", TypeError, "files='a.png'; expected a list of paths"),
        (None, TypeError, "files=None; expected a list of paths"),
        (["a.png", 3], TypeError, r"files\[1\]=3; expected the path of an image file"),
        ([], ValueError, "files is empty"),
    ],
)
def test_load_images_refuses_what_is_not_a_list_of_paths(files, error, message):
    with pytest.raises(error, match=message):
        load_images(files)


# image_files


def test_image_files_lists_images_by_name(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert image_files(tmp_path) == [tmp_path / "a.JPG", tmp_path / "b.png"]
    assert image_files(str(tmp_path / "folder.png")) == []


def test_image_files_refuses_what_is_not_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder='.*nothing' does not exist"):
        image_files(tmp_path / "nothing")
    with pytest.raises(NotADirectoryError, match="folder='.*0.png' is not a folder"):
        image_files(write(tmp_path / "0.png", gray(0)))
    with pytest.raises(TypeError, match="folder=None; expected the path of a folder"):
        image_files(None)
