"""The seam: what an engine does for an evaluation, and the parts that a sweep shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.data.coco import CocoDataset, check_image_size
from detectron2_patch.data.images import read_image
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.masks_keypoints import ShapeEvaluator
from detectron2_patch.rcnn.boxes import to_image
from detectron2_patch.rcnn.pooler import POOLED_LEVELS, pooled_level
from detectron2_patch.rcnn.structures import Detections, Proposals
from detectron2_patch.settings.codecs import ImageCodec, Size
from detectron2_patch.settings.halves import WHOLE
from detectron2_patch.settings.levels import LEVELS


@dataclass
class NetworkInput:
    """An image as the network sees it, ``(3, h, w)``, its own ``(height, width)``, and its file."""

    tensor: Tensor
    image_size: tuple[int, int]
    path: Path | None = None


class ShapeHead(ABC):
    """A head that gives each detection a shape, pooled from one level a box.

    Attributes:
        task: ``segm`` or ``keypoints``.
        levels: those that it pools from, finest first.
    """

    task: str
    levels: tuple[str, ...]

    @abstractmethod
    def level(self, boxes: Tensor) -> Tensor:
        """Index into ``levels`` of the level that a box ``(R, 4)`` is pooled from."""

    @abstractmethod
    def shapes(
        self,
        groups: Sequence[tuple[str, Tensor, Tensor]],
        classes: Tensor,
        network_size: tuple[int, int],
        image_size: tuple[int, int],
    ) -> Sequence[Any]:
        """As ``Engine.detect`` gives them: COCO's run-length code of each mask, or keypoints
        ``(R, K, 3)``, in the image's pixels.

        Args:
            groups: as ``Engine.score`` takes them; no box is empty in the image's pixels.
            classes: ``(R,)``, of the groups one after the other.
        """


class Engine(ABC):
    """Runs one detector on one device.

    ``batch``, ``pyramid``, ``level_proposals`` and ``score`` are the parts of ``detect``, for those
    who share them between settings.

    Attributes:
        name: as results have it.
        model: the detector, whose maps never leave its device.
        weights: the checkpoint that was loaded; ``None``: none was.
        levels: those that its heads read, finest first.
        names: what the model calls its levels, where it doesn't call them so.
        pooled: the levels that the box head pools from, finest first.
        smallest: side in the network's pixels that a detection has to have.
        keeps_empty: whether a detection may be a box without an area.
        tasks: what the detector gives beside boxes: ``segm``, ``keypoints``.
        keypoint_sigmas: as ``TEST.KEYPOINT_OKS_SIGMAS``.
        part: of the detector that is there, one of ``settings.halves.PARTS``.
        num_classes, post_nms_topk, score_threshold, nms_threshold, detections_per_image: what the
            selection between and after the parts goes by.
    """

    name: str
    model: Any  # nn.Module: of what a module holds, torch's types say nothing
    weights: Path | None = None
    levels: tuple[str, ...] = LEVELS
    names: Mapping[str, str] = {}
    pooled: tuple[str, ...] = POOLED_LEVELS
    dense = False  # one kind of head, as in RetinaNet: no proposals, no pooled boxes
    stages = 1  # of a cascade: as many box heads, one after the other
    threaded = False  # ``detect`` may run in several threads at a time
    shape_heads: Sequence[ShapeHead] = ()
    tasks: Sequence[str] = ()
    smallest = 0.0
    keeps_empty = False
    _kinds: int | None = None

    @property
    def kinds(self) -> int:
        """How many classes the heads tell apart."""
        return self.num_classes if self._kinds is None else self._kinds

    @kinds.setter
    def kinds(self, count: int) -> None:
        self._kinds = count

    keypoint_sigmas: Sequence[float] = ()

    @property
    def head_levels(self) -> tuple[str, ...]:
        """The levels that some head pools from."""
        of_shapes = [level for head in self.shape_heads for level in head.levels]
        return tuple(dict.fromkeys([*self.pooled, *of_shapes]))

    part: str = WHOLE

    def __init__(self, cfg) -> None:
        self.cfg = cfg
        self.num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        self.post_nms_topk = cfg.MODEL.RPN.POST_NMS_TOPK_TEST
        self.score_threshold = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST
        self.nms_threshold = cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST
        self.detections_per_image = cfg.TEST.DETECTIONS_PER_IMAGE

    @classmethod
    def from_model(cls, model: Any, mapper: Any, keypoint_sigmas: Sequence[float] = ()) -> Engine:
        """An engine on a model of detectron2 that is built already; see ``Detectron2Engine``.

        Raises:
            InputError: detectron2 is missing or broken.
        """
        from detectron2_patch.engines.choice import DETECTRON2, choose_engine

        choose_engine(DETECTRON2)
        from detectron2_patch.engines.detectron2 import Detectron2Engine

        return Detectron2Engine.from_model(model, mapper, keypoint_sigmas)

    @abstractmethod
    def load_weights(self, path: Path) -> None:
        """Load a whole checkpoint with detectron2's names.

        Raises:
            InputError: it can't be read or doesn't fit.
        """

    @abstractmethod
    def train(self, dataset: CocoDataset, start: Path | None, *, resume: bool) -> Path:
        """Train the model on ``dataset``, from the checkpoint ``start``; returns the last one."""

    @abstractmethod
    def read(self, path: Path) -> NetworkInput:
        """Read and resize one image; safe to call from several threads.

        Raises:
            InputError: the file is missing or isn't a whole image.
        """

    @abstractmethod
    def read_all(self, paths: Sequence[Path], workers: int) -> Iterator[NetworkInput]:
        """``read`` of each path in order, ahead by ``workers`` threads or processes."""

    def read_dataset(
        self, dataset: CocoDataset, images: Sequence[dict[str, Any]], workers: int
    ) -> Iterator[NetworkInput]:
        """``read_all`` of some of the images of ``dataset``, each of the size that its JSON says.

        Raises:
            InputError: a file can't be read, or its size isn't the JSON's.
        """
        paths = [dataset.image_path(image) for image in images]
        for image, one in zip(images, self.read_all(paths, workers)):
            check_image_size(dataset, image, one.image_size)
            yield one

    @abstractmethod
    def from_pixels(self, pixels: np.ndarray) -> NetworkInput:
        """What ``read`` makes of an image of these pixels: ``(H, W, 3)``, uint8, RGB."""

    def recode(self, image: NetworkInput, codec: ImageCodec) -> tuple[NetworkInput, int]:
        """The image as a receiver of ``codec``'s bytes has it, at its own resolution until then,
        and how many bytes they are.

        Raises:
            InputError: the codec can't hold it; names the file.
        """
        assert image.path is not None
        pixels = read_image(image.path, "RGB")
        try:
            data = codec.encode(pixels)
            decoded = codec.decode(data)
        except InputError as error:
            raise InputError(f"{image.path}: {error}") from error
        if decoded.shape != pixels.shape:
            raise InputError(
                f"{image.path}: {codec.word} made {decoded.shape} of {pixels.shape} pixels; "
                "choose another codec"
            )
        return self.from_pixels(decoded), len(data)

    @abstractmethod
    def detect(self, image: NetworkInput) -> dict[str, Any]:
        """Boxes ``(n, 4)`` in the image's pixels, scores ``(n,)`` and classes ``(n,)``, NumPy.

        A model with masks gives ``masks``, too, run-length coded as COCO has them, and one with
        keypoints ``keypoints``, ``(n, K, 3)``: x, y in the image's pixels and the score.
        """

    def maps(self, image: NetworkInput) -> tuple[dict[str, Tensor], Size]:
        """The clean maps ``(C, H, W)`` of one image, and ``(h, w)`` of the padded input."""
        batch = self.batch([image])
        size = (batch.tensor.shape[-2], batch.tensor.shape[-1])
        return {level: one[0] for level, one in self.pyramid(batch).items()}, size

    def detect_received(
        self, maps: Mapping[str, Tensor], network_size: Size, image_size: Size
    ) -> dict[str, Any]:
        """What ``detect`` finds in an image, from its received maps ``(C, H, W)`` alone.

        For an engine of the ``heads``.

        Args:
            network_size: ``(h, w)`` of the network's input before padding.
            image_size: ``(height, width)`` of the image, in whose pixels boxes are given.
        """
        blank = torch.zeros(1, 1, 1).expand(3, *network_size)
        with self.model.backbone.giving(maps):
            return self.detect(NetworkInput(blank, image_size))

    def shape_evaluators(self, dataset: CocoDataset) -> dict[str, Any]:
        """Evaluators, by task, of what the model gives beside boxes.

        Raises:
            InputError: the dataset has nothing to evaluate them on.
        """
        return {task: ShapeEvaluator(dataset, task, self.keypoint_sigmas) for task in self.tasks}

    @abstractmethod
    def batch(self, inputs: Sequence[NetworkInput]):
        """Images of one padded size, normalised and stacked on the device; ``image_sizes`` has
        each one's ``(h, w)`` before padding."""

    @abstractmethod
    def pyramid(self, batch) -> dict[str, Tensor]:
        """The clean maps, level to ``(N, C, H, W)``."""

    def level_detections(self, batch, level: str, feature: Tensor) -> list[Detections]:
        """Of a dense detector: what one level gives for each image, in the network's pixels, before
        suppression, by falling score."""
        raise NotImplementedError

    @torch.inference_mode()
    def level_proposals(self, batch, level: str, feature: Tensor) -> list[Proposals]:
        """What the RPN proposes for each image from one level's map, by falling logit."""
        return self.select(batch, level, feature, self.level_outputs(level, feature))

    @abstractmethod
    def level_outputs(self, level: str, feature: Tensor) -> tuple[Tensor, ...]:
        """What the head that reads every level says of each of one level's anchors, with its
        gradient.

        Returns:
            of an RPN logits ``(N, A)`` and deltas ``(N, A, 4)``; of a dense detector class logits
            ``(N, A, K)``, deltas ``(N, A, 4)`` and, of FCOS, logits of how central a place is
            ``(N, A)``.
        """

    @abstractmethod
    def select(
        self, batch, level: str, feature: Tensor, outputs: tuple[Tensor, ...]
    ) -> list[Proposals]:
        """An RPN's proposals of each image from ``level_outputs`` of a map, by falling logit."""

    def pooled_level(self, boxes: Tensor) -> Tensor:
        """Index into ``pooled`` of the level that a box ``(R, 4)`` is pooled from."""
        return pooled_level(boxes)

    def contiguous(self, classes: np.ndarray) -> np.ndarray:
        """The data's classes that the heads' are; -1: none."""
        return classes

    def place(
        self, boxes: Tensor, network_size: tuple[int, int], image_size: tuple[int, int]
    ) -> Tensor:
        """Boxes ``(R, 4)`` of the network's pixels in the image's, of ``(height, width)``."""
        return to_image(boxes, network_size, image_size)

    @abstractmethod
    def score(
        self, groups: Sequence[tuple[str, Tensor, Tensor]], stage: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The box head on boxes that are each pooled from a given map.

        Args:
            groups: level, its map ``(N, C, H, W)`` and boxes ``(R, 5)`` with the image's number
                in front.
            stage: of a cascade, whose box head.

        Returns:
            class probabilities ``(R, K + 1)``, background last, and refined boxes ``(R, 4 K)``
            or ``(R, 4)``, the groups one after the other.
        """

    @property
    def pooling(self) -> tuple[Any, bool]:
        """Of the box head: what RoIAlign gives a side, one number or two, and whether it is
        aligned by half an element."""
        raise NotImplementedError

    def box_outputs(self, pooled: Tensor, stage: int = 0) -> tuple[Tensor, Tensor]:
        """The box head on what was pooled ``(R, C, h, w)``, with its gradient.

        Returns:
            class logits ``(R, K + 1)`` and deltas ``(R, 4 K)`` or ``(R, 4)``.
        """
        raise NotImplementedError

    def factorises(self) -> str | None:
        """Why settings can't share the parts; ``None`` where they can, as in Faster R-CNN."""
        return None

    def doubt(self) -> str | None:
        """A part of which it isn't known whether settings can share it: that has to be tried;
        ``None`` where there is none."""
        return None
