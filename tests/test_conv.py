"""The convolution trio: adjoint identities to rounding, PyTorch, three orders, the refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisn import Tensor, conv, fused, grad
from minisn.errors import DTypeError, MinisnError, ShapeError
from minisn.geometry import output_size

U = np.finfo(np.float64).eps


FEW, ONE_OR_TWO = st.integers(1, 3), st.integers(1, 2)


@st.composite
def geometries(draw, most=7, channels=FEW):
    """Shapes of x and w, stride and padding, each axis of its own; y's shape is implied.

    Padding may exceed the kernel, the kernel may fill the padded input, and rows and
    columns may be left over.
    """
    sizes, kernel, stride, padding = [], [], [], []
    for _ in range(2):
        size, pad = draw(st.integers(1, most)), draw(st.integers(0, 3))
        sizes.append(size)
        padding.append(pad)
        stride.append(draw(st.integers(1, 4)))
        kernel.append(draw(st.integers(1, min(size + 2 * pad, 5)) | st.just(size + 2 * pad)))
    n, d_in, d_out = draw(FEW), draw(channels), draw(channels)
    return (n, d_in, *sizes), (d_out, d_in, *kernel), tuple(stride), tuple(padding)


SEEDS = st.integers(0, 2**32 - 1)


def output_shape(x_shape, w_shape, stride, padding):
    return (
        x_shape[0],
        w_shape[0],
        *output_size("test", x_shape[2:], w_shape[2:], stride, padding),
    )


def left_over(x_shape, w_shape, stride, padding):
    """Rows and columns that the convolution does not reach: the transposed one's padding."""
    out = output_shape(x_shape, w_shape, stride, padding)[2:]
    return tuple(
        m + 2 * p - k - s * (o - 1)
        for m, p, k, s, o in zip(x_shape[2:], padding, w_shape[2:], stride, out, strict=True)
    )


def random_trio(geometry, seed):
    """x, w and y of one geometry."""
    x_shape, w_shape, *_ = geometry
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s) for s in (x_shape, w_shape, output_shape(*geometry))]


def terms(geometry):
    """The longest sum in the trio: over a filter, over the filters, or over all output pixels."""
    (n, d_in, *_), (d_out, _, h, w), *_ = geometry
    return max(d_in * h * w, d_out * h * w, n * np.prod(output_shape(*geometry)[2:]))


# -- adjoints ------------------------------------------------------------------------------


@given(geometry=geometries(), seed=SEEDS)
def test_adjoint_identities(geometry, seed, kernel_name):
    x_shape, w_shape, stride, padding = geometry
    xs = random_trio(geometry, seed)

    def three_ways(x, w, y):
        x, w, y = Tensor(x), Tensor(w), Tensor(y)
        how = {"stride": stride, "padding": padding}
        back = conv.conv2d_transpose(y, w, output_padding=left_over(*geometry), **how)
        assert back.shape == x_shape
        weight = conv.conv2d_weight(x, y, kernel=w_shape[2:], **how)
        assert weight.shape == w_shape
        forth = conv.conv2d(x, w, **how)
        return [(a * b).sum().item() for a, b in ((forth, y), (x, back), (w, weight))]

    a, b, c = three_ways(*xs)
    # the three sum the same products, in another order: each differs from the true sum by at most
    # (number of terms of the inner and the outer sum) u times the sum of absolute values
    size = sum(x.size for x in xs)
    bound = (terms(geometry) + size) * U * three_ways(*map(np.abs, xs))[0]
    assert abs(a - b) <= bound
    assert abs(a - c) <= bound


# -- PyTorch ---------------------------------------------------------------------------------


def torch_pull(torch, position, shape, other, y, how):
    """PyTorch's gradient of conv2d in x (0) or in w (1), the third of the trio as it has it.

    (Its conv_transpose2d refuses second derivatives when there is output padding.)
    """
    asked = torch.zeros(shape, dtype=y.dtype, requires_grad=True)
    inputs = (asked, other) if position == 0 else (other, asked)
    z = torch.nn.functional.conv2d(*inputs, **how)
    return torch.autograd.grad(z, asked, y, create_graph=True)[0]


def trio(torch, geometry):
    """Each of the three, ours and PyTorch's, with the places of its inputs in (x, w, y)."""
    x_shape, w_shape, stride, padding = geometry
    how = {"stride": stride, "padding": padding}
    extra = left_over(*geometry)
    return [
        (
            lambda x, w: conv.conv2d(x, w, **how),
            lambda x, w: torch.nn.functional.conv2d(x, w, **how),
            (0, 1),
        ),
        (
            lambda y, w: conv.conv2d_transpose(y, w, output_padding=extra, **how),
            lambda y, w: torch_pull(torch, 0, x_shape, w, y, how),
            (2, 1),
        ),
        (
            lambda x, y: conv.conv2d_weight(x, y, kernel=w_shape[2:], **how),
            lambda x, y: torch_pull(torch, 1, w_shape, x, y, how),
            (0, 2),
        ),
    ]


def square_orders(f, grad_of, inputs, orders):
    """Value of f, then derivatives of sums of squares: order k is taken of order k - 1."""
    found = [f(*inputs)]
    for _ in range(orders):
        s = (found[-1] * found[-1]).sum()
        found.append(grad_of(s, inputs[len(found) % 2]))
    return found


@given(geometry=geometries(most=5, channels=ONE_OR_TWO), seed=SEEDS)
def test_values_and_three_orders_against_torch(geometry, seed, kernel_name, torch):
    data = random_trio(geometry, seed)

    def ours_pull(s, x):
        return grad(s, x, create_graph=True)

    def theirs_pull(s, x):
        return torch.autograd.grad(s, x, create_graph=True)[0]

    for ours, theirs, places in trio(torch, geometry):
        inputs = [Tensor(data[i], requires_grad=True) for i in places]
        theirs_inputs = [torch.tensor(data[i], requires_grad=True) for i in places]
        sizes = [Tensor(np.abs(data[i]), requires_grad=True) for i in places]
        mine = square_orders(ours, ours_pull, inputs, 3)
        other = square_orders(theirs, theirs_pull, theirs_inputs, 3)
        # every entry is a polynomial of the inputs with positive coefficients: at the absolute
        # values it gives the sum of the absolute values of its terms; the value takes at most
        # T = terms roundings each, and an order twice those of the one before and T more:
        # (2^(k+1) - 1) T at order k, in either library
        bounds = square_orders(ours, ours_pull, sizes, 3)
        for order, (m, o, bound) in enumerate(zip(mine, other, bounds, strict=True)):
            roundings = 4 * terms(geometry) * 2**order
            difference = np.abs(m.array - o.numpy(force=True))
            assert np.all(difference <= roundings * U * bound.array), order


@pytest.mark.parametrize("extra", [(0, 0), (2, 1), (1, 2)])
def test_every_output_padding_against_torch(extra, kernel_name, torch):
    rng = np.random.default_rng(0)
    y, w = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(3, 2, 2, 4))

    def largest(f):
        return np.abs(f).max()

    mine = conv.conv2d_transpose(Tensor(y), Tensor(w), 3, 1, extra).array
    theirs = torch.nn.functional.conv_transpose2d(
        torch.tensor(y), torch.tensor(w), stride=3, padding=1, output_padding=extra
    ).numpy()
    assert mine.shape == theirs.shape
    # sums of 3 filters, of at most 2 x 2 meetings each
    assert largest(mine - theirs) <= 12 * U * 4 * largest(y) * largest(w)


# -- special geometries ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "w", "stride", "padding", "y"),
    [
        ((2, 3, 1, 1), (4, 3, 1, 1), 1, 0, (2, 4, 1, 1)),
        ((2, 3, 1, 1), (4, 3, 3, 3), 2, 1, (2, 4, 1, 1)),
        ((1, 2, 4, 4), (3, 2, 6, 6), 1, 1, (1, 3, 1, 1)),
        ((1, 1, 5, 8), (1, 1, 2, 3), (3, 2), (0, 2), (1, 1, 2, 5)),
        ((64, 3, 32, 32), (8, 3, 4, 4), 2, 1, (64, 8, 16, 16)),
        ((2, 1, 2, 2), (1, 1, 1, 1), 1, 3, (2, 1, 8, 8)),
        ((1, 1, 7, 7), (1, 1, 2, 2), 5, 0, (1, 1, 2, 2)),
    ],
)
def test_sizes(x, w, stride, padding, y):
    assert conv.conv2d(Tensor(np.ones(x)), Tensor(np.ones(w)), stride, padding).shape == y


def test_a_convolution_by_hand(kernel_name):
    x = Tensor(np.arange(9.0).reshape(1, 1, 3, 3))
    w = Tensor(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    y = conv.conv2d(x, w)
    np.testing.assert_array_equal(y.array, [[[[27, 37], [57, 67]]]])
    back = conv.conv2d_transpose(y, w)
    np.testing.assert_array_equal(back.array, [[[[27, 91, 74], [138, 400, 282], [171, 429, 268]]]])
    np.testing.assert_array_equal(
        conv.conv2d_weight(x, y, kernel=2).array, [[[[476, 664], [1040, 1228]]]]
    )


def test_numbers_pairs_and_lists_are_the_same(kernel_name):
    x, w = (Tensor(a) for a in np.random.default_rng(0).normal(size=(2, 1, 1, 6, 6)))
    w = w[:, :, :3, :3]
    y = conv.conv2d(x, w, 2, 1)
    for stride, padding in (((2, 2), (1, 1)), ([2, 2], [1, 1]), (np.int64(2), np.int32(1))):
        again = conv.conv2d(x=x, w=w, stride=stride, padding=padding)
        np.testing.assert_array_equal(again.array, y.array)


@settings(max_examples=10)
@given(geometry=geometries(), seed=SEEDS)
def test_float32_stays_float32(geometry, seed, kernel_name):
    _, _, stride, padding = geometry
    x, w, y = (
        Tensor(a.astype(np.float32), requires_grad=True) for a in random_trio(geometry, seed)
    )
    out = conv.conv2d(x, w, stride, padding)
    grads = grad((out * y).sum(), [x, w], create_graph=True)
    second = grad(sum((g * g).sum() for g in grads), [x, w, y])
    assert {t.dtype.name for t in (out, *grads, *second)} == {"float32"}


# -- the refusals ---------------------------------------------------------------------------------


def zeros(*shape, dtype=np.float64):
    return Tensor(np.zeros(shape, dtype))


X, W, Y = zeros(2, 3, 8, 8), zeros(5, 3, 3, 3), zeros(2, 5, 6, 6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: conv.conv2d(zeros(2, 1, 8, 8), W),
            ShapeError,
            r"conv2d: input has 1 channels, weight \[5, 3, 3, 3\] expects 3; pass x of shape "
            r"\[N, 3, H, W\]",
        ),
        (
            lambda: conv.conv2d(zeros(3, 8, 8), W),
            ShapeError,
            r"conv2d: expected arrays with 4 axes, got shapes \(3, 8, 8\) and",
        ),
        (lambda: conv.conv2d(X, zeros(5, 3)), ShapeError, r"4 axes, got .* \(5, 3\)"),
        (
            lambda: conv.conv2d(zeros(0, 3, 8, 8), W),
            ShapeError,
            r"conv2d: the batch is empty \(shape \(0, 3, 8, 8\)\)",
        ),
        (
            lambda: conv.conv2d(zeros(2, 3, 2, 2), W),
            ShapeError,
            "conv2d: the kernel 3x3 is larger than the padded input 2x2; pad more",
        ),
        (
            lambda: conv.conv2d(X, zeros(5, 3, 3, 11), padding=(0, 1)),
            ShapeError,
            "kernel 3x11 is larger than the padded input 8x10",
        ),
        (
            lambda: conv.conv2d(zeros(2, 3, 2, 8), zeros(5, 3, 5, 3), padding=(1, 0)),
            ShapeError,
            "kernel 5x3 is larger than the padded input 4x8",
        ),
        (
            lambda: conv.conv2d(zeros(2, 3, 8, 8, dtype=np.int64), W),
            DTypeError,
            "conv2d: expected floating-point numbers, got dtype int64; convert",
        ),
        (lambda: conv.conv2d(X, zeros(5, 3, 3, 3, dtype=np.uint8)), DTypeError, "dtype uint8"),
        (
            lambda: conv.conv2d(zeros(2, 3, 8, 8, dtype=np.float32), W),
            DTypeError,
            r"conv2d: .* got float32 and float64; convert the first.* with x.astype\('float64'\)",
        ),
        *(
            (
                lambda s=s: conv.conv2d(X, W, stride=s),
                ShapeError,
                "stride: expected a whole number of at least 1 and less than 2147483648, or two ",
            )
            for s in (0, -1, 1.5, (1, 0), (1, -2), (1, 1, 1), (), None, "12")
        ),
        *(
            (
                lambda p=p: conv.conv2d(X, W, padding=p),
                ShapeError,
                "padding: expected a whole number of at least 0 and less than 2147483648, or two ",
            )
            for p in (-1, 0.5, (0, -1), (1, 1, 1), None)
        ),
        (
            lambda: conv.conv2d_transpose(zeros(2, 4, 6, 6), W),
            ShapeError,
            r"conv2d_transpose: input has 4 channels, weight \[5, 3, 3, 3\] expects 5; pass y of "
            r"shape \[N, 5, H, W\]",
        ),
        (
            lambda: conv.conv2d_transpose(Y, W, stride=2, output_padding=2),
            ShapeError,
            r"output_padding \(2, 2\) must be less than the stride \(2, 2\)",
        ),
        (
            lambda: conv.conv2d_transpose(Y, W, output_padding=-1),
            ShapeError,
            "conv2d_transpose: output_padding: expected a whole number of at least 0",
        ),
        (
            lambda: conv.conv2d_transpose(Y, W, padding=4),
            ShapeError,
            r"conv2d_transpose: padding \(4, 4\) leaves images of size \(0, 0\); use a smaller",
        ),
        (lambda: conv.conv2d_transpose(zeros(0, 5, 6, 6), W), ShapeError, "batch is empty"),
        (
            lambda: conv.conv2d_transpose(zeros(2, 5, 6, 6, dtype=np.int32), W),
            DTypeError,
            "conv2d_transpose: expected floating-point numbers, got dtype int32",
        ),
        (
            lambda: conv.conv2d_weight(X, zeros(2, 5, 5, 6), kernel=3),
            ShapeError,
            r"conv2d_weight: for x of shape \(2, 3, 8, 8\), y must be \[2, d_out, 6, 6\], got "
            r"\(2, 5, 5, 6\)",
        ),
        (lambda: conv.conv2d_weight(X, zeros(1, 5, 6, 6), kernel=3), ShapeError, "y must be"),
        (
            lambda: conv.conv2d_weight(X, Y, kernel=(3, 5)),
            ShapeError,
            r"y must be \[2, d_out, 6, 4\], got \(2, 5, 6, 6\)",
        ),
        (
            lambda: conv.conv2d(X, zeros(5, 4, 2, 1)),
            ShapeError,
            r"input has 3 channels, weight \[5, 4, 2, 1\] expects 4; pass x of shape "
            r"\[N, 4, H, W\]",
        ),
        (
            lambda: fused.conv2d_with_bias(X, zeros(5, 3, 2, 1), zeros(3)),
            ShapeError,
            r"expected a bias of 5 entries, .* channel of weight \[5, 3, 2, 1\], got shape \[3\]",
        ),
        (
            lambda: conv.conv2d_weight(X, Y, kernel=9),
            ShapeError,
            "conv2d_weight: the kernel 9x9 is larger than the padded input 8x8",
        ),
        (
            lambda: conv.conv2d_weight(X, Y, kernel=0),
            ShapeError,
            "kernel: expected a whole number of at least 1",
        ),
        (
            lambda: conv.conv2d_weight(zeros(0, 3, 8, 8), zeros(0, 5, 6, 6), kernel=3),
            ShapeError,
            "conv2d_weight: the batch is empty",
        ),
    ],
)
def test_refusals(call, error, message, kernel_name):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, MinisnError)


def test_a_stride_of_one_and_no_padding_are_meant_where_nothing_is_said():
    w, b, y = zeros(5, 3, 3, 3), zeros(5), zeros(2, 5, 6, 6)
    shapes = [
        f.shape
        for f in (
            conv.conv2d(X, w),
            fused.conv2d_with_bias(X, w, b),
            conv.conv2d_weight(X, y, kernel=3),
            conv.conv2d_transpose(y, w),
        )
    ]
    assert shapes == [(2, 5, 6, 6), (2, 5, 6, 6), (5, 3, 3, 3), (2, 3, 8, 8)]
