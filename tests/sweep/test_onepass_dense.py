"""One pass of RetinaNet and FCOS beside one by one, bit for bit, on real detectron2."""

import pytest
from one_by_one import PICTURES, check_equal, random_settings
from random_models import RETINA_BACKBONE, random_fcos, random_model

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


@pytest.fixture(scope="module", params=["RetinaNet", "FCOS"])
def engine(request):
    if request.param == "FCOS":
        return random_fcos(classes=6)  # those of the scenes
    return random_model([*RETINANET, "30", "MODEL.RETINANET.NUM_CLASSES", "6"])


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
