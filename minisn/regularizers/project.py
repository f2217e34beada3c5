"""Projections of the weights after an update."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from .. import spectral
from ..backend import Array, namespace
from ..errors import ConfigError
from ..nn import Module, weighted_layers

Projection = Callable[[Array, int], Array]
"""A function from a weight and its output axis to the projected weight."""


@dataclass(frozen=True)
class WeightClipping:
    r"""Weight clipping: a limit on every entry of a weight.

    .. math:: w_{ij} \leftarrow \min(\max(w_{ij}, -c), c)

    In a network, :func:`project` clips only the convolutions, as in the paper.

    Args:
        c: largest absolute value, 0.01 in the paper's experiments.
    Raises:
        ConfigError: c is not positive.

    Source: [M18 App. D.2]; Arjovsky et al. (2017)
    """

    c: float = 0.01
    least_axes: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise ConfigError(f"WeightClipping: expected a positive c, got {self.c}")

    def __call__(self, W: Array, axis: int) -> Array:
        """Return the clipped weight."""
        return namespace(W).clip(W, -float(self.c), float(self.c))


@dataclass(frozen=True)
class SingularValueClipping:
    r"""Singular value clipping: a limit on every singular value of a weight.

    .. math:: W = USV^T \;\leftarrow\; U \min(S, K)\, V^T

    The result is the nearest weight, in Frobenius norm, whose spectral norm does not exceed K.

    Args:
        bound: K, the largest singular value.
    Raises:
        ConfigError: K is not positive.

    Source: [M18 Eq. (28)]; Saito et al. (2017)
    """

    bound: float = 1.0

    def __post_init__(self) -> None:
        if not self.bound > 0:
            raise ConfigError(f"SingularValueClipping: expected a positive bound, got {self.bound}")

    def __call__(self, W: Array, axis: int) -> Array:
        """Return the weight with clipped singular values."""
        U, s, Vt = spectral.decompose("SingularValueClipping", spectral.as_matrix(W, axis))
        clipped = (U * namespace(W).clip(s, None, float(self.bound))) @ Vt
        return spectral.from_matrix(clipped, W.shape, axis)


def project(network: Module, projection: Projection | None = None) -> None:
    """Project all weights of a network after an update, in place.

    Args:
        network: D.
        projection: projection of every weight, or, if the projection has ``least_axes``, of the
            weights with at least that many axes; None applies only the layers' own schemes.
    """
    least = getattr(projection, "least_axes", 0)
    for layer in weighted_layers(network).values():
        layer.reparametrize.retract(layer.learned, layer.axis)
        if projection is not None and len(layer.shape) >= least:
            layer.weight.assign(projection(layer.weight.array, layer.axis))
