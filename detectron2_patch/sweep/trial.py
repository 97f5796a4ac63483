"""One pass beside one by one on a few images: what decides where a detector's parts are unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from detectron2_patch.evaluation.masks_keypoints import KEYPOINTS, SHAPES
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.onepass import Detected, OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.suppress import unpack

TRIED = 5  # looked at, at most
_ENOUGH = 50  # detections that have to agree
_RATIOS = (2.0, 1.5)  # mild, and not alike on neighbours: what mixes levels shows
_PIXELS, _SCORE, _MASK = 1e-2, 1e-4, 0.9  # what rounding on a GPU may move


def tried(engine, inputs: Sequence[Any], scopes: Sequence[str]) -> str | None:
    """Why one pass may not be trusted with this detector; None where it found what one by one does.

    Args:
        inputs: the first images, as ``engine.read`` gives them.
        scopes: those of the settings.
    """
    damage = dict(zip(engine.levels, cycle(_RATIOS)))
    settings = [
        Setting.of(one, scope, levels=engine.levels)
        for scope in sorted(set(scopes))
        for one in (damage, {})
    ]
    compared = 0
    try:
        one_pass = OnePass(engine, make_plan(settings, engine.head_levels))
        for one in inputs[:TRIED]:
            (found,), _ = one_pass([one])
            for number, setting in enumerate(settings):
                with patch_pyramid(engine.model, setting):
                    wanted = engine.detect(one)
                if not _agree(found, unpack(found.members, len(settings))[:, number], wanted):
                    return "what they find isn't what the model finds"
                compared += len(wanted["scores"])
            if compared >= _ENOUGH:
                return None
    except Exception as error:  # a part of unknown make, called in a way it may not know
        reason = " ".join(str(error).split())[:120]
        return f"they can't be run one by one ({type(error).__name__}: {reason})"
    return f"the first {len(inputs[:TRIED])} images have too few detections to tell"


def _agree(found: Detected, mine: np.ndarray, wanted: Mapping[str, Any]) -> bool:
    """Whether ``mine`` of the detections are the wanted ones, up to rounding."""
    return (
        int(mine.sum()) == len(wanted["scores"])
        and np.array_equal(found.classes[mine], wanted["classes"])
        and np.allclose(found.boxes[mine], wanted["boxes"], rtol=0, atol=_PIXELS)
        and np.allclose(found.scores[mine], wanted["scores"], rtol=0, atol=_SCORE)
        and all(
            _alike(task, [shapes[i] for i in np.flatnonzero(mine)], wanted[SHAPES[task]])
            for task, shapes in found.shapes.items()
        )
    )


def _alike(task: str, found: Sequence[Any], wanted: Sequence[Any]) -> bool:
    if task == KEYPOINTS:
        return np.allclose(np.array(found), np.array(wanted), rtol=_SCORE, atol=_PIXELS)
    from pycocotools import mask as run_length

    shared = [run_length.iou([a], [b], [0])[0, 0] for a, b in zip(found, wanted) if a != b]
    return all(one > _MASK for one in shared)
