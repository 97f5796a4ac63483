"""Datasets by detectron2's names."""

from __future__ import annotations

import importlib.util
import json

import pytest

from detectron2_patch.data.catalog import COCO_SPLITS, dataset_names, load_dataset
from detectron2_patch.errors import InputError


def put_coco(root, folder="val2017", json_file="instances_val2017.json"):
    (root / "coco" / folder).mkdir(parents=True)
    (root / "coco" / folder / "1.jpg").write_bytes(b"1")
    (root / "coco" / "annotations").mkdir()
    (root / "coco" / "annotations" / json_file).write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "1.jpg", "width": 8, "height": 8}],
                "annotations": [],
                "categories": [{"id": 3, "name": "car"}],
            }
        )
    )


def test_layout_below_the_variable(tmp_path, monkeypatch):
    put_coco(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    dataset = load_dataset("coco_2017_val")
    assert dataset.name == "coco_2017_val" and dataset.classes == ("car",)
    assert dataset.image_root == tmp_path / "coco" / "val2017"


def test_layout_below_datasets_without_it(tmp_path, monkeypatch):
    put_coco(tmp_path / "datasets", "val2014", "instances_valminusminival2014.json")
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("coco_2014_valminusminival").images) == 1


def test_layout_below_the_home_folder(tmp_path, monkeypatch):
    put_coco(tmp_path / "data")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/data")
    assert len(load_dataset("coco_2017_val").images) == 1


def test_missing_data_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(InputError, match="DETECTRON2_DATASETS") as caught:
        load_dataset("coco_2017_val")
    assert str(tmp_path / "coco/annotations/instances_val2017.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_name_lists_the_known_and_the_closest():
    with pytest.raises(InputError, match="did you mean coco_2017_val[?]") as caught:
        load_dataset("coco_2017_vall")
    assert all(name in str(caught.value) for name in dataset_names())
    with pytest.raises(InputError, match="unknown dataset 'xyz': known names"):
        load_dataset("xyz")


def test_demo_is_generated_when_asked_for(tmp_path, monkeypatch):
    if importlib.util.find_spec("detectron2_patch.data.demo") is None:
        pytest.skip("no demo in this package")
    from detectron2_patch.data import demo

    put_coco(tmp_path)
    asked = []

    def ensure_demo(split):
        asked.append(split)
        return tmp_path / "coco/annotations/instances_val2017.json", tmp_path / "coco/val2017"

    monkeypatch.setattr(demo, "ensure_demo", ensure_demo)
    assert load_dataset("demo_val").name == "demo_val"
    assert load_dataset("demo_train").classes == ("car",)
    assert asked == ["val", "train"]


def test_names_and_layout_are_detectron2s(monkeypatch):
    pytest.importorskip("detectron2", reason="detectron2 is not installed")
    from detectron2.data.datasets.builtin import _PREDEFINED_SPLITS_COCO

    theirs = _PREDEFINED_SPLITS_COCO
    assert COCO_SPLITS == theirs["coco"] | theirs["coco_person"]
