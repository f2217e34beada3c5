"""Math as MathML, which browsers draw without a script and without anything to fetch."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

_BAR = re.compile(r'<mover accent="true">(<m[a-z]+>[^<]*</m[a-z]+>)<mo stretchy="false">¯</mo>')
_TALL = re.compile(r"(\\[bB]igg?[rl]?\s*(?:\)|\]|\\\||\||\\rangle))\s*(?=[\^_])")
_CONVERTER = LatexToMathML(fancy_error=False, macros={"substack": r"\begin{matrix}#1\end{matrix}"})


@cache
def to_mathml(tex: str, block: bool) -> str:
    r"""Turn TeX into MathML, several lines into an aligned display.

    The bar over a letter moves up, because in Chromium it touches the letter. A script behind a
    tall bracket gets a base of its own, because browsers do not stretch a bracket with scripts.

    Args:
        tex: without dollars or brackets.
        block: a display of its own, or part of a line.
    Raises:
        LatexError: TeX that the converter does not know.
    """
    tex = tex.strip()
    if r"\\" in re.sub(r"\\substack\s*\{[^}]*\}", "", tex) and r"\begin" not in tex:
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    tex = _TALL.sub(r"\1{\\vphantom{\\tfrac{A}{A}}}", tex)
    markup = _CONVERTER.convert_with_local_state(tex, displaystyle=block)
    if r"\substack" in tex:  # small, as all that stands below a sum
        markup = markup.replace('<mtable displaystyle="false" scriptlevel="0">', "<mtable>")
    return _BAR.sub(r'<mover>\1<mo stretchy="false">‾</mo>', markup)


def _written(tex: str, node: nodes.Element, block: bool) -> str:
    """Return MathML; TeX that is not understood is a warning that names the page."""
    try:
        return to_mathml(tex, block)
    except LatexError as error:
        logging.getLogger(__name__).warning("%s in %s", error, tex, location=node)
        return ""


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(_written(node.astext(), node, block=False))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write displayed formulas, each paragraph in a box that scrolls by itself.

    On a narrow page, formulas side by side, with a wide space between, move below each other.
    """
    for tex in re.split(r"\n\s*\n", node.astext().strip()):
        self.body.append(self.starttag(node, "div", "", CLASS="math", tabindex="0"))
        self.body += [_written(part, node, block=True) for part in apart(tex)]
        self.body.append("</div>\n")
        node["ids"] = []
    raise nodes.SkipNode


def apart(tex: str) -> list[str]:
    r"""Cut a formula at each ``\qquad`` outside of all braces."""
    if r"\begin" in tex or r"\\" in tex:
        return [tex]
    parts, depth = [""], 0
    for token in re.findall(r"\\[a-zA-Z]+|\\.|.", tex, re.DOTALL):
        depth += (token in ("{", r"\left")) - (token in ("}", r"\right"))
        if token == r"\qquad" and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part for part in parts if part.strip()]


def font() -> Path:
    """Return the file of STIX Two Math, which the package ziamath carries."""
    spec = find_spec("ziamath")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the renderer under the name mathml."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
