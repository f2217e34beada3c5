"""The report: whole, self-contained, and true to the run."""

import base64
import io
import json
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread

from minisn import plots, report, runs
from minisn.config import load_preset
from minisn.data import load
from minisn.errors import DataError
from minisn.nn import Weighted
from minisn.training import Trainer


class Page(HTMLParser):
    """A page taken apart: its headings, images, tables and texts; refuses unbalanced tags."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images, self.attributes = [], [], [], []
        self.headings, self.cells, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def png_of(image):
    kind, data = image["src"].split(",", 1)
    assert kind == "data:image/png;base64"
    return imread(io.BytesIO(base64.b64decode(data, validate=True)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 8 steps, with sheets every second step."""
    folder = tmp_path_factory.mktemp("runs") / "tiny-1"
    config = load_preset("mnist-tiny").replace(
        width=4, batch_size=4, steps=8, log_every=1, sample_every=1
    )
    trainer = Trainer(config, load("mnist-10k").images)
    runs.create_run(folder, config)
    (folder / "samples").mkdir()

    def keep(step, images):
        plots.save_sheet(folder / "samples" / f"{step:06d}.png", images)

    runs.train(trainer, folder, on_sample=keep)
    return folder, trainer


@pytest.fixture(scope="module")
def page(trained):
    """The report of the run, for those who only read it."""
    return write(trained)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run, for those who change it."""
    folder = tmp_path / "tiny-1"
    shutil.copytree(trained[0], folder)
    return folder, trained[1]


def write(run, seconds=3725.0):
    folder, trainer = run
    path = report.write_report(folder, trainer.D, trainer.step, seconds)
    assert path == folder / "report.html"
    return Page(path.read_text("utf-8"))


def test_report_has_every_section(page):
    assert page.headings == [
        "tiny-1: a GAN on mnist-10k",
        "Health",
        "Samples",
        "Settings",
        "Samples over time",
        "Losses",
        "Norm of each normalized weight",
        "Norm of each weight",
        "Singular values",
        "Layers of D",
        "Go on from here",
    ]


def test_report_needs_nothing_but_itself(page, trained):
    text = (trained[0] / "report.html").read_text("utf-8")
    assert not re.search(r"https?:|file:|@import|url\(|javascript:", text)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not [a for a in page.attributes if a[1].startswith("on") or a[1] == "href"]
    for image in page.images:
        assert png_of(image).size
        assert image["alt"]
    assert "prefers-color-scheme: dark" in text
    assert ("meta", "name", "viewport") in page.attributes
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes


def test_report_shows_the_sheets_as_they_are(page, trained):
    folder, _ = trained
    sheets = [image for image in page.images if image["alt"].startswith("Samples at step")]
    assert [image["alt"] for image in sheets] == [
        f"Samples at step {step}" for step in (8, 0, 2, 3, 5, 6, 8)
    ]
    for image in sheets:
        step = int(image["alt"].split()[-1])
        expected = imread(folder / "samples" / f"{step:06d}.png")
        assert (png_of(image) == expected).all()


def test_report_embeds_the_plots_it_keeps(page, trained):
    folder, _ = trained
    kept = [
        imread(folder / "plots" / f"{name}.png") for name in ("losses", "norms", "sigma", "spectra")
    ]
    for image, expected in zip(page.images[-4:], kept, strict=True):
        assert (png_of(image) == expected).all()


def test_report_tells_the_settings_and_the_layers(page, trained):
    _, trainer = trained
    for name, value in trainer.config.to_dict().items():
        assert page.cells[page.cells.index(name) + 1] == str(value)
    rows = page.cells[page.cells.index("stable rank") + 1 :]
    layers = [m for _, m in trainer.D.named_modules() if isinstance(m, Weighted)]
    assert len(rows) == 5 * len(layers) == 40
    for k, layer in enumerate(layers):
        number, shape, sigma, norm, rank = rows[5 * k : 5 * k + 5]
        matrix = layer.weight.array.reshape(len(layer.weight), -1).astype(np.float64)
        values = np.linalg.svd(matrix, compute_uv=False)
        estimate = layer.state["u"] @ matrix @ layer.state["v"]
        assert number == str(k + 1)
        assert shape == " × ".join(map(str, layer.weight.shape))
        assert float(sigma) == pytest.approx(estimate, abs=6e-5)
        assert float(norm) == pytest.approx(values[0] / estimate, abs=6e-5)
        assert float(rank) == pytest.approx((values**2).sum() / values[0] ** 2, abs=0.06)


def test_report_sums_up(page, trained):
    folder, _ = trained
    last = runs.read_log(folder)[-1]
    assert "8 of 8" in page.text
    assert "1 h 02 min" in page.text
    assert f"{last['loss_d']:.3f}" in page.text
    assert f"{last['loss_g']:.3f}" in page.text
    norms = last["norm"].values()
    assert f"{min(norms):.3f} – {max(norms):.3f}" in page.text


def test_report_of_a_healthy_run_says_what_was_looked_for(page):
    assert (
        "Looked for in the log and not found: D wins; D learns nothing; G learns nothing; sigma "
        "lags behind; D's gradient explodes; G's gradient explodes." in page.text
    )


def test_report_says_what_is_wrong_from_when_to_when_and_what_to_try(run):
    folder, _ = run
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    lines = []
    for step in range(0, 2000, 20):  # this D won, lost again, and won
        won = 100 <= step < 500 or step >= 1500
        slope = {"real": 0.0, "fake": 0.0} if won else {"real": 0.5, "fake": 0.5}
        lines.append(json.dumps(entries[-1] | {"step": step, "slope": slope}) + "\n")
    (folder / "log.jsonl").write_text("".join(lines))
    text = write(run).text
    assert "D wins, steps 100 to 480, 1,500 to 1,980. At step 200, the share that moves D" in text
    assert "Start anew with --set rate_d=0.0002" in text
    assert "not found: D learns nothing" in text


def test_report_of_an_older_log_says_nothing_of_health(run):
    folder, _ = run
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    new = ("slope", "gradient", "spread", "norm", "health")
    old = [{k: v for k, v in entry.items() if k not in new} for entry in entries]
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in old))
    headings = write(run).headings
    assert "Health" not in headings and "Losses" in headings


def test_report_says_how_to_go_on(page, trained):
    folder, _ = trained
    for command in ("train --resume", "sample", "spectrum"):
        assert f"minisn {command} {folder}" in page.text


def test_report_of_a_run_that_hardly_began(run):
    folder, _ = run
    shutil.rmtree(folder / "samples")
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text(lines[0])
    assert write(run).headings[1:] == [
        "Health",
        "Settings",
        "Norm of each normalized weight",
        "Norm of each weight",
        "Singular values",
        "Layers of D",
        "Go on from here",
    ]
    (folder / "log.jsonl").unlink()
    assert "Losses" not in write(run).headings


def test_report_of_one_sheet_shows_it_once(run):
    folder, _ = run
    for path in sorted((folder / "samples").iterdir())[1:]:
        path.unlink()
    page = write(run)
    assert "Samples over time" not in page.headings
    assert len(page.images) == 5


def test_names_are_text_never_markup(trained, tmp_path):
    folder = tmp_path / "<b>&'x'; run"
    shutil.copytree(trained[0], folder)
    page = write((folder, trained[1]))
    assert page.headings[0] == "<b>&'x'; run: a GAN on mnist-10k"
    assert "<b>&'\"'\"'x'\"'\"'; run'" in page.text  # as a shell must be given it


def test_sheets_are_in_order_of_steps(tmp_path):
    (tmp_path / "samples").mkdir()
    for name in ("1000000.png", "000020.png", "000003.png", "mine.png", "000004.txt"):
        (tmp_path / "samples" / name).touch()
    assert [step for step, _ in report.sheets(tmp_path)] == [3, 20, 1_000_000]


def test_a_report_that_cannot_be_written_names_itself_and_spares_the_old(run, monkeypatch):
    folder, trainer = run
    (folder / "report.html").write_text("old")
    old = (folder / "report.html").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"plots/losses.png: No space left on device"):
        report.write_report(folder, trainer.D, 8, 1.0)
    assert (folder / "report.html").read_bytes() == old


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3725, "1 h 02 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_duration(seconds, text):
    assert report.duration(seconds) == text


def test_a_sheet_of_a_later_step_or_of_another_name_is_not_shown(run):
    samples = run[0] / "samples"
    for name in ("000200.png", "\N{SUPERSCRIPT TWO}.png"):
        shutil.copy(samples / "000002.png", samples / name)
    shown = [image["alt"] for image in write(run).images]
    assert "Samples at step 8" in shown and "Samples at step 200" not in shown
