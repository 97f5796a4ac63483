"""The detectron2 engine: the user's installed detectron2 builds, loads and runs the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.data.transforms import AugInput
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.structures import Boxes, ImageList, Instances
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import SequentialSampler

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.data.images import about, network_size, read_image
from detectron2_patch.engines import detectron2_dense
from detectron2_patch.engines.base import Engine, NetworkInput, ShapeHead
from detectron2_patch.engines.detectron2_config import to_detectron2
from detectron2_patch.engines.detectron2_parts import build_part
from detectron2_patch.engines.detectron2_sharing import doubt, obstacle
from detectron2_patch.engines.detectron2_weights import load_whole
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.masks_keypoints import KEYPOINTS, SEGM, SHAPES, run_lengths
from detectron2_patch.rcnn.levels import level_names
from detectron2_patch.rcnn.structures import Detections, Proposals
from detectron2_patch.settings.halves import WHOLE
from detectron2_patch.training.trainer import one_value_told

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


class MappedReader:
    """A mapper of whatever make as ``Reader``: it is given file names and nothing else."""

    def __init__(self, mapper: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.mapper = mapper

    def __call__(self, record: dict[str, Any]) -> NetworkInput | InputError:
        path = Path(record["file_name"])
        try:
            height, width = read_image(path, "RGB").shape[:2]  # as it is shown, whole and readable
        except InputError as error:
            return error
        given = {"file_name": str(path), "height": height, "width": width}
        return NetworkInput(self.mapper(given)["image"], (height, width), path)

    def from_pixels(self, pixels: np.ndarray, path: Path | None = None) -> NetworkInput:
        """What the mapper makes of a file of these pixels, RGB."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / "image.png"
            Image.fromarray(pixels).save(file)
            one = self({"file_name": file})
        return NetworkInput(_checked(one).tensor, pixels.shape[:2], path)


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
    reader: Reader | MappedReader

    def __init__(self, cfg, device: str, part: str = WHOLE) -> None:
        self.cfg, self.part = to_detectron2(cfg, device), part
        try:
            model = build_part(self.cfg, part).eval()
        except (KeyError, AssertionError, ValueError) as error:  # an unknown name, a misfit
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"detectron2 can't build the configured model: {reason}") from error
        self._take(model, Reader(self.cfg), self.cfg.TEST.KEYPOINT_OKS_SIGMAS)

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        mapper: Callable[[dict[str, Any]], dict[str, Any]],
        keypoint_sigmas: Sequence[float] = (),
    ) -> Detectron2Engine:
        """An engine on a model that is built and loaded: of a LazyConfig, a project, your own::

            cfg = LazyConfig.load("mine.py")
            model = instantiate(cfg.model).eval()
            engine = Engine.from_model(model, instantiate(cfg.dataloader.test.mapper))

        Args:
            model: has a ``backbone`` with a pyramid, and detectron2's calls.
            mapper: the test-time mapper: ``{"file_name": …}`` to a mapping with ``image``.
            keypoint_sigmas: as ``TEST.KEYPOINT_OKS_SIGMAS``.
        """
        engine = cls.__new__(cls)
        engine.cfg = None
        engine._take(model.eval(), MappedReader(mapper), keypoint_sigmas)
        return engine

    def _take(self, model: nn.Module, reader, keypoint_sigmas: Sequence[float]) -> None:
        self.model, self.reader, self.keypoint_sigmas = model, reader, list(keypoint_sigmas)
        self.names = level_names(model)
        self.levels = tuple(self.names)
        self._read_limits()

    def _read_limits(self) -> None:
        """What the selection goes by, as the model itself has it."""
        if self.dense:
            self.num_classes, self.post_nms_topk = self.model.num_classes, 0
            self.score_threshold = self.model.test_score_thresh
            self.nms_threshold = self.model.test_nms_thresh
            self.detections_per_image = self.model.max_detections_per_image
            return
        rpn = getattr(self.model, "proposal_generator", None)
        heads = getattr(self.model, "roi_heads", None)
        predictor = getattr(heads, "box_predictor", None)
        if isinstance(predictor, nn.ModuleList):  # a cascade selects by its last stage
            predictor = predictor[-1]
        self.num_classes = getattr(heads, "num_classes", None)
        self.post_nms_topk = getattr(rpn, "post_nms_topk", {}).get(False)
        self.score_threshold = getattr(predictor, "test_score_thresh", None)
        self.nms_threshold = getattr(predictor, "test_nms_thresh", None)
        self.detections_per_image = getattr(predictor, "test_topk_per_image", None)

    def load_weights(self, path: Path) -> None:
        load_whole(self.model, path, self.part)
        self.weights = path

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

    @property
    def tasks(self) -> list[str]:  # type: ignore[override]
        heads = getattr(self.model, "roi_heads", None)
        parts = (SEGM, "mask_on"), (KEYPOINTS, "keypoint_on")
        return [task for task, part in parts if getattr(heads, part, False)]

    @one_value_told()
    @torch.inference_mode()
    def detect(self, image: NetworkInput) -> dict[str, Any]:
        height, width = image.image_size
        (output,) = self.model([{"image": image.tensor, "height": height, "width": width}])
        found = output["instances"].to("cpu")
        detections = {
            "boxes": found.pred_boxes.tensor.numpy(),
            "scores": found.scores.numpy(),
            "classes": found.pred_classes.numpy(),
        }
        for task, name in SHAPES.items():
            if found.has(f"pred_{name}"):
                detections[name] = _shapes(task, found)
        return detections

    def batch(self, inputs: Sequence[NetworkInput]) -> ImageList:
        return self.model.preprocess_image([{"image": one.tensor} for one in inputs])

    @one_value_told()
    @torch.inference_mode()
    def pyramid(self, batch: ImageList) -> dict[str, Tensor]:
        maps = self.model.backbone(batch.tensor)
        return {level: maps[name] for level, name in self.names.items()}

    def level_outputs(self, level: str, feature: Tensor) -> tuple[Tensor, ...]:
        if self.dense:
            return detectron2_dense.level_outputs(self.model, feature)
        (logits,), (deltas,) = self.model.proposal_generator.rpn_head([feature])
        n, _, h, w = deltas.shape
        return (
            logits.permute(0, 2, 3, 1).flatten(1),  # (N, A, H, W) -> (N, H W A)
            deltas.view(n, -1, 4, h, w).permute(0, 3, 4, 1, 2).flatten(1, -2),
        )

    @torch.inference_mode()
    def select(
        self, batch: ImageList, level: str, feature: Tensor, outputs: tuple[Tensor, ...]
    ) -> list[Proposals]:
        rpn, (logits, deltas) = self.model.proposal_generator, outputs
        index = list(rpn.in_features).index(self.names[level])
        # A level's anchors depend on its place in the list and on its own size alone.
        anchors = rpn.anchor_generator([feature] * len(rpn.in_features))[index]
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

    @property
    def dense(self) -> bool:  # type: ignore[override]
        return detectron2_dense.is_dense(self.model)

    def level_detections(self, batch: ImageList, level: str, feature: Tensor) -> list[Detections]:
        index = list(self.model.head_in_features).index(self.names[level])
        return detectron2_dense.level_detections(self.model, index, feature, batch.image_sizes)

    @property
    def pooled(self) -> tuple[str, ...]:  # type: ignore[override]
        if self.dense:
            return ()
        return self._called(getattr(self.model.roi_heads, "box_in_features", ()))

    def _called(self, names: Sequence[str]) -> tuple[str, ...]:
        """The levels that the model has these names for."""
        levels = {name: level for level, name in self.names.items()}
        return tuple(levels[name] for name in names)

    def pooled_level(self, boxes: Tensor) -> Tensor:
        return _pooled_level(self.model.roi_heads.box_pooler, boxes)

    @property
    def stages(self) -> int:  # type: ignore[override]
        return getattr(getattr(self.model, "roi_heads", None), "num_cascade_stages", 1)

    @torch.inference_mode()
    def score(
        self, groups: Sequence[tuple[str, Tensor, Tensor]], stage: int = 0
    ) -> tuple[Tensor, Tensor]:
        pooled = _pool(self.model.roi_heads.box_pooler, self.pooled, groups)
        head, predictor = self._box_head(stage)
        outputs = predictor(head(pooled))
        boxes = torch.cat([rois[:, 1:] for _, _, rois in groups])
        given = [Instances((0, 0), proposal_boxes=Boxes(boxes))]
        (scores,) = predictor.predict_probs(outputs, given)
        (refined,) = predictor.predict_boxes(outputs, given)
        return scores, refined

    def _box_head(self, stage: int) -> tuple[nn.Module, Any]:
        """Head and predictor of a stage."""
        heads = self.model.roi_heads
        head, predictor = heads.box_head, heads.box_predictor
        if isinstance(predictor, nn.ModuleList):
            return head[stage], predictor[stage]
        return head, predictor

    @property
    def pooling(self) -> tuple[Sequence[int], bool]:
        pooler = self.model.roi_heads.box_pooler
        return pooler.output_size, pooler.level_poolers[0].aligned

    def box_outputs(self, pooled: Tensor, stage: int = 0) -> tuple[Tensor, Tensor]:
        head, predictor = self._box_head(stage)
        return predictor(head(pooled))

    @property
    def shape_heads(self) -> list[ShapeHead]:  # type: ignore[override]
        heads = getattr(self.model, "roi_heads", None)
        parts = ((SEGM, "mask"), (KEYPOINTS, "keypoint"))
        return [
            PooledHead(task, heads, part, self._called(getattr(heads, f"{part}_in_features")))
            for task, part in parts
            if task in self.tasks
        ]

    def factorises(self) -> str | None:
        return obstacle(self.model)

    def doubt(self) -> str | None:
        return doubt(self.model)


class PooledHead(ShapeHead):
    """A mask or keypoint head of ``StandardROIHeads`` with its pooler."""

    def __init__(self, task: str, heads: Any, part: str, levels: tuple[str, ...]) -> None:
        self.task, self.levels = task, levels
        self.pooler, self.head = getattr(heads, f"{part}_pooler"), getattr(heads, f"{part}_head")

    def level(self, boxes: Tensor) -> Tensor:
        return _pooled_level(self.pooler, boxes)

    @torch.inference_mode()
    def shapes(
        self,
        groups: Sequence[tuple[str, Tensor, Tensor]],
        classes: Tensor,
        network_size: tuple[int, int],
        image_size: tuple[int, int],
    ) -> Sequence[Any]:
        boxes = torch.cat([rois[:, 1:] for _, _, rois in groups])
        given = Instances(network_size, pred_boxes=Boxes(boxes), pred_classes=classes)
        self.head(_pool(self.pooler, self.levels, groups), [given])
        return _shapes(self.task, detector_postprocess(given, *image_size).to("cpu"))


def _shapes(task: str, found: Instances) -> Sequence[Any]:
    """The masks, run-length coded, or keypoints of detections in the image's pixels."""
    if task == KEYPOINTS:
        return found.pred_keypoints.numpy()
    return run_lengths(found.pred_masks.numpy())


def _pool(
    pooler: ROIPooler, levels: Sequence[str], groups: Sequence[tuple[str, Tensor, Tensor]]
) -> Tensor:
    """The boxes of all groups, each pooled from the group's map."""
    poolers = dict(zip(levels, pooler.level_poolers))
    return torch.cat([poolers[level](feature, rois) for level, feature, rois in groups])


def _pooled_level(pooler: ROIPooler, boxes: Tensor) -> Tensor:
    """Index of the level that ``pooler`` takes each of ``boxes`` ``(R, 4)`` from."""
    if len(pooler.level_poolers) == 1:
        return torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    return assign_boxes_to_levels(
        [Boxes(boxes)],
        pooler.min_level,
        pooler.max_level,
        pooler.canonical_box_size,
        pooler.canonical_level,
    )


def _checked(one: NetworkInput | InputError) -> NetworkInput:
    if isinstance(one, InputError):
        raise one
    return one
