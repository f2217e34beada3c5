"""Reading a file, never more bytes than it should have, and proving it is the right one."""

import gzip
import hashlib
import zlib
from pathlib import Path

from minisn.data.catalog import Content
from minisn.data.locate import StrPath
from minisn.errors import DataError


def read_at_most(path: Path, size: int) -> bytes:
    """Read a plain or .gz file whole, but stop one byte past what it should hold.

    Args:
        path: the file; one that ends in .gz is decompressed on the way.
        size: expected number of (decompressed) bytes, the only bound on memory.
    Returns:
        at most size + 1 bytes.
    Raises:
        DataError: the file cannot be read, or its compressed stream is damaged.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return stream.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: damaged or cut short; expected gzip of {size:,} bytes, got: {error}"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def check_size(raw: bytes, size: int, where: StrPath) -> None:
    """Refuse bytes that are too few or too many.

    Args:
        raw: what was read, at most one byte past `size`.
        size: expected number of bytes.
        where: names the file in the error.
    Raises:
        DataError: the lengths differ.
    """
    if len(raw) < size:
        raise DataError(f"{where}: cut short, {len(raw):,} bytes; expected {size:,}")
    if len(raw) > size:
        raise DataError(f"{where}: too long; expected {size:,} bytes, and more follow")


def check_content(raw: bytes, content: Content, where: StrPath) -> None:
    """Refuse bytes that are not those of the published file.

    Args:
        raw: what was read.
        content: what it must be.
        where: names the file in the error.
    Raises:
        DataError: length or SHA-256 differ.
    """
    check_size(raw, content.size, where)
    found = hashlib.sha256(raw).hexdigest()
    if found != content.sha256:
        raise DataError(f"{where}: altered, its SHA-256 is {found}; expected {content.sha256}")
