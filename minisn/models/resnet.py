"""The residual networks, at any width.

Source: [M18 Table 4], [M18 Table 5], [M18 Table 6], [M18 Figure 8]
"""

from dataclasses import dataclass

import numpy as np

from .. import ops
from ..arguments import generator
from ..errors import ConfigError
from ..init import Initializer, in_residual, normal
from ..nn import BatchNorm, Conv2d, Embedding, Linear, Module, ReLU, Reshape, Sequential, Tanh
from ..pooling import avg_pool2d, global_sum_pool2d, upsample_nearest2d
from ..regularizers import Method, method
from ..tensor import Tensor
from .cnn import normalization
from .labels import Chain, Join, Labeled, batch_norm, check_labels, head


@dataclass(frozen=True)
class Table:
    """Channels of the blocks, in multiples of the width w.

    Args:
        width: w in the paper, the channels of D's first block.
        start: pixels of G's first image, on each side.
        up: multiples for G's dense layer, then for each block of G, which doubles the image.
        down: multiples for D's blocks that halve the image.
        flat: multiples for D's blocks after them.
    """

    width: int
    start: int
    up: tuple[int, ...]
    down: tuple[int, ...]
    flat: tuple[int, ...]


TABLES = {
    28: Table(128, 7, (2, 2, 2), (1, 1), (1, 1)),
    32: Table(128, 4, (2, 2, 2, 2), (1, 1), (1, 1)),
    48: Table(64, 6, (8, 4, 2, 1), (1, 2, 4, 8), (16,)),
    128: Table(64, 4, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16), (16,)),
}
"""Tables 4, 5 and 6, by the size of the images, pixels.

Source: [M18 Table 4], [M18 Table 5], [M18 Table 6]
Deviation: the network for 28 pixels is that of Table 4, but G starts from 7x7 and has two blocks,
not three: the paper has no network for 28 pixels, and 28 cannot be halved three times.
"""

EMBEDDED = 128
"""Length of the label vector that is joined to the channels, at the paper's width."""


class UpBlock(Labeled):
    r"""A residual block of G, which doubles the image.

    .. math:: y = c_2 \circ a \circ n_2 \circ c_1 \circ U \circ a \circ n_1(x) + U \circ c_0(x)

    Here :math:`c_1` and :math:`c_2` are 3x3 convolutions, n batch normalizations, a ReLU, U
    upsampling, and :math:`c_0` a 1x1 convolution, which commutes with U and so is applied to the
    smaller image.

    Args:
        d_in, d_out: channels.
        rng: random generator of the weights.
        classes: number of classes of the normalizations; 0 for plain normalizations.
        init: initializer; in the residual path changed by :func:`minisn.init.in_residual`.

    Source: [M18 Figure 8]
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        rng: np.random.Generator,
        classes: int,
        init: Initializer = normal(),
    ):
        super().__init__()
        self.n1, self.n2 = batch_norm(d_in, classes), batch_norm(d_out, classes)
        self.c1 = Conv2d(d_in, d_out, 3, rng, padding=1, init=in_residual(init))
        self.c2 = Conv2d(d_out, d_out, 3, rng, padding=1, init=in_residual(init))
        self.c0 = Conv2d(d_in, d_out, 1, rng, init=init)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Apply the block to images [N, d_in, H, W]; return [N, d_out, 2H, 2W]."""
        given = () if labels is None else (labels,)
        h = upsample_nearest2d(ops.relu(self.n1(x, *given)))
        h = ops.relu(self.n2(self.c1(h), *given))
        return self.c2(h) + upsample_nearest2d(self.c0(x))


class DownBlock(Module):
    r"""A residual block of D, which halves the image or keeps its size.

    .. math:: y = P \circ c_2 \circ a \circ c_1 \circ a(x) + P \circ c_0(x)

    Here :math:`c_1` and :math:`c_2` are 3x3 convolutions, a is ReLU, P average pooling of 2x2
    pixels, and :math:`c_0` a 1x1 convolution. There are d_in hidden channels. A block that keeps
    the size has no P, and no :math:`c_0` if it also keeps the number of channels. The first block
    has no a before :math:`c_1`, d_out hidden channels, and the shortcut :math:`c_0 \circ P(x)`. A
    method's batch or layer normalization comes before every a.

    Args:
        d_in, d_out: channels.
        size: size of x, pixels.
        rng: random generator of the weights.
        regularizer: the method of D.
        down: whether to halve the image.
        first: whether x is the input of D.

    Source: [M18 Figure 8]
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        size: int,
        rng: np.random.Generator,
        regularizer: Method,
        down: bool = True,
        first: bool = False,
    ):
        super().__init__()
        self.down, self.first = down, first
        hidden = d_out if first else d_in

        def conv(d_in: int, d_out: int, kernel: int, size: int) -> Conv2d:
            scheme = regularizer.reparametrize.at(size, 1, kernel // 2)
            init = regularizer.init if kernel == 1 else in_residual(regularizer.init)
            return Conv2d(
                d_in, d_out, kernel, rng, padding=kernel // 2, reparametrize=scheme, init=init
            )

        self.residual = Sequential(
            *([] if first else [*normalization(regularizer, d_in, first=False), ReLU()]),
            conv(d_in, hidden, 3, size),
            *normalization(regularizer, hidden, first=False),
            ReLU(),
            conv(hidden, d_out, 3, size),
        )
        self.shortcut = Sequential()
        if down or d_in != d_out:
            self.shortcut.layers += [conv(d_in, d_out, 1, size // 2 if first else size)]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to images [N, d_in, H, W]; return d_out channels, halved if down."""
        if self.first:
            return avg_pool2d(self.residual(x)) + self.shortcut(avg_pool2d(x))
        y = self.residual(x)
        y = y + (self.shortcut(x) if self.shortcut.layers else x)
        return avg_pool2d(y) if self.down else y


class SumPool(Module):
    """The sum of every channel over the image, from [N, C, H, W] to [N, C].

    Source: [M18 Table 4]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Sum images [N, C, H, W] over their pixels."""
        return global_sum_pool2d(x)


def resnet_generator(
    size: int,
    channels: int,
    rng: np.random.Generator,
    width: int | None = None,
    latent: int = 128,
    classes: int = 0,
    init: Initializer = normal(),
) -> Chain:
    r"""Build the ResNet generator, from latent vectors to images in (-1, 1).

    The network has a dense layer, blocks that double the image, batch normalization, ReLU, a 3x3
    convolution and tanh. With labels, the normalizations in the blocks are conditional; the last
    normalization is common to all classes, as in the authors' code.

    Args:
        size: size of the images, pixels, a key of :data:`TABLES`.
        channels: channels of the images.
        rng: random generator of the weights.
        width: w; None for the paper's width.
        latent: length of a latent vector, 128 in the paper.
        classes: number of classes; 0 without labels.
        init: initializer of the weights.
    Returns:
        A module from [N, latent], and labels [N] for a conditional network, to
        [N, channels, size, size].
    Raises:
        ConfigError: a size without a table.

    Source: [M18 Table 4], [M18 Table 5], [M18 Table 6]
    Deviation: the first weights are normal with deviation 0.02. The code of M18's and L21's authors
    draws them uniformly by Glorot's rule, times :math:`\sqrt2` in the residual path
    (``init_g = "glorot"``). The paper names neither.
    Deviation: batch normalization has :math:`\epsilon = 10^{-5}`; Chainer's default is twice that.
    """
    rng = generator(rng)
    table = _table(size)
    w = table.width if width is None else width
    first, *blocks = (factor * w for factor in table.up)
    layers: list[Module] = [
        Linear(latent, first * table.start**2, rng, init=init),
        Reshape(first, table.start, table.start),
    ]
    d_in = first
    for d_out in blocks:
        layers.append(UpBlock(d_in, d_out, rng, classes, init))
        d_in = d_out
    last = Conv2d(d_in, channels, 3, rng, padding=1, init=init)
    return Chain(*layers, BatchNorm(d_in), ReLU(), last, Tanh())


def resnet_discriminator(
    size: int,
    channels: int,
    rng: np.random.Generator,
    width: int | None = None,
    regularizer: Method = method("sn"),
    conditional: str = "none",
    classes: int = 0,
    last_bias: bool = True,
) -> Chain:
    r"""Build the ResNet discriminator, from images to one score each.

    The network has blocks that halve the image, blocks that keep its size, ReLU, the sum over the
    image and a dense layer to one number. With "concat", label vectors, of length 128 at the
    paper's width, are joined after half of the blocks, rounded up: after the third of six in Table
    6 (c). With "projection" and "auxiliary", labels enter at the end, see
    :mod:`minisn.models.labels`.

    Args:
        size: size of the images, pixels, a key of :data:`TABLES`.
        channels: channels of the images.
        rng: random generator of the weights.
        width: w; None for the paper's width.
        regularizer: a method of :data:`minisn.regularizers.METHODS`.
        conditional: one of :data:`minisn.models.CONDITIONAL`.
        classes: number of classes.
        last_bias: whether the dense layer has a bias.
    Returns:
        A module from images [N, channels, size, size], and labels [N] with "concat" or
        "projection", to [N, 1]; with "auxiliary" also to logits, [N, classes].
    Raises:
        ConfigError: a size without a table, or a conditional D without classes.

    Source: [M18 Table 4], [M18 Table 5], [M18 Table 6]
    Deviation: the first weights are normal with deviation 0.02. The code of M18's and L21's authors
    draws them uniformly by Glorot's rule, times :math:`\sqrt2` in the residual path
    (``init = "glorot"``). Under SN their scale changes only the relative size of Adam's steps.
    With the authors' weights it is 2 to 6 times smaller.
    Deviation: the dense layer has a bias; in the authors' network for 32 pixels it has none
    (``last_bias = false``).
    Deviation: L21's ResNet has as many hidden channels as output channels, and a 1x1 shortcut in
    every block.
    """
    rng = generator(rng)
    table = _table(size)
    check_labels(conditional, classes)
    w = table.width if width is None else width
    scheme, init = regularizer.reparametrize, regularizer.init
    layers: list[Module] = []
    d_in, factors = channels, table.down + table.flat
    for k, factor in enumerate(factors):
        if conditional == "concat" and k == (len(factors) + 1) // 2:
            embedded = max(1, EMBEDDED * w // table.width)
            layers.append(Join(Embedding(classes, embedded, rng, scheme, init)))
            d_in += embedded
        down = k < len(table.down)
        layers.append(DownBlock(d_in, factor * w, size, rng, regularizer, down, first=k == 0))
        d_in, size = factor * w, size // 2 if down else size
    psi = Linear(d_in, 1, rng, bias=last_bias, reparametrize=scheme, init=init)
    end = head(psi, d_in, regularizer, rng, conditional, classes)
    return Chain(*layers, ReLU(), SumPool(), end)


def _table(size: int) -> Table:
    if size not in TABLES:
        raise ConfigError(
            f"there is no ResNet for images of {size} pixels; expected one of "
            f'{", ".join(map(str, TABLES))}; choose other data, or model = "cnn"'
        )
    return TABLES[size]
