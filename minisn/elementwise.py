"""More operations entry by entry, each rule beside its forward, as in ``ops``."""

# mypy: disable-error-code="has-type"
# (a rule may name the primitive that it belongs to)
import math
from typing import Any

import numpy as np

from .answers import enter
from .arguments import generator, real_number, whole_number
from .backend import bring, is_numpy, namespace, to_numpy
from .errors import DTypeError
from .ops import exp, log, log_softmax, sigmoid, where
from .tensor import Tensor, as_tensor, is_floating, primitive

# -- circular and hyperbolic functions --------------------------------------------------------


@primitive(lambda g, x: g * cos(x))
def sin(x):
    r"""Compute the sine.

    .. math:: y = \sin x, \qquad \bar x = \bar y\cos x
    """
    return namespace(x).sin(x)


@primitive(lambda g, x: -g * sin(x))
def cos(x):
    r"""Compute the cosine.

    .. math:: y = \cos x, \qquad \bar x = -\bar y\sin x
    """
    return namespace(x).cos(x)


@primitive(lambda g, y: g * (1.0 + y * y))
def tan(x):
    r"""Compute the tangent.

    .. math:: y = \tan x, \qquad \bar x = \bar y\,(1 + y^2)
    """
    return namespace(x).tan(x)


@primitive(lambda g, x: g * (1.0 - x * x) ** -0.5)
def arcsin(x):
    r"""Compute the inverse of the sine.

    .. math:: y = \arcsin x, \qquad \bar x = \bar y / \sqrt{1 - x^2}
    """
    return namespace(x).asin(x)


@primitive(lambda g, x: -g * (1.0 - x * x) ** -0.5)
def arccos(x):
    r"""Compute the inverse of the cosine.

    .. math:: y = \arccos x, \qquad \bar x = -\bar y / \sqrt{1 - x^2}
    """
    return namespace(x).acos(x)


@primitive(lambda g, x: g / (1.0 + x * x))
def arctan(x):
    r"""Compute the inverse of the tangent.

    .. math:: y = \arctan x, \qquad \bar x = \bar y / (1 + x^2)
    """
    return namespace(x).atan(x)


@primitive(lambda g, a, b: g * _over_square(b, a), lambda g, a, b: -g * _over_square(a, b))
def arctan2(a, b):
    r"""Compute the angle of the point (b, a), in all four quadrants; at 0 the gradient is 0.

    .. math:: y = \arg(b + ia), \qquad \bar a = \frac{\bar y\,b}{a^2 + b^2}, \quad
              \bar b = \frac{-\bar y\,a}{a^2 + b^2}
    """
    return namespace(a).atan2(a, b)


@primitive(lambda g, x: g * cosh(x))
def sinh(x):
    r"""Compute the hyperbolic sine.

    .. math:: y = \sinh x, \qquad \bar x = \bar y\cosh x
    """
    return namespace(x).sinh(x)


@primitive(lambda g, x: g * sinh(x))
def cosh(x):
    r"""Compute the hyperbolic cosine.

    .. math:: y = \cosh x, \qquad \bar x = \bar y\sinh x
    """
    return namespace(x).cosh(x)


@primitive(lambda g, x: g / hypot(x, 1.0))
def arcsinh(x):
    r"""Compute the inverse of the hyperbolic sine.

    .. math:: y = \mathrm{arsinh}\,x, \qquad \bar x = \bar y / \sqrt{x^2 + 1}
    """
    return namespace(x).asinh(x)


@primitive(lambda g, x: g * (x - 1.0) ** -0.5 * (x + 1.0) ** -0.5)
def arccosh(x):
    r"""Compute the inverse of the hyperbolic cosine.

    .. math:: y = \mathrm{arcosh}\,x, \qquad \bar x = \bar y / \sqrt{x^2 - 1}
    """
    return namespace(x).acosh(x)


@primitive(lambda g, x: g / (1.0 - x * x))
def arctanh(x):
    r"""Compute the inverse of the hyperbolic tangent.

    .. math:: y = \mathrm{artanh}\,x, \qquad \bar x = \bar y / (1 - x^2)
    """
    return namespace(x).atanh(x)


# -- exponentials, logarithms and powers ----------------------------------------------------------


@primitive(lambda g, x: g * exp(x))
def expm1(x):
    r"""Compute the exponential minus 1, accurate near 0.

    .. math:: y = e^x - 1, \qquad \bar x = \bar y\,e^x
    """
    return namespace(x).expm1(x)


@primitive(lambda g, x: g / (1.0 + x))
def log1p(x):
    r"""Compute the logarithm of 1 + x, accurate near 0.

    .. math:: y = \log(1 + x), \qquad \bar x = \bar y / (1 + x)
    """
    return namespace(x).log1p(x)


@primitive(lambda g, x: g / (x * math.log(2)))
def log2(x):
    r"""Compute the logarithm to base 2.

    .. math:: y = \log_2 x, \qquad \bar x = \bar y / (x \log 2)
    """
    return namespace(x).log2(x)


@primitive(lambda g, x: g / (x * math.log(10)))
def log10(x):
    r"""Compute the logarithm to base 10.

    .. math:: y = \log_{10} x, \qquad \bar x = \bar y / (x \log 10)
    """
    return namespace(x).log10(x)


@primitive(lambda g, a, b: g * _falling(a, b), lambda g, a, b: g * _falling(b, a))
def logaddexp(a, b):
    r"""Compute the logarithm of a sum of two exponentials, without overflow.

    .. math:: y = \log(e^a + e^b), \qquad \bar a = \bar y\,\mathrm{sigmoid}(a - b), \quad
              \bar b = \bar y\,\mathrm{sigmoid}(b - a)
    """
    return namespace(a).logaddexp(a, b)


def _falling(a, b):
    """Return the share of a in the gradient; equal infinities get half each."""
    tied = Tensor.wrap((a.array == b.array) & namespace(a.array).isinf(a.array))
    return sigmoid(where(tied, 0.0, a - b))


def deg2rad(x: Tensor) -> Tensor:
    r"""Convert degrees to radians.

    .. math:: y = \pi x / 180
    """
    return as_tensor(x) * (math.pi / 180)


def rad2deg(x: Tensor) -> Tensor:
    r"""Convert radians to degrees.

    .. math:: y = 180 x / \pi
    """
    return as_tensor(x) * (180 / math.pi)


def exp2(x: Tensor) -> Tensor:
    r"""Raise 2 to a power.

    .. math:: y = 2^x
    """
    return raise_to(2.0, x)


def square(x: Tensor) -> Tensor:
    r"""Multiply every entry by itself.

    .. math:: y = x^2
    """
    x = as_tensor(x)
    return x * x


def reciprocal(x: Tensor) -> Tensor:
    r"""Divide 1 by every entry.

    .. math:: y = 1 / x
    """
    return 1.0 / as_tensor(x)


@primitive(lambda g, a, b: _by_base(g, a, b), lambda g, y, a, b: _by_exponent(g, y, a, b))
def raise_to(a, b):
    r"""Raise a tensor to powers given by another tensor, with broadcasting.

    .. math:: y = a^b, \qquad \bar a = \bar y\,b\,a^{b-1}, \quad \bar b = \bar y\,y\log a

    For exponent 0, the gradient of the base is 0. For base 0, the gradient of a root is 0, as in
    :func:`minisn.ops.sqrt`, and so is the gradient of an exponent of at least 0.
    """
    if all(namespace(t).isdtype(t.dtype, "integral") for t in (a, b)) and namespace(b).any(b < 0):
        raise DTypeError("power: integers have no negative powers; convert them to float64 first")
    return a**b


def _by_base(g, a, b):
    root = (a.array == 0) & (b.array >= 0) & (b.array < 1)
    flat = Tensor.wrap(root | ((b.array == 0) & (a.array != a.array)))  # NaN to the power of 0 is 1
    return where(flat, 0.0, g * b * raise_to(where(flat, 1.0, a), b - 1.0))


def _by_exponent(g, y, a, b):
    flat = Tensor.wrap((a.array == 0) & (b.array >= 0))
    return where(flat, 0.0, g * y * log(where(flat, 1.0, a)))


@primitive(lambda g, y, a: g * _over(a, y), lambda g, y, b: g * _over(b, y))
def hypot(a, b):
    r"""Compute the length of the vector (a, b); at 0 the gradient is 0.

    .. math:: y = \sqrt{a^2 + b^2}, \qquad \bar a = \bar y\,a / y, \quad \bar b = \bar y\,b / y
    """
    return namespace(a).hypot(a, b)


def _over_square(a, b):
    """Return a / (a^2 + b^2), without overflow."""
    length = hypot(a, b)
    return _over(_over(a, length), length)


def _over(a, y):
    origin = Tensor.wrap(y.array == 0)
    return where(origin, 0.0, a / where(origin, 1.0, y))


# -- steps: constant between their jumps -----------------------------------------------------------


@primitive(None)
def sign(x):
    r"""Return the sign of every entry, 0 at 0.

    .. math:: y = [x > 0] - [x < 0], \qquad \bar x = 0
    """
    return namespace(x).sign(x)


@primitive(None)
def floor(x):
    r"""Round down.

    .. math:: y = \lfloor x\rfloor, \qquad \bar x = 0
    """
    return namespace(x).floor(x)


@primitive(None)
def ceil(x):
    r"""Round up.

    .. math:: y = \lceil x\rceil, \qquad \bar x = 0
    """
    return namespace(x).ceil(x)


@primitive(None)
def round(x, decimals=0):
    r"""Round to a number of decimals, ties to the even digit.

    .. math:: y = 10^{-d}\lfloor 10^d x\rceil, \qquad \bar x = 0
    """
    if is_numpy(x):
        return np.round(x, decimals)
    return namespace(x).round(x * 10.0**decimals) / 10.0**decimals


@primitive(None, None)
def floor_divide(a, b):
    r"""Divide and round down.

    .. math:: y = \lfloor a / b\rfloor, \qquad \bar a = \bar b = 0
    """
    return a // b


@primitive(lambda g: g, lambda g, a, b: -g * floor_divide(a, b))
def remainder(a, b):
    r"""Compute the remainder of a division that rounds down; it has the sign of b.

    .. math:: y = a - b\,\lfloor a / b\rfloor, \qquad \bar a = \bar y, \quad
              \bar b = -\bar y\,\lfloor a / b\rfloor
    """
    return a % b


# -- activations -----------------------------------------------------------------------------------


@primitive(lambda g, x: g * (2.0 / math.sqrt(math.pi)) * exp(-x * x))
def erf(x):
    r"""Compute the error function.

    .. math:: y = \frac2{\sqrt\pi}\int_0^x e^{-t^2} dt, \qquad
              \bar x = \bar y\,\frac2{\sqrt\pi}\,e^{-x^2}
    """
    return _special("erf", x)


@primitive(lambda g, x: g * (-2.0 / math.sqrt(math.pi)) * exp(-x * x))
def erfc(x):
    r"""Compute the complement of the error function, without cancellation for large x.

    .. math:: y = 1 - \mathrm{erf}\,x, \qquad \bar x = -\bar y\,\frac2{\sqrt\pi}\,e^{-x^2}
    """
    return _special("erfc", x)


@primitive(lambda g, y: g * (math.sqrt(math.pi) / 2.0) * exp(y * y))
def erfinv(x):
    r"""Compute the inverse of the error function.

    .. math:: \mathrm{erf}\,y = x, \qquad \bar x = \bar y\,\frac{\sqrt\pi}2\,e^{y^2}
    """
    return _special("erfinv", x)


@primitive(lambda g, x: g * digamma(x))
def gammaln(x):
    r"""Compute the logarithm of the absolute value of the gamma function.

    .. math:: y = \log|\Gamma(x)|, \qquad \bar x = \bar y\,\psi(x)
    """
    return _special("gammaln", x)


@primitive(lambda g, x, n: g * _polygamma(x, n=n + 1))
def _polygamma(x, n=0):
    r"""Compute a derivative of the digamma function.

    .. math:: y = \psi^{(n)}(x), \qquad \bar x = \bar y\,\psi^{(n + 1)}(x)
    """
    return _special("polygamma", x, n) if n else _special("psi", x)


def polygamma(n: int, x: Tensor) -> Tensor:
    r"""Compute the n-th derivative of the digamma function, or for n = 0 the function itself.

    .. math:: y = \psi^{(n)}(x), \qquad \psi(x) = \frac{d}{dx}\log\Gamma(x)
    """
    return _polygamma(x, n=whole_number("polygamma: n", n))


def digamma(x: Tensor) -> Tensor:
    r"""Compute the derivative of the logarithm of the gamma function.

    .. math:: y = \psi(x) = \frac{d}{dx}\log\Gamma(x)
    """
    return _polygamma(x)


def _special(name, x, *before):
    """Compute a function of SciPy on the host, in the precision of x."""
    from scipy import special  # takes long to import

    on_host = to_numpy(x)
    y = getattr(special, name)(*before, on_host)
    return bring(y.astype(on_host.dtype) if is_floating(x) else y, x)


def logit(x: Tensor) -> Tensor:
    r"""Compute the logarithm of the odds of probabilities, the inverse of the sigmoid.

    .. math:: y = \log\frac{x}{1 - x}
    """
    x = as_tensor(x) * 1.0
    return log(x) - log1p(-x)


def nan_to_num(
    x: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    r"""Replace NaNs and infinities by numbers; there the gradient is 0.

    .. math:: y_i = x_i \text{ if } |x_i| < \infty, \qquad
              \bar x_i = \bar y_i\,[\,|x_i| < \infty\,]

    Args:
        x: any shape.
        nan: replaces a NaN.
        posinf, neginf: replace the infinities; by default, the largest and the lowest number of the
            dtype do.
    """
    x = as_tensor(x)
    a = x.array
    if not is_floating(a):
        return x
    most = float(namespace(a).finfo(a.dtype).max)
    high, low = most if posinf is None else posinf, -most if neginf is None else neginf
    for place, value in ((a != a, nan), (a == math.inf, high), (a == -math.inf, low)):
        x = where(Tensor.wrap(place), value, x)
    return x


def gelu(x: Tensor) -> Tensor:
    r"""Apply the Gaussian error linear unit.

    .. math:: y = x\,\Phi(x) = \tfrac x2\big(1 + \mathrm{erf}(x / \sqrt2)\big)
    """
    x = as_tensor(x)
    return x * (0.5 * (1.0 + erf(x * math.sqrt(0.5))))


def silu(x: Tensor) -> Tensor:
    r"""Apply the sigmoid-weighted linear unit.

    .. math:: y = x\,\mathrm{sigmoid}(x)
    """
    return as_tensor(x) * sigmoid(x)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    r"""Apply the exponential linear unit.

    .. math:: y = \max(x, 0) + \alpha\,(e^{\min(x, 0)} - 1)
    """
    x = as_tensor(x)
    positive = x > 0
    return where(positive, x, alpha * expm1(where(positive, 0.0, x)))


def softmax(x: Tensor, axis: Any = -1) -> Tensor:
    r"""Turn scores into probabilities along an axis.

    .. math:: y_i = e^{x_i} / \textstyle\sum_j e^{x_j}
    """
    return exp(log_softmax(as_tensor(x), axis))


def dropout(x: Tensor, rate: float, rng: np.random.Generator | int) -> Tensor:
    r"""Set entries to 0 at random and scale the others up, which keeps the mean.

    .. math:: y_i = \frac{m_i\,x_i}{1 - p}, \qquad P(m_i = 1) = 1 - p

    Args:
        x: any shape.
        rate: :math:`p`, from 0 to below 1.
        rng: draws which entries stay, or a seed.
    Raises:
        ConfigError: the rate is out of range.
        DTypeError: rng is neither a generator nor a seed.
    """
    rate = real_number("dropout: rate", rate, 0, 1)
    x = as_tensor(x)
    draws = generator(rng).random(x.shape)
    kept = Tensor.wrap(bring(draws >= rate, x.array))
    return where(kept, x * (1 / (1 - rate)), 0.0)


enter(globals())
