"""Deviations from spectral normalization: names, consequences for training, and recognition.

If a layer divides its weight by another number than the norm, that number identifies the deviation;
otherwise the applied weight does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources

import numpy as np

from .probes import KINDS, SIZE, along, operator
from .reference import gap, leading, nearest, norm

MEANINGS: dict[str, str] = tomllib.loads(
    (resources.files(__package__) / "meanings.toml").read_text("utf-8")
)
"""What each deviation means for training, by its name."""

GRADIENTS = {
    "constant": "",
    "overwritten": "the gradient stops at W̄",
    "detached": "σ is detached",
    "sign": "the second term has the wrong sign",
    "doubled": "the second term is doubled",
    "no 1/sigma": "1/σ is missing",
    "lambda of W": "λ is taken with W",
    "no lambda": "λ is missing",
    "twice 1/sigma": "1/σ comes twice",
    "frobenius": "gradient of the Frobenius norm",
}
"""The name of the deviation for each semantics; "" for (12)."""


def sigma_of(W: np.ndarray, B: np.ndarray) -> tuple[float, float]:
    """Return the number that divided a weight, and the distance of the result from the quotient.

    Args:
        W: the weight.
        B: the weight that a layer applied.
    """
    inner = float((B * W).sum())
    if not np.isfinite(B).all() or inner == 0:
        return float("nan"), float("inf")
    sigma = float((W * W).sum()) / inner
    return sigma, gap(W / sigma, B)


def divisors(kind: str, W: np.ndarray) -> Iterator[tuple[str, float]]:
    """Yield wrong divisors of a weight, each with the name of its deviation.

    Args:
        kind: kind of the layer.
        W: weight of the layer.
    """
    axis = KINDS[kind].axis
    M = along(kind, axis).matrix(W)
    s = np.linalg.svd(M, compute_uv=False)
    yield "not normalized", 1.0
    yield "Frobenius norm", float(np.sqrt((W * W).sum()))
    yield "σ is squared", s[0] ** 2
    yield "the root of σ", float(np.sqrt(s[0]))
    for value in s[1:]:
        yield "another singular value", value
    for n in {*M.shape, M.size}:
        yield "a mean in place of the sum uᵀWv", s[0] / n
    yield "sum of the singular values", s.sum()
    yield "largest sum of a row", np.abs(M).sum(1).max()
    yield "largest sum of a column", np.abs(M).sum(0).max()
    yield "largest entry", np.abs(M).max()
    yield "longest row", np.sqrt((M * M).sum(1)).max()
    yield "longest column", np.sqrt((M * M).sum(0)).max()
    if W.ndim == 4:
        yield from _of_kernels(kind, W, float(s[0]))


def _of_kernels(kind: str, W: np.ndarray, first: float) -> Iterator[tuple[str, float]]:
    axis = KINDS[kind].axis
    other = leading(along(kind, 1 - axis).matrix(W))[1]
    yield f"axis of the {KINDS[kind].title}", other
    yield "one matrix alone (SN)", first
    seen = leading(W.reshape(W.shape[1], -1))[1]  # axis 1 should move to the front first
    right = other if axis else first
    yield "mean of both axes, a view in place of a transposition", (seen + right) / 2
    yield "a view in place of a transposition", seen
    yield "mean of both axes (BSN)", (first + other) / 2
    yield "root mean square of both axes", float(np.hypot(first, other) / np.sqrt(2))
    yield "geometric mean of both axes", float(np.sqrt(first * other))
    yield "larger of both axes", max(first, other)
    yield "smaller of both axes", min(first, other)
    yield "sum of both axes", first + other
    yield "product of both axes", first * other
    if kind == "conv":
        yield "norm of the convolution (SN_Conv)", leading(operator().matrix(W))[1]
        waves = np.moveaxis(np.fft.fft2(W, (SIZE, SIZE)), (2, 3), (0, 1))
        circular = np.linalg.norm(waves, 2, axis=(2, 3)).max()
        yield "norm of the convolution, padded in circles", circular
    taps = np.linalg.svd(np.moveaxis(W, (2, 3), (0, 1)), compute_uv=False)[..., 0]
    yield "sum over the window", leading(W.sum((2, 3)))[1]
    yield "sum over the window", leading(W.mean((2, 3)))[1]
    for value in taps.ravel():
        yield "one tap of the window", value
    yield "largest norm of a tap", taps.max()
    for axis in (2, 3):
        rows = np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)
        yield "one axis of the window against the rest", leading(rows)[1]
    yield "largest norm of a kernel", np.linalg.norm(W, 2, axis=(2, 3)).max()
    yield "sum of the taps' norms", taps.sum()
    a, b, h, w = W.shape
    yield "rows of d_out times h", leading(W.transpose(0, 2, 1, 3).reshape(a * h, b * w))[1]
    yield "rows of d_out times h", leading(W.transpose(1, 2, 0, 3).reshape(b * h, a * w))[1]


def name_value(
    kind: str, W: np.ndarray, B: np.ndarray, definition: str, scale: float
) -> tuple[str, float]:
    """Name the deviation of the weight that a layer applied.

    Args:
        kind: kind of the layer.
        W: weight of the layer.
        B: the weight that the layer applied.
        definition, scale: definition and constant of the expected normalization.
    Returns:
        (name, divisor); the name is empty if the divisor is right or not known.
    """
    if not np.isfinite(B).all():
        return "not finite", float("nan")
    right, _ = norm(kind, W, definition)
    if kind == "embedding" and gap(B, np.trunc(scale * W / right)) < 1e-3:
        return "outputs are cast to the inputs' type", float("nan")
    if not B.any():
        return "all zeros", float("inf")
    sigma, off = sigma_of(W, B)
    if off > 1e-3:
        rounded = gap(B, scale * W / right) < 2e-3
        return "too little precision" if rounded else _not_a_multiple(kind, W, B), float("nan")
    if scale != 1 and abs(sigma / right - 1) < 3e-4:
        return "the constant is not applied", sigma
    if (fitting := candidates(kind, W, B, definition, scale)) and fitting[0]:
        return fitting[0], sigma
    low = 0.7 * right < sigma * scale < right * (1 - 1e-5)
    return ("power iteration has not converged" if low else ""), sigma


def candidates(kind: str, W: np.ndarray, B: np.ndarray, definition: str, scale: float) -> list[str]:
    """List the names of the known divisors that fit; "" is the right one.

    Args:
        kind, W, B, definition, scale: as in :func:`name_value`.
    """
    sigma, off = sigma_of(W, B)
    if off > 1e-3:
        return []
    named = [("", norm(kind, W, definition)[0])]
    named += [
        each
        for each in divisors(kind, W)
        if definition != "SN" or each[0] != "one matrix alone (SN)"
    ]
    return [
        name
        for name, value in named
        for factor in sorted({scale, 1.0})
        if abs(sigma * factor / value - 1) < 3e-4
    ]


def _not_a_multiple(kind: str, W: np.ndarray, B: np.ndarray) -> str:
    M, A = (along(kind, KINDS[kind].axis).matrix(X) for X in (B, W))
    s, before = (np.linalg.svd(X, compute_uv=False) for X in (M, A))
    leveled = {"orthonormalized": s, "every row to length 1": np.sqrt((M * M).sum(1))}
    leveled["every column to length 1"] = np.sqrt((M * M).sum(0))
    for name, values in leveled.items():
        if np.ptp(values) < 1e-3 * values.max():
            return name
    if np.abs(s - np.minimum(before, 1)).max() < 1e-3:
        return "singular values clipped"
    if W.ndim == 4:
        taps = np.linalg.svd(np.moveaxis(B, (2, 3), (0, 1)), compute_uv=False)[..., 0]
        if np.ptp(taps) < 1e-3 * taps.max():
            return "each tap by its own norm"
    return "not a multiple of W"


def name_gradient(found: np.ndarray, known: Sequence[tuple[str, np.ndarray]]) -> str:
    """Name the deviation of a layer's gradient with respect to W.

    Args:
        found: the layer's gradient.
        known: names and gradients; the right ones have an empty name.
    Returns:
        The name; empty for a right one.
    """
    if not np.isfinite(found).all():
        return "not finite"
    name, least = nearest(found, known)
    if least <= 1e-4:
        return name
    for array in (array for each, array in known if not each):
        times = (found * array).sum() / (array * array).sum()
        if found.any() and gap(found, times * array) <= 2e-4:
            return "a multiple of the right gradient"
    return (
        "too little precision in the gradient" if least < 2e-3 and not name else "another gradient"
    )
