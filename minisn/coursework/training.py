"""Exercises of the tutorials 7, 8 and 13: objectives, Algorithm 1, the distance of samples."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..losses import hinge_d, hinge_g
from ..metrics import gaussian_frechet
from ..tensor import Tensor
from .exercise import Case, Exercise, Mistake, differences

# -- the hinge -------------------------------------------------------------------------------


def _hinge_cases() -> list[Case]:
    rng = np.random.default_rng(11)
    return [
        Case(f"{n} real and {m} generated images", (2 * rng.normal(size=n), 2 * rng.normal(size=m)))
        for n, m in ((6, 6), (5, 8))
    ]


def _pull(t):
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


HINGE = Exercise(
    "hinge", "07", "[M18 Eq. (16), (17)]", (hinge_d, hinge_g), ("real", "fake"),
    ("loss_d", "loss_g"), "the sums, image by image", _hinge_cases, _hinge,
    (
        Mistake("maximised", "This is V_D, which D maximises: a loss has the other sign.",
                _d(lambda r, f: -_pull(1 - r) - _pull(1 + f))),
        Mistake("sign-of-the-hinge", "A sign in the hinge is wrong: real logits are pushed above "
                "1, generated ones below -1.",
                _d(lambda r, f: _pull(1 + r) + _pull(1 - f)),
                _d(lambda r, f: _pull(1 - r) + _pull(1 - f)),
                _d(lambda r, f: _pull(1 + r) + _pull(1 + f)),
                _d(lambda r, f: _pull(r - 1) + _pull(-1 - f)),
                _d(lambda r, f: -np.mean(np.maximum(0, r - 1)) - np.mean(np.maximum(0, -1 - f)))),
        Mistake("real-and-fake-exchanged", "real and fake are exchanged.",
                lambda r, f: _hinge(f, r)),
        Mistake("sum", "E is the mean over the batch, not the sum.",
                lambda r, f: (np.sum(np.maximum(1 - r, 0)) + np.sum(np.maximum(1 + f, 0)),
                              -np.sum(f)),
                _d(lambda r, f: np.sum(np.maximum(1 - r, 0)) + np.sum(np.maximum(1 + f, 0)))),
        Mistake("no-hinge", "min(0, ·) is missing: images beyond the margin must not count.",
                _d(lambda r, f: np.mean(f) - np.mean(r)),
                _d(lambda r, f: np.mean(1 - r) + np.mean(1 + f))),
        Mistake("no-margin", "The margin of 1 is missing.", _d(lambda r, f: _pull(-r) + _pull(f))),
        Mistake("hinge-of-the-mean", "The hinge comes before the mean: each image has its own.",
                _d(lambda r, f: _pull(1 - np.mean(r)) + _pull(1 + np.mean(f)))),
        Mistake("one-mean", "Each expectation is a mean of its own; here all images share one, or "
                "their sum is halved.",
                _d(lambda r, f: np.mean(np.maximum(np.concatenate([1 - r, 1 + f]), 0))),
                _d(lambda r, f: (_pull(1 - r) + _pull(1 + f)) / 2)),
        Mistake("one-part", "D's loss has two parts, one for data and one for samples.",
                _d(lambda r, f: _pull(1 - r)), _d(lambda r, f: _pull(1 + f))),
        Mistake("sigmoid", "The hinge takes logits: no sigmoid before it.",
                lambda r, f: (_pull(1 - _sigmoid(r)) + _pull(1 + _sigmoid(f)),
                              -np.mean(_sigmoid(f))),
                _d(lambda r, f: _pull(1 - _sigmoid(r)) + _pull(1 + _sigmoid(f)))),
        Mistake("sign-of-G", "G wants large logits for its samples: its loss is -E[D].",
                _g(np.mean)),
        Mistake("hinge-in-G", "G's loss (17) has no hinge: it is -E[D(G(z))].",
                _g(lambda f: _pull(1 - f)), _g(lambda f: _pull(1 + f)), _g(lambda f: -_pull(f))),
        Mistake("order", "The losses come back in the wrong order: D's first, then G's.",
                lambda r, f: _hinge(r, f)[::-1]),
    ),
)  # fmt: skip


# -- Algorithm 1 -----------------------------------------------------------------------------


def discriminate(W_bar: Tensor, x: Tensor) -> Tensor:
    """Score points [N, d] with one normalized layer: D of the exercise, [N]."""
    return ops.sum(ops.tanh(x @ W_bar.T), axis=1)


def generate(A: Tensor, z: Tensor) -> Tensor:
    """Make points of latent vectors [N, d_z]: G of the exercise, [N, d]."""
    return ops.tanh(z @ A.T)


def _step_cases() -> list[Case]:
    rng = np.random.default_rng(12)
    cases = []
    for k, d, latent, n, rate in ((3, 4, 2, 6, 0.5), (4, 4, 4, 5, 0.2)):
        W, A = rng.normal(size=(k, d)), rng.normal(size=(d, latent))
        u = rng.normal(size=k)
        z_d, z_g = rng.normal(size=(2, n, latent))
        args = (W, u / np.linalg.norm(u), A, 0.5 + rng.normal(size=(n, d)), z_d, z_g, rate)
        cases.append(Case(f"W [{k}, {d}], A [{d}, {latent}], a batch of {n}, rate {rate}", args))
    return cases


def _call_step(function: Callable, *args: Any) -> Any:
    return function(discriminate, generate, *args)


def _turned(u, W):
    """Make one power step: (20) and (21)."""
    v = W.T @ u / np.linalg.norm(W.T @ u)
    return W @ v / np.linalg.norm(W @ v), v


def _step(
    W, u, A, real, z_d, z_g, rate, rounds=1, later_rounds=0, old_u=False, normalize=True,
    detach=False, exchange=False, ascend=False, stale_bar=False, g_first=False, joint=False,
    fake_moves_g=False,
):  # fmt: skip
    """Make one step with finite differences for every gradient, and with what people do instead."""

    def score(W, x, sigma_of=None):
        sigma = u_ @ (W if sigma_of is None else sigma_of) @ v if normalize else 1.0
        return discriminate(Tensor(W / sigma), Tensor(x)).array

    def sample(A, z):
        return generate(Tensor(A), Tensor(z)).array

    def loss_d(W, A):
        sigma_of = start if detach else None
        r, f = score(W, real, sigma_of), score(W, sample(A, z_d), sigma_of)
        return _hinge(f, r)[0] if exchange else _hinge(r, f)[0]

    def loss_g(W, A):
        return -np.mean(score(W, sample(A, z_g)))

    def g_step(A, W):
        return A - rate * differences(lambda A: loss_g(W, A), A)

    start, u_, v = W, u, W.T @ u / np.linalg.norm(W.T @ u)
    for _ in range(rounds):
        u, v = _turned(u, W)
    u_ = u_ if old_u else u
    A_seen = g_step(A, W) if g_first else A
    W = W - (-rate if ascend else rate) * differences(lambda W: loss_d(W, A_seen), W)
    if fake_moves_g:
        A = A - rate * differences(lambda A: loss_d(start, A), A)
    for _ in range(later_rounds):
        u, v = _turned(u, W)
        u_ = u
    A_next = A_seen if g_first else g_step(A, start if stale_bar else W)
    if joint:
        W = W - rate * differences(lambda W: loss_g(W, A), start if stale_bar else W)
    return W, u, A_next


def _did(**what):
    return partial(_step, **what)


ALGORITHM_1 = Exercise(
    "algorithm_1", "08", "[M18 Alg. 1], [M18 Eq. (20), (21), (22), (23)]", (),
    ("D", "G", "W", "u", "A", "real", "z_d", "z_g", "rate"), ("W", "u", "A"),
    "the same step with finite differences for its gradients", _step_cases, _step,
    (
        Mistake("two-power-steps", "u is turned twice before the update: Algorithm 1 makes one "
                "round.", _did(rounds=2)),
        Mistake("power-step-for-G", "u is turned once more for G: one round per update of D, and G "
                "sees the same u, v.", _did(later_rounds=1)),
        Mistake("no-power-step", "No power step is made: u must be turned by one round of (18) "
                "first.", _did(rounds=0)),
        Mistake("u-not-kept", "The new u does not come back: it must be kept for the next update.",
                lambda W, u, A, *rest: (_step(W, u, A, *rest)[0], u, _step(W, u, A, *rest)[2])),
        Mistake("old-u", "σ belongs to the u from before the power step.", _did(old_u=True)),
        Mistake("not-normalized", "D computes with W: (22) gives it W/σ(W).",
                _did(normalize=False)),
        Mistake("sigma-detached", "σ is a constant in your gradient: (23) differentiates W/σ(W), "
                "and σ moves with W.", _did(detach=True)),
        Mistake("real-and-fake-exchanged", "real and fake are exchanged in D's loss.",
                _did(exchange=True)),
        Mistake("ascent", "D goes uphill on its loss: subtract the gradient.", _did(ascend=True)),
        Mistake("G-reaches-D", "G's loss moves D's weight too: G's step changes A alone.",
                _did(joint=True), _did(joint=True, stale_bar=True)),
        Mistake("D-reaches-G", "D's loss moves G's weight too: the samples are constants in D's "
                "step (no_grad, or ask for the gradient in W alone).", _did(fake_moves_g=True)),
        Mistake("stale-discriminator", "Both losses were computed before either weight moved, so G "
                "is judged by the old D: compute W/σ(W) again, with the new W.",
                _did(stale_bar=True)),
        Mistake("G-first", "G is updated before D: Algorithm 1 updates D first.",
                _did(g_first=True)),
        Mistake("wrong-z", "The latent vectors are mixed up: z_d makes the samples that D learns "
                "from, z_g those that G does.",
                lambda W, u, A, real, z_d, z_g, rate: _step(W, u, A, real, z_d, z_d, rate),
                lambda W, u, A, real, z_d, z_g, rate: _step(W, u, A, real, z_g, z_g, rate),
                lambda W, u, A, real, z_d, z_g, rate: _step(W, u, A, real, z_g, z_d, rate)),
        Mistake("no-G", "A does not move: G's step is missing.",
                lambda W, u, A, *rest: (*_step(W, u, A, *rest)[:2], A)),
    ),
    formula=r"\tilde v \leftarrow \frac{W^T\tilde u}{\|W^T\tilde u\|_2},\quad "
            r"\tilde u \leftarrow \frac{W\tilde v}{\|W\tilde v\|_2},\quad "
            r"\bar W = W/\tilde u^TW\tilde v,\quad "
            r"W \leftarrow W - \alpha\nabla_W\,\ell(\bar W(W))",
    call=_call_step,
)  # fmt: skip


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


def _frechet(x, y, ddof=1, rowvar=False, mean=True, power=2, root=_root_trace, two=2):
    gap = x.mean(0) - y.mean(0)
    C_1, C_2 = (np.cov(f, rowvar=rowvar, ddof=ddof) for f in (x, y))
    trace = np.trace(C_1) + np.trace(C_2) - two * root(C_1, C_2)
    return mean * np.linalg.norm(gap) ** power + trace


FRECHET = Exercise(
    "frechet", "13", "[M18 Eq. (24)]", (gaussian_frechet,), ("x", "y"), ("distance",),
    "the eigenvalues of the product of covariances", _frechet_cases, _frechet,
    (
        Mistake("elementwise-root", "np.sqrt takes the root of each entry; (24) has the root of "
                "the *matrix*.", partial(_frechet, root=lambda a, b: np.trace(np.sqrt(a @ b))),
                partial(_frechet, root=lambda a, b: np.trace(np.sqrt(np.abs(a @ b)))),
                partial(_frechet, root=lambda a, b: np.trace(
                    np.sqrt(np.maximum(a @ b, 0)))),
                partial(_frechet, root=lambda a, b: np.trace(np.nan_to_num(np.sqrt(a @ b))))),
        Mistake("elementwise-product", "The covariances are multiplied entry by entry: use @.",
                partial(_frechet, root=lambda a, b: np.trace(_symmetric_root(a * b)))),
        Mistake("root-of-each", "(C₁C₂)^½ is not C₁^½C₂^½, and their traces differ.",
                partial(_frechet, root=lambda a, b: np.trace(
                    _symmetric_root(a) @ _symmetric_root(b)))),
        Mistake("no-root", "The root of C₁C₂ is missing.",
                partial(_frechet, root=lambda a, b: np.trace(a @ b))),
        Mistake("no-product", "The term with the root of C₁C₂ is missing.",
                partial(_frechet, two=0)),
        Mistake("no-factor-2", "The root of C₁C₂ counts twice.", partial(_frechet, two=1)),
        Mistake("sign", "The root of C₁C₂ is subtracted.", partial(_frechet, two=-2)),
        Mistake("covariance-over-the-wrong-axis", "The covariance is that of images, not of "
                "features: each row is an image (np.cov(..., rowvar=False)).",
                partial(_frechet, rowvar=True)),
        Mistake("n-instead-of-n-1", "The covariance is divided by n; the exercise, as the measure, "
                "divides by n - 1.", partial(_frechet, ddof=0)),
        Mistake("mean-not-squared", "The distance of the means is not squared.",
                partial(_frechet, power=1)),
        Mistake("no-mean", "The distance of the means is missing.", partial(_frechet, mean=False)),
        Mistake("rooted", "This is the root of (24), which is a squared distance.",
                lambda x, y: np.sqrt(_frechet(x, y))),
        Mistake("not-centred", "The means are not subtracted in the covariances.",
                lambda x, y: np.sum((x.mean(0) - y.mean(0)) ** 2) + _of_moments(
                    x.T @ x / (len(x) - 1), y.T @ y / (len(y) - 1)),
                lambda x, y: np.sum((x.mean(0) - y.mean(0)) ** 2) + _of_moments(
                    x.T @ x / len(x), y.T @ y / len(y))),
    ),
)  # fmt: skip


def _of_moments(C_1, C_2):
    return np.trace(C_1) + np.trace(C_2) - 2 * _root_trace(C_1, C_2)


EXERCISES = (HINGE, ALGORITHM_1, FRECHET)
