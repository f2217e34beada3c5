"""Penalties: additional terms of the loss of D."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops, spectral
from ..arguments import generator, real_number
from ..backend import near
from ..errors import ConfigError, ShapeError
from ..nn import Module, weighted_layers
from ..tensor import Tensor, grad, no_grad

Critic = Callable[[Tensor], Tensor]
"""D as a function from images [N, C, H, W] to one score each."""

Penalty = Callable[[Module, Critic, Tensor, Tensor, np.random.Generator], Tensor]
"""A function from D, its critic, real images, samples and a random generator to a term of D's loss,
a tensor without axes."""


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, rng: np.random.Generator
) -> Tensor:
    r"""Compute the gradient penalty, which pulls the norm of D's gradient toward 1.

    .. math:: E_{\hat x}\big[(\|\nabla_{\hat x} D(\hat x)\|_2 - 1)^2\big], \qquad
              \hat x = \epsilon x + (1 - \epsilon)\tilde x, \quad \epsilon \sim U[0, 1]

    The norm is taken over each image, the mean over the batch. Multiply the penalty by
    :math:`\lambda = 10` for the paper's setting.

    Args:
        critic: D, a function from images [N, C, H, W] to one score each.
        real, fake: x and x tilde, [N, C, H, W].
        rng: random generator of one epsilon for each image.
    Returns:
        The penalty, a tensor without axes, differentiable in the critic's parameters.
    Raises:
        ShapeError: real and fake differ in shape.

    Source: [M18 Eq. (29)], [M18 Eq. (30)], [M18 Eq. (31)]
    Deviation: L21's code adds 1e-8 to the squared norm, so that the root has a gradient at 0.
    """
    rng = generator(rng)
    if real.shape != fake.shape:
        raise ShapeError(
            f"gradient_penalty: expected as many images of one size in both batches, got shapes "
            f"{list(real.shape)} and {list(fake.shape)}"
        )
    draws = rng.random((real.shape[0],) + (1,) * (real.ndim - 1))
    epsilon = Tensor.wrap(near(real.array).asarray(draws, dtype=real.dtype))
    with no_grad():
        mixed = epsilon * real + (1.0 - epsilon) * fake
    x_hat = Tensor(mixed, requires_grad=True)
    slope = grad(ops.sum(critic(x_hat)), x_hat, create_graph=True)
    norm = ops.norm(slope, axis=tuple(range(1, slope.ndim)))
    return ops.mean((norm - 1.0) ** 2)


def orthonormal_penalty(W: Tensor, axis: int = 0) -> Tensor:
    r"""Compute the orthonormal penalty, the distance of a weight's columns from orthonormal ones.

    .. math:: \|W^TW - I\|_F^2 = \|WW^T - I\|_F^2 + n - m

    This holds for an m by n matrix, and the smaller of the two products is computed. If m < n, the
    penalty cannot be 0: its minimum is n - m, for orthonormal rows.

    Args:
        W: weight, at least 2 axes.
        axis: output axis of W.
    Returns:
        The penalty, a tensor without axes.

    Source: [M18 Eq. (14)]
    """
    matrix = spectral.as_matrix(W, axis)
    m, n = matrix.shape
    gram = matrix @ matrix.T if m < n else matrix.T @ matrix
    gap = gram - Tensor.wrap(near(gram.array).eye(gram.shape[0], dtype=gram.dtype))
    return ops.sum(gap * gap) + float(max(n - m, 0))


@dataclass(frozen=True)
class GradientPenalty:
    r"""The weighted gradient penalty of WGAN-GP and, with the standard loss, of GAN-GP.

    .. math:: \lambda\,E_{\hat x}\big[(\|\nabla_{\hat x} D(\hat x)\|_2 - 1)^2\big]

    Args:
        weight: :math:`\lambda`, 10 in the paper.

    Source: [M18 Eq. (29)]
    """

    weight: float = 10.0

    def __post_init__(self) -> None:
        real_number("GradientPenalty: weight", self.weight, 0.0)

    def __call__(
        self, D: Module, critic: Critic, real: Tensor, fake: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """Return the term of D's loss."""
        return gradient_penalty(critic, real, fake, rng) * self.weight


@dataclass(frozen=True)
class Orthonormal:
    r"""Orthonormal regularization of every weight of D.

    .. math:: \lambda \sum_l \|W_l^TW_l - I\|_F^2

    Args:
        weight: :math:`\lambda`.

    Source: [M18 Eq. (14)]; Brock et al. (2016)
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        real_number("Orthonormal: weight", self.weight, 0.0)

    def __call__(self, D: Module, *_: Any) -> Tensor:
        """Return the term of D's loss."""
        layers = weighted_layers(D).values()
        terms = [orthonormal_penalty(m.effective_weight(), m.axis) for m in layers]
        return ops.sum(ops.stack(terms)) * self.weight


@dataclass(frozen=True)
class SpectralPenalty:
    r"""Spectral norm *regularization*, which penalizes large norms; normalization does not.

    .. math:: \frac{\lambda}{2} \sum_l \sigma(W_l)^2, \qquad
              \nabla_W = \lambda\,\sigma(W)\,uv^T

    The layers must keep u and v, as with the scheme :class:`Watched`.

    Args:
        weight: :math:`\lambda`.

    Source: [M18 §2.1]; Yoshida and Miyato (2017)
    """

    weight: float = 0.1

    def __post_init__(self) -> None:
        real_number("SpectralPenalty: weight", self.weight, 0.0)

    def __call__(self, D: Module, *_: Any) -> Tensor:
        """Return the term of D's loss."""
        layers = weighted_layers(D)
        if without := [name for name, m in layers.items() if "u" not in m.state]:
            raise ConfigError(f"SpectralPenalty: {without[0]} keeps no u; give it Watched()")
        norms = [
            spectral.sigma(m.weight, m.state["u"], m.state["v"], m.axis) for m in layers.values()
        ]
        return ops.sum(ops.stack(norms) ** 2) * (self.weight / 2)
