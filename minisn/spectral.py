r"""The spectral norm: what it is, how it is estimated, and what can be proved about it.

.. math:: \sigma(W) = \max_{h \ne 0} \frac{\|Wh\|_2}{\|h\|_2}

One power step per update keeps a pair of unit vectors u, v near the leading singular
vectors of each weight, and :math:`\sigma(W) \approx u^TWv`. The pair is *state*: a
function that moves it returns a new pair, and no function changes its arguments. In the
gradient, u and v are constants.

A weight of any shape is read as a matrix, its output axis first:
``axis=0`` for a dense layer, a convolution [d_out, d_in, h, w] and an embedding;
``axis=1`` for a transposed convolution, which holds the weight of the convolution that it
transposes.

Do not confuse three numbers: the estimate :math:`u^TWv`, never above the norm of the
matrix; that norm; and the norm of the *convolution* as an operator on images. The last is at
most :math:`\sqrt{\lceil h/s\rceil\lceil w/s\rceil}` times the matrix's, and at least the
matrix's where some patch lies wholly inside the input. Both hold for the matrix of ``axis=0``; a
transposed convolution can have a smaller norm than its matrix of ``axis=1``.

Source: [M18 §2.1], [M18 App. A]
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import fused as fast
from . import kernels
from .arguments import axes_of, generator, whole_number
from .backend import Array, check_together, is_numpy, namespace, near, svdvals
from .display import table
from .errors import ConfigError, DTypeError, NonFiniteError, ShapeError
from .ops import inverse, permute
from .precision import tame
from .tensor import Tensor, fused, is_floating, no_grad, reshape

Map = Callable[[Array], Array]


# -- weights as matrices --------------------------------------------------------------


def as_matrix(W: Tensor | Array, axis: int = 0) -> Tensor | Array:
    r"""Read a weight as a matrix, one row per entry of its output axis.

    .. math:: W \in \mathbb R^{d_{out}\times d_{in}\times h\times w} \;\to\;
              \mathbb R^{d_{out}\times(d_{in}hw)}

    Args:
        W: weight, at least 2 axes; a Tensor (the result is part of its graph) or an array.
        axis: the output axis; 1 for a transposed convolution.
    Returns:
        [W.shape[axis], the rest in order]; a view where the output axis comes first.
    Raises:
        ShapeError: fewer than 2 axes, or no such axis.
        DTypeError: not floating-point numbers.

    Source: [M18 §2.1]
    """
    first = _output_axis(W, axis)
    order = (first, *(i for i in range(W.ndim) if i != first))
    if isinstance(W, Tensor):
        return reshape(permute(W, order) if first else W, (W.shape[first], -1))
    xp = namespace(W)
    return xp.reshape(xp.permute_dims(W, order) if first else W, (W.shape[first], -1))


def from_matrix(matrix: Tensor | Array, shape: Sequence[int], axis: int = 0) -> Tensor | Array:
    r"""Give a matrix the shape of its weight again: the inverse of :func:`as_matrix`.

    .. math:: \mathbb R^{d_{out}\times(d_{in}hw)} \;\to\;
              \mathbb R^{d_{out}\times d_{in}\times h\times w}

    Args:
        matrix: one row per entry of the output axis.
        shape: the shape of the weight.
        axis: the output axis of the weight.

    Source: [M18 §2.1]
    """
    first = axes_of(axis, len(shape))[0]
    rows_first = (shape[first], *(n for i, n in enumerate(shape) if i != first))
    order = list(range(1, len(shape)))
    order.insert(first, 0)
    if isinstance(matrix, Tensor):
        W = reshape(matrix, rows_first)
        return permute(W, tuple(order)) if first else W
    xp = namespace(matrix)
    return xp.permute_dims(xp.reshape(matrix, rows_first), tuple(order))


def _output_axis(W: Tensor | Array, axis: int) -> int:
    if not is_floating(values_of(W)):  # refuses a list, too
        raise DTypeError(
            f"expected a weight of floating-point numbers, got dtype {W.dtype}; "
            "convert it to float32 or float64 first"
        )
    if W.ndim < 2:
        raise ShapeError(
            f"expected a weight with at least 2 axes, got shape {shape_of(W)}; the norm of a "
            "vector is its length, that of a scalar its absolute value"
        )
    if 0 in W.shape:
        raise ShapeError(f"expected a weight with entries, got shape {shape_of(W)}")
    return axes_of(axis, W.ndim)[0]


def values_of(W: Tensor | Array) -> Array:
    """Return the array that a tensor holds, or the array itself."""
    return W._array if isinstance(W, Tensor) else W


def shape_of(W: Tensor | Array) -> str:
    """Format the shape of a weight for an error message."""
    return str(list(W.shape))


def _check_vectors(name: str, W: Tensor | Array, axis: int, u: Array, v: Array | None = None):
    """Raise a clear error if u or v does not fit this weight and axis."""
    first = _output_axis(W, axis)
    rows = W.shape[first]
    for letter, x, expected in (("u", u, rows), ("v", v, math.prod(W.shape) // rows)):
        if x is not None:
            check_together(name, (values_of(W), x))
        if x is not None and tuple(x.shape) != (expected,):
            raise ShapeError(
                f"{name}: with output axis {axis}, weight {shape_of(W)} needs {letter} of shape "
                f"[{expected}], got {shape_of(x)}; check the axis (1 for a transposed convolution)"
            )


def double(a: Array) -> Array:
    """Convert to double precision."""
    xp = namespace(a)
    return xp.astype(a, xp.float64, copy=False)


def _unit(a: Array) -> Array:
    """Scale to length 1; zero stays zero."""
    xp = namespace(a)
    a = a / tame(a)
    length = xp.sqrt(xp.sum(a * a))
    return a / xp.where(length > 0, length, xp.ones_like(length))


def peak(name: str, W: Array) -> float:
    """Return the largest absolute entry; refuse a weight that is not finite."""
    xp = namespace(W)
    peak = float(xp.max(xp.abs(W)))
    if not math.isfinite(peak):
        raise NonFiniteError(f"{name}: the weight {shape_of(W)} holds a NaN or an infinity")
    return peak


def decompose(name: str, matrix: Array) -> tuple[Array, Array, Array]:
    r"""Return the reduced singular value decomposition of a matrix.

    .. math:: W = USV^T

    Args:
        name: the caller's name, for the error message.
        matrix: [m, n].
    Returns:
        (U, s, V^T): [m, k], [k] and [k, n], with k the smaller of m and n.
    Raises:
        NonFiniteError: the matrix holds a NaN or an infinity.
    """
    if not kernels.finite_or_unseen(matrix):
        raise NonFiniteError(f"{name}: the weight {shape_of(matrix)} holds a NaN or an infinity")
    return namespace(matrix).linalg.svd(matrix, full_matrices=False)


# -- the normalized weight ------------------------------------------------------------------


def sigma(W: Tensor, u: Array, v: Array, axis: int = 0) -> Tensor:
    r"""Estimate the spectral norm, with u and v constant in the gradient.

    .. math:: \sigma = u^TWv, \qquad \frac{\partial\sigma}{\partial W} = uv^T

    At the leading singular vectors this is the derivative of the norm itself (a
    subgradient where the largest singular value is multiple). The *second* derivatives
    differ: that of :math:`u^TWv` is zero, that of the norm is not.

    Args:
        W: weight, at least 2 axes.
        u, v: the state of the power iteration, [W.shape[axis]] and [the rest].
        axis: the output axis of W.
    Returns:
        A tensor without axes.
    Raises:
        ShapeError: u or v does not fit W.

    Source: [M18 Eq. (19)], [M18 Eq. (22)]
    """
    _check_vectors("sigma", W, axis, u, v)
    return Tensor(u) @ as_matrix(W, axis) @ Tensor(v)  # copies: u and v may move on in place


@fused("W", forward=fast.spectral_divide, backward=fast.spectral_pull)
def spectral_divide(W: Tensor, u: Array, v: Array, axis: int, scale: float) -> Tensor:
    r"""Divide a weight by its spectral norm: the equation itself, without checks.

    .. math:: \bar W_{SN} = \frac{cW}{\sigma(W)}, \qquad \sigma(W) = u^TWv

    The fast form in :mod:`minisn.fused` passes over memory half as often.

    Args:
        W, u, v, axis: as in :func:`sigma`.
        scale: :math:`c`, a number.

    Source: [M18 Eq. (8)]
    """
    return divide(W, sigma(W, u, v, axis), scale)


def spectral_normalize(
    W: Tensor, u: Array, v: Array, axis: int = 0, scale: float | Tensor = 1.0
) -> Tensor:
    r"""Divide a weight by its spectral norm.

    .. math:: \bar W_{SN} = \frac{cW}{\sigma(W)}, \qquad \sigma(W) = u^TWv, \qquad
              \frac{\partial V}{\partial W} = \frac1\sigma\Big(c\,\nabla_{\bar W}V
              - \mathrm{tr}\big((\nabla_{\bar W}V)^T\bar W\big)\,uv^T\Big)

    The rules of :math:`u^TWv`, of the inverse and of the product give this gradient.

    Args:
        W: weight, at least 2 axes.
        u, v: the state of the power iteration, [W.shape[axis]] and [the rest].
        axis: the output axis of W.
        scale: :math:`c`, the spectral norm of the result; a Tensor is learned with W.
    Returns:
        W_bar, the shape of W; all zeros, with zero gradient, where sigma is 0.
    Raises:
        ShapeError: u or v does not fit W.

    Source: [M18 Eq. (8)], [M18 Eq. (9), (10), (11), (12)], [M18 Eq. (22)], [M18 Eq. (32)],
    [M18 Eq. (37)]
    Deviation: W = 0 gives 0, where (8) has no value. A sigma below the smallest normal number,
    whose inverse would overflow, gives 0 too.
    """
    if isinstance(scale, Tensor):
        return divide(W, sigma(W, u, v, axis), scale)
    _check_vectors("spectral_normalize", W, axis, u, v)
    return spectral_divide(W, u=u, v=v, axis=axis, scale=scale)


def divide(W: Tensor, norm: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    r"""Divide a weight by one of its norms; a norm of 0 gives zeros, with gradient zero.

    .. math:: \bar W = cW / N(W), \qquad \bar W = 0 \text{ where } N(W) = 0

    Args:
        W: weight, any shape.
        norm: :math:`N(W)`, of a shape that broadcasts to W's; differentiated too.
        scale: :math:`c`, likewise.

    Source: [M18 Eq. (33), (34), (35)]
    """
    factor = inverse(norm)
    return W * (factor if isinstance(scale, float) and scale == 1.0 else scale * factor)


def bake(
    W: Tensor | Array, u: Array, v: Array, axis: int = 0, scale: float | Tensor = 1.0
) -> Array:
    r"""Compute the normalized weight once, for use without u and v.

    .. math:: \bar W_{SN} = cW / u^TWv

    Args:
        W: weight, at least 2 axes.
        u, v: the state of the power iteration, [W.shape[axis]] and [the rest].
        axis: the output axis of W.
        scale: :math:`c`.
    Returns:
        A new array, equal bit for bit to the result of :func:`spectral_normalize`; no
        power step is made.

    Source: [M18 Eq. (8)]
    """
    with no_grad():
        return spectral_normalize(Tensor.wrap(values_of(W)), u, v, axis, scale)._array


# -- the power method -------------------------------------------------------------------


def power_iteration(
    W: Tensor | Array, u: Array, n: int = 1, axis: int = 0
) -> tuple[Array, Array, Array]:
    r"""Bring u, v nearer to the leading singular vectors of a weight.

    .. math:: v \leftarrow \frac{W^Tu}{\|W^Tu\|_2}, \qquad u \leftarrow \frac{Wv}{\|Wv\|_2},
              \qquad \sigma(W) \approx u^TWv

    The function records nothing and changes nothing in place; it returns the new state.

    Args:
        W: weight, at least 2 axes.
        u: the last u, [W.shape[axis]], not zero; converted to the dtype of W.
        n: rounds; the paper's algorithm makes one per update.
        axis: the output axis of W.
    Returns:
        (u, v, sigma): unit vectors, [W.shape[axis]] and [the rest], and :math:`u^TWv` as an
        array without axes. For W = 0, v and sigma are 0 and u is kept.
    Raises:
        ShapeError: u does not fit W.
        ConfigError: n is less than 1, or u is zero.

    Source: [M18 Eq. (18), (19), (20), (21)], [M18 Alg. 1]
    Deviation: (18) does not say what follows a zero vector. We keep u, so a weight that
    starts at zero finds its norm once it is no longer zero.
    """
    n = whole_number("power_iteration: n", n, 1)
    _check_vectors("power_iteration", W, axis, u)
    matrix = as_matrix(values_of(W), axis)
    u = namespace(u).astype(u, matrix.dtype, copy=False)
    return _begun(kernels.of(matrix).power_iteration(matrix, u, n))


def _begun(found: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Refuse a u of zeros, which no power step leaves; an array on a GPU passes unseen."""
    u, _, sigma = found
    if is_numpy(u) and sigma == 0 and not u.any():
        raise ConfigError("power_iteration: u is zero; begin with a random u (initial_vectors)")
    return found


def power_iteration_operator(
    matvec: Map, rmatvec: Map, u: Array, n: int = 1
) -> tuple[Array, Array, Array]:
    r"""Run :func:`power_iteration` on any linear map, passed as two functions.

    .. math:: v \leftarrow \frac{A^Tu}{\|A^Tu\|_2}, \qquad u \leftarrow \frac{Av}{\|Av\|_2},
              \qquad \sigma(A) \approx \langle u, Av\rangle

    Args:
        matvec: :math:`h \mapsto Ah`, for example a convolution of one image.
        rmatvec: :math:`u \mapsto A^Tu`, its adjoint, here the transposed convolution.
        u: the last u, of the shape that ``matvec`` returns, not zero.
        n: rounds.
    Returns:
        (u, v, sigma): u and v of norm 1, in the shapes of the map; sigma without axes.
    Raises:
        ConfigError: n is less than 1.

    Source: [M18 Eq. (18), (19)]
    """
    n = whole_number("power_iteration_operator: n", n, 1)
    xp = namespace(u)
    for _ in range(n):
        v = _unit(rmatvec(u))
        image = matvec(v)
        u_next = _unit(image)
        u = xp.where(xp.any(u_next != 0), u_next, u)
    return u, v, xp.sum(u * image)


def initial_vectors(
    W: Tensor | Array,
    rng: np.random.Generator | int,
    tolerance: float = 0.01,
    most: int = 20_000,
    axis: int = 0,
) -> tuple[Array, Array]:
    r"""Draw u at random and make power steps until the estimate is provably near the norm.

    .. math:: u \sim \text{uniform on the sphere}, \qquad
              \text{power steps until}\quad (1 + \epsilon)\,u^TWv \ge \tau \ge \sigma(W)

    with the bound :math:`\tau` of :func:`certificate`. The first normalized weight then
    provably has a spectral norm between 1 and :math:`1 + \epsilon`.

    Args:
        W: weight, at least 2 axes; may be zero.
        rng: NumPy's generator, or a seed; the only source of randomness.
        tolerance: :math:`\epsilon`.
        most: limit of power steps. About :math:`\ln(d_{out}) / \epsilon` are enough for any
            spectrum; Gaussian weights need tens, at 1%.
        axis: the output axis of W.
    Returns:
        (u, v), [W.shape[axis]] and [the rest], in the dtype of W.
    Raises:
        NonFiniteError: W holds a NaN or an infinity.
        ConfigError: ``most`` steps did not reach the tolerance.

    Source: [M18 Alg. 1]
    Deviation: Algorithm 1 starts from the random u itself; its first weights then have
    spectral norms well above 1 (1.4 after one step on a 50 by 50 Gaussian matrix).
    """
    matrix = as_matrix(values_of(W), axis)
    in_units, unit = scaled("initial_vectors", matrix)
    ceiling = unit * _norm_bound(in_units)
    drawn = generator(rng).standard_normal(matrix.shape[0])
    u = _unit(near(matrix).asarray(drawn, dtype=matrix.dtype))
    block, left = 8, whole_number("initial_vectors: most", most, 1)
    while left > 0:
        u, v, sigma = power_iteration(matrix, u, min(block, left))
        left -= block
        if (1 + tolerance) * float(sigma) >= ceiling:
            return u, v
    raise ConfigError(
        f"initial_vectors: weight {shape_of(W)} of {W.dtype}: after {most} power steps the "
        f"estimate {float(sigma):.9g} is not proved within {tolerance:g} of the norm, which is at "
        f"most {ceiling:.9g}; use a larger tolerance"
    )


# -- what an estimate proves --------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    r"""Proved bounds of a spectral norm: :math:`u^TWv \le \sigma(W) \le \tau`.

    Attributes:
        sigma: :math:`u^TWv`, the lower bound, for unit u and v.
        residual: :math:`\|W^Tu - \sigma v\|_2`, 0 where u, v are singular vectors.
        upper: :math:`\tau`, the upper bound.
    """

    sigma: float
    residual: float
    upper: float

    @property
    def excess(self) -> float:
        r"""The upper bound of the norm of :math:`W / u^TWv`, :math:`\tau / u^TWv`.

        It is 1 for W = 0, and infinite if only the estimate is 0.
        """
        if self.sigma == 0:
            return 1.0 if self.upper == 0 else math.inf
        return self.upper / abs(self.sigma)

    def __str__(self) -> str:
        return f"{self.sigma:.6g} <= sigma(W) <= {self.upper:.6g} (residual {self.residual:.2g})"

    def _repr_html_(self) -> str:
        """Show both bounds and the residual as a table in a notebook."""
        rows = [("lower bound", f"{self.sigma:.8g}"), ("upper bound", f"{self.upper:.8g}")]
        rows += [("upper / lower", f"{self.excess:.8g}"), ("residual", f"{self.residual:.2g}")]
        return table("Spectral norm", rows)


def certificate(W: Tensor | Array, u: Array, v: Array, axis: int = 0) -> Certificate:
    r"""Enclose the spectral norm of a weight between two numbers, in double precision.

    .. math:: u^TWv \;\le\; \sigma(W) = \sqrt{\lambda_{\max}(WW^T)} \;\le\; \tau
              = (1 + mn\varepsilon)\sqrt{\hat\lambda_{\max}}

    *Below*: :math:`u^TWv \le \|u\|\,\|Wv\| \le \sigma(W)` for unit u, v.
    *Above*: let :math:`G = WW^T` for an m by n matrix, m ≤ n (else :math:`W^TW`). The computed
    :math:`\hat G` differs from G by at most :math:`\tfrac12 n\varepsilon\|W\|_F^2 \le
    \tfrac12 mn\varepsilon\,\sigma^2` in norm. The computed largest eigenvalue of :math:`\hat G`
    differs from the true one by a small multiple of :math:`m\varepsilon\,\sigma^2`, because the
    eigenvalue solver is backward stable. By Weyl's inequality both errors carry over to
    :math:`\lambda_{\max}`. The factor :math:`1 + mn\varepsilon`, four times the first error
    after the root, covers both.

    *The residual*: after a power step :math:`Wv = \sigma u`, so some singular value lies within
    :math:`\|W^Tu - \sigma v\|/\sqrt2` of sigma (where that is below sigma). The residual does
    not show which one: at the second pair of singular vectors the residual is 0, but the
    estimate is wrong. Only the upper bound shows that.

    The certificate costs one product of the matrix with its transpose and one set of
    eigenvalues. It belongs in a report, not in a training step.

    Args:
        W: weight, at least 2 axes.
        u, v: the state of the power iteration, [W.shape[axis]] and [the rest].
        axis: the output axis of W.
    Returns:
        The certificate, in the units of W.
    Raises:
        ShapeError: u or v does not fit W.
        NonFiniteError: W holds a NaN or an infinity.

    Source: [M18 Eq. (6), (19)]
    """
    _check_vectors("certificate", W, axis, u, v)
    matrix, unit = scaled("certificate", as_matrix(values_of(W), axis))
    xp = namespace(matrix)
    u, v = _unit(double(u)), _unit(double(v))
    sigma = u @ (matrix @ v)
    gap = matrix.T @ u - sigma * v
    residual = xp.sqrt(xp.sum(gap * gap))
    return Certificate(unit * float(sigma), unit * float(residual), unit * _norm_bound(matrix))


def norm_bound(W: Tensor | Array, axis: int = 0) -> float:
    r"""Return a proved upper bound on the spectral norm of a weight.

    .. math:: \tau = (1 + mn\varepsilon)\sqrt{\hat\lambda_{\max}} \ge \sigma(W)

    This is the upper bound of :func:`certificate`.

    Args:
        W: weight, at least 2 axes.
        axis: the output axis of W.
    Raises:
        NonFiniteError: W holds a NaN or an infinity.

    Source: [M18 Eq. (6)]
    """
    matrix, unit = scaled("norm_bound", as_matrix(values_of(W), axis))
    return unit * _norm_bound(matrix)


def scaled(name: str, W: Array) -> tuple[Array, float]:
    """Divide a weight, in double precision, by its largest absolute entry; return both."""
    unit = peak(name, W) or 1.0
    return double(W) / unit, unit


def _norm_bound(matrix: Array) -> float:
    """Return the upper bound of :func:`certificate`."""
    xp = namespace(matrix)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    largest = max(float(xp.linalg.eigvalsh(gram)[-1]), 0.0)
    return math.sqrt(largest) * (1 + matrix.size * float(xp.finfo(xp.float64).eps))


# -- spectra --------------------------------------------------------------------------------


def singular_values(W: Tensor | Array, axis: int = 0) -> Array:
    r"""Compute every singular value of a weight.

    .. math:: W = \sum_t \sigma_t\,u_tv_t^T, \qquad
              \sigma(W) = \max_{h\ne0}\frac{\|Wh\|_2}{\|h\|_2} = \sigma_1

    Args:
        W: weight, at least 2 axes.
        axis: the output axis of W.
    Returns:
        [min(rows, columns)], the largest first.
    Raises:
        NonFiniteError: W holds a NaN or an infinity.

    Source: [M18 Eq. (6)]
    """
    matrix = as_matrix(values_of(W), axis)
    peak("singular_values", matrix)
    return svdvals(matrix)
