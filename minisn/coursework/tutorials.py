"""Names and functions that the tutorials define outside the exercises, which are no answers."""

import ast
import functools
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType

TUTORIALS = Path(__file__).parents[2] / "tutorials"
"""Folder of the tutorials in a checkout."""


def names_of(source: str) -> set[str]:
    """Return the names of a cell's top level: variables, functions, classes, imports."""
    found = set()
    for node in _top_level(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
    return found


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a module, but not into nested scopes."""
    own = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp,
           ast.SetComp, ast.DictComp, ast.GeneratorExp)  # fmt: skip
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, own):
            yield from _top_level(child)


def is_of_tutorial(number: str, function: Callable) -> bool:
    """Return whether a tutorial of the checkout defines this function outside its exercises."""
    code = getattr(function, "__code__", None)
    return isinstance(code, CodeType) and _identity(code) in _functions(number)


@functools.cache
def _functions(number: str) -> set[tuple]:
    found = set()
    for path in TUTORIALS.glob(f"{number}-*.ipynb"):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code" and "nbgrader" not in cell["metadata"]:
                with suppress(SyntaxError):  # a magic
                    module = compile("".join(cell["source"]), path.name, "exec")
                    found |= {_identity(code) for code in _inner(module)}
    return found


def _inner(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and not constant.co_name.startswith("<"):
            yield constant
            yield from _inner(constant)


def _identity(code: CodeType) -> tuple:
    """Return a key that equal functions share, wherever they are defined."""
    constants = tuple(_identity(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, constants
