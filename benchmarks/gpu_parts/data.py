"""Part ``images``: make all images, so that no other part's seconds hold that."""

from __future__ import annotations

import time

from detectron2_patch.data.coco import CocoDataset
from gpu_parts.bench import Bench
from gpu_parts.configs import R50, zoo_cfg
from gpu_parts.images import photographs, scenes
from gpu_parts.sizes import Sizes


def the_photographs(sizes: Sizes) -> CocoDataset:
    """The photographs as a dataset with the zoo's classes."""
    classes = zoo_cfg(R50, sizes.opts).MODEL.ROI_HEADS.NUM_CLASSES
    return photographs(sizes.photographs, sizes.photograph, classes)


def run(bench: Bench) -> None:
    """A row for each kind of image."""
    sizes = bench.sizes
    for kind, make in (
        ("scenes to evaluate", lambda: scenes("val", sizes.scenes)),
        ("scenes to train on", lambda: scenes("train", sizes.training_scenes)),
        ("photographs", lambda: the_photographs(sizes)),
    ):
        start = time.perf_counter()
        dataset = make()
        image = dataset.images[0]
        bench.row(
            images=kind,
            count=len(dataset.images),
            pixels=f"{image['height']}x{image['width']}",
            seconds=time.perf_counter() - start,
        )
