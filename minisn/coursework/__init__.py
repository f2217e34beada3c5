"""Exercises with automatic checks, which compare a student's function with oracles.

``check("power_iteration", power_iteration)`` returns a verdict, which is truthy if the function is
right. Otherwise its text names the mistake, an input that shows it, and the equation. ``build``
makes a student notebook and a solved notebook of each tutorial. No other package of the library
imports this one.
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
    """Return the names of the exercises, in the order of the tutorials."""
    return sorted(EXERCISES, key=lambda name: EXERCISES[name].tutorial)


def check(name: str, function: Callable) -> Verdict:
    """Check a student's function for an exercise.

    The check calls the function on copies of a few fixed inputs, and compares its results with
    those of an oracle. The same function always gets the same verdict. The function may compute for
    8 seconds in all, without compilation by Numba. This limit needs POSIX signals and the main
    thread, as in notebooks; elsewhere a function that never returns must be interrupted by hand.
    The function runs with the rights of the caller: a check is no defense against a hostile answer.

    Args:
        name: name of the exercise, one of :func:`exercises`.
        function: the student's function; the tutorial defines its arguments and results.
    Returns:
        The verdict; it is "not done yet" if the function raises NotImplementedError, or if the
        tutorial defines the function.
    Raises:
        ConfigError: an unknown exercise, or not a function.
    """
    if name not in EXERCISES:
        raise ConfigError(f"unknown exercise {name!r}; expected one of {', '.join(exercises())}")
    if not callable(function):
        raise ConfigError(
            f"check({name!r}, ...) expects the function itself, got {type(function).__name__}; "
            f"write check({name!r}, {name}), without calling the function"
        )
    return judge(EXERCISES[name], function)


__all__ = [
    "EXERCISES", "FAILED", "NOT_DONE", "PASSED", "Case", "Exercise", "Mistake", "Verdict", "check",
    "exercises",
]  # fmt: skip
