import os
from pathlib import Path

import pytest

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import atomic_write, sha256, shown_path


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a"
    with atomic_write(path) as file:
        file.write(b"first")
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"first" and os.listdir(path.parent) == ["a"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    current = os.umask(0)
    os.umask(current)
    return current


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), atomic_write(tmp_path / "file" / "a"):
        pass


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_paths_are_shown_without_the_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent / "someone"))
    assert shown_path(tmp_path / "a" / "b") == "a/b"
    assert shown_path("../c") == "../c"
    assert shown_path(Path.home() / "d") == "~/d"
    assert shown_path("/elsewhere/e") == "/elsewhere/e"
    assert shown_path("~0") == "~0"
