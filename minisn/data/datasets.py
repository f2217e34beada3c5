"""Loading a data set by name, and listing all data sets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minisn.data.catalog import CATALOG, Entry, find_entry
from minisn.data.cifar import read_cifar10
from minisn.data.embedded import read_sample
from minisn.data.idx import read_idx
from minisn.data.locate import locate, names_of, resolve_data_dir
from minisn.data.stl import read_stl10
from minisn.errors import ConfigError, DataError
from minisn.files import StrPath


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their labels.

    Args:
        name: name of the data set.
        images: uint8, [N, C, H, W], read-only.
        labels: int64, [N], read-only, indices into ``classes``; -1 for an image without a label.
        classes: name of each label.
        split: ``"train"`` or another split.
        source: the origin in words: a path, or a note that the data ship with minisn.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    split: str
    source: str


@dataclass(frozen=True)
class Listing(Entry):
    """An entry of the catalog, and whether the data set is on this machine.

    Args:
        present: whether all files exist; :func:`minisn.data.verify` checks their contents.
    """

    present: bool = False

    @property
    def shipped(self) -> bool:
        """Whether the data set ships with minisn."""
        return self.format == "sample"


def load(name: str, data_dir: StrPath | None = None, split: str = "train") -> Dataset:
    """Read a data set, and check it against the published digests.

    Args:
        name: ``"mnist-10k"`` or ``"cifar10-2k"`` (samples that ship with minisn), or ``"mnist"``,
            ``"fashion-mnist"``, ``"cifar10"`` or ``"stl10"`` (complete data sets, whose files must
            exist already).
        data_dir: folder of the complete data sets; the files lie directly in it, or in a subfolder
            with the name of the data set; None as in :func:`minisn.data.resolve_data_dir`.
        split: ``"train"`` or ``"test"``; samples have ``"train"`` only. For STL-10, ``"train"``
            holds the 100,000 images without labels, on which the paper trains, and ``"labeled"``
            holds the 5,000 training images with labels.
    Returns:
        The data set.
    Raises:
        ConfigError: unknown name or split.
        DataError: a file is missing, damaged or altered.
    """
    entry = find_entry(name)
    if split not in entry.files:
        raise ConfigError(f"{name} has no split {split!r}; it has: {', '.join(entry.files)}")
    if entry.format == "sample":
        source = f"shipped with minisn: {entry.files[split][0].name}"
        images, labels = read_sample(entry.files[split][0])
    else:
        paths = _find_files(entry, split, data_dir)
        source = str(paths[0])
        try:
            images, labels = _read_files(entry, split, paths)
        except DataError as error:
            raise DataError(f"{error}; {_remedy(entry, data_dir)}") from error
    labels = labels.astype(np.int64)
    images.flags.writeable = labels.flags.writeable = False
    return Dataset(name, images, labels, entry.classes, split, source)


def list_datasets(data_dir: StrPath | None = None) -> list[Listing]:
    """List all data sets, and whether their files exist.

    Args:
        data_dir: as for :func:`load`.
    Returns:
        One entry for each data set; those that ship come first.
    """
    folder = resolve_data_dir(data_dir)
    return [
        Listing(
            **vars(entry),
            present=all(
                locate(entry, content, folder)
                for contents in entry.files.values()
                for content in contents
            ),
        )
        for entry in CATALOG.values()
    ]


def _find_files(entry: Entry, split: str, data_dir: StrPath | None) -> list[Path]:
    folder, paths = resolve_data_dir(data_dir), []
    for content in entry.files[split]:
        path = locate(entry, content, folder)
        if path is None:
            raise DataError(
                f"{entry.name}: no {' or '.join(names_of(entry, content))} in "
                f"{folder / entry.name} or {folder}; {_remedy(entry, data_dir)}, or set "
                "--data-dir or MINISN_DATA to the folder that holds the file"
            )
        paths.append(path)
    return paths


def _read_files(entry: Entry, split: str, paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    contents, count = entry.files[split], entry.counts[split]
    if entry.folder:
        is_archive = paths[0].name == entry.downloads[0].name
        read = {"cifar": read_cifar10, "stl": read_stl10}[entry.format]
        return read(paths[0] if is_archive else paths[0].parent, contents)
    images = read_idx(paths[0], (count, *entry.shape[1:]), contents[0])
    return images.reshape(count, *entry.shape), read_idx(paths[1], (count,), contents[1])


def _remedy(entry: Entry, data_dir: StrPath | None) -> str:
    where = f" --data-dir {data_dir}" if data_dir else ""
    return f"run `minisn data fetch {entry.name}{where}` ({entry.download_bytes / 1e6:.0f} MB)"
