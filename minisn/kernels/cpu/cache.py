"""The folder of compiled kernels: Numba's own, or a temporary one for this process."""

import atexit
import hashlib
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core import config as numba_config

config: Any = numba_config


def _probe() -> None:
    """Do nothing: Numba looks for a cache folder for this function as it does for kernels."""


def _forget_others(folder: Path) -> None:
    """Let Numba forget what it compiled from other versions of these modules.

    Numba compiles a kernel again when the kernel's own module changes. Kernels call those of other
    modules too, by address: one compiled against an older ``product`` would end the process.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).digest()
    mark = folder / "sources.nbs"
    if not mark.exists() or mark.read_bytes() != digest:
        for index in folder.glob("*.nbi"):
            index.unlink(missing_ok=True)
        mark.write_bytes(digest)


def find_place() -> None:
    """Give Numba a cache folder: its own, without what is out of date, or a temporary one.

    Raises:
        ImportError: Numba's compiler is switched off, or a temporary folder cannot be made.
    """
    if config.DISABLE_JIT:
        raise ImportError("Numba's compiler is switched off by NUMBA_DISABLE_JIT")
    try:
        probe: Any = numba.njit(cache=True)(_probe)
        with suppress(OSError):
            _forget_others(Path(probe.stats.cache_path))
    except RuntimeError:  # Numba may write to none of its folders
        try:
            folder = tempfile.mkdtemp(prefix="minisn-numba-")
        except OSError as error:
            raise ImportError(f"cannot make a folder for compiled kernels: {error}") from None
        config.CACHE_DIR = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
