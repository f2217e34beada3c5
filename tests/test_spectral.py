"""The spectral norm: estimates, certificates, the normalized weight, convolutions, bounds."""

import itertools
import math
import tracemalloc
from dataclasses import FrozenInstanceError

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisn import Tensor, grad, lipschitz, ops, spectral, use_kernels
from minisn.backend import to_numpy
from minisn.conv import conv2d
from minisn.errors import ConfigError, DTypeError, MinisnError, NonFiniteError, ShapeError
from minisn.kernels import array_api

KERNEL_SHAPE = (6, 4, 3, 2)  # d_out, d_in, h, w, all different


@pytest.fixture(params=[np.asarray, strict.asarray], ids=["numpy", "strict"])
def asarray(request):
    return request.param


def gaussian(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def with_singular_values(values, rows, columns, seed=0):
    """A random matrix with these singular values."""
    k = len(values)
    left = np.linalg.qr(gaussian(rows, k, seed=seed))[0]
    right = np.linalg.qr(gaussian(columns, k, seed=seed + 1))[0]
    return left @ np.diag(values) @ right.T


def leading(W, axis=0):
    """u1, v1 and the largest singular value, from LAPACK, with u1 . W v1 > 0."""
    left, values, right = np.linalg.svd(np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1))
    return left[:, 0], right[0], values[0]


def norm(W):
    return np.linalg.norm(W.reshape(W.shape[0], -1), 2)


shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))
seeds = st.integers(0, 2**32 - 1)


# -- weights as matrices ------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_matrix_has_the_output_axis_first_and_the_rest_in_order(axis, asarray):
    w = gaussian(*KERNEL_SHAPE)
    expected = np.moveaxis(w, axis, 0).reshape(KERNEL_SHAPE[axis], -1)
    np.testing.assert_array_equal(to_numpy(spectral.as_matrix(asarray(w), axis)), expected)
    W = Tensor(asarray(w), requires_grad=True)
    M = spectral.as_matrix(W, axis)
    np.testing.assert_array_equal(to_numpy(M.array), expected)
    coefficients = gaussian(*expected.shape, seed=1)
    g = grad(M, W, Tensor(asarray(coefficients)))
    assert np.vdot(to_numpy(g.array), w) == pytest.approx(np.vdot(coefficients, expected))


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_a_matrix_becomes_its_weight_again(axis, asarray):
    w = gaussian(*KERNEL_SHAPE)
    M = spectral.as_matrix(asarray(w), axis)
    np.testing.assert_array_equal(to_numpy(spectral.from_matrix(M, w.shape, axis)), w)
    leaf = Tensor(M, requires_grad=True)
    W = spectral.from_matrix(leaf, w.shape, axis)
    np.testing.assert_array_equal(to_numpy(W.array), w)
    coefficients = gaussian(*KERNEL_SHAPE, seed=1)
    g = grad(W, leaf, Tensor(asarray(coefficients)))
    expected = spectral.as_matrix(coefficients, axis)
    np.testing.assert_array_equal(to_numpy(g.array), expected)


def test_matrix_of_a_leading_output_axis_is_a_view():
    w = gaussian(*KERNEL_SHAPE)
    assert np.shares_memory(spectral.as_matrix(w), w)


@pytest.mark.parametrize(
    ("weight", "axis", "error", "words"),
    [
        (np.ones(3), 0, ShapeError, r"at least 2 axes, got shape \[3\]"),
        (np.ones(()), 0, ShapeError, r"got shape \[\]"),
        (np.ones((2, 3)), 2, ShapeError, "axis 2"),
        (np.ones((2, 3), int), 0, DTypeError, "floating-point numbers, got dtype int64"),
        ([[1.0, 2.0]], 0, DTypeError, "got list; convert it with numpy.asarray"),
    ],
)
def test_matrix_refuses_what_is_no_weight(weight, axis, error, words):
    with pytest.raises(error, match=words):
        spectral.as_matrix(weight, axis)


# -- the power method -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_round_is_equation_18(dtype, asarray):
    """[M18 Eq. (18), (19), (20), (21)]"""
    W, u = gaussian(5, 8, dtype=dtype), gaussian(5, seed=1, dtype=dtype)
    v = W.T @ u / np.linalg.norm(W.T @ u)
    u_next = W @ v / np.linalg.norm(W @ v)
    found = spectral.power_iteration(asarray(W), asarray(u))
    assert all(to_numpy(a).dtype == dtype for a in found)
    for a, expected in zip(found, (u_next, v, u_next @ W @ v), strict=True):
        # entries of vectors round by what their sums are made of, not by what they cancel to
        bound = 20 * np.finfo(dtype).eps * np.linalg.norm(expected)
        np.testing.assert_allclose(to_numpy(a), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
def test_rounds_converge_to_the_leading_singular_vectors(dtype, axis, kernel_name):
    values = [3.0, 1.5, 1.0, 0.5]
    W = with_singular_values(values, 4, 24).reshape(4, 6, 2, 2).astype(dtype)
    if axis:
        W = np.ascontiguousarray(W.swapaxes(0, 1))
    u, v, sigma = spectral.power_iteration(W, gaussian(4, seed=2, dtype=dtype), 40, axis)
    u1, v1, sigma1 = leading(W.astype(np.float64), axis)
    tolerance = 40 * float(np.finfo(dtype).eps)
    assert float(sigma) == pytest.approx(sigma1, rel=tolerance)
    assert abs(u @ u1) == pytest.approx(1, rel=tolerance)
    assert abs(v @ v1) == pytest.approx(1, rel=tolerance)
    assert u.dtype == v.dtype == sigma.dtype == dtype


def test_a_power_step_changes_nothing(kernel_name):
    W, u = gaussian(4, 5), gaussian(4, seed=1)
    before = W.copy(), u.copy()
    first = spectral.power_iteration(W, u, 3)
    second = spectral.power_iteration(Tensor(W), u, 3)
    np.testing.assert_array_equal(W, before[0])
    np.testing.assert_array_equal(u, before[1])
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (3, 4)])
def test_rank_one_takes_one_round(shape, kernel_name):
    W = np.outer(gaussian(shape[0]), gaussian(shape[1], seed=1))
    u, v, sigma = spectral.power_iteration(W, gaussian(shape[0], seed=2))
    assert float(sigma) == pytest.approx(np.linalg.norm(W), rel=1e-14)
    np.testing.assert_allclose(float(sigma) * np.outer(u, v), W, atol=1e-14 * float(sigma))


def test_repeated_singular_values_give_some_leading_pair(kernel_name):
    W = with_singular_values([2.0, 2.0, 1.0], 5, 6)
    u, v, sigma = spectral.power_iteration(W, gaussian(5, seed=2), 60)
    assert float(sigma) == pytest.approx(2.0, rel=1e-13)
    np.testing.assert_allclose(W.T @ u, 2 * v, atol=1e-12)


def test_zero_weight_has_norm_zero_and_keeps_u(kernel_name):
    u = gaussian(3, seed=1)
    u_next, v, sigma = spectral.power_iteration(np.zeros((3, 4)), u, 2)
    np.testing.assert_array_equal(u_next, u)
    np.testing.assert_array_equal(v, 0)
    assert float(sigma) == 0
    _, _, sigma = spectral.power_iteration(np.eye(3, 4), u_next)  # and can leave zero
    assert float(sigma) == pytest.approx(1)


@pytest.mark.parametrize("magnitude", [1e-15, 1e15])
def test_single_precision_norms_do_not_depend_on_the_unit(magnitude, kernel_name):
    W, u = gaussian(4, 6, dtype=np.float32), gaussian(4, seed=1, dtype=np.float32)
    _, _, sigma = spectral.power_iteration(W, u, 9)
    _, _, scaled = spectral.power_iteration(W * np.float32(magnitude), u, 9)
    assert float(scaled) / magnitude == pytest.approx(float(sigma), rel=1e-5)


@given(shape=shapes, seed=seeds, n=st.integers(1, 5))
def test_estimate_grows_with_rounds_and_never_exceeds_the_norm(shape, seed, n):
    W, u = gaussian(*shape, seed=seed), gaussian(shape[0], seed=seed + 1)
    bound = norm(W) * (1 + 1e-12)
    fewer = float(spectral.power_iteration(W, u, n)[2])
    more = float(spectral.power_iteration(W, u, n + 1)[2])
    assert fewer * (1 - 1e-12) <= more <= bound


def test_a_seed_stands_for_its_generator():
    W = gaussian(4, 6)
    drawn = spectral.initial_vectors(W, np.random.default_rng(3))
    for ours, expected in zip(spectral.initial_vectors(W, 3), drawn, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_power_iteration_names_what_does_not_fit():
    W = gaussian(*KERNEL_SHAPE)
    words = r"axis 0, weight \[6, 4, 3, 2\] needs u of shape \[6\], got \[4\].*transposed"
    with pytest.raises(ShapeError, match=words):
        spectral.power_iteration(W, np.ones(4))
    with pytest.raises(
        ConfigError, match="power_iteration: n: expected a whole number of at least 1, got 0"
    ):
        spectral.power_iteration(W, np.ones(6), 0)
    with pytest.raises(DTypeError, match="n: expected a whole number, got 1"):
        spectral.power_iteration(W, np.ones(6), 1.5)
    with pytest.raises(ConfigError, match="power_iteration: u is zero; begin with a random u"):
        spectral.power_iteration(W, np.zeros(6))
    with pytest.raises(DTypeError, match=r"got list; convert it with numpy.asarray"):
        spectral.power_iteration([[1, 2], [3, 4]], [1, 1])
    with pytest.raises(DTypeError, match="rng: expected a generator such as"):
        spectral.initial_vectors(W, "0")
    with pytest.raises(ConfigError, match="initial_vectors: most"):
        spectral.initial_vectors(W, np.random.default_rng(0), most=0)
    with pytest.raises(ShapeError, match=r"expected a weight with entries, got shape \[0, 3\]"):
        spectral.norm_bound(np.zeros((0, 3)))
    with pytest.raises(ConfigError, match=r"power_iteration_operator: n: .* got -1"):
        spectral.power_iteration_operator(lambda x: x, lambda x: x, np.ones(6), -1)


def test_operator_form_is_the_matrix_form(asarray):
    W, u = asarray(gaussian(5, 8)), asarray(gaussian(5, seed=1))
    plain = spectral.power_iteration(W, u, 3)
    general = spectral.power_iteration_operator(lambda h: W @ h, lambda g: W.T @ g, u, 3)
    for a, b in zip(plain, general, strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-13)


def test_operator_form_of_the_zero_map_keeps_u():
    u, v, sigma = spectral.power_iteration_operator(np.zeros_like, np.zeros_like, np.ones(3))
    np.testing.assert_array_equal(u, np.ones(3))
    np.testing.assert_array_equal(v, 0)
    assert float(sigma) == 0


def test_operator_form_finds_the_norm_of_a_convolution(asarray):
    w = asarray(gaussian(3, 2, 3, 3))
    u, v, sigma = spectral.power_iteration_operator(
        lambda x: array_api.conv2d(x, w, (2, 2), (1, 1)),
        lambda y: array_api.conv2d_transpose(y, w, (2, 2), (1, 1), (1, 1)),
        asarray(gaussian(1, 3, 3, 3, seed=1)),
        100,
    )
    assert u.shape == (1, 3, 3, 3)
    assert v.shape == (1, 2, 6, 6)
    exact = lipschitz.conv_operator_norm(w, 6, 2, 1)
    assert exact * 0.995 <= float(sigma) <= exact  # a hundred rounds and still on the way


# -- the first vectors ------------------------------------------------------------------------


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    seed=seeds,
    dtype=st.sampled_from([np.float32, np.float64]),
    tolerance=st.sampled_from([0.1, 0.01, 0.001]),
)
def test_first_normalized_weight_is_within_tolerance(shape, seed, dtype, tolerance):
    """[M18 Alg. 1]"""
    W = gaussian(*shape, seed=seed, dtype=dtype)
    u, v = spectral.initial_vectors(W, np.random.default_rng(seed), tolerance)
    assert u.dtype == v.dtype == dtype
    assert np.linalg.norm(u) == pytest.approx(1, rel=1e-6)
    W_bar = spectral.bake(W, u, v).astype(np.float64)
    assert 1 - 1e-5 <= norm(W_bar) <= (1 + tolerance) * (1 + 1e-5)


@pytest.mark.parametrize(
    "values", [[1.0, 0.999, 0.998, 0.1], [1.0, 0.98, 0.98, 0.98], [1.0] * 4, [1.0, 0, 0, 0]]
)
def test_warm_up_is_not_taken_in_by_close_singular_values(values):
    W = with_singular_values(values, 4, 30)
    for seed in range(20):
        u, v = spectral.initial_vectors(W, np.random.default_rng(seed))
        assert norm(spectral.bake(W, u, v)) <= 1.01


def test_warm_up_beats_one_step(asarray):
    W = gaussian(50, 50)
    one = spectral.power_iteration(W, gaussian(50, seed=1))
    assert norm(W) / float(one[2]) > 1.2  # what Algorithm 1 begins with
    u, v = spectral.initial_vectors(asarray(W), np.random.default_rng(0))
    assert spectral.certificate(asarray(W), u, v).excess <= 1.01


def test_first_vectors_are_the_generators_and_isotropic():
    zero = np.zeros((3, 2))
    rng = np.random.default_rng(5)
    draws = np.stack([spectral.initial_vectors(zero, rng)[0] for _ in range(4000)])
    np.testing.assert_allclose(np.linalg.norm(draws, axis=1), 1)
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose(draws.T @ draws / 4000, np.eye(3) / 3, atol=0.03)
    W = gaussian(6, 7)
    first, again, other = (
        spectral.initial_vectors(W, np.random.default_rng(seed), 0.5)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_first_vectors_of_a_zero_weight():
    u, v = spectral.initial_vectors(np.zeros((3, 4), np.float32), np.random.default_rng(0))
    assert np.linalg.norm(u) == pytest.approx(1)
    np.testing.assert_array_equal(v, 0)


def test_first_vectors_say_when_the_dtype_cannot_reach_the_tolerance():
    W = gaussian(6, 7, dtype=np.float32)
    words = r"weight \[6, 7\] of float32: after 16 power steps .* not proved within 1e-12"
    with pytest.raises(ConfigError, match=words):
        spectral.initial_vectors(W, np.random.default_rng(0), 1e-12, most=16)


def test_first_vectors_along_another_axis():
    W = gaussian(4, 6, 3, 3)
    u, v = spectral.initial_vectors(W, np.random.default_rng(0), axis=1)
    assert (u.shape, v.shape) == ((6,), (36,))
    assert 1 <= spectral.certificate(W, u, v, axis=1).excess <= 1.01


# -- what an estimate proves --------------------------------------------------------------------


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=seeds,
    rounds=st.integers(1, 30),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_certificate_encloses_the_norm(shape, seed, rounds, dtype):
    """[M18 Eq. (6), (19)]"""
    W = gaussian(*shape, seed=seed, dtype=dtype)
    u, v, _ = spectral.power_iteration(W, gaussian(shape[0], seed=seed + 1, dtype=dtype), rounds)
    found = spectral.certificate(W, u, v)
    true = norm(W.astype(np.float64))
    rounding = 1e-13
    assert found.sigma <= true * (1 + rounding)
    assert true * (1 - rounding) <= found.upper <= true * (1 + 1e-12)
    values = np.linalg.svd(W.astype(np.float64), compute_uv=False)
    nearest = np.abs(values - found.sigma).min()
    w, u64, v64 = (a.astype(np.float64) for a in (W, u, v))
    residual = np.linalg.norm(w.T @ u64 - (u64 @ w @ v64) * v64)
    assert found.residual == pytest.approx(residual, abs=1e-6 * true)
    slack = 1e-6 if dtype == np.float32 else 1e-12  # u is (W v)/|W v| only to rounding
    assert nearest <= found.residual / math.sqrt(2) + slack * true


@pytest.mark.parametrize(("m", "n"), [(4, 9), (9, 4), (1, 25), (16, 1), (36, 64)])
def test_certificate_is_no_less_than_a_norm_known_exactly(m, n):
    W = np.ones((m, n))  # of norm sqrt(mn), an integer
    u, v, _ = spectral.power_iteration(W, np.ones(m))
    found = spectral.certificate(W, u, v)
    exact = math.isqrt(m * n)
    assert exact <= found.upper <= exact * (1 + 1e-11)
    assert found.sigma <= exact * (1 + 1e-14)


def test_a_small_residual_proves_less_than_it_seems(asarray):
    W = with_singular_values([3.0, 2.0, 1.0], 4, 5)
    left, _, right = np.linalg.svd(W)
    found = spectral.certificate(asarray(W), asarray(left[:, 1]), asarray(right[1]))
    assert found.sigma == pytest.approx(2.0)
    assert found.residual < 1e-14  # and yet the estimate is wrong
    assert found.upper == pytest.approx(3.0)
    assert found.excess == pytest.approx(1.5)
    assert str(found).startswith("2 <= sigma(W) <= 3 (residual ")


def test_certificate_does_not_trust_the_length_of_u():
    W = np.eye(3)
    found = spectral.certificate(W, np.array([2.0, 0, 0]), np.array([2.0, 0, 0]))
    assert found.sigma == 1.0 <= found.upper


@pytest.mark.parametrize(
    ("magnitude", "dtype"),
    [(1e-30, np.float32), (1e30, np.float32), (1e-200, np.float64), (1e200, np.float64)],
)
def test_certificate_holds_at_any_magnitude(magnitude, dtype):
    W = (gaussian(4, 6) * magnitude).astype(dtype)
    u, v, true = leading(W.astype(np.float64))
    found = spectral.certificate(W, u, v)
    assert found.upper / true == pytest.approx(1, rel=1e-10)
    assert found.sigma / true == pytest.approx(1, rel=1e-10)


def test_certificate_of_zero():
    found = spectral.certificate(np.zeros((3, 4)), np.eye(3)[0], np.zeros(4))
    assert (found.sigma, found.residual, found.upper, found.excess) == (0, 0, 0, 1)
    blind = spectral.certificate(np.eye(3), np.zeros(3), np.zeros(3))
    assert (blind.sigma, blind.excess) == (0, math.inf)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_looks_at_a_whole_weight_refuses_one_that_is_not_finite(bad):
    W = gaussian(3, 4)
    W[1, 2] = bad
    w = W.reshape(3, 1, 2, 2)
    for name, call in {
        "initial_vectors": lambda: spectral.initial_vectors(W, np.random.default_rng(0)),
        "certificate": lambda: spectral.certificate(W, np.ones(3), np.ones(4)),
        "singular_values": lambda: spectral.singular_values(W),
        "conv_singular_values": lambda: lipschitz.conv_singular_values(w, 4),
        "conv_operator_norm": lambda: lipschitz.conv_operator_norm(w, 4),
    }.items():
        with pytest.raises(NonFiniteError, match=rf"^{name}: the weight \[3, .*NaN or an infin"):
            call()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_entry_anywhere_shows_in_sigma(bad, kernel_name):
    u, v = np.array([1.0, 0.0, -1.0]), np.array([0.0, 2.0, 1.0, 0.0])  # zeros hide nothing
    for i, j in itertools.product(range(3), range(4)):
        W = np.ones((3, 4))
        W[i, j] = bad
        with np.errstate(invalid="ignore"):
            estimate = spectral.sigma(Tensor(W), u, v)
            power = spectral.power_iteration(W, u)[2]
        assert not math.isfinite(float(estimate)) and not math.isfinite(float(power))


# -- the normalized weight ------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -2])
def test_normalized_weight_has_norm_one_along_every_axis(axis, asarray):
    """[M18 Eq. (8), (22)]"""
    w = gaussian(*KERNEL_SHAPE)
    u, v, sigma1 = leading(w, axis)
    W = Tensor(asarray(w))
    estimate = spectral.sigma(W, asarray(u), asarray(v), axis)
    assert estimate.shape == ()
    assert float(estimate) == pytest.approx(sigma1, rel=1e-14)
    W_bar = spectral.spectral_normalize(W, asarray(u), asarray(v), axis)
    np.testing.assert_allclose(to_numpy(W_bar.array), w / sigma1, rtol=1e-13)
    assert norm(np.moveaxis(to_numpy(W_bar.array), axis, 0)) == pytest.approx(1, rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(dtype):
    W = Tensor(gaussian(4, 5, dtype=dtype), requires_grad=True)
    u, v = spectral.initial_vectors(W, np.random.default_rng(0))
    W_bar = spectral.spectral_normalize(W, u, v, scale=0.7)
    assert W_bar.dtype == grad(ops.sum(W_bar), W).dtype == dtype


def test_jacobian_is_the_papers_closed_form():
    """[M18 Eq. (9), (10)], and the derivative of W divided by the true norm."""
    w = gaussian(3, 4)
    u, v, sigma1 = leading(w)
    W = Tensor(w, requires_grad=True)
    W_bar = spectral.spectral_normalize(W, u, v)
    E, step = np.eye(12).reshape(3, 4, 3, 4), 1e-6
    for place in np.ndindex(3, 4):
        # entry `place` of W_bar by every W_ij: row `place` of the Jacobian
        found = grad(W_bar, W, E[place]).numpy()
        np.testing.assert_allclose(
            found,
            E[place] / sigma1 - np.outer(u, v) / sigma1**2 * w[place],
            rtol=1e-12,
            atol=1e-14,
        )
        differences = [
            ((w + d) / norm(w + d) - (w - d) / norm(w - d))[place] / (2 * step)
            for d in step * E.reshape(12, 3, 4)
        ]
        np.testing.assert_allclose(found.ravel(), differences, atol=1e-8)


def test_gradient_of_a_dense_layer_is_equation_12():
    """[M18 Eq. (11), (12)]: the mean of delta h^T, less lambda u v^T."""
    w, h = gaussian(3, 4), gaussian(6, 4, seed=1)
    u, v, sigma1 = leading(w)
    W = Tensor(w, requires_grad=True)
    out = Tensor(h) @ spectral.spectral_normalize(W, u, v).T
    V = ops.mean(ops.sum(ops.tanh(out), axis=1))
    delta = 1 - np.tanh(h @ w.T / sigma1) ** 2
    outer = np.mean(delta[:, :, None] * h[:, None, :], axis=0)
    lam = np.mean(np.sum(delta * (h @ w.T / sigma1), axis=1))
    np.testing.assert_allclose(
        grad(V, W).numpy(), (outer - lam * np.outer(u, v)) / sigma1, rtol=1e-12
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_gradient_is_equation_37_with_the_scale(axis, asarray):
    """[M18 Eq. (37)]"""
    w, g = gaussian(*KERNEL_SHAPE), gaussian(*KERNEL_SHAPE, seed=1)
    u, v, sigma1 = leading(w, axis)
    W = Tensor(asarray(w), requires_grad=True)
    W_bar = spectral.spectral_normalize(W, asarray(u), asarray(v), axis, scale=0.7)
    found = grad(W_bar, W, Tensor(asarray(g)))
    rest = [n for i, n in enumerate(KERNEL_SHAPE) if i != axis]
    uv = np.moveaxis(np.outer(u, v).reshape(KERNEL_SHAPE[axis], *rest), 0, axis)
    expected = (0.7 * g - np.sum(g * 0.7 * w / sigma1) * uv) / sigma1
    np.testing.assert_allclose(to_numpy(found.array), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scale", [1.0, 0.7, 0.0])
def test_the_rule_is_that_of_the_bilinear_form_the_inverse_and_the_product(axis, scale, asarray):
    """[M18 Eq. (9)-(12)], to the second order; u and v of no step, on purpose."""
    W = Tensor(asarray(gaussian(*KERNEL_SHAPE)), requires_grad=True)
    c, u, v = (
        asarray(gaussian(*s, seed=1))
        for s in (KERNEL_SHAPE, (KERNEL_SHAPE[axis],), (W.size // KERNEL_SHAPE[axis],))
    )
    found = []
    for W_bar in (
        spectral.spectral_normalize(W, u, v, axis, scale),
        spectral.divide(W, spectral.sigma(W, u, v, axis), scale),
    ):
        value = ops.sum(ops.tanh(W_bar) * Tensor(c))
        g = grad(value, W, create_graph=True)
        arrays = W_bar.array, grad(value, W).array, g.array, grad(ops.sum(g * g), W).array
        found.append([to_numpy(a) for a in arrays])
    for rule, rules in zip(*found, strict=True):
        np.testing.assert_allclose(rule, rules, rtol=1e-10, atol=1e-12)


def test_weight_is_stationary_where_its_gradient_is_the_leading_pair():
    """[M18 Eq. (12)]: zero when the mean of delta h^T is k u v^T."""
    w = gaussian(3, 4)
    u, v, _ = leading(w)
    W = Tensor(w, requires_grad=True)
    g = grad(spectral.spectral_normalize(W, u, v), W, 2.5 * np.outer(u, v))
    np.testing.assert_allclose(g.numpy(), 0, atol=1e-14)


def test_gain_learns_with_the_weight():
    """[M18 Eq. (32)]"""
    w = gaussian(3, 4)
    u, v, sigma1 = leading(w)
    W, gamma = Tensor(w, requires_grad=True), Tensor(1.5, requires_grad=True)
    W_tilde = spectral.spectral_normalize(W, u, v, scale=gamma)
    np.testing.assert_allclose(W_tilde.numpy(), 1.5 * w / sigma1, rtol=1e-13)
    g = gaussian(3, 4, seed=1)
    assert float(grad(W_tilde, gamma, g)) == pytest.approx(np.sum(g * w) / sigma1)


@given(shape=shapes, seed=seeds)
def test_finite_differences_agree_with_u_and_v_frozen(shape, seed):
    w, d = gaussian(*shape, seed=seed), gaussian(*shape, seed=seed + 1)
    u, v, _ = spectral.power_iteration(w, gaussian(shape[0], seed=seed + 2), 3)
    W = Tensor(w, requires_grad=True)
    coefficients = Tensor(gaussian(*shape, seed=seed + 3))

    def value(x):
        return ops.sum(spectral.spectral_normalize(x, u, v) * coefficients)

    step = 1e-3 * float(spectral.sigma(W, u, v)) / np.linalg.norm(d)
    central = [
        (value(Tensor(w + t * d)) - value(Tensor(w - t * d))) / (2 * t) for t in (step, step / 2)
    ]
    difference = (4 * float(central[1]) - float(central[0])) / 3
    assert np.vdot(grad(value(W), W).numpy(), d) == pytest.approx(
        difference, rel=1e-6, abs=1e-8 / norm(w)
    )


def test_finite_differences_through_the_power_step_disagree_until_it_converges():
    """The estimate moves with u and v too, unless they stand still at the singular vectors."""
    w, d, start = with_singular_values([1, 0.6, 0.3, 0.1], 4, 5), gaussian(4, 5), np.ones(4)
    errors = {}
    for n in (1, 3, 10, 30):
        u, v, _ = spectral.power_iteration(w, start, n)
        W = Tensor(w, requires_grad=True)
        slope = np.vdot(grad(spectral.sigma(W, u, v), W).numpy(), d)
        assert slope == pytest.approx(u @ d @ v)
        moved = [float(spectral.power_iteration(w + t * d, start, n)[2]) for t in (1e-5, -1e-5)]
        errors[n] = abs((moved[0] - moved[1]) / 2e-5 / slope - 1)
    assert errors[1] > 0.03
    assert 1e-3 < errors[3] < 0.03
    assert 1e-8 < errors[10] < 1e-4
    assert errors[30] < 1e-8


def test_second_derivative_is_that_of_the_quotient(torch):
    """Double backward against PyTorch, with u and v constant there too."""
    w, c = gaussian(3, 2, 2, 2), gaussian(3, 2, 2, 2, seed=1)
    u, v, _ = spectral.power_iteration(w, np.ones(2), 2, axis=1)  # not converged, on purpose
    W = Tensor(w, requires_grad=True)
    y = ops.sum(ops.tanh(spectral.spectral_normalize(W, u, v, axis=1, scale=2.0)) * Tensor(c))
    g = grad(y, W, create_graph=True)
    h = grad(ops.sum(g**2), W)

    t = torch.tensor(w, requires_grad=True)
    matrix = t.transpose(0, 1).reshape(2, -1)
    s = torch.tensor(u) @ matrix @ torch.tensor(v)
    z = (torch.tanh(2.0 * t / s) * torch.tensor(c)).sum()
    (g_torch,) = torch.autograd.grad(z, t, create_graph=True)
    (h_torch,) = torch.autograd.grad((g_torch**2).sum(), t)
    np.testing.assert_allclose(g.numpy(), g_torch.detach().numpy(), rtol=1e-11)
    np.testing.assert_allclose(h.numpy(), h_torch.numpy(), rtol=1e-10)


@pytest.mark.parametrize("axis", [0, 1])
def test_zero_weight_gives_zero_and_zero_gradients(axis, asarray):
    W = Tensor(asarray(np.zeros((3, 4))), requires_grad=True)
    u, v = spectral.initial_vectors(W, np.random.default_rng(0), axis=axis)
    W_bar = spectral.spectral_normalize(W, u, v, axis)
    np.testing.assert_array_equal(to_numpy(W_bar.array), 0)
    g = grad(ops.sum(W_bar * W_bar + W_bar), W, create_graph=True)
    np.testing.assert_array_equal(to_numpy(g.array), 0)
    np.testing.assert_array_equal(to_numpy(grad(ops.sum(g * g + g), W).array), 0)


def test_a_norm_too_small_to_invert_counts_as_zero():
    w = np.full((2, 2), 1e-40, np.float32)
    u = v = np.full(2, 0.5**0.5, np.float32)
    W = Tensor(w, requires_grad=True)
    W_bar = spectral.spectral_normalize(W, u, v)
    np.testing.assert_array_equal(W_bar.array, 0)
    np.testing.assert_array_equal(grad(ops.sum(W_bar), W).array, 0)
    just = np.full((2, 2), 1e-37, np.float32)
    np.testing.assert_allclose(spectral.bake(just, u, v), 0.5, rtol=1e-6)


def test_nan_is_passed_on_not_hidden():
    w = np.ones((2, 3))
    w[0, 0] = np.nan
    with np.errstate(invalid="ignore"):
        W_bar = spectral.spectral_normalize(Tensor(w), np.ones(2), np.ones(3))
    assert np.isnan(W_bar.array).all()


@pytest.mark.parametrize("call", [spectral.sigma, spectral.spectral_normalize, spectral.bake])
def test_vectors_of_the_wrong_axis_are_named(call):
    W = Tensor(gaussian(4, 6, 3, 3))
    u, v = spectral.initial_vectors(W, np.random.default_rng(0), axis=1)
    with pytest.raises(ShapeError, match=r"needs u of shape \[4\], got \[6\]; check the axis"):
        call(W, u, v)
    with pytest.raises(ShapeError, match=r"needs v of shape \[36\], got \[54\]"):
        call(W, u, np.ones(54), 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_baked_weight_is_the_forwards_to_the_bit(dtype, axis, scale):
    w = gaussian(5, 7, 3, 3, dtype=dtype)
    u, v = spectral.initial_vectors(w, np.random.default_rng(0), axis=axis)
    W = Tensor(w, requires_grad=True)
    baked = spectral.bake(W, u, v, axis, scale)
    assert baked.dtype == dtype
    assert baked.flags.writeable
    assert not np.shares_memory(baked, W.array)
    used = spectral.spectral_normalize(W, u, v, axis, scale)
    np.testing.assert_array_equal(baked, used.array)
    np.testing.assert_array_equal(spectral.bake(w, u, v, axis, scale), baked)


# -- spectra ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
def test_singular_values_are_lapacks_in_falling_order(axis, asarray):
    """[M18 Eq. (6)]"""
    values = [3.0, 2.0, 2.0, 0.5]
    w = with_singular_values(values, 4, 12).reshape(4, 3, 2, 2)
    w = np.moveaxis(w, 0, axis)
    np.testing.assert_allclose(to_numpy(spectral.singular_values(asarray(w), axis)), values)


def explicit_matrix(w, size, stride, padding):
    """The convolution's matrix, column by column, from the loop nest."""
    n = w.shape[1] * size[0] * size[1]
    with use_kernels("spec"):
        columns = conv2d(np.eye(n).reshape(n, w.shape[1], *size), w, stride, padding)
    return columns.numpy().reshape(n, -1).T


geometries = st.tuples(
    st.integers(1, 3),
    st.integers(1, 3),  # channels
    st.integers(1, 3),
    st.integers(1, 3),  # kernel
    st.integers(1, 3),
    st.integers(0, 2),  # stride, padding
    st.integers(0, 2),
    st.integers(0, 2),  # image, beyond the kernel
)


@given(geometry=geometries, seed=seeds)
def test_norm_of_a_convolution_is_that_of_its_matrix_and_within_the_bounds(geometry, seed):
    """1 <= ratio to the reshaped kernel <= sqrt(ceil(h/s) ceil(w/s))  [L21 SN_Conv]"""
    d_out, d_in, h, k, s, p, more, wider = geometry
    w, size = gaussian(d_out, d_in, h, k, seed=seed), (h + s + more, k + s + wider)
    found = lipschitz.conv_operator_norm(w, size, s, p)
    values = np.linalg.svd(explicit_matrix(w, size, s, p), compute_uv=False)
    assert found == pytest.approx(values[0], rel=1e-12)
    np.testing.assert_allclose(
        lipschitz.conv_singular_values(w, size, s, p), values, atol=1e-12 * values[0]
    )
    ratio = found / norm(w)
    # with stride and image this large some patch lies wholly inside
    assert 1 - 1e-12 <= ratio <= math.sqrt(math.ceil(h / s) * math.ceil(k / s)) * (1 + 1e-12)


def test_norm_needs_a_patch_inside_to_be_that_of_the_kernel():
    w = np.zeros((1, 1, 3, 3))
    w[0, 0, 0, 0] = 1.0  # this corner only ever meets the padding of a 1x1 image
    assert lipschitz.conv_operator_norm(w, 1, padding=1) == 0.0
    many = np.broadcast_to(w, (300, 300, 3, 3))
    assert lipschitz.conv_operator_norm(many, 1, padding=1) == 0.0


@pytest.mark.parametrize("size", [(4, 7), (40, 33)])  # by its matrix, by iteration
def test_norm_of_a_box_filter_is_known(size):
    """Rows of ones, padded by one: 1 + 2 cos(pi / (n + 1)) along each axis."""
    exact = math.prod(1 + 2 * math.cos(math.pi / (n + 1)) for n in size)
    found = lipschitz.conv_operator_norm(np.ones((1, 1, 3, 3)), size, padding=1)
    assert found == pytest.approx(exact, rel=1e-9)
    assert found <= exact * (1 + 1e-13)


@pytest.mark.parametrize("magnitude", [1e-200, 1e200])
@pytest.mark.parametrize("size", [5, 30])
def test_norm_of_a_convolution_holds_at_any_magnitude(magnitude, size):
    w = gaussian(2, 3, 3, 3)
    expected = lipschitz.conv_operator_norm(w, size)
    found = lipschitz.conv_operator_norm(magnitude * w, size)
    assert found / magnitude == pytest.approx(expected, rel=1e-9)


def test_explicit_matrix_is_built_from_its_smaller_side():
    """A last layer maps thousands of entries to one: 8192 images of 8192 entries are 0.5 GB."""
    w = gaussian(1, 512, 4, 4)
    tracemalloc.start()
    assert lipschitz.conv_operator_norm(w, 4) == pytest.approx(norm(w), rel=1e-13)
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


@pytest.mark.parametrize("stride", [1, 2])
def test_iteration_agrees_with_the_explicit_matrix(stride, asarray):
    w = asarray(gaussian(6, 5, 4, 3))
    size = (11, 9)
    found = lipschitz.conv_operator_norm(w, size, stride, (1, 0))
    exact = float(lipschitz.conv_singular_values(w, size, stride, (1, 0))[0])
    assert found == pytest.approx(exact, rel=1e-8)


def test_iteration_survives_a_spectrum_of_one_value():
    """A 1x1 convolution repeats each singular value at every pixel; its ratio is 1."""
    w = gaussian(5, 4, 1, 1)
    assert lipschitz.conv_operator_norm(w, 16) == pytest.approx(norm(w), rel=1e-9)
    identity = np.eye(3).reshape(3, 3, 1, 1)
    assert lipschitz.conv_operator_norm(identity, 16) == pytest.approx(1, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "size", "stride", "low", "high"),
    [
        ((128, 64, 3, 3), 16, 1, 1.35, 2.04),
        ((256, 128, 3, 3), 8, 1, 1.35, 2.04),
        ((64, 64, 4, 4), 32, 2, 1.17, 1.28),
        ((128, 128, 4, 4), 16, 2, 1.17, 1.28),
    ],
)
def test_ratio_of_the_papers_layers(shape, size, stride, low, high):
    """Gaussian kernels in layers of Table 3's D  [L21 SN_Conv]"""
    w = gaussian(*shape, dtype=np.float32)
    found = lipschitz.conv_operator_norm(w, size, stride, 1)
    assert low <= found / norm(w) <= high


def test_norm_is_the_transposed_convolutions_too():
    """Its matrix is the transpose, as an explicit adjoint shows."""
    w = gaussian(3, 2, 3, 3)
    eye = np.eye(3 * 9).reshape(27, 3, 3, 3)
    adjoint = array_api.conv2d_transpose(eye, w, (2, 2), (1, 1), (1, 1)).reshape(27, -1)
    assert lipschitz.conv_operator_norm(w, 6, 2, 1) == pytest.approx(norm(adjoint), rel=1e-12)


def test_convolution_of_zero_and_of_tensors():
    assert lipschitz.conv_operator_norm(np.zeros((8, 8, 3, 3)), 16, 1, 1) == 0.0
    w = gaussian(2, 2, 3, 3)
    plain = lipschitz.conv_operator_norm(w, 5)
    assert lipschitz.conv_operator_norm(Tensor(w, requires_grad=True), 5) == plain
    assert lipschitz.conv_singular_values(Tensor(w), 5)[0] == pytest.approx(plain, rel=1e-13)


def test_convolution_errors():
    w = gaussian(8, 8, 3, 3)
    with pytest.raises(ShapeError, match=r"conv_operator_norm: .* got shape \[3, 4\]"):
        lipschitz.conv_operator_norm(gaussian(3, 4), 5)
    with pytest.raises(ShapeError, match="conv_operator_norm: the kernel 3x3 is larger"):
        lipschitz.conv_operator_norm(w, (2, 9))
    with pytest.raises(ShapeError, match="conv_singular_values: the kernel 3x3 is larger"):
        lipschitz.conv_singular_values(w, 2)
    with pytest.raises(ShapeError, match=r"has 67108864 entries; use a smaller size"):
        lipschitz.conv_singular_values(w, 32, 1, 1)
    with pytest.raises(MinisnError, match=r"residual \d(\.\d)?e-1\d stayed above 2e-18"):
        lipschitz.conv_operator_norm(1e6 * w, 8, tolerance=1e-18)


# -- the Lipschitz constant of a network ----------------------------------------------------------


def test_bound_of_a_network_is_the_product():
    """[M18 Eq. (7)]"""
    bound = lipschitz.lipschitz_bound(
        iter([("dense", 2.0, 1.0), ("conv", np.float32(1.5), 1.0), ("out", 3.0, 0.25)])
    )
    assert bound.factors == (("dense", 2.0), ("conv", 1.5), ("out", 0.75))
    assert bound.value == pytest.approx(2.25)
    assert lipschitz.lipschitz_bound([]).value == 1.0
    with pytest.raises(NonFiniteError, match=r"^conv: expected a finite norm, got nan"):
        lipschitz.lipschitz_bound([("dense", 1.0, 1.0), ("conv", math.nan, 1.0)])
    for norm_, constant in ((-1.0, 1.0), (1.0, -1.0)):
        with pytest.raises(
            ConfigError, match=r"^dense: expected a norm and a finite constant of at least 0"
        ):
            lipschitz.lipschitz_bound([("dense", norm_, constant)])


@pytest.mark.parametrize("recorded", [False, True])
def test_slope_of_a_linear_function_is_exact(recorded, asarray):
    w = Tensor(asarray(gaussian(4, 1)), requires_grad=recorded)
    found = lipschitz.lipschitz_lower_bound(lambda x: x @ w, asarray(gaussian(3, 4, seed=1)), 2)
    assert found.value == pytest.approx(np.linalg.norm(to_numpy(w.array)), rel=1e-14)
    assert found.point.shape == (4,)
    assert found.history == (found.value,) * 3


def test_ascent_finds_the_steepest_point_of_a_smooth_function(asarray):
    """f = a tanh(w x) is steepest, a |w|, on w x = 0."""
    w = gaussian(3, 1)
    start = w[:, 0] / np.linalg.norm(w) * 1.2 + np.cross(w[:, 0], [1.0, 0, 0])
    W = Tensor(asarray(w))
    found = lipschitz.lipschitz_lower_bound(
        lambda x: ops.reshape(2.0 * ops.tanh(x @ W), (-1,)), Tensor(asarray(start[None])), 60
    )
    true = 2 * np.linalg.norm(w)
    assert found.history[0] < 0.6 * true
    assert found.value == pytest.approx(true, rel=1e-6)
    assert found.value <= true * (1 + 1e-14)
    assert abs(to_numpy(found.point) @ w[:, 0]) < 1e-3
    assert len(found.history) == 61
    assert all(a <= b for a, b in itertools.pairwise(found.history))
    at_point = Tensor(found.point, requires_grad=True)
    slope = grad(2.0 * ops.tanh(ops.sum(at_point * W[:, 0])), at_point)
    assert np.linalg.norm(to_numpy(slope.array)) == pytest.approx(found.value)


def test_slope_of_a_piecewise_linear_function_is_the_best_of_the_points():
    """f = relu(x) + relu(x - 1): slopes 0, 1 and 2."""

    def f(x):
        return ops.relu(x) + ops.relu(x - 1.0)

    for points, slope in (([[-3.0]], 0), ([[-3.0], [0.5]], 1), ([[0.5], [7.0], [-1.0]], 2)):
        found = lipschitz.lipschitz_lower_bound(f, np.array(points), steps=2)
        assert found.value == slope
    assert found.point.tolist() == [7.0]


@given(seed=seeds, activation=st.sampled_from([ops.tanh, ops.relu, ops.leaky_relu]))
def test_lower_bound_is_below_the_upper_bound(seed, activation):
    """[M18 Eq. (7)], dense and convolution"""
    w1, w2 = gaussian(3, 1, 2, 2, seed=seed), gaussian(1, 12, seed=seed + 1)
    upper = lipschitz.lipschitz_bound(
        [("conv", lipschitz.conv_operator_norm(w1, 3), 1.0), ("dense", norm(w2), 1.0)]
    )

    def f(x):
        return ops.reshape(activation(conv2d(x, Tensor(w1))), (-1, 12)) @ Tensor(w2).T

    found = lipschitz.lipschitz_lower_bound(f, gaussian(4, 1, 3, 3, seed=seed + 2), steps=5)
    assert 0 < found.value <= upper.value * (1 + 1e-12)
    assert all(a <= b for a, b in itertools.pairwise(found.history))


def test_a_step_too_long_is_taken_back():
    found = lipschitz.lipschitz_lower_bound(ops.tanh, np.array([[0.1]]), steps=30, rate=1e3)
    assert found.value == pytest.approx(1.0, rel=1e-6)


def test_lower_bound_keeps_the_dtype_and_its_arguments():
    points = gaussian(2, 3, dtype=np.float32)
    before = points.copy()
    found = lipschitz.lipschitz_lower_bound(lambda x: ops.sum(ops.tanh(x), axis=1), points, 3)
    assert found.point.dtype == np.float32
    np.testing.assert_array_equal(points, before)


def test_lower_bound_errors():
    points = gaussian(3, 2)
    with pytest.raises(ShapeError, match=r"f must return shape \[3\] or \[3, 1\], got \[3, 2\]"):
        lipschitz.lipschitz_lower_bound(ops.tanh, points)
    with pytest.raises(NonFiniteError, match="gradient of f is not finite"):
        lipschitz.lipschitz_lower_bound(lambda x: ops.sum(x * math.nan, axis=1), points)
    with pytest.raises(DTypeError):
        lipschitz.lipschitz_lower_bound(lambda x: ops.sum(x, axis=1), np.ones((2, 2), int))


# -- any norm -------------------------------------------------------------------------------


@given(shapes, seeds)
def test_norm_bound_is_the_certificate_s_without_vectors(shape, seed):
    W = gaussian(*shape, seed=seed)
    u, v = gaussian(shape[0], seed=1), gaussian(shape[1], seed=2)
    bound = spectral.norm_bound(W)
    assert bound == spectral.certificate(W, u, v).upper
    assert norm(W) <= bound <= norm(W) * (1 + 1e-10)
    assert spectral.norm_bound(W.T, axis=1) == pytest.approx(bound, rel=1e-12)


def test_norm_bound_of_zeros_and_of_what_is_not_finite():
    assert spectral.norm_bound(np.zeros((3, 4))) == 0
    with pytest.raises(NonFiniteError, match="norm_bound: the weight"):
        spectral.norm_bound(np.array([[1.0, np.nan]]))


def test_divide_takes_a_norm_for_each_row_and_a_learned_scale():
    W, norms = gaussian(3, 4), np.array([[2.0], [0.0], [0.5]])
    leaves = [Tensor(a, requires_grad=True) for a in (W, norms, np.array([[3.0], [4.0], [5.0]]))]
    W_bar = spectral.divide(*leaves)
    np.testing.assert_allclose(W_bar.array, W * [[1.5], [0], [10]], rtol=1e-15)
    g_W, g_norm, g_scale = (g.array for g in grad(W_bar, leaves, np.ones((3, 4))))
    total = W.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(g_W, [[1.5] * 4, [0] * 4, [10] * 4])
    np.testing.assert_allclose(g_norm, total * [[-3 / 4], [0], [-20]], rtol=1e-12)
    np.testing.assert_allclose(g_scale, total * [[1 / 2], [0], [2]], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divide_by_a_norm_whose_inverse_overflows_gives_zeros(dtype):
    W = np.ones((2, 2), dtype)
    tiny = np.finfo(dtype).smallest_normal
    for value, expected in ((tiny / 2, 0), (tiny, 0), (tiny * 4, 1 / (tiny * 4))):
        found = spectral.divide(Tensor(W), Tensor(np.asarray(value, dtype)))
        np.testing.assert_allclose(found.array, expected * W, rtol=1e-6)
        assert found.dtype == dtype


def test_a_climb_takes_twenty_steps_of_a_tenth_unless_told_along_the_whole_image():
    def f(t):
        return ((t * t) ** 2).reshape(t.shape[0], 18).sum(axis=1)

    x = np.random.default_rng(2).normal(size=(2, 2, 3, 3))
    assert len(lipschitz.lipschitz_lower_bound(f, x).history) == 21
    one = lipschitz.lipschitz_lower_bound(f, x, steps=1)
    assert one.value == one.history[1] > one.history[0]
    moved = [np.linalg.norm(one.point - image) for image in x]
    assert min(moved) == pytest.approx(0.1, rel=1e-12)
    with pytest.raises(ShapeError, match=r"for 5 points, f must return shape \[5\] or \[5, 1\]"):
        lipschitz.lipschitz_lower_bound(lambda t: t, np.ones((5, 3)))


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_an_operator_of_any_size_has_unit_vectors(size):
    W = size * np.random.default_rng(0).normal(size=(4, 6))
    u, v, sigma = spectral.power_iteration_operator(
        lambda v: W @ v, lambda u: W.T @ u, np.random.default_rng(1).normal(size=4), 200
    )
    assert np.linalg.norm(u) == pytest.approx(1) and np.linalg.norm(v) == pytest.approx(1)
    assert sigma / size == pytest.approx(np.linalg.norm(W / size, 2))


def test_a_decomposition_leaves_out_the_zeros():
    shapes = [
        a.shape for a in spectral.decompose("it", np.random.default_rng(0).normal(size=(4, 6)))
    ]
    assert shapes == [(4, 4), (4,), (4, 6)]


def test_rows_are_counted_along_the_first_axis_unless_told():
    W = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(spectral.as_matrix(W), W.reshape(2, 12))
    np.testing.assert_array_equal(spectral.from_matrix(W.reshape(2, 12), W.shape), W)


def test_what_is_found_cannot_be_changed():
    W = np.diag([3.0, 1.0])
    found = (lipschitz.lipschitz_bound([("a", 2.0, 1.0)]), spectral.certificate(W, W[0], W[0]),
             lipschitz.lipschitz_lower_bound(lambda x: x.sum(axis=1), W, steps=1))  # fmt: skip
    for result in found:
        with pytest.raises(FrozenInstanceError):
            result.value = 0.0


def test_a_layer_or_an_activation_that_maps_all_to_zero_has_the_bound_zero():
    assert lipschitz.lipschitz_bound([("a", 0.0, 1.0), ("b", 2.0, 1.0)]).value == 0
    assert lipschitz.lipschitz_bound([("a", 2.0, 0.0)]).value == 0


def test_an_operator_s_power_iteration_makes_one_round_unless_told():
    W, u = np.random.default_rng(0).normal(size=(4, 6)), np.random.default_rng(1).normal(size=4)
    _, v, _ = spectral.power_iteration_operator(lambda v: W @ v, lambda u: W.T @ u, u)
    np.testing.assert_allclose(v, W.T @ u / np.linalg.norm(W.T @ u), rtol=1e-12)


def test_a_scale_of_zero_gives_zeros():
    W = Tensor(np.ones((2, 3)))
    np.testing.assert_array_equal(spectral.divide(W, Tensor(2.0), 0.0).array, np.zeros((2, 3)))


def test_vectors_that_move_on_in_place_leave_the_gradient_alone():
    rng = np.random.default_rng(0)
    W = Tensor(rng.normal(size=(4, 5)), requires_grad=True)
    u, v = rng.normal(size=4), rng.normal(size=5)
    y, expected = spectral.sigma(W, u, v), np.outer(u, v)
    u[:], v[:] = 0.0, 0.0
    np.testing.assert_array_equal(grad(y, W).numpy(), expected)


@pytest.mark.parametrize("most", [1, 3, 9])
def test_first_vectors_take_at_most_the_steps_that_are_allowed(most):
    W = np.random.default_rng(0).normal(size=(40, 50))
    drawn = np.random.default_rng(1).standard_normal(40)
    with pytest.raises(ConfigError, match=f"after {most} power steps"):
        spectral.initial_vectors(W, 1, 1e-12, most)
    u, v = spectral.initial_vectors(W, 1, 1e9, most)
    expected = spectral.power_iteration(W, drawn / np.linalg.norm(drawn), min(most, 8))
    np.testing.assert_allclose(u, expected[0], rtol=1e-10)
    np.testing.assert_allclose(v, expected[1], rtol=1e-10)
