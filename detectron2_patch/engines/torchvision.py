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
from detectron2_patch.rcnn.model import FasterRCNN, to_image
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
