"""minisn's own layers, asked like those of every other library."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import nn, ops, regularizers, spectral
from ...tensor import Tensor, grad, no_grad
from ..probes import SIZE, inputs, read_off, spread
from .shared import Adapter


class Minisn(Adapter):
    """Layers with a scheme; one round of power iteration precedes the passes of a step.

    Args:
        scheme: the scheme of the weight.
        definition: SN, BSN or SN_Conv.
        name: name of the adapter.
    """

    precisions = ("float16", "float64")

    def __init__(self, scheme: Any = None, definition: str = "SN", name: str = "minisn"):
        self.scheme = scheme or regularizers.SpectralNorm()
        self.definition, self.name = definition, name
        self.scale = getattr(self.scheme, "scale", 1.0)

    @property
    def version(self) -> str:
        """The version of minisn."""
        from ... import __version__

        return __version__

    def make(self, kind: str, W: np.ndarray, rounds: int = 1, dtype: str = "float32") -> Any:
        """Make a layer with a weight."""
        rng = np.random.default_rng(0)
        scheme = self.scheme
        if self.definition == "SN_Conv" and kind == "conv":
            scheme = scheme.at(SIZE, 1, 1)
        if self.definition == "SN_Conv" and kind == "deconv":
            raise NotImplementedError("SN_Conv is defined for convolutions")
        form: dict[str, Any] = {"reparametrize": scheme, "init": lambda rng, shape, axis: W}
        (a, b, *_), plain = W.shape, {"bias": False, **form}
        layer: Any = {
            "dense": lambda: nn.Linear(b, a, rng, **plain),
            "conv": lambda: nn.Conv2d(b, a, W.shape[2], rng, padding=1, **plain),
            "deconv": lambda: nn.ConvTranspose2d(a, b, W.shape[2], rng, **plain),
            "embedding": lambda: nn.Embedding(a, b, rng, **form),
        }[kind]()
        if dtype != "float32":
            layer.to(dtype=dtype)
            layer.weight.reset(W.astype(dtype))
            if dtype == "float64":
                _, layer.state = layer.reparametrize.start(layer.weight, layer.axis, rng)
        layer.made = (kind, rounds, dtype)
        return layer

    def _outputs(self, layer: Any, passes: int, step: bool = True) -> list[Tensor]:
        kind, rounds, dtype = layer.made
        for _ in range(rounds * step):
            layer.power_step()
        basis = inputs(kind, layer.shape[1])
        x = Tensor.wrap(basis if kind == "embedding" else basis.astype(dtype))
        return [layer(x) for _ in range(passes)]

    def _objective(self, layer: Any, Gs: list[np.ndarray]) -> Tensor:
        kind, _, dtype = layer.made
        terms = [
            ops.sum(y * Tensor.wrap(np.ascontiguousarray(spread(kind, G), dtype)))
            for y, G in zip(self._outputs(layer, len(Gs)), Gs, strict=True)
        ]
        return ops.sum(ops.stack(terms))

    def forward(self, layer: Any, train: bool) -> np.ndarray:
        """Make a pass, in training after a round of power iteration."""
        with no_grad():
            y = self._outputs(layer, 1, train)[0].array
        layer.seen = str(y.dtype)
        return read_off(layer.made[0], y)

    def gradient(self, layer: Any, Gs: list[np.ndarray]) -> np.ndarray:
        """Make the passes of one step, all with the same u and v, and one backward."""
        return grad(self._objective(layer, Gs), layer.weight).array

    def second(self, layer: Any, G: np.ndarray, H: np.ndarray) -> np.ndarray:
        """Differentiate a gradient."""
        g = grad(self._objective(layer, [G]), layer.weight, create_graph=True)
        return grad(ops.sum(g * Tensor.wrap(H.astype(g.dtype))), layer.weight).array

    def parameter(self, layer: Any) -> np.ndarray:
        """Return the weight."""
        return layer.weight.array.copy()

    def set_parameter(self, layer: Any, W: np.ndarray) -> None:
        """Assign the weight, as an optimizer does."""
        layer.weight.assign(W.astype(layer.weight.dtype))

    def state(self, layer: Any) -> list[np.ndarray]:
        """Return u and v."""
        return [a.copy() for a in layer.state.values()]

    def set_u(self, layer: Any, u: np.ndarray, v: np.ndarray) -> None:
        """Replace u and v."""
        dtype = layer.weight.dtype
        layer.state = layer.state | {"u": u.astype(dtype), "v": v.astype(dtype)}

    def read(self, layer: Any) -> np.ndarray:
        """Return the weight that the layer computes with."""
        return layer.effective_weight().array

    def reload(self, layer: Any) -> Any:
        """Load the saved arrays into another layer."""
        other = self.another(layer)
        other.load_state_dict({k: a.copy() for k, a in layer.state_dict().items()})
        return other

    def remove(self, layer: Any) -> np.ndarray:
        """Return the weight that stays when the normalization is removed."""
        if self.definition != "SN":
            raise NotImplementedError("minisn bakes SN alone")
        state = layer.state
        return spectral.bake(layer.weight, state["u"], state["v"], layer.axis, self.scale)


class MinisnSSN(Minisn):
    """Scaled spectral normalization, c = 1.6."""

    def __init__(self) -> None:
        super().__init__(regularizers.SpectralNorm(scale=1.6), name="minisn-ssn")


class MinisnBSN(Minisn):
    """Bidirectional spectral normalization."""

    def __init__(self) -> None:
        super().__init__(regularizers.BidirectionalSpectralNorm(), "BSN", "minisn-bsn")


class MinisnSNConv(Minisn):
    """Spectral normalization by the norm of the convolution as an operator."""

    def __init__(self) -> None:
        super().__init__(regularizers.ConvSpectralNorm(), "SN_Conv", "minisn-sn-conv")
