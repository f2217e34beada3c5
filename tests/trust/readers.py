"""Every function of minisn that reads foreign bytes: how to call it, and inputs to start from.

A reader may return, or raise one of the library's own errors. Anything else is a defect: another
error, a file opened for writing elsewhere, a new process, or memory beyond :data:`MEMORY`.
"""

import contextlib
import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import tomli_w

from minisn import checkpoint, runs
from minisn.cli.evaluate import _read_features
from minisn.config import load_config, load_preset, parse_settings
from minisn.data import archive, storage
from minisn.data.catalog import CIFAR_FOLDER, STL_FOLDER, Content
from minisn.data.cifar import read_cifar10
from minisn.data.idx import read_idx
from minisn.data.stl import read_stl10
from minisn.metrics import measure_features
from minisn.study.cells import RESULT, read_result
from minisn.training import Trainer

MEMORY = 1 << 30
"""Bytes that a reader may allocate."""


@dataclass(frozen=True)
class Reader:
    """A way into the library.

    Args:
        read: reads a file.
        name: name that the file must have.
        seeds: returns inputs that are right, or nearly right; the first is right.
    """

    read: Callable[[Path], object]
    name: str
    seeds: Callable[[], list[bytes]]


@contextlib.contextmanager
def forged() -> Iterator[None]:
    """Accept every digest: no fuzzer finds a right one, and the code behind it must be tried."""
    with (
        mock.patch.object(storage, "_check_digest"),
        mock.patch.object(checkpoint, "_digest", return_value="forged"),
    ):
        yield


# -- data sets ---------------------------------------------------------------------------------

IDX_SHAPE = (3, 4, 5)
BATCH = Content("data_batch_1.bin", 2 * 3073, "")
PICTURES, LABELS = Content("train_X.bin", 2 * 3 * 96 * 96, ""), Content("train_y.bin", 2, "")


def _idx() -> list[bytes]:
    header = bytes((0, 0, 8, 3)) + struct.pack(">3I", *IDX_SHAPE)
    return [header + bytes(range(60)), header, b""]


def _tar(folder: str, **files: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name.replace('__', '.')}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def _cifar() -> list[bytes]:
    return [_tar(CIFAR_FOLDER, data_batch_1__bin=bytes(BATCH.size)), _tar("elsewhere", x=b"1")]


def _stl() -> list[bytes]:
    return [_tar(STL_FOLDER, train_X__bin=bytes(PICTURES.size), train_y__bin=b"\1\n")]


def _repacked(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Compress the fuzzer's input first, because raw input would fail gzip's own checks."""

    def inner(path: Path) -> object:
        packed = path.with_suffix(".tar.gz")
        packed.write_bytes(gzip.compress(path.read_bytes(), 0))
        return read(packed)

    return inner


# -- checkpoints and runs ----------------------------------------------------------------------


def _trainer() -> Trainer:
    config = load_preset("mnist-tiny").replace(width=2, features=8, latent=4, batch_size=2)
    return Trainer(config, np.zeros((4, 1, 28, 28), np.uint8))


def _checkpoint() -> list[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, forged():
        path = Path(folder) / "whole"
        checkpoint.save(path, _trainer())
        return [path.read_bytes()]


def _restore(path: Path) -> None:
    found = checkpoint.load(path)
    checkpoint.restore(_trainer(), found)


def _config() -> list[bytes]:
    return [
        tomli_w.dumps(load_preset("mnist").to_dict()).encode(),
        b"width = 1e400\n",
        b"[a]\n",
        b"a = " + b"[" * 5000,
        b"a = " + b"9" * 5000,
    ]


def _settings(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    load_preset("mnist").replace(**parse_settings([text]))


def _log() -> list[bytes]:
    return [
        b'{"step": 1, "loss_d": 0.5}\n{"step": 2}\n{"torn',
        b"[1]\n",
        b'{"step": 1e999}\n',
        b"[" * 20_000 + b"\n",
    ]


def _result() -> list[bytes]:
    result = {"label": {}, "config": {}, "step": 1, "seconds": 1.0, "diverged": None,
              "measures": [{"step": 1, "frechet": 2.0}]}  # fmt: skip
    return [json.dumps(result).encode(), b"[" * 20_000]


def _features(path: Path) -> None:
    sample = _read_features(path)
    measure_features(sample, sample, np.random.default_rng(0))


def _arrays() -> list[bytes]:
    rng, seeds = np.random.default_rng(0), []
    for array in (
        rng.normal(size=(6, 2)),
        np.zeros((0, 3)),
        np.array(["x"]),
        np.ones((4, 1), "i1"),
        np.full((5, 2), 1e300),
    ):
        raw = io.BytesIO()
        np.save(raw, array)
        seeds.append(raw.getvalue())
    return [
        *seeds,
        seeds[0].replace(b"}", b"("),
        seeds[0].replace(b"(6, 2)", b"(6000000, 2000000)"),
    ]


READERS = {
    "idx": Reader(lambda path: read_idx(path, IDX_SHAPE), "digits", _idx),
    "idx.gz": Reader(lambda path: read_idx(path, IDX_SHAPE), "digits.gz",
                     lambda: [gzip.compress(raw) for raw in _idx()]),
    "cifar10": Reader(_repacked(lambda path: read_cifar10(path, (BATCH,))), "cifar", _cifar),
    "cifar10.tar.gz": Reader(lambda path: read_cifar10(path, (BATCH,)), "cifar.tar.gz",
                             lambda: [gzip.compress(raw) for raw in _cifar()]),
    "stl10": Reader(_repacked(lambda path: read_stl10(path, (PICTURES, LABELS))), "stl", _stl),
    "checkpoint": Reader(_restore, "checkpoint.safetensors", _checkpoint),
    "config": Reader(load_config, "config.toml", _config),
    "setting": Reader(_settings, "setting", lambda: [b"width=16", b"rate_d = 1e-4", b"data=mnist",
                                               b"width=" + b"9" * 400, b"a=" + b"[" * 5000]),
    "log": Reader(lambda path: runs.read_log(path.parent), runs.LOG, _log),
    "result": Reader(lambda path: read_result(path.parent), RESULT, _result),
    "features": Reader(_features, "features.npy", _arrays),
}  # fmt: skip


def bounded_archives() -> contextlib.AbstractContextManager[object]:
    """Limit archives to a megabyte when unpacked, so that a decompression bomb is noticed early."""
    return mock.patch.dict(archive.LARGEST, {CIFAR_FOLDER: 1 << 20, STL_FOLDER: 1 << 20})
