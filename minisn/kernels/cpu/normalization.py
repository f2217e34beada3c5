"""Moments over all axes but the channels', and what batch normalization does with them.

Channels lie innermost in memory, so images are rows of channels. Sums are taken in double
precision, each thread over its own rows, then over the threads in order.
"""

import numpy as np
from numba import njit, prange

from .. import array_api
from .pool import SMALL, in_one_pool, read_only, threads

Array = np.ndarray
Axes = tuple[int, ...]


def _channel(x: Array, axes: Axes) -> int | None:
    """Return the one axis that is not averaged over, or None where NumPy does as well."""
    kept = [a for a in range(x.ndim) if a not in axes]
    return kept[0] if len(kept) == 1 and x.size >= SMALL else None


def _kept(x: Array, axes: Axes) -> tuple[int, ...]:
    """Return the shape of x after a sum over axes that are kept with size 1."""
    return tuple(1 if a in axes else n for a, n in enumerate(x.shape))


def _rows(x: Array, channel: int) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, channel, -1)).reshape(-1, x.shape[channel])


def _back(rows: Array, like: Array, channel: int) -> Array:
    """Give rows of channels the shape of ``like`` back, without moving them."""
    return np.moveaxis(rows.reshape(np.moveaxis(like, channel, -1).shape), -1, channel)


@njit(cache=True, nogil=True, parallel=True)
def _sums(x, n_threads):
    """Sum the rows, each thread its own."""
    rows, channels = x.shape
    parts = np.zeros((n_threads, channels))
    for t in prange(n_threads):
        for i in range(t * rows // n_threads, (t + 1) * rows // n_threads):
            for c in range(channels):
                parts[t, c] += x[i, c]
    return parts


@njit(cache=True, nogil=True, parallel=True)
def _products(x, y, mean, n_threads):
    """Sum (x - mean)(y - mean) over the rows, each thread its own."""
    rows, channels = x.shape
    parts = np.zeros((n_threads, channels))
    for t in prange(n_threads):
        for i in range(t * rows // n_threads, (t + 1) * rows // n_threads):
            for c in range(channels):
                parts[t, c] += (x[i, c] - mean[c]) * (y[i, c] - mean[c])
    return parts


def _total(x: Array) -> Array:
    return _sums(read_only(x), threads()).sum(axis=0)


def _total_product(x: Array, y: Array, mean: Array) -> Array:
    return _products(read_only(x), read_only(y), mean, threads()).sum(axis=0)


@njit(cache=True, nogil=True, parallel=True)
def _standardize(x, mean, spread, y):
    for i in prange(x.shape[0]):
        for c in range(x.shape[1]):
            y[i, c] = (x[i, c] - mean[c]) / spread[c]


@njit(cache=True, nogil=True, parallel=True)
def _standardize_pull(g, y, mean, along, spread, out):
    for i in prange(g.shape[0]):
        for c in range(g.shape[1]):
            out[i, c] = (g[i, c] - mean[c] - y[i, c] * along[c]) / spread[c]


@njit(cache=True, nogil=True, parallel=True)
def _affine(x, gain, shift, y):
    for i in prange(x.shape[0]):
        for c in range(x.shape[1]):
            y[i, c] = gain[c] * x[i, c] + shift[c]


@in_one_pool
def sum(x: Array, axes: Axes) -> Array:
    """Sum over some axes, which are kept with size 1."""
    channel = _channel(x, axes)
    if channel is None:
        return array_api.sum(x, axes)
    total = _total(_rows(x, channel)).astype(x.dtype)
    return total.reshape(_kept(x, axes))


@in_one_pool
def sum_products(x: Array, y: Array, axes: Axes) -> Array:
    """Sum products over some axes, which are kept with size 1."""
    channel = _channel(x, axes)
    if channel is None:
        return array_api.sum_products(x, y, axes)
    total = _total_product(_rows(x, channel), _rows(y, channel), np.zeros(x.shape[channel]))
    return total.astype(x.dtype).reshape(_kept(x, axes))


@in_one_pool
def affine(x: Array, gain: Array, shift: Array) -> Array:
    """Multiply by a gain and add a shift."""
    channel = _channel(x, tuple(a for a, n in enumerate(gain.shape) if n == 1))
    if channel is None or gain.ndim < x.ndim or shift.shape not in ((), gain.shape):
        return array_api.affine(x, gain, shift)
    rows = _rows(x, channel)
    y, each = np.empty_like(rows), (x.shape[channel],)
    by_channel = (np.broadcast_to(a.reshape(-1), each) for a in (gain, shift))
    gain, shift = (read_only(np.ascontiguousarray(a)) for a in by_channel)
    _affine(read_only(rows), gain, shift, y)
    return _back(y, x, channel)


@in_one_pool
def moments(x: Array, axes: Axes) -> tuple[Array, Array]:
    """Return mean and variance over some axes, which are kept with size 1."""
    channel = _channel(x, axes)
    if channel is None:
        return array_api.moments(x, axes)
    rows = _rows(x, channel)
    shape = _kept(x, axes)
    mean = _total(rows) / len(rows)
    variance = _total_product(rows, rows, mean) / len(rows)
    return mean.astype(x.dtype).reshape(shape), variance.astype(x.dtype).reshape(shape)


@in_one_pool
def standardize(x: Array, mean: Array, spread: Array) -> Array:
    """Subtract the mean and divide by the spread."""
    channel = _channel(x, tuple(a for a, n in enumerate(mean.shape) if n == 1))
    if channel is None:
        return array_api.standardize(x, mean, spread)
    rows = _rows(x, channel)
    y = np.empty_like(rows)
    _standardize(rows, mean.reshape(-1), spread.reshape(-1), y)
    return _back(y, x, channel)


@in_one_pool
def standardize_pull(g: Array, y: Array, spread: Array, axes: Axes) -> Array:
    """Pull a gradient back through standardization."""
    channel = _channel(g, axes)
    if channel is None:
        return array_api.standardize_pull(g, y, spread, axes)
    g_rows, y_rows = _rows(g, channel), _rows(y, channel)
    zero = np.zeros(g.shape[channel])
    mean = (_total(g_rows) / len(g_rows)).astype(g.dtype)
    along = (_total_product(g_rows, y_rows, zero) / len(g_rows)).astype(g.dtype)
    out = np.empty_like(g_rows)
    _standardize_pull(g_rows, y_rows, mean, along, spread.reshape(-1), out)
    return _back(out, g, channel)
