"""The jobs that a contestant of ``minisn bench`` runs in minisn.

A job returns its result, so that a test can check that all contestants compute the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import kernels
from .backend import Array
from .config import Config
from .data.catalog import find_entry
from .nn import Conv2d, ConvTranspose2d, Sequential
from .tensor import Tensor, grad, no_grad
from .training import Trainer, bare_networks

Job = Callable[[], Any]

IMAGES = 1024
"""How many images to train on: noise, of the size of the data."""


class Layer(NamedTuple):
    """A convolution of a network, or a transposed one, with its input and output shapes."""

    name: str
    module: Conv2d | ConvTranspose2d
    given: tuple[int, ...]
    made: tuple[int, ...]


def convolutions(config: Config) -> list[Layer]:
    """List the convolutions of Table 3's networks without their biases, D's and then G's.

    Source: [M18 Table 3]
    """
    found: list[Layer] = []
    channels, n = find_entry(config.data).shape[0], config.batch_size
    G, D = bare_networks(config, channels)
    image, z = (channels, config.size, config.size), (config.latent,)
    for letter, network, shape in (("D", D, image), ("G", G, z)):
        assert isinstance(network, Sequential)
        k, x = 0, Tensor(np.zeros((1, *shape), np.float32))
        for module in network:
            with kernels.use_kernels("array_api"), no_grad():  # a rival's process has its own pool
                y = module(x)
            if isinstance(module, Conv2d | ConvTranspose2d):
                k, side, stride = k + 1, module.shape[-1], module.stride
                name = f"{letter}{k} {x.shape[1]}->{y.shape[1]} {side}x{side}"
                name += f"/{stride}" * (stride != 1) + " transposed" * module.axis
                module.bias = None
                found.append(Layer(name, module, (n, *x.shape[1:]), (n, *y.shape[1:])))
            x = y
    return found


def noise(config: Config) -> Array:
    """Draw images, uint8, [N, C, size, size], of the size of the data."""
    shape = (IMAGES, find_entry(config.data).shape[0], config.size, config.size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def convolution_jobs(
    config: Config, make: Callable[[Conv2d | ConvTranspose2d, Array, Array], tuple[Job, Job]]
) -> dict[str, Job]:
    """Make the jobs of every convolution by name: forward, and both gradients.

    Args:
        config: sets the sizes.
        make: makes both jobs from a layer, its input and the gradient of its result.
    """
    rng, jobs = np.random.default_rng(0), {}
    for layer in convolutions(config):
        x, g = (rng.standard_normal(shape, np.float32) for shape in (layer.given, layer.made))
        jobs[f"{layer.name}, forward"], jobs[f"{layer.name}, gradients"] = make(layer.module, x, g)
    return jobs


def jobs(work: str, config: Config) -> dict[str, Job]:
    """Make the jobs of minisn by name.

    Args:
        work: the work of the contestant.
        config: the settings of training, or of the networks whose parts are timed.
    """
    if work == "conv":
        return convolution_jobs(config, _convolution)
    labels = np.arange(IMAGES) % max(len(find_entry(config.data).classes), 1)
    return {"": Trainer(config, noise(config), labels=labels).update}


def _convolution(module: Conv2d | ConvTranspose2d, x: Array, g: Array) -> tuple[Job, Job]:
    def channels_last(images: Array) -> Tensor:  # the layout between two layers
        turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return Tensor.wrap(turned, requires_grad=True)

    x_, g_ = channels_last(x), channels_last(g)
    y = module(x_)

    def forward() -> Tensor:
        with kernels.one_pool(), no_grad():
            return module(x_)

    def gradients() -> list[Tensor]:
        with kernels.one_pool():
            return grad(y, [x_, module.weight], grad_output=g_)

    return forward, gradients
