"""PyTorch: its parametrization, its older hook, and your own function of the same form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.spectral_norm import remove_spectral_norm, spectral_norm

from ..probes import inputs, read_off, spread
from .shared import Adapter

Wrap = Callable[[nn.Module, int], nn.Module]
"""Maps a module with a ``weight``, and the rounds in each pass, to the normalized module."""


class Torch(Adapter):
    """Modules with a weight that a function normalizes.

    The raw weight must be the only parameter; buffers are the state.

    Args:
        wrap: the function, by default PyTorch's parametrization.
        remove: removes the normalization; None if it cannot be removed.
        name: name of the adapter.
    """

    version = torch.__version__

    def __init__(
        self,
        wrap: Wrap | None = None,
        remove: Callable[[nn.Module], Any] | None = None,
        name: str = "",
    ):
        self.wrap, self.baked, self.name = wrap, remove, name
        if wrap is None:
            self.name = name or "torch.nn.utils.parametrizations.spectral_norm"
            self.wrap = lambda m, n: parametrizations.spectral_norm(m, "weight", n)
            self.baked = lambda m: parametrize.remove_parametrizations(m, "weight")

    def make(self, kind: str, W: np.ndarray, rounds: int = 1, dtype: str = "float32") -> Any:
        """Make a module with a weight and wrap it."""
        (a, b, *k), d = W.shape, getattr(torch, dtype)
        module: Any = {
            "dense": lambda: nn.Linear(b, a, bias=False, dtype=d),
            "conv": lambda: nn.Conv2d(b, a, k[0], padding=1, bias=False, dtype=d),
            "deconv": lambda: nn.ConvTranspose2d(a, b, k[0], bias=False, dtype=d),
            "embedding": lambda: nn.Embedding(a, b, dtype=d),
        }[kind]()
        with torch.no_grad():
            module.weight.copy_(torch.tensor(W))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layer = self.wrap(module, rounds)  # type: ignore[misc]
        layer.made = (kind, rounds, dtype)
        return layer.train()

    def _output(self, layer: Any) -> Any:
        kind, _, dtype = layer.made
        x = torch.tensor(inputs(kind, self._raw(layer).shape[1]))
        return layer(x if kind == "embedding" else x.to(getattr(torch, dtype)))

    def _objective(self, layer: Any, Gs: list[np.ndarray]) -> Any:
        kind, _, dtype = layer.made
        gs = [torch.tensor(spread(kind, G).copy(), dtype=getattr(torch, dtype)) for G in Gs]
        return sum((self._output(layer) * g).sum() for g in gs)

    def _raw(self, layer: Any) -> Any:
        (raw,) = layer.parameters()
        return raw

    def forward(self, layer: Any, train: bool) -> np.ndarray:
        """Call the module in training or evaluation mode."""
        layer.train(train)
        with torch.no_grad():
            y = self._output(layer)
        layer.train()
        layer.seen = str(y.dtype).removeprefix("torch.")
        return read_off(layer.made[0], y.double().numpy())

    def gradient(self, layer: Any, Gs: list[np.ndarray]) -> np.ndarray:
        """Call the module once for each G, then go back through all calls."""
        return torch.autograd.grad(self._objective(layer, Gs), self._raw(layer))[0].numpy()

    def second(self, layer: Any, G: np.ndarray, H: np.ndarray) -> np.ndarray:
        """Differentiate a gradient."""
        raw = self._raw(layer)
        (g,) = torch.autograd.grad(self._objective(layer, [G]), raw, create_graph=True)
        return torch.autograd.grad((g * torch.tensor(H, dtype=g.dtype)).sum(), raw)[0].numpy()

    def parameter(self, layer: Any) -> np.ndarray:
        """Return the raw weight."""
        return self._raw(layer).detach().double().numpy().copy()

    def set_parameter(self, layer: Any, W: np.ndarray) -> None:
        """Write the raw weight."""
        with torch.no_grad():
            self._raw(layer).copy_(torch.tensor(W))

    def state(self, layer: Any) -> list[np.ndarray]:
        """Return the buffers."""
        return [b.double().numpy().copy() for b in layer.buffers()]

    def set_u(self, layer: Any, u: np.ndarray, v: np.ndarray) -> None:
        """Write u and v into the buffers of their lengths."""
        fitting = [(b, x) for b in layer.buffers() for x in (u, v) if b.numel() == len(x)]
        if not fitting:
            raise NotImplementedError("no buffer has the length of u or of v")
        for buffer, x in fitting:
            buffer.copy_(torch.tensor(x).reshape(buffer.shape))

    def read(self, layer: Any) -> np.ndarray:
        """Read ``weight`` in training mode."""
        return layer.weight.detach().double().numpy().copy()

    def reload(self, layer: Any) -> Any:
        """Load the state dict into another module."""
        other = self.another(layer)
        other.load_state_dict({k: a.clone() for k, a in layer.state_dict().items()})
        return other

    def remove(self, layer: Any) -> np.ndarray:
        """Remove the normalization, and return the weight that stays."""
        if self.baked is None:
            raise NotImplementedError("the normalization cannot be removed")
        self.baked(layer)
        return self.read(layer)


class TorchHook(Torch):
    """PyTorch's older form, a hook before every forward pass."""

    def __init__(self) -> None:
        super().__init__(
            lambda m, n: spectral_norm(m, "weight", n),
            lambda m: remove_spectral_norm(m, "weight"),
            "torch.nn.utils.spectral_norm",
        )
