"""Results as text for a terminal and as data, for one library or in a table of several."""

from __future__ import annotations

import datetime
import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import DataError
from ..files import write_file
from .suite import BROKEN, KEPT, NOT_ASKED, Result, fact, title

Row = dict[str, Any]
"""A library: name, version, definition and clauses, each clause a mapping."""


def row(adapter: Any, results: Iterable[Result]) -> Row:
    """Return the results of a library as data.

    Args:
        adapter: the adapter that was asked.
        results: results of :func:`~minisn.conformance.suite.run`.
    """
    return {
        "name": title(adapter),
        "version": str(fact(adapter, "version")),
        "definition": fact(adapter, "definition", "SN"),
        "clauses": [as_data(result) for result in results],
    }


def as_data(result: Result) -> dict[str, Any]:
    """Return a result as JSON data; an infinite error becomes null."""
    asked = ("number", "title", "equation", "expected", "tolerance")
    told = ("verdict", "error", "found", "deviation", "meaning", "note")
    data = {name: getattr(result.clause, name) for name in asked}
    data |= {name: getattr(result, name) for name in told}
    return data | {"error": result.error if math.isfinite(result.error) else None}


def line(result: Result) -> str:
    """Return a result as a line of a table, with more lines if the clause is broken."""
    clause = result.clause
    said = result.note if result.verdict == KEPT else result.found
    text = f"{clause.number:>3}  {clause.title:45} {result.verdict:10} {said}".rstrip()
    if result.verdict != BROKEN:
        return text
    finite = 0 < result.error < math.inf
    off = f"; off by {result.error:.2g}, at most {clause.tolerance:g}" if finite else ""
    about = f" [{clause.equation}]" if clause.equation else ""
    told = [f"expected{about}: {clause.expected}{off}"]
    if result.deviation:
        told.append(f"{result.deviation}: {result.meaning}")
    return "\n".join([text, *(textwrap.indent(textwrap.fill(t, 90), " " * 8) for t in told)])


def summary(rows: Row) -> str:
    """Return a library's count of kept, broken and not asked clauses."""
    counts = {v: sum(c["verdict"] == v for c in rows["clauses"]) for v in (KEPT, BROKEN, NOT_ASKED)}
    return (
        f"{rows['name']} {rows['version']}".rstrip() + f": {counts[KEPT]} kept, "
        f"{counts[BROKEN]} broken, {counts[NOT_ASKED]} not asked"
    )


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the results of libraries, the date and minisn's version as JSON.

    Args:
        path: the file.
        rows: results of :func:`row`.
    """
    data = {"date": datetime.date.today().isoformat(), "minisn": __version__, "libraries": rows}
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    write_file(path, text.encode("utf-8", "backslashreplace"), "choose another file")


def read_table(path: Path | str) -> dict[str, Any]:
    """Read a table that :func:`write_table` wrote.

    Args:
        path: the file.
    Raises:
        DataError: the file is not such a table.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8"))
        if isinstance(data["libraries"], list) and data["date"]:
            return data
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path}: expected a table written by `minisn conformance --json`")
