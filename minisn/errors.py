"""The library's own errors: each says what was given, what was expected and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches

from numpy.linalg import LinAlgError


class MinisnError(Exception):
    """Base of every error that minisn raises on purpose."""


class ShapeError(MinisnError, ValueError):
    """Arrays whose shapes, strides or paddings do not fit together."""


class MatrixError(MinisnError, LinAlgError):
    """A matrix that lacks what was asked for: an inverse, or a factor."""


class DTypeError(MinisnError, TypeError):
    """An array or number of a kind that the operation cannot take."""


class GraphError(MinisnError, RuntimeError):
    """A request for a gradient that the graph cannot give."""


class NonFiniteError(MinisnError, ArithmeticError):
    """A NaN or an infinity where only finite numbers make sense."""


class ConfigError(MinisnError, ValueError):
    """A setting with an unknown name or an impossible value."""


class DataError(MinisnError, ValueError):
    """A data file that is missing, damaged or not what its name says."""


class CheckpointError(MinisnError, ValueError):
    """A checkpoint that is damaged or belongs to another model."""


class ComparisonError(MinisnError, ValueError):
    """Results that cannot be compared because they were not measured alike."""


def similar(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the nearest known name, if one is near."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the nearest known name, or all."""
    known = list(known)
    return similar(name, known) or f"; known are {', '.join(known)}"
