import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from detectron2_patch.rcnn import boxes as box


def random_boxes(count, generator):
    corner = torch.rand(count, 2, generator=generator) * 100
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 60], 1)


seeds = st.integers(0, 2**31)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@given(seeds)
def test_decode_undoes_encode(seed):
    g = torch.Generator().manual_seed(seed)
    source, target = random_boxes(20, g), random_boxes(20, g)
    deltas = box.encode(source, target, WEIGHTS)
    torch.testing.assert_close(box.decode(deltas, source, WEIGHTS), target, atol=1e-3, rtol=1e-4)


def test_decode_gives_each_class_its_box():
    g = torch.Generator().manual_seed(0)
    source = random_boxes(4, g)
    deltas = torch.randn(4, 12, generator=g)
    together = box.decode(deltas, source, WEIGHTS)
    for k in range(3):
        columns = slice(4 * k, 4 * k + 4)
        alone = box.decode(deltas[:, columns], source, WEIGHTS)
        assert torch.equal(together[:, columns], alone)


def test_clip_stops_at_the_image_border():
    boxes = torch.tensor([[-5.0, -5.0, 50.0, 50.0], [5.0, 5.0, 8.0, 9.0]])
    assert box.clip(boxes, (20, 30)).tolist() == [[0, 0, 30, 20], [5, 5, 8, 9]]


@given(seeds, st.integers(0, 60), st.integers(1, 5))
def test_nms_by_group_equals_torchvisions_nms_of_each_group(seed, count, groups):
    g = torch.Generator().manual_seed(seed)
    boxes = random_boxes(count, g)
    scores = torch.randint(0, 8, (count,), generator=g) / 8  # ties on purpose
    group = torch.randint(0, groups, (count,), generator=g)
    kept = box.nms_by_group(boxes, scores, group, 0.5)
    # The oracle shifts boxes apart by exact amounts: coordinates below 256 and whole shifts.
    oracle = batched_nms(boxes.double(), scores.double(), group, 0.5)
    assert set(kept.tolist()) == set(oracle.tolist())
    ranks = [(-scores[i].item(), i) for i in kept.tolist()]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("count", [0, 1])
def test_nms_of_hardly_any_boxes(count):
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])[:count]
    kept = box.nms_by_group(boxes, torch.ones(count), torch.zeros(count), 0.5)
    assert kept.tolist() == list(range(count))
