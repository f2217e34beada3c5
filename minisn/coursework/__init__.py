"""Exercises that are judged: a student's function against oracles, and what went wrong in words.

``check("power_iteration", power_iteration)`` returns a verdict: truthy when the function is right,
and otherwise a text that names the mistake, where it shows, and the equation. ``build`` makes a
student's and a solved notebook of each tutorial. Nothing else in the library imports this.
"""

from collections.abc import Callable

from ..errors import ConfigError
from . import algorithm, convolution, engine, norms, training
from .exercise import Case, Exercise, Mistake
from .judging import judge
from .verdict import FAILED, NOT_DONE, PASSED, Verdict

_ROOMS = (engine, convolution, norms, training, algorithm)
EXERCISES = {e.name: e for room in _ROOMS for e in room.EXERCISES}
"""The exercises by name."""


def exercises() -> list[str]:
    """Name the exercises, in the order of the tutorials."""
    return sorted(EXERCISES, key=lambda name: EXERCISES[name].tutorial)


def check(name: str, function: Callable) -> Verdict:
    """Judge a student's function.

    It is called on a handful of fixed inputs, as copies, and what it returns is compared with what
    an oracle says. The same function gets the same verdict each time. It may compute for 8 seconds
    in all, what Numba compiles not counted; this limit needs POSIX signals and the main thread,
    where notebooks run, and elsewhere a function that never returns must be interrupted by hand.
    It runs with the rights of the caller: a check is no defense against a hostile answer.

    Args:
        name: of the exercise, one of :func:`exercises`.
        function: the student's; what it is given and returns is said in the tutorial.
    Returns:
        The verdict; a function that raises NotImplementedError, or that the tutorial defines, is
        "not done yet".
    Raises:
        ConfigError: an unknown exercise, or something that cannot be called.
    """
    if name not in EXERCISES:
        raise ConfigError(f"unknown exercise {name!r}; there are {', '.join(exercises())}")
    if not callable(function):
        raise ConfigError(
            f"check({name!r}, ...) takes the function itself, got {type(function).__name__}; "
            f"write check({name!r}, {name}), without calling it"
        )
    return judge(EXERCISES[name], function)


__all__ = [
    "EXERCISES", "FAILED", "NOT_DONE", "PASSED", "Case", "Exercise", "Mistake", "Verdict", "check",
    "exercises",
]  # fmt: skip
