"""AP of each setting from the spool, and of resamples of the images, over several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.evaluation.bootstrap import Bootstrap
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.sweep.spool import GROUP, Spool, by_image, group_name
from detectron2_patch.utils import process

Metrics = dict[str, "float | None"]
_CACHE = 200 << 20  # bytes of distinct detections that a process keeps between groups
_AT_ONCE = 200 << 20  # bytes of detections, of several settings, that a process gathers at a time


class Scored(NamedTuple):
    """What a setting's detections gave; ``bootstrap`` where replicates were asked for."""

    bbox: Metrics
    bootstrap: dict[str, Any] | None


class Scorer:
    """Evaluates settings of a finished spool of ``chunks`` files."""

    def __init__(
        self, dataset: CocoDataset, spool: Spool, chunks: int, replicates: int = 0
    ) -> None:
        self.evaluator = CocoEvaluator(dataset)
        self.bootstrap = Bootstrap(dataset, replicates) if replicates else None
        self.spool, self.chunks = spool, chunks
        self.cache: dict[int, np.ndarray] = {}
        self.cached = 0
        self.most = 0  # bytes of one setting's detections, as far as is known

    def group(self, number: int, count: int) -> list[Scored]:
        """The metrics of the first ``count`` settings of a group."""
        scored: list[Scored] = []
        while len(scored) < count:
            width = max(1, min(count - len(scored), _AT_ONCE // max(self.most, 1)))
            for rows in self._rows(number, range(len(scored), len(scored) + width)):
                self.most = max(self.most, rows.nbytes)
                scored.append(
                    Scored(
                        self.evaluator.evaluate_rows(rows),
                        self.bootstrap.describe(rows) if self.bootstrap else None,
                    )
                )
        return scored

    def _rows(self, group: int, bits: Sequence[int]) -> list[np.ndarray]:
        parts: list[list[np.ndarray]] = [[] for _ in bits]
        for number in range(self.chunks):
            with self.spool.read(number) as chunk:
                rows, words = self._distinct(number, chunk), chunk[group_name(group)]
            for part, bit in zip(parts, bits):
                part.append(rows[(words >> np.uint64(bit)) & np.uint64(1) == 1])
        return [np.concatenate(part) for part in parts]

    def _distinct(self, number: int, chunk) -> np.ndarray:
        """The evaluator's rows of all distinct detections of a chunk."""
        if number in self.cache:
            return self.cache[number]
        rows = self.evaluator.rows(by_image(chunk))
        if self.cached + rows.nbytes <= _CACHE:
            self.cache[number] = rows
            self.cached += rows.nbytes
        return rows


@dataclass
class _Worker:
    scorer: Scorer | None = None


_worker = _Worker()  # of this process


def _start(*args: Any) -> None:
    _worker.scorer = Scorer(*args)


def _group(number: int, count: int) -> tuple[int, list[Scored]]:
    assert _worker.scorer is not None
    return number, _worker.scorer.group(number, count)


def score(
    dataset: CocoDataset,
    spool: Spool,
    chunks: int,
    settings: int,
    groups: Sequence[int],
    processes: int,
    replicates: int = 0,
) -> Iterator[dict[int, Scored]]:
    """A group at a time, in whatever order they are done: index of each setting to its metrics.

    Args:
        chunks: of the spool.
        settings: how many the spool has.
        groups: which to evaluate.
        processes: over how many processes.
        replicates: resamples of the images whose AP is computed, too.
    """
    counts = {group: min(GROUP, settings - group * GROUP) for group in groups}
    # A thread a process: the evaluator's own threads would only get in each other's way.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    with ProcessPoolExecutor(
        min(processes, len(groups)),
        multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(dataset, spool, chunks, replicates),
    ) as pool:
        try:
            with process.shielded():
                asked = [pool.submit(_group, *item) for item in counts.items()]
            for done in as_completed(asked):
                group, scored = done.result()
                yield {group * GROUP + i: one for i, one in enumerate(scored)}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
