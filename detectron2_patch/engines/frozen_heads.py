"""The heads of a detector as teachers of a learned codec: what they make of clean maps, and how far
off they are on decoded ones. Their weights don't change; gradients go through them to the maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, roi_align

from detectron2_patch.codec.learned.distillation import box_distance, dense_distance, rpn_distance
from detectron2_patch.engines.base import Engine
from detectron2_patch.errors import InputError
from detectron2_patch.rcnn.structures import ImageBatch
from detectron2_patch.settings.levels import subsampled

# Samples of RoIAlign along a side of a bin, for clean and decoded maps alike. The detector takes as
# many as a bin has elements, whose gradient takes a quarter of a step's time on a CPU.
_SAMPLES = 2

Maps = Mapping[str, Tensor]  # level to ``(N, C, H, W)``
Outputs = dict[str, tuple[Tensor, ...]]  # of each level, see ``Engine.level_outputs``


def frozen_heads(engine: Engine, proposals: int) -> RcnnHeads | DenseHeads:
    """The teachers of the detector that ``engine`` runs.

    Args:
        proposals: how many of an image's clean proposals the box head is asked about.

    Raises:
        InputError: its heads don't read each level alone.
    """
    reason = engine.factorises()
    if reason is not None:
        raise InputError(
            f"a codec is trained for heads that read each level alone: {reason}; code the levels "
            "one by one"
        )
    engine.model.requires_grad_(False)
    return DenseHeads(engine) if engine.dense else RcnnHeads(engine, proposals)


class DenseHeads:
    """The one kind of head of RetinaNet or FCOS."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @torch.no_grad()
    def target(self, maps: Maps, size: tuple[int, int]) -> Outputs:
        """What the head makes of clean maps of images of ``size``."""
        return _outputs(self.engine, _complete(maps, self.engine))

    def losses(self, maps: Maps, target: Outputs) -> dict[str, Tensor]:
        """The distances, each a mean that doesn't depend on the image's size."""
        received = _outputs(self.engine, _complete(maps, self.engine))
        found = [dense_distance(received[level], target[level]) for level in self.engine.levels]
        return {name: torch.stack([one[name] for one in found]).mean() for name in found[0]}


@dataclass
class RcnnTarget:
    """What an R-CNN's heads make of the clean maps of a batch of images.

    Attributes:
        rpn: of each level, logits ``(N, A)`` and deltas ``(N, A, 4)`` of all anchors.
        stages: of each stage of a cascade (else of the one box head) the boxes ``(R, 5)`` that it
            is asked about, the image's number in front, its class logits ``(R, K + 1)`` and deltas
            ``(R, 4 K)`` or ``(R, 4)``.
    """

    rpn: Outputs
    stages: list[tuple[Tensor, Tensor, Tensor]]


class RcnnHeads:
    """The RPN's head and the box heads."""

    def __init__(self, engine: Engine, proposals: int) -> None:
        self.engine, self.proposals = engine, proposals

    @torch.no_grad()
    def target(self, maps: Maps, size: tuple[int, int]) -> RcnnTarget:
        """What the heads make of clean maps of images of ``size``."""
        maps = _complete(maps, self.engine)
        rpn = _outputs(self.engine, maps)
        rois, stages = self._proposals(maps, rpn, size), []
        for stage in range(self.engine.stages):
            if stage:
                rois = self._refined(maps, rois, stage - 1, size)
            stages.append((rois, *self._box_head(maps, rois, stage)))
        return RcnnTarget(rpn, stages)

    def losses(self, maps: Maps, target: RcnnTarget) -> dict[str, Tensor]:
        """The four distances, each a mean that doesn't depend on the image's size."""
        maps = _complete(maps, self.engine)
        found = [
            rpn_distance(self.engine.level_outputs(n, maps[n]), wanted)
            for n, wanted in target.rpn.items()
        ]
        found += [
            box_distance(self._box_head(maps, rois, stage), wanted)
            for stage, (rois, *wanted) in enumerate(target.stages)
        ]
        names = dict.fromkeys(name for one in found for name in one)
        return {
            name: torch.stack([one[name] for one in found if name in one]).mean() for name in names
        }

    def _proposals(self, maps: Maps, rpn: Outputs, size: tuple[int, int]) -> Tensor:
        """The best clean proposals of each image, ``(R, 5)``."""
        count = len(next(iter(maps.values())))
        batch = ImageBatch(torch.zeros(()).expand(count, 3, *size), [size] * count)
        levels = [self.engine.select(batch, n, maps[n], outputs) for n, outputs in rpn.items()]
        rois = []
        for number, parts in enumerate(zip(*levels)):
            logits = torch.cat([one.logits for one in parts])
            order = torch.sort(logits, descending=True, stable=True).indices[: self.proposals]
            boxes = torch.cat([one.boxes for one in parts])[order]
            rois.append(F.pad(boxes, (1, 0), value=number))
        return torch.cat(rois).clone()  # out of inference mode, for RoIAlign's gradient

    def _refined(self, maps: Maps, rois: Tensor, stage: int, size: tuple[int, int]) -> Tensor:
        """What a stage of a cascade makes of its boxes."""
        places = self._by_level(rois)
        groups = [(level, maps[level], rois[place]) for level, place in places.items()]
        _, boxes = self.engine.score(groups, stage)
        boxes = clip_boxes_to_image(boxes, size)[torch.cat(list(places.values())).argsort()]
        return torch.cat([rois[:, :1], boxes], dim=1).clone()

    def _by_level(self, rois: Tensor) -> dict[str, Tensor]:
        """Which boxes are pooled from each level."""
        levels = self.engine.pooled_level(rois[:, 1:])
        return {
            level: torch.nonzero(levels == number).flatten()
            for number, level in enumerate(self.engine.pooled)
        }

    def _box_head(self, maps: Maps, rois: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        """Class logits and deltas of boxes ``(R, 5)``."""
        places = self._by_level(rois)
        size, aligned = self.engine.pooling
        pooled = torch.cat(
            [
                roi_align(
                    maps[level].float(),
                    rois[place],
                    size,
                    0.5 ** int(level[1:]),
                    _SAMPLES,
                    aligned=aligned,
                )
                for level, place in places.items()
            ]
        )
        pooled = pooled[torch.cat(list(places.values())).argsort()]
        logits, deltas = self.engine.box_outputs(pooled, stage)
        return logits.float(), deltas.float()


def _outputs(engine: Engine, maps: Maps) -> Outputs:
    return {level: engine.level_outputs(level, maps[level]) for level in engine.levels}


def _complete(maps: Maps, engine: Engine) -> dict[str, Tensor]:
    """With the level that the receiver takes from the coarsest, where there is one."""
    level = subsampled(engine.levels)
    own = {} if level is None else {level: maps[max(maps)][..., ::2, ::2].contiguous()}
    return {**maps, **own}
