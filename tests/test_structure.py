"""The house: who may import whom, what no file does, and that each file has its tests."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import sksiamese
from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
)

PACKAGE = Path(sksiamese.__file__).parent
ROOT = Path(__file__).parents[1]
TESTS = Path(__file__).parent
ESTIMATORS = [
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
]
NAMES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# Imports go one way: a file imports from the layers before its own, and from its own subpackage.
LAYERS = (
    ("exceptions", "_files"),
    ("_modelfile",),
    ("twin", "model_selection", "datasets", "programs"),
    ("_containers", "_params", "augmentation", "callbacks"),
    ("_validation",),
    ("_callbacks", "_identity", "_support", "_pairs", "_training_data"),
    ("comparers", "_building", "_closed_form", "_scaling"),
    ("_fitted",),
    ("_learning", "_values"),
    ("_persistence", "_onnx"),
    ("_start",),
    ("_base",),
    ("_classifier", "_motor_programs"),
    ("_verifier", "_frozen", "recipes", "weights"),
    ("plotting",),
    ("__init__",),
    ("_cli",),
    ("__main__",),
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
# Subpackages that import nothing else of the package.
LEAVES = {
    "exceptions": set(),
    "_files": set(),
    "_modelfile": {"_files"},
    "twin": {"exceptions", "_files", "_modelfile"},
    "model_selection": {"exceptions"},
    "datasets": {"exceptions", "_files"},
    "programs": {"exceptions"},
}
WITHOUT_TORCH = (
    "model_selection/",
    "datasets/",
    "programs/",
    "exceptions.py",
    "_support.py",
    "_fitted.py",
    "_params.py",
    "_pairs.py",
    "_motor_programs.py",
)
TORCH = {"torch", "skorch", "torchvision"}
JOIN_BOTH = {"_callbacks.py", "_validation.py"}


def tree(path):
    return ast.parse(path.read_text())


def imports(name):
    """Return absolute names of the modules that a source file imports, anywhere in it."""
    place = ("sksiamese", *Path(name).with_suffix("").parts)
    found = set()
    for node in ast.walk(tree(PACKAGE / name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(place[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found.add(module)
            if module.split(".")[0] == "sksiamese":  # a name may be a module
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def outside(name):
    """Return other packages that a file imports."""
    return {module.split(".")[0] for module in imports(name)} - {"sksiamese"}


def unit(name):
    """Return the layered unit that a file belongs to: its subpackage, or itself."""
    return name.split("/")[0].removesuffix(".py")


def inside(name):
    """Return other units of the package that a file imports."""
    parts = [module.split(".") for module in imports(name)]
    ours = {part[1] for part in parts if part[0] == "sksiamese" and len(part) > 1}
    units = {module for module in ours if module in LAYER}
    if ["sksiamese"] in parts and ours - units:  # a name of the package itself
        units.add("__init__")
    return units - {unit(name)}


def test_imports_are_read_as_written():
    assert {"sksiamese._base", "sksiamese._base.embed", "sklearn.base"} <= imports(
        "_classifier.py"
    )
    assert "torch" in imports("_learning.py")
    assert "sksiamese.twin.scaling" in imports("twin/training.py")
    assert {"_base", "_callbacks", "_support"} <= inside("_classifier.py")
    assert inside("twin/training.py") == {"exceptions"}


def test_every_file_has_a_layer():
    assert {unit(name) for name in NAMES} == LAYER.keys()


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_one_way(name):
    own = unit(name)
    assert [other for other in inside(name) if LAYER[other] >= LAYER[own]] == []
    if own in LEAVES:
        assert inside(name) <= LEAVES[own]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("twin/")])
def test_twin_does_not_import_scikit_learn(name):
    assert "sklearn" not in outside(name)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(WITHOUT_TORCH)])
def test_files_without_a_network_do_not_import_torch(name):
    assert not outside(name) & TORCH


@pytest.mark.parametrize("name", NAMES)
def test_only_the_joining_files_import_both_scikit_learn_and_torch(name):
    both = "sklearn" in outside(name) and bool(outside(name) & TORCH)
    assert both == (name in JOIN_BOTH)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("programs/")])
def test_programs_do_not_import_scikit_learn(name):
    assert "sklearn" not in outside(name)


# What no file does


def dotted(node):
    """Return the name of an attribute of an attribute ..., such as ``torch.ops.mkldnn``."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def forbidden(node):
    """Return what a node of the syntax tree does that no file may do; None if nothing."""
    if isinstance(node, ast.Call):
        called = dotted(node.func)
        first = dotted(node.args[0]) if node.args else ""
        if called == "print":
            return "print"
        if called in ("copy.copy", "copy") and first == "self":
            return "copy.copy(self)"
        if called == "hasattr" and first == "self":
            return "hasattr(self, ...)"
        if called == "object.__new__":
            return "object.__new__"
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(dotted(target) == "self.__dict__" for target in targets):
            return "self.__dict__ ="
    if isinstance(node, ast.Attribute) and dotted(node) == "torch.ops":
        return "torch.ops"
    if isinstance(node, ast.FunctionDef) and node.name in ("__getattr__", "__getattribute__"):
        return node.name
    # The stand-in for scikit-learn's mixin, where scikit-learn has none.
    if isinstance(node, ast.ClassDef) and node.name.endswith("Mixin"):
        return None if node.name == "CallbackSupportMixin" else f"class {node.name}"
    return None


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("print(1)", "print"),
        ("copy.copy(self)", "copy.copy(self)"),
        ("copy(self)", "copy.copy(self)"),
        ("self.__dict__ = {}", "self.__dict__ ="),
        ("self.__dict__ |= {}", "self.__dict__ ="),
        ("if hasattr(self, 'a'): pass", "hasattr(self, ...)"),
        ("object.__new__(A)", "object.__new__"),
        ("torch.ops.mkldnn._linear(x)", "torch.ops"),
        ("onednn = torch.ops.mkldnn", "torch.ops"),
        ("class A:\n  def __getattr__(self, name): pass", "__getattr__"),
        ("class SaveMixin: pass", "class SaveMixin"),
    ],
)
def test_forbidden_patterns_are_found(code, found):
    assert found in {forbidden(node) for node in ast.walk(ast.parse(code))}


# Operators private to torch are faster in prediction; `can_pack` checks them, with a fallback.
ALLOWED = {"twin/encoders.py": {"torch.ops"}}


@pytest.mark.parametrize("name", NAMES)
def test_no_file_has_a_forbidden_pattern(name):
    nodes = ast.walk(tree(PACKAGE / name))
    found = {(forbidden(node), node.lineno) for node in nodes if forbidden(node)}
    assert {(what, line) for what, line in found if what not in ALLOWED.get(name, ())} == set()


# Public methods are where a reader looks for them


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_public_members_are_defined_in_the_file_of_the_estimator(estimator):
    path = inspect.getsourcefile(estimator)
    for name in dir(estimator):
        if name.startswith("_"):
            continue
        owner = next(cls for cls in estimator.__mro__ if name in vars(cls))
        if owner.__module__.split(".")[0] == "sklearn":
            continue
        assert owner is estimator, name
        member = vars(owner)[name]
        if isinstance(member, (classmethod, staticmethod)):
            member = member.__func__
        if isinstance(member, property):
            member = member.fget
        if type(member).__module__.split(".")[0] == "sklearn":  # metadata requests
            continue
        if inspect.isfunction(member):
            member = inspect.unwrap(member)
            assert member.__qualname__ == f"{estimator.__name__}.{name}"
            assert inspect.getsourcefile(member) == path


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_derive_from_scikit_learn_alone(estimator):
    others = [cls for cls in estimator.__mro__[1:-1] if cls.__module__.split(".")[0] != "sklearn"]
    assert [cls.__name__ for cls in others] in ([], ["CallbackSupportMixin"])


# Nothing outside the package uses its private names

# Of other packages, and of Python.
KNOWN_PRIVATE = {
    "_repr_html_",  # scikit-learn, IPython
    "_asdict",  # namedtuple
    "_replace",
    "_fields",
}
OUTSIDE = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("tests", "benchmarks", "examples", "tools")
    for path in (ROOT / folder).rglob("*.py")
)


def is_private(name):
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def private_uses(code):
    """Return private modules that are imported, and private attributes of other objects."""
    found = []
    for node in ast.walk(ast.parse(code)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        for module in modules:
            package, *parts = module.split(".")
            if package == "sksiamese" and any(map(is_private, parts)):
                found.append(module)
        if (
            isinstance(node, ast.Attribute)
            and is_private(node.attr)
            and node.attr not in KNOWN_PRIVATE
            and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        ):
            found.append(f"{dotted(node)}, line {node.lineno}")
        # getattr(x, "_name"), and monkeypatch.setattr(x, "_name", ...)
        if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in (
            "getattr",
            "setattr",
            "delattr",
        ):
            found += [
                f"{arg.value}, line {arg.lineno}"
                for arg in node.args
                if isinstance(arg, ast.Constant)
                and isinstance(arg.value, str)
                and is_private(arg.value.rsplit(".", 1)[-1])
                and arg.value not in KNOWN_PRIVATE
            ]
    return found


@pytest.mark.parametrize(
    "code",
    [
        "from sksiamese._base import embed",
        "import sksiamese._base",
        "from sksiamese import _base",
        "from sksiamese.model_selection._split import EpisodeSplit",
        "from sksiamese.plotting import _trials",
        "clf._hidden(X)",
        "clf.fitted_._calibrated(X)",
        "clf.predict(X)._hidden",
        "getattr(clf, '_hidden')",
        "monkeypatch.setattr(SiameseVerifier, '_logits', None)",
        "monkeypatch.setattr('sksiamese.twin.inference._joined', None)",
    ],
)
def test_private_uses_are_found(code):
    assert private_uses(code)


@pytest.mark.parametrize(
    "code",
    [
        "from sksiamese.twin.inference import NeuralComparer",
        "from sksiamese import __version__",
        "self._own = 1",
        "estimator._repr_html_()",
        "cls.__name__",
        "from sklearn.utils._testing import ignore_warnings",
        "getattr(clf, 'classes_')",
    ],
)
def test_public_uses_are_not_taken_for_private_ones(code):
    assert private_uses(code) == []


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_file_outside_the_package_uses_private_names(name):
    assert private_uses((ROOT / name).read_text()) == []


# Tests, and what importing costs


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("__.py")])
def test_each_file_has_its_test_file(name):
    """What is private in a subpackage, or all of a private one, is tested by one file."""
    *folders, stem = name.removesuffix(".py").split("/")
    private = folders and (stem.startswith("_") or folders[0].startswith("_"))
    parts = [part.removeprefix("_") for part in (folders if private else [*folders, stem])]
    assert (TESTS / f"test_{'_'.join(parts)}.py").exists()


def test_import_of_the_package_loads_no_optional_dependency():
    """pandas comes with skorch or scikit-learn where it is installed, so they go first."""
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
