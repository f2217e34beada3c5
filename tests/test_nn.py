"""Layers: shapes, names, state, what moves and what never does."""

import numpy as np
import pytest

from minisn import Tensor, grad, nn, no_grad
from minisn.errors import CheckpointError, DTypeError, NonFiniteError, ShapeError
from minisn.regularizers import SpectralNorm
from minisn.tensor import sum

SN = SpectralNorm()


def rng():
    return np.random.default_rng(0)


def layers(scheme=SN):
    return {
        "dense": (nn.Linear(6, 4, rng(), reparametrize=scheme), (5, 6)),
        "conv": (nn.Conv2d(3, 4, 3, rng(), padding=1, reparametrize=scheme), (2, 3, 8, 8)),
        "deconv": (
            nn.ConvTranspose2d(3, 4, 4, rng(), stride=2, padding=1, reparametrize=scheme),
            (2, 3, 5, 5),
        ),
    }


def matrix(weight, axis):
    return np.moveaxis(np.asarray(weight), axis, 0).reshape(weight.shape[axis], -1)


@pytest.mark.parametrize("kind", ["dense", "conv", "deconv"])
def test_the_first_normalized_weight_has_norm_one_along_the_output_axis(kind):
    layer, _ = layers()[kind]
    W_bar = matrix(layer.effective_weight().array, layer.axis)
    assert W_bar.shape[0] == 4
    assert np.linalg.svd(W_bar, compute_uv=False)[0] == pytest.approx(1, abs=0.01)


def test_scale_sets_the_norm():
    layer = nn.Linear(6, 4, rng(), reparametrize=SpectralNorm(scale=1.7))
    norm = np.linalg.svd(layer.effective_weight().array, compute_uv=False)[0]
    assert norm == pytest.approx(1.7, rel=0.01)


@pytest.mark.parametrize("kind", ["dense", "conv", "deconv"])
def test_reading_forward_and_backward_move_no_state_and_a_power_step_does(kind):
    layer, shape = layers()[kind]
    x = Tensor(rng().normal(size=shape).astype(np.float32))
    before = {k: v.copy() for k, v in layer.state.items()}
    for module in (layer.train(), layer.eval()):
        grad(sum(module(x)), module.parameters())
        module.effective_weight()
    for name, value in layer.state.items():
        np.testing.assert_array_equal(value, before[name])
    layer.weight.assign(rng().normal(size=layer.weight.shape).astype(np.float32))
    nn.power_step(layer)
    assert any((layer.state[name] != before[name]).any() for name in before)


def test_state_is_not_among_the_parameters():
    layer, _ = layers()["conv"]
    assert list(layer.named_parameters()) == ["weight", "bias"]
    assert sorted(layer.state_dict()) == ["bias", "u", "v", "weight"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_power_step_names_the_layer_whose_weight_is_not_finite(bad):
    network = nn.Sequential(
        nn.Linear(3, 3, rng(), reparametrize=SN),
        nn.ReLU(),
        nn.Linear(3, 2, rng(), reparametrize=SN),
    )
    weight = network.layers[2].weight.numpy()
    weight[1, 1] = bad
    network.layers[2].weight.assign(weight)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(NonFiniteError, match=r"layers\.2.*NaN or an infinity"),
    ):
        nn.power_step(network)


def test_layers_equal_pytorchs(torch):
    F = torch.nn.functional
    for kind, f in (
        ("dense", F.linear),
        ("conv", lambda x, w, b: F.conv2d(x, w, b, 1, 1)),
        ("deconv", lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1)),
    ):
        layer, shape = layers(scheme=None)[kind]
        layer.bias.assign(rng().normal(size=layer.bias.shape).astype(np.float32))
        x = rng().normal(size=shape).astype(np.float32)
        expected = f(*(torch.tensor(a) for a in (x, layer.weight.numpy(), layer.bias.numpy())))
        # float32 sums of at most 27 products of order 0.02
        np.testing.assert_allclose(layer(Tensor(x)).array, expected.numpy(), atol=1e-6)


def test_batch_norm_equals_pytorchs_in_training_and_evaluation(torch):
    x = rng().normal(2, 3, size=(6, 4, 3, 3)).astype(np.float32)
    mine, theirs = nn.BatchNorm(4), torch.nn.BatchNorm2d(4)
    for _ in range(3):
        np.testing.assert_allclose(
            mine(Tensor(x)).array, theirs(torch.tensor(x)).detach().numpy(), atol=2e-6
        )
    n = x.size // 4  # PyTorch's running variance is the unbiased one
    spread = theirs.running_var.numpy() - 1 * 0.9**3
    np.testing.assert_allclose(mine.state["running_mean"], theirs.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(mine.state["running_var"] - 0.9**3, spread * (n - 1) / n, rtol=1e-5)
    theirs.running_var.copy_(torch.tensor(mine.state["running_var"]))
    np.testing.assert_allclose(
        mine.eval()(Tensor(x)).array, theirs.eval()(torch.tensor(x)).detach().numpy(), atol=2e-6
    )


def test_evaluation_moves_nothing():
    norm = nn.BatchNorm(3).eval()
    before = {k: v.copy() for k, v in norm.state.items()}
    norm(Tensor(rng().normal(5, 2, size=(4, 3)).astype(np.float32)))
    for name, value in norm.state.items():
        np.testing.assert_array_equal(value, before[name])


def per_class(seed=0):
    """Conditional batch normalization of 2 channels and 3 classes, no two rows alike."""
    norm = nn.ConditionalBatchNorm(2, 3)
    for p in (norm.gamma, norm.beta):
        p.assign(np.random.default_rng(seed).normal(size=(3, 2)).astype(np.float32))
    return norm


@pytest.mark.parametrize("shape", [(5, 2), (5, 2, 3, 4)])
def test_each_class_has_its_own_gain_and_shift_and_all_have_common_moments(shape):
    norm, plain = per_class(), nn.BatchNorm(2)
    x, labels = Tensor(rng().normal(2, 3, size=shape).astype(np.float32)), np.array([2, 0, 2, 1, 0])
    for mode in (norm.train, norm.eval):
        mode()
        plain.train(norm.training)
        y, bare = norm(x, Tensor(labels)).numpy(), plain(x).numpy()
        for n, c in enumerate(labels):
            for channel in range(2):
                expected = bare[n, channel] * norm.gamma.numpy()[c, channel]
                expected += norm.beta.numpy()[c, channel]
                np.testing.assert_allclose(y[n, channel], expected, rtol=1e-5, atol=1e-6)
        for name, value in plain.state.items():
            np.testing.assert_array_equal(norm.state[name], value)


def test_a_class_that_is_absent_gets_no_gradient_and_a_frequent_one_the_sum():
    norm, labels = per_class(), Tensor(np.array([2, 0, 2]))
    x = Tensor(rng().normal(size=(3, 2)).astype(np.float32))
    gamma, beta = grad(sum(norm(x, labels)), [norm.gamma, norm.beta])
    np.testing.assert_array_equal(beta.numpy(), [[1, 1], [0, 0], [2, 2]])
    bare = nn.BatchNorm(2)(x).numpy()
    np.testing.assert_allclose(gamma.numpy(), [bare[1], [0, 0], bare[0] + bare[2]], atol=1e-6)


def test_conditional_batch_norm_starts_as_batch_norm():
    x = Tensor(rng().normal(size=(4, 2, 3, 3)).astype(np.float32))
    labels = Tensor(np.array([0, 1, 2, 0]))
    np.testing.assert_array_equal(
        nn.ConditionalBatchNorm(2, 3)(x, labels).numpy(), nn.BatchNorm(2)(x).numpy()
    )


def test_embedding_looks_up_and_refuses_what_is_no_label():
    layer = nn.Embedding(5, 3, rng())
    labels = Tensor(np.array([4, 0, 4]))
    np.testing.assert_array_equal(layer(labels).array, layer.weight.array[[4, 0, 4]])
    g = grad(sum(layer(labels)), layer.weight)
    np.testing.assert_array_equal(g.array[:, 0], [1, 0, 0, 0, 2])
    with pytest.raises(ShapeError, match="0 to 4, got 5 to 5"):
        layer(Tensor(np.array([5])))
    with pytest.raises(DTypeError, match="integers"):
        layer(Tensor(np.array([1.0])))
    normalized = nn.Embedding(5, 3, rng(), reparametrize=SN)
    norm = np.linalg.svd(normalized.effective_weight().array, compute_uv=False)[0]
    assert norm == pytest.approx(1, abs=0.01)


def network(width=4):
    conv = nn.Conv2d(1, width, 3, rng(), reparametrize=SN)
    head = nn.Linear(width * 4, 1, rng())
    return nn.Sequential(conv, nn.BatchNorm(width), nn.LeakyReLU(), nn.Reshape(-1), head)


def test_state_dict_round_trip_gives_the_same_function():
    a, b = network(), network()
    x = Tensor(rng().normal(size=(3, 1, 4, 4)).astype(np.float32))
    a.layers[0].weight.assign(a.layers[0].weight.array * np.float32(3))
    a(x)  # moves the running moments
    b.load_state_dict(a.state_dict())
    with no_grad():
        np.testing.assert_array_equal(a.eval()(x).array, b.eval()(x).array)


def test_arrays_of_another_network_are_refused_by_name():
    arrays = network().state_dict()
    with pytest.raises(CheckpointError, match=r"layers\.0\.\w+ has shape .*same architecture"):
        network(width=5).load_state_dict(arrays)
    with pytest.raises(CheckpointError, match=r"missing layers\.4\.bias"):
        network().load_state_dict({k: v for k, v in arrays.items() if k != "layers.4.bias"})
    with pytest.raises(CheckpointError, match="unknown extra"):
        network().load_state_dict({**arrays, "extra": np.zeros(1)})


def test_moving_to_double_precision_moves_parameters_and_state():
    net = network().to(dtype="float64")
    assert {a.dtype for a in net.state_dict().values()} == {np.dtype(np.float64)}
    assert net(Tensor(np.ones((2, 1, 4, 4)))).dtype == np.float64


def test_a_layer_without_size_is_refused():
    with pytest.raises(ShapeError, match="at least 1"):
        nn.Linear(0, 3, rng())
