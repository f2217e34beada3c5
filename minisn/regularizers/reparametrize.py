r"""Schemes that compute a layer's weight from its learned tensors.

Most schemes divide the weight by a norm, :math:`\bar W = c\,\gamma\,W / N(W)`, with a constant
:math:`c` and, optionally, a learned :math:`\gamma`. :math:`\gamma` starts at the norm of the first
weight. With :math:`c = 1` the layer therefore starts at the weight that the initializer drew.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from .. import lipschitz, ops, spectral
from ..arguments import real_number
from ..backend import Array, namespace, near
from ..conv import conv2d
from ..errors import ConfigError
from ..geometry import Pixels
from ..nn import Learned, Reparametrization, State
from ..tensor import Tensor, no_grad


def _warmed_up(W: Tensor, axis: int, rng: np.random.Generator) -> State:
    u, v = spectral.initial_vectors(W, rng, axis=axis)
    return {"u": u, "v": v}


def _one_round(W: Tensor, axis: int, state: State) -> State:
    u, v, _ = spectral.power_iteration(W, state["u"], axis=axis)
    return {"u": u, "v": v}


@dataclass(frozen=True)
class Watched(Reparametrization):
    """An unchanged weight with u and v, which estimate its norm at every step.

    Source: [M18 Figure 9]
    """

    def start(
        self, W: Tensor, axis: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], State]:
        """Draw u at random and warm it up."""
        return {"weight": W}, _warmed_up(W, axis, rng)

    def step(self, learned: Learned, axis: int, state: State) -> State:
        r"""Make one round of power iteration and return the new state.

        Source: [M18 Eq. (20)], [M18 Eq. (21)]
        """
        return _one_round(learned["weight"], axis, state)

    def estimate(self, learned: Learned, axis: int, state: State) -> Tensor:
        """Return the estimate of the spectral norm."""
        return spectral.sigma(learned["weight"], state["u"], state["v"], axis)


@dataclass(frozen=True)
class Normalization(Reparametrization, ABC):
    r"""The base of schemes that divide a weight by a norm.

    .. math:: \tilde W = c\,\gamma\,\frac{W}{N(W)}

    With :math:`\gamma` the layer learns its Lipschitz constant, and something else must bound it,
    in the paper the gradient penalty.

    Args:
        scale: the constant :math:`c`; 1 in M18, tuned in L21's SSN and BSSN.
        gain: learn :math:`\gamma`, starting from :math:`N` of the first weight.

    Source: [M18 Eq. (32)], [L21 SSN, BSSN]
    """

    scale: float = 1.0
    gain: bool = False

    def __post_init__(self) -> None:
        if not real_number("scale", self.scale, 0.0):
            raise ConfigError("scale: expected a number above 0; with 0 a layer gives zeros")

    @abstractmethod
    def norm(self, W: Tensor, axis: int, state: State) -> Tensor:
        """Return the norm, in a shape that broadcasts to the shape of W."""

    def vectors(self, W: Tensor, axis: int, rng: np.random.Generator) -> State:
        """Return the first state."""
        return {}

    def start(
        self, W: Tensor, axis: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], State]:
        """Return the first state; with ``gain``, also gamma, the norm of the first weight."""
        state = self.vectors(W, axis, rng)
        if not self.gain:
            return {"weight": W}, state
        with no_grad():
            first = self.norm(W, axis, state)
        return {"weight": W, "gamma": Tensor(first, requires_grad=True)}, state

    def apply(self, learned: Learned, axis: int, state: State) -> Tensor:
        """Return the normalized weight, differentiable in the learned tensors."""
        W = learned["weight"]
        return spectral.divide(W, self.norm(W, axis, state), self.factor(learned))

    def factor(self, learned: Learned) -> float | Tensor:
        """Return the scale, times gamma if it is learned."""
        return learned["gamma"] * self.scale if self.gain else self.scale

    def estimate(self, learned: Learned, axis: int, state: State) -> Tensor | None:
        """Return the norm that ``apply`` divides by, if the state estimates it; else None."""
        return self.norm(learned["weight"], axis, state) if state else None


@dataclass(frozen=True)
class SpectralNorm(Normalization):
    r"""Spectral normalization: a weight divided by its largest singular value.

    .. math:: \bar W_{SN}(W) = c\,W / \sigma(W), \qquad \sigma(W) \approx u^T W v

    The gradient treats u and v as constants. A training loop of one's own calls
    :func:`minisn.nn.power_step` before each update of D; nothing else moves u and v.

    Args:
        scale, gain: as in :class:`Normalization`; a scale other than 1 makes it SSN.

    Source: [M18 Eq. (8)], [M18 Eq. (22)], [L21 SSN]
    Deviation: the authors' code adds 1e-12 to the divisors of (18), and its dense layers and
    embeddings also make power steps in evaluation; here only a power step of training changes u and
    v. L21's code differentiates through its power step.
    """

    def vectors(self, W: Tensor, axis: int, rng: np.random.Generator) -> State:
        """Draw u at random and warm it up, so that the first normalized weight has norm near 1."""
        return _warmed_up(W, axis, rng)

    def step(self, learned: Learned, axis: int, state: State) -> State:
        r"""Make one round of power iteration and return the new state.

        Source: [M18 Eq. (20)], [M18 Eq. (21)]
        """
        return _one_round(learned["weight"], axis, state)

    def norm(self, W: Tensor, axis: int, state: State) -> Tensor:
        """Return the estimate of the spectral norm."""
        return spectral.sigma(W, state["u"], state["v"], axis)

    def apply(self, learned: Learned, axis: int, state: State) -> Tensor:
        """Return the normalized weight, differentiable in the learned tensors."""
        W, u, v = learned["weight"], state["u"], state["v"]
        return spectral.spectral_normalize(W, u, v, axis, self.factor(learned))


@dataclass(frozen=True)
class WeightNorm(Normalization):
    r"""Weight normalization: every row of the weight's matrix scaled to length 1.

    .. math:: \bar w_i = w_i / \|w_i\|_2, \qquad \sum_t \sigma_t(\bar W_{WN})^2 = d_o

    The squared singular values always sum to the number of rows, so a layer is most sensitive,
    :math:`\|\bar W_{WN}h\| = \sqrt{d_o}\,\|h\|`, at rank one. With ``gain`` every row has its own
    gamma.

    Args:
        scale, gain: as in :class:`Normalization`.

    Source: [M18 Eq. (13)], [M18 Eq. (25)], [M18 Eq. (27)]; Salimans and Kingma (2016)
    """

    def norm(self, W: Tensor, axis: int, state: State) -> Tensor:
        """Return the length of every row."""
        others = tuple(i for i in range(W.ndim) if i != axis)
        return ops.norm(W, axis=others, keepdims=True)


@dataclass(frozen=True)
class FrobeniusNorm(Normalization):
    r"""Frobenius normalization: a weight scaled to Frobenius norm 1.

    .. math:: \bar W_{FN} = W / \|W\|_F, \qquad \sum_t \sigma_t(\bar W_{FN})^2 = 1

    The spectral norm reaches 1 only at rank one, so a sensitive layer has few features.

    Args:
        scale, gain: as in :class:`Normalization`.

    Source: [M18 Eq. (26)]
    """

    def norm(self, W: Tensor, axis: int, state: State) -> Tensor:
        """Return the Frobenius norm."""
        return ops.norm(W)


@dataclass(frozen=True)
class BidirectionalSpectralNorm(Normalization):
    r"""BSN and BSSN: a kernel divided by the mean of the norms of its two matrices.

    .. math:: \sigma_{BSN} = \tfrac12\big(\|w_1\|_{sp} + \|w_2\|_{sp}\big), \qquad
              w_1 \in \mathbb R^{d_{out}\times(d_{in}hw)},\;
              w_2 \in \mathbb R^{d_{in}\times(d_{out}hw)}

    Each matrix has its own u and v. A dense layer has only one norm, so there BSN is plain spectral
    normalization.

    Args:
        scale, gain: as in :class:`Normalization`; a scale other than 1 makes it BSSN.

    Source: [L21 BSN], [L21 BSSN]
    Deviation: u and v are constants in the gradient. The authors' code differentiates through its
    power step; the two agree after the iteration has converged. In the authors' code u starts from
    a truncated normal distribution, not normalized; here u starts warmed up.
    """

    def vectors(self, W: Tensor, axis: int, rng: np.random.Generator) -> State:
        """Draw and warm up a pair of vectors for each matrix."""
        state: State = {}
        for suffix, side in self._sides(W, axis):
            u, v = spectral.initial_vectors(W, rng, axis=side)
            state |= {f"u{suffix}": u, f"v{suffix}": v}
        return state

    def step(self, learned: Learned, axis: int, state: State) -> State:
        """Make one round of power iteration for each matrix."""
        W = learned["weight"]
        after: State = {}
        for suffix, side in self._sides(W, axis):
            u, v, _ = spectral.power_iteration(W, state[f"u{suffix}"], axis=side)
            after |= {f"u{suffix}": u, f"v{suffix}": v}
        return after

    def norm(self, W: Tensor, axis: int, state: State) -> Tensor:
        """Return the mean of the estimates."""
        sides = self._sides(W, axis)
        found = [spectral.sigma(W, state[f"u{s}"], state[f"v{s}"], side) for s, side in sides]
        return found[0] if len(found) == 1 else found[0] * 0.5 + found[1] * 0.5

    @staticmethod
    def _sides(W: Tensor, axis: int) -> list[tuple[str, int]]:
        return [("", axis)] if W.ndim == 2 else [("", axis), ("_in", 1 - axis)]


@dataclass(frozen=True)
class ConvSpectralNorm(SpectralNorm):
    r"""SN_Conv: a kernel divided by the norm of its convolution as a map between images.

    .. math:: \|A\| = \max_x \frac{\|\mathrm{conv}(x, w)\|_2}{\|x\|_2} \approx
              \langle u, \mathrm{conv}(v, w)\rangle

    Here u and v are images. The norm depends on the size of the input, the stride and the padding,
    which :meth:`at` sets. Without them, as in a dense layer, SN_Conv is plain spectral
    normalization.

    Args:
        scale, gain: as in :class:`Normalization`.
        size, stride, padding: of the convolution, pixels.

    Source: [L21 SN_Conv], [M18 §2.1]
    """

    size: Pixels | None = None
    stride: Pixels = 1
    padding: Pixels = 0

    def at(self, size: Pixels, stride: Pixels, padding: Pixels) -> Self:
        """Return the scheme for a convolution of one image size."""
        return replace(self, size=size, stride=stride, padding=padding)

    def vectors(self, W: Tensor, axis: int, rng: np.random.Generator) -> State:
        """Draw u at random and iterate until the estimate is within 1% of the norm."""
        if self.size is None:
            return super().vectors(W, axis, rng)
        if W.ndim != 4 or axis != 0:
            raise ConfigError(
                "ConvSpectralNorm with a size: expected a convolution with a weight "
                f"[d_out, d_in, h, w], got shape {list(W.shape)} with output axis {axis}"
            )
        draws = rng.standard_normal((1, *self._map(W).outputs))
        u = near(W.array).asarray(draws, dtype=W.dtype)
        norm = lipschitz.conv_operator_norm(W, self.size, self.stride, self.padding, 1e-3)
        for _ in range(2500):
            u, v, sigma = self._iterate(W, u, 8)
            if 1.01 * float(sigma) >= norm:
                return {"u": u, "v": v}
        raise ConfigError(
            f"ConvSpectralNorm: after 20,000 power steps the estimate {float(sigma):.6g} is not "
            f"within 1% of the norm {norm:.6g} of the convolution of {list(W.shape)}"
        )

    def step(self, learned: Learned, axis: int, state: State) -> State:
        """Make one round of power iteration with the convolution and its adjoint."""
        if self.size is None:
            return super().step(learned, axis, state)
        u, v, _ = self._iterate(learned["weight"], state["u"], 1)
        return {"u": u, "v": v}

    def norm(self, W: Tensor, axis: int, state: State) -> Tensor:
        """Return the estimate, differentiable in W with u and v held constant."""
        if self.size is None:
            return super().norm(W, axis, state)
        u, v = Tensor(state["u"]), Tensor(state["v"])
        return ops.sum(u * conv2d(v, W, stride=self.stride, padding=self.padding))

    def apply(self, learned: Learned, axis: int, state: State) -> Tensor:
        """Return the normalized weight, differentiable in the learned tensors."""
        kind = SpectralNorm if self.size is None else Normalization
        return kind.apply(self, learned, axis, state)

    def _map(self, W: Tensor) -> lipschitz.Convolution:
        by = self.size or 0, self.stride, self.padding
        return lipschitz.convolution("ConvSpectralNorm", W.array, *by)

    def _iterate(self, W: Tensor, u: Array, n: int) -> tuple[Array, Array, Array]:
        conv = self._map(W)
        return spectral.power_iteration_operator(conv.forward, conv.adjoint, u, n)


@dataclass(frozen=True)
class SingularValues(Reparametrization):
    r"""A weight learned as a singular value decomposition, with largest singular value K.

    .. math:: W = USV^T, \qquad U^TU = I,\quad V^TV = I,\quad \max_i S_{ii} = K

    The factors start from the decomposition of the first weight. An update moves U and V away from
    orthonormal matrices; :meth:`retract` replaces them by the nearest orthonormal matrices. K is
    ``scale``; with ``gain`` it is ``scale`` times a learned factor, which starts at the norm of the
    first weight.

    Args:
        scale: K.
        gain: learn K, times the scale.

    Source: [M18 Eq. (28)], [M18 Eq. (32)]
    """

    scale: float = 1.0
    gain: bool = False

    def start(
        self, W: Tensor, axis: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], State]:
        """Decompose the first weight."""
        U, s, Vt = spectral.decompose("SingularValues", spectral.as_matrix(W.array, axis))
        others = tuple(n for i, n in enumerate(W.shape) if i != axis)
        learned = {"U": U, "s": s, "V": namespace(Vt).reshape(Vt, (-1, *others))}
        if self.gain:
            learned["gamma"] = s[0, ...]
        return {k: Tensor(array, requires_grad=True) for k, array in learned.items()}, {}

    def apply(self, learned: Learned, axis: int, state: State) -> Tensor:
        """Return the product of the factors, with the largest singular value scaled to K."""
        U, s, V = learned["U"], learned["s"], learned["V"]
        K = learned["gamma"] * self.scale if self.gain else self.scale
        S = spectral.divide(s, ops.max(ops.abs(s)), K)
        matrix = (U * S) @ V.reshape(len(s), -1)
        shape = list(V.shape[1:])
        shape.insert(axis, len(U))
        return spectral.from_matrix(matrix, shape, axis)

    def retract(self, learned: Learned, axis: int) -> None:
        """Replace U and V^T by the nearest matrices with orthonormal columns and rows."""
        for factor in (learned["U"], learned["V"]):
            xp = namespace(factor.array)
            matrix = xp.reshape(factor.array, (len(factor), -1))
            P, _, Qt = spectral.decompose("SingularValues", matrix)
            factor.assign(xp.reshape(P @ Qt, factor.shape))
