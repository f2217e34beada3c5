"""Timing of training steps and their parts, alone or against others, to be trusted.

Each contestant runs in a process of its own, and waits without spinning while the other
is timed; they take turns, and the ratio is taken turn by turn. Compile time and first
runs are not counted.

As a program, ``python -m minisn.bench`` is one contestant: it reads what it is as one line
of JSON, then what to run how often, and answers with seconds. Another program can be one too, if
it calls :func:`main` with what it runs.
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
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import kernels
from .backend import keep_freed_memory
from .config import Config
from .errors import ConfigError, MinisnError

LEAST = 0.1
"""Seconds that a turn lasts at least: what is shorter is run again."""

REST = 0.1
"""Seconds between two turns: threads that have nothing to do spin before they go to sleep, and
would take a core from whoever is next."""

PATIENCE = 5.0
"""Seconds that a process may take to end."""

POOLS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Contestant:
    """What is timed.

    Args:
        name: to tell it from the others.
        library: ``"minisn"`` or ``"torch"``.
        config: what is trained, or the networks whose parts are timed.
        work: ``"step"``, of training, or ``"conv"``, each convolution by itself.
        threads: of every pool; 0 for as many as minisn takes by itself.
        program: what Python is told to run.
    """

    name: str
    library: str
    config: Config
    work: str = "step"
    threads: int = 0
    program: Sequence[str] = ("-m", "minisn.bench")


@dataclass(frozen=True)
class Timing:
    """What was measured of one contestant.

    Args:
        name: of the contestant.
        seconds: per run, for example per training step, one for each turn.
        peak_mb: peak resident memory of its process, MB; NaN where the system does not tell.
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
    """Time several contestants in turn, each of which has one thing to run.

    Args:
        contestants: what is timed.
        turns: how often each is timed.
        steps: training steps, or other runs, in a turn; more where they are short.
    Raises:
        ConfigError: a contestant's library is not installed, or cannot do it.
    """
    (timings,) = race(contestants, turns, steps).values()
    return timings


def race(contestants: Sequence[Contestant], turns: int, steps: int) -> dict[str, list[Timing]]:
    """Time several contestants in turn at all that they run, under its name.

    Args, raises: as :func:`compare`.
    """
    with _processes(contestants) as (processes, jobs):
        seconds: dict[str, list[list[float]]] = {job: [[] for _ in contestants] for job in jobs}
        for turn in range(turns + 1):
            least = {"steps": steps, "seconds": LEAST} if turn else {"steps": 2, "seconds": 0}
            for job in jobs:
                for process, times in zip(processes, seconds[job], strict=True):
                    time.sleep(REST)
                    answer = _ask(process, {"job": job, "least": least})
                    times += [answer["seconds"]] if turn else []  # the first turn warms up
        peaks = [_ask(process, {})["peak_mb"] for process in processes]
    names = [contestant.name for contestant in contestants]
    return {
        job: [Timing(*row) for row in zip(names, seconds[job], peaks, strict=True)] for job in jobs
    }


@contextmanager
def _processes(
    contestants: Sequence[Contestant],
) -> Iterator[tuple[list[subprocess.Popen], list[str]]]:
    processes: list[subprocess.Popen] = []
    try:
        jobs: list[str] = []
        for contestant in contestants:
            whole = dataclasses.replace(contestant, threads=contestant.threads or kernels.threads())
            pools = dict.fromkeys(POOLS, str(whole.threads))
            processes.append(
                subprocess.Popen(
                    [sys.executable, *whole.program],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | pools,
                )
            )
            jobs = _ask(processes[-1], dataclasses.asdict(whole))["jobs"]
        yield processes, jobs
    finally:
        for process in processes:
            _end(process)


def _end(process: subprocess.Popen) -> None:
    """Let a process end by itself, so that it can end its own; kill it if it does not."""
    try:
        process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _ask(process: subprocess.Popen, question: Mapping[str, Any]) -> dict[str, Any]:
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline() or '{"error": "the process ended"}')
    if "error" in answer:
        raise ConfigError(f"bench: {answer['error']}")
    return answer


def missing(library: str) -> str:
    """Say what to do if a library is not installed; nothing if it is."""
    return "" if find_spec(library) else f"{library} is not installed; run: pip install {library}"


# -- a contestant ----------------------------------------------------------------------------


def main(make: Callable[[Contestant], dict[str, Any]] | None = None) -> None:
    """Be one contestant: answer on standard output what is asked on standard input.

    Args:
        make: what it runs, by name; by default training steps and convolutions.
    """
    asked = json.loads(sys.stdin.readline())
    try:
        contestant = Contestant(**asked | {"config": Config(**asked["config"])})
        if contestant.library == "minisn":
            keep_freed_memory()  # as in `minisn train`
        jobs = (make or _jobs)(contestant)
        for job in jobs.values():
            job()
    except MinisnError as error:
        return _answer(error=str(error))
    except Exception as error:  # whatever a rival cannot do, in one line
        reason = str(error).strip().splitlines() or [""]
        return _answer(error=f"{asked['library']}: {type(error).__name__}: {reason[0]}")
    _answer(jobs=list(jobs))
    for line in sys.stdin:
        question = json.loads(line)
        if not question:
            _answer(peak_mb=_peak_mb())
            continue
        job, least, runs, start = jobs[question["job"]], question["least"], 0, time.perf_counter()
        while runs < least["steps"] or time.perf_counter() - start < least["seconds"]:
            job()
            runs += 1
        _answer(seconds=(time.perf_counter() - start) / runs)
    return None


def _jobs(contestant: Contestant) -> dict[str, Any]:
    if reason := missing(contestant.library):
        raise ConfigError(reason)
    if contestant.library == "minisn":
        from . import bench_jobs as side
    else:
        from . import bench_torch as side  # type: ignore[no-redef]
    return side.jobs(contestant.work, contestant.config)


def _peak_mb() -> float:
    """Return the peak of this program's memory; what ran it before it began does not count.

    NaN where the system does not tell: Windows has neither of the two.
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
