"""Is it spectral normalization? The suite tells planted faults by name and lets right layers be."""

import functools
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from planted import Planted
from safetensors.numpy import load_file

from minisn.cli import main
from minisn.conformance import (
    ASKED,
    BROKEN,
    KEPT,
    NOT_ASKED,
    all_clauses,
    load,
    read_table,
    row,
    run,
    write_table,
)  # fmt: skip
from minisn.conformance.adapters import Adapter
from minisn.conformance.adapters.in_minisn import Minisn
from minisn.conformance.deviations import MEANINGS
from minisn.conformance.probes import KINDS, draw, inputs, read_off, spread
from minisn.errors import ConfigError, DataError
from minisn.regularizers import SEMANTICS, TaughtSpectralNorm
from tutorials.site import conformance

pytestmark = pytest.mark.usefixtures("plain_kernels")


def verdicts(adapter):
    """What every clause says of an adapter, by number."""
    return {result.clause.number: result for result in run(adapter)}


def broken(adapter):
    """The deviations of the broken clauses, by number."""
    return {n: r.deviation for n, r in verdicts(adapter).items() if r.verdict == BROKEN}


# -- planted faults, told by name -----------------------------------------------------------------

FAULTS = {
    "input axis": (2, "axis of the convolution"),
    "view": (3, "a view in place of a transposition"),
    "window sum": (2, "sum over the window"),
    "d_out h": (2, "rows of d_out times h"),
    "tap": (2, "one tap of the window"),
    "frobenius": (1, "Frobenius norm"),
    "squared": (1, "σ is squared"),
    "root": (1, "the root of σ"),
    "mean": (1, "a mean in place of the sum uᵀWv"),
    "second value": (1, "another singular value"),
    "nuclear": (1, "sum of the singular values"),
    "row sum": (1, "largest sum of a row"),
    "column sum": (1, "largest sum of a column"),
    "largest entry": (1, "largest entry"),
    "longest row": (1, "longest row"),
    "constant": (1, "multiplied by a constant"),
    "identity": (1, "not normalized"),
    "clip": (28, "clipped"),
    "rows": (1, "every row to length 1"),
    "orthonormal": (1, "orthonormalized"),
    "values clipped": (28, "singular values clipped"),
    "truncated": (4, "outputs are cast to the inputs' type"),
    "bsn": (2, "mean of both axes (BSN)"),
    "bsn view": (2, "mean of both axes, a view in place of a transposition"),
    "sn-conv": (2, "norm of the convolution (SN_Conv)"),
    "ε": (1, "an absolute ε"),
    "small ε": (18, "an absolute ε"),
    "squares": (19, "squares overflow"),
    "stale": (5, "σ of the vectors before the round"),
    "half": (5, "σ after half a round"),
    "fresh": (10, "u is drawn anew at every pass"),
    "restart": (10, "u starts over at every pass"),
    "frozen": (10, "u is never moved"),
    "cold": (20, "no warm start"),
    "overwritten": (9, "W is overwritten"),
    "written": (27, "W/σ is written into W"),
    "decay": (9, "a training pass changes W"),
    "stops": (6, "the gradient stops at W̄"),
    "detached": (6, "σ is detached"),
    "sign": (6, "the second term has the wrong sign"),
    "doubled": (7, "the second term is doubled"),
    "no 1/σ": (6, "1/σ is missing"),
    "1/σ twice": (6, "1/σ comes twice"),
    "λ of W": (7, "λ is taken with W"),
    "no λ": (7, "λ is missing"),
    "in place": (11, "u is changed in place under a pending backward"),
    "last pass": (11, "only the last pass counts"),
    "averaged": (11, "passes are averaged"),
    "no second": (26, "no second derivatives"),
    "flat": (26, "second derivatives are zero"),
    "read moves": (12, "reading moves u"),
    "moves in evaluation": (13, "evaluation moves u"),
    "writes in evaluation": (13, "evaluation writes W"),
    "round in evaluation": (15, "evaluation takes one round more"),
    "raw in evaluation": (15, "evaluation uses W itself"),
    "0/0": (16, "0/0 for a zero weight"),
    "u dies": (17, "u stays 0 after a zero weight"),
    "upcast": (21, "the type is not kept"),
    "single": (23, "computed in another precision"),
    "not saved": (24, "lost when saved"),
    "remove raw": (25, "removing leaves W un-normalized"),
    "remove round": (25, "removing takes one round more"),
    "remove anew": (25, "removing computes σ anew"),
    "fresh kernels": (10, "u is drawn anew at every pass"),
    "old σ": (10, "σ is not renewed"),
    "round in backward": (10, "a gradient moves u once more"),
    "no state with a gradient": (10, "a pass with a gradient does not move u"),
    "read raw": (12, "reading gives W itself"),
    "start after evaluation": (13, "evaluation moves u"),
    "evaluated once": (15, "evaluation keeps an old weight"),
    "half saved": (24, "another W is saved"),
    "half state": (1, "too little precision"),
    "wide only": (1, "not normalized"),
    "h first": (2, "one axis of the window against the rest"),
    "one round": (5, "not as many rounds as asked for"),
    "halved": (11, "a multiple of the right gradient"),
    "negative": (10, "multiplied by a constant"),
    "no rounds": (10, "u is never moved"),
    "evaluates the last": (15, "evaluation keeps an old weight"),
    "turned": (20, "the weight is applied transposed"),
    "reads the last": (12, "reading keeps an old weight"),
    "read once": (12, "reading keeps an old weight"),
    "removes the last": (25, "removing leaves an old weight"),
}
"""Each fault with a clause that tells it, and the name under which."""


ELSEWHERE = {
    "not saved": {24}, "remove raw": {25}, "remove round": {25}, "remove anew": {25},
    "cold": {20}, "in place": {11}, "last pass": {11}, "averaged": {11}, "flat": {26},
    "no second": {26}, "upcast": {21, 23}, "single": {21, 23}, "read moves": {12},
    "moves in evaluation": {13, 14, 15}, "round in evaluation": {15}, "raw in evaluation": {15},
    "fresh kernels": {2, 3, 6, 10, 17, 24}, "read raw": {12}, "start after evaluation": {13, 24},
    "evaluated once": {15, 24}, "half saved": {24}, "round in backward": {10, 27},
    "no state with a gradient": {10, 27},
    "evaluates the last": {15, 24}, "reads the last": {12}, "read once": {12},
    "removes the last": {25}, "turned": {20}, "wide only": {1}, "one round": {5},
    "truncated": {4}, "written": {9, 11, 27}, "u dies": {17}, "stale": {5, 7, 10, 11, 27},
}  # fmt: skip
"""Faults that break these clauses at most."""


@functools.cache
def broken_by(fault):
    return broken(Planted(fault))


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, marks=[] if f in ELSEWHERE else [pytest.mark.slow]) for f in FAULTS],
)
def test_a_planted_fault_is_told_by_name(fault):
    number, name = FAULTS[fault]
    told = broken_by(fault)
    assert told.get(number) == name, told
    assert set(told.values()) <= set(MEANINGS) - {"fails"}


@pytest.mark.parametrize("fault", ELSEWHERE)
def test_a_fault_is_told_where_it_is_and_nowhere_else(fault):
    assert set(broken_by(fault)) <= ELSEWHERE[fault]


@pytest.mark.parametrize(
    ("fault", "number", "name"),
    [
        ("detached", 8, "σ is detached"),
        ("no λ", 8, "λ is missing"),
        ("no λ", 27, "λ is missing"),
        ("root", 20, "the root of σ"),
        ("identity", 28, "not normalized"),
        ("frozen", 5, "u is never moved"),
        ("constant", 11, "multiplied by a constant"),
    ],
)
def test_a_clause_that_a_fault_breaks_too_does_not_tell_another(fault, number, name):
    assert broken_by(fault)[number] == name


class OfOneKind:
    """A layer whose fault is in one kind alone."""

    version, precisions, definition, scale = "0", ("float16", "float64"), "SN", 1.0

    def __init__(self, fault, kind):
        self.kind, self.name, self.wrong, self.right = kind, fault, Planted(fault), Planted()
        if fault in SEMANTICS:
            self.wrong, self.right = (Minisn(TaughtSpectralNorm(s)) for s in (fault, "constant"))

    def make(self, kind, W, rounds=1, dtype="float32"):
        inner = self.wrong if kind == self.kind else self.right
        return inner, inner.make(kind, W, rounds, dtype)

    def reload(self, made):
        return made[0], made[0].reload(made[1])

    def __getattr__(self, method):
        return lambda made, *arguments: getattr(made[0], method)(made[1], *arguments)


@pytest.mark.parametrize(
    ("fault", "kind", "number", "name"),
    [
        ("clip", "conv", 28, "clipped"),
        ("u dies", "conv", 17, "u stays 0 after a zero weight"),
        ("no rounds", "embedding", 17, "σ is not renewed"),
        ("0/0", "deconv", 16, "0/0 for a zero weight"),
        ("last pass", "conv", 11, "only the last pass counts"),
        ("flat", "conv", 26, "second derivatives are zero"),
        ("upcast", "embedding", 21, "the type is not kept"),
        ("single", "deconv", 23, "computed in another precision"),
        ("through", "conv", 7, "through the power step"),
        ("through", "deconv", 7, "through the power step"),
    ],
)
def test_a_fault_of_one_kind_of_layer_is_told(fault, kind, number, name):
    told = verdicts(OfOneKind(fault, kind))[number]
    assert told.deviation == name and told.found.startswith(KINDS[kind].title)


@pytest.mark.parametrize(
    ("far", "name"), [(1e-3, "too little precision"), (1e-2, "not a multiple of W")]
)
def test_only_what_rounding_explains_is_too_little_precision(far, name):
    class Off(Planted):
        def forward(self, layer, train):
            B = super().forward(layer, train)
            B[0, 0] += far * np.abs(B).max()
            return B

    assert broken(Off())[1] == name


def test_singular_values_that_are_cut_are_not_orthonormalized():
    assert broken_by("values clipped")[1] == "singular values clipped"


def test_an_adapter_without_dense_layers_is_asked_of_the_others():
    class Convolutions(Planted):
        def make(self, kind, W, rounds=1, dtype="float32"):
            if kind != "conv":
                raise NotImplementedError("convolutions alone")
            return super().make(kind, W, rounds, dtype)

    assert verdicts(Convolutions("identity"))[28].verdict == NOT_ASKED
    found = verdicts(Convolutions())
    kept = {n for n, r in found.items() if r.verdict == KEPT}
    assert kept == {2, 6, *range(9, 18), 21, *range(23, 27), 28}
    assert {r.verdict for r in found.values()} == {KEPT, NOT_ASKED}


@pytest.mark.parametrize(
    ("method", "answer", "number", "said"),
    [
        ("state", None, 13, "TypeError: state gave None, expected a list of arrays"),
        ("state", ["u"], 13, "TypeError: state gave ['u'], expected a list of arrays"),
        ("reload", None, 24, "TypeError: reload gave None, expected a layer"),
        ("read", "W", 12, "read gave str, expected real numbers in the shape of the weight, [6,"),
    ],
)
def test_an_answer_of_another_form_is_told_with_its_method(method, answer, number, said):
    adapter = Planted()
    setattr(adapter, method, lambda layer: answer)
    assert verdicts(adapter)[number].found.startswith(said)


class OverwritesAndTruncates(Planted):
    """W is overwritten; whole numbers come out of an embedding, whose W moves most."""

    def forward(self, layer, train):
        B = super().forward(layer, train)
        if layer.kind == "embedding":
            layer.W = layer.W / 2
            return np.trunc(B)
        return B


def test_a_second_fault_of_one_kind_does_not_hide_the_name():
    told = broken(OverwritesAndTruncates("overwritten"))
    assert told[4] == "outputs are cast to the inputs' type" and told[9] == "W is overwritten"


def test_a_kind_just_inside_the_tolerance_does_not_hide_one_outside():
    class Rounds(Planted):
        def remove(self, layer):
            return super().remove(layer) * (1 + (2e-6 if layer.kind == "conv" else 8e-7))

    told = verdicts(Rounds())[25]
    assert told.verdict == BROKEN and told.found.startswith("convolution: differs by 2.")


TAUGHT = {
    "constant": {},
    "through": {7: "through the power step", 11: "through the power step",
                27: "through the power step"},
    "overwritten": {9: "W is overwritten", 6: "W is overwritten", 27: "W is overwritten"},
    "detached": {6: "σ is detached", 7: "σ is detached", 27: "σ is detached"},
    "clipped": {28: "clipped"},
}  # fmt: skip


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_the_taught_semantics_are_told_apart(semantics):
    told = broken(Minisn(TaughtSpectralNorm(semantics)))
    expected = TAUGHT[semantics]
    assert {n: told.get(n) for n in expected} == expected
    assert bool(told) == (semantics != "constant"), told


@pytest.mark.parametrize(
    ("fault", "name"),
    {
        "": "one matrix alone (SN)",
        "bsn view": "mean of both axes, a view in place of a transposition",
        "rms": "root mean square of both axes",
        "geometric": "geometric mean of both axes",
        "larger": "larger of both axes",
        "smaller": "smaller of both axes",
        "sum": "sum of both axes",
        "product": "product of both axes",
    }.items(),
)
def test_what_is_not_bsn_is_told_by_name(fault, name):
    told = broken(Planted(fault, definition="BSN"))
    assert {told.get(2), told.get(3)} == {name}
    assert 1 not in told


def test_what_is_not_sn_conv_is_told_by_name():
    told = broken(Planted(definition="SN_Conv"))
    assert told[2] == "one matrix alone (SN)" and not {1, 3, 4} & set(told)


def test_a_constant_that_is_not_applied_is_told_by_name():
    told = broken(Planted("no constant", scale=1.6))
    assert {told[n] for n in (1, 2, 3, 4, 21, 23, 28)} == {"the constant is not applied"}


# -- right layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"order": "u first"},
        {"more": 3},
        {"more": 7, "order": "u first"},
        {"warm": 60},
        {"scale": 1.6},
        {"eps": 1e-13},
        {"more": 100},
        {"more": 400},
    ],
    ids=str,
)
def test_right_variants_keep_every_clause(settings):
    found = verdicts(Planted(**settings))
    assert {n: (r.deviation, r.found) for n, r in found.items() if r.verdict == BROKEN} == {}
    order, more = settings.get("order", "v first"), settings.get("more", 1)
    note = f"{order}, {more} round{'s' * (more > 1)} a pass"
    assert found[5].note == (note if more < 300 else "each pass reaches the singular vectors")
    asked_too_much = [27] if more == 400 else []
    assert [n for n, r in found.items() if r.verdict == NOT_ASKED] == [22, *asked_too_much]


@pytest.mark.parametrize("name", ["minisn", "minisn-ssn", "minisn-bsn", "minisn-sn-conv"])
def test_minisn_keeps_every_clause(name):
    found = verdicts(load(name))
    assert {n: (r.deviation, r.found) for n, r in found.items() if r.verdict == BROKEN} == {}
    assert found[1].verdict == found[6].verdict == found[24].verdict == KEPT


@pytest.mark.parametrize("name", ["minisn-bsn", "minisn-sn-conv"])
def test_a_definition_leaves_out_what_only_sn_has(name):
    assert not {5, 7, 11, 20, 27} & verdicts(load(name)).keys()


class Least:
    """An adapter with nothing but what must be there, whose rounds cannot be set."""

    def __init__(self):
        self.inner = Planted()

    def make(self, kind, W, rounds=1, dtype="float32"):
        if rounds != 1:
            raise NotImplementedError
        return self.inner.make(kind, W, 1, dtype)

    def forward(self, layer, train):
        return self.inner.forward(layer, train)


def test_what_an_adapter_cannot_be_asked_is_not_asked_and_no_failure():
    found = verdicts(Least())
    asked = {n for n, r in found.items() if r.verdict == KEPT}
    assert asked == {1, 2, 3, 4, 10, 14, 15, 16, 18, 19, 20, 28}
    assert {r.verdict for r in found.values()} == {KEPT, NOT_ASKED}
    assert found[6].found == "the adapter has no gradient"


def test_an_error_of_the_layer_is_a_finding():
    class Stops(Planted):
        def gradient(self, layer, Gs):
            raise RuntimeError("a variable was modified by an inplace operation")

        def reload(self, layer):
            raise KeyError("u")

    found = verdicts(Stops())
    assert found[11].deviation == "u is changed in place under a pending backward"
    assert found[24].deviation == "fails" and "KeyError" in found[24].found


def test_a_method_that_cannot_be_asked_is_as_one_that_is_missing():
    class Blind(Planted):
        def parameter(self, layer):
            raise NotImplementedError

        state = dtype = parameter

    found = verdicts(Blind("detached"))
    assert found[7].deviation == "σ is detached" and found[9].verdict == NOT_ASKED
    assert found[13].found == "the adapter has neither state nor parameter"
    assert found[14].verdict == found[16].verdict == found[21].verdict == KEPT


def test_a_weight_of_another_shape_is_told():
    class Turned(Planted):
        def forward(self, layer, train):
            B = super().forward(layer, train)
            return B.swapaxes(0, 1) if layer.kind == "conv" else B

        def gradient(self, layer, Gs):
            return super().gradient(layer, Gs).T

    told = verdicts(Turned())
    assert told[2].found.startswith("forward gave an array of shape [3, 5, 3, 3], expected real")
    named = {n: r.deviation for n, r in told.items() if r.verdict == BROKEN}
    assert {named[n] for n in (2, 6, 7, 8, 11, 27)} == {"another shape"}
    assert told[1].verdict == told[3].verdict == KEPT


def test_a_divisor_above_the_norm_is_no_estimate_of_it():
    told = broken(Planted("frobenius"))
    assert told[10] == "Frobenius norm" and "u is never moved" not in told.values()


def test_a_layer_in_single_precision_alone_has_its_other_deviations_named():
    class Single(Planted):
        def make(self, kind, W, rounds=1, dtype="float32"):
            if dtype == "float64":
                raise RuntimeError("expected float32")
            return super().make(kind, W, rounds, dtype)

        def forward(self, layer, train):
            B = super().forward(layer, train)
            return B if np.abs(layer.W).max() > 1e-20 else np.full_like(B, np.nan)

    told = broken(Single())
    assert told[19] == "squares underflow" and told[23] == "fails"


def test_an_error_of_every_gradient_is_told_in_its_words():
    class NoGraph(Planted):
        def gradient(self, layer, Gs):
            raise ValueError("there is no graph")

    found = verdicts(NoGraph())
    assert {found[n].found for n in (6, 7, 8, 11, 16, 27)} == {"ValueError: there is no graph"}


def test_an_adapter_may_write_into_what_it_is_given():
    class Writes(Planted):
        def make(self, kind, W, rounds=1, dtype="float32"):
            layer = super().make(kind, W, rounds, dtype)
            if W.dtype == np.float64:  # the suite's; reload hands on its own
                W *= 0
            return layer

        def gradient(self, layer, Gs):
            g = super().gradient(layer, Gs)
            Gs[0] *= 0
            return g

    assert broken(Writes()) == {}


# -- adapters ------------------------------------------------------------------------------------


class Elsewhere(Adapter):
    """Layers of a library with other layouts, which normalize nothing: they keep W as given."""

    axes, flipped, channels_last = {"dense": "io", "conv": "hwio", "deconv": "hwoi"}, True, True

    def build(self, layer, W):
        return W

    def call(self, layer, module, train):
        W, x = module, layer.x
        if layer.kind == "dense":
            return x @ W
        if layer.kind == "embedding":
            return W[x]
        if layer.kind == "deconv":  # one pixel becomes a kernel, half a turn from where it lies
            return np.einsum("nyxi,hwoi->nhwo", x, W[::-1, ::-1])
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        return np.einsum("nyxihw,hwio->nyxo", windows, W)

    def weight(self, module):
        return module


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_images_may_lie_otherwise(kind):
    adapter, W = Elsewhere(), draw(kind)
    layer = adapter.make(kind, W, dtype="float64")
    assert layer.x.shape == {"conv": (3, 6, 6, 3), "deconv": (7, 1, 1, 7)}.get(kind, layer.x.shape)
    np.testing.assert_array_equal(adapter.forward(layer, True), W)
    np.testing.assert_array_equal(adapter.parameter(layer), W)
    assert adapter.dtype(layer) == "float64"


def test_what_an_adapter_does_not_define_is_not_asked():
    found = verdicts(Elsewhere())
    assert found[1].deviation == found[3].deviation == "not normalized"
    reasons = {n: r.found for n, r in found.items() if r.verdict == NOT_ASKED}
    assert reasons[7] == "the adapter has no vectors" and found[13].verdict == KEPT
    assert reasons[8] == "the adapter has no derivative"
    assert reasons[24] == "the adapter has no load"
    with pytest.raises(NotImplementedError, match="NumPy has no float7"):
        Elsewhere().tensor(np.zeros(2), "float7")


def test_the_smallest_adapter_of_the_page_is_asked():
    text = conformance.own()
    smallest = text.split("```python\n")[1].partition("```")[0]
    names = {"MyLayer": lambda W: lambda x, train: x @ (W / (np.linalg.norm(W, 2) or 1.0)).T}
    exec(smallest, names)
    found = verdicts(names["Mine"]())
    assert {n for n, r in found.items() if r.verdict == KEPT} == {
        1, 10, 14, 15, 16, 18, 19, 20, 28
    }  # fmt: skip
    assert (
        found[2].found.startswith("my layers are dense")
        and found[7].found == "the adapter has no set_u"
    )
    assert "class Torch(Adapter):" in text and "def derivative(" in text


@pytest.mark.parametrize("kind", KINDS)
def test_the_basis_reads_off_a_weight_and_spreads_its_gradient(kind):
    layer = Minisn().make(kind, draw(kind), dtype="float64").module
    y = layer(layer.weight.wrap(inputs(kind))).numpy()
    np.testing.assert_array_equal(read_off(kind, y), layer.effective_weight().numpy())
    G = draw(kind, 5)
    assert np.isclose((spread(kind, G) * y).sum(), (G * read_off(kind, y)).sum(), rtol=1e-12)


# -- the command ----------------------------------------------------------------------------------


def minisn(*arguments, code=0):
    result = CliRunner().invoke(main, ["conformance", *map(str, arguments)], prog_name="minisn")
    assert result.exit_code == code, result.output
    return result


def test_the_command_prints_every_clause_and_writes_what_it_found(tmp_path):
    table = tmp_path / "table.json"
    lines = minisn("minisn", "--json", table).stdout.splitlines()
    assert lines[0].startswith("minisn ")
    assert [int(text[:3]) for text in lines[1:29]] == list(range(1, 29))
    assert "27 kept, 0 broken, 1 not asked" in "\n".join(lines)
    (library,) = read_table(table)["libraries"]
    assert [c["number"] for c in library["clauses"]] == [c.number for c in all_clauses()]


def test_a_layer_of_ones_own_is_asked_and_broken_clauses_say_what_they_mean(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from planted import Planted\n\ndef factory():\n    return Planted('frobenius')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    table = tmp_path / "table.json"
    text = minisn("mine:factory", "--json", table, code=1).stdout
    assert "value, dense                                  broken     divided by" in text
    assert "expected [M18 (8)]: W / N(W), 60 rounds; off by 0." in text
    assert "Frobenius norm: the norm is 1 at rank one only" in text
    first = read_table(table)["libraries"][0]["clauses"][0]
    assert first["verdict"] == "broken" and first["error"] > 0.1 and first["meaning"]
    assert json.loads(table.read_text())["date"]


OWN = """
from planted import Planted

class Stops(Planted):
    def forward(self, layer, train):
        raise KeyError("u")

class Turned(Planted):
    def forward(self, layer, train):
        return super().forward(layer, train).T

class Nothing(Planted):
    def forward(self, layer, train):
        super().forward(layer, train)

class Pair(Planted):
    def forward(self, layer, train):
        return super().forward(layer, train), 1

class Complex(Planted):
    def forward(self, layer, train):
        return super().forward(layer, train) * (1 + 1e-3j)

class Nowhere(Planted):
    def forward(self, layer, train):
        raise NotImplementedError("no backend")

class Five(Planted):
    precisions = 5

class Short(Planted):
    def make(self, kind, W):
        return super().make(kind, W)

class Lower(Planted):
    def __init__(self):
        super().__init__(definition="sn")

class Null(Planted):
    def __init__(self):
        super().__init__(scale=0.0)

class Leaves(Planted):
    def __init__(self):
        raise SystemExit

class Hides(Planted):
    @property
    def version(self):
        raise OSError("no metadata")

class Settings(Planted):
    def __init__(self, order):
        super().__init__(order=order)

def gives_class():
    return Planted
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Stops", "planted: make('dense', W, 1), then forward(layer, True): KeyError: 'u'"),
        ("Turned", "forward gave an array of shape [9, 6], expected real numbers in the"),
        ("Nothing", "forward gave None, expected real numbers in the shape of the weight, [6, 9]"),
        ("Pair", "forward gave tuple, expected real numbers in the shape of the weight, [6, 9]"),
        ("Complex", "forward gave complex64, expected real numbers"),
        ("Nowhere", "cannot be asked of any kind of layer (dense, conv, deconv, embedding): no "),
        ("Five", "planted: precisions is 5, expected names of types"),
        ("Short", "then forward(layer, True): TypeError: "),
        ("Lower", "planted: definition is 'sn', expected one of SN, BSN, SN_Conv"),
        ("Null", "planted: scale is 0.0, expected a finite number other than 0"),
        ("Leaves", "layers_of_mine:Leaves() stopped: SystemExit:"),
        ("Hides", "Hides: version: OSError: no metadata"),
        ("Settings", "layers_of_mine:Settings() stopped: TypeError: "),
        ("gives_class", "layers_of_mine:gives_class gave the class Planted, expected an object"),
    ],
)
def test_an_adapter_with_a_mistake_is_one_clear_line(tmp_path, monkeypatch, name, said):
    (tmp_path / "layers_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)  # where modules are found without being installed
    text = minisn(f"layers_of_mine:{name}", code=1).stderr
    assert said in text and text.count("\n") == 1


def test_a_file_is_imported_although_a_package_has_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "random.py").write_text(OWN)
    assert "definition is 'sn'" in minisn(f"{tmp_path / 'random.py'}:Lower", code=1).stderr


def test_a_mistake_is_told_before_the_first_library_is_asked(tmp_path):
    table = tmp_path / "no" / "such" / "table.json"
    result = minisn("minisn", "--json", table, code=1)
    assert "there is no folder" in result.stderr and not result.stdout
    assert not minisn("minisn", "tensorflow", code=1).stdout


def test_what_an_adapter_says_of_itself_is_written_whatever_it_is(tmp_path):
    adapter = Planted()
    adapter.name, adapter.version, adapter.precisions = "a\udc80", (1, 2), None
    adapter.state = lambda layer: {"u": layer.u, "v": layer.v}
    adapter.dtype = lambda layer: f"torch.{layer.dtype}"
    results = list(run(adapter))
    assert not [r for r in results if r.verdict == BROKEN]
    write_table(tmp_path / "table.json", [row(adapter, results)])
    (library,) = read_table(tmp_path / "table.json")["libraries"]
    assert (library["name"], library["version"]) == ("a\\udc80", "(1, 2)")


def test_a_module_that_stops_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "stops_at_once.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    text = minisn("stops_at_once:factory", code=1).stderr
    assert "cannot import 'stops_at_once': ZeroDivisionError: " in text and text.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensorflow", "no adapter 'tensorflow'; expected one of minisn, "),
        ("nowhere:factory", "cannot import 'nowhere'"),
        ("json:factory", "module 'json' has no 'factory'"),
        ("json:JSONDecoder", "gave a JSONDecoder without make and forward; expected make(kind, W"),
    ],
)
def test_a_mistake_is_one_clear_line(name, said):
    text = minisn(name, code=1).stderr
    assert said in text and text.count("\n") == 1


def test_a_missing_library_is_one_clear_line(monkeypatch):
    monkeypatch.setattr("minisn.conformance.adapters.find_spec", lambda package: None)
    assert "keras is not installed; run: pip install keras" in minisn("keras", code=1).stderr
    assert "give a library's name" in minisn(code=1).stderr


def test_the_list_has_libraries_clauses_and_what_an_adapter_has():
    text = minisn("--list").stdout
    assert "flax-nnx" in text and "27  Algorithm 1, 200 steps" in text
    assert all(line in text for line in ASKED.values())


def test_the_help_has_what_an_adapter_must_know():
    text = minisn("--help").stdout
    assert all(f"  {kind} " in text for kind in KINDS)
    assert "NotImplementedError" in text and "Torch(wrap, unwrap)" in text
    assert all(name in text for name in ("precisions", "definition", "scale", "dtype"))


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match="expected a table"):
        read_table(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="MODULE:FACTORY"):
        load("pytorch")


# -- vectors: read with the safetensors package and NumPy alone -----------------------------------


def unit(x):
    return x / np.linalg.norm(x)


def one_round(W, u, v, order):
    if order == "v-first":
        v = unit(W.T @ u)
        return unit(W @ v), v
    u = unit(W @ v)
    return u, unit(W.T @ u)


def answer(number, order, axis, x):
    """An implementation that knows the vectors' README and nothing else of this project."""
    W = x["W"]
    M = np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)
    if number in (1, 2, 3, 4, 6, 16, 18, 19, 26, 28):
        u, s, vt = np.linalg.svd(M / (np.abs(M).max() or 1))
        u, v, sigma = u[:, 0], vt[0], s[0] * (np.abs(M).max())
        W_bar = W / sigma if sigma else W
        if number == 6:
            slope = np.moveaxis(np.outer(u, v).reshape(np.moveaxis(W, axis, 0).shape), 0, axis)
            return {"dW": (x["G"] - (x["G"] * W_bar).sum() * slope) / sigma}
        if number == 26:

            def of(N):
                s = u @ N @ v
                return (x["H"] * (x["G"] - (x["G"] * N).sum() / s * np.outer(u, v))).sum() / s

            steps = np.eye(W.size).reshape(-1, *W.shape) * 1e-6
            return {"d2W": np.reshape([(of(W + E) - of(W - E)) / 2e-6 for E in steps], W.shape)}
        return {"W_bar": W_bar, "sigma": np.array(sigma)}

    def gradient(G, W, u, v):
        sigma = u @ W @ v
        return (G - (G * W).sum() / sigma * np.outer(u, v)) / sigma

    u, v = one_round(W, x["u"], x["v"], order)
    if number == 5:
        sigma = u @ W @ v
        return {"u": u, "v": v, "sigma": np.array(sigma), "W_bar": W / sigma}
    if number == 10:
        for _ in range(3):
            u, v = one_round(W, u, v, order)
        return {"u": u, "v": v, "W_bar": W / (u @ W @ v)}
    if number == 27:
        W, u, v = x["W"], x["u"], x["v"]
        for G in x["G"]:
            u, v = one_round(W, u, v, order)
            W = W - 0.1 * gradient(G, W, u, v)
        return {"W_after": W}
    found = {"dW": gradient(x["G"], W, u, v)}
    if number == 11:
        found["dW_same"] = found["dW"] + gradient(x["G2"], W, u, v)
        found["dW"] = found["dW"] + gradient(x["G2"], W, *one_round(W, u, v, order))
    return found


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    minisn("--vectors", folder)
    return json.loads((folder / "vectors.json").read_text()), load_file(
        folder / "vectors.safetensors"
    )


def test_vectors_are_what_another_implementation_computes(vectors):
    listed, tensors = vectors
    assert {case["clause"] for case in listed} == {
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        10,
        11,
        16,
        18,
        19,
        26,
        27,
        28,
    }
    assert all(array.dtype == np.float64 for array in tensors.values())
    for case in listed:
        name = case["case"]
        if "BSN" in name or "SN_Conv" in name:
            continue
        x = {key: tensors[path] for key, path in case["inputs"].items()}
        found = answer(case["clause"], name[3:], int("deconv" in name), x)
        for key, path in case["expected"].items():
            if key == "dW_through":
                continue
            expected = tensors[path]
            limit = 1e-8 * (np.abs(expected).max() or 1)  # what the README says of float64
            assert np.abs(found[key] - expected).max() <= limit, (name, key)


def test_vectors_of_both_axes_and_of_the_operator(vectors):
    from planted import operator

    listed, tensors = vectors
    cases = {case["case"]: case for case in listed}
    for name, axis in (("02-conv-BSN", 0), ("03-deconv-BSN", 1)):
        W = tensors[cases[name]["inputs"]["W"]]
        both = [np.linalg.norm(np.moveaxis(W, a, 0).reshape(W.shape[a], -1), 2) for a in (0, 1)]
        W_bar = tensors[cases[name]["expected"]["W_bar"]]
        np.testing.assert_allclose(W_bar, W / np.mean(both), rtol=1e-12)
        assert axis in (0, 1)
    W = tensors[cases["02-conv-SN_Conv"]["inputs"]["W"]]
    norm = np.linalg.norm(operator(W), 2)
    W_bar = tensors[cases["02-conv-SN_Conv"]["expected"]["W_bar"]]
    np.testing.assert_allclose(W_bar, W / norm, rtol=1e-12)


def test_vectors_tell_differentiating_through_the_round_apart(vectors):
    listed, tensors = vectors
    for case in (c for c in listed if c["clause"] == 7):
        right, through = (tensors[case["expected"][key]] for key in ("dW", "dW_through"))
        assert np.abs(right - through).max() > 100 * case["tolerance"] * np.abs(right).max()
        x = {key: tensors[path] for key, path in case["inputs"].items()}

        def value(W, x=x, case=case):
            u, v = one_round(W, x["u"], x["v"], case["case"][3:])
            return (x["G"] * W).sum() / (u @ W @ v)

        for at in np.ndindex(2, 3):
            E = np.zeros_like(x["W"])
            E[at] = 1e-6
            slope = (value(x["W"] + E) - value(x["W"] - E)) / 2e-6
            assert slope == pytest.approx(through[at], rel=1e-5, abs=1e-6)


@pytest.mark.needs("torch")
def test_a_module_without_a_weight_of_its_own_is_not_asked_to_be_read():
    import torch

    from minisn.conformance.adapters.in_torch import Torch

    class Wrapped(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    found = verdicts(Torch(lambda module, n: Wrapped(module), name="not normalized"))
    assert found[1].deviation == found[2].deviation == "not normalized"
    assert found[12].found == "the module has no weight to read"
    assert found[25].found == "the normalization cannot be removed"


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("torch", {12: "reading moves u", 25: "removing takes one round more"}),
        ("torch-hook", {12: "reading keeps an old weight", 20: "no warm start"}),
    ],
)
def test_torchs_two_forms_are_told_apart(name, told):
    both = {
        16: "0/0 for a zero weight", 17: "NaN stays after a zero weight",
        18: "an absolute ε", 19: "squares overflow",
    }  # fmt: skip
    assert broken(load(name)) == both | told


def test_what_was_found_is_kept_although_a_later_adapter_stops(tmp_path, monkeypatch):
    (tmp_path / "two.py").write_text(
        "from planted import Planted\n\nclass Stops(Planted):\n"
        "    def make(self, *arguments):\n        raise RuntimeError('no')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    table = tmp_path / "table.json"
    minisn("planted:Planted", "two:Stops", "--json", table, code=1)
    assert len(read_table(table)["libraries"]) == 1


def test_the_vectors_leave_another_readme(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    assert "is another README" in minisn("--vectors", tmp_path, code=1).stderr
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]


def test_a_library_that_cannot_be_imported_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "minisn.conformance.adapters.in_minisn", None)
    with pytest.raises(ConfigError, match="minisn is installed, but cannot be imported"):
        load("minisn")
