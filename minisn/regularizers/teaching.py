r"""For teaching only: gradients of spectral normalization in other implementations.

The implementations differ in the function that they differentiate: the first four compute
:math:`\bar W = W / \sigma` with the same :math:`\sigma`. Training uses :class:`SpectralNorm`, which
is ``"constant"`` here.
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
"""The semantics by name, with implementations that use them."""


@dataclass(frozen=True)
class TaughtSpectralNorm(Reparametrization):
    r"""Spectral normalization with a choice of gradients.

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
        """Draw u at random, warm it up, and make a first step."""
        u, _ = spectral.initial_vectors(W, rng, axis=axis)
        return {"weight": W}, self.step({"weight": W}, axis, {"u": u})

    def step(self, learned: Learned, axis: int, state: State) -> State:
        """Make one round of power iteration, and keep the old u; "overwritten" also divides W."""
        W = learned["weight"]
        u, v, _ = spectral.power_iteration(W, state["u"], axis=axis)
        if self.semantics == "overwritten":
            W.assign(spectral.bake(W, u, v, axis))
        return {"u": u, "v": v, "u_before": state["u"]}

    def apply(self, learned: Learned, axis: int, state: State) -> Tensor:
        """Return the weight of the layer, with the gradient of the chosen semantics."""
        W, u, v = learned["weight"], state["u"], state["v"]
        if self.semantics == "overwritten":
            return W
        if self.semantics == "through":
            return spectral.divide(W, _power_step_sigma(W, state["u_before"], axis))
        sigma = spectral.sigma(W, u, v, axis)
        if self.semantics == "detached":
            sigma = sigma.detach()
        if self.semantics == "clipped":
            return W / ops.maximum(sigma / self.bound, 1.0)
        return spectral.divide(W, sigma)


def _power_step_sigma(W: Tensor, u, axis: int) -> Tensor:
    """Repeat the power step in the graph, so that the gradient includes changes of u and v."""
    matrix = spectral.as_matrix(W, axis)

    def unit(x: Tensor) -> Tensor:
        return spectral.divide(x, ops.norm(x))

    v = unit(reshape(Tensor.wrap(u) @ matrix, (-1,)))
    return ops.sum(unit(matrix @ v) * (matrix @ v))
