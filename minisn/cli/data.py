"""``minisn data``: the data sets, and the files of those that do not ship."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import complete_dataset, data_dir_option, dataset_argument

if TYPE_CHECKING:
    from ..data.folder import File

_LOOKED_AT = 8  # pixels: every file is decoded, at a size that takes little memory


@click.group()
def data() -> None:
    """List, fetch and verify data sets.

    Samples of MNIST and CIFAR-10 are part of minisn; nothing need be fetched to begin.

    \b
    Examples:
        minisn data list
        minisn data fetch cifar10
        minisn data verify cifar10
    """


@data.command("list")
@data_dir_option
def list_command(data_dir: Path | None) -> None:
    """List the data sets, and which of them are here.

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

    NAME is mnist, fashion-mnist, cifar10 or stl10. A transfer that breaks off goes on where it
    stopped when the command is run again. Only files with the SHA-256 that minisn knows are kept.

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

    Exit status 1 if one is missing, or its digest is not that of what its authors published. Of a
    FOLDER of your own images, sizes, channels and labels are told, and each file that training
    would leave out is named; exit status 1 if there is one, or labels are lacking.

    \b
    Examples:
        minisn data verify cifar10
        minisn data verify ./photographs
    """
    from ..data import refuse_ambiguous
    from ..data import verify as verify_files
    from ..data.catalog import CATALOG
    from ..errors import DataError

    refuse_ambiguous(name)
    if name not in CATALOG and Path(name).is_dir():
        return _verify_folder(name)
    reports = verify_files(name, data_dir)
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
    """Read a folder of images as training would, and tell all that was found."""
    from ..data import read_folder
    from ..errors import DataError
    from .progress import steady_bar

    def watch(files: list[File]) -> Iterable[File]:
        return steady_bar(iterable=files, unit="image", leave=False)

    _, found = read_folder(name, _LOOKED_AT, watch=watch)
    widths, heights = zip(*found.sizes, strict=True)
    grey = f", {found.grey:,} of the images are grey" if found.channels == 3 and found.grey else ""
    labels = ", ".join(f"{label} {count:,}" for label, count in found.labels.items())
    click.echo(
        f"images    {len(found.sizes):,}\n"
        f"width     {_span(widths)} pixels\nheight    {_span(heights)} pixels\n"
        f"channels  {found.channels} ({'grey' if found.channels == 1 else 'colour'}{grey})\n"
        f"labels    {labels or 'none: there are no subfolders'}"
    )
    wrong = [f"{path}: {why}" for path, why in found.left_out.items()]
    wrong += found.label_faults if found.labels else []
    for line in wrong:
        click.echo(f"BAD  {' '.join(line.split())}")
    if wrong:
        raise DataError(
            f"{name}: BAD are {len(wrong):,}; training leaves such files out, and a "
            "conditional model needs whole labels"
        )


def _span(values: Sequence[int]) -> str:
    least, most = min(values), max(values)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
