"""Equinox: ``eqx.nn.SpectralNorm``, which takes and returns its state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax

from .in_jax import Pure


class Equinox(Pure):
    """``equinox.nn.SpectralNorm``."""

    name, version = "equinox.nn.SpectralNorm", eqx.__version__
    axes, flipped = {"deconv": "oihw"}, True
    grad = staticmethod(eqx.filter_grad)

    def build(self, layer: Any, W: jax.Array) -> Any:
        """Make a module, put the weight in, and wrap it."""
        (a, b, *k), key = W.shape, jax.random.key(0)
        module = {
            "dense": lambda: eqx.nn.Linear(b, a, use_bias=False, key=key),
            "conv": lambda: eqx.nn.Conv2d(b, a, k, padding=1, use_bias=False, key=key),
            "deconv": lambda: eqx.nn.ConvTranspose2d(b, a, k, use_bias=False, key=key),
            "embedding": lambda: eqx.nn.Embedding(a, b, key=key),
        }[layer.kind]()
        module = eqx.tree_at(lambda m: m.weight, module, W)
        wrapped, layer.stats = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(
            module, "weight", num_power_iterations=layer.rounds, key=key
        )
        return wrapped

    def call(self, layer: Any, module: Any, train: bool) -> jax.Array:
        """Call the module for all inputs with one state."""
        over = jax.vmap(lambda x, s: module(x, s, inference=not train), (0, None), (0, None))
        y, layer.stats = over(layer.x, layer.stats)
        return y

    def weight(self, module: Any) -> jax.Array:
        """Return the weight of the wrapped module."""
        return module.layer.weight

    def assign(self, layer: Any, W: jax.Array) -> None:
        """Replace the weight."""
        layer.module = eqx.tree_at(self.weight, layer.module, W)

    def vectors(self, layer: Any) -> Sequence[jax.Array]:
        """Return u and v."""
        return layer.stats.get(layer.module.uv_index)

    def start(self, layer: Any, vectors: Sequence[jax.Array]) -> None:
        """Replace u and v."""
        layer.stats = layer.stats.set(layer.module.uv_index, tuple(vectors))

    def load(self, layer: Any, other: Any) -> None:
        """Write the leaves of the other layer as bytes, and read them."""
        file = io.BytesIO()
        eqx.tree_serialise_leaves(file, (other.module, other.stats))
        file.seek(0)
        like = (layer.module, layer.stats)
        layer.module, layer.stats = eqx.tree_deserialise_leaves(file, like)
