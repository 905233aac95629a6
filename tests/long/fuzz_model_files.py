"""Change model files at random, load each in a limited process, and count what happens.

    python tests/long/fuzz_model_files.py --count 10000 --seed 0

Some changes keep the layout of a file: fields that no estimator has, and arrays of other lengths.
A file that was changed must raise OSError or ValueError, in little time and memory, or be loaded;
it is loaded only if its digest was computed again, and then answers with finite numbers or raises
ValueError. Anything else is a failure, printed with what reproduces it. The exit status is 1 if
there are any.
"""

import argparse
import collections
import dataclasses
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import model_files

from sksiamese import MotorProgramClassifier, SiameseOneShotClassifier, SiameseVerifier
from sksiamese.datasets import make_glyphs
from sksiamese.model_selection import make_pairs

MEMORY = 300 * 2**20  # bytes that a process may take more than it has at first
SECONDS = 3  # of the processor, for loading one file and predicting
HANGS = 120  # seconds without any answer
PER_PROCESS = 200

X, y = make_glyphs(n_classes=6, n_samples=4, image_size=16, random_state=0)
PAIRS = make_pairs(y, n_pairs=30, random_state=0)


# Files to change


def classifier(labels=y, X=X, **params):
    defaults = {"max_iter": 1, "random_state": 0, "encoder_params": {"width": 2}, "resize": 16}
    return SiameseOneShotClassifier(**{**defaults, **params}).fit(X, labels)


def of_labels(dtype):
    """A small classifier whose labels have this dtype."""
    labels = y.astype(dtype)
    if np.dtype(dtype) == object:
        labels = np.array([f"class {label}" for label in y], dtype=object)
    return lambda: classifier(labels, encoder="mlp", encoder_params={"n_units": 2}, resize=4)


def verifier():
    params = {"max_iter": 1, "random_state": 0, "encoder_params": {"width": 2}, "resize": 16}
    return SiameseVerifier(**params).fit(X[PAIRS[:, :2]], PAIRS[:, 2])


def calibrated():
    X, y = make_glyphs(n_classes=16, n_samples=4, image_size=16, random_state=0)
    clf = SiameseOneShotClassifier(
        unknown_label="unknown",
        crop="foreground",
        early_stopping=True,
        max_iter=4,
        random_state=0,
        encoder_params={"width": 4},
        resize=16,
    )
    return clf.fit(X, y.astype(str)).set_support(X[::4], y[::4].astype(str))


def programs(**params):
    return MotorProgramClassifier(random_state=0, n_walks=4, **params)


KINDS = {
    "classifier": classifier,
    "aligned": lambda: classifier(head="aligned"),
    "signed_l1": lambda: classifier(head="signed_l1", batch_size=(1, 5, 3)),
    "ensemble": lambda: classifier(n_estimators=2),
    "calibrated": calibrated,
    "rows": lambda: classifier(X=X.reshape(24, -1), encoder_params=None, resize="auto"),
    "verifier": verifier,
    "programs": lambda: programs().fit(X[::4], y[::4]),
    "programs of curves": lambda: programs().fit(X.reshape(24, -1)[::4, 100:120], y[::4]),
    "koch": lambda: classifier(encoder="koch", encoder_params={"n_units": 4}, resize=65),
    **{
        f"labels of {dtype}": of_labels(dtype)
        for dtype in ("int8", "uint64", ">i2", "float32", "U", "object", "M8[D]", "m8[s]", "bool")
    },
}
SHORT = ["aligned", "ensemble", "verifier", "programs of curves", "labels of U", "labels of M8[D]"]


def answers(estimator):
    """Return arrays of what an estimator answers."""
    comparer = estimator.fitted_.comparer
    if isinstance(estimator, MotorProgramClassifier):  # not many processes, nor many walks
        comparer = dataclasses.replace(comparer, n_jobs=None, n_walks=min(4, comparer.n_walks))
        estimator.fitted_ = dataclasses.replace(estimator.fitted_, comparer=comparer)
    shape = estimator.input_shape_
    queries = X[::8] if len(shape) == 3 else X.reshape(24, -1)[::8]
    if len(shape) == 1 and shape[0] == 20:
        queries = queries[:, 100:120]
    if isinstance(estimator, SiameseVerifier):
        return [estimator.decision_function(queries[[[0, 1], [1, 2]]])]
    if estimator.fitted_.adapts and not hasattr(estimator, "support_"):
        estimator.set_support(queries, [0, 1, 2])
    if hasattr(estimator, "support_"):
        estimator.predict(queries)
        found = [estimator.decision_function(queries), estimator.classes_]
        if hasattr(estimator, "rejection_threshold_"):
            found += [estimator.score_samples(queries), estimator.predict_set(queries)]
        return found
    return [estimator.similarity(queries, queries)]


def make_files(folder, kinds):
    """Save an estimator of each kind; return (name, class, bytes, answers) of each."""
    files = []
    for kind in kinds:
        estimator = KINDS[kind]()
        options = [{}]
        if kind in ("aligned", "koch", "verifier"):
            options.append({"half": True})
        if kind in ("classifier", "programs"):
            options.append({"support": False})
        for option in options:
            path = folder / "original"
            estimator.save(path, **option)
            name = " ".join([kind, *option])
            expected = answers(type(estimator).load(path))
            files.append((name, type(estimator), path.read_bytes(), expected))
    return files


# Changes. Each takes a random generator and the bytes of a file, and returns other bytes.

NASTY = [
    None, True, False, 0, -1, 1, 2, 3, 7, 10**9, -(10**9), 2**31, 2**63, 2**64, 10**30, 10**400,
    0.0, -0.0, 0.5, 1.5, -1.5, 1e308, 1e-320, float("nan"), float("inf"), float("-inf"),
    "", "x", "auto", "conv", "koch", "mlp", "aligned", "signed_l1", "foreground", "cuda", "meta",
    "U100000000", "<U9", "O", "object", "V8", "i4,i4", "(9,9)f8", "datetime64[D]", "?", "\ud800",
    "a" * 100_000, "__import__('os')", [], {}, [[]], [None], [1], [1, 2], [1, 2, 3], [0, 0, 0],
    [10**9, 10**9], [10**5, 10**5, 10**5], ["x"], {"x": 1}, {"width": 500}, {"max_cells": 10**9},
    {"n_units": 10**9}, {"window": 10**9}, {"n_channels": 10**9}, {"width": 10**400},
    {"dtype": "object", "values": [None]}, {"dtype": "U100000000", "values": ["a"]},
]  # fmt: skip


def places(value, path=()):
    """Yield the path of each value in JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield from places(inner, (*path, key))


def choose(rng, values):
    values = list(values)
    return values[int(rng.integers(len(values)))]


def edited(rng, value):
    """Return JSON with one value replaced, removed, renamed, doubled or moved."""
    value = json.loads(json.dumps(value))
    *path, last = choose(rng, [path for path in places(value) if path])
    inner = value
    for key in path:
        inner = inner[key]
    how = choose(rng, ["replace"] * 4 + ["step", "remove", "rename", "again", "move", "more"])
    old = inner[last]
    if how == "step" and type(old) in (int, float):
        inner[last] = old + choose(rng, [-1, 1, old, -2 * old])
    elif how == "remove":
        del inner[last]
    elif how == "rename" and isinstance(inner, dict):
        inner[choose(rng, [f"{last}2", last[:-1], "x", "predict", "network.x"])] = inner.pop(last)
    elif how == "again" and isinstance(inner, list):
        inner += [old] * int(choose(rng, [1, 10, 1000]))
    elif how == "move" and isinstance(inner, dict):
        inner[last] = inner.pop(last)
    elif how == "more" and isinstance(inner, dict):
        inner |= {f"network.members.{n}.q": choose(rng, NASTY) for n in range(1000)}
    else:
        inner[last] = choose(rng, NASTY)
    return value


def as_text(rng, value):
    """Return JSON as text, at times as no program writes it."""
    text = json.dumps(value, separators=choose(rng, [(",", ":"), (", ", ": ")]))
    how = rng.integers(12)
    if how == 0:
        text = text.replace("}", ',"x":1}', 1)
    elif how == 1:
        text = text[:-1] + "," + text[1:]  # every name twice
    elif how == 2:
        text = text.replace(":", ":" + "[" * 100_000, 1)
    elif how == 3:
        text = text + " " * 9
    elif how == 4:
        text = text.replace("0", "9" * 10_000, 1)
    return text


def change_about(rng, content):
    """Edit what a file says of its estimator."""
    header, values = model_files.header_of(content)
    metadata = header["__metadata__"]
    about = json.loads(metadata["sksiamese"][64:])
    for _ in range(choose(rng, [1, 1, 1, 2])):
        about = edited(rng, about)
    usual = rng.random() < 0.8
    text = json.dumps(about) if usual else as_text(rng, about)
    metadata["sksiamese"] = model_files.NO_DIGEST + text
    return model_files.joined(header, values)


HISTORY = {"epoch": 1, "train_loss": 0.5, "dur": 1.0}
HELD_OUT = [
    None,
    *({"dtype": "int64", "values": values} for values in ([], [1, 1], [2, 1], [1, 2])),
]
FIELDS = {
    "input_shape": [[1, 1, 1], [1, 4096, 4096], [1, 17, 16], [3, 16, 16], [256], [1], [2**30]],
    "flat": [True, False],
    "feature_names": [None, {"dtype": "object", "values": ["a", "a"]}],
    "calibration": [
        [5e-324, 0.0], [1e-30, 0.0], [1e300, 0.0], [1e4, 1e6], [1.0, -1e300], [1e-20, 0.0],
    ],
    "rejection_threshold": [None, float("-inf"), float("inf"), 1e300, -1e6, 0],
    "genuine_scores": [None, [], [0.0], [1e300], [-1e6] * 10_000, [1e6, None]],
    "prior_calibration": [None, [1.0, 0.0], [5e-324, 0.0]],
    "prior_unknown": [None, [], [0.0], [0.0] * 201, [*range(201)], [*range(201, 0, -1)]],
    "level_offset": [0.0, 1e6, 1e300],
    "decision_threshold": [1e300, -1e6, 5e-324],
    "negative_label": [-1, 0, -2],
    "held_out_classes": HELD_OUT,
    "held_out_groups": HELD_OUT,
    "history": [[], [[]], [[HISTORY]], [[HISTORY]] * 2, [[{}]], [[{**HISTORY, "epoch": 0}]]],
    "adapts": [True, False],
}  # fmt: skip
SIZES = [[1, 1], [4096, 4096], [512, 512], [513, 1], [1, 512], [64, 64]]
LIMITS = {
    "n_walks": [1, 100_000, 0], "primitives": [False], "model": ["affine", "simple_strokes"],
    "seed": [0, 2**32 - 1, 2**32], "n_jobs": [None, 1, -1],
}  # fmt: skip


def change_fields(rng, content):
    """Replace fields by values of their type, the least and greatest among them."""
    about, arrays = model_files.parts_of(content)
    for _ in range(choose(rng, [1, 1, 2, 3])):
        place = choose(rng, ["fitted"] * 8 + ["size"] * 3 + ["labels", "params"])
        if place == "fitted":
            name = choose(rng, FIELDS)
            about["fitted"][name] = choose(rng, FIELDS[name])
        elif place == "size" and "programs" in about:
            name = choose(rng, LIMITS)
            about["programs"][name] = choose(rng, LIMITS[name])
        elif place == "size":
            about["working_size"] = choose(rng, SIZES)
            about["params"]["resize"] = choose(rng, ["auto", None, about["working_size"]])
        elif place == "labels" and "labels" in about:
            values = about["labels"]["values"]
            about["labels"]["values"] = choose(rng, [values[::-1], values[:1] * len(values)])
        else:
            about["params"] |= choose(rng, [{"image_shape": [16, 16]}, {"crop": "foreground"}])
    return model_files.content_of(about, arrays)


def change_lengths(rng, content):
    """Give one array, or all of the support, another length or shape, and numbers to fill it."""
    about, arrays = model_files.parts_of(content)
    names = [choose(rng, arrays)]
    if rng.random() < 0.3:
        names = [name for name in arrays if name.startswith("support.")] or names
    how = choose(
        rng,
        [
            lambda a: a[:-1],
            lambda a: a[:0],
            lambda a: np.concatenate([a, a]),
            lambda a: np.repeat(a, 50, axis=0),
            lambda a: a[None],
            lambda a: a[0],
            lambda a: a.reshape(-1),
            lambda a: a.T,
            lambda a: a[::-1],
            lambda a: np.zeros_like(a),
            lambda a: np.full_like(a, 32767),
            lambda a: -a,
        ],
    )
    for name in names:
        arrays[name] = how(np.atleast_1d(arrays[name]))
    if "labels" in about and rng.random() < 0.5:
        of = np.atleast_1d(arrays.get("support.n_points", arrays.get("support.embeddings", [])))
        values = about["labels"]["values"]
        about["labels"]["values"] = (values * (len(of) // len(values) + 1))[: len(of)]
    if "support.embeddings" in arrays and rng.random() < 0.3:
        n = choose(rng, [0, 1, 2])
        arrays["level_weights"] = np.repeat(arrays["support.embeddings"][:1], n, axis=0)
    return model_files.content_of(about, arrays)


def change_header(rng, content):
    """Edit names, dtypes, shapes and places of arrays."""
    header, values = model_files.header_of(content)
    start = {"__metadata__": header.pop("__metadata__")}
    header = edited(rng, header)
    dtypes = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "F8_E4M3"]
    if rng.random() < 0.3 and all(isinstance(entry, dict) for entry in header.values()):
        entry = header[choose(rng, header)]
        entry["dtype"] = choose(rng, dtypes)
    header = {**start, **header}
    if rng.random() < 0.8:
        return model_files.joined(header, values)
    return model_files.joined(as_text(rng, header), values)


def change_values(rng, content):
    """Overwrite numbers of one array."""
    header, values = model_files.header_of(content)
    entry = choose(rng, [e for name, e in header.items() if name != "__metadata__"])
    start, stop = entry["data_offsets"]
    dtype = model_files.DTYPES[entry["dtype"]]
    array = np.frombuffer(values[start:stop], dtype).copy()
    floats = [0, -1, 1, 1e-30, 1e30, -1e30, np.nan, np.inf, -np.inf]
    numbers = floats if dtype[0] == "f" else [0, -1, 1, 2, 9, 127, 32767]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = rng.integers(len(array), size=choose(rng, [1, 1, 10]))
        array[rows] = np.array(choose(rng, numbers)).astype(dtype)
        if rng.random() < 0.2:
            array[:] = np.array(choose(rng, numbers)).astype(dtype)
    return model_files.joined(header, values[:start] + array.tobytes() + values[stop:])


def flip_bits(rng, content):
    changed = bytearray(content)
    end = choose(rng, [8, 200, 8 + int.from_bytes(content[:8], "little"), len(content)])
    for place in rng.integers(min(end, len(content)), size=choose(rng, [1, 1, 1, 2, 8])):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(rng, content):
    return content[: int(rng.integers(choose(rng, [9, 200, len(content)])))]


def extend(rng, content):
    return content + choose(rng, [b"\0", b" " * 8, content, bytes(10**5)])


def move_blocks(rng, content):
    """Overwrite a block by another, by zeros or by noise."""
    size = int(choose(rng, [1, 8, 64, 4096]))
    a, b = rng.integers(len(content), size=2)
    block = choose(rng, [content[b : b + size], bytes(size), rng.bytes(size)])
    return content[:a] + block + content[a + len(block) :]


def change_length(rng, content):
    lengths = [0, 1, 8, len(content), len(content) - 8, 2**20, 2**40, 2**63, 2**64 - 1]
    length = int.from_bytes(content[:8], "little") + choose(rng, [-8, -1, 1, 8])
    return (choose(rng, [*lengths, length]) % 2**64).to_bytes(8, "little") + content[8:]


CHANGES = {
    change_about: 8,
    change_fields: 8,
    change_lengths: 4,
    change_header: 4,
    change_values: 2,
    flip_bits: 3,
    cut: 1,
    extend: 1,
    move_blocks: 1,
    change_length: 1,
}


REDONE = (change_about, change_fields, change_lengths, change_header, change_values)


def changed_file(seed, files):
    """Return (name, class, bytes, answers, change, whether the digest fits) of one file."""
    rng = np.random.default_rng(seed)
    weights = np.array([20_000 if len(content) < 10**6 else 2_000 for _, _, content, _ in files])
    name, cls, original, expected = files[rng.choice(len(files), p=weights / weights.sum())]
    weights = np.array([*CHANGES.values()])
    change = choose(rng, np.repeat(np.array([*CHANGES], dtype=object), weights))
    content = change(rng, original)
    fits = len(content) > 200 and rng.random() < 0.8
    if fits:
        content = model_files.with_digest(content)
    elif change in REDONE:
        place = slice(model_files.START, model_files.START + 64)  # the digest that was there
        content = content[: place.start] + original[place] + content[place.stop :]
    return name, cls, content, expected, change.__name__, fits, content == original


# Loading in limited processes


def outcome(cls, path, expected, fits, same):
    """Load a file and predict; return what happened, and whether that is as it should be."""
    try:
        estimator = cls.load(path)
    except OSError as error:
        named = str(path) in str(error)
        return "OSError" if named else f"OSError without a name: {error}", named
    except ValueError as error:
        named = str(path) in str(error) and type(error) is ValueError and len(str(error)) < 3000
        return "ValueError" if named else f"ValueError without a name: {error}", named
    except BaseException as error:
        return f"load: {type(error).__name__}: {str(error)[:200]}", False
    if not (fits or same):
        return "loaded in spite of its digest", False
    try:
        found = answers(estimator)
    except ValueError:
        return "loaded, ValueError in predict", True
    except BaseException as error:
        return f"predict: {type(error).__name__}: {str(error)[:200]}", False
    numbers = [array for array in found if array.dtype.kind == "f"]
    if not all(np.isfinite(array).all() for array in numbers):
        return "loaded, answers are not finite", False
    alike = len(found) == len(expected) and all(map(np.array_equal, found, expected))
    return f"loaded, {'same' if alike else 'other'} answers", True


def stop(signum, frame):
    raise TimeoutError(f"more than {SECONDS} s")


def work(seeds, files, path, write):
    """Load changed files, and write a line of JSON for each."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, stop)  # of time that the process itself took
    for seed in seeds:
        name, cls, content, expected, change, fits, same = changed_file(seed, files)
        path.write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        start = time.process_time()
        result, right = outcome(cls, path, expected, fits, same)
        seconds = time.process_time() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
        record = [seed[1], name, change, fits, result, right, seconds]
        os.write(write, json.dumps(record).encode() + b"\n")


def in_process(seeds, files, path):
    """Yield the records of a process; fewer than seeds if it dies or does not answer."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            work(seeds, files, path, write)
        finally:  # a child that never returns
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    rest = b""
    while select.select([read], [], [], HANGS)[0]:
        part = os.read(read, 2**16)
        if not part:
            break
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield json.loads(line)
    os.close(read)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def run(count, seed, kinds=KINDS, first=0):
    """Load `count` changed files; return records, and print failures."""
    records = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make_files(folder, kinds)
        while len(records) < count:
            number = first + len(records)
            seeds = [(seed, n) for n in range(number, first + count)][:PER_PROCESS]
            batch = list(in_process(seeds, files, folder / "changed"))
            if len(batch) < len(seeds):  # the next one killed it
                lost = number + len(batch)
                batch.append([lost, "?", "?", None, "the process died or hung", False, 0.0])
            for record in batch:
                if not record[5]:
                    print(
                        f"--seed {seed} --first {record[0]} --count 1: {record[1:]}"[:400],
                        flush=True,
                    )
            records += batch
    return records


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--short", action="store_true", help="a few kinds of estimators only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of networks that were hardly trained
    start = time.perf_counter()
    records = run(args.count, args.seed, SHORT if args.short else KINDS, args.first)
    for change in [change.__name__ for change in CHANGES]:
        found = collections.Counter(record[4] for record in records if record[2] == change)
        print(f"{change}: {sum(found.values())}", dict(found.most_common(8)))
    found = collections.Counter(record[4] for record in records)
    for result, times in found.most_common():
        print(f"{times:6d} {result[:200]}")
    failures = sum(not record[5] for record in records)
    slowest = max(records, key=lambda record: record[6])
    print(f"slowest: {slowest[6]:.2f} s, {slowest[:5]}")
    print(f"{len(records)} files, {failures} failures, {time.perf_counter() - start:.0f} s")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
