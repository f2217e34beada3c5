"""An exercise as data: its function, its oracle, and its usual mistakes."""

import inspect
import operator
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..formulas import formulas


class Mistake:
    """A usual mistake in an exercise.

    Args:
        name: name of the mistake.
        text: what is wrong, and what to do, in the letters of the exercise.
        models: functions like the oracle that make this mistake, each in another way.
    """

    def __init__(self, name: str, text: str, *models: Callable):
        self.name, self.text, self.models = name, text, models


@dataclass(frozen=True)
class Case:
    """One input of an exercise.

    Args:
        text: a description of the input.
        args: arrays and numbers; the student's function gets copies.
        alone: the mistake to report if only this case fails.
    """

    text: str
    args: tuple
    alone: Mistake | None = None


@dataclass(frozen=True)
class Exercise:
    """One exercise of a tutorial.

    Args:
        name: name of the exercise and of the student's function.
        tutorial: number of the notebook, two digits.
        tag: tag of the equation; empty if the papers have no such equation.
        source: functions and classes of the library whose docstrings hold the formula.
        takes, returns: names of the arguments and of the results.
        oracle: a description of the oracle.
        cases: function that makes the inputs.
        right: the oracle, a function from arrays to arrays.
        mistakes: the usual mistakes, the likelier first.
        formula: the formula, if no docstring holds it.
        call: function that calls the student's function on the arguments of a case.
    """

    name: str
    tutorial: str
    tag: str
    source: tuple[Any, ...]
    takes: tuple[str, ...]
    returns: tuple[str, ...]
    oracle: str
    cases: Callable[[], list[Case]]
    right: Callable
    mistakes: tuple[Mistake, ...]
    formula: str = ""
    call: Callable = operator.call

    @property
    def equation(self) -> tuple[str, ...]:
        """The tag, then the formulas from the library's docstrings."""
        if self.formula:
            return self.tag, textwrap.dedent(self.formula).strip()
        found = [formulas(inspect.getdoc(source) or "")[:1] for source in self.source]
        return (self.tag, *(formula for first in found for formula in first))


def shape_of(array: np.ndarray) -> str:
    """Write a shape in the style of the tutorials."""
    return str(list(array.shape)) if array.ndim else "a single number"
