"""Pooling of images: the largest entry, the mean or the sum of windows; and repeated pixels."""

import math

from .answers import enter
from .backend import namespace, near
from .errors import ShapeError
from .geometry import Pixels, image_shape, output_size, pair
from .ops import concat, max, mean, pad, permute, stack
from .tensor import Tensor, as_tensor, broadcast_to, reshape, sum


def _windows(name: str, x: Tensor, size: Pixels, stride: Pixels | None, padding: Pixels) -> Tensor:
    """Return the entries at place k of each window, for all k: [k, N, C, rows, columns]."""
    image_shape(name, x.shape)
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


def _least(x: Tensor) -> float:
    """Return the smallest number of a tensor's dtype."""
    xp = namespace(x.array)
    if xp.isdtype(x.dtype, "bool"):
        return False
    return xp.iinfo(x.dtype).min if xp.isdtype(x.dtype, "integral") else -math.inf


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
        x = _surrounded(x, padding, _least(x))
    return max(_windows("max_pool2d", x, size, stride, padding), axis=0)


def avg_pool2d(
    x: Tensor, size: Pixels = 2, stride: Pixels | None = None, padding: Pixels = 0
) -> Tensor:
    r"""Average squares side by side, or, with a stride or padding, windows of the padded image.

    .. math:: y_{ij} = \frac1{k^2} \sum_{p,q < k} x_{si+p-a,\,sj+q-a}

    Args:
        x: images, [N, C, H, W]; without a stride, H and W are multiples of the size.
        size, stride, padding: as for :func:`max_pool2d`, but the padding is zeros.
    Returns:
        As :func:`max_pool2d`.
    Raises:
        ShapeError: as :func:`max_pool2d`, or the squares do not cover the image.
    """
    x = as_tensor(x)
    top, left = pair("padding", padding)
    if stride is not None or top or left:
        if x.ndim == 4 and (top or left):
            x = pad(x, widths=((0, 0), (0, 0), (top, top), (left, left)))
        return mean(_windows("avg_pool2d", x, size, stride, padding), axis=0)
    (n, c, h, w), (p, q) = image_shape("avg_pool2d", x.shape), pair("avg_pool2d: size", size, 1)
    if h % p or w % q:
        raise ShapeError(f"avg_pool2d: {h}x{w} pixels are not divisible by {size}; pad or crop")
    squares = reshape(_channels_last(x), (n, h // p, p, w // q, q, c))
    return _channels_first(mean(squares, axis=(2, 4)))


def upsample_nearest2d(x: Tensor, factor: Pixels = 2) -> Tensor:
    r"""Repeat every pixel.

    .. math:: y_{ij} = x_{\lfloor i/k\rfloor\,\lfloor j/k\rfloor}

    Args:
        x: images, [N, C, H, W].
        factor: :math:`k`, one number or (rows, columns).
    """
    x, (rows, columns) = as_tensor(x), pair("upsample_nearest2d: factor", factor, 1)
    n, c, h, w = image_shape("upsample_nearest2d", x.shape)
    pixels = reshape(_channels_last(x), (n, h, 1, w, 1, c))
    repeated = broadcast_to(pixels, (n, h, rows, w, columns, c))
    return _channels_first(reshape(repeated, (n, h * rows, w * columns, c)))


# Images lie channels-last in memory, so reshaping them in that order copies long runs, and the next
# convolution finds them as it needs them.


def _channels_last(x: Tensor) -> Tensor:
    return permute(x, axes=(0, 2, 3, 1))


def _channels_first(x: Tensor) -> Tensor:
    return permute(x, axes=(0, 3, 1, 2))


def global_sum_pool2d(x: Tensor) -> Tensor:
    r"""Sum every channel over the whole image: [N, C, H, W] to [N, C].

    .. math:: y_{nc} = \sum_{ij} x_{ncij}

    Source: [M18 Table 4]
    """
    x = as_tensor(x)
    image_shape("global_sum_pool2d", x.shape)
    return sum(x, axis=(2, 3))


enter(globals())
