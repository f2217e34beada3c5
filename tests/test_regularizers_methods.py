"""Every method by name: it builds a D, trains, and what it promises is seen after an update."""

from dataclasses import FrozenInstanceError, is_dataclass, replace

import numpy as np
import pytest

from minisn import Tensor, grad, lipschitz, no_grad, spectral
from minisn.config import load_preset
from minisn.errors import ConfigError, DTypeError
from minisn.losses import OBJECTIVES
from minisn.models import cnn_discriminator
from minisn.nn import BatchNorm, LayerNorm, weighted_layers
from minisn.regularizers import (
    METHODS,
    GradientPenalty,
    Normalization,
    Orthonormal,
    SingularValues,
    SpectralNorm,
    SpectralPenalty,
    gradient_penalty,
    method,
    orthonormal_penalty,
)
from minisn.training import Trainer

TINY = load_preset("mnist-tiny").replace(size=8, width=2, latent=6, batch_size=6, rate_d=1e-3)
DIVIDING = [
    k for k, m in METHODS.items() if isinstance(m.reparametrize, Normalization | SingularValues)
]


pytestmark = pytest.mark.usefixtures("plain_kernels")


def rng(seed=0):
    return np.random.default_rng(seed)


def trained(name, updates=1, larger=1, **changes):
    """A trainer after some updates, from weights that are larger by a factor."""
    images = rng().integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    trainer = Trainer(TINY.replace(regularizer=name, **changes), images)
    for layer in weighted_layers(trainer.D).values():
        for tensor in layer.learned.values():
            tensor.assign(tensor.array * np.float32(larger))
    for _ in range(updates):
        losses = trainer.update()
        assert np.isfinite(losses.d) and np.isfinite(losses.g)
    return trainer


def effective(trainer):
    """Every effective weight as a matrix."""
    with no_grad():
        return [
            spectral.as_matrix(m.effective_weight().array.astype(float), m.axis)
            for m in weighted_layers(trainer.D).values()
        ]


def norms(matrices):
    return [np.linalg.norm(M, 2) for M in matrices]


# --- promises, one for each -------------------------------------------------------------------


def promise_none():
    trainer = trained("none")
    for layer in weighted_layers(trainer.D).values():
        assert layer.effective_weight() is layer.weight
    assert trainer.penalties == [] and trainer.method.projection is None
    # no power iteration either: what is timed against SN is nothing
    assert all(layer.state == {} for layer in weighted_layers(trainer.D).values())


def promise_sn():
    trainer = trained("sn", 3, scale=1.3, rate_d=1e-4)
    np.testing.assert_allclose(norms(effective(trainer)), 1.3, rtol=0.05)


def promise_bsn():
    trainer = trained("bsn", 3, rate_d=1e-4)
    with no_grad():
        weights = [m.effective_weight().array for m in weighted_layers(trainer.D).values()]
    for W in weights:
        both = [np.linalg.norm(np.moveaxis(W, a, 0).reshape(W.shape[a], -1), 2) for a in (0, 1)]
        assert (np.mean(both) if W.ndim == 4 else both[0]) == pytest.approx(1, rel=0.05)


def promise_sn_conv():
    trainer = trained("sn-conv", 3, rate_d=1e-4)
    with no_grad():
        for size, layer in zip(
            (8, 8, 4, 4, 2, 2, 1, 1), weighted_layers(trainer.D).values(), strict=True
        ):
            W = layer.effective_weight().array
            norm = (
                np.linalg.norm(W, 2)
                if W.ndim == 2
                else lipschitz.conv_operator_norm(W, size, layer.stride, layer.padding)
            )
            assert norm == pytest.approx(1, rel=0.05)


def promise_wn():
    for M in effective(trained("wn")):
        np.testing.assert_allclose(np.linalg.norm(M, axis=1), 1, rtol=1e-6)


def promise_frobenius():
    np.testing.assert_allclose(
        [(M**2).sum() for M in effective(trained("frobenius"))], 1, rtol=1e-6
    )


def promise_usv():
    trainer = trained("usv", 3)
    np.testing.assert_allclose(norms(effective(trainer)), 1, rtol=1e-5)
    for layer in weighted_layers(trainer.D).values():
        U = layer.U.array
        np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-5)


def promise_wc():
    trainer = trained("wc")
    largest = [np.abs(M).max() for M in effective(trainer)]
    np.testing.assert_allclose(largest[:-1], 0.01, rtol=1e-6)  # the first weights are beyond
    assert largest[-1] > 0.011  # the dense layer is not clipped


def promise_svc():
    trainer = trained("svc", larger=15)
    values = [np.linalg.svd(M, compute_uv=False) for M in effective(trainer)]
    assert max(s[0] for s in values) <= 1 + 1e-5
    assert sum((np.abs(s - 1) < 1e-5).sum() for s in values) >= 8  # there was much to clip
    assert min(s[-1] for s in values) < 0.95  # and something to leave alone


def promise_orthonormal():
    trainer = trained("orthonormal", updates=0)
    for M in effective(trainer):
        small = M @ M.T if len(M) <= M.shape[1] else M.T @ M
        np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-6)
    adds(
        "orthonormal",
        lambda D, *_: sum(
            orthonormal_penalty(m.weight).item() for m in weighted_layers(D).values()
        ),
    )


def promise_gp():
    """As the settings call a gradient penalty with no other regularizer."""
    adds("gp", lambda D, real, fake, draws: 10 * gradient_penalty(D, real, fake, draws).item())


def promise_sigma2():
    adds(
        "sigma2",
        lambda D, *_: (
            0.05
            * sum(
                m.reparametrize.estimate(m.learned, m.axis, m.state).item() ** 2
                for m in weighted_layers(D).values()
            )
        ),
    )


def adds(name, penalty):
    """D's loss is the objective and the penalty."""
    trainer = trained(name)
    real, fake = batches(trainer, np.float32)
    plain = OBJECTIVES["hinge"].d(trainer.D(real), trainer.D(fake)).item()
    expected = penalty(trainer.D, real, fake, rng(5))
    trainer.rng = rng(5)
    loss = trainer.loss_d(real, None, fake, None).item()
    assert expected > 1e-4
    assert loss - plain == pytest.approx(expected, rel=1e-4)


def promise_bn():
    normalizes("bn", BatchNorm)


def promise_ln():
    normalizes("ln", LayerNorm)


def normalizes(name, kind):
    """One layer between every two convolutions, without gain, its shift learned."""
    trainer = trained(name)
    found = [m for _, m in trainer.D.named_modules() if isinstance(m, BatchNorm | LayerNorm)]
    assert [type(m) for m in found] == [kind] * 6
    assert all(m.gamma is None for m in found)
    assert any(np.abs(m.beta.array).max() > 0 for m in found)


@pytest.mark.parametrize("name", [*METHODS, "gp"])
def test_a_method_keeps_its_promise(name):
    globals()[f"promise_{name.replace('-', '_')}"]()


# --- how D is judged --------------------------------------------------------------------------


def batches(trainer, dtype=np.float64):
    return [Tensor(rng(k).uniform(-1, 1, size=(5, 1, 8, 8)).astype(dtype)) for k in (1, 2)]


@pytest.mark.parametrize("name", METHODS)
def test_a_joint_batch_gives_the_loss_and_gradient_of_two(name):
    trainer = trained(name, updates=0, larger=3)
    trainer.penalties = []
    D = trainer.D.to(dtype="float64")
    real, fake = batches(trainer)
    joint = trainer.loss_d(real, None, fake, None)
    apart = OBJECTIVES["hinge"].d(D(real), D(fake))
    assert joint.item() == pytest.approx(apart.item(), rel=1e-12)
    grads = [grad(loss, D.parameters()) for loss in (joint, apart)]
    largest = max(np.abs(g.array).max() for g in grads[0])
    assert largest > 0
    for one, two in zip(*grads, strict=True):
        np.testing.assert_allclose(one.array, two.array, atol=1e-12 * largest)


def test_batch_normalization_would_mix_real_images_and_samples_in_one_batch():
    trainer = trained("bn", larger=3)
    D = trainer.D.to(dtype="float64")
    real, fake = batches(trainer)
    both = D(Tensor(np.concatenate([real.array, fake.array]))).array
    assert np.abs(both[:5] - D(real).array).max() > 1e-3 * np.abs(both).max()


# --- names, scales and gains ------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_a_method_and_its_parts_never_change(name):
    """All runs of a process share them."""
    one = METHODS[name]
    parts = (one, one.reparametrize, one.projection, one.penalty)
    for part in filter(is_dataclass, parts):
        with pytest.raises(FrozenInstanceError):
            part.title = "another"


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="unknown regularizer 'snn'; did you mean 'sn'"):
        method("snn")


@pytest.mark.parametrize("name", METHODS)
def test_scale_and_gain_are_taken_or_refused(name):
    if name in DIVIDING:
        scheme = method(name, 1.4, True).reparametrize
        assert (scheme.scale, scheme.gain) == (1.4, True)
        assert scheme == replace(METHODS[name].reparametrize, scale=1.4, gain=True)
    else:
        for given in ((1.4, False), (1.0, True)):
            with pytest.raises(ConfigError, match=f"{name!r} does not normalize weights"):
                method(name, *given)
    assert method(name) == METHODS[name]


@pytest.mark.parametrize("name", DIVIDING)
def test_training_moves_the_gain_of_every_layer(name):
    trainer = trained(name, updates=0, gain=True, larger=1)
    before = {k: p.numpy() for k, p in trainer.D.named_parameters().items() if "gamma" in k}
    assert len(before) == 8
    trainer.update()
    for name, value in before.items():
        assert (trainer.D.named_parameters()[name].array != value).any(), name


def test_the_scale_reaches_every_layer():
    D = cnn_discriminator(8, 1, rng(), width=2, regularizer=method("wn", 2.0))
    for layer in weighted_layers(D).values():
        M = spectral.as_matrix(layer.effective_weight().array, layer.axis)
        np.testing.assert_allclose(np.linalg.norm(M, axis=1), 2, rtol=1e-6)


# --- step sizes that fall ---------------------------------------------------------------------


def test_step_sizes_fall_to_zero_in_a_straight_line():
    trainer = trained("sn", updates=0, decay_after=2, steps=6)
    seen = []
    for _ in range(6):
        trainer.update()
        seen.append((trainer.adam_d.rate / 1e-3, trainer.adam_g.rate / TINY.rate_g))
    np.testing.assert_allclose(seen, [[r, r] for r in (1, 1, 1, 0.75, 0.5, 0.25)], rtol=1e-12)


@pytest.mark.parametrize("after", [0, 3, 100])
def test_step_sizes_stay_without_a_decay_and_before_it(after):
    trainer = trained("sn", updates=3, decay_after=after, steps=4)
    assert (trainer.adam_d.rate, trainer.adam_g.rate) == (TINY.rate_d, TINY.rate_g)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, "a"])
def test_a_scale_that_cannot_be_is_refused(scale):
    with pytest.raises((ConfigError, DTypeError), match="scale"):
        SpectralNorm(scale=scale)


@pytest.mark.parametrize("kind", [GradientPenalty, Orthonormal, SpectralPenalty])
def test_a_penalty_of_negative_weight_is_refused(kind):
    with pytest.raises(ConfigError, match="weight: expected a finite number from 0"):
        kind(-1.0)
    with pytest.raises(DTypeError, match="weight: expected a number"):
        kind("a")
