"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people.

Lake, Salakhutdinov & Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 350 (2015). MIT licence. https://github.com/brendenlake/omniglot
"""

import io
import os
import re
import zipfile
import zlib
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import numpy as np
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

_SIZE = 105
_N_DRAWERS = 20
_MINIMAL = "omniglot_minimal.npz"
_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_HASHES = {
    "background": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "evaluation": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}
# A KeyError is a name that a zip lacks, a SyntaxError Pillow's word for a PNG that breaks off.
_DAMAGE = OSError, EOFError, KeyError, ValueError, SyntaxError, zipfile.BadZipFile, zlib.error
_DRAWING = re.compile(r"(?:.*/)?([^/]+)/(character\d+)/\d+_(\d+)\.png")


def load_omniglot_minimal():
    """Load the part of Omniglot that ships with sksiamese; nothing is downloaded.

    The five alphabets of the official minimal background split (Balinese, Early_Aramaic, Greek,
    Korean, Latin) and the 20 official one-shot runs, whose characters are of other alphabets.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the fields of :func:`fetch_omniglot`, of n = 2720 drawings, and `runs`, the list
        that :func:`fetch_omniglot_runs` returns.

    Examples
    --------
    >>> from sksiamese.datasets import load_omniglot_minimal
    >>> data = load_omniglot_minimal()
    >>> data.images.shape, str(data.target[0]), len(data.runs)
    ((2720, 105, 105), 'Balinese/character01', 20)
    """
    packed = _load_packed()
    characters, images = packed["characters"], packed["images"]
    return _drawings(
        images.reshape(-1, *images.shape[2:]),
        np.repeat(characters, _N_DRAWERS),
        np.tile(np.arange(1, _N_DRAWERS + 1), len(characters)),
        runs=_runs(packed["support"], packed["query"], packed["query_class"]),
    )


def fetch_omniglot(
    subset="background", *, data_home=None, download_if_missing=True, return_X_y=False
):
    """Load Omniglot's background or evaluation set, downloading it if it is not there yet.

    Parameters
    ----------
    subset : {"background", "evaluation", "all"}, default="background"
        The 30 alphabets to learn from (19,280 drawings), the 20 to be judged on (13,180), or
        both, background first.
    data_home : str or path-like, default=None
        The folder that holds, or will hold, ``images_background.zip`` and
        ``images_evaluation.zip``, or folders of these names unpacked from them. By default the
        environment variable ``SKSIAMESE_DATA``, else ``omniglot`` in scikit-learn's data home.
        What is there is taken as it is: a copy of fewer alphabets gives fewer.
    download_if_missing : bool, default=True
        If False, raise an OSError where the data is not found.
    return_X_y : bool, default=False
        If True, return ``(images, target)``.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        images : uint8 ndarray of shape (n, 105, 105)
            Drawings, ink 1 and ground 0, ordered by alphabet, character and drawer.
        target : str ndarray of shape (n,)
            The character drawn, ``"Alphabet/characterNN"``.
        alphabets : str ndarray of shape (n,)
            Its alphabet, the `groups` of training and of within-alphabet trials.
        drawers : int ndarray of shape (n,)
            The person who drew it, 1 to 20.
        DESCR : str
            What Omniglot is.

    Raises
    ------
    OSError
        If the data is missing and not to be downloaded, or the file found is damaged.
    """
    if subset not in ("all", *_HASHES):
        raise ValueError(
            f'subset={subset!r} is not known; expected "background", "evaluation" or "all".'
        )
    home = _data_home(data_home)
    # Every part is found before any is read: a missing one is told at once.
    sources = [
        _find(home, f"images_{part}") or _download(home, part, download_if_missing)
        for part in (_HASHES if subset == "all" else [subset])
    ]
    data = _drawings(*map(np.concatenate, zip(*map(_read_drawings, sources), strict=True)))
    return (data.images, data.target) if return_X_y else data


def fetch_omniglot_runs(*, data_home=None):
    """Load Omniglot's 20 official runs: 400 trials of 20-way one-shot classification.

    In each run one person drew 20 characters of one evaluation alphabet, the support, and another
    drew the same 20, the queries. Read from `data_home` where it has them, else from the same
    runs as they ship with sksiamese; nothing is downloaded.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder with ``all_runs.zip``, or with the folder ``all_runs`` or ``run01``, …
        unpacked from it. By default as in :func:`fetch_omniglot`.

    Returns
    -------
    runs : list of 20 :class:`~sklearn.utils.Bunch`
        support_images, query_images : uint8 ndarrays of shape (20, 105, 105)
            One exemplar and one query of each character, ink 1 and ground 0.
        support_labels, query_labels : str ndarrays of shape (20,)
            ``"class01"`` to ``"class20"``, which mean something inside their own run only.

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
        return _runs(packed["support"], packed["query"], packed["query_class"])
    return _runs(*_read_runs(source))


def _drawings(bits, characters, drawers, **more):
    """Return the Bunch of n drawings from bits (n, 14, 105), characters (n,), drawers (n,)."""
    return Bunch(
        images=_unpack(bits),
        target=characters,
        alphabets=np.array([character.split("/")[0] for character in characters]),
        drawers=drawers,
        DESCR=__doc__,
        **more,
    )


def _runs(support, query, query_class):
    """Return a Bunch a run from support and query (20, 20, 14, 105) and query_class (20, 20)."""
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


def _unpack(bits):
    """Return images (..., 105, 105) from bits (..., 14, 105): eight rows lie in a byte."""
    return np.unpackbits(bits, axis=-2, count=_SIZE)


def _load_packed():
    path = resources.files(__package__) / "data" / _MINIMAL
    with path.open("rb") as file, np.load(file) as packed:
        return dict(packed)


def _data_home(data_home):
    home = data_home or os.environ.get("SKSIAMESE_DATA") or Path(get_data_home()) / "omniglot"
    return Path(home).expanduser()


def _find(home, name):
    """Return the path of the archive `name` in `home`, zipped or unpacked, or None."""
    candidates = home / f"{name}.zip", home / name
    return next((path for path in candidates if path.exists()), None)


def _download(home, part, allowed):
    name = f"images_{part}.zip"
    if not allowed:
        raise OSError(
            f"Omniglot's {part} set is missing: {home} holds neither {name} nor a folder "
            f"images_{part}. Put one of them there, name the folder that has it with data_home= "
            "or the environment variable SKSIAMESE_DATA, or set download_if_missing=True."
        )
    import pooch

    # pooch checks the hash before the file takes its name, so no half download is ever found.
    return Path(pooch.retrieve(_URL + name, known_hash=_HASHES[part], fname=name, path=home))


@contextmanager
def _archive(source):
    """Yield the names in a zip or a folder and how to read one; any damage is an OSError."""
    try:
        if source.is_dir():
            names = (path.relative_to(source).as_posix() for path in source.rglob("*.png"))
            yield names, lambda name: (source / name).read_bytes()
        else:
            with zipfile.ZipFile(source) as archive:
                yield archive.namelist(), archive.read
    except _DAMAGE as error:
        raise OSError(
            f"{source} cannot be read as Omniglot ({error}). If it is damaged or incomplete, "
            "delete it and download it again."
        ) from error


def _read_drawings(source):
    """Read bits (n, 14, 105), characters (n,) and drawers (n,), sorted by their names."""
    with _archive(source) as (names, read):
        matches = filter(None, map(_DRAWING.fullmatch, names))
        found = sorted((*match.groups(), match[0]) for match in matches)
        if not found:
            raise ValueError("it has no <Alphabet>/characterNN/<id>_<drawer>.png")
        alphabets, characters, drawers, names = zip(*found, strict=True)
        bits = np.stack([_read_bits(read, name) for name in names])
    targets = np.array([f"{a}/{c}" for a, c in zip(alphabets, characters, strict=True)])
    return bits, targets, np.array(drawers).astype(int)


def _read_runs(source):
    """Read support and query bits (20, 20, 14, 105) and each query's class, 1 to 20 (20, 20)."""
    support, query, query_class = [], [], []
    with _archive(source) as (_, read):
        for run in range(1, 21):
            # One line a query: "run01/test/item01.png run01/training/class08.png"
            lines = read(f"run{run:02d}/class_labels.txt").decode().splitlines()
            queries, exemplars = zip(*map(str.split, lines), strict=True)
            support.append([_read_bits(read, name) for name in sorted(exemplars)])
            query.append([_read_bits(read, name) for name in queries])
            query_class.append([int(name[-len("08.png") : -len(".png")]) for name in exemplars])
    return np.array(support), np.array(query), np.array(query_class, dtype=np.uint8)


def _read_bits(read, name):
    """Decode one PNG, ink black, to bits (14, 105), ink 1."""
    from PIL import Image

    with Image.open(io.BytesIO(read(name))) as image:
        ink = np.asarray(image.convert("L")) < 128
    if ink.shape != (_SIZE, _SIZE):
        raise ValueError(f"{name} has shape {ink.shape}, expected {(_SIZE, _SIZE)}")
    return np.packbits(ink, axis=-2)
