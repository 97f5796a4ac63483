"""The detectron2 engine: the user's installed detectron2 builds, loads and runs the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.data.transforms import AugInput
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import ImageList
from PIL import Image
from pycocotools import mask as run_length
from torch import Tensor
from torch.utils.data import SequentialSampler

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.data.images import about, network_size, read_image
from detectron2_patch.engines.base import Engine, NetworkInput
from detectron2_patch.engines.detectron2_config import to_detectron2
from detectron2_patch.engines.detectron2_parts import build_part
from detectron2_patch.engines.detectron2_weights import load_whole
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.masks_keypoints import KEYPOINTS, SEGM, ShapeEvaluator
from detectron2_patch.rcnn.structures import Proposals
from detectron2_patch.settings.halves import WHOLE
from detectron2_patch.settings.levels import LEVELS

for _library in ("detectron2", "fvcore"):  # an evaluation has nothing of theirs to tell
    logging.getLogger(_library).setLevel(logging.WARNING)


class Reader:
    """detectron2's test-time mapper: an image file to what the network sees. The file is read by
    ``read_image``, whose pixels are detectron2's, so that both engines refuse the same.

    A file that can't be read comes back as the error: raised in a process of the data loader, it
    would arrive with that process's traceback.
    """

    def __init__(self, cfg) -> None:
        cfg = cfg.clone()
        cfg.MODEL.KEYPOINT_ON = False  # else it looks up how the training set's keypoints flip
        self.mapper = DatasetMapper(cfg, is_train=False)
        self.sizes = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST

    def __call__(self, record: dict[str, Any]) -> NetworkInput | InputError:
        path = Path(record["file_name"])
        try:
            return self.from_pixels(read_image(path, "RGB"), path)
        except InputError as error:
            return error

    def from_pixels(self, pixels: np.ndarray, path: Path | None = None) -> NetworkInput:
        """What the mapper makes of an image of these pixels, RGB."""
        with about(path):
            network_size(pixels.shape[:2], *self.sizes)
        given = AugInput(convert_PIL_to_numpy(Image.fromarray(pixels), self.mapper.image_format))
        self.mapper.augmentations(given)
        image = torch.as_tensor(np.ascontiguousarray(given.image.transpose(2, 0, 1)))
        return NetworkInput(image, pixels.shape[:2], path)


class Detectron2Engine(Engine):
    """Runs one model of the installed detectron2 on one device.

    Args:
        cfg: a configuration that ``detectron2_config.check_supported`` accepts.
        device: where the model lives.
        part: of the detector that is built, one of ``settings.halves.PARTS``.

    Raises:
        InputError: detectron2 can't build the model.
    """

    name = "detectron2"

    def __init__(self, cfg, device: str, part: str = WHOLE) -> None:
        super().__init__(to_detectron2(cfg, device))
        self.part = part
        try:
            self.model = build_part(self.cfg, part).eval()
        except (KeyError, AssertionError, ValueError) as error:  # an unknown name, a misfit
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"detectron2 can't build the configured model: {reason}") from error
        self.reader = Reader(self.cfg)

    def load_weights(self, path: Path) -> None:
        load_whole(self.model, path, self.part)

    def train(self, dataset: CocoDataset, start: Path | None, *, resume: bool) -> Path:
        from detectron2_patch.engines.detectron2_training import train

        return train(self.cfg, self.model, dataset, start, resume=resume)

    def read(self, path: Path) -> NetworkInput:
        return _checked(self.reader({"file_name": path}))

    def from_pixels(self, pixels: np.ndarray) -> NetworkInput:
        return self.reader.from_pixels(pixels)

    def read_all(self, paths: Sequence[Path], workers: int) -> Iterator[NetworkInput]:
        """``read`` of each path in order, by detectron2's data loader in ``workers`` processes."""
        loader = build_detection_test_loader(
            [{"file_name": path} for path in paths],
            mapper=self.reader,
            num_workers=workers,
            sampler=SequentialSampler(paths),
        )
        for (one,) in loader:
            yield _checked(one)

    def shape_evaluators(self, dataset: CocoDataset) -> dict[str, ShapeEvaluator]:
        """Evaluators, by task, of what the model gives beside boxes: masks and keypoints.

        Raises:
            InputError: the dataset has none of them.
        """
        model, sigmas = self.cfg.MODEL, self.cfg.TEST.KEYPOINT_OKS_SIGMAS
        tasks = [task for task, on in ((SEGM, model.MASK_ON), (KEYPOINTS, model.KEYPOINT_ON)) if on]
        return {task: ShapeEvaluator(dataset, task, sigmas) for task in tasks}

    @torch.inference_mode()
    def detect(self, image: NetworkInput) -> dict[str, Any]:
        """Boxes ``(n, 4)`` in the image's pixels, scores ``(n,)`` and classes ``(n,)``.

        A model with masks gives ``masks``, too, run-length coded as COCO has them, and one with
        keypoints ``keypoints``, ``(n, K, 3)``: x, y in the image's pixels and the score.
        """
        height, width = image.image_size
        (output,) = self.model([{"image": image.tensor, "height": height, "width": width}])
        found = output["instances"].to("cpu")
        detections = {
            "boxes": found.pred_boxes.tensor.numpy(),
            "scores": found.scores.numpy(),
            "classes": found.pred_classes.numpy(),
        }
        if found.has("pred_masks"):
            masks = found.pred_masks.numpy().astype(np.uint8)
            detections["masks"] = [run_length.encode(np.asfortranarray(mask)) for mask in masks]
        if found.has("pred_keypoints"):
            detections["keypoints"] = found.pred_keypoints.numpy()
        return detections

    def batch(self, inputs: Sequence[NetworkInput]) -> ImageList:
        return self.model.preprocess_image([{"image": one.tensor} for one in inputs])

    @torch.inference_mode()
    def pyramid(self, batch: ImageList) -> dict[str, Tensor]:
        return self.model.backbone(batch.tensor)

    @torch.inference_mode()
    def level_proposals(self, batch: ImageList, level: str, feature: Tensor) -> list[Proposals]:
        rpn, index = self.model.proposal_generator, LEVELS.index(level)
        (logits,), (deltas,) = rpn.rpn_head([feature])
        # A level's anchors depend on its place in the list and on its own size alone.
        anchors = rpn.anchor_generator([feature] * len(LEVELS))[index]
        n, _, h, w = deltas.shape
        deltas = deltas.view(n, -1, 4, h, w).permute(0, 3, 4, 1, 2).flatten(1, -2)
        logits = logits.permute(0, 2, 3, 1).flatten(1)  # (N, A, H, W) -> (N, H W A)
        topk = rpn.pre_nms_topk[False]
        found = find_top_rpn_proposals(
            rpn._decode_proposals([anchors], [deltas]),
            [logits],
            batch.image_sizes,
            rpn.nms_thresh,
            topk,
            topk,
            rpn.min_box_size,
            training=False,
        )
        return [Proposals(one.proposal_boxes.tensor, one.objectness_logits) for one in found]

    @torch.inference_mode()
    def score(self, groups: Sequence[tuple[str, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        heads = self.model.roi_heads
        poolers = dict(zip(LEVELS, heads.box_pooler.level_poolers))
        pooled = torch.cat([poolers[level](feature, rois) for level, feature, rois in groups])
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        boxes = torch.cat([rois[:, 1:] for _, _, rois in groups])
        refined = heads.box_predictor.box2box_transform.apply_deltas(deltas, boxes)
        return F.softmax(logits, dim=-1), refined

    def factorises(self) -> str | None:
        """Why settings can't share these parts; ``None`` where they can, as in Faster R-CNN.

        A cascade moves boxes to other levels, masks and keypoints are pooled for what was
        detected, and of other classes nothing is known.
        """
        heads, rpn = self.model.roi_heads, self.model.proposal_generator
        if type(heads) is not StandardROIHeads:
            return f"{type(heads).__name__} is not the one-stage box head of Faster R-CNN"
        for part, on in (("masks", heads.mask_on), ("keypoints", heads.keypoint_on)):
            if on:
                return f"{part} are pooled for the detected boxes"
        if type(rpn) is not RPN:
            return f"{type(rpn).__name__} may not treat each level alone"
        if heads.box_predictor.use_sigmoid_ce:
            return "the scores are sigmoids, not a softmax"
        return None


def _checked(one: NetworkInput | InputError) -> NetworkInput:
    if isinstance(one, InputError):
        raise one
    return one
