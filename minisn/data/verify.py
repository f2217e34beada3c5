"""Comparing the files on disk with the published files."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from minisn.data.archive import read_members
from minisn.data.catalog import Content, Entry, find_entry
from minisn.data.locate import locate, names_of, resolve_data_dir
from minisn.data.storage import open_file, read_pieces
from minisn.errors import DataError
from minisn.files import StrPath


@dataclass(frozen=True)
class FileReport:
    """The result of :func:`verify` for one file.

    Args:
        path: path of the file, or the expected path of a missing file.
        ok: whether the file exists and is as published.
        detail: what was checked, or what is wrong and what was expected.
    """

    path: Path
    ok: bool
    detail: str


def verify(name: str, data_dir: StrPath | None = None) -> list[FileReport]:
    """Check that every file of a data set exists and is as published.

    Args:
        name, data_dir: as for :func:`minisn.data.load`.
    Returns:
        One report for each file; one report in all if the files are in one archive.
    Raises:
        ConfigError: unknown name.
    """
    entry = find_entry(name)
    contents = (content for split in entry.files.values() for content in split)
    return check_files(entry, contents, resolve_data_dir(data_dir))


def check_files(entry: Entry, contents: Iterable[Content], folder: Path) -> list[FileReport]:
    """Check the files that hold given contents of a data set.

    Args:
        entry: the data set.
        contents: the contents to check.
        folder: the folder to search.
    Returns:
        One report for each file.
    """
    reports: dict[Path, FileReport] = {}
    for content in contents:
        path = locate(entry, content, folder)
        if path is None:
            expected = folder / entry.name / names_of(entry, content)[0]
            reports[expected] = FileReport(expected, False, "missing")
        elif path not in reports:
            reports[path] = _check(entry, content, path)
    return list(reports.values())


def _check(entry: Entry, content: Content, path: Path) -> FileReport:
    try:
        if entry.folder and path.name == entry.downloads[0].name:
            read_members(path, entry.downloads[0].contents, entry.folder, _read_through)
        else:
            with open_file(path, content.size) as stream:
                _read_through(content, stream, path)
    except DataError as error:
        return FileReport(path, False, str(error).removeprefix(f"{path}: "))
    return FileReport(path, True, f"contents as published, by {content.kind}")


def _read_through(content: Content, stream: IO[bytes], where: StrPath) -> None:
    for _ in read_pieces(stream, content, where):
        pass
