"""Penalties: their values, and their gradients through real layers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisn import Tensor, grad, nn
from minisn.errors import ConfigError, ShapeError
from minisn.gradcheck import gradcheck
from minisn.models import cnn_discriminator
from minisn.regularizers import (
    METHODS,
    GradientPenalty,
    Orthonormal,
    SpectralPenalty,
    Watched,
    gradient_penalty,
    orthonormal_penalty,
)


def images(seed, n=3, dtype=np.float64, shape=(1, 8, 8)):
    return Tensor(np.random.default_rng(seed).normal(size=(n, *shape)).astype(dtype))


pytestmark = pytest.mark.usefixtures("plain_kernels")


def rng(seed=0):
    return np.random.default_rng(seed)


# --- the gradient penalty ---------------------------------------------------------------------


def test_penalty_of_a_linear_critic_is_known():
    w = np.random.default_rng(0).normal(size=64)
    linear = Tensor(w, requires_grad=True)

    def critic(x):
        return x.reshape(len(x), 64) @ linear

    penalty = gradient_penalty(critic, images(1), images(2), np.random.default_rng(3))
    norm = np.linalg.norm(w)
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-12)
    np.testing.assert_allclose(grad(penalty, linear).array, 2 * (norm - 1) * w / norm, rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 4, 4), (64,)])
def test_penalty_takes_the_norm_over_each_image_not_over_the_batch(shape):
    def critic(x):
        return (x * x).reshape(len(x), 64).sum(axis=1)

    real = images(1, shape=shape)
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


def test_penalty_through_convolutions_has_the_gradient_of_pytorch(torch):
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


@pytest.mark.parametrize("n", [1, 2])
def test_a_penalty_between_batches_of_two_sizes_is_refused(n):
    with pytest.raises(ShapeError, match=r"got shapes \[3, 1, 8, 8\] and \[\d, 1, 8, 8\]"):
        gradient_penalty(lambda x: x.sum((1, 2, 3)), images(1), images(2, n), rng())


def test_gradient_penalty_has_its_weight():
    D = nn.Sequential(nn.Reshape(-1), nn.Linear(64, 1, rng()).to(dtype="float64"))
    plain = gradient_penalty(D, images(1), images(2), rng(5)).item()
    assert GradientPenalty()(D, D, images(1), images(2), rng(5)).item() == 10 * plain
    assert GradientPenalty(0.5)(D, D, images(1), images(2), rng(5)).item() == 0.5 * plain


# --- orthonormal ------------------------------------------------------------------------------


def matrix(W, axis):
    return np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)


@given(
    st.sampled_from([(), (1, 1), (2, 3)]),
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from([0, 1]),
    st.integers(0, 1000),
)
def test_orthonormal_penalty_of_fat_thin_and_square_weights(kernel, first, second, axis, seed):
    W = rng(seed).normal(size=(first, second, *kernel))
    M = matrix(W, axis)
    direct = ((M.T @ M - np.eye(M.shape[1])) ** 2).sum()
    leaf = Tensor(W, requires_grad=True)
    penalty = orthonormal_penalty(leaf, axis)
    assert penalty.item() == pytest.approx(direct, rel=1e-11)
    slope = matrix(grad(penalty, leaf).array, axis)
    expected = 4 * M @ (M.T @ M - np.eye(M.shape[1]))
    np.testing.assert_allclose(slope, expected, atol=1e-11 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize(("shape", "least"), [((4, 6), 2), ((6, 4), 0), ((4, 4), 0)])
def test_orthonormal_penalty_is_least_at_orthonormal_weights(shape, least):
    W = Tensor(METHODS["orthonormal"].init(rng(), shape, 0), requires_grad=True)
    assert orthonormal_penalty(W).item() == pytest.approx(least, abs=1e-12)
    np.testing.assert_allclose(grad(orthonormal_penalty(W), W).array, np.zeros(shape), atol=1e-13)


def test_orthonormal_penalty_has_right_derivatives():
    assert gradcheck(
        lambda W: orthonormal_penalty(W, 1), [rng().normal(size=(3, 4, 2, 2))], order=2
    )


# --- over a network ---------------------------------------------------------------------------


def network():
    scheme = Watched()
    layers = (
        nn.Linear(4, 12, rng(1), reparametrize=scheme, init=normal),
        nn.Reshape(3, 2, 2),
        nn.ConvTranspose2d(3, 4, 2, rng(2), reparametrize=scheme, init=normal),
    )
    return nn.Sequential(*layers).to(dtype="float64")


def normal(draws, shape, axis):
    return draws.standard_normal(shape)


def of(penalty, D):
    return penalty(D, D, images(1), images(2), rng(5))


def test_orthonormal_adds_up_the_layers_along_their_output_axes():
    D = network()
    layers = D.layers[0], D.layers[2]
    one_by_one = [orthonormal_penalty(m.weight, m.axis).item() for m in layers]
    assert of(Orthonormal(0.3), D).item() == pytest.approx(0.3 * sum(one_by_one), rel=1e-12)


def test_spectral_penalty_adds_up_squared_norms_with_the_gradient_lambda_sigma_u_v():
    D = network()
    for _ in range(300):
        nn.power_step(D)
    layers = D.layers[0], D.layers[2]
    decomposed = [np.linalg.svd(matrix(m.weight.array, m.axis)) for m in layers]
    penalty = of(SpectralPenalty(0.7), D)
    assert penalty.item() == pytest.approx(0.35 * sum(s[0] ** 2 for _, s, _ in decomposed))
    for layer, (U, s, Vt) in zip(layers, decomposed, strict=True):
        slope = matrix(grad(penalty, layer.weight).array, layer.axis)
        np.testing.assert_allclose(slope, 0.7 * s[0] * np.outer(U[:, 0], Vt[0]), atol=1e-9)


def test_spectral_penalty_is_no_normalization():
    D = network()
    x = Tensor(rng(3).normal(size=(2, 4)))
    y = D.layers[0](x).array
    np.testing.assert_allclose(y, x.array @ D.layers[0].weight.array.T, rtol=1e-12)


def test_a_layer_without_vectors_is_named():
    with pytest.raises(ConfigError, match=r"layers\.0 keeps no u; give it Watched"):
        SpectralPenalty()(nn.Sequential(nn.Linear(2, 3, rng())))
