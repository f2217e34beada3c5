"""Claims and differences side by side, for entries or for random directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ShapeError
from .differences import BASE, EPS, SPACINGS, Difference, Line, noise_level, taylor_slope
from .subject import Subject

FULL_ENTRIES = 256
FULL_ROWS = 64
FULL_SIZE = 4096
DIRECTIONS = 4
WEAK = 0.05
"""An estimate above this part of the gradient confirms nothing."""


def away_from_zero(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    """Draw numbers of size 1/2 to 3/2 and random sign."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


@dataclass
class Table:
    """Claims beside differences, [directions, rows], in units of the directions.

    ``entries`` holds the entry that each direction moves, None where it moves all.
    """

    directions: list[np.ndarray]
    entries: list[Any]
    claimed: np.ndarray
    value: np.ndarray
    estimate: np.ndarray
    step: np.ndarray
    kink: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """Error in units of its estimate; infinite where there is no difference."""
        return np.where(np.isfinite(self.value), _ratio(self.claimed, self), np.inf)


def _ratio(claimed: np.ndarray, found: Table | Difference) -> np.ndarray:
    error = np.abs(claimed - found.value)
    return np.divide(error, found.estimate, out=np.zeros_like(error), where=error > 0)


class Survey:
    """Evaluates a subject and its claim around the point.

    The *rows* are what is differentiated: every output, or random combinations of them.

    Args:
        subject: the function and its claim.
        order: of the derivative.
        full: every entry and every output (True), random directions (False), by size (None).
        rng: where random directions come from.
    """

    def __init__(self, subject: Subject, order: int, full: bool | None, rng: np.random.Generator):
        self.subject, self.order, self.rng = subject, order, rng
        self.point = subject.point
        self.x = self.point.x
        self.y = subject.value(self.x)
        n, m = self.x.size, self.y.size
        few = m <= FULL_ROWS and n * m <= FULL_SIZE and order == 1
        self.every_row = m == 1 or (few if full is None else full)
        self.every_entry = n <= FULL_ENTRIES if full is None else full
        self.rows = np.eye(m) if self.every_row else away_from_zero(rng, (2, m))
        self.z = self._combine(self.y)
        self.slope: float | None = None
        # steps: of each entry beside the others, and relative to itself
        self.scale = self.point.scale()
        self.relative = np.where(self.x != 0, np.abs(self.x), self.scale)

    @property
    def scope(self) -> str:
        """How much is compared, in words."""
        n, m = self.x.size, self.y.size
        what = f"all {n} entries" if self.every_entry else f"{DIRECTIONS} directions in {n} entries"
        combined = "" if self.every_row else f"{len(self.rows)} combinations of "
        return f"{what}, {combined}{m} output{'s' if m > 1 else ''}"

    def set_claims(self, claims: np.ndarray) -> None:
        """Take the claimed gradients, [rows, entries], and measure the noise around them."""
        self.claims = claims
        parts = np.abs(claims * self.relative)
        self.size = parts.max(axis=1)
        self.level = np.abs(self.z) + np.linalg.norm(parts, axis=1)
        self.noise = np.maximum(self.measure_noise(), EPS * self.level)
        self.natural = float(max(self.level.max(), self.relative.max()))
        self.least = 4096 * EPS * self.natural
        self._wide_noise: np.ndarray | None = None

    def f(self, x: np.ndarray) -> np.ndarray:
        """Evaluate the rows; NaN where the function refuses."""
        try:
            y = self.subject.value(x)
        except (ArithmeticError, ValueError):
            return np.full(self.z.shape, np.nan)
        if y.shape != self.y.shape:
            raise ShapeError(
                f"gradcheck: fn returned {self.y.size} numbers at the inputs and {y.size} beside "
                "them; a gradient needs a shape that does not depend on the values"
            )
        return self._combine(y)

    def _combine(self, y: np.ndarray) -> np.ndarray:
        return y if self.every_row else self.rows @ y

    def pull(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Return the claimed gradient for an incoming gradient, flat."""
        return np.concatenate([c.astype(np.float64).reshape(-1) for c in self.subject.pull(x, g)])

    def measure_noise(self) -> np.ndarray:
        """Return the noise of each row."""
        return np.maximum(noise_level(self.f, self.x, self.nudge()), EPS * np.abs(self.z))

    def claim_noise(self, r: int) -> float:
        """Return the largest noise in the claimed gradient of a row, in units of the steps."""

        def claim(x: np.ndarray) -> np.ndarray:
            return self.scale * self.pull(x, self.rows[r])

        return float(np.max(noise_level(claim, self.x, self.nudge(), SPACINGS[2:])))

    def nudge(self) -> np.ndarray:
        """Draw a direction that changes every entry by about its own size."""
        return self.relative * away_from_zero(self.rng, self.x.size)

    def direction(self) -> np.ndarray:
        """Draw a direction that changes every entry by about the same."""
        return self.scale * away_from_zero(self.rng, self.x.size)

    def line(self, d: np.ndarray) -> Line:
        """Return the rows along a direction."""
        return Line(self.f, self.x, d, self.noise)

    def unit(self, i: int) -> np.ndarray:
        """Return the direction of one entry."""
        d = np.zeros_like(self.x)
        d[i] = self.scale[i]
        return d

    def measure_all(self) -> Table:
        """Compare every entry, or some random directions."""
        if self.every_entry:
            return self.measure(list(range(self.x.size)))
        return self.measure([None] * DIRECTIONS, [self.direction() for _ in range(DIRECTIONS)])

    def measure(self, entries: list, directions: list[np.ndarray] | None = None) -> Table:
        """Compare some entries, or some directions."""
        directions = directions or [self.unit(i) for i in entries]
        claimed = np.stack([self.claims @ d for d in directions])
        found = [self._along(self.line(d), c) for d, c in zip(directions, claimed, strict=True)]
        value, estimate, step, kink = (np.stack(part) for part in zip(*found, strict=True))
        return Table(directions, entries, claimed, value, estimate, step, kink)

    def _along(self, line: Line, claimed: np.ndarray) -> tuple[np.ndarray, ...]:
        """Differentiate along a line: two steps first, all of them where these leave a doubt."""
        size = np.maximum(self.size, np.abs(claimed))
        floor = 64 * EPS * (size + self.level)
        found = line.difference(BASE)
        vague = found.estimate > np.where(size > 0, 1e-6 * size, 1e-8 * np.abs(self.z))
        doubt = ~(np.abs(claimed - found.value) <= found.estimate + floor) | vague
        kink = np.zeros(claimed.shape, dtype=bool)
        if doubt.any() or line.bent(BASE).any():
            found, kink = line.best(), line.kinks()[0]
            if (kink | (_ratio(claimed, found) > 1)).any():
                line.noise = self.wide_noise()
                other, bend = line.best(), line.kinks()[0]
                explained = ~bend & (_ratio(claimed, other) <= 1) & (other.estimate <= WEAK * size)
                if explained.all():
                    found, kink = other, bend
        return found.value, found.estimate + floor, found.step, kink

    def wide_noise(self) -> np.ndarray:
        """Look for noise at a wider spacing, too: rounding can hide among digits that move."""
        if self._wide_noise is None:
            wide = noise_level(self.f, self.x, self.nudge(), SPACINGS[2:3])
            self._wide_noise = np.maximum(self.noise, wide)
        return self._wide_noise

    def measure_slope(
        self, noise: np.ndarray, d: np.ndarray | None = None, row: int | None = None
    ) -> None:
        """Set the Taylor slope: in a random direction of all rows, or in a given one of one."""
        weights = away_from_zero(self.rng, len(self.rows))
        if row is not None:
            weights = np.eye(len(self.rows))[row]
        d = self.direction() if d is None else d
        line = Line(lambda x: np.array([weights @ self.f(x)]), self.x, d,
                    np.array([np.linalg.norm(weights * noise)]))  # fmt: skip
        self.slope = taylor_slope(line, float(weights @ (self.claims @ d)))
