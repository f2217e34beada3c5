"""``minisn train``: train a GAN and write a report."""

from __future__ import annotations

import glob
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    Minutes,
    NamedPath,
    complete_dataset,
    data_dir_option,
    device_option,
    preset_argument,
    refuse_data_dir,
    settings_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ..config import Config
    from ..data import Dataset
    from ..training import Trainer

_FIXED = ("preset", "config_file", "seed", "data", "out")


@click.command()
@preset_argument
@settings_option
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=NamedPath(),
    help="TOML file with settings, in place of a preset.",
)
@click.option("--steps", type=int, help="Updates of G; short for --set steps=N.")
@click.option(
    "--minutes",
    type=Minutes(0, min_open=True),
    help="Stop after this time, even if steps are left.",
)
@click.option("--seed", type=int, help="Random seed; short for --set seed=N.")
@click.option(
    "--out",
    metavar="FOLDER",
    type=NamedPath(),
    help="Folder of the run [default: runs/PRESET-1, -2, ...].",
)
@click.option(
    "--resume",
    metavar="RUN",
    type=NamedPath(),
    help="Continue the run in this folder.",
)
@click.option(
    "--data",
    metavar="NAME|FOLDER",
    shell_complete=complete_dataset,
    help="Data set of `minisn data list`, or folder of your own images, whose subfolders are "
    "labels; the setting data.",
)
@data_dir_option
@device_option
@click.pass_context
def train(
    ctx: click.Context,
    preset: str | None,
    settings: tuple[str, ...],
    config_file: Path | None,
    steps: int | None,
    minutes: float | None,
    seed: int | None,
    out: Path | None,
    resume: Path | None,
    data: str | None,
    data_dir: Path | None,
    device: str,
) -> None:
    """Train a GAN and write a report.

    The settings are those of PRESET [default: mnist]. The command writes the settings, a log,
    sheets of samples from fixed latent vectors, checkpoints, plots and report.html to the folder of
    the run, and prints the path of the report as its last line. Ctrl-C or --minutes stops training:
    the command saves a checkpoint, and prints how to continue.

    \b
    Examples:
        minisn train
        minisn train mnist-tiny --seed 1 --out first-try
        minisn train --set width=32 --set rate_g=1e-4 --minutes 10
        minisn train cifar10-small --data cifar10 --data-dir ~/datasets
        minisn train cifar10-small --data ./photographs
        minisn train --resume runs/mnist-1 --steps 5000
    """
    from .. import runs
    from ..data import refuse_ambiguous
    from ..machine import check_memory, keep_freed_memory
    from ..training import Trainer
    from .progress import compile_notice

    keep_freed_memory()
    changes = _changes(settings, {"steps": steps, "seed": seed, "data": data})
    with compile_notice(training=True):
        if resume:
            _refuse_with_resume(ctx)
            before, folder = runs.read_config(resume), resume
            config = before.replace(**changes)
            _check_resumed(resume, before, config)
            check_memory(config)
            dataset = _training_set(config, data_dir, folder)
            trainer = runs.resume(folder, dataset.images, device, config, dataset.labels)
        else:
            config, name = _config(preset, config_file)
            config = config.replace(**changes)
            refuse_ambiguous(data or "")
            check_memory(config)
            dataset = _training_set(config, data_dir)
            trainer = Trainer(config, dataset.images, device, dataset.labels)
            folder = _create(out, name, config)
        _keep_own_images(folder, config, dataset)
        _train(ctx, trainer, folder, minutes)


def _changes(settings: tuple[str, ...], options: dict[str, int | str | None]) -> dict[str, Any]:
    """Join the settings of --set and of options of their own; refuse one that is given twice."""
    from ..config import parse_settings

    changes = parse_settings(list(settings))
    given = {name: value for name, value in options.items() if value is not None}
    if twice := sorted(given.keys() & changes.keys()):
        raise click.UsageError(f"Give --{twice[0]} or --set {twice[0]}=..., not both.")
    return changes | given


def _refuse_with_resume(ctx: click.Context) -> None:
    """Refuse options that a resumed run cannot change."""
    for parameter in ctx.command.params:
        if parameter.name in _FIXED and ctx.params[parameter.name] is not None:
            raise click.UsageError(
                f"--resume continues with the settings of the run; omit "
                f"{parameter.opts[-1] if parameter.name != 'preset' else ctx.params['preset']}"
            )


def _check_resumed(folder: Path, before: Config, config: Config) -> None:
    """Refuse a seed, first weights or data that differ from those of the start."""
    from ..errors import ConfigError

    if config.seed != before.seed:
        raise ConfigError(
            f"{folder} was started with seed {before.seed}, not {config.seed}, and "
            "continues with the same samples and data order; omit --set seed, or "
            "start another run"
        )
    for name in ("init", "init_g"):
        if getattr(config, name) != getattr(before, name):
            raise ConfigError(
                f"{folder} was started with {name} = {getattr(before, name)}, which only first "
                f"weights read; omit --set {name}, or start another run"
            )
    if config.data != before.data:
        raise ConfigError(
            f"{folder} was started on {before.data}, not on {config.data}; omit "
            "--set data, or start another run"
        )


def _config(preset: str | None, file: Path | None) -> tuple[Config, str]:
    """Return the settings, and a name for the run."""
    from ..config import load_config, load_preset

    if preset is not None and (file or preset.endswith(".toml")):
        raise click.UsageError("give either a preset or --config FILE, not both")
    if file:
        return load_config(file), file.stem
    name = "mnist" if preset is None else preset
    _refuse_folder(name)
    return load_preset(name), name


def _refuse_folder(preset: str) -> None:
    """Refuse a folder in the place of a preset."""
    from ..config import presets
    from ..errors import ConfigError
    from ..runs import CONFIG

    if preset and preset not in presets() and Path(preset).is_dir():
        option = "--resume" if (Path(preset) / CONFIG).exists() else "--data"
        raise ConfigError(
            f"{preset} is a folder; expected a preset: minisn train {option} {shlex.quote(preset)}"
        )


def _training_set(config: Config, data_dir: Path | None, run: Path | None = None) -> Dataset:
    """Return the training images with labels; print a report on a folder of images."""
    from ..training_set import training_set
    from .progress import images_bar

    refuse_data_dir(data_dir, config.data, run)
    dataset, found = training_set(config, data_dir, run, images_bar)
    if found:
        click.echo(" ".join(str(found).split()))
    return dataset


def _keep_own_images(folder: Path, config: Config, dataset: Dataset) -> None:
    """Save images from a user's folder with the run, which then does not need the folder."""
    from ..training_set import IMAGES, is_folder, keep_images

    if is_folder(config) and not (folder / IMAGES).exists():
        keep_images(folder, dataset.images, dataset.labels, dataset.classes)


def _create(out: Path | None, name: str, config: Config) -> Path:
    """Make the folder of a run; by default the next free one, which others look for, too."""
    from ..errors import ConfigError
    from ..runs import create_run

    while True:
        folder = out or _fresh_folder(name)
        try:
            create_run(folder, config)
            return folder
        except ConfigError:
            if out or folder == _fresh_folder(name):
                raise


def _fresh_folder(name: str) -> Path:
    found = Path("runs").glob(f"{glob.escape(name)}-*")
    taken = [path.name.removeprefix(f"{name}-") for path in found]
    return Path("runs") / f"{name}-{1 + max((int(n) for n in taken if n.isdecimal()), default=0)}"


def _train(ctx: click.Context, trainer: Trainer, folder: Path, minutes: float | None) -> None:
    """Train, print the outcome and how to continue, and write the report."""
    from .. import runs
    from ..report import duration, write_report
    from .progress import Progress, last_words

    config, status, whole = trainer.config, 0, True
    click.echo(
        f"{folder}: {config.data}, {config.size} x {config.size}, width {config.width}, "
        f"{config.objective} loss, steps {trainer.step:,} to {config.steps:,}"
    )
    try:
        with Progress(trainer.step, config.steps, trainer.seconds, minutes) as progress:
            runs.train(trainer, folder, minutes, progress, _sheets(folder, trainer.classes))
        steps = f"{trainer.step:,} step{'s' if trainer.step != 1 else ''}"
        last_words(f"{steps} in {duration(trainer.seconds)}.")
    except (KeyboardInterrupt, SystemExit, OSError) as end:
        status = _status(end)
        step = _saved(folder)
        whole = step == trainer.step  # a second Ctrl-C interrupts an update
        last_words(f"Stopped; saved at step {step:,}.")
    if trainer.step < config.steps:
        last_words(f"Continue with: minisn train --resume {shlex.quote(str(folder))}")
    else:
        last_words(
            f"Train longer with: minisn train --resume {shlex.quote(str(folder))} "
            f"--steps {2 * config.steps}"
        )
    if whole:
        last_words(
            write_report(folder, trainer.D, trainer.step, trainer.seconds, trainer.fingerprint)
        )
    ctx.exit(status)


def _status(end: BaseException) -> int:
    """Return the exit status for an early end of training: 128 plus the number of the signal."""
    from .progress import is_closed

    if isinstance(end, OSError) and not is_closed(end):
        raise end
    if isinstance(end, SystemExit):
        return int(end.code or 0)
    return 130 if isinstance(end, KeyboardInterrupt) else 141  # SIGINT, SIGPIPE


def _sheets(folder: Path, classes: int) -> Callable[[int, np.ndarray], None]:
    """Return a function that writes a sheet of samples, in whole rows."""
    from ..plots import columns_for, save_sheet

    (folder / "samples").mkdir(exist_ok=True)
    columns = columns_for(classes)

    def write(step: int, images: np.ndarray) -> None:
        whole = images[: len(images) // columns * columns]
        save_sheet(folder / "samples" / f"{step:06d}.png", whole, columns)

    return write


def _saved(folder: Path) -> int:
    """Return the step of the last checkpoint; 0 if there is none."""
    from ..checkpoint import load
    from ..runs import CHECKPOINT

    path = folder / CHECKPOINT
    return load(path).step if path.exists() else 0
