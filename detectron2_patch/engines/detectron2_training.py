"""Training by detectron2's ``DefaultTrainer``, of the model that the engine holds."""

from __future__ import annotations

import logging
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
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from PIL import Image
from torch import nn

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.data.images import about, check_depth, network_size, told
from detectron2_patch.engines.detectron2_weights import Checkpointer
from detectron2_patch.errors import InputError
from detectron2_patch.training.checkpoints import POINTER, last_path
from detectron2_patch.training.data import check_batch
from detectron2_patch.training.trainer import one_value_told
from detectron2_patch.utils import distributed


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
    if resume and (Path(cfg.OUTPUT_DIR) / POINTER).exists():
        last_path(Path(cfg.OUTPUT_DIR))  # refuses a damaged one
    cfg = cfg.clone()
    cfg.DATASETS.TRAIN = (_register(cfg, dataset),)
    cfg.MODEL.WEIGHTS = "" if start is None else str(start)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + distributed.rank())
    if distributed.world_size() > 1:
        comm.create_local_process_group(distributed.local_world_size())
    for name in ("detectron2.utils.events", "detectron2.engine"):
        logging.getLogger(name).setLevel(logging.INFO)  # the losses, and how long it will take
    trainer = _trainer_of(model)(cfg)
    trainer.resume_or_load(resume=resume)
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
    if name not in DatasetCatalog.list():
        json_file, folder = str(dataset.json_file), str(dataset.image_root)
        DatasetCatalog.register(name, lambda: load_coco_json(json_file, folder, name))
        MetadataCatalog.get(name).set(json_file=json_file, image_root=folder)
    return name
