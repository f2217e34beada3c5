"""Plots of studies: every study's table, verdict and plot, from results of the right form."""

import numpy as np
import pytest

from minisn.bench import Timing
from minisn.plots import png
from minisn.study import STUDIES, untrained
from minisn.study_plots import FORMS, draw

RNG = np.random.default_rng(0)
LAYERS = 8


def measured(cell, step):
    """What the probes of a cell would find, drawn at random."""
    norms = RNG.uniform(0.99, 1.1, LAYERS)
    found = {
        "scores": {"inception": RNG.uniform(2, 8), "inception_real": 8.7,
                   "frechet": RNG.uniform(5, 80)},
        "norms": {"norms": list(norms)},
        "spectra": {"spectra": [sorted(RNG.uniform(0, 1, n), reverse=True)
                                for n in (9, 8, 16, 16, 32, 32, 64, 1)]},
        "variances": {"variances": [[int(f), 0.4 / f] for f in (9, 128, 72, 256, 144, 512)]},
        "gradients": {"weight_gradients": list(RNG.uniform(0.1, 9, LAYERS)),
                      "input_gradients": sorted(RNG.uniform(0, 1, 3))},
        "balance": dict(zip(("spread", "slope_real", "slope_fake"), RNG.uniform(0, 1, 3),
                            strict=True)),
        "critic": {"critic_train": -RNG.uniform(3, 4), "critic_held_out": -RNG.uniform(1, 3)},
    }  # fmt: skip
    return {"step": step} | {k: v for probe in cell.probes for k, v in found[probe].items()}


def results(study):
    return [
        {
            "label": cell.label,
            "config": {"steps": cell.config.steps},
            "step": cell.config.steps,
            "seconds": 1.0,
            "diverged": None,
            "measures": [
                measured(cell, step)
                for step in range(0, cell.config.steps + 1, cell.config.sample_every)
            ],
        }
        for cell in STUDIES[study].cells(False)
    ]


@pytest.fixture(autouse=True)
def no_clock(monkeypatch):
    """Times as the bench returns them, without waiting for them."""

    def compare(contestants, turns, steps):
        return [Timing(c.name, list(RNG.uniform(1, 2, turns)), 500.0) for c in contestants]

    monkeypatch.setattr(untrained, "compare", compare)


def test_every_study_has_a_form():
    assert FORMS.keys() == STUDIES.keys()


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_makes_a_table_a_paragraph_and_a_plot(name):
    study = STUDIES[name]
    rows = study.table(results(name))
    assert rows and all(row.keys() == rows[0].keys() for row in rows)
    said = study.verdict(rows)
    assert said.endswith(".") and "nan" not in said
    figure = draw(study, rows)
    (axes,) = figure.axes
    assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()
    assert axes.lines or axes.patches
    assert png(figure).startswith(b"\x89PNG")


def test_the_methods_are_timed_in_several_processes_each_in_both_orders(monkeypatch):
    orders = []

    def compare(contestants, turns, steps):
        orders.append([c.name for c in contestants])
        slow = 1.5 if orders[-1][0] == "none" else 1.0  # whoever is timed first is slowed
        return [
            Timing(c.name, [2.0 if c.name == "SN" else slow] * turns, 500.0) for c in contestants
        ]

    monkeypatch.setattr(untrained, "compare", compare)
    rows = {row["method"]: row for row in STUDIES["fig10"].table([])}
    assert orders[1] == orders[0][::-1] and orders[::2] == orders[:1] * len(orders[::2])
    assert rows["SN"]["turns"] == untrained.TURNS * len(orders)
    assert rows["SN"]["processes"] == len(orders) == untrained.SETS
    assert (rows["SN"]["least"], rows["SN"]["most"]) == (2 / 1.5, 2)


def test_runs_that_diverged_leave_a_gap_and_no_error():
    wrecked = results("fig1")
    for result in wrecked[::2]:
        result |= {"diverged": 17, "measures": []}
    study = STUDIES["fig1"]
    rows = study.table(wrecked)
    assert sum(row["inception"] == "" for row in rows) == len(wrecked[::2])
    assert png(draw(study, rows))


def test_a_curve_holds_the_numbers_of_the_table():
    study = STUDIES["l21-e"]
    rows = study.table(results("l21-e"))
    (axes,) = draw(study, rows).axes
    ssn = [row for row in rows if row["method"] == "sn"]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [r["scale"] for r in ssn])
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [r["frechet"] for r in ssn])
