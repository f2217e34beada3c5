"""Formulas in docstrings: the text from ``.. math::`` to the next empty line."""

import re
import textwrap

_MATH = re.compile(r"^\s*\.\. math:: ((?:.|\n(?!\s*\n))+)", re.MULTILINE)


def formulas(doc: str) -> list[str]:
    """Return the formulas of a docstring, as TeX."""
    return [textwrap.dedent(m.group(1)).strip() for m in _MATH.finditer(doc)]
