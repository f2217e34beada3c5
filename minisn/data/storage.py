"""Reading no more bytes of a file than it should have, and checking its digest."""

import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from minisn.data.catalog import Content
from minisn.errors import DataError
from minisn.files import StrPath

_GZIP = b"\x1f\x8b"
_WEB_PAGE = re.compile(rb"\s*<(!doctype|!--|html|head|body|\?xml)", re.IGNORECASE)


def read_at_most(path: Path, size: int) -> bytes:
    """Read a plain or gzipped file, but at most one byte more than it should hold.

    Args:
        path: the file; it counts as gzipped by its first bytes, not by its name.
        size: expected number of (decompressed) bytes, which bounds the memory.
    Returns:
        At most size + 1 bytes.
    Raises:
        DataError: the file is unreadable or a web page, or its compressed stream is damaged.
    """
    with open_file(path, size) as stream:
        return stream.read(size + 1)


@contextmanager
def open_file(path: Path, size: int) -> Iterator[Any]:
    """Open a plain or gzipped file; errors inside the context name the file.

    Args:
        path: the file, as for :func:`read_at_most`.
        size: expected number of (decompressed) bytes, for the error.
    Raises:
        DataError: the file is unreadable or a web page, or its compressed stream is damaged.
    """
    with naming(path, f"gzip of {size:,} bytes"), unpacked(path) as stream:
        yield stream


@contextmanager
def naming(path: Path, expected: str) -> Iterator[None]:
    """Make errors of reading and unpacking name a file.

    Args:
        path: the file.
        expected: what it should hold.
    Raises:
        DataError: the code inside the context could not read or unpack the file.
    """
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: damaged or cut short; expected {expected}, got: {error}"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


@contextmanager
def unpacked(path: Path) -> Iterator[Any]:
    """Open a plain or gzipped file and decompress it.

    A browser may unpack a file but keep a name that ends in .gz, so the name decides nothing.

    Args:
        path: the file.
    Raises:
        DataError: the file is a web page, which a server may send in place of a file.
    """
    with path.open("rb") as file:
        zipped = file.peek(len(_GZIP)).startswith(_GZIP)
        with gzip.GzipFile(fileobj=file) if zipped else nullcontext(file) as stream:
            if _WEB_PAGE.match(stream.peek(1)):
                raise DataError(
                    f"{path}: is a web page, not the data; a server may send a page in place of a "
                    "file"
                )
            yield stream


def check_size(raw: bytes, size: int, where: StrPath) -> None:
    """Check the number of bytes of a file.

    Args:
        raw: the bytes of the file, at most ``size`` + 1.
        size: expected number of bytes.
        where: name of the file in the error.
    Raises:
        DataError: the lengths differ.
    """
    if len(raw) < size:
        raise DataError(f"{where}: cut short, {len(raw):,} bytes; expected {size:,}")
    if len(raw) > size:
        raise DataError(f"{where}: too long; expected {size:,} bytes, and more follow")


def check_content(raw: bytes, content: Content, where: StrPath) -> None:
    """Check that the bytes of a file are as published.

    Args:
        raw: the bytes of the file.
        content: expected size and digest.
        where: name of the file in the error.
    Raises:
        DataError: size or digest differ.
    """
    check_size(raw, content.size, where)
    _check_digest(_hash(content, raw), content, where)


def read_pieces(
    stream: IO[bytes], content: Content, where: StrPath, size: int = 1 << 24
) -> Iterator[bytes]:
    """Read a published file piece by piece, and check its size and digest at the end.

    Args:
        stream: the stream to read.
        content: expected size and digest.
        where: name of the file in the error.
        size: bytes of a piece; the last piece may be smaller.
    Yields:
        The pieces, in order.
    Raises:
        DataError: size or digest differ.
    """
    digest, read = _hash(content), 0
    while read < content.size:
        expected = min(size, content.size - read)
        raw = stream.read(expected)
        read += len(raw)
        if len(raw) < expected:
            raise DataError(f"{where}: cut short, {read:,} bytes; expected {content.size:,}")
        digest.update(raw)
        yield raw
    if stream.read(1):
        raise DataError(f"{where}: too long; expected {content.size:,} bytes, and more follow")
    _check_digest(digest, content, where)


def _hash(content: Content, raw: bytes = b"") -> Any:
    return hashlib.new(content.kind.replace("-", ""), raw, usedforsecurity=False)


def _check_digest(digest: Any, content: Content, where: StrPath) -> None:
    found = digest.hexdigest()
    if found != content.digest:
        raise DataError(
            f"{where}: altered, its {content.kind} is {found}; expected {content.digest}"
        )
