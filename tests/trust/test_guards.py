"""A few rounds of every kernel between protected pages, and the faults that they must see."""

import numpy as np
import pytest

pytest.importorskip("minisn.kernels.cpu", reason="the compiled kernels are not installed")
from guards import KERNELS, Fence, accuracy, attempt, run


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_stay_within_their_arrays(name):
    for seed in range(12):
        attempt(name, seed)


def test_a_read_past_an_array_ends_the_process():
    assert run("reads_on", 2, seed=7) == {"rounds": 0, "fault": "round 7: SIGSEGV"}


@pytest.mark.parametrize("after", [True, False])
def test_a_write_beside_an_array_is_seen(after):
    fence = Fence(after)
    array = fence.copy(np.ones((3, 5), np.float32))
    assert fence.intact()
    slack = fence.slack[0]
    slack[-1 if after else 0] = 0  # the byte next to the array
    assert not fence.intact() and (array == 1).all()


def test_allocated_arrays_are_guarded():
    fence = Fence(True)
    with fence.allocating():
        made = [np.empty(3), np.zeros((2, 2)), np.empty_like(np.ones(4))]
        made.append(np.ascontiguousarray(np.ones((2, 3)).T))
    assert len(fence.slack) == len(made)


def test_half_the_products_are_as_good_as_the_direct_ones():
    assert accuracy(15)["greatest"] < 3
