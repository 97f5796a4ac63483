"""One pass beside one by one, bit for bit, on models of real detectron2 of every kind."""

import io
import json
import random

import numpy as np
import pytest
from random_models import random_model

from detectron2_patch.data.coco import load_coco
from detectron2_patch.evaluation.masks_keypoints import SHAPES
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.pipeline import evaluate
from detectron2_patch.results.file import load_results
from detectron2_patch.settings.grids import grid, with_scopes
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.run import run
from detectron2_patch.sweep.suppress import unpack

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


def random_settings(levels, count=16):
    """``count`` random settings of the full grid in each scope."""
    full = grid({level: (1.0, 2.0, 4.0, 8.0) for level in levels})
    chosen = random.Random(0).sample(full, count)
    return with_scopes(chosen, ["rpn", "pyramid"])


def check_equal(engine, images, settings):
    """Every detection and shape of one pass is one by one's; how many there were."""
    one_pass = OnePass(engine, make_plan(settings, engine.head_levels))
    compared = 0
    for path in images:
        one = engine.read(path)
        (found,), _ = one_pass([one])
        flags = unpack(found.members, len(settings))
        for number, setting in enumerate(settings):
            with patch_pyramid(engine.model, setting):
                wanted = engine.detect(one)
            mine = np.flatnonzero(flags[:, number])
            for key in ("boxes", "scores", "classes"):
                assert np.array_equal(getattr(found, key)[mine], wanted[key]), (setting.words, key)
            for task in engine.tasks:
                shapes = [found.shapes[task][i] for i in mine]
                if task == "segm":
                    assert shapes == wanted[SHAPES[task]], setting.words
                else:
                    assert np.array_equal(np.array(shapes), wanted[SHAPES[task]]), setting.words
            compared += len(mine)
    return compared


@pytest.mark.parametrize("kind", MODELS)
def test_random_settings_in_both_scopes(scenes, kind):
    engine = random_model([*MODELS[kind], *FEW])
    assert engine.factorises() is None and engine.doubt() is None
    paths = [scenes.image_path(image) for image in scenes.images[:2]]
    settings = random_settings(("p2", "p3", "p4", "p5", "p6"))
    assert check_equal(engine, paths, settings) > 500


@pytest.fixture(scope="module")
def shaped(scenes, tmp_path_factory):
    """The scenes with a mask and keypoints to each box."""
    document = json.loads(scenes.json_file.read_text())
    for one in document["annotations"]:
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        one["keypoints"] = [x + w / 2, y + h / 2, 2] * 17
        one["num_keypoints"] = 17
    file = tmp_path_factory.mktemp("shaped") / "shapes.json"
    file.write_text(json.dumps(document))
    return load_coco("shaped", file, scenes.image_root)


def test_a_sweep_writes_what_evaluations_write(make_sweep, shaped, caplog):
    """AP of boxes, masks and keypoints of every setting, through the spool."""
    engine = random_model([*MASKS, *KEYPOINTS, *FEW])
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
