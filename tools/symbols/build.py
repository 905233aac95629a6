"""Build the set of symbols that the pretrained network learns from: icons, emoji, typefaces.

    python tools/symbols/build.py symbols.npz --packages FOLDER

Packages of the npm registry are named in ``sources.json``, with version, licence and checksum.
Those that FOLDER lacks are fetched by ``npm pack``. Needs ``pip install resvg_py fonttools
brotli pillow``. The file has, for each image:

- images: 64 x 64, uint8, background 0, drawn as dark as it was on white paper (luminance), with a
  margin about all that is drawn;
- cls, style, group, concept: indices of class_names, style_names, group_names, concept_names. A
  class is an icon of one family in several styles, an emoji in two, or a character in several
  typefaces. A concept is the name that classes of several families share; -1 for none;
- split: "train"; "choose", to choose parameters by, a fifth of the names and three scripts; and
  "judge", to measure what was chosen: families and scripts that nothing was learned from.

The tables of ``README.md`` are written too.
"""

import argparse
import hashlib
import io
import json
import re
import subprocess
import tarfile
import unicodedata
from collections import defaultdict
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

SOURCES = Path(__file__).with_name("sources.json")
PAGE = Path(__file__).with_name("README.md")
LICENCES = {"MIT", "Apache-2.0", "OFL-1.1"}
SIDE, MARGIN, RENDERED = 64, 3, 112
FAINTEST = 12  # darkness out of 255 that is drawn
MOST_FACES = 10  # typefaces of a character
SUBSETS = 8  # of the numbered parts of a Chinese or Korean typeface, one of so many is read

# Digits, "=" and kana are kept to judge by, in icons as well.
NOT_LEARNED = re.compile(
    r"number|numeric|digit|looks-|filter-\d|counter-|exposure-(plus|neg|zero)|equal|kana|keycap"
    r"|^\d|(^|-)[0-9](-|$)|^(zero|one|two|three|four|five|six|seven|eight|nine)(-|$)"
)
STYLES = re.compile(
    r"-(outlined|outline|line|linear|filled|fill|solid|twotone|duotone|16-solid|20-solid|16|24)$"
)


class Drawing(NamedTuple):
    group: str
    cls: str
    style: str
    concept: str
    split: str
    image: np.ndarray


class Icon(NamedTuple):
    family: str
    name: str
    style: str
    split: str
    source: str  # SVG


class Face(NamedTuple):
    """A typeface, and the characters that are drawn with it: group, class, concept, split."""

    style: str
    data: bytes  # WOFF or WOFF2
    characters: list[tuple[str, str, str, str, str]]


def held_out(name):
    """Return whether the first word of a name is of the fifth that is held out of training."""
    word = re.split(r"[-_ ]", name)[0]
    return int(hashlib.sha1(word.encode()).hexdigest(), 16) % 5 == 0


def framed(gray):
    """Bring a dark drawing on white to SIDE pixels, background 0; None if nothing is drawn."""
    drawn = 255 - np.asarray(gray, dtype=np.int16)
    rows, columns = np.nonzero(drawn > FAINTEST)
    if not len(rows) or drawn.max() < 60:
        return None
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    cut = Image.fromarray(drawn.astype(np.uint8)).crop(box)
    zoom = (SIDE - 2 * MARGIN) / max(cut.size)
    size = [max(1, round(side * zoom)) for side in cut.size]
    cut = cut.resize(size, Image.Resampling.BOX if zoom < 1 else Image.Resampling.BILINEAR)
    image = Image.new("L", (SIDE, SIDE))
    image.paste(cut, ((SIDE - cut.width) // 2, (SIDE - cut.height) // 2))
    return np.asarray(image)


def drawn_icon(icon):
    """Render an SVG on white."""
    import resvg_py

    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=icon.source, width=RENDERED))
    except ValueError:  # a drawing that the renderer cannot read
        return []
    drawing = Image.open(io.BytesIO(png)).convert("RGBA")
    white = Image.new("RGBA", drawing.size, "white")
    image = framed(Image.alpha_composite(white, drawing).convert("L"))
    if image is None:
        return []
    cls = f"{icon.family}/{icon.name}"
    style = f"{icon.family}:{icon.style}"
    return [Drawing(icon.family, cls, style, icon.name, icon.split, image)]


def drawn_characters(face):
    """Render the characters of a typeface."""
    font = ImageFont.truetype(io.BytesIO(as_truetype(face.data)), 80)
    drawings = []
    for group, cls, concept, split, character in face.characters:
        try:
            left, top, right, bottom = font.getbbox(character)
        except OSError:  # hinting that FreeType cannot run
            continue
        width, height = right - left, bottom - top
        if not (2 <= width <= 500 and 2 <= height <= 500):
            continue
        gray = Image.new("L", (width + 8, height + 8), 255)
        ImageDraw.Draw(gray).text((4 - left, 4 - top), character, font=font, fill=0)
        image = framed(gray)
        if image is not None:
            drawings.append(Drawing(group, cls, face.style, concept, split, image))
    return drawings


def files_of(source, folder):
    """Yield (path in the package, bytes) of a package, fetched if FOLDER lacks it."""
    path = folder / f"{source['package'].lstrip('@').replace('/', '-')}-{source['version']}.tgz"
    if not path.exists():
        name = f"{source['package']}@{source['version']}"
        command = ["npm", "pack", "--silent", name, "--pack-destination", folder]
        subprocess.run(command, check=True)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != source["sha256"]:
        raise OSError(f"{path} is not the file that sources.json names: its checksum differs.")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if member.isfile():
                yield member.name.split("/", 1)[1], archive.extractfile(member)


def icon(family, name, style, source, split=None):
    """Return an icon, or None if it is not learned from."""
    name = name.lower().replace("_", "-")
    if NOT_LEARNED.search(name):
        return None
    source = source.decode() if isinstance(source, bytes) else source
    split = split or ("choose" if held_out(name) else "train")
    return Icon(family, name, style, split, source)


def phosphor(files):
    for path, file in files:
        if match := re.match(r"assets/(\w+)/(.+)\.svg$", path):
            style, name = match.groups()
            yield icon("phosphor", name.removesuffix(f"-{style}"), style, file.read())


def fluent(files):
    """Yield one size of each icon, 24 pixels if there is one."""
    best = {}
    for path, file in files:
        if match := re.match(r"icons/([a-z0-9_]+)_(\d+)_(regular|filled)\.svg$", path):
            name, size, style = match.groups()
            rank = abs(int(size) - 24)
            if rank < best.get((name, style), (99,))[0]:
                best[name, style] = rank, file.read()
    for (name, style), (_, source) in best.items():
        yield icon("fluent", name, style, source)


def tabler(files):
    for path, file in files:
        if match := re.match(r"icons/(filled|outline)/(.+)\.svg$", path):
            yield icon("tabler", match[2], match[1], file.read())


def remix(files):
    for path, file in files:
        if match := re.match(r"icons/[^/]+/(.+)-(fill|line)\.svg$", path):
            yield icon("remix", match[1], match[2], file.read())


def bootstrap(files):
    for path, file in files:
        if match := re.match(r"icons/(.+?)(-fill)?\.svg$", path):
            style = "fill" if match[2] else "line"
            yield icon("bootstrap", match[1], style, file.read(), "judge")


def ionicons(files):
    for path, file in files:
        if match := re.match(r"dist/svg/(.+?)(-outline|-sharp)?\.svg$", path):
            style = (match[2] or "-filled")[1:]
            if not match[1].startswith("logo-"):
                yield icon("ionicons", match[1], style, file.read(), "judge")


def iconoir(files):
    for path, file in files:
        if match := re.match(r"icons/(solid|regular)/(.+)\.svg$", path):
            yield icon("iconoir", match[2], match[1], file.read(), "judge")


def iconify(files, family, style=None, split=None):
    """Yield the icons of a set in Iconify's JSON form; the style is at the end of a name."""
    for path, file in files:
        if path == "icons.json":
            icons = json.load(file)
    for full, drawn in icons["icons"].items():
        name = full
        own = style
        if match := STYLES.search(name) if style is None else None:
            name, own = name[: match.start()], match[1]
        width, height = (drawn.get(k, icons.get(k, 16)) for k in ("width", "height"))
        left, top = drawn.get("left", 0), drawn.get("top", 0)
        body = drawn["body"].replace("currentColor", "#000")
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" '
            'xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}">{body}</svg>'
        )
        yield icon(family, name, own or "base", svg, split)


def fluent_color(files):
    """Yield the coloured icons of the family "fluent", one size of each."""
    best = {}
    for item in iconify(files, "fluent", "color"):
        if item is not None:
            name, size = re.match(r"(.+)-(\d\d)$", item.name).groups()
            rank = abs(int(size) - 24)
            if rank < best.get(name, (99,))[0]:
                best[name] = rank, item
    for name, (_, item) in best.items():
        yield icon("fluent", name, "color", item.source)


def emoji(files, style, split=None):
    """Yield the emoji of a set, but those in five colours of skin."""
    skin = re.compile(r"-(light|medium-light|medium|medium-dark|dark)(-skin-tone)?$")
    for item in iconify(files, "emoji", style):
        flags = item is not None and ("flag" in item.name or "japanese" in item.name)
        if item is not None and not flags and not skin.search(item.name):
            yield icon("emoji", item.name, style, item.source, split)


def material(files):
    """Yield the four typefaces of Material Icons."""
    codes, fonts = {}, {}
    for path, file in files:
        if path == "css/_codepoints.scss":
            codes = dict(re.findall(r'"([^"]+)": ([0-9a-f]{4,5})', file.read().decode()))
        elif match := re.match(r"iconfont/material-icons(-outlined|-round|-sharp|)\.woff$", path):
            fonts[match[1][1:] or "filled"] = file.read()
    for style, data in fonts.items():
        characters = []
        for name, code in codes.items():
            named = icon("material", name, style, "")
            if named is not None:
                cls = f"material/{named.name}"
                character = chr(int(code, 16))
                characters.append(("material", cls, named.name, named.split, character))
        yield Face(f"material:{style}", data, characters)


READERS = {
    "@phosphor-icons/core": phosphor,
    "@fluentui/svg-icons": fluent,
    "@tabler/icons": tabler,
    "remixicon": remix,
    "material-icons": material,
    "bootstrap-icons": bootstrap,
    "ionicons": ionicons,
    "iconoir": iconoir,
    "@iconify-json/fluent-color": fluent_color,
    "@iconify-json/fluent-emoji-flat": lambda files: emoji(files, "flat"),
    "@iconify-json/fluent-emoji-high-contrast": lambda files: emoji(files, "high-contrast"),
    "@iconify-json/noto": lambda files: emoji(files, "noto", "judge"),
    "@iconify-json/icon-park": lambda files: iconify(files, "icon-park", "color"),
    "@iconify-json/icon-park-outline": lambda files: iconify(files, "icon-park", "outline"),
    "@iconify-json/icon-park-solid": lambda files: iconify(files, "icon-park", "solid"),
    "@iconify-json/icon-park-twotone": lambda files: iconify(files, "icon-park", "twotone"),
    "@iconify-json/devicon": lambda files: iconify(files, "devicon", "color"),
    "@iconify-json/devicon-plain": lambda files: iconify(files, "devicon", "plain"),
}


def letters(first, last, kinds=("Lo",)):
    """Return the letters of a range of Unicode, without variants of others."""
    return [
        chr(code)
        for code in range(first, last + 1)
        if unicodedata.category(chr(code)) in kinds
        and not unicodedata.decomposition(chr(code)).startswith("<")
    ]


def signs(first, last, step=1):
    """Return the characters of a range of Unicode."""
    return [chr(code) for code in range(first, last + 1, step) if chr(code) != "="]


TRAIN = {
    "latin_upper": letters(0x41, 0x17F, ("Lu",)),
    "latin_lower": letters(0x61, 0x17F, ("Ll",)),
    "greek_upper": letters(0x391, 0x3A9, ("Lu",)),
    "greek_lower": letters(0x3B1, 0x3C9, ("Ll",)),
    "cyrillic_upper": letters(0x402, 0x42F, ("Lu",)),
    "cyrillic_lower": letters(0x430, 0x45F, ("Ll",)),
    "armenian": letters(0x531, 0x587, ("Lu", "Ll")),
    "hebrew": letters(0x5D0, 0x5EA),
    "arabic": letters(0x621, 0x6D5),
    "devanagari": letters(0x904, 0x961),
    "bengali": letters(0x985, 0x9E1),
    "gujarati": letters(0xA85, 0xAE1),
    "tamil": letters(0xB83, 0xBD0),
    "lao": letters(0xE81, 0xEDF),
    "myanmar": letters(0x1000, 0x1055),
    "georgian": letters(0x10D0, 0x10FA, ("Ll", "Lo")),
    "cherokee": letters(0x13A0, 0x13F4, ("Lu", "Lo")),
    "canadian": letters(0x1401, 0x1676),
    "tifinagh": letters(0x2D30, 0x2D67),
    "hangul": signs(0xAC07, 0xD7A3, 37),
    "han": signs(0x4E03, 0x9000, 13),
    "arrows": signs(0x2190, 0x21FF),
    "math": signs(0x2200, 0x22FF),
    "technical": signs(0x2300, 0x23D0),
    "shapes": signs(0x25A0, 0x25FF),
    "misc": signs(0x2600, 0x26FF),
    "dingbats": signs(0x2701, 0x2775),
    "currency": signs(0x20A0, 0x20BF),
}
CHOOSE = {
    "telugu": letters(0xC05, 0xC61),
    "sinhala": letters(0xD85, 0xDC6),
    "khmer": letters(0x1780, 0x17B3),
}
JUDGE = {
    "kannada": letters(0xC85, 0xCE1),
    "thai": letters(0xE01, 0xE33),
    "malayalam": letters(0xD05, 0xD61),
    "gurmukhi": letters(0xA05, 0xA5E),
    "oriya": letters(0xB05, 0xB61),
    "ethiopic": letters(0x1200, 0x137C),
    "tibetan": letters(0xF40, 0xF6C),
}
SCRIPTS = {"train": TRAIN, "choose": CHOOSE, "judge": JUDGE}


def as_truetype(data):
    """Return a WOFF or WOFF2 file as TrueType or OpenType."""
    font = TTFont(io.BytesIO(data))
    font.flavor = None
    out = io.BytesIO()
    font.save(out)
    return out.getvalue()


def typefaces(packages, folder):
    """Yield typefaces, each with the characters for which it was drawn.

    Of a package, the regular weight and the heaviest are read: two faces of each character.
    """
    wanted = {
        character: (split, script)
        for split, scripts in SCRIPTS.items()
        for script, characters in scripts.items()
        for character in characters
    }
    faces, covering = {}, defaultdict(lambda: defaultdict(list))
    for source in packages:
        family = source["package"].split("/")[1]
        found = defaultdict(list)
        for path, file in files_of(source, folder):
            match = re.match(rf"files/{family}-(.+)-(\d00)-normal\.woff2$", path)
            if match and (not match[1].isdigit() or int(match[1]) % SUBSETS == 0):
                found[int(match[2])].append((match[1], file.read()))
        for weight in {min(found, key=lambda w: abs(w - 400)), max(found)}:
            for subset, data in found[weight]:
                style = f"{family}-{subset}-{weight}"
                cover = TTFont(io.BytesIO(data), lazy=True).getBestCmap() or {}
                own = [c for c in wanted if ord(c) in cover]
                if own:
                    faces[style] = data
                for character in own:
                    covering[character][family, weight].append(style)
    characters = defaultdict(list)
    rng = np.random.default_rng(0)
    for character in wanted:
        split, script = wanted[character]
        # Several families before two weights of one.
        options = sorted(covering[character])
        order = [options[n] for n in rng.permutation(len(options))]
        seen = defaultdict(int)
        rank = []
        for family, weight in order:
            rank.append((seen[family], len(rank), family, weight))
            seen[family] += 1
        for _, _, family, weight in sorted(rank)[:MOST_FACES]:
            style = covering[character][family, weight][0]
            cls = f"{script}/{ord(character):04x}"
            characters[style].append((f"script:{script}", cls, "", split, character))
    for style, chosen in characters.items():
        yield Face(style, faces[style], chosen)


def kept(drawings):
    """Return drawings in order, each picture of a class once.

    A filled icon that is the same as its outline is no second style. A class of one drawing is
    kept if another family has its concept.
    """
    distinct = {(d.cls, d.image.tobytes()): d for d in reversed(drawings)}
    drawings = sorted(distinct.values(), key=lambda d: (d.group, d.cls, d.style))
    of_class, families = defaultdict(int), defaultdict(set)
    for d in drawings:
        of_class[d.cls] += 1
        families[d.concept].add(d.group)
    return [
        d for d in drawings if of_class[d.cls] > 1 or (d.concept and len(families[d.concept]) > 1)
    ], {concept for concept, groups in families.items() if concept and len(groups) > 1}


def page(data, sources):
    """Return the text of README.md with its tables renewed."""
    fonts = [source for source in sources if source["package"].startswith("@fontsource/")]
    packages = "".join(
        f"| {source['package']} | {source['version']} | {source['licence']} |\n"
        for source in sources
        if source not in fonts
    )
    packages += f"| {len(fonts)} of @fontsource/* | `sources.json` | OFL-1.1 |\n"
    counts = ""
    for g, group in [*enumerate(data["group_names"]), (None, "all")]:
        cells = []
        for split in ("train", "choose", "judge"):
            rows = (data["split"] == split) & ((data["group"] == g) if g is not None else True)
            cells += [len(np.unique(data["cls"][rows])), rows.sum()]
        counts += f"| {group} | {' | '.join(f'{n:,}' if n else '' for n in cells)} |\n"
    heads = {
        "packages": "| package | version | licence |\n| --- | --- | --- |\n",
        "counts": "| family or script | classes to train | images | classes to choose | images "
        "| classes to judge | images |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    }
    text = PAGE.read_text()
    for name, table in (("packages", packages), ("counts", counts)):
        before, rest = text.split(f"<!-- {name} -->\n")
        text = f"{before}<!-- {name} -->\n{heads[name]}{table}{rest[rest.index('<!-- end -->') :]}"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--packages", type=Path, required=True, help="folder of npm packages")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    args.packages.mkdir(parents=True, exist_ok=True)

    icons, faces, fonts = [], [], []
    for source in json.loads(SOURCES.read_text()):
        if source["licence"] not in LICENCES:
            raise ValueError(f"{source['package']} is licensed under {source['licence']}.")
        name = source["package"]
        if name.startswith("@fontsource/"):
            fonts.append(source)
            continue
        family = name.split("/")[-1]
        reader = READERS.get(name, lambda files, family=family: iconify(files, family))
        for item in reader(files_of(source, args.packages)):
            if item is not None:
                (faces if isinstance(item, Face) else icons).append(item)
    print(len(icons), "icons")
    faces += typefaces(fonts, args.packages)
    print(len(faces), "typefaces")

    drawings = []
    with Pool(args.jobs) as pool:
        for drawn in pool.imap(drawn_icon, icons, chunksize=64):
            drawings += drawn
        for drawn in pool.imap(drawn_characters, faces):
            drawings += drawn
    drawings, concepts = kept(drawings)

    out = {"images": np.stack([d.image for d in drawings])}
    for name in ("cls", "style", "group"):
        names, out[name] = np.unique([getattr(d, name) for d in drawings], return_inverse=True)
        out[{"cls": "class_names"}.get(name, f"{name}_names")] = names
    out["concept_names"] = np.array(sorted(concepts))
    number = {concept: n for n, concept in enumerate(out["concept_names"])}
    out["concept"] = np.array([number.get(d.concept, -1) for d in drawings])
    out["split"] = np.array([d.split for d in drawings])
    np.savez_compressed(args.out, **out)
    PAGE.write_text(page(out, json.loads(SOURCES.read_text())))
    print(f"{args.out}: {len(out['images'])} images of {len(out['class_names'])} classes")


if __name__ == "__main__":
    main()
