"""Power iteration, compiled."""

import numpy as np
from numba import njit

from .pool import in_one_pool, read_only

Array = np.ndarray


@njit(cache=True, nogil=True)
def _normalize(a):
    """Divide by the norm, and by the largest entry first, so that no square overflows."""
    largest = a.dtype.type(0)
    for entry in a:
        largest = max(largest, abs(entry))
    if largest > 0:
        a /= largest
        a /= np.sqrt(np.dot(a, a))
    return a


@njit(cache=True, nogil=True)
def _power_iteration(W, u, n):
    for _ in range(n):
        v = _normalize(np.dot(W.T, u))
        Wv = np.dot(W, v)
        u = _normalize(Wv.copy())
    return u, v, np.dot(u, Wv)


@in_one_pool
def power_iteration(W: Array, u: Array, n: int) -> tuple[Array, Array, Array]:
    """Run n rounds of (18) and return (u, v, sigma)."""
    W, u = (read_only(np.ascontiguousarray(a)) for a in (W, u))
    u, v, sigma = _power_iteration(W, u, n)
    return u, v, np.asarray(sigma, W.dtype)
