"""A small image classifier with bounded layers, its training, and its accuracy under noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import kernels
from ..arguments import generator
from ..init import kaiming
from ..losses import cross_entropy
from ..metrics.extractor import accuracy as share_right
from ..nn import Conv2d, Linear, Module, ReLU, Reparametrization, Reshape, power_step
from ..nn import Sequential as Chain
from ..optim import Adam
from ..regularizers import project
from ..tensor import Tensor, grad, no_grad


def classifier(
    shape: tuple[int, int, int],
    classes: int,
    rng: np.random.Generator,
    width: int = 8,
    reparametrize: Reparametrization | None = None,
) -> Chain:
    r"""Build two 4x4 convolutions of stride 2, to w and 2w channels, with ReLU, and a dense layer.

    .. math:: f(x) = W\,\phi(x) + b, \qquad \hat y = \arg\max_j f_j(x)

    A scheme that fixes the operator norm of each layer, such as
    :class:`minisn.regularizers.ConvSpectralNorm` of scale c, bounds the Lipschitz constant of f by
    :math:`c^3`, up to the error of the power iteration. Scaling f changes no certified radius, so c
    acts as an inverse temperature in the loss: training with a small c gains distance, with a large
    c accuracy.

    Args:
        shape: shape of an image, (C, H, W); H and W are multiples of 4.
        classes: number of classes.
        rng: random generator of the weights.
        width: w.
        reparametrize: scheme of every layer; a convolution uses it at the size of its images.
    Returns:
        A module from [N, C, H, W] to logits [N, classes].

    Source: [M18 Eq. (7)]; Tsuzuku et al. (2018)
    """
    rng = generator(rng)
    channels, height, columns = shape
    init = kaiming()
    scheme = reparametrize or Reparametrization()
    layers: list[Module] = []
    for halvings, (d_in, d_out) in enumerate(((channels, width), (width, 2 * width))):
        here = scheme.at((height >> halvings, columns >> halvings), 2, 1)
        layers += [Conv2d(d_in, d_out, 4, rng, 2, 1, reparametrize=here, init=init), ReLU()]
    entries = 2 * width * (height // 4) * (columns // 4)
    dense = Linear(entries, classes, rng, reparametrize=scheme, init=init)
    return Chain(*layers, Reshape(-1), dense)


def train_classifier(
    network: Module,
    images: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    steps: int = 300,
    batch: int = 64,
    rate: float = 2e-3,
) -> list[float]:
    r"""Train by Adam on the cross-entropy, with one power step for each update.

    .. math:: \theta \leftarrow \theta - \alpha\,\mathrm{Adam}\big(\nabla_\theta\,
              E[-\log p(y\,|\,x)]\big)

    Args:
        network: maps images to logits; its parameters change.
        images, labels: [N, ...] of the network's dtype, and integers [N].
        rng: random generator of the batches.
        steps, batch, rate: number of updates, images in a batch, and Adam's step size.
    Returns:
        The loss at each step.

    Source: [M18 Alg. 1]
    """
    rng = generator(rng)
    parameters = network.parameters()
    adam = Adam(parameters, rate, beta1=0.9)
    losses = []
    for _ in range(steps):
        rows = rng.integers(len(images), size=batch)
        with kernels.one_pool():
            power_step(network)
            loss = cross_entropy(network(Tensor(images[rows])), Tensor(labels[rows]))
            adam.step(grad(loss, parameters))
        project(network)
        losses.append(loss.item())
    return losses


def logits(network: Module, images: np.ndarray) -> np.ndarray:
    """Return the logits of images in double precision, without recording."""
    with no_grad(), kernels.one_pool():
        return network(Tensor.wrap(images)).numpy().astype(np.float64)


def accuracy(network: Module, images: np.ndarray, labels: np.ndarray) -> float:
    r"""Return the share of images whose largest logit is that of their label.

    .. math:: P\big(\arg\max_j f_j(x) = y\big)
    """
    return share_right(logits(network, images), labels)


@dataclass(frozen=True)
class NoiseAccuracy:
    r"""Accuracy under noise.

    Attributes:
        sigma: standard deviations, in the units of the images.
        accuracy: for each, the share of images that are still classified correctly.
    """

    sigma: tuple[float, ...]
    accuracy: tuple[float, ...]


def noise_accuracy(
    network: Module,
    images: np.ndarray,
    labels: np.ndarray,
    sigmas: Sequence[float],
    rng: np.random.Generator,
) -> NoiseAccuracy:
    r"""Measure the accuracy under independent normal noise on every pixel.

    .. math:: P\big(\arg\max_j f_j(x + \sigma\epsilon) = y\big), \qquad \epsilon \sim N(0, I)

    Noise on d pixels has length :math:`\sigma\sqrt d` and a random direction. It is soon longer
    than any certified radius, but a network may withstand it all the same.

    Args:
        network: maps images to logits.
        images, labels: [N, ...] and integers [N].
        sigmas: :math:`\sigma`, each with one draw per image.
        rng: random generator of the noise.
    """
    rng = generator(rng)
    found = [
        accuracy(network, images + s * rng.standard_normal(images.shape, images.dtype), labels)
        for s in np.asarray(sigmas, images.dtype)
    ]
    return NoiseAccuracy(tuple(map(float, sigmas)), tuple(found))
