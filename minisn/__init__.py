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

from importlib.metadata import PackageNotFoundError, version

from . import conv, ops
from .kernels import use_kernels
from .tensor import Tensor, grad, no_grad

try:
    __version__ = version("minisn")
except PackageNotFoundError:
    __version__ = "0+source"

__all__ = ["Tensor", "__version__", "conv", "grad", "no_grad", "ops", "use_kernels"]
