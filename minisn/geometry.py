"""The geometry of a convolution: sizes, strides and paddings, in rows and columns of pixels."""

import operator
from typing import Any

import numpy as np

from .errors import ShapeError

Pair = tuple[int, int]
Pixels = int | Pair
"""One number for both, or (rows, columns)."""

MOST = 2**31
"""Limit of sizes, strides and paddings in pixels: their sums stay exact in compiled code."""


def pair(name: str, value: Any, least: int = 0) -> Pair:
    """Return (rows, columns) for a number or a pair; refuse what is not a size."""
    try:
        one = isinstance(value, int) or np.ndim(value) == 0
        both = (value, value) if one else tuple(value)
        rows, columns = (int(operator.index(v)) for v in both)
    except (TypeError, ValueError):
        rows = columns = -1
    if not all(least <= n < MOST for n in (rows, columns)):
        raise ShapeError(
            f"{name}: expected a whole number of at least {least} and less than {MOST}, or two of "
            f"them, got {value!r}"
        )
    return rows, columns


def moves(stride: Pixels, padding: Pixels, who: str = "") -> tuple[Pair, Pair]:
    """Return stride and padding as pairs; a stride is at least 1. Errors begin with ``who``."""
    return pair(f"{who}stride", stride, 1), pair(f"{who}padding", padding)


def added(name: str, output_padding: Pixels, stride: Pair) -> Pair:
    """Return rows and columns to add at the end as a pair; refuse as many as the stride."""
    both = pair(f"{name}: output_padding", output_padding)
    if any(o >= s for o, s in zip(both, stride, strict=True)):
        raise ShapeError(f"{name}: output_padding {both} must be less than the stride {stride}")
    return both


def output_size(name: str, size, kernel, stride: Pair, padding: Pair) -> Pair:
    """Return the output size of a convolution; refuse a kernel that does not fit."""
    (h, w), (kh, kw) = size, kernel
    if kh > h + 2 * padding[0] or kw > w + 2 * padding[1]:
        raise ShapeError(
            f"{name}: the kernel {kh}x{kw} is larger than the padded input "
            f"{h + 2 * padding[0]}x{w + 2 * padding[1]}; pad more or use a smaller kernel"
        )
    return (h + 2 * padding[0] - kh) // stride[0] + 1, (w + 2 * padding[1] - kw) // stride[1] + 1


def transposed_size(size, kernel, stride: Pair, padding: Pair, extra: Pair = (0, 0)) -> Pair:
    """Return the output size of a transposed convolution."""
    rows, columns = (
        s * (n - 1) + k - 2 * p + more
        for n, k, s, p, more in zip(size, kernel, stride, padding, extra, strict=True)
    )
    return rows, columns


def left_over(size, out, kernel, stride: Pair, padding: Pair) -> Pair:
    """Return the rows and columns at the end that no window reaches."""
    reached = transposed_size(out, kernel, stride, padding)
    return size[0] - reached[0], size[1] - reached[1]


def image_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of images, [N, C, H, W]; refuse another."""
    if len(shape) != 4:
        raise ShapeError(f"{name}: expected images [N, C, H, W], got shape {shape}")
    return shape
