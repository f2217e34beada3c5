"""One pool of threads: Numba's.

A second pool inside BLAS would spin against the first, so BLAS is held to one thread
while kernels run, and given back what it had after.
"""

import functools
import threading
from contextlib import contextmanager

import numba
import numpy as np
from threadpoolctl import ThreadpoolController

_blas = ThreadpoolController().select(user_api="blas")
SMALL = 1 << 15
"""Arrays of fewer entries are not worth waking the threads for: NumPy is as fast, and busy
neighbours can delay a thread for milliseconds."""

_one_caller = threading.RLock()  # Numba's portable pool breaks when entered from two threads
_held = False  # whether its holder has limited BLAS already: asking BLAS costs some 10 us


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


def in_one_pool(kernel):
    """Make a kernel run in :func:`one_pool`."""

    @functools.wraps(kernel)
    def wrapper(*args):
        with one_pool():
            return kernel(*args)

    return wrapper


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
