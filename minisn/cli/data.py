"""``minisn data``: list, fetch and verify data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from .options import complete_dataset, data_dir_option, dataset_argument, refuse_data_dir

_LOOKED_AT = 8  # pixels: a small size, since only the report is used


@click.group()
def data() -> None:
    """List, fetch and verify data sets.

    Samples of MNIST and CIFAR-10 ship with minisn; you need not fetch anything to begin.

    \b
    Examples:
        minisn data list
        minisn data fetch cifar10
        minisn data verify cifar10
    """


@data.command("list")
@data_dir_option
def list_command(data_dir: Path | None) -> None:
    """List the data sets, and show which are on this machine.

    \b
    Example:
        minisn data list --data-dir ~/datasets
    """
    from ..data import list_datasets, resolve_data_dir

    for entry in list_datasets(data_dir):
        channels, height, width = entry.shape
        if entry.shipped:
            state = "in the package"
        elif entry.present:
            state = "here"
        else:
            state = f"to fetch, {entry.download_bytes / 1e6:.0f} MB"
        size = f"{sum(entry.counts.values()):,} of {height}x{width}x{channels}"
        click.echo(f"{entry.name:15}{size:20}{state:19}{entry.title}")
    click.echo(f"\nFolder of complete data sets: {resolve_data_dir(data_dir)}")


@data.command()
@dataset_argument
@data_dir_option
def fetch(name: str, data_dir: Path | None) -> None:
    """Download a complete data set.

    NAME is mnist, fashion-mnist, cifar10 or stl10. To continue an interrupted transfer, run the
    command again. minisn keeps only files with the expected SHA-256.

    \b
    Examples:
        minisn data fetch fashion-mnist
        minisn data fetch cifar10 --data-dir ~/datasets
    """
    from ..data import fetch as fetch_files

    for report in fetch_files(name, data_dir):
        click.echo(f"ok  {report.path}")


@data.command()
@click.argument("name", metavar="NAME|FOLDER", shell_complete=complete_dataset)
@data_dir_option
def verify(name: str, data_dir: Path | None) -> None:
    """Check each file of a data set, or of a folder of images.

    The exit status is 1 if a file is missing or not as published. For a FOLDER of your own images,
    the command prints sizes, channels and labels, and names each file that training would skip; the
    exit status is 1 if there is such a file, or if the labels are incomplete.

    \b
    Examples:
        minisn data verify cifar10
        minisn data verify ./photographs
    """
    from ..data import refuse_ambiguous
    from ..data import verify as verify_files
    from ..data.catalog import CATALOG
    from ..errors import ConfigError, DataError

    if not name:
        raise DataError("the name is empty; expected a data set or a folder")
    refuse_ambiguous(name)
    refuse_data_dir(data_dir, name)
    if name not in CATALOG and Path(name).is_dir():
        return _verify_folder(name)
    try:
        reports = verify_files(name, data_dir)
    except ConfigError as error:
        raise ConfigError(f"{error}; there is no folder of that name either") from None
    for report in reports:
        click.echo(f"{'ok ' if report.ok else 'BAD'}  {report.path}: {report.detail}")
    wrong = sum(not report.ok for report in reports)
    if wrong:
        raise DataError(
            f"{name}: {wrong} of {len(reports)} files are missing or damaged; "
            f"run `minisn data fetch {name}`"
        )
    return None


def _verify_folder(name: str) -> None:
    """Read a folder of images as training would, and print its content."""
    from ..data import read_folder
    from ..errors import DataError
    from .progress import images_bar

    _, found = read_folder(name, _LOOKED_AT, watch=images_bar)
    widths, heights = zip(*found.sizes, strict=True)
    gray = f", {found.gray:,} of the images are gray" if found.channels == 3 and found.gray else ""
    labels = ", ".join(f"{label} {count:,}" for label, count in found.labels.items())
    click.echo(
        f"images    {len(found.sizes):,}\n"
        f"width     {_span(widths)} pixels\nheight    {_span(heights)} pixels\n"
        f"channels  {found.channels} ({'gray' if found.channels == 1 else 'color'}{gray})\n"
        f"labels    {labels or 'none: there are no subfolders'}"
    )
    wrong = [f"{path}: {why}" for path, why in found.left_out.items()]
    wrong += found.label_faults if found.labels else []
    for line in wrong:
        click.echo(f"BAD  {' '.join(line.split())}")
    if wrong:
        raise DataError(
            f"{name}: {len(wrong):,} BAD; training skips such files, and a conditional model needs "
            "a label for each image"
        )


def _span(values: Sequence[int]) -> str:
    least, most = min(values), max(values)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
