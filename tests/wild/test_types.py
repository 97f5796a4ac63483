"""Models of half precision under the patch, and models that are traced."""

import pytest
import torch
from torch import nn

from detectron2_patch.errors import InputError
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.setting import Setting


class Part(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, *args):
        return self.run(*args)


class Heads(nn.Module):
    """A detector whose heads say which types they were given."""

    def __init__(self):
        super().__init__()
        self.backbone = Part(self.maps)
        self.proposal_generator = Part(lambda images, features: features)

    @staticmethod
    def maps(image):
        sizes = zip(LEVELS, (32, 16, 8, 4, 2))
        return {
            level: image.mean() * torch.ones(1, 4, n, n, dtype=image.dtype) for level, n in sizes
        }

    def forward(self, image):
        return self.proposal_generator(image, self.backbone(image))["p2"]


WORDS = ["--cr 2 2 2 2 2", "--bits 4", "--send p3 p5", "--cr 2 2 2 2 2 --bits 2 --range channel"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scope", ["rpn", "pyramid"])
@pytest.mark.parametrize("words", WORDS)
def test_what_is_received_has_the_maps_own_type(words, scope, dtype):
    image = torch.full((1, 3, 8, 8), 0.5, dtype=dtype)
    model = Heads()
    with patch_pyramid(model, Setting.parse(f"{words} --scope {scope}")):
        assert model(image).dtype == dtype


@pytest.mark.parametrize("scope", ["rpn", "pyramid"])
def test_tracing_under_the_patch_is_refused(scope):
    model = Heads()
    with patch_pyramid(model, {"p2": 2}, scope, must_run=False):
        with pytest.raises(InputError, match="can't be traced"):
            torch.jit.trace(model, torch.ones(1, 3, 8, 8))
