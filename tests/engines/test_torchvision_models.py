"""torchvision's own detectors in the built-in engine: what torchvision finds, patched and swept."""

import numpy as np
import pytest
import torch
from one_by_one import check_equal, random_settings
from torchvision.models import detection
from torchvision.transforms.functional import to_tensor
from torchvision_models import MODELS, make

from detectron2_patch.config import load_cfg
from detectron2_patch.data.images import read_image
from detectron2_patch.engines.choice import build_engine, check_config
from detectron2_patch.errors import InputError
from detectron2_patch.patch import patch_pyramid

P3_TO_P7 = ("p3", "p4", "p5", "p6", "p7")


def build(name, *opts):
    opts = ["INPUT.MIN_SIZE_TEST", "128", "MODEL.ROI_HEADS.NUM_CLASSES", "6", *opts]
    cfg = load_cfg(f"configs/torchvision/{name}_resnet50_fpn.yaml", opts)
    check_config("torchvision", cfg, training=False)
    return build_engine("torchvision", cfg, "cpu")


@pytest.fixture(scope="module", params=MODELS)
def pair(request, scenes, tmp_path_factory):
    """torchvision's model, and the engine on the file that torchvision saved of it."""
    path = scenes.image_path(scenes.images[0])
    model = make(request.param, 7, to_tensor(read_image(path, "RGB").copy()))
    file = tmp_path_factory.mktemp("saved") / f"{request.param}.pth"
    torch.save(model.state_dict(), file)
    engine = build(request.param)
    engine.load_weights(file)
    return model, engine


@torch.inference_mode()
def test_it_finds_what_torchvision_finds(pair, scenes):
    model, engine = pair
    compared = 0
    for image in scenes.images[:3]:
        path = scenes.image_path(image)
        (wanted,) = model([to_tensor(read_image(path, "RGB").copy())])
        known = wanted["labels"] > 0  # 0 is the background, which no dataset has
        found = engine.detect(engine.read(path))
        assert np.array_equal(found["boxes"], wanted["boxes"][known].numpy())
        assert np.array_equal(found["scores"], wanted["scores"][known].numpy())
        assert np.array_equal(found["classes"], wanted["labels"][known].numpy() - 1)
        compared += len(found["boxes"])
    assert compared > 60


def test_the_patch_and_one_pass(pair, scenes):
    _, engine = pair
    assert engine.levels == (P3_TO_P7 if engine.dense else ("p2", "p3", "p4", "p5", "p6"))
    one = engine.read(scenes.image_path(scenes.images[0]))
    clean = engine.detect(one)
    scopes = ["pyramid"] if engine.dense else ["rpn", "pyramid"]
    for scope in scopes:
        with patch_pyramid(engine, dict.fromkeys(engine.levels[:2], 8), scope) as patch:
            assert not np.array_equal(engine.detect(one)["boxes"], clean["boxes"])
        assert patch.calls == 1
    settings = random_settings(engine.levels, scopes, 3)
    assert check_equal(engine, scenes, settings) > 50


def test_frozen_norms_are_told_by_the_file(tmp_path):
    """Of a file without counters norms were frozen; torchvision's own of COCO have no epsilon."""
    names = {"fasterrcnn": 0.0, "fcos": 1e-5}
    for name, epsilon in names.items():
        model = build(name, "MODEL.ROI_HEADS.NUM_CLASSES", "80").model
        state = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
        torch.save(state, tmp_path / "frozen.pth")
        engine = build(name, "MODEL.ROI_HEADS.NUM_CLASSES", "80")
        engine.load_weights(tmp_path / "frozen.pth")
        assert engine.model.backbone.body.bn1.eps == epsilon
        assert not any("num_batches" in key for key in engine.model.state_dict())


def test_cocos_91_outputs_are_80_classes():
    engine = build("fcos", "MODEL.ROI_HEADS.NUM_CLASSES", "80")
    names = detection.FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    found = engine.contiguous(np.arange(91))  # a dense model's are torchvision's labels
    assert [names[i] for i in np.flatnonzero(found >= 0)][:12][-1] == "stop sign"  # COCO's id 13
    assert found[13] == 11 and found[12] == -1 and found[0] == -1
    assert sorted(found[found >= 0]) == list(range(80))


@pytest.mark.parametrize(
    "opts, named",
    [
        (["MODEL.RESNETS.DEPTH", "101"], "MODEL.RESNETS.DEPTH"),
        (["TEST.DETECTIONS_PER_IMAGE", "50"], "DETECTIONS_PER_IMAGE"),
        (["INPUT.MIN_SIZE_TEST", "0"], "MIN_SIZE_TEST"),
    ],
)
def test_keys_that_it_does_not_have_are_refused(opts, named):
    with pytest.raises(InputError, match=named):
        build("retinanet", *opts)


def test_it_is_not_trained():
    cfg = load_cfg("configs/torchvision/fcos_resnet50_fpn.yaml")
    with pytest.raises(InputError, match="not trained"):
        check_config("torchvision", cfg, training=True)
