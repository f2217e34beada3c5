"""Objectives against their formulas written out in NumPy, and at extreme logits."""

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from minisn import Tensor, grad, losses, ops
from minisn.errors import DTypeError, NonFiniteError, ShapeError
from minisn.gradcheck import gradcheck
from minisn.labels import labels_of
from minisn.losses import (
    OBJECTIVES,
    binary_cross_entropy,
    cross_entropy,
    hinge_d,
    hinge_g,
    mean_squared_error,
    optimal_logit,
    slopes,
    standard_d,
    standard_g,
    wasserstein_d,
)

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(2, 50, 1)) * 3


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def test_standard_losses_are_equation_15():
    expected_d = -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean()
    assert standard_d(Tensor(REAL), Tensor(FAKE)).item() == pytest.approx(expected_d, rel=1e-12)
    expected_g = -np.log(sigmoid(FAKE)).mean()
    assert standard_g(Tensor(FAKE)).item() == pytest.approx(expected_g, rel=1e-12)


def test_hinge_losses_are_equations_16_and_17():
    expected = -np.minimum(0, -1 + REAL).mean() - np.minimum(0, -1 - FAKE).mean()
    assert hinge_d(Tensor(REAL), Tensor(FAKE)).item() == pytest.approx(expected, rel=1e-12)
    assert hinge_g(Tensor(FAKE)).item() == pytest.approx(-FAKE.mean(), rel=1e-12)


def test_hinge_ignores_images_beyond_the_margin():
    real = Tensor(np.array([0.5, 2.0]), requires_grad=True)
    fake = Tensor(np.array([-0.5, -2.0]), requires_grad=True)
    g_real, g_fake = grad(hinge_d(real, fake), [real, fake])
    np.testing.assert_array_equal(g_real.array, [-0.5, 0])
    np.testing.assert_array_equal(g_fake.array, [0.5, 0])


def test_slopes_are_what_is_left_of_d_s_loss():
    real, fake = slopes(OBJECTIVES["hinge"], REAL, FAKE)
    assert real == pytest.approx((REAL < 1).mean(), rel=1e-12)
    assert fake == pytest.approx((FAKE > -1).mean(), rel=1e-12)
    assert 0 < real < 1 and 0 < fake < 1 and real != fake
    real, fake = slopes(OBJECTIVES["standard"], REAL, FAKE)
    assert real == pytest.approx((1 - sigmoid(REAL)).mean(), rel=1e-12)
    assert fake == pytest.approx(sigmoid(FAKE).mean(), rel=1e-12)
    assert slopes(OBJECTIVES["wasserstein"], REAL, FAKE) == pytest.approx((1, 1), rel=1e-12)
    assert slopes(OBJECTIVES["hinge"], REAL + 1e4, FAKE - 1e4) == (0, 0)


def test_wasserstein_loss_is_the_difference_of_means():
    value = wasserstein_d(Tensor(REAL), Tensor(FAKE)).item()
    assert value == pytest.approx(FAKE.mean() - REAL.mean(), rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_losses_and_gradients_stay_finite_at_extreme_logits(name, logit):
    real, fake = (Tensor(np.full((4, 1), logit, np.float32), requires_grad=True) for _ in "rf")
    loss_d = OBJECTIVES[name].d(real, fake)
    loss_g = OBJECTIVES[name].g(fake)
    for value in (loss_d, loss_g, *grad(loss_d, [real, fake]), grad(loss_g, fake)):
        assert np.isfinite(value.array).all()


def test_a_sure_discriminator_still_teaches_the_generator():
    fake = Tensor(np.array([-30.0]), requires_grad=True)
    assert grad(standard_g(fake), fake).item() == pytest.approx(-1, abs=1e-12)


# --- labels ------------------------------------------------------------------------------------


def test_cross_entropy_and_its_gradient_are_pytorchs(torch):
    logits, labels = (
        5 * np.random.default_rng(1).normal(size=(7, 4)),
        np.array([0, 3, 1, 1, 2, 0, 3]),
    )
    mine, theirs = Tensor(logits, requires_grad=True), torch.tensor(logits, requires_grad=True)
    loss = cross_entropy(mine, Tensor(labels))
    expected = torch.nn.functional.cross_entropy(theirs, torch.tensor(labels))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    (slope,) = torch.autograd.grad(expected, theirs)
    np.testing.assert_allclose(grad(loss, mine).array, slope.numpy(), rtol=1e-10, atol=1e-15)
    assert gradcheck(lambda x: cross_entropy(x, Tensor(labels)), [logits], order=2)


def test_cross_entropy_of_sure_guesses_is_finite():
    logits = Tensor(np.array([[1e4, 0.0], [1e4, 0.0]], np.float32), requires_grad=True)
    loss = cross_entropy(logits, Tensor(np.array([0, 1])))
    assert loss.item() == pytest.approx(5e3)
    np.testing.assert_allclose(grad(loss, logits).array, [[0, 0], [0.5, -0.5]], atol=1e-7)


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        ((3, 4), np.array([0, 1]), r"got shapes \(3, 4\) and \(2,\)"),
        ((3,), np.array([0, 1, 2]), r"expected logits \[N, classes\]"),
        ((2, 4), np.array([0, 4]), "labels must be 0 to 3, got 0 to 4"),
        ((5, 4), np.arange(5), "labels must be 0 to 3, got 0 to 4"),
        ((2, 4), np.array([-1, 2]), "labels must be 0 to 3, got -1 to 2"),
    ],
)
def test_cross_entropy_refuses_what_does_not_fit(logits, labels, words):
    with pytest.raises(ShapeError, match=words):
        cross_entropy(Tensor(np.zeros(logits)), Tensor(labels))


def test_an_objective_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        OBJECTIVES["hinge"].d = OBJECTIVES["standard"].d


# --- the best discriminator --------------------------------------------------------------------


def gaussian(x, mean, deviation):
    return ops.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


def test_no_discriminator_does_better_than_the_optimal_one():
    # V(G, D) of (15) as an integral over a grid, with the densities as weights
    x = Tensor(np.linspace(-6, 6, 401))
    q, p = gaussian(x, -1.0, 1.0), gaussian(x, 1.0, 0.7)

    def value(f):
        return -(ops.sum(q * ops.softplus(-f)) + ops.sum(p * ops.softplus(f)))

    best = Tensor(optimal_logit(q, p).array, requires_grad=True)
    np.testing.assert_allclose(ops.sigmoid(best).array, (q / (q + p)).array, rtol=1e-12)
    np.testing.assert_allclose(grad(value(best), best).array, 0, atol=1e-15)
    for direction in np.random.default_rng(0).normal(size=(5, 401)):
        assert value(best + 0.1 * direction).item() < value(best).item()


def test_its_slope_is_the_paper_s_and_has_no_bound():
    x = Tensor(np.linspace(-5, 30, 50), requires_grad=True)
    q, p = gaussian(x, 0.0, 1.0), gaussian(x, 0.0, 2.0)
    slope = grad(ops.sum(optimal_logit(q, p)), x).array
    dq, dp = (grad(ops.sum(gaussian(x, 0.0, s)), x).array for s in (1.0, 2.0))
    np.testing.assert_allclose(slope, dq / q.array - dp / p.array, rtol=1e-12)
    # for these two, f* is a parabola: its slope at x is -(1 - 1/4) x
    np.testing.assert_allclose(slope, -0.75 * x.array, rtol=1e-9)


@pytest.mark.parametrize("density", [0.0, -0.5])
def test_there_is_no_best_discriminator_where_a_density_is_not_positive(density):
    fine, spoilt = Tensor([0.5, 0.5]), Tensor([0.5, density])
    for pair in ((fine, spoilt), (spoilt, fine)):
        with pytest.raises(NonFiniteError, match="expected densities above 0"):
            optimal_logit(*pair)


@pytest.mark.parametrize(
    "labels", [[0.5, 0.9], [np.nan, np.nan], [1.0, 0.0], [True, False], ["a", "b"]]
)
def test_labels_that_are_no_whole_numbers_are_refused(labels):
    logits = Tensor([[0.0, 1.0], [2.0, 0.0]])
    with pytest.raises(DTypeError, match=r"labels must be integers|cannot make a tensor"):
        cross_entropy(logits, labels if isinstance(labels[0], str) else Tensor(labels))


@pytest.mark.parametrize(
    "loss",
    [
        lambda: standard_d([1.0], []),
        lambda: standard_g([]),
        lambda: hinge_d([], [1.0]),
        lambda: hinge_g([]),
        lambda: wasserstein_d([], [1.0]),
        lambda: binary_cross_entropy([], []),
        lambda: mean_squared_error([], []),
        lambda: cross_entropy(np.zeros((0, 3)), np.zeros(0, int)),
    ],
)
def test_an_empty_batch_has_no_loss(loss):
    with pytest.raises(ShapeError, match=r"the batch is empty, got shapes .*\(0,"):
        loss()


def test_labels_are_taken_as_arrays_and_lists():
    logits = Tensor([[0.0, 1.0], [2.0, 0.0]])
    losses = [
        cross_entropy(logits, held).item()
        for held in ([1, 0], np.array([1, 0]), np.array([1, 0], np.uint8), Tensor([1, 0]))
    ]
    assert losses == [losses[0]] * 4


def test_binary_cross_entropy_and_squared_error_are_pytorchs(torch):
    l, t = np.random.default_rng(0).normal(size=(2, 3, 4))
    t = 1 / (1 + np.exp(-t))
    for ours, theirs in (
        (binary_cross_entropy, torch.nn.functional.binary_cross_entropy_with_logits),
        (mean_squared_error, torch.nn.functional.mse_loss),
    ):
        x, z = Tensor(l, requires_grad=True), torch.tensor(l, requires_grad=True)
        loss, right = ours(x, t), theirs(z, torch.tensor(t))
        right.backward()
        assert loss.item() == pytest.approx(right.item(), rel=1e-12)
        np.testing.assert_allclose(grad(loss, x).numpy(), z.grad.numpy(), rtol=1e-10)
        with pytest.raises(ShapeError, match="expected targets of shape"):
            ours(x, t[0])
    y = binary_cross_entropy(Tensor([1e4, -1e4]), [0, 1])
    assert y.item() == 1e4
    assert binary_cross_entropy(Tensor(np.zeros(2, np.float32)), [0, 1]).dtype == np.float32
    for targets in ([0.5, 1.5], [np.nan, 0.0], [-0.5, 0.5]):
        with pytest.raises(DTypeError, match="expected targets from 0 to 1"):
            binary_cross_entropy(Tensor([0.0, 0.0]), targets)


def test_targets_of_another_dtype_keep_their_gradient():
    t = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    loss = mean_squared_error(Tensor(np.zeros(2, np.float32)), t)
    np.testing.assert_allclose(grad(loss, t).numpy(), [1.0, 2.0])


@pytest.mark.parametrize("name", ["standard_d", "hinge_d", "wasserstein_d", "mean_squared_error"])
def test_losses_of_whole_numbers_and_lists(name):
    """Few bits have no room for -x, 1 - x or the square of a difference."""
    loss = getattr(losses, name)
    real, fake = [3, 0, 200], [0, 1, 250]
    expected = loss(np.array(real, float), np.array(fake, float)).item()
    for dtype in (np.uint8, np.int16, np.int64):
        assert loss(np.array(real, dtype), np.array(fake, dtype)).item() == expected
    assert loss(real, fake).item() == expected
    assert loss([True, False], [0, 1]).item() == loss([1.0, 0.0], [0.0, 1.0]).item()
    for nothing in ("ab", None):
        with pytest.raises(DTypeError, match="expected numbers"):
            loss(nothing, nothing)


def test_cross_entropy_of_arrays_and_lists():
    logits = [[1, 0], [0, 2]]
    expected = cross_entropy(Tensor(np.array(logits, float)), [0, 1]).item()
    for given in (logits, np.array(logits, float), np.array(logits, np.uint8)):
        assert cross_entropy(given, [0, 1]).item() == expected
    assert binary_cross_entropy([200], [1]).item() == binary_cross_entropy([200.0], [1.0]).item()


def test_what_is_computed_from_labels_has_no_known_range():
    labels = labels_of("test", np.array([0, 1, 1]), np.zeros(3))
    assert type(labels ^ 1) is Tensor and type(labels == 1) is Tensor
    assert losses.cross_entropy(Tensor(np.zeros((3, 2))), labels ^ 1).item() > 0
    with pytest.raises(DTypeError, match="make new labels"):
        labels.assign(np.array([5, 5, 5]))
