"""Datasets by name: detectron2's COCO names and layout, and the demo."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from detectron2_patch.data.coco import CocoDataset, load_coco
from detectron2_patch.errors import InputError

# name -> (image folder, JSON) below $DETECTRON2_DATASETS; detectron2's data/datasets/builtin.py
COCO_SPLITS = {
    f"coco_{split}": (f"coco/{folder}", f"coco/annotations/{json_file}.json")
    for split, folder, json_file in (
        ("2014_train", "train2014", "instances_train2014"),
        ("2014_val", "val2014", "instances_val2014"),
        ("2014_minival", "val2014", "instances_minival2014"),
        ("2014_valminusminival", "val2014", "instances_valminusminival2014"),
        ("2017_train", "train2017", "instances_train2017"),
        ("2017_val", "val2017", "instances_val2017"),
        ("2017_test", "test2017", "image_info_test2017"),
        ("2017_test-dev", "test2017", "image_info_test-dev2017"),
        ("2017_val_100", "val2017", "instances_val2017_100"),
    )
}
# the same photographs with the persons' keypoints
COCO_SPLITS |= {
    f"keypoints_{name}": (folder, json_file.replace("instances", "person_keypoints"))
    for name, (folder, json_file) in COCO_SPLITS.items()
    if "test" not in name
}
DEMO_SPLITS = {f"demo_{split}": split for split in ("train", "val", "test", "unlabeled")}


def dataset_names() -> list[str]:
    """Every name that ``load_dataset`` knows."""
    return [*DEMO_SPLITS, *COCO_SPLITS]


def open_dataset(files: Sequence[str] | None, names: Sequence[str], key: str) -> CocoDataset:
    """The dataset of a JSON and an image folder, where given, else the one that ``key`` names.

    Args:
        files: the JSON and the folder; the JSON's stem becomes the dataset's name.
        names: the value of ``key``, ``DATASETS.TEST`` or ``DATASETS.TRAIN``.

    Raises:
        InputError: not exactly one name, an unknown one, or data that is missing or bad.
    """
    if files:
        json_file, image_root = map(Path, files)
        return load_coco(json_file.stem, json_file, image_root)
    if len(names) != 1:
        raise InputError(f"{key} names {len(names)} datasets {tuple(names)}; name exactly one")
    return load_dataset(names[0])


def load_dataset(name: str) -> CocoDataset:
    """Load a dataset by name; the demo's are generated when they are not there yet.

    Raises:
        InputError: an unknown name, or data that is missing or bad.
    """
    json_file, image_root = dataset_files(name)
    return load_coco(name, json_file, image_root)


def dataset_files(name: str) -> tuple[Path, Path]:
    """The JSON and the image folder of a dataset; see ``load_dataset``.

    Raises:
        InputError: an unknown name, or data that is missing.
    """
    if name in DEMO_SPLITS:
        from detectron2_patch.data.demo import ensure_demo

        return ensure_demo(DEMO_SPLITS[name])
    if name not in COCO_SPLITS:
        close = difflib.get_close_matches(name, dataset_names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(
            f"unknown dataset {name!r}: {hint}known names are {', '.join(dataset_names())}"
        )
    root = Path(os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets")))
    image_root, json_file = (root / part for part in COCO_SPLITS[name])
    for part in (json_file, image_root):
        if not part.exists():
            raise InputError(
                f"dataset {name}: {part} is not there; put COCO below {root / 'coco'}, or set "
                "DETECTRON2_DATASETS to the folder that has coco/ in it"
            )
    return json_file, image_root
