"""Exercises of tutorials 7 and 13: objectives, and the distance of samples."""

from functools import partial

import numpy as np

from ..losses import hinge_d, hinge_g
from ..metrics import gaussian_frechet
from .exercise import Case, Exercise, Mistake

# -- the hinge -------------------------------------------------------------------------------


def _hinge_cases() -> list[Case]:
    rng = np.random.default_rng(11)
    return [
        Case(f"{n} real and {m} generated images", (2 * rng.normal(size=n), 2 * rng.normal(size=m)))
        for n, m in ((6, 6), (5, 8))
    ]


def pull(t):
    """Average the positive parts: one half of the hinge."""
    return np.mean(np.maximum(t, 0))


def _hinge(real, fake):
    of_real = [max(0.0, 1 - t) for t in real]
    of_fake = [max(0.0, 1 + t) for t in fake]
    loss_d = sum(of_real) / len(real) + sum(of_fake) / len(fake)
    return loss_d, -sum(fake) / len(fake)


def _d(loss_d):
    """Model a mistake in D's loss, where G's is right."""
    return lambda real, fake: (loss_d(real, fake), -np.mean(fake))


def _g(loss_g):
    """Model a mistake in G's loss, where D's is right."""
    return lambda real, fake: (_hinge(real, fake)[0], loss_g(fake))


def _sigmoid(t):
    return 1 / (1 + np.exp(-t))


def _softplus(t):
    return np.logaddexp(0, t)


def standard_d(r, f):
    """Compute D's loss of the standard objective."""
    return np.mean(_softplus(-r)) + np.mean(_softplus(f))


def standard_g(f):
    """Compute G's loss -log D."""
    return np.mean(_softplus(-f))


def saturating_g(f):
    """Compute G's loss log(1 - D)."""
    return -np.mean(_softplus(f))


STANDARD = (
    "This is the standard objective (15), with a logarithm; the hinge (16), (17) has "
    "min(0, ·) for D, and only the mean for G."
)


HINGE = Exercise(
    "hinge",
    "07",
    "[M18 Eq. (16), (17)]",
    (hinge_d, hinge_g),
    ("real", "fake"),
    ("loss_d", "loss_g"),
    "the sums, image by image",
    _hinge_cases,
    _hinge,
    (
        Mistake(
            "maximized",
            "This is V_D, which D maximizes: a loss has the other sign.",
            _d(lambda r, f: -pull(1 - r) - pull(1 + f)),
        ),
        Mistake(
            "sign-of-the-hinge",
            "A sign in the hinge is wrong: real logits are pushed above "
            "1, generated ones below -1.",
            _d(lambda r, f: pull(1 + r) + pull(1 - f)),
            _d(lambda r, f: pull(1 - r) + pull(1 - f)),
            _d(lambda r, f: pull(1 + r) + pull(1 + f)),
            _d(lambda r, f: pull(r - 1) + pull(-1 - f)),
            _d(lambda r, f: pull(1 - r) - pull(1 + f)),
            _d(lambda r, f: -np.mean(np.maximum(0, r - 1)) - np.mean(np.maximum(0, -1 - f))),
        ),
        Mistake(
            "real-and-fake-exchanged", "real and fake are exchanged.", lambda r, f: _hinge(f, r)
        ),
        Mistake(
            "sum",
            "E is the mean over the batch, not the sum.",
            lambda r, f: (np.sum(np.maximum(1 - r, 0)) + np.sum(np.maximum(1 + f, 0)), -np.sum(f)),
            _d(lambda r, f: np.sum(np.maximum(1 - r, 0)) + np.sum(np.maximum(1 + f, 0))),
        ),
        Mistake(
            "no-hinge",
            "min(0, ·) is missing: images beyond the margin must not count.",
            _d(lambda r, f: np.mean(f) - np.mean(r)),
            _d(lambda r, f: np.mean(1 - r) + np.mean(1 + f)),
        ),
        Mistake("no-margin", "The margin of 1 is missing.", _d(lambda r, f: pull(-r) + pull(f))),
        Mistake(
            "hinge-of-the-mean",
            "The hinge comes before the mean: apply it to each image.",
            _d(lambda r, f: pull(1 - np.mean(r)) + pull(1 + np.mean(f))),
        ),
        Mistake(
            "one-mean",
            "Each expectation is a separate mean; here all images share one mean, or "
            "the sum of both is halved.",
            _d(lambda r, f: np.mean(np.maximum(np.concatenate([1 - r, 1 + f]), 0))),
            _d(lambda r, f: (pull(1 - r) + pull(1 + f)) / 2),
        ),
        Mistake(
            "one-part",
            "D's loss has two parts, one for data and one for samples.",
            _d(lambda r, f: pull(1 - r)),
            _d(lambda r, f: pull(1 + f)),
        ),
        Mistake(
            "sigmoid",
            "The hinge takes logits: no sigmoid before it.",
            lambda r, f: (pull(1 - _sigmoid(r)) + pull(1 + _sigmoid(f)), -np.mean(_sigmoid(f))),
            _d(lambda r, f: pull(1 - _sigmoid(r)) + pull(1 + _sigmoid(f))),
        ),
        Mistake(
            "standard-loss",
            STANDARD,
            _d(standard_d),
            _g(standard_g),
            _g(saturating_g),
            lambda r, f: (standard_d(r, f), standard_g(f)),
            lambda r, f: (standard_d(r, f), saturating_g(f)),
        ),
        Mistake(
            "sign-of-G", "G wants large logits for its samples: its loss is -E[D].", _g(np.mean)
        ),
        Mistake(
            "hinge-in-G",
            "G's loss (17) has no hinge: it is -E[D(G(z))].",
            _g(lambda f: pull(1 - f)),
            _g(lambda f: pull(1 + f)),
            _g(lambda f: -pull(f)),
        ),
        Mistake(
            "order",
            "The losses are returned in the wrong order: D's first, then G's.",
            lambda r, f: _hinge(r, f)[::-1],
        ),
    ),
)


# -- the distance of samples -----------------------------------------------------------------


def _frechet_cases() -> list[Case]:
    rng = np.random.default_rng(13)
    cases = []
    for n, m, d in ((12, 12, 3), (10, 16, 4)):
        mix = rng.normal(size=(d, d))
        x, y = rng.normal(size=(n, d)) @ mix, 0.7 * rng.normal(size=(m, d)) + 1
        cases.append(Case(f"features [{n}, {d}] and [{m}, {d}]", (x, y)))
    return cases


def _root_trace(C_1, C_2):
    return np.sum(np.sqrt(np.maximum(np.linalg.eigvals(C_1 @ C_2).real, 0)))


def _symmetric_root(C):
    values, vectors = np.linalg.eigh(C)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


_COV, _BY_N = (partial(np.cov, rowvar=False, ddof=ddof) for ddof in (1, 0))


def _frechet(x, y, cov=_COV, mean=True, power=2, root=_root_trace, two=2):
    gap, (C_1, C_2) = x.mean(0) - y.mean(0), map(cov, (x, y))
    trace = np.trace(C_1) + np.trace(C_2) - two * root(C_1, C_2)
    return mean * np.linalg.norm(gap) ** power + trace


FRECHET = Exercise(
    "frechet",
    "13",
    "[M18 Eq. (24)]",
    (gaussian_frechet,),
    ("x", "y"),
    ("distance",),
    "the eigenvalues of the product of covariances",
    _frechet_cases,
    _frechet,
    (
        Mistake(
            "elementwise-root",
            "np.sqrt takes the root of each entry; (24) has the root of the *matrix*.",
            partial(_frechet, root=lambda a, b: np.trace(np.sqrt(a @ b))),
            partial(_frechet, root=lambda a, b: np.trace(np.sqrt(np.abs(a @ b)))),
            partial(_frechet, root=lambda a, b: np.trace(np.sqrt(np.maximum(a @ b, 0)))),
            partial(_frechet, root=lambda a, b: np.trace(np.nan_to_num(np.sqrt(a @ b)))),
        ),
        Mistake(
            "elementwise-product",
            "The covariances are multiplied entry by entry: use @.",
            partial(_frechet, root=lambda a, b: np.trace(_symmetric_root(a * b))),
        ),
        Mistake(
            "root-of-each",
            "(C₁C₂)^½ is not C₁^½C₂^½, and their traces differ.",
            partial(_frechet, root=lambda a, b: np.trace(_symmetric_root(a) @ _symmetric_root(b))),
        ),
        Mistake(
            "eigvalsh",
            "C₁C₂ is not symmetric: eigvalsh reads only one triangle, and singular values are not "
            "eigenvalues.",
            partial(
                _frechet,
                root=lambda a, b: np.sum(np.sqrt(np.maximum(np.linalg.eigvalsh(a @ b), 0))),
            ),
            partial(
                _frechet,
                root=lambda a, b: np.sum(np.sqrt(np.linalg.svd(a @ b, compute_uv=False))),
            ),
        ),
        Mistake(
            "no-root",
            "The root of C₁C₂ is missing.",
            partial(_frechet, root=lambda a, b: np.trace(a @ b)),
        ),
        Mistake(
            "no-product", "The term with the root of C₁C₂ is missing.", partial(_frechet, two=0)
        ),
        Mistake(
            "no-factor-2", "The factor 2 of the root of C₁C₂ is missing.", partial(_frechet, two=1)
        ),
        Mistake("sign", "Subtract the root of C₁C₂, do not add it.", partial(_frechet, two=-2)),
        Mistake(
            "diagonal",
            "Only the variances of single features are used; (24) takes the whole covariances.",
            *(
                partial(_frechet, cov=cov, root=lambda a, b: np.sum(np.sqrt(np.diag(a * b))))
                for cov in (_COV, _BY_N)
            ),
        ),
        Mistake(
            "covariance-over-the-wrong-axis",
            "The covariance is that of images, not of "
            "features: each row is an image (np.cov(..., rowvar=False)).",
            partial(_frechet, cov=np.cov),
        ),
        Mistake(
            "n-instead-of-n-1",
            "The covariance is divided by n; the exercise, as the measure, divides by n - 1.",
            partial(_frechet, cov=_BY_N),
        ),
        Mistake(
            "mean-not-squared",
            "The distance of the means is not squared.",
            partial(_frechet, power=1),
        ),
        Mistake("no-mean", "The distance of the means is missing.", partial(_frechet, mean=False)),
        Mistake(
            "rooted",
            "This is the root of (24), which is a squared distance.",
            lambda x, y: np.sqrt(_frechet(x, y)),
        ),
        Mistake(
            "not-centered",
            "The means are not subtracted in the covariances.",
            partial(_frechet, cov=lambda f: f.T @ f / (len(f) - 1)),
            partial(_frechet, cov=lambda f: f.T @ f / len(f)),
        ),
    ),
)


EXERCISES = (HINGE, FRECHET)
