"""Patch and sweep on what people run beside ResNets: other backbones, projects, types, compiled."""

import shlex
import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
import torch
from degrading import degrade
from one_by_one import check_equal, random_settings
from random_models import liven, random_model

from detectron2_patch.patch import patch_pyramid
from detectron2_patch.settings.levels import LEVELS

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")

FEW = ["TEST.DETECTIONS_PER_IMAGE", "30"]
SCOPES = ("rpn", "pyramid")
COARSE = dict.fromkeys(("p2", "p3", "p4", "p5"), 4)


def fpn(bottom_up, features):
    from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool

    return FPN(bottom_up, features, 8, top_block=LastLevelMaxPool())


def vit_det():
    from detectron2.modeling.backbone import SimpleFeaturePyramid, ViT
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool

    net = ViT(img_size=128, embed_dim=8, depth=1, num_heads=2, window_size=0, use_rel_pos=True)
    net = net.requires_grad_(False)
    strides = (4.0, 2.0, 1.0, 0.5)
    top = LastLevelMaxPool()
    return SimpleFeaturePyramid(net, "last_feat", 8, strides, top, norm="LN", square_pad=192)


@pytest.fixture(autouse=True)
def timm(monkeypatch):
    """What ViT's blocks import of timm, where that isn't installed."""
    if find_spec("timm") is not None:
        return
    from torchvision.ops import MLP, StochasticDepth

    layers = ModuleType("timm.models.layers")
    layers.DropPath = lambda p: StochasticDepth(p, "row")
    layers.Mlp = lambda in_features, hidden_features, act_layer: MLP(
        in_features, [hidden_features, in_features], activation_layer=act_layer, inplace=None
    )
    for name in ("timm", "timm.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "timm.models.layers", layers)


def swin():
    from detectron2.modeling.backbone import SwinTransformer

    body = SwinTransformer(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4)
    return fpn(body, ["p0", "p1", "p2", "p3"])


def regnet():
    from detectron2.modeling.backbone.regnet import RegNet, ResBottleneckBlock, SimpleStem

    body = RegNet(
        stem_class=SimpleStem,
        stem_width=8,
        block_class=ResBottleneckBlock,
        depth=6,
        w_a=8,
        w_0=8,
        w_m=2.0,
        group_width=8,
        freeze_at=0,
        norm="BN",
        out_features=["s1", "s2", "s3", "s4"],
    )
    return fpn(body, ["s1", "s2", "s3", "s4"])


def mobilenet():
    """As a user would register it: torchvision's MobileNet below detectron2's FPN."""
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import BACKBONE_REGISTRY
    from detectron2.modeling.backbone import Backbone
    from torchvision.models import mobilenet_v2

    class MobileNet(Backbone):
        ENDS = {"m2": 4, "m3": 7, "m4": 14, "m5": 18}  # of torchvision's list of layers

        def __init__(self):
            super().__init__()
            self.layers = mobilenet_v2(width_mult=0.1).features[:18]
            widths = (8, 8, 16, 32)
            self._shapes = {
                name: ShapeSpec(channels=width, stride=stride)
                for name, width, stride in zip(self.ENDS, widths, (4, 8, 16, 32))
            }

        def output_shape(self):
            return self._shapes

        def forward(self, x):
            found = {}
            for number, layer in enumerate(self.layers, start=1):
                x = layer(x)
                found |= {name: x for name, end in self.ENDS.items() if end == number}
            return found

    name = "build_mobilenet_fpn_of_a_user"
    if name not in BACKBONE_REGISTRY:
        build = lambda cfg, shape: fpn(MobileNet(), list(MobileNet.ENDS))  # noqa: E731
        BACKBONE_REGISTRY._do_register(name, build)
    return name


def differs(one, other):
    return not np.array_equal(one["boxes"], other["boxes"])


def check_patched_and_swept(engine, dataset):
    """The patch changes what is found, in either scope, and one pass is one by one."""
    assert engine.levels == LEVELS
    image = engine.read(dataset.image_path(dataset.images[0]))
    clean = engine.detect(image)
    for scope in SCOPES:
        with patch_pyramid(engine.model, COARSE, scope) as patch:
            assert differs(engine.detect(image), clean)
        assert patch.calls == 1 and patch.traffic.sent["p2"] < patch.traffic.full["p2"] / 10
    assert not differs(engine.detect(image), clean)
    assert engine.factorises() is None and engine.doubt() is None
    assert check_equal(engine, dataset, random_settings(count=3)) > 40


@pytest.mark.parametrize("backbone", [vit_det, swin, regnet])
def test_other_backbones(backbone, scenes):
    torch.manual_seed(0)

    def change(model):
        model.backbone = backbone().eval()

    check_patched_and_swept(random_model(FEW, change=change), scenes)


def test_a_registered_backbone(scenes):
    engine = random_model(["MODEL.BACKBONE.NAME", mobilenet(), *FEW])
    assert type(engine.model.backbone.bottom_up).__name__ == "MobileNet"
    check_patched_and_swept(engine, scenes)


@pytest.fixture
def point_rend(monkeypatch):
    """Its keys, which are taken away again."""
    if find_spec("cv2") is None:  # for an augmentation of the training
        monkeypatch.setitem(sys.modules, "cv2", ModuleType("cv2"))
    pytest.importorskip(
        "detectron2.projects.point_rend", reason="detectron2 was installed without its projects"
    )
    from detectron2_patch.config import defaults
    from detectron2_patch.engines import imports

    name = "detectron2.projects.point_rend"
    imports.import_modules([name])
    yield
    imports._done.discard(name)
    defaults.added.clear()
    defaults._defaults.cache_clear()
    defaults.default_values.cache_clear()


def test_point_rend_is_evaluated_one_by_one(point_rend, shaped, make_sweep, caplog):
    """Its mask head reads whole maps, so that settings can't share it."""
    from detectron2_patch.pipeline import evaluate
    from detectron2_patch.results.file import load_results
    from detectron2_patch.settings.setting import Setting
    from detectron2_patch.sweep.run import run

    opts = "MODEL.MASK_ON True MODEL.ROI_HEADS.NUM_CLASSES 6 TEST.DETECTIONS_PER_IMAGE 5 "
    opts += "MODEL.ROI_MASK_HEAD.NAME PointRendMaskHead MODEL.ROI_MASK_HEAD.POOLER_TYPE '' "
    opts += "MODEL.ROI_MASK_HEAD.FC_DIM 8 MODEL.ROI_MASK_HEAD.NUM_FC 1 "
    opts += "MODEL.ROI_MASK_HEAD.POINT_HEAD_ON True MODEL.POINT_HEAD.FC_DIM 8 "
    opts += "MODEL.POINT_HEAD.NUM_FC 1 MODEL.POINT_HEAD.NUM_CLASSES 6"
    engine = random_model(shlex.split(opts))
    assert "mask pooler" in engine.factorises()
    settings = [Setting.of({"p2": ratio}, "pyramid") for ratio in (1, 8)]
    sweep = make_sweep(engine=engine, dataset=shaped, settings=settings)
    run(sweep)
    assert "one evaluation each" in caplog.text
    found = {Setting.from_json(r["setting"]): r["results"] for r in load_results(sweep.folder)}
    for setting in settings:
        assert found[setting] == evaluate(engine, shaped, setting).results
        assert found[setting]["segm"]["AP"] is not None


def panoptic():
    """Panoptic FPN, which is no model to evaluate here, and can be patched."""
    from detectron2.modeling import build_model

    cfg = random_model().cfg.clone()
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 5
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 8
    cfg.MODEL.SEM_SEG_HEAD.NORM = ""
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    liven(model)
    return model


@torch.no_grad()
def test_panoptic_fpn():
    """Its semantic head reads what the box head does."""
    model = panoptic()
    image = {"image": torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)}
    (clean,) = model([image])
    for scope in SCOPES:
        with patch_pyramid(model, COARSE, scope) as patch:
            (found,) = model([image])
        assert patch.calls == 1
        assert torch.equal(found["sem_seg"], clean["sem_seg"]) == (scope == "rpn")
        boxes = [one["instances"].pred_boxes.tensor for one in (found, clean)]
        assert len(boxes[1]) > 10 and not torch.equal(*boxes)
        assert len(found["panoptic_seg"]) == 2


def found_by(model, images):
    """Boxes and scores of each image."""
    with torch.no_grad():
        found = [one["instances"] for one in model(images)]
    return [(one.pred_boxes.tensor, one.scores) for one in found]


def pictures(*sizes):
    generator = torch.Generator().manual_seed(3)
    kind = {"generator": generator, "dtype": torch.uint8}
    return [{"image": torch.randint(0, 256, (3, *size), **kind)} for size in sizes]


def same(found, wanted):
    pairs = [(a, b) for one, other in zip(found, wanted, strict=True) for a, b in zip(one, other)]
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_batch_of_several_sizes(scope):
    """The patch on a batch is the degradation of the batch's maps, by hand."""
    model = random_model(FEW).model
    images = pictures((96, 128), (130, 70), (64, 64))
    clean = found_by(model, images)
    with patch_pyramid(model, COARSE, scope) as patch:
        found = found_by(model, images)
    assert patch.calls == 1 and patch.traffic.images == 3

    def by_hand(maps):
        return {level: degrade(one, COARSE.get(level, 1)) for level, one in maps.items()}

    if scope == "rpn":
        handle = model.proposal_generator.register_forward_pre_hook(
            lambda module, args: (args[0], by_hand(args[1]), *args[2:])
        )
    else:
        handle = model.backbone.register_forward_hook(lambda module, args, maps: by_hand(maps))
    wanted = found_by(model, images)
    handle.remove()
    assert all(len(boxes) > 5 for boxes, _ in clean)
    assert same(found, wanted) and not same(found, clean)


@pytest.mark.parametrize("scope", SCOPES)
def test_autocast(scope):
    model = random_model(FEW).model
    images = pictures((96, 128))
    seen = []
    model.backbone.register_forward_hook(lambda module, args, maps: seen.append(maps["p3"].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        clean = found_by(model, images)
        with patch_pyramid(model, {"p2": 1}, scope):
            assert same(found_by(model, images), clean)
        with patch_pyramid(model, COARSE, scope) as patch:
            assert not same(found_by(model, images), clean)
        assert patch.calls == 1
        with patch_pyramid(model, "--bits 8", scope):
            assert not same(found_by(model, images), clean)
    assert set(seen) == {torch.bfloat16}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_backbone_in_half_precision(dtype):
    """Of maps in half precision the patch gives maps in half precision, the same where nothing is
    to be lost."""
    model = random_model(FEW).model
    (image,) = pictures((96, 128))
    pixels = model.preprocess_image([image]).tensor.to(dtype)
    model.backbone.to(dtype)
    with torch.no_grad():
        clean = model.backbone(pixels)
        with patch_pyramid(model, {"p3": 4}) as patch:
            found = model.backbone(pixels)
    assert patch.calls == 1
    for level in LEVELS:
        assert found[level].dtype == dtype
        assert torch.equal(found[level], clean[level]) == (level != "p3")
    wanted = degrade(clean["p3"].float(), 4).to(dtype)
    assert torch.equal(found["p3"], wanted)


def test_what_is_compiled_under_the_patch_runs_it():
    model = random_model(FEW).model
    pixels = model.preprocess_image(pictures((96, 128))).tensor
    with torch.no_grad():
        clean = model.backbone(pixels)
        with patch_pyramid(model, COARSE) as patch:
            wanted = model.backbone(pixels)
            found = torch.compile(model.backbone, backend="eager")(pixels)
    torch.compiler.reset()
    assert patch.calls == 2
    assert all(torch.equal(found[level], wanted[level]) for level in LEVELS)
    assert not torch.equal(found["p2"], clean["p2"])
