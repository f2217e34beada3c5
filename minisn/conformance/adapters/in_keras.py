"""Keras 3: ``SpectralNormalization``; its gradients need the PyTorch backend."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..probes import inputs, read_off, spread
from .shared import Adapter

if find_spec("torch"):
    os.environ.setdefault("KERAS_BACKEND", "torch")
elif find_spec("jax"):
    os.environ.setdefault("KERAS_BACKEND", "jax")
import keras


class Keras(Adapter):
    """``keras.layers.SpectralNormalization``."""

    name, version = "keras.layers.SpectralNormalization", keras.__version__

    def __init__(self) -> None:
        self.backend = keras.backend.backend()
        self.version = f"{keras.__version__} ({self.backend})"

    def make(self, kind: str, W: np.ndarray, rounds: int = 1, dtype: str = "float32") -> Any:
        """Wrap a layer, build it, and put the weight in."""
        a, b = W.shape[:2]
        plain: dict[str, Any] = {"use_bias": False, "dtype": dtype}
        image = plain | {"data_format": "channels_last"}
        layer = {
            "dense": lambda: keras.layers.Dense(a, **plain),
            "conv": lambda: keras.layers.Conv2D(a, 3, padding="same", **image),
            "deconv": lambda: keras.layers.Conv2DTranspose(b, 4, **image),
            "embedding": lambda: keras.layers.Embedding(a, b, dtype=dtype),
        }[kind]()
        layer = keras.layers.SpectralNormalization(layer, power_iterations=rounds, dtype=dtype)
        layer.made = (kind, rounds, dtype)
        x = inputs(kind, b)
        x = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
        layer.shown = x if kind == "embedding" else keras.ops.convert_to_tensor(x, dtype)
        layer(layer.shown)
        self.set_parameter(layer, W)
        return layer

    def forward(self, layer: Any, train: bool) -> np.ndarray:
        """Call the layer in training or evaluation mode."""
        y = layer(layer.shown, training=train)
        layer.seen = keras.backend.standardize_dtype(y.dtype)
        y = keras.ops.convert_to_numpy(keras.ops.cast(y, "float64"))
        return read_off(layer.made[0], np.moveaxis(y, -1, 1) if y.ndim == 4 else y)

    def gradient(self, layer: Any, Gs: list[np.ndarray]) -> np.ndarray:
        """Call the layer once for each G, then go back through all calls."""
        if self.backend != "torch":
            raise NotImplementedError("gradients need Keras's torch backend: KERAS_BACKEND=torch")
        from torch.autograd import grad

        kind, _, dtype = layer.made
        gs = [spread(kind, G) for G in Gs]
        gs = [np.moveaxis(g, 1, -1) if g.ndim == 4 else g for g in gs]
        total = sum(
            (layer(layer.shown, training=True) * keras.ops.convert_to_tensor(g.copy(), dtype)).sum()
            for g in gs
        )
        return _from(kind, grad(total, layer.kernel.value)[0].cpu().numpy())

    def parameter(self, layer: Any) -> np.ndarray:
        """Return the kernel, or the vectors of an embedding."""
        value = keras.ops.cast(layer.kernel.value, "float64")
        return _from(layer.made[0], keras.ops.convert_to_numpy(value).copy())

    def set_parameter(self, layer: Any, W: np.ndarray) -> None:
        """Assign the kernel."""
        layer.kernel.assign(_to(layer.made[0], W).copy())

    def state(self, layer: Any) -> list[np.ndarray]:
        """Return u."""
        return [keras.ops.convert_to_numpy(keras.ops.cast(layer.vector_u.value, "float64")).copy()]

    def set_u(self, layer: Any, u: np.ndarray, v: np.ndarray) -> None:
        """Assign u or v, whichever has the length of the vector that the layer keeps."""
        layer.vector_u.assign({len(x): x for x in (u, v)}[layer.vector_u.shape[1]][None])

    def reload(self, layer: Any) -> Any:
        """Copy the weights into another layer."""
        other = self.another(layer)
        other.set_weights([np.array(a) for a in layer.get_weights()])
        return other


def _to(kind: str, W: np.ndarray) -> np.ndarray:
    """Return a weight in Keras's layout."""
    if kind == "dense":
        return W.T
    if kind == "conv":
        return W.transpose(2, 3, 1, 0)
    return W.transpose(2, 3, 1, 0) if kind == "deconv" else W


def _from(kind: str, K: np.ndarray) -> np.ndarray:
    """Return a weight from Keras's layout."""
    if kind == "dense":
        return K.T
    return K.transpose(3, 2, 0, 1) if kind in ("conv", "deconv") else K
