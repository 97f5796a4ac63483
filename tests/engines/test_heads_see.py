"""Which maps the heads read in each scope, on the real models of both engines."""

import numpy as np
import pytest
import torch

from detectron2_patch.config import load_cfg
from detectron2_patch.engines.base import NetworkInput
from detectron2_patch.engines.choice import build_engine
from detectron2_patch.patch import patch_rpn
from detectron2_patch.settings.levels import LEVELS

DAMAGE = dict.fromkeys(LEVELS, 2)


@pytest.fixture(params=["torchvision", "detectron2"])
def engine(request, tiny_opts):
    if request.param == "detectron2":
        request.getfixturevalue("detectron2")
    torch.manual_seed(0)
    cfg = load_cfg("configs/demo.yaml", [*tiny_opts, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"])
    return build_engine(request.param, cfg, "cpu")


@pytest.mark.parametrize("scope", ["rpn", "pyramid"])
def test_which_maps_the_heads_saw_and_no_trace(engine, scope):
    pixels = torch.rand(3, 128, 160, generator=torch.Generator().manual_seed(0)) * 255
    model, image = engine.model, NetworkInput(pixels, (128, 160))
    before, state = engine.detect(image), trace(model)
    assert len(before["scores"])
    saw = {}
    handles = [
        model.backbone.register_forward_hook(
            lambda module, args, output: saw.__setitem__("clean", output)  # before the patch's hook
        )
    ]
    with patch_rpn(model, DAMAGE, scope):
        for head in ("proposal_generator", "roi_heads"):  # after it
            handles.append(
                getattr(model, head).register_forward_pre_hook(
                    lambda module, args, head=head: saw.__setitem__(head, args[1])
                )
            )
        engine.detect(image)
    for handle in handles:
        handle.remove()
    clean = saw["clean"]
    for level in LEVELS:
        assert not torch.equal(saw["proposal_generator"][level], clean[level]), level
        assert torch.equal(saw["roi_heads"][level], clean[level]) == (scope == "rpn"), level
        if scope == "pyramid":
            assert torch.equal(saw["roi_heads"][level], saw["proposal_generator"][level]), level
    with pytest.raises(KeyError), patch_rpn(model, DAMAGE, scope):
        raise KeyError("from inside")
    assert trace(model) == state
    after = engine.detect(image)
    assert all(np.array_equal(before[key], after[key]) for key in before)


def trace(model):
    """All that a patch could leave on a model: hooks, and attributes of its modules."""
    return [
        (
            name,
            id(vars(module).get("forward")),
            sorted(vars(module)),
            list(module._forward_hooks),
            list(module._forward_pre_hooks),
        )
        for name, module in model.named_modules()
    ]
