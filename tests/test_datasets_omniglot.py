"""Tests of the Omniglot loaders, on the included data and on the official release if present."""

import importlib.util
import io
import os
import re
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import close_folder
from PIL import Image

import sksiamese.datasets
from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs, load_omniglot_minimal

ROOT = Path(__file__).resolve().parents[1]
RELEASE = Path(os.environ.get("SKSIAMESE_SHARED", ROOT.parent / "shared")) / "omniglot"
DATA = Path(sksiamese.datasets.__file__).parent / "data"
needs_release = pytest.mark.skipif(not RELEASE.exists(), reason=f"no Omniglot in {RELEASE}")
FIELDS = "images", "target", "alphabets", "drawers"
RUN_FIELDS = "support_images", "support_labels", "query_images", "query_labels"


@pytest.fixture(autouse=True)
def no_data_home_and_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("SKSIAMESE_DATA", str(tmp_path / "nowhere"))

    def refuse(*args, **kwargs):
        raise AssertionError("a test tried to download")

    monkeypatch.setattr("pooch.retrieve", refuse)


@pytest.fixture(scope="module")
def minimal():
    return load_omniglot_minimal()


@pytest.fixture(scope="module")
def background():
    """The whole released background set; reading it takes seconds, so it is read once."""
    return fetch_omniglot(data_home=RELEASE, download_if_missing=False)


def png(image):
    """Return a PNG file as in the release: black on white, 1 bit per pixel."""
    file = io.BytesIO()
    Image.fromarray(image == 255).save(file, "PNG")
    return file.getvalue()


def write_set(path, part, data):
    """Write a zip with the layout of the release, with files in an order that is not sorted."""
    with zipfile.ZipFile(path / f"images_{part}.zip", "w") as archive:
        for i in reversed(range(len(data["target"]))):
            name = f"images_{part}/{data['target'][i]}/0001_{data['drawers'][i]:02d}.png"
            archive.writestr(name, png(data["images"][i]))
        archive.writestr(f"__MACOSX/images_{part}/Greek/character01/._0001_01.png", b"finder")


@pytest.fixture
def few(minimal):
    """Two Greek characters and a Latin one by three drawers, as a dict of the four fields."""
    characters = ["Greek/character01", "Greek/character02", "Latin/character26"]
    chosen = np.isin(minimal.target, characters) & np.isin(minimal.drawers, [1, 2, 20])
    return {field: minimal[field][chosen] for field in FIELDS}


def assert_same(left, right, fields=FIELDS):
    for field in fields:
        np.testing.assert_array_equal(left[field], right[field], err_msg=field)
        assert left[field].dtype.kind == right[field].dtype.kind


# load_omniglot_minimal


def test_load_omniglot_minimal_has_the_official_counts(minimal):
    assert minimal.images.shape == (2720, 105, 105)
    assert minimal.images.dtype == np.uint8
    assert [len(minimal[field]) for field in FIELDS] == [2720] * 4
    assert sorted(set(minimal.alphabets)) == [
        "Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"
    ]  # fmt: skip
    characters, counts = np.unique(minimal.target, return_counts=True)
    assert len(characters) == 136
    assert set(counts) == {20}
    assert sorted(set(minimal.drawers)) == list(range(1, 21))
    assert [t.split("/")[0] for t in minimal.target] == list(minimal.alphabets)
    assert "Omniglot" in minimal.DESCR


def test_load_omniglot_minimal_returns_dark_drawings_on_light(minimal):
    for images in (minimal.images, minimal.runs[0].support_images, minimal.runs[0].query_images):
        assert images.dtype == np.uint8
        assert set(np.unique(images)) == {0, 255}
        foreground = (images == 0).mean(axis=(1, 2))
        assert foreground.min() > 0
        assert foreground.max() < 0.2
    # Drawings rarely touch the border.
    assert (minimal.images[:, 0] == 0).mean() < 0.01


def test_load_omniglot_minimal_has_twenty_runs_of_twenty_queries(minimal):
    assert len(minimal.runs) == 20
    for run in minimal.runs:
        assert run.support_images.shape == run.query_images.shape == (20, 105, 105)
        assert list(run.support_labels) == [f"class{i:02d}" for i in range(1, 21)]
        assert sorted(run.query_labels) == sorted(run.support_labels)
    # If the order of the queries were constant, a constant answer would score.
    assert len({tuple(run.query_labels) for run in minimal.runs}) == 20


def test_load_omniglot_minimal_file_is_small_and_licensed():
    assert sum(path.stat().st_size for path in DATA.iterdir()) <= 1.6e6
    assert "Permission is hereby granted" in (DATA / "LICENSE").read_text()


def test_load_omniglot_minimal_returns_new_arrays_at_each_call(minimal):
    first = load_omniglot_minimal()
    for array in (first.images, first.drawers, first.runs[3].query_images):
        array[:] = 7
    first.target[:] = first.runs[3].query_labels[:] = "x"
    second = load_omniglot_minimal()
    assert_same(second, minimal)
    assert_same(second.runs[3], minimal.runs[3], RUN_FIELDS)
    assert not np.shares_memory(second.runs[0].support_labels, second.runs[1].support_labels)


@needs_release
def test_load_omniglot_minimal_equals_the_release(minimal, background):
    included = np.isin(background.alphabets, np.unique(minimal.alphabets))
    assert_same(minimal, {field: background[field][included] for field in FIELDS})


@needs_release
def test_load_omniglot_minimal_runs_equal_the_release(minimal):
    """Reads the label files line by line, independently of the loader."""
    with zipfile.ZipFile(RELEASE / "all_runs.zip") as archive:

        def pixels(name):
            return 255 * np.asarray(Image.open(archive.open(name)), dtype=int)

        for number, run in enumerate(minimal.runs, start=1):
            folder = f"run{number:02d}"
            support = dict(zip(run.support_labels, run.support_images, strict=True))
            for label, image in support.items():
                np.testing.assert_array_equal(image, pixels(f"{folder}/training/{label}.png"))
            lines = archive.read(f"{folder}/class_labels.txt").decode().split("\n")
            for i, line in enumerate(filter(None, lines)):
                test, training = line.split()
                assert test == f"{folder}/test/item{i + 1:02d}.png"
                assert training == f"{folder}/training/{run.query_labels[i]}.png"
                np.testing.assert_array_equal(run.query_images[i], pixels(test))


def test_load_omniglot_minimal_runs_are_above_chance_for_nearest_neighbours(minimal):
    """Shuffled labels, or labels off by one, would score 5 %."""
    hits = []
    for run in minimal.runs:
        support, query = run.support_images.reshape(20, -1), run.query_images.reshape(20, -1)
        distance = (query[:, None] != support[None]).sum(axis=-1)
        hits.append(run.support_labels[distance.argmin(axis=1)] == run.query_labels)
    assert 0.15 < np.mean(hits) < 0.5


@needs_release
def test_pack_omniglot_reproduces_the_included_file(background):
    spec = importlib.util.spec_from_file_location("pack", ROOT / "tools" / "pack_omniglot.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    runs = fetch_omniglot_runs(data_home=RELEASE)
    packed = tool.pack(background, runs)
    assert packed == tool.pack(background, runs)
    with (
        np.load(io.BytesIO(packed)) as ours,
        np.load(DATA / "omniglot_minimal.npz") as included,
    ):
        assert set(ours) == set(included)
        for name in included:
            np.testing.assert_array_equal(ours[name], included[name])
            assert ours[name].dtype == included[name].dtype


# fetch_omniglot


@needs_release
def test_fetch_omniglot_background_has_the_official_counts(background):
    assert background.images.shape == (19280, 105, 105)
    assert len(set(background.target)) == 964
    assert len(set(background.alphabets)) == 30
    assert background.images.mean() > 0.8 * 255


def test_fetch_omniglot_reads_zips_folders_and_the_environment(tmp_path, monkeypatch, few):
    zipped, unpacked = tmp_path / "zipped", tmp_path / "unpacked"
    zipped.mkdir()
    write_set(zipped, "background", few)
    shutil.unpack_archive(zipped / "images_background.zip", unpacked)
    from_zip = fetch_omniglot(data_home=zipped, download_if_missing=False)
    assert_same(from_zip, few)
    assert_same(fetch_omniglot(data_home=str(unpacked), download_if_missing=False), few)
    monkeypatch.setenv("SKSIAMESE_DATA", str(zipped))
    assert_same(fetch_omniglot(download_if_missing=False), few)
    images, target = fetch_omniglot(return_X_y=True)
    assert_same({"images": images, "target": target}, few, ("images", "target"))


def test_fetch_omniglot_looks_in_the_data_home_of_scikit_learn(tmp_path, monkeypatch, few):
    monkeypatch.delenv("SKSIAMESE_DATA")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    (tmp_path / "omniglot").mkdir()
    write_set(tmp_path / "omniglot", "background", few)
    assert_same(fetch_omniglot(download_if_missing=False), few)


def test_fetch_omniglot_all_is_background_then_evaluation(tmp_path, few):
    """Files with fewer alphabets than the official ones are read as they are."""
    greek = few["alphabets"] == "Greek"
    background = {field: few[field][~greek] for field in FIELDS}
    evaluation = {field: few[field][greek] for field in FIELDS}
    write_set(tmp_path, "background", background)
    write_set(tmp_path, "evaluation", evaluation)
    assert_same(fetch_omniglot("evaluation", data_home=tmp_path), evaluation)
    both = {field: np.concatenate([background[field], evaluation[field]]) for field in FIELDS}
    assert_same(fetch_omniglot("all", data_home=tmp_path), both)


@pytest.mark.parametrize("subset", ["background", "evaluation"])
def test_fetch_omniglot_downloads_a_missing_set_and_checks_its_hash(
    tmp_path, monkeypatch, few, subset
):
    md5 = {
        "background": "68d2efa1b9178cc56df9314c21c6e718",
        "evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
    }
    calls = []

    def retrieve(url, known_hash, fname, path):
        calls.append((url, known_hash))
        assert Path(path) == tmp_path
        write_set(tmp_path, subset, few)
        return str(tmp_path / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    for _ in range(2):  # the second call finds the downloaded file
        assert_same(fetch_omniglot(subset, data_home=tmp_path), few)
    assert calls == [
        (
            "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
            f"images_{subset}.zip",
            f"md5:{md5[subset]}",
        )
    ]


def test_fetch_omniglot_names_the_missing_file(tmp_path, few):
    with pytest.raises(OSError, match="Omniglot's background set is missing") as error:
        fetch_omniglot(data_home=tmp_path / "empty", download_if_missing=False)
    for part in (str(tmp_path / "empty"), "images_background.zip", "SKSIAMESE_DATA"):
        assert part in str(error.value)
    assert not (tmp_path / "empty").exists()
    write_set(tmp_path, "background", few)
    with pytest.raises(OSError, match=r"images_evaluation\.zip"):
        fetch_omniglot("all", data_home=tmp_path, download_if_missing=False)


@pytest.mark.parametrize("damage", ["truncated", "garbled", "empty", "other", "small", "half"])
def test_fetch_omniglot_names_a_damaged_zip(tmp_path, few, damage):
    write_set(tmp_path, "background", few)
    path = tmp_path / "images_background.zip"
    content = path.read_bytes()
    name = "Greek/character01/0001_01.png"
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "garbled":  # the directory of the zip is intact, a file in it is not
        path.write_bytes(content[:60] + bytes(200) + content[260:])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        inside = {
            "other": ("readme.txt", b"not Omniglot"),
            "small": (name, png(np.full((28, 28), 255, dtype=np.uint8))),
            "half": (name, png(few["images"][0])[:100]),
        }[damage]
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(*inside)
    damaged = path.read_bytes()
    with pytest.raises(OSError, match="delete it and download it again") as error:
        fetch_omniglot(data_home=tmp_path)
    assert str(path) in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no other file was written
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("closed", ["", "Greek", "Greek/character01"])
def test_fetch_omniglot_names_a_folder_that_cannot_be_read(tmp_path, monkeypatch, few, closed):
    write_set(tmp_path, "background", few)
    shutil.unpack_archive(tmp_path / "images_background.zip", tmp_path)
    (tmp_path / "images_background.zip").unlink()
    folder = tmp_path / "images_background" / closed
    close_folder(monkeypatch, folder)
    message = re.escape(f"(Permission denied: {folder})")
    with pytest.raises(OSError, match=f"images_background cannot be read.*{message}"):
        fetch_omniglot(data_home=tmp_path, download_if_missing=False)


def test_fetch_omniglot_names_a_damaged_folder(tmp_path):
    path = tmp_path / "images_background/Greek/character01/0001_01.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a PNG")
    with pytest.raises(OSError, match="images_background cannot be read"):
        fetch_omniglot(data_home=tmp_path)


@pytest.mark.parametrize(
    "problem",
    [ValueError("MD5 hash of downloaded file does not match"), ConnectionError("no network")],
)
def test_fetch_omniglot_says_what_to_do_if_it_cannot_download(tmp_path, monkeypatch, problem):
    def fail(*args, **kwargs):
        raise problem

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(OSError, match="Omniglot's evaluation set cannot be downloaded") as error:
        fetch_omniglot("evaluation", data_home=tmp_path)
    message = str(error.value)
    assert str(problem) in message
    assert (
        "file images_evaluation.zip (md5:6b91aef0f799c5bb55b94e3f2daec811, from https" in message
    )
    assert "or the folder images_evaluation unpacked from it" in message
    assert f"into the folder {tmp_path}." in message


WHITE = png(np.full((105, 105), 255, np.uint8))
NAME = "A/character01/0001_01.png"


def zip_of(*entries, method=zipfile.ZIP_DEFLATED):
    """The bytes of a zip with these names and contents, as they are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo("x" * len(name))
            info.compress_type = method
            info.filename = name
            archive.writestr(info, content)
    return bytearray(file.getvalue())


def with_flags(encrypted=0, method=8):
    data = zip_of((NAME, WHITE))
    central = data.find(b"PK\x01\x02")
    data[6] |= encrypted
    data[central + 8] |= encrypted
    data[8] = data[central + 10] = method
    return data


def with_a_wrong_byte():
    data = zip_of((NAME, WHITE), method=zipfile.ZIP_STORED)
    data[data.find(b"IDAT") + 10] ^= 1
    return data


def with_declared_size(size):
    data = zip_of((NAME, bytes(1 << 20)))
    central = data.find(b"PK\x01\x02")
    data[central + 24 : central + 28] = size.to_bytes(4, "little")
    return data


def image_bytes(image, format="PNG"):
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


DAMAGED = {
    "empty": (b"", "not a zip file"),
    "text": (b"not a zip", "not a zip file"),
    "cut": (zip_of((NAME, WHITE))[:-30], "not a zip file"),
    "encrypted": (with_flags(encrypted=1), "encrypted"),
    "other compression": (with_flags(method=99), "not compressed by deflate"),
    "lzma": (zip_of((NAME, WHITE), method=zipfile.ZIP_LZMA), "not compressed by deflate"),
    "wrong byte": (with_a_wrong_byte(), "CRC"),
    "drawer of 30 digits": (
        zip_of((NAME, WHITE), (f"A/character01/1_{'9' * 30}.png", WHITE)),
        "large",
    ),
    "drawer of 9000 digits": (zip_of((f"A/character01/1_{'9' * 9000}.png", WHITE)), "digits"),
    "other name": (
        zip_of((NAME, WHITE), ("A/character01/one.png", WHITE)),
        "not named <Alphabet>",
    ),
    "no drawing": (zip_of(("readme.txt", b"")), "no files <Alphabet>"),
    "twice": (zip_of((NAME, WHITE), ("other/" + NAME, WHITE)), "is in it twice"),
    "same name": (zip_of((NAME, WHITE), (NAME, WHITE)), "is in it twice"),
    "above": (zip_of(("../" + NAME, WHITE)), "leads out of the folder"),
    "above within": (zip_of(("A/../../" + NAME, WHITE)), "leads out of the folder"),
    "absolute": (zip_of(("/" + NAME, WHITE)), "leads out of the folder"),
    "backslash": (zip_of(("..\\" + NAME, WHITE)), "leads out of the folder"),
    "drive": (zip_of(("C:" + NAME, WHITE)), "leads out of the folder"),
    "unrelated name": (
        zip_of((NAME, WHITE), ("../../etc/passwd", b"")),
        "leads out of the folder",
    ),
    "bomb": (zip_of((NAME, bytes(1 << 24))), "has 16777216 bytes; expected at most"),
    "bomb that declares less": (with_declared_size(100), "cannot be read"),
    "large": (bytes((1 << 24) + 1), "expected at most 16777216"),
    "other size": (zip_of((NAME, image_bytes(Image.new("1", (104, 105))))), "expected .105, 105."),
    "declared size": (
        zip_of((NAME, image_bytes(Image.new("1", (9000, 9000))))),
        "expected .105, 10",
    ),
    "light on dark": (zip_of((NAME, image_bytes(Image.new("1", (105, 105))))), "light on dark"),
    "GIF": (zip_of((NAME, image_bytes(Image.new("1", (105, 105)), "GIF"))), "cannot identify"),
    "no PNG": (zip_of((NAME, b"text")), "cannot identify"),
    "cut PNG": (zip_of((NAME, WHITE[:-30])), "cannot be decoded"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_fetch_omniglot_names_a_zip_that_it_refuses(tmp_path, damage):
    data, message = DAMAGED[damage]
    (tmp_path / "images_background.zip").write_bytes(data)
    with pytest.raises(OSError, match=message) as error:
        fetch_omniglot(data_home=tmp_path, download_if_missing=False)
    assert str(error.value).startswith(f"{tmp_path}/images_background.zip cannot be read as Omni")
    assert str(error.value).isprintable()


def test_fetch_omniglot_takes_little_memory_for_a_bomb(tmp_path):
    (tmp_path / "images_background.zip").write_bytes(DAMAGED["bomb"][0])
    tracemalloc.start()
    with pytest.raises(OSError, match="bytes; expected at most"):
        fetch_omniglot(data_home=tmp_path, download_if_missing=False)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


@pytest.mark.skipif(os.name == "nt", reason="needs pipes")
@pytest.mark.parametrize("place", ["images_background.zip", f"images_background/{NAME}"])
def test_fetch_omniglot_does_not_wait_for_a_pipe(tmp_path, place):
    pipe = tmp_path / place
    pipe.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="it is a named pipe; expected a regular file"):
        fetch_omniglot(data_home=tmp_path, download_if_missing=False)


def test_fetch_omniglot_refuses_a_large_file_in_a_folder(tmp_path):
    path = tmp_path / "images_background" / NAME
    path.parent.mkdir(parents=True)
    path.touch()
    os.truncate(path, 1 << 40)  # a file without content takes no space
    with pytest.raises(OSError, match="0001_01.png has more than 16384 bytes"):
        fetch_omniglot(data_home=tmp_path, download_if_missing=False)


def test_fetch_omniglot_ignores_what_macos_adds(tmp_path):
    (tmp_path / "images_background.zip").write_bytes(
        zip_of((NAME, WHITE), (f"__MACOSX/{NAME}", b""), ("A/character01/._0001_01.png", b""))
    )
    assert fetch_omniglot(data_home=tmp_path).target.tolist() == ["A/character01"]


@pytest.mark.parametrize("subset", ["Background", "test", None])
def test_fetch_omniglot_refuses_an_unknown_subset(subset):
    with pytest.raises(ValueError, match=f'subset={subset!r}.*"background", "evaluation"'):
        fetch_omniglot(subset)


# fetch_omniglot_runs


def write_runs(path, runs):
    with zipfile.ZipFile(path, "w") as archive:
        for number, run in enumerate(runs, start=1):
            lines = []
            for i in range(20):
                item = f"run{number:02d}/test/item{i + 1:02d}.png"
                archive.writestr(item, png(run.query_images[i]))
                lines.append(f"{item} run{number:02d}/training/{run.query_labels[i]}.png\n")
                exemplar = f"run{number:02d}/training/{run.support_labels[i]}.png"
                archive.writestr(exemplar, png(run.support_images[i]))
            archive.writestr(f"run{number:02d}/class_labels.txt", "".join(lines))


def test_fetch_omniglot_runs_reads_the_included_runs_by_default(minimal):
    runs = fetch_omniglot_runs()
    assert len(runs) == 20
    for ours, theirs in zip(runs, minimal.runs, strict=True):
        assert_same(ours, theirs, RUN_FIELDS)


def test_fetch_omniglot_runs_reads_zips_and_folders(tmp_path, monkeypatch, minimal):
    runs = minimal.runs[::-1]  # in another order than the included runs
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    write_runs(zipped / "all_runs.zip", runs)
    shutil.unpack_archive(zipped / "all_runs.zip", tmp_path / "unpacked" / "all_runs")
    monkeypatch.setenv("SKSIAMESE_DATA", str(zipped))
    homes = None, zipped, tmp_path / "unpacked", tmp_path / "unpacked" / "all_runs"
    for home in homes:
        for ours, theirs in zip(fetch_omniglot_runs(data_home=home), runs, strict=True):
            assert_same(ours, theirs, RUN_FIELDS)


def test_fetch_omniglot_runs_names_an_incomplete_zip(tmp_path, minimal):
    path = tmp_path / "all_runs.zip"
    write_runs(path, minimal.runs[:3])
    with pytest.raises(OSError, match="run04/class_labels.txt") as error:
        fetch_omniglot_runs(data_home=tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        "{outside}/item01.png {outside}/class01.png",
        "../../secret/item01.png ../../secret/class01.png",
        "run01/test/../../../secret/item01.png run01/training/class01.png",
        "run01/test/item01.png",
        "run01/test/item01.png run01/training/class21.png",
        "run01/test/item01.png run01/training/class00.png",
        "run01/test/item02.png run01/training/class01.png",
        "",
    ],
)
def test_fetch_omniglot_runs_refuses_other_names(tmp_path, minimal, line):
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in "item01.png", "class01.png":
        (secret / name).write_bytes(WHITE)
    write_runs(tmp_path / "all_runs.zip", minimal.runs[:1])
    shutil.unpack_archive(tmp_path / "all_runs.zip", tmp_path / "home" / "all_runs")
    labels = tmp_path / "home" / "all_runs" / "run01" / "class_labels.txt"
    first, *rest = labels.read_text().splitlines()
    assert first.startswith("run01/test/item01.png")
    labels.write_text("\n".join([line.format(outside=secret), *rest]))
    with pytest.raises(OSError, match="all_runs cannot be read .*run01/class_labels.txt does not"):
        fetch_omniglot_runs(data_home=tmp_path / "home")


@pytest.mark.parametrize("content", [b"\xff", b"\n" * (1 << 15), b""])
def test_fetch_omniglot_runs_names_a_damaged_list(tmp_path, content):
    (tmp_path / "all_runs.zip").write_bytes(zip_of(("run01/class_labels.txt", content)))
    with pytest.raises(OSError, match="all_runs.zip cannot be read as Omniglot"):
        fetch_omniglot_runs(data_home=tmp_path)
