"""Equinox: ``eqx.nn.SpectralNorm``, which takes and returns its state."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..probes import inputs, read_off, spread
from .in_jax import Functional


def _turned(kind: str, W: np.ndarray) -> np.ndarray:
    """Convert a transposed convolution's weight to Equinox's layout, or back."""
    return W.swapaxes(0, 1)[:, :, ::-1, ::-1] if kind == "deconv" else W


class Equinox(Functional):
    """``equinox.nn.SpectralNorm``: its params are the module."""

    name, version = "equinox.nn.SpectralNorm", eqx.__version__
    derivative = staticmethod(eqx.filter_grad)
    to, back = staticmethod(_turned), staticmethod(_turned)
    applied, spread = staticmethod(read_off), staticmethod(spread)

    def make(self, kind: str, W: np.ndarray, rounds: int = 1, dtype: str = "float32") -> Any:
        """Make a layer, put the weight in, and wrap it."""
        (a, b, *k), key = W.shape, jax.random.key(0)
        plain: dict[str, Any] = {"use_bias": False, "dtype": dtype, "key": key}
        module = {
            "dense": lambda: eqx.nn.Linear(b, a, **plain),
            "conv": lambda: eqx.nn.Conv2d(b, a, k[0], padding=1, **plain),
            "deconv": lambda: eqx.nn.ConvTranspose2d(a, b, k[0], **plain),
            "embedding": lambda: eqx.nn.Embedding(a, b, dtype=dtype, key=key),
        }[kind]()
        weight = jnp.asarray(_turned(kind, W), dtype)
        module = eqx.tree_at(lambda m: m.weight, module, weight)
        params, stats = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(
            module, "weight", num_power_iterations=rounds, key=key
        )
        x = inputs(kind, b)
        x = x if kind == "embedding" else jnp.asarray(x, dtype)
        return SimpleNamespace(params=params, stats=stats, x=x, made=(kind, rounds, dtype))

    def call(self, layer: Any, params: Any, stats: Any, train: bool) -> Any:
        """Call the module for all inputs with one state."""
        over = jax.vmap(lambda x, s: params(x, s, inference=not train), (0, None), (0, None))
        return over(layer.x, stats)

    def raw(self, params: Any) -> Any:
        """Return the weight."""
        return params.layer.weight

    def set_parameter(self, layer: Any, W: np.ndarray) -> None:
        """Replace the weight."""
        kind, _, dtype = layer.made
        weight = jnp.asarray(_turned(kind, W), dtype)
        layer.params = eqx.tree_at(self.raw, layer.params, weight)

    def state(self, layer: Any) -> list[np.ndarray]:
        """Return u and v."""
        return [np.asarray(a) for a in layer.stats.get(layer.params.uv_index)]

    def set_u(self, layer: Any, u: np.ndarray, v: np.ndarray) -> None:
        """Replace u and v."""
        pair = (jnp.asarray(u, layer.made[2]), jnp.asarray(v, layer.made[2]))
        layer.stats = layer.stats.set(layer.params.uv_index, pair)

    def reload(self, layer: Any) -> Any:
        """Write the leaves as bytes and read them into another layer."""
        other, file = self.another(layer), io.BytesIO()
        eqx.tree_serialise_leaves(file, (layer.params, layer.stats))
        file.seek(0)
        like = (other.params, other.stats)
        other.params, other.stats = eqx.tree_deserialise_leaves(file, like)
        return other
