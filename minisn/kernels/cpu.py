"""The kernels for NumPy arrays, in Numba and BLAS.

Images are kept channels-last in memory, [N, H, W, C], under the [N, C, H, W] view
that the rest of the library sees: the patch of a pixel is then a few long runs, and
a batch of patches is a matrix that is gathered by plain copies.

There is one pool of threads, Numba's. Each of its threads gathers a tile of patches
into a buffer of its own and multiplies it with single-threaded BLAS; a second pool
inside BLAS would spin against the first. Sums are taken in an order that depends on
the number of threads only, so equal seeds give equal bits.
"""

import functools
import importlib
import threading
from contextlib import contextmanager

import numba
import numpy as np
from numba import njit, prange
from threadpoolctl import ThreadpoolController

from . import array_api

Pair = tuple[int, int]
Array = np.ndarray

_pool = threading.RLock()  # Numba's portable thread pool takes one caller at a time


importlib.import_module("scipy.linalg.cython_blas")  # Numba's products go to SciPy's BLAS
_blas = ThreadpoolController().select(user_api="blas")


@contextmanager
def one_pool():
    """Hold BLAS to one thread, and Numba's pool to one caller; then give both back."""
    with _pool, _blas.limit(limits=1):
        yield


def _one_pool(kernel):
    """Run a kernel whose threads call BLAS in :func:`one_pool`."""

    @functools.wraps(kernel)
    def wrapper(*args):
        with one_pool():
            return kernel(*args)

    return wrapper


# -- convolution ---------------------------------------------------------------------


def _channels_last(x: Array) -> Array:
    """Return images as a contiguous [N, H, W, C], without a copy where they are already."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def _filters(w: Array) -> Array:
    """Return the weight as rows as long as a patch, in the order of its runs."""
    return np.ascontiguousarray(w.transpose(0, 2, 3, 1)).reshape(len(w), -1)


def _tile(rows: int, threads: int, width: int) -> int:
    """Choose how many patches are multiplied at once: a few hundred, even among threads."""
    return max(1, min(512, -(-rows // threads), 1 + (1 << 20) // width))


@njit(cache=True, nogil=True)
def _gather(x, cols, first, last, out, kernel, stride, padding):
    """Lay the patches of output pixels first..last side by side as rows of cols."""
    _, h, w, c = x.shape
    flat = x.reshape(-1)
    run = kernel[1] * c
    for m in range(first, last):
        row = cols[m - first]
        n, pixel = divmod(m, out[0] * out[1])
        i, j = divmod(pixel, out[1])
        left = stride[1] * j - padding[1]
        lo, hi = max(0, -left) * c, min(kernel[1], w - left) * c
        for p in range(kernel[0]):
            r = stride[0] * i + p - padding[0]
            at = p * run
            if r < 0 or r >= h:
                row[at : at + run] = 0
                continue
            start = ((n * h + r) * w + left) * c
            for k in range(lo):
                row[at + k] = 0
            for k in range(lo, hi):
                row[at + k] = flat[start + k]
            for k in range(hi, run):
                row[at + k] = 0


@njit(cache=True, nogil=True)
def _spread(cols, x, first, last, out, kernel, stride, padding):
    """Add the rows of cols to the patches of output pixels first..last: gather's adjoint."""
    _, h, w, c = x.shape
    flat = x.reshape(-1)
    run = kernel[1] * c
    for m in range(first, last):
        row = cols[m - first]
        n, pixel = divmod(m, out[0] * out[1])
        i, j = divmod(pixel, out[1])
        left = stride[1] * j - padding[1]
        lo, hi = max(0, -left) * c, min(kernel[1], w - left) * c
        for p in range(kernel[0]):
            r = stride[0] * i + p - padding[0]
            if r < 0 or r >= h:
                continue
            start = ((n * h + r) * w + left) * c
            at = p * run
            for k in range(lo, hi):
                flat[start + k] += row[at + k]


@njit(cache=True, nogil=True, parallel=True)
def _conv2d(x, w, y, out, kernel, stride, padding, tile, threads):
    rows = y.shape[0]
    tiles = -(-rows // tile)
    for t in prange(threads):
        cols = np.empty((tile, w.shape[1]), x.dtype)
        for k in range(t * tiles // threads, (t + 1) * tiles // threads):
            first, last = k * tile, min((k + 1) * tile, rows)
            _gather(x, cols, first, last, out, kernel, stride, padding)
            np.dot(cols[: last - first], w.T, y[first:last])


@njit(cache=True, nogil=True, parallel=True)
def _conv2d_transpose(y, w, x, out, kernel, stride, padding, tile, threads):
    images = x.shape[0]
    pixels = out[0] * out[1]
    for t in prange(threads):
        cols = np.empty((tile, w.shape[1]), x.dtype)
        begin, end = t * images // threads * pixels, (t + 1) * images // threads * pixels
        for first in range(begin, end, tile):
            last = min(first + tile, end)
            np.dot(y[first:last], w, cols[: last - first])
            _spread(cols, x, first, last, out, kernel, stride, padding)


@njit(cache=True, nogil=True, parallel=True)
def _conv2d_weight(x, y, parts, out, kernel, stride, padding, tile, threads):
    rows = y.shape[0]
    tiles = -(-rows // tile)
    for t in prange(threads):
        cols = np.empty((tile, parts.shape[2]), x.dtype)
        product = np.empty_like(parts[t])
        begin = t * tiles // threads
        for k in range(begin, (t + 1) * tiles // threads):
            first, last = k * tile, min((k + 1) * tile, rows)
            _gather(x, cols, first, last, out, kernel, stride, padding)
            if k == begin:
                np.dot(y[first:last].T, cols[: last - first], parts[t])
            else:
                np.dot(y[first:last].T, cols[: last - first], product)
                parts[t] += product


@_one_pool
def conv2d(x: Array, w: Array, stride: Pair, padding: Pair) -> Array:
    r"""Compute :math:`Y = X_{patches} W^T`, tile by tile."""
    (n, _, h, width), (d_out, _, *kernel) = x.shape, w.shape
    out = (
        (h + 2 * padding[0] - kernel[0]) // stride[0] + 1,
        (width + 2 * padding[1] - kernel[1]) // stride[1] + 1,
    )
    filters = _filters(w)
    y = np.empty((n * out[0] * out[1], d_out), x.dtype)
    threads = numba.get_num_threads()
    tile = _tile(len(y), threads, filters.shape[1])
    _conv2d(_channels_last(x), filters, y, out, tuple(kernel), stride, padding, tile, threads)
    return y.reshape(n, *out, d_out).transpose(0, 3, 1, 2)


@_one_pool
def conv2d_transpose(
    y: Array, w: Array, stride: Pair, padding: Pair, output_padding: Pair
) -> Array:
    r"""Compute the patches :math:`Y W` and add each to the pixels it came from, tile by tile."""
    (n, _, *out), (d_out, d_in, *kernel) = y.shape, w.shape
    size = [
        s * (m - 1) + k - 2 * a + extra
        for s, m, k, a, extra in zip(stride, out, kernel, padding, output_padding, strict=True)
    ]
    filters = _filters(w)
    x = np.zeros((n, *size, d_in), y.dtype)
    rows = _channels_last(y).reshape(-1, d_out)
    threads = numba.get_num_threads()
    tile = _tile(len(rows), threads, filters.shape[1])
    _conv2d_transpose(rows, filters, x, tuple(out), tuple(kernel), stride, padding, tile, threads)
    return x.transpose(0, 3, 1, 2)


@_one_pool
def conv2d_weight(x: Array, y: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    r"""Compute :math:`W = Y^T X_{patches}`, each thread over its own rows, then summed in order."""
    d_in, (_, d_out, *out) = x.shape[1], y.shape
    rows = _channels_last(y).reshape(-1, d_out)
    threads = numba.get_num_threads()
    tile = _tile(len(rows), threads, kernel[0] * kernel[1] * d_in)
    parts = np.zeros((threads, d_out, kernel[0] * kernel[1] * d_in), x.dtype)
    _conv2d_weight(_channels_last(x), rows, parts, tuple(out), kernel, stride, padding, tile,
                   threads)  # fmt: skip
    return parts.sum(axis=0).reshape(d_out, *kernel, d_in).transpose(0, 3, 1, 2)


# -- power iteration -------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _power_iteration(W, u, n):
    v = np.dot(W.T, u)
    for _ in range(n):
        v = np.dot(W.T, u)
        norm = np.sqrt(np.dot(v, v))
        if norm > 0:
            v /= norm
        u = np.dot(W, v)
        norm = np.sqrt(np.dot(u, u))
        if norm > 0:
            u /= norm
    return u, v, np.dot(u, np.dot(W, v))


@_one_pool
def power_iteration(W: Array, u: Array, n: int) -> tuple[Array, Array, Array]:
    """Run n rounds of (18) and return (u, v, sigma)."""
    u, v, sigma = _power_iteration(np.ascontiguousarray(W), np.ascontiguousarray(u), n)
    return u, v, np.asarray(sigma, W.dtype)


# -- entry by entry ----------------------------------------------------------------------


def _flat(x: Array, like: Array | None = None) -> tuple[Array, tuple[int, ...]]:
    """Return the entries in memory order (of ``like``), and the order of axes that this is."""
    model = x if like is None else like
    order = tuple(sorted(range(x.ndim), key=lambda axis: -model.strides[axis]))
    return np.ascontiguousarray(x.transpose(order)).reshape(-1), order


def _unflat(flat: Array, shape: tuple[int, ...], order: tuple[int, ...]) -> Array:
    inverse = tuple(order.index(axis) for axis in range(len(order)))
    return flat.reshape(tuple(shape[axis] for axis in order)).transpose(inverse)


@njit(cache=True, nogil=True, parallel=True)
def _leaky_relu(x, slope):
    y = np.empty_like(x)
    for i in prange(x.size):
        y[i] = x[i] if x[i] > 0 else slope * x[i]
    return y


@njit(cache=True, nogil=True, parallel=True)
def _leaky_relu_pull(g, x, slope):
    y = np.empty_like(g)
    for i in prange(g.size):
        y[i] = g[i] if x[i] > 0 else slope * g[i]
    return y


@_one_pool
def leaky_relu(x: Array, slope: float) -> Array:
    """Keep positive entries, scale the others."""
    flat, order = _flat(x)
    return _unflat(_leaky_relu(flat, x.dtype.type(slope)), x.shape, order)


@_one_pool
def leaky_relu_pull(g: Array, x: Array, slope: float) -> Array:
    """Keep g where x is positive, scale it elsewhere."""
    flat, order = _flat(x)
    y = _leaky_relu_pull(_flat(g, like=x)[0], flat, x.dtype.type(slope))
    return _unflat(y, x.shape, order)


@njit(cache=True, nogil=True)
def _scatter_add(values, places, size):
    y = np.zeros(size, values.dtype)
    for i in range(values.size):
        y[places[i]] += values[i]
    return y


def scatter_add(values: Array, places: Array, size: int) -> Array:
    """Sum the values that go to each place."""
    return _scatter_add(np.ascontiguousarray(values), np.ascontiguousarray(places), size)


@njit(cache=True, nogil=True, parallel=True)
def _adam(theta, g, m, v, rate, beta1, beta2, eps):
    new_theta, new_m, new_v = np.empty_like(theta), np.empty_like(m), np.empty_like(v)
    one = theta.dtype.type(1)
    for i in prange(theta.size):
        new_m[i] = beta1 * m[i] + (one - beta1) * g[i]
        new_v[i] = beta2 * v[i] + (one - beta2) * g[i] * g[i]
        new_theta[i] = theta[i] - rate * new_m[i] / (np.sqrt(new_v[i]) + eps)
    return new_theta, new_m, new_v


@_one_pool
def adam(theta, g, m, v, rate: float, beta1: float, beta2: float, eps: float):
    """Make one Adam step on flat arrays; returns the new (theta, m, v)."""
    number = theta.dtype.type
    return _adam(theta, g, m, v, number(rate), number(beta1), number(beta2), number(eps))


moments = array_api.moments
standardize = array_api.standardize
