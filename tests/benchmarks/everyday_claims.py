"""Gradients as people write them for losses, layers and signals; about half of them are right.

They were written without regard to the mistakes that the checker can name. Every function takes one
array. A wrong claim comes with a word that a true diagnosis contains, or ``-`` if no short
diagnosis is true.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, erf, gammaln


def _draw(*shape, scale=1.0, shift=0.0):
    return lambda seed: shift + scale * np.random.default_rng(1000 + seed).normal(size=shape)


def _fixed(*shape, seed=5):
    return np.random.default_rng(seed).normal(size=shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_back(g, p, axis=-1):
    return p * (g - np.sum(g * p, axis=axis, keepdims=True))


# -- losses ---------------------------------------------------------------------------------

LABELS = np.array([2, 0, 3, 3])
ONE_HOT = np.eye(5)[LABELS]
TARGETS = (_fixed(4, 5) > 0) * 1.0
AIMS = _fixed(4, 5, seed=6)


def cross_entropy(x):
    top = x.max(axis=1, keepdims=True)
    z = x - top
    return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(4), LABELS])


def bce(x):
    return np.mean(np.maximum(x, 0) - x * TARGETS + np.log1p(np.exp(-np.abs(x))))


def focal(x):
    p = sigmoid(x)
    return np.sum(-((1 - p) ** 2) * np.log(p))


def focal_back(g, x):
    p = sigmoid(x)
    return g * (2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p) * p * (1 - p)


def dice(x):
    p = sigmoid(x)
    return 1 - 2 * np.sum(p * TARGETS) / (np.sum(p) + np.sum(TARGETS))


def dice_back(g, x):
    p = sigmoid(x)
    a, b = np.sum(p * TARGETS), np.sum(p) + np.sum(TARGETS)
    return g * (-2 * TARGETS / b + 2 * a / b**2) * p * (1 - p)


def huber(x, d=0.5):
    r = x - AIMS
    return np.sum(np.where(np.abs(r) < d, 0.5 * r * r, d * (np.abs(r) - 0.5 * d)))


def pinball(x, q=0.9):
    r = AIMS - x
    return np.mean(np.maximum(q * r, (q - 1) * r))


def pinball_back(g, x, q=0.9):
    return g * np.where(x < AIMS, -q, 1 - q) / x.size


def hinge(x):
    return np.sum(np.maximum(0, 1 - (2 * TARGETS - 1) * x))


def hinge_back(g, x):
    s = 2 * TARGETS - 1
    return g * -s * (1 - s * x > 0)


def squared_hinge_back(g, x):
    s = 2 * TARGETS - 1
    return g * -2 * s * np.maximum(0, 1 - s * x)


def kl(x):
    p = np.abs(x)
    return np.sum(p * np.log(p))


def gaussian_nll(x):
    mu, s = x
    return np.sum(0.5 * (AIMS[0] - mu) ** 2 * np.exp(-s) + 0.5 * s)


def gaussian_nll_back(g, x):
    mu, s = x
    r = AIMS[0] - mu
    return g * np.stack([-r * np.exp(-s), 0.5 - 0.5 * r**2 * np.exp(-s)])


def student(x):
    return np.sum(2.5 * np.log1p((x - AIMS) ** 2 / 4))


def beta_likelihood(x):
    a, b = np.exp(x)
    return np.sum(gammaln(a + b) - gammaln(a) - gammaln(b) + (a - 1) * np.log(0.3))


def beta_back(g, x):
    a, b = np.exp(x)
    whole = digamma(a + b)
    return g * np.stack([a * (whole - digamma(a) + np.log(0.3)), b * (whole - digamma(b))])


def cosine(x):
    w = AIMS[0]
    return x @ w / np.linalg.norm(x) / np.linalg.norm(w)


def cosine_back(g, x):
    w, n = AIMS[0] / np.linalg.norm(AIMS[0]), np.linalg.norm(x)
    return g * (w / n - x * (x @ w) / n**3)


def contrast(x):
    """InfoNCE: rows 0 to 3 beside rows 4 to 7."""
    s = x[:4] @ x[4:].T / 0.5
    return -np.mean(np.diag(s) - np.log(np.exp(s).sum(axis=1)))


def contrast_back(g, x):
    s = x[:4] @ x[4:].T / 0.5
    ds = g * (softmax(s) - np.eye(4)) / 4 / 0.5
    return np.concatenate([ds @ x[4:], ds.T @ x[:4]])


def triplet(x):
    a, p, n = x
    return np.maximum(0, np.sum((a - p) ** 2) - np.sum((a - n) ** 2) + 50.0)


def triplet_back(g, x):
    a, p, n = x
    return g * 2 * np.stack([n - p, p - a, a - n])


# -- layers ---------------------------------------------------------------------------------


def layer_norm(x, eps=1e-5):
    m = x.mean(axis=-1, keepdims=True)
    return (x - m) / np.sqrt(x.var(axis=-1, keepdims=True) + eps)


def layer_norm_back(g, x, eps=1e-5):
    h, s = layer_norm(x, eps), np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    mean = lambda a: a.mean(axis=-1, keepdims=True)  # noqa: E731
    return (g - mean(g) - h * mean(g * h)) / s


def layer_norm_no_mean(g, x, eps=1e-5):
    h, s = layer_norm(x, eps), np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    return (g - h * np.mean(g * h, axis=-1, keepdims=True)) / s


def layer_norm_no_spread(g, x, eps=1e-5):
    return (g - g.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + eps)


def batch_norm_unbiased(g, x, eps=1e-5):
    h = layer_norm(x.T, eps).T
    s = np.sqrt(x.var(axis=0, ddof=1) + eps)
    return (g - g.mean(axis=0) - h * np.mean(g * h, axis=0)) / s


def rms_norm(x):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)


def rms_norm_back(g, x):
    s = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return g / s - x * np.mean(g * x, axis=-1, keepdims=True) / s**3


def attention(x):
    return softmax(x @ x.T / np.sqrt(x.shape[1])) @ x


def attention_back(g, x, scale=None, key=True, value=True):
    a = softmax(x @ x.T / np.sqrt(x.shape[1]))
    ds = softmax_back(g @ x.T, a) / (np.sqrt(x.shape[1]) if scale is None else scale)
    return ds @ x + key * (ds.T @ x) + value * (a.T @ g)


def attention_diagonal(g, x):
    a = softmax(x @ x.T / np.sqrt(x.shape[1]))
    ds = (g @ x.T) * a * (1 - a) / np.sqrt(x.shape[1])
    return ds @ x + ds.T @ x + a.T @ g


CAUSAL = np.where(np.tri(4) > 0, 0.0, -1e9)


def causal(x):
    return softmax(x @ x.T + CAUSAL) @ AIMS


def causal_back(g, x):
    a = softmax(x @ x.T + CAUSAL)
    ds = softmax_back(g @ AIMS.T, a)
    return (ds + ds.T) @ x


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def gelu_back(g, x):
    bell = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    return g * (0.5 * (1 + erf(x / np.sqrt(2))) + x * bell)


def gelu_tanh_slope(x):
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)


def silu(x):
    return x * sigmoid(x)


def mish(x):
    return x * np.tanh(np.logaddexp(0, x))


def mish_back(g, x):
    t = np.tanh(np.logaddexp(0, x))
    return g * (t + x * sigmoid(x) * (1 - t * t))


W_H, W_X = 0.6 * _fixed(3, 3, seed=8), _fixed(3, 3, seed=9)


def rnn(x):
    h = np.zeros(3)
    for row in x:
        h = np.tanh(W_H @ h + W_X @ row)
    return h


def rnn_back(g, x, keep=9):
    hs = [np.zeros(3)]
    for row in x:
        hs.append(np.tanh(W_H @ hs[-1] + W_X @ row))
    found = np.zeros_like(x)
    for t in range(len(x) - 1, max(-1, len(x) - 1 - keep), -1):
        d = g * (1 - hs[t + 1] ** 2)
        found[t], g = W_X.T @ d, W_H.T @ d
    return found


def pool(x):
    return x.reshape(2, 2, 3, 2).max(axis=(1, 3))


def pool_back(g, x):
    wide = np.repeat(np.repeat(g, 2, 0), 2, 1)
    return wide * (x == np.repeat(np.repeat(pool(x), 2, 0), 2, 1))


KEEP = (_fixed(4, 5, seed=11) > -0.5) * 1.0
ROWS = np.array([1, 3, 1, 0, 3, 3])


def embedding_back(g, x):
    found = np.zeros_like(x)
    np.add.at(found, ROWS, g)
    return found


def embedding_assigned(g, x):
    found = np.zeros_like(x)
    found[ROWS] = g
    return found


# -- signals, sorting, cumulation -------------------------------------------------------------

KERNEL = np.array([0.2, -0.7, 1.1])
RANKS = np.array([0.3, -1.0, 2.0, 0.7, -0.4, 1.5])


def smooth(x):
    return np.convolve(x, KERNEL, mode="same")


def variation(x):
    return np.sum(np.sqrt(np.diff(x) ** 2 + 1e-2))


def variation_back(g, x):
    d = np.diff(x)
    d = g * d / np.sqrt(d * d + 1e-2)
    return np.r_[0, d] - np.r_[d, 0]


def lagged(x):
    return np.array([np.sum(x[k:] * x[: x.size - k]) for k in range(3)])


def lagged_back(g, x):
    found = np.zeros_like(x)
    for k in range(3):
        found[k:] += g[k] * x[: x.size - k]
        found[: x.size - k] += g[k] * x[k:]
    return found


def sorted_sum(x):
    return RANKS @ np.sort(x)


def sorted_back(g, x):
    return g * RANKS[np.argsort(np.argsort(x))]


def top(x):
    return np.sort(x)[-3:]


def top_back(g, x):
    found = np.zeros_like(x)
    found[np.argsort(x)[-3:]] = g
    return found


def product_back(g, x):
    y = np.cumprod(x)
    return np.cumsum((g * y)[::-1])[::-1] / x


def running_top_back(g, x):
    found = np.zeros_like(x)
    best = np.array([np.argmax(x[: i + 1]) for i in range(x.size)])
    np.add.at(found, best, g)
    return found


def running_logsum(x):
    return np.logaddexp.accumulate(x)


def running_logsum_back(g, x):
    y = running_logsum(x)
    return np.array([np.sum(g[i:] * np.exp(x[i] - y[i:])) for i in range(x.size)])


KNOTS, HEIGHTS = np.linspace(-4, 4, 9), _fixed(9, seed=12)


def between(x):
    return np.interp(x, KNOTS, HEIGHTS)


def between_back(g, x):
    slopes = np.r_[0, np.diff(HEIGHTS) / np.diff(KNOTS), 0]
    return g * slopes[np.searchsorted(KNOTS, x)]


def polynomial_back(g, x):
    return g * np.vander([0.7], x.size)[0]


def sampled(x):
    """Bilinear samples of an image at two points."""
    r, c = x
    i, j = np.floor(r).astype(int), np.floor(c).astype(int)
    a, b = r - i, c - j
    m = PICTURE
    return (
        (1 - a) * (1 - b) * m[i, j] + (1 - a) * b * m[i, j + 1]
        + a * (1 - b) * m[i + 1, j] + a * b * m[i + 1, j + 1]
    )  # fmt: skip


def sampled_back(g, x):
    r, c = x
    i, j = np.floor(r).astype(int), np.floor(c).astype(int)
    a, b = r - i, c - j
    m = PICTURE
    down = (1 - b) * (m[i + 1, j] - m[i, j]) + b * (m[i + 1, j + 1] - m[i, j + 1])
    along = (1 - a) * (m[i, j + 1] - m[i, j]) + a * (m[i + 1, j + 1] - m[i + 1, j])
    return np.stack([g * down, g * along])


PICTURE = _fixed(6, 6, seed=13)

# -- matrices and odd shapes ------------------------------------------------------------------

A = _fixed(4, 4, seed=14)
T5 = _fixed(2, 3, 2, 1, 2, seed=15)


def form(x):
    return np.trace(x.T @ A @ x)


def logdet(x):
    return np.linalg.slogdet(x)[1]


def inverse_back(g, x):
    y = np.linalg.inv(x)
    return -y.T @ g @ y.T


def square(seed):
    return _draw(4, 4)(seed) + 4 * np.eye(4)


def mixed(x):
    return np.einsum("abcd,cde->abe", x, T5[:, :, :, 0, 0])


def mixed_back(g, x):
    return np.einsum("abe,cde->abcd", g, T5[:, :, :, 0, 0])


def spread(x):
    return x * T5[0, 0] + np.sin(x)


def iterated(x):
    for _ in range(12):
        x = 3.7 * x * (1 - x)
    return x


def iterated_back(g, x):
    for _ in range(12):
        g, x = g * 3.7 * (1 - 2 * x), 3.7 * x * (1 - x)
    return g


def distances(x):
    return np.sqrt(np.sum((x[:, None] - x[None]) ** 2, axis=-1) + 1e-8)


def distances_back(g, x):
    d = x[:, None] - x[None]
    w = (g + g.T)[..., None] * d / distances(x)[..., None]
    return w.sum(axis=1)


def _narrow(fn):
    return lambda x: fn(x.astype(np.float32)).astype(np.float64)


def _narrow_back(fn):
    return lambda g, x: fn(g.astype(np.float32), x.astype(np.float32)).astype(np.float64)


def _times(df):
    return lambda g, x: g * df(x)


def _at(*values):
    return lambda seed: np.array(values) * (1 + 1e-3 * seed)


RIGHT = [
    ("cross entropy", cross_entropy, _times(lambda x: (softmax(x) - ONE_HOT) / 4), _draw(4, 5)),
    ("cross entropy, logits of 300", cross_entropy, _times(lambda x: (softmax(x) - ONE_HOT) / 4),
     _draw(4, 5, scale=300)),
    ("cross entropy in float32", _narrow(cross_entropy),
     _times(lambda x: (softmax(x) - ONE_HOT) / 4), _draw(4, 5)),
    ("BCE with logits", bce, _times(lambda x: (sigmoid(x) - TARGETS) / 20), _draw(4, 5, scale=3)),
    ("focal", focal, focal_back, _draw(4, 5)), ("dice", dice, dice_back, _draw(4, 5)),
    ("Huber", huber, _times(lambda x: np.clip(x - AIMS, -0.5, 0.5)), _draw(4, 5)),
    ("Huber at 1e6", lambda x: 1e6 * huber(x),
     _times(lambda x: 1e6 * np.clip(x - AIMS, -0.5, 0.5)), _draw(4, 5)),
    ("pinball", pinball, pinball_back, _draw(4, 5)), ("hinge", hinge, hinge_back, _draw(4, 5)),
    ("squared hinge", lambda x: np.sum(np.maximum(0, 1 - (2 * TARGETS - 1) * x)**2),
     squared_hinge_back, _draw(4, 5)),
    ("x log x", kl, _times(lambda x: np.sign(x) * (np.log(np.abs(x)) + 1)), _draw(6)),
    ("Gaussian likelihood", gaussian_nll, gaussian_nll_back, _draw(2, 5)),
    ("Gaussian likelihood, small spread", gaussian_nll, gaussian_nll_back,
     _draw(2, 5, shift=-9.0)),
    ("Student", student, _times(lambda x: 5 * (x - AIMS) / (4 + (x - AIMS)**2)), _draw(4, 5)),
    ("Beta", beta_likelihood, beta_back, _draw(2, 3)), ("cosine", cosine, cosine_back, _draw(5)),
    ("cosine of 1e-6", cosine, cosine_back, _draw(5, scale=1e-6)),
    ("InfoNCE", contrast, contrast_back, _draw(8, 3, scale=0.7)),
    ("triplet", triplet, triplet_back, _draw(3, 4)),
    ("layer norm", layer_norm, layer_norm_back, _draw(2, 5)),
    ("layer norm at 1e4", layer_norm, layer_norm_back, _draw(2, 5, shift=1e4)),
    ("layer norm in float32", _narrow(layer_norm), layer_norm_back, _draw(2, 5)),
    ("layer norm, both in float32", _narrow(layer_norm), _narrow_back(layer_norm_back),
     _draw(2, 5)),
    ("layer norm of 1e-3", layer_norm, layer_norm_back, _draw(2, 5, scale=1e-3)),
    ("RMS norm", rms_norm, rms_norm_back, _draw(2, 5)),
    ("attention", attention, attention_back, _draw(4, 3)),
    ("attention of 6", attention, attention_back, _draw(4, 3, scale=6)),
    ("causal attention", causal, causal_back, _draw(4, 3)),
    ("GELU", gelu, gelu_back, _draw(6, scale=2)), ("mish", mish, mish_back, _draw(6, scale=3)),
    ("SiLU far out", silu, _times(lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
     _draw(6, scale=12)),
    ("RNN", rnn, rnn_back, _draw(5, 3)), ("max pooling", pool, pool_back, _draw(4, 6)),
    ("embedding", lambda x: x[ROWS], embedding_back, _draw(4, 2)),
    ("convolution", smooth, lambda g, x: np.convolve(g, KERNEL[::-1], mode="same"), _draw(7)),
    ("total variation", variation, variation_back, _draw(7)),
    ("lags", lagged, lagged_back, _draw(7)),
    ("sort", sorted_sum, sorted_back, _draw(6)),
    ("sort near a tie", sorted_sum, sorted_back, _at(0.3, 0.3 + 1e-6, -1.0, 2.0, 0.9, -0.2)),
    ("top 3", top, top_back, _draw(6)),
    ("median", lambda x: np.median(x), lambda g, x: g * (x == np.median(x)), _draw(7)),
    ("cumsum", np.cumsum, lambda g, x: np.cumsum(g[::-1])[::-1], _draw(6)),
    ("cumprod", np.cumprod, product_back, _draw(6)),
    ("running maximum", np.maximum.accumulate, running_top_back, _draw(6)),
    ("running logsumexp", running_logsum, running_logsum_back, _draw(6)),
    ("interpolation", between, between_back, _draw(6)),
    ("polynomial", lambda x: np.polyval(x, 0.7), polynomial_back, _draw(5)),
    ("bilinear", sampled, sampled_back, _at([0.4, 2.3, 3.7], [1.2, 0.6, 3.1])),
    ("form", form, _times(lambda x: (A + A.T) @ x), _draw(4, 2)),
    ("logdet", logdet, _times(lambda x: np.linalg.inv(x).T), square),
    ("inverse", np.linalg.inv, inverse_back, square),
    ("einsum", mixed, mixed_back, _draw(2, 2, 2, 3)),
    ("broadcast", spread, lambda g, x: np.sum(g * T5[0, 0], axis=1, keepdims=True)
     + np.cos(x) * np.sum(g, axis=1, keepdims=True), _draw(2, 1, 2)),
    ("logistic map", iterated, iterated_back, _at(0.21, 0.34, 0.83)),
    ("distances", distances, distances_back, _draw(4, 3)),
    ("sawtooth", lambda x: x - np.floor(x), lambda g, x: g, _draw(6, scale=5)),
    ("arccos near 1", np.arccos, _times(lambda x: -1 / np.sqrt((1 - x) * (1 + x))),
     lambda seed: np.array([1 - 1e-7 * (1 + seed), 0.3])),
    ("arctanh near 1", np.arctanh, _times(lambda x: 1 / ((1 - x) * (1 + x))),
     lambda seed: np.array([1 - 1e-9 * (1 + seed), -0.2])),
    ("root at 1e-12", np.sqrt, _times(lambda x: 0.5 / np.sqrt(x)), _at(1e-12, 1.0, 3.0)),
    ("relu at 1e-9", lambda x: np.maximum(x, 0), _times(lambda x: x > 0), _at(1e-9, -1e-9, 1.0)),
    ("hard sigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), _times(lambda x: (np.abs(x) < 3) / 6),
     _draw(6, scale=4)),
    ("variance as a difference", lambda x: np.mean(x * x) - np.mean(x)**2,
     _times(lambda x: 2 * (x - x.mean()) / x.size), _draw(6, shift=300)),
    ("a number", np.sin, _times(np.cos), lambda seed: np.array(0.4 + seed)),
    ("norm of 1e-20", lambda x: np.linalg.norm(x), _times(lambda x: x / np.linalg.norm(x)),
     _draw(5, scale=1e-20)),
    ("power of 1e150", lambda x: x**2, _times(lambda x: 2 * x), _draw(4, scale=1e150)),
]  # fmt: skip
"""Name, function, backward, inputs."""

WRONG = [
    ("cross entropy without the target", cross_entropy, _times(lambda x: softmax(x) / 4),
     _draw(4, 5), "-"),
    ("cross entropy, a sum", cross_entropy, _times(lambda x: softmax(x) - ONE_HOT), _draw(4, 5),
     "a factor of 4"),
    ("BCE, the sign", bce, _times(lambda x: (TARGETS - sigmoid(x)) / 20), _draw(4, 5), "the sign"),
    ("BCE of the logits", bce, _times(lambda x: (x - TARGETS) / 20), _draw(4, 5), "-"),
    ("mean square, the 2", lambda x: np.mean((x - AIMS)**2), _times(lambda x: (x - AIMS) / 20),
     _draw(4, 5), "a factor of 1/2"),
    ("focal, the weight constant", focal, _times(lambda x: -(1 - sigmoid(x))**3), _draw(4, 5), "-"),
    ("Huber with 1 for 0.5", huber, _times(lambda x: np.clip(x - AIMS, -1, 1)), _draw(4, 5), "-"),
    ("pinball, the other quantile", pinball, lambda g, x: pinball_back(g, x, 0.1), _draw(4, 5),
     "offset"),
    ("hinge without the margin", hinge, _times(
        lambda x: -(2 * TARGETS - 1) * ((2 * TARGETS - 1) * x < 0)), _draw(4, 5), "zero"),
    ("squared hinge, linear", lambda x: np.sum(np.maximum(0, 1 - (2 * TARGETS - 1) * x)**2),
     hinge_back, _draw(4, 5), "-"),
    ("x log x without 1", lambda x: np.sum(np.exp(2 * x) * 2 * x), _times(
        lambda x: np.exp(2 * x) * 4 * x), _draw(6), "-"),
    ("entropy without 1", lambda x: np.sum(x * np.log(x)), _times(np.log), _draw(6, scale=0.1,
     shift=1.5), "offset"),
    ("likelihood without log sigma", gaussian_nll, lambda g, x: gaussian_nll_back(g, x)
     - g * np.array([[0.0], [0.5]]), _draw(2, 5), "axis 0"),
    ("likelihood with sigma for its log", gaussian_nll, lambda g, x: gaussian_nll_back(g, x)
     * np.stack([np.ones(5), np.exp(x[1])]), _draw(2, 5), "axis 0"),
    ("cosine without the projection", cosine, lambda g, x: g * AIMS[0] / np.linalg.norm(AIMS[0])
     / np.linalg.norm(x), _draw(5), "multiple of the input"),
    ("InfoNCE, keys constant", contrast, lambda g, x: contrast_back(g, x) * np.r_[
        np.ones((4, 1)), np.zeros((4, 1))], _draw(8, 3, scale=0.7), "zero"),
    ("InfoNCE without the temperature", contrast, lambda g, x: contrast_back(g, x) / 2,
     _draw(8, 3, scale=0.7), "a factor of 1/2"),
    ("triplet, anchor constant", triplet, lambda g, x: triplet_back(g, x) * np.array(
        [[0.0], [1.0], [1.0]]), _draw(3, 4), "axis 0"),
    ("layer norm, mean constant", layer_norm, layer_norm_no_mean, _draw(2, 5), "through the mean"),
    ("layer norm, variance constant", layer_norm, layer_norm_no_spread, _draw(2, 5),
     "variance held"),
    ("layer norm, both constant", layer_norm, lambda g, x: g / np.sqrt(
        x.var(axis=-1, keepdims=True) + 1e-5), _draw(2, 5), "mean and variance held"),
    ("layer norm, epsilon of 1e-3", layer_norm, lambda g, x: layer_norm_back(g, x, 1e-3),
     _draw(2, 5), "-"),
    ("batch norm, n - 1", lambda x: layer_norm(x.T).T, batch_norm_unbiased, _draw(5, 2),
     "constant factor"),
    ("RMS norm, scale constant", rms_norm, lambda g, x: g / np.sqrt(
        np.mean(x * x, axis=-1, keepdims=True) + 1e-6), _draw(2, 5), "scale held"),
    ("attention, scale forgotten", attention, lambda g, x: attention_back(g, x, 1.0), _draw(4, 3),
     "-"),
    ("attention, keys constant", attention, lambda g, x: attention_back(g, x, key=False),
     _draw(4, 3), "-"),
    ("attention, values constant", attention, lambda g, x: attention_back(g, x, value=False),
     _draw(4, 3), "-"),
    ("attention, diagonal softmax", attention, attention_diagonal, _draw(4, 3), "-"),
    ("row softmax, diagonal", softmax, lambda g, x: g * softmax(x) * (1 - softmax(x)),
     _draw(2, 4), "cross"),
    ("log softmax without the sum", lambda x: np.log(softmax(x)), lambda g, x: g - softmax(x),
     _draw(2, 4), "not 0"),
    ("GELU, the other formula", gelu, _times(gelu_tanh_slope), _draw(6), "-"),
    ("SiLU as a sigmoid", silu, _times(sigmoid), _draw(6), "-"),
    ("sigmoid, 1 - y forgotten", sigmoid, _times(sigmoid), _draw(6), "missing factor"),
    ("RNN cut at 2 steps", rnn, lambda g, x: rnn_back(g, x, 2), _draw(5, 3), "axis 0"),
    ("max pooling as a mean", pool, lambda g, x: np.repeat(np.repeat(g, 2, 0), 2, 1) / 4,
     _draw(4, 6), "-"),
    ("dropout, keep forgotten", lambda x: x * KEEP / 0.7, lambda g, x: g * KEEP, _draw(4, 5),
     "a factor of 7/10"),
    ("dropout, no mask", lambda x: x * KEEP, lambda g, x: g, _draw(4, 5),
     "wrong only in the gradient of output"),
    ("embedding, assigned", lambda x: x[ROWS], embedding_assigned, _draw(4, 2), "in place of `+=`"),
    ("convolution, kernel not turned", smooth, lambda g, x: np.convolve(g, KERNEL, mode="same"),
     _draw(7), "transpose"),
    ("total variation, shifted", variation, lambda g, x: np.roll(variation_back(g, x), 1),
     _draw(7), "rolled"),
    ("lags, one side", lagged, lambda g, x: lagged_back(g, x) / 2, _draw(7), "a factor of 1/2"),
    ("sort, order kept", sorted_sum, _times(lambda x: RANKS), _draw(6), "wrong places"),
    ("sort, argsort once", sorted_sum, _times(lambda x: RANKS[np.argsort(x)]),
     _at(0.3, 0.7, -1.0, 2.0, 0.9, -0.2), "wrong places"),
    ("top 3, order turned", top, lambda g, x: top_back(g[::-1], x), _draw(6), "-"),
    ("cumsum, forward again", np.cumsum, lambda g, x: np.cumsum(g), _draw(6), "transpose"),
    ("cumprod, y / x", np.cumprod, lambda g, x: g * np.cumprod(x) / x, _draw(6), "cross terms"),
    ("running maximum, own entries", np.maximum.accumulate, lambda g, x: g * (
        x == np.maximum.accumulate(x)), _at(0.3, 0.2, 1.1, -0.4, 0.7, 1.9), "cross terms"),
    ("interpolation, next slope", between, lambda g, x: between_back(g, x + 1), _draw(6, scale=0.5),
     "-"),
    ("polynomial, order turned", lambda x: np.polyval(x, 0.7), lambda g, x: polynomial_back(
        g, x)[::-1], _draw(5), "flipped"),
    ("bilinear, rows for columns", sampled, lambda g, x: sampled_back(g, x)[::-1],
     _at([0.4, 2.3, 3.7], [1.2, 0.6, 3.1]), "flipped"),
    ("form as if symmetric", form, _times(lambda x: 2 * A @ x), _draw(4, 2), "-"),
    ("logdet without the transpose", logdet, _times(np.linalg.inv), square, "transpose"),
    ("inverse, no transposes", np.linalg.inv, lambda g, x: -np.linalg.inv(x) @ g
     @ np.linalg.inv(x), square, "Jacobian is transposed"),
    ("einsum, first axes exchanged", mixed, lambda g, x: mixed_back(g, x).transpose(1, 0, 2, 3),
     _draw(2, 2, 2, 3), "transpose"),
    ("norm, x alone", lambda x: np.linalg.norm(x), _times(lambda x: x), _draw(5), "output y"),
    ("fifth power, one too many", lambda x: x**5, _times(lambda x: 5 * x**5), _draw(5),
     "a factor too many"),
    ("log2", np.log2, _times(lambda x: 1 / x), _at(0.4, 1.7, 3.1, 5.0), "ln 2"),
    ("degrees", lambda x: np.sin(np.pi * x / 180), _times(lambda x: np.cos(np.pi * x / 180)),
     _draw(5, scale=60), "degrees"),
    ("temperature", lambda x: softmax(x / 2), lambda g, x: softmax_back(g, softmax(x / 2)),
     _draw(5), "a factor of 2"),
    ("straight through a clip", lambda x: np.clip(x, -1, 1), lambda g, x: g,
     _at(-1.9, -0.8, 0.1, 0.6, 1.4, 2.2), "outside a range"),
    ("leaky slope", lambda x: np.where(x > 0, x, 0.2 * x), _times(lambda x: np.where(
        x > 0, 1, 0.01)), _at(-1.9, -0.8, 0.1, 0.6, 1.4, 2.2), "negative"),
    ("decay forgotten", lambda x: np.sum(np.sin(x)) + 0.05 * np.sum(x * x), _times(np.cos),
     _draw(6), "times the input"),
    ("abs without its sign", lambda x: np.abs(x)**3, _times(lambda x: 3 * x * x),
     _at(-1.9, -0.8, 0.1, 0.6, 1.4, 2.2), "negative"),
    ("root, epsilon forgotten", lambda x: np.sqrt(x * x + 1e-4), _times(np.sign), _draw(5), "-"),
    ("distances counted once", distances, lambda g, x: distances_back(np.triu(g), x), _draw(4, 3),
     "-"),
    ("logistic map, a step short", iterated, lambda g, x: iterated_back(g, x) / (
        3.7 * (1 - 2 * x)), _at(0.21, 0.34, 0.83), "-"),
    ("float16 on the way", lambda x: np.sum(np.sin(x)), _times(lambda x: np.cos(x).astype(
        np.float16).astype(float)), _draw(6), "-"),
]  # fmt: skip
"""Name, function, backward, inputs, and a word of a true diagnosis."""
