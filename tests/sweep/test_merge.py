import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.rcnn.rpn import RPN
from detectron2_patch.rcnn.structures import Proposals
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.sweep.merge import common_order, prefix_lengths


@given(data=st.data())
def test_equals_the_rpns_own_merge_ties_included(data):
    """Random lists of few distinct logits, two treatments a level, every choice of them."""
    treatments = 2
    logits = [
        torch.tensor(sorted(values, reverse=True), dtype=torch.float32)
        for values in data.draw(
            st.lists(
                st.lists(st.integers(-3, 3), max_size=6),
                min_size=5 * treatments,
                max_size=5 * treatments,
            )
        )
    ]
    topk = data.draw(st.integers(1, 20))
    rpn = RPN.__new__(RPN)
    torch.nn.Module.__init__(rpn)
    rpn.cfg = type("cfg", (), {"POST_NMS_TOPK_TEST": topk})
    rpn.eval()

    flat = torch.cat(logits).numpy()
    list_of = np.repeat(np.arange(len(logits)), [len(one) for one in logits])
    rank = np.concatenate([np.arange(len(one)) for one in logits])
    order = common_order(flat)
    choices = np.array(np.meshgrid(*[range(treatments)] * 5)).reshape(5, -1).T
    choices = choices + treatments * np.arange(5)
    lengths = prefix_lengths(list_of[order], len(logits), choices, topk)

    for choice, prefix in zip(choices, lengths):
        parts = [  # a box that names its list and rank
            Proposals(
                torch.tensor(
                    [[one, k, 0, 0] for k in range(len(logits[one]))], dtype=torch.float32
                ).reshape(-1, 4),
                logits[one],
            )
            for one in choice.tolist()
        ]
        wanted = rpn.merge(parts).boxes[:, :2].to(torch.int64).tolist()
        taken = dict(zip(choice.tolist(), prefix.tolist()))
        found = [
            [int(list_of[i]), int(rank[i])]
            for i in order
            if rank[i] < taken.get(int(list_of[i]), 0)
        ]
        assert found == wanted
    assert len(LEVELS) == choices.shape[1]
