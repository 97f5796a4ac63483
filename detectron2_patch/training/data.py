"""Endless batches of augmented images; the same for the same seed, wherever one starts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.data.coco import CocoDataset, check_image_size, training_boxes
from detectron2_patch.data.images import (
    about,
    load_ahead,
    network_size,
    read_image,
    to_network,
)
from detectron2_patch.errors import InputError
from detectron2_patch.rcnn.structures import Targets
from detectron2_patch.utils import distributed

Sample = tuple[Tensor, Targets]


def batches(cfg, dataset: CocoDataset, seed: int, start: int = 0) -> Iterator[list[Sample]]:
    """This process's share of each batch from iteration ``start`` on: images ``(3, h, w)`` with
    their ground truth."""
    images = trainable_images(cfg, dataset)
    plan = islice(_plan(cfg, images, seed), start, None)
    flat = (entry for batch in plan for entry in distributed.share(batch))

    def load(entry: tuple[int, int]) -> Sample:
        position, index = entry
        generator = np.random.default_rng((seed, position))
        return load_sample(cfg, dataset, images[index], generator)

    size = cfg.SOLVER.IMS_PER_BATCH // distributed.world_size()
    samples = load_ahead(load, flat, cfg.DATALOADER.NUM_WORKERS, ahead=2 * size)
    while batch := list(islice(samples, size)):
        yield batch


def check_batch(cfg) -> None:
    """Refuse a batch that the processes can't share evenly."""
    processes, batch = distributed.world_size(), cfg.SOLVER.IMS_PER_BATCH
    if batch % processes:
        raise InputError(
            f"SOLVER.IMS_PER_BATCH is {batch} for {processes} processes; give a multiple of these"
        )


def trainable_images(cfg, dataset: CocoDataset) -> list[dict]:
    """The images to train on; those without a usable box are left out unless kept by key.

    Raises:
        InputError: no image is left.
    """
    images = dataset.images
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        images = [image for image in images if len(training_boxes(dataset, image)[0])]
    if not images:
        raise InputError(
            f"dataset {dataset.name}: no image has a box to train on; check the annotations"
        )
    return images


def _plan(cfg, images: list[dict], seed: int) -> Iterator[list[tuple[int, int]]]:
    """Batches of (position in the stream, image index): shuffled passes, wide images together.

    Batching wide with wide and tall with tall (``ASPECT_RATIO_GROUPING``) saves padding.
    """
    size = cfg.SOLVER.IMS_PER_BATCH
    buckets: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    generator = torch.Generator().manual_seed(seed)
    position = 0
    while True:
        for index in torch.randperm(len(images), generator=generator).tolist():
            image = images[index]
            wide = cfg.DATALOADER.ASPECT_RATIO_GROUPING and image["width"] > image["height"]
            buckets[wide].append((position, index))
            position += 1
            if len(buckets[wide]) == size:
                yield buckets[wide]
                buckets[wide] = []


def load_sample(cfg, dataset: CocoDataset, image: dict, generator: np.random.Generator) -> Sample:
    """Read, resize to a random training size, and flip one image and its boxes.

    Raises:
        InputError: the file can't be read, its size isn't the JSON's, or a side rounds to 0.
    """
    pixels = read_image(dataset.image_path(image), cfg.INPUT.FORMAT)
    check_image_size(dataset, image, pixels.shape[:2])
    corners, classes = training_boxes(dataset, image)
    with about(dataset.image_path(image)):
        size = network_size(
            pixels.shape[:2], _shortest_side(cfg.INPUT, generator), cfg.INPUT.MAX_SIZE_TRAIN
        )
    scale_y, scale_x = size[0] / pixels.shape[0], size[1] / pixels.shape[1]
    tensor = to_network(pixels, size)
    boxes = torch.from_numpy(corners) * torch.tensor([scale_x, scale_y] * 2)
    if cfg.INPUT.RANDOM_FLIP != "none" and generator.random() < 0.5:
        tensor, boxes = flip(tensor, boxes, cfg.INPUT.RANDOM_FLIP)
    return tensor, Targets(boxes.float(), torch.from_numpy(classes))


def _shortest_side(cfg, generator: np.random.Generator) -> int:
    given = cfg.MIN_SIZE_TRAIN
    sides: tuple[int, ...] = (given,) if isinstance(given, int) else tuple(given)
    if cfg.MIN_SIZE_TRAIN_SAMPLING == "range":
        return int(generator.integers(sides[0], sides[1] + 1))
    return int(generator.choice(sides))


def flip(image: Tensor, boxes: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """Mirror an image ``(3, h, w)`` and its boxes ``(R, 4)``, ``horizontal`` or ``vertical``."""
    axis = 0 if direction == "horizontal" else 1
    side = image.size(2 - axis)
    mirrored = boxes.clone()
    mirrored[:, axis], mirrored[:, axis + 2] = side - boxes[:, axis + 2], side - boxes[:, axis]
    return image.flip(2 - axis), mirrored
