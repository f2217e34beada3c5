"""``minisn bench``: seconds of training steps and their parts, beside other libraries'."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..bench import Contestant, Timing
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
BATCHES, N_DIS, WIDTHS = (32, 64, 128, 256, 512), (1, 2, 3, 5), (8, 16, 32, 64)
STARTS = 3


def complete_work(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Name what can be timed and begins so."""
    return [name for name in _known() if name.startswith(incomplete)]


@click.command()
@click.argument("works", metavar="[WORK]...", nargs=-1, shell_complete=complete_work)
@click.option("--against", type=click.Choice(AGAINST), multiple=True,
              help="Time the same there, too, in turn [default: torch].")  # fmt: skip
@click.option("--turns", type=click.IntRange(1), default=7, show_default=True,
              help="How often each is timed.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True,
              help="Training steps in each turn.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Of every library [default: all cores].")
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True,
              help="Change a setting of what is timed.")  # fmt: skip
def bench(
    works: tuple[str, ...], against: tuple[str, ...], turns: int, steps: int, threads: int | None,
    settings: tuple[str, ...],
) -> None:  # fmt: skip
    """Time training steps and their parts, beside PyTorch's.

    A WORK is a preset, whose training step is timed, or one of: mnist-32, resnet (Table 4 with
    one update of D), wgan-gp; conv (each convolution of Table 3), power (a round of power
    iteration over D), adam; or a question: rate (share of the speed of a matrix product), batch,
    n-dis, sigma (its share of a step), threads, start (of `minisn train`). By default the presets
    of Table 3 up to 32 pixels and mnist-32; `table` and `all` are all that are compared, and all.

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
    click.echo(f"{'':44}{'against':20}{'ratio: median (range)':22}{'minisn':>10}{'other':>10}"
               f"   ({turns} turns)")  # fmt: skip
    for work, library in _plan(works or DEFAULT, against):
        if work in QUESTIONS:
            QUESTIONS[work](options)
        else:
            _run(work, library, options)


def _known() -> list[str]:
    from ..config import presets

    return [*presets(), *RACES, *QUESTIONS, "table", "all"]


def _plan(works: Sequence[str], against: Sequence[str]) -> list[tuple[str, str]]:
    """List what is timed, each with one other library."""
    plan: list[tuple[str, str]] = []
    for work in works:
        if work in ("table", "all"):
            plan += [(name, library) for name, libraries in TABLE.items() for library in libraries
                     if not against or library in against]  # fmt: skip
            plan += [(name, "") for name in QUESTIONS if work == "all"]
        else:
            plan += [(work, library) for library in against or ("torch",)]
    return list(dict.fromkeys((w, "" if w in QUESTIONS else library) for w, library in plan))


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

    def torch(self) -> list[str]:
        """Name PyTorch, if it is here and wanted."""
        from ..bench import missing

        wanted = not self.against or "torch" in self.against
        return ["torch"] if wanted and not missing("torch") else []

    def compare(self, contestants: Sequence[Contestant]) -> list[Timing]:
        """Time them in turn."""
        from ..bench import compare

        return compare(contestants, self.turns, self.steps)


def _in_torch(config: Config) -> bool:
    """Whether PyTorch's side has this model."""
    return (config.conditional == "none" and config.regularizer in ("none", "sn")
            and not (config.gain or config.features or config.decay_after)
            and config.scale == 1 and config.objective != "standard")  # fmt: skip


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


def _row(what: str, timings: Sequence[Timing], scale: float = 1.0) -> None:
    """Print one row; ``scale`` makes other seconds of those of a run."""
    first, *others = timings
    if not others:
        least, most = (_seconds(scale * s) for s in (min(first.seconds), max(first.seconds)))
        click.echo(
            f"{what:44}{'':20}{f'({least} - {most})':22}{_seconds(scale * first.median):>10}"
        )
    for other in others:
        seconds = "".join(f"{_seconds(scale * each.median):>10}" for each in (first, other))
        click.echo(f"{what:44}{other.name:20}{_spread(first.over(other)):22}{seconds}")


def _memory(timings: Sequence[Timing]) -> None:
    peaks = [timing.peak_mb for timing in timings]
    other = timings[-1].name if len(peaks) == 2 else ""
    ratio = f"{peaks[0] / peaks[1]:.2f}" if len(peaks) == 2 else ""
    click.echo(f"{'  peak memory':44}{other:20}{ratio:22}"
               + "".join(f"{f'{peak:.0f} MB':>10}" for peak in peaks))  # fmt: skip


def _seconds(s: float) -> str:
    return f"{s:.3f} s" if s >= 1 else f"{1e3 * s:.4g} ms"


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"


# -- questions -----------------------------------------------------------------------------------


def _rate(options: Options) -> None:
    """What share of the machine's speed in a matrix product a step of Table 3 reaches."""
    from ..bench import Contestant
    from ..bench_jobs import SIDE, multiply_adds

    config = options.config("cifar10")
    libraries, threads = ["minisn", *options.torch()], options.threads
    products = ["numpy", *options.torch()]
    timings = options.compare([
        *(Contestant(x, x, config, threads=threads) for x in libraries),
        *(Contestant(x, x, config, "product", threads) for x in products),
    ])  # fmt: skip
    product = min(timings[len(libraries) :], key=lambda timing: timing.median)
    count = multiply_adds(config)
    click.echo(f"cifar10 step: {count / 1e9:.3g} billion multiply-adds; a product of matrices "
               f"{SIDE} x {SIDE}: {2e-9 * SIDE**3 / product.median:.0f} GFLOP/s "
               f"({product.name})")  # fmt: skip
    for timing in timings[: len(libraries)]:
        shares = [count / SIDE**3 * ratio for ratio in product.over(timing)]
        click.echo(f"  {timing.name}: {2e-9 * count / timing.median:.0f} GFLOP/s, of the product's "
                   f"{_spread(shares)}")  # fmt: skip


def _batch(options: Options) -> None:
    """Seconds for each image, by the size of the batch."""
    from ..bench import Contestant

    for n in BATCHES:
        config = options.config("cifar10", batch_size=n)
        timings = options.compare([Contestant(x, x, config, threads=options.threads)
                                   for x in ("minisn", *options.torch())])  # fmt: skip
        _row(f"cifar10 step with batch {n}, per image", timings, 1 / n)


def _n_dis(options: Options) -> None:
    """Seconds for each step, by updates of D, and how far from a straight line."""
    import numpy as np

    from ..bench import Contestant

    timings = options.compare([
        Contestant(str(n), "minisn", options.config("cifar10", n_dis=n), threads=options.threads)
        for n in N_DIS
    ])  # fmt: skip
    for timing in timings:
        _row(f"cifar10 step with n_dis {timing.name}", [timing])
    seconds = np.array([timing.median for timing in timings])
    slope, rest = np.polyfit(N_DIS, seconds, 1)
    off = np.max(np.abs(rest + slope * np.array(N_DIS) - seconds) / seconds)
    click.echo(f"  {_seconds(rest)} + {_seconds(slope)} n_dis, off by at most {off:.1%}")


def _sigma(options: Options) -> None:
    """What share of a step goes into the norm of each weight, its gradient and the division."""
    from ..bench import Contestant

    for width in WIDTHS:
        config = options.config("cifar10", width=width)
        step, sigma = options.compare([
            Contestant(work, "minisn", config, work, options.threads) for work in ("step", "sigma")
        ])  # fmt: skip
        click.echo(f"{f'normalization in a step at width {width}':44}{'':20}"
                   f"{_spread(sigma.over(step)):22}{_seconds(sigma.median):>10} of "
                   f"{_seconds(step.median)}")  # fmt: skip


def _threads(options: Options) -> None:
    """How much faster a step is with all threads than with one."""
    from .. import kernels
    from ..bench import Contestant

    config, many = options.config("cifar10"), options.threads or kernels.threads()
    for library in ("minisn", *options.torch()):
        one, more = options.compare([
            Contestant(f"{n} threads", library, config, threads=n) for n in (1, many)
        ])  # fmt: skip
        _row(f"cifar10 step of {library}, 1 thread", [one, more])


def _start(options: Options) -> None:
    """How long `minisn train` takes to its first step, compiling or not."""
    from ..bench import first_steps

    first, again = map(statistics.median, first_steps("mnist", min(options.turns, STARTS)))
    click.echo(f"minisn train mnist, from the command to its first step: {_seconds(first)} the "
               f"first time, {_seconds(again)} later; "
               f"compiling: {_seconds(first - again)}")  # fmt: skip


QUESTIONS: dict[str, Callable[[Options], None]] = {
    "rate": _rate,
    "batch": _batch,
    "n-dis": _n_dis,
    "sigma": _sigma,
    "threads": _threads,
    "start": _start,
}
