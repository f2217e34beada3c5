r"""Operations fused for speed: one pass over memory where their compositions take several.

Batch normalization and spectral normalization are declared with their plain compositions, which
define them; see :class:`minisn.tensor.Fused`. A convolution with its bias needs no composition.
Tests check that a fast form equals its composition, up to second derivatives. The composition of
spectral normalization, equation (8), is in :mod:`minisn.spectral`. Without the fast form of the one
a step of ``mnist`` takes 1.33 of the time, of the other 1.04 (``tests/benchmarks/tricks.py``).
"""

import math
from typing import Any

from . import kernels, ops
from .arguments import axes_of
from .backend import Array, namespace
from .conv import check_fit, conv2d
from .errors import ShapeError
from .geometry import moves
from .tensor import Tensor, fused, primitive, sum

# -- a convolution and its bias -------------------------------------------------------------------


@primitive(*conv2d.rules, lambda g: sum(g, axis=(0, 2, 3)))
def conv2d_with_bias(x, w, b, stride=1, padding=0):
    r"""Correlate images with a kernel and add a number to each channel, in one pass.

    .. math:: y_{noij} = b_o + \sum_{cpq} w_{ocpq}\, x_{n,\,c,\,si+p-a,\,sj+q-a}, \qquad
              \bar b_o = \sum_{nij} \bar y_{noij}

    Its rules are those of the convolution and of the sum, so it needs no composition.

    Args:
        x, w, stride, padding: as in :func:`minisn.conv.conv2d`.
        b: [d_out].
    Returns:
        As :func:`minisn.conv.conv2d`.
    Raises:
        ShapeError: as :func:`minisn.conv.conv2d`, or b does not fit.
    """
    stride, padding = moves(stride, padding)
    check_fit(x, w, stride, padding)
    if b.shape != w.shape[:1]:
        raise ShapeError(
            f"conv2d: expected a bias of {w.shape[0]} entries, one for each output channel of "
            f"weight {list(w.shape)}, got shape {list(b.shape)}"
        )
    return kernels.of(x).conv2d(x, w, stride, padding, b)


# -- normalization --------------------------------------------------------------------------------


def _normalize(
    x: Array, gain: Array, shift: Array, axis: Any, eps: float, moments: Any
) -> tuple[Array, Any]:
    axes = axes_of(axis, x.ndim, "normalize")
    mean, variance = moments or kernels.of(x).moments(x, axes)
    spread = namespace(x).sqrt(variance + eps)
    return kernels.of(x).normalize(x, mean, spread, gain, shift), (mean, spread)


def _normalize_pull(
    g: Array, saved: Any, x: Array, gain: Array, shift: Array, **_: Any
) -> tuple[Array, Array, Array]:
    return kernels.of(x).normalize_pull(g, x, *saved, gain, shift)


@fused("x", "gain", "shift", forward=_normalize, backward=_normalize_pull)
def normalize(
    x: Tensor, gain: Tensor, shift: Tensor, axis: Any, eps: float, moments: Any = None
) -> Tensor:
    r"""Shift and scale to mean 0 and variance 1 over some axes, then to a learned mean and scale.

    .. math:: y = \gamma\,\frac{x - \mu}{\sqrt{v + \epsilon}} + \beta

    with the mean :math:`\mu` and the variance :math:`v`, divided by n, over the axes.

    Args:
        x: any shape.
        gain, shift: :math:`\gamma` and :math:`\beta`, of shapes that broadcast to that of x.
        axis: the axes to average over.
        eps: added to the variance.
        moments: (mean, variance) of x, with size 1 along the axes, if they are known already.
    """
    del moments  # functions of x, computed below so that their gradients count
    centered = x - ops.mean(x, axis, keepdims=True)
    return gain * (centered / ops.sqrt(ops.var(x, axis, keepdims=True) + eps)) + shift


# -- the fast form of spectral normalization ------------------------------------------------------


def stacked(W: Array, axis: int) -> Array:
    """Reshape a weight to [before the axis, along it, after it], without a copy."""
    first = axis % W.ndim
    return namespace(W).reshape(W, (math.prod(W.shape[:first]), W.shape[first], -1))


def spectral_divide(W: Array, u: Array, v: Array, axis: int, scale: float) -> tuple[Array, Array]:
    r"""Compute :math:`cW / \sigma` and :math:`r = 1 / \sigma`, with :math:`\sigma = u^TWv`.

    For any output axis, these products read W in its own memory order.
    """
    xp = namespace(W)
    sigma = xp.matmul(xp.reshape(xp.matmul(u, stacked(W, axis)), (-1,)), v)
    r = ops.inverse.forward(sigma)
    return W * (scale * r), r


def spectral_pull(
    g: Array, r: Array, W: Array, u: Array, v: Array, axis: int, scale: float
) -> tuple[Array]:
    r"""Compute the gradient of W: equation (12) of the paper times :math:`c`.

    .. math:: \frac{\partial V}{\partial W} = \frac c\sigma\Big(\frac{\partial V}{\partial Y} -
              \frac1\sigma\Big\langle\frac{\partial V}{\partial Y}, W\Big\rangle\,uv^T\Big),
              \qquad Y = cW / \sigma
    """
    xp, matrices = namespace(g), stacked(g, axis)
    v = xp.reshape(v, (matrices.shape[0], -1))
    o = kernels.of(g).spectral_pull(matrices, stacked(W, axis), r, u, v, scale)
    return (xp.reshape(o, g.shape),)
