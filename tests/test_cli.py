"""The command line, as people meet it: what is printed, what is left on disk, how it ends."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread

from minisn import __version__, bench, checkpoint, data, kernels, lipschitz, plots, runs
from minisn.bench import Contestant, Timing
from minisn.cli import main, networks, progress
from minisn.cli.train import _create, _fresh_folder
from minisn.config import load_preset, presets
from minisn.data import FileReport, load
from minisn.errors import MinisnError
from minisn.nn import Conv2d, Weighted
from minisn.optim import TABLE_1

pytestmark = pytest.mark.usefixtures("empty_plots")

TINY = ("--set", "width=4", "--set", "batch_size=4", "--set", "rate_g=0.02", "--set",
        "log_every=1", "--set", "sample_every=2", "--set", "checkpoint_every=2")  # fmt: skip


def minisn(*arguments, code=0):
    """Run a command in this process."""
    result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="minisn")
    if result.exit_code != code:
        raise AssertionError(f"exit status {result.exit_code}: {result.output}{result.exception!r}")
    return result


def start(*arguments, cwd):
    """Run a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "minisn.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(runs.__file__).parents[1])},
    )


def error_of(result):
    """The one line on standard error, without its label."""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("minisn: error: ")
    return lines[0].removeprefix("minisn: error: ")


def content(folder):
    """Every file below a folder with its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 4 steps, and what the command printed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    return folder, minisn("train", "mnist-tiny", "--steps", 4, "--seed", 3, *TINY, "--out", folder)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of that run, to be changed."""
    folder = tmp_path / "copy"
    shutil.copytree(trained[0], folder)
    return folder


# -- train -----------------------------------------------------------------------------------


def test_train_leaves_a_whole_run(trained):
    folder, result = trained
    assert {str(path) for path in content(folder)} == {
        "config.toml",
        "log.jsonl",
        "checkpoint.safetensors",
        "report.html",
        "run.lock",
        "samples/000000.png",
        "samples/000002.png",
        "samples/000004.png",
        "plots/losses.png",
        "plots/norms.png",
        "plots/sigma.png",
        "plots/spectra.png",
    }
    expected = load_preset("mnist-tiny").replace(
        steps=4,
        seed=3,
        width=4,
        batch_size=4,
        log_every=1,
        sample_every=2,
        checkpoint_every=2,
        rate_g=0.02,
    )
    assert runs.read_config(folder) == expected
    assert [line["step"] for line in runs.read_log(folder)] == [0, 1, 2, 3, 4]
    assert "4 of 4" in (folder / "report.html").read_text("utf-8")
    assert result.stderr == ""


def spoken(result):
    """The lines of an answer, less the notice that comes where kernels are not compiled yet."""
    return [line for line in result.stdout.splitlines() if not line.startswith("Compiling the ")]


def test_train_says_what_it_does_and_ends_with_the_report(trained):
    folder, result = trained
    lines = spoken(result)
    assert lines[0] == f"{folder}: mnist-10k, 28 x 28, width 4, hinge loss, steps 0 to 4"
    last = runs.read_log(folder)[-1]
    assert (
        f"step 4 of 4, loss of D {last['loss_d']:.3f}, of G {last['loss_g']:.3f}, "
        f"norms up to {max(last['norm'].values()):.3f}"
    ) in lines
    assert re.fullmatch(r"4 steps in (\d+ min )?\d+ s\.", lines[-3])
    assert lines[-2] == f"Train longer with: minisn train --resume {folder} --steps 8"
    assert lines[-1] == str(folder / "report.html")


def test_sheets_show_what_the_generator_draws(trained):
    folder, _ = trained
    config = runs.read_config(folder)
    trainer = runs.resume(folder, load(config.data).images)
    sheet = imread(folder / "samples" / "000004.png")[:, :, :3]
    expected = plots.sheet(trainer.sample(runs.sample_vectors(config)))
    assert (np.rint(255 * sheet) == expected).all()
    assert len(np.unique(expected)) > 20


def test_train_without_arguments_is_the_mnist_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(runs, "train", lambda trainer, *_: asked.append(trainer.config) or 0.0)
    result = minisn("train")
    assert asked == [load_preset("mnist")]
    assert spoken(result)[-1] == "runs/mnist-1/report.html"
    assert minisn("train", "--steps", 7).stdout.splitlines()[-1] == "runs/mnist-2/report.html"
    assert asked[1] == load_preset("mnist").replace(steps=7)


def test_fresh_folder_is_one_after_the_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _fresh_folder("mnist") == Path("runs/mnist-1")
    for name in ("mnist-2", "mnist-10", "mnist-tiny-30", "mnist-old"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert _fresh_folder("mnist") == Path("runs/mnist-11")


def test_config_file_gives_the_settings_and_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(runs, "train", lambda trainer, *_: asked.append(trainer.config) or 0.0)
    (tmp_path / "mine.toml").write_text(minisn("presets", "mnist-tiny").stdout)
    result = minisn(
        "train",
        "--config",
        "mine.toml",
        "--set",
        "rate_g = 1e-3",
        "--data",
        "cifar10-2k",
        "--set",
        "size=32",
    )
    expected = load_preset("mnist-tiny").replace(rate_g=1e-3, data="cifar10-2k", size=32)
    assert asked == [expected]
    assert spoken(result)[-1] == "runs/mine-1/report.html"


# -- going on --------------------------------------------------------------------------------


def test_resumed_run_is_the_uninterrupted_one(run, tmp_path):
    result = minisn("train", "--resume", run, "--steps", 6)
    assert "steps 4 to 6" in result.stdout
    whole = tmp_path / "whole"
    minisn("train", "mnist-tiny", "--steps", 6, "--seed", 3, *TINY, "--out", whole)
    one, two = (checkpoint.load(f / runs.CHECKPOINT) for f in (run, whole))
    assert one.step == two.step == 6
    assert one.arrays.keys() == two.arrays.keys()
    for name, array in one.arrays.items():
        assert array.tobytes() == two.arrays[name].tobytes(), name
    for sheet in (whole / "samples").iterdir():
        assert sheet.read_bytes() == (run / "samples" / sheet.name).read_bytes()
    assert runs.read_config(run) == runs.read_config(whole)
    seconds = [line["seconds"] for line in runs.read_log(run)]
    assert seconds == sorted(seconds)
    assert one.seconds > seconds[4]


def test_resuming_a_finished_run_writes_the_report_again(run):
    (run / "report.html").unlink()
    before = content(run)
    assert minisn("train", "--resume", run).stdout.splitlines()[-1] == str(run / "report.html")
    after = content(run)
    assert after.pop(Path("report.html"))
    assert after == before


def test_minutes_stop_and_say_how_to_go_on(run):
    result = minisn("train", "--resume", run, "--steps", 30, "--minutes", 1e-6)
    lines = spoken(result)
    assert lines[-3].startswith("5 steps in ")
    assert lines[-2] == f"Continue with: minisn train --resume {run}"
    assert checkpoint.load(run / runs.CHECKPOINT).step == 5
    assert (run / "samples" / "000005.png").exists()


def test_interrupted_run_saves_and_says_how_to_go_on(tmp_path, monkeypatch):
    folder = tmp_path / "my run"
    process = start(
        "train",
        "mnist-tiny",
        *(part.replace("every=2", "every=1000") for part in TINY),
        "--out",
        "my run",
        cwd=tmp_path,
    )
    log = folder / "log.jsonl"
    until = time.monotonic() + 600
    while time.monotonic() < until and not (log.exists() and log.read_bytes().count(b"\n") > 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert err == ""
    saved = checkpoint.load(folder / runs.CHECKPOINT).step
    assert saved >= 3
    stopped, how, report = out.splitlines()[-3:]
    assert stopped == f"Stopped; saved at step {saved}."
    assert report == "my run/report.html"
    assert f"{saved} of 1,000" in (tmp_path / report).read_text("utf-8")
    command = shlex.split(how.removeprefix("Continue with: "))
    assert command == ["minisn", "train", "--resume", "my run"]
    monkeypatch.chdir(tmp_path)
    assert f"steps {saved} to {saved + 2}" in minisn(*command[1:], "--steps", saved + 2).stdout
    assert [line["step"] for line in runs.read_log(folder)] == list(range(saved + 3))


def test_second_interrupt_reports_nothing_half_done(run, monkeypatch):
    def torn(trainer, *_):
        trainer.step += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "train", torn)
    before = content(run)
    result = minisn("train", "--resume", run, "--steps", 20, code=130)
    assert spoken(result)[1:] == [
        "Stopped; saved at step 4.",
        f"Continue with: minisn train --resume {run}",
    ]
    after = content(run)
    changed = {str(name) for name in before if after[name] != before[name]}
    assert changed == {"config.toml"}


def test_interrupt_before_anything_was_saved(tmp_path, monkeypatch):
    def torn(trainer, *_):
        trainer.step += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "train", torn)
    result = minisn("train", "mnist-tiny", *TINY, "--out", tmp_path / "a", code=130)
    assert "saved at step 0" in result.stdout


def test_interrupt_elsewhere_is_a_line(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "list_datasets", interrupted)
    assert minisn("data", "list", code=130).stderr == "minisn: interrupted\n"


# -- mistakes --------------------------------------------------------------------------------

MISTAKES = [
    ("train mnits", "unknown preset 'mnits'; did you mean 'mnist'?"),
    (
        "train zzz",
        "unknown preset 'zzz'; known are cifar10, cifar10-authors, cifar10-conditional, ",
    ),
    ("train --set widht=8", "unknown setting 'widht'; did you mean 'width'?"),
    ("train --set width", "--set 'width': expected name=value"),
    ("train --set width=wide", "width = 'wide': expected a whole number"),
    ("train --set beta1=1", "beta1 = 1.0: expected from 0 to below 1"),
    ("train --set objective=hing", "did you mean 'hinge'?"),
    ("train --steps 0", "steps = 0: expected at least 1"),
    ("train --seed -1", "seed = -1: expected at least 0"),
    ("train --data mnist-10", "did you mean 'mnist-10k'?"),
    ("train --data cifar10-2k", "have 32 x 32 pixels, but size = 28; add --set size=32"),
    ("train --set batch_size=20000", "at most 10000, the number of images"),
    ("train --config none.toml", "cannot read none.toml: No such file or directory"),
    ("train --set width=8 --set width=16", "--set width is given twice"),
    ("train --data-dir here", "--data-dir has no effect, as mnist-10k ships with minisn; omit it"),
    ("train --data . --data-dir here", "--data-dir has no effect, as . is a folder of images"),
    ("data verify mnist-10k --data-dir here", "--data-dir has no effect, as mnist-10k ships"),
    ("train .", ". is a folder; expected a preset: minisn train --data ."),
    ("train --resume none", "none is not the folder of a run"),
    ("train cifar10 --data-dir here", "run `minisn data fetch cifar10 --data-dir here`"),
    ("train mnist-tiny --out file", "cannot make the run folder file"),
    ("sample none", "none is not the folder of a run"),
    ("spectrum none", "none is not the folder of a run"),
    ("report none", "none is not the folder of a run"),
    ("presets mnits", "did you mean 'mnist'?"),
    ("bench mnits", "did you mean 'mnist'?"),
    ("data verify minst", "did you mean 'mnist'?"),
    ("data fetch cifar10-2k", "ships with minisn; there is nothing to fetch"),
]


@pytest.mark.parametrize(("line", "words"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_line_and_leaves_nothing(line, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = minisn(*line.split(), code=1)
    assert words in error_of(result) and result.stdout == ""
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["train", ""], "unknown preset ''"),
        (["presets", ""], "unknown preset ''"),
        (["train", "--out", ""], "'--out' is empty; expected a name"),
        (["train", "--resume", ""], "'--resume' is empty; expected a name"),
        (["train", "--config", ""], "'--config' is empty; expected a name"),
        (["train", "--data-dir", ""], "'--data-dir' is empty; expected a name"),
        (["sample", ""], "'RUN' is empty; expected a name"),
        (["evaluate", ""], "'[RUN]' is empty; expected a name"),
        (["study", "--out", ""], "'--out' is empty; expected a name"),
    ],
)
def test_an_empty_name_is_one_line_and_leaves_nothing(line, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = minisn(*line, code=1)
    assert words in error_of(result) and result.stdout == ""
    assert os.listdir(tmp_path) == []


def test_the_folder_of_a_run_in_the_place_of_a_preset_is_advised_to_be_resumed(run):
    assert error_of(minisn("train", run, code=1)).endswith(f"minisn train --resume {run}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trian", "No such command 'trian'; did you mean 'train'?"),
        ("xyz", "No such command 'xyz'"),
        ("train --minutes 0", "'--minutes'"),
        ("train --device tpu", "'cpu', 'cuda'"),
        ("train mine.toml", "--config FILE"),
        ("train mnist --config mine.toml", "--config FILE"),
        ("train mnist --resume r", "omit mnist"),
        ("train --resume r --seed 1", "omit --seed"),
        ("train --resume r --out o", "omit --out"),
        ("train --resume r --data d", "omit --data"),
        ("train --resume r --config c", "omit --config"),
        ("sample", "Missing argument 'RUN'"),
        ("sample r --n 0", "'--n'"),
        ("data fetch", "Missing argument 'NAME'"),
        ("bench --against jax", "'--against'"),
        ("train --steps 2 --set steps=abc", "Give --steps or --set steps=..., not both."),
        ("evaluate r --features a.npy --reference b.npy", "not both"),
    ],
)
def test_wrong_usage_is_exit_status_2(line, words):
    result = minisn(*line.split(), code=2)
    assert words in result.stderr
    assert "Usage: minisn" in result.stderr
    assert "Traceback" not in result.output


def test_samples_go_to_a_file_of_their_kind(run, tmp_path):
    for form, name in (("sheet", "x.jpg"), ("npz", "x.png")):
        result = minisn("sample", run, "--format", form, "--out", tmp_path / name, code=2)
        assert f"--out is '{name}'" in result.stderr
    assert not list(tmp_path.glob("x.*"))


def test_a_part_of_the_papers_is_written_as_json_and_no_name_is_no_part(tmp_path):
    text = minisn("paper", "12", "--json", tmp_path / "part.json").stdout
    (entry,) = json.loads((tmp_path / "part.json").read_text("utf-8"))
    assert "12" in entry["part"] and str(tmp_path / "part.json") in text
    assert "is not a part of the papers" in minisn("paper", "", code=1).stderr


def test_a_resumed_run_keeps_its_seed(run):
    before = content(run)
    for name in ("seed=7", "data=cifar10", "init=glorot", "init_g=glorot"):
        result = minisn("train", "--resume", run, "--steps", 8, "--set", name, code=1)
        assert f"omit --set {name.split('=')[0]}" in error_of(result)
    assert content(run) == before


def test_a_folder_in_use_is_left_alone(run):
    before = content(run)
    result = minisn("train", "mnist-tiny", "--out", run, code=1)
    assert f"--resume {run}" in error_of(result)
    assert content(run) == before
    (run / runs.CONFIG).unlink()  # no run any more
    said = error_of(minisn("train", "mnist-tiny", "--out", run, code=1))
    assert "--resume" not in said and "another folder with --out" in said


def test_fewer_steps_than_were_made_are_refused(run):
    before = content(run)
    result = minisn("train", "--resume", run, "--steps", 3, code=1)
    assert "has made 4 steps; expected --steps 4 or more, got 3" in error_of(result)
    assert content(run) == before


def test_settings_without_a_step_left_are_refused(run):
    before = content(run)
    result = minisn("train", "--resume", run, "--set", "rate_g=0.5", code=1)
    assert "rate_g would have no effect; add --steps with more than 4" in error_of(result)
    assert content(run) == before


def test_one_step_is_not_steps(tmp_path):
    result = minisn("train", "mnist-tiny", *TINY, "--steps", 1, "--out", tmp_path / "a")
    assert re.search(r"^1 step in \d+ s\.$", result.stdout, re.MULTILINE)


def test_another_architecture_is_refused(run):
    before = content(run)
    result = minisn("train", "--resume", run, "--steps", 6, "--set", "width=8", code=1)
    assert "width = 4, here 8" in error_of(result)
    assert content(run) == before


@pytest.mark.parametrize(
    ("command", "damage"),
    [
        (command, damage)
        for command in ("sample", "spectrum", "report", "train --resume")
        for damage in ("cut", "flipped", "gone")
    ],
)
def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(run, command, damage):
    path = run / runs.CHECKPOINT
    raw = bytearray(path.read_bytes())
    if damage == "flipped":
        raw[len(raw) // 2] ^= 1
    path.write_bytes(raw[: len(raw) // 2] if damage == "cut" else raw)
    if damage == "gone":
        path.unlink()
    before = content(run)
    assert str(path) in error_of(minisn(*command.split(), run, code=1))
    assert content(run) == before


def test_a_run_without_a_checkpoint_begins_again(run):
    before = checkpoint.load(run / runs.CHECKPOINT)
    (run / runs.CHECKPOINT).unlink()
    (run / runs.LOG).unlink()
    assert "steps 0 to 4" in minisn("train", "--resume", run).stdout
    after = checkpoint.load(run / runs.CHECKPOINT)
    assert all((after.arrays[name] == array).all() for name, array in before.arrays.items())


def test_a_full_disk_is_named_and_the_checkpoint_kept(run, monkeypatch):
    replace = os.replace

    def full(part, path):
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")
        replace(part, path)

    monkeypatch.setattr(os, "replace", full)
    result = minisn("train", "--resume", run, "--steps", 8, code=1)
    assert f"cannot write {run}/samples/000006.png: No space left on device" in error_of(result)
    # the update was made and logged, its checkpoint was not due before the sheet
    assert checkpoint.load(run / runs.CHECKPOINT).step == 4
    monkeypatch.undo()
    minisn("train", "--resume", run)
    assert checkpoint.load(run / runs.CHECKPOINT).step == 8
    assert [line["step"] for line in runs.read_log(run)] == list(range(9))


def test_an_error_of_many_lines_is_one(monkeypatch):
    def wordy(_):
        raise MinisnError("one\n  two\nthree")

    monkeypatch.setattr(data, "list_datasets", wordy)
    assert error_of(minisn("data", "list", code=1)) == "one two three"


def test_a_surprise_of_the_system_is_a_line(monkeypatch):
    def forbidden(_):
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(data, "list_datasets", forbidden)
    assert error_of(minisn("data", "list", code=1)) == "/somewhere: Permission denied"


# -- sample, spectrum, report ------------------------------------------------------------------


def test_sample_draws_with_the_averaged_generator(run, tmp_path):
    config = runs.read_config(run)
    trainer = runs.resume(run, load(config.data).images)
    out = tmp_path / "drawn.png"
    result = minisn("sample", run, "--n", 9, "--seed", 5, "--out", out)
    assert result.stdout == f"{out}\n"
    z = np.random.default_rng(5).standard_normal((9, config.latent), np.float32)
    expected = plots.sheet(trainer.sample(z))
    assert (np.rint(255 * imread(out)[:, :, :3]) == expected).all()
    assert (networks.draw(checkpoint.load(run / runs.CHECKPOINT), 9, 5) == trainer.sample(z)).all()


def test_sample_draws_with_the_generator_itself_where_there_is_no_average(tmp_path):
    minisn(
        "train", "mnist-tiny", "--steps", 1, *TINY, "--set", "average=0", "--out", tmp_path / "r"
    )
    trainer = runs.resume(tmp_path / "r", load("mnist-10k").images)
    saved = checkpoint.load(tmp_path / "r" / runs.CHECKPOINT)
    z = np.random.default_rng(0).standard_normal((2, 128), np.float32)
    assert saved.part("average") == {}
    assert (networks.draw(saved, 2, 0) == trainer.sample(z)).all()


def test_sample_goes_into_the_run_and_depends_on_the_seed_alone(run):
    for seed in (0, 1):
        path = run / f"sample-{seed}.png"
        assert minisn("sample", run, "--seed", seed).stdout == f"{path}\n"
    first = (run / "sample-0.png").read_bytes()
    assert first != (run / "sample-1.png").read_bytes()
    minisn("sample", run)
    assert (run / "sample-0.png").read_bytes() == first
    assert imread(run / "sample-0.png").shape[:2] == (3 * (8 * 29 + 1), 3 * (8 * 29 + 1))


def test_many_samples_are_drawn_in_parts_alike(run):
    saved = checkpoint.load(run / runs.CHECKPOINT)
    many, few = networks.draw(saved, 300, 2), networks.draw(saved, 40, 2)
    assert many.shape == (300, 1, 28, 28)
    np.testing.assert_allclose(many[:40], few, atol=1e-5)


def test_spectrum_tells_the_norms_of_every_layer(trained):
    folder, _ = trained
    lines = spoken(minisn("spectrum", folder))
    assert lines[0] == f"{folder}: step 4"
    D = networks.discriminator(checkpoint.load(folder / runs.CHECKPOINT))
    layers = [layer for layer in D.layers if isinstance(layer, Weighted)]
    products = [1.0, 1.0]
    for k, (layer, line) in enumerate(zip(layers, lines[3:11], strict=True), 1):
        number, kind, *rest = line.split()
        shape, rest = rest[: 2 * layer.weight.ndim - 1], rest[2 * layer.weight.ndim - 1 :]
        sigma, norm, proved, rank = map(float, rest[:4])
        matrix = layer.weight.array.reshape(len(layer.weight), -1).astype(float)
        values = np.linalg.svd(matrix, compute_uv=False)
        estimate = layer.state["u"] @ matrix @ layer.state["v"]
        assert (number, kind) == (str(k), type(layer).__name__)
        assert " ".join(shape) == " x ".join(map(str, layer.weight.shape))
        assert sigma == pytest.approx(estimate, abs=6e-5)
        assert norm == pytest.approx(values[0] / estimate, abs=6e-6)
        assert norm <= proved <= norm + 2e-5
        assert rank == pytest.approx((values**2).sum() / values[0] ** 2, abs=0.06)
        operator = norm
        if isinstance(layer, Conv2d):
            operator, ratio = map(float, rest[4:])
            kernel = layer.weight.shape[-1]
            assert ratio == pytest.approx(operator / norm, abs=0.006)
            assert 0.8 < ratio <= -(-kernel // layer.stride) + 0.01
        else:
            assert rest[4:] == ["-", "-"]
        products = [products[0] * norm, products[1] * operator]
    matrices, operators = (float(line.split()[-1]) for line in lines[12:14])
    assert matrices == pytest.approx(products[0], rel=1e-3)
    assert operators == pytest.approx(products[1], rel=1e-3)


def test_spectrum_claims_a_bound_only_where_d_is_a_chain_of_its_layers(trained, tmp_path):
    assert spoken(minisn("spectrum", trained[0]))[-1].startswith("Only the second bounds the Lip")
    minisn(
        "train",
        "mnist-tiny",
        "--steps",
        1,
        "--out",
        tmp_path / "r",
        "--set",
        "model=resnet",
        "--set",
        "conditional=projection",
        *TINY,
    )
    *_, last_layer, _, _, _, verdict = spoken(minisn("spectrum", tmp_path / "r"))
    assert last_layer.split()[1:5] == ["Embedding", "10", "x", "4"]
    assert verdict.startswith("Neither bounds the Lipschitz constant of D")
    minisn("sample", tmp_path / "r", "--n", 20, "--out", tmp_path / "s.png")
    images = networks.draw(checkpoint.load(tmp_path / "r" / runs.CHECKPOINT), 20, 0)
    expected = plots.sheet(images, columns=10)  # a column for each digit
    assert (np.rint(255 * imread(tmp_path / "s.png")[:, :, :3]) == expected).all()
    by_class = imread(tmp_path / "r" / "samples" / "000001.png")
    assert by_class.shape[:2] == ((6 * 29 + 1) * 3, (10 * 29 + 1) * 3)
    minisn(
        "train",
        "mnist-tiny",
        "--steps",
        1,
        "--out",
        tmp_path / "n",
        "--set",
        "regularizer=ln",
        *TINY,
    )
    assert spoken(minisn("spectrum", tmp_path / "n"))[-1].startswith("Neither bounds the Lip")


def test_spectrum_follows_the_size_through_the_network(trained, monkeypatch):
    asked = []
    monkeypatch.setattr(
        lipschitz,
        "conv_operator_norm",
        lambda w, size, stride, padding: asked.append((size[0], stride, padding)) or 1.0,
    )
    networks.measure(checkpoint.load(trained[0] / runs.CHECKPOINT))
    assert asked == [
        (28, 1, 1),
        (28, 2, 1),
        (14, 1, 1),
        (14, 2, 1),
        (7, 1, 1),
        (7, 2, 1),
        (3, 1, 1),
    ]


def test_norms_are_of_the_scale_in_use(trained):
    saved = checkpoint.load(trained[0] / runs.CHECKPOINT)
    plain = networks.measure(saved)
    object.__setattr__(saved, "config", saved.config.replace(scale=2.0))
    for one, two in zip(plain, networks.measure(saved), strict=True):
        assert two.sigma == one.sigma
        assert two.norm == pytest.approx(2 * one.norm)
        assert two.proved == pytest.approx(2 * one.proved)
        assert two.operator == pytest.approx(2 * one.operator)


def test_report_is_written_from_the_checkpoint(run):
    old = (run / "report.html").read_text("utf-8")
    (run / "report.html").unlink()
    shutil.rmtree(run / "plots")
    assert minisn("report", run).stdout == f"{run / 'report.html'}\n"
    new = (run / "report.html").read_text("utf-8")
    assert new.replace(str(run), "RUN") == re.sub(r"/\S*/first", "RUN", old).replace(
        "first:", "copy:"
    )
    assert len(list((run / "plots").iterdir())) == 4


# -- presets, data, bench ----------------------------------------------------------------------


def test_presets_are_listed_with_what_they_are_for():
    lines = minisn("presets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == presets()
    assert all(len(line) <= 110 and len(line.split()) > 5 for line in lines)


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_explained_and_fits_its_data(name):
    text = minisn("presets", name).stdout
    assert tomllib.loads(text) == load_preset(name).to_dict()
    first, *rest = text.splitlines()
    assert first.startswith("# ")
    assert all("#" in line for line in rest if line)
    config = load_preset(name)
    entry = next(e for e in data.list_datasets() if e.name == config.data)
    assert entry.shape[1:] == (config.size, config.size)
    assert entry.shipped == (name in ("mnist", "mnist-tiny", "cifar10-small"))


def test_the_paper_preset_is_setting_c_of_table_1():
    config, c = load_preset("cifar10"), TABLE_1["C"]
    assert (config.rate_d, config.rate_g) == (c.rate, c.rate)
    assert (config.beta1, config.beta2, config.n_dis) == (c.beta1, c.beta2, c.n_dis)
    assert (config.width, config.latent, config.batch_size, config.steps) == (64, 128, 64, 100_000)
    assert (config.objective, config.average, config.scale) == ("hinge", 0.0, 1.0)


def test_data_list_tells_what_is_here(tmp_path):
    lines = minisn("data", "list", "--data-dir", tmp_path).stdout.splitlines()
    names = [e.name for e in data.list_datasets()]
    assert [line.split()[0] for line in lines[: len(names)]] == names
    assert "10,000 of 28x28x1" in lines[0]
    assert "in the package" in lines[0]
    assert "to fetch, 170 MB" in lines[4]
    assert lines[-1].endswith(str(tmp_path))


def test_data_verify_tells_file_by_file(tmp_path):
    assert minisn("data", "verify", "mnist-10k").stdout.startswith("ok   ")
    result = minisn("data", "verify", "mnist", "--data-dir", tmp_path, code=1)
    assert [line[:3] for line in spoken(result)] == ["BAD"] * 4
    assert "4 of 4 files" in error_of(result)


def test_data_fetch_hands_over_and_reports(tmp_path, monkeypatch):
    asked = []

    def fetch(name, data_dir):
        asked.append((name, data_dir))
        return [FileReport(tmp_path / "a.gz", True, "fine")]

    monkeypatch.setattr(data, "fetch", fetch)
    result = minisn("data", "fetch", "mnist", "--data-dir", tmp_path)
    assert asked == [("mnist", tmp_path)]
    assert result.stdout == f"ok  {tmp_path / 'a.gz'}\n"


@pytest.fixture
def timed(monkeypatch):
    """Bench with made-up times; what was asked for is kept."""
    asked = []

    def compare(contestants, turns, steps):
        asked.append((contestants, turns, steps))
        times = {"minisn": [0.2, 0.3, 0.1], "torch": [0.1, 0.2, 0.4]}
        timings = []
        for k, c in enumerate(contestants):
            seconds = [t * c.config.n_dis / (c.threads or 1) for t in times[c.library]]
            timings.append(Timing(c.name, seconds, 123.4 * (1 + k)))
        return timings

    monkeypatch.setattr(bench, "compare", compare)
    monkeypatch.setattr(bench, "find_spec", lambda name: object())
    return asked


def lines_of(*arguments):
    """What bench prints below its head, with single spaces."""
    return [" ".join(line.split()) for line in minisn("bench", *arguments).stdout.splitlines()][1:]


def libraries(timed):
    return [[contestant.library for contestant in contestants] for contestants, _, _ in timed]


def test_bench_tells_medians_spread_ratio_and_memory(timed):
    lines = lines_of("mnist", "--turns", 3, "--steps", 4, "--threads", 2)
    mnist = load_preset("mnist")
    both = [Contestant(name, name, mnist, threads=2) for name in ("minisn", "torch")]
    assert timed == [(both, 3, 4)]
    assert lines == [
        "mnist: width 16, batch 64, n_dis 1 1.50 (0.25 - 2.00) 100 ms 100 ms",
        "peak memory 0.50 123 MB 247 MB",
    ]
    assert "(3 turns)" in minisn("bench", "mnist", "--turns", 3).stdout


def test_bench_alone_tells_seconds_and_their_range(timed):
    assert lines_of("cifar10-resnet", "--against", "none") == [
        "cifar10-resnet: width 128, batch 64, n_dis 5 (500 ms - 1.500 s) 1.000 s",
        "peak memory 123 MB",
    ]


def test_bench_times_the_small_presets_of_table_3(timed):
    minisn("bench")
    configs = [contestants[0].config for contestants, _, _ in timed]
    small = ("cifar10", "cifar10-small", "mnist", "mnist-tiny")
    assert configs == [load_preset(name) for name in small]


def test_pytorch_takes_part_only_where_it_computes_the_same(timed):
    minisn("bench", "mnist", "cifar10-resnet", "cifar10-conditional", "wgan-gp")
    both = ["minisn", "torch"]
    assert libraries(timed) == [both, both, ["minisn"], both]
    others = ["objective=standard", "flip=true", "augment=color", "power_steps=pass", "first=G"]
    for other in (*others, "unit_norm=true", "batch_size_g=128", "dequantize=true", "gain=true"):
        minisn("bench", "mnist", "--set", other)
        assert libraries(timed)[-1] == ["minisn"], other
    minisn("bench", "mnist", "--set", "init_g=xavier", "--set", "features=8")
    assert libraries(timed)[-1] == both


def test_bench_changes_settings(timed):
    minisn("bench", "resnet", "--set", "width=8")
    (((resnet, _), _, _),) = timed
    assert resnet.config == load_preset("cifar10-resnet").replace(n_dis=1, width=8)


def test_the_table_is_every_work_against_pytorch(timed):
    minisn("bench", "table")
    works = [
        (c.config.data, c.config.model, c.config.gradient_penalty, other.library)
        for (c, other), _, _ in timed
    ]
    assert works == [
        ("mnist-10k", "cnn", 0.0, "torch"),
        ("cifar10", "cnn", 0.0, "torch"),
        ("cifar10", "resnet", 0.0, "torch"),
        ("cifar10", "cnn", 10.0, "torch"),
    ]


def test_bench_says_where_a_library_is_missing(timed, monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    lines = minisn("bench", "mnist").stdout.splitlines()
    assert lines[0] == "torch is not installed; run: pip install torch"
    assert len(lines) == 4 and libraries(timed) == [["minisn"]]
    assert "not installed" not in minisn("bench", "mnist", "--against", "none").stdout
    result = minisn("bench", "resnet", "--against", "torch", code=1)
    assert "torch is not installed; run: pip install torch" in error_of(result)


# -- the command itself ------------------------------------------------------------------------


def commands(group=main, path=()):
    """Every command with the words that lead to it."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_every_command_helps_with_an_example():
    found = dict(commands())
    assert len(found) == 17
    for path, command in found.items():
        text = minisn(*path, "--help").stdout
        assert text == minisn(*path, "-h").stdout
        assert f"minisn {path[0]}" in text
        assert "Example" in text
        for option in command.params:
            assert isinstance(option, click.Argument) or option.help, option.name
        assert len(command.get_short_help_str(200)) <= 60
    main_help = minisn("--help").stdout
    assert "minisn train mnist-tiny" in main_help
    assert "_MINISN_COMPLETE=bash_source minisn" in main_help


def test_version():
    assert minisn("--version").stdout == f"minisn {__version__}\n"


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys; from click.testing import CliRunner; from minisn.cli import main\n"
        "for word in ('--help', '--version', 'train --help', 'bench --help'):\n"
        "    assert CliRunner().invoke(main, word.split()).exit_code == 0\n"
        "heavy = {'numba', 'scipy', 'matplotlib', 'tqdm', 'safetensors', 'torch'}\n"
        "print(*heavy & sys.modules.keys())\n"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("minisn tr", ["train"]),
        ("minisn train mnist", ["mnist", "mnist-tiny"]),
        ("minisn bench cifar10-s", ["cifar10-small"]),
        ("minisn train --data cif", ["cifar10-2k", "cifar10"]),
        ("minisn data fetch f", ["fashion-mnist"]),
    ],
)
def test_the_tab_key_completes(words, expected):
    last = len(words.split()) - 1
    env = {"_MINISN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(last)}
    result = CliRunner(env=env).invoke(main, prog_name="minisn")
    assert [line.removeprefix("plain,") for line in spoken(result)] == expected


# -- what is seen while it trains ----------------------------------------------------------------


def entry(step, seconds=0.0, norm=None):
    line = {"step": step, "seconds": seconds, "loss_d": 1.25, "loss_g": -0.5, "sigma": {}}
    return line if norm is None else line | {"norm": {"a": 1.0, "b": norm}}


def shown(open_screen, entries, **settings):
    screen = open_screen()
    with progress.Progress(
        **{"step": 0, "steps": 10, "seconds": 0.0, "minutes": None} | settings
    ) as bar:
        bar._bar.mininterval = 0
        for line in entries:
            bar(line)
    return screen.text


def test_the_bar_shows_time_left_losses_and_the_largest_norm(open_screen):
    start = {"step": 0, "seconds": 0.0, "loss_d": None, "loss_g": None, "norm": {"a": 1.01}}
    text = shown(open_screen, [start, entry(5), entry(10, norm=1.0234)])
    assert "step 5 of 10, loss of D 1.250, of G -0.500, norms up to 1.010" in text
    assert " 50%|" in text
    assert "100%|" in text
    assert "norms up to 1.023" in text
    assert re.search(r"\| \d\d:\d\d<\d\d:\d\d, step", text)


def test_what_is_found_stands_above_the_bar_or_alone(open_screen, capsys):
    found = entry(5) | {"health": {"d-wins": "D wins: too much."}}
    assert "step 10 of 10" in shown(open_screen, [found, entry(10)])
    assert capsys.readouterr().out == "D wins: too much.\n"
    with progress.Progress(0, 10, 0.0, None) as bar:
        bar._bar.disable = True
        bar(found)
    assert capsys.readouterr().out == "D wins: too much.\n"


def test_the_bar_of_a_resumed_run_begins_at_nothing(open_screen):
    text = shown(open_screen, [entry(105)], step=100, steps=200)
    assert "  5%|" in text


def test_the_bar_follows_the_clock_where_that_ends_first(open_screen):
    text = shown(open_screen, [entry(1, seconds=130.0)], seconds=100.0, minutes=2.0)
    assert " 25%|" in text


def test_the_bar_never_passes_its_end(open_screen):
    text = shown(open_screen, [entry(1, seconds=900.0)], minutes=1.0)
    assert "100%|" in text


def counted(monkeypatch, *counts):
    """Count compiled kernels so, and then as the last; return an event of when that was given."""
    left, given = list(counts), threading.Event()

    def compiled():
        if len(left) > 1:
            return left.pop(0)
        given.set()
        return left[0]

    monkeypatch.setattr(kernels, "compiled", compiled)
    return given


def test_compiling_is_announced_once(monkeypatch, capsys):
    given = counted(monkeypatch, 3, 3, 4)
    with progress.compile_notice():
        assert given.wait(600)
    out = capsys.readouterr().out
    assert out == "Compiling the kernels for this machine, once: about half a minute.\n"


@pytest.mark.parametrize("before", [0, 3], ids=["cached", "compiled by what came before"])
def test_nothing_is_announced_where_nothing_is_compiled(monkeypatch, capsys, before):
    given = counted(monkeypatch, before, before, before)
    with progress.compile_notice():
        assert given.wait(600)
    assert capsys.readouterr().out == ""


def test_a_kernel_missing_from_the_cache_is_noticed(monkeypatch):
    def modules(**made):
        names = {"minisn.kernels.cpu": SimpleNamespace(**made), "other": None}
        monkeypatch.setattr(kernels, "sys", SimpleNamespace(modules=names))

    known = SimpleNamespace(stats=SimpleNamespace(cache_misses={}))
    fresh = SimpleNamespace(stats=SimpleNamespace(cache_misses={"signature": 1}))
    modules(a=known, b=lambda: None)
    assert kernels.compiled() == 0
    modules(a=known, b=fresh)
    assert kernels.compiled() == 1


@pytest.mark.slow  # it compiles anew
def test_numba_tells_what_was_not_in_its_cache(tmp_path):
    numba = pytest.importorskip("numba", reason="Numba is not installed")
    assert numba
    code = (
        "import numpy as np; from minisn import kernels\n"
        "x = np.zeros((2, 2), np.float32)\n"
        "k = kernels.of(x); before = kernels.compiled(); k.power_iteration(x, x[0], 1)\n"
        "print(before, kernels.compiled() > 0)"
    )
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for expected in ("0 True", "0 False"):
        found = subprocess.run(
            [sys.executable, "-c", code], check=True, env=env, capture_output=True, text=True
        )
        assert found.stdout.strip() == expected


@pytest.mark.parametrize("words", ["train mnist --out {}", "bench cifar10"])
def test_a_width_that_no_machine_can_hold_is_refused_before_memory_is_eaten(words, tmp_path):
    folder = tmp_path / "wide"
    tracemalloc.start()
    try:
        done = minisn(*words.format(folder).split(), "--set", "width=100000", code=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert re.match(
        r"width = 100000: training G and D takes at least 221,7\d\d GB, and this machine has "
        r"[\d,]+; lower the width, the features or the latent length$",
        error_of(done),
    )
    assert peak < 50e6
    assert not folder.exists()


def test_memory_that_runs_out_is_one_line(tmp_path):
    code = (
        "import resource, sys; from minisn.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "main(['train', 'mnist', '--set', 'width=512', '--out', sys.argv[1]])"
    )
    plain = {"OPENBLAS_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}  # soon there, and small
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "wide"],
        capture_output=True,
        text=True,
        env={**os.environ, **plain},
    )
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("minisn: error: out of memory (") and "smaller width" in last
    assert "Traceback" not in done.stderr


def test_the_next_free_folder_is_taken_if_another_run_takes_one_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create, taken = runs.create_run, []

    def late(folder, config):
        if not taken:
            taken.append(folder)
            create(folder, config)
        create(folder, config)

    monkeypatch.setattr(runs, "create_run", late)
    config = load_preset("mnist-tiny")
    assert _create(None, "[mnist]", config) == Path("runs/[mnist]-2")
    with pytest.raises(MinisnError, match="not empty"):
        _create(Path("runs/[mnist]-1"), "mnist", config)


def test_the_name_of_no_data_set_is_one_clear_line():
    assert "the name is empty" in minisn("data", "verify", "", code=1).stderr
