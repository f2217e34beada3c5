"""``minisn coursework``: the tutorials' exercises, to hand out."""

from pathlib import Path

import click


@click.group()
def coursework() -> None:
    """List the judged exercises, or make notebooks of them.

    \b
    Examples:
        minisn coursework list
        minisn coursework build --out course
    """


@coursework.command("list")
def list_() -> None:
    """List the exercises, each with tutorial and equation.

    \b
    Example:
        minisn coursework list
    """
    from ..coursework import EXERCISES, exercises

    for name in exercises():
        exercise = EXERCISES[name]
        takes = f"{name}({', '.join(exercise.takes)})"
        click.echo(f"{exercise.tutorial}  {takes:58} {exercise.tag}".rstrip())


@coursework.command()
@click.option(
    "--out",
    metavar="FOLDER",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["nbgrader", "otter"]),
    default="nbgrader",
    show_default=True,
    help="Whose marks the notebooks carry.",
)
@click.option(
    "--tutorials",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="The tutorials of a checkout, if not of the one that runs.",
)
def build(out: Path, form: str, tutorials: Path | None) -> None:
    """Write a student's and a solved version of the tutorials.

    \b
    Examples:
        minisn coursework build --out course
        minisn coursework build --out course --format otter
    """
    from ..coursework.build import TUTORIALS
    from ..coursework.build import build as build_versions

    for path in build_versions(out, tutorials or TUTORIALS, form):
        click.echo(path)
