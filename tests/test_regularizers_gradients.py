"""The papers' gradient formulas against finite differences, the SVD, and the engine's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisn import Tensor, grad, nn
from minisn.regularizers import (
    BidirectionalSpectralNorm,
    ConvSpectralNorm,
    FrobeniusNorm,
    SpectralNorm,
    WeightNorm,
    entry_gradient,
    frobenius_gradient,
    layer_gradient,
    normalization_gradient,
    spectral_gradient,
    stationarity,
)

SHAPES = {"dense": ((4, 6), 0), "conv": ((4, 3, 2, 2), 0), "deconv": ((3, 4, 2, 2), 1)}


pytestmark = pytest.mark.usefixtures("plain_kernels")


def rng(seed=0):
    return np.random.default_rng(seed)


def leading(W):
    U, s, Vt = np.linalg.svd(W)
    return U[:, 0], Vt[0], s[0]


def through(scheme, W, axis, G):
    """The engine's gradient of <G, W_bar>, at what the scheme's own state says of u and v."""
    learned, state = scheme.start(Tensor(W, requires_grad=True), axis, rng(3))
    W_bar = scheme.apply(learned, axis, state)
    return grad(W_bar, learned["weight"], G).array, state, W_bar.array


# --- (9), (10): the SVD's own derivative ------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 6), (5, 3), (1, 4), (4, 1)])
def test_entry_by_entry_it_is_the_derivative_of_the_svd(shape):
    W = rng(1).normal(size=shape)
    u, v, _ = leading(W)
    h = 1e-5
    for i, j in np.ndindex(shape):
        E = np.zeros(shape)
        E[i, j] = h
        ahead, back = ((W + e) / np.linalg.norm(W + e, 2) for e in (E, -E))
        # central differences: an error of order h^2 times third derivatives of order 1 to 100
        np.testing.assert_allclose(
            entry_gradient(W, u, v, i, j), (ahead - back) / (2 * h), atol=1e-8
        )


def test_both_ways_to_write_it_agree():
    W = rng(2).normal(size=(3, 4))
    u, v, sigma = leading(W)
    E = np.zeros((3, 4))
    E[2, 1] = 1
    ninth = E / sigma - u[2] * v[1] / sigma**2 * W
    np.testing.assert_allclose(entry_gradient(W, u, v, 2, 1), ninth, rtol=1e-13)


# --- (11), (12): a dense layer ----------------------------------------------------------------


def test_the_gradient_of_a_layer_from_its_signals():
    layer = nn.Linear(6, 4, rng(), bias=False, reparametrize=SpectralNorm()).to(dtype="float64")
    h, target = rng(1).normal(size=(9, 6)), rng(2).normal(size=(9, 4))
    y = layer(Tensor(h))
    V = ((y - Tensor(target)) ** 2).sum(axis=1).mean()
    mine = grad(V, layer.weight).array
    delta = 2 * (y.array - target)  # of each example: their mean is V's
    u, v = layer.state["u"], layer.state["v"]
    W = layer.weight.array
    expected = layer_gradient(delta, h, W, u, v)
    np.testing.assert_allclose(mine, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())
    # the second term is no rounding: without it the gradient is another
    assert np.abs(mine - delta.T @ h / 9 / (u @ W @ v)).max() > 0.01 * np.abs(mine).max()


def test_the_gradient_of_a_layer_vanishes_where_its_signals_are_a_multiple_of_u_v():
    W = rng(4).normal(size=(4, 6))
    u, v, _ = leading(W)
    delta, h = 3.0 * np.outer([1, 2], u), np.outer([1, 2], v)  # mean of delta h^T: 7.5 u v^T
    np.testing.assert_allclose(layer_gradient(delta, h, W, u, v), np.zeros((4, 6)), atol=1e-14)


# --- (33) to (37): any weight -----------------------------------------------------------------


@pytest.mark.parametrize("kind", SHAPES)
def test_spectral_and_frobenius_gradients_are_the_engines(kind):
    shape, axis = SHAPES[kind]
    W, G = rng(5).normal(size=shape), rng(6).normal(size=shape)
    mine, state, _ = through(SpectralNorm(), W, axis, G)
    np.testing.assert_allclose(
        mine, spectral_gradient(G, W, state["u"], state["v"], axis), rtol=1e-10, atol=1e-13
    )
    mine = through(FrobeniusNorm(), W, axis, G)[0]
    np.testing.assert_allclose(mine, frobenius_gradient(G, W), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [(s, k) for s in (SpectralNorm(), FrobeniusNorm(), BidirectionalSpectralNorm()) for k in SHAPES]
    + [(ConvSpectralNorm(size=5, stride=2, padding=1), "conv")],
)
def test_the_general_gradient_is_that_of_every_scheme_with_one_norm(scheme, kind):
    shape, axis = SHAPES[kind]
    W, G = rng(7).normal(size=shape), rng(8).normal(size=shape)
    mine, state, _ = through(scheme, W, axis, G)
    leaf = Tensor(W, requires_grad=True)
    N = scheme.norm(leaf, axis, state)
    expected = normalization_gradient(G, W, N.item(), grad(N, leaf).array)
    np.testing.assert_allclose(mine, expected, rtol=1e-10, atol=1e-13)


def test_weight_normalization_is_it_row_by_row():
    W, G = rng(9).normal(size=(4, 6)), rng(10).normal(size=(4, 6))
    rows = [frobenius_gradient(g, w) for g, w in zip(G, W, strict=True)]
    np.testing.assert_allclose(through(WeightNorm(), W, 0, G)[0], rows, rtol=1e-10, atol=1e-13)


@given(st.integers(0, 1000))
def test_the_gradient_is_orthogonal_to_the_weight(seed):
    # W_bar does not change with the length of W, so neither does V
    W, G = rng(seed).normal(size=(4, 6)), rng(seed + 1).normal(size=(4, 6))
    u, v, _ = leading(W)
    for g in (frobenius_gradient(G, W), spectral_gradient(G, W, u, v)):
        assert np.vdot(g, W) == pytest.approx(0, abs=1e-12 * np.linalg.norm(g) * np.linalg.norm(W))


def test_the_formulas_use_the_array_api_alone():
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    W, G = rng(1).normal(size=(3, 4, 2, 2)), rng(2).normal(size=(3, 4, 2, 2))
    u, v = rng(3).normal(size=4), rng(4).normal(size=12)
    theirs = spectral_gradient(*map(xp.asarray, (G, W, u, v)), 1)
    np.testing.assert_allclose(np.from_dlpack(theirs), spectral_gradient(G, W, u, v, 1), atol=1e-13)
    W, G, v = W[0, :, 0, :], G[0, :, 0, :], v[:2]
    delta, h = rng(5).normal(size=(7, 4)), rng(6).normal(size=(7, 2))
    for f, args in (
        (frobenius_gradient, (G, W)),
        (layer_gradient, (delta, h, W, u, v)),
    ):
        np.testing.assert_allclose(np.from_dlpack(f(*map(xp.asarray, args))), f(*args), atol=1e-13)
    entry = entry_gradient(*map(xp.asarray, (W, u, v)), 1, 1)
    np.testing.assert_allclose(np.from_dlpack(entry), entry_gradient(W, u, v, 1, 1), atol=1e-13)
    assert stationarity(xp.asarray(G), xp.asarray(W)) == pytest.approx(stationarity(G, W))


# --- (38): where updates stop -----------------------------------------------------------------


@pytest.mark.parametrize("k", [-2.0, 0.7])
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("scheme", [SpectralNorm(), FrobeniusNorm()])
def test_updates_stop_where_the_gradient_is_a_multiple_of_the_norms(scheme, kind, k):
    shape, axis = SHAPES[kind]
    W = rng(11).normal(size=shape)
    learned, state = scheme.start(Tensor(W, requires_grad=True), axis, rng(3))
    for _ in range(300):
        state = scheme.step(learned, axis, state)
    norm_gradient = grad(scheme.norm(learned["weight"], axis, state), learned["weight"]).array
    G = k * norm_gradient
    W_bar = scheme.apply(learned, axis, state)
    g = grad(W_bar, learned["weight"], G).array
    np.testing.assert_allclose(g, np.zeros(shape), atol=1e-14)
    found, gap = stationarity(G, norm_gradient)
    assert found == pytest.approx(k, rel=1e-12) and gap < 1e-12
    moved = G + 0.1 * rng(12).normal(size=shape)
    assert stationarity(moved, norm_gradient)[1] > 0.05
    assert np.abs(grad(W_bar, learned["weight"], moved).array).max() > 1e-3


def test_the_gap_is_the_sine_of_the_angle_and_zero_for_no_gradient():
    N, other = np.array([[3.0, 0.0]]), np.array([[0.0, 2.0]])
    k, gap = stationarity(2 * N + 3 * other, N)
    assert (k, gap) == pytest.approx((2, 6 / np.hypot(6, 6)))
    assert stationarity(np.zeros((1, 2)), N) == (0, 0)
