"""The memory of the machine: how much there is, and whether the process keeps what it frees.

Only programs use this module, as they start.
"""

import ctypes
import math
import os
from contextlib import suppress

from .config import Config
from .errors import ConfigError
from .training import bare_networks

BYTES_PER_WEIGHT = 16
"""While training: itself, its gradient and Adam's two moments, in single precision."""


def check_memory(config: Config) -> None:
    """Refuse networks that cannot be trained in this machine's memory, before they are made.

    Args:
        config: describes them.
    Raises:
        ConfigError: says what they take at least, and what there is.
    """
    needed, most = BYTES_PER_WEIGHT * weight_count(config), physical_memory()
    if needed > most:
        raise ConfigError(
            f"width = {config.width}: to train G and D takes at least {needed / 1e9:,.0f} GB, and "
            f"this machine has {most / 1e9:,.0f}; lower the width, the features or the latent "
            "length"
        )


def weight_count(config: Config) -> int:
    r"""Count the weights of G and D, without labels and what schemes add, by three narrow pairs.

    A layer has channels in and out, so the number is a polynomial of second degree in the width:

    .. math:: n(w) = n(1) + (w - 1)\,\Delta n(1) + \tbinom{w - 1}{2}\,\Delta^2 n(1)

    Args:
        config: describes them.
    Raises:
        ConfigError: as :func:`minisn.training.networks`.
    """

    def at(width: int) -> int:
        narrow = bare_networks(config.replace(width=width), 3)
        return sum(p.size for network in narrow for p in network.parameters())

    one, two, three = map(at, (1, 2, 3))
    more = config.width - 1
    return one + more * (two - one) + math.comb(more, 2) * (three - 2 * two + one)


def physical_memory() -> float:
    """Return the bytes of memory that this machine has, or infinity where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf


def keep_freed_memory() -> None:
    """Make this process keep the memory of freed arrays for the next arrays.

    glibc returns the memory of an array of more than 32 MB to the system. The system clears each
    page again for the next step: with 512 images of CIFAR-10 that takes half of the step. With
    another C library this does nothing.
    """
    trim_threshold, mmap_threshold = -1, -3
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option in (trim_threshold, mmap_threshold):
            mallopt(option, 2**31 - 1)
