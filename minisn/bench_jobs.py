"""What a contestant of ``minisn bench`` runs, in minisn and in libraries on NumPy.

A job returns what it computed, so that a test can tell whether all compute the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import kernels
from .backend import Array
from .config import Config
from .conv import conv2d, conv2d_transpose
from .data.catalog import find_entry
from .nn import power_step, weighted_layers
from .optim import Adam
from .tensor import Tensor, grad, no_grad

Job = Callable[[], Any]

IMAGES = 1000
"""Images that are trained on: noise, of the size that the data would have."""

SIDE = 2048
"""Rows and columns of the matrices whose product is timed."""


@dataclass(frozen=True)
class Layer:
    """A convolution of Table 3, padded by 1, or its adjoint.

    Args:
        name: the network, the number of the layer, channels and kernel.
        adjoint: whether it is a transposed convolution.
        d_in, d_out: channels.
        kernel, stride: pixels.
        size, out: of the images that come in and go out, pixels.

    Source: [M18 Table 3]
    """

    name: str
    adjoint: bool
    d_in: int
    d_out: int
    kernel: int
    stride: int
    size: int
    out: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight: an adjoint has that of its convolution."""
        ends = (self.d_in, self.d_out) if self.adjoint else (self.d_out, self.d_in)
        return (*ends, self.kernel, self.kernel)

    @property
    def multiply_adds(self) -> int:
        """How many one image needs; those with padding count."""
        pixels = self.size if self.adjoint else self.out
        return pixels**2 * self.d_in * self.d_out * self.kernel**2


def convolutions(config: Config) -> list[Layer]:
    """List the convolutions of Table 3's networks, D's and then G's.

    Source: [M18 Table 3]
    """
    channels, w, layers = find_entry(config.data).shape[0], config.width, []

    def add(network: str, adjoint: bool, d_in: int, d_out: int, kernel: int, size: int, out: int):
        stride = 2 if kernel == 4 else 1
        name = (
            f"{network} {d_in}->{d_out} {kernel}x{kernel}{'/2' if stride == 2 else ''}"
            f"{' transposed' if adjoint else ''}"
        )
        layers.append(Layer(name, adjoint, d_in, d_out, kernel, stride, size, out))

    d_in, size = channels, config.size
    for step, factor in enumerate((1, 1, 2, 2, 4, 4, 8)):
        kernel, out = (4, size // 2) if step % 2 else (3, size)
        add(f"D{step + 1}", False, d_in, factor * w, kernel, size, out)
        d_in, size = factor * w, out
    for step, factor in enumerate((4, 2, 1)):
        out = config.size >> (2 - step)
        add(f"G{step + 1}", True, 2 * factor * w, factor * w, 4, size, out)
        size = out
    add("G4", False, w, channels, 3, size, size)
    return layers


def multiply_adds(config: Config) -> int:
    """Count the multiply-adds of a training step of Table 3's networks, from their shapes.

    Each layer runs forward, and backward once for its input and once for its weight, where
    they are needed. D sees data and samples; in G's step it passes the gradient on.

    Source: [M18 Alg. 1], [M18 Table 3]
    """
    layers, n = convolutions(config), config.batch_size
    features = 8 * config.width * (config.size >> 3) ** 2
    first_d, first_g = layers[0].multiply_adds, config.latent * features
    D = features + sum(layer.multiply_adds for layer in layers if layer.name.startswith("D"))
    G = first_g + sum(layer.multiply_adds for layer in layers if layer.name.startswith("G"))
    update_of_d = n * G + 2 * n * (3 * D - first_d)
    return config.n_dis * update_of_d + n * (3 * G - first_g + 2 * D)


def noise(config: Config) -> Array:
    """Draw images, uint8, [N, C, size, size], of the size that the data have."""
    shape = (IMAGES, find_entry(config.data).shape[0], config.size, config.size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def convolution_jobs(
    config: Config, make: Callable[[Layer, Array, Array, Array], tuple[Job, Job] | None]
) -> dict[str, Job]:
    """Name the jobs of every convolution: forward, and both gradients.

    Args:
        config: names the sizes.
        make: from a layer, its input, weight and the gradient of its result to both jobs;
            None where the library has no such layer.
    """
    rng, jobs = np.random.default_rng(0), {}
    for layer in convolutions(config):
        n = config.batch_size
        shapes = ((n, layer.d_in, layer.size, layer.size), layer.shape,
                  (n, layer.d_out, layer.out, layer.out))  # fmt: skip
        pair = make(layer, *(rng.standard_normal(shape, np.float32) for shape in shapes))
        if pair:
            jobs[f"{layer.name}, forward"], jobs[f"{layer.name}, gradients"] = pair
    return jobs


def jobs(library: str, work: str, config: Config) -> dict[str, Job]:
    """Make what minisn, NumPy, DeZero or HIPS autograd runs, by name.

    Args:
        library, work: of a contestant.
        config: what is trained, or the networks whose parts are timed.
    """
    if work == "conv":
        makers = {"minisn": _minisn_convolution, "dezero": _dezero_convolution,
                  "autograd": _autograd_convolution}  # fmt: skip
        found = convolution_jobs(config, makers[library])
    else:
        found = {"": _WORKS[work](config)}
    return (
        {name: _in_one_pool(job) for name, job in found.items()} if library == "minisn" else found
    )


def _in_one_pool(job: Job) -> Job:
    """Run as a training step does."""

    def run() -> Any:
        with kernels.one_pool():
            return job()

    return run


def _step(config: Config) -> Job:
    from .training import Trainer

    labels = np.arange(IMAGES) % max(len(find_entry(config.data).classes), 1)
    return Trainer(config, noise(config), labels=labels).update


def _networks(config: Config) -> tuple[Any, Any]:
    from .training import networks

    return networks(config, find_entry(config.data).shape[0], 0, np.random.default_rng(0))


def _power(config: Config) -> Job:
    """Make one round of power iteration over all layers of D."""
    D = _networks(config)[1]
    return lambda: power_step(D)


def _sigma(config: Config) -> Job:
    """Do what normalization adds to a step with one update of D, where G's pass reads D again."""
    D = _networks(config)[1]
    layers = list(weighted_layers(D).values())
    weights = [layer.weight for layer in layers]

    def job() -> None:
        power_step(D)
        for layer, W in zip(layers, weights, strict=True):
            grad(layer.effective_weight(), W, grad_output=W)
        for layer in layers:
            layer.effective_weight()

    return job


def _adam(config: Config) -> Job:
    """Update all parameters of both networks, each with a gradient of its shape."""
    G, D = _networks(config)
    parameters = [*G.parameters(), *D.parameters()]
    rng = np.random.default_rng(1)
    grads = [Tensor.wrap(rng.standard_normal(p.shape, np.float32)) for p in parameters]
    adam = Adam(parameters, config.rate_d, config.beta1, config.beta2)

    def job() -> list[Tensor]:
        adam.step(grads)
        return parameters

    return job


def _product(config: Config) -> Job:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, SIDE, SIDE), np.float32)
    c = np.empty_like(a)
    return lambda: np.matmul(a, b, out=c)


_WORKS = {"step": _step, "power": _power, "sigma": _sigma, "adam": _adam, "product": _product}


def _minisn_convolution(layer: Layer, x: Array, w: Array, g: Array) -> tuple[Job, Job]:
    def channels_last(images: Array) -> Tensor:  # as one layer hands them to the next
        turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return Tensor.wrap(turned, requires_grad=True)

    x_, w_, g_ = channels_last(x), Tensor.wrap(w, requires_grad=True), channels_last(g)

    def apply() -> Tensor:
        if layer.adjoint:
            return conv2d_transpose(x_, w_, layer.stride, 1, layer.out - 2 * layer.size)
        return conv2d(x_, w_, layer.stride, 1)

    def forward() -> Tensor:
        with no_grad():
            return apply()

    y = apply()
    return forward, lambda: grad(y, [x_, w_], grad_output=g_)


def _dezero_convolution(layer: Layer, x: Array, w: Array, g: Array) -> tuple[Job, Job]:
    vars(np).setdefault("int", int)  # NumPy 2 has none, without which DeZero 0.0.13 fails
    from dezero import Variable, no_grad
    from dezero.functions import conv2d, deconv2d

    x_, w_, g_ = Variable(x), Variable(w), Variable(g)

    def apply() -> Any:
        if layer.adjoint:
            return deconv2d(x_, w_, None, layer.stride, 1, (layer.out, layer.out))
        return conv2d(x_, w_, None, layer.stride, 1)

    def forward() -> Array:
        with no_grad():
            return apply().data

    y = apply()

    def gradients() -> list[Array]:
        y.grad = g_
        x_.cleargrad()
        w_.cleargrad()
        y.backward()
        return [x_.grad.data, w_.grad.data]

    return forward, gradients


def _autograd_convolution(layer: Layer, x: Array, w: Array, g: Array) -> tuple[Job, Job] | None:
    """Use HIPS autograd's own convolution, which knows no stride and flips the kernel."""
    import autograd.numpy as anp
    from autograd import make_vjp
    from autograd.scipy.signal import convolve

    if layer.stride > 1:
        return None

    def apply(x: Any, w: Any) -> Any:
        padded = anp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="constant")
        return convolve(
            padded, w[:, :, ::-1, ::-1], axes=([2, 3], [2, 3]), dot_axes=([1], [1]), mode="valid"
        )

    pull, _ = make_vjp(apply, (0, 1))(x, w)
    return lambda: apply(x, w), lambda: pull(g)
