"""The statements of the papers, under the headings of the notebooks that name them.

``python -m tutorials.site.statements`` writes them from ``minisn/papers`` into the notebooks. Under
the first heading that names a part, what the paper states comes first, with its formula in the
paper's letters, then our formula if it differs, with an explanation. Run the command again after
changing the papers or a notebook; it changes nothing that is right already.
"""

import json
import re
from pathlib import Path
from textwrap import dedent

from minisn.paper import Entry, Index, Place, parts_of

from .notebooks import notebooks

_HEADING = re.compile(r"(?P<title>#+ .+)(?:\n\n|\Z)(?P<old>(?:>.*(?:\n|\Z))*\n?)")


def written(text: str, index: Index) -> str:
    """Return a notebook with the statements that belong under its headings.

    Args:
        text: the notebook's JSON.
        index: the index of the papers.
    """
    entries = {(entry.paper, entry.part): entry for entry in index.entries}
    notebook = json.loads(text)
    shown: set[tuple[str, str]] = set()
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        found = _HEADING.match(source) if cell["cell_type"] == "markdown" else None
        if found is None:
            continue
        keys = [k for k in dict.fromkeys(parts_of(found["title"])) if k in entries]
        new = [k for k in keys if entries[k].statement.states and k not in shown]
        shown |= set(new)
        said = f"{quoted([entries[key] for key in new])}\n\n" if new else ""
        whole = f"{found['title']}\n\n{said}" + source[found.end() :]
        cell["source"] = whole.rstrip("\n").splitlines(True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def quoted(entries: list[Entry]) -> str:
    """Return the papers' statements of some parts, and ours where they differ, as a quotation.

    Args:
        entries: the parts.
    """
    lines: list[str] = []
    ours: dict[Place, list[tuple[str, str]]] = {}
    for entry in entries:
        said, name = entry.statement, entry.part.removeprefix("Eq. ")
        lines += [f"**[{entry.paper} {entry.part}]** {said.states}", ""]
        lines += [f"$${said.tex}$$", ""] if said.tex else []
        if said.differs and entry.formula:
            ours.setdefault(entry.places[0], []).append((name, said.differs))
    for place, told in ours.items():
        formula = " ".join(dedent(place.formulas[0]).split())
        lines += [f"Ours, `{place.name}`:", "", f"$${formula}$$", ""]
        for differs in dict.fromkeys(differs for _, differs in told):
            names = ", ".join(name for name, each in told if each == differs)
            lines += [f"{names}: {differs}" if len(told) > 1 else differs, ""]
    return "\n".join(f"> {line}".rstrip() for line in lines[:-1])


def main() -> None:
    """Write the statements into all notebooks."""
    index = Index()
    for path in notebooks():
        before = Path(path).read_text("utf-8")
        after = written(before, index)
        if after != before:
            path.write_text(after, "utf-8")
            print(path)


if __name__ == "__main__":
    main()
