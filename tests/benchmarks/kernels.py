"""Time the claims of the kernels' docstrings: the product, new arrays, forms of a convolution.

    python tests/benchmarks/kernels.py

One thread, float32, batch 64; the least time of several calls, made in turn. "plain" gathers
patches and multiplies them; "chosen" is the form that minisn chooses.
"""

import time
from unittest.mock import patch

import numba
import numpy as np

from minisn import kernels
from minisn.kernels import cpu
from minisn.kernels.cpu import narrow, winograd
from minisn.kernels.cpu.product import ROWS, multiply, product_of

BATCH, CALLS = 64, 15


def least(*calls):
    """Return the least seconds of each call, made in turn."""
    times = [[] for _ in calls]
    for _ in range(CALLS + 1):  # the first compiles
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return [min(found[1:]) for found in times]


@numba.njit
def in_slices(at, a, b, c):
    """Multiply a few rows at a time, too few to copy B for."""
    for i in range(0, len(a), ROWS):
        multiply(at, a[i : i + ROWS], b, c[i : i + ROWS], False)


def product(rng, m, k, n):
    """Compare the product in registers with itself without copies of B, and with NumPy's BLAS."""
    a, b = (rng.normal(size=s).astype(np.float32) for s in ((m, k), (k, n)))
    c, at = np.empty((m, n), np.float32), product_of(a.dtype)
    ours, slices, blas = least(
        lambda: multiply(at, a, b, c, False),
        lambda: in_slices(at, a, b, c),
        lambda: np.dot(a, b, out=c),
    )
    work = 2 * m * k * n / 1e9
    print(
        f"[{m}, {k}] times [{k}, {n}]: {work / ours:.0f} GFLOP/s, "
        f"without copies {work / slices:.0f}, BLAS {work / blas:.0f}"
    )


@numba.njit
def filled_inside(size):
    y = np.empty(size, np.float32)
    for i in range(size):
        y[i] = 1
    return y


@numba.njit
def fill(y):
    for i in range(y.size):
        y[i] = 1


def filled(size):
    y = np.empty(size, np.float32)
    fill(y)
    return y


def taps(rng, channels):
    """Compare the sums of a filter's taps with the whole convolution of 4 x 4 images."""
    w = rng.normal(size=(channels, channels, 3, 3)).astype(np.float32)
    x = np.ones((BATCH, channels, 4, 4), np.float32)
    sums, all_of_it = least(
        lambda: winograd._filters(w, 1), lambda: cpu.conv2d(x, w, (1, 1), (1, 1))
    )
    print(f"{channels} channels: sums of taps {1e3 * sums:.1f} ms of {1e3 * all_of_it:.1f} ms")


def new_arrays(size):
    """Compare arrays that compiled code allocates with those of NumPy, three at a time."""
    inside, outside = least(
        *(lambda make=make: [make(size) for _ in range(3)] for make in (filled_inside, filled))
    )
    print(
        f"3 arrays of {4 * size / 1e6:.0f} MB, allocated and filled: {1e3 * inside:.1f} ms; "
        f"allocated by NumPy: {1e3 * outside:.1f} ms"
    )


def plain(call):
    """Make a call without the special forms."""

    def inner():
        with patch.object(narrow, "FEW", 0), patch.object(winograd, "fits", return_value=False):
            call()

    return inner


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def convolutions(rng, width, size, channels):
    """Compare both forms on the layers of Table 3's D."""
    layers = [(channels, width, 3, 1, size)]
    for k in (1, 2, 4):
        layers += [
            (k * width, 2 * k * width, 4, 2, size // k),
            (2 * k * width, 2 * k * width, 3, 1, size // (2 * k)),
        ]
    print(f"\nwidth {width}, images of {size}: milliseconds, plain and chosen")
    for c, d, kernel, stride, h in layers:
        x = channels_last(rng.normal(size=(BATCH, c, h, h)).astype(np.float32))
        w = rng.normal(size=(d, c, kernel, kernel)).astype(np.float32)
        pairs = (stride, stride), (1, 1)
        y = cpu.conv2d(x, w, *pairs)
        extra = ((h + 2 - kernel) % stride,) * 2
        cells = []
        for call in (
            lambda x=x, w=w, p=pairs: cpu.conv2d(x, w, *p),
            lambda x=x, y=y, k=kernel, p=pairs: cpu.conv2d_weight(x, y, (k, k), *p),
            lambda y=y, w=w, p=pairs, e=extra: cpu.conv2d_transpose(y, w, *p, e),
        ):
            before, now = least(plain(call), call)
            cells.append(f"{1e3 * before:7.2f} {1e3 * now:7.2f} ({now / before:.2f})")
        print(f"{c:4d} to {d:4d}, {kernel}x{kernel}, stride {stride}: " + " | ".join(cells))


if __name__ == "__main__":
    numba.set_num_threads(1)
    draw = np.random.default_rng(0)
    with kernels.one_pool():
        for sizes in ((512, 256, 32), (96, 128, 128), (96, 512, 512), (512, 1152, 128)):
            product(draw, *sizes)
        taps(draw, 512)
        new_arrays(6_740_612)
        for layout in ((16, 28, 1), (32, 32, 3), (64, 32, 3)):
            convolutions(draw, *layout)
