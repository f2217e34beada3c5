"""Python as highlighted HTML, line by line, so that a page can show any lines of a file."""

import html

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer


def highlighted(text: str) -> list[str]:
    """Return each line of a file as HTML; lexing the whole file colors every cut correctly."""
    lexer = PythonLexer(stripnl=False, ensurenl=True)
    lines = highlight(text, lexer, HtmlFormatter(nowrap=True)).split("\n")
    return lines[: len(text.splitlines())]


def block(lines: list[str], numbers: list[int]) -> str:
    """Return some lines of a file, each with its number as an anchor.

    Args:
        lines: all lines of the file, from :func:`highlighted`.
        numbers: numbers of the lines to show, from 1.
    """
    rows = [
        f'<a class="ln" id="L{n}" href="#L{n}" data-line="{n}" aria-label="line {n}"></a>'
        f"{lines[n - 1]}\n"
        for n in numbers
    ]
    return f'<div class="highlight"><pre>{"".join(rows)}</pre></div>'


def heading(name: str, shown: str) -> str:
    """Return the heading of a function, with its anchor."""
    anchor = html.escape(name)
    return (
        f'<h3 id="{anchor}">{html.escape(shown)}'
        f'<a class="headerlink" href="#{anchor}" title="Link to this function">¶</a></h3>'
    )
