"""One pass beside the patched detector run once a setting."""

import random

import numpy as np
import pytest
import torch

from detectron2_patch.codec.fitted import KIND, Fitted
from detectron2_patch.codec.fitting import fit
from detectron2_patch.codec.payload import Traffic
from detectron2_patch.config import load_cfg
from detectron2_patch.patch import patch_rpn
from detectron2_patch.settings.grids import (
    Base,
    Setting,
    grid,
    parse_list,
    plain,
    with_scopes,
)
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.suppress import unpack


def compare(engine, inputs, settings, chosen, fitted=None):
    """Detections compared, how many aren't bit for bit those of the one-by-one run, and how many
    stand where the two don't find the same to 1e-3 pixel and 1e-5 in score."""
    one_pass = OnePass(engine, make_plan(settings), fitted)
    compared = differing = unequal = 0
    for one in inputs:
        (found,), counts = one_pass([one])
        flags = unpack(found.members, len(settings))
        for index in chosen:
            setting, mine = settings[index], flags[:, index]
            with patch_rpn(engine.model, setting.by_level(), setting.scope, fitted=fitted) as patch:
                wanted = engine.detect(one)
            check_traffic(one_pass, counts, index, patch.traffic)
            compared += len(wanted["scores"])
            if not (
                np.array_equal(found.classes[mine], wanted["classes"])
                and np.allclose(found.boxes[mine], wanted["boxes"], rtol=0, atol=1e-3)
                and np.allclose(found.scores[mine], wanted["scores"], rtol=0, atol=1e-5)
            ):
                unequal += len(wanted["scores"])
                continue
            differing += int(
                (
                    (found.boxes[mine] != wanted["boxes"]).any(axis=1)
                    | (found.scores[mine] != wanted["scores"])
                ).sum()
            )
    return compared, differing, unequal


def check_unequal(engine, compared, unequal):
    """None, except that detectron2 sorts what it merges without keeping ties in order, and a map
    stretched from one element is all ties: which of them the cut leaves in is chance there."""
    assert unequal <= (compared / 10 if engine.name == "detectron2" else 0)


def check_traffic(one_pass, counts, index, traffic: Traffic):
    """What one pass counted of a setting is what crossed the wire in its own run."""
    lists = [one_pass.lists.index((level, t)) for level, t in zip(LEVELS, one_pass.plan.rpn[index])]
    assert dict(zip(LEVELS, counts[0, lists].tolist())) == traffic.sent
    assert dict(zip(LEVELS, counts[0, -len(LEVELS) :].tolist())) == traffic.full
    assert counts[1, -1] == traffic.images
    if one_pass.plan.settings[index].scope == "pyramid":
        assert dict(zip(LEVELS, counts[1, lists].tolist())) == traffic.nbytes


@pytest.mark.parametrize("scopes", [["rpn"], ["pyramid"], ["rpn", "pyramid"]])
def test_random_settings_of_the_full_grid(each_engine, scenes, scopes):
    engine = each_engine
    full = with_scopes(grid({level: (1.0, 2.0, 4.0, 8.0, 16.0) for level in LEVELS}), scopes)
    chosen = random.Random(0).sample(range(len(full)), 12)
    inputs = [engine.read(scenes.image_path(image)) for image in scenes.images]
    compared, differing, unequal = compare(engine, inputs, full, chosen)
    assert compared > 200 and differing == 0
    check_unequal(engine, compared, unequal)


def test_settings_that_skip_the_clean_pyramid(engine, scenes):
    settings = [
        Setting(plain((2, 1.5, float("inf"), 4, 4)), "pyramid"),
        Setting(plain((2, 3, 4, 4, 1)), "rpn"),
    ]
    inputs = [engine.read(scenes.image_path(image)) for image in scenes.images[:3]]
    compared, differing, unequal = compare(engine, inputs, settings, [0, 1])
    assert compared > 20 and differing == unequal == 0


def test_what_is_sent_restored_and_coded(each_engine, scenes):
    """Every kind of treatment, real bytes in the one-by-one run: the very detections and counts."""
    engine = each_engine
    inputs = [engine.read(scenes.image_path(image)) for image in scenes.images[:3]]
    with torch.inference_mode():
        pyramids = [engine.pyramid(engine.batch([one])) for one in inputs]
    fitted = Fitted({"kind": KIND}, fit(pyramids))
    lines = [
        "",
        "--restore origin",
        "--restore origin:p5",
        "--send p3 p5 --restore fit",
        "--send p3 --restore mix:0.5,0.5",
        "--send p6",
        "--send p2 p4 --restore coarser",
        "--bits 3",
        "--bits 2 --range channel",
        "--bits 4 --range fitted-channel",
        "--rank 16",
        "--rank 16 --bits 5",
        "--send p3 p5 --restore fit --rank 32 --bits 4",
        "--cr 1 2 1 2 1 --send p3 p5 --restore fit --bits 6",
    ]
    treatments = [
        one
        for line in lines
        for one in (parse_list([line], Base(rank_of=fitted.rank_of)) or [plain([1] * 5)])
    ]
    settings = with_scopes(treatments, ["rpn", "pyramid"])
    compared, differing, unequal = compare(engine, inputs, settings, range(len(settings)), fitted)
    assert compared > 200 and differing == 0
    check_unequal(engine, compared, unequal)


@pytest.mark.parametrize("agnostic", [False, True])
def test_more_detections_than_an_image_may_have(agnostic):
    """Random weights: every proposal is a detection of every class, so the final cut bites."""
    from detectron2_patch.engines.base import NetworkInput
    from detectron2_patch.engines.torchvision import TorchvisionEngine

    torch.manual_seed(0)
    engine = TorchvisionEngine(
        load_cfg(
            "configs/demo.yaml",
            [
                "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG",
                str(agnostic),
                "MODEL.RESNETS.STEM_OUT_CHANNELS",
                "4",
                "MODEL.RESNETS.RES2_OUT_CHANNELS",
                "8",
                "MODEL.RESNETS.WIDTH_PER_GROUP",
                "2",
                "MODEL.FPN.OUT_CHANNELS",
                "8",
                "TEST.DETECTIONS_PER_IMAGE",
                "40",
            ],
        ),
        "cpu",
    )
    for layer in (
        engine.model.roi_heads.box_predictor.cls_score,
        engine.model.proposal_generator.rpn_head.objectness_logits,
    ):
        torch.nn.init.normal_(layer.weight, std=0.5)
    inputs = [NetworkInput(torch.rand(3, 90, 130) * 255, (60, 87)) for _ in range(2)]
    settings = with_scopes(grid({"p2": (1.0, 4.0), "p3": (1.0, 2.0)}), ["rpn", "pyramid"])
    compared, differing, unequal = compare(engine, inputs, settings, range(len(settings)))
    assert compared == 2 * 40 * len(settings) and differing == unequal == 0


def test_an_image_without_proposals_has_no_detections(engine, scenes):
    settings = with_scopes(grid({"p2": (1.0, 4.0)}), ["pyramid"])
    rpn = engine.model.proposal_generator
    one = engine.read(scenes.image_path(scenes.images[0]))
    rpn.min_size, before = 1e9, rpn.min_size
    try:
        (found,), _ = OnePass(engine, make_plan(settings))([one])
    finally:
        rpn.min_size = before
    assert len(found.scores) == 0 and found.members.shape == (0, 1)


def test_images_of_one_size_go_together(engine, scenes):
    settings = with_scopes(grid({"p2": (1.0, 4.0)}), ["rpn", "pyramid"])
    inputs = [engine.read(scenes.image_path(image)) for image in scenes.images[:3]]
    one_pass = OnePass(engine, make_plan(settings))
    alone = [one_pass([one]) for one in inputs]
    together, counts = one_pass(inputs)
    assert np.array_equal(counts, sum(one for _, one in alone))
    for ((one,), _), other in zip(alone, together):
        assert np.array_equal(one.classes, other.classes)
        assert np.array_equal(one.members, other.members)
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-5)
