"""Run the autograd package's own tests on minisn, and count what passes, is missing or is wrong.

    git clone https://github.com/HIPS/autograd
    python tests/benchmarks/autograd_tests.py autograd          # or the names of some test files

The script contains and imports no code of autograd: modules with autograd's names stand for minisn.
A call with a tensor goes to minisn's operation of that name, any other call to NumPy. If minisn has
no such operation, the test counts as missing. The script renames operations but defines none.
Gradients are compared with central differences of NumPy's own functions, to second order. minisn
has no complex gradients and no forward mode: complex cases are left out and counted, and forward
mode is not tested. The script prints for each file of tests: asked, passed, missing, wrong.
"""

import argparse
import collections
import contextlib
import functools
import importlib.util
import io
import itertools
import operator
import sys
import types
import warnings
from pathlib import Path

import numpy as np

import minisn
from minisn import Tensor, ops
from minisn.answers import OPERATIONS
from minisn.errors import MinisnError

RENAMED = {
    "absolute": "abs", "concatenate": "concat", "true_divide": "divide", "mod": "remainder",
    "amax": "max", "amin": "min", "float_power": "power", "around": "round", "round_": "round",
    "fabs": "abs", "row_stack": "vstack", "radians": "deg2rad", "degrees": "rad2deg",
    "expit": "sigmoid", "psi": "digamma", "reps": "repeats", "a_min": "low", "a_max": "high",
}  # fmt: skip
"""NumPy's names, and minisn's where they differ."""

NUMBERS_ONLY = (
    "shape", "ndim", "size", "zeros_like", "ones_like", "isnan", "isfinite", "isinf", "equal",
    "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or",
    "logical_not", "logical_xor", "allclose", "array_equal", "result_type", "iscomplexobj",
    "isclose", "sign", "floor", "ceil", "rint", "trunc",
)  # fmt: skip
"""Functions without a gradient, or with gradient 0, which NumPy computes from the numbers."""

LISTS = ["sum", "mean", "var", "std", "max", "min", "prod", "norm"]
"""Functions that take nested lists of numbers in NumPy but not in minisn."""

OWN_SIGNS = ("svd", "eigh")
"""Functions that minisn computes for plain numbers, too, because it chooses the vectors' signs."""

EPS, CLOSE = 5e-7, 1e-6
RNG = np.random.default_rng(0)
cases = collections.Counter()
depth = 0


class Missing(Exception):
    """minisn has nothing of this name or kind."""


# -- functions of tensors or arrays ------------------------------------------------------------


def tensors(values):
    """Return whether nested lists, tuples and dicts hold a tensor."""
    if isinstance(values, Tensor):
        return True
    if isinstance(values, dict):
        values = values.values()
    return isinstance(values, list | tuple | type({}.values())) and any(map(tensors, values))


def numbers(value):
    """Replace tensors by their numbers."""
    if isinstance(value, Tensor):
        return value.numpy() if value.ndim else value.item()
    if isinstance(value, list | tuple):
        return type(value)(map(numbers, value))
    return {k: numbers(v) for k, v in value.items()} if isinstance(value, dict) else value


def joined(value):
    """Make a tensor of nested lists that hold tensors."""
    if isinstance(value, list | tuple):
        return ops.stack([joined(v) for v in value])
    return value if isinstance(value, Tensor) else Tensor(value)


def transpose(x, axes=None):
    return x.T if axes is None else ops.permute(x, axes=tuple(axes))


def array(value, *_, **__):
    return joined(value)


def slogdet(x):
    return None, ops.logdet(x)


def norm(x, ord=None, axis=None):
    x = joined(x)
    if ord is None:
        return ops.norm(x, axis)
    if isinstance(axis, tuple) or (axis is None and x.ndim == 2):
        return ops.matrix_norm(ops.moveaxis(x, axis or (0, 1), (-2, -1)), ord)
    return ops.vector_norm(x, axis, ord=ord)


CALLS = {
    "transpose": transpose,
    "array": array,
    "append": lambda a, b, axis=None: (
        ops.concat([ops.ravel(joined(a)), ops.ravel(joined(b))])
        if axis is None
        else ops.concat([joined(a), joined(b)], axis)
    ),
    "norm": norm,
    "svd": lambda x, full_matrices=True, compute_uv=True: (
        ops.svd(x, full_matrices) if compute_uv else ops.svdvals(x)
    ),
    "eigh": lambda x, UPLO="L": ops.eigh(x),  # of the symmetric part, whichever triangle is read
    "flipud": lambda x: ops.flip(x, 0),
    "fliplr": lambda x: ops.flip(x, 1),
    "vsplit": lambda x, n: ops.array_split(x, n, 0),
    "hsplit": lambda x, n: ops.array_split(x, n, 1),
    "dsplit": lambda x, n: ops.array_split(x, n, 2),
    "where": lambda condition, x, y: ops.where(condition, x, y),
    "swapaxes": lambda x, axis1, axis2: ops.swapaxes(x, axis1, axis2),
    "pad": lambda x, width, mode: (
        ops.pad(x, widths=width) if mode == "constant" else absent(mode)()
    ),
}


def adapted(name, theirs):
    """Return a function that minisn computes for tensors, and NumPy for anything else."""

    @functools.wraps(theirs) if callable(theirs) else (lambda f: f)
    def function(*args, **settings):
        if name in OWN_SIGNS:
            found = (CALLS.get(name) or OPERATIONS[name])(*args, **settings)
            return found if tensors((args, settings)) else numbers(found)
        if not tensors((args, settings)):
            return theirs(*args, **settings)
        if name in NUMBERS_ONLY:
            return theirs(*numbers(args), **numbers(settings))
        if name in CALLS:
            return CALLS[name](*args, **settings)
        ours = OPERATIONS.get(RENAMED.get(name, name))
        if ours is None:
            raise Missing(name)
        if name in LISTS and isinstance(args[0], list | tuple):
            args = (joined(args[0]), *args[1:])
        if name == "einsum" and not isinstance(args[0], str):
            raise Missing("einsum of lists of numbers")
        settings = {RENAMED.get(key, key): value for key, value in settings.items()}
        try:
            return ours(*args, **settings)
        except TypeError as error:
            if isinstance(error, MinisnError):
                raise
            raise Missing(f"{name}: {error}") from error

    return function


class Mirror(types.ModuleType):
    """A module whose functions are adapted from one of NumPy's or SciPy's."""

    __path__ = ()

    def __init__(self, name, original):
        super().__init__(name)
        self.original = original

    def __getattr__(self, name):
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        theirs = getattr(self.original, name, None)
        if isinstance(theirs, types.ModuleType) and self.original is np:
            found = Mirror(f"{self.__name__}.{name}", theirs)
        elif isinstance(theirs, type) or (theirs is not None and not callable(theirs)):
            found = theirs
        elif theirs is None or name in ("r_", "c_"):
            found = absent(name)
        elif name in DISTRIBUTIONS and "stats" in self.__name__:
            found = Mirror(f"{self.__name__}.{name}", theirs)
        elif "random" in self.__name__:
            found = theirs
        else:
            found = adapted(name, theirs)
        setattr(self, name, found)
        return found


def absent(name):
    """Return a stand-in for a name that neither NumPy nor minisn has."""

    return Absent(name)


class Absent:
    """A stand-in that raises an error at every use."""

    def __init__(self, name):
        self.__name__ = name

    def __call__(self, *_, **__):
        raise Missing(self.__name__)

    __getitem__ = __call__


DISTRIBUTIONS = [
    "norm",
    "chi2",
    "beta",
    "gamma",
    "t",
    "poisson",
    "dirichlet",
    "multivariate_normal",
]


# -- derivatives ---------------------------------------------------------------------------------


def leaves(value):
    """Return the numbers in nested containers, and a function that puts others in their places."""
    if isinstance(value, dict):
        parts, build = leaves(list(value.values()))
        return parts, lambda new: dict(zip(value, build(new), strict=True))
    if isinstance(value, list | tuple):
        found = [leaves(v) for v in value]

        def rebuilt(new):
            new = iter(new)
            return type(value)(b(list(itertools.islice(new, len(p)))) for p, b in found)

        return [part for p, _ in found for part in p], rebuilt
    return [value], operator.itemgetter(0)


def recorded(value):
    """Return a value as a new tensor that records, in the graph of the value."""
    if isinstance(value, Tensor):
        return value + 0.0 if value.requires_grad else Tensor(value, requires_grad=True)
    data = np.asarray(value)
    if data.dtype.kind == "c":
        raise Missing("complex gradients")
    if data.dtype.kind not in "fiu":
        raise Missing(f"gradients of {data.dtype}")
    return Tensor(data.astype(np.float64), requires_grad=True)


def given_back(value):
    """Return plain numbers where no outer derivative is taken."""
    return value if depth else numbers(value)


def make_vjp(f, x):
    """Return the function that maps the result's gradient to that of x, and the result."""
    global depth
    parts, build = leaves(x)
    xs = [recorded(p) for p in parts]
    depth += 1
    try:
        y = f(build(xs))
    finally:
        depth -= 1
    ys, rebuild = leaves(y)
    if any(np.iscomplexobj(p) for p in ys if not isinstance(p, Tensor)):
        raise Missing("complex gradients")

    def vjp(g):
        totals = None
        for part, g_part in zip(ys, leaves(g)[0], strict=True):
            if isinstance(part, Tensor) and part.requires_grad:
                seed = g_part if isinstance(g_part, Tensor) else np.asarray(g_part, float)
                found = minisn.grad(part, xs, ops.broadcast_to(seed, shape=part.shape), True)
                totals = found if totals is None else list(map(operator.add, totals, found))
        return build([given_back(t) for t in totals or [Tensor(x.numpy() * 0) for x in xs]])

    return vjp, rebuild([given_back(p) for p in ys])


def nary(unary):
    """Extend an operator on functions of one argument to functions of several arguments."""

    @functools.wraps(unary)
    def with_place(f, argnum=0, *settings, **named):
        @functools.wraps(unary)
        def function(*args, **kwargs):
            places = argnum if isinstance(argnum, list | tuple) else [argnum]

            def of_one(x):
                values = list(args)
                for place, v in zip(places, x if places is argnum else [x], strict=True):
                    values[place] = v
                return f(*values, **kwargs)

            x = type(argnum)(args[p] for p in argnum) if places is argnum else args[argnum]
            return unary(of_one, x, *settings, **named)

        return function

    return with_place


def one(y):
    if np.size(y) != 1:
        raise TypeError("grad only applies to functions of one number; try jacobian")
    return np.ones(np.shape(y))


@nary
def grad(f, x):
    vjp, y = make_vjp(f, x)
    return vjp(one(y))


@nary
def value_and_grad(f, x):
    vjp, y = make_vjp(f, x)
    return y, vjp(one(y))


@nary
def elementwise_grad(f, x):
    vjp, y = make_vjp(f, x)
    return vjp(np.ones(np.shape(y)))


@nary
def jacobian(f, x):
    vjp, y = make_vjp(f, x)
    rows = [vjp(row.reshape(np.shape(y))) for row in np.eye(int(np.size(y)))]
    if not tensors(rows):
        return np.reshape(np.stack(rows), np.shape(y) + np.shape(x))
    return ops.stack(rows).reshape(*np.shape(y), *np.shape(x))


def hessian(f, argnum=0):
    return jacobian(jacobian(f, argnum), argnum)


@nary
def grad_and_aux(f, x):
    kept = []

    def first(x):
        y, aux = f(x)
        kept.append(aux)
        return y

    vjp, y = make_vjp(first, x)
    return vjp(one(y)), kept[0]


@nary
def make_hvp(f, x):
    vjp, y = make_vjp(lambda x: grad(f)(x), x)
    return vjp, y


def tensor_jacobian_product(f, argnum=0):
    def product(*args, **kwargs):
        *args, vector = args

        def summed(*args, **kwargs):
            y = f(*args, **kwargs)
            return MODULES["autograd.numpy"].tensordot(vector, y, np.ndim(vector))

        return jacobian(summed, argnum)(*args, **kwargs)

    return product


def hessian_tensor_product(f, argnum=0):
    return tensor_jacobian_product(grad(f, argnum), argnum)


def flat(value):
    """Lay nested numbers end to end."""
    parts = [np.asarray(numbers(p), float).reshape(-1) for p in leaves(value)[0]]
    return np.concatenate(parts) if parts else np.zeros(0)


def close(a, b):
    return abs(a - b) < CLOSE or abs(a - b) < CLOSE * abs(a + b)


@nary
def check_grads(f, x, modes=None, order=2):
    """Compare a random derivative with central differences, then those of the gradient."""
    parts, build = leaves(x)
    if any(np.iscomplexobj(numbers(p)) for p in parts):
        cases["complex"] += 1
        return
    cases["real"] += 1
    parts = [np.asarray(p, float) for p in parts]
    directions = [RNG.standard_normal(p.shape) for p in parts]
    vjp, y = make_vjp(f, x)
    ys, rebuild = leaves(y)
    seeds = [RNG.standard_normal(np.shape(p)) for p in ys]
    claimed = leaves(vjp(rebuild(seeds)))[0]
    exact = sum(float(np.sum(d * c)) for d, c in zip(directions, claimed, strict=True))

    def ahead(t):
        moved = [p + t * d for p, d in zip(parts, directions, strict=True)]
        return flat(f(build([m if m.ndim else float(m) for m in moved])))

    difference = (ahead(EPS) - ahead(-EPS)) / (2 * EPS)
    numeric = float(np.sum(flat(rebuild(seeds)) * difference))
    assert close(exact, numeric), f"the gradient is {exact}, finite differences give {numeric}"
    if order > 1:
        check_grads(lambda x, g: make_vjp(f, x)[0](g), (0, 1), modes, order - 1)(x, rebuild(seeds))


def combo_check(f, argnum=0, modes=None, order=2):
    """Check the gradients of every combination of arguments and settings."""

    def check(*choices, **settings):
        for args in itertools.product(*choices):
            for values in itertools.product(*settings.values()):
                named = dict(zip(settings, values, strict=True))
                check_grads(f, argnum, modes, order)(*args, **named)

    return check


def check_equivalent(a, b):
    a, b = flat(a), flat(b)
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def is_kind(value, kind):
    """Return whether a value, or the value of a tensor, is of a kind."""
    if isinstance(value, Tensor):
        value = value.numpy() if value.ndim else float(value)
    return isinstance(value, kind)


# -- the modules ----------------------------------------------------------------------------------

MODULES: dict[str, types.ModuleType] = {}


def module(name, **holds):
    found = Mirror(name, None)
    for key, value in holds.items():
        setattr(found, key, value)
    MODULES[name] = found
    return found


def install():
    """Register modules under autograd's names."""
    import scipy
    import scipy.integrate
    import scipy.linalg
    import scipy.signal
    import scipy.special
    import scipy.stats

    operators = {
        f.__name__: f
        for f in (grad, value_and_grad, elementwise_grad, jacobian, hessian, grad_and_aux, make_hvp,
                  tensor_jacobian_product, hessian_tensor_product)
    }  # fmt: skip
    operators |= {"make_vjp": nary(make_vjp), "deriv": elementwise_grad}
    operators |= {"list": list, "tuple": tuple, "dict": dict, "isinstance": is_kind}
    MODULES["autograd.numpy"] = Mirror("autograd.numpy", np)
    for part in ("random", "linalg", "fft"):
        mirror = Mirror(f"autograd.numpy.{part}", getattr(np, part))
        MODULES[mirror.__name__] = mirror
        setattr(MODULES["autograd.numpy"], part, mirror)
    MODULES["autograd.numpy.linalg"].slogdet = lambda x: (
        slogdet(x) if tensors(x) else np.linalg.slogdet(x)
    )
    top = module("autograd", **operators, numpy=MODULES["autograd.numpy"])
    top.scipy = MODULES["autograd.scipy"] = Mirror("autograd.scipy", scipy)
    for part in ("linalg", "signal", "special", "stats", "integrate"):
        mirror = Mirror(f"autograd.scipy.{part}", getattr(scipy, part))
        MODULES[mirror.__name__] = mirror
        setattr(top.scipy, part, mirror)
    for part in DISTRIBUTIONS:
        distribution = getattr(scipy.stats, part)
        mirror = Mirror(f"autograd.scipy.stats.{part}", distribution)
        MODULES[mirror.__name__] = mirror
        setattr(MODULES["autograd.scipy.stats"], part, mirror)
    module("autograd.test_util", check_grads=check_grads, combo_check=combo_check,
           check_equivalent=check_equivalent, scalar_close=close)  # fmt: skip
    module("autograd.core", make_vjp=make_vjp)
    module("autograd.wrap_util", unary_to_nary=nary)
    module("autograd.tracer", isbox=lambda value: isinstance(value, Tensor))
    module("autograd.builtins", list=list, tuple=tuple, dict=dict, isinstance=is_kind)
    for name in ("extend", "misc", "util", "differential_operators", "numpy.numpy_vspaces"):
        module(f"autograd.{name}")
    for name, found in MODULES.items():
        found.__spec__ = importlib.util.spec_from_loader(name, None)
        sys.modules[name] = found


class Count:
    """A plugin that counts outcomes, and keeps why a test did not pass."""

    def __init__(self):
        self.outcomes = collections.defaultdict(collections.Counter)
        self.reasons = collections.defaultdict(collections.Counter)
        self.broken, self.complex = [], 0

    def pytest_collectreport(self, report):
        if report.failed:
            self.broken.append(report.nodeid)

    def pytest_runtest_makereport(self, item, call):
        if call.when != "call" and call.excinfo is None:
            cases.clear()
            return
        self.complex += cases["complex"]
        file, error = Path(item.location[0]).name, call.excinfo and call.excinfo.value
        if error is None and cases["complex"] and not cases["real"]:
            outcome, error = "missing", Missing("complex gradients")
        elif error is None:
            outcome = "passed"
        elif type(error).__name__ in ("Skipped", "XFailed"):
            outcome = "skipped"
        elif isinstance(error, Missing) or "NumPy cannot carry a gradient on" in str(error):
            outcome = "missing"
        else:
            outcome = "wrong"
        self.outcomes[file][outcome] += 1
        if outcome in ("missing", "wrong"):
            told = str(error).split("\n")[0][:110]
            self.reasons[outcome][
                f"{told}" if outcome == "missing" else f"{item.name}: {told}"
            ] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path, help="folder of a clone of autograd")
    parser.add_argument("files", nargs="*", help="names of test files; default: all")
    parser.add_argument("--reasons", action="store_true", help="print why each test did not pass")
    asked = parser.parse_args()
    folder = asked.checkout / "tests"
    if not folder.is_dir():
        parser.error(f"{folder} is not a folder; clone https://github.com/HIPS/autograd")
    import pytest

    install()
    files = [folder / name for name in asked.files] or sorted(folder.glob("test_*.py"))
    count = Count()
    sys.path.insert(0, str(folder))
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.main(
            ["-q", "-p", "no:cacheprovider", "-W", "ignore", "--rootdir", str(folder), "-c",
             "/dev/null", *map(str, files)],
            plugins=[count],
        )  # fmt: skip
    total = collections.Counter()
    print(f"{'file':28} asked passed missing wrong")
    for file, outcomes in sorted(count.outcomes.items()):
        outcomes.pop("skipped", None)
        total += outcomes
        row = [sum(outcomes.values()), *(outcomes[k] for k in ("passed", "missing", "wrong"))]
        print(f"{file:28} {row[0]:5} {row[1]:6} {row[2]:7} {row[3]:5}")
    row = [sum(total.values()), *(total[k] for k in ("passed", "missing", "wrong"))]
    print(f"{'all':28} {row[0]:5} {row[1]:6} {row[2]:7} {row[3]:5}")
    broken = ", ".join(count.broken) or "none"
    print(f"complex cases left out: {count.complex}; files that could not be read: {broken}")
    if asked.reasons:
        for outcome, reasons in count.reasons.items():
            print(f"\n{outcome}:")
            for reason, n in reasons.most_common():
                print(f"{n:4} {reason}")


if __name__ == "__main__":
    main()
