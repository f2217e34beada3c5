"""How modules are put together: what is a part, what is refused, what else may be given."""

import copy
import itertools
import types
from collections import UserList, deque
from dataclasses import make_dataclass

import numpy as np
import pytest

from minisn import Tensor, grad, nn, ops
from minisn.errors import (
    CheckpointError,
    ConfigError,
    DTypeError,
    GraphError,
    NonFiniteError,
    ShapeError,
)
from minisn.optim import SGD, Adam
from minisn.regularizers import Orthonormal, SpectralNorm


def linear(**settings):
    return nn.Linear(2, 2, 0, **settings)


class Own(nn.Module):
    """A module that holds whatever it is given."""

    def __init__(self, **held):
        super().__init__()
        vars(self).update(held)


def names(module):
    return [name for name, _ in module.named_modules()]


# -- parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (lambda a, b: (a, b), ["part.0", "part.1"]),
        (lambda a, b: {"x": a, "y": b}, ["part.x", "part.y"]),
        (lambda a, b: [[a], [[b]]], ["part.0.0", "part.1.0.0"]),
        (lambda a, b: [{"x": (a,)}, None, 3, b], ["part.0.x.0", "part.3"]),
        (lambda a, b: {"x": [a, b]}, ["part.x.0", "part.x.1"]),
        (lambda a, b: {1: a, (0,): b}, ["part.1", "part.(0,)"]),
    ],
)
def test_parts_are_found_wherever_they_are_held(held, found):
    a, b = linear(), linear()
    module = Own(part=held(a, b))
    assert names(module) == ["", *found]
    assert list(module.named_parameters()) == [
        f"{n}.{p}" for n in found for p in ("weight", "bias")
    ]
    assert set(module.state_dict()) == set(module.named_parameters())
    assert not module.eval().training
    assert not a.training
    module.to(dtype="float64")
    assert b.weight.dtype == np.float64


def test_parameters_are_found_in_containers_too():
    one, two = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    module = Own(gains=[one, {"x": two}], again=one, plain=(Tensor(np.ones(2)), one * 2.0))
    assert list(module.named_parameters()) == ["gains.0", "gains.1.x"]


def test_what_has_no_order_is_refused():
    for held in ({linear()}, frozenset([Tensor(1.0)]), [{linear()}]):
        with pytest.raises(DTypeError, match=r"part.* is a set, whose parts have no order"):
            Own(part=held).parameters()
    assert names(Own(part={1, 2})) == [""]


def test_a_part_that_is_used_twice_is_one_part():
    layer = nn.Linear(4, 4, 0, reparametrize=SpectralNorm())
    twin = copy.deepcopy(layer)
    once, twice = nn.Sequential(layer), nn.Sequential(twin, nn.ReLU(), twin)
    nn.power_step(once)
    nn.power_step(twice)
    np.testing.assert_array_equal(layer.state["u"], twin.state["u"])
    assert Orthonormal()(once, *[None] * 4).item() == Orthonormal()(twice, *[None] * 4).item()
    assert list(twice.state_dict()) == list(once.state_dict())
    twice.load_state_dict(once.state_dict())
    inner = nn.Sequential(twin)
    assert names(nn.Sequential(inner, Own(x=[inner, twin]))) == [
        "",
        "layers.0",
        "layers.0.layers.0",
        "layers.1",
    ]


def test_a_module_that_holds_itself_or_its_parent():
    module = nn.Sequential(linear())
    module.layers.append(module)
    module.up = held = [module]
    held.append(held)
    assert names(module) == ["", "layers.0"]
    assert "layers.1: Sequential(...)" in repr(module) or "layers.0: Linear" in repr(module)
    assert len(module.parameters()) == 2


def test_a_class_that_forgets_its_super_works():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = linear()

        def forward(self, x):
            return self.layer(x)

    module = Forgetful()
    assert set(module.state_dict()) == {"layer.weight", "layer.bias"}
    assert module.eval()(np.ones((1, 2))).shape == (1, 2)
    assert copy.deepcopy(module).training is False


def test_networks_print_and_index():
    D = nn.Sequential(nn.Conv2d(1, 2, 3, 0, reparametrize=SpectralNorm()), nn.ReLU(), linear())
    assert (len(D), D[0], D[-1], list(D)[1]) == (3, D.layers[0], D.layers[2], D.layers[1])
    assert len(D[:2]) == 2
    assert bool(nn.Sequential())
    assert repr(D).splitlines() == [
        "Sequential()",
        "  layers.0: Conv2d(weight=[2, 1, 3, 3], bias=[2], reparametrize=SpectralNorm, stride=1, "
        "padding=0)",
        "  layers.1: ReLU()",
        "  layers.2: Linear(weight=[2, 2], bias=[2])",
    ]
    nested = repr(nn.Sequential(Own(x=D))).splitlines()
    assert nested[1:3] == ["  layers.0: Own()", "    x: Sequential()"]
    assert len(nn.Sequential([nn.ReLU(), linear()])) == 2
    with pytest.raises(DTypeError, match="Sequential: expected modules, got <class"):
        nn.Sequential(nn.ReLU)


# -- in other words --------------------------------------------------------------------------------


def test_seeds_names_classes_and_pairs_are_taken():
    a, b = nn.Linear(3, 4, 7), nn.Linear(3, 4, np.random.default_rng(7))
    np.testing.assert_array_equal(a.weight.numpy(), b.weight.numpy())
    same = nn.Linear(3, 4, np.int64(7), reparametrize=SpectralNorm, init="lecun")
    assert isinstance(same.reparametrize, SpectralNorm)
    assert nn.Conv2d(1, 2, (3, 5), 0, stride=(1, 2), padding=(1, 2))(
        np.ones((1, 1, 6, 6), np.float32)
    ).shape == (1, 2, 6, 3)
    assert nn.ConvTranspose2d(2, 1, (4, 2), 0, stride=2)(
        np.ones((1, 2, 3, 3), np.float32)
    ).shape == (1, 1, 8, 6)
    gates = nn.GRU(3, 4, 5).recurrent
    assert not np.array_equal(gates[0].weight.numpy(), gates[1].weight.numpy())
    rows = nn.Embedding(3, 2, 0)
    for labels in ([0, 2], np.array([0, 2]), Tensor([0, 2])):
        np.testing.assert_array_equal(rows(labels).numpy(), rows.weight.numpy()[[0, 2]])
    assert nn.Conv2d(1, 2, np.array([3, 5]), 0).weight.shape == (2, 1, 3, 5)
    assert nn.Conv2d(1, 2, np.int64(3), 0).weight.shape == (2, 1, 3, 3)


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm(2), nn.LayerNorm(2), nn.GRU(2, 3, 0), nn.Reshape(1, 2), nn.Linear(2, 1, 0)],
)
def test_lists_are_taken_as_arrays_are(layer):
    x = np.arange(12.0).reshape(3, 2, 2)[:, : 1 + isinstance(layer, nn.GRU | nn.BatchNorm)]
    if isinstance(layer, nn.LayerNorm | nn.Linear):
        x = x[:, 0]
    np.testing.assert_array_equal(layer(x.tolist()).numpy(), layer(x).numpy())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Linear(2, 3, "0"), DTypeError, "rng: expected a generator"),
        (lambda: nn.Linear(2, 3, None), DTypeError, "rng: expected a generator"),
        (lambda: nn.Linear(2, 3, -1), DTypeError, "rng: expected a generator"),
        (lambda: nn.RNN(2, 3, 0.5), DTypeError, "rng: expected a generator"),
        (lambda: linear(reparametrize="sn"), DTypeError, r"such as SpectralNorm\(\), got 'sn'"),
        (lambda: linear(reparametrize=nn.ReLU), DTypeError, "reparametrize: expected a scheme"),
        (lambda: linear(init="luck"), ConfigError, "init: expected one of normal, lecun"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3), 0), ShapeError, "kernel: expected a whole number"),
        (lambda: nn.Conv2d(1, 1, 2.5, 0), ShapeError, "kernel: expected a whole number"),
        (lambda: nn.BatchNorm(3)(np.ones((2, 4))), ShapeError, r"expected \[N, 3, ...\], got .*4"),
        (lambda: nn.BatchNorm(3)(np.ones(3)), ShapeError, r"BatchNorm: expected \[N, 3"),
        (lambda: nn.BatchNorm(3).eval()(np.ones((2, 4))), ShapeError, "BatchNorm: expected"),
        (lambda: nn.LayerNorm(3)(np.ones((2, 4))), ShapeError, r"LayerNorm: expected \[N, 3"),
        (lambda: nn.ConditionalBatchNorm(3, 2)(np.ones((2, 4)), [0, 1]), ShapeError, "expected"),
        (
            lambda: nn.ConditionalBatchNorm(3, 2)(np.ones((2, 3)), [0]),
            ShapeError,
            "expected 2 labels",
        ),
        (
            lambda: nn.ConditionalBatchNorm(3, 2)(np.ones((2, 3)), 1),
            ShapeError,
            r"item, got .* \(\)",
        ),
        (lambda: nn.BatchNorm(3)(None), DTypeError, "cannot make a tensor of NoneType"),
        (lambda: nn.LayerNorm(3)("a"), DTypeError, "cannot make a tensor of str"),
        (lambda: nn.GRU(3, 4, 0)(None), DTypeError, "cannot make a tensor of NoneType"),
        (lambda: nn.GRU(3, 4, 0)(np.zeros((0, 2, 3))), ShapeError, "which has no steps"),
        (lambda: linear().to(dtype="flot32"), DTypeError, "floating-point dtype such as 'float32'"),
        (lambda: linear().to(dtype=np.int32), DTypeError, "to: expected a floating-point dtype"),
        (lambda: setattr(linear(), "reparametrize", SpectralNorm()), GraphError, "cannot be set"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64"), float])
def test_the_usual_names_of_a_dtype(dtype):
    layer = nn.Linear(2, 3, 0, reparametrize=SpectralNorm()).to(dtype=dtype)
    assert layer.weight.dtype == layer.state["u"].dtype == np.float64
    assert layer.weight.requires_grad


def test_a_network_that_cannot_be_moved_or_loaded_is_as_it_was():
    layer = nn.Sequential(linear(), linear())
    before = {name: a.copy() for name, a in layer.state_dict().items()}
    bad = {**before, "layers.1.bias": np.array(["a", "b"])}
    bad["layers.0.weight"] = bad["layers.0.weight"] + 1
    for wrong in (bad, {**bad, "layers.1.bias": [[1.0], [1.0, 2.0]]}):
        with pytest.raises(CheckpointError, match=r"layers.1.bias: expected an array of real num"):
            layer.load_state_dict(wrong)
    with pytest.raises(DTypeError):
        layer.to(dtype="int8")
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("norm", [nn.BatchNorm(3), nn.ConditionalBatchNorm(3, 2)])
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0, 4)])
def test_an_empty_batch_leaves_the_running_moments(norm, shape):
    labels = [[0] * shape[0]] if isinstance(norm, nn.ConditionalBatchNorm) else []
    labels = [np.zeros(shape[0], int)] if labels else []
    before = {name: a.copy() for name, a in norm.state.items()}
    x = Tensor(np.zeros(shape, np.float32), requires_grad=True)
    y = norm(x, *labels)
    assert y.shape == shape
    assert grad(y.sum(), x).shape == shape
    for name, array in norm.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_dropout_is_for_training():
    layer, x = nn.Dropout(0.5, 0), np.ones((100, 100))
    y = layer(x).numpy()
    assert set(np.unique(y)) == {0.0, 2.0}
    assert not np.array_equal(layer(x).numpy(), y)
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x)


# -- one way to train ------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [Adam, SGD])
def test_backward_and_grad_train_alike(optimizer):
    x = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
    one, other = (nn.Sequential(linear(), nn.Tanh(), nn.Linear(2, 1, 1)) for _ in range(2))
    of_one, of_other = optimizer(one.parameters(), 0.1), optimizer(other.parameters(), 0.1)
    for step in range(3):
        of_one.step(grad(ops.mean(one(x) ** 2), one.parameters()))
        if step == 1:
            other.zero_grad()
        else:
            of_other.zero_grad()
        ops.mean(other(x) ** 2).backward()
        of_other.step()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_steps_without_gradients_and_with_some():
    p, q = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    optimizer = Adam([p, q], 0.1)
    with pytest.raises(GraphError, match=r"step: no parameter has a gradient; call loss.backward"):
        optimizer.step()
    assert optimizer.steps == 0
    (p * p).sum().backward()
    optimizer.step()
    assert (p.numpy() < 1).all()
    np.testing.assert_array_equal(q.numpy(), [1.0, 1.0])
    optimizer.step([np.ones(2), [0.0, 0.0]])  # arrays and lists are taken


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200, -np.inf])
@pytest.mark.parametrize("optimizer", [Adam, SGD])
def test_a_refused_step_changes_nothing(optimizer, bad):
    p, q = (Tensor(np.array([1.0, 2.0]), requires_grad=True) for _ in range(2))
    one, other = optimizer([p], 0.1), optimizer([q], 0.1)
    good, wrong = [Tensor(np.ones(2))], [Tensor(np.array([bad, 1.0]))]
    rate = one.rate
    for _ in range(2):
        one.step(good)
        other.step(good)
        one.rate = 1e200 if optimizer is SGD and bad == 1e200 else rate
        with pytest.raises(ArithmeticError):
            one.step(wrong)
        one.rate = rate
        np.testing.assert_array_equal(p.numpy(), q.numpy())
        if optimizer is Adam:
            assert one.steps == other.steps
            np.testing.assert_array_equal(one.m, other.m)
            np.testing.assert_array_equal(one.v, other.v)
    one.step(good)
    other.step(good)
    np.testing.assert_array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (lambda: [Tensor(np.ones(1, np.float32)), Tensor(np.ones(1))], "parameter 1 is float64"),
        (lambda: [Tensor([1])], "parameter 0: expected a floating-point Tensor .* dtype int64"),
        (lambda: nn.Sequential(linear()), r"got a Linear; pass network.parameters\(\)"),
        (lambda: {"a": np.ones(1)}, "parameter a: expected .* got a ndarray"),
        (lambda: [Tensor([1.0], requires_grad=True) * 2.0], "parameter 0: .* was not computed"),
    ],
)
def test_what_an_optimizer_cannot_update(parameters, message):
    for optimizer in (Adam, SGD):
        with pytest.raises(DTypeError, match=message):
            optimizer(parameters(), 0.1)


def test_an_optimizer_notices_that_the_network_was_moved():
    layer = linear()
    optimizer = Adam(layer.parameters(), 0.1)
    layer.to(dtype="float64")
    with pytest.raises(DTypeError, match="parameter 0 is float64, expected float32"):
        optimizer.step([np.ones((2, 2)), np.ones(2)])


# -- state changes whole or not at all, and what is set afterwards ---------------------------------


@pytest.mark.parametrize(
    "hold",
    [
        lambda a: deque([a]),
        lambda a: UserList([a]),
        lambda a: {"0": a}.values(),
        lambda a: types.MappingProxyType({"0": a}),
        lambda a: np.array([a, None], object),
        lambda a: [np.array([a, None], object)],
        lambda a: make_dataclass("Parts", ["a"])(a),
        lambda a: types.SimpleNamespace(a=a),
    ],
)
def test_parts_are_found_in_every_kind_of_container(hold):
    network, layer = nn.Module(), linear()
    network.held = hold(layer)
    assert network.parameters() == layer.parameters()


@pytest.mark.parametrize("hold", [map, filter])
def test_an_iterator_of_parts_is_refused(hold):
    network = nn.Module()
    network.held = hold(None, [linear()])
    with pytest.raises(DTypeError, match=f"held is a {hold.__name__}, .* use a list"):
        network.parameters()


def test_a_power_step_moves_every_u_or_none():
    network = nn.Sequential(*[linear(reparametrize=SpectralNorm()) for _ in range(2)])
    before = {name: a.copy() for name, a in network.state_dict().items()}
    good = network[1].weight.numpy()
    network[1].weight.assign(np.full((2, 2), np.nan, np.float32))
    with pytest.raises(NonFiniteError, match=r"layer layers.1"):
        nn.power_step(network)
    with pytest.raises(NonFiniteError, match="layer Linear"):
        network[1].power_step()
    network[1].weight.assign(good)
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_what_is_learned_is_replaced_by_parameters_of_its_shape_alone():
    layer = linear(reparametrize=SpectralNorm())
    x = np.ones((1, 2), np.float32)
    for value in (np.ones((2, 2), np.float32), Tensor(np.ones((2, 2))), layer.weight * 2.0, None):
        with pytest.raises(DTypeError, match=r"Linear.weight: .* call .weight.assign\(array\)"):
            layer.weight = value
    with pytest.raises(ShapeError, match=r"Linear.weight: expected shape \(2, 2\), got \(3, 2\)"):
        layer.weight = Tensor(np.ones((3, 2)), requires_grad=True)
    with pytest.raises(GraphError, match=r"Linear.u is state; assign .*\.state\['u'\]"):
        layer.u = np.ones(2)
    shared = Tensor(np.eye(2, dtype=np.float32), requires_grad=True)
    layer.weight = shared
    assert layer.parameters()[0] is shared
    assert grad(layer(x).sum(), shared).shape == (2, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Linear("3", 2, 0), DTypeError, "Linear: a size: expected a whole number"),
        (lambda: nn.Linear(2.0, 3, 0), DTypeError, "got 2.0"),
        (lambda: nn.Linear(2, 3, 0, init=0.1), DTypeError, "init: expected a name, or a function"),
        (lambda: nn.Linear(2, 3, 0, init=lambda *_: np.ones(3)), ShapeError, "init to draw"),
        (lambda: nn.BatchNorm("3"), DTypeError, "BatchNorm: channels"),
        (lambda: nn.BatchNorm(0), ConfigError, "BatchNorm: channels: .* at least 1, got 0"),
        (lambda: nn.BatchNorm(3, eps=-1), ConfigError, "BatchNorm: eps: .* from 0, got -1"),
        (lambda: nn.BatchNorm(3, 5), ConfigError, "BatchNorm: momentum: .* from 0 to 1, got 5"),
        (lambda: nn.ConditionalBatchNorm(3, 2, -1), ConfigError, "momentum: .* got -1"),
        (lambda: nn.BatchNorm(3, gain="no"), DTypeError, "BatchNorm: gain: .* True or False"),
        (lambda: nn.LayerNorm(3, gain=0), DTypeError, "LayerNorm: gain: .* True or False, got 0"),
        (lambda: nn.Linear(2, 3, 0, "no"), DTypeError, "Linear: bias: .* True or False, got 'no'"),
        (lambda: nn.Conv2d(2, 3, 1, 0, bias="no"), DTypeError, "Conv2d: bias: expected True or"),
        (lambda: nn.ConvTranspose2d(2, 3, 1, 0, bias=1), DTypeError, "Transpose2d: bias: .* got 1"),
        (lambda: linear().train("no"), DTypeError, "train: on: expected True or False, got 'no'"),
        (lambda: nn.Conv2d(2, 3, 0, 0), ShapeError, "Conv2d: kernel: .* at least 1"),
        (lambda: nn.Conv2d(2, 3, 1, 0, stride=0), ShapeError, "Conv2d: stride: .* at least 1"),
        (lambda: nn.Conv2d(2, 3, 1, 0, padding="same"), ShapeError, "Conv2d: padding: .* 'same'"),
        (lambda: nn.ConvTranspose2d(2, 3, 0, 0), ShapeError, "ConvTranspose2d: kernel: .* least 1"),
        (lambda: nn.ConvTranspose2d(2, 3, 1, 0, 0), ShapeError, "ConvTranspose2d: stride: "),
        (lambda: nn.ConvTranspose2d(2, 3, 1, 0, 1, -1), ShapeError, "ConvTranspose2d: padding: "),
        (
            lambda: nn.ConvTranspose2d(2, 3, 1, 0, 2, 0, 2),
            ShapeError,
            r"ConvTranspose2d: output_padding \(2, 2\) must be less than the stride \(2, 2\)",
        ),
        (lambda: nn.ConditionalBatchNorm(3, -1), ConfigError, "classes: .* at least 1, got -1"),
        (lambda: nn.Dropout("a", 0), DTypeError, "Dropout: rate: expected a number"),
        (lambda: nn.Dropout(1, 0), ConfigError, "from 0 to below 1, got 1"),
        (lambda: nn.LeakyReLU("a"), DTypeError, "LeakyReLU: slope"),
        (lambda: linear().load_state_dict([1]), CheckpointError, "arrays by name, .* got a list"),
        (lambda: linear().load_state_dict({3: 1}), CheckpointError, "unknown 3"),
    ],
)
def test_settings_that_are_no_numbers_or_out_of_range(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_settings_at_their_ends_and_switches_of_numpy():
    assert nn.BatchNorm(3, momentum=0).momentum == 0
    assert nn.BatchNorm(3, momentum=1).momentum == 1
    assert nn.Conv2d(2, 3, 1, 0, bias=np.False_).bias is None
    assert nn.ConvTranspose2d(2, 3, 1, 0).bias.shape == (3,)
    assert linear().train(np.False_).training is False


def test_a_frozen_parameter_stays_a_parameter():
    net = nn.Sequential(nn.Linear(3, 4, 0), nn.ReLU(), nn.Linear(4, 2, 1))
    everything = net.state_dict().keys()
    for p in net.parameters():
        p.requires_grad = False
    assert len(net.parameters()) == 4 and net.state_dict().keys() == everything
    net.to(dtype="float64").load_state_dict(net.state_dict())
    assert {p.dtype for p in net.parameters()} == {np.dtype("float64")}
    for p in net.parameters():
        p.requires_grad = True
    assert net(np.ones((5, 3))).requires_grad


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_an_optimizer_leaves_a_frozen_parameter_alone(optimizer):
    net = nn.Sequential(nn.Linear(3, 4, 0), nn.Linear(4, 2, 1))
    opt = optimizer(net.parameters(), 0.1)
    first, second = net.layers[0].weight, net.layers[1].weight
    for frozen in (False, True):
        first.requires_grad = not frozen
        before = first.array.copy(), second.array.copy()
        net.zero_grad()
        (net(np.ones((5, 3), np.float32)) ** 2).sum().backward()
        opt.step()
        assert np.array_equal(first.array, before[0]) == frozen
        assert not np.array_equal(second.array, before[1])
    with pytest.raises(GraphError, match="it is frozen, so leave it out"):
        grad(net(np.ones((1, 3))).sum(), first)


def test_two_parts_of_one_name_are_refused():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = {0: nn.Linear(2, 1, 0), "0": nn.Linear(2, 1, 1)}

    with pytest.raises(DTypeError, match=r"two parameters are named heads\.0\.weight"):
        Heads().parameters()


def test_a_bias_of_another_shape_is_refused():
    layer = nn.Linear(2, 1, 0)
    with pytest.raises(ShapeError, match=r"Linear.bias: expected shape \(1,\), got \(5,\)"):
        layer.bias = Tensor(np.zeros(5), requires_grad=True)
    layer.bias = None
    assert len(layer.parameters()) == 1


@pytest.mark.parametrize("rows", [1, 2, 3, 6])
def test_parts_in_rows_of_an_array_are_all_found(rows):
    class Grid(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [[nn.Linear(1, 1, 0) for _ in range(2)] for _ in range(rows)]
            self.cells = np.array(layers, object)

    assert len(Grid().parameters()) == 4 * rows


def test_the_constant_of_leaky_relu_is_that_of_its_slope():
    layer = nn.LeakyReLU(0.1)
    assert layer.lipschitz == 1.0
    layer.slope = -7.0
    assert layer.lipschitz == 7.0


@pytest.mark.parametrize("value", [None, nn.Linear(2, 2, 0), Tensor([1.0], requires_grad=True)])
def test_the_name_of_the_state_is_taken(value):
    with pytest.raises(DTypeError, match="give a parameter or a part another name"):
        nn.Module().state = value


def test_a_parameter_and_a_state_of_one_name_are_refused():
    module = nn.Module()
    module.mean = Tensor([7.0], requires_grad=True)
    module.state["mean"] = np.zeros(1)
    with pytest.raises(DTypeError, match="a parameter and a state are named mean"):
        module.state_dict()


@pytest.mark.parametrize("once", [iter, reversed, enumerate, itertools.chain])
def test_layers_in_an_iterator_are_not_lost(once):
    module = nn.Module()
    module.layers = once([nn.Linear(2, 2, 0)])
    with pytest.raises(DTypeError):
        module.parameters()
