"""Functions of functions: value and gradient at once, Jacobians and Hessians."""

from collections.abc import Callable
from typing import Any

from .backend import near
from .errors import ConfigError, DTypeError, ShapeError
from .ops import stack
from .recording import is_recording, record
from .tensor import Tensor, as_tensor, grad

Places = int | tuple[int, ...]


def value_and_grad(f: Callable[..., Tensor], argnums: Places = 0) -> Callable[..., Any]:
    r"""Make a function that returns the value of f and its gradient.

    .. math:: (x_1, x_2, \dots) \mapsto \big(f(x), \nabla_{x_k} f(x)\big)

    Args:
        f: a function of tensors that returns one number.
        argnums: the position of the argument to differentiate, or a tuple of positions.
    Returns:
        A function of tensors, arrays or numbers that returns (value, gradient), or (value,
        gradients) for a tuple. The results are recorded if the arguments are.
    """

    _check("value_and_grad", f, argnums)

    def function(*inputs: Any, **settings: Any) -> Any:
        y, xs, recorded = _call("value_and_grad", f, argnums, inputs, settings)
        if y.size != 1:
            raise ShapeError(
                f"value_and_grad: f must return one number, got shape {y.shape}; "
                "use jacobian for several"
            )
        found = _gradients(y, xs, recorded)
        y = y if recorded else y.detach()
        return y, found[0] if isinstance(argnums, int) else tuple(found)

    return function


def jacobian(f: Callable[..., Tensor], argnums: Places = 0) -> Callable[..., Any]:
    r"""Make a function that returns all derivatives of f, row by row.

    .. math:: J_{ij} = \frac{\partial f_i}{\partial x_j}

    Args:
        f: a function of tensors that returns a tensor.
        argnums: the position of the argument to differentiate, or a tuple of positions.
    Returns:
        A function of tensors, arrays or numbers that returns a tensor with the axes of the result,
        then those of the argument; for a tuple of positions, a tuple of such tensors.
    """

    _check("jacobian", f, argnums)

    def function(*inputs: Any, **settings: Any) -> Any:
        y, xs, recorded = _call("jacobian", f, argnums, inputs, settings)
        with record(True):
            flat = y.reshape(-1)
            rows = [_gradients(flat[i], xs, recorded) for i in range(y.size)]
        none = [Tensor.wrap(near(x.array).zeros((0, *x.shape), dtype=x.dtype)) for x in xs]
        columns = map(stack, zip(*rows, strict=True)) if rows else none
        found = tuple(c.reshape(*y.shape, *x.shape) for c, x in zip(columns, xs, strict=True))
        return found[0] if isinstance(argnums, int) else found

    return function


def hessian(f: Callable[..., Tensor], argnum: int = 0) -> Callable[..., Tensor]:
    r"""Make a function that returns all second derivatives of f.

    .. math:: H_{ij} = \frac{\partial^2 f}{\partial x_i\,\partial x_j}

    Args:
        f: a function of tensors that returns one number.
        argnum: the position of the argument to differentiate.
    Returns:
        A function of tensors, arrays or numbers that returns a tensor with the axes of the
        argument, twice.
    """
    _check("hessian", f, argnum)
    gradient = value_and_grad(f, argnum)
    return jacobian(lambda *inputs, **settings: gradient(*inputs, **settings)[1], argnum)


def _check(name: str, f: Any, argnums: Any) -> None:
    if not callable(f):
        raise DTypeError(
            f"{name}: expected a function of tensors, got {f!r:.60}; of a result, call grad(y, xs)"
        )
    places = argnums if isinstance(argnums, tuple) else (argnums,)
    if not all(type(p) is int for p in places):
        raise DTypeError(
            f"{name}: expected argnums as positions of arguments, whole numbers, got "
            f"{argnums!r:.60}; to differentiate at x, call {name}(f)(x)"
        )


def _call(
    name: str, f: Callable[..., Any], argnums: Places, inputs: tuple, settings: dict[str, Any]
) -> tuple[Tensor, list[Tensor], bool]:
    """Call f with leaves in these places; return y, the leaves, and whether to record."""
    places = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not all(-len(inputs) <= p < len(inputs) for p in places):
        raise ConfigError(
            f"{name}: argnums {argnums} do not exist among {len(inputs)} arguments; pass "
            "the arguments to differentiate by position, not by name"
        )
    places = tuple(p % len(inputs) for p in places)
    recorded = is_recording() and any(isinstance(x, Tensor) and x.requires_grad for x in inputs)
    arguments = list(inputs)
    for p in places:
        if isinstance(inputs[p], list | tuple) and any(isinstance(x, Tensor) for x in inputs[p]):
            raise DTypeError(
                f"{name}: argument {p} is a {type(inputs[p]).__name__} of tensors; pass each as an "
                "argument of its own, with argnums=(0, 1, ...), or call grad(f(tensors), tensors)"
            )
        x = as_tensor(inputs[p])
        with record(True):  # a copy, so that other arguments may be x or depend on it
            arguments[p] = x.copy() if x.requires_grad else Tensor(x, requires_grad=True)
    with record(True):  # the derivative is asked for, even within no_grad()
        y = f(*arguments, **settings)
    if not isinstance(y, Tensor):
        raise DTypeError(
            f"{name}: f must return a Tensor, got {type(y).__name__}; compute with "
            "minisn's operations, not with NumPy's"
        )
    return y, [arguments[p] for p in places], recorded


def _gradients(y: Tensor, xs: list[Tensor], recorded: bool) -> list[Tensor]:
    """Differentiate y; if it depends on no x, every gradient is 0."""
    if not y.requires_grad:
        return [Tensor.wrap(near(x.array).zeros(x.shape, dtype=x.dtype)) for x in xs]
    return grad(y, xs, create_graph=recorded)
