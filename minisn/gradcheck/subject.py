"""The function under test, from any library, as a function of one flat vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from ..errors import ConfigError, DTypeError, ShapeError
from .engines import Engine, Leaves, must_own
from .tree import as_numpy, flat_reals, leaves, matched, outputs_of, rebuilt


@dataclass(frozen=True)
class Piece:
    """One checked input: its name, its place among the leaves and in the flat vector."""

    name: str
    position: int
    shape: tuple[int, ...]
    part: slice


class Point:
    """The inputs: floating-point inputs vary, the others stay fixed.

    Args:
        inputs: a list or tuple of arguments, each an array, Tensor, number, or nested lists,
            tuples and dicts of these; anything else is the only argument.
        kwargs: keyword arguments, of the same kinds.
        parameters: a module's parameters by name, checked too.
    """

    def __init__(self, inputs: Any, kwargs: dict | None = None, parameters: dict | None = None):
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        self.args = [np.array(a, dtype=np.float64) if _numbers(a) else a for a in given]
        self.kwargs, self.parameters = kwargs or {}, parameters or {}
        named = [
            (f"input {i}{path}", leaf)
            for i, arg in enumerate(self.args)
            for path, leaf in leaves(arg)
        ]
        named += [
            (f"{key}{path}", leaf) for key, arg in self.kwargs.items() for path, leaf in leaves(arg)
        ]
        named += self.parameters.items()
        self.given = [leaf for _, leaf in named]
        self.pieces: list[Piece] = []
        parts: list[np.ndarray] = []
        for position, (name, given) in enumerate(named):
            array = _numeric(name, given)
            if array is not None:
                start = sum(p.size for p in parts)
                part = slice(start, start + array.size)
                self.pieces.append(Piece(name, position, array.shape, part))
                parts.append(array.astype(np.float64).reshape(-1))
        if not self.pieces:
            raise DTypeError("gradcheck: no input is floating point; pass float64 arrays")
        self.x = np.concatenate(parts)
        self.last = len(self.given) - len(self.parameters)

    def unflatten(self, flat: np.ndarray) -> list[np.ndarray]:
        """Cut a flat vector into arrays, one per checked input."""
        return [flat[p.part].reshape(p.shape).copy() for p in self.pieces]

    def arguments(self, arrays: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return arguments and keyword arguments, with new arrays for the checked inputs."""
        filled = list(self.given)
        for piece, array in zip(self.pieces, arrays, strict=True):
            filled[piece.position] = array
        values: Iterator[Any] = iter(filled)
        return [rebuilt(a, values) for a in self.args], rebuilt(self.kwargs, values)

    def claimed(self, result: Any) -> list[np.ndarray]:
        """Return the claimed gradients as a flat list, one for each checked input."""
        model = [*self.args, *self.kwargs.values()]
        if isinstance(result, dict) and result.keys() == self.kwargs.keys() and not self.args:
            result = [result[key] for key in self.kwargs]
        found = list(result) if isinstance(result, list | tuple) else [result]
        if len(model) == 1 and isinstance(model[0], list | tuple) and len(found) != 1:
            found = [result]
        if len(found) != len(self.pieces) or any(isinstance(f, list | tuple | dict) for f in found):
            varied = {p.position for p in self.pieces}
            floating, at = [], 0
            for arg in model:
                count = sum(1 for _ in leaves(arg))
                if varied & set(range(at, at + count)):
                    floating.append((arg, [at + i in varied for i in range(count)]))
                at += count
            found = _nested(found, floating, len(self.pieces))
        if any(c is None for c in found):
            raise DTypeError(
                "gradcheck: the gradient to check returned None, expected an array of each input's "
                "shape; return zeros for an input without effect"
            )
        return [_real(c, p.name) for c, p in zip(found, self.pieces, strict=True)]

    def locate(self, i: int) -> tuple[Piece, tuple[int, ...]]:
        """Return the input at a flat position, and the index of the entry there."""
        piece = next(p for p in self.pieces if p.part.start <= i < p.part.stop)
        where = np.unravel_index(i - piece.part.start, piece.shape)
        return piece, tuple(int(n) for n in where)

    def scale(self) -> np.ndarray:
        """Return the size of a change that matters, for each entry."""
        scale = np.ones_like(self.x)
        for p in self.pieces:
            values = np.abs(self.x[p.part])
            top = float(np.max(values, initial=0.0, where=np.isfinite(values)))
            typical = top * np.sqrt(np.mean((values / top) ** 2)) if top > 0 else 0.0
            scale[p.part] = np.maximum(values, typical) if typical > 0 else 1.0
        return 2.0 ** np.floor(np.log2(np.maximum(scale, 1e-290)))


def _numbers(arg: Any) -> bool:
    """Return whether an argument is a list of floats, nested or not, that stands for an array."""
    plain = isinstance(arg, list) and arg and all(isinstance(n, float) or _numbers(n) for n in arg)
    return bool(plain)


def _numeric(name: str, given: Any) -> np.ndarray | None:
    """Return an input that varies as an array; None for an input that stays fixed."""
    if callable(given) and not hasattr(given, "shape"):
        return None
    if str(getattr(given, "dtype", "")).startswith("key<"):  # of JAX's random numbers
        return None
    array = as_numpy(given)
    if array.dtype.kind == "c":
        raise DTypeError(f"gradcheck: {name} is complex; pass its real parts")
    return array if array.dtype.kind == "f" else None


def _real(claim: Any, name: str) -> np.ndarray:
    """Return the claimed gradient of an input as an array."""
    array = as_numpy(claim)
    if array.dtype.kind not in "fiub":
        got = f"an array of {array.dtype}" if array.ndim else type(claim).__name__
        raise DTypeError(
            f"gradcheck: the claimed gradient of {name} is {got}, expected a real array of its "
            "shape"
        )
    return array


def _nested(found: list[Any], floating: list[tuple[Any, list[bool]]], count: int) -> list[Any]:
    """Flatten the claims on several arguments, each nested like its argument."""
    if len(found) != len(floating):
        raise ShapeError(
            f"gradcheck: {count} floating-point inputs, but {len(found)} claimed "
            "gradients; return one for each"
        )
    pairs = zip(found, floating, strict=True)
    return [
        leaf
        for tree, (model, varies) in pairs
        for leaf, keep in zip(matched(tree, model), varies, strict=True)
        if keep
    ]


class Subject:
    """A function with a claimed gradient.

    Args:
        fn: the function.
        point: its inputs.
    """

    own = False
    """Whether the claim is the function's own gradient, not one written by hand."""

    def __init__(self, fn: Callable, point: Point):
        self.fn, self.point = fn, point
        self.model: Any = None
        self.varies = [True]
        self.shapes: list[tuple[int, ...]] = [()]
        self.names = [""]
        """The places of the outputs that can have a derivative, where there are several outputs."""
        self.spoiled: set[str] = set()
        """Names of the arrays that a call changed in place."""

    def value(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs, flat."""
        raise NotImplementedError

    def pull(self, x: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
        """Return the claimed gradients of the outputs' product with g, one for each input."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output; several outputs count as one flat vector."""
        one = len(self.shapes) == 1
        return self.shapes[0] if one else (sum(int(np.prod(s)) for s in self.shapes),)

    def g_last(self) -> Subject | None:
        """Return the subject whose backward gets g after the inputs; None without a vjp."""
        return None

    def place(self, row: int) -> str:
        """Return the name of a row, such as ``"output 1 [2, 0]"``; empty for a single number."""
        for name, shape in zip(self.names, self.shapes, strict=True):
            size = int(np.prod(shape))
            if row < size:
                index = [int(n) for n in np.unravel_index(row, shape)] if shape else ""
                named = f"{name} {index}".strip()
                return f"output {named}" if named else ""
            row -= size
        raise IndexError(row)

    def parts(self, g: np.ndarray) -> list[np.ndarray]:
        """Cut an incoming gradient into one array per output."""
        ends = np.cumsum([int(np.prod(s)) for s in self.shapes])[:-1]
        cut = np.split(np.asarray(g).reshape(-1), ends)
        return [c.reshape(s).copy() for c, s in zip(cut, self.shapes, strict=True)]

    def notice(self, arrays: list[np.ndarray], x: np.ndarray) -> None:
        """Note which inputs no longer have the values that a call was given."""
        for piece, now, then in zip(
            self.point.pieces, arrays, self.point.unflatten(x), strict=True
        ):
            if not np.array_equal(now, then, equal_nan=True):
                self.spoiled.add(piece.name)

    def notice_g(self, cut: list[np.ndarray], g: np.ndarray) -> None:
        """Note whether a call has changed its incoming gradient."""
        if not all(np.array_equal(a, b) for a, b in zip(cut, self.parts(g), strict=True)):
            self.spoiled.add("g, the incoming gradient,")

    def take(self, result: Any) -> list[Any]:
        """Return the outputs that can have a derivative; keep the result's nesting and shapes."""
        self.model = result
        names, outputs, self.varies = outputs_of(result)
        outputs = list(compress(outputs, self.varies))
        self.names = list(compress(names, self.varies)) if len(names) > 1 else [""]
        self.shapes = [np.shape(as_numpy(y)) for y in outputs]
        return outputs


class ArrayFunction(Subject):
    """A NumPy function with a gradient written by hand.

    Args:
        fn: maps arrays to arrays or numbers.
        point: its inputs.
        jacobian: ``jacobian(*inputs)`` returns, for each floating-point input, an array of the
            output's shape followed by the input's; or None.
        vjp: ``vjp(g, *inputs)`` returns the gradients of :math:`\\langle g, f\\rangle`; or None.
    """

    def __init__(self, fn: Callable, point: Point, jacobian: Callable | None, vjp: Callable | None):
        super().__init__(fn, point)
        self._jacobian, self._vjp = jacobian, vjp

    def value(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs, flat."""
        return flat_reals(self.take(self._call(self.fn, x)))

    def pull(self, x: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
        """Return the claimed gradients of the outputs' product with g, one for each input."""
        self.value(x)  # a backward written by hand may use values that its forward stored
        cut = self.parts(g)
        if self._vjp is None:
            if len(self.shapes) > 1:
                raise ConfigError(
                    f"gradcheck: fn returns {len(self.shapes)} outputs, but grad= "
                    "needs a single output; pass vjp=lambda g, *inputs: ..., "
                    "with g nested like the outputs"
                )
            jacobians = self.point.claimed(self._call(self._jacobian, x))
            return [self._contract(cut[0], np.array(j, np.float64)) for j in jacobians]
        parts = iter(cut)
        gs = iter([next(parts) if varies else 0.0 for varies in self.varies])
        result = self._call(self._vjp, x, rebuilt(self.model, gs))
        # a copy: a backward may use one buffer for all its results
        claims = [np.array(c) for c in self.point.claimed(result)]
        self.notice_g(cut, g)
        return claims

    def g_last(self) -> Subject | None:
        """Return the subject whose backward gets g after the inputs; None without a vjp."""
        vjp = self._vjp
        if vjp is None:
            return None
        return ArrayFunction(
            self.fn, self.point, None, lambda g, *xs, **named: vjp(*xs, g, **named)
        )

    def _call(self, fn: Callable | None, x: np.ndarray, *before: Any) -> Any:
        assert fn is not None
        arrays = self.point.unflatten(x)
        args, kwargs = self.point.arguments(arrays)
        result = fn(*before, *args, **kwargs)
        result = rebuilt(result, iter([_kept(leaf) for _, leaf in leaves(result)]))
        self.notice(arrays, x)
        return result

    def _contract(self, g: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        if jacobian.shape[: g.ndim] != g.shape:
            raise ShapeError(
                f"gradcheck: fn returns shape {g.shape}, so grad must return arrays of that shape "
                f"followed by the input's, got {jacobian.shape}; or pass vjp=lambda g, *inputs: ..."
            )
        if g.ndim and jacobian.shape == g.shape:
            raise ShapeError(
                f"gradcheck: fn returns shape {g.shape}, and grad an array of that shape alone, "
                "not followed by the input's; an elementwise derivative d is "
                "vjp=lambda g, *inputs: g * d, or grad= with np.diag(d)"
            )
        return np.tensordot(g, jacobian, axes=g.ndim)


def _kept(leaf: Any) -> Any:
    """Return a copy of an array, because the function may overwrite it at its next call."""
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


class EngineFunction(Subject):
    """A function that an engine differentiates; the claim is the engine's gradient.

    Args:
        engine: the engine of the function.
        fn: maps a list of leaves to a list of leaves.
        point: its inputs.
        named: the names of fn's outputs at its last call, if they are not their numbers.
    """

    own = True

    def __init__(
        self,
        engine: Engine,
        fn: Callable[[Leaves], Leaves],
        point: Point,
        named: list[str] | None = None,
    ):
        super().__init__(fn, point)
        self.engine, self.named = engine, named

    def lifted(self, arrays: list[np.ndarray]) -> Leaves:
        """Return float64 leaves with these values; a module's parameter is itself the leaf."""
        made: Leaves = []
        for piece, array in zip(self.point.pieces, arrays, strict=True):
            given = self.point.given[piece.position]
            owned = 0 <= piece.position - self.point.last < len(self.point.parameters)
            made.append(
                self.engine.leads(given, array) if owned else self.engine.lift(array, given)
            )
        return made

    def value(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs, flat."""
        arrays = self.point.unflatten(x)
        with self.engine.double():
            outputs = self.take(self.fn(self.lifted(arrays)))
            self.names = self.named or self.names
            must_own(self.engine, outputs)
            self.notice(arrays, x)
            return flat_reals(outputs)

    def pull(self, x: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
        """Return the gradients of the outputs' product with g."""
        arrays, cut = self.point.unflatten(x), self.parts(g)
        with self.engine.double():
            found = self.engine.vjp(self.fn, self.lifted(arrays), None, cut)
            self.notice(arrays, x)
            self.notice_g(cut, g)
            return [np.array(as_numpy(f)) for f in found]


def pullback(inner: EngineFunction, gs: list[np.ndarray]) -> EngineFunction:
    """Return the gradient of a function as a function of its inputs and incoming gradients.

    The result has a gradient of the next order, so calls can be nested.

    Args:
        inner: the function.
        gs: the incoming gradients of the point, one for each output.
    """
    n, engine, fn, point = len(inner.point.pieces), inner.engine, inner.fn, inner.point
    seeds = {f"grad_output{i if len(gs) > 1 else ''}": g for i, g in enumerate(gs)}
    grown = Point.__new__(Point)
    grown.__dict__.update(point.__dict__)
    start = point.x.size
    grown.pieces, grown.given = list(point.pieces), list(point.given)
    for name, g in seeds.items():
        grown.pieces.append(Piece(name, len(grown.given), g.shape, slice(start, start + g.size)))
        with engine.double():
            grown.given.append(engine.lift(g, point.given[point.pieces[0].position]))
        start += g.size
    grown.x = np.concatenate([point.x, *(g.reshape(-1) for g in gs)])
    return EngineFunction(engine, lambda xs: engine.vjp(fn, xs[:n], xs[n:]), grown)
