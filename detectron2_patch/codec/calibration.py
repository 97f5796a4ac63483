"""Fit to a detector: its clean maps of training images, and of no image that is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from detectron2_patch.codec.fitted import KIND, Fitted, backbone_digest, map_config
from detectron2_patch.codec.fitting import fit as fit_arrays
from detectron2_patch.codec.provenance import image_key
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import sha256
from detectron2_patch.utils.progress import progress
from detectron2_patch.utils.sampling import evenly
from detectron2_patch.utils.versions import collect_versions


def fit(
    engine: Any,
    weights: Path,
    train: CocoDataset,
    test: CocoDataset,
    count: int = 200,
    workers: int = 0,
    kernel: int = 3,
    sends: Sequence[tuple[str, ...]] | None = None,
) -> Fitted:
    """Fit to ``engine``'s maps of ``count`` images of ``train``, spread evenly over it.

    ``kernel`` and ``sends`` are those of ``fitting.fit``.

    Raises:
        InputError: one of them is an image of ``test``, byte for byte.
    """
    paths = [train.image_path(image) for image in evenly(train.images, count)]
    keys = keys_apart(paths, train, test)

    def pyramids() -> Iterator:
        inputs = engine.read_all(paths, workers)
        for one in progress(inputs, total=len(paths), unit="image", desc="fitting"):
            yield engine.pyramid(engine.batch([one]))

    meta = {
        "kind": KIND,
        "dataset": {"name": train.name, "digest": train.digest, "image_count": len(paths)},
        "images": keys,
        "weights": sha256(weights),
        "config": None if engine.cfg is None else map_config(engine.cfg),
        "backbone": backbone_digest(engine.model),
        "engine": engine.name,
        "versions": collect_versions(str(engine.model.device), engine=engine.name),
    }
    return Fitted(meta, fit_arrays(pyramids(), kernel, sends, engine.levels))


def keys_apart(paths: Sequence[Path], train: CocoDataset, test: CocoDataset) -> list[str]:
    """``image_key`` of images of ``train``.

    Raises:
        InputError: one of them is an image of ``test``, byte for byte.
    """
    keys = [image_key(path) for path in paths]
    evaluated = {
        image_key(path): path
        for image in test.images
        for path in [test.image_path(image)]
        if path.exists()
    }
    for key, path in zip(keys, paths):
        if key in evaluated:
            raise InputError(
                f"{path} of {train.name} is {evaluated[key]} of {test.name}, which is "
                "evaluated; give training images only"
            )
    return keys
