"""A file is written whole or not at all, and what was in its way is told."""

import errno
import os

import pytest

from minisn.errors import ConfigError, DataError
from minisn.files import replacing, write_file


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    write_file(tmp_path / "c", b"new")
    assert calls == ["fsync", "replace", "fsync"]
    assert (tmp_path / "c").read_bytes() == b"new"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "c").write_bytes(b"old")
    with monkeypatch.context() as patch, pytest.raises(DataError, match="--out") as caught:
        patch.setattr(os, call, full)
        write_file(tmp_path / "c", b"new")
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'c'}: No space left on device; ")
    assert os.listdir(tmp_path) == ["c"] and (tmp_path / "c").read_bytes() == b"old"


def test_an_error_of_who_writes_is_told_as_it_is(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "c") as file:
        file.write(b"half")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_the_advice_and_the_kind_of_error_are_those_asked_for(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory; think again"):
        write_file(tmp_path / "no" / "c", b"", "think again", ConfigError)


def test_what_a_kill_left_or_a_link_is_not_written_through(tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "c.part").symlink_to(tmp_path / "other")
    write_file(tmp_path / "c", b"new")
    assert (tmp_path / "c").read_bytes() == b"new" and not (tmp_path / "c").is_symlink()
    assert (tmp_path / "other").read_bytes() == b"other"
