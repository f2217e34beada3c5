"""Compile the kernels of a training step in a second process, the last kernel first.

    python -m minisn.kernels.cpu.ahead

A first training step compiles its kernels one after another. This program compiles the same kernels
in the opposite order, so the two processes meet halfway: each loads from Numba's cache what the
other has compiled.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from . import convolution, entrywise, normalization, power
from .cache import config
from .pool import SMALL


def calls() -> list[Callable]:
    """Return one small call of each kernel, in the order of a first training step."""
    size = (1, 1)
    x = np.zeros((SMALL >> 10, 16, 8, 8), np.float32)  # twice as many as are worth compiling for
    images = x[:, :1]
    three, five, few = (
        np.zeros((filters, 16, taps, taps), x.dtype) for filters, taps in ((16, 3), (16, 5), (1, 3))
    )
    row, number = np.ones(16, x.dtype), np.ones((1, 16, 1, 1), x.dtype)
    W, flat = np.ones((16, 16), x.dtype), np.ones(SMALL, x.dtype)
    return [
        partial(power.power_iteration, W, row, 1),
        partial(normalization.moments, x, (0, 2, 3)),
        partial(normalization.normalize, x, number, number, number, number),
        partial(entrywise.leaky_relu, x, 0.1),
        partial(convolution.conv2d_transpose, x, five, (2, 2), (2, 2), size),
        partial(convolution.conv2d, x, few, size, size),
        partial(convolution.conv2d, images, few[:, :1], size, size),
        partial(convolution.conv2d, x, five, size, (2, 2)),
        partial(convolution.conv2d, x, three, size, size),
        partial(power.spectral_pull, W[None], W[None], 1.0, row, W[:1], 1.0),
        partial(entrywise.leaky_relu_pull, x, x, 0.1),
        partial(convolution.conv2d_weight, x, x, (3, 3), size, size),
        partial(convolution.conv2d_weight, x, x, (5, 5), size, (2, 2)),
        partial(convolution.conv2d_weight, images, x, (3, 3), size, size),
        partial(entrywise.adam, flat, flat, flat, flat, 1e-3, 0.5, 0.9, 1e-8),
        partial(normalization.normalize_pull, x, x, number, number, number, number),
    ]


def start() -> subprocess.Popen:
    """Start the second process; the caller must end it."""
    folder = {"NUMBA_CACHE_DIR": config.CACHE_DIR} if config.CACHE_DIR else {}
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        env=os.environ | folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    for call in reversed(calls()):
        call()
