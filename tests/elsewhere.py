"""Arrays in other places than NumPy's: a strict library's second device, and where it is, dpnp.

array-api-strict refuses whatever is not in the array API standard, and arrays of two of its
devices together. dpnp keeps its arrays in device memory, on the CPU too where Intel's OpenCL
runtime is installed; it stands for a GPU's library.
"""

import importlib

import numpy as np
import pytest

from minisn import backend

PLACES = ("strict", pytest.param("dpnp", marks=pytest.mark.needs("dpnp")))
"""Names for `place`; tests that are asked for either take one as the fixture `place`."""


class Place:
    """A library and a device: where to bring arrays, and how they are known to be there."""

    def __init__(self, name, xp, device):
        self.name, self.xp, self.device = name, xp, device

    def bring(self, value):
        """The same arrays there, inside tuples, lists and dictionaries too."""
        if isinstance(value, np.ndarray | np.generic):
            return self.xp.asarray(np.asarray(value), device=self.device)
        if isinstance(value, tuple | list):
            return type(value)(map(self.bring, value))
        if isinstance(value, dict):
            return {name: self.bring(v) for name, v in value.items()}
        return value

    def holds(self, array):
        return backend.namespace(array) is self.xp and array.device == self.device


def open_place(name, monkeypatch):
    """Enter a place among the devices while a test runs."""
    if name == "strict":
        xp = importlib.import_module("array_api_strict")
        device = xp.Device("device1")
        monkeypatch.setitem(backend.DEVICES, name, backend.Device("array_api_strict", device))
    else:
        xp = importlib.import_module("dpnp")
        device = xp.asarray(0).device
        monkeypatch.setitem(backend.DEVICES, name, backend.Device("dpnp"))
        mend(xp, monkeypatch)
    return Place(name, xp, device)


def mend(dpnp, monkeypatch):
    """Work around three faults of dpnp 0.20, which are not minisn's.

    A matrix product with strides of 0, as in a broadcast array, can be wrong or an error. A copy of
    an array with an inner axis of size 1 is wrong, as of [3, 1, 3, 1] broadcast to [3, 1, 3, 3],
    unless its order is "C". And `copy.deepcopy` does not copy dpnp's arrays.
    """
    broadcast_to = dpnp.broadcast_to

    def broadcast(x, shape):
        return dpnp.copy(broadcast_to(x, shape), order="C")

    monkeypatch.setattr(dpnp, "broadcast_to", broadcast)
    monkeypatch.setattr(dpnp.ndarray, "__deepcopy__", lambda x, memo: x.copy(), raising=False)
