"""Reading a file, never more bytes than it should have, and proving it is the right one."""

import gzip
import hashlib
import re
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
    """Read a plain or gzipped file whole, but stop one byte past what it should hold.

    Args:
        path: the file; its first bytes, not its name, tell whether it is gzipped.
        size: expected number of (decompressed) bytes, the only bound on memory.
    Returns:
        at most size + 1 bytes.
    Raises:
        DataError: the file cannot be read, is a web page, or its compressed stream is damaged.
    """
    with open_file(path, size) as stream:
        return stream.read(size + 1)


@contextmanager
def open_file(path: Path, size: int) -> Iterator[Any]:
    """Open a plain or gzipped file; what goes wrong while it is read is told as of the file.

    Args:
        path: the file, as for :func:`read_at_most`.
        size: expected number of (decompressed) bytes, for the error.
    Raises:
        DataError: the file cannot be read, is a web page, or its compressed stream is damaged.
    """
    try:
        with unpacked(path) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: damaged or cut short; expected gzip of {size:,} bytes, got: {error}"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


@contextmanager
def unpacked(path: Path) -> Iterator[Any]:
    """Open a plain or gzipped file as it would be unpacked.

    A browser may unpack what it saves and keep the name that ends in .gz, so the name says nothing.

    Args:
        path: the file.
    Raises:
        DataError: the file is a web page, as a server sends in place of what it does not give.
    """
    with path.open("rb") as file:
        zipped = file.peek(len(_GZIP)).startswith(_GZIP)
        with gzip.GzipFile(fileobj=file) if zipped else nullcontext(file) as stream:
            if _WEB_PAGE.match(stream.peek(1)):
                raise DataError(
                    f"{path}: is a web page, not the data; a server sends one in place of a file "
                    "that it does not give"
                )
            yield stream


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
        DataError: length or digest differ.
    """
    check_size(raw, content.size, where)
    _check_digest(_hash(content, raw), content, where)


def read_pieces(
    stream: IO[bytes], content: Content, where: StrPath, size: int = 1 << 24
) -> Iterator[bytes]:
    """Read a published file piece by piece; what is wrong with it is told at the latest at its end.

    Args:
        stream: what to read.
        content: what it must be.
        where: names the file in the error.
        size: of a piece, bytes; the last one may be smaller.
    Yields:
        the pieces, in order.
    Raises:
        DataError: length or digest differ.
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
