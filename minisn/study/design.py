"""What a study is: cells, a table made of their results, and a paragraph made of the table."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cells import Cell, Result

Row = dict[str, Any]
"""A line of a study's table, by column."""


@dataclass(frozen=True)
class Study:
    """A figure of a paper, to be regenerated.

    Args:
        name: what the command line calls it.
        title: one line.
        claim: what the paper's figure shows.
        source: of the figure.
        minutes: of the laptop size on two cores, measured, or from the cells' number and the
            time of such cells, some three minutes, two at a time.
        cells: from whether the paper's full size is meant to the runs it needs.
        table: from their results to the rows of the table.
        verdict: from the rows to a paragraph: whether the claim is borne out here, by how much.
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
    """Say what a study shows in the paper, and whether it does here.

    Args:
        study: what was run.
        rows: its table.
    """
    if rows and all(row.get("inception") == "" for row in rows):
        said = (
            "These images have no feature network in minisn, so there are no scores: each run's "
            "folder has samples.npy, to be scored by the official tools."
        )
    else:
        said = study.verdict(rows)
    return f"{study.title} {study.source}. The paper: {study.claim}. {said}"


def table_csv(rows: Sequence[Row]) -> str:
    """Write a table as text: a line of column names, then one for each row."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else [])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def read_table(path: str | Path) -> list[Row]:
    """Read the table that a study wrote, to be drawn or judged again.

    Args:
        path: of its ``table.csv``.
    Returns:
        Its rows, with numbers as numbers.
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
    """Say whether a claim holds here."""
    return "is borne out" if holds else "is not borne out"


def last(result: Result) -> Row:
    """Return what was measured last in a cell; empty if nothing was."""
    return result["measures"][-1] if result["measures"] else {}


def outcome(result: Result) -> Row:
    """Return the columns that every table begins with: the label and how the run ended."""
    return {
        **result["label"],
        "steps": result["step"],
        "diverged": "" if result["diverged"] is None else result["diverged"],
    }
