"""The docstrings of the public API pass numpydoc's validation."""

import importlib
import inspect
import sys
from pathlib import Path

import pytest
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import ERROR_MSGS, validate
from sklearn.base import BaseEstimator

import sksiamese

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODULES = [
    "sksiamese",
    "sksiamese.augmentation",
    "sksiamese.callbacks",
    "sksiamese.datasets",
    "sksiamese.exceptions",
    "sksiamese.model_selection",
    "sksiamese.plotting",
    "sksiamese.recipes",
]
# What users call first has an example and refers to related functions.
CALLED_FIRST = {
    "add_support",
    "calibrate",
    "fit",
    "load",
    "predict",
    "remove_support",
    "save",
    "set_support",
    "transform",
}


def is_ours(obj):
    return (getattr(obj, "__module__", None) or "").partition(".")[0] == "sksiamese"


def public_members(cls):
    """Names of the methods and properties that the package itself defines for a class."""
    for name, member in inspect.getmembers(cls):
        function = member.fget if isinstance(member, property) else member
        if not (inspect.isfunction(function) or inspect.ismethod(function)):
            continue
        # skorch documents the hooks of its callbacks.
        if is_ours(function) and not name.startswith(("_", "on_")):
            yield name


def public_objects():
    """Map each import path of the public API to whether an example is required there."""
    found = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            obj = getattr(module, name)
            path = f"{module_name}.{name}"
            if inspect.ismodule(obj):
                found[path] = False
            elif is_ours(obj) and callable(obj):
                found[path] = not (inspect.isclass(obj) and issubclass(obj, BaseException))
            if inspect.isclass(obj) and is_ours(obj):
                found |= {f"{path}.{m}": m in CALLED_FIRST for m in public_members(obj)}
    return found


def ignored_checks():
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    first, *ignored = pyproject["tool"]["numpydoc_validation"]["checks"]
    assert first == "all"
    return set(ignored)


OBJECTS = public_objects()
ESTIMATORS = [
    cls
    for cls in (getattr(sksiamese, name) for name in sksiamese.__all__)
    if inspect.isclass(cls) and issubclass(cls, BaseEstimator)
]
IGNORED = ignored_checks()


def test_ignored_checks_are_known_to_numpydoc():
    assert IGNORED.issubset(ERROR_MSGS)


@pytest.mark.parametrize(
    "path",
    [
        "sksiamese.SiameseOneShotClassifier",
        "sksiamese.SiameseOneShotClassifier.fit",
        "sksiamese.SiameseVerifier.predict",
        "sksiamese.MotorProgramClassifier.fit",
        "sksiamese.load_pretrained",
        "sksiamese.recipes.omniglot",
    ],
)
def test_public_objects_include_what_users_call_first(path):
    assert OBJECTS[path]


@pytest.mark.parametrize("path", OBJECTS)
def test_docstring_passes_numpydoc(path):
    ignored = IGNORED - {"EX01", "SA01"} if OBJECTS[path] else IGNORED
    errors = [
        f"{code}: {message}" for code, message in validate(path)["errors"] if code not in ignored
    ]
    assert not errors, "\n".join([path, *errors])


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_estimator_documents_its_fitted_attributes(cls):
    attributes = ClassDoc(cls, config={"show_class_members": False})["Attributes"]
    fitted = {name for name in dir(cls) if name.endswith("_") and not name.startswith("_")}
    assert fitted | {"classes_"} <= {attribute.name for attribute in attributes}
