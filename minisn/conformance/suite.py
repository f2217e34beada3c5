"""The run: ask an adapter every clause, and judge each finding by the clause's tolerance.

A clause returns a :class:`Finding`. If an adapter cannot be asked, it raises
``NotImplementedError``, and the clause is "not asked". Any other error breaks the clause.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from ..errors import ConfigError
from . import probes
from .deviations import MEANINGS, sigma_of
from .reference import CONVERGED, ORDERS, gap, norm, paces

KEPT, BROKEN, NOT_ASKED = "kept", "broken", "not asked"

DEFINITIONS = ("SN", "BSN", "SN_Conv")

ROUNDS = 60
"""Enough rounds for these weights: the second singular value is at most 1/1.2 of the first."""

Ask = TypeVar("Ask", bound=Callable[..., "Finding"])

STOPPED = (Exception, SystemExit)
"""What an adapter may raise; only an interruption ends the suite."""


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
    definitions: tuple[str, ...] = DEFINITIONS,
    kinds: Callable[[Subject], list[str]] | None = None,
) -> Callable[[Ask], Ask]:
    """Register a function as a clause.

    Args:
        number, title, equation, expected, tolerance, definitions: as in :class:`Clause`.
        kinds: :data:`EVERY` or :data:`RIGHT` asks about one kind of layer after the other.
    """

    def enter(ask: Ask) -> Ask:
        asked = partial(_each, kinds, tolerance, ask) if kinds else ask
        CLAUSES.append(Clause(number, title, equation, expected, tolerance, asked, definitions))
        CLAUSES.sort(key=lambda each: each.number)
        return ask

    return enter


def _each(
    kinds: Callable[[Subject], list[str]],
    tolerance: float,
    ask: Callable[..., Finding],
    subject: Subject,
) -> Finding:
    """Ask kind after kind; the first that breaks the clause about as much as any counts.

    The first, because a kind may have another fault besides, which would hide the name of this one.
    """
    findings, why = [], NotImplementedError("no kind of layer has the right value")
    for kind in kinds(subject):
        try:
            found = ask(subject, kind)
        except NotImplementedError as reason:
            why = reason
            continue
        said = found.found if kind == "dense" else f"{probes.KINDS[kind].title}: {found.found}"
        findings.append(replace(found, found=said))
    if not findings:
        raise why
    findings = [found for found in findings if found.error > tolerance] or findings
    worst = max(found.error for found in findings)
    return next(found for found in findings if found.error >= worst / 10)


class MisshapenError(ValueError):
    """An answer of an adapter does not have the shape of the weight."""


EVERY: Callable[[Subject], list[str]] = attrgetter("kinds")
"""The kinds that can be made."""

RIGHT: Callable[[Subject], list[str]] = attrgetter("right")
"""The kinds whose value is right, which has a clause of its own, and dense."""


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
    Raises:
        ConfigError: its definition or its scale is none.
    """

    def __init__(self, adapter: Any):
        self.adapter = adapter
        self.definition = fact(adapter, "definition", "SN")
        self.scale = fact(adapter, "scale", 1.0)
        self.precisions = fact(adapter, "precisions", ()) or ()
        if not isinstance(self.precisions, Iterable):
            raise ConfigError(
                f"{title(adapter)}: precisions is {self.precisions!r}, expected names of types"
            )
        if self.definition not in DEFINITIONS:
            raise ConfigError(
                f"{title(adapter)}: definition is {self.definition!r}, expected one of "
                f"{', '.join(DEFINITIONS)}"
            )
        number = isinstance(self.scale, int | float | np.number)
        if not (number and np.isfinite(self.scale) and self.scale):
            raise ConfigError(
                f"{title(adapter)}: scale is {self.scale!r}, expected a finite number other than 0"
            )

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
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            answer = self.ask(method, made, *arguments)
            try:
                found = None if answer is None else np.array(answer, np.float64)
            except (TypeError, ValueError, Warning):
                found = None
        if found is None or found.shape != made.shape:
            gave = getattr(answer, "dtype", None if answer is None else type(answer).__name__)
            if found is not None:
                gave = f"an array of shape {list(found.shape)}"
            raise MisshapenError(
                f"{method} gave {gave}, expected real numbers in the shape of the weight, "
                f"{list(made.shape)}"
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
            found = self.ask("state", made)
            found = found.values() if isinstance(found, Mapping) else found
            try:
                state = [np.array(a, np.float64) for a in found]
            except (TypeError, ValueError) as error:
                raise TypeError(f"state gave {found!r:.60}, expected a list of arrays") from error
        with suppress(NotImplementedError):
            weight = [self.parameter(made)]
        return state, weight

    def wrote(self, made: Made, W: np.ndarray) -> str:
        """Name what a pass wrote into the weight W; an empty string if nothing."""
        for found in self.kept(made)[1]:
            if gap(found, W) > 1e-5:  # evaluation may have made a round since
                (a, off), (b, _) = sigma_of(W, found), sigma_of(W, self.forward(made, False))
                divided = off < 1e-3 and abs(np.log(abs(b / a))) < 0.5 * abs(np.log(abs(a)))
                return "W is overwritten" if divided else "a training pass changes W"
        return ""

    def norm(self, kind: str, W: np.ndarray) -> float:
        """Return the norm of a weight by the subject's definition."""
        return norm(kind, W, self.definition)[0]

    def applied(self, kind: str, W: np.ndarray) -> np.ndarray:
        """Return the weight that a right layer applies."""
        return self.scale * W / self.norm(kind, W)

    def started(self, W: np.ndarray, rounds: int = 1) -> Made:
        """Make a dense layer with the known u and v of :func:`~minisn.conformance.probes.start`.

        Raises:
            NotImplementedError: u and v, or the rounds of a pass, cannot be set.
        """
        made = Made(self.adapter.make("dense", W.copy(), rounds), W.shape)
        self.ask("set_u", made, *probes.start())
        return made

    def try_out(self) -> None:
        """Make the first layer that can be made, dense if possible, and a pass.

        Raises:
            ConfigError: the adapter raises an error, or returns no weight: no clause has an answer.
        """
        reasons = []
        for kind in probes.KINDS:
            try:
                self.forward(self.make(probes.draw(kind), kind))
                return
            except NotImplementedError as reason:
                reasons.append(str(reason) or "NotImplementedError")
            except STOPPED as error:
                raise ConfigError(
                    f"{title(self.adapter)}: make({kind!r}, W, 1), then forward(layer, True): "
                    f"{told(error)[0]}"
                ) from error
        raise ConfigError(
            f"{title(self.adapter)}: make(kind, W, 1), then forward(layer, True), cannot be asked "
            f"of any kind of layer ({', '.join(probes.KINDS)}): {reasons[0]}"
        )

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of layers that can be made and asked for a pass."""
        found = []
        for kind in probes.KINDS:
            with suppress(*STOPPED):  # a clause of its own says so
                self.forward(self.make(probes.draw(kind), kind))
                found.append(kind)
        return found

    @cached_property
    def right(self) -> list[str]:
        """The kinds whose value is right, and dense."""
        found = []
        for kind in self.kinds:
            W = probes.draw(kind)
            B = self.forward(self.make(W, kind, ROUNDS))
            if kind == "dense" or gap(B, self.applied(kind, W)) < 1e-3:
                found.append(kind)
        return found

    @cached_property
    def pace(self) -> tuple[str, int] | None:
        """Order and number of rounds in a training pass, or None if they are unknown.

        A pass that reaches the singular vectors counts as :data:`CONVERGED` rounds.
        """
        W = probes.slow()
        try:
            B = self.forward(self.started(W))
        except NotImplementedError:
            return None
        if gap(B, self.applied("dense", W)) < 1e-5:
            return ORDERS[0], CONVERGED
        tried = paces(W, *probes.start(), most=200)
        for order, n, u, v in sorted(tried, key=lambda each: each[1]):  # fewest rounds first
            if gap(B, self.scale * W / (u @ W @ v)) < 1e-5:
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
    except STOPPED as error:  # a layer's error is a finding, whatever its kind
        return Result(each, BROKEN, float("inf"), *told(error))
    if found.error <= each.tolerance:
        return Result(each, KEPT, found.error, found.found, note=found.note)
    return Result(each, BROKEN, found.error, found.found, found.deviation, found.note)


def fact(adapter: Any, name: str, default: Any = "") -> Any:
    """Return what an adapter says of itself.

    Args:
        adapter: the adapter.
        name: name of an attribute.
        default: the answer if it has none.
    Raises:
        ConfigError: the adapter raises an error.
    """
    try:
        return getattr(adapter, name, default)
    except STOPPED as error:
        raise ConfigError(f"{type(adapter).__name__}: {name}: {told(error)[0]}") from error


def title(adapter: Any) -> str:
    """Return the name of an adapter, its own or that of its class, in characters that print."""
    name = str(fact(adapter, "name") or type(adapter).__name__)
    return name.encode("utf-8", "backslashreplace").decode()


def told(error: BaseException) -> tuple[str, str]:
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
