"""The built-in Mask R-CNN through the commands: evaluated, swept, sent and received."""

import json

import pytest
import torch
from random_models import liven

from detectron2_patch.config import load_cfg
from detectron2_patch.rcnn.model import FasterRCNN
from detectron2_patch.results.file import load_results

MASKS = (
    "MODEL.MASK_ON True MODEL.ROI_MASK_HEAD.NUM_CONV 1 MODEL.ROI_MASK_HEAD.CONV_DIM 8 "
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.01 TEST.DETECTIONS_PER_IMAGE 10"
).split()


@pytest.fixture
def mask_command(tiny, command, tiny_opts):
    """``command`` on a Mask R-CNN, and data with masks."""
    document = json.loads((tiny / "boxes.json").read_text())
    for one in document["annotations"]:
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    (tiny / "boxes.json").write_text(json.dumps(document))
    torch.manual_seed(0)
    model = FasterRCNN(load_cfg("configs/demo.yaml", [*tiny_opts, *MASKS]))
    liven(model)
    torch.save({"model": model.state_dict()}, tiny / "weights.pth")
    return lambda *words, opts=(): command(*words, opts=[*MASKS, *opts])


def test_train_net_and_a_sweep_give_ap_of_masks(load, mask_command, tiny, capsys):
    assert load("train_net").main(mask_command("--cr", "2", "1", "4", "1", "1")) == 0
    out = capsys.readouterr().out
    assert out.count("APs") == 2 and "segm" in out
    arguments = mask_command("--grid-p2", "1", "4", "--scope", "rpn", "pyramid")
    arguments[arguments.index("--results-dir") + 1] = str(tiny / "grid")
    assert load("sweep").main(arguments) == 0, capsys.readouterr().err
    found = load_results(tiny / "grid")
    assert len(found) == 4
    assert all(one["results"]["segm"]["AP"] is not None for one in found)


def test_masks_come_out_of_what_was_received(load, mask_command, tiny):
    flags = mask_command()[:6]  # engine, configuration and device
    data = ["--test-data", str(tiny / "boxes.json"), str(tiny / "images")]
    model = mask_command()[mask_command().index("MODEL.RESNETS.STEM_OUT_CHANNELS") :]
    sent, coded = str(tiny / "sent"), ["--bits", "4"]
    whole = mask_command(*coded, "--scope", "pyramid")
    assert load("train_net").main(whole) == 0
    assert load("send").main([sent, *coded, *flags, *data, *model]) == 0
    ends = ["--annotations", data[1], "--results-dir", str(tiny / "halves")]
    ends += ["--detections", str(tiny / "found.jsonl")]
    assert load("receive").main([sent, *ends, *flags, *model]) == 0
    (wanted,), (found,) = load_results(tiny / "results"), load_results(tiny / "halves")
    assert found["results"] == wanted["results"] and "segm" in found["results"]
    lines = [json.loads(line) for line in (tiny / "found.jsonl").read_text().splitlines()]
    assert all(len(one["masks"]) == len(one["boxes"]) > 0 for one in lines)


def test_a_picture_of_a_detector_with_masks_has_its_boxes(load, mask_command, tiny):
    words = mask_command("--cr", "2", "1", "1", "1", "1", "--threshold", "0")
    start = words.index("--test-data")
    del words[start : start + 5]  # --test-data JSON IMAGES --results-dir DIR
    image = str(tiny / "images" / "1.png")
    assert load("visualize").main(["--image", image, "-o", str(tiny / "a.png"), *words]) == 0
    assert (tiny / "a.png").exists()
