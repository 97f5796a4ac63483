"""The teachers of a learned codec on every kind of detector."""

import pytest
import torch
from random_models import RETINA_BACKBONE, random_fcos, random_model, reading, renamed_backbone
from torchvision.transforms.functional import to_tensor
from torchvision_models import MODELS, make

from detectron2_patch.config import load_cfg
from detectron2_patch.data.images import read_image
from detectron2_patch.engines.choice import build_engine
from detectron2_patch.engines.frozen_heads import frozen_heads
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import wire_levels

P2_P5 = ("p2", "p3", "p4", "p5")
NAMES = tuple(f"map_{level}" for level in P2_P5)
ON_DETECTRON2 = {
    "detectron2": lambda: [],
    "P2-P5": lambda: reading(P2_P5, P2_P5),
    "named": lambda: reading(NAMES, NAMES, ["MODEL.BACKBONE.NAME", renamed_backbone()]),
    "cascade": lambda: [
        *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
        *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True),
    ],
    "RetinaNet": lambda: [*RETINA_BACKBONE, "MODEL.META_ARCHITECTURE", "RetinaNet"],
}


def engine_of(kind, picture):
    if kind == "built-in":
        return random_model(engine="torchvision")
    if kind in MODELS:
        opts = ["INPUT.MIN_SIZE_TEST", "128", "MODEL.ROI_HEADS.NUM_CLASSES", "6"]
        config = f"configs/torchvision/{kind}_resnet50_fpn.yaml"
        engine = build_engine("torchvision", load_cfg(config, opts), "cpu")
        engine.model.load_state_dict(make(kind, 7, picture).state_dict())
        return engine
    pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")
    return random_fcos() if kind == "FCOS" else random_model(ON_DETECTRON2[kind]())


@pytest.fixture(scope="module", params=["built-in", *MODELS, *ON_DETECTRON2, "FCOS"])
def taught(request, scenes):
    """An engine, its teachers, clean maps of an image that are sent, and the image's size."""
    path = scenes.image_path(scenes.images[0])
    engine = engine_of(request.param, to_tensor(read_image(path, "RGB").copy()))
    batch = engine.batch([engine.read(path)])
    maps = {
        n: x.clone() for n, x in engine.pyramid(batch).items() if n in wire_levels(engine.levels)
    }
    return engine, frozen_heads(engine, 20), maps, tuple(batch.tensor.shape[-2:])


def test_clean_maps_are_no_distance_off_and_others_are(taught):
    _, heads, maps, size = taught
    target = heads.target(maps, size)
    assert all(
        float(value) == pytest.approx(0, abs=1e-4) for value in heads.losses(maps, target).values()
    )
    torch.manual_seed(0)
    off = {level: x + 0.3 * x.std() * torch.randn_like(x) for level, x in maps.items()}
    losses = heads.losses(off, target)
    assert all(value > 1e-4 and value.isfinite() for value in losses.values())
    wanted = {"classes", "boxes"} | ({"objectness", "anchors"} if not heads.engine.dense else set())
    assert wanted <= losses.keys() <= {"classes", "boxes", "objectness", "anchors"}


def test_a_gradient_reaches_every_level_and_no_weight(taught):
    engine, heads, maps, size = taught
    target = heads.target(maps, size)
    off = {level: (1.1 * x).requires_grad_() for level, x in maps.items()}
    sum(heads.losses(off, target).values()).backward()
    assert all(x.grad.abs().sum() > 0 for x in off.values())
    assert all(weight.grad is None for weight in engine.model.parameters())


@torch.no_grad()
def test_the_box_head_is_asked_what_it_is_asked_in_a_detection(taught):
    """On boxes that it pools: the probabilities of ``score`` are those of the logits."""
    engine, heads, maps, size = taught
    if engine.dense:
        pytest.skip("a dense detector has no box head")
    (rois, logits, _), *_ = heads.target(maps, size).stages
    assert len(rois) == 20 and torch.isfinite(rois).all()
    level = engine.pooled[0]
    feature = maps[level]
    scores, _ = engine.score([(level, feature, rois)])
    from torchvision.ops import roi_align

    pool, aligned = engine.pooling
    scale = 0.5 ** int(level[1:])
    pooled = roi_align(feature, rois, pool, scale, samples(engine), aligned=aligned)
    own, _ = engine.box_outputs(pooled)
    assert torch.allclose(own.softmax(-1), scores, atol=1e-5)
    assert logits.shape == own.shape


def samples(engine):
    """Of a side of a bin in the detector's own RoIAlign."""
    if engine.name == "detectron2":
        return engine.model.roi_heads.box_pooler.level_poolers[0].sampling_ratio
    pool = getattr(engine.model.roi_heads, "box_roi_pool", None)
    return 0 if pool is None else pool.sampling_ratio


def test_heads_that_mix_levels_are_refused():
    engine = random_model(engine="torchvision")
    engine.factorises = lambda: "the head mixes levels"
    with pytest.raises(InputError, match="the head mixes levels; code the levels one by one"):
        frozen_heads(engine, 4)
