"""The evidence on one input's wrong gradient, at the point and at other points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .differences import EPS, Line
from .subject import Piece
from .survey import SMOOTH, TINY, Survey, Table

WITNESSES = 64
"""How many entries are compared again at other points."""


@dataclass(frozen=True)
class Evidence:
    """The claimed gradient of one input beside differences, for some entries and output rows.

    Args:
        name: name of the input.
        claimed: the claimed gradient in each row, [rows, *shape].
        others: claimed gradients of the other inputs, by name.
        x, y: the input, and the flat outputs.
        inputs: the other inputs of the same shape, by name.
        at: flat positions of the compared entries.
        scale: size of each compared entry, which makes derivatives comparable.
        value, estimate: differences and their error estimates, times the scale, [rows, entries].
        outputs: how many rows are single outputs; the others are combinations.
        shape: shape of the output.
        place: names a single output, by its row.
        lengths: lengths of the axes of inputs and output, except 1.
        whole: whether no entry can be wrong but those compared.
    """

    name: str
    claimed: np.ndarray
    others: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    inputs: dict[str, np.ndarray]
    at: np.ndarray
    scale: np.ndarray
    value: np.ndarray
    estimate: np.ndarray
    outputs: int
    shape: tuple[int, ...]
    place: Callable[[int], str]
    lengths: frozenset[int]
    whole: bool

    @property
    def slack(self) -> np.ndarray:
        """The largest distance from the differences that still agrees, [rows, entries]."""
        peak = np.max(np.abs(self.value), axis=1, keepdims=True)
        error = np.abs(self.taken(self.claimed) - self.value)
        worst = float(np.max(error / np.where(peak > 0, peak, 1.0), initial=0.0))
        return self.estimate + min(1e-6, 0.01 * worst) * peak

    def taken(self, candidate: np.ndarray) -> np.ndarray:
        """Return the compared entries of a gradient, in units of the differences."""
        return candidate.reshape(len(candidate), -1)[:, self.at] * self.scale

    @property
    def bad(self) -> np.ndarray:
        """Whether the claim disagrees with the differences, [rows, entries]."""
        return ~(np.abs(self.taken(self.claimed) - self.value) <= self.slack)

    @property
    def telling(self) -> int:
        """How many nonzero derivatives were compared, of single outputs if there are any."""
        real = self.value[: self.outputs] if self.outputs else self.value
        return int(np.count_nonzero(np.abs(real) > 3 * self.slack[: len(real)]))

    def fits(self, candidate: np.ndarray) -> bool:
        """Return whether a gradient agrees with the differences in every compared entry."""
        if candidate.shape != self.claimed.shape or not np.isfinite(candidate).all():
            return False
        return bool(np.all(np.abs(self.taken(candidate) - self.value) <= self.slack))


def gather(s: Survey, t: Table, k: int) -> Evidence | None:
    """Collect a table's evidence on the input that its k-th direction moves."""
    piece, _ = s.point.locate(t.entries[k])
    chosen = [
        j
        for j, e in enumerate(t.entries)
        if e is not None
        and piece.part.start <= e < piece.part.stop
        and np.isin(t.kind[j], (SMOOTH, TINY)).all()
        and np.isfinite(t.low[j]).all()
    ]
    if not chosen:
        return None
    at = np.array([t.entries[j] for j in chosen])
    value, estimate = t.low[chosen].T, t.estimate[chosen].T
    return _evidence(s, piece, at, s.x, s.claims, s.y, value, estimate)


def elsewhere(s: Survey, first: Evidence) -> list[Evidence]:
    """Compare the same entries at other points: one nearby, two with the values permuted.

    An explanation that fits one point by chance fails at the others. A mistake that depends on
    the values of the entries moves with the values; one that depends on their places stays. A
    point gives no evidence if f or the claim is not finite there, or if nothing is wrong there;
    if no point gives any, a nearer point is tried.
    """
    piece = next(p for p in s.point.pieces if p.name == first.name)
    points = [s.x, s.x.copy(), s.x.copy()]
    for x in points[1:]:
        x[piece.part] = s.rng.permutation(x[piece.part])
    tried = (_look(s, first, piece, x + 2.0**-4 * s.nudge()) for x in points)
    found = [other for other in tried if other is not None]
    if not found:
        near = _look(s, first, piece, s.x + 2.0**-10 * s.nudge())
        found = [] if near is None else [near]
    return found


def toward_largest(s: Survey, first: Evidence) -> Evidence | None:
    """Compare the same entries where each of the input has moved toward the largest one.

    There the entries keep neither their ranks nor their distances from 0. Something need not be
    wrong there.
    """
    piece = next(p for p in s.point.pieces if p.name == first.name)
    x = s.x.copy()
    share = s.rng.uniform(0.3, 0.9, piece.part.stop - piece.part.start)
    x[piece.part] += share * (np.max(x[piece.part]) - x[piece.part])
    return _measured(s, first, piece, x)


def _look(s: Survey, first: Evidence, piece: Piece, x: np.ndarray) -> Evidence | None:
    """Return the evidence at another point, or None if there is none or nothing is wrong."""
    other = _measured(s, first, piece, x)
    return other if other is not None and other.bad.any() else None


def _measured(s: Survey, first: Evidence, piece: Piece, x: np.ndarray) -> Evidence | None:
    """Return the evidence at another point, or None if there is none."""
    z = s.f(x)
    try:
        claims = np.stack([s.pull(x, row) for row in s.rows]) / s.unit_of[:, None]
    except Exception:  # fn or the claim is undefined there
        return None
    # wrong entries and right ones, half of each where there are enough
    bad = first.bad.any(axis=0)
    rank = np.where(bad, np.cumsum(bad), np.cumsum(~bad))
    at = first.at[np.sort(np.argsort(rank, kind="stable")[:WITNESSES])] + piece.part.start
    noise = np.fmax(s.noise, EPS * np.abs(z))
    found = [Line(s.f, x, s.unit(int(i)), noise).central() for i in at]
    value = np.stack([d.value for d in found], axis=1)
    estimate = np.stack([d.estimate for d in found], axis=1)
    if not (np.isfinite(value).all() and np.isfinite(z).all() and np.isfinite(claims).all()):
        return None
    return _evidence(s, piece, at, x, claims, s.subject.value(x), value, estimate)


def _evidence(
    s: Survey,
    piece: Piece,
    at: np.ndarray,
    x: np.ndarray,
    claims: np.ndarray,
    y: np.ndarray,
    value: np.ndarray,
    estimate: np.ndarray,
) -> Evidence:
    unit = s.relative[at] / s.scale[at]
    claimed = {p.name: claims[:, p.part].reshape(len(claims), *p.shape) for p in s.point.pieces}
    inputs = {p.name: x[p.part].reshape(p.shape) for p in s.point.pieces}
    own, here = claimed.pop(piece.name), inputs.pop(piece.name)
    same = {name: a for name, a in inputs.items() if a.shape == here.shape}
    lengths = {n for p in s.point.pieces for n in p.shape} | set(s.subject.shape)
    return Evidence(
        piece.name,
        own,
        claimed,
        here,
        y,
        same,
        at - piece.part.start,
        s.relative[at],
        value * unit,
        estimate * unit,
        s.y.size if s.every_row else 0,
        s.subject.shape,
        s.subject.place,
        frozenset(lengths - {1}),
        s.whole,
    )
