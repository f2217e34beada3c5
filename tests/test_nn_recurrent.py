"""Recurrent layers: PyTorch's values and gradients, second derivatives, the bound of a step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisn import Tensor, grad, nn, ops
from minisn.errors import ShapeError
from minisn.gradcheck import gradcheck
from minisn.init import lecun, orthogonal
from minisn.regularizers import SpectralNorm

T, N, D_IN, D = 5, 3, 2, 4
KINDS = {
    "tanh": (nn.RNN, {"activation": nn.Tanh()}),
    "relu": (nn.RNN, {"activation": nn.ReLU()}),
    "gru": (nn.GRU, {}),
}


def rng(seed=0):
    return np.random.default_rng(seed)


def layer(kind, seed=0, scheme=None, init=orthogonal):
    """A layer in double precision with biases that are not zero."""
    make, options = KINDS[kind]
    made = make(D_IN, D, rng(seed), scheme, init=init, **options).to(dtype="float64")
    for part in (*made.input, *made.recurrent):
        if part.bias is not None:
            part.bias.assign(rng(seed + 1).normal(size=D))
    return made


def jacobian(made, x, h):
    """Every derivative of the next state in this one, from one row of gradients each."""
    copies = Tensor(np.repeat(h[None], D, 0), requires_grad=True)
    after = made.states(Tensor(np.repeat(x[None, None], D, 1)), copies)[0]
    return grad(after, copies, np.eye(D)).array


@pytest.mark.parametrize("kind", list(KINDS))
def test_values_and_gradients_equal_pytorchs(torch, kind):
    made = layer(kind)
    theirs = (
        torch.nn.GRU(D_IN, D) if kind == "gru" else torch.nn.RNN(D_IN, D, nonlinearity=kind)
    ).double()
    zeros = np.zeros(D)
    with torch.no_grad():
        for name, parts in (("ih", made.input), ("hh", made.recurrent)):
            biases = [zeros if p.bias is None else p.bias.numpy() for p in parts]
            weights = np.concatenate([p.weight.numpy() for p in parts])
            getattr(theirs, f"weight_{name}_l0").copy_(torch.tensor(weights))
            getattr(theirs, f"bias_{name}_l0").copy_(torch.tensor(np.concatenate(biases)))
    x, h, g = (rng(3).normal(size=s) for s in ((T, N, D_IN), (N, D), (T, N, D)))
    ours = [Tensor(a, requires_grad=True) for a in (x, h)]
    y = made(*ours)
    its = [torch.tensor(a, requires_grad=True) for a in (x, h[None])]
    their_y = theirs(*its)[0]
    np.testing.assert_allclose(y.array, their_y.detach(), rtol=1e-12, atol=1e-14)
    their_y.backward(torch.tensor(g))
    parameters = [p.weight for p in (*made.input, *made.recurrent)] + [p.bias for p in made.input]
    dx, dh, *found = grad(y, [*ours, *parameters], g)
    n = len(made.input)
    for name, expected in (
        ("weight_ih", found[:n]),
        ("weight_hh", found[n : 2 * n]),
        ("bias_ih", found[2 * n :]),
    ):
        value = np.concatenate([f.array for f in expected])
        np.testing.assert_allclose(
            value, getattr(theirs, f"{name}_l0").grad, rtol=1e-10, atol=1e-13, err_msg=name
        )
    np.testing.assert_allclose(dx.array, its[0].grad, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(dh.array, its[1].grad[0], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", ["tanh", "gru"])
def test_first_and_second_derivatives_through_normalized_weights(kind):
    made = layer(kind, scheme=SpectralNorm(0.9))
    parts = [*made.input, *made.recurrent]

    def run(x, h, *weights):
        for part, W in zip(parts, weights, strict=True):
            part.weight = W
        return made(x, h)

    inputs = [rng(4).normal(size=(3, 2, D_IN)), rng(5).normal(size=(2, D))]
    report = gradcheck(run, inputs + [p.weight.numpy() for p in parts], order=2)
    assert report, report


def test_a_state_depends_on_nothing_that_comes_later():
    made = layer("gru")
    x = Tensor(rng().normal(size=(T, 1, D_IN)), requires_grad=True)
    g = grad(ops.sum(made.states(x)[2]), x).array
    assert (g[:3] != 0).all()
    assert (g[3:] == 0).all()


def test_weights_are_normalized_once_for_a_whole_sequence(monkeypatch):
    made = layer("gru", scheme=SpectralNorm())
    calls = []
    whole = SpectralNorm.apply
    monkeypatch.setattr(SpectralNorm, "apply", lambda *a: calls.append(1) or whole(*a))
    made(Tensor(rng().normal(size=(T, N, D_IN))))
    assert len(calls) == 3


def test_schemes_of_states_and_inputs_are_apart_and_advance_with_the_network():
    made = nn.GRU(2, 3, rng(), SpectralNorm(0.5), SpectralNorm(2.0), init=lecun)
    for parts, norm in ((made.recurrent, 0.5), (made.input, 2.0)):
        for part in parts:
            W = part.effective_weight().array
            assert np.linalg.norm(W, 2) == pytest.approx(norm, rel=0.01)
    u = made.recurrent[2].state["u"].copy()
    made.recurrent[2].weight.assign(rng(1).normal(size=(3, 3)).astype(np.float32))
    nn.power_step(made)
    assert (made.recurrent[2].state["u"] != u).any()
    assert {"input.0.weight", "recurrent.2.weight", "recurrent.2.bias"} <= set(made.state_dict())
    assert "recurrent.0.bias" not in made.state_dict()


@given(st.integers(0, 10_000), st.sampled_from(["tanh", "relu", "gru"]), st.floats(0.1, 8))
def test_no_jacobian_of_a_step_exceeds_its_bound(seed, kind, size):
    made = layer(kind, seed, init=lambda *a: size * lecun(*a))
    x, h = size * rng(seed).normal(size=D_IN), rng(seed + 2).uniform(-1, 1, D)
    assert np.linalg.norm(jacobian(made, x, h), 2) <= made.step_bound()


def test_the_bound_of_the_plain_layer_is_attained():
    made = layer("relu", init=lambda *a: 1.3 * orthogonal(*a))
    made.input[0].bias.assign(np.full(D, 100.0))
    J = jacobian(made, np.zeros(D_IN), np.zeros(D))
    assert np.linalg.norm(J, 2) == pytest.approx(made.step_bound(), rel=1e-9)
    assert made.step_bound() == pytest.approx(1.3, rel=1e-6)  # drawn in float32
    steep = nn.RNN(2, 3, rng(), activation=nn.LeakyReLU(-3.0))
    assert steep.step_bound() == pytest.approx(3, rel=1e-5)


def test_gates_that_open_in_turn_explode_a_gru_whose_weights_are_normalized():
    """At h = 0 a step is diag(z) + diag(1 - z) U, and z alternates between (1, 0) and (0, 1)."""
    made = nn.GRU(1, 2, rng(), SpectralNorm()).to(dtype="float64")
    c, s = np.cos(np.radians(130)), np.sin(np.radians(130))
    made.recurrent[2].weight.assign(np.array([[c, -s], [s, c]]))
    for part, W, b in zip(
        made.input, ([[0], [0]], [[40], [-40]], [[0], [0]]), (40, 0, 0), strict=True
    ):
        part.weight.assign(np.array(W, float))
        part.bias.assign(np.full(2, float(b)))
    for _ in range(3):
        nn.power_step(made)
    x = np.where(np.arange(60) % 2, -1.0, 1.0).reshape(-1, 1, 1)
    h = Tensor(np.zeros((2, 2)), requires_grad=True)
    last = made.states(Tensor(np.repeat(x, 2, 1)), h)[-1]
    norm = np.linalg.norm(grad(last, h, np.eye(2)).array, 2)
    two = np.array([[c, -s], [0, 1]]) @ np.array([[1, 0], [s, c]])
    assert norm == pytest.approx(np.linalg.norm(np.linalg.matrix_power(two, 30), 2), rel=1e-6)
    assert norm > 1e6
    assert norm <= made.step_bound() ** 60


@pytest.mark.parametrize(
    ("x", "h", "message"),
    [
        ((T, N), None, "expected sequences"),
        ((T, N, 3), None, r"\[T, N, 2\], time first, got shape \[5, 3, 3\]"),
        ((T, N, D_IN), (N + 1, D), r"a first state \[3, 4\] for this batch, got shape \[4, 4\]"),
    ],
)
def test_wrong_shapes_are_refused(x, h, message):
    state = None if h is None else Tensor(np.zeros(h))
    with pytest.raises(ShapeError, match=message):
        layer("tanh")(Tensor(np.zeros(x)), state)
