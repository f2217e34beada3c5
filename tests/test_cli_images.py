"""Own images at the command line: trained on, moved away, and still all that a run needs."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from test_cli import TINY, content, error_of, minisn, spoken

from minisn import checkpoint, runs
from minisn.cli import networks
from minisn.config import load_preset, parse_settings
from minisn.data import fingerprint, load, read_folder
from minisn.training import Trainer
from minisn.training_set import IMAGES, keep_images

pytestmark = pytest.mark.usefixtures("plain_kernels", "empty_plots")

CIFAR = ("cifar10-small", *TINY, "--set", "features=8", "--set", "latent=8")
DIGITS = ("mnist-tiny", *TINY, "--set", "features=8", "--set", "latent=8")


def write_photos(folder, count=12):
    """Photographs in three label folders, as files of three kinds and of twice the size."""
    dataset = load("cifar10-2k")
    for label in (0, 3, 8):
        place = folder / dataset.classes[label]
        place.mkdir(parents=True)
        for k, image in enumerate(dataset.images[dataset.labels == label][: count // 3]):
            picture = Image.fromarray(image.transpose(1, 2, 0)).resize((64 + k, 64))
            picture.save(place / f"{k}.{('png', 'jpg', 'webp')[k % 3]}")


def write_digits(folder, count):
    folder.mkdir()
    for k, image in enumerate(load("mnist-10k").images[:count]):
        Image.fromarray(image[0]).save(folder / f"{k:04}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photographs, which no test changes."""
    folder = tmp_path_factory.mktemp("work") / "photos"
    write_photos(folder)
    return folder


@pytest.fixture
def here(photos, tmp_path, monkeypatch):
    """A working directory with a copy of these photographs in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, tmp_path / "photos")
    return tmp_path


@pytest.fixture(scope="module")
def trained(plain_kernels, photos):
    """A folder with the photographs and a run of 2 steps on them, and what the command printed."""
    folder = photos.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, minisn("train", *CIFAR, "--data", "./photos", "--steps", 2, "--out", "run")


@pytest.fixture
def run(here, trained):
    """A copy of that run, whose photographs are gone since."""
    shutil.copytree(trained[0] / "run", here / "run")
    shutil.move(here / "photos", here / "away")
    return here / "run"


# -- train ---------------------------------------------------------------------------------------


def test_train_takes_a_folder_and_keeps_its_images(trained):
    (folder, result), run = trained, trained[0] / "run"
    lines = spoken(result)
    assert lines[0] == "./photos: read 12 of 12 files, color"
    assert lines[1].startswith("run: ./photos, 32 x 32, width 4, hinge loss, steps 0 to 2")
    assert result.stderr == ""
    saved = checkpoint.load(run / runs.CHECKPOINT)
    with np.load(run / IMAGES) as kept:
        assert np.array_equal(kept["images"], read_folder(folder / "photos", 32)[0].images)
        assert saved.images == fingerprint(kept["images"])
        assert kept["classes"].tolist() == ["airplane", "cat", "ship"]
        assert kept["labels"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert (saved.images.count, saved.images.channels, saved.images.classes) == (12, 3, 0)
    assert saved.config.data == "./photos"
    page = (run / "report.html").read_text("utf-8")
    assert f"<b>./photos</b>: {saved.images} of 32 × 32 pixels" in page


def test_a_run_that_keeps_its_images_takes_no_folder_of_data(run):
    for command in (["train", "--steps", 3, "--resume"], ["evaluate"]):
        result = minisn(*command, run, "--data-dir", "here", code=1)
        assert error_of(result) == (
            f"--data-dir has no effect, as {run} keeps its own images; omit it"
        )


def test_files_left_out_are_named_and_the_rest_is_trained_on_at_the_size_asked_for(here):
    (here / "photos" / "cat" / "notes.txt").write_text("none")
    (here / "photos" / "cat" / "0.png").write_bytes(b"")
    result = minisn(
        "train", *CIFAR, "--data", "photos", "--set", "size=16", "--steps", 1, "--out", "run"
    )
    assert spoken(result)[0] == (
        "photos: read 11 of 13 files, color; skipped: cat/0.png (not a PNG, JPEG or WebP image), "
        "cat/notes.txt (not a PNG, JPEG or WebP image)"
    )
    assert checkpoint.load(here / "run" / runs.CHECKPOINT).images.count == 11
    assert minisn("sample", "run", "--format", "npz").exit_code == 0
    with np.load(here / "run" / "sample-0.npz") as drawn:
        assert drawn["images"].shape == (64, 16, 16, 3)


# -- from the folder of the run alone -------------------------------------------------------------


def test_a_run_is_sampled_measured_and_reported_without_the_images(run):
    assert minisn("sample", run, "--n", 4, "--format", "npz").exit_code == 0
    with np.load(run / "sample-0.npz") as drawn:
        assert drawn["images"].shape == (4, 32, 32, 3)
    first = spoken(minisn("spectrum", run))[3].split()
    assert first[:9] == ["1", "Conv2d", "4", "x", "3", "x", "3", "x", "3"]
    (run / "report.html").unlink()
    assert minisn("report", run).stdout == f"{run / 'report.html'}\n"
    assert "12 color images (SHA-256 " in (run / "report.html").read_text("utf-8")


def test_a_run_goes_on_without_the_folder_to_the_same_bits(run, here):
    assert "steps 2 to 4" in minisn("train", "--resume", run, "--steps", 4).stdout
    shutil.move(here / "away", here / "photos")
    minisn("train", *CIFAR, "--data", "./photos", "--steps", 4, "--out", "whole")
    assert runs.read_config(run) == runs.read_config(here / "whole")
    one, two = (checkpoint.load(f / runs.CHECKPOINT) for f in (run, here / "whole"))
    assert one.step == 4 and one.arrays.keys() == two.arrays.keys()
    for name, array in one.arrays.items():
        assert array.tobytes() == two.arrays[name].tobytes(), name


def test_a_run_goes_on_with_its_images_whatever_became_of_the_folder(run, here):
    shutil.move(here / "away", here / "photos")
    Image.new("RGB", (64, 64), "red").save(here / "photos" / "ship" / "9.png")
    assert minisn("train", "--resume", run, "--steps", 3).exit_code == 0


def test_a_conditional_run_knows_its_classes(here):
    minisn(
        "train",
        *CIFAR,
        "--set",
        "conditional=projection",
        "--data",
        "photos",
        "--steps",
        1,
        "--out",
        "run",
    )
    shutil.rmtree(here / "photos")
    saved = checkpoint.load(here / "run" / runs.CHECKPOINT)
    assert saved.images.classes == 3
    trainer = runs.resume(
        here / "run", np.load("run/images.npz")["images"], labels=np.repeat(np.arange(3), 4)
    )
    z = np.random.default_rng(0).standard_normal((7, 8), np.float32)
    assert np.array_equal(networks.draw(saved, 7, 0), trainer.sample(z, np.arange(7) % 3))
    assert re.search(r"Embedding +3 x \d+ ", minisn("spectrum", "run").stdout)
    assert minisn("train", "--resume", "run", "--steps", 2).exit_code == 0


def test_evaluate_compares_with_the_images_that_the_run_keeps(here, monkeypatch):
    write_digits(here / "digits", 400)
    minisn("train", *DIGITS, "--data", "digits", "--steps", 1, "--out", "run")
    shutil.rmtree(here / "digits")
    result = minisn("evaluate", "run", "--samples", 100, "--repeats", 1)
    text = " ".join(result.stdout.split())
    assert "Reference: digits train, drawn anew in each repeat with seed 0, 200 images" in text
    assert "trained on" not in result.stderr
    result = minisn("evaluate", "run", "--samples", 201, "--repeats", 1, code=1)
    assert "expected at most 200, the number of real images beside" in error_of(result)


def test_evaluate_says_where_a_run_was_trained_on_others(here):
    config = load_preset("mnist-tiny").replace(**parse_settings(list(DIGITS[2::2])), steps=1)
    runs.create_run(here / "run", config)
    images = load("mnist-10k").images[:400]
    runs.train(Trainer(config, images), here / "run")
    result = minisn("evaluate", "run", "--samples", 50, "--repeats", 1)
    assert (
        f"Note: run was trained on {fingerprint(images)}; its samples are compared with the "
        "10,000 gray images (SHA-256 "
    ) in result.stderr
    keep_images(here / "run", images)
    assert "trained on" not in minisn("evaluate", "run", "--samples", 50, "--repeats", 1).stderr
    keep_images(here / "run", images[:, :, 4:-4, 4:-4])
    assert "20 x 20 pixels, but size = 28" in error_of(minisn("evaluate", "run", code=1))


def test_a_run_of_before_images_were_known_is_read_by_the_name_of_its_data(here, monkeypatch):
    minisn("train", *DIGITS, "--steps", 1, "--out", "run")
    saved = checkpoint.load(here / "run" / runs.CHECKPOINT)
    assert saved.images.count == 10_000
    object.__setattr__(saved, "images", None)
    assert networks.channels_and_classes(saved) == (1, 0)
    assert networks.draw(saved, 2, 0).shape == (2, 1, 28, 28)
    object.__setattr__(saved, "config", saved.config.replace(conditional="concat"))
    assert networks.channels_and_classes(saved) == (1, 10)


# -- other images are refused ----------------------------------------------------------------------


def from_python(folder, data="cifar10-2k"):
    """Train a step on color images of one's own, under a name."""
    config = load_preset("cifar10-small").replace(
        **parse_settings(list(CIFAR[2::2])), steps=1, data=data
    )
    images = np.random.default_rng(0).integers(0, 256, (2000, 3, 32, 32), np.uint8)
    runs.create_run(folder, config)
    runs.train(Trainer(config, images), folder)
    return images


def test_a_run_on_own_images_does_not_go_on_with_the_data_set_of_that_name(here):
    images = from_python(here / "run")
    before = content(here / "run")
    error = error_of(minisn("train", "--resume", "run", "--steps", 2, code=1))
    assert (
        f"run/checkpoint.safetensors was trained on {fingerprint(images)}, but here cifar10-2k "
        "has 2,000 color images (SHA-256 "
    ) in error
    assert content(here / "run") == before
    keep_images(here / "run", images)
    assert minisn("train", "--resume", "run", "--steps", 2).exit_code == 0


def test_own_images_under_a_name_of_their_own_are_sampled_and_measured(here):
    from_python(here / "run", "squares")
    for command in ("sample", "spectrum", "report"):
        assert minisn(command, "run").exit_code == 0
    error = error_of(minisn("train", "--resume", "run", "--steps", 2, code=1))
    assert "no data set is called 'squares'" in error
    assert error.endswith("there is no folder of that name either, and run keeps no images.npz")


def test_a_folder_that_changed_is_refused_where_the_run_keeps_nothing(run, here):
    shutil.move(here / "away", here / "photos")
    (run / IMAGES).unlink()
    minisn("train", "--resume", run, "--steps", 3)
    assert (run / IMAGES).exists()  # kept again
    (run / IMAGES).unlink()
    (here / "photos" / "cat" / "0.png").unlink()
    before = content(run)
    error = error_of(minisn("train", "--resume", run, "--steps", 4, code=1))
    assert "was trained on 12 color images" in error and "./photos has 11 color images" in error
    assert content(run) == before


def test_a_run_that_was_killed_early_begins_again_with_its_images(run):
    for name in (runs.CHECKPOINT, runs.LOG):
        (run / name).unlink()
    assert "steps 0 to 2" in minisn("train", "--resume", run).stdout


def test_damaged_images_are_named_and_nothing_is_lost(run):
    raw = (run / IMAGES).read_bytes()
    (run / IMAGES).write_bytes(raw[: len(raw) // 2])
    before = content(run)
    error = error_of(minisn("train", "--resume", run, "--steps", 4, code=1))
    assert error.startswith(f"{run / IMAGES}: the images of the run cannot be read")
    assert content(run) == before


def test_a_resumed_run_takes_no_other_data(run):
    before = content(run)
    error = error_of(minisn("train", "--resume", run, "--set", "data=mnist-10k", code=1))
    assert f"{run} was started on ./photos, not on mnist-10k; omit --set data" in error
    assert content(run) == before


# -- bad input: one line, and nothing is written -------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "arguments", "words"),
    [
        ("empty", "--data empty", "empty: no readable image; expected PNG, JPEG or WebP files in"),
        ("one", "--data one", "batch_size is 4; expected at most 1, the number of images"),
        ("few", "--data few", "batch_size is 4; expected at most 3, the number of images"),
        (
            "junk",
            "--data junk",
            "junk: no readable image; expected PNG, JPEG or WebP files in it, "
            "or in subfolders named by their labels; skipped: a.png (not a PNG",
        ),
        (
            "ambiguous",
            "--data cifar10",
            "cifar10 names both a data set and a folder of images; write ./cifar10 for the folder",
        ),
        (
            "label",
            "--data photos --set conditional=concat",
            "photos: the label folder fish has no readable images; "
            "remove it, or put images into it; or set conditional to none",
        ),
        ("loose", "--data photos --set conditional=concat", "images outside the label folders"),
        ("none", "--data nowhere", "no data set is called 'nowhere'; known are mnist-10k"),
        ("file", "--data file", "no data set is called 'file'; known are mnist-10k"),
        ("size", "--data photos --set size=4", "images of 4 pixels are too small for Table 3"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(here, spoil, arguments, words):
    def red(path):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), "red").save(path)

    (here / "empty").mkdir()
    (here / "junk").mkdir()
    (here / "junk" / "a.png").write_text("no picture")
    (here / "file").touch()
    red(here / "one" / "a.png")
    for k in range(3):
        red(here / "few" / f"{k}.png")
    red(here / "cifar10" / "a.png")
    if spoil == "label":
        (here / "photos" / "fish").mkdir()
    if spoil == "loose":
        red(here / "photos" / "a.png")
    before = content(here)
    result = minisn("train", *CIFAR, *arguments.split(), "--out", "run", code=1)
    told = [line for line in result.stdout.splitlines() if not line.startswith("Compiling")]
    assert all(": read " in line for line in told) and len(told) <= 1
    assert words in error_of(result)
    assert content(here) == before and not (here / "run").exists()


def test_the_data_set_is_meant_by_the_settings_whatever_folders_there_are(here, monkeypatch):
    shutil.move(here / "photos", here / "mnist-10k")
    asked = []
    monkeypatch.setattr(runs, "train", lambda trainer, *_: asked.append(trainer) or 0.0)
    minisn("train", *DIGITS)
    minisn("train", *DIGITS, "--set", "size=32", "--data", "./mnist-10k")
    assert [len(trainer.images) for trainer in asked] == [10_000, 12]


# -- data verify -----------------------------------------------------------------------------------


def test_verify_tells_what_a_folder_holds(here):
    lines = minisn("data", "verify", "photos").stdout.splitlines()
    assert lines == [
        "images    12",
        "width     64 to 67 pixels",
        "height    64 pixels",
        "channels  3 (color)",
        "labels    airplane 4, cat 4, ship 4",
    ]
    write_digits(here / "digits", 3)
    lines = minisn("data", "verify", "digits").stdout.splitlines()
    assert lines[1:] == [
        "width     28 pixels",
        "height    28 pixels",
        "channels  1 (gray)",
        "labels    none: there are no subfolders",
    ]
    shutil.move(here / "digits" / "0000.png", here / "photos" / "cat")
    lines = minisn("data", "verify", "photos").stdout.splitlines()
    assert lines[3] == "channels  3 (color, 1 of the images are gray)"


def test_verify_names_every_file_that_training_would_leave_out(here):
    for k in range(4):
        (here / "photos" / "cat" / f"{k}.txt").touch()
    (here / "photos" / "cat" / "4\n.txt").touch()
    (here / "photos" / "fish").mkdir()
    shutil.copy(here / "photos" / "cat" / "0.png", here / "photos")
    before = content(here)
    result = minisn("data", "verify", "photos", code=1)
    lines = result.stdout.splitlines()
    assert (
        lines[:5][0] == "images    13" and lines[4] == "labels    airplane 4, cat 4, fish 0, ship 4"
    )
    names = ["0", "1", "2", "3", "4 "]
    assert lines[5:10] == [f"BAD  cat/{k}.txt: not a PNG, JPEG or WebP image" for k in names]
    assert re.fullmatch("BAD  the label folder fish has no readable images.*", lines[10])
    assert re.fullmatch("BAD  images outside the label folders: 1; move.*", lines[11])
    assert error_of(result).startswith("photos: 7 BAD; training skips such files")
    assert content(here) == before


@pytest.mark.parametrize("name", ["nowhere", "file.png"])
def test_verify_of_what_is_no_folder(here, name):
    (here / "file.png").touch()
    error = error_of(minisn("data", "verify", name, code=1))
    assert error.startswith(f"no data set is called '{name}'; known are mnist-10k")
    assert error.endswith("there is no folder of that name either")


def test_verify_of_an_empty_folder_and_of_two_of_a_name(here):
    (here / "empty").mkdir()
    assert "empty: no readable image" in error_of(minisn("data", "verify", "empty", code=1))
    shutil.move(here / "photos", here / "mnist")
    error = error_of(minisn("data", "verify", "mnist", code=1))
    assert "write ./mnist for the folder" in error
    assert "images    12" in minisn("data", "verify", "./mnist").stdout
