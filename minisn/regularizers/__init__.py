"""Ways to keep a discriminator smooth, by what they do to a training step.

*Reparametrize*: the layer computes with a function of what it learns. *Project*: weights are
brought back after an update. *Penalize*: a term is added to the loss. ``methods`` names them all;
``gradients`` writes their gradients out; ``teaching`` shows what others take for them.
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
