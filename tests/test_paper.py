"""The index of the papers: complete, and read from what is there."""

import io
import json
import re
import textwrap
import tokenize

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
    assert {
        "BSN",
        "SSN",
        "BSSN",
        "SN_Conv",
        "gradient bounds",
        "variance",
        "initialization",
        "raw parameter",
    } <= found.keys()
    assert all(entry.places and entry.tests and entry.sections for entry in found.values())


def test_tags_name_one_or_several_parts():
    text = "Source: [M18 Eq. (9), (10)], [M18 Alg. 1]; [L21 SSN, BSSN], [M18 Figure 9]"
    assert list(parts_of(text)) == [
        ("M18", "Eq. (9)"),
        ("M18", "Eq. (10)"),
        ("M18", "Alg. 1"),
        ("L21", "SSN"),
        ("L21", "BSSN"),
        ("M18", "Fig. 9"),
    ]


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
    parts = [line[:20].strip() for line in lines if line[:20].strip()]
    assert parts == [f"{e.paper} {e.part}" for e in INDEX.entries]
    assert parts[: len(M18)] == [f"M18 {part}" for part in M18]
    at = next(n for n, line in enumerate(lines) if line.startswith("M18 Eq. (36)"))
    assert "the normalized weight is what is taken away" in lines[at]
    assert "minisn/regularizers/gradients.py" in lines[at + 1]


@pytest.mark.parametrize("asked", [["12"], ["(12)"], ["Eq.", "(12)"]])
def test_one_part_shows_formula_source_and_tests(asked):
    text = minisn(*asked).stdout
    assert r"\lambda = \hat E[\delta^T\bar W_{SN}h]" in text
    assert "def layer_gradient(delta: Array, h: Array" in text
    assert "tests/test_regularizers_gradients.py:" in text


def test_a_part_that_is_none_is_one_line():
    assert "expected an equation 1 to 38" in minisn("39", code=1).stderr


def test_data_hold_the_whole_index(tmp_path):
    path = tmp_path / "index.json"
    minisn("--json", path)
    entries = json.loads(path.read_text("utf-8"))
    assert [e["part"] for e in entries] == [e.part for e in INDEX.entries]
    assert entries[7]["statement"]["tex"] == r"\bar W_{SN}(W) := W/\sigma(W)"


# -- what the papers state, beside the code ----------------------------------------------------


STATED = [pytest.param(e, id=f"{e.paper} {e.part}") for e in INDEX.entries]
ACCENTS = ("bar", "hat", "tilde")
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "eta", "theta", "lambda", "mu",
    "rho", "sigma", "tau", "phi", "psi", "ell",
}  # fmt: skip
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[{}]|[_^]|\S")


def letters(tex, scripts=False):
    r"""The letters of a formula, with their accents; not its named operators, nor its scripts.

    ``\bar W_{SN} = W/\sigma(W)`` has three.
    """
    return set(_letters(TOKEN.findall(tex), scripts))


def _group(tokens):
    """Take the next argument off the tokens: what braces hold, or one token with its own."""
    first = tokens.pop(0)
    if first in ("\\mathrm", "\\mathcal", "\\mathbb", *(f"\\{a}" for a in ACCENTS)):
        return [first, *_group(tokens)]
    if first == "\\frac":
        return [first, *_group(tokens), *_group(tokens)]
    if first != "{":
        return [first]
    inside, depth = [], 1
    while depth:
        token = tokens.pop(0)
        depth += (token == "{") - (token == "}")
        inside.append(token)
    return inside[:-1]


def _letters(tokens, scripts):
    while tokens:
        token = tokens.pop(0)
        name = token[1:]
        if token in ("_", "^") or name == "underset":  # what stands below, then below what
            below = _group(tokens)
            yield from _letters(below, scripts) if scripts else []
        elif name in ("mathbb", "text", "operatorname", "begin", "end"):
            _group(tokens)
        elif name in ("mathrm", "mathcal"):
            inside = "".join(_group(tokens))
            if len(inside) == 1:
                yield inside if name == "mathrm" else f"\\mathcal {inside}"
        elif name in ACCENTS:
            for letter in _letters(_group(tokens), scripts):
                yield f"{token} {letter}"
        elif name in GREEK or (len(token) == 1 and token.isalpha()):
            yield token


def names_in(entry):
    """Every identifier, attribute and string in the code of an entry's places."""
    text = "\n".join(textwrap.dedent(INDEX.source(place)) for place in entry.places)
    found = set()
    for line in tokenize.generate_tokens(io.StringIO(text).readline):
        if line.type in (tokenize.NAME, tokenize.STRING):
            found.add(line.string.strip("\"'"))
    return found


def alike(a, b):
    """Whether two formulas are the same but for how they are spaced and their brackets sized."""
    plain = [
        re.sub(r"\\(left|right|[bB]igg?[lr]?|q?quad)(?![a-zA-Z])|\\[,;!]|[\s{}]|,$", "", tex)
        .replace(r"\mathrmtrace", r"\mathrmtr")
        .replace(":=", "=")
        .replace(",", "")
        for tex in (a, b)
    ]
    return plain[0] == plain[1]


def test_letters_are_read_off_a_formula():
    assert letters(r"\bar W_{SN}(W) := W/\sigma(W)") == {r"\bar W", "W", r"\sigma"}
    assert letters(r"\underset{x\sim q}{\mathrm E}[\log D(x)]^T") == {"E", "D", "x"}
    assert letters(r"\hat{\mathrm E}[\delta^T h] \in \mathbb R^{d}") == {r"\hat E", r"\delta", "h"}
    assert letters(r"\mathrm{trace}(\frac{A}B), \mathcal D_M") == {"A", "B", r"\mathcal D"}
    assert letters(r"\max_{h\ne0} \nabla_{\bar W}V") == {"V"}


def test_formulas_are_alike_whatever_their_spaces():
    assert alike(r"\left( a \right)\, b,", r"\big(a\big) b")
    assert not alike("a + b", "a - b") and not alike(r"W^T", "W")


@pytest.mark.parametrize("entry", STATED)
def test_every_part_says_what_the_paper_states(entry):
    said = entry.statement
    assert re.fullmatch(r"[A-Z].+[.]", said.states), "its data file lacks a sentence"
    if re.match(r"Eq|Alg", entry.part):
        assert said.tex, "an equation has its formula"
    if entry.part.startswith("Table"):
        assert len({*map(len, said.rows)}) == 1 and len(said.rows) > 2
    assert bool(said.known) == (entry.paper == "L21"), "only M18's text was read"


def test_no_statement_is_left_over():
    assert {*INDEX.statements} == {(e.paper, e.part) for e in INDEX.entries}


@pytest.mark.parametrize("entry", STATED)
def test_the_place_beside_a_statement_is_one_of_its_own(entry):
    if entry.statement.ours:
        first = entry.places[0]
        stem = first.path.removesuffix(".py").rpartition("/")[2]
        assert entry.statement.ours in (first.name, f"{stem}.{first.name}")
    if entry.statement.tex:
        assert entry.statement.ours, "a formula stands beside one of ours"


@pytest.mark.parametrize("entry", [p for p in STATED if p.values[0].statement.tex])
def test_the_glossary_maps_every_letter(entry):
    """A letter of either formula has a name that the code does use, or the reason it has none."""
    said, known = entry.statement, names_in(entry)
    both = (said.tex, entry.formula)
    found, more = ({x for tex in both for x in letters(tex, scripts)} for scripts in (False, True))
    assert found - said.letters.keys() == set(), "letters that the glossary does not map"
    assert said.letters.keys() - more == set(), "letters that neither formula has"
    for letter, name in said.letters.items():
        words = set() if name.startswith("(") else set(re.findall(r"[A-Za-z_]\w*", name))
        assert words - known == set(), f"{letter} is called {name}, which the code does not use"


@pytest.mark.parametrize("entry", [p for p in STATED if p.values[0].statement.tex])
def test_what_differs_is_said_where_anything_does(entry):
    same = alike(entry.statement.tex, entry.formula)
    assert same == (not entry.statement.differs), (entry.statement.tex, entry.formula)


def test_the_papers_formula_comes_first_and_ours_beside_it():
    lines = minisn("8").stdout.splitlines()
    titles = [line[:20].strip() for line in lines[: lines.index("")] if line[:20].strip()]
    assert titles == ["M18 Eq. (8)", "The paper", "Ours", "What differs", "Letters"]
    assert r"\bar W_{SN}(W) := W/\sigma(W)" in next(x for x in lines if x.startswith("The paper"))
    assert "F        1e-3  0.9  0.999  5" in minisn("Table", "1").stdout
