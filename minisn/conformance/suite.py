"""The run: ask an adapter every clause, and judge each finding by the clause's tolerance.

A clause returns a :class:`Finding`. If an adapter cannot be asked, it raises
``NotImplementedError``, and the clause is "not asked". Any other error breaks the clause.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import ConfigError
from . import probes
from .deviations import MEANINGS
from .reference import gap, norm, paces

KEPT, BROKEN, NOT_ASKED = "kept", "broken", "not asked"


@dataclass(frozen=True)
class Finding:
    """The finding on a clause.

    Args:
        error: distance from the expected result, in the clause's own measure.
        found: the result in words.
        deviation: name of the deviation, in :data:`~minisn.conformance.deviations.MEANINGS`.
        note: a further fact, such as the order of a round.
    """

    error: float
    found: str
    deviation: str = ""
    note: str = ""


@dataclass(frozen=True)
class Clause:
    """A property of spectral normalization.

    Args:
        number: number of the clause.
        title: the property in a few words.
        equation: equation of the papers.
        expected: the expected result in words.
        tolerance: the largest error that keeps the clause.
        ask: the function that asks a subject.
        definitions: the definitions that have the property.
    """

    number: int
    title: str
    equation: str
    expected: str
    tolerance: float
    ask: Callable[[Subject], Finding]
    definitions: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """A clause with its verdict.

    Args:
        clause: the clause.
        verdict: kept, broken or not asked.
        error: as in :class:`Finding`; 0 where nothing was asked.
        found: the result in words, or the reason why nothing was asked.
        deviation, note: as in :class:`Finding`.
    """

    clause: Clause
    verdict: str
    error: float = 0.0
    found: str = ""
    deviation: str = ""
    note: str = ""

    @property
    def meaning(self) -> str:
        """What the deviation means for training."""
        return MEANINGS.get(self.deviation, "")


CLAUSES: list[Clause] = []
"""The clauses registered so far; :func:`all_clauses` registers all."""


def clause(
    number: int,
    title: str,
    equation: str,
    expected: str,
    tolerance: float = 0.0,
    definitions: tuple[str, ...] = ("SN", "BSN", "SN_Conv"),
) -> Callable[[Callable[[Subject], Finding]], Callable[[Subject], Finding]]:
    """Register a function as a clause; the arguments are those of :class:`Clause`."""

    def enter(ask: Callable[[Subject], Finding]) -> Callable[[Subject], Finding]:
        CLAUSES.append(Clause(number, title, equation, expected, tolerance, ask, definitions))
        CLAUSES.sort(key=lambda each: each.number)
        return ask

    return enter


class MisshapenError(ValueError):
    """An answer of an adapter does not have the shape of the weight."""


@dataclass(frozen=True)
class Made:
    """A layer, as the adapter made it.

    Args:
        layer: the adapter's object; only the adapter reads it.
        shape: the shape of its weight, and of every answer that is a weight.
    """

    layer: Any
    shape: tuple[int, ...]


class Subject:
    """An adapter under test.

    Args:
        adapter: see :mod:`minisn.conformance.adapters`.
    """

    def __init__(self, adapter: Any):
        self.adapter = adapter
        self.definition = getattr(adapter, "definition", "SN")
        self.scale = getattr(adapter, "scale", 1.0)

    def ask(self, method: str, made: Made, *arguments: Any) -> Any:
        """Call a method of the adapter with a layer and copies of the arguments.

        Raises:
            NotImplementedError: the adapter has no such method.
        """
        if not callable(function := getattr(self.adapter, method, None)):
            raise NotImplementedError(f"the adapter has no {method}")
        return function(made.layer, *deepcopy(arguments))

    def weight(self, method: str, made: Made, *arguments: Any) -> np.ndarray:
        """Ask for a weight or a gradient; return a copy in double precision.

        Raises:
            MisshapenError: the answer has another shape.
        """
        answer = self.ask(method, made, *arguments)
        found = np.array(answer, np.float64)
        if found.shape != made.shape:
            gave = "None" if answer is None else f"an array of shape {list(found.shape)}"
            raise MisshapenError(
                f"{method} gave {gave}, expected the shape of the weight, {list(made.shape)}"
            )
        return found

    def make(
        self, W: np.ndarray, kind: str = "dense", rounds: int = 1, dtype: str = "float32"
    ) -> Made:
        """Make a layer; if rounds cannot be set, make as many passes instead."""
        other = () if dtype == "float32" else (dtype,)
        try:
            return Made(self.adapter.make(kind, W.copy(), rounds, *other), W.shape)
        except NotImplementedError:
            if rounds == 1:
                raise
        made = Made(self.adapter.make(kind, W.copy(), 1, *other), W.shape)
        for _ in range(rounds - 1):
            self.forward(made)
        return made

    def forward(self, made: Made, train: bool = True) -> np.ndarray:
        """Make a pass; return the weight that was applied."""
        return self.weight("forward", made, train)

    def gradient(self, made: Made, *Gs: np.ndarray) -> np.ndarray:
        """Make a pass for each G, and return the gradient of the sum of <G, W̄>."""
        return self.weight("gradient", made, list(Gs))

    def parameter(self, made: Made) -> np.ndarray:
        """Return the raw weight."""
        return self.weight("parameter", made)

    def kept(self, made: Made) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return copies of the state and of the raw weight; an empty list if it cannot be asked."""
        state: list[np.ndarray] = []
        weight: list[np.ndarray] = []
        with suppress(NotImplementedError):
            state = [np.array(a, np.float64) for a in self.ask("state", made)]
        with suppress(NotImplementedError):
            weight = [self.parameter(made)]
        return state, weight

    def overwrites(self, made: Made, W: np.ndarray) -> bool:
        """Return whether a pass has replaced the weight W."""
        return any(gap(found, W) > 1e-5 for found in self.kept(made)[1])

    def applied(self, kind: str, W: np.ndarray) -> np.ndarray:
        """Return the weight that a right layer applies."""
        return self.scale * W / norm(kind, W, self.definition)[0]

    def started(self, W: np.ndarray) -> Made:
        """Make a dense layer with the known u and v of :func:`~minisn.conformance.probes.start`."""
        made = self.make(W)
        self.ask("set_u", made, *probes.start())
        return made

    def try_out(self) -> None:
        """Make a dense layer and a pass.

        Raises:
            ConfigError: the adapter raises an error, or returns no weight: no clause has an answer.
        """
        try:
            self.forward(self.make(probes.draw("dense")))
        except NotImplementedError:
            return
        except Exception as error:  # of the adapter's, whatever its kind
            name = getattr(self.adapter, "name", "") or type(self.adapter).__name__
            raise ConfigError(
                f"{name}: make('dense', W, 1), then forward(layer, True): {told(error)[0]}"
            ) from error

    @cached_property
    def pace(self) -> tuple[str, int] | None:
        """Order and number of rounds in a training pass, or None if they are unknown."""
        W = probes.slow()
        try:
            B = self.forward(self.started(W))
        except NotImplementedError:
            return None
        for n in range(1, 61):  # fewest rounds first
            for order, k, u, v in paces(W, *probes.start(), most=n):
                if k == n and gap(B, self.scale * W / (u @ W @ v)) < 1e-5:
                    return order, n
        return None


def all_clauses() -> list[Clause]:
    """Return every clause, by number."""
    for name in ("of_gradients", "of_state", "of_values"):  # each registers its clauses
        importlib.import_module(f".{name}", __package__)
    return CLAUSES


def run(adapter: Any) -> Iterator[Result]:
    """Ask an adapter every clause of its definition; yield the results in order.

    Args:
        adapter: see :mod:`minisn.conformance.adapters`.
    Raises:
        ConfigError: the adapter's first layer or its first pass stops with an error.
    """
    subject = Subject(adapter)
    subject.try_out()
    for each in all_clauses():
        if subject.definition in each.definitions:
            yield judge(each, subject)


def judge(each: Clause, subject: Subject) -> Result:
    """Ask a subject one clause, and return the result.

    Args:
        each: the clause.
        subject: the adapter under test.
    """
    try:
        with np.errstate(all="ignore"):
            found = each.ask(subject)
    except NotImplementedError as reason:
        return Result(each, NOT_ASKED, found=str(reason) or "the adapter cannot be asked")
    except Exception as error:  # a layer's error is a finding, whatever its kind
        return Result(each, BROKEN, float("inf"), *told(error))
    if found.error <= each.tolerance:
        return Result(each, KEPT, found.error, found.found, note=found.note)
    return Result(each, BROKEN, found.error, found.found, found.deviation, found.note)


def told(error: Exception) -> tuple[str, str]:
    """Return an adapter's error in one line, and its name among the deviations.

    Args:
        error: of any kind.
    """
    text = " ".join(str(error).split())[:200]
    if isinstance(error, MisshapenError):
        return text, "another shape"
    text = f"{type(error).__name__}: {text}"[:200]
    moved = "inplace" in text or "in-place" in text
    return text, "u is changed in place under a pending backward" if moved else "fails"
