"""Optimizers against PyTorch's, against their formulas, and what they refuse."""

import copy
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from minisn import Tensor, kernels, use_kernels
from minisn.errors import ConfigError, DTypeError, GraphError, NonFiniteError, ShapeError
from minisn.optim import SGD, TABLE_1, Adam, _join
from minisn.tensor import grad, sum

SHAPES = [(3, 2), (4,), ()]
KERNELS = ["spec", "array_api", *(["cpu"] if kernels._cpu() else [])]


def parameters(dtype=np.float64):
    rng = np.random.default_rng(1)
    return [Tensor(np.asarray(rng.normal(size=s), dtype), requires_grad=True) for s in SHAPES]


def gradients(step, dtype=np.float64):
    rng = np.random.default_rng(100 + step)
    return [Tensor(np.asarray(rng.normal(size=s), dtype)) for s in SHAPES]


def test_sgd_is_equation_23():
    ps = parameters()
    before = [p.numpy() for p in ps]
    SGD(ps, rate=0.1).step(gradients(0))
    for p, old, g in zip(ps, before, gradients(0), strict=True):
        np.testing.assert_allclose(p.array, old - 0.1 * g.array, rtol=1e-15)


@pytest.mark.parametrize("kernels", KERNELS)
def test_adam_equals_pytorch_over_many_steps(kernels, torch):
    ps = parameters()
    theirs = [torch.tensor(p.numpy(), requires_grad=True) for p in ps]
    oracle = torch.optim.Adam(theirs, lr=2e-2, betas=(0.5, 0.9))
    with use_kernels(kernels):
        mine = Adam(ps, rate=2e-2, beta1=0.5, beta2=0.9)
        for step in range(20):
            mine.step(gradients(step))
            for p, g in zip(theirs, gradients(step), strict=True):
                p.grad = torch.tensor(g.numpy())
            oracle.step()
    for p, q in zip(ps, theirs, strict=True):
        np.testing.assert_allclose(p.array, q.detach().numpy(), rtol=1e-12)


def test_adams_defaults_are_setting_c_of_table_1_and_an_eps_of_1e_8():
    ps, same = parameters(), parameters()
    plain, told = Adam(ps, rate=0.1), Adam(same, 0.1, TABLE_1["C"].beta1, TABLE_1["C"].beta2, 1e-8)
    for step in range(3):
        plain.step(gradients(step))
        told.step(gradients(step))
    for p, q in zip(ps, same, strict=True):
        np.testing.assert_array_equal(p.array, q.array)


def test_adams_first_step_has_the_length_of_the_rate():
    ps = parameters()
    before = [p.numpy() for p in ps]
    Adam(ps, rate=1e-3).step(gradients(0))
    for p, old, g in zip(ps, before, gradients(0), strict=True):
        np.testing.assert_allclose(old - p.array, 1e-3 * np.sign(g.array), rtol=1e-6)


def test_adam_stays_in_float32():
    ps = parameters(np.float32)
    adam = Adam(ps, rate=1e-3)
    adam.step(gradients(0, np.float32))
    assert {p.dtype for p in ps} | {adam.m.dtype, adam.v.dtype} == {np.dtype(np.float32)}


def test_a_step_makes_older_graphs_refuse_to_give_a_wrong_gradient():
    ps = parameters()
    y = sum(ps[0] * ps[0])
    SGD(ps, rate=0.1).step(gradients(0))
    with pytest.raises(GraphError, match=r"multiply.*new values"):
        grad(y, ps[0])


def test_gradients_of_other_shapes_or_number_are_refused():
    adam = Adam(parameters(), rate=1e-3)
    with pytest.raises(ShapeError, match="one gradient for each of 3"):
        adam.step(gradients(0)[:2])
    with pytest.raises(
        ShapeError, match=r"gradient of parameter 0 has shape \(\), expected \(3, 2\)"
    ):
        adam.step(gradients(0)[::-1])
    with pytest.raises(ShapeError, match="at least one parameter"):
        Adam([], rate=1e-3)


@pytest.mark.parametrize("kernels", KERNELS)
def test_values_given_between_two_steps_are_where_the_next_one_starts(kernels):
    with use_kernels(kernels):
        ps = parameters()
        optimizer = Adam(ps, rate=1e-3, beta1=0.0)
        optimizer.step(gradients(0))
        ps[1].assign(np.full(4, 5.0))
        before = [p.numpy() for p in ps]
        optimizer.step(gradients(0))
    for p, old, g in zip(ps, before, gradients(0), strict=True):
        np.testing.assert_allclose(old - p.array, 1e-3 * np.sign(g.array), rtol=1e-6)


def test_gradients_are_not_kept_from_one_step_to_the_next():
    ps = parameters()
    before = [p.numpy() for p in ps]
    optimizer, (first, second) = SGD(ps, rate=0.1), (gradients(0), gradients(1))
    optimizer.step(first)
    optimizer.step(second)
    for p, old, g, h in zip(ps, before, first, second, strict=True):
        np.testing.assert_allclose(p.array, old - 0.1 * g.array - 0.1 * h.array, rtol=1e-13)


def test_the_gradient_s_norm_is_that_of_the_last_step():
    ps = parameters()
    optimizer = Adam(ps, rate=0.1)
    assert optimizer.gradient_norm() == 0
    for seed in (0, 1):
        optimizer.step(gradients(seed))
        whole = np.concatenate([g.array.reshape(-1) for g in gradients(seed)])
        assert optimizer.gradient_norm() == pytest.approx(np.sqrt((whole**2).sum()), rel=1e-14)
    large = [Tensor(np.full(p.shape, 1e19, np.float32)) for p in ps]  # its square is in no float32
    single = Adam([Tensor(p.numpy().astype(np.float32)) for p in ps], rate=0.1)
    single._flat.gradients(large)
    count = 6 + 4 + 1
    assert single.gradient_norm() == pytest.approx(1e19 * np.sqrt(count), rel=1e-6)


def test_table_1_is_the_papers():
    rows = {k: (s.rate, s.beta1, s.beta2, s.n_dis) for k, s in TABLE_1.items()}
    assert rows == {
        "A": (1e-4, 0.5, 0.9, 5),
        "B": (1e-4, 0.5, 0.999, 1),
        "C": (2e-4, 0.5, 0.999, 1),
        "D": (1e-3, 0.5, 0.9, 5),
        "E": (1e-3, 0.5, 0.999, 5),
        "F": (1e-3, 0.9, 0.999, 5),
    }
    with pytest.raises(FrozenInstanceError):
        TABLE_1["A"].rate = 1.0


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_a_gradient_that_is_not_finite_is_named_by_its_parameter(kind, place):
    ps = dict(zip(("first", "second", "third"), parameters(), strict=True))
    before = {name: p.numpy() for name, p in ps.items()}
    optimizer, grads = kind(ps, rate=1e-3), gradients(0)
    broken = grads[place].numpy()
    broken.reshape(-1)[-1] = np.inf
    grads[place] = Tensor(broken)
    with pytest.raises(NonFiniteError, match=f"of parameter {list(ps)[place]} is not finite"):
        optimizer.step(grads)
    for name, p in ps.items():
        np.testing.assert_array_equal(p.array, before[name])


def test_steps_copy_neither_parameters_nor_make_new_room_for_gradients():
    ps = parameters()
    optimizer = SGD(ps, rate=0.1)
    optimizer.step(gradients(0))
    flat = optimizer._flat
    assert flat.values() is flat.values() and all(
        np.shares_memory(p.array, flat.values()) for p in ps
    )
    room = flat.gradients(gradients(1))
    assert flat.gradients(gradients(2)) is room
    other = flat.gradients(gradients(3, np.float32))
    assert other is room and other.dtype == np.float64
    np.testing.assert_array_equal(other[:6], gradients(3, np.float32)[0].array.reshape(-1))


def test_room_is_made_anew_for_arrays_of_another_library():
    strict = pytest.importorskip("array_api_strict", reason="needs array-api-strict")
    room = _join([g.array for g in gradients(0)], None)
    theirs = [strict.asarray(g.numpy()) for g in gradients(1)]
    assert isinstance(_join(theirs, room), type(strict.ones(1)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda ps: SGD(ps, "0.1"), DTypeError, "SGD: rate: expected a number, got '0.1'"),
        (
            lambda ps: SGD(ps, np.nan),
            ConfigError,
            "SGD: rate: expected a finite number from 0, got nan",
        ),
        (lambda ps: Adam(ps, None), DTypeError, "Adam: rate"),
        (lambda ps: Adam(ps, -0.1), ConfigError, "Adam: rate: .* from 0, got -0.1"),
        (lambda ps: Adam(ps, 0.1, beta1=1.0), ConfigError, "Adam: beta1: .* from 0 to below 1"),
        (lambda ps: Adam(ps, 0.1, beta2=1.0), ConfigError, "Adam: beta2: .* from 0 to below 1"),
        (lambda ps: Adam(ps, 0.1, eps=-1), ConfigError, "Adam: eps: .* from 0, got -1"),
        (lambda ps: Adam([*ps, ps[0]], 0.1), DTypeError, "parameter 3 is parameter 0 again"),
        (lambda ps: Adam(None, 0.1), DTypeError, "got a NoneType; pass network.parameters"),
        (lambda ps: SGD(ps, 0.1).step([p.array * 1j for p in ps]), DTypeError, "got complex"),
        (lambda ps: Adam(set(ps), 0.1), DTypeError, "parameters in an order, got a set"),
        (lambda ps: SGD(ps[0], 0.1), DTypeError, "got a Tensor; pass .* or a list of tensors"),
        (lambda ps: Adam(ps, 0.1).step(1.0), DTypeError, "a list of gradients, .* got a float"),
        (lambda ps: SGD(ps, 0.1).step({"a": 1}), DTypeError, "a list of gradients, .* got a dict"),
        (lambda ps: SGD(ps, 0.1).step(), GraphError, "no parameter has a gradient; call loss.b"),
        (lambda ps: SGD([*ps, 3], 0.1), DTypeError, "parameter 3: .* got a int; pass"),
        (lambda ps: SGD([*ps, 2.0 * ps[0]], 0.1), DTypeError, "not computed, got dtype float64"),
        (lambda ps: SGD([Tensor([1])], 0.1), DTypeError, "parameter 0: .* got dtype int64"),
        (
            lambda ps: Adam({"a": ps[0], "b": Tensor(np.float32(1.0))}, 0.1),
            DTypeError,
            "parameter b is float32, expected float64, the dtype of the first one",
        ),
    ],
)
def test_settings_of_optimizers(make, error, message):
    with pytest.raises(error, match=message):
        make(parameters())


@pytest.mark.parametrize(
    ("make", "name", "value", "error"),
    [
        (SGD, "rate", "0.1", DTypeError),
        (SGD, "rate", np.nan, ConfigError),
        (SGD, "rate", -0.5, ConfigError),
        (Adam, "rate", None, DTypeError),
        (Adam, "rate", -0.5, ConfigError),
        (Adam, "beta1", 1.0, ConfigError),
        (Adam, "eps", -1.0, ConfigError),
        (SGD, "lr", 0.2, AttributeError),
        (Adam, "learning_rate", 0.2, AttributeError),
    ],
)
def test_settings_that_are_changed_afterwards(make, name, value, error):
    """A wrong value is refused as at the start, and a name that no step reads cannot be set."""
    ps = parameters()
    optimizer = make(ps, 0.1)
    optimizer.rate = 0.5
    with pytest.raises(error):
        setattr(optimizer, name, value)
        optimizer.step(gradients(0))
    for p, same in zip(ps, parameters(), strict=True):
        np.testing.assert_array_equal(p.array, same.array)


def test_the_settings_that_exist_are_named():
    with pytest.raises(AttributeError, match=r"no setting 'lr'; its settings are rate$"):
        SGD(parameters(), 0.1).lr = 0.2


@pytest.mark.parametrize("make", [SGD, Adam])
def test_gradients_that_backward_left(make):
    """One parameter has none, and a frozen one has one that does not count."""
    ps, others = parameters(), parameters()
    optimizer, other = make(ps, 0.1), make(others, 0.1)
    sum(ps[0] * ps[0]).backward()
    given = [2.0 * ps[0].numpy(), np.zeros(4), np.zeros(())]
    frozen = ps[2]
    frozen.grad, frozen.requires_grad = Tensor(5.0), False
    optimizer.step()
    assert (ps[1].grad is None) and float(frozen.grad) == 5.0
    other.step(given)
    for p, q in zip(ps, others, strict=True):
        np.testing.assert_array_equal(p.array, q.array)
    norm = float(np.linalg.norm(optimizer._flat.latest))
    assert norm == pytest.approx(np.linalg.norm(given[0]))
    optimizer.zero_grad()
    assert all(p.grad is None for p in ps)


def test_a_frozen_parameter_keeps_its_values_and_goes_on_from_them():
    ps = parameters()
    adam = Adam(ps, 0.1)
    adam.step(gradients(0))
    ps[0].requires_grad = False
    before = ps[0].numpy().copy()
    adam.step([np.zeros(p.shape) for p in ps])  # the first moments would still move it
    np.testing.assert_array_equal(ps[0].numpy(), before)
    np.testing.assert_array_equal(adam._flat.values()[:6], before.ravel())


@pytest.mark.parametrize("make", [SGD, Adam])
def test_a_new_value_that_overflows_is_named_as_such(make):
    ps = parameters()
    with pytest.raises(NonFiniteError, match="step: the new value of parameter 0 "):
        make(ps, 1.7e308).step([1e3 * np.ones(p.shape) for p in ps])


@pytest.mark.parametrize("make", [SGD, Adam])
def test_a_gradient_that_is_not_finite_is_named_as_such(make):
    """Parameter 0 comes first, but the NaN is in the gradient of parameter 1."""
    ps = parameters()
    spoilt = [g.numpy() for g in gradients(0)]
    spoilt[1][...] = np.nan
    with pytest.raises(NonFiniteError, match=r"step: the gradient of parameter 1 .* met a NaN"):
        make(ps, 0.1).step(spoilt)
    for p, same in zip(ps, parameters(), strict=True):
        np.testing.assert_array_equal(p.array, same.array)


@pytest.mark.parametrize("make", [SGD, Adam])
def test_copies_of_an_optimizer(make):
    ps = parameters()
    optimizer = make(ps, 0.1)
    optimizer.step(gradients(0))
    for copied, theirs in (
        copy.deepcopy((optimizer, ps)),
        pickle.loads(pickle.dumps((optimizer, ps))),
    ):
        again, mine = copy.deepcopy((optimizer, ps))
        for one in (copied, again):
            one.step(gradients(1))
        for p, q in zip(theirs, mine, strict=True):
            np.testing.assert_array_equal(p.array, q.array)


@pytest.mark.parametrize("make", [SGD, Adam])
def test_gradients_take_the_type_of_the_parameters(make):
    """Whole numbers first: they must not cut those after them."""
    ps, others = parameters(), parameters()
    halves = [np.full(p.shape, 1.5) for p in ps]
    make(ps, 0.5).step([np.ones(ps[0].shape, int), *halves[1:]])
    make(others, 0.5).step([np.ones(ps[0].shape), *halves[1:]])
    for a, b in zip(ps, others, strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    make(ps, 0.5).step([h.astype(np.float32) for h in halves])


def test_a_setting_from_numpy_leaves_the_parameters_their_dtype():
    settings = dict(
        zip(("rate", "beta1", "beta2", "eps"), np.array([0.1, 0.5, 0.9, 1e-8]), strict=True)
    )
    for optimizer in (lambda p: SGD([p], np.float64(0.1)), lambda p: Adam([p], **settings)):
        p = Tensor(np.ones(2, np.float32), requires_grad=True)
        step = optimizer(p).step
        step([np.ones(2, np.float32)])
        step([np.ones(2, np.float32)])
        assert p.dtype == np.float32
