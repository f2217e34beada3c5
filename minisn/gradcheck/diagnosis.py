"""Guesses at the mistake behind a wrong gradient: each a transformation that would mend it."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """The claims on one input beside differences, for some entries and output rows.

    Args:
        name: of the input.
        claimed: its claimed gradient in each row, [rows, *shape].
        others: claims on the other inputs, by name.
        at: flat positions of the compared entries.
        scale: of these entries, so that their derivatives compare.
        value, estimate: their differences and error estimates, times the scale, [rows, entries].
        lengths: lengths of the axes of the inputs and of the output.
    """

    name: str
    claimed: np.ndarray
    others: dict[str, np.ndarray]
    at: np.ndarray
    scale: np.ndarray
    value: np.ndarray
    estimate: np.ndarray
    lengths: frozenset[int]

    def taken(self, candidate: np.ndarray) -> np.ndarray:
        """Pick the compared entries of a gradient, in units of the differences."""
        return candidate.reshape(len(candidate), -1)[:, self.at] * self.scale

    def fits(self, candidate: np.ndarray) -> bool:
        """Whether a gradient agrees with the differences, far better than by chance."""
        if candidate.shape != self.claimed.shape:
            return False
        slack = self.estimate + 1e-5 * np.max(np.abs(self.value))
        return bool(np.all(np.abs(self.taken(candidate) - self.value) <= slack))


def guess(found: Evidence) -> str:
    """Name the likely mistake, or return an empty string."""
    if not np.any(found.claimed):
        return "the claimed gradient is zero: a term is missing, or the graph was cut (detach)"
    for name, other in found.others.items():
        if found.fits(other):
            return f"the gradients of {found.name} and {name} are exchanged"
    for axes, words in _transposes(found.claimed.ndim):
        if found.fits(np.transpose(found.claimed, axes)):
            return f"a transpose: the claimed gradient has {words} exchanged"
    return _factor(found)


def _transposes(ndim: int) -> list[tuple[tuple[int, ...], str]]:
    """List the transposes worth trying of [rows, *shape]: any two axes of the shape."""
    found = []
    for i in range(1, ndim):
        for j in range(i + 1, ndim):
            axes = list(range(ndim))
            axes[i], axes[j] = j, i
            found.append((tuple(axes), f"axes {i - 1} and {j - 1}"))
    return found


def _factor(found: Evidence) -> str:
    taken = found.taken(found.claimed)
    square = float(np.sum(found.value**2))
    factor = float(np.sum(taken * found.value)) / square if square else 0.0
    if abs(factor - 1.0) < 1e-3 or factor == 0.0 or not found.fits(found.claimed / factor):
        return ""
    # a plain number, as far as the differences can tell it from others
    doubt = float(np.max(found.estimate) / np.max(np.abs(found.value)))
    plain = Fraction(factor).limit_denominator(64 if doubt < 1e-6 else 8)
    if abs(float(plain) - factor) > max(1e-6, min(doubt, 1e-3)) * abs(factor):
        single = taken.size == 1
        return "" if single else f"a constant factor: the claim is {factor:.6g} times too large"
    if plain == -1:
        return "the sign: the claimed gradient is the right one times -1"
    if taken.size == 1 and max(abs(plain.numerator), plain.denominator) > 12:
        return ""
    text = f"a factor of {plain}: the claimed gradient is {plain} times the right one"
    if plain.numerator == 1 and plain.denominator in found.lengths:
        return f"{text} (a mean over an axis of length {plain.denominator} in place of a sum?)"
    if plain.denominator == 1 and plain.numerator in found.lengths:
        return f"{text} (a sum over an axis of length {plain} in place of a mean?)"
    return text


def guess_incoming(pull: Callable[[np.ndarray], np.ndarray], g: np.ndarray) -> str:
    """Tell whether a backward neglects g, the incoming gradient, wholly or in part.

    Args:
        pull: from g to the claimed gradient of one input.
        g: an incoming gradient without zeros, of the output's shape.
    """
    claimed = pull(g)
    if g.size > 1 and np.any(claimed) and np.array_equal(pull(2.0 * g), claimed):
        return "the incoming gradient g is not used: multiply by it"
    for axis in range(g.ndim):
        for index in (0, -1):
            rest = g.copy()
            rest[(slice(None),) * axis + (index,)] = 0.0
            if g.shape[axis] > 1 and np.any(claimed) and not np.any(pull(rest)):
                return (f"a missing sum over axis {axis} of the output, a broadcast axis: only the "
                        f"part of g at index {index % g.shape[axis]} is used")  # fmt: skip
    return ""


def guess_shape(claimed: np.ndarray, shape: tuple[int, ...],
                fits: Callable[[np.ndarray], bool]) -> str:  # fmt: skip
    """Explain a claimed gradient of the wrong shape.

    Args:
        claimed: as it came.
        shape: of the input.
        fits: whether an array of the right shape agrees with the differences.
    """
    lead = claimed.ndim - len(shape)
    if lead >= 0 and all(n in (1, m) for n, m in zip(shape, claimed.shape[lead:], strict=True)):
        axes = tuple(range(lead)) + tuple(
            lead + i for i, n in enumerate(shape) if n != claimed.shape[lead + i]
        )
        if fits(np.sum(claimed, axis=axes).reshape(shape)):
            named = f"axis {axes[0]}" if len(axes) == 1 else f"axes {list(axes)}"
            return f"a missing sum over the broadcast {named} of the claimed gradient"
    for axes, words in _transposes(claimed.ndim + 1):
        turned = np.transpose(claimed[None], axes)[0]
        if turned.shape == shape and fits(turned):
            return f"a transpose: the claimed gradient has {words} exchanged"
    if claimed.shape[::-1] == shape and fits(claimed.T):
        return "a transpose: the claimed gradient has its axes reversed"
    if claimed.size == int(np.prod(shape)) and fits(claimed.reshape(shape)):
        return "the shape alone: reshape the claimed gradient to the input's shape"
    return ""
