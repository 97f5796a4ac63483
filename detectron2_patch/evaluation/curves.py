"""COCO's precision at its recalls, from what became of the detections."""

from __future__ import annotations

import numpy as np

from detectron2_patch.evaluation.box_matching import IOUS, Matches

RECALLS = np.linspace(0.0, 1.0, 101)
_EPSILON = np.spacing(1)


def precision(matches: Matches, objects: np.ndarray) -> np.ndarray:
    """Precision (T, 101, K, A), -1 of a class and size without an object, as pycocotools has it.

    Args:
        objects: (A, K) how many objects there are to find.
    """
    sizes, classes = objects.shape
    found = np.full((len(IOUS), len(RECALLS), classes, sizes), -1.0)
    for label in range(classes):
        mine = matches.classes == label
        hits = np.cumsum(matches.hits[..., mine], axis=2, dtype=float)
        misses = np.cumsum(matches.misses[..., mine], axis=2, dtype=float)
        for size in np.flatnonzero(objects[:, label]):
            for t in range(len(IOUS)):
                found[t, :, label, size] = _at_recalls(
                    hits[t, size], misses[t, size], objects[size, label]
                )
    return found


def _at_recalls(hits: np.ndarray, misses: np.ndarray, objects: int) -> np.ndarray:
    """(101,) from hits and misses so far, (D,) each: the best precision at a recall or beyond."""
    given = hits / (misses + hits + _EPSILON)
    best = np.maximum.accumulate(given[::-1])[::-1]
    places = np.searchsorted(hits / objects, RECALLS, side="left")
    return np.append(best, 0.0)[places]
