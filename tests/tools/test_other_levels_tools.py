"""All commands from end to end on detectors of real detectron2 whose pyramids aren't P2 to P6."""

import pytest
import torch
from every_tool import EveryTool, annotate
from random_models import RETINA_BACKBONE, TINY, random_model, reading, renamed_backbone

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")

P2_P5 = ("p2", "p3", "p4", "p5")
NAMES = tuple(f"map_{level}" for level in P2_P5)
RETINANET = [*RETINA_BACKBONE, "MODEL.META_ARCHITECTURE", "RetinaNet"]
FEW = ["TEST.DETECTIONS_PER_IMAGE", "20", "MODEL.ROI_HEADS.NUM_CLASSES", "2"]
FEW += ["MODEL.RETINANET.NUM_CLASSES", "2"]


@pytest.mark.parametrize("kind", ["P2-P5", "named", "RetinaNet"])
def test_every_command(load, tiny, train_data, kind, capsys):
    pytest.importorskip("av", reason="needs the extra codecs")
    model = ["--engine", "detectron2", "--config-file", "configs/demo.yaml", "--device", "cpu"]
    if kind == "P2-P5":
        opts, levels = reading(P2_P5, P2_P5), P2_P5
    elif kind == "named":
        opts, levels = reading(NAMES, NAMES, ["MODEL.BACKBONE.NAME", renamed_backbone()]), P2_P5
        model += ["--levels", " ".join(levels)]
    else:
        opts, levels = RETINANET, ("p3", "p4", "p5", "p6", "p7")
    opts = [*TINY, *map(str, opts), *FEW]
    engine = random_model(opts)
    torch.save({"model": engine.model.state_dict()}, tiny / "other.pth")
    annotate(tiny, engine)
    opts += ["MODEL.WEIGHTS", tiny / "other.pth"]
    EveryTool(load, tiny, levels, model, opts, train_data, capsys).run()
