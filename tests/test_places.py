"""Where minisn runs: beside strangers on a network, without POSIX, without Numba."""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from listening import TOLD, addresses, elsewhere, watched

import minisn
from minisn import bench, checkpoint, files, runs, use_kernels
from minisn.cli import main
from minisn.cli.bench import _memory
from minisn.errors import DataError

pytestmark = pytest.mark.usefixtures("empty_plots")

SOURCE = str(Path(minisn.__file__).parents[1])
TINY = ("train", "mnist-tiny", "--set", "width=4", "--set", "batch_size=4", "--steps", "2")


def environment(*paths, **more):
    one = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), SOURCE]), **one, **more}


# -- doors -----------------------------------------------------------------------------------------

told = pytest.mark.skipif(not TOLD, reason="this system does not tell who listens")


@told
def test_who_listens_to_the_network_is_seen():
    import socket

    with socket.create_server(("0.0.0.0", 0)) as door, socket.create_server(("127.0.0.1", 0)):
        found = elsewhere(addresses(os.getpid()))
        assert [int(port, 16) for _, port in found] == [door.getsockname()[1]]


@told
def test_a_study_listens_on_this_machine_alone_and_beside_another(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(
        textwrap.dedent("""
        import json
        import os

        if __name__ == "__main__":
            from listening import addresses
            from minisn.study.schedule import _client

            with _client(None, 2, 2) as client:
                print(json.dumps([client.submit(int, "7").result(), *addresses(os.getpid())]))
        """)
    )
    with ExitStack() as stack:
        with suppress(OSError):  # it is taken already
            stack.enter_context(socket.create_server(("127.0.0.1", 8787)))
        done = subprocess.run(
            [sys.executable, script],
            env=environment(Path(__file__).parent),
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert done.returncode == 0, done.stderr
    assert "already in use" not in done.stderr
    answer, *found = json.loads(done.stdout)
    assert answer == 7
    assert len(found) >= 3  # the scheduler, and two workers or what watches over them
    assert elsewhere(found) == set()


@told
@pytest.mark.needs("nbclient", "ipykernel")
def test_a_notebook_s_kernel_listens_on_this_machine_alone(tmp_path):
    cell = {
        "cell_type": "code",
        "id": "one",
        "metadata": {},
        "source": "import time\nimport minisn\ntime.sleep(1)",
        "outputs": [],
        "execution_count": None,
    }
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python"}}
    path = tmp_path / "notebook.ipynb"
    path.write_text(
        json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    )
    command = [sys.executable, "-c", "from nbclient.cli import main; main()", path]
    found, process = watched(command, env=environment())
    assert process.returncode == 0
    assert len(found) >= 3  # shell, control, standard input and more
    assert elsewhere(found) == set()


# -- links out of a run ----------------------------------------------------------------------------


def minisn_(*arguments):
    return CliRunner().invoke(main, [os.fspath(a) for a in arguments], prog_name="minisn")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps, on the kernels that take no time to compile."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with use_kernels("array_api"):
        assert minisn_(*TINY, "--out", folder).exit_code == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["samples/000002.png", "samples/000099.png", "samples", "log.jsonl", "run.lock",
             "checkpoint.safetensors", "config.toml", "report.html"])  # fmt: skip
@pytest.mark.parametrize("command", [["report"], ["train", "--steps", "4", "--resume"]])
def test_a_link_out_of_a_run_is_refused_and_not_written_through(run, tmp_path, name, command):
    path, target = run / name, tmp_path / "elsewhere"
    if path.exists():
        path.rename(target)
    else:
        target.write_bytes((run / "samples" / "000002.png").read_bytes())
    path.symlink_to(target)
    before = files_of(tmp_path)
    done = minisn_(*command, run)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert f"{path} leads to {target}, outside the run's folder" in line
    assert files_of(tmp_path) == before


def test_a_link_inside_of_a_run_is_followed(run):
    (run / "samples" / "000002.png").rename(run / "last.png")
    (run / "samples" / "000002.png").symlink_to(run / "last.png")
    assert minisn_("report", run).exit_code == 0


def test_a_link_to_another_drive_leads_outside(run, monkeypatch):
    """Two drives of Windows have no path in common, which `os.path.commonpath` refuses to tell."""
    real = os.path.realpath

    def realpath(path, **more):
        return "relative/of/another" if str(path).endswith(runs.LOG) else real(path, **more)

    monkeypatch.setattr(os.path, "realpath", realpath)
    with pytest.raises(DataError, match="outside the run's folder"):
        runs.read_config(run)


# -- without POSIX ---------------------------------------------------------------------------------

WITHOUT_POSIX = """
import builtins, ctypes, os, signal, sys, types

MODULES = {"fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
MISSING = {
    "os": "chown chroot confstr ctermid fchown fork forkpty getegid geteuid getgid getgroups "
          "getloadavg getpgid getpgrp getpriority getsid getuid killpg lchown mkfifo mknod nice "
          "openpty pathconf posix_fallocate posix_spawn pread pwrite register_at_fork "
          "sched_getaffinity sched_yield sendfile setpriority setsid statvfs sync sysconf ttyname "
          "uname wait wait3 wait4 WNOHANG O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC".split(),
    "signal": "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 alarm getitimer "
              "pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigwait "
              "ITIMER_REAL".split(),
}

def ours(name):
    return str(name).startswith("minisn")

class Hidden(types.ModuleType):
    # a module without some names, for minisn: what else runs here knows this system
    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name in MISSING[super().__getattribute__("__name__")]:
            if ours(sys._getframe(1).f_globals.get("__name__")):
                raise AttributeError(f"{name} is hidden")
        return found

os.__class__ = signal.__class__ = Hidden

def import_(name, globals=None, *rest, before=builtins.__import__, **more):
    if name in MODULES and ours((globals or {}).get("__name__")):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return before(name, globals, *rest, **more)

def load(self, name, *rest, before=ctypes.CDLL.__init__, **more):
    if name is None and ours(sys._getframe(1).f_globals.get("__name__")):
        raise TypeError("this process is not a library")
    before(self, name, *rest, **more)

def stat(path, *rest, before=os.stat, **more):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(2, "hidden", str(path))
    return before(path, *rest, **more)

builtins.__import__, ctypes.CDLL.__init__, os.stat = import_, load, stat
"""

IMPORTED = """
import importlib, pkgutil
import minisn
for module in pkgutil.walk_packages(minisn.__path__, "minisn."):
    if module.name.endswith(".__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        assert error.name.partition(".")[0] in {"torch", "jax", "flax", "equinox", "keras", "cupy"}
        continue
    print(module.name)
__name__ = "minisn"  # it is hidden from
import os, signal
assert not hasattr(os, "fork") and not hasattr(signal, "SIGHUP")
try:
    import fcntl
except ModuleNotFoundError:
    print("hidden")
"""


@pytest.fixture(scope="module")
def without_posix(tmp_path_factory):
    """Settings of a process, and of those it starts, that finds none of what Windows lacks."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(WITHOUT_POSIX)
    return {"env": environment(folder)}


def test_every_module_is_imported_without_posix(without_posix):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, **without_posix
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert {"minisn.bench", "minisn.runs", "minisn.cli.train", "minisn.coursework"} < set(found)
    assert found[-1] == "hidden"


USED = """
import sys
from click.testing import CliRunner
import minisn
from minisn import spectral
from minisn.cli import main
from minisn.coursework import check

minisn.use_kernels("array_api")
for line in sys.stdin:
    done = CliRunner().invoke(main, line.split(), catch_exceptions=False)
    assert done.exit_code == 0, (line, done.output)
verdict = check("power_iteration", lambda W, u: spectral.power_iteration(W, u))
assert verdict, verdict
"""


def test_what_is_done_every_day_is_done_without_posix(tmp_path, without_posix):
    lines = [
        " ".join([*TINY, "--out", "run"]),
        "train --steps 3 --resume run",
        "sample run",
        "spectrum run",
        "report run",
        "bench mnist-tiny --against none --turns 1 --steps 1",
        "data list",
    ]
    done = subprocess.run(
        [sys.executable, "-c", USED],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        **without_posix,
    )
    assert done.returncode == 0, done.stderr
    assert checkpoint.load(tmp_path / "run" / runs.CHECKPOINT).step == 3


def test_a_peak_of_memory_that_the_system_does_not_tell_is_not_printed(monkeypatch, capsys):
    monkeypatch.setattr(Path, "exists", lambda self: False)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert math.isnan(bench._peak_mb())
    _memory([bench.Timing("minisn", [1.0], math.nan)])
    assert capsys.readouterr().out == ""
    _memory([bench.Timing("minisn", [1.0], 70.0)])
    assert "70 MB" in capsys.readouterr().out


def in_use(number):
    """The error of Windows, with its own number."""
    error = PermissionError(13, "in use")
    error.winerror = number
    return error


@pytest.mark.parametrize("number", [5, 32])
def test_who_reads_a_file_keeps_the_next_from_its_place_for_a_while(tmp_path, monkeypatch, number):
    path, calls, replace = tmp_path / "state", [], os.replace
    path.write_bytes(b"old")

    def busy(part, to):
        calls.append(to)
        if len(calls) < 4:
            raise in_use(number)
        replace(part, to)

    monkeypatch.setattr(os, "replace", busy)
    files.write_file(path, b"new")
    assert len(calls) == 4 and path.read_bytes() == b"new"


def test_who_reads_a_file_for_ever_is_told_and_the_file_kept(tmp_path, monkeypatch):
    path = tmp_path / "state"
    path.write_bytes(b"old")

    def busy(part, to):
        raise in_use(32)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    with pytest.raises(DataError, match="in use"):
        files.write_file(path, b"new")
    assert path.read_bytes() == b"old" and len(os.listdir(tmp_path)) == 1
