"""Projections: what they bound, what they leave alone, and that nothing nearer would do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisn import nn
from minisn.errors import ConfigError
from minisn.regularizers import (
    SingularValueClipping,
    SingularValues,
    WeightClipping,
    project,
)

SHAPES = {"dense": ((4, 6), 0), "thin": ((6, 4), 0), "conv": ((4, 3, 2, 2), 0),
          "deconv": ((3, 4, 2, 2), 1)}  # fmt: skip


def rng(seed=0):
    return np.random.default_rng(seed)


def matrix(W, axis):
    return np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)


@given(st.floats(1e-3, 2), st.integers(0, 100))
def test_weight_clipping_bounds_every_entry_and_keeps_the_others(c, seed):
    W = rng(seed).normal(size=(3, 4, 2, 2)).astype(np.float32)
    clipped = WeightClipping(c)(W, 1)
    assert np.abs(clipped).max() <= np.float32(c) and clipped.dtype == np.float32
    inside = np.abs(W) <= np.float32(c)
    np.testing.assert_array_equal(clipped[inside], W[inside])
    np.testing.assert_array_equal(clipped[~inside], np.sign(W[~inside]) * np.float32(c))


@pytest.mark.parametrize("kind", SHAPES)
def test_singular_value_clipping_limits_the_large_values_alone(kind):
    shape, axis = SHAPES[kind]
    W = rng(1).normal(size=shape)
    before = np.linalg.svd(matrix(W, axis))
    bound = float(before[1][1:3].mean())  # between the second and the third
    clipped = SingularValueClipping(bound)(W, axis)
    assert clipped.shape == shape
    after = np.linalg.svd(matrix(clipped, axis))
    np.testing.assert_allclose(after[1], np.minimum(before[1], bound), rtol=1e-12)
    # U^T W' V keeps the same vectors, so W' is diagonal between those of W
    diagonal = before[0].T @ matrix(clipped, axis) @ before[2].T
    expected = np.zeros_like(diagonal)
    np.fill_diagonal(expected, np.minimum(before[1], bound))
    np.testing.assert_allclose(diagonal, expected, atol=1e-12)


@given(st.sampled_from(list(SHAPES)), st.integers(0, 1000))
def test_singular_value_clipping_takes_the_nearest_weight(kind, seed):
    shape, axis = SHAPES[kind]
    draws = rng(seed)
    W = 2 * draws.normal(size=shape)
    clipped = SingularValueClipping(1.0)(W, axis)
    # of a convex set, the nearest point P alone has <W - P, Z - P> <= 0 for all Z of the set
    for scale in (0.01, 1, 100):
        Z = clipped + scale * draws.normal(size=shape)
        Z = Z / max(1.0, np.linalg.norm(matrix(Z, axis), 2))
        assert np.vdot(W - clipped, Z - clipped) <= 1e-12


@pytest.mark.parametrize("kind", SHAPES)
def test_what_lies_within_stays(kind):
    shape, axis = SHAPES[kind]
    W = rng(2).normal(size=shape)
    W *= 0.9 / np.linalg.norm(matrix(W, axis), 2)
    np.testing.assert_allclose(SingularValueClipping(1.0)(W, axis), W, atol=1e-14)
    np.testing.assert_array_equal(WeightClipping(1.0)(W, axis), W)


def test_projections_use_the_array_api_alone():
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    W = rng(3).normal(size=(3, 4, 2, 2))
    for projection in (SingularValueClipping(0.5), WeightClipping(0.5)):
        theirs = np.from_dlpack(projection(xp.asarray(W), 1))
        np.testing.assert_allclose(theirs, projection(W, 1), atol=1e-14)


@pytest.mark.parametrize("kind", [WeightClipping, SingularValueClipping])
@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan")])
def test_a_bound_that_bounds_nothing_is_refused(kind, bound):
    with pytest.raises(ConfigError, match=f"expected a positive .*, got {bound}"):
        kind(bound)


def test_a_network_is_projected_layer_by_layer_along_each_output_axis():
    network = nn.Sequential(
        nn.Linear(6, 12, rng(), init=rng_init),
        nn.Reshape(3, 2, 2),
        nn.ConvTranspose2d(3, 4, 2, rng(), init=rng_init),
    )
    before = {name: p.numpy() for name, p in network.named_parameters().items()}
    project(network)
    for name, p in network.named_parameters().items():
        np.testing.assert_array_equal(p.array, before[name])
    project(network, SingularValueClipping(1.0))
    for layer in (network.layers[0], network.layers[2]):
        values = np.linalg.svd(matrix(layer.weight.array, layer.axis), compute_uv=False)
        assert values[0] == pytest.approx(1, rel=1e-6)
    for layer in ("0", "2"):
        name = f"layers.{layer}.bias"
        np.testing.assert_array_equal(network.named_parameters()[name].array, before[name])


def test_clipping_a_network_leaves_its_dense_layers_alone():
    layers = [nn.Conv2d(2, 3, 3, rng(), init=rng_init), nn.Reshape(-1),
              nn.Linear(3, 1, rng(), init=rng_init),
              nn.ConvTranspose2d(3, 2, 2, rng(), init=rng_init)]  # fmt: skip
    before = [layers[k].weight.numpy().copy() for k in (0, 2, 3)]
    project(nn.Sequential(*layers), WeightClipping(0.2))
    after = [layers[k].weight.numpy() for k in (0, 2, 3)]
    np.testing.assert_array_equal(after[1], before[1])
    for k in (0, 2):
        np.testing.assert_array_equal(after[k], before[k].clip(-0.2, 0.2))
        assert np.abs(before[k]).min() < 0.2 < np.abs(before[k]).max()


def rng_init(draws, shape, axis):
    return draws.standard_normal(shape)


def test_factors_are_retracted_without_a_projection():
    layer = nn.Linear(5, 4, rng(), reparametrize=SingularValues())
    layer.U.assign(layer.U.array * np.float32(2))
    project(layer)
    np.testing.assert_allclose(layer.U.array.T @ layer.U.array, np.eye(4), atol=1e-6)


def test_a_bound_from_numpy_leaves_the_weights_their_dtype():
    for projection in (WeightClipping(np.float64(0.01)), SingularValueClipping(np.float64(0.01))):
        layer = nn.Conv2d(1, 2, 3, rng())
        project(layer, projection)
        assert layer.weight.dtype == np.float32
