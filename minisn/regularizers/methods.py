"""The methods that the papers compare, by name."""

from dataclasses import dataclass, field, replace

from ..errors import ConfigError, nearest
from ..init import INITIALIZERS, Initializer, initializer, orthogonal
from ..nn import Reparametrization
from .penalize import Orthonormal, Penalty, SpectralPenalty
from .project import Projection, SingularValueClipping, WeightClipping
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


@dataclass(frozen=True)
class Method:
    """A method that keeps D smooth.

    Args:
        title: a description in one line.
        reparametrize: scheme of every weight.
        projection: projection of the weights after an update.
        penalty: additional term of D's loss.
        layer: normalization between the layers, ``"batch"`` or ``"layer"``; None for none.
        init: initializer of D's weights.
    """

    title: str
    reparametrize: Reparametrization = field(default_factory=Reparametrization)
    projection: Projection | None = None
    penalty: Penalty | None = None
    layer: str | None = None
    init: Initializer = INITIALIZERS["normal"]

    def __repr__(self) -> str:
        return f"Method({self.title!r})"


METHODS = {
    "none": Method("no regularizer"),
    "sn": Method("spectral normalization", SpectralNorm()),
    "bsn": Method("bidirectional spectral normalization", BidirectionalSpectralNorm()),
    "sn-conv": Method("spectral normalization by operator norms", ConvSpectralNorm()),
    "wn": Method("weight normalization", WeightNorm()),
    "frobenius": Method("Frobenius normalization", FrobeniusNorm()),
    "usv": Method("learned singular value decomposition", SingularValues()),
    "wc": Method("weight clipping", projection=WeightClipping()),
    "svc": Method("singular value clipping", projection=SingularValueClipping()),
    "orthonormal": Method("orthonormal regularization", penalty=Orthonormal(), init=orthogonal),
    "sigma2": Method("spectral norm regularization", Watched(), penalty=SpectralPenalty()),
    "bn": Method("batch normalization without gain", layer="batch"),
    "ln": Method("layer normalization without gain", layer="layer"),
}
"""The methods by name [M18 Table 2, App. D], [L21 BSN, SSN, BSSN, SN_Conv]."""


def method(name: str, scale: float = 1.0, gain: bool = False, init: str = "default") -> Method:
    """Return a method, with the scale and the gain of its reparametrization.

    Args:
        name: one of :data:`METHODS`.
        scale: constant factor of normalized weights.
        gain: also learn a factor [M18 Eq. (32)].
        init: initializer of the weights, one of :data:`minisn.init.INITIALIZERS`; ``"default"`` for
            the method's initializer.
    Raises:
        ConfigError: an unknown name, or a scale or gain for a method without normalization.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown regularizer {name!r}{nearest(name, METHODS)}")
    found = METHODS[name]
    if init != "default":
        found = replace(found, init=initializer(init))
    scheme = found.reparametrize
    if isinstance(scheme, Normalization | SingularValues):
        return replace(found, reparametrize=replace(scheme, scale=scale, gain=gain))
    if scale != 1 or gain:
        raise ConfigError(
            f"regularizer {name!r} does not normalize weights, so it has no scale or gain; "
            "set scale = 1.0 and gain = false, or use sn, bsn, sn-conv, wn, frobenius or usv"
        )
    return found
