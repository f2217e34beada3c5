"""Gradient checks that name the mistake: finite differences, adjoints, a diagnosis.

:func:`gradcheck` compares a gradient with central differences in float64. Each difference
has its own error estimate, and the verdict uses that estimate: there is no tolerance to tune.
:func:`check_adjoint` tests a linear map against its transpose, to rounding.
``python -m minisn.gradcheck --all`` checks every rule of the library.

Functions of Tensors, of PyTorch tensors and of JAX arrays are checked with their own
gradients, plain NumPy functions with a hand-written gradient.
"""

from .check import check_adjoint, gradcheck
from .report import AdjointReport, Check, Entry, Report

__all__ = ["AdjointReport", "Check", "Entry", "Report", "check_adjoint", "gradcheck"]
