"""What a check says."""

import html
import re
from dataclasses import dataclass

PASSED, FAILED, NOT_DONE = "passed", "failed", "not done yet"

_COLORS = {PASSED: "#2a7d3f", FAILED: "#b3261e", NOT_DONE: "#77716a"}


@dataclass(frozen=True)
class Verdict:
    """The verdict on a student's function; truthy only when it passed.

    Args:
        exercise: its name.
        status: ``"passed"``, ``"failed"`` or ``"not done yet"``.
        mistake: what is wrong, as a name; empty unless failed.
        text: the same in words.
        where: the input on which it shows, with what was expected and what came.
        equation: the tag and the formulas in TeX.
    """

    exercise: str
    status: str
    mistake: str = ""
    text: str = ""
    where: str = ""
    equation: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.status == PASSED

    def __str__(self) -> str:
        lines = [f"{self.exercise}: {self.status}", *self.text.splitlines(), self.where]
        lines += " ".join(self.equation).splitlines()
        return "\n  ".join(filter(None, lines))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the verdict as a notebook shows it, formulas set by the notebook."""
        tag, *formulas = self.equation or ("",)
        parts = [html.escape(part).replace("\n", "<br>") for part in (self.text, self.where, tag)]
        parts = [re.sub("`([^`]+)`", r"<code>\1</code>", part) for part in parts]
        parts += [f"$${html.escape(formula, quote=False)}$$" for formula in formulas]
        body = "".join(f"<p>{part}</p>" for part in parts if part)
        return (
            f'<div style="border-left: .3em solid {_COLORS[self.status]}; padding-left: .8em">'
            f"<b>{self.exercise}: {self.status}</b>{body}</div>"
        )
