"""The results of a check, as data and as text."""

from dataclasses import dataclass

import numpy as np

RIGHT = "right"
WRONG = "wrong gradient"
KINK = "kink"
STATE = "changed state"
PRECISION = "too little precision"
NON_FINITE = "non-finite"
NOTHING = "nothing to check"

DIAGNOSES = (RIGHT, WRONG, KINK, STATE, PRECISION, NON_FINITE, NOTHING)
"""All diagnoses that a check can end with."""


@dataclass(frozen=True)
class Entry:
    """One entry of a gradient, beside its finite difference.

    Args:
        name: name of the input, such as ``"input 0"``; ``"grad_output"`` is the incoming
            gradient, which is an input of second derivatives.
        index: the entry of that input; None for a direction through all entries.
        point: the value of that entry.
        output: which output was differentiated, in words.
        claimed: the gradient under test.
        numerical: the finite difference.
        estimate: the estimated error of ``numerical``.
        step: the change of the entry in the finite difference.
    """

    name: str
    index: tuple[int, ...] | None
    point: float
    output: str
    claimed: float
    numerical: float
    estimate: float
    step: float

    @property
    def digits(self) -> int:
        """How many digits to print so that claim and difference are seen to differ."""
        size, gap = max(abs(self.claimed), abs(self.numerical)), abs(self.claimed - self.numerical)
        if not 0 < gap < np.inf or not size < np.inf:
            return 10
        return int(np.clip(np.ceil(np.log10(size / gap)) + 3, 10, 17))

    @property
    def place(self) -> str:
        """The entry and the output, in words."""
        if self.index is None:
            return "along a random direction" + self.output
        where = f" {list(self.index)}" if self.index else ""
        return f"{self.name}{where} = {self.point:.6g}{self.output}"


@dataclass(frozen=True)
class Check:
    """The verdict on the gradients of one order.

    Args:
        order: 1, or 2 for the derivatives of the gradient.
        diagnosis: one of :data:`DIAGNOSES`.
        message: the diagnosis in a sentence, with what to do.
        guess: the likely mistake behind a wrong gradient, or an empty string.
        worst: the entry with the worst fit, or None.
        ratio: its error divided by its estimate; at most 1 for a right gradient.
        slope: exponent of the Taylor remainder, 2 or more if right, near 1 if wrong; None if
            the remainder is only rounding.
        scope: how much was compared, in words.
        notes: special cases that were accepted, such as a subgradient at a kink.
    """

    order: int
    diagnosis: str = RIGHT
    message: str = ""
    guess: str = ""
    worst: Entry | None = None
    ratio: float = 0.0
    slope: float | None = None
    scope: str = ""
    notes: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """Whether the gradients are right."""
        return self.diagnosis == RIGHT

    @property
    def line(self) -> str:
        """The verdict in one line."""
        where = f" at {self.worst.place}" if self.worst is not None else ""
        return f"{self.diagnosis.upper()}{where}: {self.guess or self.message}"

    def __str__(self) -> str:
        slope = "in rounding" if self.slope is None else f"{self.slope:.2f}"
        slope = "above 3" if self.slope is not None and self.slope > 3.1 else slope
        told = [f"    note: {note}" for note in self.notes]
        if self.right:
            return "\n".join(
                [
                    f"  order {self.order}: right; {self.scope}; worst error "
                    f"{self.ratio:.2g} of its estimate; Taylor slope {slope}",
                    *told,
                ]
            )
        lines = [f"  order {self.order}: {self.diagnosis.upper()} ({self.scope})"]
        lines += [f"    {self.message}"] if self.message else []
        lines += [f"    likely: {self.guess}"] if self.guess else []
        if self.worst is not None:
            w, digits = self.worst, self.worst.digits
            lines += [
                f"    worst      {w.place}",
                f"    claimed    {w.claimed:.{digits}g}",
                f"    numerical  {w.numerical:.{digits}g} ± {w.estimate:.1e} (step {w.step:.1e})",
                f"    difference {w.claimed - w.numerical:.3g}",
            ]
        if self.diagnosis == WRONG and self.slope is not None:
            lines += [f"    Taylor     slope {slope} (2 when right, 1 when wrong)"]
        return "\n".join(lines + told)


@dataclass(frozen=True)
class Report:
    """The result of :func:`~minisn.gradcheck.gradcheck`; true if every order is right."""

    checks: tuple[Check, ...]

    @property
    def failure(self) -> Check | None:
        """The first check that failed, or None."""
        return next((c for c in self.checks if not c.right), None)

    @property
    def diagnosis(self) -> str:
        """The diagnosis of the first failure, or ``"right"``."""
        return RIGHT if self.failure is None else self.failure.diagnosis

    def __bool__(self) -> bool:
        return self.failure is None

    def __str__(self) -> str:
        if self.failure is None:
            head = "gradcheck: right"
        else:
            head = f"gradcheck: {self.failure.diagnosis} at order {self.failure.order}"
        return "\n".join([head, *map(str, self.checks)])

    __repr__ = __str__


@dataclass(frozen=True)
class AdjointReport:
    """The result of :func:`~minisn.gradcheck.check_adjoint`; true if the identity holds.

    Args:
        left: :math:`\\langle f(x), y\\rangle`.
        right: :math:`\\langle x, f^*(y)\\rangle`.
        bound: the difference that rounding explains.
        message: what failed, in words.
        details: the entries that differ, from finite differences, or None.
    """

    left: float
    right: float
    bound: float
    message: str = ""
    details: Report | None = None

    def __bool__(self) -> bool:
        return not self.message

    def __str__(self) -> str:
        error = abs(self.left - self.right)
        sides = (
            f"<f(x), y> = {self.left:.12g}, <x, f_adj(y)> = {self.right:.12g}, "
            f"difference {error:.1e}, rounding {self.bound:.1e}"
        )
        if self:
            return f"check_adjoint: right; {sides}"
        text = f"check_adjoint: {self.message}\n  {sides}"
        return f"{text}\n{self.details}" if self.details is not None else text

    __repr__ = __str__
