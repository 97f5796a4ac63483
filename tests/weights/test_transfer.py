import threading

import pytest

from detectron2_patch.errors import InputError
from detectron2_patch.weights import download, transfer

NEWER = bytes(reversed(range(256))) * 400


def leave_a_part(server, monkeypatch, name="a.pkl", length=1000):
    """Interrupt a download after ``length`` bytes, as a kill would."""
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "TRIES", 1)
        server.cuts = [length]
        with pytest.raises(InputError, match=f"{length} of {len(server.body)} bytes"):
            download.fetch(server.address + name)
    server.asked.clear()


def test_a_cut_connection_is_taken_up_where_it_broke(server):
    server.cuts = [5000, 700, 1, 1, 1, 1]  # as long as something comes
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body
    starts = [5000, 5700, 5701, 5702, 5703, 5704]
    assert server.asked == [None, *(f"bytes={start}-" for start in starts)]
    assert server.kept() == {"a.pkl"}


def test_a_killed_download_goes_on(server, monkeypatch):
    leave_a_part(server, monkeypatch)
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body
    assert server.asked == ["bytes=1000-"]


@pytest.mark.parametrize(
    "etag, date, sent",
    [
        ('"1"', "Tue, 24 Nov 2026 16:00:00 GMT", '"1"'),
        ('W/"1"', "Tue, 24 Nov 2026 16:00:00 GMT", "Tue, 24 Nov 2026 16:00:00 GMT"),
        ('W/"1"', "", None),
    ],
)
def test_the_rest_is_asked_of_the_same_file_only(server, monkeypatch, etag, date, sent):
    server.etag, server.date, server.if_range = etag, date, False
    leave_a_part(server, monkeypatch)
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body
    assert server.if_ranges[-1] == sent and server.asked == ["bytes=1000-"]


def test_a_rest_that_begins_elsewhere_is_not_joined(server, monkeypatch):
    leave_a_part(server, monkeypatch)
    server.off = 1
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body
    assert server.asked == ["bytes=1000-", None]


def test_a_server_without_ranges_sends_all_again(server, monkeypatch):
    leave_a_part(server, monkeypatch)
    server.ranges = False
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize(
    "before, after, body",
    [
        *(
            ('"1"', after, body)
            for after in ('"2"', "")
            for body in (NEWER, NEWER + b"more", NEWER[:1500], NEWER[:500])
        ),
        *(("", "", body) for body in (NEWER + b"more", NEWER[:1500], NEWER[:500])),
    ],
)
def test_a_file_that_changed_is_never_joined_to_the_old_part(
    server, monkeypatch, if_range, before, after, body
):
    server.etag, server.if_range = before, if_range
    leave_a_part(server, monkeypatch)
    server.body, server.etag = body, after
    assert download.fetch(server.address + "a.pkl").read_bytes() == body


def test_without_etag_the_size_allows_to_go_on(server, monkeypatch):
    server.etag = ""
    leave_a_part(server, monkeypatch)
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body
    assert server.asked == ["bytes=1000-"]


def test_a_part_whose_note_is_lost_is_fetched_anew(server, monkeypatch, tmp_path):
    leave_a_part(server, monkeypatch)
    (note,) = (tmp_path / "cache").rglob("*.part.json")
    note.write_text("{")
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body
    assert server.asked == [None]


def test_all_there_but_the_name_asks_for_nothing(server, monkeypatch, tmp_path):
    leave_a_part(server, monkeypatch)
    (part,) = (tmp_path / "cache").rglob("*.part")
    part.write_bytes(server.body)
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body
    assert server.asked == []


def test_a_part_longer_than_the_file_is_fetched_anew(server, monkeypatch, tmp_path):
    leave_a_part(server, monkeypatch)
    (part,) = (tmp_path / "cache").rglob("*.part")
    part.write_bytes(server.body + b"more")
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body


def test_four_failures_in_a_row_are_enough_and_the_part_stays(server):
    server.cuts = [300, 0, 0, 0, 0]
    with pytest.raises(InputError, match="closed after 300 of"):
        download.fetch(server.address + "a.pkl")
    assert len(server.asked) == 4 and server.kept() == {".a.pkl.part", ".a.pkl.part.json"}


def test_a_busy_server_is_asked_again(server):
    server.codes = [503, 429]
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body


@pytest.mark.parametrize("code", [404, 403, 410])
def test_no_such_file_says_where_to_put_it(server, code):
    server.codes = [code]
    with pytest.raises(InputError, match=f"none.pkl: .*{code}.*put the file at .*none.pkl"):
        download.fetch(server.address + "none.pkl")
    assert server.kept() == set() and len(server.asked) == 1


@pytest.mark.parametrize(
    "kind, hidden, body, named",
    [
        ("text/html; charset=utf-8", None, NEWER, "web page"),
        ("", "Content-Length", NEWER, "how much"),
        ("", None, b"", "sends nothing"),
    ],
)
def test_an_answer_that_is_no_file_is_refused(server, kind, hidden, body, named):
    server.kind, server.hidden, server.body = kind, hidden, body
    with pytest.raises(InputError, match=named):
        download.fetch(server.address + "a.pkl")
    assert server.kept() == set() and len(server.asked) == 1


def test_redirects_are_followed(server):
    server.codes = [302]
    assert download.fetch(server.address + "a.pkl").read_bytes() == server.body


def test_a_stalled_server_ends_in_one_line(server, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", 0.05)
    monkeypatch.setattr(transfer, "TRIES", 1)
    release = threading.Event()
    monkeypatch.setattr(server.RequestHandlerClass, "do_GET", lambda self: release.wait(5))
    with pytest.raises(InputError, match="timed out.*put the file at"):
        download.fetch(server.address + "a.pkl")
    release.set()


def test_https_that_leaves_https_is_refused(monkeypatch):
    class Response:
        url = "http://127.0.0.1/a.pkl"

    monkeypatch.setattr(transfer.urllib.request, "urlopen", lambda *a, **k: Response())
    with pytest.raises(transfer.TransferError, match="isn't https"):
        transfer._open("https://host/a.pkl", 0, None)
