"""Gradients through a long sequence: how they grow, and how that affects learning."""

import math
from dataclasses import dataclass

import numpy as np

from .. import ops
from ..arguments import generator
from ..errors import NonFiniteError
from ..init import lecun
from ..nn import Linear, Recurrent, power_step
from ..optim import Adam
from ..regularizers import project
from ..tensor import Tensor, grad


def adding_problem(
    length: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    r"""Draw sequences of numbers, two of them marked, and the sums of the marked numbers.

    .. math:: x_t = (v_t, m_t), \quad v_t \sim U[0, 1], \qquad
              y = \sum_t m_t v_t, \quad m_t \in \{0, 1\},\ \textstyle\sum_t m_t = 2

    One mark lies in each half. The constant answer 1 has a mean squared error of 1/6; a better
    answer needs a memory as long as the sequence.

    Args:
        length: T, at least 2.
        count: N.
        rng: random generator.
    Returns:
        (x, y), float32, [T, N, 2] and [N].

    Source: Hochreiter and Schmidhuber (1997)
    """
    rng = generator(rng)
    values, marks = rng.random((length, count)), np.zeros((length, count))
    for first, end in ((0, length // 2), (length // 2, length)):
        marks[rng.integers(first, end, count), np.arange(count)] = 1
    y = (values * marks).sum(axis=0)
    return np.stack([values, marks], axis=2).astype(np.float32), y.astype(np.float32)


@dataclass(frozen=True)
class RecurrentGradients:
    r"""Norms of the gradient of the last state, by the distance to an earlier state.

    Attributes:
        distance: k, in steps.
        norm: for each k, :math:`\|\partial h_T / \partial h_{T-k}\|_2`.
        bound: for each k, :math:`c^k`, with the layer's ``step_bound`` c.
    """

    distance: tuple[int, ...]
    norm: tuple[float, ...]
    bound: tuple[float, ...]


def recurrent_gradients(layer: Recurrent, x: np.ndarray) -> RecurrentGradients:
    r"""Measure the Jacobian of the last state with respect to every state, along one sequence.

    .. math:: \Big\|\frac{\partial h_T}{\partial h_{T-k}}\Big\|_2 \le c^k, \qquad
              \Big\|\frac{\partial\ell}{\partial h_{T-k}}\Big\|_2 \le
              c^k\,\Big\|\frac{\partial\ell}{\partial h_T}\Big\|_2

    The sequence runs as a batch of copies, one for each entry of the state, and copy i asks for the
    gradient of entry i: one walk back gives all Jacobians.

    Args:
        layer: the recurrent layer; its state starts at 0.
        x: one sequence, [T, d_in], of the layer's dtype.
    Returns:
        The norms for k = 0 to T - 1.

    Source: Pascanu et al. (2013)
    """
    d = layer.d_hidden
    copies = np.broadcast_to(x[:, None], (len(x), d, x.shape[1]))
    states = layer.states(Tensor(copies))
    rows = grad(states[-1], states, np.eye(d, dtype=x.dtype))
    jacobians = np.stack([g.array for g in reversed(rows)]).astype(np.float64)
    norms = np.linalg.svdvals(jacobians)[:, 0]
    distance = tuple(range(len(x)))
    with np.errstate(over="ignore"):  # a bound of infinity is true
        bounds = np.float64(layer.step_bound()) ** np.array(distance)
    return RecurrentGradients(distance, tuple(norms.tolist()), tuple(bounds.tolist()))


@dataclass(frozen=True)
class RecurrentTraining:
    r"""A run of :func:`learn_adding`.

    Attributes:
        loss: mean squared error at each step.
        gradient: :math:`\|\nabla_\theta\ell\|_2` at each step.
        finite: whether all numbers and all squares of gradients were finite; a run ends at the
            first that is not.
    """

    loss: tuple[float, ...]
    gradient: tuple[float, ...]
    finite: bool


def learn_adding(
    layer: Recurrent,
    rng: np.random.Generator,
    length: int = 30,
    steps: int = 500,
    batch: int = 32,
    rate: float = 3e-3,
) -> RecurrentTraining:
    r"""Train on the adding problem by Adam, without gradient clipping.

    .. math:: \ell = E\big[(w^Th_T + b - y)^2\big]

    Args:
        layer: recurrent layer with 2 inputs; its parameters change.
        rng: random generator of w and of the sequences, which are new at every step.
        length: T.
        steps, batch, rate: number of updates, sequences in a batch, and Adam's step size.

    Source: [M18 Alg. 1]
    """
    rng = generator(rng)
    out = Linear(layer.d_hidden, 1, rng, init=lecun)
    parameters = layer.parameters() + out.parameters()
    adam = Adam(parameters, rate, beta1=0.9)
    losses: list[float] = []
    norms: list[float] = []
    finite = True
    with np.errstate(over="ignore", invalid="ignore"):  # divergence is a result here
        while finite and len(losses) < steps:
            x, y = adding_problem(length, batch, rng)
            power_step(layer)
            error = out(layer.states(Tensor(x))[-1]).reshape(-1) - Tensor(y)
            loss = ops.mean(error * error)
            gradients = grad(loss, parameters)
            losses.append(loss.item())
            squares = (float((g.array.astype(np.float64) ** 2).sum()) for g in gradients)
            norms.append(math.sqrt(sum(squares)))
            try:
                adam.step(gradients)
            except NonFiniteError:
                finite = False
            project(layer)
    return RecurrentTraining(tuple(losses), tuple(norms), finite)
