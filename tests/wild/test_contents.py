"""Pictures swapped for others of equal byte size, and results from before that was noticed."""

import json
import os

import pytest

from detectron2_patch.data import contents
from detectron2_patch.errors import InputError
from detectron2_patch.results.file import find_clean, load_results, write_result
from detectron2_patch.results.identity import check_one_model, older_name, result_name
from detectron2_patch.utils.files import sha256


@pytest.fixture(autouse=True)
def bitmaps(tiny, edit):
    """The tiny dataset's pictures without compression: all have the same number of bytes."""
    from PIL import Image

    for one in (tiny / "images").iterdir():
        Image.open(one).save(one.with_suffix(".bmp"))
        one.unlink()
    edit(lambda d: [i.update(file_name=f"{i['id']}.bmp") for i in d["images"]])


def swap(tiny):
    folder = tiny / "images"
    for old, new in (("1", "x"), ("3", "1"), ("x", "3")):
        (folder / f"{old}.bmp").rename(folder / f"{new}.bmp")


def written(tiny):
    return {path.name for path in (tiny / "results").glob("*.json")}


def test_a_sweep_does_swapped_pictures_again(call, tiny):
    assert call("sweep")[0] == 0
    before = written(tiny)
    assert call("sweep")[0] == 0 and written(tiny) == before
    swap(tiny)
    assert call("sweep")[0] == 0
    after = written(tiny)
    assert before < after and len(after) == 2 * len(before)
    with pytest.raises(InputError, match="the same with other images of the same names"):
        check_one_model(load_results(tiny / "results"))


def test_the_clean_result_is_of_the_same_pictures(call, tiny, train_net, command, capsys):
    assert call("train_net")[0] == 0
    swap(tiny)
    assert train_net.main(command("--cr", "2", "1", "1", "1", "1")) == 0
    assert "against the clean pyramid: " not in capsys.readouterr().out


def without_content(tiny):
    """As an older version wrote it, in a folder of its own."""
    (path,) = (tiny / "results").glob("*.json")
    result = json.loads(path.read_text())
    del result["dataset"]["content"]
    path.unlink()
    path.with_name(result_name(result)).write_text(json.dumps(result))
    return result


def test_older_results_are_compared_among_themselves_and_with_new_ones(call, tiny):
    assert call("train_net")[0] == 0
    (new,) = load_results(tiny / "results")
    older = without_content(tiny)
    assert result_name(older) == older_name(new) != result_name(new)
    check_one_model([older, older])
    check_one_model([older, new])
    damaged = {**new, "setting": {**new["setting"], "cr": {**new["setting"]["cr"], "p2": 2}}}
    assert find_clean(damaged, tiny / "results") == older


def test_a_sweep_takes_no_older_result_for_one_of_these_pictures(
    call, tiny, sweep, command, capsys
):
    assert call("train_net")[0] == 0
    without_content(tiny)
    assert sweep.main(command("--grid", "1")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "didn't look into the images; --overwrite replaces" in said
    assert sweep.main(command("--grid", "1", "--overwrite")) == 0 and len(written(tiny)) == 1


def test_the_same_evaluation_again_replaces_the_older_ones_file(call, tiny):
    assert call("train_net")[0] == 0
    older = without_content(tiny)
    new = {**older, "dataset": {**older["dataset"], "content": "0"}}
    write_result(new, tiny / "results")
    assert written(tiny) == {result_name(new)}


def test_large_folders_are_hashed_once(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_PATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "SMALL", 0)
    names, folder = ["1.bmp", "2.bmp", "3.bmp"], tiny / "images"
    hashed = []
    monkeypatch.setattr(contents, "sha256", lambda p: hashed.append(p) or sha256(p))
    first = contents.content_digest(folder, names)
    assert contents.content_digest(folder, names) == first
    assert len(hashed) == 6  # files as new as these may change again unseen
    monkeypatch.setattr(contents, "FRESH", -(10**12))
    contents.content_digest(folder, names)
    hashed.clear()
    assert contents.content_digest(folder, names) == first and not hashed
    swap(tiny)
    assert contents.content_digest(folder, names) != first and len(hashed) == 2
    times = os.stat(folder / "2.bmp")
    (folder / "2.bmp").write_bytes((folder / "1.bmp").read_bytes())
    os.utime(folder / "2.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))
    swap(tiny)
    assert contents.content_digest(folder, names) != first and len(hashed) == 5


def test_a_damaged_cache_is_made_again(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_PATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "SMALL", 0)
    monkeypatch.setattr(contents, "FRESH", -(10**12))
    first = contents.content_digest(tiny / "images", ["1.bmp"])
    (kept,) = (tmp_path / "cache" / "contents").iterdir()
    for damage in (b"", b"[]", b"\xff", b'{"1.bmp": 3}'):
        kept.write_bytes(damage)
        assert contents.content_digest(tiny / "images", ["1.bmp"]) == first


def test_a_sender_does_not_go_on_with_swapped_pictures(tiny, load, capsys):
    send = load("send")
    line = [str(tiny / "sent"), "--image", "jpeg:75", "--images", str(tiny / "images")]
    assert send.main(line) == 0
    before = (tiny / "sent" / "manifest.jsonl").read_bytes()
    assert send.main(line) == 0 and "3 of 3 images are there already" in capsys.readouterr().err
    swap(tiny)
    assert send.main(line) == 2
    assert "holds bitstreams of other images" in capsys.readouterr().err.splitlines()[-1]
    assert (tiny / "sent" / "manifest.jsonl").read_bytes() == before
