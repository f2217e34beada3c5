"""STL-10's binary version: images of 3 x 96 x 96 pixels in one file, labels in another."""

from pathlib import Path
from typing import IO

import numpy as np

from minisn.data.archive import read_members
from minisn.data.catalog import STL_FOLDER, Content
from minisn.data.storage import read_pieces
from minisn.errors import DataError
from minisn.files import StrPath

_SIZE = 96
_IMAGE = 3 * _SIZE * _SIZE
_PIECE = 500 * _IMAGE  # 14 MB: the unlabelled images are 2.8 GB, and are never held at once


def read_stl10(path: StrPath, contents: tuple[Content, ...]) -> tuple[np.ndarray, np.ndarray]:
    r"""Read one part of STL-10's binary version, at half its size.

    An image is its red plane, then green, then blue, each column by column. The paper trains on
    48 x 48 pixels; here, by our choice of a filter, each is the mean of a square of four,
    rounded, halves up.

    .. math:: y_{ij} = \left\lfloor \tfrac14 \big(x_{2i,2j} + x_{2i+1,2j} + x_{2i,2j+1} +
              x_{2i+1,2j+1} + 2\big) \right\rfloor

    Args:
        path: the folder `stl10_binary`, or an archive (.tar.gz) of it, which is read without
            unpacking anything to disk.
        contents: the file of images and, if they are labelled, that of their labels 1 to 10.
    Returns:
        images, uint8, [N, 3, 48, 48], and labels from 0, int8, [N], -1 where there are none.
    Raises:
        DataError: a file is missing, cannot be read, is cut short, too long or altered, has a
            label out of range, or a member of the archive would leave its folder.

    Source: [M18 Table 5]; Coates, Ng and Lee (2011)
    """
    total = contents[0].size // _IMAGE
    images = np.empty((total, 3, _SIZE // 2, _SIZE // 2), np.uint8)
    labels = np.full(total, -1, np.int8)

    def take(content: Content, stream: IO[bytes], where: str) -> None:
        row = 0
        for raw in read_pieces(stream, content, where, _PIECE):
            bytes_ = np.frombuffer(raw, np.uint8)
            if content == contents[0]:
                some = _halve(bytes_.reshape(-1, 3, _SIZE, _SIZE))
                images[row : row + len(some)] = some
                row += len(some)
            elif bytes_.min() < 1 or bytes_.max() > 10:
                raise DataError(
                    f"{where}: labels run from {bytes_.min()} to {bytes_.max()}; expected 1 to 10"
                )
            else:
                labels[:] = bytes_ - 1

    read_members(Path(path), contents, STL_FOLDER, take)
    return images, labels


def _halve(columns: np.ndarray) -> np.ndarray:
    """Take [N, 3, column, row] to rows of columns, and the mean of every square of four."""
    pairs = columns[:, :, :, 0::2].astype(np.uint16) + columns[:, :, :, 1::2]
    sums = pairs[:, :, 0::2] + pairs[:, :, 1::2]
    return ((sums + 2) // 4).astype(np.uint8).transpose(0, 1, 3, 2)
