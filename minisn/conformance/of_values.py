r"""Clauses about the normalized weight: is it :math:`W/\sigma_1` for every W?"""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np

from . import probes
from .deviations import candidates, name_value, sigma_of
from .probes import KINDS, along, draw
from .reference import CONVERGED, gap, leading, norm, paces, rounds
from .suite import RIGHT, ROUNDS, STOPPED, Finding, Subject, clause


def _converged(subject: Subject, W: np.ndarray, kind: str = "dense", dtype: str = "float32"):
    return subject.forward(subject.make(W, kind, ROUNDS, dtype))


def _norm(subject: Subject, B: np.ndarray, kind: str = "dense") -> float:
    return subject.norm(kind, B) if np.isfinite(B).all() else float("nan")


def or_value(subject: Subject, name: str, kind: str = "dense", limit: float = 2e-5) -> str:
    """Name the deviation of a layer's value; return the given name if the value is right."""
    W = draw(kind)
    B = _converged(subject, W, kind)
    return named(subject, kind, W, B) if gap(B, subject.applied(kind, W)) > limit else name


def named(subject: Subject, kind: str, W: np.ndarray, B: np.ndarray) -> str:
    """Name the deviation of an applied weight, with more rounds and more weights if needed.

    Args:
        subject: the adapter under test.
        kind: kind of the layer.
        W: weight of the layer.
        B: the weight that the layer applied.
    """
    name, sigma = name_value(kind, W, B, subject.definition, subject.scale)
    if name in ("", "power iteration has not converged"):
        applied, made = subject.applied(kind, W), subject.make(W, kind)
        half = 0.5 * gap(B, applied)
        if name and gap(subject.forward(subject.make(W, kind, 8 * ROUNDS)), applied) >= half:
            name = ""
        passes = [subject.forward(made) for _ in range(ROUNDS)]
        if not name and half > 2e-3 and gap(passes[-1], applied) < half:
            return "not as many rounds as asked for"
    if name == "orthonormalized":  # or cut at 1, where all were larger
        low = W / (2 * subject.norm(kind, W))
        if gap(_converged(subject, low, kind), low) < 1e-3:
            return "singular values clipped"
    if name:
        return _surely(subject, kind, name, W, B)

    def deviation(W: np.ndarray, sigma: float) -> float:
        return sigma * subject.scale / subject.norm(kind, W) - 1

    own, others = deviation(W, sigma), []
    another = draw(kind, 2)
    another = another * (subject.norm(kind, W) / subject.norm(kind, another))
    for other in (100 * W, another):
        others.append(deviation(other, sigma_of(other, _converged(subject, other, kind))[0]))
    close = min(1e-3, 0.2 * abs(own)) + 1e-6
    if abs(others[0]) < 0.5 * abs(own) and abs(others[0]) < abs(own) - close:
        return "an absolute ε"
    if max(abs(value - own) for value in others) < close:
        return "multiplied by a constant"
    return "too little precision" if abs(own) < 3e-3 else "not a known norm"


def _surely(subject: Subject, kind: str, name: str, W: np.ndarray, B: np.ndarray) -> str:
    """Choose among fitting names, by weights with a larger norm along one axis or the other."""
    about = subject.definition, subject.scale
    left = [n for n in candidates(kind, W, B, *about) if n]
    if name not in left:
        return name
    for axis in (0, 1) if len(left) > 1 and W.ndim == 4 else ():
        view = along(kind, axis)
        u, sigma, v = leading(view.matrix(W))
        tilted = W + 2 * sigma * view.back(np.outer(u, v))
        fits = candidates(kind, tilted, _converged(subject, tilted, kind), *about)
        left = [n for n in left if n in fits] or left
    return left[0]


def _value(kind: str):
    def ask(subject: Subject) -> Finding:
        W = draw(kind)
        B = _converged(subject, W, kind)
        error = gap(B, subject.applied(kind, W))
        if kind == "dense" and error <= 2e-5:  # with more outputs than inputs, too
            B = _converged(subject, W.T).T
            error = gap(B, subject.applied(kind, W))
        sigma, _ = sigma_of(W, B)
        right = norm(kind, W, subject.definition)[0] / subject.scale
        found = f"divided by {sigma:.6g} = {sigma / right:.5f} of the norm"
        found = found if np.isfinite(sigma) else f"norm {_norm(subject, B, kind):.6g}"
        return Finding(error, found, named(subject, kind, W, B) if error > 2e-5 else "")

    return ask


for _number, _kind in enumerate(KINDS, 1):
    clause(_number, f"value, {KINDS[_kind].title}", "M18 (8)", f"W / N(W), {ROUNDS} rounds", 2e-5)(
        _value(_kind)
    )


@clause(5, "one round from a known u", "M18 (18), (19)", "W / uᵀWv", 1e-5, ("SN",))
def one_round(subject: Subject) -> Finding:
    """Make one pass from known vectors, and recognize the order and the number of rounds."""
    W, (u, v) = probes.slow(), probes.start()
    layer = subject.started(W)
    B = subject.forward(layer) / subject.scale
    if subject.pace:
        order, n = subject.pace
        note = f"{order}, {n} round{'s' * (n > 1)} a pass"
        if n == CONVERGED:
            note = "each pass reaches the singular vectors"
        a, b = rounds(W, u, v, order, n)
        error, said, name = gap(B, W / (a @ W @ b)), f"divided by {a @ W @ b:.6g}", ""
        if n < 3:
            with suppress(NotImplementedError):
                three = subject.forward(subject.started(W, 3)) / subject.scale
                a, b = rounds(W, u, v, order, 3 * n)
                error, name = gap(three, W / (a @ W @ b)), "not as many rounds as asked for"
                said += f"; three rounds a pass: off by {error:.1e}"
        return Finding(error, said, name, note)
    steps = [(order, a, b) for order, _, a, b in paces(W, u, v, 1)]
    stale = [("σ of the vectors before the round", u @ W @ v)]
    stale += [("σ of the vectors before the round", -(u @ W @ v))]
    half = [np.linalg.norm(W.T @ u), np.linalg.norm(W @ v)]
    half += [x for _, a, b in steps for x in (a @ W @ v, u @ W @ b)]
    sigma, off = sigma_of(W, B)
    stale += [("σ after half a round", x) for x in half]
    name, value = min(stale, key=lambda each: abs(sigma / each[1] - 1))
    if off > 1e-3 or not abs(sigma / value - 1) < 1e-4:
        name = "another σ after one round"
    elif value == u @ W @ v and gap(subject.forward(layer) / subject.scale, B) < 1e-6:
        name = "u is never moved"
    error = min(gap(B, W / (a @ W @ b)) for _, a, b in steps)
    name = "too little precision" if error < 1e-3 else name
    return Finding(error, f"divided by {sigma:.6g}", name)


@clause(16, "a weight of zeros", "", "output and gradient finite", kinds=RIGHT)
def zeros(subject: Subject, kind: str) -> Finding:
    """Make passes and take a gradient with W = 0."""
    layer = subject.make(np.zeros(KINDS[kind].shape), kind)
    B = [subject.forward(layer), subject.forward(layer, False)]
    with suppress(NotImplementedError):
        B.append(subject.gradient(layer, draw(kind, 3)))
    good = all(np.isfinite(b).all() for b in B)
    return Finding(
        0.0 if good else np.inf, "finite" if good else "NaN or infinity", "0/0 for a zero weight"
    )


@clause(17, "a weight that leaves zero", "M18 (18)", "norm 1 within 60 rounds", 1e-3, kinds=RIGHT)
def leaves_zero(subject: Subject, kind: str) -> Finding:
    """Make passes with W = 0, then with another weight."""
    W = draw(kind)
    layer = subject.make(0 * W, kind)
    for _ in range(3):
        subject.forward(layer)
    subject.ask("set_parameter", layer, W)
    for _ in range(60):
        B = subject.forward(layer)
    error = gap(B, subject.applied(kind, W))
    name = _stuck(subject, kind, W, B) if error > 1e-3 else ""
    return Finding(error, f"norm {_norm(subject, B, kind):.6g}", name)


def _stuck(subject: Subject, kind: str, W: np.ndarray, B: np.ndarray) -> str:
    """Name what keeps a weight from its norm after zeros."""
    if not np.isfinite(B).all():
        return "NaN stays after a zero weight"
    if name := or_value(subject, "", kind, 1e-3):  # not because of the zeros
        return name
    layer, other = subject.make(W, kind, ROUNDS), draw(kind, 5)
    subject.ask("set_parameter", layer, other)
    after = [subject.forward(layer) for _ in range(ROUNDS)][-1]
    if gap(after, subject.applied(kind, other)) > 1e-3:
        return "σ is not renewed"
    dead = gap(B, W) < 1e-3 or not B.any()
    return "u stays 0 after a zero weight" if dead else "a weight that leaves 0 is not normalized"


def _scales(subject: Subject, sizes: tuple[float, ...]) -> Finding:
    W = draw("dense")
    base = _converged(subject, W)
    errors, found = {}, {}
    for size in sizes:
        found[size] = _converged(subject, W * size)
        errors[size] = gap(found[size], base)
    size = max(errors, key=lambda each: errors[each])
    said = ", ".join(f"W·{s:g}: norm {_norm(subject, found[s]):.5g}" for s in sizes)
    return Finding(errors[size], said, _scale_name(subject, size, found[size], W))


def _scale_name(subject: Subject, size: float, B: np.ndarray, W: np.ndarray) -> str:
    """Distinguish squares that leave the range of numbers from an ε that hides small weights."""
    if name := or_value(subject, "", limit=1e-3):  # at every scale
        return name
    if gap(B, W * size) < 1e-4 and size > 1:
        return "squares overflow"
    if size > 1:
        return "squares overflow" if not 0.1 < _norm(subject, B) < 10 else "not a known norm"
    if gap(_converged(subject, W * 1e-3), W * 1e-3) < 1e-4:
        return "clipped"
    near = _converged(subject, W * 1e-17)
    if np.isfinite(B).all() and gap(near, subject.applied("dense", W)) > 1e-3:
        return "an absolute ε"
    if "float64" in subject.precisions:
        with suppress(*STOPPED):  # float64 is asked in a clause of its own
            double = _converged(subject, W * size, dtype="float64")
            if gap(double, subject.applied("dense", W)) > 1e-3:
                return "an absolute ε"
    return "squares underflow"


@clause(18, "scale of the weight, 1e±15", "M18 (36)", "the same W̄", 1e-5)
def scale_15(subject: Subject) -> Finding:
    """Normalize very large and very small weights."""
    return _scales(subject, (1e15, 1e-15))


@clause(19, "scale of the weight, 1e±25", "M18 (36)", "the same W̄", 1e-5)
def scale_25(subject: Subject) -> Finding:
    """Normalize weights whose squares single precision cannot represent."""
    return _scales(subject, (1e25, 1e-25))


@clause(
    20,
    "first pass, 50×50 Gaussian weight",
    "M18 Alg. 1",
    "norm at most 1.02 in the median",
    0.02,
    ("SN",),
)
def first_pass(subject: Subject) -> Finding:
    """Make one pass for each of seven weights; the median counts, because u is random."""
    norms, offs, turned = [], [], []
    for seed in range(7):
        W = np.random.default_rng(seed).standard_normal((50, 50))
        B = subject.forward(subject.make(W)) / subject.scale
        norms.append(float(np.linalg.norm(B, 2)) if np.isfinite(B).all() else np.inf)
        offs.append(sigma_of(W, B)[1])
        turned.append(sigma_of(W, B.T)[1])
    middle, off = float(np.median(norms)), max(offs)
    said = f"norm {middle:.4f}, up to {max(norms):.4f}"
    if off > 1e-3:
        name = or_value(subject, "not a multiple of W")
        name = "the weight is applied transposed" if max(turned) < 1e-3 else name
        return Finding(off, f"{said}, {off:.1e} from all multiples of W", name)
    return Finding(middle - 1, said, or_value(subject, "no warm start"))


def _precision(dtype: str):
    def ask(subject: Subject, kind: str) -> Finding:
        if dtype not in subject.precisions:
            raise NotImplementedError(f"the adapter has no {dtype}")
        layer = subject.make(draw(kind), kind, ROUNDS, dtype)
        B = subject.forward(layer)
        with suppress(NotImplementedError):
            kept = re.findall(r"\w+", str(subject.ask("dtype", layer)))[-1]  # of torch.float16, too
            if kept != dtype:
                return Finding(np.inf, f"{kept} came out", "the type is not kept")
        off = _norm(subject, B, kind) / subject.scale - 1
        error = abs(off)
        error = error if np.isfinite(error) else np.inf
        name = "too little precision"
        if dtype == "float64" and 1e-12 < error < 1e-5:
            more = [subject.forward(layer) for _ in range(ROUNDS)][-1]
            if not gap(B.astype("float32"), B):
                name = "computed in another precision"
            elif abs(_norm(subject, more, kind) / subject.scale - 1) < 0.1 * error:
                name = "power iteration has not converged"
        name = name if np.isfinite(B).all() else "not finite"
        name = or_value(subject, name, kind)  # in the usual precision
        return Finding(error, f"norm 1 {off:+.1e}", name)

    return ask


for _number, (_dtype, _tolerance) in enumerate(
    {"float16": 0.01, "bfloat16": 0.03, "float64": 1e-12}.items(), 21
):
    clause(_number, _dtype, "M18 (8)", "type kept, norm 1", _tolerance, kinds=RIGHT)(
        _precision(_dtype)
    )


@clause(28, "a weight of norm 0.3", "M18 (8)", "normalized, not left alone", 2e-5, kinds=RIGHT)
def small(subject: Subject, kind: str) -> Finding:
    """Normalize a weight whose norm is below 1."""
    W = draw(kind)
    W = 0.3 * W / subject.norm(kind, W)
    B = _converged(subject, W, kind)
    error = gap(B, subject.applied(kind, W))
    left = gap(B, W * subject.scale) < 1e-3 or gap(B, W) < 1e-3
    name = or_value(subject, "clipped", kind) if left else ""
    if error > 2e-5 and not left:
        name = named(subject, kind, W, B)
    return Finding(error, f"norm {_norm(subject, B, kind):.6g}", name)
