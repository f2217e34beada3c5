"""L21's instruments, and every statement of L21 that was derived, on real networks."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisn import Tensor, grad, instruments, nn, no_grad, ops, spectral
from minisn.errors import ConfigError
from minisn.instruments import (
    effective_weights,
    euler_products,
    gradient_bound,
    input_gradients,
    layer_norms,
    weight_gradients,
    weight_variances,
)
from minisn.models import cnn_discriminator
from minisn.regularizers import (
    METHODS,
    BidirectionalSpectralNorm,
    ConvSpectralNorm,
    SpectralNorm,
    Watched,
    spectral_gradient,
)

pytestmark = pytest.mark.usefixtures("plain_kernels")


def rng(seed=0):
    return np.random.default_rng(seed)


def normal(draws, shape, axis):
    return draws.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))


def dense(seed=0, widths=(5, 7, 6, 1), scheme=None, slope=0.1):
    """A network as in (1): no biases, leaky ReLU inside, nothing at the end."""
    draws, layers = rng(seed), []
    for d_in, d_out in pairwise(widths):
        layers += [
            nn.Linear(d_in, d_out, draws, bias=False, reparametrize=scheme, init=normal),
            nn.LeakyReLU(slope),
        ]
    return nn.Sequential(*layers[:-1]).to(dtype="float64")


def convolutional(seed=0, scheme=None, size=6):
    """The same with two convolutions before a dense layer."""
    scheme = scheme or nn.Reparametrization()
    half = (size - 2) // 2 + 1
    same = {"bias": False, "init": normal}
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, rng(seed), padding=1, reparametrize=scheme.at(size, 1, 1), **same),
        nn.ReLU(),
        nn.Conv2d(
            4, 3, 4, rng(seed + 1), stride=2, padding=1, reparametrize=scheme.at(size, 2, 1), **same
        ),
        nn.LeakyReLU(),
        nn.Reshape(-1),
        nn.Linear(3 * half**2, 1, rng(seed + 2), reparametrize=scheme, **same),
    ).to(dtype="float64")


def images(n=4, seed=1, shape=(2, 6, 6)):
    return Tensor(rng(seed).normal(size=(n, *shape)))


def vectors(n=4, seed=1, d=5):
    return images(n, seed, (d,))


def layer(network, name):
    return network.layers[int(name.split(".")[-1])]


def length(x):
    return float(np.linalg.norm(np.asarray(x.array)))


NETWORKS = {"dense": (dense, vectors), "convolutional": (convolutional, images)}
networks = pytest.mark.parametrize("kind", NETWORKS)


# --- measuring --------------------------------------------------------------------------------


@networks
@pytest.mark.parametrize("scheme", [None, SpectralNorm(), METHODS["usv"].reparametrize], ids=str)
def test_weight_gradients_are_those_of_the_mean_output_by_effective_weight(kind, scheme):
    build, batch = NETWORKS[kind]
    net, x = build(scheme=scheme), batch()
    found = weight_gradients(net, x)
    assert list(found) == list(nn.weighted_layers(net))
    with effective_weights(net) as held:
        for name, W in held.items():
            slope = np.zeros(W.shape)
            before = W.numpy()
            for i in np.ndindex(W.shape):
                values = []
                for h in (1e-6, -1e-6):
                    moved = before.copy()
                    moved[i] += h
                    W.assign(moved)
                    values.append(net(x).array.mean())
                slope[i] = (values[0] - values[1]) / 2e-6
            W.assign(before)
            # D is linear in each weight alone, but for kinks: differences are exact to rounding
            assert found[name] == pytest.approx(np.linalg.norm(slope), rel=1e-7)


@networks
def test_input_gradients_are_one_length_for_each_image(kind):
    build, batch = NETWORKS[kind]
    net, x = build(), batch()
    found = input_gradients(net, x)
    assert found.shape == (4,)
    for n in range(4):
        slope = np.zeros(x.shape[1:])
        for i in np.ndindex(slope.shape):
            E = np.zeros((1, *slope.shape))
            E[0][i] = 1e-6
            ahead, back = (net(Tensor(x.array[n : n + 1] + e)).item() for e in (E, -E))
            slope[i] = (ahead - back) / 2e-6
        assert found[n] == pytest.approx(np.linalg.norm(slope), rel=1e-7)


def test_measuring_changes_nothing():
    net = cnn_discriminator(8, 1, rng(), width=2, regularizer=METHODS["bn"])
    x = Tensor(rng(1).normal(size=(3, 1, 8, 8)).astype(np.float32))
    before = {k: v.copy() for k, v in net.state_dict().items()}
    y = net.eval()(x).array
    net.train()
    for measure in (weight_gradients, input_gradients, euler_products, layer_norms):
        measure(net, x)
    weight_variances(net)
    with pytest.raises(RuntimeError, match="stop"), effective_weights(net):
        net(x)
        raise RuntimeError("stop")
    assert all(m.training for _, m in net.named_modules())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    for _, module in net.named_modules():
        assert not {"forward", "effective_weight"} & vars(module).keys()
    np.testing.assert_array_equal(net.eval()(x).array, y)


@pytest.mark.parametrize("conditional", ["concat", "projection"])
def test_labels_go_with_the_images(conditional):
    net = cnn_discriminator(8, 1, rng(), width=2, conditional=conditional, classes=3)
    x = Tensor(rng(1).normal(size=(3, 1, 8, 8)).astype(np.float32))
    one, two = (Tensor(np.array(labels)) for labels in ([0, 1, 2], [2, 2, 2]))
    assert (input_gradients(net, x, one) != input_gradients(net, x, two)).any()
    assert len(weight_gradients(net, x, one)) == 9 and len(layer_norms(net, x, one)) == 8


def test_what_is_no_chain_without_biases_gets_no_bound():
    x = Tensor(np.ones((2, 3)))
    net = nn.Sequential(nn.Linear(3, 2, rng())).to(dtype="float64")
    gradient_bound(net, x)  # a bias of zeros does nothing
    net.layers[0].bias.assign(np.array([0.0, 1.0]))
    with pytest.raises(ConfigError, match="without biases, but a layer has one"):
        gradient_bound(net, x)
    net = nn.Sequential(nn.Linear(3, 2, rng(), bias=False), nn.BatchNorm(2))
    with pytest.raises(ConfigError, match="found a BatchNorm, whose Lipschitz"):
        gradient_bound(net, x)
    layer, relu = nn.Linear(3, 3, rng(), bias=False), nn.ReLU()
    gradient_bound(nn.Sequential(layer, relu, nn.Linear(3, 3, rng(), bias=False), relu), x)
    with pytest.raises(ConfigError, match="a chain that has each layer once"):
        gradient_bound(nn.Sequential(layer, relu, layer), x)


def test_instruments_use_the_array_api_alone():
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    net, x = convolutional(scheme=SpectralNorm()), images()
    here = [f(net, x) for f in (weight_gradients, euler_products, layer_norms, gradient_bound)]
    slopes, spreads = input_gradients(net, x), weight_variances(net)
    for p in net.parameters():
        p.reset(xp.asarray(p.array))
    for _, module in net.named_modules():
        module.state = {k: xp.asarray(v) for k, v in module.state.items()}
    x = Tensor(xp.asarray(x.array))
    np.testing.assert_allclose(np.from_dlpack(input_gradients(net, x)), slopes, rtol=1e-12)
    for f, expected in zip(
        (weight_gradients, euler_products, gradient_bound), [here[0], here[1], here[3]], strict=True
    ):
        assert f(net, x) == pytest.approx(expected, rel=1e-9)
    assert layer_norms(net, x)["layers.0"].ratio == pytest.approx(here[2]["layers.0"].ratio)
    assert weight_variances(net)["layers.0"].variance == pytest.approx(spreads["layers.0"].variance)


# --- gradient bounds --------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from(list(NETWORKS)), st.integers(1, 3))
def test_the_gradient_of_each_layer_is_within_its_bound(seed, kind, n):
    build, batch = NETWORKS[kind]
    net, x = build(seed), batch(n, seed + 1)
    found, bound = weight_gradients(net, x), gradient_bound(net, x)
    assert found.keys() == bound.keys()
    for name in found:
        assert found[name] <= bound[name] * (1 + 1e-9)
    total = math.hypot(*found.values())
    assert total <= math.sqrt(len(found)) * max(bound.values()) * (1 + 1e-9)


@given(st.integers(0, 10**6))
def test_the_bound_is_the_product_of_the_other_norms(seed):
    net, x = dense(seed), vectors(1, seed)
    norms = {n: np.linalg.norm(m.weight.array, 2) for n, m in nn.weighted_layers(net).items()}
    for name, bound in gradient_bound(net, x).items():
        others = math.prod(s for other, s in norms.items() if other != name)
        assert bound == pytest.approx(length(x) * others, rel=1e-12)


@given(st.integers(0, 10**6))
def test_normalized_dense_layers_have_gradients_no_longer_than_the_input(seed):
    net, x = dense(seed, scheme=SpectralNorm()), vectors(1, seed)
    for layer in nn.weighted_layers(net).values():
        u, v, _ = spectral.power_iteration(layer.weight, layer.state["u"], 300)
        layer.state = {"u": u, "v": v}
    found = weight_gradients(net, x)
    # norms are at most 1 up to what the power method still lacks
    slack = math.prod(s.matrix for s in layer_norms(net, x).values())
    assert slack < 1 + 1e-3
    assert max(found.values()) <= length(x) * slack
    assert math.hypot(*found.values()) <= math.sqrt(3) * length(x) * slack


def test_the_bound_is_reached_where_all_weights_pass_one_direction_on():
    net = dense(widths=(4, 3, 2, 1))
    draws, side = rng(1), np.ones(1)
    for m in reversed(list(nn.weighted_layers(net).values())):
        into = draws.uniform(0.1, 1, size=m.weight.shape[1])  # positive: no ReLU bends it
        m.weight.assign(np.outer(side, into))
        side = into
    x = Tensor(side[None])
    assert weight_gradients(net, x) == pytest.approx(gradient_bound(net, x), rel=1e-12)


@networks
@given(seed=st.integers(0, 10**6))
def test_a_sigmoid_at_the_end_makes_it_a_quarter(kind, seed):
    build, batch = NETWORKS[kind]
    net, x = build(seed), batch(1, seed)
    score = net(x).item()
    factor = math.exp(-abs(score)) / (1 + math.exp(-abs(score))) ** 2
    assert factor <= 0.25
    with effective_weights(net) as held:
        slopes = grad(ops.sigmoid(net(x)).sum(), list(held.values()))
    for g, plain, bound in zip(
        slopes, weight_gradients(net, x).values(), gradient_bound(net, x).values(), strict=True
    ):
        assert length(g) == pytest.approx(factor * plain, rel=1e-9, abs=1e-300)
        assert length(g) <= 0.25 * bound * (1 + 1e-9)


def blur():
    """A convolution that repeats what it sees, and a dense layer that adds up."""
    net = nn.Sequential(
        nn.Conv2d(1, 1, 3, rng(), padding=1, bias=False),
        nn.Reshape(-1),
        nn.Linear(64, 1, rng(), bias=False),
    ).to(dtype="float64")
    net.layers[0].weight.assign(np.full((1, 1, 3, 3), 1 / 3))  # norm 1 as a matrix
    net.layers[2].weight.assign(np.full((1, 64), 1 / 8))  # norm 1
    return net, Tensor(np.full((1, 1, 8, 8), 1 / 8))  # norm 1


def test_for_convolutions_the_norm_of_the_matrix_is_no_bound_and_that_of_the_operator_is():
    net, x = blur()
    norms = layer_norms(net, x)["layers.0"]
    assert norms.matrix == pytest.approx(1) and 2 < norms.operator < 3
    found, bound = weight_gradients(net, x), gradient_bound(net, x)
    # of the dense layer: ||conv(x)||, over 2 where the norms of the matrices promise 1
    assert 2 < found["layers.2"] <= bound["layers.2"] == pytest.approx(norms.operator)


def test_a_convolution_s_own_gradient_needs_the_number_of_places_that_share_a_weight():
    net, x = blur()
    found, bound = weight_gradients(net, x)["layers.0"], gradient_bound(net, x)["layers.0"]
    without = length(x) * layer_norms(net, x)["layers.2"].operator
    assert without == pytest.approx(1)
    assert 2 < found <= bound == pytest.approx(3 * without)


def test_euler_products_are_the_mean_output_and_bound_the_gradients_from_below():
    for build, batch in NETWORKS.values():
        for scheme in (None, SpectralNorm(), METHODS["usv"].reparametrize):
            net, x = build(3, scheme=scheme), batch()
            mean = net(x).array.mean()
            assert abs(mean) > 1e-4
            products, slopes = euler_products(net, x), weight_gradients(net, x)
            with no_grad():
                for name, product in products.items():
                    assert product == pytest.approx(mean, rel=1e-10)
                    W = layer(net, name).effective_weight()
                    assert slopes[name] >= abs(mean) / length(W) * (1 - 1e-12)


def test_euler_s_identity_needs_homogeneous_layers():
    net, x = dense(3), vectors()
    net.layers[1] = nn.Tanh()
    assert abs(euler_products(net, x)["layers.0"] / net(x).array.mean() - 1) > 0.01
    biased = nn.Sequential(nn.Linear(5, 4, rng()), nn.ReLU(), nn.Linear(4, 1, rng()))
    biased.layers[0].bias.assign(np.ones(4, np.float32))
    x = Tensor(x.array.astype(np.float32))
    assert abs(euler_products(biased, x)["layers.0"] / biased(x).array.mean() - 1) > 0.01


@networks
def test_the_gradient_of_the_raw_weight_is_equation_37_of_that_of_the_effective_one(kind):
    build, batch = NETWORKS[kind]
    net, x = build(2, scheme=SpectralNorm()), batch()
    with effective_weights(net) as held:
        effective = grad(net(x).mean(), list(held.values()))
    layers = nn.weighted_layers(net).values()
    raw = grad(net(x).mean(), [m.weight for m in layers])
    for m, G, g in zip(layers, effective, raw, strict=True):
        W, u, v = m.weight.array, m.state["u"], m.state["v"]
        expected = spectral_gradient(G.array, W, u, v, m.axis)
        np.testing.assert_allclose(g.array, expected, rtol=1e-9, atol=1e-13)


# --- the Hessian of one layer -----------------------------------------------------------------


def hessian(net, x, name, last):
    """All second derivatives of D by the entries of one effective weight, and D's slope there."""
    with effective_weights(net) as held:
        W = held[name]
        first = grad(last(net(x)).sum(), W, create_graph=True).reshape(W.size)
        if not first.requires_grad:  # D is linear in the weight
            return np.zeros((W.size, W.size)), first.array
        rows = [grad(first[i], W).array.reshape(-1) for i in range(W.size)]
    return np.array(rows), first.array


@given(st.integers(0, 10**6), st.sampled_from(["layers.0", "layers.2", "layers.4"]))
@settings(max_examples=8)
def test_the_hessian_of_a_layer_is_bounded_by_the_curvature_of_the_last_activation(seed, name):
    net, x = dense(seed, widths=(3, 4, 3, 1)), vectors(1, seed, d=3)
    s = net(x).item()
    sigmoid = 1 / (1 + math.exp(-s))
    curvature = abs(sigmoid * (1 - sigmoid) * (1 - 2 * sigmoid))
    assert curvature <= 1 / (6 * math.sqrt(3)) + 1e-16
    H, _ = hessian(net, x, name, ops.sigmoid)
    norms = [
        np.linalg.norm(m.weight.array, 2) for n, m in nn.weighted_layers(net).items() if n != name
    ]
    size = length(x) ** 2 * math.prod(norms) ** 2
    assert np.linalg.norm(H, 2) <= curvature * size * (1 + 1e-9) + 1e-15
    # and it is a'' times the squared gradient of the score
    slope = weight_gradients(net, x)[name]
    assert np.linalg.norm(H, 2) == pytest.approx(curvature * slope**2, rel=1e-8, abs=1e-15)
    np.testing.assert_array_equal(hessian(net, x, name, lambda y: y)[0], np.zeros(H.shape))


def test_the_hessian_is_what_differences_of_the_gradient_say():
    net, x = dense(5, widths=(3, 4, 3, 1)), Tensor(5 * vectors(1, 5, d=3).array)
    name, h = "layers.2", 1e-5
    H, _ = hessian(net, x, name, ops.sigmoid)
    assert np.abs(H).max() > 1e-3
    W = layer(net, name).weight
    before, columns = W.numpy(), []
    for i in np.ndindex(W.shape):
        slopes = []
        for sign in (1, -1):
            moved = before.copy()
            moved[i] += sign * h
            W.assign(moved)
            slopes.append(hessian(net, x, name, ops.sigmoid)[1])
        columns.append((slopes[0] - slopes[1]) / (2 * h))
        W.assign(before)
    np.testing.assert_allclose(H, np.array(columns).T, atol=1e-9)


def test_the_greatest_curvature_of_a_sigmoid():
    s = np.linspace(-8, 8, 400_001)
    y = 1 / (1 + np.exp(-s))
    curvature = np.abs(y * (1 - y) * (1 - 2 * y))
    assert curvature.max() == pytest.approx(1 / (6 * math.sqrt(3)), rel=1e-9)
    assert curvature.max() == pytest.approx(0.0962, abs=5e-5)


# --- rescaling the layers ---------------------------------------------------------------------


def rescaled(net, factors):
    for m, c in zip(nn.weighted_layers(net).values(), factors, strict=True):
        m.weight.assign(m.weight.array * c)
    return net


@networks
@given(st.integers(0, 10**6), st.lists(st.floats(0.2, 5), min_size=3, max_size=3))
def test_rescaling_with_product_one_keeps_the_function_and_divides_the_gradients(kind, seed, c):
    build, batch = NETWORKS[kind]
    net, x = build(seed), batch(2, seed)
    factors = np.array(c) / math.prod(c) ** (1 / 3)
    y, before = net(x).array, weight_gradients(net, x)
    rescaled(net, factors)
    np.testing.assert_allclose(net(x).array, y, rtol=1e-9, atol=1e-14)
    after = weight_gradients(net, x)
    for (name, g), factor in zip(before.items(), factors, strict=True):
        assert after[name] == pytest.approx(g / factor, rel=1e-9, abs=1e-300)


@given(st.integers(0, 10**6), st.lists(st.floats(0.2, 5), min_size=3, max_size=3))
def test_the_total_gradient_is_least_where_all_layers_have_equal_ones(seed, c):
    net, x = dense(seed), vectors(2, seed)
    found = np.array(list(weight_gradients(net, x).values()))
    mean = found.prod() ** (1 / 3)
    rescaled(net, found / mean)  # gradients g_t / c_t, all the same
    level = np.array(list(weight_gradients(net, x).values()))
    np.testing.assert_allclose(level, mean, rtol=1e-9)
    rescaled(net, np.array(c) / math.prod(c) ** (1 / 3))
    total = math.hypot(*weight_gradients(net, x).values())
    assert total >= math.sqrt(3) * mean * (1 - 1e-9)


# --- SN_w and SN_Conv -------------------------------------------------------------------------


@st.composite
def convolutions(draw):
    """A convolution or a transposed one, and images for it in which some patch lies whole."""
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, min(1, kernel - 1)))
    d_in, d_out, n = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(3, 4))
    kind = draw(st.sampled_from([nn.Conv2d, nn.ConvTranspose2d]))
    draws = rng(draw(st.integers(0, 10**6)))
    made = kind(d_in, d_out, kernel, draws, stride=stride, padding=padding, init=normal)
    size = n if kind is nn.ConvTranspose2d else n + kernel
    return made.to(dtype="float64"), Tensor(draws.normal(size=(1, d_in, size, size)))


@given(convolutions())
def test_the_ratio_of_the_norms_of_a_convolution(case):
    made, x = case
    norms = layer_norms(made, x)[""]
    kernel = made.weight.shape[2]
    assert norms.reach == math.ceil(kernel / made.stride)
    # a transposed convolution is bounded by the norm of the convolution that it is the adjoint of
    matrix = np.linalg.svd(spectral.as_matrix(made.weight.array), compute_uv=False)[0]
    assert (1 - 1e-6) * matrix <= norms.operator <= norms.reach * matrix * (1 + 1e-6)
    if isinstance(made, nn.Conv2d):
        assert norms.matrix == pytest.approx(matrix, rel=1e-12)
    if kernel == 1:
        assert norms.ratio == pytest.approx(1, rel=1e-6)


def test_a_dense_layer_and_a_weight_of_zeros_have_ratio_one():
    net = nn.Sequential(nn.Linear(4, 3, rng()), nn.Linear(3, 2, rng()))
    net.layers[1].weight.assign(np.zeros((2, 3), np.float32))
    norms = layer_norms(net, Tensor(np.ones((1, 4), np.float32)))
    assert [n.ratio for n in norms.values()] == [1, 1]
    assert norms["layers.1"].matrix == 0 and norms["layers.0"].reach == 1


@pytest.mark.parametrize("seed", range(2))
def test_ratios_of_gaussian_kernels_are_those_of_the_sheet(seed):
    net = cnn_discriminator(16, 3, rng(seed), width=8)
    x = Tensor(np.zeros((1, 3, 16, 16), np.float32))
    ratios = [n.ratio for n in layer_norms(net, x).values()]
    assert all(1.35 <= r <= 2.1 for r in (ratios[0], ratios[2], ratios[4]))  # 3x3, stride 1
    assert all(1.1 <= r <= 1.35 for r in (ratios[1], ratios[3]))  # 4x4, stride 2


@given(st.integers(0, 10**6))
@settings(max_examples=5)
def test_entries_under_sn_conv_are_smaller_by_the_ratio(seed):
    x = images(1)
    plain, by_matrix, by_operator = (
        convolutional(seed, scheme) for scheme in (None, SpectralNorm(), ConvSpectralNorm())
    )
    for name, norms in layer_norms(plain, x).items():
        w, smaller = (layer(net, name).effective_weight().array for net in (by_matrix, by_operator))
        # the first estimates of both norms are within 1%
        np.testing.assert_allclose(w / norms.ratio, smaller, rtol=0.0101)
        found = [weight_variances(net)[name].variance for net in (by_matrix, by_operator)]
        assert found[0] / found[1] == pytest.approx(norms.ratio**2, rel=0.0203)


def test_variances_under_both_norms_are_those_of_the_sheet():
    # 3 to 64 channels at 32 x 32 pixels and 64 to 128 at 16 x 16, convolutions that wrap around:
    # one matrix for each frequency
    for (c_in, c_out, size), expected in (
        ((3, 64, 32), (0.179, 0.028, 2.53)),
        ((64, 128, 16), (0.471, 0.171, 1.66)),
    ):
        w = rng(1).normal(size=(c_out, c_in, 3, 3))
        frequencies = np.fft.fft2(w, (size, size)).transpose(2, 3, 0, 1)
        half = frequencies[:, : size // 2 + 1]  # the rest are conjugates
        gram = np.swapaxes(half.conj(), -1, -2) @ half
        operator = math.sqrt(np.linalg.eigvalsh(gram).max())
        matrix = np.linalg.norm(w.reshape(c_out, -1), 2)
        found = [(w / norm).var() * 9 * c_in for norm in (matrix, operator)]
        # one draw; the narrow first layer varies most
        rel = 0.15 if c_in == 3 else 0.05
        assert found[0] == pytest.approx(expected[0], rel=rel)
        assert operator / matrix == pytest.approx(expected[2], rel=rel)
        assert found[1] == pytest.approx(expected[1], rel=2 * rel)


# --- the variance of a normalized weight ------------------------------------------------------


def mean_square(A, norm):
    return float((A**2).mean() / norm**2)


@given(
    st.integers(1, 8),
    st.integers(1, 8),
    st.sampled_from(["normal", "uniform", "sign"]),
    st.integers(0, 10**6),
)
def test_the_variance_is_at_most_one_over_the_larger_size(m, n, kind, seed):
    draws = rng(seed)
    A = {
        "normal": draws.normal(size=(m, n)),
        "uniform": draws.uniform(-1, 1, size=(m, n)),
        "sign": draws.choice([-1.0, 1.0], size=(m, n)),
    }[kind]
    # true of every draw, so of the mean: the squared singular values sum to sum a^2, and each of
    # the min(m, n) is at most the largest
    found = mean_square(A, np.linalg.norm(A, 2))
    assert found <= 1 / max(m, n) * (1 + 1e-12)
    if min(m, n) == 1:
        assert found == pytest.approx(1 / max(m, n), rel=1e-12)


def test_equality_is_for_a_single_row_or_equal_singular_values_alone():
    rank_one = np.outer(rng(1).normal(size=4), rng(2).normal(size=6))
    assert mean_square(rank_one, np.linalg.norm(rank_one, 2)) == pytest.approx(1 / 24)
    rows = METHODS["orthonormal"].init(rng(), (4, 6), 0)
    assert mean_square(rows, 1.0) == pytest.approx(1 / 6)


def test_weight_variances_of_a_network():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, rng(), padding=1, reparametrize=SpectralNorm()),
        nn.ConvTranspose2d(8, 5, 4, rng(), reparametrize=SpectralNorm()),
        nn.Linear(7, 1, rng(), reparametrize=SpectralNorm()),
    )
    found = weight_variances(net)
    fans = [(s.fan_in, s.fan_out) for s in found.values()]
    assert fans == [(27, 72), (128, 80), (7, 1)]
    for m, spread in zip(net.layers, found.values(), strict=True):
        w = m.effective_weight().array.astype(float)
        assert spread.variance == pytest.approx(((w - w.mean()) ** 2).mean(), rel=1e-5)
        rows = w.shape[m.axis]
        assert spread.variance <= 1 / max(rows, w.size // rows) * (1 + 1e-5)


@pytest.mark.parametrize(
    ("m", "n", "expected", "draws"),
    [
        (2, 3, 0.615, 4000),
        (8, 27, 0.501, 500),
        (64, 27, 0.397, 100),
        (64, 576, 0.577, 4),
        (128, 576, 0.471, 2),
        (64, 1024, 0.652, 2),
        (1, 8192, 1.0, 1),
        (256, 256, 0.255, 2),
    ],
)
def test_variances_of_gaussian_matrices_are_those_of_the_sheet(m, n, expected, draws):
    A = rng(m).normal(size=(draws, m, n))
    small = A @ A.swapaxes(1, 2) if m < n else A.swapaxes(1, 2) @ A
    squares = np.linalg.eigvalsh(small)[:, -1]
    found = (A**2).mean(axis=(1, 2)) / squares * max(m, n)
    # three digits were written down; 2% is what a few draws of a large matrix leave
    slack = max(5 * found.std() / math.sqrt(draws), 0.02 * expected)
    assert found.mean() == pytest.approx(expected, abs=slack)
    if min(m, n) >= 64:
        limit = 1 / (1 + math.sqrt(min(m, n) / max(m, n))) ** 2
        assert found.mean() == pytest.approx(limit, rel=0.05)


# --- BSN --------------------------------------------------------------------------------------


def two_norms(w):
    c_out, c_in = w.shape[:2]
    return (
        np.linalg.norm(w.reshape(c_out, -1), 2),
        np.linalg.norm(w.swapaxes(0, 1).reshape(c_in, -1), 2),
    )


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.integers(0, 10**6))
def test_the_variance_under_bsn_is_within_its_bounds(c_in, c_out, kernel, seed):
    w = rng(seed).normal(size=(c_out, c_in, kernel, kernel))
    K, (one, two) = kernel**2, two_norms(w)
    bound = 4 / (K * (math.sqrt(c_in) + math.sqrt(c_out)) ** 2)
    assert mean_square(w, (one + two) / 2) <= bound * (1 + 1e-12)
    root_mean_square = math.sqrt((one**2 + two**2) / 2)
    assert mean_square(w, root_mean_square) <= 2 / (K * (c_in + c_out)) * (1 + 1e-12)
    if c_in == c_out:
        assert bound == pytest.approx(2 / (K * (c_in + c_out)))


@pytest.mark.parametrize(
    ("c_in", "c_out", "kernel", "excess"), [(1, 25, 5, 1.09), (2, 98, 7, 1.23)]
)
def test_xavier_s_variance_is_no_bound_for_the_arithmetic_mean(c_in, c_out, kernel, excess):
    draws, xavier = rng(1), 2 / (kernel**2 * (c_in + c_out))
    found = []
    for _ in range(20):
        w = draws.normal(size=(c_out, c_in, kernel, kernel))
        found.append(mean_square(w, sum(two_norms(w)) / 2) / xavier)
    assert np.mean(found) == pytest.approx(excess, rel=0.02)
    assert min(found) > 1


def test_bsn_in_a_network_keeps_the_bound():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, rng(), reparametrize=BidirectionalSpectralNorm()),
        nn.ConvTranspose2d(8, 5, 4, rng(), reparametrize=BidirectionalSpectralNorm()),
    )
    for m, spread in zip(net.layers, weight_variances(net).values(), strict=True):
        c_one, c_two, *kernel = m.weight.shape
        bound = 4 / (math.prod(kernel) * (math.sqrt(c_one) + math.sqrt(c_two)) ** 2)
        assert spread.variance <= 1.02 * bound  # the first estimates are within 1%


@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_lengths_of_single_precision_need_no_squares(size):
    D = nn.Sequential(nn.Linear(3, 2, np.random.default_rng(0), bias=False))
    W = np.array([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]], np.float32)
    D[0].weight.assign(W * np.float32(size))
    x = Tensor(np.ones((4, 3), np.float32))
    np.testing.assert_allclose(input_gradients(D, x), np.full(4, 5 * size), rtol=1e-6)
    D[0].weight.assign(W)
    x = Tensor(np.full((4, 3), size, np.float32))
    slopes = weight_gradients(D, x)["layers.0"]
    assert slopes == pytest.approx(size * np.sqrt(6) / 2, rel=1e-6)


def test_the_variance_of_many_weights_keeps_its_digits():
    D = nn.Sequential(nn.Linear(1000, 200, np.random.default_rng(0), bias=False))
    W = (100 + D[0].weight.numpy()).astype(np.float32)
    D[0].weight.assign(W)
    found = weight_variances(D)["layers.0"].variance
    assert found == pytest.approx(W.astype(np.float64).var(), rel=1e-9)


# -- spectra ---------------------------------------------------------------------------------------


def test_spectra_are_of_the_matrix_of_each_kind_of_layer():
    """Of a transposed convolution the rows are the second axis of its weight."""
    parts = nn.Linear(5, 18, rng()), nn.ConvTranspose2d(2, 3, 2, rng()), nn.Conv2d(3, 4, 3, rng())
    network = nn.Sequential(parts[0], nn.Reshape(2, 3, 3), *parts[1:])
    found = list(instruments.spectra(network).values())
    a, b, c = (part.weight.numpy() for part in parts)
    for values, matrix in zip(
        found, (a, b.transpose(1, 0, 2, 3).reshape(3, -1), c.reshape(4, -1)), strict=True
    ):
        np.testing.assert_allclose(values, np.linalg.svd(matrix, compute_uv=False), rtol=1e-5)


def test_spectra_are_in_double_precision_of_the_weight_that_is_computed_with():
    layer = nn.Linear(30, 20, rng(), reparametrize=SpectralNorm())
    with no_grad():
        used = layer.effective_weight().numpy().astype(float)
    found = instruments.spectra(layer)[""]
    np.testing.assert_allclose(found, np.linalg.svd(used, compute_uv=False), rtol=1e-13)
    assert found[0] <= spectral.norm_bound(used)


def test_stable_rank_counts_directions():
    assert instruments.stable_rank([3.0, 3.0, 0.0]) == 2
    assert instruments.stable_rank(np.array([2.0, 1.0])) == 1.25
    assert instruments.stable_rank([1e200, 1e200]) == 2  # whose squares are no numbers
    assert instruments.stable_rank(np.zeros(3)) == 0


def test_estimates_are_those_of_the_schemes_that_have_one():
    D = nn.Sequential(
        nn.Linear(4, 3, rng(), reparametrize=SpectralNorm()),
        nn.Linear(3, 2, rng()),
        nn.Linear(2, 2, rng(), reparametrize=Watched()),
    )
    found = instruments.estimates(D)
    assert list(found) == ["layers.0", "layers.2"]
    for name, sigma in found.items():
        layer = nn.weighted_layers(D)[name]
        u, v = layer.state["u"], layer.state["v"]
        assert sigma == pytest.approx(u @ layer.weight.numpy() @ v, rel=1e-6)


def test_a_measurement_leaves_the_generator_of_dropout():
    network = nn.Sequential(nn.Linear(4, 3, rng()), nn.Dropout(0.5, 1))
    before = network.layers[1].rng.bit_generator.state
    x = rng().normal(size=(2, 4)).astype(np.float32)
    instruments.weight_gradients(network, Tensor(x))
    assert instruments.input_gradients(network, x).shape == (2,)
    assert network.layers[1].rng.bit_generator.state == before
