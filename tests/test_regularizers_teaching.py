"""What others take for the gradient of spectral norm: each told apart from the rest."""

import numpy as np
import pytest

from minisn import Tensor, grad
from minisn.errors import ConfigError
from minisn.gradcheck import gradcheck
from minisn.regularizers import SEMANTICS, SpectralNorm, TaughtSpectralNorm, spectral_gradient

SHAPES = {"dense": ((4, 6), 0), "conv": ((4, 3, 2, 2), 0), "deconv": ((3, 4, 2, 2), 1)}
kinds = pytest.mark.parametrize("kind", SHAPES)


pytestmark = pytest.mark.usefixtures("plain_kernels")


def rng(seed=0):
    return np.random.default_rng(seed)


def matrix(W, axis):
    return np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)


class Case:
    """A scheme at a weight that has just moved far, or after many power steps."""

    def __init__(self, semantics, kind, steps=0, factor=2.0):
        shape, self.axis = SHAPES[kind]
        self.scheme = TaughtSpectralNorm(semantics)
        self.learned, self.state = self.scheme.start(
            Tensor(rng(1).normal(size=shape), requires_grad=True), self.axis, rng(2)
        )
        self.before = factor * rng(3).normal(size=shape)
        self.learned["weight"].assign(self.before.copy())
        for _ in range(1 + steps):
            self.state = self.scheme.step(self.learned, self.axis, self.state)
        self.W = self.learned["weight"]
        self.G = rng(4).normal(size=shape)
        W_bar = self.scheme.apply(self.learned, self.axis, self.state)
        self.W_bar, self.g = W_bar.array, grad(W_bar, self.W, self.G).array
        u, v = self.state["u"], self.state["v"]
        self.sigma = u @ matrix(self.before, self.axis) @ v
        self.paper = spectral_gradient(self.G, self.before, u, v, self.axis)


def close(a, b):
    return np.abs(a - b).max() <= 1e-12 * np.abs(b).max()


def those(fact, **settings):
    """The semantics for which a fact holds, whatever the kind of layer."""
    found = {kind: {s for s in SEMANTICS if fact(Case(s, kind, **settings))} for kind in SHAPES}
    assert found["dense"] == found["conv"] == found["deconv"]
    return found["dense"]


def test_all_divide_by_the_same_estimate_above_the_bound():
    assert those(lambda case: close(case.W_bar, case.before / case.sigma)) == set(SEMANTICS)


def test_only_the_clipped_one_leaves_a_small_weight_alone():
    small = {"factor": 0.01}
    assert those(lambda case: close(case.W_bar, case.before), **small) == {"clipped"}
    assert those(lambda case: close(case.g, case.G), **small) == {"clipped", "overwritten"}


def test_constant_is_equation_12_and_so_is_clipped_above_the_bound():
    assert those(lambda case: close(case.g, case.paper)) == {"constant", "clipped"}


def test_detached_lacks_the_second_term():
    assert those(lambda case: close(case.g, case.G / case.sigma)) == {"detached"}


def test_only_overwriting_changes_the_weight_and_takes_the_gradient_as_it_is():
    assert those(lambda case: not np.array_equal(case.W.array, case.before)) == {"overwritten"}
    assert those(lambda case: close(case.g, case.G)) == {"overwritten"}


def test_through_is_the_derivative_of_the_whole_power_step():
    def derivative(case):
        """Central differences of W / sigma with u and v recomputed from where u began."""
        u, h = case.state["u_before"], 1e-5

        def value(W):
            M = matrix(W, case.axis)
            v = M.T @ u / np.linalg.norm(M.T @ u)
            return (case.G * W).sum() / np.linalg.norm(M @ v)

        slope = np.zeros(case.before.shape)
        for i in np.ndindex(slope.shape):
            E = np.zeros(slope.shape)
            E[i] = h
            slope[i] = (value(case.before + E) - value(case.before - E)) / (2 * h)
        return slope

    # differences: an error of order h^2
    assert those(lambda case: np.abs(case.g - derivative(case)).max() < 1e-8) == {"through"}


@kinds
def test_constant_and_through_differ_by_percents_until_the_iteration_has_converged(kind):
    def gap(steps):
        constant, through = (Case(s, kind, steps).g for s in ("constant", "through"))
        return np.abs(constant - through).max() / np.abs(constant).max()

    assert gap(0) > 0.01
    assert gap(300) < 1e-9


@kinds
def test_constant_is_the_one_that_trains(kind):
    case = Case("constant", kind)
    state = {k: case.state[k] for k in ("u", "v")}
    used = SpectralNorm().apply(case.learned, case.axis, state)
    np.testing.assert_array_equal(used.array, case.W_bar)
    np.testing.assert_allclose(grad(used, case.W, case.G).array, case.g, rtol=1e-13, atol=1e-15)
    stepped = SpectralNorm().step(case.learned, case.axis, state)
    after = case.scheme.step(case.learned, case.axis, case.state)
    np.testing.assert_array_equal(stepped["u"], after["u"])


@pytest.mark.parametrize("semantics", ["constant", "through", "clipped", "overwritten"])
@kinds
def test_what_claims_to_be_a_derivative_is_one(semantics, kind):
    case = Case(semantics, kind)
    report = gradcheck(
        lambda W: case.scheme.apply({"weight": W}, case.axis, case.state),
        [case.before],
        order=2,
        full=False,
    )
    assert report, report


def test_detached_is_no_derivative():
    case = Case("detached", "dense")
    assert not gradcheck(
        lambda W: case.scheme.apply({"weight": W}, 0, case.state), [case.before], full=False
    )


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_a_weight_of_zeros_gives_zeros_and_a_finite_gradient(semantics):
    scheme = TaughtSpectralNorm(semantics)
    learned, state = scheme.start(Tensor(np.zeros((3, 4)), requires_grad=True), 0, rng())
    W_bar = scheme.apply(learned, 0, scheme.step(learned, 0, state))
    np.testing.assert_array_equal(W_bar.array, np.zeros((3, 4)))
    assert np.isfinite(grad(W_bar, learned["weight"], np.ones((3, 4))).array).all()


def test_the_bound_of_clipping():
    W = np.diag([4.0, 1.0])
    scheme = TaughtSpectralNorm("clipped", bound=2.0)
    learned, state = scheme.start(Tensor(W, requires_grad=True), 0, rng())
    np.testing.assert_allclose(scheme.apply(learned, 0, state).array, W / 2, rtol=1e-3)
    learned["weight"].assign(W / 4)
    state = scheme.step(learned, 0, state)
    np.testing.assert_array_equal(scheme.apply(learned, 0, state).array, W / 4)


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="unknown semantics 'frozen'; expected one of constant"):
        TaughtSpectralNorm("frozen")
