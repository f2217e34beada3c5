"""Labels: how they enter D and G, what differentiates through them, what is refused."""

import numpy as np
import pytest

from minisn import Tensor, grad, no_grad, ops
from minisn.config import load_preset
from minisn.errors import ConfigError, DTypeError, ShapeError
from minisn.losses import cross_entropy
from minisn.models import (
    CONDITIONAL,
    cnn_discriminator,
    cnn_generator,
    resnet_discriminator,
    resnet_generator,
)
from minisn.models.labels import Join
from minisn.nn import BatchNorm, ConditionalBatchNorm, Embedding
from minisn.regularizers import method
from minisn.training import Trainer, networks

DISCRIMINATORS = {"cnn": (cnn_discriminator, 8), "resnet": (resnet_discriminator, 28)}
GENERATORS = {"cnn": (cnn_generator, 8), "resnet": (resnet_generator, 28)}
LABELS = np.array([2, 0, 1, 2])


pytestmark = pytest.mark.usefixtures("plain_kernels")


def rng(seed=0):
    return np.random.default_rng(seed)


def discriminator(model, conditional, width=2, classes=3, regularizer="sn"):
    build, size = DISCRIMINATORS[model]
    D = build(size, 1, rng(), width, method(regularizer), conditional=conditional, classes=classes)
    return D, Tensor(rng(1).normal(size=(4, 1, size, size)).astype(np.float32))


def score(D, conditional, x, labels):
    """One number for a batch that depends on everything that D gives."""
    if conditional == "auxiliary":
        scores, logits = D(x)
        return ops.sum(scores) + cross_entropy(logits, labels)
    return ops.sum(D(x, *([] if conditional == "none" else [labels])))


# -- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", DISCRIMINATORS)
@pytest.mark.parametrize("conditional", CONDITIONAL)
def test_gradients_of_d_are_those_of_finite_differences(model, conditional):
    """Each parameter in a direction of its own, u and v held as the formula has them."""
    D, x = discriminator(model, conditional)
    away_from_the_kinks(D)
    x = Tensor(x.numpy().astype(np.float64), requires_grad=True)
    differences_agree(lambda: score(D, conditional, x, Tensor(LABELS)), [x, *D.parameters()])


@pytest.mark.parametrize("model", GENERATORS)
def test_gradients_of_a_conditional_g_are_those_of_finite_differences(model):
    build, size = GENERATORS[model]
    G = away_from_the_kinks(build(size, 1, rng(), 1, latent=3, classes=3))
    z = Tensor(rng(1).normal(size=(4, 3)), requires_grad=True)
    pull = Tensor(rng(2).normal(size=(4, 1, size, size)))
    differences_agree(lambda: ops.sum(G(z, Tensor(LABELS)) * pull), [z, *G.parameters()])


def away_from_the_kinks(network):
    """With biases at 0, what a ReLU has set to 0 stays at the kink of the next one."""
    for name, p in network.to(dtype="float64").named_parameters().items():
        if name.endswith(("bias", "beta")):
            p.assign(rng(p.size).normal(size=p.shape))
    return network


def differences_agree(f, tensors, h=1e-7):
    found = grad(f(), tensors)
    draws, checked = rng(3), 0
    for tensor, g in zip(tensors, found, strict=True):
        value, direction = tensor.numpy(), draws.normal(size=tensor.shape)
        ends = []
        with no_grad():
            for step in (h, -h):
                tensor.assign(value + step * direction)
                ends.append(f().item())
        tensor.assign(value)
        slope = (ends[0] - ends[1]) / (2 * h)
        rounding = 100 * np.finfo(float).eps * (1 + abs(ends[0])) / h
        assert (g.numpy() * direction).sum() == pytest.approx(slope, rel=1e-5, abs=rounding)
        checked += bool(abs(slope) > 100 * rounding)
    assert checked > len(tensors) / 2


# -- where labels enter --------------------------------------------------------------------------


@pytest.mark.parametrize("model", DISCRIMINATORS)
def test_a_projection_is_the_inner_product_and_the_unconditional_score(model):
    D, x = discriminator(model, "projection")
    phi = x
    for layer in D.layers[:-1]:
        phi = layer(phi)
    head = D.layers[-1]
    V, w = head.V.effective_weight().numpy(), head.psi.effective_weight().numpy()
    expected = (phi.numpy() * (V[LABELS] + w)).sum(1, keepdims=True) + head.psi.bias.numpy()
    np.testing.assert_allclose(D(x, Tensor(LABELS)).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "place", "pixels", "channels"),
    [(28, 2, 7, 4), (32, 2, 8, 4), (48, 3, 6, 16), (128, 3, 16, 16)],
)
def test_labels_join_after_half_of_the_blocks(size, place, pixels, channels):
    D = resnet_discriminator(size, 1, rng(), 4, method("wc"), "concat", 3)
    assert [k for k, layer in enumerate(D.layers) if isinstance(layer, Join)] == [place]
    h = Tensor(np.zeros((1, 1, size, size), np.float32))
    with no_grad():
        for layer in D.layers[:place]:
            h = layer(h)
    assert h.shape == (1, channels, pixels, pixels)
    vector = D.layers[place].embedding.weight.shape[1]
    assert vector == (4 if size < 48 else 8)  # 128 at the paper's width of 128, or of 64


def test_labels_join_the_cnn_after_its_fourth_convolution():
    D, x = discriminator("cnn", "concat")
    (place,) = (k for k, layer in enumerate(D.layers) if isinstance(layer, Join))
    for layer in D.layers[:place]:
        x = layer(x)
    assert x.shape == (4, 4, 2, 2)
    joined = D.layers[place](x, Tensor(LABELS)).numpy()
    vectors = D.layers[place].embedding.effective_weight().numpy()
    np.testing.assert_array_equal(joined[:, :4], x.numpy())
    np.testing.assert_array_equal(
        joined[:, 4:], np.broadcast_to(vectors[LABELS][:, :, None, None], (4, 4, 2, 2))
    )


@pytest.mark.parametrize("model", DISCRIMINATORS)
@pytest.mark.parametrize("conditional", ["concat", "projection"])
def test_each_image_is_judged_by_its_own_label(model, conditional):
    D, x = discriminator(model, conditional)
    before = D(x, Tensor(LABELS)).numpy()
    changed = LABELS.copy()
    changed[1] = 1
    after = D(x, Tensor(changed)).numpy()
    np.testing.assert_array_equal(before[[0, 2, 3]], after[[0, 2, 3]])
    assert before[1] != after[1]


@pytest.mark.parametrize("model", DISCRIMINATORS)
def test_an_auxiliary_classifier_gives_scores_and_logits_and_takes_no_label(model):
    D, x = discriminator(model, "auxiliary", classes=5)
    plain, _ = discriminator(model, "none")
    scores, logits = D(x)
    assert scores.shape == (4, 1) and logits.shape == (4, 5)
    # the same draws come first, so that the scores are the unconditional ones
    np.testing.assert_array_equal(scores.numpy(), plain(x).numpy())


@pytest.mark.parametrize("model", GENERATORS)
def test_each_sample_is_drawn_for_its_own_label(model):
    build, size = GENERATORS[model]
    G = build(size, 1, rng(), 2, latent=4, classes=3)
    norms = [m for _, m in G.named_modules() if isinstance(m, ConditionalBatchNorm)]
    plain = [m for _, m in G.named_modules() if type(m) is BatchNorm]
    assert (len(norms), len(plain)) == {"cnn": (4, 0), "resnet": (4, 1)}[model]
    z = Tensor(rng().normal(size=(4, 4)).astype(np.float32))
    G.eval()
    same = G(z, Tensor(LABELS)).numpy()
    beta = norms[-1].beta.numpy()
    beta[2] = 1
    norms[-1].beta.assign(beta)
    after = G(z, Tensor(LABELS)).numpy()
    changed = abs(after - same).max(axis=(1, 2, 3)) > 0
    assert changed.tolist() == [True, False, False, True]  # those of class 2


# -- building from settings ----------------------------------------------------------------------


@pytest.mark.parametrize("model", ["cnn", "resnet"])
@pytest.mark.parametrize("conditional", CONDITIONAL)
def test_training_takes_a_step_with_every_model_and_way(model, conditional):
    config = load_preset("mnist-tiny").replace(
        model=model, conditional=conditional, width=1, latent=4, batch_size=4
    )
    images = rng().integers(0, 256, (8, 1, 28, 28), dtype=np.uint8)
    trainer = Trainer(config, images, labels=np.arange(8) % 3)
    before = {k: v.copy() for k, v in trainer.D.state_dict().items()}
    losses = trainer.update()
    assert np.isfinite(losses.d) and np.isfinite(losses.g)
    after = trainer.D.state_dict()
    of_labels = [k for k in after if k.endswith(("embedding.weight", ".V.weight", "fier.weight"))]
    assert len(of_labels) == (conditional != "none")
    for name in of_labels:
        assert (after[name] != before[name]).any()
    sheet = trainer.sample(np.zeros((3, 4), np.float32))
    assert sheet.shape == (3, 1, 28, 28)


def test_an_unconditional_model_ignores_the_classes_of_its_data():
    config = load_preset("mnist-tiny").replace(width=1)
    G, D = networks(config, 1, 10, rng())
    assert not any(isinstance(m, ConditionalBatchNorm) for _, m in G.named_modules())
    assert D(G(Tensor(np.zeros((2, config.latent), np.float32)))).shape == (2, 1)


def test_features_are_the_channels_of_the_cnns_last_convolution():
    config = load_preset("mnist-tiny").replace(width=2, features=5)
    _, D = networks(config, 1, 0, rng())
    shapes = [p.shape for name, p in D.named_parameters().items() if name.endswith("weight")]
    assert shapes[-2:] == [(5, 8, 3, 3), (1, 5 * 3 * 3)]
    with pytest.raises(ConfigError, match=r"features = 5: only model = \"cnn\".*'resnet'"):
        networks(config.replace(model="resnet"), 1, 0, rng())


@pytest.mark.parametrize(("gamma", "count"), [("none", 0), ("layer", 8), ("shared", 1)])
def test_learned_factors_of_ds_layers_are_chosen_as_any_setting(gamma, count):
    config = load_preset("mnist-tiny").replace(
        width=1, latent=4, batch_size=2, regularizer="bsn", objective="wasserstein",
        gradient_penalty=10.0, gamma=gamma,
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 28, 28), np.uint8)
    trainer = Trainer(config, images)
    factors = [p for name, p in trainer.D.named_parameters().items() if name.endswith("gamma")]
    assert [float(p.array) for p in factors] == [1.0] * count
    trainer.update()
    assert all(float(p.array) != 1.0 for p in factors)
    with pytest.raises(ConfigError, match=r"gamma = layer: only .* set gamma = \"none\"$"):
        networks(config.replace(model="resnet", gamma="layer"), 1, 0, rng())


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("build", [cnn_discriminator, resnet_discriminator])
def test_a_conditional_d_without_classes_is_refused(build):
    for conditional in CONDITIONAL[1:]:
        with pytest.raises(ConfigError, match=f"'{conditional}' needs at least 1 class, got 0"):
            build(28, 1, rng(), 1, conditional=conditional)
    with pytest.raises(ConfigError, match="'both': expected one of none, concat, proj"):
        build(28, 1, rng(), 1, conditional="both", classes=3)
    config = load_preset("mnist-tiny").replace(conditional="projection", width=1)
    with pytest.raises(ConfigError, match="needs at least 1 class, got 0"):
        networks(config, 1, 0, rng())


@pytest.mark.parametrize("labels", [None, np.full(8, -1)])
def test_a_conditional_model_on_images_without_labels_is_refused(labels):
    config = load_preset("mnist-tiny").replace(conditional="concat", width=1, batch_size=4)
    with pytest.raises(ConfigError, match="needs labels, but got"):
        Trainer(config, np.zeros((8, 1, 28, 28), np.uint8), labels=labels)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1, 2, 3], ShapeError, "labels must be 0 to 2, got 0 to 3"),
        ([0, 1, -1, 2], ShapeError, "labels must be 0 to 2, got -1 to 2"),
        ([0.0, 1.0, 1.0, 1.0], DTypeError, "labels must be integers, got dtype float64"),
        ([0, 1, 2], ShapeError, r"expected 4 labels.*got shape \[3\]"),
        ([[0], [1], [2], [0]], ShapeError, r"expected 4 labels.*got shape \[4, 1\]"),
        (None, ShapeError, "this network is conditional; expected labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, error, message):
    given = [] if labels is None else [Tensor(np.array(labels))]
    for model in DISCRIMINATORS:
        for conditional in ("concat", "projection"):
            D, x = discriminator(model, conditional, width=1)
            with pytest.raises(error, match=message):
                D(x, *given)
        build, size = GENERATORS[model]
        G = build(size, 1, rng(), 1, latent=2, classes=3)
        with pytest.raises(error, match=message):
            G(Tensor(np.zeros((4, 2), np.float32)), *given)


def test_embeddings_refuse_missing_labels_too():
    with pytest.raises(ShapeError, match="Embedding: this network is conditional"):
        Embedding(3, 2, rng())(None)
