"""Algorithm 1: what one update does, what it leaves alone, and that PyTorch agrees."""

import gc
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import tiny

from minisn import training
from minisn.config import load_preset
from minisn.data import fingerprint, load, unscale_images
from minisn.errors import ConfigError, DTypeError, NonFiniteError, ShapeError
from minisn.nn import Weighted, power_step
from minisn.regularizers import SpectralNorm
from minisn.tensor import RULES, Primitive, Tensor, no_grad
from minisn.training import Trainer

TINY = tiny.TINY.replace(size=28, latent=8, rate_g=5e-4, batch_size=8)

CALLS, MADE = 215, 141_193_144
"""Operations of one update of the preset ``mnist``, and bytes of their results. Raise them only
with a reason; lower them when the engine has got better."""


@pytest.fixture(scope="module")
def digits():
    return load("mnist-10k").images


def layers(network):
    return [module for _, module in network.named_modules() if isinstance(module, Weighted)]


def bits(arrays):
    return {name: hashlib.sha256(array).hexdigest() for name, array in arrays.items()}


def vectors(network):
    """u and v of every layer, as bits."""
    return [bits(layer.state) for layer in layers(network)]


# --- what an update does ----------------------------------------------------------------------


@pytest.mark.parametrize("n_dis", [1, 3])
def test_one_power_step_for_each_update_of_d_and_none_elsewhere(digits, monkeypatch, n_dis):
    trainer = Trainer(TINY.replace(n_dis=n_dis), digits)
    events = recorded_events(trainer, monkeypatch)
    trainer.update()
    # all 8 layers step, then D is updated; nothing steps for G
    assert events == (["power step"] * 8 + ["D updated"]) * n_dis + ["G updated"]


def recorded_events(trainer, monkeypatch):
    events = []
    step = SpectralNorm.step
    monkeypatch.setattr(SpectralNorm, "step", lambda *a: (events.append("power step"), step(*a))[1])
    for name, adam in (("D", trainer.adam_d), ("G", trainer.adam_g)):
        monkeypatch.setattr(adam, "step", noted(events, f"{name} updated", adam.step))
    return events


def noted(events, event, function):
    def wrapper(*args):
        events.append(event)
        return function(*args)

    return wrapper


def test_the_power_step_moves_u_and_v_by_one_round(digits):
    trainer = Trainer(TINY.replace(n_dis=1), digits)
    W = [layer.weight.numpy().reshape(layer.weight.shape[0], -1) for layer in layers(trainer.D)]
    before = [layer.state["u"] for layer in layers(trainer.D)]
    trainer.update()
    for layer, matrix, u in zip(layers(trainer.D), W, before, strict=True):
        v = matrix.T @ u
        v /= np.linalg.norm(v)
        after = matrix @ v
        after /= np.linalg.norm(after)
        # one round on the weights before Adam's step; float32 rounding of short sums
        np.testing.assert_allclose(layer.state["v"], v, rtol=0, atol=2e-6)
        np.testing.assert_allclose(layer.state["u"], after, rtol=0, atol=2e-6)


def test_nothing_but_a_power_step_moves_u_and_v(digits):
    trainer = Trainer(TINY, digits)
    trainer.update()
    before = vectors(trainer.D)
    trainer.sample(np.zeros((2, TINY.latent), np.float32))
    for on in (True, False):
        trainer.D.train(on)(trainer.next_batch()[0])
    for layer in layers(trainer.D):
        assert layer.effective_weight().shape == layer.weight.shape
    assert vectors(trainer.D) == before
    power_step(trainer.D)
    assert vectors(trainer.D) != before


def test_sampling_changes_nothing(digits):
    trainer = Trainer(TINY, digits)
    trainer.update()
    before = state(trainer)
    images = trainer.sample(np.ones((3, TINY.latent), np.float32))
    assert images.shape == (3, 1, 28, 28) and images.dtype == np.float32
    assert state(trainer) == before
    assert all(module.training for _, module in trainer.G.named_modules())


def state(trainer):
    return (
        bits(trainer.G.state_dict()),
        bits(trainer.D.state_dict()),
        bits(trainer.average),
        bits({"d": trainer.adam_d.m, "g": trainer.adam_g.v}),
        trainer.step,
        trainer.rng.bit_generator.state,
        trainer.data.state(),
    )


def test_d_s_weights_get_no_gradient_in_g_s_step(digits, monkeypatch):
    trainer = Trainer(TINY.replace(n_dis=1), digits)
    rule, shapes = RULES["conv2d_weight"], {"D": [], "G": []}
    compute, now = rule.forward, ["D"]

    def counted(*args, **settings):
        result = compute(*args, **settings)
        shapes[now[0]].append(tuple(result.shape))
        return result

    def d_updated(*args):
        now[0] = "G"
        return step(*args)

    step = trainer.adam_d.step
    monkeypatch.setattr(rule, "forward", counted)
    monkeypatch.setattr(trainer.adam_d, "step", d_updated)
    trainer.update()
    of_d, of_g = (
        sorted(m.weight.shape for m in layers(network) if m.weight.ndim == 4)
        for network in (trainer.D, trainer.G)
    )
    assert (len(of_d), len(of_g)) == (7, 4) and not set(of_d) & set(of_g)
    assert set(shapes["D"]) == set(of_d)
    assert sorted(shapes["G"]) == of_g


@pytest.mark.parametrize("network", ["D", "G"])
def test_each_step_updates_its_own_network_only(digits, monkeypatch, network):
    trainer = Trainer(TINY, digits)
    other = {"D": trainer.adam_g, "G": trainer.adam_d}[network]
    monkeypatch.setattr(other, "step", lambda grads: None)
    before = {name: [p.numpy() for p in getattr(trainer, name).parameters()] for name in "DG"}
    trainer.update()
    for name in "DG":
        for p, old in zip(getattr(trainer, name).parameters(), before[name], strict=True):
            if name != network:
                assert np.array_equal(p.numpy(), old)
            elif p.ndim > 1:  # D's last bias has a gradient of 0 while every image counts
                assert not np.array_equal(p.numpy(), old)


def test_the_average_follows_g(digits):
    config = TINY.replace(average=0.9)
    trainer, expected = Trainer(config, digits), None
    for step in range(3):
        before = dict(trainer.average)
        trainer.update()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, now in trainer.G.state_dict().items():
            expected = decay * before[name] + (1 - decay) * now
            np.testing.assert_allclose(trainer.average[name], expected, rtol=1e-6, atol=1e-12)
    assert any(name.endswith("running_var") for name in trainer.average)
    z = np.ones((2, TINY.latent), np.float32)
    averaged = trainer.sample(z)
    trainer.G.load_state_dict(trainer.average)
    with no_grad():
        np.testing.assert_array_equal(averaged, trainer.G.eval()(Tensor(z)).numpy())


def test_without_an_average_g_itself_draws(digits):
    trainer = Trainer(TINY.replace(average=0.0), digits)
    trainer.update()
    assert trainer.average == {}
    z = np.ones((2, TINY.latent), np.float32)
    with no_grad():
        np.testing.assert_array_equal(trainer.sample(z), trainer.G.eval()(Tensor(z)).numpy())


@pytest.mark.parametrize("objective", ["standard", "hinge", "wasserstein"])
def test_every_objective_trains(digits, objective):
    trainer = Trainer(TINY.replace(objective=objective), digits)
    losses = trainer.update()
    assert np.isfinite(losses.d) and np.isfinite(losses.g)
    assert losses.d.shape == losses.g.shape == () and trainer.step == 1
    assert (trainer.adam_d.steps, trainer.adam_g.steps) == (2, 1)


def test_real_images_come_scaled_and_in_the_stream_s_order(digits):
    trainer = Trainer(TINY, digits)
    batch, _ = trainer.next_batch()
    order = np.random.default_rng((TINY.seed, 0)).permutation(len(digits))[:8]
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch.numpy(), digits[order] / 127.5 - 1, atol=1e-6)


# --- promises ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scale"), [(4, 1.0), (16, 1.0), (64, 1.0), (8, 2.0)])
def test_the_first_normalized_weights_have_their_norm_within_a_hundredth(digits, width, scale):
    trainer = Trainer(TINY.replace(width=width, scale=scale), digits)
    for layer in layers(trainer.D):
        W_bar = layer.effective_weight().numpy().astype(np.float64)
        norm = np.linalg.svd(W_bar.reshape(len(W_bar), -1), compute_uv=False)[0] / scale
        assert 1 - 1e-6 <= norm <= 1.01  # u'Wv is never above the norm, but for rounding


def test_equal_seeds_give_equal_bits(digits):
    first, second = Trainer(TINY, digits), Trainer(TINY, digits)
    other = Trainer(TINY.replace(seed=4), digits)
    for _ in range(3):
        a, b, c = first.update(), second.update(), other.update()
        assert (a.d, a.g) == (b.d, b.g) != (c.d, c.g)
    assert state(first) == state(second) != state(other)


@pytest.mark.slow
def test_memory_stays_flat_with_the_garbage_collector_off(digits):
    trainer = Trainer(TINY, digits)
    gc.collect()
    gc.disable()
    try:
        after = []
        for steps in (20, 100):
            for _ in range(steps):
                trainer.update()
            after.append((tensors(), resident()))
    finally:
        gc.enable()
    (tensors_first, bytes_first), (tensors_last, bytes_last) = after
    assert tensors_first == tensors_last
    # the arrays of one update take over 1 MB: left behind, they would sum to over 100 MB
    assert bytes_last - bytes_first < 20_000_000


def tensors():
    return sum(type(thing) is Tensor for thing in gc.get_objects())


def resident():
    """Bytes of this process in memory, where the system tells."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.exists() else 0


# --- what cannot be trained -------------------------------------------------------------------


def test_an_update_does_no_more_than_it_must(digits, monkeypatch):
    """What a clock would say with noise, exactly: operations, and bytes of results they make."""
    calls, made = 0, 0
    compute = Primitive._compute

    def counted(self, inputs, params):
        nonlocal calls, made
        y, saved = compute(self, inputs, params)
        calls += 1
        owners = [t._array for t in inputs]
        made += 0 if any(np.may_share_memory(y, x) for x in owners) else y.nbytes
        return y, saved

    trainer = Trainer(load_preset("mnist"), load("mnist-10k").images)
    trainer.update()
    monkeypatch.setattr(Primitive, "_compute", counted)
    trainer.update()
    assert calls <= CALLS and made <= MADE, (calls, made)


def test_a_nan_weight_is_named_by_its_layer(digits):
    trainer = Trainer(TINY, digits)
    layer = layers(trainer.D)[1]
    layer.weight.assign(np.full_like(layer.weight.numpy(), np.nan))
    with pytest.raises(NonFiniteError, match=r"layers\.2: .*NaN"):
        trainer.update()


def test_fewer_images_than_a_batch_are_refused(digits):
    with pytest.raises(ConfigError, match="batch_size is 8; expected at most 3, the number of"):
        Trainer(TINY, digits[:3])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda x: x.tolist(), DTypeError, "images are of type list; expected a NumPy array"),
        (
            lambda x: x / 127.5 - 1,
            DTypeError,
            "float64 from -1 to 1; expected uint8, pixels 0 to 255; pass minisn.data.unscale_image",
        ),
        (
            lambda x: np.float32(x / 255),
            DTypeError,
            "from 0 to 1; expected uint8, pixels 0 to 255; "
            "pass np.rint(255 * images).astype(np.uint8)",
        ),
        (lambda x: x.astype(float), DTypeError, "pass np.rint(images).astype(np.uint8)"),
        (lambda x: x.astype(np.int64), DTypeError, "int64 from 0 to 255; expected uint8"),
        (
            lambda x: x * 2.0 - 100,
            DTypeError,
            "from -100 to 410; expected uint8, pixels 0 to 255; pass pixels in that range",
        ),
        (lambda x: x > 99, DTypeError, "pass np.rint(255 * images).astype(np.uint8)"),
        (lambda x: (x > 99) * 1, DTypeError, "pass np.rint(255 * images).astype(np.uint8)"),
        (lambda x: (x > 99) * 2 - 1, DTypeError, "pass pixels in that range"),
        (lambda x: x[:0].astype(float), DTypeError, "images are float64; expected uint8"),
        (
            lambda x: x[:, 0],
            ShapeError,
            "[20, 28, 28]; expected [N, C, 28, 28], C = 1 (gray) or 3 "
            "(red, green, blue); pass images[:, None]",
        ),
        (lambda x: x.transpose(0, 2, 3, 1), ShapeError, "pass images.transpose(0, 3, 1, 2)"),
        (
            lambda x: x.repeat(3, 1).transpose(0, 2, 3, 1),
            ShapeError,
            "shape [20, 28, 28, 3]; expected [N, C, 28, 28]",
        ),
        (lambda x: x.repeat(4, 1), ShapeError, "shape [20, 4, 28, 28]; expected [N, C, 28, 28]"),
        (lambda x: x[0, 0], ShapeError, "images have shape [28, 28]; expected [N, C, 28, 28]"),
        (lambda x: x[..., :20], ShapeError, "28 x 20 pixels; expected [N, C, 28, 28]"),
        (lambda x: x[..., :8, :8], ConfigError, "8 x 8 pixels, but size = 28; add --set size=8"),
        (lambda x: x[:0], ConfigError, "at most 0, the number of images"),
    ],
)
def test_images_in_another_form_are_refused_with_what_to_do(digits, change, error, words):
    x = digits[:20].copy()
    x[0, 0, 0, :2] = 0, 255  # the whole range
    with pytest.raises(error) as caught:
        Trainer(TINY, change(x))
    assert words in str(caught.value)


def test_what_to_do_with_a_list_does_not_lose_its_fractions(digits):
    with pytest.raises(DTypeError, match=r"pass np\.array\(images\)$"):
        Trainer(TINY, (digits[:20] / 255).tolist())


def test_what_to_do_makes_it_trainable(digits):
    x = digits[:20]
    unscaled = np.rint(255 * (x / 255)).astype(np.uint8), unscale_images(x / 127.5 - 1)
    for images in (*unscaled, x[:, 0][:, None], x.transpose(0, 2, 3, 1).transpose(0, 3, 1, 2)):
        assert np.array_equal(images, x)
        Trainer(TINY, images)


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ([0, 1] * 10, DTypeError, "labels: expected a NumPy array of integers, [N]"),
        ([0, 1] * 10, DTypeError, "got an object of type list; pass np.array(labels)"),
        (
            np.zeros(20),
            DTypeError,
            "got dtype float64; number the classes from 0: pass np.unique(labels, return_inverse",
        ),
        (np.array(["cat"] * 20), DTypeError, "got dtype <U3; number the classes from 0"),
        (np.zeros(19, int), ConfigError, "expected 20 labels, one for each image, got [19]"),
    ],
)
def test_labels_in_another_form_are_refused(digits, labels, error, words):
    with pytest.raises(error) as caught:
        Trainer(TINY.replace(conditional="concat"), digits[:20], labels=labels)
    assert words in str(caught.value)


def test_a_trainer_knows_what_it_is_trained_on(digits):
    labels = np.arange(20) % 3
    assert Trainer(TINY, digits[:20]).fingerprint == fingerprint(digits[:20])
    assert Trainer(TINY, digits[:20], labels=labels).fingerprint == fingerprint(digits[:20])
    conditional = Trainer(TINY.replace(conditional="concat"), digits[:20], labels=labels)
    assert conditional.fingerprint == fingerprint(digits[:20], labels)


def test_an_unknown_device_is_refused(digits):
    with pytest.raises(ConfigError, match="unknown device 'tpu'"):
        Trainer(TINY, digits, device="tpu")
    for labels in (np.arange(20) % 3, [0, 1] * 10):  # where the device is expected
        with pytest.raises(ConfigError, match=r"unknown device .*; expected one of cpu, cuda"):
            Trainer(TINY, digits, labels)


# --- PyTorch ----------------------------------------------------------------------------------


def five_steps(digits, dtype, n_dis=2, eps=1e-8, seed=3):
    """Train both, and return them, where ours began, and the losses."""
    from torch_reference import Recorded, Reference

    # wide enough that no compiled kernel is passed over as not worth its start
    config = TINY.replace(width=8, batch_size=16, average=0.0, n_dis=n_dis, seed=seed)
    trainer = Recorded(config, digits, dtype, eps=eps)
    start, theirs, losses = trainer.arrays(), Reference(trainer), []
    for _ in range(5):
        ours = trainer.update()
        losses.append(((ours.d, ours.g), theirs.update()))
    return trainer, theirs, start, losses


def test_five_steps_from_equal_weights_agree_with_pytorch_in_double_precision(torch, digits):
    from torch_reference import agree_in_double_precision

    trainer, theirs, start, losses = five_steps(digits, "float64")
    for ours, expected in losses:
        assert ours == pytest.approx(expected, rel=0, abs=1e-12)
    agree_in_double_precision(trainer, theirs, start)


def test_five_steps_from_equal_weights_agree_with_pytorch_in_single_precision(torch, digits):
    # 1e-6 to 2e-6 of the way that the weights went is usual: roundings of 6e-8, in sums of some
    # hundred terms. Where one brings a unit to the other side of the kink of its ReLU, the two
    # part by 1e-3 and more, as with tanh instead they hardly ever do. Adam enlarges that by
    # scaling small gradients up: with the usual eps of 1e-8 five seeds in ten part, with 1e-5, a
    # tenth of the gradients, one in ten on one processor and three in five on another. Hence this
    # eps, and the two nearest of five seeds: a fault would part all of them.
    distances = {"G": [], "D": []}
    for seed in range(5):
        trainer, theirs, start, losses = five_steps(digits, "float32", 1, eps=1e-5, seed=seed)
        assert losses[0][0] == pytest.approx(losses[0][1], rel=0, abs=2e-6)
        ours, expected = trainer.arrays(), theirs.arrays()
        for network, found in distances.items():
            names = [f"{network}.{name}" for name in getattr(theirs, network).p]
            apart = sum(np.sum((ours[name] - expected[name]) ** 2) for name in names)
            way = sum(np.sum((ours[name] - start[name]) ** 2) for name in names)
            found.append(np.sqrt(apart / way))
    assert sorted(distances["D"])[1] < 8e-6
    assert sorted(distances["G"])[1] < 8e-6


@pytest.mark.parametrize("conditional", ["none", "projection"])
def test_many_samples_are_drawn_in_pieces_and_are_those_of_one(monkeypatch, digits, conditional):
    images = digits[:20]
    labels = np.arange(len(images)) % 3
    trainer = Trainer(TINY.replace(conditional=conditional), images, labels=labels)
    z = np.random.default_rng(0).standard_normal((7, TINY.latent), np.float32)
    whole, sizes = trainer.sample(z), []
    forward = type(trainer.G).forward
    monkeypatch.setattr(
        type(trainer.G),
        "forward",
        lambda self, x, *labels: (sizes.append(len(x)), forward(self, x, *labels))[1],
    )
    monkeypatch.setattr(training, "PIECE", 3)
    np.testing.assert_allclose(trainer.sample(z), whole, rtol=0, atol=1e-6)
    assert sizes[0] == 3 and sizes.count(3) >= 2 and sizes[-1] == 1


def test_labels_that_no_sample_has_are_refused(digits):
    z = np.zeros((500, TINY.latent), np.float32)
    with pytest.raises(ConfigError, match="the model has no labels to draw by"):
        Trainer(TINY, digits[:20]).sample(z, np.zeros(500, int))
    config = TINY.replace(conditional="projection")
    trainer = Trainer(config, digits[:20], labels=np.arange(20) % 3)
    with pytest.raises(ShapeError, match="labels: expected 500, one for each z, got 600"):
        trainer.sample(z, np.zeros(600, int))


def test_after_the_last_step_the_step_sizes_stay():
    for decay_after, share in ((1, 0), (2, 1), (3, 1)):
        config = tiny.TINY.replace(steps=2, decay_after=decay_after)
        trainer = Trainer(config, np.zeros((20, 1, 8, 8), np.uint8))
        for _ in range(5):
            trainer.update()
        assert trainer.adam_d.rate == share * config.rate_d
        assert trainer.adam_g.rate == share * config.rate_g
