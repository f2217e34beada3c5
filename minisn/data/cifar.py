"""CIFAR-10's binary version: records of one label and 3 x 32 x 32 pixels, as folder or archive."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from minisn.data.catalog import Content
from minisn.data.locate import CIFAR_FOLDER, StrPath
from minisn.data.storage import check_content, read_at_most
from minisn.errors import DataError

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_LARGEST_ARCHIVE = 200_000_000  # bytes unpacked; the official one has 184,380,000 of records


def read_cifar10(path: StrPath, batches: tuple[Content, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Read batches of CIFAR-10's binary version.

    Args:
        path: the folder `cifar-10-batches-bin`, or an archive (.tar.gz) of it, which is read
            without unpacking anything to disk.
        batches: the files to read, in this order; each a whole number of records.
    Returns:
        images, uint8, [N, 3, 32, 32], and labels, uint8, [N].
    Raises:
        DataError: a file is missing, cannot be read, is cut short, too long or altered, has a
            label above 9, or a member of the archive would leave its folder.
    """
    path = Path(path)
    first, total = {}, 0
    for batch in batches:
        first[batch] = total
        total += batch.size // _RECORD
    images, labels = np.empty((total, *_SHAPE), np.uint8), np.empty(total, np.uint8)
    missing = dict.fromkeys(batches)
    for batch, raw in (_from_folder if path.is_dir() else _from_archive)(path, batches):
        where = f"{path}: {batch.name}"
        check_content(raw, batch, where)
        records = np.frombuffer(raw, np.uint8).reshape(-1, _RECORD)
        if records[:, 0].max() > 9:
            raise DataError(f"{where}: holds label {records[:, 0].max()}; expected 0 to 9")
        rows = slice(first[batch], first[batch] + len(records))
        labels[rows], images[rows] = records[:, 0], records[:, 1:].reshape(-1, *_SHAPE)
        missing.pop(batch, None)
    if missing:
        names = ", ".join(batch.name for batch in missing)
        raise DataError(f"{path}: lacks {names}; expected them in {CIFAR_FOLDER}/")
    return images, labels


def _from_folder(path: Path, batches: tuple[Content, ...]) -> Iterator[tuple[Content, bytes]]:
    for batch in batches:
        if (path / batch.name).exists():
            yield batch, read_at_most(path / batch.name, batch.size)


def _from_archive(path: Path, batches: tuple[Content, ...]) -> Iterator[tuple[Content, bytes]]:
    wanted = {batch.name: batch for batch in batches}
    try:
        with (
            _BoundedGzip(path) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r|") as archive,
        ):
            for member in archive:
                _refuse_outside(member, path)
                batch = wanted.get(PurePosixPath(member.name).name)
                if batch and (stream := archive.extractfile(member)):
                    yield batch, stream.read(batch.size + 1)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: damaged or cut short; expected a gzipped tar archive, got: {error}"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _refuse_outside(member: tarfile.TarInfo, path: Path) -> None:
    parts = PurePosixPath(member.name).parts
    if parts[:1] != (CIFAR_FOLDER,) or ".." in parts or not (member.isfile() or member.isdir()):
        raise DataError(
            f"{path}: member {member.name!r} would leave {CIFAR_FOLDER}/ or is no "
            "plain file; refused, only the archive of its authors is read"
        )


class _BoundedGzip(gzip.GzipFile):
    """A decompressed stream that ends in an error where an honest archive has long ended."""

    unpacked = 0

    def read(self, size: int | None = -1) -> bytes:
        chunk = super().read(size)
        self.unpacked += len(chunk)
        if self.unpacked > _LARGEST_ARCHIVE:
            raise DataError(
                f"{self.name}: unpacks to more than {_LARGEST_ARCHIVE:,} bytes; expected CIFAR-10"
            )
        return chunk
