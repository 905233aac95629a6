"""Tests of to_array: every mode of Pillow, its depth, transparency and EXIF orientation."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from sksiamese.datasets.decoding import decode, readable_formats, to_array

GRAY = np.array([[0, 60, 120], [180, 200, 255]], np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)


def encode(image, format, **save):
    file = io.BytesIO()
    image.save(file, format, **save)
    return Image.open(io.BytesIO(file.getvalue()))


def drawing(ink, alpha=255, shape=(20, 30)):
    """An RGBA image: a cross of one gray value or colour on transparent black pixels."""
    pixels = np.zeros((*shape, 4), np.uint8)
    pixels[8:12, 4:26, :3] = pixels[3:17, 13:17, :3] = ink
    pixels[8:12, 4:26, 3] = pixels[3:17, 13:17, 3] = alpha
    return Image.fromarray(pixels)


# Modes


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize(
    "mode", ["L", "P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "HSV"]
)
def test_to_array_keeps_gray_content_in_every_mode(mode, color):
    image = Image.fromarray(GRAY)
    if mode in ("PA", "La", "RGBa"):
        image = image.convert({"PA": "LA", "La": "LA", "RGBa": "RGBA"}[mode])
    elif mode in ("CMYK", "HSV"):
        image = image.convert("RGB")
    image = image.convert(mode)
    assert image.mode == mode
    expected = np.stack([GRAY] * 3, axis=-1) if color else GRAY
    result = to_array(image, color)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_to_array_keeps_colours_in_every_mode(mode):
    result = to_array(Image.fromarray(RGB).convert(mode), color=True)
    np.testing.assert_allclose(result.astype(int), RGB, atol=6)


def test_to_array_weights_colours_as_luminance():
    expected = np.round(RGB @ [0.299, 0.587, 0.114])
    np.testing.assert_allclose(to_array(Image.fromarray(RGB), False), expected, atol=1)


def test_to_array_reads_a_palette_as_its_colours():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0, 255, 0, 0])
    assert image.mode == "P"
    assert to_array(image, True).tolist() == [[[255, 255, 255], [0, 0, 0], [255, 0, 0]]]
    assert to_array(image, False).tolist() == [[255, 0, 76]]


def test_to_array_reads_a_palette_with_transparency():
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([90, 90, 90, 0, 0, 0])
    image.info["transparency"] = 0
    assert to_array(image, False).tolist() == [[255, 0]]
    image.info["transparency"] = b"\x00\xff"
    assert to_array(image, False).tolist() == [[255, 0]]
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([90, 90, 90, 0, 0, 0, 0, 255], rawmode="RGBA")
    assert to_array(image, False).tolist() == [[255, 0]]


def test_to_array_reads_bits_as_black_and_white():
    image = Image.fromarray(np.array([[True, False]]))
    assert image.mode == "1"
    assert to_array(image, False).tolist() == [[255, 0]]
    assert to_array(encode(image, "PNG"), False).tolist() == [[255, 0]]


def test_to_array_reads_the_inverted_cmyk_of_jpeg_files():
    image = Image.fromarray(np.repeat(np.repeat(RGB, 16, 0), 16, 1)).convert("CMYK")
    result = to_array(encode(image, "JPEG", quality=95), color=True)
    np.testing.assert_allclose(result[8::16, 8::16].astype(int), RGB, atol=12)


def test_to_array_names_a_mode_that_it_refuses():
    with pytest.raises(ValueError, match="mode 'LAB' cannot be converted.*image.convert"):
        to_array(Image.new("LAB", (3, 2)), False)


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "F"])
@pytest.mark.parametrize("size", [(0, 0), (0, 3), (3, 0)])
def test_to_array_refuses_an_image_without_pixels(mode, size):
    with pytest.raises(ValueError, match=f"{size[1]}x{size[0]} pixels; expected at least one"):
        to_array(Image.new(mode, size), False)


def test_to_array_does_not_change_its_argument():
    image = drawing(255)
    image.getexif()[0x0112] = 6
    before = image.tobytes(), image.mode, image.size, dict(image.getexif())
    to_array(image, False)[:] = 7
    assert (image.tobytes(), image.mode, image.size, dict(image.getexif())) == before


# More than 8 bits


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_to_array_scales_16_bits_of_every_byte_order(mode):
    order = ">u2" if mode == "I;16B" else "<u2"
    values = np.array([[0, 257, 65535], [32768, 100, 51400]])
    image = Image.frombytes(mode, (3, 2), values.astype(order).tobytes())
    assert to_array(image, False).tolist() == [[0, 1, 255], [128, 0, 200]]
    assert to_array(image, True)[1, 2].tolist() == [200] * 3


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_to_array_scales_deep_images(dtype, orientation):
    image = Image.fromarray(np.array([[0, 65535]], dtype))
    image.getexif()[0x0112] = orientation
    expected = {1: [[0, 255]], 3: [[255, 0]], 6: [[0], [255]]}[orientation]
    assert to_array(image, False).tolist() == expected


@pytest.mark.parametrize("maximum", [1, 255, 4095, 16383])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_to_array_refuses_few_bits_in_16(dtype, maximum):
    image = Image.fromarray(np.array([[0, maximum]], dtype))
    with pytest.raises(ValueError, match=f"values to {maximum} of 65535.*fewer bits. Convert it"):
        to_array(image, False)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_to_array_reads_black_of_16_bits(format):
    image = encode(Image.fromarray(np.zeros((2, 3), np.uint16)), format)
    assert to_array(image, False).tolist() == [[0] * 3] * 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 0.1, 0.2], [0, 26, 51]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 32768.0, 65535.0], [0, 128, 255]),
    ],
)
def test_to_array_divides_floats_by_the_smallest_range(values, expected):
    image = Image.fromarray(np.array([values], np.float32))
    assert to_array(image, False).tolist() == [expected]


@pytest.mark.parametrize("values", [[0, np.nan], [0, np.inf], [-1, 1], [0, 65536]])
def test_to_array_refuses_floats_of_unknown_range(values):
    with pytest.raises(ValueError, match="values from .* to .*; expected 0 to 65535"):
        to_array(Image.fromarray(np.array([values], np.float32)), False)


@pytest.mark.parametrize("high", [2, 60, 300, 16000])
def test_to_array_refuses_floats_that_would_be_almost_black(high):
    with pytest.raises(ValueError, match=f"values to {high} of .*almost black"):
        to_array(Image.fromarray(np.array([[0, high]], np.float32)), False)


def write_png_of_16_bits(values):
    """Return a PNG file with RGB values of 16 bits, which Pillow cannot write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", zlib.crc32(kind + data) & 0xFFFFFFFF)
        )

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return io.BytesIO(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_to_array_reads_colours_of_16_bits():
    image = Image.open(write_png_of_16_bits(RGB.astype(int) * 257))
    np.testing.assert_array_equal(to_array(image, True), RGB)


@pytest.mark.parametrize("divisor", [1, 1 / 16])
def test_to_array_refuses_few_bits_in_colours_of_16_bits(divisor):
    image = Image.open(write_png_of_16_bits(RGB / divisor))
    with pytest.raises(ValueError, match="values to .* of 65535.*almost black"):
        to_array(image, True)


def test_to_array_reads_a_16_bit_value_that_means_transparent():
    image = Image.fromarray(np.array([[500, 0, 65535]], np.uint16))
    image.info["transparency"] = 500
    assert to_array(image, False).tolist() == [[255, 0, 255]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_to_array_reads_tiff_files_whose_zero_is_white(dtype):
    values = np.array([[0, np.iinfo(dtype).max]], dtype)
    image = encode(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    # Pillow writes 8-bit values so that it reads them back, and 16-bit ones as they are.
    expected = values if dtype == np.uint8 else 255 - (values >> 8)
    np.testing.assert_array_equal(to_array(image, False), expected)


# Transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
@pytest.mark.parametrize(("ink", "background"), [(0, 255), (90, 255), (255, 0), (230, 0)])
def test_to_array_puts_content_on_a_background_that_contrasts(ink, background, mode):
    image = drawing(ink)
    if mode == "PA":  # Pillow's conversion to PA drops the transparency
        opaque = image.convert("L").convert("P")
        opaque.putalpha(image.getchannel("A"))
        image = opaque
    elif mode in ("LA", "La"):
        image = image.convert("LA")
    image = image.convert(mode)
    assert image.mode == mode
    result = to_array(image, False)
    assert result[0, 0] == background
    assert result[10, 15] == ink
    assert set(np.unique(result)) == {ink, background}


@pytest.mark.parametrize(("color", "background"), [("yellow", 0), ("red", 255), ("cyan", 255)])
def test_to_array_judges_colours_by_their_luminance(color, background):
    image = drawing(0)
    image.paste(Image.new("RGB", image.size, color), mask=image.getchannel("A"))
    assert to_array(image, True)[0, 0].tolist() == [background] * 3


def test_to_array_shows_content_of_mixed_luminance():
    image = drawing(255)
    image.paste(
        Image.new("RGB", (15, 20), (100, 100, 100)),
        mask=image.getchannel("A").crop((0, 0, 15, 20)),
    )
    result = to_array(image, False)
    assert (result[0, 0], result[10, 5], result[10, 24]) == (0, 100, 255)


def test_to_array_blends_translucent_content():
    assert to_array(drawing(0, alpha=128), False)[10, 15] == 127
    assert to_array(drawing(255, alpha=128), False)[10, 15] == 128


@pytest.mark.parametrize("hidden", [0, 128, 255])
def test_to_array_makes_an_image_without_content_white(hidden):
    result = to_array(drawing(hidden, alpha=0), False)
    assert (result == 255).all()


@pytest.mark.parametrize("paper", [255, 0])
def test_to_array_continues_a_picture_into_its_transparent_margin(paper):
    image = Image.new("RGBA", (40, 30))
    image.paste((paper, paper, paper, 255), (5, 5, 35, 25))
    image.paste((255 - paper, 255 - paper, 255 - paper, 255), (10, 10, 20, 14))
    result = to_array(image, False)
    assert result[0, 0] == paper
    assert result[11, 12] == 255 - paper


def test_to_array_shows_a_solid_rectangle():
    image = Image.new("RGBA", (40, 30))
    image.paste((255, 255, 255, 255), (5, 5, 35, 25))
    assert to_array(image, False)[0, 0] == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_to_array_reads_a_colour_that_means_transparent_from_a_png(mode):
    image = Image.new("L", (3, 1), 0)
    image.putpixel((1, 0), 255)
    image = image.convert(mode)
    key = {"L": 0, "1": 0, "RGB": (0, 0, 0), "P": image.getpixel((0, 0))}[mode]
    image = encode(image, "PNG", transparency=key)
    assert to_array(image, False).tolist() == [[0, 255, 0]]  # white ink on black


# EXIF


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("source", ["memory", "JPEG", "PNG", "TIFF", "WEBP"])
def test_to_array_applies_the_exif_orientation(orientation, source):
    exif = Image.Exif()
    exif[0x0112] = orientation
    if source == "memory":
        image = Image.fromarray(RGB)
        image.info["exif"] = exif.tobytes()
    else:
        lossless = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
        big = Image.fromarray(np.repeat(np.repeat(RGB, 16, 0), 16, 1))
        image = encode(big, source, exif=exif, **lossless.get(source, {}))
    plain = Image.fromarray(RGB)
    plain.info["exif"] = exif.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(plain))
    result = to_array(image, True)
    if source != "memory":
        result = result[8::16, 8::16]
    np.testing.assert_allclose(result.astype(int), expected, atol=8)


# Damage


def test_to_array_raises_an_oserror_for_a_damaged_image():
    file = io.BytesIO()
    Image.fromarray(np.arange(10000, dtype=np.uint8).reshape(100, 100)).save(file, "PNG")
    image = Image.open(io.BytesIO(file.getvalue()[:-40]))
    with pytest.raises(OSError, match="the image cannot be decoded"):
        to_array(image, False)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK", "I;16", "F"])
def test_to_array_takes_little_memory_for_a_large_image(mode):
    # A column of the gradient tells a row that stands at the wrong height.
    image = Image.linear_gradient("L").resize((1500, 3000))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "CMYK":
        image = image.convert("RGB")
    image = image.convert(mode)
    expected = to_array(image.crop((0, 0, 1, image.height)), False)
    tracemalloc.start()
    try:
        result = to_array(image, False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * image.width * image.height
    np.testing.assert_array_equal(result, np.repeat(expected, image.width, axis=1))


def test_to_array_reads_the_current_frame_of_an_animation():
    frames = [Image.new("L", (4, 4), value) for value in (0, 200)]
    image = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (to_array(image, False) == 0).all()
    image.seek(1)
    assert (to_array(image, False) == 200).all()


def test_to_array_raises_an_oserror_for_damaged_exif_data():
    image = Image.fromarray(GRAY)
    image.info["Raw profile type exif"] = "exif\n4\nzz\nno hexadecimal number"
    with pytest.raises(OSError, match="the image cannot be decoded .*hex"):
        to_array(image, False)


def test_to_array_raises_an_oserror_for_an_image_larger_than_the_memory(monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError("Unable to allocate 512 MiB")

    image = Image.new("RGBA", (9, 8))
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(OSError, match="the image cannot be decoded .Unable to allocate 512 MiB"):
        to_array(image, False)


# decode and readable_formats


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "PPM", "WEBP", "AVIF"])
def test_decode_reads_every_readable_format(name):
    if name not in readable_formats():
        pytest.skip(f"this Pillow has no {name}")
    file = io.BytesIO()
    Image.fromarray(np.full((8, 9), 200, np.uint8)).save(file, name)
    for color, shape in (False, (8, 9)), (True, (8, 9, 3)):
        file.seek(0)
        pixels = decode(file, color)
        assert pixels.shape == shape
        np.testing.assert_allclose(pixels.astype(int), 200, atol=3)


def test_readable_formats_gives_each_extension_to_one_format():
    extensions = [end for ends in readable_formats().values() for end in ends]
    assert len(extensions) == len(set(extensions))
    assert {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".tif", ".bmp"} <= set(extensions)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"]
)
def test_decode_raises_an_oserror_for_what_is_no_image(data):
    with pytest.raises(OSError, match="not an image in a format that can be read|cannot be decod"):
        decode(io.BytesIO(data), False)
