"""A study of photographs: what lets D win in a narrow network, and what keeps it from winning.

It is no figure of a paper: it is how the settings of the preset ``cifar10-small`` came about.
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
        {**outcome(r), "step": m["step"], **{k: m.get(k, "") for k in
         ("spread", "slope_real", "slope_fake")}}
        for r in results for m in r["measures"]
    ]  # fmt: skip


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


PHOTOGRAPH_STUDIES = [
    Study("collapse", "Spread of a narrow network's photographs, by what was changed",
          "its networks have four times the channels, and do not fail",
          "[M18 Table 3]", 20, _cells, _table, _verdict),
]  # fmt: skip
