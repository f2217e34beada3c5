"""The speed of minisn as a user notices it: one command prints the whole table, row by row.

    python tests/benchmarks/felt.py                # every row: over an hour, on a quiet machine
    python tests/benchmarks/felt.py steps start    # some rows

``steps``: training steps with their peak memory, the power step and Adam, beside PyTorch and JAX ·
``resnet``: the same for the full-width ResNet, beside PyTorch · ``threads``: one thread against
more, and more threads than cores · ``load``: a step beside eight busy processes · ``limit``: for
each preset, a step's share of the machine's arithmetic and of its memory bandwidth · ``growth``:
seconds as batch, width, size and n_dis grow, with exponents · ``start``: the first compilation, and
the time from the command to the first step · ``suite``: the README's second command, without the
installation; with PyTorch where it is installed · ``digits``: scores by the minute.

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
from unittest.mock import patch

import numpy as np
from contestants import SIDE, multiply_adds

from minisn import kernels
from minisn.bench import IMAGES, Contestant, Timing, compare, missing, noise
from minisn.config import load_preset, presets
from minisn.tensor import Primitive, Tensor
from minisn.training import Trainer

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
    "size": ("size", (28, 32, 48, 64, 96)),
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
        cores = kernels.threads()
        counts = sorted({1, *(n for n in (2, 4, 8) if n <= cores), cores, 2 * cores})
        one, *more = timed([Contestant(f"{n}", "minisn", config, threads=n) for n in counts], 5)
        for other in more:
            print(f"{name}, 1 thread over {other.name}: {ratio(one, other)}")
        *_, each, above = one, *more
        print(
            f"{name}, {above.name} threads on {cores} cores over {cores}: {ratio(above, each)}",
            flush=True,
        )


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
    for name in presets():
        config = load_preset(name)
        products, moved = work(config)
        step, product = timed(
            [Contestant("minisn", "minisn", config), *enter("numpy", config, "product")], 1
        )
        share = [products / SIDE**3 * x for x in product.over(step)]
        rate = 2e-9 * SIDE**3 / product.median
        print(
            f"{name}: {statistics.median(share):.2f} of the {rate:.0f} GFLOP/s of a matrix "
            f"product; {moved / step.median / bandwidth:.2f} of the memory bandwidth",
            flush=True,
        )


def work(config) -> tuple[int, int]:
    """Count a step's multiply-adds, and its bytes if each result is written and read once."""
    trainer, products, moved = Trainer(config, noise(config), labels=np.arange(IMAGES) % 10), 0, 0
    compute, wrap = Primitive._compute, Tensor.wrap

    def computed(operation, inputs, params):
        nonlocal products
        array, saved = compute(operation, inputs, params)
        products += multiply_adds(operation.name, *(t.array for t in inputs), array)
        return array, saved

    def wrapped(array, *args, **kwargs):
        nonlocal moved
        moved += 2 * getattr(array, "nbytes", 0)
        return wrap(array, *args, **kwargs)

    with patch.object(Primitive, "_compute", computed), patch.object(Tensor, "wrap", wrapped):
        trainer.update()
    return products, moved


def growth() -> None:
    print("| setting | milliseconds a step | exponents between neighbors |\n|---|---|---|")
    for name, (setting, values) in GROWTH.items():
        configs = [TABLE_3.replace(**{"width": 16, setting: value}) for value in values]
        timings = timed(
            [Contestant(str(v), "minisn", c) for v, c in zip(values, configs, strict=True)], 1
        )
        seconds = [timing.median for timing in timings]
        slopes = np.diff(np.log(seconds)) / np.diff(np.log(values))
        told = ", ".join(f"{v}: {1e3 * s:.3g}" for v, s in zip(values, seconds, strict=True))
        powers = " ".join(f"{slope:.2f}" for slope in slopes)
        print(f"| {name} | {told} | {powers} |", flush=True)


def start() -> None:
    subprocess.run([sys.executable, str(HERE / "questions.py"), "start"], check=True)


def digits() -> None:
    command = [sys.executable, str(HERE / "digits_per_minute.py")]
    for seed in map(str, range(3)):
        for name in ("minisn", *(["torch"] if not missing("torch") else [])):
            subprocess.run([*command, "--contestant", name, "--seed", seed], check=True)


def resnet() -> None:
    options = ["--turns", str(GIVEN.turns), "--steps", "1"]
    subprocess.run([sys.executable, "-m", "minisn.cli", "bench", "resnet", *options], check=True)


def suite() -> None:
    command = [sys.executable, "-m", "pytest"]
    told = subprocess.run(command, cwd=HERE.parent.parent, stdout=subprocess.PIPE, text=True).stdout
    print(f"tests, {'without' if missing('torch') else 'with'} PyTorch:", *told.splitlines()[-1:])


ROWS = {
    row.__name__: row for row in (steps, resnet, threads, load, limit, growth, start, suite, digits)
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW", default=[])
    parser.add_argument("--turns", type=int, default=15)
    GIVEN = parser.parse_args()
    for row in GIVEN.rows or ROWS:
        ROWS[row]()
