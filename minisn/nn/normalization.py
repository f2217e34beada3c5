"""Normalization of activations by their own moments."""

from typing import Any

import numpy as np

from .. import kernels, ops
from ..arguments import real_number, switch, whole_number
from ..backend import Array, namespace
from ..errors import ShapeError
from ..fused import normalize
from ..tensor import Tensor, as_tensor
from .layers import look_up
from .module import Module


class _Normalization(Module):
    """A learned shift, and optionally a gain, of every standardized channel."""

    def __init__(self, channels: int, gain: bool, eps: float):
        super().__init__()
        name = type(self).__name__
        channels = whole_number(f"{name}: channels", channels, 1)
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        self.gamma = Tensor(ones, requires_grad=True) if switch(f"{name}: gain", gain) else None
        self.beta = Tensor(zeros, requires_grad=True)
        self.eps = real_number(f"{name}: eps", eps, 0)

    def _learned(self, x: Any) -> tuple[Tensor, Tensor | float, Tensor]:
        """Return x as a tensor, and gain and shift, along the channels of x."""
        x = self._checked(x)
        shape = _along_channels(x)
        gain = 1.0 if self.gamma is None else self.gamma.reshape(shape)
        return x, gain, self.beta.reshape(shape)

    def _checked(self, x: Any) -> Tensor:
        x, channels = as_tensor(x), self.beta.shape[-1]
        if x.ndim < 2 or x.shape[1] != channels:
            raise ShapeError(
                f"{type(self).__name__}: expected [N, {channels}, ...], got shape {list(x.shape)}"
            )
        return x


def _along_channels(x: Tensor) -> tuple[int, ...]:
    return (1, -1) + (1,) * (x.ndim - 2)


class BatchNorm(_Normalization):
    r"""Batch normalization over all axes except the channels.

    .. math:: y = \gamma\,\frac{x - \mu}{\sqrt{v + \epsilon}} + \beta

    In training the moments are those of the batch; in evaluation they are running means from
    training.

    Args:
        channels: size of axis 1.
        momentum: share of the running moments that one batch replaces, 0 to 1.
        eps: added to the variance.
        gain: learn :math:`\gamma`; in the paper's comparisons D has no gain.

    Source: [M18 Table 3], [M18 Table 2]
    Deviation: the running variance averages variances of batches that are divided by n. In PyTorch,
    and in Chainer, which M18's authors use, it is n / (n - 1) times as large.
    """

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5, gain: bool = True):
        super().__init__(channels, gain, eps)
        self.state = {
            "running_mean": np.zeros(channels, np.float32),
            "running_var": np.ones(channels, np.float32),
        }
        self.momentum = real_number("BatchNorm: momentum", momentum, 0, most=1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize [N, channels] or [N, channels, H, W]."""
        return self._normalize(*self._learned(x))

    def _normalize(self, x: Tensor, gain: Tensor | float, shift: Tensor) -> Tensor:
        """Normalize; a batch without finite moments does not change the running moments."""
        if self.training and x.size:
            axes = (0, *range(2, x.ndim))
            if x.size == x.shape[1]:
                raise ShapeError(
                    f"{type(self).__name__}: in training a channel needs more than one value, got "
                    f"shape {list(x.shape)}; use a larger batch, or eval()"
                )
            moments = kernels.of(x.array).moments(x.array, axes)
            y = normalize(x, gain, shift, axis=axes, eps=self.eps, moments=moments)
            self._remember(*moments)
            return y
        shape = _along_channels(x)
        mean, var = (Tensor.wrap(self.state[k]) for k in ("running_mean", "running_var"))
        spread = ops.sqrt(var.reshape(shape) + self.eps)
        return gain * ((x - mean.reshape(shape)) / spread) + shift

    def _remember(self, mean: Array, var: Array) -> None:
        state = {}
        for name, now in (("running_mean", mean), ("running_var", var)):
            before, xp = self.state[name], namespace(now)
            now = xp.astype(xp.reshape(now, before.shape), before.dtype, copy=False)
            state[name] = before + self.momentum * (now - before)
        if all(map(kernels.finite_or_unseen, state.values())):
            self.state = state


class ConditionalBatchNorm(BatchNorm):
    r"""Batch normalization with a gain and a shift for each class, and common moments.

    .. math:: y_n = \gamma_{c_n}\,\frac{x_n - \mu}{\sqrt{v + \epsilon}} + \beta_{c_n}

    Args:
        channels: size of axis 1.
        classes: number of classes; gain and shift are [classes, channels].
        momentum, eps: as in :class:`BatchNorm`.

    Source: [M18 Table 6]; Dumoulin et al. (2017)
    """

    gamma: Tensor

    def __init__(self, channels: int, classes: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__(channels, momentum, eps)
        classes = whole_number("ConditionalBatchNorm: classes", classes, 1)
        self.gamma = Tensor(np.ones((classes, channels), np.float32), requires_grad=True)
        self.beta = Tensor(np.zeros((classes, channels), np.float32), requires_grad=True)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Normalize [N, channels] or [N, channels, H, W], given the class of each item, [N]."""
        x = self._checked(x)
        gamma, beta = (
            look_up(rows, labels, "ConditionalBatchNorm") for rows in (self.gamma, self.beta)
        )
        if gamma.shape != x.shape[:2]:
            raise ShapeError(
                f"ConditionalBatchNorm: expected {len(x)} labels, one for each item, got shape "
                f"{gamma.shape[:-1]}"
            )
        shape = x.shape[:2] + (1,) * (x.ndim - 2)
        return self._normalize(x, gamma.reshape(shape), beta.reshape(shape))


class LayerNorm(_Normalization):
    r"""Layer normalization of every item of a batch by its own moments, over all entries.

    .. math:: y_n = \gamma\,\frac{x_n - \mu_n}{\sqrt{v_n + \epsilon}} + \beta

    Args:
        channels: size of axis 1; each channel has a gain and a shift.
        eps: added to the variance.
        gain: learn :math:`\gamma`; in the paper's comparisons D has no gain.

    Source: [M18 Table 2]; Ba et al. (2016)
    """

    def __init__(self, channels: int, eps: float = 1e-5, gain: bool = True):
        super().__init__(channels, gain, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize [N, channels] or [N, channels, H, W]."""
        x, *learned = self._learned(x)
        return normalize(x, *learned, axis=tuple(range(1, x.ndim)), eps=self.eps)
