"""Gradients through time: the closed form, the bound, and training with and without it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisn import nn
from minisn.init import orthogonal
from minisn.regularizers import SingularValues, SpectralNorm
from minisn.robustness import adding_problem, learn_adding, recurrent_gradients


def rng(seed=0):
    return np.random.default_rng(seed)


def rnn(size, scheme=None, activation=None, d=16, seed=0):
    """A plain layer whose recurrent weight is an orthogonal matrix times a number."""
    return nn.RNN(
        2, d, rng(seed), scheme, init=lambda *a: size * orthogonal(*a), activation=activation
    )


@given(st.integers(2, 30), st.integers(0, 100))
def test_every_sequence_has_one_mark_in_each_half_and_the_sum_of_the_marked(length, seed):
    x, y = adding_problem(length, 7, rng(seed))
    assert x.shape == (length, 7, 2)
    assert x.dtype == y.dtype == np.float32
    values, marks = x[..., 0], x[..., 1]
    assert ((marks == 0) | (marks == 1)).all()
    assert (marks[: length // 2].sum(axis=0) == 1).all()
    assert (marks[length // 2 :].sum(axis=0) == 1).all()
    np.testing.assert_allclose((values * marks).sum(axis=0), y, rtol=1e-6)


def test_the_answer_one_has_the_error_that_is_claimed():
    _, y = adding_problem(10, 100_000, rng())
    assert np.mean((y - 1) ** 2) == pytest.approx(1 / 6, rel=0.02)


def test_jacobians_over_many_steps_equal_their_products():
    layer = rnn(1.8, d=5).to(dtype="float64")
    x = rng(1).normal(size=(12, 2))
    found = recurrent_gradients(layer, x)
    A, a, U = (
        t.array for t in (layer.input[0].weight, layer.input[0].bias, layer.recurrent[0].weight)
    )
    states = [np.zeros(5)]
    for x_t in x:
        states.append(np.tanh(A @ x_t + a + U @ states[-1]))
    J, expected = np.eye(5), [1.0]
    for h in reversed(states[2:]):
        J = J @ ((1 - h * h)[:, None] * U)
        expected.append(np.linalg.norm(J, 2))
    np.testing.assert_allclose(found.norm, expected, rtol=1e-10)
    assert found.distance == tuple(range(12))
    np.testing.assert_allclose(found.bound, 1.8 ** np.arange(12), rtol=1e-6)


@given(st.integers(0, 1000), st.floats(0.5, 1.0), st.sampled_from([nn.Tanh(), nn.ReLU()]))
def test_normalized_weights_bound_every_gradient(seed, c, activation):
    layer = rnn(3.0, SpectralNorm(c), activation, d=6, seed=seed)
    found = recurrent_gradients(layer, rng(seed).random((20, 2)).astype(np.float32))
    assert all(n <= b * (1 + 1e-5) for n, b in zip(found.norm, found.bound, strict=True))
    assert found.bound[-1] <= (1.01 * c) ** 19


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.ReLU()])
def test_a_norm_above_one_explodes_and_normalization_stops_it(activation):
    x = rng(2).random((100, 2)).astype(np.float32)
    wild, calm = (
        recurrent_gradients(rnn(3.0, s, activation, d=32), x) for s in (None, SpectralNorm())
    )
    assert wild.norm[-1] > 1e9
    assert max(calm.norm) <= 1 + 1e-5


def test_the_bound_is_attained_where_every_relu_is_open():
    layer = nn.RNN(2, 4, rng(), init=lambda r, shape, axis: 1.1 * np.eye(4), activation=nn.ReLU())
    layer.input[0].weight.assign(np.ones((4, 2), np.float32))
    found = recurrent_gradients(layer, rng().random((50, 2)).astype(np.float32))
    np.testing.assert_allclose(found.norm, 1.1 ** np.arange(50), rtol=1e-4)


def test_the_adding_problem_is_learned_with_normalization_and_not_without():
    layers = [rnn(2.0, s, nn.ReLU(), 32) for s in (SpectralNorm(), None)]
    run, wild = (learn_adding(l, rng(0), length=20, steps=250, rate=1e-2) for l in layers)
    assert layers[0].step_bound() == pytest.approx(1, abs=0.01)
    assert run.finite
    assert len(run.loss) == len(run.gradient) == 250
    assert max(run.gradient) < 100
    assert np.mean(run.loss[-50:]) < 0.13  # who always answers 1 has 0.167
    assert max(wild.gradient) > 1e4
    assert np.mean(wild.loss[-50:]) > 0.167


def test_training_brings_factors_back_to_where_they_must_lie():
    layer = rnn(1.0, SingularValues())
    learn_adding(layer, rng(), length=5, steps=3, rate=0.1)
    U = layer.recurrent[0].U.array
    np.testing.assert_allclose(U.T @ U, np.eye(16), atol=1e-5)


def test_a_run_ends_where_numbers_do():
    wild = learn_adding(rnn(4.0, None, nn.ReLU(), 16), rng(), length=120, steps=20)
    assert not wild.finite
    assert len(wild.loss) == 1
    calm = learn_adding(rnn(4.0, SpectralNorm(), nn.ReLU(), 16), rng(), length=120, steps=3)
    assert calm.finite
    assert len(calm.loss) == 3


def test_a_bound_beyond_all_numbers_is_infinite():
    found = recurrent_gradients(rnn(1000, d=2), np.ones((120, 2), np.float32))
    assert np.isfinite(found.bound[:100]).all() and found.bound[-1] == np.inf
