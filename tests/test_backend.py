"""Arrays of another library: the helpers, and every operation over array-api-strict.

array-api-strict refuses whatever is not in the array API standard, so what runs on it
calls nothing that only NumPy has.
"""

import sys
import types

import array_api_strict as xp
import numpy as np
import pytest
from elsewhere import PLACES, open_place
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv import ONE_OR_TWO, geometries, left_over, output_shape
from test_ops import CASES, Case, check_close, derivatives, draw_inputs

from minisn import Tensor, backend, conv, grad, ops
from minisn.errors import ConfigError, DTypeError
from minisn.kernels import finite_or_unseen

# -- every operation ---------------------------------------------------------------------


@st.composite
def trio(draw, kernel):
    geometry = draw(geometries(most=4, channels=ONE_OR_TWO))
    x, w, stride, padding = geometry
    y, params = output_shape(*geometry), {"stride": stride, "padding": padding}
    if kernel == "conv2d":
        return (x, w), params
    if kernel == "conv2d_transpose":
        return (y, w), {**params, "output_padding": left_over(*geometry)}
    return (x, y), {**params, "kernel": w[2:]}


CONVOLUTIONS = [
    Case(name, getattr(conv, name), lambda *_: None, trio(name), kernels=True)
    for name in ("conv2d", "conv2d_transpose", "conv2d_weight")
]


def run(case, params, xs, c, ds):
    return derivatives(
        lambda *xs: case.ours(*xs, **params),
        [Tensor(x, requires_grad=True) for x in xs],
        Tensor(c, requires_grad=True),
        [Tensor(d) for d in ds],
    )


@pytest.fixture
def place(request, monkeypatch):
    return open_place(request.param, monkeypatch)


@pytest.mark.parametrize(
    ("case", "kernel_name"),
    [
        pytest.param(case, name, id=f"{case.name}-{name}")
        for case in CASES + CONVOLUTIONS
        for name in (("spec", "auto") if case.kernels else ("auto",))
    ],
    indirect=["kernel_name"],
)
@pytest.mark.parametrize("place", PLACES, indirect=True)
@settings(max_examples=8)
@given(data=st.data())
def test_two_orders_in_another_library(case, place, kernel_name, data):
    params, xs, c, ds = draw_inputs(data, case)
    numpy_results = run(case, params, xs, c, ds)
    results = run(case, *map(place.bring, (params, tuple(xs), c, tuple(ds))))
    assert all(place.holds(t.array) for t in results)
    assert all(t.dtype == place.xp.float64 for t in results)
    check_close([backend.to_numpy(t.array) for t in results], [t.array for t in numpy_results])


def test_numbers_attributes_and_printing():
    x = Tensor(xp.asarray([1.0, 2.0], dtype=xp.float32), requires_grad=True)
    for y in (2 * x, x - 0.5, x / 3, 1 / x, x**2, ops.maximum(x, 0), np.float64(0.1) * x):
        assert y.dtype == xp.float32
        assert grad(y.sum(), x).dtype == xp.float32
    (x * x).sum().backward()
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4, 8])
    assert float(x[1]) == 2.0
    assert [t.item() for t in x] == [1.0, 2.0]
    assert x.mean().item() == 1.5
    assert "op=multiply" in repr(x * x)
    other = Tensor(xp.asarray([1.0]), requires_grad=True)
    assert type(grad((x * x).sum(), other).array) is type(x.array)
    with pytest.raises(DTypeError, match="floating-point tensor, got dtype"):
        Tensor(xp.asarray([1, 2]), requires_grad=True)


def test_the_data_are_copied_in():
    a = xp.asarray([1.0, 2.0])
    x = Tensor(a)
    a[0] = 9.0
    assert x[0].item() == 1.0


# -- the helpers ----------------------------------------------------------------------------


def test_which_arrays_are_arrays():
    assert all(map(backend.is_array, (np.ones(2), np.float32(1), xp.ones(2))))
    assert not any(map(backend.is_array, (1.0, [1.0], "a", np.float32, None)))
    assert backend.is_numpy(np.ones(2))
    assert not backend.is_numpy(xp.ones(2))
    assert backend.namespace(np.ones(2)) is np
    assert backend.namespace(np.float64(1)) is np
    assert backend.namespace(xp.ones(2)) is xp
    with pytest.raises(DTypeError, match=r"array API standard .*, got list; convert it with numpy"):
        backend.namespace([1.0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_back_to_numpy(dtype):
    a = np.array([[0, 1], [1, 1]], dtype)
    there = xp.asarray(a)
    for found in (backend.to_numpy(there), backend.to_device(there, "cpu"), np.from_dlpack(there)):
        assert type(found) is np.ndarray
        assert found.dtype == a.dtype
        np.testing.assert_array_equal(found, a)
    assert backend.to_numpy(a) is a
    assert backend.to_numpy(np.float32(2)).shape == ()


@pytest.mark.parametrize("library", [np, xp])
def test_only_numpy_s_arrays_are_searched_for_what_is_no_number(library):
    assert finite_or_unseen(library.asarray([1.0, -2.0]))
    assert finite_or_unseen(library.zeros((0,)))
    for bad in (float("nan"), float("inf"), -float("inf")):
        assert finite_or_unseen(library.asarray([1.0, bad])) == (library is not np)


class _CupyArray:
    """Stands for a CuPy array: it is told by the name of its module, and does not name it."""

    __module__ = "cupy"

    def __init__(self, values):
        self.values = np.asarray(values)

    def get(self):
        return self.values

    device = "of CUDA"


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy, whose GPU may fail to answer."""
    module = types.ModuleType("cupy")
    module.asarray = _CupyArray
    module.linalg = types.SimpleNamespace(
        svd=lambda a, full_matrices=True, compute_uv=True: _CupyArray(
            np.linalg.svd(a.values, full_matrices, compute_uv)
        )
    )
    module.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=lambda: 1))
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_devices(cupy):
    assert backend.device_of(np.ones(2)) == "cpu"
    assert backend.device_namespace("cpu") is np
    assert backend.device_namespace("cuda") is cupy
    there = backend.to_device(np.ones(2), "cuda")
    assert backend.device_of(there) == "cuda"
    np.testing.assert_array_equal(backend.to_device(there, "cpu"), [1, 1])


def test_arrays_of_cupy_know_their_module_here(cupy):
    there = cupy.asarray(np.ones(2))
    assert backend.is_array(there)
    assert not backend.is_array(_CupyArray)
    assert backend.namespace(there) is cupy


def test_singular_values_where_the_library_lacks_them(cupy):
    matrix = np.random.default_rng(0).normal(size=(3, 5))
    expected = np.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[::-1])
    for a in (matrix, xp.asarray(matrix), cupy.asarray(matrix)):
        found = backend.svdvals(a)
        assert type(found) is type(a)
        np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-12)


def test_devices_that_are_not_there(cupy, monkeypatch):
    with pytest.raises(ConfigError, match="unknown device 'tpu'; expected one of cpu, cuda"):
        backend.to_device(np.ones(2), "tpu")

    def no_gpu():
        raise RuntimeError("no driver")

    cupy.cuda.runtime.getDeviceCount = no_gpu
    with pytest.raises(
        ConfigError, match=r"device 'cuda' does not answer \(no driver\); use device 'cpu'"
    ):
        backend.device_namespace("cuda")
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ConfigError, match=r"not installed; run: pip install 'minisn\[gpu\]'"):
        backend.device_namespace("cuda")
