"""Whether operations are recorded: a switch for each thread."""

import functools
import inspect
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import DTypeError


class _Recording(threading.local):
    on = True


_recording = _Recording()


@contextmanager
def record(on: bool) -> Iterator[None]:
    """Switch recording in this thread on or off, for the duration of the block."""
    before, _recording.on = _recording.on, on
    try:
        yield
    finally:
        _recording.on = before


class no_grad:
    """A context manager and decorator that switches recording off in this thread.

    The steps of a decorated generator or coroutine run without recording; between the steps, the
    caller records as before.
    """

    def __new__(cls, function: Callable | None = None) -> Any:
        """Make a context manager, or decorate a function directly: ``@no_grad``."""
        self = super().__new__(cls)
        self._entered = []
        return self if function is None else self(function)

    _entered: list[bool]

    def __enter__(self) -> None:
        self._entered.append(_recording.on)
        _recording.on = False

    def __exit__(self, *_: object) -> None:
        _recording.on = self._entered.pop()

    def __call__(self, function: Callable) -> Callable:
        """Decorate a function."""
        if not callable(function):
            raise DTypeError(
                f"no_grad: expected a function to decorate, got {function!r:.60}; a block begins "
                "with `with no_grad():`"
            )
        if inspect.isasyncgenfunction(function):
            raise DTypeError(
                "no_grad: an asynchronous generator cannot be decorated; write "
                "`with no_grad():` around the steps inside it"
            )
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def decorated(*args: Any, **params: Any) -> Any:
                return (yield from _unrecorded(function(*args, **params)))

        elif inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def decorated(*args: Any, **params: Any) -> Any:
                return await types.coroutine(_unrecorded)(function(*args, **params))  # type: ignore

        else:

            @functools.wraps(function)
            def decorated(*args: Any, **params: Any) -> Any:
                with record(False):
                    return function(*args, **params)

        return decorated


def _unrecorded(body: Any) -> Iterator[Any]:
    """Run a generator or a coroutine, recording only while it waits."""
    step, value = body.send, None
    while True:
        try:
            with record(False):
                out = step(value)
        except StopIteration as end:
            return end.value
        try:
            step, value = body.send, (yield out)
        except GeneratorExit:
            with record(False):
                body.close()
            raise
        except BaseException as error:
            step, value = body.throw, error


def is_recording() -> bool:
    """Return whether this thread records operations."""
    return _recording.on
