"""Tests of load_image_folder, load_images and image_files."""

import errno
import io
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import close_folder
from long import fuzz_images
from PIL import Image

from sksiamese.datasets import load_image_folder, load_images
from sksiamese.datasets.decoding import readable_formats
from sksiamese.datasets.folder import image_files
from sksiamese.exceptions import UnreadableImageWarning


def write(path, pixels, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **save)
    return path


def gray(value, shape=(6, 8)):
    return np.full(shape, value, np.uint8)


def content(value, format="PNG", shape=(6, 8), **save):
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(gray(value, shape)).save(file, format, **save)
    return file.getvalue()


@pytest.fixture
def no_waiting():
    """Stop a test that waits for what never comes."""

    def stop(*args):
        raise AssertionError("the test waits for a file")

    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


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


def test_load_image_folder_names_what_it_does_not_read_in_one_warning(tmp_path):
    for place in ("x/a/0.png", "x/a/deep/0.png", "y/b/0.png"):
        write(tmp_path / place, gray(1))
    for place in ("logo.svg", "x/scan.pdf", "y/b/1.HEIC"):
        (tmp_path / place).touch()
    with pytest.warns(UnreadableImageWarning) as caught:
        data = load_image_folder(tmp_path)
    assert data.target.tolist() == ["x/a", "y/b"]
    (warning,) = caught
    listed = "3 files and 1 folder (logo.svg, x/scan.pdf, y/b/1.HEIC, x/a/deep/) are not read"
    assert listed in str(warning.message)
    assert data.errors == {}


def test_load_image_folder_says_what_a_class_without_images_contains(one_file):
    (one_file / "b").mkdir()
    for name in "1.heic", "2.heic":
        (one_file / "b" / name).touch()
    with pytest.raises(
        ValueError, match=r"b contains no images but 2 files \(1.heic, 2.heic\) are"
    ):
        load_image_folder(one_file)


ODD_NAMES = [
    b"caf\xe9.png",
    "ü—ß.png".encode(),
    b"new\nline.png",
    b"a\x1b[31m.png",
    b"n" * 251 + b".png",
]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text on other systems")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_load_image_folder_reads_and_names_files_of_any_name(tmp_path, name):
    folder = os.fsencode(tmp_path) + b"/class \xff"
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/" + name)).write_bytes(content(7))
    data = load_image_folder(tmp_path)
    assert os.fsencode(str(data.filenames[0])) == folder + b"/" + name
    assert os.fsencode(str(data.target[0])) == b"class \xff"
    Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"no image")
    with pytest.raises(OSError, match="1 of 1 files cannot be read") as error:
        load_image_folder(tmp_path)
    assert str(error.value).isprintable()
    str(error.value).encode()


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
        (np.full((4, 4), 20000, np.int32), 78),
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


def test_load_images_returns_the_reasons_of_errors(tmp_path):
    good = write(tmp_path / "0.png", gray(3))
    (tmp_path / "bad.png").write_bytes(b"no image")
    files = [good, tmp_path / "bad.png", tmp_path / "missing.png"]
    with pytest.warns(UnreadableImageWarning):
        data = load_images(files, on_error="skip")
    assert list(data.errors) == [str(file) for file in files[1:]]
    assert "not an image in a format that can be read (" in data.errors[str(files[1])]
    assert data.errors[str(files[2])] == "No such file or directory"
    assert load_images([good], on_error="skip").errors == {}


def test_load_images_reads_bytes_and_file_objects(tmp_path):
    path = write(tmp_path / "0.png", gray(0))
    later = io.BytesIO(b"header" + content(3))
    later.seek(6)
    with open(write(tmp_path / "1.png", gray(4)), "rb") as file:
        data = load_images([path, content(1), bytearray(content(2)), later, file])
        assert not file.closed
    assert data.images[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert data.filenames.tolist() == [str(path), "files[1]", "files[2]", "files[3]", "files[4]"]


def test_load_images_names_bytes_and_file_objects_by_their_position():
    files = [content(1), b"", io.BytesIO(b"no image"), content(2)]
    with pytest.raises(
        OSError, match=r"2 of 4 .*files\[1\] \(it is not .*; files\[2\] \(it is not"
    ):
        load_images(files)
    with pytest.warns(UnreadableImageWarning):
        data = load_images(files, on_error="skip")
    assert list(data.errors) == ["files[1]", "files[2]"]
    with pytest.raises(ValueError, match=r"files\[1\] has 9x9 pixels, but the images before"):
        load_images([content(1), content(1, shape=(9, 9))])


def test_load_images_names_a_file_object_that_cannot_be_read():
    closed = io.BytesIO(content(1))
    closed.close()
    with pytest.raises(OSError, match=r"files\[0\] \(I/O operation on closed file"):
        load_images([closed])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (ValueError("wrong length"), "wrong length"),
        (EOFError("no end marker"), "EOFError: no end marker"),
        (zipfile.BadZipFile("Bad CRC-32"), "BadZipFile: Bad CRC-32"),
    ],
)
def test_load_images_skips_a_file_object_whose_read_raises(error, reason):
    class Broken(io.BytesIO):
        def read(self, *size):
            raise error

    files = [io.BytesIO(content(1)), Broken(), content(2)]
    with pytest.warns(UnreadableImageWarning, match=re.escape(f"files[1] ({reason})")):
        data = load_images(files, on_error="skip")
    assert data.rows.tolist() == [0, 2]
    assert data.errors == {"files[1]": reason}
    with pytest.raises(OSError, match=re.escape(f"files[1] ({reason})")):
        load_images([Broken() if i == 1 else content(i) for i in range(3)])


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_loaders_name_paths_that_no_file_can_have(one_file, name):
    named = re.escape(repr(name))
    with pytest.raises(ValueError, match=f"memmap={named} has a null character, or one that"):
        load_images([one_file / "a/0.png"], memmap=name)
    for load, parameter in (load_image_folder, "path"), (image_files, "folder"):
        with pytest.raises(ValueError, match=f"{parameter}={named} has a null character"):
            load(name)
    with pytest.warns(UnreadableImageWarning, match="no file can have this name"):
        data = load_images([name, one_file / "a/0.png"], on_error="skip")
    assert data.errors == {name: "no file can have this name"}


@pytest.mark.parametrize("name", ["x.png", "x.eps", "x.tiff", "x.jpg"])
def test_load_images_runs_no_other_program(tmp_path, monkeypatch, name):
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was_run\necho 10.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None, raising=False)
    postscript = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    )
    (tmp_path / name).write_bytes(postscript)
    for files in [tmp_path / name], [postscript]:
        with pytest.raises(OSError, match="not an image in a format that can be read"):
            load_images(files)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("format", ["ICO", "PCX", "TGA", "SGI", "ICNS"])
def test_load_images_refuses_formats_that_it_does_not_document(format):
    with pytest.raises(OSError, match="not an image in a format that can be read"):
        load_images([content(0, format, (32, 32))])


def test_load_images_reads_the_first_image_of_a_file_with_several():
    first, *others = (Image.new("RGB", (8, 6), (value,) * 3) for value in (100, 200))
    for format in "GIF", "TIFF", "MPO":
        file = io.BytesIO()
        first.save(file, format, save_all=True, append_images=others)
        assert (load_images([file.getvalue()]).images == 100).all()


def test_load_images_refuses_a_file_that_declares_too_many_pixels():
    bomb = bytearray(content(0, "BMP"))
    bomb[18:26] = np.array([60000, 60000], "<i4").tobytes()
    with pytest.raises(OSError, match="decoded .*exceeds limit"):
        load_images([bytes(bomb)])


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1)])
def test_load_images_names_images_that_are_too_narrow_to_be_resized(shape):
    with pytest.raises(OSError, match=r"files\[0\] \(\d+x\d+ pixels are too narrow for 8x9"):
        load_images([content(0, shape=shape)], (8, 9))


def test_load_images_shows_light_ink_on_a_transparent_background(tmp_path):
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[2:4, 2:6] = 255
    file = write(tmp_path / "0.png", pixels)
    image, inverted = (load_images([file], invert=invert).images[0] for invert in (False, "auto"))
    assert (image[0, 0], image[2, 2]) == (0, 255)
    assert (inverted[0, 0], inverted[2, 2]) == (255, 0)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "link to itself"])
def test_load_images_opens_regular_files_only(tmp_path, kind, no_waiting, monkeypatch):
    good = write(tmp_path / "a" / "0.png", gray(3))
    odd = tmp_path / "a" / "1.png"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "socket":
        monkeypatch.chdir(odd.parent)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("1.png")
    elif kind == "folder":
        odd.mkdir()
    else:
        odd.symlink_to({"device": "/dev/zero", "link to itself": "1.png"}[kind])
    expected = "symbolic links" if kind == "link to itself" else "expected a regular file"
    with pytest.raises(OSError, match=f"1 of 2 files cannot be read: .*1.png .*{expected}"):
        load_images([good, odd])
    with pytest.warns(UnreadableImageWarning):
        data = load_images([good, odd], on_error="skip")
    assert data.rows.tolist() == [0]
    assert expected in data.errors[str(odd)]
    if kind != "folder":
        with pytest.warns(UnreadableImageWarning):
            assert len(load_image_folder(tmp_path, on_error="skip").images) == 1


def test_load_images_reads_damaged_files_or_raises_an_oserror(tmp_path):
    files = fuzz_images.intact_files()
    for kind, data in files.items():
        expected = "OSError" if kind == "postscript" else "array"
        assert fuzz_images.read(kind, data, tmp_path) == expected, kind
    counts = fuzz_images.read_part(0, 2000, 18)
    assert sum(counts.values()) == 2000
    assert {key.split(": ", 1)[1] for key in counts} <= {"array", "OSError", "ValueError"}


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


def test_load_images_refuses_a_memory_map_that_is_no_file(tmp_path, no_waiting):
    file = write(tmp_path / "in" / "0.png", gray(1))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in "pipe", "loop", "null":
        with pytest.raises(OSError, match=name):
            load_images([file], memmap=tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "loop", "null", "pipe"]


def test_load_images_writes_a_memory_map_through_a_link_and_keeps_its_mode(tmp_path):
    file = write(tmp_path / "0.png", gray(5))
    target = tmp_path / "target.npy"
    target.touch()
    target.chmod(0o640)
    (tmp_path / "link.npy").symlink_to("target.npy")
    load_images([file], memmap=tmp_path / "link.npy")
    assert (tmp_path / "link.npy").is_symlink()
    assert np.load(target)[0, 0, 0] == 5
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write it")
def test_load_images_keeps_a_write_protected_memory_map(tmp_path):
    file = write(tmp_path / "0.png", gray(5))
    (tmp_path / "images.npy").touch(0o444)
    with pytest.raises(PermissionError, match="the file is read-only"):
        load_images([file], memmap=tmp_path / "images.npy")


def full_disk(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_load_images_keeps_the_old_memory_map_on_a_full_disk(tmp_path, monkeypatch):
    files = [write(tmp_path / "in" / f"{i}.png", gray(i)) for i in range(3)]
    (tmp_path / "images.npy").write_bytes(b"old")
    for function in "posix_fallocate", "fsync":
        with monkeypatch.context() as patch:
            patch.setattr(os, function, full_disk, raising=False)
            with pytest.raises(OSError, match="memmap=.*images.npy' cannot be written: No space"):
                load_images(files, memmap=str(tmp_path / "images.npy"))
        assert (tmp_path / "images.npy").read_bytes() == b"old"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images.npy", "in"]


@pytest.mark.parametrize("reserves", [True, False])
def test_load_images_survives_a_limit_of_file_size(tmp_path, monkeypatch, reserves):
    resource = pytest.importorskip("resource")
    files = [content(1, shape=(200, 200))] * 9
    target = tmp_path / "images.npy"
    target.write_bytes(b"old")
    if not reserves:  # as on systems without this function
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match="memmap=.*images.npy' cannot be written: File too larg"):
            load_images(files, memmap=target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_load_images_writes_a_memory_map_where_space_cannot_be_reserved(
    tmp_path, monkeypatch, number
):
    def refuse(*args):
        raise OSError(number, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    file = write(tmp_path / "0.png", gray(5))
    data = load_images([file] * 12, memmap=tmp_path / "images.npy")
    np.testing.assert_array_equal(data.images, [gray(5)] * 12)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts")
def test_load_images_survives_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        with pytest.raises(OSError, match="memmap=.* cannot be written: No space left") as error:
            load_images([content(1, shape=(100, 100))] * 9, memmap=disk / "images.npy")
        assert error.value.errno == errno.ENOSPC
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ("a.png", TypeError, "files='a.png'; expected a list of paths"),
        (None, TypeError, "files=None; expected a list of paths"),
        (["a.png", 3], TypeError, r"files\[1\]=3; expected a path, bytes or a binary"),
        (b"png", TypeError, "files=b'png'; expected a list of paths"),
        (io.BytesIO(b"png"), TypeError, "files=<_io.BytesIO.*; expected a list of paths"),
        (
            [io.StringIO("png")],
            TypeError,
            "reads str values instead of bytes",
        ),
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
    assert image_files(tmp_path) == [tmp_path / "a.JPG", tmp_path / "b.png"]
    assert image_files(str(tmp_path)) == image_files(tmp_path)


@pytest.mark.parametrize("extension", ["jpe", "jfif", "pbm", "pnm", "WebP", "avif", "tiff"])
def test_image_files_and_load_images_know_every_extension(tmp_path, extension):
    formats = {"jpe": "JPEG", "jfif": "JPEG", "pbm": "PPM", "pnm": "PPM", "tiff": "TIFF"}
    name = formats.get(extension, extension.upper())
    if name not in readable_formats():
        pytest.skip(f"this Pillow has no {name}")
    file = tmp_path / f"a.{extension}"
    file.write_bytes(content(200, name))
    assert image_files(tmp_path) == [file]
    assert abs(int(load_images([file]).images[0, 3, 3]) - 200) < 3


def test_image_files_names_what_it_does_not_read_in_one_warning(tmp_path):
    for name in ("a.png", "notes.txt", "b.heic", "c.SVG", "d.jp2"):
        (tmp_path / name).touch()
    (tmp_path / "link.png").symlink_to("link.png")  # to itself; reading it is an error
    (tmp_path / "broken").symlink_to("nothing")
    (tmp_path / "below").mkdir()
    with pytest.warns(UnreadableImageWarning) as caught:
        files = image_files(tmp_path)
    assert [file.name for file in files] == ["a.png", "link.png"]
    (warning,) = caught
    assert "4 files and 1 folder (b.heic, broken, c.SVG, d.jp2, below/) are not read" in str(
        warning.message
    )
    assert warning.filename == __file__


def test_image_files_lists_the_first_of_many(tmp_path):
    for i in range(30):
        (tmp_path / f"{i:02d}.heic").touch()
    with pytest.warns(
        UnreadableImageWarning, match=r"30 files \(00.heic, .*09.heic, \.\.\.\) are"
    ):
        assert image_files(tmp_path) == []


def test_image_files_searches_sub_folders(tmp_path):
    for place in ("b.png", "x/a.png", "x/y/c.png", ".hidden/d.png", "__MACOSX/e.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / place).touch()
    (tmp_path / "x" / "up").symlink_to(tmp_path)  # a cycle
    assert [str(file.relative_to(tmp_path)) for file in image_files(tmp_path, recursive=True)] == [
        "b.png",
        "x/a.png",
        "x/y/c.png",
    ]


@pytest.mark.parametrize("closed", ["", "g", "g/c"])
@pytest.mark.parametrize("load", [load_image_folder, partial(image_files, recursive=True)])
def test_load_image_folder_and_image_files_name_a_folder_that_cannot_be_read(
    tmp_path, monkeypatch, load, closed
):
    for name in "g/c/0.png", "g/d/0.png", "h/e/0.png":
        write(tmp_path / name, gray(1))
    close_folder(monkeypatch, tmp_path / closed)
    with pytest.raises(PermissionError) as error:
        load(tmp_path)
    assert error.value.filename == str(tmp_path / closed)


def test_image_files_refuses_what_is_not_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder='.*nothing' does not exist"):
        image_files(tmp_path / "nothing")
    with pytest.raises(NotADirectoryError, match="folder='.*0.png' is not a folder"):
        image_files(write(tmp_path / "0.png", gray(0)))
    with pytest.raises(TypeError, match="folder=None; expected the path of a folder"):
        image_files(None)
