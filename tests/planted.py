"""A layer in NumPy with faults to plant: what the conformance suite must recognize by name.

It is written against the papers' formulas and shares no code with the suite but the basis.
"""

from types import SimpleNamespace

import numpy as np

from minisn.conformance.probes import KINDS, SIZE


def unit(x, tame=True, eps=0.0):
    """Scale to length 1, in a unit in which squares are tame; zero stays zero."""
    peak = np.abs(x).max() if tame else x.dtype.type(1)
    if peak == 0:
        return x
    x = x / peak
    length = np.sqrt((x * x).sum()) + x.dtype.type(eps)
    return x / length if length > 0 else x


def operator(W):
    """The convolution as a matrix, column by column, by loops."""
    o, i, h, w = W.shape
    M = np.zeros((o, SIZE, SIZE, i, SIZE, SIZE))
    for r in range(SIZE):
        for c in range(SIZE):
            for a in range(h):
                for b in range(w):
                    y, x = r + a - 1, c + b - 1
                    if 0 <= y < SIZE and 0 <= x < SIZE:
                        M[:, r, c, :, y, x] = W[:, :, a, b]
    return M.reshape(o * SIZE**2, i * SIZE**2)


def top(M):
    return np.linalg.norm(M, 2)


def rows_first(W, axis):
    return np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)


MATRICES = {
    "input axis": lambda W, axis: rows_first(W, 1 - axis),
    "view": lambda W, axis: W.reshape(W.shape[axis], -1),
    "window sum": lambda W, axis: rows_first(W.sum((2, 3)), axis),
    "h first": lambda W, axis: rows_first(W, 2),
    "d_out h": lambda W, axis: W.transpose(0, 2, 1, 3).reshape(W.shape[0] * W.shape[2], -1),
    "tap": lambda W, axis: W[:, :, 1, 1],
}
"""Matrices of a kernel that are not the papers'."""

DIVISORS = {
    "frobenius": np.linalg.norm,
    "squared": lambda M: top(M) ** 2,
    "root": lambda M: np.sqrt(top(M)),
    "mean": lambda M: top(M) / M.shape[0],
    "second value": lambda M: np.linalg.svd(M, compute_uv=False)[1],
    "nuclear": lambda M: np.linalg.norm(M, "nuc"),
    "row sum": lambda M: np.linalg.norm(M, np.inf),
    "column sum": lambda M: np.linalg.norm(M, 1),
    "largest entry": lambda M: np.abs(M).max(),
    "longest row": lambda M: np.sqrt((M**2).sum(1)).max(),
    "constant": lambda M: top(M) / 0.9,
    "identity": lambda M: 1.0,
    "clip": lambda M: max(top(M), 1.0),
}
"""Divisors that are not the norm."""

BOTH = {
    "bsn": lambda a, b: (a + b) / 2,
    "rms": lambda a, b: np.sqrt((a * a + b * b) / 2),
    "geometric": lambda a, b: np.sqrt(a * b),
    "larger": max,
    "smaller": min,
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b,
}
"""What may be made of a kernel's two norms."""


class Planted:
    """A layer of spectral normalization with one thing wrong, or nothing.

    Args:
        fault: what; empty for none.
        order: of a round.
        more: rounds a pass, whatever is asked.
        warm: rounds when it is made.
        definition, scale: what it says that it is.
        eps: added to a length, in units of the largest entry.
    """

    name, version, precisions = "planted", "0", ("float16", "float64")

    def __init__(
        self, fault="", order="v first", more=0, warm=40, definition="SN", scale=1.0, eps=0.0
    ):
        self.fault, self.order, self.more, self.warm = fault, order, more, warm
        self.definition, self.scale, self.eps = definition, scale, eps
        self.rng = np.random.default_rng(3)

    # -- the norm ------------------------------------------------------------------------------

    def matrix(self, kind, W):
        if self.fault in MATRICES and W.ndim == 4:
            return MATRICES[self.fault](W, KINDS[kind].axis)
        return rows_first(W, KINDS[kind].axis)

    def unit(self, x):
        eps = {"ε": 1e-2, "small ε": 1e-12}.get(self.fault, self.eps)
        return unit(x, tame=self.fault not in ("squares", "ε", "small ε"), eps=eps)

    def step(self, M, u, v):
        if self.order == "v first":
            v = self.unit(M.T @ u)
            new = self.unit(M @ v)
            return (new if new.any() or self.fault == "u dies" else u), v
        u = self.unit(M @ v)
        new = self.unit(M.T @ u)
        return u, (new if new.any() else v)

    def advance(self, layer):
        if self.fault in ("frozen", "no rounds"):
            return
        M = self.matrix(layer.kind, layer.W)
        if getattr(layer, "restart", False):
            layer.u, layer.v, layer.restart = *layer.first, False
        if self.fault == "restart":
            layer.u, layer.v = layer.first
        if self.draws(layer):
            layer.u, layer.v = self.vectors(M)
        layer.before = layer.u, layer.v
        for _ in range(1 if self.fault == "one round" else self.more or layer.rounds):
            layer.u, layer.v = self.step(M, layer.u, layer.v)
        if self.fault == "half state":
            layer.u, layer.v = (x.astype("float16").astype(x.dtype) for x in (layer.u, layer.v))

    def draws(self, layer):
        """Whether it draws u anew at every pass."""
        return self.fault == "fresh" or (self.fault == "fresh kernels" and layer.W.ndim == 4)

    def vectors(self, M):
        u, v = (self.rng.standard_normal(n).astype(M.dtype) for n in M.shape)
        return unit(u), unit(v)

    def sigma(self, layer):
        if self.fault == "old σ":
            layer.sigma = getattr(layer, "sigma", None) or self.estimate(layer)
            return layer.sigma
        return self.estimate(layer)

    def estimate(self, layer):
        W, kind = layer.W, layer.kind
        M = self.matrix(kind, W)
        if self.fault in DIVISORS:
            return W.dtype.type(DIVISORS[self.fault](M.astype(float)))
        if self.fault == "sn-conv" and kind == "conv":
            return W.dtype.type(top(operator(W)))
        if W.ndim == 4 and self.fault.removesuffix(" view") in BOTH:
            axis = KINDS[kind].axis
            other = rows_first(W, 1 - axis)
            if self.fault.endswith(" view"):
                M, other = (W.reshape(W.shape[a], -1) for a in (axis, 1 - axis))
            return W.dtype.type(BOTH[self.fault.removesuffix(" view")](top(M), top(other)))
        u, v = layer.u, layer.v
        if self.fault == "stale":
            u, v = layer.before
        if self.fault == "half":
            u = layer.before[0]
        return u @ M @ v

    # -- the adapter ---------------------------------------------------------------------------

    def make(self, kind, W, rounds=1, dtype="float32"):
        W = W.astype("float32" if self.fault == "single" else dtype)
        layer = SimpleNamespace(W=W, kind=kind, rounds=rounds, dtype=dtype)
        M = self.matrix(kind, W)
        layer.u, layer.v = layer.first = layer.before = self.vectors(M)
        for _ in range(0 if self.fault in ("cold", "fresh", "frozen", "restart") else self.warm):
            layer.u, layer.v = self.step(M, layer.u, layer.v)
        layer.first = layer.u, layer.v
        return layer

    def normalized(self, layer):
        W, kind = layer.W, layer.kind
        M = self.matrix(kind, W)
        if self.fault == "rows":
            return W / np.linalg.norm(W, axis=1, keepdims=True)
        if self.fault in ("orthonormal", "values clipped"):
            U, s, Vt = np.linalg.svd(M.astype(float), full_matrices=False)
            s = np.minimum(s, 1) if self.fault == "values clipped" else np.ones_like(s)
            shape = np.moveaxis(W, KINDS[kind].axis, 0).shape
            B = np.moveaxis((U * s @ Vt).reshape(shape), 0, KINDS[kind].axis)
            return B.astype(W.dtype)
        if self.fault == "truncated" and kind == "embedding":
            return np.trunc(W / (self.sigma(layer) or 1))
        sigma = self.sigma(layer)
        if sigma == 0 and self.fault != "0/0":
            return W if self.fault in ("u dies", "squares") else np.zeros_like(W)
        if self.fault == "wide only" and kind == "dense" and W.shape[0] > W.shape[1]:
            return W
        if self.fault == "turned" and W.ndim == 2 and W.shape[0] == W.shape[1]:
            W = W.T
        sigma = -sigma if self.fault == "negative" else sigma
        scale = 1.0 if self.fault == "no constant" else self.scale
        return W.dtype.type(scale) * (W / sigma)

    def forward(self, layer, train):
        if train:
            self.advance(layer)
            B = layer.last = self.normalized(layer)
            if self.fault in ("overwritten", "written"):
                layer.W = B
            if self.fault == "decay":
                layer.W = layer.W * layer.W.dtype.type(0.999)
            return B
        if self.fault == "raw in evaluation":
            return layer.W
        if self.fault == "evaluated once":
            layer.kept = getattr(layer, "kept", None)
            layer.kept = self.normalized(layer) if layer.kept is None else layer.kept
            return layer.kept
        if self.fault == "evaluates the last":
            return getattr(layer, "last", self.normalized(layer))
        if self.fault == "start after evaluation":
            layer.restart = True
        kept = layer.u, layer.v
        if self.fault in ("round in evaluation", "moves in evaluation", "writes in evaluation"):
            self.advance(layer)
        B = self.normalized(layer)
        if self.fault == "writes in evaluation":
            layer.W = B
        if self.fault != "moves in evaluation":
            layer.u, layer.v = kept
        return B

    def slope(self, G, W, M, u, v, sigma):
        uv = (u[:, None] * v[None, :]).astype(np.float64)
        lam = (G * M).sum() / sigma
        return {
            "sign": (G + lam * uv) / sigma,
            "doubled": (G - 2 * lam * uv) / sigma,
            "no 1/σ": G - lam * uv,
            "λ of W": (G - lam * sigma * uv) / sigma,
            "no λ": (G - uv) / sigma,
            "1/σ twice": (G - lam * uv) / sigma**2,
            "stops": G,
            "overwritten": G,
            "detached": G / sigma,
            "halved": (G - lam * uv) / sigma / 2,
        }.get(self.fault, (G - lam * uv) / sigma)

    def gradient(self, layer, Gs):
        axis, passes = KINDS[layer.kind].axis, []
        before = layer.u, layer.v
        for _ in Gs:
            self.advance(layer)
            passes.append((layer.W, layer.u, layer.v, float(self.sigma(layer))))
            if self.fault in ("overwritten", "written"):
                layer.W = self.normalized(layer)
        if self.fault == "round in backward":
            self.advance(layer)
        if self.fault == "no state with a gradient":
            layer.u, layer.v = before
        found = []
        for G, (W, u, v, sigma) in zip(Gs, passes, strict=True):
            if self.fault == "in place":
                u, v = layer.u, layer.v
            M, G = (self.matrix(layer.kind, X).astype(np.float64) for X in (W, G))
            g = self.slope(self.scale * G, W, M, u, v, sigma or 1.0)
            g = g if sigma or self.fault == "0/0" else np.zeros_like(g)
            shape = np.moveaxis(W, axis, 0).shape
            if g.size == W.size and self.fault not in MATRICES:
                g = np.moveaxis(g.reshape(shape), 0, axis)
            found.append(g)
        if self.fault == "last pass":
            return found[-1]
        if self.fault == "averaged":
            return sum(found) / len(found)
        return sum(found)

    def second(self, layer, G, H):
        if self.fault == "no second":
            raise RuntimeError("the derivative of the derivative is not there")
        self.advance(layer)
        u, v = layer.u, layer.v
        M, G, H = (
            self.matrix(layer.kind, X).astype(np.float64) for X in (layer.W, self.scale * G, H)
        )
        uv = np.outer(u, v)
        if self.fault == "flat":
            return np.zeros_like(layer.W)
        h = 1e-6

        def of(N):
            s = (uv * N).sum()
            return (H * (G - (G * N).sum() / s * uv)).sum() / s

        slope = np.zeros_like(M)
        for at in np.ndindex(M.shape):
            E = np.zeros_like(M)
            E[at] = h
            slope[at] = (of(M + E) - of(M - E)) / (2 * h)
        axis = KINDS[layer.kind].axis
        return np.moveaxis(slope.reshape(np.moveaxis(layer.W, axis, 0).shape), 0, axis)

    def parameter(self, layer):
        return layer.W.copy()

    def set_parameter(self, layer, W):
        layer.W = W.astype(layer.W.dtype)

    def state(self, layer):
        return [layer.u.copy(), layer.v.copy()]

    def set_u(self, layer, u, v):
        layer.u, layer.v = layer.first = u.astype(layer.W.dtype), v.astype(layer.W.dtype)

    def read(self, layer):
        if self.fault == "read moves":
            self.advance(layer)
        if self.fault == "reads the last":
            return getattr(layer, "last", self.normalized(layer))
        if self.fault == "read once":
            layer.read = getattr(layer, "read", None)
            layer.read = self.normalized(layer) if layer.read is None else layer.read
            return layer.read
        return layer.W.copy() if self.fault == "read raw" else self.normalized(layer)

    def reload(self, layer):
        W = layer.W / 2 if self.fault == "half saved" else layer.W
        other = self.make(layer.kind, W, layer.rounds, layer.dtype)
        if self.fault != "not saved":
            other.u, other.v, other.before = layer.u.copy(), layer.v.copy(), layer.before
        return other

    def remove(self, layer):
        if self.fault == "remove raw":
            return layer.W
        if self.fault == "removes the last":
            return getattr(layer, "last", self.normalized(layer))
        if self.fault == "remove round":
            self.advance(layer)
        if self.fault == "remove anew":
            return layer.W / top(rows_first(layer.W, KINDS[layer.kind].axis))
        return self.normalized(layer)

    def dtype(self, layer):
        return "float32" if self.fault == "upcast" else layer.dtype
