"""The product in registers: every width of strip, and nothing written outside."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the product is compiled by Numba, which is not installed")

from minisn.kernels.cpu.product import DEPTH, ROWS, VECTOR_BYTES, fill, multiply, product_of

pytestmark = pytest.mark.usefixtures("two_threads")

GUARD = 7.5


def check(dtype, m, n, depth, transposed, add, seed):
    """Multiply between guards, and compare with the product in more digits."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(depth, m) if transposed else (m, depth)).astype(dtype)
    b = rng.normal(size=(depth, n)).astype(dtype)
    room = np.full(m * n + 64, GUARD, dtype)
    c = room[32 : 32 + m * n].reshape(m, n)
    c[:] = rng.normal(size=c.shape)
    a, before = a.T if transposed else a, c.copy()

    multiply(product_of(c.dtype), a, b, c, add)

    exact = a.astype(np.longdouble) @ b.astype(np.longdouble) + (before if add else 0)
    size = abs(a).astype(np.longdouble) @ abs(b) + (abs(before) if add else 0)
    assert np.all(abs(c - exact) <= (depth + 1) * np.finfo(dtype).eps * size)
    assert np.all(room[:32] == GUARD) and np.all(room[32 + m * n :] == GUARD)


@given(
    dtype=st.sampled_from([np.float32, np.float64]),
    m=st.integers(0, 2 * ROWS + 1),
    n=st.integers(0, 4 * VECTOR_BYTES // 4 + 3),
    depth=st.integers(0, 20),
    transposed=st.booleans(),
    add=st.booleans(),
    seed=st.integers(0, 99),
)
def test_is_the_product(dtype, m, n, depth, transposed, add, seed):
    check(dtype, m, n, depth, transposed, add, seed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("depth", [DEPTH // 2, DEPTH, 2 * DEPTH + 1])
def test_is_the_product_when_a_large_b_is_copied(dtype, depth):
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    check(dtype, 8 * ROWS + 3, 5 * lanes + 1, depth, transposed=False, add=True, seed=depth)
    check(dtype, 8 * ROWS, 2 * lanes, depth, transposed=True, add=False, seed=depth)


def test_takes_rows_that_lie_apart():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 12))[::2, 1::3], rng.normal(size=(4, 9))
    c = np.empty((10, 9))
    multiply(product_of(c.dtype), a, b, c, False)
    np.testing.assert_allclose(c, a @ b, rtol=1e-14, atol=1e-14)


def test_fill_sets_every_row():
    rows = np.zeros((3, 4), np.float32)
    fill(rows, np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(rows, np.tile(np.arange(4), (3, 1)))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="asks for x86 by name")
@pytest.mark.parametrize(
    ("name", "features", "registers"),
    [
        ("generic", None, "16 8"),
        ("x86-64", "", "16 8"),
        ("haswell", "", "32 6"),
        ("haswell", "-avx2,-avx", "16 8"),
        ("skylake-avx512", "", "64 8"),
        ("skylake-avx512", "-avx512f", "32 6"),
    ],
)
def test_registers_are_those_of_the_processor_that_numba_compiles_for(name, features, registers):
    env = {**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    code = "from minisn.kernels.cpu.product import *; print(VECTOR_BYTES, ROWS)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={key: value for key, value in env.items() if value is not None},
        capture_output=True,
        text=True,
    )
    assert ran.stdout.split() == registers.split(), ran.stderr
