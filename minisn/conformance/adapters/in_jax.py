"""What the libraries on JAX share: its arrays, and layers that are pure functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .base import Adapter, Value

jax.config.update("jax_enable_x64", True)  # else float64 is float32 without a word


class Jax(Adapter):
    """Layers whose numbers are JAX's arrays."""

    def tensor(self, a: np.ndarray, dtype: str) -> jax.Array:
        """Return JAX's array."""
        return jnp.asarray(a, dtype)


class Pure(Jax):
    """Layers whose state goes in and comes out: it is ``layer.stats``, and each call moves it on.

    What is learned, the ``module`` of a layer here, is all that a derivative is taken of.
    """

    grad: Any = staticmethod(jax.grad)

    def derivative(self, layer: Any, value: Value, module: Any, again: bool) -> Any:
        """Differentiate; the state comes out beside the value, for inside it is being traced."""

        def with_state(module: Any) -> tuple[Any, Any]:
            result = value(module)
            return result, layer.stats

        found, layer.stats = self.grad(with_state, has_aux=True)(module)
        return self.weight(found)
