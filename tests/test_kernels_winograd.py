"""Convolutions with fewer products: against the plain form, on whole blocks and ragged ones."""

import importlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minisn.kernels import array_api

pytestmark = pytest.mark.usefixtures("two_threads")

winograd = pytest.importorskip("minisn.kernels.cpu.winograd", reason="needs Numba")
cpu = importlib.import_module("minisn.kernels.cpu")

LANES = winograd.VECTOR_BYTES // 8
GUARD = 64
"""Entries around an array that nothing may read or write."""


def guarded(a):
    """Return the array between numbers that would show if they were read, and its surroundings."""
    room = np.full(a.size + 2 * GUARD, np.nan)
    view = room[GUARD : GUARD + a.size].reshape(a.shape)
    view[...] = a
    return view, room


def untouched(room, size):
    return np.isnan(room[:GUARD]).all() and np.isnan(room[GUARD + size :]).all()


def error_bound(x, w, kernel):
    """Bound the difference between two ways of summing, from the sizes of what is summed.

    Every sum of inputs or of taps is at most the sum of their absolute values, up to 9 places (4
    with two taps) enter an output, and each product passes through fewer than (terms + 20)
    roundings.
    """
    terms = x.shape[1] * kernel**2
    return (
        np.finfo(float).eps
        * (terms + 20)
        * 9
        * np.max(np.sum(abs(w), (2, 3)))
        * np.max(np.sum(abs(x), (1, 2, 3)))
    )


@st.composite
def geometries(draw):
    kernel, stride = draw(st.sampled_from([(3, 1), (4, 2)]))
    c, d = (LANES * draw(st.integers(1, 3)) for _ in range(2))
    padding = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    h, w = (draw(st.integers(max(1, kernel - 2 * p), 9)) for p in padding)
    return draw(st.integers(1, 3)), c, d, h, w, kernel, stride, padding


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


@given(geometry=geometries(), seed=st.integers(0, 9))
@example((3, LANES, 2 * LANES, 9, 8, 4, 2, (1, 1)), 0)
@example((70, LANES, LANES, 4, 4, 3, 1, (1, 1)), 0)  # several tiles for each thread
def test_agrees_with_the_plain_form_and_stays_inside(geometry, seed):
    n, c, d, h, w, k, s, padding = geometry
    rng = np.random.default_rng(seed)
    out = [(size + 2 * p - k) // s + 1 for size, p in zip((h, w), padding, strict=True)]
    extra = [(size + 2 * p - k) % s for size, p in zip((h, w), padding, strict=True)]
    x, W = rng.normal(size=(n, c, h, w)), rng.normal(size=(d, c, k, k))
    g = rng.normal(size=(n, d, *out))
    xs, gs = guarded(channels_last(x))[0], guarded(channels_last(g))[0]

    y, room = guarded(np.zeros((n, *out, d)))
    b = rng.normal(size=d)
    winograd.conv2d(xs, W, b, y, s, padding)
    assert untouched(room, y.size)
    expected = array_api.conv2d(x, W, (s, s), padding, b)
    bound = error_bound(x, W, k) + 9 * np.finfo(float).eps * np.max(abs(b))
    assert np.max(abs(y.transpose(0, 3, 1, 2) - expected)) <= bound

    back, room = guarded(np.zeros((n, h, w, c)))
    if s == 1:  # a convolution too, with the filters turned round
        none, around = np.zeros(c), tuple(k - 1 - p for p in padding)
        winograd.conv2d(gs, W[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), none, back, 1, around)
    else:
        winograd.conv2d_transpose(gs, W, back, padding)
    assert untouched(room, back.size)
    expected = array_api.conv2d_transpose(g, W, (s, s), padding, tuple(extra))
    turned = W.transpose(1, 0, 2, 3)
    assert np.max(abs(back.transpose(0, 3, 1, 2) - expected)) <= error_bound(g, turned, k)

    found = winograd.conv2d_weight(xs, gs, k, s, padding)
    expected = array_api.conv2d_weight(x, g, (k, k), (s, s), padding)
    bound = error_bound(x.transpose(1, 0, 2, 3), g.transpose(1, 0, 2, 3), k)
    assert np.max(abs(found.transpose(0, 3, 1, 2) - expected)) <= bound


WIDE = 16 * LANES


@pytest.mark.parametrize(
    ("c", "d", "size", "kernel", "stride", "chosen"),
    [
        (WIDE, WIDE, 8, 3, 1, True),
        (WIDE, WIDE, 8, 4, 2, True),
        (WIDE, WIDE + 1, 8, 3, 1, False),  # not whole vectors
        (LANES, LANES, 8, 4, 2, False),  # too few channels
        (WIDE, WIDE, 3, 3, 1, True),
        (WIDE, WIDE, 2, 4, 2, False),  # one output in a block of four
        (WIDE, WIDE, 8, 5, 1, False),
        (WIDE, WIDE, 8, 4, 1, False),
    ],
)
def test_is_chosen_where_it_pays(monkeypatch, c, d, size, kernel, stride, chosen):
    used = []

    def noted(name):
        f = getattr(winograd, name)
        return lambda *args: used.append(name) or f(*args)

    for name in ("conv2d", "conv2d_transpose", "conv2d_weight"):
        monkeypatch.setattr(winograd, name, noted(name))
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, c, size, size)), rng.normal(size=(d, c, kernel, kernel))
    pairs = ((stride, stride), (1, 1))
    y = cpu.conv2d(x, w, *pairs)
    cpu.conv2d_weight(x, y, (kernel, kernel), *pairs)
    cpu.conv2d_transpose(y, w, *pairs, (0, 0))
    last = "conv2d" if stride == 1 else "conv2d_transpose"
    assert used == (["conv2d", "conv2d_weight", last] if chosen else [])


def test_sums_of_taps_inputs_and_products_make_a_convolution():
    """The three tables satisfy their identity exactly, tap by tap and input by input."""
    for taps in (2, 3):
        B_T, G, A_T = (np.array(t[taps]) for t in (winograd.B_T, winograd.G, winograd.A_T))
        form = np.einsum("op,pt,pi->oti", A_T, G, B_T)  # output, tap, input
        o, t, i = np.indices(form.shape)
        assert np.array_equal(form, (i == o + t).astype(float))
