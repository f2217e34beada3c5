"""Calling a student's function safely: on copies, with a time limit, with any result or error."""

import inspect
import numbers
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..kernels import compiling
from ..tensor import Tensor
from .exercise import Case, Exercise

PATIENCE = 5
"""Wall-clock limit, as a multiple of the computing limit: other programs use the processor too."""

_TICK = 0.1  # seconds between two looks at the clock

Problem = tuple[str, str]


class TooLong(BaseException):
    """The time is up; not an Exception, so that a student's ``except`` does not catch it."""


def misfit(exercise: Exercise, function: Callable) -> str:
    """Say which arguments the function must take; empty if it takes them."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*exercise.takes)
    except TypeError:
        return f"The function must take ({', '.join(exercise.takes)}); yours takes {signature}."
    return ""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Stop the code inside the context after some seconds of computing, if the system can.

    Compilation by Numba does not count, and is not interrupted: LLVM would lose the exception.

    Raises:
        TooLong: the time is up; raised inside the context.
    """
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not able:
        yield
        return
    with compiling() as numba:
        start = time.thread_time(), time.monotonic()

        def look(*_: object) -> None:
            if numba and numba.now:
                return
            spent = numba.spent if numba else (0.0, 0.0)
            cpu = time.thread_time() - start[0] - spent[0]
            wall = time.monotonic() - start[1] - spent[1]
            if max(cpu, wall / PATIENCE) > seconds:
                raise TooLong

        before = signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)  # repeats, as a bare except may catch it
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@contextmanager
def _heard() -> Iterator[list[int]]:
    """Record interrupts from the keyboard; any other KeyboardInterrupt is the student's."""
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(number: int, frame: Any) -> None:
        came.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def run(
    exercise: Exercise, function: Callable, case: Case
) -> tuple[list[np.ndarray], Problem | None]:
    """Call the function on copies; return its arrays and None, or no arrays and the problem."""
    args = [a.copy() if isinstance(a, np.ndarray) else a for a in case.args]
    with _heard() as interrupts:
        try:
            result = exercise.call(function, *args)
        except (NotImplementedError, TooLong):
            raise
        except BaseException as error:  # SystemExit and the like must not end the notebook
            if interrupts:
                raise
            return [], ("exception", _raised(error, function))
    for name, before, after in zip(exercise.takes[-len(args) :], case.args, args, strict=True):
        if isinstance(before, np.ndarray) and not np.array_equal(before, after):
            return [], (
                "changed-input",
                f"The function changes `{name}` in place, but that array belongs to the "
                f"caller: make a copy (`{name}.copy()`), or write "
                f"`{name} = {name} / ...`, not `{name} /= ...`.",
            )
    try:
        return unpack(exercise.returns, result)
    except TooLong:
        raise
    except BaseException as error:  # from a list or an array class of the student
        text = f"The result of the function cannot be read: {type(error).__name__}."
        return [], ("not-numbers", text)


def unpack(wanted: tuple[str, ...], result: Any) -> tuple[list[np.ndarray], Problem | None]:
    """Return the arrays of a result and None, or no arrays and the problem."""
    if result is None:
        return [], ("nothing-returned", "The function returns nothing: is there a `return`?")
    parts = _parts(result, len(wanted))
    if parts and parts[0] is None:
        return unpack(wanted, None)
    if len(parts) != len(wanted):
        return [], (
            "wrong-count",
            f"The function must return {', '.join(wanted)}: {len(wanted)} values, not "
            f"{len(parts)}.",
        )
    arrays = []
    for name, part in zip(wanted, parts, strict=True):
        array = _read(part)
        if isinstance(array, str):
            text = f"`{name}` must be an array of real numbers, got {array}."
            return [], ("not-numbers", text)
        if not np.all(np.isfinite(array)):
            return [], (
                "not-finite",
                f"`{name}` holds a NaN or an infinity: look for a division by zero or a root of "
                "a negative number.",
            )
        arrays.append(array)
    return arrays, None


def _parts(result: Any, count: int) -> list:
    """Split a tuple, a list, or a stack of ``count`` arrays."""
    if count == 1:
        return [result]
    if isinstance(result, tuple | list):
        return list(result)
    stack = result.array if isinstance(result, Tensor) else result
    is_stack = isinstance(stack, np.ndarray) and stack.ndim > 0 and len(stack) == count
    return list(stack) if is_stack else [result]


def _read(part: Any) -> np.ndarray | str:
    """Return a float64 array, or a description of the value."""
    try:
        array = np.asarray(part.array if isinstance(part, Tensor) else part)
        if np.iscomplexobj(array):
            if not np.allclose(array.imag, 0, atol=1e-6):
                return "complex numbers"
            array = array.real
        if array.dtype == object and all(isinstance(n, numbers.Real) for n in array.flat):
            return array.astype(np.float64)
        return array.astype(np.float64, casting="same_kind")
    except TooLong:
        raise
    except BaseException as error:  # __array__ and __len__ may raise anything
        uneven = isinstance(part, list | tuple) and "inhomogeneous" in _words(error)
        return "rows of unequal length" if uneven else type(part).__name__


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


def _raised(error: BaseException, function: Callable) -> str:
    """Say which error was raised, and on which line of the student's file."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [f for f in frames if f.filename == file]
    text = f"The function raised {type(error).__name__}: {_words(error)}".rstrip(": ")
    if not isinstance(error, Exception):
        text += ". Return the answer with `return`."
    if own:
        text += f"\nin line {own[-1].lineno}: {own[-1].line}"
    return text
