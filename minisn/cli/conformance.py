"""``minisn conformance``: check whether a library's layer is spectral normalization."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import completion, folder_option, result_option

if TYPE_CHECKING:
    from ..conformance import Row


@click.command()
@click.argument(
    "names",
    metavar="[NAME|MODULE:FACTORY]...",
    nargs=-1,
    shell_complete=completion("conformance", "NAMES", "all"),
)
@result_option("--json", "data", help="File for the results, with versions and date.")
@folder_option("--vectors", help="Folder for inputs and expected outputs, for any language.")
@click.option(
    "--list",
    "listed",
    is_flag=True,
    help="List the libraries, the clauses, and the methods of an adapter.",
)
def conformance(
    names: tuple[str, ...], data: Path | None, vectors: Path | None, listed: bool
) -> None:
    """Check which clauses of spectral normalization a layer keeps.

    A NAME is a library with a shipped adapter, or `all` for all installed libraries. For your own
    layer, give MODULE:FACTORY, where FACTORY() returns an adapter. An adapter must have the methods
    make and forward; `--list` shows the optional methods. Clauses that need a missing method are
    "not asked". The exit status is 1 if a clause is broken.

    \b
    Layers have no bias. Arrays are NumPy arrays. The kinds and their weights:
        dense      [outputs, inputs]
        conv       [outputs, inputs, 3, 3], padding 1, stride 1
        deconv     [inputs, outputs, 4, 4], padding 0, stride 1
        embedding  [labels, size]

    A method that raises NotImplementedError counts as "not asked", too. Let make raise it for a
    kind that you do not have. Let it raise it for rounds above 1 if your layer cannot set them; as
    many passes are made instead. An adapter may also have name, version, definition (SN, BSN or
    SN_Conv), scale (the constant that multiplies the normalized weight) and precisions, some of
    float16, bfloat16 and float64; make then takes one of them as its fourth argument, dtype.

    For your own function of PyTorch, a factory that returns Torch(wrap, unwrap), from
    minisn.conformance.adapters.in_torch, is enough: wrap(module, rounds) returns the normalized
    module, and unwrap(module) removes the normalization.

    \b
    Examples:
        minisn conformance torch
        minisn conformance all --json table.json
        minisn conformance my_layers:factory
        minisn conformance --vectors vectors
    """
    from ..conformance import load
    from ..errors import ConfigError

    if not (names or vectors or listed):
        raise ConfigError("conformance: give a library's name, MODULE:FACTORY, or --list")
    if data is not None and not names:
        raise ConfigError("conformance: --json needs a library's name or MODULE:FACTORY")
    if listed:
        _list()
    if vectors is not None:
        from ..conformance.vectors import write

        for path in write(vectors):
            click.echo(path)
    adapters = [load(name) for name in _chosen(names)]  # all of them before the first is asked
    rows: list[Row] = []
    try:
        rows += (_ask(adapter) for adapter in adapters)
    finally:  # what was found is kept, whatever the next adapter does
        if data is not None and rows:
            from ..conformance import write_table

            write_table(data, rows)
            click.echo(data)
    if any(clause["verdict"] == "broken" for row in rows for clause in row["clauses"]):
        click.get_current_context().exit(1)


def _chosen(names: tuple[str, ...]) -> list[str]:
    from ..conformance import NAMES
    from ..conformance.adapters import missing

    chosen: list[str] = []
    for name in names:
        for each in NAMES if name == "all" else (name,):
            if name == "all" and missing(each):
                click.echo(f"{each}: {missing(each)} is not installed", err=True)
            else:
                chosen.append(each)
    return list(dict.fromkeys(chosen))


def _ask(adapter: Any) -> Row:
    """Check one library, and print every clause as it is checked."""
    from ..conformance import row, run
    from ..conformance.report import line, summary
    from ..conformance.suite import fact, title

    results = []
    click.echo(f"{title(adapter)} {fact(adapter, 'version')}".rstrip())
    for result in run(adapter):
        results.append(result)
        click.echo(line(result))
    found = row(adapter, results)
    click.echo(f"{summary(found)}\n")
    return found


def _list() -> None:
    from ..conformance import ASKED, NAMES, all_clauses
    from ..conformance.adapters import missing

    for name in NAMES:
        click.echo(f"{name:16}{missing(name) and 'not installed'}".rstrip())
    click.echo("\nClauses:")
    for each in all_clauses():
        click.echo(f"{each.number:>3}  {each.title:45} {each.equation}".rstrip())
    click.echo("\nAn adapter has make and forward, and any of these methods:")
    for text in ASKED.values():
        click.echo(f"  {text}")
