"""The exercise of tutorial 8: one step of Algorithm 1."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..conformance.reference import differences
from ..tensor import Tensor
from .exercise import Case, Exercise, Mistake
from .training import STANDARD, pull, saturating_g, standard_d, standard_g


def discriminate(W_bar: Tensor, x: Tensor) -> Tensor:
    """Score points [N, d] with one normalized layer: D of the exercise, [N]."""
    return ops.sum(ops.tanh(x @ W_bar.T), axis=1)


def generate(A: Tensor, z: Tensor) -> Tensor:
    """Map latent vectors [N, d_z] to points [N, d]: G of the exercise."""
    return ops.tanh(z @ A.T)


def _step_cases() -> list[Case]:
    rng = np.random.default_rng(22)
    cases = []
    for k, d, latent, n, rate, size in (
        (3, 4, 2, 6, 0.5, 1),
        (4, 4, 4, 5, 0.2, 1),
        (3, 5, 2, 4, 0.01, 0.1),
    ):
        W, A = size * rng.normal(size=(k, d)), rng.normal(size=(d, latent))
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


def _hinge_d(r, f):
    return pull(1 - r) + pull(1 + f)


def _hinge_g(f):
    return -np.mean(f)


def _as_it_is(rate):
    return rate


def _uphill(rate):
    return -rate


def _forgotten(rate):
    return 1.0


def _step(
    W,
    u,
    A,
    real,
    z_d,
    z_g,
    rate,
    rounds=1,
    later_rounds=0,
    old_u=False,
    normalize=True,
    detach=False,
    stale_bar=False,
    stale_sigma=False,
    g_first=False,
    joint=False,
    fake_moves_g=False,
    accumulated=False,
    d=_hinge_d,
    g=_hinge_g,
    pace_d=_as_it_is,
    pace_g=_as_it_is,
):
    """Make one step with finite differences for every gradient, with options for usual mistakes."""

    def score(W, x, sigma_of=None):
        sigma = u_ @ (W if sigma_of is None else sigma_of) @ v if normalize else 1.0
        return discriminate(Tensor(W / sigma), Tensor(x)).array

    def sample(A, z):
        return generate(Tensor(A), Tensor(z)).array

    def loss_d(W, A):
        sigma_of = start if detach else None
        return d(score(W, real, sigma_of), score(W, sample(A, z_d), sigma_of))

    def loss_g(W, A):
        return g(score(W, sample(A, z_g), start if stale_sigma else None))

    def g_step(A, W):
        return A - pace_g(rate) * differences(lambda A: loss_g(W, A), A)

    start, u_, v = W, u, W.T @ u / np.linalg.norm(W.T @ u)
    for _ in range(rounds):
        u, v = _turned(u, W)
    u_ = u_ if old_u else u
    A_seen = g_step(A, W) if g_first else A
    W = W - pace_d(rate) * differences(lambda W: loss_d(W, A_seen), W)
    of_d = 0.0
    if fake_moves_g or accumulated:
        of_d = rate * differences(lambda A: loss_d(start, A), A)
    if fake_moves_g:
        A, of_d = A - of_d, 0.0
    for _ in range(later_rounds):
        u, v = _turned(u, W)
        u_ = u
    A_next = A_seen if g_first else g_step(A, start if stale_bar else W) - of_d
    if joint:
        W = W - rate * differences(lambda W: loss_g(W, A), start if stale_bar else W)
    return W, u, A_next


def _bar(W, u, W_next):
    """Divide the new weight by its own sigma."""
    u, v = _turned(u, W)
    return W_next / (u @ W_next @ v)


def _bar_returned(W, u, A, *rest):
    W_next, u_next, A_next = _step(W, u, A, *rest)
    return _bar(W, u, W_next), u_next, A_next


def _bar_moved(W, u, A, *rest):
    W_next, u_next, A_next = _step(W, u, A, *rest)
    return _bar(W, u, W) + W_next - W, u_next, A_next


def _bar_trained(W, u, A, *rest):
    u_next, _ = _turned(u, W)
    return _did(rounds=0, normalize=False)(_bar(W, u, W), u_next, A, *rest)


def _straight_through(W, u, A, real, z_d, z_g, rate):
    """Subtract the gradient in W_bar from W: no chain rule."""
    u, v = _turned(u, W)
    W_bar = W / (u @ W @ v)
    after, _, _ = _step(W_bar, u, A, real, z_d, z_g, rate, rounds=0, normalize=False)
    W = W + after - W_bar

    def loss_g(A):
        fake = generate(Tensor(A), Tensor(z_g))
        return _hinge_g(discriminate(Tensor(W / (u @ W @ v)), fake).array)

    return W, u, A - rate * differences(loss_g, A)


def _did(**what):
    return partial(_step, **what)


ALGORITHM_1 = Exercise(
    "algorithm_1",
    "08",
    "[M18 Alg. 1], [M18 Eq. (20), (21), (22), (23)]",
    (),
    ("D", "G", "W", "u", "A", "real", "z_d", "z_g", "rate"),
    ("W", "u", "A"),
    "the same step with finite differences for its gradients",
    _step_cases,
    _step,
    (
        Mistake(
            "two-power-steps",
            "There are two power steps before the update: Algorithm 1 makes one.",
            _did(rounds=2),
        ),
        Mistake(
            "power-step-for-G",
            "There is another power step for G: make one per update of D, and keep its u, v for G.",
            _did(later_rounds=1),
        ),
        Mistake(
            "no-power-step", "No power step is made: begin with one round of (18).", _did(rounds=0)
        ),
        Mistake(
            "u-not-kept",
            "The new u is not returned: the next update needs it.",
            lambda W, u, A, *rest: (_step(W, u, A, *rest)[0], u, _step(W, u, A, *rest)[2]),
        ),
        Mistake("old-u", "σ is computed with the u from before the power step.", _did(old_u=True)),
        Mistake(
            "not-normalized", "D computes with W: (22) computes with W/σ(W).", _did(normalize=False)
        ),
        Mistake(
            "sigma-detached",
            "σ is a constant in your gradient: (23) differentiates W/σ(W), and σ depends on W.",
            _did(detach=True),
        ),
        Mistake(
            "gradient-in-W-bar",
            "The gradient is that in W/σ(W); (23) takes the gradient in W, through σ(W).",
            _straight_through,
        ),
        Mistake(
            "real-and-fake-exchanged",
            "real and fake are exchanged in D's loss.",
            _did(d=lambda r, f: _hinge_d(f, r)),
        ),
        Mistake(
            "ascent", "D goes uphill on its loss: subtract the gradient.", _did(pace_d=_uphill)
        ),
        Mistake(
            "G-uphill",
            "G goes uphill on its loss, -E[D(G(z))]: subtract the gradient.",
            _did(pace_g=_uphill),
        ),
        Mistake(
            "both-uphill",
            "D and G go uphill on their losses: subtract the gradients.",
            _did(pace_d=_uphill, pace_g=_uphill),
        ),
        Mistake(
            "rate-forgotten",
            "The step size is missing: multiply a gradient by `rate` before you subtract it.",
            _did(pace_d=_forgotten, pace_g=_forgotten),
            _did(pace_d=_forgotten),
            _did(pace_g=_forgotten),
        ),
        Mistake(
            "standard-loss",
            STANDARD,
            _did(d=standard_d, g=standard_g),
            _did(d=standard_d),
            _did(g=standard_g),
            _did(g=saturating_g),
            _did(d=standard_d, g=saturating_g),
        ),
        Mistake(
            "no-hinge",
            "min(0, ·) is missing in D's loss: images beyond the margin must not count.",
            _did(d=lambda r, f: np.mean(f) - np.mean(r)),
            _did(d=lambda r, f: np.mean(1 - r) + np.mean(1 + f)),
        ),
        Mistake(
            "hinge-in-G",
            "G's loss (17) has no hinge: it is -E[D(G(z))].",
            _did(g=lambda f: pull(1 - f)),
            _did(g=lambda f: -pull(1 + f)),
            _did(g=lambda f: -pull(f)),
        ),
        Mistake(
            "sum",
            "E is the mean over the batch, not the sum.",
            _did(d=lambda r, f: len(r) * _hinge_d(r, f), g=lambda f: len(f) * _hinge_g(f)),
            _did(d=lambda r, f: len(r) * _hinge_d(r, f)),
            _did(g=lambda f: len(f) * _hinge_g(f)),
        ),
        Mistake(
            "normalized-weight-returned",
            "W/σ(W) is returned or updated: (23) updates W itself, so return W.",
            _bar_returned,
            _bar_moved,
            _bar_trained,
        ),
        Mistake(
            "old-sigma",
            "G's loss uses the new W with the σ of the old W: compute σ = uᵀWv "
            "again, with the new W.",
            _did(stale_sigma=True),
        ),
        Mistake(
            "G-reaches-D",
            "G's loss also updates D's weight: G's step changes only A.",
            _did(joint=True),
            _did(joint=True, stale_bar=True),
        ),
        Mistake(
            "D-reaches-G",
            "D's loss also updates G's weight: the samples are constants in D's "
            "step (use no_grad, or ask only for the gradient in W).",
            _did(fake_moves_g=True),
            _did(accumulated=True),
        ),
        Mistake(
            "stale-discriminator",
            "Both losses are computed before the updates, so G's loss uses the "
            "old D: compute W/σ(W) again, with the new W.",
            _did(stale_bar=True),
        ),
        Mistake(
            "G-first", "G is updated before D: Algorithm 1 updates D first.", _did(g_first=True)
        ),
        Mistake(
            "wrong-z",
            "The latent vectors are exchanged or reused: z_d is for D's step, z_g for G's step.",
            lambda W, u, A, real, z_d, z_g, rate: _step(W, u, A, real, z_d, z_d, rate),
            lambda W, u, A, real, z_d, z_g, rate: _step(W, u, A, real, z_g, z_g, rate),
            lambda W, u, A, real, z_d, z_g, rate: _step(W, u, A, real, z_g, z_d, rate),
        ),
        Mistake(
            "no-G",
            "A does not change: G's step is missing.",
            lambda W, u, A, *rest: (*_step(W, u, A, *rest)[:2], A),
        ),
    ),
    formula=r"\tilde v \leftarrow \frac{W^T\tilde u}{\|W^T\tilde u\|_2},\quad "
    r"\tilde u \leftarrow \frac{W\tilde v}{\|W\tilde v\|_2},\quad "
    r"\bar W = W/\tilde u^TW\tilde v,\quad "
    r"W \leftarrow W - \alpha\nabla_W\,\ell(\bar W(W))",
    call=_call_step,
)

EXERCISES = (ALGORITHM_1,)
