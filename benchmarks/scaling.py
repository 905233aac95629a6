"""Measure by the million: images a second, memory, and how time grows with the size of a support.

    python benchmarks/scaling.py                # all; 20 GB of training images in a sparse file
    python benchmarks/scaling.py --parts train  # measures one part again, keeps the others
    python benchmarks/scaling.py --page         # writes the figures into a page of docs

Each measurement is a process of its own. Of its memory, RssAnon is what it holds itself; RssFile
are pages of files that the system can take back, mapped images among them.
"""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import RESULTS, fill_page, report
from PIL import Image

from sksiamese import SiameseOneShotClassifier, load_pretrained
from sksiamese.datasets import load_omniglot_minimal

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
SIZES = (10**4, 10**6, 10**9)
WAY = 20
SIDE = 512  # of training images in the sparse file
LARGE = 10**4  # of which on an exponent is learned: below, calls take a time of their own


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="write the figures into the page")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--images", type=int, default=2000, help="to embed and label")
    parser.add_argument("--files", type=int, default=10**5, help="to label by the command")
    parser.add_argument("--gigabytes", type=float, default=20.0, help="of training images")
    parser.add_argument("--few", type=int, default=1000, help="training images for comparison")
    parser.add_argument("--exemplars", type=int, default=10**6, help="in the largest support")
    parser.add_argument("--folder", help="where to write the images; default: a temporary folder")
    parser.add_argument("--child", nargs="+", metavar="WORK", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, *values = args.child
        CHILDREN[name](*values)
    elif args.page:
        write_page(json.loads((RESULTS / "scaling.json").read_text()))
    else:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            found = {name: PARTS[name](args, Path(folder)) for name in args.parts}
        path = RESULTS / "scaling.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        report("scaling", {name: found.get(name, before.get(name)) for name in PARTS})


def interpreter(args, folder):
    return watched([sys.executable, "-c", "import sksiamese"])


def speed(args, folder):
    return [rates(threads, args.images) for threads in (1, 2)]


def label(args, folder):
    write_files(folder, args.files)
    return [labelled(folder, n) for n in (args.files // 50, args.files)]


def train(args, folder):
    return [trained(folder, n) for n in (args.few, int(args.gigabytes * 1e9) // SIDE**2)]


def growth(args, folder):
    """Return the seconds of each call for supports of growing size, and the exponent of each."""
    sizes = [10**power for power in range(2, 7) if 10**power <= args.exemplars]
    found = [grown(size) for size in sizes]
    seconds = {name: [row[name] for row in found] for name in found[0]}
    return {"sizes": sizes, "seconds": seconds}


def grown(n, n_rounds=5):
    """Return the median seconds of calls on a support of `n` embeddings, a class each."""
    from galleries import unit_vectors  # not in the processes whose memory is measured

    clf, X, exemplars = unit_vectors(n, np.random.default_rng(0))
    new = itertools.count(n)
    calls = {
        "set_support": lambda: clf.set_support(exemplars, np.arange(n), embedded=True),
        "predict": lambda: clf.predict(X[:1]),
        "kneighbors": lambda: clf.kneighbors(X[:1]),
        "add_support": lambda: clf.add_support(exemplars[:1], [next(new)], embedded=True),
        "add_support, predict": lambda: calls["add_support"]() and calls["predict"](),
    }
    return {name: median_seconds(call, n_rounds) for name, call in calls.items()}


def median_seconds(call, n_rounds):
    seconds = []
    for _ in range(1 + n_rounds):  # the first derives what the others use
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


def exponent(sizes, seconds):
    """Return the slope of the logarithms, from `LARGE` on."""
    sizes, seconds = np.log(sizes), np.log(seconds)
    large = sizes >= min(np.log(LARGE), sizes[-2])
    return np.polyfit(sizes[large], seconds[large], 1)[0]


def rates(threads, n):
    """Return the images a second of `transform` and of `predict`, with so many threads."""
    command = [sys.executable, __file__, "--child", "rates", str(n)]
    out = subprocess.run(
        command, env=with_threads(threads), check=True, capture_output=True, text=True
    )
    return {"threads": threads, **json.loads(out.stdout)}


def print_rates(n):
    """Print the images a second of this process, the median of five rounds."""
    data = load_omniglot_minimal()
    first = np.unique(data.target, return_index=True)[1][:WAY]
    clf = load_pretrained().set_support(data.images[first], data.target[first])
    images = np.resize(data.images, (int(n), *data.images.shape[1:]))
    found = {}
    for name in ("transform", "predict"):
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            getattr(clf, name)(images)
            seconds.append(time.perf_counter() - start)
        found[name] = round(len(images) / np.median(seconds), 1)
    print(json.dumps(found))


def with_threads(threads):
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


def watched(command):
    """Run a command in one thread; return its seconds, and the peaks of its memory in MB."""
    peaks, start = {}, time.perf_counter()
    process = subprocess.Popen(command, env=with_threads(1), stdout=subprocess.DEVNULL)
    while process.poll() is None:
        for name, value in memory(process.pid).items():
            peaks[name] = max(value, peaks.get(name, 0))
        time.sleep(0.01)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {**peaks, "seconds": round(time.perf_counter() - start, 1)}


def memory(pid):
    """Return what /proc says of the memory of a process, in MB; nothing once it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return {
        name: 1024 * int(found[1]) // 10**6
        for name in ("RssAnon", "RssFile", "VmHWM")
        if (found := re.search(rf"{name}:\s+(\d+) kB", text))
    }


def write_files(folder, n):
    """Write exemplars of some classes, and `n` names of a few hundred drawings."""
    data = load_omniglot_minimal()
    classes = np.unique(data.target)[:WAY]
    (folder / "query").mkdir()
    drawings = data.images[np.isin(data.target, classes)]
    for label in classes:
        place = folder / "support" / label.replace("/", "_")
        place.mkdir(parents=True)
        Image.fromarray(data.images[data.target == label][0]).save(place / "0.png")
    for number in range(n):
        path = folder / "query" / f"{number:09}.png"
        if number < len(drawings):
            Image.fromarray(drawings[number]).save(path)
        else:
            os.link(folder / "query" / f"{number % len(drawings):09}.png", path)


def labelled(folder, n):
    """Return the memory and the time of labelling the first `n` files."""
    queries = folder / f"query_{n}"
    queries.mkdir()
    for file in sorted((folder / "query").iterdir())[:n]:
        os.link(file, queries / file.name)
    arguments = ["--support", folder / "support", "--query", queries, "-o", folder / "labels.csv"]
    command = [sys.executable, "-m", "sksiamese", "label", *map(str, arguments)]
    return {"files": n, **watched(command)}


def trained(folder, n):
    """Return the memory and the time of one epoch on `n` memory-mapped images."""
    path = folder / f"{n}.npy"
    write_sparse(path, n)
    size = path.stat().st_size
    found = watched([sys.executable, __file__, "--child", "train", str(path)])
    path.unlink()
    return {"images": n, "gigabytes": size / 1e9, **found}


def write_sparse(path, n):
    """Write `n` large images with a small drawing each; the rest takes no space on the disk."""
    data = load_omniglot_minimal()
    drawings = 255 - data.images[:, ::3, ::3]  # light on dark: what is not written is 0
    height, width = drawings.shape[1:]
    top = (SIDE - height) // 2
    header = np.lib.format.open_memmap(path, "w+", np.uint8, (n, SIDE, SIDE))
    offset = header.offset
    del header
    with open(path, "r+b") as file:
        for number in range(n):
            for row, line in enumerate(drawings[number % len(drawings)]):
                start = offset + (number * SIDE + top + row) * SIDE + (SIDE - width) // 2
                file.seek(start)
                file.write(line.tobytes())


def train_on(path):
    """Train one epoch on a memory map."""
    images = np.load(path, mmap_mode="r")
    target = load_omniglot_minimal().target
    SiameseOneShotClassifier(max_iter=1, random_state=0).fit(
        images, np.resize(target, len(images))
    )


def write_page(found, page=PAGE):
    """Write the figures between the marks of the page."""
    fill_page(
        page,
        {
            "cost": cost_lines(found),
            "memory": memory_lines(found),
            "growth": growth_lines(found["growth"]),
        },
    )


def cost_lines(found):
    yield (
        "| threads | work | images a second | " + " | ".join(f"{n:,} images" for n in SIZES) + " |"
    )
    yield "| --- " * (3 + len(SIZES)) + "|"
    rows = [
        (row["threads"], f"`{work}`", row[work])
        for row in found["speed"]
        for work in ("transform", "predict")
    ]
    files = found["label"][-1]
    rows.append((1, "`sksiamese label`, with reading PNG", files["files"] / files["seconds"]))
    for threads, work, rate in rows:
        times = " | ".join(duration(n / rate) for n in SIZES)
        yield f"| {threads} | {work} | {rate:,.0f} | {times} |"


def memory_lines(found):
    own = found["interpreter"]
    yield "| | own memory above the interpreter, MB | with mapped files, MB | seconds |"
    yield "| --- " * 4 + "|"
    rows = [(f"label {row['files']:,} files", row) for row in found["label"]]
    rows += [
        (f"train on {row['images']:,} mapped images, {row['gigabytes']:.2g} GB, one epoch", row)
        for row in found["train"]
    ]
    for name, row in rows:
        above = [row[key] - own[key] for key in ("RssAnon", "VmHWM")]
        yield f"| {name} | {above[0]:,} | {above[1]:,} | {row['seconds']:,.0f} |"


def growth_lines(found):
    sizes, seconds = found["sizes"], found["seconds"]
    yield "| ms, one query | " + " | ".join(f"{n:,}" for n in sizes) + " | exponent |"
    yield "| --- " * (2 + len(sizes)) + "|"
    for name, row in seconds.items():
        times = " | ".join(f"{1000 * one:.3g}" for one in row)
        yield f"| `{name}` | {times} | {exponent(sizes, row):.2f} |"


def duration(seconds):
    """Return seconds in a unit that suits them."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} seconds"


CHILDREN = {"rates": print_rates, "train": train_on}
PARTS = {
    "interpreter": interpreter,
    "speed": speed,
    "growth": growth,
    "label": label,
    "train": train,
}

if __name__ == "__main__":
    main()
