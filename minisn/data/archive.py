"""Reading the files of a data set from one archive, or from the folder that it unpacks to."""

import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from minisn.data.catalog import CIFAR_FOLDER, STL_FOLDER, Content
from minisn.data.storage import naming, unpacked
from minisn.errors import DataError

LARGEST = {CIFAR_FOLDER: 200_000_000, STL_FOLDER: 3_200_000_000}
"""Most bytes that an archive may unpack to, by its folder; the files of the official archives have
184,380,000 and 3,124,237,000 bytes."""

Take = Callable[[Content, IO[bytes], str], None]
"""A function that reads one file, given its content, its stream and its name in errors."""


def read_members(path: Path, contents: tuple[Content, ...], folder: str, take: Take) -> None:
    """Pass files of an archive, or of its unpacked folder, to a function one by one.

    Args:
        path: the folder, or an archive of it; nothing is unpacked to disk.
        contents: the files to read; an archive yields them in its own order.
        folder: the only folder that the archive may hold, one of :data:`LARGEST`.
        take: the function that reads each file.
    Raises:
        DataError: a file is missing or unreadable, the archive is damaged or unpacks to too much,
            a member lies outside the folder, or ``take`` raises the error.
    """
    wanted = {content.name: content for content in contents}
    with naming(path, "a gzipped tar archive"):
        if path.is_dir():
            for name in [name for name in wanted if (path / name).exists()]:
                with unpacked(path / name) as file:
                    take(wanted.pop(name), file, f"{path}: {name}")
        else:
            with unpacked(path) as stream:
                bounded: Any = _Bounded(stream, path, LARGEST[folder])
                with tarfile.open(fileobj=bounded, mode="r|") as archive:
                    for member in archive:
                        _refuse_outside(member, folder, path)
                        content = wanted.get(PurePosixPath(member.name).name)
                        if content and (inside := archive.extractfile(member)):
                            take(content, inside, f"{path}: {content.name}")
                            wanted.pop(content.name)
    if wanted:
        raise DataError(f"{path}: lacks {', '.join(wanted)}; expected them in {folder}/")


def _refuse_outside(member: tarfile.TarInfo, folder: str, path: Path) -> None:
    parts = PurePosixPath(member.name).parts
    if parts[:1] != (folder,) or ".." in parts or not (member.isfile() or member.isdir()):
        raise DataError(
            f"{path}: member {member.name!r} lies outside {folder}/ or is no plain file; expected "
            "the official archive"
        )


class _Bounded:
    """A stream that raises an error once it has yielded more than an official archive holds."""

    def __init__(self, stream: IO[bytes], path: Path, largest: int):
        self._stream, self._path, self._largest, self._taken = stream, path, largest, 0

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._taken += len(chunk)
        if self._taken > self._largest:
            raise DataError(
                f"{self._path}: unpacks to more than {self._largest:,} bytes; expected the "
                "official archive"
            )
        return chunk
