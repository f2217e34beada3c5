"""The standard CNN, at any width.

Source: [M18 Table 3]
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ..arguments import generator
from ..errors import ConfigError
from ..init import Initializer, normal
from ..nn import (
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Embedding,
    LayerNorm,
    LeakyReLU,
    Linear,
    Module,
    ReLU,
    Reshape,
    Scale,
    Sequential,
    Tanh,
)
from ..regularizers import Method, method
from ..tensor import Tensor
from .labels import Chain, Join, batch_norm, check_labels, head

PAPER_WIDTH = 64

GAMMAS = ("none", "layer", "shared")
"""Learned factors of D's layers: none, one for each layer, or one for all [L21 experiments]."""


def cnn_generator(
    size: int,
    channels: int,
    rng: np.random.Generator,
    width: int = PAPER_WIDTH,
    latent: int = 128,
    classes: int = 0,
    init: Initializer = normal(),
    unit_norm: bool = False,
) -> Chain:
    r"""Build the standard CNN generator, from latent vectors to images in (-1, 1).

    The network has a dense layer to :math:`M_g \times M_g \times 8w`, three 4x4 transposed
    convolutions with stride 2 to 4w, 2w and w channels, a 3x3 convolution and tanh. :math:`M_g` is
    the size halved three times, rounded down each time; if that loses a row, the transposed
    convolution has an output padding of 1, so the output has the exact size. With labels, every
    normalization has a gain and a shift for each class.

    Args:
        size: M, pixels, at least 8: 28, 32 or 48 for the data sets here.
        channels: channels of the images.
        rng: random generator of the weights.
        width: w, 64 in the paper.
        latent: length of a latent vector, 128 in the paper.
        classes: number of classes; 0 without labels.
        init: initializer of the weights.
        unit_norm: normalize each unit of the dense layer separately.
    Returns:
        A module from [N, latent], and labels [N] for a conditional network, to
        [N, channels, size, size].
    Raises:
        ConfigError: a size below 8.

    Source: [M18 Table 3]
    Deviation: here batch normalization and ReLU follow the dense layer too; the table has them only
    after the transposed convolutions. The code of M18's authors and of L21's authors has them too,
    but normalizes each of the :math:`8w M_g^2` units separately over the batch
    (``unit_norm = true``); here 8w channels are normalized over batch and pixels.
    Deviation: batch normalization has :math:`\epsilon = 10^{-5}`, as in L21's code; M18's code uses
    twice that, the default of Chainer. The authors' chainer-gan-lib also draws z uniformly.
    Deviation: layers before a batch normalization have no bias, because the normalization cancels
    it. The code of M18's authors and of L21's authors has one. Biases start at 0 in all three.
    """
    rng = generator(rng)
    sizes, widths = _halvings(size)[::-1], [8 * width, 4 * width, 2 * width, width]
    units = widths[0] * sizes[0] ** 2
    shape = Reshape(widths[0], sizes[0], sizes[0])
    layers: list[Module] = [
        Linear(latent, units, rng, bias=False, init=init),
        *([batch_norm(units, classes), shape] if unit_norm else
          [shape, batch_norm(widths[0], classes)]),
        ReLU(),
    ]  # fmt: skip
    for (now, target), (d_in, d_out) in zip(pairwise(sizes), pairwise(widths), strict=True):
        doubled = ConvTranspose2d(d_in, d_out, 4, rng, 2, 1, target - 2 * now, False, init=init)
        layers += [doubled, batch_norm(d_out, classes), ReLU()]
    layers += [Conv2d(width, channels, 3, rng, padding=1, init=init), Tanh()]
    return Chain(*layers)


def cnn_discriminator(
    size: int,
    channels: int,
    rng: np.random.Generator,
    width: int = PAPER_WIDTH,
    regularizer: Method = method("sn"),
    gamma: str = "none",
    conditional: str = "none",
    classes: int = 0,
    features: int = 0,
    features_in: int = 0,
    last_bias: bool = True,
) -> Chain:
    r"""Build the standard CNN discriminator, from images to one score each.

    3x3 convolutions with stride 1 and 4x4 convolutions with stride 2 alternate, to w, w, 2w, 2w,
    4w, 4w and 8w channels. A leaky ReLU of slope 0.1 follows each convolution, and a dense layer to
    one number follows the last. With a method of batch or layer normalization, the normalization
    follows every convolution except the first.

    The paper's CNNs have no labels. Here labels enter as in the paper's ResNets: either vectors of
    length 2w are joined to the channels after the fourth convolution (half of seven, rounded up),
    or labels enter at the end, with the input of the dense layer as features.

    Args:
        size: M, pixels, at least 8.
        channels: channels of the images.
        rng: random generator of the weights.
        width: w, 64 in the paper.
        regularizer: a method of :data:`minisn.regularizers.METHODS`.
        gamma: one of :data:`GAMMAS`. ``"layer"`` multiplies the output of every layer, weight and
            bias alike, by a learned number that starts at 1; ``"shared"`` by the same number for
            all layers. L21's code trains both with SN only; here every method can have them.
        conditional: one of :data:`minisn.models.CONDITIONAL`.
        classes: number of classes.
        features: output channels of the last convolution; 0 for the table's 8w.
        features_in: input channels of the last convolution, which are the output channels of the
            convolution before; 0 for the table's 4w. Figure 4 multiplies both by one factor.
        last_bias: whether the dense layer has a bias.
    Returns:
        A module from images [N, channels, size, size], and labels [N] with "concat" or
        "projection", to [N, 1]; with "auxiliary" also to logits, [N, classes].
    Raises:
        ConfigError: a size below 8, an unknown gamma, or a conditional D without classes.

    Source: [M18 Table 3], [M18 Figure 4], [L21 experiments]
    Deviation: this network is the table's; the CNN of the authors' chainer-gan-lib widens in its
    strided convolutions and has slope 0.2.
    Deviation: L21's code draws the first weights of the convolutions from a normal distribution
    with deviation 0.02, truncated at two deviations; here it is not truncated.
    """
    rng = generator(rng)
    sizes = _halvings(size)
    check_labels(conditional, classes)
    scales = _scales(gamma)
    scheme, init = regularizer.reparametrize, regularizer.init
    layers: list[Module] = []
    d_in = channels
    widths = [width * factor for factor in (1, 1, 2, 2, 4)]
    widths += [features_in or 4 * width, features or 8 * width]
    for step, d_out in enumerate(widths):
        if conditional == "concat" and step == 4:
            layers.append(Join(Embedding(classes, 2 * width, rng, scheme, init)))
            d_in += 2 * width
        kernel, stride = (4, 2) if step % 2 else (3, 1)
        here = scheme.at(sizes[step // 2], stride, 1)
        layers += [
            Conv2d(d_in, d_out, kernel, rng, stride, 1, reparametrize=here, init=init),
            *scales(),
            *normalization(regularizer, d_out, first=step == 0),
            LeakyReLU(0.1),
        ]
        d_in = d_out
    d_phi = d_in * sizes[-1] ** 2
    psi: Module = Linear(d_phi, 1, rng, bias=last_bias, reparametrize=scheme, init=init)
    if gamma != "none":
        psi = Sequential(psi, *scales())
    end = head(psi, d_phi, regularizer, rng, conditional, classes)
    return Chain(*layers, Reshape(-1), end)


def _scales(gamma: str) -> Callable[[], list[Scale]]:
    """Return what makes the learned factor of D's next layer, in a list; empty if it has none."""
    if gamma not in GAMMAS:
        raise ConfigError(f"gamma = {gamma!r}: expected one of {', '.join(GAMMAS)}")
    shared = Tensor(np.ones((), np.float32), requires_grad=True)
    return {"none": list, "layer": lambda: [Scale()], "shared": lambda: [Scale(shared)]}[gamma]


def normalization(regularizer: Method, channels: int, first: bool) -> list[Module]:
    """Return a method's normalization after a convolution, without gain; empty if it has none."""
    if first or regularizer.layer is None:
        return []
    kind = {"batch": BatchNorm, "layer": LayerNorm}[regularizer.layer]
    return [kind(channels, gain=False)]


def _halvings(size: int) -> list[int]:
    """Return the image sizes from M down to the smallest, each half of the last, rounded down."""
    if size < 8:
        raise ConfigError(f"images of {size} pixels are too small for Table 3; expected at least 8")
    return [size >> k for k in range(4)]
