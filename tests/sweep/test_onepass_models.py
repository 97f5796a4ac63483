"""One pass beside one by one, bit for bit, on models of real detectron2 of every kind."""

import io

import numpy as np
import pytest
from one_by_one import PICTURES, check_equal, random_settings
from random_models import random_model

from detectron2_patch.pipeline import evaluate
from detectron2_patch.results.file import load_results
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.run import run

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")

FEW = ["TEST.DETECTIONS_PER_IMAGE", "30"]
MASKS = ["MODEL.MASK_ON", "True"]
KEYPOINTS = ["MODEL.KEYPOINT_ON", "True", "MODEL.ROI_HEADS.NUM_CLASSES", "1"]
CASCADE = [
    "MODEL.ROI_HEADS.NAME",
    "CascadeROIHeads",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG",
    "True",
]
MODELS = {
    "mask": MASKS,
    "keypoint": KEYPOINTS,
    "mask and keypoint": [*MASKS, *KEYPOINTS],
    "cascade": CASCADE,
    "cascade mask": [*CASCADE, *MASKS],
}


@pytest.mark.parametrize("kind", MODELS)
def test_random_settings_in_both_scopes(scenes, kind):
    engine = random_model([*MODELS[kind], *FEW])
    assert engine.factorises() is None and engine.doubt() is None
    assert check_equal(engine, scenes, random_settings()) > 250 * PICTURES


def test_a_sweep_writes_what_evaluations_write(make_sweep, shaped, caplog):
    """AP of boxes, masks and keypoints of every setting, through the spool."""
    engine = random_model([*MASKS, *KEYPOINTS, *FEW, "MODEL.ROI_HEADS.NUM_CLASSES", "6"])
    settings = [Setting.of(one, s) for one in ({}, {"p2": 4, "p3": 2}) for s in ("rpn", "pyramid")]
    sweep = make_sweep(engine=engine, dataset=shaped, settings=settings)
    run(sweep)
    assert "one evaluation each" not in caplog.text
    found = {Setting.from_json(r["setting"]): r["results"] for r in load_results(sweep.folder)}
    for setting in settings:
        wanted = evaluate(engine, shaped, setting).results
        assert found[setting] == wanted and wanted.keys() == {"bbox", "segm", "keypoints"}


def test_each_distinct_mask_is_on_disk_once(shaped):
    from detectron2_patch.sweep.spool import by_image, encode

    engine = random_model([*MASKS, *FEW])
    settings = [Setting.of({"p2": ratio}, "rpn") for ratio in (1, 2, 4, 8)]
    one = engine.read(shaped.image_path(shaped.images[0]))
    found, counts = OnePass(engine, make_plan(settings, engine.head_levels))([one])
    with np.load(io.BytesIO(encode([7], found, counts))) as chunk:
        masks = {mask["counts"] for mask in found[0].shapes["segm"]}
        assert len(chunk["mask_ends"]) == len(masks) <= len(found[0].scores)
        (again,) = by_image(chunk)
    assert again["masks"] == found[0].shapes["segm"]
