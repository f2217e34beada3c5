"""The training images of a run: a data set by its name, or a folder of images.

Decoded images of a folder are kept in the folder of the run, as ``images.npz``. The run then no
longer needs the folder that they came from.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .config import Config
from .data import Dataset, FolderReport, load, read_folder
from .data.catalog import CATALOG
from .data.folder import Watch
from .errors import ConfigError, DataError
from .files import StrPath, replacing

IMAGES = "images.npz"


def training_set(
    config: Config, data_dir: StrPath | None = None, run: StrPath | None = None, watch: Watch = iter
) -> tuple[Dataset, FolderReport | None]:
    """Read the images that a configuration names, or those that a run keeps.

    Args:
        config: its ``data`` is the name of a data set, or else the path of a folder of images.
        data_dir: the folder with the files of complete data sets.
        run: the folder of a run that has begun.
        watch: as for :func:`minisn.data.read_folder`.
    Returns:
        The images, and a report if the function read a folder of images.
    Raises:
        ConfigError: no data set or folder has the name.
        DataError: the images cannot be read.
    """
    data_dir = Path(data_dir) if data_dir else None
    run = Path(run) if run else None
    if run and (run / IMAGES).exists():
        return _read(run / IMAGES, config.data), None
    if is_folder(config):
        return read_folder(config.data, config.size, config.conditional != "none", watch)
    try:
        return load(config.data, data_dir), None
    except ConfigError as error:
        kept = f", and {run} keeps no {IMAGES}" if run else ""
        raise ConfigError(f"{error}; there is no folder of that name either{kept}") from None


def is_folder(config: Config) -> bool:
    """Return whether a configuration names a folder of images, not a data set."""
    return config.data not in CATALOG and os.path.isdir(config.data)


def keep_images(
    run: StrPath, images: np.ndarray, labels: np.ndarray | None = None, classes: Sequence[str] = ()
) -> None:
    """Keep the training images of a run in its folder, for later training and evaluation.

    Args:
        run: the folder of the run.
        images: uint8, [N, C, size, size].
        labels: integers, [N]; -1 for an image without a label.
        classes: the name of each label.
    Raises:
        DataError: the file cannot be written; nothing else has changed.
    """
    run = Path(run)
    labels = np.full(len(images), -1) if labels is None else labels
    with replacing(run / IMAGES, f"check the folder, then go on with --resume {run}") as file:
        np.savez(file, images=images, labels=labels, classes=np.array(classes, np.str_))


def _read(path: Path, name: str) -> Dataset:
    """Read the file that :func:`keep_images` wrote."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            images, labels, classes = (arrays[key] for key in ("images", "labels", "classes"))
        if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ValueError(f"images {images.dtype} {list(images.shape)}, labels {labels.shape}")
        if labels.dtype.kind not in "iu" or classes.dtype.kind != "U" or classes.ndim != 1:
            raise ValueError(f"labels {labels.dtype}, classes {classes.dtype}")
    except Exception as error:  # NumPy passes on any error of Python's parsers
        why = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: the images of the run cannot be read ({why}); put a copy back, "
            f"or remove it to read {name} anew"
        ) from error
    labels = labels.astype(np.int64)
    images.flags.writeable = labels.flags.writeable = False
    return Dataset(name, images, labels, tuple(map(str, classes)), "train", str(path))
