"""Power iteration, compiled."""

import numpy as np
from numba import njit

from .pool import in_one_pool

Array = np.ndarray


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


@in_one_pool
def power_iteration(W: Array, u: Array, n: int) -> tuple[Array, Array, Array]:
    """Run n rounds of (18) and return (u, v, sigma)."""
    u, v, sigma = _power_iteration(np.ascontiguousarray(W), np.ascontiguousarray(u), n)
    return u, v, np.asarray(sigma, W.dtype)
