"""``minisn paper``: the statements of the papers, with their code, tests and explanations."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import result_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..paper import Entry, Index

WIDTH = 100
INDENT = 20


@click.command()
@click.argument("part", nargs=-1)
@result_option("--json", "data", help="File for the index, as JSON.")
def paper(part: tuple[str, ...], data: Path | None) -> None:
    """Show the statements of the papers and their place in code.

    Without PART, print a table of all statements. With a PART, such as 12, "Table 3", "Fig. 9" or
    BSN, print the paper's statement, our formula and the differences, the source that computes it,
    the tests that name the source, and the notebooks that explain it.

    \b
    Examples:
        minisn paper
        minisn paper 12
        minisn paper Alg. 1
    """
    from ..files import write_file
    from ..paper import Index

    index = Index()
    if part:
        entries = _find(index, " ".join(part))
        for entry in entries:
            click.echo("\n".join([*_stated(entry), *_detail(index, entry)]) + "\n")
    else:
        entries = index.entries
    if data:
        text = json.dumps([asdict(e) for e in entries], indent=1)
        write_file(data, text.encode(), "choose another file")
        click.echo(data)
    elif not part:
        click.echo("\n".join(line for entry in index.entries for line in _row(entry)))


def _find(index: Index, asked: str) -> list[Entry]:
    """Find parts of the papers by number, by name, or by the beginning of a name."""
    from ..errors import ConfigError

    number = asked.strip("() ")
    wanted = f"Eq. ({number})" if number.isdecimal() else asked
    exact = [e for e in index.entries if e.part.lower() == wanted.lower()]
    found = exact or [e for e in index.entries if e.part.lower().startswith(wanted.lower())]
    if not found or not number:
        raise ConfigError(
            f"{asked!r} is not a part of the papers; expected an equation 1 to 38, "
            "or a name from the table of `minisn paper`"
        )
    return found


def _row(entry: Entry) -> list[str]:
    """Return the lines of a part in the table: its statement, then its place."""
    place = entry.places[0] if entry.places else None
    where = f"{place.path}:{place.lines[0]} {place.name}" if place else "-"
    more = f" +{len(entry.places) - 1}" if len(entry.places) > 1 else ""
    sections = ", ".join(dict.fromkeys(heading for _, heading in entry.sections)) or "-"
    name = f"{entry.paper} {entry.part}"
    found = f"{where}{more}; {_tests(entry)}; {sections}"
    return [*_wrapped(f"{name:{INDENT}}", entry.statement.states), " " * INDENT + found]


def _tests(entry: Entry) -> str:
    return f"named by {len(entry.tests)} test{'s' * (len(entry.tests) != 1)}"


def _wrapped(first: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * INDENT)


def _stated(entry: Entry) -> Iterator[str]:
    """Yield the statement of the paper, then ours."""
    said = entry.statement
    yield from _wrapped(f"{f'{entry.paper} {entry.part}':{INDENT}}", said.states)
    formulas = {"The paper": said.tex, "Ours": entry.formula}
    for title, tex in formulas.items():
        lines = [line.strip() for line in tex.splitlines()]
        yield from (f"{'' if n else title:{INDENT}}{line}" for n, line in enumerate(lines))
    for title, text in {"What differs": said.differs, "Known from": said.known}.items():
        yield from _wrapped(f"{title:{INDENT}}", text) if text else []
    for n, (letter, name) in enumerate(said.letters.items()):
        yield f"{'' if n else 'Letters':{INDENT}}{letter:10} {name}"
    widths = [max(map(len, column)) for column in zip(*said.rows, strict=True)]
    for row in said.rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield (" " * INDENT + "  ".join(cells)).rstrip()


def _detail(index: Index, entry: Entry) -> Iterator[str]:
    """Yield the places that compute a part, the source of the first, the tests, the notebooks."""
    for place in entry.places:
        yield from ("", f"{place.path}:{place.lines[0]}  {place.name}", f"  {place.sentence}")
        yield from (f"  {line}" for formula in place.formulas for line in formula.splitlines())
    chosen = next((p for p in entry.places if p.lines[0] != 1), None)
    if chosen:
        yield from ("", f"-- {chosen.path}:{chosen.lines[0]} --", index.source(chosen))
    yield from ("", f"{_tests(entry)}, such as:".capitalize())
    yield from (f"  {path}:{line}  {name}" for name, path, line in entry.tests[:8])
    if entry.sections:
        yield from ("", "Explained in:", *(f"  {p}: {h}" for p, h in entry.sections))
