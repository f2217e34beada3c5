"""The pictures of a run, looked at pixel by pixel as far as a test can."""

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from minisn import plots
from minisn.errors import NonFiniteError, ShapeError

LAYERS = [f"layers.{k}" for k in range(0, 16, 2)]


def a_log(lines=100, norm_every=10, layers=LAYERS):
    rng = np.random.default_rng(0)
    log = []
    for k in range(1, lines + 1):
        line = {
            "step": 10 * k,
            "seconds": 2.0 * k,
            "loss_d": float(rng.normal(1.2, 0.2)),
            "loss_g": float(rng.normal(0.3, 0.2)),
            "sigma": {name: float(rng.uniform(0.5, 2)) for name in layers},
        }
        if k % norm_every == 0:
            line["norm"] = {name: float(rng.uniform(1, 1.04)) for name in layers}
        log.append(line)
    return log


def pixels(figure):
    """Render a figure as [H, W, 3] in 0 to 1."""
    return imread(io.BytesIO(plots.png(figure)))[:, :, :3]


def is_drawn(image, colors=2):
    """Whether a picture is neither blank nor all ink, and shows at least so many hues."""
    ink = (image < 0.95).any(axis=2).mean()
    hues = image[np.ptp(image, axis=2) > 0.3]
    return 0.005 < ink < 0.5 and len(np.unique(np.round(hues * 4), axis=0)) >= colors


# -- sheets ----------------------------------------------------------------------------------


def test_sheet_puts_each_image_in_its_place():
    levels = np.linspace(-1, 1, 64, dtype=np.float32)
    images = np.broadcast_to(levels[:, None, None, None], (64, 1, 5, 4))
    sheet = plots.sheet(images, zoom=3)
    assert sheet.shape == (3 * (8 * 6 + 1), 3 * (8 * 5 + 1), 3)
    assert sheet.dtype == np.uint8
    for k, level in enumerate(levels):
        row, column = divmod(k, 8)
        top, left = 3 * (6 * row + 1), 3 * (5 * column + 1)
        cell = sheet[top : top + 15, left : left + 12]
        assert (cell == round(127.5 * (float(level) + 1))).all()
        assert (sheet[top - 3 : top] == 255).all()
        assert (sheet[:, left - 3 : left] == 255).all()


def test_sheet_enlarges_without_blurring():
    image = np.array([[[[-1.0, 1.0], [1.0, -1.0]]]], np.float32)
    inner = plots.sheet(image, zoom=4)[4:-4, 4:-4, 0]
    assert (inner == np.kron([[0, 255], [255, 0]], np.ones((4, 4)))).all()


def test_sheet_keeps_colors_in_order():
    image = np.full((1, 3, 4, 4), -1, np.float32)
    image[:, 0] = 1
    assert (plots.sheet(image, zoom=1)[1:-1, 1:-1] == [255, 0, 0]).all()


def test_sheet_of_a_ragged_number_leaves_the_rest_empty():
    sheet = plots.sheet(np.zeros((11, 1, 4, 4), np.float32), zoom=1)
    assert sheet.shape == (2 * 5 + 1, 8 * 5 + 1, 3)
    assert (sheet[6:, 3 * 5 + 1 :] == 255).all()
    assert (sheet[6:10, 2 * 5 + 1 : 3 * 5] == 128).all()


@pytest.mark.parametrize(
    ("classes", "columns"), [(0, 8), (1, 8), (2, 8), (3, 6), (5, 5), (10, 10), (16, 16), (17, 8)]
)
def test_a_column_of_a_sheet_holds_one_class(classes, columns):
    assert plots.columns_for(classes) == columns
    assert columns % (classes or 1) == 0 or classes > 16


def test_sheet_has_the_columns_asked_for():
    images = np.full((20, 1, 4, 4), -1, np.float32)
    images[3::10] = 1
    drawn = plots.sheet(images, zoom=1, columns=10)
    assert drawn.shape == (2 * 5 + 1, 10 * 5 + 1, 3)
    assert (drawn[1:5, 16:20] == 255).all() and (drawn[6:10, 16:20] == 255).all()
    assert (drawn[1:5, 11:15] == 0).all()


def test_sheet_of_few_images_is_narrow():
    assert plots.sheet(np.ones((3, 1, 4, 4), np.float32), zoom=1).shape == (6, 3 * 5 + 1, 3)


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (2, 2, 4, 4), (4, 4)])
def test_sheet_refuses_what_are_not_images(shape):
    with pytest.raises(ShapeError, match=r"got shape \["):
        plots.sheet(np.zeros(shape, np.float32))


def test_sheet_refuses_nan():
    with pytest.raises(NonFiniteError):
        plots.sheet(np.full((1, 1, 4, 4), np.nan, np.float32))


def test_saved_sheet_is_the_sheet(tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (64, 3, 6, 6)).astype(np.float32)
    plots.save_sheet(tmp_path / "000010.png", images)
    read = imread(tmp_path / "000010.png")[:, :, :3]
    assert (np.rint(255 * read) == plots.sheet(images)).all()


# -- plots -----------------------------------------------------------------------------------


def texts(figure):
    """Collect what is written on a figure."""
    found = [t.get_text() for legend in figure.legends for t in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
    return found + [t.get_text() for t in figure.texts]


@pytest.mark.parametrize("lines", [1, 7, 100])
@pytest.mark.parametrize("count", [7, 8])
def test_every_plot_shows_something_at_any_length(lines, count):
    log = a_log(lines, norm_every=1, layers=LAYERS[:count])
    assert is_drawn(pixels(plots.loss_figure(log, "hinge")))
    assert is_drawn(pixels(plots.norm_figure(log)), colors=count - 1)
    assert is_drawn(pixels(plots.sigma_figure(log)), colors=count - 1)


def test_losses_are_the_logged_ones_and_their_running_means():
    log = a_log(100)
    figure = plots.loss_figure(log, "hinge")
    raw_d, mean_d, raw_g, _ = figure.axes[0].lines
    assert list(raw_d.get_ydata()) == [line["loss_d"] for line in log]
    assert list(raw_g.get_ydata()) == [line["loss_g"] for line in log]
    assert list(mean_d.get_xdata()) == [10 * k for k in range(5, 101)]
    np.testing.assert_allclose(mean_d.get_ydata()[0], raw_d.get_ydata()[:5].mean())
    assert {"step (updates of G)", "loss (hinge)"} <= set(texts(figure))
    assert sum("mean of 5" in text for text in texts(figure)) == 2


def test_few_losses_are_shown_as_they_are_but_for_step_0_which_has_none():
    log = a_log(12)
    start = {"step": 0, "loss_d": None, "loss_g": None}
    figure = plots.loss_figure([start, *log], "standard")
    for line, key in zip(figure.axes[0].lines, ("loss_d", "loss_g"), strict=True):
        assert list(line.get_xdata()) == [entry["step"] for entry in log]
        assert list(line.get_ydata()) == [entry[key] for entry in log]
    assert {"D: discriminator", "G: generator"} <= set(texts(figure))


def test_norms_are_plotted_per_layer_with_the_aim_drawn():
    log = a_log(100)
    figure = plots.norm_figure(log)
    aim, *curves = figure.axes[0].lines
    assert list(aim.get_ydata()) == [1, 1]
    assert [curve.get_label() for curve in curves] == [f"layer {k}" for k in range(1, 9)]
    assert list(curves[2].get_xdata()) == list(range(100, 1001, 100))
    assert list(curves[2].get_ydata()) == [x["norm"]["layers.4"] for x in log if "norm" in x]
    low, high = figure.axes[0].get_ylim()
    assert low < 1 < 1.04 < high
    assert {"target: 1", "layer 8", "step (updates of G)"} <= set(texts(figure))


def test_norms_of_another_scale_and_far_off_stay_in_view():
    log = a_log(10, norm_every=1)
    log[0]["norm"]["layers.0"] = 1.7
    log[1]["norm"]["layers.0"] = 0.8
    axes = plots.norm_figure(log, target=1.5).axes[0]
    assert list(axes.lines[0].get_ydata()) == [1.5, 1.5]
    low, high = axes.get_ylim()
    assert low < 0.8 < 1.7 < high
    assert "target: 1.5" in texts(plots.norm_figure(log, target=1.5))


def test_sigmas_are_plotted_from_zero():
    log = a_log(30)
    axes = plots.sigma_figure(log).axes[0]
    assert [list(c.get_ydata()) for c in axes.lines] == [
        [line["sigma"][name] for line in log] for name in LAYERS
    ]
    assert axes.get_ylim()[0] == 0
    assert axes.get_xlim()[0] == 0


def test_a_single_point_is_a_dot():
    log = a_log(1, norm_every=1)
    for figure in (
        plots.loss_figure(log, "hinge"),
        plots.norm_figure(log),
        plots.sigma_figure(log),
        plots.spectrum_figure([np.ones(1)]),
    ):
        curves = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) == 1]
        assert curves
        assert {line.get_marker() for line in curves} == {"o"}


def test_neighboring_layers_differ_in_color():
    lines = plots.sigma_figure(a_log(5)).axes[0].lines
    assert len({line.get_color() for line in lines}) == 8


def test_spectra_are_squared_and_scaled_layer_by_layer():
    spectra = [np.array([4.0, 2.0, 1.0]), np.array([0.5]), np.zeros(3)]
    figure = plots.spectrum_figure(spectra)
    curves = [axes.lines[0].get_ydata() for axes in figure.axes]
    assert [list(curve) for curve in curves] == [[1, 0.25, 0.0625], [1], [0, 0, 0]]
    assert [axes.get_title() for axes in figure.axes] == ["layer 1", "layer 2", "layer 3"]
    assert is_drawn(pixels(figure))


def test_spectra_of_eight_layers_fill_two_rows():
    figure = plots.spectrum_figure([np.linspace(1, 0, 30)] * 8)
    image = pixels(figure)
    rows = {round(axes.get_position().y0, 2) for axes in figure.axes}
    assert len(figure.axes) == 8
    assert len(rows) == 2
    assert image.shape[1] > 1000
    assert is_drawn(image, colors=7)


def test_pyplot_and_its_state_stay_out(tmp_path):
    code = (
        "import sys, pathlib, numpy, minisn.plots as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "p.png(p.loss_figure([dict(step=1, loss_d=1.0, loss_g=0.0)], 'hinge'))\n"
        "p.save_sheet(pathlib.Path(sys.argv[1]), numpy.zeros((1, 1, 2, 2)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "sheet.png"], check=True)
