"""``minisn bench``: seconds of training steps and their parts, beside other libraries'."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..bench import Timing
    from ..config import Config

WGAN_GP = {"regularizer": "none", "objective": "wasserstein", "gradient_penalty": 10.0}


class Race(NamedTuple):
    """What is timed under a name: a work of some preset, with changes."""

    work: str
    preset: str
    changes: dict[str, Any]


RACES = {
    "mnist-32": Race("step", "mnist", {"width": 32}),
    "resnet": Race("step", "cifar10-resnet", {"n_dis": 1}),
    "wgan-gp": Race("step", "cifar10", WGAN_GP),
    "conv": Race("conv", "cifar10", {}),
    "power": Race("power", "cifar10", {}),
    "adam": Race("adam", "cifar10", {}),
}

TABLE = {
    "mnist": ("torch", "torch-channels-last", "torch-compile"),
    "cifar10": ("torch", "torch-channels-last", "torch-compile"),
    "resnet": ("torch",),
    "wgan-gp": ("torch",),
    "conv": ("torch", "torch-channels-last", "dezero", "autograd"),
    "power": ("torch",),
    "adam": ("torch", "torch-fused"),
}
"""What ``minisn bench table`` times, and against what."""

DEFAULT = ("cifar10", "cifar10-small", "mnist", "mnist-tiny", "mnist-32")
AGAINST = (
    "torch",
    "torch-channels-last",
    "torch-compile",
    "torch-fused",
    "dezero",
    "autograd",
    "none",
)


def complete_work(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Name what can be timed and begins so."""
    return [name for name in _known() if name.startswith(incomplete)]


@click.command()
@click.argument("works", metavar="[WORK]...", nargs=-1, shell_complete=complete_work)
@click.option(
    "--against",
    type=click.Choice(AGAINST),
    multiple=True,
    help="Time the same there, too, in turn [default: torch].",
)
@click.option(
    "--turns", type=click.IntRange(1), default=7, show_default=True, help="How often each is timed."
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Training steps in each turn.",
)
@click.option("--threads", type=click.IntRange(1), help="Of every library [default: all cores].")
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Change a setting of what is timed.",
)
def bench(
    works: tuple[str, ...],
    against: tuple[str, ...],
    turns: int,
    steps: int,
    threads: int | None,
    settings: tuple[str, ...],
) -> None:
    """Time training steps and their parts, beside PyTorch's.

    A WORK is a preset, whose training step is timed, or one of: mnist-32, resnet (Table 4 with
    one update of D), wgan-gp; conv (each convolution of Table 3), power (a round of power
    iteration over D), adam. By default the presets of Table 3 up to 32 pixels and mnist-32;
    `table` is all that are compared.

    Each contestant has a process of its own; they take turns, so that a busy machine slows both,
    and the ratio is taken turn by turn. Compiling and the first runs are not counted. Images are
    noise of the size that a preset names.

    \b
    Examples:
        minisn bench
        minisn bench mnist --turns 20
        minisn bench conv --against dezero
        minisn bench table --turns 15 --steps 1
    """
    from ..config import parse_settings

    options = Options(against, turns, steps, threads or 0, parse_settings(list(settings)))
    click.echo(
        f"{'':44}{'against':20}{'ratio: median (range)':22}{'minisn':>10}{'other':>10}"
        f"   ({turns} turns)"
    )
    for work, library in _plan(works or DEFAULT, against):
        _run(work, library, options)


def _known() -> list[str]:
    from ..config import presets

    return [*presets(), *RACES, "table"]


def _plan(works: Sequence[str], against: Sequence[str]) -> list[tuple[str, str]]:
    """List what is timed, each with one other library."""
    plan: list[tuple[str, str]] = []
    for work in works:
        if work == "table":
            plan += [
                (name, library)
                for name, libraries in TABLE.items()
                for library in libraries
                if not against or library in against
            ]
        else:
            plan += [(work, library) for library in against or ("torch",)]
    return list(dict.fromkeys(plan))


@dataclass(frozen=True)
class Options:
    """What was given on the command line, and what follows from it."""

    against: tuple[str, ...]
    turns: int
    steps: int
    threads: int
    settings: dict[str, Any]

    def config(self, name: str, **changes: Any) -> Config:
        """Return what a preset or a race trains, with the settings asked for."""
        from ..config import load_preset

        race = RACES.get(name, Race("step", name, {}))
        return load_preset(race.preset).replace(**race.changes | self.settings | changes)


def _in_torch(config: Config) -> bool:
    """Whether PyTorch's side has this model."""
    return (
        config.conditional == "none"
        and config.regularizer in ("none", "sn")
        and not (config.gain or config.features or config.decay_after)
        and config.scale == 1
        and config.objective != "standard"
    )


def _run(name: str, library: str, options: Options) -> None:
    """Time one thing, beside another library where that can do it, and print rows."""
    from ..bench import Contestant, missing, race
    from ..errors import ConfigError

    config, work = options.config(name), RACES[name].work if name in RACES else "step"
    reason = "" if library == "none" else missing(library)
    if reason and options.against:
        raise ConfigError(f"bench: {reason}")
    if reason:
        click.echo(f"{name}: {reason}")
    alone = reason or library == "none" or not _in_torch(config)
    libraries = ["minisn"] if alone else ["minisn", library]
    contestants = [Contestant(x, x, config, work, options.threads) for x in libraries]
    try:
        found = race(contestants, options.turns, options.steps)
    except ConfigError as error:
        if options.against or alone:
            raise
        return click.echo(f"{name}: {error}")
    if work == "step":
        name += f": width {config.width}, batch {config.batch_size}, n_dis {config.n_dis}"
    for job, timings in found.items():
        _row(job or name, timings)
    if work == "step":
        _memory(timings)
    if work == "conv" and not alone:
        worst = max(found, key=lambda job: statistics.median(found[job][0].over(found[job][1])))
        click.echo(f"  worst: {worst}")
    return None


def _row(what: str, timings: Sequence[Timing]) -> None:
    first, *others = timings
    if not others:
        least, most = (_seconds(s) for s in (min(first.seconds), max(first.seconds)))
        click.echo(f"{what:44}{'':20}{f'({least} - {most})':22}{_seconds(first.median):>10}")
    for other in others:
        seconds = "".join(f"{_seconds(each.median):>10}" for each in (first, other))
        click.echo(f"{what:44}{other.name:20}{_spread(first.over(other)):22}{seconds}")


def _memory(timings: Sequence[Timing]) -> None:
    peaks = [timing.peak_mb for timing in timings]
    other = timings[-1].name if len(peaks) == 2 else ""
    ratio = f"{peaks[0] / peaks[1]:.2f}" if len(peaks) == 2 else ""
    click.echo(
        f"{'  peak memory':44}{other:20}{ratio:22}"
        + "".join(f"{f'{peak:.0f} MB':>10}" for peak in peaks)
    )


def _seconds(s: float) -> str:
    return f"{s:.3f} s" if s >= 1 else f"{1e3 * s:.4g} ms"


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
