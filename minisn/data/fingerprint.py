"""What tells one set of training images from another, in a line of a checkpoint."""

import hashlib
from dataclasses import dataclass

import numpy as np

_ROWS = 4096  # images hashed at a time: what is copied where they do not lie in one piece


@dataclass(frozen=True)
class Fingerprint:
    """What is known of the images that a run is trained on, without the images.

    Args:
        count: how many there are.
        channels: 1 for grey, 3 for colour.
        classes: how many labels the model knows; 0 if it uses none.
        sha256: hexadecimal digest of the pixels, and of the labels if they are used.
    """

    count: int
    channels: int
    classes: int
    sha256: str

    def __str__(self) -> str:
        kind = "grey" if self.channels == 1 else "colour"
        classes = f"{self.classes} classes, " if self.classes else ""
        plural = "" if self.count == 1 else "s"
        return f"{self.count:,} {kind} image{plural} ({classes}SHA-256 {self.sha256[:12]})"


def fingerprint(images: np.ndarray, labels: np.ndarray | None = None) -> Fingerprint:
    """Take the fingerprint of training images.

    Args:
        images: uint8, [N, C, H, W].
        labels: integers from 0, [N], where a model uses them.
    Returns:
        Their number, channels, classes and digest, the same on every machine.
    """
    digest = hashlib.sha256(repr(images.shape).encode())
    for k in range(0, len(images), _ROWS):
        digest.update(np.ascontiguousarray(images[k : k + _ROWS]).data)
    if labels is not None:
        digest.update(labels.astype("<i8").tobytes())
    return Fingerprint(len(images), images.shape[1], class_count(labels), digest.hexdigest())


def class_count(labels: np.ndarray | None) -> int:
    """Count the classes that a network of these labels knows: from 0 to the largest; 0 for none."""
    return 0 if labels is None else int(labels.max()) + 1
