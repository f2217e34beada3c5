"""The speed of minisn as a user notices it: one command prints the whole table, row by row.

    python tests/benchmarks/felt.py                # every row: about an hour, on a quiet machine
    python tests/benchmarks/felt.py steps start    # some rows

``steps``: training steps with their peak memory, the power step and Adam, beside PyTorch and JAX ·
``threads``: one thread against two · ``load``: a step beside eight busy processes · ``limit``: a
step's share of the machine's arithmetic and of its memory bandwidth · ``growth``: seconds as batch,
width, size and n_dis grow, with exponents · ``start``: the first compilation, and the time from the
command to the first step · ``digits``: scores by the minute.

Ratios are taken turn by turn: median (least - greatest). Libraries that are not installed are left
out.
"""

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from contestants import SIDE, multiply_adds

from minisn import kernels
from minisn.bench import Contestant, Timing, compare, missing
from minisn.config import load_preset

HERE = Path(__file__).parent
MNIST, TABLE_3 = load_preset("mnist"), load_preset("cifar10")
STEPS = {
    "MNIST": MNIST,
    "Table 3 at width 64": TABLE_3,
    "Table 4's ResNet at width 32": load_preset("cifar10-resnet").replace(width=32, n_dis=1),
    "WGAN-GP, Table 3": TABLE_3.replace(
        objective="wasserstein", regularizer="none", gradient_penalty=10.0
    ),
}
GROWTH = {
    "batch": ("batch_size", (16, 64, 256, 1024)),
    "width": ("width", (8, 16, 32, 64, 128)),
    "n_dis": ("n_dis", (1, 2, 5, 10)),
    "size": ("size", (32, 48, 64, 96)),
}
BUSY = 8


def ratio(ours: Timing, other: Timing) -> str:
    """Write the ratio of two timings, taken turn by turn."""
    found = ours.over(other)
    return f"{statistics.median(found):.2f} ({min(found):.2f} - {max(found):.2f})"


def timed(contestants: list[Contestant], steps: int, turns: int = 0) -> list[Timing]:
    return compare(contestants, turns or GIVEN.turns, steps)


def enter(library: str, config, work: str = "step", threads: int = 0) -> list[Contestant]:
    """Enter a contestant of ``contestants.py``, if its library is installed."""
    if missing(library.split("-")[0]):
        return []
    program = (str(HERE / "contestants.py"),)
    return [Contestant(library, library, config, work, threads, program)]


def versus(first: Timing, rest: list[Timing]) -> None:
    for other in rest:
        memory = first.peak_mb / other.peak_mb
        print(
            f"    relative to {other.name}: {ratio(first, other)}; peak memory {memory:.2f}",
            flush=True,
        )


def steps() -> None:
    for name, config in STEPS.items():
        ours = Contestant("minisn", "minisn", config)
        others = [Contestant("torch", "torch", config)] if not missing("torch") else []
        if config == TABLE_3:
            others += enter("torch-compile", config)
        first, *rest = timed([ours, *others], 5 if config == MNIST else 2)
        print(f"step, {name}: {1e3 * first.median:.3g} ms, {first.peak_mb:.0f} MB", flush=True)
        versus(first, rest)
        if config in (MNIST, TABLE_3):  # many times slower: three turns are enough
            first, *rest = timed([ours, *enter("jax", config)], 1, turns=3)
            versus(first, rest)
    for work in ("power", "adam"):
        first, *rest = timed([*enter("minisn", TABLE_3, work), *enter("torch", TABLE_3, work)], 20)
        for other in rest:
            print(f"{work}, Table 3, relative to {other.name}: {ratio(first, other)}", flush=True)


def threads() -> None:
    for name, config in list(STEPS.items())[:2]:
        counts = [n for n in (1, 2, 4, 8) if n <= kernels.threads()]
        one, *more = timed([Contestant(f"{n}", "minisn", config, threads=n) for n in counts], 5)
        for other in more:
            print(f"{name}, 1 thread over {other.name}: {ratio(one, other)}", flush=True)


@contextmanager
def busy(count: int):
    """Run processes that do nothing but compute."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def load() -> None:
    others = [Contestant("torch", "torch", MNIST)] if not missing("torch") else []
    with busy(BUSY):
        first, *rest = timed([Contestant("minisn", "minisn", MNIST), *others], 5)
        one, two = timed([Contestant(f"{n}", "minisn", MNIST, threads=n) for n in (1, 2)], 5)
    print(f"MNIST beside {BUSY} busy processes: {first.median:.2f} s a step")
    for other in rest:
        print(f"    relative to {other.name}: {ratio(first, other)}")
    print(f"    two threads over one: {ratio(two, one)}", flush=True)


def limit() -> None:
    a = np.ones(1 << 26, np.float32)
    b, seconds = np.empty_like(a), []
    for _ in range(5):
        start = os.times().elapsed
        for _ in range(10):
            np.copyto(b, a)
        seconds.append((os.times().elapsed - start) / 10)
    bandwidth = 2 * a.nbytes / statistics.median(seconds)
    print(f"memory: {bandwidth / 1e9:.0f} GB/s copied by one thread")
    for name, config in list(STEPS.items())[:2]:
        step, product = timed(
            [Contestant("minisn", "minisn", config), *enter("numpy", config, "product")], 5
        )
        share = [multiply_adds(config) / SIDE**3 * x for x in product.over(step)]
        rate = 2e-9 * SIDE**3 / product.median
        print(
            f"{name}: {statistics.median(share):.2f} of the {rate:.0f} GFLOP/s of a matrix "
            f"product; {moved(config) / step.median / bandwidth:.2f} of the memory bandwidth",
            flush=True,
        )


def moved(config) -> float:
    """Return the bytes moved in a step, if each result of an operation is written and read once."""
    from minisn import tensor
    from minisn.bench import noise
    from minisn.training import Trainer

    trainer, total = Trainer(config, noise(config)), 0
    trainer.update()
    wrap = tensor.Tensor.wrap

    def counted(array, *args, **kwargs):
        nonlocal total
        total += getattr(array, "nbytes", 0)
        return wrap(array, *args, **kwargs)

    tensor.Tensor.wrap = counted
    try:
        trainer.update()
    finally:
        tensor.Tensor.wrap = wrap
    return 2.0 * total


def growth() -> None:
    for name, (setting, values) in GROWTH.items():
        configs = [TABLE_3.replace(**{"width": 16, setting: value}) for value in values]
        timings = timed(
            [Contestant(str(v), "minisn", c) for v, c in zip(values, configs, strict=True)], 1
        )
        seconds = [timing.median for timing in timings]
        slopes = np.diff(np.log(seconds)) / np.diff(np.log(values))
        told = ", ".join(f"{v}: {1e3 * s:.3g}" for v, s in zip(values, seconds, strict=True))
        powers = " ".join(f"{slope:.2f}" for slope in slopes)
        print(f"{name}: ms a step {told}; exponents {powers}", flush=True)


def start() -> None:
    subprocess.run([sys.executable, str(HERE / "questions.py"), "start"], check=True)


def digits() -> None:
    command = [sys.executable, str(HERE / "digits_per_minute.py")]
    for seed in map(str, range(3)):
        for name in ("minisn", *(["torch"] if not missing("torch") else [])):
            subprocess.run([*command, "--contestant", name, "--seed", seed], check=True)


ROWS = {row.__name__: row for row in (steps, threads, load, limit, growth, start, digits)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW", default=[])
    parser.add_argument("--turns", type=int, default=15)
    GIVEN = parser.parse_args()
    for row in GIVEN.rows or ROWS:
        ROWS[row]()
