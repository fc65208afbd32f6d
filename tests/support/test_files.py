"""Files are whole or not there."""

import os
import stat

import pytest

from lrp_hooks import ArgumentError
from lrp_hooks.support.files import check_writable, write_whole


def test_all_or_none(tmp_path):
    (tmp_path / "first").write_bytes(b"old")
    with pytest.raises(ArgumentError, match="nosuch"):
        write_whole({tmp_path / "first": b"new", tmp_path / "nosuch" / "b": b""})
    assert (tmp_path / "first").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["first"]


def test_writes_and_leaves_nothing_beside(tmp_path):
    write_whole({tmp_path / "a": b"1", str(tmp_path / "b"): b"2"})
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "b").read_bytes() == b"2"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_whole({tmp_path / "link": b"new"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_device_stays_a_device():
    write_whole({os.devnull: b"gone"})
    check_writable(os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_checking_changes_nothing(tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    check_writable(tmp_path / "old")
    check_writable(tmp_path / "new")
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["", "nosuch/file", "a\0b", "file/below"])
def test_bad_paths_are_named(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArgumentError, match="cannot be written"):
        check_writable(f"{tmp_path}/{name}")


def test_long_names_are_fine(tmp_path):
    write_whole({tmp_path / ("n" * 255): b"1"})
    assert (tmp_path / ("n" * 255)).read_bytes() == b"1"
