import numpy as np
import pytest

from detectron2_patch.report import pictures
from detectron2_patch.report.pictures import compare, without_counterpart


def found(boxes, classes):
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return {
        "boxes": boxes,
        "classes": np.array(classes, dtype=np.int64),
        "scores": np.full(len(boxes), 0.9, dtype=np.float32),
    }


def test_a_detection_is_lost_when_class_or_place_differ():
    clean = found([[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]], [0, 1, 1])
    damaged = found([[1, 0, 10, 10], [20, 20, 40, 40], [56, 56, 66, 66]], [0, 0, 1])
    assert without_counterpart(clean, damaged).tolist() == [False, True, True]


def test_one_object_found_twice_has_one_partner():
    twice = found([[0, 0, 10, 10], [0, 0, 10, 9]], [0, 0])
    once = found([[0, 0, 10, 10]], [0])
    assert without_counterpart(twice, once).tolist() == [False, True]
    assert without_counterpart(once, twice).tolist() == [False]


@pytest.mark.parametrize("other", [([], []), ([[0, 0, 9, 9]], [0])])
def test_nothing_found_is_nothing_lost_and_all_lost(other):
    assert without_counterpart(found([], []), found(*other)).tolist() == []
    assert without_counterpart(found([[0, 0, 9, 9]], [5]), found(*other)).tolist() == [True]


def test_an_image_in_which_nothing_is_found_says_so(monkeypatch):
    said = []
    monkeypatch.setattr(pictures, "_line", lambda draw, place, text, *rest: said.append(text))
    pixels = np.full((40, 60, 3), 99, dtype=np.uint8)
    compare(pixels, found([], []), found([], []), None, "ratio 8", side=120)
    assert said.count(pictures.NOTHING) == 2
    compare(pixels, found([[5, 5, 30, 30]], [1]), found([], []), None, "ratio 8", side=120)
    assert said.count(pictures.NOTHING) == 3 and "1 found, of which 1 is lost" in " ".join(said)


def test_the_picture_has_two_panels():
    pixels = np.full((40, 60, 3), 99, dtype=np.uint8)
    one = found([[5, 5, 30, 30]], [1])
    picture = compare(pixels, one, found([], []), ("a", "b"), "ratio 8", side=120)
    assert picture.size == (120 + 8 + 120, 80 + 48)
    left, right = np.asarray(picture)[48:, :120], np.asarray(picture)[48:, 128:]
    assert (right == 99).all() and not (left == 99).all()
