"""The papers' figures, each as one command: cells to run, a table, and what it says.

``cells`` one training run each · ``schedule`` many at once, on Dask · ``design`` what a study is ·
``comparisons``, ``untrained``, ``l21`` the studies of the papers · ``photographs`` one of ours.
"""

from .cells import Cell, run_cell
from .comparisons import METHOD_STUDIES
from .design import Study, read_table
from .l21 import LIN_STUDIES
from .photographs import PHOTOGRAPH_STUDIES
from .schedule import Standing, run_cells
from .untrained import SHAPE_STUDIES

STUDIES = {
    study.name: study
    for study in [*METHOD_STUDIES, *SHAPE_STUDIES, *LIN_STUDIES, *PHOTOGRAPH_STUDIES]
}
"""Every study by name."""

__all__ = ["STUDIES", "Cell", "Standing", "Study", "read_table", "run_cell", "run_cells"]
