"""The docstrings of the public API pass numpydoc's validation."""

import ast
import doctest
import inspect
import re
import sys
import textwrap
from pathlib import Path
from pydoc import locate

import pytest
from helpers import public_modules
from numpydoc.docscrape import ClassDoc, FunctionDoc
from numpydoc.validate import ERROR_MSGS, validate
from sklearn.base import BaseEstimator

import sksiamese

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What users call first has an example of its own and refers to related functions.
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
# Types of parameters whose shape has to be said.
OF_A_SHAPE = re.compile(r"\b(array-like|ndarray|Tensor)\b")


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
    """Map each import path of the public API to whether it is called first."""
    found = {}
    for module_name, module in public_modules().items():
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


def examples(obj):
    """Return the code of the examples in a docstring."""
    parsed = doctest.DocTestParser().get_examples(getattr(obj, "__doc__", None) or "")
    return "".join(example.source for example in parsed)


def raised_by(obj):
    """Return the errors that the code of a function, or of a constructor, raises itself."""
    function = obj.fget if isinstance(obj, property) else obj
    if inspect.isclass(function):
        function = vars(function).get("__init__")
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return set()
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):  # there is none, or a dataclass made it
        return set()
    raised = [node.exc for node in ast.walk(ast.parse(textwrap.dedent(source)))
              if isinstance(node, ast.Raise)]  # fmt: skip
    return {ast.unparse(error.func) for error in raised if isinstance(error, ast.Call)}


def documented(obj):
    """Return the parsed docstring of a class or function."""
    if inspect.isclass(obj):
        return ClassDoc(obj, config={"show_class_members": False})
    return FunctionDoc(obj.fget if isinstance(obj, property) else obj)


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


@pytest.mark.parametrize("path", OBJECTS)
def test_docstring_has_an_example_that_shows_it(path):
    """Its own, or for a method one of its class or of another method.

    Estimators call the methods of a comparer that take a `store`: no public name makes one.
    """
    obj = locate(path)
    owner, _, name = path.rpartition(".")
    cls = locate(owner)
    if inspect.isclass(cls):
        if callable(obj) and "store" in inspect.signature(obj).parameters:
            return
        of_class = "".join(map(examples, [cls, *(m for _, m in inspect.getmembers(cls))]))
        assert examples(obj) or re.search(rf"\.{name}\b", of_class)
    else:
        assert examples(obj) or inspect.ismodule(obj)


@pytest.mark.parametrize("path", OBJECTS)
def test_docstring_lists_the_errors_that_its_code_raises(path):
    obj = locate(path)
    listed = " ".join(error.type for error in documented(obj)["Raises"])
    assert {error for error in raised_by(obj) if error not in listed} == set()


@pytest.mark.parametrize("path", OBJECTS)
def test_docstring_says_the_shape_of_arrays(path):
    docs = documented(locate(path))
    for section in {"Parameters", "Attributes", "Returns", "Yields"} & set(docs):
        for item in docs[section]:
            text = " ".join([item.type, *item.desc])
            assert not OF_A_SHAPE.search(item.type) or re.search(r"shape|\(", text), item.name


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_estimator_documents_its_fitted_attributes(cls):
    attributes = ClassDoc(cls, config={"show_class_members": False})["Attributes"]
    fitted = {name for name in dir(cls) if name.endswith("_") and not name.startswith("_")}
    assert fitted | {"classes_"} <= {attribute.name for attribute in attributes}
