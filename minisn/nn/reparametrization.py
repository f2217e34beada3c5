"""The interface of a scheme, which computes the weight of a layer."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from ..backend import Array
from ..errors import DTypeError
from ..geometry import Pixels
from ..tensor import Tensor

State = dict[str, Array]
Learned = Mapping[str, Tensor]


class Reparametrization:
    r"""The scheme of a layer's weight; this base class leaves the weight unchanged.

    .. math:: \bar W = W

    A scheme holds only settings, so one scheme serves many layers. Learned tensors and state belong
    to the layer, which passes them in: ``learned`` holds tensors by name, ``state`` arrays by name.
    Only :meth:`retract` changes anything in place.
    """

    def at(self, size: Pixels, stride: Pixels, padding: Pixels) -> Self:
        """Return the scheme for a convolution of one image size; most schemes ignore the size."""
        return self

    def start(
        self, W: Tensor, axis: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], State]:
        """Return the learned tensors and the first state, given the first weight.

        Args:
            W: first weight, a leaf with ``requires_grad``.
            axis: output axis of W.
            rng: random generator of the state.
        """
        return {"weight": W}, {}

    def step(self, learned: Learned, axis: int, state: State) -> State:
        """Return the state for the next update of D."""
        return state

    def apply(self, learned: Learned, axis: int, state: State) -> Tensor:
        """Return the weight of the layer, differentiable in the learned tensors."""
        return learned["weight"]

    def estimate(self, learned: Learned, axis: int, state: State) -> Tensor | None:
        """Return the estimate of the weight's norm, or None if the scheme keeps none."""
        return None

    def retract(self, learned: Learned, axis: int) -> None:
        """Project the learned tensors onto their constraint after an update, in place."""


def scheme_of(value: Any) -> Reparametrization:
    """Return a scheme, given a scheme, its class, or None for an unchanged weight.

    Raises:
        DTypeError: the value is none of these.
    """
    if isinstance(value, type) and issubclass(value, Reparametrization):
        value = value()
    if value is not None and not isinstance(value, Reparametrization):
        raise DTypeError(
            f"reparametrize: expected a scheme of minisn.regularizers such as "
            f"SpectralNorm(), got {value!r:.60}"
        )
    return value or Reparametrization()
