"""Health: what is found in the logs of real runs, those that fail and those that do not."""

import json
from pathlib import Path

import numpy as np
import pytest

from minisn import runs
from minisn.config import load_preset, parse_settings
from minisn.data import load
from minisn.health import RULES, STEPS, Health, spread
from minisn.training import Trainer

TINY = load_preset("mnist-tiny").replace(
    width=4, batch_size=16, steps=70, log_every=5, sample_every=35, checkpoint_every=70
)
FAST = load_preset("cifar10").replace(width=16, rate_d=4e-4, rate_g=2e-4, average=0.999)
"""A narrow network on photographs, whose D may win, or may not: small causes decide."""

LOGS = Path(__file__).parent / "logs"
"""Logs of two such runs, but for the words of what was found: NUMBA_NUM_THREADS=1 minisn train
cifar10 --data NAME --steps 600 --set width=16 --set rate_d=4e-4 --set average=0.999
--set log_every=25 --set sample_every=100, with the names cifar10 and cifar10-2k."""


def trained(folder, **changes):
    """Train for a second or two; returns the lines, as they came."""
    config, lines = TINY.replace(**changes), []
    runs.create_run(folder, config)
    runs.train(Trainer(config, load("mnist-10k").images), folder, on_log=lines.append)
    return lines


def told(lines):
    """What was found: the words by key."""
    return {key: words for line in lines for key, words in line.get("health", {}).items()}


def read(config, lines):
    """Take in a whole log."""
    health = Health(config)
    for line in lines:
        health.see(line)
    return health


# --- runs that fail, and one that does not ----------------------------------------------------


def test_a_healthy_run_is_told_nothing(tmp_path):
    lines = trained(tmp_path / "run")
    assert told(lines) == {}
    assert read(TINY, lines).looked == RULES.keys() - {"collapse"}  # which is asked later


@pytest.mark.parametrize("objective", ["hinge", "standard", "wasserstein"])
def test_weight_clipping_kills_a_narrow_d(tmp_path, objective):
    """No kernel has an entry above 0.01, and there are seven: the scores are all the same."""
    lines = trained(tmp_path / "run", regularizer="wc", objective=objective)
    found = told(lines)
    assert "g-starves" in found and found.keys() <= {"g-starves", "d-starves"}
    assert all(words.endswith("with --set regularizer=sn.") for words in found.values())
    late = [line["gradient"]["G"] for line in lines[-5:]]
    assert np.median(late) < 1e-6  # of 1 and more in the healthy run; one step in five may differ


def test_the_shipped_photographs_without_the_cure():
    """Its loss is 0.000 at some steps from 100 on, and its samples are gray.

    The log of NUMBA_NUM_THREADS=1 minisn train cifar10-small --seed 1 --steps 600
    --set log_every=25 --set sample_every=100 and the changes below, but for the words of what was
    found.
    """
    changes = {"rate_d": 4e-4, "scale": 1.0, "augment": "none", "flip": False, "average": 0.0}
    health = Health(load_preset("cifar10-small").replace(decay_after=0, **changes))
    text = (LOGS / "2000-photographs-fast-d.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {f.key: line["step"] for line in lines for f in health.see(line)} == {"d-wins": 175}
    advice = health.findings["d-wins"].advice
    assert "--set rate_d=0.0002, for photographs also with --set augment=color" in advice


@pytest.mark.parametrize("regularizer", ["sn", "none"])
def test_a_rate_of_one_leaves_nothing_to_learn(tmp_path, regularizer):
    found = told(trained(tmp_path / "run", rate_d=1.0, rate_g=1.0, regularizer=regularizer))
    assert found.keys() == {"g-starves", "d-starves" if regularizer == "sn" else "d-wins"}
    assert "--set rate_d=0.0002 --set rate_g=0.0002" in found["g-starves"]


@pytest.mark.parametrize("name", ["50000-photographs", "2000-photographs"])
def test_a_longer_run_with_a_fast_d(name):
    """In one its loss is 0.000 from step 125 on, and all samples are the same green."""
    lines = [json.loads(text) for text in (LOGS / f"{name}.jsonl").read_text().splitlines()]
    health = Health(FAST)
    new = {f.key: line["step"] for line in lines for f in health.see(line)}
    if name == "2000-photographs":
        assert new == {} and health.looked == RULES.keys()
        return
    assert new == {"d-wins": 225, "collapse": 600}
    assert health.findings["d-wins"].spans == [(50, 600)]
    assert health.findings["collapse"].spans == [(500, 600)]
    assert "a sample lay 4% as far" in health.findings["collapse"].seen
    for finding in health.findings.values():
        assert "Start anew with --set rate_d=0.0002, for photographs" in finding.advice


@pytest.mark.parametrize("changes", [{"regularizer": "none"}, {"rate_d": 5e-3, "beta1": 0.5}])
def test_a_d_without_a_bound_or_with_a_high_rate_wins(tmp_path, changes):
    lines = trained(tmp_path / "run", steps=140, **changes)
    assert told(lines).keys() == {"d-wins"}
    assert np.median([line["loss_d"] for line in lines[-8:]]) < 0.2  # of 2 where D knows nothing


def test_without_a_bound_on_d_the_gradients_of_wasserstein_explode(tmp_path):
    found = told(trained(tmp_path / "run", regularizer="none", objective="wasserstein"))
    assert found.keys() == {"d-explodes", "g-explodes"}
    assert found["d-explodes"].endswith("Start anew with --set regularizer=sn.")


def test_a_resumed_run_does_not_tell_again(tmp_path):
    folder, lines = tmp_path / "run", []
    before = told(trained(folder, regularizer="wc", steps=50))
    longer = runs.read_config(folder).replace(steps=100)  # enough to be found anew
    trainer = runs.resume(folder, load("mnist-10k").images, config=longer)
    runs.train(trainer, folder, on_log=lines.append)
    assert [line["step"] for line in lines] == [*range(55, 101, 5)]
    assert before and told(lines) == {} and told(runs.read_log(folder)) == before


# --- how long ---------------------------------------------------------------------------------


def line(step, share=2.0, **more):
    """A line of the log, in which D's loss has so much slope left."""
    slope = {"real": share / 2, "fake": share / 2}
    return {"step": step, "loss_d": share / 2, "slope": slope, "sigma": {}} | more


def wins(steps, won):
    return read(FAST, [line(s, 0.0 if won(s) else 2.0) for s in steps]).findings


def test_a_finding_takes_several_lines_and_several_steps():
    lines = RULES["d-wins"].lines
    assert not wins(range(0, 50 * lines, 50), lambda s: 100 <= s < 50 * (lines + 1))
    found = wins(range(0, 50 * lines + 200, 50), lambda s: 100 <= s < 50 * (lines + 2))
    assert found["d-wins"].spans == [(100, 50 * (lines + 1))]
    assert not wins(range(100), lambda s: 10 <= s < 10 + STEPS)
    assert wins(range(100), lambda s: 10 <= s <= 10 + STEPS)["d-wins"].spans == [(10, 10 + STEPS)]


def test_a_good_moment_does_not_end_it_but_a_good_while_does():
    good = {600, 700, *range(1500, 3000)}
    found = wins(range(0, 5000, 25), lambda s: s >= 300 and s not in good)
    assert found["d-wins"].spans == [(300, 1475), (3000, 4975)]
    assert found["d-wins"].seen == (
        "At step 425, the share that moves D was 0% for images and 0% for samples, and D's "
        "loss was 0.000; most lines of the log since step 300 say the same."
    )


def test_each_is_told_once():
    health = Health(FAST)
    new = [f.key for s in range(0, 9000, 25) for f in health.see(line(s, 2.0 * (s % 1000 > 500)))]
    assert new == ["d-wins"] and len(health.findings["d-wins"].spans) == 9


# --- each rule --------------------------------------------------------------------------------


def found_in(config, steps=tuple(range(500, 1500, 100)), **more):
    return list(read(config, [line(s, **more) for s in steps]).findings)


def test_d_has_won_where_a_tenth_of_the_slope_is_left():
    for config, share in ((FAST, 0.199), (FAST.replace(objective="standard"), 0.199)):
        assert found_in(config, share=share) == ["d-wins"]
        assert found_in(config, share=0.201) == []


def test_samples_are_alike_by_the_measure_of_the_data():
    assert found_in(FAST, spread={"samples": 0.029, "data": 0.2}) == ["collapse"]
    assert found_in(FAST, spread={"samples": 0.031, "data": 0.2}) == []
    assert found_in(FAST, spread={"samples": 0.0, "data": 0.0}) == ["collapse"]
    early = tuple(range(0, 500, 20))  # no G has learned much by then
    assert found_in(FAST, early, spread={"samples": 0.0, "data": 0.2}) == []


def test_sigma_lags_where_normalized_weights_are_too_large():
    norms = {"norm": {"a": 1.0, "b": 1.21}}
    assert found_in(FAST, **norms) == ["sigma-lags"]
    assert found_in(FAST, norm={"a": 1.0, "b": 1.19}) == []
    assert found_in(FAST.replace(scale=2.0), **norms) == []
    for changes in ({"regularizer": "none"}, {"regularizer": "bsn"}, {"gain": True}):
        assert found_in(FAST.replace(**changes), **norms) == []  # which may have any norm


@pytest.mark.parametrize("who", ["D", "G"])
def test_gradients_are_measured_by_the_scale_of_the_layers(who):
    def of(norm, scale=1.0):
        gradient = {"D": 10.0, "G": 10.0, who: norm}
        sigma = dict.fromkeys("abcdefgh", 1.0)
        return found_in(FAST.replace(scale=scale), gradient=gradient, sigma=sigma)

    assert of(0.004) == [f"{who.lower()}-starves"] and of(0.006) == []
    assert of(1.1e5) == [f"{who.lower()}-explodes"] and of(0.9e5) == []
    assert of(0.9e5 * 2**8, 2.0) == []


def test_lines_are_judged_by_the_scale_they_were_made_with(tmp_path):
    """A resumed run can have another scale, and then reads the earlier lines again."""
    folder = tmp_path / "run"
    before = trained(folder, steps=60, log_every=5, sample_every=10)
    for scale in (0.2, 20.0):
        assert read(TINY.replace(scale=scale), before).findings == {}
    later = runs.resume(folder, load("mnist-10k").images, config=TINY.replace(scale=2.0, steps=61))
    runs.train(later, folder)
    assert [line["scale"] for line in runs.read_log(folder)[-2:]] == [1.0, 2.0]


def test_a_log_from_before_there_were_such_numbers_has_nothing_to_say():
    old = [{"step": s, "loss_d": 0.0, "loss_g": 1.0, "sigma": {}} for s in range(0, 900, 25)]
    health = read(FAST, old)
    assert not health.looked and not health.findings


# --- spread -----------------------------------------------------------------------------------


def test_spread_is_the_distance_to_the_nearest_other():
    x = np.zeros((3, 1, 2, 2), np.float32)
    x[1], x[2] = 0.5, 2.0
    assert spread(x) == pytest.approx((0.5 + 0.5 + 1.5) / 3)
    assert spread(x.repeat(4, axis=2)) == pytest.approx(spread(x))  # whatever the size
    x[1, 0, 0, 0] = -0.5
    assert spread(x[:2]) == pytest.approx(0.5)


def test_few_kinds_of_images_have_no_spread():
    x = np.random.default_rng(0).normal(size=(8, 3, 4, 4))
    assert spread(np.concatenate([x, x])) == 0
    assert spread(x) > 1


# --- what to try ------------------------------------------------------------------------------


def test_advice_is_made_of_settings_that_the_run_does_not_have_yet():
    def advised(key, **changes):
        return RULES[key].advice(FAST.replace(**changes)).removeprefix("Start anew with ")

    augmented = {"augment": "color,translation,cutout"}
    assert advised("d-wins", **augmented) == "--set rate_d=0.0002"
    assert advised("d-wins", n_dis=5, **augmented) == "--set rate_d=0.0002 --set n_dis=1"
    assert advised("d-wins", rate_d=1e-4, **augmented) == "--set rate_d=5e-05"
    assert advised("d-wins", regularizer="none", **augmented) == "--set regularizer=sn"
    assert advised("collapse", rate_d=2e-4) == "--set rate_d=0.0001 --set rate_g=0.0001"
    assert advised("g-explodes", regularizer="wn", rate_g=1.0) == (
        "--set regularizer=sn --set rate_g=0.0002"
    )
    for key in RULES:
        for text in advised(key).replace(", for photographs also with", "").split("--set ")[1:]:
            FAST.replace(**parse_settings([text.strip()]))  # is a setting, and in range
