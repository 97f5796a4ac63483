"""hotcoco against pycocotools, and both against pycocotools as its users run it."""

from __future__ import annotations

import contextlib
import io
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectron2_patch.data.coco import CocoDataset, load_coco
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.coco import (
    OVERALL,
    CocoEvaluator,
    class_keys,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "datasets"
BACKENDS = ("hotcoco", "pycocotools")
IMAGE_IDS, CATEGORY_IDS = (0, 3, 1000, 70000), (2, 5, 90)


def evaluate_boxes(dataset, detections, backend="hotcoco"):
    return CocoEvaluator(dataset, backend).evaluate(detections)


def make_dataset(truth, image_count=4, class_count=3, names=None):
    """A dataset of (image position, class, (x, y, w, h), area or None, crowd) tuples."""
    images = [{"id": i, "file_name": "x", "width": 320, "height": 240} for i in IMAGE_IDS]
    images = images[:image_count]
    annotations = {image["id"]: [] for image in images}
    for number, (position, class_index, box, area, crowd) in enumerate(truth, start=1):
        image_id = IMAGE_IDS[position]
        annotations[image_id].append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": CATEGORY_IDS[class_index],
                "bbox": list(box),
                "area": box[2] * box[3] if area is None else area,
                "iscrowd": int(crowd),
            }
        )
    return CocoDataset(
        name="made",
        json_file=Path("made.json"),
        image_root=Path("."),
        classes=tuple(names or "abc"[:class_count]),
        category_ids=CATEGORY_IDS[:class_count],
        images=images,
        annotations=annotations,
        degenerate_boxes=0,
        digest="0",
    )


def group(rows):
    """Detections by image, from (image position, class, (x, y, w, h), score) tuples."""
    found = {}
    for position, class_index, (x, y, w, h), score in rows:
        found.setdefault(position, []).append(((x, y, x + w, y + h), score, class_index))
    return [
        {
            "image_id": IMAGE_IDS[position],
            "boxes": np.array([e[0] for e in entries], dtype=np.float32),
            "scores": np.array([e[1] for e in entries], dtype=np.float32),
            "classes": np.array([e[2] for e in entries], dtype=np.int64),
        }
        for position, entries in found.items()
    ]


def reference(dataset, detections):
    """The twelve numbers by pycocotools' own calls: ids as they are, loadRes, summarize."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = [
        {
            "image_id": one["image_id"],
            "category_id": dataset.category_ids[label],
            "bbox": [*map(float, (box[0], box[1], box[2] - box[0], box[3] - box[1]))],
            "score": float(score),
        }
        for one in detections
        for box, score, label in zip(one["boxes"], one["scores"], one["classes"])
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": dataset.images,
            "categories": [{"id": c} for c in dataset.category_ids],
            "annotations": [dict(a) for some in dataset.annotations.values() for a in some],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [math.nan if value < 0 else float(value) for value in evaluation.stats]


def assert_same(dataset, detections):
    fast, slow = (CocoEvaluator(dataset, backend) for backend in BACKENDS)
    if any(len(one["boxes"]) for one in detections):
        expected = reference(dataset, detections)
        np.testing.assert_allclose(slow.stats(detections), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(fast.stats(detections), slow.stats(detections), rtol=0, atol=1e-7)
    by_fast, by_slow = fast.evaluate(detections), slow.evaluate(detections)
    assert list(by_fast) == list(by_slow)
    for key, value in by_slow.items():
        assert (by_fast[key] is None) == (value is None), key
        assert value is None or by_fast[key] == pytest.approx(value, abs=1e-6), key


# Sides meet COCO's limits of area (32² and 96²); boxes may be empty or lie outside the image.
sides = st.sampled_from([0, 1, 20, 31, 32, 33, 50.5, 96, 97, 150])
corners = st.sampled_from([-400, -20, 0, 10, 12.25, 100, 310, 500])
boxes = st.tuples(corners, corners, sides, sides)
truths = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 2),
        boxes,
        st.sampled_from([None, None, 0, 1024, 9216, 9217.5]),
        st.booleans(),
    ),
    max_size=12,
)
shifts = st.sampled_from([0, 0, 1, -2, 5, 15])
scores = st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.9, 1.0])  # ties on purpose


@st.composite
def cases(draw):
    """Ground truth, and detections of which many lie near a true box."""
    truth = draw(truths)
    rows = draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), boxes, scores), max_size=8)
    )
    if truth:
        picks = st.tuples(st.integers(0, len(truth) - 1), shifts, shifts, shifts, scores)
        for index, dx, dy, dw, score in draw(st.lists(picks, max_size=15)):
            position, class_index, (x, y, w, h), _, _ = truth[index]
            rows.append((position, class_index, (x + dx, y + dy, max(w + dw, 0), h), score))
    return truth, draw(st.permutations(rows))


@settings(max_examples=120, deadline=None)
@given(cases())
def test_hotcoco_equals_pycocotools(case):
    truth, rows = case
    assert_same(make_dataset(truth), group(rows))


def test_an_annotation_of_id_0_counts_here_and_is_missed_by_pycocotools_alone():
    truth = [(0, 0, (10, 10, 50, 50), None, False), (1, 0, (20, 20, 40, 40), None, False)]
    dataset = make_dataset(truth)
    found = group([(position, 0, box, 0.9) for position, _, box, _, _ in truth])
    from_1 = evaluate_boxes(dataset, found)["AP"], 100 * reference(dataset, found)[0]
    for some in dataset.annotations.values():
        for one in some:
            one["id"] -= 1
    assert from_1 == pytest.approx((100, 100))
    assert evaluate_boxes(dataset, found)["AP"] == pytest.approx(100)
    assert 100 * reference(dataset, found)[0] < 60


def test_more_than_a_hundred_detections_of_a_class():
    rng = np.random.default_rng(1)
    truth = [(i % 4, 0, (*rng.uniform(0, 200, 2), 40, 40), None, False) for i in range(60)]
    rows = [
        (t[0], 0, (t[2][0] + rng.normal(0, 4), t[2][1], 40, 40), round(rng.random(), 1))
        for t in truth
        for _ in range(12)
    ]
    detections = group(rows)
    assert max(len(one["boxes"]) for one in detections) > 100
    assert_same(make_dataset(truth), detections)


@pytest.mark.parametrize("name, split", [("bccd", "val"), ("coco", "val2017")])
def test_real_annotations(name, split):
    json_file = SHARED / name / "annotations" / f"instances_{split}.json"
    folder = SHARED / name / split
    if not json_file.exists():
        pytest.skip(f"no {name} in ../shared/datasets beside the repository")
    dataset = load_coco("real", json_file, folder)
    rng = np.random.default_rng(0)
    detections = []
    for image in dataset.images:
        truth = dataset.annotations[image["id"]]
        xywh = np.array([a["bbox"] for a in truth for _ in range(4)]).reshape(-1, 4)
        xywh = xywh * rng.normal(1, 0.08, xywh.shape)
        classes = [dataset.category_ids.index(a["category_id"]) for a in truth for _ in range(4)]
        swapped = rng.random(len(classes)) < 0.2
        detections.append(
            {
                "image_id": image["id"],
                "boxes": np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]).astype(np.float32),
                "scores": rng.random(len(xywh)).round(1).astype(np.float32),
                "classes": np.where(swapped, 0, np.array(classes, dtype=np.int64)),
            }
        )
    assert 0.05 < CocoEvaluator(dataset).stats(detections)[0] < 0.95
    assert_same(dataset, detections)


def test_metrics_are_detectron2s(tmp_path):
    pytest.importorskip("detectron2", reason="detectron2 is not installed")
    import torch
    from detectron2.data import MetadataCatalog
    from detectron2.data.datasets import register_coco_instances
    from detectron2.evaluation import COCOEvaluator
    from detectron2.structures import Boxes, Instances

    rng = np.random.default_rng(3)
    truth = [
        (i % 4, i % 2, (*rng.uniform(0, 90, 2), *rng.uniform(5, 150, 2)), None, i % 9 == 0)
        for i in range(40)
    ]
    dataset = make_dataset(truth, names=("b", "a", "never there"))
    rows = [(t[0], t[1], tuple(rng.normal(t[2], 3)), rng.random()) for t in truth]
    detections = group(rows)
    (tmp_path / "x.json").write_text(
        json.dumps(
            {
                "images": dataset.images,
                "annotations": [a for some in dataset.annotations.values() for a in some],
                "categories": [{"id": i, "name": n} for i, n in zip(CATEGORY_IDS, dataset.classes)],
            }
        )
    )
    register_coco_instances("made_for_this_test", {}, str(tmp_path / "x.json"), "")
    MetadataCatalog.get("made_for_this_test").set(
        thing_classes=list(dataset.classes),
        thing_dataset_id_to_contiguous_id={c: i for i, c in enumerate(CATEGORY_IDS)},
    )
    evaluator = COCOEvaluator("made_for_this_test", tasks=("bbox",), use_fast_impl=False)
    evaluator.reset()
    for one in detections:
        found = Instances((240, 320))
        found.pred_boxes = Boxes(torch.from_numpy(one["boxes"]))
        found.scores = torch.from_numpy(one["scores"])
        found.pred_classes = torch.from_numpy(one["classes"])
        evaluator.process([{"image_id": one["image_id"]}], [{"instances": found}])
    expected = {k: None if math.isnan(v) else v for k, v in evaluator.evaluate()["bbox"].items()}
    metrics = evaluate_boxes(dataset, detections)
    assert list(metrics) == list(expected) and metrics["AP-never there"] is None
    assert 5 < metrics["AP"] < 95
    assert metrics == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_perfect_detections(backend):
    dataset = make_dataset([(0, 0, (10, 10, 20, 20), None, False)])
    metrics = evaluate_boxes(dataset, group([(0, 0, (10, 10, 20, 20), 0.9)]), backend)
    measured = ("AP", "AP50", "AP75", "APs", "AP-a")
    assert [metrics.pop(key) for key in measured] == pytest.approx([100] * 5)
    assert metrics == {"APm": None, "APl": None, "AP-b": None, "AP-c": None}


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_detections_are_zero_where_there_is_ground_truth(backend):
    dataset = make_dataset([(0, 1, (10, 10, 20, 20), None, False)])
    empty = {"image_id": 0, "boxes": np.zeros((0, 4)), "scores": [], "classes": []}
    for detections in ([], [empty]):
        metrics = evaluate_boxes(dataset, detections, backend)
        assert [metrics[key] for key in OVERALL] == [0, 0, 0, 0, None, None]
        assert metrics["AP-a"] is None and metrics["AP-b"] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_ground_truth_is_none(backend):
    metrics = evaluate_boxes(make_dataset([]), group([(0, 0, (1, 1, 5, 5), 0.5)]), backend)
    assert set(metrics.values()) == {None}


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_evaluator_is_used_again_without_memory_of_the_last_time(backend):
    dataset = make_dataset([(0, 0, (10, 10, 20, 20), None, False), (2, 0, (1, 1, 9, 9), None, 0)])
    good, bad = group([(0, 0, (10, 10, 20, 20), 0.9)]), group([(1, 0, (10, 10, 20, 20), 0.9)])
    evaluator = CocoEvaluator(dataset, backend)
    first = evaluator.evaluate(good)
    assert evaluator.evaluate(bad)["AP"] == 0
    assert evaluator.evaluate(good) == first and first["AP"] > 40


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_printed_and_other_threads_still_can(backend, capfd):
    dataset = make_dataset([(0, 0, (10, 10, 20, 20), None, False)])
    thread = threading.Thread(target=print, args=("from another thread",))
    thread.start()
    evaluate_boxes(dataset, group([(0, 0, (10, 10, 20, 20), 0.9)]), backend)
    thread.join()
    assert capfd.readouterr().out == "from another thread\n"


def test_pycocotools_prints_again_afterwards(capsys):
    from pycocotools.coco import COCO

    evaluate_boxes(make_dataset([]), [], "pycocotools")
    COCO().createIndex()
    assert "creating index" in capsys.readouterr().out


def test_classes_of_one_name_keep_their_own_numbers():
    truth = [(0, c, (10, 10, 20, 20), None, False) for c in range(3)]
    dataset = make_dataset(truth, names=("cell", "dot", "cell"))
    metrics = evaluate_boxes(dataset, group([(0, 2, (10, 10, 20, 20), 0.9)]))
    found = [metrics[f"AP-{name}"] for name in ("cell (id 2)", "dot", "cell (id 90)")]
    assert found == pytest.approx([0, 0, 100])


def test_class_names_that_collide_even_so_are_refused():
    with pytest.raises(InputError, match="share a name"):
        class_keys(make_dataset([], names=("cell", "cell", "cell (id 2)")))


def test_unknown_backend_is_refused():
    with pytest.raises(InputError, match="'fast'.*hotcoco or pycocotools"):
        evaluate_boxes(make_dataset([]), [], "fast")


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 3, (1, 1, 5, 5), 0.5)],
        [(0, -1, (1, 1, 5, 5), 0.5)],
        [(0, 0, (math.nan, 1, 5, 5), 0.5)],
        [(0, 0, (1, 1, 5, 5), math.inf)],
    ],
)
def test_detections_that_cannot_be_are_an_error(rows):
    with pytest.raises(ValueError, match="detection"):
        evaluate_boxes(make_dataset([]), group(rows))


def test_detections_of_a_foreign_image_are_an_error():
    with pytest.raises(ValueError, match="70000"):
        evaluate_boxes(make_dataset([], image_count=2), group([(3, 0, (1, 1, 5, 5), 0.5)]))
