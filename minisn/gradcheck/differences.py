r"""Finite differences with error estimates, for functions of one flat vector.

Along a line :math:`\varphi(t) = f(x + t d)`, the central difference

.. math:: D(t) = \frac{\varphi(t) - \varphi(-t)}{2t} = \varphi'(0) + O(t^p), \qquad p \ge 1/2,

is taken at steps that differ by a factor of 4. Only the least order p is assumed: with it
:math:`|D(t) - D(t/4)|` bounds the error of :math:`D(t/4)`. Two terms estimate the rounding error:
the measured noise of f divided by t, and the spread of the differences at all smaller steps, which
grows like :math:`1/t`, too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Flat = np.ndarray
EPS = float(np.finfo(np.float64).eps)
BASE = 1.2e-4
"""First step, in units of the direction; no power of 2, as the steps of a floor may be."""

SPACINGS = (2.0**-34, 2.0**-25, 2.0**-20, 2.0**-16, 2.0**-9, 2.0**-5)
"""Spacings at which noise is measured, in units of the direction; the two finest come first."""
ROUNDING = 2.0**-21
"""Steps higher than this fraction of the value belong to the function, not to float32 rounding."""
NODES = np.arange(1, 10) + np.random.default_rng(0).uniform(0.0, 0.9, 9)
RESIDUAL = np.linalg.qr(np.vander(NODES / 10.0, 5), mode="complete")[0][:, 5:].T
"""Projects values at the nodes onto the complement of the polynomials of degree 4."""


@dataclass(frozen=True)
class Difference:
    """A derivative along a line, one entry per output row."""

    value: Flat
    estimate: Flat
    step: Flat


def noise_level(
    f: Callable[[Flat], Flat],
    x: Flat,
    d: Flat,
    spacings: tuple[float, ...] = SPACINGS,
    height: float = 0.0,
    still: float = 0.0,
) -> Flat:
    r"""Measure the standard deviation of the rounding noise in each output of f.

    .. math:: \sigma^2 = \frac{1}{9 - 5} \min_{p \in P_4} \sum_{k=1}^{9} (f(x + t_k d) - p(t_k))^2

    Over a tiny interval a polynomial of degree 4 fits the smooth part of f and leaves its noise.
    The larger noise of the two finest intervals counts. Where these are too small to change f
    (float32 inside, or large terms that cancel), wider intervals are used, unless f changes by a
    step too high for rounding: above ``height`` and above float32's rounding of f. Where f does
    not change although x does, its noise is ``still``.
    Of the two intervals beside x the quieter one counts, so a kink on one side is not taken for
    noise. The :math:`t_k` are irregular, because rounding at regular points can be regular, too.
    The method follows J. Moré and S. Wild, Estimating computational noise, SIAM J. Sci. Comput.
    2011, who use differences of high order at regular points.
    """
    unit = d / max(1.0, float(np.max(np.abs(d))))
    sigma = np.full(f(x).shape, np.nan)
    for spacing in spacings:
        found = np.fmin(*(_stretch(f, x, unit, spacing, side, height) for side in (1.0, -1.0)))
        sigma = np.where(np.isnan(sigma), found, sigma)
        if spacing == SPACINGS[1]:
            sigma = np.fmax(sigma, found)
        if spacing != SPACINGS[0] and not np.isnan(sigma).any():
            break
    moved = np.any(x + spacings[-1] * unit != x)
    return np.nan_to_num(sigma, nan=still if moved else 0.0)


def _stretch(
    f: Callable[[Flat], Flat], x: Flat, unit: Flat, spacing: float, side: float, height: float
) -> Flat:
    """Return the noise on one side of x at one spacing; NaN where f is constant or has steps."""
    fine, last = spacing < SPACINGS[2], spacing == SPACINGS[-1]
    shift = 0.0 if last else 32.0
    table = np.stack([f(x + side * (shift + t) * spacing * unit) for t in NODES])
    moves = np.abs(np.diff(table, axis=0))
    shown = np.count_nonzero(moves, axis=0) >= (1 if last else 6)
    found = np.hypot.reduce(RESIDUAL @ (table - table[0]), axis=0) / 2
    if not fine:
        shown &= found <= np.maximum(ROUNDING * np.max(np.abs(table), axis=0), height)
    return np.where(shown & np.isfinite(found), found, np.nan)


class Line:
    """A function along a line through x, which remembers the values it has computed.

    Args:
        f: maps a flat vector to output rows, NaN where it is undefined.
        x: the point.
        d: the direction; its size is that of a change that matters.
        noise: standard deviation of the rounding noise in each row.
    """

    def __init__(self, f: Callable[[Flat], Flat], x: Flat, d: Flat, noise: Flat):
        self.f, self.x, self.d, self.noise = f, x, d, noise
        self._seen: dict[float, Flat] = {}

    def __call__(self, t: float) -> Flat:
        if t not in self._seen:
            self._seen[t] = self.f(self.x + t * self.d if t else self.x)
        return self._seen[t]

    def ladder(self, depth: int = 0) -> list[float]:
        """Return decreasing steps that cover every scale the point suggests.

        Args:
            depth: 1 to go down to the last digits of the point, as for an f undefined beside it;
                2 to go further from 0, where steps are exact, however small.
        """
        moved = self.d != 0
        size, values = np.abs(self.d[moved]), np.abs(self.x[moved])
        widest, least = float(np.max(size)), self._least()
        top = 2.0**-3 * max(1.0, 1.0 / widest)
        bottom = 2.0**-26 * max(min(1.0, least, 1.0 / widest), 2.0**-60)
        if depth:
            digits = 2.0**-46 if depth == 1 or np.any(values) else 2.0**-100
            bottom = digits * max(min(1.0, least), 1e-290)
        return [top * 4.0**-k for k in range(2 + int((np.log2(top) - np.log2(bottom)) // 2))]

    def _least(self) -> float:
        """Return the step that moves some entry by its own size, the least of them."""
        moved = self.d != 0
        size, values = np.abs(self.d[moved]), np.abs(self.x[moved])
        return float(np.where(values > 0, values / size, 1.0).min(initial=1.0))

    def difference(self, t: float) -> Difference:
        """Return the difference at the step t/4; the one at t gives the error estimate."""
        return self.settle([t, t / 4], self.at)

    def central(self, depth: int = 0) -> Difference:
        """Return the central difference at the step with the least error estimate.

        Steps that reach a point where f is not smooth do not count if others are left: about a
        symmetric one the differences agree with each other, and with no derivative.
        """
        steps = self.ladder(depth)
        banned = np.stack([self.bent(t) for t in steps[:-1]])
        return self.settle(steps, self.at, banned & ~banned.all(axis=0))

    def unsettled(self, depth: int = 0) -> np.ndarray:
        """Return whether the least steps of a ladder are too wide for f, by more than noise."""
        wide, narrow = self.ladder(depth)[-2:]
        with np.errstate(invalid="ignore"):
            moved, size = np.abs(self.at(wide) - self.at(narrow)), self.at(narrow)
            return (moved > 1e-4 * np.abs(size)) & (moved * narrow > 64 * self.noise)

    def side(self, sign: int, depth: int = 0) -> Difference:
        """Return the derivative from one side, +1 or -1."""
        return self.settle(self.ladder(depth), lambda t: self._slope(sign * t))

    def at(self, t: float) -> Flat:
        """Return the difference at the step t alone."""
        return (self(t) - self(-t)) / (2 * t)

    def _slope(self, t: float) -> Flat:
        return (self(t) - self(0.0)) / t

    def settle(
        self,
        steps: list[float],
        quotient: Callable[[float], Flat],
        banned: np.ndarray | None = None,
    ) -> Difference:
        """Return the quotient with the least error estimate among decreasing steps.

        A quotient that a smaller step contradicts does not count, nor does a banned one.
        """
        t = np.array(steps)[:, None]
        with np.errstate(invalid="ignore", over="ignore"):
            series = np.stack([quotient(s) for s in steps])
            spread = np.abs(np.diff(series, axis=0))
            spread = np.where(np.isfinite(spread), spread, np.inf)
            rounded = np.maximum.accumulate((spread * t[:-1])[::-1], axis=0)[::-1]
            rounded = np.vstack([rounded[1:], np.zeros((1, rounded.shape[1]))])
            ends = np.abs(
                [[self._seen.get(sign * s, self(0.0)) for sign in (1, -1)] for s in steps]
            )
            digits = np.maximum(self.noise, EPS * np.nan_to_num(np.max(ends[1:], axis=1)))
            estimates = spread + (3 * rounded + 8 * digits) / t[1:] + self._unseen(spread, t[1:])
            estimates = estimates if banned is None else np.where(banned, np.inf, estimates)
            values = np.where(np.isfinite(series[1:]), series[1:], np.nan)
            gaps = np.abs(values[:, None] - values[None, :])
            agree = ~(gaps > 2 * (estimates[:, None] + estimates[None, :]))
        smaller = np.triu(np.ones((len(values),) * 2, dtype=bool), 1)[:, :, None]
        valid = np.all(agree | ~smaller, axis=1)
        pick = np.argmin(np.where(valid, estimates, np.inf), axis=0)
        rows = np.arange(values.shape[1])
        return Difference(values[pick, rows], estimates[pick, rows], t[1:, 0][pick])

    def _unseen(self, spread: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Return how far differences may still move if each step moves them as the last ones did.

        Beside x = 1e-9, the differences of x² log x move by the same amount from each step to the
        next, and those of the power 1.7 by a growing one, until steps are as small as x; rounding
        can hide that from some step on. The moves of the steps that are left add up. A step at
        which the spread shrinks by half ends it.
        """
        shown = spread * t > 16 * self.noise
        ratio = np.divide(spread[1:], spread[:-1], out=np.zeros_like(spread[1:]), where=shown[:-1])
        even = (ratio > 0.7) & (ratio < 3.0) & shown[1:]
        alike = even[1:] & even[:-1]
        # 0 has digits at any scale
        least = self._least() if np.any(self.x[self.d != 0]) else 1e-290
        left = np.maximum(np.log2(t / least) / 2, 1.0)
        unseen = np.zeros_like(spread)
        slow, growth = unseen[0], unseen[0] + 1.001
        for k in range(2, len(spread)):
            growth = np.where(alike[k - 2], np.maximum(ratio[k - 2 : k].max(axis=0), 1.001), growth)
            slow = np.where(alike[k - 2], spread[k], slow * growth)
            slow = np.where(shown[k - 1] & (ratio[k - 1] < 0.5), 0.0, slow)
            unseen[k] = slow * growth * (growth ** left[k] - 1) / (growth - 1)
        return np.maximum.accumulate(unseen[::-1], axis=0)[::-1]

    def far(self) -> Difference:
        """Return the derivative from wide steps, with the noise measured at their ends.

        It is more precise than :meth:`central` where f is noisy at x and quiet beside x, as
        (1 - cos x)/x² is near 0. The error estimate covers the spread of three steps; it has no
        bound where the spread does not shrink with the step.
        """
        steps, series, before, after = self._wide()
        estimates = []
        for step, wide, narrow in zip(steps, before, after, strict=True):
            ends = [self.x + sign * step * self.d for sign in (1, -1)]
            noise = np.fmax(*(noise_level(self.f, end, self.d * step) for end in ends))
            noise = np.fmax(noise, EPS * np.max(np.abs([self.f(end) for end in ends]), axis=0))
            # NaN where a wider step leaves the domain: nothing bounds the error there
            moved, digits = np.maximum(wide, narrow), 8 * noise / step
            slow = (narrow > wide / 2) & (narrow > 2 * digits)
            estimates.append(np.where(slow, np.inf, moved + digits))
        estimate = np.where(np.isfinite(estimates), estimates, np.inf)
        pick, rows = np.argmin(estimate, axis=0), np.arange(series.shape[1])
        return Difference(series[pick, rows], estimate[pick, rows], np.array(steps)[pick])

    def steady(self) -> np.ndarray:
        """Return for each row whether wide steps agree on a digit; :meth:`far` may then help."""
        _, series, before, after = self._wide()
        return np.any(np.maximum(before, after) < 0.1 * np.abs(series), axis=0)

    def _wide(self) -> tuple[list[float], Flat, Flat, Flat]:
        """Return two wide steps, their differences, and how far those of the next steps differ."""
        steps = self.ladder()[:4]
        series = np.stack([self.at(t) for t in steps])
        spread = np.abs(np.diff(series, axis=0))
        return steps[1:3], series[1:3], spread[:-1], spread[1:]

    def jumps(self, noise: Flat) -> np.ndarray:
        """Return for each row whether f moves in steps of about the size of a noise.

        Rounding jumps between neighboring points, however near; a ripple becomes flat.
        """
        starts = 2.0**-10 * (1 + NODES / 10)
        found = noise > self.noise
        for r in np.flatnonzero(found):
            told = [self._jumps_after(float(a), int(r), float(noise[r])) for a in starts]
            found[r] = any(told) or all(jumps is None for jumps in told)  # too rare to tell
        return found

    def _jumps_after(self, a: float, r: int, noise: float) -> bool | None:
        """Halve an interval, each time to the half with the larger change, down to the digits.

        None if f does not change by the noise in any interval from ``a`` on.
        """

        def change(a: float, b: float) -> float:
            return abs(float(self(b)[r] - self(a)[r]))

        for width in (7e-5, 1.1e-3, 1.7e-2):  # no powers of 2, as a ripple's length may be
            b = a + width
            if max(change(a, (a + b) / 2), change(a, b)) > noise:
                break
        else:
            return None
        while (a + b) / 2 not in (a, b) and np.any(self.x + a * self.d != self.x + b * self.d):
            middle = (a + b) / 2
            a, b = max((a, middle), (middle, b), key=lambda ends: change(*ends))
        return change(a, b) > 0.05 * noise

    def bent(self, t: float) -> np.ndarray:
        """Return for each row whether the steps t and t/4 look like a kink."""
        wide, narrow = (np.abs(self(s) - 2 * self(0.0) + self(-s)) for s in (t, t / 4))
        return (narrow > 64 * self.noise) & (narrow * 4**1.7 > wide)

    def steep(self, sign: int, depth: int = 0) -> np.ndarray:
        """Return whether a one-sided slope still grows at the least steps: a jump or a cusp."""
        steps = [t for t in self.ladder(depth) if np.any(self.x + t * self.d != self.x)]
        if depth > 1:  # f itself ends before the digits of x do
            moved = [np.abs(self(sign * t) - self(0.0)) > 64 * self.noise for t in steps]
            steps = [t for t, seen in zip(steps, moved, strict=True) if seen.any()] or steps
        steps = steps[-4:]
        slopes = np.abs(np.stack([self._slope(sign * t) for t in steps]))
        with np.errstate(invalid="ignore"):
            grows = np.all(slopes[1:] >= 1.6 * slopes[:-1], axis=0)
            return grows & (slopes[-1] * steps[-1] > 64 * self.noise)


def taylor_slope(line: Line, claimed: float) -> float | None:
    r"""Return the exponent of the Taylor remainder along a line with one row.

    .. math:: |\varphi(t) - \varphi(0) - t\,\varphi'(0)| \sim t^2
              \text{ for the right } \varphi'(0),\; \sim t \text{ for a wrong one}

    The fit uses the smallest steps t and t/16 above rounding; None if there are none.
    """
    steps = np.array(line.ladder())
    remainder = np.array([abs(float(line(t)[0] - line(0.0)[0]) - t * claimed) for t in steps])
    noise = 64 * float(line.noise[0]) + 1e-300
    for k in reversed(range(len(steps) - 2)):
        if np.isfinite(remainder[k : k + 3]).all() and remainder[k] > 256 * noise:
            return float(np.log(remainder[k] / max(remainder[k + 2], noise)) / np.log(16.0))
    return None
