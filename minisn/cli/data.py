"""``minisn data``: the data sets, and the files of those that do not ship."""

from pathlib import Path

import click

from .options import data_dir_option, dataset_argument


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
@dataset_argument
@data_dir_option
def verify(name: str, data_dir: Path | None) -> None:
    """Check each file of a data set.

    Exit status 1 if one is missing, or its digest is not that of what its authors published.

    \b
    Example:
        minisn data verify cifar10
    """
    from ..data import verify as verify_files
    from ..errors import DataError

    reports = verify_files(name, data_dir)
    for report in reports:
        click.echo(f"{'ok ' if report.ok else 'BAD'}  {report.path}: {report.detail}")
    wrong = sum(not report.ok for report in reports)
    if wrong:
        raise DataError(f"{name}: {wrong} of {len(reports)} files are missing or damaged; "
                        f"run `minisn data fetch {name}`")  # fmt: skip
