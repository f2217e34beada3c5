"""Health: what the log of a run tells of the ways in which GANs fail, and what to try.

Each way is a rule for one line of the log, and a finding once the rule has held for long enough.
Nothing here stops a run or changes it.

The bounds lie between what runs showed that were well, above the line, and what runs showed that
failed, below it; one run each, with SN and hinge where nothing else is said. Slope: the least of
the log; it begins at 2, with the standard objective at 1. Gradients: the smallest and largest
norm. Spread: of the last sheet, in units of the data's. The preset is ``mnist-tiny`` where no
other and no photographs are named; w is the width, b the batch.

=====================================  =====  ============  =============  ==================
setting                                slope  gradient D    gradient G     spread (step)
=====================================  =====  ============  =============  ==================
as it is                               0.80   1 - 410       0.3 - 13       0.45 (500)
w 4, b 16                              0.62   10 - 130      3.4 - 8.5      0.46 (300)
w 4, b 4                               0.50   8 - 94        1.6 - 9.4      0.54 (300)
standard objective                     0.41   0.6 - 4.4     0.14 - 3.3     0.36 (200)
WGAN-GP, n_dis 5, rates 1e-4, w 4      2.00   2 - 98        0.3 - 120      0.14 (100)
``cifar10``, w 16                      0.28   6.6 - 97      4.2 - 36       0.49 (200)
2,000 photographs, w 16, rate_d 4e-4   0.25   3.4 - 100     3.4 - 45       0.72 (600)
-------------------------------------  -----  ------------  -------------  ------------------
50,000 photographs, otherwise so       0.00   0 - 17        0.9 - 8.2      0.04 (300)
no regularizer, w 4, b 16              0.00   0 - 130       0.4 - 6        0.15 (200)
weight clipping, w 4, b 16             2.00   6e-9 - 9e-9   9e-11 - 2e-10  0.12 (70)
both rates 1, from step 8 on           2.00   2e-4          6e-9           0.00 (60)
Wasserstein, no regularizer, w 4       2.00   1e7           2e7            (70)
=====================================  =====  ============  =============  ==================

Weight clipping at width 8 left G a gradient of 1e-4 for a while, and then it learned: such a
finding passes. Normalized weights had 1.33 times their norm for single steps of runs that were
well, and 17 times at a rate of 0.1, but never for long: no run was found that the rule for it
warns of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .config import Config

Line = Mapping[str, Any]
"""A line of the log, as :data:`minisn.runs.Entry` describes it."""

STEPS = 25
"""A finding takes so many steps, however often a run logs."""

D_HAS_WON = 0.2
"""Slope of D's loss, of 2 in all: what is left of it when D has nothing more to learn."""

VANISHED, EXPLODED = 5e-3, 1e5
"""Norms of a gradient, in networks whose layers have scale 1."""

ALIKE, GROWN = 0.15, 500
"""Spread of the samples in that of the data, from the step on at which it must have grown."""

LAGS = 1.2
"""Norm of a normalized weight, in units of the norm it should have."""


@dataclass
class Finding:
    """A way to fail that a run shows.

    Args:
        key: what the log calls it.
        title: the same in a few words.
        seen: a sentence with the numbers and steps by which it was first noticed.
        advice: what to try.
        spans: the first and last step of each time that it held.
    """

    key: str
    title: str
    seen: str
    advice: str
    spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def words(self) -> str:
        """All in one line, as the log and the terminal have it."""
        return f"{self.title}: {self.seen} {self.advice}."


class Health:
    """Reads the log of a run, line by line, for what goes wrong.

    A line for which a rule holds counts one up, one for which it does not counts one down. A
    finding is made when the count reaches the rule's number of lines, over no less than
    :data:`STEPS` steps, and has passed when the count is back at 0. So neither a bad moment makes
    a finding, nor does a good one end it.

    Args:
        config: of the run.
    """

    def __init__(self, config: Config):
        self._config = config
        self._spells = {key: _Spell() for key in RULES}
        self.findings: dict[str, Finding] = {}
        self.looked: set[str] = set()  # keys of the rules that a line had the numbers for

    def see(self, line: Line) -> list[Finding]:
        """Take in the next line, and return what is found for the first time."""
        new = []
        for key, rule in RULES.items():
            words = rule.look(line, self._config)
            if words is None:
                continue
            self.looked.add(key)
            spell = self._spells[key]
            spell.count(line["step"], bool(words), rule.lines)
            if not spell.made:
                continue
            if key not in self.findings:
                seen = (
                    f"At step {spell.last:,}, {words}; so say most lines of the log since step "
                    f"{spell.first:,}."
                )
                title = rule.title[0].upper() + rule.title[1:]
                new.append(Finding(key, title, seen, rule.advice(self._config)))
                self.findings[key] = new[-1]
            spans = self.findings[key].spans
            if spans and spans[-1][0] == spell.first:
                spans.pop()
            spans.append((spell.first, spell.last))
        return new


@dataclass
class _Spell:
    """How long a rule has held."""

    lines: int = 0
    first: int = 0
    last: int = 0
    made: bool = False

    def count(self, step: int, holds: bool, most: int) -> None:
        if holds:
            self.first = step if not self.lines else self.first
            self.last = step
            self.lines = min(self.lines + 1, most)
        else:
            self.lines = max(self.lines - 1, 0)
        long = self.lines == most and self.last - self.first >= STEPS
        self.made = self.lines > 0 and (self.made or long)


# -- the rules -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """A way to fail.

    Args:
        title: in a few words.
        lines: how many more lines must show it than do not.
        look: returns None for a line without the numbers, "" for a healthy one, or what is wrong.
        advice: what to try, by the settings.
    """

    title: str
    lines: int
    look: Callable[[Line, Config], str | None]
    advice: Callable[[Config], str]


def _d_wins(line: Line, config: Config) -> str | None:
    if "slope" not in line:
        return None
    real, fake = line["slope"]["real"], line["slope"]["fake"]
    if real + fake > D_HAS_WON:
        return ""
    measure = "within the hinge's margin" if config.objective == "hinge" else "of the loss's slope"
    return (
        f"{real:.0%} of the images and {fake:.0%} of the samples were left {measure}, and D's "
        f"loss was {line['loss_d']:.3f}"
    )


def _starves(who: str) -> Callable[[Line, Config], str | None]:
    def look(line: Line, config: Config) -> str | None:
        if "gradient" not in line or (who == "D" and _d_wins(line, config)):
            return None
        norm = line["gradient"][who]
        small = norm < _reach(line, config) * VANISHED
        return f"the norm of {who}'s gradient was {norm:.1g}" if small else ""

    return look


def _collapse(line: Line, config: Config) -> str | None:
    if "spread" not in line or line["step"] < GROWN:
        return None
    ratio = line["spread"]["samples"] / (line["spread"]["data"] or np.inf)
    words = f"a sample lay {ratio:.0%} as far from the one next to it as a real image does"
    return words if ratio < ALIKE else ""


def _sigma_lags(line: Line, config: Config) -> str | None:
    if "norm" not in line or config.regularizer != "sn" or config.gain:
        return None
    norm = max(line["norm"].values()) / config.scale
    return f"a normalized weight had {norm:.2f} times the norm it should" if norm > LAGS else ""


def _explodes(who: str) -> Callable[[Line, Config], str | None]:
    def look(line: Line, config: Config) -> str | None:
        if "gradient" not in line:
            return None
        norm = line["gradient"][who]
        large = norm > _reach(line, config) * EXPLODED
        return f"the norm of {who}'s gradient was {norm:.1g}" if large else ""

    return look


def _reach(line: Line, config: Config) -> float:
    """By how much the layers' scale multiplies D's scores, and with them all gradients."""
    return config.scale ** len(line["sigma"])


def _anew(*rates: str) -> Callable[[Config], str]:
    """Advise spectral normalization; where there is, or where rates are high, lower rates."""

    def advice(config: Config) -> str:
        bounded = config.regularizer == "sn"
        changes = [] if bounded else ["regularizer=sn"]
        changes += [
            f"{name}={min(rate / 2, CALM):g}"
            for name in rates
            if (rate := getattr(config, name)) > 10 * CALM or bounded
        ]
        return "Start anew with " + " ".join(f"--set {change}" for change in changes)

    return advice


def _slower_d(config: Config) -> str:
    """Advise what keeps D from winning."""
    advice = _anew("rate_d")(config) + " --set n_dis=1" * (config.n_dis > 1)
    if config.augment == "none":
        advice += ", for photographs also with --set augment=color,translation,cutout"
    return advice


def _vary(config: Config) -> str:
    """Advise to slow down whoever is faster: samples are alike too where D has won."""
    slower = _slower_d if config.rate_d > config.rate_g else _anew("rate_d", "rate_g")
    return slower(config)


CALM = 2e-4
"""The step size of setting C [M18 Table 1]."""

RULES = {
    "d-wins": _Rule("D wins", 6, _d_wins, _slower_d),
    "d-starves": _Rule("D learns nothing", 8, _starves("D"), _anew("rate_d")),
    "g-starves": _Rule("G learns nothing", 8, _starves("G"), _anew("rate_d", "rate_g")),
    "collapse": _Rule("the samples are alike", 2, _collapse, _vary),
    "sigma-lags": _Rule("sigma lags behind", 3, _sigma_lags, _anew("rate_d")),
    "d-explodes": _Rule("D's gradient explodes", 3, _explodes("D"), _anew("rate_d")),
    "g-explodes": _Rule("G's gradient explodes", 3, _explodes("G"), _anew("rate_g")),
}
"""The ways to fail, by the keys that the log has under ``health``."""


# -- the numbers of a line -------------------------------------------------------------------------


def spread(images: np.ndarray) -> float:
    r"""Compute how far images lie from their nearest neighbours among themselves.

    .. math:: \frac1n \sum_i \min_{j \neq i} \|x_i - x_j\|_2 \,/\, \sqrt d

    Few kinds of images, each drawn many times, have next to none, as images have that are all
    alike.

    Args:
        images: x, at least two, float, [n, C, H, W]; d is C H W.
    Returns:
        The mean distance, per pixel and channel, in the images' units.
    """
    x = images.reshape(len(images), -1).astype(np.float64)
    squares = np.array([((x - one) ** 2).mean(1) for one in x])
    np.fill_diagonal(squares, np.inf)
    return float(np.sqrt(squares.min(1)).mean())
