"""What is declared about the package agrees with its code and between its files."""

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import sksiamese

ROOT = Path(__file__).parents[1]
PACKAGE = Path(sksiamese.__file__).parent
# Modules whose name is not that of their distribution.
DISTRIBUTIONS = {"PIL": "pillow", "faiss": "faiss-cpu", "sklearn": "scikit-learn"}


def requirements(python="3.12", extras=()):
    """Map each requirement, in lower case, to its version specifier."""
    return {
        r.name.lower(): str(r.specifier)
        for r in map(Requirement, metadata.requires("sksiamese"))
        if r.marker is None
        or any(r.marker.evaluate({"python_version": python, "extra": e}) for e in ("", *extras))
    }


def pins(file_name):
    """Map each requirement of a constraints file to its release."""
    text = (ROOT / file_name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w-]+)==([\d.]+)", text, re.MULTILINE))


class WithoutTypeChecking(ast.NodeTransformer):
    """Remove the blocks ``if TYPE_CHECKING:``, which never run."""

    def visit_If(self, node):  # noqa: N802
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return node.orelse
        return self.generic_visit(node)


def imported_distributions():
    """Names of the distributions that the package imports anywhere."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        tree = WithoutTypeChecking().visit(ast.parse(path.read_text(encoding="utf-8")))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module)
    modules = {name.partition(".")[0] for name in found}
    modules -= {*sys.stdlib_module_names, "sksiamese"}
    return {DISTRIBUTIONS.get(name, name) for name in modules}


def test_requirements_are_what_the_package_imports():
    imported = imported_distributions()
    assert requirements().keys() <= imported
    extras = ["plot", "progress", "timm", "accelerate", "faiss", "onnx"]
    assert imported <= requirements(extras=extras).keys()


def test_constraints_oldest_pins_each_lower_bound():
    declared = requirements(python="3.10", extras=["test"])
    assert {name: f">={release}" for name, release in pins("constraints-oldest.txt").items()} == {
        # A bound may leave out the zeros at the end of a release.
        name: specifier + ".0" * (2 - specifier.count("."))
        for name, specifier in declared.items()
    }


def test_pre_commit_uses_the_releases_of_constraints():
    config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    used = re.findall(r"\[([\w-]+)==([\d.]+)\]", config)
    assert used
    assert set(used) <= set(pins("constraints.txt").items())


def test_version_is_the_same_in_metadata_and_citation():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {sksiamese.__version__}\n" in citation
    assert metadata.version("sksiamese") == sksiamese.__version__


def test_py_typed_is_installed():
    assert (PACKAGE / "py.typed").is_file()
