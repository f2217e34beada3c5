"""What machines do to people: disks that are full or cannot be written, clocks that go back.

A command that meets one of these ends with one line and exit status 1, loses nothing that was
there, and does its work when given again. Disks are real: small or read-only ones are mounted where
only the process under test sees them, and end with it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tqdm.std
from click.testing import CliRunner

from minisn import runs
from minisn.checkpoint import load
from minisn.cli import main, progress
from minisn.config import load_preset, parse_settings
from minisn.data import load as load_data
from minisn.training import Trainer

LIMIT = 600
"""Seconds for a process; it takes a few."""

TINY = ("--set", "width=4", "--set", "batch_size=4", "--set", "log_every=1", "--set",
        "sample_every=2", "--set", "checkpoint_every=2")  # fmt: skip


COMMON = textwrap.dedent("""
    import contextlib, dataclasses, gzip, json, os, shutil, subprocess, sys
    from pathlib import Path

    import numpy as np
    from click.testing import CliRunner

    sys.path.insert(0, os.environ["TESTS"])
    from minisn.cli import main

    here = Path(sys.argv[1])
    told = {}

    def minisn(name, *arguments):
        result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="minisn")
        ended = isinstance(result.exception, SystemExit | None)
        told[name] = {"status": result.exit_code, "odd": "" if ended else repr(result.exception),
                      "err": result.stderr.splitlines(), "out": result.stdout.splitlines()}

    def content(folder):
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
                if p.is_file()}

    def room(disk, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", "none", disk], check=True)

    def fill(disk, left):
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "ballast").write_bytes(bytes(free - left))

    def writing(folder, run):
        # Every command that writes, each into a place of its own in the folder.
        features = os.environ["FEATURES"]
        yield "train", ("train", "mnist-tiny", *json.loads(os.environ["TINY"]), "--steps", 2,
                        "--out", folder / "fresh")
        yield "train --resume", ("train", "--resume", run, "--steps", 6)
        yield "sample", ("sample", run)
        for form, out in (("npz", "drawn.npz"), ("png-folder", "drawn")):
            yield f"sample {form}", ("sample", run, "--format", form, "--out", folder / out)
        yield "report", ("report", run)
        yield "evaluate", ("evaluate", "--features", features, "--reference", features,
                           "--json", folder / "scores.json")
        yield "paper", ("paper", "--json", folder / "index.json")
        yield "coursework", ("coursework", "build", "--out", folder / "course")
        yield "study", ("study", "fig14", "--out", folder / "studies")
""")


def mounted(mounts):
    """Return what begins a command that runs where mounts of its own hold, or skip."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    begin = ["unshare", "--mount", *user, "sh", "-ec", f'{mounts}\nexec "$@"', "sh"]
    try:
        tried = subprocess.run([*begin, "true"], capture_output=True, text=True, timeout=LIMIT)
    except OSError as error:
        pytest.skip(f"no mounts of one's own here: {error}")
    if tried.returncode:
        pytest.skip(f"no mounts of one's own here: {tried.stderr.strip()}")
    return begin


def run_in(mounts, script, folder, **known):
    """Run a script where the mounts hold, and read the JSON that it prints last."""
    path, features = folder / "script.py", folder / "features.npy"
    path.write_text(COMMON + 'if __name__ == "__main__":' + script)  # Dask imports it too
    np.save(features, np.random.default_rng(0).normal(size=(30, 4)))
    known |= {
        "TESTS": str(Path(__file__).parent),
        "FEATURES": str(features),
        "TINY": json.dumps(TINY),
        "MPLBACKEND": "agg",
        "NO_PROXY": "127.0.0.1",
        "NUMBA_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",  # all is small
        "PYTHONPATH": str(Path(runs.__file__).parents[1]),
    }
    done = subprocess.run(
        [*mounted(mounts), sys.executable, path, folder],
        env={**os.environ, **known},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"stderr": done.stderr}


def assert_one_line(found, words):
    """The last line is the one error; a bar may have been drawn before it."""
    assert not found["odd"], found
    assert found["status"] == 1, found
    lines = [line for line in found["err"] if line and "%|" not in line]
    assert len(lines) == 1 and lines[0] == found["err"][-1], found
    assert lines[0].startswith("minisn: error: ") and words in lines[0], found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of 4 steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = load_preset("mnist-tiny").replace(**parse_settings(list(TINY[1::2])), steps=4)
    runs.create_run(folder, config)
    runs.train(Trainer(config, load_data(config.data).images), folder)
    return folder


# -- disks that are full, or cannot be written -----------------------------------------------------

DISKS = """
    # one that cannot be written
    disk = here / "read-only"
    before, run = content(disk), disk / "run"
    for name, arguments in writing(disk, run):
        minisn(f"read-only: {name}", *arguments)
    minisn("read-only: data fetch", "data", "fetch", "mnist", "--data-dir", disk)
    told["same"] = content(disk) == before
    for line in ("presets", "data verify mnist-10k", "coursework list",
                 f"data list --data-dir {disk}"):
        minisn(f"reads: {line}", *line.split())

    # one that is full
    disk = here / "full"
    shutil.copytree(here / "read-only" / "run", run := disk / "run")
    fill(disk, left=8192)
    before = content(run)
    for name, arguments in writing(disk, run):
        if name != "report":
            minisn(f"full: {name}", *arguments)
    after = content(run)
    told["kept"] = [name for name in before if after.get(name) == before[name]]
    told["parts"] = [name for name in content(disk) if name.endswith(".part")]
    shutil.rmtree(disk / "drawn")
    room(disk, "64m")
    for name, arguments in writing(disk, run):
        if name in ("train --resume", "sample png-folder", "evaluate"):
            minisn(f"room: {name}", *arguments)

    # one that a download fills
    import test_data as t
    from minisn.data import catalog

    disk = here / "small"
    files = {f"file-{n}.gz": gzip.compress(np.random.default_rng(n).bytes(150_000), mtime=0)
             for n in (1, 2)}
    server = t.Server(files)
    mirrors = (server.mirror("first", "good"), server.mirror("second", "good"))
    downloads = []
    for name, packed in files.items():
        outer, inner = t.content_of(name, packed), t.content_of(name[:-3], gzip.decompress(packed))
        downloads.append(catalog.Download(name, outer.size, outer.digest, mirrors, (inner,)))
    catalog.CATALOG["mnist"] = dataclasses.replace(
        catalog.CATALOG["mnist"], downloads=tuple(downloads),
        files={"train": tuple(d.contents[0] for d in downloads)})
    try:
        minisn("small: data fetch", "data", "fetch", "mnist", "--data-dir", disk)
        found = content(disk / "mnist")
        told["whole"] = [name for name in found if found[name] == files.get(name)]
        part = found["file-2.gz.part"]
        told["part"], told["sound"] = len(part), files["file-2.gz"].startswith(part)
        server.asked.clear()
        minisn("small: data fetch again", "data", "fetch", "mnist", "--data-dir", disk)
        told["asked in vain"] = list(server.asked)
        server.asked.clear()
        room(disk, "1m")
        minisn("room: data fetch", "data", "fetch", "mnist", "--data-dir", disk)
        told["asked"], told["all"] = server.asked, content(disk / "mnist") == files
    finally:
        server.close()

    # one that cells of a study fill
    from minisn.config import load_preset
    from minisn.study import STUDIES, l21, run_cell

    def tiny(full, setting, **changes):
        return load_preset("mnist-tiny").replace(
            **{"width": 2, "latent": 6, "batch_size": 8, "steps": 4, "sample_every": 2} | changes)

    l21.base = tiny
    disk = here / "cells"
    first, second = STUDIES["l21-b"].cells(False)
    run_cell(disk / "cells", first)
    before = content(disk)
    minisn("cells", "study", "l21-b", "--out", disk, "--workers", 1)
    after = content(disk)
    told["cells kept"] = {name: after[name] for name in before} == before
    told["cells done"] = [p.parent.name for p in disk.rglob("result.json")]
    told["first cell"] = first.name
    room(disk, "64m")
    ends = [run_cell(folder / "cells", second) for folder in (disk, here)]
    told["alike"] = ends[0] | {"seconds": 0} == ends[1] | {"seconds": 0}
    fill(disk, left=0)
    minisn("no room for the table", "study", "l21-b", "--out", disk)
    (disk / "ballast").unlink()
    minisn("the table", "study", "l21-b", "--out", disk)
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(trained, tmp_path_factory):
    """What the commands said on three such disks."""
    pytest.importorskip("pycurl", reason="downloads need pycurl")
    pytest.importorskip("distributed", reason="studies run on Dask")
    folder = tmp_path_factory.mktemp("disks")
    for name in ("full", "small", "cells"):
        (folder / name).mkdir()
    shutil.copytree(trained, folder / "read-only" / "run")
    return run_in(
        f"""
        mount --bind {folder}/read-only {folder}/read-only
        mount -o remount,ro,bind {folder}/read-only
        mount -t tmpfs -o size=8m none {folder}/full
        mount -t tmpfs -o size=240k none {folder}/small
        mount -t tmpfs -o size=180k none {folder}/cells
    """,
        DISKS,
        folder,
    )


def of(told, disk):
    """What was said of one of the disks, by command."""
    begin = f"{disk}: "
    return {n.removeprefix(begin): found for n, found in told.items() if n.startswith(begin)}


@pytest.mark.slow
def test_a_read_only_disk_is_one_line_of_every_command_that_writes(told):
    assert told["same"]
    found = of(told, "read-only")
    assert len(found) == 11
    for name, each in found.items():
        assert_one_line(each, "Read-only file system")
        assert "/read-only" in each["err"][-1], name


@pytest.mark.slow
def test_what_only_reads_reads_a_read_only_disk(told):
    found = of(told, "reads")
    assert len(found) == 4
    for name, each in found.items():
        assert (each["status"], each["odd"], each["err"]) == (0, "", []), name


@pytest.mark.slow
def test_a_full_disk_is_one_line_of_every_command_and_nothing_is_lost(told):
    assert {runs.CHECKPOINT, runs.CONFIG} <= set(told["kept"]) and told["parts"] == []
    found = of(told, "full")
    assert len(found) == 9
    for name, each in found.items():
        assert_one_line(each, "No space left on device")
        assert "/full/" in each["err"][-1] or name in ("coursework", "sample png-folder")
    room = of(told, "room")
    assert len(room) == 4
    for name, each in room.items():
        assert (each["status"], each["odd"]) == (0, ""), (name, each)
    assert any("steps 4 to 6" in line for line in room["train --resume"]["out"])


@pytest.mark.slow
def test_a_download_that_fills_the_disk_keeps_its_part_and_goes_on_from_there(told):
    found = of(told, "small")
    assert len(found) == 2
    for each in found.values():
        assert_one_line(each, "No space left on device; free some space or choose another folder")
        assert "/small/mnist" in each["err"][-1]
    assert told["whole"] == ["file-1.gz"]
    assert told["sound"] and 50_000 < told["part"] < 150_000
    assert {name for _, name, _ in told["asked in vain"]} == {"file-2.gz"}
    assert told["asked"] == [["first", "file-2.gz", f"bytes={told['part']}-"]] and told["all"]


@pytest.mark.slow
def test_a_study_on_a_full_disk_keeps_its_cells_and_goes_on(told):
    """Cells run in processes of Dask's, which have nothing to add to the one line."""
    assert_one_line(told["cells"], "1 of 1 cells failed, the first sn-")
    assert "No space left on device" in told["cells"]["err"][-1]
    assert "distributed" not in told["stderr"]
    assert told["cells kept"] and told["cells done"] == [told["first cell"]]
    assert told["alike"]
    assert_one_line(told["no room for the table"], "/cells/l21-b")
    again = told["the table"]
    assert again["status"] == 0 and again["out"][-1].endswith("/cells/l21-b/plot.png"), again
    assert not any("running" in line for line in again["out"])


# -- a file in a folder's place --------------------------------------------------------------------


def places(file, run, features):
    """Commands that are told to write below, or in place of, a file."""
    yield ("train", "mnist-tiny", *TINY, "--out", file / "run")
    yield ("sample", run, "--out", file / "sheet.png")
    yield ("sample", run, "--format", "png-folder", "--out", file)
    yield ("sample", run, "--format", "png-folder", "--out", file / "drawn")
    yield ("paper", "--json", file / "index.json")
    yield ("coursework", "build", "--out", file / "course")
    yield ("study", "fig14", "--out", file)
    yield ("evaluate", "--features", features, "--reference", features, "--json", file / "a.json")


def test_a_file_in_a_folder_s_place_is_one_line(trained, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    np.save(tmp_path / "features.npy", np.random.default_rng(0).normal(size=(30, 4)))
    for arguments in places(file, trained, tmp_path / "features.npy"):
        result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="minisn")
        assert isinstance(result.exception, SystemExit), (arguments, result.exception)
        assert result.exit_code == 1, arguments
        lines = result.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("minisn: error: "), result.stderr
        assert str(file) in lines[0], lines
        assert file.read_text() == "mine"


# -- a clock that goes back ------------------------------------------------------------------------

DAY = 86_400.0


@pytest.fixture
def clock(monkeypatch):
    """The system's clock, which can be set; what only ever goes on stays as it is."""
    offset, real = [0.0], time.time
    for module in (time, tqdm.std):
        monkeypatch.setattr(module, "time", lambda: real() + offset[0])
    return offset


def test_a_run_does_not_notice_that_the_clock_is_set_back(tmp_path, clock, plain_kernels):
    def jump(entry):
        if entry["step"] in (5, 7):
            clock[0] -= DAY

    folder, sheets = tmp_path / "run", []
    settings = parse_settings([*TINY[3::2], "size=8", "width=2"])
    config = load_preset("mnist-tiny").replace(**settings, steps=12)
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    runs.create_run(folder, config)
    trainer, started = Trainer(config, images), time.perf_counter()
    trainer.seconds = 100.0
    runs.train(
        trainer,
        folder,
        minutes=60,
        on_log=jump,
        on_sample=lambda step, x: sheets.append(step),
    )
    assert 100 < trainer.seconds <= 100 + time.perf_counter() - started
    assert trainer.step == 12 and sheets == [0, 2, 4, 6, 8, 10, 12]
    log = runs.read_log(folder)
    assert [entry["step"] for entry in log] == list(range(13))
    times = [entry["seconds"] for entry in log]
    assert times == sorted(times) and times[-1] == load(folder / runs.CHECKPOINT).seconds
    clock[0] = -40_000 * DAY  # long before 1970
    seconds = trainer.seconds
    trainer = runs.resume(folder, images, config=config.replace(steps=99))
    assert trainer.seconds == seconds
    runs.train(trainer, folder, minutes=1e-6)  # a moment, whatever the clock says
    assert trainer.step == 13


def test_the_bar_s_time_left_does_not_notice_either(clock, open_screen, monkeypatch):
    steady = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: steady[0]))
    screen = open_screen()
    line = {"seconds": 0.0, "loss_d": 1.0, "loss_g": 1.0, "sigma": {}}
    with progress.Progress(0, 8, 0.0, None) as bar:
        for step in range(1, 9):
            clock[0] -= DAY
            steady[0] += 1.0
            bar(line | {"step": step})
    drawn = [part for part in screen.text.split("\r") if ", step" in part]
    times = [re.search(r"\| 00:(\d\d)<00:(\d\d), step (\d+) of 8", part) for part in drawn]
    assert len(times) >= 8 and all(times), drawn
    assert {tuple(map(int, t.groups())) for t in times} == {(k, 8 - k, k) for k in range(1, 9)}
