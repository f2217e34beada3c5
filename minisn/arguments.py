"""Checks of numbers that a caller passes: whole or real, within limits."""

import math
import numbers
import operator
from typing import Any

from .errors import ConfigError, DTypeError


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


def real_number(name: str, value: Any, least: float = -math.inf, below: float = math.inf) -> float:
    """Return a setting as a Python number.

    Args:
        name: the name of the argument, for the error message.
        value: a real number of Python or NumPy.
        least, below: the limits; ``below`` itself is excluded.
    Raises:
        DTypeError: the value is not a number.
        ConfigError: the value is outside the limits, or a NaN.
    """
    if not isinstance(value, numbers.Real):
        raise DTypeError(f"{name}: expected a number, got {value!r:.60}")
    number = float(value)
    if not least <= number < below:
        low = f" from {least:g}" if least > -math.inf else ""
        high = f" to below {below:g}" if below < math.inf else ""
        raise ConfigError(f"{name}: expected a finite number{low}{high}, got {value!r:.60}")
    return value if isinstance(value, int | float) else number
