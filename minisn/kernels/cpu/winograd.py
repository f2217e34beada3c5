r"""Convolutions with fewer multiplications, after Winograd.

Two outputs of a filter with three taps take six products. Sums of inputs times sums of taps take
four products, and sums of these products are the outputs:

.. math:: y = A^T\big[(G\,w)\odot(B^T x)\big]

In two dimensions a block of 2 by 2 outputs takes 16 products per pair of channels in place of 36.
With two taps it takes 3 in place of 4, so 9 in place of 16. This serves a filter of 4 by 4 taps
with stride 2, which has 2 by 2 taps on each of the four images of every second row and column. The
sums over channels are matrix products, one for each of the 16 (or 9) places in a block. The map is
linear in each factor, so the gradient of the weight is its transpose: sums of inputs times sums of
outputs, with :math:`G^T` at the end. Without this a step of Table 3's networks takes 1.46 of the
time (``tests/benchmarks/tricks.py``).

A difference of two infinities is a NaN, and sums near the largest number overflow where the sum
of products may not. ``convolution`` therefore computes a result that is not finite again, from
the products themselves.

Images are [N, H, W, C] as in ``convolution``. U holds sums by place, block and channel,
F those of the taps, in the strips that the product reads.

Source: Winograd (1980); Lavin and Gray (2016), arXiv 1509.09308
"""

import numpy as np
from numba import njit, prange

from ...geometry import Pair
from .pool import read_only, threads
from .product import VECTOR_BYTES, fill, multiply, product_of, square_sums

Array = np.ndarray

B_T = {
    2: ((1, -1, 0), (0, 1, 0), (0, 1, -1)),
    3: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
}
G = {2: ((1, 0), (1, 1), (0, 1)), 3: ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))}
A_T = {2: ((1, 1, 0), (0, 1, -1)), 3: ((1, 1, 1, 0), (0, 1, -1, -1))}
"""The matrices of the sums, by number of taps."""


def _transposed(matrices):
    return {taps: tuple(zip(*rows, strict=True)) for taps, rows in matrices.items()}


_of_inputs, _of_taps, _of_products = square_sums(B_T), square_sums(G, True), square_sums(A_T)
_of_outputs, _to_taps = square_sums(_transposed(A_T)), square_sums(_transposed(G))

BLOCKS = 96
"""How many blocks are multiplied at once: whole tiles of the product, whose rows are 6 or 8."""
MANY = 256
"""The same for the gradient of the weight, which sums over blocks."""
GAP = VECTOR_BYTES
"""Unused entries between the places in U and F: without a gap the places would lie whole pages
apart, and a cache holds only a few addresses at such a distance."""


@njit(cache=True, nogil=True)
def _take(x, n, top, left, side, window):
    """Copy a square of pixels, with zeros outside of the image."""
    _, h, w, c = x.shape
    flat = x.reshape(-1)
    window[:] = 0
    begin, end = max(0, -left) * c, min(side, w - left) * c
    if end > begin:
        for p in range(max(0, -top), min(side, h - top)):
            start = ((n * h + top + p) * w + left) * c
            source = flat[start + begin : start + end]
            target = window[p * side * c + begin : p * side * c + end]
            for k in range(source.size):
                target[k] = source[k]


@njit(cache=True, nogil=True)
def _sum_inputs(x, first, last, blocks, taps, stride, origin, U, window):
    """Fill U with B^T x B, for each image of every stride-th row and column."""
    _, h, w, c = x.shape
    side = stride * (taps + 1)
    width, place = stride * stride * c, U.shape[1]
    for block in range(first, last):
        n, within = divmod(block, blocks[0] * blocks[1])
        i, j = divmod(within, blocks[1])
        top, left = 2 * stride * i + origin[0], 2 * stride * j + origin[1]
        if top >= 0 and left >= 0 and top + side <= h and left + side <= w:
            source = x.ctypes.data + ((n * h + top) * w + left) * c * x.itemsize
            row = w * c
        else:
            _take(x, n, top, left, side, window)
            source, row = window.ctypes.data, side * c
        for image in range(stride * stride):
            a, b = divmod(image, stride)
            start = source + (a * row + b * c) * x.itemsize
            target = U.ctypes.data + ((block - first) * width + image * c) * x.itemsize
            down, across = stride * row, stride * c
            _of_inputs(taps, start, down, across, 1, target, (taps + 1) * place, place, c, U)


@njit(cache=True, nogil=True)
def _sum_outputs(y, first, last, blocks, taps, U, window):
    """Fill U with A y A^T."""
    _, h, w, d = y.shape
    place = U.shape[1]
    for block in range(first, last):
        n, within = divmod(block, blocks[0] * blocks[1])
        i, j = divmod(within, blocks[1])
        if 2 * i + 2 <= h and 2 * j + 2 <= w:
            source, row = y.ctypes.data + ((n * h + 2 * i) * w + 2 * j) * d * y.itemsize, w * d
        else:
            _take(y, n, 2 * i, 2 * j, 2, window)
            source, row = window.ctypes.data, 2 * d
        target = U.ctypes.data + (block - first) * d * y.itemsize
        _of_outputs(taps, source, row, d, 1, target, (taps + 1) * place, place, d, U)


@njit(cache=True, nogil=True)
def _sum_products(U, first, last, blocks, taps, stride, origin, y, window):
    """Write A^T U A of each block to its pixels of y, as far as y reaches."""
    _, h, w, d = y.shape
    place = U.shape[1]
    for block in range(first, last):
        n, within = divmod(block, blocks[0] * blocks[1])
        i, j = divmod(within, blocks[1])
        top, left = 2 * stride * i + origin[0], 2 * stride * j + origin[1]
        inside = top + stride < h and left + stride < w
        if inside:
            target, row = y.ctypes.data + ((n * h + top) * w + left) * d * y.itemsize, w * d
        else:
            target, row = window.ctypes.data, 2 * d
        step = stride if inside else 1
        source = U.ctypes.data + (block - first) * d * y.itemsize
        _of_products(taps, source, (taps + 1) * place, place, 1, target, step * row, step * d, d, U)
        if not inside:
            for a in range(min(2, (h - top + stride - 1) // stride)):
                for b in range(min(2, (w - left + stride - 1) // stride)):
                    pixel = y[n, top + a * stride, left + b * stride]
                    for m in range(d):
                        pixel[m] = window[(2 * a + b) * d + m]


@njit(cache=True, nogil=True, parallel=True)
def _sum_taps(w, F, taps, stride, lanes):
    """Fill F[place] with G w G^T in strips of filters, from w of [k, k, channels, filters].

    A strip holds two vectors of filters for each channel, and then for the next: memory is
    written in its order, and the product reads it so.
    """
    _, _, c, d = w.shape
    place, size = F.shape[1], w.itemsize
    by_row, by_column, by_channel, by_filter = [step // size for step in w.strides]
    for index in prange(-(-d // (2 * lanes)) * c):
        strip, k = divmod(np.int64(index), c)  # signed, like the numbers that it meets
        first, width = strip * 2 * lanes, min(2 * lanes, d - strip * 2 * lanes)
        for image in range(stride * stride):
            a, b = divmod(image, stride)
            start = first * by_filter + k * by_channel + a * by_row + b * by_column
            row = (first * stride * stride + image * width) * c + k * width
            x, y = w.ctypes.data + start * size, F.ctypes.data + row * size
            down, across = stride * by_row, stride * by_column
            _of_taps(taps, x, down, across, by_filter, y, (taps + 1) * place, place, width, F)


@njit(cache=True, nogil=True, parallel=True)
def _spread_taps(parts, w, taps, stride):
    """Fill w of [filters, k, k, channels] with G^T F G, where F is the sum of the parts."""
    d, k, _, c = w.shape
    place = parts.shape[2] * parts.shape[3]
    for index in prange(d):
        m = np.int64(index)
        for t in range(1, parts.shape[0]):
            for position in range(parts.shape[1]):
                total, part = parts[0, position, m], parts[t, position, m]
                for channel in range(part.size):
                    total[channel] += part[channel]
        for image in range(stride * stride):
            a, b = divmod(image, stride)
            source = parts.ctypes.data + (m * parts.shape[3] + image * c) * w.itemsize
            target = w.ctypes.data + ((m * k + a) * k + b) * c * w.itemsize
            _to_taps(
                taps, source, (taps + 1) * place, place, 1, target, stride * k * c, stride * c, c, w
            )


@njit(cache=True, nogil=True, parallel=True)
def _convolve(product, x, F, bias, y, blocks, taps, s_in, o_in, s_out, o_out, tile, n_threads):
    total = x.shape[0] * blocks[0] * blocks[1]
    tiles = -(-total // tile)
    places, width, d = len(F), s_in * s_in * x.shape[3], y.shape[3]
    side = s_in * (taps + 1)
    middle = taps + 2  # a constant at this place adds the same constant to all four outputs
    for t in prange(n_threads):
        U = np.empty((places, tile * width + GAP), x.dtype)
        V = np.empty((places, tile * d + GAP), x.dtype)
        window, corner = np.empty(side * side * x.shape[3], x.dtype), np.empty(4 * d, x.dtype)
        for k in range(t * tiles // n_threads, (t + 1) * tiles // n_threads):
            first, last = k * tile, min((k + 1) * tile, total)
            m = last - first
            _sum_inputs(x, first, last, blocks, taps, s_in, o_in, U, window)
            for place in range(places):
                sums = U[place, : m * width].reshape(m, width)
                products = V[place, : m * d].reshape(m, d)
                if place == middle:
                    fill(products, bias)
                factors = F[place, : width * d].reshape(width, d)
                multiply(product, sums, factors, products, place == middle, True)
            _sum_products(V, first, last, blocks, taps, s_out, o_out, y, corner)


@njit(cache=True, nogil=True, parallel=True)
def _correlate(product, x, y, parts, blocks, taps, stride, origin, tile, n_threads):
    total = x.shape[0] * blocks[0] * blocks[1]
    tiles = -(-total // tile)
    _, places, d, width = parts.shape
    side = stride * (taps + 1)
    for t in prange(n_threads):
        U = np.empty((places, tile * width + GAP), x.dtype)
        V = np.empty((places, tile * d + GAP), x.dtype)
        window, corner = np.empty(side * side * x.shape[3], x.dtype), np.empty(4 * d, x.dtype)
        begin = t * tiles // n_threads
        for k in range(begin, (t + 1) * tiles // n_threads):
            first, last = k * tile, min((k + 1) * tile, total)
            m = last - first
            _sum_inputs(x, first, last, blocks, taps, stride, origin, U, window)
            _sum_outputs(y, first, last, blocks, taps, V, corner)
            for place in range(places):
                inputs = U[place, : m * width].reshape(m, width)
                outputs = V[place, : m * d].reshape(m, d)
                multiply(product, outputs.T, inputs, parts[t, place], k > begin)


def fits(x: Array, y: Array, kernel: Pair, stride: Pair, transposed: bool = False) -> bool:
    """Return whether Winograd's form of a convolution from x to y, [N, H, W, C], exists and pays.

    Blocks that reach over the edge are wasted work, and with few channels the sums cost more
    than the products that they save (``tests/benchmarks/kernels.py`` shows both).

    Args:
        x, y: the images.
        kernel, stride: kernel size and stride of the convolution.
        transposed: the convolution goes from y to x, with stride 2.
    """
    lanes = VECTOR_BYTES // x.itemsize
    (c, d), s = (x.shape[3], y.shape[3]), stride[0]
    known = (*kernel, *stride) in ((3, 3, 1, 1), (4, 4, 2, 2))
    if not known or not len(x) or c % lanes or d % lanes:
        return False
    if (c if transposed else d) < lanes * (s * s if transposed else s):
        return False
    taps = kernel[0] // s
    blocked = (taps + 1) ** 2 * -(-y.shape[1] // 2) * -(-y.shape[2] // 2)
    return blocked <= 0.8 * taps**2 * y.shape[1] * y.shape[2]


def _filters(w: Array, stride: int) -> Array:
    """Return the sums of taps by place, each a matrix [stride^2 C, D] in strips, and a gap."""
    d, c, k, _ = w.shape
    taps, lanes = k // stride, VECTOR_BYTES // w.itemsize
    F = np.empty(((taps + 1) ** 2, stride * stride * c * d + GAP), w.dtype)
    # one order of axes, for which Numba compiles once
    _sum_taps(read_only(w.transpose(2, 3, 1, 0)), F, taps, stride, lanes)
    return F


def conv2d(x: Array, w: Array, bias: Array, y: Array, stride: int, padding: Pair) -> None:
    """Convolve x into y, and add a bias."""
    product, F, taps = product_of(x.dtype), _filters(w, stride), w.shape[2] // stride
    blocks, origin = (-(-y.shape[1] // 2), -(-y.shape[2] // 2)), (-padding[0], -padding[1])
    _convolve(product, x, F, bias, y, blocks, taps, stride, origin, 1, (0, 0), BLOCKS, threads())


def conv2d_transpose(y: Array, w: Array, x: Array, padding: Pair) -> None:
    """Apply the adjoint of the convolution of x to y with stride 2.

    Every second row and column of x is a convolution of y with 2 by 2 taps of its own.
    """
    turned = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    product, none = product_of(x.dtype), np.zeros(x.shape[3], x.dtype)
    blocks = (-(-x.shape[1] // 4), -(-x.shape[2] // 4))
    for a in range(2):
        for b in range(2):
            (i, p), (j, q) = divmod(a + padding[0], 2), divmod(b + padding[1], 2)
            F, origin = _filters(turned[:, :, 1 - p :: 2, 1 - q :: 2], 1), (i - 1, j - 1)
            _convolve(product, y, F, none, x, blocks, 2, 1, origin, 2, (a, b), BLOCKS, threads())


def conv2d_weight(x: Array, y: Array, kernel: int, stride: int, padding: Pair) -> Array:
    """Return the gradient of the weight, [D, k, k, C]."""
    blocks = (-(-y.shape[1] // 2), -(-y.shape[2] // 2))
    taps, c, d = kernel // stride, x.shape[3], y.shape[3]
    tile = MANY
    n_threads = min(threads(), -(-len(x) * blocks[0] * blocks[1] // tile))  # a tile for each
    parts = np.empty((n_threads, (taps + 1) ** 2, d, stride * stride * c), x.dtype)
    product, origin = product_of(x.dtype), (-padding[0], -padding[1])
    _correlate(product, x, y, parts, blocks, taps, stride, origin, tile, n_threads)
    w = np.empty((d, kernel, kernel, c), x.dtype)
    _spread_taps(parts, w, taps, stride)
    return w
