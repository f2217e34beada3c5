"""Time every convolution of Table 3's networks, forward and backward, beside PyTorch's.

    python tests/benchmarks/convolutions.py --width 64

Each row is one layer's two jobs: the convolution, and its gradients for the input and the weight.
The contestants take turns in processes of their own, as in ``minisn bench``.
"""

import argparse
import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minisn import kernels
from minisn.bench import Contestant, compare, missing
from minisn.config import load_preset
from minisn.data.catalog import find_entry
from minisn.nn import Conv2d, ConvTranspose2d
from minisn.tensor import Tensor, grad, no_grad
from minisn.training import bare_networks


class Layer(NamedTuple):
    """A convolution of a network, or a transposed one, with its input and output shapes."""

    name: str
    module: Conv2d | ConvTranspose2d
    given: tuple[int, ...]
    made: tuple[int, ...]


def convolutions(config) -> list[Layer]:
    """List the convolutions of Table 3's networks without their biases, D's and then G's.

    Source: [M18 Table 3]
    """
    found = []
    channels, n = find_entry(config.data).shape[0], config.batch_size
    G, D = bare_networks(config, channels)
    image, z = (channels, config.size, config.size), (config.latent,)
    for letter, network, shape in (("D", D, image), ("G", G, z)):
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


def ours(module, x, g):
    """Return both jobs of a layer in minisn, from its input and the gradient of its result."""

    def channels_last(images):  # the layout between two layers
        turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return Tensor.wrap(turned, requires_grad=True)

    x_, g_ = channels_last(x), channels_last(g)
    y = module(x_)

    def forward():
        with kernels.one_pool(), no_grad():
            return module(x_)

    def gradients():
        with kernels.one_pool():
            return grad(y, [x_, module.weight], grad_output=g_)

    return forward, gradients


def theirs(module, x, g):
    """Return both jobs of the same layer in PyTorch."""
    import torch

    from minisn.bench_torch import translated

    layer, x_, g_ = translated(module), torch.tensor(x).requires_grad_(), torch.tensor(g)
    (w_,) = layer.parameters()
    w_.data = torch.tensor(module.weight.numpy())

    def forward():
        with torch.inference_mode():
            return layer(x_)

    y = layer(x_)
    return forward, lambda: torch.autograd.grad(y, (x_, w_), g_, retain_graph=True)


def job(library, config, work):
    """Return what a contestant repeats; ``work`` is the layer's number and the job's name."""
    place, name = work.split()
    layer, rng = convolutions(config)[int(place)], np.random.default_rng(0)
    x, g = (rng.standard_normal(shape, np.float32) for shape in (layer.given, layer.made))
    forward, gradients = {"minisn": ours, "torch": theirs}[library](layer.module, x, g)
    return forward if name == "forward" else gradients


def table(config, turns, steps):
    """Print a row for each job of each layer."""
    libraries = ["minisn"] + ["torch"] * (not missing("torch"))
    program = (str(Path(__file__).with_name("contestants.py")),)
    for place, layer in enumerate(convolutions(config)):
        for name in ("forward", "gradients"):
            work = f"{place} {name}"
            both = [Contestant(x, x, config, work, program=program) for x in libraries]
            first, *rest = compare(both, turns, steps)
            told = f"{layer.name}, {name}: {1e3 * first.median:.3g} ms"
            for other in rest:
                ratios = first.over(other)
                told += f", {statistics.median(ratios):.2f} of {other.name}'s time "
                told += f"({min(ratios):.2f} - {max(ratios):.2f})"
            print(told, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    table(load_preset("cifar10").replace(width=given.width), given.turns, given.steps)
