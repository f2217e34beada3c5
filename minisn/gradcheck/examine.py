"""From measurements to a verdict: what is wrong, where, and why."""

from __future__ import annotations

import numpy as np

from .diagnosis import Evidence, guess, guess_incoming, guess_shape
from .differences import EPS
from .report import KINK, NON_FINITE, PRECISION, RIGHT, STATE, WRONG, Check, Entry
from .subject import Subject
from .survey import FULL_ENTRIES, WEAK, Survey, Table

SAMPLE = 32
"""Entries that are looked at one by one when a random direction failed."""


def examine(subject: Subject, order: int, full: bool | None, rng: np.random.Generator) -> Check:
    """Go through all that can be wrong with a gradient, the most telling first.

    Args:
        subject: the function and its claim.
        order: of the derivative, for the report.
        full: every entry and every output (True), random directions (False), by size (None).
        rng: where random directions come from.
    """
    s = Survey(subject, order, full, rng)
    if s.x.size == 0 or s.y.size == 0:
        return _check(s)
    for stage in (_finite, _state, _claims):
        failed = stage(s)
        if failed is not None:
            return failed
    table = s.measure_all()
    s.measure_slope(s.noise)
    ratio = float(np.where(_vanishes(s, table), 0.0, table.ratio).max())
    found = [_state(s), _judge(s, table), _check(s, ratio=ratio)]
    return next(check for check in found if check is not None)


def _check(s: Survey, diagnosis: str = RIGHT, message: str = "", *, guess: str = "",
           worst: Entry | None = None, ratio: float = 0.0) -> Check:  # fmt: skip
    return Check(s.order, diagnosis, message, guess, worst, ratio, s.slope, s.scope)


# -- what must hold before anything can be compared ---------------------------------


def _finite(s: Survey) -> Check | None:
    bad = np.flatnonzero(~np.isfinite(s.x))
    if bad.size:
        piece, index = s.point.locate(int(bad[0]))
        return _check(s, NON_FINITE, f"{piece.name} {list(index)} is {s.x[bad[0]]}; pass finite "
                      "inputs")  # fmt: skip
    bad = np.flatnonzero(~np.isfinite(s.y))
    if bad.size:
        index = tuple(map(int, np.unravel_index(bad[0], s.subject.shape)))
        place = f" {list(index)}" if index else ""
        return _check(s, NON_FINITE, f"fn's result{place} is {s.y[bad[0]]} at the inputs; check "
                      "where it can be computed")  # fmt: skip
    return None


def _state(s: Survey) -> Check | None:
    """Call fn again where it was called before; neither calls nor other inputs may matter."""
    nudged = s.x + 2.0**-5 * s.nudge()
    for before, after in ((s.f(nudged), s.f(nudged)), (s.z, s.f(s.x))):
        moved = _moved(before, after)
        if moved.any():
            r = int(np.argmax(moved))
            return _check(s, STATE, f"fn gave {before[r]:.12g}, then {after[r]:.12g} for the same "
                          "input; freeze what it keeps between calls (u, v of a power iteration, "
                          "batch statistics, a random mask) while checking")  # fmt: skip
    if s.subject.spoiled:
        names = ", ".join(sorted(s.subject.spoiled))
        return _check(s, STATE, f"fn or its gradient changed {names} in place; work on a copy")
    return None


def _moved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    size = np.max(np.abs(before), initial=0.0, where=np.isfinite(before))
    return ~np.isclose(before, after, rtol=0, atol=256 * EPS * size, equal_nan=True)


def _claims(s: Survey) -> Check | None:
    """Ask for the claimed gradient of each row, twice for the first."""
    first = s.subject.pull(s.x, s.rows[0])
    for i, piece in enumerate(s.point.pieces):
        if first[i].shape != piece.shape:
            return _wrong_shape(s, i, first[i])
    claims = np.stack([s.pull(s.x, row) for row in s.rows])
    flat = np.concatenate([c.reshape(-1) for c in first])
    if _moved(claims[0], flat).any():
        return _check(s, STATE, "two calls of the gradient at the same input differ; freeze what "
                      "it keeps between calls")  # fmt: skip
    s.set_claims(np.nan_to_num(claims, nan=0.0, posinf=0.0, neginf=0.0))
    bad = np.argwhere(~np.isfinite(claims))
    if bad.size:
        r, i = (int(k) for k in bad[0])
        table = s.measure([i])
        table.claimed[0, r] = claims[r, i] * s.scale[i]
        worst = _entry(s, table, 0, r)
        kink = ", where fn has a kink" if s.line(s.unit(i)).kinks()[0][r] else ""
        return _check(s, NON_FINITE, f"the claimed gradient is {worst.claimed}{kink}", worst=worst)
    return None


def _wrong_shape(s: Survey, i: int, claimed: np.ndarray) -> Check:
    piece = s.point.pieces[i]
    s.set_claims(np.zeros((len(s.rows), s.x.size)))
    at = np.arange(piece.part.start, piece.part.stop)[:FULL_ENTRIES]
    found = [s.line(s.unit(int(k))).best() for k in at]
    value = np.array([d.value[0] for d in found]) / s.scale[at]
    slack = np.array([d.estimate[0] for d in found]) / s.scale[at] + 1e-5 * np.max(np.abs(value))

    def fits(candidate: np.ndarray) -> bool:
        return bool(np.all(np.abs(candidate.reshape(-1)[: at.size] - value) <= slack))

    message = (f"the claimed gradient of {piece.name} has shape {claimed.shape}, the input "
               f"{piece.shape}")  # fmt: skip
    return _check(s, WRONG, message, guess=guess_shape(claimed, piece.shape, fits))


# -- judging ------------------------------------------------------------------------


def _judge(s: Survey, table: Table) -> Check | None:
    failed = _failures(s, table)
    if not failed:
        if (_vanishes(s, table) & (table.claimed != 0)).any():
            s.slope = None
        if s.slope is not None and s.slope < 1.5:
            s.measure_slope(s.wide_noise())
        if s.slope is not None and s.slope < 1.5:
            return _check(s, WRONG, "every difference agrees, but the Taylor remainder falls too "
                          "slowly along a random direction")  # fmt: skip
        return None
    if not s.every_entry:
        closer = _localize(s, table, *failed[0][1])
        found = _failures(s, closer)
        if found:
            table, failed = closer, found
    diagnosis, (k, r) = failed[0]
    worst = _entry(s, table, k, r)
    if diagnosis == WRONG and _imprecise(s, table, r):
        diagnosis = PRECISION
        message = ("the claimed gradient agrees to about 7 digits, as many as float32 has; compute "
                   "it in float64")  # fmt: skip
    elif diagnosis == WRONG:
        s.measure_slope(s.noise, table.directions[k], r)
        message = _name_wrong(s, table)
    elif diagnosis == KINK:
        message = _describe_kink(s, table, k, r, worst)
    elif diagnosis == NON_FINITE:
        message = "fn is NaN or infinite beside this point, at every step; move away from the edge"
    else:
        message = ("fn's rounding hides its derivative, as when it computes in float32; the claim "
                   "can be neither confirmed nor refused: compute in float64")  # fmt: skip
    likely = _guess(s, table, k) if diagnosis == WRONG and worst.index is not None else ""
    ratio = float(table.ratio[k, r])
    return _check(s, diagnosis, message, guess=likely, worst=worst, ratio=ratio)


def _failures(s: Survey, t: Table) -> list[tuple[str, tuple[int, int]]]:
    """List what went wrong, the most certain first, each with its worst direction and row."""
    lost = ~np.isfinite(t.value)
    vanishes = _vanishes(s, t)
    wrong = ~lost & ~t.kink & ~vanishes & (t.ratio > 1)
    size = np.maximum(s.size, np.abs(t.claimed))
    floor = np.maximum(1e-8 * np.abs(s.z), 1e-12 * s.natural)
    weak = (t.estimate > np.maximum(WEAK * size, floor)) & ~wrong & ~lost & ~vanishes
    severity = np.where(t.kink, np.abs(t.claimed - t.value), t.ratio)
    found = []
    for name, mask in ((WRONG, wrong), (NON_FINITE, lost & ~t.kink), (KINK, t.kink),
                       (PRECISION, weak)):  # fmt: skip
        if mask.any():
            k, r = np.unravel_index(np.argmax(np.where(mask, severity, -1.0)), mask.shape)
            found.append((name, (int(k), int(r))))
    return found


def _vanishes(s: Survey, t: Table) -> np.ndarray:
    """Tell where the gradient is zero but for rounding, in the claim and in the differences.

    A difference that does not settle, of changes that the last digits of other numbers in
    the function explain, is no evidence against a claim of that size.
    """
    unsettled = (np.abs(t.value) <= 50 * t.estimate) & (t.estimate * t.step <= s.least)
    return unsettled & (np.abs(t.claimed) <= s.least)


def _localize(s: Survey, table: Table, k: int, r: int) -> Table:
    """Halve a failing direction down to one entry, and look at it and at some others."""
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


# -- saying it -----------------------------------------------------------------------


def _entry(s: Survey, t: Table, k: int, r: int) -> Entry:
    """Describe one comparison, in the units of the entry."""
    i = t.entries[k]
    of = ", of a random combination of the outputs"
    if s.every_row:
        output = [int(n) for n in np.unravel_index(r, s.subject.shape)]
        of = f", of output {output}" if output else ""
    name, index, point, unit = "a random direction", None, float("nan"), 1.0
    if i is not None:
        piece, index = s.point.locate(i)
        name, point, unit = piece.name, float(s.x[i]), float(s.scale[i])
    return Entry(name, index, point, of, float(t.claimed[k, r]) / unit, float(t.value[k, r]) / unit,
                 float(t.estimate[k, r]) / unit, float(t.step[k, r]) * unit)  # fmt: skip


def _describe_kink(s: Survey, t: Table, k: int, r: int, worst: Entry) -> str:
    line = s.line(t.directions[k])
    step = float(line.kinks()[1][r])
    near, far = np.array(line.sides(step / 4, r)), np.array(line.sides(step, r))
    if np.max(np.abs(near)) > 1.5 * np.max(np.abs(far)):
        return "fn jumps here, or is infinitely steep: it has no derivative; check elsewhere"
    left, right = near * (t.step[k, r] / worst.step)
    between = min(left, right) <= worst.claimed <= max(left, right)
    judged = "lies between them" if between else "is neither of them nor between them"
    return (f"fn has no derivative at this point: slope {left:.6g} on one side, {right:.6g} on the "
            f"other; the claim {judged}; check elsewhere")  # fmt: skip


def _name_wrong(s: Survey, t: Table) -> str:
    bad = sorted({s.point.locate(e)[0].name for e, row in zip(t.entries, t.ratio, strict=True)
                  if e is not None and (row > 1).any()})  # fmt: skip
    if bad:
        return f"wrong: the claimed gradient of {', '.join(bad)}"
    return "wrong along a random direction, but at none of the entries tried"


def _imprecise(s: Survey, t: Table, r: int) -> bool:
    """Whether rounding to float32 in the claim explains the error."""
    error = float(np.max(np.abs(t.claimed - t.value), initial=0.0, where=np.isfinite(t.value)))
    if error > 1e-4 * s.size[r]:
        return False
    row = s.claims[r]
    single = float(np.finfo(np.float32).eps)
    if np.array_equal(row, row.astype(np.float32)) and error <= 8 * single * s.size[r]:
        return True
    return error <= 32 * s.claim_noise(r)


def _guess(s: Survey, t: Table, k: int) -> str:
    piece, _ = s.point.locate(t.entries[k])
    chosen = [j for j, e in enumerate(t.entries) if piece.part.start <= e < piece.part.stop]
    at = np.array([t.entries[j] for j in chosen])
    claims = {p.name: s.claims[:, p.part].reshape(-1, *p.shape) for p in s.point.pieces}
    claimed = claims.pop(piece.name)
    lengths = {n for p in s.point.pieces for n in p.shape} | set(s.subject.shape)
    unit = s.relative[at] / s.scale[at]
    found = Evidence(piece.name, claimed, claims, at - piece.part.start, s.relative[at],
                     t.value[chosen].T * unit, t.estimate[chosen].T * unit,
                     frozenset(lengths - {1}))  # fmt: skip
    g = s.rng.uniform(0.5, 1.5, s.subject.shape)
    neglect = guess_incoming(lambda v: s.pull(s.x, v.reshape(-1))[piece.part], g)
    return (neglect if s.order == 1 else "") or guess(found)
