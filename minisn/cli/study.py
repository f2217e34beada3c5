"""``minisn study``: regenerate figures of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import NamedPath, complete_dataset, completion, data_dir_option, refuse_data_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tqdm import tqdm

    from ..study import Cell, Standing, Study
    from ..study.design import Row

CELLS = "cells"


@click.command()
@click.argument(
    "name", metavar="[NAME]", required=False, shell_complete=completion("study", "STUDIES")
)
@click.option(
    "--full", is_flag=True, help="Use the paper's size, if the study has one: hours or days."
)
@click.option(
    "--data",
    metavar="NAME",
    shell_complete=complete_dataset,
    help="Data to train on [default: those of the study; shipped digits, or photographs].",
)
@click.option(
    "--out",
    metavar="FOLDER",
    type=NamedPath(),
    default=Path("studies"),
    help="Folder for tables, plots and runs.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Address of a Dask cluster, tcp://HOST:PORT [default: a cluster on this machine].",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Processes on this machine [default: one per core]."
)
@data_dir_option
def study(
    name: str | None,
    full: bool,
    data: str | None,
    out: Path,
    scheduler: str | None,
    workers: int | None,
    data_dir: Path | None,
) -> None:
    """Run a study, such as a paper's figure, or list all studies.

    The command trains the runs of the study, several at a time. It writes a table, a plot in the
    paper's form, and a paragraph that says whether the paper's claim holds here. Run the command
    again after an interruption: it skips finished runs and continues the others.

    \b
    Examples:
        minisn study
        minisn study fig14
        minisn study fig1 --data cifar10 --workers 2
        minisn study fig1 --full --scheduler tcp://10.0.0.5:8786
    """
    from ..study import STUDIES

    if name is None:
        for each in STUDIES.values():
            click.echo(f"{each.name:10}{each.title}; about {_minutes(each)}")
        return
    chosen = _find(name)
    cells = _cells(chosen, full, data)
    if not cells:
        _refuse_idle(chosen, {"scheduler": scheduler, "workers": workers, "data-dir": data_dir})
    elif len(read := {cell.config.data for cell in cells}) == 1:
        refuse_data_dir(data_dir, read.pop())
    size = f"about {_minutes(chosen)} on two cores"
    if full and chosen.cells(True) != chosen.cells(False):
        size = "the paper's size: hours or days"
    elif data:
        size += " with the study's own data"
    click.echo(f"{chosen.name}: {chosen.title} ({len(cells)} runs, {size})")
    from ..study import run_cells
    from .progress import FORMAT, steady_bar

    results = []
    if cells:
        with steady_bar(total=len(cells), bar_format=FORMAT) as bar:
            results = run_cells(cells, out / CELLS, scheduler, workers, data_dir, _shown_on(bar))
    rows = chosen.table(results)
    folder = out / "-".join([chosen.name, *(["full"] if full else []), *([data] if data else [])])
    _write(folder, chosen, rows)


def _cells(study: Study, full: bool, data: str | None) -> list[Cell]:
    """Return the runs of a study on the chosen data."""
    from ..errors import ConfigError

    cells = study.cells(full)
    if data is None:
        return cells
    if not cells:
        raise ConfigError(f"{study.name} has no training runs to choose data for; omit --data")
    return [cell.on(data) for cell in cells]


def _refuse_idle(study: Study, options: dict[str, object]) -> None:
    """Refuse options for training runs, for a study without any."""
    from ..errors import ConfigError

    for name, value in options.items():
        if value is not None:
            raise ConfigError(
                f"{study.name} has no training runs, so that --{name} has no effect; omit it"
            )


def _minutes(study: Study) -> str:
    return f"{study.minutes:.0f} min" if study.minutes >= 1 else "a moment"


def _find(name: str) -> Study:
    from ..errors import ConfigError, nearest
    from ..study import STUDIES

    if name not in STUDIES:
        raise ConfigError(f"unknown study {name!r}{nearest(name, STUDIES)}")
    return STUDIES[name]


def _write(folder: Path, study: Study, rows: Sequence[Row]) -> None:
    """Write table, plot and paragraph, and print their paths."""
    from ..files import write_file
    from ..plots import png
    from ..study.design import paragraph, table_csv
    from ..study_plots import draw

    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "table.csv", table_csv(rows).encode())
    write_file(folder / "plot.png", png(draw(study, rows)))
    text_of_it = paragraph(study, rows)
    write_file(folder / "verdict.txt", f"{text_of_it}\n".encode())
    click.echo(click.wrap_text(text_of_it, 96))
    for file in ("table.csv", "verdict.txt", "plot.png"):
        click.echo(folder / file)


def _shown_on(bar: tqdm) -> Callable[[Standing], None]:
    """Return a function that shows the cells done, running and left."""

    def show(standing: Standing) -> None:
        words = f"{standing.done} done, {standing.running} running, {standing.left} left"
        if bar.disable:
            latest = f", finished {standing.latest}" if standing.latest else ""
            click.echo(words + latest)
            return
        if standing.latest is None:
            bar.initial = bar.n = standing.done
        bar.set_postfix_str(words, refresh=False)
        bar.update(standing.done - bar.n)

    return show
