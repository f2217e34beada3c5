"""``minisn evaluate`` and the export of samples: what is printed and written, and from what."""

import errno
import hashlib
import io
import json
import re
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image
from test_cli import TINY, error_of, minisn, spoken

from minisn import checkpoint, runs
from minisn.cli import evaluate, networks
from minisn.data import load, unscale_images
from minisn.errors import ComparisonError, ConfigError
from minisn.metrics import (
    Provenance,
    Sample,
    Score,
    extractor_for,
    frechet_distance,
    measure_features,
)

pytestmark = pytest.mark.usefixtures("empty_plots")

ROWS = ["inception-style score", "Fréchet distance", "kernel distance", "precision", "recall",
        "MS-SSIM in a class"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 2 steps."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    minisn("train", "mnist-tiny", "--steps", 2, *TINY, "--out", folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def small_reference():
    """Compare with 400 real images, not with half of 10,000, to be quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minisn.cli.evaluate._REFERENCES", 400)
        yield


def drawn(run, count, seed):
    """What the run's generator draws, as pixels."""
    return unscale_images(networks.draw(checkpoint.load(run / runs.CHECKPOINT), count, seed))


def table(result):
    """The rows of the printed table: name to its cells."""
    lines = spoken(result)
    start = next(k for k, line in enumerate(lines) if line.startswith("measure"))
    rows = [re.split(r"\s{2,}", line) for line in lines[start + 1 : lines.index("", start)]]
    return {name: cells for name, *cells in rows}


def scores(path):
    """The scores of a JSON file, as the library's own."""
    columns = json.loads(path.read_text("utf-8"))
    return {
        name: [Score(**{**s, "provenance": Provenance(**s["provenance"])}) for s in column]
        for name, column in columns.items()
    }


# -- evaluate a run ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    """What the command printed, and the file it wrote."""
    path = tmp_path_factory.mktemp("out") / "scores.json"
    result = minisn("evaluate", run, "--samples", 100, "--repeats", 2, "--seed", 4, "--json", path)
    return result, path


def test_all_measures_stand_beside_those_of_real_data(run, evaluated):
    result, _ = evaluated
    assert result.stderr == ""
    assert spoken(result)[0] == f"{run}: step 2; 2 x 100 samples, averaged G"
    rows = table(result)
    assert list(rows) == ROWS
    for name, (samples, real, better) in rows.items():
        assert re.fullmatch(r"-?\d+\.\d{3,5} ± \d+\.\d{3,5}", samples), name
        assert re.fullmatch(r"-?\d+\.\d{3,5} ± \d+\.\d{3,5}", real), name
        assert better in ("more", "less", "as real data")
    values = {name: [float(cell.split()[0]) for cell in cells[:2]] for name, cells in rows.items()}
    assert values["inception-style score"][0] < 4 < 7 < values["inception-style score"][1]
    assert values["Fréchet distance"][0] > 10 > 5 > values["Fréchet distance"][1]
    assert values["recall"][0] < 0.1 < 0.8 < values["recall"][1]


def test_provenance_is_printed(evaluated):
    text = " ".join(evaluated[0].stdout.split())
    extractor = extractor_for((1, 28, 28))
    assert f"Features: {extractor.name}, SHA-256 {extractor.digest[:16]}" in text
    assert "Reference: mnist-10k train, drawn anew in each repeat with seed 4, 400 images" in text
    for setting in ("50 subsets of 100", "precision, k = 3", "2 scales, 100 pairs a class"):
        assert setting in text
    assert max(map(len, evaluated[0].stdout.splitlines()[1:])) <= 80


def test_numbers_are_those_of_the_library(run, evaluated):
    columns = scores(evaluated[1])
    assert list(columns) == ["samples", "real data"]
    data, extractor, fake = load("mnist-10k"), extractor_for((1, 28, 28)), drawn(run, 200, seed=4)
    expected = []
    for k in range(2):
        order = np.random.default_rng((4, k)).permutation(10_000)
        reference, _ = extractor(data.images[order[:400]], "half")
        sets = fake[100 * k : 100 * (k + 1)], data.images[order[400:500]]
        expected.append([frechet_distance(extractor(x, "x")[0], reference).value for x in sets])
    for column, values in zip(columns.values(), np.transpose(expected), strict=True):
        distance = column[1]
        assert distance.value == pytest.approx(values.mean(), rel=1e-6)
        assert distance.spread == pytest.approx(values.std(ddof=1), rel=1e-5)
        assert distance.provenance.samples == 100
        assert distance.provenance.references == 400
        assert distance.provenance.digest == extractor.digest
    rows = list(table(evaluated[0]).values())
    for name, column in columns.items():
        shown = [row[list(columns).index(name)] for row in rows]
        for score, cell in zip(column, shown, strict=True):
            assert cell.split()[0] in (f"{score.value:.3f}", f"{score.value:.5f}")


def test_columns_compare_and_other_evaluations_do_not(run, evaluated, tmp_path):
    columns = scores(evaluated[1])
    for ours, real in zip(*columns.values(), strict=True):
        assert (ours < real) != (real < ours)
    minisn("evaluate", run, "--samples", 90, "--repeats", 2, "--seed", 4, "--json", tmp_path / "j")
    with pytest.raises(ComparisonError, match="samples is 90 and 100"):
        assert scores(tmp_path / "j")["samples"][0] < columns["samples"][0]


def test_equal_seeds_give_equal_numbers_and_one_repeat_no_spread(run, tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        last = minisn(
            "evaluate", run, "--samples", 70, "--repeats", 1, "--seed", seed, "--json", path
        )
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    assert "±" not in table(last)["Fréchet distance"][0]


def test_few_samples_are_noted_in_one_line(run):
    result = minisn("evaluate", run, "--samples", 30, "--repeats", 2)
    notes = result.stderr.splitlines()
    assert len(notes) == 2  # one for samples, one for real data; not again in each repeat
    assert notes[0].startswith(f"Note: {run}: with 30 images the covariance of 64 features is")


@pytest.fixture(scope="module")
def color_run(tmp_path_factory):
    """A run of one step on color images."""
    folder = tmp_path_factory.mktemp("runs") / "color"
    minisn("train", "cifar10-small", "--steps", 1, *TINY, "--out", folder)
    return folder


@pytest.mark.parametrize("conditional", ["none", "projection"])
def test_color_is_measured_by_features_of_its_own(conditional, tmp_path):
    folder, out = tmp_path / "r", tmp_path / "scores.json"
    minisn(
        "train",
        "cifar10-small",
        "--steps",
        1,
        *TINY,
        "--set",
        f"conditional={conditional}",
        "--out",
        folder,
    )
    result = minisn("evaluate", folder, "--samples", 200, "--repeats", 1, "--json", out)
    assert result.stderr == ""
    rows = table(result)
    assert list(rows) == ROWS
    values = {name: [float(cell.split()[0]) for cell in cells[:2]] for name, cells in rows.items()}
    assert values["inception-style score"][0] < 3 < 6 < values["inception-style score"][1]
    assert values["Fréchet distance"][0] > 3 * values["Fréchet distance"][1]
    assert values["precision"][0] < 0.2 < 0.6 < values["precision"][1]
    assert values["recall"][0] < 0.2 < 0.6 < values["recall"][1]
    assert 0 < values["MS-SSIM in a class"][1] < 0.3 < values["MS-SSIM in a class"][0]
    extractor = extractor_for((3, 32, 32))
    assert {s.provenance.digest for s in scores(out)["samples"]} == {extractor.digest}
    text = " ".join(result.stdout.split())
    assert f"Features: {extractor.name}, SHA-256 {extractor.digest[:16]}" in text
    assert "2 scales, 100 pairs a class" in text


def altered(run, **changes):
    """The checkpoint of a run, as if its settings had been others."""
    saved = checkpoint.load(run / runs.CHECKPOINT)
    object.__setattr__(saved, "config", saved.config.replace(**changes))
    return saved


def test_other_images_are_refused_and_told_how_to_be_scored(color_run):
    with pytest.raises(ConfigError, match="draws images of 3 x 48 x 48, but the feature") as error:
        evaluate._extractor(color_run, altered(color_run, data="stl10", size=48))
    said = str(error.value)
    assert "support only digits of 1 x 28 x 28 and CIFAR-10's photographs of 3 x 32 x 32" in said
    assert f"`minisn sample {color_run} --n 50000 --format png-folder`" in said
    assert "--features and --reference" in said


def test_images_that_the_network_does_not_know_are_measured_with_a_note(run, color_run):
    with pytest.warns(UserWarning, match="made for digits, not for fashion-mnist"):
        found = evaluate._extractor(run, altered(run, data="fashion-mnist"))
    assert found.kind.shape == (1, 28, 28)
    with pytest.warns(UserWarning, match="made for CIFAR-10's photographs, not for stl10"):
        found = evaluate._extractor(color_run, altered(color_run, data="stl10", size=32))
    assert found.kind.shape == (3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate._extractor(color_run, altered(color_run, data="cifar10"))
        evaluate._extractor(run, altered(run, data="mnist"))


def test_few_real_images_are_cut_into_halves(color_run, monkeypatch, tmp_path):
    monkeypatch.setattr("minisn.cli.evaluate._REFERENCES", 10_000)  # as it ships
    minisn("evaluate", color_run, "--repeats", 1, "--json", tmp_path / "s.json")
    for column in scores(tmp_path / "s.json").values():
        assert {s.provenance.samples for s in column} == {1000}
        assert {s.provenance.references for s in column} == {0, 1000}


def test_more_samples_than_real_images_are_refused(run, monkeypatch):
    monkeypatch.setattr("minisn.cli.evaluate._REFERENCES", 10_000)  # as it ships
    said = error_of(minisn("evaluate", run, "--samples", 5001, code=1))
    assert "--samples 5001: expected at most 5000" in said


# -- evaluate features -------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    paths = tmp_path / "fake.npy", tmp_path / "real.npy"
    for path, shift in zip(paths, (0.5, 0.0), strict=True):
        np.save(path, (rng.normal(size=(200, 6)) + shift).astype(np.float32))
    return paths


def test_features_computed_elsewhere_are_measured(files, tmp_path):
    fake, real = files
    out = tmp_path / "s.json"
    result = minisn("evaluate", "--features", fake, "--reference", real, "--json", out)
    rows = table(result)
    assert list(rows) == ROWS[1:5]
    sets = [Sample(np.load(path), "x") for path in files]
    expected = measure_features(*sets, np.random.default_rng(0))
    for score, cells in zip(expected, rows.values(), strict=True):
        assert cells[0].split()[0] in (f"{score.value:.3f}", f"{score.value:.5f}")
    digest = hashlib.sha256(real.read_bytes()).hexdigest()
    assert f"Reference: real.npy (SHA-256 {digest[:16]}), 200 images" in result.stdout
    [column] = scores(out).values()
    assert [s.value for s in column] == [pytest.approx(s.value) for s in expected]
    assert column[0].provenance.extractor == "unknown"


def archive(**arrays):
    """The bytes of an .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.write_bytes(b"1,2,3"), "got a file of another kind; read it, and save the"),
        (lambda p: p.write_bytes(archive(images=np.zeros((9, 4)))), "got an archive (.npz); save"),
        (lambda p: p.write_bytes(p.read_bytes()[:500]), "expected a NumPy file"),
        (lambda p: p.write_bytes(p.read_bytes()[:40]), "got a damaged file ("),
        (lambda p: p.write_bytes(b""), "expected a NumPy file"),
        (lambda p: p.unlink(), "No such file"),
        (lambda p: np.save(p, np.array([{}], object)), "got an array of Python objects; save it"),
        (lambda p: np.save(p, np.array([["a"], ["b"]])), "expected real numbers"),
        (lambda p: np.save(p, np.full((200, 6), np.nan)), "a NaN or an infinity"),
        (lambda p: np.save(p, np.zeros((200, 5))), "of one dimension"),
        (lambda p: np.save(p, np.zeros(200)), "expected a row for each image"),
        (lambda p: np.save(p, np.zeros((1, 6))), "fake.npy: expected the features of at least 4"),
        (lambda p: np.save(p, np.zeros((3, 6))), "at least 4 images, a row for each, got 3"),
    ],
)
def test_damaged_features_are_one_line(files, damage, words):
    damage(files[0])
    result = minisn("evaluate", "--features", files[0], "--reference", files[1], code=1)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Note: ")]
    assert lines[-1].startswith("minisn: error: ")
    assert words in lines[-1]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("evaluate", "Name a RUN"),
        ("evaluate --features f.npy", "go together"),
        ("evaluate r --reference f.npy", "go together"),
        ("evaluate --features f --reference g --samples 90", "omit --samples"),
        ("evaluate --features f --reference g --repeats 2", "omit --samples"),
        ("evaluate --features f --reference g --data-dir d", "omit --data-dir"),
        ("evaluate r --samples 3", "'--samples'"),
        ("evaluate r --repeats 0", "'--repeats'"),
        ("sample r --format jpeg", "'sheet', 'png-folder', 'npz'"),
    ],
)
def test_wrong_usage_is_exit_status_2(line, words):
    assert words in minisn(*line.split(), code=2).stderr


def test_four_features_are_enough(files):
    for path in files:
        np.save(path, np.random.default_rng(1).normal(size=(4, 6)))
    minisn("evaluate", "--features", files[0], "--reference", files[1])


# -- export of samples -------------------------------------------------------------------------


def test_samples_are_exported_as_a_folder(run, tmp_path):
    folder = tmp_path / "deep" / "samples"
    result = minisn(
        "sample", run, "--count", 12, "--seed", 7, "--format", "png-folder", "--out", folder
    )
    assert spoken(result) == [str(folder)]
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{k:06}.png" for k in range(12)]
    for name, pixels in zip(names, drawn(run, 12, 7), strict=True):
        with Image.open(folder / name) as image:
            assert (image.mode, image.size) == ("L", (28, 28))
            assert (np.asarray(image) == pixels[0]).all()
            assert np.asarray(image.convert("RGB")).shape == (28, 28, 3)


def test_samples_are_exported_as_an_array(run, tmp_path):
    result = minisn("sample", run, "--n", 5, "--format", "npz", "--out", tmp_path / "s.npz")
    assert spoken(result) == [str(tmp_path / "s.npz")]
    with np.load(tmp_path / "s.npz", allow_pickle=False) as arrays:
        assert list(arrays) == ["images"]
        images = arrays["images"]
    assert (images.dtype, images.shape) == (np.uint8, (5, 28, 28, 1))
    assert (images[..., 0] == drawn(run, 5, 0)[:, 0]).all()


def test_color_keeps_its_order(color_run, tmp_path):
    shutil.copytree(color_run, tmp_path / "r")
    for form in ("png-folder", "npz"):
        minisn("sample", tmp_path / "r", "--n", 2, "--format", form)
    images = drawn(tmp_path / "r", 2, 0).transpose(0, 2, 3, 1)
    with np.load(tmp_path / "r" / "sample-0.npz") as arrays:
        assert (arrays["images"] == images).all()
    with Image.open(tmp_path / "r" / "sample-0" / "000001.png") as image:
        assert image.mode == "RGB"
        assert (np.asarray(image) == images[1]).all()
    assert len({images[1, :, :, c].tobytes() for c in range(3)}) == 3


def test_a_folder_with_anything_in_it_is_left_alone(run, tmp_path):
    folder = tmp_path / "samples"
    minisn("sample", run, "--n", 3, "--format", "png-folder", "--out", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = minisn(
        "sample", run, "--n", 1, "--seed", 1, "--format", "png-folder", "--out", folder, code=1
    )
    assert f"{folder} exists already" in error_of(result)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "file").touch()
    minisn("sample", run, "--format", "png-folder", "--out", tmp_path / "file", code=1)
    shutil.rmtree(folder)
    folder.mkdir()
    minisn("sample", run, "--n", 1, "--format", "png-folder", "--out", folder)


def test_scores_are_written_before_they_are_printed(tmp_path, monkeypatch):
    def closed(columns):
        raise BrokenPipeError(errno.EPIPE, "closed")

    for name in ("f\udcff.npy", "r.npy"):
        np.save(tmp_path / name, np.random.default_rng(0).normal(size=(30, 2)))
    monkeypatch.setattr(evaluate, "_show", closed)
    files = ("--features", tmp_path / "f\udcff.npy", "--reference", tmp_path / "r.npy")
    minisn("evaluate", *files, "--json", tmp_path / "o.json", code=1)
    assert json.loads((tmp_path / "o.json").read_text("utf-8"))["samples"]


def test_samples_do_not_replace_a_file_of_the_run(run):
    result = minisn("sample", run, "--format", "npz", "--out", run / "images.npz", code=2)
    assert "is a file of the run itself" in result.stderr
