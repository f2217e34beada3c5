r"""The norm of a convolution as an operator, and bounds of a network's Lipschitz constant.

.. math:: \|A\| = \max_{x\ne0}\frac{\|\mathrm{conv}(x, w)\|_2}{\|x\|_2}, \qquad
          \|f\|_{Lip} \le \prod_{l=1}^{L+1} \sigma(W^l)

The norm of a convolution is not that of its weight read as a matrix: see :mod:`minisn.spectral`.

Source: [M18 Eq. (7)], [M18 §2.1]
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from . import kernels, ops
from .backend import Array, namespace, near, svdvals, to_numpy
from .display import table
from .errors import ConfigError, MinisnError, NonFiniteError, ShapeError
from .geometry import Pixels, left_over, moves, output_size, pair
from .spectral import Map, double, peak, scaled, shape_of, values_of
from .tensor import Tensor, grad, sum

# -- the norm of a convolution ----------------------------------------------------------------


@dataclass(frozen=True)
class Convolution:
    """A convolution of images of one size as a linear map; both maps take batches [N, ...]."""

    forward: Map
    adjoint: Map
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def entries(self) -> int:
        return math.prod(self.inputs) * math.prod(self.outputs)


def convolution(name: str, w: Array, size: Pixels, stride: Pixels, padding: Pixels) -> Convolution:
    """Return the convolution with a weight [d_out, d_in, h, w] as a linear map of its images.

    Args:
        name: the caller's name, for the error message.
        w: the weight.
        size: the size of the images, (H, W) pixels or one number.
        stride, padding: those of the convolution.
    Raises:
        ShapeError: the weight has no four axes, or the kernel does not fit.
    """
    if w.ndim != 4:
        raise ShapeError(f"{name}: expected a weight [d_out, d_in, h, w], got shape {shape_of(w)}")
    images, (s, a) = pair("size", size), moves(stride, padding)
    d_out, d_in, *kernel = w.shape
    out = output_size(name, images, kernel, s, a)
    rest = left_over(images, out, kernel, s, a)
    kernel_module = kernels.of(w)
    return Convolution(
        lambda x: kernel_module.conv2d(x, w, s, a),
        lambda y: kernel_module.conv2d_transpose(y, w, s, a, rest),
        (d_in, *images),
        (d_out, *out),
    )


def conv_singular_values(
    w: Tensor | Array, size: Pixels, stride: Pixels = 1, padding: Pixels = 0
) -> Array:
    r"""Compute every singular value of a convolution, from its explicit matrix.

    .. math:: \sigma_t(A), \qquad Ax = \mathrm{conv}(x, w)

    Args:
        w: weight, [d_out, d_in, h, w].
        size: the size of the input images, (H, W) pixels or one number.
        stride, padding: those of the convolution.
    Returns:
        [min(entries of an input, of an output)], the largest first, in double precision.
    Raises:
        ShapeError: the kernel does not fit, or the matrix would have over 2**25 entries.
        NonFiniteError: w holds a NaN or an infinity.

    Source: [M18 §2.1], [L21 SN_Conv]
    """
    w = values_of(w)
    peak("conv_singular_values", w)
    conv = convolution("conv_singular_values", double(w), size, stride, padding)
    if conv.entries > 2**25:
        raise ShapeError(
            f"conv_singular_values: the matrix of this convolution has {conv.entries} entries; "
            "use a smaller size, or conv_operator_norm for the largest singular value"
        )
    xp = namespace(w)
    shape, way = min(
        (conv.inputs, conv.forward), (conv.outputs, conv.adjoint), key=lambda end: math.prod(end[0])
    )
    n = math.prod(shape)
    basis = xp.reshape(near(w).eye(n, dtype=xp.float64), (n, *shape))
    return svdvals(xp.reshape(way(basis), (n, -1)))


def conv_operator_norm(
    w: Tensor | Array,
    size: Pixels,
    stride: Pixels = 1,
    padding: Pixels = 0,
    tolerance: float = 1e-7,
) -> float:
    r"""Compute the norm of a convolution as a linear operator on images of one size.

    .. math:: \|A\| = \max_{x\ne0}\frac{\|\mathrm{conv}(x, w)\|_2}{\|x\|_2}, \qquad
              1 \le \frac{\|A\|}{\sigma(W)} \le \sqrt{\lceil h/s\rceil\lceil w/s\rceil}

    Here W is the matrix of axis 0. The lower bound holds where some patch lies wholly inside the
    input. The transposed convolution to images of that size has the same norm. SN divides its
    weight by the norm of the axis-1 matrix; against that the lower bound fails, with a quotient of
    about 0.65 for normal weights [64, 2, 4, 4] at stride 2. A small convolution is decomposed as
    an explicit matrix. For a large one, Lanczos iteration finds the largest eigenvalue of
    :math:`A^TA` from a fixed random start; it uses only the convolution and its adjoint, in
    double precision. The function then checks :math:`\|A^TAx - \lambda x\| \le
    2\epsilon\lambda`: a singular value lies within :math:`\epsilon\|A\|` of the result, and
    the result never exceeds the norm. From its fixed start, and with a tolerance, the
    iteration is very unlikely to miss a larger singular value; the check does not exclude it.

    Args:
        w: weight, [d_out, d_in, h, w]; [d_in, d_out, ...] as a transposed convolution holds it.
        size: the size of the input images, (H, W) pixels or one number.
        stride, padding: those of the convolution.
        tolerance: :math:`\epsilon`, relative.
    Returns:
        The norm, in the units of w.
    Raises:
        ShapeError: the kernel does not fit.
        NonFiniteError: w holds a NaN or an infinity.
        MinisnError: the tolerance was not reached.

    Source: [M18 §2.1], [L21 SN_Conv]
    Deviation: M18 normalizes by the norm of the matrix, not by this one.
    """
    w, unit = scaled("conv_operator_norm", values_of(w))
    conv = convolution("conv_operator_norm", w, size, stride, padding)
    if conv.entries <= 2**16 or math.prod(conv.inputs) == 1:
        return unit * float(conv_singular_values(w, size, stride, padding)[0])
    n = math.prod(conv.inputs)

    def gram(x: np.ndarray) -> np.ndarray:
        image = near(w).asarray(np.reshape(x, (1, *conv.inputs)))
        return np.reshape(to_numpy(conv.adjoint(conv.forward(image))), (n,))

    return unit * math.sqrt(_largest_eigenvalue(gram, n, tolerance))


def _largest_eigenvalue(
    gram: Callable[[np.ndarray], np.ndarray], n: int, tolerance: float
) -> float:
    """Return the largest eigenvalue of :math:`A^TA` by Lanczos iteration, and check it."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(n)
    if not np.any(gram(start)):
        return 0.0
    operator = LinearOperator((n, n), matvec=gram, dtype=np.float64)
    _, vectors = eigsh(operator, k=1, which="LA", v0=start, tol=tolerance)
    x = vectors[:, 0] / np.linalg.norm(vectors[:, 0])
    pulled = gram(x)
    eigenvalue = float(x @ pulled)
    residual = float(np.linalg.norm(pulled - eigenvalue * x))
    if not residual <= 2 * tolerance * eigenvalue:
        raise MinisnError(
            f"conv_operator_norm: the relative residual {residual / eigenvalue:.2g} stayed above "
            f"{2 * tolerance:.2g}; use a tolerance above the rounding of double precision"
        )
    return eigenvalue


# -- the Lipschitz constant of a network ------------------------------------------------------


@dataclass(frozen=True)
class LipschitzBound:
    r"""An upper bound on a network's Lipschitz constant, and the factor of each layer.

    Attributes:
        factors: (name, norm times activation constant), layer by layer.
        value: their product.
    """

    factors: tuple[tuple[str, float], ...]
    value: float

    def _repr_html_(self) -> str:
        """Show the layers' factors as a table in a notebook."""
        return table(
            f"Lipschitz constant at most {self.value:.4g}", self.factors, ("layer", "factor")
        )


def lipschitz_bound(layers: Iterable[tuple[str, float, float]]) -> LipschitzBound:
    r"""Bound the Lipschitz constant of a network by the product of its layers'.

    .. math:: \|f\|_{Lip} \le \prod_{l=1}^{L+1} \sigma(W^l)\,\|a_l\|_{Lip}

    The product is a bound only if each norm bounds its layer: for a dense layer
    ``certificate(...).upper`` of the weight in use, for a convolution
    :func:`conv_operator_norm`, for a sum of paths (a residual block) the sum of the paths'
    products. The estimate :math:`u^TWv` and the norm of a reshaped kernel are too small.

    Args:
        layers: a triple (name, norm, constant) for each layer, in any order. The constant is the
            Lipschitz constant of the activation after the layer: 1 for ReLU, leaky ReLU, tanh or
            none, 0.25 for a sigmoid.
    Returns:
        The factors and their product; 1 without layers.
    Raises:
        NonFiniteError: a norm is a NaN or an infinity; the message names the layer.
        ConfigError: a norm or a constant is negative, or a constant is not finite.

    Source: [M18 Eq. (7)]
    """
    factors = []
    for name, norm, constant in layers:
        if not math.isfinite(norm):
            raise NonFiniteError(f"{name}: expected a finite norm, got {float(norm)}")
        if norm < 0 or not 0 <= constant < math.inf:
            raise ConfigError(
                f"{name}: expected a norm and a finite constant of at least 0, "
                f"got norm {float(norm)} and constant {float(constant)}"
            )
        factors.append((name, float(norm) * float(constant)))
    return LipschitzBound(tuple(factors), math.prod(factor for _, factor in factors))


@dataclass(frozen=True)
class LipschitzLowerBound:
    r"""A slope that a function has at some point: a lower bound on its Lipschitz constant.

    Attributes:
        value: the largest :math:`\|\nabla_x f\|_2` found.
        point: that point, one x without the batch axis.
        history: the largest slope found after 0, 1, ... steps; it never falls.
    """

    value: float
    point: Array
    history: tuple[float, ...]


def lipschitz_lower_bound(
    f: Callable[[Tensor], Tensor], points: Tensor | Array, steps: int = 20, rate: float = 0.1
) -> LipschitzLowerBound:
    r"""Climb to points where a function is steep, for a lower bound on its Lipschitz constant.

    .. math:: \|f\|_{Lip} \ge \max_n \|\nabla_x f(x_n)\|_2, \qquad
              x_n \leftarrow x_n + \eta_n\frac{d_n}{\|d_n\|_2},\quad
              d_n = \nabla_x \|\nabla_x f(x_n)\|_2

    A step that does not climb is undone, and :math:`\eta_n` of that point is halved. If f is
    piecewise linear (ReLU, leaky ReLU), the slope is constant on each piece,
    :math:`d_n = 0`, and the bound is the largest slope at the points themselves: pass many
    points. On a kink between pieces no gradient exists, and the value that autograd reports
    need not be a slope of f.

    Args:
        f: maps [N, ...] to [N] or [N, 1], each row on its own (no batch statistics).
        points: the starting points, [N, ...].
        steps: the number of steps; each differentiates f twice.
        rate: :math:`\eta`, the length of the first step, in the units of x.
    Returns:
        The value, its point, and the value after each step.
    Raises:
        ShapeError: f does not return one number per point.
        NonFiniteError: a gradient is not finite.

    Source: [M18 Eq. (5)], [M18 Eq. (7)]
    """
    x = values_of(points)
    xp = namespace(x)
    if not x.shape[0]:
        raise ShapeError("lipschitz_lower_bound: there are no points; expected at least one")
    slope, direction = _slopes(f, x)
    length = near(x).full(slope.shape, rate, dtype=x.dtype)
    history = [float(xp.max(slope))]
    for _ in range(steps):
        trial = x + _per_point(length, x) * direction
        trial_slope, trial_direction = _slopes(f, trial)
        climbs = trial_slope > slope
        slope = xp.where(climbs, trial_slope, slope)
        x = xp.where(_per_point(climbs, x), trial, x)
        direction = xp.where(_per_point(climbs, x), trial_direction, direction)
        length = xp.where(climbs, length, length / 2)
        history.append(float(xp.max(slope)))
    if not math.isfinite(history[-1]):
        raise NonFiniteError("lipschitz_lower_bound: the gradient of f is not finite at a point")
    return LipschitzLowerBound(history[-1], x[int(xp.argmax(slope)), ...], tuple(history))


def _slopes(f: Callable[[Tensor], Tensor], points: Array) -> tuple[Array, Array]:
    """Return the norm of f's gradient at each point, and the unit direction of its ascent."""
    x = Tensor.wrap(points, requires_grad=True)
    y = f(x)
    if y.shape not in ((x.shape[0],), (x.shape[0], 1)):
        raise ShapeError(
            f"lipschitz_lower_bound: for {x.shape[0]} points, f must return shape "
            f"[{x.shape[0]}] or [{x.shape[0]}, 1], got {shape_of(y)}"
        )
    g = grad(sum(y), x, create_graph=True)
    slope = ops.norm(g, axis=tuple(range(1, x.ndim)))
    if not slope.requires_grad:  # f is linear: its slope does not depend on x
        return slope._array, namespace(points).zeros_like(points)
    direction = grad(sum(slope), x)._array
    xp = namespace(points)
    squares = xp.sum(direction * direction, axis=tuple(range(1, x.ndim)), keepdims=True)
    length = xp.sqrt(xp.where(squares > 0, squares, xp.ones_like(squares)))
    return slope._array, direction / length


def _per_point(values: Array, x: Array) -> Array:
    return namespace(values).reshape(values, (-1, *(1 for _ in x.shape[1:])))
