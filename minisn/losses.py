"""Adversarial objectives: for each a loss of D and a loss of G, both to be minimized.

They take logits: the output of D before any sigmoid. Logits as large as their dtype allows have a
loss and gradients; the loss of a NaN is a NaN. An empty batch has no loss: a ShapeError says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import ops
from .backend import Array, namespace, near, to_numpy
from .errors import DTypeError, NonFiniteError, ShapeError
from .labels import labels_of
from .tensor import Tensor, as_tensor, as_tensors, grad, is_floating


def _numbers(*values: Any) -> list[Tensor]:
    """Make floating-point tensors with entries: unsigned integers have no room for -x or 1 - x."""
    tensors = [as_tensor(v) for v in values]
    if not all(t.size for t in tensors):
        raise ShapeError(f"a loss: the batch is empty, got shapes {[t.shape for t in tensors]}")
    return [
        t if is_floating(t.array) else ops.astype(t, dtype=namespace(t.array).float64)
        for t in tensors
    ]


def standard_d(real: Tensor, fake: Tensor) -> Tensor:
    r"""Compute the negative log likelihood of telling data from samples.

    .. math:: -E[\log D(x)] - E[\log(1 - D(G(z)))] = E[s(-f(x))] + E[s(f(G(z)))]

    with :math:`D = \mathrm{sigmoid}(f)` and the softplus :math:`s(t) = \log(1 + e^t)`.

    Args:
        real, fake: f at data and at samples, any shape.

    Source: [M18 Eq. (15)], [M18 Eq. (2)]
    """
    real, fake = _numbers(real, fake)
    return ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake))


def standard_g(fake: Tensor) -> Tensor:
    r"""Compute the non-saturating loss of the generator.

    .. math:: -E[\log D(G(z))] = E[s(-f(G(z)))]

    Source: [M18 Eq. (15)]
    """
    (fake,) = _numbers(fake)
    return ops.mean(ops.softplus(-fake))


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    r"""Compute D's hinge loss: only images inside the margin, or on its wrong side, count.

    .. math:: -E[\min(0, -1 + D(x))] - E[\min(0, -1 - D(G(z)))]

    Source: [M18 Eq. (16)]
    """
    real, fake = _numbers(real, fake)
    return ops.mean(ops.relu(1.0 - real)) + ops.mean(ops.relu(1.0 + fake))


def hinge_g(fake: Tensor) -> Tensor:
    r"""Compute the loss of the generator that goes with the hinge; Wasserstein's is the same.

    .. math:: -E[D(G(z))]

    Source: [M18 Eq. (17)]
    """
    (fake,) = _numbers(fake)
    return -ops.mean(fake)


def wasserstein_d(real: Tensor, fake: Tensor) -> Tensor:
    r"""Compute the critic's estimate of the Wasserstein distance, with its sign changed.

    .. math:: E[D(G(z))] - E[D(x)]

    Source: [M18 Eq. (29)]
    """
    real, fake = _numbers(real, fake)
    return ops.mean(fake) - ops.mean(real)


def binary_cross_entropy(logits: Tensor, targets: Any) -> Tensor:
    r"""Compute the mean negative log likelihood of yes-or-no answers, from logits.

    .. math:: -E\big[t\log p + (1 - t)\log(1 - p)\big] = E\big[s(l) - t\,l\big], \qquad
              p = \mathrm{sigmoid}(l)

    The softplus :math:`s` keeps the loss finite for large logits.

    Args:
        logits: l, any shape.
        targets: t, 0 to 1, of that shape.
    Raises:
        ShapeError: the shapes differ.
        DTypeError: a target is not from 0 to 1.

    Source: [M18 Eq. (15)], for one kind of image alone
    """
    logits, targets = _beside("binary_cross_entropy", logits, targets)
    if not namespace(targets.array).all((targets.array >= 0) & (targets.array <= 1)):
        raise DTypeError("binary_cross_entropy: expected targets from 0 to 1, got another")
    return ops.mean(ops.softplus(logits) - targets * logits)


def mean_squared_error(x: Tensor, targets: Any) -> Tensor:
    r"""Compute the mean square of the differences.

    .. math:: E\big[(x - t)^2\big]

    Args:
        x, targets: tensors or arrays of one shape.
    Raises:
        ShapeError: the shapes differ, which broadcasting would hide.
    """
    x, targets = _beside("mean_squared_error", x, targets)
    gap = x - targets
    return ops.mean(gap * gap)


def _beside(name: str, x: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Return x and the targets as tensors of one shape and dtype."""
    x, targets = as_tensors(name, (*_numbers(x), targets))
    if targets.shape != x.shape:
        raise ShapeError(f"{name}: expected targets of shape {x.shape}, got {targets.shape}")
    if targets.requires_grad or targets.dtype == x.dtype:
        return x, targets
    return x, Tensor.wrap(namespace(x.array).astype(targets.array, x.dtype))


def cross_entropy(logits: Tensor, labels: Any) -> Tensor:
    r"""Compute the mean negative log likelihood of the right class.

    .. math:: -E\big[\log p(y\,|\,x)\big], \qquad
              \log p(c\,|\,x) = l_c - \log \sum_j e^{l_j}

    Args:
        logits: l, [N, classes].
        labels: integers, [N].
    Raises:
        DTypeError: the labels are not integers.
        ShapeError: the shapes do not fit together, or a label is not a class.

    Source: [M18 Table 8]
    """
    (logits,) = _numbers(logits)
    labels = labels_of("cross_entropy", labels, logits.array)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ShapeError(
            f"cross_entropy: expected logits [N, classes] and labels [N], got shapes "
            f"{logits.shape} and {labels.shape}"
        )
    labels.check("cross_entropy", logits.shape[1])
    log_p = ops.log_softmax(logits)
    chosen = near(logits.array).arange(logits.shape[1])[None, :] == labels.array[:, None]
    return -ops.mean(ops.sum(ops.where(Tensor.wrap(chosen), log_p, 0.0), axis=1))


def optimal_logit(q_data: Tensor, p_g: Tensor) -> Tensor:
    r"""Return the logit of the best discriminator for a fixed generator.

    .. math:: D^*_G(x) = \frac{q_{data}(x)}{q_{data}(x) + p_G(x)} = \mathrm{sigmoid}(f^*(x)),
              \qquad f^*(x) = \log q_{data}(x) - \log p_G(x)

    Its slope, :math:`\nabla_x f^* = \nabla_x q_{data} / q_{data} - \nabla_x p_G / p_G`, may have no
    bound: the two terms can move apart without limit, as they do for two normal densities of
    different deviations. D must therefore be restricted.

    Args:
        q_data, p_g: densities of data and samples at the same points, positive, any shape.
    Returns:
        :math:`f^*` at those points; differentiate it for (4).
    Raises:
        NonFiniteError: a density is 0 or less, or a NaN.

    Source: [M18 Eq. (3), (4)]
    """
    for density in (q_data, p_g):
        if not namespace(density.array).all(density.array > 0):
            raise NonFiniteError(
                "optimal_logit: expected densities above 0, got one that is not; leave "
                "out the points where a density is 0"
            )
    return ops.log(q_data) - ops.log(p_g)


@dataclass(frozen=True)
class Objective:
    """A pair of losses.

    Args:
        d: returns D's loss for the logits of data and of samples.
        g: returns G's loss for the logits of samples.
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor], Tensor]


OBJECTIVES = {
    "standard": Objective(standard_d, standard_g),
    "hinge": Objective(hinge_d, hinge_g),
    "wasserstein": Objective(wasserstein_d, hinge_g),
}
"""The objectives by name."""


def slopes(objective: Objective, real: Array, fake: Array) -> tuple[float, float]:
    r"""Measure how much D's loss still changes with D's scores of data and of samples.

    .. math:: \sum_i \Big|\frac{\partial \ell_D}{\partial f(x_i)}\Big|, \qquad
              \sum_i \Big|\frac{\partial \ell_D}{\partial f(G(z_i))}\Big|

    With the hinge, each sum is the share of images inside the margin or on its wrong side. With
    the standard objective it is the mean probability of the wrong answer, :math:`E[1 - D(x)]` and
    :math:`E[D(G(z))]`. With the Wasserstein objective it is always 1. Where a sum is 0, D has
    nothing left to learn.

    Args:
        objective: one of :data:`OBJECTIVES`.
        real, fake: f at data and at samples, any shape.
    Returns:
        The two sums, 0 to 1.

    Source: derivatives of [M18 Eq. (15)], [M18 Eq. (16)], [M18 Eq. (29)]
    """
    scores = [Tensor(array, requires_grad=True) for array in (real, fake)]
    found = grad(objective.d(*scores), scores)
    of_real, of_fake = (float(abs(to_numpy(g.array).astype(np.float64)).sum()) for g in found)
    return of_real, of_fake
