"""Pack the minimal Omniglot that ships in the wheel.

    python tools/pack_omniglot.py [folder with images_background.zip and all_runs.zip]

The result depends on the drawings and on zlib alone, byte for byte: numpy writes no timestamps.
"""

import argparse
import io
from pathlib import Path

import numpy as np

from sksiamese.datasets import omniglot

ROOT = Path(__file__).resolve().parents[1]
ALPHABETS = ["Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"]


def pack(drawings, runs):
    """Return the bytes of the packed file.

    Parameters
    ----------
    drawings : tuple
        Bits (n, 14, 105), characters (n,) and drawers (n,).
    runs : tuple
        Support bits and query bits (20, 20, 14, 105), and query classes (20, 20).
    """
    bits, characters, drawers = drawings
    shipped = np.array([character.split("/")[0] in ALPHABETS for character in characters])
    names = np.unique(characters[shipped])
    # The drawers are not stored: every character was drawn by 1, ..., 20, in that order.
    assert (drawers[shipped].reshape(len(names), -1) == np.arange(1, 21)).all()
    support, query, query_class = runs
    file = io.BytesIO()
    np.savez_compressed(
        file,
        characters=names,
        images=bits[shipped].reshape(len(names), -1, *bits.shape[1:]),
        support=support,
        query=query,
        query_class=query_class,
    )
    return file.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared/omniglot")
    folder = parser.parse_args().folder
    packed = pack(
        omniglot._read_drawings(folder / "images_background.zip"),
        omniglot._read_runs(folder / "all_runs.zip"),
    )
    path = ROOT / "sksiamese/datasets/data" / omniglot._MINIMAL
    path.write_bytes(packed)
    data = omniglot.load_omniglot_minimal()
    print(
        f"{path}: {len(packed):,} bytes, {len(data.images)} drawings of "
        f"{len(set(data.target))} characters in {len(set(data.alphabets))} alphabets, "
        f"{len(data.runs)} runs"
    )


if __name__ == "__main__":
    main()
