"""What compiled kernels do with arrays that do not belong together, and at the ends of the range.

A kernel reads and writes memory by itself, so it must look first; and a convolution by sums of
inputs must not lose what the sum of products keeps.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minisn
from minisn import Tensor, conv, grad, ops, spectral
from minisn.errors import DTypeError, MinisnError, ShapeError
from minisn.kernels import array_api, spec

cpu = pytest.importorskip("minisn.kernels.cpu", reason="the compiled kernels are not installed")

pytestmark = pytest.mark.usefixtures("every_size", "two_threads")


def f32(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


# -- arrays that do not belong together ------------------------------------------------------------


@pytest.mark.parametrize(
    "places", [[0, 1, 5], [0, -1, 2], [2**40, 0, 0], [-(2**62), 0, 0], [0, 1], [0, 1, 2, 3]]
)
def test_scatter_add_stays_within(places):
    with pytest.raises(ShapeError, match="scatter_add"):
        cpu.scatter_add(f32(3), np.array(places), 5)


def test_scatter_add_takes_whole_places_only():
    with pytest.raises(ShapeError, match="integers"):
        cpu.scatter_add(f32(3), np.zeros(3), 5)
    for dtype in (np.int64, np.int32, np.uint8):
        found = cpu.scatter_add(np.ones(3, np.float32), np.array([4, 0, 4], dtype), 5)
        np.testing.assert_array_equal(found, [1, 0, 0, 0, 2])


@pytest.mark.parametrize("which", [1, 2, 3])
@pytest.mark.parametrize("wrong", [f32(3), f32(9), f32(2, 4), f32(8).astype(np.float64), f32(0)])
def test_adam_takes_arrays_of_one_kind(which, wrong):
    arrays = [f32(8) for _ in range(4)]
    arrays[which] = wrong
    before = [a.copy() for a in arrays]
    with pytest.raises(ShapeError, match="adam: expected arrays of one shape and dtype"):
        cpu.adam(*arrays, 1e-3, 0.5, 0.9, 1e-8)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


WRONG = {
    "leaky_relu_pull": lambda: cpu.leaky_relu_pull(f32(4), f32(9), 0.1),
    "power_iteration, short": lambda: cpu.power_iteration(f32(8, 6), f32(3), 1),
    "power_iteration, long": lambda: cpu.power_iteration(f32(8, 6), f32(9), 1),
    "power_iteration, matrix": lambda: cpu.power_iteration(f32(8, 6), f32(8, 2), 1),
    "spectral_pull, u": lambda: cpu.spectral_pull(
        f32(1, 8, 6), f32(1, 8, 6), 1.0, f32(7), f32(1, 6), 1.0),
    "spectral_pull, v": lambda: cpu.spectral_pull(
        f32(1, 8, 6), f32(1, 8, 6), 1.0, f32(8), f32(1, 5), 1.0),
    "spectral_pull, float64": lambda: cpu.spectral_pull(
        f32(1, 8, 6), f32(1, 8, 6), 1.0, f32(8).astype(float), f32(1, 6), 1.0),
    "spectral_pull, W": lambda: cpu.spectral_pull(
        f32(1, 8, 6), f32(1, 7, 6), 1.0, f32(8), f32(1, 6), 1.0),
    "normalize_pull": lambda: cpu.normalize_pull(
        f32(2, 3, 4, 4), f32(4, 3, 8, 8), *[np.ones((1, 3, 1, 1), np.float32)] * 4),
    "conv2d": lambda: cpu.conv2d(f32(1, 2, 8, 8), f32(4, 30, 3, 3), (1, 1), (1, 1)),
    "conv2d, float64": lambda: cpu.conv2d(
        f32(1, 16, 8, 8), f32(4, 16, 3, 3).astype(float), (1, 1), (1, 1)),
    "conv2d_transpose": lambda: cpu.conv2d_transpose(
        f32(1, 2, 4, 4), f32(16, 3, 4, 4), (2, 2), (1, 1), (0, 0)),
    "conv2d_weight, batch": lambda: cpu.conv2d_weight(
        f32(1, 9, 8, 8), f32(50, 9, 8, 8), (3, 3), (1, 1), (1, 1)),
    "conv2d_weight, size": lambda: cpu.conv2d_weight(
        f32(2, 9, 8, 8), f32(2, 9, 80, 80), (3, 3), (1, 1), (1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_no_kernel_reads_past_an_array(name):
    with pytest.raises((ShapeError, DTypeError), match=name.split(",")[0]):
        WRONG[name]()


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, ">f4"])
def test_power_iteration_takes_u_of_any_number_type(dtype):
    W, u = f32(8, 6), np.arange(1, 9)
    found = spectral.power_iteration(W, u.astype(dtype), 3)
    expected = array_api.power_iteration(W, u.astype(np.float32), 3)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_another_byte_order_is_computed_with():
    x, w = f32(2, 4, 8, 8), f32(5, 4, 3, 3)
    swapped = [Tensor(a.astype(">f4"), requires_grad=True) for a in (x, w)]
    plain = [Tensor(a, requires_grad=True) for a in (x, w)]

    def everything(x, w):
        y = ops.leaky_relu(conv.conv2d(x, w, padding=1), 0.1)
        total = ops.sum(y[np.array([1, 1, 0])] ** 2)
        return [total, *grad(total, [x, w])]

    for a, b in zip(everything(*swapped), everything(*plain), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4)
    W = f32(8, 6)
    found = spectral.power_iteration(W.astype(">f4"), f32(8).astype(">f4"), 2)
    np.testing.assert_allclose(found[0], spectral.power_iteration(W, f32(8), 2)[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "w"),
    [
        ((2, 0, 5, 5), (3, 0, 3, 3)),
        ((2, 3, 0, 5), (4, 3, 1, 1)),
        ((2, 3, 5, 0), (4, 3, 3, 3)),
        ((2, 3, 5, 5), (0, 3, 3, 3)),
        ((2, 3, 5, 5), (4, 3, 0, 3)),
        ((0, 3, 5, 5), (4, 3, 3, 3)),
    ],
)
@pytest.mark.parametrize("padding", [0, 2])
def test_nothing_to_convolve_is_told(x, w, padding, kernel_name):
    x, w = (Tensor(np.zeros(shape, np.float32), requires_grad=True) for shape in (x, w))
    with pytest.raises(ShapeError, match=r"nothing to convolve|batch is empty"):
        grad(ops.sum(conv.conv2d(x, w, padding=padding)), [x, w])


@pytest.mark.parametrize("name", ["stride", "padding"])
@pytest.mark.parametrize("value", [2**63, 2**64, 2**31, -(2**63), (1, 2**63)])
def test_no_size_goes_beyond_the_computer_s_numbers(name, value, kernel_name):
    with pytest.raises(ShapeError, match=f"{name}: expected a whole number"):
        conv.conv2d(f32(1, 1, 8, 8), f32(1, 1, 3, 3), **{name: value})


def test_a_threading_layer_that_is_missing_is_told_as_such(tmp_path):
    code = (
        "import numpy as np, numba\n"
        "from minisn import conv, use_kernels\n"
        "from minisn.errors import ConfigError\n"
        "use_kernels('cpu')\n"
        "x = np.ones((1, 16, 8, 8), np.float32)\n"
        "try:\n"
        "    conv.conv2d(x, x[:, :, :3, :3])\n"
        "    print(numba.threading_layer())\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(minisn.__file__).parents[1]),
                   "NUMBA_THREADING_LAYER": "tbb"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600
    )
    said = done.stdout.strip()
    assert said == "tbb" or ("NUMBA_THREADING_LAYER=tbb" in said and "workqueue" in said), done


# -- the ends of the range -------------------------------------------------------------------------

GEOMETRIES = {"3x3": ((2, 32, 8, 8), 3, 1, 1), "4x4 by 2": ((2, 32, 8, 8), 4, 2, 1)}


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (1, 5, 3, 4), (1, 31, 7, 7)])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_infinity_stays_what_the_sum_of_products_makes_of_it(geometry, place, value):
    shape, k, stride, padding = GEOMETRIES[geometry]
    x, w = abs(f32(*shape)), abs(f32(32, 32, k, k)) + 1
    x[place] = value
    s, p = (stride, stride), (padding, padding)
    y = cpu.conv2d(x, w, s, p)
    expected = array_api.conv2d(x, w, s, p)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
    np.testing.assert_allclose(y, expected, rtol=1e-4)
    g = np.ones_like(y)
    np.testing.assert_allclose(
        cpu.conv2d_weight(x, g, (k, k), s, p),
        array_api.conv2d_weight(x, g, (k, k), s, p),
        rtol=1e-4,
    )
    g[0, 0, 0, 0] = value
    back = (module.conv2d_transpose(g, w, s, p, (0, 0)) for module in (cpu, array_api))
    np.testing.assert_allclose(*back, rtol=1e-4)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_what_is_finite_near_the_largest_number_stays_so(geometry):
    shape, k, stride, padding = GEOMETRIES[geometry]
    x, w = np.zeros(shape, np.float32), np.zeros((32, 32, k, k), np.float32)
    x[:, 0] = 3e38  # sums of two of these are not in range, and each product is
    w[:, 0, 1, 1] = 1
    s, p = (stride, stride), (padding, padding)
    y = cpu.conv2d(x, w, s, p)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y, spec.conv2d(x, w, s, p), rtol=1e-5)
    back = cpu.conv2d_transpose(
        np.where(np.arange(32).reshape(1, -1, 1, 1) == 0, y, 0).astype(np.float32), w, s, p, (0, 0)
    )
    assert np.isfinite(back).all() and back.max() == np.float32(3e38)


def test_the_half_products_meet_these_tests(monkeypatch):
    """They fit these shapes, and without a second look their results are wrong."""
    from minisn.kernels.cpu import convolution

    monkeypatch.setattr(convolution, "all_finite", lambda x: True)
    for shape, k, stride, padding in GEOMETRIES.values():
        x, w = abs(f32(*shape)), abs(f32(32, 32, k, k)) + 1
        x[1, 5] = np.inf
        y = cpu.conv2d(x, w, (stride, stride), (padding, padding))
        assert np.isnan(y).any()


def test_the_error_is_ours_at_public_functions():
    with pytest.raises(MinisnError):
        spectral.power_iteration(f32(8, 6), f32(5), 1)
