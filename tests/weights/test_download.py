import http.server
import threading
from pathlib import Path

import pytest

from detectron2_patch.errors import InputError
from detectron2_patch.weights import download

BODY = bytes(range(256)) * 400


class Server(http.server.BaseHTTPRequestHandler):
    """Serves BODY; ``/cut`` closes half-way once, ``/whole`` ignores ranges."""

    cuts, ranges = 0, []

    def do_GET(self):
        wanted = self.headers.get("Range")
        type(self).ranges.append(wanted)
        if self.path == "/none.pkl":
            self.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted and self.path != "/whole.pkl" else 0
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        body = BODY[start:]
        if self.path == "/cut.pkl" and not self.cuts:
            type(self).cuts += 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def address(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_PATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "theirs"))
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    Server.cuts, Server.ranges = 0, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def partial_of(path):
    return path.with_name(f".{path.name}.part")


def test_fetched_once_and_whole(address):
    path = download.fetch(f"{address}/a.pkl")
    assert path.read_bytes() == BODY and not partial_of(path).exists()
    assert download.fetch(f"{address}/a.pkl") == path
    assert len(Server.ranges) == 1


def test_a_cut_connection_is_taken_up_where_it_broke(address):
    path = download.fetch(f"{address}/cut.pkl")
    assert path.read_bytes() == BODY
    assert Server.ranges == [None, f"bytes={len(BODY) // 2}-"]


@pytest.mark.parametrize("name", ["a.pkl", "whole.pkl"])
def test_a_killed_download_goes_on(address, name):
    path = download.fetch(f"{address}/{name}")
    path.rename(partial_of(path))
    partial_of(path).write_bytes(BODY[:1000])
    assert download.fetch(f"{address}/{name}").read_bytes() == BODY


def test_a_partial_file_longer_than_the_address_starts_afresh(address):
    path = download.fetch(f"{address}/a.pkl")
    path.unlink()
    partial_of(path).write_bytes(BODY + b"more")
    assert download.fetch(f"{address}/a.pkl").read_bytes() == BODY


def test_no_such_file_says_where_to_put_it(address, tmp_path):
    with pytest.raises(InputError, match="404.*put the file at .*none.pkl"):
        download.fetch(f"{address}/none.pkl")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_no_network_says_where_to_put_it(address, monkeypatch):
    monkeypatch.setattr(download, "ZOO_ADDRESS", "http://127.0.0.1:1/")
    with pytest.raises(InputError, match="put the file at .*model_final.pkl"):
        download.resolve_weights("detectron2://COCO-Detection/x/1/model_final.pkl")


def test_a_file_put_there_by_hand_is_taken(address, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "ZOO_ADDRESS", "http://127.0.0.1:1/detectron2/")
    with pytest.raises(InputError) as refusal:
        download.resolve_weights("detectron2://a/b.pkl")
    place = Path(str(refusal.value).rpartition("put the file at ")[2])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"by hand")
    assert download.resolve_weights("detectron2://a/b.pkl") == place


def test_detectron2s_own_cache_is_used(address, tmp_path):
    theirs = tmp_path / "theirs" / "detectron2" / "a.pkl"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    assert download.fetch("https://dl.fbaipublicfiles.com/detectron2/a.pkl") == theirs


def test_paths_and_other_schemes(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"x")
    assert download.resolve_weights(str(tmp_path / "a.pth")) == tmp_path / "a.pth"
    for name, named in [(str(tmp_path), "folder"), ("none.pth", "none.pth"),
                        ("http://a/b.pkl", "http"), ("s3://a/b.pkl", "s3")]:
        with pytest.raises(InputError, match=named):
            download.resolve_weights(name)
