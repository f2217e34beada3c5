"""Certified radii: exact where they can be, never beaten by an attack, and what they are worth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisn import Tensor, data, lipschitz, nn, spectral
from minisn.errors import ConfigError, NonFiniteError, ShapeError
from minisn.init import orthogonal
from minisn.regularizers import ConvSpectralNorm, SingularValues
from minisn.robustness import (
    accuracy,
    attack,
    certified_accuracy,
    certified_radius,
    classifier,
    conv_norm_bound,
    network_bound,
    noise_accuracy,
    train_classifier,
)


def rng(seed=0):
    return np.random.default_rng(seed)


# -- the norm of a convolution ---------------------------------------------------------------


@given(st.data())
def test_no_convolution_has_a_norm_above_the_bound(draw):
    number = lambda low, high: draw.draw(st.integers(low, high))  # noqa: E731
    kernel, stride, padding = ((number(*ends), number(*ends)) for ends in ((1, 4), (1, 3), (0, 3)))
    size = tuple(max(1, k - 2 * p) + number(0, 5) for k, p in zip(kernel, padding, strict=True))
    w = rng(number(0, 99)).normal(size=(number(1, 3), number(1, 3), *kernel))
    exact = lipschitz.conv_singular_values(w, size, stride, padding)[0]
    bound = conv_norm_bound(w, size, stride, padding)
    assert bound >= exact * (1 - 1e-13)
    if kernel == stride and padding == (0, 0):  # patches that do not overlap: every one by itself
        matrix = spectral.norm_bound(w)
        assert bound == pytest.approx(matrix, rel=1e-10)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(28, 3, 1), (28, 4, 2), (14, 4, 2)])
def test_the_border_is_all_that_the_bound_gives_away(size, kernel, stride):
    w = rng().normal(size=(8, 4, kernel, kernel))
    exact = lipschitz.conv_operator_norm(w, size, stride, 1)
    assert 1 <= conv_norm_bound(w, size, stride, 1) / exact < 1.05


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_every_tap_of_a_kernel_as_large_as_the_image_counts(stride):
    for tap in np.ndindex(3, 3):
        w = np.zeros((1, 1, 3, 3))
        w[0, 0, *tap] = 2.0
        assert conv_norm_bound(w, 3, stride) == pytest.approx(2, rel=1e-12)


def test_a_convolution_around_the_torus_has_exactly_the_norm_of_the_bound():
    w, n = rng().normal(size=(2, 3, 3, 3)), 5
    matrix = np.zeros((2, n, n, 3, n, n))
    for i, j, k, l in np.ndindex(n, n, 3, 3):
        matrix[:, i, j, :, (i + k) % n, (j + l) % n] += w[:, :, k, l]
    norm = np.linalg.norm(matrix.reshape(2 * n * n, -1), 2)
    assert conv_norm_bound(w, n) == pytest.approx(norm, rel=1e-12)


def test_convolutions_without_a_norm_are_refused():
    with pytest.raises(ShapeError, match="larger than the padded input"):
        conv_norm_bound(np.ones((1, 1, 5, 5)), 3)
    with pytest.raises(NonFiniteError, match="conv_norm_bound"):
        conv_norm_bound(np.full((1, 1, 1, 1), np.inf), 3)


# -- radii that are exact ----------------------------------------------------------------------


def linear(shape, classes, seed=0):
    """A linear classifier with a bias, in double precision."""
    network = nn.Sequential(nn.Reshape(-1), nn.Linear(math.prod(shape), classes, rng(seed)))
    network.to(dtype="float64").layers[1].bias.assign(0.1 * rng(seed).normal(size=classes))
    return network


def test_a_linear_classifiers_radius_is_the_distance_to_the_nearest_boundary():
    network = linear((1, 3, 3), 5)
    x = rng(1).normal(size=(20, 1, 3, 3))
    f = network(Tensor(x)).array
    labels = f.argmax(axis=1)
    r = certified_radius(network, x, labels)
    W = network.layers[1].weight.array
    for i, y in enumerate(labels):
        normals = {j: W[y] - W[j] for j in range(5) if j != y}
        far = {j: (f[i, y] - f[i, j]) / np.linalg.norm(v) for j, v in normals.items()}
        nearest = min(far, key=far.get)
        assert r[i] == pytest.approx(far[nearest], rel=1e-12)
        step = (normals[nearest] / np.linalg.norm(normals[nearest])).reshape(1, 1, 3, 3)
        for share, crossed in ((0.999, False), (1.001, True)):
            there = network(Tensor(x[i : i + 1] - share * r[i] * step)).array.argmax()
            assert (there != y) == crossed


def test_a_wrong_label_has_a_negative_radius():
    network = linear((1, 3, 3), 5)
    x = rng(1).normal(size=(50, 1, 3, 3))
    labels = rng(2).integers(5, size=50)
    right = network(Tensor(x)).array.argmax(axis=1) == labels
    assert 0 < right.sum() < 50
    np.testing.assert_array_equal(certified_radius(network, x, labels) > 0, right)


@pytest.mark.parametrize("labels", [[1], [1, 0], [[1], [0], [2]], 1])
def test_a_radius_takes_one_label_for_each_image(labels):
    x = rng(1).normal(size=(3, 1, 3, 3))
    with pytest.raises(ShapeError, match="expected a label for each of 3 images"):
        certified_radius(linear((1, 3, 3), 5), x, np.array(labels))


def test_classes_that_differ_by_the_bias_alone_are_never_confused():
    network = linear((1, 2, 2), 3)
    network.layers[1].weight.assign(np.zeros((3, 4)))
    network.layers[1].bias.assign(np.array([0.0, 2.0, 1.0]))
    x = rng().normal(size=(1, 1, 2, 2))
    assert certified_radius(network, x, np.array([1])) > 1e100
    assert certified_radius(network, x, np.array([2])) < -1e100


def tight(classes=2):
    """Scaled isometries and ReLUs that stay open: nothing is lost between the layers' norms.

    1x1 and 2x2 convolutions, a dense layer, each 1.3 times as long as it came.
    """
    layers = [
        nn.Conv2d(3, 3, 1, rng(1), init=orthogonal), nn.ReLU(),
        nn.Conv2d(3, 12, 2, rng(2), stride=2, init=orthogonal), nn.LeakyReLU(0.1),
        nn.Reshape(-1), nn.Linear(48, 48, rng(3), init=orthogonal), nn.ReLU(),
        nn.Linear(48, classes, rng(4)),
    ]  # fmt: skip
    network = nn.Sequential(*layers).to(dtype="float64")
    x = Tensor(np.zeros((1, 3, 4, 4)))
    for layer in network.layers:  # a black image gives every ReLU 60, and equal logits
        if isinstance(layer, nn.Weighted):
            last = layer is network.layers[-1]
            layer.weight.assign((1.0 if last else 1.3) * layer.weight.numpy())
            given = layer(x).array.reshape(len(layer.bias), -1)[:, 0]
            layer.bias.assign((0.0 if last else 60.0) - given)
        x = layer(x)
    return network


def test_the_bound_of_a_network_multiplies_proved_norms():
    bound = network_bound(tight(), (3, 4, 4))
    factors = [1.3, 1, 1.3, 1, 1, 1.3, 1, np.linalg.norm(tight().layers[-1].weight.array, 2)]
    np.testing.assert_allclose([f for _, f in bound.factors], factors, rtol=1e-6)
    assert [name for name, _ in bound.factors] == [f"layers.{i}" for i in range(8)]


def test_the_attack_wins_just_outside_the_radius_of_a_network_that_attains_its_bound():
    network = tight()
    x = rng(5).normal(size=(12, 3, 4, 4))
    labels = network(Tensor(x)).array.argmax(axis=1)
    r = certified_radius(network, x, labels)
    assert len(set(labels)) == 2
    assert (np.sqrt((x * x).sum(axis=(1, 2, 3))) + 1.01 * r).max() * 1.3**3 < 60  # ReLUs are open
    for share, left in ((0.99, 1.0), (1.01, 0.0)):
        found = attack(network, x, labels, share * r, rng(), steps=20, restarts=2)
        lengths = np.sqrt(((found - x) ** 2).sum(axis=(1, 2, 3)))
        assert (lengths <= share * r * (1 + 1e-12)).all()
        assert accuracy(network, found, labels) == left


@given(st.integers(0, 1000))
def test_the_radius_is_never_less_than_the_usual_one(seed):
    network = nn.Sequential(
        nn.Reshape(-1), nn.Linear(4, 6, rng(seed)), nn.Tanh(), nn.Linear(6, 4, rng(seed + 1))
    )
    x = rng(seed).normal(size=(5, 1, 2, 2)).astype(np.float32)
    f = network(Tensor(x)).numpy().astype(np.float64)
    labels = f.argmax(axis=1)
    ordered = np.sort(f, axis=1)
    usual = (ordered[:, -1] - ordered[:, -2]) / (
        math.sqrt(2) * network_bound(network, (1, 2, 2)).value
    )
    assert (certified_radius(network, x, labels) >= usual * (1 - 1e-12)).all()


def test_networks_that_cannot_be_certified_are_refused():
    x, y = np.zeros((1, 3, 4, 4), np.float32), np.zeros(1, int)
    batch = nn.Sequential(nn.BatchNorm(3), nn.Reshape(-1), nn.Linear(48, 2, rng()))
    with pytest.raises(ConfigError, match=r"layers\.0 is a BatchNorm, .* not known"):
        certified_radius(batch, x, y)
    with pytest.raises(ConfigError, match="last layer must be Linear, got Tanh"):
        certified_radius(nn.Sequential(nn.Linear(3, 2, rng()), nn.Tanh()), x, y)


def test_an_activation_steeper_than_one_counts():
    network = nn.Sequential(
        nn.Reshape(-1), nn.Linear(4, 4, rng()), nn.LeakyReLU(-2.0), nn.Linear(4, 2, rng())
    )
    assert dict(network_bound(network, (1, 2, 2)).factors)["layers.2"] == 2


# -- digits ---------------------------------------------------------------------------------------

TRAINING = 8000


@pytest.fixture(scope="module")
def digits():
    """Digits of the sample, pixels in [0, 1], and their labels."""
    mnist = data.load("mnist-10k")
    return mnist.images.astype(np.float32) / 255, mnist.labels


def trained(digits, scheme):
    images, labels = digits
    network = classifier((1, 28, 28), 10, rng(), reparametrize=scheme)
    losses = train_classifier(network, images[:TRAINING], labels[:TRAINING], rng(), steps=200)
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) / 2
    return network


@pytest.fixture(scope="module")
def normalized(digits):
    """A classifier whose Lipschitz constant is held near 1.5^3."""
    return trained(digits, ConvSpectralNorm(1.5))


@pytest.fixture(scope="module")
def plain(digits):
    """The same without normalization."""
    return trained(digits, None)


@pytest.fixture(scope="module")
def held_out(digits):
    """Digits that no network was trained on."""
    images, labels = digits
    return images[TRAINING:], labels[TRAINING:]


@pytest.mark.slow
def test_digits_are_learned_with_a_bounded_constant(normalized, plain, held_out):
    assert accuracy(normalized, *held_out) > 0.85
    assert accuracy(plain, *held_out) > 0.88
    L, without = (network_bound(n, (1, 28, 28)).value for n in (normalized, plain))
    assert 1.5**3 <= L < 1.3 * 1.5**3
    assert without > 3 * L


@pytest.mark.slow
@pytest.mark.parametrize("which", ["normalized", "plain"])
def test_no_attack_succeeds_within_the_radius_and_it_does_beyond(which, request, held_out):
    network = request.getfixturevalue(which)
    images, labels = held_out[0][:100], held_out[1][:100]
    r = certified_radius(network, images, labels)
    assert ((r > 0) == (network(Tensor(images)).array.argmax(axis=1) == labels)).all()
    images, labels, r = images[r > 0], labels[r > 0], r[r > 0]
    for times, left in ((1, 1.0), (10, 0.0)):
        found = attack(network, images, labels, times * r, rng(), steps=20, restarts=2)
        assert accuracy(network, found, labels) == left


@pytest.mark.slow
def test_a_constant_that_is_too_small_is_refuted(normalized, held_out):
    """As if two of three layers had been forgotten, each of norm 1.5."""
    images, labels = held_out[0][:100], held_out[1][:100]
    r = certified_radius(normalized, images, labels) * 1.5**2
    images, labels, r = images[r > 0], labels[r > 0], r[r > 0]
    found = attack(normalized, images, labels, r, rng(), steps=20, restarts=2)
    assert accuracy(normalized, found, labels) < 0.5


@pytest.mark.slow
def test_normalization_certifies_more_and_keeps_more(normalized, plain, held_out):
    images, labels = held_out[0][:100], held_out[1][:100]
    radii = (0.0, 0.3, 0.6, 1.5)
    curves = [
        certified_accuracy(n, images, labels, radii, rng(), 15, 1) for n in (normalized, plain)
    ]
    for curve, network in zip(curves, (normalized, plain), strict=True):
        assert curve.radius == radii
        assert all(a >= b for a, b in zip(curve.attacked, curve.certified, strict=True))
        assert curve.certified[0] == curve.attacked[0] == accuracy(network, images, labels)
        assert list(curve.certified) == sorted(curve.certified, reverse=True)
    assert curves[0].certified[1] > curves[1].certified[1] + 0.4
    assert curves[0].attacked[3] > curves[1].attacked[3]


@pytest.mark.slow
def test_normalization_withstands_more_noise(normalized, plain, held_out):
    found, without = (noise_accuracy(n, *held_out, (0.0, 0.8), rng()) for n in (normalized, plain))
    assert found.sigma == (0.0, 0.8)
    assert found.accuracy[0] == accuracy(normalized, *held_out)
    assert found.accuracy[1] > without.accuracy[1] + 0.05
    assert 0.2 < found.accuracy[1] < found.accuracy[0]


def test_noise_of_known_strength_errs_as_often_as_the_normal_distribution_says():
    network = linear((1, 3, 3), 2)
    W = network.layers[1].weight.array
    network.layers[1].bias.assign(np.zeros(2))
    n = (W[0] - W[1]) / np.linalg.norm(W[0] - W[1])
    x = np.broadcast_to(0.5 * n.reshape(1, 1, 3, 3), (20_000, 1, 3, 3))
    labels = np.zeros(len(x), int)
    (share,) = noise_accuracy(network, x, labels, (0.7,), rng()).accuracy
    expected = 0.5 * (1 + math.erf(0.5 / 0.7 / math.sqrt(2)))
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / len(x)))


def test_training_brings_factors_back_to_where_they_must_lie(digits):
    network = classifier((1, 28, 28), 10, rng(), width=2, reparametrize=SingularValues())
    train_classifier(network, *digits, rng(), steps=3)
    U = network.layers[5].U.array
    np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-5)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_radius_of_a_class_that_does_not_exist_is_refused(label):
    network = nn.Sequential(nn.Linear(4, 3, 0))
    with pytest.raises(ShapeError, match="labels must be 0 to 2"):
        certified_radius(network, np.ones((2, 4), np.float32), np.array([0, label]))


# -- what has no answer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "settings", "said"),
    [
        ([7, -1, 0], {}, "labels must be 0 to 2, got -1 to 7"),
        ([[0], [1], [2]], {}, r"3 images need labels \[N\]"),
        ([0, 1, 2], {"steps": 0}, "steps: expected a whole number"),
        ([0, 1, 2], {"restarts": 0}, "restarts: expected a whole number"),
        ([0, 1, 2], {"radius": -0.1}, "radii of at least 0"),
    ],
)
def test_an_attack_refuses_what_has_no_answer(labels, settings, said):
    network = nn.Sequential(nn.Linear(4, 3, rng()))
    images = rng().normal(size=(3, 4)).astype(np.float32)
    with pytest.raises((ShapeError, ConfigError), match=said):
        attack(network, images, np.array(labels), **{"radius": 0.1, "rng": rng(), **settings})


def test_bounds_refuse_what_has_none():
    for constant in (math.nan, math.inf):
        with pytest.raises(ConfigError, match="a finite constant"):
            lipschitz.lipschitz_bound([("a", 1.0, constant)])
    with pytest.raises(ShapeError, match="4 axes"):
        conv_norm_bound(np.ones((3, 3)), 8)
    with pytest.raises(ShapeError, match="no points"):
        lipschitz.lipschitz_lower_bound(lambda x: x.sum(axis=1), np.zeros((0, 2)))
    assert network_bound(nn.Sequential(nn.ReLU()), (1, 4, 4)).value == 1
    assert lipschitz.conv_operator_norm(np.ones((70_000, 1, 1, 1)), 1) == pytest.approx(70_000**0.5)
