"""Plots of studies, in the form of the paper's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .plots import figure_with_axes, series_color
from .study import Study
from .study.design import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[["Axes", Sequence[Row]], None]


def draw(study: Study, rows: Sequence[Row]) -> Figure:
    """Plot a study's table.

    Args:
        study: the study.
        rows: the rows of its table, at least one.
    """
    label, form = FORMS[study.name]
    figure, axes = figure_with_axes(study.title, *label)
    form(axes, rows)
    axes.grid(alpha=0.3)
    _, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        columns = 4 if max(map(len, labels)) < 14 else 3
        figure.legend(loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    return figure


def _values(rows: Sequence[Row], column: str) -> list[str]:
    return list(dict.fromkeys(str(row[column]) for row in rows))


def _by_setting(column: str) -> Draw:
    """Draw points for each method, grouped by the letter of the setting."""

    def form(axes: Axes, rows: Sequence[Row]) -> None:
        settings, methods = _values(rows, "setting"), _values(rows, "method")
        for k, method in enumerate(methods):
            shift = (k - (len(methods) - 1) / 2) * 0.8 / len(methods)
            mine = [r for r in rows if r["method"] == method and r[column] != ""]
            x = [settings.index(r["setting"]) + shift for r in mine]
            axes.plot(
                x, [r[column] for r in mine], "o", color=series_color(k), label=method, markersize=5
            )
        axes.set_xticks(range(len(settings)), settings)
        if column == "frechet":
            axes.set_yscale("log")
            return
        real = [r["inception_real"] for r in rows if r["inception_real"] != ""]
        if real:
            axes.axhline(real[0], color="black", linestyle="--", linewidth=1, label="real images")

    return form


def _label_a_few(axes: Axes) -> None:
    """Label 1, 2 and 5 of each power of ten below the axis; more labels would overlap."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _lines(group: str, x: str, y: str, log: str = "", style: str = "-o") -> Draw:
    """Draw a curve for each value of a column."""

    def form(axes: Axes, rows: Sequence[Row]) -> None:
        for k, value in enumerate(_values(rows, group)):
            mine = [r for r in rows if str(r[group]) == value and r[y] != ""]
            axes.plot(
                [r[x] for r in mine],
                [r[y] for r in mine],
                style,
                color=series_color(k),
                label=value,
                markersize=3,
            )
        if "x" in log:
            axes.set_xscale("log")
            _label_a_few(axes)
        if "y" in log:
            axes.set_yscale("log")

    return form


def _spectra(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the squared singular values of the middle convolutions, a color for each method."""
    for k, method in enumerate(_values(rows, "method")):
        for row in (r for r in rows if r["method"] == method and r["values"] > 1):
            squares = [float(s) ** 2 for s in row["spectrum"].split()]
            places = [(t + 1) / len(squares) for t in range(len(squares))]
            label = method if row["layer"] == 2 else None
            axes.plot(places, squares, color=series_color(k), alpha=0.7, linewidth=1, label=label)


def _admissible(axes: Axes, rows: Sequence[Row]) -> None:
    _lines("method", "x", "y", style="-")(axes, rows)
    axes.set_aspect("equal")


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    names = [r["method"] for r in rows]
    axes.bar(
        names,
        [r["seconds_per_100_updates"] for r in rows],
        color=[series_color(k) for k in range(len(rows))],
    )


def _inverse_variance(axes: Axes, rows: Sequence[Row]) -> None:
    for k, method in enumerate(_values(rows, "method")):
        mine = [r for r in rows if r["method"] == method]
        axes.plot(
            [r["fan_in"] for r in mine],
            [1 / r["variance"] for r in mine],
            "o",
            color=series_color(k),
            label=method,
        )
    ends = sorted(r["fan_in"] for r in rows)
    axes.plot([ends[0], ends[-1]], [ends[0], ends[-1]], "k--", linewidth=1, label="LeCun")
    axes.set_xscale("log")
    axes.set_yscale("log")


def _gradient_label(rows: Sequence[Row]) -> list[Row]:
    return [{**r, "run": f"{r['method']}, {r['init']}"} for r in rows]


def _gradients(column: str) -> Draw:
    draw_lines = _lines("run", "step", column, log="y")
    return lambda axes, rows: draw_lines(axes, _gradient_label(rows))


def _critic_lines(axes: Axes, rows: Sequence[Row]) -> None:
    for k, name in enumerate(_values(rows, "reparametrization")):
        mine = [r for r in rows if r["reparametrization"] == name]
        steps = [r["step"] for r in mine]
        axes.plot(
            steps, [r["train"] for r in mine], color=series_color(k), linewidth=1.2, label=name
        )
        axes.plot(
            steps, [r["held_out"] for r in mine], color=series_color(k), linewidth=6, alpha=0.3
        )


def _distance_bars(axes: Axes, rows: Sequence[Row]) -> None:
    axes.bar(
        [r["method"] for r in rows],
        [r["frechet"] or 0 for r in rows],
        color=[series_color(k) for k in range(len(rows))],
    )


def _seeds(x: str, y: str, log: bool = False) -> Draw:
    """Draw a curve for each seed, in the color of its method."""

    def form(axes: Axes, rows: Sequence[Row]) -> None:
        for k, name in enumerate(_values(rows, "method")):
            for seed in _values(rows, "seed"):
                mine = [
                    r for r in rows if r["method"] == name and str(r["seed"]) == seed and r[y] != ""
                ]
                axes.plot(
                    [r[x] for r in mine],
                    [r[y] for r in mine],
                    linewidth=1.2,
                    color=series_color(k),
                    label=None if seed != "0" else name,
                )
        if log:
            axes.set_yscale("log")

    return form


_SCORE, _DISTANCE = "inception-style score", "Fréchet distance (lower is better)"
FORMS: dict[str, tuple[tuple[str, str], Draw]] = {
    "fig1": (("setting of Table 1", _SCORE), _by_setting("inception")),
    "fig2": (("setting of Table 1", _DISTANCE), _by_setting("frechet")),
    "fig3": (("place among the singular values, from largest to smallest",
              r"$\sigma_t^2 / \sigma_1^2$"), _spectra),
    "fig4": (("channels of D's last convolution", _SCORE),
             _lines("method", "features", "inception", log="x")),
    "fig9": (("step (updates of G)", r"$\sigma_1(\bar W)$"), _lines("layer", "step", "norm")),
    "fig10": (("method", "seconds per 100 updates of G"), _bars),
    "fig11": (("updates of D for one of G", _SCORE), _lines("method", "n_dis", "inception")),
    "fig14": ((r"$\sigma_1$", r"$\sigma_2$"), _admissible),
    "fig15": (("step (updates of G)", "critic's loss (broad: held-out images)"), _critic_lines),
    "l21-a": (("step (updates of G)", r"$\|\nabla_w D\|_F$"), _gradients("weights")),
    "l21-b": ((r"$1 / \|w_t\|_{sp}$", r"$\|\nabla_{w_t} D\|_F$"),
              _lines("method", "inverse_norm", "gradient", log="xy", style="o")),
    "l21-c": (("fan-in", "1 / variance of the normalized weight"), _inverse_variance),
    "l21-d": (("method", _DISTANCE), _distance_bars),
    "l21-e": (("constant $c$", _DISTANCE), _lines("method", "scale", "frechet")),
    "l21-f": (("step (updates of G)", r"largest $\|\nabla_x D(x)\|_2$ of 256 images"),
              _gradients("inputs_max")),
    "collapse": (("step (updates of G)", "spread of samples (images: 1)"),
                 _seeds("step", "spread")),
    "hour": (("minutes on two quiet cores", _DISTANCE), _seeds("minutes", "frechet", log=True)),
}  # fmt: skip
"""The labels of the axes and the drawing function of each study."""
