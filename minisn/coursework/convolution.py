"""Exercises of tutorial 2: convolution and its two adjoints."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ..conv import conv2d, conv2d_transpose, conv2d_weight
from ..kernels import array_api, spec
from .exercise import Case, Exercise, Mistake

_GEOMETRIES = ((1, 0, (5, 6), (3, 2), (2, 3, 3)), (1, 1, (4, 4), (3, 3), (2, 3, 3)),
               (2, 0, (6, 6), (2, 2), (2, 3, 3)), (2, 1, (7, 6), (4, 4), (2, 3, 3)),
               (3, 2, (6, 8), (4, 4), (1, 2, 4)))  # fmt: skip
"""Stride, padding, image, kernel, and (N, d_in, d_out); the last two leave rows or columns over."""


def _geometries(seed: int, arrange: Callable) -> list[Case]:
    rng = np.random.default_rng(seed)
    cases = []
    for stride, padding, size, kernel, (n, d_in, d_out) in _GEOMETRIES:
        x, w = rng.normal(size=(n, d_in, *size)), rng.normal(size=(d_out, d_in, *kernel))
        y = rng.normal(size=array_api.conv2d(x, w, (stride,) * 2, (padding,) * 2).shape)
        text = f"x {list(x.shape)}, w {list(w.shape)}, stride {stride}, padding {padding}"
        cases.append(Case(text, arrange(x, w, y, stride, padding)))
    return cases


def _convolve(x, w, stride, padding):
    return spec.conv2d(x, w, (stride, stride), (padding, padding))


def _cut(x, w, stride, padding):
    """Convolve with stride 1 and keep as many pixels as the right result has."""
    rows, columns = _fast(x, w, stride, padding).shape[2:]
    return _fast(x, w, 1, padding)[:, :, :rows, :columns]


def _fast(x, w, stride, padding):
    return array_api.conv2d(x, w, (stride, stride), (padding, padding))


def _pad_end(x, padding):
    return np.pad(x, ((0, 0), (0, 0), (0, 2 * padding), (0, 2 * padding)))


def _pad_start(x, padding):
    return np.pad(x, ((0, 0), (0, 0), (2 * padding, 0), (2 * padding, 0)))


_FLIPPED = (
    "The kernel is flipped: the tap w[o, c, p, q] meets the pixel s·i + p - a, with + p, not - p."
)
_STRIDE = "The stride is ignored: output row i begins at input row s·i."
_PADDING = "The padding is missing: add `padding` rows and columns of zeros on each side."
_ONE_SIDE = "All zeros are on one side: add `padding` rows and columns on each side."
_CHANNELS = "The channel axes of w are exchanged: w is [d_out, d_in, h, w]."

CONVOLVE = Exercise(
    "convolve",
    "02",
    "[M18 §2.1]",
    (conv2d,),
    ("x", "w", "stride", "padding"),
    ("y",),
    "the loops of the specification",
    partial(_geometries, 3, lambda x, w, y, s, a: (x, w, s, a)),
    _convolve,
    (
        Mistake("kernel-flipped", _FLIPPED, lambda x, w, s, a: _fast(x, w[:, :, ::-1, ::-1], s, a)),
        Mistake("stride-ignored", _STRIDE, _cut, lambda x, w, s, a: _fast(x, w, 1, a)),
        Mistake("padding-forgotten", _PADDING, lambda x, w, s, a: _fast(x, w, s, 0)),
        Mistake(
            "padding-on-one-side",
            _ONE_SIDE,
            lambda x, w, s, a: _fast(_pad_end(x, a), w, s, 0),
            lambda x, w, s, a: _fast(_pad_start(x, a), w, s, 0),
        ),
        Mistake(
            "channels-exchanged", _CHANNELS, lambda x, w, s, a: _fast(x, w.swapaxes(0, 1), s, a)
        ),
        Mistake(
            "channels-not-summed",
            "Sum over the input channels: c is an index of the sum.",
            lambda x, w, s, a: _fast(x[:, :1], w[:, :1], s, a),
            lambda x, w, s, a: _fast(x[:, -1:], w[:, -1:], s, a),
            lambda x, w, s, a: _fast(x, w, s, a) / x.shape[1],
        ),
        Mistake(
            "rows-and-columns-exchanged",
            "Rows and columns of the kernel are exchanged.",
            lambda x, w, s, a: _fast(x, w.swapaxes(2, 3), s, a),
        ),
    ),
)


def _input_gradient(g, w, size, stride, padding):
    """Return the adjoint in x: <conv(e), g> for each unit image e."""
    shape = (w.shape[1], *size)
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.einsum("eohw,nohw->ne", _fast(units, w, stride, padding), g).reshape(-1, *shape)


def _spread(g, w, size, stride, padding, add=True, crop=True, step=None):
    """Spread g over the image tap by tap, with options for usual mistakes."""
    step = stride if step is None else step
    rows, columns = g.shape[2:]
    full = np.zeros((len(g), w.shape[1], *(n + 2 * padding for n in size)))
    for p, q in np.ndindex(*w.shape[2:]):
        part = full[:, :, p : p + step * rows : step, q : q + step * columns : step]
        part[...] = add * part + np.einsum("nohw,oc->nchw", g, w[:, :, p, q])
    return full[:, :, padding:, padding:][:, :, : size[0], : size[1]] if crop else full


def _spread_last(g, w, size, stride, padding, order, add_channels):
    """Spread g entry by entry with = in place of +=, so that the last entry stays."""
    rows, columns = g.shape[2:]
    full = np.zeros((len(g), w.shape[1], *(n + 2 * padding for n in size)))
    ranges = {"i": rows, "j": columns, "p": w.shape[2], "q": w.shape[3]}
    for at in np.ndindex(*(ranges[name] for name in order)):
        i, j, p, q = (at[order.index(name)] for name in "ijpq")
        o = slice(None) if add_channels else slice(-1, None)
        full[:, :, stride * i + p, stride * j + q] = g[:, o, i, j] @ w[o, :, p, q]
    return full[:, :, padding:, padding:][:, :, : size[0], : size[1]]


def _spread_aside(g, w, size, stride, padding):
    """Crop as if all padding were at the beginning."""
    full = _spread(g, w, size, stride, padding, crop=False)
    return full[:, :, 2 * padding :, 2 * padding :]


def _tight(g, w, size, stride, padding):
    """Omit the rows and columns that the stride leaves over."""
    rows, columns = (
        stride * (n - 1) + k - 2 * padding for n, k in zip(g.shape[2:], w.shape[2:], strict=True)
    )
    return _spread(g, w, size, stride, padding)[:, :, :rows, :columns]


INPUT_GRADIENT = Exercise(
    "convolve_input_gradient",
    "02",
    "[M18 Table 3]",
    (conv2d_transpose,),
    ("g", "w", "size", "stride", "padding"),
    ("x_bar",),
    "the adjoint identity, for every unit image",
    partial(_geometries, 4, lambda x, w, y, s, a: (y, w, x.shape[2:], s, a)),
    _input_gradient,
    (
        Mistake(
            "kernel-flipped",
            "The kernel is flipped once too often: output pixel (i, j) adds "
            "w[o, c, p, q] g[n, o, i, j] to the pixel s·i + p - a.",
            lambda g, w, size, s, a: _spread(g, w[:, :, ::-1, ::-1], size, s, a),
        ),
        Mistake(
            "overwritten",
            "Patches overlap: add to x_bar, do not overwrite it.",
            partial(_spread, add=False),
            *(
                partial(_spread_last, order=order, add_channels=add)
                for order in ("ijpq", "pqij", "ipqj", "pijq")
                for add in (True, False)
            ),
        ),
        Mistake("stride-ignored", _STRIDE, partial(_spread, step=1)),
        Mistake(
            "padding-kept",
            "The padding is still there: remove `padding` rows and columns on each side.",
            partial(_spread, crop=False),
            lambda g, w, size, s, a: _spread(g, w, size, s, a, crop=False)[
                :, :, : size[0], : size[1]
            ],
        ),
        Mistake("padding-on-one-side", _ONE_SIDE, _spread_aside),
        Mistake(
            "left-over-rows",
            "The rows and columns that the stride leaves over are missing: "
            "x_bar has the size of x, and is zero there.",
            _tight,
        ),
        Mistake(
            "channels-exchanged",
            _CHANNELS,
            lambda g, w, size, s, a: _spread(g, w.swapaxes(0, 1), size, s, a),
        ),
        Mistake(
            "mean-over-the-batch",
            "Each image has its own gradient: do not divide by the number of images.",
            lambda g, w, size, s, a: _input_gradient(g, w, size, s, a) / len(g),
        ),
    ),
)


def _weight_gradient(g, x, kernel, stride, padding):
    """Return the adjoint in w: <conv(x, e), g> for each unit kernel e."""
    shape = (x.shape[1], *kernel)
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.einsum("nehw,nohw->oe", _fast(x, units, stride, padding), g).reshape(-1, *shape)


def _gather(g, x, kernel, step):
    """Correlate g with a padded image."""
    rows, columns = g.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    windows = windows[:, :, : step * rows : step, : step * columns : step]
    return np.einsum("nohw,nchwpq->ocpq", g, windows)


def _gather_last(g, x, kernel, stride, padding, images):
    """Correlate with = in place of +=, so that only the last position stays."""
    i, j = (stride * (n - 1) for n in g.shape[2:])
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    patch = x[images, :, i : i + kernel[0], j : j + kernel[1]]
    return np.einsum("no,ncpq->ocpq", g[images, :, -1, -1], patch)


WEIGHT_GRADIENT = Exercise(
    "convolve_weight_gradient",
    "02",
    "[M18 Alg. 1]",
    (conv2d_weight,),
    ("g", "x", "kernel", "stride", "padding"),
    ("w_bar",),
    "the adjoint identity, for every unit kernel",
    partial(_geometries, 5, lambda x, w, y, s, a: (y, x, w.shape[2:], s, a)),
    _weight_gradient,
    (
        Mistake(
            "mean-over-the-batch",
            "Take the sum over the images of the batch, not the mean.",
            lambda g, x, k, s, a: _weight_gradient(g, x, k, s, a) / len(x),
        ),
        Mistake(
            "one-image",
            "Only one image of the batch counts: n is an index of the sum.",
            lambda g, x, k, s, a: _weight_gradient(g[:1], x[:1], k, s, a),
            lambda g, x, k, s, a: _weight_gradient(g[-1:], x[-1:], k, s, a),
        ),
        Mistake(
            "kernel-flipped",
            _FLIPPED,
            lambda g, x, k, s, a: _weight_gradient(g, x, k, s, a)[:, :, ::-1, ::-1],
        ),
        Mistake(
            "stride-ignored",
            _STRIDE,
            lambda g, x, k, s, a: _gather(g, np.pad(x, ((0, 0), (0, 0), (a, a), (a, a))), k, 1),
        ),
        Mistake(
            "padding-on-one-side",
            _ONE_SIDE,
            lambda g, x, k, s, a: _gather(g, _pad_end(x, a), k, s),
            lambda g, x, k, s, a: _gather(g, _pad_start(x, a), k, s),
        ),
        Mistake(
            "overwritten",
            "Each position adds to w_bar: use +=; with = only the last position counts.",
            partial(_gather_last, images=slice(None)),
            partial(_gather_last, images=slice(-1, None)),
        ),
        Mistake(
            "channels-exchanged",
            "The channel axes are exchanged: w_bar is [d_out, d_in, h, w], like w.",
            lambda g, x, k, s, a: _weight_gradient(g, x, k, s, a).swapaxes(0, 1),
        ),
        Mistake(
            "rows-and-columns-exchanged",
            "Rows and columns of the kernel are exchanged.",
            lambda g, x, k, s, a: _weight_gradient(g, x, k, s, a).swapaxes(2, 3),
        ),
    ),
)

EXERCISES = (CONVOLVE, INPUT_GRADIENT, WEIGHT_GRADIENT)
