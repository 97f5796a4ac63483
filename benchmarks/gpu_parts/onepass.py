"""Parts ``onepass-1``, ``onepass-4`` and ``gap``: many settings in one pass, and one by one."""

from __future__ import annotations

import random
from statistics import mean

from exactness import Gaps

from detectron2_patch.evaluation.coco import OVERALL, CocoEvaluator
from gpu_parts.bench import Bench
from gpu_parts.configs import X101
from gpu_parts.data import the_photographs
from gpu_parts.detectors import random_detector
from gpu_parts.project import (
    SCOPES,
    OnePass,
    all_settings,
    evaluate,
    make_batches,
    make_plan,
    patched,
    run_sweep,
    unpack,
    with_own_truth,
)
from gpu_parts.timing import forget_peak, peak_mib

BATCHES = (1, 4)
AP_GAP = 0.5  # of a hundred; TF32 and another batch size flip a few of the thousands of boxes


def prepared(bench: Bench):
    """The detector, and the photographs with its own clean boxes as their truth."""
    dataset = the_photographs(bench.sizes)
    first = dataset.image_path(dataset.images[0])
    engine = random_detector(X101, bench.sizes.opts, bench.device, first)
    return engine, with_own_truth(engine, dataset)


def run(bench: Bench, batch_size: int) -> None:
    """A row for each scope and grid: seconds from files to AP, beside one evaluation and beside
    the network's own share."""
    engine, dataset = prepared(bench)
    single = evaluate(engine, dataset).seconds
    for scope in SCOPES:
        for ratios in bench.sizes.grids:
            settings = all_settings(ratios, [scope])
            forget_peak(bench.device)
            seconds, done = run_sweep(engine, dataset, settings, batch_size)
            peak, before = peak_mib(bench.device), single
            single = evaluate(engine, dataset).seconds
            part = done.seconds
            part["rpn"] += part.pop("treat")
            floor = sum(part[name] for name in OnePass.NETWORK)
            bench.row(
                scope=scope,
                settings=len(settings),
                batch=batch_size,
                seconds=seconds,
                x_one=seconds / mean([before, single]),
                x_floor=seconds / floor,
                backbone=part["backbone"],
                rpn=part["rpn"],
                box_head=part["box head"],
                merge_nms=part["merge"] + part["suppress"],
                AP_files=part["images"] + part["spool"] + part["AP"],
                boxes=done.rows / len(dataset.images),
                peak_MiB=peak,
            )


def run_gap(bench: Bench) -> None:
    """A row for each batch size and scope: what differs from the run of one setting at a time."""
    engine, dataset = prepared(bench)
    settings = all_settings(bench.sizes.grids[0])
    chosen = _chosen(len(settings), bench.sizes.gap_settings)
    inputs = [engine.read(dataset.image_path(image)) for image in dataset.images]
    single = {index: _one_by_one(engine, settings[index], inputs) for index in chosen}
    for batch_size in BATCHES:
        swept = _in_one_pass(engine, settings, chosen, inputs, batch_size)
        for scope in SCOPES:
            _compare(
                bench,
                dataset,
                batch_size,
                scope,
                [
                    (swept[index], single[index])
                    for index in chosen
                    if settings[index].scope == scope
                ],
            )


def _chosen(count: int, a_scope: int) -> list[int]:
    """``a_scope`` settings of each scope, drawn; the scopes lie one after the other."""
    half, draw = count // len(SCOPES), random.Random(0)
    return [
        i
        for n in range(len(SCOPES))
        for i in draw.sample(range(n * half, n * half + half), a_scope)
    ]


def _one_by_one(engine, setting, inputs) -> list[dict]:
    with patched(engine, setting):
        return [engine.detect(image) for image in inputs]


def _in_one_pass(engine, settings, chosen, inputs, batch_size: int) -> dict[int, list[dict]]:
    """The detections of each image under the chosen settings."""
    one_pass, swept = OnePass(engine, make_plan(settings)), {index: [] for index in chosen}
    divisor = engine.model.backbone.size_divisibility
    for batch in make_batches(inputs, batch_size, divisor):
        for found in one_pass(batch)[0]:
            flags = unpack(found.members, len(settings))
            for index in chosen:
                mine = flags[:, index]
                swept[index].append(
                    {name: getattr(found, name)[mine] for name in ("boxes", "scores", "classes")}
                )
    return swept


def _compare(bench: Bench, dataset, batch_size: int, scope: str, pairs: list) -> None:
    """A row over all settings of a scope, and a check of AP."""
    gaps, drift, evaluator = Gaps(), 0.0, CocoEvaluator(dataset)
    for pair in pairs:
        for one, other in zip(*pair):
            gaps.add(one, other)
        swept, single = (
            evaluator.evaluate(
                [{"image_id": image["id"], **one} for image, one in zip(dataset.images, found)]
            )
            for found in pair
        )
        drift = max(drift, *(abs((swept[key] or 0) - (single[key] or 0)) for key in OVERALL))
    bench.row(
        scope=scope,
        batch=batch_size,
        settings=len(pairs),
        detections=gaps.compared,
        not_bit_for_bit=gaps.differing,
        missing=gaps.lost,
        box_gap_px=float(gaps.box),
        score_gap=float(gaps.score),
        AP_gap=drift,
    )
    bench.check(
        f"AP of one pass and one by one, {scope}, batch {batch_size}", drift, drift <= AP_GAP
    )
