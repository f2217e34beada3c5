"""Exercises: what a check says, and that it says the same however it is asked."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import NamedTuple

import numba
import numpy as np
import pytest

from minisn.conv import conv2d_transpose, conv2d_weight
from minisn.coursework import EXERCISES, check, exercises, judging
from minisn.errors import ConfigError
from minisn.gradcheck import gradcheck
from minisn.kernels import spec
from minisn.metrics import gaussian_frechet
from minisn.regularizers import BidirectionalSpectralNorm, layer_gradient
from minisn.spectral import power_iteration
from minisn.tensor import Tensor, sum_to


def solved(W, u):
    v = W.T @ u / np.linalg.norm(W.T @ u)
    u = W @ v / np.linalg.norm(W @ v)
    return u, v, u @ W @ v


# -- the verdict -----------------------------------------------------------------------------


def test_a_right_function_passes():
    verdict = check("power_iteration", solved)
    assert verdict and verdict.status == "passed" and verdict.mistake == ""
    assert str(verdict).startswith("power_iteration: passed\n  Compared with the products of (18)")


def test_an_unsolved_one_is_not_done_yet():
    def power_iteration(W, u):
        raise NotImplementedError()

    verdict = check("power_iteration", power_iteration)
    assert not verdict and verdict.status == "not done yet"
    assert "failed" not in str(verdict)


def test_a_failure_has_mistake_place_tag_and_the_formula_of_the_docstring():
    verdict = check("power_iteration", lambda W, u: solved(W.T, u))
    assert not verdict and verdict.status == "failed" and verdict.mistake == "transposed"
    text = str(verdict)
    assert "W is transposed" in text and "Seen on a weight [5, 5]: `u" in text
    assert "[M18 Eq. (18), (19)]" in text
    assert r"v \leftarrow \frac{W^Tu}{\|W^Tu\|_2}" in text
    assert verdict.equation[1].split("\n")[0] in power_iteration.__doc__
    assert repr(verdict) == text


def test_a_notebook_shows_it_with_the_formula_set_and_nothing_is_printed(capsys):
    shown = check("power_iteration", lambda W, u: solved(W.T, u))._repr_html_()
    assert "power_iteration: failed" in shown and "$$v \\leftarrow" in shown
    assert "<code>u[" in shown and "`" not in shown
    hostile = check("power_iteration", lambda W, u: "<script>")._repr_html_()
    assert "<script>" not in hostile
    assert capsys.readouterr() == ("", "")


def test_an_exception_shows_the_students_own_line_and_nothing_of_ours():
    def student(W, u):
        v = W.T @ u
        return W @ v @ v, v / 0, undefined_name  # noqa: F821

    verdict = check("power_iteration", student)
    assert verdict.mistake == "exception"
    assert "The function raised ValueError" in verdict.text
    line = student.__code__.co_firstlineno + 2
    assert f"in line {line}: return W @ v @ v, v / 0" in verdict.text
    assert "judging.py" not in str(verdict) and "Traceback" not in str(verdict)


def test_an_error_inside_the_library_names_the_students_line():
    def penalty(critic, real, fake, epsilon):
        return critic(Tensor(real[0]), 1)

    verdict = check("penalty", penalty)
    assert verdict.mistake == "exception" and "return critic(Tensor(real[0]), 1)" in verdict.text


@pytest.mark.parametrize(
    ("function", "mistake", "words"),
    [
        (lambda W: W, "signature", "The function must take (W, u); yours takes (W)."),
        (lambda W, u: None, "nothing-returned", "is there a `return`?"),
        (lambda W, u: solved(W, u)[:2], "wrong-count", "u, v, sigma: 3 values, not 2"),
        (lambda W, u: (u, "v", 1), "not-numbers", "`v` must be an array of real numbers, got str"),
        (lambda W, u: (u, 1j * u, 1), "not-numbers", "got complex numbers"),
        (lambda W, u: (u, u / 0, 1), "not-finite", "`v` holds a NaN or an infinity"),
        (lambda W, u: (W, W, W), "shape", "`u` should be [4], yours is [4, 6]"),
    ],
)
def test_what_is_no_answer_at_all(function, mistake, words):
    verdict = check("power_iteration", function)
    assert verdict.mistake == mistake
    assert words in str(verdict)


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (lambda W_bar: -W_bar, "sign"),
        (lambda W_bar: 3 * W_bar, "factor"),
        (lambda W_bar: W_bar.ravel(), "shape"),
        (lambda W_bar: W_bar + 1e-3, "values"),
    ],
)
def test_an_answer_that_is_nearly_right_is_told_how(change, mistake):
    right = EXERCISES["bsn"].right
    assert check("bsn", lambda W: change(right(W))).mistake == mistake


def test_a_changed_input_is_named():
    def student(x, y):
        y -= y.mean(0)
        return 0.0

    verdict = check("frechet", student)
    assert verdict.mistake == "changed-input" and "changes `y` in place" in verdict.text


def test_a_loop_that_never_ends_is_stopped(monkeypatch):
    def student(W, u):
        while True:
            with contextlib.suppress(Exception):
                time.sleep(0.01)

    monkeypatch.setattr(judging, "SECONDS", 0.2)
    start = time.monotonic()
    verdict = check("power_iteration", student)
    assert time.monotonic() - start < 600  # it would never end
    assert verdict.mistake == "too-long" and "the function after 0.2 seconds" in verdict.text


@pytest.mark.slow  # it compiles anew
@pytest.mark.parametrize("name", ["power_iteration", "convolve_input_gradient"])
def test_what_numba_compiles_does_not_count_and_is_not_interrupted(name, tmp_path):
    # an empty cache, as on a fresh machine; and a limit that compiling alone exceeds many times
    code = f"""if True:
        import numpy as np
        from minisn import Tensor, conv, grad, spectral
        from minisn.coursework import check, judging

        def input_gradient(g, w, size, stride, padding):
            x = Tensor(np.zeros((len(g), w.shape[1], *size)), requires_grad=True)
            return grad(conv.conv2d(x, Tensor(w), stride=stride, padding=padding), x, Tensor(g))

        answers = {{
            "power_iteration": lambda W, u: spectral.power_iteration(W, u),
            "convolve_input_gradient": input_gradient,
        }}
        judging.SECONDS = 1.0
        verdict = check({name!r}, answers[{name!r}])
        assert verdict, verdict
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.nbi"))  # something was compiled


def test_a_student_may_compile_too(monkeypatch):
    def student(W, u):
        @numba.njit
        def scaled(x):
            total = 0.0
            for k in range(len(x)):
                total += x[k] * x[k]
            return x / np.sqrt(total)

        v = scaled(W.T @ u)
        u = scaled(W @ v)
        return u, v, u @ W @ v

    monkeypatch.setattr(judging, "SECONDS", 1.0)
    assert check("power_iteration", student)


def test_an_interrupt_from_the_keyboard_ends_a_check_but_not_one_of_the_students():
    def waits(W, u):
        signal.raise_signal(signal.SIGINT)

    def raises(W, u):
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        check("power_iteration", waits)
    assert check("power_iteration", raises).mistake == "exception"
    assert signal.getsignal(signal.SIGINT) is before


class Hostile:
    """What raises wherever it is asked."""

    def __init__(self, error):
        self.error = error

    def refuse(self, *args, **kwargs):
        raise self.error

    __array__ = __len__ = __iter__ = __getitem__ = __float__ = refuse


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    "leave",
    [
        lambda: sys.exit(),
        lambda: sys.exit("bye"),
        lambda: exit(0),
        lambda: 1 / 0,
        lambda: next(iter(())),
        lambda: pytest.skip("not today"),
    ],
)
def test_leaving_by_any_door_is_a_verdict(leave):
    verdict = check("power_iteration", lambda W, u: leave())
    assert verdict.status == "failed" and verdict.mistake == "exception"


@pytest.mark.parametrize(
    "error", [Unspeakable(), GeneratorExit(), SystemExit(3), KeyboardInterrupt()]
)
def test_an_error_that_cannot_be_told_is_a_verdict_too(error):
    def student(W):
        raise error

    assert check("bsn", student).mistake == "exception"
    assert type(error).__name__ in str(check("bsn", student))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[1.0, 2.0], [3.0]], "got rows of unequal length"),
        ([[1.0], 2.0], "got rows of unequal length"),
        (Hostile(RuntimeError("no")), "got Hostile"),
        (Hostile(SystemExit(1)), "got Hostile"),
        (Hostile(KeyboardInterrupt()), "got Hostile"),
        ({"W": 1.0}, "got dict"),
        ((x for x in "ab"), "got generator"),
        (np.array([None, 1.0]), "got ndarray"),
        (np.array(["a"]), "got ndarray"),
        (np.sum, "got "),
    ],
)
def test_what_is_no_array_is_said_in_a_verdict(value, words):
    verdict = check("bsn", lambda W: value)
    assert verdict.mistake == "not-numbers" and words in str(verdict)
    several = check("power_iteration", lambda W, u: (u, value, 1.0))
    assert several.mistake == "not-numbers" and words in str(several)
    assert check("power_iteration", lambda W, u: value).status == "failed"


@pytest.mark.parametrize(
    ("change", "mistake", "words"),
    [
        (lambda t: 2 * t, "factor", "is 2 times what it should be"),
        (lambda t: -t, "sign", "has the wrong sign"),
        (lambda t: -(t**2), "sign", "has the wrong sign, and is between"),
        (lambda t: t + 3, "offset", "is too large by 3 in every case"),
        (lambda t: t - 50, "offset", "is too small by 50 in every case"),
        (lambda t: t * (1 + t), "too-large", "is too large: between"),
        (lambda t: t / (1 + t), "too-small", "is too small: between"),
        (lambda t: 0.0, "factor", "is 0 in every case"),
    ],
)
def test_of_a_single_number_is_said_what_can_be_said(change, mistake, words):
    right = EXERCISES["frechet"].right
    verdict = check("frechet", lambda x, y: change(right(x, y)))
    assert verdict.mistake == mistake and words in verdict.text
    assert "points" not in verdict.text


def test_of_an_array_is_said_which_way_it_points():
    right = EXERCISES["bsn"].right
    for sign, way in ((1, "the right way"), (-1, "the opposite way")):
        verdict = check("bsn", lambda W, sign=sign: sign * abs(W[0, 0, 0, 0]) * right(W))
        assert verdict.mistake == "scale" and f"points {way}" in verdict.text


class HostileList(list):
    def __iter__(self):
        raise SystemExit


class HostileTuple(tuple):
    def __len__(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "value",
    [
        HostileList([1.0]),
        HostileTuple((1.0,)),
        [HostileList([1.0])] * 3,
    ],
)
def test_a_hostile_list_is_a_verdict(value):
    for name in ("bsn", "power_iteration"):
        verdict = check(name, lambda *args: value)
        assert verdict.status == "failed"
    hidden = check("power_iteration", lambda W, u: (u, value, 1.0))
    assert hidden.status == "failed"


def test_a_named_tuple_is_a_tuple():
    class Pair(NamedTuple):
        a: object
        b: object

    assert check("divide_rule", lambda g, y, a, b: Pair(g / b, -g * y / b))


def test_the_stack_of_a_pair_is_the_pair_and_no_other_array_is():
    assert check("divide_rule", lambda g, y, a, b: np.stack([g / b, -g * y / b]))
    assert check("hinge", lambda r, f: np.array(EXERCISES["hinge"].right(r, f)))
    thrice = check("divide_rule", lambda g, y, a, b: np.stack([g / b, g, b]))
    assert thrice.mistake == "wrong-count"


def test_it_works_outside_the_main_thread_too():
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(check("power_iteration", solved)))
    thread.start()
    thread.join()
    assert verdicts == [check("power_iteration", solved)]


def test_warnings_of_a_right_function_are_kept_quiet():  # nbgrader gives 0 to what is on stderr
    def student(W, u):
        np.array([0.0]) / 0
        warnings.warn("of another kind", stacklevel=1)
        return solved(W, u)

    assert check("power_iteration", student)


def test_unknown_names_and_what_is_no_function_are_refused():
    with pytest.raises(ConfigError, match=r"exercise 'power'; expected one of divide_rule, "):
        check("power", solved)
    with pytest.raises(ConfigError, match=r"expects the function itself, got tuple; write check"):
        check("power_iteration", (1, 2))


def test_nothing_else_imports_it():
    code = "import sys, minisn, minisn.cli; sys.exit('minisn.coursework' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- the exercises ---------------------------------------------------------------------------


def test_the_exercises_are_listed_in_the_order_of_the_tutorials():
    assert sorted(exercises()) == sorted(EXERCISES) == sorted(e.name for e in EXERCISES.values())
    numbers = [EXERCISES[name].tutorial for name in exercises()]
    assert numbers == sorted(numbers) and len(numbers) == 13


@pytest.mark.parametrize("name", exercises())
def test_every_exercise_is_right_by_its_own_oracle_and_knows_its_mistakes_apart(name):
    exercise = EXERCISES[name]
    arguments = exercise.cases()[0].args
    plain = dataclasses.replace(
        exercise, call=lambda f, *args: f(*args), takes=tuple("abcdefgh"[: len(arguments)])
    )
    assert judging.judge(plain, lambda *args: exercise.right(*args))
    for mistake in exercise.mistakes:
        for model in mistake.models:
            verdict = judging.judge(plain, lambda *args, model=model: model(*args))
            assert verdict.mistake == mistake.name


@pytest.mark.parametrize("name", exercises())
def test_cases_are_the_same_each_time_and_formulas_are_there(name):
    exercise = EXERCISES[name]
    for a, b in zip(exercise.cases(), exercise.cases(), strict=True):
        assert a.text == b.text and repr(a.args) == repr(b.args)
    assert len(exercise.equation) >= 2 and all(exercise.equation[1:])
    assert exercise.name.isidentifier() and len(exercise.cases()) >= 2


def cases(name):
    return [case.args for case in EXERCISES[name].cases()]


def test_oracles_agree_with_the_library():
    close = np.testing.assert_allclose
    for W, u in cases("power_iteration"):
        for ours, theirs in zip(
            EXERCISES["power_iteration"].right(W, u), power_iteration(W, u), strict=True
        ):
            close(ours, theirs, rtol=1e-12)
    for g, w, size, s, a in cases("convolve_input_gradient"):
        left = tuple(
            n + 2 * a - k - s * (m - 1)
            for n, k, m in zip(size, w.shape[2:], g.shape[2:], strict=True)
        )
        expected = conv2d_transpose(Tensor(g), Tensor(w), s, a, left).array
        close(EXERCISES["convolve_input_gradient"].right(g, w, size, s, a), expected, atol=1e-12)
    for g, x, kernel, s, a in cases("convolve_weight_gradient"):
        expected = conv2d_weight(Tensor(x), Tensor(g), kernel, s, a).array
        close(EXERCISES["convolve_weight_gradient"].right(g, x, kernel, s, a), expected, atol=1e-12)
    for x, w, s, a in cases("convolve"):
        close(EXERCISES["convolve"].right(x, w, s, a), spec.conv2d(x, w, (s, s), (a, a)))
    for g, shape in cases("unbroadcast"):
        close(EXERCISES["unbroadcast"].right(g, shape), sum_to(Tensor(g), shape).array, atol=1e-14)
    for delta, h, W in cases("normalized_gradient"):
        U, _, Vt = np.linalg.svd(W)
        expected = layer_gradient(delta, h, W, U[:, 0], Vt[0])
        close(EXERCISES["normalized_gradient"].right(delta, h, W), expected, atol=1e-7)
    for x, y in cases("frechet"):
        moments = [m for f in (x, y) for m in (f.mean(0), np.cov(f, rowvar=False))]
        close(EXERCISES["frechet"].right(x, y), gaussian_frechet(*moments), rtol=1e-6)
    for (W,) in cases("bsn"):
        learned, state = BidirectionalSpectralNorm().start(Tensor(W), 0, np.random.default_rng(0))
        for _ in range(300):
            state = BidirectionalSpectralNorm().step(learned, 0, state)
        expected = BidirectionalSpectralNorm().apply(learned, 0, state).array
        close(EXERCISES["bsn"].right(W), expected, rtol=1e-6)


def test_the_oracle_of_a_rule_agrees_with_finite_differences():
    rule = EXERCISES["divide_rule"].right
    for g, _, a, b in cases("divide_rule"):
        assert gradcheck(lambda a, b: a / b, [a, b], vjp=lambda g, a, b: rule(g, a / b, a, b))
        np.testing.assert_allclose(rule(g, a / b, a, b), (g / b, -g * a / b**2), rtol=1e-12)
