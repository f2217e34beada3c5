"""Gradient checks: each planted mistake gets its name, and nothing right is refused."""

import copy
from collections import defaultdict

import numpy as np
import pytest

from minisn import Tensor, grad, nn, ops
from minisn.conv import conv2d, conv2d_transpose, conv2d_weight
from minisn.errors import ConfigError, DTypeError, GraphError, NonFiniteError, ShapeError
from minisn.fused import normalize
from minisn.gradcheck import check_adjoint, gradcheck
from minisn.gradcheck.differences import Line, noise_level, taylor_slope
from minisn.gradcheck.own import _input, check_own
from minisn.tensor import Primitive

rng = np.random.default_rng(7)
X = np.array([1.0, -2.0, 3.0])
A = rng.normal(size=(3, 3))
B = rng.normal(size=(4, 3))
BIG = rng.normal(size=(200, 50))


def sech2(x):
    return 1 - np.tanh(x) ** 2


def off_at(index, gradient, factor):
    """A gradient with a single wrong entry."""

    def claimed(x):
        g = gradient(x)
        g[index] *= factor
        return g

    return claimed


# -- planted mistakes --------------------------------------------------------------------------

WRONG = {
    "factor of 2": (
        lambda x: np.sum(x**2), X, {"grad": lambda x: x}, "a factor of 1/2"),
    "factor of 2 at a single number": (
        lambda x: x**2, 1.5, {"grad": lambda x: 4 * x}, ""),
    "no plain factor at a single number": (
        lambda x: x**2, 1.5, {"grad": lambda x: 2.7315 * x}, ""),
    "a constant": (
        lambda x: np.tanh(x).sum(), X, {"grad": lambda x: 3.7182 * sech2(x)},
        "a constant factor: the claimed gradient is 3.7182 times the right one"),
    "the sign": (
        np.tanh, X, {"vjp": lambda g, x: -g * sech2(x)}, "the sign"),
    "a mean for a sum": (
        lambda x, b: x * b, [B, X], {"vjp": lambda g, x, b: (g * b, (g * x).mean(0))},
        "a factor of 1/4: the claimed gradient is 1/4 times the right one (a mean over an axis"),
    "a sum for a mean": (
        lambda x: x.mean(), np.arange(1.0, 6.0), {"grad": lambda x: np.ones(5)},
        "a sum over an axis of length 5 in place of a mean"),
    "zero": (
        lambda x: np.sum(x**2), X, {"grad": np.zeros_like}, "is zero"),
    "a transpose": (
        lambda w: np.sum(np.tanh(w @ X)), A,
        {"grad": lambda w: np.outer(X, sech2(w @ X))}, "a transpose"),
    "a transpose that changes the shape": (
        lambda w: np.sum(np.tanh(w @ X)), B,
        {"grad": lambda w: np.outer(X, sech2(w @ X))}, "a transpose"),
    "a transpose of the last axes": (
        lambda w: np.sum(np.tanh(w) * np.arange(8).reshape(2, 2, 2)), A[:2, :2] + B[:2, None, :2],
        {"grad": lambda w: np.swapaxes(sech2(w) * np.arange(8).reshape(2, 2, 2), 1, 2)},
        "axes 1 and 2 exchanged"),
    "inputs exchanged": (
        lambda a, b: np.sum(np.sin(a) * b), [A, A + 1],
        {"grad": lambda a, b: (np.sin(a), np.cos(a) * b)}, "are exchanged"),
    "a missing sum": (
        lambda x, b: x * b, [B, X], {"vjp": lambda g, x, b: (g * b, g * x)},
        "a missing sum over the broadcast axis 0"),
    "a missing sum over a kept axis": (
        lambda x, b: np.sum(np.sin(x * b)), [B, rng.normal(size=(4, 1))],
        {"grad": lambda x, b: (np.cos(x * b) * b, np.cos(x * b) * x)},
        "a missing sum over the broadcast axis 1"),
    "a missing sum, one row taken": (
        lambda x, b: x * b, [B, X], {"vjp": lambda g, x, b: (g * b, (g * x)[0])},
        "a missing sum over axis 0 of the output"),
    "the shape alone": (
        lambda x: np.sum(x**2), B, {"grad": lambda x: 2 * x.reshape(-1)}, "only the shape"),
    "g ignored": (
        np.tanh, X, {"vjp": lambda g, x: sech2(x)}, "the incoming gradient g is not used"),
    "an entry": (
        lambda x: np.sum(np.sin(x)), A, {"grad": off_at((2, 1), np.cos, 1.5)},
        "one entry alone is wrong, [2, 1] of input 0, of 9 compared"),
    "a millionth": (
        lambda x: np.sum(np.sin(x)), A, {"grad": off_at((2, 1), np.cos, 1 + 1e-6)},
        "one entry alone is wrong, [2, 1]"),
    "one entry of many": (
        lambda x: np.sum(np.sin(x)), BIG, {"grad": off_at((120, 7), np.cos, 1.01)},
        "one entry alone is wrong, [120, 7]"),
    "the sign of many": (
        np.sin, BIG, {"vjp": lambda g, x: -g * np.cos(x)}, "the sign"),
    "a jacobian": (
        lambda x: A @ x, X, {"grad": lambda x: A.T}, "the Jacobian is transposed"),
    "detached": (
        lambda x: (x.detach() * x).sum(), X, {}, "a factor of 1/2"),
    "beside a kink": (
        lambda x: np.sum(np.abs(x)), np.array([1e-5, -1.0, 2.0]),
        {"grad": lambda x: -np.sign(x)}, "the sign"),
    "at small and large numbers": (
        lambda x: np.sum(np.log(x)), np.array([1e-8, 3e8]),
        {"grad": off_at(0, lambda x: 1 / x, 1.001)}, ""),
    "with float32 inside": (
        lambda x: np.tanh(x.astype(np.float32)).sum(), X, {"grad": lambda x: 2 * sech2(x)},
        "a factor of 2"),
    "of a small output beside a large one": (
        lambda x: x * np.array([1e-8, 1.0, 1e8]), X,
        {"vjp": lambda g, x: g * np.array([2e-8, 1.0, 1e8])}, "one entry alone is wrong"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_told(name):
    fn, inputs, claim, likely = WRONG[name]
    report = gradcheck(fn, inputs, **claim)
    assert not report
    assert report.diagnosis == "wrong gradient", report
    assert likely in report.failure.guess
    assert bool(likely) == bool(report.failure.guess)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("an entry", (2, 1)),
        ("a millionth", (2, 1)),
        ("one entry of many", (120, 7)),
        ("at small and large numbers", (0,)),
    ],
)
def test_the_worst_entry_is_found(name, index):
    fn, x, claim, _ = WRONG[name]
    worst = gradcheck(fn, x, **claim).failure.worst
    right = np.cos(x[index]) if name != "at small and large numbers" else 1 / x[index]
    assert (worst.name, worst.index, worst.point) == ("input 0", index, x[index])
    assert worst.claimed == claim["grad"](x)[index]
    # measured: 0.003 of the fault for a millionth, 1e-6 and less for the others
    bar = 1e-2 if name == "a millionth" else 1e-5
    assert abs(worst.numerical - right) <= worst.estimate < bar * abs(worst.claimed - right)
    assert 0 < worst.step < max(1.0, abs(x[index]))


def relu(x):
    return np.maximum(x, 0)


KINKS = {
    "abs at 0": (lambda x: np.sum(np.abs(x)), np.array([1.0, 0.0]), np.sign, (1,), 0.0),
    "relu at 0": (lambda x: np.sum(relu(x)), np.array([0.0, 1.0]),
                  lambda x: (x > 0).astype(float), (0,), 0.0),
    "a tie": (np.max, np.array([[1.0, 2.0], [2.0, 0.0]]),
              lambda x: (x == x.max()) / 2.0, (0, 1), 2.0),
    "a norm at 0": (np.linalg.norm, np.zeros(3), np.zeros_like, (0,), 0.0),
    "claim outside": (lambda x: np.sum(np.abs(x)), np.array([1.0, 0.0]),
                      lambda x: np.sign(x) + 5.0 * (x == 0), (1,), 0.0),
    "kink elsewhere than at 0": (lambda x: np.sum(np.abs(x - 3.0)), X, lambda x: np.sign(x - 3.0),
                                 (2,), 3.0),
    "a jump": (lambda x: np.sum(np.floor(x)), np.array([0.5, 1.0]), np.zeros_like, (1,), 1.0),
    "an odd jump": (lambda x: np.sum(np.sign(x)), np.array([0.0, 1.0]), np.zeros_like, (0,), 0.0),
    "a cusp": (lambda x: np.sum(np.sqrt(np.abs(x))), np.array([0.0, 1.0]),
               lambda x: np.array([0.0, 0.5]), (0,), 0.0),
    "a vertical tangent": (lambda x: np.sum(np.cbrt(x)), np.array([0.0, 1.0]),
                           lambda x: np.array([0.0, 1 / 3]), (0,), 0.0),
    "one kink of many": (lambda x: np.sum(relu(x)), np.where(np.arange(5000) == 42, 0.0, 1.5),
                         lambda x: (x > 0).astype(float), (42,), 0.0),
}  # fmt: skip


STEEP = {"a jump", "an odd jump", "a cusp", "a vertical tangent"}


@pytest.mark.parametrize("name", KINKS)
def test_a_kink_is_told_from_a_wrong_gradient(name):
    fn, x, claimed, index, point = KINKS[name]
    strict = gradcheck(fn, x, grad=claimed, subgradients=False)
    wrong = name == "claim outside"
    assert strict.diagnosis == ("wrong gradient" if wrong else "kink"), strict
    assert (strict.failure.worst.index, strict.failure.worst.point) == (index, point)
    report = gradcheck(fn, x, grad=claimed)
    if name in STEEP:
        assert report.diagnosis == "kink"
    elif not wrong:
        assert report, report
        if x.size < 256:  # beyond, random directions pass it on one side only
            assert "fn has a kink there, and the claim is a subgradient" in str(report)


def test_a_kink_is_described():
    inside, outside = (
        gradcheck(*KINKS[k][:2], grad=KINKS[k][2]) for k in ("abs at 0", "claim outside")
    )
    assert "slope -1 on one side, 1 on the other; the claim 0 lies between them" in str(inside)
    assert "is neither of them nor between them" in str(outside)
    assert "input 0 [1] = 0" in str(inside)
    assert "jumps" in str(gradcheck(*KINKS["a jump"][:2], grad=KINKS["a jump"][2]))


def test_a_tie_that_counts_twice_is_no_subgradient():
    report = gradcheck(np.max, np.array([2.0, 2.0, 0.0]), grad=lambda x: 1.0 * (x == x.max()))
    assert report.diagnosis == "wrong gradient"
    assert report.failure.guess == "a tie is counted more than once"


def test_a_wrong_gradient_beside_a_kink_is_a_wrong_gradient():
    report = gradcheck(lambda x: np.sum(np.abs(x)), np.array([0.0, 1.0]), grad=lambda x: 2 * x)
    assert report.diagnosis == "wrong gradient"
    assert report.failure.worst.index == (1,)


class PowerIteration:
    """sigma of a matrix, one step per call, as training code has it; its gradient is (9)-(12)."""

    def __init__(self, frozen=False):
        self.u, self.frozen = np.ones(3) / np.sqrt(3), frozen
        for _ in range(300):
            self.step(A)

    def step(self, w):
        self.v = w.T @ self.u / np.linalg.norm(w.T @ self.u)
        self.u = w @ self.v / np.linalg.norm(w @ self.v)

    def __call__(self, w):
        if not self.frozen:
            self.step(w)
        return self.u @ w @ self.v

    def grad(self, w):
        return np.outer(self.u, self.v)


class FirstCall:
    """Takes its scale from the first batch it sees."""

    scale = None

    def __call__(self, x):
        result = np.sum(x**2) * (1.0 if self.scale is None else self.scale)
        self.scale = 0.5 if self.scale is None else self.scale
        return result


class Dropout:
    """Draws a mask at every call."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, x):
        return np.sum(x * (self.rng.random(x.shape) < 0.5))


class Running:
    """Subtracts a running mean, as batch normalization in training mode would."""

    mean = 0.0

    def __call__(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean()
        return np.sum((x - self.mean) ** 2)


def doubled_in_place(x):
    x *= 2
    return x.sum()


class Cursor:
    """A gradient that is another at each call."""

    calls = 0

    def grad(self, x):
        self.calls += 1
        return 2 * x * self.calls


STATES = {
    "power iteration": lambda: (PowerIteration(), A, lambda w: np.zeros((3, 3))),
    "a first call": lambda: (FirstCall(), X, lambda x: x),
    "dropout": lambda: (Dropout(), np.ones(20), np.ones_like),
    "a running mean": lambda: (Running(), X, lambda x: 2 * x),
    "in place": lambda: (doubled_in_place, X, lambda x: np.full(3, 2.0)),
    "gradient in place": lambda: (np.sum, X, doubled_in_place_gradient),
    "gradient of each call": lambda: (lambda x: np.sum(x**2), X, Cursor().grad),
}


def doubled_in_place_gradient(x):
    x[...] = 1.0
    return x


@pytest.mark.parametrize("name", STATES)
def test_changed_state_is_told(name):
    fn, x, claimed = STATES[name]()
    report = gradcheck(fn, x, grad=claimed)
    assert report.diagnosis == "changed state", report


def test_a_power_iteration_is_right_once_frozen():
    fn = PowerIteration()
    report = gradcheck(fn, A, grad=fn.grad)
    assert report.diagnosis == "changed state"
    assert "freeze what it keeps between calls (u, v of a power iteration" in str(report)
    frozen = PowerIteration(frozen=True)
    assert gradcheck(frozen, A, grad=frozen.grad)


def test_changed_state_of_a_tensor_function_is_told():
    u = [np.ones(3)]

    def sigma(w):
        v = ops.matmul(Tensor(u[0]), w)
        u[0] = (w.array @ v.array) / np.linalg.norm(w.array @ v.array)
        return ops.matmul(Tensor(u[0]), ops.matmul(w, v))

    assert [c.diagnosis for c in gradcheck(sigma, A, order=2).checks] == ["changed state"] * 2


IMPRECISE = {
    "a value far from 0 in float32": (
        lambda x: (np.tanh(x).astype(np.float32) + np.float32(1e5)).sum(), sech2),
    "a gradient in float32": (
        lambda x: np.tanh(x).sum(), lambda x: sech2(x.astype(np.float32))),
    "a gradient that was in float32 once": (
        lambda x: np.tanh(x).sum(),
        lambda x: (1 - np.tanh(x.astype(np.float32))) * (1.0 + np.tanh(x))),
    "a constant rounded to float32": (
        lambda x: x @ A @ X, lambda x: (A @ X).astype(np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPRECISE)
def test_too_little_precision_is_told(name):
    fn, claimed = IMPRECISE[name]
    report = gradcheck(fn, X, grad=claimed)
    assert report.diagnosis == "too little precision", report
    assert "float32" in report.failure.message


@pytest.mark.parametrize("size", [1e14, 1e16, 1e20])
@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_what_moves_from_each_float64_to_the_next_is_neither_right_nor_wrong(size, factor):
    x = size * np.array([1.2, -0.7])
    report = gradcheck(lambda x: np.cos(x).sum(), x, grad=lambda x: -factor * np.sin(x))
    assert report.diagnosis == "too little precision", report
    assert "from one float64 to the next" in report.failure.message


@pytest.mark.parametrize(
    ("fn", "claimed"),
    [
        (lambda x: np.tanh(x).sum(), lambda x: np.full(2, 0.5)),
        (lambda x: np.sum(x**2), lambda x: 3 * x),
        (lambda x: np.sign(x).sum(), lambda x: np.ones(2)),
    ],
    ids=["saturated", "smooth", "flat"],
)
def test_a_wrong_claim_at_large_inputs_is_wrong(fn, claimed):
    report = gradcheck(fn, 1e16 * np.array([1.2, -0.7]), grad=claimed)
    assert report.diagnosis == "wrong gradient", report


NON_FINITE = {
    "an input": (np.sum, np.array([1.0, np.nan]), np.ones_like, "input 0 [1] is nan"),
    "a result": (lambda x: np.log(x).sum(), np.array([1.0, -1.0]), lambda x: 1 / x,
                 "fn's result is nan"),
    "an entry of a result": (np.log, np.array([1.0, 0.0]), lambda x: np.diag(1 / x),
                             "fn's result [1] is -inf"),
    "a gradient": (lambda x: np.sum(np.exp(-1 / x**2)), np.array([1.0, 1e-200]),
                   lambda x: 2 / x**3 * np.exp(-1 / x**2), "the claimed gradient is nan"),
    "a gradient at a kink": (np.linalg.norm, np.zeros(2), lambda x: x / np.linalg.norm(x),
                             "the claimed gradient is nan, where fn has a kink"),
    "an edge": (lambda x: np.sqrt(x).sum(), np.array([1.0, 0.0]), lambda x: np.array([0.5, 0.0]),
                "NaN or infinite beside this point"),
}  # fmt: skip


@pytest.mark.parametrize("name", NON_FINITE)
def test_non_finite_is_told(name):
    fn, x, claimed, message = NON_FINITE[name]
    report = gradcheck(fn, x, grad=claimed)
    assert report.diagnosis == "non-finite", report
    assert message in report.failure.message


# -- what is right is not refused --------------------------------------------------------------


def refuses(x):
    if np.any(x <= 0):
        raise NonFiniteError("negative")
    return np.sum(np.log(x))


RIGHT = {
    "beside kinks": (lambda x: np.sum(np.abs(x)), np.array([1e-3, -1e-5, 1e-7, 1.0]), np.sign),
    "a maximum, nearly tied": (np.max, np.array([1.0, 1.0 + 1e-6, 0.0]),
                               lambda x: (x == x.max()).astype(float)),
    "many relus": (lambda x: np.sum(relu(x) ** 2), BIG, lambda x: 2 * relu(x)),
    "small numbers": (lambda x: np.sum(np.log(x)), np.array([1e-8, 2e-8]), lambda x: 1 / x),
    "small numbers in a function of ones": (lambda x: np.sum(np.cos(x) + x), np.array([1e-8, 3e-8]),
                                            lambda x: 1 - np.sin(x)),
    "large numbers": (lambda x: np.sum(np.sin(x)), np.array([1e8, 3e8]), np.cos),
    "tiny numbers in a function of ones": (lambda x: np.sum(np.cos(x) + x), np.full(2, 1e-13),
                                           lambda x: 1 - np.sin(x)),
    "small and large numbers": (lambda x: np.sum(np.log(x)), np.array([1e-8, 3e8]),
                                lambda x: 1 / x),
    "small and large inputs": (lambda a, b: np.sum(a * b), [np.full(3, 1e-8), np.full(3, 1e8)],
                               lambda a, b: (b, a)),
    "zeros": (lambda x: np.sum(np.sin(x)), np.zeros((2, 2)), np.cos),
    "much curvature": (lambda x: np.sum(np.sin(1e3 * x)), X, lambda x: 1e3 * np.cos(1e3 * x)),
    "steep": (lambda x: np.sum(np.exp(40 * x)), X, lambda x: 40 * np.exp(40 * x)),
    "near a pole": (lambda x: np.sum(1 / x), np.array([1e-4, 1.0]), lambda x: -1 / x**2),
    "near an edge": (lambda x: np.sum(np.sqrt(x)), np.array([1e-6, 1.0]), lambda x: 0.5 / x**0.5),
    "refusing beyond an edge": (refuses, np.array([1e-5, 1.0]), lambda x: 1 / x),
    "a large offset": (lambda x: np.sum(x**2) + 1e8, X, lambda x: 2 * x),
    "cancellation": (lambda x: np.sum((x + 1e8) - 1e8), X, np.ones_like),
    "smooth, second derivative infinite": (lambda x: np.sum(np.abs(x) ** 1.5), np.array([0.0, 1.0]),
                                           lambda x: 1.5 * np.sign(x) * np.sqrt(np.abs(x))),
    "constant": (lambda x: 3.0, X, np.zeros_like),
    "saturated": (lambda x: np.sum(np.tanh(x)), np.array([40.0, 1.0]), sech2),
    "all saturated": (lambda x: np.sum(np.tanh(x)), np.array([40.0, 50.0]), sech2),
    "zero but for rounding": (lambda x: np.sum(x - x.mean()), rng.normal(size=7), np.zeros_like),
    "float32 inputs": (lambda x: np.sum(np.tanh(x)), X.astype(np.float32), sech2),
    "float32 inside": (lambda x: np.tanh(x.astype(np.float32)).sum(), X, sech2),
    "float32 hidden": (lambda x: np.sum(np.tanh(x.astype(np.float32)) + x), X,
                       lambda x: sech2(x) + 1),
    "float32 hidden among digits that move": (
        lambda x: np.sum(np.sin(x)) + np.float32(np.sum(np.tanh(x)) + 30.0), X,
        lambda x: np.cos(x) + sech2(x)),
    "tiny outputs": (lambda x: np.exp(-(x**2)), np.array([20.5, 1.0]),
                     lambda x: np.diag(-2 * x * np.exp(-(x**2)))),
    "a number": (lambda x: x**2, 1.5, lambda x: 2 * x),
    "a float16 input": (np.sum, X.astype(np.float16), np.ones_like),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_not_refused(name):
    fn, inputs, claimed = RIGHT[name]
    report = gradcheck(fn, inputs, grad=claimed)
    assert report, report
    assert report.diagnosis == "right"
    assert report.failure is None


TENSOR_FUNCTIONS = {
    "dense": (lambda x, w, b: ops.tanh(ops.matmul(x, w) + b), [B, A, X]),
    "batch statistics": (lambda x: normalize(x, 1.0, 0.0, axis=0, eps=1e-5), [B]),
    "cross-entropy": (lambda x, labels: -ops.log_softmax(x)[np.arange(4), labels].sum(),
                      [B, np.array([0, 2, 1, 1])]),
    "float32 kept inside": (lambda x: ops.tanh(ops.astype(x, np.float32)), [X]),
    "convolution": (lambda x, w: conv2d(ops.relu(conv2d(x, w, padding=1)), w, stride=2),
                    [rng.normal(size=(2, 1, 4, 3)), rng.normal(size=(1, 1, 3, 2))]),
    "large": (lambda x: ops.sum(ops.relu(x) * ops.tanh(x)), [BIG]),
    "Tensors given": (lambda x: ops.exp(x), [Tensor(X)]),
    "one unused": (lambda a, b: ops.sum(a * a), [X, A]),
}  # fmt: skip


@pytest.mark.parametrize("name", TENSOR_FUNCTIONS)
def test_functions_of_tensors_are_right_to_second_order(name):
    fn, inputs = TENSOR_FUNCTIONS[name]
    report = gradcheck(fn, inputs, order=2)
    assert report, report
    assert [c.order for c in report.checks] == [1, 2]


def test_a_gradient_penalty_is_right():
    """A function that differentiates inside: its first order is the engine's second."""

    def penalty(x, w):
        y = ops.sum(ops.softplus(ops.matmul(x, w)))
        (g,) = grad(y, [x], create_graph=True)
        return ops.sum((ops.sqrt(ops.sum(g * g, axis=1)) - 1.0) ** 2)

    report = gradcheck(penalty, [B, A], order=2)
    assert report, report


def test_other_array_libraries_are_checked():
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    seen = []

    def fn(x):
        seen.append(type(x.array))
        return ops.tanh(x) * 2.0

    assert gradcheck(fn, Tensor(xp.asarray(X)), order=2)
    assert set(seen) == {type(xp.asarray(X))}


UNARY = [
    ops.tanh, ops.sigmoid, ops.softplus, ops.transpose, ops.log_softmax,
    lambda t: ops.exp(0.5 * t), lambda t: t * t, lambda t: ops.log(t * t + 1.0),
    lambda t: ops.sqrt(t * t + 0.5), lambda t: 1.0 / (1.0 + t * t), lambda t: 0.1 * t**3,
    lambda t: ops.logsumexp(t, axis=-1, keepdims=True), lambda t: t - ops.mean(t),
    lambda t: ops.matmul(ops.transpose(t), t),
]  # fmt: skip


def random_function(seed):
    """A smooth function of two inputs made of random operations, and a point of random scale."""
    draw = np.random.default_rng(seed)
    chain = [UNARY[i] for i in draw.integers(len(UNARY), size=draw.integers(1, 4))]
    first = (ops.add, ops.multiply, ops.subtract)[draw.integers(3)]
    shift, scalar = draw.normal(), draw.random() < 0.5

    def fn(a, b):
        t = first(a, b) + shift
        for step in chain:
            t = step(t)
        return ops.sum(t) if scalar else t

    scale = 10.0 ** draw.integers(-2, 1)
    return fn, [draw.normal(size=(3, 2)) * scale, draw.normal(size=2)]


@pytest.mark.parametrize("count", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_no_false_alarm_and_no_miss_in_random_functions(count):
    slopes, missed, flat = [], [], []
    for seed in range(count):
        fn, inputs = random_function(seed)
        report = gradcheck(fn, inputs, order=1 if seed % 3 else 2)
        if report.diagnosis in ("too little precision", "nothing to check"):  # saturated
            flat.append(seed)
            continue
        assert report, (seed, report)
        slopes += [c.slope for c in report.checks if c.slope is not None]

        def wrong(g, a, b, fn=fn):
            xs = [Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)]
            g_a, g_b = (t.numpy() for t in grad(fn(*xs), xs, grad_output=g))
            g_a.flat[1] += 1e-4 * np.max(np.abs(g_a))
            return g_a, g_b

        planted = gradcheck(lambda a, b, fn=fn: fn(Tensor(a), Tensor(b)).array, inputs, vjp=wrong)
        if planted.diagnosis != "wrong gradient":
            missed.append(seed)
    assert len(flat) <= 4, flat
    assert np.median(slopes) == pytest.approx(2.0, abs=0.01)
    assert min(slopes) > 1.5
    # a gradient that is zero but for rounding has no error to find
    for seed in missed:
        fn, inputs = random_function(seed)
        a, b = (Tensor(x, requires_grad=True) for x in inputs)
        (g,) = grad(ops.sum(fn(a, b)), [a])
        assert np.max(np.abs(g.array)) < 1e-12, seed


# -- second order ------------------------------------------------------------------------------


def cube_with(rule):
    return Primitive(lambda x: x**3, (rule,), variadic=False)


def test_the_order_that_is_wrong_is_named():
    frozen = cube_with(lambda g, y, x: g * Tensor(3.0 * x.array**2))
    report = gradcheck(lambda x: frozen(x), X, order=2)
    assert [c.diagnosis for c in report.checks] == ["right", "wrong gradient"]
    assert report.failure.order == 2
    assert report.failure.guess.startswith("the claimed gradient is zero")
    assert str(report).startswith("gradcheck: wrong gradient at order 2\n  order 1: right;")
    assert gradcheck(lambda x: frozen(x), X)  # order 1 alone cannot see it

    doubled = cube_with(lambda g, y, x: g * (6.0 * x * x))
    report = gradcheck(lambda x: doubled(x), X, order=2)
    assert [c.diagnosis for c in report.checks] == ["wrong gradient", "right"]
    assert report.failure.order == 1


def test_second_order_covers_the_incoming_gradient():
    cut = cube_with(lambda g, y, x: g.detach() * (3.0 * x * x))
    report = gradcheck(lambda x: cut(x), X, order=2)
    assert [c.diagnosis for c in report.checks] == ["right", "wrong gradient"]
    assert report.failure.message == "wrong: the claimed gradient of grad_output"


def test_a_kink_of_second_order_is_told():
    report = gradcheck(lambda x: ops.sum(ops.relu(x) ** 2), np.array([1.0, 0.0]), order=2)
    assert [c.diagnosis for c in report.checks] == ["right", "right"]
    assert "fn has a kink there" in str(report)
    report = gradcheck(ops.sqrt, np.array([1.0, 0.0]), order=2)
    assert [c.diagnosis for c in report.checks] == ["non-finite", "non-finite"]


# -- the parts ---------------------------------------------------------------------------------


def line(f, x, d, noise=1e-16):
    def rows(v):
        with np.errstate(invalid="ignore"):
            return np.array([f(v[0])])

    return Line(rows, np.array([x]), np.array([d]), np.array([noise]))


@pytest.mark.parametrize(
    ("f", "x", "right"),
    [
        (np.exp, 1.0, np.e),
        (np.sin, 1e-3, np.cos(1e-3)),
        (lambda x: x**5, 2.0, 80.0),
        (lambda x: np.sin(1e4 * x), 1.0, 1e4 * np.cos(1e4)),
        (np.log, 1e-3, 1e3),
    ],
)
def test_the_error_estimate_holds_and_is_small(f, x, right):
    noise = 1e-16 * abs(f(x)) + 1e-17
    for found in (line(f, x, x, noise).difference(2.0**-13), line(f, x, x, noise).central()):
        error = abs(found.value[0] / x - right)
        assert error <= found.estimate[0] / x
    assert found.estimate[0] / x < 1e-7 * abs(right)


def test_an_honest_estimate_where_nothing_can_be_resolved():
    found = line(lambda x: np.float32(x) * 1.0, 1.0, 1.0, 3e-8).central()
    assert abs(found.value[0] - 1.0) <= found.estimate[0] < 1e-4


@pytest.mark.parametrize(
    ("f", "low", "high"),
    [
        (np.sin, 1e-17, 1e-15),
        (lambda x: np.sin(x) + 1e6, 1e-11, 1e-9),
        (lambda x: np.float64(np.float32(np.sin(x))), 3e-9, 1e-7),
        (lambda x: 2.0 * x, 0, 1e-15),
        (lambda x: 0 * x, 0, 0),
        (lambda x: np.float32(1e5) + np.float32(np.sin(x)), 1e-4, 1e-2),
    ],
)
def test_noise_is_measured(f, low, high):
    found = noise_level(lambda v: f(v), np.array([0.7]), np.array([0.9]))
    assert low <= found[0] <= high


def test_the_taylor_slope_is_a_verdict():
    assert taylor_slope(line(np.exp, 0.5, 1.0), np.exp(0.5)) == pytest.approx(2.0, abs=0.01)
    assert taylor_slope(line(np.exp, 0.5, 1.0), 1.01 * np.exp(0.5)) == pytest.approx(1.0, abs=0.01)
    assert taylor_slope(line(np.abs, 0.0, 1.0), 0.0) == pytest.approx(1.0, abs=0.01)
    assert taylor_slope(line(lambda x: 3 * x, 0.5, 1.0), 3.0) is None
    assert taylor_slope(line(lambda x: x**3, 0.0, 1.0), 0.0) >= 2.0
    right = gradcheck(lambda x: np.sum(np.exp(x)), X, grad=np.exp)
    wrong = gradcheck(lambda x: np.sum(np.exp(x)), X, grad=off_at(1, np.exp, 1.1))
    assert right.checks[0].slope == pytest.approx(2.0, abs=0.01)
    assert wrong.checks[0].slope == pytest.approx(1.0, abs=0.01)


def test_large_checks_use_random_directions():
    calls = []

    def fn(x):
        calls.append(1)
        return np.sum(np.sin(x))

    report = gradcheck(fn, BIG, grad=np.cos)
    assert report.checks[0].scope == "4 directions in 10000 entries, 1 output"
    assert len(calls) < 150
    assert "all 9 entries" in gradcheck(fn, A, grad=np.cos).checks[0].scope
    assert "4 directions in 9" in gradcheck(fn, A, grad=np.cos, full=False).checks[0].scope
    small = gradcheck(np.sin, BIG[:, :2], vjp=lambda g, x: g * np.cos(x))
    assert small.checks[0].scope == "4 directions in 400 entries, 2 combinations of 400 outputs"
    matrix = BIG[:100, :10]
    tall = gradcheck(lambda x: matrix @ x, np.ones(10), vjp=lambda g, x: matrix.T @ g)
    assert tall.checks[0].scope == "all 10 entries, 2 combinations of 100 outputs"
    whole = gradcheck(np.sin, A, vjp=lambda g, x: g * np.cos(x), full=True)
    assert whole.checks[0].scope == "all 9 entries, 9 outputs"


def test_equal_seeds_give_equal_reports():
    fn, inputs, claim, _ = WRONG["one entry of many"]
    first, again, other = (gradcheck(fn, inputs, seed=s, **claim) for s in (0, 0, 1))
    assert str(first) == str(again)
    assert first == again
    assert first.failure.worst.index == other.failure.worst.index
    fn, inputs = TENSOR_FUNCTIONS["one unused"]
    first, again, other = (gradcheck(fn, inputs, order=2, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert gradcheck(fn, inputs, order=2) == first
    assert gradcheck(fn, inputs, order=2, rng=np.random.default_rng(0)) == first


def test_inputs_are_left_alone():
    x, kept = A.copy(), A.copy()
    gradcheck(lambda x: doubled_in_place(x), x, grad=lambda x: np.full((3, 3), 2.0))
    assert np.array_equal(x, kept)


def test_a_backward_may_use_what_its_forward_left():
    class Layer:
        def forward(self, x):
            self.y = np.tanh(x)
            return self.y

        def backward(self, g, x):
            return g * (1 - self.y**2)

    layer = Layer()
    assert gradcheck(layer.forward, X, vjp=layer.backward)


def test_several_outputs_and_fixed_inputs():
    def pick(x, rows, scale):
        return x[rows] * scale

    def back(g, x, rows, scale):
        g_x = np.zeros_like(x)
        np.add.at(g_x, rows, g * scale)
        return g_x, np.sum(g * x[rows])

    assert gradcheck(pick, [B, np.array([0, 2, 2]), 1.5], vjp=back)

    def forgets_repeats(g, x, rows, scale):
        g_x = np.zeros_like(x)
        g_x[rows] = g * scale
        return g_x, np.sum(g * x[rows])

    report = gradcheck(pick, [B, np.array([0, 2, 2]), 1.5], vjp=forgets_repeats)
    assert report.diagnosis == "wrong gradient"
    assert report.failure.worst.index[0] == 2
    assert report.failure.worst.output.startswith(", of output [1, ")


def test_a_jacobian_is_checked():
    assert gradcheck(lambda x: A @ x, X, grad=lambda x: A)
    assert gradcheck(
        np.sin, B, grad=lambda x: np.einsum("ij,ik,jl->ijkl", np.cos(x), np.eye(4), np.eye(3))
    )


# -- what it once got wrong --------------------------------------------------------------------

FIELD = np.array([0.3, -1.2, 0.8])

NOT_RIGHT = {
    "an entry of 1e200 hides nothing": (lambda x: np.sum(np.sin(x)), FIELD, {
        "grad": lambda x: -5 * np.cos(x) + np.array([0, 0, 1e200])}, "wrong gradient"),
    "a scalar's backward ignores g": (lambda x: np.sum(np.sin(x)), FIELD, {
        "vjp": lambda g, x: np.cos(x)}, "wrong gradient"),
    "|g|": (np.sin, FIELD, {"vjp": lambda g, x: np.abs(g) * np.cos(x)}, "wrong gradient"),
    "g squared": (np.sin, FIELD, {"vjp": lambda g, x: g**2 * np.cos(x)}, "wrong gradient"),
    "g clipped": (np.sin, FIELD, {"vjp": lambda g, x: np.clip(g, -100, 100) * np.cos(x)},
                  "wrong gradient"),
    "g overwritten": (np.sin, FIELD, {"vjp": lambda g, x: np.multiply(g, np.cos(x), out=g)},
                      "changed state"),
    "lost in rounding": (lambda x: 1e15 + np.sum(x**2), FIELD, {"grad": lambda x: 0 * x},
                         "too little precision"),
    "half lost in rounding": (lambda x: 1e12 + np.sum(x**2), FIELD, {"grad": lambda x: 0 * x},
                              "wrong gradient"),
    "inputs ignored": (lambda x: Tensor(np.ones(3)), FIELD, {}, "nothing to check"),
    "no entry": (np.sum, np.zeros((0, 3)), {"grad": np.zeros_like}, "nothing to check"),
    "empty, of another shape": (lambda x: np.sum(x**2), np.zeros((0, 3)), {
        "grad": lambda x: np.zeros((3, 0))}, "wrong gradient"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_RIGHT)
def test_what_is_not_right_is_told(name):
    fn, x, claim, diagnosis = NOT_RIGHT[name]
    for seed in range(5):
        report = gradcheck(fn, [x], seed=seed, **claim)
        assert report.diagnosis == diagnosis, report


SEAMS = {
    "Huber": (lambda x: np.where(np.abs(x) < 1, 0.5 * x * x, np.abs(x) - 0.5),
              lambda x: np.clip(x, -1, 1), 1.0),
    "ELU": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
            lambda x: np.where(x > 0, 1.0, np.exp(np.minimum(x, 0))), 0.0),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2, 0.0),
    "mu-law": (lambda x: np.sign(x) * np.log1p(255 * np.abs(x)),
               lambda x: 255 / (1 + 255 * np.abs(x)), 0.0),
    "x relu(x)": (lambda x: x * relu(x), lambda x: 2 * relu(x), 0.0),
    "smoothstep": (lambda x: np.clip(x, 0, 1) ** 2 * (3 - 2 * np.clip(x, 0, 1)),
                   lambda x: 6 * np.clip(x, 0, 1) * (1 - np.clip(x, 0, 1)), 1.0),
    "|x|^1.5": (lambda x: np.abs(x) ** 1.5, lambda x: 1.5 * np.sign(x) * np.abs(x) ** 0.5, 0.0),
    "a step away": (lambda x: np.floor(x) + x, np.ones_like, 100.2),
    "a quantizer": (lambda x: np.round(255 * x) / 255 + x**2, lambda x: 2 * x, 0.31),
    "exp(700)": (np.exp, np.exp, 700.0),
    "an edge": (np.arcsin, lambda x: 1 / np.sqrt(1 - x * x), 1 - 1e-9),
    "cancellation": (lambda x: (1 - np.cos(x)) / x**2, lambda x: -x / 12 + x**3 / 180, 1e-4),
    "relu squared near 0": (lambda x: relu(x) ** 2, lambda x: 2 * relu(x), 1e-9),
}  # fmt: skip


@pytest.mark.parametrize("name", SEAMS)
def test_right_at_seams_steps_and_edges(name):
    f, df, at = SEAMS[name]
    for seed in range(5):
        report = gradcheck(lambda x: np.sum(f(x)), np.array([at]), grad=df, seed=seed)
        assert report, report
        wrong = gradcheck(
            lambda x: np.sum(f(x)), np.array([at]), seed=seed, grad=lambda x: 1.3 * df(x) + 0.3
        )
        assert not wrong, wrong


@pytest.mark.parametrize("near", [1e-12, 1e-9, 1e-8, -1e-9, 1e-6])
@pytest.mark.parametrize("rest", [[0.5], [0.5, -2.0], [30.0]], ids=str)
def test_right_near_a_seam_beside_larger_entries(near, rest):
    """The rounding of the large entries hides the small slope: its size beside them is enough."""
    for fn, df, at in (
        (lambda x: relu(x) ** 2, lambda x: 2 * relu(x), 0.0),
        (lambda x: relu(1 - x) ** 2, lambda x: -2 * relu(1 - x), 1.0),
    ):
        x = np.array([at + near, *rest])
        assert gradcheck(lambda x: np.sum(fn(x)), [x], grad=df)  # noqa: B023
        off = np.where(np.arange(x.size) == 0, 1e-4, 0.0)
        assert not gradcheck(lambda x: np.sum(fn(x)), [x], grad=lambda x: df(x) + off)  # noqa: B023


HALVES = {
    "float16 outputs": lambda x: np.tanh(x.astype(np.float16)),
    "float16 inputs": lambda x: np.tanh(x.astype(np.float16).astype(np.float64)),
    "levels": lambda x: np.round(255 * np.tanh(x)) / 255,
}


@pytest.mark.parametrize("name", HALVES)
def test_a_function_that_rounds_is_told_apart_from_a_mistake(name):
    x = np.random.default_rng(0).normal(size=5)
    half = lambda a: np.asarray(a, np.float16).astype(np.float64)  # noqa: E731
    for seed in range(5):
        for claim in (lambda g, x: g * sech2(x), lambda g, x: half(g) * half(sech2(x))):
            report = gradcheck(HALVES[name], [x], vjp=claim, seed=seed)
            assert report.failure.guess.startswith("fn moves in steps"), report
    for fn in (relu, lambda x: np.clip(x, -1, 1)):  # flat here, and no staircase
        report = gradcheck(lambda x: np.sum(fn(x)), [-2 - np.abs(x)], grad=np.ones_like)  # noqa: B023
        assert report.diagnosis == "wrong gradient" and "steps" not in report.failure.guess
    claim = lambda x, y: (2 * x, np.ones_like(y))  # noqa: E731
    report = gradcheck(lambda x, y: np.sum(x**2), [x, x + 1], grad=claim)  # y is not used
    assert report.diagnosis == "wrong gradient" and "steps" not in report.failure.guess


def test_ties_a_millionth_apart_are_right():
    x = np.array([[a, a + 1e-6] for a in (0.3, -0.7, 1.1, 0.05, -2.0, 0.9)])
    for seed in (0, 36):
        assert gradcheck(
            lambda x: np.sum(x.max(1)),
            [x],
            seed=seed,
            grad=lambda x: 1.0 * (x == x.max(1, keepdims=True)),
        )


def test_a_backward_may_reuse_its_buffer():
    buffer = np.empty(3)
    assert gradcheck(np.sin, X, vjp=lambda g, x: np.multiply(g, np.cos(x), out=buffer))


# -- whatever people have ----------------------------------------------------------------------


def test_a_module_is_checked_in_all_its_parameters():
    from minisn.nn import Linear

    layer, x = Linear(3, 2, rng=np.random.default_rng(0)), Tensor(B)
    before = [p.array for p in layer.parameters()]
    report = gradcheck(lambda: (layer(x) ** 2).mean(), layer)
    assert report, report
    assert report.checks[0].scope == "all 8 entries, 1 output"
    assert gradcheck(layer, [B])
    for a, p in zip(before, layer.parameters(), strict=True):
        assert a.dtype == p.dtype
        assert np.array_equal(a, p.array)
    lost = gradcheck(lambda *p: (layer(x) ** 2).mean(), layer.parameters())
    assert lost.diagnosis == "nothing to check"


def test_nested_inputs_several_outputs_and_keywords():
    def fn(tree, *, scale):
        a, (b,) = tree["a"], tree["b"]
        return {"sum": np.sum(a * b), "sin": scale * np.sin(a)}

    def back(g, tree, *, scale):
        a, (b,) = tree["a"], tree["b"]
        g_a = g["sum"] * b + g["sin"] * scale * np.cos(a)
        return {"b": (g["sum"] * a,), "a": g_a}, np.sum(g["sin"] * np.sin(a))

    tree = {"a": X, "b": (X + 1,)}
    report = gradcheck(fn, [tree], kwargs={"scale": 0.5}, vjp=back)
    assert report, report

    def swapped(g, tree, *, scale):
        claim, last = back(g, tree, scale=scale)
        return {"a": claim["a"], "b": (2 * claim["b"][0],)}, last

    report = gradcheck(fn, [tree], kwargs={"scale": 0.5}, vjp=swapped)
    assert report.failure.message == "wrong: the claimed gradient of input 0['b'][0]"
    assert "a factor of 2" in report.failure.guess


def test_integers_and_booleans_beside_other_outputs_have_no_derivative():
    assert gradcheck(
        lambda x: (x**2, x > 0, x.argmax()), [X], vjp=lambda g, x: 2 * x * (g[0] + g[1] + g[2])
    )
    ties = Tensor(np.ones(3))  # where argmax jumps
    report = gradcheck(lambda x: (x * x, x.array > 1, x.array.argmax()), ties)
    assert report and report.checks[0].scope == "all 3 entries, 3 outputs"
    with pytest.raises(DTypeError, match="an array of bool, expected real"):
        gradcheck(lambda x: x > 0, [X], grad=lambda x: 0 * x)


def test_the_third_order_is_checked():
    report = gradcheck(lambda x: ops.sum(ops.exp(x) * x), X / 3, order=3)
    assert [c.diagnosis for c in report.checks] == ["right"] * 3


@pytest.mark.needs("torch")
def test_torch_functions_modules_and_autograd_functions():
    import torch

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0].cos()

    x = torch.tensor(X)
    assert gradcheck(lambda x: torch.tanh(x), x, order=2)
    report = gradcheck(Wrong, x)
    assert report.diagnosis == "wrong gradient"
    assert "a factor of 2" in report.failure.guess
    net = torch.nn.Linear(3, 2)
    report = gradcheck(net, torch.tensor(B))
    assert report, report
    assert net.weight.dtype == torch.float32
    lost = gradcheck(lambda *p: net(x.float()).sum(), list(net.parameters()))
    assert lost.diagnosis == "nothing to check"
    assert (
        gradcheck(lambda x: torch.max(x, 1), torch.tensor(B))
        .checks[0]
        .scope.endswith(", 4 outputs")
    )


@pytest.mark.needs("torch")
def test_torch_functions_that_overwrite_what_they_are_given_are_told():
    import torch

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

    class OverwritesG(Sine):
        @staticmethod
        def backward(ctx, g):
            return g.mul_(ctx.saved_tensors[0].cos())

    class OverwritesInput(Sine):
        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0].detach().cos_()

    x = torch.tensor(X)
    for fn in (OverwritesG, OverwritesInput, lambda x: x.data.mul_(2).sum()):
        report = gradcheck(fn, x)
        said = "g, the incoming gradient," if fn is OverwritesG else "input 0"
        assert report.diagnosis == "changed state"
        assert f"changed {said} in place" in report.failure.message
    assert np.array_equal(x.numpy(), X)


@pytest.mark.needs("torch")
def test_a_torch_function_that_holds_float32_is_one_sentence():
    import torch

    net, x = torch.nn.Linear(3, 2), torch.tensor(B)
    with pytest.raises(DTypeError, match=r"not as float64, in which .* module.double\(\)"):
        gradcheck(lambda x: net(x), x.float())
    with pytest.raises(RuntimeError, match="dtype"):  # which cannot be called at all
        gradcheck(lambda x: net(x), x)


@pytest.mark.needs("torch")
def test_a_torch_function_takes_arrays():
    import torch

    assert gradcheck(lambda x: torch.softmax(x, -1), [A], order=2)
    report = gradcheck(lambda x: torch.sum(x * x.detach()), [A])
    assert "a factor of 1/2" in report.failure.guess


@pytest.mark.needs("jax")
def test_jax_functions_are_checked_in_their_own_gradient():
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (-g * jnp.cos(x),))
    report = gradcheck(lambda p: jnp.sum(jnp.tanh(p["w"])), {"w": X}, order=2)
    assert report, report
    report = gradcheck(f, X)
    assert report.failure.guess.startswith("the sign")
    assert gradcheck(f, X[:0]).diagnosis == "nothing to check"
    g = jax.custom_vjp(lambda x, y: x @ y)  # calls NumPy if it is given NumPy's arrays
    g.defvjp(lambda x, y: (x @ y, (x, y)), lambda xy, g: (g @ xy[1].T, xy[0].T @ g))
    assert gradcheck(g, [A, A])
    assert gradcheck(lambda k, x: x * jax.random.normal(k), [jax.random.key(0), jnp.array(X)])


# -- what it prints ----------------------------------------------------------------------------


def test_a_failure_prints_all_there_is():
    report = gradcheck(lambda x: np.sum(x**2), X, grad=lambda x: x)
    assert str(report) == repr(report)
    lines = str(report).splitlines()
    assert lines[:5] == [
        "gradcheck: wrong gradient at order 1",
        "  order 1: WRONG GRADIENT (all 3 entries, 1 output)",
        "    wrong: the claimed gradient of input 0",
        "    likely: a factor of 1/2: the claimed gradient is 1/2 times the right one",
        "    worst      input 0 [2] = 3",
    ]
    assert lines[5] == "    claimed    3"
    assert lines[6].startswith("    numerical  6 ± ")
    assert "(step " in lines[6]
    assert lines[7] == "    difference -3"
    assert lines[8] == "    Taylor     slope 1.00 (2 when right, 1 when wrong)"


def test_a_success_prints_how_sure_it_is():
    text = str(gradcheck(lambda x: np.sum(np.exp(x)), X, grad=np.exp))
    assert text.startswith(
        "gradcheck: right\n  order 1: right; all 3 entries, 1 output; worst error "
    )
    assert text.endswith(" of its estimate; Taylor slope 2.00")
    assert "slope in rounding" in str(gradcheck(np.sum, X, grad=np.ones_like))


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message", "fn", "inputs", "options"),
    [
        (ConfigError, "order must be 1, 2, ..., got 0", ops.exp, X, {"order": 0}),
        (ConfigError, "full must be True, False or None, got 'no'", ops.exp, X, {"full": "no"}),
        (DTypeError, "expected a generator .* got 'a'", ops.exp, X, {"seed": "a"}),
        (
            ConfigError,
            r"called with 1 arguments: missing a required argument: 'b'; .* so write \[x\]",
            lambda a, b: a + b,
            X,
            {},
        ),
        (
            ConfigError,
            "called with 1 arguments, keywords \\['b'\\]: got an unexpected keyword",
            lambda a: np.sum(a),
            X,
            {"kwargs": {"b": 1.0}, "grad": np.ones_like},
        ),
        (GraphError, "without grad= and vjp=, fn must compute with Tensors", np.sin, X, {}),
        (ConfigError, "not both", np.sum, X, {"grad": np.ones_like, "vjp": np.ones_like}),
        (
            ConfigError,
            "order 2 needs a function of Tensors, got grad=",
            np.sum,
            X,
            {"grad": np.ones_like, "order": 2},
        ),
        (DTypeError, "no input is floating point", np.sum, np.arange(3), {"grad": np.ones_like}),
        (DTypeError, "input 1 is complex", np.sum, [X, X * 1j], {"grad": np.ones_like}),
        (DTypeError, "fn returned ndarray, expected Tensors", lambda x: x.array, X, {}),
        (
            ConfigError,
            "fn returns 2 outputs, but grad= needs a single output",
            lambda x: (x, x),
            X,
            {"grad": np.ones_like},
        ),
        (
            ConfigError,
            "inputs is a function, expected arrays; SciPy's check_grad takes",
            np.sum,
            np.ones_like,
            {},
        ),
        (
            ConfigError,
            "takes 2 arguments, expected 1, one for each input; pass a backward, which takes g",
            np.sum,
            X,
            {"grad": lambda g, x: g * x},
        ),
        (
            ConfigError,
            "takes 1 arguments, expected 2, g and one for each input; pass a gradient, which takes",
            np.sin,
            X,
            {"vjp": lambda x: np.cos(x)},
        ),
        (ConfigError, "fn is ndarray, expected a function", X, X, {}),
        (
            DTypeError,
            "fn returned an array of bool, expected real",
            lambda x: x > 0,
            X,
            {"grad": np.ones_like},
        ),
        (
            ShapeError,
            "2 floating-point inputs, but 1 claimed",
            lambda a, b: np.sum(a * b),
            [X, X],
            {"grad": lambda a, b: b},
        ),
        (
            ShapeError,
            r"fn returns shape \(3,\), so grad must return arrays of that",
            np.exp,
            X,
            {"grad": lambda x: np.ones(2)},
        ),
        (
            ShapeError,
            "a shape that does not depend on the values",
            lambda x: x[x <= 1],
            X,
            {"vjp": lambda g, x: np.ones(3)},
        ),
    ],
)
def test_refusals(error, message, fn, inputs, options):
    with pytest.raises(error, match=message):
        gradcheck(fn, inputs, **options)


# -- adjoints ----------------------------------------------------------------------------------


def test_adjoints_that_are_right():
    assert check_adjoint(lambda x: B @ x, lambda y: B.T @ y, (3,))
    assert check_adjoint(np.cumsum, lambda y: np.cumsum(y[::-1])[::-1], np.zeros(50, np.float32))
    both = check_adjoint(
        lambda a, b: np.concatenate([a, 2 * b]), lambda y: (y[:2], 2 * y[2:]), [(2,), (3,)]
    )
    assert both
    assert str(both).startswith("check_adjoint: right; <f(x), y> = ")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_convolution_trio_is_adjoint(kernel_name, dtype):
    w, x = (Tensor(rng.normal(size=s).astype(dtype)) for s in ((2, 3, 3, 2), (2, 3, 5, 3)))
    settings = {"stride": (2, 1), "padding": (0, 1)}
    assert check_adjoint(
        lambda x: conv2d(x, w, **settings), lambda y: conv2d_transpose(y, w, **settings), x
    )
    assert check_adjoint(
        lambda w: conv2d(x, w, **settings),
        lambda y: conv2d_weight(x, y, kernel=(3, 2), **settings),
        w,
    )


def test_a_wrong_adjoint_is_explained():
    report = check_adjoint(lambda x: B @ x, lambda y: 2 * B.T @ y, (3,))
    assert not report
    assert report.message == "f_adj is not the adjoint of f"
    assert "a factor of 2" in report.details.failure.guess
    assert abs(report.left - report.right) > report.bound
    assert "likely: a factor of 2" in str(report)
    report = check_adjoint(lambda x: A @ x, lambda y: A @ y, Tensor(X))
    assert report.details.failure.worst.name == "input 0"


def test_a_tiny_error_of_an_adjoint_is_seen():
    report = check_adjoint(lambda x: B @ x, lambda y: (1 + 1e-12) * B.T @ y, (3,))
    assert report.message == "f_adj is not the adjoint of f"


def test_what_is_no_linear_map_is_told():
    assert "not linear" in check_adjoint(lambda x: B @ x + 1, lambda y: B.T @ y, (3,)).message
    assert "not linear" in check_adjoint(np.tanh, lambda y: y, (3,)).message
    draws = iter(np.random.default_rng(0).normal(size=100))
    assert "changed state" in check_adjoint(lambda x: x * next(draws), lambda y: y, (3,)).message
    assert "non-finite" in check_adjoint(lambda x: x * np.nan, lambda y: y, (3,)).message
    with pytest.raises(ShapeError, match=r"f takes shapes \[\(3,\)\], f_adj returned \[\(4,\)\]"):
        check_adjoint(lambda x: B @ x, lambda y: y, (3,))


@pytest.mark.parametrize(
    ("x", "trials", "error", "said"),
    [
        ((3,), 0, ConfigError, "at least 1, got 0"),
        ("3", 3, DTypeError, "x is '3', expected a shape"),
    ],
)
def test_adjoints_that_cannot_be_checked(x, trials, error, said):
    with pytest.raises(error, match=said):
        check_adjoint(lambda a: 2 * a, lambda b: 3 * b, x, trials=trials)


def test_equal_seeds_give_equal_adjoint_reports():
    one, two, other = (
        check_adjoint(lambda x: B @ x, lambda y: B.T @ y, (3,), seed=s).left for s in (0, 0, 1)
    )
    assert one == two != other


# -- causes that chance suggests at one point, and what other points say -----------------------


def test_an_offset_that_is_one_at_this_point_alone_is_not_the_cause():
    x = np.random.default_rng(7).normal(size=3)
    fn = lambda x: np.sum((x - x.mean()) ** 3)  # noqa: E731
    report = gradcheck(fn, [x], vjp=lambda g, x: g * 3 * (x - x.mean()) ** 2, seed=7)
    assert "through the mean over axis 0" in report.failure.guess


@pytest.mark.parametrize("negative", [True, False])
def test_wrong_places_and_wrong_signs_are_told_apart_where_they_coincide(negative):
    x = np.array([-1.2, -0.7, 0.4, 0.9, 1.6, 2.3])

    def claimed(x):
        bad = x < 0 if negative else np.arange(6) < 2
        return np.where(bad, 1.5, 1.0) * np.cos(x)

    guess = gradcheck(lambda x: np.sum(np.sin(x)), [x], grad=claimed).failure.guess
    assert guess == (
        "wrong only where the input is negative; the bound lies between -0.7 and 0.4"
        if negative
        else "wrong only at index [0, 1] of axis 0"
    )


@pytest.mark.parametrize(
    ("held", "claim"),
    [
        ("scale held", lambda g, x: g / np.linalg.norm(x)),
        ("variance held", lambda g, x: (g - g.mean()) / x.std()),
        ("mean and variance held", lambda g, x: g / x.std()),
    ],
)
def test_a_normalization_with_statistics_held_constant_is_named(held, claim):
    by_norm = held == "scale held"
    fn = (lambda x: x / np.linalg.norm(x)) if by_norm else (lambda x: (x - x.mean()) / x.std())
    report = gradcheck(fn, [np.array([0.3, -1.2, 0.8, 2.1])], vjp=claim)
    assert f"{held} constant" in report.failure.guess


def test_an_order_that_was_not_undone_is_named():
    ranks = np.array([0.3, -1.0, 2.0, 0.7])
    x = np.array([0.5, -0.4, 1.7, 0.1])
    report = gradcheck(lambda x: ranks @ np.sort(x), [x], grad=lambda x: ranks)
    assert report.failure.guess.startswith("the right numbers stand in the wrong places")


def test_the_norm_of_a_vector_forgotten_is_a_factor_and_no_held_scale():
    report = gradcheck(lambda x: np.linalg.norm(x), [X], grad=lambda x: x)
    assert report.failure.guess == "a factor too many: the output y"


def test_rows_of_a_matrix_that_are_wrong_are_named_by_their_index():
    x = np.random.default_rng(3).normal(size=(2, 5))
    half = np.array([[1.0], [0.5]])
    guess = gradcheck(lambda x: np.sum(x**3), [x], grad=lambda x: 3 * x**2 * half).failure.guess
    assert guess.startswith("wrong only at index [1] of axis 0")


# -- where differences have few digits ---------------------------------------------------------


WIDE = {
    "cos": (np.cos, np.array([1e10, 1e-10]), lambda x: -np.sin(x)),
    "cos at a million millions": (np.cos, np.array([1e12, 1e-5]), lambda x: -np.sin(x)),
    "a square": (lambda x: x * x, np.array([1e150, 1e-150]), lambda x: 2 * x),
    "a cube": (lambda x: x**3, np.array([1e8, 1e-3]), lambda x: 3 * x**2),
}


@pytest.mark.parametrize("name", WIDE)
def test_entries_of_very_different_sizes_are_right(name):
    fn, x, slope = WIDE[name]
    assert gradcheck(fn, [x], vjp=lambda g, x: g * slope(x))
    wrong = gradcheck(fn, [x], vjp=lambda g, x: g * slope(x) * np.array([1, 1.01]))
    assert bool(wrong) == (x[1] < 1e-100)  # so far below, of the claim the size is checked
    assert wrong or "tanh" not in wrong.failure.guess


@pytest.mark.parametrize("weight", [1e-10, 1e-11])
def test_a_claim_of_zero_is_wrong_where_differences_tell_it_from_zero(weight):
    w = np.array([weight, 1.0, 1.0])
    report = gradcheck(
        lambda x: np.sum(w * x**2), [np.array([1.0, 1.0, 2.0])], grad=lambda x: 2 * x * (w == 1)
    )
    assert report.diagnosis == "wrong gradient" and report.failure.worst.index == (0,)


BOUNDED = {
    "a bound": lambda g, x: np.clip(3 * g, -1, 1),
    "a sign": lambda g, x: 3 * np.sign(g),
    "whole numbers": lambda g, x: np.round(3 * g),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_a_gradient_that_is_cut_off_or_rounded_is_no_half_precision(name):
    report = gradcheck(lambda x: 3 * x, [np.array([0.3, 0.2, 0.5])], vjp=BOUNDED[name])
    assert "not linear in" in report.failure.guess


def test_entries_that_a_mask_leaves_out_are_no_part_of_g():
    report = gradcheck(
        np.exp, [np.array([0.3, -0.2, -0.1])], vjp=lambda g, x: g * np.exp(x) * (x > 0)
    )
    assert report.failure.guess == (
        "2 of 3 entries compared are wrong, the others right; there the claim is zero"
    )


def test_others_that_are_a_little_wrong_are_not_called_right():
    x = np.array([1.5209, 1.3482, -0.3166, -2.2989, -0.9244, 0.3432, -0.1679])
    report = gradcheck(np.tanh, [x], vjp=lambda g, x: g * (sech2(x) + 1e-6 * x**3))
    assert not report and "the others right" not in report.failure.guess


@pytest.mark.parametrize("rows", [[0, 2, 2], [0, 0, 1], [1, 1, 0]])
def test_a_gather_whose_backward_assigns_is_named(rows):
    def assigned(g, w):
        claim = np.zeros_like(w)
        claim[rows] = g
        return claim

    report = gradcheck(lambda w: w[rows], [BIG[:3, :2]], vjp=assigned)
    assert report.failure.guess.startswith("`=` in place of `+=`")


def test_a_cause_says_of_which_input_it_is_where_several_are_wrong():
    report = gradcheck(
        lambda x, w: np.tanh(x) + w**3, [X, X], vjp=lambda g, x, w: (2 * g * sech2(x), 9 * g * w**2)
    )
    assert report.failure.guess.startswith(f"of {report.failure.worst.name}, a factor of ")


def test_what_is_saturated_beside_what_is_not_is_right():
    x = 1e2 * (np.array([-0.2, -0.159, 0.4, 0.9, 1.7]) + 3e-4)
    assert gradcheck(np.tanh, [x], vjp=lambda g, x: g * sech2(x))

    def attention(x):
        e = np.exp(x @ x.T - (x @ x.T).max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True) @ x

    def back(g, x):
        e = np.exp(x @ x.T - (x @ x.T).max(axis=1, keepdims=True))
        a = e / e.sum(axis=1, keepdims=True)
        ds = a * (g @ x.T - np.sum(g @ x.T * a, axis=1, keepdims=True))
        return (ds + ds.T) @ x + a.T @ g

    for seed in range(3):
        x = 6 * np.random.default_rng(seed).normal(size=(4, 3))
        assert gradcheck(attention, [x], vjp=back)


@pytest.mark.parametrize("hidden", [lambda x: np.sum(x), lambda x: np.sum(x**4)])
def test_a_derivative_under_a_large_offset_is_not_taken_for_zero(hidden):
    report = gradcheck(lambda x: 1e16 + hidden(x), [np.ones(2)], grad=np.zeros_like)
    assert not report


def test_the_entries_that_float32_hides_beside_larger_ones_are_right():
    def fn(x):
        return np.tanh(x.astype(np.float32)).astype(float) @ np.array([1.0, 1e-4])

    claim = lambda x: sech2(x) * np.array([1.0, 1e-4])  # noqa: E731
    assert gradcheck(fn, [np.array([0.4, -0.3])], grad=claim)


def test_an_index_that_leaves_the_table_beside_the_point_is_undefined_there():
    table = np.array([1.0, 0.5, 2.0])

    def fn(x):
        k = np.floor(x).astype(int)
        return np.sum(table[k] * x)

    assert gradcheck(fn, [np.array([0.4, 1.7, 2.3])], grad=lambda x: table[np.floor(x).astype(int)])


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (1j * np.ones(2), "an array of complex128"),
        ("x", "str"),
    ],
)
def test_a_claim_that_is_no_real_array_is_one_sentence(claim, said):
    with pytest.raises(DTypeError) as error:
        gradcheck(lambda x: np.sum(x), [np.ones(2)], grad=lambda x: claim)
    assert str(error.value) == (
        f"gradcheck: the claimed gradient of input 0 is {said}, expected a real array of its shape"
    )


@pytest.mark.parametrize("claim", [None, [None]], ids=["bare", "in a list"])
def test_a_claim_that_returns_nothing_is_one_sentence(claim):
    with pytest.raises(DTypeError, match="the gradient to check returned None"):
        gradcheck(lambda x: np.sum(x), [np.ones(2)], grad=lambda x: claim)


def test_an_error_that_fades_is_no_region():
    x = np.array([-0.02, -0.01, 0.005, 0.03, 0.5, 0.9, 1.3])
    report = gradcheck(lambda x: np.sum(x**2), [x], grad=lambda x: 2 * x + 1e-3 * np.abs(x) ** 3)
    assert "wrong only" not in report.failure.guess


# -- terms that cancel, and other errors of rounding -------------------------------------------


def single(f):
    """The function computed in single precision."""
    return lambda x: f(x.astype(np.float32)).astype(float)


CANCELING = {
    "1 - cos": (lambda x: 1 - np.cos(x), np.sin, [1e-6]),
    "1 - cos beside larger numbers": (lambda x: 1 - np.cos(x), np.sin, [1e-6, 0.1]),
    "1 - cos in float32": (single(lambda x: 1 - np.cos(x)), np.sin, [0.01]),
    "exp - 1": (lambda x: np.exp(x) - 1, np.exp, [1e-12]),
    "log(1 + x)": (lambda x: np.log(1 + x), lambda x: 1 / (1 + x), [1e-14]),
    "x - sin": (lambda x: x - np.sin(x), lambda x: 2 * np.sin(x / 2) ** 2, [1e-5]),
}


@pytest.mark.parametrize("name", CANCELING)
def test_a_function_of_terms_that_cancel_is_no_staircase(name):
    fn, slope, x = CANCELING[name]
    assert gradcheck(fn, [np.array(x)], vjp=lambda g, x: g * slope(x))
    assert not gradcheck(fn, [np.array(x)], vjp=lambda g, x: 0 * g)


def offset(f, size):
    return lambda x: (f(x) + size) - size


@pytest.mark.parametrize("size", [3e9, 1e11])
@pytest.mark.parametrize("seed", range(3))
def test_the_steps_of_a_large_offset_that_cancels_are_rounding(size, seed):
    x = np.random.default_rng(seed).normal(size=3)
    for f, slope in ((lambda x: x, np.ones_like), (np.sin, np.cos)):
        fn = offset(f, size)
        assert gradcheck(fn, [x], vjp=lambda g, x: g * slope(x), seed=seed)  # noqa: B023
        assert not gradcheck(fn, [x], vjp=lambda g, x: 2 * g * slope(x), seed=seed)  # noqa: B023
        assert not gradcheck(fn, [x], vjp=lambda g, x: 0 * g, seed=seed)


@pytest.mark.parametrize("at", [100000.3, 2000000.3])
def test_no_step_fits_the_period_of_a_floor(at):
    assert gradcheck(np.floor, [np.array([at])], vjp=lambda g, x: 0 * g)
    assert not gradcheck(np.floor, [np.array([at])], vjp=lambda g, x: g)


def test_a_small_output_beside_a_huge_one_is_right_in_every_combination():
    x = np.array([1.2e6, 1.08e-12, 3.594, -1.1e-5])
    for seed in range(4):
        assert gradcheck(lambda x: 1 / x, [x], vjp=lambda g, x: -g / x**2, seed=seed)


BELOW_ROUNDING = {
    "tanh": (np.tanh, [18.5, -18.7], 1e-15),
    "a sum of tanh": (lambda x: np.sum(np.tanh(x)), [18.5, 18.7], 1e-15),
    "1 + 1e-20 x": (lambda x: 1 + 1e-20 * x, [0.3, 0.4], 1e-20),
    "a sum of a softmax": (lambda x: np.sum(softmax_rows(x[None])), [0.3, 0.4, 1.0], 1e-17),
}


@pytest.mark.parametrize("name", BELOW_ROUNDING)
def test_a_claim_below_rounding_is_neither_right_nor_wrong(name):
    fn, x, size = BELOW_ROUNDING[name]
    for claim in (size, -2 * size):
        report = gradcheck(fn, [np.array(x)], vjp=lambda g, x: claim * g * np.ones_like(x))  # noqa: B023
        assert report.diagnosis == "too little precision"
        assert "neither confirmed nor refuted; check where" in report.failure.message
    assert gradcheck(lambda x: np.tanh(x), [np.array([40.0])], vjp=lambda g, x: 0 * g)


def test_a_claim_below_rounding_beside_others_is_noted():
    slope = lambda x: np.where(x > 18, -3e-16, sech2(x))  # noqa: E731
    report = gradcheck(np.tanh, [np.array([0.3, 18.5])], vjp=lambda g, x: g * slope(x))
    assert report
    (note,) = report.checks[0].notes
    assert note.startswith("input 0 [1] = 18.5, of output [1]: fn's rounding hides the derivative")
    assert "of the claim only the size was checked: -3e-16 ± " in note
    report = gradcheck(np.tanh, [np.array([40.0, 18.5])], vjp=lambda g, x: g * sech2(x))
    assert report and "only the size" in report.checks[0].notes[0]


def test_a_probability_far_below_rounding_is_right_in_a_log_softmax():
    x = np.array([[1.1, -28.0, -30.0], [4.0, -25.0, 2.0]])

    def softmax(x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def fn(x):
        top = x.max(axis=1, keepdims=True)
        return x - (top + np.log(np.exp(x - top).sum(axis=1, keepdims=True)))

    claim = lambda g, x: g - softmax(x) * g.sum(axis=1, keepdims=True)  # noqa: E731
    assert gradcheck(fn, [x], vjp=claim)


def test_a_small_output_of_float32_is_right_beside_larger_ones():
    x = np.random.default_rng(1009).normal(size=(2, 5))

    def normalize(x):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)

    def claim(g, x):
        s, y = np.sqrt(x.var(1, keepdims=True) + 1e-5), normalize(x)
        return (g - g.mean(1, keepdims=True) - y * (g * y).mean(1, keepdims=True)) / s

    assert gradcheck(single(normalize), [x], vjp=claim, seed=9)


@pytest.mark.parametrize("gap", [8e-9, 1e-9, 3e-10])
def test_beside_an_edge_smaller_steps_are_tried(gap):
    claim = lambda g, x: g / ((1 - x) * (1 + x))  # noqa: E731
    assert gradcheck(np.arctanh, [np.array([1 - gap, 0.3])], vjp=claim)
    assert not gradcheck(np.arctanh, [np.array([1 - gap, 0.3])], vjp=lambda g, x: 1.1 * claim(g, x))


def test_the_rounding_of_a_mean_in_the_claim_is_no_error():
    x = 1e6 + np.random.default_rng(0).normal(size=20)
    claim = lambda x: 2 * (x - x.mean()) / x.size  # noqa: E731
    assert gradcheck(np.var, [x], grad=claim)
    assert not gradcheck(np.var, [x], grad=lambda x: claim(x) * (1 + 1e-6))


def test_a_point_near_the_least_number_is_checked():
    assert gradcheck(np.log, [np.array([1e-300])], vjp=lambda g, x: g / x)


def test_wide_steps_that_leave_the_domain_give_no_error_estimate():
    x = -1 + np.array([3.78e-07, 1.08e-06, 5.18e-05, 0.0188, 4.33e-10])
    assert gradcheck(np.log1p, [x], vjp=lambda g, x: g / (1 + x), seed=8)


@pytest.mark.parametrize("seed", range(4))
def test_a_direction_with_few_digits_does_not_refuse_what_each_entry_confirms(seed):
    x = np.random.default_rng([seed + 5, 6]).normal(size=6)
    assert gradcheck(lambda x: 1e12 + x, [x], vjp=lambda g, x: g, seed=seed)
    assert not gradcheck(lambda x: 1e12 + x, [x], vjp=lambda g, x: 1.5 * g, seed=seed)


# -- causes that the evidence must exclude or can decide ---------------------------------------


def softmax_rows(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def normalized(x, gain):
    s = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return (x - x.mean(axis=1, keepdims=True)) / s * gain


def without_gain(g, x, gain):
    s, y = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5), normalized(x, 1.0)
    dx = (g - g.mean(axis=1, keepdims=True) - y * (g * y).mean(axis=1, keepdims=True)) / s
    return dx, (g * y).sum(axis=0)


def one_of_many(g, x):
    d = g * np.cos(x)
    d[4, 5, 3] *= 1.5
    return d


DECIDED = {
    "not exchanged, since the other is right": (
        lambda a, b: np.sin(a + b), [X, X + 1],
        lambda g, a, b: (2 * g * np.cos(a + b), g * np.cos(a + b)), "a factor of 2"),
    "a cross term over all rows": (
        softmax_rows, [A], lambda g, x: softmax_rows(x) * (g - np.sum(g * softmax_rows(x))),
        "off by a multiple of y = softmax(x): the cross term"),
    "a term left out": (
        lambda w: np.sum(np.sin(w)) + 0.1 * np.sum(w**2), [X], lambda g, w: g * np.cos(w),
        "off by -0.2 times the input: a term too many or missing"),
    "a mean that is held, in a Jacobian": (
        lambda x: x - x.mean(), [X], lambda g, x: g.copy(), "through the mean over axis 0"),
    "a mean of too few": (
        lambda x: x - x.mean(), [X], lambda g, x: g - g.sum() / (x.size - 1),
        "through the mean over axis 0"),
    "a factor close to 1": (
        np.sin, [X], lambda g, x: g * np.cos(x) * (1 + 1e-6), "1.000001 times the right one"),
    "a slope where relu has none": (
        lambda x: np.maximum(x, 0), [np.array([-1.2, 0.7, -0.3, 0.9, 1.4])],
        lambda g, x: np.where(x > 0, g, 1e-4 * g),
        "wrong only where the input is negative; there the right gradient is zero"),
    "the divisor of a variance": (
        lambda x: (x - x.mean()) / x.std(), [np.array([0.3, -1.2, 0.8, 2.1])],
        lambda g, x: (g - g.mean() - (x - x.mean()) * (g @ (x - x.mean())) / 3 / x.var()) / x.std(),
        "variance held constant, or a wrong term for it"),
    "the slope after a product": (
        lambda x, w: np.tanh(x @ w), [BIG[:16, :12], BIG[:10, :12].T],
        lambda g, x, w: (g @ w.T, x.T @ g), "a missing factor of the chain rule: 1 - y²"),
    "the gain of a normalization": (
        normalized, [BIG[:3, :4], np.array([0.5, 2.0, -1.0, 1.5])], without_gain,
        "each output has a wrong factor of its own"),
    "a sum that leaves its own entry out": (
        np.cumsum, [X], lambda g, x: np.cumsum(g[::-1])[::-1] - g, "the diagonal is missing"),
    "one entry of many outputs": (
        lambda x: np.sin(x), [BIG[:5, :24].reshape(5, 6, 4)], one_of_many,
        "one entry alone is wrong, [4, 5, 3]"),
    "one sample of many outputs": (
        lambda x, w: np.einsum("ni,oi->no", x, w)[:, :, None] * np.arange(1.0, 5.0),
        [BIG[:6, :3], BIG[:4, :3]],
        lambda g, x, w: (g @ np.arange(1.0, 5.0) @ w, np.outer(g[0] @ np.arange(1.0, 5.0), x[0])),
        "only the part of g at index 0 is used"),
    "a symmetric claim for one triangle": (
        lambda a: np.linalg.eigvalsh(a)[0], [A + A.T],
        lambda g, a: g * np.outer(*2 * [np.linalg.eigh(a)[1][:, 0]]), "symmetrized"),
    "a sum over the wrong axis": (
        lambda x, b: np.tanh(x + b), [A, X[:3]],
        lambda g, x, b: (g * sech2(x + b), np.sum(g * sech2(x + b), axis=1)),
        "the right numbers stand in the wrong places"),
}  # fmt: skip


@pytest.mark.parametrize("name", DECIDED)
def test_a_cause_is_named_where_the_evidence_decides(name):
    fn, inputs, vjp, likely = DECIDED[name]
    guess = gradcheck(fn, inputs, vjp=vjp).failure.guess
    assert likely in guess


KERNELS = np.random.default_rng(3).normal(size=(2, 3, 2, 2))


def filtered(x):
    """A convolution of three channels, [3, 4, 4] to [2, 3, 3]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), (1, 2))
    return np.einsum("ocij,cyxij->oyx", KERNELS, windows)


def by_windows(g, x):
    d = np.zeros_like(x)
    for i, j in np.ndindex(3, 3):
        d[:, i : i + 2, j : j + 2] = np.tensordot(g[:, i, j], KERNELS, 1)
    return d


def by_taps(g, x):
    d = np.zeros_like(x)
    for i, j in np.ndindex(2, 2):
        d[:, i : i + 3, j : j + 3] = np.tensordot(KERNELS[:, :, i, j], g, (0, 0))
    return d


@pytest.mark.parametrize(("claim", "kept"), [(by_windows, "last"), (by_taps, "first")])
def test_windows_that_overwrite_each_other_are_named(claim, kept):
    x = np.random.default_rng(4).normal(size=(3, 4, 4))
    guess = gradcheck(filtered, [x], vjp=claim).failure.guess
    assert guess.startswith("`=` in place of `+=`")
    assert guess.endswith(f"only the {kept} output counts")


def test_what_a_recurrence_forgets_is_no_assignment():
    report = gradcheck(np.cumprod, [X], vjp=lambda g, x: g * np.cumprod(x) / x)
    assert "+=" not in report.failure.guess


def test_a_mistake_that_goes_by_rank_is_no_range():
    x = np.array([0.8, -0.05, -1.9, 1.3, 0.07, -1.1, 2.0, -0.6])
    report = gradcheck(np.median, [x], grad=lambda x: 1.0 * (x == np.sort(x)[3]))
    assert report.failure.guess == "2 of 8 entries compared are wrong, the others right"


# -- structure finer than the steps, kinks that meet, claims with noise ---------------------------

TWO = np.array([0.37, -1.1])
HILBERT = 1 / (np.arange(8)[:, None] + np.arange(8) + 1.0)
ZEROS_AND_OTHERS = np.r_[np.zeros(300), np.random.default_rng(0).normal(size=300)]
MIXED = np.random.default_rng(1).normal(size=600)


def refuses_by_assertion(p):
    assert (p > 0).all()
    return np.sum(np.log(p))


def near_half(x):
    return np.where(x == 0, 0.5, (1 - np.cos(x)) / np.where(x == 0, 1, x) ** 2)


@pytest.mark.parametrize("place", [0.3, 1.7, -0.94])
@pytest.mark.parametrize("length", [1.6e-8, 1e-10, 1e-11, 1e-12, 1e-13, 1e-15])
def test_a_wave_faster_than_all_steps_is_right_or_told_to_be_too_fast(length, place):
    def check(factor):
        def claim(x):
            return factor * np.cos(x / length) / length

        return (
            gradcheck(lambda x: np.sin(x / length), np.float64(place), grad=claim)
            .checks[0]
            .diagnosis
        )

    verdicts = {"right"} if length > 1e-12 else {"right", "too little precision"}
    assert check(1.0) in verdicts
    assert check(1.5) in {"wrong gradient", *(verdicts - {"right"})}


FINE_RIGHT = {
    "a ripple": (lambda x: x + 0.5e-6 * np.sin(1e6 * x), [0.37],
                 lambda x: 1 + 0.5 * np.cos(1e6 * x)),
    "a fast wave": (lambda x: np.sum(np.sin(1e7 * x)), TWO, lambda x: 1e7 * np.cos(1e7 * x)),
    "a small fast wave": (lambda x: x + 1e-9 * np.sin(1e8 * x), [0.37],
                          lambda x: 1 + 0.1 * np.cos(1e8 * x)),
    "a wave of a round frequency": (
        lambda t: np.cos(2e7 * np.pi * t).sum(), np.array([0.37123456]),
        lambda t: -2e7 * np.pi * np.sin(2e7 * np.pi * t)),
    "a pole beside 0": (lambda x: np.sum(1 / (x + 1e-8)), np.array([0.0, 0.3, 0.7]),
                        lambda x: -1 / (x + 1e-8) ** 2),
    "a badly conditioned matrix": (lambda A: np.linalg.slogdet(A)[1], HILBERT,
                                   lambda A: np.linalg.inv(A).T),
    "a logarithm with a tiny ε": (lambda x: np.sum(np.log(x + 1e-20)), np.array([0.0, 0.3, 0.7]),
                                  lambda x: 1 / (x + 1e-20)),
    "rounding beside a removable singularity": (lambda x: np.sum(near_half(x)), np.zeros(1),
                                                lambda x: 0 * x),
    "digits of one entry below those of others": (
        lambda x: np.sum(np.log1p(-np.exp(-x))), np.array([1e-8, 1.0, 30.0]),
        lambda x: 1 / np.expm1(x)),
    "an assertion beyond an edge": (refuses_by_assertion, np.array([0.05, 1.4]), lambda p: 1 / p),
    "many zeros at an edge": (lambda x: np.sum(x**1.5), np.where(np.arange(300) % 2, 0, 1.0),
                              lambda x: 1.5 * np.sqrt(x)),
    "many kinks of both signs": (lambda x: np.sum(MIXED * np.maximum(x, 0)), ZEROS_AND_OTHERS,
                                 lambda x: MIXED * (x > 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE_RIGHT)
def test_fine_structure_is_no_mistake(name):
    fn, x, claimed = FINE_RIGHT[name]
    for seed in range(2):
        assert gradcheck(fn, [x] if isinstance(x, np.ndarray) else x, grad=claimed, seed=seed)


@pytest.mark.parametrize("power", [1.3, 1.7, 1.95])
@pytest.mark.parametrize("near", [1e-6, 1e-8, 1e-10])
def test_differences_that_grow_until_steps_are_small_give_a_wide_bar(near, power):
    for beside in ([], [1.3], [0.5, -0.3]):
        x = np.array([near, *beside])
        report = gradcheck(
            lambda x: np.sum(np.abs(x) ** power),
            [x],
            grad=lambda x: power * np.sign(x) * np.abs(x) ** (power - 1),
        )
        assert report.diagnosis in ("right", "too little precision"), report
        assert report or near < 1e-6


@pytest.mark.parametrize("beside", [[], [1.0], [1.3, -0.7]])
@pytest.mark.parametrize("near", [1e-6, 1e-9, 1e-12])
def test_differences_that_converge_like_a_logarithm_give_a_wide_bar(near, beside):
    x = np.array([near, *beside])
    for seed in range(3):
        assert gradcheck(
            lambda x: np.sum(x**2 * np.log(np.abs(x))),
            [x],
            grad=lambda x: 2 * x * np.log(np.abs(x)) + x,
            seed=seed,
        )
        assert not gradcheck(
            lambda x: np.sum(x**2 * np.log(np.abs(x))),
            [x],
            grad=lambda x: 2 * x * np.log(np.abs(x)),
            seed=seed,
        )


FINE_WRONG = {
    "a ripple taken for rounding": (lambda x: x + 0.5e-6 * np.sin(1e6 * x), [0.37], lambda x: 1.0),
    "a large ripple": (lambda x: np.sum(np.sin(x) + 1e-3 * np.sin(2.0**18 * x)),
                       [np.array([1.1, 0.7])], np.cos),
    "beside many kinks": (
        lambda x: np.sum(np.sin(x)) + np.sum(np.abs(x)), [ZEROS_AND_OTHERS],
        lambda x: np.where(x != 0, 1.5, 1) * np.cos(x) + np.sign(x)),
    "ties far apart": (lambda x: np.sum(x.max(0)), [np.ones((2, 5))],
                       lambda x: 1.0 * (x == x.max(0))),
    "a kink across the diagonal": (lambda w: np.abs(w @ [1.0, 2, 3] - 6), [np.ones(3)],
                                   lambda w: np.array([0.5, -1, 1.5])),
    "a small input beside a large one": (
        lambda p, t: np.sum(p**2) / 2 + np.sum(t**2) / 2,
        [255 * MIXED[:300], 1e-3 * MIXED[300:304]], lambda p, t: (p, 2 * t)),
    "a noisy entry beside the wrong one": (
        lambda x: 5e5 * x[0] ** 2 + 1e-3 * np.sin(x[1]), [np.array([1.3, 0.4])],
        lambda x: np.array([(1e6 * x[0] + 1e13) - 1e13, -1e-3 * np.cos(x[1])])),
    "zero beside a large round number": (lambda x: 1e7 * x[0] + x[1], [np.array([1.2, 0.3])],
                                         lambda x: np.array([1e7, 0])),
    "six digits of π": (lambda x: np.sum(np.sin(6 * np.pi * x)), [np.array([1.1, 1.3])],
                        lambda x: 6 * 3.141592 * np.cos(6 * np.pi * x)),
    "beside an empty input": (lambda x, y: np.sum(x**2) + np.sum(y**2), [np.zeros(0), np.ones(2)],
                              lambda x, y: [2 * x, y]),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE_WRONG)
def test_a_mistake_does_not_hide_behind_fine_structure_or_kinks(name):
    fn, inputs, claimed = FINE_WRONG[name]
    for seed in range(2):
        assert gradcheck(fn, inputs, grad=claimed, seed=seed).diagnosis == "wrong gradient"


def test_a_library_s_own_gradient_is_accepted_where_kinks_of_several_units_meet():
    zeros = np.zeros((2, 3, 8, 8))
    zeros[:, :, 2:4, 2:4] = MIXED[:24].reshape(2, 3, 2, 2)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 0), nn.ReLU(), nn.Reshape(-1), nn.Linear(144, 2, 1))
    report = gradcheck(lambda: (network(zeros) ** 2).sum(), network)
    assert report and "several kinks of fn meet there" in str(report)
    assert not gradcheck(lambda: (network(zeros) ** 2).sum(), network, subgradients=False)
    assert gradcheck(lambda x: (ops.relu(x) - ops.relu(-x)).sum(), np.zeros(3)).diagnosis == (
        "wrong gradient"
    )


@pytest.mark.parametrize(
    ("claimed", "guess"),
    [(np.zeros(3), "a tie gets no gradient"), (np.array([1.0, 1, 0]), "counted more than once")],
)
def test_ties_are_named_whatever_the_seed(claimed, guess):
    for seed in range(4):
        x = np.array([1.0, 1.0, 0.0])
        report = gradcheck(np.max, [x], grad=lambda x: claimed, seed=seed)
        assert guess in report.failure.guess


def test_causes_are_not_named_without_their_evidence():
    x = np.random.default_rng(0).standard_normal(5000)
    swapped = np.r_[1, 0, 2:5000]
    guess = gradcheck(
        lambda x: np.sum(np.sin(x)), [x], grad=lambda x: np.cos(x)[swapped]
    ).failure.guess
    assert "alone" not in guess
    sines = gradcheck(np.sin, [X], vjp=lambda g, x: g.astype(np.float32) * np.cos(x))
    assert "transposed" not in str(sines)
    half = gradcheck(np.sin, [X], vjp=lambda g, x: (g * np.cos(x)).astype(np.float16))
    assert "the backward computes in float16" in str(half)
    norm = gradcheck(np.sin, [X], vjp=lambda g, x: np.linalg.norm(g) * np.cos(x))
    assert "|g| in place of g" not in str(norm)
    second = gradcheck(
        lambda x: np.array([np.sum(np.sin(x)), np.sum(x**2)]), [X],
        vjp=lambda g, x: g[0] * np.cos(x),
    )  # fmt: skip
    assert "broadcast" not in str(second) and "only the part of g at index 0" in str(second)


def test_an_elementwise_derivative_is_told_from_a_gradient():
    with pytest.raises(ShapeError, match="an elementwise derivative d is vjp="):
        gradcheck(np.sin, [X], grad=np.cos)


def test_an_adjoint_of_what_is_odd_or_even_is_refused():
    assert "f(-x) differs" in check_adjoint(np.abs, lambda y: y, (5,)).message


@pytest.mark.parametrize("gap", [1e-8, 1e-10, 1e-12])
def test_a_tie_that_is_almost_one_is_judged_by_its_slopes(gap):
    x = np.array([1.0, 1.0 + gap, 0.0])
    assert gradcheck(np.max, [x], grad=lambda x: np.array([0.0, 1, 0]))
    assert not gradcheck(np.max, [x], grad=lambda x: np.array([1.0, 1, 0]))


def test_a_linear_map_may_return_a_number_of_python():
    assert check_adjoint(lambda x: float(x.sum()), lambda y: y * np.ones(3), (3,))


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00\x04\x00{((\n", b"PK\x05\x06" + bytes(18)]
)
def test_a_damaged_array_is_one_clear_line(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ConfigError, match=r"gradcheck: --inputs .*x\.npy: "):
        _input(str(tmp_path / "x.npy"), rng)


# -- large beside small, many ties, tiny scales ----------------------------------------------------


def constant(t):
    return Tensor(t.numpy().copy())


@pytest.mark.parametrize("unit", [1e-10, 1e-15])
@pytest.mark.parametrize(("factor", "right"), [(3.0, True), (1.5, False)])
def test_a_second_derivative_shows_beside_one_of_another_unit(unit, factor, right):
    def f(a, b):
        A, d = a * (1 / unit), b - constant(b)
        wrong = constant(A).sum() * ((factor - 3.0) * (constant(b) * d * d)).sum()
        return A.sum() * (b * b * b).sum() + wrong  # wrong and its slope are 0 here

    report = gradcheck(f, [np.array([0.9 * unit]), np.array([0.7, 1.2])], order=2)
    assert bool(report) == right


@pytest.mark.parametrize(("factor", "right"), [(2.0, True), (3.0, False)])
def test_a_small_output_shows_beside_a_large_one(factor, right):
    def pull(g, x):
        return g[0] * 1e12 * np.cos(x) + factor * x * g[1]

    x = np.random.default_rng(0).normal(size=70)
    assert bool(gradcheck(lambda x: (1e12 * np.sin(x), x**2), [x], vjp=pull)) == right


@pytest.mark.parametrize(
    ("share", "right"),
    [(1 / 5, True), (1 / 8, False), (np.eye(8)[0], True), (np.array([0.4] * 2 + [0.1] * 6), False)],
)
def test_many_ties_share_one_slope(share, right):
    x = np.r_[np.ones(5), 0.45, 0.5, 0.55]
    assert bool(gradcheck(np.max, [x], grad=lambda x: (x == x.max()) * share)) == right


@pytest.mark.parametrize(("last", "right"), [([1, 0], True), ([1, 1], False)])
def test_the_last_of_many_ties_counts_too(last, right):
    def pull(g, x):
        share = np.tile([1.0, 0.0], (30, 1))
        share[-1] = last
        return (share * g[:, None]).reshape(-1)

    report = gradcheck(lambda x: x.reshape(-1, 2).max(1), [np.zeros(60)], vjp=pull)
    assert bool(report) == right


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("share", "right"),
    [([1, 0, 0], True), ([1 / 3] * 3, True), ([1, 1, 1], False), ([1, 1, 0], False)],
)
def test_tied_singular_values_share_one_slope(share, right, turned):
    Q = np.linalg.qr(MIXED[:9].reshape(3, 3))[0] if turned else np.eye(3)

    def slope(x):
        return np.diag(share) @ Q

    assert bool(gradcheck(lambda x: np.linalg.norm(x, 2), [Q], grad=slope)) == right


@pytest.mark.parametrize(("share", "right"), [([1, 1, 0], True), ([1, 1, 1], False)])
def test_ties_that_no_pair_shows_share_their_slopes(share, right):
    report = gradcheck(
        lambda x: np.sort(x)[1:].sum(), [np.ones(3)], grad=lambda x: 1.0 * np.array(share)
    )
    assert bool(report) == right


def test_a_subgradient_of_four_tied_singular_values_is_right():
    rng = np.random.default_rng(5)
    for _ in range(4):
        Q, u = np.linalg.qr(rng.normal(size=(4, 4)))[0], rng.normal(size=4)
        claim = np.outer(u, u) @ Q / (u @ u)
        assert gradcheck(lambda x: np.linalg.norm(x, 2), [Q], grad=lambda x, c=claim: c)


def test_where_kinks_of_units_meet_no_claim_is_refused_for_slopes_not_seen():
    W, v = ops.as_tensor(np.array([[1.36, 1.22], [-0.51, -0.3]])), np.array([-0.53, 0.57])
    assert gradcheck(lambda x: (ops.relu(W @ x) * v).sum(), np.zeros(2), seed=11)


def test_an_exchange_of_gradients_says_so_once():
    a, b = np.arange(1.0, 4), np.arange(2.0, 5)
    report = gradcheck(lambda a, b: np.sum(a * a * b), [a, b], grad=lambda a, b: (a * a, 2 * a * b))
    assert report.failure.guess == "the gradients of input 1 and input 0 are exchanged"


@pytest.mark.parametrize("scale", [1e-8, 1e-12, 1e-30, 1e-100])
@pytest.mark.parametrize("factor", [1.0, 1.01, -1.0])
def test_at_0_fn_may_move_at_any_scale(scale, factor):
    def slope(x):
        return factor * np.cos(x / scale) / scale

    assert bool(gradcheck(lambda x: np.sin(x / scale).sum(), [np.zeros(1)], grad=slope)) == (
        factor == 1.0
    )


def test_the_middle_of_three_ties_has_a_gradient():
    assert gradcheck(lambda x: ops.sort(x, axis=0), [np.array([0.0, 0, 0, 1, -1])])


def test_entries_that_fn_ignores_do_not_tell_where_a_claim_is_wrong():
    x = np.array([0.3, -0.8, 1.1, 0.7, -1.6, 0.2])
    single = gradcheck(lambda x: x[3] ** 2, [x], grad=lambda x: 3 * x * (np.arange(6) == 3))
    cube = gradcheck(
        lambda x: (np.maximum(x, 0) ** 3).sum(), [x], grad=lambda x: 5 * np.sin(x) * (x > 0)
    )
    assert "one entry" not in str(single) and "where the input" not in str(cube)


def test_a_power_just_above_1_has_no_kink_at_0():
    def f(x):
        return (np.sign(x) * np.abs(x) ** 1.1).sum()

    report = gradcheck(f, [np.array([0.0, 1.0])], grad=lambda x: 1.1 * np.abs(x) ** 0.1)
    assert "kink" not in str(report).lower()


def test_a_dictionary_with_a_default_is_an_input():
    inputs = defaultdict(list, a=np.ones(2))
    assert gradcheck(lambda d: d["a"] * 2, [inputs], vjp=lambda g, d: [{"a": 2 * g}])


def test_a_file_may_say_what_to_check(tmp_path, capsys):
    (tmp_path / "spec_of_mine.py").write_text(
        "import numpy as np\n\n"
        "RELU = {'fn': lambda x: np.maximum(x, 0).sum(), 'inputs': [np.zeros(2)],\n"
        "        'grad': lambda x: 0.5 + 0 * x}\n"
        "STRICT = RELU | {'subgradients': False}\n"
    )
    target = f"{tmp_path / 'spec_of_mine.py'}:"
    assert check_own(target + "RELU", [], {}, 1, 0) == 0
    assert check_own(target + "STRICT", [], {}, 1, 0) == 1
    assert "right" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="has inputs and claims of its own"):
        check_own(target + "RELU", ["2x"], {}, 1, 0)


# -- several outputs, exchanged arguments, errors beside the point, hidden derivatives -----------

SEVERAL = {
    "a tuple": (lambda x: (A @ x, np.sin(x)), (0, 1), "output 0 [1]"),
    "a dict": (lambda x: {"mean": np.mean(x), "wave": np.sin(A @ x)}, ("wave", 2),
               "output 'wave' [2]"),
    "a number": (lambda x: {"mean": np.mean(x), "wave": np.sin(x)}, ("mean", ()), "output 'mean'"),
    "nested": (lambda x: ([np.cos(x), A @ x], np.sin(x)), (0, 1, 2), "output 0[1] [2]"),
    "after an integer": (lambda x: (3, A @ x, np.sin(x)), (1, 1), "output 1 [1]"),
}  # fmt: skip


def pulled(fn, g, x):
    """Differentiate <g, fn> by complex steps, for nested outputs."""
    if isinstance(g, dict | list | tuple):
        keys = list(g) if isinstance(g, dict) else range(len(g))
        return sum(pulled(lambda x, k=k: fn(x)[k], g[k], x) for k in keys)
    return np.array([np.imag(np.sum(g * fn(x + 1e-20j * e))) / 1e-20 for e in np.eye(x.size)])


@pytest.mark.parametrize("name", SEVERAL)
def test_one_of_several_outputs_is_named_by_its_place_among_them(name):
    fn, (*way, entry), place = SEVERAL[name]

    def claim(g, x):
        g = part = copy.deepcopy(g)
        for key in way:
            part = part[key]
        part[entry] *= 1.5
        return pulled(fn, g, x)

    check = gradcheck(fn, [X], vjp=claim).failure
    assert check.worst.output == f", of {place}", check
    assert check.guess == f"wrong only in the gradient of {place}"


@pytest.mark.parametrize("kept", [0, "mean"])
def test_the_only_output_that_counts_is_named(kept):
    def fn(x):
        both = np.mean(x), np.sin(A @ x)
        return both if kept == 0 else dict(zip(("mean", "wave"), both, strict=True))

    report = gradcheck(fn, [X], vjp=lambda g, x: g[kept] * np.ones(3) / 3)
    assert report.failure.guess == f"only the part of g for output {kept!r} is used"


def test_an_output_of_tensors_has_its_key():
    fn = lambda x: {"count": 3, "size": ops.abs(x)}  # noqa: E731
    report = gradcheck(fn, [np.array([1.0, 0.0])], subgradients=False)
    assert report.failure.worst.output == ", of output 'size' [1]"


EXCHANGED = {
    "one input": (np.sin, [X], lambda x, g: g * np.cos(x)),
    "a scalar output": (lambda x: np.sin(x).sum(), [X], lambda x, g: g * np.cos(x)),
    "two inputs": (lambda x, y: x**2 * y, [X, X + 1], lambda x, y, g: (2 * g * x * y, g * x**2)),
    "other shapes": (lambda x: B @ x, [X], lambda x, g: B.T @ g),
    "several outputs": (lambda x: (np.sin(x), x), [X], lambda x, g: g[0] * np.cos(x) + g[1]),
}


@pytest.mark.parametrize("name", EXCHANGED)
def test_a_backward_that_takes_g_last_is_told(name):
    fn, inputs, claim = EXCHANGED[name]
    report = gradcheck(fn, inputs, vjp=claim)
    assert report.diagnosis == "wrong gradient"
    assert "gradcheck calls vjp(g, *inputs), and vjp(*inputs, g) is right" in str(report)


def test_a_wrong_backward_is_wrong_in_either_order():
    report = gradcheck(np.sin, [X], vjp=lambda x, g: 2 * g * np.cos(x))
    assert report.diagnosis == "wrong gradient" and "exchanged" not in str(report)
    with pytest.raises(ValueError, match="mismatch"):
        gradcheck(lambda x: B @ x, [X], vjp=lambda g, x: B @ g)


def where(right, fn, said="no such x"):
    """A function that raises an error where a condition does not hold."""

    def checked(x):
        if not right(x):
            raise ValueError(said)
        return fn(x)

    return checked


DOMAINS = {
    "a point": (where(lambda x: np.array_equal(x, X), np.sin), X, np.cos),
    "a sum": (where(lambda x: abs(x.sum() - 1) < 1e-12, lambda p: np.sum(p * np.log(p))),
              np.array([0.2, 0.3, 0.5]), lambda p: np.log(p) + 1),
    "an edge with a root": (where(lambda x: np.all(x >= 0), np.sqrt), np.array([0.0, 1.0]),
                            lambda x: np.array([1.0, 0.5])),
}  # fmt: skip


@pytest.mark.parametrize("name", DOMAINS)
def test_an_error_beside_the_point_is_told_with_its_place(name):
    fn, x, slope = DOMAINS[name]
    check = gradcheck(fn, [x], vjp=lambda g, x: g * slope(x)).failure
    assert check.diagnosis in ("non-finite", "too little precision")
    place = f"{check.worst.name} {list(check.worst.index)}"
    assert f"fn raises ValueError: no such x, where {place} changes by " in check.message
    assert "check at a point" in check.message


def test_an_edge_at_which_an_error_is_raised_is_checked_on_its_other_side():
    fn = where(lambda x: np.all(x >= 0), lambda x: np.sqrt(x) ** 3)
    report = gradcheck(fn, [np.array([0.0, 1.0])], vjp=lambda g, x: 1.5 * g * np.sqrt(x))
    assert report and "defined on one side only" in report.checks[0].notes[0]


HIDDEN = {
    "a parabola": (lambda x: x**2 + 1e-30 * x, [0.0], lambda x: 2 * x, 1e-18),
    "beside 1": (lambda x: np.sum(x**2 + 1e-30 * x), [0.0, 1.0], lambda x: 2 * x, 1e-8),
    "a cosine": (lambda x: np.cos(x) + 1e-30 * x, [0.0], lambda x: -np.sin(x), 1e-6),
    "an offset": (lambda x: 1 + 1e-20 * x, [0.3, 0.4], np.zeros_like, 1e-8),
    "saturated": (np.tanh, [40.0], np.zeros_like, 1e-8),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_claim_of_zero_says_how_small_a_derivative_would_not_show(name):
    fn, x, slope, bar = HIDDEN[name]
    report = gradcheck(fn, [np.array(x)], vjp=lambda g, x: g * slope(x))
    (note,) = report.checks[0].notes
    said, _, least = note.rpartition(" ")
    assert report and said.endswith(
        ": the claim is 0, and the differences would not show a derivative below"
    )
    assert 0 < float(least) < bar


@pytest.mark.parametrize("x", [X, -np.abs(X)], ids=["mixed", "negative"])
def test_where_fn_is_flat_a_claim_of_zero_needs_no_note(x):
    for fn in (lambda x: np.maximum(x, 0), lambda x: np.maximum(x, 0).sum()):
        report = gradcheck(fn, [x], vjp=lambda g, x: g * (x > 0))
        assert report and not report.checks[0].notes
