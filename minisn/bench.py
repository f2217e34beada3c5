"""Reliable timing of training steps, alone or against other libraries.

Each contestant runs in its own process and waits without spinning while another is timed.
They take turns, and the ratio is computed turn by turn. Compile time and first runs do not
count.

The program ``python -m minisn.bench`` is one contestant: it reads its description as one line
of JSON, then what to run and how often, and answers with seconds. Another program can be a
contestant too, if it calls :func:`main` with what to time.
"""

import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from . import kernels
from .backend import Array
from .config import Config
from .data import scale_images
from .data.catalog import find_entry
from .errors import ConfigError, MinisnError
from .machine import keep_freed_memory
from .training import Trainer

LEAST = 0.1
"""Minimum seconds of a turn; a shorter job runs again."""

REST = 0.1
"""Seconds between two turns: idle threads spin before they go to sleep, and would take a core from
the next contestant."""

PATIENCE = 5.0
"""Seconds that a process may take to end."""

POOLS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The variables that set the threads of every pool."""

IMAGES = 1024
"""How many images to train on: noise, of the size of the data."""


@dataclass(frozen=True)
class Contestant:
    """A program that is timed.

    Args:
        name: its name, different from the others'.
        library: ``"minisn"`` or ``"torch"``.
        config: the settings of training.
        work: what a run is, ``"step"`` for a training step; other programs know other works.
        threads: the threads of every pool; 0 for minisn's default.
        program: the arguments of the Python interpreter.
    """

    name: str
    library: str
    config: Config
    work: str = "step"
    threads: int = 0
    program: Sequence[str] = ("-m", "minisn.bench")


@dataclass(frozen=True)
class Timing:
    """The measurements of one contestant.

    Args:
        name: the name of the contestant.
        seconds: seconds per run, for example per training step, one number for each turn.
        peak_mb: peak resident memory of its process, MB; NaN if the system does not report it.
    """

    name: str
    seconds: list[float]
    peak_mb: float

    @property
    def median(self) -> float:
        """Median seconds per run."""
        return statistics.median(self.seconds)

    def over(self, other: "Timing") -> list[float]:
        """Divide by another's seconds, turn by turn."""
        return [a / b for a, b in zip(self.seconds, other.seconds, strict=True)]


def compare(contestants: Sequence[Contestant], turns: int, steps: int) -> list[Timing]:
    """Time several contestants in turn.

    Args:
        contestants: the programs to time.
        turns: how often each is timed.
        steps: training steps, or other runs, in a turn; more if they are short.
    Raises:
        ConfigError: a contestant's library is not installed, or cannot train this configuration.
    """
    with _processes(contestants) as processes:
        seconds: list[list[float]] = [[] for _ in contestants]
        for turn in range(turns + 1):
            least = {"steps": steps, "seconds": LEAST} if turn else {"steps": 2, "seconds": 0}
            for process, times in zip(processes, seconds, strict=True):
                time.sleep(REST)
                answer = _ask(process, least)
                times += [answer["seconds"]] if turn else []  # the first turn warms up
        peaks = [_ask(process, {})["peak_mb"] for process in processes]
    names = [contestant.name for contestant in contestants]
    return [Timing(*row) for row in zip(names, seconds, peaks, strict=True)]


@contextmanager
def _processes(contestants: Sequence[Contestant]) -> Iterator[list[subprocess.Popen]]:
    processes: list[subprocess.Popen] = []
    try:
        for contestant in contestants:
            whole = dataclasses.replace(contestant, threads=contestant.threads or kernels.threads())
            processes.append(_start(whole))
            answer = _ask(processes[-1], dataclasses.asdict(whole))
            if answer["compiled"]:  # start again, without the compiler's memory
                _end(processes[-1])
                processes[-1] = _start(whole)
                _ask(processes[-1], dataclasses.asdict(whole))
        yield processes
    finally:
        for process in processes:
            _end(process)


def _start(contestant: Contestant) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *contestant.program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | dict.fromkeys(POOLS, str(contestant.threads)),
    )


def _end(process: subprocess.Popen) -> None:
    """Let a process end by itself, so that it can end its children; kill it if it does not."""
    try:
        process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _ask(process: subprocess.Popen, question: Mapping[str, Any]) -> dict[str, Any]:
    assert process.stdin and process.stdout
    with suppress(BrokenPipeError):  # the process has ended, and its answer is empty
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
    answer = json.loads(process.stdout.readline() or '{"error": "the process ended"}')
    if "error" in answer:
        raise ConfigError(f"bench: {answer['error']}")
    return answer


def missing(library: str) -> str:
    """Return how to install a missing library; an empty string if it is installed."""
    return "" if find_spec(library) else f"{library} is not installed; run: pip install {library}"


# -- a contestant ----------------------------------------------------------------------------


def main(make: Callable[[Contestant], Callable[[], Any]] | None = None) -> None:
    """Run as one contestant: answer questions from standard input on standard output.

    Args:
        make: returns what to time; by default a training step.
    """
    asked = json.loads(sys.stdin.readline())
    try:
        contestant = Contestant(**asked | {"config": Config(**asked["config"])})
        if contestant.library == "minisn":
            keep_freed_memory()  # as in `minisn train`
        job = (make or _step)(contestant)
        job()
    except MinisnError as error:
        return _answer(error=str(error))
    except Exception as error:  # any failure of a rival, in one line
        reason = str(error).strip().splitlines() or [""]
        return _answer(error=f"{asked['library']}: {type(error).__name__}: {reason[0]}")
    _answer(compiled=kernels.compiled())
    for line in sys.stdin:
        least = json.loads(line)
        if not least:
            _answer(peak_mb=_peak_mb())
            continue
        runs, start = 0, time.perf_counter()
        while runs < least["steps"] or time.perf_counter() - start < least["seconds"]:
            job()
            runs += 1
        _answer(seconds=(time.perf_counter() - start) / runs)
    return None


def _step(contestant: Contestant) -> Callable[[], Any]:
    config, library = contestant.config, contestant.library
    if reason := missing(library):
        raise ConfigError(reason)
    images = noise(config)
    if library == "torch":
        from .bench_torch import TorchTrainer

        return TorchTrainer(config, scale_images(images), contestant.threads).update
    labels = np.arange(IMAGES) % max(len(find_entry(config.data).classes), 1)
    return Trainer(config, images, labels=labels).update


def noise(config: Config) -> Array:
    """Draw images, uint8, [N, C, size, size], of the size of the data."""
    shape = (IMAGES, find_entry(config.data).shape[0], config.size, config.size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _peak_mb() -> float:
    """Return the peak memory of this program in MB, without what its process held before.

    It is NaN if the system does not report it: Windows has neither source.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _answer(**values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
