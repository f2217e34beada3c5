"""Are several threads as fast as one beside busy neighbors? Time each way of waiting in turn.

    python tests/benchmarks/neighbors.py                # eight processes that compute beside it
    python tests/benchmarks/neighbors.py --busy 0       # a quiet machine

The script prints the seconds of a training step on the shipped digits: on one thread; and on all
threads, as minisn sets them up, with OpenMP's threads awake or asleep while they wait, and on
Numba's portable layer. Each way has its own process, and takes its turn while the others sleep.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys

STEP = """
import sys, time
from minisn.config import load_preset
from minisn.data import load
from minisn.training import Trainer
config = load_preset({preset!r})
trainer = Trainer(config, load(config.data).images)
trainer.update()
for _ in sys.stdin:
    begin = time.perf_counter()
    trainer.update()
    print(time.perf_counter() - begin, flush=True)
"""
# awake as by OpenMP's default; "active" threads would spin for minutes beside the others' turns
WAYS = {
    "1 thread": {"NUMBA_NUM_THREADS": "1"},
    "all, as minisn sets it up": {},
    "all, OpenMP awake": {"NUMBA_THREADING_LAYER": "omp", "GOMP_SPINCOUNT": "300000"},
    "all, OpenMP asleep": {"NUMBA_THREADING_LAYER": "omp", "OMP_WAIT_POLICY": "passive"},
    "all, portable": {"NUMBA_THREADING_LAYER": "workqueue"},
}


def burn() -> None:
    """Compute forever."""
    while True:
        sum(range(10_000))


def start(preset: str, way: dict[str, str]) -> subprocess.Popen:
    """Start a process that makes one training step for each line of its input."""
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    code = STEP.format(preset=preset)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=env | way, **pipes)


def step(process: subprocess.Popen) -> float:
    """Let a process make a step; return its seconds."""
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    """Print the median time of each way, and its ratio to that of one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="mnist")
    parser.add_argument("--busy", type=int, default=8, help="processes that compute beside it")
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    neighbors = [multiprocessing.Process(target=burn, daemon=True) for _ in range(options.busy)]
    for neighbor in neighbors:
        neighbor.start()
    contestants = {}
    for name, way in WAYS.items():
        contestants[name] = start(options.preset, way)
        step(contestants[name])  # compiled and warm before the next one starts
    seconds = {name: [] for name in contestants}
    for _ in range(options.turns):
        for name, process in contestants.items():
            seconds[name].append(step(process))
    one = seconds["1 thread"]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"{options.preset}, {options.busy} busy neighbors, {options.turns} turns; load {load}")
    for name, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(taken, one, strict=True))
        print(
            f"{name:28}{statistics.median(taken):7.3f} s ({min(taken):.3f} - {max(taken):.3f}), "
            f"{ratio:.2f} times that of 1 thread"
        )
    for process in contestants.values():
        process.kill()


if __name__ == "__main__":
    main()
