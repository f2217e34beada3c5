"""Distances within which no change of an image changes its class, proved by the layers' norms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .. import lipschitz, spectral
from ..arguments import generator
from ..errors import ConfigError, ShapeError
from ..geometry import Pixels, moves, output_size, pair
from ..labels import labels_of
from ..lipschitz import LipschitzBound
from ..nn import Conv2d, Linear, Module
from ..nn import Sequential as Chain
from ..tensor import Tensor, no_grad
from .attack import attack
from .classifier import accuracy, logits


def conv_norm_bound(
    w: Tensor | np.ndarray, size: Pixels, stride: Pixels = 1, padding: Pixels = 0
) -> float:
    r"""Return a proved upper bound on the norm of a convolution.

    .. math:: \|A\| \le \max_f \sigma\big(\hat W(f)\big), \qquad
              \hat W(f)_{o,(c,p,q)} = \sum_{k,l} w_{o,c,\,sk+p,\,sl+q}\;
              e^{-2\pi i\,(f_1 k + f_2 l)/n}

    Split the padded image into the :math:`s^2` images of its phases (p, q), each n by n with
    :math:`n = \lceil (H + 2a) / s \rceil`; this keeps its norm. The convolution becomes one of
    stride 1 with kernels of :math:`\lceil h/s \rceil` taps, and no output reaches beyond the n by
    n pixels. It is therefore the same convolution on a torus, with some outputs left out and some
    inputs set to 0, and its norm is no larger. The Fourier basis splits the convolution on the
    torus into one matrix for each frequency, and its norm is the largest norm of these matrices.

    :func:`minisn.lipschitz.conv_operator_norm` computes the norm itself, but for large
    convolutions nothing proves that it found the largest singular value, though it is very
    unlikely to miss it. The two numbers differ by the effect of the border: a few percent at 14
    pixels.

    Args:
        w: weight, [d_out, d_in, h, w].
        size: size of the input images, (H, W) pixels or one number.
        stride, padding: stride and padding of the convolution.
    Raises:
        ShapeError: the kernel does not fit.
        NonFiniteError: w holds a NaN or an infinity.

    Source: Sedghi et al. (2019) for the torus
    """
    w = np.asarray(w.array if isinstance(w, Tensor) else w, np.float64)
    spectral.peak("conv_norm_bound", w)
    if w.ndim != 4:
        raise ShapeError(f"conv_norm_bound: expected a weight of 4 axes, got shape {w.shape}")
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
    r"""Return a proved bound on the Lipschitz constant of a network, layer by layer.

    .. math:: \|f\|_{Lip} \le \prod_l \tau_l\,\|a_l\|_{Lip}, \qquad \tau_l \ge \|A_l\|

    Args:
        network: dense layers, convolutions, and layers with a ``lipschitz`` attribute.
        shape: shape of an image, (C, H, W).
    Returns:
        The factors and their product, for the current weights.
    Raises:
        ConfigError: the Lipschitz constant of a layer is not known.

    Source: [M18 Eq. (7)]
    """
    dtypes = [p.dtype for p in network.parameters()]
    image = np.zeros((1, *shape), dtypes[0] if dtypes else np.float32)
    return lipschitz.lipschitz_bound(_factors(network.layers, image))


def _factors(layers: Sequence[Module], image: np.ndarray) -> Iterator[tuple[str, float, float]]:
    """Yield the name, norm and constant of each layer; an image gives the size of its input."""
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
    r"""Return for each image a proved distance within which every image gets the same label.

    .. math:: r(x) = \min_{j \ne y} \frac{f_y(x) - f_j(x)}{L\,\|w_y - w_j\|_2}, \qquad
              f = W\phi + b, \quad \|\phi\|_{Lip} \le L

    *Proof.* :math:`f_y - f_j = (w_y - w_j)^T\phi + b_y - b_j`. By the Cauchy-Schwarz inequality,
    this difference changes between x and :math:`x + \delta` by at most
    :math:`\|w_y - w_j\|\,L\,\|\delta\|`, and stays positive for every j while
    :math:`\|\delta\| < r`. *The radius is never less than the usual one*,
    :math:`\min_j (f_y - f_j) / (\sqrt2\,\|f\|_{Lip})` with
    :math:`\|f\|_{Lip} \le \sigma(W)\,L`, because
    :math:`\|w_y - w_j\| = \|W^T(e_y - e_j)\| \le \sqrt2\,\sigma(W)`. *It cannot be raised in
    general*: for a linear classifier it is exactly the distance to the nearest boundary.

    The proof is about the function of real numbers that the weights define. It does not account
    for the rounding of the logits in float32, some 1e-6 of their size.

    Args:
        network: as in :func:`network_bound`; the last layer is dense and gives the logits.
        images, labels: [N, C, H, W] and integers [N].
    Returns:
        r, [N], in the units of the images; negative for an image that the network misclassifies.
    Raises:
        ConfigError: the last layer is not dense, or the constant of another layer is not known.
        DTypeError, ShapeError: a label is no integer, or no class; not one for each image.

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
    found = labels_of("certified_radius", labels, images)
    found.check("certified_radius", len(W))
    if found.shape != rows.shape:
        raise ShapeError(
            f"certified_radius: expected a label for each of {len(rows)} images, got labels of "
            f"shape {list(found.shape)}"
        )
    apart = np.sqrt(((W[labels, None] - W) ** 2).sum(axis=2))
    # equal rows differ by the bias alone: their radius becomes as good as infinite
    radii = (f[rows, labels, None] - f) / np.maximum(L * apart, 1e-200)
    radii[rows, labels] = np.inf
    return radii.min(axis=1)


@dataclass(frozen=True)
class CertifiedAccuracy:
    r"""Bounds on the accuracy against an adversary who may move every image by some distance.

    On the given images,
    :math:`\text{certified} \le P\big(\forall \|\delta\| \le r:\ \hat y(x + \delta) = y\big)
    \le \text{attacked}`.

    Attributes:
        radius: r, in the units of the images.
        certified: for each radius, the share of images with a larger certified radius.
        attacked: for each radius, the share of images classified correctly after :func:`attack`.
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
    """Bound the accuracy under attack at each radius, below by a proof and above by an attack.

    Args:
        network, images, labels: as in :func:`certified_radius`.
        radii: r, in the units of the images.
        rng, steps, restarts: as in :func:`attack`.
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
