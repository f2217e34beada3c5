"""Moments, and normalization by them.

Channels lie innermost in memory, so images are rows of channels. Sums are taken in double
precision, each thread over its own rows, then over the threads in order. With NumPy in its place
a step of ``mnist`` takes 1.35 of the time (``tests/benchmarks/tricks.py``).
"""

import math

import numpy as np
from numba import njit, prange

from .. import array_api
from .pool import SMALL, alike, in_one_pool, read_only, threads

Array = np.ndarray
Axes = tuple[int, ...]


def _channel(x: Array, axes: Axes) -> int | None:
    """Return the only axis that is kept, or None where NumPy is as fast."""
    kept = [a for a in range(x.ndim) if a not in axes]
    return kept[0] if len(kept) == 1 and x.size >= SMALL else None


def _kept(x: Array, axes: Axes) -> tuple[int, ...]:
    """Return the shape of x after a sum over axes that are kept with size 1."""
    return tuple(1 if a in axes else n for a, n in enumerate(x.shape))


def _rows(x: Array, channel: int) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, channel, -1)).reshape(-1, x.shape[channel])


def _back(rows: Array, like: Array, channel: int) -> Array:
    """Return rows of channels in the shape of ``like``, without a copy."""
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
def _squares(x, mean, n_threads):
    """Sum (x - mean)^2 over the rows, each thread its own."""
    rows, channels = x.shape
    parts = np.zeros((n_threads, channels))
    for t in prange(n_threads):
        for i in range(t * rows // n_threads, (t + 1) * rows // n_threads):
            for c in range(channels):
                parts[t, c] += (x[i, c] - mean[c]) ** 2
    return parts


def _total(x: Array) -> Array:
    return _sums(read_only(x), threads()).sum(axis=0)


@njit(cache=True, nogil=True, parallel=True)
def _normalize(x, mean, factor, shift, y):
    for n in prange(x.shape[0]):
        for i in range(x.shape[1]):
            for c in range(x.shape[2]):
                y[n, i, c] = (x[n, i, c] - mean[n, c]) * factor[n, c] + shift[n, c]


@njit(cache=True, nogil=True, parallel=True)
def _sums_by_item(g, x, mean):
    """Sum g and g (x - mean) over the pixels of each item."""
    level = np.zeros((x.shape[0], x.shape[2]))
    along = np.zeros((x.shape[0], x.shape[2]))
    for n in prange(x.shape[0]):
        for i in range(x.shape[1]):
            for c in range(x.shape[2]):
                level[n, c] += g[n, i, c]
                along[n, c] += g[n, i, c] * (x[n, i, c] - mean[n, c])
    return level, along


@njit(cache=True, nogil=True, parallel=True)
def _blend(g, x, mean, of_g, of_x, of_one, y):
    for n in prange(x.shape[0]):
        for i in range(x.shape[1]):
            for c in range(x.shape[2]):
                y[n, i, c] = (
                    of_g[n, c] * g[n, i, c] + of_x[n, c] * (x[n, i, c] - mean[n, c]) + of_one[n, c]
                )


@in_one_pool
def sum(x: Array, axes: Axes) -> Array:
    """Sum over some axes, which are kept with size 1."""
    channel = _channel(x, axes)
    if channel is None:
        return array_api.sum(x, axes)
    total = _total(_rows(x, channel)).astype(x.dtype)
    return total.reshape(_kept(x, axes))


@in_one_pool
def moments(x: Array, axes: Axes) -> tuple[Array, Array]:
    """Return mean and variance over some axes, which are kept with size 1."""
    channel = _channel(x, axes)
    if channel is None:
        return array_api.moments(x, axes)
    rows = _rows(x, channel)
    shape = _kept(x, axes)
    mean = _total(rows) / len(rows)
    variance = _squares(read_only(rows), mean, threads()).sum(axis=0) / len(rows)
    return mean.astype(x.dtype).reshape(shape), variance.astype(x.dtype).reshape(shape)


def _items(x: Array) -> Array:
    """Lay out items [N, C, ...] as [N, pixels, C]."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(x.shape[0], -1, x.shape[1])


def _by_item(x: Array, a: Array) -> Array | None:
    """Return an array as one number for each item and channel of x, or None if it has more."""
    if a.ndim not in (0, x.ndim) or any(n != 1 for n in a.shape[2:]):
        return None
    return np.ascontiguousarray(np.broadcast_to(a.reshape(a.shape[:2]), x.shape[:2]))


def _fits(x: Array, *arrays: Array) -> list[Array] | None:
    """Return the arrays by item and channel, or None where NumPy computes the result."""
    if x.ndim < 2 or x.size < SMALL or any(a.dtype != x.dtype for a in arrays):
        return None
    found = [_by_item(x, a) for a in arrays]
    return None if any(a is None for a in found) else found  # type: ignore[return-value]


@in_one_pool
def normalize(x: Array, mean: Array, spread: Array, gain: Array, shift: Array) -> Array:
    """Shift and scale to given moments, then multiply by a gain and add a shift."""
    given = _fits(x, mean, gain / spread, shift)
    if given is None:
        return array_api.normalize(x, mean, spread, gain, shift)
    center, factor, level = map(read_only, given)
    items = read_only(_items(x))
    y = np.empty_like(items)
    _normalize(items, center, factor, level, y)
    return _back(y, x, 1)


@in_one_pool
def normalize_pull(
    g: Array, x: Array, mean: Array, spread: Array, gain: Array, shift: Array
) -> tuple[Array, Array, Array]:
    """Pull a gradient back through normalization: to x, the gain and the shift.

    The sums over the pixels of each item and channel give three numbers a, b and c for each item
    and channel; the gradient of x is a g + b (x - mean) + c.
    """
    alike("normalize_pull", x, g)
    given = _fits(x, mean, spread, gain, shift)
    if given is None:
        return array_api.normalize_pull(g, x, mean, spread, gain, shift)
    center, deviation, factor, _ = given
    g_items, items = read_only(_items(g)), read_only(_items(x))
    level, along = _sums_by_item(g_items, items, read_only(center))
    along /= deviation
    axes = tuple(a for a, n in enumerate(mean.shape[:2]) if n == 1)
    count = items.shape[1] * math.prod(items.shape[2 * a] for a in axes)
    of_one, of_x = (-np.sum(factor * s, axis=axes, keepdims=True) / count for s in (level, along))
    ones = np.ones_like(level)
    of_g, of_x, of_one = (
        read_only(np.ascontiguousarray(f, dtype=x.dtype))
        for f in (factor / deviation, of_x / deviation**2 * ones, of_one / deviation * ones)
    )
    out = np.empty_like(items)
    _blend(g_items, items, read_only(center), of_g, of_x, of_one, out)
    return (
        _back(out, x, 1),
        *(
            array_api.sum_to(s.astype(x.dtype).reshape(x.shape[:2] + (1,) * (x.ndim - 2)), a.shape)
            for s, a in ((along, gain), (level, shift))
        ),
    )
