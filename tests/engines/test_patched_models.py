"""Models of real detectron2 that the patch refuses, and how it says so."""

import pytest
import torch
from random_models import random_model

from detectron2_patch.errors import InputError
from detectron2_patch.patch import patch_pyramid, patch_rpn

pytest.importorskip("detectron2", reason="needs real detectron2, which is not installed here")


@pytest.mark.parametrize("patch", [patch_pyramid, patch_rpn])
def test_a_patched_model_is_not_scripted(patch):
    from detectron2.export.torchscript import scripting_with_instances
    from detectron2.structures import Boxes

    fields = dict.fromkeys(("proposal_boxes", "pred_boxes"), Boxes)
    fields |= dict.fromkeys(("objectness_logits", "scores", "pred_classes"), torch.Tensor)
    engine = random_model()
    with pytest.raises(InputError, match="can't be scripted"), patch(engine.model, {"p2": 4}):
        scripting_with_instances(engine.model, fields)


def test_a_compiled_model_is_refused_before_it_runs_without_the_patch():
    model = random_model().model
    with pytest.raises(InputError, match="compiled before the patch"):
        with patch_pyramid(torch.compile(model, backend="eager"), {"p2": 4}):
            pass
    model.backbone.compile(backend="eager")
    with pytest.raises(InputError, match="compiled before the patch"):
        with patch_pyramid(model, {"p2": 4}):
            pass


def test_a_scripted_part_is_refused():
    model = random_model().model
    model.backbone = torch.jit.script(torch.nn.Identity())
    with pytest.raises(InputError, match="is scripted"), patch_pyramid(model, {"p2": 4}):
        pass


def test_no_level_stays_clean_in_silence():
    model = random_model().model
    model.proposal_generator.in_features = ["p2", "p3", "p4", "p5", "p6", "p7"]
    pixels = torch.zeros(3, 64, 64, dtype=torch.uint8)
    with pytest.raises(InputError, match="lacks p7"), patch_pyramid(model, {"p2": 4}):
        model([{"image": pixels}])
