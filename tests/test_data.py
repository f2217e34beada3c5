"""The data package: readers, samples, downloads, verification, batches."""

import _thread
import dataclasses
import gzip
import hashlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import minisn.data as data
from minisn.data import archive, catalog, embedded
from minisn.data.catalog import CATALOG, Content, Download, Entry
from minisn.data.cifar import read_cifar10
from minisn.data.idx import read_idx
from minisn.errors import CheckpointError, ConfigError, DataError, DTypeError, NonFiniteError

FULL_DATA = os.environ.get("MINISN_DATA")


@pytest.fixture(autouse=True)
def no_data_from_outside(monkeypatch, tmp_path):
    monkeypatch.delenv("MINISN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def content_of(name: str, raw: bytes) -> Content:
    return Content(name, len(raw), hashlib.sha256(raw).hexdigest())


def idx_bytes(array: np.ndarray, kind: int = 8) -> bytes:
    header = bytes((0, 0, kind, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def records(labels: list[int], seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return np.hstack([np.array(labels, np.uint8)[:, None], pixels]).tobytes()


# --- samples inside the package -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"), [("mnist-10k", (10_000, 1, 28, 28)), ("cifar10-2k", (2_000, 3, 32, 32))]
)
def test_sample_loads_offline(name, shape):
    found = data.load(name)
    assert found.images.shape == shape
    assert found.images.dtype == np.uint8
    assert found.labels.shape == shape[:1]
    assert found.labels.dtype == np.int64
    assert not found.images.flags.writeable
    assert len(found.classes) == 10
    assert found.source.startswith("shipped with minisn")
    assert all(report.ok for report in data.verify(name))


@pytest.mark.parametrize(
    ("name", "counts", "pixels"),
    [
        (
            "mnist-10k",
            [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978],
            "01a649acf97bc53c9bbc1a378d3087f5a8f67ccf25746dab384bcbe11feed658",
        ),
        (
            "cifar10-2k",
            [200] * 10,
            "67fb25f7849e19136675cde25d50ea89d6d1cbae491cc69bdc81b774a33bb396",
        ),
    ],
)
def test_sample_decodes_to_the_pixels_it_was_made_from(name, counts, pixels):
    found = data.load(name)
    assert np.bincount(found.labels).tolist() == counts
    assert hashlib.sha256(found.images.tobytes()).hexdigest() == pixels


def test_altered_sample_is_refused(monkeypatch, tmp_path):
    raw = bytearray((embedded.PACKAGE_FOLDER / "mnist-10k.npz").read_bytes())
    raw[1000] ^= 1
    (tmp_path / "mnist-10k.npz").write_bytes(raw)
    monkeypatch.setattr(embedded, "PACKAGE_FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"mnist-10k\.npz: altered.*expected c03d6af8"):
        data.load("mnist-10k")


def test_attribution_ships():
    text = (embedded.PACKAGE_FOLDER / "ATTRIBUTION.md").read_text()
    for word in ("LeCun", "Cortes", "Burges", "BY-SA 3.0", "Krizhevsky", "default_rng(10)"):
        assert word in text


def test_import_is_light():
    code = (
        "import sys, minisn.data; "
        "print([m for m in ('pycurl', 'tqdm', 'PIL', 'urllib.request') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- names and places ---------------------------------------------------------------------------


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ConfigError, match=r"'mnits'; did you mean 'mnist'\?$"):
        data.load("mnits")
    with pytest.raises(ConfigError, match=r"'zzz'; known are mnist-10k, "):
        data.verify("zzz")


def test_unknown_split_is_named():
    with pytest.raises(ConfigError, match=r"mnist-10k has no split 'test'; it has: train"):
        data.load("mnist-10k", split="test")


def test_data_dir_is_argument_then_variable_then_cache(monkeypatch, tmp_path):
    assert data.resolve_data_dir() == tmp_path / "cache/minisn/data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data.resolve_data_dir() == Path.home() / ".cache/minisn/data"
    monkeypatch.setenv("MINISN_DATA", "~/pictures")
    assert data.resolve_data_dir() == Path.home() / "pictures"
    assert data.resolve_data_dir(tmp_path) == tmp_path
    monkeypatch.setenv("MINISN_DATA", "")
    assert data.resolve_data_dir() == Path.home() / ".cache/minisn/data"


def test_catalog_is_consistent():
    for name, entry in CATALOG.items():
        assert entry.name == name
        assert entry.counts.keys() == entry.files.keys()
        assert len(entry.classes) == 10
        inside = [c for download in entry.downloads for c in download.contents]
        if entry.downloads:
            assert inside == [c for split in entry.files.values() for c in split]
        for digest in [d.sha256 for d in entry.downloads]:
            assert re.fullmatch("[0-9a-f]{64}", digest)
        for item in inside:
            assert item.kind == ("MD5" if name == "stl10" else "SHA-256")
            assert re.fullmatch("[0-9a-f]{32}" + "([0-9a-f]{32})?" * (name != "stl10"), item.digest)
        for split, count in entry.counts.items():
            expected = count * (int(np.prod(entry.shape)) + 1)
            if entry.format == "idx":
                expected += 16 + 8
            if entry.format not in ("sample", "stl"):
                assert sum(c.size for c in entry.files[split]) == expected
        for download in entry.downloads:
            assert len(download.mirrors) >= 2
            assert all(mirror.endswith("/") for mirror in download.mirrors)


# --- IDX ----------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_is_read_plain_and_gzipped_whatever_its_name(tmp_path, name, zipped):
    raw = idx_bytes(IMAGES)
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    assert np.array_equal(read_idx(path, (6, 5, 4)), IMAGES)
    assert np.array_equal(read_idx(path, (6, 5, 4), content_of(name, raw)), IMAGES)


def altered(raw: bytes) -> bytes:
    return raw[:40] + bytes((raw[40] ^ 1,)) + raw[41:]


GOOD = idx_bytes(IMAGES)
BAD_IDX = {
    "empty": (b"", r"begins with nothing; expected 00 00 08 03"),
    "text": (b"not found", r"begins with 6e 6f 74 20; expected 00 00 08 03"),
    "page": (b"\n<!DOCTYPE html><html>not found</html>", r"is a web page, not the data"),
    "type": (idx_bytes(IMAGES, kind=0x0D), r"begins with 00 00 0d 03; expected 00 00 08 03"),
    "axes": (idx_bytes(IMAGES[0]), r"begins with 00 00 08 02; expected 00 00 08 03"),
    "shape": (idx_bytes(IMAGES.reshape(6, 4, 5)), r"shape \(6, 4, 5\); expected \(6, 5, 4\)"),
    "absurd": (GOOD[:4] + b"\xff" * 12, r"shape \(4294967295, 4294967295, 4294967295\)"),
    "in header": (GOOD[:10], r"cut short, 10 bytes; expected 136"),
    "cut": (GOOD[:-1], r"cut short, 135 bytes; expected 136"),
    "trailing": (GOOD + b"\0", r"too long; expected 136 bytes"),
    "altered": (altered(GOOD), r"altered, its SHA-256 is [0-9a-f]{64}; expected [0-9a-f]{64}"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", BAD_IDX)
def test_bad_idx_is_named_with_what_was_expected(tmp_path, kind, zipped):
    raw, message = BAD_IDX[kind]
    path = tmp_path / ("x.gz" if zipped else "x")
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: .*{message}"):
        read_idx(path, (6, 5, 4), content_of("x", GOOD))


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-9],
        lambda packed: packed[:-6] + bytes((packed[-6] ^ 1,)) + packed[-5:],
        lambda packed: packed[:10] + b"\xff" + packed[11:],
        lambda packed: packed[:2] + b"\xff" + packed[3:],
    ],
    ids=["cut", "checksum", "stream", "method"],
)
def test_damaged_gzip_is_named(tmp_path, damage):
    path = tmp_path / "x.gz"
    path.write_bytes(damage(gzip.compress(GOOD)))
    with pytest.raises(DataError, match=r"x\.gz: damaged or cut short; expected gzip of 136"):
        read_idx(path, (6, 5, 4))


def test_gzip_bomb_is_refused_without_unpacking_it(tmp_path):
    path = tmp_path / "x.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(GOOD)
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="too long; expected 136 bytes"):
            read_idx(path, (6, 5, 4))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


def test_unreadable_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read: Is a directory"):
        read_idx(tmp_path, (6, 5, 4))
    with pytest.raises(DataError, match=r"none: cannot be read: No such file"):
        read_idx(tmp_path / "none", (6, 5, 4))


# --- CIFAR-10 -----------------------------------------------------------------------------------

BATCHES = {"a.bin": records([3, 1, 9], seed=1), "b.bin": records([0, 7], seed=2)}
CONTENTS = tuple(content_of(name, raw) for name, raw in BATCHES.items())


def write_folder(parent: Path, batches: dict[str, bytes]) -> Path:
    folder = parent / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, raw in batches.items():
        (folder / name).write_bytes(raw)
    return folder


def write_archive(path: Path, members: dict[str, bytes], **special: str) -> Path:
    """A gzipped tar of some members; `special` adds one of another type, with its link target."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as packed:
        folder = tarfile.TarInfo("cifar-10-batches-bin")
        folder.type = tarfile.DIRTYPE
        packed.addfile(folder)
        for name, raw in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            packed.addfile(member, io.BytesIO(raw))
        for name, target in special.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            packed.addfile(member)
    return path


def inside(batches: dict[str, bytes]) -> dict[str, bytes]:
    return {f"cifar-10-batches-bin/{name}": raw for name, raw in batches.items()}


@pytest.fixture(params=["folder", "archive"])
def write(request, tmp_path):
    """Write batches as a folder or as an archive, and give the path to read."""
    if request.param == "folder":
        return lambda batches: write_folder(tmp_path, batches)
    return lambda batches: write_archive(tmp_path / "c.tar.gz", inside(batches))


def test_cifar_is_read(write):
    path = write(dict(reversed(BATCHES.items())) | {"batches.meta.txt": b"airplane\n"})
    images, labels = read_cifar10(path, CONTENTS)
    assert labels.tolist() == [3, 1, 9, 0, 7]
    assert images.shape == (5, 3, 32, 32)
    raw = np.frombuffer(BATCHES["b.bin"], np.uint8).reshape(2, 3073)
    # A record is its red plane, then green, then blue, each row by row.
    assert images[4, 2, 0, 1] == raw[1, 1 + 2 * 1024 + 1]
    assert images[3, 1, 5, 0] == raw[0, 1 + 1024 + 5 * 32]
    assert np.array_equal(read_cifar10(path, CONTENTS[1:])[0], images[3:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-1], r"cut short, 6,145 bytes; expected 6,146"),
        (lambda raw: raw + b"\0", r"too long; expected 6,146 bytes"),
        (altered, r"altered, its SHA-256"),
    ],
)
def test_bad_batch_is_named(write, change, message):
    path = write(BATCHES | {"b.bin": change(BATCHES["b.bin"])})
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: b\.bin: {message}"):
        read_cifar10(path, CONTENTS)


def test_label_above_nine_is_named(write):
    bad = records([4, 10])
    path = write({"a.bin": bad})
    with pytest.raises(DataError, match=r"a\.bin: holds label 10; expected 0 to 9"):
        read_cifar10(path, (content_of("a.bin", bad),))


def test_missing_batch_is_named(write):
    path = write({"a.bin": BATCHES["a.bin"]})
    with pytest.raises(DataError, match=r"lacks b\.bin; expected them in cifar-10-batches-bin/"):
        read_cifar10(path, CONTENTS)


@pytest.mark.parametrize(
    "name",
    ["../b.bin", "/b.bin", "b.bin", "cifar-10-batches-bin/../../b.bin", "other/b.bin"],
)
def test_member_that_leaves_the_folder_is_refused(tmp_path, name):
    path = write_archive(tmp_path / "c.tar.gz", inside(BATCHES) | {name: BATCHES["b.bin"]})
    with pytest.raises(DataError, match=rf"member '{re.escape(name)}' lies outside"):
        read_cifar10(path, CONTENTS)


def test_link_in_archive_is_refused(tmp_path):
    path = write_archive(tmp_path / "c.tar.gz", inside(BATCHES), link="/etc/hostname")
    with pytest.raises(DataError, match=r"member 'cifar-10-batches-bin/link' .*no plain file"):
        read_cifar10(path, CONTENTS)


@pytest.mark.parametrize(
    "damage",
    [lambda packed: packed[: len(packed) // 2], lambda packed: b"no gzip" + packed],
    ids=["cut", "magic"],
)
def test_damaged_archive_is_named(tmp_path, damage):
    path = write_archive(tmp_path / "c.tar.gz", inside(BATCHES))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"c\.tar\.gz: damaged or cut short; expected a gzipped"):
        read_cifar10(path, CONTENTS)


def test_archive_that_was_unpacked_and_kept_its_name_is_read(tmp_path):
    path = write_archive(tmp_path / "c.tar.gz", inside(BATCHES))
    images, labels = read_cifar10(path, CONTENTS)
    path.write_bytes(gzip.decompress(path.read_bytes()))
    again = read_cifar10(path, CONTENTS)
    assert np.array_equal(again[0], images) and np.array_equal(again[1], labels)


def test_web_page_in_place_of_an_archive_or_a_batch_is_named(tmp_path):
    page = b"<html><title>503 Service Unavailable</title></html>"
    path = tmp_path / "c.tar.gz"
    path.write_bytes(page)
    with pytest.raises(DataError, match=rf"^{path}: is a web page, not the data"):
        read_cifar10(path, CONTENTS)
    folder = write_folder(tmp_path, BATCHES | {"b.bin": page})
    with pytest.raises(DataError, match=r"b\.bin: is a web page, not the data"):
        read_cifar10(folder, CONTENTS)


def test_gzip_that_is_no_archive_is_named(tmp_path):
    path = tmp_path / "c.tar.gz"
    path.write_bytes(gzip.compress(b"hello" * 1000))
    with pytest.raises(DataError, match=r"expected a gzipped tar archive"):
        read_cifar10(path, CONTENTS)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_archive_bomb_is_refused_without_unpacking_it(tmp_path, monkeypatch, kind):
    """A member that declares 8 GB of zeros, as data to skip or as a name to hold in memory."""
    monkeypatch.setitem(archive.LARGEST, "cifar-10-batches-bin", 1 << 20)
    path = tmp_path / "c.tar.gz"
    header = tarfile.TarInfo("cifar-10-batches-bin/a.txt")
    header.type, header.size = kind, 8 << 30
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(32):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="unpacks to more than 1,048,576 bytes"):
            read_cifar10(path, CONTENTS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


# --- loading, listing, verifying complete sets --------------------------------------------------


def tiny_idx(name: str, mirrors: tuple[str, ...] = ()) -> tuple[Entry, dict[str, bytes]]:
    """A data set in MNIST's format with six images, and its files as served."""
    rng = np.random.default_rng(5)
    served, downloads, files = {}, [], {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
        labels = rng.integers(0, 10, 6, dtype=np.uint8)
        for kind, array in ((f"{prefix}-images", images), (f"{prefix}-labels", labels)):
            raw = idx_bytes(array)
            inner = content_of(f"{kind}-idx{array.ndim}-ubyte", raw)
            files.setdefault(split, []).append(inner)
            packed = gzip.compress(raw, mtime=0)
            outer = content_of(f"{inner.name}.gz", packed)
            served[outer.name] = packed
            downloads.append(Download(outer.name, outer.size, outer.digest, mirrors, (inner,)))
    entry = dataclasses.replace(
        CATALOG[name],
        shape=(1, 5, 4),
        counts={"train": 6, "test": 6},
        files={split: tuple(contents) for split, contents in files.items()},
        downloads=tuple(downloads),
    )
    return entry, served


@pytest.fixture
def tiny_mnist(monkeypatch):
    entry, served = tiny_idx("mnist")
    monkeypatch.setitem(catalog.CATALOG, "mnist", entry)
    return served


@pytest.fixture
def tiny_cifar(monkeypatch):
    entry = dataclasses.replace(
        CATALOG["cifar10"],
        counts={"train": 3, "test": 2},
        files={"train": CONTENTS[:1], "test": CONTENTS[1:]},
        downloads=(Download("cifar-10-binary.tar.gz", 1, "0" * 64, (), CONTENTS),),
    )
    monkeypatch.setitem(catalog.CATALOG, "cifar10", entry)


def put(folder: Path, files: dict[str, bytes], unpack: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        if unpack:
            (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(raw))
        else:
            (folder / name).write_bytes(raw)


@pytest.mark.parametrize("unpack", [False, True])
@pytest.mark.parametrize("subfolder", ["", "mnist"])
def test_complete_set_is_found(tmp_path, tiny_mnist, monkeypatch, subfolder, unpack):
    put(tmp_path / subfolder, tiny_mnist, unpack)
    train, test = data.load("mnist", tmp_path), data.load("mnist", tmp_path, "test")
    assert train.images.shape == test.images.shape == (6, 1, 5, 4)
    assert not np.array_equal(train.images, test.images)
    assert train.labels.dtype == np.int64
    name = "train-images-idx3-ubyte" + ("" if unpack else ".gz")
    assert train.source == str(tmp_path / subfolder / name)
    monkeypatch.setenv("MINISN_DATA", str(tmp_path))
    assert np.array_equal(data.load("mnist").images, train.images)


def test_files_that_a_browser_unpacked_and_left_their_names_are_sound(tmp_path, tiny_mnist):
    put(tmp_path, {name: gzip.decompress(raw) for name, raw in tiny_mnist.items()})
    assert len(data.load("mnist", tmp_path).images) == 6
    assert [report.ok for report in data.verify("mnist", tmp_path)] == [True] * 4


def test_web_page_in_place_of_a_file_is_told_with_the_command(tmp_path, tiny_mnist):
    put(tmp_path, tiny_mnist)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(b"<!doctype HTML>\n<p>Please log in")
    with pytest.raises(DataError, match=rf"{path}: is a web page.*; run `minisn data fetch mnist"):
        data.load("mnist", tmp_path)
    report = data.verify("mnist", tmp_path)[0]
    assert not report.ok and report.detail.startswith("is a web page")


def test_absent_set_names_the_command(tmp_path):
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte\.gz or .*minisn data fetch m"):
        data.load("mnist")
    with pytest.raises(DataError, match=rf"data fetch cifar10 --data-dir {tmp_path}` \(170 MB\)"):
        data.load("cifar10", tmp_path)


def test_altered_set_names_the_file_and_the_command(tmp_path, tiny_mnist):
    put(tmp_path, tiny_mnist, unpack=True)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(altered(path.read_bytes()))
    with pytest.raises(DataError, match=rf"{path}: altered.*; run `minisn data fetch mnist --dat"):
        data.load("mnist", tmp_path)


def test_verify_tells_each_file(tmp_path, tiny_mnist):
    put(tmp_path / "mnist", tiny_mnist)
    assert [report.ok for report in data.verify("mnist", tmp_path)] == [True] * 4
    (tmp_path / "mnist/train-labels-idx1-ubyte.gz").unlink()
    path = tmp_path / "mnist/t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(altered(gzip.decompress(path.read_bytes()))))
    reports = {report.path.name: report for report in data.verify("mnist", tmp_path)}
    assert [report.ok for report in reports.values()] == [True, False, False, True]
    assert reports["train-labels-idx1-ubyte.gz"].detail == "missing"
    assert reports["t10k-images-idx3-ubyte.gz"].detail.startswith("altered, its SHA-256 is ")


def test_cifar_loads_and_verifies_as_folder_and_as_archive(tmp_path, tiny_cifar):
    write_folder(tmp_path / "cifar10", BATCHES)
    from_folder = data.load("cifar10", tmp_path, "test")
    assert from_folder.labels.tolist() == [0, 7]
    assert len(data.verify("cifar10", tmp_path)) == 2
    path = write_archive(tmp_path / "cifar10/cifar-10-binary.tar.gz", inside(BATCHES))
    from_archive = data.load("cifar10", tmp_path, "test")
    assert from_archive.source == str(path)
    assert np.array_equal(from_archive.images, from_folder.images)
    assert [(report.path, report.ok) for report in data.verify("cifar10", tmp_path)] == [
        (path, True)
    ]
    write_archive(path, inside(BATCHES | {"b.bin": b""}))
    (report,) = data.verify("cifar10", tmp_path)
    assert not report.ok
    assert report.detail == "b.bin: cut short, 0 bytes; expected 6,146"


def test_list_tells_what_is_here(tmp_path, tiny_mnist):
    put(tmp_path, tiny_mnist)
    listing = {item.name: item for item in data.list_datasets(tmp_path)}
    assert list(listing) == [
        "mnist-10k",
        "cifar10-2k",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "stl10",
    ]
    assert {name for name, item in listing.items() if item.shipped} == {"mnist-10k", "cifar10-2k"}
    assert listing["mnist"].present
    assert not listing["cifar10"].present
    assert listing["cifar10"].download_bytes == 170_052_171
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    assert not data.list_datasets(tmp_path)[2].present


# --- downloads ----------------------------------------------------------------------------------


class Server:
    """Serves files on the loopback, honouring Range, in a way that each test chooses.

    The first part of an address is the mirror; `manners` says how each behaves: "good",
    "absent", "wrong" (other bytes), "cut" (half of what is asked, then gone), "no range",
    "endless" (zeros, of no declared length) or "interrupt" (half of the file, then a Ctrl-C
    in the main thread, then silence).
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.manners, self.asked = files, {}, []
        self.release, self.hung_up, self.arrived = (threading.Event() for _ in range(3))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def mirror(self, name: str, manner: str) -> str:
        self.manners[name] = manner
        return f"http://127.0.0.1:{self.http.server_port}/{name}/"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        mirror, name = request.path.lstrip("/").split("/")
        manner, asked = self.manners[mirror], request.headers.get("Range")
        self.asked.append((mirror, name, asked))
        if manner == "absent":
            request.send_error(404)
            return
        whole = self.files[name]
        if manner == "wrong":
            whole = altered(whole)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if manner == "no range":
            asked, start = None, 0
        body = bytes(32 << 20) if manner == "endless" else whole[start:]
        request.send_response(206 if asked else 200)
        if asked:
            request.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        if manner != "endless":
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        try:
            if manner in ("cut", "interrupt"):
                body = body[: len(body) // 2]
            request.wfile.write(body)
            if manner == "interrupt":
                self.arrived.wait(600)
                self.release.wait(0.5)  # the client waits for more by then
                _thread.interrupt_main()
                self.release.wait(900)
        except ConnectionError:
            self.hung_up.set()

    def close(self) -> None:
        self.release.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    files = {
        f"file-{n}.gz": gzip.compress(np.random.default_rng(n).bytes(150_000), mtime=0)
        for n in (1, 2)
    }
    served = Server(files)
    yield served
    served.close()


@pytest.fixture
def offer(server, monkeypatch):
    """Put a data set of two files, from the given mirrors, into the catalog."""

    def make(**manners: str) -> None:
        mirrors = tuple(server.mirror(name, manner) for name, manner in manners.items())
        downloads = []
        for name, packed in server.files.items():
            outer = content_of(name, packed)
            inner = content_of(name.removesuffix(".gz"), gzip.decompress(packed))
            downloads.append(Download(name, outer.size, outer.digest, mirrors, (inner,)))
        files = {"train": tuple(download.contents[0] for download in downloads)}
        entry = dataclasses.replace(CATALOG["mnist"], files=files, downloads=tuple(downloads))
        monkeypatch.setitem(catalog.CATALOG, "mnist", entry)

    return make


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_fetch_gets_every_file_with_a_progress_bar(server, offer, tmp_path, capsys):
    offer(first="good")
    reports = data.fetch("mnist", tmp_path / "new")
    assert [report.ok for report in reports] == [True, True]
    assert files_in(tmp_path / "new/mnist") == server.files
    bar = capsys.readouterr().err
    assert "file-1.gz: 100%" in bar
    assert "file-2.gz: 100%" in bar


def test_fetch_leaves_sound_files_alone(server, offer, tmp_path, capsys):
    offer(first="good")
    repacked = gzip.compress(gzip.decompress(server.files["file-1.gz"]), compresslevel=1)
    put(tmp_path, {"file-1.gz": repacked})
    data.fetch("mnist", tmp_path, progress=False)
    assert [name for _, name, _ in server.asked] == ["file-2.gz"]
    assert files_in(tmp_path / "mnist").keys() == {"file-2.gz"}
    assert capsys.readouterr().err == ""


def test_fetch_replaces_a_damaged_file_and_keeps_it(server, offer, tmp_path):
    offer(first="good")
    put(tmp_path / "mnist", server.files | {"file-2.gz": b"damaged"})
    data.fetch("mnist", tmp_path, progress=False)
    assert files_in(tmp_path / "mnist") == server.files | {"file-2.gz.bad": b"damaged"}


def test_fetch_tries_the_next_mirror(server, offer, tmp_path):
    offer(first="absent", second="wrong", third="good")
    data.fetch("mnist", tmp_path, progress=False)
    assert [mirror for mirror, name, _ in server.asked if name == "file-1.gz"] == [
        "first",
        "second",
        "third",
    ]
    assert files_in(tmp_path / "mnist") == server.files


def test_fetch_refuses_a_wrong_file_and_leaves_nothing(server, offer, tmp_path):
    offer(first="wrong", second="absent")
    expected = hashlib.sha256(server.files["file-1.gz"]).hexdigest()
    with pytest.raises(
        DataError, match=rf"first/: SHA-256 is .*expected {expected}; .*second/: .*404"
    ):
        data.fetch("mnist", tmp_path, progress=False)
    assert files_in(tmp_path / "mnist") == {}


def test_fetch_goes_on_where_it_was_cut(server, offer, tmp_path):
    offer(first="cut")
    with pytest.raises(DataError, match=r"file-1\.gz: no mirror sent it .*bytes missing"):
        data.fetch("mnist", tmp_path, progress=False)
    whole = server.files["file-1.gz"]
    kept = files_in(tmp_path / "mnist")["file-1.gz.part"]
    assert len(kept) > 0.9 * len(whole)  # half, a quarter, ... within the one call
    assert whole.startswith(kept)
    server.asked.clear()
    offer(second="good")
    data.fetch("mnist", tmp_path, progress=False)
    assert server.asked == [
        ("second", "file-1.gz", f"bytes={len(kept)}-"),
        ("second", "file-2.gz", None),
    ]
    assert files_in(tmp_path / "mnist") == server.files


def test_fetch_starts_over_when_the_part_is_of_another_file(server, offer, tmp_path):
    offer(first="good")
    put(tmp_path / "mnist", {"file-1.gz.part": b"x" * 99, "file-2.gz.part": b"x" * 999_999})
    data.fetch("mnist", tmp_path, progress=False)
    assert server.asked == [
        ("first", "file-1.gz", "bytes=99-"),
        ("first", "file-1.gz", None),
        ("first", "file-2.gz", None),
    ]
    assert files_in(tmp_path / "mnist") == server.files


def test_fetch_starts_over_when_the_server_cannot_resume(server, offer, tmp_path):
    offer(first="no range")
    put(tmp_path / "mnist", {"file-1.gz.part": server.files["file-1.gz"][:5000]})
    data.fetch("mnist", tmp_path, progress=False)
    assert files_in(tmp_path / "mnist") == server.files


def test_fetch_places_a_part_that_was_complete(server, offer, tmp_path):
    offer(first="absent")
    put(tmp_path / "mnist", {f"{name}.part": raw for name, raw in server.files.items()})
    data.fetch("mnist", tmp_path, progress=False)
    assert server.asked == []
    assert files_in(tmp_path / "mnist") == server.files


def test_fetch_stops_an_endless_file(server, offer, tmp_path):
    offer(first="endless")
    with pytest.raises(DataError, match=r"sends more than|SHA-256"):
        data.fetch("mnist", tmp_path, progress=False)
    assert server.hung_up.wait(600)  # which its thread may learn after we do
    limit = len(server.files["file-1.gz"])
    assert all(len(raw) <= limit for raw in files_in(tmp_path / "mnist").values())
    offer(second="good")
    data.fetch("mnist", tmp_path, progress=False)
    assert files_in(tmp_path / "mnist") == server.files


def test_ctrl_c_stops_a_stalled_download_and_keeps_its_part(server, offer, tmp_path, monkeypatch):
    def handle(pycurl, url, start, write):
        return new_handle(pycurl, url, start, lambda data: (write(data), server.arrived.set())[0])

    fetching = importlib.import_module("minisn.data.fetch")  # the package has a function so named
    new_handle = fetching._new_handle
    monkeypatch.setattr(fetching, "_new_handle", handle)
    offer(first="interrupt")
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        data.fetch("mnist", tmp_path, progress=False)
    assert time.monotonic() - begun < 600  # the server would stay silent for 900 s
    kept = files_in(tmp_path / "mnist")["file-1.gz.part"]
    assert len(kept) > 0
    assert server.files["file-1.gz"].startswith(kept)


def test_fetch_names_a_folder_it_cannot_write(offer, tmp_path):
    offer(first="good")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"mnist: cannot write .*/file/mnist: Not a directory; "):
        data.fetch("mnist", tmp_path / "file", progress=False)


def test_fetch_names_a_read_only_folder(offer, tmp_path):
    import pycurl  # noqa: F401 - at home, before root's rights are laid down

    offer(first="good")
    tmp_path.chmod(0o500)
    user = os.geteuid()
    if user == 0:  # nothing is read-only to root
        os.seteuid(65534)
    try:
        with pytest.raises(DataError, match=r"mnist: cannot write .*: Permission denied; free "):
            data.fetch("mnist", tmp_path, progress=False)
        assert not data.list_datasets(tmp_path)[2].present
    finally:
        os.seteuid(user)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_fetch_names_a_full_disk(offer, tmp_path):
    offer(first="good")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/file-1.gz.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"No space left on device; free some space"):
        data.fetch("mnist", tmp_path, progress=False)


def test_fetch_without_its_library_says_how_to_get_it(offer, tmp_path, monkeypatch):
    offer(first="good")
    monkeypatch.setitem(sys.modules, "pycurl", None)
    with pytest.raises(ConfigError, match=r"run: pip install 'minisn\[download\]'$"):
        data.fetch("mnist", tmp_path, progress=False)


def test_fetch_of_a_shipped_sample_is_refused():
    with pytest.raises(ConfigError, match="mnist-10k ships with minisn"):
        data.fetch("mnist-10k")


# --- pixels -------------------------------------------------------------------------------------


def test_scaling_is_exact_and_undone_exactly():
    pixels = np.arange(256, dtype=np.uint8)
    x = data.scale_images(pixels)
    assert x.dtype == np.float32
    assert (x[0], x[255]) == (-1, 1)
    np.testing.assert_allclose(x, np.arange(256) / 127.5 - 1, atol=1e-7)
    assert np.array_equal(data.unscale_images(x), pixels)
    assert pixels[255] == 255  # the argument is left as it was


def test_dequantized_pixels_lie_anywhere_in_their_share_of_the_range():
    pixels = np.arange(256, dtype=np.uint8).repeat(1000)
    x = data.dequantize_images(pixels, np.random.default_rng(0))
    within = (x.astype(float) + 1) * 128 - pixels  # to be uniform in [0, 1)
    assert x.dtype == np.float32 and x.max() <= 1
    assert within.min() >= -1e-5 and within.max() <= 1 + 1e-5
    counts = np.histogram(within, 10, (0, 1))[0]
    assert abs(counts - 25_600).max() < 5 * np.sqrt(25_600)
    again = data.dequantize_images(pixels, np.random.default_rng(0))
    np.testing.assert_array_equal(x, again)
    with pytest.raises(DTypeError, match="dequantize_images: images are float32"):
        data.dequantize_images(np.zeros(3, np.float32), np.random.default_rng(0))


def test_unscaling_rounds_and_clips():
    x = np.array([[-7, -1, 0.5 / 127.5 - 0.99999999], [1.49 / 127.5 - 1, 1, 9]])
    assert data.unscale_images(x).tolist() == [[0, 0, 1], [1, 255, 255]]


def test_wrong_pixels_are_refused():
    with pytest.raises(DTypeError, match="images are float32; expected uint8"):
        data.scale_images(np.zeros(3, np.float32))
    for bad in (np.nan, np.inf):
        with pytest.raises(NonFiniteError, match="x holds a NaN or an infinity"):
            data.unscale_images(np.array([0, bad]))


# --- batches ------------------------------------------------------------------------------------

ROWS = np.arange(11)[:, None] * np.ones(3, np.uint8)


def test_each_epoch_is_a_new_order_of_the_images():
    stream = data.BatchStream(ROWS, 3, seed=1)
    epochs = [[next(stream)[:, 0].tolist() for _ in range(3)] for _ in range(20)]
    for epoch in epochs:
        assert len({row for batch in epoch for row in batch}) == 9  # 2 of 11 are left over
    assert len({str(epoch) for epoch in epochs}) == 20
    assert len({row for epoch in epochs for batch in epoch for row in batch}) == 11


def test_batches_keep_dtype_and_are_copies():
    stream = data.BatchStream(data.load("mnist-10k").images, 64)
    batch = next(stream)
    assert batch.shape == (64, 1, 28, 28)
    assert batch.dtype == np.uint8
    batch[:] = 0


def take(stream: data.BatchStream, count: int) -> list[list[int]]:
    return [stream.next_indices().tolist() for _ in range(count)]


def test_stream_depends_on_its_seed_alone():
    first = take(data.BatchStream(ROWS, 4, seed=5), 9)
    np.random.seed(8)  # noqa: NPY002 - the global generator must neither matter nor move
    before = np.random.get_state()[1:3]  # noqa: NPY002
    assert take(data.BatchStream(ROWS, 4, seed=5), 9) == first
    assert take(data.BatchStream(ROWS, 4, seed=6), 9) != first
    after = np.random.get_state()[1:3]  # noqa: NPY002
    assert np.array_equal(after[0], before[0])
    assert after[1] == before[1]


@pytest.mark.parametrize("taken", range(10))
def test_stream_goes_on_from_a_saved_state(taken):
    stream = data.BatchStream(ROWS, 3, seed=2)
    take(stream, taken)
    state = json.loads(json.dumps(stream.state()))
    other = data.BatchStream(ROWS, 3, seed=77)
    take(other, 4)
    other.load_state(state)
    assert other.state() == state
    assert take(other, 12) == take(stream, 12)


def test_state_of_another_stream_is_refused():
    stream = data.BatchStream(ROWS, 3)
    good = stream.state()
    for change, message in (
        ({"size": 12}, "has size 12; expected 11"),
        ({"batch_size": 4}, "has batch_size 4; expected 3"),
        ({"position": 4}, "out of range.*position at most 3"),
        ({"epoch": -1}, "out of range"),
        ({"other": 1}, r"has \['batch_size', 'epoch', 'other'"),
    ):
        with pytest.raises(CheckpointError, match=message):
            stream.load_state(good | change)
    with pytest.raises(CheckpointError, match=r"has \[\]; expected \['batch_size', 'epoch'"):
        stream.load_state({})
    assert stream.state() == good


def test_impossible_batches_are_refused():
    with pytest.raises(ConfigError, match="batch_size is 0; expected at least 1"):
        data.BatchStream(ROWS, 0)
    with pytest.raises(
        ConfigError, match="batch_size is 12; expected at most 11, the number of images"
    ):
        data.BatchStream(ROWS, 12)
    with pytest.raises(ConfigError, match="seed is -1; expected 0 or greater"):
        data.BatchStream(ROWS, 3, seed=-1)


# --- the complete sets, where MINISN_DATA holds them --------------------------------------------


def complete(name: str) -> str:
    """The folder that holds a complete data set, or skip."""
    if not FULL_DATA:
        pytest.skip("MINISN_DATA is not set, so there are no complete data sets to check")
    if not {item.name: item for item in data.list_datasets(FULL_DATA)}[name].present:
        pytest.skip(f"MINISN_DATA holds no complete {name}")
    return FULL_DATA


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_complete_set_is_as_published(name):
    folder = complete(name)
    assert all(report.ok for report in data.verify(name, folder))
    for split, count in CATALOG[name].counts.items():
        found = data.load(name, folder, split)
        assert found.images.shape == (count, *CATALOG[name].shape)
        counts = np.bincount(found.labels)
        assert counts.sum() == count
        if name != "mnist":
            assert counts.tolist() == [count // 10] * 10


def test_sample_of_digits_is_the_start_of_mnist():
    whole, sample = data.load("mnist", complete("mnist")), data.load("mnist-10k")
    first = {(i.tobytes(), k) for i, k in zip(whole.images[:10_000], whole.labels, strict=False)}
    assert {(i.tobytes(), k) for i, k in zip(sample.images, sample.labels, strict=True)} == first


def test_sample_of_photographs_is_the_part_of_cifar10_it_says():
    whole, sample = data.load("cifar10", complete("cifar10")), data.load("cifar10-2k")
    path = embedded.PACKAGE_FOLDER / "cifar10-2k.npz"
    with np.load(path, allow_pickle=False) as arrays:
        index = arrays["index"]
    rng = np.random.default_rng(10)
    places = [np.flatnonzero(whole.labels == label) for label in range(10)]
    chosen = np.concatenate([rng.choice(place, 200, replace=False) for place in places])
    rng.shuffle(chosen)
    assert np.array_equal(index, chosen)
    assert np.array_equal(sample.images, whole.images[index])
    assert np.array_equal(sample.labels, whole.labels[index])


def test_pixels_are_not_made_pixels_again():
    with pytest.raises(DTypeError, match=r"expected floats in \[-1, 1\], got dtype uint8"):
        data.unscale_images(np.zeros((1, 1, 2, 2), np.uint8))


def test_a_home_folder_that_does_not_exist_is_one_clear_line():
    with pytest.raises(ConfigError, match="no such home folder"):
        data.resolve_data_dir("~nobody-of-this-name/x")
