r"""FOR TEACHING ONLY: what implementations in the wild take for the gradient of spectral norm.

All of them compute :math:`\bar W = W / \sigma` in the forward pass, or nearly; they differ in
what they differentiate. Training uses :class:`SpectralNorm`, which is ``"constant"`` here.
"""

from dataclasses import dataclass

import numpy as np

from .. import ops, spectral
from ..errors import ConfigError
from ..nn import Learned, Reparametrization, State
from ..tensor import Tensor, reshape

SEMANTICS = {
    "constant": "u, v constant: equations (9)-(12); PyTorch, Chainer, Flax",
    "through": "also differentiated through the power step that made u, v; the BSN code",
    "overwritten": "W replaced by W / sigma before the pass, then taken as it is: a projection, "
    "not (9)-(12); Keras, TensorFlow Addons",
    "detached": "W / sigma with sigma a constant: the second term of (12) is lost",
    "clipped": "W / max(sigma / c, 1): nothing happens below the bound",
}
"""The semantics by name, with who has them."""


@dataclass(frozen=True)
class TaughtSpectralNorm(Reparametrization):
    r"""Spectral normalization with a choice of what its gradient is.

    .. math:: \bar W = W / \sigma(W), \qquad \nabla_W V = \;?

    Args:
        semantics: one of :data:`SEMANTICS`.
        bound: :math:`c` of ``"clipped"``.
    Raises:
        ConfigError: an unknown name.

    Source: [M18 Eq. (9), (10), (11), (12)], [L21 BSN]
    """

    semantics: str = "constant"
    bound: float = 1.0

    def __post_init__(self) -> None:
        if self.semantics not in SEMANTICS:
            raise ConfigError(
                f"unknown semantics {self.semantics!r}; expected one of {', '.join(SEMANTICS)}"
            )

    def start(
        self, W: Tensor, axis: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], State]:
        """Draw u at random and warm it up; "overwritten" divides the weight at once."""
        u, v = spectral.initial_vectors(W, rng, axis=axis)
        self._overwrite(W, u, v, axis)
        return {"weight": W}, {"u": u, "v": v}

    def step(self, learned: Learned, axis: int, state: State) -> State:
        """Make one round of power iteration; "overwritten" divides the weight too."""
        W = learned["weight"]
        u, v, _ = spectral.power_iteration(W, state["u"], axis=axis)
        self._overwrite(W, u, v, axis)
        return {"u": u, "v": v}

    def _overwrite(self, W: Tensor, u, v, axis: int) -> None:
        if self.semantics == "overwritten":
            W.assign(spectral.bake(W, u, v, axis))

    def apply(self, learned: Learned, axis: int, state: State) -> Tensor:
        """Return the weight to compute with, with the gradient that was asked for."""
        W, u, v = learned["weight"], state["u"], state["v"]
        if self.semantics == "overwritten":
            return W
        if self.semantics == "through":
            return spectral.divide(W, _power_step_sigma(W, u, axis))
        sigma = spectral.sigma(W, u, v, axis)
        if self.semantics == "detached":
            sigma = sigma.detach()
        if self.semantics == "clipped":
            return W / ops.maximum(sigma / self.bound, 1.0)
        return spectral.divide(W, sigma)


def _power_step_sigma(W: Tensor, u, axis: int) -> Tensor:
    """Make a power step as part of the graph, so that the gradient sees how u and v move."""
    matrix = spectral.as_matrix(W, axis)

    def unit(x: Tensor) -> Tensor:
        return spectral.divide(x, ops.sqrt(ops.sum(x * x)))

    v = unit(reshape(Tensor.wrap(u) @ matrix, (-1,)))
    return ops.sum(unit(matrix @ v) * (matrix @ v))
