"""The built-in engine: the detector of ``rcnn``, from torch and torchvision alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.data.images import (
    about,
    load_ahead,
    network_size,
    read_image,
    to_network,
)
from detectron2_patch.engines.base import Engine, NetworkInput, ShapeHead
from detectron2_patch.engines.received import Received
from detectron2_patch.evaluation.masks_keypoints import SEGM, SHAPES, run_lengths
from detectron2_patch.rcnn import boxes as box
from detectron2_patch.rcnn.fpn import FPN
from detectron2_patch.rcnn.mask_head import MaskHead, paste
from detectron2_patch.rcnn.model import FasterRCNN, to_image
from detectron2_patch.rcnn.pooler import POOLED_LEVELS, pooled_level
from detectron2_patch.rcnn.structures import ImageBatch, Proposals
from detectron2_patch.settings.halves import BACKBONE, HEADS, WHOLE
from detectron2_patch.training.trainer import one_value_told
from detectron2_patch.weights import load_weights


class TorchvisionEngine(Engine):
    """Runs the built-in detector.

    Args:
        cfg: a configuration that ``config.support.check_supported`` accepts.
        device: where the model lives.
        part: of the detector that is built, one of ``settings.halves.PARTS``.
    """

    name = "torchvision"
    threaded = True

    def __init__(self, cfg, device: str, part: str = WHOLE) -> None:
        super().__init__(cfg)
        self.part = part
        stand_in = Received(FPN.size_divisibility) if part == HEADS else None
        self.model = FasterRCNN(cfg, stand_in, part != BACKBONE).to(device).eval()
        if cfg.MODEL.MASK_ON:
            self.tasks = (SEGM,)
            if part != BACKBONE:
                self.shape_heads = (Masks(self.model.roi_heads.mask_head),)

    def load_weights(self, path: Path) -> None:
        load_weights(self.model, path, part=self.part)
        self.weights = path

    def train(self, dataset: CocoDataset, start: Path | None, *, resume: bool) -> Path:
        from detectron2_patch.training.trainer import train

        if start is not None:
            load_weights(self.model, start, require_all=False)
        return train(self.cfg, self.model, dataset, resume=resume)

    def read(self, path: Path) -> NetworkInput:
        return self._input(read_image(path, self.cfg.INPUT.FORMAT), path)

    def from_pixels(self, pixels: np.ndarray) -> NetworkInput:
        return self._input(pixels[:, :, ::-1] if self.cfg.INPUT.FORMAT == "BGR" else pixels, None)

    def _input(self, pixels: np.ndarray, path: Path | None) -> NetworkInput:
        cfg = self.cfg.INPUT
        with about(path):
            size = network_size(pixels.shape[:2], cfg.MIN_SIZE_TEST, cfg.MAX_SIZE_TEST)
        return NetworkInput(to_network(pixels, size), pixels.shape[:2], path)

    def read_all(self, paths: Sequence[Path], workers: int) -> Iterator[NetworkInput]:
        return load_ahead(self.read, paths, workers)

    @one_value_told()
    @torch.inference_mode()
    def detect(self, image: NetworkInput) -> dict[str, Any]:
        (detections,) = self.model([image.tensor])
        _, height, width = image.tensor.shape
        found = to_image(detections, (height, width), image.image_size)
        names = ("boxes", "scores", "classes")
        shapes = {}
        if found.masks is not None:
            shapes[SHAPES[SEGM]] = _pasted(found.masks, found.boxes, image.image_size)
        return {name: getattr(found, name).cpu().numpy() for name in names} | shapes

    def batch(self, inputs: Sequence[NetworkInput]) -> ImageBatch:
        return self.model.preprocess([one.tensor for one in inputs])

    @one_value_told()
    @torch.inference_mode()
    def pyramid(self, batch: ImageBatch) -> dict[str, Tensor]:
        return self.model.backbone(batch.tensor)

    def level_outputs(self, level: str, feature: Tensor) -> tuple[Tensor, ...]:
        return self.model.proposal_generator.rpn_head(feature)

    @torch.inference_mode()
    def select(
        self, batch: ImageBatch, level: str, feature: Tensor, outputs: tuple[Tensor, ...]
    ) -> list[Proposals]:
        return self.model.proposal_generator.select(level, feature, *outputs, batch.image_sizes)

    @property
    def pooling(self) -> tuple[int, bool]:
        head = self.model.roi_heads.head_cfg
        return head.POOLER_RESOLUTION, head.POOLER_TYPE == "ROIAlignV2"

    def box_outputs(self, pooled: Tensor, stage: int = 0) -> tuple[Tensor, Tensor]:
        heads = self.model.roi_heads
        return heads.box_predictor(heads.box_head(pooled))

    @torch.inference_mode()
    def score(
        self, groups: Sequence[tuple[str, Tensor, Tensor]], stage: int = 0
    ) -> tuple[Tensor, Tensor]:
        heads = self.model.roi_heads
        pooled = heads.pooler.groups(groups)
        return heads.predict_pooled(pooled, torch.cat([rois[:, 1:] for _, _, rois in groups]))


class Masks(ShapeHead):
    """The mask head of the built-in detector."""

    task, levels = SEGM, POOLED_LEVELS

    def __init__(self, head: MaskHead) -> None:
        self.head = head

    def level(self, boxes: Tensor) -> Tensor:
        return pooled_level(boxes)

    @torch.inference_mode()
    def shapes(
        self,
        groups: Sequence[tuple[str, Tensor, Tensor]],
        classes: Tensor,
        network_size: tuple[int, int],
        image_size: tuple[int, int],
    ) -> list[dict[str, Any]]:
        boxes = torch.cat([rois[:, 1:] for _, _, rois in groups])
        masks = self.head(self.head.pooler.groups(groups), classes)
        return _pasted(masks, box.to_image(boxes, network_size, image_size), image_size)


def _pasted(masks: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> list[dict[str, Any]]:
    """Run-length codes of ``masks`` ``(R, M, M)`` over their boxes ``(R, 4)``, in image pixels."""
    return run_lengths(one.cpu().numpy() for one in paste(masks, boxes, image_size))
