"""The demo's dataset: synthetic scenes in COCO's format, made when first asked for."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import cache_dir
from detectron2_patch.utils.progress import progress

# test: what was found on val is measured there; unlabeled: what learns from a detector's own maps
IMAGES = {"train": 800, "val": 200, "test": 200, "unlabeled": 2000}
VERSION = 2  # of the scenes: part of the folder's name, so that a change makes them anew


def ensure_demo(split: str, root: Path | None = None) -> tuple[Path, Path]:
    """The JSON and the image folder of ``split``, one of ``IMAGES``, below ``root``.

    Made when missing, in a folder that takes its name once it is whole, so that a killed run
    or two at once leave no half dataset. Images are BMP: uncompressed, so that their bytes,
    and with them a result's dataset digest, are the same whatever zlib a machine has.

    Raises:
        InputError: the folder can't be written.
    """
    folder = (root or cache_dir("demo")) / f"v{VERSION}" / split
    if not folder.is_dir():
        try:
            _make(split, folder)
        except OSError as error:
            raise InputError(
                f"cannot make the demo's images in {folder}: {error.strerror}; set "
                "DETECTRON2_PATCH_CACHE to a folder that can be written and has 450 MB"
            ) from error
    return folder / f"instances_{split}.json", folder / "images"


def _make(split: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{split}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        (temporary / "images").mkdir()
        document = _write_images(split, temporary / "images")
        (temporary / f"instances_{split}.json").write_text(json.dumps(document))
        os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster: its scenes are the same
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_images(split: str, folder: Path) -> dict:
    """Render all scenes of ``split`` into ``folder``; returns their COCO document."""
    from PIL import Image

    from detectron2_patch.data.scenes import CLASSES, SIDE, render

    document: dict[str, Any] = {
        "info": {"description": f"detectron2_patch demo scenes, version {VERSION}, {split}"},
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)],
    }
    for index in progress(range(IMAGES[split]), desc=f"making demo {split}", unit="image"):
        pixels, objects = render(split, index)
        image = {"id": index + 1, "width": SIDE, "height": SIDE, "file_name": f"{index + 1:06}.bmp"}
        Image.fromarray(pixels).save(folder / image["file_name"])
        document["images"].append(image)
        for one in objects:
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": one["category"] + 1,
                    "bbox": one["bbox"],
                    "area": one["area"],
                    "iscrowd": 0,
                }
            )
    return document
