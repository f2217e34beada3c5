"""Code that the adapters of JAX libraries share: layouts, types, and a pure function of W."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..probes import inputs, read_off, spread
from .shared import Adapter

jax.config.update("jax_enable_x64", True)  # otherwise float64 silently becomes float32


def images_last(kind: str, x: Any) -> Any:
    """Move channels behind rows and columns, where there are any."""
    return x if kind in ("dense", "embedding") else np.moveaxis(x, 1, -1)


def images_first(kind: str, y: Any) -> Any:
    """Move channels before rows and columns, where there are any."""
    return y if kind in ("dense", "embedding") else np.moveaxis(y, -1, 1)


def to_kernel(kind: str, W: np.ndarray) -> np.ndarray:
    """Return a weight as Flax's kernel: output channels last, a transposed kernel flipped."""
    if kind == "dense":
        return W.T
    if kind == "conv":
        return W.transpose(2, 3, 1, 0)
    return W[:, :, ::-1, ::-1].transpose(2, 3, 0, 1) if kind == "deconv" else W


def from_kernel(kind: str, K: Any) -> np.ndarray:
    """Return Flax's kernel as a weight: the inverse of :func:`to_kernel`."""
    K = np.asarray(K)
    if kind == "dense":
        return K.T
    if kind == "conv":
        return K.transpose(3, 2, 0, 1)
    return K.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1] if kind == "deconv" else K


def shown(kind: str, width: int, dtype: str) -> Any:
    """Return the inputs, channels last."""
    x = images_last(kind, inputs(kind, width))
    return x if kind == "embedding" else jnp.asarray(x, dtype)


def weight_of(kind: str, y: Any) -> np.ndarray:
    """Return the applied weight from outputs, channels last."""
    return read_off(kind, images_first(kind, np.asarray(y)))


def spread_last(kind: str, G: np.ndarray) -> np.ndarray:
    """Spread a gradient over outputs, channels last."""
    return images_last(kind, spread(kind, G))


class Functional(Adapter):
    """A layer that takes and returns its weight and state, here ``params`` and ``stats``.

    The adapter of a library defines how to make and call the layer, and the layout of its weight.
    """

    derivative: Any = staticmethod(jax.grad)
    to: Any = staticmethod(to_kernel)
    back: Any = staticmethod(from_kernel)
    applied: Any = staticmethod(weight_of)
    spread: Any = staticmethod(spread_last)

    def call(self, layer: Any, params: Any, stats: Any, train: bool) -> tuple[Any, Any]:
        """Make a pass; return the outputs and the new state."""
        raise NotImplementedError

    def raw(self, params: Any) -> Any:
        """Return the weight among the parameters."""
        raise NotImplementedError

    def _objective(self, layer: Any, Gs: list[np.ndarray]) -> Any:
        kind, _, dtype = layer.made
        gs = [jnp.asarray(self.spread(kind, G), dtype) for G in Gs]

        def value(params: Any) -> Any:
            stats, total = layer.stats, 0.0
            for g in gs:
                y, stats = self.call(layer, params, stats, True)
                total = total + jnp.sum(y * g)
            return total, stats

        return value

    def forward(self, layer: Any, train: bool) -> np.ndarray:
        """Make a pass, and keep the new state."""
        y, layer.stats = self.call(layer, layer.params, layer.stats, train)
        layer.seen = str(y.dtype)
        return self.applied(layer.made[0], np.asarray(y, np.float64))

    def gradient(self, layer: Any, Gs: list[np.ndarray]) -> np.ndarray:
        """Make a pass for each G and differentiate the sum."""
        g, layer.stats = self.derivative(self._objective(layer, Gs), has_aux=True)(layer.params)
        return self._weight(layer, g)

    def second(self, layer: Any, G: np.ndarray, H: np.ndarray) -> np.ndarray:
        """Differentiate a gradient."""
        kind, _, dtype = layer.made
        f, h = self._objective(layer, [G]), jnp.asarray(self.to(kind, H), dtype)
        inner = self.derivative(lambda p: f(p)[0])
        g = self.derivative(lambda p: jnp.sum(self.raw(inner(p)) * h))(layer.params)
        return self._weight(layer, g)

    def parameter(self, layer: Any) -> np.ndarray:
        """Return the weight."""
        return self._weight(layer, layer.params)

    def _weight(self, layer: Any, params: Any) -> np.ndarray:
        return self.back(layer.made[0], np.asarray(self.raw(params)))
