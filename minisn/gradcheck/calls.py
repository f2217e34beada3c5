"""How gradcheck can be called, and what is said where the call must have meant another."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ConfigError
from .engines import Engine, Leaves, TorchEngine, engine_for
from .subject import ArrayFunction, EngineFunction, Point
from .tree import leaves


def refuse(fn: Any, inputs: Any, misplaced: tuple, order: int, grad: Any, vjp: Any) -> None:
    """Refuse a call that cannot be checked, with the one that may have been meant.

    Raises:
        ConfigError: always, if it returns not.
    """
    if callable(inputs) and not _is_module(inputs) and not hasattr(inputs, "shape"):
        raise ConfigError(
            "gradcheck: inputs is a function; SciPy's check_grad takes (fn, grad, "
            "x0), here it is gradcheck(fn, x0, grad=grad)"
        )
    if misplaced:
        kind = "a function" if callable(misplaced[0]) else type(misplaced[0]).__name__
        raise ConfigError(
            f"gradcheck: the third argument, {kind}, has no name; write "
            "gradcheck(fn, inputs, grad=...) for a gradient, or vjp=... for a "
            "backward, with several inputs in one list"
        )
    if not callable(fn):
        raise ConfigError(
            f"gradcheck: fn is {type(fn).__name__}, expected a function; write "
            "gradcheck(fn, inputs, grad=...)"
        )
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ConfigError(f"gradcheck: order must be 1, 2, ..., got {order!r}")
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
            "gradcheck: order 2 and more need a function of Tensors; to check a second derivative "
            "written by hand, pass the first as fn and the second as grad"
        )


def _swapped(name: str, claim: Callable, point: Point) -> None:
    """Tell grad= from vjp= by how many arguments the claim takes."""
    n = len(point.args) + (name == "vjp")
    other = n - 1 if name == "vjp" else n + 1
    if _takes(claim, n, point.kwargs) or not _takes(claim, other, point.kwargs):
        return
    if name == "grad":
        raise ConfigError(
            f"gradcheck: grad= is called with the {n} inputs, but takes {other} "
            "arguments: a backward that takes g first is passed as vjp="
        )
    raise ConfigError(
        f"gradcheck: vjp= is called with g and the {other} inputs, but takes {other} "
        "arguments: a gradient without g is passed as grad="
    )


def _takes(fn: Callable, n: int, kwargs: dict) -> bool:
    try:
        inspect.signature(fn).bind(*range(n), **kwargs)
    except TypeError:
        return False
    except ValueError:  # builtins without a signature
        return True
    return True


def _is_module(value: Any) -> bool:
    return callable(getattr(value, "named_parameters", None)) and not isinstance(value, type)


def _named(module: Any) -> dict[str, Any]:
    found = dict(module.named_parameters())
    return {name: p for name, p in found.items() if p.requires_grad}


@contextmanager
def prepared(
    fn: Any, inputs: Any, kwargs: dict | None, grad: Callable | None, vjp: Callable | None
) -> Iterator[Any]:
    """Make the subject of a call; a module is put back as it was afterwards."""
    if isinstance(inputs, dict) and kwargs is None and _takes(fn, 0, inputs):
        inputs, kwargs = [], inputs
    claim = grad if grad is not None else vjp
    modules = [m for m in (fn, inputs, *_list(inputs)) if _is_module(m)]
    if claim is not None:
        if modules:
            raise ConfigError(
                "gradcheck: with grad= or vjp= pass arrays; a module's own gradient "
                "is checked without"
            )
        point = Point(inputs, kwargs)
        _swapped("grad" if grad is not None else "vjp", claim, point)
        yield ArrayFunction(fn, point, grad, vjp)
        return
    parameters = {name: p for m in modules for name, p in _named(m).items()}
    if modules and not parameters and modules[0] is not fn:
        raise ConfigError("gradcheck: the module has no parameters that require a gradient")
    if _is_module(inputs):
        inputs = [inputs] if _takes(fn, 1, kwargs or {}) else []
    call = fn
    if "torch" in sys.modules and isinstance(fn, type):
        own = issubclass(fn, sys.modules["torch"].autograd.Function)
        call = getattr(fn, "apply") if own else fn  # noqa: B009 - not every type has one
    point = Point(inputs, kwargs, parameters)
    engine = engine_for(call, point.given, lambda: call(*point.args, **point.kwargs))
    if isinstance(fn, type) and call is not fn:
        engine = TorchEngine()
    with _doubled(engine, modules, parameters):
        yield EngineFunction(engine, _on_leaves(call, point), point)


def _list(inputs: Any) -> list[Any]:
    return list(inputs) if isinstance(inputs, list | tuple) else []


def _on_leaves(fn: Callable, point: Point) -> Callable[[Leaves], Leaves]:
    def on_leaves(xs: Leaves) -> Leaves:
        args, kwargs = point.arguments(xs)
        return [leaf for _, leaf in leaves(fn(*args, **kwargs))]

    return on_leaves


@contextmanager
def _doubled(engine: Engine, modules: list[Any], parameters: dict[str, Any]) -> Iterator[None]:
    """Give modules float64 parameters and state for a while."""
    kept = [engine.saved(module) for module in modules]
    try:
        for module in modules:
            engine.widen(module)
        yield
    finally:
        for restore in kept:
            restore()
