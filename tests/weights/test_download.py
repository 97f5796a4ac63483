import string
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.errors import InputError
from detectron2_patch.weights import download


def test_fetched_once_and_whole(server):
    path = download.fetch(server.address + "a.pkl")
    assert path.read_bytes() == server.body and server.kept() == {"a.pkl"}
    assert download.fetch(server.address + "a.pkl") == path
    assert server.asked == [None]


def test_two_at_once_fetch_once(server):
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(download.fetch(server.address + "a.pkl")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1 and len(paths) == 6 and paths[0].read_bytes() == server.body
    assert server.asked == [None]


def test_a_file_put_there_by_hand_is_taken(server, monkeypatch):
    monkeypatch.setattr(download, "ZOO_ADDRESS", "http://127.0.0.1:1/detectron2/")
    with pytest.raises(InputError, match="refused.*put the file at .*b.pkl") as refusal:
        download.resolve_weights("detectron2://a/b.pkl")
    assert server.slept == []  # a machine without a network is told at once
    place = Path(str(refusal.value).rpartition("put the file at ")[2])
    place.write_bytes(b"by hand")
    assert download.resolve_weights("detectron2://a/b.pkl") == place


def test_detectron2s_own_cache_is_used_for_the_zoo_only(tmp_path, server):
    for folder in ("detectron2", "other"):
        (tmp_path / "theirs" / folder).mkdir(parents=True)
        (tmp_path / "theirs" / folder / "a.pkl").write_bytes(b"theirs")
    theirs = tmp_path / "theirs" / "detectron2" / "a.pkl"
    assert download.resolve_weights("detectron2://a.pkl") == theirs
    assert download.fetch(server.address + "other/a.pkl").read_bytes() == server.body


def test_a_cache_that_cannot_be_written_names_its_variable(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DETECTRON2_PATCH_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(InputError, match="cannot write .*DETECTRON2_PATCH_CACHE"):
        download.fetch(server.address + "a.pkl")


def test_queries_are_files_of_their_own(server):
    first, second = (download.fetch(f"{server.address}a.pkl?v={v}") for v in (1, 2))
    assert first != second and first.read_bytes() == second.read_bytes() == server.body


@given(st.text(string.ascii_letters + string.punctuation, max_size=30))
def test_every_address_stays_in_the_cache_or_is_refused(text):
    try:
        path = download.cached_path(f"https://{text}")
    except InputError:
        return
    root = download.cache_dir("weights")
    assert path.is_relative_to(root) and ".." not in path.relative_to(root).parts


def test_no_path_climbs_out_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_PATCH_CACHE", str(tmp_path))
    path = download.cached_path("https://host/../../a.pkl")
    assert path == tmp_path / "weights" / "host" / "_" / "_" / "a.pkl"


def test_paths_and_other_schemes(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"x")
    assert download.resolve_weights(str(path)) == path
    assert download.resolve_weights(f"{path}?matching_heuristics=True") == path
    for name, named in [
        (str(tmp_path), "folder"),
        ("none.pth", "none.pth"),
        ("https://", "file"),
        ("https://host/", "file"),
        ("https://[a/b.pkl", "file"),
        ("http://a/b.pkl", "scheme http;"),
        ("s3://a/b.pkl", "s3"),
        ("catalog://a", "catalog"),
        ("detectron2://", "file"),
    ]:
        with pytest.raises(InputError, match=named):
            download.resolve_weights(name)
