"""The rule table: every primitive is documented, has sample cases, and passes on them all."""

import functools

import numpy as np
import pytest

from minisn import Tensor, spectral, use_kernels  # noqa: F401 - with all that has rules
from minisn.gradcheck import gradcheck
from minisn.gradcheck.__main__ import main
from minisn.gradcheck.cases import CASES, case, check_primitive
from minisn.tensor import RULES, Fused, Primitive, primitive

NAMES = sorted(RULES)


def complaints(name, kernels):
    """What is wrong with one entry of the table, in words."""
    primitive = RULES[name]
    found = []
    if ".. math::" not in (primitive.__doc__ or ""):
        found.append(f"{name}: the docstring has no formula (.. math::)")
    if not CASES.get(name):
        found.append(f"{name}: no sample case in minisn/gradcheck/cases.py")
    for position, rule in enumerate(primitive.rules):
        kinds = {c.inputs[position].dtype.kind for c in CASES.get(name, [])}
        if rule is not None and kinds and "f" not in kinds:
            found.append(f"{name}: no case differentiates input {position}")
    reports = check_primitive(name, kernels)
    return found + [f"{name}, case {i}:\n{r}" for i, r in enumerate(reports) if not sound(r)]


def sound(report):
    """Whether nothing is wrong; a power of 0 has nothing to check at the first order."""
    return all(c.diagnosis in ("right", "nothing to check") for c in report.checks)


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_is_right(name, kernel_name):
    assert complaints(name, kernel_name) == []


def test_every_case_belongs_to_a_primitive():
    assert set(CASES) <= set(RULES)


# -- the guard sees what it should ------------------------------------------------------------


def cube(x):
    r"""Cube.

    .. math:: y = x^3, \qquad \bar x = 3 \bar y x^2
    """
    return x**3


def frozen_cube(g, x):
    """A rule that gives the right gradient, and a second one that is zero."""
    return g * Tensor(3.0 * x.array**2)


@pytest.fixture
def registered(monkeypatch):
    """Enter a primitive for one test."""

    def register(forward, *rules):
        monkeypatch.setitem(RULES, forward.__name__, Primitive(forward, rules, variadic=False))
        return forward.__name__

    return register


def test_a_primitive_without_a_case_fails(registered, capsys):
    name = registered(cube, lambda g, x: g * (3.0 * x * x))
    assert complaints(name, "array_api") == ["cube: no sample case in minisn/gradcheck/cases.py"]
    assert main([name, "--kernels", "array_api"]) == 1
    assert "NO CASE" in capsys.readouterr().out


def test_a_primitive_without_a_formula_fails(registered, monkeypatch):
    def square(x):
        """Square."""
        return x * x

    monkeypatch.setitem(CASES, "square", [case((2,))])
    name = registered(square, lambda g, x: g * (2.0 * x))
    assert complaints(name, "array_api") == ["square: the docstring has no formula (.. math::)"]


def test_an_input_that_no_case_differentiates_fails(registered, monkeypatch):
    name = registered(cube, lambda g, x: g * (3.0 * x * x))
    monkeypatch.setitem(CASES, name, [case(np.array([True, False]))])
    with pytest.raises(Exception, match="floating point"):
        complaints(name, "array_api")
    monkeypatch.setitem(CASES, "multiply", [case((2,), np.array([1, 2]))])
    assert complaints("multiply", "array_api") == ["multiply: no case differentiates input 1"]


@pytest.mark.parametrize(
    ("rule", "order"),
    [(lambda g, x: g * (2.0 * x * x), 1), (frozen_cube, 2)],
    ids=["first", "second"],
)
def test_a_wrong_rule_fails_at_its_order(registered, monkeypatch, capsys, rule, order):
    name = registered(cube, rule)
    monkeypatch.setitem(CASES, name, [case((3,)), case(())])
    found = complaints(name, "array_api")
    assert len(found) == 2
    assert f"wrong gradient at order {order}" in found[0]
    assert main([name]) == 1
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines() if line.startswith("cube  ")]
    assert lines[order - 1][:2] == ["cube", str(order)]
    assert "WRONG GRADIENT (array_api), WRONG GRADIENT (cpu), WRONG" in " ".join(lines[order - 1])
    assert ("right" in lines[0]) == (order == 2)
    assert "kernels array_api, cpu, spec: order " in out


def reports(name, order):
    """Check a primitive's cases one after the other, for those who stop at the first failure."""
    with use_kernels("array_api"):
        for c in CASES[name]:
            yield gradcheck(lambda *xs, p=c.params: RULES[name](*xs, **p), c.inputs, order=order)


def positions():
    """Every rule in the table, by primitive and input."""
    for name in NAMES:
        for position, rule in enumerate(RULES[name].rules):
            if rule is not None:
                yield name, position


@pytest.mark.parametrize(("name", "position"), list(positions()))
def test_the_cases_see_a_small_error_in_any_rule(monkeypatch, name, position):
    rules = list(RULES[name].rules)
    right = rules[position]
    rules[position] = functools.wraps(right)(
        lambda *args, **params: right(*args, **params) * (1.0 + 1e-5)
    )
    monkeypatch.setattr(RULES[name], "rules", tuple(rules))
    assert any(r.diagnosis == "wrong gradient" for r in reports(name, order=1))


CURVED = ["divide", "exp", "log", "logsumexp", "multiply", "power", "sigmoid", "softplus", "sqrt",
          "tanh", "var", "matmul", "conv2d", "conv2d_weight", "conv2d_transpose"]  # fmt: skip


def detached(read):
    return {k: v.detach() if isinstance(v, Tensor) else v for k, v in read.items()}


@pytest.mark.parametrize("name", CURVED)
def test_the_cases_see_a_rule_that_cannot_be_differentiated(monkeypatch, name):
    """Cut what the first rule takes from its inputs and its result off the graph."""
    rules = list(RULES[name].rules)
    right = rules[0]
    rules[0] = functools.wraps(right)(lambda g, **read: right(g, **detached(read)))
    monkeypatch.setattr(RULES[name], "rules", tuple(rules))
    found = next(r for r in reports(name, order=2) if not r)
    assert [c.diagnosis for c in found.checks] == ["right", "wrong gradient"]


@pytest.mark.parametrize("name", ["tanh", "add", "sum", "leaky_relu", "conv2d"])
def test_the_cases_see_a_rule_that_cuts_off_the_incoming_gradient(monkeypatch, name):
    rules = list(RULES[name].rules)
    right = rules[0]
    rules[0] = functools.wraps(right)(lambda g, **read: right(g.detach(), **read))
    monkeypatch.setattr(RULES[name], "rules", tuple(rules))
    found = next(r for r in reports(name, order=2) if not r)
    assert [c.diagnosis for c in found.checks] == ["right", "wrong gradient"]
    assert "grad_output" in found.failure.message


FUSED = [
    (name, position)
    for name, op in RULES.items()
    if isinstance(op, Fused)
    for position in range(len(op.rules))
]


@pytest.mark.parametrize(("name", "position"), FUSED)
def test_the_cases_see_a_small_error_in_any_fast_backward(monkeypatch, name, position):
    right = RULES[name].backward

    def wrong(*args, **params):
        return [
            g * (1.0 + 1e-5) if i == position else g for i, g in enumerate(right(*args, **params))
        ]

    monkeypatch.setattr(RULES[name], "backward", wrong)
    assert any(r.diagnosis == "wrong gradient" for r in reports(name, order=1))


def test_a_kernel_module_that_is_wrong_is_named(monkeypatch, capsys):
    from minisn.kernels import spec

    right = spec.leaky_relu_pull
    monkeypatch.setattr(spec, "leaky_relu_pull", lambda g, x, slope: 2.0 * right(g, x, slope))
    assert main(["leaky_relu"]) == 1
    out = capsys.readouterr().out
    assert "WRONG GRADIENT (spec)" in out
    assert "(cpu)" not in out
    assert "a factor of 2" in out


def test_names_are_taken_once():
    def add(a, b):
        return a + b

    with pytest.raises(ValueError, match="add exists already"):
        primitive(None, None)(add)


# -- the command ---------------------------------------------------------------------------------


def test_the_command_prints_a_table(capsys):
    assert main(["tanh", "add", "--kernels", "array_api"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["primitive", "order", "kernels", "cases", "error/estimate", "verdict"]
    assert [line.split()[:4] for line in out[1:5]] == [
        ["tanh", "1", "array_api", "3"],
        ["tanh", "2", "array_api", "3"],
        ["add", "1", "array_api", "5"],
        ["add", "2", "array_api", "5"],
    ]
    assert all(line.endswith("right") for line in out[1:5])
    assert out[-1].startswith("2 primitives, orders 1 and 2, in array_api: all right")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give either the names of primitives or --all"),
        (["--all", "add"], "give either the names of primitives or --all"),
        (["matmull"], "no primitive 'matmull'; did you mean 'matmul'?"),
        (["--all", "--kernels", "gpu"], "invalid choice: 'gpu'"),
    ],
)
def test_the_command_refuses(capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_checks_everything(monkeypatch, capsys):
    asked, reports = [], check_primitive("negative", "spec")
    monkeypatch.setattr(
        "minisn.gradcheck.__main__.check_primitive",
        lambda name, kernels: asked.append((name, kernels)) or reports,
    )
    assert main(["--all"]) == 0
    assert set(asked) == {(name, k) for name in RULES for k in ("spec", "array_api", "cpu")}
    assert f"{len(RULES)} primitives" in capsys.readouterr().out


def test_a_missing_kernel_module_is_said(monkeypatch, capsys):
    monkeypatch.setattr("minisn.kernels._cpu", lambda: None)
    assert main(["exp", "--kernels", "cpu"]) == 1
    assert "not checked: kernels 'cpu' need Numba" in capsys.readouterr().err
    assert main(["exp"]) == 0
    assert "in spec, array_api: all right" in capsys.readouterr().out


@pytest.mark.parametrize("there", [False, True])
def test_the_command_takes_a_function_of_a_file_or_of_a_module_beside_it(
    tmp_path, monkeypatch, capsys, there
):
    (tmp_path / "own_functions.py").write_text("def square(x):\n    return x * x\n")
    if there:
        monkeypatch.chdir(tmp_path)
    place = "own_functions" if there else tmp_path / "own_functions.py"
    assert main([f"{place}:square", "--inputs", "2x3"]) == 0
    assert "right" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([f"{place}:cube", "--inputs", "2x3"])
    assert "module 'own_functions' has no 'cube'" in capsys.readouterr().err
