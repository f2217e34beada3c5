"""The gradient penalty through real layers, and the spectral norm as a scheme."""

import numpy as np
import pytest

from minisn import Tensor, grad, nn
from minisn.models import cnn_discriminator
from minisn.regularizers import METHODS, SpectralNorm, gradient_penalty


def images(seed, n=3, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).normal(size=(n, 1, 8, 8)).astype(dtype))


def test_penalty_of_a_linear_critic_is_known():
    w = np.random.default_rng(0).normal(size=64)
    linear = Tensor(w, requires_grad=True)

    def critic(x):
        return x.reshape(len(x), 64) @ linear

    penalty = gradient_penalty(critic, images(1), images(2), np.random.default_rng(3))
    norm = np.linalg.norm(w)
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-12)
    np.testing.assert_allclose(grad(penalty, linear).array, 2 * (norm - 1) * w / norm, rtol=1e-12)


def test_penalty_takes_the_norm_over_each_image_not_over_the_batch():
    def critic(x):
        return (x * x).reshape(len(x), 64).sum(axis=1)

    real = images(1)
    penalty = gradient_penalty(critic, real, real, np.random.default_rng(0))
    norms = 2 * np.linalg.norm(real.array.reshape(3, -1), axis=1)
    assert penalty.item() == pytest.approx(((norms - 1) ** 2).mean(), rel=1e-12)


def test_penalty_between_looks_only_between_the_images():
    seen = []

    def critic(x):
        seen.append(x.numpy())
        return x.reshape(len(x), 64).sum(axis=1)

    real, fake = images(1), images(2)
    gradient_penalty(critic, real, fake, np.random.default_rng(0))
    epsilon = (seen[0] - fake.array) / (real.array - fake.array)
    per_image = epsilon.reshape(3, -1)
    np.testing.assert_allclose(per_image, per_image[:, :1] * np.ones((1, 64)), rtol=1e-6)
    assert (per_image > 0).all() and (per_image < 1).all()
    assert len(np.unique(per_image[:, 0].round(6))) == 3


def test_penalty_through_convolutions_has_the_gradient_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    D = cnn_discriminator(8, 1, np.random.default_rng(0), width=2, regularizer=METHODS["none"])
    for layer in D.layers[::2][:7]:
        layer.weight.assign(layer.weight.array * np.float32(15))
    D.to(dtype="float64")
    penalty = gradient_penalty(D, images(1), images(2), np.random.default_rng(5))
    mine = grad(penalty, D.parameters())

    theirs = [torch.tensor(p.numpy(), requires_grad=True) for p in D.parameters()]
    epsilon = torch.tensor(np.random.default_rng(5).random((3, 1, 1, 1)))
    x = epsilon * torch.tensor(images(1).numpy()) + (1 - epsilon) * torch.tensor(images(2).numpy())
    x.requires_grad_(True)
    y = x
    for step in range(7):
        y = torch.nn.functional.conv2d(y, theirs[2 * step], theirs[2 * step + 1], 1 + step % 2, 1)
        y = torch.nn.functional.leaky_relu(y, 0.1)
    y = y.flatten(1) @ theirs[14].T + theirs[15]
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    expected = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-12)
    oracle = torch.autograd.grad(expected, theirs, allow_unused=True)
    scale = max(g.abs().max().item() for g in oracle if g is not None)
    for g, t in zip(mine, oracle, strict=True):
        expected_g = np.zeros(g.shape) if t is None else t.numpy()
        np.testing.assert_allclose(g.array, expected_g, atol=1e-12 * scale)


def test_penalty_of_a_flat_critic_is_one_and_has_no_nan():
    w = Tensor(np.zeros(64), requires_grad=True)
    penalty = gradient_penalty(
        lambda x: x.reshape(len(x), 64) @ w, images(1), images(2), np.random.default_rng(0)
    )
    assert penalty.item() == 1
    np.testing.assert_array_equal(grad(penalty, w).array, np.zeros(64))


def test_power_steps_follow_a_moving_weight():
    rng = np.random.default_rng(0)
    layer = nn.Linear(30, 20, rng, reparametrize=SpectralNorm())
    for _ in range(200):
        step = 1e-3 * rng.normal(size=layer.weight.shape)
        layer.weight.assign((layer.weight.array + step).astype(np.float32))
        nn.power_step(layer)
    norm = np.linalg.svd(layer.effective_weight().array, compute_uv=False)[0]
    assert 1 - 1e-6 <= norm <= 1.02
