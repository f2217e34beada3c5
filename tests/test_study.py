"""Studies: cells that run once and survive a kill, the schedule on Dask, tables and verdicts."""

import errno
import json
import os
import subprocess
import sys
import sysconfig
import textwrap
import time

import numpy as np
import pytest

from minisn import files, runs
from minisn.config import load_preset
from minisn.data import load
from minisn.errors import ConfigError, DataError
from minisn.optim import TABLE_1
from minisn.runs import sample_vectors
from minisn.study import STUDIES, Cell, read_table, run_cell, run_cells
from minisn.study.cells import MEASURES, RESULT, read_result
from minisn.study.comparisons import LAPTOP, base
from minisn.study.design import paragraph, table_csv
from minisn.study.scores import SAMPLES_FILE, scores
from minisn.training import Trainer

TINY = load_preset("mnist-tiny").replace(
    width=2, latent=6, batch_size=8, steps=6, sample_every=3, checkpoint_every=2, log_every=1
)


def cell(**changes):
    return Cell(
        {"method": "SN", "seed": changes.get("seed", 0)},
        TINY.replace(**changes),
        ("norms", "gradients"),
    )


def plain(result):
    """A result without what the clock told."""
    return {key: value for key, value in result.items() if key != "seconds"}


# -- cells ---------------------------------------------------------------------------------------


def test_a_cell_is_measured_at_the_steps_that_its_settings_name(tmp_path):
    result = run_cell(tmp_path, cell())
    assert [m["step"] for m in result["measures"]] == [0, 3, 6]
    assert (result["step"], result["diverged"]) == (6, None)
    last = result["measures"][-1]
    assert len(last["norms"]) == len(last["weight_gradients"]) == 8
    assert all(0.9 < norm < 1.3 for norm in last["norms"])
    low, mean, high = last["input_gradients"]
    assert 0 < low <= mean <= high
    assert json.loads((tmp_path / cell().name / RESULT).read_text()) == result


def test_the_balance_is_that_of_the_sheet_and_of_the_last_scores(tmp_path):
    from minisn.data import scale_images
    from minisn.health import spread
    from minisn.study.probes import PROBES, Split

    images = load("cifar10-2k").images[:100]
    config = TINY.replace(data="cifar10-2k", size=32)
    trainer = Trainer(config, images)
    probe, split = PROBES["balance"], Split(images, np.zeros(100, int), images[:8], tmp_path)
    start = probe(trainer, split)
    sheet = trainer.sample(sample_vectors(config))
    assert start == {"spread": spread(sheet) / spread(scale_images(images[:64]))}
    assert 0 < start["spread"] < 0.5  # a new G draws all in nearly one gray
    trainer.update()
    real, fake = trainer.scores
    found = probe(trainer, split)
    assert found["slope_real"] == pytest.approx((real < 1).mean())
    assert found["slope_fake"] == pytest.approx((fake > -1).mean())


def test_the_study_of_the_collapse_counts_seeds_and_tells_what_is_left_of_the_loss():
    def rows(name, slope, *spreads):
        return [
            {
                "method": name,
                "seed": k,
                "step": step,
                "spread": s * step / 300,
                "slope_real": slope * (step > 200),
                "slope_fake": 0.0,
            }
            for step in (0, 150, 300)
            for k, s in enumerate(spreads)
        ]

    said = STUDIES["collapse"].verdict(
        rows("nothing", 0.1, 0.1, 0.6, 0.2) + rows("both", 0.9, 0.4, 0.7, 0.9)
    )
    assert "after 300 updates" in said
    assert said.endswith("nothing: 2 of 3, 5%; both: 0 of 3, 45%.")


def test_the_pilot_says_what_each_change_makes_of_the_distance():
    rows = [
        {"method": name, "step": step, "frechet": frechet}
        for name, ends in (("nothing", (140.0, 50.0)), ("beta1 0", (140.0, 30.0)))
        for step, frechet in zip((0, 1000), ends, strict=True)
    ]
    said = STUDIES["pilot"].verdict(rows)
    assert said == "The distance is 50.0 at the end. A change multiplies it: beta1 0 by 0.60."


def test_samples_are_scored_by_the_features_that_ship(tmp_path):
    scored = Cell({"method": "SN"}, TINY.replace(sample_every=6))
    start, end = run_cell(tmp_path, scored)["measures"]
    assert 1 <= start["inception"] < 3 < 8 < start["inception_real"] < 10
    assert start["frechet"] > 30 and end["frechet"] > 30


@pytest.mark.slow
def test_color_is_scored_by_features_of_its_own(tmp_path):
    scored = Cell({"method": "SN"}, TINY.replace(sample_every=6)).on("cifar10-2k")
    assert (scored.config.data, scored.config.size) == ("cifar10-2k", 32)
    start, end = run_cell(tmp_path, scored)["measures"]
    assert 1 <= start["inception"] < 3 < 6 < start["inception_real"] < 10
    assert start["frechet"] > 30 and end["frechet"] > 30
    assert not (tmp_path / scored.name / SAMPLES_FILE).exists()


def test_images_without_features_leave_samples_to_score_elsewhere(tmp_path):
    images = load("mnist-10k").images[:50, :, 6:22, 6:22]
    found = scores(Trainer(TINY.replace(size=16), images), images, tmp_path)
    samples = np.load(tmp_path / SAMPLES_FILE)
    assert samples.shape == (2000, 1, 16, 16) and samples.dtype == np.uint8
    result = {"label": {"method": "SN", "setting": "A"}, "step": 0, "diverged": None,
              "measures": [{"step": 0, **found}]}  # fmt: skip
    rows = STUDIES["fig1"].table([result])
    assert "official tools" in paragraph(STUDIES["fig1"], rows)


def test_other_data_make_other_cells():
    other = cell().on("cifar10")
    assert other.name != cell().name
    assert other.config == cell().config.replace(data="cifar10", size=32)
    assert (other.label, other.probes) == (cell().label, cell().probes)
    with pytest.raises(ConfigError, match="no data set is called 'cifar11'; did you mean"):
        cell().on("cifar11")


def test_a_finished_cell_is_not_run_again(tmp_path, monkeypatch):
    first = run_cell(tmp_path, cell())
    monkeypatch.setattr(runs, "train", lambda *a, **k: pytest.fail("trained again"))
    assert run_cell(tmp_path, cell()) == first


def test_the_name_tells_cells_apart_by_all_that_matters():
    names = {cell().name, cell(seed=1).name, cell(rate_d=0.5).name,
             Cell(cell().label, TINY, ("norms",)).name}  # fmt: skip
    assert len(names) == 4
    assert cell().name == cell().name
    assert cell(first="G").name != cell().name


def test_a_cell_that_was_cut_short_ends_as_one_that_was_not(tmp_path):
    whole = run_cell(tmp_path / "whole", cell())
    train, calls = runs.train, []

    def until_step_four(trainer, folder, *args, on_sample):
        update = trainer.update

        def stopping():
            if trainer.step == 4:
                raise KeyboardInterrupt
            return update()

        trainer.update = stopping
        calls.append(trainer.step)
        return train(trainer, folder, *args, on_sample=on_sample)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "train", until_step_four)
        with pytest.raises(KeyboardInterrupt):
            run_cell(tmp_path / "cut", cell())
    folder = tmp_path / "cut" / cell().name
    assert read_result(folder) is None and (folder / MEASURES).exists()
    assert plain(run_cell(tmp_path / "cut", cell())) == plain(whole)
    assert calls == [0]


def test_a_cell_that_diverges_is_a_result(tmp_path):
    wild = cell(rate_d=1e30, rate_g=1e30, regularizer="none")
    result = run_cell(tmp_path, wild)
    assert result["diverged"] is not None and result["diverged"] < 6
    assert run_cell(tmp_path, wild) == result


@pytest.mark.parametrize("name", [MEASURES, RESULT])
def test_a_file_that_cannot_be_written_is_named_and_the_cell_goes_on(tmp_path, name, monkeypatch):
    def full(part, path):
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(part, path)

    put = files._put
    folder = tmp_path / "cells" / cell().name
    runs.create_run(folder, cell().config)
    with monkeypatch.context() as patch:
        patch.setattr(files, "_put", full)
        with pytest.raises(
            DataError, match=rf"cannot write {folder / name}: No space left .*; free"
        ):
            run_cell(tmp_path / "cells", cell())
    assert read_result(folder) is None
    again = run_cell(tmp_path / "cells", cell())
    assert plain(again) == plain(run_cell(tmp_path / "whole", cell()))


def test_a_damaged_result_is_named(tmp_path):
    folder = tmp_path / cell().name
    folder.mkdir()
    (folder / RESULT).write_text('{"step": ')
    with pytest.raises(DataError, match=f"{RESULT}.*remove it"):
        run_cell(tmp_path, cell())


def test_data_of_another_size_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="size = 32 does not fit mnist-10k"):
        run_cell(tmp_path, cell(size=32))


# -- the schedule --------------------------------------------------------------------------------

dask = pytest.importorskip("distributed", reason="studies run on Dask")


NO_DASHBOARD = {
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
}
"""Arguments for a cluster without a dashboard, whose scheduler takes any free port."""


@pytest.fixture(scope="module")
def cluster():
    with dask.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, **NO_DASHBOARD
    ) as cluster:
        yield cluster


def test_cells_run_on_a_cluster_that_exists_and_in_order(tmp_path, cluster, all_threads):
    cells, seen = [cell(seed=s) for s in range(3)], []
    done = run_cell(tmp_path, cells[1])
    results = run_cells(cells, tmp_path, cluster.scheduler_address, on_change=seen.append)
    assert [r["label"]["seed"] for r in results] == [0, 1, 2]
    assert results[1] == done
    assert [s.done for s in seen] == [1, 2, 3]
    assert [s.left + s.running for s in seen] == [2, 1, 0]
    assert plain(results[0]) == plain(run_cell(tmp_path / "here", cells[0]))


def test_one_bad_cell_does_not_stop_the_others(tmp_path, cluster):
    bad = cell(size=32)
    from minisn.errors import MinisnError

    with pytest.raises(MinisnError, match=r"1 of 2 cells failed.*size = 32"):
        run_cells([bad, cell()], tmp_path, cluster.scheduler_address)
    assert read_result(tmp_path / cell().name)


def test_a_scheduler_that_does_not_answer_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr("minisn.study.schedule.PATIENCE", 0.5)
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        run_cells([cell()], tmp_path, "tcp://127.0.0.1:1")


def test_a_cluster_without_workers_is_refused(tmp_path):
    with (
        dask.LocalCluster(n_workers=0, **NO_DASHBOARD) as empty,
        pytest.raises(ConfigError, match=r"has no workers; start some with `dask worker tcp://"),
    ):
        run_cells([cell()], tmp_path, empty.scheduler_address)


@pytest.mark.slow
def test_a_worker_without_the_package_is_refused(tmp_path):
    # -S leaves out the path files by which an editable installation is found
    packages = {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"]}
    bare = [sys.executable, "-S"]
    if subprocess.run([*bare, "-c", "import minisn"], env=packages, cwd=tmp_path).returncode == 0:
        pytest.skip("minisn is among the other packages, so no worker can do without it")
    with dask.LocalCluster(n_workers=0, **NO_DASHBOARD) as cluster:
        address = cluster.scheduler_address
        worker = subprocess.Popen(
            [*bare, "-m", "distributed.cli.dask_worker", address, "--no-nanny"],
            env=packages,
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
        )
        try:
            with dask.Client(cluster) as client:
                client.wait_for_workers(1, timeout=600)
            with pytest.raises(ConfigError, match=r"cannot import minisn \(No module"):
                run_cells([cell()], tmp_path, address)
        finally:
            worker.terminate()
            worker.wait()


KILLED = textwrap.dedent("""
    import json, sys
    from pathlib import Path
    from minisn.config import Config
    from minisn.study import Cell, run_cells

    if __name__ == "__main__":
        config = Config(**json.loads(sys.argv[2]))
        cell = Cell({"method": "SN", "seed": 0}, config, ("norms", "gradients"))
        run_cells([cell], Path(sys.argv[1]), workers=1)
""")


@pytest.mark.slow
def test_a_worker_killed_in_a_cell_costs_nothing_but_time(tmp_path, all_threads):
    import psutil  # which Dask brings

    long = cell(steps=300, sample_every=100, checkpoint_every=10)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "cells", json.dumps(long.config.to_dict())],
        stderr=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "cells" / long.name / runs.CHECKPOINT
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.05)
    worker = max(psutil.Process(process.pid).children(recursive=True), key=memory)
    assert memory(worker) > 100e6  # nothing else down there is as large
    worker.kill()
    assert process.wait(600) == 0
    killed = read_result(tmp_path / "cells" / long.name)
    assert plain(killed) == plain(run_cell(tmp_path / "whole", long))


def memory(process):
    """Resident bytes: the worker, with its kernels and data, has most."""
    return process.memory_info().rss if process.is_running() else 0


# -- the studies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_s_cells_have_names_of_their_own(name, full):
    cells = STUDIES[name].cells(full)
    assert len({cell.name for cell in cells}) == len(cells)
    assert len({json.dumps(cell.label) for cell in cells}) == len(cells)


def test_figure_1_has_every_method_in_every_setting():
    cells = STUDIES["fig1"].cells(False)
    assert len(cells) == 6 * (7 + 3)
    for letter, adam in TABLE_1.items():
        config = base(False, letter)
        laptop, full = LAPTOP[adam.n_dis], base(True, letter)
        assert config.rate_d == config.rate_g == laptop["rates"] * adam.rate
        assert (config.width, config.steps) == (laptop["width"], laptop["steps"])
        assert (full.rate_d, full.rate_g) == (adam.rate, adam.rate)
        assert (config.beta1, config.beta2, config.n_dis) == (adam.beta1, adam.beta2, adam.n_dis)


def test_the_full_size_is_the_paper_s():
    config = base(True, "A")
    assert (config.data, config.size, config.width, config.batch_size) == ("cifar10", 32, 64, 64)
    assert config.steps == 100_000


def run(method, setting, distance, seed=0, diverged=""):
    return {
        "method": method,
        "setting": setting,
        "seed": seed,
        "steps": 9,
        "diverged": diverged,
        "inception": 5.0,
        "inception_real": 8.0,
        "frechet": distance,
        "frechet_at_start": 60.0,
    }


def test_the_verdict_of_figure_1_counts_settings_and_says_whether_sn_held():
    good = [run("SN", s, 29.0) for s in "ABCDEF"] + [run("weight norm", s, 29.0) for s in "ABC"]
    rows = [*good, *(run("weight norm", s, 31.0) for s in "DE"), run("weight norm", "F", "", 0, 3)]
    said = STUDIES["fig1"].verdict(rows)
    assert "in 6 of 6 settings; the others: weight norm in 3." in said
    assert "is borne out" in said
    rows[3] = run("SN", "D", 30.1)
    said = STUDIES["fig1"].verdict(rows)
    assert "in 5 of 6 settings (not in D)" in said and "is not borne out" in said
    assert "in 5 of 6" in STUDIES["fig1"].verdict([*good, run("SN", "B", "", 1, 40)])


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = [run("SN", "A", 1 / 3), run("weight norm, g", "B", "", seed=1, diverged=40)]
    (tmp_path / "table.csv").write_text(table_csv(rows))
    read = read_table(tmp_path / "table.csv")
    assert repr(read) == repr(rows)  # whole numbers are whole numbers again


def test_the_verdict_of_figure_15_needs_a_critic_that_overfits():
    def rows(**held_out):
        return [
            {"reparametrization": name, "step": step, "train": -2.0, "held_out": loss}
            for name, loss in held_out.items()
            for step in (0, 1)
        ]

    verdict = STUDIES["fig15"].verdict
    assert "is not seen" in verdict(rows(none=-1.9, SN=-2.1))
    said = verdict(rows(none=-1.0, SN=-1.9))
    assert "none 50.0%, SN 5.0%" in said and "is borne out" in said
    assert "is not borne out" in verdict(rows(none=-1.0, SN=-0.9))


def test_figure_14_draws_the_admissible_sets():
    rows = STUDIES["fig14"].table([])
    for row in rows:
        if row["method"] == "SN":
            assert row["sigma_1"] == pytest.approx(1)
        else:  # [M18 Eq. (13)] with two rows
            assert row["x"] ** 2 + row["y"] ** 2 == pytest.approx(2)


def test_cells_of_earlier_versions_are_still_found():
    """Their names, as written before there were settings of the authors' code."""
    named = {study: STUDIES[study].cells(False)[0].name for study in ("fig1", "fig9", "l21-a")}
    assert named == {
        "fig1": "weight clipping-A-0-ffe45593",
        "fig9": "SN-37fcf25c",
        "l21-a": "none-normal-ea36fd0b",
    }


def test_figure_4_widens_the_last_convolution_at_both_ends():
    for full, width in ((False, 16), (True, 64)):
        cells = STUDIES["fig4"].cells(full)
        found = [(c.config.features_in, c.config.features) for c in cells]
        assert found == 2 * [(int(k * 4 * width), int(k * 8 * width)) for k in (0.5, 1, 2, 4, 8)]


def test_full_studies_of_lin_have_the_authors_length():
    for name, study in STUDIES.items():
        if name.startswith("l21-"):
            for cell in study.cells(True):
                config = cell.config
                assert (config.steps, config.rate_d, config.n_dis) == (400_000, 1e-4, 1)
                assert config.steps % config.sample_every == 0 and config.objective == "hinge"
                assert config.unit_norm  # of G's dense layer, as they have it
                assert "gradients" in cell.probes or config.sample_every == config.steps


def test_a_study_whose_runs_diverged_has_no_verdict_but_a_table():
    study = STUDIES["paper"]
    start = {"step": 0, "inception": 1.0, "inception_real": 7.0, "frechet": 140.0}
    label = {"method": "setting C", "seed": 0}
    lost = {"label": label, "step": 7, "seconds": 3.0, "diverged": 7, "measures": [start]}
    assert "Too many runs diverged" in paragraph(study, study.table([lost]))
    with pytest.raises(ZeroDivisionError):  # not for a run that did not diverge
        paragraph(study, study.table([lost | {"diverged": None}]))


def test_a_diverged_run_has_no_scores():
    def run(constant, method, distance, diverged=None):
        label = {"method": method, "scale": constant}
        measures = [{"step": 0, "inception": 1.0, "inception_real": 9.0, "frechet": distance}]
        return {
            "label": label,
            "step": 9,
            "seconds": 1.0,
            "diverged": diverged,
            "measures": measures,
        }

    study = STUDIES["l21-e"]
    runs = [run(c, m, d) for c, m, d in ((1, "sn", 2.0), (1, "bsn", 1.9), (2, "sn", 1.5))]
    assert "is not borne out" in study.verdict(study.table([*runs, run(2, "bsn", 1.4, 3)]))
    assert "is not borne out" in study.verdict(study.table([*runs, run(2, "bsn", 1.8)]))
    assert "is borne out" in study.verdict(study.table([*runs, run(2, "bsn", 1.4)]))
    worse = [*runs, run(2, "bsn", 1.4)]
    worse[1] = run(1, "bsn", 2.1)  # than SN without tuning
    assert "is not borne out" in study.verdict(study.table(worse))
    lost = [run(c, m, 2.0, 3) for c, m in ((1, "sn"), (1, "bsn"))]
    assert "Too many runs diverged" in paragraph(study, study.table(lost))
