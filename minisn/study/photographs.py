"""Studies of photographs: what lets D win in a narrow network, and what keeps it from winning.

They are no figures of a paper: "collapse" is how the settings of the preset ``cifar10-small`` came
about, "hour" compares recipes for an hour on the complete CIFAR-10.
"""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from ..config import load_preset
from .cells import Cell, Result
from .design import Row, Study, outcome

STEPS, SEEDS = 300, 3

ALIKE = 0.2
"""Samples that lie at most this part as far from each other as images do are called alike."""

FIRST: dict[str, Any] = {
    "rate_d": 4e-4, "rate_g": 2e-4, "scale": 1.0, "augment": "none", "flip": False, "width": 16,
}  # fmt: skip
"""What the study begins with: the paper's networks at a quarter of their width, and for D twice the
step size of G."""

CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "equal step sizes": {"rate_d": 2e-4},
    "augmentation": {"augment": "color,translation,cutout", "flip": True},
    "both": {"rate_d": 2e-4, "augment": "color,translation,cutout", "flip": True},
    "both, scale 2": {
        "rate_d": 2e-4, "augment": "color,translation,cutout", "flip": True, "scale": 2.0,
    },
    "scale 2 alone": {"scale": 2.0},
}  # fmt: skip
"""Changes of :data:`FIRST`, by what the table calls them."""


def _cells(full: bool) -> list[Cell]:
    """Every change with three seeds; of full size there is none."""
    config = load_preset("cifar10-small").replace(
        **FIRST, steps=STEPS, sample_every=STEPS // 10, checkpoint_every=STEPS, decay_after=0
    )
    return [
        Cell({"method": name, "seed": seed}, config.replace(seed=seed, **changes), ("balance",))
        for name, changes in CHANGES.items()
        for seed in range(SEEDS)
    ]


def _table(results: Sequence[Result]) -> list[Row]:
    """Return how far samples lie apart and what is left of D's loss, at every step measured."""
    return [
        {
            **outcome(r),
            "step": m["step"],
            **{k: m.get(k, "") for k in ("spread", "slope_real", "slope_fake")},
        }
        for r in results
        for m in r["measures"]
    ]


def _verdict(rows: Sequence[Row]) -> str:
    """Tell how many seeds ended alike, and what was left of D's loss in the last third."""
    end = max(row["step"] for row in rows)
    said = []
    for name in dict.fromkeys(row["method"] for row in rows):
        late = [r for r in rows if r["method"] == name and r["step"] > 2 / 3 * end]
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
"""Recipes, by what the table calls them, as changes of the preset; each has the steps that an hour
on two quiet cores holds."""


def _hours(full: bool) -> list[Cell]:
    """Every recipe with three seeds; of full size there is none."""
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


def _curves(results: Sequence[Result]) -> list[Row]:
    """Return the scores at every step measured, and what part of the hour had passed."""
    return [
        {
            **outcome(r),
            "step": m["step"],
            "minutes": round(60 * m["step"] / r["step"], 1),
            **{k: m.get(k, "") for k in ("inception", "inception_real", "frechet", "spread")},
        }
        for r in results
        for m in r["measures"]
    ]


def _end_of_hour(rows: Sequence[Row]) -> str:
    """Tell the distance of each recipe at the end, its mean over the seeds."""
    ends: dict[str, list[float]] = {}
    for row in rows:
        if row["minutes"] == 60:
            ends.setdefault(row["method"], []).append(row["frechet"])
    told = [f"{name}: {mean(found):.1f} (seeds: {len(found)})" for name, found in ends.items()]
    return f"Distance after an hour: {'; '.join(told)}."


PHOTOGRAPH_STUDIES = [
    Study("collapse", "Spread of a narrow network's photographs, by what was changed",
          "its networks have four times the channels, and do not fail",
          "[M18 Table 3]", 20, _cells, _table, _verdict),
    Study("hour", "Photographs after an hour on two cores, by recipe",
          "its networks have more channels, and days",
          "[M18 Table 3]", 1080, _hours, _curves, _end_of_hour),
]  # fmt: skip
