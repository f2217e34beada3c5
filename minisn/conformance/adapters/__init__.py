"""Adapters: how to make and ask each library's layer; an adapter imports its library when made.

An adapter is any object with ``make`` and ``forward``. Its further methods are in :data:`ASKED`: a
method that is missing, or raises ``NotImplementedError``, is "not asked" and never a failure. All
arrays are NumPy arrays, and weights are laid out as in :mod:`minisn.conformance.probes`. Where
``make`` raises it for other numbers of rounds than 1, as many passes are made instead.

For a function of PyTorch, ``Torch(wrap, unwrap)`` of ``in_torch.py`` is the whole adapter: a
factory returns it. An adapter that can be asked everything is a subclass of
:class:`~minisn.conformance.adapters.base.Adapter`, as PyTorch's in ``in_torch.py``: it says how to
build, call and differentiate a layer, and where the layer keeps its weight and its u. The example
is the smallest adapter.

Example:
    from minisn.conformance.probes import inputs, read_off

    class Mine:
        def make(self, kind, W, rounds=1):
            if kind != "dense" or rounds != 1:
                raise NotImplementedError("my layers are dense, and make one round a pass")
            return MyLayer(W), inputs(kind, W.shape[1])  # yours, without bias; a basis

        def forward(self, made, train):
            layer, basis = made
            return read_off("dense", layer(basis, train))  # the weight that was applied
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from ...errors import ConfigError
from ...gradcheck.own import named
from .base import Adapter

__all__ = ["ASKED", "NAMES", "Adapter", "load", "missing"]

ASKED = {
    "make": "make(kind, W, rounds=1): a layer without bias; so many rounds a training pass",
    "forward": "forward(layer, train): make a pass; the weight that it applied",
    "parameter": "parameter(layer): the current raw weight",
    "set_parameter": "set_parameter(layer, W): replace the raw weight",
    "gradient": "gradient(layer, Gs): one training pass for each G, then dW of the sum of <G, W̄>",
    "second": "second(layer, G, H): after a training pass, dW of <H, dW of <G, W̄>>",
    "state": "state(layer): list of the arrays that power iteration keeps",
    "set_u": "set_u(layer, u, v): u [6] and v [9] of a dense layer; replace those that it keeps",
    "read": "read(layer): the normalized weight, read during training",
    "reload": "reload(layer): another layer, loaded from what this one saves",
    "remove": "remove(layer): the weight that stays when the normalization is removed",
    "dtype": "dtype(layer): name of the type of the weight that was applied last",
}
"""The methods of an adapter; ``minisn conformance --help`` says what else it may have."""

_PLACES = {
    "minisn": ("in_minisn", "Minisn", "numpy"),
    "minisn-ssn": ("in_minisn", "MinisnSSN", "numpy"),
    "minisn-bsn": ("in_minisn", "MinisnBSN", "numpy"),
    "minisn-sn-conv": ("in_minisn", "MinisnSNConv", "numpy"),
    "torch": ("in_torch", "parametrized", "torch"),
    "torch-hook": ("in_torch", "hooked", "torch"),
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
        ConfigError: the adapter, module or factory does not exist, the library is not installed,
            or the module or the factory raises an error or gives no adapter.
    """
    if ":" in name:
        return _own(name)
    if name not in _PLACES:
        raise ConfigError(
            f"no adapter {name!r}; expected one of {', '.join(NAMES)}, or MODULE:FACTORY "
            "for your own, where FACTORY() returns an object with the methods that "
            "`minisn conformance --list` shows"
        )
    if package := missing(name):
        raise ConfigError(f"{name}: {package} is not installed; run: pip install {package}")
    file, made, _ = _PLACES[name]
    try:
        return getattr(importlib.import_module(f".{file}", __name__), made)()
    except ImportError as error:
        raise ConfigError(f"{name} is installed, but cannot be imported: {error}") from error


def _own(name: str) -> Any:
    found = named(name)
    try:
        adapter = found() if callable(found) else found
        lacking = [e for e in ("make", "forward") if not callable(getattr(adapter, e, None))]
    except (Exception, SystemExit) as error:  # of the user's, whatever its kind
        raise ConfigError(f"{name}() stopped: {type(error).__name__}: {error}") from error
    if isinstance(adapter, type):
        raise ConfigError(f"{name} gave the class {adapter.__name__}, expected an object of it")
    if lacking:
        raise ConfigError(
            f"{name} gave a {type(adapter).__name__} without {' and '.join(lacking)}; "
            f"expected {'; '.join(ASKED[each] for each in lacking)}"
        )
    return adapter
