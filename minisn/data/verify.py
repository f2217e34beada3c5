"""Comparing the files on disk with what their authors published."""

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
    """What `verify` found about one file.

    Args:
        path: the file; where it was expected, if missing.
        ok: whether it is there and is what its authors published.
        detail: what was checked, or what is wrong and what was expected.
    """

    path: Path
    ok: bool
    detail: str


def verify(name: str, data_dir: StrPath | None = None) -> list[FileReport]:
    """Check every file of a data set: is it there, whole, and as published?

    Args:
        name: as for `load`.
        data_dir: as for `load`.
    Returns:
        one report for each file; where a data set is one archive, one for the archive.
    Raises:
        ConfigError: an unknown name.
    """
    entry = find_entry(name)
    contents = (content for split in entry.files.values() for content in split)
    return check_files(entry, contents, resolve_data_dir(data_dir))


def check_files(entry: Entry, contents: Iterable[Content], folder: Path) -> list[FileReport]:
    """Check the files that hold some contents of a data set.

    Args:
        entry: the data set.
        contents: which of its contents.
        folder: where to look.
    Returns:
        one report for each file.
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
