import logging
import pickle

import numpy as np
import pytest
import torch

from detectron2_patch.config import load_cfg
from detectron2_patch.errors import InputError
from detectron2_patch.rcnn.model import FasterRCNN
from detectron2_patch.weights import load_weights

R50 = "configs/COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
SMALL = ["MODEL.RESNETS.STEM_OUT_CHANNELS", "4", "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
         "MODEL.RESNETS.WIDTH_PER_GROUP", "2", "MODEL.FPN.OUT_CHANNELS", "8",
         "MODEL.ROI_BOX_HEAD.FC_DIM", "8", "MODEL.ROI_HEADS.NUM_CLASSES", "3"]


def model(*opts):
    return FasterRCNN(load_cfg(R50, [*SMALL, *opts]))


def save(state, path):
    torch.save({"model": state}, path)
    return path


def caffe2_backbone(generator):
    """An ImageNet file as Caffe2 wrote it: folded norms, and a classifier no detector needs."""
    blobs = {"conv1_w": (4, 3, 7, 7), "res_conv1_bn_s": (4,), "res_conv1_bn_b": (4,),
             "fc1000_w": (10, 64), "fc1000_b": (10,)}
    channels = 4
    for stage, (depth, width, out) in enumerate(
        zip((3, 4, 6, 3), (2, 4, 8, 16), (8, 16, 32, 64)), start=2
    ):
        for number in range(depth):
            shapes = {"branch2a": (width, channels, 1, 1), "branch2b": (width, width, 3, 3),
                      "branch2c": (out, width, 1, 1)}
            if number == 0:
                shapes["branch1"] = (out, channels, 1, 1)
            for branch, shape in shapes.items():
                blobs[f"res{stage}_{number}_{branch}_w"] = shape
                blobs[f"res{stage}_{number}_{branch}_bn_s"] = shape[:1]
                blobs[f"res{stage}_{number}_{branch}_bn_b"] = shape[:1]
            channels = out
    return {k: generator.rand(*s).astype(np.float32) for k, s in blobs.items()}


def test_a_whole_checkpoint_fills_the_model(tmp_path):
    source, target = model(), model()
    state = {**source.state_dict(), "pixel_mean": torch.zeros(3, 1, 1),
             "proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4)}
    assert load_weights(target, save(state, tmp_path / "a.pth")) == []
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_half_precision_is_cast(tmp_path):
    target = model()
    state = {k: v.half() for k, v in target.state_dict().items()}
    load_weights(target, save(state, tmp_path / "a.pth"))
    assert all(v.dtype == torch.float32 for v in target.state_dict().values())


def test_missing_tensors_are_named_and_counted(tmp_path):
    state = {k: v for k, v in model().state_dict().items() if "roi_heads" not in k}
    with pytest.raises(InputError, match=r"box_head.fc1.weight is missing.* and 5 more"):
        load_weights(model(), save(state, tmp_path / "a.pth"))


def test_another_class_count_names_the_key_to_set(tmp_path):
    state = model("MODEL.ROI_HEADS.NUM_CLASSES", "5").state_dict()
    with pytest.raises(InputError, match=r"\(6, 8\).*\(4, 8\).*NUM_CLASSES"):
        load_weights(model(), save(state, tmp_path / "a.pth"))


def test_nan_is_named(tmp_path):
    state = model().state_dict()
    state["roi_heads.box_head.fc2.bias"][0] = float("nan")
    with pytest.raises(InputError, match="fc2.bias"):
        load_weights(model(), save(state, tmp_path / "a.pth"))


def test_what_has_no_place_is_said(tmp_path, caplog):
    state = {**model().state_dict(), "roi_heads.mask_head.deconv.weight": torch.zeros(1)}
    with caplog.at_level(logging.WARNING):
        load_weights(model(), save(state, tmp_path / "a.pth"))
    assert "1 tensors have no place" in caplog.text and "mask_head" in caplog.text


def test_a_caffe2_backbone_starts_a_training(tmp_path):
    blobs = caffe2_backbone(np.random.RandomState(0))
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(blobs, 2))
    target = model()
    head = target.roi_heads.box_head.fc1.weight.clone()
    lacking = load_weights(target, tmp_path / "R-50.pkl", require_all=False)
    assert not any(name.startswith("backbone.bottom_up") for name in lacking)
    assert torch.equal(target.roi_heads.box_head.fc1.weight, head)
    bottom_up = target.backbone.bottom_up
    wanted = torch.from_numpy(blobs["res3_0_branch1_w"])
    assert torch.equal(bottom_up.res3[0].shortcut.weight, wanted)
    wanted = torch.from_numpy(blobs["res2_1_branch2a_bn_s"])
    assert torch.equal(bottom_up.res2[1].conv1.norm.weight, wanted)
    assert torch.equal(bottom_up.stem.conv1.norm.running_var, torch.ones(4))
    with pytest.raises(InputError, match="missing"):
        load_weights(model(), tmp_path / "R-50.pkl")


def test_a_bare_backbone_finds_its_place(tmp_path):
    source = model()
    state = source.backbone.bottom_up.state_dict()
    lacking = load_weights(target := model(), save(state, tmp_path / "a.pth"), require_all=False)
    assert lacking and not any("bottom_up" in name for name in lacking)
    wanted = source.backbone.bottom_up.res4[2].conv2.weight
    assert torch.equal(target.backbone.bottom_up.res4[2].conv2.weight, wanted)


def test_a_file_that_shares_nothing_is_refused_for_training_too(tmp_path):
    with pytest.raises(InputError, match="missing"):
        load_weights(model(), save({"x": torch.zeros(1)}, tmp_path / "a.pth"), require_all=False)


@pytest.mark.parametrize("kind", ["zoo", "caffe2", "torchvision", "training"])
def test_loads_what_detectron2_loads(tmp_path, kind):
    pytest.importorskip(
        "detectron2", reason="compares with real detectron2, which is not installed here"
    )
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    cfg = get_cfg()
    cfg.merge_from_file(R50)
    cfg.merge_from_list([*SMALL, "MODEL.DEVICE", "cpu"])
    theirs, ours = build_model(cfg), model()
    path = tmp_path / ("a.pth" if kind == "training" else "a.pkl")
    arrays = {k: np.random.rand(*v.shape).astype("float32") for k, v in ours.state_dict().items()}
    if kind == "training":
        source = build_model(cfg)
        DetectionCheckpointer(source, str(tmp_path)).save("a", iteration=3)
    elif kind == "zoo":
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
    elif kind == "caffe2":
        path.write_bytes(pickle.dumps(caffe2_backbone(np.random.RandomState(1)), 2))
    else:
        prefix = "backbone.bottom_up."
        part = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        content = {"model": part, "__author__": "torchvision", "matching_heuristics": True}
        path.write_bytes(pickle.dumps(content))
    DetectionCheckpointer(theirs).load(str(path))
    load_weights(ours, path, require_all=False)
    whole = kind in ("zoo", "training")
    wanted = theirs.state_dict()
    compared = [k for k in ours.state_dict() if whole or "bottom_up" in k]
    assert len(compared) > 200
    for name in compared:
        assert torch.equal(ours.state_dict()[name], wanted[name]), name
