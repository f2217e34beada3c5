"""Methods that keep a discriminator smooth, of three kinds.

*Reparametrize*: the layer computes with a function of its learned tensors. *Project*: an update is
followed by a projection of the weights. *Penalize*: the loss has an additional term. ``methods``
lists all methods by name; ``gradients`` has their gradients as formulas; ``teaching`` shows
gradients that other implementations use.
"""

from .gradients import (
    entry_gradient,
    frobenius_gradient,
    layer_gradient,
    normalization_gradient,
    spectral_gradient,
    stationarity,
)
from .methods import METHODS, Method, method
from .penalize import (
    GradientPenalty,
    Orthonormal,
    SpectralPenalty,
    gradient_penalty,
    orthonormal_penalty,
)
from .project import SingularValueClipping, WeightClipping, project
from .reparametrize import (
    BidirectionalSpectralNorm,
    ConvSpectralNorm,
    FrobeniusNorm,
    Normalization,
    SingularValues,
    SpectralNorm,
    Watched,
    WeightNorm,
)
from .teaching import SEMANTICS, TaughtSpectralNorm

__all__ = [
    "METHODS",
    "SEMANTICS",
    "BidirectionalSpectralNorm",
    "ConvSpectralNorm",
    "FrobeniusNorm",
    "GradientPenalty",
    "Method",
    "Normalization",
    "Orthonormal",
    "SingularValueClipping",
    "SingularValues",
    "SpectralNorm",
    "SpectralPenalty",
    "TaughtSpectralNorm",
    "Watched",
    "WeightClipping",
    "WeightNorm",
    "entry_gradient",
    "frobenius_gradient",
    "gradient_penalty",
    "layer_gradient",
    "method",
    "normalization_gradient",
    "orthonormal_penalty",
    "project",
    "spectral_gradient",
    "stationarity",
]
