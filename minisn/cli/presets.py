"""``minisn presets``: list and print the presets."""

import click

from .options import preset_argument


@click.command()
@preset_argument
def presets(preset: str | None) -> None:
    """List the presets, or print all settings of PRESET.

    \b
    Examples:
        minisn presets
        minisn presets mnist > mine.toml    # edit the file, then: minisn train --config mine.toml
    """
    from ..config import preset_text
    from ..config import presets as names

    if preset is not None:
        click.echo(preset_text(preset), nl=False)
        return
    for name in names():
        about = preset_text(name).partition("\n")[0].removeprefix("# ")
        click.echo(f"{name:20}{about}")
