"""Is it spectral normalization? Clauses that any library's layer keeps or breaks.

``minisn conformance torch`` tests a layer of PyTorch, ``minisn conformance my.module:factory``
tests your own. Each layer is a black box: a basis goes in, and the linear map that comes out is the
normalized weight. :func:`run` yields the verdicts; a clause that a layer cannot be asked is "not
asked".

``probes`` the layers and the basis · ``reference`` what the papers say · ``of_values``,
``of_gradients``, ``of_state`` the clauses · ``deviations`` names and meanings · ``adapters`` the
libraries · ``vectors`` inputs and outputs as files, for implementations in any language.
"""

from .adapters import ASKED, NAMES, load
from .report import Row, read_table, row, write_table
from .suite import BROKEN, KEPT, NOT_ASKED, Clause, Result, all_clauses, run

__all__ = [
    "ASKED",
    "BROKEN",
    "KEPT",
    "NAMES",
    "NOT_ASKED",
    "Clause",
    "Result",
    "Row",
    "all_clauses",
    "load",
    "read_table",
    "row",
    "run",
    "write_table",
]
