"""Arguments and options of several commands, with their completions."""

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click


def completion(module: str, name: str, *more: str) -> Callable[..., list[str]]:
    """Return a completion by the names in a module of minisn, which is imported when asked.

    Args:
        module: the module, within minisn.
        name: what it has: a collection of names, or a function that returns one.
        more: further names.
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        found = getattr(import_module(f"minisn.{module}"), name)
        names = (*(found() if callable(found) else found), *more)
        return [known for known in names if known.startswith(incomplete)]

    return complete


complete_dataset = completion("data.catalog", "CATALOG")


class NamedPath(click.Path):
    """A path that is not empty: as a path, an empty name would be the working directory."""

    def __init__(self, **settings: bool) -> None:
        super().__init__(path_type=Path, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a path."""
        if value == "":
            from ..errors import ConfigError

            option = param.get_error_hint(ctx) if param and ctx else "a path"
            raise ConfigError(f"{option} is empty; expected a name, or . for the working directory")
        return super().convert(value, param, ctx)


def refuse_data_dir(data_dir: Path | None, data: str, run: Path | None = None) -> None:
    """Refuse --data-dir where the images do not come from that folder."""
    from ..data.catalog import CATALOG
    from ..errors import ConfigError
    from ..training_set import IMAGES

    why = ""
    if run is not None and (run / IMAGES).exists():
        why = f"{run} keeps its own images"
    elif data in CATALOG:
        why = "" if CATALOG[data].downloads else f"{data} ships with minisn"
    elif Path(data).is_dir():
        why = f"{data} is a folder of images"
    if why and data_dir is not None:
        raise ConfigError(f"--data-dir has no effect, as {why}; omit it")


def file_option(*names: str, help: str) -> Callable[..., Any]:
    """Make an option for the path of a file."""
    kind = NamedPath(dir_okay=False)
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

    kind = NamedPath(dir_okay=False)
    return click.option(*names, metavar="FILE", type=kind, callback=check, help=help)


def folder_option(*names: str, help: str, required: bool = False) -> Callable[..., Any]:
    """Make an option for the path of a folder."""
    kind = NamedPath(file_okay=False)
    return click.option(*names, metavar="FOLDER", type=kind, required=required, help=help)


preset_argument = click.argument(
    "preset", metavar="[PRESET]", required=False, shell_complete=completion("config", "presets")
)
run_argument = click.argument("run", metavar="RUN", type=NamedPath(file_okay=False))
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
