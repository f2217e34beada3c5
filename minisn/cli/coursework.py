"""``minisn coursework``: list the exercises, and build notebooks to hand out."""

from pathlib import Path

import click

from .options import folder_option


@click.group()
def coursework() -> None:
    """List the exercises, or build notebooks of them.

    \b
    Examples:
        minisn coursework list
        minisn coursework build --out course
    """


@coursework.command("list")
def list_() -> None:
    """List the exercises with their tutorials and equations.

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
@folder_option("--out", required=True, help="Folder for the notebooks.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["nbgrader", "otter"]),
    default="nbgrader",
    help="Grader to build for.",
)
@folder_option("--tutorials", help="Tutorials of another checkout [default: of the running one].")
def build(out: Path, form: str, tutorials: Path | None) -> None:
    """Write student versions and solved versions of the tutorials.

    \b
    Examples:
        minisn coursework build --out course
        minisn coursework build --out course --format otter
    """
    from ..coursework.build import TUTORIALS
    from ..coursework.build import build as build_versions

    for path in build_versions(out, tutorials or TUTORIALS, form):
        click.echo(path)
