"""The house: who may import whom, how long a file is, and that each has its tests."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import sksiamese

PACKAGE = Path(sksiamese.__file__).parent
TESTS = Path(__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in SOURCES]
JOIN_BOTH = {
    "_base.py",
    "_support.py",
    "_callbacks.py",
    "_validation.py",
    "_persistence.py",
}
OF_ESTIMATORS = {
    "__init__.py",
    "_classifier.py",
    "_cli.py",
    "_verifier.py",
    "recipes.py",
    "weights/__init__.py",
}
TORCH = {"torch", "skorch", "torchvision"}


def imports(name):
    """Absolute names of the modules that a source file of the package imports, anywhere in it."""
    place = ("sksiamese", *Path(name).with_suffix("").parts)
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(place[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found.add(module)
            if module in ("sksiamese", "sksiamese.twin"):
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def outside(name):
    """First parts of the names of other packages' modules."""
    return {module.split(".")[0] for module in imports(name)} - {"sksiamese"}


def inside(name):
    return {module for module in imports(name) if module.split(".")[0] == "sksiamese"}


def named(*prefixes):
    chosen = [name for name in NAMES if name.startswith(prefixes)]
    assert chosen
    return pytest.mark.parametrize("name", chosen)


def test_imports_are_read_as_written():
    assert {"sksiamese.twin", "sksiamese.twin.inference", "sklearn.base"} <= imports(
        "_classifier.py"
    )
    assert "torch" in imports("_fitting.py")
    assert "sksiamese.twin.inference" in imports("twin/training.py")


@named("twin/")
def test_the_twin_knows_neither_scikit_learn_nor_the_rest_of_the_package(name):
    assert "sklearn" not in outside(name)
    assert not [m for m in inside(name) if not m.startswith("sksiamese.twin")]


@named("model_selection", "datasets/")
def test_model_selection_and_datasets_are_leaves_without_torch(name):
    assert not outside(name) & TORCH
    own = "sksiamese." + name.removesuffix(".py").split("/")[0]
    assert not [m for m in inside(name) if not m.startswith(own)]


@pytest.mark.parametrize("name", NAMES)
def test_only_the_joining_files_know_both_scikit_learn_and_torch(name):
    both = "sklearn" in outside(name) and bool(outside(name) & TORCH)
    assert not both or name in JOIN_BOTH


@pytest.mark.parametrize("name", sorted({*NAMES} - OF_ESTIMATORS))
def test_what_the_estimators_stand_on_does_not_know_them(name):
    assert "sksiamese._classifier" not in inside(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_400_lines_at_most(name):
    assert len((PACKAGE / name).read_text().splitlines()) <= 400


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("__.py")])
def test_each_file_has_its_test_file(name):
    """A private module of a public subpackage is tested by the subpackage's file."""
    *folders, stem = name.removesuffix(".py").split("/")
    parts = folders if folders and stem.startswith("_") else [*folders, stem.removeprefix("_")]
    assert (TESTS / f"test_{'_'.join(parts)}.py").exists()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_prints(name):
    calls = [
        n for n in ast.walk(ast.parse((PACKAGE / name).read_text())) if isinstance(n, ast.Call)
    ]
    assert not [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


def test_importing_the_package_draws_in_no_more_than_torch_skorch_and_scikit_learn_do():
    """pandas comes by way of skorch or scikit-learn where it is installed, so they go first."""
    code = (
        "import sys, json, skorch.callbacks, sklearn.utils.validation\n"
        "theirs = set(sys.modules)\n"
        "import sksiamese\n"
        "ours = {name.split('.')[0] for name in set(sys.modules) - theirs}\n"
        "heavy = ['matplotlib', 'pooch', 'pandas', 'PIL', 'hypothesis']\n"
        "absent = ['matplotlib', 'pooch', 'PIL']\n"
        "print(json.dumps([[m for m in heavy if m in ours],"
        " [m for m in absent if m in sys.modules]]))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours, present = json.loads(run.stdout)
    assert ours == []
    assert present == []
