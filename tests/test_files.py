"""A file is written whole or not at all, and what was in its way is told."""

import errno
import os
import threading
import time

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


def test_two_writers_at_once_leave_one_whole_file(tmp_path):
    with replacing(tmp_path / "c") as file:
        file.write(b"A" * 10)
        other = threading.Thread(target=write_file, args=(tmp_path / "c", b"BBB"))
        other.start()
        other.join()
        assert (tmp_path / "c").read_bytes() == b"BBB"
    assert (tmp_path / "c").read_bytes() == b"A" * 10
    assert os.listdir(tmp_path) == ["c"]


def test_what_a_kill_left_long_ago_is_removed(tmp_path):
    for name, age in (("c.1-2.part", 7200), ("c.3-4.part", 60), ("c.my.part", 7200)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write_file(tmp_path / "c", b"new")
    assert sorted(os.listdir(tmp_path)) == ["c", "c.3-4.part", "c.my.part"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_written_to_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_file(tmp_path / "pipe", b"content")
    reader.join()
    assert found == [b"content"] and (tmp_path / "pipe").is_fifo()
