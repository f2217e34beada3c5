"""The schemes that a layer's weight goes through: what they promise, and their derivatives."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisn import Tensor, grad, lipschitz, nn
from minisn.conv import conv2d, conv2d_transpose
from minisn.errors import ConfigError, ShapeError
from minisn.gradcheck import gradcheck
from minisn.nn import Reparametrization
from minisn.regularizers import (
    BidirectionalSpectralNorm,
    ConvSpectralNorm,
    FrobeniusNorm,
    Normalization,
    SingularValues,
    SpectralNorm,
    Watched,
    WeightNorm,
)

SHAPES = {"dense": ((4, 6), 0), "conv": ((4, 3, 2, 2), 0), "deconv": ((3, 4, 2, 2), 1)}
CONV = ConvSpectralNorm(size=5, stride=2, padding=1)
SCHEMES = {
    "none": Reparametrization(),
    "watched": Watched(),
    "sn": SpectralNorm(),
    "wn": WeightNorm(),
    "frobenius": FrobeniusNorm(),
    "bsn": BidirectionalSpectralNorm(),
    "sn-conv": ConvSpectralNorm(),
    "usv": SingularValues(),
}
DIVIDING = {k: s for k, s in SCHEMES.items() if k not in ("none", "watched")}
CASES = [(name, kind) for name in DIVIDING for kind in SHAPES] + [("sn-conv at a size", "conv")]


def scheme_of(name, **changes):
    return replace(CONV if name == "sn-conv at a size" else SCHEMES[name], **changes)


pytestmark = pytest.mark.usefixtures("plain_kernels")


def rng(seed=0):
    return np.random.default_rng(seed)


def matrix(W, axis):
    W = np.asarray(W.array if isinstance(W, Tensor) else W)
    return np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)


def svdvals(W, axis):
    return np.linalg.svd(matrix(W, axis), compute_uv=False)


def started(scheme, W, axis, steps=0):
    """What is learned, the state after some power steps, and the effective weight."""
    learned, state = scheme.start(Tensor(W, requires_grad=True), axis, rng(5))
    for _ in range(steps):
        state = scheme.step(learned, axis, state)
    return learned, state, scheme.apply(learned, axis, state)


@st.composite
def weights(draw):
    """A weight of a random shape with random numbers, and its output axis."""
    sizes = draw(st.tuples(*[st.integers(1, 6)] * 2))
    kernel = draw(st.sampled_from([(), (1, 1), (3, 3), (2, 4)]))
    axis = draw(st.sampled_from([0, 1])) if kernel else 0
    return rng(draw(st.integers(0, 1000))).normal(size=sizes + kernel), axis


# --- what each promises -----------------------------------------------------------------------


@given(weights())
def test_weight_normalization_gives_rows_of_length_one_and_squares_that_sum_to_their_number(case):
    W, axis = case
    _, _, W_bar = started(WeightNorm(), W, axis)
    rows = matrix(W, axis)
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(matrix(W_bar, axis), expected, rtol=1e-12)
    values = svdvals(W_bar, axis)
    assert (values**2).sum() == pytest.approx(W.shape[axis], rel=1e-12)  # (13), (27)
    assert values[0] <= np.sqrt(W.shape[axis]) * (1 + 1e-12)


@pytest.mark.parametrize("kind", SHAPES)
def test_weight_normalization_is_most_sensitive_at_rank_one(kind):
    shape, axis = SHAPES[kind]
    rank_one = np.outer(rng(1).normal(size=4), rng(2).normal(size=np.prod(shape) // 4))
    others = [n for i, n in enumerate(shape) if i != axis]
    W = np.moveaxis(rank_one.reshape(4, *others), 0, axis)
    assert svdvals(started(WeightNorm(), W, axis)[2], axis)[0] == pytest.approx(2, rel=1e-12)
    W = W + rng(3).normal(size=shape)
    assert svdvals(started(WeightNorm(), W, axis)[2], axis)[0] < 1.99


@given(weights())
def test_frobenius_normalization_shares_one_among_the_singular_values(case):
    W, axis = case
    _, _, W_bar = started(FrobeniusNorm(), W, axis)
    np.testing.assert_allclose(W_bar.array, W / np.sqrt((W**2).sum()), rtol=1e-12)
    values = svdvals(W_bar, axis)
    assert (values**2).sum() == pytest.approx(1, rel=1e-12)
    rank = np.linalg.matrix_rank(matrix(W, axis))
    assert (values[0] > 1 - 1e-9) == (rank == 1)


@given(weights())
def test_spectral_normalization_starts_within_one_percent_of_norm_one(case):
    W, axis = case
    _, _, W_bar = started(SpectralNorm(), W, axis)
    assert 1 - 1e-12 <= svdvals(W_bar, axis)[0] <= 1.01
    assert svdvals(W_bar, axis)[0] / svdvals(W, axis)[0] == pytest.approx(
        np.abs(W_bar.array).max() / np.abs(W).max(), rel=1e-12
    )


def test_watching_changes_nothing_but_knows_the_norm():
    W, axis = rng().normal(size=(4, 3, 2, 2)), 0
    learned, state, W_bar = started(Watched(), W, axis, steps=200)
    assert W_bar is learned["weight"]
    estimate = Watched().estimate(learned, axis, state).item()
    assert estimate == pytest.approx(svdvals(W, axis)[0], rel=1e-9)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_scale_and_gain(name, kind):
    shape, axis = SHAPES[kind]
    W = rng(1).normal(size=shape)
    plain = started(scheme_of(name), W, axis)[2].array
    scaled = started(scheme_of(name, scale=1.7), W, axis)[2].array
    np.testing.assert_allclose(scaled, 1.7 * plain, rtol=1e-13)
    learned, _, W_bar = started(scheme_of(name, gain=True), W, axis)
    # it starts at the weight that was drawn
    np.testing.assert_allclose(W_bar.array, W, rtol=0, atol=1e-14)
    assert set(learned) == ({"U", "s", "V"} if name == "usv" else {"weight"}) | {"gamma"}
    learned["gamma"].assign(np.asarray(3 * learned["gamma"].array))
    tripled = scheme_of(name, gain=True, scale=0.5).apply(
        learned, axis, started(scheme_of(name), W, axis)[1]
    )
    np.testing.assert_allclose(tripled.array, 1.5 * W, rtol=0, atol=1e-14)


def test_weight_normalization_has_a_gain_for_every_row_and_the_others_one():
    W = rng().normal(size=(3, 4, 2, 2))
    assert started(WeightNorm(gain=True), W, 1)[0]["gamma"].shape == (1, 4, 1, 1)
    assert started(SpectralNorm(gain=True), W, 1)[0]["gamma"].shape == ()
    assert started(SingularValues(gain=True), W, 1)[0]["gamma"].shape == ()


@pytest.mark.parametrize("name", DIVIDING)
def test_a_layer_learns_the_gain_and_saves_it(name):
    layer = nn.Linear(5, 4, rng(), reparametrize=scheme_of(name, gain=True))
    assert "gamma" in layer.named_parameters() and "gamma" in layer.state_dict()
    x = Tensor(rng(1).normal(size=(3, 5)).astype(np.float32))
    for g in grad((layer(x) ** 2).sum(), layer.parameters()):
        assert np.abs(g.array).max() > 0


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize(("name", "kind"), [*CASES, *(("none", k) for k in SHAPES)])
def test_first_and_second_derivatives(name, kind, gain):
    scheme = scheme_of(name, gain=gain) if name != "none" else SCHEMES[name]
    shape, axis = SHAPES[kind]
    # away from convergence, where u and v are not singular vectors
    learned, state, _ = started(scheme, rng(2).normal(size=shape), axis)
    state = {k: v + 0.1 * rng(3).normal(size=v.shape) for k, v in state.items()}
    names = list(learned)

    def apply(*tensors):
        return scheme.apply(dict(zip(names, tensors, strict=True)), axis, state)

    arrays = [learned[k].array * 1.3 for k in names]
    report = gradcheck(apply, arrays, order=2, full=False)
    assert report, report


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_weight_of_zeros_gives_zeros_and_no_gradient(name, kind, gain):
    shape, axis = SHAPES[kind]
    scheme = scheme_of(name, gain=gain)
    learned, state, W_bar = started(scheme, np.zeros(shape), axis, steps=2)
    np.testing.assert_array_equal(W_bar.array, np.zeros(shape))
    upstream = rng(1).normal(size=shape)
    for g in grad(W_bar, list(learned.values()), upstream):
        np.testing.assert_array_equal(g.array, np.zeros(g.shape))
    scheme.retract(learned, axis)
    np.testing.assert_array_equal(scheme.apply(learned, axis, state).array, np.zeros(shape))


def test_one_row_of_zeros_leaves_the_others_normalized():
    W = rng().normal(size=(3, 4))
    W[1] = 0
    learned, _, W_bar = started(WeightNorm(), W, 0)
    np.testing.assert_allclose(np.linalg.norm(W_bar.array, axis=1), [1, 0, 1], atol=1e-14)
    g = grad(W_bar, learned["weight"], rng(1).normal(size=W.shape)).array
    np.testing.assert_array_equal(g[1], np.zeros(4))
    assert np.isfinite(g).all() and np.abs(g[[0, 2]]).min() > 0


@pytest.mark.parametrize("name", ["sn", "bsn", "wn", "frobenius", "usv"])
def test_schemes_use_the_array_api_alone(name):
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    for kind, (shape, axis) in SHAPES.items():
        W = rng().normal(size=shape)
        scheme = scheme_of(name, gain=True)
        learned, _, W_bar = started(scheme, xp.asarray(W), axis, steps=1)
        expected = started(scheme, W, axis, steps=1)[2].array
        np.testing.assert_allclose(np.from_dlpack(W_bar.array), expected, atol=1e-13, err_msg=kind)
        grad(W_bar, list(learned.values()), xp.ones(shape))
        scheme.retract(learned, axis)


# --- USV^T ------------------------------------------------------------------------------------


@given(weights(), st.integers(0, 100))
def test_factors_move_freely_and_come_back_to_norm_k(case, seed):
    W, axis = case
    scheme = SingularValues(scale=1.5)
    learned, _, _ = started(scheme, W, axis)
    moves = rng(seed)
    for factor in learned.values():
        factor.assign(np.asarray(factor.array + 0.1 * moves.normal(size=factor.shape)))
    before = {k: t.numpy() for k, t in learned.items()}
    scheme.retract(learned, axis)
    U, V = learned["U"].array, matrix(learned["V"], 0)
    np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-12)
    np.testing.assert_allclose(V @ V.T, np.eye(len(V)), atol=1e-12)
    # the nearest orthonormal matrix is the polar factor: U^T times the old one is symmetric
    # and has no negative eigenvalue
    polar = U.T @ before["U"]
    np.testing.assert_allclose(polar, polar.T, atol=1e-12)
    assert np.linalg.eigvalsh(polar).min() > -1e-12
    np.testing.assert_array_equal(learned["s"].array, before["s"])
    W_bar = scheme.apply(learned, axis, {})
    assert W_bar.shape == W.shape
    expected = np.sort(np.abs(before["s"]))[::-1]
    np.testing.assert_allclose(
        svdvals(W_bar, axis), 1.5 * expected / expected[0], rtol=1e-10, atol=1e-12
    )


def test_a_negative_value_counts_by_its_size():
    learned, _, _ = started(SingularValues(scale=1.5), rng().normal(size=(3, 4)), 0)
    learned["s"].assign(np.array([1.0, -4.0, 2.0]))
    W_bar = SingularValues(scale=1.5).apply(learned, 0, {})
    np.testing.assert_allclose(svdvals(W_bar, 0), [1.5, 0.75, 0.375], rtol=1e-12)


@pytest.mark.parametrize("kind", SHAPES)
def test_factors_start_at_the_first_weight_over_its_norm(kind):
    shape, axis = SHAPES[kind]
    W = rng(4).normal(size=shape)
    W_bar = started(SingularValues(), W, axis)[2]
    np.testing.assert_allclose(W_bar.array, W / svdvals(W, axis)[0], atol=1e-14)


# --- BSN --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["conv", "deconv"])
def test_bidirectional_norm_is_the_mean_of_the_two(kind):
    shape, axis = SHAPES[kind]
    W = rng(1).normal(size=shape)
    scheme = BidirectionalSpectralNorm()
    learned, state, W_bar = started(scheme, W, axis, steps=500)
    mean = (svdvals(W, 0)[0] + svdvals(W, 1)[0]) / 2
    assert abs(svdvals(W, 0)[0] - svdvals(W, 1)[0]) > 0.05  # the two differ
    assert scheme.estimate(learned, axis, state).item() == pytest.approx(mean, rel=1e-12)
    np.testing.assert_allclose(W_bar.array, W / mean, rtol=1e-11)


def test_bidirectional_norm_advances_both_pairs_by_one_round_on_their_own_matrix():
    W = rng(1).normal(size=(4, 3, 2, 2))
    scheme = BidirectionalSpectralNorm()
    learned, state = scheme.start(Tensor(W, requires_grad=True), 0, rng(5))
    state = {k: rng(6).normal(size=v.shape) for k, v in state.items()}
    after = scheme.step(learned, 0, state)
    for suffix, axis in (("", 0), ("_in", 1)):
        M, u = matrix(W, axis), state[f"u{suffix}"]
        v = M.T @ u / np.linalg.norm(M.T @ u)
        np.testing.assert_allclose(after[f"v{suffix}"], v, rtol=1e-12)
        np.testing.assert_allclose(after[f"u{suffix}"], M @ v / np.linalg.norm(M @ v), rtol=1e-12)


def test_bidirectional_norm_of_a_dense_layer_is_plain_spectral_normalization():
    W = rng(1).normal(size=(4, 6))
    one, two = (
        started(s, W, 0, steps=2)[1:] for s in (BidirectionalSpectralNorm(), SpectralNorm())
    )
    assert one[0].keys() == two[0].keys() == {"u", "v"}
    np.testing.assert_array_equal(one[1].array, two[1].array)


# --- SN_Conv ----------------------------------------------------------------------------------


@st.composite
def convolutions(draw):
    """A scheme at a size, and the shape of a kernel."""
    kernel = draw(st.integers(1, 4))
    padding = draw(st.integers(0, 1))
    size = draw(st.integers(max(kernel, 3), 6))
    d_out, d_in = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    scheme = ConvSpectralNorm(size=size, stride=draw(st.integers(1, 3)), padding=padding)
    return scheme, (d_out, d_in, kernel, kernel)


def a_patch_lies_inside(scheme, kernel):
    starts = np.arange(-scheme.padding, scheme.size + scheme.padding - kernel + 1, scheme.stride)
    return ((starts >= 0) & (starts + kernel <= scheme.size)).any()


@given(convolutions(), st.integers(0, 1000))
def test_convolution_norm_is_that_of_the_operator_from_the_start(case, seed):
    scheme, shape = case
    W = rng(seed).normal(size=shape)
    learned, state, W_bar = started(scheme, W, 0)
    geometry = scheme.size, scheme.stride, scheme.padding
    exact = lipschitz.conv_operator_norm(W, *geometry)
    at_first = scheme.estimate(learned, 0, state).item()
    assert exact / 1.01 <= at_first <= exact * (1 + 1e-9)
    for _ in range(20):
        state = scheme.step(learned, 0, state)
    later = scheme.estimate(learned, 0, state).item()
    assert at_first * (1 - 1e-9) <= later <= exact * (1 + 1e-9)
    assert lipschitz.conv_operator_norm(W_bar.array, *geometry) == pytest.approx(
        exact / at_first, rel=1e-6
    )
    ratio = exact / svdvals(W, 0)[0]
    assert ratio <= np.ceil(shape[2] / scheme.stride) * (1 + 1e-6)
    if a_patch_lies_inside(scheme, shape[2]):
        assert ratio >= 1 - 1e-6


def test_convolution_norm_converges():
    W = 1 + 0.1 * rng(3).normal(size=(4, 3, 3, 3))  # a blur: its second value is well below
    scheme = ConvSpectralNorm(size=6, stride=1, padding=1)
    learned, state, _ = started(scheme, W, 0, steps=60)
    exact = lipschitz.conv_operator_norm(W, 6, 1, 1)
    assert scheme.estimate(learned, 0, state).item() == pytest.approx(exact, rel=1e-9)


def test_convolution_norm_in_a_layer_takes_the_layers_geometry():
    scheme = ConvSpectralNorm().at(7, 2, 1)
    layer = nn.Conv2d(3, 5, 4, rng(), stride=2, padding=1, reparametrize=scheme)
    assert layer.state["v"].shape == (1, 3, 7, 7) and layer.state["u"].shape == (1, 5, 3, 3)
    x = Tensor(rng(1).normal(size=(6, 3, 7, 7)).astype(np.float32))
    y = layer(x).array
    lengths = [np.linalg.norm(a.reshape(6, -1), axis=1) for a in (y, x.array)]
    assert (lengths[0] <= 1.01 * lengths[1]).all()


def test_convolution_norm_refuses_other_layers_and_kernels_that_do_not_fit():
    W = Tensor(rng().normal(size=(3, 4, 2, 2)), requires_grad=True)
    with pytest.raises(ConfigError, match=r"expected a convolution.*output axis 1"):
        CONV.start(W, 1, rng())
    with pytest.raises(ConfigError, match="expected a convolution"):
        CONV.start(Tensor(np.ones((3, 4)), requires_grad=True), 0, rng())
    with pytest.raises(ShapeError, match="larger than the padded input"):
        ConvSpectralNorm(size=1).start(W, 0, rng())


def test_convolution_norm_makes_one_round_in_a_step():
    W = Tensor(rng().normal(size=(4, 3, 2, 2)), requires_grad=True)
    learned, state = CONV.start(W, 0, rng(5))
    state = {"u": rng(6).normal(size=state["u"].shape), "v": state["v"]}
    after = CONV.step(learned, 0, state)
    v = conv2d_transpose(Tensor(state["u"]), W, 2, 1, output_padding=1).array
    v = v / np.linalg.norm(v)
    u = conv2d(Tensor(v), W, stride=2, padding=1).array
    np.testing.assert_allclose(after["v"], v, rtol=1e-12)
    np.testing.assert_allclose(after["u"], u / np.linalg.norm(u), rtol=1e-12)


def test_convolution_norm_is_of_stride_one_without_padding_unless_told():
    W = Tensor(rng().normal(size=(4, 3, 2, 2)), requires_grad=True)
    _, state = ConvSpectralNorm(size=5).start(W, 0, rng())
    assert state["u"].shape == (1, 4, 4, 4) and state["v"].shape == (1, 3, 5, 5)


# --- as values --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["watched", *DIVIDING])
def test_a_scheme_never_changes_and_equals_its_like(name):
    """Layers share one, and a configuration compares them."""
    scheme = SCHEMES[name]
    with pytest.raises(FrozenInstanceError):
        scheme.scale = 2.0
    assert scheme == type(scheme)() and hash(scheme) == hash(type(scheme)())


def test_a_normalization_must_say_what_it_divides_by():
    class Nameless(Normalization):
        pass

    with pytest.raises(TypeError, match="norm"):
        Nameless()


# --- in a layer -------------------------------------------------------------------------------


def test_power_steps_follow_a_moving_weight():
    draws = rng()
    layer = nn.Linear(30, 20, draws, reparametrize=SpectralNorm())
    for _ in range(200):
        step = 1e-3 * draws.normal(size=layer.weight.shape)
        layer.weight.assign((layer.weight.array + step).astype(np.float32))
        nn.power_step(layer)
    norm = np.linalg.svd(layer.effective_weight().array, compute_uv=False)[0]
    assert 1 - 1e-6 <= norm <= 1.02
