"""Flax: ``nn.SpectralNorm`` of linen and of nnx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax
import flax.linen as nn
import jax
from flax import nnx, serialization

from .base import Value
from .in_jax import Jax, Pure

KERNELS = {"dense": "io", "conv": "hwio", "deconv": "hwio"}
"""The layouts of Flax's weights."""


class Linen(Pure):
    """``flax.linen.SpectralNorm``, which takes and returns its variables."""

    name, version = "flax.linen.SpectralNorm", flax.__version__
    axes, flipped, channels_last = KERNELS, True, True

    def build(self, layer: Any, W: jax.Array) -> Any:
        """Initialize a wrapped module, and return its parameters with the weight put in."""
        *k, wide, out = W.shape
        form: dict[str, Any] = {"param_dtype": W.dtype, "name": "layer"}
        plain = form | {"use_bias": False}
        module = {
            "dense": lambda: nn.Dense(out, **plain),
            "conv": lambda: nn.Conv(out, k, padding=1, **plain),
            "deconv": lambda: nn.ConvTranspose(out, k, padding="VALID", **plain),
            "embedding": lambda: nn.Embed(wide, out, **form),
        }[layer.kind]()
        layer.wrapped = nn.SpectralNorm(module, n_steps=layer.rounds, param_dtype=W.dtype)
        first = layer.wrapped.init(jax.random.key(0), layer.x, update_stats=False)
        layer.stats = first["batch_stats"]
        return jax.tree.map(lambda _: W, first["params"])

    def call(self, layer: Any, module: Any, train: bool) -> jax.Array:
        """Apply the module."""
        variables = {"params": module, "batch_stats": layer.stats}
        y, after = layer.wrapped.apply(
            variables, layer.x, update_stats=train, mutable=["batch_stats"]
        )
        layer.stats = after["batch_stats"]
        return y

    def weight(self, module: Any) -> jax.Array:
        """Return the only leaf."""
        (raw,) = jax.tree.leaves(module)
        return raw

    def assign(self, layer: Any, W: jax.Array) -> None:
        """Replace the only leaf."""
        layer.module = jax.tree.map(lambda _: W, layer.module)

    def vectors(self, layer: Any) -> Sequence[jax.Array]:
        """Return u and sigma."""
        return jax.tree.leaves(layer.stats)

    def start(self, layer: Any, vectors: Sequence[jax.Array]) -> None:
        """Replace u and sigma."""
        layer.stats = jax.tree.unflatten(jax.tree.structure(layer.stats), vectors)

    def load(self, layer: Any, other: Any) -> None:
        """Write the variables of the other layer as bytes, and read them."""
        saved = serialization.to_bytes((other.module, other.stats))
        like = (layer.module, layer.stats)
        layer.module, layer.stats = serialization.from_bytes(like, saved)


class Nnx(Jax):
    """``flax.nnx.SpectralNorm``, a module that holds its variables."""

    name, version = "flax.nnx.SpectralNorm", flax.__version__
    axes, flipped, channels_last = KERNELS, True, True

    def build(self, layer: Any, W: jax.Array) -> Any:
        """Wrap a module and put the weight in."""
        *k, wide, out = W.shape
        rngs = nnx.Rngs(0)
        form: dict[str, Any] = {"param_dtype": W.dtype, "rngs": rngs}
        plain = form | {"use_bias": False}
        module = {
            "dense": lambda: nnx.Linear(wide, out, **plain),
            "conv": lambda: nnx.Conv(wide, out, k, padding=1, **plain),
            "deconv": lambda: nnx.ConvTranspose(wide, out, k, padding="VALID", **plain),
            "embedding": lambda: nnx.Embed(wide, out, **form),
        }[layer.kind]()
        layer.module = nnx.SpectralNorm(module, n_steps=layer.rounds, **form)
        self.assign(layer, W)
        return layer.module

    def call(self, layer: Any, module: Any, train: bool) -> jax.Array:
        """Call the module."""
        return module(layer.x, update_stats=train)

    def weight(self, module: Any) -> Any:
        """Return the only parameter."""
        (raw,) = jax.tree.leaves(nnx.state(module, nnx.Param))
        return raw

    def assign(self, layer: Any, W: jax.Array) -> None:
        """Write the only parameter."""
        nnx.update(layer.module, jax.tree.map(lambda _: W, nnx.state(layer.module, nnx.Param)))

    def derivative(self, layer: Any, value: Value, module: Any, again: bool) -> Any:
        """Differentiate with respect to the parameters."""
        (found,) = jax.tree.leaves(nnx.grad(value)(module))
        return found

    def vectors(self, layer: Any) -> Sequence[Any]:
        """Return u and sigma."""
        return [kept[...] for kept in layer.module.batch_stats.values()]

    def start(self, layer: Any, vectors: Sequence[jax.Array]) -> None:
        """Replace u and sigma."""
        for kept, vector in zip(layer.module.batch_stats.values(), vectors, strict=True):
            kept[...] = vector

    def load(self, layer: Any, other: Any) -> None:
        """Copy the pure state."""
        nnx.update(layer.module, nnx.state(other.module))
