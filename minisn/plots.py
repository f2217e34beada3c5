"""Pictures of a run: sheets of samples, losses, and the norm of each layer.

Every plot is a separate Matplotlib Figure, made without pyplot. Matplotlib is imported for the
first plot. Layers are numbered from 1 in the order of the network, as in the paper.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .data import unscale_images
from .errors import ShapeError
from .files import StrPath, write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 8
"""Usual number of columns of a sheet; with a conditional model, each column holds one class."""

STEPS = "step (updates of G)"

_WIDTH = 5.4  # inches: 11-point letters stay legible on a phone
_DOTS = 200  # per inch
_GAP = 255  # white between the images of a sheet
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8000", "#000000")


# -- samples ---------------------------------------------------------------------------


def columns_for(classes: int) -> int:
    """Choose the number of columns of a sheet, so that each column holds images of one class.

    Args:
        classes: the classes of a conditional model, which draws each in turn; 0 for other models.
    Returns:
        The largest multiple of ``classes`` up to 8; ``classes`` itself from 9 to 16; 8 for more
        classes, or for none.
    """
    if not 0 < classes <= 2 * COLUMNS:
        return COLUMNS
    return classes * max(1, COLUMNS // classes)


def sheet(images: np.ndarray, zoom: int = 3, columns: int = COLUMNS) -> np.ndarray:
    """Lay images out in rows, by default of eight.

    Args:
        images: in [-1, 1], float, [N, C, H, W]; C is 1 (gray) or 3 (red, green, blue).
        zoom: side of an image's pixel on the sheet, in pixels.
        columns: images in a row.
    Returns:
        uint8, [height, width, 3]: the images in order, row by row, a white line of ``zoom``
        pixels around each.
    Raises:
        ShapeError: no images, or another number of axes or channels.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ShapeError(
            f"sheet: expected at least one image, [N, 1 or 3, H, W], got shape {list(images.shape)}"
        )
    n, _, height, width = images.shape
    columns = min(n, columns)
    rows = -(-n // columns)
    pixels = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, 3), _GAP, np.uint8)
    for k, image in enumerate(unscale_images(images).transpose(0, 2, 3, 1)):
        row, column = divmod(k, columns)
        top, left = row * (height + 1) + 1, column * (width + 1) + 1
        pixels[top : top + height, left : left + width] = image
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def save_sheet(path: StrPath, images: np.ndarray, columns: int = COLUMNS) -> None:
    """Write a sheet of images as a PNG file in one step; see :func:`sheet`."""
    path = Path(path)
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, sheet(images, columns=columns), format="png")
    write_file(path, file.getvalue())


# -- plots over the steps ---------------------------------------------------------------------


def loss_figure(log: Sequence[Mapping[str, Any]], objective: str) -> Figure:
    """Plot both losses over the steps, and their running means if there are enough points.

    Args:
        log: lines with ``step``, ``loss_d`` and ``loss_g`` (None at step 0).
        objective: the name of the objective, for the axis.
    """
    figure, axes = figure_with_axes(
        "Losses of discriminator and generator", STEPS, f"loss ({objective})"
    )
    log = [line for line in log if line["loss_d"] is not None]
    steps = [line["step"] for line in log]
    window = len(log) // 20
    for key, label, color in (
        ("loss_d", "D: discriminator", "tab:blue"),
        ("loss_g", "G: generator", "tab:orange"),
    ):
        values = np.array([line[key] for line in log], float)
        if window < 4:
            axes.plot(steps, values, color=color, label=label, **_marks(steps))
        else:
            axes.plot(steps, values, color=color, alpha=0.35)
            mean = np.convolve(values, np.ones(window) / window, "valid")
            words = f"{label} (mean of {window})"
            axes.plot(steps[window - 1 :], mean, color=color, linewidth=2, label=words)
    _finish(figure, axes, columns=2)
    return figure


def norm_figure(log: Sequence[Mapping[str, Any]], target: float = 1.0) -> Figure:
    r"""Plot the spectral norm of each layer's normalized weight over the steps.

    .. math:: \sigma_1(\bar W^l) \quad\text{with}\quad \bar W^l = cW^l / \tilde u^TW^l\tilde v

    Args:
        log: lines; those with ``norm`` (layer to largest singular value) are shown.
        target: c, drawn as a line.

    Source: [M18 Fig. 9]
    """
    title = "Spectral norm of each normalized weight of D"
    figure, axes = figure_with_axes(title, STEPS, r"$\sigma_1(\bar W)$")
    axes.axhline(target, color="0.4", linestyle=(0, (4, 3)), label=f"target: {target:g}")
    low, high = _plot_layers(axes, log, "norm")
    axes.set_ylim(min(low, target) - 0.01 * target, max(high + 0.01 * target, 1.05 * target))
    axes.ticklabel_format(axis="y", useOffset=False)
    _finish(figure, axes, columns=5)
    return figure


def sigma_figure(log: Sequence[Mapping[str, Any]]) -> Figure:
    r"""Plot the estimated spectral norm of each layer's weight before normalization.

    .. math:: \sigma(W^l) \approx \tilde u^TW^l\tilde v

    Args:
        log: lines with ``sigma`` (layer to estimate).

    Source: [M18 Eq. (19)]
    """
    title = "Spectral norm of each weight of D, before normalization"
    figure, axes = figure_with_axes(title, STEPS, r"$\sigma(W) \approx u^T W v$")
    _, high = _plot_layers(axes, log, "sigma")
    axes.set_ylim(0, high * 1.05 or 1)
    _finish(figure, axes, columns=4)
    return figure


def _plot_layers(axes: Axes, log: Sequence[Mapping[str, Any]], key: str) -> tuple[float, float]:
    """Draw a curve for each layer; return the smallest and the largest value."""
    lines = [line for line in log if key in line]
    steps = [line["step"] for line in lines]
    layers = list(lines[0][key])
    table = np.array([[line[key][layer] for line in lines] for layer in layers], float)
    for k, values in enumerate(table):
        axes.plot(steps, values, color=series_color(k), label=f"layer {k + 1}", **_marks(steps))
    return float(table.min()), float(table.max())


# -- spectra ------------------------------------------------------------------------------------


def spectrum_figure(spectra: Sequence[np.ndarray]) -> Figure:
    r"""Plot the squared singular values of each layer's weight, the largest scaled to 1.

    .. math:: \sigma_t(W^l)^2 / \sigma_1(W^l)^2, \qquad t = 1, 2, \dots

    Args:
        spectra: for each layer its singular values, the largest first.

    Source: [M18 Fig. 3]
    """
    columns = min(len(spectra), 4)
    rows = -(-len(spectra) // columns)
    figure = _figure(1.0 + 1.5 * rows)
    figure.suptitle("Squared singular values of each weight of D", fontsize=12)
    figure.supxlabel("index of the singular value, $t$", fontsize=11)
    figure.supylabel(r"$\sigma_t^2 / \sigma_1^2$", fontsize=11)
    for k, values in enumerate(spectra):
        axes = figure.add_subplot(rows, columns, k + 1)
        index = np.arange(1, len(values) + 1)
        scaled = (np.asarray(values, float) / (float(values[0]) or 1.0)) ** 2
        axes.plot(index, scaled, color=series_color(k), **_marks(index))
        axes.fill_between(index, scaled, color=series_color(k), alpha=0.2)
        axes.set_title(f"layer {k + 1}", fontsize=10)
        axes.set_ylim(0, 1.05)
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"] if k % columns == 0 else [])
        ticks = sorted({1, len(values)})
        margin = max(0.04 * len(values), 0.5)
        axes.set_xlim(1 - margin, len(values) + margin)
        axes.set_xticks(ticks)
        _dress(axes)
    return figure


# -- what they share -----------------------------------------------------------------------------


def png(figure: Figure) -> bytes:
    """Render a figure as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()


def _figure(height: float) -> Figure:
    """Make an empty figure of the usual width, which a notebook shows without pyplot."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            return png(self)

    return Shown(figsize=(_WIDTH, height), dpi=_DOTS, layout="constrained")


def figure_with_axes(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Make a figure of the usual size with one pair of labeled axes."""
    figure = _figure(4.0)
    axes = figure.add_subplot()
    axes.set_title(textwrap.fill(title, 54, break_on_hyphens=False), fontsize=12)
    axes.set_xlabel(xlabel, fontsize=11)
    axes.set_ylabel(ylabel, fontsize=11)
    _dress(axes)
    return figure, axes


def _dress(axes: Axes) -> None:
    axes.tick_params(labelsize=10)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _finish(figure: Figure, axes: Axes, columns: int) -> None:
    """Start the axis at step 0, and put the legend below the plot."""
    axes.set_xlim(left=0, right=1.02 * max(axes.dataLim.x1, 1))
    figure.legend(
        loc="outside lower center",
        ncols=columns,
        fontsize=10,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.2,
    )


def _marks(points: Sequence[Any] | np.ndarray) -> dict[str, Any]:
    """Mark the points if there are few, because a single point makes no line."""
    return {"marker": "o", "markersize": 4} if len(points) <= 20 else {}


def series_color(k: int) -> str:
    """Return one of eight colors that people with any color vision tell apart."""
    return _COLORS[k % len(_COLORS)]
