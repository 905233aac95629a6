"""Where a benchmark ran, and where its result is written."""

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from sksiamese.twin.training import supports_bfloat16

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
