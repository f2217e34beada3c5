"""Calling a student's function with care, and finding out what it does instead."""

import inspect
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tensor import Tensor
from .exercise import Case, Exercise, Mistake, shape_of
from .verdict import FAILED, NOT_DONE, PASSED, Verdict

SECONDS = 8.0
"""How long a student's function may take, all cases together."""

TOLERANCE = 1e-4
"""Of the largest entry: float32 is allowed, and every mistake shows far above it."""

_SEVERAL = (
    "Several things may be wrong, or one that is not foreseen: follow the formula term by term."
)


class _TooLong(BaseException):
    """The time is up; not an Exception, so that a student's ``except`` does not stop it."""


@dataclass
class _Outcome:
    """What a student's function did on one case: arrays, or a problem by name and in words."""

    case: Case
    right: list[np.ndarray]
    given: list[np.ndarray]
    problem: tuple[str, str] | None = None

    @property
    def wrong(self) -> bool:
        return self.problem is not None or not _same(self.given, self.right)


def judge(exercise: Exercise, function: Callable) -> Verdict:
    """Judge a student's function for an exercise; see :func:`minisn.coursework.check`."""
    outcomes: list[_Outcome] = []
    cases = exercise.cases()
    if misfit := _misfit(exercise, function, cases[0].args):
        return _failed(exercise, "signature", misfit)
    try:
        with _limit(SECONDS), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for case in cases:
                right = _arrays(exercise.right(*case.args))
                outcomes.append(_Outcome(case, right, *_run(exercise, function, case)))
    except NotImplementedError:
        return Verdict(exercise.name, NOT_DONE, text="Replace `raise NotImplementedError()`.")
    except _TooLong:
        text = f"It was stopped after {SECONDS:g} seconds: is there a loop that never ends?"
        return _failed(exercise, "too-long", text, f"Seen on {cases[len(outcomes)].text}.")
    wrong = [o for o in outcomes if o.wrong]
    if not wrong:
        text = f"Compared with {exercise.oracle}, in {len(outcomes)} cases."
        return Verdict(exercise.name, PASSED, text=text)
    with np.errstate(all="ignore"):
        found, shown = _diagnose(exercise, outcomes, wrong)
    return _failed(exercise, found.name, found.text, _where(exercise, shown))


def _failed(exercise: Exercise, name: str, text: str, where: str = "") -> Verdict:
    return Verdict(exercise.name, FAILED, name, text, where, exercise.equation)


# -- calling ---------------------------------------------------------------------------------


def _misfit(exercise: Exercise, function: Callable, args: tuple) -> str:
    """Say if the function takes other arguments than the exercise gives."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*exercise.takes)
    except TypeError:
        return f"It must take ({', '.join(exercise.takes)}); yours takes {signature}."
    return ""


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Stop what is inside after some seconds, where the system can."""
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not able:
        yield
        return

    def stop(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again, if a bare except swallowed it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _run(
    exercise: Exercise, function: Callable, case: Case
) -> tuple[list[np.ndarray], tuple[str, str] | None]:
    """Call the function on copies; return its arrays, or none and the problem."""
    args = [a.copy() if isinstance(a, np.ndarray) else a for a in case.args]
    try:
        result = exercise.call(function, *args)
    except NotImplementedError:
        raise
    except Exception as error:
        return [], ("exception", _raised(error, function))
    for name, before, after in zip(exercise.takes[-len(args) :], case.args, args, strict=True):
        if isinstance(before, np.ndarray) and not np.array_equal(before, after):
            return [], ("changed-input", f"It changes `{name}` in place. That array belongs to the "
                        f"caller: make a copy (`{name}.copy()`), or write "
                        f"`{name} = {name} / ...` in place of `{name} /= ...`.")  # fmt: skip
    return _unpack(exercise, result)


def _unpack(exercise: Exercise, result: Any) -> tuple[list[np.ndarray], tuple[str, str] | None]:
    """Make arrays of what was returned, or say why it cannot be."""
    wanted = exercise.returns
    if result is None:
        return [], ("nothing-returned", "It returns nothing: is there a `return`?")
    parts = list(result) if len(wanted) > 1 and isinstance(result, tuple | list) else [result]
    if len(parts) != len(wanted):
        return [], ("wrong-count", f"It must return {', '.join(wanted)}: {len(wanted)} values, "
                    f"not {len(parts)}.")  # fmt: skip
    arrays = []
    for name, part in zip(wanted, parts, strict=True):
        try:
            array = np.asarray(part.array if isinstance(part, Tensor) else part)
            if np.iscomplexobj(array) and np.allclose(array.imag, 0, atol=1e-6):
                array = array.real
            arrays.append(array.astype(np.float64, casting="same_kind"))
        except (TypeError, ValueError):
            return [], ("not-numbers", f"`{name}` must be an array of real numbers, got "
                        f"{_kind(part)}.")  # fmt: skip
        if not np.all(np.isfinite(arrays[-1])):
            return [], ("not-finite", f"`{name}` holds a NaN or an infinity: look for a division "
                        "by zero or a root of a negative number.")  # fmt: skip
    return arrays, None


def _kind(value: Any) -> str:
    return "complex numbers" if np.iscomplexobj(value) else type(value).__name__


def _raised(error: Exception, function: Callable) -> str:
    """Say what was raised, and on which line of the student's own."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [f for f in frames if f.filename == file]
    text = f"It raised {type(error).__name__}: {error}"
    if own:
        text += f"\nin line {own[-1].lineno}: {own[-1].line}"
    return text


# -- finding out -----------------------------------------------------------------------------


def _arrays(result: Any) -> list[np.ndarray]:
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(part, dtype=np.float64) for part in parts]


def _same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(map(_near, a, b))


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays agree, to a share of the largest entry."""
    if a.shape != b.shape:
        return False
    scale = np.max(np.abs(b), initial=0.0)
    return bool(np.max(np.abs(a - b), initial=0.0) <= TOLERANCE * scale + 1e-12 * (scale == 0))


def _diagnose(
    exercise: Exercise, outcomes: list[_Outcome], wrong: list[_Outcome]
) -> tuple[Mistake, _Outcome]:
    """Name what was done instead, and the case that shows it.

    It is the first mistake whose model gives what the student's function gave, in every case that
    gave anything.
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
    """Whether a model of a mistake gives what was given, in every case."""
    try:
        return all(_same(o.given, _arrays(model(*o.case.args))) for o in seen)
    except (ValueError, IndexError):  # the mistake cannot be made on such shapes
        return False


def _general(exercise: Exercise, seen: list[_Outcome]) -> Mistake | None:
    """Name what can be wrong with any array: its shape, sign, or size."""
    for i, name in enumerate(exercise.returns):
        pairs = [(o.given[i], o.right[i]) for o in seen]
        if all(_near(a, b) for a, b in pairs):
            continue
        if all(a.shape == b.shape[::-1] and _near(a.T, b) for a, b in pairs):
            return Mistake("transposed", f"`{name}` is transposed.")
        if all(a.size == b.size and _near(a.reshape(b.shape), b) for a, b in pairs):
            return Mistake("shape", f"`{name}` holds the right numbers in another shape.")
        if any(a.shape != b.shape for a, b in pairs):
            return Mistake("shape", f"`{name}` has another shape than was asked for.")
        factors = [np.vdot(b, a) / (np.vdot(b, b) or 1.0) for a, b in pairs]
        if not all(_near(a, f * b) for f, (a, b) in zip(factors, pairs, strict=True)):
            continue
        if np.ptp(factors) > TOLERANCE * np.max(np.abs(factors)):
            return Mistake("scale", f"`{name}` points the right way, but its size is off, by a "
                           "factor that differs from case to case.")  # fmt: skip
        if abs(factors[0] + 1) < TOLERANCE:
            return Mistake("sign", f"`{name}` has the wrong sign.")
        return Mistake("factor", f"`{name}` is {factors[0]:.4g} times what it should be.")
    return None


def _where(exercise: Exercise, shown: _Outcome) -> str:
    """Say on which input it shows, and how."""
    text = f"Seen on {shown.case.text}"
    for name, given, right in zip(exercise.returns, shown.given, shown.right, strict=False):
        if given.shape != right.shape:
            return f"{text}: `{name}` should be {shape_of(right)}, yours is {shape_of(given)}."
        if not _near(given, right):
            index = np.unravel_index(np.argmax(np.abs(given - right)), given.shape)
            entry = f"`{name}{[int(k) for k in index]}`" if index else f"`{name}`"
            return f"{text}: {entry} should be {right[index]:.6g}, yours is {given[index]:.6g}."
    return f"{text}."
