"""Equinox: ``eqx.nn.SpectralNorm``, whose state goes in and comes out."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..probes import inputs, read_off, spread
from . import in_jax


class Equinox:
    """``equinox.nn.SpectralNorm``; layer and state are held here."""

    name, version = "equinox.nn.SpectralNorm", eqx.__version__
    precisions = ("float16", "bfloat16", "float64")

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
        layer, state = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(
            module, "weight", num_power_iterations=rounds, key=key
        )
        x = inputs(kind, b)
        x = x if kind == "embedding" else jnp.asarray(x, dtype)
        return SimpleNamespace(
            module=layer, stats=state, kind=kind, x=x, made=(kind, rounds, dtype)
        )

    @staticmethod
    def _call(layer: Any, module: Any, stats: Any, train: bool) -> Any:
        over = jax.vmap(lambda x, s: module(x, s, inference=not train), (0, None), (0, None))
        return over(layer.x, stats)

    def _objective(self, layer: Any, Gs: list[np.ndarray]) -> Any:
        gs = [jnp.asarray(spread(layer.kind, G), layer.made[2]) for G in Gs]

        def value(module: Any) -> Any:
            stats, total = layer.stats, 0.0
            for g in gs:
                y, stats = self._call(layer, module, stats, True)
                total = total + jnp.sum(y * g)
            return total, stats

        return value

    def forward(self, layer: Any, train: bool) -> np.ndarray:
        """Call the layer; keep the new state."""
        y, layer.stats = self._call(layer, layer.module, layer.stats, train)
        layer.seen = str(y.dtype)
        return read_off(layer.kind, np.asarray(y, np.float64))

    def gradient(self, layer: Any, Gs: list[np.ndarray]) -> np.ndarray:
        """Call the layer once for each G and differentiate the sum."""
        g, layer.stats = eqx.filter_grad(self._objective(layer, Gs), has_aux=True)(layer.module)
        return _turned(layer.kind, np.asarray(g.layer.weight))

    def second(self, layer: Any, G: np.ndarray, H: np.ndarray) -> np.ndarray:
        """Differentiate a gradient."""
        f, h = self._objective(layer, [G]), jnp.asarray(_turned(layer.kind, H), layer.made[2])
        inner = eqx.filter_grad(lambda m: f(m)[0])
        g = eqx.filter_grad(lambda m: jnp.sum(inner(m).layer.weight * h))(layer.module)
        return _turned(layer.kind, np.asarray(g.layer.weight))

    def parameter(self, layer: Any) -> np.ndarray:
        """Return the weight."""
        return _turned(layer.kind, np.asarray(layer.module.layer.weight))

    def set_parameter(self, layer: Any, W: np.ndarray) -> None:
        """Replace the weight."""
        weight = jnp.asarray(_turned(layer.kind, W), layer.made[2])
        layer.module = eqx.tree_at(lambda m: m.layer.weight, layer.module, weight)

    def state(self, layer: Any) -> list[np.ndarray]:
        """Return u and v."""
        return [np.asarray(a) for a in layer.stats.get(layer.module.uv_index)]

    def set_u(self, layer: Any, u: np.ndarray, v: np.ndarray) -> None:
        """Replace u and v."""
        pair = (jnp.asarray(u, layer.made[2]), jnp.asarray(v, layer.made[2]))
        layer.stats = layer.stats.set(layer.module.uv_index, pair)

    def reload(self, layer: Any) -> Any:
        """Write the leaves as bytes and read them into a layer with another weight."""
        kind, rounds, dtype = layer.made
        other = self.make(kind, np.ones(self.parameter(layer).shape), rounds, dtype)
        file = io.BytesIO()
        eqx.tree_serialise_leaves(file, (layer.module, layer.stats))
        file.seek(0)
        like = (other.module, other.stats)
        other.module, other.stats = eqx.tree_deserialise_leaves(file, like)
        return other

    def dtype(self, layer: Any) -> str:
        """Name the type of the last outputs."""
        return layer.seen


def _turned(kind: str, W: np.ndarray) -> np.ndarray:
    """Give a transposed convolution's weight Equinox's layout, or take it back."""
    return W.swapaxes(0, 1)[:, :, ::-1, ::-1] if kind == "deconv" else W


assert in_jax  # which switches float64 on
