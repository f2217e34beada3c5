r"""The measurements of L21: gradients of a discriminator, the spread of its weights, and bounds.

Every measurement reads the *effective* weights :math:`w_t`, with which the layers compute. It
leaves the network as it is, running moments and random generators included.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import lipschitz, ops, spectral
from .backend import Array, namespace, to_numpy
from .errors import ConfigError
from .geometry import pair
from .init import fans
from .nn import (
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Linear,
    Module,
    Sequential,
    Weighted,
    weighted_layers,
)
from .tensor import Tensor, as_tensor, grad, no_grad


@contextmanager
def _with_methods(network: Module, name: str, methods: dict[str, Callable]) -> Iterator[None]:
    """Replace a method of some layers within the block; restore methods and state at the end."""
    layers = weighted_layers(network)
    modules = [module for _, module in network.named_modules()]
    states = [(module, dict(module.state)) for module in modules]
    drawn = [module.rng.bit_generator for module in modules if isinstance(module, Dropout)]
    draws = [generator.state for generator in drawn]
    for layer, method in methods.items():
        vars(layers[layer])[name] = method
    try:
        yield
    finally:
        for layer in methods:
            del vars(layers[layer])[name]
        for module, state in states:
            module.state = state
        for generator, draw in zip(drawn, draws, strict=True):
            generator.state = draw


@contextmanager
def effective_weights(network: Module) -> Iterator[dict[str, Tensor]]:
    r"""Turn the effective weights into leaves, to differentiate with respect to them.

    .. math:: w_t = \bar W_t \quad\text{as variables of their own}

    Args:
        network: its layers compute with these leaves inside the ``with`` block.
    Returns:
        The weights by the names of their layers.

    Source: [L21 gradient bounds]
    """
    with no_grad():
        found = {n: m.effective_weight().array for n, m in weighted_layers(network).items()}
    held = {name: Tensor.wrap(array, requires_grad=True) for name, array in found.items()}
    methods = {name: (lambda W=W: W) for name, W in held.items()}
    with _with_methods(network, "effective_weight", methods):
        yield held


# -- gradients ----------------------------------------------------------------------------------


def weight_gradients(network: Module, *inputs: Tensor) -> dict[str, float]:
    r"""Measure how strongly the mean output depends on every effective weight.

    .. math:: \|\nabla_{w_t} E[D(x)]\|_F

    Args:
        network: D.
        inputs: a batch of images, [N, C, H, W], and of labels if D takes them; for a single x,
            a batch of one.
    Returns:
        The norm by layer.

    Source: [L21 gradient bounds]
    """
    return {name: _length(g) for name, (_, g) in _gradients(network, inputs).items()}


def _gradients(network: Module, inputs: tuple[Tensor, ...]) -> dict[str, tuple[Array, Array]]:
    """Return every effective weight with the gradient of the mean output."""
    with effective_weights(network) as held:
        found = grad(ops.mean(network(*inputs)), list(held.values()))
    return {n: (W.array, g.array) for (n, W), g in zip(held.items(), found, strict=True)}


def euler_products(network: Module, *inputs: Tensor) -> dict[str, float]:
    r"""Multiply every effective weight by the gradient of the mean output.

    .. math:: \langle w_t, \nabla_{w_t} E[D(x)]\rangle = E[D(x)], \qquad
              \|\nabla_{w_t} E[D(x)]\|_F \ge \frac{|E[D(x)]|}{\|w_t\|_F}

    by Euler's identity, if D has no biases, has each layer once, only ReLU or leaky ReLU inside,
    and nothing after the last layer. D is then homogeneous in each weight.

    Args:
        network, inputs: as in :func:`weight_gradients`.
    Returns:
        The product by layer; compare it with the mean output.

    Source: [L21 gradient bounds]
    """
    found = _gradients(network, inputs).items()
    return {name: float(np.sum(_double(W) * _double(g))) for name, (W, g) in found}


def input_gradients(network: Module, images: Tensor, *labels: Tensor) -> Array:
    r"""Measure how steep a discriminator is at each image.

    .. math:: \|\nabla_x D(x_n)\|_2

    Args:
        network: D, which must treat each image on its own: no batch statistics.
        images: [N, C, H, W], or [N, d].
        labels: [N], if D takes them.
    Returns:
        [N].

    Source: [L21 figures]
    """
    x = Tensor.wrap(as_tensor(images).array, requires_grad=True)
    with _with_methods(network, "forward", {}):
        slope = grad(ops.sum(network(x, *labels)), x)
    return _lengths(slope.array)


# -- norms and what they bound --------------------------------------------------------------------


@dataclass(frozen=True)
class LayerNorms:
    r"""The two norms of an effective weight.

    Attributes:
        matrix: the norm of the weight as a matrix; SN divides by it.
        operator: the norm of the layer as a map, which for a convolution maps images; SN_Conv
            divides by it.
        reach: :math:`\sqrt{\lceil h/s\rceil\lceil w/s\rceil}`, 1 for a dense layer; no weight of
            Frobenius norm 1 has a greater operator norm.
    """

    matrix: float
    operator: float
    reach: float

    @property
    def ratio(self) -> float:
        r""":math:`\rho`, operator over matrix; 1 for a weight of zeros."""
        return self.operator / self.matrix if self.matrix else 1.0


def layer_norms(network: Module, *inputs: Tensor) -> dict[str, LayerNorms]:
    r"""Compute two norms of every effective weight: as a matrix, and as the map of its layer.

    .. math:: 1 \le \rho = \frac{\|\mathrm{conv}_w\|}{\|w\|_{sp}}
              \le \sqrt{\lceil h/s\rceil\lceil w/s\rceil}

    The lower bound holds where some patch lies wholly inside the input. Neither bound applies to
    transposed convolutions, whose matrix has the other axis as its rows.

    Args:
        network: D or G.
        inputs: any inputs of the network; they set the size of the images at each convolution.
    Returns:
        The norms by layer, for dense layers, convolutions and transposed convolutions.
    Raises:
        NonFiniteError: a weight holds a NaN or an infinity.

    Source: [L21 SN_Conv], [M18 §2.1]
    """
    found, values = {}, spectra(network)
    for name, size in _sizes(network, inputs).items():
        layer, matrix = weighted_layers(network)[name], float(values[name][0])
        if isinstance(layer, Conv2d | ConvTranspose2d):
            with no_grad():
                w = layer.effective_weight().array
            operator = lipschitz.conv_operator_norm(w, size, layer.stride, layer.padding)
            steps = zip(w.shape[2:], pair("stride", layer.stride, 1), strict=True)
            reach = math.sqrt(math.prod(math.ceil(k / s) for k, s in steps))
            found[name] = LayerNorms(matrix, operator, reach)
        else:
            found[name] = LayerNorms(matrix, matrix, 1.0)
    return found


def spectra(network: Module) -> dict[str, Array]:
    r"""Compute the singular values of every effective weight, as a matrix.

    .. math:: \sigma_t(\bar W^l), \qquad \sigma_1 \ge \sigma_2 \ge \dots

    Args:
        network: D or G. The rows of a transposed convolution's matrix are its output channels.
    Returns:
        The values by layer, the largest first, in double precision.
    Raises:
        NonFiniteError: a weight holds a NaN or an infinity.

    Source: [M18 §2.1]
    """
    with no_grad():
        return {
            name: to_numpy(
                spectral.singular_values(spectral.double(m.effective_weight().array), m.axis)
            )
            for name, m in weighted_layers(network).items()
        }


def stable_rank(values: Array | Sequence[float]) -> float:
    r"""Count the directions that a weight uses: the largest as 1, each other by its share.

    .. math:: \frac{\|W\|_F^2}{\|W\|_{sp}^2} = \sum_t \frac{\sigma_t^2}{\sigma_1^2}

    Args:
        values: the singular values, the largest first.
    Returns:
        A number from 1 to the count of the values; 0 for a weight of zeros.

    Source: [M18 Figure 3]
    """
    return float(np.sum((np.asarray(values) / values[0]) ** 2)) if values[0] else 0.0


def estimates(network: Module) -> dict[str, float]:
    r"""Return each scheme's estimate of the norm of its weight, without a decomposition.

    .. math:: u^TW^lv

    with the u and v that the scheme keeps. For BSN it is the mean of the two matrices' numbers; for
    SN_Conv it is :math:`\langle u, \mathrm{conv}(v, w)\rangle`, with images u and v. Every scheme
    but ``Watched`` divides by its estimate.

    Args:
        network: D or G.
    Returns:
        The estimates by layer, for layers whose scheme has one.

    Source: [M18 §2.1]
    """
    with no_grad():
        found = {
            name: m.reparametrize.estimate(m.learned, m.axis, m.state)
            for name, m in weighted_layers(network).items()
        }
    return {name: float(sigma) for name, sigma in found.items() if sigma is not None}


def _sizes(network: Module, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """Return the size of the images at the convolution's input side, () for a dense layer."""
    seen = {}

    def noting(name: str, layer: Weighted) -> Callable[[Any], Any]:
        forward = layer.forward

        def noted(x: Tensor) -> Tensor:
            y = forward(x)
            seen[name] = (y if isinstance(layer, ConvTranspose2d) else x).shape[2:]
            return y

        return noted

    kinds = Linear | Conv2d | ConvTranspose2d
    layers = {n: m for n, m in weighted_layers(network).items() if isinstance(m, kinds)}
    methods = {name: noting(name, layer) for name, layer in layers.items()}
    with no_grad(), _with_methods(network, "forward", methods):
        network(*inputs)
    return seen


def gradient_bound(network: Module, x: Tensor) -> dict[str, float]:
    r"""Bound the gradient with respect to every effective weight, whatever the weights are.

    .. math:: \|\nabla_{w_t} E[D(x)]\|_F \le E\|x\|\; r_t \prod_i \|a_i\|_{Lip}
              \prod_{i\ne t} \|w_i\|

    with the operator norm of each convolution, not that of its matrix. A convolution uses each
    entry of :math:`w_t` at many places: :math:`r_t =
    \sqrt{\lceil h/s\rceil\lceil w/s\rceil}` bounds this effect, and is 1 for a dense layer.
    Over all L layers together the gradient is at most :math:`\sqrt L` times the largest bound.

    Args:
        network: a chain of layers, and of activations that have a ``lipschitz`` constant and
            map 0 to 0. An activation after its end does not count; for a sigmoid, multiply the
            bound by 0.25.
        x: a batch, [N, C, H, W] or [N, d].
    Returns:
        The bound by layer.
    Raises:
        ConfigError: the network is not such a chain, has a layer twice, or has nonzero biases.

    Source: [L21 gradient bounds]
    Deviation: L21's supplement states the bound without :math:`r_t`; without it, the bound fails
    for a convolution.
    """
    chain = _chain(network)
    others = [m for m in chain if not isinstance(m, Weighted)]
    if len(chain) > len(others) + len(weighted_layers(network)):
        raise ConfigError("gradient_bound: expected a chain that has each layer once")
    smooth = math.prod(m.lipschitz for m in others)
    norms = layer_norms(network, x)
    size = float(_double(_lengths(x.array)).mean())
    return {
        name: size
        * smooth
        * own.reach
        * math.prod(norm.operator for other, norm in norms.items() if other != name)
        for name, own in norms.items()
    }


def _chain(network: Module) -> list[Any]:
    """List the modules of a chain in order; refuse a module that does not belong in one."""
    if isinstance(network, Sequential):
        return [module for layer in network.layers for module in _chain(layer)]
    if isinstance(network, Weighted):
        if network.bias is not None and bool(namespace(network.bias.array).any(network.bias.array)):
            raise ConfigError(
                "gradient_bound: expected layers without biases, but a layer has one; "
                "make the layers with bias=False"
            )
    elif not hasattr(network, "lipschitz"):
        raise ConfigError(
            f"gradient_bound: expected a chain of layers and activations, found a "
            f"{type(network).__name__}, whose Lipschitz constant is not known"
        )
    return [network]


# -- the spread of weights ------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    r"""The variance of an effective weight, and the fans of its layer.

    Attributes:
        fan_in, fan_out: the fans, on which initializers depend.
        variance: the variance of the entries, around their mean.
    """

    fan_in: int
    fan_out: int
    variance: float


def weight_variances(network: Module) -> dict[str, Spread]:
    r"""Measure how widely the entries of every effective weight spread.

    .. math:: \mathrm{Var}(w_{ij}), \qquad \text{for a matrix of i.i.d. symmetric entries divided
              by its norm}\quad \le \frac1{\max\{m, n\}}

    LeCun's initialization has :math:`1 / \mathrm{fan_{in}}`.

    Args:
        network: D or G.
    Returns:
        The spread by layer.

    Source: [L21 variance]
    """
    found = {}
    for name, layer in weighted_layers(network).items():
        with no_grad():
            w = layer.effective_weight().array
        found[name] = Spread(*fans(layer.shape, layer.axis), float(_double(w).var()))
    return found


def _lengths(rows: Array) -> Array:
    """Return the length of each row, even if its square overflows the dtype."""
    with no_grad():
        return ops.norm(Tensor.wrap(rows), axis=tuple(range(1, rows.ndim))).array


def _length(array: Array) -> float:
    return float(np.linalg.norm(_double(array)))


def _double(array: Array) -> np.ndarray:
    """Return the entries in double precision, for sums over many."""
    return to_numpy(array).astype(np.float64)
