"""Follow docs/start.md word by word in a fresh environment, and time it.

    python benchmarks/start.py

The images are five drawings and five others of the same characters, written as the page says. The
command and the code are read from the page.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
from machine import report
from PIL import Image

from sksiamese.datasets import load_omniglot_minimal

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "start.md"


def write_images(folder):
    """Write a drawing of each of five characters, and another to label."""
    run = load_omniglot_minimal().runs[0]
    for row, label in enumerate(run.support_labels[:5]):
        known, unknown = folder / "known" / f"{label}".replace("/", "_"), folder / "unknown"
        for path in (known, unknown):
            path.mkdir(parents=True, exist_ok=True)
        query = run.query_images[np.flatnonzero(run.query_labels == label)[0]]
        Image.fromarray(run.support_images[row]).save(known / "1.png")
        Image.fromarray(query).save(unknown / f"{known.name}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    text = PAGE.read_text()
    install = re.search(r"^    python (-m pip install .*)$", text, re.MULTILINE)[1].split()
    code = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder)
        subprocess.run(["git", "clone", "--quiet", ROOT, folder / "clone"], check=True)
        start = time.perf_counter()
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        subprocess.run([python, *install], cwd=folder / "clone", check=True)
        installed = time.perf_counter()
        labels = subprocess.run(
            [python, "-c", code], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.splitlines()
        end = time.perf_counter()
    answers = [line.rsplit(" ", 2) for line in labels]  # file, label, probability
    right = sum(Path(file).stem == label for file, label, _ in answers)
    lines = [line for line in code.splitlines() if line]
    result = {
        "seconds": {"install": installed - start, "label": end - installed, "all": end - start},
        "lines_of_code": len(lines),
        "labels": len(labels),
        "right": right,
        "output": labels,
    }
    report("start", result)


if __name__ == "__main__":
    main()
