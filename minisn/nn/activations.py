"""Activations, dropout, and changes of shape and scale."""

import numpy as np

from .. import ops
from ..arguments import generator, real_number
from ..elementwise import dropout
from ..tensor import Tensor, as_tensor
from .module import Module


class LeakyReLU(Module):
    """Leaky ReLU, with the paper's slope as default.

    Args:
        slope: slope for negative inputs; 0.1 in the paper.

    Source: [M18 Table 3]
    """

    def __init__(self, slope: float = 0.1):
        super().__init__()
        self.slope = real_number("LeakyReLU: slope", slope)

    @property
    def lipschitz(self) -> float:
        """The Lipschitz constant."""
        return max(1.0, abs(self.slope))

    def forward(self, x: Tensor) -> Tensor:
        """Apply leaky ReLU to every entry."""
        return ops.leaky_relu(x, slope=self.slope)


class ReLU(Module):
    """Rectified linear unit."""

    lipschitz = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Apply ReLU to every entry."""
        return ops.relu(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    lipschitz = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Apply tanh to every entry."""
        return ops.tanh(x)


class Dropout(Module):
    """Dropout: random zeros during training; see :func:`minisn.elementwise.dropout`.

    Args:
        rate: probability that an entry is set to 0, below 1.
        rng: random generator, or a seed.
    """

    def __init__(self, rate: float, rng: np.random.Generator | int):
        super().__init__()
        self.rate, self.rng = real_number("Dropout: rate", rate, 0, 1), generator(rng)

    def forward(self, x: Tensor) -> Tensor:
        """Apply dropout in training; return x unchanged in evaluation."""
        return dropout(x, self.rate, self.rng) if self.training else x


class Reshape(Module):
    """A change of the shape of every item of a batch.

    Args:
        shape: new shape of an item; one entry may be -1, for the rest.
    """

    lipschitz = 1.0

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Reshape a batch [N, ...] to [N, *shape]."""
        x = as_tensor(x)
        return x.reshape(x.shape[0], *self.shape)


class Scale(Module):
    r"""Multiplication by a learned number, which scales weight and bias of the layer before alike.

    .. math:: y = \gamma\,x = (\gamma W)h + \gamma b

    Args:
        gamma: a number to share among layers; None for a new one, which starts at 1.

    Source: [L21 experiments]
    """

    def __init__(self, gamma: Tensor | None = None):
        super().__init__()
        one = np.ones((), np.float32)
        self.gamma = Tensor(one, requires_grad=True) if gamma is None else gamma

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x, of any shape, by gamma."""
        return x * self.gamma
