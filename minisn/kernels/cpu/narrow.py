"""Convolutions from or to few channels, as at the ends of a network, where images are.

A patch of an image with one channel is a handful of numbers, and gathering it costs more than
multiplying it. With few input channels, the matrix of patches is filled by *columns*: each column
is the shifted image, so whole rows of pixels are copied. With few output channels, every pixel is
first multiplied by all taps and the products are added to their outputs, so nothing is gathered.
Without this a step of Table 3's networks takes 1.19 of the time (``tests/benchmarks/tricks.py``).
"""

import numpy as np
from numba import njit, prange

from ...geometry import Pair
from .pool import threads
from .product import VECTOR_BYTES, fill, multiply, product_of

Array = np.ndarray

FEW = 4
PIXELS = 512
"""How many pixels are multiplied at once."""


@njit(cache=True, nogil=True)
def _lay(x, room, rows, first, last, out, kernel, stride, padding):
    """Return the patches of output rows first..last as columns of a matrix, one row for a tap."""
    _, channels, h, w = x.shape
    pixels = (last - first) * out[1]
    cols = room[: rows * pixels].reshape(rows, pixels)
    for r in range(first, last):
        n, i = divmod(r, out[0])
        place = (r - first) * out[1]
        for tap in range(channels * kernel[0] * kernel[1]):
            c, within = divmod(tap, kernel[0] * kernel[1])
            p, q = divmod(within, kernel[1])
            row, left = stride[0] * i + p - padding[0], q - padding[1]
            target = cols[tap, place : place + out[1]]
            if row < 0 or row >= h:
                target[:] = 0
                continue
            begin = min(max(0, -(left // stride[1])), out[1])
            end = max(begin, min(out[1], (w - left + stride[1] - 1) // stride[1]))
            target[:begin] = 0
            target[end:] = 0
            source = x[n, c, row, begin * stride[1] + left :]
            inside = target[begin:end]
            if stride[1] == 1:
                for j in range(inside.size):
                    inside[j] = source[j]
            else:
                for j in range(inside.size):
                    inside[j] = source[j * stride[1]]
    return cols


@njit(cache=True, nogil=True, parallel=True)
def _from_few(product, x, w, y, out, kernel, stride, padding, tile, n_threads):
    rows = x.shape[0] * out[0]
    tiles = -(-rows // tile)
    for t in prange(n_threads):
        room = np.empty(w.shape[0] * tile * out[1], x.dtype)
        for k in range(t * tiles // n_threads, (t + 1) * tiles // n_threads):
            first, last = k * tile, min((k + 1) * tile, rows)
            cols = _lay(x, room, w.shape[0], first, last, out, kernel, stride, padding)
            cols[-1] = 1
            multiply(product, cols.T, w, y[first * out[1] : last * out[1]], False)


@njit(cache=True, nogil=True, parallel=True)
def _weight_from_few(product, x, y, parts, out, kernel, stride, padding, tile, n_threads):
    rows = x.shape[0] * out[0]
    tiles = -(-rows // tile)
    for t in prange(n_threads):
        room = np.empty(parts.shape[1] * tile * out[1], x.dtype)
        begin = t * tiles // n_threads
        for k in range(begin, (t + 1) * tiles // n_threads):
            first, last = k * tile, min((k + 1) * tile, rows)
            cols = _lay(x, room, parts.shape[1], first, last, out, kernel, stride, padding)
            multiply(product, cols, y[first * out[1] : last * out[1]], parts[t], k > begin)


@njit(cache=True, nogil=True, parallel=True)
def _to_few(product, x, w, bias, y, kernel, padding, n_threads):
    images, h, width, c = x.shape
    _, out_h, out_w, d = y.shape
    for t in prange(n_threads):
        products = np.empty((h * width, w.shape[1]), x.dtype)
        for n in range(t * images // n_threads, (t + 1) * images // n_threads):
            multiply(product, x[n].reshape(h * width, c), w, products, False)
            fill(y[n].reshape(out_h * out_w, d), bias)
            for tap in range(kernel[0] * kernel[1]):
                p, q = divmod(tap, kernel[1])
                top, left = p - padding[0], q - padding[1]
                for i in range(max(0, -top), min(out_h, h - top)):
                    for j in range(max(0, -left), min(out_w, width - left)):
                        for m in range(d):
                            y[n, i, j, m] += products[(i + top) * width + j + left, tap * d + m]


def _rows_at_once(rows: int, width: int) -> int:
    return max(1, min(PIXELS // width, -(-rows // threads())))


def from_few(x: Array, w: Array, bias: Array, stride: Pair, padding: Pair, out: Pair) -> Array:
    """Convolve [N, C, H, W] with few C; return [N, h, w, D]."""
    d, _, *kernel = w.shape
    y = np.empty((len(x), *out, d), x.dtype)
    taps = np.empty((w[0].size + 1, d), x.dtype)
    taps[:-1], taps[-1] = w.reshape(d, -1).T, bias  # the bias is the tap of an input of ones
    tile = _rows_at_once(len(x) * out[0], out[1])
    product, images, rows = product_of(x.dtype), np.ascontiguousarray(x), y.reshape(-1, d)
    shape = out, tuple(kernel), stride, padding
    _from_few(product, images, taps, rows, *shape, tile, threads())
    return y


def weight_from_few(x: Array, y: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """Return the gradient of the weight, [D, C, k, k], from x [N, C, H, W] and y [N, h, w, D]."""
    (n, *out, d), c = y.shape, x.shape[1]
    parts = np.zeros((threads(), c * kernel[0] * kernel[1], d), x.dtype)
    tile = _rows_at_once(n * out[0], out[1])
    product, images, rows = product_of(x.dtype), np.ascontiguousarray(x), y.reshape(-1, d)
    shape = tuple(out), kernel, stride, padding
    _weight_from_few(product, images, rows, parts, *shape, tile, threads())
    return np.ascontiguousarray(parts.sum(axis=0).T).reshape(d, c, *kernel)


def to_few(x: Array, w: Array, bias: Array, padding: Pair) -> Array:
    """Convolve [N, H, W, C] with stride 1 to few channels; return [N, h, w, D]."""
    d, c, *kernel = w.shape
    out = [m + 2 * p - k + 1 for m, p, k in zip(x.shape[1:3], padding, kernel, strict=True)]
    lanes = VECTOR_BYTES // x.itemsize
    width = d * kernel[0] * kernel[1]
    taps = np.zeros((c, -(-width // lanes) * lanes), x.dtype)
    taps[:, :width] = w.transpose(1, 2, 3, 0).reshape(c, -1)
    y = np.empty((len(x), *out, d), x.dtype)
    _to_few(product_of(x.dtype), x, taps, bias, y, tuple(kernel), padding, threads())
    return y
