"""A dataset in COCO's format: read once, checked up front, then only looked up.

A mistake in the data is told before any image goes through a model. Boxes of zero size and
boxes outside their image are ordinary: they are counted, warned of once, dropped or clipped in
training, and left as they are for the evaluation.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from detectron2_patch.data.contents import content_digest
from detectron2_patch.errors import InputError

logger = logging.getLogger(__name__)

LIKE_CORNERS = ". Most look like x0 y0 x1 y1, and COCO's are x y width height: check them"
LEAVING = ". Most boxes do so: check that they are x y width height, in pixels of these images"
SHARE = 1.5  # numbers up to it may be shares of a side, some of which reach beyond it
LONGEST = 2**31 - 1  # pixels of a side: more than any format can hold
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

    @cached_property
    def content(self) -> str:
        """SHA-256 over every image's file name and bytes.

        Raises:
            InputError: one can't be read.
        """
        return content_digest(self.image_root, [image["file_name"] for image in self.images])


def load_coco(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    stored_bytes: Mapping[str, int] | None = None,
    content: str | None = None,
) -> CocoDataset:
    """Read and check a COCO detection JSON and the presence of all its images.

    Args:
        stored_bytes: of each image by its file name, where the images are elsewhere; then no
            folder is looked at.
        content: see ``CocoDataset.content``, of images that are elsewhere; None: not known.

    Raises:
        InputError: anything missing, unreadable or contradictory, in one line.
    """
    json_file, image_root = Path(json_file), Path(image_root)
    raw = _read_bytes(name, json_file)
    if stored_bytes is None and not image_root.is_dir():
        raise InputError(
            f"dataset {name}: no image folder {image_root}; give the folder that the JSON's "
            "file names are relative to"
        )
    data = _parse(raw, json_file)
    digest = hashlib.sha256(raw)
    del raw  # half a gigabyte for COCO's training set
    categories = _categories(data["categories"], json_file)
    images = _images(data["images"], json_file)
    if stored_bytes is None:
        sizes = _file_sizes(name, images, image_root)
    else:
        sizes = [stored_bytes.get(image["file_name"], 0) for image in images]
    for image, size in zip(images, sizes):
        digest.update(json.dumps([image["file_name"], size]).encode())
    annotations = _annotations(data["annotations"], images, set(categories), json_file)
    _warn_of_supercategory(name, categories, annotations)
    dataset = CocoDataset(
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
    if stored_bytes is not None:
        dataset.__dict__["content"] = content  # as if it had been read
    return dataset


def check_class_count(
    dataset: CocoDataset, num_classes: int, key: str = "MODEL.ROI_HEADS.NUM_CLASSES"
) -> None:
    """Refuse a dataset whose number of classes isn't the model's, which ``key`` says."""
    found = len(dataset.classes)
    if found != num_classes:
        raise InputError(
            f"dataset {dataset.name} has {found} classes and the model has {num_classes}: set "
            f"{key} to {found} (with weights trained for {found} classes) "
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
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"dataset {name}: cannot read {json_file}: {reason}") from error


def _parse(raw: bytes, json_file: Path) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{json_file} is not valid JSON: {error.msg} at line {error.lineno}, "
            f"column {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:  # not Unicode, a number of 5,000 digits
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


def _identified(entries: list, what: str, json_file: Path, unique: bool = True) -> list[dict]:
    """The entries, each an object with a whole number as "id" (7.0 is one), no two the same."""
    seen: set[int] = set()
    found = []
    for position, entry in enumerate(entries):
        identity = _whole(entry.get("id")) if isinstance(entry, dict) else None
        if identity is None:
            raise InputError(
                f'{json_file}: {what} number {position + 1} has no whole number as "id"'
            )
        if unique and identity in seen:
            raise InputError(
                f"{json_file}: {what} id {_shown(identity)} occurs twice; ids have to be unique"
            )
        seen.add(identity)
        found.append(entry if type(entry["id"]) is int else {**entry, "id": identity})
    return found


def _whole(value: Any) -> int | None:
    """A whole number, written as one or as a float: COCO's minival has 1234.0."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _shown(value: Any) -> str:
    """A value as an error shows it, in one line that fits a terminal."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:90]} …"


def _categories(entries: list, json_file: Path) -> dict[int, str]:
    entries = _identified(entries, "category", json_file)
    if not entries:
        raise InputError(f'{json_file} has no categories; list the classes in "categories"')
    for entry in entries:
        if not isinstance(entry.get("name"), str) or not entry["name"]:
            raise InputError(f'{json_file}: category id {_shown(entry["id"])} has no "name"')
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in entry["name"]):
            raise InputError(
                f"{json_file}: category id {_shown(entry['id'])} has the name "
                f"{_shown(entry['name'])}, which no file can hold; name it in whole characters"
            )
    return {entry["id"]: entry["name"] for entry in sorted(entries, key=lambda e: e["id"])}


def _images(entries: list, json_file: Path) -> list[dict[str, Any]]:
    entries = _identified(entries, "image", json_file)
    if not entries:
        raise InputError(f'{json_file} has no images; list them in "images"')
    for entry in entries:
        if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
            raise InputError(f'{json_file}: image id {_shown(entry["id"])} has no "file_name"')
        for side in ("width", "height"):
            pixels = _whole(entry.get(side))
            if pixels is None or not 1 <= pixels <= LONGEST:
                raise InputError(
                    f'{json_file}: image id {_shown(entry["id"])} has "{side}" '
                    f"{_shown(entry.get(side))}; it has to be a whole number of pixels, 1 to "
                    f"{LONGEST}"
                )
            entry[side] = pixels
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
    """Files and their bytes; what can't be looked at, such as a link in a loop, is no file.

    Raises:
        InputError: the folder is there and may not be entered.
    """
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_file():
                        found[entry.name] = entry.stat().st_size
        if not os.access(folder, os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except PermissionError as error:
        raise InputError(
            f"image folder {folder} may not be entered: {error.strerror}; change its permissions, "
            "or give another folder"
        ) from error
    except (OSError, ValueError):  # ValueError: a name that no folder can have
        pass  # every image in it is then reported as missing
    return found


def _annotations(
    entries: list, images: list[dict[str, Any]], categories: set[int], json_file: Path
) -> dict[int, list[dict[str, Any]]]:
    # COCO 2014's minival files repeat a few annotation ids; detectron2 lets them pass as well.
    entries = _identified(entries, "annotation", json_file, "minival" not in json_file.name)
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    for entry in entries:
        where = f"{json_file}: annotation id {_shown(entry['id'])}"
        image_id = _known(entry, "image_id", by_image, "images", where)
        category = _known(entry, "category_id", categories, "categories", where)
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
            raise InputError(
                f"{where} has bbox {_shown(box)}; it has to be four finite numbers: x, y, width, "
                "height"
            )
        area = entry.get("area", box[2] * box[3])
        if not _is_finite(area) or ("area" in entry and area < 0):
            raise InputError(f"{where} has area {_shown(area)}; it has to be a finite number >= 0")
        crowd = _crowd(entry, where)
        # Only what detection needs: COCO's polygons weigh many times the boxes.
        values = (entry["id"], image_id, category, box, area, crowd)
        by_image[image_id].append(dict(zip(_ANNOTATION_KEYS, values)))
    return by_image


def _known(entry: dict[str, Any], key: str, known: Container[int], there: str, where: str) -> int:
    """The id that an annotation has under ``key``; refuses one that isn't listed."""
    value = _whole(entry.get(key))
    if value is None or value not in known:
        raise InputError(f'{where} has {key} {_shown(entry.get(key))}, which is not in "{there}"')
    return value


def _crowd(entry: dict[str, Any], where: str) -> int:
    """Whether an annotation is a crowd, 1 or 0; refuses what pycocotools would take amiss."""
    crowd = entry.get("iscrowd", 0)
    if type(crowd) is not bool and _whole(crowd) not in (0, 1):
        note = ", not text" if isinstance(crowd, str) else ""
        raise InputError(f"{where} has iscrowd {_shown(crowd)}; it has to be 0 or 1{note}")
    if entry.get("ignore") not in (None, 0):
        what = (
            "which no COCO evaluation reads; iscrowd is 1 already, so remove the ignore"
            if crowd
            else "which COCO's evaluation would count as an object all the same; set iscrowd to 1 "
            "instead, or remove the annotation"
        )
        raise InputError(f"{where} has ignore {_shown(entry['ignore'])}, {what}")
    return int(crowd)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _count_and_warn(
    name: str, images: list[dict[str, Any]], annotations: dict[int, list[dict[str, Any]]]
) -> int:
    """Count the boxes that training drops; warn once of these and of those that it clips."""
    empty = crossing = count = tiny = corners = 0
    for image in images:
        width, height = image["width"], image["height"]
        for annotation in annotations[image["id"]]:
            x, y, w, h = annotation["bbox"]
            count += 1
            tiny += max(x, y, w, h) <= SHARE
            if w <= 0 or h <= 0 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
                empty += 1
            elif min(x, y) < -1 or x + w > width + 1 or y + h > height + 1:
                crossing += 1  # by more than a pixel: less is rounding
                corners += x < w <= width + 1 and y < h <= height + 1
    if empty or crossing:
        most = LEAVING if 2 * (empty + crossing) > count > 1 else ""
        logger.warning(
            "dataset %s: %d boxes of zero size or outside the image and %d that cross its border: "
            "dropped and clipped in training, left as they are in evaluation%s",
            name,
            empty,
            crossing,
            LIKE_CORNERS if 2 * corners > count > 1 else most,
        )
    if 2 * tiny > count:
        logger.warning(
            "dataset %s: %d of %d boxes have no number above %s: they look like shares of the "
            "image's sides, and COCO's are in pixels; multiply x and width by the image's width, "
            "y and height by its height",
            name,
            tiny,
            count,
            SHARE,
        )
    return empty


def _warn_of_supercategory(
    name: str, categories: dict[int, str], annotations: dict[int, list[dict[str, Any]]]
) -> None:
    """Label tools list a category 0 that no box has, the others' supercategory."""
    if 0 not in categories or any(a["category_id"] == 0 for b in annotations.values() for a in b):
        return
    if len(categories) > 1:
        logger.warning(
            "dataset %s: category 0, %r, has no annotation and may be a supercategory: it counts "
            "as a class, as detectron2 has it, so NUM_CLASSES is %d; for a model of %d classes "
            'remove it from "categories"',
            name,
            categories[0],
            len(categories),
            len(categories) - 1,
        )
