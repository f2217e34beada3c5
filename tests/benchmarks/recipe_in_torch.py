"""The recipe of a preset in PyTorch: what :class:`minisn.bench_torch.TorchTrainer` leaves out.

The scale of D's weights, flips, augmentation, decay and samples of the running average are those of
:class:`minisn.training.Trainer`, and so are the first weights after :func:`take_weights`. Random
numbers are PyTorch's own.
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from minisn.augment import HOLE, SHIFT, kinds_of
from minisn.bench_torch import TorchTrainer
from minisn.config import Config
from minisn.nn import Module


class Times(nn.Module):
    """A weight times a fixed factor."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Multiply the weight that the parametrization before returned."""
        return self.factor * weight


class Recipe(TorchTrainer):
    """A trainer with all of a preset's settings."""

    def __init__(self, config: Config, images: np.ndarray, threads: int):
        super().__init__(config, images, threads)
        kinds = [KINDS[kind] for kind in kinds_of(config.augment)]
        self.D.register_forward_pre_hook(lambda _, given: (changed(given[0], kinds),))
        for layer in self.D.modules():
            if config.scale != 1.0 and is_parametrized(layer):
                register_parametrization(layer, "weight", Times(config.scale))

    def update(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Make one step with the step sizes of its place in the decay."""
        config, share = self.config, 1.0
        if config.decay_after and config.decay_after < min(self.steps, config.steps):
            share = max(0.0, (config.steps - self.steps) / (config.steps - config.decay_after))
        for adam, rate in ((self.adam_d, config.rate_d), (self.adam_g, config.rate_g)):
            adam.param_groups[0]["lr"] = share * rate
        return super().update()

    def next_batch(self) -> torch.Tensor:
        """Take real images, half of them flipped if the recipe says so."""
        images = super().next_batch()
        if not self.config.flip:
            return images
        return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)

    def sample(self, z: np.ndarray) -> np.ndarray:
        """Draw images with the running average of G, or with G if there is none."""
        G = copy.deepcopy(self.G).eval()
        names = [k for k, value in G.state_dict().items() if value.is_floating_point()]
        if self.average:
            G.load_state_dict(dict(zip(names, self.average, strict=True)), strict=False)
        with torch.no_grad():
            return G(torch.tensor(z)).numpy()


def take_weights(theirs: nn.Module, ours: Module) -> None:
    """Give a network of PyTorch the weights of the same network here."""
    values = {same_name(k): p for k, p in ours.named_parameters().items()}
    found = {same_name(k): p for k, p in theirs.named_parameters()}
    assert {k: p.shape for k, p in values.items()} == {k: tuple(p.shape) for k, p in found.items()}
    with torch.no_grad():
        for name, p in found.items():
            p.copy_(torch.tensor(values[name].numpy()))


def same_name(name: str) -> str:
    """Return the name that a parameter has in either library."""
    parts = [part for part in name.split(".") if part not in ("layers", "parametrizations")]
    name = ".".join(parts).removesuffix(".original")
    return name.replace("gamma", "weight").replace("beta", "bias")


def changed(x: torch.Tensor, kinds: list) -> torch.Tensor:
    """Change each image at random, differentiably, as :func:`minisn.augment.augment` does."""
    for kind in kinds:
        x = kind(x)
    return x


def _uniform(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return low + (high - low) * torch.rand(len(x), 1, 1, 1)


def _color(x: torch.Tensor) -> torch.Tensor:
    x = x + _uniform(x, -0.5, 0.5)
    middle = x.mean(1, keepdim=True)
    x = middle + _uniform(x, 0.0, 2.0) * (x - middle)
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + _uniform(x, 0.5, 1.5) * (x - middle)


def _translation(x: torch.Tensor) -> torch.Tensor:
    n, size = len(x), x.shape[-1]
    most = round(SHIFT * size)
    padded = nn.functional.pad(x, [most] * 4)
    down, right = (torch.randint(2 * most + 1, (n, 1)) + torch.arange(size) for _ in "ij")
    # the indices beside a slice come first: [N, H, W, C]
    moved = padded[torch.arange(n)[:, None, None], :, down[:, :, None], right[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _cutout(x: torch.Tensor) -> torch.Tensor:
    n, size = len(x), x.shape[-1]
    side, place = round(HOLE * size), torch.arange(size)
    first = torch.randint(size + 1, (2, n, 1)) - side // 2
    down, right = (place >= first) & (place < first + side)
    return x * ~(down[:, None, :, None] & right[:, None, None, :])


KINDS = {"color": _color, "translation": _translation, "cutout": _cutout}
