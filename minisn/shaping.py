"""More operations that move or select entries, composed of those in ``ops``."""

import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .answers import enter
from .arguments import axes_of, axis_of, whole_number
from .backend import bring, is_array, is_numpy, namespace, near, to_numpy
from .errors import DTypeError, ShapeError
from .ops import concat, getitem, one_axis, permute, reshape, scatter, several, sum, where
from .tensor import Tensor, as_tensor

# -- axes ----------------------------------------------------------------------------------------


def squeeze(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    r"""Drop axes of size 1: those given, or all.

    .. math:: y_{ij} = x_{i1j}
    """
    x = as_tensor(x)
    ones = tuple(i for i, n in enumerate(x.shape) if n == 1)
    dropped = ones if axis is None else axes_of(axis, x.ndim, "squeeze")
    if not set(dropped) <= set(ones):
        raise ShapeError(f"squeeze: expected axes of size 1, got axis {axis} of shape {x.shape}")
    return reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if i not in dropped))


def expand_dims(x: Tensor, axis: int | Sequence[int]) -> Tensor:
    r"""Insert axes of size 1; ``axis`` gives their places in the result.

    .. math:: y_{i1j} = x_{ij}
    """
    x = as_tensor(x)
    ndim = x.ndim + (1 if np.ndim(axis) == 0 else len(tuple(axis)))  # type: ignore[arg-type]
    new = axes_of(axis, ndim, "expand_dims")
    sizes = iter(x.shape)
    return reshape(x, shape=tuple(1 if i in new else next(sizes) for i in range(ndim)))


def atleast_1d(x: Tensor) -> Tensor:
    r"""Give a number an axis.

    .. math:: y_1 = x
    """
    x = as_tensor(x)
    return x if x.ndim else reshape(x, shape=(1,))


def atleast_2d(x: Tensor) -> Tensor:
    r"""Make a vector or a number a matrix of one row.

    .. math:: y_{1i} = x_i
    """
    x = as_tensor(x)
    return x if x.ndim > 1 else reshape(x, shape=(1, -1))


def atleast_3d(x: Tensor) -> Tensor:
    r"""Give a tensor at least three axes: the vector is the second axis, the matrix the first two.

    .. math:: y_{1i1} = x_i, \qquad y_{ij1} = x_{ij}
    """
    x = atleast_2d(x)
    return x if x.ndim > 2 else reshape(x, shape=(*x.shape, 1))


def flatten(x: Tensor, start: int = 0) -> Tensor:
    r"""Join the axes from ``start`` on into one; ``start=1`` keeps the items of a batch apart.

    .. math:: y_{\pi(i)} = x_i
    """
    x = as_tensor(x)
    start = axis_of(start, max(x.ndim, 1), "flatten")
    return reshape(x, shape=(*x.shape[:start], math.prod(x.shape[start:])))


def ravel(x: Tensor) -> Tensor:
    r"""Return all entries along one axis.

    .. math:: y_{\pi(i)} = x_i
    """
    return flatten(x)


def moveaxis(x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    r"""Move axes to other places; the rest keep their order.

    .. math:: y_{i_{\pi(1)} \dots i_{\pi(n)}} = x_{i_1 \dots i_n}
    """
    x = as_tensor(x)
    old, new = (axes_of(a, x.ndim, "moveaxis") for a in (source, destination))
    if len(old) != len(new):
        raise ShapeError(f"moveaxis: {len(old)} axes cannot move to {len(new)} places")
    rest = iter(a for a in range(x.ndim) if a not in old)
    return permute(
        x, axes=tuple(old[new.index(i)] if i in new else next(rest) for i in range(x.ndim))
    )


def swapaxes(x: Tensor, first: int, second: int) -> Tensor:
    r"""Exchange two axes.

    .. math:: y_{\dots j \dots i \dots} = x_{\dots i \dots j \dots}
    """
    x = as_tensor(x)
    a, b = axis_of(first, x.ndim, "swapaxes"), axis_of(second, x.ndim, "swapaxes")
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return permute(x, axes=tuple(order))


# -- repetition and order --------------------------------------------------------------------------


def take(x: Tensor, indices: Any, axis: int | None = None) -> Tensor:
    r"""Select entries along an axis, or from all entries in row-major order.

    .. math:: y_{ikj} = x_{i\,s(k)\,j}
    """
    x, axis = one_axis("take", x, axis)
    places = indices if is_array(indices) or isinstance(indices, Tensor) else np.asarray(indices)
    if namespace(as_tensor(places).array).isdtype(places.dtype, "bool"):
        raise DTypeError("take: expected whole numbers, got booleans; for a mask, use x[mask]")
    return getitem(x, index=(slice(None),) * axis + (places,))


def repeat(x: Tensor, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    r"""Repeat each entry along an axis, all equally often or each its own number of times.

    .. math:: y = (x_1, x_1, \dots, x_2, x_2, \dots)
    """
    x, axis = one_axis("repeat", x, axis)
    try:
        places = np.repeat(np.arange(x.shape[axis]), _counts("repeat", repeats, 0))
    except ValueError as error:
        raise ShapeError(f"repeat: {repeats} times for {x.shape[axis]} entries: {error}") from None
    return take(x, places, axis)


def _counts(name: str, value: Any, least: int = -sys.maxsize) -> tuple[int, ...]:
    """Return one whole number, or several, as a tuple."""
    return tuple(whole_number(name, v, least) for v in ([value] if np.ndim(value) == 0 else value))


def tile(x: Tensor, repeats: int | Sequence[int]) -> Tensor:
    r"""Lay copies of a tensor side by side; ``repeats`` counts them along each axis.

    .. math:: y_k = x_{k \bmod n}
    """
    x = as_tensor(x)
    times = _counts("tile", repeats, 0)
    x = reshape(x, shape=(1,) * (len(times) - x.ndim) + x.shape)
    times = (1,) * (x.ndim - len(times)) + times
    for axis, n in enumerate(times):
        if n != 1:
            x = take(x, np.tile(np.arange(x.shape[axis]), n), axis)
    return x


def flip(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    r"""Reverse the order of the entries along some axes, or all.

    .. math:: y_i = x_{n + 1 - i}
    """
    x = as_tensor(x)
    turned = axes_of(axis, x.ndim, "flip")
    return getitem(
        x, index=tuple(slice(None, None, -1) if i in turned else slice(None) for i in range(x.ndim))
    )


def rot90(x: Tensor, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    r"""Rotate by quarter turns, from the first of two axes toward the second.

    .. math:: y_{ij} = x_{j,\,n + 1 - i} \quad\text{for one turn}

    Args:
        x: at least 2 axes.
        k: number of turns; they are counterclockwise for a matrix, and clockwise if negative.
        axes: the two axes.
    """
    x, turns = as_tensor(x), whole_number("rot90: k", k, -sys.maxsize) % 4
    plane = axes_of(axes, x.ndim, "rot90")
    if len(plane) != 2:
        raise ShapeError(f"rot90: expected two axes, got {axes}")
    if turns % 2 == 0:
        return flip(x, plane) if turns else x
    x = swapaxes(x, *plane)
    return flip(x, plane[0] if turns == 1 else plane[1])


def roll(x: Tensor, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    r"""Move entries along axes; those that leave at the end come back at the start.

    .. math:: y_i = x_{(i - s) \bmod n}
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(flatten(x), shift, 0), shape=x.shape)
    axes, shifts = axes_of(axis, x.ndim, "roll"), _counts("roll", shift)
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts do not fit {len(axes)} axes")
    for s, a in zip(shifts, axes, strict=True):
        x = take(x, np.roll(np.arange(x.shape[a]), s), a)
    return x


def split(x: Tensor, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    r"""Cut a tensor along an axis, into a number of equal parts or before given places.

    .. math:: x = [y_1, y_2, \dots]
    """
    x = as_tensor(x)
    axis = axis_of(axis, x.ndim, "split")
    n = x.shape[axis]
    if np.ndim(sections) == 0:
        sections = whole_number("split: sections", sections)
        if sections < 1 or n % sections:
            raise ShapeError(f"split: {n} entries do not make {sections} equal parts")
        sections = range(n // sections, n, n // sections) if n else [0] * (sections - 1)
    ends = [0, *(max(p + n, 0) if p < 0 else p for p in _counts("split", sections)), n]
    return [
        getitem(x, index=(slice(None),) * axis + (slice(lo, max(lo, hi)),))
        for lo, hi in itertools.pairwise(ends)
    ]


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    r"""Join tensors side by side: along the second axis, vectors along their only axis.

    .. math:: Y = [X_1, X_2, \dots]
    """
    parts = [atleast_1d(t) for t in several("hstack", tensors)]
    return concat(parts, axis=min(1, parts[0].ndim - 1))


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    r"""Join tensors one below the other, along the first axis; each vector makes a row.

    .. math:: Y = [X_1^T, X_2^T, \dots]^T
    """
    return concat([atleast_2d(t) for t in several("vstack", tensors)])


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    r"""Join tensors side by side, along the second axis; each vector makes a column.

    .. math:: Y = [x_1, x_2, \dots]
    """
    together = several("column_stack", tensors)
    return hstack([reshape(t, shape=(*t.shape, 1)[:2]) if t.ndim < 2 else t for t in together])


def array_split(x: Tensor, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    r"""Cut a tensor as :func:`split` does; parts may be unequal, the longer ones come first.

    .. math:: x = [y_1, y_2, \dots]
    """
    x = as_tensor(x)
    if np.ndim(sections) == 0:
        n = x.shape[axis_of(axis, x.ndim, "array_split")]
        parts = whole_number("array_split: sections", sections, 1)
        sections = [k * (n // parts) + min(k, n % parts) for k in range(1, parts)]
    return split(x, sections, axis)


# -- order -----------------------------------------------------------------------------------------


def _along(x: Tensor, order: np.ndarray, axis: int) -> Tensor:
    """Select along an axis, in a separate order at each place of the other axes."""
    grid: list[Any] = list(np.indices(order.shape, sparse=True))
    grid[axis] = order
    return getitem(x, index=tuple(grid))


def sort(x: Tensor, axis: int | None = -1) -> Tensor:
    r"""Sort along an axis in ascending order; the gradient follows the entries.

    .. math:: y_i = x_{s(i)}, \qquad y_1 \le y_2 \le \dots
    """
    x, axis = one_axis("sort", x, axis)
    return _along(x, to_numpy(argsort(x, axis).array), axis)


def argsort(x: Tensor, axis: int | None = -1) -> Tensor:
    r"""Return the indices that sort the entries along an axis, without a gradient.

    .. math:: x_{s(1)} \le x_{s(2)} \le \dots
    """
    x, axis = one_axis("argsort", x, axis)
    stable = {"stable": True} if is_numpy(x.array) else {}  # the default elsewhere
    return Tensor.wrap(namespace(x.array).argsort(x.array, axis=axis, **stable))


def _place(name: str, x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    if axis is not None:
        axis = axis_of(axis, x.ndim, name)
    if not x.shape[axis] if axis is not None else not x.size:
        raise ShapeError(f"{name}: a tensor of shape {x.shape} has no entry along axis {axis}")
    xp = namespace(x.array)
    return Tensor.wrap(
        near(x.array).asarray(getattr(xp, name)(x.array, axis=axis, keepdims=keepdims))
    )


def argmax(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    r"""Return the index of the largest entry, the first of several, without a gradient.

    .. math:: y = \min\{i : x_i = \max_j x_j\}
    """
    return _place("argmax", x, axis, keepdims)


def argmin(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    r"""Return the index of the smallest entry, the first of several, without a gradient.

    .. math:: y = \min\{i : x_i = \min_j x_j\}
    """
    return _place("argmin", x, axis, keepdims)


# -- triangles and diagonals -----------------------------------------------------------------------


def _triangle(x: Tensor, k: int, keep: Any) -> Tensor:
    x, k = as_tensor(x), whole_number("tril, triu: k", k, -sys.maxsize)
    if x.ndim < 2:
        raise ShapeError(f"tril, triu: expected matrices, got shape {x.shape}")
    rows, columns = np.ogrid[: x.shape[-2], : x.shape[-1]]
    kept = Tensor.wrap(bring(keep(columns - rows, k), x.array))
    return where(kept, x, Tensor.wrap(near(x.array).zeros((), dtype=x.dtype)))


def tril(x: Tensor, k: int = 0) -> Tensor:
    r"""Keep the entries on or below a diagonal of matrices; set the others to 0.

    .. math:: y_{ij} = x_{ij}\,[j - i \le k]
    """
    return _triangle(x, k, np.less_equal)


def triu(x: Tensor, k: int = 0) -> Tensor:
    r"""Keep the entries on or above a diagonal of matrices; set the others to 0.

    .. math:: y_{ij} = x_{ij}\,[j - i \ge k]
    """
    return _triangle(x, k, np.greater_equal)


def diagonal(x: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    r"""Return a diagonal of the matrices that two axes span; it becomes the last axis.

    .. math:: y_{\dots i} = x_{\dots,\,i,\,i + k}
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"diagonal: expected at least two axes, got shape {x.shape}")
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    offset = whole_number("diagonal: offset", offset, -sys.maxsize)
    rows, columns = x.shape[-2:]
    first = (max(0, -offset), max(0, offset))
    n = max(0, min(rows - first[0], columns - first[1]))
    places = (np.arange(n) + first[0]) * columns + np.arange(n) + first[1]
    return take(reshape(x, shape=(*x.shape[:-2], rows * columns)), places, -1)


def trace(x: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    r"""Sum a diagonal.

    .. math:: y = \sum_i x_{i,\,i + k}
    """
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)


def diag(x: Tensor, k: int = 0) -> Tensor:
    r"""Make a matrix from its diagonal, or return the diagonal of a matrix.

    .. math:: Y_{i,\,i + k} = x_i \quad\text{or}\quad y_i = X_{i,\,i + k}
    """
    x = as_tensor(x)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ShapeError(f"diag: expected a vector or a matrix, got shape {x.shape}")
    k = whole_number("diag: k", k, -sys.maxsize)
    n = x.shape[0] + abs(k)
    places = np.arange(x.shape[0])
    return scatter(x, index=(places + max(0, -k), places + max(0, k)), shape=(n, n))


enter(globals())
