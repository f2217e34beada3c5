"""Plots of studies, in the form of the paper's figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .plots import figure_with_axes, series_color
from .study import Study
from .study.design import Row, grouped

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


def _groups(rows: Sequence[Row], *columns: str) -> Iterator[tuple[str, str, list[Row]]]:
    """Yield the label, the color and the rows of each group."""
    for k, (label, mine) in enumerate(grouped(rows, *columns).items()):
        yield label, series_color(k), mine


def _curve(axes: Axes, rows: Sequence[Row], x: str, y: str, style: str = "-", **looks: Any) -> None:
    rows = [r for r in rows if r[y] != ""]
    axes.plot([r[x] for r in rows], [r[y] for r in rows], style, **looks)


def _by_setting(column: str) -> Draw:
    """Draw points for each method, grouped by the letter of the setting."""

    def form(axes: Axes, rows: Sequence[Row]) -> None:
        settings, methods = list(grouped(rows, "setting")), list(_groups(rows, "method"))
        for k, (method, color, mine) in enumerate(methods):
            shift = (k - (len(methods) - 1) / 2) * 0.8 / len(methods)
            placed = [r | {"x": settings.index(r["setting"]) + shift} for r in mine]
            _curve(axes, placed, "x", column, "o", color=color, label=method, markersize=5)
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


def _lines(*columns: str, x: str, y: str, log: str = "", style: str = "-o") -> Draw:
    """Draw a curve for each value of a column, or of several."""

    def form(axes: Axes, rows: Sequence[Row]) -> None:
        for label, color, mine in _groups(rows, *columns):
            _curve(axes, mine, x, y, style, color=color, label=label, markersize=3)
        if "x" in log:
            axes.set_xscale("log")
            _label_a_few(axes)
        if "y" in log:
            axes.set_yscale("log")

    return form


def _spectra(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the squared singular values of the middle convolutions, a color for each method."""
    for method, color, mine in _groups(rows, "method"):
        for row in (r for r in mine if r["values"] > 1):
            squares = [float(s) ** 2 for s in row["spectrum"].split()]
            places = [(t + 1) / len(squares) for t in range(len(squares))]
            label = method if row["layer"] == 2 else None
            axes.plot(places, squares, color=color, alpha=0.7, linewidth=1, label=label)


def _admissible(axes: Axes, rows: Sequence[Row]) -> None:
    _lines("method", x="x", y="y", style="-")(axes, rows)
    axes.set_aspect("equal")


def _bars(column: str) -> Draw:
    """Draw a bar for each method."""

    def form(axes: Axes, rows: Sequence[Row]) -> None:
        names, heights = [r["method"] for r in rows], [r[column] or 0 for r in rows]
        axes.bar(names, heights, color=[series_color(k) for k in range(len(rows))])

    return form


def _last_bars(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the distance at the end of each method as a bar to the right, in the table's order."""
    ends = {name: mine[-1]["frechet"] or 0 for name, mine in grouped(rows, "method").items()}
    bars = axes.barh(list(ends), list(ends.values()), color=series_color(0))
    axes.bar_label(bars, fmt=" %.1f", fontsize=9)
    axes.margins(x=0.1)
    axes.invert_yaxis()


def _inverse_variance(axes: Axes, rows: Sequence[Row]) -> None:
    for method, color, mine in _groups(rows, "method"):
        inverse = [r | {"inverse": 1 / r["variance"]} for r in mine]
        _curve(axes, inverse, "fan_in", "inverse", "o", color=color, label=method)
    ends = sorted(r["fan_in"] for r in rows)
    axes.plot([ends[0], ends[-1]], [ends[0], ends[-1]], "k--", linewidth=1, label="LeCun")
    axes.set_xscale("log")
    axes.set_yscale("log")


def _critic_lines(axes: Axes, rows: Sequence[Row]) -> None:
    for name, color, mine in _groups(rows, "reparametrization"):
        _curve(axes, mine, "step", "train", color=color, linewidth=1.2, label=name)
        _curve(axes, mine, "step", "held_out", color=color, linewidth=6, alpha=0.3)


def _seeds(x: str, y: str, log: bool = False) -> Draw:
    """Draw a curve for each seed, in the color of its method."""

    def form(axes: Axes, rows: Sequence[Row]) -> None:
        for name, color, mine in _groups(rows, "method"):
            for seed, run in grouped(mine, "seed").items():
                label = None if seed != "0" else name
                _curve(axes, run, x, y, color=color, linewidth=1.2, label=label)
        if log:
            axes.set_yscale("log")

    return form


def _updates_and_hours(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the distance by updates, with the hours above."""
    _seeds("step", "frechet", log=True)(axes, rows)
    hour = 3600 / max(rows[-1]["seconds"], 1) * max(rows[-1]["step"], 1)
    above = axes.secondary_xaxis("top", functions=(lambda x: x / hour, lambda x: x * hour))
    above.set_xlabel("hours")


_SCORE, _DISTANCE = "inception-style score", "Fréchet distance (lower is better)"
FORMS: dict[str, tuple[tuple[str, str], Draw]] = {
    "fig1": (("setting of Table 1", _SCORE), _by_setting("inception")),
    "fig2": (("setting of Table 1", _DISTANCE), _by_setting("frechet")),
    "fig3": (("place among the singular values, from largest to smallest",
              r"$\sigma_t^2 / \sigma_1^2$"), _spectra),
    "fig4": (("channels of D's last convolution", _SCORE),
             _lines("method", x="features", y="inception", log="x")),
    "fig9": (("step (updates of G)", r"$\sigma_1(\bar W)$"), _lines("layer", x="step", y="norm")),
    "fig10": (("method", "seconds per 100 updates of G"), _bars("seconds_per_100_updates")),
    "fig11": (("updates of D for one of G", _SCORE), _lines("method", x="n_dis", y="inception")),
    "fig14": ((r"$\sigma_1$", r"$\sigma_2$"), _admissible),
    "fig15": (("step (updates of G)", "critic's loss (broad: held-out images)"), _critic_lines),
    "l21-a": (("step (updates of G)", r"$\|\nabla_w D\|_F$"),
              _lines("method", "init", x="step", y="weights", log="y")),
    "l21-b": ((r"$1 / \|w_t\|_{sp}$", r"$\|\nabla_{w_t} D\|_F$"),
              _lines("method", x="inverse_norm", y="gradient", log="xy", style="o")),
    "l21-c": (("fan-in", "1 / variance of the normalized weight"), _inverse_variance),
    "l21-d": (("method", _DISTANCE), _bars("frechet")),
    "l21-e": (("constant $c$", _DISTANCE), _lines("method", x="scale", y="frechet")),
    "l21-f": (("step (updates of G)", r"largest $\|\nabla_x D(x)\|_2$ of 256 images"),
              _lines("method", "init", x="step", y="inputs_max", log="y")),
    "collapse": (("step (updates of G)", "spread of samples (images: 1)"),
                 _seeds("step", "spread")),
    "pilot": ((_DISTANCE, "change"), _last_bars),
    "hour": (("minutes on two quiet cores", _DISTANCE), _seeds("minutes", "frechet", log=True)),
    "paper": (("step (updates of G)", _DISTANCE), _updates_and_hours),
}  # fmt: skip
"""The labels of the axes and the drawing function of each study."""
