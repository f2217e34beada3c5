"""The verdict of a check."""

import html
import re
from dataclasses import dataclass

PASSED, FAILED, NOT_DONE = "passed", "failed", "not done yet"

_COLORS = {PASSED: "#2a7d3f", FAILED: "#b3261e", NOT_DONE: "#77716a"}


@dataclass(frozen=True)
class Verdict:
    """The verdict on a student's function, which is truthy if the function passed.

    Args:
        exercise: name of the exercise.
        status: ``"passed"``, ``"failed"`` or ``"not done yet"``.
        mistake: name of the mistake; empty unless the function failed.
        text: the mistake in words.
        where: an input that shows the mistake, with the expected and the actual result.
        equation: the tag and the formulas, in TeX.
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
        lines += "\n".join(self.equation).splitlines()
        return "\n  ".join(filter(None, lines))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the verdict as HTML, with formulas in TeX for the notebook."""
        tag, *formulas = self.equation or ("",)
        parts = [html.escape(part).replace("\n", "<br>") for part in (self.text, self.where, tag)]
        parts = [re.sub("`([^`]+)`", r"<code>\1</code>", part) for part in parts]
        parts += [f"$${html.escape(formula, quote=False)}$$" for formula in formulas]
        body = "".join(f"<p>{part}</p>" for part in parts if part)
        return (
            f'<div style="border-left: .3em solid {_COLORS[self.status]}; padding-left: .8em">'
            f"<b>{self.exercise}: {self.status}</b>{body}</div>"
        )
