"""Reading a folder of PNG, JPEG and WebP images, whose subfolders are labels.

The format of a file is read from its content, not from its name. An image without color is gray,
and so is an image with a palette of grays. If some images have color, the gray images get three
equal channels. Transparent parts become white, and the EXIF orientation of a photograph is applied.
Hidden files and the files of file managers are skipped. A link to a folder can be a label, unless
it leads to a folder above it; deeper inside, it is skipped, as a folder that cannot be read is.
"""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable, Iterable, Iterator
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
"""A function that yields the files one by one, and may show progress."""

_OF_THE_SYSTEM = ("thumbs.db", "desktop.ini", "__macosx")
_NAMED = 3  # names of skipped files in one line


@dataclass(frozen=True)
class FolderReport:
    """The content of a folder of images.

    Args:
        folder: path of the folder, as the caller gave it.
        sizes: width and height of each image that was read, pixels.
        gray: number of these images without color.
        labels: number of images of each label, by the names of the subfolders, sorted.
        unlabeled: number of images outside the subfolders.
        left_out: the reason why a file was skipped, by its path in the folder.
    """

    folder: str
    sizes: tuple[tuple[int, int], ...]
    gray: int
    labels: dict[str, int]
    unlabeled: int
    left_out: dict[str, str]

    @property
    def channels(self) -> int:
        """1 if all images are gray, else 3."""
        return 1 if self.gray == len(self.sizes) else 3

    @property
    def label_faults(self) -> list[str]:
        """Faults of the labels for a conditional model, a line each; empty if there are none."""
        faults = [
            f"the label folder {name} has no readable images; remove it, or put images into it"
            for name, count in self.labels.items()
            if not count
        ]
        if not self.labels:
            faults += [
                "there are no label folders; put the images into subfolders, one for each label"
            ]
        elif self.unlabeled:
            faults += [
                f"images outside the label folders: {self.unlabeled:,}; move them into a label "
                "folder, or remove them"
            ]
        return faults

    def __str__(self) -> str:
        taken = len(self.sizes)
        kind = "gray" if self.channels == 1 else "color"
        text = f"{self.folder}: read {taken:,} of {taken + len(self.left_out):,} files, {kind}"
        if self.channels == 3 and self.gray:
            text += f" (including {self.gray:,} gray images)"
        return text + _name_some(self)


def read_folder(
    folder: StrPath, size: int, labeled: bool = False, watch: Watch = iter
) -> tuple[Dataset, FolderReport]:
    """Read a folder of images, cropped to their centers and resampled to one size.

    Files are read in the order of their names. A file that is no PNG, JPEG or WebP image, is
    damaged or animated, or has 16 bits per channel is skipped, and the report names it. Beside the
    result, reading takes the memory of the largest image.

    Args:
        folder: the folder; images lie directly in it, or at any depth in its subfolders, each of
            which is a label.
        size: height and width of the result, pixels.
        labeled: refuse images without a label, and labels without images.
        watch: wraps the list of files, for example in a progress bar.
    Returns:
        The images, with 1 channel if all are gray, else with 3; and a report.
    Raises:
        DataError: the folder cannot be read, has no images, or lacks the required labels.
    """
    name = os.fspath(folder)
    files, classes = _list_files(Path(folder))
    images, labels = np.empty((len(files), 1, size, size), np.uint8), np.empty(len(files), np.int64)
    sizes: list[tuple[int, int]] = []
    left_out: dict[str, str] = {}
    gray = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of metadata that nothing here uses
        for path, label in watch(files):
            try:
                pixels, extent, is_gray = _decode(path, size)
            except DataError as error:
                left_out[str(path.relative_to(folder))] = str(error)
                continue
            if images.shape[1] == 1 and not is_gray:
                images = _in_color(images, len(sizes))
            k = len(sizes)
            images[k], labels[k] = pixels.transpose(2, 0, 1)[: images.shape[1]], label
            sizes.append(extent)
            gray += is_gray
    images, labels = images[: len(sizes)], labels[: len(sizes)]
    counts = {label: int((labels == k).sum()) for k, label in enumerate(classes)}
    report = FolderReport(name, tuple(sizes), gray, counts, int((labels < 0).sum()), left_out)
    if not sizes:
        raise DataError(
            f"{name}: no readable image; expected PNG, JPEG or WebP files in it, or in "
            f"subfolders named by their labels{_name_some(report)}"
        )
    if labeled and report.label_faults:
        faults = "; ".join(report.label_faults)
        raise DataError(f"{name}: {faults}; or set conditional to none{_name_some(report)}")
    images.flags.writeable = labels.flags.writeable = False
    return Dataset(name, images, labels, classes, "train", name), report


def refuse_ambiguous(name: str) -> None:
    """Refuse a name of both a data set and a folder of images.

    Raises:
        ConfigError: the name is ambiguous; the error says how to name each.
    """
    if name in CATALOG and Path(name).is_dir() and any(map(_is_image, _list_files(Path(name))[0])):
        raise ConfigError(
            f"{name} names both a data set and a folder of images; write ./{name} for the "
            "folder, or run from another working directory for the data set"
        )


def _in_color(images: np.ndarray, count: int) -> np.ndarray:
    """Copy the first ``count`` gray images to three equal channels, with room for the rest."""
    wider = np.empty((len(images), 3, *images.shape[2:]), np.uint8)
    wider[:count] = images[:count]
    return wider


def _name_some(report: FolderReport) -> str:
    """Write a clause with the first skipped files; empty if there are none."""
    named = [f"{path} ({why})" for path, why in list(report.left_out.items())[:_NAMED]]
    if not named:
        return ""
    text = f"; skipped: {', '.join(named)}"
    if (more := len(report.left_out) - len(named)) > 0:
        text += (
            f" and {more:,} more; list all with: minisn data verify {shlex.quote(report.folder)}"
        )
    return text


def _list_files(folder: Path) -> tuple[list[File], tuple[str, ...]]:
    """List the files of a folder, each with its label, and the names of the labels.

    What cannot be entered or leads nowhere is listed too, so that the report names it.
    """
    try:
        entries = sorted(path for path in folder.iterdir() if not _is_hidden(path))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    home = folder.resolve()
    folders = [path for path in entries if os.path.isdir(path)]  # is_dir raises if it may not look
    subfolders = [path for path in folders if not home.is_relative_to(path.resolve())]
    files = [(path, -1) for path in entries if path not in subfolders]
    for k, subfolder in enumerate(subfolders):
        files += [(path, k) for path in sorted(_inside(subfolder))]
    return files, tuple(path.name for path in subfolders)


def _inside(folder: Path) -> Iterator[Path]:
    """Yield the files at any depth of a folder, the links to folders, and what cannot be read."""
    try:
        entries = [path for path in folder.iterdir() if not _is_hidden(path)]
    except OSError:
        yield folder
        return
    for path in entries:
        if os.path.isdir(path) and not os.path.islink(path):
            yield from _inside(path)
        else:
            yield path


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _OF_THE_SYSTEM


def _is_image(file: File) -> bool:
    try:
        _open(file[0]).close()
    except Exception:  # Pillow raises any error of its parsers on a damaged file
        return False
    return True


# -- one image ---------------------------------------------------------------------------------


def _decode(path: Path, size: int) -> tuple[np.ndarray, tuple[int, int], bool]:
    """Decode an image.

    Returns:
        The pixels, uint8, [size, size, 3]; the original width and height; whether it is gray.
    Raises:
        DataError: the image cannot be used; the error gives the reason, without the path.
    """
    from PIL import UnidentifiedImageError

    try:
        with _open(path) as picture:
            _refuse_unlike(picture)
            extent, gray = picture.size, _is_gray(picture)
            picture.draft(None, (2 * size, 2 * size))  # decodes a large JPEG at a smaller size
            return np.asarray(_to_square(_flat(picture), size)), extent, gray
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError("not a PNG, JPEG or WebP image") from None
    except Exception as error:  # Pillow raises any error of its parsers on a damaged file
        why = getattr(error, "strerror", None) or error
        raise DataError(f"cannot be read: {why}") from error


def _open(path: Path) -> ImageFile:
    from PIL import Image

    if os.path.islink(path) and os.path.isdir(path):
        raise DataError("a link to a folder; put a copy in its place")
    if path.is_fifo():  # opening it would wait for a writer
        raise DataError("a pipe, not a file")
    return Image.open(path, formats=FORMATS)


def _refuse_unlike(picture: ImageFile) -> None:
    if picture.format != "MPO" and getattr(picture, "is_animated", False):  # MPO: a camera's JPEG
        raise DataError("animated; expected a single picture")
    if picture.format == "PNG" and "16" in str(picture.tile[0][3]):
        raise DataError("16 bits per channel; convert it to 8")


def _is_gray(picture: Picture) -> bool:
    if picture.mode == "P":
        palette = picture.getpalette() or []
        return palette[0::3] == palette[1::3] == palette[2::3]
    return picture.mode in ("1", "L", "LA")


def _flat(picture: Picture) -> Picture:
    """Apply the EXIF orientation, lay the image over white, and convert it to RGB."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        above = picture.convert("RGBA")
        picture = Image.new("RGBA", above.size, "white")
        picture.alpha_composite(above)
    return picture.convert("RGB")


def _to_square(picture: Picture, size: int) -> Picture:
    """Crop the center and resample it; an image of the right size stays the same, to the bit."""
    from PIL import Image

    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    center = picture.crop((left, top, left + side, top + side))  # resize(box=) reads beyond the box
    return center.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
