"""Cells: the single training runs of a study, each in its own folder.

The folder of a cell is the folder of a run with two more files: ``measures.jsonl`` has a line for
each measurement, and ``result.json`` marks a finished cell. An interrupted cell continues from its
last checkpoint.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import runs
from ..config import UNNAMED, Config
from ..data import load
from ..data.catalog import find_entry
from ..errors import ConfigError, DataError, NonFiniteError
from ..files import StrPath, write_file
from ..training import Trainer
from .probes import PROBES, Split

RESULT, MEASURES = "result.json", "measures.jsonl"
GO_ON = "free some space or make the folder writable, then run the command again to continue"
HELD_OUT = 10
"""One in this many images is held out of training, for measurements."""

Result = dict[str, Any]
"""Label, configuration, steps made, seconds, step of divergence or None, and measures by step."""


@dataclass(frozen=True)
class Cell:
    """A training run with its measurements.

    Args:
        label: printable values that identify the cell in its study, such as method and setting.
        config: all settings; measurements are made every ``sample_every`` steps.
        probes: names of the measurements, from :data:`minisn.study.probes.PROBES`.
    """

    label: dict[str, Any]
    config: Config
    probes: tuple[str, ...] = ("scores",)

    @property
    def name(self) -> str:
        """Name of the cell's folder: the label, and a digest of everything that decides the result.

        A setting that minisn gained later changes the name only if it changes the run, so older
        finished cells keep their names.
        """
        settings = {
            name: value
            for name, value in self.config.to_dict().items()
            if name not in UNNAMED or value != UNNAMED[name]
        }
        facts = json.dumps([settings, sorted(self.probes)], sort_keys=True)
        digest = hashlib.sha256(facts.encode()).hexdigest()[:8]
        return "-".join([*map(str, self.label.values()), digest])

    def on(self, data: str) -> "Cell":
        """Return the same run on another data set, at the size of its images.

        Args:
            data: name of a data set.
        Raises:
            ConfigError: no data set has that name.
        """
        size = find_entry(data).shape[1]
        return replace(self, config=self.config.replace(data=data, size=size))


def read_result(folder: StrPath) -> Result | None:
    """Read the result of a cell; None if the cell is not finished.

    Args:
        folder: folder of the cell.
    Raises:
        DataError: the file is damaged.
    """
    folder = Path(folder)
    path = folder / RESULT
    try:
        result = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    if not isinstance(result, dict) or not isinstance(result.get("measures"), list):
        raise _damaged(path, "expected an object with measures")
    return result


def _damaged(path: Path, reason: object) -> DataError:
    return DataError(f"cannot read the result {path} ({reason}); remove it to run the cell again")


def run_cell(root: StrPath, cell: Cell, data_dir: StrPath | None = None) -> Result:
    """Start or continue the training of a cell, and return its result.

    Divergence is a result too: ``diverged`` is the step at which it happened.

    Args:
        root: folder of all cells, which holds the folder of this cell.
        cell: the cell to train.
        data_dir: folder of the complete data sets.
    Returns:
        The result, which the cell's folder also holds; a finished cell is not trained again.
    Raises:
        DataError: the cell's folder cannot be written; its files stay unchanged.
    """
    root = Path(root)
    data_dir = Path(data_dir) if data_dir else None
    folder = root / cell.name
    if (done := read_result(folder)) is not None:
        return done
    split = _split(folder, cell.config, data_dir)
    if (folder / runs.CONFIG).exists():
        trainer = runs.resume(folder, split.images, labels=split.labels)
    else:
        trainer = Trainer(cell.config, split.images, labels=split.labels)
        runs.create_run(folder, cell.config)
    lines = runs.read_lines(folder / MEASURES)
    measures = {m["step"]: m for m, _ in lines if m["step"] <= trainer.step}

    def measure(step: int, _: np.ndarray) -> None:
        found: dict[str, Any] = {"step": step}
        for probe in cell.probes:
            found |= PROBES[probe](trainer, split)
        measures[step] = found
        write_file(folder / MEASURES, _lines(measures), GO_ON)

    diverged = None
    try:
        runs.train(trainer, folder, on_sample=measure)
    except NonFiniteError:
        diverged = trainer.step
    result = {
        "label": cell.label, "config": asdict(cell.config), "step": trainer.step,
        "seconds": trainer.seconds, "diverged": diverged,
        "measures": [measures[step] for step in sorted(measures)],
    }  # fmt: skip
    write_file(folder / RESULT, json.dumps(result).encode(), GO_ON)
    return result


def _split(folder: Path, config: Config, data_dir: Path | None) -> Split:
    """Load the data of a cell, and hold every tenth image out of training."""
    dataset = load(config.data, data_dir)
    if dataset.images.shape[2:] != (config.size, config.size):
        raise ConfigError(f"size = {config.size} does not fit {config.data}; call Cell.on")
    kept = np.arange(len(dataset.images)) % HELD_OUT == 0
    images, labels = dataset.images, dataset.labels
    return Split(images[~kept], labels[~kept], images[kept], folder)


def _lines(measures: dict[int, dict[str, Any]]) -> bytes:
    return "".join(json.dumps(measures[step]) + "\n" for step in sorted(measures)).encode()
