"""What the parts of the detector hand to one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class ImageBatch:
    """Normalised images, padded at the right and the bottom to one size.

    ``tensor`` is ``(N, 3, H, W)``; ``image_sizes`` holds each image's own ``(height, width)``.
    """

    tensor: Tensor
    image_sizes: list[tuple[int, int]]

    @classmethod
    def stack(cls, images: Sequence[Tensor], size_divisibility: int) -> ImageBatch:
        """Pad ``(3, H, W)`` images with zeros to multiples of ``size_divisibility``."""
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (
            -(-max(side) // size_divisibility) * size_divisibility for side in zip(*sizes)
        )
        padded = [F.pad(x, (0, width - w, 0, height - h)) for x, (h, w) in zip(images, sizes)]
        return cls(torch.stack(padded), sizes)


@dataclass
class Proposals:
    """Proposals of one image, by falling objectness: boxes ``(R, 4)``, logits ``(R,)``."""

    boxes: Tensor
    logits: Tensor

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass
class Targets:
    """Ground truth of one image: boxes ``(R, 4)``, classes ``(R,)`` in ``0 … K - 1``."""

    boxes: Tensor
    classes: Tensor

    def to(self, device: torch.device) -> Targets:
        return Targets(self.boxes.to(device), self.classes.to(device))


@dataclass
class Detections:
    """Detections of one image, by falling score: ``(R, 4)``, ``(R,)``, ``(R,)``.

    ``masks`` ``(R, M, M)``, where there are some: how probably each place of a box is the object's.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index) -> Detections:
        masks = None if self.masks is None else self.masks[index]
        return Detections(self.boxes[index], self.scores[index], self.classes[index], masks)
