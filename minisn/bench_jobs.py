"""The jobs that a contestant of ``minisn bench`` runs in minisn.

A job returns its result, so that a test can check that all contestants compute the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import kernels
from .backend import Array
from .config import Config
from .conv import conv2d, conv2d_transpose
from .data.catalog import find_entry
from .nn import Conv2d, ConvTranspose2d, weighted_layers
from .tensor import Tensor, grad, no_grad
from .training import Trainer, networks

Job = Callable[[], Any]

IMAGES = 1000
"""How many images to train on: noise, of the size of the data."""


class Layer(NamedTuple):
    """A convolution of a network, or a transposed one, with its input and output shapes."""

    name: str
    module: Conv2d | ConvTranspose2d
    given: tuple[int, ...]
    made: tuple[int, ...]


def convolutions(config: Config) -> list[Layer]:
    """List the convolutions of Table 3's networks, D's and then G's.

    Source: [M18 Table 3]
    """
    found: list[Layer] = []
    channels = find_entry(config.data).shape[0]
    G, D = networks(config, channels, 0, np.random.default_rng(0))
    for letter, network, size in (("D", D, config.size), ("G", G, config.size >> 3)):
        layers = [m for m in weighted_layers(network).values() if m.weight.ndim == 4]
        for k, module in enumerate(layers, 1):
            assert isinstance(module, Conv2d | ConvTranspose2d)
            adjoint, (ends, kernel) = module.axis == 1, np.split(np.array(module.weight.shape), 2)
            given, made = ends if adjoint else ends[::-1]
            x = Tensor(np.zeros((1, given, size, size), np.float32))
            out = module(x).shape[-1]
            name = (
                f"{letter}{k} {given}->{made} {kernel[0]}x{kernel[1]}"
                f"{f'/{module.stride}' if module.stride != 1 else ''}{' transposed' * adjoint}"
            )
            n = config.batch_size
            found.append(Layer(name, module, (n, given, size, size), (n, made, out, out)))
            size = out
    return found


def noise(config: Config) -> Array:
    """Draw images, uint8, [N, C, size, size], of the size of the data."""
    shape = (IMAGES, find_entry(config.data).shape[0], config.size, config.size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def convolution_jobs(
    config: Config, make: Callable[[Layer, Array, Array, Array], tuple[Job, Job]]
) -> dict[str, Job]:
    """Make the jobs of every convolution by name: forward, and both gradients.

    Args:
        config: sets the sizes.
        make: makes both jobs from a layer, its input, weight and the gradient of its result.
    """
    rng, jobs = np.random.default_rng(0), {}
    for layer in convolutions(config):
        shapes = (layer.given, layer.module.weight.shape, layer.made)
        pair = make(layer, *(rng.standard_normal(shape, np.float32) for shape in shapes))
        jobs[f"{layer.name}, forward"], jobs[f"{layer.name}, gradients"] = pair
    return jobs


def jobs(work: str, config: Config) -> dict[str, Job]:
    """Make the jobs of minisn by name.

    Args:
        work: the work of the contestant.
        config: the settings of training, or of the networks whose parts are timed.
    """
    found = convolution_jobs(config, _convolution) if work == "conv" else {"": _step(config)}
    return {name: _in_one_pool(job) for name, job in found.items()}


def _in_one_pool(job: Job) -> Job:
    """Make a job use one thread pool, as a training step does."""

    def run() -> Any:
        with kernels.one_pool():
            return job()

    return run


def _step(config: Config) -> Job:
    labels = np.arange(IMAGES) % max(len(find_entry(config.data).classes), 1)
    return Trainer(config, noise(config), labels=labels).update


def _convolution(layer: Layer, x: Array, w: Array, g: Array) -> tuple[Job, Job]:
    def channels_last(images: Array) -> Tensor:  # the layout between two layers
        turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return Tensor.wrap(turned, requires_grad=True)

    x_, w_, g_ = channels_last(x), Tensor.wrap(w, requires_grad=True), channels_last(g)
    m = layer.module

    def apply() -> Tensor:
        if isinstance(m, ConvTranspose2d):
            return conv2d_transpose(x_, w_, m.stride, m.padding, m.output_padding)
        return conv2d(x_, w_, m.stride, m.padding)

    def forward() -> Tensor:
        with no_grad():
            return apply()

    y = apply()
    return forward, lambda: grad(y, [x_, w_], grad_output=g_)
