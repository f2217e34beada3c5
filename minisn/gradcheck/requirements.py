"""What must hold before a gradient can be compared: shapes, finite numbers, used inputs, no state.

Each test returns a verdict where it fails, else None.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from .causes import shape_cause
from .differences import EPS
from .report import NON_FINITE, NOTHING, STATE, WRONG, Check
from .subject import EngineFunction
from .survey import BENT, FULL_ENTRIES, STEEP, Survey
from .wording import check_of, entry_of


def empty(s: Survey) -> Check | None:
    """Check the shapes alone if there is no number to compare."""
    if s.x.size and s.y.size:
        return None
    for i, claimed in enumerate(s.subject.pull(s.x, np.zeros(s.y.size))):
        if claimed.shape != s.point.pieces[i].shape:
            return check_of(s, WRONG, _shapes(s, i, claimed))
    return check_of(s, NOTHING, "no entry or no output, so nothing was checked; pass larger arrays")


def _shapes(s: Survey, i: int, claimed: np.ndarray) -> str:
    piece = s.point.pieces[i]
    return f"the claimed gradient of {piece.name} has shape {claimed.shape}, expected {piece.shape}"


def finite(s: Survey) -> Check | None:
    """Refuse inputs or results that are NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(s.x))
    if bad.size:
        piece, index = s.point.locate(int(bad[0]))
        return check_of(
            s, NON_FINITE, f"{piece.name} {list(index)} is {s.x[bad[0]]}; pass finite inputs"
        )
    bad = np.flatnonzero(~np.isfinite(s.y))
    if bad.size:
        place = s.subject.place(int(bad[0])).removeprefix("output")
        return check_of(
            s,
            NON_FINITE,
            f"fn's result{place} is {s.y[bad[0]]} at the inputs; check where it is finite",
        )
    return None


def state(s: Survey) -> Check | None:
    """Call fn again at earlier inputs: the results must not depend on the calls in between."""
    nudged = s.x + 2.0**-5 * s.nudge()
    for before, after in ((s.f(nudged), s.f(nudged)), (s.z, s.f(s.x))):
        moved = _moved(before, after)
        if moved.any():
            r = int(np.argmax(moved))
            return check_of(
                s,
                STATE,
                f"fn gave {before[r]:.12g}, then {after[r]:.12g} for the same "
                "input; freeze what it keeps between calls (u, v of a power iteration, "
                "batch statistics, a random mask) while checking",
            )
    if s.subject.spoiled:
        names = " and ".join(sorted(s.subject.spoiled))
        return check_of(s, STATE, f"fn or its gradient changed {names} in place; work on a copy")
    return None


def _moved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    size = np.max(np.abs(before), initial=0.0, where=np.isfinite(before))
    return ~np.isclose(before, after, rtol=0, atol=256 * EPS * size, equal_nan=True)


def nothing(s: Survey) -> Check | None:
    """Refuse a function whose result does not depend on its inputs."""
    if not isinstance(s.subject, EngineFunction) or s.order > 1 or _uses_inputs(s):
        return None
    return check_of(
        s,
        NOTHING,
        "fn's result does not depend on its inputs, so nothing was checked; pass the arrays "
        "that fn computes with, or for a network call gradcheck(loss, network)",
    )


def _uses_inputs(s: Survey) -> bool:
    steps = (2.0**-5, 1.0, -1.0, 8.0)
    return any(np.any(s.f(s.x + t * s.nudge()) != s.z) for t in steps)


def claims_of(s: Survey) -> Check | None:
    """Compute the claimed gradient of each row, and that of the first row again at the end."""
    first = s.subject.pull(s.x, s.rows[0])
    for i, piece in enumerate(s.point.pieces):
        if first[i].shape != piece.shape:
            s.set_claims(np.zeros((len(s.rows), s.x.size)))
            mixed = s.subject.pull(s.x, s.rows[-1])[i]
            return check_of(s, WRONG, _shapes(s, i, first[i]), guess=_shape_guess(s, i, mixed))
    claims = np.stack([s.pull(s.x, row) for row in s.rows])
    with suppress(Exception):  # it may be undefined there
        s.pull(s.x + 2.0**-5 * s.nudge(), s.rows[-1])
    flat = np.concatenate([c.reshape(-1) for c in first])
    if _moved(claims[0], flat).any() or _moved(flat, s.pull(s.x, s.rows[0])).any():
        return check_of(
            s,
            STATE,
            "two calls of the gradient at the same input differ; freeze what it keeps "
            "between calls",
        )
    s.set_claims(np.nan_to_num(claims, nan=0.0, posinf=0.0, neginf=0.0))
    bad = np.argwhere(~np.isfinite(claims))
    if not bad.size:
        return state(s) if s.subject.spoiled else None
    r, i = (int(k) for k in bad[0])
    table = s.measure([i])
    worst = replace(entry_of(s, table, 0, r), claimed=float(claims[r, i]))
    kink = ", where fn has a kink" if table.kind[0, r] in (BENT, STEEP) else ""
    return check_of(s, NON_FINITE, f"the claimed gradient is {worst.claimed}{kink}", worst=worst)


def _shape_guess(s: Survey, i: int, claimed: np.ndarray) -> str:
    piece = s.point.pieces[i]
    at = np.arange(piece.part.start, piece.part.stop)[:FULL_ENTRIES]
    found = [s.line(s.unit(int(k))).central() for k in at]
    value = np.array([d.value[-1] for d in found]) / s.scale[at]
    slack = np.array([d.estimate[-1] for d in found]) / s.scale[at]
    slack = slack + 1e-5 * np.max(np.abs(value), initial=0.0)

    def fits(candidate: np.ndarray) -> bool:
        return bool(np.all(np.abs(candidate.reshape(-1)[: at.size] - value) <= slack))

    return shape_cause(claimed, piece.shape, fits) if at.size else ""
