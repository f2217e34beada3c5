"""What is checked, whatever it is made of, as a function of one flat vector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..backend import is_array, namespace, to_numpy
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, grad


@dataclass(frozen=True)
class Piece:
    """One checked input: its name, its place among the arguments and in the flat vector."""

    name: str
    position: int
    shape: tuple[int, ...]
    part: slice


class Point:
    """The inputs, of which the floating-point ones vary and the others stay fixed.

    Args:
        inputs: one array, Tensor or number, or a list or tuple of them.
    """

    def __init__(self, inputs: Any):
        self.given = several(inputs)
        self.pieces: list[Piece] = []
        parts: list[np.ndarray] = []
        start = 0
        for position, given in enumerate(self.given):
            array = as_numpy(given)
            if array.dtype.kind == "c":
                raise DTypeError(f"gradcheck: input {position} is complex; pass its real parts")
            if array.dtype.kind == "f":
                part = slice(start, start + array.size)
                self.pieces.append(Piece(f"input {position}", position, array.shape, part))
                parts.append(array.astype(np.float64).reshape(-1))
                start += array.size
        if not self.pieces:
            raise DTypeError("gradcheck: no input is floating point; pass float64 arrays")
        self.x = np.concatenate(parts)

    def unflatten(self, flat: np.ndarray) -> list[np.ndarray]:
        """Cut a flat vector into arrays, one per checked input."""
        return [flat[p.part].reshape(p.shape).copy() for p in self.pieces]

    def arguments(self, arrays: Sequence[Any]) -> list[Any]:
        """Put checked inputs back among the fixed ones."""
        arguments = list(self.given)
        for piece, array in zip(self.pieces, arrays, strict=True):
            arguments[piece.position] = array
        return arguments

    def locate(self, i: int) -> tuple[Piece, tuple[int, ...]]:
        """Return the input that a flat position belongs to, and the entry there."""
        piece = next(p for p in self.pieces if p.part.start <= i < p.part.stop)
        where = np.unravel_index(i - piece.part.start, piece.shape)
        return piece, tuple(int(n) for n in where)

    def scale(self) -> np.ndarray:
        """Return the size of a change that matters, for each entry."""
        scale = np.ones_like(self.x)
        for p in self.pieces:
            values = np.abs(self.x[p.part])
            typical = np.sqrt(np.mean(values**2)) if values.size else 0.0
            scale[p.part] = np.maximum(values, typical) if typical > 0 else 1.0
        return 2.0 ** np.floor(np.log2(scale))


def as_numpy(value: Any) -> np.ndarray:
    """Return a Tensor's, an array's or a number's values as a NumPy array."""
    if isinstance(value, Tensor):
        value = value.array
    return to_numpy(value) if is_array(value) else np.asarray(value)


def several(result: Any) -> list[Any]:
    """Make a list of one result or of several."""
    return list(result) if isinstance(result, list | tuple) else [result]


class ArrayFunction:
    """A NumPy function with a claimed gradient.

    Args:
        fn: arrays in, an array or a number out.
        point: its inputs.
        jacobian: ``jacobian(*inputs)``, for each floating-point input the derivatives, of the
            output's shape followed by the input's; or None.
        vjp: ``vjp(g, *inputs)``, the gradients of :math:`\\langle g, f\\rangle`; or None.
    """

    def __init__(self, fn: Callable, point: Point, jacobian: Callable | None, vjp: Callable | None):
        self.fn, self.point, self._jacobian, self._vjp = fn, point, jacobian, vjp
        self.shape: tuple[int, ...] = ()
        self.spoiled: set[str] = set()
        """Names of inputs that a call changed in place."""

    def value(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs, flat."""
        result = self._call(self.fn, x)
        if isinstance(result, list | tuple) or as_numpy(result).dtype.kind not in "fiu":
            raise DTypeError(f"gradcheck: fn returned {type(result).__name__}, expected one real "
                             "array or number")  # fmt: skip
        y = as_numpy(result)
        self.shape = y.shape
        return y.astype(np.float64).reshape(-1)

    def pull(self, x: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
        """Return the claimed gradients of the outputs' product with g, as they came."""
        self.value(x)  # a backward written by hand may use what its forward left behind
        g = g.reshape(self.shape)
        claimed = self._call(self._vjp, x, g) if self._vjp else self._call(self._jacobian, x)
        arrays = [as_numpy(c) for c in several(claimed)]
        if len(arrays) != len(self.point.pieces):
            raise ShapeError(f"gradcheck: {len(self.point.pieces)} floating-point inputs, but "
                             f"{len(arrays)} claimed gradients; return one for each")  # fmt: skip
        return arrays if self._vjp else [self._contract(g, a) for a in arrays]

    def _call(self, fn: Callable | None, x: np.ndarray, *before: np.ndarray) -> Any:
        assert fn is not None
        arrays, kept = self.point.unflatten(x), self.point.unflatten(x)
        result = fn(*(b.copy() for b in before), *self.point.arguments(arrays))
        for piece, now, then in zip(self.point.pieces, arrays, kept, strict=True):
            if not np.array_equal(now, then, equal_nan=True):
                self.spoiled.add(piece.name)
        return result

    def _contract(self, g: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        if jacobian.shape[: g.ndim] != g.shape:
            raise ShapeError(
                f"gradcheck: fn returns shape {g.shape}, so grad must return arrays of that shape "
                f"followed by the input's, got {jacobian.shape}; or pass vjp=lambda g, *inputs: ..."
            )
        return np.tensordot(g, jacobian, axes=g.ndim)


class TensorFunction:
    """A function of Tensors; its claim is what the engine differentiates."""

    def __init__(self, fn: Callable, point: Point):
        self.fn, self.point = fn, point
        self.shape: tuple[int, ...] = ()
        self.spoiled: set[str] = set()

    def value(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs, flat."""
        return as_numpy(self.forward(self.tensors(x))).astype(np.float64).reshape(-1)

    def pull(self, x: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
        """Return the gradients of the outputs' product with g."""
        xs = self.tensors(x)
        y = self.forward(xs)
        if not y.requires_grad:
            return [np.zeros(p.shape) for p in self.point.pieces]
        return [as_numpy(t) for t in grad(y, xs, grad_output=like(g.reshape(y.shape), y))]

    def tensors(self, x: np.ndarray) -> list[Tensor]:
        """Make float64 Tensors of a flat vector, in the array library of the inputs."""
        given = [self.point.given[p.position] for p in self.point.pieces]
        arrays = self.point.unflatten(x)
        return [like(a, t, requires_grad=True) for a, t in zip(arrays, given, strict=True)]

    def forward(self, xs: list[Tensor]) -> Tensor:
        """Apply fn, and say so if it is not made of Tensors."""
        y = self.fn(*self.point.arguments(xs))
        if not isinstance(y, Tensor):
            raise DTypeError(
                f"gradcheck: fn returned {type(y).__name__}, expected one Tensor; for a function "
                "of arrays pass its gradient too, as grad= or vjp="
            )
        self.shape = y.shape
        return y


def like(array: np.ndarray, other: Any, requires_grad: bool = False) -> Tensor:
    """Make a Tensor in the array library of another; a result takes its dtype too."""
    held = other.array if isinstance(other, Tensor) else other
    xp = namespace(held) if is_array(held) else np
    dtype = held.dtype if not requires_grad else xp.float64
    return Tensor(xp.asarray(array, dtype=dtype), requires_grad=requires_grad)


class Gradient:
    """The first-order gradient as a function of the inputs and of the incoming gradient.

    Its claim is what the engine gets by differentiating its own backward walk.

    Args:
        inner: the function of Tensors.
        g: the incoming gradient to start from, of the shape of the function's result.
    """

    def __init__(self, inner: TensorFunction, g: np.ndarray):
        self.inner, self.spoiled = inner, inner.spoiled
        self.shape = inner.point.x.shape
        self.point = Point([*inner.point.given, like(g, inner.forward(inner.tensors(inner.point.x)),
                                                     requires_grad=True)])  # fmt: skip
        last = self.point.pieces[-1]
        self.point.pieces[-1] = Piece("grad_output", last.position, last.shape, last.part)

    def value(self, x: np.ndarray) -> np.ndarray:
        """Return the gradients, flat."""
        *_, gradients = self._walk(x, create_graph=False)
        return np.concatenate([as_numpy(t).astype(np.float64).reshape(-1) for t in gradients])

    def pull(self, x: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
        """Return the gradients of the product of the gradient with a direction g."""
        xs, seed, gradients = self._walk(x, create_graph=True)
        products = [(t * like(v, t)).sum()
                    for t, v in zip(gradients, self.inner.point.unflatten(g), strict=True)
                    if t.requires_grad]  # fmt: skip
        if not products:
            return [np.zeros(p.shape) for p in self.point.pieces]
        total = products[0]
        for product in products[1:]:
            total = total + product
        return [as_numpy(t) for t in grad(total, [*xs, seed])]

    def _walk(self, x: np.ndarray, create_graph: bool) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        size = self.inner.point.x.size
        xs = self.inner.tensors(x[:size])
        y = self.inner.forward(xs)
        seed = like(x[size:].reshape(y.shape), y, requires_grad=True)
        if not y.requires_grad:
            return xs, seed, [t * 0.0 for t in xs]
        cotangent = seed if seed.dtype == y.dtype else ops.astype(seed, y.dtype)
        return xs, seed, grad(y, xs, grad_output=cotangent, create_graph=create_graph)


Subject = ArrayFunction | TensorFunction | Gradient
