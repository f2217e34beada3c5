"""Other frameworks' layers are still what the kept table says."""

from pathlib import Path

import pytest

from minisn.conformance import BROKEN, NOT_ASKED, load, read_table, run

ROUNDING = 1e-6
"""A clause broken by less is decided by roundings, which differ between processors: nnx divides the
weight by its norm of 1 again in every evaluation, and its last bits then move or do not."""
KEPT = Path(__file__).parent.parent / "tutorials" / "studies" / "conformance" / "table.json"


def decided(error):
    """Return whether an error, None or NaN if it is not a number, is more than rounding."""
    return error is None or not error <= ROUNDING


@pytest.mark.filterwarnings("default")  # the frameworks' own
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("flax-linen", marks=pytest.mark.needs("flax")),
        pytest.param("flax-nnx", marks=pytest.mark.needs("flax")),
        pytest.param("equinox", marks=pytest.mark.needs("equinox")),
        pytest.param("keras", marks=pytest.mark.needs("keras", "torch")),
    ],
)
def test_a_framework_breaks_what_the_table_says(name):
    adapter = load(name)
    (row,) = (r for r in read_table(KEPT)["libraries"] if r["name"] == adapter.name)
    if str(adapter.version) != row["version"]:
        pytest.skip(f"the table is of {row['version']}, here is {adapter.version}")
    told = {
        c["number"]: c["deviation"]
        for c in row["clauses"]
        if c["verdict"] == BROKEN and decided(c["error"])
    }
    results = list(run(adapter))
    found = {
        r.clause.number: r.deviation for r in results if r.verdict == BROKEN and decided(r.error)
    }
    assert found == told
    unasked = {c["number"] for c in row["clauses"] if c["verdict"] == NOT_ASKED}
    assert {r.clause.number for r in results if r.verdict == NOT_ASKED} == unasked
