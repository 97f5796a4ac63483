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
    torch.save({"model": random_model(opts).model.state_dict()}, tiny / "other.pth")

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
    assert "P2 to P6" not in capsys.readouterr().out


def write_list(tiny, levels):
    file = tiny / "list.txt"
    file.write_text(f"--bits 4\n--send {levels[0]} {levels[2]} --bits 3\n")
    return file
