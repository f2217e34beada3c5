"""STL-10: a small archive in the official layout, whose pixels are known one by one."""

import dataclasses
import hashlib
import io
import re
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from minisn import data
from minisn.data import archive, catalog, stl
from minisn.data.catalog import CATALOG, Content, Download
from minisn.data.stl import read_stl10
from minisn.errors import ConfigError, DataError

SIZE = 96


@pytest.fixture(autouse=True)
def no_data_from_outside(monkeypatch, tmp_path):
    monkeypatch.delenv("MINISN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pixel(image, channel, row, column):
    """The value of a pixel: different in each direction, and without a simple period."""
    return (37 * image + 101 * channel + 5 * row + 3 * column + row * column // 7) % 256


def images_of(numbers) -> bytes:
    """Images as the official files have them, written pixel by pixel in the order described at
    their origin: channel by channel, each column by column."""
    return bytes(
        pixel(n, channel, row, column)
        for n in numbers
        for channel in range(3)
        for column in range(SIZE)
        for row in range(SIZE)
    )


def content_of(name: str, raw: bytes) -> Content:
    return Content(name, len(raw), hashlib.md5(raw).hexdigest(), "MD5")


RAW = {
    "test_X.bin": images_of([4, 5]),
    "test_y.bin": bytes([10, 1]),
    "train_X.bin": images_of([3]),
    "train_y.bin": bytes([7]),
    "unlabeled_X.bin": images_of([0, 1, 2]),
}
C = {name: content_of(name, raw) for name, raw in RAW.items()}
TEST = (C["test_X.bin"], C["test_y.bin"])


def write_folder(parent: Path, files: dict[str, bytes]) -> Path:
    folder = parent / "stl10_binary"
    folder.mkdir(parents=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder


def write_archive(path: Path, files: dict[str, bytes], folder: str = "stl10_binary/") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as packed:
        for name, raw in {**files, "class_names.txt": b"airplane\nbird\n"}.items():
            member = tarfile.TarInfo(f"{folder}{name}")
            member.size = len(raw)
            packed.addfile(member, io.BytesIO(raw))
    return path


@pytest.fixture(params=["folder", "archive"])
def write(request, tmp_path):
    """Write files as a folder or as an archive, and give the path to read."""
    if request.param == "folder":
        return lambda files: write_folder(tmp_path, files)
    return lambda files: write_archive(tmp_path / "s.tar.gz", files)


@pytest.fixture
def tiny_stl(monkeypatch):
    files = {
        "train": (C["unlabeled_X.bin"],),
        "labeled": (C["train_X.bin"], C["train_y.bin"]),
        "test": TEST,
    }
    inside = tuple(content for split in files.values() for content in split)
    download = Download("stl10_binary.tar.gz", 1, "0" * 64, (), inside)
    entry = dataclasses.replace(
        CATALOG["stl10"],
        counts={"train": 3, "labeled": 1, "test": 2},
        files=files,
        downloads=(download,),
    )
    monkeypatch.setitem(catalog.CATALOG, "stl10", entry)


# --- reading ------------------------------------------------------------------------------------


def test_images_are_read_row_by_row_and_halved_by_the_mean_of_four(write):
    images, labels = read_stl10(write(RAW), TEST)
    assert images.shape == (2, 3, 48, 48) and images.dtype == np.uint8
    assert labels.tolist() == [9, 0]  # 1 to 10 in the file
    for n, c, i, j in [(0, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 2, 47, 3), (1, 1, 20, 33)]:
        four = [pixel(4 + n, c, 2 * i + a, 2 * j + b) for a in (0, 1) for b in (0, 1)]
        assert images[n, c, i, j] == int(sum(four) / 4 + 0.5)
    every = np.array(
        [
            [[[pixel(n, c, i, j) for j in range(SIZE)] for i in range(SIZE)] for c in range(3)]
            for n in (4, 5)
        ],
        float,
    )
    means = every.reshape(2, 3, 48, 2, 48, 2).mean((3, 5))
    np.testing.assert_array_equal(images, np.floor(means + 0.5))


def test_unlabeled_images_have_label_minus_one(write, monkeypatch):
    monkeypatch.setattr(stl, "_PIECE", 2 * 3 * SIZE * SIZE)  # so that pieces must be put together
    images, labels = read_stl10(write(RAW), (C["unlabeled_X.bin"],))
    assert images.shape == (3, 3, 48, 48)
    assert labels.tolist() == [-1, -1, -1]
    four = [pixel(2, 1, 10 + a, 30 + b) for a in (0, 1) for b in (0, 1)]
    assert images[2, 1, 5, 15] == int(sum(four) / 4 + 0.5)


@pytest.mark.parametrize("name", ["test_X.bin", "test_y.bin"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-1], "cut short, {short:,} bytes; expected {size:,}"),
        (lambda raw: b"", "cut short, 0 bytes; expected {size:,}"),
        (lambda raw: raw + b"\1", "too long; expected {size:,} bytes, and more follow"),
        (lambda raw: bytes([raw[0] ^ 3]) + raw[1:], "altered, its MD5 is {md5}; expected "),
    ],
)
def test_a_bad_file_is_named_with_what_was_expected(write, name, change, message):
    bad, size = change(RAW[name]), len(RAW[name])
    path = write(RAW | {name: bad})
    text = message.format(short=size - 1, size=size, md5=hashlib.md5(bad).hexdigest())
    with pytest.raises(DataError, match=re.escape(f"{path}: {name}: {text}")):
        read_stl10(path, TEST)


@pytest.mark.parametrize(("labels", "found"), [([0, 3], "0 to 3"), ([2, 11], "2 to 11")])
def test_labels_out_of_range_are_refused(write, labels, found):
    raw = bytes(labels)
    path = write(RAW | {"test_y.bin": raw})
    message = re.escape(f"{path}: test_y.bin: labels run from {found}; expected 1 to 10")
    with pytest.raises(DataError, match=message):
        read_stl10(path, (C["test_X.bin"], content_of("test_y.bin", raw)))


def test_a_missing_file_is_named(write):
    path = write({"test_X.bin": RAW["test_X.bin"]})
    with pytest.raises(DataError, match=r"lacks test_y\.bin; expected them in stl10_binary/"):
        read_stl10(path, TEST)


def test_a_damaged_or_strange_archive_is_refused(tmp_path):
    path = write_archive(tmp_path / "s.tar.gz", RAW)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(DataError, match=r"s\.tar\.gz: damaged or cut short"):
        read_stl10(path, TEST)
    write_archive(path, RAW, folder="elsewhere/")
    with pytest.raises(DataError, match=r"'elsewhere/test_X.bin' lies outside stl10_binary/"):
        read_stl10(path, TEST)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = write_archive(tmp_path / "s.tar.gz", RAW)
    monkeypatch.setitem(archive.LARGEST, "stl10_binary", 100_000)
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes"):
        read_stl10(path, TEST)


def test_reading_holds_a_piece_of_the_file_at_a_time(tmp_path, monkeypatch):
    """200 images are 5.5 MB as they lie in the file, 1.4 MB as they are returned."""
    monkeypatch.setattr(stl, "_PIECE", 10 * 3 * SIZE * SIZE)
    raw = np.random.default_rng(0).integers(0, 256, 200 * 3 * SIZE * SIZE, np.uint8).tobytes()
    path = write_folder(tmp_path, {"unlabeled_X.bin": raw})
    content = content_of("unlabeled_X.bin", raw)
    tracemalloc.start()
    try:
        images, _ = read_stl10(path, (content,))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < images.nbytes + 2e6


# --- as a data set ------------------------------------------------------------------------------


def test_splits_for_gans_and_with_labels(tmp_path, tiny_stl):
    write_archive(tmp_path / "stl10/stl10_binary.tar.gz", RAW)
    found = {split: data.load("stl10", tmp_path, split) for split in ("train", "labeled", "test")}
    assert {split: d.labels.tolist() for split, d in found.items()} == {
        "train": [-1, -1, -1],
        "labeled": [6],
        "test": [9, 0],
    }
    assert found["train"].images.shape == (3, 3, 48, 48)
    assert found["train"].labels.dtype == np.int64
    assert found["labeled"].classes[6] == "horse"
    assert not found["train"].images.flags.writeable
    with pytest.raises(ConfigError, match=r"no split 'unlabeled'; it has: train, labeled, test"):
        data.load("stl10", tmp_path, "unlabeled")


def test_archive_and_folder_are_verified(tmp_path, tiny_stl):
    folder = write_folder(tmp_path, RAW)
    reports = data.verify("stl10", tmp_path)
    assert [report.path.name for report in reports] == [
        "unlabeled_X.bin",
        "train_X.bin",
        "train_y.bin",
        "test_X.bin",
        "test_y.bin",
    ]
    assert all(report.detail == "contents as published, by MD5" for report in reports)
    (folder / "train_X.bin").write_bytes(RAW["train_X.bin"][:-1])
    assert [report.ok for report in data.verify("stl10", tmp_path)] == [
        True,
        False,
        True,
        True,
        True,
    ]
    path = write_archive(tmp_path / "stl10_binary.tar.gz", RAW)
    (report,) = data.verify("stl10", tmp_path)
    assert (report.path, report.ok) == (path, True)
    write_archive(path, RAW | {"unlabeled_X.bin": RAW["unlabeled_X.bin"][:-1] + b"?"})
    (report,) = data.verify("stl10", tmp_path)
    assert not report.ok
    assert report.detail.startswith("unlabeled_X.bin: altered, its MD5 is ")


def test_the_archive_is_fetched_and_checked_inside(tmp_path, tiny_stl, monkeypatch):
    path = write_archive(tmp_path / "served/stl10_binary.tar.gz", RAW)
    raw, entry = path.read_bytes(), CATALOG["stl10"]
    download = dataclasses.replace(
        entry.downloads[0],
        size=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        mirrors=(f"file://{path.parent}/",),
    )
    monkeypatch.setitem(catalog.CATALOG, "stl10", dataclasses.replace(entry, downloads=(download,)))
    (report,) = data.fetch("stl10", tmp_path / "new", progress=False)
    assert (report.path, report.ok) == (tmp_path / "new/stl10/stl10_binary.tar.gz", True)
    assert data.load("stl10", tmp_path / "new", "labeled").labels.tolist() == [6]


def test_what_is_missing_names_the_command(tmp_path):
    with pytest.raises(
        DataError,
        match=r"no stl10_binary\.tar\.gz or stl10_binary/unlabeled_X\.bin"
        r".*minisn data fetch stl10 .*\(2640 MB\)",
    ):
        data.load("stl10", tmp_path)


def test_the_official_sizes_are_those_of_the_images():
    entry = CATALOG["stl10"]
    (unlabeled,) = entry.files["train"]
    assert unlabeled.size == 100_000 * 27_648
    for split in ("labeled", "test"):
        images, labels = entry.files[split]
        assert images.size == labels.size * 27_648 == entry.counts[split] * 27_648
    assert archive.LARGEST[entry.folder] > sum(c.size for c in entry.downloads[0].contents)
