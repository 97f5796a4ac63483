"""tools/send.py and tools/receive.py: what train_net.py finds, from the bitstreams alone."""

import json
import os
import random
import subprocess
import sys
import time

import pytest

from detectron2_patch import pipeline
from detectron2_patch.results.file import load_results

CODECS = [
    ["--bits", "4"],
    ["--cr", "1", "2", "1", "1", "1", "--send", "p2", "p3", "p5"],
    ["--send", "p2", "p5", "--restore", "fit", "--rank", "4", "--bits", "5", "--fitted"],
    ["--frames", "hevc:30"],
    ["--image", "jpeg:80/444@0.5"],
]
ENGINES = ["torchvision", "detectron2"]


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "detectron2":
        pytest.importorskip("detectron2", reason="needs real detectron2")
    return request.param


@pytest.fixture
def send(load):
    return load("send")


@pytest.fixture
def receive(load):
    return load("receive")


@pytest.fixture
def fitted(load, tiny, tiny_opts, train_data):
    """The tiny detector's fitted file."""
    path = tiny / "fitted.npz"
    line = ["-o", str(path), "--engine", "torchvision", "--device", "cpu", "--kernel", "1"]
    line += ["--config-file", "configs/demo.yaml", "--train-data", *train_data]
    line += ["--test-data", str(tiny / "boxes.json"), str(tiny / "images")]
    assert load("fit").main([*line, *tiny_opts, "MODEL.WEIGHTS", str(tiny / "weights.pth")]) == 0
    return str(path)


@pytest.fixture
def line(tiny, tiny_opts):
    """Arguments of either command: of the tiny detector."""

    def make(*first, engine="torchvision", weights="weights.pth", opts=()):
        given = ["--engine", engine, "--config-file", "configs/demo.yaml", "--device", "cpu"]
        threshold = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", *opts]
        weights = ["MODEL.WEIGHTS", str(tiny / weights)]
        return [*map(str, first), *given, *tiny_opts, *threshold, *weights]

    return make


@pytest.fixture
def data(tiny):
    return ["--test-data", str(tiny / "boxes.json"), str(tiny / "images")]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("words", CODECS, ids=lambda words: words[0] + words[1])
def test_the_very_result_of_train_net(
    words, engine, train_net, send, receive, line, data, tiny, request, monkeypatch
):
    if words[-1] == "--fitted":
        words = [*words, request.getfixturevalue("fitted")]
    given = words[-2:] if "--fitted" in words else []
    kept = []
    before = pipeline.detect_dataset
    monkeypatch.setattr(
        pipeline, "detect_dataset", lambda *args: kept.extend(before(*args)) or kept
    )
    scope = ["--scope", "pyramid", "--results-dir", tiny / "whole"]
    assert train_net.main(line(*words, *scope, *data, engine=engine)) == 0
    assert send.main(line(tiny / "sent", *words, *data, engine=engine)) == 0
    ends = ["--annotations", tiny / "boxes.json", "--results-dir", tiny / "halves"]
    ends += ["--detections", tiny / "found.jsonl", *given]
    assert receive.main(line(tiny / "sent", *ends, engine=engine)) == 0
    (whole,), (halves,) = load_results(tiny / "whole"), load_results(tiny / "halves")
    for key in ("setting", "results", "payload", "config", "codecs", "engine"):
        assert whole.get(key) == halves.get(key), key
    assert whole["dataset"]["digest"] == halves["dataset"]["digest"]
    assert whole["weights"]["sha256"] == halves["weights"]["sha256"]
    found = lines(tiny / "found.jsonl")
    assert sum(len(one["boxes"]) for one in found) > 0
    for ours, theirs in zip(found, kept, strict=True):
        assert ours["image_id"] == theirs["image_id"]
        for key in ("boxes", "scores", "classes"):
            assert ours[key] == theirs[key].tolist()
    sizes = sum(path.stat().st_size for path in (tiny / "sent" / "streams").iterdir())
    once = sum(whole["payload"]["side_bytes"].values())
    assert sizes == whole["payload"]["total_bytes"] - once


def sent_bytes(folder):
    """All that a folder of bitstreams holds."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_receiver_opens_no_image_and_has_no_backbone(
    send, receive, line, data, tiny, monkeypatch
):
    from PIL import Image

    from detectron2_patch.engines import choice

    built = []
    before = choice.build_engine
    monkeypatch.setattr(choice, "build_engine", lambda *a: built.append(before(*a)) or built[-1])
    assert send.main(line(tiny / "sent", "--bits", "4", *data)) == 0
    (tiny / "images").rename(tiny / "elsewhere")
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("an image was opened"))
    ends = ["--annotations", tiny / "boxes.json", "--results-dir", tiny / "halves"]
    assert receive.main(line(tiny / "sent", *ends)) == 0
    names = [[name for name, _ in one.model.named_parameters()] for one in built]
    assert names[0] and all(name.startswith("backbone.") for name in names[0])
    assert names[1] and not any(name.startswith("backbone.") for name in names[1])


@pytest.mark.parametrize("by_hand", [False, True])
def test_checkpoints_of_one_half(by_hand, load, send, receive, line, data, tiny, capsys):
    """What either half is cut to is enough for it, and is known to belong to the other."""
    import torch

    halves = {"backbone": "sender.pth", "heads": "receiver.pth"}
    for part, name in halves.items():
        if by_hand:
            state = torch.load(tiny / "weights.pth", weights_only=True)["model"]
            kept = {
                k: v for k, v in state.items() if k.startswith("backbone.") == (part == "backbone")
            }
            torch.save({"model": kept}, tiny / name)
        else:
            cut = [str(tiny / "weights.pth"), str(tiny / name), "--part", part]
            assert load("export_weights").main(cut) == 0
    assert send.main(line(tiny / "whole", "--bits", "4", *data)) == 0
    assert send.main(line(tiny / "half", "--bits", "4", *data, weights="sender.pth")) == 0
    pairs = [("whole", "weights.pth", 0), ("whole", "receiver.pth", 0), ("half", "weights.pth", 0)]
    pairs += [("half", "receiver.pth", 2 if by_hand else 0), ("whole", "sender.pth", 2)]
    found = []
    for folder, weights, status in pairs:
        capsys.readouterr()
        assert receive.main(line(tiny / folder, weights=weights)) == status, (folder, weights)
        found.append(capsys.readouterr())
    assert len({one.out for one, pair in zip(found, pairs) if pair[2] == 0}) == 1
    if by_hand:
        assert "nothing tells that they belong together" in found[3].err
    assert found[4].err.count("error:") == 1


def test_another_detector_is_refused(send, receive, line, data, tiny, tiny_opts, capsys):
    import torch

    from detectron2_patch.config import load_cfg
    from detectron2_patch.rcnn.model import FasterRCNN

    torch.manual_seed(1)
    model = FasterRCNN(load_cfg("configs/demo.yaml", tiny_opts))
    torch.save({"model": model.state_dict()}, tiny / "other.pth")
    assert send.main(line(tiny / "sent", "--bits", "4", *data)) == 0
    assert receive.main(line(tiny / "sent", weights="other.pth")) == 2
    assert "of another detector" in capsys.readouterr().err
    assert receive.main(line(tiny / "sent", "--bits", "3")) == 2
    assert "leave these flags out" in capsys.readouterr().err
    assert receive.main(line(tiny / "sent", opts=["INPUT.MIN_SIZE_TEST", "96"])) == 2
    assert "another INPUT or backbone configuration" in capsys.readouterr().err
    assert send.main(line(tiny / "sent", "--bits", "3", *data)) == 2
    assert "holds bitstreams of another setting" in capsys.readouterr().err


@pytest.mark.parametrize("left", ["nothing", "half a line", "a file without a line"])
def test_the_same_command_goes_on(left, send, line, data, tiny):
    """Whatever a kill leaves, the folder ends as if there had been none."""
    words = line(tiny / "once", "--bits", "4", *data)
    assert send.main(words) == 0
    wanted = sent_bytes(tiny / "once")
    begun = tiny / "begun"
    (begun / "streams").mkdir(parents=True)
    lines = wanted["manifest.jsonl"].splitlines(keepends=True)
    head = b"".join(lines[:2]) + (lines[2][:20] if left == "half a line" else b"")
    (begun / "manifest.jsonl").write_bytes(head)
    (begun / "streams" / "00000001.bin").write_bytes(wanted["00000001.bin"])
    if left == "a file without a line":
        (begun / "streams" / "00000002.bin").write_bytes(b"of before")
    assert send.main(line(begun, "--bits", "4", *data)) == 0
    assert sent_bytes(begun) == wanted


def test_kills_leave_whole_bitstreams(send, line, data, tiny):
    """SIGKILL, again and again, then a run to the end: the folder of an uninterrupted sender."""
    document = json.loads((tiny / "boxes.json").read_text())
    first = document["images"][0]
    document["images"] += [{**first, "id": number} for number in range(10, 40)]
    (tiny / "boxes.json").write_text(json.dumps(document))
    assert send.main(line(tiny / "once", "--bits", "4", *data)) == 0
    wanted = sent_bytes(tiny / "once")
    command = [sys.executable, "tools/send.py", *line(tiny / "killed", "--bits", "4", *data)]
    streams = tiny / "killed" / "streams"
    generator = random.Random()
    for least in (1, 9, 18):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(list(streams.glob("*.bin"))) < least:
            assert process.poll() is None
        time.sleep(generator.uniform(0, 0.02))
        process.kill()
        assert process.wait() != 0
        found = {path.name: path.read_bytes() for path in streams.glob("*.bin")}
        assert least <= len(found) < len(wanted) - 1
        assert all(wanted[name] == content for name, content in found.items())
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    assert sent_bytes(tiny / "killed") == wanted


def test_altered_missing_and_swapped_files_are_refused(send, receive, line, data, tiny, capsys):
    assert send.main(line(tiny / "sent", "--bits", "4", *data)) == 0
    one, two = (tiny / "sent" / "streams" / f"0000000{n}.bin" for n in (1, 2))
    first, second = one.read_bytes(), two.read_bytes()
    for left, right in ((second, first), (first[:-1], second), (first[:-1] + b"x", second)):
        one.write_bytes(left)
        two.write_bytes(right)
        capsys.readouterr()
        assert receive.main(line(tiny / "sent")) == 2
        assert "isn't the one that was sent" in capsys.readouterr().err
    one.unlink()
    assert receive.main(line(tiny / "sent")) == 2
    assert "ask for it again" in capsys.readouterr().err


def test_ap_needs_all_images_and_no_other(send, receive, line, data, tiny, capsys):
    images = ["--images", tiny / "images"]
    assert send.main(line(tiny / "sent", "--bits", "4", *images)) == 0
    ends = ["--annotations", tiny / "boxes.json", "--results-dir", tiny / "results"]
    assert receive.main(line(tiny / "sent", *ends)) == 2
    assert "0 of the 3 images" in capsys.readouterr().err
    assert not (tiny / "results").exists()


def test_a_pipe_between_two_processes(tiny, line, capsys, receive, send):
    """Detections come as names do: the first image's before the second one is named."""
    given = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd(), **os.environ}

    def start(tool, stdin, *words):
        return subprocess.Popen(
            [sys.executable, f"tools/{tool}.py", *line("-", *words)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=given,
        )

    sender = start("send", subprocess.PIPE, "--bits", "4", "--images", "-")
    receiver = start("receive", sender.stdout)
    sender.stdout.close()
    names = [str(tiny / "images" / f"{n}.png") for n in (1, 2, 3)]
    found = []
    for name in names:
        sender.stdin.write(name.encode() + b"\n")
        sender.stdin.flush()
        found.append(json.loads(receiver.stdout.readline()))
    sender.stdin.close()
    assert (sender.wait(60), receiver.wait(60)) == (0, 0), receiver.stderr.read()
    assert receiver.stdout.read() == b""
    assert [one["file_name"] for one in found] == names
    assert send.main(line(tiny / "sent", "--bits", "4", "--images", tiny / "images")) == 0
    capsys.readouterr()
    assert receive.main(line(tiny / "sent")) == 0
    assert found == [json.loads(text) for text in capsys.readouterr().out.splitlines()]
