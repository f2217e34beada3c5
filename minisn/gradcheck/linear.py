"""Tests of a backward: it must be linear in the incoming gradient and use all of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .survey import Survey

Pull = Callable[[np.ndarray], np.ndarray]
SLACK = 1e-5
"""The relative error that float32 inside a claim explains."""


def nonlinear(s: Survey) -> str:
    """Return how a backward fails to be linear in g, or an empty string if it is linear.

    The backward is tried with two random g, their sum, multiples of one of them by -1, 2 and
    2^±20, and g = 0.
    """
    m = s.y.size

    def pull(g: np.ndarray) -> np.ndarray:
        return s.pull(s.x, g)

    a, b = (s.rng.uniform(0.5, 1.5, m) * s.rng.choice([-1.0, 1.0], m) for _ in range(2))
    with np.errstate(all="ignore"):
        at, other = pull(a), pull(b)
        factors = (-1.0, 2.0, 2.0**20, 2.0**-20)
        scaled = {c: pull(c * a) for c in factors}
        rest, whole = pull(np.zeros(m)), pull(a + b)
        size = np.maximum(np.abs(at), np.max(np.abs(at), initial=0.0) * 1e-6)
        broken = [c for c in factors if _differ(scaled[c], c * at, abs(c) * size)]
        sum_size = size + np.maximum(np.abs(other), np.max(np.abs(other), initial=0.0) * 1e-6)
        sum_size += _rounding(pull, a, at) + _rounding(pull, b, other)
        if not broken and not _differ(whole, at + other, sum_size) and not np.any(rest):
            return ""
        # absolute values add up over positive g; a norm does not
        parts = pull(np.abs(a)), pull(np.abs(b)), pull(np.abs(a) + np.abs(b))
        adds_up = not _differ(parts[2], parts[0] + parts[1], sum_size)
        coarse = np.abs(whole - at - other) <= 4e-3 * size
    return _half(pull, a, at, bool(coarse.all())) or _say(at, scaled, rest, adds_up)


def _half(pull: Pull, g: np.ndarray, at: np.ndarray, coarse: bool) -> str:
    """Say so if every number of the claim fits half precision, which a random g does not.

    Args:
        pull: the backward.
        g, at: an incoming gradient, and its claim.
        coarse: whether claims add up to three digits.
    """
    if not np.any(at) or np.array_equal(pull(-g), at):
        return ""
    mantissa = np.frexp(at)[0]  # numbers with fewer digits come from a bound or a rounding
    if not np.any(mantissa * 2.0**5 % 1):
        return ""
    with np.errstate(all="ignore"):
        half = np.array_equal(at, at.astype(np.float16)) and np.any(mantissa * 2.0**7 % 1)
        brain = np.array_equal(at, at.astype(np.float32)) and not np.any(
            at.astype(np.float32).view(np.uint32) & 0xFFFF
        )
    if not half and not brain and coarse and np.array_equal(pull(-g), -at):
        with np.errstate(all="ignore"):
            rounded = pull(g.astype(np.float16).astype(np.float64))
        if np.array_equal(rounded, at):  # only those digits of g are read
            return "the backward reads g in float16: compute with all its digits to check it"
    if not half and not brain:
        return ""
    name = "float16" if half else "bfloat16"
    return f"the backward computes in {name}: compute the gradient in float64 to check it"


def _rounding(pull: Pull, g: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Measure the rounding error of large terms that cancel, in units of the slack.

    A power of two scales exactly; other factors round differently.
    """
    noise = [np.abs(pull(c * g) / c - at) for c in (0.7, 1.1, 1.3)]
    return np.nan_to_num(100 / SLACK * np.max(noise, axis=0))


def _differ(got: np.ndarray, expected: np.ndarray, size: np.ndarray) -> bool:
    finite = np.isfinite(got) & np.isfinite(expected)
    return bool(np.any((np.abs(got - expected) > SLACK * size) & finite))


def _say(at: np.ndarray, scaled: dict[float, np.ndarray], rest: np.ndarray, adds_up: bool) -> str:
    def like(c: float, expected: np.ndarray) -> bool:
        return not _differ(scaled[c], expected, abs(c) * np.max(np.abs(at)) * np.ones(at.size))

    if not np.any(at - scaled[2.0]) and not np.any(at - scaled[-1.0]):
        return "the incoming gradient g is not used: multiply by it"
    if np.any(rest[np.isfinite(rest)]):
        return "for g = 0 the claim is not 0: a term is not multiplied by g"
    if like(-1.0, at) and like(2.0, 2.0 * at) and adds_up:
        return "the sign of the incoming gradient g is lost: |g| in place of g"
    if like(2.0, 4.0 * at) and like(-1.0, at):
        return "the incoming gradient g is squared"
    if like(2.0, 2.0 * at) and like(-1.0, -at) and not like(2.0**20, 2.0**20 * at):
        return "the claim is not linear in g: a large g is cut off (clipping in the backward?)"
    return "the claim is not linear in the incoming gradient g"


def neglected(s: Survey, part: slice) -> str:
    """Return which slice of g a backward uses in place of all, or an empty string.

    Args:
        s: the survey.
        part: the input's place in the flat vector.
    """
    shape = s.subject.shape
    g = s.rng.uniform(0.5, 1.5, shape)

    def pull(v: np.ndarray) -> np.ndarray:
        return s.pull(s.x, v.reshape(-1))[part]

    used = pull(g) != 0
    beside = s.x.copy()  # an entry whose claim is 0 for every g may have another fault
    beside[part] += 2.0**-5 * s.nudge()[part] * used
    try:
        needed = (s.subject.value(beside) != s.y).reshape(shape)
    except Exception:  # fn is undefined there
        return ""

    def alone(rest: np.ndarray) -> bool:
        """Return whether the backward is 0 for what is left of g, although fn needs it."""
        return bool(used.any() and np.any(needed[rest != 0]) and not np.any(pull(rest)))

    if len(s.subject.shapes) > 1:
        parts = s.subject.parts(g)
        for i, name in enumerate(s.subject.names):
            others = [np.where(i == j, 0.0, p).reshape(-1) for j, p in enumerate(parts)]
            if alone(np.concatenate(others)):
                return f"only the part of g for output {name} is used"
        return ""
    for axis in range(g.ndim):
        for index in (0, -1):
            rest = g.copy()
            rest[(slice(None),) * axis + (index,)] = 0.0
            if g.shape[axis] > 1 and alone(rest):
                loop = " (`=` in place of `+=` in a loop?)" if index else ""
                told = f"only the part of g at index {index % g.shape[axis]} is used"
                if _repeats(s, part, axis):
                    broadcast = f"a missing sum over axis {axis} of the output, a broadcast axis"
                    return f"{broadcast}: {told}{loop}"
                return f"{told}, along axis {axis} of the output{loop}"
    return ""


def _repeats(s: Survey, part: slice, axis: int) -> bool:
    """Return whether an axis of the output repeats the input, by the rules of broadcasting."""
    shape = next(p.shape for p in s.point.pieces if p.part == part)
    out = s.subject.shape
    own = (1,) * (len(out) - len(shape)) + shape
    fits = len(own) == len(out) and all(n in (1, m) for n, m in zip(own, out, strict=True))
    return fits and own[axis] == 1
