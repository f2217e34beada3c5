"""Operations that touch every entry once, as one pass over memory in all threads.

NumPy makes the arrays that they fill: it asks for large pages, and compiled code does not. Once
so much is in use that memory goes back to the system between two steps, to make and fill it anew
takes compiled code four times as long (``tests/benchmarks/kernels.py``).
"""

import numpy as np
from numba import njit, prange

from .. import array_api
from .pool import SMALL, in_one_pool

Array = np.ndarray


def flat(x: Array, like: Array | None = None) -> tuple[Array, tuple[int, ...]]:
    """Return the entries in memory order (of ``like``), and the order of axes that this is."""
    model = x if like is None else like
    order = tuple(sorted(range(x.ndim), key=lambda axis: -model.strides[axis]))
    return np.ascontiguousarray(x.transpose(order)).reshape(-1), order


def unflat(entries: Array, shape: tuple[int, ...], order: tuple[int, ...]) -> Array:
    """Give entries in memory order their shape back, without moving them."""
    inverse = tuple(order.index(axis) for axis in range(len(order)))
    return entries.reshape(tuple(shape[axis] for axis in order)).transpose(inverse)


@njit(cache=True, nogil=True, parallel=True)
def _leaky_relu(x, slope, y):
    for i in prange(x.size):
        y[i] = x[i] if not x[i] <= 0 else slope * x[i] if slope != 0 else slope


@njit(cache=True, nogil=True, parallel=True)
def _leaky_relu_pull(g, x, slope, y):
    for i in prange(g.size):
        y[i] = g[i] if not x[i] <= 0 else slope * g[i] if slope != 0 else slope


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
    if x.size < SMALL:
        return array_api.leaky_relu_pull(g, x, slope)
    entries, order = flat(x)
    y = np.empty_like(entries)
    _leaky_relu_pull(flat(g, like=x)[0], entries, x.dtype.type(slope), y)
    return unflat(y, x.shape, order)


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
def _adam(theta, g, m, v, new, rate, beta1, rest1, beta2, rest2, eps):
    for i in prange(theta.size):
        m[i] = beta1 * m[i] + rest1 * g[i]
        v[i] = beta2 * v[i] + rest2 * g[i] * g[i]
        new[i] = theta[i] - rate * m[i] / (np.sqrt(v[i]) + eps)


@in_one_pool
def adam(theta, g, m, v, rate: float, beta1: float, beta2: float, eps: float):
    """Make one Adam step on flat arrays; returns the new theta, and writes over m and v.

    It is bound by memory, and two arrays that are not made anew are memory saved.
    """
    if theta.size < SMALL:
        return array_api.adam(theta, g, m, v, rate, beta1, beta2, eps)
    settings = (rate, beta1, 1 - beta1, beta2, 1 - beta2, eps)
    new = np.empty_like(theta)
    _adam(theta, g, m, v, new, *map(theta.dtype.type, settings))
    return new
