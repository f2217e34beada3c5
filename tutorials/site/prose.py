"""Docstrings and comments as reStructuredText: sections as fields, tags as links to the index."""

import re
from collections.abc import Callable, Iterator, Set

from .names import Scope

SECTIONS = ("Args", "Attributes", "Measures", "Returns", "Yields", "Raises", "Warns")
_SECTION = re.compile(rf"({'|'.join(SECTIONS)}|Examples?):$")
_TAG = re.compile(r"(``.+?``|`[^`]+`|\$\$.+?\$\$|\$[^$]+\$)|\[(M18|L21) ([^\]]+)\]", re.DOTALL)

_STAR = re.compile(r"(``.+?``|`[^`]+`)|(?<!\*)\*(?=\w+[\]),])")
"""A star before a name in a list, not around words."""


def slug(paper: str, part: str) -> str:
    """Return the anchor of a part of a paper: ``m18-eq-8``."""
    words = f"{paper} {part}".lower().replace("§", "s")
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def link_tags(text: str, known: Set[str], link: Callable[[str, str], str]) -> str:
    """Make every part that a tag names a link to its place in the index.

    Args:
        text: prose; text between backticks or dollars is left alone.
        known: the anchors of the index.
        link: ``link(words, anchor)``, in the markup of the text.
    """

    def linked(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        paper, parts = match[2], [" ".join(p.split()) for p in match[3].split(",")]
        return f"[{', '.join(_links(paper, parts, known, link))}]"

    return _TAG.sub(linked, text)


def _links(
    paper: str, parts: list[str], known: Set[str], link: Callable[[str, str], str]
) -> Iterator[str]:
    for n, part in enumerate(parts):
        whole = f"Eq. {part}" if re.fullmatch(r"\(\d+\)", part) else part
        anchor = slug(paper, whole.replace("Figure", "Fig."))
        words = part if n else f"{paper} {part}"
        yield link(words, anchor) if anchor in known else words


def page_link(words: str, url: str) -> str:
    """Return a link to a page of the site, in reStructuredText."""
    url = f"{url[:-1]}\\_" if url.endswith("_") else url
    return f"`{words} <{url}>`__"


def rest_link(words: str, anchor: str) -> str:
    """Return a link in reStructuredText."""
    return f":ref:`{words} <{anchor}>`"


def myst_link(words: str, anchor: str) -> str:
    """Return a link in MyST Markdown."""
    return f"{{ref}}`{words} <{anchor}>`"


def to_rest(doc: str, scope: Scope, owner: str = "") -> str:
    """Turn a docstring into reStructuredText.

    Args:
        doc: a cleaned docstring in the form of the house.
        scope: the place of the docstring.
        owner: the class around the docstring, whose methods ``:meth:`` may name alone.
    Returns:
        Its paragraphs, then its sections, source and deviations as one list of fields.
    """
    text, fields = _parted(_STAR.sub(lambda m: m[1] or r"\*", doc.replace("\b", "")))
    prose = "\n".join([*text, "", *fields]).strip()
    return link_tags(scope.link_names(prose, owner), scope.known, rest_link)


def _parted(doc: str) -> tuple[list[str], list[str]]:
    """Part the paragraphs of a docstring from its sections, which become fields."""
    text: list[str] = []
    fields: list[str] = []
    lines = doc.splitlines()
    while lines:
        line = lines.pop(0)
        if section := _SECTION.match(line):
            inside = _take(lines, lambda s: not s or s.startswith(" "))
            fields += _section(section[1], inside)
        elif named := re.match(r"(Source|Deviation): *", line):
            rest = _take(lines, lambda s: bool(s) and not s.startswith(("Source:", "Deviation:")))
            words = [line[named.end() :], *rest]
            fields += [f":{named[1]}: " + words[0], *(f"   {w}" for w in words[1:])]
        else:
            text.append(line)
    return text, fields


def _take(lines: list[str], belongs: Callable[[str], bool]) -> list[str]:
    taken = []
    while lines and belongs(lines[0]):
        taken.append(lines.pop(0))
    return taken


def _section(name: str, inside: list[str]) -> list[str]:
    """Return a section as a field: a list where it names things, else a paragraph."""
    body = [line[4:] for line in inside]
    while body and not body[-1]:
        body.pop()
    if name.startswith("Example"):
        return [f":{name}:", "", "   ::", "", *(f"      {line}" for line in body), ""]
    if name in ("Returns", "Yields"):
        return [f":{name}:", *(f"   {line}" for line in body)]
    lines = [f":{name}:"]
    for line in body:
        named = re.match(r"([\w*][\w*, .]*): +(.*)", line)
        if named:
            label = named[1].replace("*", r"\*")
            lines.append(f"   - **{label}**: {named[2]}")
        else:
            lines.append(f"     {line.strip()}" if line else "")
    return lines
