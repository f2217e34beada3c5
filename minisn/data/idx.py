"""Reading IDX, the file format of MNIST."""

import math
from pathlib import Path

import numpy as np

from minisn.data.catalog import Content
from minisn.data.storage import check_content, check_size, read_at_most
from minisn.errors import DataError
from minisn.files import StrPath

_UBYTE = 0x08


def read_idx(path: StrPath, shape: tuple[int, ...], content: Content | None = None) -> np.ndarray:
    """Read an IDX file of unsigned bytes with a known shape.

    An IDX file consists of two zero bytes, the type (8: unsigned byte), the number of axes, the
    length of each axis as a big-endian 32-bit number, and the elements, last axis fastest. The
    function compares the lengths in the file with ``shape``, and reserves no memory by them.

    Args:
        path: the file, plain or .gz.
        shape: the expected shape.
        content: the expected size and digest; None to accept any elements.
    Returns:
        The array, uint8, of that shape, read-only.
    Raises:
        DataError: the file is unreadable, is no IDX file of unsigned bytes, has another shape, is
            cut short or too long, or does not match ``content``.
    """
    path = Path(path)
    header_size = 4 + 4 * len(shape)
    size = header_size + math.prod(shape)
    raw = read_at_most(path, size)
    expected = bytes((0, 0, _UBYTE, len(shape)))
    if raw[:4] != expected:
        raise DataError(
            f"{path}: begins with {raw[:4].hex(' ') or 'nothing'}; expected {expected.hex(' ')}, "
            f"an IDX file of unsigned bytes with {len(shape)} axes"
        )
    if len(raw) >= header_size:
        found = tuple(int(n) for n in np.frombuffer(raw, ">u4", count=len(shape), offset=4))
        if found != shape:
            raise DataError(f"{path}: declares shape {found}; expected {shape}")
    check_size(raw, size, path)
    if content:
        check_content(raw, content, path)
    return np.frombuffer(raw, np.uint8, offset=header_size).reshape(shape)
