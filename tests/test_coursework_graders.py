"""nbgrader and Otter-Grader themselves, on a solved, an unsolved and a wrong notebook."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minisn.coursework.build import TUTORIALS, build

nbformat = pytest.importorskip("nbformat", reason="notebooks are read with nbformat")

STEM = "07-objectives"
SOLVED, UNSOLVED, MISTAKEN = "solved", "unsolved", "mistaken"


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A tutorial cut down to its imports and its exercise, so that it runs in seconds."""
    folder = tmp_path_factory.mktemp("tutorials")
    notebook = nbformat.read(TUTORIALS / f"{STEM}.ipynb", 4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    notebook.cells = [first, *(cell for cell in notebook.cells if "nbgrader" in cell.metadata)]
    nbformat.write(notebook, folder / f"{STEM}.ipynb")
    return folder


def submissions(built, folder):
    """Write what three students hand in, each in a folder of that name."""
    for name, version in ((SOLVED, "solution"), (UNSOLVED, "student"), (MISTAKEN, "student")):
        notebook = nbformat.read(built / version / f"{STEM}.ipynb", 4)
        for cell in notebook.cells:
            if name == MISTAKEN:
                cell.source = cell.source.replace(
                    "raise NotImplementedError()",
                    "return np.maximum(0, 1 + real).mean() + np.maximum(0, 1 - fake).mean(), "
                    "-fake.mean()",
                )
        path = folder / name / f"{STEM}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
        yield name, path


def run(*command, cwd):
    """Run a tool of this Python's environment, as a teacher would."""
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [tool, *map(str, command[1:])],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.needs("nbgrader")
def test_nbgrader_releases_our_student_version_and_grades_it(short, tmp_path):
    course, built = tmp_path / "course", tmp_path / "built"
    build(built, short)
    source = course / "source" / "objectives"
    source.mkdir(parents=True)
    shutil.copy(built / "solution" / f"{STEM}.ipynb", source)
    (course / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.root = '.'\n")
    run("nbgrader", "generate_assignment", "objectives", cwd=course)
    released = nbformat.read(course / "release" / "objectives" / f"{STEM}.ipynb", 4)
    ours = nbformat.read(built / "student" / f"{STEM}.ipynb", 4)
    assert [cell.source for cell in released.cells] == [cell.source for cell in ours.cells]
    for name, path in submissions(built, tmp_path / "handed-in"):
        (course / "submitted" / name / "objectives").mkdir(parents=True)
        shutil.copy(path, course / "submitted" / name / "objectives")
    run("nbgrader", "autograde", "objectives", cwd=course)
    run("nbgrader", "export", "--to", "grades.csv", cwd=course)
    with open(course / "grades.csv") as file:
        grades = {row["student_id"]: row for row in csv.DictReader(file)}
    assert {name: float(row["score"]) for name, row in grades.items()} == {
        SOLVED: 1.0,
        UNSOLVED: 0.0,
        MISTAKEN: 0.0,
    }
    assert {float(row["max_score"]) for row in grades.values()} == {1.0}


@pytest.mark.needs("otter")
def test_otter_grades_our_notebooks(short, tmp_path):
    built = tmp_path / "built"
    build(built, short, "otter")
    tests = built / "tests" / STEM
    run(
        "otter",
        "generate",
        "-t",
        tests,
        "-o",
        tmp_path / "autograder.zip",
        "--no-requirements",
        "--no-environment",
        cwd=tmp_path,
    )
    for name, path in submissions(built, tmp_path / "handed-in"):
        out = tmp_path / "graded" / name
        out.mkdir(parents=True)
        run("otter", "run", "-a", tmp_path / "autograder.zip", "-o", out, path, cwd=tmp_path)
        results = json.loads((out / "results.json").read_text())
        scores = {
            test["name"]: (test.get("score"), test.get("max_score"))
            for test in results["tests"]
            if test.get("max_score")
        }
        assert scores == {"hinge": (float(name == SOLVED), 1.0)}, results
        said = run("otter", "check", path, "-t", tests, cwd=tmp_path)
        assert ("All tests passed!" in said) == (name == SOLVED)
        assert ("not done yet" in said) == (name == UNSOLVED)
        assert ("A sign in the hinge is wrong" in said) == (name == MISTAKEN)
