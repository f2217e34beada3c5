"""Atomic writing: after a kill, and for any reader, a file holds its old content or the new."""

import glob
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import DataError, MinisnError

StrPath = str | os.PathLike[str]

ELSEWHERE = "check the folder, or choose another with --out"
"""What to do if a file cannot be written."""

PATIENCE = 10.0
"""Seconds to wait on Windows while a reader of the old file blocks the new one."""

STALE = 3600.0
"""Seconds after which an unfinished file counts as left by a kill."""

_IN_USE = (5, 32, 1224)  # Windows's numbers: access denied, sharing violation, mapped to memory


def write_file(
    path: StrPath, content: bytes, advice: str = ELSEWHERE, error: type[MinisnError] = DataError
) -> None:
    """Give a file new content in one step.

    Args:
        path: the file; it need not exist.
        content: all its bytes. They are on the disk when the function returns.
        advice: what to do if the file cannot be written, for the error message.
        error: the class of that error.
    Raises:
        DataError, or ``error``: the file cannot be written; the old file is untouched.
    """
    with replacing(path, advice, error) as file:
        file.write(content)


@contextmanager
def replacing(
    path: StrPath, advice: str = ELSEWHERE, error: type[MinisnError] = DataError
) -> Iterator[BinaryIO]:
    """Open a file that replaces another in one step at the end; see :func:`write_file`."""
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device
            with path.open("wb") as file:
                yield file
            return
        _clear(path)
        part.unlink(missing_ok=True)  # of an earlier process with this number
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put(part, path)
    except BaseException as reason:
        with suppress(OSError):
            part.unlink()
        if isinstance(reason, OSError):
            raise error(f"cannot write {path}: {reason.strerror}; {advice}") from reason
        raise
    with suppress(OSError):  # not every system can flush a folder, and the file is in place
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _clear(path: Path) -> None:
    """Remove what writers that were killed have left of a file."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.[0-9]*-[0-9]*.part"):
        with suppress(OSError):
            if time.time() - part.lstat().st_mtime > STALE:
                part.unlink()


def _put(part: Path, path: Path) -> None:
    """Move a file to its place; on Windows, wait a while for readers of the old file."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(part, path)
            return
        except OSError as error:
            if getattr(error, "winerror", None) not in _IN_USE or time.monotonic() >= until:
                raise
        time.sleep(0.02)
