"""How OpenMP's threads wait for each other: awake, or asleep beside busy neighbors.

Threads that stay awake make small steps some percent faster. If a neighbor occupies the processor
that one of them needs, however, two such threads can be several times slower than one. So the
processors are watched for a moment when the kernels are loaded, and threads sleep if too few are
idle. ``OMP_WAIT_POLICY``, ``passive`` or ``active``, overrides this if it is set before Python
starts; a neighbor that comes later changes nothing. ``tests/benchmarks/neighbors.py`` times them.
"""

import importlib
import math
import os
import time
from contextlib import suppress

import numba

WATCH = 0.1
"""Seconds for which the processors are watched, once, when the kernels are loaded."""


def _idle() -> float:
    """Return how many processors are idle at present; infinity if the system does not tell."""
    try:
        before, all_before = _ticks()
        time.sleep(WATCH)
        after, all_after = _ticks()
        return (os.cpu_count() or 1) * (after - before) / (all_after - all_before)
    except (OSError, ValueError, IndexError, ZeroDivisionError):  # absent, empty, or all zeros
        return math.inf


def _ticks() -> tuple[int, int]:
    """Return the idle ticks and all ticks of all processors since the system started."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(count) for count in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def sleep_beside_neighbors() -> None:
    """Let waiting threads sleep if fewer processors are idle than kernels have threads."""
    # get_num_threads() would load OpenMP
    threads: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    if chosen or threads == 1 or _idle() > threads - 0.5:
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"  # GNU's OpenMP reads it when it is loaded
    try:
        with suppress(ImportError):  # this Numba was built without OpenMP
            importlib.import_module("numba.np.ufunc.omppool")
    finally:
        del os.environ["OMP_WAIT_POLICY"]
