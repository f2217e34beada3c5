"""Gradient checks that say what is wrong: finite differences, adjoints, a diagnosis.

:func:`gradcheck` compares a gradient with central differences in float64, each with
its own error estimate, and judges by that estimate: there is no tolerance to tune.
:func:`check_adjoint` tests a linear map against its transpose, to rounding.
``python -m minisn.gradcheck --all`` checks every rule of the library.

The functions to check may be made of Tensors or of plain NumPy with a gradient
written by hand.
"""

from .check import check_adjoint, gradcheck
from .report import AdjointReport, Check, Entry, Report

__all__ = ["AdjointReport", "Check", "Entry", "Report", "check_adjoint", "gradcheck"]
