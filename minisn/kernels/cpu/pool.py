"""The only pool of threads: Numba's.

A second pool inside BLAS would compete with Numba's, so BLAS is held to one thread while kernels
run and gets its former number of threads back afterwards.

Several threads may call kernels: they take turns, and each gets the same bits as alone. Meanwhile
NumPy's dense products in other threads use one thread of BLAS in place of all, which may change
their last digits. For equal bits hold :func:`one_pool` around dense products too, as a training
step does.

Deviation: on macOS NumPy's wheels multiply with Apple's Accelerate, which threadpoolctl cannot
limit, so one_pool() holds only Numba's pool there. The kernels call no BLAS and do not change;
NumPy's dense products may use more threads. Set ``VECLIB_MAXIMUM_THREADS=1`` before Python starts
to hold Accelerate to one.

A forked process does not have its parent's threads. Numba's portable layer starts new threads
there, and results are the same bits. GNU's OpenMP cannot: Numba ends the process, which would wait
forever otherwise, so the kernels raise an error instead. A process that was spawned, or forked
before any kernel ran, starts threads of its own.
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
"""Arrays of fewer entries are left to NumPy, which is as fast: busy neighbors can delay the wakeup
of a thread by milliseconds."""

_one_caller = threading.RLock()  # Numba's portable pool breaks when entered from two threads
_held = False  # whether the lock's holder has limited BLAS already: asking BLAS costs some 10 us
_lost = False  # whether this is a forked process whose layer cannot start new threads


@contextmanager
def one_pool():
    """Hold BLAS to one thread and Numba's pool to one caller in a ``with`` block."""
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
    """Give a forked process a new lock: the thread that holds the old one does not exist there."""
    global _one_caller, _held, _lost
    _one_caller, _held = threading.RLock(), False
    with suppress(ValueError):  # no kernel has run yet
        _lost = numba.threading_layer() == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def in_one_pool(kernel):
    """Make a kernel run in :func:`one_pool`, or fail in a forked process without threads."""

    @functools.wraps(kernel)
    def wrapper(*args):
        if _lost:
            raise MinisnError(
                "this process was forked from one that has run compiled kernels, and OpenMP's "
                "threads do not survive a fork; start it by 'spawn' or 'forkserver', as in "
                "multiprocessing.get_context('spawn'), or call minisn.use_kernels('array_api') "
                "in it first, which needs no threads but differs in last digits"
            )
        try:
            with one_pool():
                return kernel(*args)
        except ValueError as error:
            if "threading layer" not in str(error):
                raise
            raise ConfigError(
                "Numba cannot start its threads with NUMBA_THREADING_LAYER="
                f"{os.environ.get('NUMBA_THREADING_LAYER', 'default')}: its library is missing or "
                "too old; unset the variable, or set it to workqueue, which is always available"
            ) from error

    return wrapper


def alike(name: str, x: np.ndarray, *others: np.ndarray) -> None:
    """Refuse arrays of several shapes or dtypes: compiled code would read past their ends."""
    for other in others:
        if other.shape != x.shape or other.dtype != x.dtype:
            raise ShapeError(
                f"{name}: expected arrays of one shape and dtype, {list(x.shape)} of {x.dtype}, "
                f"got {list(other.shape)} of {other.dtype}"
            )


def read_only(x: np.ndarray) -> np.ndarray:
    """Return a read-only view.

    Parameters and constants are read-only, results are not, and Numba compiles a kernel anew for
    each kind. A kernel that takes only read-only views is compiled once.
    """
    view = x.view()
    view.flags.writeable = False
    return view


def threads() -> int:
    """Return how many threads a kernel uses."""
    return numba.get_num_threads()
