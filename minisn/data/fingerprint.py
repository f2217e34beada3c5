"""The fingerprint of a set of training images, which a checkpoint keeps."""

import hashlib
from dataclasses import dataclass

import numpy as np

_ROWS = 4096  # images hashed at a time, which are copied unless they are contiguous


@dataclass(frozen=True)
class Fingerprint:
    """What identifies the training images of a run.

    Args:
        count: number of images.
        channels: 1 for gray, 3 for color.
        classes: number of labels that the model knows; 0 if the model uses no labels.
        sha256: hexadecimal digest of the pixels, and of the labels if the model uses them.
    """

    count: int
    channels: int
    classes: int
    sha256: str

    def __str__(self) -> str:
        kind = "gray" if self.channels == 1 else "color"
        classes = f"{self.classes} classes, " if self.classes else ""
        plural = "" if self.count == 1 else "s"
        return f"{self.count:,} {kind} image{plural} ({classes}SHA-256 {self.sha256[:12]})"


def fingerprint(images: np.ndarray, labels: np.ndarray | None = None) -> Fingerprint:
    """Compute the fingerprint of training images.

    Args:
        images: uint8, [N, C, H, W].
        labels: integers from 0, [N], if a model uses them.
    Returns:
        Number of images, channels, classes and digest; the same on every machine.
    """
    digest = hashlib.sha256(repr(images.shape).encode())
    for k in range(0, len(images), _ROWS):
        digest.update(np.ascontiguousarray(images[k : k + _ROWS]).data)
    if labels is not None:
        digest.update(labels.astype("<i8").tobytes())
    return Fingerprint(len(images), images.shape[1], class_count(labels), digest.hexdigest())


def class_count(labels: np.ndarray | None) -> int:
    """Return the number of classes, the largest label plus 1; 0 without labels."""
    return 0 if labels is None else int(labels.max()) + 1
