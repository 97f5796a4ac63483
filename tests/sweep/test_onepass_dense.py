"""One pass of RetinaNet and FCOS beside one by one, bit for bit, on real detectron2."""

import pytest
import torch
from one_by_one import PICTURES, check_equal, random_settings
from random_models import RETINA_BACKBONE, TINY, liven, random_model

from detectron2_patch.engines.base import Engine
from detectron2_patch.errors import InputError
from detectron2_patch.patch import patch_rpn
from detectron2_patch.pipeline import evaluate
from detectron2_patch.results.file import load_results
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.run import run

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")

LEVELS = ("p3", "p4", "p5", "p6", "p7")
RETINANET = [*RETINA_BACKBONE, "MODEL.META_ARCHITECTURE", "RetinaNet", "TEST.DETECTIONS_PER_IMAGE"]


def fcos():
    """FCOS on the same backbone, as a LazyConfig would build it."""
    from detectron2.data import DatasetMapper
    from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead

    from detectron2_patch.config import load_cfg
    from detectron2_patch.engines.detectron2 import Detectron2Engine

    torch.manual_seed(0)
    base = Detectron2Engine(load_cfg("configs/demo.yaml", [*TINY, *RETINANET, "30"]), "cpu")
    backbone = base.model.backbone
    shapes = [backbone.output_shape()[name] for name in LEVELS]
    head = FCOSHead(input_shape=shapes, num_classes=3, conv_dims=[8])
    mean, std = [103.5, 116.3, 123.7], [1.0, 1.0, 1.0]
    model = FCOS(
        backbone=backbone,
        head=head,
        num_classes=3,
        test_score_thresh=0.02,
        max_detections_per_image=30,
        pixel_mean=mean,
        pixel_std=std,
    )
    liven(model)
    return Engine.from_model(model, DatasetMapper(base.cfg, is_train=False))


@pytest.fixture(scope="module", params=["RetinaNet", "FCOS"])
def engine(request):
    return fcos() if request.param == "FCOS" else random_model([*RETINANET, "30"])


def test_random_settings(engine, scenes):
    assert engine.levels == LEVELS
    assert engine.factorises() is None and engine.doubt() is None
    settings = random_settings(LEVELS, ["pyramid"])
    assert check_equal(engine, scenes, settings) > 50 * PICTURES


def test_a_sweep_writes_what_evaluations_write(engine, scenes, make_sweep):
    words = ("--cr 2 1 4 1 1", "--send p3 p5 --bits 4", "--image jpeg:50")
    settings = [Setting.parse(one, levels=LEVELS) for one in words]
    sweep = make_sweep(engine=engine, settings=settings)
    run(sweep)
    found = {Setting.from_json(r["setting"]): r for r in load_results(sweep.folder)}
    for setting in settings:
        wanted = evaluate(engine, scenes, setting)
        assert found[setting]["results"]["bbox"] == wanted.results["bbox"]
        assert found[setting]["payload"] == wanted.payload


def test_there_is_one_scope(engine):
    settings = [Setting.of({"p3": 2}, "rpn", levels=LEVELS)]
    with pytest.raises(InputError, match="has no RPN"):
        OnePass(engine, make_plan(settings, engine.head_levels))
    with pytest.raises(InputError, match="has no RPN"), patch_rpn(engine.model, {"p3": 2}):
        pass
