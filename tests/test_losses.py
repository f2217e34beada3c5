"""Objectives against their formulas written out in NumPy, and at extreme logits."""

import numpy as np
import pytest

from minisn import Tensor, grad
from minisn.losses import OBJECTIVES, hinge_d, hinge_g, standard_d, standard_g, wasserstein_d

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
