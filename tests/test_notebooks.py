"""The tutorials as they are committed: whole, with outputs, in one form. CI executes them."""

import json
import re
from pathlib import Path

import pytest

from minisn.paper import M18, Index, parts_of
from tutorials.site.statements import written

FOLDER = Path(__file__).parent.parent / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
INDEX = Index()
TAUGHT = [path for path in NOTEBOOKS if not path.name.startswith("00")]


def cells(path, kind):
    return [
        (cell, "".join(cell["source"]))
        for cell in json.loads(path.read_text("utf-8"))["cells"]
        if cell["cell_type"] == kind
    ]


def test_there_are_notebooks():
    assert NOTEBOOKS and TAUGHT


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_code_cell_was_run_in_order_and_none_failed(path):
    code = [cell for cell, _ in cells(path, "code")]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert "error" not in kinds
    streams = {o.get("name") for cell in code for o in cell["outputs"]}
    assert "stderr" not in streams  # a warning would be here


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.stem)
def test_every_notebook_opens_and_ends_as_all_do(path):
    prose = [text for _, text in cells(path, "markdown")]
    number = int(path.stem[:2])
    assert re.match(rf"# {number} · .+\n\nAfter this notebook you can\n", prose[0])
    assert re.findall(r"^## (Summary|Exercises|What was simplified)$", "\n".join(prose), re.M) == [
        "Summary",
        "Exercises",
        "What was simplified",
    ]


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.stem)
def test_every_notebook_checks_itself_and_labels_its_pictures(path):
    code = "\n".join(text for _, text in cells(path, "code"))
    assert re.search(r"^\s*(assert |np\.testing\.)", code, re.M)
    pictures = code.count("plt.show()")
    assert pictures and len(re.findall(r"xlabel=|set_title|axis\(\"off\"\)", code)) >= pictures


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_tags_name_parts_that_the_papers_have(path):
    text = "\n".join(text for _, text in cells(path, "markdown"))
    named = {part for paper, part in parts_of(text) if paper == "M18"} - {*M18, "Fig. 8"}
    assert all(re.fullmatch(r"§[1-4](\.\d)?|App\. [A-G](\.\d)?", part) for part in named), named
    assert not re.search(r"(?<!\[)M18 (Eq|Table|Fig|Alg)", text)  # a tag without its bracket


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_the_papers_state_stands_under_the_headings_that_name_it(path):
    text = path.read_text("utf-8")
    assert written(text, INDEX) == text, "run python -m tutorials.site.statements"
    headed = [cell for cell, _ in cells(path, "markdown") if cell["source"][0].startswith("#")]
    first = {key for cell in headed for key in parts_of(cell["source"][0])}
    said = "\n".join(source for _, source in cells(path, "markdown"))
    for paper, part in first & {(entry.paper, entry.part) for entry in INDEX.entries}:
        assert f"> **[{paper} {part}]** " in said
