"""Kill training, checkpoints, studies and downloads at random moments; the results must be equal.

    python tests/trust/kills.py --times 200

Each kind of work runs once without a kill. It then runs in processes that are killed after a random
time, and each process continues where the last one stopped, until all kills are used. The final
files must equal those of the first run bit for bit, except for the recorded time.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from minisn import checkpoint, runs, use_kernels
from minisn.config import load_preset
from minisn.data import catalog, fetch
from minisn.data.catalog import Content, Download
from minisn.study.cells import RESULT, Cell, run_cell
from minisn.training import Trainer

FOUND = Path(__file__).parent / "results" / "kills.json"
TINY = load_preset("mnist-tiny").replace(
    width=2,
    latent=6,
    batch_size=6,
    steps=40,
    log_every=2,
    sample_every=10,
    checkpoint_every=5,
)
DIGITS = np.random.default_rng(0).integers(0, 256, (60, 1, 28, 28), dtype=np.uint8)
SAVES = 20
BYTES = np.random.default_rng(0).bytes(3_000_000)


@dataclasses.dataclass(frozen=True)
class Work:
    """A kind of work to kill.

    Args:
        go_on: continues the work in a folder, and returns when it is done.
        outcome: returns the result in the folder, for comparison.
    """

    go_on: Callable[[Path], None]
    outcome: Callable[[Path], object]


def _state(path: Path) -> object:
    saved = checkpoint.load(path)
    arrays = {name: hashlib.sha256(a.tobytes()).hexdigest() for name, a in saved.arrays.items()}
    return arrays, saved.step, saved.adam_d, saved.adam_g, saved.rng, saved.data


# -- training -----------------------------------------------------------------------------------


def _train(folder: Path) -> None:
    if not (folder / runs.CONFIG).exists():
        runs.create_run(folder, TINY)
    trainer = runs.resume(folder, DIGITS)
    runs.train(trainer, folder)


def _run(folder: Path) -> object:
    log = [{k: v for k, v in entry.items() if k != "seconds"} for entry in runs.read_log(folder)]
    return _state(folder / runs.CHECKPOINT), log


# -- one checkpoint over another ----------------------------------------------------------------


def _save(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    path, trainer = folder / "state", Trainer(TINY.replace(width=16), DIGITS)
    if path.exists():
        checkpoint.restore(trainer, checkpoint.load(path))
    while trainer.step < SAVES:
        trainer.step += 1
        checkpoint.save(path, trainer)


# -- a study ------------------------------------------------------------------------------------


def _cell() -> Cell:
    return Cell({"method": "SN"}, TINY.replace(steps=20), ("norms",))


def _study(folder: Path) -> None:
    run_cell(folder, _cell())


def _result(folder: Path) -> object:
    result = json.loads((folder / _cell().name / RESULT).read_text())
    return {key: value for key, value in result.items() if key != "seconds"}


# -- a download ---------------------------------------------------------------------------------


class _Slow(BaseHTTPRequestHandler):
    """Serve the file from the requested position, a little at a time."""

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BYTES) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BYTES) - 1}/{len(BYTES)}")
        self.end_headers()
        with contextlib.suppress(OSError):
            for k in range(start, len(BYTES), 1 << 16):
                self.wfile.write(BYTES[k : k + (1 << 16)])
                time.sleep(0.005)

    def log_message(self, *_: object) -> None:
        pass


def _serve() -> int:
    """Start a server in a process of its own, and offer its file as a data set."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    digest = hashlib.sha256(BYTES).hexdigest()
    address = (f"http://127.0.0.1:{http.server_port}/",)
    download = Download(
        "big.bin", len(BYTES), digest, address, (Content("big.bin", len(BYTES), digest),)
    )
    entry = dataclasses.replace(catalog.find_entry("mnist"), downloads=(download,))
    catalog.CATALOG["mnist"] = entry
    if child := os.fork():
        http.server_close()
        return child
    http.serve_forever()
    os._exit(0)


def _fetch(folder: Path) -> None:
    fetch("mnist", folder, progress=False)


def _files(folder: Path) -> object:
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


WORKS = {
    "training": Work(_train, _run),
    "checkpoint": Work(_save, lambda folder: _state(folder / "state")),
    "study": Work(_study, _result),
    "download": Work(_fetch, _files),
}


def killed(work: Work, folder: Path, delay: float | None) -> bool:
    """Continue in a process that is killed after a delay; return whether the kill came in time."""
    child = os.fork()
    if child == 0:
        try:
            work.go_on(folder)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if status not in (0, signal.SIGKILL):
        raise AssertionError(f"{folder}: the process ended with status {status}, expected 0")
    return status == signal.SIGKILL


def torture(work: Work, root: Path, times: int, chance: random.Random) -> dict[str, int]:
    """Kill one kind of work a number of times; return the counts."""
    start = time.perf_counter()
    killed(work, root / "straight", None)
    once, expected = time.perf_counter() - start, work.outcome(root / "straight")
    kills = ends = 0
    while kills < times:
        folder, ends = root / str(ends), ends + 1
        while kills < times and killed(work, folder, chance.uniform(0, once)):
            kills += 1
        killed(work, folder, None)
        if work.outcome(folder) != expected:
            raise AssertionError(f"{folder} differs from {root / 'straight'}")
    return {"kills": kills, "ends": ends}


def main() -> None:
    """Kill each kind of work equally often, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results, chance, server = {}, random.Random(options.seed), _serve()
    try:
        with use_kernels("array_api"):  # has no threads, which a fork would lose
            for name, work in WORKS.items():
                with tempfile.TemporaryDirectory() as root:
                    results[name] = torture(work, Path(root), options.times // len(WORKS), chance)
                print(name, results[name], flush=True)
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
    FOUND.parent.mkdir(exist_ok=True)
    FOUND.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
