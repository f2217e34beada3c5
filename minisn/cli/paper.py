"""``minisn paper``: where each equation of the papers is computed, tested and explained."""

from __future__ import annotations

import html
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..paper import Entry, Index

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Index of the papers</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
       padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ border-bottom: 1px solid #ddd; padding: .4rem .6rem; text-align: left;
         vertical-align: top }}
code {{ font-size: 90% }} math {{ font-size: 105% }} .none {{ color: #a00 }}
</style>
<h1>Index of the papers</h1>
<p>M18: Miyato et al. (2018), arXiv 1802.05957. L21: Lin et al. (2021), arXiv 2009.02773.</p>
<table><tr><th>part</th><th>formula</th><th>computed by</th><th>tests</th><th>notebook</th></tr>
{rows}
</table></html>
"""


@click.command()
@click.argument("part", nargs=-1)
@click.option("--html", "page", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the table as a page, with formulas.")  # fmt: skip
@click.option("--json", "data", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write it as data.")  # fmt: skip
def paper(part: tuple[str, ...], page: Path | None, data: Path | None) -> None:
    """Show where the papers' equations are in the code.

    Without PART, a table of all. With one, such as 12, "Table 3", "Fig. 9" or BSN: its formula, the
    source of what computes it, the tests that would fail without it, and where it is explained.

    \b
    Examples:
        minisn paper
        minisn paper 12
        minisn paper Alg. 1
        minisn paper --html index.html
    """
    from ..paper import Index
    from ..plots import write_file

    index = Index()
    if part:
        for entry in _find(index, " ".join(part)):
            click.echo(_detail(index, entry))
        return
    if page:
        write_file(page, _PAGE.format(rows="\n".join(map(_row, index.entries))).encode())
        click.echo(page)
    if data:
        write_file(data, json.dumps([asdict(e) for e in index.entries], indent=1).encode())
        click.echo(data)
    if not (page or data):
        click.echo("\n".join(_table(index.entries)))


def _find(index: Index, asked: str) -> list[Entry]:
    """Find the parts that are meant: by number, by name, or by the beginning of a name."""
    from ..errors import ConfigError

    number = asked.strip("()")
    wanted = f"Eq. ({number})" if number.isdecimal() else asked
    exact = [e for e in index.entries if e.part.lower() == wanted.lower()]
    found = exact or [e for e in index.entries if e.part.lower().startswith(wanted.lower())]
    if not found:
        raise ConfigError(
            f"{asked!r} is no part of the papers; expected an equation 1 to 38, "
            "or a name from the table that `minisn paper` prints"
        )
    return found


def _table(entries: Sequence[Entry]) -> list[str]:
    lines = []
    for e in entries:
        where = f"{e.places[0].path}:{e.places[0].lines[0]} {e.places[0].name}" if e.places else "-"
        more = f" +{len(e.places) - 1}" if len(e.places) > 1 else ""
        tests = f"{len(e.tests)} test{'s' * (len(e.tests) != 1)}"
        sections = ", ".join(dict.fromkeys(heading for _, heading in e.sections)) or "-"
        lines.append(f"{e.paper} {e.part:16.16} {where + more:66} {tests:>9}  {sections}")
    return lines


def _detail(index: Index, entry: Entry) -> str:
    lines = [f"{entry.paper} {entry.part}"]
    for place in entry.places:
        lines += ["", f"{place.path}:{place.lines[0]}  {place.name}", f"  {place.sentence}"]
        lines += [f"  {line}" for formula in place.formulas for line in formula.splitlines()]
    functions = [p for p in entry.places if p.formulas and p.lines[0] != 1]
    if functions:
        shortest = min(functions, key=lambda place: place.lines[1] - place.lines[0])
        lines += ["", f"-- {shortest.path}:{shortest.lines[0]} --", index.source(shortest)]
    lines += ["", f"{len(entry.tests)} tests, such as:"]
    lines += [f"  {path}:{line}  {name}" for name, path, line in entry.tests[:8]]
    lines += ["", "Explained in:", *(f"  {p}: {h}" for p, h in entry.sections)]
    return "\n".join(lines if entry.sections else lines[:-2]) + "\n"


def _row(entry: Entry) -> str:
    formulas = [f for place in entry.places for f in place.formulas][:1]
    places = "<br>".join(
        f"<code>{html.escape(p.name)}</code> {html.escape(p.path)}:{p.lines[0]}"
        for p in entry.places[:4]
    )
    sections = "<br>".join(html.escape(heading) for _, heading in entry.sections)
    none = '<span class="none">none</span>'
    part = f"{entry.paper} {html.escape(entry.part)}"
    tests = str(len(entry.tests)) if entry.tests else none
    cells = (part, "".join(map(_mathml, formulas)), places or none, tests, sections or none)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _mathml(tex: str) -> str:
    """Turn TeX into what a browser draws by itself; where no converter is installed, show TeX."""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        return f"<code>{html.escape(tex)}</code>"
    return convert(" ".join(tex.split()), display="block")
