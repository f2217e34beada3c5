"""The engine: tensors, primitives with their rules, and the backward walk.

A Tensor holds its array. If an input of the call that computed it requires a gradient, the Tensor
also holds its *node*, the recorded call. A node points to the nodes of its inputs and holds only
the arrays that its rules read, so Python frees every other array. Nothing points from an input to
a result, so a graph is freed together with its result.

A primitive is a forward computation on arrays and, for each input, a *rule*: the
vector-Jacobian product, written in Tensor operations. Because rules are made of
operations that have rules, a gradient can itself be differentiated, to any order:
that is the whole of ``create_graph=True``.

The parameters of a rule name what it reads. The first is the gradient of the result. Then ``y`` is
the result, the name of an input is that input, the name with ``_shape`` after it is the input's
shape, and any other name is a setting: ``multiply`` has ``lambda g, b: g * b`` for a.
"""

# mypy: disable-error-code="has-type"
# (a rule may name the primitive that it belongs to)
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self, overload

import numpy as np

from . import kernels
from .answers import Answers
from .arguments import axes_of, kept_shape
from .backend import (
    Array,
    bring,
    check_together,
    check_writable,
    is_array,
    is_numpy,
    namespace,
    near,
    to_numpy,
)
from .errors import DTypeError, GraphError, MatrixError, MinisnError, ShapeError
from .recording import is_recording, record
from .recording import no_grad as no_grad

Rule = Callable[..., "Tensor"]

RULES: dict[str, Primitive] = {}
"""The public rule table: every primitive by name."""


class Tensor(Answers):
    """An array that remembers how it was computed.

    Args:
        data: an array of any library that follows the array API standard, a Python number or
            nested lists (numbers and lists become NumPy arrays, with floats as float64). The
            Tensor holds a copy, so later changes of ``data`` cannot spoil a gradient.
        requires_grad: record what is computed from this tensor.

    Raises:
        DTypeError: ``requires_grad`` with a dtype that is not floating point, or neither True nor
            False.
    """

    __slots__ = ("__weakref__", "_array", "_grad", "_requires_grad", "_version", "node")
    before: ClassVar[tuple[Vertex | None, ...]] = ()

    def __init__(self, data: Any, requires_grad: bool = False):
        if isinstance(data, Tensor):
            data = data._array
        try:
            check_writable(data)
            array = namespace(data).asarray(data, copy=True) if is_array(data) else np.array(data)
        except ValueError as error:
            raise ShapeError(f"cannot make a tensor of lists of unequal lengths: {error}") from None
        if isinstance(data, np.ma.MaskedArray):
            raise DTypeError("a tensor cannot hold a masked array; pass data.filled(...)")
        if is_numpy(array) and array.dtype.kind not in "biufc":
            raise DTypeError(f"cannot make a tensor of {type(data).__name__}: expected numbers")
        if is_numpy(array) and not array.dtype.isnative:  # for example from another machine's file
            array = array.astype(array.dtype.newbyteorder("="))
        self._set(array, requires_grad)

    def _set(self, array: Array, requires_grad: bool) -> None:
        self._requires_grad: bool | None = False
        self._array = array
        self._version = 0
        self.requires_grad = requires_grad
        self._grad: Tensor | None = None
        self.node: Node | None = None

    @classmethod
    def wrap(cls, array: Array, requires_grad: bool = False) -> Self:
        """Make a tensor around an array without a copy; the caller must not change the array."""
        self = cls.__new__(cls)
        self._set(array, requires_grad)
        return self

    @classmethod
    def computed(cls, array: Array, node: Node) -> Tensor:
        """Make the tensor of a recorded call around the array that the call computed."""
        self = cls.wrap(array)
        self.node, self._requires_grad = node, True
        return self

    # -- what it holds ------------------------------------------------------

    @property
    def array(self) -> Array:
        """The values; for NumPy a read-only view, so that no write can spoil a graph."""
        if is_numpy(self._array):
            view = self._array.view()
            view.flags.writeable = False
            return view
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._array.size

    @property
    def dtype(self) -> Any:
        """Data type of the entries."""
        return self._array.dtype

    @property
    def op(self) -> Primitive | None:
        """The operation that computed this tensor, if it was recorded."""
        return self.node.op if self.node else None

    @property
    def vertex(self) -> Vertex:
        """The vertex of this tensor in the graph: its node, or the tensor itself if a leaf."""
        return self.node or self

    @property
    def T(self) -> Tensor:
        """The tensor with its axes reversed."""
        return RULES["transpose"](self)

    def numpy(self) -> np.ndarray:
        """Return a copy of the values as a NumPy array."""
        return np.array(to_numpy(self._array))

    def detach(self) -> Tensor:
        """Return the same values cut off from the graph."""
        return Tensor.wrap(self._array)

    @property
    def version(self) -> int:
        """How often a leaf has received new values."""
        return self._version

    def assign(self, array: Array) -> None:
        """Give a leaf new values; older graphs that read the leaf then raise an error.

        Args:
            array: the new values, of the same shape, dtype, library and device; copied.
        """
        if self.op is not None:
            raise GraphError(
                f"assign: this tensor was computed by {self.op.name}; only leaves "
                "(parameters, inputs) can receive new values"
            )
        array = array._array if isinstance(array, Tensor) else array
        check_together("assign", (self._array, array))
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ShapeError(
                f"assign: expected shape {self.shape} of {self.dtype}, "
                f"got {array.shape} of {array.dtype}"
            )
        self.reset(near(self._array).asarray(array, copy=True))

    def reset(self, array: Array) -> None:
        """Give a leaf an array of any shape, library and dtype: assign without checks and copy."""
        self._array = array
        self._version += 1

    # -- gradients as attributes --------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether what is computed from this tensor is recorded."""
        return self._requires_grad is True

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        if type(on) is not bool and not isinstance(on, np.bool):
            raise DTypeError(
                f"requires_grad: expected True or False, got {on!r:.60}; if a dtype was meant, "
                "convert the tensor with .astype(dtype)"
            )
        if on and not is_floating(self._array):
            raise DTypeError(
                f"a gradient needs a floating-point tensor, got dtype {self.dtype}; "
                "convert the data to float32 or float64"
            )
        # None, if it is switched off: the tensor stays a parameter
        self._requires_grad = True if on else (None if self.is_parameter else False)

    @property
    def is_parameter(self) -> bool:
        """Whether this is a leaf that has a gradient, or had one until it was frozen."""
        return self._requires_grad is not False and self.op is None

    @property
    def grad(self) -> Tensor | None:
        """The sum of the gradients that ``backward()`` has computed, or None."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            value = as_tensors("grad", (self, value))[1]
            if value.shape != self.shape:
                raise ShapeError(
                    f"grad: expected a gradient of shape {self.shape}, got {value.shape}; to clear "
                    "it, set None"
                )
            value = value if value.dtype == self.dtype else astype(value, self.dtype)
        self._grad = value

    def backward(self, grad_output: Any = None) -> None:
        """Add this tensor's gradient to ``.grad`` of every leaf it was computed from."""
        behind = _graph(self.vertex)
        leaves = [v for v in behind if isinstance(v, Tensor) and (v.requires_grad or v is self)]
        for leaf, g in zip(leaves, grad(self, leaves, grad_output), strict=True):
            leaf._grad = g if leaf._grad is None else Tensor.wrap(leaf._grad._array + g._array)

    # -- further operators; those of two numbers are in answers.py ------------

    def __neg__(self) -> Tensor:
        return RULES["negative"](self)

    def __getitem__(self, index: Any) -> Tensor:
        return RULES["getitem"](self, index=index)

    def __setitem__(self, index: Any, value: Any = None) -> None:
        raise GraphError(
            "tensors are not changed in place: build a new one (where, concat, pad), "
            "or give a leaf new values with assign()"
        )

    __delitem__ = __setitem__

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Sum over axes; see :func:`minisn.tensor.sum`."""
        return sum(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """Return the same entries in another shape; see :func:`minisn.tensor.reshape`."""
        return reshape(self, shape=shape[0] if len(shape) == 1 else shape)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len: a tensor without axes has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        made = f", op={self.op.name}" if self.op else ""
        grad_part = ", requires_grad=True" if self.requires_grad and not self.op else ""
        return f"Tensor({self._array}, dtype={self.dtype}{made}{grad_part})"


def is_floating(array: Array) -> bool:
    """Return whether an array holds real floating-point numbers."""
    if is_numpy(array):
        return array.dtype.kind == "f"
    return bool(namespace(array).isdtype(array.dtype, "real floating"))


class Node:
    """A recorded call: the operation, its settings, and the arrays that its rules read.

    Args:
        op: the operation.
        inputs: the tensors that the operation was called with.
        params: the settings of the call.
        y: the result.
        saved: what the forward of a fused operation keeps for its backward.
    """

    __slots__ = ("before", "dtypes", "kept", "op", "params", "saved", "shapes")

    def __init__(
        self,
        op: Primitive,
        inputs: tuple[Tensor, ...],
        params: dict[str, Any],
        y: Array,
        saved: Any = None,
    ):
        self.op, self.params, self.saved = op, params, saved
        self.before = tuple(t.vertex if t.requires_grad else None for t in inputs)
        self.shapes = tuple(t.shape for t in inputs)
        self.dtypes = tuple(t.dtype for t in inputs)
        self.kept: dict[int, Any] = {}
        for place in op.reads(self.before):
            if place == RESULT:
                self.kept[RESULT] = y
            elif (t := inputs[place]).node is None:
                self.kept[place] = t, t._version
            else:
                self.kept[place] = t._array

    def input(self, place: int) -> Tensor:
        """Return an input that was kept, as a tensor of the graph.

        Raises:
            GraphError: the input is a leaf that has received new values since.
        """
        kept, vertex = self.kept[place], self.before[place]
        if not isinstance(kept, tuple):
            if vertex is None:  # computed under no_grad() or without a gradient
                return Tensor.wrap(kept)
            assert isinstance(vertex, Node)
            return Tensor.computed(kept, vertex)
        leaf, version = kept
        if leaf._version != version:
            raise GraphError(
                f"{self.op.name}: its input {place} of shape {leaf.shape} received new values "
                "after this graph was recorded (an optimizer step?); run the forward pass again"
            )
        return leaf

    def read(self, place: int) -> Tensor:
        """Return an input or the result, whichever was kept at this place."""
        return Tensor.computed(self.kept[RESULT], self) if place == RESULT else self.input(place)

    def fact(self, name: str, position: int) -> Any:
        """Return a setting, an input's shape, or the position or shapes for a variadic rule."""
        known = {"position": position, "shapes": self.shapes, **self.params}
        if name in known:
            return known[name]
        return self.shapes[self.op.names.index(name.removesuffix("_shape"))]


Vertex = Node | Tensor
"""A vertex of a graph: a recorded call, or a leaf."""

RESULT = -1
"""The place of the result; the places of inputs count from 0."""


class _Reading:
    """A rule and what it reads: inputs and result by place, shapes and settings by name."""

    def __init__(self, rule: Rule, inputs: Sequence[str]):
        names = list(inspect.signature(rule).parameters)[1:]
        self.rule = rule
        self.places = {n: inputs.index(n) for n in names if n in inputs}
        if "y" in names and "y" not in inputs:
            self.places["y"] = RESULT
        self.others = [n for n in names if n not in self.places]

    def __call__(self, node: Node, position: int, g: Tensor) -> Tensor:
        """Apply the rule of one input."""
        tensors = {name: node.read(place) for name, place in self.places.items()}
        return self.rule(g, **tensors, **{n: node.fact(n, position) for n in self.others})


class Primitive:
    """A differentiable operation: a forward on arrays and one rule per input.

    A call computes the result. If an input requires a gradient, the call is recorded.

    Args:
        forward: ``forward(*arrays, **params) -> array``.
        rules: one per input, ``rule(g, ...) -> Tensor``, whose parameters name what it reads;
            None if no gradient exists. A variadic operation has a single rule, which may also
            read the ``shapes`` of the inputs and the ``position`` of the one to differentiate.
        variadic: the number of inputs varies.
    """

    def __init__(self, forward: Callable[..., Array], rules: Sequence[Rule | None], variadic: bool):
        functools.update_wrapper(self, forward)
        self.name = forward.__name__.lstrip("_")
        self.forward = forward
        self.rules = tuple(rules)
        self.variadic = variadic
        self._signature = inspect.signature(forward)
        parameters = self._signature.parameters.values()
        names = list(self._signature.parameters)
        self.names = [] if variadic else names[: len(rules)]
        self._settings = [] if variadic else names[len(rules) :]
        self._defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self._readings: dict[Rule, _Reading] = {}
        self._reads: dict[tuple[bool, ...], tuple[int, ...]] = {}

    def reads(self, before: tuple[Vertex | None, ...]) -> tuple[int, ...]:
        """Return the places that the rules read, given the vertex of each input, or None."""
        wanted = () if self.variadic else tuple(vertex is not None for vertex in before)
        if wanted not in self._reads:
            readings = [self._reading(place) for place, asked in enumerate(wanted) if asked]
            places = {place for r in readings if r for place in r.places.values()}
            self._reads[wanted] = tuple(sorted(places))
        return self._reads[wanted]

    def _reading(self, position: int) -> _Reading | None:
        rule = self.rules[0 if self.variadic else position]
        if rule is not None and rule not in self._readings:
            self._readings[rule] = _Reading(rule, self.names)
        return rule and self._readings[rule]

    def pull(
        self, node: Node, positions: Sequence[int], g: Tensor, create_graph: bool
    ) -> list[Tensor | None]:
        """Apply the rules of some inputs."""
        found = []
        for position in positions:
            reading = self._reading(position)
            found.append(reading(node, position, g) if reading else None)
        return found

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        if not self.variadic and len(args) != len(self.rules):
            args, params = self._arrange(args, params)
        params = {name: _setting(value) for name, value in {**self._defaults, **params}.items()}
        if not isinstance(params.get("keepdims", False), bool | np.bool):
            raise DTypeError(
                f"{self.name}: keepdims: expected True or False, got {params['keepdims']!r:.60}; "
                "several axes go in a tuple, axis=(0, 1)"
            )
        inputs = as_tensors(self.name, args)
        array, saved = self._compute(inputs, params)
        if is_recording() and any(t.requires_grad for t in inputs):
            if is_floating(array):
                return Tensor.computed(array, Node(self, inputs, params, array, saved))
            if is_numpy(array) and array.dtype.kind == "c":
                raise DTypeError(
                    f"{self.name}: a complex result cannot carry a gradient; compute with the real "
                    "and the imaginary part, or pass t.detach()"
                )
        return Tensor.wrap(array)

    def _arrange(self, args: Sequence[Any], params: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Separate inputs from settings, each passed by place or by name."""
        extra = args[len(self.rules) :]
        names = self._settings[: len(extra)]
        if 0 < len(extra) == len(names) and not any(name in params for name in names):
            return args[: len(self.rules)], {**params, **dict(zip(names, extra, strict=True))}
        try:
            given = self._signature.bind(*args, **params).arguments
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        return [given.pop(name) for name in list(given)[: len(self.rules)]], given

    def _compute(self, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> tuple[Array, Any]:
        """Run the forward; name operation and shapes in any error of the array library."""
        try:
            result, saved = self._run([t._array for t in inputs], params)
        except MinisnError:
            raise
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            raise _named_error(self.name, inputs, error) from error
        # reductions give NumPy scalars: make every result an array
        return np.asarray(result) if isinstance(result, np.generic) else result, saved

    def _run(self, arrays: list[Array], params: dict[str, Any]) -> tuple[Array, Any]:
        return self.forward(*arrays, **params), None

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __reduce__(self) -> Any:
        """Copy and pickle a primitive by name: the table holds the only instance."""
        return _named, (self.name,)


def _named_error(name: str, inputs: Iterable[Tensor], error: Exception) -> MinisnError:
    """Return the library's own error for one of an array library; it names the operation."""
    if isinstance(error, TypeError | OverflowError):
        dtypes = ", ".join(str(t.dtype) for t in inputs)
        return DTypeError(f"{name}: given dtypes {dtypes}: {error}")
    found = f"{name}: given shapes {', '.join(str(t.shape) for t in inputs)}: {error}"
    if not isinstance(error, np.linalg.LinAlgError) or "must be" in found:
        return ShapeError(found)
    return MatrixError(f"{found}; look for a NaN, or add a small multiple of the identity")


def _named(name: str) -> Primitive:
    return RULES[name]


class Fused(Primitive):
    """An operation composed of others, with a fast form that computes on arrays.

    A walk that records differentiates the composition, to any order. Any other walk runs the
    fast backward, which therefore needs no derivative.

    Args:
        composition: the definition of the operation, in Tensor operations.
        inputs: names of its first parameters, those with a gradient.
        forward: ``forward(*arrays, **params) -> (array, saved)``; ``saved`` is for the backward.
        backward: ``backward(g, saved, *arrays, **params) -> arrays``, a gradient for each input.
    """

    def __init__(
        self,
        composition: Callable[..., Tensor],
        inputs: Sequence[str],
        forward: Callable[..., tuple[Array, Any]],
        backward: Callable[..., Sequence[Array | None]],
    ):
        super().__init__(composition, [None] * len(inputs), variadic=False)
        self.composition, self.forward, self.backward = composition, forward, backward

    def reads(self, before: tuple[Vertex | None, ...]) -> tuple[int, ...]:
        """Return the places of all inputs, because the composition needs them."""
        return tuple(range(len(before)))

    def _run(self, arrays: list[Array], params: dict[str, Any]) -> tuple[Array, Any]:
        return self.forward(*arrays, **params)

    def pull(
        self, node: Node, positions: Sequence[int], g: Tensor, create_graph: bool
    ) -> list[Tensor | None]:
        """Differentiate the composition if the walk records; else run the fast backward."""
        inputs = [node.input(place) for place in range(len(self.rules))]
        if create_graph:
            y = self.composition(*inputs, **node.params)
            ends = [inputs[p].vertex for p in positions]
            found = _walk(y.vertex, g, ends, True, partial=True)
            return [found.pop(id(end), None) for end in ends]  # once for a tensor in two places
        arrays = [t._array for t in inputs]
        pulled = self.backward(g._array, node.saved, *arrays, **node.params)
        return [Tensor.wrap(pulled[p]) for p in positions]


def fused(
    *inputs: str,
    forward: Callable[..., tuple[Array, Any]],
    backward: Callable[..., Sequence[Array | None]],
) -> Callable[[Callable[..., Tensor]], Fused]:
    """Give a function of tensors a fast form (see :class:`Fused`) and enter it in the table."""

    return lambda composition: _enter(Fused(composition, inputs, forward, backward))


def _enter(made: Primitive) -> Any:
    if made.name in RULES:
        raise ValueError(f"a primitive named {made.name} exists already")
    RULES[made.name] = made
    return made


def primitive(*rules: Rule | None, variadic: bool = False) -> Callable[..., Primitive]:
    """Turn a forward function into a primitive with these rules and enter it in the table."""

    return lambda forward: _enter(Primitive(forward, rules, variadic))


def _setting(value: Any) -> Any:
    """Copy a setting, so that no later change spoils a gradient; unwrap NumPy scalars."""
    if value is None or type(value) in (int, float, bool, slice):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return value._array
    if isinstance(value, tuple):
        return tuple(_setting(v) for v in value)
    if isinstance(value, list):
        return [_setting(v) for v in value]
    return namespace(value).asarray(value, copy=True) if is_array(value) else value


def as_tensors(name: str, args: Sequence[Any]) -> tuple[Tensor, ...]:
    """Make every argument a Tensor; numbers and lists go to the library of the arrays.

    A Python number takes the dtype of the arrays too, if it fits.

    Raises:
        DTypeError: the arrays are in two places, or an argument holds no numbers.
    """
    if all(isinstance(a, Tensor) for a in args):
        tensors = tuple(args)
    else:
        arrays = [a._array for a in args if isinstance(a, Tensor)]
        arrays = arrays or [a for a in args if is_array(a)] or [np.zeros(())]
        beside = next((a for a in arrays if is_floating(a)), arrays[0])
        tensors = tuple(a if isinstance(a, Tensor) else _constant(name, a, beside) for a in args)
    if len(tensors) > 1:
        check_together(name, [t._array for t in tensors])
    return tensors


def as_tensor(value: Any) -> Tensor:
    """Return a tensor as it is; make one from an array, a number or nested lists."""
    return value if isinstance(value, Tensor) else Tensor(value)


def _constant(name: str, value: Any, beside: Array) -> Tensor:
    if isinstance(value, np.generic):
        if value.dtype.kind in "iuf" and is_numpy(beside) and not is_floating(beside):
            return Tensor.wrap(np.asarray(value))  # NumPy promotes whole numbers of two types
        value = value.item()
    if isinstance(value, int | float):
        dtype = beside.dtype if is_floating(beside) else _fitting(name, value, beside)
        return Tensor.wrap(near(beside).full((), value, dtype=dtype))
    if is_array(value):
        return Tensor(value)
    if isinstance(value, list | tuple):
        return Tensor.wrap(bring(Tensor(value)._array, beside))
    kind = type(value)
    kind_name = f"{kind.__module__}.{kind.__name__}".removeprefix("builtins.")
    raise DTypeError(f"{name}: expected a Tensor, an array or a number, got {kind_name}")


def _fitting(name: str, value: float, beside: Array) -> Any:
    """Return the dtype that a number takes beside integers or booleans."""
    xp, dtype = namespace(beside), beside.dtype
    if isinstance(value, bool):
        return dtype
    if isinstance(value, float) and xp.isdtype(dtype, ("bool", "integral")):
        return xp.float64
    if xp.isdtype(dtype, "bool"):  # booleans cannot hold a number
        dtype = xp.int64
    if xp.isdtype(dtype, "integral"):
        limits = xp.iinfo(dtype)
        if not limits.min <= value <= limits.max:
            raise DTypeError(
                f"{name}: the number {value} does not fit a tensor of dtype {beside.dtype}; "
                "convert the tensor to float32 or float64 first, or to a larger integer, "
                "with .astype"
            )
    return dtype


# -- the primitives that the walk itself needs --------------------------------


@primitive(lambda g: g, lambda g: g)
def add(a, b):
    r"""Add, with broadcasting.

    .. math:: y = a + b, \qquad \bar a = \bar y, \quad \bar b = \bar y
    """
    return a + b


@primitive(lambda g, x_shape, axis: broadcast_to(reshape(g, kept_shape(x_shape, axis)), x_shape))
def sum(x, axis=None, keepdims=False):
    r"""Sum over some axes, or all.

    .. math:: y = \sum_i x_i, \qquad \bar x_i = \bar y

    Args:
        x: any shape.
        axis: an axis, several, or None for all.
        keepdims: keep the summed axes with size 1.
    """
    axes, xp = axes_of(axis, x.ndim, "sum"), namespace(x)
    if not is_floating(x) and xp.isdtype(x.dtype, ("bool", "integral")):
        # a count may not fit the dtype of the entries
        counted = xp.astype(x, xp.int64) if xp.isdtype(x.dtype, "bool") else x
        y = xp.sum(counted, axis=axes, keepdims=True)
    else:
        y = kernels.of(x).sum(x, axes)
    return y if keepdims else namespace(x).squeeze(y, axis=axes)


@primitive(lambda g: g)
def broadcast_to(x, shape):
    r"""Repeat along axes of size 1 and along new leading axes, up to a shape.

    .. math:: y_{ij} = x_j, \qquad \bar x_j = \sum_i \bar y_{ij}

    The engine computes the sum: it undoes every broadcast in one place.
    """
    return namespace(x).broadcast_to(x, shape)


@primitive(lambda g, x_shape: reshape(g, x_shape))
def reshape(x, shape):
    r"""Give the entries another shape, in row-major order; one size may be -1, for the rest.

    .. math:: y_{\pi(i)} = x_i, \qquad \bar x_i = \bar y_{\pi(i)}
    """
    try:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return namespace(x).reshape(x, shape)
    except ValueError:
        raise ShapeError(
            f"reshape: {x.size} entries of shape {x.shape} do not fit shape {shape}"
        ) from None
    except TypeError:
        raise DTypeError(f"reshape: expected whole numbers as shape, got {shape!r:.60}") from None


@primitive(lambda g: g)
def astype(x, dtype):
    r"""Convert to another dtype of numbers.

    .. math:: y_i = x_i, \qquad \bar x_i = \bar y_i

    The engine converts the gradient to the dtype of x, as it does for every input.
    """
    y = namespace(x).astype(x, dtype)
    if is_numpy(y) and y.dtype.kind not in "biufc":
        raise DTypeError(f"astype: expected a dtype of numbers, got {dtype!r}")
    return y


@primitive(None)
def constant(x, value):
    r"""Return a value that does not depend on x, recorded in the graph of x.

    .. math:: y = c, \qquad \bar x = 0
    """
    return value


def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum a tensor over the axes along which ``shape`` would be broadcast to it."""
    lead = g.ndim - len(shape)
    fits = lead >= 0 and all(n in (1, m) for n, m in zip(shape, g.shape[lead:], strict=True))
    if not fits:
        raise ShapeError(f"cannot sum shape {g.shape} to {shape}")
    axes = tuple(range(lead)) + tuple(
        lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1
    )
    return reshape(sum(g, axis=axes), shape)


# -- the backward walk ----------------------------------------------------------


@overload
def grad(y: Tensor, xs: Tensor, grad_output: Any = None, create_graph: bool = False) -> Tensor:
    """Differentiate with respect to one tensor."""


@overload
def grad(
    y: Tensor, xs: Sequence[Tensor], grad_output: Any = None, create_graph: bool = False
) -> list[Tensor]:
    """Differentiate with respect to several tensors."""


def grad(y, xs, grad_output=None, create_graph=False):
    r"""Differentiate one tensor with respect to others.

    .. math:: \bar x = \Big(\frac{\partial y}{\partial x}\Big)^T \bar y

    The walk computes only what lies between ``xs`` and ``y``. The graph stays, and a
    second call gives the same gradient.

    Args:
        y: the tensor to differentiate; one entry, unless grad_output is given.
        xs: a tensor, or several, recorded before ``y``. If ``y`` does not depend on
            one of them, its gradient is zero.
        grad_output: :math:`\bar y`, of the shape of ``y``; 1 if None.
        create_graph: record the walk too, so that the result can be differentiated.
    Returns:
        The gradient, or a list of them, each of the shape and dtype of its x.
    Raises:
        GraphError: ``y`` or an x was not recorded, or a leaf that the walk reads has
            received new values since.
        ShapeError: ``y`` has several entries and grad_output is None or of another shape.
    """
    targets = [xs] if isinstance(xs, Tensor) or not isinstance(xs, Iterable) else list(xs)
    _check_targets(y, targets)
    ends = [x.vertex for x in targets]
    found = _walk(y.vertex, _seed(y, grad_output), ends, create_graph)
    grads = [
        (found[id(v)] if create_graph else found[id(v)].detach())
        if id(v) in found
        else _zeros_like(x)
        for x, v in zip(targets, ends, strict=True)
    ]
    if create_graph:  # the derivative of a constant gradient is 0, not an error
        with record(True):
            grads = [
                g if g.requires_grad else constant(x, value=g.array)
                for x, g in zip(targets, grads, strict=True)
            ]
    return grads[0] if isinstance(xs, Tensor) else grads


def _walk(
    start: Vertex, g: Tensor, ends: Sequence[Vertex], create_graph: bool, partial: bool = False
) -> dict[int, Tensor]:
    """Carry a gradient back from one vertex to others; return the gradient of each, by its id.

    With ``partial`` the walk stops at the ends: they count as independent variables.
    """
    wanted = {id(end) for end in ends}
    order = _graph(start, wanted if partial else set())
    leads = set(wanted)
    for vertex in order:
        if any(id(b) in leads for b in vertex.before):
            leads.add(id(vertex))
    found: dict[int, Tensor] = {}
    cotangents = {id(start): g}
    with record(create_graph):
        for vertex in reversed(order):
            if (g_y := cotangents.pop(id(vertex), None)) is None:
                continue
            if id(vertex) in wanted:
                found[id(vertex)] = g_y
                if partial:
                    continue
            if isinstance(vertex, Node):
                for before, g_x in _pull(vertex, leads, g_y, create_graph):
                    so_far = cotangents.get(id(before))
                    cotangents[id(before)] = g_x if so_far is None else add(so_far, g_x)
    return found


def _graph(start: Vertex, until: set[int] | None = None) -> list[Vertex]:
    """List the vertices behind a vertex, inputs before results, without recursion.

    The list does not go past the vertices whose ids are in ``until``.
    """
    order: list[Vertex] = []
    seen = {id(start)}
    stack: list[tuple[Vertex, Iterator[Vertex | None]]] = [(start, iter(start.before))]
    while stack:
        vertex, inputs = stack[-1]
        for x in inputs:
            if x is not None and id(x) not in seen:
                seen.add(id(x))
                stack.append((x, iter(() if until and id(x) in until else x.before)))
                break
        else:
            order.append(vertex)
            stack.pop()
    return order


def _pull(
    node: Node, leads: set[int], g: Tensor, create_graph: bool
) -> Iterator[tuple[Vertex, Tensor]]:
    """Apply a node's rules, then undo broadcasting and promotion, which no other code does."""
    positions = [i for i, b in enumerate(node.before) if b is not None and id(b) in leads]
    for position, g_x in zip(
        positions, node.op.pull(node, positions, g, create_graph), strict=True
    ):
        if g_x is None:
            continue
        shape, before = node.shapes[position], node.before[position]
        assert before is not None
        if g_x.shape != shape:
            try:
                g_x = sum_to(g_x, shape)
            except ShapeError as error:
                raise ShapeError(
                    f"{node.op.name}: the rule of input {position} gave shape {g_x.shape}, "
                    f"the input has shape {shape}: {error}"
                ) from None
        dtype = node.dtypes[position]
        yield before, g_x if g_x.dtype == dtype else astype(g_x, dtype)


def _check_targets(y: Tensor, targets: list[Tensor]) -> None:
    if not isinstance(y, Tensor) or any(not isinstance(x, Tensor) for x in targets):
        raise DTypeError("grad: y and xs must be Tensors; of a network, pass its parameters()")
    if not y.requires_grad:
        raise GraphError(
            "grad: y carries no graph: it was computed under no_grad(), or from tensors "
            "without requires_grad=True"
        )
    for i, x in enumerate(targets):
        if not x.requires_grad:
            frozen = "it is frozen, so leave it out" if x.is_parameter else ""
            raise GraphError(
                f"grad: xs[{i}] of shape {x.shape} was not recorded; "
                + (frozen or "make it with requires_grad=True before computing y")
            )


def _seed(y: Tensor, grad_output: Any) -> Tensor:
    if grad_output is None:
        if y.size != 1:
            raise ShapeError(
                f"grad: y has shape {y.shape}; pass grad_output of that shape, or sum y first"
            )
        return Tensor.wrap(near(y._array).ones(y.shape, dtype=y.dtype))
    g = as_tensors("grad", (y, grad_output))[1]
    if g.shape != y.shape:
        raise ShapeError(f"grad: grad_output has shape {g.shape}, y has shape {y.shape}")
    return g if g.dtype == y.dtype else astype(g, y.dtype)


def _zeros_like(x: Tensor) -> Tensor:
    return Tensor.wrap(near(x._array).zeros(x.shape, dtype=x.dtype))
