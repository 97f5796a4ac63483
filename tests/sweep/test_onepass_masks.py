"""One pass of the built-in engine's Mask R-CNN beside one by one, bit for bit."""

import pytest
from one_by_one import PICTURES, check_equal, random_settings
from random_models import random_model

from detectron2_patch.pipeline import evaluate
from detectron2_patch.results.file import load_results
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.run import run


@pytest.fixture(scope="module")
def masks():
    opts = "MODEL.MASK_ON True TEST.DETECTIONS_PER_IMAGE 30 MODEL.ROI_HEADS.NUM_CLASSES 6"
    return random_model(opts.split(), engine="torchvision")


def test_random_settings_in_both_scopes(masks, scenes):
    assert masks.factorises() is None and masks.doubt() is None
    assert check_equal(masks, scenes, random_settings()) > 250 * PICTURES


def test_a_sweep_writes_what_evaluations_write(masks, make_sweep, shaped, caplog):
    settings = [Setting.of(one, s) for one in ({}, {"p2": 4, "p3": 2}) for s in ("rpn", "pyramid")]
    sweep = make_sweep(engine=masks, dataset=shaped, settings=settings)
    run(sweep)
    assert "one evaluation each" not in caplog.text
    found = {Setting.from_json(r["setting"]): r["results"] for r in load_results(sweep.folder)}
    for setting in settings:
        wanted = evaluate(masks, shaped, setting).results
        assert found[setting] == wanted and wanted.keys() == {"bbox", "segm"}
    assert wanted["segm"]["AP"] is not None
