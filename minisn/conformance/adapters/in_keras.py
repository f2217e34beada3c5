"""Keras 3: ``SpectralNormalization``; its gradients need the PyTorch backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from .base import Adapter, Value

if find_spec("torch"):
    os.environ.setdefault("KERAS_BACKEND", "torch")
elif find_spec("jax"):
    os.environ.setdefault("KERAS_BACKEND", "jax")
import keras
from keras import layers, ops


class Keras(Adapter):
    """``keras.layers.SpectralNormalization``."""

    name = "keras.layers.SpectralNormalization"
    version = f"{keras.__version__} ({keras.backend.backend()})"
    axes, channels_last = {"dense": "io", "conv": "hwio", "deconv": "hwoi"}, True

    def build(self, layer: Any, W: Any) -> Any:
        """Wrap a layer, build it by a call, and put the weight in."""
        *k, a, b = W.shape
        form: dict[str, Any] = {"dtype": layer.dtype}
        plain = form | {"use_bias": False}
        image = plain | {"data_format": "channels_last"}
        inner = {
            "dense": lambda: layers.Dense(b, **plain),
            "conv": lambda: layers.Conv2D(b, k, padding="same", **image),
            "deconv": lambda: layers.Conv2DTranspose(a, k, **image),
            "embedding": lambda: layers.Embedding(a, b, **form),
        }[layer.kind]()
        layer.module = layers.SpectralNormalization(inner, power_iterations=layer.rounds, **form)
        layer.module(layer.x)
        self.assign(layer, W)
        return layer.module

    def call(self, layer: Any, module: Any, train: bool) -> Any:
        """Call the layer in training or evaluation mode."""
        return module(layer.x, training=train)

    def tensor(self, a: np.ndarray, dtype: str) -> Any:
        """Convert an array to a tensor of the backend."""
        return ops.convert_to_tensor(a, dtype)

    def array(self, t: Any) -> np.ndarray:
        """Convert a tensor of the backend to an array."""
        return ops.convert_to_numpy(ops.cast(t, "float64"))

    def weight(self, module: Any) -> Any:
        """Return the kernel, or the vectors of an embedding."""
        return module.kernel.value

    def assign(self, layer: Any, W: Any) -> None:
        """Assign the kernel."""
        layer.module.kernel.assign(W)

    def derivative(self, layer: Any, value: Value, module: Any, again: bool) -> Any:
        """Differentiate through PyTorch; record that if it is differentiated again."""
        if keras.backend.backend() != "torch":
            raise NotImplementedError("asked through Keras's torch backend: KERAS_BACKEND=torch")
        from torch.autograd import grad

        y, W = value(module), self.weight(module)
        if not y.requires_grad:  # PyTorch refuses to differentiate a constant
            return ops.zeros_like(W)
        return grad(y, W, create_graph=again, materialize_grads=True)[0]

    def vectors(self, layer: Any) -> Sequence[Any]:
        """Return u."""
        return [layer.module.vector_u.value]

    def start(self, layer: Any, vectors: Sequence[Any]) -> None:
        """Assign u."""
        layer.module.vector_u.assign(*vectors)

    def load(self, layer: Any, other: Any) -> None:
        """Copy the weights."""
        layer.module.set_weights(other.module.get_weights())
