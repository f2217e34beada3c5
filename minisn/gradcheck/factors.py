"""Mistakes in magnitude: a factor, an offset, a factor of the chain rule, a cross term."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from .evidence import Evidence

KNOWN = {
    3.14 / math.pi: "3.14 in place of π", 22 / 7 / math.pi: "22/7 in place of π",
    3.1416 / math.pi: "3.1416 in place of π", 3.142 / math.pi: "3.142 in place of π",
    2.718 / math.e: "2.718 in place of e", 2.72 / math.e: "2.72 in place of e",
    1.414 / math.sqrt(2): "1.414 in place of √2", 1.41 / math.sqrt(2): "1.41 in place of √2",
    0.693 / math.log(2): "0.693 in place of ln 2", math.log(2): "ln 2", 1 / math.log(2): "1 / ln 2",
    math.log(10): "ln 10", 1 / math.log(10): "1 / ln 10", 180 / math.pi: "degrees for radians",
    math.pi / 180: "radians for degrees", math.pi: "π", 1 / math.pi: "1 / π",
    2 * math.pi: "2π", 1 / (2 * math.pi): "1 / 2π", math.sqrt(2): "√2", math.sqrt(0.5): "1 / √2",
    math.sqrt(math.pi): "√π", math.sqrt(2 / math.pi): "√(2/π)", math.sqrt(math.pi / 2): "√(π/2)",
}  # fmt: skip
"""Known factors and their names; the first are constants with too few digits."""


def _factor(found: Evidence) -> tuple[float, float] | None:
    """Return the factor between claim and differences and its uncertainty, or None."""
    taken = found.taken(found.claimed)
    peak = float(np.max(np.abs(found.value), initial=0.0))
    if not peak or not np.isfinite(taken).all():
        return None
    value, taken = found.value / peak, taken / peak
    if not np.isfinite(taken).all() or np.max(np.abs(taken)) > 1e100:
        return None
    factor = float(np.sum(taken * value) / np.sum(value**2))
    doubt = float(np.max(found.estimate) / peak)
    if factor == 0.0 or abs(factor - 1.0) <= 2 * doubt or not found.fits(found.claimed / factor):
        return None
    return factor, doubt


def plain_factor(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try the sign and plain fractions."""
    told = _factor(found)
    if told is None:
        return
    factor, doubt = told
    plain = Fraction(factor).limit_denominator(64 if doubt < 1e-6 else 8)
    if abs(float(plain) - factor) > max(1e-6, min(doubt, 1e-3)) * abs(factor):
        return
    if plain == 1 or (found.telling == 2 and max(abs(plain.numerator), plain.denominator) > 12):
        return
    if plain == -1:
        yield "sign", "the sign: the claimed gradient is the right one times -1"
        return
    text = f"a factor of {plain}: the claimed gradient is {plain} times the right one"
    if plain.numerator == 1 and plain.denominator in found.lengths - {2}:
        text += f" (a mean over an axis of length {plain.denominator}, or a forgotten exponent?)"
    elif plain.denominator == 1 and plain.numerator in found.lengths - {2}:
        text += f" (a sum over an axis of length {plain} in place of a mean, or an exponent?)"
    yield f"factor {plain}", text


def constant(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try any other constant factor, with its name if it has one."""
    told = _factor(found)
    if told is None:
        return
    factor, doubt = told
    named = [
        words
        for known, words in KNOWN.items()
        if abs(abs(factor) - known) <= max(1e-7, 2 * doubt) * known
    ]
    roots = [f"√{n}" for n in sorted(found.lengths) if abs(factor - n**0.5) < 1e-6 * factor]
    roots += [f"1/√{n}" for n in sorted(found.lengths) if abs(factor * n**0.5 - 1) < 1e-6]
    hint = f" ({(named + roots)[0]}?)" if named + roots else ""
    digits = 6 if abs(factor - 1.0) > 1e-4 else 2 - math.floor(math.log10(abs(factor - 1.0)))
    text = (
        f"a constant factor: the claimed gradient is {factor:.{digits}g} times the right one{hint}"
    )
    yield f"constant {factor:.5g}", text


def offset(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try an extra term: a constant, or a multiple of the input as in weight decay."""
    rows = found.outputs or len(found.claimed)
    gap = (found.taken(found.claimed) - found.value)[:rows]
    for words, shape in (
        ("a constant offset: {:.6g} is added to every entry", np.ones_like(found.x)),
        ("off by {:.6g} times the input: a term too many or missing (weight decay?)", found.x),
    ):
        basis = found.taken(shape[None])[0]
        if np.unique(basis).size + np.unique(found.value).size < 4 or not np.any(basis):
            continue
        amounts = gap @ basis / (basis @ basis)
        fits = np.all(np.abs(gap - amounts[:, None] * basis) <= found.slack[:rows])
        if fits and np.all(np.abs(amounts - amounts[0]) <= 1e-5 * abs(amounts[0])) and amounts[0]:
            yield f"offset {amounts[0]:.5g}", words.format(amounts[0])


def symmetrized(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try a claim that is symmetric, for a function that is not, such as one of a triangle."""
    shape, rows = found.x.shape, found.outputs or len(found.claimed)
    square = len(shape) > 1 and shape[-1] == shape[-2]
    if not square or not np.array_equal(found.at, np.arange(found.x.size)):
        return
    right, slack = (
        (a[:rows] / found.scale).reshape(rows, *shape) for a in (found.value, found.slack)
    )
    mean, far = (a + a.swapaxes(-1, -2) for a in (right, slack))
    if np.all(np.abs(2 * found.claimed[:rows] - mean) <= far):
        text = (
            "symmetrized: the claim is the mean of the right gradient and its transpose (fn reads "
            "one triangle of a symmetric A? then check it as a function of (A + A.T) / 2)"
        )
        yield "symmetrized", text


def through_mean(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try a mean or a sum of the input through which no gradient, or a wrong one, flows."""
    for axis in range(1, found.claimed.ndim):
        for name, without in (("mean", np.mean), ("sum", np.sum)):
            less = found.claimed - without(found.claimed, axis=axis, keepdims=True)
            if found.fits(less):
                text = (
                    f"the gradient through the {name} over axis {axis - 1} is missing "
                    "or wrong (normalization with constant statistics?)"
                )
                yield f"{name} {axis}", text


def projection(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try a normalization with its scale held constant: the part along the input remains."""
    rows = found.outputs or len(found.claimed)
    if not np.array_equal(found.at, np.arange(found.x.size)):
        return
    right = (found.value / found.scale).reshape(found.claimed.shape)
    for axis in range(1, found.claimed.ndim):
        if found.x.shape[axis - 1] < 3:
            continue
        centered = found.x - np.mean(found.x, axis=axis - 1, keepdims=True)
        less = found.claimed - np.mean(found.claimed, axis=axis, keepdims=True)
        for held, off, claimed, x in (
            ("scale", "a multiple of the input", found.claimed, found.x),
            ("variance", "a multiple of the centered input", found.claimed, centered),
            ("mean and variance", "its mean and a multiple of the centered input", less, centered),
        ):
            excess = _along(claimed - right, x, axis)
            aside = np.any(np.abs(found.taken(right - _along(right, x, axis))) > found.slack)
            if aside and np.any(excess[:rows]) and found.fits(claimed - excess):
                text = (
                    f"the claim is off by {off}, along axis {axis - 1} "
                    f"(a normalization with its {held} held constant, or a wrong term for it?)"
                )
                yield f"projection {axis} {held}", text


def _along(a: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """Return the projection of each row onto x, over an axis of the rows."""
    size = np.sum(x * x, axis=axis - 1, keepdims=True)
    return np.sum(a * x, axis=axis, keepdims=True) / np.where(size > 0, size, 1.0) * x


def _functions(found: Evidence) -> Iterator[tuple[str, np.ndarray]]:
    """Yield factors that the chain rule may contain, in the input's shape."""
    x = found.x
    with np.errstate(all="ignore"):
        th, sg = np.tanh(x), 1 / (1 + np.exp(-x))
        plain: dict[str, np.ndarray] = {
            "x": x, "x²": x**2, "x³": x**3, "2x": 2 * x, "3x²": 3 * x**2, "exp(x)": np.exp(x),
            "√x": np.sqrt(np.abs(x)), "cos(x)": np.cos(x), "sin(x)": np.sin(x),
            "tanh'(x) = 1 - tanh(x)²": 1 - th**2, "tanh(x)": th,
            "σ'(x) = σ(x)(1 - σ(x))": sg * (1 - sg), "σ(x)": sg, "1 - σ(x)": 1 - sg,
            "(1 + x²)": 1 + x**2, "log(x)": np.log(np.abs(x)),
        }  # fmt: skip
        yield from plain.items()
        for name, other in found.inputs.items():
            yield name, other
            yield f"{name} squared", other**2
        if (found.y.size == x.size and found.shape == x.shape) or found.y.size == 1:
            y = found.y.reshape(x.shape) if found.y.size == x.size else found.y
            for words, value in _of_output(y):
                yield words, np.broadcast_to(value, x.shape)


def _of_output(y: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield derivatives that are functions of the output."""
    with np.errstate(all="ignore"):
        yield from (("the output y", y), ("1 - y", 1 - y), ("1 - y²", 1 - y**2),
                    ("y (1 - y)", y * (1 - y)), ("y²", y**2))  # fmt: skip


def chain_factor(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try a factor of the chain rule that the claim lacks, or has once too often."""
    if found.telling < 1:
        return
    total: Callable[[np.ndarray], bool] = found.fits
    for words, h in _functions(found):
        flat = h.size > 1 and np.ptp(np.abs(h)) < 1e-9 * np.max(np.abs(h))
        if not np.any(h) or (flat and " y" not in words):
            continue
        for sign, prefix in ((1.0, ""), (-1.0, "-")):
            with np.errstate(all="ignore"):
                if total(sign * found.claimed * h):
                    text = f"a missing factor of the chain rule: {prefix}{words}"
                    yield f"missing {prefix}{words}", text
                if np.all(h != 0) and total(sign * found.claimed / h):
                    yield f"extra {prefix}{words}", f"a factor too many: {prefix}{words}"


def output_factor(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try a factor for each output, as of a function after a linear map."""
    m = found.outputs
    right, slack = found.value[:m], found.slack[:m]
    claimed = found.taken(found.claimed)[:m]
    clear = np.abs(right) > 3 * slack
    if m < 2 or np.count_nonzero(clear.sum(axis=1) > 1) < 2:
        return
    for words, h in _of_output(found.y):
        with np.errstate(all="ignore"):
            for name, text, factor in (
                ("missing", "a missing factor of the chain rule", h),
                ("extra", "a factor too many", 1 / h),
            ):
                if np.all(np.abs(claimed * factor[:, None] - right) <= slack):
                    yield f"{name} {words}", f"{text}: {words}"
    size = np.sum(right * right, axis=1)
    by = np.sum(claimed * right, axis=1) / np.where(size > 0, size, 1.0)
    wrong = found.bad[:m].any(axis=1)
    each = np.all(clear.sum(axis=1)[wrong] > 1) and np.unique(np.round(by[wrong], 4)).size > 2
    if each and np.all(np.abs(claimed - by[:, None] * right) <= np.abs(by)[:, None] * slack):
        text = (
            "each output has a wrong factor of its own: a factor of the chain rule that belongs "
            "to the output is missing or wrong"
        )
        yield "by output", text


def softmax_cross(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try a softmax, or another Jacobian, of which the claim has only the diagonal."""
    m, x = found.outputs, found.x
    flat = found.claimed.reshape(len(found.claimed), -1)
    if m > 1 and flat.shape[1] == m and len(found.at) == m:
        diagonal, bad = np.eye(m, dtype=bool), found.bad[:m]
        right = found.value[:m] / found.scale
        if not np.any(flat[:m][~diagonal]) and np.any(bad[~diagonal]):
            y = found.y
            outer = right - np.diag(np.diag(right)) + np.diag(np.zeros(m))
            cross = np.where(np.abs(right) > 0, -np.outer(y, y), 0.0) * ~diagonal
            slack = found.slack[:m] / found.scale
            if np.all(np.abs(outer - cross) <= slack):
                yield "softmax", "softmax without the cross term -y_i y_j"
            elif not bad[diagonal].any():
                yield "cross", "the cross terms are missing: the claim has only the diagonal"
        elif not np.any(flat[:m][diagonal]) and not np.any(bad[~diagonal]):
            yield "diagonal", "the diagonal is missing: the claim has only the cross terms"
    axes = [None, *range(x.ndim)] if x.size > 1 else []
    for axis in axes:
        with np.errstate(all="ignore"):
            e = np.exp(x - np.max(x, axis=axis, keepdims=True))
            y = e / np.sum(e, axis=axis, keepdims=True)
            over = tuple(range(1, x.ndim + 1)) if axis is None else axis + 1
            for w in (found.claimed / (y * (1 - y)), found.claimed / y):
                inner = np.sum(w * y, axis=over, keepdims=True)
                if found.telling > 2 and found.fits(y * (w - inner)):
                    text = (
                        "off by a multiple of y = softmax(x): the cross term -y_i y_j of a "
                        "softmax, or the sum in a log-softmax, is missing or wrong"
                    )
                    yield "multiple of softmax", text
