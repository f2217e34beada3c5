"""The two checks: a gradient against differences, a linear map against its transpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..arguments import generator, whole_number
from ..backend import is_array, near
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from .calls import prepared, refuse
from .examine import examine, examine_first
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
    r"""Check a gradient against finite differences, and name what is wrong with it.

    .. math:: \langle\nabla f(x), d\rangle \overset?= \varphi'(0), \qquad
              |\varphi(t) - \varphi(0) - t\,\langle\nabla f(x), d\rangle| \overset?= O(t^2),
              \qquad \varphi(t) = f(x + td)

    Each difference has a bound on its own error, from the spread over step sizes and from the
    measured noise of f. A gradient is right if it lies within that bound. Where the first step
    sizes disagree, more are tried, so a nearby kink or an odd scale raises no false alarm.
    Everything is computed in float64, whatever the dtype of the inputs. A backward is tried
    with several incoming gradients and must be linear in them.

    At a kink of f, every value between the slopes on its two sides is right, and the report
    notes the kink. Of a claim of 0 it notes how large a derivative the differences would not show.

    With ``order=n`` the derivatives of the gradient are checked too, up to order n. The gradient
    is then a function of the inputs and of the incoming gradient: the derivatives of
    :math:`\langle\nabla f, v\rangle` for random v are compared with differences of
    :math:`\nabla f`, and so on. Each order has its own diagnosis.

    Args:
        fn: the function. If it takes Tensors, PyTorch tensors or JAX arrays, the gradient that
            their library computes is checked; with ``grad`` or ``vjp`` it takes NumPy arrays.
            Integers and booleans among several outputs have no derivative and are left out.
            It may be a module, which is checked in all its parameters, or an autograd Function
            of PyTorch.
        inputs: the point: a list or tuple of arguments, a single argument, or a dict of
            arguments by name. An argument is an array, a Tensor, a number, or nested lists,
            tuples and dicts of these. Integers and booleans are passed unchanged. A module in
            place of inputs is checked in all its parameters, and fn is called with the module
            or without arguments.
        misplaced: must stay empty; it catches a ``grad`` that is passed without its name.
        order: highest order to check; 1 with ``grad`` or ``vjp``.
        grad: ``grad(*inputs)``, the claimed gradient of a scalar ``fn``: an array for each
            floating-point input. If ``fn`` returns an array, the axes of its shape come first.
        vjp: in place of ``grad``, a backward written by hand: ``vjp(g, *inputs)`` returns,
            for each floating-point input, the gradient of :math:`\langle g, f\rangle`. If
            ``fn`` has several outputs, g is nested like them.
        kwargs: keyword arguments of ``fn``, checked too.
        subgradients: accept a subgradient at a kink; False refuses every kink.
        full: compare every entry (True) or random directions (False); None decides by size.
        seed: seed of the random directions.
        rng: random generator to use in place of the seed.
    Returns:
        A report: true if every order is right; print it to see what is wrong.
    Raises:
        ConfigError: gradcheck cannot check this order or combination of arguments.
        DTypeError: no input is floating point, or fn or the claim returns another type.
        ShapeError: the claim has the wrong number of arrays or the wrong leading axes, or the
            shape of fn's output depends on the values.
    """
    refuse(fn, inputs, misplaced, order, grad, vjp, full)
    rng = generator(seed if rng is None else rng)
    with np.errstate(all="ignore"), prepared(fn, inputs, kwargs, grad, vjp) as subject:
        checks = [examine_first(subject, full, rng, subgradients)]
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
    r"""Check that one linear map is the transpose of another, up to rounding.

    .. math:: \langle f(x), y\rangle = \langle x, f^*(y)\rangle
              \quad\text{for random } x, y

    Args:
        f: a linear function of one or several arrays.
        f_adj: the adjoint of f; maps an array of f's output shape to one of each input's shape.
        x: the shape of f's input, or an array or Tensor of that shape (only its dtype and its
            library matter); a list of these for several inputs.
        trials: number of random pairs.
        seed: seed of the random pairs.
        rng: random generator to use in place of the seed.
    Returns:
        A report: true if the identity holds. Otherwise it gives the reason and, where finite
        differences can resolve them, the entries that differ.
    Raises:
        ShapeError: f_adj returns shapes that differ from those of f's inputs.
    """
    rng = generator(seed if rng is None else rng)
    models = [_model(m) for m in (x if isinstance(x, list) else [x])]
    report = AdjointReport(0.0, 0.0, 0.0)
    for _ in range(whole_number("check_adjoint: trials", trials, least=1)):
        report = _adjoint_trial(f, f_adj, models, rng)
        if not report:
            break
    return report


def _adjoint_trial(
    f: Callable, f_adj: Callable, models: list, rng: np.random.Generator
) -> AdjointReport:
    xs = [_random_like(m, rng) for m in models]
    fx = f(*xs)
    fx = np.asarray(fx) if isinstance(fx, int | float) else fx
    first = np.array(as_numpy(fx), dtype=np.float64)
    y = _random_like(fx, rng)
    pulled = several(f_adj(y))
    shapes = [as_numpy(p).shape for p in pulled]
    if shapes != [as_numpy(a).shape for a in xs]:
        raise ShapeError(
            f"check_adjoint: f takes shapes {[as_numpy(a).shape for a in xs]}, "
            f"f_adj returned {shapes}; return one array of each input's shape"
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
    size = float(np.max(np.abs(fx), initial=0.0))
    for factor, words in ((2.0, "f(2x) differs from 2 f(x)"), (-1.0, "f(-x) differs from -f(x)")):
        scaled = _wide(f(*(_same_kind(factor * _wide(a), a) for a in xs)))
        if not np.allclose(scaled, factor * fx, rtol=0.0, atol=1e-4 * size):
            return replace(report, message=f"f is not linear: {words}")
    details = gradcheck(
        lambda *arrays: as_numpy(f(*map(_same_kind, arrays, xs))),
        [_wide(a) for a in xs],
        vjp=lambda g, *arrays: [as_numpy(p) for p in several(f_adj(_same_kind(g, xs[0])))],
    )
    return replace(report, message="f_adj is not the adjoint of f", details=details)


def _wide(a: Any) -> np.ndarray:
    return as_numpy(a).astype(np.float64)


def _model(value: Any) -> Any:
    """Return the model of an input: a shape as a tuple, or an array in floating point."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return (int(value),)
    if isinstance(value, tuple) and all(isinstance(n, int) for n in value):
        return value
    array = as_numpy(value)
    if array.dtype.kind not in "iubf":
        raise DTypeError(
            f"check_adjoint: x is {value!r:.60}, expected a shape such as (2, 3) or a real array"
        )
    return array.astype(np.float64) if array.dtype.kind in "iub" else value


def _random_like(model: Any, rng: np.random.Generator) -> Any:
    if isinstance(model, tuple):
        return away_from_zero(rng, model)
    return _same_kind(away_from_zero(rng, as_numpy(model).shape), model)


def _same_kind(values: np.ndarray, model: Any) -> Any:
    """Return values in the dtype and library of a model, as a Tensor if the model is one."""
    held = model.array if isinstance(model, Tensor) else model
    array = (near(held) if is_array(held) else np).asarray(values, dtype=held.dtype)
    return Tensor(array) if isinstance(model, Tensor) else array
