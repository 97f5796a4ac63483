"""Which parts of a model one pass trusts, and that it finds out where it may not."""

import logging

import numpy as np
import pytest
from random_models import random_model

from detectron2_patch.patch import patch_pyramid
from detectron2_patch.results.file import load_results
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.run import run
from detectron2_patch.sweep.suppress import unpack

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")

SETTINGS = [Setting.of({"p3": 2, "p4": 4}, scope) for scope in ("rpn", "pyramid")]
SIX = ["MODEL.ROI_HEADS.NUM_CLASSES", 6]  # as the scenes have


def with_predictor(model):
    """A box predictor that selects in its own way."""
    kind = type(model.roi_heads.box_predictor)

    class Own(kind):
        def inference(self, predictions, proposals):
            found, kept = super().inference(predictions, proposals)
            for one in found:
                one.scores = one.scores / 2
            return found, kept

    model.roi_heads.box_predictor.__class__ = Own


def with_mixing_head(model):
    """An RPN head whose answer on one level depends on the others."""
    kind = type(model.proposal_generator.rpn_head)

    class Mixing(kind):
        def forward(self, features):
            mean = sum(x.mean() for x in features) / len(features)
            return super().forward([x + mean for x in features])

    model.proposal_generator.rpn_head.__class__ = Mixing


def with_own_rpn(model):
    """A subclass that changes nothing."""

    class Same(type(model.proposal_generator)):
        pass

    model.proposal_generator.__class__ = Same


def with_hook(model):
    model.roi_heads.box_head.register_forward_hook(lambda module, args, out: out * 1.5)


def with_other_pooler(model):
    """Boxes are pooled from other levels than the standard ones."""
    model.roi_heads.box_pooler.canonical_box_size = 112


def beside(engine, scenes, settings):
    """How many detections of one by one there are, and how many of one pass are others."""
    one_pass = OnePass(engine, make_plan(settings, engine.pooled))
    compared = others = 0
    for image in scenes.images[:3]:
        one = engine.read(scenes.image_path(image))
        (found,), _ = one_pass([one])
        for number, setting in enumerate(settings):
            with patch_pyramid(engine.model, setting):
                wanted = engine.detect(one)
            mine = unpack(found.members, len(settings))[:, number]
            compared += len(wanted["scores"])
            same = len(wanted["scores"]) == mine.sum() and all(
                np.array_equal(getattr(found, key)[mine], wanted[key])
                for key in ("boxes", "scores", "classes")
            )
            others += 0 if same else len(wanted["scores"])
    return compared, others


@pytest.mark.parametrize("levels", [["p3", "p4", "p5"], ["p2", "p3"], ["p4"]])
def test_the_box_head_pools_from_its_own_levels(scenes, levels):
    engine = random_model(["MODEL.ROI_HEADS.IN_FEATURES", levels])
    assert engine.factorises() is None and engine.doubt() is None
    assert engine.pooled == tuple(levels)
    compared, others = beside(engine, scenes, SETTINGS)
    assert compared > 100 and others == 0


def test_the_pooler_says_which_level_a_box_is_pooled_from(scenes):
    engine = random_model(change=with_other_pooler)
    assert engine.doubt() is None
    compared, others = beside(engine, scenes, SETTINGS)
    assert compared > 100 and others == 0


@pytest.mark.parametrize(
    "change, part, trusted",
    [
        (with_predictor, "box_predictor is a Own", False),
        (with_mixing_head, "rpn_head is a Mixing", False),
        (with_own_rpn, "proposal_generator is a Same", True),
        (with_hook, "box_head has hooks", True),
    ],
)
def test_what_is_unknown_is_tried_first(make_sweep, scenes, caplog, change, part, trusted):
    """The sweep finds what one by one finds, whatever the part does."""
    caplog.set_level(logging.INFO)
    engine = random_model(SIX, change=change)
    sweep = make_sweep(engine=engine, settings=SETTINGS)
    run(sweep)
    assert part in caplog.text
    assert ("one evaluation each" in caplog.text) == (not trusted)
    assert ("shares work as detectron2's own" in caplog.text) == trusted
    assert len(load_results(sweep.folder)) == len(SETTINGS)
    compared, others = beside(engine, scenes, SETTINGS) if trusted else (0, 0)
    assert others == 0


def test_nothing_detected_is_nothing_known(make_sweep, caplog):
    engine = random_model([*SIX, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 2.0], change=with_own_rpn)
    run(make_sweep(engine=engine, settings=SETTINGS))
    assert "too few detections to tell" in caplog.text


def test_one_box_for_all_classes(scenes):
    engine = random_model(["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True])
    assert engine.factorises() is None and engine.doubt() is None
    compared, others = beside(engine, scenes, SETTINGS)
    assert compared > 100 and others == 0
