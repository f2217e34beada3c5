"""The place of an array, by library and device, and how to move it; only this file names CuPy.

Every array here follows the Python array API standard: ``array.__array_namespace__()`` returns
the module that computes on it (NumPy, dpnp, array-api-strict, ...). CuPy 14 follows the standard
except for this method, which this file replaces. Code above this file asks the array, never a
global. minisn also needs arrays that can be written, which the standard leaves open. JAX's arrays
cannot be written.

minisn makes new arrays with :func:`near`, in the library and on the device of an existing array.
Only data from the host moves by itself: numbers, lists, and indices and labels in NumPy arrays.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .errors import ConfigError, DTypeError

Array = Any
"""An array of any library that follows the array API standard."""


@dataclass(frozen=True)
class Device:
    """A place where networks can be put.

    Args:
        library: the name of the module whose arrays live there.
        device: the library's name of the device; None for the library's default.
        install: the command that installs the library.
        wake: calls the device, and raises an error if the device does not answer.
    """

    library: str
    device: Any = None
    install: str = ""
    wake: Callable[[ModuleType], object] = id


DEVICES = {
    "cpu": Device("numpy"),
    "cuda": Device(
        "cupy", None, "pip install 'minisn[gpu]'", lambda xp: xp.cuda.runtime.getDeviceCount()
    ),
}
"""The places by name; add another library here if its arrays can be written."""

READ_ONLY = ("jax", "jaxlib")
"""Libraries whose arrays cannot be written."""


def is_array(value: object) -> bool:
    """Return whether a value is an array of some array library (a NumPy scalar counts)."""
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
            f"expected an array that follows the array API standard (NumPy 2, CuPy 14.2, ...), "
            f"got {type(array).__name__}; convert it with numpy.asarray first"
        ) from None


def check_writable(array: Array) -> None:
    """Refuse an array of a library whose arrays cannot be written."""
    if _library(array) in READ_ONLY:
        raise DTypeError(
            "JAX's arrays cannot be written, but minisn writes to arrays; pass numpy.asarray(array)"
        )


def _library(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def _is_cupy(value: object) -> bool:
    return _library(value) == "cupy"


class _Makers:
    """The functions of a library that make arrays, bound to one device."""

    def __init__(self, xp: ModuleType, device: Any):
        self._xp, self._device = xp, device

    def __getattr__(self, name: str) -> Callable[..., Array]:
        return functools.partial(getattr(self._xp, name), device=self._device)


def near(array: Array) -> Any:
    """Return the functions that make arrays on the device of x, as in ``near(x).zeros(shape)``.

    NumPy has one device, and CuPy makes every array on its current one.
    """
    xp = namespace(array)
    return xp if xp is np or _is_cupy(array) else _Makers(xp, array.device)


def bring(array: Array, beside: Array) -> Array:
    """Move a host array to the library and device of another array; return others as they are."""
    from_host = isinstance(array, np.ndarray | np.generic)
    return near(beside).asarray(array) if from_host and not is_numpy(beside) else array


def same_place(a: Array, b: Array) -> bool:
    """Return whether two arrays are of one library and on one device."""
    if type(a) is type(b) is np.ndarray:
        return True
    return namespace(a) is namespace(b) and a.device == b.device


def check_together(name: str, arrays: Iterable[Array]) -> None:
    """Refuse arrays of two libraries, or on two devices.

    Args:
        name: the operation, for the error message.
        arrays: one or more.
    Raises:
        DTypeError: the arrays are in two places; the message says how to move one.
    """
    first, *others = arrays
    for other in others:
        if not same_place(first, other):
            a, b = device_of(first), device_of(other)
            raise DTypeError(
                f"{name}: got arrays in two places, {a} and {b}; bring them together first: an "
                "array with minisn.backend.to_device or to_numpy, a network with its method to"
            )


def is_numpy(array: Array) -> bool:
    """Return whether the array lives in this process's memory as a NumPy array."""
    return isinstance(array, np.ndarray)


def svdvals(matrix: Array) -> Array:
    """Return the singular values of a matrix, the largest first; CuPy 14 has no such function."""
    linalg = namespace(matrix).linalg
    return linalg.svd(matrix, compute_uv=False) if _is_cupy(matrix) else linalg.svdvals(matrix)


def to_numpy(array: Array) -> np.ndarray:
    """Return an array as a NumPy array, copied to host memory if needed."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if _is_cupy(array):
        return array.get()
    namespace(array)  # refuses a value that is not an array
    return np.from_dlpack(array, device="cpu")


def to_device(array: Array, device: str) -> Array:
    """Return the array on a device of :data:`DEVICES`, copying only if needed."""
    xp = device_namespace(device)
    if device == "cpu":
        return to_numpy(array)
    if namespace(array) is not xp:
        array = to_numpy(array)
    there = DEVICES[device].device
    return xp.asarray(array, **({} if there is None else {"device": there}))


def device_of(array: Array) -> str:
    """Return the place of an array: a name in :data:`DEVICES`, else its library and device."""
    library = namespace(array).__name__.partition(".")[0]
    for name, place in DEVICES.items():
        if place.library == library and place.device in (None, array.device):
            return name
    return f"{library} {array.device}"


def device_namespace(device: str) -> ModuleType:
    """Return the array module of a device, or raise an error that says how to install it."""
    if not isinstance(device, str) or device not in DEVICES:
        raise ConfigError(f"unknown device {device!r:.60}; expected one of {', '.join(DEVICES)}")
    place = DEVICES[device]
    try:
        xp = importlib.import_module(place.library)
        place.wake(xp)
    except ImportError:
        raise ConfigError(
            f"device {device!r} needs the package {place.library}, which is not installed; "
            f"run: {place.install}, or use device 'cpu'"
        ) from None
    except Exception as error:
        raise ConfigError(
            f"device {device!r} does not answer ({error}); use device 'cpu'"
        ) from None
    return xp
