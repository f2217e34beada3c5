"""Starting weights: the variances they promise, and orthonormal rows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisn import init, nn

SHAPES = {"dense": ((60, 40), 0), "conv": ((24, 16, 3, 3), 0), "deconv": ((16, 24, 4, 4), 1)}


def rng(seed=0):
    return np.random.default_rng(seed)


def test_fans_count_the_terms_of_a_sum():
    assert init.fans((10, 7)) == (7, 10)
    assert init.fans((8, 3, 5, 4)) == (3 * 20, 8 * 20)
    assert init.fans((3, 8, 5, 4), axis=1) == (3 * 20, 8 * 20)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("normal", lambda i, o: 0.02**2),
        ("lecun", lambda i, o: 1 / i),
        ("xavier", lambda i, o: 2 / (i + o)),
        ("kaiming", lambda i, o: 2 / ((1 + 0.1**2) * i)),
    ],
)
def test_the_variance_is_the_one_of_the_formula(kind, name, variance):
    shape, axis = SHAPES[kind]
    d_out, d_in, pixels = shape[axis], shape[1 - axis], math.prod(shape[2:])
    expected = variance(d_in * pixels, d_out * pixels)
    w = init.INITIALIZERS[name](rng(), shape, axis)
    assert w.shape == shape
    # the mean square of n normal numbers has a relative deviation of sqrt(2 / n): 5 of them
    assert (w**2).mean() == pytest.approx(expected, rel=5 * math.sqrt(2 / w.size))
    assert abs(w.mean()) < 5 * math.sqrt(expected / w.size)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
def test_glorots_weights_fill_their_range_evenly(kind, gain):
    shape, axis = SHAPES[kind]
    d_out, d_in, pixels = shape[axis], shape[1 - axis], math.prod(shape[2:])
    limit = gain * math.sqrt(6 / ((d_in + d_out) * pixels))
    w = np.sort(init.glorot(gain)(rng(), shape, axis).ravel()) / limit
    # the largest gap between n evenly spread numbers and their ranks: Kolmogorov's, beyond 2.2
    # for one draw in ten thousand
    gap = np.abs((w + 1) / 2 - np.arange(w.size) / w.size).max()
    assert gap < 2.2 / math.sqrt(w.size) and abs(w).max() <= 1


def test_residual_paths_have_a_gain_of_their_own_under_glorot_alone():
    shape = (4, 3, 3, 3)
    for name, draw in init.INITIALIZERS.items():
        gain = math.sqrt(2) if name == "glorot" else 1
        found = init.in_residual(draw)(rng(), shape, 0)
        np.testing.assert_allclose(found, gain * draw(rng(), shape, 0), atol=1e-15)


def test_kaiming_depends_on_the_slope_and_keeps_a_signal_level():
    relu = init.kaiming(0.0)(rng(), (400, 300), 0)
    linear = init.kaiming(1.0)(rng(), (400, 300), 0)
    np.testing.assert_allclose(relu, linear * math.sqrt(2))
    np.testing.assert_array_equal(linear, init.lecun(rng(), (400, 300), 0))
    h = rng(1).standard_normal((300, 200))
    y = linear @ h
    assert (y**2).mean() == pytest.approx(1, abs=0.05)
    h = np.maximum(h, 0)
    assert ((relu @ h) ** 2).mean() == pytest.approx(1, abs=0.05)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.sampled_from([0, 1]))
def test_orthogonal_rows_or_columns(first, second, kernel, axis):
    shape = (first, second, kernel, kernel)
    w = init.orthogonal(rng(), shape, axis)
    assert w.shape == shape
    matrix = np.moveaxis(w, axis, 0).reshape(shape[axis], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-13)


def test_orthogonal_is_uniform():
    draws = rng(0)
    matrices = np.array([init.orthogonal(draws, (2, 2)) for _ in range(2000)])
    # of a uniform rotation or reflection: every entry has mean 0 and variance 1/2, half reflect
    assert np.abs(matrices.mean(axis=0)).max() < 5 * math.sqrt(0.5 / 2000)
    assert np.linalg.det(matrices).mean() == pytest.approx(0, abs=5 / math.sqrt(2000))


def test_a_layer_starts_from_its_initializer():
    drawn = init.lecun(rng(7), (3, 5, 4, 4), 1).astype(np.float32)
    layer = nn.ConvTranspose2d(3, 5, 4, rng(7), init=init.lecun)
    np.testing.assert_array_equal(layer.weight.array, drawn)
    assert layer.weight.dtype == np.float32
