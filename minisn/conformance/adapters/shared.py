"""The base class of the adapters that ship with minisn."""

from __future__ import annotations

from typing import Any

import numpy as np


class Adapter:
    """An adapter whose layers have ``made``, (kind, rounds, type), and ``seen``.

    ``seen`` is the type of the last outputs.
    """

    precisions: tuple[str, ...] = ("float16", "bfloat16", "float64")

    def make(self, kind: str, W: np.ndarray, rounds: int = 1, dtype: str = "float32") -> Any:
        """Make a layer with a weight."""
        raise NotImplementedError

    def parameter(self, layer: Any) -> np.ndarray:
        """Return the raw weight."""
        raise NotImplementedError

    def another(self, layer: Any) -> Any:
        """Make a layer of the same form with another weight, to load saved state into."""
        kind, rounds, dtype = layer.made
        return self.make(kind, np.ones(self.parameter(layer).shape), rounds, dtype)

    def dtype(self, layer: Any) -> str:
        """Name the type of the last outputs."""
        return layer.seen
