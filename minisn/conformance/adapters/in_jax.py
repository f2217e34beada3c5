"""Code that the adapters of JAX libraries share: arrays, and layers that are pure functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .base import Adapter, Value

jax.config.update("jax_enable_x64", True)  # else float64 is float32 without a word


class Jax(Adapter):
    """Layers whose tensors are arrays of JAX."""

    def tensor(self, a: np.ndarray, dtype: str) -> jax.Array:
        """Convert an array to one of JAX."""
        return jnp.asarray(a, dtype)


class Pure(Jax):
    """Layers that take and return their state, here ``layer.stats``; ``call`` replaces it.

    ``layer.module`` holds the parameters.
    """

    grad: Any = staticmethod(jax.grad)

    def derivative(self, layer: Any, value: Value, module: Any, again: bool) -> Any:
        """Differentiate; the state is returned too, because a traced one must not stay behind."""

        def with_state(module: Any) -> tuple[Any, Any]:
            result = value(module)
            return result, layer.stats

        found, layer.stats = self.grad(with_state, has_aux=True)(module)
        return self.weight(found)
