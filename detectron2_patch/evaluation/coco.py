"""COCO's average precision for boxes: a fast evaluator, and pycocotools as its reference.

hotcoco gives pycocotools' precision and recall arrays about a hundred times faster and prints
nothing. The numbers are derived from these arrays here, in one place for both.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError

# Axes of COCO's arrays. precision: (IoU, recall, class, area, limit); recall: without "recall".
_IOU_50, _IOU_75 = 0, 5  # of 0.50, 0.55 … 0.95
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)  # areas: any, < 32², < 96², larger (pixels²)
_DETS_1, _DETS_10, _DETS_100 = range(3)  # limits on the detections of a class in an image

OVERALL = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the first six of COCO's twelve


class _Backend(Protocol):
    def curves(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Precision (10, 101, K, 4, 3) and recall (10, K, 4, 3); -1 without ground truth."""


class CocoEvaluator:
    """Ground truth prepared once, for any number of evaluations against it.

        evaluator = CocoEvaluator(dataset)
        evaluator.evaluate(detections)["APs"]

    Detections are one mapping an image: "image_id", "boxes" (n, 4) x0 y0 x1 y1 in the image's
    pixels, "scores" (n,), "classes" (n,) contiguous. Images without one count as empty.
    """

    def __init__(self, dataset: CocoDataset, backend: str = "hotcoco"):
        """``backend``: "hotcoco", or "pycocotools" (the slow reference).

        Raises:
            InputError: another backend, or class names that can't be told apart.
        """
        if backend not in _BACKENDS:
            raise InputError(f"unknown evaluator {backend!r}; choose {' or '.join(_BACKENDS)}")
        self._class_keys = class_keys(dataset)
        # Images are numbered by position, and classes, so that COCO's gaps, an id of 0 (which
        # pycocotools takes for "no match") or a huge one make no difference.
        self._positions = {image["id"]: i for i, image in enumerate(dataset.images)}
        self._backend = _BACKENDS[backend](len(dataset.images), *ground_truth(dataset))

    def stats(self, detections: Iterable[Mapping[str, Any]]) -> list[float]:
        """COCO's twelve numbers as fractions: six AP, then six AR; NaN without ground truth."""
        return _twelve(*self._backend.curves(self.rows(detections)))

    def evaluate(self, detections: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
        """detectron2's metrics in percent: AP, AP50, AP75, APs, APm, APl, AP-<class>…

        None where there is no ground truth to measure. A dataset of one class has its AP-<class>
        too, and without any detection the numbers are 0, as pycocotools computes them.
        """
        return self.evaluate_rows(self.rows(detections))

    def evaluate_rows(self, rows: np.ndarray) -> dict[str, float | None]:
        """``evaluate`` of detections that ``rows`` has converted, or of a choice of their rows."""
        precision, recall = self._backend.curves(rows)
        metrics = dict(zip(OVERALL, _twelve(precision, recall)))
        for index, key in enumerate(self._class_keys):
            metrics[key] = _mean(precision[:, :, index, _ALL, _DETS_100])
        return {key: None if np.isnan(v) else 100 * v for key, v in metrics.items()}

    def rows(self, detections: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """(n, 7) float64: image, x, y, width, height, score, class; all numbered from 1."""
        parts = [np.empty((0, 7))]
        for one in detections:
            image_id = one["image_id"]
            if image_id not in self._positions:
                raise ValueError(f"detections of image {image_id}, which is not in the dataset")
            boxes = np.array(one["boxes"], dtype=np.float32).reshape(-1, 4)
            boxes[:, 2:] -= boxes[:, :2]  # in float32, as detectron2 converts
            rows = np.empty((len(boxes), 7))
            rows[:, 0] = self._positions[image_id] + 1
            rows[:, 1:5] = boxes
            rows[:, 5] = np.asarray(one["scores"])
            rows[:, 6] = np.asarray(one["classes"]) + 1
            parts.append(rows)
        rows = np.concatenate(parts)
        classes, class_count = rows[:, 6], len(self._class_keys)
        if not (np.isfinite(rows).all() and ((classes >= 1) & (classes <= class_count)).all()):
            raise ValueError(f"a detection is not finite or its class is not below {class_count}")
        return rows


def class_keys(dataset: CocoDataset) -> list[str]:
    """``AP-<class>`` of every class; classes of one name are told apart by COCO's id.

    Raises:
        InputError: names that still collide.
    """
    count = Counter(dataset.classes)
    keys = [
        f"AP-{name}" if count[name] == 1 else f"AP-{name} (id {category})"
        for name, category in zip(dataset.classes, dataset.category_ids)
    ]
    if len(set(keys)) < len(keys):
        raise InputError(f"{dataset.json_file}: classes share a name; give each its own name")
    return keys


def ground_truth(dataset: CocoDataset) -> tuple[int, np.ndarray]:
    """Number of classes, and (n, 8): image, class, x, y, width, height, area, crowd."""
    classes = {category: i for i, category in enumerate(dataset.category_ids)}
    rows = [
        (position + 1, classes[a["category_id"]] + 1, *a["bbox"], a["area"], a["iscrowd"])
        for position, image in enumerate(dataset.images)
        for a in dataset.annotations[image["id"]]
    ]
    return len(classes), np.array(rows, dtype=np.float64).reshape(-1, 8)


def _twelve(precision: np.ndarray, recall: np.ndarray) -> list[float]:
    p = precision[..., _DETS_100]
    r = recall[..., _DETS_100]
    return [
        _mean(p[..., _ALL]),
        _mean(p[_IOU_50, ..., _ALL]),
        _mean(p[_IOU_75, ..., _ALL]),
        *(_mean(p[..., area]) for area in (_SMALL, _MEDIUM, _LARGE)),
        _mean(recall[..., _ALL, _DETS_1]),
        _mean(recall[..., _ALL, _DETS_10]),
        *(_mean(r[..., area]) for area in (_ALL, _SMALL, _MEDIUM, _LARGE)),
    ]


def _mean(values: np.ndarray) -> float:
    """Mean of the entries that have ground truth (-1 marks those that haven't)."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


class _Hotcoco:
    def __init__(self, image_count: int, class_count: int, boxes: np.ndarray):
        from hotcoco import COCO

        self._truth = COCO.from_arrays(
            [{"id": i + 1} for i in range(image_count)],
            [{"id": i + 1, "name": str(i + 1)} for i in range(class_count)],
            boxes[:, 0].astype(np.int64),
            boxes[:, 1].astype(np.int64),
            np.ascontiguousarray(boxes[:, 2:6]),
            area=np.ascontiguousarray(boxes[:, 6]),
            iscrowd=boxes[:, 7].astype(np.int64),
        )

    def curves(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from hotcoco import COCOeval

        evaluation = COCOeval(self._truth, self._truth.load_res(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        arrays: Any = evaluation.eval  # copied at each access
        return arrays["precision"], arrays["recall"]


class _Pycocotools:
    def __init__(self, image_count: int, class_count: int, boxes: np.ndarray):
        self._images = [{"id": i + 1} for i in range(image_count)]
        self._categories = [{"id": i + 1} for i in range(class_count)]
        self._truth = self._index(
            {
                "image_id": int(b[0]),
                "category_id": int(b[1]),
                "bbox": b[2:6].tolist(),
                "area": float(b[6]),
                "iscrowd": int(b[7]),
            }
            for b in boxes
        )

    def curves(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from pycocotools.cocoeval import COCOeval

        # Not COCO.loadRes, which fails on an empty list.
        found = self._index(
            {
                "image_id": int(r[0]),
                "category_id": int(r[6]),
                "bbox": r[1:5].tolist(),
                "area": float(r[3] * r[4]),
                "iscrowd": 0,
                "score": float(r[5]),
            }
            for r in rows
        )
        evaluation = COCOeval(self._truth, found, "bbox")
        with silent_pycocotools():
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation.eval["precision"], evaluation.eval["recall"]

    def _index(self, annotations: Iterable[dict[str, Any]]) -> Any:
        from pycocotools.coco import COCO

        index = COCO()
        index.dataset = {
            "images": self._images,
            "categories": self._categories,
            "annotations": [{"id": i, **a} for i, a in enumerate(annotations, start=1)],
        }
        with silent_pycocotools():
            index.createIndex()
        return index


_BACKENDS: dict[str, Callable[[int, int, np.ndarray], _Backend]] = {
    "hotcoco": _Hotcoco,
    "pycocotools": _Pycocotools,
}
_SILENCE = threading.Lock()


@contextmanager
def silent_pycocotools() -> Iterator[None]:
    """pycocotools prints to stdout: hide ``print`` from its modules only.

    Redirecting ``sys.stdout`` would swallow what other threads print meanwhile.
    """
    from pycocotools import coco, cocoeval

    with _SILENCE:
        coco.print = cocoeval.print = lambda *args, **kwargs: None
        try:
            yield
        finally:
            del coco.print, cocoeval.print
