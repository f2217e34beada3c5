"""Run the compiled kernels between protected pages, and measure the half-product convolutions.

    python tests/trust/guards.py --rounds 600         # for each kernel: some minutes
    python tests/trust/guards.py conv2d --rounds 5000

Every round draws a geometry, a layout and a dtype. The kernel runs once on ordinary arrays and
twice on arrays that touch a protected page, at their end and at their beginning. So do the arrays
that it allocates through NumPy. A read or a write past an array ends the process; a write between
an array and the other end of its pages changes a pattern that is checked; and all three results
must have the same bits. The kernels' own buffers, inside compiled code, are not guarded.

The convolutions with half the products are then compared with the direct ones: the error of each,
relative to float64, on the same inputs. ``results/guards.json`` keeps the outcome.
"""

import argparse
import ctypes
import json
import mmap
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from minisn.geometry import output_size
from minisn.kernels import array_api, cpu
from minisn.kernels.cpu import convolution

FOUND = Path(__file__).parent / "results" / "guards.json"
PATTERN = 0xA5
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
USUAL = (((3, 3), (1, 1), (1, 1)), ((4, 4), (2, 2), (1, 1)))
"""Kernel, stride and padding of most layers of the paper, which need half of the products."""


class Fence:
    """Memory beside protected pages.

    Args:
        after: protect the page after an array; else the page before it.
    """

    def __init__(self, after: bool):
        self.after = after
        self.slack: list[np.ndarray] = []

    def room(self, size: int) -> np.ndarray:
        """Return so many bytes that touch a protected page."""
        page = mmap.PAGESIZE
        usable = max(1, -(-size // page)) * page
        memory = mmap.mmap(-1, usable + page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        if LIBC.mprotect(start + (usable if self.after else 0), page, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
        view = np.frombuffer(memory, np.uint8)
        view = view[:usable] if self.after else view[page:]
        split = usable - size if self.after else size
        before, behind = view[:split], view[split:]
        slack, found = (before, behind) if self.after else (behind, before)
        slack[:] = PATTERN
        self.slack.append(slack)
        return found

    def copy(self, array: np.ndarray) -> np.ndarray:
        """Return a copy beside a protected page, its axes in the same order in memory."""
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        dense = self.room(array.nbytes).view(array.dtype)
        found = dense.reshape([array.shape[axis] for axis in order]).transpose(np.argsort(order))
        found[...] = array
        return found

    def intact(self) -> bool:
        """Return whether nothing was written beside the arrays."""
        return all((slack == PATTERN).all() for slack in self.slack)

    @contextmanager
    def allocating(self) -> Iterator[None]:
        """Give the arrays that NumPy makes in this block a place beside a protected page."""
        makers = {
            name: (lambda make: lambda *args, **settings: self.copy(make(*args, **settings)))(
                getattr(np, name)
            )
            for name in ("empty", "zeros", "empty_like", "ascontiguousarray")
        }
        with mock.patch.multiple(np, **makers):
            yield


# -- what is tried -------------------------------------------------------------------------------


class Draw:
    """Random sizes, layouts and dtypes of one round."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.dtype = self.rng.choice([np.float32, np.float64])

    def size(self, most: int, least: int = 1) -> int:
        """Draw a size, small ones more often."""
        return int(least + (most - least) * self.rng.random() ** 2 + 0.5)

    def channels(self) -> int:
        """Draw a number of channels, most often a multiple of 16 as in the paper's networks."""
        return int(self.rng.choice([16, 32, 48, 64])) if self.rng.random() < 0.6 else self.size(70)

    def array(self, *shape: int) -> np.ndarray:
        """Draw normal numbers, with the axes in one of the orders that occur in memory."""
        values = self.rng.normal(size=shape).astype(self.dtype)
        if len(shape) == 4 and self.rng.random() < 0.7:  # images lie channels-last
            return np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return np.asfortranarray(values) if self.rng.random() < 0.2 else values

    def geometry(self) -> tuple:
        """Draw kernel, stride and padding."""
        if self.rng.random() < 0.6:
            return USUAL[self.rng.integers(2)]
        kernel = self.size(5), self.size(5)
        return kernel, (self.size(3), self.size(3)), tuple(self.size(k - 1, 0) for k in kernel)

    def images(self) -> tuple[np.ndarray, np.ndarray, tuple, tuple]:
        """Draw the input of a convolution, its weight, stride and padding."""
        kernel, stride, padding = self.geometry()
        h, w = (max(self.size(20), k - 2 * p) for k, p in zip(kernel, padding, strict=True))
        x = self.array(self.size(5), self.channels(), h, w)
        return x, self.array(self.channels(), x.shape[1], *kernel), stride, padding


def conv2d(d: Draw) -> tuple:
    x, w, stride, padding = d.images()
    return x, w, stride, padding, d.array(len(w)) if d.rng.random() < 0.5 else None


def conv2d_weight(d: Draw) -> tuple:
    x, w, stride, padding = d.images()
    out = output_size("guards", x.shape[2:], w.shape[2:], stride, padding)
    return x, d.array(len(x), len(w), *out), w.shape[2:], stride, padding


def conv2d_transpose(d: Draw) -> tuple:
    x, y, kernel, stride, padding = conv2d_weight(d)
    reached = [
        s * (n - 1) + k - 2 * p
        for n, k, s, p in zip(y.shape[2:], kernel, stride, padding, strict=True)
    ]
    extra = tuple(n - m for n, m in zip(x.shape[2:], reached, strict=True))
    return y, d.array(y.shape[1], x.shape[1], *kernel), stride, padding, extra


def some(d: Draw) -> np.ndarray:
    """Draw an array of one to four axes."""
    ndim = d.size(4)
    if ndim == 4:
        return d.array(d.size(8), d.channels(), d.size(12), d.size(12))
    return d.array(*(d.size(3000 if ndim == 1 else 120 if ndim == 2 else 24) for _ in range(ndim)))


def axes(d: Draw, x: np.ndarray) -> tuple[int, ...]:
    """Draw axes to average over: those of batch normalization, or any."""
    if x.ndim == 4 and d.rng.random() < 0.6:
        return 0, 2, 3
    drawn = tuple(axis for axis in range(x.ndim) if d.rng.random() < 0.5)
    return drawn or (x.ndim - 1,)


def normalize(d: Draw) -> tuple:
    x = some(d)
    mean, variance = array_api.moments(x, axes(d, x))
    kept = [1 if n == 1 or d.rng.random() < 0.2 else n for n in mean.shape]
    shape = (len(x), *kept[1:]) if d.rng.random() < 0.2 else kept
    return x, mean, np.sqrt(variance + 0.1), d.array(*shape), d.array(*shape)


def normalize_pull(d: Draw) -> tuple:
    args = normalize(d)
    order = np.argsort(np.argsort([-abs(n) for n in args[0].strides]))
    g = d.rng.normal(size=np.array(args[0].shape)[np.argsort(order)]).astype(d.dtype)
    return g.transpose(order), *args


def spectral_pull(d: Draw) -> tuple:
    shape = d.size(6), d.size(80), d.size(300)
    u, v = d.array(shape[1]), d.array(shape[0], shape[2])
    return d.array(*shape), d.array(*shape), d.dtype(0.7), u, v, 1.5


def scatter_add(d: Draw) -> tuple:
    size = d.size(500)
    places = d.rng.integers(0, size, d.size(2000))
    return d.array(len(places)), places, size


def adam(d: Draw) -> tuple:
    theta, g, m, v = (d.array(n) for n in [d.size(200_000)] * 4)
    return theta, g, m, v * v, 1e-3, 0.5, 0.9, 1e-8


KERNELS: dict[str, Callable[[Draw], tuple]] = {
    "conv2d": conv2d,
    "conv2d_weight": conv2d_weight,
    "conv2d_transpose": conv2d_transpose,
    "leaky_relu": lambda d: (some(d), 0.1),
    "leaky_relu_pull": lambda d: (x := some(d), x, 0.1),
    "sum": lambda d: (x := some(d), axes(d, x)),
    "moments": lambda d: (x := some(d), axes(d, x)),
    "normalize": normalize,
    "normalize_pull": normalize_pull,
    "power_iteration": lambda d: (
        np.ascontiguousarray(W := d.array(d.size(200), d.size(600))),
        d.array(len(W)),
        d.size(4),
    ),
    "spectral_pull": spectral_pull,
    "scatter_add": scatter_add,
    "adam": adam,
}
"""Every kernel, with how to draw its arguments."""


def reads_on(x: np.ndarray) -> int:
    """Read the byte after an array: a fault that must be seen."""
    return ctypes.string_at(x.ctypes.data + x.nbytes, 1)[0]


def arrays(value: object) -> list[np.ndarray]:
    """Return a result as a list of arrays."""
    return [np.asarray(part) for part in (value if isinstance(value, tuple) else (value,))]


def attempt(name: str, seed: int) -> None:
    """Make one round; raise an error if a result or a pattern differs."""
    kernel, args = (
        (reads_on, (np.ones(8),))
        if name == "reads_on"
        else (getattr(cpu, name), KERNELS[name](Draw(seed)))
    )
    expected = arrays(kernel(*args))
    for after in (True, False):
        fence = Fence(after)
        inside = [fence.copy(a) if isinstance(a, np.ndarray) else a for a in args]
        with fence.allocating():
            found = kernel(*inside)
        for a, b in zip(arrays(found), expected, strict=True):
            np.testing.assert_array_equal(a, b)
        assert fence.intact(), "wrote beside an array"


def run(name: str, rounds: int, seed: int = 0) -> dict[str, object]:
    """Make rounds in a process of their own; return how many passed, and the first fault."""
    command = [sys.executable, __file__, name, "--rounds", str(rounds), "--seed", str(seed)]
    done = subprocess.run([*command, "--child"], capture_output=True, text=True)
    passed = len(done.stdout)
    fault = ""
    if done.returncode < 0:
        fault = f"round {seed + passed}: {signal.Signals(-done.returncode).name}"
    elif done.returncode:
        fault = f"round {seed + passed}: {done.stderr.strip().splitlines()[-1]}"
    return {"rounds": passed, "fault": fault}


# -- accuracy ------------------------------------------------------------------------------------


def accuracy(rounds: int) -> dict[str, float]:
    """Return the error of half the products relative to that of all of them, both to float64.

    Both are root mean squares over the result of a convolution in float32. An error below one
    rounding counts as one: a gradient of four products can be better than that by luck.
    """
    ratios, seed, rounding = [], 0, float(np.finfo(np.float32).eps) / 2
    while len(ratios) < rounds:
        name = ("conv2d", "conv2d_weight", "conv2d_transpose")[seed % 3]
        d = Draw(seed)
        d.dtype = np.float32
        args = KERNELS[name](d)
        seed += 1
        with mock.patch.object(convolution.winograd, "fits", Asked()) as asked:
            half = getattr(cpu, name)(*args)
        if not asked.true:
            continue
        with mock.patch.object(convolution.winograd, "fits", lambda *_, **__: False):
            direct = getattr(cpu, name)(*args)
        wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
        exact = getattr(array_api, name)(*wide)
        errors = (np.linalg.norm(y - exact) / np.linalg.norm(exact) for y in (half, direct))
        of_half, of_direct = (max(float(error), rounding) for error in errors)
        ratios.append(of_half / of_direct)
    return {
        "convolutions": len(ratios),
        "median": statistics.median(ratios),
        "greatest": max(ratios),
    }


class Asked:
    """The question whether half of the products are enough, which knows if it was ever true."""

    def __init__(self) -> None:
        self.fits, self.true = convolution.winograd.fits, False

    def __call__(self, *args, **settings) -> bool:
        found = self.fits(*args, **settings)
        self.true |= found
        return found


def main() -> None:
    """Try some kernels, or all and the accuracy; keep the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="KERNEL", help=f"of {', '.join(KERNELS)}")
    parser.add_argument("--rounds", type=int, default=600, help="for each kernel")
    parser.add_argument("--seed", type=int, default=0, help="the first round's")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        for seed in range(options.seed, options.seed + options.rounds):
            attempt(options.names[0], seed)
            print(end=".", flush=True)
        return
    kept = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    for name in options.names or KERNELS:
        kept[name] = run(name, options.rounds, options.seed)
        print(name, kept[name], flush=True)
    if not options.names:
        kept["half the products"] = accuracy(options.rounds)
        print(kept["half the products"])
    FOUND.write_text(json.dumps(kept, indent=1) + "\n")
    sys.exit(any(found.get("fault") for found in kept.values()))


if __name__ == "__main__":
    main()
