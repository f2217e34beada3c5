"""``minisn bench``: time training steps, also in PyTorch."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import click

from .options import completion, settings_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..bench import Timing
    from ..config import Config

WGAN_GP = {"regularizer": "none", "objective": "wasserstein", "gradient_penalty": 10.0}

RACES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("cifar10-resnet", {"n_dis": 1}),
    "wgan-gp": ("cifar10", WGAN_GP),
}
"""Benchmarks by name: the preset whose training step is timed, and what is changed."""

TABLE = ("mnist", "cifar10", *RACES)
DEFAULT = ("cifar10", "cifar10-small", "mnist", "mnist-tiny")


@click.command()
@click.argument(
    "works",
    metavar="[WORK]...",
    nargs=-1,
    shell_complete=completion("config", "presets", *RACES, "table"),
)
@click.option(
    "--against",
    type=click.Choice(["torch", "none"]),
    help="Library to compare with, in turn [default: torch, if installed].",
)
@click.option("--turns", type=click.IntRange(1), default=7, help="Number of timings.")
@click.option("--steps", type=click.IntRange(1), default=5, help="Training steps in each turn.")
@click.option("--threads", type=click.IntRange(1), help="Threads per library [default: all cores].")
@settings_option
def bench(
    works: tuple[str, ...],
    against: str | None,
    turns: int,
    steps: int,
    threads: int | None,
    settings: tuple[str, ...],
) -> None:
    """Time training steps, also in PyTorch.

    A WORK is a preset, to time its training step, or one of: resnet (Table 4 with one update of
    D) or wgan-gp. The default is the presets cifar10, cifar10-small, mnist and mnist-tiny; `table`
    stands for mnist, cifar10, resnet and wgan-gp.

    Each library runs in its own process. The processes take turns, so that a busy machine slows
    both, and the ratio is computed turn by turn. Compilation and the first runs do not count. The
    images are noise of the preset's size. PyTorch takes part only if it can train the same model.

    \b
    Examples:
        minisn bench
        minisn bench mnist --turns 20
        minisn bench mnist --set width=32
        minisn bench table --turns 15 --steps 1
    """
    from ..bench import Contestant, compare, missing
    from ..config import load_preset, parse_settings
    from ..errors import ConfigError
    from ..machine import check_memory

    asked, races = parse_settings(list(settings)), []
    for name in [x for work in works or DEFAULT for x in (TABLE if work == "table" else [work])]:
        preset, changes = RACES.get(name, (name, {}))
        config = load_preset(preset).replace(**changes | asked)
        check_memory(config)
        races.append((name, config))
    reason = "" if against == "none" else missing("torch")
    if reason and against:
        raise ConfigError(f"bench: {reason}")
    if reason:
        click.echo(reason)
    click.echo(f"{'':46}{'ratio: median (range)':22}{'minisn':>10}{'torch':>10}   ({turns} turns)")
    for name, config in races:
        alone = reason or against == "none" or not _in_torch(config)
        libraries = ("minisn",) if alone else ("minisn", "torch")
        contestants = [Contestant(x, x, config, threads=threads or 0) for x in libraries]
        timings = compare(contestants, turns, steps)
        sizes = f"{name}: width {config.width}, batch {config.batch_size}, n_dis {config.n_dis}"
        _times(sizes, timings)
        _memory(timings)


def _in_torch(config: Config) -> bool:
    """Return whether the PyTorch benchmark can train the same model."""
    from ..config import LATER

    plain = LATER | {"conditional": "none", "scale": 1.0, "gain": False, "decay_after": 0}
    del plain["init_g"]  # initial weights do not change the time
    return (
        all(getattr(config, name) == value for name, value in plain.items())
        and config.regularizer in ("none", "sn")
        and config.objective != "standard"
    )


def _times(what: str, timings: Sequence[Timing]) -> None:
    first, *others = timings
    told = f"({_seconds(min(first.seconds))} - {_seconds(max(first.seconds))})"
    for other in others:
        ratios = first.over(other)
        told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
    _row(what, told, [_seconds(timing.median) for timing in timings])


def _memory(timings: Sequence[Timing]) -> None:
    peaks = [timing.peak_mb for timing in timings]
    if not any(map(math.isnan, peaks)):  # NaN: unknown on this system
        told = f"{peaks[0] / peaks[-1]:.2f}" if len(peaks) > 1 else ""
        _row("  peak memory", told, [f"{peak:.0f} MB" for peak in peaks])


def _row(what: str, told: str, values: Sequence[str]) -> None:
    click.echo(f"{what:46}{told:22}" + "".join(f"{value:>10}" for value in values))


def _seconds(s: float) -> str:
    return f"{s:.3f} s" if s >= 1 else f"{1e3 * s:.4g} ms"
