"""What a layer asks of the scheme that makes its weight."""

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
    r"""How a layer makes the weight that it computes with; this one takes it as it is.

    .. math:: \bar W = W

    A scheme holds settings and no numbers of its own, so one serves many layers. What is
    learned and what changes from step to step belong to the layer, which passes them in:
    ``learned`` holds tensors by name, ``state`` arrays by name. None of the methods but
    :meth:`retract` changes anything.
    """

    def at(self, size: Pixels, stride: Pixels, padding: Pixels) -> Self:
        """Return the scheme for a convolution of images of one size; most do not depend on it."""
        return self

    def start(
        self, W: Tensor, axis: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], State]:
        """Return what is learned and the first state, for a first weight.

        Args:
            W: the weight as it was drawn, a leaf that records.
            axis: its output axis.
            rng: draws what the state needs.
        """
        return {"weight": W}, {}

    def step(self, learned: Learned, axis: int, state: State) -> State:
        """Return the state for the next update of D."""
        return state

    def apply(self, learned: Learned, axis: int, state: State) -> Tensor:
        """Return the weight to compute with, differentiable in all that is learned."""
        return learned["weight"]

    def estimate(self, learned: Learned, axis: int, state: State) -> Tensor | None:
        """Return an estimate of the weight's norm where the scheme keeps one."""
        return None

    def retract(self, learned: Learned, axis: int) -> None:
        """Bring what is learned back to where it must lie, after an update has moved it."""


def scheme_of(value: Any) -> Reparametrization:
    """Return a scheme: the one given, one of a class, or for None the weight as it is.

    Raises:
        DTypeError: it is none of these.
    """
    if isinstance(value, type) and issubclass(value, Reparametrization):
        value = value()
    if value is not None and not isinstance(value, Reparametrization):
        raise DTypeError(
            f"reparametrize: expected a scheme of minisn.regularizers such as "
            f"SpectralNorm(), got {value!r:.60}"
        )
    return value or Reparametrization()
