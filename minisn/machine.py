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
"""Memory of a weight in training: weight, gradient and Adam's two moments, in single precision."""


def check_memory(config: Config) -> None:
    """Refuse networks whose training needs more memory than this machine has, before building any.

    Args:
        config: the settings of the networks.
    Raises:
        ConfigError: the memory is too small; the message gives both sizes.
    """
    needed, most = BYTES_PER_WEIGHT * weight_count(config), physical_memory()
    if needed > most:
        raise ConfigError(
            f"width = {config.width}: training G and D takes at least {needed / 1e9:,.0f} GB, and "
            f"this machine has {most / 1e9:,.0f}; lower the width, the features or the latent "
            "length"
        )


def weight_count(config: Config) -> int:
    r"""Count the weights of G and D, without those of labels and schemes, from three narrow pairs.

    A layer has channels in and out, so the number is a polynomial of second degree in the width:

    .. math:: n(w) = n(1) + (w - 1)\,\Delta n(1) + \tbinom{w - 1}{2}\,\Delta^2 n(1)

    Args:
        config: the settings of the networks.
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
    """Return the memory of this machine in bytes, or infinity if the system does not report it."""
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
