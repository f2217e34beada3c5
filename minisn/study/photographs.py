"""Our studies of photographs: collapse in a narrow network, and recipes for an hour.

No paper has these figures. The study ``collapse`` explains the settings of the preset
``cifar10-small``; the studies ``pilot`` and ``hour`` compare recipes for an hour on the complete
CIFAR-10, the first by one change at a time in short runs; the study ``paper`` trains the paper's
own network as the paper does.
"""

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

from ..config import load_preset
from .cells import Cell, Result
from .design import Row, Study, grouped, outcome

STEPS, SEEDS = 300, 3

ALIKE = 0.2
"""Samples count as alike if their spread is at most this share of the spread of as many images."""

FIRST: dict[str, Any] = {
    "rate_d": 4e-4, "rate_g": 2e-4, "scale": 1.0, "augment": "none", "flip": False, "width": 16,
}  # fmt: skip
"""The settings at which the study begins: the paper's networks at a quarter of their width, and
twice G's step size for D."""

CURE = {"augment": "color,translation,cutout", "flip": True}
"""What ends the collapse: D never sees an image twice, and cannot go by its contrast."""

CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "equal step sizes": {"rate_d": 2e-4},
    "augmentation": {**CURE},
    "both": {"rate_d": 2e-4, **CURE},
    "both, scale 2": {"rate_d": 2e-4, **CURE, "scale": 2.0},
    "scale 2 alone": {"scale": 2.0},
}  # fmt: skip
"""Changes of :data:`FIRST`, by their name in the table."""


def _cells(full: bool) -> list[Cell]:
    """Return every change with three seeds; the study has no full size."""
    config = load_preset("cifar10-small").replace(
        **FIRST, steps=STEPS, sample_every=STEPS // 10, checkpoint_every=STEPS, decay_after=0
    )
    return [
        Cell({"method": name, "seed": seed}, config.replace(seed=seed, **changes), ("balance",))
        for name, changes in CHANGES.items()
        for seed in range(SEEDS)
    ]


SCORES = ("inception", "inception_real", "frechet", "spread")
"""The measures of a run on all of CIFAR-10."""


def _measured(*keys: str, **clocks: Callable[[Result], float]) -> Callable[..., list[Row]]:
    """Return a table of every measured step: its share of a clock's time, and the measures.

    Args:
        keys: names of the measures.
        clocks: for a column, the time of a whole run.
    """
    return lambda results: [
        {
            **outcome(r),
            "step": m["step"],
            **{
                c: round(whole(r) * m["step"] / max(r["step"], 1), 1) for c, whole in clocks.items()
            },
            **{k: m.get(k, "") for k in keys},
        }
        for r in results
        for m in r["measures"]
    ]


def _verdict(rows: Sequence[Row]) -> str:
    """Say how many seeds ended in alike samples, and the share inside D's margin at the end."""
    end = max(row["step"] for row in rows)
    said = []
    for name, mine in grouped(rows, "method").items():
        late = [r for r in mine if r["step"] > 2 / 3 * end]
        ends = [r["spread"] for r in late if r["step"] == end]
        left = mean((r["slope_real"] + r["slope_fake"]) / 2 for r in late)
        alike = sum(spread <= ALIKE for spread in ends)
        said.append(f"{name}: {alike} of {len(ends)}, {left:.0%}")
    return (
        f"Seeds whose samples lie at most {ALIKE} as far apart as images after {end} updates, and "
        f"the share of images and samples inside the margin in the last third: {'; '.join(said)}."
    )


HOUR: dict[str, dict[str, Any]] = {
    "cifar10-hour": {},
    "cifar10-labels": {"conditional": "projection"},
    "width 24": {"width": 24, "steps": 16_000, "decay_after": 10_000},
    "width 48": {"width": 48, "steps": 6_600, "decay_after": 4_200},
    "ResNet of width 16": {
        "model": "resnet", "width": 16, "steps": 10_000, "decay_after": 6_400,
    },
    "setting C": {
        "scale": 1.0, "augment": "none", "flip": False, "average": 0.0, "decay_after": 0,
    },
}  # fmt: skip
"""Recipes as changes of the preset, by their name in the table; each makes as many steps as fit
into an hour on two quiet cores."""


def _hours(full: bool) -> list[Cell]:
    """Return every recipe with three seeds; the study has no full size."""
    config = load_preset("cifar10-hour")
    return [
        Cell(
            {"method": name, "seed": seed},
            config.replace(seed=seed, **changes),
            ("scores", "balance"),
        )
        for name, changes in HOUR.items()
        for seed in range(SEEDS)
    ]


def _end_of_hour(rows: Sequence[Row]) -> str:
    """Say the mean distance of each recipe over the seeds, at the end of the hour."""
    told = [
        f"{name}: {mean(r['frechet'] for r in ends):.1f} (seeds: {len(ends)})"
        for name, ends in grouped(
            [r for r in rows if r["minutes"] == 60 and r["diverged"] == ""], "method"
        ).items()
    ]
    return f"Distance after an hour: {'; '.join(told)}."


PILOT_STEPS = 1000
"""Steps of a run whose change leaves the work of a step as it is."""

PILOT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "step sizes 1e-4": {"rate_d": 1e-4, "rate_g": 1e-4},
    "step sizes 4e-4": {"rate_d": 4e-4, "rate_g": 4e-4},
    "4e-4 for D, 1e-4 for G": {"rate_d": 4e-4, "rate_g": 1e-4},
    "beta1 0": {"beta1": 0.0},
    "standard loss": {"objective": "standard"},
    "scale 1": {"scale": 1.0},
    "no augmentation": {"augment": "none"},
    "no flips": {"flip": False},
    "no running average": {"average": 0.0},
    "no decay": {"decay_after": 0},
    "2 updates of D": {"n_dis": 2, "steps": PILOT_STEPS * 3 // 5, "decay_after": 380},
    "batch of 32": {"batch_size": 32, "steps": PILOT_STEPS * 2, "decay_after": 1280},
    "batch of 128": {"batch_size": 128, "steps": PILOT_STEPS // 2, "decay_after": 320},
}  # fmt: skip
"""Single changes of the preset ``cifar10-hour``; those that change the work of a step make as many
steps as take about the same time."""


def _pilots(full: bool) -> list[Cell]:
    """Return every change with one seed, in a run of an eleventh of the preset's length.

    Decay is as long as in the preset, in parts of the run, and so is the running average in runs
    of 1,000 steps.
    """
    config = load_preset("cifar10-hour").replace(
        steps=PILOT_STEPS, decay_after=640, average=0.989, sample_every=PILOT_STEPS // 2
    )
    return [
        Cell({"method": name, "seed": 0}, config.replace(**changes), ("scores", "balance"))
        for name, changes in PILOT.items()
    ]


def _beside_nothing(rows: Sequence[Row]) -> str:
    """Say the distance at the end without a change, and by what each change multiplies it."""
    ends = {
        name: max(mine, key=lambda r: r["step"]) for name, mine in grouped(rows, "method").items()
    }
    plain = ends.pop("nothing")["frechet"]
    told = [f"{name} by {end['frechet'] / plain:.2f}" for name, end in ends.items()]
    return f"The distance is {plain:.1f} at the end. A change multiplies it: {'; '.join(told)}."


UPDATES, OF_PAPER = 25_000, 100_000
"""Updates of G in the study ``paper`` at laptop size, and in the paper [M18 Table 1]."""


def _paper_cells(full: bool) -> list[Cell]:
    """Return the preset ``cifar10`` as it is; at laptop size it makes a quarter of the updates."""
    config = load_preset("cifar10").replace(steps=OF_PAPER if full else UPDATES)
    return [Cell({"method": "setting C", "seed": 0}, config, ("scores", "balance"))]


def _towards_paper(rows: Sequence[Row]) -> str:
    """Say the scores at the end, and when the paper's number of updates would be reached."""
    end = rows[-1]
    hours = end["seconds"] / 3600
    return (
        f"After {end['step']:,} updates and {hours:.1f} hours: score {end['inception']:.2f} "
        f"(images {end['inception_real']:.2f}), distance {end['frechet']:.1f}. At this rate "
        f"{OF_PAPER:,} updates take {hours / end['step'] * OF_PAPER:.1f} hours."
    )


PHOTOGRAPH_STUDIES = [
    Study("collapse", "Spread of a narrow network's photographs, by what was changed",
          "The paper: its networks have four times the channels, and do not fail",
          "[M18 Table 3]", 20, _cells,
          _measured("spread", "slope_real", "slope_fake"), _verdict),
    Study("pilot", "The hour's recipe with one change",
          "The paper: it has no running average, augmentation or scale",
          "[M18 Table 3]", 45, _pilots,
          _measured(*SCORES, seconds=lambda r: r["seconds"]), _beside_nothing),
    Study("hour", "Photographs after an hour on two cores, by recipe",
          "The paper: its networks have twice the channels, and nine times the updates",
          "[M18 Table 3]", 1080, _hours,
          _measured(*SCORES, minutes=lambda r: 60 * r["step"] / r["config"]["steps"],
                    seconds=lambda r: r["seconds"]), _end_of_hour),
    Study("paper", "The paper's CNN at full width, by updates",
          "The paper: 100,000 updates, on all images; here one in ten is held out",
          "[M18 Table 3]", 170, _paper_cells,
          _measured(*SCORES, seconds=lambda r: r["seconds"]), _towards_paper),
]  # fmt: skip
