"""One pass beside the patched detector run once a setting."""

import os
import random

import numpy as np

from detectron2_patch.evaluation.masks_keypoints import SHAPES
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.settings.grids import Base, grid, with_scopes
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.suppress import unpack

# Of each kind of model, under 16 settings in each scope; on more pictures:
# PICTURES=10 pytest tests/sweep -k random_settings
PICTURES = int(os.environ.get("PICTURES", "1"))


def random_settings(levels=LEVELS, scopes=("rpn", "pyramid"), count=16):
    """``count`` random settings of the full grid in each scope."""
    full = grid({level: (1.0, 2.0, 4.0, 8.0) for level in levels}, Base(levels=levels))
    chosen = random.Random(0).sample(full, count)
    return with_scopes(chosen, scopes, levels=levels)


def check_equal(engine, dataset, settings):
    """Every detection and shape of one pass is one by one's, on ``PICTURES`` of the dataset; how
    many there were."""
    one_pass = OnePass(engine, make_plan(settings, engine.head_levels))
    compared = 0
    for image in dataset.images[:PICTURES]:
        one = engine.read(dataset.image_path(image))
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
