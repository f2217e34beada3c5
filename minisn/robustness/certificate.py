"""A distance within which no change of an image changes its class, proved by layers' norms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .. import lipschitz, spectral
from ..errors import ConfigError
from ..geometry import Pixels, moves, output_size, pair
from ..init import generator
from ..lipschitz import LipschitzBound
from ..nn import Conv2d, Linear, Module
from ..nn import Sequential as Chain
from ..tensor import Tensor, no_grad
from .attack import attack
from .classifier import accuracy, logits


def conv_norm_bound(
    w: Tensor | np.ndarray, size: Pixels, stride: Pixels = 1, padding: Pixels = 0
) -> float:
    r"""Return a number that the norm of a convolution does not exceed, proved.

    .. math:: \|A\| \le \max_f \sigma\big(\hat W(f)\big), \qquad
              \hat W(f)_{o,(c,p,q)} = \sum_{k,l} w_{o,c,\,sk+p,\,sl+q}\;
              e^{-2\pi i\,(f_1 k + f_2 l)/n}

    Take the padded image apart into the :math:`s^2` images of its phases (p, q), each n by n
    with :math:`n = \lceil (H + 2a) / s \rceil`: this keeps its length. The convolution is now one
    of stride 1 with kernels of :math:`\lceil h/s \rceil` taps, and no output that it has reaches
    beyond the n by n pixels. So it is a part of the same convolution around a torus, with some
    outputs left out and some inputs 0, and its norm is no larger. That one is diagonal in
    Fourier's basis, a matrix for each frequency, and the greatest of their norms is its own.

    :func:`minisn.lipschitz.conv_operator_norm` is the norm itself, but that no larger singular
    value was missed is for large convolutions only certain with probability 1. The two differ by
    the border: a few percent at 14 pixels.

    Args:
        w: weight, [d_out, d_in, h, w].
        size: of the input images, (H, W) pixels or one number.
        stride, padding: of the convolution.
    Raises:
        ShapeError: the kernel does not fit.
        NonFiniteError: w holds a NaN or an infinity.

    Source: Sedghi et al. (2019) for the torus
    """
    w = np.asarray(w.array if isinstance(w, Tensor) else w, np.float64)
    spectral.check_finite("conv_norm_bound", np.abs(w).max())
    both = [pair("size", size), *moves(stride, padding)]
    output_size("conv_norm_bound", both[0], w.shape[2:], *both[1:])
    s, t = both[1]
    rows, columns = (-(-k // step) for k, step in zip(w.shape[2:], both[1], strict=True))
    n = [-(-(m + 2 * a) // step) for m, step, a in zip(*both, strict=True)]
    whole = np.zeros((*w.shape[:2], rows * s, columns * t))
    whole[:, :, : w.shape[2], : w.shape[3]] = w
    phases = whole.reshape(*w.shape[:2], rows, s, columns, t).transpose(0, 1, 3, 5, 2, 4)
    phases = phases.reshape(w.shape[0], -1, rows, columns)
    at_frequency = np.fft.rfft2(phases, n).transpose(2, 3, 0, 1)
    largest = float(np.linalg.svdvals(at_frequency).max())
    return largest * (1 + phases.size * float(np.finfo(np.float64).eps))


def network_bound(network: Chain, shape: tuple[int, int, int]) -> LipschitzBound:
    r"""Bound the Lipschitz constant of a network, every layer by a norm that is proved.

    .. math:: \|f\|_{Lip} \le \prod_l \tau_l\,\|a_l\|_{Lip}, \qquad \tau_l \ge \|A_l\|

    Args:
        network: dense layers, convolutions, and layers that know their ``lipschitz`` constant.
        shape: of an image, (C, H, W).
    Returns:
        The factors and their product, of the weights as they are now in use.
    Raises:
        ConfigError: a layer of another kind.

    Source: [M18 Eq. (7)]
    """
    image = np.zeros((1, *shape), network.parameters()[0].dtype)
    return lipschitz.lipschitz_bound(_factors(network.layers, image))


def _factors(layers: Sequence[Module], image: np.ndarray) -> Iterator[tuple[str, float, float]]:
    """Yield the name, norm and constant of each layer; an image shows at which size it works."""
    with no_grad():
        x = Tensor.wrap(image)
        for i, layer in enumerate(layers):
            name, constant = f"layers.{i}", getattr(layer, "lipschitz", None)
            if isinstance(layer, Linear):
                yield name, spectral.norm_bound(layer.effective_weight()), 1.0
            elif isinstance(layer, Conv2d):
                W, size = layer.effective_weight(), (x.shape[2], x.shape[3])
                yield name, conv_norm_bound(W, size, layer.stride, layer.padding), 1.0
            elif constant is not None:
                yield name, 1.0, constant
            else:
                raise ConfigError(
                    f"{name} is a {type(layer).__name__}, whose Lipschitz constant is not known "
                    "here; expected Linear, Conv2d, or a layer with a lipschitz attribute"
                )
            x = layer(x)


def certified_radius(network: Chain, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    r"""Return for each image a distance within which no image has another class, proved.

    .. math:: r(x) = \min_{j \ne y} \frac{f_y(x) - f_j(x)}{L\,\|w_y - w_j\|_2}, \qquad
              f = W\phi + b, \quad \|\phi\|_{Lip} \le L

    *Proof.* :math:`f_y - f_j = (w_y - w_j)^T\phi + b_y - b_j`, so by Cauchy and Schwarz it
    changes between x and :math:`x + \delta` by at most
    :math:`\|w_y - w_j\|\,L\,\|\delta\|`, and stays positive for every j while
    :math:`\|\delta\| < r`. *It is never less than the usual radius*
    :math:`\min_j (f_y - f_j) / (\sqrt2\,\|f\|_{Lip})` with
    :math:`\|f\|_{Lip} \le \sigma(W)\,L`, as
    :math:`\|w_y - w_j\| = \|W^T(e_y - e_j)\| \le \sqrt2\,\sigma(W)`. *It cannot be raised in
    general*: for a linear classifier it is the distance to the nearest boundary, and exact.

    The network is the function of real numbers that its weights define; that its logits are
    computed in float32, to some 1e-6 of their size, is not accounted for.

    Args:
        network: as in :func:`network_bound`; the last layer is dense and gives the logits.
        images, labels: [N, C, H, W] and integers [N].
    Returns:
        r, [N], in the units of the images; negative where the network errs.
    Raises:
        ConfigError: the last layer is not dense, or another one's constant is not known.

    Source: Tsuzuku et al. (2018); the product is [M18 Eq. (7)]
    """
    *inner, last = network.layers
    if not isinstance(last, Linear):
        raise ConfigError(
            f"certified_radius: the last layer must be Linear, got {type(last).__name__}"
        )
    L = lipschitz.lipschitz_bound(_factors(inner, images[:1])).value
    f, rows = logits(network, images), np.arange(len(images))
    with no_grad():
        W = last.effective_weight().numpy().astype(np.float64)
    apart = np.sqrt(((W[labels, None] - W) ** 2).sum(axis=2))
    # Rows that are equal differ by the bias alone: then this is as good as infinite.
    radii = (f[rows, labels, None] - f) / np.maximum(L * apart, 1e-200)
    radii[rows, labels] = np.inf
    return radii.min(axis=1)


@dataclass(frozen=True)
class CertifiedAccuracy:
    r"""Accuracy against an opponent who may move every image by some distance.

    What it is lies between the two:
    :math:`\text{certified} \le P\big(\forall \|\delta\| \le r:\ \hat y(x + \delta) = y\big)
    \le \text{attacked}`, on the images given.

    Attributes:
        radius: r, in the units of the images.
        certified: for each, the share of images whose certified radius is larger.
        attacked: for each, the share that :func:`attack` left right.
    """

    radius: tuple[float, ...]
    certified: tuple[float, ...]
    attacked: tuple[float, ...]


def certified_accuracy(
    network: Chain,
    images: np.ndarray,
    labels: np.ndarray,
    radii: Sequence[float],
    rng: np.random.Generator,
    steps: int = 40,
    restarts: int = 3,
) -> CertifiedAccuracy:
    """Enclose the accuracy under attack, radius by radius, between a proof and an attempt.

    Args:
        network, images, labels: as in :func:`certified_radius`.
        radii: r, in the units of the images.
        rng, steps, restarts: of :func:`attack`.
    """
    rng = generator(rng)
    proved = certified_radius(network, images, labels)
    return CertifiedAccuracy(
        tuple(map(float, radii)),
        tuple(float((proved > r).mean()) for r in radii),
        tuple(
            accuracy(network, attack(network, images, labels, r, rng, steps, restarts), labels)
            for r in radii
        ),
    )
