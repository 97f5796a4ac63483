"""AP of masks and keypoints, beside detectron2's own evaluator."""

import dataclasses
import json

import numpy as np
import pytest
from pycocotools import mask as run_length

from detectron2_patch.data.coco import load_coco
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.evaluation.masks_keypoints import ShapeEvaluator

SIDE, POINTS = 64, 17


@pytest.fixture
def dataset(tmp_path):
    """Four blank images of boxes with masks and keypoints; one has none."""
    from PIL import Image

    generator = np.random.RandomState(0)
    images, annotations = [], []
    for number in range(1, 5):
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / f"{number}.png")
        images.append(
            {"id": 10 * number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE}
        )
        for _ in range(0 if number == 4 else 3):
            x, y = generator.randint(0, 30, 2).tolist()
            points = generator.randint(x, x + 20, (POINTS, 2))
            points = np.concatenate([points, np.full((POINTS, 1), 2)], 1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 * number,
                    "iscrowd": 0,
                    "category_id": int(generator.choice([3, 8])),
                    "bbox": [x, y, 24, 20],
                    "area": 24 * 15,
                    "segmentation": [[x, y, x + 24, y, x + 12, y + 20, x, y + 20]],
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": POINTS,
                }
            )
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "a"}, {"id": 8, "name": "b"}],
    }
    (tmp_path / "shapes.json").write_text(json.dumps(document))
    return load_coco("shapes", tmp_path / "shapes.json", tmp_path)


def found_near(dataset, seed=1):
    """Detections that lie more or less on the truth."""
    generator = np.random.RandomState(seed)
    document = json.loads(dataset.json_file.read_text())
    out = []
    for image in dataset.images:
        truth = [a for a in document["annotations"] if a["image_id"] == image["id"]] * 2
        boxes = np.array([a["bbox"] for a in truth], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = []
        for a in truth:
            (coded,) = run_length.frPyObjects(a["segmentation"], SIDE, SIDE)
            moved = np.roll(run_length.decode(coded), generator.randint(0, 6), 1)
            masks.append(run_length.encode(np.asfortranarray(moved)))
        points = np.array([a["keypoints"] for a in truth], np.float32).reshape(-1, POINTS, 3)
        points[:, :, :2] += generator.randn(len(truth), POINTS, 2).astype(np.float32)
        out.append(
            {
                "image_id": image["id"],
                "boxes": boxes + generator.randint(0, 5, boxes.shape).astype(np.float32),
                "scores": generator.rand(len(truth)).astype(np.float32),
                "classes": np.array([[3, 8].index(a["category_id"]) for a in truth], np.int64),
                "masks": masks,
                "keypoints": points,
            }
        )
    return out


@pytest.fixture
def reference(dataset):
    """detectron2's own evaluator, fed with the same detections."""
    pytest.importorskip(
        "detectron2", reason="compares with real detectron2, which is not installed here"
    )
    import torch
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets import load_coco_json
    from detectron2.evaluation import COCOEvaluator
    from detectron2.structures import Boxes, Instances

    name = f"shapes_{dataset.json_file.parent}"
    DatasetCatalog.register(name, lambda: None)
    load_coco_json(str(dataset.json_file), str(dataset.image_root), name)
    MetadataCatalog.get(name).json_file = str(dataset.json_file)

    def evaluate(detections):
        evaluator = COCOEvaluator(
            name, ("bbox", "segm", "keypoints"), distributed=False, use_fast_impl=False
        )
        evaluator.reset()
        for one in detections:
            output = Instances((SIDE, SIDE))
            output.pred_boxes = Boxes(torch.from_numpy(one["boxes"]))
            output.scores = torch.from_numpy(one["scores"])
            output.pred_classes = torch.from_numpy(one["classes"])
            masks = [run_length.decode(m) for m in one["masks"]] or np.zeros((0, SIDE, SIDE))
            output.pred_masks = torch.from_numpy(np.array(masks).astype(bool))
            output.pred_keypoints = torch.from_numpy(one["keypoints"].copy())
            evaluator.process([{"image_id": one["image_id"]}], [{"instances": output}])
        return evaluator.evaluate()

    yield evaluate
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def evaluators(dataset):
    return {
        "bbox": CocoEvaluator(dataset),
        "segm": ShapeEvaluator(dataset, "segm"),
        "keypoints": ShapeEvaluator(dataset, "keypoints"),
    }


@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_detectron2s(dataset, reference, seed):
    detections = found_near(dataset, seed)
    wanted = reference(detections)
    for task, evaluator in evaluators(dataset).items():
        found = evaluator.evaluate(detections)
        assert 1 < found["AP"] < 99, task
        assert found.keys() == wanted[task].keys()
        for key, value in wanted[task].items():
            assert found[key] == (None if np.isnan(value) else pytest.approx(value, abs=1e-6)), key


def by_pycocotools(dataset, task, detections):
    """COCO's numbers and each class's, by pycocotools on the same detections."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(dataset.json_file))
    rows = []
    for one in detections:
        points = one["keypoints"] - np.array([0.5, 0.5, 0], np.float32)
        for i, (score, kind) in enumerate(zip(one["scores"], one["classes"])):
            shape = (
                {"segmentation": one["masks"][i]}
                if task == "segm"
                else {"keypoints": points[i].ravel().tolist()}
            )
            category = dataset.category_ids[kind]
            image = {"image_id": one["image_id"], "category_id": category, "score": float(score)}
            rows.append({**image, **shape})
    evaluation = COCOeval(truth, truth.loadRes(rows), task)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    found = evaluation.eval["precision"][:, :, :, 0, -1]
    each = [found[:, :, k][found[:, :, k] > -1] for k in range(found.shape[2])]
    each = [x.mean() if x.size else -1 for x in each]
    return [*evaluation.stats[: 6 if task == "segm" else 5], *each]


def crowded(dataset, seed):
    """Ground truth with crowds, objects of all sizes and hidden keypoints; detections with ties,
    and more of them than are counted."""
    generator = np.random.RandomState(seed)
    document = json.loads(dataset.json_file.read_text())
    for one in document["annotations"]:
        one["iscrowd"] = int(generator.rand() < 0.2)
        one["area"] = float(generator.choice([300, 1024, 3000, 9216, 12000]))
        if generator.rand() < 0.3:
            one["keypoints"] = [0] * 3 * POINTS
            one["num_keypoints"] = 0
        elif generator.rand() < 0.5:
            one["keypoints"][2::9] = [0] * len(one["keypoints"][2::9])
    dataset.json_file.write_text(json.dumps(document))
    again = load_coco("shapes", dataset.json_file, dataset.image_root)
    parts = [found_near(again, seed + n) for n in range(5)]
    joined = []
    for ones in zip(*parts):
        masks = [mask for part in ones for mask in part["masks"]]
        one = {"image_id": ones[0]["image_id"], "masks": masks}
        for key in ("boxes", "scores", "classes", "keypoints"):
            one[key] = np.concatenate([part[key] for part in ones])
        one["scores"] = one["scores"].round(1)
        joined.append(one)
    return again, joined


@pytest.mark.parametrize("task", ["segm", "keypoints"])
@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_pycocotools_to_the_last_digit(dataset, task, seed):
    dataset, detections = crowded(dataset, seed)
    evaluator = ShapeEvaluator(dataset, task)
    wanted = [None if v < 0 else 100 * v for v in by_pycocotools(dataset, task, detections)]
    assert list(evaluator.evaluate(detections).values()) == wanted
    assert any(wanted)


def test_a_sweeps_many_masks_of_one_image(dataset):
    """More than a detector gives: the distinct ones of all settings."""
    (one, *_) = found_near(dataset)
    times = 300 // len(one["scores"]) + 1
    many = {key: np.concatenate([one[key]] * times) for key in ("scores", "classes")}
    many |= {"image_id": one["image_id"], "masks": one["masks"] * times}
    rows = ShapeEvaluator(dataset, "segm").rows([many])
    few = ShapeEvaluator(dataset, "segm").rows([one])
    assert len(rows.rows) > 255
    assert np.array_equal(rows.rows, np.concatenate([few.rows] * times))


def test_a_choice_of_the_detections_is_evaluated_as_if_there_were_no_others(dataset):
    dataset, detections = crowded(dataset, 7)
    generator = np.random.RandomState(0)
    for task in ("segm", "keypoints"):
        evaluator = ShapeEvaluator(dataset, task)
        rows = evaluator.rows(detections)
        chosen = np.sort(generator.permutation(len(rows.rows))[: len(rows.rows) // 2])
        alone, start = [], 0
        for one in detections:
            count = len(one["scores"])
            mine = chosen[(chosen >= start) & (chosen < start + count)] - start
            start += count
            part = {k: v if k == "image_id" else [v[i] for i in mine] for k, v in one.items()}
            alone.append(part)
            alone[-1]["keypoints"] = one["keypoints"][mine]
        assert evaluator.evaluate_rows(rows.choose(chosen)) == evaluator.evaluate(alone)


def test_nothing_detected_has_no_number(dataset):
    empty = {
        "boxes": np.zeros((0, 4)),
        "scores": [],
        "classes": [],
        "masks": [],
        "keypoints": np.zeros((0, POINTS, 3)),
    }
    nothing = [{"image_id": image["id"], **empty} for image in dataset.images]
    assert ShapeEvaluator(dataset, "segm").evaluate(nothing) == dict.fromkeys(
        ("AP", "AP50", "AP75", "APs", "APm", "APl")
    )
    assert "APs" not in ShapeEvaluator(dataset, "keypoints").evaluate(nothing)


@pytest.mark.parametrize("task, key", [("segm", "segmentation"), ("keypoints", "keypoints")])
def test_a_dataset_without_the_shapes_is_refused(dataset, task, key):
    document = json.loads(dataset.json_file.read_text())
    del document["annotations"][4][key]
    dataset.json_file.write_text(json.dumps(document))
    with pytest.raises(InputError, match=f"annotation id 5 has no {key}"):
        ShapeEvaluator(dataset, task)


def test_sigmas_have_to_be_one_a_keypoint(dataset):
    with pytest.raises(InputError, match="17 keypoints.*SIGMAS has 3"):
        ShapeEvaluator(dataset, "keypoints", [0.1, 0.1, 0.1])
    replaced = dataclasses.replace(dataset, name="other")
    assert ShapeEvaluator(replaced, "keypoints", [0.1] * 17).sigmas == [0.1] * 17
