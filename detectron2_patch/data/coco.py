"""A dataset in COCO's format: read once, checked up front, then only looked up.

A mistake in the data is told before any image goes through a model. Boxes of zero size and
boxes outside their image are ordinary: they are counted, warned of once, dropped or clipped in
training, and left as they are for the evaluation.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectron2_patch.errors import InputError

logger = logging.getLogger(__name__)

_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")


@dataclass(frozen=True, eq=False)
class CocoDataset:
    """Images and boxes of one COCO JSON. Compared by identity: two loads are two datasets.

    Attributes:
        name: the name under which it was asked for.
        json_file, image_root: where it was read.
        classes: class names; the index is the model's contiguous class.
        category_ids: COCO's ids of these classes, ascending (they may have gaps).
        images: the JSON's image dicts ("id", "file_name", "width", "height", …), by ascending id.
        annotations: image id -> its annotations in the file's order, crowds included, each with
            "id", "image_id", "category_id", "bbox" (x, y, width, height in pixels), "area"
            (pixels²; the box's where the file gives none) and "iscrowd" (0 or 1). Images
            without boxes have an empty list.
        degenerate_boxes: boxes of zero size or wholly outside their image.
        digest: SHA-256 over the JSON's bytes and every image's file name and size in bytes.
    """

    name: str
    json_file: Path
    image_root: Path
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: list[dict[str, Any]]
    annotations: dict[int, list[dict[str, Any]]]
    degenerate_boxes: int
    digest: str

    def image_path(self, image: dict[str, Any]) -> Path:
        """Where the file of one of ``images`` lies."""
        return self.image_root / image["file_name"]


def load_coco(
    name: str, json_file: str | os.PathLike, image_root: str | os.PathLike
) -> CocoDataset:
    """Read and check a COCO detection JSON and the presence of all its images.

    Raises:
        InputError: anything missing, unreadable or contradictory, in one line.
    """
    json_file, image_root = Path(json_file), Path(image_root)
    raw = _read_bytes(name, json_file)
    if not image_root.is_dir():
        raise InputError(
            f"dataset {name}: no image folder {image_root}; give the folder that the JSON's "
            "file names are relative to"
        )
    data = _parse(raw, json_file)
    digest = hashlib.sha256(raw)
    del raw  # half a gigabyte for COCO's training set
    categories = _categories(data["categories"], json_file)
    images = _images(data["images"], json_file)
    sizes = _file_sizes(name, images, image_root)
    for image, size in zip(images, sizes):
        digest.update(json.dumps([image["file_name"], size]).encode())
    annotations = _annotations(data["annotations"], images, set(categories), json_file)
    return CocoDataset(
        name=name,
        json_file=json_file,
        image_root=image_root,
        classes=tuple(categories.values()),
        category_ids=tuple(categories),
        images=images,
        annotations=annotations,
        degenerate_boxes=_count_and_warn(name, images, annotations),
        digest=digest.hexdigest(),
    )


def check_class_count(dataset: CocoDataset, num_classes: int) -> None:
    """Refuse a dataset whose number of classes isn't the model's."""
    found = len(dataset.classes)
    if found != num_classes:
        raise InputError(
            f"dataset {dataset.name} has {found} classes and the model has {num_classes}: set "
            f"MODEL.ROI_HEADS.NUM_CLASSES to {found} (with weights trained for {found} classes) "
            f"or choose a dataset with {num_classes}"
        )


def check_image_size(dataset: CocoDataset, image: dict[str, Any], size: tuple[int, int]) -> None:
    """Refuse an image whose ``(height, width)``, turned upright by its EXIF tag, isn't that of the
    JSON: its boxes would lie elsewhere. detectron2 reckons so, too."""
    wanted = (image["height"], image["width"])
    if tuple(size) != wanted:
        shown, said = (f"{width} x {height}" for height, width in (size, wanted))
        raise InputError(
            f"image {dataset.image_path(image)} has {shown} pixels, turned upright, and "
            f"{dataset.json_file} says width x height {said}; correct the JSON, or restore the "
            "image that its boxes were drawn on"
        )


def training_boxes(dataset: CocoDataset, image: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The boxes to learn from: no crowds, clipped to the image, none that is empty then.

    Returns:
        boxes (n, 4) float32, x0 y0 x1 y1 in the image's pixels; classes (n,) int64, contiguous.
    """
    kept = [a for a in dataset.annotations[image["id"]] if not a["iscrowd"]]
    index = {category: i for i, category in enumerate(dataset.category_ids)}
    classes = np.array([index[a["category_id"]] for a in kept], dtype=np.int64)
    boxes = np.array([a["bbox"] for a in kept], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes = boxes.clip(0, [image["width"], image["height"]] * 2).astype(np.float32)
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[solid], classes[solid]


def _read_bytes(name: str, json_file: Path) -> bytes:
    try:
        return json_file.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"dataset {name}: cannot read {json_file}: {reason}") from error


def _parse(raw: bytes, json_file: Path) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{json_file} is not valid JSON: {error.msg} at line {error.lineno}, "
            f"column {error.colno}"
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{json_file} is not valid JSON: {error}") from error
    parts = ("images", "annotations", "categories")
    missing = [k for k in parts if not isinstance(data, dict) or not isinstance(data.get(k), list)]
    if missing == ["annotations"]:
        raise InputError(
            f'{json_file} has no list "annotations": the boxes of a test set are not public; '
            "choose a dataset that has them"
        )
    if missing:
        named = " and ".join(f'"{key}"' for key in missing)
        raise InputError(
            f"{json_file} is not a COCO detection file: it has no list {named} (it needs "
            "images, annotations and categories)"
        )
    return data


def _identified(entries: list, what: str, json_file: Path, unique: bool = True) -> None:
    """Every entry is an object with a whole number as "id", no two the same."""
    seen: set[int] = set()
    for position, entry in enumerate(entries):
        identity = entry.get("id") if isinstance(entry, dict) else None
        if type(identity) is not int:
            raise InputError(
                f'{json_file}: {what} number {position + 1} has no whole number as "id"'
            )
        if unique and identity in seen:
            raise InputError(
                f"{json_file}: {what} id {identity} occurs twice; ids have to be unique"
            )
        seen.add(identity)


def _categories(entries: list, json_file: Path) -> dict[int, str]:
    _identified(entries, "category", json_file)
    if not entries:
        raise InputError(f'{json_file} has no categories; list the classes in "categories"')
    for entry in entries:
        if not isinstance(entry.get("name"), str) or not entry["name"]:
            raise InputError(f'{json_file}: category id {entry["id"]} has no "name"')
    return {entry["id"]: entry["name"] for entry in sorted(entries, key=lambda e: e["id"])}


def _images(entries: list, json_file: Path) -> list[dict[str, Any]]:
    _identified(entries, "image", json_file)
    if not entries:
        raise InputError(f'{json_file} has no images; list them in "images"')
    for entry in entries:
        if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
            raise InputError(f'{json_file}: image id {entry["id"]} has no "file_name"')
        for side in ("width", "height"):
            if type(entry.get(side)) is not int or entry[side] < 1:
                raise InputError(
                    f'{json_file}: image id {entry["id"]} has "{side}" {entry.get(side)!r}; it '
                    "has to be a whole number of pixels, 1 or more"
                )
    return sorted(entries, key=lambda entry: entry["id"])


def _file_sizes(name: str, images: list[dict[str, Any]], image_root: Path) -> list[int]:
    """Bytes of every image, from one listing of each folder instead of a look-up per image."""
    folders: dict[str, dict[str, int]] = {}
    sizes, missing = [], []
    for image in images:
        folder, file = os.path.split(os.path.join(image_root, image["file_name"]))
        if folder not in folders:
            folders[folder] = _list_folder(folder)
        size = folders[folder].get(file)
        if size is None:
            missing.append(image["file_name"])
        else:
            sizes.append(size)
    if missing:
        raise InputError(
            f"dataset {name}: {len(missing)} of {len(images)} images are not in {image_root}, "
            f"{missing[0]} for one; put them there or give the folder they are in"
        )
    return sizes


def _list_folder(folder: str) -> dict[str, int]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except OSError:
        return {}  # every image in it is then reported as missing


def _annotations(
    entries: list, images: list[dict[str, Any]], categories: set[int], json_file: Path
) -> dict[int, list[dict[str, Any]]]:
    # COCO 2014's minival files repeat a few annotation ids; detectron2 lets them pass as well.
    _identified(entries, "annotation", json_file, unique="minival" not in json_file.name)
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    for entry in entries:
        where = f"{json_file}: annotation id {entry['id']}"
        image_id, category = entry.get("image_id"), entry.get("category_id")
        if type(image_id) is not int or image_id not in by_image:
            raise InputError(f'{where} has image_id {image_id!r}, which is not in "images"')
        if type(category) is not int or category not in categories:
            raise InputError(f'{where} has category_id {category!r}, which is not in "categories"')
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
            raise InputError(
                f"{where} has bbox {box!r}; it has to be four finite numbers: x, y, width, height"
            )
        area = entry.get("area", box[2] * box[3])
        if not _is_finite(area):
            raise InputError(f"{where} has area {area!r}; it has to be a finite number")
        crowd = int(bool(entry.get("iscrowd", 0)))
        # Only what detection needs: COCO's polygons weigh many times the boxes.
        values = (entry["id"], image_id, category, box, area, crowd)
        by_image[image_id].append(dict(zip(_ANNOTATION_KEYS, values)))
    return by_image


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _count_and_warn(
    name: str, images: list[dict[str, Any]], annotations: dict[int, list[dict[str, Any]]]
) -> int:
    """Count the boxes that training drops; warn once of these and of those that it clips."""
    empty = crossing = 0
    for image in images:
        width, height = image["width"], image["height"]
        for annotation in annotations[image["id"]]:
            x, y, w, h = annotation["bbox"]
            if w <= 0 or h <= 0 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
                empty += 1
            elif min(x, y) < -1 or x + w > width + 1 or y + h > height + 1:
                crossing += 1  # by more than a pixel: less is rounding
    if empty or crossing:
        logger.warning(
            "dataset %s: %d boxes of zero size or outside the image and %d that cross its border: "
            "dropped and clipped in training, left as they are in evaluation",
            name,
            empty,
            crossing,
        )
    return empty
