"""Spectral normalization for GANs: the papers' equations as code that trains.

``minisn.tensor`` is the engine, ``minisn.ops`` and ``minisn.conv`` the operations,
``minisn.spectral`` the spectral norm and ``minisn.training`` Algorithm 1.
"""

import os.path
import signal
import sys

if (
    os.path.basename(sys.argv[0]).removesuffix(".exe") == "minisn"
    or (sys.argv[0] == "-m" and "minisn.cli" in sys.orig_argv)
) and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    # this process is the command: while it loads, Ctrl-C ends it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib
import pkgutil
from typing import Any

from . import conv, elementwise, linalg, ops, pooling, shaping, statistics
from .differentiate import hessian, jacobian, value_and_grad
from .errors import similar
from .kernels import use_kernels
from .tensor import Tensor, grad, no_grad

__all__ = [
    "Tensor", "__version__", "conv", "elementwise", "grad", "hessian", "jacobian", "linalg",
    "no_grad", "ops", "pooling", "shaping", "statistics", "use_kernels", "value_and_grad",
]  # fmt: skip


def _modules() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]


def __getattr__(name: str) -> Any:
    """Import a module of the package, or look up its version, on first use."""
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("minisn")
        except metadata.PackageNotFoundError:
            return "0+source"
    if name in _modules():
        return importlib.import_module(f".{name}", __name__)
    place = f"; call minisn.ops.{name}" if name in ops.OPERATIONS else similar(name, __dir__())
    raise AttributeError(f"minisn has no {name!r}{place or '; dir(minisn) lists all names'}")


def __dir__() -> list[str]:
    """List the modules and the names that the package exports."""
    return sorted({*__all__, *_modules()})
