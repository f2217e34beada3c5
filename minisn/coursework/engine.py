"""Exercises of tutorials 1 and 3: rules, broadcasting, the gradient of a gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..conformance.reference import differences
from ..regularizers import gradient_penalty
from ..tensor import Tensor, grad, sum_to
from .exercise import Case, Exercise, Mistake

# -- a rule ----------------------------------------------------------------------------------


def _divide_cases() -> list[Case]:
    rng = np.random.default_rng(1)
    cases = []
    for text, shape in (("vectors of 5", (5,)), ("matrices [2, 3]", (2, 3))):
        g, a = rng.normal(size=(2, *shape))
        b = rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape)
        cases.append(Case(text, (g, a / b, a, b)))
    return cases


def _divide_rule(g, y, a, b):
    """Differentiate by a complex step, which has no error: Im f(x + ih) / h."""
    h = 1e-30
    return g * np.imag((a + 1j * h) / b) / h, g * np.imag(a / (b + 1j * h)) / h


DIVIDE = Exercise(
    "divide_rule",
    "01",
    "",
    (ops.divide,),
    ("g", "y", "a", "b"),
    ("a_bar", "b_bar"),
    "a complex step through a / b",
    _divide_cases,
    _divide_rule,
    (
        Mistake(
            "sign",
            "The rule of b has the wrong sign: y falls as b grows.",
            lambda g, y, a, b: (g / b, g * a / b**2),
        ),
        Mistake(
            "not-squared",
            "The rule of b divides by b once; the derivative of 1/b is -1/b².",
            lambda g, y, a, b: (g / b, -g * a / b),
        ),
        Mistake(
            "divided-twice-too-often",
            "The rule of b divides once too often: y is a/b already.",
            lambda g, y, a, b: (g / b, -g * y / b**2),
        ),
        Mistake(
            "no-incoming-gradient",
            "The incoming gradient g is missing: a rule multiplies the derivative by it.",
            lambda g, y, a, b: (1 / b, -a / b**2),
            lambda g, y, a, b: (1 / b, -g * a / b**2),
            lambda g, y, a, b: (g / b, -a / b**2),
        ),
        Mistake(
            "order",
            "The two results are exchanged: the gradient of a comes first, then that of b.",
            lambda g, y, a, b: (-g * a / b**2, g / b),
        ),
        Mistake(
            "rule-of-multiply", "These are the rules of y = ab.", lambda g, y, a, b: (g * b, g * a)
        ),
    ),
    formula=r"\langle \bar y, dy\rangle = \langle \bar a, da\rangle + \langle \bar b, db\rangle,"
    r"\quad y = a / b",
)


# -- broadcasting ----------------------------------------------------------------------------


def _unbroadcast_cases() -> list[Case]:
    rng = np.random.default_rng(2)
    shapes = [((4, 3), (3,)), ((4, 3), (4, 1)), ((2, 4, 3), (1, 3)), ((2, 3), (2, 3)),
              ((4, 3), ()), ((2, 3, 4), (2, 1, 4)), ((5, 2, 3, 4), (1, 3, 1))]  # fmt: skip
    return [
        Case(f"g of {list(big)} for an input of {list(small)}", (rng.normal(size=big), small))
        for big, small in shapes
    ]


def _unbroadcast(g, shape):
    """Return the adjoint of broadcasting: <broadcast(e), g> for each unit array e."""
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.reshape([np.sum(np.broadcast_to(e, g.shape) * g) for e in units], shape)


def _ones(g, shape):
    """Return the axes of g that broadcasting stretched from length 1."""
    lead = g.ndim - len(shape)
    return tuple(lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] > 1)


def _lead(g, shape):
    return tuple(range(g.ndim - len(shape)))


def _all_axes(g, shape):
    return _lead(g, shape) + _ones(g, shape)


def _from_the_start(g, shape):
    """Align the axes at the beginning, unlike NumPy."""
    g = np.sum(g, axis=tuple(range(len(shape), g.ndim)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1)
    return np.sum(g, axis=stretched, keepdims=True)


UNBROADCAST = Exercise(
    "unbroadcast",
    "01",
    "",
    (sum_to,),
    ("g", "shape"),
    ("x_bar",),
    "the adjoint of broadcasting, entry by entry",
    _unbroadcast_cases,
    _unbroadcast,
    (
        Mistake(
            "not-summed",
            "The gradient is not summed: an entry that is used several times "
            "gets the sum of its gradients.",
            lambda g, shape: g,
            lambda g, shape: np.resize(g, shape),
        ),
        Mistake(
            "keepdims-lost",
            "The axes of length 1 are lost: sum with keepdims=True, or "
            "reshape to `shape` at the end.",
            lambda g, shape: np.sum(g, axis=_all_axes(g, shape)),
        ),
        Mistake(
            "mean",
            "Take the sum over the broadcast axes, not the mean.",
            lambda g, shape: np.mean(g, axis=_all_axes(g, shape)).reshape(shape),
        ),
        Mistake(
            "only-leading-axes",
            "Only the axes that broadcasting put in front are summed; "
            "the axes that it stretched from length 1 are not.",
            lambda g, shape: np.sum(g, axis=_lead(g, shape)),
        ),
        Mistake(
            "only-axes-of-length-1",
            "Only the axes that were stretched from length 1 are "
            "summed; the axes that broadcasting put in front are not.",
            lambda g, shape: np.sum(g, axis=_ones(g, shape), keepdims=True),
        ),
        Mistake(
            "wrong-end",
            "The axes are summed from the wrong end: broadcasting lines shapes up "
            "at their last axes, and puts new ones in front.",
            _from_the_start,
            lambda g, shape: np.sum(g, axis=tuple(range(len(shape), g.ndim))),
        ),
        Mistake(
            "one-copy",
            "The function takes one of the copies: sum over all copies.",
            lambda g, shape: np.reshape(
                g[tuple(0 if i in _all_axes(g, shape) else slice(None) for i in range(g.ndim))],
                shape,
            ),
        ),
    ),
    formula=r"\langle \mathrm{broadcast}(x), g\rangle = \langle x, \bar x\rangle"
    r"\quad\text{for all } x",
)


# -- the gradient of a gradient --------------------------------------------------------------


def _penalty_cases() -> list[Case]:
    rng = np.random.default_rng(6)
    cases = []
    for text, shape in (("points [5, 3]", (5, 3)), ("images [4, 2, 2, 3]", (4, 2, 2, 3))):
        d = int(np.prod(shape[1:]))
        weights = (rng.normal(size=(6, d)) / np.sqrt(d), 0.6 * rng.normal(size=6))
        real, fake = rng.normal(size=(2, *shape))
        epsilon = rng.uniform(0.1, 0.9, size=(shape[0], *(1 for _ in shape[1:])))
        cases.append(Case(text, (weights, real, fake, epsilon)))
    return cases


def _call_penalty(function: Callable, weights: tuple, real: Any, fake: Any, epsilon: Any) -> Any:
    """Give the student a critic, D(x) = b tanh(A x); return the penalty and its gradient in A."""
    A = Tensor(weights[0], requires_grad=True)

    def critic(x: Tensor) -> Tensor:
        return ops.tanh(
            ops.reshape(Tensor.wrap(x) if isinstance(x, np.ndarray) else x, (len(x), -1)) @ A.T
        ) @ Tensor(weights[1])

    penalty = function(critic, real, fake, epsilon)
    if isinstance(penalty, Tensor) and penalty.requires_grad and penalty.size == 1:
        return penalty, grad(ops.sum(penalty), A).array
    return penalty, np.zeros(A.shape)


def _slope(A, b, x):
    """Differentiate the critic in x, by hand."""
    hidden = np.tanh(x.reshape(len(x), -1) @ A.T)
    return (((1 - hidden**2) * b) @ A).reshape(x.shape)


def _mixed(real, fake, epsilon):
    return epsilon * real + (1 - epsilon) * fake


def _per_image(slope, power=0.5):
    return np.sum(slope**2, axis=tuple(range(1, slope.ndim))) ** power


def _penalty(weights, real, fake, epsilon, of=None, mixed=_mixed, graph=True):
    """Return the penalty by hand, and its gradient in A by finite differences."""
    of = of or (lambda slope: np.mean((_per_image(slope) - 1) ** 2))
    x = mixed(real, fake, epsilon)

    def value(A):
        return of(_slope(A, weights[1], x))

    A = weights[0]
    return value(A), differences(value, A) if graph else np.zeros(A.shape)


PENALTY = Exercise(
    "penalty",
    "03",
    "[M18 Eq. (29), (30), (31)]",
    (gradient_penalty,),
    ("critic", "real", "fake", "epsilon"),
    ("penalty", "its gradient in the critic's weight"),
    "the slope of the critic by hand, and finite differences in its weight",
    _penalty_cases,
    _penalty,
    (
        Mistake(
            "no-graph",
            "The value is right, but it has no gradient in the critic's weights: "
            "grad needs create_graph=True, and the result must stay a Tensor.",
            partial(_penalty, graph=False),
        ),
        Mistake(
            "norm-over-the-batch",
            "The norm is taken over the batch: each image has its own "
            "norm, over all axes but the first.",
            partial(_penalty, of=lambda s: np.mean((np.sqrt(np.sum(s**2, axis=0)) - 1) ** 2)),
            partial(_penalty, of=lambda s: (np.sqrt(np.sum(s**2)) - 1) ** 2),
        ),
        Mistake(
            "norm-over-one-axis",
            "An image has several axes: the norm goes over all but the first.",
            partial(_penalty, of=lambda s: np.mean((np.sqrt(np.sum(s**2, axis=1)) - 1) ** 2)),
            partial(_penalty, of=lambda s: np.mean((np.sqrt(np.sum(s**2, axis=-1)) - 1) ** 2)),
        ),
        Mistake(
            "not-rooted",
            "The root is missing: this is the squared norm, minus 1.",
            partial(_penalty, of=lambda s: np.mean((_per_image(s, 1) - 1) ** 2)),
        ),
        Mistake(
            "sum",
            "Take the mean over the batch, not the sum.",
            partial(_penalty, of=lambda s: np.sum((_per_image(s) - 1) ** 2)),
        ),
        Mistake(
            "no-target",
            "The penalty pulls the norm toward 0: the 1 is missing.",
            partial(_penalty, of=lambda s: np.mean(_per_image(s) ** 2)),
        ),
        Mistake(
            "not-squared",
            "The distance from 1 is not squared.",
            partial(_penalty, of=lambda s: np.mean(_per_image(s) - 1)),
            partial(_penalty, of=lambda s: np.mean(np.abs(_per_image(s) - 1))),
        ),
        Mistake(
            "mean-gradient",
            "The gradient of the *mean* of D is 1/N of that of each D: differentiate the sum.",
            partial(_penalty, of=lambda s: np.mean((_per_image(s / len(s)) - 1) ** 2)),
        ),
        Mistake(
            "mean-before-the-square",
            "The square comes before the mean: each image has its own distance from 1.",
            partial(_penalty, of=lambda s: (np.mean(_per_image(s)) - 1) ** 2),
        ),
        Mistake(
            "one-sided",
            "This penalizes only slopes above 1; (29) penalizes both sides.",
            partial(_penalty, of=lambda s: np.mean(np.maximum(_per_image(s) - 1, 0) ** 2)),
        ),
        Mistake(
            "real-and-fake-exchanged",
            "x_hat = εx + (1-ε)x̃: ε goes with the real images.",
            partial(_penalty, mixed=lambda real, fake, e: _mixed(fake, real, e)),
        ),
        Mistake(
            "not-between",
            "x_hat must lie between data and samples: εx + (1-ε)x̃.",
            partial(_penalty, mixed=lambda real, fake, e: real),
            partial(_penalty, mixed=lambda real, fake, e: fake),
            partial(_penalty, mixed=lambda real, fake, e: e * real + e * fake),
            partial(_penalty, mixed=lambda real, fake, e: (real + fake) / 2),
        ),
        Mistake(
            "weighted",
            "λ is not part of this exercise: return only the expectation.",
            lambda *args: tuple(10 * part for part in _penalty(*args)),
        ),
    ),
    call=_call_penalty,
)

EXERCISES = (DIVIDE, UNBROADCAST, PENALTY)
