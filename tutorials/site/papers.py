"""The index of the papers as a page: each part with its formula, our code, tests and tutorials."""

import html
import re
from collections.abc import Iterator
from textwrap import dedent, indent

from minisn.paper import Entry, Index, Place

from .names import Names, Scope
from .notebooks import anchor_of
from .outline import Module
from .prose import page_link, slug, to_rest

_INTRO = """Index of the papers
===================

Each equation, table and figure of the papers, with the code that computes it, the tests that name
that code, and the section of the tutorials that explains it. **M18** is Miyato, Kataoka, Koyama,
Yoshida, *Spectral Normalization for Generative Adversarial Networks*, ICLR 2018 (arXiv 1802.05957).
**L21** is Lin, Sekar, Fanti, *Why Spectral Normalization Stabilizes GANs*, NeurIPS 2021 (arXiv
2009.02773); its full text was not at hand, so each of its parts names the source of our knowledge.
The paper's formula comes first, in the paper's letters. If the formula of our docstring differs, it
follows with an explanation. A list gives the name of each letter in our code.
"""


def page(index: Index, library: list[Module]) -> str:
    """Return the page, in reStructuredText.

    Args:
        index: the index.
        library: every file that has pages.
    """
    names, known = Names(library), anchors(index)
    scopes = {module.path.as_posix(): Scope(module, names, known) for module in library}
    parts = [_INTRO, *_chips(index)]
    group = ""
    for entry in sorted(index.entries, key=_order):
        if group_of(entry) != group:
            group = group_of(entry)
            parts += [GROUPS[group], "-" * len(GROUPS[group]), ""]
        parts += _entry(entry, scopes)
    return "\n".join(parts) + "\n"


GROUPS = {
    "M18 Eq.": "M18 equations", "M18 Alg.": "M18 algorithm", "M18 Table": "M18 tables",
    "M18 Fig.": "M18 figures", "M18": "M18 sections and appendices", "L21": "L21",
}  # fmt: skip
"""Parts of the page, by how the name of an entry begins."""


def group_of(entry: Entry) -> str:
    """Return the part of the page that an entry belongs to."""
    kind = f"{entry.paper} {entry.part.split()[0]}"
    return kind if kind in GROUPS else entry.paper


def _order(entry: Entry) -> tuple[int, int]:
    """Return the key that sorts entries as on the page: by group, then by number."""
    number = re.fullmatch(r"(?:Eq\. \(|Table |Fig\. )(\d+)\)?", entry.part)
    return list(GROUPS).index(group_of(entry)), int(number[1]) if number else 0


def anchors(index: Index) -> frozenset[str]:
    """Return the anchor of every entry."""
    return frozenset(slug(entry.paper, entry.part) for entry in index.entries)


def _chips(index: Index) -> list[str]:
    """Return links to all entries, close together."""
    parts = []
    for group, title in GROUPS.items():
        inside = [e for e in sorted(index.entries, key=_order) if group_of(e) == group]
        links = " · ".join(
            f":ref:`{e.part.removeprefix('Eq. ')} <{slug(e.paper, e.part)}>`" for e in inside
        )
        parts += [f":{title}: {links}"]
    return [*parts, ""]


def _entry(entry: Entry, scopes: dict[str, Scope]) -> list[str]:
    title = f"{entry.paper} {entry.part}"
    parts = [f".. _{slug(entry.paper, entry.part)}:", "", title, "~" * len(title), ""]
    parts += [*_stated(entry)]
    places = [_place(place, scopes) for place in entry.places]
    parts += [*_field("Code", places), *_tests(entry), *_field("Tutorials", _sections(entry)), ""]
    return parts


def _stated(entry: Entry) -> Iterator[str]:
    """Yield the paper's statement, our formula if it differs, and the letters."""
    said = entry.statement
    yield from (_escaped(said.states), "")
    if said.tex:
        yield from (".. math::", "", indent(said.tex, "   "), "")
    if said.rows:
        yield from (".. list-table::", "   :header-rows: 1", "")
        for row in said.rows:
            cells = [f"- {_escaped(cell)}".rstrip() for cell in row]
            yield from (f"   {'  ' if n else '* '}{cell}" for n, cell in enumerate(cells))
        yield ""
    if said.differs and entry.formula:
        yield from (":Ours:", "   .. math::", "", indent(dedent(entry.formula), "      "), "")
        yield from (f"   {_escaped(said.differs)}", "")
    if said.letters:
        yield from (":Letters:", f"   {'; '.join(_letter(*pair) for pair in said.letters.items())}")
    if said.known:
        yield f":Known from: {_escaped(said.known)}"


def _letter(letter: str, name: str) -> str:
    """Return a letter and its name in the code, or in parentheses why it has none."""
    shown = _escaped(name) if name.startswith("(") else f"``{name}``"
    return f":math:`{letter}` {shown}"


def _escaped(text: str) -> str:
    """Return a text with all markup escaped."""
    return re.sub(r"([*|_`\\])", r"\\\1", text)


def _field(name: str, lines: list[str]) -> list[str]:
    """Return a titled list; the title says so if the list is empty."""
    return [f":{name}:", *(f"   - {line}" for line in lines)] if lines else [f":{name}: none yet"]


def _place(place: Place, scopes: dict[str, Scope]) -> str:
    """Link a place to its annotated source and to its entry in the API, with its sentence."""
    scope = scopes[place.path]
    module = scope.module
    items = {item.name: item for item in module.items}
    anchor = place.name if place.name in items else f"L{place.lines[0]}"
    source = f"source/{module.dotted}.html" + (f"#{anchor}" if place.lines[0] > 1 else "")
    links = [page_link(place.name, source)]
    if place.name in items and items[place.name].public:
        entry = f"api/{module.dotted}.html#{module.dotted}.{place.name}"
        links.append(page_link("API", entry))
    sentence = to_rest(place.sentence, scope).replace("\n", " ") if place.doc else ""
    where = f"``{place.path}:{place.lines[0]}``"
    return f"{', '.join(links)}, {where}" + (f" — {sentence}" if sentence else "")


def _tests(entry: Entry) -> list[str]:
    """Return the tests, by name and line, folded where they are many."""
    if not entry.tests:
        return [":Tests: none yet"]
    items = "".join(
        f"<li><code>{html.escape(name)}</code> {html.escape(path)}:{line}</li>"
        for name, path, line in entry.tests
    )
    count = f"{len(entry.tests)} test{'s' * (len(entry.tests) != 1)}"
    unfolded = " open" if len(entry.tests) <= 4 else ""
    folded = f"<details{unfolded}><summary>{count}</summary><ul>{items}</ul></details>"
    return [":Tests:", "   .. raw:: html", "", f"      {folded}", ""]


def _sections(entry: Entry) -> list[str]:
    """Return links to the sections of notebooks."""
    found = dict.fromkeys(entry.sections)
    return [
        f":ref:`{_plain(heading)} <{anchor_of(path, heading)}>` ({path.rpartition('/')[2]})"
        for path, heading in found
    ]


def _plain(heading: str) -> str:
    """Return a heading without its tags and without marks that links cannot hold."""
    words = heading.split("  [")[0]
    return words.replace("`", "").replace("*", "").replace("$", "").replace("<", "‹")
