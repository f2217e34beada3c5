"""What a training step of Table 3 costs, and why: four questions, each answered by timing.

    python tests/benchmarks/questions.py batch n-dis threads start

``batch``: seconds for each image, by the size of the batch · ``n-dis``: seconds of a step, by the
number of updates of D · ``threads``: one thread against all · ``start``: the time from the command
to the first step. (`minisn study fig10` measures the share of spectral normalization.)

``batch`` and ``threads`` also time PyTorch if it is installed. Contestants take turns in processes
of their own, as in ``minisn bench``.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from minisn import kernels
from minisn.bench import Contestant, Timing, compare, missing
from minisn.config import load_preset

BATCHES, N_DIS = (32, 64, 128, 256, 512), (1, 2, 3, 5)
STARTS = 3
TABLE_3 = load_preset("cifar10")
LIBRARIES = ["minisn"] if missing("torch") else ["minisn", "torch"]


def times(contestants: list[Contestant]) -> list[Timing]:
    return compare(contestants, GIVEN.turns, GIVEN.steps)


def milliseconds(s: float) -> str:
    return f"{1e3 * s:.4g} ms"


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"


def batch() -> None:
    for n in BATCHES:
        config = TABLE_3.replace(batch_size=n)
        for timing in times([Contestant(x, x, config) for x in LIBRARIES]):
            print(f"batch {n}, per image, {timing.name}: {milliseconds(timing.median / n)}")


def n_dis() -> None:
    timings = times([Contestant(str(n), "minisn", TABLE_3.replace(n_dis=n)) for n in N_DIS])
    seconds = np.array([timing.median for timing in timings])
    slope, rest = np.polyfit(N_DIS, seconds, 1)
    off = np.max(np.abs(rest + slope * np.array(N_DIS) - seconds) / seconds)
    for timing in timings:
        print(f"n_dis {timing.name}: {milliseconds(timing.median)}")
    print(f"  {milliseconds(rest)} + {milliseconds(slope)} n_dis, off by at most {off:.1%}")


def threads() -> None:
    for library in LIBRARIES:
        one, more = times(
            [
                Contestant(f"{n} threads", library, TABLE_3, threads=n)
                for n in (1, kernels.threads())
            ]
        )
        print(f"{library}, 1 thread against {more.name}: {spread(one.over(more))}")


def start() -> None:
    first, again = [], []
    for _ in range(STARTS):
        with TemporaryDirectory() as folder:
            first.append(first_step(Path(folder), "first"))
            again.append(first_step(Path(folder), "again"))
    first, again = statistics.median(first), statistics.median(again)
    what = "minisn train mnist, from the command to its first step:"
    if isinstance(kernels.compiling(), nullcontext):
        print(f"{what} {again:.1f} s, and nothing is compiled")
    else:
        print(f"{what} {first:.1f} s with compilation, {again:.1f} s without")


def first_step(folder: Path, name: str) -> float:
    command = [sys.executable, "-m", "minisn.cli", "train", "mnist", "--out", str(folder / name),
               "--set", "log_every=1"]  # fmt: skip
    compiled, log = {"NUMBA_CACHE_DIR": str(folder / "compiled")}, folder / name / "log.jsonl"
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | compiled)
    try:
        while not log.exists() or log.read_bytes().count(b"\n") < 2:  # the first is of step 0
            if process.poll() is not None:
                raise SystemExit("the training did not start")
            time.sleep(0.01)
        return time.perf_counter() - begin
    finally:
        process.kill()
        process.wait()


QUESTIONS = {"batch": batch, "n-dis": n_dis, "threads": threads, "start": start}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="+", choices=QUESTIONS, metavar="QUESTION")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5)
    GIVEN = parser.parse_args()
    for question in GIVEN.questions:
        QUESTIONS[question]()
