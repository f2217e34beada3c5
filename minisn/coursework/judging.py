"""Comparing a student's function with an oracle, and finding the mistake."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .calling import TooLong, limit, misfit, run
from .exercise import Case, Exercise, Mistake, shape_of
from .tutorials import is_of_tutorial
from .verdict import FAILED, NOT_DONE, PASSED, Verdict

SECONDS = 8.0
"""Seconds that a student's function may compute in all cases together, without compilation."""

TOLERANCE = 1e-4
"""Tolerance relative to the largest entry: it allows float32, and every mistake is far larger."""

_SEVERAL = (
    "The function makes several mistakes, or an unusual one: compare it with the formula term by "
    "term."
)


@dataclass
class _Outcome:
    """The result of a student's function on one case: arrays, or a problem (name, text)."""

    case: Case
    right: list[np.ndarray]
    given: list[np.ndarray]
    problem: tuple[str, str] | None = None

    @property
    def wrong(self) -> bool:
        return self.problem is not None or not _same(self.given, self.right)


def judge(exercise: Exercise, function: Callable) -> Verdict:
    """Check a student's function for an exercise; see :func:`minisn.coursework.check`."""
    if is_of_tutorial(exercise.tutorial, function):
        text = f"The tutorial defines this function: write your own `{exercise.name}`."
        return Verdict(exercise.name, NOT_DONE, text=text)
    if unfit := misfit(exercise, function):
        return _failed(exercise, "signature", unfit)
    outcomes: list[_Outcome] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = [(case, _arrays(exercise.right(*case.args))) for case in exercise.cases()]
        try:
            with limit(SECONDS):
                for case, right in cases:
                    outcomes.append(_Outcome(case, right, *run(exercise, function, case)))
        except NotImplementedError:
            return Verdict(exercise.name, NOT_DONE, text="Replace `raise NotImplementedError()`.")
        except TooLong:
            text = (
                f"The check stopped the function after {SECONDS:g} seconds of computing, or "
                "several times as long with waiting: is there a loop that never ends?"
            )
            where = f"Seen on {cases[len(outcomes)][0].text}."
            return _failed(exercise, "too-long", text, where)
    wrong = [o for o in outcomes if o.wrong]
    if not wrong:
        text = f"Compared with {exercise.oracle}, in {len(outcomes)} cases."
        return Verdict(exercise.name, PASSED, text=text)
    with np.errstate(all="ignore"):
        found, shown = _diagnose(exercise, outcomes, wrong)
    return _failed(exercise, found.name, found.text, _where(exercise, shown))


def _failed(exercise: Exercise, name: str, text: str, where: str = "") -> Verdict:
    return Verdict(exercise.name, FAILED, name, text, where, exercise.equation)


# -- finding out -----------------------------------------------------------------------------


def _arrays(result: Any) -> list[np.ndarray]:
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(part, dtype=np.float64) for part in parts]


def _same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(map(_near, a, b))


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays agree, relative to the largest entry."""
    if a.shape != b.shape:
        return False
    scale = np.max(np.abs(b), initial=0.0)
    return bool(np.max(np.abs(a - b), initial=0.0) <= TOLERANCE * scale + 1e-12 * (scale == 0))


def _diagnose(
    exercise: Exercise, outcomes: list[_Outcome], wrong: list[_Outcome]
) -> tuple[Mistake, _Outcome]:
    """Return the mistake, and the case that shows it.

    This is the first mistake with a model that agrees with the student's function in every case
    with a result. Otherwise a general description follows.
    """
    seen = [o for o in outcomes if not o.problem]
    shown = [o for o in seen if o.wrong]
    for mistake in exercise.mistakes if shown else ():
        if any(_explains(model, seen) for model in mistake.models):
            return mistake, shown[0]
    if len(wrong) == 1 and wrong[0].case.alone:
        return wrong[0].case.alone, wrong[0]
    if wrong[0].problem:
        return Mistake(*wrong[0].problem), wrong[0]
    return _general(exercise, seen) or Mistake("values", _SEVERAL), wrong[0]


def _explains(model: Callable, seen: list[_Outcome]) -> bool:
    """Return whether a model of a mistake agrees with the student's function in every case."""
    try:
        return all(_same(o.given, _arrays(model(*o.case.args))) for o in seen)
    except (ValueError, IndexError):  # the mistake is impossible for these shapes
        return False


def _general(exercise: Exercise, seen: list[_Outcome]) -> Mistake | None:
    """Return a mistake in the shape, the sign or the size of a result."""
    for i, name in enumerate(exercise.returns):
        pairs = [(o.given[i], o.right[i]) for o in seen]
        if all(_near(a, b) for a, b in pairs):
            continue
        if all(a.shape == b.shape[::-1] and _near(a.T, b) for a, b in pairs):
            return Mistake("transposed", f"`{name}` is transposed.")
        if all(a.size == b.size and _near(a.reshape(b.shape), b) for a, b in pairs):
            return Mistake("shape", f"`{name}` holds the right numbers in another shape.")
        if any(a.shape != b.shape for a, b in pairs):
            return Mistake("shape", f"`{name}` has the wrong shape.")
        return _size(name, pairs)  # a later result may only follow from this one
    return None


def _size(name: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> Mistake | None:
    """Return the mistake in results that are multiples of the right arrays."""
    factors = np.array([np.vdot(b, a) / (np.vdot(b, b) or 1.0) for a, b in pairs])
    if not all(_near(a, f * b) for f, (a, b) in zip(factors, pairs, strict=True)):
        return None
    if not np.any(factors):
        return Mistake("factor", f"`{name}` is 0 in every case.")
    if np.ptp(factors) <= TOLERANCE * np.max(np.abs(factors)):
        if abs(factors[0] + 1) < TOLERANCE:
            return Mistake("sign", f"`{name}` has the wrong sign.")
        return Mistake("factor", f"`{name}` is {factors[0]:.4g} times what it should be.")
    if all(a.size == 1 for a, _ in pairs):
        return _number(name, factors, np.array([a.item() - b.item() for a, b in pairs]))
    way = "the right way" if min(factors) > 0 else "the opposite way" if max(factors) < 0 else ""
    text = f"`{name}` points {way}, but its size is wrong, by a factor that differs between cases."
    return Mistake("scale", text) if way else None


def _number(name: str, factors: np.ndarray, gaps: np.ndarray) -> Mistake | None:
    """Return the mistake in a single number: whether it is too large or too small, and how much."""
    span = f"between {min(abs(factors)):.3g} and {max(abs(factors)):.3g} times what it should be"
    if np.ptp(gaps) <= TOLERANCE * np.max(np.abs(gaps)):
        more = "large" if gaps[0] > 0 else "small"
        return Mistake("offset", f"`{name}` is too {more} by {abs(gaps[0]):.4g} in every case.")
    if min(factors) >= 1 - TOLERANCE:
        return Mistake("too-large", f"`{name}` is too large: {span}.")
    if min(factors) >= 0 and max(factors) <= 1 + TOLERANCE:
        return Mistake("too-small", f"`{name}` is too small: {span}.")
    if max(factors) < 0:
        return Mistake("sign", f"`{name}` has the wrong sign, and is {span} in size.")
    return None


def _where(exercise: Exercise, shown: _Outcome) -> str:
    """Say which input shows the mistake, with the expected and the actual entry."""
    text = f"Seen on {shown.case.text}"
    for name, given, right in zip(exercise.returns, shown.given, shown.right, strict=False):
        if given.shape != right.shape:
            return f"{text}: `{name}` should be {shape_of(right)}, yours is {shape_of(given)}."
        if not _near(given, right):
            index = np.unravel_index(np.argmax(np.abs(given - right)), given.shape)
            entry = f"`{name}{[int(k) for k in index]}`" if index else f"`{name}`"
            return f"{text}: {entry} should be {right[index]:.6g}, yours is {given[index]:.6g}."
    return f"{text}."
