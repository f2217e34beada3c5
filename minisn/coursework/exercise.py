"""An exercise as data: what is asked, what is right, and what people do instead."""

import inspect
import operator
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..formulas import formulas


class Mistake:
    """Something that people do instead.

    Args:
        name: by which tests and teachers know it.
        text: what is wrong, and what to do, in the exercise's letters.
        models: what the exercise's oracle would return if it made this mistake; several where it
            can be made in several ways.
    """

    def __init__(self, name: str, text: str, *models: Callable):
        self.name, self.text, self.models = name, text, models


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        text: what it is, in words.
        args: arrays and numbers; the student gets copies.
        alone: the mistake that is made if this case is the only one to fail.
    """

    text: str
    args: tuple
    alone: Mistake | None = None


@dataclass(frozen=True)
class Exercise:
    """An exercise.

    Args:
        name: also that of the student's function.
        tutorial: number of the notebook, two digits.
        tag: of the equation; empty if the papers have none.
        source: what in the library computes it: its docstring holds the formula.
        takes, returns: names of the arguments and of what comes back.
        oracle: what it is compared with, in words.
        cases: makes the inputs.
        right: the oracle: arrays in, arrays out.
        mistakes: the likelier first.
        formula: where no docstring has it.
        call: how the student's function is called on the arguments of a case, if not directly.
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
        """The tag, then the formulas as the library's docstrings have them."""
        if self.formula:
            return self.tag, textwrap.dedent(self.formula).strip()
        found = [formulas(inspect.getdoc(source) or "")[:1] for source in self.source]
        return (self.tag, *(formula for first in found for formula in first))


def shape_of(array: np.ndarray) -> str:
    """Write a shape as the tutorials do."""
    return str(list(array.shape)) if array.ndim else "a single number"


def differences(f: Callable, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Differentiate a scalar function by central differences, entry by entry."""
    slope = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        e = np.zeros(x.shape)
        e[index] = step
        slope[index] = (f(x + e) - f(x - e)) / (2 * step)
    return slope
