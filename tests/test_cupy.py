"""CuPy, by the signatures of its package, which imports without a GPU: what we call is there.

Every call of an array library in the sources, ``xp.name(...)``, ``namespace(x).name(...)`` or
``near(x).name(...)``, is bound to the parameters of CuPy's function of that name.
"""

import ast
import importlib
import inspect
import warnings
from pathlib import Path

import pytest

import minisn

ROOT = Path(minisn.__file__).parent
INNER = ("linalg",)
GIVEN_HERE = {"linalg.svdvals"}
"""What `minisn.backend` writes in another way where the library is CuPy."""


def library_calls(tree):
    """Each call of a function of an array library in a file: its name and the call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := name_in_library(node.func)):
            yield name, node


def name_in_library(function):
    """The dotted name of a function in the namespace of arrays, if that is what it is."""
    if not isinstance(function, ast.Attribute):
        return None
    owner = function.value
    if isinstance(owner, ast.Attribute) and owner.attr in INNER:
        return f"{owner.attr}.{function.attr}" if is_library(owner.value) else None
    return function.attr if is_library(owner) else None


def is_library(node):
    named = isinstance(node, ast.Name) and node.id == "xp"
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return named or (called and node.func.id in ("namespace", "near"))


def sources():
    """The files that compute with arrays of any library."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    }


def complaint(library, name, call):
    """What is wrong with a call, by the signature of the function; None where it binds."""
    try:
        function = library
        for part in name.split("."):
            function = getattr(function, part)
    except AttributeError:
        return "is not there"
    if any(isinstance(a, ast.Starred) for a in call.args) or None in {k.arg for k in call.keywords}:
        return None  # what is passed is not to be seen here
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # of a compiled one: its names stand in no signature
        return None
    try:
        signature.bind(*call.args, **{k.arg: k for k in call.keywords})
    except TypeError as error:
        return str(error)
    return None


def complaints(library, files):
    return [
        f"{path}:{call.lineno} {name}: {found}"
        for path, tree in files.items()
        for name, call in library_calls(tree)
        if name not in GIVEN_HERE and (found := complaint(library, name, call))
    ]


def test_the_scan_finds_the_calls_and_what_is_wrong_with_them():
    tree = ast.parse(
        "xp.sqrt(x)\nnamespace(a).sum(x, axes=1)\nnear(x).zeros(3)\nxp.linalg.svd(x)\nos.sum(x)\n"
        "xp.nothing(x)\nxp.linalg.none(x)\nxp.sum(*x)\nxp.stack(**x)"
    )
    names = [name for name, _ in library_calls(tree)]
    assert names == ["sqrt", "sum", "zeros", "linalg.svd", "nothing", "linalg.none", "sum", "stack"]
    found = complaints(importlib.import_module("numpy"), {"f.py": tree})
    assert [c.split(":")[1].split()[1] for c in found] == ["sum", "nothing", "linalg.none"]
    assert len({name for tree in sources().values() for name, _ in library_calls(tree)}) > 40


@pytest.mark.needs("cupy")
@pytest.mark.filterwarnings("ignore")  # CuPy looks for CUDA, which is not here
def test_every_call_binds_to_cupy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cupy = importlib.import_module("cupy")
    assert cupy.isdtype is not None
    assert complaints(cupy, sources()) == []
