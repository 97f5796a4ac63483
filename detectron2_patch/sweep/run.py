"""A whole sweep: which settings are still to do, one pass over the images, their AP, their files.

Whatever is finished stays: a chunk of images in the spool, a setting in its result file. The same
command goes on from there and ends in the same files.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectron2_patch import pipeline
from detectron2_patch.codec.payload import (
    Traffic,
    bytes_by_part,
    make_payload,
    sent_bits,
    weigh_images,
)
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.bootstrap import Bootstrap
from detectron2_patch.results.file import write_result
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.estimate import announce
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.pending import find_pending, identity, locked
from detectron2_patch.sweep.plan import Plan, make_plan
from detectron2_patch.sweep.score import score
from detectron2_patch.sweep.spool import GROUP, Spool
from detectron2_patch.sweep.task import Sweep, make_batches, make_chunks
from detectron2_patch.sweep.trial import TRIED, tried
from detectron2_patch.utils import distributed
from detectron2_patch.utils.progress import progress

logger = logging.getLogger(__name__)
_WRITERS = 8  # threads that write results


@dataclass
class Done:
    """What a sweep did.

    Attributes:
        written, skipped: settings, and those that had their result already.
        seconds: where the time went, by part; of several processes, all of theirs.
        rows: boxes through the box head.
    """

    written: int
    seconds: Counter[str]
    rows: int = 0
    skipped: int = 0

    def gathered(self) -> Done | None:
        """What all processes did, on rank 0."""
        parts = distributed.gather(self)
        if parts is None:
            return None
        seconds = sum((part.seconds for part in parts), Counter())
        return Done(
            sum(part.written for part in parts),
            seconds,
            sum(part.rows for part in parts),
            self.skipped,
        )


def run(sweep: Sweep) -> Done | None:
    """Evaluate every setting that has no result yet and write one file each.

    Several processes share the images, then the settings; what was done comes back on rank 0,
    ``None`` on the others. An engine whose detector doesn't factorise evaluates one by one.

    Raises:
        InputError: another sweep uses the folder; results of other versions are in it; the disk is
            or would be full. What was finished stays, and the same call goes on.
    """
    with locked(sweep.folder):
        pending = find_pending(sweep)
        distributed.barrier()  # every process has seen what is there before one writes
        try:
            reason = _why_not(sweep) if pending else None
            if not pending:
                _spool(sweep).remove()
                done = Done(0, Counter())
            elif reason is not None:
                logger.warning("%s: settings can't share work, so one evaluation each", reason)
                done = _one_by_one(sweep, pending)
            else:
                done = _in_one_pass(sweep, pending)
        except InputError as error:
            raise InputError(
                f"{error}; what is finished is kept, and the same command goes on"
            ) from error
        done.skipped = len(sweep.settings) - len(pending)
        return done.gathered()


def _why_not(sweep: Sweep) -> str | None:
    """Why the settings can't share work; None where they can."""
    reason = sweep.engine.factorises()
    doubt = sweep.engine.doubt() if reason is None else None
    if doubt is not None:
        first = sweep.dataset.images[:TRIED]
        inputs = list(sweep.engine.read_dataset(sweep.dataset, first, sweep.readers))
        problem = tried(sweep.engine, inputs, [one.scope for one in sweep.settings])
        reason = problem and f"{doubt}, and of its parts run alone, {problem}"
        if reason is None:
            logger.info("%s: on the first images it shares work as detectron2's own does", doubt)
    return reason


def _one_by_one(sweep: Sweep, pending: Sequence[Setting]) -> Done:
    """An evaluation a setting, as ``train_net.py`` does it."""
    bootstrap = Bootstrap(sweep.dataset, sweep.replicates) if sweep.replicates else None
    for setting in progress(pending, unit="setting", desc="sweep", disable=distributed.rank() > 0):
        found = pipeline.evaluate(
            sweep.engine, sweep.dataset, setting, sweep.readers, sweep.fitted, bootstrap
        )
        if found is not None:
            result = sweep.describe(setting, found.results, found.payload, found.seconds)
            write_result(_with_replicates(result, found.bootstrap), sweep.folder)
    return Done(len(pending) if distributed.rank() == 0 else 0, Counter())


def _with_replicates(result: dict[str, Any], bootstrap: dict[str, Any] | None) -> dict[str, Any]:
    return result if bootstrap is None else {**result, "bootstrap": bootstrap}


def _in_one_pass(sweep: Sweep, pending: Sequence[Setting]) -> Done:
    spool = _spool(sweep)
    # a spool's bits are numbered by the settings that were pending when it began
    spooled = [sweep.settings[i] for i in spool.read_settings()]
    if not set(pending) <= set(spooled):  # it begins, or results have been deleted since
        spooled = []
    plan = make_plan(spooled or pending, sweep.engine.head_levels)
    chunks = make_chunks(sweep.dataset, sweep.batch_size)
    one_pass = OnePass(sweep.engine, plan, sweep.fitted)
    distributed.barrier()
    if spooled:
        logger.info("going on with the unfinished sweep in %s", spool.folder)
    elif distributed.rank() == 0:
        spool.remove()
        announce(sweep, plan)
        numbers = {setting: i for i, setting in enumerate(sweep.settings)}
        spool.write_settings([numbers[setting] for setting in pending])
    distributed.barrier()
    _detect(sweep, spool, one_pass, chunks)
    share = sum(one_pass.seconds.values()) / len(plan.settings)
    distributed.barrier()
    with one_pass.timed("AP"):
        written = _evaluate(sweep, spool, plan, len(chunks), set(pending), share)
    distributed.barrier()
    spool.remove()
    return Done(written, one_pass.seconds, one_pass.rows)


def _spool(sweep: Sweep) -> Spool:
    return Spool(sweep.folder / f".sweep-{identity(sweep)[:12]}")


def _detect(
    sweep: Sweep, spool: Spool, one_pass: OnePass, chunks: Sequence[Sequence[dict]]
) -> None:
    """The pass over the images: a spool file for each chunk that has none."""
    divisor = sweep.engine.model.backbone.size_divisibility
    missing = distributed.share_left(range(len(chunks)), spool.has)
    images = [image for number in missing for image in chunks[number]]
    loaded = sweep.engine.read_dataset(sweep.dataset, images, sweep.readers)
    with progress(
        total=len(images), unit="image", desc="one pass", disable=distributed.rank() > 0
    ) as bar:
        for number in missing:
            with one_pass.timed("images"):
                inputs = [next(loaded) for _ in chunks[number]]
            found, counts = [], np.zeros((1, 1), dtype=np.int64)
            for batch in make_batches(inputs, sweep.batch_size, divisor):
                detected, of_batch = one_pass(batch)
                found += detected
                counts = counts + of_batch
                bar.update(len(batch))
            with one_pass.timed("spool"):
                spool.write(number, [image["id"] for image in chunks[number]], found, counts)


def _evaluate(
    sweep: Sweep, spool: Spool, plan: Plan, chunks: int, pending: set[Setting], share: float
) -> int:
    """AP of each pending setting of the spool, written as it comes; returns how many."""
    counts = np.sum([spool.counts(number) for number in range(chunks)], axis=0)
    payload = _Payload(sweep, plan, counts)
    todo = {i for i, setting in enumerate(plan.settings) if setting in pending}
    groups = distributed.share(sorted({i // GROUP for i in todo}))
    todo = {i for i in todo if i // GROUP in groups}
    if not todo:
        return 0
    processes = max(1, sweep.processes // distributed.local_world_size())
    results = score(
        sweep.dataset,
        spool,
        chunks,
        len(plan.settings),
        groups,
        processes,
        sweep.replicates,
        sweep.engine.shape_evaluators(sweep.dataset),
    )
    before = time.perf_counter()
    # Files are on the disk before they take their names; threads wait for it together.
    with (
        ThreadPoolExecutor(_WRITERS) as pool,
        progress(total=len(todo), unit="setting", desc="AP", disable=distributed.rank() > 0) as bar,
    ):
        for group in results:
            found = {index: scored for index, scored in group.items() if index in todo}
            now = time.perf_counter()
            seconds, before = share + (now - before) / len(group), now

            def write(item: tuple[int, Any], seconds: float = seconds) -> None:
                index, scored = item
                result = sweep.describe(
                    plan.settings[index], scored.results, payload.of(index), seconds
                )
                write_result(_with_replicates(result, scored.bootstrap), sweep.folder)

            list(pool.map(write, found.items()))  # raises what a write raised
            bar.update(len(found))
    return len(todo)


class _Payload:
    """Payloads of settings: what each (level, treatment) sent over all images, added up."""

    def __init__(self, sweep: Sweep, plan: Plan, counts: np.ndarray) -> None:
        self.plan, self.fitted = plan, sweep.fitted
        self.images = weigh_images(sweep.dataset)
        ends = np.cumsum([len(plan.treatments[level]) for level in plan.levels])
        parts = np.split(counts, ends, axis=1)
        self.counts = dict(zip(plan.levels, parts))
        self.full, self.image_count = parts[-1][0].tolist(), int(parts[-1][1, 0])

    def of(self, index: int) -> dict[str, Any]:
        setting = self.plan.settings[index]
        traffic = Traffic.of(setting.levels, self.image_count, dict(zip(setting.levels, self.full)))
        treatments, nbytes = setting.by_level(), {}
        for level, t in zip(setting.levels, self.plan.merges[self.plan.merge_of[index]]):
            elements, count = self.counts[level][:, t].tolist()
            traffic.sent[level] = elements
            traffic.bits[level] = elements * sent_bits(treatments[level])
            if count:
                nbytes[level, treatments[level]] = count
        traffic.add_bytes(bytes_by_part(treatments, nbytes))
        return make_payload(setting, traffic, self.images, self.fitted)
