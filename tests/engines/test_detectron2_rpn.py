"""The origin's own code, written out, beside the patch inside real detectron2."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detectron2_patch.patch import patch_rpn
from detectron2_patch.settings.levels import LEVELS


@pytest.fixture(scope="module")
def engine(tiny_engine):
    return tiny_engine()


@torch.no_grad()
def origin_forward(rpn, images, features, compress_ratios):
    """The fork's ``RPN.forward`` at inference: its degradation, then detectron2's own lines."""
    features = [features[f] for f in rpn.in_features]
    compressed = []
    for feature, ratio in zip(features, compress_ratios):
        if ratio != 1:
            h, w = feature.shape[-2:]
            feature = F.interpolate(feature, (int(h // ratio), int(w // ratio)), mode="bilinear")
            feature = F.interpolate(feature, (h, w), mode="bilinear")
        compressed.append(feature)
    features = compressed
    anchors = rpn.anchor_generator(features)
    logits, deltas = rpn.rpn_head(features)
    logits = [score.permute(0, 2, 3, 1).flatten(1) for score in logits]
    deltas = [
        x.view(x.shape[0], -1, rpn.anchor_generator.box_dim, x.shape[-2], x.shape[-1])
        .permute(0, 3, 4, 1, 2)
        .flatten(1, -2)
        for x in deltas
    ]
    return rpn.predict_proposals(anchors, logits, deltas, images.image_sizes)


@pytest.mark.parametrize("seed", range(5))
@torch.no_grad()
def test_the_patch_proposes_what_the_origin_does(engine, seed):
    generator = np.random.default_rng(seed)
    ratios = generator.choice([1, 1.5, 2, 3, 4, 5.7, 8], 5).tolist()
    ratios[4] = min(ratios[4], 4)  # the origin fails where a map is smaller than its ratio
    model = engine.model
    pixels = torch.from_numpy(generator.integers(0, 256, (3, 320, 256), dtype=np.uint8))
    images = model.preprocess_image([{"image": pixels}])
    features = model.backbone(images.tensor)
    (wanted,) = origin_forward(model.proposal_generator, images, features, ratios)

    seen = []
    handle = model.proposal_generator.register_forward_hook(
        lambda module, args, output: seen.append(output[0][0])
    )
    with patch_rpn(model, dict(zip(LEVELS, ratios))):
        model([{"image": pixels}])
    handle.remove()
    (found,) = seen
    assert len(found) == len(wanted) > 100
    assert torch.equal(found.proposal_boxes.tensor, wanted.proposal_boxes.tensor)
    assert torch.equal(found.objectness_logits, wanted.objectness_logits)
    (clean,) = origin_forward(model.proposal_generator, images, features, [1] * 5)
    assert not torch.equal(found.objectness_logits, clean.objectness_logits)


def test_any_subclass_of_the_rpn_is_patched(engine):
    kind = type(engine.model.proposal_generator)
    ran = []

    class Subclass(kind):
        def forward(self, images, features, gt_instances=None):
            ran.append(features)
            return super().forward(images, features, gt_instances)

    pixels = torch.zeros(3, 64, 64, dtype=torch.uint8)
    engine.model.proposal_generator.__class__ = Subclass
    try:
        with torch.no_grad(), patch_rpn(engine.model, {"p2": 4}) as patch:
            engine.model.eval()([{"image": pixels}])
    finally:
        engine.model.proposal_generator.__class__ = kind
    assert len(ran) == patch.calls == 1
