"""torchvision's own detectors, run as torchvision runs them: its resizing, anchors and classes.

They are other models than detectron2's of the same name. A checkpoint is a state dict that
torchvision saved; its class 0 is the background, and COCO's 80 classes are 91 outputs there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import (
    FrozenBatchNorm2d,
    clip_boxes_to_image,
    nms,
    remove_small_boxes,
    roi_align,
)
from torchvision.ops.poolers import LevelMapper

from detectron2_patch.config.levels import COCO_CLASSES, TORCHVISION_MODELS, levels_of
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.data.images import about, load_ahead, network_size, read_image
from detectron2_patch.engines.base import Engine, NetworkInput
from detectron2_patch.engines.received import Received
from detectron2_patch.errors import InputError
from detectron2_patch.rcnn.pooler import POOLED_LEVELS
from detectron2_patch.rcnn.structures import Detections, ImageBatch, Proposals
from detectron2_patch.settings.halves import BACKBONE, HEADS, WHOLE
from detectron2_patch.weights import load_weights
from detectron2_patch.weights.checkpoint import read_checkpoint

COCO_OUTPUTS = 91
DIVISOR = 32  # images are padded to multiples of it


class FasterRCNN(detection.FasterRCNN):
    """With the name that the patch has for the RPN."""

    @property
    def proposal_generator(self) -> nn.Module:
        return self.rpn


class TorchvisionModelEngine(Engine):
    """Runs torchvision's Faster R-CNN, RetinaNet or FCOS.

    Args:
        cfg: whose ``MODEL.META_ARCHITECTURE`` is the name of a builder of torchvision's.
        device: where the model lives.
        part: of the detector that is built, one of ``settings.halves.PARTS``.
    """

    name = "torchvision"
    keeps_empty = True

    def __init__(self, cfg, device: str, part: str = WHOLE) -> None:
        super().__init__(cfg)
        self.part, self.architecture = part, cfg.MODEL.META_ARCHITECTURE
        self.levels = levels_of(cfg)
        self.dense = TORCHVISION_MODELS[self.architecture].dense
        self.kinds = COCO_OUTPUTS if self.num_classes == COCO_CLASSES else self.num_classes + 1
        model = getattr(detection, self.architecture)(
            weights=None,
            weights_backbone=None,
            num_classes=self.kinds,
            min_size=cfg.INPUT.MIN_SIZE_TEST,
            max_size=cfg.INPUT.MAX_SIZE_TEST,
        )
        if self.dense:
            self.pooled, model.head_in_features = (), self.levels
            self._read_dense(model)
        else:
            self.pooled, model.__class__ = POOLED_LEVELS, FasterRCNN
            self._read_rcnn(model)
        if part == HEADS:
            model.backbone = Received(DIVISOR)
        else:
            model.backbone.register_forward_hook(
                lambda module, args, maps: dict(zip(self.levels, maps.values()))
            )
            model.backbone.size_divisibility = DIVISOR
        for name, _ in model.named_children():
            if part == BACKBONE and name not in ("backbone", "transform"):
                setattr(model, name, nn.Identity())
        self.model = model.to(device).eval()
        self.model.device = torch.device(device)

    def _read_dense(self, model: Any) -> None:
        self.post_nms_topk = 0
        self.score_threshold, self.nms_threshold = model.score_thresh, model.nms_thresh
        self.detections_per_image = model.detections_per_img

    def _read_rcnn(self, model: Any) -> None:
        heads = model.roi_heads
        heads.box_roi_pool.featmap_names = list(POOLED_LEVELS)
        self.post_nms_topk = model.rpn._post_nms_top_n["testing"]
        self.score_threshold, self.nms_threshold = heads.score_thresh, heads.nms_thresh
        self.detections_per_image = heads.detections_per_img
        self.smallest = 1e-2  # as in its postprocess_detections

    def load_weights(self, path: Path) -> None:
        given = read_checkpoint(path)
        if self.part != HEADS and not any(name.endswith("num_batches_tracked") for name in given):
            # what torchvision trained on COCO has no epsilon
            own = self.kinds == COCO_OUTPUTS and not self.architecture.startswith("fcos")
            _freeze_norms(self.model.backbone, 0.0 if own else 1e-5)
        load_weights(self.model, path, part=self.part)
        self.weights = path

    def train(self, dataset: CocoDataset, start: Path | None, *, resume: bool) -> Path:
        raise InputError("torchvision's own models are not trained here; train with torchvision")

    def contiguous(self, classes: np.ndarray) -> np.ndarray:
        # of a box head, ``score`` has taken the background from the front
        return _contiguous(self.kinds)[classes if self.dense else classes + 1]

    def read(self, path: Path) -> NetworkInput:
        return self._input(read_image(path, "RGB"), path)

    def from_pixels(self, pixels: np.ndarray) -> NetworkInput:
        return self._input(pixels, None)

    def _input(self, pixels: np.ndarray, path: Path | None) -> NetworkInput:
        cfg, transform = self.cfg.INPUT, self.model.transform
        with about(path):
            network_size(pixels.shape[:2], cfg.MIN_SIZE_TEST, cfg.MAX_SIZE_TEST)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div(255)
        image, _ = transform.resize(transform.normalize(image), None)
        return NetworkInput(image, pixels.shape[:2], path)

    def read_all(self, paths: Sequence[Path], workers: int) -> Iterator[NetworkInput]:
        return load_ahead(self.read, paths, workers)

    @torch.inference_mode()
    def detect(self, image: NetworkInput) -> dict[str, Any]:
        batch = self.batch([image])
        maps, model = self.model.backbone(batch.tensor), self.model
        if self.dense:
            found = self._suppressed(batch, maps)
        else:
            images = _image_list(batch)
            proposals, _ = model.proposal_generator(images, maps)
            found, _ = model.roi_heads(maps, proposals, batch.image_sizes)
        (one,) = model.transform.postprocess(found, batch.image_sizes, [image.image_size])
        classes = _contiguous(self.kinds)[one["labels"].cpu().numpy()]
        known = classes >= 0
        return {
            "boxes": one["boxes"].cpu().numpy()[known],
            "scores": one["scores"].cpu().numpy()[known],
            "classes": classes[known],
        }

    def _suppressed(self, batch: ImageBatch, maps: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """What a dense model finds, as its ``forward`` has it."""
        features, model = list(maps.values()), self.model
        outputs = model.head(features)
        counts = [one.shape[-2] * one.shape[-1] for one in features]
        each = sum(counts)
        per_place = outputs["cls_logits"].shape[1] // each
        counts = [count * per_place for count in counts]
        anchors = model.anchor_generator(_image_list(batch), features)
        return model.postprocess_detections(
            {name: list(one.split(counts, dim=1)) for name, one in outputs.items()},
            [list(one.split(counts)) for one in anchors],
            batch.image_sizes,
        )

    def batch(self, inputs: Sequence[NetworkInput]) -> ImageBatch:
        images = [one.tensor.to(self.model.device) for one in inputs]
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        return ImageBatch(self.model.transform.batch_images(images, DIVISOR), sizes)

    @torch.inference_mode()
    def pyramid(self, batch: ImageBatch) -> dict[str, Tensor]:
        return self.model.backbone(batch.tensor)

    def _anchors(self, generator: Any, batch: ImageBatch, level: str, feature: Tensor) -> Tensor:
        """Of one level ``(A, 4)``: they depend on its place in the list and its size alone."""
        copies = [feature] * len(self.levels)
        (anchors, *_) = generator(_image_list(batch), copies)
        cells = [len(one) for one in generator.cell_anchors]
        places = feature.shape[-2] * feature.shape[-1]
        return anchors.split([count * places for count in cells])[self.levels.index(level)]

    @torch.inference_mode()
    def level_detections(self, batch: ImageBatch, level: str, feature: Tensor) -> list[Detections]:
        model = self.model
        logits, deltas, *centre = self.level_outputs(level, feature)
        anchors = self._anchors(model.anchor_generator, batch, level, feature)
        found = []
        for number, size in enumerate(batch.image_sizes):
            scores = torch.sigmoid(logits[number])
            if centre:  # FCOS: how central a place is in its box, too
                central = torch.sigmoid(centre[0][number, :, None])
                scores, decode = torch.sqrt(scores * central), model.box_coder.decode
            else:
                decode = model.box_coder.decode_single
            scores = scores.flatten()
            (passing,) = torch.where(scores > self.score_threshold)
            scores, order = scores[passing].topk(min(model.topk_candidates, len(passing)))
            chosen = passing[order]
            place = torch.div(chosen, self.kinds, rounding_mode="floor")
            boxes = decode(deltas[number][place], anchors[place])
            boxes = clip_boxes_to_image(boxes, size)
            found.append(Detections(boxes, scores, chosen % self.kinds))
        return found

    def level_outputs(self, level: str, feature: Tensor) -> tuple[Tensor, ...]:
        if self.dense:
            outputs = self.model.head([feature])
            both = outputs["cls_logits"], outputs["bbox_regression"]
            centre = outputs.get("bbox_ctrness")
            return both if centre is None else (*both, centre[..., 0])
        logits, deltas = concat_box_prediction_layers(*self.model.rpn.head([feature]))
        images = len(feature)
        return logits.reshape(images, -1), deltas.reshape(images, -1, 4)

    @torch.inference_mode()
    def select(
        self, batch: ImageBatch, level: str, feature: Tensor, outputs: tuple[Tensor, ...]
    ) -> list[Proposals]:
        """``logits`` of what it gives are probabilities: torchvision merges levels by these."""
        rpn, (logits, deltas) = self.model.rpn, outputs
        images = len(batch.image_sizes)
        anchors = self._anchors(rpn.anchor_generator, batch, level, feature)
        boxes = rpn.box_coder.decode(deltas.flatten(0, 1), [anchors] * images)
        boxes = boxes.view(images, -1, 4)
        most = min(rpn._pre_nms_top_n["testing"], logits.shape[1])
        logits, index = logits.topk(most, dim=1)
        found = []
        for number, size in enumerate(batch.image_sizes):
            placed = clip_boxes_to_image(boxes[number, index[number]], size)
            scores = torch.sigmoid(logits[number])
            large = remove_small_boxes(placed, rpn.min_size)
            placed, scores = placed[large], scores[large]
            kept = nms(placed, scores, rpn.nms_thresh)[: self.post_nms_topk]
            found.append(Proposals(placed[kept], scores[kept]))
        return found

    @property
    def pooling(self) -> tuple[Sequence[int], bool]:
        return self.model.roi_heads.box_roi_pool.output_size, False

    def box_outputs(self, pooled: Tensor, stage: int = 0) -> tuple[Tensor, Tensor]:
        logits, deltas = self._box_outputs(pooled)
        # the background, which is first there, to where the others have it
        return torch.cat([logits[:, 1:], logits[:, :1]], dim=1), deltas[:, 4:]

    def _box_outputs(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.roi_heads.box_predictor(self.model.roi_heads.box_head(pooled))

    def pooled_level(self, boxes: Tensor) -> Tensor:
        pool = self.model.roi_heads.box_roi_pool
        levels = LevelMapper(2, 5, pool.canonical_scale, pool.canonical_level)
        return levels([boxes])

    @torch.inference_mode()
    def score(
        self, groups: Sequence[tuple[str, Tensor, Tensor]], stage: int = 0
    ) -> tuple[Tensor, Tensor]:
        heads = self.model.roi_heads
        size, samples = heads.box_roi_pool.output_size, heads.box_roi_pool.sampling_ratio
        pool = partial(roi_align, output_size=size, sampling_ratio=samples)
        pooled = [pool(x, rois, spatial_scale=0.5 ** int(level[1:])) for level, x, rois in groups]
        logits, deltas = self._box_outputs(torch.cat(pooled))
        boxes = heads.box_coder.decode(deltas, [torch.cat([rois[:, 1:] for _, _, rois in groups])])
        scores = torch.softmax(logits, -1)
        # the background, which is first there, to where the others have it
        return torch.cat([scores[:, 1:], scores[:, :1]], dim=1), boxes[:, 1:].flatten(1)

    def place(
        self, boxes: Tensor, network_size: tuple[int, int], image_size: tuple[int, int]
    ) -> Tensor:
        return resize_boxes(boxes, network_size, image_size)


def _image_list(batch: ImageBatch) -> ImageList:
    return ImageList(batch.tensor, batch.image_sizes)


def _contiguous(outputs: int) -> np.ndarray:
    """Of each output the class of the data, in the order of the category ids; -1: none."""
    if outputs != COCO_OUTPUTS:
        return np.arange(outputs) - 1
    names = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    known = np.array([name not in ("__background__", "N/A") for name in names])
    return np.where(known, np.cumsum(known) - 1, -1)


def _freeze_norms(module: nn.Module, epsilon: float) -> None:
    """torchvision's frozen norms for its trainable ones, as a model on a trained backbone has."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=epsilon)
            setattr(module, name, frozen.to(child.weight.device))
        else:
            _freeze_norms(child, epsilon)
