"""AP of each setting from the spool, and of resamples of the images, over several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.evaluation.bootstrap import Bootstrap
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.evaluation.masks_keypoints import ShapeEvaluator, ShapeRows
from detectron2_patch.sweep.spool import GROUP, Spool, by_image, group_name
from detectron2_patch.utils import process

Metrics = dict[str, "float | None"]
_CACHE = 200 << 20  # bytes of distinct detections that a process keeps between groups
_AT_ONCE = 200 << 20  # bytes of detections, of several settings, that a process gathers at a time


class Scored(NamedTuple):
    """What a setting's detections gave; ``bootstrap`` where replicates were asked for."""

    results: dict[str, Metrics]  # by task
    bootstrap: dict[str, Any] | None


class Scorer:
    """Evaluates settings of a finished spool of ``chunks`` files."""

    def __init__(
        self,
        dataset: CocoDataset,
        spool: Spool,
        chunks: int,
        replicates: int = 0,
        shapes: Mapping[str, ShapeEvaluator] | None = None,
    ) -> None:
        self.shapes = shapes or {}
        self.evaluator = CocoEvaluator(dataset)
        self.bootstrap = Bootstrap(dataset, replicates) if replicates else None
        self.spool, self.chunks = spool, chunks
        self.cache: dict[int, _Distinct] = {}
        self.cached = 0
        self.most = 0  # bytes of one setting's detections, as far as is known

    def group(self, number: int, count: int) -> list[Scored]:
        """The metrics of the first ``count`` settings of a group."""
        scored: list[Scored] = []
        while len(scored) < count:
            width = max(1, min(count - len(scored), _AT_ONCE // max(self.most, 1)))
            for one in self._rows(number, range(len(scored), len(scored) + width)):
                self.most = max(self.most, one.nbytes)
                results = {"bbox": self.evaluator.evaluate_rows(one.boxes)}
                for task, rows in one.shapes.items():
                    results[task] = self.shapes[task].evaluate_rows(rows)
                resampled = self.bootstrap.describe(one.boxes) if self.bootstrap else None
                scored.append(Scored(results, resampled))
        return scored

    def _rows(self, group: int, bits: Sequence[int]) -> Iterator[_Distinct]:
        parts: list[list[_Distinct]] = [[] for _ in bits]
        for number in range(self.chunks):
            with self.spool.read(number) as chunk:
                found, words = self._distinct(number, chunk), chunk[group_name(group)]
            for part, bit in zip(parts, bits):
                part.append(found.choose((words >> np.uint64(bit)) & np.uint64(1) == 1))
        yield from map(_Distinct.join, parts)

    def _distinct(self, number: int, chunk) -> _Distinct:
        """The evaluators' rows of all distinct detections of a chunk."""
        if number in self.cache:
            return self.cache[number]
        images = list(by_image(chunk))
        shapes = {task: one.rows(images) for task, one in self.shapes.items()}
        found = _Distinct(self.evaluator.rows(images), shapes)
        if self.cached + found.nbytes <= _CACHE:
            self.cache[number] = found
            self.cached += found.nbytes
        return found


@dataclass
class _Distinct:
    """Detections as the evaluators take them: of boxes, and of shapes by task."""

    boxes: np.ndarray
    shapes: dict[str, ShapeRows]

    @property
    def nbytes(self) -> int:
        return self.boxes.nbytes + sum(one.nbytes for one in self.shapes.values())

    def choose(self, mine: np.ndarray) -> _Distinct:
        indices = np.flatnonzero(mine) if self.shapes else mine
        return _Distinct(
            self.boxes[mine], {task: one.choose(indices) for task, one in self.shapes.items()}
        )

    @classmethod
    def join(cls, parts: Sequence[_Distinct]) -> _Distinct:
        shapes = {t: ShapeRows.join([part.shapes[t] for part in parts]) for t in parts[0].shapes}
        return cls(np.concatenate([part.boxes for part in parts]), shapes)


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
    shapes: Mapping[str, ShapeEvaluator] | None = None,
) -> Iterator[dict[int, Scored]]:
    """A group at a time, in whatever order they are done: index of each setting to its metrics.

    Args:
        chunks: of the spool.
        settings: how many the spool has.
        groups: which to evaluate.
        processes: over how many processes.
        replicates: resamples of the images whose AP is computed, too.
        shapes: evaluators of the shapes that the spool has, by task.
    """
    counts = {group: min(GROUP, settings - group * GROUP) for group in groups}
    # A thread a process: the evaluator's own threads would only get in each other's way.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    with ProcessPoolExecutor(
        min(processes, len(groups)),
        multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(dataset, spool, chunks, replicates, shapes),
    ) as pool:
        try:
            with process.shielded():
                asked = [pool.submit(_group, *item) for item in counts.items()]
            for done in as_completed(asked):
                group, scored = done.result()
                yield {group * GROUP + i: one for i, one in enumerate(scored)}
        except BaseException:
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:  # a group may take minutes, and nothing of it is kept
                worker.terminate()
            raise
