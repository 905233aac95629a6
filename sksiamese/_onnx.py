"""ONNX: a fitted classifier as a folder of graphs, JSON and embeddings, to run without Python.

`docs/export.md` describes the folder and the steps of a program that reads it.
"""

import hashlib
import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ._files import check_path, new_folder
from ._fitted import Fitted
from ._learning import neural
from .twin.export import LEAST_SIDE, CellComparison, Comparison, Embedding
from .twin.heads import aligned_in

FORMAT = "sksiamese onnx 1"
ABOUT, SUPPORT = "model.json", "support.f32"
EMBED, COMPARE, CELLS = "embed.onnx", "compare.onnx", "cells.onnx"
FILES = {ABOUT, SUPPORT, EMBED, COMPARE, CELLS}
N_TRACED = 3  # samples that a graph is traced with


def write_onnx(path: Any, fitted: Fitted, aggregation: str, unknown_label: Any) -> None:
    """Write a folder that holds a fitted classifier; see `export_onnx` of the classifier."""
    import_onnx()
    target = check_target_folder(path)
    with new_folder(target) as folder:
        about = {
            "format": FORMAT,
            **_written_graphs(folder, fitted),
            "scaling": _scaling(fitted),
            "calibration": dict(zip(("slope", "intercept"), fitted.calibration, strict=True)),
            "aggregation": aggregation,
            "rejection_threshold": _finite(fitted.rejection_threshold),
            "unknown_label": np.asarray(unknown_label).tolist(),
            "support": _written_support(folder, fitted),
        }
        about["sha256"] = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.iterdir())
        }
        text = json.dumps(about, indent=1, allow_nan=False, default=str)
        (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def import_onnx() -> None:
    """Raise ImportError unless torch's exporter has what it needs."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "export_onnx needs onnx and onnxscript: pip install 'sksiamese[onnx]'."
        ) from error


def check_target_folder(path: Any) -> Path:
    """Return the Path of a folder that can be made, or that an earlier export made.

    Raises
    ------
    OSError
        If it cannot.
    """
    check_path(path)
    path = Path(path).resolve()
    if path.exists():
        if not path.is_dir():
            raise OSError(f"Cannot write {path}: it is a file; expected a new folder.")
        others = sorted({file.name for file in path.iterdir()} - FILES)
        if others:
            raise OSError(
                f"Cannot replace {path}: it has files that no export wrote, such as {others[0]}. "
                "Name a new folder."
            )
    elif not path.parent.is_dir():
        raise OSError(f"Cannot write {path}: its parent directory does not exist.")
    return path


def _written_graphs(folder: Path, fitted: Fitted) -> dict[str, Any]:
    """Write the graphs; return what JSON says of them."""
    comparer = neural(fitted)
    network, scaling = comparer.network, comparer.scaling
    weights = fitted.level_weights
    embedding = Embedding(
        network,
        scaling,
        None if weights is None else torch.from_numpy(weights),
        fitted.level_offset,
    )
    shape = fitted.input_shape
    is_image, is_cropped = len(shape) == 3, scaling.crop == "foreground"
    # Rows may have large offsets, which would cost the digits of float32.
    dtype = torch.float32 if is_image else torch.float64
    sides = {2: "height", 3: "width"} if is_cropped else {}
    sizes = {axis: torch.export.Dim(name, min=LEAST_SIDE) for axis, name in sides.items()}
    outputs = ["embeddings", "levels"] + ["boxes"] * is_image
    samples = torch.zeros(N_TRACED, *shape, dtype=dtype)
    _write(folder / EMBED, embedding, {"samples": samples}, outputs, sizes)
    n_features = math.prod(comparer.embedding_shape)
    # Of several lengths, or else torch takes them for one.
    rows = {
        "queries": torch.zeros(N_TRACED, n_features),
        "exemplars": torch.zeros(N_TRACED + 1, n_features),
    }
    _write(folder / COMPARE, Comparison(network), rows, ["logits"])
    about = {
        "embed": {
            "file": EMBED,
            "dtype": str(dtype).removeprefix("torch."),
            "shape": [shape[0], None, None] if is_cropped else list(shape),
            "n_features": n_features,
        },
        "compare": {"file": COMPARE},
        "cells": None,
    }
    if aligned_in(network.head) is not None:
        cells = CellComparison(network)
        pairs = {name: rows["queries"].clone() for name in rows}
        _write(folder / CELLS, cells, pairs, ["cell_logits"], alike=True)
        about["cells"] = {"file": CELLS, "shape": list(cells.map_shape)}
    return about


def _write(
    path: Path,
    module: torch.nn.Module,
    inputs: dict[str, torch.Tensor],
    outputs: list[str],
    sizes: dict[int, Any] | None = None,
    alike: bool = False,
) -> None:
    """Write a module as a graph that takes any number of rows, of all inputs the same if `alike`.

    Raises
    ------
    ValueError
        If torch cannot export it, as an encoder whose steps depend on the values of its input.
    """
    rows = torch.export.Dim("rows")
    shapes = {
        name: {0: rows if alike else torch.export.Dim(name), **(sizes or {})} for name in inputs
    }
    try:
        with _quietly():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=shapes,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(
            "The network cannot be exported to ONNX: torch.export cannot trace its encoder. "
            f"{str(error.__cause__ or error).splitlines()[0]}"
        ) from error
    assert program is not None
    program.save(path, external_data=False)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep torch's exporter from telling of libraries and names that do not matter here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _scaling(fitted: Fitted) -> dict[str, Any]:
    scaling = neural(fitted).scaling
    return {
        "offset": scaling.offset.flatten().tolist(),
        "scale": scaling.scale.flatten().tolist(),
        "size": scaling.size,
        "working_size": scaling.working_size,
        "crop": scaling.crop,
        "unit": scaling.unit,
    }


def _written_support(folder: Path, fitted: Fitted) -> dict[str, Any] | None:
    """Write the embeddings of the support; return what JSON says of them, None without one."""
    support = fitted.support
    if support is None:
        return None
    rows = support.embeddings.reshape(len(support), -1)
    (folder / SUPPORT).write_bytes(np.ascontiguousarray(rows, dtype="<f4").data)
    return {
        "file": SUPPORT,
        "shape": list(rows.shape),
        "labels": support.labels.tolist(),
        "levels": fitted.levels(rows).tolist(),
    }


def _finite(value: float | None) -> float | None:
    """Return a number that JSON can hold; None for the threshold that accepts everything."""
    return None if value is None or math.isinf(value) else value
