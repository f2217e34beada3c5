"""Checks of what a caller passes: numbers within limits, axes, widths, random generators."""

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import ConfigError, DTypeError, ShapeError
from .geometry import pair


def whole_number(name: str, value: Any, least: int = 0) -> int:
    """Return a size or a count as a Python integer.

    Args:
        name: the name of the argument, for the error message.
        value: an integer of Python, NumPy or any array library; not a boolean.
        least: the smallest allowed value.
    Raises:
        DTypeError: the value is not a whole number.
        ConfigError: the value is too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise DTypeError(f"{name}: expected a whole number, got {value!r:.60}")
    if number < least:
        raise ConfigError(f"{name}: expected a whole number of at least {least}, got {number}")
    return number


def switch(name: str, value: Any) -> bool:
    """Return a setting that is on or off as a Python boolean.

    Args:
        name: the name of the argument, for the error message.
        value: a boolean of Python or NumPy.
    Raises:
        DTypeError: the value is not a boolean.
    """
    if not isinstance(value, bool | np.bool):
        raise DTypeError(f"{name}: expected True or False, got {value!r:.60}")
    return bool(value)


def real_number(
    name: str, value: Any, least: float = -math.inf, below: float = math.inf, most: float = math.inf
) -> float:
    """Return a setting as a Python number.

    Args:
        name: the name of the argument, for the error message.
        value: a real number of Python or NumPy.
        least, below, most: the limits; ``below`` itself is excluded.
    Raises:
        DTypeError: the value is not a number.
        ConfigError: the value is outside the limits, or a NaN.
    """
    if not isinstance(value, numbers.Real):
        raise DTypeError(f"{name}: expected a number, got {value!r:.60}")
    number = float(value)
    if not least <= number < below or number > most:
        low = f" from {least:g}" if least > -math.inf else ""
        high = f" to {most:g}" if most < math.inf else ""
        high = f" to below {below:g}" if below < math.inf else high
        raise ConfigError(f"{name}: expected a finite number{low}{high}, got {value!r:.60}")
    if isinstance(value, int | float) and not isinstance(value, np.generic):
        return value
    return number  # a number of NumPy's would set the dtype of a result


def axes_of(axis: int | Sequence[int] | None, ndim: int, name: str = "axes") -> tuple[int, ...]:
    """Normalize an axis argument to a tuple of non-negative axes."""
    if axis is None:
        return tuple(range(ndim))
    try:
        one = isinstance(axis, int) or np.ndim(axis) == 0
        axes = (operator.index(axis),) if one else tuple(map(operator.index, axis))  # type: ignore
    except (TypeError, ValueError):
        axes = (True,)
    if any(type(a) is bool for a in (axis, *axes)):
        raise DTypeError(f"{name}: expected a whole number or a tuple as axis, got {axis!r}")
    if min(axes, default=0) < -ndim or max(axes, default=-1) >= ndim:
        raise ShapeError(f"{name}: axis {axis} does not exist in a tensor with {ndim} axes")
    axes = tuple(a % ndim for a in axes)
    if len(set(axes)) < len(axes):
        raise ShapeError(f"{name}: axis {axis} names an axis twice")
    return axes


def axis_of(axis: int, ndim: int, name: str) -> int:
    """Normalize an axis argument to one non-negative axis."""
    axes = axes_of(axis, ndim, name)
    if axis is None or len(axes) != 1:
        raise ShapeError(f"{name}: expected one axis, got {axis!r}")
    return axes[0]


def kept_shape(shape: tuple[int, ...], axis: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the shape of a reduction over some axes, or all, that keeps them with size 1."""
    reduced = axes_of(axis, len(shape))
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def pad_widths(widths: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    """Return widths (before, after) for each axis; as in NumPy, one number or pair is for all.

    Raises:
        ShapeError: another number of pairs, or a negative width.
    """
    if np.ndim(widths) == 0:
        widths = (widths,)
    if len(widths) in (1, 2) and all(np.ndim(n) == 0 for n in widths):
        widths = ((widths[0], widths[-1]),)
    pairs = tuple(pair("pad: widths", w) for w in widths)
    pairs = pairs * ndim if len(pairs) == 1 else pairs
    if len(pairs) != ndim:
        raise ShapeError(f"pad: expected {ndim} pairs of widths, got {pairs}")
    return pairs


def generator(rng: np.random.Generator | int) -> np.random.Generator:
    """Return a generator as it is, or make one from a seed.

    Raises:
        DTypeError: rng is neither a generator nor a seed.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if not isinstance(rng, int | np.integer) or isinstance(rng, bool) or rng < 0:
        raise DTypeError(
            f"rng: expected a generator such as numpy.random.default_rng(0), or a seed of "
            f"at least 0, got {rng!r:.60}"
        )
    return np.random.default_rng(rng)
