"""From measurements to a verdict: the tests of a gradient, in their order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from .judging import judge
from .kinks import beside, joint, where_kinks_meet
from .linear import nonlinear
from .report import WRONG, Check
from .requirements import claims_of, empty, finite, nothing, state
from .subject import Subject
from .survey import BENT, DIRECTIONS, EDGE, STEEP, Survey, Table
from .wording import check_of, notes_of

FINEST = 2.0**-30
"""Entries that need finer steps are not moved together with others."""


def examine(
    subject: Subject, order: int, full: bool | None, rng: np.random.Generator, kinks: bool = True
) -> Check:
    """Return the verdict on a gradient: the first failure of a series of tests, if any.

    Args:
        subject: the function and its claim.
        order: order of the derivative, for the report.
        full: compare every entry and output (True) or random directions (False); None decides
            by size.
        rng: random generator of the directions.
        kinks: accept any value between the slopes on the two sides of a kink.
    """
    s = Survey(subject, order, full, rng)
    for stage in (empty, finite, state, nothing, claims_of):
        failed = stage(s)
        if failed is not None:
            return failed
    table = _measure(s)
    bent = (table.kind == BENT).any()
    at_kinks = joint(s, table) if bent else None
    s.measure_slope()
    verdict = judge(s, table, kinks)
    if verdict is not None and verdict.diagnosis == WRONG:
        verdict = where_kinks_meet(s, table, verdict, kinks)
    found = [state(s), verdict, at_kinks, _linear(s)]
    if bent and not s.every_entry and not any(found):
        found.append(beside(s, full, kinks))
    right = check_of(s, ratio=float(table.ratio.max()))
    first = next((check for check in found if check is not None), right)
    return replace(first, notes=notes_of(s, table))


def examine_first(
    subject: Subject, full: bool | None, rng: np.random.Generator, kinks: bool = True
) -> Check:
    """Return the verdict on a first derivative; tell a backward that takes g after the inputs.

    Args:
        subject, full, rng, kinks: as in :func:`examine`.
    """
    try:
        found = examine(subject, 1, full, rng, kinks)
    except Exception:  # a backward may raise anything for exchanged arguments
        exchanged = _exchanged(subject, full, rng, kinks)
        if exchanged is None:
            raise
        return exchanged
    return found if found.right else _exchanged(subject, full, rng, kinks) or found


def _exchanged(
    subject: Subject, full: bool | None, rng: np.random.Generator, kinks: bool
) -> Check | None:
    """Return the verdict on a backward that is right if g comes last, else None."""
    other = subject.g_last()
    if other is None:
        return None
    with suppress(Exception):  # the order is right, then, and the error another
        zero = np.zeros(other.value(subject.point.x).size)
        if any(np.any(claim) for claim in other.pull(subject.point.x, zero)):
            return None  # no backward at all
        found = examine(other, 1, full, rng, kinks)
        if found.right:
            guess = (
                "the arguments of vjp are exchanged: gradcheck calls vjp(g, *inputs), and "
                "vjp(*inputs, g) is right; take g, the incoming gradient, first"
            )
            return Check(1, WRONG, guess=guess, scope=found.scope)
    return None


def _measure(s: Survey) -> Table:
    """Compare every entry and a direction through the smooth entries, or random directions.

    Among random directions are one for each input: a large input hides a small one in the others.
    """
    if not s.every_entry:
        directions = [s.direction() for _ in range(DIRECTIONS)]
        parts = [p.part for p in s.point.pieces if p.part.stop > p.part.start]
        for part in parts if len(parts) > 1 else []:
            alone = np.zeros_like(s.x)
            alone[part] = s.direction()[part]
            directions.append(alone)
        return s.measure([None] * len(directions), directions)
    table = s.measure(list(range(s.x.size)))
    smooth = np.all((table.kind != BENT) & (table.kind != STEEP) & (table.kind != EDGE), axis=1)
    smooth &= np.all(table.step > FINEST, axis=1)
    failed = (table.ratio > 1).any()
    if failed or smooth.sum() < 2:
        return table
    both = s.measure([None], [s.direction() * smooth])
    if (both.ratio > 1).any():  # the entries say more, if they are compared with all steps
        table = s.measure(list(range(s.x.size)), close=True)
        # along a direction their slopes add up, and so do their errors
        moved = np.abs(both.directions[0] / s.scale)[smooth] @ table.estimate[smooth]
        both.estimate = np.maximum(both.estimate, moved)
    return _joined(table, both)


def _joined(a: Table, b: Table) -> Table:
    parts = (
        np.concatenate([getattr(a, n), getattr(b, n)])
        for n in ("claimed", "low", "high", "estimate", "step", "kind")
    )
    return Table(a.directions + b.directions, a.entries + b.entries, *parts)


def _linear(s: Survey) -> Check | None:
    likely = nonlinear(s)
    if s.subject.spoiled:
        return state(s)
    if not likely:
        return None
    return check_of(
        s, WRONG, "right for some incoming gradients g and wrong for others", guess=likely
    )
