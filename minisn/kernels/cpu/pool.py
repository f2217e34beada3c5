"""One pool of threads: Numba's.

A second pool inside BLAS would spin against the first, so BLAS is held to one thread
while kernels run, and given back what it had after.

Several threads may call kernels: they take turns, and each gets the bits it would get alone. Dense
products of theirs go on meanwhile, on one thread of BLAS in place of all, which may change last
digits: for equal bits hold :func:`one_pool` around them too, as a training step does.

Deviation: on macOS NumPy's wheels multiply by Apple's Accelerate, which threadpoolctl cannot limit,
so one_pool() holds only Numba's pool there. The kernels call no BLAS and are as everywhere; NumPy's
dense products may take more threads. Set ``VECLIB_MAXIMUM_THREADS=1`` before Python starts to hold
Accelerate to one.

OpenMP's threads spin while they wait for each other, and where a neighbor has the processor that
one of them waits for, two can be several times slower than one. ``OMP_WAIT_POLICY=passive``, set
before Python starts, has them sleep instead; that is not the default, because small steps are
slower by it on a quiet machine (``tests/benchmarks/neighbors.py`` times the ways).

Threads do not live on in a forked process. Numba's portable layer makes new ones there, and results
are the same bits; GNU's OpenMP cannot, and ends the process (Numba sees to that: else it would wait
for ever), so there the kernels refuse with an error. A process that was spawned, or forked before
any kernel ran, has threads of its own.
"""

import functools
import os
import threading
from contextlib import contextmanager, suppress

import numba
import numpy as np
from threadpoolctl import ThreadpoolController

from ...errors import ConfigError, MinisnError, ShapeError

_blas = ThreadpoolController().select(user_api="blas")
SMALL = 1 << 15
"""Arrays of fewer entries are not worth waking the threads for: NumPy is as fast, and busy
neighbours can delay a thread for milliseconds."""

_one_caller = threading.RLock()  # Numba's portable pool breaks when entered from two threads
_held = False  # whether its holder has limited BLAS already: asking BLAS costs some 10 us
_lost = False  # whether this is a forked process whose layer cannot make new threads


@contextmanager
def one_pool():
    """Hold BLAS to one thread and Numba's pool to one caller, for a while."""
    global _held
    with _one_caller:
        if _held:
            yield
            return
        with _blas.limit(limits=1):
            _held = True
            try:
                yield
            finally:
                _held = False


def _begin_anew() -> None:
    """Free a forked process of the lock of a thread that it does not have."""
    global _one_caller, _held, _lost
    _one_caller, _held = threading.RLock(), False
    with suppress(ValueError):  # no kernel has run yet
        _lost = numba.threading_layer() == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def in_one_pool(kernel):
    """Make a kernel run in :func:`one_pool`, and refuse in a forked process without threads."""

    @functools.wraps(kernel)
    def wrapper(*args):
        if _lost:
            raise MinisnError(
                "this process was forked from one that has run compiled kernels, and their threads "
                "(OpenMP's) do not live on: start it by 'spawn' or 'forkserver', as in "
                "multiprocessing.get_context('spawn'); or begin it with "
                "minisn.use_kernels('array_api'), which needs no threads but differs in last digits"
            )
        try:
            with one_pool():
                return kernel(*args)
        except ValueError as error:
            if "threading layer" not in str(error):
                raise
            raise ConfigError(
                "Numba cannot start its threads with NUMBA_THREADING_LAYER="
                f"{os.environ.get('NUMBA_THREADING_LAYER', 'default')}: what that needs is "
                "missing or too old; unset it, or set it to workqueue, which is always there"
            ) from error

    return wrapper


def alike(name: str, x: np.ndarray, *others: np.ndarray) -> None:
    """Refuse arrays that are not of one shape and dtype: compiled code would read past the end."""
    for other in others:
        if other.shape != x.shape or other.dtype != x.dtype:
            raise ShapeError(
                f"{name}: expected arrays of one shape and dtype, {list(x.shape)} of {x.dtype}, "
                f"got {list(other.shape)} of {other.dtype}"
            )


def read_only(x: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written.

    Parameters and constants cannot be written, results can, and Numba compiles a kernel anew for
    each: one that takes both sees them all alike.
    """
    view = x.view()
    view.flags.writeable = False
    return view


def threads() -> int:
    """How many threads a kernel uses."""
    return numba.get_num_threads()
