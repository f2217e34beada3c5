"""Convolution as a closed trio: the rules of each are the other two, so any order is exact.

Layout: images [N, C, H, W], weights [d_out, d_in, h, w] as in the paper. With
:math:`S` the set of (input pixel, weight tap, output pixel) that meet,

.. math:: \\langle \\mathrm{conv}(x, w), y\\rangle = \\langle x, \\mathrm{conv}^T(y, w)\\rangle
          = \\langle w, \\mathrm{conv}_w(x, y)\\rangle = \\sum_S x\\,w\\,y,

one trilinear form, differentiated in each of its three arguments.
"""

# mypy: disable-error-code="has-type"
# (a rule may name the primitive that it belongs to)
from . import kernels
from .errors import DTypeError, ShapeError
from .geometry import added, left_over, moves, output_size, pair, transposed_size
from .tensor import Tensor, is_floating, primitive


def adjoint(y, w, shape, stride, padding):
    """Apply the transposed convolution whose result has a given shape."""
    stride, padding = moves(stride, padding)
    ragged = left_over(shape[2:], y.shape[2:], w.shape[2:], stride, padding)
    return conv2d_transpose(y, w, stride=stride, padding=padding, output_padding=ragged)


@primitive(
    lambda g, x_shape, w, stride, padding: adjoint(g, w, x_shape, stride, padding),
    lambda g, x, w_shape, stride, padding: conv2d_weight(
        x, g, kernel=w_shape[2:], stride=stride, padding=padding
    ),
)
def conv2d(x, w, stride=1, padding=0):
    r"""Correlate images with a kernel: what deep learning calls convolution.

    .. math:: y_{noij} = \sum_{cpq} w_{ocpq}\, x_{n,\,c,\,si+p-a,\,sj+q-a}

    Args:
        x: images, [N, d_in, H, W].
        w: weight, [d_out, d_in, h, w].
        stride: :math:`s`, pixels, one number or (rows, columns).
        padding: :math:`a`, rows and columns of zeros on each side, likewise.
    Returns:
        [N, d_out, (H + 2a - h) // s + 1, (W + 2a - w) // s + 1].
    Raises:
        ShapeError: the channels differ, or the kernel is larger than the padded images.

    Source: [M18 §2.1]
    """
    stride, padding = moves(stride, padding)
    check_fit(x, w, stride, padding)
    return kernels.of(x).conv2d(x, w, stride, padding)


@primitive(
    lambda g, w, stride, padding: conv2d(g, w, stride=stride, padding=padding),
    lambda g, y, w_shape, stride, padding: conv2d_weight(
        g, y, kernel=w_shape[2:], stride=stride, padding=padding
    ),
)
def conv2d_transpose(y, w, stride=1, padding=0, output_padding=0):
    r"""Apply the adjoint of a convolution: the "deconvolution" of a generator.

    .. math:: x_{n,\,c,\,si+p-a,\,sj+q-a} \mathrel{+}= w_{ocpq}\, y_{noij}

    Args:
        y: images, [N, d_out, H, W], with d_out the *output* channels of the convolution.
        w: weight of that convolution, [d_out, d_in, h, w].
        stride, padding: those of that convolution.
        output_padding: rows and columns that the convolution leaves over, below the stride.
    Returns:
        [N, d_in, s (H - 1) + h - 2a + output_padding, likewise].
    Raises:
        ShapeError: the channels differ, output_padding does not fit, or nothing is left.

    Source: [M18 Table 3]
    """
    stride, padding = moves(stride, padding)
    output_padding = added("conv2d_transpose", output_padding, stride)
    _check("conv2d_transpose", y, w)
    if y.shape[1] != w.shape[0]:
        raise ShapeError(
            f"conv2d_transpose: input has {y.shape[1]} channels, weight {list(w.shape)} expects "
            f"{w.shape[0]}; pass y of shape [N, {w.shape[0]}, H, W]"
        )
    size = transposed_size(y.shape[2:], w.shape[2:], stride, padding, output_padding)
    if min(size) < 1:
        raise ShapeError(
            f"conv2d_transpose: padding {padding} leaves images of size {size}; "
            "use a smaller padding or a larger input"
        )
    return kernels.of(y).conv2d_transpose(y, w, stride, padding, output_padding)


@primitive(
    lambda g, x_shape, y, stride, padding: adjoint(y, g, x_shape, stride, padding),
    lambda g, x, stride, padding: conv2d(x, g, stride=stride, padding=padding),
)
def conv2d_weight(x, y, kernel, stride=1, padding=0):
    r"""Correlate inputs with output gradients: the gradient of a convolution's weight.

    .. math:: w_{ocpq} = \sum_{nij} y_{noij}\, x_{n,\,c,\,si+p-a,\,sj+q-a}

    Args:
        x: images, [N, d_in, H, W].
        y: gradient of the convolution's result, [N, d_out, H', W'].
        kernel: size (h, w) of the weight.
        stride, padding: those of the convolution.
    Returns:
        [d_out, d_in, h, w].
    Raises:
        ShapeError: the batches or the sizes do not fit together.

    Source: [M18 Alg. 1]
    """
    stride, padding = moves(stride, padding)
    kernel = pair("kernel", kernel, 1)
    _check("conv2d_weight", x, y)
    expected = output_size("conv2d_weight", x.shape[2:], kernel, stride, padding)
    if x.shape[0] != y.shape[0] or tuple(y.shape[2:]) != expected:
        raise ShapeError(
            f"conv2d_weight: for x of shape {tuple(x.shape)}, y must be "
            f"[{x.shape[0]}, d_out, {expected[0]}, {expected[1]}], got {tuple(y.shape)}"
        )
    return kernels.of(x).conv2d_weight(x, y, kernel, stride, padding)


def check_fit(x, w, stride, padding):
    """Refuse images and a weight that do not fit together."""
    _check("conv2d", x, w)
    if x.shape[1] != w.shape[1]:
        raise ShapeError(
            f"conv2d: input has {x.shape[1]} channels, weight {list(w.shape)} expects "
            f"{w.shape[1]}; pass x of shape [N, {w.shape[1]}, H, W]"
        )
    output_size("conv2d", x.shape[2:], w.shape[2:], stride, padding)


def _check(name, images, other):
    if images.ndim != 4 or other.ndim != 4:
        raise ShapeError(
            f"{name}: expected arrays with 4 axes, got shapes {tuple(images.shape)} and "
            f"{tuple(other.shape)}"
        )
    if images.shape[0] == 0:
        raise ShapeError(f"{name}: the batch is empty (shape {tuple(images.shape)})")
    if 0 in images.shape or 0 in other.shape:
        raise ShapeError(
            f"{name}: there is nothing to convolve in arrays of shapes "
            f"{tuple(images.shape)} and {tuple(other.shape)}; every size must be at "
            "least 1"
        )
    for array in (images, other):
        if not is_floating(array):
            raise DTypeError(
                f"{name}: expected floating-point numbers, got dtype {array.dtype}; "
                "convert to float32 first"
            )
    if images.dtype != other.dtype:
        raise DTypeError(
            f"{name}: expected arrays of one dtype, got {images.dtype} and {other.dtype}; "
            f"convert the first, usually images, with x.astype('{other.dtype}')"
        )


__all__ = ["Tensor", "conv2d", "conv2d_transpose", "conv2d_weight"]
