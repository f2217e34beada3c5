"""The tutorials for the site: copies of the notebooks, with anchors at headings and linked tags."""

import hashlib
import json
import re
from collections.abc import Set
from pathlib import Path
from typing import Any

from .outline import ROOT
from .prose import link_tags, myst_link

_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_GRADING = re.compile(
    r"^### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?|^ *### (BEGIN|END) SOLUTION\n?",
    re.DOTALL | re.MULTILINE,
)
"""The lines that only the graders need."""


def anchor_of(path: str, heading: str) -> str:
    """Return the anchor of a heading; it changes only when its words do."""
    digest = hashlib.sha256(heading.encode()).hexdigest()[:8]
    return f"nb-{Path(path).stem}-{digest}"


def notebooks(root: Path = ROOT) -> list[Path]:
    """Return the notebooks in their order, the page of notation first."""
    return sorted((root / "tutorials").glob("*.ipynb"))


def prepared(path: Path, known: Set[str]) -> str:
    """Return a notebook's text for the site.

    Args:
        path: the notebook.
        known: the anchors of the index of the papers.
    """
    notebook = json.loads(path.read_text("utf-8"))
    seen: set[str] = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _linked("".join(cell["source"]), path, known, seen)
        else:
            cell["source"] = _GRADING.sub("", "".join(cell["source"])).rstrip()
    _name_parts(notebook, path.stem, seen)
    return json.dumps(notebook)


def markdown(path: Path, known: Set[str]) -> str:
    """Return a page of Markdown for the site."""
    return _linked(path.read_text("utf-8"), path, known, set())


def _to_pages(text: str) -> str:
    """Turn links to files of the library into links to their pages; remove other file links."""

    def led(match: re.Match[str]) -> str:
        words, path = match.groups()
        if not path.startswith("minisn/") or not path.endswith(".py"):
            return words
        dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return f"[{words}](../source/{dotted}.rst)"

    return re.sub(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)", led, text)


def _name_parts(notebook: dict[str, Any], stem: str, seen: set[str]) -> None:
    """Add an anchor for the text before the first heading, which the index names by the file."""
    target = {"cell_type": "markdown", "metadata": {}, "source": f"({anchor_of(stem, stem)})="}
    if anchor_of(stem, stem) not in seen:
        first = notebook["cells"][0]
        first["source"] = f"{target['source']}\n" + "".join(first["source"])


def _linked(text: str, path: Path, known: Set[str], seen: set[str]) -> str:
    """Put an anchor before each heading and make the tags links; code stays as it is."""
    lines: list[str] = []
    prose: list[str] = []
    fenced = False
    for line in _to_pages(text).split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else re.match(r"#+ (.+)", line)
        if heading and (anchor := anchor_of(path.name, heading[1])) not in seen:
            seen.add(anchor)
            prose.append(f"({anchor})=")
        if fenced or _FENCE.match(line):
            lines += [link_tags("\n".join(prose), known, myst_link), line] if prose else [line]
            prose = []
        else:
            prose.append(line)
    return "\n".join([*lines, link_tags("\n".join(prose), known, myst_link)] if prose else lines)
