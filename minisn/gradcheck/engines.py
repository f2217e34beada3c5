"""The libraries that can differentiate: minisn itself, PyTorch and JAX, behind one interface.

PyTorch and JAX are used only where the function under test has imported them already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from .. import ops
from ..backend import bring, is_array, near
from ..errors import DTypeError
from ..tensor import Tensor, grad
from .tree import leaves

Leaves = list[Any]


class Engine:
    """minisn's engine, and the interface of the others; functions map leaves to leaves."""

    name = "minisn"

    def double(self) -> AbstractContextManager[Any]:
        """Return a context in which float64 stays float64."""
        return nullcontext()

    def owns(self, value: Any) -> bool:
        """Return whether a value belongs to this engine."""
        return isinstance(value, Tensor)

    def lift(self, array: np.ndarray, model: Any) -> Any:
        """Return a float64 leaf, in the library and on the device of a model."""
        held = model.array if isinstance(model, Tensor) else model
        double = np.asarray(array, dtype=np.float64)
        return Tensor(bring(double, held) if is_array(held) else double, requires_grad=True)

    def like(self, array: np.ndarray, y: Any) -> Any:
        """Return an incoming gradient for an output, in its dtype and library."""
        return Tensor(near(y.array).asarray(array, dtype=y.dtype))

    def vjp(
        self,
        fn: Callable[[Leaves], Leaves],
        xs: Leaves,
        gs: Sequence[Any] | None,
        arrays: list[np.ndarray] | None = None,
    ) -> Leaves:
        """Return for each leaf the gradient of the outputs' product with gs, or with arrays.

        With gs the result can be differentiated again.
        """
        ys, seeds = [], []
        for y, g in zip(fn(xs), gs or arrays or [], strict=True):
            if y.requires_grad:
                ys.append(y)
                seeds.append(self.like(g, y) if gs is None else self.cast(g, y.dtype))
        zeros = [x * 0.0 for x in xs]
        if not ys:
            return zeros
        found = self.pull(ys, xs, seeds, gs is not None)
        return [z if g is None else g for g, z in zip(found, zeros, strict=True)]

    def cast(self, g: Any, dtype: Any) -> Any:
        """Convert an incoming gradient to the dtype of an output."""
        return g if g.dtype == dtype else ops.astype(g, dtype)

    def pull(self, ys: Leaves, xs: Leaves, seeds: Leaves, again: bool) -> Sequence[Any]:
        """Return the gradients of the outputs' product with seeds, None for an unused leaf."""
        products = ((y * seed).sum() for y, seed in zip(ys, seeds, strict=True))
        return grad(reduce(add, products), xs, create_graph=again)

    def leads(self, parameter: Any, array: np.ndarray) -> Any:
        """Give a module's parameter new values, in place, and return it."""
        parameter.reset(near(parameter.array).asarray(array))
        return parameter

    def widen(self, module: Any) -> None:
        """Give a module float64 parameters and state."""
        module.to(dtype="float64")

    def saved(self, module: Any) -> Callable[[], None]:
        """Return a function that restores a module to its present state."""
        arrays = [(p, p.array) for p in module.parameters()]
        states = [(part, dict(part.state)) for _, part in module.named_modules()]

        def restore() -> None:
            for p, array in arrays:
                p.reset(array)
            for part, state in states:
                part.state = state

        return restore


class TorchEngine(Engine):
    """PyTorch's engine: tensors, modules and autograd Functions."""

    name = "torch"

    def __init__(self) -> None:
        self.torch = sys.modules["torch"]

    def owns(self, value: Any) -> bool:
        """Return whether a value is a tensor of PyTorch."""
        return isinstance(value, self.torch.Tensor)

    def lift(self, array: np.ndarray, model: Any) -> Any:
        """Return a float64 leaf on the device of a model, which shares the array's memory."""
        device = model.device if self.owns(model) else None
        return self.torch.as_tensor(array, dtype=self.torch.float64, device=device).requires_grad_()

    def like(self, array: np.ndarray, y: Any) -> Any:
        """Return an incoming gradient for an output, in its dtype; it shares the array's memory."""
        return self.torch.as_tensor(array, dtype=y.dtype, device=y.device)

    def cast(self, g: Any, dtype: Any) -> Any:
        """Convert an incoming gradient to the dtype of an output."""
        return g.to(dtype)

    def pull(self, ys: Leaves, xs: Leaves, seeds: Leaves, again: bool) -> Sequence[Any]:
        """Return the gradients of the outputs' product with seeds, None for an unused leaf."""
        return self.torch.autograd.grad(ys, xs, seeds, create_graph=again, allow_unused=True)

    def leads(self, parameter: Any, array: np.ndarray) -> Any:
        """Give a module's parameter new values, in place, and return it."""
        parameter.data = self.torch.as_tensor(array, device=parameter.device)
        return parameter

    def widen(self, module: Any) -> None:
        """Give a module float64 parameters and buffers."""
        for t in [*module.parameters(), *module.buffers()]:
            t.data = t.data.double() if t.is_floating_point() else t.data

    def saved(self, module: Any) -> Callable[[], None]:
        """Return a function that restores a module to its present state."""
        kept = [(t, t.data, t.data.clone()) for t in [*module.parameters(), *module.buffers()]]

        def restore() -> None:
            for t, data, values in kept:
                t.data = data.copy_(values)

        return restore


class JaxEngine(Engine):
    """JAX's engine: functions of arrays."""

    name = "jax"

    def __init__(self) -> None:
        self.jax = sys.modules["jax"]

    def double(self) -> AbstractContextManager[Any]:
        """Return a context in which float64 stays float64."""
        if hasattr(self.jax, "enable_x64"):
            return self.jax.enable_x64(True)
        from jax.experimental import enable_x64

        return enable_x64(True)

    def owns(self, value: Any) -> bool:
        """Return whether a value is an array of JAX."""
        return isinstance(value, self.jax.Array)

    def lift(self, array: np.ndarray, model: Any) -> Any:
        """Return a float64 leaf."""
        return self.jax.numpy.asarray(array, dtype=np.float64)

    def vjp(
        self,
        fn: Callable[[Leaves], Leaves],
        xs: Leaves,
        gs: Sequence[Any] | None,
        arrays: list[np.ndarray] | None = None,
    ) -> Leaves:
        """Return for each leaf the gradient of the outputs' product with gs, or with arrays."""
        ys, back = self.jax.vjp(fn, list(xs))
        seeds = gs or arrays or []
        seeds = [self.jax.numpy.asarray(g, dtype=y.dtype) for g, y in zip(seeds, ys, strict=True)]
        return list(back(seeds)[0])


def engine_for(
    fn: Any, given: list[Any], call: Callable[[], Any], on_leaves: Callable[[Leaves], Leaves]
) -> Engine:
    """Return the engine of a function, found by its inputs, its type or its outputs.

    A function of plain arrays belongs to PyTorch if it takes no Tensors, but tensors of PyTorch.

    Args:
        fn: the function, a module or an autograd Function.
        given: leaves of the inputs.
        call: calls the function with the original inputs.
        on_leaves: calls the function with other leaves.
    """

    def takes(engine: Engine) -> bool:
        return _returns(lambda: on_leaves([engine.lift(a, a) for a in given]), engine.owns)

    if "torch" in sys.modules:
        torch = TorchEngine()
        if any(map(torch.owns, given)) or isinstance(fn, torch.torch.nn.Module):
            return torch
    if "jax" in sys.modules:
        jax = JaxEngine()
        own = type(fn).__module__.startswith("jax")  # such as custom_vjp
        if own or any(map(jax.owns, given)) or _returns(call, jax.owns):
            return jax
    if "torch" in sys.modules and not takes(Engine()) and takes(TorchEngine()):
        return TorchEngine()
    return Engine()


def _returns(call: Callable[[], Any], owns: Callable[[Any], bool]) -> bool:
    try:
        return any(owns(leaf) for _, leaf in leaves(call()))
    except Exception:  # a function of another library may raise anything here
        return False


def must_own(engine: Engine, outputs: list[Any]) -> None:
    """Refuse outputs that an engine cannot differentiate.

    Raises:
        DTypeError: an output does not belong to the engine.
    """
    for y in outputs:
        if engine.owns(y):
            continue
        if engine.name == "minisn":
            raise DTypeError(
                f"gradcheck: fn returned {type(y).__name__}, expected Tensors; for a function "
                "of arrays pass its gradient too, as grad= or vjp="
            )
        raise DTypeError(
            f"gradcheck: fn returned {type(y).__name__}, expected arrays of {engine.name}; "
            "return those, or pass the gradient as grad= or vjp="
        )
