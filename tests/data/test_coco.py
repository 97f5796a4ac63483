"""COCO files: what is kept, and one line for everything that can be wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectron2_patch.data.coco import check_class_count, load_coco, training_boxes
from detectron2_patch.errors import InputError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "datasets"


def annotation(number, image_id=7, category=5, bbox=(10, 20, 30, 40), **more):
    box = list(bbox)
    return {"id": number, "image_id": image_id, "category_id": category, "bbox": box, **more}


def small_coco():
    """Two images, classes with gaps in their ids, everything out of order."""
    return {
        "images": [
            {"id": 9, "file_name": "b.jpg", "width": 100, "height": 80, "license": 1},
            {"id": 7, "file_name": "sub/a.jpg", "width": 200, "height": 100},
        ],
        "annotations": [
            annotation(3, area=5.5, segmentation=[[1, 2, 3, 4]]),
            annotation(1, category=90, iscrowd=1),
            annotation(2, image_id=7, category=90, bbox=(190, 90, 30, 30)),
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 5, "name": "plane"}],
    }


@pytest.fixture
def write(tmp_path):
    """Write a JSON (a value or text) beside the images; returns the loader's arguments."""
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    (images / "b.jpg").write_bytes(b"12345")
    (images / "sub" / "a.jpg").write_bytes(b"123")

    def write(content):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "boxes.json").write_text(text, encoding="utf-8")
        return "small", tmp_path / "boxes.json", images

    return write


def refusal(arguments):
    with pytest.raises(InputError) as caught:
        load_coco(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_kept(write):
    dataset = load_coco(*write(small_coco()))
    assert dataset.classes == ("plane", "toothbrush") and dataset.category_ids == (5, 90)
    assert [image["id"] for image in dataset.images] == [7, 9]
    assert dataset.images[1]["license"] == 1
    assert dataset.annotations[9] == []
    first, crowd, _ = dataset.annotations[7]
    assert first == {
        "id": 3,
        "image_id": 7,
        "category_id": 5,
        "bbox": [10, 20, 30, 40],
        "area": 5.5,
        "iscrowd": 0,
    }
    assert crowd["iscrowd"] == 1 and crowd["area"] == 30 * 40
    assert dataset.image_path(dataset.images[0]).read_bytes() == b"123"


def test_digest_follows_the_json_and_the_sizes_of_images(write, tmp_path):
    content = small_coco()
    arguments = write(content)
    first = load_coco(*arguments).digest
    assert load_coco("another name", *arguments[1:]).digest == first
    content["annotations"][0]["bbox"][0] += 1
    assert load_coco(*write(content)).digest != first
    arguments = write(small_coco())
    assert load_coco(*arguments).digest == first
    (tmp_path / "images" / "b.jpg").write_bytes(b"123456")
    assert load_coco(*arguments).digest != first


def test_training_boxes_drop_crowds_and_are_clipped(write):
    dataset = load_coco(*write(small_coco()))
    boxes, classes = training_boxes(dataset, dataset.images[0])
    assert boxes.dtype == np.float32 and classes.dtype == np.int64
    assert boxes.tolist() == [[10, 20, 40, 60], [190, 90, 200, 100]]
    assert classes.tolist() == [0, 1]
    boxes, classes = training_boxes(dataset, dataset.images[1])
    assert boxes.shape == (0, 4) and classes.shape == (0,)


def test_degenerate_boxes_are_counted_warned_of_once_and_kept(write, caplog):
    content = small_coco()
    boxes = [
        (0, 0, 0, 5),
        (0, 0, 5, -1),
        (200, 0, 5, 5),
        (-9, 0, 9, 5),
        (0, 100, 1, 1),
        (190.5, 0, 10, 5),
        (0, 0, 5, 5),
    ]
    content["annotations"] = [annotation(i, bbox=box) for i, box in enumerate(boxes)]
    content["annotations"].append(annotation(99, bbox=(150, 10, 52, 5)))
    dataset = load_coco(*write(content))
    assert dataset.degenerate_boxes == 5
    assert len(dataset.annotations[7]) == 8
    assert len(training_boxes(dataset, dataset.images[0])[0]) == 3
    (record,) = caplog.records
    assert "5 boxes of zero size" in record.getMessage() and "1 that cross" in record.getMessage()


coordinate = st.integers(-300, 300) | st.floats(-300, 300)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=8))
def test_training_boxes_lie_in_the_image_and_are_not_empty(tmp_path_factory, boxes):
    folder = tmp_path_factory.mktemp("data")
    (folder / "a.jpg").write_bytes(b"")
    (folder / "x.json").write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "a.jpg", "width": 200, "height": 100}],
                "categories": [{"id": 5, "name": "a"}],
                "annotations": [annotation(i, bbox=box) for i, box in enumerate(boxes)],
            }
        )
    )
    dataset = load_coco("x", folder / "x.json", folder)
    found, classes = training_boxes(dataset, dataset.images[0])
    assert len(found) == len(classes) <= len(boxes) - dataset.degenerate_boxes
    assert (found >= 0).all() and (found <= [200, 100, 200, 100]).all()
    assert (found[:, 2:] > found[:, :2]).all()


def test_class_count(write):
    dataset = load_coco(*write(small_coco()))
    check_class_count(dataset, 2)
    with pytest.raises(InputError, match="2 classes and the model has 80.*ROI_HEADS.NUM_CLASSES"):
        check_class_count(dataset, 80)


def test_missing_json_and_missing_folder(write, tmp_path):
    name, json_file, images = write(small_coco())
    assert "No such file" in refusal((name, tmp_path / "no.json", images))
    assert "no image folder" in refusal((name, json_file, tmp_path / "nowhere"))
    assert "no image folder" in refusal((name, json_file, json_file))
    assert "directory" in refusal((name, images, images))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "line 1, column 1"),
        ('{"images": [],\n "categories": }', "line 2, column 16"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", '"images" and "annotations" and "categories"'),
        ('{"images": [], "categories": []}', '"annotations": the boxes of a test set'),
        ('{"images": {}, "annotations": [], "categories": []}', 'no list "images"'),
    ],
)
def test_not_a_coco_file(write, text, words):
    assert words in refusal(write(text))


def test_not_unicode(write, tmp_path):
    arguments = write("")
    (tmp_path / "boxes.json").write_bytes(b'{"a": "\xff\xfe\xfa"}')
    assert "not valid JSON" in refusal(arguments)


def change(path, value):
    """A coco file with one value replaced, or dropped where it is ``...``."""
    content = small_coco()
    *way, last = path
    target = content
    for step in way:
        target = target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return content


@pytest.mark.parametrize(
    "path, value, words",
    [
        (["images"], [], "has no images"),
        (["images", 1, "id"], 9, "image id 9 occurs twice"),
        (["images", 0, "id"], "9", "image number 1"),
        (["images", 0], 3, "image number 1"),
        (["images", 0, "file_name"], ..., '9 has no "file_name"'),
        (["images", 0, "width"], ..., '"width" None'),
        (["images", 0, "height"], 0, '"height" 0'),
        (["images", 0, "file_name"], "c.jpg", "1 of 2 images are not in"),
        (["images", 0, "file_name"], "sub", "sub for one"),
        (["images", 0, "file_name"], "no/c.jpg", "no/c.jpg for one"),
        (["categories"], [], "no categories"),
        (["categories", 0, "id"], 5, "category id 5 occurs twice"),
        (["categories", 0, "name"], "", 'category id 90 has no "name"'),
        (["annotations", 1, "id"], 3, "annotation id 3 occurs twice"),
        (["annotations", 1, "id"], ..., "annotation number 2"),
        (["annotations", 1, "image_id"], 8, "annotation id 1 has image_id 8"),
        (["annotations", 1, "image_id"], [7], "image_id [7]"),
        (["annotations", 1, "category_id"], 6, "category_id 6"),
        (["annotations", 1, "category_id"], True, "category_id True"),
        (["annotations", 1, "bbox"], ..., "bbox None"),
        (["annotations", 1, "bbox"], [1, 2, 3], "four finite numbers"),
        (["annotations", 1, "bbox"], [1, 2, 3, "4"], "four finite numbers"),
        (["annotations", 1, "bbox"], [1, 2, 3, math.nan], "four finite numbers"),
        (["annotations", 1, "bbox"], [1, 2, 3, math.inf], "four finite numbers"),
        (["annotations", 1, "bbox"], [1, 2, 3, 10**400], "four finite numbers"),
        (["annotations", 1, "area"], None, "area None"),
    ],
)
def test_contradictions(write, path, value, words):
    assert words in refusal(write(change(path, value)))


def test_repeated_annotation_ids_pass_in_minival_only(write):
    content = change(["annotations", 1, "id"], 3)
    _, json_file, images = write(content)
    minival = json_file.rename(json_file.with_name("instances_minival2014.json"))
    assert len(load_coco("minival", minival, images).annotations[7]) == 3


def test_real_coco():
    json_file = SHARED / "coco/annotations/instances_val2017.json"
    if not json_file.exists():
        pytest.skip("no COCO photographs in ../shared/datasets beside the repository")
    dataset = load_coco("coco_2017_val", json_file, SHARED / "coco/val2017")
    assert len(dataset.classes) == 80 and dataset.category_ids[-1] == 90
    every = [a for some in dataset.annotations.values() for a in some]
    kept = sum(len(training_boxes(dataset, image)[0]) for image in dataset.images)
    crowds = sum(a["iscrowd"] for a in every)
    assert crowds > 0 and kept == len(every) - crowds - dataset.degenerate_boxes
