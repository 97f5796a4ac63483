import pytest
import torch

from detectron2_patch.config import load_cfg

# A detector small enough for a test: the real modules, few channels, small images.
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.ROI_HEADS.NUM_CLASSES": 3,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 100,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 60,
}


@pytest.fixture
def small_cfg():
    """The configuration of a tiny Faster R-CNN; call it with more overrides."""

    def make(overrides=None):
        pairs = {**SMALL, **(overrides or {})}
        opts = [str(part) for pair in pairs.items() for part in pair]
        return load_cfg("configs/Base-RCNN-FPN.yaml", opts)

    return make


@pytest.fixture
def small_model(small_cfg):
    from detectron2_patch.rcnn.model import FasterRCNN

    torch.manual_seed(0)
    return FasterRCNN(small_cfg()).eval()
