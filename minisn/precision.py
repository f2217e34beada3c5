"""Room for numbers: the dtype and the unit in which no step of a formula overflows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arguments import kept_shape
from .backend import Array, is_numpy, namespace, near
from .errors import DTypeError
from .tensor import Tensor, as_tensor, astype, is_floating


def real(x: Array) -> Array:
    """Convert integers and booleans to float64: small integers have no room for -x or e^x."""
    xp = namespace(x)
    whole = not is_floating(x) and xp.isdtype(x.dtype, ("bool", "integral"))
    return xp.astype(x, xp.float64) if whole else x


def widely(compute: Callable[[Tensor], Tensor], x: Any) -> Tensor:
    """Compute integers in float64, and float16 in float32 with a float16 result."""
    x = as_tensor(x)
    if (converted := real(x._array)) is not x._array:
        return compute(Tensor.wrap(converted))
    if is_numpy(x._array) and x.dtype == np.float16:
        return astype(compute(astype(x, dtype=np.float32)), dtype=x.dtype)
    return compute(x)


def tame(x: Array, axis: int | Sequence[int] | None = None) -> Array:
    """Return a divisor for the entries, so that no sum of squares overflows or vanishes.

    Args:
        x: an array, any shape.
        axis: the axes that the squares are summed over; None for all.
    Returns:
        1 where the squares are safe, else the largest absolute value; the axes keep size 1.
    """
    xp, limits = namespace(x), namespace(x).finfo(x.dtype)
    if not x.size:
        return near(x).ones(kept_shape(x.shape, axis), dtype=x.dtype)
    top = xp.max(xp.abs(x), axis=axis, keepdims=True)
    size = xp.clip(top, float(limits.smallest_normal), float(limits.max))
    return xp.where((top > 1e-12) & (top < 1e12), xp.ones_like(top), size)


def check_real(name: str, x: Any) -> None:
    """Refuse complex numbers."""
    x = as_tensor(x)
    if is_numpy(x._array) and x.dtype.kind == "c":
        raise DTypeError(f"{name}: expected real numbers, got dtype {x.dtype}; use abs(x)")
