"""The box head: RoIAlign from one level a box, two layers, class scores and box deltas. Behind it,
where there is one, the mask head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2_patch.rcnn import boxes as box
from detectron2_patch.rcnn.layers import init_normal, init_xavier
from detectron2_patch.rcnn.mask_head import MaskHead
from detectron2_patch.rcnn.matching import match, sample
from detectron2_patch.rcnn.pooler import Pooler
from detectron2_patch.rcnn.rpn import smooth_l1
from detectron2_patch.rcnn.structures import Detections, ImageBatch, Proposals, Targets


def candidates(
    scores: Tensor,
    boxes: Tensor,
    threshold: float,
    image_size: tuple[int, int],
    smallest: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What passes the score threshold: row, class, box clipped to the image, and score.

    ``scores`` ``(R, K + 1)`` have the background last, ``boxes`` are ``(R, 4 K)`` or ``(R, 4)``;
    rows that aren't finite pass nothing, and no box of which a side is below ``smallest``.
    """
    finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores).all(dim=1)
    boxes = box.clip(boxes.view(len(boxes), boxes.shape[1] // 4, 4), image_size)
    passes = (scores[:, :-1] > threshold) & finite[:, None]
    if smallest > 0:
        passes &= (boxes[..., 2:] - boxes[..., :2] >= smallest).all(dim=2)
    row, classes = torch.nonzero(passes, as_tuple=True)
    return row, classes, boxes[row, classes if boxes.shape[1] > 1 else 0], scores[row, classes]


class BoxHead(nn.Module):
    """Fully connected layers with ReLU over the flattened RoI: ``fc1``, ``fc2`` …"""

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        for number in range(1, depth + 1):
            layer = nn.Linear(inputs, width)
            init_xavier(layer)
            self.add_module(f"fc{number}", layer)
            inputs = width

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.children():
            x = F.relu(layer(x))
        return x


class BoxPredictor(nn.Module):
    """Scores ``(R, K + 1)``, background last, and deltas ``(R, 4 K)`` or ``(R, 4)``."""

    def __init__(self, inputs: int, classes: int, class_agnostic: bool) -> None:
        super().__init__()
        self.cls_score = nn.Linear(inputs, classes + 1)
        self.bbox_pred = nn.Linear(inputs, 4 if class_agnostic else 4 * classes)
        init_normal(self.cls_score, 0.01)
        init_normal(self.bbox_pred, 0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x).float(), self.bbox_pred(x).float()


class ROIHeads(nn.Module):
    """Classify and refine proposals, and mask what is detected.

    Args:
        cfg: the configuration's ``MODEL`` node.
        detections: ``TEST.DETECTIONS_PER_IMAGE``.
    """

    def __init__(self, cfg, detections: int) -> None:
        super().__init__()
        self.cfg, self.head_cfg, self.detections = cfg.ROI_HEADS, cfg.ROI_BOX_HEAD, detections
        head = self.head_cfg
        self.pooler = Pooler(head)
        inputs = cfg.FPN.OUT_CHANNELS * head.POOLER_RESOLUTION**2
        self.box_head = BoxHead(inputs, head.FC_DIM, head.NUM_FC)
        self.box_predictor = BoxPredictor(
            head.FC_DIM, self.cfg.NUM_CLASSES, head.CLS_AGNOSTIC_BBOX_REG
        )
        if cfg.MASK_ON:
            self.mask_head = MaskHead(cfg)

    @property
    def mask_on(self) -> bool:
        """Whether detections have masks."""
        return hasattr(self, "mask_head")

    def forward(
        self,
        images: ImageBatch,
        features: dict[str, Tensor],
        proposals: Sequence[Proposals],
        targets: Sequence[Targets] | None = None,
    ) -> tuple[list[Detections], dict[str, Tensor]]:
        """Detections of each image, or, when training, the losses of the head."""
        if self.training:
            assert targets is not None
            return [], self.losses(features, proposals, targets)
        outputs = self.predict(features, [p.boxes for p in proposals])
        detections = [
            self.select(scores, boxes, size)
            for (scores, boxes), size in zip(outputs, images.image_sizes)
        ]
        if self.mask_on:
            self.add_masks(features, detections)
        return detections, {}

    def add_masks(self, features: dict[str, Tensor], detections: Sequence[Detections]) -> None:
        """Give the detections of each image their ``masks``."""
        pooled = self.mask_head.pooler(features, [one.boxes for one in detections])
        masks = self.mask_head(pooled, torch.cat([one.classes for one in detections]))
        for one, mine in zip(detections, masks.split([len(one) for one in detections])):
            one.masks = mine

    def predict(
        self, features: dict[str, Tensor], boxes: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Class probabilities ``(R, K + 1)`` and boxes ``(R, 4 K)`` or ``(R, 4)`` per image."""
        scores, refined = self.predict_pooled(self.pooler(features, boxes), torch.cat(list(boxes)))
        counts = [len(b) for b in boxes]
        return list(zip(scores.split(counts), refined.split(counts)))

    def predict_pooled(self, pooled: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and refined boxes of ``pooled`` ``(R, C, S, S)``, proposals ``(R, 4)``."""
        logits, deltas = self.box_predictor(self.box_head(pooled))
        refined = box.decode(deltas, boxes, self.head_cfg.BBOX_REG_WEIGHTS)
        return F.softmax(logits, dim=-1), refined

    def select(self, scores: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> Detections:
        """Threshold, NMS within each class, the best ``DETECTIONS_PER_IMAGE`` of one image."""
        _, classes, boxes, scores = candidates(
            scores, boxes, self.cfg.SCORE_THRESH_TEST, image_size
        )
        keep = box.nms_by_group(boxes, scores, classes, self.cfg.NMS_THRESH_TEST)
        if self.detections >= 0:
            keep = keep[: self.detections]
        return Detections(boxes[keep], scores[keep], classes[keep])

    @torch.no_grad()
    def sample_proposals(
        self, proposals: Sequence[Proposals], targets: Sequence[Targets]
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each image boxes, classes (K is background) and matched objects to train on."""
        cfg, chosen = self.cfg, []
        for part, target in zip(proposals, targets):
            boxes = part.boxes
            if cfg.PROPOSAL_APPEND_GT:
                boxes = torch.cat([boxes, target.boxes])
            index, label = match(
                boxes, target.boxes, cfg.IOU_THRESHOLDS, cfg.IOU_LABELS, keep_best=False
            )
            classes = torch.full_like(label, cfg.NUM_CLASSES)
            if len(target.boxes):
                classes = torch.where(label == 1, target.classes[index], classes)
            classes[label == -1] = -1
            pick = sample(classes, cfg.BATCH_SIZE_PER_IMAGE, cfg.POSITIVE_FRACTION, cfg.NUM_CLASSES)
            truth = target.boxes[index[pick]] if len(target.boxes) else boxes[pick]
            chosen.append((boxes[pick], classes[pick], truth))
        return chosen

    def losses(
        self,
        features: dict[str, Tensor],
        proposals: Sequence[Proposals],
        targets: Sequence[Targets],
    ) -> dict[str, Tensor]:
        """Cross entropy over the classes and smooth L1 of the boxes of true objects."""
        head = self.head_cfg
        samples = self.sample_proposals(proposals, targets)
        boxes, classes, truth = (torch.cat(parts) for parts in zip(*samples))
        pooled = self.pooler(features, [part[0] for part in samples])
        logits, deltas = self.box_predictor(self.box_head(pooled))
        objects = torch.nonzero(classes < self.cfg.NUM_CLASSES).flatten()
        deltas = deltas.view(len(deltas), deltas.shape[1] // 4, 4)
        column = classes[objects] if deltas.shape[1] > 1 else 0
        wanted = box.encode(boxes[objects], truth[objects], head.BBOX_REG_WEIGHTS)
        location = smooth_l1(deltas[objects, column], wanted, head.SMOOTH_L1_BETA)
        return {
            "loss_cls": F.cross_entropy(logits, classes),
            "loss_box_reg": location / max(len(classes), 1) * head.BBOX_REG_LOSS_WEIGHT,
        }
