"""The two versions of a tutorial, and what happens when they are run."""

import ast
import inspect
import json

import pytest
from click.testing import CliRunner

from minisn.cli import main
from minisn.coursework import EXERCISES, Verdict, check, exercises, judging
from minisn.coursework.tutorials import TUTORIALS, names_of

nbformat = pytest.importorskip("nbformat", reason="notebooks are read and written with nbformat")


def minisn(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="minisn")
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    said = minisn("coursework", "build", "--out", folder).stdout
    assert sorted(said.splitlines()) == sorted(map(str, folder.glob("*/*.ipynb")))
    return folder


def cells(path, role):
    return [
        cell for cell in nbformat.read(path, 4).cells if cell.metadata.get("nbgrader", {}).get(role)
    ]


def test_the_command_lists_the_exercises():
    lines = minisn("coursework", "list").stdout.splitlines()
    assert [line.split("(")[0].split()[1] for line in lines] == exercises()
    assert any(
        line.startswith("05  power_iteration(W, u) ") and line.endswith("(18), (19)]")
        for line in lines
    )


def test_each_exercise_is_in_its_tutorial_with_the_nbgrader_marks(built):
    found = {}
    for path in (built / "solution").glob("*.ipynb"):
        ids = []
        for solution, grade in zip(cells(path, "solution"), cells(path, "grade"), strict=True):
            name = solution.metadata.nbgrader.grade_id
            ids += [name, grade.metadata.nbgrader.grade_id]
            assert grade.metadata.nbgrader == {
                "cell_type": "code",
                "grade": True,
                "grade_id": f"{name}-check",
                "locked": True,
                "points": 1,
                "schema_version": 3,
                "solution": False,
                "task": False,
            }
            assert not solution.metadata.nbgrader.locked and not solution.metadata.nbgrader.grade
            assert solution.metadata.tags == ["hide-input"]
            assert f'check("{name}", {name})' in grade.source
            assert f"def {name}({', '.join(EXERCISES[name].takes)}):" in solution.source
            found[name] = path.stem[:2]
        assert len(ids) == len(set(ids))
    assert found == {name: EXERCISES[name].tutorial for name in EXERCISES}


def test_students_get_no_solution_no_hidden_test_and_no_output(built):
    for path in (built / "student").glob("*.ipynb"):
        text = path.read_text("utf-8")
        assert "SOLUTION" not in text and "HIDDEN" not in text and "hide-input" not in text
        notebook, solved = nbformat.read(path, 4), nbformat.read(built / "solution" / path.name, 4)
        nbformat.validate(notebook)
        assert not any(
            cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells
        )
        for cell, other in zip(notebook.cells, solved.cells, strict=True):
            if "nbgrader" not in cell.metadata:
                assert cell.source == other.source
        marked = ["nbgrader" in cell.metadata for cell in notebook.cells]
        after = notebook.cells[marked.index(True) :]
        assert all("nbgrader" in c.metadata for c in after if c.cell_type == "code")
        for cell in cells(path, "solution"):
            assert cell.source.endswith("    # YOUR CODE HERE\n    raise NotImplementedError()")
        for cell in cells(path, "grade"):
            assert cell.source.endswith("\ndisplay(verdict)")


def test_the_solved_version_is_the_tutorial_itself(built):
    for path in (built / "solution").glob("*.ipynb"):
        assert json.loads(path.read_text("utf-8")) == json.loads(
            (TUTORIALS / path.name).read_text("utf-8")
        )


def played(path):
    """Run the exercise cells of a notebook, after the imports of its first cell."""
    shown = []
    names = {"display": shown.append}
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    first = ast.parse(code[0].source)
    first.body = [node for node in first.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(first, "imports", "exec"), names)
    for cell in code:
        if "nbgrader" in cell.metadata:
            exec(compile(cell.source, path.name, "exec"), names)
    return shown


@pytest.mark.parametrize("stem", [path.stem for path in sorted(TUTORIALS.glob("*.ipynb"))])
def test_students_see_not_done_yet_and_solutions_pass(built, stem):
    if not (built / "student" / f"{stem}.ipynb").exists():
        assert stem[:2] not in {e.tutorial for e in EXERCISES.values()}
        return
    for version, status in (("student", "not done yet"), ("solution", "passed")):
        shown = played(built / version / f"{stem}.ipynb")
        assert shown and all(isinstance(verdict, Verdict) for verdict in shown)
        assert [verdict.status for verdict in shown] == [status] * len(shown)


def outside_of_exercises(path):
    """The code cells of a tutorial that are no exercise's."""
    return [
        cell.source
        for cell in nbformat.read(path, 4).cells
        if cell.cell_type == "code" and "nbgrader" not in cell.metadata
    ]


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_tutorial_defines_the_name_of_an_exercise(path):
    for source in outside_of_exercises(path):
        assert not names_of(source) & set(EXERCISES), source


def test_names_of_a_cell():
    cell = """
import a.b, c as d
from e import f as g
h, (i, *j) = 1, (2, 3)
for k in range(3):
    with open(l) as m:
        n: int = 1
def o(p):
    q = p
class R:
    s = 1
print([t for t in range(3)], (u := 1), lambda v: v)
"""
    assert names_of(cell) == set("adghijkmnoRu")


def functions(number):
    """Each function that a tutorial defines at the top of a cell, with the imports beside it."""
    (path,) = TUTORIALS.glob(f"{number}-*.ipynb")
    names = {}
    for source in outside_of_exercises(path):
        module = ast.parse(source)
        module.body = [
            node
            for node in module.body
            if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)
        ]
        exec(compile(module, path.name, "exec"), names)
    return [f for f in names.values() if inspect.isfunction(f) and f.__globals__ is names]


@pytest.mark.parametrize("name", exercises())
def test_a_function_of_the_tutorial_is_no_answer(name, monkeypatch):
    found = functions(EXERCISES[name].tutorial)
    assert [check(name, f).status for f in found] == ["not done yet"] * len(found)
    monkeypatch.setattr(judging, "is_of_tutorial", lambda number, function: False)
    for f in found:  # nor is any of them right
        assert check(name, f).status != "passed", f


def test_the_tutorials_that_have_functions_are_seen():
    assert sum(len(functions(number)) for number in {e.tutorial for e in EXERCISES.values()}) > 10


def test_a_name_that_is_taken_is_refused(tmp_path):
    notebook = nbformat.read(TUTORIALS / "02-convolution.ipynb", 4)
    notebook.cells.insert(3, nbformat.v4.new_code_cell("def convolve(x, w, s, a):\n    return x"))
    nbformat.write(notebook, tmp_path / "02-mine.ipynb")
    done = minisn("coursework", "build", "--out", tmp_path, "--tutorials", tmp_path, code=1)
    assert "02-mine.ipynb: a cell defines 'convolve', the name of an exercise" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_for_otter_the_marks_are_gone_and_tests_are_beside(tmp_path):
    minisn("coursework", "build", "--out", tmp_path, "--format", "otter")
    assert {path.stem for path in tmp_path.glob("tests/*/*.py")} == set(EXERCISES)
    for path in tmp_path.glob("*/*.ipynb"):
        assert "nbgrader" not in path.read_text("utf-8") and "###" not in "\n".join(
            cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"
        )
    assert "raise NotImplementedError()" in (tmp_path / "student/07-objectives.ipynb").read_text()
    assert "np.maximum" in (tmp_path / "solution/07-objectives.ipynb").read_text()


def test_without_tutorials_there_is_one_line(tmp_path):
    done = minisn("coursework", "build", "--out", tmp_path, "--tutorials", tmp_path / "no", code=1)
    assert "no notebook with exercises; give the tutorials folder of a checkout" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_damaged_notebook_is_named(tmp_path):
    for text in ("{", "{}"):
        (tmp_path / "05-half.ipynb").write_text(text)
        done = minisn("coursework", "build", "--out", tmp_path, "--tutorials", tmp_path, code=1)
        assert "05-half.ipynb: not a notebook" in done.stderr
