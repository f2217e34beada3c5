"""Kernels: every module against the specification's loops, and the choice among them."""

import ast
import importlib
import io
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import as_strided
from test_conv import ONE_OR_TWO, SEEDS, geometries, left_over, output_shape

from minisn import Tensor, kernels, ops, use_kernels
from minisn.errors import ConfigError
from minisn.kernels import array_api, spec

pytestmark = pytest.mark.usefixtures("two_threads")


DOUBLE = pytest.param(np.float64, marks=pytest.mark.slow)  # is compiled apart


@pytest.fixture(params=["spec", "array_api", "cpu"])
def module(request, every_size):
    try:
        return importlib.import_module(f"minisn.kernels.{request.param}")
    except ImportError as error:
        pytest.skip(f"kernels {request.param!r} cannot be imported: {error}")


# -- memory layouts ---------------------------------------------------------------------


def _strided(a):
    room = np.full([2 * n for n in a.shape], 99, a.dtype)
    view = room[(slice(None, None, 2),) * a.ndim]
    view[...] = a
    return view


def _backwards(a):
    flip = (slice(None, None, -1),) * a.ndim
    return a[flip].copy()[flip]


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "plain": np.copy,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "channels last": lambda a: np.moveaxis(np.moveaxis(a, 1 % a.ndim, -1).copy(), -1, 1 % a.ndim),
    "backwards": _backwards,
    "strided": _strided,
    "repeated": lambda a: as_strided(a[:1].copy(), a.shape, (0, *a.strides[1:])),
    "read-only": _read_only,
}


def test_layouts_are_what_they_say():
    a = np.arange(16.0).reshape(2, 2, 2, 2)
    for name, lay in LAYOUTS.items():
        b = lay(a)
        assert name == "repeated" or np.array_equal(a, b), name
        assert b.flags.c_contiguous == (name in ("plain", "read-only")), name
        assert b.flags.writeable == (name != "read-only"), name
    assert min(LAYOUTS["backwards"](a).strides) < 0
    assert LAYOUTS["repeated"](a).strides[0] == 0


# -- one drawing of arguments and one bound for each kernel ------------------------------------
#
# A bound is in units of the rounding error u: a sum of n products, in any order, is off by at most
# n u times the sum of absolute values, and both sides may be off by that much.


@st.composite
def convolutions(draw, kernel, most=6, channels=ONE_OR_TWO):
    geometry = draw(geometries(most, channels))
    x_shape, w_shape, stride, padding = geometry
    rng = np.random.default_rng(draw(SEEDS))
    x, w, y = (rng.normal(size=s) for s in (x_shape, w_shape, output_shape(*geometry)))
    if kernel == "conv2d":
        bias = (rng.normal(size=len(w)),) if draw(st.booleans()) else ()
        return x, w, stride, padding, *bias
    if kernel == "conv2d_transpose":
        return y, w, stride, padding, left_over(*geometry)
    return x, y, w_shape[2:], stride, padding


def convolution_bound(kernel, a, b, *rest, by=spec):
    terms = max(a.size, b.size)
    rest = [abs(c) if isinstance(c, np.ndarray) else c for c in rest]
    return [2 * terms * getattr(by, kernel)(abs(a), abs(b), *rest)]


def small_arrays(count=1, least=1, most=4):
    shape = hnp.array_shapes(min_dims=least, max_dims=most, max_side=4)
    return st.builds(
        lambda shape, seed: tuple(np.random.default_rng(seed).normal(size=(count, *shape))),
        shape,
        SEEDS,
    )


SLOPES = st.sampled_from([0.0, 0.1, 0.25, 1.5])


@st.composite
def averages(draw):
    (x,) = draw(small_arrays())
    axes = draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))
    if draw(st.booleans()) and x.ndim > 1:
        axes = set(range(x.ndim)) - {draw(st.integers(0, x.ndim - 1))}  # all but the channels
    return x + draw(st.sampled_from([0.0, 1000.0])), tuple(sorted(axes))


def moments_bound(x, axes):
    n = math.prod(x.shape[a] for a in axes)
    mean = 2 * (n + 1) * abs(x).mean(axis=axes, keepdims=True)
    # the mean's own error enters the variance squared, the deviations' with three roundings
    unit = np.finfo(x.dtype).eps
    variance = x.var(axis=axes, keepdims=True)
    return [mean, 2 * (n + 5) * variance + 2 * mean**2 * unit]


@st.composite
def normalizations(draw, pull=False):
    x, axes = draw(averages())
    mean = x.mean(axis=axes, keepdims=True)
    spread = 0.5 + abs(x - mean).mean(axis=axes, keepdims=True)
    rng = np.random.default_rng(draw(SEEDS))

    def repeated():
        kept = [draw(st.sampled_from([1, n])) for n in x.shape]
        return rng.normal(size=draw(st.sampled_from([tuple(kept), ()])))

    given = x, mean, spread, repeated(), repeated()
    return (rng.normal(size=x.shape), *given) if pull else given


def normalize_bound(x, mean, spread, gain, shift):
    return [8 * (abs(gain) * (abs(x) + abs(mean)) / spread + abs(shift))]


def pull_bound(g, x, mean, spread, gain, shift):
    axes = tuple(a for a, n in enumerate(mean.shape) if n == 1)
    unit, h = (abs(x) + abs(mean)) / spread, abs(gain * g)
    level, along = (a.mean(axis=axes, keepdims=True) for a in (h, h * unit))
    terms = 2 * (x.size + 10)
    sums = (spec._sum_to(a, b.shape) for a, b in ((abs(g) * unit, gain), (abs(g), shift)))
    return [terms * (h + level + unit * along) / spread, *(terms * s for s in sums)]


@st.composite
def scattered(draw):
    size = draw(st.integers(1, 9))
    places = draw(hnp.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, size - 1)))
    return np.random.default_rng(draw(SEEDS)).normal(size=places.shape), places, size


def scatter_bound(values, places, size):
    return [2 * np.bincount(places, minlength=size) * spec.scatter_add(abs(values), places, size)]


@st.composite
def adam_steps(draw):
    theta, g, m, v = draw(small_arrays(4, most=1))
    rates = st.sampled_from([(2e-4, 0.5, 0.999, 1e-8), (1e-2, 0.0, 0.9, 1e-3)])
    past = draw(st.sampled_from([0.0, 1e-4, 1.0]))  # the first step starts from zeros
    return (theta, g, past * m, past * v * v, *draw(rates))


def adam_bound(theta, g, m, v, rate, beta1, beta2, eps):
    most_m = beta1 * abs(m) + (1 - beta1) * abs(g)
    new_v = beta2 * v + (1 - beta2) * g * g
    step = rate * most_m / (np.sqrt(new_v) + eps)
    return [2 * (abs(theta) + 8 * step), 6 * most_m, 8 * new_v]


@st.composite
def iterations(draw):
    rng = np.random.default_rng(draw(SEEDS))
    W = rng.normal(size=(draw(st.integers(1, 6)), draw(st.integers(1, 6))))
    u = rng.normal(size=W.shape[0])
    return W, u / np.linalg.norm(u), draw(st.integers(1, 4))


def iteration_bound(W, u, n):
    """Follow the error: a product adds k roundings of |W||u|, and division by the norm, twice it.

    All in units of u, to first order.
    """
    W, u = W.astype(np.float64), u.astype(np.float64)
    size, k, error_u = np.linalg.norm(W), sum(W.shape) + 4, 0.0
    for _ in range(n):
        v = W.T @ u
        error_v = 2 * size * (error_u + k) / np.linalg.norm(v)
        v /= np.linalg.norm(v)
        u = W @ v
        error_u = 2 * size * (error_v + k) / np.linalg.norm(u)
        u /= np.linalg.norm(u)
    return [2 * error_u, 2 * error_v, 2 * size * (error_u + error_v + 2 * k)]


@st.composite
def normalized(draw):
    lead, rows, columns = (draw(st.integers(1, 5)) for _ in range(3))
    rng = np.random.default_rng(draw(SEEDS))
    g, W = rng.normal(size=(2, lead, rows, columns))
    r, scale = float(rng.normal()), draw(st.sampled_from([1.0, 0.7]))
    return g, W, r, rng.normal(size=rows), rng.normal(size=(lead, columns)), scale


def spectral_bound(g, W, r, u, v, scale):
    g, W, r, u, v = map(abs, (g, W, r, u, v))
    return [2 * (g.size + 8) * r * scale * (g + r * np.sum(g * W) * np.einsum("i,aj->aij", u, v))]


KERNELS = {
    **{
        name: (convolutions(name), lambda *args, name=name: convolution_bound(name, *args))
        for name in ("conv2d", "conv2d_transpose", "conv2d_weight")
    },
    "leaky_relu": (
        st.tuples(small_arrays(), SLOPES).map(lambda t: (*t[0], t[1])),
        lambda x, slope: [3 * abs(spec.leaky_relu(x, slope))],
    ),
    "leaky_relu_pull": (
        st.tuples(small_arrays(2), SLOPES).map(lambda t: (*t[0], t[1])),
        lambda g, x, slope: [3 * abs(spec.leaky_relu_pull(g, x, slope))],
    ),
    "sum": (averages(), lambda x, axes: [2 * x.size * abs(x).sum(axis=axes, keepdims=True)]),
    "moments": (averages(), moments_bound),
    "normalize": (normalizations(), normalize_bound),
    "normalize_pull": (normalizations(pull=True), pull_bound),
    "scatter_add": (scattered(), scatter_bound),
    "adam": (adam_steps(), adam_bound),
    "power_iteration": (iterations(), iteration_bound),
    "spectral_pull": (normalized(), spectral_bound),
}  # fmt: skip


def call(module, name, args):
    """Return the results of a kernel."""
    found = getattr(module, name)(*args)
    return found if isinstance(found, tuple) else (found,)


def public(module):
    return {
        name
        for name, f in vars(module).items()
        if callable(f)
        and not name.startswith("_")
        and name in vars(spec)
        and getattr(f, "__module__", "").startswith("minisn.kernels")
    }


def test_every_module_has_every_kernel_of_the_specification(module):
    assert public(spec) == {*KERNELS, "all_finite"}, "a kernel and no test, or a test and none"
    assert public(module) == public(spec)


@pytest.mark.parametrize("dtype", [np.float32, DOUBLE])
@pytest.mark.parametrize("name", KERNELS)
@given(data=st.data())
def test_agrees_with_the_specification(module, name, dtype, data):
    draw, bound = KERNELS[name]
    layouts = set(LAYOUTS)
    if dtype == np.float32:  # compiled kernels are compiled anew for read-only arrays: once will do
        layouts.remove("read-only")
    layout = data.draw(st.sampled_from(["mixed", *sorted(layouts)]), label="layout")

    def laid(a):
        a = a.astype(dtype) if a.dtype == np.float64 else a
        some = st.sampled_from(["plain", "transposed", "channels last"])
        return (
            LAYOUTS[data.draw(some) if layout == "mixed" else layout](a) if a.size and a.ndim else a
        )

    drawn = data.draw(draw, label=name)
    args = [laid(a) if isinstance(a, np.ndarray) else a for a in drawn]
    plain = [np.array(a, order="C") if isinstance(a, np.ndarray) else a for a in args]

    first, again = (call(module, name, args) for _ in range(2))
    for a, b in zip(args, plain, strict=True):
        assert np.array_equal(a, b), "a kernel changed its input"
    expected = call(spec, name, plain)
    unit = np.finfo(dtype).eps
    for a, b, e, size in zip(first, again, expected, bound(*plain), strict=True):
        assert a.shape == e.shape
        assert a.dtype == e.dtype == dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), "two calls, two results"
        assert np.all(np.abs(np.asarray(a, np.float64) - e) <= unit * size)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, DOUBLE])
def test_one_bad_entry_is_found_wherever_it_is(module, dtype, bad):
    most = np.finfo(dtype).max
    for x in (np.array([most, -most, 0], dtype), np.full((3, 5), -most), np.ones((0, 2), dtype)):
        x = x.astype(dtype)
        assert module.all_finite(x) and module.all_finite(x.T)
        for place in np.ndindex(x.shape):
            worse = x.copy()
            worse[place] = bad
            assert not module.all_finite(worse) and not module.all_finite(worse.T)


@pytest.mark.parametrize("dtype", [np.float32, DOUBLE])
def test_power_iteration_of_a_zero_matrix_keeps_u(module, dtype):
    W, start = np.zeros((3, 2), dtype), np.array([1, 2, 3], dtype)
    u, v, sigma = module.power_iteration(W, start, 2)
    assert (u.shape, v.shape, sigma.shape) == ((3,), (2,), ())
    np.testing.assert_array_equal(u, start)
    assert not v.any()
    assert sigma == 0


@pytest.mark.parametrize("dtype", [np.float32, DOUBLE])
def test_power_iteration_with_rows_in_every_thread(module, dtype):
    rng = np.random.default_rng(0)
    W = rng.normal(size=(203, 331)).astype(dtype)
    u = np.full(203, 203**-0.5, dtype)
    for a, b in zip(module.power_iteration(W, u, 2), spec.power_iteration(W, u, 2), strict=True):
        size = np.linalg.norm(b)  # each entry sums hundreds of products, and so does the norm
        assert np.all(np.abs(a - b) <= 331 * np.finfo(dtype).eps * size)


@pytest.mark.parametrize(
    ("module", "dtype"),
    [
        ("spec", np.float64),
        ("array_api", np.float64),
        ("cpu", np.float32),
        pytest.param("cpu", np.float64, marks=pytest.mark.slow),
    ],
    indirect=["module"],
)
def test_power_iteration_finds_the_largest_singular_value(module, dtype):
    rng, eps = np.random.default_rng(0), np.finfo(dtype).eps
    q, r = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (5, 4))
    W = (q[:, :4] * [3.0, 1.5, 1.0, 0.5]) @ r
    u, v, sigma = module.power_iteration(W.astype(dtype), rng.normal(size=5).astype(dtype), 60)
    # the ratio of singular values, 2, leaves 2^-60 of what is orthogonal, squared in sigma
    assert abs(sigma - 3) <= 32 * eps
    assert abs(np.abs(u @ q[:, 0]) - 1) <= 32 * eps
    assert abs(np.abs(v @ r[0]) - 1) <= 32 * eps


WIDE = st.sampled_from([1, 3, 4, 8, 16, 24, 32, 40])  # whole vectors of channels, and not


@pytest.mark.parametrize("module", ["cpu"], indirect=True)
@pytest.mark.parametrize("dtype", [np.float32, DOUBLE])
@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose", "conv2d_weight"])
@given(data=st.data())
def test_wide_convolutions(module, name, dtype, data):
    """Sizes at which kernels work in tiles and vectors, against the plain array form."""
    drawn = data.draw(convolutions(name, 9, WIDE), label=name)
    args = [a.astype(dtype) if isinstance(a, np.ndarray) else a for a in drawn]
    found, expected = (getattr(m, name)(*args) for m in (module, array_api))
    (bound,) = convolution_bound(name, *args, by=array_api)
    assert found.dtype == dtype
    assert np.all(np.abs(found - expected) <= np.finfo(dtype).eps * bound)


@pytest.mark.parametrize("module", ["cpu"], indirect=True)
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("conv2d", ((70, 3, 17, 15), (5, 3, 4, 4), (2, 2), (2, 2))),
        ("conv2d_transpose", ((70, 5, 9, 8), (5, 3, 4, 4), (2, 2), (2, 2), (1, 1))),
        ("conv2d_weight", ((70, 3, 17, 15), (70, 16, 9, 8), (4, 4), (2, 2), (2, 2))),
        ("conv2d_weight", ((70, 3, 17, 15), (70, 5, 9, 8), (3, 3), (2, 2), (1, 1))),
    ],
)
def test_many_tiles(module, name, args):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape) for shape in args[:2])
    found, expected = (getattr(m, name)(a, b, *args[2:]) for m in (module, array_api))
    (bound,) = convolution_bound(name, a, b, *args[2:], by=array_api)
    assert np.all(np.abs(found - expected) <= np.finfo(float).eps * bound)


def test_kernels_may_be_called_from_several_threads(module):
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((2, 2, 6, 6), (3, 2, 3, 3)))
    expected = module.conv2d(x, w, (1, 1), (1, 1)).tobytes()
    found = []

    def work():
        found.extend(module.conv2d(x, w, (1, 1), (1, 1)).tobytes() for _ in range(5))
        module.leaky_relu(x, 0.1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 20


# -- the choice ------------------------------------------------------------------------


@pytest.fixture
def auto():
    with use_kernels("auto"):
        yield


def cpu_or_array_api():
    try:
        return importlib.import_module("minisn.kernels.cpu")
    except ImportError:
        return array_api


def test_use_kernels_as_function_and_context(auto):
    x = np.ones(2)
    assert kernels.of(x) is cpu_or_array_api()
    use_kernels("spec")
    assert kernels.of(x) is spec
    with use_kernels("array_api"):
        assert kernels.of(x) is array_api
        with pytest.raises(ZeroDivisionError), use_kernels("spec"):
            assert kernels.of(x) is spec
            raise ZeroDivisionError
        assert kernels.of(x) is array_api
    assert kernels.of(x) is spec
    use_kernels("auto")
    assert kernels.of(x) is cpu_or_array_api()


def test_the_choice_goes_by_the_array(auto):
    strict = array_api_strict.ones(2)
    for name in ("auto", "cpu"):
        if name == "cpu" and cpu_or_array_api() is array_api:
            continue
        use_kernels(name)
        assert kernels.of(np.ones(2, np.float32)) is cpu_or_array_api()
        assert kernels.of(np.ones(2, int)) is array_api
        assert kernels.of(np.ones(2, np.float16)) is array_api
        assert kernels.of(strict) is array_api
    use_kernels("spec")
    assert kernels.of(strict) is spec


def test_an_unknown_choice_is_refused_and_changes_nothing(auto):
    use_kernels("spec")
    with pytest.raises(ConfigError, match="unknown kernels 'gpu'; expected one of auto, spec, arr"):
        use_kernels("gpu")
    assert kernels.of(np.ones(2)) is spec


def test_operations_use_the_chosen_kernels(auto, monkeypatch):
    for module in (spec, array_api):
        monkeypatch.setattr(module, "leaky_relu", lambda x, slope, m=module: x * 0 + id(m))
    for module in (spec, array_api):
        with use_kernels(module.__name__.rsplit(".", 1)[-1]):
            assert ops.relu(Tensor([1.0])).item() == id(module)


# -- in other processes: what is imported, and what may be missing -----------------------------


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WITHOUT = """
import sys
sys.modules["numba"] = None
import numpy as np
import minisn
from minisn import Tensor, conv, grad, kernels, ops
x = Tensor(np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4), requires_grad=True)
w = Tensor(np.ones((1, 2, 3, 3), np.float32), requires_grad=True)
y = ops.leaky_relu(conv.conv2d(x, w, stride=1, padding=1))
y = conv.conv2d_transpose(y, w, stride=1, padding=1)[:, :, np.array([0, 0])].sum()
g = grad(y, [x, w], create_graph=True)
g2 = grad((g[0] * g[0]).sum() + (g[1] * g[1]).sum(), [x, w])
assert kernels.of(x.array) is kernels.array_api
try:
    minisn.use_kernels("cpu")
except minisn.errors.ConfigError as error:
    assert "Numba" in str(error) and "pip install" in str(error), error
else:
    raise AssertionError("use_kernels('cpu') without Numba")
assert "scipy" not in sys.modules
print([float(t.sum()) for t in (*g, *g2)])
"""


def test_without_numba():
    with_numba = WITHOUT.partition("assert kernels.of")[0].replace("sys.modules", "{}#")
    report = "\nprint([float(t.sum()) for t in (*g, *g2)])"
    without, with_it = (eval(run(code)) for code in (WITHOUT, with_numba + report))
    # whole numbers, but for the slope: 200 roundings in float32
    np.testing.assert_allclose(without, with_it, rtol=200 * np.finfo(np.float32).eps)


def test_import_is_light():
    heavy = {"numba", "scipy", "matplotlib", "cupy", "click", "torch"}
    assert run(f"import sys, minisn; print({heavy} & set(sys.modules))") == "set()\n"


def test_import_is_fast():
    code = """
import time
start = time.process_time()  # a busy machine must not fail the test
import minisn
print(time.process_time() - start)
"""
    assert any(float(run(code)) < 0.5 for _ in range(3))


def test_import_brings_the_operators():
    assert run("import minisn; print((minisn.Tensor([1.0]) * 2 @ [3.0]).item())") == "6.0\n"


BOUNDS = """
import itertools
import sys
import types
import numpy as np
sys.modules["minisn.kernels.cpu.cache"] = places = types.ModuleType("cache")
places.find_place = lambda: None  # which refuses what this is for
from minisn.kernels import array_api, cpu
from minisn.kernels.cpu import convolution, narrow
for module in (convolution, narrow):  # it is made of machine instructions, with no form in Python
    module.multiply = lambda _, a, b, c, add: np.copyto(c, c + a @ b if add else a @ b)
    module.product_of = lambda dtype: 0
rng = np.random.default_rng(0)
sizes = [(1, 1, 1, 3), (2, 1, 3, 2), (3, 2, 1, 4), (4, 4, 2, 1), (2, 6, 1, 2), (5, 2, 4, 0)]
for (h, k, s, p), (c, d) in itertools.product(sizes, [(2, 5), (5, 3), (5, 6)]):
    out = (h + 2 * p - k) // s + 1
    x, w, y = (rng.normal(size=z) for z in ((2, c, h, h), (d, c, k, k), (2, d, out, out)))
    extra = h + 2 * p - k - s * (out - 1)
    for name, args in [
        ("conv2d", (x, w, (s, s), (p, p))),
        ("conv2d_transpose", (y, w, (s, s), (p, p), (extra, extra))),
        ("conv2d_weight", (x, y, (k, k), (s, s), (p, p))),
    ]:
        a, b = (getattr(m, name)(*args) for m in (cpu, array_api))
        assert np.allclose(a, b), (name, h, k, s, p, c, d)
"""


def test_compiled_kernels_stay_inside_their_arrays():
    """Run the compiled kernels as plain Python, where NumPy checks every index."""
    if cpu_or_array_api() is array_api:
        pytest.skip("kernels 'cpu' need Numba, which is not installed")
    run(BOUNDS, NUMBA_DISABLE_JIT="1")


COMPILED = """
from minisn.config import load_preset
from minisn.data import load
from minisn.kernels.cpu import convolution, entrywise, narrow, normalization, power, winograd
from minisn.training import Trainer
config = load_preset("mnist")
Trainer(config, load(config.data).images).update()
for module in (convolution, entrywise, narrow, normalization, power, winograd):
    for name, kernel in vars(module).items():
        if kernel.__class__.__name__ == "CPUDispatcher" and kernel.__module__ == module.__name__:
            if kernel.targetoptions.get("parallel"):
                print(name, len(kernel.signatures))
"""


@pytest.mark.slow  # it compiles anew
def test_a_training_step_compiles_each_kernel_once():
    """Compiling is what a first run waits for, and a second form of a kernel doubles its share."""
    if cpu_or_array_api() is array_api:
        pytest.skip("kernels 'cpu' need Numba, which is not installed")
    counts = dict(line.split() for line in run(COMPILED).splitlines())
    assert counts["_conv2d"] == counts["_convolve"] == counts["_sum_taps"] == "1"
    assert set(counts.values()) <= {"0", "1"}, counts


BLAS = {"dot", "einsum", "inner", "linalg", "matmul", "outer", "tensordot", "vdot"}


def test_compiled_kernels_call_no_blas():
    """So that they have one pool where BLAS has threads that cannot be limited, as on macOS."""
    files = list((Path(kernels.__file__).parent / "cpu").glob("*.py"))
    assert len(files) > 5
    nodes = [(f.name, n) for f in files for n in ast.walk(ast.parse(f.read_text("utf-8")))]
    assert [f for f, n in nodes if isinstance(n, ast.MatMult)] == []
    assert [f for f, n in nodes if getattr(n, "attr", None) in BLAS] == []


def test_a_blas_that_cannot_be_limited_is_done_without(monkeypatch):
    pool = pytest.importorskip("minisn.kernels.cpu.pool", reason="Numba is not installed")
    monkeypatch.setattr(pool, "_blas", pool.ThreadpoolController().select(user_api="none"))
    x, w = (np.random.default_rng(0).normal(size=s) for s in ((2, 4, 6, 6), (4, 4, 3, 3)))
    found = kernels.of(x).conv2d(x, w, (1, 1), (1, 1))
    np.testing.assert_allclose(found, spec.conv2d(x, w, (1, 1), (1, 1)), atol=1e-12)


# -- where Numba cannot work as usual --------------------------------------------------------------


SUM = (
    "import numpy as np; from minisn import Tensor, kernels; "
    "print(Tensor(np.ones((64, 1024), np.float32)).sum().item(), kernels._cpu() is None)"
)


def test_a_compiler_that_is_switched_off_is_done_without():
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    ran = subprocess.run([sys.executable, "-c", SUM], env=env, capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.stderr) == ("65536.0 True", "")


@pytest.mark.parametrize("temporary", [True, False])
def test_kernels_compile_without_a_place_to_keep_them(tmp_path, temporary):
    pytest.importorskip("numba", reason="the compiled kernels are not installed")
    code = f"""
import sys, tempfile
from numba.core import caching
before = caching._CacheLocator.ensure_cache_path
def ensure(self):
    if "minisn-numba-" not in self.get_cache_path(): raise OSError("read-only")
    return before(self)
caching._CacheLocator.ensure_cache_path = ensure
if not {temporary}:
    def mkdtemp(**_): raise OSError("no room")
    tempfile.mkdtemp = mkdtemp
{SUM}
"""
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**env, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ran.stdout.strip(), ran.stderr) == (f"65536.0 {not temporary}", "")
    assert list(tmp_path.iterdir()) == []  # what was kept there is gone


def test_kernels_of_other_sources_are_forgotten(tmp_path):
    """A kernel compiled against an older product of matrices would jump to it and end there."""
    pytest.importorskip("numba", reason="the compiled kernels are not installed")
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    code = "import numpy; from minisn.kernels import cpu; cpu.leaky_relu(numpy.ones(1 << 20), 0.1)"
    names = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], env=env, check=True)
        (mark,) = tmp_path.rglob("sources.nbs")
        names.append({index: index.stat().st_mtime_ns for index in mark.parent.glob("*.nbi")})
    assert names[0] and names[0] == names[1]  # kept between starts
    mark.write_bytes(b"of another version")
    old = mark.with_name("narrow._to_few-1.py311.nbi")
    old.write_bytes(b"")
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert not old.exists() and mark.read_bytes() != b"of another version"
    assert all(index.stat().st_mtime_ns > names[0][index] for index in names[0])


# -- busy neighbors ----------------------------------------------------------------------------


BESIDE = """
import builtins, io, os, sys
before, opened, stat = os.environ.get("OMP_WAIT_POLICY"), open, iter({stat!r})
builtins.open = lambda path, *_, **named: (
    io.StringIO(next(stat)) if path == "/proc/stat" else opened(path, *_, **named)
)
import minisn.kernels.cpu
assert os.environ.get("OMP_WAIT_POLICY") == before
chosen = "numba.np.ufunc.omppool" in sys.modules
try:
    import numba.np.ufunc.omppool
except ImportError:  # without libgomp the pool cannot be loaded, and there is nothing to choose
    chosen = "no pool"
print(chosen, next(stat, "read"))
"""
# user, nice, system, idle, waiting for a disk, interrupts, stolen: in a tenth of a second
QUIET = ["cpu  30 0 10 400 10 1 1 5 0 0\n", "cpu  31 0 10 418 11 1 1 5 0 0\n"]
BUSY = ["cpu  30 0 10 400 10 1 1 5 0 0\n", "cpu  45 1 11 401 10 2 1 6 0 0\n"]


@pytest.mark.parametrize(("policy", "chosen"), [(None, True), ("active", False)])
def test_the_policy_is_chosen_beside_busy_neighbors_and_stays_private(monkeypatch, policy, chosen):
    pytest.importorskip("numba", reason="the compiled kernels are not installed")
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    said = run(BESIDE.format(stat=BUSY), NUMBA_NUM_THREADS="2").strip()
    left = BUSY[0].strip() if policy else "read"
    assert said in (f"{chosen} {left}", f"no pool {left}")


def stat_of(monkeypatch, *texts):
    """Let the system say this of its processors, one text a time; None is no answer."""
    from minisn.kernels.cpu import waiting

    left = iter(texts)

    def opened(path, **_):
        assert path == "/proc/stat"
        if (text := next(left)) is None:
            raise FileNotFoundError(path)
        return io.StringIO(text)

    monkeypatch.setattr(waiting, "open", opened, raising=False)
    return waiting


def test_idle_processors_are_counted(monkeypatch):
    pytest.importorskip("numba", reason="the compiled kernels are not installed")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert stat_of(monkeypatch, *QUIET)._idle() == pytest.approx(4 * 19 / 20)
    assert stat_of(monkeypatch, *BUSY)._idle() == pytest.approx(4 * 1 / 20)


@pytest.mark.parametrize(
    "said", [None, "", "cpu\n", "cpu  0 0 0 0 0 0 0 0 0 0\n", "cpu  who knows\n"]
)
def test_processors_count_as_idle_where_the_system_does_not_tell(monkeypatch, said):
    pytest.importorskip("numba", reason="the compiled kernels are not installed")
    assert stat_of(monkeypatch, said, said)._idle() == math.inf


def test_what_this_system_tells_of_its_processors_is_read():
    pytest.importorskip("numba", reason="the compiled kernels are not installed")
    from minisn.kernels.cpu import waiting

    idle = waiting._idle()
    assert idle == math.inf or 0 <= idle <= os.cpu_count()


@pytest.mark.parametrize("idle", [0.2, 1.9])
@pytest.mark.parametrize("chosen", [None, "active"])
def test_threads_sleep_only_where_processors_are_missing(monkeypatch, idle, chosen):
    pytest.importorskip("numba", reason="the compiled kernels are not installed")
    from minisn.kernels.cpu import waiting

    policies = []
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    monkeypatch.setattr(waiting.numba.config, "NUMBA_NUM_THREADS", 2)
    monkeypatch.setattr(waiting, "_idle", lambda: idle)
    monkeypatch.setattr(
        waiting.importlib,
        "import_module",
        lambda name: policies.append((name, os.environ["OMP_WAIT_POLICY"])),
    )
    waiting.sleep_beside_neighbors()
    expected = [] if chosen or idle > 1 else [("numba.np.ufunc.omppool", "passive")]
    assert policies == expected
    assert os.environ.get("OMP_WAIT_POLICY") == chosen
