"""Building a student version and a solved version of each tutorial from one notebook.

The exercise cells of a tutorial carry nbgrader's marks: cell metadata ``nbgrader``,
``### BEGIN SOLUTION`` and ``### BEGIN HIDDEN TESTS``. The solved version keeps the marks, so it can
be nbgrader's source. The student version is the version that nbgrader would release.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from ..files import StrPath
from .tutorials import TUTORIALS, names_of

_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
_REGION = r"^( *)### BEGIN {0}\n(?:.*\n)*?^ *### END {0}$"
_SOLUTION = re.compile(_REGION.format("SOLUTION"), re.MULTILINE)
_HIDDEN = re.compile(r"\n?" + _REGION.format("HIDDEN TESTS"), re.MULTILINE)
_MARKS = re.compile(r"^ *### (BEGIN|END) (SOLUTION|HIDDEN TESTS)\n?", re.MULTILINE)
_CHECKED = re.compile(r'check\("(\w+)", (\w+)\)')

_OTTER_TEST = '''\
"""Otter-Grader's test of the exercise {name}."""

from otter.test_files import test_case

OK_FORMAT = False
name = "{name}"
points = {points}


@test_case()
def test_{name}({function}):
    from minisn.coursework import check

    verdict = check("{name}", {function})
    assert verdict, str(verdict)
'''


def build(folder: StrPath, tutorials: StrPath = TUTORIALS, form: str = "nbgrader") -> list[Path]:
    """Write ``student/`` and ``solution/`` notebooks of every tutorial with exercises.

    Args:
        folder: folder for the notebooks; files of the same names are replaced.
        tutorials: folder of the notebooks with solutions.
        form: ``"nbgrader"``, or ``"otter"`` for notebooks without marks, and a folder
            ``tests/TUTORIAL`` for each, in the form of Otter-Grader.
    Returns:
        The paths of the files.
    Raises:
        ConfigError: nbformat is not installed.
        DataError: the folder is missing or has no exercises, a notebook is damaged, or a notebook
            defines the name of an exercise elsewhere, so that an empty answer might pass.
    """
    folder = Path(folder)
    tutorials = Path(tutorials)
    try:
        import nbformat
    except ImportError:
        raise ConfigError(
            "building notebooks needs nbformat, which is not installed; "
            "run: pip install 'minisn[coursework]'"
        ) from None
    written = []
    for path in sorted(tutorials.glob("*.ipynb")):
        try:
            notebook = nbformat.read(path, 4)
        except (ValueError, nbformat.ValidationError):
            raise DataError(f"{path}: not a notebook; get it from the repository again") from None
        if not any(_role(cell) for cell in notebook.cells):
            continue
        _refuse_taken_names(path, notebook)
        files = dict(_otter_tests(path.stem, notebook)) if form == "otter" else {}
        for version, cells in (("student", student(notebook)), ("solution", notebook)):
            cells = _unmarked(cells) if form == "otter" else cells
            files[f"{version}/{path.name}"] = nbformat.writes(cells) + "\n"
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
            written.append(folder / name)
    if not written:
        raise DataError(
            f"{tutorials}: no notebook with exercises; give the tutorials folder of a checkout "
            "with --tutorials (an installed package has none)"
        )
    return written


def _refuse_taken_names(path: Path, notebook: Any) -> None:
    exercises = {name for _, name, _ in _checks(notebook)}
    for cell in notebook.cells:
        if cell.cell_type != "code" or _role(cell):
            continue
        try:
            taken = names_of(cell.source) & exercises
        except SyntaxError:  # a magic, or an error that running the notebook will show
            continue
        if taken:
            name = taken.pop()
            raise DataError(
                f"{path}: a cell defines {name!r}, the name of an exercise, so an empty answer "
                "might pass; rename it in that cell"
            )


def student(notebook: Any) -> Any:
    """Return a copy of a notebook without solutions, hidden tests and outputs."""
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = _HIDDEN.sub("", _SOLUTION.sub(_stub, cell.source))
        if _role(cell) == "solution":
            cell.metadata = type(cell.metadata)({"nbgrader": cell.metadata.nbgrader})
    return made


def _stub(region: re.Match) -> str:
    return "\n".join(region.group(1) + line for line in _STUB.splitlines())


def _role(cell: Any) -> str:
    """Return the role of a cell in nbgrader: "solution", "grade" or nothing."""
    marks = cell.metadata.get("nbgrader", {})
    return next((role for role in ("solution", "grade") if marks.get(role)), "")


def _unmarked(notebook: Any) -> Any:
    """Return a copy of a notebook without nbgrader's marks, but with the text of hidden tests."""
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        cell.metadata.pop("nbgrader", None)
        cell.source = _MARKS.sub("", cell.source).rstrip("\n")
    return made


def _otter_tests(stem: str, notebook: Any) -> list[tuple[str, str]]:
    """Return the name and text of a test file for each check in a notebook."""
    found = []
    for cell, name, function in _checks(notebook):
        points = cell.metadata.nbgrader.points
        text = _OTTER_TEST.format(name=name, function=function, points=points)
        found.append((f"tests/{stem}/{name}.py", text))
    return found


def _checks(notebook: Any) -> Iterator[tuple[Any, str, str]]:
    """Yield every cell with a check, the name of the exercise, and that of the function."""
    for cell in notebook.cells:
        if _role(cell) == "grade" and (call := _CHECKED.search(cell.source)):
            yield cell, *call.groups()
