"""Guesses at the mistake behind a wrong gradient: each guess is a change that corrects it.

A guess counts only if it corrects every compared number, at the point and at other points,
and if there are too many numbers for chance to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np

from .evidence import Evidence, elsewhere, gather, toward_largest
from .factors import (
    chain_factor,
    constant,
    offset,
    output_factor,
    plain_factor,
    projection,
    softmax_cross,
    symmetrized,
    through_mean,
)
from .linear import neglected
from .regions import BOUNDS, moves_with_value, region, repeated
from .survey import Survey, Table

Cause = tuple[str, str]
"""The name of a mistake, the same at every point where it is found, and a sentence about it."""


def rounding(s: Survey, t: Table, k: int) -> str:
    """Say so if fn is flat in one input, here and at several of its values, but not constant."""
    part = s.point.locate(t.entries[k])[0].part
    alone = np.isin(np.arange(s.x.size), np.arange(part.start, part.stop))
    near = 2.0**-26 * s.nudge() * alone
    points = [s.x + f * s.nudge() * alone for f in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)]
    values = [s.f(at) for at in points]
    flat = all(np.array_equal(y, s.f(at + near)) for at, y in zip(points, values, strict=True))
    if t.value[k].any() or not flat or len(np.unique(values, axis=0)) < 3:
        return ""
    return (
        "fn moves in steps, and is flat between them: it rounds to levels or to half precision "
        "(astype, autocast), and the derivative of a rounding is 0"
    )


def cause_of(s: Survey, t: Table, k: int) -> str:
    """Name the likely mistake in one input's gradient, or return an empty string."""
    first = gather(s, t, k)
    if first is None:
        return ""
    part = next(p.part for p in s.point.pieces if p.name == first.name)
    missing = neglected(s, part) if s.order == 1 else ""
    if missing:
        return missing
    first = replace(first, others=_swapped(s, t, first))
    causes = list(_causes(first))
    if not causes:
        return ""
    others = elsewhere(s, first)
    again = [{name for name, _ in _causes(other)} for other in others]
    held = [(name, text) for name, text in causes if all(name in names for names in again)]
    moved = toward_largest(s, first) if any(name in BOUNDS for name, _ in held) else None
    said = (text for name, text in held if moved is None or moves_with_value(name, first, moved))
    return next(said, "") if others else ""


def _swapped(s: Survey, t: Table, first: Evidence) -> dict[str, np.ndarray]:
    """Return the claims of those inputs whose own wrong gradient the first input's claim mends."""
    found = {}
    for k, e in enumerate(t.entries):
        name = first.name if e is None else s.point.locate(e)[0].name
        if name in first.others and name not in found:
            other = gather(s, t, k)
            if other is not None and other.bad.any() and other.fits(first.claimed):
                found[name] = first.others[name]
    return found


def _causes(found: Evidence) -> Iterator[Cause]:
    """Yield every mistake that would explain the differences, the simplest first."""
    if not found.bad.any():
        return
    if not np.any(found.claimed):
        if np.any(np.abs(found.value) > found.slack):
            text = "the claimed gradient is zero: a term is missing, or the graph was cut (detach)"
            yield "zero", text
        return
    for name, other in found.others.items():
        if found.telling > 1 and found.fits(other):
            yield "exchanged", f"the gradients of {found.name} and {name} are exchanged"
    if found.telling > 1:
        yield from plain_factor(found)
    if found.telling > 2:
        yield from _moved(found)
        yield from symmetrized(found)
        yield from constant(found)
        # a constant in every row of a Jacobian is rather a mean: its g was summed
        yield from through_mean(found) if found.outputs > 1 else offset(found)
        yield from offset(found) if found.outputs > 1 else through_mean(found)
    if found.telling > 1:
        yield from repeated(found)
        yield from softmax_cross(found)
        yield from _jacobian(found)
    if found.telling > 2:
        yield from projection(found)
        yield from _misplaced(found)
        yield from output_factor(found)
    yield from chain_factor(found)
    yield from region(found)


def _moved(found: Evidence) -> Iterator[Cause]:
    """Try the claim's entries in other places: transposed, permuted, flipped, rolled."""
    claimed, ndim = found.claimed, found.claimed.ndim
    for axes, words in _transposes(ndim):
        if found.fits(np.transpose(claimed, axes)):
            yield "transpose", f"a transpose: the claimed gradient has {words} exchanged"
    for order in permutations(range(1, ndim)) if 4 <= ndim <= 5 else ():
        if found.fits(np.transpose(claimed, (0, *order))):
            turn = [a - 1 for a in order]
            yield f"permuted {turn}", f"permuted axes: np.transpose(claim, {turn}) would be right"
    for count in range(1, min(ndim, 5)):
        for flipped in combinations(range(1, ndim), count):
            if found.fits(np.flip(claimed, flipped)):
                named = ", ".join(str(a - 1) for a in flipped)
                along = f"axis {named}" if count == 1 else f"axes {named}"
                text = (
                    f"flipped: the claimed gradient is the right one "
                    f"reversed along {along} (a kernel that was not flipped?)"
                )
                yield f"flipped {named}", text
    for axis in range(1, ndim):
        for shift in range(1, min(claimed.shape[axis], 8)):
            for by in (-shift, shift):
                if found.fits(np.roll(claimed, by, axis)):
                    text = (
                        f"rolled: the claimed gradient is the right one "
                        f"shifted by {-by} along axis {axis - 1}"
                    )
                    yield f"rolled {axis} {by}", text


def _jacobian(found: Evidence) -> Iterator[Cause]:
    """Try the Jacobian's transpose, and wrong signs."""
    m = found.outputs
    flat = found.claimed.reshape(len(found.claimed), -1)
    if m > 1 and flat.shape[1] == m and len(found.at) == m:
        turned = flat[:m].T * found.scale
        differs = found.bad[:m].any()  # a symmetric Jacobian is its own transpose
        if differs and np.all(np.abs(turned - found.value[:m]) <= found.slack[:m]):
            text = "the Jacobian is transposed: the backward uses W in place of its transpose"
            yield "jacobian", text
    signs = np.abs(np.abs(found.taken(found.claimed)) - np.abs(found.value)) <= found.slack
    bad = found.bad[:m] if m else found.bad
    if signs.all() and bad.any() and bad.sum() > 2 and found.value.shape[0] > 0:
        yield "signs", "the signs of some entries are wrong; all magnitudes are right"


def _misplaced(found: Evidence) -> Iterator[Cause]:
    """Try the right numbers in another order."""
    rows = found.outputs or len(found.claimed)
    if found.x.size != found.at.size:
        return
    flat = found.claimed.reshape(len(found.claimed), -1)[:rows, found.at]
    right, slack = (a[:rows] / found.scale for a in (found.value, found.slack))
    # chance puts neither many different numbers of one row nor of many rows in order
    several = all(np.unique(np.round(row, 6)).size > 2 for row in right) or (
        np.unique(np.round(right[found.bad[:rows].any(axis=1)], 6)).size > 4
    )
    order = np.argsort(right, axis=1)
    gap = np.abs(np.sort(flat, axis=1) - np.take_along_axis(right, order, 1))
    if several and np.all(gap <= np.take_along_axis(slack, order, 1)):
        text = "the right numbers stand in the wrong places (a sort or a flip that was not undone?)"
        yield "misplaced", text


def _transposes(ndim: int) -> list[tuple[tuple[int, ...], str]]:
    """List the transposes of [rows, *shape] that exchange two axes of the shape."""
    found = []
    for i, j in combinations(range(1, ndim), 2):
        axes = list(range(ndim))
        axes[i], axes[j] = j, i
        found.append((tuple(axes), f"axes {i - 1} and {j - 1}"))
    return found


def shape_cause(
    claimed: np.ndarray, shape: tuple[int, ...], fits: Callable[[np.ndarray], bool]
) -> str:
    """Explain a claimed gradient of the wrong shape.

    Args:
        claimed: the claimed gradient.
        shape: shape of the input.
        fits: returns whether an array of the right shape agrees with the differences.
    """
    lead = claimed.ndim - len(shape)
    if lead >= 0 and all(n in (1, m) for n, m in zip(shape, claimed.shape[lead:], strict=True)):
        axes = tuple(range(lead)) + tuple(
            lead + i for i, n in enumerate(shape) if n != claimed.shape[lead + i]
        )
        if fits(np.sum(claimed, axis=axes).reshape(shape)):
            named = f"axis {axes[0]}" if len(axes) == 1 else f"axes {list(axes)}"
            return f"a missing sum over the broadcast {named} of the claimed gradient"
    for turn, words in _transposes(claimed.ndim + 1):
        turned = np.transpose(claimed[None], turn)[0]
        if turned.shape == shape and fits(turned):
            return f"a transpose: the claimed gradient has {words} exchanged"
    if claimed.shape[::-1] == shape and fits(claimed.T):
        return "a transpose: the claimed gradient has its axes reversed"
    if claimed.size == int(np.prod(shape)) and fits(claimed.reshape(shape)):
        return "only the shape is wrong: reshape the claimed gradient to the input's shape"
    return ""
