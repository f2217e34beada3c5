"""Operations: values, first and second gradients against PyTorch, the edges, the refusals.

CASES is the table of all operations; test_backend runs it on another array library.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minisn import Tensor, grad, ops
from minisn.backend import to_numpy
from minisn.errors import DTypeError, MinisnError, ShapeError
from minisn.precision import tame
from minisn.tensor import RULES, Node, _graph

U = np.finfo(np.float64).eps
U32 = float(np.finfo(np.float32).eps)


# -- the table -------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An operation, PyTorch's form of it, and where to try both.

    ``draw`` gives the shapes of the inputs and the settings; ``low`` and ``high`` bound
    the entries; ``kernels`` says that the operation runs in the kernel modules.
    """

    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    draw: st.SearchStrategy
    low: float = -2.0
    high: float = 2.0
    kernels: bool = False


def shapes(least=0, most=4):
    return hnp.array_shapes(min_dims=least, max_dims=most, max_side=4)


def one(least=0, most=4, **params):
    """One input of any shape, with settings drawn on their own."""
    return st.tuples(shapes(least, most).map(lambda s: (s,)), st.fixed_dictionaries(params))


def broadcast(n):
    return st.tuples(
        hnp.mutually_broadcastable_shapes(num_shapes=n, max_dims=3, max_side=4).map(
            lambda drawn: drawn.input_shapes
        ),
        st.just({}),
    )


@st.composite
def reduced(draw, **params):
    shape = draw(shapes(1))
    some = hnp.valid_tuple_axes(len(shape), min_size=1)
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1) | some)
    return (shape,), {"axis": axis, **{k: draw(v) for k, v in params.items()}}


@st.composite
def averaged(draw):
    (shape,), params = draw(reduced(eps=st.sampled_from([1e-5, 0.5])))
    params["axis"] = tuple(range(len(shape))) if params["axis"] is None else params["axis"]
    return (shape,), params


@st.composite
def pulled_back(draw):
    shape = draw(shapes(1))
    axis = draw(hnp.valid_tuple_axes(len(shape), min_size=1))
    at = {a % len(shape) for a in axis}
    kept = tuple(1 if i in at else n for i, n in enumerate(shape))
    return (shape, shape, kept), {"axis": axis}


@st.composite
def reshaped(draw):
    shape = draw(shapes())
    target = draw(st.permutations(shape)) + [1] * draw(st.integers(0, 1))
    if draw(st.booleans()) and target:
        target[draw(st.integers(0, len(target) - 1))] = -1
    return (shape,), {"shape": tuple(target)}


@st.composite
def permuted(draw):
    shape = draw(shapes())
    signs = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    order = draw(st.permutations(range(len(shape))))
    axes = tuple(a - len(shape) * minus for a, minus in zip(order, signs, strict=True))
    return (shape,), {"axes": axes}


@st.composite
def joined(draw, ragged):
    shape = draw(shapes(1))
    count = draw(st.integers(1, 3))
    if not ragged:
        return (shape,) * count, {"axis": draw(st.integers(-len(shape) - 1, len(shape)))}
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    at = axis % len(shape)
    return tuple((*shape[:at], draw(st.integers(1, 3)), *shape[at + 1 :]) for _ in range(count)), {
        "axis": axis
    }


@st.composite
def padded(draw):
    shape = draw(shapes())
    width = st.tuples(st.integers(0, 2), st.integers(0, 2))
    return (shape,), {"widths": tuple(draw(width) for _ in shape)}


@st.composite
def indexed(draw):
    shape = draw(shapes(1, 3))
    basic = hnp.basic_indices(shape, allow_newaxis=True)
    at = draw(st.integers(0, len(shape) - 1))
    few = hnp.arrays(np.int64, st.integers(1, 5), elements=st.integers(-shape[at], shape[at] - 1))
    one_axis = few.map(lambda places: (slice(None),) * at + (places,))
    return (shape,), {
        "index": draw(
            basic
            | one_axis
            | hnp.integer_array_indices(shape)
            | hnp.arrays(np.bool_, shape)
            | st.integers(-shape[0], shape[0] - 1)
            | st.just(...)
        )
    }


@st.composite
def scattered(draw):
    (shape,), params = draw(indexed())
    selected = np.zeros(shape)[params["index"]].shape
    return (selected,), {"index": params["index"], "shape": shape}


@st.composite
def multiplied(draw):
    drawn = draw(
        hnp.mutually_broadcastable_shapes(
            signature="(n?,k),(k,m?)->(n?,m?)", max_dims=2, max_side=4
        )
    )
    return drawn.input_shapes, {}


@st.composite
def images(draw, name=None, divisible=False):
    n, c, h, w = (draw(st.integers(1, 3)) for _ in range(4))
    k = draw(st.integers(1, 3))
    if divisible:
        h, w = h * k, w * k
    return ((n, c, h, w),), ({name: k} if name else {})


@st.composite
def spread(draw):
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=1, max_dims=3, max_side=3))
    base = drawn.input_shapes[0]
    lead = draw(st.lists(st.integers(1, 3), max_size=2))
    full = [draw(st.integers(1, 3)) if n == 1 else n for n in base]
    return (base,), {"shape": (*lead, *full)}


def dims(x, axis):
    return tuple(range(x.ndim)) if axis is None else axis


def torch_getitem(torch, x, index):
    places = np.arange(math.prod(x.shape)).reshape(x.shape)[index]
    return x.reshape(-1)[torch.from_numpy(np.array(places))]


def torch_scatter(torch, g, index, shape):
    places = torch.from_numpy(np.array(np.arange(math.prod(shape)).reshape(shape)[index]))
    zeros = torch.zeros(math.prod(shape), dtype=g.dtype)
    return zeros.index_add(0, places.reshape(-1), g.reshape(-1)).reshape(shape)


def torch_standardize(torch, x, axis, eps):
    mean = x.mean(axis, keepdim=True)
    return (x - mean) / ((x - mean) ** 2).mean(axis, keepdim=True).add(eps).sqrt()


def torch_standardize_pull(torch, g, y, spread, axis):
    return (g - g.mean(axis, keepdim=True) - y * (g * y).mean(axis, keepdim=True)) / spread


def torch_pad(torch, x, widths):
    return torch.nn.functional.pad(x, [n for pair in widths[::-1] for n in pair])


def torch_reduce(name, **more):
    def reduce(torch, x, axis, keepdims=False):
        return getattr(torch, name)(x, dim=dims(x, axis), keepdim=keepdims, **more)

    return reduce


def elementwise(name, low=-2.0, high=2.0, kernels=False):
    return Case(
        name,
        getattr(ops, name),
        lambda torch, x: (getattr(torch, name, None) or getattr(torch.nn.functional, name))(x),
        one(),
        low,
        high,
        kernels,
    )


KEEP = st.booleans()
EXPONENTS = st.sampled_from([-2, -0.5, 0, 0.5, 1, 2, 2.5, 3])
SLOPES = st.sampled_from([0.0, 0.1, 0.5, 1.5])

CASES = [
    Case("add", lambda a, b: a + b, lambda torch, a, b: a + b, broadcast(2)),
    Case("subtract", lambda a, b: a - b, lambda torch, a, b: a - b, broadcast(2)),
    Case("multiply", lambda a, b: a * b, lambda torch, a, b: a * b, broadcast(2)),
    Case("divide", lambda a, b: a / b, lambda torch, a, b: a / b, broadcast(2), 0.5, 2),
    Case("inverse", ops.inverse, lambda torch, x: 1 / x, one(), 0.5, 2),
    Case("negative", lambda x: -x, lambda torch, x: -x, one()),
    Case("power", ops.power, lambda torch, x, exponent: x**exponent,
         one(exponent=EXPONENTS), 0.5, 2),
    Case("power of negative", lambda x: x**3 + x**2, lambda torch, x: x**3 + x**2, one()),
    elementwise("exp"),
    elementwise("log", 0.5, 2),
    elementwise("sqrt", 0.25, 4),
    elementwise("abs"),
    Case("maximum", ops.maximum, lambda torch, a, b: torch.maximum(a, b), broadcast(2)),
    Case("minimum", ops.minimum, lambda torch, a, b: torch.minimum(a, b), broadcast(2)),
    Case("clip", lambda x: ops.clip(x, -0.7, 1.1), lambda torch, x: x.clip(-0.7, 1.1), one()),
    Case("where", lambda a, b, c: ops.where(c.array > 0, a, b),
         lambda torch, a, b, c: torch.where(c > 0, a, b), broadcast(3)),
    elementwise("tanh"),
    elementwise("sigmoid"),
    elementwise("softplus"),
    elementwise("relu", kernels=True),
    Case("leaky_relu", ops.leaky_relu,
         lambda torch, x, slope: torch.where(x > 0, x, slope * x),
         one(slope=SLOPES), kernels=True),
    Case("leaky_relu_pull", lambda g, x, slope: ops.leaky_relu_pull(g * 1.0, x, slope=slope),
         lambda torch, g, x, slope: torch.where(x > 0, g, slope * g),
         shapes().map(lambda s: ((s, s), {"slope": 0.2})), kernels=True),
    Case("sum", ops.sum, torch_reduce("sum"), reduced(keepdims=KEEP), kernels=True),
    Case("mean", ops.mean, torch_reduce("mean"), reduced(keepdims=KEEP), kernels=True),
    Case("var", ops.var, torch_reduce("var", correction=0), reduced(keepdims=KEEP), kernels=True),
    Case("max", ops.max, torch_reduce("amax"), reduced(keepdims=KEEP)),
    Case("min", ops.min, torch_reduce("amin"), reduced(keepdims=KEEP)),
    Case("logsumexp", ops.logsumexp, torch_reduce("logsumexp"), reduced(keepdims=KEEP)),
    Case("log_softmax", ops.log_softmax, lambda torch, x, axis: x.log_softmax(axis),
         one(1, axis=st.just(-1))),
    Case("reshape", ops.reshape, lambda torch, x, shape: x.reshape(shape), reshaped()),
    Case("permute", ops.permute, lambda torch, x, axes: x.permute(axes), permuted()),
    Case("transpose", lambda x: x.T, lambda torch, x: x.permute(tuple(range(x.ndim))[::-1]),
         one()),
    Case("concat", lambda *xs, axis: ops.concat(xs, axis=axis),
         lambda torch, *xs, axis: torch.concat(xs, axis), joined(ragged=True)),
    Case("stack", lambda *xs, axis: ops.stack(xs, axis=axis),
         lambda torch, *xs, axis: torch.stack(xs, axis), joined(ragged=False)),
    Case("pad", ops.pad, torch_pad, padded()),
    Case("getitem", lambda x, index: x[index], torch_getitem, indexed(), kernels=True),
    Case("scatter", ops.scatter, torch_scatter, scattered(), kernels=True),
    Case("broadcast_to", ops.broadcast_to, lambda torch, x, shape: x.broadcast_to(shape),
         spread()),
    Case("astype", lambda x: ops.astype(x, x.dtype) * x, lambda torch, x: x * x, one()),
    Case("matmul", lambda a, b: a @ b, lambda torch, a, b: a @ b, multiplied()),
    Case("avg_pool2d", ops.avg_pool2d,
         lambda torch, x, size: torch.nn.functional.avg_pool2d(x, size),
         images("size", divisible=True)),
    Case("upsample_nearest2d", ops.upsample_nearest2d,
         lambda torch, x, factor: torch.nn.functional.interpolate(
             x, scale_factor=(float(factor),) * 2), images("factor")),
    Case("global_sum_pool2d", ops.global_sum_pool2d, lambda torch, x: x.sum((2, 3)), images()),
]  # fmt: skip


def derivatives(f, xs, c, ds):
    """Value, gradients and second gradients: all arrays that two libraries must agree on."""
    y = f(*xs)
    gs = grad(y, xs, grad_output=c, create_graph=True)
    s = sum((g * d).sum() for g, d in zip(gs, ds, strict=True))
    return [y, *gs, *grad(s, [*xs, c])]


def torch_derivatives(torch, f, xs, c, ds):
    def pull(y, xs, g, create_graph):
        return torch.autograd.grad(
            y, xs, g, create_graph=create_graph, materialize_grads=True, allow_unused=True
        )

    y = f(torch, *xs)
    gs = pull(y, xs, c, True)
    s = sum((g * d).sum() for g, d in zip(gs, ds, strict=True)) + 0.0 * c.sum()
    return [y, *gs, *pull(s, [*xs, c], None, False)]


def draw_inputs(data, case):
    """Draw settings, inputs, a gradient of the result, and directions for the second order."""
    sizes, params = data.draw(case.draw, label=case.name)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    xs = [np.array(rng.uniform(case.low, case.high, size)) for size in sizes]
    y = case.ours(*(Tensor(x) for x in xs), **params)
    c = np.array(rng.normal(size=y.shape))
    ds = [np.array(rng.normal(size=size)) for size in sizes]
    return params, xs, c, ds


def check_close(ours, theirs):
    """Compare to rounding: each entry sums at most 2^8 terms of at most 2^3 roundings each."""
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.shape == b.shape, i
        scale = max(1.0, np.abs(b).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=0, atol=2**11 * U * scale, err_msg=f"array {i}")


@pytest.mark.parametrize(
    ("case", "kernel_name"),
    [
        pytest.param(case, name, id=f"{case.name}-{name}")
        for case in CASES
        for name in (("spec", "array_api", "cpu") if case.kernels else ("auto",))
    ],
    indirect=["kernel_name"],
)
@given(data=st.data())
def test_two_orders_against_torch(case, kernel_name, torch, data):
    params, xs, c, ds = draw_inputs(data, case)
    ours = derivatives(
        lambda *xs: case.ours(*xs, **params),
        [Tensor(x, requires_grad=True) for x in xs],
        Tensor(c, requires_grad=True),
        [Tensor(d) for d in ds],
    )
    theirs = torch_derivatives(
        torch,
        lambda torch, *xs: case.theirs(torch, *xs, **params),
        [torch.tensor(x, requires_grad=True) for x in xs],
        torch.tensor(c, requires_grad=True),
        [torch.tensor(d) for d in ds],
    )
    check_close([t.array for t in ours], [t.numpy(force=True) for t in theirs])


@settings(max_examples=3)
@given(data=st.data())
def test_the_table_holds_every_operation(data):
    seen = set()
    for case in CASES:
        params, xs, c, _ = draw_inputs(data, case)
        xs = [Tensor(x, requires_grad=True) for x in xs]
        y = case.ours(*xs, **params)
        c = Tensor(c, requires_grad=True)
        for result in (y, *grad(y, xs, grad_output=c, create_graph=True)):
            seen |= {node.op.name for node in _graph(result.vertex) if isinstance(node, Node)}
    here = {name for name, op in RULES.items() if op.__module__ in ("minisn.tensor", "minisn.ops")}
    assert here - seen == set(), "operations without a case"


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_operation_states_its_formula(name):
    assert ".. math::" in RULES[name].__doc__


def test_public_names_exist():
    assert sorted(set(ops.__all__)) == ops.__all__
    assert all(callable(getattr(ops, name)) for name in ops.__all__)


# -- the edges ------------------------------------------------------------------------------


def vector(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def two_orders(f, x):
    """Value, gradient and second gradient of a sum."""
    y = f(x)
    g = grad(y.sum(), x, create_graph=True)
    gg = grad(g.sum(), x) if g.requires_grad else Tensor(np.zeros_like(x.array))
    return [t.array for t in (y, g, gg)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (ops.softplus, [1e4, -1e4], ([1e4, 0], [1, 0], [0, 0])),
        (ops.sigmoid, [1e4, -1e4], ([1, 0], [0, 0], [0, 0])),
        (ops.tanh, [1e4, -1e4], ([1, -1], [0, 0], [0, 0])),
        (ops.logsumexp, [1e4, -1e4, 0], (1e4, [1, 0, 0], [0, 0, 0])),
        (ops.logsumexp, [-1e4, -2e4, -3e4], (-1e4, [1, 0, 0], [0, 0, 0])),
        (ops.log_softmax, [1e4, -1e4, 0], ([0, -2e4, -1e4], [-2, 1, 1], [0, 0, 0])),
        (ops.sqrt, [0.0, 4.0], ([0, 2], [0, 0.25], [0, -1 / 32])),
        (ops.abs, [0.0, -3.0], ([0, 3], [0, -1], [0, 0])),
        (ops.relu, [0.0, -1.0, 2.0], ([0, 0, 2], [0, 0, 1], [0, 0, 0])),
        (
            lambda x: ops.leaky_relu(x, slope=0.25),
            [0.0, -1.0, 2.0],
            ([0, -0.25, 2], [0.25, 0.25, 1], [0, 0, 0]),
        ),
        (
            lambda x: ops.clip(x, -1, 1),
            [-1.0, 0.0, 1.0, 3.0],
            ([-1, 0, 1, 1], [0.5, 1, 0.5, 0], [0, 0, 0, 0]),
        ),
        (lambda x: ops.maximum(x, 0.0), [0.0, -1.0, 2.0], ([0, 0, 2], [0.5, 0, 1], [0, 0, 0])),
        (lambda x: ops.minimum(x, 0.0), [0.0, -1.0, 2.0], ([0, -1, 0], [0.5, 1, 0], [0, 0, 0])),
        (ops.max, [3.0, 1.0, 3.0], (3, [0.5, 0, 0.5], [0, 0, 0])),
        (ops.min, [3.0, 1.0, 1.0, 1.0], (1, [0, 1 / 3, 1 / 3, 1 / 3], [0, 0, 0, 0])),
        (lambda x: x**0, [0.0, 2.0], ([1, 1], [0, 0], [0, 0])),
        (lambda x: x**1, [0.0, 2.0], ([0, 2], [1, 1], [0, 0])),
        (lambda x: x**2, [0.0, 2.0], ([0, 4], [0, 4], [2, 2])),
    ],
)
def test_edges(f, x, expected, dtype):
    for got, value in zip(two_orders(f, vector(*x, dtype=dtype)), expected, strict=True):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, np.array(value, dtype))


def test_ties_along_one_axis():
    x = Tensor([[1.0, 1.0, 0.0], [2.0, 5.0, 3.0]], requires_grad=True)
    g = grad(ops.max(x, axis=1).sum(), x)
    np.testing.assert_array_equal(g.array, [[0.5, 0.5, 0], [0, 1, 0]])
    a, b = vector(1.0, 2.0), vector(1.0, 3.0)
    g_a, g_b = grad(ops.maximum(a, b).sum(), [a, b])
    np.testing.assert_array_equal(g_a.array, [0.5, 0])
    np.testing.assert_array_equal(g_b.array, [0.5, 1])


def test_a_gradient_penalty_survives_a_flat_critic():
    w = vector(0.0, 0.0, 3.0)
    x = Tensor(np.ones((2, 3)) * [[0.0], [1.0]], requires_grad=True)
    y = (x * w).sum()
    g = grad(y, x, create_graph=True) * Tensor([[0.0], [1.0]])  # flat at the first point
    penalty = ((ops.sqrt((g * g).sum(axis=1)) - 1.0) ** 2).mean()
    assert penalty.item() == (1 + 4) / 2
    np.testing.assert_array_equal(grad(penalty, w).array, [0, 0, 2])


TAILS = np.concatenate([np.linspace(-85, 85, 2001), np.geomspace(1e-30, 1e-3, 50)])


@pytest.mark.parametrize(
    ("f", "exact"),
    [
        (ops.sigmoid, scipy.special.expit),
        (ops.softplus, lambda x: np.logaddexp(0, x)),
        (lambda x: grad(ops.softplus(x), x, np.ones(x.shape)), scipy.special.expit),
    ],
    ids=["sigmoid", "softplus", "gradient of softplus"],
)
def test_tails_are_accurate_in_float32(f, exact):
    x = Tensor(TAILS.astype(np.float32), requires_grad=True)
    # relative error: e^x within 2 ulp, its argument exact, three more roundings
    np.testing.assert_allclose(f(x).array, exact(x.array.astype(np.float64)), rtol=4 * U32)


def test_logsumexp_of_shifted_rows():
    x = np.random.default_rng(0).normal(size=(5, 7))
    for shift in (-1e4, 0.0, 1e4):
        y = ops.logsumexp(Tensor(x + shift), axis=1).array
        exact = scipy.special.logsumexp(x, axis=1) + shift
        np.testing.assert_allclose(y, exact, rtol=0, atol=4 * U * max(1, abs(shift)))


def test_selection_by_tensors_lists_and_numpy_numbers():
    x = vector(1.0, 2.0, 3.0)
    for index in (Tensor([2, 0, 2]), [2, 0, 2], np.array([2, 0, 2])):
        y = x[index]
        np.testing.assert_array_equal(y.array, [3, 1, 3])
        np.testing.assert_array_equal(grad(y.sum(), x).array, [1, 0, 2])
    assert x[np.int64(1)].item() == 2.0
    rows = Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    np.testing.assert_array_equal(rows[Tensor([1, 1]), 0].array, [2, 2])
    np.testing.assert_array_equal(rows[:, np.array([True, False])].array, [[0], [2], [4]])


def test_clip_and_pad_leave_their_input_alone():
    x = vector(1.0, 2.0)
    y = ops.pad(x, ((0, 0),))
    np.testing.assert_array_equal(y.array, x.array)
    np.testing.assert_array_equal(grad(y.sum(), x).array, [1, 1])


# -- the refusals -------------------------------------------------------------------------------


def zeros(*shape, dtype=np.float64):
    return Tensor(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: zeros(2) + zeros(3), ShapeError, r"add: given shapes \(2,\), \(3,\)"),
        (lambda: zeros(2, 3) * zeros(2), ShapeError, r"multiply: given shapes \(2, 3\), \(2,\)"),
        (lambda: ops.maximum(zeros(2), zeros(3)), ShapeError, "maximum: given shapes"),
        (lambda: ops.where(zeros(2), zeros(3), 0.0), ShapeError, "where: given shapes"),
        (lambda: zeros(2).sum(axis=1), ShapeError, "sum: axis 1 does not exist in a tensor with 1"),
        (
            lambda: zeros(2, 3).sum(axis=(0, -2)),
            ShapeError,
            r"sum: axis \(0, -2\) names an axis twice",
        ),
        (lambda: ops.logsumexp(zeros(2), axis=-2), ShapeError, "logsumexp: axis -2 does not"),
        (lambda: ops.max(zeros(0, 3)), ShapeError, r"max: a tensor of shape \(0, 3\) has no"),
        (
            lambda: zeros(2, 3).reshape(4),
            ShapeError,
            r"reshape: 6 entries of shape \(2, 3\) do not fit shape \(4,\)",
        ),
        (lambda: ops.broadcast_to(zeros(2), (3,)), ShapeError, r"broadcast_to: given shapes \(2,"),
        (
            lambda: ops.permute(zeros(2, 3), (0,)),
            ShapeError,
            r"permute: \(0,\) is not an order of 2 axes",
        ),
        (lambda: ops.permute(zeros(2, 3), (0, -2)), ShapeError, "permute: .* names an axis twice"),
        (
            lambda: ops.permute(zeros(2, 3), (0, 3)),
            ShapeError,
            r"permute: axis \(0, 3\) does not exist in a tensor with 2 axes",
        ),
        (lambda: ops.concat([]), ShapeError, "concat: expected at least one tensor, got none"),
        (
            lambda: ops.concat([zeros(2, 3), zeros(2, 4)]),
            ShapeError,
            r"concat: shapes \(2, 3\), \(2, 4\) differ outside axis 0",
        ),
        (
            lambda: ops.concat([zeros(2)], axis=1),
            ShapeError,
            "concat: axis 1 does not exist in a tensor with 1 axes",
        ),
        (
            lambda: ops.stack([zeros(2), zeros(3)]),
            ShapeError,
            r"stack: expected tensors of one shape, got \[\(2,\), \(3,\)\]",
        ),
        (lambda: ops.stack([]), ShapeError, "stack: expected at least one tensor"),
        (lambda: ops.stack([zeros(2)], axis=2), ShapeError, "stack: axis 2 does not exist"),
        (lambda: ops.pad(zeros(2), ((-1, 0),)), ShapeError, "pad: widths: expected a whole number"),
        (lambda: ops.pad(zeros(2), ((0, 0), (0, 0))), ShapeError, "pad: expected 1 pairs"),
        (lambda: zeros(2)[3], ShapeError, r"getitem: shape \(2,\) has no entries 3"),
        (lambda: zeros(2)[0, 0], ShapeError, r"getitem: shape \(2,\) has no entries \(0, 0\)"),
        (lambda: zeros(2)[np.array([0, 5])], ShapeError, "getitem: .* out of bounds"),
        (lambda: zeros(2)["a"], ShapeError, r"getitem: shape \(2,\) has no entries 'a'"),
        (
            lambda: zeros(2) @ zeros(3),
            ShapeError,
            r"matmul: inner sizes differ: \(2,\) has 2 columns, \(3,\) has 3 rows",
        ),
        (lambda: zeros(2, 3) @ zeros(2, 3), ShapeError, "has 3 columns, .* has 2 rows"),
        (lambda: zeros(2, 4, 3) @ zeros(3, 3, 4), ShapeError, "matmul: given shapes"),
        (lambda: zeros() @ zeros(2), ShapeError, "matmul: expected vectors or matrices, got shape"),
        (lambda: ops.clip(zeros(2), 1, 0), MinisnError, "lower limit 1 is above the upper limit 0"),
        (
            lambda: ops.avg_pool2d(zeros(1, 1, 5, 4), 2),
            ShapeError,
            "avg_pool2d: 5x4 pixels are not divisible by 2; pad or crop",
        ),
        (
            lambda: ops.avg_pool2d(zeros(1, 1, 4, 4), 0),
            ShapeError,
            "avg_pool2d: size: expected a whole number of at least 1 .*, got 0",
        ),
        (
            lambda: ops.upsample_nearest2d(zeros(1, 1, 4, 4), 1.5),
            ShapeError,
            "upsample_nearest2d: factor: expected a whole number",
        ),
        (
            lambda: ops.upsample_nearest2d(zeros(4, 4)),
            ShapeError,
            r"upsample_nearest2d: expected images \[N, C, H, W\], got shape \(4, 4\)",
        ),
        (lambda: ops.global_sum_pool2d(zeros(4)), ShapeError, "global_sum_pool2d: expected images"),
        (lambda: zeros(2) ** "2", DTypeError, "raise_to: expected a Tensor"),
        (lambda: ops.exp("1"), DTypeError, "exp: expected a Tensor, an array or a number, got str"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_leaky_relu_of_a_negative_slope_looks_at_what_it_was_given():
    x = Tensor(np.array([-2.0, 3.0]), requires_grad=True)
    np.testing.assert_array_equal(grad(ops.leaky_relu(x, slope=-0.5).sum(), x).array, [-0.5, 1.0])


def test_tensors_are_stacked_along_a_new_first_axis_unless_told():
    a = zeros(2, 3)
    assert ops.stack([a] * 5).shape == (5, 2, 3)
    assert ops.concat([a] * 5).shape == (10, 3)


@pytest.mark.parametrize(
    "index",
    [
        np.array([2, 0, 2]),
        np.array([[1, 0], [2, 2]]),
        (slice(None), np.array([1, 0])),
        (slice(None), np.array([[1], [0]])),
        (1, ...),
        (None, slice(0, 2)),
        (slice(None), 1),
    ],
    ids=[
        "rows",
        "a matrix of rows",
        "columns",
        "a matrix of columns",
        "one row",
        "a new axis",
        "one column",
    ],
)
def test_what_is_selected_is_the_same_in_an_array_library_that_allows_no_more_than_the_standard(
    index,
):
    strict = pytest.importorskip("array_api_strict", reason="needs array-api-strict")
    x = np.arange(24.0).reshape(3, 2, 4)

    def theirs(part):
        return strict.asarray(part) if isinstance(part, np.ndarray) else part

    at = tuple(map(theirs, index)) if isinstance(index, tuple) else theirs(index)
    t = Tensor.wrap(strict.asarray(x), requires_grad=True)
    y = t[at]
    np.testing.assert_array_equal(to_numpy(y.array), x[index])
    g = np.zeros_like(x)
    np.add.at(g, index, 2 * x[index])
    np.testing.assert_array_equal(to_numpy(grad((y * y).sum(), t).array), g)


def test_lengths_of_rows_are_each_in_their_own_unit():
    x = np.array([[3e-200, 4e-200], [3e200, 4e200], [3.0, 4.0]])
    np.testing.assert_allclose(ops.norm(Tensor(x), axis=1).array, [5e-200, 5e200, 5.0], rtol=1e-14)
    np.testing.assert_allclose(
        ops.norm(Tensor(x.T), axis=0, keepdims=True).array, [[5e-200, 5e200, 5.0]], rtol=1e-14
    )
    np.testing.assert_array_equal(tame(x, axis=1), [[4e-200], [4e200], [1.0]])


def test_images_grow_and_shrink_by_two_unless_told():
    x = zeros(1, 1, 4, 4)
    assert ops.upsample_nearest2d(x).shape == (1, 1, 8, 8)
    assert ops.avg_pool2d(x).shape == (1, 1, 2, 2)


def test_reductions_leave_their_axes_out_unless_told():
    x = zeros(2, 3)
    for f in (ops.max, ops.min, ops.sum, ops.mean, ops.var, ops.norm, ops.logsumexp):
        assert f(x, axis=1).shape == (2,), f
        assert f(x, axis=1, keepdims=True).shape == (2, 1), f


def test_large_logits_do_not_overflow():
    x = Tensor(np.array([1000.0, 0.0]))
    assert ops.logsumexp(x).item() == 1000.0
    np.testing.assert_array_equal(ops.log_softmax(x, axis=0).array, [0.0, -1000.0])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 3)),
        ((3, 1), (1,)),
        ((5, 2, 1), (1,)),
        ((1,), (1, 3)),
        ((2, 3, 1), (1, 4)),
    ],
)
def test_products_of_vectors_with_stacks_of_matrices(a, b):
    rng = np.random.default_rng(0)
    x, y = (Tensor(rng.normal(size=s), requires_grad=True) for s in (a, b))
    z = x @ y
    expected = x.array @ y.array
    assert z.shape == expected.shape
    np.testing.assert_allclose(z.array, expected, rtol=1e-14)
    c = rng.normal(size=z.shape)
    for g, t in zip(grad((z * c).sum(), [x, y]), (x, y), strict=True):
        step = rng.normal(size=t.shape)
        moved = (x.array + step, y.array) if t is x else (x.array, y.array + step)
        slope = ((moved[0] @ moved[1] - expected) * c).sum()  # the product is linear in each
        assert (g.array * step).sum() == pytest.approx(slope, rel=1e-10)


def test_a_number_is_no_factor_of_a_matrix_product():
    for a, b in ((zeros(), zeros(3)), (zeros(3), zeros())):
        with pytest.raises(ShapeError, match="matmul: expected vectors or matrices"):
            ops.matmul(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_has_an_inverse_from_just_above_the_smallest_normal_one(dtype):
    least = np.finfo(dtype).smallest_normal
    x = Tensor(np.array([least, np.nextafter(least, dtype(1)), -least], dtype))
    y = ops.inverse(x).array
    assert y[0] == y[2] == 0 and 0 < y[1] < np.finfo(dtype).max


@pytest.mark.parametrize("widths", [((0, -1),), ((-1, 0),), ((0, 0), (0, 0))])
def test_padding_never_takes_away(widths):
    with pytest.raises(
        ShapeError, match=r"pad: (widths: expected a whole number|expected 1 pairs)"
    ):
        ops.pad(zeros(3), widths=widths)


def test_what_is_meant_where_nothing_is_said():
    x = Tensor(np.array([[-1.0, 0.0], [0.0, 2.0]]))
    np.testing.assert_array_equal(ops.leaky_relu(x).array, [[-0.1, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(np.exp(ops.log_softmax(x).array).sum(1), [1.0, 1.0], rtol=1e-15)
    np.testing.assert_array_equal(ops.clip(x, 1.0, 1.0).array, np.ones((2, 2)))


def test_the_slope_of_a_negative_power_at_0_is_infinite():
    x = Tensor([0.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        assert grad((x**-0.5).sum(), x).item() == -np.inf


def test_clip_takes_one_limit():
    x = Tensor([-2.0, 3.0])
    np.testing.assert_array_equal(ops.clip(x, None, 1.0).array, [-2.0, 1.0])
    np.testing.assert_array_equal(ops.clip(x, 0.0).array, [0.0, 3.0])


@pytest.mark.parametrize("slope", [0.3, -0.2])
def test_a_learned_slope_has_its_gradient_whatever_its_sign(slope):
    a, x = Tensor(slope, requires_grad=True), Tensor([-2.0, 1.0, -0.5], requires_grad=True)
    by_slope, by_x = grad(ops.leaky_relu(x, a).sum(), [a, x])
    assert float(by_slope) == pytest.approx(-2.5)
    np.testing.assert_allclose(by_x.array, [slope, 1.0, slope])
