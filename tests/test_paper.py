"""The index of the papers: complete, and read from what is there."""

import json
import textwrap

import pytest
from click.testing import CliRunner

from minisn.cli import main
from minisn.paper import M18, Index, parts_of

INDEX = Index()


@pytest.mark.parametrize("part", M18)
def test_every_part_of_the_paper_has_code_tests_and_an_explanation(part):
    (entry,) = (e for e in INDEX.entries if (e.paper, e.part) == ("M18", part))
    assert entry.places, "no docstring names it"
    assert entry.tests, "no test names what computes it"
    assert entry.sections, "no notebook explains it"


def test_every_line_of_lin_has_code_tests_and_an_explanation():
    found = {e.part: e for e in INDEX.entries if e.paper == "L21"}
    assert {"BSN", "SSN", "BSSN", "SN_Conv", "gradient bounds", "variance", "initialization",
            "raw parameter"} <= found.keys()  # fmt: skip
    assert all(entry.places and entry.tests and entry.sections for entry in found.values())


def test_tags_name_one_or_several_parts():
    text = "Source: [M18 Eq. (9), (10)], [M18 Alg. 1]; [L21 SSN, BSSN], [M18 Figure 9]"
    assert list(parts_of(text)) == [
        ("M18", "Eq. (9)"), ("M18", "Eq. (10)"), ("M18", "Alg. 1"), ("L21", "SSN"),
        ("L21", "BSSN"), ("M18", "Fig. 9"),
    ]  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    """A package with two functions, a test file and a notebook."""
    package, tests, tutorials = (tmp_path / name for name in ("lib", "tests", "tutorials"))
    for folder in (package, tests, tutorials):
        folder.mkdir()
    (package / "norms.py").write_text(
        textwrap.dedent('''
        def quotient(W):
            r"""Divide.

            .. math:: W / \\\\sigma

            Source: [M18 Eq. (8)]
            """
            return W


        def untested(W):
            """Another.

            Source: [M18 Eq. (26)]
            """
    ''')
    )
    (tests / "test_norms.py").write_text(
        textwrap.dedent("""
        def helper():
            return quotient(1)

        def test_by_name():
            assert quotient(2)

        def test_through_a_helper():
            assert helper()

        def test_of_something_else():
            assert 1
    """)
    )
    cells = [
        {"cell_type": "markdown", "source": ["# Norms\n", "What they are."]},
        {"cell_type": "code", "source": ["# [M18 Eq. (26)] is only mentioned"]},
        {"cell_type": "markdown", "source": ["All.\n", "## Division\n", "See [M18 Eq. (8)]."]},
    ]
    (tutorials / "05.ipynb").write_text(json.dumps({"cells": cells}))
    return Index(package)


def entry(index, part):
    return next(e for e in index.entries if e.part == part)


def test_places_tests_and_sections_are_found(checkout):
    found = entry(checkout, "Eq. (8)")
    (place,) = found.places
    assert (place.name, place.path, place.lines) == ("quotient", "lib/norms.py", (2, 9))
    assert place.formulas == [r"W / \\sigma"] and place.sentence == "Divide."
    assert checkout.source(place).startswith("def quotient(W):")
    assert [name for name, _, _ in found.tests] == ["test_by_name", "test_through_a_helper"]
    assert found.sections == [("tutorials/05.ipynb", "Division")]
    lacking = entry(checkout, "Eq. (26)")
    assert lacking.tests == [] and lacking.sections == [("tutorials/05.ipynb", "Norms")]
    assert entry(checkout, "Eq. (1)").places == []


def minisn(*arguments, code=0):
    result = CliRunner().invoke(main, ["paper", *map(str, arguments)], prog_name="minisn")
    assert result.exit_code == code, result.output
    return result


def test_the_table_has_a_line_for_every_part():
    lines = minisn().stdout.splitlines()
    assert [line[4:20].strip() for line in lines[: len(M18)]] == M18
    assert "minisn/regularizers/gradients.py" in next(x for x in lines if "Eq. (36)" in x)


@pytest.mark.parametrize("asked", [["12"], ["(12)"], ["Eq.", "(12)"]])
def test_one_part_shows_formula_source_and_tests(asked):
    text = minisn(*asked).stdout
    assert r"\lambda = \hat E[\delta^T\bar W_{SN}h]" in text
    assert "def layer_gradient(delta: Array, h: Array" in text
    assert "tests/test_regularizers_gradients.py:" in text


def test_a_part_that_is_none_is_one_line():
    assert "expected an equation 1 to 38" in minisn("39", code=1).stderr


def test_pages_and_data_hold_the_same(tmp_path):
    page, data = tmp_path / "index.html", tmp_path / "index.json"
    minisn("--html", page, "--json", data)
    entries = json.loads(data.read_text("utf-8"))
    text = page.read_text("utf-8")
    assert [e["part"] for e in entries] == [e.part for e in INDEX.entries]
    assert text.count("<tr>") == len(entries) + 1
    assert "http" not in text.replace("http://www.w3.org/1998/Math/MathML", "")
