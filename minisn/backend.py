"""Which library an array belongs to, and how to move it: the only file that names CuPy.

Every array here is an array of the Python array API standard: it answers
``array.__array_namespace__()`` with the module that computes on it (NumPy,
array-api-strict, ...). CuPy 14 follows the standard but for that answer, which is given
here for it. Code above this file asks the array, never a global.
"""

import ctypes
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np

from .errors import ConfigError, DTypeError

Array = Any
"""An array of any library that follows the array API standard."""

DEVICES = ("cpu", "cuda")


def is_array(value: object) -> bool:
    """Whether a value is an array of some array library (a NumPy scalar counts)."""
    answers = hasattr(value, "__array_namespace__") or _is_cupy(value)
    return answers and not isinstance(value, type)


def namespace(array: Array) -> ModuleType:
    """Return the module whose functions compute on this array."""
    if type(array) is np.ndarray:
        return np
    if _is_cupy(array):
        return sys.modules["cupy"]
    try:
        return array.__array_namespace__()
    except AttributeError:
        raise DTypeError(
            f"expected an array that follows the array API standard (NumPy 2, CuPy 14, ...), "
            f"got {type(array).__name__}; convert it with numpy.asarray first"
        ) from None


def _is_cupy(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "cupy"


def is_numpy(array: Array) -> bool:
    """Whether the array lives in this process's memory as a NumPy array."""
    return isinstance(array, np.ndarray)


def seems_finite(array: Array) -> bool:
    """Whether no entry is a NaN or an infinity; taken for granted if the array is not NumPy's.

    Every step asks, and would wait for a GPU each time; there a run looks at each line of its log.
    """
    return not is_numpy(array) or bool(np.isfinite(array).all())


def svdvals(matrix: Array) -> Array:
    """Return the singular values of a matrix, the largest first; CuPy 14 has no such function."""
    linalg = namespace(matrix).linalg
    return linalg.svd(matrix, compute_uv=False) if _is_cupy(matrix) else linalg.svdvals(matrix)


def to_numpy(array: Array) -> np.ndarray:
    """Copy an array to host memory if it is not there, and return it as NumPy's."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if _is_cupy(array):
        return array.get()
    return np.from_dlpack(array, device="cpu")


def to_device(array: Array, device: str) -> Array:
    """Return the array on ``"cpu"`` (NumPy) or ``"cuda"`` (CuPy), copying only if needed."""
    if device == "cpu":
        return to_numpy(array)
    return device_namespace(device).asarray(array)


def device_of(array: Array) -> str:
    """Name the device an array lives on: ``"cuda"`` for CuPy's, ``"cpu"`` for the rest."""
    return "cuda" if _is_cupy(array) else "cpu"


def device_namespace(device: str) -> ModuleType:
    """Return the array module of a device, or say how to get one."""
    if device == "cpu":
        return np
    if device != "cuda":
        raise ConfigError(f"unknown device {device!r}; expected one of {', '.join(DEVICES)}")
    try:
        import cupy  # type: ignore[import-not-found, unused-ignore]

        cupy.cuda.runtime.getDeviceCount()
    except ImportError:
        raise ConfigError(
            "device 'cuda' needs CuPy, which is not installed; "
            "run: pip install 'minisn[gpu]', or use device 'cpu'"
        ) from None
    except Exception as error:
        raise ConfigError(
            f"device 'cuda' was asked for, but no GPU answers ({error}); use device 'cpu'"
        ) from None
    return cupy


def keep_freed_memory() -> None:
    """Have this process keep the memory of arrays that are done with, for the next ones.

    glibc gives an array of more than 32 MB back to the system, which clears each page anew when the
    next step asks for it: with 512 images of CIFAR-10 that is half of the step. It is for programs
    to say so, not for a library in somebody else's; another C library is left as it is.
    """
    trim_threshold, mmap_threshold = -1, -3
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option in (trim_threshold, mmap_threshold):
            mallopt(option, 2**31 - 1)
