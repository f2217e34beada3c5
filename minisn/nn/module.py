"""Modules: parts of a network, with named parameters and named state.

A parameter is a leaf with ``requires_grad``, or one that was frozen since by switching it off.
State changes without a gradient: u and v of spectral normalization, running moments of batch
normalization. Both are saved; only parameters go to an optimizer.
"""

import itertools
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import is_dataclass
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from ..arguments import switch
from ..backend import Array, is_array, is_numpy, namespace, near, to_device, to_numpy
from ..display import table
from ..errors import CheckpointError, DTypeError
from ..tensor import Tensor, is_floating

HIDDEN = ("training", "lipschitz")
"""Attributes that :func:`describe` leaves out."""


class Module:
    """A part of a network, with its parameters, its state and its own parts.

    An attribute is a parameter if it is a Tensor with ``requires_grad``, and a part if it is a
    Module. Both may lie in nested lists, tuples, dicts, similar containers and dataclasses.
    ``state`` holds arrays by name. A part that is used twice counts once, under its first name.
    """

    training: bool
    state: dict[str, Array]

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Make a module that works even if its class forgets ``super().__init__()``."""
        self = super().__new__(cls)
        self.training, self.state = True, {}
        return self

    def __init__(self) -> None:
        """Do nothing: ``__new__`` sets all attributes."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; ``state`` is always a dict of arrays."""
        if name == "state" and not isinstance(value, dict):
            raise DTypeError(
                f"{type(self).__name__}.state holds arrays without a gradient by name, as a dict, "
                f"got a {type(value).__name__}; give a parameter or a part another name"
            )
        super().__setattr__(name, value)

    def forward(self, *inputs: Any) -> Any:
        """Compute the result; each module defines it."""
        raise TypeError(f"{type(self).__name__} has no forward; define it")

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        return self.forward(*(Tensor(x) if is_array(x) else x for x in inputs), **settings)

    def __repr__(self) -> str:
        return describe(self)

    def _repr_html_(self) -> str:
        """Return a table of the parts that have parameters, for notebooks."""
        rows, parameters = [], self.parameters()
        for name, module in self.named_modules():
            own = [p for _, p in module.own_parts() if isinstance(p, Tensor)]
            if own:
                words = describe(module).split("\n")[0]
                rows.append((name, words, f"{sum(p.size for p in own):,}"))
        total = sum(p.size for p in parameters)
        title = f"{type(self).__name__}, {total:,} parameters"
        return table(title, rows, ("part", "what it is", "parameters"))

    # -- walking ---------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Yield this module and all its parts, each once, with dotted names."""
        return _modules(self, prefix, {})

    def own_parts(self, prefix: str = "") -> Iterator[tuple[str, "Module | Tensor"]]:
        """Yield the modules and parameters that this module holds itself, with dotted names."""
        path, seen = f"{prefix}." if prefix else "", dict[int, Any]()
        for name, value in vars(self).items():
            if name != "state" and _may_hold(value):
                yield from _parts(path + name, value, seen)

    def named_parameters(self) -> dict[str, Tensor]:
        """Return every parameter by dotted name, in a fixed order.

        A parameter that several parts share appears once, under its first name.
        """
        first: dict[int, tuple[str, Tensor]] = {}
        for prefix, module in self.named_modules():
            for name, part in module.own_parts(prefix):
                if isinstance(part, Tensor):
                    first.setdefault(id(part), (name, part))
        named = dict(first.values())
        if len(named) < len(first):
            names = [name for name, _ in first.values()]
            twice = next(name for name in names if names.count(name) > 1)
            raise DTypeError(f"two parameters are named {twice}; give their parts other names")
        return named

    def parameters(self) -> list[Tensor]:
        """Return every parameter, in a fixed order."""
        return list(self.named_parameters().values())

    def zero_grad(self) -> None:
        """Remove the gradients that ``backward()`` has added to the parameters."""
        for p in self.parameters():
            p.grad = None

    def train(self, on: bool = True) -> Self:
        """Switch to training, where batch normalization uses the moments of the batch."""
        for _, module in self.named_modules():
            module.training = switch("train: on", on)
        return self

    def eval(self) -> Self:
        """Switch to evaluation, where no state changes."""
        return self.train(False)

    # -- saving ------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays of all parameters and all state, by dotted name."""
        found = {name: p.array for name, p in self.named_parameters().items()}
        for prefix, module in self.named_modules():
            for name, value in module.state.items():
                name = f"{prefix}.{name}" if prefix else name
                if name in found:
                    raise DTypeError(f"a parameter and a state are named {name}; rename one")
                found[name] = value
        return found

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Set all parameters and state from the arrays of a :meth:`state_dict`.

        Raises:
            CheckpointError: a name is missing or unknown, or a shape differs.
        """
        if not isinstance(arrays, Mapping):
            raise CheckpointError(
                "load_state_dict: expected arrays by name, as from state_dict(), got a "
                f"{type(arrays).__name__}"
            )
        mine = self.state_dict()
        missing, unknown = (
            sorted(map(str, a.keys() - b.keys())) for a, b in ((mine, arrays), (arrays, mine))
        )
        if missing or unknown:
            raise CheckpointError(
                "the arrays belong to another network: "
                + "; ".join(
                    f"{what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
                    for what, names in (("missing", missing), ("unknown", unknown))
                    if names
                )
            )
        arrays = {name: _array(name, value) for name, value in arrays.items()}
        for name, array in arrays.items():
            if tuple(array.shape) != tuple(mine[name].shape):
                raise CheckpointError(
                    f"{name} has shape {tuple(array.shape)}, this network expects "
                    f"{tuple(mine[name].shape)}; load arrays of the same architecture"
                )
        taken = {
            name: near(mine[name]).asarray(to_numpy(array), dtype=mine[name].dtype, copy=True)
            for name, array in arrays.items()
        }
        for name, p in self.named_parameters().items():
            p.assign(taken[name])
        for prefix, module in self.named_modules():
            for name in module.state:
                module.state[name] = taken[f"{prefix}.{name}" if prefix else name]

    def to(self, device: str = "cpu", dtype: Any = None) -> Self:
        """Move all parameters and state to a device and, optionally, to another dtype.

        Args:
            device: a name in :data:`minisn.backend.DEVICES`, ``"cpu"`` or ``"cuda"``.
            dtype: a floating-point dtype such as ``"float64"`` or ``np.float64``; None keeps the
                dtypes.
        Raises:
            DTypeError: not a floating-point dtype; nothing changes.
        """
        kind = None if dtype is None else _floating(dtype)

        def moved(array: Array) -> Array:
            array = to_device(array, device)
            if not kind or not is_floating(array):
                return array
            return namespace(array).astype(array, getattr(namespace(array), kind))

        parameters = [(p, moved(p.array)) for p in self.parameters()]
        states = [
            (module, {name: moved(value) for name, value in module.state.items()})
            for _, module in self.named_modules()
        ]
        for p, array in parameters:
            p.reset(array)
        for module, state in states:
            module.state = state
        return self


def _array(name: str, value: Any) -> Array:
    """Return a loaded value as an array of real numbers."""
    value = value.detach().array if isinstance(value, Tensor) else value
    try:
        array = value if is_array(value) else np.asarray(value)
    except ValueError:  # lists of unequal lengths
        array = np.asarray(None)
    if is_numpy(array) and array.dtype.kind not in "biuf":
        raise CheckpointError(f"{name}: expected an array of real numbers, got {value!r:.60}")
    return array


_PLAIN = (str, bytes, int, float, type(None), range)
"""Types that hold no parts."""

_ITERATORS: tuple[type, ...] = (
    types.GeneratorType, map, filter, zip, enumerate, itertools.chain, itertools.islice,
    type(iter([])), type(iter(())), type(iter({}.values())), type(reversed([])), type(reversed(())),
)  # fmt: skip
"""Types that iteration would exhaust."""


def _may_hold(value: Any) -> bool:
    """Return whether a value is a part, or may hold parts."""
    if isinstance(value, _PLAIN):
        return False
    if isinstance(value, np.ndarray):
        return value.dtype == object
    return isinstance(value, (Module, Tensor, Collection, SimpleNamespace, *_ITERATORS)) or (
        is_dataclass(value) and not isinstance(value, type)
    )


def _parts(name: str, value: Any, seen: dict[int, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the modules and parameters in nested containers, with dotted names.

    Raises:
        DTypeError: a part is in a set, which has no order, or may be in an iterator.
    """
    if isinstance(value, Tensor):
        if value.is_parameter:
            yield name, value
    elif isinstance(value, Module):
        yield name, value
    elif isinstance(value, Set):
        if any(isinstance(v, Module | Tensor) for v in value):
            raise DTypeError(f"{name} is a set, whose parts have no order; use a list")
    elif isinstance(value, _ITERATORS):
        raise DTypeError(
            f"{name} is a {type(value).__name__}, which can be iterated only once; use a list"
        )
    elif id(value) not in seen:
        seen[id(value)] = value  # a list may hold itself; kept, for the next may take its id
        items: Iterable[tuple[Any, Any]]
        if isinstance(value, Mapping):
            items = value.items()
        elif isinstance(value, Iterable):
            items = enumerate(value)
        else:
            items = vars(value).items()
        for key, part in items:
            if _may_hold(part):
                yield from _parts(f"{name}.{key}", part, seen)


def _modules(module: Module, prefix: str, seen: dict[int, Module]) -> Iterator[tuple[str, Module]]:
    seen[id(module)] = module
    yield prefix, module
    for name, part in module.own_parts(prefix):
        if isinstance(part, Module) and id(part) not in seen:
            yield from _modules(part, name, seen)


def describe(module: Module, seen: frozenset[int] = frozenset()) -> str:
    """Describe a module by its settings, the shapes of its parameters, and its parts."""
    if id(module) in seen:
        return f"{type(module).__name__}(...)"  # a module that holds itself
    shown, lines = [], []
    for path, part in module.own_parts():
        if isinstance(part, Tensor):
            shown.append(f"{path}={list(part.shape)}")
        else:
            below = describe(part, seen | {id(module)}).replace("\n", "\n  ")
            lines.append(f"  {path}: {below}")
    for key, value in vars(module).items():
        if isinstance(value, int | float | str) and key[:1] != "_" and key not in HIDDEN:
            shown.append(f"{key}={value!r}")
        elif key == "_scheme" and type(value).__name__ != "Reparametrization":
            shown.append(f"reparametrize={type(value).__name__}")
    return "\n".join([f"{type(module).__name__}({', '.join(shown)})", *lines])


def _floating(dtype: Any) -> str:
    """Return the name of a floating-point dtype."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.kind != "f":
        raise DTypeError(f"to: expected a floating-point dtype such as 'float32', got {dtype!r}")
    return found.name


class Sequential(Module):
    """A chain of modules, applied one after another.

    Args:
        layers: the modules, or a single list of them.
    """

    def __init__(self, *layers: Module):
        super().__init__()
        if len(layers) == 1 and isinstance(layers[0], list | tuple):
            (layers,) = layers  # type: ignore[assignment]
        for layer in layers:
            if not callable(layer) or isinstance(layer, type):
                raise DTypeError(f"Sequential: expected modules, got {layer!r}; pass instances")
        self.layers = list(layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __getitem__(self, index: Any) -> Any:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def forward(self, x: Tensor) -> Any:
        """Apply all modules in turn."""
        for layer in self.layers:
            x = layer(x)
        return x
