"""Training by detectron2's ``DefaultTrainer``, of the model that the engine holds."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    build_detection_train_loader,
)
from detectron2.data.datasets import load_coco_json
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.engine import DefaultTrainer
from detectron2.engine.hooks import EvalHook
from detectron2.structures import BoxMode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from PIL import Image
from torch import nn

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.data.images import about, check_depth, network_size, told
from detectron2_patch.engines.detectron2_weights import Checkpointer
from detectron2_patch.errors import InputError
from detectron2_patch.training.checkpoints import (
    POINTER,
    last_path,
    of_this_training,
    read_state,
)
from detectron2_patch.training.data import check_batch
from detectron2_patch.training.trainer import one_value_told
from detectron2_patch.utils import distributed
from detectron2_patch.utils.files import check_appendable

METRICS = "metrics.json"  # detectron2 adds to it, and doesn't read it


def train(cfg, model: nn.Module, dataset: CocoDataset, start: Path | None, *, resume: bool) -> Path:
    """Train ``model`` in place; returns the last checkpoint in ``OUTPUT_DIR``.

    Of several processes, each on its GPU, all train and rank 0 writes.

    Args:
        cfg: detectron2's configuration.
        start: the checkpoint to start from, a backbone or more; ``None``: random weights.
        resume: go on from the last checkpoint in ``OUTPUT_DIR``, where there is one.

    Raises:
        InputError: the configuration can't be trained here, or the training diverged, or an
            image isn't of the size that the JSON says.
    """
    _check(cfg)
    left = last_path(Path(cfg.OUTPUT_DIR)) if resume and _is_begun(cfg) else None
    if left is not None:
        read_state(left, ("model", "trainer"))  # refuses a damaged one
    check_appendable(Path(cfg.OUTPUT_DIR) / METRICS)
    cfg = cfg.clone()
    cfg.DATASETS.TRAIN = (_register(cfg, dataset),)
    cfg.MODEL.WEIGHTS = "" if start is None else str(start)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + distributed.rank())
    if distributed.world_size() > 1:
        comm.create_local_process_group(distributed.local_world_size())
    for name in ("detectron2.utils.events", "detectron2.engine"):
        logging.getLogger(name).setLevel(logging.INFO)  # the losses, and how long it will take
    trainer = _trainer_of(model)(cfg)
    if left is None:
        trainer.resume_or_load(resume=resume)
    else:
        _resume(trainer, left)
    try:
        with one_value_told():
            trainer.train()
    except SizeMismatchError as error:
        raise InputError(f"dataset {dataset.name}: {_reason(error)}") from error
    except InputError as error:
        raise InputError(_reason(error) or str(error)) from error
    except FloatingPointError as error:
        raise InputError(
            f"training diverged at iteration {trainer.iter}; lower SOLVER.BASE_LR "
            f"({cfg.SOLVER.BASE_LR})"
        ) from error
    model.eval()
    distributed.barrier()  # rank 0 has written the last checkpoint
    return last_path(Path(cfg.OUTPUT_DIR))


def _is_begun(cfg) -> bool:
    return os.path.lexists(Path(cfg.OUTPUT_DIR) / POINTER)


def _resume(trainer: DefaultTrainer, path: Path) -> None:
    """Go on from a checkpoint.

    Raises:
        InputError: it is of another training.
    """
    trainer.checkpointer.needs_all, trainer.checkpointer.last = True, path
    with of_this_training(path):
        trainer.resume_or_load(resume=True)
        if trainer.checkpointer.lacking:
            raise ValueError(f"its model has no, or another, {trainer.checkpointer.lacking[0]}")


def _reason(error: Exception) -> str:
    """The message of an error that may come from a process of the data loader, with its
    traceback."""
    return str(error).strip().splitlines()[-1].rpartition(f"{type(error).__name__}: ")[2]


class Mapper(DatasetMapper):
    """detectron2's training mapper, with one line for an image that can't be used."""

    def __init__(self, cfg) -> None:
        super().__init__(cfg, is_train=True)
        sides = cfg.INPUT.MIN_SIZE_TRAIN
        self.sizes = min([sides] if isinstance(sides, int) else sides), cfg.INPUT.MAX_SIZE_TRAIN

    def __call__(self, record: dict[str, Any]) -> dict[str, Any] | None:
        path = record["file_name"]
        with about(path):
            network_size((record["height"], record["width"]), *self.sizes)
        try:
            with told(path):
                with Image.open(path) as image:
                    check_depth(path, image)
                return super().__call__(record)
        except InputError as error:
            if isinstance(error.__cause__, SizeMismatchError):
                raise error.__cause__ from None
            raise


def _trainer_of(model: nn.Module) -> type[DefaultTrainer]:
    """``DefaultTrainer`` for a model that is already built, so that a patch on it stays."""

    class Trainer(DefaultTrainer):
        @classmethod
        def build_model(cls, cfg):
            return model.train()

        @classmethod
        def build_train_loader(cls, cfg):
            return build_detection_train_loader(cfg, mapper=Mapper(cfg))

        def build_hooks(self):
            # Here, since the first hook takes the checkpointer that there is.
            self.checkpointer.__class__ = Checkpointer  # reads pickles safely
            # The evaluation follows the training, and counts the payload.
            return [hook for hook in super().build_hooks() if not isinstance(hook, EvalHook)]

    return Trainer


def _check(cfg) -> None:
    """Refuse what ``DefaultTrainer`` would stumble on."""
    check_batch(cfg)
    processes = distributed.world_size()
    on_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
    if on_cpu and processes > 1:
        raise InputError(
            f"--train on {processes} processes with --engine detectron2 needs GPUs, as its "
            "DefaultTrainer does; train in one process on a CPU, or with --engine torchvision"
        )
    if on_cpu and cfg.SOLVER.AMP.ENABLED:
        raise InputError(
            "SOLVER.AMP.ENABLED is True, and detectron2's mixed precision needs a GPU; add "
            "SOLVER.AMP.ENABLED False at the end of the line, or train with --engine torchvision"
        )


def _register(cfg, dataset: CocoDataset) -> str:
    """The dataset's name in detectron2's catalog, where it is added unless it is there."""
    if dataset.name in DatasetCatalog.list() and dataset.name in cfg.DATASETS.TRAIN:
        return dataset.name
    if cfg.MODEL.KEYPOINT_ON:
        raise InputError(
            f"dataset {dataset.name}: detectron2 knows which keypoints swap in a mirrored image "
            "for its own datasets only; train keypoints on keypoints_coco_2017_train"
        )
    name = f"detectron2_patch_{dataset.name}_{dataset.digest[:12]}"
    if name in DatasetCatalog.list():  # perhaps of another place
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    if cfg.MODEL.MASK_ON:
        DatasetCatalog.register(name, lambda: _with_masks(dataset, name))
    else:
        DatasetCatalog.register(name, lambda: _records(dataset))
        MetadataCatalog.get(name).set(thing_classes=list(dataset.classes))
    return name


def _records(dataset: CocoDataset) -> list[dict[str, Any]]:
    """As ``load_coco_json`` has them, of a JSON that has been read and checked."""
    index = {category: i for i, category in enumerate(dataset.category_ids)}
    return [
        {
            "file_name": str(dataset.image_path(image)),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": [
                {
                    "iscrowd": one["iscrowd"],
                    "bbox": list(one["bbox"]),
                    "category_id": index[one["category_id"]],
                    "bbox_mode": BoxMode.XYWH_ABS,
                }
                for one in dataset.annotations[image["id"]]
            ],
        }
        for image in dataset.images
    ]


def _with_masks(dataset: CocoDataset, name: str) -> list[dict[str, Any]]:
    """The records with their outlines, as detectron2 reads them.

    Raises:
        InputError: it can't.
    """
    try:
        return load_coco_json(str(dataset.json_file), str(dataset.image_root), name)
    except Exception as error:  # it raises by what an outline is
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"dataset {dataset.name}: detectron2 can't read the outlines of {dataset.json_file}: "
            f"{reason}; correct its segmentation, or train with MODEL.MASK_ON False"
        ) from error
