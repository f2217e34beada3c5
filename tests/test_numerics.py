"""Numbers at the ends of their range: the right value where there is one, else an error.

What is expected is computed in extended precision, whose exponents reach to 4932, or follows from
how a formula scales. A warning of NumPy's fails the test, as everywhere in this suite.
"""

import numpy as np
import pytest

from minisn import Tensor, grad, linalg, lipschitz, ops, spectral
from minisn.errors import ConfigError, DTypeError, NonFiniteError, ShapeError
from minisn.kernels import finite_or_unseen
from minisn.losses import OBJECTIVES, cross_entropy, optimal_logit
from minisn.metrics import (
    Sample,
    frechet_distance,
    gaussian_frechet,
    inception_score,
    intra_class_similarity,
    kernel_distance,
    mmd2,
    ms_ssim,
    precision_recall,
    repeated,
)
from minisn.nn import Linear, Sequential, power_step
from minisn.optim import SGD, Adam
from minisn.regularizers import (
    METHODS,
    SEMANTICS,
    GradientPenalty,
    SingularValueClipping,
    SpectralPenalty,
    TaughtSpectralNorm,
    Watched,
    WeightClipping,
    gradient_penalty,
    method,
    orthonormal_penalty,
    project,
)

EXTREMES = {np.float32: (1e30, 1e-30, 1e-40), np.float64: (1e300, 1e-300, 5e-324)}
"""A number near the largest, one whose square vanishes, and a denormal one."""

POWERS = [(np.float32, 100), (np.float32, -100), (np.float64, 997), (np.float64, -997)]
"""Exponents of the same: to multiply by a power of two changes no digit."""

BAD = (np.nan, np.inf, -np.inf)

pytestmark = pytest.mark.usefixtures("plain_kernels")


def rng(seed=0):
    return np.random.default_rng(seed)


def eps(dtype):
    return float(np.finfo(dtype).eps)


def wide(x):
    return np.asarray(x, np.longdouble)


def leaf(values, dtype):
    return Tensor(np.asarray(values, dtype), requires_grad=True)


def assert_near(found, expected, dtype, ulps=8, size=None):
    """Compare with what extended precision says, relative to the largest number involved."""
    found, expected = wide(found.array if isinstance(found, Tensor) else found), wide(expected)
    assert np.isfinite(found).all()
    size = np.max(np.abs(expected)) if size is None else size
    least = np.finfo(dtype).smallest_subnormal
    assert (np.abs(found - expected) <= ulps * max(eps(dtype) * size, least)).all()


# -- losses ----------------------------------------------------------------------------------------


def softplus(t):
    return np.logaddexp(wide(0), t)


def sigmoid(t):
    return np.exp(-softplus(-t))


EXACT = {
    "standard": (
        lambda r, f: softplus(-r).mean() + softplus(f).mean(),
        lambda r, f: (-sigmoid(-r) / r.size, sigmoid(f) / f.size),
        lambda f: softplus(-f).mean(), lambda f: -sigmoid(-f) / f.size,
    ),
    "hinge": (
        lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
        lambda r, f: (-wide(r < 1) / r.size, wide(f > -1) / f.size),
        lambda f: -f.mean(), lambda f: -np.ones_like(f) / f.size,
    ),
    "wasserstein": (
        lambda r, f: f.mean() - r.mean(),
        lambda r, f: (-np.ones_like(r) / r.size, np.ones_like(f) / f.size),
        lambda f: -f.mean(), lambda f: -np.ones_like(f) / f.size,
    ),
}  # fmt: skip
"""Loss of D, its gradients, loss of G, its gradient: (15) to (17) and (29)."""


def logits(dtype):
    """Sets of logits: alone, all alike, and all together."""
    values = [0.0, *EXTREMES[dtype], *(-x for x in EXTREMES[dtype])]
    return [[x] for x in values] + [[x] * 5 for x in values] + [values, values[::-1]]


@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_and_their_gradients_are_the_formula_s(name, dtype):
    of_d, d_of_d, of_g, d_of_g = EXACT[name]
    for a in logits(dtype):
        fake = leaf(a, dtype)
        f, size = wide(fake.array), max(1, np.max(np.abs(a)))
        loss = OBJECTIVES[name].g(fake)
        assert_near(loss, of_g(f), dtype, size=size)
        assert_near(grad(loss, fake), d_of_g(f), dtype)
        for b in logits(dtype):
            real = leaf(b, dtype)
            r = wide(real.array)
            loss = OBJECTIVES[name].d(real, fake)
            assert_near(loss, of_d(r, f), dtype, size=max(size, np.max(np.abs(b))))
            for found, expected in zip(grad(loss, [real, fake]), d_of_d(r, f), strict=True):
                assert_near(found, expected, dtype)


@pytest.mark.parametrize("dtype", EXTREMES)
def test_cross_entropy_is_the_formula_s(dtype):
    big, small, tiny = EXTREMES[dtype]
    for rows in (
        [[big, -big, 0]],
        [[tiny, small, 0]],
        [[big] * 3] * 2,
        [[-big, big, tiny]] * 2,
        [[0, 0, 0]],
        [[big], [-big]],
    ):
        labels, l = np.arange(len(rows)) % len(rows[0]), leaf(rows, dtype)
        x = wide(l.array)
        top = x.max(axis=1, keepdims=True)
        log_p = x - top - np.log(np.exp(x - top).sum(axis=1, keepdims=True))
        here = np.eye(x.shape[1], dtype=np.longdouble)[labels]
        loss = cross_entropy(l, Tensor(labels))
        assert_near(loss, -(here * log_p).sum() / len(x), dtype)
        assert_near(grad(loss, l), (np.exp(log_p) - here) / len(x), dtype, size=1)


@pytest.mark.parametrize("dtype", EXTREMES)
def test_the_gradient_of_a_log_of_a_sum_keeps_its_digits_at_any_size(dtype):
    for size in (*EXTREMES[dtype], 0.0, 1e4, 1e9):
        for axis, rows in ((None, [size] * 4), (1, [[size] * 4, [-size] * 4])):
            x = leaf(rows, dtype)
            y = ops.logsumexp(x, axis=axis)
            slope = grad(y, x, np.ones(y.shape, dtype), create_graph=True)
            assert_near(slope, np.full(x.shape, 0.25), dtype)
            bend = grad(slope[..., 0].sum(), x).array.reshape(-1, 4)
            assert_near(bend, [[3 / 16, -1 / 16, -1 / 16, -1 / 16]] * len(bend), dtype)


@pytest.mark.parametrize("dtype", EXTREMES)
def test_there_is_no_loss_of_what_is_no_number(dtype):
    fine, spoilt = Tensor(np.ones(3, dtype)), Tensor(np.array([1, np.nan, 1], dtype))
    found = [
        o.d(*x)
        for o in OBJECTIVES.values()
        for x in ((fine, spoilt), (spoilt, fine), (spoilt, spoilt))
    ]
    found += [o.g(spoilt) for o in OBJECTIVES.values()]
    found.append(cross_entropy(spoilt.reshape(1, 3), Tensor(np.array([0]))))
    assert np.isnan([loss.item() for loss in found]).all()
    for pair in ((fine, spoilt), (spoilt, fine)):
        with pytest.raises(NonFiniteError, match="a density is"):
            optimal_logit(*pair)


@pytest.mark.parametrize("dtype", EXTREMES)
def test_the_best_logit_takes_any_density_above_zero(dtype):
    for a in EXTREMES[dtype]:
        for b in (*EXTREMES[dtype], 1.0):
            q, p = leaf([a], dtype), leaf([b], dtype)
            expected = np.log(wide(q.array)) - np.log(wide(p.array))
            assert_near(optimal_logit(q, p), expected, dtype, size=np.abs(np.log(a)) + 100)
    with pytest.raises(NonFiniteError, match="expected densities above 0"):
        optimal_logit(leaf([1.0, -1e-30], dtype), leaf([1.0, 1.0], dtype))


# -- lengths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("axis", [None, 1])
def test_a_length_needs_no_squares(dtype, axis):
    top = float(np.finfo(dtype).max)
    base = rng().uniform(0.5, 1, (4, 3)) * rng(1).choice([-1, 1], (4, 3))
    for size in (*EXTREMES[dtype], 1.0, 1e-12, 1e12, top / 4, np.finfo(dtype).smallest_normal):
        x = leaf(base * size, dtype)
        exact = wide(x.array)
        length = np.sqrt((exact * exact).sum(axis=axis, keepdims=True))
        if length.max() < top:
            y = ops.norm(x, axis=axis, keepdims=True)
            assert_near(y, length, dtype)
            assert_near(grad(y, x, np.ones(y.shape, dtype)), exact / length, dtype, ulps=64)
            assert ops.norm(x, axis=axis).shape == (() if axis is None else (4,))
    mixed = leaf([[top / 2, 0, 0], [1e-30, 0, 0], [0, 0, 0], [3, 4, 0]], dtype)
    expected = [*wide(mixed.array).max(axis=1)[:3], 5]
    found = ops.norm(mixed, axis=1)
    for a, b in zip(found.array, expected, strict=True):
        assert_near(a, b, dtype)
    assert_near(
        grad(found, mixed, np.ones(4, dtype)),
        [[1, 0, 0], [1, 0, 0], [0, 0, 0], [0.6, 0.8, 0]],
        dtype,
    )


def test_a_length_in_the_usual_range_is_the_plain_formula_to_the_bit():
    for seed, dtype in ((0, np.float32), (1, np.float64)):
        x = leaf(rng(seed).normal(size=(5, 7)), dtype)
        for axis in (None, 0, (0, 1)):
            plain, ours = ops.sqrt(ops.sum(x * x, axis=axis)), ops.norm(x, axis=axis)
            np.testing.assert_array_equal(ours.array, plain.array)
            g_plain, g_ours = grad(plain.sum(), x), grad(ours.sum(), x)
            np.testing.assert_array_equal(g_ours.array, g_plain.array)


# -- spectral norm and power iteration -------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "power"), POWERS)
def test_power_iteration_knows_no_magnitude(kernel_name, dtype, power):
    W, u = rng().normal(size=(4, 6)).astype(dtype), rng(1).normal(size=4).astype(dtype)
    for plain in (
        W,
        np.ones((3, 3), dtype)[:, :2],
        np.ones((1, 1), dtype),
        np.eye(4, 2, dtype=dtype),
    ):
        scaled, start = np.ldexp(plain, power), u[: len(plain)]
        expected, found = (spectral.power_iteration(a, start, 4) for a in (plain, scaled))
        for a, b in zip(expected[:2], found[:2], strict=True):
            np.testing.assert_array_equal(a, b)
        assert float(found[2]) == np.ldexp(float(expected[2]), power)


@pytest.mark.parametrize(("dtype", "power"), POWERS)
def test_so_does_its_general_form(dtype, power):
    W, u = rng().normal(size=(4, 6)).astype(dtype), rng(1).normal(size=4).astype(dtype)
    scaled = np.ldexp(W, power)
    u, v, sigma = spectral.power_iteration_operator(
        lambda h: scaled @ h, lambda y: scaled.T @ y, u, 60
    )
    norm = np.linalg.svd(W.astype(np.float64))[1][0]
    assert float(sigma) == pytest.approx(np.ldexp(norm, power), rel=1e-5)
    for vector in (u, v):
        assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(("dtype", "power"), POWERS)
def test_every_norm_scales_with_the_weight(dtype, power):
    W, kernel = (
        rng().normal(size=(4, 6)).astype(dtype),
        rng(1).normal(size=(4, 3, 3, 3)).astype(dtype),
    )
    big, big_kernel = np.ldexp(W, power), np.ldexp(kernel, power)
    u, v = spectral.initial_vectors(big, rng(2))
    proof = spectral.certificate(big, u, v)
    norm = np.ldexp(np.linalg.svd(W.astype(np.float64))[1][0], power)
    assert 0.989 * norm <= proof.sigma <= norm * (1 + 1e-14) and proof.excess < 1.0101
    assert norm * (1 - 1e-14) <= proof.upper == spectral.norm_bound(big) <= norm * (1 + 1e-12)
    np.testing.assert_allclose(spectral.singular_values(big)[0], norm, rtol=8 * eps(dtype))
    for size in (5, 16):  # by its matrix, and by Lanczos iteration
        small = lipschitz.conv_operator_norm(kernel, size, 1, 1)
        assert lipschitz.conv_operator_norm(big_kernel, size, 1, 1) == pytest.approx(
            np.ldexp(small, power), rel=1e-7
        )
    slope = lipschitz.lipschitz_lower_bound(
        lambda x: x @ Tensor(big[0]), rng(3).normal(size=(3, 6)).astype(dtype), 2
    )
    exact = np.sqrt((wide(big[0]) ** 2).sum())
    assert slope.value == pytest.approx(float(exact), rel=8 * eps(dtype))


@pytest.mark.parametrize("dtype", EXTREMES)
def test_denormal_weights_have_norms_or_are_said_to_have_none(dtype):
    least = float(np.finfo(dtype).smallest_subnormal)
    W = np.full((3, 4), 1000 * least, dtype)  # three digits are left
    u, v = spectral.initial_vectors(W, rng())
    norm = 1000 * least * 12**0.5
    assert spectral.certificate(W, u, v).sigma == pytest.approx(norm, rel=1e-3)
    assert spectral.norm_bound(W) == pytest.approx(norm, rel=1e-3)
    assert float(spectral.power_iteration(W, u)[2]) == pytest.approx(norm, rel=2e-3)
    coarse = (rng().integers(-2, 3, (3, 4)) * least).astype(dtype)
    with pytest.raises(ConfigError, match="use a larger tolerance"):
        spectral.initial_vectors(coarse, rng(), tolerance=1e-3, most=64)


@pytest.mark.parametrize("bad", BAD)
def test_a_network_with_a_bad_weight_is_stopped_by_its_power_step(kernel_name, bad):
    for name in ("sn", "bsn", "sn-conv", "sigma2"):
        network = Sequential(
            *(Linear(3, 3, rng(), reparametrize=METHODS[name].reparametrize) for _ in range(2))
        )
        weight = network.layers[1].weight
        weight.assign(np.where(np.eye(3) > 0, np.float32(bad), weight.array))
        with pytest.raises(NonFiniteError, match=r"layer layers\.1: the weight holds a NaN or"):
            power_step(network)


# -- regularizers ----------------------------------------------------------------------------------

SCHEMES = {
    name: found.reparametrize
    for name, found in METHODS.items()
    if name in ("sn", "bsn", "sn-conv", "wn", "frobenius", "usv")
}
SCHEMES |= {f"taught {name}": TaughtSpectralNorm(name) for name in SEMANTICS if name != "clipped"}

WEIGHTS = {
    "dense": (0, rng().normal(size=(4, 6))),
    "convolution": (0, rng(1).normal(size=(4, 3, 3, 3))),
    "transposed": (1, rng(2).normal(size=(3, 4, 2, 2))),
    "one entry": (0, np.full((1, 1), 1.5)),
    "all equal": (0, np.full((3, 5), 2.0)),
}


def normalized(scheme, W, axis):
    """The weight that a layer would compute with, and the gradient of a sum of it, by part."""
    if hasattr(scheme, "at") and W.ndim == 4 and axis == 0:
        scheme = scheme.at(5, 1, 1)
    learned, state = scheme.start(leaf(W, W.dtype), axis, rng(5))
    state = scheme.step(learned, axis, state)
    W_bar = scheme.apply(learned, axis, state)
    direction = Tensor(rng(6).normal(size=W.shape).astype(W.dtype))
    g = grad((W_bar * direction).sum(), list(learned.values()))
    return W_bar.array, dict(zip(learned, (x.array for x in g), strict=True))


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("name", SCHEMES)
def test_a_normalized_weight_does_not_depend_on_its_magnitude(name, kind):
    axis, W = WEIGHTS[kind]
    for dtype, power in POWERS:
        plain = W.astype(dtype)
        expected, slopes = normalized(SCHEMES[name], plain, axis)
        found, found_slopes = normalized(SCHEMES[name], np.ldexp(plain, power), axis)
        np.testing.assert_allclose(found, expected, rtol=0, atol=64 * eps(dtype))
        for part, slope in slopes.items():
            falls = part in ("weight", "s") and name != "taught overwritten"
            ours = np.ldexp(found_slopes[part], power) if falls else found_slopes[part]
            within = 256 * eps(dtype) * max(1, np.abs(slope).max())
            np.testing.assert_allclose(ours, slope, rtol=0, atol=within)


@pytest.mark.parametrize(("dtype", "power"), POWERS)
@pytest.mark.parametrize("name", ["sn", "bsn", "sn-conv", "wn", "frobenius", "usv"])
def test_a_learned_gain_starts_at_the_weight_that_was_drawn(name, dtype, power):
    for kind in ("dense", "convolution"):
        axis, W = WEIGHTS[kind]
        big = np.ldexp(W.astype(dtype), power)
        scheme = method(name, gain=True).reparametrize
        if name == "sn-conv" and kind == "convolution":
            scheme = scheme.at(5, 1, 1)
        learned, state = scheme.start(leaf(big, dtype), axis, rng())
        np.testing.assert_allclose(
            scheme.apply(learned, axis, state).array,
            big,
            rtol=0,
            atol=64 * eps(dtype) * np.abs(big).max(),
        )


@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("name", [n for n in SCHEMES if n != "taught overwritten"])
def test_denormal_weights_are_normalized_or_count_as_zero(name, dtype):
    """So small a norm has no inverse that is a number: the documented zeros."""
    _, W = WEIGHTS["dense"]
    tiny = (W * float(np.finfo(dtype).smallest_normal) / 64).astype(dtype)
    W_bar, slopes = normalized(SCHEMES[name], tiny, 0)
    assert np.isfinite(W_bar).all() and all(np.isfinite(g).all() for g in slopes.values())
    np.testing.assert_array_equal(W_bar, 0)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", SCHEMES)
def test_what_is_no_number_is_refused_or_passed_on_but_never_hidden(name, bad):
    scheme = SCHEMES[name]
    W = WEIGHTS["dense"][1].copy()
    fine, state = scheme.start(leaf(W, np.float64), 0, rng())
    W[1, 2] = bad
    try:
        learned, state = scheme.start(leaf(W, np.float64), 0, rng())
    except NonFiniteError:
        learned = fine  # as training would meet it: a weight that was fine becomes bad
        part = learned.get("weight", learned.get("s"))
        part.assign(np.full(part.shape, bad) if part.ndim == 1 else W)
    with np.errstate(invalid="ignore"):
        found = scheme.apply(learned, 0, state)
    assert not finite_or_unseen(found.array)
    with pytest.raises(NonFiniteError, match=r"SingularValueClipping: the weight .* holds a NaN"):
        SingularValueClipping()(W, 0)
    usv = method("usv").reparametrize
    with pytest.raises(
        NonFiniteError, match=r"SingularValues: the weight .* holds a NaN or an inf"
    ):
        usv.start(leaf(W, np.float64), 0, rng())
    learned, _ = usv.start(leaf(WEIGHTS["dense"][1], np.float64), 0, rng())
    learned["V"].assign(W)
    with pytest.raises(
        NonFiniteError, match=r"SingularValues: the weight .* holds a NaN or an inf"
    ):
        usv.retract(learned, 0)


@pytest.mark.parametrize("dtype", EXTREMES)
def test_projections_bring_any_weight_within_their_bounds(dtype):
    for kind in ("dense", "convolution", "all equal", "one entry"):
        axis, W = WEIGHTS[kind]
        for size in EXTREMES[dtype]:
            big = (W * size).astype(dtype)
            clipped = WeightClipping(0.25)(big, axis)
            np.testing.assert_array_equal(clipped, np.clip(big, -0.25, 0.25))
            within = SingularValueClipping(0.5)(big, axis)
            assert np.linalg.svd(within.reshape(len(W), -1))[1][0] <= 0.5 * (1 + 64 * eps(dtype))
            if kind == "all equal":  # rounding makes singular values of zeros, which K lets pass
                continue
            U, s, Vt = np.linalg.svd(W.reshape(len(W), -1), full_matrices=False)
            expected = np.minimum(s.astype(np.longdouble) * wide(dtype(size)), 0.5)
            assert_near(within.reshape(len(W), -1), (U * expected.astype(float)) @ Vt, dtype, 200)
    layer = Linear(3, 2, rng())
    layer.weight.assign(np.full((2, 3), 1e30, np.float32))
    project(Sequential(layer), SingularValueClipping())
    assert spectral.singular_values(layer.weight)[0] == pytest.approx(1, rel=1e-5)


# -- penalties -------------------------------------------------------------------------------------


def critic_of(w):
    return lambda x: ops.sum(x * w, axis=1)


@pytest.mark.parametrize("dtype", EXTREMES)
def test_the_gradient_penalty_is_the_formula_s_for_any_slope(dtype):
    base, top = rng().normal(size=6), np.finfo(dtype).max
    pair = Tensor(np.ones((3, 6), dtype)), Tensor(np.zeros((3, 6), dtype))
    for size in (*EXTREMES[dtype], 0.5, 1e12, 1e-20, float(top) ** 0.49, float(top) ** 0.51):
        w = leaf(base * size, dtype)
        length = np.sqrt((wide(w.array) ** 2).sum())
        if (length - 1) ** 2 > top:
            with np.errstate(over="ignore"):
                assert gradient_penalty(critic_of(w), *pair, rng()).item() == np.inf
            continue
        penalty = gradient_penalty(critic_of(w), *pair, rng())
        assert_near(penalty, (length - 1) ** 2, dtype, 32, size=max(1, length**2))
        slope = 2 * (length - 1) * wide(w.array) / length
        # digits are lost where the entries themselves are denormal
        assert_near(
            grad(penalty, w), slope, dtype, 2 * max(32, np.finfo(dtype).smallest_normal / size)
        )
        weighted = GradientPenalty(3.0)(None, critic_of(w), *pair, rng())
        assert weighted.item() == pytest.approx(3 * penalty.item(), rel=4 * eps(dtype))


@pytest.mark.parametrize("dtype", EXTREMES)
def test_the_orthonormal_penalty_is_the_formula_s_or_infinite(dtype):
    top = float(np.finfo(dtype).max)
    for shape in ((4, 6), (6, 4), (1, 1), (3, 2, 2, 2)):
        base = rng().normal(size=shape)
        for size in (*EXTREMES[dtype], 0.0, 1.0, top**0.2, top**0.26):
            W = leaf(base * size, dtype)
            matrix = wide(W.array).reshape(shape[0], -1)
            gap = matrix.T @ matrix - np.eye(matrix.shape[1])
            exact = (gap**2).sum()
            if exact > top:
                with np.errstate(over="ignore", invalid="ignore"):
                    assert not np.isfinite(orthonormal_penalty(W).item())
            else:
                assert_near(orthonormal_penalty(W), exact, dtype, 64)


def test_the_penalty_of_spectral_norms_is_the_formula_s_or_infinite():
    layer = Linear(5, 4, rng(), reparametrize=Watched())
    network, plain, lead = Sequential(layer), layer.weight.numpy(), 2.0
    sigma = float(spectral.sigma(layer.weight, *layer.state.values()))
    for size in (1e-30, 1e-20, 1.0, 1e15):
        layer.weight.assign(plain * np.float32(size))
        penalty = SpectralPenalty(lead)(network, None, None, None, rng())
        assert_near(penalty, wide(sigma * np.float32(size)) ** 2, np.float32, 32)
    for size in (1e25, np.inf, np.nan):
        layer.weight.assign(plain * np.float32(size))
        with np.errstate(over="ignore", invalid="ignore"):
            penalty = SpectralPenalty(lead)(network, None, None, None, rng())
        assert not np.isfinite(penalty.item())


@pytest.mark.parametrize("bad", BAD)
def test_there_is_no_penalty_of_what_is_no_number(bad):
    w = leaf([1.0, bad], np.float64)
    pair = Tensor(np.ones((2, 2))), Tensor(np.zeros((2, 2)))
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(gradient_penalty(critic_of(w), *pair, rng()).item())
        assert not np.isfinite(orthonormal_penalty(w.reshape(1, 2)).item())


# -- optimizers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EXTREMES)
def test_adams_steps_are_the_formula_s_for_any_gradient(kernel_name, dtype):
    top = float(np.finfo(dtype).max)
    sizes = [*EXTREMES[dtype][1:], 0.0, 1.0, top**0.4, top**0.49]
    rate, b1, b2, least = 1e-3, 0.5, 0.999, 1e-8
    gradients = [[s * k for s in sizes] for k in (1, -1, 0, 0.5)]
    theta = leaf(np.ones(len(sizes)), dtype)
    adam, m, v, exact = Adam([theta], rate, b1, b2), wide(0), wide(0), wide(1)
    for step, g in enumerate(gradients, 1):
        g = Tensor(np.asarray(g, dtype))
        adam.step([g])
        m, v = b1 * m + (1 - b1) * wide(g.array), b2 * v + (1 - b2) * wide(g.array) ** 2
        exact = exact - rate * (m / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + least)
        # squares below the smallest number vanish beside eps: to all the digits of theta
        assert_near(theta, exact, dtype, 4 * step)
        assert finite_or_unseen(adam.m) and finite_or_unseen(adam.v)


@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("spoil", [*BAD, "large"])
def test_adam_refuses_what_it_cannot_hold_and_names_it(kernel_name, dtype, spoil):
    first, second = leaf([1.0, 2.0], dtype), leaf([3.0], dtype)
    adam = Adam({"body/first": first, "body/second": second}, 1e-3)
    bad = EXTREMES[dtype][0] if spoil == "large" else spoil
    what = "the gradient" if spoil != "large" else "the gradient, or its square,"
    words = f"{what} of parameter body/second is not finite or too large"
    with pytest.raises(NonFiniteError, match=words):
        adam.step([Tensor(np.ones(2, dtype)), Tensor(np.array([bad], dtype))])
    np.testing.assert_array_equal(first.array, [1, 2])
    np.testing.assert_array_equal(second.array, [3])
    with pytest.raises(NonFiniteError, match="of parameter 0 is not finite"):
        Adam([first, second], 1e-3).step(
            [Tensor(np.full(2, bad, dtype)), Tensor(np.ones(1, dtype))]
        )


@pytest.mark.parametrize("dtype", EXTREMES)
def test_plain_descent_goes_as_far_as_numbers_go(dtype):
    big, small, tiny = EXTREMES[dtype]
    for g, rate in ((big, 1e3), (-big, 1e-3), (small, 1e3), (tiny, 1.0), (0.0, 1e3)):
        theta, slope = leaf([1.0, -1.0], dtype), Tensor(np.full(2, g, dtype))
        SGD([theta], rate).step([slope])
        assert_near(theta, wide([1, -1]) - wide(dtype(rate)) * wide(slope.array), dtype)
    for g, rate in ((big, 1e10), (np.nan, 1.0), (np.inf, 1.0), (-np.inf, 0.0)):
        theta = leaf([1.0, -1.0], dtype)
        what = "new value" if np.isfinite(g) else "gradient"
        with pytest.raises(NonFiniteError, match=f"the {what} of parameter w is not finite"):
            SGD({"w": theta}, rate).step([Tensor(np.array([0, g], dtype))])
        np.testing.assert_array_equal(theta.array, [1, -1])


def test_adam_refuses_a_rate_that_leads_out_of_the_numbers():
    theta = leaf([1e38, 1.0], np.float32)
    with pytest.raises(NonFiniteError, match="the new value of parameter 0"):
        Adam([theta], 3e38, beta1=0.0).step([Tensor(np.array([-4, 0], np.float32))])
    np.testing.assert_array_equal(theta.array, np.array([1e38, 1], np.float32))


# -- measures --------------------------------------------------------------------------------------


def features(power=0, n=40, shift=0.0, seed=0):
    """Features in (-2, 2), and multiplied by a power of two."""
    return np.ldexp(np.clip(rng(seed).normal(size=(n, 5)) + shift, -1.99, 1.99), power)


LEVELS = [165, 99, 0, -99, -332, -700, -1060]
"""Powers of two from below the largest that is measured, 1e50, to denormal numbers."""


@pytest.mark.parametrize("power", LEVELS)
def test_measures_of_features_of_any_magnitude(power):
    x, y = (Sample(features(power, n, s, n), "made") for n, s in ((40, 0.0), (50, 0.4)))
    plain = [Sample(features(0, n, s, n), "made") for n, s in ((40, 0.0), (50, 0.4))]
    found, expected = frechet_distance(x, y).value, frechet_distance(*plain).value
    assert found == pytest.approx(np.ldexp(expected, 2 * power), rel=1e-12)
    shares = [[s.value for s in precision_recall(*pair)] for pair in ((x, y), plain)]
    if power > -1000:  # denormal features have lost digits
        assert shares[0] == shares[1]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)
    assert min(shares[1]) < 1

    def exact_mmd2(a, b):
        a, b = wide(a), wide(b)
        k = [(p @ q.T / 5 + 1) ** 3 for p, q in ((a, a), (b, b), (a, b))]
        n, m = len(a), len(b)
        within = (
            (k[0].sum() - np.trace(k[0])) / (n * (n - 1)),
            (k[1].sum() - np.trace(k[1])) / (m * (m - 1)),
        )
        return within[0] + within[1] - 2 * k[2].mean(), np.abs(k[0]).max() + np.abs(k[1]).max()

    exact, size = exact_mmd2(x.values, y.values)
    assert_near(mmd2(x.values, y.values), exact, np.float64, 50, size=size)
    draws, taken = rng(9), []
    scores = [kernel_distance(x, y, rng(s), 6, 20) for s in (9, 10)]
    for _ in range(6):
        rows = [s.values[draws.choice(len(s), 20, replace=False)] for s in (x, y)]
        taken.append(exact_mmd2(*rows)[0])
    assert_near(scores[0].value, np.mean(taken), np.float64, 50, size=size)
    assert_near(scores[0].spread, np.std(taken), np.float64, 100, size=size)
    both = wide([s.value for s in scores])
    assert_near(repeated(scores).spread, both.std(ddof=1), np.float64, 8, size=size)


@pytest.mark.parametrize("value", [0.0, 1.0, -1e50, 1e50, 5e-324, np.float32(1e30)])
def test_measures_of_features_that_are_all_equal(value):
    x, y = (Sample(np.full((n, 3), value), "made") for n in (10, 12))
    # rounding of means, n of them, is squared
    assert 0 <= frechet_distance(x, y).value <= 3 * (16 * eps(float) * float(value)) ** 2
    assert [s.value for s in precision_recall(x, y)] == [1, 1]
    size = (abs(float(value)) ** 2 + 1) ** 3
    assert abs(kernel_distance(x, y, rng(), 5, 4).value) <= 16 * eps(float) * size


def test_single_precision_features_of_any_size_are_measured():
    for size in (1e30, -1e30, 1e-30, 1e-45):
        x, y = (
            Sample((features(0, n, s, n) * size).astype(np.float32), "made")
            for n, s in ((40, 0.0), (50, 0.4))
        )
        scores = [frechet_distance(x, y), kernel_distance(x, y, rng(), 5, 10),
                  *precision_recall(x, y)]  # fmt: skip
        assert np.isfinite([s.value for s in scores]).all()
        assert np.isfinite(scores[1].spread)


def test_one_image_is_measured_or_refused():
    one, two = Sample(np.ones((1, 3)), "one"), Sample(np.ones((2, 3)), "two")
    for call, error in (
        (lambda: frechet_distance(one, two), ShapeError),
        (lambda: kernel_distance(two, one, rng(), 2, 1), ConfigError),
        (lambda: kernel_distance(two, one, rng(), 2, 2), ConfigError),
        (lambda: precision_recall(one, two), ConfigError),
        (lambda: mmd2(one.values, two.values), ShapeError),
        (
            lambda: intra_class_similarity(
                Sample(np.zeros((1, 1, 11, 11), np.uint8), "one"), np.zeros(1, int), 2, rng()
            ),
            ConfigError,
        ),
    ):
        with pytest.raises(error):
            call()
    sure = inception_score(Sample(np.array([[0.0, 1.0, 0.0]]), "one"), 1)
    assert (sure.value, sure.spread) == (1, None)


def test_the_inception_score_of_probabilities_at_their_limits():
    tiny = 5e-324
    for p, expected in (
        (np.eye(7), 7),
        (np.full((6, 7), 1 / 7), 1),
        (np.eye(7)[[0] * 5], 1),
        (np.array([[1.0, tiny], [tiny, 1.0]]), 2),
        (np.array([[1 - 1e-16, 1e-16]] * 3), 1),
        (np.ones((4, 1)), 1),
    ):
        score = inception_score(Sample(p, "made"), 1)
        assert score.value == pytest.approx(expected, rel=1e-12)
    for bad in (np.array([[1.0, -tiny]]), np.array([[1e30, 0.0]]), np.array([[0.0, 0.0]])):
        with pytest.raises(ShapeError, match="are not probabilities"):
            inception_score(Sample(bad, "made"), 1)


@pytest.mark.parametrize("bad", [*BAD, 1e300, -1e300])
def test_functions_of_plain_arrays_refuse_what_overflows(bad):
    moments = np.zeros(3), np.eye(3)
    spoilt = np.where(np.eye(3) > 0, bad, 0.0)
    for call in (
        lambda: gaussian_frechet(np.array([0, bad, 0]), *moments[1:], *moments),
        lambda: gaussian_frechet(*moments, np.zeros(3), spoilt),
        lambda: mmd2(spoilt, np.ones((2, 3))),
        lambda: mmd2(np.ones((2, 3)), spoilt),
        lambda: Sample(spoilt, "made"),
    ):
        with pytest.raises(NonFiniteError, match="a value is a NaN or an infinity, or above 1e"):
            call()
    with pytest.raises(DTypeError, match="a pixel is not a number from 0 to 255"):
        ms_ssim(np.full((1, 1, 12, 12), bad), np.ones((1, 1, 12, 12)))


def test_similarity_of_black_white_and_barely_different_images():
    black, white = np.zeros((1, 1, 24, 24)), np.full((1, 1, 24, 24), 255.0)
    assert ms_ssim(black, black) == ms_ssim(white, white) == 1
    assert 0 < ms_ssim(black, white)[0] < 1e-3
    assert ms_ssim(black, black + 1e-300) == 1
    assert ms_ssim(white, np.nextafter(white, 0)) == pytest.approx(1, abs=1e-12)
    with pytest.raises(DTypeError, match="0 to 255"):
        ms_ssim(white, np.nextafter(white, np.inf))


# -- what has room in the dtype, though its squares have none --------------------------------------


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        ("float32", 3e19),
        ("float32", 1e-25),
        ("float16", 300),
        ("float16", 1e-4),
        ("float64", 1e200),
    ],
)
def test_a_standard_deviation_needs_room_for_itself_only(dtype, size):
    x = Tensor(np.array([[-size, size], [0, 0]], dtype), requires_grad=True)
    y = ops.std(x, axis=1)
    np.testing.assert_allclose(y.numpy().astype(float), [float(x.numpy()[0, 1]), 0], rtol=1e-6)
    np.testing.assert_array_equal(grad(y.sum(), x).numpy(), [[-0.5, 0.5], [0, 0]])


@pytest.mark.parametrize("size", [1e20, 1, 1e-25])
def test_the_gradient_of_singular_values_needs_no_room_for_their_squares(size):
    W = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    x = Tensor(np.float32(size) * W, requires_grad=True)
    U, _, V = np.linalg.svd(W, full_matrices=False)
    np.testing.assert_allclose(grad(linalg.svdvals(x).sum(), x).numpy(), U @ V, atol=1e-6)


def test_averages_of_small_integers_and_of_half_precision_have_room():
    x, w = np.array([200, 100], np.uint8), np.array([2, 1], np.uint8)
    assert ops.average(x, weights=w).item() == pytest.approx(500 / 3)
    half = np.full(1000, 100, np.float16)
    assert ops.average(half, weights=np.ones_like(half)).item() == 100


def test_the_mean_over_many_labels_has_room_in_half_precision():
    loss = cross_entropy(Tensor(np.zeros((20_000, 40), np.float16)), np.zeros(20_000, int))
    assert loss.item() == pytest.approx(np.log(40), rel=1e-3)


@pytest.mark.parametrize(("dtype", "size"), [("float16", 300.0), ("float32", 1e25)])
def test_slopes_of_inverse_hyperbolic_functions_vanish_no_sooner_than_they_must(dtype, size):
    x = Tensor(np.array([size], dtype), requires_grad=True)
    for inverse in (ops.arcsinh, ops.arccosh):
        assert grad(inverse(x).sum(), x).item() == pytest.approx(1 / size, rel=1e-3)
