"""Runs: the folder, the log, the loop, and that a kill at any moment costs nothing."""

import _thread
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import tiny

from minisn import runs
from minisn.checkpoint import load
from minisn.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from minisn.health import spread
from minisn.nn import Weighted
from minisn.runs import create_run, read_config, read_log, resume, train
from minisn.training import Trainer

TINY = tiny.TINY.replace(n_dis=1, steps=7, log_every=2, sample_every=3, checkpoint_every=4)


def images():
    return np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)


def content(folder):
    """Every file under a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def outcome(folder):
    """What a run leaves, but for the time it took: every bit of it counts."""
    state = load(folder / runs.CHECKPOINT)
    arrays = {k: (v.dtype.str, v.shape, short(v.tobytes())) for k, v in state.arrays.items()}
    log = [{k: v for k, v in entry.items() if k != "seconds"} for entry in read_log(folder)]
    counts = (state.step, state.adam_d, state.adam_g, state.rng, state.data, state.config)
    samples = {k: short(v) for k, v in content(folder).items() if k.startswith("samples")}
    return arrays, counts, log, samples


def short(data):
    """Stand for bytes by their hash, so that a difference is told in a line."""
    return hashlib.sha256(data).hexdigest()[:16]


def new_run(folder, config=TINY):
    create_run(folder, config)
    return Trainer(config, images())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run from its start to its end; no test changes it."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    train(new_run(folder), folder)
    return folder


# --- the folder -------------------------------------------------------------------------------


def test_a_new_run_holds_its_settings(tmp_path):
    folder = tmp_path / "a" / "b"
    config = TINY.replace(rate_d=0.1 + 0.2, seed=2**40)
    create_run(folder, config)
    assert sorted(os.listdir(folder)) == ["config.toml", "run.lock"]
    assert read_config(folder) == config
    assert read_log(folder) == []


def test_an_empty_folder_may_become_a_run(tmp_path):
    (tmp_path / "config.toml.part").write_text("left by a kill")
    create_run(tmp_path, TINY)
    assert read_config(tmp_path) == TINY


def test_a_folder_in_use_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"not empty; name another folder with --out") as caught:
        create_run(tmp_path, TINY)
    assert str(tmp_path) in str(caught.value)
    assert content(tmp_path) == {"thesis.tex": b"years of work"}


def test_only_the_folder_of_a_run_is_advised_to_be_resumed(tmp_path):
    create_run(tmp_path, TINY)
    with pytest.raises(ConfigError, match=r"not empty; go on .* --resume .*, or name .* --out"):
        create_run(tmp_path, TINY)


def test_a_place_where_no_folder_can_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match=r"cannot make the run folder.*--out") as caught:
            create_run(folder, TINY)
        assert str(folder) in str(caught.value)


def test_a_folder_without_a_run_is_named(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ConfigError, match="not the folder of a run"):
            read_config(folder)
        with pytest.raises(ConfigError, match="not the folder of a run"):
            resume(folder, images())


def test_a_full_disk_at_the_start_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ConfigError, match=r"config\.toml: No space left"):
        create_run(tmp_path / "run", TINY)


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- the log ----------------------------------------------------------------------------------


def test_a_torn_last_line_is_left_out(tmp_path):
    whole = b'{"step": 0}\n{"step": 2}\n'
    for torn in (b"", b"{", b'{"step": 4', b'{"step": 4}', b"\0" * 30, b"\xff"):
        (tmp_path / "log.jsonl").write_bytes(whole + torn)
        assert [entry["step"] for entry in read_log(tmp_path)] == [0, 2]


@pytest.mark.parametrize(
    "line", [b"{", b"", b"[1]", b'{"step": 1.5}', b'{"loss_d": 1}', b"\xff", b"[" * 100_000]
)
def test_a_damaged_line_is_named_by_its_number(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 0}\n' + line + b'\n{"step": 4}\n')
    with pytest.raises(DataError, match="line 2 is damaged") as caught:
        read_log(tmp_path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 400


def test_a_log_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(DataError, match="cannot read"):
        read_log(tmp_path)


# --- the loop ---------------------------------------------------------------------------------


def test_lines_samples_and_checkpoints_come_when_they_are_due(tmp_path, monkeypatch):
    lines, sheets, saved = [], [], []
    save = runs.save
    monkeypatch.setattr(runs, "save", lambda p, t: (saved.append(t.step), save(p, t)))
    trainer = new_run(tmp_path / "run")
    trainer.seconds, started = 10.0, time.perf_counter()
    train(
        trainer,
        tmp_path / "run",
        on_log=lines.append,
        on_sample=lambda step, x: sheets.append((step, x)),
    )
    assert [line["step"] for line in lines] == [0, 2, 3, 4, 6, 7]
    assert [line["step"] for line in lines if "norm" in line] == [0, 3, 6, 7]
    assert [step for step, _ in sheets] == [0, 3, 6, 7]
    assert saved == [4, 7]
    assert lines == read_log(tmp_path / "run")
    assert all(x.shape == (64, 1, 8, 8) and x.dtype == np.float32 for _, x in sheets)
    times = [line["seconds"] for line in lines]
    assert times[0] == 10.0 and times == sorted(times)
    assert times[-1] <= trainer.seconds <= 10.0 + time.perf_counter() - started
    assert load(tmp_path / "run" / runs.CHECKPOINT).seconds == times[-1] == trainer.seconds
    assert (lines[0]["loss_d"], lines[0]["loss_g"]) == (None, None)


def test_samples_are_of_the_same_latent_vectors(tmp_path):
    sheets = []
    trainer = new_run(tmp_path / "run")
    train(trainer, tmp_path / "run", on_sample=lambda step, x: sheets.append(x))
    z = runs.sample_vectors(TINY)
    assert z.shape == (64, 6) and z.dtype == np.float32
    assert abs(z.mean()) < 0.2 and abs(z.std() - 1) < 0.1
    assert np.array_equal(sheets[-1], trainer.sample(z))
    assert np.array_equal(sheets[0], Trainer(TINY, images()).sample(z))
    assert not np.array_equal(sheets[0], sheets[-1])
    assert not np.array_equal(z, runs.sample_vectors(TINY.replace(seed=4)))
    # drawn apart from the weights, which come from the same seed
    assert not np.array_equal(z, np.random.default_rng(3).standard_normal((64, 6), np.float32))


def test_logging_and_sampling_do_not_change_what_is_learned(tmp_path, finished):
    silent = TINY.replace(log_every=1000, sample_every=1000, checkpoint_every=1000)
    train(new_run(tmp_path / "run", silent), tmp_path / "run")
    (arrays, counts, _, _), expected = outcome(tmp_path / "run"), outcome(finished)
    assert arrays == expected[0]
    assert counts[:-1] == expected[1][:-1]


def test_sigma_and_norm_are_those_of_each_layer_of_d(tmp_path):
    trainer = new_run(tmp_path / "run", TINY.replace(scale=1.5))
    train(trainer, tmp_path / "run")
    last = read_log(tmp_path / "run")[-1]
    layers = {n: m for n, m in trainer.D.named_modules() if isinstance(m, Weighted)}
    assert list(last["sigma"]) == list(last["norm"]) == list(layers) and len(layers) == 8
    for name, layer in layers.items():
        W = layer.weight.numpy().reshape(layer.weight.shape[0], -1).astype(np.float64)
        sigma = layer.state["u"].astype(np.float64) @ W @ layer.state["v"].astype(np.float64)
        # float32 sums of up to 128 products: far below 1e-5
        assert last["sigma"][name] == pytest.approx(sigma, rel=1e-5)
        largest = np.linalg.svd(W, compute_uv=False)[0]
        assert last["norm"][name] == pytest.approx(1.5 * largest / sigma, rel=1e-5)


def test_a_line_tells_slopes_gradients_and_spread(tmp_path, monkeypatch):
    trainer, seen = new_run(tmp_path / "run"), []
    update = trainer.update

    def watched():
        losses = update()
        seen.append(
            (
                trainer.step,
                *(a.copy() for a in trainer.scores),
                *(adam._flat.latest.copy() for adam in (trainer.adam_d, trainer.adam_g)),
            )
        )
        return losses

    monkeypatch.setattr(trainer, "update", watched)
    sheets = []
    train(trainer, tmp_path / "run", on_sample=lambda step, x: sheets.append((step, x)))
    log = {e["step"]: e for e in read_log(tmp_path / "run")}
    assert not {"slope", "gradient"} & log[0].keys() and len(log) == 6
    for step, real, fake, g_d, g_g in seen:
        if step in log:
            shares = {"real": np.mean(real < 1), "fake": np.mean(fake > -1)}
            assert log[step]["slope"] == pytest.approx(shares)
            loss = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
            assert log[step]["loss_d"] == pytest.approx(loss, rel=1e-5)  # of the last update's
            norms = {"D": np.linalg.norm(g_d), "G": np.linalg.norm(g_g)}
            assert log[step]["gradient"] == pytest.approx(norms, rel=1e-5)
    data = spread(images()[np.arange(20)] / np.float32(127.5) - 1)
    assert [step for step, _ in sheets] == [s for s, e in log.items() if "spread" in e]
    for step, x in sheets:
        expected = {"samples": spread(x[:20]), "data": data}  # as many as there are images
        assert log[step]["spread"] == pytest.approx(expected, rel=1e-5)


def test_minutes_end_a_run_early_with_a_checkpoint_and_a_sheet(tmp_path, finished):
    folder, sheets = tmp_path / "run", []
    first = new_run(folder)
    train(first, folder, minutes=0.0, on_sample=lambda step, x: sheets.append(step))
    assert load(folder / runs.CHECKPOINT).step == 1 and sheets == [0, 1]
    trainer = resume(folder, images())
    assert trainer.seconds == first.seconds > 0
    train(trainer, folder, minutes=60)
    assert outcome(folder) == outcome(finished)


def test_a_finished_run_is_left_as_it_is_and_can_be_lengthened(tmp_path, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    trainer = resume(folder, images())
    seconds = trainer.seconds
    train(trainer, folder)
    assert trainer.seconds == seconds > 0
    assert content(folder) == content(finished)
    longer = TINY.replace(steps=9)
    trainer = resume(folder, images(), config=longer)
    train(trainer, folder)
    assert read_config(folder) == longer
    assert [e["step"] for e in read_log(folder)] == [0, 2, 3, 4, 6, 7, 8, 9]
    assert load(folder / runs.CHECKPOINT).step == 9


# --- Ctrl-C -----------------------------------------------------------------------------------


def interrupt_at(step, times=1):
    def on_log(entry):
        if entry["step"] == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return on_log


def test_ctrl_c_finishes_the_update_saves_and_is_raised(tmp_path, finished):
    folder, before = tmp_path / "run", signal.getsignal(signal.SIGINT)
    trainer = new_run(folder)
    update = trainer.update

    def interrupted_update():
        if trainer.step == 2:
            _thread.interrupt_main()  # in the middle of the third
        return update()

    trainer.update = interrupted_update
    with pytest.raises(KeyboardInterrupt):
        train(trainer, folder)
    assert load(folder / runs.CHECKPOINT).step == trainer.step == 3
    assert signal.getsignal(signal.SIGINT) is before
    train(*resumed(folder))
    assert outcome(folder) == outcome(finished)


def resumed(folder):
    trainer = resume(folder, images())
    return trainer, folder


def test_ctrl_c_before_the_first_update_waits_for_it(tmp_path, finished):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(new_run(folder), folder, on_log=interrupt_at(0))
    assert load(folder / runs.CHECKPOINT).step == 1
    train(*resumed(folder))
    assert outcome(folder) == outcome(finished)


def test_a_second_ctrl_c_does_not_wait(tmp_path, finished):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(new_run(folder), folder, on_log=interrupt_at(6, times=2))
    assert load(folder / runs.CHECKPOINT).step == 4
    train(*resumed(folder))
    assert outcome(folder) == outcome(finished)


def test_ctrl_c_stays_ignored_where_it_was(tmp_path, finished):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        folder = tmp_path / "run"
        train(new_run(folder), folder, on_log=interrupt_at(2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert outcome(folder) == outcome(finished)


def test_a_thread_can_train(tmp_path, all_threads):
    here, there = tmp_path / "here", tmp_path / "there"
    train(new_run(here), here)
    thread = threading.Thread(target=train, args=(new_run(there), there))
    thread.start()
    thread.join()
    assert outcome(there) == outcome(here)


# --- when something goes wrong ----------------------------------------------------------------


def poison(trainer, step, network):
    """Let one weight become a NaN once so many steps are made."""
    update = trainer.update

    def poisoned():
        losses = update()
        if trainer.step == step:
            layer = next(m for m in getattr(trainer, network).layers if isinstance(m, Weighted))
            layer.weight.assign(np.full_like(layer.weight.numpy(), np.nan))
        return losses

    trainer.update = poisoned


@pytest.mark.parametrize(
    ("step", "network", "message"),
    [
        (4, "D", "at step 4: sigma of layers.0 is nan"),  # seen at the log line
        (5, "D", "at step 6: layer layers.0.*NaN"),  # by the power iteration of the next step
        (5, "G", r"at step 6: a logit is a NaN.*G/layers\.0\.weight"),  # by the next step's loss
        (6, "G", r"step 6, G/layers\.0\.weight"),  # by the checkpoint
    ],
)
def test_divergence_names_the_step_and_keeps_what_was_good(tmp_path, step, network, message):
    folder = tmp_path / "run"
    trainer = new_run(folder, TINY.replace(checkpoint_every=2))
    poison(trainer, step, network)
    with pytest.raises(NonFiniteError, match=message) as caught, np.errstate(invalid="ignore"):
        train(trainer, folder)
    assert "checkpoint" in str(caught.value)
    last = load(folder / runs.CHECKPOINT)
    assert last.step == {4: 2, 5: 4, 6: 4}[step]
    assert all(np.isfinite(array).all() for array in last.arrays.values())
    assert all(np.isfinite(e["loss_d"]) for e in read_log(folder)[1:])


def test_a_diverged_state_is_not_saved_between_log_lines(tmp_path):
    folder = tmp_path / "run"
    trainer = new_run(folder, TINY.replace(log_every=7, sample_every=7, checkpoint_every=2))
    poison(trainer, 4, "G")
    with pytest.raises(NonFiniteError, match=r"step 4, G/layers\.0\.weight"):
        train(trainer, folder)
    assert load(folder / runs.CHECKPOINT).step == 2


@contextmanager
def small_files(most):
    """Let this process write no file beyond some bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_whole_lines_and_the_last_checkpoint(tmp_path, finished):
    folder = tmp_path / "run"
    with ExitStack() as full:

        def fill(entry):
            if entry["step"] == 4:
                full.enter_context(small_files((folder / runs.LOG).stat().st_size + 20))

        with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: File too large"):
            train(new_run(folder), folder, on_log=fill)  # the checkpoint at step 4 does not fit
    assert [e["step"] for e in read_log(folder)] == [0, 2, 3, 4]
    assert not (folder / runs.CHECKPOINT).exists()
    trainer = resume(folder, images())
    train(trainer, folder, minutes=0)
    log = (folder / runs.LOG).read_bytes()
    with (
        small_files(len(log) + 20),  # of the line at step 2
        pytest.raises(DataError, match=r"log\.jsonl: File too large.*checkpoint is untouched"),
    ):
        train(trainer, folder)
    assert (folder / runs.LOG).read_bytes() == log
    assert load(folder / runs.CHECKPOINT).step == 1
    train(*resumed(folder))
    assert outcome(folder) == outcome(finished)


def test_a_log_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    trainer = new_run(folder)
    (folder / runs.LOG).mkdir()
    with pytest.raises(DataError, match=r"cannot write .*log\.jsonl"):
        train(trainer, folder)
    (folder / runs.LOG).rmdir()
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DataError, match=r"log\.jsonl: No space left"):
        train(trainer, folder)


# --- going on ---------------------------------------------------------------------------------


def test_resuming_removes_the_lines_after_the_checkpoint(tmp_path, finished):
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError):
        train(new_run(folder), folder, on_log=fail_at(6))
    with (folder / runs.LOG).open("ab") as log:
        log.write(b'{"step": 8, "sec')
    kept = b"".join((folder / runs.LOG).read_bytes().splitlines(keepends=True)[:4])
    trainer = resume(folder, images())
    assert trainer.step == 4 and trainer.seconds > 0
    assert (folder / runs.LOG).read_bytes() == kept
    train(trainer, folder)
    assert outcome(folder) == outcome(finished)


def fail_at(step):
    def on_log(entry):
        if entry["step"] == step:
            raise RuntimeError

    return on_log


def test_a_run_without_a_checkpoint_resumes_from_the_start(tmp_path, finished):
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError):
        train(new_run(folder), folder, on_log=fail_at(3))
    trainer = resume(folder, images())
    assert (trainer.step, trainer.seconds) == (0, 0.0)
    assert read_log(folder) == []
    train(trainer, folder)
    assert outcome(folder) == outcome(finished)


@pytest.mark.parametrize("sign", ["log", "report"])
def test_a_run_that_lost_its_checkpoint_is_refused_and_left_as_it_was(tmp_path, finished, sign):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / runs.CHECKPOINT).unlink()
    lines = (folder / runs.LOG).read_bytes().splitlines(keepends=True)
    if sign == "report":  # the log ends where no checkpoint was due
        (folder / runs.LOG).write_bytes(b"".join(lines[:2]))
        (folder / runs.REPORT).touch()
    before = content(folder)
    with pytest.raises(CheckpointError, match=r"is missing, but .* to step [27]; put a copy"):
        resume(folder, images())
    assert content(folder) == before
    (folder / runs.LOG).write_bytes(lines[0])
    assert resume(folder, images()).step == 0


def test_settings_after_the_last_step_are_refused_and_change_nothing(tmp_path, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = content(folder)
    late = TINY.replace(rate_g=0.5, width=TINY.width)
    with pytest.raises(ConfigError, match=r"all of its 7 steps, so that rate_g would .*--steps"):
        resume(folder, images(), config=late)
    assert content(folder) == before
    assert resume(folder, images(), config=late.replace(steps=8)).config.rate_g == 0.5


def test_what_cannot_be_resumed_is_left_as_it_was(tmp_path, finished, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    with (folder / runs.LOG).open("ab") as log:
        log.write(b'{"step": 9}\n')
    before = content(folder)
    with pytest.raises(CheckpointError, match="another architecture"):
        resume(folder, images(), config=TINY.replace(width=3))
    for others in (images()[:15], np.zeros_like(images()), images()[::-1].copy()):
        with pytest.raises(CheckpointError, match="same data"):
            resume(folder, others)
    with monkeypatch.context() as patch, pytest.raises(DataError, match="No space left"):
        patch.setattr(os, "fsync", no_space)
        resume(folder, images())
    assert content(folder) == before
    (folder / runs.CHECKPOINT).write_bytes(before[runs.CHECKPOINT][:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        resume(folder, images())
    (folder / runs.LOG).write_bytes(b"{\n")
    with pytest.raises(DataError, match="line 1"):
        resume(folder, images())
    (folder / runs.CONFIG).write_bytes(b"steps = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        resume(folder, images())


# --- killed -----------------------------------------------------------------------------------

KILLER = textwrap.dedent(
    """
    # Runs sessions of training, each in a process of its own that is killed.
    import json, os, random, shutil, signal, stat, sys, time
    from pathlib import Path

    import numpy as np

    from minisn import runs, use_kernels
    from minisn.config import Config

    use_kernels("array_api")  # no threads, which a fork would lose
    root, config = Path(sys.argv[1]), Config(**json.loads(sys.argv[2]))
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)

    def session(folder):
        if not (folder / "config.toml").exists():
            runs.create_run(folder, config)

        def draw(step, x):
            (folder / "samples").mkdir(exist_ok=True)
            (folder / "samples" / f"{step:06}").write_bytes(x.tobytes())

        trainer = runs.resume(folder, images)
        runs.train(trainer, folder, on_sample=draw)

    def killed(folder, delay=None, call=None):
        # Whether a session was killed: after a delay, or just before its n-th file operation.
        child = os.fork()
        if child == 0:
            try:
                if call is not None:
                    kill_before(call, folder)
                session(folder)
                os._exit(0)
            finally:
                os._exit(1)
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL), status
        return status == signal.SIGKILL

    def kill_before(call, folder):
        count = 0

        def note():
            nonlocal count
            count += 1
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)

        def audit(event, args):
            if event in ("open", "os.rename", "os.mkdir") and str(folder) in str(args[0]):
                note()

        def fsync(fd):  # cut off half of a new file, as if killed while writing it
            about, log = os.fstat(fd), folder / "log.jsonl"
            whole_lines = log.exists() and os.path.samestat(about, log.stat())
            if call == count + 1 and stat.S_ISREG(about.st_mode) and not whole_lines:
                os.truncate(fd, about.st_size // 2)
            note()

        sys.addaudithook(audit)
        os.fsync = fsync

    session(root / "straight")
    start = time.perf_counter()
    session(root / "again")
    once = time.perf_counter() - start
    chance, kills = random.Random(0), {"random": 0, "planned": 0, "again": 0}
    for run in range(40):
        while killed(root / f"random{run}", delay=chance.uniform(0, once)):
            kills["random"] += 1
        if kills["random"] >= 6:
            break
    half = root / "half"  # was killed with lines in its log that come after its checkpoint
    for call in range(1, 1000):
        folder = root / f"planned{call}"
        if not killed(folder, call=call):
            break
        kills["planned"] += 1
        if (folder / "checkpoint.safetensors").exists() and not half.exists():
            if runs.read_log(folder)[-1]["step"] == 3:
                shutil.copytree(folder, half)
        session(folder)
    for call in range(1, 1000):
        folder = root / f"again{call}"
        shutil.copytree(half, folder)
        if not killed(folder, call=call):
            break
        kills["again"] += 1
        session(folder)
    session(half)
    print(json.dumps(kills))
    """
)


HOLD = """
import sys
from pathlib import Path
from minisn import runs
with runs.alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_on_a_run_is_refused_and_changes_nothing(tmp_path, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    with (folder / runs.LOG).open("ab") as log:
        log.write(b"torn")
    before = content(folder)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        for write in (
            lambda: resume(folder, images()),
            lambda: train(Trainer(TINY, images()), folder),
        ):
            with pytest.raises(ConfigError, match="another process is training this run"):
                write()
        assert content(folder) == before
        other.kill()
    resume(folder, images())  # a lock ends with its process
    assert b"torn" not in (folder / runs.LOG).read_bytes()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_to_the_very_bits(tmp_path):
    config = TINY.replace(steps=4, checkpoint_every=2, log_every=1)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLER, str(tmp_path), json.dumps(config.to_dict())],
        env=environment,
        cwd=Path(runs.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    # each checkpoint opens and renames a file, and flushes it and the folder; the log is more
    assert kills["random"] >= 6 and kills["planned"] >= 15 and kills["again"] >= 10, kills
    expected = outcome(tmp_path / "straight")
    assert expected[1][0] == 4 and len(expected[3]) == 3
    folders = sorted(tmp_path.iterdir())
    assert len(folders) > kills["planned"] + kills["again"]
    for folder in folders:
        assert outcome(folder) == expected, folder.name


def test_of_two_that_make_a_run_at_once_one_is_refused(tmp_path, monkeypatch):
    waiting = runs.alone

    @contextmanager
    def late(folder):
        monkeypatch.setattr(runs, "alone", waiting)
        create_run(folder, TINY)  # by another process, after the first look at the folder
        with waiting(folder):
            yield

    monkeypatch.setattr(runs, "alone", late)
    with pytest.raises(ConfigError, match="not empty; go on"):
        create_run(tmp_path / "run", TINY.replace(seed=1))
    assert read_config(tmp_path / "run") == TINY
