import numpy as np
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou, nms

from detectron2_patch.sweep.suppress import keep_best, pack, suppress, unpack

# torchvision 0.17 and 0.19 round an overlap of just the threshold otherwise than 0.29 does
OLDER = tuple(map(int, torchvision.__version__.split(".")[:2])) < (0, 29)


@given(seed=st.integers(0, 10**6), count=st.integers(0, 40), settings=st.integers(1, 130))
def test_packing_round_trips(seed, count, settings):
    flags = np.random.RandomState(seed).rand(count, settings) < 0.3
    words = pack(flags)
    assert words.shape == (count, -(-settings // 64)) and words.dtype == np.dtype("<u8")
    assert np.array_equal(unpack(words, settings), flags)
    for s in range(settings):  # the layout that the spool's readers count on
        assert np.array_equal(
            (words[:, s // 64] >> np.uint64(s % 64)) & np.uint64(1) == 1, flags[:, s]
        )


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 60),
    settings=st.integers(1, 70),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7]),
)
def test_equals_torchvisions_nms_in_each_setting_alone(seed, count, settings, threshold):
    generator = np.random.RandomState(seed)
    # a coarse lattice: many boxes overlap by exactly the threshold, some are empty
    corner = generator.randint(0, 6, (count, 2))
    boxes = np.concatenate([corner, corner + generator.randint(0, 6, (count, 2))], axis=1)
    boxes = (boxes * np.float32(1.1)).astype(np.float32)
    scores = np.sort(generator.randint(0, 5, count).astype(np.float32))[::-1].copy()
    flags = generator.rand(count, settings) < 0.6
    kept = unpack(suppress(boxes, pack(flags), threshold), settings)
    for s in range(settings):
        members = np.flatnonzero(flags[:, s])
        wanted = nms(torch.from_numpy(boxes[members]), torch.from_numpy(scores[members]), threshold)
        same = sorted(members[wanted.numpy()]) == np.flatnonzero(kept[:, s]).tolist()
        assert same or (OLDER and at_the_threshold(boxes[members], threshold))


def at_the_threshold(boxes, threshold):
    """Whether two boxes overlap by the threshold, to float32's rounding."""
    gaps = (box_iou(*[torch.from_numpy(boxes)] * 2) - threshold).abs()
    return bool((gaps < 1e-6).any())


def test_more_boxes_than_a_block():
    generator = np.random.RandomState(0)
    corner = generator.rand(1300, 2) * 300
    boxes = np.concatenate([corner, corner + 20 + generator.rand(1300, 2) * 20], axis=1)
    boxes = boxes.astype(np.float32)
    scores = np.linspace(1, 0, 1300, dtype=np.float32)
    kept = unpack(suppress(boxes, pack(np.ones((1300, 1), bool)), 0.5), 1)[:, 0]
    wanted = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5).numpy()
    assert np.flatnonzero(kept).tolist() == wanted.tolist() and 100 < kept.sum() < 1300


@given(seed=st.integers(0, 10**6), limit=st.integers(-1, 12))
def test_the_cut_keeps_the_first_of_each_setting(seed, limit):
    flags = np.random.RandomState(seed).rand(20, 67) < 0.5
    kept = unpack(keep_best(pack(flags), 67, limit), 67)
    for s in range(67):
        members = np.flatnonzero(flags[:, s])
        assert (
            np.flatnonzero(kept[:, s]).tolist()
            == (members if limit < 0 else members[:limit]).tolist()
        )
