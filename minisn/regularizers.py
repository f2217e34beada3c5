"""Ways to keep a discriminator smooth, by what they do to a training step.

*Reparametrize*: the layer computes with a function of its weight. Such a scheme holds
no numbers of its own; what it needs from step to step (u and v) is state that the
layer keeps, saves and passes in.

*Penalize*: a term is added to the loss.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import ops, spectral
from .backend import Array, namespace
from .tensor import Tensor, grad, no_grad

State = dict[str, Array]


@dataclass(frozen=True)
class SpectralNorm:
    r"""Spectral normalization: divide a weight by its largest singular value.

    .. math:: \bar W_{SN}(W) = c\,W / \sigma(W), \qquad \sigma(W) \approx u^T W v

    Args:
        scale: the constant :math:`c` that the normalized weight's norm is set to; 1 in the paper.

    Source: [M18 Eq. (8)], [M18 Eq. (22)]
    """

    scale: float = 1.0

    def start(self, W: Tensor, axis: int, rng: np.random.Generator) -> State:
        """Draw u at random and warm it up, so that the first normalized weight is at norm 1."""
        u, v = spectral.initial_vectors(W, rng, axis=axis)
        return {"u": u, "v": v}

    def step(self, W: Tensor, axis: int, state: State) -> State:
        r"""Make one round of power iteration and return the new state.

        Source: [M18 Eq. (20)], [M18 Eq. (21)]
        """
        u, v, _ = spectral.power_iteration(W, state["u"], axis=axis)
        return {"u": u, "v": v}

    def apply(self, W: Tensor, axis: int, state: State) -> Tensor:
        """Return the normalized weight, differentiable in W with u and v held constant."""
        return spectral.spectral_normalize(W, state["u"], state["v"], axis, self.scale)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, rng: np.random.Generator
) -> Tensor:
    r"""Penalize a critic whose gradient is not of length 1 between data and samples.

    .. math:: E_{\hat x}\big[(\|\nabla_{\hat x} D(\hat x)\|_2 - 1)^2\big], \qquad
              \hat x = \epsilon x + (1 - \epsilon)\tilde x, \quad \epsilon \sim U[0, 1]

    The norm is taken over each image, the mean over the batch. Multiply by
    :math:`\lambda = 10` for the paper's setting.

    Args:
        critic: D, from images [N, C, H, W] to one number each.
        real, fake: x and x tilde, [N, C, H, W].
        rng: draws one epsilon for each image.
    Returns:
        The penalty, a tensor without axes, differentiable in the critic's parameters.

    Source: [M18 Eq. (29)], [M18 Eq. (30)], [M18 Eq. (31)]
    """
    xp = namespace(real.array)
    draws = rng.random((real.shape[0],) + (1,) * (real.ndim - 1))
    epsilon = Tensor.wrap(xp.asarray(draws, dtype=real.dtype))
    with no_grad():
        mixed = epsilon * real + (1.0 - epsilon) * fake
    x_hat = Tensor(mixed, requires_grad=True)
    slope = grad(ops.sum(critic(x_hat)), x_hat, create_graph=True)
    norm = ops.sqrt(ops.sum(slope * slope, axis=tuple(range(1, slope.ndim))))
    return ops.mean((norm - 1.0) ** 2)
