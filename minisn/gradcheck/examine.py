"""From measurements to a verdict: what is wrong, and where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .causes import cause_of, shape_cause
from .differences import EPS
from .linear import nonlinear
from .report import KINK, NON_FINITE, NOTHING, PRECISION, RIGHT, STATE, WRONG, Check, Entry
from .subject import EngineFunction, Subject
from .survey import BENT, DIRECTIONS, EDGE, FULL_ENTRIES, SINGLE, STEEP, TINY, Survey, Table
from .wording import describe_kink, entry_of, name_wrong, notes_of

SAMPLE = 32
"""How many entries are measured one by one after a random direction failed."""
CLOSE_ROWS = 512
"""How many outputs are compared one by one to name a mistake."""
WEAK = 0.1
"""An error estimate above this fraction of a derivative leaves no correct digit."""
JOINT = 4
"""How many entries are moved together where f has kinks along several."""


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
    for stage in (_empty, _finite, _state, _nothing, _claims):
        failed = stage(s)
        if failed is not None:
            return failed
    table = _measure(s)
    joint = _joint(s, table) if (table.kind == BENT).any() else None
    s.measure_slope()
    found = (_state(s), _judge(s, table, kinks), joint, _linear(s))
    right = _check(s, ratio=float(table.ratio.max()))
    verdict = next((check for check in found if check is not None), right)
    return replace(verdict, notes=notes_of(s, table))


def _check(
    s: Survey,
    diagnosis: str = RIGHT,
    message: str = "",
    *,
    guess: str = "",
    worst: Entry | None = None,
    ratio: float = 0.0,
) -> Check:
    return Check(s.order, diagnosis, message, guess, worst, ratio, s.slope, s.scope)


def _measure(s: Survey) -> Table:
    """Compare every entry and a direction through the smooth entries, or random directions."""
    if not s.every_entry:
        return s.measure([None] * DIRECTIONS, [s.direction() for _ in range(DIRECTIONS)])
    table = s.measure(list(range(s.x.size)))
    smooth = np.all((table.kind != BENT) & (table.kind != STEEP) & (table.kind != EDGE), axis=1)
    failed = (table.ratio > 1).any()
    if failed or smooth.sum() < 2:
        return table
    return _joined(table, s.measure([None], [s.direction() * smooth]))


def _joined(a: Table, b: Table) -> Table:
    parts = (
        np.concatenate([getattr(a, n), getattr(b, n)])
        for n in ("claimed", "low", "high", "estimate", "step", "kind")
    )
    return Table(a.directions + b.directions, a.entries + b.entries, *parts)


# -- what must hold before anything can be compared ---------------------------------


def _empty(s: Survey) -> Check | None:
    """Check the shapes alone if there is no number to compare."""
    if s.x.size and s.y.size:
        return None
    for i, claimed in enumerate(s.subject.pull(s.x, np.zeros(s.y.size))):
        if claimed.shape != s.point.pieces[i].shape:
            return _check(s, WRONG, _shapes(s, i, claimed))
    return _check(s, NOTHING, "no entry or no output, so nothing was checked; pass larger arrays")


def _shapes(s: Survey, i: int, claimed: np.ndarray) -> str:
    piece = s.point.pieces[i]
    return f"the claimed gradient of {piece.name} has shape {claimed.shape}, expected {piece.shape}"


def _finite(s: Survey) -> Check | None:
    bad = np.flatnonzero(~np.isfinite(s.x))
    if bad.size:
        piece, index = s.point.locate(int(bad[0]))
        return _check(
            s, NON_FINITE, f"{piece.name} {list(index)} is {s.x[bad[0]]}; pass finite inputs"
        )
    bad = np.flatnonzero(~np.isfinite(s.y))
    if bad.size:
        place = s.subject.place(int(bad[0])).removeprefix("output")
        return _check(
            s,
            NON_FINITE,
            f"fn's result{place} is {s.y[bad[0]]} at the inputs; check where it is finite",
        )
    return None


def _state(s: Survey) -> Check | None:
    """Call fn again at earlier inputs: the results must not depend on the calls in between."""
    nudged = s.x + 2.0**-5 * s.nudge()
    for before, after in ((s.f(nudged), s.f(nudged)), (s.z, s.f(s.x))):
        moved = _moved(before, after)
        if moved.any():
            r = int(np.argmax(moved))
            return _check(
                s,
                STATE,
                f"fn gave {before[r]:.12g}, then {after[r]:.12g} for the same "
                "input; freeze what it keeps between calls (u, v of a power iteration, "
                "batch statistics, a random mask) while checking",
            )
    if s.subject.spoiled:
        names = " and ".join(sorted(s.subject.spoiled))
        return _check(s, STATE, f"fn or its gradient changed {names} in place; work on a copy")
    return None


def _moved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    size = np.max(np.abs(before), initial=0.0, where=np.isfinite(before))
    return ~np.isclose(before, after, rtol=0, atol=256 * EPS * size, equal_nan=True)


def _nothing(s: Survey) -> Check | None:
    """Refuse a function whose result does not depend on its inputs."""
    if not isinstance(s.subject, EngineFunction) or s.order > 1 or _uses_inputs(s):
        return None
    return _check(
        s,
        NOTHING,
        "fn's result does not depend on its inputs, so nothing was checked; pass the arrays "
        "that fn computes with, or for a network call gradcheck(loss, network)",
    )


def _uses_inputs(s: Survey) -> bool:
    steps = (2.0**-5, 1.0, -1.0, 8.0)
    return any(np.any(s.f(s.x + t * s.nudge()) != s.z) for t in steps)


def _claims(s: Survey) -> Check | None:
    """Compute the claimed gradient of each row, and that of the first row again at the end."""
    first = s.subject.pull(s.x, s.rows[0])
    for i, piece in enumerate(s.point.pieces):
        if first[i].shape != piece.shape:
            s.set_claims(np.zeros((len(s.rows), s.x.size)))
            mixed = s.subject.pull(s.x, s.rows[-1])[i]
            return _check(s, WRONG, _shapes(s, i, first[i]), guess=_shape_guess(s, i, mixed))
    claims = np.stack([s.pull(s.x, row) for row in s.rows])
    s.pull(s.x + 2.0**-5 * s.nudge(), s.rows[-1])
    flat = np.concatenate([c.reshape(-1) for c in first])
    if _moved(claims[0], flat).any() or _moved(flat, s.pull(s.x, s.rows[0])).any():
        return _check(
            s,
            STATE,
            "two calls of the gradient at the same input differ; freeze what it keeps "
            "between calls",
        )
    s.set_claims(np.nan_to_num(claims, nan=0.0, posinf=0.0, neginf=0.0))
    bad = np.argwhere(~np.isfinite(claims))
    if not bad.size:
        return _state(s) if s.subject.spoiled else None
    r, i = (int(k) for k in bad[0])
    table = s.measure([i])
    worst = replace(entry_of(s, table, 0, r), claimed=float(claims[r, i]))
    kink = ", where fn has a kink" if table.kind[0, r] in (BENT, STEEP) else ""
    return _check(s, NON_FINITE, f"the claimed gradient is {worst.claimed}{kink}", worst=worst)


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


# -- judging ------------------------------------------------------------------------


def _judge(s: Survey, table: Table, kinks: bool) -> Check | None:
    failed = _failures(s, table, kinks)
    if not failed:
        return None
    if not s.every_entry:
        closer = _localize(s, table, *failed[0][1])
        found = _failures(s, closer, kinks)
        if found:
            table, failed = closer, found
    if failed[0][0] == WRONG and _within_noise(s, table, failed[0][1][1]):
        failed = failed[1:]
        if not failed:
            return None
    diagnosis, (k, r) = failed[0]
    worst = entry_of(s, table, k, r)
    likely = ""
    if diagnosis == WRONG and _imprecise(s, table, r):
        diagnosis = PRECISION
        message = (
            "the claimed gradient agrees to about 7 digits, as many as float32 has; compute "
            "it in float64"
        )
    elif diagnosis == WRONG:
        s.measure_slope(table.directions[k], r)
        message = name_wrong(s, table)
        likely = nonlinear(s) if s.order == 1 else ""
        if not likely and worst.index is not None:
            likely = _cause_by_output(s, table, k) or cause_of(s, table, k)
    elif diagnosis == KINK:
        message = describe_kink(s, table, k, r)
    elif diagnosis == NON_FINITE:
        message = "fn is NaN or infinite beside this point, at every step; check at another point"
    elif table.kind[k, r] == TINY:
        message = (
            "the derivative is 0 up to fn's rounding, and so are all claims: they can be neither "
            "confirmed nor refuted; check where the derivative is larger"
        )
    else:
        message = (
            "fn's rounding hides its derivative, as when fn computes in float32; the claim "
            "can be neither confirmed nor refuted: compute in float64"
        )
    ratio = float(table.ratio[k, r])
    return _check(s, diagnosis, message, guess=likely, worst=worst, ratio=ratio)


def _cause_by_output(s: Survey, t: Table, k: int) -> str:
    """Name the likely mistake from every single output, where only combinations were compared."""
    piece, _ = s.point.locate(t.entries[k])
    entries = range(piece.part.start, piece.part.stop)
    if s.every_row or s.order > 1 or s.y.size > CLOSE_ROWS or len(entries) > FULL_ENTRIES:
        return ""
    closer = Survey(s.subject, s.order, True, s.rng)
    claims = np.stack([s.pull(s.x, row) for row in closer.rows])
    if not np.isfinite(claims).all():
        return ""
    closer.set_claims(claims)
    table = closer.measure(list(entries))
    return cause_of(closer, table, t.entries[k] - piece.part.start)


def _failures(s: Survey, t: Table, kinks: bool) -> list[tuple[str, tuple[int, int]]]:
    """List the failures, the most certain first, each with its worst direction and row.

    A claim that the differences cannot tell from 0, but is not 0, is marked in the table. It is
    refused where every entry has one and no other claim is told from 0.
    """
    steep, bent = t.kind == STEEP, t.kind == BENT
    lost = ~np.isfinite(t.low) & ~steep
    wrong = ~lost & ~steep & (t.ratio > 1)
    refused = steep | bent if not kinks else steep
    one_sided = steep & _one_sided(s, t, steep)
    mixed = np.broadcast_to(s.every_row & (np.arange(len(s.rows)) >= s.y.size), t.ratio.shape)
    # a direction beside all entries confirms them, and refuses nothing for lack of digits
    spare = s.every_entry & np.array([[e is None] for e in t.entries])
    dim, small = _weak(s, t)
    decided = wrong | lost | steep | mixed | spare
    seen = t.estimate < np.abs(t.claimed)
    tiny = dim & small & ~seen & (t.claimed != 0) & ~decided
    if np.all(tiny.any(axis=1) | spare[:, 0]) and not seen.any():
        small = small & ~tiny
    weak = dim & ~small & ~decided
    t.kind = np.where(tiny, TINY, t.kind)
    found = []
    for name, mask in (
        (WRONG, wrong),
        (NON_FINITE, lost | one_sided),
        (KINK, refused & ~one_sided & ~wrong),
        (PRECISION, weak),
    ):
        if mask.any():
            # an output says more than a combination of outputs
            mask = mask & ~mixed if (mask & ~mixed).any() else mask
            score = np.where(mask, t.estimate if name == PRECISION else t.ratio, -1.0)
            k, r = np.unravel_index(np.argmax(score), mask.shape)
            found.append((name, (int(k), int(r))))
    return found


def _one_sided(s: Survey, t: Table, steep: np.ndarray) -> np.ndarray:
    """Return where f is undefined on one side, as the square root is below 0."""
    found = np.zeros(steep.shape, dtype=bool)
    for k in np.flatnonzero(steep.any(axis=1)):
        ends = [np.isfinite(s.f(s.x + sign * 2.0**-20 * t.directions[k])) for sign in (1, -1)]
        found[k] = ~(ends[0] & ends[1])
    return found


def _weak(s: Survey, t: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return where the differences have no correct digit of the derivative, and where none matters.

    A derivative that is zero up to rounding has no digits. There a small error estimate is enough:
    small beside the values and the inputs, or far smaller than the change of fn nearby, provided
    that fn changes in more than its last digits; or small beside the other entries, a thousandth
    where fn computes in float32.
    """
    with np.errstate(invalid="ignore"):
        bar, size = t.estimate, np.maximum(np.abs(t.claimed), np.abs(t.value))
        sure = np.where(np.abs(t.value) > bar, np.abs(t.value), 0.0)
        row = np.max(np.where(np.isfinite(sure), sure, 0.0), axis=0)
        natural = float(np.max(s.relative))
        zero = np.abs(t.claimed) <= 64 * EPS * np.maximum(row, natural)
        small = bar <= np.where(zero, 1e-4 * np.maximum(np.maximum(row, np.abs(s.z)), natural), 0)
        fine = np.where(s.noise > SINGLE * np.abs(s.z), 1e-3, 1e-8)
        beside = (bar <= fine * row) & (t.error <= bar)
        weak = ~(bar <= WEAK * size)
    for k in np.flatnonzero(weak.any(axis=1)):
        moved, hidden = s.reach(t.directions[k])
        small[k] = (small[k] | (bar[k] <= 1e-10 * moved)) & ~hidden | beside[k]
    return weak, small


def _joint(s: Survey, table: Table) -> Check | None:
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
    return _check(
        s,
        WRONG,
        f"fn has a kink along several entries ({names}), and the claim is no "
        f"subgradient: together they give slopes from {low[r]:.6g} to {high[r]:.6g}, the "
        f"claim says {claimed[r]:.6g}",
        guess="" if claimed[r] < high[r] else "a tie is counted more than once",
        worst=entry_of(s, table, group[0], r),
    )


def _linear(s: Survey) -> Check | None:
    likely = nonlinear(s)
    if s.subject.spoiled:
        return _state(s)
    if not likely:
        return None
    return _check(
        s, WRONG, "right for some incoming gradients g and wrong for others", guess=likely
    )


def _localize(s: Survey, table: Table, k: int, r: int) -> Table:
    """Bisect a failing direction down to one entry, and measure that entry and some others."""
    d, t = table.directions[k], 4.0 * table.step[k, r]

    def badness(half: np.ndarray) -> float:
        masked = np.zeros_like(d)
        masked[half] = d[half]
        line = s.line(masked)
        found = line.difference(t)
        if line.bent(t)[r] or not np.isfinite(found.value[r]):
            return np.inf
        return float(np.abs(s.claims[r] @ masked - found.value[r]) / found.estimate[r])

    group = np.arange(s.x.size)
    while group.size > 1:
        group = max(np.array_split(group, 2), key=badness)
    worst = int(group[0])
    part = s.point.locate(worst)[0].part
    others = s.rng.permutation(np.setdiff1d(np.arange(part.start, part.stop), [worst]))
    return s.measure([worst, *map(int, np.sort(others[: SAMPLE - 1]))])


def _imprecise(s: Survey, t: Table, r: int) -> bool:
    """Return whether rounding to float32 in the claim explains the error."""
    error, size = _error_and_size(t, r)
    if error > 1e-4 * size:
        return False
    row = s.claims[r]
    single = float(np.finfo(np.float32).eps)
    if np.array_equal(row, row.astype(np.float32)) and error <= 8 * single * size:
        return True
    return error <= 32 * s.claim_noise(r)


def _error_and_size(t: Table, r: int) -> tuple[float, float]:
    """Return the largest error of all rows, and the largest derivative of one row."""
    error = float(np.max(t.error, initial=0.0, where=np.isfinite(t.error)))
    size = float(np.max(np.abs(t.value[:, r]), initial=0.0, where=np.isfinite(t.low[:, r])))
    return error, size


def _within_noise(s: Survey, t: Table, r: int) -> bool:
    """Return whether the claim's own rounding in float64 explains the error, as after a mean."""
    error, size = _error_and_size(t, r)
    return error <= SINGLE * size and error <= 32 * s.claim_noise(r)
