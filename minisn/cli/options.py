"""Arguments and options of several commands, with their completions."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def complete_preset(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the presets that begin with the given letters."""
    from ..config import presets

    return [name for name in presets() if name.startswith(incomplete)]


def complete_dataset(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the data sets that begin with the given letters."""
    from ..data import list_datasets

    return [entry.name for entry in list_datasets() if entry.name.startswith(incomplete)]


def file_option(*names: str, help: str) -> Callable[..., Any]:
    """Make an option for the path of a file."""
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option(*names, metavar="FILE", type=kind, help=help)


def result_option(*names: str, help: str) -> Callable[..., Any]:
    """Make an option for the path of a file to write; its folder must exist before the work."""

    def check(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
        if path is not None and not path.parent.is_dir():
            from ..errors import ConfigError

            raise ConfigError(
                f"cannot write {path}: there is no folder {path.parent}; make it first"
            )
        return path

    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option(*names, metavar="FILE", type=kind, callback=check, help=help)


def folder_option(*names: str, help: str, required: bool = False) -> Callable[..., Any]:
    """Make an option for the path of a folder."""
    kind = click.Path(path_type=Path, file_okay=False)
    return click.option(*names, metavar="FOLDER", type=kind, required=required, help=help)


preset_argument = click.argument(
    "preset", metavar="[PRESET]", required=False, shell_complete=complete_preset
)
run_argument = click.argument(
    "run", metavar="RUN", type=click.Path(path_type=Path, file_okay=False)
)
dataset_argument = click.argument("name", metavar="NAME", shell_complete=complete_dataset)
settings_option = click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Change a setting; may be repeated.",
)
data_dir_option = folder_option(
    "--data-dir",
    help="Folder of the complete data sets [default: $MINISN_DATA, "
    "else minisn/data in the user's cache].",
)
device_option = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    help="Device to compute on; cuda needs CuPy.",
)


class Minutes(click.FloatRange):
    """A number of minutes above 0; "nan" is refused."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number of minutes."""
        minutes = super().convert(value, param, ctx)
        if math.isnan(minutes):
            self.fail(f"{value!r} is not a number of minutes.", param, ctx)
        return minutes
