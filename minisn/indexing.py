"""What stands in brackets: entries by an index, as each library has it, and none out of range.

NumPy refuses an index out of range, CuPy and dpnp wrap or clip it in silence; so the index of an
array of another library is looked at here, on the host where it is from there.
"""

from typing import Any

import numpy as np

from .backend import Array, bring, check_together, is_array, is_numpy, namespace
from .errors import ShapeError


def is_basic(part: Any) -> bool:
    """Whether a part of an index is a number, a slice, ``...`` or ``None``."""
    return part is None or part is ... or isinstance(part, int | slice)


def select(x: Array, index: Any, checked: bool = False) -> Array:
    """Return x[index], written as the array standard has it.

    Args:
        x: any array.
        index: integers, slices, ``...``, ``None``, lists, arrays of integers or a mask.
        checked: its integers are known to be in range: a device is not asked again.
    Raises:
        ShapeError: an integer is out of range.
        DTypeError: the index is an array of another library, other than NumPy's.
    """
    parts = index if isinstance(index, tuple) else (index,)
    at = [i for i, part in enumerate(parts) if not is_basic(part)]
    if not at:
        return x[parts if any(part is ... for part in parts) else (*parts, ...)]
    if is_numpy(x):
        check_together("getitem", (x, *(parts[i] for i in at if is_array(parts[i]))))
        return x[index]
    xp = namespace(x)
    there = list(parts)
    for i, axis in zip(at, _axes(x, parts, at), strict=True):
        part = parts[i] if is_array(parts[i]) else np.asarray(parts[i])
        if not (checked and is_array(parts[i])):
            _check_range(x, part, axis)
        there[i] = bring(part, x)
    check_together("getitem", (x, *(there[i] for i in at)))
    alone = len(at) == 1 and all(p == slice(None) for i, p in enumerate(parts) if i != at[0])
    places = there[at[0]]
    if alone and xp.isdtype(places.dtype, "integral"):  # the standard has none beside a slice
        axis = at[0]
        y = xp.take(x, xp.reshape(places, (-1,)), axis=axis)
        return xp.reshape(y, (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))
    return x[tuple(there)]


def _axes(x: Array, parts: tuple[Any, ...], at: list[int]) -> list[int]:
    """Tell which axis each array of an index begins at."""
    widths = [_width(part) for part in parts]
    hidden = x.ndim - sum(widths)
    before = [width + hidden * (part is ...) for part, width in zip(parts, widths, strict=True)]
    return [sum(before[:i]) for i in at]


def _width(part: Any) -> int:
    """Count the axes that a part of an index stands for; ``...`` for none that is named."""
    if part is None or part is ...:
        return 0
    mask = not is_basic(part) and _is_mask(part)
    return part.ndim if mask else 1


def _is_mask(part: Any) -> bool:
    return is_array(part) and bool(namespace(part).isdtype(part.dtype, "bool"))


def _check_range(x: Array, places: Array, axis: int) -> None:
    """Refuse integers that are no places along an axis."""
    if axis >= x.ndim or not places.size or not namespace(places).isdtype(places.dtype, "integral"):
        return
    least, most, n = *bounds(places), x.shape[axis]
    if not -n <= least <= most < n:
        raise ShapeError(
            f"getitem: an index of axis {axis} of shape {x.shape} must be {-n} to {n - 1}, got "
            f"{least} to {most}"
        )


def bounds(places: Array) -> tuple[int, int]:
    """Return the least and the largest of integers; the host waits for a device here."""
    xp = namespace(places)
    return int(xp.min(places)), int(xp.max(places))
