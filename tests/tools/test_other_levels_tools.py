"""All commands from end to end on detectors of real detectron2 whose pyramids aren't P2 to P6."""

import json

import pytest
import torch
from random_models import RETINA_BACKBONE, TINY, random_model, reading, renamed_backbone

from detectron2_patch.results.file import load_results

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")

P2_P5 = ("p2", "p3", "p4", "p5")
NAMES = tuple(f"map_{level}" for level in P2_P5)
RETINANET = [*RETINA_BACKBONE, "MODEL.META_ARCHITECTURE", "RetinaNet"]
FEW = ["TEST.DETECTIONS_PER_IMAGE", "20", "MODEL.ROI_HEADS.NUM_CLASSES", "2"]
FEW += ["MODEL.RETINANET.NUM_CLASSES", "2"]


@pytest.mark.parametrize("kind", ["P2-P5", "named", "RetinaNet"])
def test_from_train_net_to_report(load, tiny, kind, capsys):
    if kind == "P2-P5":
        opts, levels = reading(P2_P5, P2_P5), P2_P5
    elif kind == "named":
        opts, levels = reading(NAMES, NAMES, ["MODEL.BACKBONE.NAME", renamed_backbone()]), P2_P5
    else:
        opts, levels = RETINANET, ("p3", "p4", "p5", "p6", "p7")
    opts = [*TINY, *map(str, opts), *FEW]
    engine = random_model(opts)
    torch.save({"model": engine.model.state_dict()}, tiny / "other.pth")
    annotate(tiny, engine)

    def flags(folder="results"):
        model = ["--engine", "detectron2", "--config-file", "configs/demo.yaml", "--device", "cpu"]
        if kind == "named":
            model += ["--levels", " ".join(levels)]
        data = ["--test-data", str(tiny / "boxes.json"), str(tiny / "images")]
        results = [] if folder is None else ["--results-dir", str(tiny / folder)]
        return [*model, *data, *results, *opts, "MODEL.WEIGHTS", str(tiny / "other.pth")]

    def call(name, *words):
        assert load(name).main([str(word) for word in words]) == 0, capsys.readouterr().err

    wrong = load("train_net").main(["--cr", "2", "1", *flags()])
    assert wrong == 2 and f"({levels[0].upper()} to" in capsys.readouterr().err
    call("train_net", "--cr", *(["2"] * len(levels)), "--scope", "pyramid", *flags())
    call("sweep", "--grid", "1", "max", "--scope", "pyramid", "--bootstrap", "20", *flags("grid"))
    assert len(load_results(tiny / "grid")) == 2 ** len(levels)
    call("key_levels", tiny / "grid", "-o", tiny / "keys.json")
    keys = json.loads((tiny / "keys.json").read_text())
    assert set(keys["scopes"]["pyramid"]["AP"]) == set(levels)
    call("sweep", "--cr-list", write_list(tiny, levels), "--scope", "pyramid", *flags("grid"))
    call("report", tiny / "grid", tiny / "keys.json", "-o", tiny / "report")
    assert list((tiny / "report").glob("*.html"))
    capsys.readouterr()
    call("search", tiny / "grid", "--max-drop", "99")
    wire = "P3 to P7" if kind == "RetinaNet" else "P2 to P5"
    assert f"than {wire} in fp32" in capsys.readouterr().out
    send_and_receive(call, flags, tiny)
    assert "P2 to P6" not in capsys.readouterr().out


def annotate(tiny, engine):
    """Objects where the detector finds some, so that it has an AP to lose."""
    document = json.loads((tiny / "boxes.json").read_text())
    document["annotations"] = []
    for image in document["images"]:
        found = engine.detect(engine.read(tiny / "images" / image["file_name"]))
        for (x0, y0, x1, y1), kind in zip(found["boxes"][:3].tolist(), found["classes"]):
            one = {"image_id": image["id"], "category_id": (7, 9)[kind], "iscrowd": 0}
            one |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
            document["annotations"].append({**one, "id": len(document["annotations"]) + 1})
    (tiny / "boxes.json").write_text(json.dumps(document))


def send_and_receive(call, flags, tiny):
    """What train_net finds, from the bitstreams alone."""
    call("train_net", "--bits", "5", "--scope", "pyramid", *flags("whole"))
    call("send", tiny / "sent", "--bits", "5", *flags(None))
    words = flags("halves")
    start = words.index("--test-data")
    words[start : start + 3] = ["--annotations", str(tiny / "boxes.json")]
    call("receive", tiny / "sent", *words)
    (whole,), (halves,) = load_results(tiny / "whole"), load_results(tiny / "halves")
    for key in ("setting", "results", "payload"):
        assert whole[key] == halves[key], key


def write_list(tiny, levels):
    file = tiny / "list.txt"
    file.write_text(f"--bits 4\n--send {levels[0]} {levels[2]} --bits 3\n")
    return file
