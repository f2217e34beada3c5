"""Deviations from spectral normalization: names, consequences for training, and recognition.

If a layer divides its weight by another number than the norm, that number identifies the deviation;
otherwise the applied weight does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .probes import KINDS, SIZE, along, operator
from .reference import gap, leading, nearest, norm

MEANINGS = {
    "not normalized": "nothing bounds D's slope: training is that of a plain GAN",
    "clipped": "weights below norm 1 are left alone: a layer can fade away, and D can lose its "
    "slope",
    "Frobenius norm": "the norm is 1 at rank one only: layers shrink their signals, and D learns "
    "few features",
    "every row to length 1": "weight normalization: the norm can reach √d_out, at rank one",
    "every column to length 1": "another normalization: the norm is not bounded by 1",
    "σ is squared": "norms above 1 become too small, others too large; depth multiplies the error",
    "the root of σ": "weights keep part of their scale: D's slope is not bounded",
    "another singular value": "the norm of the normalized weight stays above 1",
    "a mean in place of the sum uᵀWv": "the norm of each layer is its number of rows, columns or "
    "entries",
    "sum of the singular values": "layers shrink their signals",
    "largest sum of a row": "a bound of another norm: layers shrink unevenly",
    "largest sum of a column": "a bound of another norm: layers shrink unevenly",
    "largest entry": "the norm is not bounded by 1",
    "longest row": "the norm is above 1 wherever rows are not orthogonal",
    "longest column": "the norm is above 1 wherever columns are not orthogonal",
    "axis of the transposed convolution": "the matrix has input channels as rows, so the layer's "
    "norm is not 1, and wider or narrower layers are off by more",
    "axis of the convolution": "the matrix has input channels as rows: the layer's norm is not 1",
    "a view in place of a transposition": "the divisor is the norm of a matrix that mixes channels "
    "with pixels: close, but never right",
    "mean of both axes (BSN)": "bidirectional normalization: another method, L21's",
    "one matrix alone (SN)": "plain spectral normalization: not the method named",
    "root mean square of both axes": "not BSN, which takes the arithmetic mean",
    "geometric mean of both axes": "not BSN, which takes the arithmetic mean",
    "larger of both axes": "not BSN, which takes the mean: layers shrink their signals",
    "smaller of both axes": "not BSN, which takes the mean: the norm may exceed 1",
    "sum of both axes": "twice BSN's divisor: every layer halves its signals",
    "product of both axes": "the divisor grows with the square of the weight",
    "mean of both axes, a view in place of a transposition": "BSN by a matrix that mixes channels "
    "with pixels: close, but never right",
    "norm of the convolution (SN_Conv)": "the strict norm: another method, which shrinks signals "
    "layer by layer and needs a constant",
    "sum over the window": "kernels whose taps cancel are divided by almost 0",
    "one tap of the window": "the other taps are not bounded",
    "largest norm of a tap": "taps add up: the norm is above 1",
    "sum of the taps' norms": "an upper bound: layers shrink their signals",
    "one axis of the window against the rest": "the matrix of another map: the norm is not 1",
    "largest norm of a kernel": "kernels add up: the norm is above 1",
    "norm of the convolution, padded in circles": "the strict norm of images without borders: "
    "another method",
    "rows of d_out times h": "the matrix of another map: the norm is not 1",
    "multiplied by a constant": "scaled spectral normalization (SSN): the network is scaled by the "
    "constant to the power of its depth",
    "the constant is not applied": "the layer is plain spectral normalization, not the scaled one "
    "that it says to be",
    "an absolute ε": "small weights are not normalized, so training depends on the scale of "
    "the initialization",
    "power iteration has not converged": "the divisor is too small: the norm is above 1",
    "not a known norm": "the norm of the normalized weight is not 1",
    "not a multiple of W": "directions are changed, not only the scale",
    "orthonormalized": "all singular values become 1: another method, and another gradient",
    "singular values clipped": "weights below norm 1 are left alone: a projection",
    "the weight is applied transposed": "square layers compute another map than others",
    "each tap by its own norm": "the taps add up: the norm is above 1",
    "outputs are cast to the inputs' type": "integer labels give integer vectors, nearly all zero",
    "all zeros": "the layer passes nothing on",
    "not finite": "NaN or infinity spreads through the network at the next step",
    # -- a round
    "σ of the vectors before the round": "the divisor lags one update behind the weight",
    "σ after half a round": "the divisor mixes old and new vectors: too small while W moves",
    "another σ after one round": "the divisor is not the estimate uᵀWv of (19)",
    "u is drawn anew at every pass": "the divisor jumps from pass to pass: noise in every gradient",
    "u starts over at every pass": "the divisor never gets better than after one round",
    "u is never moved": "the divisor is that of a random direction: D's slope is not bounded",
    "u does not advance by one round a pass": "the estimate is not that of Algorithm 1",
    "σ is not renewed": "the divisor is that of an older weight: the norm follows late, if at all",
    "a gradient moves u once more": "power iteration runs ahead of Algorithm 1, and D(real) and "
    "D(fake) differ more",
    "a pass with a gradient does not move u": "u never learns from training: only passes without a "
    "gradient move it",
    "not as many rounds as asked for": "the estimate is better or worse than the setting says",
    "no warm start": "the first steps, which set the course of training, use weights of norm well "
    "above 1",
    # -- gradients
    "W is overwritten": "training projects the weight at each step and descends along the plain "
    "gradient, without the second term of (12); the optimizer's weight is not the one that moved",
    "W/σ is written into W": "the gradient is that of (12), but training projects the weight "
    "at each pass: the optimizer does not find the weight that it left",
    "the gradient stops at W̄": "the step is along the gradient of the normalized weight: 1/σ and "
    "the second term of (12) are lost",
    "σ is detached": "the second term of (12) is lost: nothing keeps W from growing along its "
    "leading direction, and its norm drifts",
    "through the power step": "u and v are differentiated too: off by percents until the iteration "
    "has converged",
    "the second term has the wrong sign": "the gradient drives W along its leading direction",
    "the second term is doubled": "the gradient works against the leading direction twice",
    "1/σ is missing": "the step size changes with the norm of the weight",
    "1/σ comes twice": "the step size changes with the norm of the weight",
    "λ is taken with W": "the second term grows with the norm of the weight",
    "λ is missing": "a constant pull against the leading direction, whatever the loss",
    "gradient of the Frobenius norm": "the second term pulls along W, not along its leading "
    "direction",
    "a multiple of the right gradient": "the step size is that of another loss",
    "another gradient": "the step follows none of the known gradients",
    "W̄ changes with the scale of W": "the length of W matters: weight decay and step size interact "
    "with the loss",
    "only the last pass counts": "the loss on real images, or on samples, has no gradient",
    "only the first pass counts": "the loss on real images, or on samples, has no gradient",
    "passes are averaged": "the gradient is half that of the loss",
    "u is changed in place under a pending backward": "D(real) − D(fake) stops with an error, or "
    "gets the wrong gradient",
    "no second derivatives": "a gradient penalty cannot be trained",
    "second derivatives are zero": "a gradient penalty does not see the normalization",
    "another second derivative": "a gradient penalty trains something else",
    "too little precision in the gradient": "the step is rounded: training and checks lose digits",
    "another trajectory": "200 steps lead to another weight than Algorithm 1's",
    # -- state
    "a training pass changes W": "the optimizer does not find the weight that it left",
    "reading moves u": "a logged weight is not the one in use, and logging changes training",
    "reading changes W": "logging changes training",
    "reading gives W itself": "a logged norm is that of the raw weight",
    "reading gives another weight": "a logged weight is not the one in use",
    "evaluation keeps an old weight": "later evaluations are those of an earlier network",
    "evaluation moves u": "evaluating changes the training that follows",
    "evaluation writes W": "evaluating changes the weight itself",
    "two evaluations differ": "results cannot be repeated",
    "evaluation uses W itself": "the evaluated network was never trained",
    "evaluation takes one round more": "the evaluated network differs in scale from the trained "
    "one, by percents while weights move",
    "evaluation computes σ anew": "the evaluated network differs in scale from the trained one",
    "evaluation uses another σ": "the evaluated network was never trained",
    "0/0 for a zero weight": "a layer that starts at zero gives NaN at once",
    "u stays 0 after a zero weight": "the weight stays un-normalized from then on",
    "NaN stays after a zero weight": "the layer never recovers",
    "a weight that leaves 0 is not normalized": "its norm is not bounded for a long time",
    "squares overflow": "large weights give zero, infinity or NaN",
    "squares underflow": "small weights are not normalized, or give NaN",
    "the type is not kept": "half precision saves no memory or time, or double loses digits",
    "computed in another precision": "double precision is double in name only: checks fail",
    "too little precision": "in this type the norm is not 1",
    "another W is saved": "the optimizer continues from another weight",
    "lost when saved": "training resumed from a checkpoint differs from uninterrupted training",
    "removing leaves W un-normalized": "the exported network was never trained",
    "removing takes one round more": "the exported network is not the one that was evaluated",
    "removing computes σ anew": "the exported network is not the one that was evaluated",
    "removing bakes another weight": "the exported network is not the one that was evaluated",
    "another shape": "the layer is another map, or the adapter lays weights out otherwise than W",
    "fails": "the call stops with an error",
}
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
