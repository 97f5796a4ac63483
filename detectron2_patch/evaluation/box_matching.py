"""Which detection finds which object, as COCO decides it: once for all resamples of the images.

pycocotools' rule, for all images, classes, sizes and IoU thresholds at once. hotcoco tells it, too,
but as nested lists for each image, which take far longer to make than the matching.

Letters: ``T`` IoU thresholds, ``A`` sizes, ``D`` detections, ``G`` objects, ``P`` pairs of a
detection and an object of one class in one image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IOUS = np.linspace(0.5, 0.95, 10)  # T
SIZES = ("AP", "APs", "APm", "APl")  # A
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])  # pixels², both included
LIMIT = 100  # detections of a class in an image


@dataclass
class Matches:
    """What became of the detections, the best of all images first.

    Attributes:
        images: (D,) position of the image in the dataset.
        classes: (D,) contiguous class.
        hits: (T, A, D) found an object that counts.
        misses: (T, A, D) found none and counts against the detector; the others are ignored.
    """

    images: np.ndarray
    classes: np.ndarray
    hits: np.ndarray
    misses: np.ndarray


def match(truth: np.ndarray, rows: np.ndarray) -> Matches:
    """Match detections to objects.

    Args:
        truth: (G, 8) as ``evaluation.ground_truth`` gives it.
        rows: (D, 7) as ``CocoEvaluator.rows`` gives them.
    """
    rows = rows[best_of_each_image(rows[:, 0], rows[:, 6], rows[:, 5], LIMIT)]
    return decide(
        rows[:, 0],
        rows[:, 6],
        rows[:, 5],
        _inside(rows[:, 3] * rows[:, 4]),
        _pairs(truth, rows),
        ignored_objects(truth),
        truth[:, 7] > 0,
    )


def decide(
    images: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    inside: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    ignored: np.ndarray,
    crowd: np.ndarray,
) -> Matches:
    """Match detections to objects, whatever their likeness is measured by.

    Args:
        images, classes, scores: (D,) of the detections, in ``best_of_each_image``'s order; images
            and classes from 1 on.
        inside: (A, D) whether a detection belongs to a size.
        pairs: detection, object and likeness, (P,) each, of those that are alike enough.
        ignored: (A, G) objects that nobody has to find.
        crowd: (G,) objects that may be found more than once.
    """
    found = _greedy(_group(images, classes), pairs, ignored, crowd)
    matched = found >= 0
    on_ignored = np.zeros_like(matched)
    for a in range(len(ignored)):
        on_ignored[:, a][matched[:, a]] = ignored[a][found[:, a][matched[:, a]]]
    hits, misses = matched & ~on_ignored, ~matched & inside
    order = np.argsort(-scores, kind="stable")
    return Matches(
        images[order].astype(int) - 1,
        classes[order].astype(int) - 1,
        hits[..., order],
        misses[..., order],
    )


def ignored_objects(truth: np.ndarray) -> np.ndarray:
    """(A, G): crowds, and objects of another size, which nobody has to find."""
    return ~_inside(truth[:, 6]) | (truth[:, 7] > 0)


def _inside(area: np.ndarray) -> np.ndarray:
    """(A, n): whether an area belongs to a size."""
    return (area >= AREAS[:, :1]) & (area <= AREAS[:, 1:])


def best_of_each_image(
    images: np.ndarray, classes: np.ndarray, scores: np.ndarray, limit: int
) -> np.ndarray:
    """Indices of the first ``limit`` detections of each class in each image, by image, class and
    falling score."""
    order = np.lexsort((-scores, classes, images))
    return order[_place(_group(images[order], classes[order])) < limit]


def _group(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """One whole number for each class in each image."""
    return (images * (1 << 32) + classes).astype(np.int64)


def _place(groups: np.ndarray) -> np.ndarray:
    """How many of the same group stand before each of ``groups``, whose equals lie together."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))


def _pairs(truth: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detection, object and IoU of all that overlap enough to be matched at some threshold."""
    groups = _group(truth[:, 0], truth[:, 1])
    order = np.argsort(groups, kind="stable")
    wanted = _group(rows[:, 0], rows[:, 6])
    first, last = (np.searchsorted(groups[order], wanted, side) for side in ("left", "right"))
    detections = np.repeat(np.arange(len(rows)), last - first)
    objects = order[np.repeat(first, last - first) + _place(detections)]
    ious = _iou(rows[detections, 1:5], truth[objects, 2:6], truth[objects, 7] > 0)
    near = ious >= IOUS[0]
    return detections[near], objects[near], ious[near]


def _iou(found: np.ndarray, objects: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(P,) of boxes (P, 4) x, y, width, height, in pycocotools' order of operations: what is just
    at a threshold has to fall to the same side. In a crowd it is the share of the detection."""
    ends = np.minimum(found[:, :2] + found[:, 2:], objects[:, :2] + objects[:, 2:])
    sides = ends - np.maximum(found[:, :2], objects[:, :2])
    overlap = np.where((sides > 0).all(1), sides[:, 0] * sides[:, 1], 0)
    area = found[:, 2] * found[:, 3]
    union = np.where(crowd, area, area + objects[:, 2] * objects[:, 3] - overlap)
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


def _greedy(
    groups: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    ignored: np.ndarray,
    crowd: np.ndarray,
) -> np.ndarray:
    """(T, A, D): the object each detection takes, -1 for none. ``groups`` (D,): one number for
    each class in each image.

    The best detection chooses first: the free object of highest IoU, one to be ignored only where
    no other will do; of equals the last. All images and classes take their turns together.
    """
    detections, objects, ious = pairs
    turn = _place(groups)[detections]
    order = np.lexsort((objects, ious, detections, turn))
    detections, objects, ious, turn = (x[order] for x in (detections, objects, ious, turn))
    preference = _place(detections) + ~ignored[:, objects] * (1 << 32)  # (A, P)
    enough = ious >= np.minimum(IOUS, 1 - 1e-10)[:, None, None]  # (T, 1, P)
    taken = np.zeros((len(IOUS), len(ignored), len(crowd)), dtype=bool)
    found = np.full((len(IOUS), len(ignored), len(groups)), -1, dtype=np.int32)
    for start, end in _runs(turn):
        mine, wanted = detections[start:end], objects[start:end]
        free = enough[..., start:end] & (~taken[..., wanted] | crowd[wanted])
        value = np.where(free, preference[:, start:end], -1)
        bounds = _runs(mine)
        best = np.maximum.reduceat(value, bounds[:, 0], axis=2)  # (T, A, detections of this turn)
        chosen = (value == np.repeat(best, np.diff(bounds)[:, 0], axis=2)) & free
        t, a, p = np.nonzero(chosen)
        found[t, a, mine[p]] = wanted[p]
        taken[t, a, wanted[p]] = True
    return found


def _runs(values: np.ndarray) -> np.ndarray:
    """(n, 2): where each run of equal values begins and ends."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    return np.stack([starts, np.append(starts, len(values))[1:]], axis=1)
