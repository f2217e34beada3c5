"""The bench: real processes, real steps, at a size that takes seconds."""

import dataclasses
import importlib.util

import pytest

from minisn.bench import Contestant, compare
from minisn.config import load_preset
from minisn.errors import ConfigError

CONFIG = dataclasses.replace(load_preset("mnist-tiny"), width=2, batch_size=4)


def test_each_turn_gives_seconds_per_step_and_a_peak_of_memory():
    (timing,) = compare([Contestant("minisn", "minisn", CONFIG)], turns=3, steps=2)
    assert len(timing.seconds) == 3
    assert 0 < timing.median < 10
    assert min(timing.seconds) <= timing.median <= max(timing.seconds)
    assert 50 < timing.peak_mb < 2000


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_pytorch_takes_the_same_step_in_a_process_of_its_own():
    both = [Contestant(name, name, CONFIG) for name in ("minisn", "torch")]
    mine, theirs = compare(both, turns=1, steps=1)
    assert (mine.name, theirs.name) == ("minisn", "torch")
    assert theirs.median > 0


def test_a_contestant_that_cannot_run_is_one_clear_line():
    with pytest.raises(ConfigError, match=r"bench: .*nothing-like-it"):
        unknown = dataclasses.replace(CONFIG, data="nothing-like-it")
        compare([Contestant("minisn", "minisn", unknown)], turns=1, steps=1)
