"""Power iteration and the gradient of a normalized weight, compiled.

Both are bound by memory, and each thread takes some of the rows. A round reads the weight twice;
the gradient is read twice and written once.
"""

import numpy as np
from numba import njit, prange

from ...errors import ShapeError
from .pool import SMALL, alike, in_one_pool, read_only, threads

Array = np.ndarray


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(a, b):
    """Sum products in any order, so that the compiler can add them as vectors."""
    total = a.dtype.type(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True)
def _normalize(a, like):
    """Set a to another vector divided by its norm, or leave a unchanged if that vector is 0.

    The division by the largest entry comes first, so that no square overflows.
    """
    largest = a.dtype.type(0)
    for entry in like:
        largest = max(largest, abs(entry))
    if largest > 0:
        for i in range(a.size):
            a[i] = like[i] / largest
        norm = np.sqrt(_dot(a, a))
        for i in range(a.size):
            a[i] /= norm


@njit(cache=True, nogil=True)
def _add_rows(W, u, first, last, total):
    """Add up rows first..last times their entries of u, four rows at once to touch total less."""
    total[:] = 0
    whole = last - (last - first) % 4
    for i in range(first, whole, 4):
        a, b, c, d = W[i], W[i + 1], W[i + 2], W[i + 3]
        for j in range(total.size):
            total[j] += (u[i] * a[j] + u[i + 1] * b[j]) + (u[i + 2] * c[j] + u[i + 3] * d[j])
    for i in range(whole, last):
        row = W[i]
        for j in range(total.size):
            total[j] += u[i] * row[j]


@njit(cache=True, nogil=True, parallel=True)
def _power_iteration(W, u, n, n_threads):
    rows, columns = W.shape
    parts, Wv = np.empty((n_threads, columns), W.dtype), np.empty(rows, W.dtype)
    v, u = np.empty(columns, W.dtype), u.copy()
    for _ in range(n):
        for t in prange(n_threads):
            _add_rows(W, u, t * rows // n_threads, (t + 1) * rows // n_threads, parts[t])
        for j in range(columns):
            v[j] = 0
            for t in range(n_threads):
                v[j] += parts[t, j]
        _normalize(v, v)
        for t in prange(n_threads):
            for i in range(t * rows // n_threads, (t + 1) * rows // n_threads):
                Wv[i] = _dot(W[i], v)
        _normalize(u, Wv)
    return u, v, _dot(u, Wv)


@in_one_pool
def power_iteration(W: Array, u: Array, n: int) -> tuple[Array, Array, Array]:
    """Run n rounds of (18) and return (u, v, sigma)."""
    if u.shape != W.shape[:1]:
        raise ShapeError(
            f"power_iteration: weight {list(W.shape)} expects a u of "
            f"{len(W)} entries, got {list(u.shape)}"
        )
    W, u = (read_only(np.ascontiguousarray(a, W.dtype)) for a in (W, u))
    u, v, sigma = _power_iteration(W, u, n, threads() if W.size >= SMALL else 1)
    return u, v, np.asarray(sigma, W.dtype)


@njit(cache=True, nogil=True, parallel=True)
def _spectral_pull(g, W, r, u, v, scale, o, n_threads):
    rows = len(g)
    parts, total = np.empty(n_threads), 0.0
    for t in prange(n_threads):
        parts[t] = 0
        for i in range(t * rows // n_threads, (t + 1) * rows // n_threads):
            parts[t] += _dot(g[i], W[i])
    for part in parts:
        total += part
    along, factor = g.dtype.type(total * r), scale * r
    for t in prange(n_threads):
        for i in range(t * rows // n_threads, (t + 1) * rows // n_threads):
            share, columns = along * u[i % len(u)], v[i // len(u)]
            for j in range(columns.size):
                o[i, j] = factor * (g[i, j] - share * columns[j])


@in_one_pool
def spectral_pull(g: Array, W: Array, r: Array | float, u: Array, v: Array, scale: float) -> Array:
    """Pull a gradient back through the division of a weight by its spectral norm."""
    alike("spectral_pull", g, W)
    alike("spectral_pull", np.empty((g.shape[0], g.shape[-1]), g.dtype), v)
    alike("spectral_pull", np.empty(g.shape[1], g.dtype), u)
    number, o = g.dtype.type, np.empty(g.shape, g.dtype)
    flat = (-1, g.shape[-1])
    g, W, u, v = (read_only(np.ascontiguousarray(a)) for a in (g, W, u, v))
    n_threads = threads() if g.size >= SMALL else 1
    _spectral_pull(
        g.reshape(flat), W.reshape(flat), number(r), u, v, number(scale), o.reshape(flat), n_threads
    )
    return o
