"""The same SNGAN in PyTorch: the yardstick of ``minisn bench`` and an oracle for tests.

Not used by the library; PyTorch is imported when this is.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from .config import Config


def generator(size: int, channels: int, width: int, latent: int) -> nn.Sequential:
    """Build Table 3's generator.

    Source: [M18 Table 3]
    """
    sizes = [size >> k for k in (3, 2, 1, 0)]
    layers: list[nn.Module] = [
        nn.Linear(latent, sizes[0] ** 2 * 8 * width, bias=False),
        nn.Unflatten(1, (8 * width, sizes[0], sizes[0])),
        nn.BatchNorm2d(8 * width),
        nn.ReLU(),
    ]
    for k, factor in enumerate((4, 2, 1)):
        extra = sizes[k + 1] - 2 * sizes[k]
        layers += [
            nn.ConvTranspose2d(2 * factor * width, factor * width, 4, 2, 1, extra, bias=False),
            nn.BatchNorm2d(factor * width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, 1, 1), nn.Tanh())


def discriminator(size: int, channels: int, width: int, normalize=spectral_norm) -> nn.Sequential:
    """Build Table 3's discriminator, with PyTorch's own spectral norm on every layer.

    Source: [M18 Table 3]
    """
    layers: list[nn.Module] = []
    d_in = channels
    for step, factor in enumerate((1, 1, 2, 2, 4, 4, 8)):
        kernel, stride = (4, 2) if step % 2 else (3, 1)
        layers += [
            normalize(nn.Conv2d(d_in, factor * width, kernel, stride, 1)),
            nn.LeakyReLU(0.1),
        ]
        d_in = factor * width
    end = size >> 3
    return nn.Sequential(*layers, nn.Flatten(), normalize(nn.Linear(d_in * end * end, 1)))


class TorchTrainer:
    """Hinge-loss training in eager mode, step for step what :class:`minisn.training.Trainer` does.

    Args:
        config: the sizes and step sizes.
        images: float32 in [-1, 1], [N, C, size, size].
        threads: of PyTorch.
    """

    def __init__(self, config: Config, images: np.ndarray, threads: int):
        torch.set_num_threads(threads)
        torch.manual_seed(config.seed)
        self.config = config
        channels = images.shape[1]
        self.G = generator(config.size, channels, config.width, config.latent)
        self.D = discriminator(config.size, channels, config.width)
        betas = (config.beta1, config.beta2)
        self.adam_d = torch.optim.Adam(self.D.parameters(), config.rate_d, betas)
        self.adam_g = torch.optim.Adam(self.G.parameters(), config.rate_g, betas)
        self.images = torch.tensor(images)

    def update(self) -> None:
        """Make one step: n_dis updates of D, then one of G."""
        n, relu = self.config.batch_size, torch.nn.functional.relu
        for _ in range(self.config.n_dis):
            real = self.images[torch.randint(len(self.images), (n,))]
            with torch.no_grad():
                fake = self.G(torch.randn(n, self.config.latent))
            loss = relu(1 - self.D(real)).mean() + relu(1 + self.D(fake)).mean()
            self.adam_d.zero_grad()
            loss.backward()
            self.adam_d.step()
        self.D.requires_grad_(False)
        loss = -self.D(self.G(torch.randn(n, self.config.latent))).mean()
        self.adam_g.zero_grad()
        loss.backward()
        self.adam_g.step()
        self.D.requires_grad_(True)
