"""The bench: real processes, real contestants, at a size that takes seconds.

That they do equal work is checked in one process: equal weights, losses, gradients, products.
"""

import copy
import dataclasses
import math
import os
import sys
from collections import Counter

import numpy as np
import pytest

from minisn import bench, bench_jobs
from minisn.bench import Contestant, Timing, compare, race
from minisn.config import load_preset
from minisn.data import scale_images
from minisn.errors import ConfigError
from minisn.nn import power_step, weighted_layers
from minisn.regularizers import SpectralNorm
from minisn.tensor import RULES, Tensor
from minisn.training import Trainer

CONFIG = dataclasses.replace(load_preset("mnist-tiny"), width=2, batch_size=4)
TABLE_3 = load_preset("cifar10").replace(width=2, batch_size=4)
RESNET = load_preset("cifar10-resnet").replace(width=2, batch_size=4, n_dis=1)
WGAN_GP = TABLE_3.replace(regularizer="none", objective="wasserstein", gradient_penalty=10.0)


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(bench, "LEAST", 0.0)
    monkeypatch.setattr(bench, "REST", 0.01)


# --- processes --------------------------------------------------------------------------------


def test_each_turn_gives_seconds_per_step_and_a_peak_of_memory():
    (timing,) = compare([Contestant("minisn", "minisn", CONFIG)], turns=3, steps=2)
    assert len(timing.seconds) == 3
    assert 0 < timing.median < 10
    assert min(timing.seconds) <= timing.median <= max(timing.seconds)
    assert 50 < timing.peak_mb < 2000


def test_the_peak_of_memory_is_that_of_the_contestant_alone():
    ballast = np.ones(400_000_000 // 8)  # what runs it counts in its own getrusage, not here
    (timing,) = compare([Contestant("numpy", "numpy", CONFIG, "product", 1)], turns=1, steps=1)
    assert 3 * 4 * bench_jobs.SIDE**2 / 1e6 < timing.peak_mb < ballast.nbytes / 1e6


@pytest.mark.needs("torch")
def test_pytorch_takes_the_same_step_in_a_process_of_its_own():
    both = [Contestant(name, name, CONFIG) for name in ("minisn", "torch-fused")]
    mine, theirs = compare(both, turns=1, steps=1)
    assert (mine.name, theirs.name) == ("minisn", "torch-fused")
    assert theirs.median > 0


def test_threads_of_one_contestant_have_gone_to_sleep_when_the_next_begins(monkeypatch):
    rests, sleep = [], bench.time.sleep
    monkeypatch.setattr(bench.time, "sleep", lambda s: (rests.append(s), sleep(s)))
    both = [Contestant(name, "numpy", CONFIG, "product", 1) for name in ("a", "b")]
    compare(both, turns=2, steps=1)
    assert rests.count(bench.REST) == 2 * (1 + 2)  # the first turn warms up


@pytest.mark.needs("autograd")
def test_a_race_is_run_over_what_all_can_do():
    both = [Contestant(name, name, TABLE_3, "conv") for name in ("minisn", "autograd")]
    found = race(both, turns=2, steps=1)
    layers = [layer.name for layer in bench_jobs.convolutions(TABLE_3) if layer.stride == 1]
    assert len(layers) == 5
    assert list(found) == [f"{name}, {job}" for name in layers for job in ("forward", "gradients")]
    assert all(len(t.seconds) == 2 for timings in found.values() for t in timings)


@pytest.mark.parametrize(
    ("library", "work", "changes", "words"),
    [
        ("minisn", "step", {"data": "nothing-like-it"}, r"bench: .*nothing-like-it"),
        ("dezero", "adam", {}, r"bench: dezero takes no part in 'adam'; choose one of torch, "),
        pytest.param(
            "torch",
            "step",
            {"size": 7},
            r"bench: torch: \w+: \S+",
            marks=pytest.mark.needs("torch"),
        ),
    ],
)
def test_a_contestant_that_cannot_run_is_one_clear_line(library, work, changes, words):
    config = dataclasses.replace(CONFIG, **changes)
    with pytest.raises(ConfigError, match=words) as caught:
        compare([Contestant("it", library, config, work)], turns=1, steps=1)
    assert "\n" not in str(caught.value)


def test_a_library_that_is_missing_is_said_with_the_command_that_installs_it(tmp_path, monkeypatch):
    """In the contestant's own process, which cannot import it either."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    words = "torch is not installed; run: pip install torch"
    with pytest.raises(ConfigError, match=f"^bench: {words}$"):
        compare([Contestant("it", "torch-fused", CONFIG)], turns=1, steps=1)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert bench.missing("torch-compile") == words
    assert bench.missing("numpy") == ""


def test_ratios_are_taken_turn_by_turn():
    assert Timing("a", [1.0, 6.0], 0).over(Timing("b", [2.0, 3.0], 0)) == [0.5, 2.0]


# --- the works of minisn ----------------------------------------------------------------------


@pytest.mark.parametrize("config", [CONFIG.replace(width=3), TABLE_3], ids=["28", "32"])
def test_the_convolutions_are_those_of_the_networks(config):
    trainer = Trainer(config, bench_jobs.noise(config))
    shapes = [
        layer.weight.shape
        for network in (trainer.D, trainer.G)
        for layer in weighted_layers(network).values()
        if layer.weight.ndim == 4
    ]
    assert [layer.shape for layer in bench_jobs.convolutions(config)] == shapes


@pytest.mark.parametrize("config", [CONFIG.replace(n_dis=3), TABLE_3, TABLE_3.replace(latent=7)])
def test_multiply_adds_are_those_that_a_step_computes(config, monkeypatch):
    config = config.replace(batch_size=5)
    batches = {5, 10}  # sizes that no weight has: what lacks them is work on weights alone
    counts = Counter()

    def counted(name, compute):
        def forward(a, b, *bias, **settings):
            c = compute(a, b, *bias, **settings)
            if name == "matmul" and batches & {*a.shape, *b.shape}:
                counts[name] += a.size * c.shape[-1]
            elif name != "matmul":
                y, w = {"conv2d_transpose": (a, b), "conv2d_weight": (b, c)}.get(name, (c, b))
                counts[name] += y.size * math.prod(w.shape[1:])
            return c

        return forward

    trainer = Trainer(config, bench_jobs.noise(config))
    for name in ("conv2d", "conv2d_with_bias", "conv2d_transpose", "conv2d_weight", "matmul"):
        monkeypatch.setattr(RULES[name], "forward", counted(name, RULES[name].forward))
    trainer.update()
    assert len(counts) == 5
    assert sum(counts.values()) == bench_jobs.multiply_adds(config)


def test_the_share_of_normalization_is_timed_over_what_a_step_does_with_it(monkeypatch):
    """As often as in one step: power steps, and norms with and without a gradient."""

    def counted(run):
        counts = Counter()
        for name in ("step", "apply"):
            method = getattr(SpectralNorm, name)
            monkeypatch.setattr(SpectralNorm, name, noted(counts, name, method))
        run()
        monkeypatch.undo()
        return counts

    def noted(counts, name, method):
        def wrapper(*args):
            counts[name] += 1
            return method(*args)

        return wrapper

    in_a_step = counted(Trainer(TABLE_3, bench_jobs.noise(TABLE_3)).update)
    alone = counted(bench_jobs.jobs("minisn", "sigma", TABLE_3)[""])
    assert alone == in_a_step == {"step": 8, "apply": 16}


# --- equal work -------------------------------------------------------------------------------


def same_name(name):
    """A name that a parameter has in either library."""
    parts = [part for part in name.split(".") if part not in ("layers", "parametrizations")]
    name = ".".join(parts).removesuffix(".original")
    return name.replace("gamma", "weight").replace("beta", "bias")


class Fed:
    """Both trainers with equal weights, u and v, and equal batches."""

    def __init__(self, torch, config, library="torch"):
        from minisn.bench_torch import TorchTrainer

        images = bench_jobs.noise(config)
        self.ours = Trainer(config, images)
        self.theirs = TorchTrainer(config, scale_images(images), 1, library)
        rng = np.random.default_rng(5)
        self.converge()
        with torch.no_grad():
            for ours, theirs in ((self.ours.G, self.theirs.G), (self.ours.D, self.theirs.D)):
                values = {same_name(k): p for k, p in ours.named_parameters().items()}
                found = {same_name(k): p for k, p in theirs.named_parameters()}
                assert {k: p.shape for k, p in values.items()} == {
                    k: tuple(p.shape) for k, p in found.items()
                }
                for name, p in found.items():
                    p.copy_(torch.tensor(values[name].numpy()))
            self.copy_vectors(torch)
        real = scale_images(images[: config.batch_size])
        z = [rng.standard_normal((config.batch_size, config.latent), np.float32) for _ in "dg"]
        epsilon = rng.random((config.batch_size, 1, 1, 1))
        self.ours.next_batch = lambda: (Tensor(real), [])
        self.ours.rng = Same(epsilon)
        self.theirs.next_batch = lambda: torch.tensor(real)
        self.theirs.epsilon = lambda: torch.tensor(epsilon, dtype=torch.float32)
        ours, theirs = copy.copy(z), copy.copy(z)
        self.ours.latent = lambda n=0: (Tensor(ours.pop(0)), [])
        self.theirs.latent = lambda: torch.tensor(theirs.pop(0))

    def converge(self):
        """Bring u and v to where no power step moves them: the libraries order theirs apart."""
        for layer in weighted_layers(self.ours.D).values():
            if layer.state:
                W = layer.weight.numpy().astype(np.float64)
                U, _, Vt = np.linalg.svd(W.reshape(len(W), -1), full_matrices=False)
                layer.state = {"u": U[:, 0].astype(np.float32), "v": Vt[0].astype(np.float32)}

    def copy_vectors(self, torch):
        for name, layer in weighted_layers(self.ours.D).items():
            if layer.state:
                (norm,) = self.theirs.D.get_submodule(
                    name.replace("layers.", "")
                ).parametrizations.weight
                norm._u.copy_(torch.tensor(layer.state["u"]))
                norm._v.copy_(torch.tensor(layer.state["v"]))

    def moments(self):
        """Adam's first moments of both, by name: gradients, up to a factor."""
        for letter in "GD":
            network, other = getattr(self.ours, letter), getattr(self.theirs, letter)
            found = {same_name(k): p for k, p in other.named_parameters()}
            state = getattr(self.theirs, f"adam_{letter.lower()}").state
            m = getattr(self.ours, f"adam_{letter.lower()}").m
            for name, p in network.named_parameters().items():
                now, m = m[: p.size].reshape(p.shape), m[p.size :]
                yield letter, name, now, state[found[same_name(name)]]["exp_avg"].numpy()


class Same(np.random.Generator):
    """A generator that draws the same again."""

    def __init__(self, draws):
        super().__init__(np.random.PCG64(0))
        self.draws = draws

    def random(self, shape):
        return self.draws


@pytest.mark.parametrize("library", ["torch", "torch-channels-last", "torch-fused"])
@pytest.mark.parametrize(
    "config", [CONFIG, TABLE_3, RESNET, WGAN_GP], ids=["mnist", "table 3", "resnet", "wgan-gp"]
)
def test_a_step_from_equal_weights_gives_equal_losses_and_gradients(torch, config, library):
    # D hardly moves, for Adam's first step would enlarge the rounding of tiny gradients
    both = Fed(torch, config.replace(rate_d=1e-12), library)
    ours, theirs = both.ours.update(), both.theirs.update()
    assert float(ours.d) == pytest.approx(float(theirs[0]), rel=1e-5, abs=1e-6)
    assert float(ours.g) == pytest.approx(float(theirs[1]), rel=1e-5, abs=1e-6)
    moments = list(both.moments())
    largest = max(np.linalg.norm(m) for letter, _, m, _ in moments if letter == "G")
    for letter, name, m, expected in moments:
        # batch normalization takes back what a bias before it adds: its gradient is rounding
        rounding = 1e-6 * largest if letter == "G" and name.endswith("bias") else 0.0
        allowed = 5e-5 * np.linalg.norm(expected) + rounding  # 1e-6 is usual
        assert np.linalg.norm(m - expected) <= allowed, (letter, name)


def test_the_average_of_g_is_kept_as_here(torch):
    both = Fed(torch, CONFIG)
    before = [value.clone() for value in both.theirs.average]
    both.theirs.update()
    for start, now, value in zip(before, both.theirs.moving, both.theirs.average, strict=True):
        torch.testing.assert_close(value, 0.1 * start + 0.9 * now)
    names = [name for name, value in both.ours.average.items() if value.dtype == np.float32]
    assert len(both.theirs.average) == len(names)
    assert Fed(torch, CONFIG.replace(average=0.0)).theirs.average == []


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # from its own import
def test_compiled_networks_are_what_a_step_runs(torch):
    from minisn.bench_torch import TorchTrainer

    trainer = TorchTrainer(CONFIG, scale_images(bench_jobs.noise(CONFIG)), 1, "torch-compile")
    for network, run in ((trainer.G, trainer.run_g), (trainer.D, trainer.run_d)):
        assert isinstance(run, torch._dynamo.OptimizedModule)
        assert run._orig_mod is network
    trainer.run_g, trainer.run_d = None, None
    with pytest.raises(TypeError):
        trainer.update()
    assert not isinstance(TorchTrainer(CONFIG, trainer.images.numpy(), 1).run_d, type(run))


def arrays(result):
    """What a job returns, as a list of NumPy arrays."""
    many = result if isinstance(result, list | tuple) else [result]
    return [x if isinstance(x, np.ndarray) else x.numpy() for x in many]


def value(parameter):
    """The numbers of a parameter of either library, copied."""
    return getattr(parameter, "detach", lambda: parameter)().numpy().copy().ravel()


@pytest.mark.parametrize(
    "library",
    [
        pytest.param(library, marks=pytest.mark.needs(library.split("-")[0]))
        for library in ("torch", "torch-channels-last", "dezero", "autograd")
    ],
)
@pytest.mark.parametrize("config", [CONFIG, TABLE_3], ids=["28", "32"])
def test_every_library_computes_the_same_convolutions(library, config, monkeypatch):
    ours = bench_jobs.jobs("minisn", "conv", config)
    if library.startswith("torch"):
        from minisn import bench_torch

        theirs = bench_torch.jobs(library, "conv", config, 1)
    else:
        monkeypatch.setattr(np, "int", int, raising=False)  # and taken back after
        theirs = bench_jobs.jobs(library, "conv", config)
    layers = {layer.name: layer.multiply_adds for layer in bench_jobs.convolutions(config)}
    assert len(ours) == 22
    assert len(theirs) == (10 if library == "autograd" else 22)
    for name, job in theirs.items():
        found, expected = arrays(job()), arrays(ours[name]())
        assert len(found) == len(expected) == (1 if name.endswith("forward") else 2)
        again = arrays(job())  # gradients must not add up from turn to turn
        for a, b, c in zip(found, expected, again, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype == np.float32
            # each entry sums so many products, and every sum rounds by 2**-24 of where it stands
            products = layers[name.split(",")[0]] * config.batch_size / a.size
            rounding = 2**-22 * math.sqrt(products) * np.abs(b).max()
            np.testing.assert_allclose(a, b, rtol=0, atol=rounding, err_msg=name)
            np.testing.assert_array_equal(a, c)


def test_one_power_step_is_one_round_in_both_libraries(torch):
    from minisn import bench_torch

    D = bench_jobs._networks(TABLE_3)[1]
    theirs = bench_torch.networks(TABLE_3, 3)[1]
    layers = list(weighted_layers(D).values())
    modules = [m for m in theirs if hasattr(m, "parametrizations")]
    assert len(layers) == len(modules) == 8
    starts = []
    with torch.no_grad():
        for layer, m in zip(layers, modules, strict=True):
            W = layer.weight.numpy().reshape(len(layer.weight), -1)
            m.parametrizations.weight.original.copy_(torch.tensor(layer.weight.numpy()))
            v = W.T @ layer.state["u"]  # the half of the round that PyTorch makes last
            m.parametrizations.weight[0]._v.copy_(torch.tensor(v / np.linalg.norm(v)))
            starts.append(layer.state["u"])
    norms = bench_torch._power(theirs)()
    power_step(D)
    for layer, norm, start in zip(layers, norms, starts, strict=True):
        np.testing.assert_allclose(layer.state["u"], norm._u.numpy(), rtol=0, atol=2e-6)
        assert len(start) == 1 or not np.array_equal(layer.state["u"], start)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("library", ["torch", "torch-fused"])
def test_adam_updates_as_many_numbers_by_as_much(library):
    from minisn import bench_torch

    ours = bench_jobs.jobs("minisn", "adam", TABLE_3)[""]
    theirs = bench_torch.jobs(library, "adam", TABLE_3, 1)[""]
    count = sum(p.size for network in bench_jobs._networks(TABLE_3) for p in network.parameters())
    for job in (ours, theirs):
        first, second = ([value(p) for p in job()] for _ in range(2))
        moved = np.concatenate([b - a for a, b in zip(first, second, strict=True)])
        assert moved.size == count
        # with a constant gradient g every number moves by the rate, times g / (g + 1e-8)
        np.testing.assert_allclose(np.abs(moved), TABLE_3.rate_d, rtol=2e-2)
