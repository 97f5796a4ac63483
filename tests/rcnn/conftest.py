import pytest
import torch

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
        from detectron2_patch.config import load_cfg

        pairs = {**SMALL, **(overrides or {})}
        opts = [str(part) for pair in pairs.items() for part in pair]
        return load_cfg("configs/Base-RCNN-FPN.yaml", opts)

    return make


@torch.no_grad()
def fit_norms(model):
    """Give batch norm the statistics of noise, so that random weights keep maps in range."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain average of what it sees
    model.train()
    model.backbone(model.preprocess([torch.rand(3, 128, 128) * 255]).tensor)
    return model.eval()


@pytest.fixture
def small_model(small_cfg):
    from detectron2_patch.rcnn.model import FasterRCNN

    torch.manual_seed(0)
    return fit_norms(FasterRCNN(small_cfg({"MODEL.BACKBONE.FREEZE_AT": 0})))
