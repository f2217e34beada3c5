"""Every reader reads its seeds and all inputs that the fuzzer found, or refuses them in words."""

import contextlib
from pathlib import Path

import pytest
from readers import READERS, bounded_archives, forged

from minisn.errors import MinisnError

CASES = Path(__file__).parent / "cases"


def inputs():
    for name, reader in READERS.items():
        yield from ((name, seed) for seed in reader.seeds())
        yield from ((name, path.read_bytes()) for path in sorted((CASES / name).glob("*")))


@pytest.mark.parametrize(
    ("name", "raw"), list(inputs()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_reads_or_refuses(name, raw, tmp_path, plain_kernels):
    path = tmp_path / READERS[name].name
    path.write_bytes(raw)
    with forged(), bounded_archives(), contextlib.suppress(MinisnError):
        READERS[name].read(path)
    assert set(tmp_path.iterdir()) <= {path, path.with_suffix(".tar.gz")}


@pytest.mark.parametrize("name", list(READERS))
def test_the_first_seed_is_read(name, tmp_path, plain_kernels):
    path = tmp_path / READERS[name].name
    path.write_bytes(READERS[name].seeds()[0])
    with forged(), bounded_archives():
        READERS[name].read(path)
