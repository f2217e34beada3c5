"""Exercises of tutorials 5, 6, 10 and 12: the spectral norm, and normalizations by it."""

from functools import partial

import numpy as np

from ..conformance.reference import differences
from ..regularizers import BidirectionalSpectralNorm, layer_gradient
from ..spectral import as_matrix, power_iteration, singular_values, spectral_normalize
from .exercise import Case, Exercise, Mistake

# -- power iteration -------------------------------------------------------------------------

_EPSILON = Mistake(
    "epsilon",
    "The result is wrong only for a weight as small as 1e-7: an ε against a division by "
    "zero is as large as the norm. Inside the root it counts as √ε, which is larger still: use "
    "max(norm, 1e-30), or no ε.",
)


def _power_cases() -> list[Case]:
    rng = np.random.default_rng(7)
    cases = []
    for shape in ((4, 6), (6, 3), (5, 5)):
        W, u = rng.normal(size=shape), rng.normal(size=shape[0])
        cases.append(Case(f"a weight {list(shape)}", (W, u / np.linalg.norm(u))))
    W, u = rng.normal(size=(3, 4)), rng.normal(size=3)
    cases.append(Case("a weight [3, 4], with a u of length 3", (W, 3 * u / np.linalg.norm(u))))
    small = (1e-7 * rng.normal(size=(4, 5)), np.array([0.6, 0.0, 0.8, 0.0]))
    return [*cases, Case("a weight [4, 5] as small as 1e-7", small, alone=_EPSILON)]


def _unit(x):
    return x / np.linalg.norm(x)


def _round(W, u, unit_u=_unit, unit_v=_unit):
    v = unit_v(W.T @ u)
    u = unit_u(W @ v)
    return u, v, u @ W @ v


def _plain(x):
    return x


def _two_rounds(W, u):
    return _rounds(W, u, 2)


def _rounds(W, u, n):
    for _ in range(n):
        u, v, sigma = _round(W, u)
    return u, v, sigma


def _instead(change):
    """Model a mistake that changes what the right round (u, v, sigma) returns."""
    return lambda W, u: change(W, u, *_round(W, u))


POWER_ITERATION = Exercise(
    "power_iteration",
    "05",
    "[M18 Eq. (18), (19)]",
    (power_iteration,),
    ("W", "u"),
    ("u", "v", "sigma"),
    "the products of (18), written out",
    _power_cases,
    _round,
    (
        Mistake(
            "transposed",
            "W is transposed: v comes from Wᵀu, u from Wv.",
            lambda W, u: _round(W.T, u),
        ),
        Mistake(
            "not-normalized",
            "A vector is not normalized: bring both v and u to length 1.",
            partial(_round, unit_v=_plain),
            partial(_round, unit_u=_plain),
            partial(_round, unit_u=_plain, unit_v=_plain),
        ),
        Mistake(
            "squared-length",
            "A vector is divided by its squared length: the root is missing.",
            partial(_round, unit_v=lambda x: x / (x @ x), unit_u=lambda x: x / (x @ x)),
            partial(_round, unit_v=lambda x: x / (x @ x)),
        ),
        Mistake(
            "sum-norm",
            "A vector is divided by another norm than the Euclidean norm.",
            *(
                partial(_round, unit_u=unit, unit_v=unit)
                for unit in (
                    lambda x: x / np.sum(np.abs(x)),
                    lambda x: x / np.max(np.abs(x)),
                    lambda x: x / np.sum(x),
                )
            ),
        ),
        Mistake(
            "sigma-of-the-old-u",
            "sigma is computed with the old u: (19) takes the new u.",
            _instead(lambda W, u0, u, v, s: (u, v, u0 @ W @ v)),
            _instead(lambda W, u0, u, v, s: (u, v, _unit(u0) @ W @ v)),
        ),
        Mistake(
            "u-not-kept",
            "The function returns the old u: return the new u, or the next round "
            "begins at the same place.",
            _instead(lambda W, u0, u, v, s: (u0, v, s)),
            _instead(lambda W, u0, u, v, s: (u0, v, u0 @ W @ v)),
            _instead(lambda W, u0, u, v, s: (_unit(u0), v, s)),
        ),
        Mistake(
            "u-updated-twice",
            "u is updated twice: one round makes one new v and one new u.",
            _two_rounds,
            _instead(lambda W, u0, u, v, s: (_two_rounds(W, u0)[0], v, s)),
            *(partial(_rounds, n=n) for n in (3, 5, 10, 20, 50, 100, 1000)),
        ),
        Mistake(
            "v-updated-twice",
            "v is updated once more after u: one round makes one new v and one new u.",
            _instead(lambda W, u0, u, v, s: (u, _unit(W.T @ u), u @ W @ _unit(W.T @ u))),
        ),
        Mistake(
            "u-and-v-exchanged",
            "u and v are returned in the wrong order: return u, v, sigma.",
            _instead(lambda W, u0, u, v, s: (v, u, s)),
        ),
        Mistake(
            "sigma-squared",
            "sigma is squared: the singular values of WᵀW are the squares.",
            _instead(lambda W, u0, u, v, s: (u, v, s**2)),
        ),
        Mistake(
            "singular-vectors",
            "This is the exact answer, from a decomposition; the exercise "
            "is one round from the given u.",
            lambda W, u: _leading(W),
            lambda W, u: _leading(W, -1),
        ),
    ),
)


def _leading(W, sign=1):
    U, s, Vt = np.linalg.svd(W)
    return sign * U[:, 0], sign * Vt[0], s[0]


# -- a kernel --------------------------------------------------------------------------------


def _kernel_cases() -> list[Case]:
    rng = np.random.default_rng(8)
    shapes = [((4, 3, 3, 3), 0), ((3, 5, 2, 4), 1), ((4, 4, 2, 2), 1), ((6, 2, 1, 1), 0)]
    cases = [
        Case(
            f"{'a transposed convolution' if axis else 'a convolution'} with W {list(shape)}",
            (rng.normal(size=shape), axis),
        )
        for shape, axis in shapes
    ]
    small = 0.1 * rng.normal(size=(3, 2, 2, 2))
    return [*cases, Case("a convolution with a small W [3, 2, 2, 2]", (small, 0), alone=_SMALL)]


_SMALL = Mistake(
    "only-above-1",
    "The result is wrong only for a weight whose norm is below 1: divide by the norm always, not "
    "only by a norm above 1, and with no ε beside it.",
)


def _sigma(matrix):
    return np.linalg.norm(matrix, 2)


def _normalize_kernel(W, axis):
    return W / _sigma(as_matrix(W, axis))


_RESHAPE = (
    "For a transposed convolution the output axis is the second: bring it to the front "
    "(np.moveaxis), then reshape. "
)

NORMALIZE_KERNEL = Exercise(
    "normalize_kernel",
    "10",
    "[M18 Eq. (8)], [M18 §2.1]",
    (as_matrix, spectral_normalize),
    ("W", "axis"),
    ("W_bar",),
    "a singular value decomposition of the reshaped kernel",
    _kernel_cases,
    _normalize_kernel,
    (
        Mistake(
            "axis-ignored",
            _RESHAPE + "This function always takes the first axis.",
            lambda W, axis: W / _sigma(W.reshape(len(W), -1)),
        ),
        Mistake(
            "reshaped-without-moving",
            _RESHAPE + "A reshape alone mixes up rows and columns.",
            lambda W, axis: W / _sigma(W.reshape(W.shape[axis], -1)),
        ),
        Mistake(
            "other-axis",
            "The axes are exchanged: axis 0 for a convolution, 1 for a transposed one.",
            lambda W, axis: _normalize_kernel(W, 1 - axis),
        ),
        Mistake(
            "last-axis",
            "The rows of the matrix belong to the output axis, not to the last axis.",
            lambda W, axis: W / _sigma(W.reshape(-1, W.shape[-1])),
            lambda W, axis: W / _sigma(W.reshape(W.shape[0] * W.shape[1], -1)),
        ),
        Mistake(
            "per-tap",
            "Each tap of the kernel is treated as a separate matrix; there is "
            "only one matrix, d_out x (d_in h w).",
            lambda W, axis: W / np.linalg.norm(W, 2, axis=(0, 1)),
            lambda W, axis: W / np.linalg.norm(W, 2, axis=(0, 1)).max(),
            lambda W, axis: W / np.linalg.norm(W, 2, axis=(2, 3), keepdims=True),
            lambda W, axis: W / np.linalg.norm(W, 2, axis=(2, 3)).max(),
        ),
        Mistake(
            "frobenius",
            "This divides by the Frobenius norm, the root of the sum of *all* "
            "squared singular values.",
            lambda W, axis: W / np.linalg.norm(W),
        ),
        Mistake(
            "rows",
            "This divides each row by its length: weight normalization.",
            lambda W, axis: (
                W
                / np.sqrt(np.sum(W**2, keepdims=True, axis=tuple(i for i in range(4) if i != axis)))
            ),
        ),
        Mistake(
            "matrix-returned",
            "The function returns the matrix: W_bar has the shape of W.",
            lambda W, axis: as_matrix(_normalize_kernel(W, axis), axis),
        ),
        Mistake(
            "axis-not-moved-back",
            "The output axis is not moved back to its place.",
            lambda W, axis: np.moveaxis(_normalize_kernel(W, axis), axis, 0),
            lambda W, axis: as_matrix(_normalize_kernel(W, axis), axis).reshape(W.shape),
        ),
        Mistake(
            "sigma-squared",
            "W is divided by the square of its norm: the eigenvalues of WWᵀ are squares.",
            lambda W, axis: W / _sigma(as_matrix(W, axis)) ** 2,
        ),
        Mistake(
            "smallest",
            "This divides by the smallest singular value; σ is the largest.",
            lambda W, axis: W / singular_values(W, axis)[-1],
        ),
    ),
)


# -- its gradient ----------------------------------------------------------------------------


def _gradient_cases() -> list[Case]:
    rng = np.random.default_rng(9)
    cases = [
        Case(
            f"a weight [{m}, {n}] and a batch of {count}",
            (rng.normal(size=(count, m)), rng.normal(size=(count, n)), rng.normal(size=(m, n))),
        )
        for m, n, count in ((4, 6, 5), (5, 3, 4), (4, 4, 3))
    ]
    small = rng.normal(size=(2, 3)), rng.normal(size=(2, 4)), 0.1 * rng.normal(size=(3, 4))
    return [*cases, Case("a small weight [3, 4] and a batch of 2", small, alone=_SMALL)]


def _normalized_gradient(delta, h, W):
    """Difference V = E[delta^T W_bar h], with the norm from a decomposition each time."""
    return differences(lambda W: np.mean(np.sum(delta * (h @ W.T), axis=1)) / _sigma(W), W)


def _two_terms(delta, h, W, mean=None, of=None, factor=1.0, lam=None, outer=True):
    """Compute (12) with options for usual mistakes: the mean, the coefficient, the vectors."""
    U, s, Vt = np.linalg.svd(W)
    u, v = (of or (lambda U, Vt: (U[:, 0], Vt[0])))(U, Vt)
    plain = delta.T @ h / len(h) if mean is None else mean(delta, h)
    lam = lam or (lambda plain, W_bar, W: np.sum(plain * W_bar))
    return (plain - factor * lam(plain, W / s[0], W) * (np.outer(u, v) * outer)) / s[0]


def _frobenius_gradient(delta, h, W):
    N, plain = np.linalg.norm(W), delta.T @ h / len(h)
    return (plain - np.sum(plain * W) / N * W / N) / N


def _two_terms_of_weight(delta, h, W):
    W_bar, plain = W / _sigma(W), delta.T @ h / len(h)
    return (plain - np.sum(plain * W_bar) * W_bar) / _sigma(W)


NORMALIZED_GRADIENT = Exercise(
    "normalized_gradient",
    "06",
    "[M18 Eq. (11), (12)]",
    (layer_gradient,),
    ("delta", "h", "W"),
    ("gradient",),
    "finite differences of V through a decomposition of W",
    _gradient_cases,
    _normalized_gradient,
    (
        Mistake(
            "sigma-detached",
            "The second term is missing: σ is treated as a constant, but it depends on W.",
            partial(_two_terms, outer=False),
        ),
        Mistake("sign", "Subtract the second term, do not add it.", partial(_two_terms, factor=-1)),
        Mistake(
            "sum",
            "Ê is the mean over the batch, not the sum.",
            partial(_two_terms, mean=lambda delta, h: delta.T @ h),
        ),
        Mistake(
            "first-term-summed",
            "The first term is summed over the batch: Ê[δhᵀ] is a mean, as λ is.",
            lambda delta, h, W: _two_terms(
                delta, h, W, mean=lambda delta, h: delta.T @ h, factor=1 / len(h)
            ),
        ),
        Mistake(
            "lambda-of-W",
            "λ is taken with W; (12) has the normalized weight, W/σ.",
            partial(_two_terms, lam=lambda plain, W_bar, W: np.sum(plain * W)),
        ),
        Mistake(
            "lambda-summed",
            "Ê is the mean over the batch, in λ too.",
            lambda delta, h, W: _two_terms(delta, h, W, factor=len(h)),
        ),
        Mistake(
            "no-lambda",
            "The coefficient λ of the second term is missing.",
            partial(_two_terms, lam=lambda plain, W_bar, W: 1.0),
        ),
        Mistake(
            "not-divided",
            "The factor 1/σ in front is missing.",
            lambda delta, h, W: _two_terms(delta, h, W) * _sigma(W),
        ),
        Mistake(
            "u-and-v-exchanged",
            "u and v are exchanged in the outer product u₁v₁ᵀ.",
            partial(_two_terms, of=lambda U, Vt: (Vt[0], U[:, 0])),
        ),
        Mistake(
            "wrong-vectors",
            "These are not the leading singular vectors: NumPy's svd returns "
            "Vᵀ, whose first *row* is v₁; u₁ is the first column of U.",
            partial(_two_terms, of=lambda U, Vt: (U[:, 0], Vt[:, 0])),
            partial(_two_terms, of=lambda U, Vt: (U[0], Vt[0])),
            partial(_two_terms, of=lambda U, Vt: (U[0], Vt[:, 0])),
            partial(_two_terms, of=lambda U, Vt: (U[:, -1], Vt[-1])),
            partial(
                _two_terms,
                of=lambda U, Vt: (U[:, min(len(U), len(Vt)) - 1], Vt[min(len(U), len(Vt)) - 1]),
            ),
        ),
        Mistake(
            "parentheses",
            "1/σ stands in front of both terms: parentheses are missing.",
            lambda delta, h, W: (
                _two_terms(delta, h, W) + (1 - 1 / _sigma(W)) * delta.T @ h / len(h)
            ),
        ),
        Mistake(
            "frobenius", "This is (36), the gradient under the Frobenius norm.", _frobenius_gradient
        ),
        Mistake(
            "W-in-the-second-term",
            "The second term is a multiple of u₁v₁ᵀ, not of W.",
            _two_terms_of_weight,
        ),
    ),
)


# -- both reshapes ---------------------------------------------------------------------------


def _bsn_cases() -> list[Case]:
    rng = np.random.default_rng(10)
    shapes = ((5, 2, 3, 3), (3, 4, 2, 4), (4, 4, 3, 3))
    cases = [Case(f"W {list(shape)}", (rng.normal(size=shape),)) for shape in shapes]
    small = 0.1 * rng.normal(size=(3, 2, 2, 2))
    return [*cases, Case("a small W [3, 2, 2, 2]", (small,), alone=_SMALL)]


def _bsn(W, mean=lambda first, second: (first + second) / 2):
    return W / mean(_sigma(as_matrix(W, 0)), _sigma(as_matrix(W, 1)))


def _bsn_of(W, second):
    """Model another second matrix beside the right first one."""
    return 2 * W / (_sigma(as_matrix(W, 0)) + _sigma(second(W)))


BSN = Exercise(
    "bsn",
    "12",
    "[L21 BSN]",
    (BidirectionalSpectralNorm,),
    ("W",),
    ("W_bar",),
    "singular value decompositions of both matrices",
    _bsn_cases,
    _bsn,
    (
        Mistake(
            "product",
            "This divides by the product of the two norms; BSN takes their mean.",
            partial(_bsn, mean=lambda a, b: a * b),
        ),
        Mistake(
            "geometric-mean",
            "This is the geometric mean; BSN takes half the sum.",
            partial(_bsn, mean=lambda a, b: np.sqrt(a * b)),
        ),
        Mistake(
            "sum", "The sum of the norms must be halved.", partial(_bsn, mean=lambda a, b: a + b)
        ),
        Mistake(
            "root-mean-square",
            "This is the root mean square of the two norms; BSN takes half the sum.",
            partial(_bsn, mean=lambda a, b: np.sqrt((a**2 + b**2) / 2)),
        ),
        Mistake(
            "parentheses",
            "Parentheses are missing: W / ((a + b) / 2), with a and b for the two norms.",
            partial(_bsn, mean=lambda a, b: a + b / 2),
            partial(_bsn, mean=lambda a, b: a / 2 + b),
            partial(_bsn, mean=lambda a, b: (a + b) * 2),
            lambda W: _bsn(W, lambda a, b: a) + _sigma(as_matrix(W, 1)) / 2,
        ),
        Mistake(
            "one-reshape",
            "Only one of the two norms is left in the result: it is used alone, or a second "
            "division cancels the first. BSN divides once, by the mean of both norms.",
            partial(_bsn, mean=lambda a, b: a),
            partial(_bsn, mean=lambda a, b: b),
        ),
        Mistake(
            "largest",
            "This takes the larger norm, or the smaller; BSN takes the mean.",
            partial(_bsn, mean=max),
            partial(_bsn, mean=min),
        ),
        Mistake(
            "reshaped-without-moving",
            "w₂ has one row per *input* channel: bring that axis to "
            "the front (np.swapaxes), then reshape. A reshape alone mixes them up.",
            *(
                partial(_bsn_of, second=second)
                for second in (
                    lambda W: W.reshape(W.shape[1], -1),
                    lambda W: W.swapaxes(0, 1).reshape(len(W), -1),
                    lambda W: W.swapaxes(0, 1).reshape(-1, W.shape[1]),
                    *(
                        lambda W, axes=axes: W.transpose(axes).reshape(W.shape[1], -1)
                        for axes in ((3, 2, 1, 0), (2, 3, 0, 1), (2, 3, 1, 0), (0, 2, 3, 1))
                    ),
                )
            ),
        ),
        Mistake(
            "transposed-instead",
            "w₂ is not w₁ transposed, which has the same norm: its rows "
            "are the input channels, its columns (d_out h w).",
            lambda W: W / np.linalg.norm(W.reshape(-1, len(W)), 2),
            partial(_bsn_of, second=lambda W: W.reshape(-1, W.shape[1])),
        ),
        Mistake(
            "frobenius",
            "These are Frobenius norms; the spectral norm is the largest singular value.",
            lambda W: W / np.linalg.norm(W),
        ),
        Mistake(
            "mean-of-quotients",
            "This is the mean of the two normalized weights; BSN divides by the mean of the norms.",
            partial(_bsn, mean=lambda a, b: 2 / (1 / a + 1 / b)),
        ),
    ),
)

EXERCISES = (POWER_ITERATION, NORMALIZED_GRADIENT, NORMALIZE_KERNEL, BSN)
