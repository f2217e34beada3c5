"""The studies of L21: gradients, variances and scores under SN and its variants."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from ..config import Config
from .cells import Cell, Result
from .comparisons import base, scores_table
from .design import Row, Study, borne_out, grouped, last, outcome

SCALES = (0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6)
"""The constants that the authors' sweeps of the CNN share; on CIFAR-10 they continue to 4 in steps
of 0.2. The sweep of the ResNet on ImageNet has 1, 1.2, 1.4 and 1.6 only. No sweep has the constant
0.2 that others report for BSSN."""

FULL_STEPS = 400_000
"""Iterations of the authors' code on CIFAR-10 and CelebA; on STL-10 there are twice as many
[L21 experiments]."""


def lin_base(full: bool, **changes: Any) -> Config:
    """Return the configuration of L21's experiments: hinge loss, and Adam as in setting B.

    Args:
        full: use the authors' size, else laptop size, as in :func:`minisn.study.comparisons.base`.
        changes: values of single settings.

    Source: [L21 experiments]
    Deviation: the authors draw the first weights of D's convolutions from a truncated normal
    distribution, and G's update reuses the z of D's last update.
    Deviation: here each cell is one run of the CNN. The authors report means of five runs, on
    STL-10 and CelebA too, and means of three runs of a ResNet on ImageNet (500,000 iterations,
    batches of 16 for D and 32 for G).
    """
    theirs = {"steps": FULL_STEPS, "unit_norm": True} if full else {}
    return base(full, "B", **{"objective": "hinge"} | theirs | changes)


def _each(methods: tuple[str, ...], *probes: str) -> Callable[[bool], list[Cell]]:
    """Return what makes a cell with these probes for each method."""
    return lambda full: [
        Cell({"method": m}, lin_base(full, regularizer=m), probes) for m in methods
    ]


def _gradient_cells(full: bool) -> list[Cell]:
    """Return SN, SN_Conv and no normalization, from LeCun's and from the authors' weights."""
    cells = []
    for method in ("none", "sn", "sn-conv"):
        for init in ("normal", "lecun"):
            config = lin_base(full, regularizer=method, init=init)
            config = config.replace(sample_every=config.steps // 20)
            cells.append(Cell({"method": method, "init": init}, config, ("gradients",)))
    return cells


def _gradient_table(results: Sequence[Result]) -> list[Row]:
    """Return the norm of D's gradient over all layers, at every measured step."""
    return [
        {
            **outcome(r),
            "step": m["step"],
            "weights": sum(g * g for g in m["weight_gradients"]) ** 0.5,
            "inputs_min": m["input_gradients"][0],
            "inputs_mean": m["input_gradients"][1],
            "inputs_max": m["input_gradients"][2],
        }
        for r in results
        for m in r["measures"]
    ]


def _range(rows: Sequence[Row], method: str, column: str) -> float:
    """Return the ratio of the largest to the smallest value after step 0, from LeCun's weights."""
    runs = [r for r in rows if r["method"] == method and r["init"] == "lecun"]
    values = [r[column] for r in runs if r["step"] > 0]  # step 0 is before training
    return max(values) / max(min(values), 1e-30)


def _gradient_verdict(rows: Sequence[Row]) -> str:
    free, sn = _range(rows, "none", "weights"), _range(rows, "sn", "weights")
    borne = borne_out(sn < free)
    return (
        f"From LeCun's weights, the norm of the gradient of D in its weights varies over training "
        f"by a factor of {free:.3g} without normalization and {sn:.3g} under SN. That SN keeps "
        f"gradients from exploding and vanishing throughout {borne} here."
    )


def _input_verdict(rows: Sequence[Row]) -> str:
    peaks = {m: max(r["inputs_max"] for r in mine) for m, mine in grouped(rows, "method").items()}
    borne = borne_out(peaks["sn"] < peaks["none"])
    return (
        f"The steepest gradient of D at an image is {peaks['none']:.3g} without normalization "
        f"and {peaks['sn']:.3g} under SN. That SN bounds it {borne} here."
    )


def _layer_table(results: Sequence[Result]) -> list[Row]:
    """Return the gradient of each layer and the inverse of its norm."""
    return [
        {**outcome(r), "layer": k, "gradient": g, "inverse_norm": 1 / norm}
        for r in results
        for k, (g, norm) in enumerate(
            zip(last(r)["weight_gradients"], last(r)["norms"], strict=True), 1
        )
    ]


def _layer_verdict(rows: Sequence[Row]) -> str:
    spread = {}
    for method, mine in grouped(rows, "method").items():
        g = [r["gradient"] for r in mine]
        spread[method] = max(g) / min(g)
    return (
        f"Across the layers of a trained D the gradient's norm varies by a factor of "
        f"{spread['none']:.3g} without normalization and {spread['sn']:.3g} under SN, which makes "
        f"all norms equal. That this shares it more evenly "
        f"{borne_out(spread['sn'] < spread['none'])} here."
    )


def _variance_table(results: Sequence[Result]) -> list[Row]:
    return [
        {**outcome(r), "layer": k, "fan_in": fan_in, "variance": var, "times_fan_in": var * fan_in}
        for r in results
        for k, (fan_in, var) in enumerate(last(r)["variances"], 1)
    ]


def _variance_verdict(rows: Sequence[Row]) -> str:
    said = {
        method: median(r["times_fan_in"] for r in mine)
        for method, mine in grouped(rows, "method").items()
    }
    text = ", ".join(f"{m} {v:.3g}" for m, v in said.items())
    borne = borne_out(said["sn-conv"] < said["sn"])
    return (
        f"Variance of a normalized weight times its fan-in (1 for LeCun's), median over the "
        f"layers of a trained D: {text}. That the strict form leaves smaller weights {borne} here."
    )


def _conv_table(results: Sequence[Result]) -> list[Row]:
    gradient = [sum(g * g for g in last(r)["weight_gradients"]) ** 0.5 for r in results]
    return [{**row, "gradient": g} for row, g in zip(scores_table(results), gradient, strict=True)]


def _conv_verdict(rows: Sequence[Row]) -> str:
    by = {row["method"]: row for row in rows}
    sn, strict = by["sn"], by["sn-conv"]
    borne = borne_out(strict["frechet"] > sn["frechet"])
    return (
        f"Fréchet distance {sn['frechet']:.4g} under SN_w and {strict['frechet']:.4g} under "
        f"SN_Conv; gradient of D in its weights {sn['gradient']:.3g} and "
        f"{strict['gradient']:.3g}. That the strict form works poorly untuned {borne} here."
    )


def _scale_cells(full: bool) -> list[Cell]:
    return [
        Cell({"method": m, "scale": c}, lin_base(full, regularizer=m, scale=c))
        for m in ("sn", "bsn")
        for c in SCALES
    ]


def _scale_verdict(rows: Sequence[Row]) -> str:
    by = grouped(rows, "method")
    ended = {m: [r for r in mine if r["frechet"] != ""] for m, mine in by.items()}
    best = {m: min(mine, key=lambda r: r["frechet"]) for m, mine in ended.items()}
    one = {m: next(r["frechet"] for r in mine if r["scale"] == 1) for m, mine in ended.items()}
    borne = borne_out(one["bsn"] < one["sn"] and best["bsn"]["frechet"] < best["sn"]["frechet"])
    return (
        f"Fréchet distance at the best constant: SSN {best['sn']['frechet']:.4g} (c = "
        f"{best['sn']['scale']}), BSSN {best['bsn']['frechet']:.4g} (c = {best['bsn']['scale']}); "
        f"at c = 1: SN {one['sn']:.4g}, BSN {one['bsn']:.4g}. "
        f"That both directions are better than one, at c = 1 and at the best constant, {borne} "
        "here."
    )


LIN_STUDIES = [
    Study("l21-a", "Norm of D's gradient in its weights during training",
          "The paper: SN keeps it level, without SN it explodes or vanishes",
          "[L21 gradient bounds]", 12,
          _gradient_cells, _gradient_table, _gradient_verdict),
    Study("l21-b", "Gradient of each layer against the inverse of its norm",
          "Derived from the bound: where norms are equal, its shares are equal",
          "[L21 gradient bounds]", 4, _each(("none", "sn"), "gradients", "norms"),
          _layer_table, _layer_verdict),
    Study("l21-c", "Inverse variance of normalized weights against fan-in",
          "Derived: SN makes it grow as LeCun initialization does, the strict form faster",
          "[L21 initialization]", 6, _each(("sn", "sn-conv", "bsn"), "variances"),
          _variance_table, _variance_verdict),
    Study("l21-d", "SN by the operator norm against SN by the matrix norm",
          "The paper: the strict form works poorly out of the box",
          "[L21 SN_Conv]", 4, _each(("sn", "sn-conv"), "scores", "gradients"), _conv_table,
          _conv_verdict),
    Study("l21-e", "Fréchet distance against the constant c, SSN and BSSN",
          "The paper: a tuned constant helps, bidirectional normalization too",
          "[L21 SSN, BSSN]", 27, _scale_cells, scores_table, _scale_verdict),
    Study("l21-f", "Gradient of D at single images during training",
          "Derived: SN bounds it, by (7) of M18",
          "[L21 figures]", 12, _gradient_cells, _gradient_table, _input_verdict),
]  # fmt: skip
