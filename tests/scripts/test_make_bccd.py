"""BCCD's public layout to the COCO form that the results were measured on."""

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

SPEC = importlib.util.spec_from_file_location("make_bccd", Path("scripts/make_bccd.py"))
make_bccd = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_bccd)

OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object>"
)


def write_repository(folder, splits):
    """A clone with the given photographs: split to name to (class, x0, y0, x1, y1)."""
    voc = folder / "BCCD"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (voc / part).mkdir(parents=True)
    Image.new("RGB", (640, 480), "pink").save(folder / "pink.jpg")
    for split, photographs in splits.items():
        (voc / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(photographs) + "\n")
        for name, objects in photographs.items():
            (voc / "Annotations" / f"{name}.xml").write_text(
                "<annotation><size><width>640</width><height>480</height></size>"
                + "".join(OBJECT.format(*one) for one in objects)
                + "</annotation>"
            )
            (voc / "JPEGImages" / f"{name}.jpg").symlink_to(folder / "pink.jpg")
    return folder


@pytest.fixture
def clone(tmp_path):
    photographs = {
        "BloodImage_00007": [("WBC", 10, 20, 111, 220), ("RBC", 5, 5, 5, 9)],
        "BloodImage_00002": [("Platelets", 1, 1, 40, 41)],
    }
    return write_repository(tmp_path / "clone", {"train": photographs, "val": {}})


def read(output, split):
    return json.loads((output / "annotations" / f"instances_{split}.json").read_text())


def test_half_the_size_sorted_and_without_empty_boxes(clone, tmp_path, capsys):
    assert make_bccd.main([str(clone), str(tmp_path / "bccd")]) == 0
    made = read(tmp_path / "bccd", "train")
    assert [image["id"] for image in made["images"]] == [3, 8]
    assert [(a["id"], a["image_id"], a["category_id"], a["bbox"]) for a in made["annotations"]] == [
        (1, 3, 3, [0.5, 0.5, 19.5, 20.0]),
        (2, 8, 2, [5.0, 10.0, 50.5, 100.0]),
    ]
    with Image.open(tmp_path / "bccd" / "train" / "BloodImage_00002.jpg") as photograph:
        assert photograph.size == (320, 240)
    assert "train: 2 photographs, 2 boxes" in capsys.readouterr().out


def test_the_json_that_the_results_were_measured_on(photographs, tmp_path):
    wanted = json.loads((photographs / "bccd/annotations/instances_val.json").read_text())
    boxes = {image["id"]: [] for image in wanted["images"]}
    for a in wanted["annotations"]:
        x, y, width, height = (int(2 * value) for value in a["bbox"])
        name = make_bccd.CLASSES[a["category_id"] - 1]
        boxes[a["image_id"]].append((name, x, y, x + width, y + height))
    names = {Path(i["file_name"]).stem: boxes[i["id"]] for i in wanted["images"]}
    clone = write_repository(tmp_path / "clone", {"val": names})
    assert make_bccd.read_split(clone, "val") == wanted


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda clone: (clone / "BCCD/ImageSets/Main/train.txt").unlink(), "Shenggan/BCCD_Dataset"),
        (lambda clone: (clone / "BCCD/Annotations/BloodImage_00007.xml").unlink(), "00007.xml"),
        (
            lambda clone: (clone / "BCCD/Annotations/BloodImage_00007.xml").write_text("<a"),
            "00007.xml",
        ),
        (lambda clone: (clone / "pink.jpg").write_bytes(b""), "can't be read"),
        (lambda clone: (clone.parent / "bccd").mkdir(), "is there already"),
    ],
)
def test_a_mistake_is_one_line(clone, tmp_path, capsys, spoil, words):
    spoil(clone)
    assert make_bccd.main([str(clone), str(tmp_path / "bccd")]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
    assert not list(tmp_path.glob("bccd/*"))
