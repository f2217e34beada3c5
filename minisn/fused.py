r"""Operations fused for speed: one pass over memory where their compositions take several.

Each is declared with its plain composition, which *is* the operation; see
:class:`minisn.tensor.Fused`. Tests hold the fast forms equal to it, to second order. The fast form
of spectral normalization stands here too; its composition, equation (8), in
:mod:`minisn.spectral`.
"""

import math
from typing import Any

from . import kernels, ops
from .backend import Array, namespace
from .conv import adjoint, check_fit, conv2d_weight
from .errors import ShapeError
from .geometry import moves
from .tensor import Tensor, axes_of, fused, primitive, sum

# -- a convolution and its bias -------------------------------------------------------------------


@primitive(
    lambda g, x_shape, w, stride, padding: adjoint(g, w, x_shape, stride, padding),
    lambda g, x, w_shape, stride, padding: conv2d_weight(
        x, g, kernel=w_shape[2:], stride=stride, padding=padding
    ),
    lambda g: sum(g, axis=(0, 2, 3)),
)
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
            f"conv2d: bias {list(b.shape)} must have {w.shape[0]} entries, as weight "
            f"{list(w.shape)} makes so many channels"
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
    g: Array, saved: Any, wanted: list[bool], x: Array, gain: Array, shift: Array, **_: Any
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
        axis: the axes that are averaged over.
        eps: added to the variance.
        moments: (mean, variance) of x, with size 1 along the axes, if they are known already.
    """
    del moments  # they are those of x, and so its functions
    centered = x - ops.mean(x, axis, keepdims=True)
    return gain * (centered / ops.sqrt(ops.var(x, axis, keepdims=True) + eps)) + shift


# -- the fast form of spectral normalization ------------------------------------------------------


def stacked(W: Array, axis: int) -> Array:
    """Lay out a weight as matrices [before the axis, along it, after it], without moving it."""
    first = axis % W.ndim
    return namespace(W).reshape(W, (math.prod(W.shape[:first]), W.shape[first], -1))


def spectral_divide(W: Array, u: Array, v: Array, axis: int, scale: float) -> tuple[Array, Array]:
    r"""Compute :math:`cW / \sigma` and :math:`r = 1 / \sigma`, with :math:`\sigma = u^TWv`.

    Wherever the rows stand, these products meet W in its own memory order.
    """
    xp = namespace(W)
    sigma = xp.matmul(xp.reshape(xp.matmul(u, stacked(W, axis)), (-1,)), v)
    r = ops.inverse.forward(sigma)
    return W * (scale * r), r


def spectral_pull(
    g: Array, r: Array, wanted: list[bool], W: Array, u: Array, v: Array, axis: int, scale: float
) -> tuple[Array]:
    r"""Compute the gradient of W, (12) of the paper times :math:`c`.

    .. math:: \bar W = \frac c\sigma\Big(\bar Y - \frac{\langle\bar Y, W\rangle}\sigma\,uv^T\Big)
    """
    xp, matrices = namespace(g), stacked(g, axis)
    v = xp.reshape(v, (matrices.shape[0], -1))
    o = kernels.of(g).spectral_pull(matrices, stacked(W, axis), r, u, v, scale)
    return (xp.reshape(o, g.shape),)
