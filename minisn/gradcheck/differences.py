r"""Finite differences that know their own error, on functions of one flat vector.

Along a line :math:`\varphi(t) = f(x + t d)` the central difference is

.. math:: D(t) = \frac{\varphi(t) - \varphi(-t)}{2t} = \varphi'(0) + c\,t^2 + O(t^4),

so two steps give Richardson's value :math:`R = (16 D(t/4) - D(t)) / 15`, and
:math:`|D(t) - D(t/4)| / 15`, the error of the better of the two, bounds the error that
is left. Rounding adds :math:`\sigma / t`, with the noise :math:`\sigma` of f measured.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Flat = np.ndarray
EPS = float(np.finfo(np.float64).eps)
BASE = 2.0**-13
"""First step, in units of the direction: truncation and rounding are both about 1e-10 there."""

SPACINGS = (2.0**-34, 2.0**-25, 2.0**-16, 2.0**-9, 2.0**-5)
"""Where noise is looked for, in units of the direction: the two finest first."""
NODES = np.arange(1, 10) + np.random.default_rng(0).uniform(0.0, 0.9, 9)
RESIDUAL = np.linalg.qr(np.vander(NODES / 10.0, 5), mode="complete")[0][:, 5:].T
"""Projects values at the nodes on what polynomials of degree 4 cannot be."""


@dataclass(frozen=True)
class Difference:
    """A derivative along a line, one entry per output row."""

    value: Flat
    estimate: Flat
    step: Flat


def noise_level(
    f: Callable[[Flat], Flat], x: Flat, d: Flat, spacings: tuple[float, ...] = SPACINGS
) -> Flat:
    r"""Measure the standard deviation of the rounding noise in each output of f.

    .. math:: \sigma^2 = \frac{1}{9 - 5} \min_{p \in P_4} \sum_{k=1}^{9} (f(x + t_k d) - p(t_k))^2

    Over a tiny stretch a polynomial of degree 4 holds all that is smooth in f and leaves its
    noise; the larger of the two finest stretches counts. Where they are too small to change f
    (float32 inside), wider ones are taken. The :math:`t_k` are irregular, for rounding at
    regular ones can be regular too, and many spacings to one side of x, so that a kink at x
    is no noise. After J. Moré and S. Wild, Estimating computational noise, SIAM J. Sci.
    Comput. 2011, who take differences of high order at regular points.
    """
    unit = d / max(1.0, float(np.max(np.abs(d))))
    sigma = np.full(f(x).shape, np.nan)
    for spacing in spacings:
        last = spacing == SPACINGS[-1]
        shift = 0.0 if last else 32.0
        table = np.stack([f(x + (shift + t) * spacing * unit) for t in NODES])
        moves = np.count_nonzero(np.diff(table, axis=0), axis=0) >= (1 if last else 6)
        found = np.hypot.reduce(RESIDUAL @ (table - table[0]), axis=0) / 2
        found = np.where(moves & np.isfinite(found), found, np.nan)
        sigma = np.where(np.isnan(sigma), found, sigma)
        if spacing == SPACINGS[1]:
            sigma = np.fmax(sigma, found)
        if spacing != SPACINGS[0] and not np.isnan(sigma).any():
            break
    return np.nan_to_num(sigma)


class Line:
    """A function along a line through x; what was evaluated is kept.

    Args:
        f: flat vector in, output rows out; NaN where it is not defined.
        x: the point.
        d: the direction, of the size of a change that matters.
        noise: standard deviation of the rounding noise in each row.
    """

    def __init__(self, f: Callable[[Flat], Flat], x: Flat, d: Flat, noise: Flat):
        self.f, self.x, self.d, self.noise = f, x, d, noise
        self._seen: dict[float, Flat] = {}

    def __call__(self, t: float) -> Flat:
        if t not in self._seen:
            self._seen[t] = self.f(self.x + t * self.d if t else self.x)
        return self._seen[t]

    def ladder(self) -> list[float]:
        """Return falling steps, wide enough for any scale that the point suggests."""
        moved = self.d != 0
        size, values = np.abs(self.d[moved]), np.abs(self.x[moved])
        widest, least = float(np.max(size)), np.where(values > 0, values / size, 1.0).min()
        top = 2.0**-3 * max(1.0, 1.0 / widest)
        bottom = 2.0**-26 * max(min(1.0, float(least), 1.0 / widest), 2.0**-60)
        return [top * 4.0**-k for k in range(2 + int(np.log2(top / bottom) // 2))]

    def _central(self, t: float) -> Flat:
        return (self(t) - self(-t)) / (2 * t)

    def difference(self, t: float) -> Difference:
        """Extrapolate from the steps t and t/4."""
        wide, narrow = self._central(t), self._central(t / 4)
        estimate = np.abs(wide - narrow) / 15 + 8 * self.noise / (t / 4)
        value = (16 * narrow - wide) / 15
        estimate = np.where(np.isfinite(value), estimate, np.inf)
        return Difference(value, estimate, np.full(value.shape, t / 4))

    def best(self) -> Difference:
        """Try all steps; keep the least estimate among those that no smaller step contradicts."""
        tried = [self.difference(t) for t in self.ladder()[:-1]]
        values = np.stack([d.value for d in tried])
        estimates = np.stack([d.estimate for d in tried])
        with np.errstate(invalid="ignore"):
            gaps = np.abs(values[:, None] - values[None, :])
            agree = ~(gaps > 2 * (estimates[:, None] + estimates[None, :]))
        smaller = np.triu(np.ones((len(tried),) * 2, dtype=bool), 1)[:, :, None]
        valid = np.all(agree | ~smaller, axis=1)
        pick = np.argmin(np.where(valid, estimates, np.inf), axis=0)
        rows = np.arange(values.shape[1])
        steps = np.array([t / 4 for t in self.ladder()[:-1]])
        return Difference(values[pick, rows], estimates[pick, rows], steps[pick])

    def bent(self, t: float) -> np.ndarray:
        """Whether the two steps t and t/4 already look like a kink, in each row."""
        return _kinked(*(self._parts([t, t / 4])), self.noise)[0]

    def kinks(self) -> tuple[np.ndarray, np.ndarray]:
        r"""Tell the rows that have no derivative at x, and the step that showed it.

        .. math:: \varphi(t) - 2\varphi(0) + \varphi(-t) \sim t^2 \text{ if smooth},\;
                  \sim t \text{ at a kink}, \qquad
                  \varphi(t) - \varphi(-t) \sim t \text{ if smooth},\; \sim 1 \text{ at a jump}

        The powers are read at the smallest steps where noise does not cover them, so a
        kink beside x, farther away than those, is none.
        """
        steps = np.array(self.ladder())
        kinked, at = _kinked(*self._parts(list(steps)), self.noise)
        return kinked, steps[at]

    def _parts(self, steps: list[float]) -> tuple[np.ndarray, np.ndarray]:
        up, down = (np.stack([self(sign * t) for t in steps]) for sign in (1, -1))
        return np.abs(up - 2 * self(0.0) + down), np.abs(up - down)

    def sides(self, t: float, row: int) -> tuple[float, float]:
        """Return the slopes to the left and to the right of x at a step."""
        middle = self(0.0)[row]
        return float((middle - self(-t)[row]) / t), float((self(t)[row] - middle) / t)


def _kinked(even: np.ndarray, odd: np.ndarray, noise: Flat) -> tuple[np.ndarray, np.ndarray]:
    p, at_even = _power(even, noise)
    q, at_odd = _power(odd, noise)
    return (p < 1.3) | (q < 0.7), np.where(p < 1.3, at_even, at_odd)


def _power(series: np.ndarray, noise: Flat) -> tuple[Flat, np.ndarray]:
    """Fit series ~ t^p at the smallest steps, a factor 4 apart, that noise leaves.

    The larger of two successive powers counts: a single outlier makes no kink.
    """
    with np.errstate(all="ignore"):
        clear = (series[:-1] > 400 * noise + 1e-300) & np.isfinite(series[:-1])
        at = np.where(clear, np.arange(len(series) - 1)[:, None], -1).max(axis=0)
        rows = np.arange(series.shape[1])
        lower = np.fmax(series[at + 1, rows], noise + 1e-300)
        p = np.log(series[at, rows] / lower) / np.log(4.0)
        before = np.log(series[at - 1, rows] / series[at, rows]) / np.log(4.0)
        p = np.where(at > 0, np.fmax(p, before), p)
    return np.where(at >= 0, p, np.inf), np.maximum(at, 0)


def taylor_slope(line: Line, claimed: float) -> float | None:
    r"""Fit the power of the Taylor remainder of a line with one row.

    .. math:: |\varphi(t) - \varphi(0) - t\,\varphi'(0)| \sim t^2
              \text{ for the right } \varphi'(0),\; \sim t \text{ for a wrong one}

    It is read at the smallest steps t, t/16 that rounding leaves; None if it leaves none.
    """
    steps = np.array(line.ladder())
    remainder = np.array([abs(float(line(t)[0] - line(0.0)[0]) - t * claimed) for t in steps])
    noise = 64 * float(line.noise[0]) + 1e-300
    for k in reversed(range(len(steps) - 2)):
        if np.isfinite(remainder[k : k + 3]).all() and remainder[k] > 256 * noise:
            return float(np.log(remainder[k] / max(remainder[k + 2], noise)) / np.log(16.0))
    return None
