"""Threads and processes: the same bits everywhere, or an error, and nobody waits for ever.

What could wait for ever runs in a process of its own, under a limit of time.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import minisn
from minisn import Tensor, conv, grad, no_grad, ops, use_kernels
from minisn.errors import ConfigError, MinisnError
from minisn.nn import BatchNorm, Conv2d, LeakyReLU, Linear, Reshape, Sequential, power_step
from minisn.optim import Adam
from minisn.regularizers import SpectralNorm
from minisn.tensor import is_recording

pytestmark = pytest.mark.usefixtures("two_threads")

LIMIT = 600
"""Seconds for a process; it takes a few."""

WORKERS, ROUNDS = 4, 2


@pytest.fixture
def compiled(every_size):
    """Run everything, small arrays too, through the compiled kernels."""
    try:
        chosen = use_kernels("cpu")
    except ConfigError as error:
        pytest.skip(str(error))
    with chosen:
        yield


def network(seed):
    """A bit of all that has a compiled kernel."""
    rng, sn = np.random.default_rng(seed), SpectralNorm()
    return Sequential(
        Conv2d(2, 16, 3, rng, padding=1, reparametrize=sn),
        BatchNorm(16),
        LeakyReLU(),
        Conv2d(16, 16, 3, rng, padding=1, reparametrize=sn),
        LeakyReLU(),
        Conv2d(16, 8, 4, rng, stride=2, padding=1),
        LeakyReLU(),
        Reshape(-1),
        Linear(128, 1, rng),
    )


def images(seed):
    return np.random.default_rng(seed).normal(size=(6, 2, 8, 8)).astype(np.float32)


def bits(tensors):
    return [t.numpy().tobytes() for t in tensors]


def updates(seed, steps=2):
    """Train a network of one's own a little, and return all it has learned."""
    D, x = network(seed), Tensor(images(seed))
    adam = Adam(D.parameters(), 1e-2)
    for _ in range(steps):
        power_step(D)
        adam.step(grad(ops.mean(ops.softplus(D(x))), D.parameters()))
    return bits(D.parameters())


def together(work):
    """Do work(0), work(1), ... at the same time, and return the results."""
    start = threading.Barrier(WORKERS)

    def run(worker):
        start.wait(LIMIT)
        return work(worker)

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(run, range(WORKERS), timeout=LIMIT))


# -- threads ---------------------------------------------------------------------------------------


def test_threads_with_graphs_of_their_own_learn_what_they_would_alone(compiled):
    alone = [updates(seed) for seed in range(WORKERS)]
    for _ in range(ROUNDS):
        assert together(updates) == alone


def test_threads_share_a_graph(compiled):
    D, x = network(0), Tensor(images(0), requires_grad=True)
    y = ops.mean(ops.softplus(D(x)))
    targets = [x, *D.parameters()]
    slope = grad(y, x, create_graph=True)
    length = ops.norm(slope)
    expected = bits(grad(y, targets)), bits(grad(length, D.parameters()))

    def work(worker):
        if worker % 2:
            return bits(grad(y, targets)), bits(grad(length, D.parameters()))
        second, first = bits(grad(length, D.parameters())), bits(grad(y, targets))
        return first, second

    for _ in range(ROUNDS):
        assert together(work) == [expected] * WORKERS


def test_threads_share_weights_but_not_graphs(compiled):
    """Each thread runs the network forward on images of its own, as a server would."""
    D = network(0).eval()
    with no_grad():
        alone = [bits([D(Tensor(images(worker)))]) for worker in range(WORKERS)]

    def work(worker):
        with no_grad():
            return bits([D(Tensor(images(worker)))])

    for _ in range(ROUNDS):
        assert together(work) == alone


def test_switching_recording_off_is_for_one_thread_only(compiled):
    w = Tensor(np.ones((4, 2, 3, 3), np.float32), requires_grad=True)
    turns = threading.Barrier(WORKERS)

    def work(worker):
        seen = []
        for turn in range(2 * WORKERS):
            turns.wait(LIMIT)
            if turn % WORKERS == worker:
                with no_grad():
                    turns.wait(LIMIT)
                    seen.append((is_recording(), conv.conv2d(images(0), w).requires_grad))
                    turns.wait(LIMIT)
            else:
                turns.wait(LIMIT)
                seen.append((is_recording(), conv.conv2d(images(0), w).requires_grad))
                turns.wait(LIMIT)
        return seen

    for worker, seen in enumerate(together(work)):
        expected = [(turn % WORKERS != worker,) * 2 for turn in range(2 * WORKERS)]
        assert seen == expected
    assert is_recording()


def test_an_error_in_one_thread_leaves_the_pool_to_the_others(compiled):
    alone = updates(0)

    def work(worker):
        if worker == 0:
            for _ in range(9):
                with pytest.raises(MinisnError):
                    conv.conv2d(images(0), np.ones((4, 3, 3, 3), np.float32))
            return alone
        return updates(0)

    assert together(work) == [alone] * WORKERS


# -- processes -------------------------------------------------------------------------------------

WORK = textwrap.dedent("""
    import hashlib, multiprocessing, os, queue, signal, sys, threading, time
    import numpy as np
    from minisn import Tensor, conv, grad, kernels, ops, use_kernels
    from minisn.errors import MinisnError

    use_kernels("cpu")

    def work(_=None):
        rng = np.random.default_rng(0)
        x, w = (Tensor(rng.normal(size=s).astype(np.float32), requires_grad=True)
                for s in ((4, 16, 8, 8), (16, 16, 3, 3)))
        y = ops.sum(ops.tanh(conv.conv2d(x, w, padding=1)) ** 2)
        g = [y, *grad(y, [x, w])]
        return hashlib.sha256(b"".join(t.numpy().tobytes() for t in g)).hexdigest()[:16]

    def told(_=None):
        try:
            return work()
        except MinisnError as error:
            return f"error: {error}"

    def plainly(_=None):
        with use_kernels("array_api"), kernels.one_pool():
            return abs(float(int(work(), 16))) > 0

    def forked(job):
        # What a job says in a process that os.fork makes; how it ended, if it says nothing.
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, str(job()).encode())
            finally:
                os._exit(0)
        os.close(write)
        said = b""
        while piece := os.read(read, 4096):
            said += piece
        os.close(read)
        status = os.waitpid(child, 0)[1]
        return said.decode() or f"ended by {status}"

    def in_threads():
        found = []
        threads = [threading.Thread(target=lambda: found.append(work())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def busy(stop):
        while not stop.is_set():
            work()

    def while_busy(job):
        # Fork while another thread is at work in the kernels, and so may hold their lock.
        stop = threading.Event()
        thread = threading.Thread(target=busy, args=(stop,))
        thread.start()
        try:
            return forked(job)
        finally:
            stop.set()
            thread.join()

    def pooled(way, job):
        with multiprocessing.get_context(way).Pool(1) as pool:
            return pool.apply(job)
""")

FORKED = WORK + textwrap.dedent("""
    if __name__ == "__main__":
        import json, numba
        import minisn.kernels.cpu  # imported, but nothing has run yet
        early = forked(told)
        here = work()
        with kernels.one_pool():
            inside = forked(told)
        print(json.dumps({
            "layer": numba.threading_layer(), "here": here, "before any kernel": early,
            "os.fork": forked(told), "of a fork": forked(lambda: forked(told)),
            "multiprocessing": pooled("fork", told), "under the lock": inside,
            "while a thread works": while_busy(told),
            "plain": forked(plainly), "after all": work(), "in threads": in_threads(),
        }))
""")

SPAWNED = WORK + textwrap.dedent("""
    if __name__ == "__main__":
        import json
        said = {"here": work()}
        asked = {way: multiprocessing.get_context(way).Pool(1) for way in ("spawn", "forkserver")}
        answers = {way: pool.apply_async(told) for way, pool in asked.items()}
        said |= {way: answer.get(100) for way, answer in answers.items()}
        for pool in asked.values():
            pool.terminate()
        print(json.dumps(said))
""")


def run(script, tmp_path, **environment):
    """Run a script in a process of its own, and read the JSON that it prints."""
    path = tmp_path / "script.py"
    path.write_text(script)
    found = {**os.environ, "PYTHONPATH": str(Path(minisn.__file__).parents[1]), **environment}
    process = subprocess.Popen(
        [sys.executable, path],
        env=found,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        said, wrong = process.communicate(timeout=LIMIT)
    finally:
        with contextlib.suppress(ProcessLookupError):  # what it has forked, and may hang
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, wrong
    return json.loads(said)


DENSE = textwrap.dedent("""
    import hashlib, json, threading
    from concurrent.futures import ThreadPoolExecutor
    import numpy as np
    from minisn import Tensor, conv, grad, kernels, ops, use_kernels

    use_kernels("cpu")
    rng = np.random.default_rng(0)
    a, b, x = (Tensor(rng.normal(size=s).astype(np.float32), requires_grad=True)
               for s in ((44, 628), (628, 241), (4, 16, 16, 16)))
    w = Tensor(rng.normal(size=(16, 16, 3, 3)).astype(np.float32))
    start = threading.Barrier(4)

    def product():
        g = grad(ops.sum(ops.tanh(a @ b)), [a, b])
        return hashlib.sha256(b"".join(t.numpy().tobytes() for t in g)).hexdigest()[:16]

    def work(_=None):
        found = []
        for _ in range(4):
            with kernels.one_pool():
                found.append(product())
            conv.conv2d(x, w)
        return found

    def beside_others(_):
        start.wait()
        return work()

    said = {"free": product(), "alone": work()}
    with ThreadPoolExecutor(4) as pool:
        said["together"] = [list(pool.map(beside_others, range(4))) for _ in range(2)]
    print(json.dumps(said))
""")


def test_dense_products_are_the_same_bits_where_the_pool_is_held(tmp_path):
    """BLAS has one thread while any kernel runs, and sums in another order with two."""
    said = run(DENSE, tmp_path, OPENBLAS_NUM_THREADS="2")
    assert said["together"] == [[said["alone"]] * 4] * 2
    assert len(set(said["alone"])) == 1
    ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    if len(ours) > 1:  # BLAS takes no more threads than it may use processors
        assert said["free"] not in said["alone"]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@needs_fork
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_a_forked_process_gives_the_same_bits_or_one_error(compiled, tmp_path, layer):
    try:
        importlib.import_module(
            f"numba.np.ufunc.{layer}pool" if layer == "omp" else f"numba.np.ufunc.{layer}"
        )
    except ImportError:
        pytest.skip(f"this Numba has no layer {layer!r}")
    said = run(FORKED, tmp_path, NUMBA_THREADING_LAYER=layer)
    assert said.pop("layer") == layer
    here = said.pop("here")
    assert said.pop("before any kernel") == said.pop("after all") == here
    assert said.pop("in threads") == [here] * 4
    assert said.pop("plain") == "True"
    for answer in said.values():
        if layer == "workqueue":
            assert answer == here, said
        else:
            assert "error: this process was forked" in answer, said
            assert "get_context('spawn')" in answer and "use_kernels('array_api')" in answer


def test_a_spawned_process_gives_the_same_bits(compiled, tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork server")
    said = run(SPAWNED, tmp_path)
    assert said["spawn"] == said["forkserver"] == said["here"]
