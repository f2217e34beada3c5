"""``minisn study``: from a name to a table, a paragraph and a plot."""

import csv
import json

import pytest
from click.testing import CliRunner
from matplotlib.image import imread

from minisn.cli import main
from minisn.config import load_preset
from minisn.study import STUDIES, l21

pytest.importorskip("distributed", reason="studies run on Dask")


def minisn(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="minisn")
    assert result.exit_code == code, result.output
    return result


def read(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_without_a_name_all_are_listed_with_their_time():
    lines = minisn("study").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(STUDIES)
    assert all("about" in line for line in lines)


def test_a_study_writes_its_files_and_is_quick_the_second_time(tmp_path, monkeypatch):
    def tiny(full, setting, **changes):
        return load_preset("mnist-tiny").replace(
            **{"width": 2, "latent": 6, "batch_size": 8, "steps": 4, "sample_every": 2} | changes
        )

    monkeypatch.setattr(l21, "base", tiny)
    out = minisn("study", "l21-b", "--out", tmp_path, "--workers", 1).stdout
    assert out.startswith("l21-b: Gradient of each layer") and "2 runs" in out
    assert "2 done, 0 running, 0 left" in out
    table = read(tmp_path / "l21-b" / "table.csv")
    assert [row["layer"] for row in table] == [str(k) for k in range(1, 9)] * 2
    assert "Across the layers" in (tmp_path / "l21-b" / "verdict.txt").read_text("utf-8")
    assert imread(tmp_path / "l21-b" / "plot.png").shape[:2] == (800, 1080)
    again = minisn("study", "l21-b", "--out", tmp_path)
    assert "running" not in again.stdout
    assert read(tmp_path / "l21-b" / "table.csv") == table


def test_a_study_takes_other_data_and_scores_them_by_their_own_features(tmp_path, monkeypatch):
    def tiny(full, setting, **changes):
        return load_preset("mnist-tiny").replace(
            **{"width": 2, "latent": 6, "batch_size": 8, "steps": 2, "sample_every": 2} | changes
        )

    monkeypatch.setattr(l21, "base", tiny)
    out = minisn("study", "l21-d", "--data", "cifar10-2k", "--out", tmp_path, "--workers", 1)
    assert "on two cores with the study's own data" in out.stdout.splitlines()[0]
    table = read(tmp_path / "l21-d-cifar10-2k" / "table.csv")
    assert [row["method"] for row in table] == ["sn", "sn-conv"]
    for row in table:
        assert float(row["inception"]) < 3 < 6 < float(row["inception_real"]) < 9  # digits: 9.9
        assert float(row["frechet"]) > 30
    for path in (tmp_path / "cells").glob("*/result.json"):
        config = json.loads(path.read_text("utf-8"))["config"]
        assert (config["data"], config["size"]) == ("cifar10-2k", 32)
    verdict = (tmp_path / "l21-d-cifar10-2k" / "verdict.txt").read_text("utf-8")
    assert "Fréchet distance" in verdict and "official tools" not in verdict
    assert not (tmp_path / "l21-d").exists()


@pytest.mark.parametrize("name", ["fig10", "fig14"])
def test_a_study_without_training_takes_no_data(tmp_path, name):
    result = minisn("study", name, "--data", "cifar10", "--out", tmp_path, code=1)
    assert result.stderr == (
        f"minisn: error: {name} has no training runs to choose data for; omit --data\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--scheduler", "--workers", "--data-dir"])
def test_a_study_without_training_takes_no_option_for_it(tmp_path, option):
    result = minisn("study", "fig14", option, "1", "--out", tmp_path, code=1)
    assert result.stderr == (
        f"minisn: error: fig14 has no training runs, so that {option} has no effect; omit it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_shipped_data_takes_no_folder_of_data(tmp_path):
    result = minisn("study", "fig9", "--data-dir", "here", "--out", tmp_path, code=1)
    assert result.stderr == (
        "minisn: error: --data-dir has no effect, as mnist-10k ships with minisn; omit it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_unknown_data_are_one_line_with_the_nearest(tmp_path):
    result = minisn("study", "fig9", "--data", "cifar11", "--out", tmp_path, code=1)
    assert result.stderr.startswith("minisn: error: no data set is called 'cifar11'; did you mean")
    assert result.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_an_unknown_study_is_one_line_with_the_nearest(tmp_path):
    result = minisn("study", "fig-1", code=1)
    assert result.stderr == "minisn: error: unknown study 'fig-1'; did you mean 'fig1'?\n"


def test_an_unreachable_scheduler_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("minisn.study.schedule.PATIENCE", 0.5)
    result = minisn("study", "fig9", "--out", tmp_path, "--scheduler", "tcp://127.0.0.1:1", code=1)
    assert result.stderr.startswith("minisn: error: no Dask scheduler answers at tcp://127.0.0.1:1")
    assert result.stderr.count("\n") == 1
