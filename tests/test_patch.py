import math

import pytest
import torch
from degrading import degrade
from torch import nn

from detectron2_patch.codec.bitstream import unpack
from detectron2_patch.codec.fitted import Fitted, backbone_digest
from detectron2_patch.codec.fitting import fit
from detectron2_patch.codec.transmission import receive_pyramid, send_pyramid
from detectron2_patch.errors import InputError
from detectron2_patch.patch import patch_pyramid, patch_rpn
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.settings.setting import Setting

RATIOS = {"p2": 2.0, "p3": 4.0, "p4": 8.0, "p5": 4.0, "p6": 2.0}


class Backbone(nn.Module):
    def forward(self, images):
        return {f"p{i}": images[:, :, :: 2**i, :: 2**i] for i in range(2, 7)}


class Reader(nn.Module):
    """A head that remembers the maps it was given."""

    def forward(self, images, features, *rest):
        self.saw = features
        return [], {}


class Detector(nn.Module):
    """The parts and calls of detectron2's GeneralizedRCNN."""

    def __init__(self, by_keyword=False):
        super().__init__()
        self.backbone, self.proposal_generator, self.roi_heads = Backbone(), Reader(), Reader()
        self.by_keyword = by_keyword

    def forward(self, images):
        features = self.backbone(images)
        if self.by_keyword:
            self.proposal_generator(images, features=features)
        else:
            self.proposal_generator(images, features, None)
        self.roi_heads(images, features, [], None)
        return features


@pytest.fixture(params=[False, True], ids=["positional", "keyword"])
def model(request):
    return Detector(request.param)


def images():
    return torch.rand(2, 3, 256, 320, generator=torch.Generator().manual_seed(0))


def same(a, b):
    return all(torch.equal(a[level], b[level]) for level in LEVELS)


def hooks(model):
    return [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]


def test_scope_rpn_leaves_clean_maps_to_the_box_head(model):
    clean = Backbone()(images())
    wanted = {level: degrade(x, RATIOS[level]) for level, x in clean.items()}
    with patch_rpn(model, RATIOS):
        model(images())
    assert same(model.proposal_generator.saw, wanted)
    assert same(model.roi_heads.saw, clean)


def test_scope_pyramid_gives_both_heads_the_same_degraded_maps(model):
    clean = Backbone()(images())
    wanted = {level: degrade(x, RATIOS[level]) for level, x in clean.items()}
    with patch_rpn(model, RATIOS, scope="pyramid"):
        model(images())
    assert same(model.proposal_generator.saw, wanted)
    assert same(model.roi_heads.saw, wanted)


@pytest.mark.parametrize("scope", ["rpn", "pyramid"])
def test_leaves_no_trace_even_after_an_exception(model, scope):
    state = dict(vars(model))
    with patch_rpn(model, RATIOS, scope):
        assert hooks(model)
        model(images())
    with pytest.raises(KeyError), patch_rpn(model, RATIOS, scope):
        raise KeyError("from inside")
    assert not hooks(model) and dict(vars(model)) == state
    model(images())
    assert same(model.proposal_generator.saw, Backbone()(images()))


def test_touches_one_instance_only(model):
    other = Detector()
    with patch_rpn(model, {"p2": 8}):
        model(images())
        other(images())
    assert same(other.proposal_generator.saw, Backbone()(images()))


def test_a_patch_within_another_degrades_what_that_one_left(model):
    with patch_rpn(model, {"p2": 2}), patch_rpn(model, {"p3": 2}):
        model(images())
    clean = Backbone()(images())
    assert torch.equal(model.proposal_generator.saw["p2"], degrade(clean["p2"], 2))
    assert torch.equal(model.proposal_generator.saw["p3"], degrade(clean["p3"], 2))
    assert not hooks(model)


@pytest.mark.parametrize("scope", ["rpn", "pyramid"])
def test_a_patch_that_never_ran_is_loud(model, scope):
    with pytest.raises(RuntimeError, match="never ran"), patch_rpn(model, RATIOS, scope):
        pass


def test_counts_the_elements_it_keeps(model):
    with patch_rpn(model, {"p2": 4, "p5": math.inf}, "pyramid") as patch:
        model(images())
        model(images())
    assert patch.calls == 2
    full = {level: 2 * x.numel() for level, x in Backbone()(images()).items()}
    assert patch.traffic.full == full
    assert patch.traffic.sent["p2"] == full["p2"] // 16
    assert patch.traffic.sent["p5"] == 2 * 2 * 3  # two calls of two images, three channels
    assert patch.traffic.sent["p3"] == full["p3"]


def test_refuses_what_it_cannot_patch(model):
    with pytest.raises(InputError, match="no backbone"), patch_rpn(Backbone(), {}):
        pass
    with pytest.raises(InputError, match="'both'"), patch_rpn(model, {}, "both"):
        pass
    model.backbone.forward = lambda images: {"p3": images}
    with pytest.raises(InputError, match="lacks p2"), patch_rpn(model, {}):
        model(images())


def test_bits_cross_a_real_wire(model):
    """Both heads read what was decoded from the bytes that are counted."""
    treatments, clean = parse_setting(send=["p3", "p5"], bits=["4"]), model.backbone(images())
    with patch_rpn(model, treatments, "pyramid") as patch:
        model(images())
    total = dict.fromkeys(LEVELS, 0)
    for number in range(2):
        one = {level: x[number] for level, x in clean.items()}
        data = send_pyramid(one, treatments, (256, 320))
        received = receive_pyramid(data, treatments)
        for head in (model.proposal_generator, model.roi_heads):
            assert all(torch.equal(head.saw[level][number], received[level]) for level in LEVELS)
        for level, stream in unpack(data).streams.items():
            total[level] += len(stream)
    assert patch.traffic.nbytes == total and total["p2"] == 0 < total["p5"] < total["p3"]
    assert patch.traffic.images == 2


def test_bits_in_scope_rpn_leave_the_box_head_clean_maps(model):
    clean = model.backbone(images())
    with patch_rpn(model, parse_setting(bits=["2"]), "rpn") as patch:
        model(images())
    assert same(model.roi_heads.saw, clean) and not same(model.proposal_generator.saw, clean)
    assert sum(patch.traffic.nbytes.values()) == 0


def test_parts_that_were_fitted_to_another_detector_are_refused(model):
    model.backbone.register_buffer("weight", torch.ones(3))
    arrays = fit([{level: x[:1] for level, x in Backbone()(images()).items()}])
    parts = Fitted({"backbone": backbone_digest(model)}, arrays, sha256="ab")
    setting = Setting.parse("--send p2 p5 --restore fit", parts)
    assert setting.fitted == "ab"
    with patch_pyramid(model, setting, fitted=parts):
        model(images())
    other = Detector()
    other.backbone.register_buffer("weight", torch.zeros(3))
    for wrong, given, words in (
        (other, parts, "another detector"),
        (model, None, "--fitted FILE"),
        (model, "parts.npz", "parts.npz"),
        (model, 3, "read_fitted"),
        (model, Fitted(parts.meta, arrays, sha256="cd"), "the one that it names"),
    ):
        with pytest.raises(InputError, match=words):
            with patch_pyramid(wrong, setting, fitted=given):
                wrong(images())


def test_the_two_ways_to_patch_differ_in_their_scope_alone(model):
    for patch, scope in ((patch_rpn, "rpn"), (patch_pyramid, "pyramid")):
        with patch(model, {"p6": "max"}) as done:
            model(images())
        assert done.setting == Setting.of({"p6": math.inf}, scope)
        with patch(model, Setting(scope="pyramid")) as done:
            model(images())
        assert done.setting.scope == "pyramid"
    for wrong in (4, ["p6", 4]):
        with pytest.raises(InputError, match="no setting"):
            patch_rpn(model, wrong).__enter__()
