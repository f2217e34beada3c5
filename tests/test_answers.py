"""What tensors answer to Python and NumPy: NumPy's answer, or an error that says what to do."""

import asyncio
import contextlib
import copy
import importlib
import inspect
import math
import operator
import pickle
import pkgutil
import typing

import numpy as np
import pytest

import minisn
from minisn import Tensor, grad, nn, ops, plots
from minisn.errors import DTypeError, GraphError, MinisnError, ShapeError
from minisn.lipschitz import lipschitz_bound
from minisn.metrics.results import Provenance, Score
from minisn.regularizers import SpectralNorm
from minisn.spectral import certificate
from minisn.tensor import RULES, is_recording, no_grad

A = np.array([[0.0, 1.0, -2.0], [3.0, 1.0, np.nan]])
B = np.array([0.0, 1.0, 5.0])


def leaf(values):
    return Tensor(values, requires_grad=True)


def same(tensor, array):
    """Equal values, shape and kind of dtype."""
    array = np.asarray(array)
    assert isinstance(tensor, Tensor)
    assert tensor.dtype == array.dtype
    np.testing.assert_array_equal(tensor.numpy(), array)


# -- comparisons -------------------------------------------------------------------------------

COMPARE = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
OTHERS = [B, 1.0, 1, np.float32(1), [0.0, 1.0, 5.0], np.array(3), True, A, np.array([[0], [3]])]


@pytest.mark.parametrize(
    "other", OTHERS, ids=[str(type(o).__name__) + str(i) for i, o in enumerate(OTHERS)]
)
@pytest.mark.parametrize("compare", COMPARE)
def test_comparisons_are_numpys(compare, other):
    held = Tensor(other) if isinstance(other, np.ndarray) else other
    same(compare(Tensor(A), held), compare(A, np.asarray(other)))
    same(compare(held, Tensor(A)), compare(np.asarray(other), A))
    if isinstance(other, np.ndarray | np.generic):
        same(compare(Tensor(A), other), compare(A, other))
        same(compare(other, Tensor(A)), compare(other, A))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float16])
def test_comparisons_of_other_dtypes(dtype):
    a = np.array([0, 1, 1], dtype)
    for number in (0, 1, 0.5, -1, 300):
        for compare in COMPARE:
            same(compare(Tensor(a), number), compare(a, number))


def test_comparisons_are_constants_and_choose():
    x = leaf([0.0, 1.0, 2.0])
    assert not (x > 0).requires_grad
    safe = ops.where(x == 0, 1.0, x)
    y = ops.where(x == 0, 0.0, ops.log(safe)).sum()
    np.testing.assert_array_equal(grad(y, x).numpy(), [0.0, 1.0, 0.5])
    same((x > 0) & (x < 2), [False, True, False])
    same((x == 0) | ~(x < 2), [True, False, True])
    same((x > 0) ^ True, [True, False, False])


def test_comparisons_with_what_is_no_number():
    assert (Tensor(A) == None) is False  # noqa: E711 - the question is the test
    assert (Tensor(A) != "a") is True
    with pytest.raises(TypeError):
        _ = Tensor(A) < None
    with pytest.raises(ShapeError, match=r"eq: .*broadcast"):
        _ = Tensor(np.ones(2)) == np.ones(3)
    with pytest.raises(DTypeError, match="~: expected booleans"):
        _ = ~Tensor(A)


def test_tensors_are_still_keys_by_identity():
    x, y = Tensor(B), Tensor(B)
    assert {x: 1, y: 2}[x] == 1
    assert x in [x]
    assert 1.0 in Tensor(A)
    assert 7.0 not in Tensor(A)


# -- truth and numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "truth"),
    [
        ([0.0], False),
        ([[0.0]], False),
        (0.0, False),
        (2.0, True),
        ([2], True),
        ([], False),
        (np.nan, True),
        (False, False),
        (np.zeros((0, 3)), False),
    ],
)
def test_truth(values, truth):
    assert bool(Tensor(values)) is truth


def test_truth_of_many_is_refused():
    with pytest.raises(ShapeError, match=r"neither true nor false; ask for \.any\(\) or \.all\(\)"):
        bool(Tensor([0.0, 0.0]))
    assert issubclass(ShapeError, ValueError)  # as NumPy's


def test_one_number():
    t = Tensor(2.75)
    assert (float(t), int(t), complex(t), round(t), round(t, 1)) == (2.75, 2, 2.75 + 0j, 3, 2.8)
    assert (math.floor(t), math.ceil(t), f"{t:.3f}", f"{t:>6}", f"{t}", format(t, "e")) == (
        2,
        3,
        "2.750",
        "  2.75",
        "2.75",
        "2.750000e+00",
    )
    assert f"{Tensor([1.5])}" == "Tensor([1.5], dtype=float64)"
    assert list(range(Tensor(3))) == [0, 1, 2]
    assert [10, 20, 30][Tensor(1)] == 20
    for call in (
        lambda: float(Tensor(B)),
        lambda: int(Tensor(B)),
        lambda: range(Tensor(2.0)),
        lambda: f"{Tensor(B):.2f}",
        lambda: [1][Tensor([0])],
    ):
        with pytest.raises(MinisnError):
            call()
    same(round(Tensor([1.26, -1.25]), 1), [1.3, -1.2])
    assert f"{leaf(1.5):.1f}" == "1.5"


# -- methods ---------------------------------------------------------------------------------------

METHODS = {
    "max": [(), (0,), ((0, 1),), (1, "keepdims")], "min": [(), (0,), (-1,)], "sum": [(), (1,)],
    "mean": [(), (0,)], "var": [(), (1,)], "std": [(), (0,)], "prod": [(), (1,)],
    "cumsum": [(), (0,), (1,)], "argmax": [(), (1,)], "argmin": [(), (0,)],
    "all": [(), (0,)], "any": [(), (1,)], "clip": [(0.0, 1.5), (None, 1.0), (1.0,)],
    "sort": [(), (0,)], "argsort": [(), (0,)], "round": [(), (1,)], "flatten": [()], "ravel": [()],
    "squeeze": [()], "transpose": [(), (1, 0), ((1, 0),)], "swapaxes": [(0, 1)], "repeat": [(2,)],
    "take": [([0, 2],), ([0, 2], 1)], "diagonal": [()], "trace": [()], "copy": [()],
    "dot": [(np.arange(3.0),)], "tolist": [()], "item": [], "astype": [(np.float32,)],
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_numpys(name):
    a = np.random.default_rng(5).normal(size=(4, 3)).round(2)
    for args in METHODS[name]:
        settings = {"keepdims": True} if "keepdims" in map(str, args) else {}
        args = args[:-1] if settings else args
        got = getattr(Tensor(a), name)(*args, **settings)
        right = (np.sort if name == "sort" else getattr(np.ndarray, name))(a, *args, **settings)
        if name == "tolist":
            assert got == right
        else:
            assert got.dtype == np.asarray(right).dtype
            np.testing.assert_allclose(got.numpy(), right, rtol=1e-14)


BINARY = [operator.floordiv, operator.mod, operator.pow, divmod, operator.add, operator.sub,
          operator.mul, operator.truediv]  # fmt: skip


@pytest.mark.parametrize("operate", BINARY)
def test_operators_with_arrays_and_numbers_on_both_sides(operate):
    a, b = np.array([1.0, 2.5, 7.0]), np.array([2.0, 0.5, 3.0])
    for left, right in ((Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b))):
        found = operate(left, right)
        for got, expected in zip(
            found if operate is divmod else (found,),
            operate(a, b) if operate is divmod else (operate(a, b),),
            strict=True,
        ):
            same(got, expected)
    for got, expected in (
        (operate(Tensor(a), 2.0), operate(a, 2.0)),
        (operate(2.0, Tensor(a)), operate(2.0, a)),
        (operate(np.float64(2), Tensor(a)), operate(2.0, a)),
    ):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))
    np.testing.assert_array_equal(abs(Tensor(-a)).numpy(), a)
    assert np.asarray(+Tensor(a)).tolist() == a.tolist()


def test_an_array_on_the_left_is_recorded_too():
    x = leaf([1.0, 2.0])
    np.testing.assert_array_equal(grad((np.array([3.0, 4.0]) * x).sum(), x).numpy(), [3.0, 4.0])
    y = np.array([3.0, 4.0]) ** x
    np.testing.assert_allclose(grad(y.sum(), x).numpy(), [3 * np.log(3), 16 * np.log(4)])


# -- NumPy's functions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        np.asarray,
        np.array,
        np.mean,
        np.max,
        np.exp,
        np.isfinite,
        np.linalg.norm,
        np.sort,
        np.sum,
        lambda a: np.concatenate([a, a]),
        lambda a: np.stack((a, np.ones(3))),
        np.cumsum,
        np.median,
        lambda a: np.where(a > 0, a, 0),
        lambda a: np.array_equal(a, B),
        lambda a: np.allclose(a, B),
        lambda a: np.add(a, 1),
        lambda a: np.maximum(a, 0.5),
        lambda a: np.add.reduce(a),
        lambda a: np.histogram(a, bins=2)[0],
        lambda a: np.interp(a, [0, 9], [0, 1]),
        lambda a: np.array([a, a]),
        lambda a: np.array([a[0], a[1]]),
        lambda a: np.float64(a[0]),
        lambda a: np.percentile(a, 50),
        np.atleast_2d,
        np.copy,
        lambda a: np.savetxt("/dev/null", a),
        np.isnan,
        lambda a: np.dot(a, a),
        lambda a: np.einsum("i,i->", a, a),
        np.shape,
        np.ndim,
    ],
)
def test_numpys_functions_get_the_numbers(function):
    got, right = np.asarray(function(Tensor(B))), np.asarray(function(B))
    assert got.dtype == right.dtype
    np.testing.assert_array_equal(got, right)


@pytest.mark.parametrize(
    "function",
    [
        np.asarray,
        np.mean,
        np.exp,
        lambda a: np.concatenate([a, a]),
        lambda a: np.array([a[0]]),
        lambda a: np.save("/dev/null", a),
        lambda a: Tensor([a[0], a[1]]),
        lambda a: np.add(a, 1),
    ],
)
def test_numpys_functions_refuse_a_graph(function):
    with pytest.raises(GraphError, match=r"pass t\.detach\(\)"):
        function(leaf(B))
    function(leaf(B).detach())


def test_arrays_of_a_tensor_cannot_spoil_it(tmp_path):
    t = Tensor(B)
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(t)[0] = 7.0
    np.array(t)[0] = 7.0
    assert np.asarray(t, dtype=np.float32).dtype == np.float32
    assert t.tolist() == B.tolist()
    np.save(tmp_path / "t.npy", t)
    np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), B)
    same(Tensor([t[0], t[1]]), [0.0, 1.0])
    out = np.zeros(3)
    out += t
    np.testing.assert_array_equal(out, B)


def test_what_is_no_tensor_is_refused_in_a_line():
    for data, error in (
        ([[1.0], [1.0, 2.0]], ShapeError),
        ([None], DTypeError),
        ("a", DTypeError),
        ([[1.0], 2.0], ShapeError),
        ({}, DTypeError),
    ):
        with pytest.raises(error, match="cannot make a tensor of"):
            Tensor(data)


# -- integers --------------------------------------------------------------------------------------

INTEGERS = [np.full(300, 255, np.uint8), np.array([True, True, False]), np.full(200, 100, np.int8),
            np.full(70000, 1, np.int16), np.full(3, 2**31 - 1, np.int32),
            np.array([[3, 4], [-128, 5]], np.int8), np.array([[0, 7]], np.uint8),
            np.array([2**63, 5], np.uint64), np.array([[False], [False]])]  # fmt: skip


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min", "var", "std", "prod", "cumsum"])
@pytest.mark.parametrize("a", INTEGERS, ids=lambda a: f"{a.dtype}{a.size}")
def test_reductions_of_integers_are_numpys(a, reduce):
    for axis in (None, 0):
        with np.errstate(over="ignore"):
            right = np.asarray(getattr(a, reduce)(axis=axis))
        got = getattr(Tensor(a), reduce)(axis=axis)
        assert got.dtype == right.dtype
        np.testing.assert_allclose(got.numpy(), right, rtol=1e-12)
    if a.dtype != bool:
        assert ops.norm(Tensor(a)).item() == pytest.approx(np.linalg.norm(a.astype(float)))


def test_numbers_beside_integers():
    same(1 - Tensor([True, False]), np.array([0, 1]))
    same(Tensor([True, False]) * 0.5, np.array([0.5, 0.0]))
    same(ops.where(Tensor([True, False]), 1.0, 0.0), np.array([1.0, 0.0]))
    for call in (
        lambda: Tensor(np.ones(1, np.uint8)) * 300,
        lambda: Tensor(np.ones(1, np.uint8)) + (-1),
        lambda: Tensor([2]) ** -1,
        lambda: -Tensor([True]),
        lambda: Tensor([1]) * 2**70,
    ):
        with pytest.raises(DTypeError):
            call()


# -- recording -------------------------------------------------------------------------------------


def test_no_grad_decorates_generators_and_coroutines():
    seen = []

    @no_grad()
    def batches(n):
        for i in range(n):
            seen.append(is_recording())
            got = yield i, is_recording()
            seen.append(got)
        return "end"

    walk = batches(2)
    assert (next(walk), is_recording(), walk.send("sent")) == ((0, False), True, (1, False))
    assert list(batches(1)) == [(0, False)]
    assert seen[:3] == [False, "sent", False]
    assert inspect.isgeneratorfunction(batches)

    def outer():
        return (yield from batches(0))

    with pytest.raises(StopIteration, match="end"):
        next(outer())

    @no_grad()
    async def later():
        before = is_recording()
        await asyncio.sleep(0)
        return before, is_recording()

    async def both():
        task = asyncio.create_task(later())
        states = [is_recording()]
        await asyncio.sleep(0)
        states.append(is_recording())
        return [*states, await task]

    assert asyncio.run(both()) == [True, True, (False, False)]


def test_no_grad_in_generators_lets_errors_through_and_ends():
    closed = []

    @no_grad
    def body():
        try:
            while True:
                try:
                    yield is_recording()
                except KeyError:
                    yield "caught"
        finally:
            closed.append(is_recording())

    walk = body()
    assert (next(walk), walk.throw(KeyError()), next(walk)) == (False, "caught", False)
    walk.close()
    assert closed == [False]
    assert is_recording()

    @no_grad()
    def plain(x):
        """Doc."""
        return x, is_recording()

    assert plain(1) == (1, False)
    assert plain.__doc__ == "Doc."
    with pytest.raises(DTypeError, match="asynchronous generator"):

        @no_grad()
        async def many():
            yield 1

    context = no_grad()
    with context, context:
        assert not is_recording()
    assert is_recording()


# -- the package -----------------------------------------------------------------------------------


def test_every_public_module_is_there_and_nothing_else():
    for name in dir(minisn):
        if name != "bench_torch":  # which needs PyTorch
            getattr(minisn, name)
    assert minisn.spectral.power_iteration
    assert {"spectral", "nn", "losses", "Tensor", "grad", "jacobian"} <= set(dir(minisn))
    assert not {"importlib", "pkgutil", "Any", "metadata"} & set(dir(minisn))
    with pytest.raises(AttributeError, match="minisn has no 'spectrum'"):
        _ = minisn.spectrum
    with pytest.raises(AttributeError, match="no operation 'sinus'"):
        _ = ops.sinus


def test_shapes_of_a_recorded_tensor_are_no_secret():
    t = leaf([[1.0, 2.0]])
    assert (np.shape(t), np.ndim(t), np.size(t)) == ((1, 2), 2, 2)


def test_numpy_does_not_write_into_a_tensor():
    t = Tensor([1.0, 2.0])
    for call in (lambda: np.exp(np.ones(2), out=t), lambda: np.add.at(t, 0, 1)):
        with pytest.raises(GraphError, match="NumPy cannot write into a tensor"):
            call()
    same(t, np.array([1.0, 2.0]))


def test_more_of_what_a_numpy_user_types():
    t = leaf([[1.0, 2.0], [3.0, 4.0]])
    same(t.cumprod(0), np.array([[1.0, 2.0], [3.0, 8.0]]))
    same(t.mT, np.array([[1.0, 3.0], [2.0, 4.0]]))
    assert t.nbytes == 32 and math.trunc(t[1, 0]) == 3
    with pytest.raises(AttributeError, match=r"no attribute 'exp'; call minisn.ops.exp\(t\)"):
        t.exp  # noqa: B018
    assert not hasattr(t, "unsqueeze")


@pytest.mark.parametrize(
    ("place", "name", "hint"),
    [
        (Tensor(1.0), "requires_gard", "did you mean 'requires_grad'?"),
        (Tensor(1.0), "detatch", "did you mean 'detach'?"),
        (Tensor(1.0), "sofmax", "did you mean 'softmax'?"),
        (ops, "concatenate", "did you mean 'concat'?"),
        (ops, "lof_softmax", "did you mean 'log_softmax'?"),
        (minisn, "Tenser", "did you mean 'Tensor'?"),
        (minisn, "relu", "call minisn.ops.relu"),
        (minisn, "xyzzy", "dir(minisn) lists all names"),
    ],
)
def test_a_name_that_is_nearly_right(place, name, hint):
    with pytest.raises(AttributeError) as caught:
        getattr(place, name)
    assert str(caught.value).endswith(f"{name!r}; {hint}")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: Tensor([1.0], np.float32), DTypeError, r"requires_grad: .* with .astype\(dtype"),
        (lambda x: Tensor([1.0], "float32"), DTypeError, "requires_grad: expected True or False"),
        (lambda x: Tensor([1.0], "yes"), DTypeError, "got 'yes'; if a dtype was meant, convert"),
        (lambda x: x.reshape("a"), DTypeError, r"reshape: expected whole numbers .* got \('a',"),
        (lambda x: x.reshape(2.0, 1), DTypeError, r"reshape: expected whole .* got \(2.0, 1\)"),
        (lambda x: x.reshape(2.0), DTypeError, r"reshape: expected whole numbers as shape, got 2"),
        (lambda x: x.clip(min=1), TypeError, r"^Tensor.clip\(\) got an unexpected keyword"),
        (lambda x: x.var(correction=1), TypeError, r"^Tensor.var\(\) got an unexpected keyword"),
        (lambda x: setattr(x, "requires_grad", 1), DTypeError, "expected True or False, got 1"),
        (lambda x: setattr(Tensor([1]), "requires_grad", True), DTypeError, "floating-point"),
        (lambda x: setattr(x, "grad", 0), ShapeError, r"shape \(2,\), got \(\); .* set None"),
        (lambda x: setattr(x, "grad", np.ones((2, 1))), ShapeError, "expected a gradient of shape"),
        (lambda x: setattr(x, "grad", "0"), DTypeError, "grad: expected a Tensor"),
        (lambda x: x.__delitem__(0), GraphError, "tensors are not changed in place"),
    ],
)
def test_what_cannot_be_set(change, error, message):
    x = leaf([1.0, 2.0])
    with pytest.raises(error, match=message):
        change(x)
    assert x.requires_grad is True
    assert x.grad is None


def test_a_gradient_can_be_set_in_the_dtype_of_its_tensor():
    x = leaf([1.0, 2.0])
    for given in (np.ones(2, np.float32), [1, 1], Tensor([1.0, 1.0])):
        x.grad = given
        (x * x).sum().backward()
        same(x.grad, np.array([3.0, 5.0]))
    x.grad = None
    x.requires_grad = np.False_
    assert x.grad is None
    assert x.requires_grad is False


def test_an_operand_of_another_library_is_named(torch):
    with pytest.raises(DTypeError, match=r"add: expected a Tensor, .*, got torch\.Tensor"):
        Tensor([1.0]) + torch.ones(1)


def test_copies_and_pickles_of_computed_tensors_keep_their_graph():
    x = leaf([0.5])
    for made in (copy.deepcopy((x, ops.tanh(x) * x)), pickle.loads(pickle.dumps((x, x * x)))):
        leaf_, y = made
        assert grad(y, leaf_).shape == (1,) and y.op is RULES["multiply"]


# -- help and notebooks ----------------------------------------------------------------------------


def signatures():
    """Every public function, class and method of the package that imports here, with its path."""
    for module in pkgutil.walk_packages(minisn.__path__, "minisn."):
        if module.name.endswith(("__main__", ".cuda")):
            continue
        try:
            found = vars(importlib.import_module(module.name))
        except ImportError:  # a framework that is not installed
            continue
        for name, value in found.items():
            if name.startswith("_") or getattr(value, "__module__", "") != module.name:
                continue
            methods = vars(value).items() if inspect.isclass(value) else ()
            for path, call in [(name, value), *((f"{name}.{k}", v) for k, v in methods)]:
                if callable(call) and "._" not in path:
                    with contextlib.suppress(ValueError):  # built in: no signature
                        yield f"{module.name}.{path}", inspect.signature(call)


def test_help_shows_readable_defaults():
    seen = dict(signatures())
    assert len(seen) > 900
    unreadable = {
        f"{path}: {p.name}={p.default!r:.60}"
        for path, signature in seen.items()
        if "conformance.adapters" not in path  # whose defaults are the libraries'
        for p in signature.parameters.values()
        if p.default is not p.empty and (" at 0x" in repr(p.default) or len(repr(p.default)) > 120)
    }
    assert unreadable == set()


def test_what_a_notebook_shows():
    network = nn.Sequential(nn.Linear(2, 3, 0, reparametrize=SpectralNorm()), nn.ReLU())
    page = network._repr_html_()
    assert "Sequential, 9 parameters" in page and "layers.0" in page and "SpectralNorm" in page
    assert page.count("<tr>") == 2  # the header, and the one layer with numbers
    W = np.diag([3.0, 1.0])
    shown = certificate(W, np.array([1.0, 0]), np.array([1.0, 0]))._repr_html_()
    assert '<td style="text-align: left">3</td>' in shown and "residual" in shown
    score = Score(1.5, 0.25, "a <b>", Provenance("Inception score", 100, "digits", "0" * 64))
    assert "1.5 \u00b1 0.25" in score._repr_html_() and "100 of a &lt;b&gt;" in score._repr_html_()
    bound = lipschitz_bound([("first", 2.0, 1.0), ("second", 3.0, 1.0)])
    assert "at most 6" in bound._repr_html_() and "second" in bound._repr_html_()
    figure = plots.spectrum_figure([np.array([2.0, 1.0])])
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_overloads_say_what_they_are():
    found = typing.get_overloads(grad)
    assert len(found) == 2 and all(f.__doc__ for f in found)


def test_a_copy_keeps_its_values_when_the_original_gets_others():
    p = Tensor([1.0, 2.0], requires_grad=True)
    kept = p.copy()
    p.assign(np.array([5.0, 5.0]))
    np.testing.assert_array_equal(kept.array, [1.0, 2.0])
    assert kept is not p


def test_assign_copies_and_takes_a_tensor():
    p, w = Tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0])
    p.assign(w)
    w[:] = 100
    np.testing.assert_array_equal(p.array, [3.0, 4.0])
    p.assign(p.detach() * 2)
    np.testing.assert_array_equal(p.array, [6.0, 8.0])


@pytest.mark.parametrize(
    ("base", "exponent"), [(np.array([200], np.uint8), 2.0), (np.array([2**40]), 2.0),
                           (np.array([4]), -0.5), (np.array([4]), -1.0), (np.array([3]), 2)],
)  # fmt: skip
def test_an_integer_has_the_powers_that_numpy_gives_it(base, exponent):
    found = Tensor(base) ** exponent
    np.testing.assert_array_equal(found.array, base**exponent)
    assert found.dtype == (base**exponent).dtype


def test_gradients_in_half_precision_stay_where_they_belong():
    x = Tensor(np.ones(3, np.float16), requires_grad=True)
    g = grad(x[[0, 1]], x, grad_output=np.array([np.inf, 1.0], np.float16))
    np.testing.assert_array_equal(g.array, [np.inf, 1.0, 0.0])


def test_max_pooling_of_negative_integers_has_no_zeros_from_the_padding():
    found = ops.max_pool2d(Tensor(np.full((1, 1, 2, 2), -5, np.int8)), 2, padding=1)
    np.testing.assert_array_equal(found.array, np.full((1, 1, 2, 2), -5))


def test_batch_normalization_of_single_values_is_refused():
    with pytest.raises(ShapeError, match="a channel needs more than one value"):
        nn.BatchNorm(3)(np.ones((1, 3), np.float32))
    assert nn.BatchNorm(3).eval()(np.ones((1, 3), np.float32)).shape == (1, 3)
