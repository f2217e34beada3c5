r"""The reference: what the papers say, in double precision and NumPy alone.

A *divisor* is the number that divides a weight, with its gradient; a *semantics* is a rule for the
gradient of the quotient. Both have names, so that a wrong layer can be recognized.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .probes import KINDS, View, along, operator

ORDERS = ("v first", "u first")
"""The order of a round: (18) makes v from u, then u; the other makes u from v, then v."""

CONVERGED = 300
"""So many rounds count as the singular vectors themselves."""


def leading(matrix: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the leading singular vectors and value (u, sigma, v) of a matrix."""
    U, s, Vt = np.linalg.svd(matrix, full_matrices=False)
    return U[:, 0], float(s[0]), Vt[0]


def views(kind: str, definition: str = "SN") -> list[View]:
    """Return the matrices whose mean norm is the divisor of a definition.

    Args:
        kind: kind of the layer.
        definition: SN, BSN or SN_Conv.

    Source: M18 Eq. (8), L21 BSN, L21 SN_Conv
    """
    axis = KINDS[kind].axis
    if definition == "SN_Conv" and kind == "conv":
        return [operator()]
    if definition == "BSN" and kind in ("conv", "deconv"):
        return [along(kind, axis), along(kind, 1 - axis)]
    return [along(kind, axis)]


def norm(kind: str, W: np.ndarray, definition: str = "SN") -> tuple[float, np.ndarray]:
    r"""Return :math:`N(W)` and :math:`\nabla_W N`, by singular value decomposition.

    .. math:: N = \sigma_1, \qquad \nabla_W N = u_1v_1^T

    Args:
        kind, definition: as in :func:`views`.
        W: weight.

    Source: M18 Eq. (37), L21 BSN, L21 SN_Conv
    """
    seen = views(kind, definition)
    found = [(view, *leading(view.matrix(W))) for view in seen]
    value = sum(sigma for _, _, sigma, _ in found) / len(seen)
    return value, np.mean([view.back(np.outer(u, v)) for view, u, _, v in found], axis=0)


def unit(x: np.ndarray) -> np.ndarray:
    """Scale to length 1; zero stays zero."""
    length = np.linalg.norm(x)
    return x / length if length else x


def rounds(
    W: np.ndarray, u: np.ndarray, v: np.ndarray, order: str, n: int
) -> tuple[np.ndarray, np.ndarray]:
    r"""Make n rounds of power iteration with a matrix; return the new u and v.

    .. math:: v \leftarrow W^Tu/\|W^Tu\|, \qquad u \leftarrow Wv/\|Wv\|

    Args:
        W: [m, n].
        u, v: the last pair; the order decides which of the two counts.
        order: one of :data:`ORDERS`.
        n: number of rounds; from :data:`CONVERGED` on, the singular vectors.

    Source: M18 Eq. (18), (19), (20), (21)
    """
    if n >= CONVERGED:
        u, _, v = leading(W)
        return u, v
    for _ in range(n):
        if order == "v first":
            v = unit(W.T @ u)
            u = unit(W @ v)
        else:
            u = unit(W @ v)
            v = unit(W.T @ u)
    return u, v


def pull(
    semantics: str, G: np.ndarray, W: np.ndarray, sigma: float, slope: np.ndarray
) -> np.ndarray:
    r"""Return the gradient with respect to W under a semantics.

    .. math:: \frac{\partial V}{\partial W} = \frac1\sigma\big(\nabla_{\bar W}V
              - \mathrm{tr}((\nabla_{\bar W}V)^T\bar W)\,\nabla_WN\big)

    Args:
        semantics: one of :data:`SEMANTICS`; "constant" is (12).
        G: gradient with respect to the normalized weight.
        W: weight.
        sigma, slope: the divisor and its gradient.

    Source: M18 Eq. (9), (10), (11), (12), M18 Eq. (37)
    """
    lam = (G * W).sum() / sigma
    return SEMANTICS[semantics](G, lam, slope, sigma, W)


SEMANTICS: dict[str, Callable[..., np.ndarray]] = {
    "constant": lambda G, lam, slope, sigma, W: (G - lam * slope) / sigma,
    "overwritten": lambda G, lam, slope, sigma, W: G,
    "detached": lambda G, lam, slope, sigma, W: G / sigma,
    "sign": lambda G, lam, slope, sigma, W: (G + lam * slope) / sigma,
    "doubled": lambda G, lam, slope, sigma, W: (G - 2 * lam * slope) / sigma,
    "no 1/sigma": lambda G, lam, slope, sigma, W: G - lam * slope,
    "lambda of W": lambda G, lam, slope, sigma, W: (G - lam * sigma * slope) / sigma,
    "no lambda": lambda G, lam, slope, sigma, W: (G - slope) / sigma,
    "twice 1/sigma": lambda G, lam, slope, sigma, W: (G - lam * slope) / sigma**2,
    "frobenius": lambda G, lam, slope, sigma, W: (G - lam * sigma * W / (W * W).sum()) / sigma,
}
"""The known rules for the gradient; the first is (12)."""


def differences(f: Callable[[np.ndarray], Any], x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Differentiate a scalar function by central differences, entry by entry.

    Args:
        f: the function.
        x: the point, an array.
        step: half the distance of two points.
    """
    slope = np.zeros(x.shape)
    for at in np.ndindex(*x.shape):
        e = np.zeros(x.shape)
        e[at] = step
        slope[at] = (f(x + e) - f(x - e)) / (2 * step)
    return slope


def through(
    G: np.ndarray, W: np.ndarray, u: np.ndarray, v: np.ndarray, order: str, n: int
) -> np.ndarray:
    r"""Differentiate :math:`\langle G, W/\sigma\rangle` through the power steps, by differences.

    .. math:: \frac{d}{dW}\Big\langle G, \frac{W}{u_n(W)^T\,W\,v_n(W)}\Big\rangle

    Args:
        G, W: matrices.
        u, v, order, n: as in :func:`rounds`, before the rounds.

    Source: L21 BSN, M18 Eq. (18), (19)
    """

    def value(M: np.ndarray) -> float:
        a, b = rounds(M, u, v, order, n)
        return float((G * M).sum() / (a @ M @ b))

    return differences(value, W, 1e-5 * np.abs(W).max())


def second(
    G: np.ndarray, H: np.ndarray, W: np.ndarray, sigma: float, slope: np.ndarray
) -> np.ndarray:
    r"""Differentiate :math:`\langle H, \nabla_W\langle G, \bar W\rangle\rangle` at constant u, v.

    .. math:: -\frac{\langle G, H\rangle}{\sigma^2}N' - \frac{\langle H, N'\rangle}{\sigma^2}G
              + \frac{2\langle G, W\rangle\langle H, N'\rangle}{\sigma^3}N',
              \qquad N' = \nabla_WN

    Args:
        G, H, W: arrays of one shape.
        sigma, slope: the divisor and its gradient.

    Source: M18 Eq. (9), (10), (11), (12)
    """
    b = (H * slope).sum()
    return (
        -(G * H).sum() / sigma**2 * slope
        - b / sigma**2 * G
        + 2 * (G * W).sum() * b / sigma**3 * slope
    )


def signal(step: int) -> np.ndarray:
    """Return the gradient with respect to the normalized weight at a step of Algorithm 1.

    Args:
        step: number of the step, from 0; the direction turns slowly.
    """
    A, B = np.random.default_rng(5).standard_normal((2, 6, 9)) / 5
    return np.cos(step / 20) * A + np.sin(step / 20) * B


def algorithm_1(
    W: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    order: str,
    n: int,
    scale: float = 1.0,
) -> np.ndarray:
    r"""Run 200 steps of Algorithm 1 along :func:`signal`; return the last weight.

    .. math:: W \leftarrow W - \alpha\,\nabla_W\ell(\bar W(W)), \qquad \alpha = 0.1

    Args:
        W, u, v, order, n: as in :func:`rounds`; n rounds a step.
        scale: factor of the normalized weight.

    Source: M18 Alg. 1, M18 Eq. (20), (21), (22), (23)
    """
    for step in range(200):
        u, v = rounds(W, u, v, order, n)
        W = W - 0.1 * pull("constant", scale * signal(step), W, u @ W @ v, np.outer(u, v))
    return W


def paces(W: np.ndarray, u: np.ndarray, v: np.ndarray, most: int = 10) -> Iterator[tuple]:
    """Yield (order, n, u, v) for both orders after 1 to ``most`` rounds.

    Args:
        W, u, v: as in :func:`rounds`.
        most: largest number of rounds.
    """
    for order in ORDERS:
        a, b = u, v
        for n in range(1, most + 1):
            a, b = rounds(W, a, b, order, 1)
            yield order, n, a, b


def gap(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest expected entry.

    Args:
        found, expected: arrays of one shape; anything not finite is infinitely far.
    """
    found = np.asarray(found, np.float64)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


def nearest(found: np.ndarray, named: Sequence[tuple[str, np.ndarray]]) -> tuple[str, float]:
    """Return the name of the nearest of several arrays, and its distance.

    Args:
        found: an array.
        named: names and arrays; the first of equally near ones counts.
    """
    gaps = [(gap(found, array), k) for k, (_, array) in enumerate(named)]
    least, k = min(gaps)
    return named[k][0], least
