"""tools/send.py and tools/receive.py: what train_net.py finds, from the bitstreams alone."""

import json

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
