"""Timing of training steps, alone or against PyTorch, so that the ratio can be trusted.

Each contestant runs in a process of its own, and waits without spinning while the other
is timed; they take turns, and the ratio is taken turn by turn. Compile time and first
steps are not counted.

As a program, ``python -m minisn.bench CONTESTANT`` is one contestant: it reads a
configuration as one line of JSON, then numbers of steps, and answers with seconds.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import kernels
from .config import Config
from .errors import ConfigError, MinisnError

CONTESTANTS = ("minisn", "torch")


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


def compare(config: Config, contestants: list[str], turns: int, steps: int) -> list[Timing]:
    """Time training steps of several contestants in turn.

    Args:
        config: what is trained.
        contestants: of :data:`CONTESTANTS`.
        turns: how often each is timed.
        steps: training steps in a turn.
    Raises:
        ConfigError: a contestant's library is not installed.
    """
    with _processes(contestants, config) as processes:
        seconds: list[list[float]] = [[] for _ in contestants]
        for _ in range(turns):
            for process, times in zip(processes, seconds, strict=True):
                times.append(_ask(process, str(steps))["seconds"] / steps)
        peaks = [_ask(process, "peak")["peak_mb"] for process in processes]
    return [Timing(*row) for row in zip(contestants, seconds, peaks, strict=True)]


@contextmanager
def _processes(contestants: list[str], config: Config) -> Iterator[list[subprocess.Popen]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "minisn.bench", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in contestants
    ]
    try:
        for process in processes:
            _ask(process, json.dumps(config.to_dict()))
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
    from .data import load, scale_images
    from .training import Trainer

    dataset = load(config.data)
    images = dataset.images
    if name == "minisn":
        return Trainer(config, images, labels=dataset.labels)
    from .bench_torch import TorchTrainer

    return TorchTrainer(config, scale_images(images), kernels.threads())


if __name__ == "__main__":
    main(sys.argv[1])
