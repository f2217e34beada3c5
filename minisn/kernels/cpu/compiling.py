"""A clock for Numba's compiler, so that its time need not count as a caller's."""

import threading
import time

from numba.core import event


class compiling(event.Listener):
    """A context that measures the time this thread spends on compiling or loading kernels.

    ``now`` is true while the thread compiles or loads; ``spent`` holds the seconds, of this
    thread's processor time and of the wall clock.
    """

    def __init__(self) -> None:
        self.spent = (0.0, 0.0)
        self._depth, self._thread = 0, threading.get_ident()

    @property
    def now(self) -> bool:
        return self._depth > 0

    def __enter__(self) -> "compiling":
        event.register("numba:compiler_lock", self)
        return self

    def __exit__(self, *_: object) -> None:
        event.unregister("numba:compiler_lock", self)

    def on_start(self, event: event.Event) -> None:
        if threading.get_ident() == self._thread:
            self._depth += 1
            if self._depth == 1:
                self._since = time.thread_time(), time.monotonic()

    def on_end(self, event: event.Event) -> None:
        if threading.get_ident() == self._thread and self._depth:
            self._depth -= 1
            if not self._depth:
                cpu, wall = self.spent
                cpu += time.thread_time() - self._since[0]
                self.spent = cpu, wall + time.monotonic() - self._since[1]
