"""What a run is trained on: where images come from, what a run keeps, and what tells them apart."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minisn.config import load_preset
from minisn.data import fingerprint, load
from minisn.errors import ConfigError, DataError
from minisn.training_set import IMAGES, is_folder, keep_images, training_set

MNIST = load_preset("mnist")


def noise(count=5, channels=3, size=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, channels, size, size), np.uint8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(here):
    """A folder of five images in two label folders."""
    for k, image in enumerate(noise()):
        path = here / "photos" / ("cats" if k < 2 else "dogs") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    return MNIST.replace(data="./photos", size=8)


# -- where images come from ----------------------------------------------------------------------


def test_a_data_set_is_found_by_its_name(here):
    (here / "mnist-10k").mkdir()  # a folder of that name is ./mnist-10k
    dataset, found = training_set(MNIST)
    assert found is None
    assert np.array_equal(dataset.images, load("mnist-10k").images)
    assert not is_folder(MNIST) and is_folder(MNIST.replace(data="./mnist-10k"))


def test_a_folder_is_read_at_the_size_of_the_settings(photos):
    dataset, found = training_set(photos)
    assert np.array_equal(dataset.images, noise())
    assert (dataset.name, dataset.classes) == ("./photos", ("cats", "dogs"))
    assert str(found) == "./photos: read 5 of 5 files, color"
    assert training_set(photos.replace(size=4))[0].images.shape == (5, 3, 4, 4)


def test_labels_must_be_whole_only_where_they_are_used(photos, here):
    (here / "photos" / "fish").mkdir()
    assert len(training_set(photos)[0].images) == 5
    with pytest.raises(DataError, match="fish has no readable images"):
        training_set(photos.replace(conditional="projection"))


@pytest.mark.parametrize("name", ["", "mnist-10", "nowhere/photos", "file"])
def test_what_is_neither_is_told(here, name):
    (here / "file").touch()
    config = MNIST.replace(data=name)
    with pytest.raises(
        ConfigError, match=r"no data set is called.*; there is no folder of that name either"
    ) as caught:
        training_set(config)
    assert ("did you mean 'mnist-10k'" in str(caught.value)) == (name == "mnist-10")
    with pytest.raises(ConfigError, match=r"of that name either, and run keeps no images\.npz$"):
        training_set(config, run=Path("run"))


# -- what a run keeps ----------------------------------------------------------------------------


def test_a_run_needs_the_folder_no_more(photos, here):
    (here / "run").mkdir()
    before, _ = training_set(photos)
    keep_images(here / "run", before.images, before.labels, before.classes)
    assert os.listdir(here / "run") == [IMAGES]
    shutil.rmtree(here / "photos")
    after, found = training_set(photos, run=here / "run")
    assert found is None
    assert np.array_equal(after.images, before.images)
    assert np.array_equal(after.labels, before.labels) and after.labels.dtype == np.int64
    assert (after.name, after.classes) == (before.name, before.classes)
    assert after.source == str(here / "run" / IMAGES)
    assert not after.images.flags.writeable and not after.labels.flags.writeable


def test_images_from_python_can_be_kept_without_labels(here):
    keep_images(here, noise(channels=1))
    dataset, _ = training_set(MNIST.replace(data="mine"), run=here)
    assert np.array_equal(dataset.images, noise(channels=1))
    assert (dataset.labels.tolist(), dataset.classes) == ([-1] * 5, ())


def rewrite(path, **changes):
    """Write the file of kept images with other arrays."""
    with np.load(path) as arrays:
        kept = dict(arrays)
    np.savez(path, **{k: v for k, v in {**kept, **changes}.items() if v is not None})


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(path.read_bytes().replace(noise()[2].tobytes(), bytes(192))),
        lambda path: path.write_bytes(path.read_bytes().replace(b"(5, 3", b"(9, 3")),
        lambda path: path.write_bytes(path.read_bytes().replace(b"(5, 3", b"((((5")),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not an archive"),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: rewrite(path, labels=None),
        lambda path: rewrite(path, images=noise().astype(float)),
        lambda path: rewrite(path, images=noise()[0]),
        lambda path: rewrite(path, labels=np.zeros(4, int)),
        lambda path: rewrite(path, labels=np.zeros(5)),
        lambda path: rewrite(path, classes=np.zeros(2)),
        lambda path: rewrite(path, classes=np.array([print], object)),
    ],
)
def test_kept_images_that_are_damaged_are_named(here, damage):
    keep_images(here, noise())
    damage(here / IMAGES)
    with pytest.raises(
        DataError, match=r"cannot be read \(.*remove it to read mine anew"
    ) as caught:
        training_set(MNIST.replace(data="mine"), run=here)
    assert str(caught.value).startswith(f"{here / IMAGES}: ")


class Mischief:
    """What makes a folder as soon as it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("made",)


def test_nothing_in_the_file_is_executed(here):
    np.savez(here / IMAGES, images=noise(), labels=np.zeros(5, int), classes=np.array([Mischief()]))
    with pytest.raises(DataError, match="Object arrays cannot be loaded"):
        training_set(MNIST.replace(data="mine"), run=here)
    assert os.listdir(here) == [IMAGES]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_kept(here, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    keep_images(here, noise())
    before = (here / IMAGES).read_bytes()
    with monkeypatch.context() as patch, pytest.raises(DataError, match=r"No space left.*--resume"):
        patch.setattr(os, call, full)
        keep_images(here, noise(seed=1))
    assert os.listdir(here) == [IMAGES]
    assert (here / IMAGES).read_bytes() == before


# -- fingerprints --------------------------------------------------------------------------------


def test_a_fingerprint_is_of_all_pixels_wherever_they_lie():
    images = noise(count=9000, size=2)
    found = fingerprint(images)
    assert (found.count, found.channels, found.classes) == (9000, 3, 0)
    assert found.sha256 == hashlib.sha256(b"(9000, 3, 2, 2)" + images.tobytes()).hexdigest()
    apart = np.repeat(images, 2, 0)[::2]
    assert not apart.flags.c_contiguous and fingerprint(apart) == found
    for k in (0, 4096, 8999):
        other = images.copy()
        other[k, 2, 1, 1] ^= 1
        assert fingerprint(other) != found
    assert fingerprint(images.reshape(9000, 3, 4, 1)) != found


def test_a_fingerprint_is_of_the_labels_in_use():
    labels = np.array([0, 1, 2, 1, 0])
    found = fingerprint(noise(), labels)
    assert found.classes == 3
    assert fingerprint(noise(), labels.astype(np.uint8)) == found
    assert (
        len(
            {
                found.sha256,
                fingerprint(noise()).sha256,
                fingerprint(noise(), labels[::-1] + 0).sha256,
                fingerprint(noise(), np.array([0, 1, 2, 1, 1])).sha256,
            }
        )
        == 3
    )


def test_a_fingerprint_is_told_in_a_few_words():
    short = fingerprint(noise(1, 1)).sha256[:12]
    assert str(fingerprint(noise(1, 1))) == f"1 gray image (SHA-256 {short})"
    found = fingerprint(noise(), np.arange(5))
    assert str(found) == f"5 color images (5 classes, SHA-256 {found.sha256[:12]})"
