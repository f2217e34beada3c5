"""Where compiled kernels are kept: where Numba keeps them, else for this process alone."""

import atexit
import shutil
import tempfile
from typing import Any

import numba
from numba.core import config as numba_config

config: Any = numba_config


def _probe() -> None:
    """Be kept, as the kernels beside this file would be."""


def find_place() -> None:
    """Have Numba keep kernels in a folder of this process if it finds no place that it may write.

    Raises:
        ImportError: Numba's compiler is switched off, or there is no such folder either.
    """
    if config.DISABLE_JIT:
        raise ImportError("Numba's compiler is switched off by NUMBA_DISABLE_JIT")
    try:
        numba.njit(cache=True)(_probe)
    except RuntimeError:  # no folder that Numba knows can be written
        try:
            folder = tempfile.mkdtemp(prefix="minisn-numba-")
        except OSError as error:
            raise ImportError(f"no folder for compiled kernels: {error}") from None
        config.CACHE_DIR = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
