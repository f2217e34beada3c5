"""Optimizers: plain descent (23) and Adam, on all parameters as one flat vector."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate
from math import prod, sqrt
from typing import Any

import numpy as np

from . import kernels
from .arguments import real_number
from .backend import Array, check_together, is_numpy, namespace, near, same_place, to_numpy
from .errors import DTypeError, GraphError, NonFiniteError, ShapeError
from .tensor import Tensor, as_tensor, is_floating

Gradients = Sequence[Any]
"""One for each parameter: tensors, or arrays."""

Parameters = Iterable[Tensor] | Mapping[str, Tensor]
"""What an optimizer updates; errors name a parameter by its name, or by its number."""


@dataclass(frozen=True)
class AdamSettings:
    r"""A row of Table 1: step size, decay rates, and D updates per G update.

    Args:
        rate: :math:`\alpha`.
        beta1, beta2: decay of the first and second moment.
        n_dis: updates of D for one of G.

    Source: [M18 Table 1]
    """

    rate: float
    beta1: float
    beta2: float
    n_dis: int


TABLE_1 = {
    "A": AdamSettings(1e-4, 0.5, 0.9, 5),
    "B": AdamSettings(1e-4, 0.5, 0.999, 1),
    "C": AdamSettings(2e-4, 0.5, 0.999, 1),
    "D": AdamSettings(1e-3, 0.5, 0.9, 5),
    "E": AdamSettings(1e-3, 0.5, 0.999, 5),
    "F": AdamSettings(1e-3, 0.9, 0.999, 5),
}
"""The paper's six settings by letter [M18 Table 1]."""


class _Flat:
    """Parameters and gradients as two flat vectors, in the order of the parameters."""

    def __init__(self, parameters: Parameters):
        if isinstance(parameters, Tensor | Set) or not isinstance(parameters, Iterable):
            raise DTypeError(
                f"an optimizer: expected parameters in an order, got a "
                f"{type(parameters).__name__}; pass network.parameters(), or a list of tensors"
            )
        named = parameters if isinstance(parameters, Mapping) else dict(enumerate(parameters))
        self.names, self.parameters = list(named), list(named.values())
        if not self.parameters:
            raise ShapeError("an optimizer needs at least one parameter, got none")
        first: dict[int, Any] = {}
        for name, p in named.items():
            if first.setdefault(id(p), name) != name:
                raise DTypeError(
                    f"parameter {name} is parameter {first[id(p)]} again; list it once"
                )
            if not isinstance(p, Tensor) or p.op is not None or not is_floating(p.array):
                got = f"dtype {p.dtype}" if isinstance(p, Tensor) else f"a {type(p).__name__}"
                raise DTypeError(
                    f"parameter {name}: expected a floating-point Tensor that was not "
                    f"computed, got {got}; pass network.parameters()"
                )
        self._check_dtypes(self.parameters[0].dtype)
        self.dtype = self.parameters[0].dtype
        self._joined: Array | None = None
        self._versions: list[int] = []
        self.latest: Array | None = None  # the gradients of the last step

    def _check_dtypes(self, dtype: Any) -> None:
        """Refuse parameters of different dtypes, because they share one vector."""
        for name, p in zip(self.names, self.parameters, strict=True):
            if p.dtype != dtype:
                raise DTypeError(
                    f"parameter {name} is {p.dtype}, expected {dtype}, the dtype of the first one "
                    "when the optimizer was made; convert all with network.to(dtype=...), then "
                    "make the optimizer"
                )

    def values(self) -> Array:
        """Return the parameters as one vector: the last one assigned, if nothing has changed."""
        if self._joined is None or self._versions != [p.version for p in self.parameters]:
            return _join([p.array for p in self.parameters], None)
        return self._joined

    def gradients(self, grads: Gradients | None) -> Array:
        """Join the gradients that the caller passes, or those that ``backward()`` left."""
        if grads is None:
            if all(p.grad is None for p in self.parameters):
                raise GraphError(
                    "step: no parameter has a gradient; call loss.backward() first, "
                    "or pass grad(loss, parameters)"
                )
            given = [
                p.grad.array
                if p.grad is not None and p.requires_grad
                else namespace(p.array).zeros_like(p.array)
                for p in self.parameters
            ]
        else:
            grads = [grads] if isinstance(grads, Tensor) else grads
            if isinstance(grads, Mapping | Set) or not isinstance(grads, Iterable):
                raise DTypeError(
                    "step: expected a list of gradients, in the order of the parameters, got a "
                    f"{type(grads).__name__}"
                )
            given = [as_tensor(g).array for g in grads]
        if len(given) != len(self.parameters):
            raise ShapeError(
                f"step: expected one gradient for each of {len(self.parameters)} parameters, in "
                f"their order, got {len(given)}"
            )
        check_together("step", [self.parameters[0].array, *given])
        for name, p, g in zip(self.names, self.parameters, given, strict=True):
            if g.shape != p.shape:
                raise ShapeError(
                    f"step: the gradient of parameter {name} has shape {g.shape}, expected "
                    f"{p.shape}; pass gradients in the order of the parameters"
                )
        self._check_dtypes(self.dtype)
        if any(is_numpy(g) and g.dtype.kind == "c" for g in given):
            raise DTypeError("step: expected real gradients, got complex ones")
        given = [
            g.astype(self.dtype) if is_numpy(g) and g.dtype != self.dtype else g for g in given
        ]
        self.latest = _join(given, self.latest)
        return self.latest

    def check(self, what: str, vector: Array) -> None:
        """Refuse a vector with a NaN or an infinity; the error names the parameter."""
        if not kernels.finite_or_unseen(vector):
            if self.latest is not None and not kernels.finite_or_unseen(self.latest):
                what, vector = "the gradient", self.latest
            ends = accumulate(prod(p.shape) for p in self.parameters)
            named = zip(self.names, ends, strict=True)
            name = next(name for name, end in named if not kernels.finite_or_unseen(vector[:end]))
            raise NonFiniteError(
                f"step: {what} of parameter {name} is not finite or too large for {vector.dtype}; "
                "no parameter was changed: training has diverged (lower the step size) or met a NaN"
            )

    def assign(self, vector: Array) -> None:
        """Give the parameters the parts of a vector as new values; frozen ones keep theirs."""
        self.check("the new value", vector)
        xp = namespace(vector)
        start = 0
        for p in self.parameters:
            end = start + prod(p.shape)
            if p.requires_grad:
                p.reset(xp.reshape(vector[start:end], p.shape))
            else:
                vector[start:end] = xp.reshape(p.array, (-1,))
            start = end
        self._joined, self._versions = vector, [p.version for p in self.parameters]


def _join(arrays: Sequence[Array], room: Array | None) -> Array:
    """Copy arrays one after another into one vector, into ``room`` if they fit."""
    xp, dtype = namespace(arrays[0]), arrays[0].dtype
    if room is None or not same_place(room, arrays[0]) or room.dtype != dtype:
        room = near(arrays[0]).empty((sum(prod(a.shape) for a in arrays),), dtype=dtype)
    start = 0
    for a in arrays:
        end = start + prod(a.shape)
        room[start:end] = xp.reshape(a, (-1,))
        start = end
    return room


class _Optimizer:
    """Settings with known names, and parameters whose gradients can be cleared."""

    names: tuple[str, ...]
    _flat: _Flat

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; refuse a name that no step would read."""
        if name not in self.names and not hasattr(self, name):
            raise AttributeError(
                f"{type(self).__name__} has no setting {name!r}; its settings are "
                f"{', '.join(n for n in self.names if n[0] != '_')}"
            )
        vars(self)[name] = value

    def zero_grad(self) -> None:
        """Clear the gradients that ``backward()`` has added to the parameters."""
        for p in self._flat.parameters:
            p.grad = None


class SGD(_Optimizer):
    r"""Plain gradient descent.

    .. math:: W \leftarrow W - \alpha\,\nabla_W \ell

    Args:
        parameters: the tensors to update, or a mapping from names to them.
        rate: :math:`\alpha`.

    Source: [M18 Eq. (23)]
    """

    names = ("_flat", "rate")

    def __init__(self, parameters: Parameters, rate: float):
        self._flat = _Flat(parameters)
        self.rate = real_number("SGD: rate", rate, 0.0)

    def step(self, grads: Gradients | None = None) -> None:
        """Update every parameter with its gradient.

        Args:
            grads: in the order of the parameters. None takes what ``loss.backward()`` has added up,
                or 0 where there is no gradient; the sums stay until :meth:`zero_grad`.
        Raises:
            NonFiniteError: a gradient or a new value is not finite; names the parameter.
        """
        flat, rate = self._flat, real_number("SGD: rate", self.rate, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is refused below
            flat.assign(flat.values() - rate * flat.gradients(grads))


class Adam(_Optimizer):
    r"""Adam: descent along a mean gradient, entry by entry in units of its root mean square.

    .. math:: m \leftarrow \beta_1 m + (1-\beta_1) g, \quad
              v \leftarrow \beta_2 v + (1-\beta_2) g^2, \quad \theta \leftarrow \theta - \alpha
              \frac{m / (1-\beta_1^t)}{\sqrt{v / (1-\beta_2^t)} + \epsilon}

    Args:
        parameters: the tensors to update, or a mapping from names to them.
        rate: :math:`\alpha`.
        beta1, beta2: decay of the first and second moment.
        eps: keeps the quotient finite.

    Source: [M18 Table 1]; Kingma and Ba (2015)
    Deviation: L21's code, in TensorFlow, adds epsilon to the root of the uncorrected v; in early
    steps epsilon then counts for more. As we recall, and did not check, Chainer's Adam, which M18's
    code uses, does the same.
    """

    names = ("_flat", "beta1", "beta2", "eps", "m", "rate", "steps", "v")

    def __init__(
        self,
        parameters: Parameters,
        rate: float,
        beta1: float = 0.5,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ):
        self._flat = _Flat(parameters)
        self.rate, self.beta1, self.beta2, self.eps = rate, beta1, beta2, eps
        self._settings()
        self.steps = 0
        values = self._flat.values()
        self.m = namespace(values).zeros_like(values)
        self.v = namespace(values).zeros_like(values)

    def step(self, grads: Gradients | None = None) -> None:
        """Update every parameter with its gradient.

        Args:
            grads: in the order of the parameters. None takes what ``loss.backward()`` has added up,
                or 0 where there is no gradient; the sums stay until :meth:`zero_grad`.
        Raises:
            NonFiniteError: a gradient or a new value is not finite; names the parameter.
                Parameters and moments stay as they were.
        """
        check_together("step", (self.m, self._flat.parameters[0].array))
        rate, beta1, beta2, eps = self._settings()
        g, steps = self._flat.gradients(grads), self.steps + 1
        root = sqrt(1 - beta2**steps)
        now, rate, eps = self._flat.values(), rate * root / (1 - beta1**steps), eps * root
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is refused below
            theta, m, v = kernels.of(g).adam(now, g, self.m, self.v, rate, beta1, beta2, eps)
        self._flat.check("the gradient, or its square,", v)
        self._flat.assign(theta)
        self.m, self.v, self.steps = m, v, steps

    def _settings(self) -> tuple[float, ...]:
        """Return rate, decays and eps; a caller may have changed them."""
        rate, eps = real_number("Adam: rate", self.rate, 0), real_number("Adam: eps", self.eps, 0)
        beta1 = real_number("Adam: beta1", self.beta1, 0, 1)
        return rate, beta1, real_number("Adam: beta2", self.beta2, 0, 1), eps

    def gradient_norm(self) -> float:
        r"""Return the length of the last gradient, over all parameters.

        .. math:: \|g\|_2

        It is computed on request, so it costs a step nothing.

        Returns:
            The norm; 0 before the first step; not finite if a step was refused for that reason.
        """
        g = self._flat.latest
        return 0.0 if g is None else float(np.linalg.norm(to_numpy(g).astype(np.float64)))
