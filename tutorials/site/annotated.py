"""Source beside its formulas: prose from docstrings and comments on the left, code on the right."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from textwrap import indent

from .code import block, heading, highlighted
from .names import Scope
from .outline import Item, Module
from .prose import page_link, to_rest

_BANNER = re.compile(r"\s*# -- (.+?) -+$")
_FOR_TOOLS = re.compile(r"\s*# (mypy|ruff|type|noqa|fmt)\b")


@dataclass
class Row:
    """A piece of a file.

    Args:
        start: first line of the piece.
        prose: reStructuredText for the left column.
        item: the definition here, or None.
        banner: the title of the part of the file, or of the class, that begins here.
        hidden: lines that the left column shows and the right column leaves out.
    """

    start: int
    prose: str = ""
    item: Item | None = None
    banner: str = ""
    hidden: set[int] = field(default_factory=set)


def page(scope: Scope, documented: bool) -> str:
    """Return the page of a file, in reStructuredText.

    Args:
        scope: the file, and the meaning of its names.
        documented: whether the file has a page in the API.
    """
    module = scope.module
    title = module.path.as_posix()
    parts = [":hide-toc:", "", title, "=" * len(title), ""]
    colored = highlighted(module.text)
    rows = _rows(module, scope)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        end = after.start if after else len(module.lines) + 1
        shown = [n for n in range(row.start, end) if n not in row.hidden]
        parts += _columns(row, block(colored, _trimmed(module, shown)) if shown else "")
        if row.start == 1:
            parts += [_overview(module, documented), ""]
    return "\n".join(parts) + "\n"


def _overview(module: Module, documented: bool) -> str:
    """List what the file defines, as links, and lead to its page in the API."""
    names = [i.name for i in module.items if i.public and i.kind in ("function", "class")]
    links = " · ".join(page_link(name, f"#{name}") for name in names)
    api = page_link("API", f"../api/{module.dotted}.html") + ": " if documented else ""
    return f".. container:: an-overview\n\n   {api}{links}" if api or links else ""


def _columns(row: Row, code: str) -> list[str]:
    """Return a row of two columns; a banner of the file stands above it as a section."""
    parts = [row.banner, "-" * len(row.banner), ""] if row.banner else []
    prose = row.prose
    if row.item:
        shown = row.item.name + ("()" if row.item.kind in ("function", "method") else "")
        prose = f".. raw:: html\n\n   {heading(row.item.name, shown)}\n\n{prose}"
    raw = ".. raw:: html\n\n" + indent(code, "   ")
    columns = (("an-prose", prose), ("an-code", raw if code else ""))
    inside = "\n".join(_container(name, text) for name, text in columns if text)
    return [*parts, _container("an-row", inside) if inside else ""]


def _container(name: str, text: str) -> str:
    return f".. container:: {name}\n\n{indent(text, '   ')}\n"


def _trimmed(module: Module, numbers: list[int]) -> list[int]:
    """Leave out blank lines at the ends, and those that hidden lines leave side by side."""
    filled = [n for n in numbers if module.lines[n - 1].strip()]
    if not filled:
        return []
    inside = [n for n in numbers if filled[0] <= n <= filled[-1]]
    return [
        n
        for n, before in zip(inside, [0, *inside], strict=False)
        if module.lines[n - 1].strip() or (before and module.lines[before - 1].strip())
    ]


# -- where rows begin ---------------------------------------------------------------------


def _rows(module: Module, scope: Scope) -> list[Row]:
    """Cut a file where something is defined, where a comment stands alone, and after functions."""
    rows = {1: Row(1, to_rest(module.doc, scope), hidden=_docstring(module.tree))}
    for line in _loose(module.tree.body):
        rows.setdefault(line, Row(line))
    for item in module.items:
        first, last = item.doc_lines
        inside = last and first > item.node.lineno
        owner = item.name if item.kind == "class" else item.name.rpartition(".")[0]
        rows[item.start] = Row(
            item.start,
            to_rest(item.doc, scope, owner),
            item,
            hidden=set(range(first, last + 1)) if inside else set(),
        )
    for comment in _comments(module, scope):
        rows[comment.start] = comment
    for first, last in module.untold:
        row = rows[max(start for start in rows if start <= first)]
        row.hidden.update(range(first, last + 1))
    return _merged([rows[start] for start in sorted(rows)], module)


def _docstring(tree: ast.Module) -> set[int]:
    if not ast.get_docstring(tree):
        return set()
    return set(range(1, (tree.body[0].end_lineno or 1) + 1))


def _loose(body: list[ast.stmt]) -> Iterator[int]:
    """Yield the first line of plain statements that follow a function or class."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    for before, node in pairwise(body):
        if isinstance(before, kinds) and not isinstance(node, kinds):
            yield node.lineno


def _comments(module: Module, scope: Scope) -> Iterator[Row]:
    """Yield a row for every comment that stands alone before a statement or a definition."""
    starts = {n.lineno for n in ast.walk(module.tree) if isinstance(n, ast.stmt)}
    starts |= {item.start for item in module.items}
    n, lines = 1, module.lines
    while n <= len(lines):
        first = n
        while n <= len(lines) and lines[n - 1].lstrip().startswith("#"):
            n += 1
        if n > first:
            yield from _comment(lines, first, n, starts, scope)
        n += 1


def _comment(
    lines: list[str], first: int, after: int, starts: set[int], scope: Scope
) -> Iterator[Row]:
    hidden = set(range(first, after))
    if banner := _BANNER.match(lines[first - 1]):
        if lines[first - 1].startswith("#"):
            yield Row(first, banner=banner[1][0].upper() + banner[1][1:], hidden=hidden)
        else:
            yield Row(first, f"**{banner[1]}**", hidden=hidden)
    elif after in starts and not _FOR_TOOLS.match(lines[first - 1]):
        words = [line.strip().removeprefix("#").strip() for line in lines[first - 1 : after - 1]]
        yield Row(first, to_rest("\n".join(words), scope), hidden=hidden)


def _merged(rows: list[Row], module: Module) -> list[Row]:
    """Join a comment, which has no code of its own, with the definition below it."""
    merged = rows[:1]
    for row in rows[1:]:
        last = merged[-1]
        between = set(range(last.start, row.start)) - last.hidden
        bare = last.item is None and not any(module.lines[n - 1].strip() for n in between)
        if bare and last.start > 1 and not row.banner:
            prose = "\n\n".join(filter(None, [last.prose, row.prose]))
            merged[-1] = Row(last.start, prose, row.item, last.banner, last.hidden | row.hidden)
        else:
            merged.append(row)
    return merged
