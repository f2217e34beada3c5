"""The base class of adapters: it answers the suite from a few methods that a library defines."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..probes import inputs, read_off, spread

Value = Callable[[Any], Any]
"""A function of a module, such as the loss of its outputs."""

AXES = {"dense": "oi", "conv": "oihw", "deconv": "iohw", "embedding": "oi"}
"""The layout of weights here: outputs, inputs, rows and columns; of an embedding, labels first."""


class Adapter:
    """An adapter whose subclass describes a library.

    A subclass states the library's layouts, and defines ``build``, ``call`` and, of the other
    methods that raise ``NotImplementedError`` here, those that the library allows. The suite does
    not ask for the rest. The example is ``minisn/conformance/adapters/in_torch.py``.

    A layer is a namespace: ``kind``, ``rounds`` and ``dtype`` as asked for; ``x``, the basis as a
    tensor of the library; ``module``, what ``build`` returned; and after a pass ``seen``, the type
    of the outputs. A subclass may add more.
    """

    name, version = "", ""
    definition, scale = "SN", 1.0
    precisions: tuple[str, ...] = ("float16", "bfloat16", "float64")

    axes: Mapping[str, str] = {}
    """The layouts that differ from :data:`AXES`, by kind of layer."""
    flipped = False
    """Whether the library rotates the kernel of a transposed convolution by 180 degrees."""
    channels_last = False
    """Whether the channels of images are the last axis."""

    # -- what a subclass defines -------------------------------------------------------------------

    def build(self, layer: Any, W: Any) -> Any:
        """Return a module without bias that normalizes W, a tensor of the library."""
        raise NotImplementedError("the adapter has no build")

    def call(self, layer: Any, module: Any, train: bool) -> Any:
        """Apply a module to ``layer.x``, and return the outputs."""
        raise NotImplementedError("the adapter has no call")

    def tensor(self, a: np.ndarray, dtype: str) -> Any:
        """Convert an array to a tensor of the library."""
        try:
            return np.asarray(a, dtype)
        except TypeError as error:
            raise NotImplementedError(f"NumPy has no {dtype}") from error

    def array(self, t: Any) -> np.ndarray:
        """Convert a tensor of the library to an array in double precision."""
        return np.asarray(t, np.float64)

    def begin(self, layer: Any) -> None:
        """Begin a training step; most libraries do nothing here, and iterate in each pass."""

    def weight(self, module: Any) -> Any:
        """Return the raw weight of a module."""
        raise NotImplementedError("the adapter has no weight")

    def assign(self, layer: Any, W: Any) -> None:
        """Replace the raw weight by W, a tensor of the library."""
        raise NotImplementedError("the adapter has no assign")

    def derivative(self, layer: Any, value: Value, module: Any, again: bool) -> Any:
        """Return the derivative of value(module) with respect to the raw weight.

        Args:
            layer: the layer.
            value: a function of a module.
            module: the module at which to differentiate.
            again: whether the caller differentiates the derivative once more.
        """
        raise NotImplementedError("the adapter has no derivative")

    def vectors(self, layer: Any) -> Sequence[Any]:
        """Return the tensors that power iteration keeps."""
        raise NotImplementedError("the adapter has no vectors")

    def start(self, layer: Any, vectors: Sequence[Any]) -> None:
        """Replace the tensors that :meth:`vectors` returns."""
        raise NotImplementedError("the adapter has no start")

    def load(self, layer: Any, other: Any) -> None:
        """Load what another layer saves."""
        raise NotImplementedError("the adapter has no load")

    # -- what the suite asks -----------------------------------------------------------------------

    def make(self, kind: str, W: np.ndarray, rounds: int = 1, dtype: str = "float32") -> Any:
        """Make a layer with a weight."""
        layer = SimpleNamespace(kind=kind, rounds=rounds, dtype=dtype)
        x = self._images(inputs(kind, W.shape[1]))
        layer.x = self.tensor(x, "int64" if kind == "embedding" else dtype)
        layer.module = self.build(layer, self._theirs(layer, W))
        return layer

    def forward(self, layer: Any, train: bool) -> np.ndarray:
        """Make a pass; return the weight that was applied."""
        if train:
            self.begin(layer)
        y = self.call(layer, layer.module, train)
        layer.seen = re.findall(r"\w+", str(y.dtype))[-1]
        y = self.array(y)
        return read_off(layer.kind, np.moveaxis(y, -1, 1) if self._turns(y) else y)

    def gradient(self, layer: Any, Gs: Sequence[np.ndarray]) -> np.ndarray:
        """Make the passes of one step, one for each G, and differentiate the sum of <G, W̄>."""
        self.begin(layer)
        value = self._value(layer, Gs)
        return self._ours(layer, self.derivative(layer, value, layer.module, False))

    def second(self, layer: Any, G: np.ndarray, H: np.ndarray) -> np.ndarray:
        """Differentiate a gradient."""
        self.begin(layer)
        value, h = self._value(layer, [G]), self._theirs(layer, H)

        def slope(module: Any) -> Any:
            return (self.derivative(layer, value, module, True) * h).sum()

        return self._ours(layer, self.derivative(layer, slope, layer.module, False))

    def parameter(self, layer: Any) -> np.ndarray:
        """Return the raw weight."""
        return self._ours(layer, self.weight(layer.module))

    def set_parameter(self, layer: Any, W: np.ndarray) -> None:
        """Replace the raw weight."""
        self.assign(layer, self._theirs(layer, W))

    def state(self, layer: Any) -> list[np.ndarray]:
        """Return the vectors that power iteration keeps."""
        return [self.array(t) for t in self.vectors(layer)]

    def set_u(self, layer: Any, u: np.ndarray, v: np.ndarray) -> None:
        """Replace the vectors that the layer keeps by u or v, whichever has their length."""
        kept, fits = self.state(layer), {len(x): x for x in (u, v)}
        if not any(a.size in fits for a in kept):
            raise NotImplementedError("the layer keeps no vector of the length of u or v")
        new = [fits.get(a.size, a).reshape(a.shape) for a in kept]
        self.start(layer, [self.tensor(a, layer.dtype) for a in new])

    def reload(self, layer: Any) -> Any:
        """Make a layer with another weight, and load what this one saves."""
        W = np.ones_like(self.parameter(layer))
        other = self.make(layer.kind, W, layer.rounds, layer.dtype)
        self.load(other, layer)
        return other

    def dtype(self, layer: Any) -> str:
        """Name the type of the last outputs."""
        return layer.seen

    # -- layouts -----------------------------------------------------------------------------------

    def _turns(self, a: np.ndarray) -> bool:
        """Return whether an array holds images, and the library has their channels last."""
        return self.channels_last and a.ndim == 4

    def _images(self, a: np.ndarray) -> np.ndarray:
        """Convert inputs or outputs to the library's layout."""
        return np.ascontiguousarray(np.moveaxis(a, 1, -1) if self._turns(a) else a)

    def _value(self, layer: Any, Gs: Sequence[np.ndarray]) -> Value:
        """Return the sum of <G, W̄> over as many passes, as a function of a module."""
        gs = [self.tensor(self._images(spread(layer.kind, G)), layer.dtype) for G in Gs]
        return lambda module: sum((self.call(layer, module, True) * g).sum() for g in gs)

    def _theirs(self, layer: Any, W: np.ndarray) -> Any:
        """Convert a weight to a tensor of the library, in its layout."""
        if self.flipped and layer.kind == "deconv":
            W = W[:, :, ::-1, ::-1]
        here = AXES[layer.kind]
        W = W.transpose([here.index(axis) for axis in self.axes.get(layer.kind, here)])
        return self.tensor(np.ascontiguousarray(W), layer.dtype)

    def _ours(self, layer: Any, W: Any) -> np.ndarray:
        """Convert a tensor of the library to a weight in the layout here."""
        here = AXES[layer.kind]
        there = self.axes.get(layer.kind, here)
        W = self.array(W).transpose([there.index(axis) for axis in here])
        return W[:, :, ::-1, ::-1] if self.flipped and layer.kind == "deconv" else W
