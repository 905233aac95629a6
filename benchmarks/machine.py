"""Where a benchmark ran, and where its result is written: in JSON, and in a page of docs."""

import datetime
import json
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from sksiamese.twin.training import supports_bfloat16

MARKS = re.compile(r"(<!-- (?:figures: )?([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
RESULTS = Path(os.environ.get("SKSIAMESE_RESULTS", Path(__file__).parent / "results"))


def machine():
    """Return the processor, the number of threads and the versions, as a dict."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True)
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "scikit-learn", "skorch", "numpy")},
        "bfloat16": supports_bfloat16("cpu"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": commit.stdout.strip(),
        "date": datetime.date.today().isoformat(),
    }


def report(name, result):
    """Print a result with the machine, and write both to ``results/<name>.json``.

    The environment variable SKSIAMESE_RESULTS names another folder.
    """
    record = {"benchmark": name, **result, "machine": machine()}
    text = json.dumps(record, indent=1)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    return record


def fill_page(page, found):
    """Write lines between the marks of a page, by the names of the marks."""
    text = MARKS.sub(
        lambda m: m[1] + "".join(f"{line}\n" for line in found[m[2]]) + m[3], page.read_text()
    )
    page.write_text(text)


def percent(score):
    """Return an accuracy with its interval, in %."""
    low, mean, high = (100 * score[key] for key in ("low", "accuracy", "high"))
    return f"{mean:.1f} ({low:.1f}-{high:.1f})"
