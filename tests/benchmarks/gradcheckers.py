"""Gradient checkers side by side, on right and wrong gradients.

    python tests/benchmarks/gradcheckers.py [--seeds 20] [--only minisn]

For each installed contestant the script prints how many wrong claims it detects, how many right
claims it refuses, how often it names the true mistake, how often it names another mistake, how
often it names the wrong entry, and the time. Every contestant gets the same function and the same
backward, on NumPy arrays, with its own defaults in float64. One part of the claims is made here by
rule, from mistakes that minisn can name; the other part, ``everyday_claims``, was written without
regard to them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from everyday_claims import RIGHT, WRONG

from minisn.bench import missing
from minisn.gradcheck import gradcheck

FACTS = ("entries compared are wrong, the others right", "one entry alone is wrong")
"""Parts of diagnoses that describe the numbers and blame no mistake."""


@dataclass(frozen=True)
class Claim:
    """A function of one array, a backward, and a word of the diagnosis if the backward is wrong.

    The word is ``-`` if no short diagnosis is true.
    """

    name: str
    fn: Callable
    vjp: Callable
    x: Callable
    mistake: str = ""
    entry: tuple | None = None


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


SMOOTH = {
    "sin": (np.sin, np.cos), "exp": (np.exp, np.exp),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x)**2),
    "cube": (lambda x: x**3, lambda x: 3 * x**2), "sigmoid": (
        sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "log": (lambda x: np.log1p(x * x), lambda x: 2 * x / (1 + x * x)),
    "root": (lambda x: np.sqrt(x * x + 1), lambda x: x / np.sqrt(x * x + 1)),
    "softplus": (lambda x: np.logaddexp(0, x), sigmoid),
    "gauss": (lambda x: np.exp(-x * x), lambda x: -2 * x * np.exp(-x * x)),
}  # fmt: skip

SEAMS = {
    "Huber": (lambda x: np.where(np.abs(x) < 1, 0.5 * x * x, np.abs(x) - 0.5),
              lambda x: np.clip(x, -1, 1), 1.0),
    "ELU": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
            lambda x: np.where(x > 0, 1.0, np.exp(np.minimum(x, 0))), 0.0),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x))**2, 0.0),
    "x relu(x)": (lambda x: x * relu(x), lambda x: 2 * relu(x), 0.0),
    "smoothstep": (lambda x: np.clip(x, 0, 1)**2 * (3 - 2 * np.clip(x, 0, 1)),
                   lambda x: 6 * np.clip(x, 0, 1) * (1 - np.clip(x, 0, 1)), 1.0),
    "|x|^1.5": (lambda x: np.abs(x)**1.5, lambda x: 1.5 * np.sign(x) * np.abs(x)**0.5, 0.0),
    "x|x| + x": (lambda x: x * np.abs(x) + x, lambda x: 2 * np.abs(x) + 1, 0.0),
    "mu-law": (lambda x: np.sign(x) * np.log1p(255 * np.abs(x)),
               lambda x: 255 / (1 + 255 * np.abs(x)), 0.0),
    "relu at 0": (relu, lambda x: 1.0 * (x > 0), 0.0), "abs at 0": (np.abs, np.sign, 0.0),
    "relu beside 0": (relu, lambda x: 1.0 * (x > 0), 1e-7), "floor": (
        np.floor, np.zeros_like, 100.2), "round": (np.round, np.zeros_like, 0.31),
    "sign": (np.sign, np.zeros_like, 0.2), "quantizer": (
        lambda x: np.round(255 * x) / 255, np.zeros_like, 0.71),
    "sqrt near 0": (lambda x: np.sqrt(np.abs(x)), lambda x: 0.5 * np.sign(x) / np.sqrt(np.abs(x)),
                    1e-8), "log near 0": (lambda x: np.log(np.abs(x)), lambda x: 1 / x, 1e-9),
    "root near an edge": (lambda x: np.sqrt(2 - x), lambda x: -0.5 / np.sqrt(2 - x), 2 - 1e-9),
    "exp(700)": (lambda x: np.exp(x), np.exp, 700.0), "large": (np.sin, np.cos, 1e8),
    "small": (lambda x: np.cos(x) + x, lambda x: 1 - np.sin(x), 1e-13),
    "an offset": (lambda x: x**2 + 1e8, lambda x: 2 * x, 0.7),
    "saturated": (np.tanh, lambda x: 1 - np.tanh(x)**2, 40.0),
    "fast": (lambda x: np.sin(1e3 * x), lambda x: 1e3 * np.cos(1e3 * x), 0.4),
    "float32 inside": (lambda x: np.tanh(x.astype(np.float32)).astype(float),
                       lambda x: 1 - np.tanh(x)**2, 0.4),
    "cancellation": (lambda x: (1 - np.cos(x)) / x**2,
                     lambda x: np.sin(x) / x**2 - 2 * (1 - np.cos(x)) / x**3, 0.02),
}  # fmt: skip


def _off(df, change):
    return lambda g, x: g * change(df(x), x)


def _one(d, x):
    d = d.copy()
    d.flat[2] *= 1.1
    return d


MISTAKES = {
    "a factor of 2": lambda df: _off(df, lambda d, x: 2 * d),
    "the sign": lambda df: _off(df, lambda d, x: -d),
    "zero": lambda df: _off(df, lambda d, x: 0 * d),
    "3.14 in place": lambda df: _off(df, lambda d, x: d * 3.14 / np.pi),
    "one entry": lambda df: _off(df, _one),
    "negative": lambda df: _off(df, lambda d, x: np.where(x < 0, 1.5 * d, d)),
    "not used": lambda df: lambda g, x: df(x),
    "the sign of the incoming": lambda df: lambda g, x: np.abs(g) * df(x),
}  # fmt: skip


def points(seed):
    return (
        np.random.default_rng(seed).permutation([-1.3, -0.6, -0.2, 0.4, 0.9, 1.7])
        + 1e-2 * seed
        + 3e-4
    )


def matrix(seed):
    return np.random.default_rng(seed).normal(size=(3, 3))


def vector(seed):
    return np.random.default_rng(seed).normal(size=3)


def _whole(fn):
    return lambda x: np.sum(fn(x))


def corpus() -> list[Claim]:
    """Return all claims."""
    claims = [Claim(*right) for right in RIGHT] + [Claim(*wrong) for wrong in WRONG]
    for name, (fn, df) in SMOOTH.items():
        for mistake, planted in MISTAKES.items():
            entry = (2,) if mistake == "one entry" else None
            claims.append(Claim(f"{name}: {mistake}", fn, planted(df), points, mistake, entry))
        for kind in (1.0, 1e-3, 1e2):
            claims.append(
                Claim(
                    f"{name} at {kind}",
                    fn,
                    lambda g, x, df=df: g * df(x),
                    lambda seed, k=kind: k * points(seed),
                )
            )
        claims.append(Claim(f"sum of {name}", _whole(fn), lambda g, x, df=df: g * df(x), points))
        claims.append(
            Claim(
                f"sum of {name}, offset",
                _whole(fn),
                lambda g, x, df=df: g * (df(x) + 0.1),
                points,
                "offset",
            )
        )
    for name, (fn, df, at) in SEAMS.items():
        for width in (1, 4):
            if abs(at) > 50 and width > 1:
                continue
            claims.append(
                Claim(
                    f"{name}, {width}",
                    fn,
                    lambda g, x, df=df: g * df(x),
                    lambda seed, a=at, w=width: np.r_[a, points(seed)[: w - 1]],
                )
            )
    w = np.random.default_rng(1).normal(size=(3, 3))
    product = lambda x: np.tanh(x) * w  # noqa: E731
    slope = lambda x: (1 - np.tanh(x) ** 2) * w  # noqa: E731
    claims += [
        Claim("transpose", product, lambda g, x: (g * slope(x)).T, matrix, "transpose"),
        Claim("flipped", _whole(product), lambda g, x: g * slope(x)[::-1, ::-1], matrix, "flipped"),
        Claim(
            "rolled", _whole(product), lambda g, x: g * np.roll(slope(x), 1, 1), matrix, "rolled"
        ),
        Claim("product", lambda x: w @ x, lambda g, x: w.T @ g, vector),
        Claim("W for its transpose", lambda x: w @ x, lambda g, x: w @ g, vector, "transposed"),
        Claim("softmax", softmax, lambda g, x: softmax(x) * (g - np.sum(g * softmax(x))), vector),
        Claim(
            "softmax, diagonal",
            softmax,
            lambda g, x: g * softmax(x) * (1 - softmax(x)),
            vector,
            "cross",
        ),
        Claim(
            "gather, assigned",
            lambda x: x[[0, 0, 1, 2]],
            lambda g, x: np.array([g[1], g[2], g[3]]),
            vector,
            "in place of `+=`",
        ),
        Claim(
            "centered",
            lambda x: np.sum((x - x.mean()) ** 3),
            lambda g, x: g * 3 * ((x - x.mean()) ** 2),
            vector,
            "through the mean",
        ),
        Claim(
            "chain",
            _whole(lambda x: np.sin(x * x)),
            lambda g, x: g * np.cos(x * x),
            vector,
            "missing factor",
        ),
        Claim(
            "weight decay",
            _whole(np.sin),
            lambda g, x: g * (np.cos(x) + 0.1 * x),
            points,
            "weight decay",
        ),
        Claim("g squared", np.sin, lambda g, x: g**2 * np.cos(x), vector, "squared"),
        Claim(
            "outside a range",
            _whole(np.sin),
            lambda g, x: g * np.where(np.abs(x) > 1, 0, np.cos(x)),
            points,
            "outside a range",
        ),
    ]
    return claims


# -- the contestants: each answers (accepted, what it says) -------------------------------------


def by_minisn(c, x, seed):
    report = gradcheck(c.fn, [x], vjp=c.vjp, seed=seed)
    return bool(report), report


def by_torch(c, x, seed):
    import torch

    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, t):
            ctx.save_for_backward(t)
            return torch.as_tensor(np.asarray(c.fn(t.detach().numpy()), dtype=float))

        @staticmethod
        def backward(ctx, g):
            return torch.as_tensor(np.array(c.vjp(g.numpy(), ctx.saved_tensors[0].numpy())))

    return torch.autograd.gradcheck(F.apply, torch.tensor(x, requires_grad=True)), None


def by_jax(c, x, seed):
    import jax

    jax.config.update("jax_enable_x64", True)
    from jax.test_util import check_grads

    shape = np.shape(c.fn(x))

    @jax.custom_vjp
    def f(t):
        return jax.pure_callback(
            lambda t: np.asarray(c.fn(np.asarray(t)), dtype=float),
            jax.ShapeDtypeStruct(shape, float),
            t,
        )

    def pulled(g, t):
        return np.asarray(c.vjp(np.asarray(g), np.asarray(t)), dtype=float)

    def back(t, g):
        kind = jax.ShapeDtypeStruct(x.shape, float)
        return (jax.pure_callback(pulled, kind, g, t),)

    f.defvjp(lambda t: (f(t), t), back)
    check_grads(f, (x,), order=1, modes=["rev"])
    return True, None


def by_autograd(c, x, seed):
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    f = primitive(lambda t: c.fn(t))
    defvjp(f, lambda ans, t: lambda g: c.vjp(np.asarray(g), t))
    check_grads(f, modes=["rev"], order=1)(x)
    return True, None


def by_scipy(c, x, seed):
    from scipy.optimize import check_grad

    y = np.asarray(c.fn(x))
    w = np.random.default_rng(seed).normal(size=y.shape)
    flat = lambda f: lambda v: f(v.reshape(x.shape))  # noqa: E731
    error = check_grad(
        flat(lambda v: np.sum(w * c.fn(v))), flat(lambda v: np.ravel(c.vjp(w, v))), x.ravel()
    )
    return error < 1e-5, None


CONTESTANTS = {"minisn": by_minisn, "torch": by_torch, "jax": by_jax, "autograd": by_autograd,
               "scipy": by_scipy}  # fmt: skip


def judged(contestant, c, x, seed):
    """Return whether a claim is accepted, and the report if there is one."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return contestant(c, x, seed)
    except Exception:  # any error is a refusal
        return False, None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=CONTESTANTS)
    parser.add_argument("--show", action="store_true", help="print what minisn gets wrong")
    args = parser.parse_args()
    claims = corpus()
    wrong = sum(bool(c.mistake) for c in claims)
    print(f"{wrong} wrong and {len(claims) - wrong} right claims, {args.seeds} seeds")
    print(
        f"{'':10}{'detected':>11}{'false alarms':>14}{'named':>12}{'wrong cause':>13}"
        f"{'worst entry':>13}{'time':>9}"
    )
    for name, contestant in CONTESTANTS.items():
        if (args.only and args.only != name) or missing(name):
            continue
        start, counts = time.perf_counter(), dict.fromkeys(("found", "alarms", "named", "blamed",
                                                            "entry"), 0)  # fmt: skip
        for seed in range(args.seeds):
            for c in claims:
                accepted, report = judged(contestant, c, c.x(seed), seed)
                counts["found"] += bool(c.mistake) and not accepted
                counts["alarms"] += not c.mistake and not accepted
                cause = report.failure.guess if report is not None and not accepted else ""
                named = c.mistake not in ("", "-") and c.mistake in cause
                fact = c.mistake == "-" and any(words in cause for words in FACTS)
                counts["named"] += named
                counts["blamed"] += bool(cause) and not named and not fact
                worst = report.failure.worst if report is not None and not accepted else None
                counts["entry"] += bool(
                    c.mistake
                    and worst
                    and worst.index is not None
                    and c.entry in (None, worst.index)
                )
                if (
                    args.show
                    and name == "minisn"
                    and (bool(c.mistake) == accepted or (cause and not named))
                ):
                    told = "right" if accepted else f"{report and report.diagnosis}: {cause}"
                    print(f"  {c.name} (seed {seed}): {told}")
        w, r = wrong * args.seeds, (len(claims) - wrong) * args.seeds
        took = time.perf_counter() - start
        print(
            f"{name:10}{counts['found']:>6}/{w:<4}{counts['alarms']:>9}/{r:<4}"
            f"{counts['named']:>8}/{w:<4}{counts['blamed']:>12}{counts['entry']:>9}/{w:<4}"
            f"{took:>7.1f}s"
        )


if __name__ == "__main__":
    main()
