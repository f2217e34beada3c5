"""How the command ends in the world: signals, closed outputs, names of any bytes."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import minisn
from minisn import checkpoint, runs
from minisn.cli import main

pytestmark = pytest.mark.usefixtures("empty_plots")

TINY = ("train", "mnist-tiny", "--set", "width=4", "--set", "batch_size=4", "--set", "log_every=1",
        "--set", "sample_every=2", "--set", "checkpoint_every=1000")  # fmt: skip
SOURCE = str(Path(minisn.__file__).parents[1])

posix = pytest.mark.skipif(os.name != "posix", reason="this system has no such signals")


@pytest.fixture(autouse=True)
def hangups_end_what_is_started():
    """As in a terminal, even under nohup: a process inherits what is ignored."""
    if os.name != "posix":
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def environment(**more):
    """Without compiled kernels: how a command ends is the same, and it is there sooner."""
    given = {"PYTHONPATH": SOURCE, "OPENBLAS_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}
    return {**os.environ, **given, **more}


def start(*arguments, cwd, **settings):
    command = [sys.executable, "-W", "error", "-m", "minisn.cli", *map(os.fspath, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=environment(), **pipes | settings)


def wait_for_line(folder, number):
    """Wait until the log of a run has so many lines."""
    log, until = folder / runs.LOG, time.monotonic() + 600
    while time.monotonic() < until:
        if log.exists() and log.read_bytes().count(b"\n") >= number:
            return
        time.sleep(0.02)


def steps_of(folder):
    return [line["step"] for line in runs.read_log(folder)]


def assert_whole(folder):
    """What was saved is all that was done, it is reported, and it can be gone on from."""
    saved = checkpoint.load(folder / runs.CHECKPOINT).step
    assert saved >= 1 and steps_of(folder) == list(range(saved + 1))
    assert (folder / "report.html").exists()
    again = CliRunner().invoke(main, ["train", "--resume", str(folder), "--steps", str(saved + 2)])
    assert (again.exit_code, again.stderr) == (0, "")
    assert steps_of(folder) == list(range(saved + 3))


# -- signals ---------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])  # SIGINT: test_cli.py
def test_a_signal_to_end_saves_and_is_the_status(tmp_path, name):
    folder, number = tmp_path / "run", getattr(signal, name)
    process = start(*TINY, "--out", folder, cwd=tmp_path)
    wait_for_line(folder, 4)
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (128 + number, b"")
    assert f"Continue with: minisn train --resume {folder}\n" in out.decode()
    assert_whole(folder)


@posix
def test_a_hangup_that_is_ignored_stays_so(tmp_path):
    """As of a command that `nohup` starts."""
    folder = tmp_path / "run"
    process = start(
        *TINY,
        "--steps",
        "12",
        "--out",
        folder,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for_line(folder, 4)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=600) == 0, process.communicate()
    process.communicate()
    assert steps_of(folder) == list(range(13))


@posix
def test_a_closed_terminal_saves(tmp_path):
    """Its shell sends SIGHUP, and what is printed after that fails."""
    import pty

    folder, (ours, theirs) = tmp_path / "run", pty.openpty()
    process = start(
        *TINY,
        "--out",
        folder,
        cwd=tmp_path,
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    wait_for_line(folder, 4)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=600) == 128 + signal.SIGHUP
    assert_whole(folder)


EARLY = """
import signal, sys

class At:
    def find_spec(self, name, *_):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, At())
from minisn.cli import main
main()
"""


@posix
@pytest.mark.parametrize("module", ["numpy", "minisn.tensor", "click", "minisn.cli.presets"])
def test_ctrl_c_while_the_command_loads_is_no_traceback(tmp_path, module):
    script = tmp_path / "minisn"
    script.write_text(EARLY.format(module=module))
    done = subprocess.run(
        [sys.executable, script, "presets"], env=environment(), capture_output=True, text=True
    )
    assert done.returncode in (-signal.SIGINT, 130)
    assert done.stdout == "" and done.stderr in ("", "minisn: interrupted\n")


@posix
def test_the_library_leaves_ctrl_c_alone():
    code = "import signal, minisn; print(signal.getsignal(signal.SIGINT).__name__)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True)
    assert done.stdout.decode().strip() == "default_int_handler"


# -- outputs ---------------------------------------------------------------------------------------


@posix
def test_an_output_that_nobody_reads_any_more_ends_the_run_saved(tmp_path):
    folder = tmp_path / "run"
    process = start(*TINY, "--out", folder, cwd=tmp_path)
    assert process.stdout.readline()  # as `head -1` does
    process.stdout.close()
    err = process.stderr.read()
    assert (process.wait(timeout=600), err) == (128 + signal.SIGPIPE, b"")
    process.stderr.close()
    assert_whole(folder)


@posix
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_outputs_that_were_closed_before_are_done_without(tmp_path, closed):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "minisn.cli", *TINY, "--steps", "3", "--out", str(folder)]
    done = subprocess.run(
        f"{shlex.join(command)} {closed}",
        shell=True,
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert steps_of(folder) == [0, 1, 2, 3]
    assert (folder / "report.html").exists()


# -- names -----------------------------------------------------------------------------------------


def named(tmp_path, name):
    folder = os.fsencode(tmp_path) + b"/" + name
    try:
        os.mkdir(folder)
    except OSError as error:
        pytest.skip(f"this system has no such names: {error}")
    return Path(os.fsdecode(folder))


IN_TURN = """
import sys
from minisn.cli import main
for words in sys.argv[1:]:
    main(words.split("\\n"), prog_name="minisn", standalone_mode=False)
    print("done", flush=True)
"""


@posix
@pytest.mark.parametrize(
    "locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
@pytest.mark.parametrize(
    "name", ["é σ".encode(), pytest.param(b"a\xffb\xc3\xa9", marks=pytest.mark.slow)]
)
def test_a_folder_may_have_any_name(tmp_path, name, locale):
    folder = named(tmp_path, name)
    commands = [[*TINY, "--steps", "3", "--out", folder],
                *([word, folder] for word in ("report", "spectrum", "sample"))]  # fmt: skip
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            IN_TURN,
            *("\n".join(map(os.fspath, c)) for c in commands),
        ],
        env=environment(**locale),
        capture_output=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    ends = done.stdout.split(b"done\n")[:-1]
    assert len(ends) == len(commands)
    for said in ends:
        assert locale or name in said  # Click writes "?" where letters are ASCII
    shown = name.decode("utf-8", "replace")
    assert f"<title>{shown}: a GAN on" in (folder / "report.html").read_text("utf-8")


@posix
def test_images_in_a_folder_that_no_settings_can_name_are_refused_before_anything(tmp_path):
    folder = named(tmp_path, b"photos\xff")
    process = start("train", "--data", folder, "--out", "run", cwd=tmp_path)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 1
    (line,) = err.decode().splitlines()
    assert line.startswith("minisn: error: data = '") and "UTF-8" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", ["nan", "-1"])
def test_minutes_are_a_number(tmp_path, minutes):
    process = start("train", "--minutes", minutes, "--out", "run", cwd=tmp_path)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 2 and b"--minutes" in err
    assert not (tmp_path / "run").exists()
