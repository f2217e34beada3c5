"""Settings of the whole suite: the same examples on every run, the kernels to test, the threads.

All tests together run in as many processes as there are cores, each on one thread; the kernels' own
on two, whatever the machine has. Named files run in one process, which starts sooner.
"""

import contextlib
import importlib
import os
import signal
import sys
from importlib.util import find_spec

import pytest

os.environ.setdefault("NUMBA_NUM_THREADS", "2")  # the most that a test may ask for
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy reads it

from hypothesis import HealthCheck, Phase, settings

from minisn import kernels, plots, use_kernels
from minisn.backend import is_numpy
from minisn.errors import ConfigError

settings.register_profile(
    "minisn",
    derandomize=True,
    deadline=None,
    max_examples=25,
    database=None,
    # the kernels fixture is the same for every example of a test; a busy machine draws slowly
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# for who only asks whether a test fails, and not for its smallest example
settings.register_profile(
    "brief", settings.get_profile("minisn"), phases=[Phase.explicit, Phase.generate]
)
# for an emulated processor
settings.register_profile("few", settings.get_profile("minisn"), max_examples=3)
settings.load_profile("minisn")


def pytest_xdist_auto_num_workers(config):
    """Say in how many processes to run: all tests in one for each core, named files in this one."""
    all_tests = config.args_source is config.ArgsSource.TESTPATHS
    return min(os.cpu_count() or 1, 4) if all_tests else 0


@pytest.hookimpl(tryfirst=True)  # before the marks are asked for
def pytest_collection_modifyitems(items):
    """Mark what uses PyTorch's fixture as what needs PyTorch."""
    for item in items:
        if "torch" in item.fixturenames:
            item.add_marker(pytest.mark.needs("torch"))


@pytest.hookimpl(tryfirst=True)  # before the fixtures
def pytest_runtest_setup(item):
    """Skip a test that needs packages which are not here."""
    packages = {name for mark in item.iter_markers("needs") for name in mark.args}
    missing = sorted(name for name in packages if find_spec(name) is None)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture
def every_size(monkeypatch):
    """Send small arrays to the compiled kernels too, which leave them to NumPy for speed."""
    with contextlib.suppress(ImportError):
        importlib.import_module("minisn.kernels.cpu")
    for name, module in list(sys.modules.items()):
        if name.startswith("minisn.kernels.cpu") and hasattr(module, "SMALL"):
            monkeypatch.setattr(module, "SMALL", 1)


@pytest.fixture(scope="module")
def plain_kernels():
    """Keep a file's small weights from the compiled kernels, whose threads take longer to wake."""
    with use_kernels("array_api"):
        yield


@pytest.fixture(scope="module")
def empty_plots():
    """Leave the plots of a file's reports empty, where only the report is asked for."""
    from matplotlib.figure import Figure

    empty = plots.png(Figure(figsize=(1, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "png", lambda figure: empty)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The other core has a process of its own; and what is small waits for a thread in vain."""
    with contextlib.suppress(ImportError):
        importlib.import_module("numba").set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def compiled_once(one_thread):
    """Compile at first, in every other process the last kernel first: so none is compiled twice."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")  # as gw0
    if worker is None:
        return
    with contextlib.suppress(ImportError):
        calls = importlib.import_module("minisn.kernels.cpu.ahead").calls()
        for call in calls if int(worker[2:]) % 2 else reversed(calls):
            call()


@pytest.fixture(scope="session", autouse=True)
def plain_doubles(request):
    """Leave double precision to NumPy, whose kernels take long to compile; not for long tests.

    A test that chooses ``cpu`` by name has the compiled ones.
    """
    chosen = kernels.of
    if not any(item.get_closest_marker("slow") for item in request.session.items):
        kernels.of = lambda array: (
            kernels.array_api
            if kernels._chosen == "auto" and is_numpy(array) and array.dtype == float
            else chosen(array)
        )
    yield chosen
    kernels.of = chosen


@pytest.fixture(scope="module")
def two_threads(one_thread, plain_doubles):
    """Compute a file's kernels on two threads, and choose among them as the library does."""
    numba = pytest.importorskip("numba", reason="the compiled kernels are not installed")
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "of", plain_doubles)
        yield
    numba.set_num_threads(1)


SLOW = pytest.mark.slow  # as loops, or to compile for double precision
KERNELS = [pytest.param("spec", marks=SLOW), "array_api", pytest.param("cpu", marks=SLOW)]


@pytest.fixture
def all_threads(one_thread):
    """Compute on as many threads here as another thread or process does, which asks Numba."""
    try:
        numba = importlib.import_module("numba")
    except ImportError:  # there are none then
        yield
        return
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    yield
    numba.set_num_threads(1)


@pytest.fixture(params=KERNELS)
def kernel_name(request, every_size):
    """Run the test once under each kernel module."""
    try:
        chosen = use_kernels(request.param)
    except ConfigError as error:
        pytest.skip(str(error))
    with chosen:
        yield request.param


@pytest.fixture(scope="session")
def torch():
    """PyTorch on one thread, as an independent oracle; who asks for it is marked by that."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard():
    """Hear Ctrl-C even where the suite was started in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Terminal:
    """A screen that keeps what is written on it."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        """Nothing is held back."""

    def isatty(self):
        return True


@pytest.fixture
def open_screen(monkeypatch):
    """Call it in the test for a terminal in place of the error stream, which keeps its text."""
    from tqdm import tqdm

    def opened():
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(tqdm, "monitor_interval", 0)
        return terminal

    return opened
