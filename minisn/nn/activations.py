"""Layers without numbers of their own: activations and changes of shape."""

import numpy as np

from .. import ops
from ..arguments import real_number
from ..elementwise import dropout
from ..init import generator
from ..tensor import Tensor
from .module import Module


class LeakyReLU(Module):
    """Leaky ReLU with the paper's slope, 0.1.

    Source: [M18 Table 3]
    """

    def __init__(self, slope: float = 0.1):
        super().__init__()
        self.slope = real_number("LeakyReLU: slope", slope)
        self.lipschitz = max(1.0, abs(slope))

    def forward(self, x: Tensor) -> Tensor:
        """Apply entry by entry."""
        return ops.leaky_relu(x, slope=self.slope)


class ReLU(Module):
    """Rectified linear unit."""

    lipschitz = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Apply entry by entry."""
        return ops.relu(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    lipschitz = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Apply entry by entry."""
        return ops.tanh(x)


class Dropout(Module):
    """While training, set entries to 0 at random: see :func:`minisn.elementwise.dropout`.

    Args:
        rate: of the entries that are set to 0, below 1.
        rng: draws them, or a seed.
    """

    def __init__(self, rate: float, rng: np.random.Generator | int):
        super().__init__()
        self.rate, self._rng = real_number("Dropout: rate", rate, 0, 1), generator(rng)

    def forward(self, x: Tensor) -> Tensor:
        """Apply entry by entry; in evaluation nothing is changed."""
        return dropout(x, self.rate, self._rng) if self.training else x


class Reshape(Module):
    """Give every item of a batch another shape (-1 once: what remains)."""

    lipschitz = 1.0

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Apply to [N, ...]."""
        return x.reshape(x.shape[0], *self.shape)


class Scale(Module):
    r"""Multiply by a learned number: with it a layer's weight and bias grow alike.

    .. math:: y = \gamma\,x = (\gamma W)h + \gamma b

    Args:
        gamma: the number, to share it among layers; None for one of its own, 1 at first.

    Source: [L21 experiments]
    """

    def __init__(self, gamma: Tensor | None = None):
        super().__init__()
        one = np.ones((), np.float32)
        self.gamma = Tensor(one, requires_grad=True) if gamma is None else gamma

    def forward(self, x: Tensor) -> Tensor:
        """Apply to any shape."""
        return x * self.gamma
