"""Reading the binary version of STL-10: images of 3 x 96 x 96 pixels, labels in another file."""

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
_PIECE = 500 * _IMAGE  # 14 MB: the unlabeled images have 2.8 GB, and are read piece by piece


def read_stl10(path: StrPath, contents: tuple[Content, ...]) -> tuple[np.ndarray, np.ndarray]:
    r"""Read one part of the binary version of STL-10, at half its size.

    The file stores each image as a red, a green and a blue plane, column by column. The paper
    trains on 48 x 48 pixels. Here each pixel is the mean of a square of four pixels, rounded,
    halves up; this filter is our choice.

    .. math:: y_{ij} = \left\lfloor \tfrac14 \big(x_{2i,2j} + x_{2i+1,2j} + x_{2i,2j+1} +
              x_{2i+1,2j+1} + 2\big) \right\rfloor

    Args:
        path: the folder ``stl10_binary``, or an archive (.tar.gz) of it; nothing is unpacked to
            disk.
        contents: the file of images and, for labeled images, the file of labels 1 to 10.
    Returns:
        Images, uint8, [N, 3, 48, 48], and labels from 0, int8, [N]; -1 without a label.
    Raises:
        DataError: a file is missing, unreadable, cut short, too long or altered, has a label out
            of range, or a member of the archive lies outside its folder.

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
    """Average squares of four pixels, and turn [N, 3, column, row] into [N, 3, row, column]."""
    pairs = columns[:, :, :, 0::2].astype(np.uint16) + columns[:, :, :, 1::2]
    sums = pairs[:, :, 0::2] + pairs[:, :, 1::2]
    return ((sums + 2) // 4).astype(np.uint8).transpose(0, 1, 3, 2)
