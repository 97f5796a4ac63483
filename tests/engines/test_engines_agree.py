"""The demo's checkpoint on both engines: the same detections. Run with ``-s`` to see the counts.

What gaps there are come from the order of floating-point sums. Batched NMS, which detectron2
runs on boxes shifted apart by class where there are few, rounds the shifted boxes and can so
decide otherwise than the built-in engine, which runs each class alone.
"""

import dataclasses
import json

import numpy as np
import pytest

from detectron2_patch.config import load_cfg
from detectron2_patch.data.catalog import load_dataset
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.choice import build_engine
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.patch import patch_rpn
from detectron2_patch.settings.levels import LEVELS

IMAGES, PER_IMAGE = 50, 50
BOX_GAP, SCORE_GAP = 1e-3, 1e-4  # pixels, probability
SETTINGS = [
    (ratios, scope) for ratios in ((1, 1, 1, 1, 1), (2, 4, 8, 4, 2)) for scope in ("rpn", "pyramid")
]


@pytest.fixture(scope="module")
def engines():
    pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")
    # No threshold, so that there is much to compare on each image.
    cfg = load_cfg("configs/demo.yaml", ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"])
    both = [build_engine(name, cfg, "cpu") for name in ("torchvision", "detectron2")]
    for engine in both:
        engine.load_weights(WEIGHTS)
    return both


@pytest.fixture(scope="module")
def dataset():
    whole = load_dataset("demo_val")
    images = whole.images[:IMAGES]
    return dataclasses.replace(
        whole, images=images, annotations={i["id"]: whole.annotations[i["id"]] for i in images}
    )


def compare(wanted, found):
    """Detections of ``wanted`` without a counterpart, and the largest gaps of the others."""
    near = np.abs(found["boxes"][None] - wanted["boxes"][:, None]).max(-1, initial=0)
    scores = np.abs(found["scores"][None] - wanted["scores"][:, None])
    same = found["classes"][None] == wanted["classes"][:, None]
    match = same & (near <= BOX_GAP) & (scores <= SCORE_GAP)
    rows = np.nonzero(match.any(1))[0]
    best = np.where(match, near, np.inf)[rows].argmin(1)
    return len(match) - len(rows), near[rows, best].max(), scores[rows, best].max()


@pytest.mark.parametrize("ratios, scope", SETTINGS)
def test_the_demo_gives_the_same_on_both_engines(engines, dataset, ratios, scope):
    found = [[], []]
    for one, engine in zip(found, engines):
        with patch_rpn(engine.model, dict(zip(LEVELS, ratios)), scope):
            for image in dataset.images:
                detections = engine.detect(engine.read(dataset.image_path(image)))
                one.append({"image_id": image["id"], **detections})
    flips, box_gap, score_gap, total = 0, 0.0, 0.0, 0
    for wanted, other in zip(*found):
        assert len(wanted["scores"]) >= PER_IMAGE, f"image {wanted['image_id']}"
        part = compare(wanted, other)
        flips += part[0] + max(0, len(other["scores"]) - len(wanted["scores"]))
        box_gap, score_gap = max(box_gap, part[1]), max(score_gap, part[2])
        total += len(wanted["scores"])
    evaluator = CocoEvaluator(dataset)
    ours, theirs = (evaluator.evaluate(one) for one in found)
    print(
        json.dumps(
            {
                "ratios": ratios,
                "scope": scope,
                "images": len(found[0]),
                "detections": total,
                "fewest": min(len(one["scores"]) for one in found[0]),
                "flips": flips,
                "largest_box_gap_px": float(box_gap),
                "largest_score_gap": float(score_gap),
                "AP": [ours["AP"], theirs["AP"]],
            }
        )
    )
    assert flips <= total / 10_000
    for key in ("AP", "APs", "APm", "APl"):
        assert ours[key] == pytest.approx(theirs[key], abs=0.1)
