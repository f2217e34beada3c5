"""The specification: each kernel as the loops of its equation.

The loops are slow on purpose and meant to be read. Tests compare every other
kernel module with this one.
"""

import builtins
import itertools
import math

from ..backend import Array, namespace, near
from ..geometry import Pair, output_size, transposed_size


def _meetings(size: Pair, kernel: Pair, out: Pair, stride: Pair, padding: Pair):
    """Yield every (input row, column, tap row, column, output row, column) that meet."""
    for i in range(out[0]):
        for j in range(out[1]):
            for p in range(kernel[0]):
                for q in range(kernel[1]):
                    r = stride[0] * i + p - padding[0]
                    c = stride[1] * j + q - padding[1]
                    if 0 <= r < size[0] and 0 <= c < size[1]:
                        yield r, c, p, q, i, j


def conv2d(x: Array, w: Array, stride: Pair, padding: Pair, bias: Array | None = None) -> Array:
    r"""Compute :math:`y_{noij} = b_o + \sum_{cpq} w_{ocpq}\,x_{n,c,si+p-a,sj+q-a}`."""
    (n, d_in, *size), (d_out, _, *kernel) = x.shape, w.shape
    out = output_size("conv2d", size, kernel, stride, padding)
    y = near(x).zeros((n, d_out, *out), dtype=x.dtype)
    if bias is not None:
        for o in range(d_out):
            y[:, o, :, :] = bias[o]
    for r, c, p, q, i, j in _meetings(size, kernel, out, stride, padding):
        for b in range(n):
            for o in range(d_out):
                for k in range(d_in):
                    y[b, o, i, j] += w[o, k, p, q] * x[b, k, r, c]
    return y


def conv2d_transpose(
    y: Array, w: Array, stride: Pair, padding: Pair, output_padding: Pair
) -> Array:
    r"""Compute :math:`x_{n,c,si+p-a,sj+q-a} \mathrel{+}= w_{ocpq}\,y_{noij}`."""
    (n, d_out, *out), (_, d_in, *kernel) = y.shape, w.shape
    size = transposed_size(out, kernel, stride, padding, output_padding)
    x = near(y).zeros((n, d_in, *size), dtype=y.dtype)
    for r, c, p, q, i, j in _meetings(size, kernel, out, stride, padding):
        for b in range(n):
            for o in range(d_out):
                for k in range(d_in):
                    x[b, k, r, c] += w[o, k, p, q] * y[b, o, i, j]
    return x


def conv2d_weight(x: Array, y: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    r"""Compute :math:`w_{ocpq} = \sum_{nij} y_{noij}\,x_{n,c,si+p-a,sj+q-a}`."""
    (n, d_in, *size), (_, d_out, *out) = x.shape, y.shape
    w = near(x).zeros((d_out, d_in, *kernel), dtype=x.dtype)
    for r, c, p, q, i, j in _meetings(size, kernel, out, stride, padding):
        for b in range(n):
            for o in range(d_out):
                for k in range(d_in):
                    w[o, k, p, q] += y[b, o, i, j] * x[b, k, r, c]
    return w


def power_iteration(W: Array, u: Array, n: int) -> tuple[Array, Array, Array]:
    r"""Run n rounds of :math:`v \leftarrow W^Tu/\|W^Tu\|,\; u \leftarrow Wv/\|Wv\|`.

    Returns (u, v, :math:`u^TWv`) [M18 Eq. (18), (19), (20), (21)]; where Wv is zero, u does
    not change.
    """
    rows, columns = W.shape
    u = near(u).asarray(u, copy=True)
    v = near(W).zeros((columns,), dtype=W.dtype)
    for _ in range(n):
        for j in range(columns):
            v[j] = _dot((W[i, j], u[i]) for i in range(rows))
        _normalize(v)
        Wv = [_dot((W[i, j], v[j]) for j in range(columns)) for i in range(rows)]
        if any(Wv):
            u = near(W).asarray(Wv, dtype=W.dtype)
            _normalize(u)
    sigma = _dot((u[i], W[i, j], v[j]) for i in range(rows) for j in range(columns))
    return u, v, near(W).asarray(sigma, dtype=W.dtype)


def _dot(factors) -> float:
    """Sum products of numbers, in double precision."""
    return builtins.sum(math.prod(map(float, numbers)) for numbers in factors)


def _normalize(a: Array) -> None:
    norm = math.hypot(*(float(a[i]) for i in range(a.shape[0])))
    for i in range(a.shape[0]):
        a[i] = float(a[i]) / norm if norm != 0 else 0.0


def leaky_relu(x: Array, slope: float) -> Array:
    r"""Compute :math:`ax` where :math:`x \le 0` (0 for :math:`a = 0`), :math:`x` elsewhere."""
    return _entrywise(lambda t: (slope * t if slope else 0.0) if t <= 0 else t, x)


def leaky_relu_pull(g: Array, x: Array, slope: float) -> Array:
    r"""Compute :math:`ag` where :math:`x \le 0` (0 for :math:`a = 0`), :math:`g` elsewhere."""
    return _entrywise(lambda h, t: (slope * h if slope else 0.0) if t <= 0 else h, g, x)


def _entrywise(f, *arrays: Array) -> Array:
    xp = namespace(arrays[0])
    flat = [xp.reshape(a, (-1,)) for a in arrays]
    y = near(flat[0]).zeros(flat[0].shape, dtype=flat[0].dtype)
    for i in range(y.shape[0]):
        y[i] = f(*(float(a[i]) for a in flat))
    return xp.reshape(y, arrays[0].shape)


def sum(x: Array, axes: tuple[int, ...]) -> Array:
    r"""Compute :math:`\sum_i x_i` over axes, which are kept with size 1."""
    return _reduce(builtins.sum, x, axes)


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    r"""Compute :math:`\mu = \frac1n\sum_i x_i` and :math:`\frac1n\sum_i (x_i-\mu)^2` over axes.

    These axes are kept with size 1.
    """

    def mean(values):
        return builtins.sum(values) / len(values)

    def variance(values):
        return mean([(t - mean(values)) ** 2 for t in values])

    return _reduce(mean, x, axes), _reduce(variance, x, axes)


def _reduce(f, x: Array, axes: tuple[int, ...]) -> Array:
    """Apply f to the entries along the axes, at every place of the other axes."""
    kept = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    y = near(x).zeros(kept, dtype=x.dtype)
    for place in itertools.product(*map(range, kept)):
        reach = [
            range(n) if a in axes else (at,)
            for a, (n, at) in enumerate(zip(x.shape, place, strict=True))
        ]
        y[place] = f([float(x[i]) for i in itertools.product(*reach)])
    return y


def normalize(x: Array, mean: Array, spread: Array, gain: Array, shift: Array) -> Array:
    r"""Compute :math:`\gamma (x - \mu) / s + \beta`, each repeated to the shape of x."""
    return _entrywise(
        lambda t, m, s, a, b: a * ((t - m) / s) + b, x, *_repeat(x, mean, spread, gain, shift)
    )


def normalize_pull(
    g: Array, x: Array, mean: Array, spread: Array, gain: Array, shift: Array
) -> tuple[Array, Array, Array]:
    r"""Compute the gradients of x, the gain and the shift, for the moments of x itself.

    With :math:`\hat x = (x - \mu) / s` and :math:`h = \gamma g` they are
    :math:`(h - \langle h\rangle - \hat x\,\langle h\,\hat x\rangle) / s`,
    :math:`\sum g\,\hat x` and :math:`\sum g`.
    """
    axes = tuple(a for a, n in enumerate(mean.shape) if n == 1)
    mean, spread, repeated = _repeat(x, mean, spread, gain)
    unit = _entrywise(lambda t, m, s: (t - m) / s, x, mean, spread)
    h = _entrywise(lambda a, b: a * b, repeated, g)
    level, along = (moments(a, axes)[0] for a in (h, _entrywise(lambda a, b: a * b, h, unit)))
    g_x = _entrywise(
        lambda a, t, m, p, s: (a - m - t * p) / s, h, unit, *_repeat(x, level, along), spread
    )
    product = _entrywise(lambda a, b: a * b, g, unit)
    return g_x, _sum_to(product, gain.shape), _sum_to(g, shift.shape)


def _repeat(x: Array, *arrays: Array) -> list[Array]:
    return [namespace(x).broadcast_to(a, x.shape) for a in arrays]


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    lead = x.ndim - len(shape)
    axes = tuple(a for a in range(x.ndim) if a < lead or shape[a - lead] == 1)
    return namespace(x).reshape(sum(x, axes), shape)


def spectral_pull(g: Array, W: Array, r: Array | float, u: Array, v: Array, scale: float) -> Array:
    r"""Compute :math:`c\,r\,(g_{aij} - r\,\langle g, W\rangle\,u_iv_{aj})`."""
    o = near(g).zeros(g.shape, dtype=g.dtype)
    places = list(itertools.product(*map(range, g.shape)))
    along = float(r) * _dot((g[place], W[place]) for place in places)
    for a, i, j in places:
        o[a, i, j] = scale * float(r) * (float(g[a, i, j]) - along * _dot([(u[i], v[a, j])]))
    return o


def all_finite(x: Array) -> bool:
    """Return whether no entry is a NaN or an infinity."""
    return all(math.isfinite(x[place]) for place in itertools.product(*map(range, x.shape)))


def scatter_add(values: Array, places: Array, size: int) -> Array:
    r"""Compute :math:`y_j = \sum_{i:\,s(i)=j} g_i` over flat places s."""
    y = near(values).zeros((size,), dtype=values.dtype)
    for i in range(values.shape[0]):
        y[int(places[i])] += values[i]
    return y


def adam(theta, g, m, v, rate: float, beta1: float, beta2: float, eps: float):
    r"""Make one Adam step on flat arrays; return the new theta, m and v.

    :math:`m \leftarrow \beta_1 m + (1-\beta_1) g,\; v \leftarrow \beta_2 v + (1-\beta_2) g^2,\;
    \theta \leftarrow \theta - \alpha\,m / (\sqrt v + \epsilon)`; the rate :math:`\alpha` and
    :math:`\epsilon` include the bias corrections.
    """
    m = _entrywise(lambda a, b: beta1 * a + (1 - beta1) * b, m, g)
    v = _entrywise(lambda a, b: beta2 * a + (1 - beta2) * b * b, v, g)
    return _entrywise(lambda t, a, b: t - rate * a / (math.sqrt(b) + eps), theta, m, v), m, v
