"""The same SNGANs in PyTorch: the yardstick of ``minisn bench`` and an oracle for tests.

The library does not use this module, which imports PyTorch.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from . import nn as ours
from .config import Config
from .errors import ConfigError
from .models import resnet
from .training import bare_networks


def networks(config: Config, channels: int) -> tuple[nn.Module, nn.Module]:
    """Build G and D of a configuration without labels, with PyTorch's own spectral norm.

    Source: [M18 Table 3], [M18 Table 4], [M18 Table 5]
    """
    G, D = map(translated, bare_networks(config, channels))
    if config.regularizer == "sn":
        for layer in list(D.modules()):
            if isinstance(layer, nn.Linear | nn.Conv2d):
                spectral_norm(layer)
    return G, D


def translated(module: ours.Module) -> nn.Module:
    """Build PyTorch's module of the same kind and sizes; PyTorch draws its weights.

    Raises:
        ConfigError: this function has no translation of the module.
    """
    bias = getattr(module, "bias", None) is not None
    match module:
        case ours.Linear(shape=(d_out, d_in)):
            return nn.Linear(d_in, d_out, bias)
        case ours.Conv2d(shape=(d_out, d_in, kernel, _), stride=stride, padding=padding):
            return nn.Conv2d(d_in, d_out, kernel, stride, padding, bias=bias)
        case ours.ConvTranspose2d(shape=(d_in, d_out, kernel, _), stride=stride, padding=padding):
            extra = module.output_padding
            return nn.ConvTranspose2d(d_in, d_out, kernel, stride, padding, extra, bias=bias)
        case ours.BatchNorm():
            return nn.BatchNorm2d(module.beta.size)
        case ours.LeakyReLU():
            return nn.LeakyReLU(module.slope, inplace=True)
        case ours.ReLU():
            return nn.ReLU(inplace=True)
        case ours.Tanh():
            return nn.Tanh()
        case ours.Reshape(shape=shape):
            return nn.Flatten() if shape == (-1,) else nn.Unflatten(1, shape)
        case ours.Sequential():
            return nn.Sequential(*map(translated, module.layers))
        case resnet.UpBlock():
            return UpBlock(module)
        case resnet.DownBlock():
            return DownBlock(module)
        case resnet.SumPool():
            return SumPool()
    raise ConfigError(f"there is no PyTorch counterpart of {type(module).__name__} here")


class UpBlock(nn.Module):
    """A residual block of G, which doubles the image size.

    Source: [M18 Figure 8]
    """

    def __init__(self, block: resnet.UpBlock):
        super().__init__()
        self.n1, self.n2 = translated(block.n1), translated(block.n2)
        self.c1, self.c2, self.c0 = map(translated, (block.c1, block.c2, block.c0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to images [N, d_in, H, W]."""
        h = self.c1(F.interpolate(F.relu_(self.n1(x)), scale_factor=2))
        h = self.c2(F.relu_(self.n2(h)))
        return h.add_(F.interpolate(self.c0(x), scale_factor=2))


class DownBlock(nn.Module):
    """A residual block of D, which halves the image size or keeps it.

    Source: [M18 Figure 8]
    """

    def __init__(self, block: resnet.DownBlock):
        super().__init__()
        self.down, self.first = block.down, block.first
        residual = [translated(part) for part in block.residual]
        if not self.first:
            residual[0] = nn.ReLU()  # not in place, because the shortcut reads x too
        self.residual, self.shortcut = nn.Sequential(*residual), translated(block.shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to images [N, d_in, H, W]."""
        if self.first:
            return F.avg_pool2d(self.residual(x), 2).add_(self.shortcut(F.avg_pool2d(x, 2)))
        y = self.residual(x).add_(self.shortcut(x))
        return F.avg_pool2d(y, 2) if self.down else y


class SumPool(nn.Module):
    """The sum of every channel over the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to images."""
        return x.sum((2, 3))


def _hinge(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


LOSSES_OF_D = {"hinge": _hinge, "wasserstein": lambda real, fake: fake.mean() - real.mean()}


class TorchTrainer:
    """Training in eager mode, with the same steps as :class:`minisn.training.Trainer`.

    D sees data and samples in one batch, and moves u and v once for each of its updates. G's step
    computes no gradient of D's weights.

    Args:
        config: the sizes and step sizes.
        images: float32 in [-1, 1], [N, C, size, size].
        threads: the number of PyTorch's threads.
    """

    def __init__(self, config: Config, images: np.ndarray, threads: int):
        torch.set_num_threads(threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.G, self.D = networks(config, images.shape[1])
        betas = (config.beta1, config.beta2)
        self.adam_d = torch.optim.Adam(self.D.parameters(), config.rate_d, betas)
        self.adam_g = torch.optim.Adam(self.G.parameters(), config.rate_g, betas)
        self.images = torch.tensor(images)
        moving = self.G.state_dict().values()
        self.moving = [value for value in moving if value.is_floating_point()]
        self.average = [value.clone() for value in self.moving if config.average]
        self.steps = 0

    def update(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Make one step: n_dis updates of D, then one of G; return the losses."""
        for _ in range(self.config.n_dis):
            real = self.next_batch()
            with torch.no_grad():
                fake = self.G(self.latent())
            loss_d = self.loss_d(real, fake)
            self.adam_d.zero_grad()
            loss_d.backward()
            self.adam_d.step()
        self.D.requires_grad_(False).eval()
        loss_g = -self.D(self.G(self.latent())).mean()
        self.adam_g.zero_grad()
        loss_g.backward()
        self.adam_g.step()
        self.D.requires_grad_(True).train()
        if self.average:
            decay = min(self.config.average, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self.average, self.moving, 1 - decay)
        self.steps += 1
        return loss_d.detach(), loss_g.detach()

    def next_batch(self) -> torch.Tensor:
        """Take real images."""
        return self.images[torch.randint(len(self.images), (self.config.batch_size,))]

    def latent(self) -> torch.Tensor:
        """Draw latent vectors."""
        return torch.randn(self.config.batch_size, self.config.latent)

    def loss_d(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Compute the loss of D, with its gradient penalty if there is one."""
        scores = self.D(torch.cat([real, fake]))
        loss = LOSSES_OF_D[self.config.objective](scores[: len(real)], scores[len(real) :])
        if not self.config.gradient_penalty:
            return loss
        mixed = torch.lerp(fake, real, self.epsilon()).requires_grad_()
        (slope,) = torch.autograd.grad(self.D(mixed).sum(), mixed, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return loss + self.config.gradient_penalty * penalty

    def epsilon(self) -> torch.Tensor:
        """Draw the places between data and samples where the penalty applies."""
        return torch.rand(self.config.batch_size, 1, 1, 1)
