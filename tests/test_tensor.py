"""The engine: the graph, the walk, what may not be done, and what it costs."""

import gc
import operator
import sys
import threading

import numpy as np
import pytest

from minisn import Tensor, conv, grad, nn, no_grad, ops
from minisn.errors import DTypeError, GraphError, MinisnError, ShapeError
from minisn.fused import normalize
from minisn.tensor import RULES, Primitive, is_recording, primitive

U = np.finfo(np.float64).eps


def leaf(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def live_tensors():
    return sum(type(o) is Tensor for o in gc.get_objects())


@pytest.fixture
def calls(monkeypatch):
    """Every rule that the walk asks for, as (operation, position)."""
    seen = []
    pull = Primitive.pull

    def counted(self, node, positions, g, create_graph):
        seen.extend((self.name, position) for position in positions)
        return pull(self, node, positions, g, create_graph)

    monkeypatch.setattr(Primitive, "pull", counted)
    return seen


@pytest.fixture
def bad_rules():
    """Enter primitives in the table for one test only."""
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


# -- memory -------------------------------------------------------------------------


def training_steps(n, w, b, x):
    """Steps with all that a critic's has: layers, a gradient penalty, attributes, new values."""
    for _ in range(n):
        h = ops.leaky_relu(conv.conv2d(x, w, padding=1) + b, slope=0.1)
        y = ops.tanh(h).sum(axis=(1, 2, 3))
        (slope,) = grad(y.sum(), [x], create_graph=True)
        penalty = ((ops.sqrt((slope * slope).sum(axis=(1, 2, 3))) - 1.0) ** 2).mean()
        loss = ops.softplus(-y).mean() + penalty
        w.grad = b.grad = x.grad = None
        loss.backward()
        for p in (w, b):
            p.assign(p.array - 0.01 * p.grad.array)


def test_memory_stays_flat_without_the_garbage_collector():
    rng = np.random.default_rng(0)
    w = Tensor(rng.normal(size=(2, 1, 3, 3)), requires_grad=True)
    b = Tensor(np.zeros((2, 1, 1)), requires_grad=True)
    x = Tensor(rng.normal(size=(2, 1, 4, 4)), requires_grad=True)
    training_steps(20, w, b, x)  # caches of NumPy and Python fill
    gc.collect()
    gc.disable()
    try:
        tensors, blocks = live_tensors(), sys.getallocatedblocks()
        training_steps(1000, w, b, x)
        assert live_tensors() == tensors
        # one cycle in a step would be 1,000 objects, of whatever kind, and one object forgotten
        # 1,000 blocks; threads of other tests may leave a few. It also empties Python's free lists.
        assert gc.collect() < 500
        assert sys.getallocatedblocks() - blocks < 500
    finally:
        gc.enable()


def test_a_graph_dies_with_its_result():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        before = live_tensors()
        y = ops.tanh(x * x).sum()
        g = grad(y, x, create_graph=True)
        grad(g.sum(), x)
        assert live_tensors() > before
        del y, g
        assert live_tensors() == before
    finally:
        gc.enable()


def test_a_failed_walk_leaves_nothing_behind():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        before = live_tensors()
        y = ops.exp(x * x)
        x.assign(np.array([3.0]))
        with pytest.raises(GraphError):
            grad(y, x)
        assert is_recording()
        del y
        assert live_tensors() == before
    finally:
        gc.enable()


def test_100_000_chained_operations():
    n = 100_000
    before = live_tensors()
    x = leaf(1.0)
    y = x
    for _ in range(n):
        y = y * 1.00001
    g = grad(y, x, create_graph=True)
    # a product of n factors, each rounded: relative error at most n u
    assert abs(g.item() / 1.00001**n - 1) <= n * U
    del y, g, x
    assert live_tensors() == before


def test_long_sums_of_one_tensor_differentiate_twice():
    x = leaf(2.0)
    y = x
    for _ in range(3000):
        y = y + x
    s = y * y
    g = grad(s, x, create_graph=True)
    assert g.item() == 2 * 3001 * 3001 * 2.0
    assert grad(g, x).item() == 2 * 3001 * 3001


# -- only what is asked for -----------------------------------------------------------


def test_only_rules_toward_the_requested_inputs_run(calls):
    rng = np.random.default_rng(0)
    x = Tensor(rng.normal(size=(1, 1, 4, 4)), requires_grad=True)
    w1 = Tensor(rng.normal(size=(2, 1, 3, 3)), requires_grad=True)
    w2 = Tensor(rng.normal(size=(1, 2, 2, 2)), requires_grad=True)
    y = conv.conv2d(ops.tanh(conv.conv2d(x, w1)), w2).sum()
    grad(y, x)  # the generator's step: no weight gradient
    assert calls == [("sum", 0), ("conv2d", 0), ("tanh", 0), ("conv2d", 0)]
    calls.clear()
    grad(y, w2)  # the last layer: nothing below it
    assert calls == [("sum", 0), ("conv2d", 1)]
    calls.clear()
    grad(y, [w1, w2])
    assert sorted(calls) == [("conv2d", 0), ("conv2d", 1), ("conv2d", 1), ("sum", 0), ("tanh", 0)]


def test_no_rule_runs_toward_what_y_does_not_depend_on(calls):
    x, other = leaf(1.0, 2.0), leaf(5.0, 6.0, 7.0)
    np.testing.assert_array_equal(grad((x * x).sum(), other).array, np.zeros(3))
    assert calls == []


def test_a_shared_tensor_is_pulled_back_once(calls):
    x = leaf(3.0)
    h = ops.exp(x)
    grad((h * h + h).sum(), x)
    assert calls.count(("exp", 0)) == 1


def test_unreached_inputs_get_zeros_of_their_kind():
    x, other = leaf(1.0), Tensor(np.ones((2, 0, 3), np.float32), requires_grad=True)
    g = grad(x * 2.0, [other, x])[0]
    assert g.shape == (2, 0, 3)
    assert g.dtype == np.float32


def test_gradients_of_interior_tensors():
    x = leaf(0.5, 2.0)
    h = x * x
    y = (h * h).sum()
    g_h, g_x, g_y = grad(y, [h, x, y])
    np.testing.assert_array_equal(g_h.array, 2 * h.array)
    np.testing.assert_array_equal(g_x.array, 4 * x.array**3)
    assert g_y.item() == 1.0
    assert grad(y, h).shape == h.shape  # one tensor in, one tensor out
    np.testing.assert_array_equal(grad(y, [h, h])[1].array, g_h.array)


def test_the_same_graph_gives_the_same_gradient_again():
    x = leaf(0.3, -1.2)
    y = ops.tanh(x * x).sum()
    first = grad(y, x)
    with_graph = grad(y, x, create_graph=True)
    for again in (with_graph, grad(y, x)):
        np.testing.assert_array_equal(again.array, first.array)
    np.testing.assert_array_equal(grad(with_graph.sum(), x).array, grad(with_graph.sum(), x).array)


def test_a_gradient_is_recorded_only_when_asked():
    x = leaf(0.3)
    assert not grad(x * x, x).requires_grad
    assert grad(x * x, x, create_graph=True).requires_grad


def test_third_order_of_tanh():
    x = leaf(-1.3, 0.0, 0.4, 2.0)
    g = ops.tanh(x)
    for _ in range(3):
        g = grad(g, x, grad_output=np.ones(4), create_graph=True)
    t = np.tanh(x.array)
    expected = (1 - t**2) * (6 * t**2 - 2)
    np.testing.assert_allclose(g.array, expected, rtol=0, atol=64 * U)  # some 30 roundings


def test_third_order_through_a_convolution():
    rng = np.random.default_rng(0)
    x = Tensor(rng.normal(size=(2, 1, 3, 3)), requires_grad=True)
    w = Tensor(rng.normal(size=(1, 1, 2, 2)), requires_grad=True)
    s = (conv.conv2d(x, w) ** 3).sum()
    # along w the function is homogeneous of degree 3: <w, d/dw> multiplies by 3, 2, 1
    value, expected = s, s.item()
    for degree in (3, 2, 1):
        value = (grad(value, w, create_graph=True) * w.detach()).sum()
        expected *= degree
        bound = 1000 * U * (conv.conv2d(abs_of(x), abs_of(w)) ** 3).sum().item()
        assert abs(value.item() - expected) <= bound


def abs_of(x):
    return Tensor(np.abs(x.array))


# -- broadcasting and types ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3), (3,)),
        ((2, 1), (1, 3)),
        ((), (2, 3)),
        ((1,), ()),
        ((4, 1, 3), (2, 1)),
        ((0, 3), (1, 3)),
        ((1,), (0,)),
        ((1, 1), (1,)),
    ],
)
def test_broadcasting_is_undone(a, b):
    rng = np.random.default_rng(0)
    x, y = (Tensor(rng.normal(size=s), requires_grad=True) for s in (a, b))
    c = rng.normal(size=np.broadcast_shapes(a, b))
    g_x, g_y = grad(x * y, [x, y], grad_output=c)
    assert (g_x.shape, g_y.shape) == (a, b)
    for g, like, other in ((g_x, x, y), (g_y, y, x)):
        full = c * np.broadcast_to(other.array, c.shape)
        lead = full.ndim - like.ndim
        axes = [i for i in range(full.ndim) if i < lead or like.shape[i - lead] == 1]
        expected = full.sum(axis=tuple(axes)).reshape(like.shape)
        np.testing.assert_allclose(g.array, expected, rtol=0, atol=64 * U)  # 24 terms of order 1


@pytest.mark.parametrize(
    ("rule", "shape"),
    [(lambda g: ops.concat([g, g]), r"\(4,\)"), (lambda g: g.sum(), r"\(\)")],
    ids=["longer", "fewer axes"],
)
def test_a_rule_of_a_wrong_shape_is_named(bad_rules, rule, shape):
    @primitive(lambda g, x: rule(g))
    def askew(x):
        return x + 0

    x = leaf(1.0, 2.0)
    with pytest.raises(
        ShapeError,
        match=rf"askew: the rule of input 0 gave shape {shape}, the "
        rf"input has shape \(2,\): cannot sum shape {shape} to \(2,\)",
    ):
        grad(askew(x).sum(), x)


def test_the_methods_sum_and_average_over_the_axes_that_are_named():
    x = leaf([0.0, 1.0, 2.0], [3.0, 4.0, 5.0])
    for f, total in ((x.sum, 15.0), (x.mean, 2.5)):
        assert (f().shape, f().item()) == ((), total)
        assert (f(0).shape, f(1).shape, f((0, 1)).shape) == ((3,), (2,), ())
        assert (f(0, keepdims=True).shape, f(keepdims=True).shape) == ((1, 3), (1, 1))


def test_two_primitives_cannot_share_a_name(bad_rules):
    with pytest.raises(ValueError, match="named exp exists already"):

        @primitive(None)
        def exp(x):
            return x


def test_an_input_without_a_rule_gets_zeros():
    c, a = leaf(1.0, 0.0), leaf(3.0, 4.0)
    g_c, g_a = grad(ops.where(c, a, 0.0).sum(), [c, a])
    np.testing.assert_array_equal(g_c.array, [0, 0])
    np.testing.assert_array_equal(g_a.array, [1, 0])


NUMBER_TAKERS = {
    "x + n": lambda x, n: x + n,
    "n + x": lambda x, n: n + x,
    "x - n": lambda x, n: x - n,
    "n - x": lambda x, n: n - x,
    "x * n": lambda x, n: x * n,
    "n * x": lambda x, n: n * x,
    "x / n": lambda x, n: x / n,
    "n / x": lambda x, n: n / x,
    "x ** n": lambda x, n: x**n,
    "maximum": lambda x, n: ops.maximum(x, n),
    "minimum": lambda x, n: ops.minimum(n, x),
    "clip": lambda x, n: ops.clip(x, -n, n),
    "where": lambda x, n: ops.where(x.array > n, x, n),
    "leaky_relu": lambda x, n: ops.leaky_relu(x, slope=n),
    "normalize": lambda x, n: normalize(x, n, n, 0, abs(n)),
}


@pytest.mark.parametrize(
    "number",
    [2, 0.1, True, np.float64(0.1), np.int64(3), np.float32(0.5)],
    ids=lambda n: type(n).__name__,
)
def test_a_number_never_widens(number, kernel_name):
    x = leaf(1.0, 2.0, dtype=np.float32)
    for name, op in NUMBER_TAKERS.items():
        y = op(x, number)
        assert y.dtype == np.float32, name
        assert grad(y.sum(), x).dtype == np.float32, name


def test_a_number_beside_integers_gives_what_numpy_gives():
    for dtype in (np.int8, np.uint8, np.int64, np.bool_):
        a = np.array([1, 0], dtype)
        for n in (0.5, np.float64(0.5), np.float32(0.5), np.int64(300), np.uint8(3), True):
            if isinstance(n, bool | float) or dtype is not np.bool_:
                y = Tensor(a) * n
                assert y.dtype == (a * n).dtype, (dtype, n)
                np.testing.assert_array_equal(y.array, a * n)
    with pytest.raises(DTypeError, match=r"multiply: the number 300 does not fit .* uint8"):
        Tensor(np.ones(2, np.uint8)) * 300
    with pytest.raises(DTypeError, match=r"add: the number 2361\d+ does not fit .* bool"):
        Tensor([True]) + 2**71
    assert (Tensor([1, 2]) * 2).dtype == np.int64


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.complex128])
def test_only_real_floating_tensors_have_gradients(dtype):
    with pytest.raises(DTypeError, match=f"floating-point tensor, got dtype {dtype.__name__}"):
        Tensor(np.ones(2, dtype), requires_grad=True)


def test_an_integer_result_is_not_recorded():
    assert not ops.astype(leaf(1.0), np.int64).requires_grad


def test_mixed_precision_gives_each_input_its_own_type():
    a, b = leaf(1.5, 2.5, dtype=np.float32), leaf(3.0, 4.0)
    y = a * b
    assert y.dtype == np.float64
    g_a, g_b = grad(y.sum(), [a, b], create_graph=True)
    assert (g_a.dtype, g_b.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(g_a.array, [3, 4])
    assert grad(g_a.sum(), b).dtype == np.float64


def test_grad_output_takes_the_type_of_y():
    x = leaf(1.0, 2.0, dtype=np.float32)
    for y in (x, x * 2.0):
        assert grad(y, x, grad_output=np.ones(2)).dtype == np.float32
    assert grad(x * 2.0, x, grad_output=[1, 2]).dtype == np.float32


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3, 0)])
def test_empty_tensors(shape, kernel_name):
    x = Tensor(np.zeros(shape), requires_grad=True)
    y = (ops.exp(x) * x).sum()
    assert y.item() == 0
    assert grad(y, x).shape == shape
    assert np.isnan(x.mean().item())
    assert x.mean(axis=shape.index(0), keepdims=True).size == x.sum(axis=shape.index(0)).size


# -- values --------------------------------------------------------------------------------


def test_numpy_lets_the_tensor_answer():
    x, a = leaf(1.0, 2.0), np.array([3.0, 4.0])
    for y, expected in ((a * x, [3, 8]), (a - x, [2, 2]), (a + x, [4, 6]), (a / x, [3, 2])):
        assert isinstance(y, Tensor)
        assert y.requires_grad
        np.testing.assert_array_equal(y.array, expected)
    assert (a @ x).item() == 11
    assert (np.float64(2) * x).requires_grad


def test_data_is_copied_in_and_read_only_out():
    data = np.array([1.0, 2.0])
    x = Tensor(data, requires_grad=True)
    data[0] = 9
    assert x.array[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        x.array[0] = 9
    x.numpy()[0] = 9
    assert x.array[0] == 1
    assert Tensor(x).array is not x.array
    for made in (x.detach(), ops.exp(x), Tensor.wrap(np.ones(2))):
        with pytest.raises(ValueError, match="read-only"):
            made.array[...] = 0


def test_a_changed_index_array_does_not_change_the_gradient():
    x, index = leaf(1.0, 2.0, 3.0), np.array([0, 0])
    y = x[index].sum()
    index[:] = 2
    np.testing.assert_array_equal(grad(y, x).array, [2, 0, 0])


def test_in_place_assignment_is_refused():
    x = leaf(1.0, 2.0)
    with pytest.raises(GraphError, match="not changed in place"):
        x[0] = 3.0
    y = 2.0 * x
    y += 1.0  # a new tensor under the old name
    np.testing.assert_array_equal(x.array, [1, 2])
    assert y.op.name == "add"


@pytest.mark.parametrize("data", ["abc", ["a", "b"], object, {"a": 1}, [None, 1.0], b"x"], ids=repr)
def test_what_is_not_numbers_is_refused(data):
    with pytest.raises(DTypeError, match="expected numbers"):
        Tensor(data)


def test_an_operand_of_another_kind_is_named():
    with pytest.raises(DTypeError, match="add: expected a Tensor, an array or a number, got str"):
        leaf(1.0) + "one"
    with pytest.raises(DTypeError, match="raise_to: expected a Tensor, an array or a number"):
        leaf(1.0) ** "two"


def test_arguments_by_name_by_place_and_too_many():
    x = leaf(2.0, 3.0)
    np.testing.assert_array_equal(ops.subtract(b=x, a=2 * x).array, [2, 3])
    np.testing.assert_array_equal(ops.subtract(x, b=2 * x).array, [-2, -3])
    np.testing.assert_array_equal(ops.sum(x, 0, True).array, [5])
    np.testing.assert_array_equal(ops.leaky_relu(slope=0.5, x=-x).array, [-1, -1.5])
    with pytest.raises(TypeError, match="multiply: too many positional"):
        ops.multiply(x, x, x)
    with pytest.raises(TypeError, match="multiply: missing a required argument: 'b'"):
        ops.multiply(x)
    with pytest.raises(TypeError, match="unexpected keyword argument 'slop'"):
        ops.leaky_relu(x, slop=0.5)


def test_shape_and_conversions():
    x = leaf(1.0, 2.0, 3.0)
    assert (x.shape, x.ndim, x.size, len(x)) == ((3,), 1, 3, 3)
    assert float(x[1]) == 2.0
    assert [t.item() for t in x] == [1, 2, 3]
    assert Tensor([[1.0, 2.0]]).T.shape == (2, 1)
    assert x.reshape(3, 1).shape == x.reshape((3, 1)).shape == x.reshape([3, 1]).shape == (3, 1)
    with pytest.raises(ShapeError, match=r"item: expected one entry, got a tensor of shape \(3,\)"):
        x.item()
    with pytest.raises(ShapeError, match="without axes has no length"):
        len(Tensor(1.0))


def test_repr():
    x = leaf(1.0, 2.0)
    assert repr(x) == "Tensor([1. 2.], dtype=float64, requires_grad=True)"
    assert repr(x.detach()) == "Tensor([1. 2.], dtype=float64)"
    assert repr(x * 2) == "Tensor([2. 4.], dtype=float64, op=multiply)"
    assert repr(RULES["exp"]) == "<primitive exp>"


# -- new values for leaves ---------------------------------------------------------------------


def test_assign_after_recording_is_noticed():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x * w).sum()
    w.assign(np.array([5.0, 6.0]))
    with pytest.raises(GraphError, match=r"multiply: its input 1 of shape \(2,\) received new"):
        grad(y, x)
    y = (x * w).sum()
    np.testing.assert_array_equal(grad(y, x).array, [5, 6])


def test_assign_checks_what_it_is_given():
    x = leaf(1.0, 2.0)
    for bad in (np.ones(3), np.ones(2, np.float32)):
        words = rf"expected shape \(2,\) of float64, got \({bad.size},\) of {bad.dtype}"
        with pytest.raises(ShapeError, match=words):
            x.assign(bad)
    with pytest.raises(GraphError, match="computed by exp; only leaves"):
        ops.exp(x).assign(np.ones(2))
    x.assign(np.array([7.0, 8.0]))
    np.testing.assert_array_equal(x.array, [7, 8])


# -- what grad refuses ---------------------------------------------------------------------------


def test_a_non_scalar_needs_grad_output():
    x = leaf(1.0, 2.0)
    with pytest.raises(ShapeError, match=r"y has shape \(2,\); pass grad_output of that shape"):
        grad(x * x, x)
    with pytest.raises(ShapeError, match=r"grad_output has shape \(3,\), y has shape \(2,\)"):
        grad(x * x, x, grad_output=np.ones(3))
    with pytest.raises(ShapeError, match=r"grad_output has shape \(\), y has shape \(2,\)"):
        (x * x).backward(2.0)
    np.testing.assert_array_equal(grad(x * x, x, grad_output=[1.0, 10.0]).array, [2, 40])
    assert grad((x * x)[:1], x).shape == (2,)  # one entry is enough


def test_y_without_a_graph():
    x = leaf(1.0)
    with no_grad():
        y = x * x
    for bad in (y, Tensor(1.0), Tensor(1.0) * 2):
        with pytest.raises(GraphError, match="y carries no graph"):
            grad(bad, x)
        with pytest.raises(GraphError, match="y carries no graph"):
            bad.backward()


def test_unrecorded_x():
    x, plain = leaf(1.0), Tensor(np.ones(2))
    with pytest.raises(GraphError, match=r"xs\[1\] of shape \(2,\) was not recorded"):
        grad((x * plain).sum(), [x, plain])


def test_what_is_not_a_tensor():
    x = leaf(1.0)
    for y, xs in ((1.0, x), (x, [1.0]), (x, 1), (x, None), (x, "x"), (x, nn.Linear(1, 1, 0))):
        with pytest.raises(DTypeError, match="must be Tensors"):
            grad(y, xs)


# -- recording and attributes ------------------------------------------------------------------


def test_no_grad_as_context_and_decorator():
    x = leaf(1.0)

    @no_grad()
    def square(t):
        return t * t

    with pytest.raises(ZeroDivisionError), no_grad():
        assert not is_recording()
        with no_grad():
            pass
        assert not (x * x).requires_grad
        raise ZeroDivisionError
    assert is_recording()
    assert not square(x).requires_grad
    assert not square(x).requires_grad  # a second time too
    assert (x * x).requires_grad


@pytest.mark.parametrize("function", [False, 5, "f"])
def test_no_grad_decorates_functions_alone(function):
    with pytest.raises(DTypeError, match="no_grad: expected a function to decorate"):
        no_grad(function)


def test_grad_under_no_grad():
    x = leaf(3.0)
    y = x * x
    with no_grad():
        assert grad(y, x).item() == 6
        assert grad(y, x, create_graph=True).requires_grad


def test_backward_accumulates_in_leaves():
    x, w, other = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(1.0)
    h = x * w
    h.sum().backward()
    h.sum().backward()
    np.testing.assert_array_equal(x.grad.array, [6, 8])
    np.testing.assert_array_equal(w.grad.array, [2, 4])
    assert h.grad is None
    assert other.grad is None
    (x * x).backward(np.array([1.0, 0.0]))
    np.testing.assert_array_equal(x.grad.array, [8, 8])
    assert not x.grad.requires_grad


# -- threads -----------------------------------------------------------------------------------


def in_threads(n, work):
    errors = []

    def run(i):
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_recording_is_per_thread():
    off, done = threading.Event(), threading.Event()

    def work(i):
        if i == 0:
            with no_grad():
                off.set()
                assert done.wait(10)
        else:
            assert off.wait(10)
            assert is_recording()
            assert (leaf(1.0) * 2).requires_grad
            done.set()

    in_threads(2, work)


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_one_graph_in_several_threads(create_graph, all_threads):
    rng = np.random.default_rng(0)
    x = Tensor(rng.normal(size=(2, 1, 5, 5)), requires_grad=True)
    w = Tensor(rng.normal(size=(2, 1, 3, 3)), requires_grad=True)
    y = (ops.tanh(conv.conv2d(x, w)) ** 2).sum()
    expected = [g.numpy() for g in grad(y, [x, w])]

    def work(i):
        for _ in range(20):
            for g, e in zip(grad(y, [x, w], create_graph=create_graph), expected, strict=True):
                np.testing.assert_array_equal(g.array, e)
                assert g.requires_grad == create_graph

    in_threads(4, work)


def test_every_error_is_ours():
    for error in (DTypeError, GraphError, ShapeError):
        assert issubclass(error, MinisnError)


def test_reductions_give_arrays_not_numpys_scalars():
    x = leaf([0.0, 1.0, 2.0], [3.0, 4.0, 5.0])
    results = (x.sum(), ops.max(x), x[1, 2], ops.max(x) * 2.0, ops.exp(ops.max(x)))
    for y in (*results, grad(ops.max(x) * 2.0, x).sum()):
        assert type(y._array) is np.ndarray, y.op
        with pytest.raises(ValueError, match="read-only"):
            y.array[...] = 0.0


def test_a_version_counts_what_a_leaf_was_given():
    x = leaf(1.0)
    assert x.version == 0
    x.assign(np.array([2.0]))
    x.assign(np.array([3.0]))
    assert x.version == 2


def test_a_gradient_is_no_graph_unless_asked_for():
    x = leaf(1.0, 2.0)
    assert not grad((x * x).sum(), x).requires_grad
    assert not grad((x * x).sum(), [x])[0].requires_grad
    assert grad((x * x).sum(), x, create_graph=True).requires_grad


def test_tensors_have_the_length_of_their_first_axis():
    x = leaf([0.0, 1.0, 2.0], [3.0, 4.0, 5.0])
    assert len(x) == 2
    assert [row.shape for row in x] == [(3,), (3,)]


def test_a_gradient_that_is_set_takes_the_type_of_its_tensor():
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    x.grad = np.array([1.0, 2.0])
    assert x.grad.dtype == np.float32
    with pytest.raises(ShapeError, match="expected a gradient of shape"):
        x.grad = np.ones(3)


def test_the_largest_number_of_a_type_fits_it():
    x = Tensor(np.array([0, 1], np.uint8))
    assert (x * 255).numpy().tolist() == [0, 255] and (x * 255).dtype == np.uint8
    with pytest.raises(DTypeError, match="the number 256 does not fit"):
        x * 256


def test_a_frozen_tensor_is_told_from_one_that_never_had_a_gradient():
    x, frozen = (Tensor([2.0], requires_grad=True) for _ in range(2))
    y = x * 3.0
    frozen.requires_grad = False
    with pytest.raises(GraphError, match="it is frozen, so leave it out"):
        grad(y, frozen)
    with pytest.raises(GraphError, match="make it with requires_grad=True before computing y"):
        grad(y, Tensor([1.0]))


# -- everyday traps --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul"]
)
def test_a_parameter_is_not_changed_in_place(name):
    x = leaf(1.0, 2.0)
    with no_grad(), pytest.raises(GraphError, match=r"write p\.assign\(p "):
        getattr(operator, name)(x, x)
    x.requires_grad = False  # frozen, and still a parameter
    with pytest.raises(GraphError, match="leave the parameter as it is"):
        getattr(operator, name)(x, x)
    total = Tensor([1.0, 2.0])
    total += x  # a new tensor under the old name
    np.testing.assert_array_equal(total.numpy(), [2, 4])


def test_a_complex_result_does_not_lose_the_gradient_silently():
    x = leaf(1.0, 2.0)
    for compute in (lambda: x * np.array(1j), lambda: x.astype(complex)):
        with pytest.raises(DTypeError, match="a complex result cannot carry a gradient"):
            compute()
    assert (x.detach() * np.array(1j)).dtype == complex


def test_every_gradient_is_a_tensor_of_its_own():
    a, b, g = leaf(1.0, 2.0), leaf(3.0, 4.0), Tensor([5.0, 6.0])
    (a + b).backward(g)
    a.grad.assign(np.zeros(2))
    np.testing.assert_array_equal(b.grad.numpy(), [5, 6])
    np.testing.assert_array_equal(g.numpy(), [5, 6])
    one, two = grad((a + b).sum(), [a, b])
    assert one is not two


def test_a_leaf_may_be_frozen_between_the_forward_and_the_backward():
    p, q = leaf(1.0, 2.0), leaf(3.0, 4.0)
    loss = (p * q).sum()
    p.requires_grad = False
    loss.backward()
    assert p.grad is None
    np.testing.assert_array_equal(q.grad.numpy(), [1, 2])


@pytest.mark.parametrize("wrong", [1, np.float32, "no"])
def test_keepdims_is_true_or_false(wrong):
    x = Tensor(np.ones((2, 3)))
    for reduce in (x.sum, x.mean, x.max):
        with pytest.raises(DTypeError, match="several axes go in a tuple"):
            reduce(0, wrong)
    assert x.sum(0, np.True_).shape == (1, 3)


def test_an_array_may_be_written_at_the_places_of_a_tensor():
    counts = np.zeros(3)
    np.add.at(counts, Tensor([0, 0, 2]), 1.0)
    np.testing.assert_array_equal(counts, [2, 0, 1])
    with pytest.raises(GraphError, match="cannot write into a tensor"):
        np.add.at(Tensor(counts), [0], 1.0)
