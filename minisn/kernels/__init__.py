"""Kernels: functions from arrays to arrays, in several modules with the same signatures.

``spec``
    the loops of the equation: the reference for the others, and the first thing to read;
``array_api``
    calls of the array API standard, for NumPy, CuPy and Pyodide;
``cpu``
    code for NumPy arrays that Numba compiles.

``of(array)`` picks the module for an array: ``cpu`` for NumPy arrays of float32 or float64 where
Numba is installed, ``array_api`` for the rest. :func:`use_kernels` overrides the choice.

Several threads and processes may call kernels at the same time. A process forked after a kernel has
run gets the same bits, or an error that says what to do (see ``cpu/pool.py``).
"""

import functools
import importlib
import sys
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType

import numpy as np

from ..backend import Array, is_numpy
from ..errors import ConfigError
from . import array_api, spec

NATIVE = {np.dtype(kind).str for kind in (np.float32, np.float64)}
"""The number types with compiled kernels; other types and byte orders are left to NumPy."""

CHOICES = ("auto", "spec", "array_api", "cpu")

_chosen = "auto"


class use_kernels:
    """Choose the kernel module, from now on or for a ``with`` block.

    Args:
        name: ``"spec"``, ``"array_api"``, ``"cpu"`` or ``"auto"`` (by the array).
    Raises:
        ConfigError: an unknown name, or ``"cpu"`` where Numba is not installed.
    """

    def __init__(self, name: str):
        global _chosen
        if name not in CHOICES:
            raise ConfigError(f"unknown kernels {name!r}; expected one of {', '.join(CHOICES)}")
        if name == "cpu" and _cpu() is None:
            raise ConfigError(
                "kernels 'cpu' need Numba, which is not installed or switched off by "
                "NUMBA_DISABLE_JIT; run: pip install numba, or use 'array_api'"
            )
        self._before, _chosen = _chosen, name

    def __enter__(self) -> "use_kernels":
        return self

    def __exit__(self, *_: object) -> None:
        global _chosen
        _chosen = self._before


def of(array: Array) -> ModuleType:
    """Return the kernel module for an array."""
    if _chosen == "spec":
        return spec
    if _chosen != "array_api" and is_numpy(array) and array.dtype.str in NATIVE:
        return _cpu() or array_api
    return array_api


def finite_or_unseen(array: Array) -> bool:
    """Return whether every entry is finite; an array that is not NumPy's passes unseen.

    Every step calls this, and would wait for a GPU each time. On a GPU, a run checks the numbers of
    each line of its log instead.
    """
    return not is_numpy(array) or of(array).all_finite(array)


def one_pool() -> AbstractContextManager:
    """Hold BLAS to one thread in a ``with`` block, so that only the kernels' threads run.

    Two pools of threads that take turns wait for each other; a training step is faster with one.
    """
    cpu = _cpu()
    return cpu.one_pool() if cpu else nullcontext()


def threads() -> int:
    """Return how many threads the kernels use; 1 without compiled kernels."""
    cpu = _cpu()
    return cpu.threads() if cpu else 1


def compiling() -> AbstractContextManager:
    """Measure the time to compile kernels; the context yields None without compiled kernels."""
    cpu = _cpu()
    return cpu.compiling() if cpu else nullcontext()


def compiled() -> int:
    """Return a count that grows with each kernel compiled here because Numba's cache lacked it."""
    modules = [m for name, m in sys.modules.copy().items() if name.startswith(__name__)]
    counts = [getattr(v, "stats", None) for m in modules for v in vars(m).copy().values()]
    return sum(len(getattr(count, "cache_misses", ())) for count in counts)


@functools.cache
def _cpu() -> ModuleType | None:
    """Import the Numba kernels at their first use; return None where Numba cannot be used."""
    try:
        return importlib.import_module(".cpu", __name__)
    except ImportError:
        return None
