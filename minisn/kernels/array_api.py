"""The kernels in calls of the array API standard, for NumPy, CuPy and any other library.

A convolution becomes one matrix product: each row of its left factor is a patch of the image,
as long as a filter.
"""

import numpy as np

from ..backend import Array, is_numpy, namespace, near
from ..geometry import Pair, output_size, transposed_size


def pad(x: Array, widths) -> Array:
    """Surround an array with zeros, (before, after) along each axis."""
    if not any(lo or hi for lo, hi in widths):
        return x
    shape = tuple(lo + n + hi for n, (lo, hi) in zip(x.shape, widths, strict=True))
    y = near(x).zeros(shape, dtype=x.dtype)
    y[tuple(slice(lo, lo + n) for n, (lo, _) in zip(x.shape, widths, strict=True))] = x
    return y


def _taps(out: Pair, kernel: Pair, stride: Pair):
    """Yield, for each tap of the kernel, the pixels it meets, as slices of the padded image."""
    for p in range(kernel[0]):
        for q in range(kernel[1]):
            rows = slice(p, p + stride[0] * (out[0] - 1) + 1, stride[0])
            yield ..., rows, slice(q, q + stride[1] * (out[1] - 1) + 1, stride[1])


def _patches(x: Array, out: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """Return the patches as rows: [n * rows * columns, d_in * h * w]."""
    xp = namespace(x)
    padded = pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    taps = xp.stack([padded[tap] for tap in _taps(out, kernel, stride)])
    return xp.reshape(xp.permute_dims(taps, (1, 3, 4, 2, 0)), (x.shape[0] * out[0] * out[1], -1))


def _rows(y: Array) -> Array:
    """Return the pixels as rows: [n * rows * columns, channels]."""
    xp = namespace(y)
    return xp.reshape(xp.permute_dims(y, (0, 2, 3, 1)), (-1, y.shape[1]))


def conv2d(x: Array, w: Array, stride: Pair, padding: Pair, bias: Array | None = None) -> Array:
    r"""Compute :math:`Y = X_{patches} W^T + b`."""
    xp = namespace(x)
    (n, _, *size), (d_out, _, *kernel) = x.shape, w.shape
    out = output_size("conv2d", size, kernel, stride, padding)
    y = _patches(x, out, kernel, stride, padding) @ xp.reshape(w, (d_out, -1)).T
    y = y if bias is None else y + bias
    return xp.permute_dims(xp.reshape(y, (n, *out, d_out)), (0, 3, 1, 2))


def conv2d_transpose(
    y: Array, w: Array, stride: Pair, padding: Pair, output_padding: Pair
) -> Array:
    r"""Compute the patches :math:`Y W` and add each to the pixels it came from."""
    xp = namespace(y)
    (n, _, *out), (d_out, d_in, *kernel) = y.shape, w.shape
    full = transposed_size(out, kernel, stride, (0, 0), output_padding)
    patches = xp.reshape(
        _rows(y) @ xp.reshape(w, (d_out, -1)), (n, *out, d_in, kernel[0] * kernel[1])
    )
    patches = xp.permute_dims(patches, (4, 0, 3, 1, 2))
    x = near(y).zeros((n, d_in, *full), dtype=y.dtype)
    for k, tap in enumerate(_taps(out, kernel, stride)):
        x[tap] += patches[k, ...]
    rows, columns = (slice(p, m - p) for p, m in zip(padding, full, strict=True))
    return x[:, :, rows, columns]


def conv2d_weight(x: Array, y: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    r"""Compute :math:`W = Y^T X_{patches}`."""
    patches = _patches(x, y.shape[2:], kernel, stride, padding)
    return namespace(x).reshape(_rows(y).T @ patches, (y.shape[1], x.shape[1], *kernel))


def power_iteration(W: Array, u: Array, n: int) -> tuple[Array, Array, Array]:
    """Run n rounds of (18) and return (u, v, sigma)."""
    xp, v = namespace(W), W.T @ u
    for _ in range(n):
        v = _normalized(W.T @ u)
        Wv = _normalized(W @ v)
        u = xp.where(xp.any(Wv != 0), Wv, u)
    return u, v, u @ (W @ v)


def _normalized(a: Array) -> Array:
    """Divide by the largest entry, then by the norm, so that no square overflows."""
    xp = namespace(a)
    largest = xp.max(xp.abs(a))
    a = a / xp.where(largest > 0, largest, xp.ones_like(largest))
    norm = xp.sqrt(xp.sum(a * a))
    return a / xp.where(norm > 0, norm, xp.ones_like(norm))


def leaky_relu(x: Array, slope: float) -> Array:
    """Keep positive entries, scale the others; a scale of 0 turns infinities into 0, too."""
    xp = namespace(x)
    return xp.where(x <= 0, slope * x if slope else xp.zeros_like(x), x)


def leaky_relu_pull(g: Array, x: Array, slope: float) -> Array:
    """Keep g where x is positive, scale it elsewhere."""
    xp = namespace(x)
    return xp.where(x <= 0, slope * g if slope else xp.zeros_like(g), g)


def sum(x: Array, axes: tuple[int, ...]) -> Array:
    """Sum over some axes, which are kept with size 1."""
    return namespace(x).sum(x, axis=axes, keepdims=True, dtype=x.dtype)


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return mean and variance over some axes, which are kept with size 1."""
    xp = namespace(x)
    if is_numpy(x) and x.dtype == np.float16:  # its squares soon overflow
        mean, variance = moments(x.astype(np.float32), axes)
        return mean.astype(x.dtype), variance.astype(x.dtype)
    mean = xp.mean(x, axis=axes, keepdims=True)
    centered = x - mean
    return mean, xp.mean(centered * centered, axis=axes, keepdims=True)


def normalize(x: Array, mean: Array, spread: Array, gain: Array, shift: Array) -> Array:
    """Shift and scale to given moments, then multiply by a gain and add a shift."""
    return (x - mean) * (gain / spread) + shift


def normalize_pull(
    g: Array, x: Array, mean: Array, spread: Array, gain: Array, shift: Array
) -> tuple[Array, Array, Array]:
    """Pull a gradient back through normalization: to x, the gain and the shift."""
    xp, axes = namespace(g), tuple(a for a, n in enumerate(mean.shape) if n == 1)
    unit, h = (x - mean) / spread, gain * g
    along = xp.mean(h * unit, axis=axes, keepdims=True)
    g_x = (h - xp.mean(h, axis=axes, keepdims=True) - unit * along) / spread
    return g_x, sum_to(g * unit, gain.shape), sum_to(g, shift.shape)


def sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Sum x over the axes along which an array of a shape is broadcast to that of x."""
    lead = x.ndim - len(shape)
    axes = tuple(a for a in range(x.ndim) if a < lead or shape[a - lead] == 1)
    return namespace(x).reshape(sum(x, axes), shape)


def spectral_pull(g: Array, W: Array, r: Array | float, u: Array, v: Array, scale: float) -> Array:
    """Pull a gradient back through the division of a weight by its spectral norm."""
    xp = namespace(g)
    uv = xp.reshape(u, (1, -1, 1)) * xp.reshape(v, (v.shape[0], 1, -1))
    return scale * r * (g - r * xp.sum(g * W) * uv)


def all_finite(x: Array) -> bool:
    """Return whether no entry is a NaN or an infinity."""
    xp = namespace(x)
    return bool(xp.all(xp.isfinite(x)))


def scatter_add(values: Array, places: Array, size: int) -> Array:
    """Sum the values that go to each place, as products with a matrix of hits."""
    xp = namespace(values)
    y = near(values).zeros((size,), dtype=values.dtype)
    if is_numpy(values):  # no such matrix: its zeros times infinity are NaN
        np.add.at(y, places, values)
        return y
    block = max(1, 2**22 // max(size, 1))  # the matrix stays within 16 MB
    for start in range(0, values.shape[0], block):
        part = slice(start, min(start + block, values.shape[0]))
        hits = xp.reshape(near(values).arange(size), (-1, 1)) == xp.reshape(places[part], (1, -1))
        y = y + xp.astype(hits, values.dtype) @ values[part]
    return y


def adam(theta, g, m, v, rate: float, beta1: float, beta2: float, eps: float):
    """Make one Adam step on flat arrays; return the new theta, m and v."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return theta - rate * m / (namespace(v).sqrt(v) + eps), m, v
