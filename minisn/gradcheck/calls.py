"""The forms of a call of gradcheck, and errors that suggest the form that was probably meant."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import compress
from typing import Any

from ..errors import ConfigError, DTypeError, GraphError, MinisnError
from .engines import Engine, Leaves, TorchEngine, engine_for
from .subject import ArrayFunction, EngineFunction, Point
from .tree import outputs_of


def refuse(
    fn: Any, inputs: Any, misplaced: tuple, order: int, grad: Any, vjp: Any, full: Any
) -> None:
    """Refuse a call that gradcheck cannot check, and suggest a correct one.

    Raises:
        ConfigError: gradcheck cannot check this call.
    """
    if callable(inputs) and not _is_module(inputs) and not hasattr(inputs, "shape"):
        raise ConfigError(
            "gradcheck: inputs is a function, expected arrays; SciPy's check_grad takes "
            "(fn, grad, x0), gradcheck takes (fn, x0, grad=grad)"
        )
    if misplaced:
        kind = "a function" if callable(misplaced[0]) else type(misplaced[0]).__name__
        raise ConfigError(
            f"gradcheck: got {kind} as third argument, expected only fn and inputs; pass a "
            "gradient as grad=... and a backward as vjp=..., and put several inputs into "
            "one list"
        )
    if not callable(fn):
        raise ConfigError(
            f"gradcheck: fn is {type(fn).__name__}, expected a function; write "
            "gradcheck(fn, inputs, grad=...)"
        )
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ConfigError(f"gradcheck: order must be 1, 2, ..., got {order!r}")
    if full is not None and not isinstance(full, bool):
        raise ConfigError(f"gradcheck: full must be True, False or None, got {full!r}")
    if grad is not None and vjp is not None:
        raise ConfigError("gradcheck: pass grad= or vjp=, not both")
    claim, name = (grad, "grad") if grad is not None else (vjp, "vjp")
    if claim is None:
        return
    if not callable(claim):
        raise ConfigError(
            f"gradcheck: {name}= is {type(claim).__name__}, expected a function of "
            "the inputs that returns the gradient"
        )
    if order > 1:
        raise ConfigError(
            f"gradcheck: order {order} needs a function of Tensors, got {name}=; to check a "
            "hand-written second derivative, pass the first as fn and the second as grad"
        )


def _swapped(name: str, claim: Callable, point: Point) -> None:
    """Refuse a grad= with the arguments of a backward, or a vjp= with those of a gradient."""
    n = len(point.args) + (name == "vjp")
    other = n - 1 if name == "vjp" else n + 1
    if _takes(claim, n, point.kwargs) or not _takes(claim, other, point.kwargs):
        return
    if name == "grad":
        raise ConfigError(
            f"gradcheck: grad= takes {other} arguments, expected {n}, one for each input; "
            "pass a backward, which takes g first, as vjp="
        )
    raise ConfigError(
        f"gradcheck: vjp= takes {other} arguments, expected {n}, g and one for each input; "
        "pass a gradient, which takes no g, as grad="
    )


def _takes(fn: Callable, n: int, kwargs: dict) -> bool:
    try:
        inspect.signature(fn).bind(*range(n), **kwargs)
    except TypeError:
        return False
    except ValueError:  # builtins without a signature
        return True
    return True


def _callable_with(fn: Callable, point: Point) -> None:
    """Refuse inputs that fn cannot be called with."""
    try:
        inspect.signature(fn, follow_wrapped=False).bind(*point.args, **point.kwargs)
    except TypeError as error:
        named = f", keywords {list(point.kwargs)}" if point.kwargs else ""
        raise ConfigError(
            f"gradcheck: fn cannot be called with {len(point.args)} arguments{named}: {error}; "
            "inputs must hold one item for each argument of fn, so write [x] for one list or array"
        ) from None
    except ValueError:  # builtins without a signature
        return


def _is_module(value: Any) -> bool:
    return callable(getattr(value, "named_parameters", None)) and not isinstance(value, type)


def _named(module: Any) -> dict[str, Any]:
    found = dict(module.named_parameters())
    return {name: p for name, p in found.items() if p.requires_grad}


@contextmanager
def prepared(
    fn: Any, inputs: Any, kwargs: dict | None, grad: Callable | None, vjp: Callable | None
) -> Iterator[Any]:
    """Make the subject of a call, and restore every module afterwards."""
    if isinstance(inputs, dict) and kwargs is None and _takes(fn, 0, inputs):
        inputs, kwargs = [], inputs
    claim = grad if grad is not None else vjp
    modules = [m for m in (fn, inputs, *_list(inputs)) if _is_module(m)]
    if claim is not None:
        if modules:
            raise ConfigError(
                "gradcheck: got a module with grad= or vjp=, expected arrays; to check "
                "a module's own gradient, leave out grad= and vjp="
            )
        point = Point(inputs, kwargs)
        _callable_with(fn, point)
        _swapped("grad" if grad is not None else "vjp", claim, point)
        yield ArrayFunction(fn, point, grad, vjp)
        return
    parameters = {name: p for m in modules for name, p in _named(m).items()}
    if modules and not parameters and modules[0] is not fn:
        raise ConfigError(
            "gradcheck: the module has no parameter that requires a gradient; pass arrays as inputs"
        )
    if _is_module(inputs):
        inputs = [inputs] if _takes(fn, 1, kwargs or {}) else []
    call = fn
    if "torch" in sys.modules and isinstance(fn, type):
        own = issubclass(fn, sys.modules["torch"].autograd.Function)
        call = getattr(fn, "apply") if own else fn  # noqa: B009 - not every type has one
    point = Point(inputs, kwargs, parameters)
    _callable_with(call, point)
    named: list[str] = []
    on_leaves = _on_leaves(call, point, named)
    engine = engine_for(call, point.given, lambda: call(*point.args, **point.kwargs), on_leaves)
    if isinstance(fn, type) and call is not fn:
        engine = TorchEngine()
    with _doubled(engine, modules):
        try:
            yield EngineFunction(engine, on_leaves, point, named)
        except GraphError as error:
            raise GraphError(
                f"gradcheck: without grad= and vjp=, fn must compute with Tensors: {error}"
            ) from error
        except (RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, MinisnError) or not _works(call, point):
                raise
            raise DTypeError(
                f"gradcheck: fn takes these inputs, but not as float64, in which gradcheck "
                f"computes ({error}); give it float64 tensors alone, as module.double() "
                "does, or pass the module too, as in gradcheck(loss, module)"
            ) from error


def _works(call: Callable, point: Point) -> bool:
    """Return whether a function takes inputs of lower precision as they are."""
    if not any("float32" in str(getattr(a, "dtype", "")) for a in point.given):
        return False
    try:
        call(*point.args, **point.kwargs)
    except Exception:  # a function of another library may raise anything here
        return False
    return True


def _list(inputs: Any) -> list[Any]:
    return list(inputs) if isinstance(inputs, list | tuple) else []


def _on_leaves(fn: Callable, point: Point, named: list[str]) -> Callable[[Leaves], Leaves]:
    """Return a function of leaves that lists its outputs, and their places if there are several."""

    def on_leaves(xs: Leaves) -> Leaves:
        args, kwargs = point.arguments(xs)
        names, outputs, varies = outputs_of(fn(*args, **kwargs))
        named[:] = compress(names, varies) if len(names) > 1 else [""]
        return list(compress(outputs, varies))

    return on_leaves


@contextmanager
def _doubled(engine: Engine, modules: list[Any]) -> Iterator[None]:
    """Give modules float64 parameters and state, and restore them afterwards."""
    kept = [engine.saved(module) for module in modules]
    try:
        for module in modules:
            engine.widen(module)
        yield
    finally:
        for restore in kept:
            restore()
