"""More products of tensors, and linear algebra: each rule beside its forward, as in ``ops``."""

# mypy: disable-error-code="has-type"
# (a rule may name the primitive that it belongs to)
import math
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .answers import enter
from .arguments import axes_of, whole_number
from .backend import Array, namespace, near
from .conv import conv2d
from .errors import ConfigError, DTypeError, ShapeError
from .ops import getitem, inverse, matmul, norm, permute, reshape, sum, where
from .shaping import diagonal, flip, swapaxes, tril
from .tensor import Tensor, as_tensor, as_tensors, broadcast_to, primitive

# -- products --------------------------------------------------------------------------------------


def tensordot(a: Tensor, b: Tensor, axes: Any = 2) -> Tensor:
    r"""Multiply, and sum over pairs of axes.

    .. math:: y_{ij} = \sum_k a_{ik}\,b_{kj}

    Args:
        a, b: any shapes.
        axes: the number of last axes of a and first axes of b; or (axes of a, axes of b).
    """
    a, b = as_tensors("tensordot", (a, b))
    if np.ndim(axes) == 0:
        n = whole_number("tensordot: axes", axes)
        if n > min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot: shapes {a.shape} and {b.shape} do not have {n} axes each")
        axes = (tuple(range(a.ndim - n, a.ndim)), tuple(range(n)))
    if len(axes) != 2:
        raise ShapeError(f"tensordot: expected axes as (axes of a, axes of b), got {axes!r:.60}")
    of_a, of_b = axes_of(axes[0], a.ndim, "tensordot"), axes_of(axes[1], b.ndim, "tensordot")
    sizes = [a.shape[i] for i in of_a]
    if sizes != [b.shape[i] for i in of_b]:
        raise ShapeError(f"tensordot: axes {of_a} of {a.shape} do not fit {of_b} of {b.shape}")
    rows = [i for i in range(a.ndim) if i not in of_a]
    columns = [i for i in range(b.ndim) if i not in of_b]
    shape = tuple([a.shape[i] for i in rows] + [b.shape[i] for i in columns])
    n = math.prod(sizes)
    left = reshape(permute(a, axes=(*rows, *of_a)), shape=(math.prod(a.shape[i] for i in rows), n))
    right = permute(b, axes=(*of_b, *columns))
    right = reshape(right, shape=(n, math.prod(b.shape[i] for i in columns)))
    return reshape(matmul(left, right), shape=shape)


def dot(a: Tensor, b: Tensor) -> Tensor:
    r"""Multiply as NumPy's dot does: sum over the last axis of a and the second to last of b.

    .. math:: y_{ij} = \sum_k a_{ik}\,b_{kj}
    """
    a, b = as_tensors("dot", (a, b))
    if not a.ndim or not b.ndim:
        return a * b
    return tensordot(a, b, ((-1,), (-2 if b.ndim > 1 else -1,)))


def inner(a: Tensor, b: Tensor) -> Tensor:
    r"""Sum the products along the last axes of two tensors.

    .. math:: y_{ij} = \sum_k a_{ik}\,b_{jk}
    """
    a, b = as_tensors("inner", (a, b))
    return tensordot(a, b, ((-1,), (-1,))) if a.ndim and b.ndim else a * b


def outer(a: Tensor, b: Tensor) -> Tensor:
    r"""Multiply each entry of one tensor by each entry of another.

    .. math:: y_{ij} = a_i b_j
    """
    a, b = as_tensors("outer", (a, b))
    return reshape(a, shape=(-1, 1)) * reshape(b, shape=(1, -1))


def kron(a: Tensor, b: Tensor) -> Tensor:
    r"""Compute the Kronecker product of two matrices, or of two vectors.

    .. math:: Y_{ip + r,\,jq + s} = A_{ij} B_{rs}
    """
    a, b = as_tensors("kron", (a, b))
    ndim = max(a.ndim, b.ndim)
    p, q = ((1,) * (ndim - t.ndim) + t.shape for t in (a, b))
    left = reshape(a, shape=tuple(n for size in p for n in (size, 1)))
    right = reshape(b, shape=tuple(n for size in q for n in (1, size)))
    return reshape(left * right, shape=tuple(m * n for m, n in zip(p, q, strict=True)))


def einsum(equation: str, *operands: Any) -> Tensor:
    r"""Sum products of entries, as an equation of indices states.

    .. math:: \text{"ij,jk->ik"}: \quad y_{ik} = \sum_j a_{ij}\,b_{jk}

    An index that the result lacks is summed over. An index that occurs twice in a tensor takes
    its diagonal. ``...`` stands for the axes without a letter, which broadcast. Factors are joined
    from left to right, each by one product of matrices.

    Args:
        equation: letters for the axes of each tensor, separated by commas; after ``->`` those of
            the result. Without ``->``, the result has every letter that occurs once, in
            alphabetical order.
        operands: the tensors, in the order of the equation.
    Raises:
        DTypeError: the equation is no text.
        ShapeError: the equation and the shapes do not fit together.
    """
    if not isinstance(equation, str):
        raise DTypeError(f'einsum: expected an equation such as "ij,jk->ik", got {equation!r:.60}')
    tensors = list(as_tensors("einsum", operands))
    terms, result = _terms(equation, [t.ndim for t in tensors])
    sizes: dict[str, int] = {}
    for term, t in zip(terms, tensors, strict=True):
        for letter, n in zip(term, t.shape, strict=True):
            known = sizes.setdefault(letter, n)
            if (known not in (n, 1) and n != 1) or (known != n and letter in string.ascii_letters):
                raise ShapeError(f"einsum {equation!r}: index {letter} has sizes {known} and {n}")
            sizes[letter] = n if known == 1 else known
    factors = [_diagonals(term, t, sizes) for term, t in zip(terms, tensors, strict=True)]
    term, y = factors[0]
    for i, (other, t) in enumerate(factors[1:], 2):
        needed = set(result).union(*(later for later, _ in factors[i:]))
        term, y = _join(term, y, other, t, needed)
    y = sum(y, axis=tuple(i for i, letter in enumerate(term) if letter not in result))
    term = "".join(letter for letter in term if letter in result)
    return permute(y, axes=tuple(term.index(letter) for letter in result))


def _terms(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """Read an equation: the letters of each tensor and of the result; digits replace "..."."""
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ndims):
        raise ShapeError(f"einsum {equation!r}: expected {len(terms)} tensors, got {len(ndims)}")
    most = max(
        (n - len(t.replace("...", "")) for t, n in zip(terms, ndims, strict=True) if "..." in t),
        default=0,
    )
    spare = "".join(map(chr, range(0x2460, 0x2460 + max(most, 0))))  # stand for "..."
    letters = Counter(inputs.replace(",", "").replace(".", ""))
    if not arrow:
        result = "..." + "".join(sorted(c for c, n in letters.items() if n == 1))
    for i, (term, ndim) in enumerate(zip(terms, ndims, strict=True)):
        hidden = ndim - len(term.replace("...", ""))
        if hidden < 0 or (hidden and "..." not in term):
            raise ShapeError(f"einsum {equation!r}: {term!r} does not name {ndim} axes")
        terms[i] = term.replace("...", spare[len(spare) - hidden :])
    named = result.replace("...", "")
    if len(set(named)) < len(named) or not set(named) <= set(letters):
        raise ShapeError(f"einsum {equation!r}: the result must name known indices, each once")
    return terms, result.replace("...", spare)


def _diagonals(term: str, t: Tensor, sizes: dict[str, int]) -> tuple[str, Tensor]:
    """Take the diagonal for a letter that occurs twice in a term; broadcast axes of size 1."""
    t = broadcast_to(t, shape=tuple(sizes[letter] for letter in term))
    while twice := [letter for letter, n in Counter(term).items() if n > 1]:
        first = term.index(twice[0])
        second = term.index(twice[0], first + 1)
        t = diagonal(t, 0, first, second)
        term = term[:first] + term[first + 1 : second] + term[second + 1 :] + twice[0]
    return term, t


def _join(term: str, a: Tensor, other: str, b: Tensor, needed: set[str]) -> tuple[str, Tensor]:
    """Multiply two factors, and sum over the indices that are no longer needed."""
    alone = tuple(i for i, c in enumerate(term) if c not in needed and c not in other)
    a, term = sum(a, axis=alone), "".join(c for i, c in enumerate(term) if i not in alone)
    alone = tuple(i for i, c in enumerate(other) if c not in needed and c not in term)
    b, other = sum(b, axis=alone), "".join(c for i, c in enumerate(other) if i not in alone)
    shared = [c for c in term if c in other]
    batch, summed = [c for c in shared if c in needed], [c for c in shared if c not in needed]
    rows, columns = [c for c in term if c not in other], [c for c in other if c not in term]

    def laid(t: Tensor, letters: str, groups: Sequence[list[str]]) -> Tensor:
        sizes = [math.prod(t.shape[letters.index(c)] for c in group) for group in groups]
        order = tuple(letters.index(c) for group in groups for c in group)
        return reshape(permute(t, axes=order), shape=tuple(sizes))

    shape = [a.shape[term.index(c)] for c in batch + rows]
    shape += [b.shape[other.index(c)] for c in columns]
    y = matmul(laid(a, term, (batch, rows, summed)), laid(b, other, (batch, summed, columns)))
    return "".join(batch + rows + columns), reshape(y, shape=tuple(shape))


def convolve(a: Tensor, b: Tensor, mode: str = "full") -> Tensor:
    r"""Convolve two vectors or two matrices.

    .. math:: y_k = \sum_j a_j\,b_{k - j}

    Args:
        a, b: one or two axes each; the larger one counts as a.
        mode: ``"full"``, all sums; ``"same"``, the middle ones, in the shape of a; or ``"valid"``,
            those in which b lies inside a.
    Raises:
        ConfigError: the mode is unknown.
        ShapeError: a and b are not two vectors or two matrices.
    """
    a, b = as_tensors("convolve", (a, b))
    if a.ndim != b.ndim or a.ndim not in (1, 2):
        raise ShapeError(
            f"convolve: expected two vectors or two matrices, got {a.shape}, {b.shape}"
        )
    if mode not in ("full", "same", "valid"):
        raise ConfigError(f"convolve: expected mode full, same or valid, got {mode!r:.60}")
    a, b = (b, a) if b.size > a.size else (a, b)

    def image(x: Tensor) -> Tensor:
        return reshape(x, shape=(1,) * (4 - x.ndim) + x.shape)

    kernel, out = image(flip(b)), slice(4 - a.ndim, 4)
    padding = (0, 0) if mode == "valid" else tuple(n - 1 for n in kernel.shape[2:])
    y = conv2d(image(a), kernel, padding=padding)
    y = reshape(y, shape=y.shape[out])
    if mode != "same":
        return y
    first = [(n - 1) // 2 for n in b.shape]
    return getitem(y, index=tuple(slice(i, i + n) for i, n in zip(first, a.shape, strict=True)))


# -- equations and determinants --------------------------------------------------------------------


def _T(x: Tensor) -> Tensor:
    return swapaxes(x, -1, -2)


def _column(x: Tensor) -> Tensor:
    return reshape(x, shape=(*x.shape, 1))


def _of_b(g, a, b_shape):
    if len(b_shape) > 1:
        return solve(_T(a), g)
    return reshape(solve(_T(a), _column(g)), shape=g.shape)  # one vector for each of the matrices


def _of_a(g, y, a, b_shape):
    pulled = _of_b(g, a, b_shape)
    if len(b_shape) > 1:
        return -matmul(pulled, _T(y))
    return -matmul(_column(pulled), _T(_column(y)))


@primitive(_of_a, _of_b)
def solve(a, b):
    r"""Solve linear equations.

    .. math:: AY = B, \qquad \bar B = A^{-T}\bar Y, \quad \bar A = -\bar B Y^T

    Args:
        a: square matrices, [..., n, n].
        b: [..., n, m], or one vector [n].
    """
    return namespace(a).linalg.solve(a, b)


@primitive(lambda g, y: -matmul(matmul(_T(y), g), _T(y)))
def inv(x):
    r"""Invert matrices.

    .. math:: Y = X^{-1}, \qquad \bar X = -Y^T\bar YY^T
    """
    return namespace(x).linalg.inv(x)


def _pinv_rule(g, y, x):
    g, left, right = _T(g), matmul(x, y), matmul(y, x)
    in_rows = matmul(matmul(g - matmul(left, g), y), _T(y))
    in_columns = matmul(matmul(_T(y), y), g - matmul(g, right))
    return in_rows + in_columns - matmul(matmul(_T(y), _T(g)), _T(y))


@primitive(lambda g, y, x: _pinv_rule(g, y, x))
def pinv(x):
    r"""Compute pseudoinverses; gradients exist where the rank does not change.

    .. math:: Y = X^+, \qquad \bar X = (I - XY)\bar Y^TYY^T + Y^TY\bar Y^T(I - YX)
              - Y^T\bar YY^T

    Args:
        x: [..., m, n].
    """
    return namespace(x).linalg.pinv(x)


@primitive(lambda g, y, x: reshape(g * y, shape=(*y.shape, 1, 1)) * _T(inv(x)))
def det(x):
    r"""Compute determinants; the gradient exists for an invertible matrix only.

    .. math:: y = \det X, \qquad \bar X = \bar y\,y\,X^{-T}
    """
    return namespace(x).linalg.det(x)


@primitive(lambda g, x: reshape(g, shape=(*g.shape, 1, 1)) * _T(inv(x)))
def logdet(x):
    r"""Compute the logarithm of the absolute value of determinants, without overflow.

    .. math:: y = \log|\det X|, \qquad \bar X = \bar y\,X^{-T}
    """
    return namespace(x).linalg.slogdet(x)[1]


def _symmetric(x: Array) -> Array:
    return (x + namespace(x).matrix_transpose(x)) / 2


def _cholesky_rule(g, y):
    half = 1.0 - 0.5 * near(y.array).eye(y.shape[-1], dtype=y.dtype)
    inner = tril(matmul(_T(y), g)) * Tensor.wrap(half)
    pulled = _T(solve(_T(y), _T(solve(_T(y), inner))))
    return (pulled + _T(pulled)) * 0.5


@primitive(lambda g, y: _cholesky_rule(g, y))
def cholesky(x):
    r"""Factor the symmetric part of matrices, which must be positive definite.

    .. math:: LL^T = S = \tfrac12(X + X^T), \qquad \bar X = \mathrm{sym}\big(L^{-T}\,
              \Phi(L^T\bar L)\,L^{-1}\big)

    with :math:`\Phi` the lower triangle, its diagonal halved.
    """
    return namespace(x).linalg.cholesky(_symmetric(x))


# -- singular values and eigenvalues ---------------------------------------------------------------


def _gaps(w: Tensor) -> Tensor:
    """Return the matrix of 1 / (w_j - w_i), and 0 where w_i and w_j are equal."""
    return inverse(reshape(w, shape=(*w.shape[:-1], 1, -1)) - reshape(w, shape=(*w.shape, 1)))


def _diagonal_matrix(w: Tensor) -> Tensor:
    eye = near(w.array).eye(w.shape[-1], dtype=w.dtype)
    return reshape(w, shape=(*w.shape, 1)) * Tensor.wrap(eye)


def _oriented(*vectors: Array) -> list[Array]:
    """Flip columns so that the largest entry of each column of the first array is positive."""
    xp, first = namespace(vectors[0]), vectors[0]
    if not first.size:
        return list(vectors)
    at = xp.argmax(xp.abs(first), axis=-2, keepdims=True)
    there = xp.astype(xp.reshape(near(first).arange(first.shape[-2]), (-1, 1)) == at, first.dtype)
    sign = xp.sign(xp.sum(first * there, axis=-2, keepdims=True))
    return [columns * sign for columns in vectors]


def _eigh_rule(g, y):
    w, V, of_w, of_V = y[..., 0, :], y[..., 1:, :], g[..., 0, :], g[..., 1:, :]
    inner = _diagonal_matrix(of_w) + _gaps(w) * matmul(_T(V), of_V)
    pulled = matmul(matmul(V, inner), _T(V))
    return (pulled + _T(pulled)) * 0.5


@primitive(lambda g, y: _eigh_rule(g, y))
def _eigh(x):
    r"""Compute eigenvalues and, in the rows below, eigenvectors of the symmetric part of matrices.

    .. math:: S = \tfrac12(X + X^T) = V\,\mathrm{diag}(w)\,V^T, \qquad
              \bar X = \mathrm{sym}\Big(V\big(\mathrm{diag}(\bar w) + F \circ V^T\bar V\big)V^T\Big)

    with :math:`F_{ij} = 1 / (w_j - w_i)`, and 0 where they are equal.
    """
    xp = namespace(x)
    w, V = xp.linalg.eigh(_symmetric(x))
    return xp.concat([xp.reshape(w, (*w.shape[:-1], 1, w.shape[-1])), *_oriented(V)], axis=-2)


def eigh(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Compute eigenvalues, the smallest first, and eigenvectors of the symmetric part of matrices.

    .. math:: \tfrac12(X + X^T) = V\,\mathrm{diag}(w)\,V^T

    The largest entry of each eigenvector is positive. Gradients exist where the eigenvalues differ.

    Args:
        x: [..., n, n].
    Returns:
        (w, V), [..., n] and [..., n, n] with the eigenvectors as columns.
    """
    y = _eigh(x)
    return y[..., 0, :], y[..., 1:, :]


def eigvalsh(x: Tensor) -> Tensor:
    r"""Compute the eigenvalues of the symmetric part of matrices, the smallest first.

    .. math:: \tfrac12(X + X^T) = V\,\mathrm{diag}(w)\,V^T, \qquad
              \bar X = V\,\mathrm{diag}(\bar w)\,V^T

    Second derivatives exist where the eigenvalues differ.

    Args:
        x: [..., n, n].
    Returns:
        [..., n].
    """
    return _eigh(x)[..., 0, :]


def _svd_rule(g, y, x):
    m, n = x.shape[-2:]
    (U, s, V), (of_U, of_s, of_V) = (
        (t[..., :m, :], t[..., m, :], t[..., m + 1 :, :]) for t in (y, g)
    )
    row = reshape(s, shape=(*s.shape[:-1], 1, s.shape[-1]))
    column, upside = _T(row), inverse(row)
    share = row * inverse(row + column)  # F in two factors: squares of s may have no room
    J, K = matmul(_T(U), of_U), matmul(_T(V), of_V)
    turned = share * (J - _T(J)) + _T(share) * (K - _T(K))
    inner = _diagonal_matrix(of_s) + _gaps(s) * turned
    pulled = matmul(matmul(U, inner), _T(V))
    if m > n:
        pulled = pulled + matmul((of_U - matmul(U, matmul(_T(U), of_U))) * upside, _T(V))
    if n > m:
        pulled = pulled + matmul(U, _T((of_V - matmul(V, matmul(_T(V), of_V))) * upside))
    return pulled


@primitive(lambda g, y, x: _svd_rule(g, y, x))
def _svd(x):
    r"""Factor matrices; the rows of the result are left vectors, singular values, right vectors.

    .. math:: X = U\,\mathrm{diag}(s)\,V^T, \qquad
              \bar X = U\big(\mathrm{diag}(\bar s) + F \circ ((J - J^T)S + S(K - K^T))\big)V^T
              + (I - UU^T)\bar US^{-1}V^T + US^{-1}\bar V^T(I - VV^T)

    with :math:`J = U^T\bar U,\; K = V^T\bar V,\; F_{ij} = 1 / (s_j^2 - s_i^2)`,
    and 0 where they are equal.
    """
    xp = namespace(x)
    U, s, Vh = xp.linalg.svd(x, full_matrices=False)
    U, V = _oriented(U, xp.matrix_transpose(Vh))
    return xp.concat([U, xp.reshape(s, (*s.shape[:-1], 1, s.shape[-1])), V], axis=-2)


def svd(x: Tensor, full_matrices: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    r"""Factor matrices into singular vectors and values, the largest first.

    .. math:: X = U\,\mathrm{diag}(s)\,V^T

    The largest entry of each column of U is positive. Gradients exist where the singular values
    differ and none is 0.

    Args:
        x: [..., m, n].
        full_matrices: must be False; NumPy's functions have this argument.
    Returns:
        (U, s, V^T): [..., m, k], [..., k] and [..., k, n], with k = min(m, n).
    Raises:
        ConfigError: full_matrices is True.
        ShapeError: x has fewer than 2 axes.
    """
    x = as_tensor(x)
    if full_matrices:
        raise ConfigError("svd: only full_matrices=False has gradients")
    if x.ndim < 2:
        raise ShapeError(f"svd: expected matrices, got shape {x.shape}")
    y, m = _svd(x), x.shape[-2]
    return y[..., :m, :], y[..., m, :], _T(y[..., m + 1 :, :])


def svdvals(x: Tensor) -> Tensor:
    r"""Compute the singular values of matrices, the largest first.

    .. math:: X = U\,\mathrm{diag}(s)\,V^T, \qquad \bar X = U\,\mathrm{diag}(\bar s)\,V^T

    Second derivatives exist where the singular values differ and none is 0.

    Args:
        x: [..., m, n].
    Returns:
        [..., min(m, n)].
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"svdvals: expected matrices, got shape {x.shape}")
    return _svd(x)[..., x.shape[-2], :]


# -- norms -----------------------------------------------------------------------------------------


def vector_norm(
    x: Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    r"""Compute a p-norm of the vectors along some axes, or of all entries.

    .. math:: y = \Big(\sum_i |x_i|^p\Big)^{1/p}, \qquad \|x\|_\infty = \max_i |x_i|

    Args:
        x: any shape.
        axis, keepdims: as for :func:`minisn.ops.norm`.
        ord: :math:`p`, more than 0; ``math.inf`` for the maximum.
    """
    if not isinstance(ord, int | float) or not ord > 0:
        raise ConfigError(f"vector_norm: expected a number above 0 as ord, got {ord!r:.60}")
    if ord == 2:
        return norm(x, axis, keepdims)
    size = abs(as_tensor(x))
    if ord == math.inf:
        return size.max(axis, keepdims)
    if ord == 1:
        return size.sum(axis, keepdims)
    unit = size.detach().max(axis, keepdims=True)
    unit = where((unit > 0) & (unit < math.inf), unit, 1.0)
    y = ((size / unit) ** ord).sum(axis, keepdims=True) ** (1 / ord)
    return (y * unit).sum(axis, keepdims)


def matrix_norm(x: Tensor, ord: Any = "fro", keepdims: bool = False) -> Tensor:
    r"""Compute a norm of matrices.

    .. math:: \|X\|_F = \sqrt{\textstyle\sum_t \sigma_t^2}, \quad \|X\|_* = \sum_t \sigma_t,
              \quad \|X\|_2 = \sigma_1, \quad \|X\|_1 = \max_j \sum_i |x_{ij}|,
              \quad \|X\|_\infty = \max_i \sum_j |x_{ij}|

    Args:
        x: [..., m, n].
        ord: ``"fro"``, ``"nuc"``, 2, 1 or ``math.inf``.
        keepdims: keep both axes with size 1.
    Raises:
        ConfigError: ord is unknown.
        ShapeError: x has fewer than 2 axes.
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_norm: expected matrices, got shape {x.shape}")
    if ord == "fro":
        y = norm(x, (-2, -1))
    elif ord in ("nuc", 2):
        s = svdvals(x)
        y = s.sum(-1) if ord == "nuc" else s[..., 0]
    elif ord in (1, math.inf):
        y = abs(x).sum(-2 if ord == 1 else -1).max(-1)
    else:
        raise ConfigError(f"matrix_norm: expected ord fro, nuc, 2, 1 or inf, got {ord!r:.60}")
    return reshape(y, shape=(*y.shape, 1, 1)) if keepdims else y


enter(globals())
