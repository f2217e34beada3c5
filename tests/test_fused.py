"""Fused operations: each equal to its composition, to second order, in every kernel module."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minisn import Tensor, conv, grad, ops
from minisn.errors import ShapeError
from minisn.fused import conv2d_with_bias, normalize
from minisn.spectral import spectral_divide
from minisn.tensor import RULES, Fused

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def normalized(draw):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=4))
    kind = draw(st.sampled_from(["channels", "items", "some"]))
    axes = {"channels": {0, *range(2, len(shape))}, "items": set(range(1, len(shape)))}.get(kind)
    axes = axes or draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))

    def repeated():
        kept = tuple(draw(st.sampled_from([1, n])) for n in shape)
        return draw(st.sampled_from([kept, (1, shape[1]) + (1,) * (len(shape) - 2), ()]))

    rng = np.random.default_rng(draw(SEEDS))
    inputs = [rng.normal(size=s) for s in (shape, repeated(), repeated())]
    return inputs, {"axis": tuple(sorted(axes)), "eps": 0.1}


@st.composite
def divided(draw):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=4))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    rng = np.random.default_rng(draw(SEEDS))
    W = rng.uniform(0.5, 2.0, size=shape)
    u, v = (rng.uniform(0.5, 1.0, size=n) for n in (shape[axis], W.size // shape[axis]))
    return [W], {"u": u, "v": v, "axis": axis, "scale": draw(st.sampled_from([1.0, 0.7]))}


DRAWN = {"normalize": normalized(), "spectral_divide": divided()}


def test_every_fused_operation_is_tried():
    assert set(DRAWN) == {name for name, op in RULES.items() if isinstance(op, Fused)}


def derivatives(f, inputs, seed):
    """The value, the gradients that no graph is asked of, those of a graph, and the second ones."""
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    y = f(*xs)
    rng = np.random.default_rng(seed)
    c = Tensor(rng.normal(size=y.shape), requires_grad=True)
    first = grad(y, xs, grad_output=c)
    recorded = grad(y, xs, grad_output=c, create_graph=True)
    ds = [rng.normal(size=x.shape) for x in xs]
    form = sum((g * d).sum() for g, d in zip(recorded, ds, strict=True))
    second = grad(form, [*xs, c])
    return [t.array for t in (y, *first, *recorded, *second)]


@pytest.mark.parametrize("name", DRAWN)
@settings(max_examples=60)
@given(data=st.data())
def test_the_fast_form_is_the_composition(name, data, kernel_name, every_size):
    inputs, params = data.draw(DRAWN[name])
    op, seed = RULES[name], data.draw(SEEDS)
    fast = derivatives(lambda *xs: op(*xs, **params), inputs, seed)
    plain = derivatives(lambda *xs: op.composition(*xs, **params), inputs, seed)
    for a, b in zip(fast, plain, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * (1 + np.abs(b).max(initial=0)))


def test_an_input_may_depend_on_another():
    """The gain is a function of x: what reaches x through it is counted once."""
    x = Tensor(np.random.default_rng(0).normal(size=(5, 3)), requires_grad=True)

    def f(op):
        gain = (x * x).sum(axis=0, keepdims=True)
        return op(x, gain, gain * 2.0, axis=0, eps=0.1)

    found = []
    for y in (f(normalize), f(normalize.composition)):
        g = grad((y * y * y).sum(), x, create_graph=True)
        found.append([g.array, grad((y * y * y).sum(), x).array, grad((g * g).sum(), x).array])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_moments_that_are_known_give_the_gradient_of_those_that_are_not():
    x = Tensor(np.random.default_rng(0).normal(size=(6, 3)) * 1e-3, requires_grad=True)
    moments = (x.array.mean(0, keepdims=True), x.array.var(0, keepdims=True))
    c = np.random.default_rng(1).normal(size=(6, 3))
    plain, known = (
        grad((normalize(x, 1.0, 0.0, axis=0, eps=1e-5, moments=m) * c).sum(), x).array
        for m in (None, moments)
    )
    np.testing.assert_allclose(known, plain, rtol=1e-12)


def test_values_of_moments():
    x = np.random.default_rng(0).normal(3, 2, size=(6, 5))
    y = normalize(Tensor(x), 1.0, 0.0, axis=0, eps=0.0)
    unit = 8 * np.finfo(float).eps
    assert np.abs(y.mean(axis=0).array).max() <= unit
    assert np.abs(ops.var(y, axis=0).array - 1).max() <= unit


@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("statistics", ["channels", "items"])
def test_many_channels_in_single_precision(layout, statistics):
    """More entries than NumPy is left with, in both orders of memory, away from 0."""
    rng = np.random.default_rng(0)
    x = rng.normal(30.0, size=(4, 16, 24, 24)).astype(np.float32)
    gain, shift = (rng.normal(size=(1, 16, 1, 1)).astype(np.float32) for _ in range(2))
    axis = (0, 2, 3) if statistics == "channels" else (1, 2, 3)
    exact = derivatives(
        lambda *t: normalize.composition(*t, axis=axis, eps=1e-5),
        [a.astype(np.float64) for a in (x, gain, shift)],
        3,
    )
    if layout == "channels last":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    found = derivatives(lambda *t: normalize(*t, axis=axis, eps=1e-5), [x, gain, shift], 3)
    for a, b in zip(found[:4], exact[:4], strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-5 * np.abs(b).max())


def test_a_gradient_of_one_input_alone_needs_no_other():
    x, gain = np.ones((4, 3)), Tensor(np.ones((1, 3)), requires_grad=True)
    y = normalize(x, gain, 0.0, axis=0, eps=1.0)
    np.testing.assert_array_equal(grad(y.sum(), gain).array, np.zeros((1, 3)))


def test_an_axis_that_does_not_exist_is_refused():
    with pytest.raises(ShapeError, match="normalize: axis 1 does not exist"):
        normalize(np.zeros(2), 1.0, 0.0, axis=1, eps=0.1)


def test_a_weight_of_norm_zero_stays_zero_with_gradient_zero():
    W = Tensor(np.zeros((2, 3)), requires_grad=True)
    y = spectral_divide(W, u=np.ones(2), v=np.ones(3), axis=0, scale=1.0)
    assert not y.array.any()
    for create_graph in (False, True):
        assert not grad((y * 3.0).sum(), W, create_graph=create_graph).array.any()


def test_a_bias_is_what_is_added_to_a_convolution():
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=s) for s in ((2, 3, 5, 4), (4, 3, 3, 2), (4,))]
    fused = derivatives(lambda *t: conv2d_with_bias(*t, stride=2, padding=1), inputs, 0)
    plain = derivatives(
        lambda x, w, b: conv.conv2d(x, w, stride=2, padding=1) + b.reshape(1, -1, 1, 1), inputs, 0
    )
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("places", [(0, 0, 1), (0, 1, 0), (1, 0, 0)])
def test_a_tensor_in_two_places_has_one_gradient(places):
    rng = np.random.default_rng(3)
    given = [Tensor(rng.normal(size=(4, 3)), requires_grad=True) for _ in range(2)]
    inputs = [given[i] for i in places]
    plain, recorded = (
        grad(ops.sum(normalize(*inputs, axis=0, eps=1e-5) ** 2), given[0], create_graph=recording)
        for recording in (False, True)
    )
    np.testing.assert_allclose(recorded.numpy(), plain.numpy(), rtol=1e-10)
