"""The operations beside ``ops``: values are NumPy's, gradients and second gradients PyTorch's."""

import numpy as np
import pytest
from scipy import signal, special

from minisn import Tensor, grad, ops
from minisn.errors import ConfigError, DTypeError, MatrixError, MinisnError, ShapeError
from minisn.gradcheck import gradcheck

rng = np.random.default_rng(2018)
X, Y, V = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.normal(size=5)
S = X[:3] @ X[:3].T + np.eye(3)
T3 = rng.normal(size=(2, 3, 4))
U = rng.uniform(-0.9, 0.9, size=(4, 3))


# name, our call, NumPy's call, arguments
CASES = [
    *[(name, getattr(ops, name), getattr(np, name), (x,)) for name, x in {
        "sin": X, "cos": X, "tan": X, "arctan": X, "sinh": X, "cosh": X, "arcsinh": X, "expm1": X,
        "exp2": X, "square": X, "sign": X, "floor": X, "ceil": X, "arcsin": U, "arccos": U,
        "arctanh": U, "log1p": U, "reciprocal": X, "log2": X**2, "log10": X**2, "arccosh": 1 + X**2,
        "ravel": X, "trace": X, "diag": X, "tril": X, "triu": X, "flip": X, "sort": X, "ptp": X,
        "argsort": X, "argmax": X, "argmin": X, "cumsum": X, "cumprod": X, "prod": X, "std": X,
        "squeeze": T3[:, :1], "all": X > 0, "any": X > 0, "count_nonzero": X > 0, "average": X,
        "diagonal": X, "round": 3 * X, "max": X, "min": X}.items()],
    *[(name, getattr(ops, name), getattr(np, name), args) for name, args in [
        ("arctan2", (X, Y)), ("hypot", (X, Y)), ("logaddexp", (X, Y)), ("floor_divide", (X, Y)),
        ("remainder", (X, Y)), ("outer", (V, X)), ("kron", (X, Y[:2])), ("kron", (V, X)),
        ("tensordot", (X, Y.T, 1)), ("tensordot", (T3, X, ((2, 1), (0, 1)))),
        ("tensordot", (X, V, 0)), ("dot", (X, Y.T)), ("dot", (T3, X)), ("dot", (V, V)),
        ("dot", (X, 2.0)), ("expand_dims", (X, 1)), ("expand_dims", (X, (0, -1))),
        ("squeeze", (T3[:, :1], 1)), ("moveaxis", (T3, 0, -1)), ("moveaxis", (T3, (0, 1), (2, 0))),
        ("swapaxes", (T3, 0, -1)), ("repeat", (X, 2)), ("repeat", (X, 3, 1)),
        ("repeat", (X, [1, 0, 2], 1)), ("tile", (X, 2)), ("tile", (X, (2, 1, 3))),
        ("tile", (T3, (2,))), ("flip", (T3, (0, 2))), ("roll", (X, 1)), ("roll", (X, -2, 0)),
        ("roll", (X, (1, 5), (0, 1))), ("take", (X, [3, 0, 0], 0)), ("take", (X, [[1, -1]])),
        ("tril", (T3, -1)), ("triu", (X, 2)), ("diag", (V,)), ("diag", (V, 1)), ("diag", (V, -2)),
        ("diag", (X, -1)), ("diagonal", (T3, 1, 2, 0)), ("trace", (T3, 1, 1, 2)),
        ("cumsum", (T3, 1)), ("cumsum", (X, -1)), ("cumprod", (T3, 2)), ("prod", (T3, (0, 2))),
        ("prod", (T3, -2)), ("std", (T3, (1, 2), )), ("sort", (T3, 0)), ("sort", (T3, None)),
        ("argsort", (T3, 1)), ("argmax", (T3, -1)), ("ptp", (T3, 1)), ("average", (X, 1, U[0] + 2)),
        ("average", (X, None, U + 2)), ("round", (3 * X, 1)), ("any", (X > 1, 0)),
        ("max", (T3, (0, 1))), ("min", (T3, (0, 2))), ("clip", (X, None, Y)),
        ("clip", (X, -0.1, 0.1)), ("pad", (X, 1)), ("pad", (X, (1, 2))),
        ("pad", (X, ((1, 0), (0, 2)))), ("deg2rad", (X,)), ("rad2deg", (X,)), ("inner", (X, Y)),
        ("inner", (T3, X.T)), ("inner", (2.0, X)), ("diff", (X,)), ("diff", (T3, 2, 1)),
        ("hstack", ([X, Y],)), ("hstack", ([V, 2.0],)), ("vstack", ([X, X[0]],)),
        ("vstack", ([V, V],)), ("column_stack", ([X[:, 0], Y],)), ("column_stack", ([V, V],)),
    ]],
    *[(eq, lambda *a, eq=eq: ops.einsum(eq, *a), lambda *a, eq=eq: np.einsum(eq, *a), args)
      for eq, args in [
        ("ij,kj->ik", (X, Y)), ("ij,ij", (X, Y)), ("ij->ji", (X,)), ("ji", (X,)), ("ii", (S,)),
        ("ii->i", (S,)), ("i,j,k->kji", (V, V, V[:2])), ("bij,bjk->bik", (T3, T3.swapaxes(1, 2))),
        ("...ij,jk->...ik", (T3, X)), ("...j->j...", (T3,)), ("...,...", (T3, T3[:1])),
        ("i...,i...->...", (T3, T3)), ("ij,jk,kl->il", (X, S, Y.T)), ("ijk->", (T3,)),
        ("ij,i->j", (X, X[:, 0])), ("iij->ij", (np.stack([X[:3], Y[:3], X[:3]]),)),
        (" i j , j k -> i k ", (X, Y.T)), ("ba", (X,)), ("ij,kl->ijkl", (X, Y)),
        ("abc,cd,bd->ad", (T3, X, X[:3])),
    ]],
    ("solve", ops.solve, np.linalg.solve, (S, X[:3])),
    ("solve", ops.solve, np.linalg.solve, (S, X[0])),
    ("inv", ops.inv, np.linalg.inv, (S,)), ("det", ops.det, np.linalg.det, (S,)),
    ("logdet", ops.logdet, lambda x: np.linalg.slogdet(x)[1], (-S,)),
    ("cholesky", ops.cholesky, np.linalg.cholesky, (S,)),
    ("eigvalsh", ops.eigvalsh, np.linalg.eigvalsh, (S,)),
    ("svdvals", ops.svdvals, lambda x: np.linalg.svd(x, compute_uv=False), (X,)),
    ("svdvals", ops.svdvals, lambda x: np.linalg.svd(x, compute_uv=False), (T3,)),
    *[(name, getattr(ops, name), getattr(special, name), (x,)) for name, x in {
        "erf": X, "erfc": 3 * X, "erfinv": U, "logit": U**2, "gammaln": X, "digamma": X}.items()],
    *[("polygamma", lambda x, n=n: ops.polygamma(n, x), lambda x, n=n: special.polygamma(n, x),
       (1 + X**2,)) for n in range(3)],
    ("logsumexp", lambda x, b: ops.logsumexp(x, 1, b=b),
     lambda x, b: special.logsumexp(x, 1, b=b), (X, U**2)),
    *[("pinv", ops.pinv, np.linalg.pinv, (x,)) for x in (X, X.T, T3, S)],
    *[("vector_norm", lambda x, p=p, axis=axis: ops.vector_norm(x, axis, ord=p),
       lambda x, p=p, axis=axis: np.linalg.vector_norm(x, axis=axis, ord=p), (T3,))
      for p in (1, 2, 3, 0.5, np.inf) for axis in (None, 1, (0, 2))],
    *[("matrix_norm", lambda x, p=p: ops.matrix_norm(x, p, keepdims=True),
       lambda x, p=p: np.linalg.matrix_norm(x, ord=p, keepdims=True), (T3,))
      for p in ("fro", "nuc", 2, 1, np.inf)],
    *[("convolve", lambda a, b, m=m: ops.convolve(a, b, m), lambda a, b, m=m: np.convolve(a, b, m),
       pair) for m in ("full", "same", "valid") for pair in ((V, V[:3]), (V[:2], V))],
    *[("convolve", lambda a, b, m=m: ops.convolve(a, b, m),
       lambda a, b, m=m: signal.convolve(a, b, m), (X, Y[:3, :2]))
      for m in ("full", "same", "valid")],
    *[("rot90", lambda x, k=k, axes=axes: ops.rot90(x, k, axes),
       lambda x, k=k, axes=axes: np.rot90(x, k, axes), (T3,))
      for k in (-1, 0, 1, 2, 3) for axes in ((0, 1), (2, 0))],
    *[(name, getattr(ops, name), getattr(np, name), (x,))
      for name in ("atleast_1d", "atleast_2d", "atleast_3d") for x in (np.array(2.0), V, X, T3)],
    ("nan_to_num", lambda x: ops.nan_to_num(x, 2.0, 3.0, -4.0),
     lambda x: np.nan_to_num(x, nan=2.0, posinf=3.0, neginf=-4.0),
     (np.array([[1.5, np.nan], [np.inf, -np.inf]]),)),
    ("pad", lambda x: ops.pad(x, widths=(2,)), lambda x: np.pad(x, (2,)), (X,)),
    ("softmax", ops.softmax, lambda x: special.softmax(x, -1), (X,)),
    ("softmax", lambda x: ops.softmax(x, (0, 1)), special.softmax, (X,)),
    ("std1", lambda x: ops.std(x, 0, ddof=1), lambda x: np.std(x, 0, ddof=1), (X,)),
    ("var1", lambda x: ops.var(x, ddof=1), lambda x: np.var(x, ddof=1), (T3,)),
    ("flatten", lambda x: ops.flatten(x, 1), lambda x: x.reshape(2, 12), (T3,)),
]  # fmt: skip
IDS = [f"{i}-{case[0]}" for i, case in enumerate(CASES)]


@pytest.mark.parametrize(("name", "ours", "theirs", "args"), CASES, ids=IDS)
def test_values_are_numpys(name, ours, theirs, args):
    held = [Tensor(a) if isinstance(a, np.ndarray) else a for a in args]
    right = np.asarray(theirs(*args))
    for given in (held, args):  # arrays are taken as tensors are
        got = ours(*given)
        assert got.shape == right.shape
        assert got.dtype == right.dtype
        np.testing.assert_allclose(got.numpy(), right, rtol=1e-12, atol=1e-14)


def test_split_is_numpys():
    for sections, axis in ((2, 0), ([1, 3], 0), ([1], 1), (3, 1), ([3, 2], 0)):
        for got, right in zip(
            ops.split(Tensor(X), sections, axis), np.split(X, sections, axis), strict=True
        ):
            np.testing.assert_array_equal(got.numpy(), right)


DIFFERENTIABLE = {
    "gelu": lambda t, x: t.nn.functional.gelu(x), "silu": lambda t, x: t.nn.functional.silu(x),
    "elu": lambda t, x: t.nn.functional.elu(x), "erf": lambda t, x: t.erf(x),
    "erfc": lambda t, x: t.erfc(x), "gammaln": lambda t, x: t.lgamma(x),
    "digamma": lambda t, x: t.digamma(x),
    "softmax": lambda t, x: t.softmax(x, -1), "sin": lambda t, x: t.sin(x),
    "tan": lambda t, x: t.tan(x), "sinh": lambda t, x: t.sinh(x), "prod": lambda t, x: t.prod(x),
    "std": lambda t, x: t.std(x, correction=0), "sort": lambda t, x: t.sort(x, -1)[0],
    "cumsum": lambda t, x: t.cumsum(x.flatten(), 0), "expm1": lambda t, x: t.expm1(x),
    "cumprod": lambda t, x: t.cumprod(x.flatten(), 0), "tril": lambda t, x: t.tril(x),
    "svdvals": lambda t, x: t.linalg.svdvals(x), "ptp": lambda t, x: x.max() - x.min(),
    "logsumexp": lambda t, x: t.logsumexp(x, (0, 1)), "flip": lambda t, x: t.flip(x, (0, 1)),
    "trace": lambda t, x: t.diagonal(x).sum(), "square": lambda t, x: x * x,
}  # fmt: skip
WITH_PARAMETERS = {
    "raise_to": (lambda x: ops.abs(x) ** Tensor(Y), lambda t, x: t.abs(x) ** t.tensor(Y)),
    "exponent": (lambda x: 2.0**x, lambda t, x: 2.0**x),
    "det": (lambda x: ops.det(x[:3]), lambda t, x: t.linalg.det(x[:3])),
    "inv": (lambda x: ops.inv(x[:3]), lambda t, x: t.linalg.inv(x[:3])),
    "solve": (lambda x: ops.solve(x[:3], x[1:]), lambda t, x: t.linalg.solve(x[:3], x[1:])),
    "eigvalsh": (lambda x: ops.eigvalsh(x @ x.T + Tensor(np.diag([1.0, 2, 3, 4]))),
                 lambda t, x: t.linalg.eigvalsh(x @ x.T + t.diag(t.tensor([1.0, 2, 3, 4])))),
    "cholesky": (lambda x: ops.cholesky(x.T @ x + Tensor(np.eye(3))),
                 lambda t, x: t.linalg.cholesky(x.T @ x + t.eye(3))),
    "einsum": (lambda x: ops.einsum("ij,ik,jk->i", x, x, Tensor(S)),
               lambda t, x: t.einsum("ij,ik,jk->i", x, x, t.tensor(S))),
    "remainder": (lambda x: x % 0.7, lambda t, x: t.remainder(x, 0.7)),
    "hypot": (lambda x: ops.hypot(x, 2 * x), lambda t, x: t.hypot(x, 2 * x)),
    "logaddexp": (lambda x: ops.logaddexp(x, x * x), lambda t, x: t.logaddexp(x, x * x)),
    "arctan2": (lambda x: ops.arctan2(x, 1 + x * x), lambda t, x: t.arctan2(x, 1 + x * x)),
    "var": (lambda x: ops.var(x, 1, ddof=1), lambda t, x: t.var(x, 1)),
    "roll": (lambda x: ops.roll(x, 2, 0) * x, lambda t, x: t.roll(x, 2, 0) * x),
    "diff": (lambda x: ops.diff(x * x, axis=0), lambda t, x: t.diff(x * x, dim=0)),
    "inner": (lambda x: ops.inner(x, x * x), lambda t, x: t.inner(x, x * x)),
    "stacks": (lambda x: ops.vstack([x, ops.hstack([x[:, :1], x[:, 1:] * x[:, 1:]])]),
               lambda t, x: t.vstack([x, t.hstack([x[:, :1], x[:, 1:] * x[:, 1:]])])),
    "sigma": (lambda x: ops.svdvals(x)[0], lambda t, x: t.linalg.matrix_norm(x, 2)),
    **{f"matrix_norm {p}": (lambda x, p=p: ops.matrix_norm(x, p),
                            lambda t, x, p=p: t.linalg.matrix_norm(x, p))
       for p in ("fro", "nuc", 2, 1, np.inf)},
    **{f"vector_norm {p}": (lambda x, p=p: ops.vector_norm(x, 1, ord=p),
                            lambda t, x, p=p: t.linalg.vector_norm(x, p, 1))
       for p in (1, 1.5, 2, 3, np.inf)},
    "pinv": (lambda x: ops.pinv(x), lambda t, x: t.linalg.pinv(x)),
    "weights": (lambda x: ops.logsumexp(x, 0, b=x * x),
                lambda t, x: t.logsumexp(x + t.log(x * x), 0)),
    "rot90": (lambda x: ops.rot90(x * x, 3), lambda t, x: t.rot90(x * x, 3)),
    "convolve": (lambda x: ops.convolve(x * x, x[:2, :2]), lambda t, x: t.nn.functional.conv2d(
        (x * x)[None, None], x[:2, :2].flip(0, 1)[None, None], padding=1)[0, 0]),
    "logit": (lambda x: ops.logit(ops.sigmoid(x)), lambda t, x: t.logit(t.sigmoid(x))),
}  # fmt: skip


@pytest.mark.parametrize("name", [*DIFFERENTIABLE, *WITH_PARAMETERS])
def test_gradients_of_both_orders_are_pytorchs(torch, name):
    if name in DIFFERENTIABLE:
        ours, theirs = getattr(ops, name), DIFFERENTIABLE[name]
    else:
        ours, theirs = WITH_PARAMETERS[name]
    x, z = Tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    y, w = ours(x), theirs(torch, z)
    weights = np.random.default_rng(1).normal(size=y.shape)
    np.testing.assert_allclose(y.numpy(), w.detach().numpy(), rtol=1e-10, atol=1e-12)
    first = grad((y * Tensor(weights)).sum(), x, create_graph=True)
    (theirs_1,) = torch.autograd.grad((w * torch.tensor(weights)).sum(), z, create_graph=True)
    np.testing.assert_allclose(first.numpy(), theirs_1.detach().numpy(), rtol=1e-9, atol=1e-11)
    direction = np.random.default_rng(2).normal(size=X.shape)
    second = grad((first * Tensor(direction)).sum(), x)
    if theirs_1.requires_grad:
        (theirs_2,) = torch.autograd.grad(
            (theirs_1 * torch.tensor(direction)).sum(), z, allow_unused=True
        )
        right = np.zeros_like(X) if theirs_2 is None else theirs_2.numpy(force=True)
    else:
        right = np.zeros_like(X)
    np.testing.assert_allclose(second.numpy(), right, rtol=1e-7, atol=1e-9)


def test_products_with_zeros(torch):
    for x in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [[1.0, 0.0], [2.0, 3.0]]):
        for ours, theirs in (
            (ops.prod, lambda z: z.prod()),
            (ops.cumprod, lambda z: z.flatten().cumprod(0)),
        ):
            t = Tensor(x, requires_grad=True)
            z = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            theirs(z).sum().backward()
            np.testing.assert_array_equal(grad(ours(t).sum(), t).numpy(), z.grad.numpy())


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(2, None, 0), (3, 1, 0), (3, 2, 1), (2, 3, 1), ((2, 3), (1, 2), (1, 0)), (1, 1, 0)],
)
def test_pooling_is_pytorchs(torch, size, stride, padding):
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 6))
    for ours, theirs in (
        (ops.max_pool2d, torch.nn.functional.max_pool2d),
        (ops.avg_pool2d, torch.nn.functional.avg_pool2d),
    ):
        x, z = Tensor(images, requires_grad=True), torch.tensor(images, requires_grad=True)
        y, w = ours(x, size, stride, padding), theirs(z, size, stride, padding)
        np.testing.assert_allclose(y.numpy(), w.detach().numpy(), rtol=1e-12, atol=1e-15)
        g = np.random.default_rng(1).normal(size=y.shape)
        w.backward(torch.tensor(g))
        np.testing.assert_allclose(grad(y, x, g).numpy(), z.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_dropout():
    x = Tensor(np.ones((200, 200)), requires_grad=True)
    y = ops.dropout(x, 0.25, np.random.default_rng(0))
    assert set(np.unique(y.numpy())) == {0.0, 1 / 0.75}
    assert abs((y.numpy() == 0).mean() - 0.25) < 0.01
    np.testing.assert_array_equal(grad(y.sum(), x).numpy(), y.numpy())
    np.testing.assert_array_equal(ops.dropout(x, 0.25, 0).numpy(), y.numpy())
    assert ops.dropout(x, 0.0, 1).numpy().all()
    for rate in (1.0, -0.1, np.nan):
        with pytest.raises(ConfigError, match=r"rate: expected .* from 0 to below 1"):
            ops.dropout(x, rate, 0)


def singular_slope(f):
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    return grad(f(x), x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: ops.squeeze(X, 0),
            ShapeError,
            "squeeze: expected axes of size 1, got axis 0 of shape",
        ),
        (lambda: ops.split(X, 3), ShapeError, "split: 4 entries do not make 3 equal parts"),
        (lambda: ops.repeat(X, [1, 2], 1), ShapeError, "repeat: "),
        (lambda: ops.roll(X, (1, 2), (0,)), ShapeError, "roll: 2 shifts do not fit 1 axes"),
        (lambda: ops.argmax(np.zeros((0, 3)), 0), ShapeError, "argmax: .*no entry"),
        (lambda: ops.tril(V), ShapeError, "expected matrices"),
        (lambda: ops.diag(T3), ShapeError, "diag: expected a vector or a matrix"),
        (lambda: ops.diagonal(V), ShapeError, "diagonal: expected at least two axes"),
        (lambda: ops.moveaxis(T3, (0, 1), 2), ShapeError, "moveaxis: 2 axes cannot move to 1"),
        (lambda: ops.tensordot(X, Y, 1), ShapeError, "tensordot: axes .* do not fit"),
        (lambda: ops.einsum("ij,jk", X, Y), ShapeError, "index j has sizes 3 and 4"),
        (lambda: ops.einsum("ij,jk", X), ShapeError, "expected 2 tensors, got 1"),
        (lambda: ops.einsum("ijk", X), ShapeError, "'ijk' does not name 2 axes"),
        (lambda: ops.einsum("ij->ik", X), ShapeError, "must name known indices"),
        (lambda: ops.einsum("ij->ii", X), ShapeError, "must name known indices, each once"),
        (lambda: ops.svdvals(V), ShapeError, "svdvals: expected matrices"),
        (lambda: ops.solve(np.zeros((2, 2)), X[:2]), MatrixError, "solve: .*[Ss]ingular"),
        (
            lambda: ops.inv(np.ones((2, 2))),
            np.linalg.LinAlgError,
            "inv: .*multiple of the identity",
        ),
        (lambda: ops.cholesky(-np.eye(2)), MatrixError, "cholesky: .*not positive definite; look"),
        (lambda: ops.inv(np.ones((2, 3))), ShapeError, "inv: .*must be square"),
        (lambda: ops.inv(np.ones(2)), ShapeError, "inv: .*at least two-dimensional"),
        (
            lambda: singular_slope(ops.det),
            MatrixError,
            "inv: .*Singular .*multiple of the identity",
        ),
        (lambda: singular_slope(ops.logdet), MatrixError, "inv: .*multiple of the identity"),
        (lambda: Tensor([5]) ** Tensor([-1]), DTypeError, "power: integers have no negative .*64"),
        (lambda: 2 ** Tensor([-1]), DTypeError, "power: integers have no negative powers; convert"),
        (lambda: ops.max_pool2d(X), ShapeError, r"expected images \[N, C, H, W\]"),
        (lambda: ops.max_pool2d(np.ones((1, 1, 4, 4)), 2, padding=2), ShapeError, "more than half"),
        (lambda: ops.max_pool2d(np.ones((1, 1, 2, 2)), 3), ShapeError, "larger than the padded"),
        (lambda: Tensor(X) ** "2", DTypeError, "raise_to: expected a Tensor"),
        (lambda: ops.cumsum(X, 2), ShapeError, "cumsum: axis 2 does not exist"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


# -- the ends of the range -------------------------------------------------------------------------

INF = np.inf


def pulled(f, x, g=None):
    t = Tensor(np.asarray(x, float), requires_grad=True)
    y = f(t)
    with np.errstate(all="ignore"):
        return grad(
            y if g is not None else y.sum(), t, None if g is None else np.asarray(g)
        ).numpy()


@pytest.mark.parametrize(
    "x",
    [
        [-INF, -INF],
        [INF, 0.0],
        [-INF],
        [INF, -INF],
        [-INF, 0.0],
        [INF, INF],
        [1e308, 1e308],
        [0.0, np.nan],
        [-1e308, -INF],
        [[0.0, 1.0], [-INF, -INF]],
    ],
)
def test_logsumexp_of_infinities(x):
    for dtype in (np.float64, np.float32):
        with np.errstate(all="ignore"):
            a = np.array(x).astype(dtype)
            right = np.asarray(special.logsumexp(a, axis=-1))
        np.testing.assert_allclose(ops.logsumexp(Tensor(a), -1).numpy(), right, rtol=1e-6)


def test_gradients_of_logsumexp_with_infinities():
    p = 1 / (1 + np.e)
    x = [[0.0, 1.0], [-INF, -INF]]
    np.testing.assert_allclose(pulled(lambda t: ops.logsumexp(t, 1)[0], x), [[p, 1 - p], [0, 0]])
    np.testing.assert_allclose(pulled(lambda t: ops.logsumexp(t, 1), x), [[p, 1 - p], [0, 0]])
    np.testing.assert_array_equal(pulled(ops.logsumexp, [INF, 0.0, INF]), [0.5, 0, 0.5])
    np.testing.assert_allclose(pulled(ops.logsumexp, [-INF, 0.0, 1.0]), [0, p, 1 - p])
    np.testing.assert_array_equal(ops.logsumexp(np.zeros((2, 0)), 1).numpy(), [-INF, -INF])
    np.testing.assert_array_equal(ops.softmax(Tensor([-INF, 0.0])).numpy(), [0.0, 1.0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rectifiers_of_infinities(kernel_name, dtype):
    big = 100 if kernel_name == "spec" else 1 << 16
    x = np.tile(np.array([-INF, -1.0, 0.0, 1.0, INF], dtype), big)
    np.testing.assert_array_equal(ops.relu(Tensor(x)).numpy(), np.maximum(x, 0))
    t = Tensor(x, requires_grad=True)
    g = np.full_like(x, INF)
    np.testing.assert_array_equal(grad(ops.relu(t), t, g).numpy(), np.where(x > 0, INF, 0))
    np.testing.assert_array_equal(grad(ops.leaky_relu(t, 0.5), t, g).numpy(), g)
    np.testing.assert_array_equal(ops.leaky_relu(Tensor(x), 0.5).numpy(), np.where(x > 0, x, x / 2))
    assert np.isnan(ops.relu(Tensor(np.full_like(x, np.nan))).numpy()).all()


@pytest.mark.parametrize(
    ("f", "x", "right"),
    [
        (lambda x: ops.maximum(x, 0.0), [-1.0, 1.0], [0, INF]),
        (lambda x: ops.minimum(0.0, x), [-1.0, 1.0], [INF, 0]),
        (lambda x: ops.clip(x, -1.0, 1.0), [-2.0, 0.5], [0, INF]),
        (ops.abs, [0.0, -2.0], [0, -INF]),
        (lambda x: ops.max(x, 0, True) + ops.where(x > 9, x, 0.0), [1.0, 2.0], [0, INF]),
        (lambda x: ops.min(x, 0, True) + ops.where(x > 9, x, 0.0), [1.0, 2.0], [INF, 0]),
    ],
)
def test_an_infinite_gradient_ends_at_what_was_not_chosen(f, x, right):
    np.testing.assert_array_equal(pulled(f, x, [INF, INF]), right)


def test_roots_at_their_end():
    for root in (ops.sqrt, lambda x: x**0.5, lambda x: x**0.25, lambda x: ops.power(x, 1 / 3)):
        slopes = pulled(root, [0.0, 4.0])
        assert slopes[0] == 0
        assert 0 < slopes[1] < 1
        t = Tensor([0.0, 4.0], requires_grad=True)
        assert np.isfinite(grad(grad(root(t).sum(), t, create_graph=True).sum(), t).numpy()).all()
    np.testing.assert_array_equal(pulled(lambda x: (x**2).sum() ** 0.5, np.zeros(3)), np.zeros(3))
    np.testing.assert_array_equal(pulled(lambda x: ops.abs(x) ** 0.5, [0.0, 4.0]), [0, 0.25])
    np.testing.assert_array_equal(pulled(lambda x: ops.hypot(x, x), [0.0]), [0])
    np.testing.assert_array_equal(pulled(ops.std, [2.0, 2.0]), [0, 0])
    with np.errstate(invalid="ignore"):
        assert np.isnan(pulled(ops.sqrt, [-1.0])).all()  # where the value is a NaN, so is this
        assert pulled(lambda x: ops.maximum(x, 0.0), [np.nan]) == [1.0]  # as PyTorch has it
    np.testing.assert_array_equal(pulled(lambda x: x**0, [0.0, INF]), [0, 0])
    np.testing.assert_array_equal(pulled(lambda x: x**1, [0.0, INF]), [1, 1])
    np.testing.assert_array_equal(pulled(lambda x: x**1.5, [0.0]), [0])
    np.testing.assert_array_equal(pulled(lambda b: ops.raise_to(0.0, b), [2.0]), [0])


def test_empty_arrays():
    assert ops.norm(Tensor(np.zeros(0))).item() == 0
    np.testing.assert_array_equal(ops.norm(Tensor(np.zeros((3, 0))), axis=1).numpy(), np.zeros(3))
    for shape in ((0, 3), (3, 0), (0,), (2, 0, 3)):
        x = Tensor(np.zeros(shape), requires_grad=True)
        for f in (
            ops.norm,
            ops.sum,
            ops.var,
            ops.mean,
            ops.prod,
            ops.std,
            ops.cumsum,
            lambda t: ops.var(t, 0),
            lambda t: ops.log_softmax(t),
            lambda t: ops.sort(t),
            lambda t: ops.logsumexp(t, -1),
            ops.softmax,
            lambda t: ops.flip(t),
            lambda t: ops.norm(t, axis=0),
            ops.relu,
            lambda t: ops.max(t, axis=0) if t.shape[0] else t,
        ):
            assert grad(f(x).sum(), x).shape == shape
    assert ops.max(Tensor(np.zeros((0, 3))), axis=1).shape == (0,)
    for name in ("max", "min"):
        with pytest.raises(ShapeError, match=f"{name}: .*no entry along axis 0"):
            getattr(ops, name)(Tensor(np.zeros((0, 3))), axis=0)
    assert ops.concat([Tensor(np.zeros((0, 3))), Tensor(np.ones((2, 3)))]).shape == (2, 3)


def test_half_precision():
    x = np.full(1000, 300, np.float16)
    y = np.tile(np.array([100, 500], np.float16), 500)
    for f, a, right in (
        (ops.mean, x, 300),
        (ops.norm, x, 300 * np.sqrt(1000)),
        (ops.var, y, 40000),
        (ops.std, y, 200),
        (ops.logsumexp, x, 300 + np.log(1000)),
    ):
        got = f(Tensor(a))
        assert got.dtype == np.float16
        assert got.item() == pytest.approx(right, rel=1e-3)
    t = Tensor(x, requires_grad=True)
    g = grad(ops.norm(t), t)
    assert g.dtype == np.float16
    np.testing.assert_allclose(g.numpy(), 1 / np.sqrt(1000), rtol=1e-2)
    assert ops.softmax(Tensor(x)).numpy() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    "name",
    [
        "sum",
        "mean",
        "var",
        "max",
        "min",
        "norm",
        "logsumexp",
        "log_softmax",
        "prod",
        "std",
        "softmax",
    ],
)
def test_axes_as_lists_and_wrong_ones(name):
    f, x = getattr(ops, name), Tensor(T3, requires_grad=True)
    a, b = f(x, axis=[0, -1]), f(x, axis=(0, 2))
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(grad((a * a).sum(), x).numpy(), grad((b * b).sum(), x).numpy())
    for axis in (3, (0, 0), [0, -3]):
        with pytest.raises(ShapeError, match="^(softmax|var|" + name + "): axis"):
            f(x, axis=axis)


# -- any order -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * 3.0,
        lambda x: x * x,
        lambda x: x**2,
        ops.relu,
        ops.abs,
        ops.max,
        ops.min,
        lambda x: x**3,
        lambda x: x * x * x,
        lambda x: x + 1,
        lambda x: -x,
        ops.sum,
        ops.mean,
        lambda x: ops.maximum(x, 1.5),
        ops.sort,
        ops.cumsum,
        ops.prod,
        lambda x: x % 0.7,
        ops.sign,
        ops.floor,
        lambda x: x[0],
        lambda x: ops.concat([x, x]),
        lambda x: x.reshape(1, 2),
        lambda x: ops.where(x > 1, x, 2 * x),
        lambda x: ops.clip(x, 0, 1.5),
        ops.square,
        ops.flip,
        lambda x: ops.einsum("i,i", x, x),
        lambda x: x @ x,
        lambda x: ops.leaky_relu(x, 0.2),
        lambda x: x / 2,
        lambda x: x.T,
        lambda x: ops.pad(x, 1),
    ],
)
def test_derivatives_of_any_order_end_at_0(f):
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = f(x)
    for _ in range(5):
        (g,) = grad(y, [x], None if y.size == 1 else np.ones(y.shape), create_graph=True)
        y = g.sum()
    np.testing.assert_array_equal(g.numpy(), [0.0, 0.0])


def test_a_derivative_that_does_not_depend_on_one_of_several():
    x, z = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    g_x, g_z = grad((3 * x).sum() + (z * z).sum(), [x, z], create_graph=True)
    assert g_x.tolist() == [3.0, 3.0]
    for y, t, right in (
        (g_x.sum(), x, 0.0),
        (g_x.sum(), z, 0.0),
        (g_z.sum(), x, 0.0),
        (g_z.sum(), z, 2.0),
        ((g_x * g_z).sum(), z, 6.0),
    ):
        np.testing.assert_array_equal(grad(y, t).numpy(), [right, right])


# -- the ends of the range, and what is no axis ----------------------------------------------------


def test_powers_at_the_ends():
    """A power 0 is flat, a root at 0 has the gradient 0 as sqrt, an exponent at base 0 none."""
    a = Tensor([0.0, 0.0, np.nan, 0.0, 4.0], requires_grad=True)
    b = Tensor([0.0, 0.5, 0.0, 2.0, 0.5], requires_grad=True)
    of_a, of_b = grad(ops.power(a, b).sum(), [a, b])
    np.testing.assert_array_equal(of_a.array, [0, 0, 0, 0, 0.25])
    np.testing.assert_allclose(of_b.array, [0, 0, np.nan, 0, 2 * np.log(4)])
    a, b = Tensor([0.0, 0.0], requires_grad=True), Tensor([-1.0, np.nan], requires_grad=True)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(grad(ops.power(a, b).sum(), b).array, [-np.inf, np.nan])


def test_an_angle_at_the_ends():
    a = Tensor([0.0, 1e200, 3e-200], requires_grad=True)
    b = Tensor([0.0, 1e200, 4e-200], requires_grad=True)
    of_a, of_b = grad(ops.arctan2(a, b).sum(), [a, b])
    np.testing.assert_allclose(of_a.array, [0, 5e-201, 16e198], rtol=1e-12)
    np.testing.assert_allclose(of_b.array, [0, -5e-201, -12e198], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.bool_, np.int64])
def test_activations_of_whole_numbers(dtype):
    values = np.array([0, 1, 127]).astype(dtype)
    for name in (
        "sigmoid",
        "softplus",
        "silu",
        "gelu",
        "elu",
        "erf",
        "reciprocal",
        "exp2",
        "logit",
    ):
        with np.errstate(divide="ignore", invalid="ignore"):
            y = getattr(ops, name)(values)
            assert y.dtype == np.float64, name
            right = getattr(ops, name)(values.astype(float)).array
        np.testing.assert_array_equal(y.array, right)


AXIS_TAKERS = [
    "sum", "mean", "max", "min", "var", "std", "norm", "logsumexp", "softmax", "prod", "cumsum",
    "cumprod", "sort", "argsort", "argmax", "argmin", "flip", "squeeze", "expand_dims", "any",
    "all", "count_nonzero", "average", "ptp",
]  # fmt: skip


@pytest.mark.parametrize("name", AXIS_TAKERS)
@pytest.mark.parametrize("axis", ["0", 1.0, True, (0, "a"), slice(0, 1), (0.0,), object()])
def test_what_is_no_axis(name, axis):
    with pytest.raises(DTypeError, match="expected a whole number or a tuple as axis"):
        getattr(ops, name)(X, axis)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "norm", "prod", "any", "flip"])
def test_axes_of_any_kind(name):
    expected = getattr(ops, name)(X, (0, 1)).array
    for axes in ([0, 1], np.array([0, 1]), range(2), np.array([-2, -1])):
        np.testing.assert_array_equal(getattr(ops, name)(X, axes).array, expected)
    for axis in (np.int64(1), np.array(1), Tensor(1), np.uint8(1)):
        np.testing.assert_array_equal(
            getattr(ops, name)(X, axis).array, getattr(ops, name)(X, 1).array
        )


@pytest.mark.parametrize(
    "name", ["sort", "argsort", "argmax", "cumsum", "cumprod", "take", "stack"]
)
def test_one_axis_alone(name):
    call = getattr(ops, name)
    for axes in ((0, 1), (), [0, 1]):
        with pytest.raises(ShapeError, match=f"{name}: expected one axis, got"):
            call([X, X] if name == "stack" else X, *([0] if name == "take" else []), axis=axes)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.tile(X, "2"),
        lambda: ops.tile(X, 1.5),
        lambda: ops.roll(X, 1.5, 0),
        lambda: ops.split(X, 1.5),
        lambda: ops.diag(V, "1"),
        lambda: ops.dropout(X, "0.5", 0),
        lambda: ops.leaky_relu(X, "0.1"),
        lambda: ops.clip(X, "0", 1),
        lambda: ops.var(X, ddof="1"),
        lambda: ops.norm(Tensor([1 + 1j])),
        lambda: ops.var(Tensor([1 + 1j])),
        lambda: ops.astype(X, object),
        lambda: ops.astype(X, str),
        lambda: Tensor(np.ma.masked_array([1.0, 2.0], [True, False])),
        lambda: ops.tril(X, "1"),
        lambda: ops.triu(X, (0, 1)),
        lambda: ops.diagonal(X, None),
        lambda: ops.trace(X, 1.5),
        lambda: ops.diag(X, [1]),
        lambda: ops.repeat(X, 1.5),
        lambda: ops.repeat(X, None),
        lambda: ops.dropout(X, 0.5, "0"),
        lambda: ops.dropout(X, 0.5, None),
        lambda: ops.einsum(X, Y),
        lambda: ops.tensordot(X, Y, 1.5),
        lambda: ops.moveaxis(X, ((0, 0), 1), (0, 1)),
        lambda: ops.stack(1.0),
        lambda: ops.hstack(None),
        lambda: ops.vstack("xy"),
        lambda: ops.concat(np.float64(1)),
        lambda: ops.upsample_nearest2d(None),
    ],
)
def test_what_is_no_number(call):
    with pytest.raises(DTypeError):
        call()


def test_counts_of_numpy():
    one = np.int64(1)
    np.testing.assert_array_equal(ops.tile(X, one).array, X)
    np.testing.assert_array_equal(ops.roll(X, one, one).array, np.roll(X, 1, 1))
    assert len(ops.split(X, np.int64(2))) == 2
    with pytest.raises(ConfigError, match="tile: expected a whole number of at least 0, got -1"):
        ops.tile(X, -1)


def test_pixels_of_numpy():
    """A size may be a whole number of NumPy, and a pair may be a list or an array."""
    x = rng.normal(size=(1, 2, 6, 6))
    for two in (np.int64(2), np.array(2), Tensor(2), [2, 2], np.array([2, 2]), (np.uint8(2), 2)):
        for call in (ops.max_pool2d, ops.avg_pool2d, ops.upsample_nearest2d):
            np.testing.assert_allclose(call(x, two).array, call(x, 2).array, rtol=1e-14)
        np.testing.assert_array_equal(ops.pad(x, two).array, np.pad(x, 2))
    for widths in (((1, 0),), ((0, 0), (0, 0), (1, 2), (0, 3)), np.array([[1, 2]])):
        np.testing.assert_array_equal(ops.pad(x, widths).array, np.pad(x, widths))
    np.testing.assert_array_equal(
        ops.upsample_nearest2d(x, (1, 3)).array, x.repeat(1, axis=2).repeat(3, axis=3)
    )
    assert ops.avg_pool2d(x.tolist()).shape == (1, 2, 3, 3)


def test_pairs_of_axes():
    for axes in ((), (0,), ((0,), (0,), (0,))):
        with pytest.raises(ShapeError, match=r"tensordot: expected axes as \(axes of a, axes of b"):
            ops.tensordot(X, Y, axes)
    np.testing.assert_allclose(ops.tensordot(X, Y.T, np.int64(1)).array, X @ Y.T)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.bool_, np.int32])
def test_products_of_small_integers_have_room(dtype):
    a = np.full((2, 4), 100).astype(dtype)
    for axis in (0, 1, None):
        y, right = ops.cumprod(a, axis), np.cumprod(a, axis)
        assert y.dtype == right.dtype
        np.testing.assert_array_equal(y.array, right)


@pytest.mark.parametrize(
    ("name", "x", "first", "second"),
    [
        ("arcsin", 1.0, np.inf, np.inf),
        ("arcsin", -1.0, np.inf, -np.inf),
        ("arccos", 1.0, -np.inf, -np.inf),
        ("arccos", -1.0, -np.inf, np.inf),
        ("arccosh", 1.0, np.inf, -np.inf),
    ],
)
def test_slopes_at_the_ends_of_a_domain_are_infinite(name, x, first, second):
    x = Tensor(x, requires_grad=True)
    with np.errstate(divide="ignore"):
        slope = grad(getattr(ops, name)(x), x, create_graph=True)
        assert (slope.item(), grad(slope, x).item()) == (first, second)


def test_a_power_0_is_flat_even_for_a_nan():
    x = Tensor([np.nan, 2.0], requires_grad=True)
    np.testing.assert_array_equal(grad((x**0).sum(), x, create_graph=True).array, [0, 0])
    np.testing.assert_array_equal(grad((x**0 + x).sum(), x).array, [1, 1])


@pytest.mark.parametrize("ord", [1, 1.5, 2, 3, np.inf])
def test_norms_of_infinities_are_infinite(ord):
    x = np.array([[np.inf, 1.0], [-np.inf, np.inf], [np.nan, np.inf], [3.0, 4.0]])
    found = ops.vector_norm(x, 1, ord=ord).array
    np.testing.assert_allclose(found, np.linalg.norm(x, ord, axis=1), rtol=1e-15)


def test_the_largest_of_a_nan_is_the_nan():
    x = Tensor([1.0, np.nan, 3.0], requires_grad=True)
    np.testing.assert_array_equal(grad(ops.max(x), x).array, [0, 1, 0])
    np.testing.assert_array_equal(grad(ops.min(x), x).array, [0, 1, 0])


def test_singular_values_of_nothing():
    assert ops.svdvals(np.zeros((0, 3))).shape == (0,)


# -- factors of matrices ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3), (2, 4, 3)])
def test_factors_make_the_matrix_again_and_have_both_derivatives(shape):
    x = np.random.default_rng(0).normal(size=shape)
    U, s, Vt = ops.svd(x)
    k = min(shape[-2:])
    assert U.shape[-1] == Vt.shape[-2] == s.shape[-1] == k
    np.testing.assert_allclose((U * s.reshape(*s.shape[:-1], 1, k) @ Vt).array, x, atol=1e-12)
    assert (np.take_along_axis(U.array, abs(U.array).argmax(-2)[..., None, :], -2) > 0).all()
    weights = [np.random.default_rng(1).normal(size=t.shape) for t in (U, s, Vt)]

    def f(x):
        return ops.sum(
            ops.stack([ops.sum(t * w) for t, w in zip(ops.svd(x), weights, strict=True)])
        )

    assert gradcheck(f, [x], order=2)
    with pytest.raises(ConfigError, match="only full_matrices=False has gradients"):
        ops.svd(x, full_matrices=True)


def test_eigenvectors():
    symmetric = S + S.T
    w, V = ops.eigh(symmetric)
    np.testing.assert_allclose((V * w @ V.T).array, symmetric, atol=1e-12)
    g = np.random.default_rng(1).normal(size=V.shape)
    assert gradcheck(lambda x: ops.sum(ops.eigh(x + x.T)[1] * g), [S], order=2)


def test_parts_that_are_not_equal():
    for sections in (1, 2, 3, 5, [1, 3]):
        for ours, theirs in zip(
            ops.array_split(X, sections), np.array_split(X, sections), strict=True
        ):
            np.testing.assert_array_equal(ours.array, theirs)


def test_norms_of_large_and_small_numbers_are_numbers():
    for size in (1e-200, 1e200):
        x = Tensor(size * np.array([[3.0, 4.0]]), requires_grad=True)
        y = ops.vector_norm(x, ord=3)
        assert y.item() == pytest.approx(size * 91 ** (1 / 3), rel=1e-12)
        np.testing.assert_allclose(
            grad(y, x).numpy(), [[9 / 91 ** (2 / 3), 16 / 91 ** (2 / 3)]], rtol=1e-12
        )
    zero = Tensor(np.zeros(3), requires_grad=True)
    np.testing.assert_array_equal(grad(ops.vector_norm(zero, ord=3), zero).numpy(), 0)


def test_infinities_become_the_largest_numbers_of_the_dtype():
    for dtype in (np.float64, np.float32):
        x = np.array([2.0, np.nan, np.inf, -np.inf], dtype)
        np.testing.assert_array_equal(ops.nan_to_num(x).numpy(), np.nan_to_num(x))
    assert ops.nan_to_num(np.array([1, 2])).dtype == np.int64


def test_what_replaces_a_number_has_no_gradient():
    x = Tensor(np.array([2.0, np.nan, np.inf, -np.inf]), requires_grad=True)
    y = ops.nan_to_num(x, posinf=5.0, neginf=-5.0)
    np.testing.assert_array_equal(grad((y * y).sum(), x).numpy(), [4, 0, 0, 0])


def test_functions_on_the_host_keep_single_precision():
    x = Tensor(np.array([0.5, 0.25], np.float32))
    for y in (ops.erfc(x), ops.erfinv(x), ops.gammaln(x), ops.digamma(x), ops.polygamma(2, x)):
        assert y.dtype == np.float32


def test_what_has_no_meaning_is_refused():
    for wrong, call in {
        "two vectors or two matrices": lambda: ops.convolve(X, V),
        "mode full, same or valid": lambda: ops.convolve(V, V, "middle"),
        "number above 0 as ord": lambda: ops.vector_norm(V, ord=0),
        "ord fro, nuc, 2, 1 or inf": lambda: ops.matrix_norm(X, -2),
        "expected matrices": lambda: ops.matrix_norm(V),
        "expected two axes": lambda: ops.rot90(X, 1, (0,)),
        "polygamma: n": lambda: ops.polygamma(-1, X),
    }.items():
        with pytest.raises(MinisnError, match=wrong):
            call()


def test_one_infinity_does_not_change_another_entry_s_second_derivative():
    a, b = (Tensor(x, requires_grad=True) for x in ([0.0, np.inf, 1.0], [0.0, 5.0, 1.0]))
    first = grad(ops.logaddexp(a, b).sum(), a, create_graph=True)
    np.testing.assert_allclose(first.array, [0.5, 1.0, 0.5])
    np.testing.assert_allclose(grad(first[0] + first[2], a).array, [0.25, 0.0, 0.25])


def test_mixed_second_derivatives_of_a_power_agree_at_exponent_0():
    a, b = Tensor(2.0, requires_grad=True), Tensor(0.0, requires_grad=True)
    by_a, by_b = grad(a**b, [a, b], create_graph=True)
    assert float(grad(by_a, b)) == pytest.approx(0.5)
    assert float(grad(by_b, a)) == pytest.approx(0.5)


@pytest.mark.parametrize("batch", [(), (1,), (2,), (3,), (2, 3)])
def test_a_vector_beside_stacked_matrices_is_solved_in_each(batch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(*batch, 3, 3)), rng.normal(size=3)
    np.testing.assert_allclose(ops.solve(a, b).numpy(), np.linalg.inv(a) @ b)
    assert gradcheck(lambda a, b: ops.solve(a, b), [a, b], order=2)


def test_a_mask_is_padded_with_false():
    mask = np.zeros((1, 1, 3, 3), bool)
    assert not ops.max_pool2d(Tensor(mask), 3, 1, 1).numpy().any()
    mask[0, 0, 1, 1] = True
    assert ops.max_pool2d(Tensor(mask), 3, 1, 1).numpy().all()


def test_averages_of_squares_of_two_sizes_cover_the_image():
    x = np.arange(32.0).reshape(1, 1, 4, 8)
    expected = x.reshape(1, 1, 2, 2, 2, 4).mean((3, 5))
    np.testing.assert_allclose(ops.avg_pool2d(Tensor(x), (2, 4)).numpy(), expected)
    with pytest.raises(ShapeError, match="4x8 pixels are not divisible by"):
        ops.avg_pool2d(Tensor(x), (2, 3))


@pytest.mark.parametrize("places", [[-1], [1, -1], [3, -3], [-20, 2], [4, 2], [2, 20]])
def test_places_from_the_end_cut_as_in_numpy(places):
    x = np.arange(20.0).reshape(10, 2)
    for ours, theirs in ((ops.split, np.split), (ops.array_split, np.array_split)):
        for a, b in zip(ours(Tensor(x), places), theirs(x, places), strict=True):
            np.testing.assert_array_equal(a.numpy(), b)


def test_an_average_with_an_infinity_is_numpys():
    x, w = np.array([[1.0, np.inf], [2.0, 3.0]]), np.array([1.0, 3.0])
    for axis in (0, 1):
        expected = np.average(x, axis, w)
        np.testing.assert_array_equal(ops.average(Tensor(x), axis, w).numpy(), expected)


# -- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("x", "weights"), [((3, 1), (3,)), ((3,), (3, 1))])
def test_weights_that_would_repeat_the_values_are_refused(x, weights):
    with pytest.raises(ShapeError, match="weights of shape"):
        ops.average(np.ones(x), weights=np.ones(weights))


def test_a_weight_of_zero_in_logsumexp_has_its_gradient():
    x, b = (Tensor(values, requires_grad=True) for values in ([1.0, 2.0], [0.0, 1.0]))
    y = ops.logsumexp(x, b=b)
    of_x, of_b = grad(y, [x, b], create_graph=True)
    assert y.item() == 2
    np.testing.assert_allclose(of_b.numpy(), np.exp([-1, 0]))
    np.testing.assert_array_equal(of_x.numpy(), [0, 1])
    twice = grad(of_b[0], b)  # of -exp(x_i + x_j - 2 y)
    np.testing.assert_allclose(twice.numpy(), -np.exp([-2, -1]))
    assert ops.logsumexp([1000.0, 1.0], b=[0.0, 1.0]).item() == 1
    assert ops.logsumexp([1.0, 2.0], b=[0.0, 0.0]).item() == -np.inf
    rows = ops.logsumexp(X, axis=1, keepdims=True, b=X > 0)
    np.testing.assert_allclose(rows, special.logsumexp(X, axis=1, keepdims=True, b=X > 0))
    with pytest.raises(ConfigError, match="a weight is negative"):
        ops.logsumexp([1.0, 2.0], b=[-1.0, 1.0])


def test_a_product_with_an_empty_batch_has_a_gradient_of_zeros():
    a = Tensor(np.ones(3), requires_grad=True)
    np.testing.assert_array_equal(grad(ops.matmul(a, np.ones((0, 3, 2))).sum(), a).numpy(), 0)


def test_take_refuses_a_mask_and_tensordot_more_axes_than_there_are():
    with pytest.raises(DTypeError, match="for a mask, use"):
        ops.take([10.0, 20.0], [True, False])
    with pytest.raises(ShapeError, match="do not have 3 axes each"):
        ops.tensordot(X, Y, 3)


def test_a_weighted_average_carries_gradients():
    x, w = (Tensor(values, requires_grad=True) for values in ([1.0, 2.0, 3.0], [1.0, 1.0, 2.0]))
    of_x, of_w = grad(ops.average(x, weights=w), [x, w])
    np.testing.assert_allclose(of_x.numpy(), [0.25, 0.25, 0.5])
    np.testing.assert_allclose(of_w.numpy(), [-0.3125, -0.0625, 0.1875])
