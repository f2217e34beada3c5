"""What the adapters that ship have in common: a layer remembers how it was made and what came."""

from __future__ import annotations

from typing import Any

import numpy as np


class Adapter:
    """A layer has ``made``: kind, rounds and type; and after a pass ``seen``, the outputs' type."""

    precisions: tuple[str, ...] = ("float16", "bfloat16", "float64")

    def make(self, kind: str, W: np.ndarray, rounds: int = 1, dtype: str = "float32") -> Any:
        """Make a layer with a weight."""
        raise NotImplementedError

    def parameter(self, layer: Any) -> np.ndarray:
        """Return the raw weight."""
        raise NotImplementedError

    def another(self, layer: Any) -> Any:
        """Make a layer like one, with another weight, to load what was saved of the first."""
        kind, rounds, dtype = layer.made
        return self.make(kind, np.ones(self.parameter(layer).shape), rounds, dtype)

    def dtype(self, layer: Any) -> str:
        """Name the type of the last outputs."""
        return layer.seen
