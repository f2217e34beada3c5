"""Training at rates that are far too high: it goes on with numbers, or stops and says where.

Every objective, with every way to keep D smooth, at both networks; nothing that is not finite is
ever kept, logged or trained on, and no warning of NumPy's is all that is said.
"""

import json
import re

import numpy as np
import pytest
import tiny
from click.testing import CliRunner

from minisn import runs
from minisn.checkpoint import load
from minisn.cli import main
from minisn.errors import NonFiniteError
from minisn.losses import OBJECTIVES
from minisn.regularizers import METHODS
from minisn.training import Trainer

TINY = tiny.TINY.replace(
    rate_d=1e3, rate_g=1e3, n_dis=1, steps=6, log_every=2, sample_every=3, checkpoint_every=1
)

UNBOUND = ("none", "orthonormal", "gp", "sigma2")
"""Ways that leave the weights in use free to grow, or that grow themselves with the weights."""

TOLD = re.compile(
    r"at step (?P<step>\d+): (?P<what>a logit is a NaN or an infinity"
    r"|step: (the gradient(, or its square,)?|the new value) of parameter [DG]/layers\.\d+\.\w+ is "
    r"not).*"
    r"the largest weight is (?P<size>[-+.e\d]+|nan|inf), in (?P<where>[DG]/layers\.\d+\.\w+); the "
    r"last checkpoint is kept as it was"
)
"""What an end by divergence says: the step, what was not finite, and the layer that grew most."""

pytestmark = pytest.mark.usefixtures("plain_kernels")

ANY_OBJECTIVE = [
    pytest.param(name, marks=[pytest.mark.slow] * (name != "hinge")) for name in OBJECTIVES
]


def images():
    return np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)


def started(folder, config):
    runs.create_run(folder, config)
    return Trainer(config, images())


def assert_sound(folder, trainer, until):
    """All that is kept, in memory and on the disk, is numbers, from before the end."""
    for network in (trainer.G, trainer.D):
        for name, p in network.named_parameters().items():
            assert np.isfinite(p.array).all(), name
    log = runs.read_log(folder)
    assert [e["step"] for e in log] == [s for s in range(until + 1) if s % 2 == 0 or s % 3 == 0]
    numbers = [v for e in log for v in (e["loss_d"], e["loss_g"], *e["sigma"].values()) if v]
    assert np.isfinite(numbers).all()
    if until:
        kept = load(folder / runs.CHECKPOINT)
        assert kept.step == until
        assert all(np.isfinite(array).all() for array in kept.arrays.values())
    else:
        assert not (folder / runs.CHECKPOINT).exists()


@pytest.mark.parametrize("name", [*METHODS, "gp"])
@pytest.mark.parametrize("objective", ANY_OBJECTIVE)
def test_a_rate_of_a_thousand_never_leads_to_what_is_no_number(tmp_path, objective, name):
    folder = tmp_path / "run"
    trainer = started(folder, TINY.replace(objective=objective, regularizer=name))
    try:
        runs.train(trainer, folder, on_sample=lambda step, x: np.testing.assert_equal(x, x))
    except NonFiniteError as error:
        told = TOLD.search(str(error))
        assert told, error
        assert name in UNBOUND
        assert int(told["step"]) == trainer.step + 1
        assert float(told["size"]) > 500
        assert_sound(folder, trainer, trainer.step)
    else:
        assert name not in UNBOUND  # they do diverge, so the other branch is walked
        assert_sound(folder, trainer, TINY.steps)


@pytest.mark.parametrize("objective", ANY_OBJECTIVE)
@pytest.mark.parametrize(
    ("rates", "where"),
    [((1e30, 1e-3), "D"), ((1e-3, 1e30), "G"), ((1e30, 1e30), "[DG]"), ((1e3, 1e-3), "D")],
)
def test_the_side_that_diverged_is_named(tmp_path, objective, rates, where):
    folder = tmp_path / "run"
    config = TINY.replace(objective=objective, regularizer="none", rate_d=rates[0], rate_g=rates[1])
    trainer = started(folder, config)
    with pytest.raises(NonFiniteError) as caught:
        runs.train(trainer, folder)
    told = TOLD.search(str(caught.value))
    assert told and re.match(where, told["where"]), caught.value
    assert int(told["step"]) == trainer.step + 1
    assert_sound(folder, trainer, trainer.step)


@pytest.mark.parametrize(
    "change",
    [
        {"gradient_penalty": 10.0},
        {"gain": True},
        {"scale": 1e30},
        {"average": 0.0},
        {"regularizer": "wn", "scale": 1e20},
    ],
)
def test_other_settings_end_in_numbers_or_in_words(tmp_path, change):
    folder = tmp_path / "run"
    trainer = started(folder, TINY.replace(**change))
    until = TINY.steps
    try:
        runs.train(trainer, folder)
    except NonFiniteError as error:
        assert TOLD.search(str(error)), error
        until = trainer.step
    assert_sound(folder, trainer, until)
    assert (until < TINY.steps) == (change.keys() & {"gain", "scale"} != set())


def test_it_is_found_at_its_step_where_nothing_is_logged_or_saved(tmp_path):
    exact, rarely = (
        started(tmp_path / name, TINY.replace(regularizer="none", **every))
        for name, every in (
            ("a", {}),
            ("b", dict.fromkeys(("log_every", "sample_every", "checkpoint_every"), 1000)),
        )
    )
    ends = []
    for trainer, name in ((exact, "a"), (rarely, "b")):
        with pytest.raises(NonFiniteError) as caught:
            runs.train(trainer, tmp_path / name)
        ends.append((trainer.step, str(caught.value)))
    assert ends[0] == ends[1]


def test_a_diverged_run_diverges_again_until_its_rates_are_lowered(tmp_path):
    folder = tmp_path / "run"
    wild = TINY.replace(regularizer="none", checkpoint_every=2)
    with pytest.raises(NonFiniteError) as first:
        runs.train(started(folder, wild), folder)
    kept = (folder / runs.CHECKPOINT).read_bytes()
    for _ in range(2):
        trainer = runs.resume(folder, images())
        assert trainer.step == 2
        with pytest.raises(NonFiniteError) as again:
            runs.train(trainer, folder)
        assert str(again.value) == str(first.value)
        assert (folder / runs.CHECKPOINT).read_bytes() == kept
    calm = wild.replace(rate_d=1e-4, rate_g=1e-4)
    (folder / runs.CHECKPOINT).unlink()
    trainer = runs.resume(folder, images(), config=calm)
    runs.train(trainer, folder)
    assert_sound(folder, trainer, TINY.steps)


@pytest.mark.parametrize("network", ["D", "G"])
def test_an_update_by_itself_refuses_too(network):
    """Without the loop of runs around it, as a notebook would call it."""
    trainer = Trainer(TINY.replace(rate_d=1e-3, rate_g=1e-3, regularizer="wn"), images())
    p = next(iter(getattr(trainer, network).named_parameters().values()))
    p.assign(np.full(p.shape, np.nan, np.float32))
    before = {n: q.numpy() for n, q in trainer.D.named_parameters().items()}
    with pytest.raises(NonFiniteError, match="a logit is a NaN"):
        trainer.update()
    for name, q in trainer.D.named_parameters().items():
        np.testing.assert_array_equal(q.array, before[name])


def test_the_command_ends_in_one_line(tmp_path):
    changes = {"width": 2, "batch_size": 4, "regularizer": "none", "rate_d": 1e30,
               "checkpoint_every": 1, "log_every": 1}  # fmt: skip
    given = [part for n, value in changes.items() for part in ("--set", f"{n}={value}")]
    result = CliRunner().invoke(
        main, ["train", "mnist-tiny", "--out", str(tmp_path / "run"), "--steps", "4", *given]
    )
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("minisn: error: at step ")
    assert TOLD.search(lines[0])
    log = (tmp_path / "run" / runs.LOG).read_text().splitlines()
    assert [json.loads(line)["step"] for line in log][:1] == [0]
