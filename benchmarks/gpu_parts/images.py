"""The images, made by code: scenes of the demo, and pictures with the statistics of photographs.

Photographs have power that falls with the square of the spatial frequency, sharp edges of objects
of all sizes, and light that changes slowly. Leaves that fall on one another until the ground is
covered have all three (the dead leaves model: Matheron 1968, Lee, Mumford and Huang 2001).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from detectron2_patch.data.coco import CocoDataset, load_coco
from detectron2_patch.data.scenes import CLASSES, render
from detectron2_patch.utils.files import cache_dir

VERSION = 1  # of the photographs and of the folders: part of their names
LEAVES = 2400  # lie about three deep
Made = tuple[np.ndarray, list[dict]]  # pixels uint8 (h, w, 3) RGB, objects as ``render`` has them


def photograph(seed: int, height: int, width: int) -> np.ndarray:
    """One picture, uint8 ``(height, width, 3)`` RGB."""
    rng = np.random.default_rng(seed)
    light = smooth_noise(rng, height, width)
    canvas = np.empty((height, width, 3))
    canvas[:] = rng.uniform(40, 215, 3)
    grain = rng.normal(0, 1, (height, width))
    # Radii by a power law with exponent -3, which makes the picture alike at every scale.
    small, large = max(2, min(height, width) / 80), min(height, width) / 2
    radii = 1 / np.sqrt(rng.uniform(1 / large**2, 1 / small**2, LEAVES))
    for radius in radii:
        leaf(rng, canvas, grain, radius)
    canvas *= (0.6 + 0.8 * light)[:, :, None]
    canvas += rng.normal(0, 2, canvas.shape)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def leaf(rng: np.random.Generator, canvas: np.ndarray, grain: np.ndarray, radius: float) -> None:
    """Paint one ellipse with a colour and a texture of its own somewhere on ``canvas``."""
    height, width = grain.shape
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    top, left = max(0, int(y - radius)), max(0, int(x - radius))
    rows = np.arange(top, min(height, int(y + radius) + 1))[:, None]
    columns = np.arange(left, min(width, int(x + radius) + 1))[None, :]
    turn, flat = rng.uniform(0, np.pi), rng.uniform(1, 2.5)
    u = ((columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)) / radius
    v = ((rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)) / radius * flat
    inside = u * u + v * v <= 1
    shade = 1 + rng.uniform(-0.3, 0.3) * u + rng.uniform(-0.3, 0.3) * v
    texture = rng.uniform(0, 0.15) * grain[rows, columns]
    grey, tint = rng.uniform(20, 235), rng.uniform(-40, 40, 3)
    painted = (shade + texture)[:, :, None] * (grey + tint)
    canvas[rows, columns] = np.where(inside[:, :, None], painted, canvas[rows, columns])


def smooth_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Slow changes from 0 to 1, ``(height, width)``."""
    coarse = Image.fromarray(rng.random((4, 6)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


def photographs(count: int, size: tuple[int, int], classes: int) -> CocoDataset:
    """``count`` photographs of ``size`` ``(height, width)`` without a box, as a dataset of
    ``classes`` classes."""
    height, width = size
    return _dataset(
        f"photographs-{height}x{width}-{count}-{classes}",
        ".jpg",
        [f"class {number}" for number in range(classes)],
        lambda: ((photograph(seed, height, width), []) for seed in range(count)),
    )


def scenes(split: str, count: int) -> CocoDataset:
    """The first ``count`` scenes of the demo's ``split``, ``train`` or ``val``."""
    return _dataset(
        f"scenes-{split}-{count}",
        ".bmp",
        CLASSES,
        lambda: (render(split, index) for index in range(count)),
    )


def _dataset(
    name: str, suffix: str, classes: Iterable[str], make: Callable[[], Iterable[Made]]
) -> CocoDataset:
    """What ``make`` gives, from the cache, where it is put when it isn't there."""
    folder = cache_dir("gpu", f"v{VERSION}", name)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
        try:
            _write(temporary, suffix, classes, make())
            os.rename(temporary, folder)  # whole or not at all
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return load_coco(name, folder / "boxes.json", folder)


def _write(folder: Path, suffix: str, classes: Iterable[str], made: Iterable[Made]) -> None:
    """Image files and their COCO document."""
    images, annotations = [], []
    for number, (pixels, objects) in enumerate(made, start=1):
        height, width = pixels.shape[:2]
        name = f"{number:06}{suffix}"
        options = {"quality": 92} if suffix == ".jpg" else {}
        Image.fromarray(pixels).save(folder / name, **options)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for one in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": one["category"] + 1,
                    "bbox": one["bbox"],
                    "area": one["area"],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(document))
