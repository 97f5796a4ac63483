"""How far AP depends on which images were drawn: AP of resamples of a dataset's images.

Each replicate is as many images, drawn with replacement; one that is drawn twice counts twice. What
every detection finds is the same in all of them, so it is decided once, and a replicate only
weighs the images anew. The precision at a recall is the best one at that recall or beyond, so that
equal detections of an image drawn twice may be counted in one step.

Letters: ``B`` replicates, ``I`` images, ``K`` classes, ``A`` sizes, ``T`` IoU thresholds, ``D``
detections, ``H`` hits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.evaluation.box_matching import IOUS, SIZES, Matches, ignored_objects, match
from detectron2_patch.evaluation.coco import ground_truth

SEED = 0
_RECALLS = np.linspace(0.0, 1.0, 101)
_AT_ONCE = 1 << 18  # numbers in an array: as many replicates go together as this allows


def has_replicates(result: Mapping[str, Any], replicates: int) -> bool:
    """Whether a result has as many replicates, or more: fewer are the first of more."""
    found = result.get("bootstrap") or {"replicates": 0, "seed": SEED}
    return found["replicates"] >= replicates and found["seed"] == SEED


def draw_weights(images: int, replicates: int, seed: int = SEED) -> np.ndarray:
    """(B, I) how often each replicate draws each image.

    Equal arguments give equal draws, and fewer replicates are the first of more, so that the
    replicates of two results of one dataset are pairs.
    """
    drawn = np.random.default_rng(seed).integers(images, size=(replicates, images))
    flat = (drawn + np.arange(replicates)[:, None] * images).ravel()
    counts = np.bincount(flat, minlength=replicates * images)
    return counts.reshape(replicates, images).astype(np.int32)


class Bootstrap:
    """Resamples of a dataset, drawn once, for any number of evaluations.

    bootstrap = Bootstrap(dataset, 1000)
    bootstrap.evaluate(evaluator.rows(detections))["APs"]  # 1000 numbers
    """

    def __init__(
        self,
        dataset: CocoDataset,
        replicates: int,
        seed: int = SEED,
        weights: np.ndarray | None = None,
    ) -> None:
        """``weights``: (B, I) whole numbers to take instead of drawing them."""
        self.replicates, self.seed = replicates, seed
        images, (classes, self._truth) = len(dataset.images), ground_truth(dataset)
        self.weights = draw_weights(images, replicates, seed) if weights is None else weights
        self._objects = self._count_objects(classes)

    def _count_objects(self, classes: int) -> np.ndarray:
        """(A, K, B) objects to be found."""
        images, labels = self._truth[:, 0].astype(int) - 1, self._truth[:, 1].astype(int) - 1
        counts = np.zeros((len(SIZES), classes, self.weights.shape[1]))
        for count, ignored in zip(counts, ignored_objects(self._truth)):
            np.add.at(count, (labels[~ignored], images[~ignored]), 1)
        return counts @ self.weights.T.astype(float)

    def describe(self, rows: np.ndarray) -> dict[str, Any]:
        """``evaluate`` as a result holds it: percent to 3 decimals, None for no value."""
        values = self.evaluate(rows)
        return {
            "replicates": self.replicates,
            "seed": self.seed,
            "bbox": {
                key: [None if np.isnan(v) else round(v, 3) for v in value.tolist()]
                for key, value in values.items()
            },
        }

    def evaluate(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """AP, APs, APm and APl in percent, each ``(B,)``, NaN without an object of the size.

        Args:
            rows: detections as ``CocoEvaluator.rows`` gives them.
        """
        matches = match(self._truth, rows)
        present = self._objects > 0
        total = np.zeros((len(SIZES), len(self.weights)))
        for label in range(self._objects.shape[1]):
            mine = np.flatnonzero(matches.classes == label)
            for part in self._chunks(len(mine)):
                weights = np.take(self.weights[part], matches.images[mine], axis=1)
                for size in range(len(SIZES)):
                    if present[size, label, part].any():
                        total[size, part] += _average_precision(
                            matches, mine, size, weights, self._objects[size, label, part]
                        )
        classes = present.sum(axis=1)
        mean = np.divide(total, classes, out=np.full_like(total, np.nan), where=classes > 0)
        return dict(zip(SIZES, 100 * mean))

    def _chunks(self, width: int) -> Iterator[slice]:
        step = max(1, _AT_ONCE // max(width, 1))
        for start in range(0, len(self.weights), step):
            yield slice(start, start + step)


def _average_precision(
    matches: Matches, mine: np.ndarray, size: int, weights: np.ndarray, objects: np.ndarray
) -> np.ndarray:
    """(B,) AP of one class and size over all thresholds, as a fraction; 0 without an object.

    Args:
        mine: (D,) the class's detections.
        weights: (B, D) of them.
        objects: (B,) how many there are to find.
    """
    total = np.zeros(len(objects))
    for hits, misses in zip(matches.hits[:, size, mine], matches.misses[:, size, mine]):
        total += _mean_precision(hits, misses, weights, objects)
    return total / len(IOUS)


def _mean_precision(
    hits: np.ndarray, misses: np.ndarray, weights: np.ndarray, objects: np.ndarray
) -> np.ndarray:
    """(B,) mean of the precision at 101 recalls; hits, misses (D,), weights (B, D), objects (B,).

    Precision only rises at a hit, so no other place has to be looked at.
    """
    if not hits.any():
        return np.zeros(len(objects))
    end = np.flatnonzero(hits)[-1] + 1
    counted = np.flatnonzero((hits | misses)[:end])
    at = np.flatnonzero(hits[counted])  # (H,)
    counted = np.take(weights, counted, axis=1)
    found = np.cumsum(np.take(counted, at, axis=1), axis=1, dtype=np.int32)
    given = np.take(np.cumsum(counted, axis=1, dtype=np.int32), at, axis=1)
    precision = found / np.maximum(given, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = _recalls_reached(found, objects)  # (B, H)
    steps = np.diff(reached, axis=1, prepend=np.zeros((len(objects), 1), reached.dtype))
    return np.einsum("bh,bh->b", best, steps) / len(_RECALLS)


def _recalls_reached(found: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """(B, H) how many of the 101 recalls are at or below ``found / objects``."""
    recall = found / np.maximum(objects, 1)[:, None]
    nearest = np.rint(recall * 100).astype(np.int32)
    # 0.35 < 35 * 0.01 as computers count, and pycocotools compares them so
    return nearest + (_RECALLS[nearest] <= recall)
