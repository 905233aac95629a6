"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn once by 20 people.

Lake, Salakhutdinov & Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 350 (2015). MIT licence. https://github.com/brendenlake/omniglot
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, overload

import numpy as np
from PIL import Image
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

from .._files import check_path, open_regular, printable
from .decoding import to_array
from .folder import walk

_SIZE = 105
_N_DRAWERS = 20
_MINIMAL = "omniglot_minimal.npz"
_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_HASHES = {
    "background": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "evaluation": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}
# Limits of what is read, well above the official files: 32,460 drawings of less than 1 kB.
_MAX_DRAWINGS = 40_000
_MAX_BYTES = 1 << 14  # of a file in an archive
_MAX_ARCHIVE = 1 << 24
_DRAWING = re.compile(r"(?:.*/)?([^/]+)/(character\d+)/\d+_(\d+)\.png", re.ASCII)
_TRIAL = re.compile(
    r"(run\d\d/test/item\d\d\.png)\s+(run\d\d/training/class(0[1-9]|1\d|20)\.png)", re.ASCII
)

# Inside this module, drawings are packed: bits, 1 for foreground, eight rows to a byte, so that
# an image is a uint8 array (14, 105). The packed .npz file has the same format.


def load_omniglot_minimal() -> Bunch:
    """Load the subset of Omniglot that is included in sksiamese.

    It has the five alphabets of the first official minimal background set (Balinese,
    Early_Aramaic, Greek, Korean and Latin), and the 20 official one-shot runs, whose characters
    are from other alphabets. Nothing is downloaded.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : uint8 ndarray of shape (2720, 105, 105)
            Drawings, dark on light (foreground 0, background 255), ordered by alphabet, character
            and drawer.
        target : str ndarray of shape (2720,)
            Character of each drawing, as ``"Alphabet/characterNN"``.
        alphabets : str ndarray of shape (2720,)
            Alphabet of each drawing. Pass it as `groups` to `fit` and to `one_shot_score`.
        drawers : int ndarray of shape (2720,)
            Person who made each drawing, from 1 to 20.
        runs : list of 20 :class:`~sklearn.utils.Bunch`
            The official runs, as :func:`fetch_omniglot_runs` returns them.
        DESCR : str
            Description of Omniglot.

    See Also
    --------
    fetch_omniglot : Load the full background and evaluation sets.
    fetch_omniglot_runs : Load the official runs alone.
    make_glyphs : Generate characters.

    Examples
    --------
    >>> from sksiamese.datasets import load_omniglot_minimal
    >>> data = load_omniglot_minimal()
    >>> data.images.shape, str(data.target[0]), len(data.runs)
    ((2720, 105, 105), 'Balinese/character01', 20)
    """
    packed = _load_packed()
    characters, bits = packed["characters"], packed["images"]
    return _make_bunch(
        bits.reshape(-1, *bits.shape[2:]),
        np.repeat(characters, _N_DRAWERS),
        np.tile(np.arange(1, _N_DRAWERS + 1), len(characters)),
        runs=_make_runs(packed["support"], packed["query"], packed["query_class"]),
    )


@overload
def fetch_omniglot(
    subset: str = "background",
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: Literal[False] = False,
) -> Bunch: ...


@overload
def fetch_omniglot(
    subset: str = "background",
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: Literal[True],
) -> tuple[np.ndarray, np.ndarray]: ...


def fetch_omniglot(
    subset: str = "background",
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load the background or evaluation set of Omniglot, and download it if it is missing.

    Parameters
    ----------
    subset : {"background", "evaluation", "all"}, default="background"
        The 30 alphabets for training (19,280 drawings), the 20 alphabets for evaluation (13,180
        drawings), or both, in this order.
    data_home : str or path-like, default=None
        Folder that contains ``images_background.zip`` and ``images_evaluation.zip``, or folders
        ``images_background`` and ``images_evaluation`` unpacked from them. Downloads are saved
        there. The default is the environment variable ``SKSIAMESE_DATA`` if it is set, otherwise
        the folder ``omniglot`` in :func:`sklearn.datasets.get_data_home`. A file with fewer
        alphabets than the official one is read as it is.
    download_if_missing : bool, default=True
        If False, raise an OSError instead of downloading.
    return_X_y : bool, default=False
        If True, return ``(images, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : uint8 ndarray of shape (n_samples, 105, 105)
            Drawings, dark on light (foreground 0, background 255), ordered by alphabet, character
            and drawer.
        target : str ndarray of shape (n_samples,)
            Character of each drawing, as ``"Alphabet/characterNN"``.
        alphabets : str ndarray of shape (n_samples,)
            Alphabet of each drawing. Pass it as `groups` to `fit` and to `one_shot_score`.
        drawers : int ndarray of shape (n_samples,)
            Person who made each drawing, from 1 to 20.
        DESCR : str
            Description of Omniglot.
    (images, target) : tuple of ndarrays
        Only if `return_X_y` is True.

    Raises
    ------
    OSError
        If the data is missing and `download_if_missing` is False, if it cannot be downloaded, or
        if a file is damaged, or is not Omniglot: for example with drawings of another size, or
        with files that are much larger than the official ones.
    ValueError
        If `subset` is not one of the three names.

    See Also
    --------
    fetch_omniglot_runs : Load the official one-shot runs.
    load_omniglot_minimal : Load five alphabets and the runs, without a download.

    Examples
    --------
    >>> from sksiamese.datasets import fetch_omniglot
    >>> data = fetch_omniglot("evaluation")  # doctest: +SKIP
    >>> data.images.shape  # doctest: +SKIP
    (13180, 105, 105)
    """
    if subset not in ("all", *_HASHES):
        raise ValueError(
            f'subset={subset!r} is unknown; expected "background", "evaluation" or "all".'
        )
    home = _data_home(data_home)
    # All files are located before the first is read, so that a missing one is reported at once.
    sources = [
        _find(home, f"images_{name}") or _download(home, name, download_if_missing)
        for name in (_HASHES if subset == "all" else [subset])
    ]
    data = _make_bunch(*map(np.concatenate, zip(*map(_read_drawings, sources), strict=True)))
    return (data.images, data.target) if return_X_y else data


def fetch_omniglot_runs(*, data_home: str | os.PathLike[str] | None = None) -> list[Bunch]:
    """Load the 20 official one-shot runs of Omniglot: 400 trials of 20-way classification.

    In each run, one person drew 20 characters of an evaluation alphabet (the support), and another
    person drew the same characters (the queries). The runs are read from `data_home`, or, if it
    does not contain them, from a copy that is included in sksiamese. Nothing is downloaded.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that contains ``all_runs.zip``, or the folder ``all_runs`` or the folders
        ``run01``, ``run02``, ... unpacked from it. The default is as in :func:`fetch_omniglot`.

    Returns
    -------
    runs : list of 20 :class:`~sklearn.utils.Bunch`
        Dictionary-like objects with the following attributes.

        support_images : uint8 ndarray of shape (20, 105, 105)
            One exemplar of each character, dark on light (foreground 0, background 255).
        support_labels : str ndarray of shape (20,)
            ``"class01"`` to ``"class20"``. A label has no meaning outside its run.
        query_images : uint8 ndarray of shape (20, 105, 105)
            One query of each character, dark on light (foreground 0, background 255).
        query_labels : str ndarray of shape (20,)
            The correct label of each query.

    Raises
    ------
    OSError
        If the files in `data_home` are damaged or incomplete, or are not the runs of Omniglot.

    See Also
    --------
    load_omniglot_minimal : Load the runs together with five alphabets for training.
    sksiamese.model_selection.score_runs : Score an estimator on the runs.

    Examples
    --------
    >>> from sksiamese.datasets import fetch_omniglot_runs
    >>> run = fetch_omniglot_runs()[0]
    >>> run.query_images.shape, str(run.query_labels[0])
    ((20, 105, 105), 'class08')
    """
    home = _data_home(data_home)
    source = home if (home / "run01").is_dir() else _find(home, "all_runs")
    if source is None:
        packed = _load_packed()
        return _make_runs(packed["support"], packed["query"], packed["query_class"])
    return _make_runs(*_read_runs(source))


def _make_bunch(
    bits: np.ndarray, characters: np.ndarray, drawers: np.ndarray, **fields: Any
) -> Bunch:
    """Return the Bunch of n drawings from bits (n, 14, 105), characters (n,), drawers (n,)."""
    return Bunch(
        images=_unpack(bits),
        target=characters,
        alphabets=np.array([character.split("/")[0] for character in characters]),
        drawers=drawers,
        DESCR=__doc__,
        **fields,
    )


def _make_runs(support: np.ndarray, query: np.ndarray, query_class: np.ndarray) -> list[Bunch]:
    """Return one Bunch per run from bits (20, 20, 14, 105) and classes of queries (20, 20)."""
    labels = np.array([f"class{i:02d}" for i in range(1, _N_DRAWERS + 1)])
    return [
        Bunch(
            support_images=_unpack(exemplars),
            support_labels=labels.copy(),
            query_images=_unpack(queries),
            query_labels=labels[classes - 1],
        )
        for exemplars, queries, classes in zip(support, query, query_class, strict=True)
    ]


def _unpack(bits: np.ndarray) -> np.ndarray:
    """Return images (..., 105, 105), dark on light, from bits (..., 14, 105)."""
    images = np.unpackbits(~bits, axis=-2, count=_SIZE)
    images *= 255
    return images


def _load_packed() -> dict[str, np.ndarray]:
    """Read the .npz file that is included in the package."""
    path = resources.files(__package__) / "data" / _MINIMAL
    with path.open("rb") as file, np.load(file) as packed:
        return dict(packed)


def _data_home(data_home: str | os.PathLike[str] | None) -> Path:
    """Return the folder of the Omniglot files."""
    home = data_home or os.environ.get("SKSIAMESE_DATA") or Path(get_data_home()) / "omniglot"
    check_path(home, "data_home", "the path of a folder, or None")
    try:
        return Path(home).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"data_home={os.fspath(home)!r} is no folder: {error}.") from error


def _find(home: Path, name: str) -> Path | None:
    """Return the path of the archive `name` in `home`, zipped or unpacked, or None."""
    candidates = home / f"{name}.zip", home / name
    for path in candidates:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.stat(path)
            return path
    return None


def _download(home: Path, subset: str, allowed: bool) -> Path:
    """Download a set into `home` and return its path, or raise an OSError if not `allowed`."""
    name = f"images_{subset}.zip"
    advice = (
        f"Put the file {name} ({_HASHES[subset]}, from {_URL}{name}), or the folder "
        f"images_{subset} unpacked from it, into the folder {printable(home)}. Or pass the folder "
        "that contains it as data_home or in the environment variable SKSIAMESE_DATA"
    )
    if not allowed:
        raise OSError(
            f"Omniglot's {subset} set is missing: {printable(home)} contains neither {name} nor a "
            f"folder images_{subset}. {advice}, or set download_if_missing=True."
        )
    import pooch

    try:
        # pooch checks the hash before it renames the file: an incomplete download is never found.
        return Path(pooch.retrieve(_URL + name, known_hash=_HASHES[subset], fname=name, path=home))
    except Exception as error:  # of the network, the disk, or the hash
        raise OSError(
            f"Omniglot's {subset} set cannot be downloaded ({printable(error)}). {advice}."
        ) from error


@contextmanager
def _open_archive(source: Path) -> Iterator[tuple[Iterable[str], Callable[[str], bytes]]]:
    """Yield the file names of a zip or a folder and a function that reads one file.

    All errors from damaged files are raised again as an OSError that names `source`.
    """
    try:
        if source.is_dir():
            files = (file for content in walk(source) for file in content.images)
            names = (file.relative_to(source).as_posix() for file in files)
            yield names, lambda name: _read_file(source / name)
        else:
            with open_regular(source) as file, _open_zip(file) as archive:
                yield archive.namelist(), lambda name: _read_entry(archive, name)
    except Exception as error:  # damaged files raise errors of many types
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, OSError) and error.filename is not None:  # a folder in it
            reason = f"{reason}: {error.filename}"
        raise OSError(
            f"{printable(source)} cannot be read as Omniglot ({printable(reason)}). If it is "
            "damaged or incomplete, delete it and download it again."
        ) from error


def _open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip whose list of files is not too long for the memory, and leads nowhere else."""
    size = os.fstat(file.fileno()).st_size
    if size > _MAX_ARCHIVE:
        raise ValueError(f"it has {size} bytes; expected at most {_MAX_ARCHIVE}")
    archive = zipfile.ZipFile(file)
    for name in archive.namelist():
        _check_name(name)
    return archive


def _check_name(name: str) -> None:
    """Raise a ValueError if the name of a file leads out of its folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
        raise ValueError(f"the name {name!r} leads out of the folder")


def _read_file(path: Path) -> bytes:
    """Read a file in a folder."""
    with open_regular(path) as file:
        return _read_limited(file, path.name)


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a file in a zip."""
    info = archive.getinfo(name)
    if info.file_size > _MAX_BYTES:  # as declared; no more than that is inflated
        raise ValueError(f"{name} has {info.file_size} bytes; expected at most {_MAX_BYTES}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is not compressed by deflate")
    with archive.open(info) as file:
        return _read_limited(file, name)


def _read_limited(file: Any, name: str) -> bytes:
    """Read a file that must be small."""
    content: bytes = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{name} has more than {_MAX_BYTES} bytes")
    return content


def _read_drawings(source: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read bits (n, 14, 105), characters (n,) and drawers (n,), sorted by file name."""
    with _open_archive(source) as (names, read):
        found = sorted(islice(_find_drawings(names), _MAX_DRAWINGS + 1))
        if not found:
            raise ValueError("no files <Alphabet>/characterNN/<id>_<drawer>.png in it")
        if len(found) > _MAX_DRAWINGS:
            raise ValueError(f"more than {_MAX_DRAWINGS} drawings in it")
        for (*before, _), (*drawing, path) in pairwise(found):
            if before == drawing:
                raise ValueError(f"the drawing {path} is in it twice")
        alphabets, characters, drawers, paths = zip(*found, strict=True)
        bits = np.stack([_read_bits(read, path) for path in paths])
        numbers = np.array(list(map(int, drawers)), dtype=np.int64)
    targets = np.array([f"{a}/{c}" for a, c in zip(alphabets, characters, strict=True)])
    return bits, targets, numbers


def _find_drawings(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield alphabet, character, drawer and name of each PNG, without hidden files."""
    for name in names:
        parts = PurePosixPath(name).parts
        if not name.endswith(".png") or "__MACOSX" in parts or parts[-1].startswith("."):
            continue
        match = _DRAWING.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} is not named <Alphabet>/characterNN/<id>_<drawer>.png")
        yield (*match.groups(), name)


def _read_runs(source: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read support bits, query bits (20, 20, 14, 105) and the class of each query (20, 20)."""
    support, query, query_class = [], [], []
    with _open_archive(source) as (_, read):
        for run in range(1, 21):
            queries, exemplars, classes = _read_trials(read, run)
            support.append([_read_bits(read, name) for name in sorted(exemplars)])
            query.append([_read_bits(read, name) for name in queries])
            query_class.append([int(name) for name in classes])
    return np.array(support), np.array(query), np.array(query_class, dtype=np.uint8)


def _read_trials(read: Callable[[str], bytes], run: int) -> list[tuple[str, ...]]:
    """Return the queries of a run, their exemplars and their classes, each 20 names."""
    name = f"run{run:02d}/class_labels.txt"
    # One line per query: "run01/test/item01.png run01/training/class08.png"
    lines = read(name).decode().splitlines()
    trials = [match.groups() for match in map(_TRIAL.fullmatch, map(str.strip, lines)) if match]
    columns = list(zip(*trials, strict=True))
    if len(lines) != 20 or len(trials) != 20 or any(len(set(names)) != 20 for names in columns):
        raise ValueError(
            f"{name} does not have 20 lines runNN/test/itemNN.png runNN/training/classNN.png, one "
            "for each query and each class"
        )
    return columns


def _read_bits(read: Callable[[str], bytes], name: str) -> np.ndarray:
    """Decode one PNG, dark on light, to bits (14, 105)."""
    with Image.open(io.BytesIO(read(name)), formats=("PNG",)) as image:
        if image.size != (_SIZE, _SIZE):
            raise ValueError(f"{name} has shape {image.size[::-1]}, expected {(_SIZE, _SIZE)}")
        foreground = to_array(image, color=False) < 128
    if foreground.mean() > 0.5:
        raise ValueError(f"{name} is light on dark, expected dark on light")
    return np.packbits(foreground, axis=-2)
