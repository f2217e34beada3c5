"""Layers: modules with named parameters and named state.

A parameter is a Tensor that records; state is what changes without a gradient (u and
v of spectral normalization, running moments of batch normalization). Both are saved;
only parameters are ever given to an optimizer.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Self

import numpy as np

from . import conv, kernels, ops
from .backend import Array, is_finite, namespace, to_device
from .errors import CheckpointError, DTypeError, NonFiniteError, ShapeError
from .regularizers import SpectralNorm
from .tensor import Tensor

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(std: float = 0.02) -> Initializer:
    """Draw weights from a normal distribution with mean 0; 0.02 is the authors' deviation."""
    return lambda rng, shape: std * rng.standard_normal(shape)


class Module:
    """A part of a network: its parameters, its state, and the modules it is made of.

    Attributes that are Tensors with ``requires_grad`` are parameters; attributes that are
    Modules, or lists of them, are parts; ``state`` holds named arrays.
    """

    def __init__(self) -> None:
        self.training = True
        self.state: dict[str, Array] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Compute the result; each module says how."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    # -- walking ---------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Yield this module and all its parts, each with its dotted name."""
        yield prefix, self
        for name, value in vars(self).items():
            parts = {name: value} if isinstance(value, Module) else {}
            if isinstance(value, list):
                parts = {f"{name}.{i}": v for i, v in enumerate(value) if isinstance(v, Module)}
            for part, module in parts.items():
                yield from module.named_modules(f"{prefix}.{part}" if prefix else part)

    def named_parameters(self) -> dict[str, Tensor]:
        """Return every parameter under its dotted name, in a fixed order."""
        return {
            f"{prefix}.{name}" if prefix else name: value
            for prefix, module in self.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, Tensor) and value.requires_grad
        }

    def parameters(self) -> list[Tensor]:
        """Return every parameter, in a fixed order."""
        return list(self.named_parameters().values())

    def train(self, on: bool = True) -> Self:
        """Switch to training: batch normalization uses the batch's moments."""
        for _, module in self.named_modules():
            module.training = on
        return self

    def eval(self) -> Self:
        """Switch to evaluation: nothing moves."""
        return self.train(False)

    # -- saving ------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays of all parameters and all state, under their dotted names."""
        found = {name: p.array for name, p in self.named_parameters().items()}
        for prefix, module in self.named_modules():
            for name, value in module.state.items():
                found[f"{prefix}.{name}" if prefix else name] = value
        return found

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Take all parameters and state from arrays named as by :meth:`state_dict`.

        Raises:
            CheckpointError: a name is missing or unknown, or a shape differs.
        """
        mine = self.state_dict()
        missing, unknown = sorted(mine.keys() - arrays.keys()), sorted(arrays.keys() - mine.keys())
        if missing or unknown:
            raise CheckpointError(
                "the arrays belong to another network: "
                + "; ".join(
                    f"{what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
                    for what, names in (("missing", missing), ("unknown", unknown))
                    if names
                )
            )
        for name, array in arrays.items():
            if tuple(array.shape) != tuple(mine[name].shape):
                raise CheckpointError(
                    f"{name} has shape {tuple(array.shape)}, this network expects "
                    f"{tuple(mine[name].shape)}: it was saved from another architecture"
                )
        parameters = self.named_parameters()
        for name, p in parameters.items():
            p.assign(namespace(p.array).asarray(arrays[name], dtype=p.dtype, copy=True))
        for prefix, module in self.named_modules():
            for name, value in module.state.items():
                full = f"{prefix}.{name}" if prefix else name
                module.state[name] = namespace(value).asarray(
                    arrays[full], dtype=value.dtype, copy=True
                )

    def to(self, device: str = "cpu", dtype: str | None = None) -> Self:
        """Move all parameters and state to a device, and to another floating-point type."""

        def moved(array: Array) -> Array:
            array = to_device(array, device)
            return array if dtype is None else namespace(array).astype(
                array, getattr(namespace(array), dtype))  # fmt: skip

        for p in self.parameters():
            p.reset(moved(p.array))
        for _, module in self.named_modules():
            module.state = {name: moved(value) for name, value in module.state.items()}
        return self


# -- layers with a weight ------------------------------------------------------------------


class Weighted(Module):
    """A layer with a weight, which it may compute with in a reparametrized form.

    ``axis`` is the weight's output axis: the rows of the matrix whose norm is meant.
    """

    axis = 0

    def __init__(
        self, shape: tuple[int, ...], biases: int, rng: np.random.Generator,
        reparametrize: SpectralNorm | None, init: Initializer,
    ):  # fmt: skip
        super().__init__()
        if min(shape) < 1:
            raise ShapeError(f"{type(self).__name__}: every size must be at least 1, got {shape}")
        self.weight = Tensor(init(rng, shape).astype(np.float32), requires_grad=True)
        self.bias = Tensor(np.zeros(biases, np.float32), requires_grad=True) if biases else None
        self.reparametrize = reparametrize
        if reparametrize:
            self.state = reparametrize.start(self.weight, self.axis, rng)

    def effective_weight(self) -> Tensor:
        r"""Return the weight that the layer computes with: :math:`\bar W`, or W itself."""
        if self.reparametrize is None:
            return self.weight
        return self.reparametrize.apply(self.weight, self.axis, self.state)

    def power_step(self) -> None:
        """Advance u and v by one round of power iteration; nothing else ever moves them."""
        if self.reparametrize is not None:
            self.state = self.reparametrize.step(self.weight, self.axis, self.state)


class Linear(Weighted):
    r"""A dense layer.

    .. math:: y = x W^T + b

    Args:
        d_in, d_out: sizes; the weight is [d_out, d_in].
        rng: draws the weight.
        bias: add b.
        reparametrize: a scheme such as ``SpectralNorm()``.
        init: draws a weight of a shape.

    Source: [M18 Eq. (1)]
    """

    def __init__(
        self, d_in: int, d_out: int, rng: np.random.Generator, bias: bool = True,
        reparametrize: SpectralNorm | None = None, init: Initializer = normal(),
    ):  # fmt: skip
        super().__init__((d_out, d_in), d_out if bias else 0, rng, reparametrize, init)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to [N, d_in]."""
        y = x @ self.effective_weight().T
        return y if self.bias is None else y + self.bias


class Conv2d(Weighted):
    """A convolution; see :func:`minisn.conv.conv2d`.

    Args:
        d_in, d_out: channels; the weight is [d_out, d_in, kernel, kernel].
        kernel: size, pixels.
        rng: draws the weight.
        stride, padding: pixels.
        bias, reparametrize, init: as in :class:`Linear`.

    Source: [M18 §2.1]
    """

    def __init__(
        self, d_in: int, d_out: int, kernel: int, rng: np.random.Generator, stride: int = 1,
        padding: int = 0, bias: bool = True, reparametrize: SpectralNorm | None = None,
        init: Initializer = normal(),
    ):  # fmt: skip
        shape = (d_out, d_in, kernel, kernel)
        super().__init__(shape, d_out if bias else 0, rng, reparametrize, init)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Apply to images [N, d_in, H, W]."""
        y = conv.conv2d(x, self.effective_weight(), stride=self.stride, padding=self.padding)
        return y if self.bias is None else y + self.bias.reshape(1, -1, 1, 1)


class ConvTranspose2d(Weighted):
    """A transposed convolution; see :func:`minisn.conv.conv2d_transpose`.

    Args:
        d_in, d_out: channels of what comes in and goes out. The weight is that of the
            convolution it is the adjoint of, [d_in, d_out, kernel, kernel]: its output
            axis is 1.
        kernel, rng, stride, padding, bias, reparametrize, init: as in :class:`Conv2d`.
        output_padding: rows and columns added at the end, less than the stride.

    Source: [M18 Table 3]
    """

    axis = 1

    def __init__(
        self, d_in: int, d_out: int, kernel: int, rng: np.random.Generator, stride: int = 1,
        padding: int = 0, output_padding: int = 0, bias: bool = True,
        reparametrize: SpectralNorm | None = None, init: Initializer = normal(),
    ):  # fmt: skip
        shape = (d_in, d_out, kernel, kernel)
        super().__init__(shape, d_out if bias else 0, rng, reparametrize, init)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding

    def forward(self, x: Tensor) -> Tensor:
        """Apply to images [N, d_in, H, W]."""
        y = conv.conv2d_transpose(
            x, self.effective_weight(), stride=self.stride, padding=self.padding,
            output_padding=self.output_padding,
        )  # fmt: skip
        return y if self.bias is None else y + self.bias.reshape(1, -1, 1, 1)


class Embedding(Weighted):
    """A vector for each of some labels.

    Args:
        labels: how many.
        size: of a vector; the weight is [labels, size].
        rng, reparametrize, init: as in :class:`Linear`.
    """

    def __init__(
        self, labels: int, size: int, rng: np.random.Generator,
        reparametrize: SpectralNorm | None = None, init: Initializer = normal(1.0),
    ):  # fmt: skip
        super().__init__((labels, size), 0, rng, reparametrize, init)

    def forward(self, x: Tensor) -> Tensor:
        """Look up integer labels [N], giving [N, size]."""
        xp = namespace(x.array)
        if not xp.isdtype(x.dtype, "integral"):
            raise DTypeError(f"Embedding: labels must be integers, got dtype {x.dtype}")
        if x.size and not 0 <= int(xp.min(x.array)) <= int(xp.max(x.array)) < len(self.weight):
            raise ShapeError(
                f"Embedding: labels must be 0 to {len(self.weight) - 1}, got "
                f"{int(xp.min(x.array))} to {int(xp.max(x.array))}"
            )
        return self.effective_weight()[x.array]


# -- normalization and activations ------------------------------------------------------------


class BatchNorm(Module):
    r"""Batch normalization over all axes but the channels'.

    .. math:: y = \gamma\,\frac{x - \mu}{\sqrt{v + \epsilon}} + \beta

    In training the moments are the batch's; in evaluation the running means that training
    left behind.

    Deviation: the running variance is that of the batches, divided by n; PyTorch's is
    n / (n - 1) times as large.

    Args:
        channels: size of axis 1.
        momentum: how much of the running moments one batch replaces.
        eps: added to the variance.

    Source: [M18 Table 3]
    """

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.gamma = Tensor(np.ones(channels, np.float32), requires_grad=True)
        self.beta = Tensor(np.zeros(channels, np.float32), requires_grad=True)
        self.state = {
            "running_mean": np.zeros(channels, np.float32),
            "running_var": np.ones(channels, np.float32),
        }
        self.momentum, self.eps = momentum, eps

    def forward(self, x: Tensor) -> Tensor:
        """Apply to [N, channels] or [N, channels, H, W]."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        if self.training:
            axes = (0, *range(2, x.ndim))
            y = ops.standardize(x, axis=axes, eps=self.eps)
            self._remember(*kernels.of(x.array).moments(x.array, axes))
        else:
            mean, var = (Tensor.wrap(self.state[k]) for k in ("running_mean", "running_var"))
            y = (x - mean.reshape(shape)) / ops.sqrt(var.reshape(shape) + self.eps)
        return y * self.gamma.reshape(shape) + self.beta.reshape(shape)

    def _remember(self, mean: Array, var: Array) -> None:
        for name, now in (("running_mean", mean), ("running_var", var)):
            before = self.state[name]
            now = namespace(now).reshape(now, before.shape)
            self.state[name] = before + self.momentum * (now - before)


class LeakyReLU(Module):
    """Leaky ReLU with the paper's slope, 0.1.

    Source: [M18 Table 3]
    """

    lipschitz = 1.0

    def __init__(self, slope: float = 0.1):
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Apply entry by entry."""
        return ops.leaky_relu(x, slope=self.slope)


class ReLU(Module):
    """Rectified linear unit."""

    lipschitz = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Apply entry by entry."""
        return ops.relu(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    lipschitz = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Apply entry by entry."""
        return ops.tanh(x)


class Reshape(Module):
    """Give every item of a batch another shape (-1 once: what remains)."""

    lipschitz = 1.0

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Apply to [N, ...]."""
        return x.reshape(x.shape[0], *self.shape)


class Sequential(Module):
    """Modules applied one after another."""

    def __init__(self, *layers: Module):
        super().__init__()
        self.layers = list(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all."""
        for layer in self.layers:
            x = layer(x)
        return x


def power_step(network: Module) -> None:
    """Advance u and v of every layer by one round: once for each update of D.

    Raises:
        NonFiniteError: a weight holds a NaN or an infinity; its layer is named.

    Source: [M18 Alg. 1]
    """
    for name, module in network.named_modules():
        if isinstance(module, Weighted):
            module.power_step()
            if not all(is_finite(value) for value in module.state.values()):
                raise NonFiniteError(
                    f"layer {name or type(module).__name__}: its weight holds a NaN or an "
                    "infinity; training has diverged: lower the step size, or go back to an "
                    "earlier checkpoint"
                )
