"""A claim where several kinks meet: it must lie among the slopes nearby, and be right there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations, product

import numpy as np

from .judging import judge
from .report import KINK, WRONG, Check
from .requirements import claims_of, finite
from .survey import BENT, DIRECTIONS, FULL_SIZE, MEET, Survey, Table, away_from_zero
from .wording import check_of, entry_of

JOINT = 4
"""How many entries are moved together where f has kinks along several."""
MOST = 48
"""How many entries with kinks are tried in pairs."""
SAMPLES = 24
"""How many points near a kink are compared."""
RADIUS = 2.0**-12
"""Their distance from the point, in units of the entries."""
ASIDE = 2.0**-6
"""The distance to a point beside all kinks."""


def joint(s: Survey, table: Table) -> Check | None:
    """Check a claim at kinks along several entries: it must lie among the slopes nearby.

    A claim can lie between the slopes of each entry and still be no subgradient: of two tied
    entries, not both are the maximum. Entries are tried together if fn has a kink between them.
    """
    bent = [k for k in range(len(table.entries)) if (table.kind[k] == BENT).any()]
    bent = bent if all(table.entries[k] is not None for k in bent) else []
    groups = [group for group in _groups(s, table, bent[:MOST]) if len(group) > 1]
    cut = [g[i : i + JOINT] for g in groups for i in range(0, len(g), JOINT) if len(g[i:]) > 1]
    whole = [group for group in groups if len(group) > JOINT]
    whole += [bent] if len(bent) > MOST else []
    for check, found in ((_outside, cut), (_together, whole)):
        for group in found:
            failed = check(s, table, group)
            if failed is not None:
                return failed
    return None


def _groups(s: Survey, table: Table, bent: list[int]) -> list[list[int]]:
    """Put entries together between which f has a kink; all of them if no pair shows where."""
    t = 2.0**-16
    single = {(k, c): s.f(s.x + c * t * table.directions[k]) for k in bent for c in (1, -1)}
    near: dict[int, set[int]] = {k: {k} for k in bent}
    for a, b in combinations(bent, 2):
        if b in near[a]:
            continue
        for c in (1, -1):
            both = s.f(s.x + t * (table.directions[a] + c * table.directions[b]))
            excess = np.abs(both - single[a, 1] - single[b, c] + s.z)
            change = np.abs(single[a, 1] - s.z) + np.abs(single[b, c] - s.z)
            if np.any(excess > 0.05 * change + 64 * s.noise):
                near[a] |= near[b]
                for k in near[a]:
                    near[k] = near[a]
                break
    groups = list({id(group): sorted(group) for group in near.values()}.values())
    for sign in (t, -t) if len(groups) > 1 else ():  # of three ties, the two largest may count
        moves = [sign * sum(table.directions[k] for k in group) for group in groups]
        parts = np.array([s.f(s.x + d) - s.z for d in moves])
        excess = np.abs(s.f(s.x + sum(moves)) - s.z - parts.sum(axis=0))
        if np.any(excess > 0.05 * np.abs(parts).sum(axis=0) + 64 * len(groups) * s.noise):
            return [bent]
    return groups


def _slopes(s: Survey, points: Iterable[np.ndarray], d: np.ndarray) -> np.ndarray:
    """Return the slopes along d at some points."""
    t = 2.0**-24
    return np.array([(s.f(at + t * d) - s.f(at - t * d)) / (2 * t) for at in points])


def _near(s: Survey, moves: np.ndarray, count: int) -> list[np.ndarray]:
    """Return points near the kinks."""
    return [s.x + RADIUS * s.rng.uniform(-1, 1, len(moves)) @ moves for _ in range(count)]


def _outside(s: Survey, table: Table, group: list[int]) -> Check | None:
    """Compare the claim with the slopes at points near the kinks, in many directions."""
    moves = np.stack([table.directions[k] for k in group])
    points = _near(s, moves, 8 * 2 ** len(group))
    found = np.stack([_slopes(s, points, d) for d in moves])
    for signs in product((1.0, -1.0), repeat=len(group) - 1):
        for sizes in (1.0, *s.rng.uniform(0.5, 1.5, (2, len(group)))):
            weights = np.array([1.0, *signs]) * sizes
            slopes = np.einsum("g,gpr->pr", weights, found)
            failed = _compare(s, table, group, weights @ moves, slopes)
            if failed is not None:
                return failed
    return None


def _together(s: Survey, table: Table, group: list[int]) -> Check | None:
    """Compare where entries move by equal amounts, and as the claims have them."""
    moves = np.stack([table.directions[k] for k in group])
    whole = moves.sum(axis=0)
    whole = np.where(whole != 0, np.min(np.abs(whole[whole != 0])), 0.0)
    points = _near(s, moves, SAMPLES)
    bent = np.flatnonzero((table.kind[group] == BENT).any(axis=0))[:JOINT]
    for weights in (np.ones_like(s.x), *s.claims[bent]):
        d = whole * weights / (np.max(np.abs(weights[whole != 0])) or 1.0)
        failed = _compare(s, table, group, d, _slopes(s, points, d))
        if failed is not None:
            return failed
    return None


def _compare(
    s: Survey, table: Table, group: list[int], d: np.ndarray, near: np.ndarray
) -> Check | None:
    """Compare the claim along d with the slopes before and after the point.

    These bound the subgradients of a convex or concave fn. They do of no other, and where slopes
    near the point lie outside them, nothing is said.
    """
    ends, claimed = _slopes(s, (s.x - RADIUS * d, s.x + RADIUS * d), d), s.claims @ d
    low, high = np.min(ends, axis=0), np.max(ends, axis=0)
    bar = 16 * len(group) * s.noise * 2.0**24 + 0.02 * (high - low)
    bar = bar + 8 * RADIUS * np.maximum(np.abs(low), np.abs(high))
    error = np.maximum(low - claimed, claimed - high)
    error = np.where(np.all((near >= low - bar) & (near <= high + bar), axis=0), error, 0.0)
    bad = (error > bar) & np.isfinite(low) & np.isfinite(high)
    if not bad.any():
        return None
    bad = bad[s.own] if bad[s.own].any() else bad  # an output says more than a combination
    r = int(np.argmax(np.where(bad, error[: bad.size], -1.0)))
    names = ", ".join(entry_of(s, table, k, r).place for k in group[:JOINT])
    names += f" and {len(group) - JOINT} more" if len(group) > JOINT else ""
    unit = s.unit_of[r]
    return check_of(
        s,
        WRONG,
        f"fn has a kink along several entries ({names}), and the claim is no "
        f"subgradient: together they give slopes from {low[r] * unit + 0.0:.6g} to "
        f"{high[r] * unit + 0.0:.6g}, the claim says {claimed[r] * unit + 0.0:.6g}",
        guess=_ties(low[r], high[r], claimed[r]),
    )


def _ties(low: float, high: float, claimed: float) -> str:
    """Name a tie that is counted several times, or never; an empty string for anything else."""
    slope = (low + high) / 2
    if not slope or high - low > 1e-3 * abs(slope):
        return ""
    times = round(claimed / slope)
    if abs(claimed / slope - times) > 1e-3 or times == 1 or times < 0:
        return ""
    return "a tie is counted more than once" if times else "a tie gets no gradient"


def where_kinks_meet(s: Survey, table: Table, wrong: Check, kinks: bool) -> Check | None:
    """Judge a wrong claim again if several kinks of fn meet at the point.

    Slopes on the two sides of a line bound those of a single kink, not of several. If the claim is
    right beside the point, it follows from subgradients of fn's parts. A library's own gradient is
    accepted so, and a gradient written by hand if fn is a sum over its entries there; else it
    cannot be judged.
    """
    for k, r in np.argwhere(table.ratio > 1):
        if not _kinks_meet(s, table.directions[k], int(r)):
            return wrong
    if kinks and (s.subject.own or _adds_up(s, table)):
        table.kind[table.ratio > 1] = MEET
        table.estimate[:] = np.where(table.ratio > 1, table.error, table.estimate)
        return None
    return replace(
        wrong,
        diagnosis=KINK,
        message="several kinks of fn meet here, and slopes along a line do not bound its "
        "subgradients; beside this point the claim is right; check there",
        guess="",
    )


def _kinks_meet(s: Survey, d: np.ndarray, r: int) -> bool:
    """Return whether a row has kinks here in more than one way, and a right claim beside them."""
    t = 2.0**-24
    spread, ways = [], [s.scale * away_from_zero(s.rng, s.x.size) for _ in range(SAMPLES)]
    for radius in (RADIUS / 64, RADIUS):  # closer points straddle more of the kinks
        slopes, claims = [], []
        for way in ways:
            at = s.x + radius * way
            slope = float((s.f(at + t * d)[r] - s.f(at - t * d)[r]) / (2 * t))
            try:
                claim = float(s.pull(at, s.rows[r]) @ d / s.unit_of[r])
            except Exception:  # undefined there
                continue
            if np.isfinite(slope) and np.isfinite(claim):
                slopes.append(slope)
                claims.append(claim)
        if len(slopes) < SAMPLES // 2:
            return False
        found, size = np.array(slopes), np.max(np.abs(slopes))
        spread.append(np.ptp(found))
    right = np.abs(np.array(claims) - found) <= 32 * s.noise[r] / t + 1e-4 * size
    ends = [float((s.f(s.x + c * t * d)[r] - s.z[r]) / (c * t)) for c in (1, -1)]
    bends = abs(ends[0] - ends[1]) > 64 * float(s.noise[r]) / t + 1e-3 * size
    # a single kink gives two slopes, and a line that does not bend crosses none
    single = 2 if bends or not s.subject.own else 1
    several = np.unique(np.round(found / (size or 1.0), 3)).size > single
    stays = spread[0] > max(0.5 * spread[1], 64 * float(s.noise[r]) / t)  # a curve would not
    return bool(stays and several and right.mean() > 0.9)


def _adds_up(s: Survey, table: Table) -> bool:
    """Return whether fn is a sum over the entries here, with a subgradient for each of them."""
    if s.x.size > FULL_SIZE:
        return False
    t, n = 2.0**-24, s.x.size
    sides = np.zeros((2, n, len(s.z)))
    for i in range(n):
        for j, sign in enumerate((1.0, -1.0)):
            sides[j, i] = (s.f(s.x + sign * t * s.unit(i)) - s.z) / t
    right, left = sides[0], -sides[1]
    claimed = (s.claims * s.scale).T
    bar = 32 * s.noise / t + 1e-5 * np.max(np.abs(sides), axis=(0, 1))
    fits = (claimed >= np.minimum(left, right) - bar) & (claimed <= np.maximum(left, right) + bar)
    if not np.all(fits):
        return False
    for d in table.directions:
        weights = d / s.scale
        parts = np.maximum(weights, 0) @ sides[0] + np.maximum(-weights, 0) @ sides[1]
        whole = (s.f(s.x + t * d) - s.z) / t
        if np.any(np.abs(whole - parts) > n * bar):
            return False
    return True


def beside(s: Survey, full: bool | None, kinks: bool) -> Check | None:
    """Check the claim at a point beside the kinks, which hide everything else along a line."""
    other = Survey(s.subject, s.order, full, s.rng, s.x + ASIDE * s.direction())
    try:
        unfit = finite(other) or claims_of(other)
    except Exception:  # undefined there
        return None
    if unfit is not None:
        return None
    directions = [other.direction() for _ in range(DIRECTIONS)]
    table = other.measure([None] * DIRECTIONS, directions)
    found = judge(other, table, kinks)
    if found is not None and found.diagnosis == WRONG:
        found = where_kinks_meet(other, table, found, kinks)
    if found is None or found.diagnosis != WRONG:
        return None
    return replace(found, message=f"beside the kinks of fn at this point, {found.message}")
