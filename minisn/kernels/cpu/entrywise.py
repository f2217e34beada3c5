"""Operations that touch every entry once, as one pass over memory in all threads.

NumPy allocates the results, because NumPy asks for large pages and compiled code does not. Where
a program needs so much memory that freed arrays go back to the system between two steps, compiled
code takes four times as long to allocate and fill new ones (``tests/benchmarks/kernels.py``).
With NumPy's leaky ReLU a step of Table 3's networks takes 1.81 of the time
(``tests/benchmarks/tricks.py``).
"""

import numpy as np
from numba import njit, prange

from ...errors import ShapeError
from .. import array_api
from .pool import SMALL, alike, in_one_pool, read_only

Array = np.ndarray


def flat(x: Array, like: Array | None = None) -> tuple[Array, tuple[int, ...]]:
    """Return the entries in memory order, of ``like`` if given, and that order of the axes."""
    model = x if like is None else like
    order = tuple(sorted(range(x.ndim), key=lambda axis: -model.strides[axis]))
    return np.ascontiguousarray(x.transpose(order)).reshape(-1), order


def unflat(entries: Array, shape: tuple[int, ...], order: tuple[int, ...]) -> Array:
    """Return entries in memory order in their original shape, without a copy."""
    inverse = tuple(order.index(axis) for axis in range(len(order)))
    return entries.reshape(tuple(shape[axis] for axis in order)).transpose(inverse)


@njit(cache=True, nogil=True, parallel=True)
def _leaky_relu(x, slope, y):
    if slope == 0:  # 0 times an infinity would be a NaN
        for i in prange(x.size):
            y[i] = slope if x[i] <= 0 else x[i]
    else:
        for i in prange(x.size):
            y[i] = slope * x[i] if x[i] <= 0 else x[i]


@njit(cache=True, nogil=True, parallel=True)
def _leaky_relu_pull(g, x, slope, y):
    if slope == 0:
        for i in prange(g.size):
            y[i] = slope if x[i] <= 0 else g[i]
    else:
        for i in prange(g.size):
            y[i] = slope * g[i] if x[i] <= 0 else g[i]


@in_one_pool
def leaky_relu(x: Array, slope: float) -> Array:
    """Keep positive entries, scale the others."""
    if x.size < SMALL:
        return array_api.leaky_relu(x, slope)
    entries, order = flat(x)
    y = np.empty_like(entries)
    _leaky_relu(entries, x.dtype.type(slope), y)
    return unflat(y, x.shape, order)


@in_one_pool
def leaky_relu_pull(g: Array, x: Array, slope: float) -> Array:
    """Keep g where x is positive, scale it elsewhere."""
    alike("leaky_relu_pull", x, g)
    if x.size < SMALL:
        return array_api.leaky_relu_pull(g, x, slope)
    entries, order = flat(x)
    y = np.empty_like(entries)
    _leaky_relu_pull(flat(g, like=x)[0], entries, x.dtype.type(slope), y)
    return unflat(y, x.shape, order)


@njit(cache=True, nogil=True, parallel=True, fastmath={"reassoc"})
def _trace(x):
    total = x.dtype.type(0)
    for i in prange(x.size):
        total += x[i] - x[i]  # a NaN, or 0
    return total


@in_one_pool
def all_finite(x: Array) -> bool:
    """Return whether no entry is a NaN or an infinity, in one pass: both leave a NaN of x - x."""
    if x.size < SMALL or not x.flags.c_contiguous:
        return array_api.all_finite(x)
    return bool(_trace(read_only(x.reshape(-1))) == 0)


@njit(cache=True, nogil=True)
def _scatter_add(values, places, size):
    y, outside = np.zeros(size, values.dtype), 0
    for i in range(values.size):
        if 0 <= places[i] < size:
            y[places[i]] += values[i]
        else:
            outside += 1
    return y, outside


def scatter_add(values: Array, places: Array, size: int) -> Array:
    """Sum the values that go to each place."""
    if values.shape != places.shape or values.ndim != 1 or places.dtype.kind not in "iu":
        raise ShapeError(
            f"scatter_add: expected n values and n places, all integers, got values "
            f"{list(values.shape)} and places {list(places.shape)} of {places.dtype}"
        )
    y, outside = _scatter_add(np.ascontiguousarray(values), np.ascontiguousarray(places), size)
    if outside:
        raise ShapeError(
            f"scatter_add: places must be 0 to {size - 1}, got {places.min()} to {places.max()}"
        )
    return y


@njit(cache=True, nogil=True, parallel=True)
def _adam(theta, g, m, v, new, new_m, new_v, rate, beta1, rest1, beta2, rest2, eps):
    for i in prange(theta.size):
        new_m[i] = beta1 * m[i] + rest1 * g[i]
        new_v[i] = beta2 * v[i] + rest2 * g[i] * g[i]
        new[i] = theta[i] - rate * new_m[i] / (np.sqrt(new_v[i]) + eps)


@in_one_pool
def adam(theta, g, m, v, rate: float, beta1: float, beta2: float, eps: float):
    """Make one Adam step on flat arrays; return the new theta, m and v."""
    alike("adam", theta, g, m, v)
    if theta.size < SMALL:
        return array_api.adam(theta, g, m, v, rate, beta1, beta2, eps)
    settings = (rate, beta1, 1 - beta1, beta2, 1 - beta2, eps)
    new = [np.empty_like(theta) for _ in range(3)]
    _adam(*map(read_only, (theta, g, m, v)), *new, *map(theta.dtype.type, settings))
    return tuple(new)
