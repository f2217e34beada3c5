"""Running cells on Dask: on a cluster of processes on this machine, or on an existing cluster.

The processes share the cores of this machine: BLAS, OpenMP and Numba get an equal number of threads
in each. If a process dies, Dask gives its cell to another process, which continues from the last
checkpoint.
"""

import importlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bench import POOLS
from ..errors import ConfigError, MinisnError
from .cells import Cell, Result, read_result, run_cell

PATIENCE = 15.0
"""Seconds to wait for the answer of a scheduler."""


@dataclass(frozen=True)
class Standing:
    """The progress of a study.

    Args:
        done: number of finished cells, including those of earlier calls.
        running: number of cells in training.
        left: number of cells that have not started.
        latest: name of the last finished cell, or None.
    """

    done: int
    running: int
    left: int
    latest: str | None


def run_cells(
    cells: Sequence[Cell],
    root: Path,
    scheduler: str | None = None,
    workers: int | None = None,
    data_dir: Path | None = None,
    on_change: Callable[[Standing], None] | None = None,
) -> list[Result]:
    """Run the unfinished cells, several at a time.

    Args:
        cells: the cells of the study.
        root: folder of all cells; a cluster elsewhere must see it under the same path.
        scheduler: address of a Dask cluster, ``tcp://...``; None starts a cluster on this machine.
        workers: number of processes to start on this machine; None for one per core. The cores are
            divided among the processes.
        data_dir: folder of the complete data sets.
        on_change: called with the progress at the start and when a cell ends.
    Returns:
        The results in the order of the cells.
    Raises:
        ConfigError: the cluster does not answer, or its workers lack minisn.
        MinisnError: a cell failed; finished cells keep their results.
    """
    root.mkdir(parents=True, exist_ok=True)
    waiting = [cell for cell in cells if read_result(root / cell.name) is None]
    done = len(cells) - len(waiting)
    tell = on_change or (lambda standing: None)
    if waiting:
        with _client(scheduler, workers, len(waiting)) as client:
            slots = sum(client.nthreads().values()) or 1
            tell(Standing(done, min(slots, len(waiting)), max(len(waiting) - slots, 0), None))
            for name in _finished(client, waiting, root.resolve(), data_dir):
                done += 1
                left = len(cells) - done
                tell(Standing(done, min(slots, left), max(left - slots, 0), name))
    results = [read_result(root / cell.name) for cell in cells]
    return [result for result in results if result is not None]


def _finished(
    client: Any, cells: Sequence[Cell], root: Path, data_dir: Path | None
) -> Iterator[str]:
    """Yield the names of cells as they finish; raise the first failure after all have ended."""
    from distributed import as_completed

    data_dir = data_dir and data_dir.resolve()  # a worker may have another working directory
    futures = {
        client.submit(run_cell, root, cell, data_dir, key=cell.name, pure=False): cell.name
        for cell in cells
    }
    failures = []
    for future in as_completed(futures):
        error = future.exception()
        if error is None:
            yield futures[future]
        else:
            failures.append((futures[future], error))
    if failures:
        name, error = failures[0]
        raise MinisnError(
            f"{len(failures)} of {len(cells)} cells failed, the first {name}: {error}; finished "
            "cells keep their results; run the command again to continue with the others"
        ) from error


def _check_workers(client: Any, scheduler: str) -> None:
    """Refuse a cluster that cannot run a cell, as Dask would wait for workers forever."""
    found = client.run(importlib.import_module, __package__.partition(".")[0], on_error="return")
    if not found:
        raise ConfigError(
            f"the Dask cluster at {scheduler} has no workers; start some with "
            f"`dask worker {scheduler}`"
        )
    for address, answer in found.items():
        if isinstance(answer, Exception):
            raise ConfigError(
                f"the worker {address} cannot import minisn ({answer}); install the version of "
                "this machine there"
            )


@contextmanager
def _client(scheduler: str | None, workers: int | None, most: int) -> Iterator[Any]:
    """Connect to a cluster, or start one and stop it afterwards."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise ConfigError(
            "studies need Dask, which is not installed; run: pip install 'minisn[study]'"
        ) from None
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no Dask scheduler answers at {scheduler} ({error}); start one with "
                "`dask scheduler`, or omit --scheduler to use this machine"
            ) from None
        with client:
            _check_workers(client, scheduler)
            yield client
        return
    cores = os.cpu_count() or 1
    count = min(workers or cores, most)
    environment = dict.fromkeys(POOLS, str(max(cores // count, 1)))
    with (
        dask.config.set(
            {
                "distributed.nanny.pre-spawn-environ": environment,
                "distributed.scheduler.allowed-failures": 10,
                "distributed.worker.memory.terminate": False,
            }
        ),
        # listen on this machine only, on any free port, and open no dashboard;
        # silence the logs, as the error of a cell is reported once, at the end
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            worker_dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
