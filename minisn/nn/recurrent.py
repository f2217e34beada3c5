"""Recurrent layers: each step of a sequence is computed from the last, with the same weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from .. import ops, spectral
from ..arguments import generator
from ..backend import near
from ..errors import ShapeError
from ..init import Initializer, lecun
from ..tensor import Tensor, as_tensor, no_grad
from .activations import LeakyReLU, ReLU, Tanh
from .layers import Linear
from .module import Module
from .reparametrization import Reparametrization


class Recurrent(Module, ABC):
    r"""The base of recurrent layers: weights for each gate, and the loop over a sequence.

    .. math:: h_t = \mathrm{cell}\big(A x_t + a,\; U h_{t-1} + b,\; h_{t-1}\big), \qquad
              \frac{\partial h_T}{\partial h_t} = J_T J_{T-1} \dots J_{t+1}

    Backpropagation through k steps multiplies a gradient by k Jacobians: its norm grows at most by
    :math:`c^k`, if no :math:`\|J_t\|_2` exceeds :math:`c`.

    Args:
        d_in, d_hidden: sizes of an input and of a state.
        rng: random generator of the weights.
        reparametrize: a scheme for the weights U on states, one weight per gate.
        reparametrize_input: a scheme for the weights A on inputs.
        init: initializer of the weights U; the weights A use :func:`minisn.init.lecun`.

    Source: Pascanu et al. (2013)
    """

    gates = 1

    def __init__(
        self,
        d_in: int,
        d_hidden: int,
        rng: np.random.Generator,
        reparametrize: Reparametrization | None = None,
        reparametrize_input: Reparametrization | None = None,
        init: Initializer | str = "orthogonal",
    ):
        super().__init__()
        rng = generator(rng)  # a seed would give each gate the same weight
        self.d_in, self.d_hidden = d_in, d_hidden
        # Two biases of a gate would only add up, so each has one; in the last gate of a GRU, r
        # stands between them.
        self.input = [
            Linear(d_in, d_hidden, rng, reparametrize=reparametrize_input, init=lecun)
            for _ in range(self.gates)
        ]
        self.recurrent = [
            Linear(d_hidden, d_hidden, rng, gate == 2, reparametrize, init)
            for gate in range(self.gates)
        ]

    @abstractmethod
    def cell(self, from_x: list[Tensor], from_h: list[Tensor], h: Tensor) -> Tensor:
        """Return the next state, from each gate's products with the input and the last state."""

    @abstractmethod
    def step_bound(self) -> float:
        r"""Return an upper bound on :math:`\|\partial h_t / \partial h_{t-1}\|_2`."""

    def states(self, x: Tensor, h: Tensor | None = None) -> list[Tensor]:
        """Return the state after each step.

        The weights are normalized once, not at every step.

        Args:
            x: a sequence of batches, [T, N, d_in].
            h: the state before the first step, [N, d_hidden]; zeros if None.
        Returns:
            T tensors [N, d_hidden].
        Raises:
            ShapeError: x or h does not fit.
        """
        x = as_tensor(x)
        if x.ndim != 3 or x.shape[2] != self.d_in or not len(x):
            raise ShapeError(
                f"{type(self).__name__}: expected sequences [T, N, {self.d_in}], time first, got "
                f"shape {list(x.shape)}" + ("" if len(x) else ", which has no steps")
            )
        expected = (x.shape[1], self.d_hidden)
        if h is None:
            h = Tensor.wrap(near(x.array).zeros(expected, dtype=x.dtype))
        h = as_tensor(h)
        if h.shape != expected:
            raise ShapeError(
                f"{type(self).__name__}: expected a first state {list(expected)} for this batch, "
                f"got shape {list(h.shape)}"
            )
        on_input, on_state = (
            [_affine(part) for part in parts] for parts in (self.input, self.recurrent)
        )
        found = []
        for t in range(len(x)):
            x_t = x[t]
            h = self.cell([f(x_t) for f in on_input], [f(h) for f in on_state], h)
            found.append(h)
        return found

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """Return the states, [T, N, d_hidden], of sequences [T, N, d_in]."""
        return ops.stack(self.states(x, h))


class RNN(Recurrent):
    r"""The plain recurrent layer.

    .. math:: h_t = \phi(A x_t + a + U h_{t-1}), \qquad
              J_t = \mathrm{diag}(\phi')\,U, \qquad \|J_t\|_2 \le \|\phi\|_{Lip}\,\sigma(U)

    With a 1-Lipschitz :math:`\phi` and :math:`\sigma(U) \le c`, a gradient grows at most
    by :math:`c^k` over k steps. With spectral normalization and :math:`c = 1` it cannot
    explode, but it may vanish.

    Args:
        d_in, d_hidden, rng, reparametrize, reparametrize_input, init: as in
            :class:`Recurrent`.
        activation: :math:`\phi`, tanh if None.

    Source: Elman (1990), Pascanu et al. (2013); the bound is [M18 Eq. (7)]
    """

    def __init__(
        self,
        d_in: int,
        d_hidden: int,
        rng: np.random.Generator,
        reparametrize: Reparametrization | None = None,
        reparametrize_input: Reparametrization | None = None,
        init: Initializer | str = "orthogonal",
        activation: Tanh | ReLU | LeakyReLU | None = None,
    ):
        super().__init__(d_in, d_hidden, rng, reparametrize, reparametrize_input, init)
        self.activation = activation or Tanh()

    def cell(self, from_x: list[Tensor], from_h: list[Tensor], h: Tensor) -> Tensor:
        """Add both products and apply the activation."""
        return self.activation(from_x[0] + from_h[0])

    def step_bound(self) -> float:
        r"""Return :math:`\|\phi\|_{Lip}\,\sigma(U)`, with a proved upper bound on the norm."""
        return self.activation.lipschitz * _norm(self.recurrent[0])


class GRU(Recurrent):
    r"""The gated recurrent unit.

    .. math:: r_t &= \mathrm{sigmoid}(A_r x_t + a_r + U_r h_{t-1}) \\
              z_t &= \mathrm{sigmoid}(A_z x_t + a_z + U_z h_{t-1}) \\
              n_t &= \tanh\big(A_n x_t + a_n + r_t \odot (U_n h_{t-1} + b)\big) \\
              h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}

    **What spectral normalization bounds.** With the values r, z and n of a step,

    .. math:: J_t = \mathrm{diag}(z) + \mathrm{diag}\big((1-z)n'r\big)U_n
              + \mathrm{diag}\big((1-z)n'r'(U_nh+b)\big)U_r + \mathrm{diag}\big((h-n)z'\big)U_z

    The first two terms mix, entry by entry, :math:`h_i` and a part of :math:`(U_nh)_i` in shares
    that sum to 1, so by convexity their norm is at most :math:`\sqrt{1 + \sigma(U_n)^2}`.
    States that start within [-1, 1] stay there, so :math:`|h - n| \le 2` and
    :math:`\|U_nh\|_2 \le \sigma(U_n)\sqrt{d}` for d entries; :math:`r'` and :math:`z'` are at
    most 1/4. Therefore

    .. math:: \|J_t\|_2 \le \sqrt{1 + \sigma(U_n)^2} + \tfrac14\big(\sqrt d\,\sigma(U_n)
              + \|b\|_\infty\big)\,\sigma(U_r) + \tfrac12\,\sigma(U_z)

    **What it does not bound.** The bound exceeds 1 for every weight, so over many steps it grows
    even at :math:`\sigma = 1`. Normalized weights bound the Jacobian of one step at any time of
    training, but do not prevent an explosion as in :class:`RNN`. For example, two entries whose
    gates z open in turn, with :math:`U_n` a rotation by 130 degrees, make a gradient grow by a
    factor of 1.27 per step.

    Args:
        d_in, d_hidden, rng, reparametrize, reparametrize_input, init: as in
            :class:`Recurrent`; the gates are in the order r, z, n.

    Source: Cho et al. (2014); r after the product, as in cuDNN and PyTorch
    """

    gates = 3

    def cell(self, from_x: list[Tensor], from_h: list[Tensor], h: Tensor) -> Tensor:
        """Mix a share z of the state with a share 1 - z of the candidate n."""
        r, z = (ops.sigmoid(a + b) for a, b in zip(from_x[:2], from_h[:2], strict=True))
        n = ops.tanh(from_x[2] + r * from_h[2])
        return n + z * (h - n)

    def step_bound(self) -> float:
        """Return the bound above, which holds for states within [-1, 1]."""
        reset, update, candidate = (_norm(part) for part in self.recurrent)
        b = self.recurrent[2].bias
        assert b is not None
        inner = self.d_hidden**0.5 * candidate + ops.max(ops.abs(b)).item()
        return (1 + candidate**2) ** 0.5 + inner * reset / 4 + update / 2


def _affine(part: Linear) -> Callable[[Tensor], Tensor]:
    W_T = part.effective_weight().T
    return lambda x: x @ W_T if part.bias is None else x @ W_T + part.bias


def _norm(part: Linear) -> float:
    with no_grad():
        return spectral.norm_bound(part.effective_weight())
