"""PyTorch: its parametrization, its older hook, and any function of your own of that form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, remove_spectral_norm, spectral_norm

from .base import Adapter, Value


class Torch(Adapter):
    """Modules whose weight a function normalizes.

    The raw weight must be the only parameter; the buffers are the state.

    Args:
        wrap: the function, from a module and the rounds in each pass to the normalized module.
        unwrap: removes the normalization; None if it cannot be removed.
        name: name of the adapter.
    """

    version = torch.__version__

    def __init__(
        self,
        wrap: Callable[[nn.Module, int], nn.Module],
        unwrap: Callable[[nn.Module], Any] | None = None,
        name: str = "torch",
    ):
        self.wrap, self.unwrap, self.name = wrap, unwrap, name

    def build(self, layer: Any, W: torch.Tensor) -> nn.Module:
        """Put the weight into a module and wrap it."""
        a, b, *k = W.shape
        module = {
            "dense": lambda: nn.Linear(b, a, bias=False),
            "conv": lambda: nn.Conv2d(b, a, k[0], padding=1, bias=False),
            "deconv": lambda: nn.ConvTranspose2d(a, b, k[0], bias=False),
            "embedding": lambda: nn.Embedding(a, b),
        }[layer.kind]()
        module.weight = nn.Parameter(W)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.wrap(module, layer.rounds)

    def call(self, layer: Any, module: nn.Module, train: bool) -> torch.Tensor:
        """Call the module in training or evaluation mode."""
        return module.train(train)(layer.x)

    def tensor(self, a: np.ndarray, dtype: str) -> torch.Tensor:
        """Copy an array into a tensor."""
        return torch.tensor(a, dtype=getattr(torch, dtype))

    def array(self, t: torch.Tensor) -> np.ndarray:
        """Return the values without their graph."""
        return t.detach().double().numpy()

    def weight(self, module: nn.Module) -> torch.Tensor:
        """Return the only parameter."""
        if len(found := list(module.parameters())) != 1:
            raise NotImplementedError(
                f"the module has {len(found)} parameters, expected the raw weight alone"
            )
        return found[0]

    def assign(self, layer: Any, W: torch.Tensor) -> None:
        """Write the only parameter."""
        with torch.no_grad():
            self.weight(layer.module).copy_(W)

    def derivative(self, layer: Any, value: Value, module: nn.Module, again: bool) -> torch.Tensor:
        """Differentiate, and record that if it is differentiated again."""
        return torch.autograd.grad(value(module), self.weight(module), create_graph=again)[0]

    def vectors(self, layer: Any) -> list[torch.Tensor]:
        """Return the buffers."""
        return list(layer.module.buffers())

    def start(self, layer: Any, vectors: Sequence[torch.Tensor]) -> None:
        """Write the buffers."""
        for buffer, vector in zip(layer.module.buffers(), vectors, strict=True):
            buffer.copy_(vector)

    def load(self, layer: Any, other: Any) -> None:
        """Load the state dict."""
        layer.module.load_state_dict(other.module.state_dict())

    def read(self, layer: Any) -> np.ndarray:
        """Read ``weight`` in training mode."""
        if (weight := getattr(layer.module.train(), "weight", None)) is None:
            raise NotImplementedError("the module has no weight to read")
        return self.array(weight)

    def remove(self, layer: Any) -> np.ndarray:
        """Remove the normalization, and return the weight that stays."""
        if self.unwrap is None:
            raise NotImplementedError("the normalization cannot be removed")
        self.unwrap(layer.module)
        return self.read(layer)


def parametrized() -> Torch:
    """Ask PyTorch's parametrization."""
    return Torch(
        lambda module, n: parametrizations.spectral_norm(module, "weight", n),
        lambda module: parametrize.remove_parametrizations(module, "weight"),
        "torch.nn.utils.parametrizations.spectral_norm",
    )


def hooked() -> Torch:
    """Ask PyTorch's older form, a hook before every forward pass."""
    return Torch(
        lambda module, n: spectral_norm(module, "weight", n),
        lambda module: remove_spectral_norm(module, "weight"),
        "torch.nn.utils.spectral_norm",
    )
