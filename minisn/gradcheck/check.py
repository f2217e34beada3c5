"""The two checks: a gradient against differences, a linear map against its transpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..backend import is_array, near
from ..errors import ShapeError
from ..tensor import Tensor
from .calls import prepared, refuse
from .examine import examine
from .report import AdjointReport, Report
from .subject import pullback
from .survey import away_from_zero
from .tree import as_numpy, several


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    *misplaced: Any,
    order: int = 1,
    grad: Callable[..., Any] | None = None,
    vjp: Callable[..., Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    subgradients: bool = True,
    full: bool | None = None,
    seed: int = 0,
    rng: np.random.Generator | None = None,
) -> Report:
    r"""Check a gradient against finite differences, and say what is wrong with it.

    .. math:: \langle\nabla f(x), d\rangle \overset?= \varphi'(0), \qquad
              |\varphi(t) - \varphi(0) - t\,\langle\nabla f(x), d\rangle| \overset?= O(t^2),
              \qquad \varphi(t) = f(x + td)

    Each difference comes with a bound of its own error, from the spread of the steps and the
    measured noise of f; a gradient is right when it lies within. The step sizes adapt where
    the first ones disagree, so a kink nearby or an odd scale raises no alarm. Everything is
    computed in float64, whatever the inputs are given in. A backward is tried with several
    incoming gradients, and must be linear in them.

    Where f has a kink, one slope, or one between them, is right, and the report tells it.

    With ``order=n`` the gradient itself is checked as well, as a function of the inputs and
    of the incoming gradient: the derivatives of :math:`\langle\nabla f, v\rangle` for random
    v against differences of :math:`\nabla f`; and so on. Each order has its own diagnosis.

    Args:
        fn: the function. Of Tensors, of PyTorch's tensors or of JAX's arrays, its own gradient
            is checked; with ``grad`` or ``vjp`` it is a function of NumPy arrays. A module, or
            an autograd Function of PyTorch, is checked with all its parameters.
        inputs: where to check: a list or tuple of arguments, each an array, Tensor, number, or
            nested lists, tuples and dicts of them; or one alone; or a dict of arguments by
            name. Integers and booleans are passed on unchanged. A module in place of inputs is
            checked in all its parameters: fn is called with it, or with nothing.
        misplaced: nothing may stand here; it is asked for to say what was meant.
        order: 1, or n for all up to the n-th (not with ``grad`` or ``vjp``).
        grad: ``grad(*inputs)``, the claimed gradient of a scalar ``fn``: an array for each
            floating-point input. If ``fn`` returns an array, the axes of its shape come first.
        vjp: in place of ``grad``, a backward written by hand: ``vjp(g, *inputs)`` returns,
            for each floating-point input, the gradient of :math:`\langle g, f\rangle`; g is
            nested as the outputs are, if they are several.
        kwargs: arguments by name, checked as well.
        subgradients: accept a subgradient at a kink; False refuses every kink.
        full: compare every entry (True) or random directions (False); None: by size.
        seed: of the random directions.
        rng: a generator to draw them from in place of the seed.
    Returns:
        A report: truthy when right, and print it when not.
    Raises:
        ConfigError: an order or a combination of arguments that cannot be checked.
        DTypeError: nothing to differentiate, or fn returns something else than asked.
        ShapeError: the claim's number of arrays or leading axes do not fit.
    """
    refuse(fn, inputs, misplaced, order, grad, vjp)
    rng = np.random.default_rng(seed) if rng is None else rng
    with np.errstate(all="ignore"), prepared(fn, inputs, kwargs, grad, vjp) as subject:
        checks = [examine(subject, 1, full, rng, subgradients)]
        for n in range(2, order + 1):
            subject.value(subject.point.x)
            seeds = [away_from_zero(rng, shape) for shape in subject.shapes]
            subject = pullback(subject, seeds)
            checks.append(examine(subject, n, full, rng, subgradients))
    return Report(tuple(checks))


def check_adjoint(
    f: Callable[..., Any],
    f_adj: Callable[..., Any],
    x: Any,
    *,
    trials: int = 3,
    seed: int = 0,
    rng: np.random.Generator | None = None,
) -> AdjointReport:
    r"""Test that one linear map is the transpose of another, to rounding.

    .. math:: \langle f(x), y\rangle = \langle x, f^*(y)\rangle
              \quad\text{for random } x, y

    Args:
        f: a linear function of one or several arrays.
        f_adj: its adjoint: from an array of f's output shape to one of each input's shape.
        x: the shape of f's input, or an array or Tensor like it (its dtype and library are
            used, not its values); a list of these for several inputs.
        trials: how many random pairs.
        seed: of the random pairs.
        rng: a generator to draw them from in place of the seed.
    Returns:
        A report: truthy when the identity holds; otherwise with the reason, and where the
        two differ, entry by entry, as far as finite differences can tell.
    Raises:
        ShapeError: f_adj returns other shapes than f's inputs have.
    """
    rng = np.random.default_rng(seed) if rng is None else rng
    models = [_model(m) for m in (x if isinstance(x, list) else [x])]
    report = AdjointReport(0.0, 0.0, 0.0)
    for _ in range(trials):
        report = _adjoint_trial(f, f_adj, models, rng)
        if not report:
            break
    return report


def _adjoint_trial(
    f: Callable, f_adj: Callable, models: list, rng: np.random.Generator
) -> AdjointReport:
    xs = [_random_like(m, rng) for m in models]
    fx = f(*xs)
    first = np.array(as_numpy(fx), dtype=np.float64)
    y = _random_like(fx, rng)
    pulled = several(f_adj(y))
    shapes = [as_numpy(p).shape for p in pulled]
    if shapes != [as_numpy(a).shape for a in xs]:
        raise ShapeError(
            f"check_adjoint: f takes shapes {[as_numpy(a).shape for a in xs]}, "
            f"f_adj returned {shapes}"
        )
    there, back = [(first, y)], list(zip(xs, pulled, strict=True))
    left, right = (sum(float(np.vdot(_wide(a), _wide(b))) for a, b in s) for s in (there, back))
    eps = max(float(np.finfo(as_numpy(a).dtype).eps) for a in (fx, y, *xs, *pulled))
    size = sum(float(np.linalg.norm(_wide(a)) * np.linalg.norm(_wide(b))) for a, b in there + back)
    report = AdjointReport(left, right, 32 * eps * size)
    if not np.array_equal(first, as_numpy(f(*xs)), equal_nan=True):
        return replace(report, message="f changed state: two calls with the same x differ")
    if not np.isfinite(left) or not np.isfinite(right):
        return replace(report, message="non-finite: f or f_adj returned a NaN or an infinity")
    if abs(left - right) <= report.bound:
        return report
    return _explain(report, f, f_adj, xs, first)


def _explain(
    report: AdjointReport, f: Callable, f_adj: Callable, xs: list, fx: np.ndarray
) -> AdjointReport:
    twice = _wide(f(*(_same_kind(2.0 * _wide(a), a) for a in xs)))
    size = float(np.max(np.abs(fx), initial=0.0))
    if not np.allclose(twice, 2.0 * fx, rtol=0.0, atol=1e-4 * size):
        return replace(report, message="f is not linear: f(2x) differs from 2 f(x)")
    details = gradcheck(
        lambda *arrays: as_numpy(f(*map(_same_kind, arrays, xs))),
        [_wide(a) for a in xs],
        vjp=lambda g, *arrays: [as_numpy(p) for p in several(f_adj(_same_kind(g, xs[0])))],
    )
    return replace(report, message="f_adj is not the adjoint of f", details=details)


def _wide(a: Any) -> np.ndarray:
    return as_numpy(a).astype(np.float64)


def _model(value: Any) -> Any:
    """Read what stands for an input: a shape, also as one number, or an array, not of integers."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return (int(value),)
    if isinstance(value, tuple) and all(isinstance(n, int) for n in value):
        return value
    array = as_numpy(value)
    return array.astype(np.float64) if array.dtype.kind in "iub" else value


def _random_like(model: Any, rng: np.random.Generator) -> Any:
    if isinstance(model, tuple):
        return away_from_zero(rng, model)
    return _same_kind(away_from_zero(rng, as_numpy(model).shape), model)


def _same_kind(values: np.ndarray, model: Any) -> Any:
    """Make values of the dtype and library of a model, and a Tensor if it is one."""
    held = model.array if isinstance(model, Tensor) else model
    array = (near(held) if is_array(held) else np).asarray(values, dtype=held.dtype)
    return Tensor(array) if isinstance(model, Tensor) else array
