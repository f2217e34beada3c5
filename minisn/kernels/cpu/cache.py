"""The folder of compiled kernels: Numba's own, or a temporary one for this process."""

import atexit
import shutil
import tempfile
from typing import Any

import numba
from numba.core import config as numba_config

config: Any = numba_config


def _probe() -> None:
    """Do nothing: Numba looks for a cache folder for this function as it does for kernels."""


def find_place() -> None:
    """Give Numba a temporary cache folder if it finds no folder that it may write to.

    Raises:
        ImportError: Numba's compiler is switched off, or a temporary folder cannot be made.
    """
    if config.DISABLE_JIT:
        raise ImportError("Numba's compiler is switched off by NUMBA_DISABLE_JIT")
    try:
        numba.njit(cache=True)(_probe)
    except RuntimeError:  # Numba may write to none of its folders
        try:
            folder = tempfile.mkdtemp(prefix="minisn-numba-")
        except OSError as error:
            raise ImportError(f"cannot make a folder for compiled kernels: {error}") from None
        config.CACHE_DIR = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
