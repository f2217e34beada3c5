"""Health: failures of GANs that show in the log of a run, and what to try against each.

A rule looks at one line of the log. If it holds for long enough, it becomes a finding. Nothing here
stops a run or changes it.

The limits separate the runs above the inner line, which were well, from those below it, which
failed. Each row is one run, with SN and the hinge unless the row says otherwise. Slope: the
smallest in the log; it begins at 2, or at 1 with the standard objective. Gradients: the smallest
and the largest norm. Spread: that of the last sheet, divided by that of the data. The preset is
``mnist-tiny`` unless the row names another one or photographs; w is the width, b the batch size.

=====================================  =====  ============  =============  ==================
setting                                slope  gradient D    gradient G     spread (step)
=====================================  =====  ============  =============  ==================
the preset as it is                    0.80   1 - 410       0.3 - 13       0.45 (500)
w 4, b 16                              0.62   10 - 130      3.4 - 8.5      0.46 (300)
w 4, b 4                               0.50   8 - 94        1.6 - 9.4      0.54 (300)
standard objective                     0.41   0.6 - 4.4     0.14 - 3.3     0.36 (200)
WGAN-GP, n_dis 5, rates 1e-4, w 4      2.00   2 - 98        0.3 - 120      0.14 (100)
``cifar10``, w 16                      0.28   6.6 - 97      4.2 - 36       0.49 (200)
2,000 photographs, w 16, rate_d 4e-4   0.25   3.4 - 100     3.4 - 45       0.72 (600)
-------------------------------------  -----  ------------  -------------  ------------------
the same with 50,000 photographs       0.00   0 - 17        0.9 - 8.2      0.04 (300)
no regularizer, w 4, b 16              0.00   0 - 130       0.4 - 6        0.15 (200)
weight clipping, w 4, b 16             2.00   6e-9 - 9e-9   9e-11 - 2e-10  0.12 (70)
both rates 1, from step 8 on           2.00   2e-4          6e-9           0.00 (60)
Wasserstein, no regularizer, w 4       2.00   1e7           2e7            (70)
=====================================  =====  ============  =============  ==================

With weight clipping at width 8, G had a gradient of 1e-4 for a while and then learned: such a
finding passes. Normalized weights reached 1.33 times their target norm for single steps of runs
that were well, and 17 times at a rate of 0.1, but never for long. No run that we found
sets off the rule ``sigma-lags``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .config import Config

Line = Mapping[str, Any]
"""A line of the log, as :data:`minisn.runs.Entry` describes it."""

STEPS = 25
"""A rule must hold for this many steps to become a finding, however often a run logs."""

D_HAS_WON = 0.2
"""Slope of D's loss, at most 2 in all, below which D has nothing more to learn."""

VANISHED, EXPLODED = 5e-3, 1e5
"""Norms of a gradient, in networks whose layers have scale 1."""

ALIKE, GROWN = 0.15, 500
"""Spread of the samples, in units of the data's, and the step at which it must have grown."""

LAGS = 1.2
"""Norm of a normalized weight, in units of its target norm."""


@dataclass
class Finding:
    """A failure that a run shows.

    Args:
        key: its key in the log.
        title: the failure in a few words.
        seen: a sentence with the numbers and steps that first showed it.
        advice: what to try.
        spans: the first and last step of each period in which it held.
    """

    key: str
    title: str
    seen: str
    advice: str
    spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The finding in one line, for the log and the terminal."""
        return f"{self.title}: {self.seen} {self.advice}."


class Health:
    """The reader of a run's log, which looks for failures line by line.

    Each rule has a count. A line for which the rule holds adds one; a line for which it does not
    hold takes one away. A finding begins when the count reaches the rule's number of lines, over at
    least :data:`STEPS` steps, and ends when the count is back at 0. A single bad line therefore
    makes no finding, and a single good line ends none.

    Args:
        config: the settings of the run.
    """

    def __init__(self, config: Config):
        self._config = config
        self._spells = {key: _Spell() for key in RULES}
        self.findings: dict[str, Finding] = {}
        self.looked: set[str] = set()  # keys of the rules for which a line had the numbers

    def see(self, line: Line) -> list[Finding]:
        """Read the next line, and return the findings that are new."""
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
                    f"At step {spell.last:,}, {words}; most lines of the log since step "
                    f"{spell.first:,} say the same."
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
    """A kind of failure.

    Args:
        title: the failure in a few words.
        lines: by how many lines those that show it must outnumber those that do not.
        look: returns None for a line without the numbers, "" for a healthy one, or what is wrong.
        advice: returns what to try with these settings.
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
    measure = "share that moves D" if config.objective == "hinge" else "slope of D's loss"
    return (
        f"the {measure} was {real:.0%} for images and {fake:.0%} for samples, and D's loss was "
        f"{line['loss_d']:.3f}"
    )


def _scale(line: Line, config: Config) -> float:
    """Return the scale at a line: a resumed run may have changed it, and old logs lack it."""
    return float(line.get("scale", config.scale))


def _gradient(who: str, least: float = 0.0, most: float = np.inf) -> Callable[..., str | None]:
    """Look at a norm of a gradient, beside the factor by which the layers' scale changes it."""

    def look(line: Line, config: Config) -> str | None:
        if "gradient" not in line:
            return None
        norm, reach = line["gradient"][who], _scale(line, config) ** len(line["sigma"])
        fails = norm < least * reach or norm > most * reach
        return f"the norm of {who}'s gradient was {norm:.1g}" if fails else ""

    return look


def _d_starves(line: Line, config: Config) -> str | None:
    return None if _d_wins(line, config) else _gradient("D", VANISHED)(line, config)


def _collapse(line: Line, config: Config) -> str | None:
    if "spread" not in line or line["step"] < GROWN:
        return None
    ratio = line["spread"]["samples"] / (line["spread"]["data"] or np.inf)
    words = f"a sample lay {ratio:.0%} as far from its nearest neighbor as a real image does"
    return words if ratio < ALIKE else ""


def _sigma_lags(line: Line, config: Config) -> str | None:
    if "norm" not in line or config.regularizer != "sn" or config.gain:
        return None
    norm = max(line["norm"].values()) / _scale(line, config)
    return f"a normalized weight had {norm:.2f} times its target norm" if norm > LAGS else ""


def _anew(*rates: str) -> Callable[[Config], str]:
    """Advise spectral normalization, or lower rates if D has it already or rates are high."""

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
    """Advise changes that keep D from winning."""
    advice = _anew("rate_d")(config) + " --set n_dis=1" * (config.n_dis > 1)
    if config.augment == "none":
        advice += ", for photographs also with --set augment=color,translation,cutout"
    return advice


def _vary(config: Config) -> str:
    """Advise to slow down the faster network: samples are also alike when D has won."""
    slower = _slower_d if config.rate_d > config.rate_g else _anew("rate_d", "rate_g")
    return slower(config)


CALM = 2e-4
"""The step size of setting C [M18 Table 1]."""

RULES = {
    "d-wins": _Rule("D wins", 6, _d_wins, _slower_d),
    "d-starves": _Rule("D learns nothing", 8, _d_starves, _anew("rate_d")),
    "g-starves": _Rule("G learns nothing", 8, _gradient("G", VANISHED), _anew("rate_d", "rate_g")),
    "collapse": _Rule("the samples are alike", 2, _collapse, _vary),
    "sigma-lags": _Rule("sigma lags behind", 3, _sigma_lags, _anew("rate_d")),
    "d-explodes": _Rule("D's gradient explodes", 3, _gradient("D", most=EXPLODED), _anew("rate_d")),
    "g-explodes": _Rule("G's gradient explodes", 3, _gradient("G", most=EXPLODED), _anew("rate_g")),
}
"""The kinds of failure, by their keys under ``health`` in the log."""


# -- the numbers of a line -------------------------------------------------------------------------


def spread(images: np.ndarray) -> float:
    r"""Compute the mean distance of images from their nearest neighbors among themselves.

    .. math:: \frac1n \sum_i \min_{j \neq i} \|x_i - x_j\|_2 \,/\, \sqrt d

    The spread is almost 0 if all images are alike, or if a few kinds of images are drawn many
    times each.

    Args:
        images: x, at least two, float, [n, C, H, W]; d is C H W.
    Returns:
        The mean distance, per pixel and channel, in the images' units.
    """
    x = images.reshape(len(images), -1).astype(np.float64)
    squares = np.array([((x - one) ** 2).mean(1) for one in x])
    np.fill_diagonal(squares, np.inf)
    return float(np.sqrt(squares.min(1)).mean())
