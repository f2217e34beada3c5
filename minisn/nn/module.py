"""Modules: parts of a network, with named parameters and named state.

A parameter is a Tensor that records; state is what changes without a gradient (u and
v of spectral normalization, running moments of batch normalization). Both are saved;
only parameters are ever given to an optimizer.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from ..backend import Array, namespace, to_device
from ..errors import CheckpointError
from ..tensor import Tensor


class Module:
    """A part of a network: its parameters, its state, and the modules it is made of.

    Attributes that are Tensors with ``requires_grad`` are parameters; attributes that are
    Modules, or lists of them, are parts; ``state`` holds named arrays.
    """

    def __init__(self) -> None:
        self.training = True
        self.state: dict[str, Array] = {}

    def forward(self, *inputs: Any) -> Any:
        """Compute the result; each module says how."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def __call__(self, *inputs: Any) -> Any:
        return self.forward(*inputs)

    # -- walking ---------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Yield this module and all its parts, each with its dotted name."""
        yield prefix, self
        path = f"{prefix}." if prefix else ""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value.named_modules(path + name)
            elif isinstance(value, list):
                for i, part in enumerate(value):
                    if isinstance(part, Module):
                        yield from part.named_modules(f"{path}{name}.{i}")

    def named_parameters(self) -> dict[str, Tensor]:
        """Return every parameter under its dotted name, in a fixed order.

        One that several parts share is listed once, under the first name.
        """
        named = {
            f"{prefix}.{name}" if prefix else name: value
            for prefix, module in self.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, Tensor) and value.requires_grad
        }
        first = {id(value): name for name, value in reversed(named.items())}
        return {name: value for name, value in named.items() if first[id(value)] == name}

    def parameters(self) -> list[Tensor]:
        """Return every parameter, in a fixed order."""
        return list(self.named_parameters().values())

    def train(self, on: bool = True) -> Self:
        """Switch to training: batch normalization uses the batch's moments."""
        for _, module in self.named_modules():
            module.training = on
        return self

    def eval(self) -> Self:
        """Switch to evaluation: nothing moves."""
        return self.train(False)

    # -- saving ------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays of all parameters and all state, under their dotted names."""
        found = {name: p.array for name, p in self.named_parameters().items()}
        for prefix, module in self.named_modules():
            for name, value in module.state.items():
                found[f"{prefix}.{name}" if prefix else name] = value
        return found

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Take all parameters and state from arrays named as by :meth:`state_dict`.

        Raises:
            CheckpointError: a name is missing or unknown, or a shape differs.
        """
        mine = self.state_dict()
        missing, unknown = sorted(mine.keys() - arrays.keys()), sorted(arrays.keys() - mine.keys())
        if missing or unknown:
            raise CheckpointError(
                "the arrays belong to another network: "
                + "; ".join(
                    f"{what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
                    for what, names in (("missing", missing), ("unknown", unknown))
                    if names
                )
            )
        for name, array in arrays.items():
            if tuple(array.shape) != tuple(mine[name].shape):
                raise CheckpointError(
                    f"{name} has shape {tuple(array.shape)}, this network expects "
                    f"{tuple(mine[name].shape)}: it was saved from another architecture"
                )
        parameters = self.named_parameters()
        for name, p in parameters.items():
            p.assign(namespace(p.array).asarray(arrays[name], dtype=p.dtype, copy=True))
        for prefix, module in self.named_modules():
            for name, value in module.state.items():
                full = f"{prefix}.{name}" if prefix else name
                module.state[name] = namespace(value).asarray(
                    arrays[full], dtype=value.dtype, copy=True
                )

    def to(self, device: str = "cpu", dtype: str | None = None) -> Self:
        """Move all parameters and state to a device, and to another floating-point type."""

        def moved(array: Array) -> Array:
            array = to_device(array, device)
            return array if dtype is None else namespace(array).astype(
                array, getattr(namespace(array), dtype))  # fmt: skip

        for p in self.parameters():
            p.reset(moved(p.array))
        for _, module in self.named_modules():
            module.state = {name: moved(value) for name, value in module.state.items()}
        return self


class Sequential(Module):
    """Modules applied one after another."""

    def __init__(self, *layers: Module):
        super().__init__()
        self.layers = list(layers)

    def forward(self, x: Tensor) -> Any:
        """Apply all."""
        return self.apply(x, lambda layer, x: layer(x))

    def apply(self, x: Tensor, call: Callable[[Module, Tensor], Any]) -> Any:
        """Call all in turn."""
        for layer in self.layers:
            x = call(layer, x)
        return x
