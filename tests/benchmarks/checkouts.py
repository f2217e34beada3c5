"""Time training steps of two checkouts of minisn, turn by turn.

    git worktree add /tmp/before COMMIT
    python tests/benchmarks/checkouts.py /tmp/before .

It prints the ratio of the second checkout's seconds to the first's: median (least - greatest).
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

TURNS = 15
PROGRAM = "--contestant"


def main() -> None:
    from felt import STEPS, ratio

    from minisn.bench import Contestant, compare

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--turns", type=int, default=TURNS)
    given = parser.parse_args()
    for name, config in STEPS.items():
        before, after = compare(
            [
                Contestant(str(path), "minisn", config, program=(__file__, PROGRAM, str(path)))
                for path in (given.before.resolve(), given.after.resolve())
            ],
            given.turns,
            5 if name == "MNIST" else 1,
        )
        told = f"{1e3 * before.median:.3g} ms before, {1e3 * after.median:.3g} ms after"
        print(f"{name}: {told}, ratio {ratio(after, before)}", flush=True)


def contestant(folder: str) -> None:
    """Answer the questions of ``minisn.bench`` with the package in ``folder``."""
    sys.path.insert(0, folder)
    import numpy as np

    import minisn
    from minisn import backend
    from minisn.config import Config
    from minisn.data.catalog import find_entry
    from minisn.training import Trainer

    try:
        from minisn.machine import keep_freed_memory
    except ImportError:  # its place in older checkouts
        keep_freed_memory = backend.keep_freed_memory
    keep_freed_memory()
    assert Path(minisn.__file__).parent.parent == Path(folder), minisn.__file__
    asked = json.loads(sys.stdin.readline())["config"]
    known = {field.name for field in dataclasses.fields(Config)}  # an old one has fewer settings
    config = Config(**{name: value for name, value in asked.items() if name in known})
    shape = (1024, find_entry(config.data).shape[0], config.size, config.size)
    trainer = Trainer(config, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    trainer.update()  # compiles
    answer = {"compiled": False}
    while True:
        print(json.dumps(answer), flush=True)
        if not (line := sys.stdin.readline()):
            return
        answer = {"peak_mb": 0}
        if least := json.loads(line):
            runs, start = 0, time.perf_counter()
            while runs < least["steps"] or time.perf_counter() - start < least["seconds"]:
                trainer.update()
                runs += 1
            answer = {"seconds": (time.perf_counter() - start) / runs}


if __name__ == "__main__":
    if sys.argv[1:2] == [PROGRAM]:
        contestant(sys.argv[2])
    else:
        main()
