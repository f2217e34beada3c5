"""Adapters: how to make and ask each library's layer; an adapter imports its library when made.

An adapter is any object with ``name``, ``version``, ``make`` and ``forward``. Its further methods
are in :data:`ASKED`: a method that is missing, or raises ``NotImplementedError``, is "not asked"
and never a failure. All arrays are NumPy arrays, and weights are laid out as in
:mod:`minisn.conformance.probes`.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from ...errors import ConfigError

ASKED = {
    "make": "make(kind, W, rounds=1, dtype='float32'): a layer without bias; so many rounds a pass",
    "forward": "forward(layer, train): make a pass; the weight that it applied",
    "parameter": "parameter(layer): the current raw weight",
    "set_parameter": "set_parameter(layer, W): replace the raw weight",
    "gradient": "gradient(layer, Gs): one training pass for each G, then dW of the sum of <G, W̄>",
    "second": "second(layer, G, H): after a training pass, dW of <H, dW of <G, W̄>>",
    "state": "state(layer): list of the arrays that power iteration keeps",
    "set_u": "set_u(layer, u, v): replace the vectors that the layer keeps: u, v or both",
    "read": "read(layer): the normalized weight, read during training",
    "reload": "reload(layer): another layer, loaded from what this one saves",
    "remove": "remove(layer): the weight that stays when the normalization is removed",
    "dtype": "dtype(layer): name of the type of the weight that was applied last",
}
"""The methods of an adapter. It may also have ``definition`` ("SN", "BSN" or "SN_Conv"),
``scale``, the constant c, and ``precisions``, names of further types."""

_PLACES = {
    "minisn": ("in_minisn", "Minisn", "numpy"),
    "minisn-ssn": ("in_minisn", "MinisnSSN", "numpy"),
    "minisn-bsn": ("in_minisn", "MinisnBSN", "numpy"),
    "minisn-sn-conv": ("in_minisn", "MinisnSNConv", "numpy"),
    "torch": ("in_torch", "Torch", "torch"),
    "torch-hook": ("in_torch", "TorchHook", "torch"),
    "flax-linen": ("in_flax", "Linen", "flax"),
    "flax-nnx": ("in_flax", "Nnx", "flax"),
    "equinox": ("in_equinox", "Equinox", "equinox"),
    "keras": ("in_keras", "Keras", "keras"),
}

NAMES = tuple(_PLACES)
"""The adapters that ship."""


def missing(name: str) -> str:
    """Return the package that an adapter needs and that is not installed, or an empty string."""
    package = _PLACES[name][2]
    return "" if find_spec(package) else package


def load(name: str) -> Any:
    """Make an adapter by its name, or by MODULE:FACTORY.

    Args:
        name: one of :data:`NAMES`, or a module and a function in it that returns an adapter.
    Raises:
        ConfigError: the adapter, module or factory does not exist, or the library is not
            installed.
    """
    if ":" in name:
        return _own(*name.split(":", 1))
    if name not in _PLACES:
        raise ConfigError(
            f"no adapter {name!r}; expected one of {', '.join(NAMES)}, or MODULE:FACTORY "
            "for your own, where FACTORY() returns an object with the methods that "
            "`minisn conformance --list` shows"
        )
    if package := missing(name):
        raise ConfigError(f"{name}: {package} is not installed; run: pip install {package}")
    file, made, _ = _PLACES[name]
    return getattr(importlib.import_module(f".{file}", __name__), made)()


def _own(module: str, factory: str) -> Any:
    try:
        found = getattr(importlib.import_module(module), factory)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"cannot import {module!r}: {error}") from None
    except AttributeError:
        raise ConfigError(f"module {module!r} has no {factory!r}") from None
    adapter = found() if callable(found) else found
    lacking = [name for name in ("make", "forward") if not callable(getattr(adapter, name, None))]
    if lacking:
        raise ConfigError(
            f"{module}:{factory} gave a {type(adapter).__name__} without {' and '.join(lacking)}; "
            f"expected {'; '.join(ASKED[name] for name in lacking)}"
        )
    return adapter
