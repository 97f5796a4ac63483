"""Narrow models with random weights whose detections are many and differ."""

import torch

TINY = (
    "MODEL.RESNETS.STEM_OUT_CHANNELS 4 MODEL.RESNETS.RES2_OUT_CHANNELS 8 "
    "MODEL.RESNETS.WIDTH_PER_GROUP 2 MODEL.FPN.OUT_CHANNELS 8 MODEL.ROI_BOX_HEAD.FC_DIM 8 "
    "MODEL.ROI_HEADS.NUM_CLASSES 3 MODEL.ROI_MASK_HEAD.CONV_DIM 8 MODEL.ROI_MASK_HEAD.NUM_CONV 1 "
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS (8,) MODEL.RETINANET.NUM_CONVS 1 "
    "MODEL.RETINANET.NUM_CLASSES 3 INPUT.MIN_SIZE_TEST 128 MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.01 "
    "MODEL.RETINANET.SCORE_THRESH_TEST 0.02"
).split()


def random_model(opts=(), config_file="configs/demo.yaml", change=None, engine="detectron2"):
    """An engine on a tiny model; ``change(model)`` before its weights are drawn."""
    from detectron2_patch.config import load_cfg
    from detectron2_patch.engines.choice import build_engine

    torch.set_num_threads(1)
    torch.manual_seed(0)
    engine = build_engine(engine, load_cfg(config_file, [*TINY, *map(str, opts)]), "cpu")
    if change is not None:
        change(engine.model)
    liven(engine.model)
    return engine


def liven(model):
    """Weights under which a detector of random weights finds things that depend on its maps."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "bottom_up" not in name:
            fan_in = parameter[0].numel()
            torch.nn.init.normal_(parameter, std=(2 / fan_in) ** 0.5)
        if name.endswith(("anchor_deltas.weight", "bbox_pred.weight")):
            parameter.data *= 0.2
        if name.endswith("cls_score.weight"):  # else the background has all boxes
            parameter.data *= 0.3
        if name.endswith("bbox_pred.bias"):  # as no training leaves it: else there was none
            parameter.data += 1e-3


RETINA_BACKBONE = [
    "MODEL.BACKBONE.NAME",
    "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES",
    "['res3', 'res4', 'res5']",
    "MODEL.FPN.IN_FEATURES",
    "['res3', 'res4', 'res5']",
]


def reading(levels, pooled, backbone=()):
    """Overrides under which the RPN reads ``levels`` and the box head pools from ``pooled``."""
    sizes = [[8 * 2 ** int(level[-1])] for level in levels if level[-1].isdigit()]
    return [
        *backbone,
        "MODEL.RPN.IN_FEATURES",
        list(levels),
        "MODEL.ROI_HEADS.IN_FEATURES",
        list(pooled),
        "MODEL.ANCHOR_GENERATOR.SIZES",
        sizes or [[32]],
    ]


def renamed_backbone():
    """The name of a backbone that calls its maps otherwise; registered once."""
    from detectron2.modeling import BACKBONE_REGISTRY
    from detectron2.modeling.backbone import Backbone
    from detectron2.modeling.backbone.fpn import build_resnet_fpn_backbone

    class Renamed(Backbone):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.inner = build_resnet_fpn_backbone(cfg, input_shape)

        def forward(self, x):
            return {f"map_{name}": value for name, value in self.inner(x).items()}

        def output_shape(self):
            return {f"map_{name}": shape for name, shape in self.inner.output_shape().items()}

        size_divisibility = 32

    name = "build_renamed_backbone"
    if name not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY._do_register(name, Renamed)
    return name


def random_fcos(classes=3):
    """FCOS on RetinaNet's backbone, as a LazyConfig would build it."""
    from detectron2.data import DatasetMapper
    from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead

    from detectron2_patch.config import load_cfg
    from detectron2_patch.engines.base import Engine
    from detectron2_patch.engines.detectron2 import Detectron2Engine

    torch.manual_seed(0)
    opts = [*TINY, *RETINA_BACKBONE, "MODEL.META_ARCHITECTURE", "RetinaNet"]
    base = Detectron2Engine(load_cfg("configs/demo.yaml", opts), "cpu")
    backbone = base.model.backbone
    shapes = [backbone.output_shape()[name] for name in ("p3", "p4", "p5", "p6", "p7")]
    model = FCOS(
        backbone=backbone,
        head=FCOSHead(input_shape=shapes, num_classes=classes, conv_dims=[8]),
        num_classes=classes,
        test_score_thresh=0.02,
        max_detections_per_image=30,
        pixel_mean=[103.5, 116.3, 123.7],
        pixel_std=[1.0, 1.0, 1.0],
    )
    liven(model)
    return Engine.from_model(model, DatasetMapper(base.cfg, is_train=False))
