"""From a table of differences to a verdict: which claims fail, and what the worst one says."""

from __future__ import annotations

import numpy as np

from .causes import cause_of, rounding
from .differences import EPS
from .linear import nonlinear
from .report import KINK, NON_FINITE, PRECISION, WRONG, Check
from .survey import BENT, FULL_ENTRIES, SINGLE, STEEP, TINY, Survey, Table
from .wording import check_of, describe_kink, entry_of, name_wrong, raised_beside, wrong_inputs

SAMPLE = 32
"""How many entries are measured one by one after a random direction failed."""
CLOSE_ROWS = 512
"""How many outputs are compared one by one to name a mistake."""
WEAK = 0.1
"""An error estimate above this fraction of a derivative leaves no correct digit."""


def judge(s: Survey, table: Table, kinks: bool) -> Check | None:
    """Return what the worst difference says, or None if every claim agrees."""
    failed = _failures(s, table, kinks)
    if not failed:
        return None
    if not s.every_entry:
        closer = _localize(s, table, *failed[0][1])
        found = _failures(s, closer, kinks)
        if found:
            table, failed = closer, found
    while failed and failed[0][0] == WRONG and _excuse(s, table, failed[0][1][1]):
        failed = _failures(s, table, kinks)
    if not failed:
        return None
    diagnosis, (k, r) = failed[0]
    worst = entry_of(s, table, k, r)
    likely = ""
    rounded = _imprecise(s, table, r) if diagnosis == WRONG else ""
    if diagnosis in (WRONG, KINK) and _unresolved(s, table.directions[k], r):
        rounded = (
            "fn moves by a large part of its value from one float64 to the next, so no difference "
            "shows its derivative; check at smaller inputs"
        )
    if rounded:
        diagnosis, message = PRECISION, rounded
    elif diagnosis == WRONG:
        s.measure_slope(table.directions[k], r)
        message = name_wrong(s, table)
        entry = worst.index is not None
        likely = rounding(s, table, k) if entry else ""
        likely = likely or (nonlinear(s) if s.order == 1 else "")
        if not likely and entry:
            likely = _cause_by_output(s, table, k) or cause_of(s, table, k)
            told = likely.startswith(f"the gradients of {worst.name} and ")
            if likely and not told and len(wrong_inputs(s, table)) > 1:
                likely = f"of {worst.name}, {likely}"
    elif diagnosis == KINK:
        message = describe_kink(s, table, k, r)
    elif diagnosis == NON_FINITE:
        message = raised_beside(s, table, k) or (
            "fn is NaN or infinite beside this point, at every step; check at another point"
        )
    elif table.kind[k, r] == TINY:
        message = raised_beside(s, table, k) or (
            "the derivative is 0 up to fn's rounding, and so are all claims: they can be neither "
            "confirmed nor refuted; check where the derivative is larger"
        )
    else:
        message = raised_beside(s, table, k) or (
            "the differences have no digit of the derivative (fn rounds, as float32 or large terms "
            "that cancel do, or bends within each step); the claim can be neither confirmed nor "
            "refuted here"
        )
    ratio = float(table.ratio[k, r])
    return check_of(s, diagnosis, message, guess=likely, worst=worst, ratio=ratio)


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
        fine = np.where(s.noise > SINGLE * np.abs(s.z), 1e-3, 1e-6)
        beside = (bar <= fine * row) & (t.error <= bar)
        weak = ~(bar <= WEAK * size)
    for k in np.flatnonzero(weak.any(axis=1)):
        moved, hidden = s.reach(t.directions[k])
        small[k] = (small[k] | (bar[k] <= 1e-10 * moved)) & ~hidden | beside[k]
    return weak, small


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
    rest = s.direction()
    rest[worst] = 0.0
    s.whole = not bool((s.measure([None], [rest]).ratio > 1).any())
    others = s.rng.permutation(np.setdiff1d(np.arange(part.start, part.stop), [worst]))
    return s.measure([worst, *map(int, np.sort(others[: SAMPLE - 1]))])


def _unresolved(s: Survey, d: np.ndarray, r: int) -> bool:
    """Return whether a row moves too far between neighboring numbers, as the cosine of 1e16."""
    near = np.arange(-4, 5)
    ends = [s.f(s.x + n * np.sign(d) * np.spacing(np.abs(s.x)))[r] for n in near]
    wide = [s.f(s.x + t * d)[r] for t in s.line(d).ladder()[:4]]
    moves = np.median(np.abs(np.diff(ends)))
    return bool(moves > 2.0**-9 * np.max(np.abs([*ends, *wide])))


def _imprecise(s: Survey, t: Table, r: int) -> str:
    """Return what the claim's errors in a row are if rounding explains each of them, or ""."""
    wrong = np.flatnonzero(t.ratio[:, r] > 1)
    row, error = s.claims[r], t.error[wrong, r]
    size = np.array([np.abs(t.directions[k]) @ np.abs(row) for k in wrong])
    if not np.all(error <= 1e-4 * size):
        return ""
    bits = np.frexp(row)[0] * 2.0**12
    alone = [t.entries[k] for k in wrong if t.entries[k] is not None]
    # numbers with few digits are exact in float32, too
    single = np.array_equal(row, row.astype(np.float32)) and np.all(bits[alone] % 1 != 0)
    whole = float(np.max(np.abs(row * s.scale), initial=0.0))
    if single and np.all(error <= 8 * float(np.finfo(np.float32).eps) * np.maximum(size, whole)):
        return (
            "the claimed gradient agrees to about 7 digits, as many as float32 has; compute "
            "it in float64"
        )
    if np.all(error <= 32 * _noise_of_claim(s, t, r)[wrong]):
        return (
            "the claimed gradient is right up to its own noise, as float32, differences or an "
            "iteration that stops early leave it; compute it in float64 and to the end"
        )
    return ""


def _noise_of_claim(s: Survey, t: Table, r: int) -> np.ndarray:
    """Return the noise of a row's claim along each direction of a table."""
    noise = s.claim_noise(r) / s.scale
    return np.array([np.abs(d) @ noise for d in t.directions])


def _excuse(s: Survey, t: Table, r: int) -> bool:
    """Excuse errors in a row that the claim's own rounding in float64 explains, as after a mean.

    The table's estimates grow to these errors; return whether any did.
    """
    size = float(np.max(np.abs(t.value[:, r]), initial=0.0, where=np.isfinite(t.low[:, r])))
    wrong = (t.ratio[:, r] > 1) & (t.error[:, r] <= SINGLE * size)
    excused = wrong & (t.error[:, r] <= 32 * _noise_of_claim(s, t, r)) if wrong.any() else wrong
    t.estimate[excused, r] = t.error[excused, r]
    return bool(excused.any())
