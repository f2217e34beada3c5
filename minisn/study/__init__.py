"""The figures of the papers as studies: training runs, a table and a verdict.

``cells`` one training run each · ``schedule`` many runs at once, on Dask · ``design`` the parts of
a study · ``comparisons``, ``untrained``, ``l21`` the studies of the papers · ``photographs`` our
own studies.
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
"""All studies, by name."""

__all__ = ["STUDIES", "Cell", "Standing", "Study", "read_table", "run_cell", "run_cells"]
