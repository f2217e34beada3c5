"""Algorithm 1: one plain loop over the updates of D and G.

Source: [M18 Alg. 1]
"""

import copy
from dataclasses import dataclass

import numpy as np

from . import kernels
from .backend import Array, device_namespace, to_numpy
from .config import Config
from .data import BatchStream, scale_images
from .losses import OBJECTIVES
from .models import cnn_discriminator, cnn_generator
from .nn import power_step
from .optim import Adam
from .regularizers import SpectralNorm
from .tensor import Tensor, grad, no_grad

Loss = Array
"""A loss: an array without axes, on the device of the networks."""


@dataclass(frozen=True)
class Losses:
    """The losses of one step: of D's last update and of G's."""

    d: Loss
    g: Loss


class Trainer:
    """The networks, their optimizers, the stream of data, and where they stand.

    Equal configurations and data give equal numbers, bit for bit, on one machine with
    one number of threads.

    Args:
        config: all settings.
        images: uint8, [N, C, H, W].
        device: ``"cpu"`` or ``"cuda"``.
    """

    def __init__(self, config: Config, images: np.ndarray, device: str = "cpu"):
        self.config = config
        self.device = device
        self.xp = device_namespace(device)
        rng = np.random.default_rng(config.seed)
        channels = images.shape[1]
        self.G = cnn_generator(config.size, channels, rng, config.width, config.latent)
        self.D = cnn_discriminator(
            config.size, channels, rng, config.width, SpectralNorm(config.scale)
        )
        self.G.to(device)
        self.D.to(device)
        betas = (config.beta1, config.beta2)
        self.adam_d = Adam(self.D.parameters(), config.rate_d, *betas)
        self.adam_g = Adam(self.G.parameters(), config.rate_g, *betas)
        self.average = self.G.state_dict() if config.average else {}
        self.data = BatchStream(images, config.batch_size, seed=config.seed)
        self.rng = rng
        self.step = 0

    def update(self) -> Losses:
        """Make one step: n_dis updates of D, each after one power step, then one of G."""
        objective = OBJECTIVES[self.config.objective]
        with kernels.one_pool():
            for _ in range(self.config.n_dis):
                real = self.next_batch()
                with no_grad():
                    fake = self.G(self.latent())
                power_step(self.D)
                loss_d = objective.d(self.D(real), self.D(fake))
                self.adam_d.step(grad(loss_d, self.D.parameters()))
            loss_g = objective.g(self.D(self.G(self.latent())))
            self.adam_g.step(grad(loss_g, self.G.parameters()))
        if self.config.average:
            self._update_average()
        self.step += 1
        return Losses(loss_d.array, loss_g.array)

    def next_batch(self) -> Tensor:
        """Take the next real images, float32 in [-1, 1], on the device."""
        return Tensor.wrap(self.xp.asarray(scale_images(next(self.data))))

    def latent(self) -> Tensor:
        """Draw latent vectors for one batch, standard normal."""
        z = self.rng.standard_normal((self.config.batch_size, self.config.latent), np.float32)
        return Tensor.wrap(self.xp.asarray(z))

    def _update_average(self) -> None:
        """Move the averaged generator a little towards G: parameters and running moments.

        The decay grows with the steps, so that the random weights of the start are forgotten.
        """
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, now in self.G.state_dict().items():
            self.average[name] = decay * self.average[name] + (1 - decay) * now

    def sample(self, z: np.ndarray) -> np.ndarray:
        """Draw images with the averaged generator, or G itself if there is no average.

        Args:
            z: latent vectors, float32, [N, latent].
        Returns:
            Images in (-1, 1), float32, [N, C, size, size]; nothing is changed by this.
        """
        G = copy.deepcopy(self.G)
        if self.config.average:
            G.load_state_dict(self.average)
        with no_grad():
            return to_numpy(G.eval()(Tensor.wrap(self.xp.asarray(z))).array)
