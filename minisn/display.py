"""How objects show themselves in a notebook: as small tables."""

import html
from collections.abc import Iterable, Sequence


def table(title: str, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Write an HTML table.

    Args:
        title: above it, in bold.
        rows: what the cells hold; a string is shown as it is, a number to four digits.
        header: names of the columns; none if empty.
    """

    def line(cells: Iterable[object], tag: str) -> str:
        words = (f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells)
        style = ' style="text-align: left"'
        return "<tr>" + "".join(f"<{tag}{style}>{html.escape(w)}</{tag}>" for w in words) + "</tr>"

    head = line(header, "th") if header else ""
    body = "".join(line(row, "td") for row in rows)
    return f"<b>{html.escape(title)}</b><table>{head}{body}</table>"
