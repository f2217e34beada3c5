"""The words of a report: a verdict, which entry, what a kink looks like, what was accepted."""

from __future__ import annotations

import numpy as np

from .differences import BASE
from .report import RIGHT, Check, Entry
from .survey import BENT, EDGE, MEET, SMOOTH, STEEP, TINY, ZERO, Survey, Table


def check_of(
    s: Survey,
    diagnosis: str = RIGHT,
    message: str = "",
    *,
    guess: str = "",
    worst: Entry | None = None,
    ratio: float = 0.0,
) -> Check:
    """Return a verdict on what was surveyed."""
    return Check(s.order, diagnosis, message, guess, worst, ratio, s.slope, s.scope)


def entry_of(s: Survey, t: Table, k: int, r: int) -> Entry:
    """Describe one comparison, in the units of the entry."""
    i = t.entries[k]
    of = ", of a random combination of the outputs" if s.y.size > 1 else ", for a g other than 1"
    if s.every_row and r < s.y.size:
        place = s.subject.place(r)
        of = f", of {place}" if place else ""
    name, index, point, unit = "a random direction", None, float("nan"), 1.0
    if i is not None:
        piece, index = s.point.locate(i)
        name, point, unit = piece.name, float(s.x[i]), float(s.scale[i])
    numbers = (t.claimed[k, r], t.value[k, r] if t.kind[k, r] != STEEP else np.inf,
               t.estimate[k, r])  # fmt: skip
    claimed, value, bar = (float(n / unit * s.unit_of[r]) for n in numbers)
    return Entry(name, index, point, of, claimed, value, bar, float(t.step[k, r]) * unit)


def describe_kink(s: Survey, t: Table, k: int, r: int) -> str:
    """Explain why f has no derivative along a line."""
    if t.kind[k, r] == STEEP:
        return "fn jumps here, or is infinitely steep: it has no derivative; check elsewhere"
    return f"fn has no derivative at this point: {slopes_of(s, t, k, r)}"


def raised_beside(s: Survey, t: Table, k: int) -> str:
    """Say what fn raises at the smallest change along a line that it refuses; "" if it is wide."""
    d, i = t.directions[k], t.entries[k]
    for step in sorted(n for n in s.line(d).ladder(1) if n < BASE):
        for change in (step, -step):
            try:
                s.subject.value(s.x + change * d)
            except Exception as error:  # whatever fn raises
                told = " ".join(f"{type(error).__name__}: {error}".split())[:160]
                where = "a random direction"
                if i is not None:
                    piece, index = s.point.locate(i)
                    where = f"{piece.name} {list(index)}" if index else piece.name
                    change *= float(s.scale[i])
                return (
                    f"fn raises {told}, where {where} changes by {change:.1e}: differences need "
                    "fn there; check at a point with room around it, or leave this error out of fn"
                )
    return ""


def slopes_of(s: Survey, t: Table, k: int, r: int) -> str:
    """Describe the slopes on both sides, and where the claim lies."""
    unit = 1.0 if t.entries[k] is None else s.scale[t.entries[k]]
    line = s.line(t.directions[k])
    left, right = (line.side(sign).value[r] / unit * s.unit_of[r] for sign in (-1, 1))
    claimed = t.claimed[k, r] / unit * s.unit_of[r]
    inside = t.low[k, r] - t.estimate[k, r] <= t.claimed[k, r] <= t.high[k, r] + t.estimate[k, r]
    judged = "lies between them" if inside else "is neither of them nor between them"
    return (
        f"slope {left:.6g} on one side, {right:.6g} on the other; the claim {claimed:.6g} {judged}"
    )


def wrong_inputs(s: Survey, t: Table) -> list[str]:
    """Return the names of the inputs with a wrong gradient."""
    pairs = zip(t.entries, t.ratio, strict=True)
    wrong = [e for e, row in pairs if e is not None and (row > 1).any()]
    return sorted({s.point.locate(e)[0].name for e in wrong})


def name_wrong(s: Survey, t: Table) -> str:
    """Name the inputs with a wrong gradient, in words."""
    bad = wrong_inputs(s, t)
    if not bad:
        return "wrong along a random direction, but at none of the entries tried"
    message = f"wrong: the claimed gradient of {', '.join(bad)}"
    for k, row in enumerate(t.ratio):
        r = int(np.argmax(row))
        if t.entries[k] is not None and row[r] > 1 and t.kind[k, r] == BENT:
            return f"{message}; fn has a kink there: {slopes_of(s, t, k, r)}"
    return message


def notes_of(s: Survey, t: Table) -> tuple[str, ...]:
    """Return notes on accepted kinks, one-sided points, and derivatives below rounding."""
    notes = []
    t.kind[_hidden(s, t)] = ZERO
    for kind, words in (
        (BENT, "fn has a kink there, and the claim is a subgradient"),
        (MEET, "several kinks of fn meet there, and beside them the claim is right"),
        (EDGE, "fn is defined on one side only, and was checked on that side"),
        (TINY, "fn's rounding hides the derivative; of the claim only the size was checked"),
        (ZERO, "the claim is 0, and the differences would not show a derivative below"),
    ):
        seen = np.argwhere((t.kind == kind) & (t.ratio <= 1))
        if seen.size:
            k, r = (int(n) for n in seen[0])
            more = len({int(a) for a, _ in seen}) - 1
            others = f" and {more} more" if more else ""
            entry = entry_of(s, t, k, r)
            detail = f": {slopes_of(s, t, k, r)}" if kind == BENT else ""
            detail = f": {entry.claimed:.2g} ± {entry.estimate:.1g}" if kind == TINY else detail
            if kind == ZERO:
                detail = f" {max(entry_of(s, t, *map(int, at)).estimate for at in seen):.1g}"
            notes.append(f"{entry.place}{others}: {words}{detail}")
    return tuple(notes)


def _hidden(s: Survey, t: Table) -> np.ndarray:
    """Return which claims of 0 may leave out a derivative below rounding, [directions, rows].

    Where fn does not move, as beside a maximum, only the entries of an input without any other
    claim count, and none if fn is 0, which has digits at every scale.
    """
    found = np.zeros(t.kind.shape, dtype=bool)
    plain = (t.kind == SMOOTH) & (t.claimed == 0) & np.isfinite(t.estimate)
    for k in np.flatnonzero(plain[:, s.own].all(axis=1)):
        i = t.entries[k]
        if i is None and s.every_entry:
            continue
        part = slice(None) if i is None else s.point.locate(i)[0].part
        moves = any(np.any(s.f(s.x + c * BASE * t.directions[k]) != s.z) for c in (1, -1))
        alone = s.order == 1 and not np.any(s.claims[s.own, part]) and np.any(s.z[s.own])
        r = int(np.argmax(t.estimate[k, s.own]))
        found[k, r] = (moves or alone) and t.estimate[k, r] > 0
    return found
