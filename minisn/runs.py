"""Runs: a folder for each, and the loop that fills it and survives a kill at any moment.

``config.toml``             the settings
``log.jsonl``               one line of JSON for each logged step
``samples/NNNNNN.png``      sample sheets, drawn by the caller of :func:`train`
``checkpoint.safetensors``  the state of the run
``run.lock``                the lock of the one process that may write
"""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from filelock import FileLock, Timeout

from .backend import to_numpy
from .checkpoint import load, restore, save
from .config import Config, load_config
from .data import scale_images
from .errors import CheckpointError, ConfigError, DataError, NonFiniteError
from .files import StrPath, write_file
from .health import Health, spread
from .instruments import estimates, spectra
from .losses import OBJECTIVES, slopes
from .training import Losses, Trainer
from .training_set import IMAGES

CONFIG = "config.toml"
LOG = "log.jsonl"
CHECKPOINT = "checkpoint.safetensors"
LOCK = "run.lock"
REPORT = "report.html"
FILES = (CONFIG, LOG, CHECKPOINT, LOCK, IMAGES, REPORT)
"""Names of the files of a run, beside those in its folders."""

_FOLDERS = ("samples", "plots")

SAMPLES = 64
"""Images on a sample sheet."""

Entry = dict[str, Any]
"""A line of the log.

- ``step``, ``seconds``: the updates of G and the seconds of training so far.
- ``loss_d``, ``loss_g``: None at step 0.
- ``slope``: :func:`minisn.losses.slopes` in the scores of ``real`` images and of samples
  (``fake``) at D's last update; not at step 0.
- ``gradient``: norm of the gradient at the last update of ``D`` and of ``G``; not at step 0.
- ``scale``: the setting, which may change when a run is resumed.
- ``sigma``: estimate of the norm of each weight whose scheme keeps one, by layer of D.
- ``norm``: exact norm of each weight that D computes with; only with a sample sheet.
- ``spread``: :func:`minisn.health.spread` of the sheet's ``samples`` and of as many images of the
  ``data``; only with a sample sheet.
- ``health``: the findings that are new with this line: a sentence for each key.
"""

OnLog = Callable[[Entry], None]
OnSample = Callable[[int, np.ndarray], None]


# -- the folder ------------------------------------------------------------------------------


def create_run(folder: StrPath, config: Config) -> None:
    """Make the folder of a new run, with its configuration.

    Args:
        folder: must be empty if it exists; missing parent folders are made too.
        config: all settings.
    Raises:
        ConfigError: the folder is in use or cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_used(folder)
        with alone(folder):
            _refuse_used(folder)  # another process may have come first
            _write_config(folder, config)
    except OSError as error:
        raise ConfigError(
            f"cannot make the run folder {folder}: {error.strerror}; name another with --out"
        ) from error


def _refuse_used(folder: Path) -> None:
    """Refuse a folder with more in it than the start of a run."""
    names = [path.name for path in folder.iterdir()]
    if any(n != LOCK and not (n.startswith(f"{CONFIG}.") and n.endswith(".part")) for n in names):
        run = f"go on with the run in it with --resume {folder}, or "
        raise ConfigError(
            f"{folder} exists and is not empty; {run if CONFIG in names else ''}"
            "name another folder with --out"
        )


def read_config(folder: StrPath) -> Config:
    """Read the settings of a run.

    Raises:
        ConfigError: there is no run in the folder, or its configuration is damaged.
        DataError: a file of the run is a link out of its folder.
    """
    folder = Path(folder)
    _refuse_links(folder)
    if not (folder / CONFIG).exists():
        raise ConfigError(f"{folder} is not the folder of a run: it has no {CONFIG}")
    return load_config(folder / CONFIG)


def read_log(folder: StrPath) -> list[Entry]:
    """Read the log of a run, without a last line that a kill cut short.

    Returns:
        The lines in order, none for a run without a log.
    Raises:
        DataError: the log cannot be read, or a line is damaged; the message names the line.
    """
    folder = Path(folder)
    return [entry for entry, _ in read_lines(folder / LOG)]


@contextmanager
def alone(folder: StrPath) -> Iterator[None]:
    """Keep other processes from writing to a run; the lock ends with the process that holds it.

    Raises:
        ConfigError: another process holds the lock.
        DataError: the lock cannot be written, or a file of the run is a link out of its folder.
    """
    folder = Path(folder)
    _refuse_links(folder)
    lock = FileLock(folder / LOCK, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"{folder}: another process is training this run; wait until it ends, or start a "
            "new run in another folder"
        ) from None
    except OSError as error:
        raise DataError(f"cannot write {folder / LOCK}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _refuse_links(folder: Path) -> None:
    """Refuse a run with a link out of its folder.

    The report would show the target, or training would overwrite it.
    """
    home = os.path.realpath(folder)
    paths = [folder / name for name in FILES + _FOLDERS]
    for inner in _FOLDERS:
        with suppress(OSError):
            paths += [Path(entry.path) for entry in os.scandir(folder / inner)]
    for path in paths:
        target = os.path.realpath(path)
        if not Path(target).is_relative_to(home):  # commonpath fails across drives
            raise DataError(
                f"{path} leads to {target}, outside the run's folder; remove the link, or put a "
                "copy in its place"
            )


def _write_config(folder: Path, config: Config) -> None:
    content = tomli_w.dumps(config.to_dict()).encode()
    write_file(folder / CONFIG, content, error=ConfigError)


def read_lines(path: Path) -> list[tuple[Entry, bytes]]:
    """Read lines of JSON, each with a step; leave out an incomplete last line."""
    try:
        *lines, _ = path.read_bytes().split(b"\n")  # the last line has no end if a kill cut it
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict) or type(entry.get("step")) is not int:
            raise DataError(
                f"{path}, line {number} is damaged: expected a JSON object with a step, got "
                f"{line[:40]!r}; remove the line, or the file to go on without the earlier log"
            )
        entries.append((entry, line + b"\n"))
    return entries


class _Log:
    """The log of a run, open for new lines; each is written whole or not at all."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise self._error(error) from error

    def write(self, entry: Entry) -> None:
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        end = self._file.tell()
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(end)
            raise self._error(error) from error

    def sync(self) -> None:
        """Wait until every line is on the disk, before a checkpoint follows."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        self._file.close()

    def _error(self, error: OSError) -> DataError:
        return DataError(
            f"cannot write {self.path}: {error.strerror}; the last checkpoint is untouched: "
            "check the folder, then resume"
        )


# -- the loop --------------------------------------------------------------------------------


@np.errstate(all="ignore")
def train(
    trainer: Trainer,
    folder: StrPath,
    minutes: float | None = None,
    on_log: OnLog | None = None,
    on_sample: OnSample | None = None,
) -> None:
    """Train up to the configured number of steps, with a log and checkpoints.

    The step alone decides what is logged, sampled and saved. A run in pieces therefore leaves
    the same log (except for its seconds) and the same samples as a run in one piece. A signal, or
    an ``on_log`` that cannot write, ends it after the update, with a checkpoint.

    Args:
        trainer: a new one, or the one that :func:`resume` returns. Its ``seconds`` continue, and
            include the time for samples and checkpoints.
        folder: the folder of the run.
        minutes: stop and save after this many minutes of this call, even if steps are left.
        on_log: called with each line of the log.
        on_sample: called with a step and images, float32, [64, C, size, size], in (-1, 1), always
            drawn from the same latent vectors: every ``sample_every`` steps, at the first and the
            last step, and when the minutes end.
    Raises:
        KeyboardInterrupt: Ctrl-C was pressed. A second Ctrl-C does not wait for the update;
            :func:`resume` then goes back to the last checkpoint.
        SystemExit: SIGTERM or SIGHUP arrived, for example from a cluster's scheduler or a closed
            terminal. The status is 128 plus the number of the signal. If the process ignored or
            handled the signal before, it still does.
        OSError: ``on_log`` could not write.
        NonFiniteError: training has diverged: a weight, gradient or loss is not finite. The
            message names the step, the quantity, and the layer with the largest weight. NumPy
            adds no warning. The last checkpoint, from before, is kept.
        CheckpointError, DataError: a checkpoint or the log cannot be written. The older ones
            are untouched.
        ConfigError: another process is training this run, or minutes is not a number from 0.
    """
    folder = Path(folder)
    until = trainer.seconds + _seconds(minutes)
    config = trainer.config
    start = time.perf_counter() - trainer.seconds
    with alone(folder), _Patience() as patience, closing(_Log(folder / LOG)) as log:
        recorder = _Recorder(trainer, log, on_log, on_sample)
        if trainer.step == 0:
            recorder.record(None)
        while trainer.step < config.steps:
            with _told(trainer, trainer.step + 1):
                losses = trainer.update()
            trainer.seconds = time.perf_counter() - start
            recorder.record(losses)
            end, done = patience.end or recorder.unheard, trainer.step == config.steps
            stop = end or done or trainer.seconds >= until
            if stop or trainer.step % config.checkpoint_every == 0:
                log.sync()
                save(folder / CHECKPOINT, trainer)
            if end:
                raise end
            if stop:
                recorder.sample()
                break


def _seconds(minutes: float | None) -> float:
    if minutes is None:
        return math.inf
    if not minutes >= 0:
        raise ConfigError(f"minutes: expected at least 0, or None for no limit, got {minutes}")
    return 60 * minutes


def resume(
    folder: StrPath,
    images: np.ndarray,
    device: str = "cpu",
    config: Config | None = None,
    labels: np.ndarray | None = None,
) -> Trainer:
    """Set up a trainer at the last checkpoint of a run, or at its start if there is none.

    Log lines of later steps are removed: they will be written again.

    Args:
        folder: the folder of the run.
        images: the training images, uint8, [N, C, H, W].
        device: ``"cpu"`` or ``"cuda"``.
        config: new settings, which the folder then keeps; None for the settings in the folder.
        labels: the labels of the images, for a conditional model.
    Returns:
        The trainer, for :func:`train`.
    Raises:
        ConfigError: there is no run in the folder, another process is training it, it has made
            more steps than the settings ask for, or new settings come after its last step.
        CheckpointError: the checkpoint is damaged or lost, or does not fit the data or the
            settings.
        DataError: the log is damaged, or cannot be written. Nothing changes then.
    """
    folder = Path(folder)
    before = read_config(folder)
    with alone(folder):
        lines = read_lines(folder / LOG)
        trainer, step = Trainer(config or before, images, device, labels), -1
        if (folder / CHECKPOINT).exists():
            restore(trainer, load(folder / CHECKPOINT))
            step = trainer.step
        else:
            _refuse_lost(folder, before, [entry["step"] for entry, _ in lines])
        if trainer.config.steps < step:
            raise ConfigError(
                f"{folder} has made {step} steps; expected --steps {step} or more, got "
                f"{trainer.config.steps}"
            )
        if trainer.config.steps == step:
            _refuse_late(folder, before, trainer.config)
        kept = b"".join(line for entry, line in lines if entry["step"] <= step)
        if (folder / LOG).exists() and (folder / LOG).stat().st_size != len(kept):
            write_file(folder / LOG, kept, "check the folder")
        if config and config != before:
            _write_config(folder, config)
    return trainer


def _refuse_lost(folder: Path, config: Config, steps: list[int]) -> None:
    """Refuse a run that has lost its checkpoint: its log or its report comes after one."""
    last = max(steps, default=0)
    if last > config.checkpoint_every or (last > 0 and (folder / REPORT).exists()):
        raise CheckpointError(
            f"{folder / CHECKPOINT} is missing, but the log of the run goes to step {last}; put a "
            "copy of the checkpoint back, or start a new run in another folder"
        )


def _refuse_late(folder: Path, before: Config, config: Config) -> None:
    """Refuse new settings, other than steps, for a run that has no step left."""
    old, new = before.to_dict(), config.to_dict()
    late = [name for name in new if name != "steps" and new[name] != old[name]]
    if late:
        raise ConfigError(
            f"{folder} has made all of its {config.steps} steps, so that {', '.join(late)} would "
            f"have no effect; add --steps with more than {config.steps}"
        )


def sample_vectors(config: Config) -> np.ndarray:
    """Draw the latent vectors of a run's sample sheets, always the same for one seed.

    Returns:
        float32, [64, latent], from a generator that nothing else draws from.
    """
    own = np.random.SeedSequence(config.seed).spawn(1)[0]
    return np.random.default_rng(own).standard_normal((SAMPLES, config.latent), np.float32)


@contextmanager
def _told(trainer: Trainer, step: int) -> Iterator[None]:
    """Add the step and the layer with the largest weight to an error about non-finite numbers."""
    try:
        yield
    except NonFiniteError as error:
        networks = {"D": trainer.D.named_parameters(), "G": trainer.G.named_parameters()}
        sizes = {
            f"{who}/{name}": float(abs(to_numpy(p.array)).max())
            for who, named in networks.items()
            for name, p in named.items()
        }
        name = max(sizes, key=lambda name: (math.isnan(sizes[name]), sizes[name]))
        raise NonFiniteError(
            f"at step {step}: {error} (the largest weight is {sizes[name]:.3g}, in {name}; the "
            "last checkpoint is kept as it was)"
        ) from error


class _Recorder:
    """The writer of log lines and samples, at the steps where they are due."""

    def __init__(
        self, trainer: Trainer, log: _Log, on_log: OnLog | None, on_sample: OnSample | None
    ):
        self.trainer, self.on_log, self.on_sample = trainer, on_log, on_sample
        self.log = log
        self.health = Health(trainer.config)
        for entry, _ in read_lines(log.path):
            self.health.see(entry)  # earlier findings are not reported again
        self._sampled: int | None = None
        self.unheard: OSError | None = None

    def record(self, losses: Losses | None) -> None:
        config, step = self.trainer.config, self.trainer.step
        fully = step % config.sample_every == 0 or step == config.steps
        if not fully and step % config.log_every:
            return
        images = self._draw() if fully else None
        entry = _entry(self.trainer, losses, images)
        if found := self.health.see(entry):
            entry["health"] = {finding.key: finding.words for finding in found}
        self.log.write(entry)
        if self.on_log:
            try:
                self.on_log(entry)
            except OSError as error:  # train saves the updates before it raises this
                self.unheard = error
        if images is not None:
            self._show(images)

    def sample(self) -> None:
        """Draw a sheet at the step where the run ends, unless there is one."""
        if self._sampled != self.trainer.step:
            self._show(self._draw())

    def _draw(self) -> np.ndarray:
        return self.trainer.sample(sample_vectors(self.trainer.config))

    def _show(self, images: np.ndarray) -> None:
        self._sampled = self.trainer.step
        if self.on_sample:
            with _told(self.trainer, self.trainer.step):
                self.on_sample(self.trainer.step, images)


def _entry(trainer: Trainer, losses: Losses | None, images: np.ndarray | None) -> Entry:
    """Collect a line of the log, with norms and spread if images are drawn.

    Source: [M18 App. C.2, Figure 9]
    """
    entry: Entry = {
        "step": trainer.step,
        "seconds": trainer.seconds,
        "loss_d": losses and float(losses.d),
        "loss_g": losses and float(losses.g),
    }
    if losses and trainer.scores:
        of_real, of_fake = slopes(OBJECTIVES[trainer.config.objective], *trainer.scores)
        entry["slope"] = {"real": of_real, "fake": of_fake}
        optimizers = {"D": trainer.adam_d, "G": trainer.adam_g}
        entry["gradient"] = {who: adam.gradient_norm() for who, adam in optimizers.items()}
    if images is not None and len(trainer.images) > 1:
        rows = np.linspace(0, len(trainer.images) - 1, min(SAMPLES, len(trainer.images)), dtype=int)
        data = scale_images(trainer.images[rows])  # from all parts: data may be sorted
        entry["spread"] = {"samples": spread(images[: len(rows)]), "data": spread(data)}
    entry["scale"], entry["sigma"] = trainer.config.scale, estimates(trainer.D)
    _check_finite(entry)
    if images is not None:
        entry["norm"] = {name: float(s[0]) for name, s in spectra(trainer.D).items()}
    return entry


def _check_finite(entry: Entry) -> None:
    values = {key: entry[key] for key in ("loss_d", "loss_g") if entry[key] is not None}
    for key in ("sigma", "slope", "gradient", "spread"):
        values |= {f"{key} of {name}": value for name, value in entry.get(key, {}).items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise NonFiniteError(
                f"at step {entry['step']}: {name} is {value}: training has diverged; lower the "
                "step sizes, or change the seed (the last checkpoint is kept as it was)"
            )


class _Patience:
    """A handler that keeps the exception for a first signal to end, and raises at a second."""

    def __init__(self) -> None:
        self.end: BaseException | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Patience":
        if threading.current_thread() is threading.main_thread():
            ends = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
            found = {number: signal.getsignal(number) for number in ends if number is not None}
            self._before = {n: before for n, before in found.items() if before == signal.SIG_DFL}
            if (before := signal.getsignal(signal.SIGINT)) not in (None, signal.SIG_IGN):
                self._before[signal.SIGINT] = before
        for number in self._before:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: Any) -> None:
        end = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        if self.end:
            raise end
        self.end = end
