"""The bench: real processes, real contestants, at a size that takes seconds.

That they do equal work is checked in one process: equal weights, losses, gradients, products.
"""

import copy
import dataclasses
import importlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from minisn import bench
from minisn.bench import Contestant, Timing, compare, noise
from minisn.config import load_preset
from minisn.data import scale_images
from minisn.errors import ConfigError
from minisn.nn import weighted_layers
from minisn.tensor import Tensor
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


@pytest.mark.slow
def test_the_peak_of_memory_is_that_of_the_contestant_alone():
    ballast = np.ones(800_000_000 // 8)  # what runs it counts in its own getrusage, not here
    (timing,) = compare([Contestant("it", "minisn", CONFIG)], turns=1, steps=1)
    assert 50 < timing.peak_mb < ballast.nbytes / 1e6


@pytest.mark.slow  # it compiles anew
def test_the_peak_of_memory_is_not_that_of_the_compiler(monkeypatch, tmp_path):
    pytest.importorskip("numba", reason="Numba is not installed")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    one = [Contestant("it", "minisn", load_preset("mnist").replace(batch_size=16))]
    (compiled,), (cached,) = (compare(one, turns=1, steps=1) for _ in range(2))
    assert compiled.peak_mb < 1.2 * cached.peak_mb


@pytest.mark.needs("torch")
def test_pytorch_takes_the_same_step_in_a_process_of_its_own():
    both = [Contestant(name, name, CONFIG) for name in ("minisn", "torch")]
    mine, theirs = compare(both, turns=1, steps=1)
    assert (mine.name, theirs.name) == ("minisn", "torch")
    assert theirs.median > 0


@pytest.mark.slow
def test_threads_of_one_contestant_have_gone_to_sleep_when_the_next_begins(monkeypatch):
    rests, sleep = [], bench.time.sleep
    monkeypatch.setattr(bench.time, "sleep", lambda s: (rests.append(s), sleep(s)))
    both = [Contestant(name, "minisn", CONFIG) for name in ("a", "b")]
    compare(both, turns=2, steps=1)
    assert rests.count(bench.REST) == 2 * (1 + 2)  # the first turn warms up


@pytest.mark.parametrize(
    ("library", "changes", "words"),
    [
        ("minisn", {"data": "nothing-like-it"}, r"bench: .*nothing-like-it"),
        pytest.param(
            "torch",
            {"objective": "standard"},
            r"bench: torch: \w+: \S+",
            marks=pytest.mark.needs("torch"),
        ),
    ],
)
def test_a_contestant_that_cannot_run_is_one_clear_line(library, changes, words):
    config = dataclasses.replace(CONFIG, **changes)
    with pytest.raises(ConfigError, match=words) as caught:
        compare([Contestant("it", library, config)], turns=1, steps=1)
    assert "\n" not in str(caught.value)


def test_a_library_that_is_missing_is_said_with_the_command_that_installs_it(tmp_path, monkeypatch):
    """In the contestant's own process, which cannot import it either."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    words = "torch is not installed; run: pip install torch"
    with pytest.raises(ConfigError, match=f"^bench: {words}$"):
        compare([Contestant("it", "torch", CONFIG)], turns=1, steps=1)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert bench.missing("torch") == words
    assert bench.missing("numpy") == ""


def test_ratios_are_taken_turn_by_turn():
    assert Timing("a", [1.0, 6.0], 0).over(Timing("b", [2.0, 3.0], 0)) == [0.5, 2.0]


# --- each convolution by itself, tests/benchmarks/convolutions.py -----------------------------


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(os.path.join(os.path.dirname(__file__), "benchmarks"))


@pytest.fixture
def convolutions(benchmarks):
    return importlib.import_module("convolutions")


@pytest.mark.parametrize(("config", "sizes"), [(CONFIG, (3, 7, 14, 28)), (TABLE_3, (4, 8, 16, 32))])
def test_the_convolutions_are_those_of_the_networks(convolutions, config, sizes):
    trainer = Trainer(config, noise(config))
    shapes = [
        layer.weight.shape
        for network in (trainer.D, trainer.G)
        for layer in weighted_layers(network).values()
        if layer.weight.ndim == 4
    ]
    layers = convolutions.convolutions(config)
    assert [layer.module.weight.shape for layer in layers] == shapes
    assert {layer.given[0] for layer in layers} == {config.batch_size}
    a, b, c, d = sizes
    assert [(x.given[2], x.made[3]) for x in layers] == [
        *((d, d), (d, c), (c, c), (c, b), (b, b), (b, a), (a, a)),
        *((a, b), (b, c), (c, d), (d, d)),
    ]
    names = [layer.name for layer in convolutions.convolutions(TABLE_3.replace(width=64))]
    assert names[1::6] == ["D2 64->64 4x4/2", "G1 512->256 4x4/2 transposed"]


@pytest.mark.needs("torch")
@pytest.mark.parametrize("config", [CONFIG, TABLE_3], ids=["28", "32"])
def test_both_libraries_compute_the_same_convolutions(convolutions, config):
    for place, layer in enumerate(convolutions.convolutions(config)):
        for name, results in (("forward", 1), ("gradients", 2)):
            work = f"{place} {name}"
            job = convolutions.job("torch", config, work)
            ours = arrays(convolutions.job("minisn", config, work)())
            theirs, again = arrays(job()), arrays(job())  # gradients must not add up
            assert len(ours) == len(theirs) == results
            windows = layer.given if "transposed" in layer.name else layer.made
            multiply_adds = layer.module.weight.size * windows[2] ** 2 * config.batch_size
            for a, b, c in zip(theirs, ours, again, strict=True):
                assert a.shape == b.shape and a.dtype == b.dtype == np.float32
                # an entry sums so many products; each sum rounds by 2**-24 of where it stands
                rounding = 2**-22 * math.sqrt(multiply_adds / a.size) * np.abs(b).max()
                np.testing.assert_allclose(a, b, rtol=0, atol=rounding, err_msg=layer.name)
                np.testing.assert_array_equal(a, c)


def arrays(result):
    """What a job returns, as a list of NumPy arrays."""
    many = result if isinstance(result, list | tuple) else [result]
    return [x if isinstance(x, np.ndarray) else x.numpy() for x in many]


# --- equal work -------------------------------------------------------------------------------


class Fed:
    """Both trainers with equal weights, u and v, and equal batches."""

    def __init__(self, torch, config):
        from benchmarks.recipe_in_torch import take_weights

        from minisn.bench_torch import TorchTrainer

        images = noise(config)
        self.ours = Trainer(config, images)
        self.theirs = TorchTrainer(config, scale_images(images), 1)
        rng = np.random.default_rng(5)
        self.converge()
        take_weights(self.theirs.G, self.ours.G)
        take_weights(self.theirs.D, self.ours.D)
        with torch.no_grad():
            self.copy_vectors(torch)
        real = scale_images(images[: config.batch_size])
        z = [rng.standard_normal((config.batch_size, config.latent), np.float32) for _ in "dg"]
        epsilon = rng.random((config.batch_size, 1, 1, 1))
        self.ours.next_batch = lambda: (Tensor(real), None)
        self.ours.rng = Same(epsilon)
        self.theirs.next_batch = lambda: torch.tensor(real)
        self.theirs.epsilon = lambda: torch.tensor(epsilon, dtype=torch.float32)
        ours, theirs = copy.copy(z), copy.copy(z)
        self.ours.latent = lambda n=0: (Tensor(ours.pop(0)), None)
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
        from benchmarks.recipe_in_torch import same_name

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


@pytest.mark.parametrize(
    "config", [CONFIG, TABLE_3, RESNET, WGAN_GP], ids=["mnist", "table 3", "resnet", "wgan-gp"]
)
def test_a_step_from_equal_weights_gives_equal_losses_and_gradients(torch, config):
    # D hardly moves, for Adam's first step would enlarge the rounding of tiny gradients
    both = Fed(torch, config.replace(rate_d=1e-12))
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


# --- a preset's whole recipe, tests/benchmarks/recipe_in_torch.py -----------------------------


def test_the_recipe_in_pytorch_is_the_presets(torch):
    from benchmarks.recipe_in_torch import Recipe, take_weights

    changes = {"width": 4, "batch_size": 4, "latent": 6, "steps": 5, "decay_after": 2}
    config = load_preset("cifar10-hour").replace(**changes)
    images = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), dtype=np.uint8)
    theirs, ours = Recipe(config, scale_images(images), 1), Trainer(config, images)
    take_weights(theirs.G, ours.G)
    z = np.random.default_rng(1).standard_normal((3, 6), np.float32)
    with torch.no_grad():
        first = theirs.G(torch.tensor(z)).numpy()
    np.testing.assert_allclose(first, ours.G(Tensor(z)).numpy(), rtol=1e-4, atol=1e-6)
    for _ in range(5):
        theirs.update()
        ours.update()
        assert theirs.adam_d.param_groups[0]["lr"] == pytest.approx(ours.adam_d.rate)
    for layer in theirs.D.modules():
        if hasattr(layer, "parametrizations"):
            found = np.linalg.norm(layer.weight.detach().flatten(1), 2)
            assert found == pytest.approx(2.0, rel=0.3)
    assert len(theirs.moving) == len(theirs.average)
    kept, now = theirs.average[0].numpy(), theirs.moving[0].numpy()
    assert np.abs(kept - now).max() > 0
    before = theirs.sample(z)
    theirs.average[0].mul_(0)
    assert np.abs(theirs.sample(z) - before).max() > 0


def test_augmentation_in_pytorch_is_the_one_here(torch):
    """Moves and holes are the same sets; colors have the same mean and spread."""
    from benchmarks.recipe_in_torch import KINDS

    from minisn.augment import KINDS as OURS

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ramp = np.arange(1.0, 65.0, dtype=np.float32).reshape(1, 1, 8, 8).repeat(3000, 0)
    for kind in ("translation", "cutout"):
        found, expected = (
            {image.tobytes() for image in images}
            for images in (
                KINDS[kind](torch.tensor(ramp)).numpy(),
                OURS[kind](Tensor(ramp), rng).numpy(),
            )
        )
        assert found == expected, kind
    x = rng.uniform(-1, 1, (1, 3, 4, 4)).astype(np.float32).repeat(20_000, 0)
    found, expected = KINDS["color"](torch.tensor(x)).numpy(), OURS["color"](Tensor(x), rng).numpy()
    np.testing.assert_allclose(found.mean(0), expected.mean(0), atol=0.03)
    np.testing.assert_allclose(found.std(0), expected.std(0), atol=0.03)


def test_a_contestant_that_has_ended_is_one_clear_line():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", ""], **pipes) as process:
        process.wait()
        with pytest.raises(ConfigError, match="bench: the process ended"):
            bench._ask(process, {})
        bench._end(process)


# --- what each trick is worth, tests/benchmarks/tricks.py -------------------------------------


def test_every_trick_can_be_switched_off(benchmarks, tmp_path):
    tricks = importlib.import_module("tricks")
    for name, (file, _) in tricks.TRICKS.items():
        changed = tricks.without(name, tmp_path / name) / tricks.PACKAGE.name / file
        assert changed.read_text("utf-8") != (tricks.PACKAGE / file).read_text("utf-8")
        compile(changed.read_text("utf-8"), file, "exec")
    name = next(iter(tricks.TRICKS))
    tricks.TRICKS["gone"] = (tricks.TRICKS[name][0], {"no such text": ""})
    with pytest.raises(SystemExit, match="holds 0 times 'no such text', not once"):
        tricks.without("gone", tmp_path / "gone")
