"""Studies that compare ways to keep D smooth: Figures 1, 2, 3, 4, 9, 11, 15 of M18."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from ..config import Config, load_preset
from ..instruments import stable_rank
from ..optim import TABLE_1
from .cells import Cell, Result
from .design import Row, Study, borne_out, grouped, last, outcome

COMPARED: dict[str, dict[str, Any]] = {
    "weight clipping": {"regularizer": "wc"},
    "GAN-GP": {"regularizer": "none", "gradient_penalty": 10.0},
    "WGAN-GP": {"regularizer": "none", "gradient_penalty": 10.0, "objective": "wasserstein"},
    "batch norm": {"regularizer": "bn"},
    "layer norm": {"regularizer": "ln"},
    "weight norm": {"regularizer": "wn"},
    "orthonormal": {"regularizer": "orthonormal"},
    "SN": {"regularizer": "sn"},
}
"""The methods of Figure 1 as changes of a configuration; the loss is (15), except for WGAN-GP."""

TRAINED = 0.5
"""A run counts as trained if its Fréchet distance is at most this share of the untrained G's."""

OVERFIT = 0.1
"""A critic overfits if its loss on held-out images exceeds its training loss by this share."""

FACTORS = (0.5, 1, 2, 4, 8)
"""Factors of the input and output channels of D's seventh convolution [M18 Fig. 4]."""

PAPER = {"width": 64, "steps": 100_000, "rates": 1}
"""Settings of the paper's size; ``rates`` multiplies the step sizes of Table 1."""

LAPTOP = {5: {"width": 8, "steps": 1_000, "rates": 4}, 1: {"width": 16, "steps": 2_500, "rates": 8}}
"""Settings of laptop size, by n_dis: runs of three to four minutes. These runs make a hundredth of
the paper's updates, so the step sizes are multiples of Table 1's. With the step sizes of Table 1,
1,000 updates in settings A to C hardly change G (measured: the distance falls from 63 to 57, 57 and
50). With n_dis = 1, width 8 and four times the step sizes, training under SN does not settle: in B
the distance after 1,000 updates was 25, 35 and 57 over three seeds, and after 3,000 updates 61, 42
and 37. With the width and step sizes here the distance keeps falling, but for one seed in C only
after 1,500 updates (to 39)."""


def base(full: bool, setting: str = "C", **changes: Any) -> Config:
    """Return the configuration that a study starts from.

    Args:
        full: use CIFAR-10 and :data:`PAPER`; else the shipped digits and :data:`LAPTOP`.
        setting: letter of Table 1.
        changes: values of single settings.
    """
    adam = TABLE_1[setting]
    size = PAPER if full else LAPTOP[adam.n_dis]
    rate, steps = size["rates"] * adam.rate, changes.get("steps", size["steps"])
    settings = {
        "objective": "standard",
        "average": 0.0,
        "rate_d": rate,
        "rate_g": rate,
        "beta1": adam.beta1,
        "beta2": adam.beta2,
        "n_dis": adam.n_dis,
        "width": size["width"],
        "steps": steps,
        "sample_every": steps,
        "checkpoint_every": max(steps // 20, 50),
        "log_every": max(steps // 100, 10),
    }
    return load_preset("cifar10" if full else "mnist-tiny").replace(**settings | changes)


# -- Figures 1 and 2: methods and settings ------------------------------------------------------


def _settings_cells(full: bool) -> list[Cell]:
    """Return every method in every setting; SN has three seeds."""
    return [
        Cell(
            {"method": method, "setting": setting, "seed": seed},
            base(full, setting, seed=seed, **changes),
        )
        for setting in TABLE_1
        for method, changes in COMPARED.items()
        for seed in range(3 if full or method == "SN" else 1)
    ]


def scores_table(results: Sequence[Result]) -> list[Row]:
    """Return the outcome of each run, its first Fréchet distance, and, if it ended, its scores."""
    keys = ("inception", "inception_real", "frechet")
    return [
        {
            **outcome(r),
            **{k: "" if r["diverged"] is not None else last(r).get(k, "") for k in keys},
            "frechet_at_start": r["measures"][0].get("frechet", "") if r["measures"] else "",
        }
        for r in results
    ]


def trained(row: Row) -> bool:
    """Return whether a run did not diverge and at least halved its Fréchet distance."""
    if row["diverged"] != "" or row["frechet"] == "":
        return False
    return row["frechet"] <= TRAINED * row["frechet_at_start"]


def _settings_verdict(rows: Sequence[Row]) -> str:
    """Say in how many settings each method trained, and whether SN trained in all."""
    counts = {
        method: {s for s in TABLE_1 if all(trained(r) for r in mine if r["setting"] == s)}
        for method, mine in grouped(rows, "method").items()
    }
    sn = counts.get("SN", set())
    others = ", ".join(f"{m} in {len(good)}" for m, good in counts.items() if m != "SN")
    borne = borne_out(len(sn) == len(TABLE_1))
    failed = ", ".join(sorted(set(TABLE_1) - sn))
    return (
        f"A run counts as trained if it did not diverge and its Fréchet distance fell to at most "
        f"{TRAINED:.0%} of the untrained generator's. SN trained, with every seed, in {len(sn)} of "
        f"{len(TABLE_1)} settings{f' (not in {failed})' if failed else ''}; the others: "
        f"{others}. That SN is robust to the setting {borne} here."
    )


# -- Figures 3 and 4: features -------------------------------------------------------------------


def _spectra_cells(full: bool) -> list[Cell]:
    chosen = ("weight clipping", "weight norm", "SN")
    return [Cell({"method": m}, base(full, **COMPARED[m]), ("spectra",)) for m in chosen]


def _spectra_table(results: Sequence[Result]) -> list[Row]:
    """Return the stable rank of every layer, and its singular values over the largest."""
    return [
        {
            **outcome(r),
            "layer": k,
            "stable_rank": stable_rank(values),
            "values": len(values),
            "spectrum": " ".join(f"{s / values[0]:.4g}" for s in values),
        }
        for r in results
        for k, values in enumerate(last(r).get("spectra", []), 1)
        if values[0]
    ]


def _spectra_verdict(rows: Sequence[Row]) -> str:
    shares = {
        method: median(r["stable_rank"] / r["values"] for r in mine if r["values"] > 1)
        for method, mine in grouped(rows, "method").items()
    }
    said = ", ".join(f"{m} {share:.2f}" for m, share in shares.items())
    borne = borne_out(shares["SN"] == max(shares.values()))
    return (
        f"The stable rank of a layer, as a share of the singular values it has (median over "
        f"layers with more than one): {said}. That the spectra of SN are broad and those of "
        f"clipping and weight normalization concentrate on few directions {borne} here."
    )


def _width_cells(full: bool) -> list[Cell]:
    """Multiply the input and output channels of the seventh convolution by one factor."""
    width = base(full).width
    return [
        Cell(
            {"method": method, "features": int(factor * 8 * width)},
            base(
                full,
                **COMPARED[method],
                features=int(factor * 8 * width),
                features_in=int(factor * 4 * width),
            ),
        )
        for method in ("orthonormal", "SN")
        for factor in FACTORS
    ]


def _width_verdict(rows: Sequence[Row]) -> str:
    spread = {}
    for method, mine in grouped(rows, "method").items():
        scores = [r["inception"] for r in mine if r["inception"] != ""]
        spread[method] = min(scores) / max(scores)
    borne = borne_out(spread["SN"] > spread["orthonormal"])
    return (
        f"From the narrowest to the widest last convolution the worst score is {spread['SN']:.0%} "
        f"of the best under SN and {spread['orthonormal']:.0%} under orthonormal regularization. "
        f"That SN is less sensitive to its width {borne} here."
    )


# -- Figure 9: norms during training ---------------------------------------------------------------


def _norms_cells(full: bool) -> list[Cell]:
    config = base(full, "C", **COMPARED["SN"])
    return [Cell({"method": "SN"}, config.replace(sample_every=config.steps // 50), ("norms",))]


def _norms_table(results: Sequence[Result]) -> list[Row]:
    return [
        {**outcome(r), "step": m["step"], "layer": k, "norm": norm}
        for r in results
        for m in r["measures"]
        for k, norm in enumerate(m["norms"], 1)
    ]


def _norms_verdict(rows: Sequence[Row]) -> str:
    norms = sorted(row["norm"] for row in rows)
    within = sum(norm <= 1.05 for norm in norms) / len(norms)
    peak = max(rows, key=lambda row: row["norm"])
    borne = borne_out(within >= 0.9)
    return (
        f"{within:.0%} of all measured norms of normalized weights lie from {norms[0]:.3f} to "
        f"1.05; the largest, {peak['norm']:.3f}, is that of layer {peak['layer']} at step "
        f"{peak['step']}. That one power step per update keeps the norms near 1 {borne} here."
    )


# -- Figure 11: updates of D ----------------------------------------------------------------


def _n_dis_cells(full: bool) -> list[Cell]:
    return [
        Cell({"method": m, "n_dis": n}, base(full, "D", **COMPARED[m], n_dis=n))
        for m in ("weight norm", "SN")
        for n in (1, 2, 5, 10)
    ]


def _n_dis_verdict(rows: Sequence[Row]) -> str:
    scores = {
        method: {r["n_dis"]: r["inception"] or 1.0 for r in mine}
        for method, mine in grouped(rows, "method").items()
    }
    gain = {method: s[max(s)] / s[min(s)] for method, s in scores.items()}
    sn = scores["SN"]
    borne = borne_out(gain["SN"] >= max(gain["weight norm"], 1))
    return (
        f"From {min(sn)} to {max(sn)} updates of D for one of G the score changes by a factor of "
        f"{gain['SN']:.2f} under SN and {gain['weight norm']:.2f} under weight normalization. That "
        f"SN gains from more updates of D, and weight normalization does not, {borne} here."
    )


# -- Figure 15: the critic on held-out images ----------------------------------------------------


def _critic_cells(full: bool) -> list[Cell]:
    shared = {"objective": "wasserstein", "gradient_penalty": 10.0}
    schemes: dict[str, dict[str, Any]] = {
        "none": {"regularizer": "none"},
        "weight norm": {"regularizer": "wn", "gain": True},
        "SN": {"regularizer": "sn", "gain": True},
    }
    cells = []
    for name, changes in schemes.items():
        config = base(full, "A", **shared, **changes)
        config = config.replace(sample_every=config.steps // 20)
        cells.append(Cell({"reparametrization": name}, config, ("critic",)))
    return cells


def _critic_table(results: Sequence[Result]) -> list[Row]:
    return [
        {
            **outcome(r),
            "step": m["step"],
            "train": m["critic_train"],
            "held_out": m["critic_held_out"],
        }
        for r in results
        for m in r["measures"]
    ]


def _critic_verdict(rows: Sequence[Row]) -> str:
    gaps = {}
    for name, mine in grouped(rows, "reparametrization").items():
        late = mine[len(mine) // 2 :]
        level = median(abs(row["train"]) for row in late)
        gaps[name] = median(row["held_out"] - row["train"] for row in late) / level
    said = ", ".join(f"{name} {gap:.1%}" for name, gap in gaps.items())
    found = (
        f"Loss of the critic on held-out images above that on training images, as a share of the "
        f"latter, median over the second half of training: {said}. "
    )
    if max(gaps.values()) < OVERFIT:
        return found + "No critic overfits in so few updates: whether SN does so less is not seen."
    return found + f"That SN overfits least {borne_out(gaps['SN'] <= min(gaps.values()))} here."


METHOD_STUDIES = [
    Study("fig1", "Inception-style score by method, settings A to F",
          "The paper: SN draws good samples in every setting, other methods fail in some",
          "[M18 Fig. 1], [M18 Table 1], [M18 Table 2]", 100, _settings_cells, scores_table,
          _settings_verdict),
    Study("fig2", "Fréchet distance of each method in settings A to F",
          "The paper: SN draws good samples in every setting, other methods fail in some",
          "[M18 Fig. 2], [M18 Table 1], [M18 Table 2]", 100, _settings_cells, scores_table,
          _settings_verdict),
    Study("fig3", "Squared singular values of each layer of a trained D",
          "The paper: clipping and weight normalization use few directions, SN many",
          "[M18 Fig. 3]", 6, _spectra_cells, _spectra_table, _spectra_verdict),
    Study("fig4", "Score against the channels of D's last convolution, in and out, SN and "
          "orthonormal",
          "The paper: SN is less sensitive to the width of the last convolution",
          "[M18 Fig. 4]", 25, _width_cells, scores_table, _width_verdict),
    Study("fig9", "Spectral norm of each normalized weight during training, setting C",
          "The paper: norms stay near 1 with one power step per update",
          "[M18 Fig. 9]", 4, _norms_cells, _norms_table, _norms_verdict),
    Study("fig11", "Score against updates of D per update of G, SN and weight normalization",
          "As recalled from the paper: SN gains from more updates of D",
          "[M18 Fig. 11]", 14, _n_dis_cells, scores_table, _n_dis_verdict),
    Study("fig15", "Loss of a WGAN-GP critic on training and held-out images",
          "As recalled from the paper: reparametrized by SN, the critic overfits less",
          "[M18 Fig. 15], [M18 Table 7], [M18 Eq. (32)]", 9, _critic_cells, _critic_table,
          _critic_verdict),
]  # fmt: skip
