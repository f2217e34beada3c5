"""Clauses about state: the parameter, u and v, in training, in evaluation and on disk."""

from __future__ import annotations

import numpy as np

from . import probes
from .deviations import name_value, sigma_of
from .reference import gap, rounds
from .suite import Finding, Made, Subject, clause


@clause(9, "a training pass leaves W", "M18 Alg. 1", "exactly as it was")
def leaves_parameter(subject: Subject) -> Finding:
    """Compare the raw weight before and after a pass."""
    layer = subject.make(probes.slow())
    before = subject.parameter(layer)
    B = subject.forward(layer)
    after = subject.parameter(layer)
    divided = gap(after, B) < 0.01 * gap(after, before)
    name = "W is overwritten" if divided else "a training pass changes W"
    return Finding(gap(after, before), _moved(gap(after, before)), name)


@clause(10, "n passes make n rounds", "M18 (20), (21)", "the estimate of n rounds", 1e-5)
def persists(subject: Subject) -> Finding:
    """Make four passes from known vectors; if these cannot be set, watch forty passes."""
    W = probes.slow()
    if subject.definition != "SN" or subject.pace is None:
        return _watched(subject, W)
    order, n = subject.pace
    layer = subject.started(W)
    found = [subject.forward(layer) / subject.scale for _ in range(4)]
    errors = []
    for k, B in enumerate(found, 1):
        u, v = rounds(W, *probes.start(), order, n * k)
        errors.append(gap(B, W / (u @ W @ v)))
    again = gap(found[3], found[0]) < 1e-6
    name = "u starts over at every pass" if again else _jumps(W, found)
    return Finding(max(errors), f"off by {max(errors):.1e} after 4 passes", name)


def _jumps(W: np.ndarray, found: list[np.ndarray]) -> str:
    """Recognize vectors that are drawn anew: their estimates go up and down."""
    sigmas = [sigma_of(W, B)[0] for B in found]
    if np.diff(sigmas).min() < -1e-4 * abs(sigmas[0]):
        return "u is drawn anew at every pass"
    return "u does not advance by one round a pass"


def _watched(subject: Subject, W: np.ndarray) -> Finding:
    layer = subject.make(W)
    found = [subject.forward(layer) for _ in range(40)]
    sigmas = np.array([sigma_of(W, B)[0] for B in found]) * subject.scale / 2.2
    drop = float(-np.diff(sigmas).min())
    lacking = max(0.99 - float(sigmas[-1]), 0.0)
    above = float(sigmas[-1]) - 1  # which no estimate is
    error = max(drop, lacking, above)
    name = (
        "u is drawn anew at every pass" if drop > 1e-4 else "u does not advance by one round a pass"
    )
    if above > 1e-5:
        name, _ = name_value("dense", W, found[-1], subject.definition, subject.scale)
    elif float(np.ptp(sigmas)) < 1e-6:
        name = "u is never moved"
    if not np.isfinite(sigmas).all():
        error, name = np.inf, "not finite"
    said = f"estimate {sigmas[0]:.5f} of the norm at first, {sigmas[-1]:.5f} after 40 passes"
    return Finding(error, said, name or "not a known norm")


def _moved(error: float) -> str:
    return "not moved" if error == 0 else f"moved by {error:.1e}"


def _trained(subject: Subject) -> tuple[Made, np.ndarray]:
    """Make a layer far from convergence and three passes; return the layer and the last W̄."""
    try:
        layer = subject.started(probes.slow())
    except NotImplementedError:
        layer = subject.make(probes.slow())
    for _ in range(3):
        B = subject.forward(layer)
    return layer, B


@clause(12, "reading the weight moves nothing", "", "u, v and W as they were, equal reads")
def reading(subject: Subject) -> Finding:
    """Read the weight twice while training."""
    layer, _ = _trained(subject)
    kept = subject.kept(layer)
    reads = [subject.weight("read", layer) for _ in range(2)]
    error = gap(reads[1], reads[0])
    state, weight = _shift(subject, layer, kept)
    worst = max(error, weight, state)
    name = "reading changes W" if weight else "reading moves u"
    said = f"two reads differ by {error:.1e}" if error else _moved(worst)
    return Finding(worst, said, name)


Kept = tuple[list[np.ndarray], list[np.ndarray]]


def _shift(subject: Subject, layer: Made, kept: Kept) -> list[float]:
    """Return how far the state and the raw weight have moved from their copies."""
    return [
        max((gap(b, a) for b, a in zip(now, before, strict=True)), default=0.0)
        for now, before in zip(subject.kept(layer), kept, strict=True)
    ]


@clause(13, "evaluation moves nothing", "", "u, v and W as they were")
def evaluating(subject: Subject) -> Finding:
    """Evaluate twice, from a weight that has just moved."""
    layer, _ = _trained(subject)
    kept = subject.kept(layer)
    if not any(kept):
        raise NotImplementedError("the adapter has neither state nor parameter")
    for _ in range(2):
        subject.forward(layer, False)
    state, weight = _shift(subject, layer, kept)
    name = "evaluation writes W" if weight else "evaluation moves u"
    return Finding(max(state, weight), _moved(max(state, weight)), name)


@clause(14, "two evaluations are equal", "", "equal to the last bit")
def repeatable(subject: Subject) -> Finding:
    """Evaluate five times."""
    layer, _ = _trained(subject)
    found = [subject.forward(layer, False) for _ in range(5)]
    error = max(gap(B, found[0]) for B in found)
    name = "two evaluations differ"
    if error:
        kept = subject.kept(layer)
        subject.forward(layer, False)
        state, weight = _shift(subject, layer, kept)
        name = "evaluation writes W" if weight else "evaluation moves u" if state else name
    return Finding(error, f"differ by {error:.1e}", name)


@clause(15, "evaluation uses training's σ", "M18 (22)", "W̄ of the last training pass", 1e-6)
def evaluation(subject: Subject) -> Finding:
    """Evaluate after a training pass."""
    layer, B = _trained(subject)
    E = subject.forward(layer, False)
    name = _other_sigma("evaluation", subject, B, E) or "evaluation uses another σ"
    return Finding(gap(E, B), f"differs by {gap(E, B):.1e}", name)


def _other_sigma(who: str, subject: Subject, B: np.ndarray, E: np.ndarray) -> str:
    """Name the weight that replaced the one in use."""
    W = probes.slow()
    raw = {"evaluation": "evaluation uses W itself"}.get(who, "removing leaves W un-normalized")
    if gap(E, W) < 1e-4 or gap(E, subject.scale * W) < 1e-4:
        return raw
    if gap(E, subject.applied("dense", W)) < 1e-5:
        return f"{who} computes σ anew"
    used, now = sigma_of(W, B)[0], sigma_of(W, E)[0]
    return f"{who} takes one round more" if used < now < 1.5 * used else ""


@clause(24, "saved and read back", "", "evaluation and next training pass equal")
def reloaded(subject: Subject) -> Finding:
    """Save a layer, load it into another one, and continue with both."""
    layer, _ = _trained(subject)
    other = Made(subject.ask("reload", layer), layer.shape)
    errors = [
        gap(subject.forward(other, train), subject.forward(layer, train))
        for train in (False, True, True)
    ]
    said = f"evaluation differs by {errors[0]:.1e}, training by {max(errors[1:]):.1e}"
    return Finding(max(errors), said, "lost when saved")


@clause(25, "removing the normalization", "M18 (8)", "the W̄ that was in use stays", 1e-6)
def removed(subject: Subject) -> Finding:
    """Remove the normalization after a training pass."""
    layer, B = _trained(subject)
    baked = subject.weight("remove", layer)
    name = _other_sigma("removing", subject, B, baked) or "removing bakes another weight"
    return Finding(gap(baked, B), f"differs by {gap(baked, B):.1e}", name)
