"""The machine: networks that it cannot hold, and memory that was freed."""

import platform
import subprocess
import sys
import tracemalloc
from unittest.mock import Mock

import pytest

from minisn import machine
from minisn.config import load_preset, presets
from minisn.errors import ConfigError
from minisn.training import bare_networks

# -- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("width", [1, 3, 4, 9])
def test_weights_are_counted_without_making_them(name, width):
    config = load_preset(name).replace(width=width)
    weights = sum(p.size for network in bare_networks(config, 3) for p in network.parameters())
    assert machine.weight_count(config) == weights


def test_networks_that_are_too_large_are_refused_together_before_they_are_made(monkeypatch):
    """Where each weight by itself would find its place."""
    config = load_preset("mnist").replace(width=1000)
    monkeypatch.setattr(machine, "physical_memory", lambda: 20e9)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=r"at least 22 GB, and this machine has 20; lower"):
            machine.check_memory(config)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2e6
    monkeypatch.setattr(machine, "physical_memory", lambda: 23e9)
    machine.check_memory(config)


def test_a_machine_that_does_not_tell_its_memory_refuses_nothing(monkeypatch):
    monkeypatch.setattr(machine.os, "sysconf", Mock(side_effect=ValueError))
    machine.check_memory(load_preset("mnist").replace(width=10**6))


# -- memory that was freed ---------------------------------------------------------------------


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_was_freed_is_kept_where_a_program_asks_for_it():
    """Pages that the system gives, for 64 MB that were given back just before."""
    script = """
import resource, sys
import numpy as np
from minisn import machine
if sys.argv[1] == "keep":
    machine.keep_freed_memory()
for turn in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a = np.ones(1 << 23)
    del a
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def pages(how):
        command = [sys.executable, "-c", script, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert pages("keep") < 16 <= pages("leave")  # even of 2 MB each


def test_another_c_library_is_left_as_it_is(monkeypatch):
    for error in (AttributeError, OSError, TypeError):
        monkeypatch.setattr(machine.ctypes, "CDLL", Mock(side_effect=error))
        machine.keep_freed_memory()
