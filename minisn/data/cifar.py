"""Reading the binary version of CIFAR-10: records of one label and 3 x 32 x 32 pixels."""

from pathlib import Path
from typing import IO

import numpy as np

from minisn.data.archive import read_members
from minisn.data.catalog import CIFAR_FOLDER, Content
from minisn.data.storage import check_content
from minisn.errors import DataError
from minisn.files import StrPath

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32


def read_cifar10(path: StrPath, batches: tuple[Content, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Read batches of the binary version of CIFAR-10.

    Args:
        path: the folder ``cifar-10-batches-bin``, or an archive (.tar.gz) of it; nothing is
            unpacked to disk.
        batches: the files to read, in this order; each is a whole number of records.
    Returns:
        Images, uint8, [N, 3, 32, 32], and labels, uint8, [N].
    Raises:
        DataError: a file is missing, unreadable, cut short, too long or altered, has a label above
            9, or a member of the archive lies outside its folder.
    """
    first, total = {}, 0
    for batch in batches:
        first[batch] = total
        total += batch.size // _RECORD
    images, labels = np.empty((total, *_SHAPE), np.uint8), np.empty(total, np.uint8)

    def take(batch: Content, stream: IO[bytes], where: str) -> None:
        raw = stream.read(batch.size + 1)
        check_content(raw, batch, where)
        records = np.frombuffer(raw, np.uint8).reshape(-1, _RECORD)
        if records[:, 0].max() > 9:
            raise DataError(f"{where}: holds label {records[:, 0].max()}; expected 0 to 9")
        rows = slice(first[batch], first[batch] + len(records))
        labels[rows], images[rows] = records[:, 0], records[:, 1:].reshape(-1, *_SHAPE)

    read_members(Path(path), batches, CIFAR_FOLDER, take)
    return images, labels
