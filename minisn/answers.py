"""How a Tensor answers Python and NumPy: comparisons, truth, numbers, the usual methods.

Comparisons work entry by entry and return constants. Only a tensor of one entry converts to a
number. NumPy's own functions receive the numbers of a tensor without a graph. For a tensor with a
graph they raise an error, because NumPy cannot carry a gradient.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .backend import Array, bring, check_together, is_array, to_numpy
from .errors import DTypeError, GraphError, ShapeError, similar

if TYPE_CHECKING:
    from .tensor import Tensor

OPERATIONS: dict[str, Callable[..., Any]] = {}
"""The operations that methods call, by name; each file of operations enters its own."""

_OPERATORS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "power": "pow",
    "matmul": "matmul", "floor_divide": "floordiv", "remainder": "mod",
    "divmod": "divmod", "bitwise_and": "and", "bitwise_or": "or", "bitwise_xor": "xor",
}  # fmt: skip
_TURNED = {
    "equal": "eq", "not_equal": "ne",
    "less": "gt", "less_equal": "ge", "greater": "lt", "greater_equal": "le",
}  # fmt: skip


def enter(module: dict[str, Any]) -> None:
    """Enter the public functions of a file in the table of operations, under their names.

    Args:
        module: what the file defines, its ``globals()``.
    """
    for name, value in module.items():
        if name[0] != "_" and getattr(value, "__module__", "") == module["__name__"]:
            OPERATIONS[name] = value


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def answer(self: Any, other: Any) -> Any:
        if isinstance(other, Answers):
            other = other._array
        elif isinstance(other, list | tuple):
            other = bring(np.array(other), self._array)
        elif not is_array(other) and not isinstance(other, int | float | complex):
            return NotImplemented
        if is_array(other) and not isinstance(other, np.generic):
            check_together(compare.__name__, (self._array, other))
        try:
            result = compare(self._array, other)
        except ValueError as error:
            raise ShapeError(f"{compare.__name__}: {error}") from None
        except TypeError as error:
            raise DTypeError(f"{compare.__name__}: {error}") from None
        return self.wrap(np.asarray(result) if isinstance(result, np.generic) else result)

    return answer


def _both_ways(name: str) -> tuple[Callable[[Any, Any], Tensor], Callable[[Any, Any], Tensor]]:
    """Return an operator, and the one that Python asks if the tensor stands on the right."""
    return (
        lambda self, other: OPERATIONS[name](self, other),
        lambda self, other: OPERATIONS[name](other, self),
    )


def _in_place(sign: str) -> Callable[[Any, Any], Any]:
    """Refuse to change a parameter in place: the name would get another tensor."""

    def refuse(self: Any, other: Any) -> Any:
        if self.is_parameter:
            raise GraphError(
                f"{sign}= would give the name another tensor and leave the parameter as it is; "
                f"write p.assign(p {sign} ...), or for a new tensor y = p {sign} ..."
            )
        return NotImplemented  # Python computes a new tensor

    return refuse


def numbers(value: Any) -> Any:
    """Replace every tensor in nested lists, tuples and dicts by its NumPy array."""
    if isinstance(value, Answers):
        return value.__array__()
    if isinstance(value, list | tuple):
        return type(value)(map(numbers, value)) if type(value) in (list, tuple) else value
    return {k: numbers(v) for k, v in value.items()} if type(value) is dict else value


class Answers:
    """The part of Tensor that stands in where Python or NumPy expects an array."""

    __slots__ = ()
    _array: Array
    requires_grad: bool
    wrap: Any

    # -- comparisons and logic: constants --------------------------------------------------

    __eq__ = _comparison(operator.eq)
    __ne__ = _comparison(operator.ne)
    __lt__ = _comparison(operator.lt)
    __le__ = _comparison(operator.le)
    __gt__ = _comparison(operator.gt)
    __ge__ = _comparison(operator.ge)
    __and__ = __rand__ = _comparison(operator.and_)
    __or__ = __ror__ = _comparison(operator.or_)
    __xor__ = __rxor__ = _comparison(operator.xor)
    __hash__ = object.__hash__

    def __invert__(self) -> Tensor:
        if self._array.dtype.kind not in "biu":
            raise DTypeError(f"~: expected booleans or integers, got dtype {self._array.dtype}")
        return self.wrap(~self._array)

    def __contains__(self, value: Any) -> bool:
        found = self == value
        return found is not False and bool(found.any())

    # -- one number --------------------------------------------------------------------------

    def item(self) -> Any:
        """Return the single entry as a Python number."""
        if self._array.size != 1:
            raise ShapeError(f"item: expected one entry, got a tensor of shape {self._array.shape}")
        return to_numpy(self._array).reshape(()).item()

    def __bool__(self) -> bool:
        if self._array.size > 1:
            raise ShapeError(
                f"a tensor of shape {self._array.shape} is neither true nor false; "
                "ask for .any() or .all() of its entries"
            )
        return self._array.size == 1 and bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self._array.ndim or self._array.dtype.kind not in "iu":
            raise DTypeError(
                f"an index must be one whole number without axes, got a tensor of shape "
                f"{self._array.shape} and dtype {self._array.dtype}"
            )
        return int(self.item())

    __trunc__ = __int__

    def __format__(self, spec: str) -> str:
        if not self._array.ndim:
            return format(self.item(), spec)
        if not spec:
            return str(self)
        raise DTypeError(
            f"format {spec!r}: expected one number, got a tensor of shape {self._array.shape}; "
            "format its entries"
        )

    def __round__(self, digits: int | None = None) -> Any:
        return self.round(digits or 0) if self._array.ndim else round(self.item(), digits)

    # -- NumPy's protocols ---------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise GraphError(
                "NumPy cannot carry a gradient on: pass t.detach() for the numbers alone, or use "
                "minisn's operation of that name (stack or concat to join tensors)"
            )
        array = to_numpy(self._array).view()
        array.flags.writeable = False
        return np.array(array, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        first, *rest = inputs
        written = inputs[:1] if method == "at" else settings.get("out", ())
        if any(isinstance(out, Answers) for out in written):
            raise GraphError(f"{ufunc.__name__}: NumPy cannot write into a tensor; take the result")
        if method == "__call__" and rest and not settings and not isinstance(first, Answers):
            if ufunc.__name__ in _OPERATORS:  # array + tensor, where NumPy is asked first
                return getattr(self, f"__r{_OPERATORS[ufunc.__name__]}__")(first)
            if ufunc.__name__ in _TURNED:
                return getattr(self, f"__{_TURNED[ufunc.__name__]}__")(first)
        return getattr(ufunc, method)(*map(numbers, inputs), **numbers(settings))

    def __array_function__(self, function: Any, types: Any, args: Any, settings: Any) -> Any:
        if function in (np.shape, np.ndim, np.size):  # these read no values
            args = tuple(np.broadcast_to(0, a.shape) if isinstance(a, Answers) else a for a in args)
        return function(*numbers(args), **numbers(settings))

    def __getattr__(self, name: str) -> Any:
        """Raise an error that names the operation of that name, or the nearest name."""
        hint = ""
        if name in OPERATIONS:
            hint = f"; call minisn.ops.{name}(t)"
        elif name[:1] != "_":  # Python and NumPy ask for such names often
            hint = similar(name, [n for n in (*dir(type(self)), *OPERATIONS) if n[0] != "_"])
        raise AttributeError(f"a Tensor has no attribute {name!r}{hint}")

    def tolist(self) -> Any:
        """Return the entries as nested lists of Python numbers."""
        return to_numpy(self._array).tolist()

    # -- operations as operators and methods -----------------------------------------------------

    def __abs__(self) -> Tensor:
        return OPERATIONS["abs"](self)

    def __pos__(self) -> Any:
        return self

    __add__, __radd__ = _both_ways("add")
    __sub__, __rsub__ = _both_ways("subtract")
    __mul__, __rmul__ = _both_ways("multiply")
    __truediv__, __rtruediv__ = _both_ways("divide")
    __matmul__, __rmatmul__ = _both_ways("matmul")
    __pow__, __rpow__ = _both_ways("power")
    __floordiv__, __rfloordiv__ = _both_ways("floor_divide")
    __mod__, __rmod__ = _both_ways("remainder")

    __iadd__, __isub__ = _in_place("+"), _in_place("-")
    __imul__, __itruediv__ = _in_place("*"), _in_place("/")
    __ifloordiv__, __imod__ = _in_place("//"), _in_place("%")
    __ipow__, __imatmul__ = _in_place("**"), _in_place("@")

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return other // self, other % self

    def all(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Return whether all entries along some axes are nonzero, as a constant."""
        return OPERATIONS["all"](self, axis, keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Return whether any entry along some axes is nonzero, as a constant."""
        return OPERATIONS["any"](self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Take the largest entry over axes; see :func:`minisn.ops.max`."""
        return OPERATIONS["max"](self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Take the smallest entry over axes; see :func:`minisn.ops.min`."""
        return OPERATIONS["min"](self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Average over axes; see :func:`minisn.ops.mean`."""
        return OPERATIONS["mean"](self, axis, keepdims)

    def var(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        """Compute the variance over axes; see :func:`minisn.ops.var`."""
        return OPERATIONS["var"](self, axis, keepdims, ddof)

    def std(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        """Compute the standard deviation over axes; see :func:`minisn.statistics.std`."""
        return OPERATIONS["std"](self, axis, keepdims, ddof)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Multiply the entries over axes; see :func:`minisn.statistics.prod`."""
        return OPERATIONS["prod"](self, axis, keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        """Sum along an axis, step by step; see :func:`minisn.statistics.cumsum`."""
        return OPERATIONS["cumsum"](self, axis)

    def cumprod(self, axis: int | None = None) -> Tensor:
        """Multiply along an axis, step by step; see :func:`minisn.statistics.cumprod`."""
        return OPERATIONS["cumprod"](self, axis)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Return the index of the largest entry, as a constant."""
        return OPERATIONS["argmax"](self, axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Return the index of the smallest entry, as a constant."""
        return OPERATIONS["argmin"](self, axis, keepdims)

    def sort(self, axis: int = -1) -> Tensor:
        """Return the entries in ascending order; the tensor itself does not change."""
        return OPERATIONS["sort"](self, axis)

    def argsort(self, axis: int = -1) -> Tensor:
        """Return the indices that sort the entries, as a constant."""
        return OPERATIONS["argsort"](self, axis)

    def clip(self, low: Any = None, high: Any = None) -> Tensor:
        """Limit every entry to an interval; see :func:`minisn.ops.clip`."""
        return OPERATIONS["clip"](self, low, high)

    def round(self, decimals: int = 0) -> Tensor:
        """Round every entry; the gradient is 0."""
        return OPERATIONS["round"](self, decimals)

    def dot(self, other: Any) -> Tensor:
        """Multiply as NumPy's dot does; see :func:`minisn.linalg.dot`."""
        return OPERATIONS["dot"](self, other)

    def astype(self, dtype: Any) -> Tensor:
        """Convert to another type; see :func:`minisn.tensor.astype`."""
        return OPERATIONS["astype"](self, dtype=dtype)

    def copy(self) -> Tensor:
        """Return another tensor of the same values in the same graph; it keeps these values."""
        return OPERATIONS["reshape"](self, shape=self.shape)

    def flatten(self) -> Tensor:
        """Return all entries along one axis."""
        return OPERATIONS["reshape"](self, shape=(-1,))

    ravel = flatten

    def squeeze(self, axis: Any = None) -> Tensor:
        """Drop axes of size 1; see :func:`minisn.shaping.squeeze`."""
        return OPERATIONS["squeeze"](self, axis)

    def transpose(self, *axes: Any) -> Tensor:
        """Reverse the axes, or put them in the given order."""
        axes = axes[0] if len(axes) == 1 and not hasattr(axes[0], "__index__") else axes
        return OPERATIONS["permute"](self, axes=tuple(axes)) if axes else self.T

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two axes exchanged."""
        return OPERATIONS["swapaxes"](self, -1, -2)

    @property
    def nbytes(self) -> int:
        """Size of the entries in bytes."""
        return self._array.size * self._array.dtype.itemsize

    def swapaxes(self, first: int, second: int) -> Tensor:
        """Exchange two axes."""
        return OPERATIONS["swapaxes"](self, first, second)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Repeat entries along an axis; see :func:`minisn.shaping.repeat`."""
        return OPERATIONS["repeat"](self, repeats, axis)

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        """Select along an axis; see :func:`minisn.shaping.take`."""
        return OPERATIONS["take"](self, indices, axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """Return a diagonal; see :func:`minisn.shaping.diagonal`."""
        return OPERATIONS["diagonal"](self, offset, axis1, axis2)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """Sum a diagonal; see :func:`minisn.shaping.trace`."""
        return OPERATIONS["trace"](self, offset, axis1, axis2)


for _name, _method in vars(Answers).items():  # Python's errors name a method by its class
    if hasattr(_method, "__code__"):
        _method.__qualname__ = f"Tensor.{_name}"
