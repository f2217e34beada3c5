"""The kernels for NumPy arrays, in Numba.

``pool`` the only pool of threads · ``waiting`` how they wait · ``cache`` the folder of compiled
kernels · ``compiling`` the clock of the compiler · ``ahead`` compiling in a second process ·
``product`` the matrix product in registers · ``convolution`` patches and products, tile by tile ·
``narrow`` images with few channels · ``winograd`` fewer products, where that pays · ``entrywise``
one pass over memory · ``normalization`` moments and normalization by them · ``power`` power
iteration.
"""

# ruff: noqa: E402 - find_place() must run before the kernels are imported
from .cache import find_place

find_place()

from .waiting import sleep_beside_neighbors

sleep_beside_neighbors()

from .compiling import compiling
from .convolution import conv2d, conv2d_transpose, conv2d_weight
from .entrywise import adam, all_finite, leaky_relu, leaky_relu_pull, scatter_add
from .normalization import moments, normalize, normalize_pull, sum
from .pool import one_pool, threads
from .power import power_iteration, spectral_pull

__all__ = [
    "adam",
    "all_finite",
    "compiling",
    "conv2d",
    "conv2d_transpose",
    "conv2d_weight",
    "leaky_relu",
    "leaky_relu_pull",
    "moments",
    "normalize",
    "normalize_pull",
    "one_pool",
    "power_iteration",
    "scatter_add",
    "spectral_pull",
    "sum",
    "threads",
]
