"""Timing of training steps, alone or against PyTorch, so that the ratio can be trusted.

Each contestant runs in a process of its own, and waits without spinning while the other
is timed; they take turns, and the ratio is taken turn by turn. Compile time and first
steps are not counted.

As a program, ``python -m minisn.bench LIBRARY`` is one contestant: it reads a
configuration as one line of JSON, then numbers of steps, and answers with seconds.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import kernels
from .config import Config
from .errors import ConfigError, MinisnError

IMAGES = 1000
"""Images that are trained on: noise, of the size that the data would have."""


@dataclass(frozen=True)
class Contestant:
    """What is timed.

    Args:
        name: to tell it from the others.
        library: ``"minisn"`` or ``"torch"``.
        config: what is trained.
    """

    name: str
    library: str
    config: Config


@dataclass(frozen=True)
class Timing:
    """What was measured of one contestant.

    Args:
        name: of the contestant.
        seconds: per training step, one for each turn.
        peak_mb: peak resident memory of its process, MB.
    """

    name: str
    seconds: list[float]
    peak_mb: float

    @property
    def median(self) -> float:
        """Median seconds per step."""
        return statistics.median(self.seconds)


def compare(contestants: Sequence[Contestant], turns: int, steps: int) -> list[Timing]:
    """Time training steps of several contestants in turn.

    Args:
        contestants: what is timed.
        turns: how often each is timed.
        steps: training steps in a turn.
    Raises:
        ConfigError: a contestant's library is not installed.
    """
    with _processes(contestants) as processes:
        seconds: list[list[float]] = [[] for _ in contestants]
        for _ in range(turns):
            for process, times in zip(processes, seconds, strict=True):
                times.append(_ask(process, str(steps))["seconds"] / steps)
        peaks = [_ask(process, "peak")["peak_mb"] for process in processes]
    names = [contestant.name for contestant in contestants]
    return [Timing(*row) for row in zip(names, seconds, peaks, strict=True)]


@contextmanager
def _processes(contestants: Sequence[Contestant]) -> Iterator[list[subprocess.Popen]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "minisn.bench", contestant.library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for contestant in contestants
    ]
    try:
        for process, contestant in zip(processes, contestants, strict=True):
            _ask(process, json.dumps(contestant.config.to_dict()))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _ask(process: subprocess.Popen, line: str) -> dict[str, Any]:
    assert process.stdin and process.stdout
    process.stdin.write(line + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline() or '{"error": "the process ended"}')
    if "error" in answer:
        raise ConfigError(f"bench: {answer['error']}")
    return answer


def main(name: str) -> None:
    """Be one contestant: answer on standard output what is asked on standard input."""
    try:
        trainer = _trainer(name, Config(**json.loads(sys.stdin.readline())))
    except ImportError as error:
        return _answer(error=f"{error.name} is not installed; leave it out or install it")
    except MinisnError as error:
        return _answer(error=str(error))
    for _ in range(3):
        trainer.update()
    _answer(ready=True)
    for line in sys.stdin:
        if line.strip() == "peak":
            usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            _answer(peak_mb=usage / (1e6 if sys.platform == "darwin" else 1e3))
            continue
        start = time.perf_counter()
        for _ in range(int(line)):
            trainer.update()
        _answer(seconds=time.perf_counter() - start)
    return None


def _answer(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def _trainer(name: str, config: Config) -> Any:
    from .data import scale_images
    from .data.catalog import find_entry
    from .training import Trainer

    rng, entry = np.random.default_rng(0), find_entry(config.data)
    shape = (IMAGES, entry.shape[0], config.size, config.size)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    if name == "minisn":
        return Trainer(config, images, labels=np.arange(IMAGES) % max(len(entry.classes), 1))
    from .bench_torch import TorchTrainer

    return TorchTrainer(config, scale_images(images), kernels.threads())


if __name__ == "__main__":
    main(sys.argv[1])
