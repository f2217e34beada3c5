"""Pooling of images: the largest entry or the mean of windows that move by a stride."""

import math

from .answers import OPERATIONS
from .backend import near
from .errors import ShapeError
from .geometry import Pixels, output_size, pair
from .ops import concat, max, mean, pad, stack
from .tensor import Tensor, as_tensor

__all__ = ["max_pool2d", "mean_windows"]


def _windows(name: str, x: Tensor, size: Pixels, stride: Pixels | None, padding: Pixels) -> Tensor:
    """Return the entries at place k of each window, for all k: [k, N, C, rows, columns]."""
    if x.ndim != 4:
        raise ShapeError(f"{name}: expected images [N, C, H, W], got shape {x.shape}")
    k, p = pair("kernel", size, 1), pair("padding", padding)
    s = k if stride is None else pair("stride", stride, 1)
    if any(2 * by > of for by, of in zip(p, k, strict=True)):
        raise ShapeError(f"{name}: the padding {p} is more than half of the window {k}")
    inner = tuple(n - 2 * by for n, by in zip(x.shape[2:], p, strict=True))
    out = output_size(name, inner, k, s, p)
    return stack(
        [
            x[:, :, i : i + s[0] * (out[0] - 1) + 1 : s[0], j : j + s[1] * (out[1] - 1) + 1 : s[1]]
            for i in range(k[0])
            for j in range(k[1])
        ]
    )


def _surrounded(x: Tensor, padding: Pixels, value: float) -> Tensor:
    """Pad images with a number."""
    top, left = pair("padding", padding)
    for axis, n in ((2, top), (3, left)):
        if n:
            shape = tuple(n if i == axis else m for i, m in enumerate(x.shape))
            edge = Tensor.wrap(near(x.array).full(shape, value, dtype=x.dtype))
            x = concat([edge, x, edge], axis=axis)
    return x


def max_pool2d(
    x: Tensor, size: Pixels = 2, stride: Pixels | None = None, padding: Pixels = 0
) -> Tensor:
    r"""Take the largest entry of each window; equal entries share the gradient evenly.

    .. math:: y_{ij} = \max_{p,q < k} x_{si+p-a,\,sj+q-a}

    Args:
        x: images, [N, C, H, W].
        size: :math:`k`, pixels, one number or (rows, columns).
        stride: :math:`s`, pixels; the size if None.
        padding: :math:`a`, rows and columns of minus infinity on each side.
    Returns:
        [N, C, (H + 2a - k) // s + 1, (W + 2a - k) // s + 1].
    Raises:
        ShapeError: x is not [N, C, H, W], or the window does not fit.
    """
    x = as_tensor(x)
    if x.ndim == 4:
        x = _surrounded(x, padding, -math.inf)
    return max(_windows("max_pool2d", x, size, stride, padding), axis=0)


def mean_windows(x: Tensor, size: Pixels, stride: Pixels | None, padding: Pixels) -> Tensor:
    r"""Average windows, with padding as zeros: the general form of :func:`minisn.ops.avg_pool2d`.

    .. math:: y_{ij} = \frac1{k^2} \sum_{p,q < k} x_{si+p-a,\,sj+q-a}

    Args:
        x, size, stride, padding: as for :func:`max_pool2d`, but the padding is zeros.
    Returns:
        As :func:`max_pool2d`.
    """
    x = as_tensor(x)
    top, left = pair("padding", padding)
    if x.ndim == 4 and (top or left):
        x = pad(x, widths=((0, 0), (0, 0), (top, top), (left, left)))
    return mean(_windows("avg_pool2d", x, size, stride, padding), axis=0)


OPERATIONS.update({name: globals()[name] for name in __all__})
