"""Flax: ``nn.SpectralNorm`` of linen and of nnx."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, serialization

from .in_jax import Functional, from_kernel, shown, spread_last, to_kernel, weight_of
from .shared import Adapter

WEIGHT = {"dense": "kernel", "conv": "kernel", "deconv": "kernel", "embedding": "embedding"}


class Linen(Functional):
    """``flax.linen.SpectralNorm``, which takes and returns its variables."""

    name, version = "flax.linen.SpectralNorm", flax.__version__

    def make(self, kind: str, W: np.ndarray, rounds: int = 1, dtype: str = "float32") -> Any:
        """Initialize a wrapped module, then put the weight in."""
        plain: dict[str, Any] = {"param_dtype": dtype, "name": "layer"}
        k = {"use_bias": False, "padding": 1, **plain}
        module = {
            "dense": lambda: nn.Dense(W.shape[0], use_bias=False, **plain),
            "conv": lambda: nn.Conv(5, (3, 3), **k),
            "deconv": lambda: nn.ConvTranspose(3, (4, 4), **(k | {"padding": "VALID"})),
            "embedding": lambda: nn.Embed(8, 5, **plain),
        }[kind]()
        wrapped = nn.SpectralNorm(module, n_steps=rounds, param_dtype=dtype)
        x = shown(kind, W.shape[1], dtype)
        first = wrapped.init(jax.random.key(0), x, update_stats=False)
        layer = SimpleNamespace(module=wrapped, x=x, made=(kind, rounds, dtype))
        layer.params, layer.stats = first["params"], first["batch_stats"]
        self.set_parameter(layer, W)
        return layer

    def call(self, layer: Any, params: Any, stats: Any, train: bool) -> Any:
        """Apply the module."""
        variables = {"params": params, "batch_stats": stats}
        y, after = layer.module.apply(
            variables, layer.x, update_stats=train, mutable=["batch_stats"]
        )
        return y, after["batch_stats"]

    def raw(self, params: Any) -> Any:
        """Return the only leaf."""
        return jax.tree.leaves(params)[0]

    def set_parameter(self, layer: Any, W: np.ndarray) -> None:
        """Replace the parameter."""
        kind, _, dtype = layer.made
        new = jnp.asarray(to_kernel(kind, W), dtype)
        layer.params = jax.tree.map(lambda _: new, layer.params)

    def state(self, layer: Any) -> list[np.ndarray]:
        """Return u and sigma."""
        return [np.asarray(a) for a in jax.tree.leaves(layer.stats)]

    def set_u(self, layer: Any, u: np.ndarray, v: np.ndarray) -> None:
        """Replace the vector that the layer keeps by u or v, whichever has its length."""
        fits = {len(x): x for x in (u, v)}
        layer.stats = jax.tree.map(
            lambda a: jnp.asarray(fits.get(a.size, a), a.dtype).reshape(a.shape), layer.stats
        )

    def reload(self, layer: Any) -> Any:
        """Write the variables as bytes and read them into another layer."""
        other = self.another(layer)
        saved = serialization.to_bytes((layer.params, layer.stats))
        other.params, other.stats = serialization.from_bytes((other.params, other.stats), saved)
        return other


class Nnx(Adapter):
    """``flax.nnx.SpectralNorm``, a module that holds its variables."""

    name, version = "flax.nnx.SpectralNorm", flax.__version__

    def make(self, kind: str, W: np.ndarray, rounds: int = 1, dtype: str = "float32") -> Any:
        """Wrap a module and put the weight in."""
        a, b = W.shape[:2]
        rngs: Any = nnx.Rngs(0)
        plain: dict[str, Any] = {"param_dtype": dtype, "rngs": rngs}
        module = {
            "dense": lambda: nnx.Linear(b, a, use_bias=False, **plain),
            "conv": lambda: nnx.Conv(b, a, (3, 3), padding=1, use_bias=False, **plain),
            "deconv": lambda: nnx.ConvTranspose(
                a, b, (4, 4), padding="VALID", use_bias=False, **plain
            ),
            "embedding": lambda: nnx.Embed(a, b, **plain),
        }[kind]()
        layer = nnx.SpectralNorm(module, n_steps=rounds, param_dtype=dtype, rngs=rngs)
        made = SimpleNamespace(module=layer, kind=kind, made=(kind, rounds, dtype))
        made.x = shown(kind, b, dtype)
        self.set_parameter(made, W)
        return made

    def _raw(self, layer: Any) -> Any:
        return getattr(layer.module.layer_instance, WEIGHT[layer.kind])

    def _objective(self, layer: Any, Gs: list[np.ndarray]) -> Any:
        gs = [jnp.asarray(spread_last(layer.kind, G), layer.made[2]) for G in Gs]
        return lambda module: sum(jnp.sum(module(layer.x, update_stats=True) * g) for g in gs)

    def forward(self, layer: Any, train: bool) -> np.ndarray:
        """Call the module."""
        y = layer.module(layer.x, update_stats=train)
        layer.seen = str(y.dtype)
        return weight_of(layer.kind, y.astype("float64"))

    def gradient(self, layer: Any, Gs: list[np.ndarray]) -> np.ndarray:
        """Call the module once for each G and differentiate the sum."""
        found = nnx.grad(self._objective(layer, Gs))(layer.module)
        return from_kernel(layer.kind, jax.tree.leaves(found)[0])

    def parameter(self, layer: Any) -> np.ndarray:
        """Return the parameter."""
        return from_kernel(layer.kind, self._raw(layer)[...])

    def set_parameter(self, layer: Any, W: np.ndarray) -> None:
        """Write the parameter."""
        self._raw(layer)[...] = jnp.asarray(to_kernel(layer.kind, W), layer.made[2])

    def state(self, layer: Any) -> list[np.ndarray]:
        """Return u and sigma."""
        return [np.asarray(a[...]) for a in layer.module.batch_stats.values()]

    def set_u(self, layer: Any, u: np.ndarray, v: np.ndarray) -> None:
        """Replace the vector that the layer keeps by u or v, whichever has its length."""
        fits = {len(x): x for x in (u, v)}
        for kept in layer.module.batch_stats.values():
            if kept[...].size in fits:
                kept[...] = jnp.asarray(fits[kept[...].size], kept[...].dtype)[None]

    def reload(self, layer: Any) -> Any:
        """Copy the pure state into another module."""
        other = self.another(layer)
        nnx.update(other.module, nnx.state(layer.module))
        return other
