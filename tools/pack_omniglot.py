"""Pack the minimal Omniglot data set that is included in the wheel.

    python tools/pack_omniglot.py [folder with images_background.zip and all_runs.zip]

The file depends only on the drawings and on the version of zlib: np.savez writes no timestamps.
"""

import argparse
import io
from pathlib import Path

import numpy as np

from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs, load_omniglot_minimal

ROOT = Path(__file__).resolve().parents[1]
ALPHABETS = ["Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"]
N_DRAWERS = 20


def pack(data, runs):
    """Return the bytes of the packed file.

    Parameters
    ----------
    data : Bunch
        Background set, as fetch_omniglot returns it.
    runs : list of Bunch
        Official runs, as fetch_omniglot_runs returns them.
    """
    chosen = np.isin(data.alphabets, ALPHABETS)
    characters = np.unique(data.target[chosen])
    drawers = data.drawers[chosen].reshape(len(characters), N_DRAWERS)
    # The file does not store the drawers, so they must be 1 to 20 for each character.
    if not (drawers == np.arange(1, N_DRAWERS + 1)).all():
        raise ValueError(
            "expected each character to be drawn once by each of the drawers 1 to 20."
        )
    bits = pack_images(data.images[chosen])
    file = io.BytesIO()
    np.savez_compressed(
        file,
        characters=characters,
        images=bits.reshape(len(characters), N_DRAWERS, *bits.shape[1:]),
        support=np.stack([pack_images(run.support_images) for run in runs]),
        query=np.stack([pack_images(run.query_images) for run in runs]),
        query_class=np.array(
            [[int(label.removeprefix("class")) for label in run.query_labels] for run in runs],
            dtype=np.uint8,
        ),
    )
    return file.getvalue()


def pack_images(images):
    """Return bits (n, 14, 105), 1 for foreground, of images (n, 105, 105) with foreground 0."""
    return np.packbits(images == 0, axis=-2)


def main():
    """Pack the files of a folder and replace the data file of the package."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared/omniglot")
    folder = parser.parse_args().folder
    # fetch_omniglot_runs would read the present data file if the runs were missing.
    if not (folder / "all_runs.zip").exists():
        parser.error(f"{folder} does not contain all_runs.zip")
    packed = pack(
        fetch_omniglot(data_home=folder, download_if_missing=False),
        fetch_omniglot_runs(data_home=folder),
    )
    path = ROOT / "sksiamese/datasets/data/omniglot_minimal.npz"
    path.write_bytes(packed)
    data = load_omniglot_minimal()
    print(
        f"{path}: {len(packed):,} bytes, {len(data.images)} drawings of "
        f"{len(set(data.target))} characters in {len(set(data.alphabets))} alphabets, "
        f"{len(data.runs)} runs"
    )


if __name__ == "__main__":
    main()
