"""The ResNets: sizes derived from Tables 4 to 6 by hand, blocks against PyTorch's, presets."""

import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest

from minisn import Tensor, grad, nn, no_grad, ops
from minisn.config import load_preset, presets
from minisn.data import list_datasets
from minisn.errors import ConfigError, ShapeError
from minisn.models import (
    CONDITIONAL,
    TABLES,
    cnn_discriminator,
    cnn_generator,
    resnet_discriminator,
    resnet_generator,
)
from minisn.models.resnet import DownBlock, SumPool, UpBlock
from minisn.nn import BatchNorm, Conv2d, LayerNorm, Reparametrization, weighted_layers
from minisn.regularizers import Method, SpectralNorm, method
from minisn.tensor import Node, _graph
from minisn.training import Trainer

BARE = Method(
    "nothing, from zero", Reparametrization(), init=lambda rng, shape, axis: np.zeros(shape)
)
"""Weights that cost no time to make."""


def rng(seed=0):
    return np.random.default_rng(seed)


def count(network):
    return sum(p.size for p in network.parameters())


# -- parameters, from the tables ---------------------------------------------------------------

# A 3x3 convolution from a to b channels has 9ab weights and b biases, a 1x1 one ab and b. A batch
# normalization of b channels has 2b numbers, or 2b for each of k classes. Then with Figure 8:


def up(a, b, k=1):
    """Block of G: normalization of a, a to b, normalization of b, b to b; and the shortcut."""
    return 2 * a * k + (9 * a * b + b) + 2 * b * k + (9 * b * b + b) + (a * b + b)


def first(a, b):
    """First block of D: a to b, b to b; and the shortcut."""
    return (9 * a * b + b) + (9 * b * b + b) + (a * b + b)


def down(a, b):
    """Block of D: a to a, a to b; and the shortcut."""
    return (9 * a * a + a) + (9 * a * b + b) + (a * b + b)


def flat(a):
    """Block of D that keeps size and channels: its shortcut has no weight."""
    return 2 * (9 * a * a + a)


# A dense layer from 128 has 129 numbers per output. The last normalization of G is common to all
# classes, the last convolution goes to the colors.
def generator(size, k=1):
    if size == 28:  # no table: 7x7, two of Table 4's blocks, one color
        return 129 * 7 * 7 * 256 + 2 * up(256, 256, k) + 512 + (9 * 256 + 1)
    if size == 32:
        return 129 * 4 * 4 * 256 + 3 * up(256, 256, k) + 512 + (9 * 256 * 3 + 3)
    if size == 48:
        blocks = up(512, 256, k) + up(256, 128, k) + up(128, 64, k)
        return 129 * 6 * 6 * 512 + blocks + 128 + (9 * 64 * 3 + 3)
    blocks = up(1024, 1024, k) + up(1024, 512, k) + up(512, 256, k) + up(256, 128, k)
    return 129 * 4 * 4 * 1024 + blocks + up(128, 64, k) + 128 + (9 * 64 * 3 + 3)


# D ends in a dense layer from the last channels to one number, with a bias. With k labels: their
# vectors, of 128, join the channels of the block after the second of four, third of five and
# third of six; or a vector as long as the features for each; or a dense layer to k numbers.
DISCRIMINATORS = {
    28: first(1, 128) + down(128, 128) + 2 * flat(128) + 129,
    32: first(3, 128) + down(128, 128) + 2 * flat(128) + 129,
    48: first(3, 64) + down(64, 128) + down(128, 256) + down(256, 512) + down(512, 1024) + 1025,
    128: first(3, 64) + down(64, 128) + down(128, 256) + down(256, 512) + down(512, 1024)
    + flat(1024) + 1025,
}  # fmt: skip
JOINED = {
    28: down(256, 128) - flat(128),
    32: down(256, 128) - flat(128),
    48: down(384, 512) - down(256, 512),
    128: down(384, 512) - down(256, 512),
}
LAST = {28: 128, 32: 128, 48: 1024, 128: 1024}
K = 7


def colors(size):
    return 1 if size == 28 else 3


@pytest.mark.parametrize("size", TABLES)
def test_the_generator_has_the_tables_parameters(size):
    G = resnet_generator(size, colors(size), rng())
    assert count(G) == generator(size)
    if size < 128:  # the largest takes seconds to draw
        assert count(resnet_generator(size, colors(size), rng(), classes=K)) == generator(size, K)


@pytest.mark.parametrize("size", TABLES)
@pytest.mark.parametrize("conditional", CONDITIONAL)
def test_the_discriminator_has_the_tables_parameters(size, conditional):
    D = resnet_discriminator(size, colors(size), rng(), None, BARE, conditional, K)
    more = {
        "none": 0,
        "concat": 128 * K + JOINED[size],
        "projection": LAST[size] * K,
        "auxiliary": (LAST[size] + 1) * K,
    }
    assert count(D) == DISCRIMINATORS[size] + more[conditional]


def test_the_counts_in_figures():
    """The same sums, worked out: what a reader can compare with other implementations."""
    assert [generator(size) for size in TABLES] == [4_114_945, 4_276_739, 4_878_083, 32_150_787]
    assert list(DISCRIMINATORS.values()) == [1_051_265, 1_053_825, 10_141_441, 29_017_857]


def test_spectral_normalization_adds_no_parameter():
    assert count(resnet_discriminator(32, 3, rng())) == DISCRIMINATORS[32]


# -- shapes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", TABLES)
def test_shapes_forward_and_backward_at_a_tiny_width(size):
    G = resnet_generator(size, 3, rng(), 1, latent=5)
    D = resnet_discriminator(size, 3, rng(), 1)
    images = G(Tensor(rng().standard_normal((2, 5)).astype(np.float32)))
    scores = D(images)
    assert images.shape == (2, 3, size, size) and images.dtype == np.float32
    assert abs(images.numpy()).max() <= 1
    assert scores.shape == (2, 1) and scores.dtype == np.float32
    parameters = G.parameters() + D.parameters()
    for p, g in zip(parameters, grad(ops.sum(scores), parameters), strict=True):
        assert g.shape == p.shape and np.isfinite(g.numpy()).all()


@pytest.mark.parametrize("size", TABLES)
def test_width_scales_every_layer(size):
    for width in (1, 3):
        G = resnet_generator(size, 1, rng(), width, latent=1)
        D = resnet_discriminator(size, 1, rng(), width, BARE)
        table = TABLES[size]
        assert [b.c2.weight.shape[0] for b in G.layers if isinstance(b, UpBlock)] == [
            width * k for k in table.up[1:]
        ]
        blocks = [b for b in D.layers if isinstance(b, DownBlock)]
        outputs = [list(weighted_layers(b.residual).values())[-1].weight.shape[0] for b in blocks]
        assert outputs == [width * k for k in table.down + table.flat]
        assert [b.down for b in blocks] == [True] * len(table.down) + [False] * len(table.flat)


@pytest.mark.parametrize("size", [8, 27, 30, 64, 96, 256])
def test_a_size_without_a_table_is_refused(size):
    for build in (resnet_generator, resnet_discriminator):
        with pytest.raises(
            ConfigError, match=f"images of {size} pixels; expected one of 28, 32, 48, 128"
        ):
            build(size, 3, rng(), 1)


def test_a_network_without_width_is_refused():
    for build in (resnet_generator, resnet_discriminator):
        with pytest.raises(ShapeError, match="at least 1"):
            build(32, 3, rng(), 0)


# -- what the regularizer is told, and does -----------------------------------------------------


@dataclass(frozen=True)
class Told(Reparametrization):
    """A scheme that keeps what it was told of the convolution."""

    geometry: tuple | None = None

    def at(self, size, stride, padding):
        return replace(self, geometry=(size, stride, padding))


@pytest.mark.parametrize("conditional", CONDITIONAL)
@pytest.mark.parametrize("size", [28, 32, 48])
@pytest.mark.parametrize("build", [cnn_discriminator, resnet_discriminator])
def test_every_convolution_tells_its_scheme_the_size_that_it_sees(build, size, conditional):
    D = build(size, 1, rng(), 1, Method("told", Told()), conditional=conditional, classes=2)
    layers = [m for m in weighted_layers(D).values() if isinstance(m, Conv2d)]
    seen = {}
    for layer in layers:

        def noted(x, layer=layer, forward=layer.forward):
            seen[layer] = x.shape[2]
            return forward(x)

        layer.forward = noted
    labels = [Tensor(np.array([1]))] * (conditional in ("concat", "projection"))
    with no_grad():
        D(Tensor(np.zeros((1, 1, size, size), np.float32)), *labels)
    assert len(seen) == len(layers)
    for layer in layers:
        assert layer.reparametrize.geometry == (seen[layer], layer.stride, layer.padding)


@pytest.mark.parametrize("conditional", CONDITIONAL)
@pytest.mark.parametrize("build", [cnn_discriminator, resnet_discriminator])
def test_every_weight_of_d_goes_through_the_scheme_those_for_labels_too(build, conditional):
    # the schemes of the methods differ, so that a layer left out would show
    D = build(28, 1, rng(), 2, method("sn", 1.5), conditional=conditional, classes=3)
    schemes = [m.reparametrize for m in weighted_layers(D).values()]
    plain = len(weighted_layers(build(28, 1, rng(), 1, BARE)))
    assert schemes == [SpectralNorm(1.5)] * len(schemes)
    assert len(schemes) == plain + (0 if conditional == "none" else 1) + (
        build is resnet_discriminator and conditional == "concat"
    )  # its block gets a shortcut


def test_no_weight_of_g_is_normalized():
    G = resnet_generator(28, 1, rng(), 1, classes=2)
    assert {type(m.reparametrize) for m in weighted_layers(G).values()} == {Reparametrization}


@pytest.mark.parametrize(("name", "kind"), [("bn", BatchNorm), ("ln", LayerNorm)])
def test_layer_normalization_stands_before_every_activation_of_a_block(name, kind):
    D = resnet_discriminator(32, 3, rng(), 2, method(name))
    for number, block in enumerate(b for b in D.layers if isinstance(b, DownBlock)):
        kinds = [type(m) for m in block.residual.layers]
        rest = [Conv2d, kind, nn.ReLU, Conv2d]
        assert kinds == (rest if number == 0 else [kind, nn.ReLU, *rest])


# -- blocks against PyTorch's --------------------------------------------------------------------


def set_at_random(network, seed):
    """Draw every parameter anew, so that no bias or shift is at 0 and no gain at 1."""
    draws = rng(seed)
    network.to(dtype="float64")
    for p in network.parameters():
        p.assign(draws.normal(size=p.shape))
    return network


def agree(torch, network, x, labels, oracle):
    """Compare values and all gradients with those of a function of named torch tensors."""
    mine = Tensor(x, requires_grad=True)
    y = network(mine, *labels)
    named = network.named_parameters()
    theirs = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in named.items()}
    x_torch = torch.tensor(x, requires_grad=True)
    expected = oracle(torch.nn.functional, x_torch, theirs)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    pull = rng(9).normal(size=y.shape)
    found = grad(y, [mine, *named.values()], Tensor(pull))
    wanted = torch.autograd.grad(expected, [x_torch, *theirs.values()], torch.tensor(pull))
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_block_of_g_is_pytorchs(torch, classes):
    block = set_at_random(UpBlock(3, 2, rng(), classes), 1)
    labels = np.array([2, 0, 2, 1])

    def oracle(F, x, p):
        def a_n(h, name):  # normalization, then ReLU; here written out, moments and all
            mean, var = h.mean((0, 2, 3)), h.var((0, 2, 3), unbiased=False)
            h = (h - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
            rows = labels if classes else slice(None)
            gamma, beta = p[f"{name}.gamma"][rows], p[f"{name}.beta"][rows]
            return F.relu(h * gamma[..., None, None] + beta[..., None, None])

        def conv(h, name, padding):
            return F.conv2d(h, p[f"{name}.weight"], p[f"{name}.bias"], padding=padding)

        h = conv(F.interpolate(a_n(x, "n1"), scale_factor=2), "c1", 1)
        h = conv(a_n(h, "n2"), "c2", 1)
        return h + conv(F.interpolate(x, scale_factor=2), "c0", 0)

    x = rng(2).normal(size=(4, 3, 4, 5))
    agree(torch, block, x, [Tensor(labels)] if classes else [], oracle)


@pytest.mark.parametrize(
    ("d_in", "d_out", "down", "first"),
    [
        (2, 3, True, True),
        (2, 3, True, False),
        (3, 3, True, False),
        (2, 3, False, False),
        (3, 3, False, False),
    ],
)
def test_a_block_of_d_is_pytorchs(torch, d_in, d_out, down, first):
    block = set_at_random(DownBlock(d_in, d_out, 6, rng(), BARE, down, first), 3)
    shortcut = {"shortcut.layers.0.weight", "shortcut.layers.0.bias"} <= set(
        block.named_parameters()
    )
    assert shortcut == (down or d_in != d_out)

    def oracle(F, x, p):
        def conv(h, name, padding):
            return F.conv2d(h, p[f"{name}.weight"], p[f"{name}.bias"], padding=padding)

        c1, c2 = (f"residual.layers.{k}" for k in ((0, 2) if first else (1, 3)))
        h = conv(F.relu(conv(x if first else F.relu(x), c1, 1)), c2, 1)
        h = F.avg_pool2d(h, 2) if down else h
        if first:
            return h + conv(F.avg_pool2d(x, 2), "shortcut.layers.0", 0)
        s = conv(x, "shortcut.layers.0", 0) if shortcut else x
        return h + (F.avg_pool2d(s, 2) if down else s)

    agree(torch, block, rng(4).normal(size=(2, d_in, 6, 6)), [], oracle)


def test_d_ends_in_relu_sum_and_a_dense_layer():
    D = resnet_discriminator(28, 1, rng(), 2)
    assert [type(m) for m in D.layers[-3:]] == [nn.ReLU, SumPool, nn.Linear]
    h = Tensor(rng(5).normal(size=(3, 2, 7, 7)).astype(np.float32))
    for layer in D.layers[-3:]:
        y = layer(h)
        h = y
    h = np.maximum(rng(5).normal(size=(3, 2, 7, 7)), 0).sum((2, 3))
    W, b = D.layers[-1].effective_weight().numpy(), D.layers[-1].bias.numpy()
    np.testing.assert_allclose(y.numpy(), h @ W.T + b, rtol=1e-5)


# -- presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
def test_every_preset_builds_and_takes_one_step_at_a_tiny_width(name):
    config = load_preset(name).replace(width=1, batch_size=4)
    colors = next(e.shape[0] for e in list_datasets() if e.name == config.data)
    images = rng().integers(0, 256, (8, colors, config.size, config.size), dtype=np.uint8)
    trainer = Trainer(config, images, labels=np.arange(8) % 3)
    losses = trainer.update()
    assert np.isfinite(losses.d) and np.isfinite(losses.g)
    assert trainer.classes == (0 if config.conditional == "none" else 3)


@pytest.mark.parametrize("name", ["cifar10-resnet", "cifar10-conditional"])
def test_the_resnet_presets_are_the_papers(name):
    config = load_preset(name)
    assert (config.data, config.model, config.size, config.width) == ("cifar10", "resnet", 32, 128)
    assert (config.rate_d, config.rate_g, config.beta1, config.beta2) == (2e-4, 2e-4, 0.0, 0.9)
    assert (config.n_dis, config.objective, config.steps) == (5, "hinge", 100_000)
    assert config.conditional == ("none" if name == "cifar10-resnet" else "projection")


def test_the_stl_preset_is_setting_c_of_table_1_at_48_pixels():
    config, small = load_preset("stl10"), load_preset("cifar10")
    assert config == small.replace(data="stl10", size=48)


# -- what a graph keeps ------------------------------------------------------------------------


def held(y):
    """How many numbers a graph keeps alive, leaves among them, each stretch of memory once."""
    seen = {}
    for node in _graph(y.vertex):
        for kept in node.kept.values() if isinstance(node, Node) else ():
            array = kept[0]._array if isinstance(kept, tuple) else kept
            while array.base is not None:
                array = array.base
            seen[id(array)] = array.size
    return sum(seen.values())


@pytest.mark.parametrize(
    ("build", "shape", "most"),
    [
        (cnn_discriminator, (2, 32, 32), 0.6),
        (resnet_discriminator, (2, 32, 32), 0.46),
        (cnn_generator, (5,), 0.78),
        (resnet_generator, (5,), 0.66),
    ],
)
def test_a_graph_holds_less_than_all_results(build, shape, most, monkeypatch):
    sizes, computed = [], Tensor.computed

    def noted(array, node):
        sizes.append(array.size)
        return computed(array, node)

    x = Tensor(rng(1).normal(size=(16, *shape)).astype(np.float32))
    more = {"latent": 5} if len(shape) == 1 else {}
    network = build(32, 2, rng(), 8, **more)
    monkeypatch.setattr(Tensor, "computed", noted)
    y = network(x)
    y = y[0] if isinstance(y, tuple) else y
    assert held(y) < most * (sum(sizes) + count(network) + x.size)


def test_a_result_that_no_rule_reads_is_freed_as_soon_as_nobody_holds_it():
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    h = x * 2.0
    before = weakref.ref(h._array)
    y = ops.relu(h) + 1.0
    del h
    assert before() is None
    np.testing.assert_array_equal(grad(y.sum(), x).array, np.full((2, 3), 2.0))
