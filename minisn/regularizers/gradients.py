r"""The gradient through any normalization :math:`\bar W = W / N(W)`, as a formula.

These functions are the paper's formulas, to read and to check gradients with. The library does not
call them: automatic differentiation gives the same values, as tests check.
"""

from .. import spectral
from ..backend import Array, namespace


def normalization_gradient(G: Array, W: Array, norm: float | Array, norm_gradient: Array) -> Array:
    r"""Pull a gradient back through the division of a weight by a norm.

    .. math:: \frac{\partial V}{\partial W} = \alpha\,(\nabla_{\bar W}V - \lambda\,\nabla_W N),
              \qquad \alpha = \frac1{N(W)},\quad
              \lambda = \mathrm{tr}\big((\nabla_{\bar W}V)^T\bar W\big)

    Args:
        G: :math:`\nabla_{\bar W}V`, same shape as W.
        W: weight, any shape.
        norm: :math:`N(W)`.
        norm_gradient: :math:`\nabla_W N`, same shape as W.
    Returns:
        The gradient with respect to W.

    Source: [M18 Eq. (33), (34), (35)]
    """
    xp = namespace(W)
    lambda_ = xp.sum(G * W) / norm
    return (G - lambda_ * norm_gradient) / norm


def frobenius_gradient(G: Array, W: Array) -> Array:
    r"""Pull a gradient back through Frobenius normalization.

    .. math:: \frac{\partial V}{\partial W} = \frac1{\|W\|_F}
              \big(\nabla_{\bar W}V - \mathrm{tr}((\nabla_{\bar W}V)^T\bar W)\,\bar W\big)

    Args:
        G, W: as in :func:`normalization_gradient`.

    Source: [M18 Eq. (36)]
    """
    xp = namespace(W)
    norm = xp.sqrt(xp.sum(W * W))
    return normalization_gradient(G, W, norm, W / norm)


def spectral_gradient(G: Array, W: Array, u: Array, v: Array, axis: int = 0) -> Array:
    r"""Pull a gradient back through spectral normalization.

    .. math:: \frac{\partial V}{\partial W} = \frac1{\sigma(W)}
              \big(\nabla_{\bar W}V - \mathrm{tr}((\nabla_{\bar W}V)^T\bar W)\,u_1v_1^T\big)

    Args:
        G, W: as in :func:`normalization_gradient`, W with at least 2 axes.
        u, v: leading singular vectors, of length 1.
        axis: output axis of W.

    Source: [M18 Eq. (37)], [L21 raw parameter]
    """
    matrix, g = spectral.as_matrix(W, axis), spectral.as_matrix(G, axis)
    pulled = normalization_gradient(g, matrix, u @ (matrix @ v), u[:, None] * v[None, :])
    return spectral.from_matrix(pulled, W.shape, axis)


def layer_gradient(delta: Array, h: Array, W: Array, u: Array, v: Array) -> Array:
    r"""Compute the gradient of a normalized dense layer from its inputs and output gradients.

    .. math:: \frac{\partial V}{\partial W} = \frac1{\sigma(W)}
              \big(\hat E[\delta h^T] - \lambda\,u_1v_1^T\big), \qquad
              \lambda = \hat E[\delta^T\bar W_{SN}h]

    The second term is a regularizer with an adaptive coefficient :math:`\lambda`. The coefficient
    is positive if :math:`\delta` and :math:`\bar Wh` point in similar directions; the term then
    keeps the columns of W from concentrating in one direction. The gradient vanishes if
    :math:`\hat E[\delta h^T] = k\,u_1v_1^T`.

    Args:
        delta: :math:`(\partial V/\partial(\bar W_{SN}h))^T` for each example, [N, d_out].
        h: inputs of the layer, [N, d_in].
        W: weight, [d_out, d_in].
        u, v: leading singular vectors of W.

    Source: [M18 Eq. (11)], [M18 Eq. (12)]
    """
    sigma = u @ (W @ v)
    mean = delta.T @ h / delta.shape[0]
    lambda_ = namespace(W).sum(mean * W) / sigma
    return (mean - lambda_ * u[:, None] * v[None, :]) / sigma


def entry_gradient(W: Array, u: Array, v: Array, i: int, j: int) -> Array:
    r"""Differentiate the normalized weight with respect to one entry of the weight.

    .. math:: \frac{\partial\bar W_{SN}}{\partial W_{ij}}
              = \frac1{\sigma}E_{ij} - \frac{[u_1v_1^T]_{ij}}{\sigma^2}\,W
              = \frac1{\sigma}\big(E_{ij} - [u_1v_1^T]_{ij}\,\bar W_{SN}\big)

    Args:
        W: weight, [d_out, d_in].
        u, v: leading singular vectors of W.
        i, j: row and column of the entry.

    Source: [M18 Eq. (9)], [M18 Eq. (10)]
    """
    xp = namespace(W)
    sigma = u @ (W @ v)
    E = xp.zeros_like(W)
    E[i, j] = 1.0
    return (E - u[i] * v[j] * W / sigma) / sigma


def stationarity(G: Array, norm_gradient: Array) -> tuple[float, float]:
    r"""Measure how close a gradient is to a multiple of the norm's gradient, where updates stop.

    .. math:: \nabla_{\bar W}V = k\,\nabla_W N

    Args:
        G: :math:`\nabla_{\bar W}V`.
        norm_gradient: :math:`\nabla_W N`, not zero.
    Returns:
        (k, gap): the best k, and the length of the remainder relative to the length of G.

    Source: [M18 Eq. (38)]
    """
    xp = namespace(G)
    k = xp.sum(G * norm_gradient) / xp.sum(norm_gradient * norm_gradient)
    rest, length = G - k * norm_gradient, xp.sqrt(xp.sum(G * G))
    gap = float(xp.sqrt(xp.sum(rest * rest)) / length) if float(length) else 0.0
    return float(k), gap
