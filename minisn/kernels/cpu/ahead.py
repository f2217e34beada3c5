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
    one, two, kind = (1, 1), (2, 2), np.float32
    x = np.zeros((SMALL >> 10, 16, 8, 8), kind)  # the fewest entries that are not left to NumPy
    image, to_image = x[:, :1], np.zeros((1, 16, 3, 3), kind)
    three, five = (np.zeros((16, 16, taps, taps), kind) for taps in (3, 5))
    W, vector, flat = np.ones((16, 16), kind), np.ones(16, kind), np.ones(SMALL, kind)
    moment = np.ones((1, 16, 1, 1), kind)
    return [
        partial(power.power_iteration, W, vector, 1),
        partial(normalization.moments, x, (0, 2, 3)),
        partial(normalization.normalize, x, moment, moment, moment, moment),
        partial(entrywise.leaky_relu, x, 0.1),
        partial(convolution.conv2d_transpose, x, five, two, two, one),
        partial(convolution.conv2d, x, to_image, one, one),
        partial(convolution.conv2d, image, to_image[:, :1], one, one),
        partial(convolution.conv2d, x, five, one, two),
        partial(convolution.conv2d, x, three, one, one),
        partial(power.spectral_pull, W[None], W[None], 1.0, vector, W[:1], 1.0),
        partial(entrywise.leaky_relu_pull, x, x, 0.1),
        partial(convolution.conv2d_weight, x, x, (3, 3), one, one),
        partial(convolution.conv2d_weight, x, x, (5, 5), one, two),
        partial(convolution.conv2d_weight, image, x, (3, 3), one, one),
        partial(entrywise.adam, flat, flat, flat, flat, 1e-3, 0.5, 0.9, 1e-8),
        partial(normalization.normalize_pull, x, x, moment, moment, moment, moment),
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
