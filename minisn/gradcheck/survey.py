"""Claimed and numerical derivatives side by side, along entries or random directions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..errors import ShapeError
from .differences import BASE, EPS, ROUNDING, SPACINGS, Difference, Line, noise_level, taylor_slope
from .subject import Subject

FULL_ENTRIES = 256
FULL_ROWS = 64
FULL_SIZE = 4096
DIRECTIONS = 4
SINGLE = 2.0**-29
"""Noise above this fraction of the values comes from float32."""
CANCELED = 2.0**-40
"""Steps up to this fraction of the largest number are rounding errors of terms that cancel."""
COARSE = 2.0**-12
"""Steps up to this fraction of the largest number may be rounding errors."""
FLAT = 1e-5
"""Steps up to this fraction may be rounding errors where fn is flat between them."""
SMOOTH, BENT, STEEP, EDGE, TINY, MEET, ZERO = range(7)
"""Kinds of a function along a line: differentiable; with a kink; with a jump or an infinite slope;
defined on one side only; with a derivative below rounding; with several kinks; with a claim of 0
that rounding may make right."""


def away_from_zero(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    """Draw numbers of size 1/2 to 3/2 and random sign."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


@dataclass
class Table:
    """Claims beside differences, [directions, rows], in units of the directions.

    At a kink, every slope from ``low`` to ``high`` counts as a derivative; elsewhere the two are
    equal. ``entries`` holds the entry that each direction moves, or None if it moves several.
    """

    directions: list[np.ndarray]
    entries: list[Any]
    claimed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    estimate: np.ndarray
    step: np.ndarray
    kind: np.ndarray

    @property
    def value(self) -> np.ndarray:
        """The derivative nearest to the claim."""
        return np.clip(self.claimed, self.low, self.high)

    @property
    def error(self) -> np.ndarray:
        """The distance of each claim from the nearest derivative."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.abs(self.claimed - self.value)

    @property
    def ratio(self) -> np.ndarray:
        """Error in units of its estimate; infinite where there is no difference."""
        error = self.error
        found = np.divide(error, self.estimate, out=np.zeros_like(error), where=error > 0)
        return np.where(np.isfinite(self.low), found, np.inf)


@dataclass
class Along:
    """The measurements along one line, one entry per row."""

    low: np.ndarray
    high: np.ndarray
    estimate: np.ndarray
    step: np.ndarray
    kind: np.ndarray

    def fits(self, claimed: np.ndarray) -> np.ndarray:
        """Return which claims lie within the error estimate."""
        error = np.maximum(self.low - claimed, claimed - self.high)
        return (error <= self.estimate) & (self.kind != STEEP)

    def merged(self, where: np.ndarray, other: Along) -> Along:
        """Return the measurements with some rows from another one."""
        pairs = ((getattr(other, f.name), getattr(self, f.name)) for f in fields(Along))
        return Along(*(np.where(where, new, old) for new, old in pairs))

    def take(self, where: np.ndarray, other: Difference) -> None:
        """Replace the measurements of some rows by a difference."""
        self.low, self.high = (np.where(where, other.value, a) for a in (self.low, self.high))
        self.estimate = np.where(where, other.estimate, self.estimate)
        self.step = np.where(where, other.step, self.step)


def _plain(found: Difference) -> Along:
    kind = np.full(found.value.shape, SMOOTH)
    return Along(found.value, found.value, found.estimate, found.step, kind)


class Survey:
    """A subject and its claim, evaluated around the point.

    The *rows* are the numbers to differentiate: two random combinations of the outputs and, where
    there are few outputs, every output. The combinations have both signs and different sizes,
    because a backward must be right for every g. Only the ``own`` rows are differentiated; with
    every output, the combinations follow from them.

    Args:
        subject: the function and its claim.
        order: order of the derivative.
        full: compare every entry and output (True) or random directions (False); None decides
            by size.
        rng: random generator of the directions.
        at: another point than the subject's.
    """

    def __init__(
        self,
        subject: Subject,
        order: int,
        full: bool | None,
        rng: np.random.Generator,
        at: np.ndarray | None = None,
    ):
        self.subject, self.order, self.rng = subject, order, rng
        self.point = subject.point
        self.x = self.point.x if at is None else at
        self.y = subject.value(self.x)
        n, m = self.x.size, self.y.size
        few = m <= FULL_ROWS and n * m <= FULL_SIZE and order == 1
        self.every_row = m == 1 or (few if full is None else full)
        self.every_entry = n <= FULL_ENTRIES if full is None else full
        sign = rng.choice([-1.0, 1.0], m)
        drawn = sign * rng.uniform(0.5, 1.5, (2, m)) * np.array([[3.0], [-0.3]])
        drawn *= 2.0**-20 if np.any(np.abs(self.y) > 2.0**300) else 1.0
        if not self.every_row and m > 1:
            drawn = np.vstack([drawn, *self._evened(drawn[0])])
        self.rows = np.vstack([np.eye(m), drawn]) if self.every_row else drawn
        self.own = slice(m if self.every_row else len(drawn))
        # rows as large as exp(700) get a unit of their own
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.abs(self._rows(self.y))
            size = np.where(np.isfinite(size), size, np.max(np.abs(self.y), initial=0.0))
        huge = np.isfinite(size) & (size > 2.0**300)
        self.unit_of = np.where(huge, 2.0 ** np.floor(np.log2(np.where(huge, size, 1.0))), 1.0)
        self.z = self._combine(self.y)
        self.slope: float | None = None
        self.whole = self.every_entry
        """Whether the entries compared one by one are all that can be wrong."""
        # the size of each entry: at least its input's typical size, and its own size
        self.scale = self.point.scale()
        self.relative = np.where(self.x != 0, np.abs(self.x), self.scale)

    def _evened(self, weights: np.ndarray) -> list[np.ndarray]:
        """Return a combination in which outputs of unlike sizes weigh alike, if they are unlike."""
        size = np.abs(self.y)
        finite = np.isfinite(size)
        size = np.where((size > 0) & finite, size, np.max(size, where=finite, initial=0.0))
        least = np.min(size)
        return [weights * (least / size)] if np.max(size) > 2.0**16 * least > 0 else []

    @property
    def scope(self) -> str:
        """How much is compared, in words."""
        n, m = self.x.size, self.y.size
        what = f"all {n} entries" if self.every_entry else f"{DIRECTIONS} directions in {n} entries"
        combined = "" if self.every_row else f"{len(self.rows)} combinations of "
        return f"{what}, {combined}{m} output{'s' if m > 1 else ''}"

    def set_claims(self, claims: np.ndarray) -> None:
        """Store the claimed gradients, [rows, entries], and measure the noise around the point."""
        self.claims = claims / self.unit_of[:, None]
        self.noise = self.measure_noise()
        self._wide: np.ndarray | None = None

    def f(self, x: np.ndarray) -> np.ndarray:
        """Return the rows at x; NaN if the function raises an error there."""
        try:
            y = self.subject.value(x)
        except Exception:  # fn is undefined there, in whatever way it says so
            return np.full(self.z.shape, np.nan)
        if y.shape != self.y.shape:
            raise ShapeError(
                f"gradcheck: fn returned {self.y.size} numbers at the inputs and {y.size} beside "
                "them; a gradient needs a shape that does not depend on the values"
            )
        return self._combine(y)

    def _rows(self, y: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):
            mixed = self.rows[len(y) if self.every_row else 0 :] @ y
        return np.concatenate([y, mixed]) if self.every_row else mixed

    def _combine(self, y: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            parts = y / np.max(self.unit_of, initial=1.0)
            whole = self._rows(parts) * (np.max(self.unit_of, initial=1.0) / self.unit_of)
            return np.where(self.unit_of == 1.0, self._rows(y), whole)

    def pull(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Return the flat claimed gradient for an incoming gradient."""
        return np.concatenate([c.astype(np.float64).reshape(-1) for c in self.subject.pull(x, g)])

    def measure_noise(self) -> np.ndarray:
        """Return the noise of each row."""
        size = self.natural
        found = noise_level(
            self.f, self.x, self.nudge(), height=max(CANCELED * size, ROUNDING), still=EPS * size
        )
        loud = found > CANCELED * size
        if loud.any():  # a ripple of fn is no rounding
            line = Line(self.f, self.x, self.nudge(), np.zeros_like(found))
            finest = SPACINGS[0], SPACINGS[0] / 1024
            close, deep = (noise_level(self.f, self.x, line.d, (n,)) for n in finest)
            fine, far = np.where(deep > 0, deep, close), np.abs(line(2.0**-3) - self.z)
            waves, least = found > far / 64, np.maximum(fine, EPS * np.abs(self.z))
            doubt = loud & (waves | (found > 64 * least))
            ripple = doubt & ~line.jumps(np.where(doubt, found, 0.0)) if doubt.any() else doubt
            lost = ripple & waves & (fine > 0.01 * found)  # it is faster than the digits of x
            found = np.where(lost, np.inf, np.where(ripple, fine, found))
        return np.maximum(found, EPS * np.abs(self.z))

    @property
    def natural(self) -> float:
        """The size of the largest number that f may add to smaller ones, as far as is known."""
        return float(max(np.max(np.abs(a), initial=0.0) for a in (self.x, self.z)))

    def claim_noise(self, r: int) -> np.ndarray:
        """Return the noise of each entry in a row's claimed gradient, in units of the steps."""

        def claim(x: np.ndarray) -> np.ndarray:
            return self.scale * self.pull(x, self.rows[r]) / self.unit_of[r]

        d = self.nudge()
        noise = noise_level(claim, self.x, d, SPACINGS[3:])
        # noise in steps wider than the spacings is not measured, but is no smaller than others'
        moves = claim(self.x + SPACINGS[5] * d) != claim(self.x)
        return np.where((noise == 0) & moves, np.max(noise), noise)

    def nudge(self) -> np.ndarray:
        """Draw a direction that changes every entry by about the entry's own size."""
        return self.relative * away_from_zero(self.rng, self.x.size)

    def direction(self) -> np.ndarray:
        """Draw a direction that changes every entry by about the size of its input.

        If fn is defined on one side of 0 only, all zeros move to that side.
        """
        d = self.scale * away_from_zero(self.rng, self.x.size)
        if not any(np.isfinite(self.f(self.x + t * d)).all() for t in (-(2.0**-20), 2.0**-20)):
            for sign in (1.0, -1.0):
                one = np.where(self.x == 0, sign * np.abs(d), d)
                if np.isfinite(self.f(self.x + 2.0**-20 * one)).all():
                    return one
        return d

    def line(self, d: np.ndarray) -> Line:
        """Return the rows along a direction."""
        return Line(self.f, self.x, d, self.noise)

    def unit(self, i: int) -> np.ndarray:
        """Return the direction of one entry."""
        d = np.zeros_like(self.x)
        d[i] = self.scale[i]
        return d

    def measure(
        self, entries: list, directions: list[np.ndarray] | None = None, close: bool = False
    ) -> Table:
        """Compare claims and differences along some entries or directions.

        Args:
            entries: positions of the entries; None for a direction that moves several.
            directions: the directions, if they are not those of the entries.
            close: use all steps even where two leave no doubt.
        """
        directions = directions or [self.unit(i) for i in entries]
        with np.errstate(over="ignore", invalid="ignore"):
            claimed = np.stack([self.claims @ d for d in directions])
        pairs = zip(directions, claimed, strict=True)
        found = [self._along(self.line(d), c, close) for d, c in pairs]
        columns = ("low", "high", "estimate", "step", "kind")
        stacked = (np.stack([getattr(a, name) for a in found]) for name in columns)
        return Table(directions, entries, claimed, *stacked)

    def _along(self, line: Line, claimed: np.ndarray, close: bool) -> Along:
        """Differentiate along a line: with two steps, then with all if these leave a doubt."""
        quick = line.difference(BASE)
        error = np.abs(claimed - quick.value)
        natural = np.minimum(np.abs(self.z), 1e3 * float(np.max(self.relative)))
        limit = np.where(claimed == 0, 1e-8 * natural, 1e-6 * np.abs(quick.value))
        # two steps of a smooth fn give two digits more than their estimate
        better = quick.value + (quick.value - line.at(BASE)) / 15
        slack = np.maximum(quick.estimate / 100, 128 * self.noise / BASE)
        fine = (
            (np.abs(claimed - better) <= slack)
            & (error <= quick.estimate)
            & (quick.estimate <= limit)
            & ~line.bent(BASE)
            & ((claimed != 0) | (quick.value == 0))
        )
        if fine[self.own].all() and not close:
            return self._mixed(_plain(quick))
        found = self._closely(line)
        vague = found.fits(claimed) & (found.estimate > 0.1 * np.abs(found.low))
        if vague.any() and line.unsettled().any():  # wider steps may see a kink close by
            near = self._closely(line, least=True)
            kink = vague & near.fits(claimed) & (near.kind == BENT)
            found = found.merged(kink, near)
        flat = (claimed == 0) & (found.low == 0) & (found.high == 0)
        if flat.any() or not found.fits(claimed)[self.own].all():
            other = self._rounded(line, found, claimed, flat)
            found = found if other is None else other
        if not found.fits(claimed)[self.own].all():
            own = noise_level(self.f, self.x, np.where(line.d != 0, self.relative, 0.0))
            if np.any(own > 4 * self.noise):  # other entries' digits have masked it
                found = self._with_noise(line, np.maximum(self.noise, own))
            quiet = (own < self.noise / 64) & ~found.fits(claimed)
            if quiet.any():  # other entries' digits were taken for its noise
                least = np.maximum(own, EPS * np.abs(self.z))
                again = self._with_noise(line, np.where(quiet, least, self.noise))
                found = found.merged(quiet & (again.estimate < 0.1 * np.abs(again.low)), again)
        if not found.fits(claimed)[self.own].all() and not np.any(line.x[line.d != 0]):
            self._at_zero(line, found, claimed)
        return self._mixed(found)

    def _at_zero(self, line: Line, found: Along, claimed: np.ndarray) -> None:
        """Accept a claim by steps far below those of other entries: 0 has digits at every scale.

        To wider steps, sin(x / 1e-30) looks like noise. A right claim tells the scale: over it, fn
        moves by about as much as over wider steps.
        """
        fine = Line(line.f, line.x, line.d, EPS * np.abs(self.z))
        moves = np.abs(line(line.ladder()[-1]) - line(0.0))
        with np.errstate(all="ignore"):
            tops = 4.0 ** np.round(np.log2(moves / np.abs(claimed)) / 2)
            lost = (tops > 1e-290) & (tops < 1.0) & ~found.fits(claimed)
            scales = [[float(top) * 4.0**-k for k in range(16)] for top in np.unique(tops[lost])]
            for deep in (fine.central(2), *(fine.settle(steps, fine.at) for steps in scales)):
                sure = (np.abs(claimed - deep.value) <= deep.estimate) & ~found.fits(claimed)
                sure &= deep.estimate <= 1e-3 * np.abs(deep.value)
                found.take(sure, deep)
                found.kind = np.where(sure, SMOOTH, found.kind)

    def _mixed(self, found: Along) -> Along:
        """Derive the combinations from the outputs: in a combination, large outputs hide others."""
        if self.every_row:
            m = self.own.stop
            w = self.rows[m:] * self.unit_of[:m] / self.unit_of[m:, None]
            up, down = np.maximum(w, 0), np.minimum(w, 0)
            low, high, estimate = found.low[:m], found.high[:m], found.estimate[:m]
            found.low = np.r_[low, up @ low + down @ high]
            found.high = np.r_[high, up @ high + down @ low]
            found.estimate = np.r_[estimate, np.abs(w) @ estimate]
            found.kind[m:] = np.max(found.kind[:m])
        return found

    def _closely(self, line: Line, least: bool = False) -> Along:
        """Differentiate with all steps, and from each side.

        Args:
            line: the rows along a direction.
            least: no finer steps, even where these are too wide.
        """
        depth = 0
        steep = line.steep(1) | line.steep(-1)
        whole = all(np.isfinite(line(t) + line(-t)).all() for t in line.ladder())
        if not least and (steep.any() or not whole or line.unsettled().any()):
            depth, steep = 1, line.steep(1, 1) | line.steep(-1, 1)
            if steep.any() or line.unsettled(1).any():
                depth, steep = 2, line.steep(1, 2) | line.steep(-1, 2)
        both, left, right = line.central(depth), line.side(-1, depth), line.side(1, depth)
        with np.errstate(invalid="ignore"):
            gap = np.abs(left.value - right.value)
            bend = (gap > left.estimate + right.estimate) & ~steep
        found = _plain(both)
        found.low = np.where(bend, np.minimum(left.value, right.value), both.value)
        found.high = np.where(bend, np.maximum(left.value, right.value), both.value)
        found.estimate = np.where(bend, left.estimate + right.estimate, both.estimate)
        found.kind = np.select([steep, bend], [STEEP, BENT], SMOOTH)
        for one in (left, right):
            edge = ~np.isfinite(both.value) & np.isfinite(one.value) & np.isfinite(one.estimate)
            edge &= ~steep
            found.take(edge, one)
            found.kind = np.where(edge, EDGE, found.kind)
        return self._farther(line, found) if self.every_entry else found

    def _with_noise(self, line: Line, noise: np.ndarray) -> Along:
        """Differentiate along a line with another noise of each row."""
        other = Line(line.f, line.x, line.d, noise)
        other._seen = line._seen
        return self._closely(other)

    def _farther(self, line: Line, found: Along) -> Along:
        """Differentiate with wide steps where the others leave no correct digit."""
        weak = (found.estimate > 0.1 * np.abs(found.low)) & (found.kind == SMOOTH)
        steep = found.kind == STEEP
        if not (weak & line.steady() | steep).any():
            return found
        far = line.far()
        if steep.any():  # rounding beside x alone, where f at x is what wider steps lead to
            near, wide = (
                np.max([np.abs(line(sign * t) - line(0.0)) for sign in (1, -1)], axis=0)
                for t in (line.ladder()[-1], line.ladder()[3])
            )
            smooth = steep & (wide < 1e-2 * near)
            found.take(smooth, far)
            found.kind = np.where(smooth, SMOOTH, found.kind)
        better = weak & (far.estimate < 0.1 * np.abs(far.value)) & (far.estimate < found.estimate)
        better &= np.abs(far.value - found.low) <= far.estimate + found.estimate
        found.take(better, far)
        return found

    def _rounded(
        self, line: Line, found: Along, claimed: np.ndarray, flat: np.ndarray
    ) -> Along | None:
        """Differentiate again with the noise of float32, which can hide among changing digits.

        Fine steps may belong to fn or be the rounding of large terms that cancel. With both, fn
        is flat between them, and a claim of 0 is neither right nor wrong.
        """
        wide = self.wide_noise()
        hidden = (wide > SINGLE * np.abs(self.z)) & (wide > self.noise)
        if not hidden.any():
            return None
        again = self._with_noise(line, np.where(hidden, wide, self.noise))
        found.estimate = np.where(hidden & flat & ~again.fits(claimed), np.inf, found.estimate)
        better = hidden & ~found.fits(claimed) & again.fits(claimed)
        if not better.any():
            return None
        return found.merged(better, again)

    def wide_noise(self) -> np.ndarray:
        """Return the noise at a wider spacing: rounding can hide among changing digits."""
        if self._wide is None:
            # truncation shrinks with the spacing, noise does not
            size, least = max(self.natural, 1.0), 4 * EPS * self.natural
            wide, close, steps, far = (
                noise_level(self.f, self.x, d, (spacing,), height)
                for d, spacing, height in (
                    (self.nudge(), SPACINGS[3], COARSE * size),
                    (self.nudge(), SPACINGS[3] / 4, COARSE * size),
                    (self.direction(), SPACINGS[4], FLAT * size),
                    (self.direction(), SPACINGS[5], least),
                )
            )
            found = np.where(close > 0, np.minimum(wide, close), steps)
            # in a small result, numbers of the natural size have canceled or multiply it
            for last in (steps, far):
                found = np.where(last <= least, np.maximum(found, last), found)
            wider = np.maximum(self.noise, found)
            line = self.line(self.nudge())  # a ripple of fn is no rounding
            self._wide = np.where(line.jumps(wider), wider, self.noise)
        return self._wide

    def reach(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how far each row changes along a direction, and if in its last digits only."""
        with np.errstate(invalid="ignore"):
            moves = [np.abs(self.f(self.x + t * d) - self.z) for t in (-8, -1, 1, 8, -64, 64)]
            near, far = (
                np.where(np.isfinite(m), m, np.inf).max(axis=0) for m in (moves[:4], moves[4:])
            )
            floor, top = 8 * self.noise, 2.0**-20 * np.abs(self.z)
            moved = np.where(near > floor, near, far)
            known = np.where(np.isfinite(moves[:4]), moves[:4], 0.0).max(axis=0)
            return known, (moved > floor) & (moved <= top)

    def measure_slope(self, d: np.ndarray | None = None, row: int | None = None) -> None:
        """Set the Taylor slope: of all rows in a random direction, or of one row in a given one."""
        weights = away_from_zero(self.rng, len(self.rows))
        if row is not None:
            weights = np.eye(len(self.rows))[row]
        d = self.direction() if d is None else d
        noise = np.array([np.hypot.reduce(weights * self.noise)])
        line = Line(lambda x: np.array([weights @ self.f(x)]), self.x, d, noise)
        with np.errstate(over="ignore", invalid="ignore"):
            self.slope = taylor_slope(line, float(weights @ (self.claims @ d)))
