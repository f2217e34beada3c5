"""Projections: what is done to a weight after an update has moved it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from .. import spectral
from ..backend import Array, namespace
from ..errors import ConfigError
from ..nn import Module, weighted_layers

Projection = Callable[[Array, int], Array]
"""From a weight and its output axis to the weight that takes its place."""


@dataclass(frozen=True)
class WeightClipping:
    r"""Limit every entry of a weight.

    .. math:: w_{ij} \leftarrow \min(\max(w_{ij}, -c), c)

    In a network :func:`project` clips the convolutions alone, as the paper does.

    Args:
        c: 0.01 in the paper's experiments.
    Raises:
        ConfigError: c is not positive.

    Source: [M18 App. D.2]; Arjovsky et al. (2017)
    """

    c: float = 0.01
    least_axes: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise ConfigError(f"WeightClipping: c must be positive, got {self.c}")

    def __call__(self, W: Array, axis: int) -> Array:
        """Return the clipped weight."""
        return namespace(W).clip(W, -self.c, self.c)


@dataclass(frozen=True)
class SingularValueClipping:
    r"""Limit every singular value of a weight.

    .. math:: W = USV^T \;\leftarrow\; U \min(S, K)\, V^T

    It is the nearest weight, in Frobenius norm, whose spectral norm does not exceed K.

    Args:
        bound: K.
    Raises:
        ConfigError: K is not positive.

    Source: [M18 Eq. (28)]; Saito et al. (2017)
    """

    bound: float = 1.0

    def __post_init__(self) -> None:
        if not self.bound > 0:
            raise ConfigError(f"SingularValueClipping: bound must be positive, got {self.bound}")

    def __call__(self, W: Array, axis: int) -> Array:
        """Return the weight with its singular values clipped."""
        U, s, Vt = spectral.decompose("SingularValueClipping", spectral.as_matrix(W, axis))
        clipped = (U * namespace(W).clip(s, None, self.bound)) @ Vt
        return spectral.from_matrix(clipped, W.shape, axis)


def project(network: Module, projection: Projection | None = None) -> None:
    """Bring all weights of a network back to where they must lie, after an update.

    Args:
        network: D.
        projection: what to do to every weight, or to those of ``least_axes`` and more where it
            has that; None leaves only what the layers' own schemes ask for.
    """
    least = getattr(projection, "least_axes", 0)
    for layer in weighted_layers(network).values():
        layer.reparametrize.retract(layer.learned, layer.axis)
        if projection is not None and len(layer.shape) >= least:
            layer.weight.assign(projection(layer.weight.array, layer.axis))
