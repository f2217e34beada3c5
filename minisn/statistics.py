"""More reductions, and cumulative sums and products along an axis."""

# mypy: disable-error-code="has-type"
# (a rule may name the primitive that it belongs to)
import math
from collections.abc import Sequence
from typing import Any

from . import ops
from .answers import enter
from .arguments import axes_of, axis_of, whole_number
from .backend import Array, namespace, near
from .errors import ConfigError, ShapeError
from .ops import concat, one_axis, permute, reshape, sqrt, var
from .precision import check_real, real, tame, widely
from .shaping import flip, moveaxis, squeeze
from .tensor import Tensor, as_tensor, as_tensors, broadcast_to, is_floating, primitive


def std(
    x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, ddof: int = 0
) -> Tensor:
    r"""Compute the standard deviation over some axes, or all; for equal entries its gradient is 0.

    .. math:: y = \sqrt{\textstyle\frac1{n - d} \sum_i (x_i - \mu)^2}

    Args:
        x, axis, keepdims, ddof: as for :func:`minisn.ops.var`.
    """

    def compute(x):
        unit = Tensor.wrap(tame(x.array, axes))  # a square may have no room
        y = unit * sqrt(var(x / unit, axes, True, ddof))
        return y if keepdims else squeeze(y, axes)

    check_real("std", x)
    axes = axes_of(axis, as_tensor(x).ndim, "std")
    return widely(compute, x)


def average(
    x: Tensor, axis: int | Sequence[int] | None = None, weights: Any = None, keepdims: bool = False
) -> Tensor:
    r"""Average with weights, or without.

    .. math:: y = \sum_i w_i x_i / \textstyle\sum_i w_i

    Args:
        x, axis, keepdims: as for :func:`minisn.ops.mean`.
        weights: one for each entry along the axis, or of a shape that broadcasts to that of x.
    Raises:
        ShapeError: the weights do not fit.
    """
    x = as_tensor(x)
    if weights is None:
        return x.mean(axis, keepdims)
    x, w = as_tensors("average", (x, weights))
    if w.ndim == 1 and axis is not None and w.ndim < x.ndim:
        at = axis_of(axis, x.ndim, "average")  # type: ignore[arg-type]
        w = reshape(w, shape=tuple(-1 if i == at else 1 for i in range(x.ndim)))
    x, w = (t if (y := real(t._array)) is t._array else Tensor.wrap(y) for t in (x, w))
    parts = x * w
    if parts.shape != x.shape:
        raise ShapeError(f"average: weights of shape {w.shape} do not fit x of shape {x.shape}")
    return parts.mean(axis, keepdims) / broadcast_to(w, x.shape).mean(axis, keepdims)


def weighted_logsumexp(
    x: Tensor, b: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False
) -> Tensor:
    r"""Compute the logarithm of a sum of exponentials with weights, as in ``logsumexp(x, b=b)``.

    .. math:: y = \log\sum_i b_i\,e^{x_i}

    The terms of weight 0, whose logarithms do not exist, are added to the sum of the others.

    Args:
        x: any shape.
        b: weights of at least 0, with broadcasting.
        axis, keepdims: as for :func:`minisn.ops.logsumexp`.
    Raises:
        ConfigError: a weight is negative.
    """
    x, b = as_tensors("logsumexp", (x, b))
    xp = namespace(b._array)
    if xp.any(b._array < 0):
        raise ConfigError("logsumexp: a weight is negative; expected weights of at least 0")
    counts = Tensor.wrap(b._array > 0)
    logs = ops.log(ops.where(counts, b, 1.0))
    y = ops.logsumexp(ops.where(counts, x + logs, -math.inf), axis, keepdims=True)
    if not xp.all(counts._array):
        beyond = ops.where(Tensor.wrap(xp.isfinite(y._array)), y, 0.0)
        most = math.log(float(xp.finfo(y.dtype).max))
        rest = ops.exp(ops.minimum(x - beyond, most)) * ops.where(counts, 0.0, b)
        y = y + ops.log(1.0 + rest.sum(axis, keepdims=True))
    return y if keepdims else squeeze(y, axes_of(axis, y.ndim))


def ptp(x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    r"""Subtract the smallest entry from the largest.

    .. math:: y = \max_i x_i - \min_i x_i
    """
    x = as_tensor(x)
    return x.max(axis, keepdims) - x.min(axis, keepdims)


def _truth(name: str, x: Any, axis: Any, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    xp = namespace(x.array)
    axes = axes_of(axis, x.ndim, name)
    y = getattr(xp, name)(_is_true(x), axis=axes, keepdims=keepdims)
    return Tensor.wrap(near(x.array).asarray(y))


def _is_true(x: Tensor) -> Array:
    """Compare with 0; the array standard has no comparison of booleans with numbers."""
    return x.array if namespace(x.array).isdtype(x.dtype, "bool") else x.array != 0


def all(x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    r"""Return whether all entries are nonzero, as a constant.

    .. math:: y = \bigwedge_i\,[x_i \ne 0]
    """
    return _truth("all", x, axis, keepdims)


def any(x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    r"""Return whether any entry is nonzero, as a constant.

    .. math:: y = \bigvee_i\,[x_i \ne 0]
    """
    return _truth("any", x, axis, keepdims)


def count_nonzero(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    r"""Count the nonzero entries, as a constant.

    .. math:: y = \#\{i : x_i \ne 0\}
    """
    x = as_tensor(x)
    return Tensor.wrap(_is_true(x)).sum(axis)


def diff(x: Tensor, n: int = 1, axis: int = -1) -> Tensor:
    r"""Subtract from each entry along an axis the previous one; do so n times.

    .. math:: y_i = x_{i + 1} - x_i
    """
    x = as_tensor(x)
    axis = axis_of(axis, x.ndim, "diff")
    for _ in range(whole_number("diff: n", n)):
        x = x[(slice(None),) * axis + (slice(1, None),)] - x[(slice(None),) * axis + (slice(-1),)]
    return x


# -- step by step ----------------------------------------------------------------------------------


@primitive(lambda g, axis: flip(_cumsum(flip(g, axis), axis=axis), axis))
def _cumsum(x, axis=-1):
    r"""Sum along an axis, step by step.

    .. math:: y_i = \sum_{j \le i} x_j, \qquad \bar x_j = \sum_{i \ge j} \bar y_i
    """
    xp = namespace(x)
    if not is_floating(x) and xp.isdtype(x.dtype, "bool"):
        x = xp.astype(x, xp.int64)
    return xp.cumulative_sum(x, axis=axis)


def cumsum(x: Tensor, axis: int | None = None) -> Tensor:
    r"""Sum along an axis, step by step; without an axis, over all entries in their order.

    .. math:: y_i = \sum_{j \le i} x_j
    """
    x, axis = one_axis("cumsum", x, axis)
    return _cumsum(x, axis=axis)


def prod(x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    r"""Multiply the entries over some axes, or all; the gradient is right even where some are 0.

    .. math:: y = \prod_i x_i, \qquad \bar x_i = \bar y \prod_{j \ne i} x_j

    Each round multiplies one half of the entries by the other half.
    """
    x = _roomy(x)
    axes = axes_of(axis, x.ndim, "prod")
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    y = reshape(
        permute(x, axes=axes + rest),
        shape=(math.prod(_sizes(x.shape, axes)), *_sizes(x.shape, rest)),
    )
    if not len(y):  # a product of nothing is 1
        y = concat([y, Tensor.wrap(near(x.array).ones((1, *y.shape[1:]), dtype=x.dtype))])
    while (n := len(y)) > 1:
        half = y[: n // 2] * y[n // 2 : 2 * (n // 2)]
        y = half if n % 2 == 0 else concat([half, y[n - 1 :]])
    return reshape(y, shape=kept if keepdims else _sizes(x.shape, rest))


def _roomy(x: Any) -> Tensor:
    """Make a tensor; a product of small integers may not fit their dtype."""
    x = as_tensor(x)
    xp = namespace(x.array)
    if is_floating(x.array) or not xp.isdtype(x.dtype, ("bool", "integral")):
        return x
    kind = xp.uint64 if xp.isdtype(x.dtype, "unsigned integer") else xp.int64
    return Tensor.wrap(xp.astype(x.array, kind))


def _sizes(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape[a] for a in axes)


def cumprod(x: Tensor, axis: int | None = None) -> Tensor:
    r"""Multiply along an axis, step by step; without an axis, over all entries in their order.

    .. math:: y_i = \prod_{j \le i} x_j
    """
    x, axis = one_axis("cumprod", _roomy(x), axis)
    y, reach = moveaxis(x, axis, 0), 1
    while reach < len(y):  # each round doubles the number of factors
        y = concat([y[:reach], y[reach:] * y[:-reach]])
        reach *= 2
    return moveaxis(y, 0, axis)


enter(globals())
