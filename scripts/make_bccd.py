#!/usr/bin/env python3
"""BCCD in COCO's form, as this project uses it, from a clone of its public repository.

    git clone https://github.com/Shenggan/BCCD_Dataset
    python scripts/make_bccd.py BCCD_Dataset bccd

makes bccd/train, bccd/val and bccd/annotations/instances_{train,val}.json from the VOC files: the
photographs at half their size (2x2 means, JPEG of quality 92), boxes with them, those without an
area left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from PIL import Image

from detectron2_patch.errors import InputError

CLASSES = ("RBC", "WBC", "Platelets")
SPLITS = ("train", "val", "test")
QUALITY = 92


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repository", type=Path, metavar="BCCD_Dataset", help="the clone")
    parser.add_argument("output", type=Path, help="the folder to make")
    parser.add_argument(
        "--splits", nargs="+", choices=SPLITS, default=SPLITS[:2], help="which (train val)"
    )
    args = parser.parse_args(argv)
    try:
        made = [(split, read_split(args.repository, split)) for split in args.splits]
        write(made, args.repository, args.output)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for split, document in made:
        counts = len(document["images"]), len(document["annotations"])
        print("{}: {} photographs, {} boxes".format(split, *counts))
    return 0


def read_split(repository: Path, split: str) -> dict:
    """COCO's JSON of one of the repository's lists.

    Raises:
        InputError: a file is missing or isn't what the repository has.
    """
    listed = repository / "BCCD" / "ImageSets" / "Main" / f"{split}.txt"
    try:
        names = sorted(listed.read_text().split())
    except OSError as error:
        raise InputError(
            f"{listed} can't be read ({error.strerror}); give a clone of "
            "https://github.com/Shenggan/BCCD_Dataset"
        ) from error
    images, annotations = [], []
    for name in names:
        image, boxes = read_photograph(repository / "BCCD" / "Annotations" / f"{name}.xml")
        images.append(image)
        for one in boxes:
            annotations.append({"id": len(annotations) + 1, "image_id": image["id"], **one})
    return {
        "info": {"description": "BCCD at half size (320x240), COCO layout"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)],
    }


def read_photograph(path: Path) -> tuple[dict, list[dict]]:
    """COCO's image and annotations of a VOC file, ``BloodImage_00042.xml``, at half the size."""
    try:
        root = ElementTree.parse(path).getroot()
        image = {
            "id": int(path.stem.rpartition("_")[2]) + 1,
            "file_name": f"{path.stem}.jpg",
            "width": int(root.findtext("size/width", "")) // 2,
            "height": int(root.findtext("size/height", "")) // 2,
        }
        boxes = [read_box(one) for one in root.iter("object")]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: {error}; clone the repository again") from error
    return image, [one for one in boxes if one["area"] > 0]


def read_box(element: ElementTree.Element) -> dict:
    """Category, box, area and crowd of an ``object``."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    x0, y0, x1, y1 = (int(element.findtext(f"bndbox/{corner}", "")) / 2 for corner in corners)
    box = [x0, y0, x1 - x0, y1 - y0]
    category = CLASSES.index(element.findtext("name", "")) + 1
    return {"category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}


def write(made: list[tuple[str, dict]], repository: Path, output: Path) -> None:
    """The folder, whole or not at all.

    Raises:
        InputError: it is there, can't be made, or a photograph isn't there.
    """
    if output.exists():
        raise InputError(f"{output} is there already; give a folder that isn't")
    try:
        with tempfile.TemporaryDirectory(dir=output.absolute().parent) as beside:
            whole = Path(beside) / output.name
            (whole / "annotations").mkdir(parents=True)
            for split, document in made:
                (whole / split).mkdir()
                for image in document["images"]:
                    source = repository / "BCCD" / "JPEGImages" / image["file_name"]
                    halve(source, whole / split, image)
                json_file = whole / "annotations" / f"instances_{split}.json"
                json_file.write_text(json.dumps(document))
            whole.rename(output)
    except OSError as error:
        raise InputError(f"{output} can't be made: {error.strerror}; give another") from error


def halve(source: Path, folder: Path, image: dict) -> None:
    """A photograph at half its size."""
    size = image["width"], image["height"]
    try:
        with Image.open(source) as photograph:
            if photograph.size != (2 * size[0], 2 * size[1]):
                raise InputError(f"{source} has another size than its VOC file says")
            half = photograph.convert("RGB").resize(size, Image.Resampling.BOX)
    except OSError as error:
        raise InputError(f"{source} can't be read: {error}; clone the repository again") from error
    half.save(folder / source.name, quality=QUALITY)


if __name__ == "__main__":
    sys.exit(main())
