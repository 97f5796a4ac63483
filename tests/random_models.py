"""Narrow models of real detectron2 with random weights whose detections are many and differ."""

import torch

TINY = (
    "MODEL.RESNETS.STEM_OUT_CHANNELS 4 MODEL.RESNETS.RES2_OUT_CHANNELS 8 "
    "MODEL.RESNETS.WIDTH_PER_GROUP 2 MODEL.FPN.OUT_CHANNELS 8 MODEL.ROI_BOX_HEAD.FC_DIM 8 "
    "MODEL.ROI_HEADS.NUM_CLASSES 3 MODEL.ROI_MASK_HEAD.CONV_DIM 8 MODEL.ROI_MASK_HEAD.NUM_CONV 1 "
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS (8,) MODEL.RETINANET.NUM_CONVS 1 "
    "MODEL.RETINANET.NUM_CLASSES 3 INPUT.MIN_SIZE_TEST 128 MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.01 "
    "MODEL.RETINANET.SCORE_THRESH_TEST 0.02"
).split()


def random_model(opts=(), config_file="configs/demo.yaml", change=None):
    """An engine on a tiny model; ``change(model)`` before its weights are drawn."""
    from detectron2_patch.config import load_cfg
    from detectron2_patch.engines.detectron2 import Detectron2Engine

    torch.set_num_threads(1)
    torch.manual_seed(0)
    engine = Detectron2Engine(load_cfg(config_file, [*TINY, *map(str, opts)]), "cpu")
    if change is not None:
        change(engine.model)
    liven(engine.model)
    return engine


def liven(model):
    """Weights under which a detector of random weights finds things that depend on its maps."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and not name.startswith("backbone.bottom_up"):
            fan_in = parameter[0].numel()
            torch.nn.init.normal_(parameter, std=(2 / fan_in) ** 0.5)
        if name.endswith(("anchor_deltas.weight", "bbox_pred.weight")):
            parameter.data *= 0.2
        if name.endswith("cls_score.weight"):  # else the background has all boxes
            parameter.data *= 0.3
