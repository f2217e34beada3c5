"""Indexing for every array library, with a check that the index is in range.

NumPy refuses an index out of range; CuPy and dpnp silently wrap or clip it. This file therefore
checks every index of an array that is not NumPy's. It checks an index from the host on the host.
"""

from typing import Any

import numpy as np

from . import kernels
from .backend import Array, bring, check_together, is_array, is_numpy, namespace, near
from .errors import ShapeError


def is_basic(part: Any) -> bool:
    """Return whether a part of an index is a number, a slice, ``...`` or ``None``."""
    return part is None or part is ... or isinstance(part, int | slice)


def select(x: Array, index: Any, checked: bool = False) -> Array:
    """Return x[index], within the limits of the array API standard.

    Args:
        x: any array.
        index: integers, slices, ``...``, ``None``, lists, arrays of integers or a mask.
        checked: whether the integers are known to be in range; then no device is asked.
    Raises:
        ShapeError: an integer is out of range.
        DTypeError: the index is an array of a third library, neither NumPy's nor that of x.
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
    if alone and xp.isdtype(places.dtype, "integral"):  # the standard has no array beside a slice
        axis = at[0]
        y = xp.take(x, xp.reshape(places, (-1,)), axis=axis)
        return xp.reshape(y, (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))
    return x[tuple(there)]


def add_at(g: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """Add the entries of g into zeros of a shape, at the places that an index selects."""
    xp = namespace(g)
    y = near(g).zeros(shape, dtype=g.dtype)
    parts = index if isinstance(index, tuple) else (index,)
    if all(is_basic(part) for part in parts):
        kept = tuple(part for part in parts if part is not None)  # only reading makes new axes
        kept = kept if any(part is ... for part in kept) else (*kept, ...)
        y[kept] = xp.reshape(g, y[kept].shape)
        return y
    places = select(xp.reshape(near(g).arange(y.size), shape), index, checked=True)
    added = kernels.of(g).scatter_add(xp.reshape(g, (-1,)), xp.reshape(places, (-1,)), y.size)
    return xp.reshape(added, shape)


def _axes(x: Array, parts: tuple[Any, ...], at: list[int]) -> list[int]:
    """Return the axis at which each array of an index begins."""
    widths = [_width(part) for part in parts]
    hidden = x.ndim - sum(widths)
    before = [width + hidden * (part is ...) for part, width in zip(parts, widths, strict=True)]
    return [sum(before[:i]) for i in at]


def _width(part: Any) -> int:
    """Count the axes that a part of an index stands for; ``...`` counts as none."""
    if part is None or part is ...:
        return 0
    mask = is_array(part) and namespace(part).isdtype(part.dtype, "bool")
    return part.ndim if mask else 1


def _check_range(x: Array, places: Array, axis: int) -> None:
    """Refuse integers that are out of range along an axis."""
    if axis >= x.ndim or not places.size or not namespace(places).isdtype(places.dtype, "integral"):
        return
    least, most, n = *bounds(places), x.shape[axis]
    if not -n <= least <= most < n:
        raise ShapeError(
            f"getitem: an index of axis {axis} of shape {x.shape} must be {-n} to {n - 1}, got "
            f"{least} to {most}"
        )


def bounds(places: Array) -> tuple[int, int]:
    """Return the smallest and the largest integer; the host waits for a device here."""
    xp = namespace(places)
    return int(xp.min(places)), int(xp.max(places))
