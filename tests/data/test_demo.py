import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from detectron2_patch.data import demo, scenes
from detectron2_patch.data.coco import load_coco
from detectron2_patch.errors import InputError

# Of the first six scenes of each split: pixels and annotations. They change with VERSION only.
DIGESTS = {
    "train": "c01eec33c551caf19cf176f4ae3558941c5a1ca334ea4550423e65fbc84b087f",
    "val": "9c75d45055837d4c40ffe849e7e589067b32ffbdd491f04b837a43acac48d963",
}


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(demo, "IMAGES", {"train": 6, "val": 6})


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_same_pixels_and_json_on_every_machine(few, tmp_path, split):
    json_file, folder = demo.ensure_demo(split, tmp_path)
    digest = hashlib.sha256(json_file.read_bytes())
    for file in sorted(folder.iterdir()):
        digest.update(file.read_bytes())
    assert digest.hexdigest() == DIGESTS[split]


def test_a_whole_dataset_is_not_made_again(few, tmp_path):
    json_file, folder = demo.ensure_demo("val", tmp_path)
    before = json_file.stat().st_mtime_ns
    assert demo.ensure_demo("val", tmp_path) == (json_file, folder)
    assert json_file.stat().st_mtime_ns == before


def test_a_killed_making_leaves_nothing_that_counts(few, tmp_path, monkeypatch):
    render = scenes.render

    def killed(split, index):
        if index == 3:
            raise KeyboardInterrupt
        return render(split, index)

    with monkeypatch.context() as patched:
        patched.setattr(scenes, "render", killed)
        with pytest.raises(KeyboardInterrupt):
            demo.ensure_demo("val", tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    json_file, folder = demo.ensure_demo("val", tmp_path)
    assert len(list(folder.iterdir())) == len(json.loads(json_file.read_text())["images"]) == 6


def test_a_place_that_cannot_be_written_is_named(few, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="DETECTRON2_PATCH_CACHE"):
        demo.ensure_demo("val", tmp_path / "file")


@pytest.mark.parametrize("index", range(8))
def test_boxes_are_tight_around_visible_pixels(index):
    pixels, objects = scenes.render("val", index)
    assert pixels.shape == (scenes.SIDE, scenes.SIDE, 3) and pixels.dtype == np.uint8
    for one in objects:
        x, y, width, height = one["bbox"]
        assert 0 <= x < x + width <= scenes.SIDE and 0 <= y < y + height <= scenes.SIDE
        assert 0 < one["area"] <= width * height
        assert 0 <= one["category"] < len(scenes.CLASSES)


def test_the_dataset_loads_as_coco_and_its_images_are_its_scenes(few, tmp_path):
    dataset = load_coco("demo_val", *demo.ensure_demo("val", tmp_path))
    assert dataset.classes == scenes.CLASSES and len(dataset.images) == 6
    assert dataset.degenerate_boxes == 0
    pixels, objects = scenes.render("val", 2)
    assert np.array_equal(np.asarray(Image.open(dataset.image_path(dataset.images[2]))), pixels)
    assert [a["bbox"] for a in dataset.annotations[3]] == [one["bbox"] for one in objects]


def test_validation_and_training_scenes_differ():
    assert not np.array_equal(scenes.render("val", 0)[0], scenes.render("train", 0)[0])
