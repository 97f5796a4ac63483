"""The built-in Mask R-CNN beside real detectron2: the same weights, the same detections and masks,
bit for bit."""

import numpy as np
import pytest
import torch
from random_models import TINY, random_model

from detectron2_patch.config import load_cfg
from detectron2_patch.engines.torchvision import TorchvisionEngine

pytest.importorskip("detectron2", reason="compares with real detectron2, which is not installed")

MASKS = ["MODEL.MASK_ON", "True", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.001"]
HEADS = {
    "as in the zoo": ["MODEL.ROI_MASK_HEAD.NUM_CONV", "4"],
    "one mask for all classes": ["MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", "True"],
    "no convolution": ["MODEL.ROI_MASK_HEAD.NUM_CONV", "0"],
    "group norm": ["MODEL.ROI_MASK_HEAD.NORM", "GN", "MODEL.ROI_MASK_HEAD.CONV_DIM", "32"],
    "other pooling": [
        *["MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", "7"],
        *["MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIAlign"],
        *["MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO", "2"],
    ],
}


def built_in(reference, opts, tmp_path):
    """The built-in engine on the checkpoint of detectron2's model."""
    engine = TorchvisionEngine(load_cfg("configs/demo.yaml", [*TINY, *opts]), "cpu")
    torch.save({"model": reference.model.state_dict()}, tmp_path / "mask_rcnn.pth")
    engine.load_weights(tmp_path / "mask_rcnn.pth")
    return engine


@pytest.mark.parametrize("head", HEADS)
def test_same_detections_and_masks(head, scenes, tmp_path):
    opts = [*MASKS, *HEADS[head]]
    reference = random_model(opts)
    engine = built_in(reference, opts, tmp_path)
    compared = 0
    for image in scenes.images[:2]:
        one = engine.read(scenes.image_path(image))
        wanted, found = reference.detect(one), engine.detect(one)
        for key in ("boxes", "scores", "classes"):
            assert np.array_equal(found[key], wanted[key]), key
        assert found["masks"] == wanted["masks"]
        assert len({mask["counts"] for mask in found["masks"]}) > 20
        compared += len(found["masks"])
    assert compared > 100


def test_an_image_without_detections_has_no_masks(scenes, tmp_path):
    opts = ["MODEL.MASK_ON", "True", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0"]
    engine = built_in(random_model(opts), opts, tmp_path)
    found = engine.detect(engine.read(scenes.image_path(scenes.images[0])))
    assert found["masks"] == [] and found["boxes"].shape == (0, 4)
