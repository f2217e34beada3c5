"""Studies without training: admissible spectra (Figure 14) and seconds per update (Figure 10)."""

from collections.abc import Sequence
from statistics import median

import numpy as np

from ..bench import Contestant, compare
from ..config import Config
from .cells import Cell, Result
from .comparisons import COMPARED, base
from .design import Row, Study, borne_out

TIMED = {"none": {"regularizer": "none"}, **{
    name: COMPARED[name] for name in ("SN", "weight norm", "WGAN-GP")
}}  # fmt: skip
"""The methods of Figure 10."""

SETS, TURNS, STEPS = 9, 5, 1
"""Sets of processes, turns in each, and steps in each turn. A process may be a few percent faster
or slower than another for its whole life, as its memory lies elsewhere. Therefore each method is
timed in several processes, for a few turns each."""


def _no_cells(full: bool) -> list[Cell]:
    return []


# -- Figure 14 ----------------------------------------------------------------------------------


def _admissible_table(results: Sequence[Result]) -> list[Row]:
    """Return the pairs of singular values that each normalization admits for a 2 by 2 weight."""
    angle = np.linspace(0, np.pi / 2, 91)
    wn = [(2**0.5 * np.cos(a), 2**0.5 * np.sin(a)) for a in angle]
    sn = [(1.0, t) for t in np.linspace(0, 1, 46)] + [(t, 1.0) for t in np.linspace(1, 0, 46)]
    return [
        {
            "method": method,
            "sigma_1": float(max(a, b)),
            "sigma_2": float(min(a, b)),
            "x": float(a),
            "y": float(b),
        }
        for method, pairs in (("weight norm", wn), ("SN", sn))
        for a, b in pairs
    ]


def _admissible_verdict(rows: Sequence[Row]) -> str:
    wn = [r for r in rows if r["method"] == "weight norm"]
    loudest = max(wn, key=lambda r: r["sigma_1"])
    even = min(wn, key=lambda r: r["sigma_1"])
    return (
        f"Weight normalization fixes the sum of the squares: its largest singular value runs from "
        f"{even['sigma_1']:.3f}, where both are equal, to {loudest['sigma_1']:.3f}, where the "
        f"other is {loudest['sigma_2']:.3f}: to be most sensitive in one direction it must give "
        f"up the other. Under SN the second is free from 0 to 1 while the first stays 1."
    )


# -- Figure 10 ----------------------------------------------------------------------------------


def _timed_config(name: str) -> Config:
    return base(False, "A", **TIMED[name]).replace(data="cifar10-2k", size=32, width=64, steps=1000)


def _seconds_table(results: Sequence[Result]) -> list[Row]:
    """Time the methods in turn, at the paper's width, on images of CIFAR-10's size, n_dis = 5."""
    seconds: dict[str, list[float]] = {name: [] for name in TIMED}
    contestants = [Contestant(name, "minisn", _timed_config(name)) for name in TIMED]
    for _ in range(SETS):
        for timing in compare(contestants, TURNS, STEPS):
            seconds[timing.name] += timing.seconds
        contestants.reverse()
    rows = []
    for name, times in seconds.items():
        ratios = sorted(a / b for a, b in zip(times, seconds["none"], strict=True))
        rows.append(
            {
                "method": name,
                "seconds_per_100_updates": 100 * median(times),
                "over_none": median(ratios),
                "least": ratios[0],
                "most": ratios[-1],
                "turns": len(ratios),
                "processes": SETS,
            }
        )
    return rows


def _seconds_verdict(rows: Sequence[Row]) -> str:
    by = {row["method"]: row for row in rows}
    said = ", ".join(
        f"{m} {r['seconds_per_100_updates']:.3g} s (x {r['over_none']:.3f}, from "
        f"{r['least']:.2f} to {r['most']:.2f})"
        for m, r in by.items()
    )
    cheap = by["SN"]["over_none"] < by["WGAN-GP"]["over_none"]
    return (
        f"Seconds per 100 updates of G, each with 5 of D, medians of {rows[0]['turns']:g} turns "
        f"in {rows[0]['processes']:g} processes, and ratio to no normalization turn by turn: "
        f"{said}. The paper has 28, 31, 30 and 40 s on its GPU. That SN costs little and the "
        f"gradient penalty much {borne_out(cheap)} here."
    )


SHAPE_STUDIES = [
    Study("fig10", "Seconds per 100 updates of G, by method",
          "The paper: SN costs little more than nothing, "
          "the gradient penalty much", "[M18 Fig. 10]", 10, _no_cells, _seconds_table,
          _seconds_verdict),
    Study("fig14", "Singular values that weight normalization and SN admit",
          "The paper: under SN the singular values are free below the largest",
          "[M18 Fig. 14], [M18 Eq. (13)]",
          0.1, _no_cells, _admissible_table, _admissible_verdict),
]  # fmt: skip
