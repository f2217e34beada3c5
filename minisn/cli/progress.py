"""Progress bars and lines while a network trains."""

import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import click
from tqdm import tqdm

FORMAT = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


def steady_bar(**settings: Any) -> tqdm:
    """Make a progress bar with a monotonic clock; the clock of tqdm may go back."""
    bar = tqdm(dynamic_ncols=True, disable=None, **settings)
    bar._time = time.monotonic
    bar.reset()  # restarts the bar by the new clock
    return bar


def images_bar(files: list[Any]) -> tqdm:
    """Make a progress bar over the files of a folder of images."""
    return steady_bar(iterable=files, unit="image", leave=False)


def is_closed(error: OSError) -> bool:
    """Return whether a write failed because the reader closed the pipe or the terminal."""
    if os.name == "nt" and error.errno == errno.EINVAL:  # Windows's answer of a closed pipe
        return True
    return error.errno in (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)


def last_words(words: object) -> None:
    """Print a line; if the output is closed, print nothing from then on."""
    try:
        click.echo(words)
    except OSError as error:
        if not is_closed(error):
            raise
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (until the end)


class Progress:
    """A bar with the time left, the losses and the largest norm; plain lines without a terminal.

    Args:
        step: first step of this call.
        steps: last step.
        seconds: seconds of training before this call.
        minutes: time limit of this call, if any.
    """

    def __init__(self, step: int, steps: int, seconds: float, minutes: float | None):
        self._first, self._steps = step, steps
        self._start, self._minutes = seconds, minutes
        self._norm = ""
        self._bar = steady_bar(total=1.0, bar_format=FORMAT)

    def __call__(self, entry: dict[str, Any]) -> None:
        """Show an entry of the log, and print its health notes above the bar."""
        for words in entry.get("health", {}).values():
            tqdm.write(words)
        if entry.get("norm"):
            self._norm = f", norms up to {max(entry['norm'].values()):.3f}"
        if entry["loss_d"] is None:
            return
        words = (
            f"step {entry['step']:,} of {self._steps:,}, loss of D {entry['loss_d']:.3f}, "
            f"of G {entry['loss_g']:.3f}{self._norm}"
        )
        if self._bar.disable:
            if entry.get("norm"):
                click.echo(words)
            return
        self._bar.set_postfix_str(words, refresh=False)
        self._bar.update(self._done(entry) - self._bar.n)

    def _done(self, entry: dict[str, Any]) -> float:
        """Return the finished share of this call, 0 to 1."""
        done = (entry["step"] - self._first) / max(self._steps - self._first, 1)
        if self._minutes:
            done = max(done, (entry["seconds"] - self._start) / (60 * self._minutes))
        return min(done, 1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


@contextmanager
def compile_notice(training: bool = False) -> Iterator[None]:
    """Print a notice, once, when the kernels must be compiled on this machine.

    Args:
        training: whether a training step follows; a second process then compiles its last kernels.
    """
    from .. import kernels

    over, before = threading.Event(), kernels.compiled()

    def watch() -> None:
        while not over.wait(0.2):
            if kernels.compiled() > before:
                with suppress(OSError):
                    tqdm.write("Compiling the kernels for this machine, once: about half a minute.")
                if training:
                    _help(over)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _help(over: threading.Event) -> None:
    """Compile kernels in a second process, the last ones first, until an event at the latest."""
    from ..kernels.cpu import ahead

    process = ahead.start()
    try:
        over.wait()
    finally:
        process.kill()
        process.wait()
