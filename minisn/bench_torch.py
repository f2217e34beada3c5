"""The same SNGANs in PyTorch: the yardstick of ``minisn bench`` and an oracle for tests.

The library does not use this module, which imports PyTorch.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from .bench_jobs import Job, Layer, convolution_jobs, noise
from .config import Config
from .data import scale_images
from .models import TABLES
from .nn import ConvTranspose2d

Normalize = Callable[[nn.Module], nn.Module]


def generator(size: int, channels: int, width: int, latent: int) -> nn.Sequential:
    """Build Table 3's generator.

    Source: [M18 Table 3]
    """
    sizes = [size >> k for k in (3, 2, 1, 0)]
    layers: list[nn.Module] = [
        nn.Linear(latent, sizes[0] ** 2 * 8 * width, bias=False),
        nn.Unflatten(1, (8 * width, sizes[0], sizes[0])),
        nn.BatchNorm2d(8 * width),
        nn.ReLU(inplace=True),
    ]
    for k, factor in enumerate((4, 2, 1)):
        extra = sizes[k + 1] - 2 * sizes[k]
        layers += [
            nn.ConvTranspose2d(2 * factor * width, factor * width, 4, 2, 1, extra, bias=False),
            nn.BatchNorm2d(factor * width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, 1, 1), nn.Tanh())


def discriminator(size: int, channels: int, width: int, normalize: Normalize) -> nn.Sequential:
    """Build Table 3's discriminator, with PyTorch's own spectral norm on every layer.

    Source: [M18 Table 3]
    """
    layers: list[nn.Module] = []
    d_in = channels
    for step, factor in enumerate((1, 1, 2, 2, 4, 4, 8)):
        kernel, stride = (4, 2) if step % 2 else (3, 1)
        layers += [
            normalize(nn.Conv2d(d_in, factor * width, kernel, stride, 1)),
            nn.LeakyReLU(0.1, inplace=True),
        ]
        d_in = factor * width
    end = size >> 3
    return nn.Sequential(*layers, nn.Flatten(), normalize(nn.Linear(d_in * end * end, 1)))


class UpBlock(nn.Module):
    """A residual block of G, which doubles the image size.

    Source: [M18 Figure 8]
    """

    def __init__(self, d_in: int, d_out: int):
        super().__init__()
        self.n1, self.n2 = nn.BatchNorm2d(d_in), nn.BatchNorm2d(d_out)
        self.c1, self.c2 = nn.Conv2d(d_in, d_out, 3, 1, 1), nn.Conv2d(d_out, d_out, 3, 1, 1)
        self.c0 = nn.Conv2d(d_in, d_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to images [N, d_in, H, W]."""
        h = self.c1(F.interpolate(F.relu_(self.n1(x)), scale_factor=2))
        h = self.c2(F.relu_(self.n2(h)))
        return h.add_(F.interpolate(self.c0(x), scale_factor=2))


class DownBlock(nn.Module):
    """A residual block of D, which halves the image size or keeps it.

    Source: [M18 Figure 8]
    """

    def __init__(self, d_in: int, d_out: int, normalize: Normalize, down: bool, first: bool):
        super().__init__()
        self.down, self.first = down, first
        hidden = d_out if first else d_in
        self.residual = nn.Sequential(
            *([] if first else [nn.ReLU()]),
            normalize(nn.Conv2d(d_in, hidden, 3, 1, 1)),
            nn.ReLU(inplace=True),
            normalize(nn.Conv2d(hidden, d_out, 3, 1, 1)),
        )
        self.shortcut = nn.Sequential()
        if down or d_in != d_out:
            self.shortcut.append(normalize(nn.Conv2d(d_in, d_out, 1)))

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


def networks(config: Config, channels: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Build G and D of a configuration without labels: Table 3's, or a ResNet.

    Source: [M18 Table 3], [M18 Table 4], [M18 Table 5]
    """
    normalize: Normalize = spectral_norm if config.regularizer == "sn" else lambda layer: layer
    if config.model == "cnn":
        sizes = (config.size, channels, config.width)
        return generator(*sizes, config.latent), discriminator(*sizes, normalize)
    table, w = TABLES[config.size], config.width
    up = [factor * w for factor in table.up]
    down = [channels, *(factor * w for factor in table.down + table.flat)]
    G = nn.Sequential(
        nn.Linear(config.latent, up[0] * table.start**2),
        nn.Unflatten(1, (up[0], table.start, table.start)),
        *(UpBlock(*ends) for ends in pairwise(up)),
        nn.BatchNorm2d(up[-1]),
        nn.ReLU(inplace=True),
        nn.Conv2d(up[-1], channels, 3, 1, 1),
        nn.Tanh(),
    )
    D = nn.Sequential(
        *(
            DownBlock(*ends, normalize, down=k < len(table.down), first=k == 0)
            for k, ends in enumerate(pairwise(down))
        ),
        nn.ReLU(inplace=True),
        SumPool(),
        normalize(nn.Linear(down[-1], 1)),
    )
    return G, D


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


def jobs(work: str, config: Config) -> dict[str, Job]:
    """Make the jobs of PyTorch by name; see :func:`minisn.bench_jobs.jobs`."""
    torch.manual_seed(config.seed)
    if work == "conv":
        return convolution_jobs(config, _convolution)
    images = scale_images(noise(config))
    return {"": TorchTrainer(config, images, torch.get_num_threads()).update}


def _convolution(layer: Layer, x: np.ndarray, w: np.ndarray, g: np.ndarray) -> tuple[Job, Job]:
    x_, w_, g_ = (torch.tensor(a) for a in (x, w, g))
    x_.requires_grad_()
    w_.requires_grad_()
    m: Any = layer.module

    def apply() -> torch.Tensor:
        if isinstance(m, ConvTranspose2d):
            return F.conv_transpose2d(x_, w_, None, m.stride, m.padding, m.output_padding)
        return F.conv2d(x_, w_, None, m.stride, m.padding)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return apply()

    y = apply()
    return forward, lambda: torch.autograd.grad(y, (x_, w_), g_, retain_graph=True)
