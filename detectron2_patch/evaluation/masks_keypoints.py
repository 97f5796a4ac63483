"""COCO's average precision of masks and keypoints, by pycocotools, beside that of boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.coco import OVERALL, class_keys, silent_pycocotools

SEGM, KEYPOINTS = ("segm", "keypoints")
_METRICS = {SEGM: OVERALL, KEYPOINTS: tuple(key for key in OVERALL if key != "APs")}
_COCO_KEY = {SEGM: "segmentation", KEYPOINTS: "keypoints"}


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
            self._truth = COCO(str(dataset.json_file))
        key = _COCO_KEY[task]
        for annotation in self._truth.anns.values():
            if not annotation.get(key):
                raise InputError(
                    f"dataset {dataset.name}: annotation id {annotation['id']} has no {key}, and "
                    f"the model's {task} are evaluated; give a dataset with them, or set "
                    "MODEL.MASK_ON and MODEL.KEYPOINT_ON to False"
                )
        if task == KEYPOINTS:
            self._check_sigmas()

    def evaluate(self, detections: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
        """detectron2's metrics in percent: AP and its kin, ``AP-<class>`` of several classes.

        ``detections`` are those of ``CocoEvaluator`` with ``masks`` or ``keypoints``. None where
        nothing was detected, or there is no ground truth to measure.
        """
        from pycocotools.cocoeval import COCOeval

        rows = [row for one in detections for row in self._rows(one)]
        if not rows:
            return dict.fromkeys(_METRICS[self.task])
        with silent_pycocotools():
            evaluation = COCOeval(self._truth, self._truth.loadRes(rows), self.task)
            if self.sigmas:
                evaluation.params.kpt_oks_sigmas = np.array(self.sigmas)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        metrics = dict(zip(_METRICS[self.task], evaluation.stats))
        keys = class_keys(self.dataset)
        if len(keys) > 1:
            precision = evaluation.eval["precision"]  # (IoU, recall, class, area, limit)
            for index, key in enumerate(keys):
                known = precision[:, :, index, 0, -1]
                known = known[known > -1]
                metrics[key] = known.mean() if known.size else -1
        return {key: 100 * float(v) if v >= 0 else None for key, v in metrics.items()}

    def _rows(self, one: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        """COCO's entries of one image; without boxes, or their area would count as the mask's."""
        shapes = one["masks"] if self.task == SEGM else _as_coco(one["keypoints"])
        for score, kind, shape in zip(one["scores"], one["classes"], shapes):
            yield {
                "image_id": one["image_id"],
                "category_id": self.dataset.category_ids[kind],
                "score": float(score),
                _COCO_KEY[self.task]: shape,
            }

    def _check_sigmas(self) -> None:
        from pycocotools.cocoeval import Params

        sigmas = self.sigmas or list(Params("keypoints").kpt_oks_sigmas)
        counts = {len(a["keypoints"]) // 3 for a in self._truth.anns.values()}
        if counts - {len(sigmas)}:
            raise InputError(
                f"dataset {self.dataset.name} has objects of {max(counts)} keypoints and "
                f"TEST.KEYPOINT_OKS_SIGMAS has {len(sigmas)}; give one for each"
            )


def _as_coco(keypoints: np.ndarray) -> list[list[float]]:
    """``(n, K, 3)`` points to COCO's flat lists of pixel indices, half a pixel less."""
    shifted = keypoints - np.array([0.5, 0.5, 0], dtype=keypoints.dtype)
    return [points.ravel().tolist() for points in shifted]
