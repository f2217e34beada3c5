"""Clauses about state: the parameter, u and v, in training, in evaluation and on disk.

A library may have a class for each kind of layer, so most clauses ask each kind that can be made.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from . import probes
from .deviations import name_value, sigma_of
from .of_gradients import written
from .of_values import or_value
from .reference import gap, rounds
from .suite import EVERY, STOPPED, Finding, Made, Subject, clause

Kept = tuple[list[np.ndarray], list[np.ndarray]]


def _trained(subject: Subject, kind: str = "dense", rounds: int = 1) -> tuple[Made, np.ndarray]:
    """Make a layer far from convergence and three passes; return the layer and the last W̄."""
    W = probes.slow(kind)
    layer = subject.make(W, kind, rounds)
    if kind == "dense":
        with suppress(NotImplementedError):
            subject.ask("set_u", layer, *probes.start())
    for _ in range(3):
        B = subject.forward(layer)
    return layer, B


def _shift(subject: Subject, layer: Made, kept: Kept) -> list[float]:
    """Return how far the state and the raw weight have moved from their copies."""
    shifts = []
    for now, before in zip(subject.kept(layer), kept, strict=True):
        other = [np.inf] if len(now) != len(before) else []
        shifts.append(max([0.0, *other, *(gap(b, a) for b, a in zip(now, before, strict=False))]))
    return shifts


def _moved(error: float) -> str:
    return "not moved" if error == 0 else f"moved by {error:.1e}"


@clause(9, "a training pass leaves W", "M18 Alg. 1", "exactly as it was", kinds=EVERY)
def leaves_parameter(subject: Subject, kind: str) -> Finding:
    """Compare the raw weight before and after a pass."""
    layer = subject.make(probes.slow(kind), kind)
    before = subject.parameter(layer)
    subject.forward(layer)
    error = gap(subject.parameter(layer), before)
    name = written(subject, layer, before) or "a training pass changes W"
    return Finding(error, _moved(error), name)


@clause(
    10, "n passes make n rounds", "M18 (20), (21)", "the estimate of n rounds", 1e-5, kinds=EVERY
)
def persists(subject: Subject, kind: str) -> Finding:
    """Make eight passes from known vectors, then three with a gradient; else watch forty."""
    W = probes.slow(kind)
    if kind != "dense" or subject.definition != "SN" or subject.pace is None:
        return _watched(subject, kind, W)
    order, n = subject.pace

    def off(k: int, B: np.ndarray) -> float:
        u, v = rounds(W, *probes.start(), order, n * k)
        return gap(B, subject.scale * W / (u @ W @ v))

    layer = subject.started(W)
    found = [subject.forward(layer) for _ in range(8)]
    error = max(off(k, B) for k, B in enumerate(found, 1))
    if error > 1e-5:
        name = _unmoved(subject, layer, W, found) or _jumps(W, found)
        return Finding(error, f"off by {error:.1e} after 8 passes", name)
    last, name = 0.0, ""
    with suppress(*STOPPED):  # a gradient that fails is told elsewhere
        layer = subject.started(W)
        subject.forward(layer)
        subject.gradient(layer, probes.draw("dense", 3))
        B = subject.forward(layer)
        last = off(3, B)
        turned = {"a gradient moves u once more": 4, "a pass with a gradient does not move u": 2}
        names = (text for text, k in turned.items() if off(k, B) < 1e-5)
        name = next(names, "u does not advance by one round a pass")
    error = max(error, last)
    return Finding(error, f"off by {error:.1e}, with a pass for a gradient among others", name)


def _unmoved(subject: Subject, layer: Made, W: np.ndarray, found: list[np.ndarray]) -> str:
    """Name what gives the same estimate at every pass; an empty string if none does."""
    if gap(found[-1], found[0]) > 1e-6:
        return ""
    with suppress(NotImplementedError):
        other = probes.draw("dense", 4)  # no multiple of W, whose W̄ would be the same
        subject.ask("set_parameter", layer, other)
        B = subject.forward(layer)
        if min(gap(B, found[0]), gap(B, other / sigma_of(W, found[0])[0])) < 1e-3:
            return "σ is not renewed"
    return "u starts over at every pass"


def _jumps(W: np.ndarray, found: list[np.ndarray]) -> str:
    """Recognize vectors that are drawn anew: their estimates go up and down."""
    sigmas = np.array([sigma_of(W, B)[0] for B in found])
    if np.diff(sigmas / sigmas[-1]).min() < -1e-4:
        return "u is drawn anew at every pass"
    return "u does not advance by one round a pass"


def _watched(subject: Subject, kind: str, W: np.ndarray) -> Finding:
    layer = subject.make(W, kind)
    found = [subject.forward(layer) for _ in range(40)]
    sigmas = np.array([sigma_of(W, B)[0] for B in found])
    if kind != "dense":  # whether it is the right norm is asked elsewhere
        drop = float(-np.diff(sigmas / sigmas[-1]).min())
        drop = drop if np.isfinite(drop) else 0.0
        return Finding(max(drop, 0.0), f"estimate falls by {drop:.1e}", _jumps(W, found))
    sigmas *= subject.scale / subject.norm(kind, W)
    drop = float(-np.diff(sigmas).min())
    lacking = max(0.95 - float(sigmas[-1]), 0.0)  # the second singular value is 0.97
    above = float(sigmas[-1]) - 1  # which no estimate is
    constant = float(np.ptp(sigmas)) < 1e-6
    stuck = constant and _is_odd(subject, layer, W, found[-1])
    error = max(drop, lacking, above, 2.0 * stuck)  # the W̄ of -W has the wrong sign
    said = f"estimate {sigmas[0]:.5f} of the norm at first, {sigmas[-1]:.5f} after 40 passes"
    if not np.isfinite(sigmas).all():
        return Finding(np.inf, said, "not finite")
    name = "u is never moved" if stuck else ""
    if error and not stuck:
        name, _ = name_value(kind, W, found[-1], subject.definition, subject.scale)
    if name in ("", "power iteration has not converged"):
        name = "u does not advance by one round a pass"
        if above > 1e-5 or sigmas[-1] < 0:
            name = or_value(subject, "not a known norm")
        elif drop > 1e-4:
            name = "u is drawn anew at every pass"
        elif constant:
            name = or_value(subject, _unmoved(subject, layer, W, found) or name)
    return Finding(error, said, name)


def _is_odd(subject: Subject, layer: Made, W: np.ndarray, B: np.ndarray) -> bool:
    """Return whether -W is divided by -σ: as by uᵀWv with vectors that stay, and by no norm."""
    with suppress(NotImplementedError):
        subject.ask("set_parameter", layer, -W)
        return gap(subject.forward(layer), B) < 1e-5
    return False


@clause(
    12, "reading the weight moves nothing", "", "u, v and W as they were, the W̄ in use", kinds=EVERY
)
def reading(subject: Subject, kind: str) -> Finding:
    """Read the weight twice while training, and once more after W has moved."""
    layer, B = _trained(subject, kind)
    kept = subject.kept(layer)
    reads = [subject.weight("read", layer) for _ in range(2)]
    error = gap(reads[1], reads[0])
    state, weight = _shift(subject, layer, kept)
    worst = max(error, weight, state)
    name = "reading changes W" if weight else "reading moves u"
    said = f"two reads differ by {error:.1e}" if error else _moved(worst)
    if not worst and (apart := gap(reads[0], B)) > 1e-6:
        raw = gap(reads[0], probes.slow(kind)) < 1e-6
        name = "reading gives W itself" if raw else "reading gives another weight"
        return Finding(apart, f"differs from the weight in use by {apart:.1e}", name)
    return Finding(worst, said, name) if worst else _stale(subject, kind, "read", layer, B)


def _stale(subject: Subject, kind: str, method: str, layer: Made, old: np.ndarray) -> Finding:
    """Move W, and ask for the normalized weight: it must not be that of the last pass any more."""
    with suppress(NotImplementedError):
        W = probes.draw(kind, 5)
        subject.ask("set_parameter", layer, W)
        if gap(subject.weight(method, layer), old) < 1e-6:
            doing = {"read": "reading keeps", "remove": "removing leaves"}[method]
            said = f"W has changed, and {method} gives the weight of the last pass"
            return Finding(sigma_of(W, old)[1], said, f"{doing} an old weight")
    return Finding(0.0, _moved(0.0))


@clause(13, "evaluation moves nothing", "", "u, v, W and the next pass as without it", kinds=EVERY)
def evaluating(subject: Subject, kind: str) -> Finding:
    """Evaluate twice, from a weight that has just moved, and make one more training pass."""
    layer, _ = _trained(subject, kind)
    kept = subject.kept(layer)
    if not any(kept):
        raise NotImplementedError("the adapter has neither state nor parameter")
    for _ in range(2):
        subject.forward(layer, False)
    state, weight = _shift(subject, layer, kept)
    if not max(state, weight) and kind == "dense":
        state = _turned(subject, layer)
    name = "evaluation writes W" if weight else "evaluation moves u"
    return Finding(max(state, weight), _moved(max(state, weight)), name)


def _turned(subject: Subject, layer: Made) -> float:
    """Return how far the next training pass is from that of layers that were not evaluated."""
    with suppress(NotImplementedError):
        subject.ask("set_u", subject.make(probes.slow()), *probes.start())
        twins = [subject.forward(_trained(subject)[0]) for _ in range(2)]
        if gap(*twins) == 0:  # passes are repeatable
            return gap(subject.forward(layer), twins[0])
    return 0.0


@clause(14, "two evaluations are equal", "", "equal to the last bit", kinds=EVERY)
def repeatable(subject: Subject, kind: str) -> Finding:
    """Evaluate five times."""
    layer, _ = _trained(subject, kind)
    found = [subject.forward(layer, False) for _ in range(5)]
    error = max(gap(B, found[0]) for B in found)
    name = "two evaluations differ"
    if error:
        kept = subject.kept(layer)
        subject.forward(layer, False)
        state, weight = _shift(subject, layer, kept)
        name = "evaluation writes W" if weight else "evaluation moves u" if state else name
    return Finding(error, f"differ by {error:.1e}", name)


@clause(
    15, "evaluation uses training's σ", "M18 (22)", "W̄ of the last training pass", 1e-6, kinds=EVERY
)
def evaluation(subject: Subject, kind: str) -> Finding:
    """Evaluate after a training pass, move the weight, train, and evaluate again."""
    layer, B = _trained(subject, kind)
    E = subject.forward(layer, False)
    if gap(E, B) > 1e-6:
        name = _other_sigma("evaluation", subject, kind, B, E) or "evaluation uses another σ"
        return Finding(gap(E, B), f"differs by {gap(E, B):.1e}", name)
    old, W = E, probes.draw(kind, 5)
    with suppress(NotImplementedError):
        subject.ask("set_parameter", layer, W)
        if gap(subject.forward(layer, False), old) < 1e-6:
            said = "W has changed, and the weight that is evaluated has not"
            return Finding(sigma_of(W, old)[1], said, "evaluation keeps an old weight")
    B = subject.forward(layer)
    E = subject.forward(layer, False)
    said = f"differs by {gap(E, B):.1e} after a change of W"
    return Finding(gap(E, B), said, "evaluation uses another σ")


def _other_sigma(who: str, subject: Subject, kind: str, B: np.ndarray, E: np.ndarray) -> str:
    """Name the weight that replaced the one in use."""
    W = probes.slow(kind)
    raw = {"evaluation": "evaluation uses W itself"}.get(who, "removing leaves W un-normalized")
    if gap(E, W) < 1e-4 or gap(E, subject.scale * W) < 1e-4:
        return raw
    if gap(E, subject.applied(kind, W)) < 1e-5:
        return f"{who} computes σ anew"
    used, now = sigma_of(W, B)[0], sigma_of(W, E)[0]
    more = used < now < 1.5 * used
    if kind == "dense" and subject.pace:  # the vectors are known
        order, n = subject.pace
        further = [rounds(W, *probes.start(), order, k) for k in (4 * n, 3 * n + 1)]
        more = any(gap(E, subject.scale * W / (u @ W @ v)) < 1e-5 for u, v in further)
    return f"{who} takes one round more" if more else ""


@clause(24, "saved and read back", "", "W, evaluation and next training pass equal", kinds=EVERY)
def reloaded(subject: Subject, kind: str) -> Finding:
    """Save a layer, load it into another one, and continue with both."""
    layer, _ = _trained(subject, kind, 2)  # rounds that a pass makes after loading, too
    if (loaded := subject.ask("reload", layer)) is None:
        raise TypeError("reload gave None, expected a layer")
    other = Made(loaded, layer.shape)
    errors = []
    with suppress(NotImplementedError):
        errors.append(gap(subject.parameter(other), subject.parameter(layer)))
        if errors[0]:
            return Finding(errors[0], f"W differs by {errors[0]:.1e}", "another W is saved")
    errors += [
        gap(subject.forward(other, train), subject.forward(layer, train))
        for train in (False, True, True)
    ]
    said = f"evaluation differs by {errors[-3]:.1e}, training by {max(errors[-2:]):.1e}"
    return Finding(max(errors), said, "lost when saved")


@clause(
    25, "removing the normalization", "M18 (8)", "the W̄ that was in use stays", 1e-6, kinds=EVERY
)
def removed(subject: Subject, kind: str) -> Finding:
    """Remove the normalization after a training pass, and after a step that moved W."""
    layer, B = _trained(subject, kind)
    baked = subject.weight("remove", layer)
    name = _other_sigma("removing", subject, kind, B, baked) or "removing bakes another weight"
    found = Finding(gap(baked, B), f"differs by {gap(baked, B):.1e}", name)
    stale = _stale(subject, kind, "remove", *_trained(subject, kind))
    return stale if stale.error > found.error else found
