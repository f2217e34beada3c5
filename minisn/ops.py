"""Differentiable operations: each primitive's forward beside its rules.

A rule receives the gradient of the result and, by name, the values that it reads (see
:mod:`minisn.tensor`); it returns the gradient of one input. Rules use the operations of
this file, so every gradient can be differentiated again. The engine undoes broadcasting;
rules do not. :mod:`minisn.fused` holds the operations that are fused for speed.
"""

# mypy: disable-error-code="has-type"
# (a rule may name the primitive that it belongs to)
import builtins
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import kernels
from .answers import OPERATIONS
from .arguments import axes_of, axis_of, kept_shape, pad_widths, real_number
from .backend import namespace, near, to_numpy
from .errors import DTypeError, ShapeError, similar
from .indexing import add_at, select
from .precision import check_real, real, tame, widely
from .tensor import (
    Tensor,
    add,
    as_tensor,
    as_tensors,
    astype,
    broadcast_to,
    is_floating,
    primitive,
    reshape,
    sum,
)

__all__ = [
    "abs", "add", "astype", "broadcast_to", "clip", "concat", "divide", "exp",
    "getitem", "inverse", "leaky_relu", "log", "log_softmax", "logsumexp",
    "matmul", "max", "maximum", "mean", "min", "minimum", "multiply", "negative", "norm", "pad",
    "permute", "power", "relu", "reshape", "sigmoid", "softplus", "sqrt", "stack", "subtract",
    "sum", "tanh", "transpose", "var", "where",
]  # fmt: skip


# -- arithmetic -------------------------------------------------------------------


@primitive(lambda g: g, lambda g: -g)
def subtract(a, b):
    r"""Subtract, with broadcasting.

    .. math:: y = a - b, \qquad \bar a = \bar y, \quad \bar b = -\bar y
    """
    return a - b


@primitive(lambda g, b: g * b, lambda g, a: g * a)
def multiply(a, b):
    r"""Multiply entry by entry, with broadcasting.

    .. math:: y = ab, \qquad \bar a = \bar y\,b, \quad \bar b = \bar y\,a
    """
    return a * b


@primitive(lambda g, b: g / b, lambda g, y, b: -g * y / b)
def divide(a, b):
    r"""Divide entry by entry, with broadcasting.

    .. math:: y = a / b, \qquad \bar a = \bar y / b, \quad \bar b = -\bar y\,y / b
    """
    return a / b


@primitive(lambda g, y: -g * y * y)
def inverse(x):
    r"""Divide 1 by every entry; an entry of 0, or nearly 0, gives 0 with gradient 0.

    .. math:: y = 1/x, \quad y = 0 \text{ where } |x| \text{ is at most the smallest normal number};
              \qquad \bar x = -\bar y\,y^2
    """
    xp = namespace(x)
    vanishes = xp.abs(x) <= xp.finfo(x.dtype).smallest_normal
    return 1 / xp.where(vanishes, xp.full_like(x, xp.inf), x)


@primitive(lambda g: -g)
def negative(x):
    r"""Change the sign.

    .. math:: y = -x, \qquad \bar x = -\bar y
    """
    return -x


@primitive(lambda g, x, exponent: _power_rule(g, x, exponent))
def _power(x, exponent):
    r"""Raise to a constant power; the gradient of a root at 0 is 0, as in :func:`sqrt`.

    .. math:: y = x^p, \qquad \bar x = \bar y\,p\,x^{p-1}
    """
    if exponent < 0 and not is_floating(x) and namespace(x).isdtype(x.dtype, "integral"):
        raise DTypeError(f"power: integers have no power {exponent}; convert them to float64 first")
    return x * x if exponent == 2 else x**exponent


def _power_rule(g, x, exponent):
    if exponent == 0:
        return None
    if 0 < exponent < 1:
        origin = Tensor.wrap(x.array == 0)
        slope = exponent * where(origin, 1.0, x) ** (exponent - 1)
        return where(origin, 0.0, g * slope)
    return g * (exponent * x ** (exponent - 1))


def power(x: Tensor, exponent: Tensor | float) -> Tensor:
    r"""Raise to a power: a number, or a tensor of exponents.

    .. math:: y = x^p
    """
    floating = is_floating(as_tensor(x).array)
    if isinstance(exponent, float) and not floating:  # as in NumPy, a fraction of an integer
        exponent = np.float64(exponent)
    number = isinstance(exponent, int | float) and (floating or isinstance(exponent, int))
    number |= isinstance(exponent, np.number) and floating
    return _power(x, exponent=exponent) if number else OPERATIONS["raise_to"](x, exponent)


@primitive(lambda g, y: g * y)
def exp(x):
    r"""Compute the exponential.

    .. math:: y = e^x, \qquad \bar x = \bar y\,y
    """
    return namespace(x).exp(x)


@primitive(lambda g, x: g / x)
def log(x):
    r"""Compute the natural logarithm.

    .. math:: y = \log x, \qquad \bar x = \bar y / x
    """
    return namespace(x).log(x)


@primitive(lambda g, y: _over_twice_root(g, y))
def sqrt(x):
    r"""Compute the square root; at 0, where no derivative exists, the gradient is 0.

    .. math:: y = \sqrt x, \qquad \bar x = \bar y / (2y)

    The gradient of a norm at the zero vector is therefore 0, one of its subgradients,
    instead of NaN. A gradient penalty survives a critic that is flat somewhere.
    """
    return namespace(x).sqrt(x)


def _over_twice_root(g, y):
    origin = Tensor.wrap(y._array == 0)  # a NaN stays a NaN
    return where(origin, 0.0, g / (2.0 * where(origin, 1.0, y)))


@primitive(lambda g, x: _share_of(g, Tensor.wrap(namespace(x._array).sign(x._array))))
def abs(x):
    r"""Compute the absolute value; its gradient at 0 is 0.

    .. math:: y = |x|, \qquad \bar x = \bar y\,\mathrm{sign}(x)
    """
    return namespace(x).abs(x)


# -- choices ------------------------------------------------------------------------


def _share(a, b):
    """Return the share of the gradient of max(a, b) that a receives: 1, 0, or half at a tie."""
    xp = namespace(a._array)
    loses, ties = a._array < b._array, a._array == b._array
    return Tensor.wrap(1 - xp.astype(loses, a.dtype) - 0.5 * xp.astype(ties, a.dtype))


def _share_of(g, share):
    """Multiply a gradient by constant shares; a share of 0 gives 0, even of an infinity."""
    return where(Tensor.wrap(share._array != 0), g * share, 0.0)


@primitive(lambda g, a, b: _share_of(g, _share(a, b)), lambda g, a, b: _share_of(g, _share(b, a)))
def maximum(a, b):
    r"""Take the larger of two tensors, with broadcasting; at a tie each gets half of the gradient.

    .. math:: y = \max(a, b), \qquad \bar a = \bar y\,[a > b] + \tfrac12\bar y\,[a = b]
    """
    return namespace(a).maximum(a, b)


@primitive(lambda g, a, b: _share_of(g, _share(b, a)), lambda g, a, b: _share_of(g, _share(a, b)))
def minimum(a, b):
    r"""Take the smaller of two tensors, with broadcasting; at a tie each gets half of the gradient.

    .. math:: y = \min(a, b), \qquad \bar a = \bar y\,[a < b] + \tfrac12\bar y\,[a = b]
    """
    return namespace(a).minimum(a, b)


@primitive(
    None,
    lambda g, condition: where(condition, g, 0.0),
    lambda g, condition: where(condition, 0.0, g),
)
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
    if low is not None and high is not None:
        _, least, most = as_tensors("clip", (x, low, high))
        if np.any(to_numpy((least > most).array)):
            raise ShapeError(f"clip: the lower limit {low} is above the upper limit {high}")
    x = x if low is None else maximum(x, low)
    return x if high is None else minimum(x, high)


# -- activations ----------------------------------------------------------------------


@primitive(lambda g, y: g * (1.0 - y * y))
def tanh(x):
    r"""Compute the hyperbolic tangent.

    .. math:: y = \tanh x, \qquad \bar x = \bar y\,(1 - y^2)
    """
    return namespace(x).tanh(x)


@primitive(lambda g, y: g * y * (1.0 - y))
def sigmoid(x):
    r"""Apply the logistic function, accurate in both tails.

    .. math:: y = \frac1{1 + e^{-x}}, \qquad \bar x = \bar y\,y\,(1 - y)
    """
    x, xp = real(x), namespace(x)
    small = xp.exp(-xp.abs(x))
    return xp.where(x < 0, small, xp.ones_like(small)) / (1 + small)


@primitive(lambda g, x: g * sigmoid(x))
def softplus(x):
    r"""Apply a smooth ReLU, without overflow for large x or cancellation for small x.

    .. math:: y = \log(1 + e^x) = \max(x, 0) + \log(1 + e^{-|x|}), \qquad
              \bar x = \bar y\,\mathrm{sigmoid}(x)
    """
    x, xp = real(x), namespace(x)
    return xp.log1p(xp.exp(-xp.abs(x))) + xp.maximum(x, near(x).zeros((), dtype=x.dtype))


@primitive(lambda g, y, slope: leaky_relu_pull(g, y, slope=slope))
def _leaky_relu(x, slope):
    r"""Apply leaky ReLU with a slope of at least 0: y is positive where x is.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad \bar x = \bar y\,([y > 0] + a\,[y \le 0])
    """
    return kernels.of(x).leaky_relu(x, slope)


def leaky_relu(x: Tensor, slope: float = 0.1) -> Tensor:
    r"""Apply leaky ReLU; the derivative at 0 is the slope.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad \bar x = \bar y\,([x > 0] + a\,[x \le 0])

    Args:
        x: any shape.
        slope: :math:`a`, 0.1 in the paper's discriminators.

    Source: [M18 Table 3]
    """
    if isinstance(slope, Tensor):
        x = as_tensor(x)
        return where(Tensor.wrap(x._array > 0), x, slope * x)
    real_number("leaky_relu: slope", slope)
    if slope >= 0 or not isinstance(x, Tensor):
        return _leaky_relu(x, slope=slope)
    return where(Tensor.wrap(x._array > 0), x, slope * x)


@primitive(lambda h, x, slope: leaky_relu_pull(h, x, slope=slope), None)
def leaky_relu_pull(g, x, slope):
    r"""Pull a gradient back through leaky ReLU: linear in g, piecewise constant in x.

    .. math:: y = g\,([x > 0] + a\,[x \le 0]), \qquad \bar g = \bar y\,([x > 0] + a\,[x \le 0])
    """
    return kernels.of(x).leaky_relu_pull(g, x, slope)


def relu(x: Tensor) -> Tensor:
    r"""Apply the rectified linear unit; the derivative at 0 is 0.

    .. math:: y = \max(x, 0)
    """
    return leaky_relu(x, slope=0.0)


# -- reductions -------------------------------------------------------------------------


def mean(x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    r"""Average over some axes, or all.

    .. math:: y = \frac1n \sum_i x_i
    """

    def compute(x):
        total = sum(x, axis=axes_of(axis, x.ndim, "mean"), keepdims=keepdims)
        return total * (total.size / x.size if x.size else math.nan)

    return widely(compute, x)


def norm(x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    r"""Compute the length of vectors along some axes, or of all entries; at 0 the gradient is 0.

    .. math:: y = \sqrt{\textstyle\sum_i x_i^2}

    The dtype must have room for y, but not for the squares.
    """

    def compute(x):
        axes = axes_of(axis, x.ndim, "norm")
        unit = Tensor.wrap(tame(x._array, axes))
        z = x / unit
        return sum(sqrt(sum(z * z, axis=axes, keepdims=True)) * unit, axis=axes, keepdims=keepdims)

    check_real("norm", x)
    return widely(compute, x)


@primitive(lambda g, x, axis: _var_rule(g, x, axis))
def _var(x, axis=None, keepdims=False):
    r"""Compute the variance over some axes, or all: the mean square deviation.

    .. math:: y = \frac1n \sum_i (x_i - \mu)^2, \qquad \bar x_i = \bar y\,\tfrac2n (x_i - \mu)
    """
    axes = axes_of(axis, x.ndim, "var")
    kept = kept_shape(x.shape, axis)
    if x.size:
        _, y = kernels.of(x).moments(x, axes)
    else:
        y = near(x).full(kept, math.nan, dtype=x.dtype)
    return y if keepdims else namespace(x).squeeze(y, axis=axes)


def _var_rule(g, x, axis):
    centered = x - mean(x, axis, keepdims=True)
    twice = 2.0 * g.size / x.size if x.size else 0.0
    return reshape(g, kept_shape(x.shape, axis)) * centered * twice


def var(
    x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, ddof: int = 0
) -> Tensor:
    r"""Compute the variance over some axes, or all: square deviations, divided by n - ddof.

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

    check_real("var", x)
    real_number("var: ddof", ddof)
    return widely(compute, x)


def _extreme_rule(g, x, y, axis):
    """Share the gradient evenly among the entries that attain y."""
    xp = namespace(x._array)
    ends = xp.reshape(y._array, kept_shape(x.shape, axis))
    nan = (ends != ends) & (x._array != x._array)
    hit = xp.astype((x._array == ends) | nan, x.dtype)
    share = hit / xp.sum(hit, axis=axes_of(axis, x.ndim), keepdims=True) if x.size else hit
    return _share_of(reshape(g, ends.shape), Tensor.wrap(share))


def _extreme(name, x, axis):
    axes = axes_of(axis, x.ndim, name)
    if x.size == 0 and math.prod(kept_shape(x.shape, axis)):
        raise ShapeError(f"{name}: a tensor of shape {x.shape} has no entry along axis {axis}")
    return axes


@primitive(_extreme_rule)
def max(x, axis=None, keepdims=False):
    r"""Take the largest entry over some axes, or all; tied entries share the gradient evenly.

    .. math:: y = \max_i x_i, \qquad \bar x_i = \bar y\,\frac{[x_i = y]}{\#\{j : x_j = y\}}
    """
    axes = _extreme("max", x, axis)
    return namespace(x).max(x, axis=axes, keepdims=keepdims)


@primitive(_extreme_rule)
def min(x, axis=None, keepdims=False):
    r"""Take the smallest entry over some axes, or all; tied entries share the gradient evenly.

    .. math:: y = \min_i x_i, \qquad \bar x_i = \bar y\,\frac{[x_i = y]}{\#\{j : x_j = y\}}
    """
    axes = _extreme("min", x, axis)
    return namespace(x).min(x, axis=axes, keepdims=keepdims)


@primitive(lambda g, x, y, axis: _logsumexp_rule(reshape(g, kept_shape(x.shape, axis)), y, x, axis))
def _logsumexp(x, axis=None, keepdims=False):
    r"""Compute the logarithm of a sum of exponentials, without overflow.

    .. math:: y = m + \log\sum_i e^{x_i - m},\; m = \max_i x_i, \qquad
              \bar x_i = \bar y\,e^{x_i - y}
    """
    xp, axes = namespace(x), axes_of(axis, x.ndim, "logsumexp")
    kept = kept_shape(x.shape, axis)
    if not x.size:
        y = near(x).full(kept, -math.inf, dtype=x.dtype)
    else:
        m = xp.max(x, axis=axes, keepdims=True)
        m = xp.where(xp.isfinite(m), m, xp.zeros_like(m))  # subtract no infinity
        with np.errstate(divide="ignore", over="ignore"):
            y = m + xp.log(xp.sum(xp.exp(x - m), axis=axes, keepdims=True))
    return y if keepdims else xp.squeeze(y, axis=axes)


def _logsumexp_rule(g, y, x, axis):
    """Share the gradient by softmax; infinite terms, if any, share the gradient of their sum."""
    xp = namespace(x._array)
    ends = xp.reshape(y._array, kept_shape(x.shape, axis))
    infinite = xp.isinf(ends)
    calm = where(Tensor.wrap(infinite), 0.0, x)
    hit = xp.astype(x._array == math.inf, x.dtype)
    axes = axes_of(axis, x.ndim)
    hits = xp.sum(hit, axis=axes, keepdims=True)
    share = Tensor.wrap(hit / xp.where(hits > 0, hits, xp.ones_like(hits)))
    softmax = exp(log_softmax(calm, axis)) if x.size else x
    return where(Tensor.wrap(infinite), _share_of(g, share), g * softmax)


def logsumexp(
    x: Tensor,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    b: Tensor | None = None,
) -> Tensor:
    r"""Compute the logarithm of a sum of exponentials, without overflow; for no terms it is -inf.

    .. math:: y = m + \log\sum_i b_i\,e^{x_i - m}, \qquad m = \max_i\,(x_i + \log b_i)

    The weights b, at least 0, are 1 by default; the gradient of b is right where b is 0, too.
    """
    if b is not None:
        return OPERATIONS["weighted_logsumexp"](x, b, axis, keepdims)
    return widely(lambda x: _logsumexp(x, axis=axis, keepdims=keepdims), x)


def log_softmax(x: Tensor, axis: int | Sequence[int] | None = -1) -> Tensor:
    r"""Compute the logarithm of the softmax along an axis, accurate however large the entries are.

    .. math:: y_i = z_i - \log\sum_j e^{z_j}, \qquad z_i = x_i - \max_j x_j
    """

    def compute(x):
        if not x.size:
            return x * 1.0
        z = x - max(x, axis=axes_of(axis, x.ndim, "softmax"), keepdims=True).detach()
        return z - logsumexp(z, axis=axis, keepdims=True)

    return widely(compute, x)


# -- shapes and indexing --------------------------------------------------------------------


@primitive(lambda g, axes: permute(g, _inverse(axes)))
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


@primitive(lambda g: transpose(g))
def transpose(x):
    r"""Reverse the order of the axes.

    .. math:: y_{ij} = x_{ji}, \qquad \bar x = \bar y^T
    """
    return namespace(x).permute_dims(x, tuple(range(x.ndim))[::-1])


def _piece(g, shapes, axis, position):
    axis = axis % g.ndim
    sizes = [shape[axis] for shape in shapes[: position + 1]]
    end = builtins.sum(sizes)
    return g[(slice(None),) * axis + (slice(end - sizes[-1], end),)]


@primitive(lambda g, shapes, axis, position: _piece(g, shapes, axis, position), variadic=True)
def _concat(*arrays, axis=0):
    r"""Join tensors along an existing axis.

    .. math:: y = [x_1, x_2, \dots], \qquad \bar x_k = \text{the part of } \bar y \text{ it fills}
    """
    axis_of(axis, arrays[0].ndim, "concat")
    try:
        return namespace(arrays[0]).concat(arrays, axis=axis)
    except ValueError:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ShapeError(f"concat: shapes {shapes} differ outside axis {axis}") from None


def concat(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    r"""Join tensors along an existing axis.

    .. math:: y = [x_1, x_2, \dots]
    """
    tensors = several("concat", tensors)
    return _concat(*tensors, axis=axis)


def several(name, tensors):
    """Return the tensors, arrays or numbers to join as tensors, at least one."""
    if not isinstance(tensors, Iterable) or np.isscalar(tensors):
        raise DTypeError(f"{name}: expected a list of tensors, got {tensors!r:.60}")
    if not (found := as_tensors(name, list(tensors))):
        raise ShapeError(f"{name}: expected at least one tensor, got none")
    return found


def one_axis(name, x, axis):
    """Return a tensor and an axis of it; without an axis, all entries in their order and 0."""
    x = as_tensor(x)
    if axis is None:
        return reshape(x, (math.prod(x.shape),)), 0
    return x, axis_of(axis, x.ndim, name)


def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    r"""Join tensors of one shape along a new axis.

    .. math:: y_{k\,i} = x^{(k)}_i
    """
    tensors = several("stack", tensors)
    shapes = {t.shape for t in tensors}
    if len(shapes) != 1:
        raise ShapeError(f"stack: expected tensors of one shape, got {sorted(shapes)}")
    at = axis_of(axis, len(next(iter(shapes))) + 1, "stack")
    return concat([reshape(t, (*t.shape[:at], 1, *t.shape[at:])) for t in tensors], axis=at)


def _inside(shape, widths):
    """Return the index of a tensor within its padding."""
    pairs = zip(pad_widths(widths, len(shape)), shape, strict=True)
    return tuple(slice(low, low + n) for (low, _), n in pairs)


@primitive(lambda g, x_shape, widths: g[_inside(x_shape, widths)])
def pad(x, widths):
    r"""Surround a tensor with zeros.

    .. math:: y_{i + l} = x_i, \qquad \bar x_i = \bar y_{i+l}

    Args:
        x: any shape.
        widths: for each axis, zeros (before, after); one pair, or one number, for all.
    """
    return kernels.array_api.pad(x, pad_widths(widths, x.ndim))


@primitive(lambda g, x_shape, index: scatter(g, index=index, shape=x_shape))
def getitem(x, index, checked=False):
    r"""Select entries: integers, slices, ``...``, ``None`` or integer arrays.

    .. math:: y_i = x_{s(i)}, \qquad \bar x_j = \sum_{i : s(i) = j} \bar y_i

    An entry that is selected several times receives the sum of its gradients. An index in a list
    or a NumPy array goes to the device of x. If the index is an array on a device, the host waits
    to check its range, unless ``checked``.

    Args:
        x: any shape.
        index: as for NumPy.
        checked: whether the integers of the index are known to be in range.
    """
    try:
        return select(x, index, checked)
    except (IndexError, ValueError) as error:
        raise ShapeError(f"getitem: shape {x.shape} has no entries {index!r}: {error}") from None


@primitive(lambda h, index: getitem(h, index=index, checked=True))
def scatter(g, index, shape):
    r"""Add entries into zeros at the places that an index selects: the adjoint of selection.

    .. math:: y_j = \sum_{i : s(i) = j} g_i, \qquad \bar g_i = \bar y_{s(i)}

    Args:
        g: the entries, of the shape that the index selects.
        index: as for :func:`getitem`.
        shape: the shape of the result.
    """
    return add_at(g, index, shape)


# -- products ---------------------------------------------------------------------------------


def _swap(x):
    return permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _as_matrix(g, a_ndim, b_ndim):
    """Give the gradient of a product the axes of length 1 that vectors lack."""
    rows, columns = a_ndim > 1, b_ndim > 1
    batch = g.shape[: g.ndim - rows - columns]
    n, m = g.shape[g.ndim - rows - columns] if rows else 1, g.shape[-1] if columns else 1
    return reshape(g, (*batch, n, m))


def _matmul_rule_a(g, a_shape, b):
    right = b if b.ndim > 1 else reshape(b, (-1, 1))
    pulled = matmul(_as_matrix(g, len(a_shape), b.ndim), _swap(right))
    return pulled if len(a_shape) > 1 else reshape(pulled, (*pulled.shape[:-2], pulled.shape[-1]))


def _matmul_rule_b(g, a, b_shape):
    left = a if a.ndim > 1 else reshape(a, (1, -1))
    pulled = matmul(_swap(left), _as_matrix(g, a.ndim, len(b_shape)))
    return pulled if len(b_shape) > 1 else reshape(pulled, pulled.shape[:-1])


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
        return a * b  # an outer product: BLAS takes far longer
    return namespace(a).matmul(a, b)


OPERATIONS.update({name: globals()[name] for name in __all__})


def __getattr__(name: str) -> Any:
    """Find the operations of the modules that build on this one."""
    try:
        return OPERATIONS[name]
    except KeyError:
        hint = similar(name, OPERATIONS)
        raise AttributeError(f"minisn.ops has no operation {name!r}{hint}") from None


def __dir__() -> list[str]:
    """List the names of all operations."""
    return sorted({*globals(), *OPERATIONS})
