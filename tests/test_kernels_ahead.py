"""The kernels that a second process compiles ahead of a first training step."""

import itertools
import os
import subprocess
import sys
import threading

import pytest

from minisn import kernels
from minisn.cli import progress

ahead = pytest.importorskip("minisn.kernels.cpu.ahead", reason="Numba is not installed")

STEP = """if True:
    from minisn.bench import noise
    from minisn.kernels import compiled
    from minisn.config import load_preset
    from minisn.training import Trainer

    for name in "mnist", "cifar10-small", "cifar10":
        config = load_preset(name).replace(batch_size=16)
        Trainer(config, noise(config)).update()
    print(compiled())
"""


@pytest.mark.slow  # it compiles all kernels
def test_it_compiles_all_that_a_training_step_needs(tmp_path):
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-m", ahead.__name__], check=True, env=env)
    step = [sys.executable, "-c", STEP]
    found = subprocess.run(step, check=True, env=env, capture_output=True, text=True)
    assert found.stdout == "0\n"


@pytest.mark.parametrize("training", [False, True])
def test_a_training_that_compiles_has_help_until_it_ends(monkeypatch, training):
    started, process = threading.Event(), []

    def start():
        process.append(begin())
        started.set()
        return process[0]

    begin = ahead.start
    counts = itertools.count()
    monkeypatch.setattr(kernels, "compiled", lambda: next(counts))
    monkeypatch.setattr(ahead, "start", start)
    with progress.compile_notice(training):
        assert started.wait(600 if training else 0.5) == training
        assert all(each.poll() is None for each in process)
    assert len(process) == training
    assert all(each.poll() is not None for each in process)
