"""Cells: single training runs of a study, each in a folder of its own, each run once.

A cell's folder is that of a run, with two files more: ``measures.jsonl``, a line for each time
something was measured, and ``result.json``, which says that the cell is finished. A cell that
was cut short goes on from its last checkpoint.
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
GO_ON = "see to the folder, then go on from the last checkpoint"
HELD_OUT = 10
"""One in so many images is kept from training, to measure on."""

Result = dict[str, Any]
"""label, steps made, seconds, step at which it diverged or None, and measures by step."""


@dataclass(frozen=True)
class Cell:
    """A training run and what is measured during it.

    Args:
        label: what tells it from the others, such as method and setting: printable values.
        config: all settings; measured every ``sample_every`` steps.
        probes: what is measured, of :data:`minisn.study.probes.PROBES`.
    """

    label: dict[str, Any]
    config: Config
    probes: tuple[str, ...] = ("scores",)

    @property
    def name(self) -> str:
        """A folder's name: the label, and a digest of all that decides the result.

        Settings that came later change it only where they change the run, so that finished cells
        are still found.
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
        """Return the same run on other data, at the size of their images.

        Args:
            data: a data set's name.
        Raises:
            ConfigError: there is none of that name.
        """
        size = find_entry(data).shape[1]
        return replace(self, config=self.config.replace(data=data, size=size))


def read_result(folder: StrPath) -> Result | None:
    """Return the result of a finished cell, or None.

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
    """Train a cell from where it stands to its end, and return what was measured.

    A run that diverges is a result too: ``diverged`` tells the step.

    Args:
        root: folder of all cells; this one's is in it.
        cell: what to train.
        data_dir: where the files of complete data sets lie.
    Returns:
        The result, which is also in the cell's folder; at once if it was there already.
    Raises:
        DataError: the cell's folder cannot be written; what is in it stays.
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
    measures = {m["step"]: m for m in _read_measures(folder) if m["step"] <= trainer.step}

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
    """Load a cell's data, and keep every tenth image from training."""
    dataset = load(config.data, data_dir)
    if dataset.images.shape[2:] != (config.size, config.size):
        raise ConfigError(f"a cell's size = {config.size} is not that of {config.data}")
    kept = np.arange(len(dataset.images)) % HELD_OUT == 0
    images, labels = dataset.images, dataset.labels
    return Split(images[~kept], labels[~kept], images[kept], folder)


def _read_measures(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry, _ in runs.read_lines(folder / MEASURES)]


def _lines(measures: dict[int, dict[str, Any]]) -> bytes:
    return "".join(json.dumps(measures[step]) + "\n" for step in sorted(measures)).encode()
