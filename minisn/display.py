"""Small tables, in which objects show themselves in a notebook."""

import html
from collections.abc import Iterable, Sequence


def table(title: str, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Write an HTML table.

    Args:
        title: shown above the table, in bold.
        rows: the cells of each row; a float is shown to four digits.
        header: the names of the columns; no header if empty.
    """

    def line(cells: Iterable[object], tag: str) -> str:
        words = (f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells)
        style = ' style="text-align: left"'
        return "<tr>" + "".join(f"<{tag}{style}>{html.escape(w)}</{tag}>" for w in words) + "</tr>"

    head = line(header, "th") if header else ""
    body = "".join(line(row, "td") for row in rows)
    return f"<b>{html.escape(title)}</b><table>{head}{body}</table>"
