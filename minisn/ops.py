"""Differentiable operations: each primitive's forward beside its rules.

A rule receives ``(g, y, *inputs, **params)``: the gradient of the result, the
result, and what the operation was called with; it returns the gradient of one
input. Rules are written with the operations of this file, so every gradient can
be differentiated again. Broadcasting is not undone here: the engine does that.
"""

# mypy: disable-error-code="has-type"
# (a rule may name the primitive that it belongs to)
import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import kernels
from .answers import OPERATIONS
from .backend import Array, is_array, is_numpy, namespace
from .errors import DTypeError, ShapeError
from .tensor import (
    Tensor,
    add,
    as_tensor,
    as_tensors,
    astype,
    axes_of,
    broadcast_to,
    is_floating,
    is_recording,
    primitive,
    reshape,
    sum,
)

__all__ = [
    "abs", "add", "affine", "astype", "avg_pool2d", "bilinear", "broadcast_to", "clip", "concat",
    "divide", "exp", "getitem", "global_sum_pool2d", "inner", "inverse", "leaky_relu", "log",
    "log_softmax", "logsumexp", "matmul", "max", "maximum", "mean", "min", "minimum", "multiply",
    "negative", "norm", "pad", "permute", "power", "rank_one", "relu", "reshape", "sigmoid",
    "softplus", "spectral_divide", "spectral_pull", "sqrt", "stack", "standardize",
    "standardize_pull", "subtract", "sum", "sum_products", "tanh", "transpose",
    "upsample_nearest2d", "var", "where",
]  # fmt: skip


# -- arithmetic -------------------------------------------------------------------


@primitive(lambda g, y, a, b: g, lambda g, y, a, b: -g)
def subtract(a, b):
    r"""Subtract, with broadcasting.

    .. math:: y = a - b, \qquad \bar a = \bar y, \quad \bar b = -\bar y
    """
    return a - b


@primitive(lambda g, y, a, b: _times(g, b, a), lambda g, y, a, b: _times(g, a, b))
def multiply(a, b):
    r"""Multiply entry by entry, with broadcasting.

    .. math:: y = ab, \qquad \bar a = \bar y\,b, \quad \bar b = \bar y\,a
    """
    return a * b


def _times(g, other, x):
    """Return what x gets: summed at once if x is one number, and so without the products."""
    return inner(g, other) if x.ndim == 0 and g.shape == other.shape else g * other


@primitive(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
def inner(a, b):
    r"""Sum the products of all entries of two tensors of one shape.

    .. math:: y = \sum_i a_i b_i, \qquad \bar a = \bar y\,b, \quad \bar b = \bar y\,a
    """
    if a.shape != b.shape:
        raise ShapeError(f"inner: shapes differ: {a.shape} and {b.shape}")
    xp = namespace(a)
    if a.ndim < 2:
        return xp.sum(a * b)
    # row by row: one sum over millions of float32 would lose digits
    rows, n = a.shape[0], math.prod(a.shape[1:])
    return xp.sum(xp.matmul(xp.reshape(a, (rows, 1, n)), xp.reshape(b, (rows, n, 1))))


@primitive(lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b)
def divide(a, b):
    r"""Divide entry by entry, with broadcasting.

    .. math:: y = a / b, \qquad \bar a = \bar y / b, \quad \bar b = -\bar y\,y / b
    """
    return a / b


@primitive(lambda g, y, x: -g * y * y)
def inverse(x):
    r"""Divide 1 by every entry; where that has no finite value, give 0, and gradient 0.

    .. math:: y = 1/x, \quad y = 0 \text{ where } |x| \text{ is at most the smallest normal number};
              \qquad \bar x = -\bar y\,y^2
    """
    xp = namespace(x)
    vanishes = xp.abs(x) <= xp.finfo(x.dtype).smallest_normal
    return 1 / xp.where(vanishes, xp.full_like(x, xp.inf), x)


@primitive(lambda g, y, x: -g)
def negative(x):
    r"""Change the sign.

    .. math:: y = -x, \qquad \bar x = -\bar y
    """
    return -x


@primitive(lambda g, y, x, exponent: _power_rule(g, x, exponent))
def _power(x, exponent):
    r"""Raise to a constant power; at 0, a root has the gradient 0, as :func:`sqrt`.

    .. math:: y = x^p, \qquad \bar x = \bar y\,p\,x^{p-1}
    """
    if exponent < 0 and not is_floating(x) and namespace(x).isdtype(x.dtype, "integral"):
        raise DTypeError(f"power: integers have no power {exponent}; convert them to float64 first")
    return x * x if exponent == 2 else x**exponent


def _power_rule(g, x, exponent):
    if exponent == 0:
        return where(Tensor.wrap(x.array == x.array), 0.0, g)
    if 0 < exponent < 1:
        origin = Tensor.wrap(x.array == 0)
        slope = exponent * where(origin, 1.0, x) ** (exponent - 1)
        return where(origin, 0.0, g * slope)
    return g * (exponent * x ** (exponent - 1))


def power(x: Tensor, exponent: Tensor | float) -> Tensor:
    r"""Raise to a power: a number, or a tensor of exponents.

    .. math:: y = x^p
    """
    number = isinstance(exponent, int | float | np.number)
    return _power(x, exponent=exponent) if number else OPERATIONS["raise_to"](x, exponent)


@primitive(lambda g, y, x: g * y)
def exp(x):
    r"""Exponential.

    .. math:: y = e^x, \qquad \bar x = \bar y\,y
    """
    return namespace(x).exp(x)


@primitive(lambda g, y, x: g / x)
def log(x):
    r"""Natural logarithm.

    .. math:: y = \log x, \qquad \bar x = \bar y / x
    """
    return namespace(x).log(x)


@primitive(lambda g, y, x: _over_twice_root(g, y))
def sqrt(x):
    r"""Square root; at 0, where no derivative exists, the gradient is 0.

    .. math:: y = \sqrt x, \qquad \bar x = \bar y / (2y)

    So the gradient of a norm at the zero vector is 0, one of its subgradients,
    and not NaN: a gradient penalty survives a critic that is flat somewhere.
    """
    return namespace(x).sqrt(x)


def _over_twice_root(g, y):
    origin = Tensor.wrap(y._array == 0)  # a NaN is not hidden
    return where(origin, 0.0, g / (2.0 * where(origin, 1.0, y)))


@primitive(lambda g, y, x: _share_of(g, _constant_like(x, namespace(x._array).sign(x._array))))
def abs(x):
    r"""Absolute value; its gradient at 0 is 0.

    .. math:: y = |x|, \qquad \bar x = \bar y\,\mathrm{sign}(x)
    """
    return namespace(x).abs(x)


# -- choices ------------------------------------------------------------------------


def _constant_like(like, array):
    return Tensor.wrap(namespace(array).astype(array, like.dtype, copy=False))


def _share(a, b):
    """The part of the gradient of max(a, b) that goes to a: 1, 0, or half at a tie."""
    xp = namespace(a._array)
    loses, ties = a._array < b._array, a._array == b._array
    return Tensor.wrap(1 - xp.astype(loses, a.dtype) - 0.5 * xp.astype(ties, a.dtype))


def _share_of(g, share):
    """Return constant shares of a gradient: nothing of an infinite one where the share is 0."""
    return where(Tensor.wrap(share._array != 0), g * share, 0.0)


@primitive(
    lambda g, y, a, b: _share_of(g, _share(a, b)), lambda g, y, a, b: _share_of(g, _share(b, a))
)
def maximum(a, b):
    r"""Larger of two tensors, with broadcasting; a tie gives each half of the gradient.

    .. math:: y = \max(a, b), \qquad \bar a = \bar y\,[a > b] + \tfrac12\bar y\,[a = b]
    """
    return namespace(a).maximum(a, b)


@primitive(
    lambda g, y, a, b: _share_of(g, _share(b, a)), lambda g, y, a, b: _share_of(g, _share(a, b))
)
def minimum(a, b):
    r"""Smaller of two tensors, with broadcasting; a tie gives each half of the gradient.

    .. math:: y = \min(a, b), \qquad \bar a = \bar y\,[a < b] + \tfrac12\bar y\,[a = b]
    """
    return namespace(a).minimum(a, b)


@primitive(None, lambda g, y, c, a, b: where(c, g, 0.0), lambda g, y, c, a, b: where(c, 0.0, g))
def where(condition, a, b):
    r"""Choose entry by entry, with broadcasting; the condition has no gradient.

    .. math:: y = c\,a + (1 - c)\,b, \qquad \bar a = c\,\bar y, \quad \bar b = (1 - c)\,\bar y
    """
    xp = namespace(condition)
    return xp.where(xp.astype(condition, xp.bool), a, b)


def clip(x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    r"""Limit every entry to an interval; at its ends half of the gradient passes.

    .. math:: y = \min(\max(x, l), h)

    Args:
        x: any shape.
        low, high: numbers, arrays or tensors, with broadcasting; None for no limit.
    """
    if low is not None and high is not None and np.any(np.asarray(low > high)):
        raise ShapeError(f"clip: the lower limit {low} is above the upper limit {high}")
    x = x if low is None else maximum(x, low)
    return x if high is None else minimum(x, high)


# -- activations ----------------------------------------------------------------------


@primitive(lambda g, y, x: g * (1.0 - y * y))
def tanh(x):
    r"""Hyperbolic tangent.

    .. math:: y = \tanh x, \qquad \bar x = \bar y\,(1 - y^2)
    """
    return namespace(x).tanh(x)


@primitive(lambda g, y, x: g * y * (1.0 - y))
def sigmoid(x):
    r"""Logistic function, accurate in both tails.

    .. math:: y = \frac1{1 + e^{-x}}, \qquad \bar x = \bar y\,y\,(1 - y)
    """
    xp = namespace(x)
    small = xp.exp(-xp.abs(x))
    return xp.where(x < 0, small, xp.ones_like(small)) / (1 + small)


def _softplus(x):
    xp = namespace(x)
    return xp.log1p(xp.exp(-xp.abs(x))) + xp.maximum(x, xp.zeros((), dtype=x.dtype))


@primitive(lambda g, y, x: g * sigmoid(x))
def softplus(x):
    r"""Smooth ReLU, without overflow for large x or cancellation for small.

    .. math:: y = \log(1 + e^x) = \max(x, 0) + \log(1 + e^{-|x|}), \qquad
              \bar x = \bar y\,\mathrm{sigmoid}(x)
    """
    return _softplus(x)


@primitive(lambda g, y, x, slope: leaky_relu_pull(g, y if slope >= 0 else x, slope=slope))
def leaky_relu(x, slope=0.1):
    r"""Leaky ReLU; the derivative at 0 is the slope.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad \bar x = \bar y\,([x > 0] + a\,[x \le 0])

    For :math:`a \ge 0` y is positive where x is, so y is all that the gradient needs.

    Args:
        x: any shape.
        slope: :math:`a`, 0.1 in the paper's discriminators.

    Source: [M18 Table 3]
    """
    return kernels.of(x).leaky_relu(x, slope)


@primitive(lambda h, y, g, x, slope: leaky_relu_pull(h, x, slope=slope), None)
def leaky_relu_pull(g, x, slope):
    r"""Pull a gradient back through leaky ReLU: linear in g, and flat in x.

    .. math:: y = g\,([x > 0] + a\,[x \le 0]), \qquad \bar g = \bar y\,([x > 0] + a\,[x \le 0])
    """
    return kernels.of(x).leaky_relu_pull(g, x, slope)


def relu(x: Tensor) -> Tensor:
    r"""Rectified linear unit; the derivative at 0 is 0.

    .. math:: y = \max(x, 0)
    """
    return leaky_relu(x, slope=0.0)


# -- reductions -------------------------------------------------------------------------


def mean(x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    r"""Average over some axes, or all.

    .. math:: y = \frac1n \sum_i x_i
    """
    return _widely(lambda x: _mean(x, axis, keepdims), x)


def _mean(x, axis, keepdims):
    total = sum(x, axis=axis, keepdims=keepdims)
    return total * (total.size / x.size if x.size else math.nan)


def _widely(compute, x):
    """Compute with whole numbers as float64, and with half precision in single, which is kept."""
    x = as_tensor(x)
    xp = namespace(x._array)
    if not is_floating(x._array) and xp.isdtype(x.dtype, ("bool", "integral")):
        return compute(Tensor.wrap(xp.astype(x._array, xp.float64)))
    if is_numpy(x._array) and x.dtype == np.float16:
        return astype(compute(astype(x, dtype=np.float32)), dtype=x.dtype)
    return compute(x)


def norm(x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    r"""Length of the vectors along some axes, or of all entries; at 0 its gradient is 0.

    .. math:: y = \sqrt{\textstyle\sum_i x_i^2}

    Only y itself must be a number that the dtype holds, not the squares.
    """
    return _widely(lambda x: _norm(x, axes_of(axis, x.ndim, "norm"), keepdims), x)


def _norm(x, axis, keepdims):
    unit = Tensor.wrap(tame(x._array, axis))
    z = x / unit
    return sum(sqrt(sum(z * z, axis=axis, keepdims=True)) * unit, axis=axis, keepdims=keepdims)


def tame(x: Array, axis: int | Sequence[int] | None = None) -> Array:
    """Return what to divide entries by, so that no sum of squares overflows or vanishes.

    Args:
        x: an array, any shape.
        axis: along which the squares are to be summed; None for all.
    Returns:
        1 where all is well, else the size of the largest entry; the axes are kept with size 1.
    """
    xp, limits = namespace(x), namespace(x).finfo(x.dtype)
    if not x.size:
        return xp.ones(_kept_shape(x, axis), dtype=x.dtype)
    top = xp.max(xp.abs(x), axis=axis, keepdims=True)
    size = xp.clip(top, float(limits.smallest_normal), float(limits.max))
    return xp.where((top > 1e-12) & (top < 1e12), xp.ones_like(top), size)


@primitive(lambda g, y, x, axis, keepdims: _var_rule(g, x, axis))
def _var(x, axis=None, keepdims=False):
    r"""Variance over some axes, or all: the mean square deviation, divided by n.

    .. math:: y = \frac1n \sum_i (x_i - \mu)^2, \qquad \bar x_i = \bar y\,\tfrac2n (x_i - \mu)
    """
    axes = axes_of(axis, x.ndim, "var")
    kept = _kept_shape(x, axis)
    if x.size:
        _, y = kernels.of(x).moments(x, axes)
    else:
        y = namespace(x).full(kept, math.nan, dtype=x.dtype)
    return y if keepdims else namespace(x).squeeze(y, axis=axes)


def _var_rule(g, x, axis):
    centred = x - mean(x, axis, keepdims=True)
    return reshape(g, _kept_shape(x, axis)) * centred * (2.0 * g.size / x.size if x.size else 0.0)


def var(
    x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, ddof: int = 0
) -> Tensor:
    r"""Variance over some axes, or all: the square deviations, divided by n or by less.

    .. math:: y = \frac1{n - d} \sum_i (x_i - \mu)^2

    Args:
        x: any shape.
        axis: an axis, several, or None for all.
        keepdims: keep the axes with size 1.
        ddof: :math:`d`, 1 for the unbiased estimate; a variance of n = d entries is a NaN.
    """

    def compute(x):
        y = _var(x, axis=axis, keepdims=keepdims)
        n = x.size // y.size if y.size else 0
        return y * (n / (n - ddof) if n > ddof else math.nan) if ddof else y

    return _widely(compute, x)


def _attained(x, y, axis):
    """The entries that equal the largest, or the smallest, sharing its gradient evenly."""
    xp = namespace(x._array)
    ends = xp.reshape(y._array, _kept_shape(x, axis))
    hit = xp.astype((x._array == ends) | (ends != ends), x.dtype)
    axes = axes_of(axis, x.ndim)
    return Tensor.wrap(hit / xp.sum(hit, axis=axes, keepdims=True) if x.size else hit)


def _extreme(name, x, axis, keepdims):
    axes = axes_of(axis, x.ndim, name)
    if x.size == 0 and math.prod(_kept_shape(x, axis)):
        raise ShapeError(f"{name}: a tensor of shape {x.shape} has no entry along axis {axis}")
    return axes


def _kept_shape(x, axis):
    reduced = axes_of(axis, x.ndim)
    return tuple(1 if i in reduced else n for i, n in enumerate(x.shape))


@primitive(lambda g, y, x, axis, keepdims: (
    _share_of(reshape(g, _kept_shape(x, axis)), _attained(x, y, axis))))  # fmt: skip
def max(x, axis=None, keepdims=False):
    r"""Largest entry over some axes, or all; tied entries share the gradient evenly.

    .. math:: y = \max_i x_i, \qquad \bar x_i = \bar y\,\frac{[x_i = y]}{\#\{j : x_j = y\}}
    """
    axes = _extreme("max", x, axis, keepdims)
    return namespace(x).max(x, axis=axes, keepdims=keepdims)


@primitive(lambda g, y, x, axis, keepdims: (
    _share_of(reshape(g, _kept_shape(x, axis)), _attained(x, y, axis))))  # fmt: skip
def min(x, axis=None, keepdims=False):
    r"""Smallest entry over some axes, or all; tied entries share the gradient evenly.

    .. math:: y = \min_i x_i, \qquad \bar x_i = \bar y\,\frac{[x_i = y]}{\#\{j : x_j = y\}}
    """
    axes = _extreme("min", x, axis, keepdims)
    return namespace(x).min(x, axis=axes, keepdims=keepdims)


@primitive(lambda g, y, x, axis, keepdims: (
    _logsumexp_rule(reshape(g, _kept_shape(x, axis)), y, x, axis)))  # fmt: skip
def _logsumexp(x, axis=None, keepdims=False):
    r"""Logarithm of a sum of exponentials, without overflow.

    .. math:: y = m + \log\sum_i e^{x_i - m},\; m = \max_i x_i, \qquad
              \bar x_i = \bar y\,e^{x_i - y}
    """
    xp, axes = namespace(x), axes_of(axis, x.ndim, "logsumexp")
    kept = _kept_shape(x, axis)
    if not x.size:
        y = xp.full(kept, -math.inf, dtype=x.dtype)
    else:
        m = xp.max(x, axis=axes, keepdims=True)
        m = xp.where(xp.isfinite(m), m, xp.zeros_like(m))  # infinities need no help
        with np.errstate(divide="ignore", over="ignore"):
            y = m + xp.log(xp.sum(xp.exp(x - m), axis=axes, keepdims=True))
    return y if keepdims else xp.squeeze(y, axis=axes)


def _logsumexp_rule(g, y, x, axis):
    """Where the sum is infinite, its infinite terms share the gradient, if there are any."""
    xp = namespace(x._array)
    ends = xp.reshape(y._array, _kept_shape(x, axis))
    infinite = xp.isinf(ends)
    calm = where(Tensor.wrap(infinite), 0.0, x)
    hit = xp.astype(x._array == math.inf, x.dtype)
    axes = axes_of(axis, x.ndim)
    hits = xp.sum(hit, axis=axes, keepdims=True)
    share = Tensor.wrap(hit / xp.where(hits > 0, hits, xp.ones_like(hits)))
    softmax = exp(log_softmax(calm, axis)) if x.size else x
    return where(Tensor.wrap(infinite), _share_of(g, share), g * softmax)


def logsumexp(
    x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False
) -> Tensor:
    r"""Logarithm of a sum of exponentials, without overflow; of no terms it is -inf.

    .. math:: y = m + \log\sum_i e^{x_i - m}, \qquad m = \max_i x_i
    """
    return _widely(lambda x: _logsumexp(x, axis=axis, keepdims=keepdims), x)


def log_softmax(x: Tensor, axis: int | Sequence[int] | None = -1) -> Tensor:
    r"""Logarithm of the softmax along an axis, with all digits however large the entries are.

    .. math:: y_i = z_i - \log\sum_j e^{z_j}, \qquad z_i = x_i - \max_j x_j
    """

    def compute(x):
        if not x.size:
            return x * 1.0
        z = x - max(x, axis=axis, keepdims=True).detach()
        return z - logsumexp(z, axis=axis, keepdims=True)

    return _widely(compute, x)


# -- shapes and indexing --------------------------------------------------------------------


@primitive(lambda g, y, x, axes: permute(g, _inverse(axes)))
def permute(x, axes):
    r"""Reorder the axes: axis i of the result is axis ``axes[i]`` of the input.

    .. math:: y_{i_{\pi(1)} \dots i_{\pi(n)}} = x_{i_1 \dots i_n}, \qquad
              \bar x = \pi^{-1}(\bar y)
    """
    if sorted(axes_of(axes, x.ndim, "permute")) != list(range(x.ndim)):
        raise ShapeError(f"permute: {tuple(axes)} is not an order of {x.ndim} axes")
    return namespace(x).permute_dims(x, tuple(axes))


def _inverse(axes):
    n = len(axes)
    return tuple([a % n for a in axes].index(i) for i in range(n))


@primitive(lambda g, y, x: transpose(g))
def transpose(x):
    r"""Reverse the order of the axes.

    .. math:: y_{ij} = x_{ji}, \qquad \bar x = \bar y^T
    """
    return namespace(x).permute_dims(x, tuple(range(x.ndim))[::-1])


def _piece(g, inputs, axis, position):
    axis = axis % g.ndim
    sizes = [t.shape[axis] for t in inputs[: position + 1]]
    end = builtins.sum(sizes)
    return g[(slice(None),) * axis + (slice(end - sizes[-1], end),)]


@primitive(lambda g, y, *inputs, axis, position: _piece(g, inputs, axis, position), variadic=True)
def _concat(*arrays, axis=0):
    r"""Join tensors along an axis they have.

    .. math:: y = [x_1, x_2, \dots], \qquad \bar x_k = \text{the part of } \bar y \text{ it fills}
    """
    axes_of(axis, arrays[0].ndim, "concat")
    try:
        return namespace(arrays[0]).concat(arrays, axis=axis)
    except ValueError:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ShapeError(f"concat: shapes {shapes} differ elsewhere than in axis {axis}") from None


def concat(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    r"""Join tensors along an axis they have.

    .. math:: y = [x_1, x_2, \dots]
    """
    tensors = _several("concat", tensors)
    return _concat(*tensors, axis=axis)


def _several(name, tensors):
    """List what is to be joined: tensors, arrays or numbers, at least one."""
    if not isinstance(tensors, Tensor) and not is_array(tensors):
        tensors = list(tensors)
    if not len(tensors):
        raise ShapeError(f"{name}: expected at least one tensor, got none")
    return list(as_tensors(name, list(tensors)))


def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    r"""Join tensors of one shape along a new axis.

    .. math:: y_{k\,i} = x^{(k)}_i
    """
    tensors = _several("stack", tensors)
    shapes = {t.shape for t in tensors}
    if len(shapes) != 1:
        raise ShapeError(f"stack: expected tensors of one shape, got {sorted(shapes)}")
    (at,) = axes_of(axis, len(next(iter(shapes))) + 1, "stack")
    return concat([reshape(t, (*t.shape[:at], 1, *t.shape[at:])) for t in tensors], axis=at)


def _widths(widths, ndim):
    """Read widths as NumPy does: one number or one pair is for all axes."""
    if isinstance(widths, int):
        widths = (widths, widths)
    if len(widths) == 2 and all(isinstance(n, int) for n in widths):
        widths = (tuple(widths),)
    return tuple(widths) * ndim if len(widths) == 1 else tuple(widths)


@primitive(lambda g, y, x, widths: g[tuple(slice(lo, lo + n) for (lo, _), n in
                                           zip(_widths(widths, x.ndim), x.shape, strict=True))])  # fmt: skip
def pad(x, widths):
    r"""Surround with zeros.

    .. math:: y_{i + l} = x_i, \qquad \bar x_i = \bar y_{i+l}

    Args:
        x: any shape.
        widths: for each axis, zeros (before, after); one pair, or one number, for all.
    """
    widths = _widths(widths, x.ndim)
    if len(widths) != x.ndim or any(lo < 0 or hi < 0 for lo, hi in widths):
        raise ShapeError(
            f"pad: expected {x.ndim} pairs of widths, none negative, got {tuple(widths)}"
        )
    return kernels.array_api.pad(x, widths)


@primitive(lambda g, y, x, index: scatter(g, index=index, shape=x.shape))
def getitem(x, index):
    r"""Select entries: integers, slices, ``...``, ``None`` or integer arrays.

    .. math:: y_i = x_{s(i)}, \qquad \bar x_j = \sum_{i : s(i) = j} \bar y_i

    An entry that is selected several times receives the sum of its gradients.
    """
    try:
        return _select(x, index)
    except (IndexError, ValueError) as error:
        raise ShapeError(f"getitem: shape {x.shape} has no entries {index!r}: {error}") from None


def _basic(part):
    return part is None or part is ... or isinstance(part, int | slice)


def _select(x, index):
    """x[index], written as the array standard has it."""
    parts = index if isinstance(index, tuple) else (index,)
    at = [i for i, part in enumerate(parts) if not _basic(part)]
    if not at:
        return x[parts if any(part is ... for part in parts) else (*parts, ...)]
    alone = len(at) == 1 and all(p == slice(None) for i, p in enumerate(parts) if i != at[0])
    if alone and not is_numpy(x):  # the standard has no integer array beside a slice
        xp = namespace(x)
        places = xp.asarray(parts[at[0]])
        if xp.isdtype(places.dtype, "integral"):
            axis = at[0]
            y = xp.take(x, xp.reshape(places, (-1,)), axis=axis)
            return xp.reshape(y, (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))
    return x[index]


@primitive(lambda h, y, g, index, shape: h[index])
def scatter(g, index, shape):
    r"""Add entries into zeros at the places that an index selects: the adjoint of selection.

    .. math:: y_j = \sum_{i : s(i) = j} g_i, \qquad \bar g_i = \bar y_{s(i)}

    Args:
        g: of the shape that the index selects.
        index: as in indexing.
        shape: of the result.
    """
    xp = namespace(g)
    y = xp.zeros(shape, dtype=g.dtype)
    parts = index if isinstance(index, tuple) else (index,)
    if all(_basic(part) for part in parts):
        kept = tuple(part for part in parts if part is not None)  # new axes are for reading only
        kept = kept if any(part is ... for part in kept) else (*kept, ...)
        y[kept] = xp.reshape(g, y[kept].shape)
        return y
    places = _select(xp.reshape(xp.arange(y.size), shape), index)
    return xp.reshape(kernels.of(g).scatter_add(xp.reshape(g, (-1,)), xp.reshape(places, (-1,)),
                                                y.size), shape)  # fmt: skip


# -- products ---------------------------------------------------------------------------------


def _swap(x):
    return permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _matrices(g, a, b):
    """Give vectors their missing axis, in the factors and in the gradient of the product."""
    left = a if a.ndim > 1 else reshape(a, (1, -1))
    right = b if b.ndim > 1 else reshape(b, (-1, 1))
    batch = g.shape[: g.ndim - (a.ndim > 1) - (b.ndim > 1)]
    return reshape(g, (*batch, left.shape[-2], right.shape[-1])), left, right


def _matmul_rule_a(g, y, a, b):
    g, _, right = _matrices(g, a, b)
    pulled = matmul(g, _swap(right))
    return pulled if a.ndim > 1 else reshape(pulled, (*pulled.shape[:-2], pulled.shape[-1]))


def _matmul_rule_b(g, y, a, b):
    g, left, _ = _matrices(g, a, b)
    pulled = matmul(_swap(left), g)
    return pulled if b.ndim > 1 else reshape(pulled, pulled.shape[:-1])


@primitive(_matmul_rule_a, _matmul_rule_b)
def matmul(a, b):
    r"""Multiply matrices, batches of them with broadcasting, or vectors.

    .. math:: Y = AB, \qquad \bar A = \bar Y B^T, \quad \bar B = A^T \bar Y

    Args:
        a: [..., n, k] or [k].
        b: [..., k, m] or [k].
    Returns:
        [..., n, m], without the axis of a vector.
    Raises:
        ShapeError: the inner sizes differ, or a factor has no axis.
    """
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"matmul: expected vectors or matrices, got shapes {a.shape}, {b.shape}")
    rows = b.shape[-2 if b.ndim > 1 else 0]
    if a.shape[-1] != rows:
        raise ShapeError(
            f"matmul: inner sizes differ: {a.shape} has {a.shape[-1]} columns, "
            f"{b.shape} has {rows} rows"
        )
    if rows == 1 and a.ndim > 1 and b.ndim > 1:
        return a * b  # one product each: for u v^T BLAS takes far longer
    return namespace(a).matmul(a, b)


@primitive(lambda g, y, W, u, v, axis: rank_one(g, u=u, v=v, shape=W.shape, axis=axis))
def bilinear(W, u, v, axis=0):
    r"""Multiply a weight, read as a matrix, by constant vectors from both sides.

    .. math:: y = u^TWv, \qquad \bar W = \bar y\,uv^T

    Args:
        W: any shape, of which an axis counts the rows of the matrix.
        u: [W.shape[axis]]. v: [the rest].
        axis: of the rows.
    """
    # Wherever the rows stand, these products meet W in its own memory order.
    uW = namespace(W).matmul(u, _stacked(W, axis))
    return namespace(W).matmul(namespace(W).reshape(uW, (-1,)), v)


def _stacked(W, axis):
    """Lay out a weight as matrices [before the axis, along it, after it]."""
    first = axis % W.ndim
    return namespace(W).reshape(W, (math.prod(W.shape[:first]), W.shape[first], -1))


@primitive(lambda g, y, s, u, v, shape, axis: bilinear(g, u=u, v=v, axis=axis))
def rank_one(s, u, v, shape, axis=0):
    r"""Make the weight that, read as a matrix, is a multiple of an outer product.

    .. math:: W = s\,uv^T, \qquad \bar s = u^T\bar Wv

    Args:
        s: one number.
        u, v, axis: as in :func:`bilinear`.
        shape: of the weight.
    """
    xp, first = namespace(s), axis % len(shape)
    rows = xp.reshape(s * u, (1, -1, 1))
    return xp.reshape(rows * xp.reshape(v, (math.prod(shape[:first]), 1, -1)), shape)


@primitive(lambda g, y, W, u, v, axis, scale, sigma: (
    _spectral_rule(g, y, W, u, v, axis, scale, sigma)))  # fmt: skip
def spectral_divide(W, u, v, axis=0, scale=1.0, sigma=None):
    r"""Divide a weight by its bilinear form with constant vectors; by 0 gives 0, and gradient 0.

    .. math:: Y = \frac{cW}{\sigma}, \quad \sigma = u^TWv, \qquad
              \bar W = \frac1\sigma\big(c\,\bar Y - \langle\bar Y, Y\rangle\,uv^T\big)

    The rules of :func:`bilinear`, of the inverse and of the product give the same; this one goes
    over memory half as often.

    Args:
        W, u, v, axis: as in :func:`bilinear`.
        scale: :math:`c`, a number.
        sigma: :math:`u^TWv`, if it is known already.

    Source: [M18 Eq. (8)], [M18 Eq. (37)]
    """
    sigma = bilinear.forward(W, u, v, axis) if sigma is None else sigma
    return W * (scale * inverse.forward(sigma))


def _spectral_rule(g, y, W, u, v, axis, scale, sigma):
    if sigma is None or is_recording():
        norm = bilinear(W, u=u, v=v, axis=axis)
    else:
        norm = Tensor.wrap(sigma)
    return spectral_pull(g, y, inverse(norm), u=u, v=v, axis=axis, scale=scale)


@primitive(
    lambda h, o, g, y, r, u, v, axis, scale: (
        (scale * h - bilinear(h, u=u, v=v, axis=axis) * y) * r),
    lambda h, o, g, y, r, u, v, axis, scale: -bilinear(h, u=u, v=v, axis=axis) * r * g,
    lambda h, o, g, y, r, u, v, axis, scale: (
        scale * inner(h, g) - bilinear(h, u=u, v=v, axis=axis) * inner(g, y)),
)  # fmt: skip
def spectral_pull(g, y, r, u, v, axis=0, scale=1.0):
    r"""Pull a gradient back through :func:`spectral_divide`.

    .. math:: o = r\,\big(c\,g - \langle g, y\rangle\,uv^T\big), \qquad
              \bar g = r\,\big(c\,\bar o - (u^T\bar ov)\,y\big), \quad
              \bar y = -r\,(u^T\bar ov)\,g, \quad
              \bar r = \langle\bar o, o/r\rangle

    Args:
        g: gradient of the normalized weight.
        y: the normalized weight.
        r: :math:`1 / \sigma`, one number.
        u, v, axis, scale: as in :func:`spectral_divide`.

    Source: [M18 Eq. (37)]
    """
    if y.shape != g.shape or r.ndim:
        raise ShapeError(f"spectral_pull: for g of shape {g.shape}, y must have that shape and r "
                         f"none; got {y.shape} and {r.shape}")  # fmt: skip
    stacked = _stacked(g, axis)
    v = namespace(g).reshape(v, (stacked.shape[0], -1))
    o = kernels.of(g).spectral_pull(stacked, _stacked(y, axis), r, u, v, scale)
    return namespace(g).reshape(o, g.shape)


# -- normalization and images ---------------------------------------------------------------------


@primitive(
    lambda g, y, x, gain, shift: affine(g, gain, 0.0),
    lambda g, y, x, gain, shift: sum_products(g, x, axis=_repeated(gain, x)),
    lambda g, y, x, gain, shift: g,
)  # fmt: skip
def affine(x, gain, shift):
    r"""Multiply by a gain and add a shift, each broadcast to the shape of x.

    .. math:: y = \gamma x + \beta, \qquad \bar x = \gamma\bar y, \quad
              \bar\gamma = \sum \bar y\,x, \quad \bar\beta = \sum \bar y

    with sums over the axes along which gain and shift are repeated.
    """
    return kernels.of(x).affine(x, gain, shift)


def _repeated(gain, x):
    """Return the axes of x along which a gain is repeated, those that it lacks included."""
    lacking = x.ndim - gain.ndim
    return tuple(a for a in range(x.ndim) if a < lacking or gain.shape[a - lacking] == 1)


@primitive(lambda g, s, x, y, axis: g * y, lambda g, s, x, y, axis: g * x)
def sum_products(x, y, axis):
    r"""Sum the products of two tensors of one shape over some axes, which are kept with size 1.

    .. math:: s = \sum_i x_iy_i, \qquad \bar x_i = \bar s\,y_i, \quad \bar y_i = \bar s\,x_i
    """
    if x.shape != y.shape:
        raise ShapeError(f"sum_products: shapes differ: {x.shape} and {y.shape}")
    return kernels.of(x).sum_products(x, y, axes_of(axis, x.ndim, "sum_products"))


@primitive(lambda g, y, x, axis, eps, moments: _standardize_rule(g, y, x, axis, eps, moments))
def standardize(x, axis, eps, moments=None):
    r"""Shift and scale to mean 0 and variance 1 over some axes.

    .. math:: y = \frac{x - \mu}{\sqrt{v + \epsilon}}, \qquad
              \bar x = \frac{\bar y - \langle\bar y\rangle - y\,\langle\bar y\,y\rangle}
                            {\sqrt{v + \epsilon}}

    with the mean :math:`\mu`, the variance :math:`v` (divided by n) and
    :math:`\langle\cdot\rangle` the mean over the axes.

    Args:
        x: any shape.
        axis: the axes that are averaged over.
        eps: added to the variance.
        moments: (mean, variance) of x, with size 1 along the axes, if they are known already.
    """
    axes = axes_of(axis, x.ndim, "standardize")
    mean, variance = moments or kernels.of(x).moments(x, axes)
    return kernels.of(x).standardize(x, mean, namespace(x).sqrt(variance + eps))


def _standardize_rule(g, y, x, axis, eps, moments):
    if moments is None or is_recording():
        spread = sqrt(var(x, axis, keepdims=True) + eps)
    else:
        spread = sqrt(Tensor.wrap(moments[1]) + eps)
    return standardize_pull(g, y, spread, axis=axis)


@primitive(
    lambda h, out, g, y, spread, axis: standardize_pull(h, y, spread, axis=axis),
    lambda h, out, g, y, spread, axis: (
        -(h * mean(g * y, axis, keepdims=True) + g * mean(h * y, axis, keepdims=True)) / spread),
    lambda h, out, g, y, spread, axis: -h * out / spread,
)  # fmt: skip
def standardize_pull(g, y, spread, axis):
    r"""Pull a gradient back through standardization: its own adjoint in g.

    .. math:: o = \frac{g - \langle g\rangle - y\,\langle g y\rangle}{s}, \qquad
              \bar y = -\frac{\bar o\,\langle g y\rangle + g\,\langle\bar o y\rangle}{s}, \quad
              \bar s = -\bar o\,o / s

    Args:
        g: gradient of the standardized tensor.
        y: the standardized tensor.
        spread: the root of the variance, with size 1 along the axes.
        axis: the axes that were averaged over.
    """
    axes = axes_of(axis, g.ndim, "standardize_pull")
    kept = tuple(1 if a in axes else n for a, n in enumerate(g.shape))
    if y.shape != g.shape or spread.shape != kept:
        raise ShapeError(
            f"standardize_pull: for g of shape {g.shape}, y must have that shape and spread "
            f"{kept}; got {y.shape} and {spread.shape}"
        )
    return kernels.of(g).standardize_pull(g, y, spread, axes)


def avg_pool2d(x: Tensor, size: Any = 2, stride: Any = None, padding: Any = 0) -> Tensor:
    r"""Average non-overlapping squares; or, with a stride or padding, windows of zeros and pixels.

    .. math:: y_{ij} = \frac1{k^2} \sum_{p,q < k} x_{ki+p,\,kj+q}

    Args:
        x: images, [N, C, H, W], H and W multiples of the size where no stride is given.
        size: :math:`k`, pixels.
        stride, padding: as for :func:`minisn.pooling.max_pool2d`.
    """
    if stride is not None or padding or not isinstance(size, int):
        return OPERATIONS["mean_windows"](x, size, stride, padding)
    n, c, h, w = _image_shape("avg_pool2d", x, size)
    if h % size or w % size:
        raise ShapeError(f"avg_pool2d: {h}x{w} pixels are not squares of {size}; pad or crop first")
    squares = reshape(x, (n, c, h // size, size, w // size, size))
    y = mean(squares, axis=(3, 5))
    squares.forget()
    return y


def upsample_nearest2d(x: Tensor, factor: int = 2) -> Tensor:
    r"""Repeat every pixel.

    .. math:: y_{ij} = x_{\lfloor i/k\rfloor\,\lfloor j/k\rfloor}

    Args:
        x: images, [N, C, H, W].
        factor: :math:`k`.
    """
    n, c, h, w = _image_shape("upsample_nearest2d", x, factor)
    pixels = reshape(x, (n, c, h, 1, w, 1))
    repeated = broadcast_to(pixels, (n, c, h, factor, w, factor))
    return reshape(repeated, (n, c, h * factor, w * factor))


def global_sum_pool2d(x: Tensor) -> Tensor:
    r"""Sum every channel over the whole image: [N, C, H, W] to [N, C].

    .. math:: y_{nc} = \sum_{ij} x_{ncij}

    Source: [M18 Table 4]
    """
    _image_shape("global_sum_pool2d", x)
    return sum(x, axis=(2, 3))


def _image_shape(name, x, size=1):
    if x.ndim != 4:
        raise ShapeError(f"{name}: expected images [N, C, H, W], got shape {x.shape}")
    if not isinstance(size, int) or size < 1:
        raise ShapeError(f"{name}: expected a whole number of pixels, at least 1, got {size!r}")
    return x.shape


def check_floating(name: str, x: Tensor) -> None:
    """Refuse a tensor that does not hold floating-point numbers."""
    if not is_floating(x._array):
        raise DTypeError(f"{name}: expected floating-point numbers, got dtype {x.dtype}; "
                         "convert to float32 or float64 first")  # fmt: skip


OPERATIONS.update({name: globals()[name] for name in __all__})


def __getattr__(name: str) -> Any:
    """Find the operations of the files beside this one, which build on it."""
    try:
        return OPERATIONS[name]
    except KeyError:
        raise AttributeError(f"minisn.ops has no operation {name!r}") from None


def __dir__() -> list[str]:
    """Name all operations."""
    return sorted({*globals(), *OPERATIONS})
