"""The library's own errors: each says what was given, what was expected and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class MinisnError(Exception):
    """Base of every error that minisn raises on purpose."""


class ShapeError(MinisnError, ValueError):
    """Arrays whose shapes, strides or paddings do not fit together."""


class DTypeError(MinisnError, TypeError):
    """An array or number of a kind that the operation cannot take."""


class GraphError(MinisnError, RuntimeError):
    """A gradient was asked of a graph that cannot give it."""


class NonFiniteError(MinisnError, ArithmeticError):
    """A NaN or an infinity where only finite numbers make sense."""


class ConfigError(MinisnError, ValueError):
    """A setting with an unknown name or an impossible value."""


class DataError(MinisnError, ValueError):
    """A data file that is missing, damaged or not what its name says."""


class CheckpointError(MinisnError, ValueError):
    """A checkpoint that is damaged or belongs to another model."""


class ComparisonError(MinisnError, ValueError):
    """Results were to be compared that were not measured alike."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say, at the end of an error about a name, which known one is meant, or which there are."""
    known = list(known)
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
