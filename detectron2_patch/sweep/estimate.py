"""How long a sweep will take and how much disk, from a rehearsal on one image."""

from __future__ import annotations

import logging
import shutil
import time

import numpy as np

from detectron2_patch.bootstrap import Bootstrap
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation import CocoEvaluator
from detectron2_patch.sweep.onepass import Detected, OnePass
from detectron2_patch.sweep.plan import Plan
from detectron2_patch.sweep.spool import encode
from detectron2_patch.sweep.suppress import unpack
from detectron2_patch.sweep.task import Sweep

logger = logging.getLogger(__name__)
RESULT_BYTES = 4000  # what a result file takes, about
REPLICATE_BYTES = 70  # what a replicate's AP, APs, APm and APl take in it


def announce(sweep: Sweep, plan: Plan) -> None:
    """Tell how much there is to do.

    Raises:
        InputError: the disk has too little space.
    """
    images, one_pass = sweep.dataset.images, OnePass(sweep.engine, plan, sweep.fitted)
    loaded = sweep.engine.read(sweep.dataset.image_path(images[len(images) // 2]))
    one_pass([loaded])  # the first run sets up what later ones find ready
    start = time.perf_counter()
    (found,), _ = one_pass([loaded])
    seconds = (time.perf_counter() - start) * len(images)
    seconds += _evaluation_seconds(sweep, plan, found) * len(plan.settings) / sweep.processes
    results = (RESULT_BYTES + REPLICATE_BYTES * sweep.replicates) * len(plan.settings)
    needed = len(encode([0], [found], np.zeros((2, 0)))) * len(images) + results
    logger.info(
        "%d settings from %d treatments of single levels, on %d images: about %s, and %s of disk, "
        "of which %s stay", len(plan.settings), sum(map(len, plan.treatments.values())),
        len(images), _duration(seconds), _size(needed), _size(results),
    )  # fmt: skip
    free = shutil.disk_usage(sweep.folder).free
    if needed > free:
        raise InputError(f"{sweep.folder} has {_size(free)} free and the sweep needs about "
                         f"{_size(needed)}; make room, or choose another --results-dir")


def _evaluation_seconds(sweep: Sweep, plan: Plan, found: Detected) -> float:
    """AP of one setting, as if every image had the detections of this one."""
    mine = unpack(found.members, len(plan.settings))[:, 0]
    one = {name: getattr(found, name)[mine] for name in ("boxes", "scores", "classes")}
    evaluator = CocoEvaluator(sweep.dataset)
    rows = evaluator.rows({"image_id": image["id"], **one} for image in sweep.dataset.images)
    bootstrap = Bootstrap(sweep.dataset, sweep.replicates) if sweep.replicates else None
    start = time.perf_counter()
    evaluator.evaluate_rows(rows)
    if bootstrap:
        bootstrap.evaluate(rows)
    return time.perf_counter() - start


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _size(count: float) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
