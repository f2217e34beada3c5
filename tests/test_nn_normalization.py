"""Normalization without gain against PyTorch's, and a factor that layers share."""

import numpy as np
import pytest

from minisn import Tensor, grad, nn
from minisn.gradcheck import gradcheck


def rng(seed=0):
    return np.random.default_rng(seed)


SHAPES = {"images": (6, 4, 3, 5), "vectors": (6, 4)}


def oracle(torch, kind, x, gain, shift):
    """PyTorch's layer on the same numbers: the result, and its gradients under a random weight."""
    x, shift = (torch.tensor(a, requires_grad=True) for a in (x, shift))
    gain = None if gain is None else torch.tensor(gain, requires_grad=True)
    if kind is nn.LayerNorm:
        y = torch.nn.functional.layer_norm(x, x.shape[1:])
        along = (1, -1) + (1,) * (x.ndim - 2)
        y = (y if gain is None else y * gain.reshape(along)) + shift.reshape(along)
    else:
        y = torch.nn.functional.batch_norm(x, None, None, gain, shift, training=True)
    leaves = [x, *([] if gain is None else [gain]), shift]
    upstream = torch.tensor(rng(9).normal(size=x.shape))
    return y, torch.autograd.grad(y, leaves, upstream)


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.BatchNorm])
def test_values_and_gradients_are_pytorchs(torch, kind, shape, gain):
    x = rng(1).normal(2, 3, size=shape)
    layer = kind(4, gain=gain).to(dtype="float64")
    for k, p in enumerate(layer.parameters()):
        p.assign(rng(2 + k).normal(size=4))
    names = list(layer.named_parameters())
    assert names == (["gamma", "beta"] if gain else ["beta"])
    gamma = layer.gamma.numpy() if gain else None
    y, expected = oracle(torch, kind, x, gamma, layer.beta.numpy())
    leaf = Tensor(x, requires_grad=True)
    mine = layer(leaf)
    np.testing.assert_allclose(mine.array, y.detach().numpy(), atol=1e-12)
    for g, e in zip(
        grad(mine, [leaf, *layer.parameters()], rng(9).normal(size=shape)), expected, strict=True
    ):
        np.testing.assert_allclose(g.array, e.numpy(), atol=1e-11)


def test_layer_normalization_keeps_items_apart_and_has_no_state():
    layer, x = nn.LayerNorm(4), rng(1).normal(size=(3, 4, 2, 2)).astype(np.float32)
    together = layer(Tensor(x)).array
    for n in range(3):
        np.testing.assert_array_equal(layer(Tensor(x[n : n + 1])).array[0], together[n])
    np.testing.assert_array_equal(layer.eval()(Tensor(x)).array, together)
    assert layer.state == {} and list(layer.state_dict()) == ["gamma", "beta"]


def test_layer_normalization_has_right_second_derivatives():
    layer = nn.LayerNorm(3, gain=False).to(dtype="float64")
    assert gradcheck(layer, [rng(1).normal(size=(2, 3, 2, 2))], order=2)


# --- a learned factor -------------------------------------------------------------------------


def scaled(shared):
    gamma = Tensor(np.float32(2.0), requires_grad=True) if shared else None
    return nn.Sequential(
        nn.Linear(4, 3, rng(1)),
        nn.Scale(gamma),
        nn.LeakyReLU(),
        nn.Linear(3, 1, rng(2)),
        nn.Scale(gamma),
    )


def test_scale_multiplies_weight_and_bias_alike():
    net, x = scaled(False), Tensor(rng(3).normal(size=(5, 4)).astype(np.float32))
    first, scale = net.layers[0], net.layers[1]
    assert scale.gamma.item() == 1
    first.bias.assign(np.ones(3, np.float32))
    scale.gamma.assign(np.asarray(3, np.float32))
    W = 3 * first.weight.array
    np.testing.assert_allclose(scale(first(x)).array, x.array @ W.T + 3, rtol=1e-6)


def test_scale_of_each_layer_is_a_parameter_of_its_own():
    names = [name for name in scaled(False).named_parameters() if "gamma" in name]
    assert names == ["layers.1.gamma", "layers.4.gamma"]


def test_a_shared_scale_is_one_parameter_saved_once_and_loaded_for_all():
    net = scaled(True)
    gamma = net.layers[1].gamma
    assert [n for n in net.named_parameters() if "gamma" in n] == ["layers.1.gamma"]
    assert sum(p is gamma for p in net.parameters()) == 1
    saved = net.state_dict()
    assert [n for n in saved if "gamma" in n] == ["layers.1.gamma"]
    other = scaled(True)
    other.layers[1].gamma.assign(np.asarray(7, np.float32))
    assert other.layers[4].gamma.item() == 7
    other.load_state_dict(saved)
    assert other.layers[1].gamma is other.layers[4].gamma
    assert other.layers[4].gamma.item() == 2
    x = Tensor(rng(3).normal(size=(5, 4)).astype(np.float32))
    np.testing.assert_array_equal(net(x).array, other(x).array)


def test_a_shared_scale_gets_the_gradient_of_every_use_and_moves_once():
    net = scaled(True).to(dtype="float64")
    x = rng(3).normal(size=(5, 4))

    def output(gamma):
        net.layers[1].gamma.assign(np.asarray(gamma))
        return net(Tensor(x)).sum()

    h = 1e-6
    difference = (output(2 + h).item() - output(2 - h).item()) / (2 * h)
    g = grad(output(2.0), net.layers[4].gamma)
    assert g.item() == pytest.approx(difference, rel=1e-7)
    net.to(dtype="float32")
    assert net.layers[1].gamma is net.layers[4].gamma and net.layers[4].gamma.dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_batch_without_finite_moments_leaves_the_running_ones_as_they_are(bad):
    norm = nn.BatchNorm(2)
    norm(np.float32([[1, 2], [3, 4]]))
    before = {name: a.copy() for name, a in norm.state.items()}
    with np.errstate(all="ignore"):
        norm(np.float32([[bad, 2], [-bad, 4]]))
    for name, array in norm.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_running_moments_keep_their_type():
    norm = nn.BatchNorm(2)
    norm(np.ones((3, 2)))
    assert {a.dtype.name for a in norm.state.values()} == {"float32"}


@pytest.mark.parametrize("items", [4, 4000])
def test_the_type_of_the_result_does_not_depend_on_the_number_of_entries(items):
    layer = nn.BatchNorm(8).to(dtype="float64")
    assert layer(Tensor(np.ones((items, 8, 2, 2), np.float32))).dtype == np.float64
