"""``minisn presets``: the settings that ship with the package."""

from importlib import resources

import click

from .options import preset_argument


@click.command()
@preset_argument
def presets(preset: str | None) -> None:
    """List the presets, or print one.

    \b
    Examples:
        minisn presets
        minisn presets mnist > mine.toml    # edit it, then: minisn train --config mine.toml
    """
    from ..config import load_preset
    from ..config import presets as names

    if preset:
        load_preset(preset)
        click.echo(_text(preset), nl=False)
        return
    for name in names():
        about = _text(name).partition("\n")[0].removeprefix("# ")
        click.echo(f"{name:20}{about}")


def _text(name: str) -> str:
    return (resources.files("minisn") / "presets" / f"{name}.toml").read_text("utf-8")
