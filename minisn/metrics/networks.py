"""The feature networks that ship, each for images of one shape.

They replace the Inception network for small images. Scores of different feature networks cannot be
compared, so every score carries the name and the digest of its network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..init import kaiming
from ..models.resnet import SumPool
from ..nn import BatchNorm, Conv2d, LeakyReLU, Linear, Module, Reshape, Sequential

Shape = tuple[int, ...]
"""Shape of one image, (C, H, W)."""


@dataclass(frozen=True)
class FeatureNetwork:
    """A feature network whose weights ship with minisn.

    Args:
        name: name of the network and of its file.
        digest: SHA-256 of the file, which :mod:`minisn.metrics.train_features` wrote.
        shape: shape of one image, (C, H, W).
        data: common prefix of the data sets that the network is trained for.
        subject: a description of these images.
        features: number of features of an image.
        build: function from a random generator to the network, from images to logits.
    """

    name: str
    digest: str
    shape: Shape
    data: str
    subject: str
    features: int
    build: Callable[[np.random.Generator], Sequential]

    @property
    def path(self) -> Path:
        """Path of the file of weights."""
        return Path(__file__).parent / "files" / f"{self.name}.safetensors"


def digits_network(rng: np.random.Generator) -> Sequential:
    """Build the network for digits, from images [N, 1, 28, 28] to the logits of ten digits.

    The network has three convolutions to 16, 32 and 64 channels and two dense layers to 64 and 10
    numbers, with leaky ReLU between them. The features are the 64 inputs of the last layer.

    Args:
        rng: generator of the weights.
    """
    init = kaiming(0.1)
    return Sequential(
        Conv2d(1, 16, 3, rng, padding=1, init=init),
        LeakyReLU(),
        Conv2d(16, 32, 4, rng, stride=2, padding=1, init=init),
        LeakyReLU(),
        Conv2d(32, 64, 4, rng, stride=2, padding=1, init=init),
        LeakyReLU(),
        Reshape(-1),
        Linear(64 * 7 * 7, 64, rng, init=init),
        LeakyReLU(),
        Linear(64, 10, rng, init=init),
    )


def color_network(rng: np.random.Generator, normalized: bool = False) -> Sequential:
    """Build the network for color, from images [N, 3, 32, 32] to logits of CIFAR-10's classes.

    The network has seven convolutions to 24, 48, 48, 96, 96, 128 and 128 channels, each followed
    by leaky ReLU, a sum over the image and a dense layer. The second, fourth and sixth convolution
    are 4x4 with stride 2, the others 3x3. The features are the 128 sums.

    Args:
        rng: generator of the weights.
        normalized: use batch normalization in place of biases, as in training.
    """
    layers: list[Module] = []
    widths = (3, 24, 48, 48, 96, 96, 128, 128)
    for k, (d_in, d_out) in enumerate(pairwise(widths)):
        layers += [
            Conv2d(d_in, d_out, 3 + k % 2, rng, 1 + k % 2, 1, not normalized, init=kaiming(0.1)),
            *([BatchNorm(d_out)] if normalized else []),
            LeakyReLU(),
        ]
    return Sequential(*layers, SumPool(), Linear(widths[-1], 10, rng))


NETWORKS = {
    network.shape: network
    for network in (
        FeatureNetwork(
            "mnist-digits-cnn-v1",
            "a502a311e321be603ff6d961e44ffcdd1bbbefff068fed00c3a6a00a41e14d04",
            (1, 28, 28),
            "mnist",
            "digits",
            64,
            digits_network,
        ),
        FeatureNetwork(
            "cifar10-cnn-v1",
            "090bc3ab2a45976af2a74078e38a4564a13784dcddaffb1844c34eafd4dc40dc",
            (3, 32, 32),
            "cifar10",
            "CIFAR-10's photographs",
            128,
            color_network,
        ),
    )
}
"""The feature networks, by the shape of an image."""
