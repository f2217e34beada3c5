"""Sample cases for the rule table: every primitive needs one and must pass all of its cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import conv, elementwise, fused, linalg, ops, statistics  # noqa: F401 - they fill the table
from ..geometry import moves, output_size
from ..kernels import use_kernels
from ..tensor import RULES
from .check import gradcheck
from .report import Report
from .survey import away_from_zero

_rng = np.random.default_rng(2018)


@dataclass(frozen=True)
class Case:
    """Inputs and settings for one call of a primitive.

    Args:
        inputs: arrays; integer and boolean arrays stay fixed.
        params: the settings.
    """

    inputs: list[np.ndarray]
    params: dict[str, Any] = field(default_factory=dict)


def case(*inputs: Any, **params: Any) -> Case:
    """Make a case; a shape in place of an array draws random numbers away from zero."""
    drawn = [away_from_zero(_rng, a) if isinstance(a, tuple) else a for a in inputs]
    return Case(drawn, params)


def _positive(*shape: int) -> np.ndarray:
    return np.abs(away_from_zero(_rng, shape))


def _within(*shape: int) -> np.ndarray:
    """Draw numbers well inside (-1, 1)."""
    return np.tanh(away_from_zero(_rng, shape)) * 0.8


def _treads(*shape: int) -> np.ndarray:
    """Draw nonzero integers: as far as possible from a step at a half."""
    return np.ceil(_positive(*shape)) * np.sign(away_from_zero(_rng, shape))


def _apart(*shape: int) -> np.ndarray:
    """Draw matrices with well-separated singular values and eigenvalues."""
    spread = np.arange(1.0, 1 + shape[-1]) * np.eye(shape[-2], shape[-1])
    return 2 * spread + 0.3 * _rng.normal(size=shape)


_broadcasts = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1, 2), (3, 1)), ((), (2,)), ((1, 2), (2, 2))]
_entries = [(), (4,), (2, 3)]
_reductions: list[dict[str, Any]] = [
    {"axis": None}, {"axis": 1}, {"axis": (0, 2)}, {"axis": -1, "keepdims": True},
]  # fmt: skip
_index = np.array([2, 0, 2, 2])
_selections: list[tuple[tuple[int, ...], Any]] = [
    ((4, 3), 1), ((4, 3), slice(1, 3)), ((4, 3), (slice(None, None, -2), slice(0, 2))),
    ((2, 3, 2), (..., 1)), ((3,), (None, slice(None))), ((3, 2), _index),
    ((3, 2), (_index, np.array([1, 0, 1, 0]))), ((2, 3), (slice(None), _index)),
    ((3,), np.array([[0, 1], [1, 1]])), ((4,), np.array([True, False, True, True])),
]  # fmt: skip
_geometries: list[tuple[tuple[int, int], tuple[int, int], dict[str, Any]]] = [
    ((3, 3), (2, 2), {}),
    ((4, 3), (3, 2), {"stride": (2, 1), "padding": (1, 0)}),  # ragged: a row is left over
    ((5, 4), (2, 3), {"stride": 3, "padding": 1}),
    ((2, 2), (1, 1), {"stride": 2}),
]


def _trio(which: str) -> list[Case]:
    """Make cases of one convolution of the trio, over all geometries."""
    made = []
    for size, kernel, params in _geometries:
        stride, padding = moves(params.get("stride", 1), params.get("padding", 0))
        out = output_size(which, size, kernel, stride, padding)
        x, w, y = (1, 2, *size), (2, 2, *kernel), (1, 2, *out)
        if which == "conv2d":
            made.append(case(x, w, **params))
        elif which == "conv2d_with_bias":
            made.append(case(x, w, (2,), **params))
        elif which == "conv2d_transpose":
            made.append(case(y, w, output_padding=tuple(s - 1 for s in stride), **params))
        else:
            made.append(case(x, y, kernel=kernel, **params))
    return made


CASES: dict[str, list[Case]] = {
    **{name: [case(a, b) for a, b in _broadcasts]
       for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")},
    **{name: [case(s) for s in _entries]
       for name in ("negative", "exp", "abs", "tanh", "sigmoid", "softplus")},
    **{name: [case(_positive(*s)) for s in _entries] for name in ("log", "sqrt")},
    **{name: [case((2, 3, 2), **p) for p in _reductions]
       for name in ("sum", "max", "min", "logsumexp", "var")},
    "constant": [case((2,), value=np.array([1.0, 2.0, 3.0]))],
    **{name: [case(s) for s in _entries]
       for name in ("sin", "cos", "arctan", "sinh", "cosh", "arcsinh", "expm1", "sign", "erf",
                    "erfc")},
    **{name: [case(_treads(*s) + middle) for s in _entries]
       for name, middle in (("floor", 0.5), ("ceil", 0.5), ("round", 0.0))},
    **{name: [case(_within(*s)) for s in _entries]
       for name in ("tan", "arcsin", "arccos", "arctanh", "log1p", "erfinv")},
    **{name: [case(_positive(*s)) for s in _entries]
       for name in ("log2", "log10", "gammaln", "polygamma")},
    "arccosh": [case(1.0 + _positive(*s)) for s in _entries],
    **{name: [case(a, b) for a, b in _broadcasts] for name in ("arctan2", "logaddexp", "hypot")},
    "raise_to": [case(_positive(2, 3), (3,)), case(_positive(2, 1), (2, 2)), case(_positive(), ())],
    **{name: [case(_treads(2, 3) + 0.5, np.ones(3)), case(_treads(2, 2) + 0.5, np.ones(()))]
       for name in ("floor_divide", "remainder")},
    "cumsum": [case((3,), axis=0), case((2, 3), axis=1), case((2, 3, 2), axis=1)],
    "solve": [case(_apart(3, 3), (3, 2)), case(_apart(2, 2), (2,)), case(_apart(2, 2, 2), (2, 1))],
    **{name: [case(_apart(*s)) for s in ((2, 2), (3, 3), (2, 2, 2))]
       for name in ("inv", "det", "logdet", "cholesky", "eigh")},
    "pinv": [case(_apart(*s)) for s in ((2, 2), (3, 2), (2, 3), (2, 3, 2))],
    "svd": [case(_apart(*s)) for s in ((2, 2), (3, 2), (2, 3), (2, 3, 2))],
    "power": [case(_positive(3), exponent=p) for p in (0.5, -1.5)]
             + [case((2, 2), exponent=p) for p in (0, 1, 2, 3, -1)],
    "where": [case(np.array([True, False, True]), (2, 3), (3,)),
              case(np.array([[True], [False]]), (), (2, 2))],
    "leaky_relu": [case((), slope=0.1), case((4,), slope=0.0), case((2, 3), slope=0.2)],
    "leaky_relu_pull": [case((), (), slope=0.1), case((4,), (4,), slope=0.0)],
    "broadcast_to": [case((3,), shape=(2, 3)), case((2, 1), shape=(2, 3)),
                     case((), shape=(2, 2)), case((1, 2), shape=(2, 1, 2))],
    "reshape": [case((2, 3), shape=(3, 2)), case((4,), shape=(2, -1)), case((1, 1), shape=())],
    "astype": [case((3,), dtype=np.float64), case((3,), dtype=np.float32)],
    "transpose": [case(s) for s in ((2, 3), (3,), (2, 1, 3))],
    "permute": [case((2, 3), axes=(1, 0)), case((2, 1, 3), axes=(-1, 0, 1))],
    "concat": [case((2, 2), (1, 2)), case((2, 1), (2, 2), (2, 1), axis=-1), case((3,))],
    "pad": [case((3,), widths=((1, 2),)), case((2, 2), widths=((0, 1), (2, 0)))],
    "getitem": [case(shape, index=index) for shape, index in _selections],
    "scatter": [case(np.zeros(shape)[index].shape, index=index, shape=shape)
                for shape, index in _selections],
    "matmul": [case(a, b) for a, b in (
        ((2, 3), (3, 2)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 2, 3), (3, 2)),
        ((2, 1, 2, 2), (3, 2, 1)), ((2,), (3, 2, 2)), ((3, 1), (1, 2)))],
    "normalize": [case((4, 2), (1, 2), (1, 2), axis=0, eps=1e-5),
                  case((2, 2, 3), (2, 2, 1), (2, 1), axis=(0, 2), eps=0.1),
                  case((2, 3, 2), (), (3, 1), axis=(1, 2), eps=0.1)],
    **{name: _trio(name)
       for name in ("conv2d", "conv2d_with_bias", "conv2d_transpose", "conv2d_weight")},
    "spectral_divide": [
        case(_positive(3, 2), u=np.ones(3), v=np.ones(2), axis=0, scale=1.0),
        case(_positive(2, 3, 2), u=np.ones(3), v=np.ones(4), axis=1, scale=0.7)],
    "inverse": [case(s) for s in _entries],
}  # fmt: skip
"""Cases by the primitive's name; a new primitive needs an entry here, too."""


def check_primitive(name: str, kernels: str) -> list[Report]:
    """Check one primitive's rules, first and second order, on all its cases.

    Args:
        name: name of the primitive in the rule table.
        kernels: name of the kernel module to use.
    Returns:
        One report per case; no report, which is a failure too, if the primitive has no case.
    """
    with use_kernels(kernels):
        return [
            gradcheck(lambda *xs, p=c.params: RULES[name](*xs, **p), c.inputs, order=2)
            for c in CASES.get(name, [])
        ]
