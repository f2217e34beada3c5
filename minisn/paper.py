"""The index of the papers: what each part states, and where it is computed, tested and explained.

The statements of the papers are in ``papers/*.toml``. The rest is read from the sources, never kept
by hand: from tags such as ``[M18 Eq. (8)]`` in docstrings, from the names that tests use, and from
the headings and tags of the notebooks. The index imports none of these files.
"""

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .formulas import formulas

ROOT = Path(__file__).parent
M18 = [
    *(f"Eq. ({n})" for n in range(1, 39)), "Alg. 1", *(f"Table {n}" for n in range(1, 9)),
    *(f"Fig. {n}" for n in (1, 2, 3, 4, 9, 10, 11, 14, 15)),
]  # fmt: skip
"""The parts of M18 that must be found: equations, algorithm, tables, figures to regenerate."""

_TAG = re.compile(r"\[(M18|L21) ([^\]]+)\]")


@dataclass(frozen=True)
class Place:
    """A function, class, table or study whose docstring names a part of a paper.

    Args:
        name: its dotted name in the file, or the command of a study.
        path: the path of the file, from the folder that holds the package.
        lines: its first and last line.
        doc: its docstring.
    """

    name: str
    path: str
    lines: tuple[int, int]
    doc: str

    @property
    def formulas(self) -> list[str]:
        """The formulas of the docstring, as TeX."""
        return formulas(self.doc)

    @property
    def sentence(self) -> str:
        """The first sentence of the docstring."""
        return " ".join(self.doc.strip().split("\n\n")[0].split())


@dataclass(frozen=True)
class Statement:
    """The content of one part of a paper.

    Args:
        states: what the part says, in a sentence of ours.
        tex: its formula, in the paper's letters; empty if it has none.
        rows: the rows of a table, the first with the names of the columns.
        ours: the place whose formula stands beside it.
        differs: how our formula differs; empty if it does not.
        letters: for each letter of either formula its name in the code, or in parentheses why it
            has none.
        known: our source, if it is not the paper's text.
    """

    states: str = ""
    tex: str = ""
    rows: list[list[str]] = field(default_factory=list)
    ours: str = ""
    differs: str = ""
    letters: dict[str, str] = field(default_factory=dict)
    known: str = ""


@dataclass
class Entry:
    """A part of a paper with all that belongs to it.

    Args:
        paper: M18 or L21.
        part: ``Eq. (8)``, ``Table 3``, ``SN_Conv`` and the like.
        statement: the content of the part.
        places: where the code computes it.
        tests: the tests that name one of the places: (name, path, line).
        sections: the sections of notebooks that name the part: (path, heading).
    """

    paper: str
    part: str
    statement: Statement = field(default_factory=Statement)
    places: list[Place] = field(default_factory=list)
    tests: list[tuple[str, str, int]] = field(default_factory=list)
    sections: list[tuple[str, str]] = field(default_factory=list)

    @property
    def formula(self) -> str:
        """Our formula, to stand beside the paper's; empty if the paper has none."""
        formulas = self.places[0].formulas if self.places else []
        return formulas[0] if formulas and (self.statement.tex or not self.statement.states) else ""


def parts_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield (paper, part) for every tag in a text; ``[M18 Eq. (9), (10)]`` names two."""
    for paper, inside in _TAG.findall(text):
        for part in map(str.strip, inside.replace("Figure", "Fig.").split(",")):
            yield paper, f"Eq. {part}" if re.fullmatch(r"\(\d+\)", part) else part


class Index:
    """The index of a checkout, or of an installed package, which has no tests beside it.

    Args:
        root: folder of the package.
    """

    def __init__(self, root: Path = ROOT):
        self.root, self.home = root, root.parent

    @cached_property
    def entries(self) -> list[Entry]:
        """Every part of the papers that is named anywhere, those of M18 in the paper's order.

        Among several places, the one that the statement names comes first, then those with a
        formula, and among these the most specific.
        """
        stated = self.statements
        found = {("M18", part): Entry("M18", part) for part in M18}
        for place in self._places():
            for key in dict.fromkeys(parts_of(place.doc)):
                found.setdefault(key, Entry(*key)).places.append(place)
        tests = list(self._tests())
        for entry in found.values():
            wanted = {word for place in entry.places for word in _words(place)}
            entry.statement = stated.get((entry.paper, entry.part), Statement())
            entry.places.sort(key=_rank(entry.statement.ours))
            entry.tests += [test for test, named in tests if wanted & named]
        for path, heading, text in self._sections():
            for key in dict.fromkeys(parts_of(text)):
                found.setdefault(key, Entry(*key)).sections.append((path, heading))
        return list(found.values())

    @cached_property
    def statements(self) -> dict[tuple[str, str], Statement]:
        """What the papers state, by paper and part."""
        files = {path.stem.upper(): path for path in sorted((self.root / "papers").glob("*.toml"))}
        return {
            (paper, part): Statement(**fields)
            for paper, path in files.items()
            for part, fields in tomllib.loads(path.read_text("utf-8")).items()
        }

    def source(self, place: Place) -> str:
        """Return the lines of a place."""
        lines = (self.home / place.path).read_text("utf-8").splitlines()
        return "\n".join(lines[place.lines[0] - 1 : place.lines[1]])

    def _places(self) -> Iterator[Place]:
        for path in sorted(self.root.rglob("*.py")):
            if path.stem == "paper":  # this file, with its example of a tag
                continue
            tree = ast.parse(path.read_text("utf-8"))
            where = path.relative_to(self.home).as_posix()
            if doc := ast.get_docstring(tree, clean=False):
                yield Place(path.stem, where, (1, doc.count("\n") + 1), doc)
            yield from _inside(tree, where, "")

    def _tests(self) -> Iterator[tuple[tuple[str, str, int], set[str]]]:
        """Yield every test with the names that it, or a helper of its file, uses."""
        for path in sorted((self.home / "tests").glob("test_*.py")):
            tree = ast.parse(path.read_text("utf-8"))
            defined = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
            where = path.relative_to(self.home).as_posix()
            module = path.stem.removeprefix("test_")
            for name, node in defined.items():
                if name.startswith("test_"):
                    yield (name, where, node.lineno), _reached(node, defined) | {f"file {module}"}

    def _sections(self) -> Iterator[tuple[str, str, str]]:
        """Yield (path, heading, text) for every part of a notebook that a heading begins."""
        for path in sorted((self.home / "tutorials").glob("*.ipynb")):
            heading, text = path.stem, ""
            where = path.relative_to(self.home).as_posix()
            for cell in json.loads(path.read_text("utf-8"))["cells"]:
                source = "".join(cell["source"])
                is_prose = cell["cell_type"] == "markdown"
                for piece in re.split(r"^(?=#+ )", source, flags=re.M) if is_prose else [source]:
                    if is_prose and (title := re.match(r"#+ (.+)", piece)):
                        yield where, heading, text
                        heading, text = title.group(1), ""
                    text += piece
            yield where, heading, text


def _inside(tree: ast.AST, where: str, prefix: str) -> Iterator[Place]:
    """Yield the places with a docstring in a module or a class."""
    body = getattr(tree, "body", [])
    for node, after in zip(body, [*body[1:], None], strict=True):
        lines = (getattr(node, "lineno", 1), getattr(node, "end_lineno", 1) or 1)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if doc := ast.get_docstring(node, clean=False):
                yield Place(f"{prefix}{node.name}", where, lines, doc)
            if isinstance(node, ast.ClassDef):
                yield from _inside(node, where, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                yield Place(f"{prefix}{target.id}", where, lines, _text(after))
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "Study":
                    texts = [ast.literal_eval(a) for a in call.args if isinstance(a, ast.Constant)]
                    span = (call.lineno, call.end_lineno or call.lineno)
                    yield Place(f"minisn study {texts[0]}", where, span, "\n".join(map(str, texts)))


def _rank(ours: str) -> Callable[[Place], tuple[bool, bool, int]]:
    """Return a sort key for places; ``ours`` is the name of the first, or ``file.name``."""

    def rank(place: Place) -> tuple[bool, bool, int]:
        chosen = ours in (place.name, f"{Path(place.path).stem}.{place.name}")
        return not chosen, not place.formulas, len([*parts_of(place.doc)])

    return rank


def _text(node: ast.AST | None) -> str:
    """Return the text of a string that stands alone, such as the one after a documented name."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def _words(place: Place) -> set[str]:
    """Return the names that a test of a place would use."""
    if place.name.startswith("minisn study "):
        return {place.name.removeprefix("minisn study "), "STUDIES"}
    return {place.name.split(".")[0]} if place.lines[0] > 1 else {f"file {place.name}"}


def _word(part: ast.AST) -> str:
    """Return the name or the string that a node holds; empty if it holds none."""
    match part:
        case ast.Name(word) | ast.Attribute(_, word) | ast.arg(word) | ast.Constant(str(word)):
            return word
    return ""


def _reached(node: ast.FunctionDef, defined: dict[str, ast.FunctionDef]) -> set[str]:
    """Collect the names and short strings in a function and in the helpers it calls."""
    found: set[str] = set()
    waiting, seen = [node], {node.name}
    while waiting:
        for part in ast.walk(waiting.pop()):
            found.add(word := _word(part))
            if word in defined and word not in seen:
                seen.add(word)
                waiting.append(defined[word])
    return found
