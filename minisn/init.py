r"""Initial weights: random, with a variance that follows the layer's sizes, or orthonormal rows.

A *fan* counts terms of the layer's sums at stride 1, away from the borders:
:math:`\mathrm{fan_{in}}` counts the terms of one output entry, :math:`\mathrm{fan_{out}}` the terms
in which one input entry occurs. The rules use the same numbers at every stride. A 4x4 transposed
convolution of stride 2 sums only a quarter of its :math:`\mathrm{fan_{in}}` terms in each output
entry.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .errors import ConfigError, DTypeError

Initializer = Callable[[np.random.Generator, tuple[int, ...], int], np.ndarray]
"""A function of a generator, a shape and its output axis; returns a weight in double precision."""


def fans(shape: tuple[int, ...], axis: int = 0) -> tuple[int, int]:
    r"""Count the terms of one output entry and of one input entry of a layer, at stride 1.

    .. math:: \mathrm{fan_{in}} = d_{in}hw, \qquad \mathrm{fan_{out}} = d_{out}hw

    Args:
        shape: the shape of a weight, [d_out, d_in, ...].
        axis: the output axis; 1 for a transposed convolution, whose weight is [d_in, d_out, ...].
    Returns:
        (fan_in, fan_out).

    Source: [L21 initialization]
    """
    kernel = math.prod(shape[2:])
    return shape[1 - axis] * kernel, shape[axis] * kernel


def initializer(init: "Initializer | str") -> "Initializer":
    """Return an initializer as it is, or the one of a name in :data:`INITIALIZERS`.

    Raises:
        ConfigError: no initializer has that name.
        DTypeError: init is neither a name nor a function.
    """
    if isinstance(init, str):
        if init not in INITIALIZERS:
            raise ConfigError(f"init: expected one of {', '.join(INITIALIZERS)}, got {init!r:.60}")
        return INITIALIZERS[init]
    if not callable(init):
        raise DTypeError(
            f"init: expected a name, or a function of (rng, shape, axis), got {init!r:.60}"
        )
    return init


def normal(std: float = 0.02) -> Initializer:
    r"""Draw from a normal distribution with mean 0; the authors' standard deviation is 0.02.

    .. math:: w \sim N(0, s^2)

    Args:
        std: the standard deviation :math:`s`.

    Source: [L21 experiments]
    """
    return _Normal(std)


@dataclass(frozen=True)
class _Normal:
    std: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], axis: int) -> np.ndarray:
        return self.std * rng.standard_normal(shape)

    def __repr__(self) -> str:
        return f"normal({self.std:g})"


def lecun(rng: np.random.Generator, shape: tuple[int, ...], axis: int = 0) -> np.ndarray:
    r"""Draw so that a sum of fan_in independent unit inputs has variance 1.

    .. math:: \mathrm{Var}(w) = 1 / \mathrm{fan_{in}}

    An output entry is such a sum at stride 1, away from the borders. That of a 4x4 transposed
    convolution of stride 2 has variance 1/4.

    Source: [L21 initialization]; LeCun et al. (1998)
    """
    return rng.standard_normal(shape) / math.sqrt(fans(shape, axis)[0])


def xavier(rng: np.random.Generator, shape: tuple[int, ...], axis: int = 0) -> np.ndarray:
    r"""Draw with a variance between the one that keeps signals level and the one for gradients.

    .. math:: \mathrm{Var}(w) = \frac{2}{\mathrm{fan_{in}} + \mathrm{fan_{out}}}

    Source: [L21 initialization]; Glorot and Bengio (2010)
    """
    return rng.standard_normal(shape) * math.sqrt(2 / sum(fans(shape, axis)))


def glorot(gain: float = 1.0) -> Initializer:
    r"""Draw uniformly, with Xavier's variance times a gain squared.

    .. math:: w \sim U[-s, s], \qquad
              s = g\,\sqrt{\frac{6}{\mathrm{fan_{in}} + \mathrm{fan_{out}}}}

    Args:
        gain: :math:`g`; the residual networks of M18's authors have
            :math:`\sqrt2` in the residual path, see :func:`in_residual`.

    Source: Glorot and Bengio (2010)
    """

    def draw(rng: np.random.Generator, shape: tuple[int, ...], axis: int = 0) -> np.ndarray:
        limit = gain * math.sqrt(6 / sum(fans(shape, axis)))
        return rng.uniform(-limit, limit, shape)

    return draw


def kaiming(slope: float = 0.0) -> Initializer:
    r"""Draw so that signals stay level through leaky ReLUs.

    .. math:: \mathrm{Var}(w) = \frac{2}{(1 + a^2)\,\mathrm{fan_{in}}}

    Args:
        slope: :math:`a` of the leaky ReLU, 0 for ReLU.

    Source: [L21 initialization]; He et al. (2015)
    """
    return lambda rng, shape, axis: lecun(rng, shape, axis) * math.sqrt(2 / (1 + slope**2))


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...], axis: int = 0) -> np.ndarray:
    r"""Draw a weight whose matrix has orthonormal rows, or columns if they are fewer.

    .. math:: WW^T = I \quad\text{or}\quad W^TW = I

    The draw is uniform among all such matrices; every singular value is 1.

    Source: [M18 Eq. (14)]
    """
    rows = shape[axis]
    columns = math.prod(shape) // rows
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))
    matrix = q if rows >= columns else q.T
    others = tuple(n for i, n in enumerate(shape) if i != axis)
    return np.moveaxis(matrix.reshape(rows, *others), 0, axis)


INITIALIZERS: dict[str, Initializer] = {
    "normal": normal(),
    "lecun": lecun,
    "xavier": xavier,
    "glorot": glorot(),
    "kaiming": kaiming(0.1),
    "orthogonal": orthogonal,
}
"""The initializers by name; ``kaiming`` is for the slope of the paper's discriminators."""


def in_residual(init: Initializer) -> Initializer:
    r"""Return the initializer of the 3x3 kernels in residual blocks, if other weights use ``init``.

    It is ``init`` itself, except that Glorot's has the gain :math:`\sqrt2` there, as in the code
    of M18's authors.
    """
    return glorot(math.sqrt(2)) if init is INITIALIZERS["glorot"] else init
