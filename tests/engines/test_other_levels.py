"""Detectors of real detectron2 whose pyramids aren't P2 to P6: patch, bytes, one pass, results."""

import numpy as np
import pytest
from random_models import RETINA_BACKBONE, random_model, reading, renamed_backbone

from detectron2_patch.codec.fitted import KIND, Fitted
from detectron2_patch.codec.fitting import fit
from detectron2_patch.errors import InputError
from detectron2_patch.patch import patch_pyramid, patch_rpn
from detectron2_patch.pipeline import evaluate
from detectron2_patch.results.file import load_results
from detectron2_patch.settings.grids import grid, with_scopes
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.run import run
from detectron2_patch.sweep.suppress import unpack

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")

P2_TO_P7 = ["MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"]
NAMES = ["map_p2", "map_p3", "map_p4", "map_p5"]
# What the heads read and pool from, and the levels that these are.
MODELS = {
    "P2-P5": (("p2", "p3", "p4", "p5"), ("p2", "p3", "p4", "p5"), [], "p2 p3 p4 p5"),
    "P2-P7": (("p2", "p3", "p4", "p5", "p6", "p7"), ("p2", "p3"), P2_TO_P7, "p2 p3 p4 p5 p6 p7"),
    "P3-P7": (("p3", "p4", "p5", "p6", "p7"), ("p3", "p4"), RETINA_BACKBONE, "p3 p4 p5 p6 p7"),
    "named": (NAMES, NAMES, None, "p2 p3 p4 p5"),
}


@pytest.fixture(scope="module", params=MODELS)
def engine(request):
    read, pooled, backbone, levels = MODELS[request.param]
    if backbone is None:
        backbone = ["MODEL.BACKBONE.NAME", renamed_backbone()]
    few = ["TEST.DETECTIONS_PER_IMAGE", 40]
    classes = ["MODEL.ROI_HEADS.NUM_CLASSES", 6]  # those of the scenes
    engine = random_model([*reading(read, pooled, backbone), *few, *classes])
    assert engine.levels == tuple(levels.split())
    return engine


def test_each_level_is_degraded_and_counted(engine, scenes):
    one = engine.read(scenes.image_path(scenes.images[0]))
    clean = engine.pyramid(engine.batch([one]))
    assert list(clean) == list(engine.levels)
    for level in engine.levels:
        if clean[level][0, 0].numel() == 1:  # P7 of so small an image: nothing to lose
            continue
        with patch_pyramid(engine.model, {level: 4}) as patch:
            changed = patch.apply({engine.names[k]: x for k, x in clean.items()})
            engine.detect(one)
        for other in engine.levels:
            same = np.array_equal(changed[engine.names[other]], clean[other])
            assert same == (other != level)
        traffic = patch.traffic
        assert tuple(traffic.full) == engine.levels and traffic.sent[level] < traffic.full[level]


def test_settings_of_other_levels_are_refused(engine):
    wrong = Setting.of({"p4": 2}, levels=("p4", "p5", "p6"))
    with pytest.raises(InputError, match="a setting of P4 to P6, and the detector has"):
        with patch_pyramid(engine.model, wrong):
            pass
    with (
        pytest.raises(InputError, match="level 'p1' is unknown"),
        patch_rpn(engine.model, {"p1": 2}),
    ):
        pass


def test_one_pass_beside_one_by_one(engine, scenes):
    levels = engine.levels
    ratios = with_scopes(grid_of(levels), ["rpn", "pyramid"], levels=levels)
    one_pass = OnePass(engine, make_plan(ratios, engine.head_levels))
    compared = 0
    for image in scenes.images[:2]:
        one = engine.read(scenes.image_path(image))
        (found,), _ = one_pass([one])
        flags = unpack(found.members, len(ratios))
        for number in range(0, len(ratios), 3):
            with patch_pyramid(engine.model, ratios[number]):
                wanted = engine.detect(one)
            mine = flags[:, number]
            for key in ("boxes", "scores", "classes"):
                assert np.array_equal(getattr(found, key)[mine], wanted[key])
            compared += len(wanted["scores"])
    assert compared > 300


def grid_of(levels):
    from detectron2_patch.settings.grids import Base

    values = {levels[0]: (1.0, 4.0), levels[1]: (1.0, 2.0), levels[-1]: (1.0, 2.0)}
    return grid(values, Base(levels=levels))


def test_a_sweep_of_everything_that_can_be_sent(engine, scenes, make_sweep):
    """Bits, ranks, restorers and whole results, through the spool; real bytes one by one."""
    levels = engine.levels
    image = engine.read(scenes.image_path(scenes.images[0]))
    pyramid = engine.pyramid(engine.batch([image]))
    fitted = Fitted({"kind": KIND, "images": []}, fit([pyramid], levels=levels))
    lines = [
        "--cr " + " ".join("2" for _ in levels),
        "--bits 3",
        f"--send {levels[0]} {levels[2]}",
        f"--send {levels[1]} --restore fit --bits 4",
        "--rank 4 --bits 5",
        "--image jpeg:50",
    ]
    settings = [Setting.parse(line, fitted, levels) for line in lines]
    assert [Setting.from_json(one.to_json()) for one in settings] == settings
    assert [Setting.parse(one.words, fitted, levels) for one in settings] == settings
    sweep = make_sweep(engine=engine, settings=settings, fitted=fitted)
    run(sweep)
    found = {Setting.from_json(r["setting"]): r for r in load_results(sweep.folder)}
    for setting in settings:
        wanted = evaluate(engine, scenes, setting, fitted=fitted)
        assert found[setting]["results"]["bbox"] == wanted.results["bbox"]
        assert found[setting]["payload"] == wanted.payload
        assert tuple(wanted.payload["full"]) == levels
