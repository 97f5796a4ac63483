"""The built-in engine: the detector of ``rcnn``, from torch and torchvision alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.data.images import load_ahead, network_size, read_image, to_network
from detectron2_patch.rcnn.model import FasterRCNN, box_to_image, to_image
from detectron2_patch.rcnn.structures import ImageBatch, Proposals
from detectron2_patch.weights import load_weights


@dataclass
class NetworkInput:
    """An image as the network sees it, ``(3, h, w)``, and its own ``(height, width)``."""

    tensor: Tensor
    image_size: tuple[int, int]


class TorchvisionEngine:
    """Runs one detector on one device.

    Args:
        cfg: a configuration that ``config.support.check_supported`` accepts.
        device: where the model lives; its maps never leave it.
    """

    name = "torchvision"

    def __init__(self, cfg, device: str) -> None:
        self.cfg, self.input_cfg = cfg, cfg.INPUT
        self.model = FasterRCNN(cfg).to(device).eval()
        self.num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        self.post_nms_topk = cfg.MODEL.RPN.POST_NMS_TOPK_TEST
        self.score_threshold = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST
        self.nms_threshold = cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST
        self.detections_per_image = cfg.TEST.DETECTIONS_PER_IMAGE

    def load_weights(self, path: Path) -> None:
        """Load a whole checkpoint with detectron2's names."""
        load_weights(self.model, path)

    def train(self, dataset: CocoDataset, start: Path | None, *, resume: bool) -> Path:
        """Train the model on ``dataset``, from the checkpoint ``start``; returns the last one."""
        from detectron2_patch.training.trainer import train

        if start is not None:
            load_weights(self.model, start, require_all=False)
        return train(self.cfg, self.model, dataset, resume=resume)

    def read(self, path: Path) -> NetworkInput:
        """Read and resize one image; safe to call from several threads."""
        pixels = read_image(path, self.input_cfg.FORMAT)
        size = network_size(
            pixels.shape[:2], self.input_cfg.MIN_SIZE_TEST, self.input_cfg.MAX_SIZE_TEST
        )
        return NetworkInput(to_network(pixels, size), pixels.shape[:2])

    def read_all(self, paths: Sequence[Path], workers: int) -> Iterator[NetworkInput]:
        """``read`` of each path in order, ahead by ``workers`` threads."""
        return load_ahead(self.read, paths, workers)

    def shape_evaluators(self, dataset: CocoDataset) -> dict:
        """Evaluators, by task, of what the model gives beside boxes: nothing."""
        return {}

    @torch.inference_mode()
    def detect(self, image: NetworkInput) -> dict[str, np.ndarray]:
        """Boxes ``(n, 4)`` in the image's pixels, scores ``(n,)`` and classes ``(n,)``."""
        (detections,) = self.model([image.tensor])
        detections = to_image(detections, image.tensor.shape[-2:], image.image_size)
        return {
            name: getattr(detections, name).cpu().numpy()
            for name in ("boxes", "scores", "classes")
        }

    # The parts of ``detect``, for those who share them between settings.

    def batch(self, inputs: Sequence[NetworkInput]) -> ImageBatch:
        """Images of one padded size, normalised and stacked on the device."""
        return self.model.preprocess([one.tensor for one in inputs])

    @torch.inference_mode()
    def pyramid(self, batch: ImageBatch) -> dict[str, Tensor]:
        """The clean maps, level to ``(N, C, H, W)``."""
        return self.model.backbone(batch.tensor)

    @torch.inference_mode()
    def level_proposals(self, batch: ImageBatch, level: str, feature: Tensor) -> list[Proposals]:
        """What the RPN proposes for each image from one level's map, by falling logit."""
        return self.model.proposal_generator.level_proposals(level, feature, batch.image_sizes)

    @torch.inference_mode()
    def score(self, groups: Sequence[tuple[str, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The box head on boxes that are each pooled from a given map.

        Args:
            groups: level, its map ``(N, C, H, W)`` and boxes ``(R, 5)`` with the image's number
                in front.

        Returns:
            class probabilities ``(R, K + 1)``, background last, and refined boxes ``(R, 4 K)``
            or ``(R, 4)``, the groups one after the other.
        """
        heads = self.model.roi_heads
        pooled = torch.cat([heads.pool_level(*group) for group in groups])
        return heads.predict_pooled(pooled, torch.cat([rois[:, 1:] for _, _, rois in groups]))

    def to_image(
        self, boxes: Tensor, network_size: tuple[int, int], image_size: tuple[int, int]
    ) -> Tensor:
        """Boxes ``(R, 4)`` scaled from the network's pixels to the image's, and clipped."""
        return box_to_image(boxes, network_size, image_size)

    def factorises(self) -> str | None:
        """Why settings can't share these parts; ``None`` where they can, as here."""
        return None
