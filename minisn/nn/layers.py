"""Layers with a weight, which may be reparametrized."""

import sys
from typing import Any

import numpy as np

from .. import conv, kernels
from ..arguments import generator, switch, whole_number
from ..errors import DTypeError, GraphError, NonFiniteError, ShapeError
from ..fused import conv2d_with_bias
from ..geometry import Pixels, added, moves, pair
from ..init import Initializer, initializer, normal
from ..labels import labels_of
from ..ops import getitem
from ..tensor import Tensor
from .module import Module
from .reparametrization import Reparametrization, State, scheme_of


class Weighted(Module):
    """A layer with a weight, which may be reparametrized.

    ``axis`` is the weight's output axis, which gives the rows of the weight as a matrix.
    """

    axis = 0
    weight: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        bias: bool,
        rng: np.random.Generator | int,
        reparametrize: Reparametrization | None,
        init: Initializer | str,
    ):
        super().__init__()
        name = type(self).__name__
        shape = tuple(whole_number(f"{name}: a size", n, -sys.maxsize) for n in shape)
        if min(shape) < 1:
            raise ShapeError(f"{name}: every size must be at least 1, got {shape}")
        self.shape, rng, biased = shape, generator(rng), switch(f"{name}: bias", bias)
        self._scheme = scheme_of(reparametrize)
        drawn = np.asarray(initializer(init)(rng, shape, self.axis))
        if drawn.shape != shape:
            raise ShapeError(f"{name}: expected init to draw {shape}, got {drawn.shape}")
        W = Tensor(drawn.astype(np.float32), requires_grad=True)
        learned, self.state = self.reparametrize.start(W, self.axis, rng)
        self._names = tuple(learned)
        for name, tensor in learned.items():
            setattr(self, name, tensor)
        zeros = np.zeros(shape[self.axis], np.float32)
        self.bias = Tensor(zeros, requires_grad=True) if biased else None

    @property
    def reparametrize(self) -> Reparametrization:
        """The scheme of the weight, which is fixed when the layer is made."""
        return self._scheme

    @reparametrize.setter
    def reparametrize(self, value: Any) -> None:
        raise GraphError(
            f"{type(self).__name__}.reparametrize cannot be set afterwards: a scheme starts with "
            "its own state; make a new layer with reparametrize=..., copy the weight with "
            ".weight.assign, and call power_step() until the norm it estimates no longer changes"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; only a parameter of the same shape may replace a learned tensor.

        Raises:
            GraphError: u, v or the like, which belong to ``state``.
            DTypeError, ShapeError: not a parameter, or another shape.
        """
        guarded = (*vars(self).get("_names", ()), "bias")
        before = vars(self).get(name) if name in guarded else None
        if before is not None and not (name == "bias" and value is None):
            if not isinstance(value, Tensor) or not value.is_parameter:
                raise DTypeError(
                    f"{type(self).__name__}.{name}: expected a Tensor with requires_grad=True that "
                    f"was not computed; to give it new values call .{name}.assign(array)"
                )
            if value.shape != before.shape:
                raise ShapeError(
                    f"{type(self).__name__}.{name}: expected shape {before.shape}, got "
                    f"{value.shape}"
                )
        elif name in vars(self).get("state", ()):
            raise GraphError(
                f"{type(self).__name__}.{name} is state; assign the new values to .state[{name!r}]"
            )
        super().__setattr__(name, value)

    @property
    def learned(self) -> dict[str, Tensor]:
        """The learned tensors of the weight, by name: usually ``weight`` alone."""
        return {name: getattr(self, name) for name in self._names}

    def effective_weight(self) -> Tensor:
        r"""Return the weight in the layer's product: :math:`\bar W`, or W itself."""
        return self.reparametrize.apply(self.learned, self.axis, self.state)

    def power_step(self) -> None:
        """Advance u and v by one round of power iteration; nothing else changes them.

        Raises:
            NonFiniteError: the weight holds a NaN or an infinity; u and v stay unchanged.
        """
        self.state = self.next_state()

    def next_state(self, name: str = "") -> State:
        """Return u and v after one more round; errors name the layer."""
        with np.errstate(invalid="ignore"):  # the error below names the layer
            state = self.reparametrize.step(self.learned, self.axis, self.state)
        if not all(map(kernels.finite_or_unseen, state.values())):
            raise NonFiniteError(
                f"layer {name or type(self).__name__}: the weight holds a NaN or an "
                "infinity: training has diverged; lower the step size"
            )
        return state


class Linear(Weighted):
    r"""A dense layer.

    .. math:: y = x W^T + b

    Args:
        d_in, d_out: sizes; the weight is [d_out, d_in].
        rng: random generator of the weight, or a seed.
        bias: add b, which starts at 0, as in the code of M18's authors and of L21's authors.
        reparametrize: a scheme such as ``SpectralNorm()``.
        init: an initializer, or a name in :data:`minisn.init.INITIALIZERS`.

    Source: [M18 Eq. (1)]
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        rng: np.random.Generator | int,
        bias: bool = True,
        reparametrize: Reparametrization | None = None,
        init: Initializer | str = normal(),
    ):
        super().__init__((d_out, d_in), bias, rng, reparametrize, init)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to [N, d_in]."""
        y = x @ self.effective_weight().T
        return y if self.bias is None else y + self.bias


class Conv2d(Weighted):
    """A convolution; see :func:`minisn.conv.conv2d`.

    Args:
        d_in, d_out: channels; the weight is [d_out, d_in, kernel, kernel].
        kernel, stride, padding: pixels, one number or (rows, columns).
        rng, bias, reparametrize, init: as in :class:`Linear`.

    Source: [M18 §2.1]
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        kernel: Pixels,
        rng: np.random.Generator | int,
        stride: Pixels = 1,
        padding: Pixels = 0,
        bias: bool = True,
        reparametrize: Reparametrization | None = None,
        init: Initializer | str = normal(),
    ):
        shape = (d_out, d_in, *pair("Conv2d: kernel", kernel, 1))
        moves(stride, padding, "Conv2d: ")
        super().__init__(shape, bias, rng, reparametrize, init)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to images [N, d_in, H, W]."""
        W, settings = self.effective_weight(), {"stride": self.stride, "padding": self.padding}
        if self.bias is None:
            return conv.conv2d(x, W, **settings)
        return conv2d_with_bias(x, W, self.bias, **settings)


class ConvTranspose2d(Weighted):
    """A transposed convolution; see :func:`minisn.conv.conv2d_transpose`.

    Args:
        d_in, d_out: input and output channels; the weight is [d_in, d_out, kernel, kernel], as
            in the convolution whose adjoint this is, and its output axis is 1.
        kernel, rng, stride, padding, bias, reparametrize, init: as in :class:`Conv2d`.
        output_padding: rows and columns to add at the end, less than the stride.

    Source: [M18 Table 3]
    """

    axis = 1

    def __init__(
        self,
        d_in: int,
        d_out: int,
        kernel: Pixels,
        rng: np.random.Generator | int,
        stride: Pixels = 1,
        padding: Pixels = 0,
        output_padding: Pixels = 0,
        bias: bool = True,
        reparametrize: Reparametrization | None = None,
        init: Initializer | str = normal(),
    ):
        shape = (d_in, d_out, *pair("ConvTranspose2d: kernel", kernel, 1))
        added("ConvTranspose2d", output_padding, moves(stride, padding, "ConvTranspose2d: ")[0])
        super().__init__(shape, bias, rng, reparametrize, init)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to images [N, d_in, H, W]."""
        W = self.effective_weight()
        y = conv.conv2d_transpose(x, W, self.stride, self.padding, self.output_padding)
        return y if self.bias is None else y + self.bias.reshape(1, -1, 1, 1)


class Embedding(Weighted):
    """A learned vector for each label.

    Args:
        labels: number of labels.
        size: length of a vector; the weight is [labels, size].
        rng, reparametrize, init: as in :class:`Linear`.
    """

    def __init__(
        self,
        labels: int,
        size: int,
        rng: np.random.Generator | int,
        reparametrize: Reparametrization | None = None,
        init: Initializer | str = normal(1.0),
    ):
        super().__init__((labels, size), False, rng, reparametrize, init)

    def forward(self, x: Tensor | None) -> Tensor:
        """Return the vectors of integer labels [N], [N, size]."""
        return look_up(self.effective_weight(), x, "Embedding")


def look_up(rows: Tensor, labels: Any, who: str) -> Tensor:
    """Return the row of each label.

    Args:
        rows: [classes, ...].
        labels: integers from 0, [N].
        who: name of the layer in errors.
    Returns:
        The rows, [N, ...].
    Raises:
        DTypeError: the labels are not integers.
        ShapeError: there are no labels, or one is out of range.
    """
    if labels is None:
        raise ShapeError(f"{who}: this network is conditional; expected labels, [N]; pass them")
    labels = labels_of(who, labels, rows.array)
    labels.check(who, len(rows))
    return getitem(rows, index=labels.array, checked=True)


def weighted_layers(network: Module) -> dict[str, Weighted]:
    """Return every layer of a network that has a weight, under its dotted name."""
    return {name: m for name, m in network.named_modules() if isinstance(m, Weighted)}


def power_step(network: Module) -> None:
    """Advance u and v of every layer by one round, once for each update of D.

    Raises:
        NonFiniteError: a weight holds a NaN or an infinity; the error names its layer, and every
            u and v stays unchanged.

    Source: [M18 Alg. 1]
    """
    layers = weighted_layers(network)
    states = [layer.next_state(name) for name, layer in layers.items()]
    for layer, state in zip(layers.values(), states, strict=True):
        layer.state = state
