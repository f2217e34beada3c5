"""A claim where several kinks meet: it must lie among the slopes nearby."""

from __future__ import annotations

import numpy as np

from .report import WRONG, Check
from .survey import BENT, Survey, Table
from .wording import check_of, entry_of

JOINT = 4
"""How many entries are moved together where f has kinks along several."""


def joint(s: Survey, table: Table) -> Check | None:
    """Check a claim at kinks along several entries: it must lie among the slopes nearby.

    A claim can lie between the slopes of each entry and still be no subgradient: of two tied
    entries, not both are the maximum.
    """
    bent = [k for k in range(len(table.entries)) if (table.kind[k] == BENT).any()]
    bent = bent if all(table.entries[k] is not None for k in bent) else []
    for first in range(0, min(len(bent), 4 * JOINT), JOINT):
        group = bent[first : first + JOINT]
        if len(group) < 2:
            break
        for d in (
            sum(table.directions[k] for k in group),
            *(
                sum(
                    table.directions[k] * c
                    for k, c in zip(group, s.rng.uniform(0.5, 1.5, len(group)), strict=True)
                )
                for _ in range(2)
            ),
        ):
            failed = _outside(s, table, group, d)
            if failed is not None:
                return failed
    return None


def _outside(s: Survey, table: Table, group: list[int], d: np.ndarray) -> Check | None:
    radius, t = 2.0**-12, 2.0**-24
    slopes = []
    for _ in range(8 * 2 ** len(group)):
        at = s.x + radius * sum(table.directions[k] * s.rng.uniform(-1, 1) for k in group)
        slopes.append((s.f(at + t * d) - s.f(at - t * d)) / (2 * t))
    low, high = np.min(slopes, axis=0), np.max(slopes, axis=0)
    claimed = s.claims @ d
    bar = (
        16 * s.noise / t + 0.02 * (high - low) + 8 * radius * np.maximum(np.abs(low), np.abs(high))
    )
    error = np.maximum(low - claimed, claimed - high)
    bad = (error > bar) & np.isfinite(low) & np.isfinite(high)
    if not bad.any():
        return None
    r = int(np.argmax(np.where(bad, error, -1.0)))
    names = ", ".join(entry_of(s, table, k, r).place for k in group)
    return check_of(
        s,
        WRONG,
        f"fn has a kink along several entries ({names}), and the claim is no "
        f"subgradient: together they give slopes from {low[r]:.6g} to {high[r]:.6g}, the "
        f"claim says {claimed[r]:.6g}",
        guess="" if claimed[r] < high[r] else "a tie is counted more than once",
        worst=entry_of(s, table, group[0], r),
    )
