"""Weighted images against pycocotools on datasets in which the images really occur that often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.evaluation import bootstrap
from detectron2_patch.evaluation.bootstrap import Bootstrap, draw_weights
from detectron2_patch.evaluation.box_matching import SIZES
from detectron2_patch.evaluation.coco import CocoEvaluator

IMAGES, CLASSES = 4, 3


def make_dataset(truth, copies=(1,) * IMAGES):
    """A dataset of (image, class, (x, y, w, h), area or None, crowd), image i ``copies[i]`` times.

    Copy ``n`` of image ``i`` has the id ``100 i + n``.
    """
    ids = [100 * i + n for i, count in enumerate(copies) for n in range(count)]
    annotations = {image_id: [] for image_id in ids}
    for image_id in ids:
        for image, label, box, area, crowd in truth:
            if image == image_id // 100:
                annotations[image_id].append(
                    {
                        "id": 1,
                        "image_id": image_id,
                        "category_id": label + 1,
                        "bbox": list(box),
                        "area": box[2] * box[3] if area is None else area,
                        "iscrowd": int(crowd),
                    }
                )
    return CocoDataset(
        name="made",
        json_file=Path("made.json"),
        image_root=Path("."),
        classes=tuple("abc"),
        category_ids=tuple(range(1, CLASSES + 1)),
        images=[{"id": i, "file_name": "x", "width": 320, "height": 240} for i in ids],
        annotations=annotations,
        degenerate_boxes=0,
        digest="0",
    )


def make_detections(rows, copies=(1,) * IMAGES):
    """Detections of (image, class, (x, y, w, h), score), as often as the images occur."""
    return [
        {
            "image_id": 100 * image + n,
            "boxes": [[x, y, x + w, y + h]],
            "scores": [score],
            "classes": [label],
        }
        for image, label, (x, y, w, h), score in rows
        for n in range(copies[image])
    ]


def reference(truth, rows, copies):
    """pycocotools' AP, APs, APm and APl; one mapping an image, as it takes them."""
    found = CocoEvaluator(make_dataset(truth, copies), "pycocotools").evaluate(
        make_detections(rows, copies)
    )
    return [np.nan if found[size] is None else found[size] for size in SIZES]


# Sides meet COCO's limits of area (32² and 96²); boxes may be empty or lie outside the image.
sides = st.sampled_from([0, 1, 20, 31, 32, 33, 50.5, 96, 97, 150])
corners = st.sampled_from([-400, -20, 0, 10, 12.25, 100])
boxes = st.tuples(corners, corners, sides, sides)
areas = st.sampled_from([None, None, 0, 1024, 9216, 9217.5])
truths = st.lists(
    st.tuples(st.integers(0, IMAGES - 1), st.integers(0, CLASSES - 1), boxes, areas, st.booleans()),
    max_size=14,
)
shifts = st.sampled_from([0, 0, 1, -2, 5, 15])
weights = st.lists(st.integers(0, 3), min_size=IMAGES, max_size=IMAGES).filter(any)


@st.composite
def cases(draw):
    """Objects, and detections with scores of their own of which many lie near an object."""
    truth = draw(truths)
    found = draw(
        st.lists(
            st.tuples(st.integers(0, IMAGES - 1), st.integers(0, CLASSES - 1), boxes), max_size=8
        )
    )
    if truth:
        for i, dx, dw in draw(
            st.lists(st.tuples(st.integers(0, len(truth) - 1), shifts, shifts), max_size=20)
        ):
            image, label, (x, y, w, h), *_ = truth[i]
            found.append((image, label, (x + dx, y, max(0, w + dw), h)))
    order = draw(st.permutations(range(len(found))))
    return truth, [(*one, (1 + place) / 64) for one, place in zip(found, order)]


@given(case=cases(), replicates=st.lists(weights, min_size=1, max_size=3))
def test_equals_pycocotools_on_the_repeated_images(case, replicates):
    truth, rows = case
    dataset = make_dataset(truth)
    found = Bootstrap(dataset, len(replicates), weights=np.array(replicates)).evaluate(
        CocoEvaluator(dataset).rows(make_detections(rows))
    )
    expected = np.array([reference(truth, rows, copies) for copies in replicates]).T
    assert list(found) == list(SIZES)
    np.testing.assert_allclose(list(found.values()), expected, rtol=0, atol=1e-9)


def crowded(seed=0, objects=60, detections=400, ties=False):
    """Objects and detections of which more than 100 of a class lie in one image."""
    rng = np.random.default_rng(seed)
    truth = [
        (
            int(rng.integers(IMAGES)),
            int(rng.integers(2)),
            (*rng.uniform(0, 200, 2), *rng.uniform(8, 150, 2)),
            None,
            bool(rng.random() < 0.1),
        )
        for _ in range(objects)
    ]
    rows = []
    for i in range(detections):
        image, label, box, *_ = truth[i % (objects // 2) if i % 2 else 0]
        score = round(rng.random(), 1) if ties else rng.random()
        rows.append((image, label, tuple(np.maximum(rng.normal(box, 4), 0)), score))
    return truth, rows


def test_equals_pycocotools_where_detections_pass_the_limit_of_an_image():
    truth, rows = crowded()
    assert max(np.bincount([4 * r[1] + r[0] for r in rows])) > 100
    copies = [(1, 1, 1, 1), (2, 0, 3, 1), (0, 4, 0, 0)]
    dataset = make_dataset(truth)
    found = Bootstrap(dataset, 3, weights=np.array(copies)).evaluate(
        CocoEvaluator(dataset).rows(make_detections(rows))
    )
    expected = np.array([reference(truth, rows, one) for one in copies]).T
    assert 1 < expected[0, 0] < 90
    np.testing.assert_allclose(list(found.values()), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_each_image_once_is_the_evaluation(ties):
    truth, rows = crowded(1, ties=ties)
    evaluator = CocoEvaluator(dataset := make_dataset(truth))
    rows = evaluator.rows(make_detections(rows))
    found = Bootstrap(dataset, 1, weights=np.ones((1, IMAGES), int)).evaluate(rows)
    expected = evaluator.evaluate_rows(rows)
    assert {size: one.item() for size, one in found.items()} == pytest.approx(
        {size: expected[size] for size in SIZES}, abs=1e-9
    )


def test_chunks_of_replicates_change_nothing(monkeypatch):
    truth, rows = crowded(2)
    dataset = make_dataset(truth)
    rows = CocoEvaluator(dataset).rows(make_detections(rows))
    whole = Bootstrap(dataset, 50).describe(rows)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 700)
    assert Bootstrap(dataset, 50).describe(rows) == whole
    assert len(set(whole["bbox"]["AP"])) > 20


def test_a_result_holds_rounded_percent_and_none():
    truth = [(0, 0, (10, 10, 20, 20), None, False), (1, 0, (10, 10, 50, 50), None, False)]
    dataset = make_dataset(truth)
    rows = CocoEvaluator(dataset).rows(make_detections([(0, 0, (10, 10, 20, 20), 0.5)]))
    found = Bootstrap(dataset, 3, weights=np.array([[1, 2, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1]]))
    assert found.describe(rows) == {
        "replicates": 3,
        "seed": bootstrap.SEED,
        "bbox": {
            "AP": [33.663, 0.0, None],
            "APs": [100.0, None, None],
            "APm": [0.0, 0.0, None],
            "APl": [None, None, None],
        },
    }


def test_draws_are_those_of_the_seed_and_hold_all_images():
    drawn = draw_weights(7, 40, seed=3)
    assert drawn.shape == (40, 7) and (drawn.sum(1) == 7).all()
    assert (draw_weights(7, 40, seed=3) == drawn).all()
    assert (draw_weights(7, 10, seed=3) == drawn[:10]).all(), "fewer are the first of more"
    assert (draw_weights(7, 40, seed=4) != drawn).any()


def test_the_spread_is_that_of_ap_over_new_images():
    """The standard deviation of replicates of one sample beside that of many samples."""
    rng = np.random.default_rng(0)

    def sample(images):
        truth, rows = [], []
        for image in range(images):
            for n in range(4):
                box = (60.0 * n, 0.0, 20.0, 20.0)
                truth.append((image, 0, box, None, False))
                if rng.random() < 0.6:
                    rows.append((image, 0, box, rng.random()))
        return truth, rows

    def evaluate(images, replicates):
        truth, rows = sample(images)
        dataset = make_dataset(truth, (1,) * images)
        evaluator = CocoEvaluator(dataset)
        rows = evaluator.rows(make_detections(rows, (1,) * images))
        return (
            evaluator.evaluate_rows(rows)["AP"],
            Bootstrap(dataset, replicates).evaluate(rows)["AP"],
        )

    spread = np.std([evaluate(60, 1)[0] for _ in range(100)])
    assert evaluate(60, 500)[1].std() == pytest.approx(spread, rel=0.3)
