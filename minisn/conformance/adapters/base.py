"""What every adapter shares: layouts, the basis, and questions put together from a few answers."""

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
"""How weights lie here: output, input, row and column; labels are an embedding's outputs."""


class Adapter:
    """Puts the suite's questions to a library's layers.

    A library's own adapter says how weights and images lie there, and defines ``build``, ``call``,
    and what else it can of the methods that raise ``NotImplementedError`` here: what it leaves out
    is not asked. ``minisn/conformance/adapters/in_torch.py`` is the one to follow.

    A layer is a namespace with ``kind``, ``rounds``, ``dtype``, the basis ``x`` as the library
    takes it, and the ``module`` that was built; after a pass also ``seen``, the outputs' type.
    """

    name, version = "", ""
    definition, scale = "SN", 1.0
    precisions: tuple[str, ...] = ("float16", "bfloat16", "float64")

    axes: Mapping[str, str] = {}
    """The axes of weights that lie otherwise than in :data:`AXES`."""
    flipped = False
    """Whether a transposed convolution keeps its kernel turned by half a turn."""
    channels_last = False
    """Whether images have their channels after rows and columns."""

    # -- what a library's adapter defines ----------------------------------------------------------

    def build(self, layer: Any, W: Any) -> Any:
        """Return the module without bias that normalizes W, given as the library's tensor."""
        raise NotImplementedError("the adapter has no build")

    def call(self, layer: Any, module: Any, train: bool) -> Any:
        """Make a pass of ``layer.x`` through a module; return the outputs."""
        raise NotImplementedError("the adapter has no call")

    def tensor(self, a: np.ndarray, dtype: str) -> Any:
        """Return an array as the library's tensor of a type."""
        return np.asarray(a, dtype)

    def array(self, t: Any) -> np.ndarray:
        """Return the library's tensor as an array in double precision."""
        return np.asarray(t, np.float64)

    def begin(self, layer: Any) -> None:
        """Begin a training step; most libraries iterate at each pass instead."""

    def weight(self, module: Any) -> Any:
        """Return the raw weight of a module."""
        raise NotImplementedError("the adapter has no weight")

    def assign(self, layer: Any, W: Any) -> None:
        """Put another raw weight, the library's tensor, in its place."""
        raise NotImplementedError("the adapter has no assign")

    def derivative(self, layer: Any, value: Value, module: Any, again: bool) -> Any:
        """Return the derivative of value(module) with respect to the raw weight.

        Args:
            layer, value, module: whose value.
            again: whether the derivative will be differentiated itself.
        """
        raise NotImplementedError("the adapter has no derivative")

    def vectors(self, layer: Any) -> Sequence[Any]:
        """Return the tensors that power iteration keeps."""
        raise NotImplementedError("the adapter has no vectors")

    def start(self, layer: Any, vectors: Sequence[Any]) -> None:
        """Put others in the places of those that :meth:`vectors` returns."""
        raise NotImplementedError("the adapter has no start")

    def load(self, layer: Any, other: Any) -> None:
        """Load into a layer what is saved of another."""
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
        """Make the passes of one step, one for each G, then go back through all."""
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
        """Put another weight in its place."""
        self.assign(layer, self._theirs(layer, W))

    def state(self, layer: Any) -> list[np.ndarray]:
        """Return what power iteration keeps."""
        return [self.array(t) for t in self.vectors(layer)]

    def set_u(self, layer: Any, u: np.ndarray, v: np.ndarray) -> None:
        """Start from u and v, each in the place of what is kept and has its length."""
        kept, fits = self.state(layer), {len(x): x for x in (u, v)}
        if not any(a.size in fits for a in kept):
            raise NotImplementedError("nothing that is kept has the length of u or of v")
        new = [fits.get(a.size, a).reshape(a.shape) for a in kept]
        self.start(layer, [self.tensor(a, layer.dtype) for a in new])

    def reload(self, layer: Any) -> Any:
        """Load what is saved of a layer into another, which was made with another weight."""
        W = np.ones_like(self.parameter(layer))
        other = self.make(layer.kind, W, layer.rounds, layer.dtype)
        self.load(other, layer)
        return other

    def dtype(self, layer: Any) -> str:
        """Name the type of the last outputs."""
        return layer.seen

    # -- layouts -----------------------------------------------------------------------------------

    def _turns(self, a: np.ndarray) -> bool:
        """Whether an array is of images that have their channels last there."""
        return self.channels_last and a.ndim == 4

    def _images(self, a: np.ndarray) -> np.ndarray:
        """Lay inputs or outputs out as the library does."""
        return np.ascontiguousarray(np.moveaxis(a, 1, -1) if self._turns(a) else a)

    def _value(self, layer: Any, Gs: Sequence[np.ndarray]) -> Value:
        """Return the function of a module whose derivative is asked for."""
        gs = [self.tensor(self._images(spread(layer.kind, G)), layer.dtype) for G in Gs]
        return lambda module: sum((self.call(layer, module, True) * g).sum() for g in gs)

    def _theirs(self, layer: Any, W: np.ndarray) -> Any:
        """Return a weight as the library's tensor, laid out as there."""
        if self.flipped and layer.kind == "deconv":
            W = W[:, :, ::-1, ::-1]
        here = AXES[layer.kind]
        W = W.transpose([here.index(axis) for axis in self.axes.get(layer.kind, here)])
        return self.tensor(np.ascontiguousarray(W), layer.dtype)

    def _ours(self, layer: Any, W: Any) -> np.ndarray:
        """Return the library's tensor as a weight, laid out as here."""
        here = AXES[layer.kind]
        there = self.axes.get(layer.kind, here)
        W = self.array(W).transpose([there.index(axis) for axis in here])
        return W[:, :, ::-1, ::-1] if self.flipped and layer.kind == "deconv" else W
