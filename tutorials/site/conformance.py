"""The page of conformance: the clauses that each library's layer keeps, from the stored table."""

import ast
import inspect
from itertools import takewhile
from pathlib import Path
from textwrap import dedent
from typing import Any

from minisn.conformance import adapters

KEPT = "studies/conformance/table.json"
"""The table that ``minisn conformance all --json`` wrote, below the tutorials."""

_MARKS = {"kept": "✓", "broken": "✗", "not asked": "·"}
_INTRO = """# Conformance

Is it spectral normalization? Each library's layer is tested as a black box: a basis goes in, and
the linear map that comes out is the normalized weight. **✓** kept, **✗** broken, **·** not asked
(the library has no such function, the adapter cannot ask it, or the definition lacks the clause).
Printed by `minisn conformance all --json table.json` on {date}, with minisn {minisn}, on CPUs.
Notebook [20](tutorials/20-which-spectral-norm-is-yours.ipynb) explains the clauses. To test your
own layer, write [an adapter](#a-layer-of-your-own); for an implementation in another language, run
`minisn conformance --vectors FOLDER`.
"""
_OWN = """## A layer of your own

The smallest adapter makes a layer, and returns the weight that a pass applied:

```python
{smallest}
```

Save it in `my_layers.py`, and run `minisn conformance my_layers:Mine`. What the adapter cannot be
asked is "not asked". An adapter that can be asked everything also says how to differentiate a
layer, and where the layer keeps its weight and its u; the base class `Adapter` does the rest.
PyTorch's adapter is the one to follow:

```python
{whole}
```
"""


def page(table: dict[str, Any]) -> str:
    """Return the page, in Markdown.

    Args:
        table: as ``minisn.conformance.read_table`` returns it.
    """
    libraries = table["libraries"]
    numbers = {c["number"]: c for library in libraries for c in library["clauses"]}
    verdicts = [{c["number"]: c["verdict"] for c in each["clauses"]} for each in libraries]
    parts = [_INTRO.format(**table), "## The libraries", ""]
    parts += [
        f"- **{chr(65 + k)}**: `{each['name']}` {each['version']}, {_count(found)}"
        for k, (each, found) in enumerate(zip(libraries, verdicts, strict=True))
    ]
    letters = [chr(65 + k) for k in range(len(libraries))]
    parts += ["", "## The clauses", "", _line("", "clause", "equation", *letters)]
    parts.append(_line(*["---"] * (3 + len(letters))))
    for number, clause in sorted(numbers.items()):
        marks = [_MARKS[found.get(number, "not asked")] for found in verdicts]
        parts.append(_line(number, clause["title"], clause["equation"], *marks))
    parts += ["", "## What breaks, and what it means", ""]
    for each in libraries:
        parts += _broken(each)
    return "\n".join([*parts, own()])


def own() -> str:
    """Return the section on adapters of one's own: the smallest one, and PyTorch's."""
    lines = (inspect.getdoc(adapters) or "").partition("Example:\n")[2].splitlines()
    example = takewhile(lambda line: not line or line.startswith(" "), lines)
    text = Path(adapters.__file__).with_name("in_torch.py").read_text("utf-8")
    (whole,) = (node for node in ast.parse(text).body if getattr(node, "name", "") == "Torch")
    return _OWN.format(
        smallest=dedent("\n".join(example)).strip(), whole=ast.get_source_segment(text, whole)
    )


def _count(found: dict[int, str]) -> str:
    asked = sum(verdict != "not asked" for verdict in found.values())
    return f"keeps {sum(v == 'kept' for v in found.values())} of {asked} asked"


def _broken(library: dict[str, Any]) -> list[str]:
    """Return a library's broken clauses, each with what came and what that means."""
    broken = [clause for clause in library["clauses"] if clause["verdict"] == "broken"]
    if not broken:
        return []
    parts = [f"### `{library['name']}`", "", _line("", "clause", "what it does", "what that means")]
    parts.append(_line(*["---"] * 4))
    for c in broken:
        what = f"{c['deviation'] or 'breaks it'} ({c['found']})"
        parts.append(_line(c["number"], c["title"], what, c["meaning"]))
    return [*parts, ""]


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
