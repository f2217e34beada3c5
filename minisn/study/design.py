"""The parts of a study: cells, a table of their results, and a paragraph about the table."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cells import Cell, Result

Row = dict[str, Any]
"""A row of a study's table: values by column."""


@dataclass(frozen=True)
class Study:
    """The settings and results of one figure of a paper.

    Args:
        name: name on the command line.
        title: a description in one line.
        claim: what is to be seen, and who says so.
        source: tag of the figure.
        minutes: minutes of the laptop size on two cores; measured, or estimated from the number of
            cells at some three minutes each, two at a time.
        cells: function that returns the cells; its argument selects the paper's full size.
        table: function from the results to the rows of the table.
        verdict: function from the rows to a paragraph: whether the claim holds, and by how much.
    """

    name: str
    title: str
    claim: str
    source: str
    minutes: float
    cells: Callable[[bool], list[Cell]]
    table: Callable[[Sequence[Result]], list[Row]]
    verdict: Callable[[Sequence[Row]], str]


def paragraph(study: Study, rows: Sequence[Row]) -> str:
    """Write the claim, and whether it holds in the table.

    Args:
        study: the study.
        rows: the table of the study.
    """
    ended = [row for row in rows if row.get("diverged", "") == ""]
    if ended and all(row.get("inception") == "" for row in ended):
        said = (
            "minisn has no feature network for these images, so there are no scores; score "
            "samples.npy in the folder of each run with the official tools."
        )
    else:
        try:
            said = study.verdict(rows)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            if len(ended) == len(rows):
                raise
            said = "Too many runs diverged for a verdict."
    return f"{study.title} {study.source}. {study.claim}. {said}"


def table_csv(rows: Sequence[Row]) -> str:
    """Write a table as CSV: a line of column names, then a line for each row."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else [])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def read_table(path: str | Path) -> list[Row]:
    """Read the table of a study from its file.

    Args:
        path: path of ``table.csv``.
    Returns:
        The rows; numeric text becomes int or float.
    """
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def borne_out(holds: bool) -> str:
    """Return the words for a claim that holds, or does not hold."""
    return "is borne out" if holds else "is not borne out"


def grouped(rows: Sequence[Row], *columns: str) -> dict[str, list[Row]]:
    """Return the rows by their value in a column, or by their values in several, in order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(", ".join(str(row[column]) for column in columns), []).append(row)
    return groups


def last(result: Result) -> Row:
    """Return the last measures of a cell; empty if there are none."""
    return result["measures"][-1] if result["measures"] else {}


def outcome(result: Result) -> Row:
    """Return the first columns of every table: the label, the steps made, and the divergence."""
    return {
        **result["label"],
        "steps": result["step"],
        "diverged": "" if result["diverged"] is None else result["diverged"],
    }
