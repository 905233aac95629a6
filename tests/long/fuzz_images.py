"""Damaged image files, .npy files and Omniglot zips: each an array or a documented error.

    python tests/long/fuzz_images.py --count 20000 --seed 0

Each part of the inputs is read in a child process whose memory and time are limited. The exit
status is 1 if a child crashed, ran out of time, or met another result.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from sksiamese.datasets import ImageArray, fetch_omniglot, load_images
from sksiamese.datasets.decoding import readable_formats

PART = 2000  # inputs of a child process
MEMORY = 2 << 30  # bytes that a child may take for a part, beyond what it has when it starts
SECONDS = 300  # for a part


def gradient(height=24, width=32):
    """Return a gray image (height, width) whose values differ everywhere."""
    return (np.add.outer(np.arange(height) * 5, np.arange(width) * 3) % 256).astype(np.uint8)


def encode(image, format, **save):
    """Return the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, format, **save)
    return file.getvalue()


def intact_files():
    """Return image files of every kind, a zip and an .npy file, as bytes, by a name."""
    gray = Image.fromarray(gradient())
    color = Image.merge("RGB", [gray, gray.rotate(180), gray.transpose(Image.Transpose(0))])
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(gradient().astype(np.uint16) * 257)
    transparent = color.convert("RGBA")
    transparent.putalpha(gray)
    files = {
        "png gray": encode(gray, "PNG"),
        "png bits": encode(gray.convert("1"), "PNG"),
        "png colour": encode(color, "PNG", exif=exif),
        "png palette": encode(color.convert("P"), "PNG", transparency=3),
        "png alpha": encode(transparent, "PNG"),
        "png deep": encode(deep, "PNG"),
        "jpeg gray": encode(gray, "JPEG"),
        "jpeg colour": encode(color, "JPEG", exif=exif, progressive=True),
        "jpeg cmyk": encode(color.convert("CMYK"), "JPEG"),
        "gif": encode(color.convert("P"), "GIF", transparency=3),
        "gif animated": encode(gray, "GIF", save_all=True, append_images=[gray.rotate(90)]),
        "tiff gray": encode(gray, "TIFF", exif=exif),
        "tiff deep": encode(deep, "TIFF"),
        "tiff float": encode(Image.fromarray(gradient() / np.float32(255)), "TIFF"),
        "tiff pages": encode(gray, "TIFF", save_all=True, append_images=[gray.rotate(90)]),
        "tiff lzw": encode(color, "TIFF", compression="tiff_lzw"),
        "tiff deflate": encode(color, "TIFF", compression="tiff_adobe_deflate"),
        "bmp": encode(color, "BMP"),
        "bmp palette": encode(color.convert("P"), "BMP"),
        "ppm": encode(color, "PPM"),
        "pgm deep": encode(deep.convert("I"), "PPM"),
        "pgm text": b"P2 4 3 255 0 10 20 30 40 50 60 70 80 90 100 110",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage",
    }
    for name in "WEBP", "AVIF":
        if name in readable_formats():
            files[name.lower()] = encode(transparent, name, exif=exif)
    npy = io.BytesIO()
    np.save(npy, np.stack([gradient()] * 3))
    return {**files, "zip": omniglot_zip(), "npy": npy.getvalue()}


def omniglot_zip():
    """Return a zip with the drawings of two characters, as bytes."""
    file = io.BytesIO()
    drawing = np.ones((105, 105), bool)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(1, 5):
            drawing[20 * i] = False
            name = f"images_background/Greek/character{1 + i // 3:02d}/0001_{i:02d}.png"
            archive.writestr(name, encode(Image.fromarray(drawing), "PNG"))
    return file.getvalue()


def mutate(data, other, rng):
    """Return damaged bytes, by one or two changes."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 3)):
        if not data:
            break
        start = int(rng.integers(len(data)))
        # Headers are short, and most of the errors are in what reads them.
        start = start if rng.random() < 0.5 else int(rng.integers(min(len(data), 64)))
        end = min(len(data), start + int(rng.integers(1, 40)))
        match rng.integers(8):
            case 0:
                data[start] ^= 1 << int(rng.integers(8))
            case 1:
                data[start] = int(rng.choice([0, 1, 127, 128, 255]))
            case 2:
                data[start:end] = rng.bytes(end - start)
            case 3:
                del data[start:]
            case 4:
                del data[start:end]
            case 5:
                data[start:start] = data[start:end]
            case 6:
                data[start : start + 4] = rng.choice(
                    [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\x01\0\0"]
                )
            case 7:
                data[start:] = other[int(rng.integers(len(other))) :]
    return bytes(data)


def mutated_file(number, seed, files):
    """Return the kind and the bytes of one damaged file."""
    rng = np.random.default_rng([seed, number])
    names = list(files)
    kind = names[number % len(names)]
    return kind, mutate(files[kind], files[names[int(rng.integers(len(names)))]], rng)


def read(kind, data, folder):
    """Return what reading a file gives: "array", or the name of a documented error."""
    try:
        images = READERS.get(kind, read_image)(data, folder)
    except OSError:
        return "OSError"
    except ValueError:
        if kind != "npy":
            raise
        return "ValueError"
    if kind != "npy" and (
        images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size
    ):
        raise AssertionError(f"images of shape {images.shape} and dtype {images.dtype}")
    return "array"


def read_image(data, folder):
    """Load an image file, in colour or not."""
    return load_images([data], color=len(data) % 2 == 1).images


def read_zip(data, folder):
    """Load a zip as Omniglot."""
    Path(folder, "images_background.zip").write_bytes(data)
    images = fetch_omniglot(data_home=folder, download_if_missing=False).images
    return images.reshape(-1, 105, 105)


def read_npy(data, folder):
    """Load all images of an .npy file."""
    path = Path(folder, "images.npy")
    path.write_bytes(data)
    return np.array(ImageArray(path)[:])


READERS = {"zip": read_zip, "npy": read_npy}


def read_part(first, count, seed):
    """Read some files, and return how often each kind had each result."""
    files = intact_files()
    counts = Counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damage that it can do without
        for number in range(first, first + count):
            kind, data = mutated_file(number, seed, files)
            try:
                result = read(kind, data, folder)
            except Exception as error:
                result = f"file {number}: {type(error).__name__}: {error}"
            counts[f"{kind}: {result}"] += 1
    return counts


def limit_memory():
    """Limit the memory of this process to what it has and `MEMORY`."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(n, seed):
    """Read `n` damaged files in child processes, print counts, and return the number of faults."""
    counts: Counter[str] = Counter()
    faults = []
    start = time.monotonic()
    for first in range(0, n, PART):
        count = min(PART, n - first)
        command = [sys.executable, __file__, "--child", str(first)]
        command += ["--count", str(count), "--seed", str(seed)]
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            faults.append(f"files {first} to {first + count - 1}: no end after {SECONDS} s")
            continue
        if child.returncode:
            error = child.stderr.strip()[-500:]
            faults.append(
                f"files {first} to {first + count - 1}: exit status {child.returncode} {error}"
            )
            continue
        counts.update(json.loads(child.stdout))
    documented = {"array", "OSError", "ValueError"}
    faults += [result for result in counts if result.split(": ", 1)[1] not in documented]
    totals = Counter()
    for result, number in sorted(counts.items()):
        kind, what = result.split(": ", 1)
        totals[what if what in documented else "fault"] += number
        if what in documented:
            print(f"{kind:14} {what:10} {number}")
    for fault in faults:
        print(fault)
    print(
        f"{sum(totals.values())} of {n} files, seed {seed}: {dict(totals)}, {len(faults)} faults, "
        f"{time.monotonic() - start:.0f} s"
    )
    return len(faults)


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is None:
        sys.exit(run(args.count, args.seed) > 0)
    limit_memory()
    print(json.dumps(read_part(args.child, args.count, args.seed)))


if __name__ == "__main__":
    main()
