"""COCO's average precision of masks and keypoints, beside that of boxes.

How alike a detection and an object are, the dear part, is computed once for each detection, by
pycocotools' own C for masks; any choice of the detections is then evaluated from that, with
pycocotools' numbers to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.box_matching import AREAS, IOUS, best_of_each_image, decide
from detectron2_patch.evaluation.coco import OVERALL, class_keys, silent_pycocotools
from detectron2_patch.evaluation.curves import precision

SEGM, KEYPOINTS = ("segm", "keypoints")
SHAPES = {SEGM: "masks", KEYPOINTS: "keypoints"}  # as detections have them
_METRICS = {SEGM: OVERALL, KEYPOINTS: tuple(key for key in OVERALL if key != "APs")}
_COCO_KEY = {SEGM: "segmentation", KEYPOINTS: "keypoints"}
_SIZES = {SEGM: AREAS, KEYPOINTS: AREAS[[0, 2, 3]]}  # no keypoints of small objects
_LIMITS = {SEGM: 100, KEYPOINTS: 20}  # detections of a class in an image
_50, _75 = 0, 5  # of IOUS


@dataclass
class ShapeRows:
    """Detections, and the objects that they are like. ``D`` detections, ``P`` pairs.

    Attributes:
        rows: (D, 4) image and class from 1 on, score, area of the shape.
        detections, objects: (P,) indices into ``rows`` and the ground truth.
        alike: (P,) intersection over union of masks, or object keypoint similarity.
    """

    rows: np.ndarray
    detections: np.ndarray
    objects: np.ndarray
    alike: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.rows.nbytes + 3 * self.alike.nbytes

    def choose(self, indices: np.ndarray) -> ShapeRows:
        """The detections of ``indices`` (unique), in their order."""
        place = np.full(len(self.rows), -1)
        place[indices] = np.arange(len(indices))
        kept = place[self.detections] >= 0
        detections = place[self.detections[kept]]
        return ShapeRows(self.rows[indices], detections, self.objects[kept], self.alike[kept])

    @classmethod
    def join(cls, parts: Sequence[ShapeRows]) -> ShapeRows:
        """The detections of all ``parts``, one part after the other."""
        starts = np.cumsum([0, *(len(part.rows) for part in parts)])
        return cls(
            np.concatenate([np.empty((0, 4)), *(part.rows for part in parts)]),
            np.concatenate(
                [np.empty(0, np.int64), *(p.detections + s for p, s in zip(parts, starts))]
            ),
            np.concatenate([np.empty(0, np.int64), *(part.objects for part in parts)]),
            np.concatenate([np.empty(0), *(part.alike for part in parts)]),
        )


class ShapeEvaluator:
    """The ground truth of one task, for any number of evaluations against it.

    Args:
        task: ``segm`` or ``keypoints``.
        sigmas: of each keypoint, for the object keypoint similarity; empty: COCO's 17.

    Raises:
        InputError: the dataset has none of the task's shapes, or as many sigmas as keypoints are
            missing.
    """

    def __init__(self, dataset: CocoDataset, task: str, sigmas: Sequence[float] = ()) -> None:
        from pycocotools.coco import COCO

        self.dataset, self.task, self.sigmas = dataset, task, list(sigmas)
        with silent_pycocotools():
            truth = COCO(str(dataset.json_file))
        key = _COCO_KEY[task]
        for annotation in truth.anns.values():
            if not annotation.get(key):
                raise InputError(
                    f"dataset {dataset.name}: annotation id {annotation['id']} has no {key}, and "
                    f"the model's {task} are evaluated; give a dataset with them, or set "
                    "MODEL.MASK_ON and MODEL.KEYPOINT_ON to False"
                )
        if task == KEYPOINTS:
            self._check_sigmas(truth.anns.values())
        self._class_keys = class_keys(dataset)
        self._classes = {category: i for i, category in enumerate(dataset.category_ids)}
        self._positions = {image["id"]: i for i, image in enumerate(dataset.images)}
        self._take(truth)

    def _take(self, truth: Any) -> None:
        """The objects by image and class, their shapes, and which count for which size."""
        # In the order in which pycocotools meets them: by image, then as the file has them.
        objects = [a for image in self.dataset.images for a in truth.imgToAnns.get(image["id"], ())]
        self._of: dict[tuple[int, int], list[int]] = {}
        for index, one in enumerate(objects):
            key = one["image_id"], self._classes[one["category_id"]]
            self._of.setdefault(key, []).append(index)
        area = np.array([one["area"] for one in objects], dtype=float).reshape(-1)
        self._crowd = np.array([bool(one.get("iscrowd")) for one in objects], dtype=bool)
        sizes = _SIZES[self.task]
        ignored = self._crowd | (area < sizes[:, :1]) | (area > sizes[:, 1:])
        if self.task == KEYPOINTS:
            ignored |= np.array([one["num_keypoints"] == 0 for one in objects], dtype=bool)
            self._shapes = objects
        else:
            self._shapes = [truth.annToRLE(one) for one in objects]
        self._ignored = ignored  # (A, G)
        self._count = np.zeros((len(sizes), len(self._classes)), dtype=int)
        labels = np.array([self._classes[one["category_id"]] for one in objects], dtype=int)
        for count, out in zip(self._count, ignored):
            np.add.at(count, labels[~out], 1)

    def evaluate(self, detections: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
        """detectron2's metrics in percent: AP and its kin, ``AP-<class>`` of several classes.

        ``detections`` are those of ``CocoEvaluator`` with ``masks`` or ``keypoints``. None where
        nothing was detected, or there is no ground truth to measure.
        """
        return self.evaluate_rows(self.rows(detections))

    def evaluate_rows(self, given: ShapeRows) -> dict[str, float | None]:
        """``evaluate`` of detections that ``rows`` has converted, or of a choice of them."""
        if not len(given.rows):
            return dict.fromkeys(_METRICS[self.task])
        images, classes, scores, _ = given.rows.T
        best = best_of_each_image(images, classes, scores, _LIMITS[self.task])
        one = given.choose(best)
        images, classes, scores, area = one.rows.T
        sizes = _SIZES[self.task]
        matches = decide(
            images,
            classes,
            scores,
            (area >= sizes[:, :1]) & (area <= sizes[:, 1:]),
            (one.detections, one.objects, one.alike),
            self._ignored,
            self._crowd,
        )
        found = precision(matches, self._count)  # (IoU, recall, class, size)
        parts = [found[..., :1], found[_50, ..., :1], found[_75, ..., :1]]
        parts += [found[..., size : size + 1] for size in range(1, len(sizes))]
        metrics = dict(zip(_METRICS[self.task], map(_mean, parts)))
        if len(self._class_keys) > 1:
            for index, key in enumerate(self._class_keys):
                metrics[key] = _mean(found[:, :, index, 0])
        return metrics

    def rows(self, detections: Iterable[Mapping[str, Any]]) -> ShapeRows:
        """Each detection's image, class, score and area, and the objects that it is like."""
        return ShapeRows.join([part for one in detections for part in self._rows(one)])

    def _rows(self, one: Mapping[str, Any]) -> Iterator[ShapeRows]:
        """Of one image."""
        classes = np.asarray(one["classes"])
        rows = np.empty((len(classes), 4))
        rows[:, 0] = self._positions[one["image_id"]] + 1
        rows[:, 1] = classes + 1
        rows[:, 2] = np.asarray(one["scores"])
        shapes: Any = one[SHAPES[SEGM]] if self.task == SEGM else _as_coco(one[SHAPES[KEYPOINTS]])
        rows[:, 3] = _areas(self.task, shapes)
        pairs = []
        for kind in np.unique(classes).tolist():
            objects = np.array(self._of.get((one["image_id"], kind), ()), dtype=np.int64)
            mine = np.flatnonzero(classes == kind)
            if len(objects):
                alike = self._alike([shapes[i] for i in mine], objects)
                near = np.argwhere(alike >= IOUS[0])
                pairs.append((mine[near[:, 0]], objects[near[:, 1]], alike[tuple(near.T)]))
        nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        yield ShapeRows(rows, *map(np.concatenate, zip(nothing, *pairs)))

    def _alike(self, shapes: Sequence[Any], objects: np.ndarray) -> np.ndarray:
        """(D, G) of detected shapes and objects of one class in one image."""
        truth = [self._shapes[i] for i in objects]
        if self.task == SEGM:
            from pycocotools import mask as run_length

            return run_length.iou(shapes, truth, self._crowd[objects].astype(np.uint8).tolist())
        return similarity(np.stack(shapes), truth, self.sigmas)

    def _check_sigmas(self, annotations: Iterable[Mapping[str, Any]]) -> None:
        given = self.sigmas
        self.sigmas = given or _coco_sigmas()
        counts = {len(a["keypoints"]) // 3 for a in annotations}
        if counts - {len(self.sigmas)}:
            raise InputError(
                f"dataset {self.dataset.name} has objects of {max(counts)} keypoints and "
                f"TEST.KEYPOINT_OKS_SIGMAS has {len(self.sigmas)}; give one for each"
            )


def run_lengths(masks: Iterable[np.ndarray]) -> list[dict[str, Any]]:
    """COCO's run-length code of masks ``(height, width)``, bool or uint8."""
    from pycocotools import mask as run_length

    return [run_length.encode(np.asfortranarray(mask.view(np.uint8))) for mask in masks]


def similarity(
    found: np.ndarray, objects: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> np.ndarray:
    """Object keypoint similarity (D, G), in pycocotools' order of operations.

    Args:
        found: (D, 3 K) x, y, score of each keypoint, flat.
        objects: COCO's annotations: ``keypoints``, ``bbox`` and ``area``.
    """
    variances = (np.array(sigmas) * 2) ** 2
    xs, ys = found[:, 0::3], found[:, 1::3]
    alike = np.zeros((len(found), len(objects)))
    for column, one in enumerate(objects):
        points = np.array(one["keypoints"])
        seen = points[2::3] > 0
        if seen.any():
            dx, dy = xs - points[0::3], ys - points[1::3]
        else:  # nothing is known but the box: how far outside twice its size
            x, y, width, height = one["bbox"]
            dx = np.maximum(0, (x - width) - xs) + np.maximum(0, xs - (x + width * 2))
            dy = np.maximum(0, (y - height) - ys) + np.maximum(0, ys - (y + height * 2))
        distance = (dx**2 + dy**2) / variances / (one["area"] + np.spacing(1)) / 2
        if seen.any():
            distance = distance[:, seen]
        alike[:, column] = np.sum(np.exp(-distance), axis=1) / distance.shape[1]
    return alike


def _coco_sigmas() -> list[float]:
    from pycocotools.cocoeval import Params

    return list(Params("keypoints").kpt_oks_sigmas)


def _areas(task: str, shapes: Any) -> np.ndarray:
    """(D,) of masks, or of the boxes around all keypoints."""
    if not len(shapes):
        return np.empty(0)
    if task == SEGM:
        from pycocotools import mask as run_length

        # pycocotools counts the masks of a call in eight bits, which NumPy 2 refuses to overflow
        parts = [shapes[i : i + 255] for i in range(0, len(shapes), 255)]
        return np.concatenate([run_length.area(part) for part in parts])
    xs, ys = shapes[:, 0::3], shapes[:, 1::3]
    return (xs.max(1) - xs.min(1)) * (ys.max(1) - ys.min(1))


def _as_coco(keypoints: np.ndarray) -> np.ndarray:
    """``(n, K, 3)`` points to COCO's flat ``(n, 3 K)`` of pixel indices, half a pixel less."""
    shifted = keypoints - np.array([0.5, 0.5, 0], dtype=keypoints.dtype)
    return shifted.reshape(len(shifted), 3 * shifted.shape[1]).astype(float)


def _mean(values: np.ndarray) -> float | None:
    """In percent, of what has ground truth."""
    known = values[values > -1]
    return 100 * float(np.mean(known)) if known.size else None
