"""``minisn bench``: seconds per training step, beside PyTorch's."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import click

from .options import complete_preset

if TYPE_CHECKING:
    from ..bench import Timing
    from ..config import Config


@click.command()
@click.argument("presets", metavar="[PRESET]...", nargs=-1, shell_complete=complete_preset)
@click.option("--against", type=click.Choice(["torch", "none"]), default="torch",
              show_default=True, help="Time the same step in PyTorch, too, in turn.")  # fmt: skip
@click.option("--turns", type=click.IntRange(2), default=7, show_default=True,
              help="How often each is timed.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True,
              help="Training steps in each turn.")  # fmt: skip
def bench(presets: tuple[str, ...], against: str, turns: int, steps: int) -> None:
    """Time training steps, beside PyTorch's.

    Timed are the presets of Table 3 up to 32 pixels and mnist at width 32, or the presets
    named: a step of a ResNet takes many seconds. Each contestant has a process of its own; they
    take turns, so that a busy machine slows both, and the ratio is taken turn by turn. Compiling
    and the first steps are not counted. Images are noise of the size that a preset names;
    PyTorch takes part where the model is Table 3's with SN.

    \b
    Examples:
        minisn bench
        minisn bench mnist --turns 20
        minisn bench cifar10 --against none
    """
    from importlib.util import find_spec

    from ..bench import Contestant, compare

    rows, both = _configs(presets), against == "torch" and find_spec("torch") is not None
    if against == "torch" and not both:
        click.echo("PyTorch is not installed, so minisn is timed alone (pip install torch).")
    click.echo(f"Seconds per training step, {turns} turns of {steps} steps: median (least - most)")
    for name, config in rows.items():
        click.echo(f"\n{name}: width {config.width}, {config.size}x{config.size}, "
                   f"batch {config.batch_size}, n_dis {config.n_dis}")  # fmt: skip
        libraries = ["minisn", "torch"] if both and _in_torch(config) else ["minisn"]
        _show(compare([Contestant(x, x, config) for x in libraries], turns, steps))


def _configs(names: tuple[str, ...]) -> dict[str, Config]:
    """Find what is timed."""
    from ..config import load_preset, presets

    rows = {name: load_preset(name) for name in names or presets()}
    if not names:
        rows = {name: c for name, c in rows.items() if _in_torch(c) and c.size <= 32}
        rows["mnist at width 32"] = load_preset("mnist").replace(width=32, batch_size=64)
    return rows


def _in_torch(config: Config) -> bool:
    """Whether the yardstick in PyTorch has this model."""
    return (config.model, config.conditional, config.regularizer) == ("cnn", "none", "sn")


def _show(timings: list[Timing]) -> None:
    for timing in timings:
        click.echo(f"  {timing.name:8}{timing.median:8.4f} s  "
                   f"({min(timing.seconds):.4f} - {max(timing.seconds):.4f})"
                   f"   peak memory {timing.peak_mb:5.0f} MB")  # fmt: skip
    if len(timings) == 2:
        ours, theirs = timings
        ratios = [a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
        click.echo(f"  ratio   {statistics.median(ratios):8.2f}    "
                   f"({min(ratios):.2f} - {max(ratios):.2f})"
                   f"       below 1: {ours.name} is faster")  # fmt: skip
