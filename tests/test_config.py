"""Settings: what is refused and how it is said, and that they survive a file."""

import tomllib
from pathlib import Path

import pytest
import tomli_w
from tiny import TINY

import minisn
from minisn.config import (
    NAMES,
    UNNAMED,
    load_config,
    load_preset,
    parse_config,
    parse_settings,
    preset_text,
    presets,
)
from minisn.errors import ConfigError

PRESETS = Path(minisn.__file__).parent / "presets"
GOOD = TINY.replace(
    size=28,
    width=16,
    latent=128,
    rate_d=4e-4,
    rate_g=2e-4,
    n_dis=1,
    batch_size=64,
    average=0.999,
    steps=100,
    seed=0,
    log_every=10,
    sample_every=50,
    checkpoint_every=50,
)

COUNTS = ("size", "width", "latent", "n_dis", "batch_size", "steps", "log_every",
          "sample_every", "checkpoint_every")  # fmt: skip


def text(**changes):
    return tomli_w.dumps({**GOOD.to_dict(), **changes})


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -3])
def test_a_count_below_one_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} = {value}: expected at least 1"):
        GOOD.replace(**{name: value})


@pytest.mark.parametrize("name", [*COUNTS, "seed"])
@pytest.mark.parametrize("value", [2.0, "2", True, None, [2]])
def test_what_is_no_whole_number_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} = .*expected a whole number, got ") as caught:
        GOOD.replace(**{name: value})
    assert type(value).__name__ in str(caught.value)


@pytest.mark.parametrize("name", ["rate_d", "rate_g", "scale", "beta1", "beta2", "average"])
@pytest.mark.parametrize("value", ["0.5", True, None, [0.5]])
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} = .*expected a number, got "):
        GOOD.replace(**{name: value})


@pytest.mark.parametrize("name", ["rate_d", "rate_g", "scale"])
@pytest.mark.parametrize("value", [0, 0.0, -1e-4, float("nan"), float("inf")])
def test_a_rate_that_is_not_above_zero_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} = .*expected more than 0"):
        GOOD.replace(**{name: value})


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_penalty_that_cannot_be_paid_is_refused(value):
    with pytest.raises(ConfigError, match=r"gradient_penalty = .*expected at least 0, and finite"):
        GOOD.replace(gradient_penalty=value)


def test_a_decay_may_begin_after_the_end_but_not_before_the_start():
    with pytest.raises(ConfigError, match="decay_after = -1: expected at least 0"):
        GOOD.replace(decay_after=-1)
    assert GOOD.replace(decay_after=GOOD.steps + 1).decay_after == GOOD.steps + 1


@pytest.mark.parametrize("name", ["beta1", "beta2", "average"])
@pytest.mark.parametrize("value", [1, 1.0, -0.1, float("nan"), float("inf")])
def test_a_decay_outside_of_its_range_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} = .*expected from 0 to below 1"):
        GOOD.replace(**{name: value})


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="seed = -1: expected at least 0"):
        GOOD.replace(seed=-1)


def test_texts_are_checked():
    with pytest.raises(ConfigError, match="data = 3: expected text in quotes, got int"):
        GOOD.replace(data=3)
    with pytest.raises(ConfigError, match=r"'hing': expected one of .*; did you mean 'hinge'\?"):
        GOOD.replace(objective="hing")
    with pytest.raises(ConfigError, match="'xyz': expected one of standard, hinge, wasserstein"):
        GOOD.replace(objective="xyz")
    with pytest.raises(ConfigError, match=r"regularizer = 'sn-con': .*did you mean 'sn-conv'\?"):
        GOOD.replace(regularizer="sn-con")
    with pytest.raises(ConfigError, match="gain = 1: expected true or false, got int"):
        GOOD.replace(gain=1)
    for name in ("pho\udcff", "two\nlines"):  # the first is a path of other bytes than UTF-8
        with pytest.raises(ConfigError, match="rename the folder"):
            GOOD.replace(data=name)
    assert GOOD.replace(data="./Füchse und 犬").data == "./Füchse und 犬"


def test_a_whole_number_may_stand_for_a_number():
    config = GOOD.replace(scale=2, beta1=0)
    assert (type(config.scale), type(config.beta1)) == (float, float)
    assert config == GOOD.replace(scale=2.0, beta1=0.0)


def test_limits_that_are_allowed():
    assert GOOD.replace(**dict.fromkeys(COUNTS, 1), seed=0, beta1=0.0, average=0.0).size == 1


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown setting 'widht'; did you mean 'width'\?"):
        GOOD.replace(widht=3)
    with pytest.raises(ConfigError, match="unknown setting 'zzz'; known are data, size"):
        GOOD.replace(zzz=3)


def test_a_configuration_does_not_change():
    with pytest.raises(AttributeError):
        GOOD.width = 3
    assert GOOD.replace(width=3).width == 3 and GOOD.width == 16


def test_decay_is_asked_for_once():
    with pytest.raises(ConfigError, match="decay_after = 5 and decay_at_once = true: expected one"):
        GOOD.replace(decay_after=5, decay_at_once=True)
    assert GOOD.replace(decay_at_once=True).decay_at_once


def test_gp_is_a_gradient_penalty_of_10_and_nothing_else():
    """Runs and commands of earlier versions say so; with a weight of its own, the two added up."""
    meant = GOOD.replace(regularizer="none", gradient_penalty=10.0)
    assert GOOD.replace(regularizer="gp") == parse_config(text(regularizer="gp"), "old") == meant
    assert (meant.regularizer, meant.gradient_penalty) == ("none", 10.0)
    with pytest.raises(ConfigError, match=r"gradient_penalty = 5\.0: expected one of them"):
        GOOD.replace(regularizer="gp", gradient_penalty=5)


def test_a_file_from_before_the_authors_settings_is_the_run_that_it_was():
    values = GOOD.to_dict()
    for name in UNNAMED:
        del values[name]
    assert parse_config(tomli_w.dumps(values), "old") == GOOD
    assert UNNAMED == {
        "features_in": 0,
        "unit_norm": False,
        "last_bias": True,
        "init_g": "default",
        "gamma": "none",
        "decay_at_once": False,
        "batch_size_g": 0,
        "power_steps": "update",
        "first": "D",
        "dequantize": False,
    }


def test_the_authors_preset_is_their_configuration():
    """What pfnet-research/sngan_projection has for CIFAR-10 without labels, and its code."""
    theirs = load_preset("cifar10-authors").to_dict()
    paper = load_preset("cifar10-resnet").to_dict()
    assert {name: value for name, value in theirs.items() if value != paper[name]} == {
        "init": "glorot",
        "init_g": "glorot",
        "last_bias": False,
        "decay_at_once": True,
        "steps": 50_000,
        "batch_size_g": 128,
        "power_steps": "pass",
        "first": "G",
        "dequantize": True,
    }
    assert (theirs["batch_size"], theirs["n_dis"], theirs["rate_d"]) == (64, 5, 2e-4)


# --- files ------------------------------------------------------------------------------------


def test_settings_survive_a_file_to_the_last_bit(tmp_path):
    config = GOOD.replace(rate_d=0.1 + 0.2, beta2=1 - 2**-53, scale=1e-300, seed=2**62)
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.to_dict()), "utf-8")
    assert load_config(path) == config
    assert list(config.to_dict()) == NAMES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("width = ", "not valid TOML"),
        ("width 3", "not valid TOML"),
        (text(widht=3), r"unknown setting 'widht'; did you mean 'width'\?"),
        ("width = 3\nsize = 8", "missing: data, model, features, latent"),
        ("", "missing: data, size"),
        (text(width=0), "width = 0: expected at least 1"),
        (text(width="3"), "width = '3': expected a whole number, got str"),
        (text(width={"of": 3}), "expected a whole number, got dict"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path, content, message):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "nothing", tmp_path, tmp_path / "binary"):
        with pytest.raises(ConfigError, match="cannot read") as caught:
            load_config(path)
        assert str(path) in str(caught.value)


# --- presets ----------------------------------------------------------------------------------


def test_the_presets_are_there_and_whole():
    assert {"mnist", "mnist-tiny", "cifar10-small", "cifar10"} <= set(presets())
    for name in presets():
        config = load_preset(name)
        assert parse_config(tomli_w.dumps(config.to_dict()), name) == config


def shipped(name):
    return tomllib.loads((PRESETS / f"{name}.toml").read_text("utf-8"))


def test_a_preset_names_what_differs_from_the_defaults_and_nothing_else():
    defaults = shipped("defaults")
    assert defaults.keys() == set(NAMES) and defaults.items() >= UNNAMED.items()
    for name in presets():
        changes = shipped(name)
        assert changes.items() <= load_preset(name).to_dict().items()
        assert not changes.items() & defaults.items()
        assert load_preset(name).to_dict() == defaults | changes
    assert load_preset("cifar10").to_dict() == defaults


def test_a_preset_keeps_its_own_words_and_borrows_the_others():
    lines = preset_text("mnist").splitlines()
    assert lines[0].startswith("# Handwritten digits")
    assert 'data = "mnist-10k"        # 10,000 digits that ship with minisn' in lines
    assert "rate_d = 1e-3             # Adam's step size for D" in lines
    assert "batch_size = 64           # images per batch" in lines
    assert not any("the paper's CNN at full width" in line for line in lines)


def test_the_paper_s_cnn_is_the_paper_s():
    config = load_preset("cifar10")
    assert (config.size, config.width, config.latent, config.batch_size) == (32, 64, 128, 64)
    # setting C of Table 1
    assert (config.rate_d, config.rate_g, config.beta1, config.beta2) == (2e-4, 2e-4, 0.5, 0.999)
    assert config.n_dis == 1


@pytest.mark.parametrize("name", ["minst", "mnist-tiney", "cifar"])
def test_an_unknown_preset_gets_the_nearest(name):
    nearest = {"minst": "mnist", "mnist-tiney": "mnist-tiny", "cifar": "cifar10"}[name]
    with pytest.raises(ConfigError, match=rf"unknown preset '{name}'; did you mean '{nearest}'\?"):
        load_preset(name)


@pytest.mark.parametrize("name", ["", "zzz", "defaults", "../presets/mnist", "mnist.toml/.."])
def test_what_is_no_preset_is_refused(name):
    with pytest.raises(ConfigError, match="unknown preset"):
        load_preset(name)


# --- --set ------------------------------------------------------------------------------------


def test_pairs_become_values():
    pairs = ["width=16", " rate_d = 1e-3 ", "regularizer=sn", 'data="mnist-10k"', "scale=1",
             "average=0.5", "seed=1_000", "objective=a=b"]  # fmt: skip
    assert parse_settings(pairs) == {
        "width": 16,
        "rate_d": 1e-3,
        "data": "mnist-10k",
        "scale": 1,
        "average": 0.5,
        "seed": 1000,
        "regularizer": "sn",
        "objective": "a=b",
    }
    assert parse_settings([]) == {}


@pytest.mark.parametrize("pair", ["width", "=3", "", " = 3", "width 3"])
def test_what_is_no_pair_is_refused(pair):
    with pytest.raises(ConfigError, match="expected name=value, for example width=16"):
        parse_settings([pair])


def test_a_setting_that_is_given_twice_is_refused():
    with pytest.raises(ConfigError, match="--set width is given twice; expected one value"):
        parse_settings(["width=1", "seed=1", " width = 1"])


@pytest.mark.parametrize("pair", ["width=16\nheight=3", 'data="a"\ndata="b"'])
def test_a_pair_of_several_lines_is_refused(pair):
    with pytest.raises(ConfigError, match="expected one setting; give --set once for each"):
        parse_settings([pair])
    assert parse_settings(["width=16\n"]) == {"width": 16}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("widht=16", r"unknown setting 'widht'; did you mean 'width'\?"),
        ("width=wide", "width = 'wide': expected a whole number, got str"),
        ("width=", "width = '': expected a whole number, got str"),
        ("width=1.5", "width = 1.5: expected a whole number, got float"),
        ("width=true", "width = True: expected a whole number, got bool"),
        ("data=2024-01-01", "expected text in quotes, got date"),
    ],
)
def test_a_pair_with_a_bad_value_is_refused(pair, message):
    with pytest.raises(ConfigError, match=message):
        GOOD.replace(**parse_settings([pair]))


def test_toml_of_a_configuration_is_flat_and_in_order():
    assert list(tomllib.loads(text())) == NAMES


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + text().encode())
    assert load_config(path) == GOOD


def test_a_whole_number_too_long_to_print_is_refused():
    with pytest.raises(ConfigError, match="seed: expected a whole number below"):
        TINY.replace(seed=16**5000)
