import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.rcnn.matching import match, sample

TRUTH = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 52.0, 52.0]])
BOXES = torch.tensor([[0.0, 0, 10, 9], [0.0, 0, 10, 5], [30.0, 30, 40, 40], [49.0, 49, 59, 59]])


def test_labels_follow_the_thresholds():
    index, label = match(BOXES, TRUTH, [0.3, 0.7], [0, -1, 1], keep_best=False)
    assert label.tolist() == [1, -1, 0, 0]
    assert index[0] == 0


def test_every_object_keeps_its_best_box():
    index, label = match(BOXES, TRUTH, [0.3, 0.7], [0, -1, 1], keep_best=True)
    assert label.tolist() == [1, -1, 0, 1]
    assert index[3] == 1


def test_a_threshold_belongs_to_the_upper_label():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 5.0]])
    _, label = match(boxes, TRUTH[:1], [0.5], [0, 1], keep_best=False)
    assert label.tolist() == [1]


def test_without_objects_all_is_background():
    _, label = match(BOXES, torch.zeros(0, 4), [0.3, 0.7], [0, -1, 1], keep_best=True)
    assert label.tolist() == [0, 0, 0, 0]


@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=40), st.integers(0, 30))
def test_samples_are_bounded_distinct_and_never_ignored(labels, count):
    labels = torch.tensor(labels, dtype=torch.int64)
    chosen = sample(labels, count, 0.5, background=0).tolist()
    assert len(chosen) == len(set(chosen)) <= count
    assert all(labels[i] != -1 for i in chosen)
    assert sum(labels[i] == 1 for i in chosen) <= count * 0.5
