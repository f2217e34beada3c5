"""Images of one's own: a folder of PNG, JPEG and WebP files, whose subfolders are labels.

What a file is, its content says, not its name. An image without colour is grey; one with a palette
of greys too. Where some images have colour, the grey ones are taken as colour. Transparent parts
are laid over white, and a photograph is turned as its EXIF orientation says. Hidden files, and
those that file managers leave, are passed over.
"""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minisn.data.catalog import CATALOG
from minisn.data.datasets import Dataset
from minisn.errors import ConfigError, DataError
from minisn.files import StrPath

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

FORMATS = ("PNG", "JPEG", "WEBP")

File = tuple[Path, int]
"""A file, and the index of its label; -1 if it has none."""

Watch = Callable[[list[File]], Iterable[File]]
"""Hands on the files one by one, and may show how far it is."""

_OF_THE_SYSTEM = ("thumbs.db", "desktop.ini", "__macosx")
_NAMED = 3  # files left out that one line names


@dataclass(frozen=True)
class FolderReport:
    """What a folder of images holds.

    Args:
        folder: as it was given.
        sizes: width and height of each image that was taken, pixels.
        grey: how many of them have no colour.
        labels: how many images each label has, by the names of the subfolders, sorted.
        unlabelled: how many lie in no subfolder.
        left_out: why a file was not taken, by its path in the folder.
    """

    folder: str
    sizes: tuple[tuple[int, int], ...]
    grey: int
    labels: dict[str, int]
    unlabelled: int
    left_out: dict[str, str]

    @property
    def channels(self) -> int:
        """1 where all images are grey, else 3."""
        return 1 if self.grey == len(self.sizes) else 3

    @property
    def label_faults(self) -> list[str]:
        """Say what a conditional model lacks, a line each; none where each image has a label."""
        faults = [
            f"the label folder {name} has no images that can be taken; remove it, or put "
            "images into it"
            for name, count in self.labels.items()
            if not count
        ]
        if not self.labels:
            faults += [
                "there are no label folders; put the images into subfolders, one for each label"
            ]
        elif self.unlabelled:
            faults += [
                f"images outside of the label folders: {self.unlabelled:,}; move them into "
                "one, or away"
            ]
        return faults

    def __str__(self) -> str:
        taken = len(self.sizes)
        kind = "grey" if self.channels == 1 else "colour"
        text = f"{self.folder}: took {taken:,} of {taken + len(self.left_out):,} files, {kind}"
        if self.channels == 3 and self.grey:
            text += f" ({self.grey:,} grey ones are taken as colour)"
        return text + _name_some(self)


def read_folder(
    folder: StrPath, size: int, labelled: bool = False, watch: Watch = iter
) -> tuple[Dataset, FolderReport]:
    """Read a folder of images: the centre of each, square, at one size.

    Files are taken in the order of their names. A file that is no PNG, JPEG or WebP image, that
    is damaged, animated or has 16 bits a channel is left out and named. Beside the result this
    takes the memory of the largest image.

    Args:
        folder: images may lie right in it, or at any depth in its subfolders; each of these is a
            label.
        size: of the result, pixels.
        labelled: refuse images without a label, and labels without images.
        watch: is given all files and hands on one after another.
    Returns:
        The images, of 1 channel if all are grey, else of 3; and what was found.
    Raises:
        DataError: the folder cannot be read or has no images, or lacks labels that are needed.
    """
    name = os.fspath(folder)
    files, classes = _list_files(Path(folder))
    images, labels = np.empty((len(files), 1, size, size), np.uint8), np.empty(len(files), np.int64)
    sizes: list[tuple[int, int]] = []
    left_out: dict[str, str] = {}
    grey = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of metadata that nothing here asks for
        for path, label in watch(files):
            try:
                pixels, extent, is_grey = _decode(path, size)
            except DataError as error:
                left_out[str(path.relative_to(folder))] = str(error)
                continue
            if images.shape[1] == 1 and not is_grey:
                images = _in_colour(images, len(sizes))
            k = len(sizes)
            images[k], labels[k] = pixels.transpose(2, 0, 1)[: images.shape[1]], label
            sizes.append(extent)
            grey += is_grey
    images, labels = images[: len(sizes)], labels[: len(sizes)]
    counts = {label: int((labels == k).sum()) for k, label in enumerate(classes)}
    report = FolderReport(name, tuple(sizes), grey, counts, int((labels < 0).sum()), left_out)
    if not sizes:
        raise DataError(
            f"{name}: no image to take; expected PNG, JPEG or WebP files in it, or in "
            f"subfolders named by their labels{_name_some(report)}"
        )
    if labelled and report.label_faults:
        raise DataError(f"{name}: {'; '.join(report.label_faults)}; or set conditional to none")
    images.flags.writeable = labels.flags.writeable = False
    return Dataset(name, images, labels, classes, "train", name), report


def refuse_ambiguous(name: str) -> None:
    """Refuse a name that may mean a data set, or as well the folder of images of that name.

    Raises:
        ConfigError: it may; how to name each is said.
    """
    if name in CATALOG and Path(name).is_dir() and any(map(_is_image, _list_files(Path(name))[0])):
        raise ConfigError(
            f"{name} is a data set, and here a folder of images too: write ./{name} for the "
            "folder; for the data set, call from another working directory"
        )


def _in_colour(images: np.ndarray, count: int) -> np.ndarray:
    """Give the first of the images three equal channels, and the rest room for three."""
    wider = np.empty((len(images), 3, *images.shape[2:]), np.uint8)
    wider[:count] = images[:count]
    return wider


def _name_some(report: FolderReport) -> str:
    """Name the first of the files that were left out, in a clause; nothing if there are none."""
    named = [f"{path} ({why})" for path, why in list(report.left_out.items())[:_NAMED]]
    if not named:
        return ""
    text = f"; left out: {', '.join(named)}"
    if (more := len(report.left_out) - len(named)) > 0:
        text += (
            f" and {more:,} more; name all with: minisn data verify {shlex.quote(report.folder)}"
        )
    return text


def _list_files(folder: Path) -> tuple[list[File], tuple[str, ...]]:
    """List the files of a folder, each with its label, and the names of the labels."""
    try:
        entries = sorted(path for path in folder.iterdir() if not _is_hidden(path))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    files = [(path, -1) for path in entries if path.is_file()]
    subfolders = [path for path in entries if path.is_dir()]
    for k, subfolder in enumerate(subfolders):
        for path in sorted(subfolder.rglob("*")):
            parts = path.relative_to(subfolder).parents
            if path.is_file() and not any(map(_is_hidden, (path, *parts))):
                files.append((path, k))
    return files, tuple(path.name for path in subfolders)


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _OF_THE_SYSTEM


def _is_image(file: File) -> bool:
    from PIL import Image

    try:
        Image.open(file[0], formats=FORMATS).close()
    except Exception:  # of damaged files Pillow says whatever its parsers do
        return False
    return True


# -- one image ---------------------------------------------------------------------------------


def _decode(path: Path, size: int) -> tuple[np.ndarray, tuple[int, int], bool]:
    """Decode an image.

    Returns:
        uint8, [size, size, 3]; its width and height before, pixels; whether it is grey.
    Raises:
        DataError: it cannot be taken; why is said, without its name.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as picture:
            _refuse_unlike(picture)
            extent, grey = picture.size, _is_grey(picture)
            picture.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a part of it
            return np.asarray(_to_square(_flat(picture), size)), extent, grey
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError("not a PNG, JPEG or WebP image") from None
    except Exception as error:  # of damaged files Pillow says whatever its parsers do
        why = getattr(error, "strerror", None) or error
        raise DataError(f"cannot be read: {why}") from error


def _refuse_unlike(picture: ImageFile) -> None:
    if picture.format != "MPO" and getattr(picture, "is_animated", False):  # MPO: a camera's JPEG
        raise DataError("animated; expected a single picture")
    if picture.format == "PNG" and "16" in str(picture.tile[0][3]):
        raise DataError("16 bits a channel; convert it to 8")


def _is_grey(picture: Picture) -> bool:
    if picture.mode == "P":
        palette = picture.getpalette() or []
        return palette[0::3] == palette[1::3] == palette[2::3]
    return picture.mode in ("1", "L", "LA")


def _flat(picture: Picture) -> Picture:
    """Turn an image upright, lay it over white and give it red, green and blue."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        above = picture.convert("RGBA")
        picture = Image.new("RGBA", above.size, "white")
        picture.alpha_composite(above)
    return picture.convert("RGB")


def _to_square(picture: Picture, size: int) -> Picture:
    """Cut out the centre and resample it; an image of the size as it is stays so, to the bit."""
    from PIL import Image

    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    centre = picture.crop((left, top, left + side, top + side))  # a filter would look beyond a box
    return centre.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
