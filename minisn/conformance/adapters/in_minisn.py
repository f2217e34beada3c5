"""minisn's own layers, asked like those of every other library."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ... import __version__, nn, regularizers, spectral
from ...tensor import Tensor, grad
from ..probes import SIZE
from .base import Adapter, Value


class Minisn(Adapter):
    """Layers with a scheme; one round of power iteration precedes the passes of a step.

    Args:
        scheme: the scheme of the weight.
        definition: SN, BSN or SN_Conv.
        name: name of the adapter.
    """

    version = __version__
    precisions = ("float16", "float64")

    def __init__(self, scheme: Any = None, definition: str = "SN", name: str = "minisn"):
        self.scheme = scheme or regularizers.SpectralNorm()
        self.definition, self.name = definition, name
        self.scale = getattr(self.scheme, "scale", 1.0)

    def build(self, layer: Any, W: Tensor) -> Any:
        """Make a layer with a weight."""
        scheme, rng = self.scheme, np.random.default_rng(0)
        if self.definition == "SN_Conv" and layer.kind == "conv":
            scheme = scheme.at(SIZE, 1, 1)
        if self.definition == "SN_Conv" and layer.kind == "deconv":
            raise NotImplementedError("SN_Conv is defined for convolutions")
        form: dict[str, Any] = {"reparametrize": scheme, "init": lambda rng, shape, axis: W.array}
        (a, b, *k), plain = W.shape, {"bias": False, **form}
        module: Any = {
            "dense": lambda: nn.Linear(b, a, rng, **plain),
            "conv": lambda: nn.Conv2d(b, a, k[0], rng, padding=1, **plain),
            "deconv": lambda: nn.ConvTranspose2d(a, b, k[0], rng, **plain),
            "embedding": lambda: nn.Embedding(a, b, rng, **form),
        }[layer.kind]()
        if layer.dtype != "float32":
            module.to(dtype=layer.dtype)
            module.weight.reset(W.array)
            if layer.dtype == "float64":
                _, module.state = module.reparametrize.start(module.weight, module.axis, rng)
        return module

    def begin(self, layer: Any) -> None:
        """Make the rounds of power iteration, once before all passes of the step."""
        for _ in range(layer.rounds):
            layer.module.power_step()

    def call(self, layer: Any, module: Any, train: bool) -> Tensor:
        """Call the layer."""
        return module(layer.x)

    def tensor(self, a: np.ndarray, dtype: str) -> Tensor:
        """Convert an array to a tensor."""
        return Tensor.wrap(np.asarray(a, dtype))

    def array(self, t: Tensor) -> np.ndarray:
        """Convert a tensor to an array."""
        return t.array.astype(np.float64)

    def weight(self, module: Any) -> Tensor:
        """Return the weight."""
        return module.weight

    def assign(self, layer: Any, W: Tensor) -> None:
        """Assign the weight, as an optimizer does."""
        layer.module.weight.assign(W.array)

    def derivative(self, layer: Any, value: Value, module: Any, again: bool) -> Tensor:
        """Differentiate, and record that if it is differentiated again."""
        return grad(value(module), module.weight, create_graph=again)

    def vectors(self, layer: Any) -> list[Tensor]:
        """Return u and v."""
        return [Tensor.wrap(a) for a in layer.module.state.values()]

    def start(self, layer: Any, vectors: Sequence[Tensor]) -> None:
        """Replace u and v."""
        state = zip(layer.module.state, (t.array for t in vectors), strict=True)
        layer.module.state = dict(state)

    def load(self, layer: Any, other: Any) -> None:
        """Load the saved arrays."""
        layer.module.load_state_dict(other.module.state_dict())

    def read(self, layer: Any) -> np.ndarray:
        """Return the weight that the layer computes with."""
        return self.array(layer.module.effective_weight())

    def remove(self, layer: Any) -> np.ndarray:
        """Bake the weight."""
        if self.definition != "SN":
            raise NotImplementedError("minisn bakes SN alone")
        module = layer.module
        u, v = module.state["u"], module.state["v"]
        return spectral.bake(module.weight, u, v, module.axis, self.scale)


MinisnSSN = partial(Minisn, regularizers.SpectralNorm(scale=1.6), name="minisn-ssn")
MinisnBSN = partial(Minisn, regularizers.BidirectionalSpectralNorm(), "BSN", "minisn-bsn")
MinisnSNConv = partial(Minisn, regularizers.ConvSpectralNorm(), "SN_Conv", "minisn-sn-conv")
