"""Files that their authors serve in one archive: read from it, or from the folder it holds."""

import gzip
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from minisn.data.catalog import CIFAR_FOLDER, STL_FOLDER, Content
from minisn.data.storage import unpacked
from minisn.errors import DataError

LARGEST = {CIFAR_FOLDER: 200_000_000, STL_FOLDER: 3_200_000_000}
"""Bytes that an archive may unpack to, by its folder; the files of the official ones have
184,380,000 and 3,124,237,000."""

Take = Callable[[Content, IO[bytes], str], None]
"""What is done with each file: its content, its stream, and its name in errors."""


def read_members(path: Path, contents: tuple[Content, ...], folder: str, take: Take) -> None:
    """Hand over some files of an archive, or of the folder that it holds, one after another.

    Args:
        path: the folder, or an archive of it, which is read without unpacking anything to disk.
        contents: the files that are wanted; an archive gives them in its own order.
        folder: the only one that members of the archive may lie in, one of :data:`LARGEST`.
        take: is given each file, and reads what it needs of it.
    Raises:
        DataError: a file is missing or cannot be read, the archive is damaged or unpacks to too
            much, a member would leave the folder, or what `take` raises.
    """
    wanted = {content.name: content for content in contents}
    try:
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
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: damaged or cut short; expected a gzipped tar archive, got: {error}"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if wanted:
        raise DataError(f"{path}: lacks {', '.join(wanted)}; expected them in {folder}/")


def _refuse_outside(member: tarfile.TarInfo, folder: str, path: Path) -> None:
    parts = PurePosixPath(member.name).parts
    if parts[:1] != (folder,) or ".." in parts or not (member.isfile() or member.isdir()):
        raise DataError(
            f"{path}: member {member.name!r} would leave {folder}/ or is no "
            "plain file; refused, only the archive of its authors is read"
        )


class _Bounded:
    """A stream that ends in an error where an honest archive has long ended."""

    def __init__(self, stream: IO[bytes], path: Path, largest: int):
        self._stream, self._path, self._largest, self._taken = stream, path, largest, 0

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._taken += len(chunk)
        if self._taken > self._largest:
            raise DataError(
                f"{self._path}: unpacks to more than {self._largest:,} bytes; expected less of "
                "what its authors published"
            )
        return chunk
