"""Convolution as products of patches and filters, tile by tile.

Images lie channels-last in memory, [N, H, W, C], under the [N, C, H, W] view that the rest of
the library sees. The patch of a pixel is then a few long runs, and plain copies gather a batch
of patches into a matrix. Each thread gathers a tile of patches into a buffer of its own and
multiplies the tile while it is in cache. The order of sums depends only on the number of
threads, so equal seeds give equal bits.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from ...errors import DTypeError, ShapeError
from ...geometry import Pair, output_size, transposed_size
from . import narrow, winograd
from .entrywise import all_finite
from .pool import in_one_pool, threads
from .product import fill, multiply, product_of

Array = np.ndarray


def _channels_last(x: Array) -> Array:
    """Return images as a contiguous [N, H, W, C], without a copy if they lie so already."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def _filters(w: Array) -> Array:
    """Return the weight as rows, each in the order of a patch."""
    return np.ascontiguousarray(w.transpose(0, 2, 3, 1)).reshape(len(w), -1)


def _tile(rows: int, n_threads: int, width: int) -> int:
    """Return how many patches to multiply at once: a few hundred, spread evenly over threads."""
    return max(1, min(512, -(-rows // n_threads), 1 + (1 << 20) // width))


# The inner loops below run over slices from 0: if Numba cannot prove that an index is
# positive, the compiler uses no vector instructions.


@njit(cache=True, nogil=True)
def _gather(x, cols, first, last, out, kernel, stride, padding):
    """Copy the patches of output pixels first..last into the rows of cols."""
    _, h, w, c = x.shape
    flat, patches = x.reshape(-1), cols.reshape(-1)
    run = kernel[1] * c
    for pixel in range(first, last):
        n, within = divmod(pixel, out[0] * out[1])
        i, j = divmod(within, out[1])
        top, left = stride[0] * i - padding[0], stride[1] * j - padding[1]
        begin = max(0, -left) * c
        end = max(begin, min(kernel[1], w - left) * c)
        patch = (pixel - first) * kernel[0] * run
        inside = top >= 0 and top + kernel[0] <= h and end - begin == run
        if not inside:
            target = patches[patch : patch + kernel[0] * run]
            for k in range(target.size):
                target[k] = 0
        for p in range(max(0, -top), min(kernel[0], h - top)):
            start = ((n * h + top + p) * w + left) * c
            source = flat[start + begin : start + end]
            target = patches[patch + p * run + begin : patch + p * run + end]
            for k in range(source.size):
                target[k] = source[k]


@njit(cache=True, nogil=True)
def _spread(cols, x, first, last, out, kernel, stride, padding):
    """Add the rows of cols to the patches of output pixels first..last: _gather's adjoint."""
    _, h, w, c = x.shape
    flat, patches = x.reshape(-1), cols.reshape(-1)
    run = kernel[1] * c
    for pixel in range(first, last):
        n, within = divmod(pixel, out[0] * out[1])
        i, j = divmod(within, out[1])
        top, left = stride[0] * i - padding[0], stride[1] * j - padding[1]
        begin = max(0, -left) * c
        end = max(begin, min(kernel[1], w - left) * c)
        patch = (pixel - first) * kernel[0] * run
        for p in range(max(0, -top), min(kernel[0], h - top)):
            start = ((n * h + top + p) * w + left) * c
            source = patches[patch + p * run + begin : patch + p * run + end]
            target = flat[start + begin : start + end]
            for k in range(source.size):
                target[k] += source[k]


@njit(cache=True, nogil=True, parallel=True)
def _conv2d(product, x, w, bias, y, out, kernel, stride, padding, tile, n_threads):
    rows = y.shape[0]
    tiles = -(-rows // tile)
    for t in prange(n_threads):
        cols = np.empty((tile, w.shape[0]), x.dtype)
        for k in range(t * tiles // n_threads, (t + 1) * tiles // n_threads):
            first, last = k * tile, min((k + 1) * tile, rows)
            _gather(x, cols, first, last, out, kernel, stride, padding)
            fill(y[first:last], bias)
            multiply(product, cols[: last - first], w, y[first:last], True)


@njit(cache=True, nogil=True, parallel=True)
def _conv2d_transpose(product, y, w, x, out, kernel, stride, padding, tile, n_threads):
    images, pixels = x.shape[0], out[0] * out[1]
    rows = x.reshape(images, -1)
    for t in prange(n_threads):
        begin, end = t * images // n_threads, (t + 1) * images // n_threads
        fill(rows[begin:end], np.zeros(rows.shape[1], x.dtype))
        cols = np.empty((tile, w.shape[1]), x.dtype)
        begin, end = begin * pixels, end * pixels
        for first in range(begin, end, tile):
            last = min(first + tile, end)
            multiply(product, y[first:last], w, cols[: last - first], False)
            _spread(cols, x, first, last, out, kernel, stride, padding)


@njit(cache=True, nogil=True, parallel=True)
def _conv2d_weight(product, x, y, parts, out, kernel, stride, padding, tile, n_threads):
    rows = y.shape[0]
    tiles = -(-rows // tile)
    for t in prange(n_threads):
        cols = np.empty((tile, parts.shape[2]), x.dtype)
        begin = t * tiles // n_threads
        for k in range(begin, (t + 1) * tiles // n_threads):
            first, last = k * tile, min((k + 1) * tile, rows)
            _gather(x, cols, first, last, out, kernel, stride, padding)
            multiply(product, y[first:last].T, cols[: last - first], parts[t], k > begin)


def _meet(name: str, x: Array, y: Array, *sizes: tuple[Any, Any]) -> None:
    """Refuse arrays that do not match: compiled code would read past their ends."""
    if x.dtype != y.dtype:
        raise DTypeError(f"{name}: expected arrays of one dtype, got {x.dtype} and {y.dtype}")
    if x.ndim != 4 or y.ndim != 4 or any(a != b for a, b in sizes):
        raise ShapeError(
            f"{name}: shapes {list(x.shape)} and {list(y.shape)} do not match; "
            "see minisn.conv for the expected shapes"
        )


@in_one_pool
def conv2d(x: Array, w: Array, stride: Pair, padding: Pair, bias: Array | None = None) -> Array:
    r"""Compute :math:`Y = X_{patches} W^T + b`, tile by tile."""
    _meet("conv2d", x, w, (x.shape[1:2], w.shape[1:2]))
    (n, d_in, *size), (d_out, _, *kernel) = x.shape, w.shape
    out = output_size("conv2d", size, kernel, stride, padding)
    b = np.zeros(d_out, x.dtype)
    if bias is not None:
        b += bias  # a copy: Numba compiles kernels anew for read-only arrays
    if d_in <= narrow.FEW:
        return narrow.from_few(x, w, b, stride, padding, out).transpose(0, 3, 1, 2)
    images = _channels_last(x)
    if d_out <= narrow.FEW and stride == (1, 1):
        return narrow.to_few(images, w, b, padding).transpose(0, 3, 1, 2)
    y = np.empty((n, *out, d_out), x.dtype)
    if fits := winograd.fits(images, y, tuple(kernel), stride):
        winograd.conv2d(images, w, b, y, stride[0], padding)
    if not (fits and all_finite(y)):
        filters, rows = np.ascontiguousarray(_filters(w).T), y.reshape(-1, d_out)
        tile = _tile(len(rows), count := threads(), len(filters))
        shape = out, tuple(kernel), stride, padding
        _conv2d(product_of(x.dtype), images, filters, b, rows, *shape, tile, count)
    return y.transpose(0, 3, 1, 2)


@in_one_pool
def conv2d_transpose(
    y: Array, w: Array, stride: Pair, padding: Pair, output_padding: Pair
) -> Array:
    r"""Compute the patches :math:`Y W` and add each to the pixels it came from, tile by tile."""
    _meet("conv2d_transpose", y, w, (y.shape[1:2], w.shape[:1]))
    (n, _, *out), (d_out, d_in, *kernel) = y.shape, w.shape
    if stride == (1, 1):
        return conv2d(y, _turned(w), stride, _around(tuple(kernel), padding))
    size = transposed_size(out, kernel, stride, padding, output_padding)
    x, maps = np.empty((n, *size, d_in), y.dtype), _channels_last(y)
    if fits := winograd.fits(x, maps, tuple(kernel), stride, transposed=True):
        winograd.conv2d_transpose(maps, w, x, padding)
    if not (fits and all_finite(x)):
        filters, rows = _filters(w), maps.reshape(-1, d_out)
        tile = _tile(len(rows), count := threads(), filters.shape[1])
        shape = tuple(out), tuple(kernel), stride, padding
        _conv2d_transpose(product_of(x.dtype), rows, filters, x, *shape, tile, count)
    return x.transpose(0, 3, 1, 2)


@in_one_pool
def conv2d_weight(x: Array, y: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    r"""Compute :math:`W = Y^T X_{patches}`, each thread over its own rows, then summed in order."""
    sizes = (
        (m + 2 * a - k) // s + 1
        for m, k, s, a in zip(x.shape[2:], kernel, stride, padding, strict=False)
    )
    _meet("conv2d_weight", x, y, (x.shape[:1], y.shape[:1]), (tuple(sizes), y.shape[2:]))
    d_in, (_, d_out, *out) = x.shape[1], y.shape
    images, maps = _channels_last(x), _channels_last(y)
    if d_in <= narrow.FEW:
        return narrow.weight_from_few(x, maps, kernel, stride, padding)
    if d_out <= narrow.FEW and stride == (1, 1):
        return _turned(narrow.weight_from_few(y, images, kernel, stride, _around(kernel, padding)))
    if winograd.fits(images, maps, kernel, stride):
        w = winograd.conv2d_weight(images, maps, kernel[0], stride[0], padding)
        if all_finite(w):
            return w.transpose(0, 3, 1, 2)
    rows, taps = maps.reshape(-1, d_out), kernel[0] * kernel[1] * d_in
    tile = _tile(len(rows), count := threads(), taps)
    parts = np.zeros((count, d_out, taps), x.dtype)
    shape = tuple(out), kernel, stride, padding
    _conv2d_weight(product_of(x.dtype), images, rows, parts, *shape, tile, count)
    return parts.sum(axis=0).reshape(d_out, *kernel, d_in).transpose(0, 3, 1, 2)


def _turned(w: Array) -> Array:
    """Return the weight of the adjoint at stride 1, which is a convolution too."""
    return w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)


def _around(kernel: Pair, padding: Pair) -> Pair:
    """Return the padding of the adjoint at stride 1."""
    return kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1]
