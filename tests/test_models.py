"""Table 3's networks: their sizes, derived from the table by hand, and their shapes."""

import numpy as np
import pytest

from minisn.errors import ConfigError, ShapeError
from minisn.init import INITIALIZERS
from minisn.models import cnn_discriminator, cnn_generator, resnet_generator
from minisn.nn import BatchNorm, Conv2d, ConvTranspose2d, LeakyReLU, Linear, ReLU, Tanh, Weighted
from minisn.regularizers import SpectralNorm, method
from minisn.tensor import Tensor, no_grad

# The table at width 64, for images of M pixels. A 4x4 layer of stride 2 halves the image, so G
# starts from M / 8 and D ends with it, rounded down: 3 for M = 28, 4 for 32, 6 for 48.
#
# G: dense from 128 to 512 per pixel, no bias; then a gain and an offset per channel from batch
# normalization after it and after each of the transposed convolutions 512-256-128-64, which
# have no bias either; a 3x3 convolution from 64 to the colors, with bias.
NORMS_OF_G = 2 * (512 + 256 + 128 + 64)  # 1,920
DECONVOLUTIONS = 4 * 4 * (512 * 256 + 256 * 128 + 128 * 64)  # 2,752,512
GENERATORS = {
    (28, 1): 128 * 3 * 3 * 512 + DECONVOLUTIONS + NORMS_OF_G + (3 * 3 * 64 * 1 + 1),
    (32, 3): 128 * 4 * 4 * 512 + DECONVOLUTIONS + NORMS_OF_G + (3 * 3 * 64 * 3 + 3),
    (48, 3): 128 * 6 * 6 * 512 + DECONVOLUTIONS + NORMS_OF_G + (3 * 3 * 64 * 3 + 3),
}

# D: 3x3 and 4x4 convolutions in turn, colors-64-64-128-128-256-256-512, each with a bias per
# output channel; a dense layer from 512 per remaining pixel to one number, with bias.
BIASES_OF_D = 64 + 64 + 128 + 128 + 256 + 256 + 512  # 1,408
CONVOLUTIONS = (
    4 * 4 * 64 * 64
    + 3 * 3 * 64 * 128
    + 4 * 4 * 128 * 128
    + 3 * 3 * 128 * 256
    + 4 * 4 * 256 * 256
    + 3 * 3 * 256 * 512
)  # 2,924,544
DISCRIMINATORS = {
    (28, 1): 3 * 3 * 1 * 64 + CONVOLUTIONS + BIASES_OF_D + (3 * 3 * 512 + 1),
    (32, 3): 3 * 3 * 3 * 64 + CONVOLUTIONS + BIASES_OF_D + (4 * 4 * 512 + 1),
    (48, 3): 3 * 3 * 3 * 64 + CONVOLUTIONS + BIASES_OF_D + (6 * 6 * 512 + 1),
}


SIZES = [8, 9, 10, 11, 15, 17, 21, 28, 31, 32, 45, 48]


def rng():
    return np.random.default_rng(0)


def count(network):
    return sum(p.size for p in network.parameters())


@pytest.mark.parametrize(("size", "channels"), GENERATORS)
def test_the_generator_has_the_tables_parameters(size, channels):
    assert count(cnn_generator(size, channels, rng())) == GENERATORS[size, channels]


@pytest.mark.parametrize(("size", "channels"), DISCRIMINATORS)
@pytest.mark.parametrize("regularizer", ["sn", "none"])
def test_the_discriminator_has_the_tables_parameters(size, channels, regularizer):
    # u and v are state: normalization adds no parameter
    network = cnn_discriminator(size, channels, rng(), regularizer=method(regularizer))
    assert count(network) == DISCRIMINATORS[size, channels]


def test_the_counts_in_figures():
    """The same sums, worked out: what a reader can compare with other implementations."""
    assert list(GENERATORS.values()) == [3_344_833, 3_804_739, 5_115_459]
    assert list(DISCRIMINATORS.values()) == [2_931_137, 2_935_873, 2_946_113]


def test_the_layers_are_those_of_the_table_in_its_order():
    G, D = cnn_generator(32, 3, rng()), cnn_discriminator(32, 3, rng())
    kinds = [type(m) for m in G.layers]
    block = [ConvTranspose2d, BatchNorm, ReLU]
    assert [k for k in kinds if k.__name__ != "Reshape"] == [
        Linear,
        BatchNorm,
        ReLU,
        *block,
        *block,
        *block,
        Conv2d,
        Tanh,
    ]
    assert [m.weight.shape for m in D.layers if isinstance(m, Weighted)] == [
        (64, 3, 3, 3),
        (64, 64, 4, 4),
        (128, 64, 3, 3),
        (128, 128, 4, 4),
        (256, 128, 3, 3),
        (256, 256, 4, 4),
        (512, 256, 3, 3),
        (1, 8192),
    ]
    assert [m.slope for m in D.layers if isinstance(m, LeakyReLU)] == [0.1] * 7


def test_every_weight_of_d_is_normalized_and_none_of_g():
    G, D = cnn_generator(8, 1, rng(), 2), cnn_discriminator(8, 1, rng(), 2, method("sn", 1.5))
    layers = [m for m in D.layers if isinstance(m, Weighted)]
    assert [m.reparametrize for m in layers] == [SpectralNorm(1.5)] * 8
    assert not any(m.state for m in G.layers if isinstance(m, Weighted))


@pytest.mark.parametrize("size", SIZES)
def test_shapes_at_every_size_even_and_odd(size):
    G, D = cnn_generator(size, 3, rng(), 1, latent=5), cnn_discriminator(size, 3, rng(), 1)
    with no_grad():
        images = G(Tensor(rng().standard_normal((2, 5)).astype(np.float32)))
        logits = D(images)
    assert images.shape == (2, 3, size, size) and images.dtype == np.float32
    assert abs(images.numpy()).max() <= 1
    assert logits.shape == (2, 1) and logits.dtype == np.float32


@pytest.mark.parametrize("width", [1, 2, 16])
def test_width_scales_every_layer(width):
    G, D = cnn_generator(28, 1, rng(), width), cnn_discriminator(28, 1, rng(), width)
    deconvolutions = [m.weight.shape[:2] for m in G.layers if isinstance(m, ConvTranspose2d)]
    assert deconvolutions == [(8 * width, 4 * width), (4 * width, 2 * width), (2 * width, width)]
    convolutions = [m.weight.shape[0] for m in D.layers if isinstance(m, Conv2d)]
    assert convolutions == [width * k for k in (1, 1, 2, 2, 4, 4, 8)]


def test_the_last_convolution_can_be_wider_at_both_ends_and_the_dense_layer_without_bias():
    D = cnn_discriminator(32, 3, rng(), 4, features=48, features_in=24, last_bias=False)
    shapes = [m.weight.shape for m in D.layers if isinstance(m, Weighted)]
    assert shapes[5:] == [(24, 16, 4, 4), (48, 24, 3, 3), (1, 48 * 16)]
    *others, last = (m.bias for m in D.layers if isinstance(m, Weighted))
    assert last is None and None not in others
    with no_grad():
        assert D(Tensor(np.zeros((2, 3, 32, 32), np.float32))).shape == (2, 1)


@pytest.mark.parametrize("unit_norm", [True, False])
def test_the_dense_layer_is_normalized_by_unit_or_by_channel(unit_norm):
    G = cnn_generator(16, 1, rng(), 2, latent=6, unit_norm=unit_norm)
    h = Tensor(rng().standard_normal((64, 6)).astype(np.float32))
    with no_grad():
        for layer in G.layers[:3]:
            h = layer(h)
    assert h.shape == (64, 16, 2, 2)
    by_unit = h.numpy().mean(0), h.numpy().var(0)
    by_channel = h.numpy().mean((0, 2, 3)), h.numpy().var((0, 2, 3))
    for mean, var in [by_unit, by_channel] if unit_norm else [by_channel]:
        np.testing.assert_allclose(mean, 0, atol=1e-5)
        np.testing.assert_allclose(var, 1, atol=0.05)  # eps beside variances of 0.02^2 * 6
    assert unit_norm or np.abs(by_unit[0]).max() > 0.05


def test_generators_draw_as_they_are_told():
    for build in (cnn_generator, resnet_generator):
        usual, again, other = (
            build(32, 1, rng(), 2, init=INITIALIZERS[name])
            for name in ("normal", "normal", "lecun")
        )
        named = usual.named_parameters()
        weights = [name for name in named if name.endswith("weight")]
        for name in weights:
            mine, theirs = (G.named_parameters()[name].numpy() for G in (again, other))
            np.testing.assert_array_equal(named[name].numpy(), mine)
            assert not np.isclose(mine, theirs).any(), name


def test_equal_generators_of_chance_give_equal_weights():
    for build in (cnn_generator, cnn_discriminator):
        first, second = (build(8, 1, rng(), 2).state_dict() for _ in range(2))
        other = build(8, 1, np.random.default_rng(1), 2).state_dict()
        assert all(np.array_equal(first[name], second[name]) for name in first)
        assert not np.array_equal(first["layers.0.weight"], other["layers.0.weight"])


@pytest.mark.parametrize("build", [cnn_generator, cnn_discriminator])
def test_impossible_sizes_are_refused(build):
    with pytest.raises(ConfigError, match=r"7 pixels.*at least 8"):
        build(7, 1, rng())
    with pytest.raises(ShapeError, match="at least 1"):
        build(8, 1, rng(), width=0)
