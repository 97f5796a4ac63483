"""Every kind of file gives the tensors that real detectron2 loads from it."""

import pickle

import numpy as np
import pytest
import torch

from detectron2_patch.weights import load_weights

pytest.importorskip("detectron2", reason="compares with real detectron2, not installed here")


@pytest.fixture
def config(small_config):
    from detectron2.config import get_cfg

    file, opts = small_config
    cfg = get_cfg()
    cfg.merge_from_file(file)
    cfg.merge_from_list([*opts, "MODEL.DEVICE", "cpu"])
    return cfg


def assert_same_after_loading(path, config, model, part=""):
    """Load ``path`` on both sides and compare the tensors whose names start with ``part``."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    theirs = build_model(config)
    DetectionCheckpointer(theirs).load(str(path))
    load_weights(model, path, require_all=not part)
    wanted = theirs.state_dict()
    compared = [name for name in model.state_dict() if name.startswith(part)]
    assert len(compared) > 200
    for name in compared:
        assert torch.equal(model.state_dict()[name], wanted[name]), name


def random_arrays(model, dtype="float32"):
    rng = np.random.default_rng(3)
    return {k: rng.random(v.shape).astype(dtype) for k, v in model.state_dict().items()}


@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_a_training_of_detectron2(tmp_path, config, small_model, norm):
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model
    from detectron2.solver import build_lr_scheduler, build_optimizer

    config.MODEL.RESNETS.NORM = norm
    source = build_model(config)
    optimizer = build_optimizer(config, source)
    scheduler = build_lr_scheduler(config, optimizer)
    for parameter in source.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()  # momentum
    scheduler.step()
    scaler = torch.amp.GradScaler("cpu")
    DetectionCheckpointer(
        source, str(tmp_path), optimizer=optimizer, scheduler=scheduler, grad_scaler=scaler
    ).save("model_0000002", iteration=2)
    assert_same_after_loading(
        tmp_path / "model_0000002.pth", config, small_model("MODEL.RESNETS.NORM", norm)
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_of_the_zoo(tmp_path, config, small_model, dtype, prefix):
    model, path = small_model(), tmp_path / "model_final.pkl"
    named = {prefix + k: v for k, v in random_arrays(model, dtype).items()}
    path.write_bytes(pickle.dumps({"model": named, "__author__": "Detectron2 Model Zoo"}))
    assert_same_after_loading(path, config, model)


@pytest.mark.parametrize("kind", ["folded", "statistics"])
@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_a_caffe2_backbone(tmp_path, config, small_model, caffe2_file, kind, norm):
    config.MODEL.RESNETS.NORM = norm
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(caffe2_file(kind), 2))
    model = small_model("MODEL.RESNETS.NORM", norm)
    assert_same_after_loading(path, config, model, "backbone.bottom_up.")


def test_a_converted_caffe2_backbone(tmp_path, config, small_model, caffe2_file):
    path = tmp_path / "R-50.pkl"
    content = {"model": caffe2_file(), "__author__": "Caffe2", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(content))
    assert_same_after_loading(path, config, small_model(), "backbone.bottom_up.")


def test_a_caffe2_detector(tmp_path, config, small_model, caffe2_file):
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps(caffe2_file("detector"), 2))
    assert_same_after_loading(path, config, small_model())


@pytest.mark.parametrize("kind", ["masks", "masks, older"])
def test_a_caffe2_detector_with_masks(tmp_path, config, small_model, caffe2_file, kind):
    opts = ["MODEL.MASK_ON", "True", "MODEL.ROI_MASK_HEAD.NUM_CONV", "2"]
    opts += [
        "MODEL.ROI_MASK_HEAD.CONV_DIM",
        "8",
        "MODEL.ROI_MASK_HEAD.NAME",
        "MaskRCNNConvUpsampleHead",
    ]
    config.merge_from_list(opts)
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps(caffe2_file(kind), 2))
    model = small_model(*opts)
    assert_same_after_loading(path, config, model)
    assert model.roi_heads.mask_head.predictor.bias.shape == (3,)


def test_a_torchvision_backbone(tmp_path, config, small_model):
    model, path, part = small_model(), tmp_path / "R-50.pkl", "backbone.bottom_up."
    named = {k.removeprefix(part): v for k, v in random_arrays(model).items() if k.startswith(part)}
    named["stem.fc.weight"] = np.zeros((10, 64), np.float32)
    named["stem.conv1.norm.num_batches_tracked"] = np.array(5)
    content = {"model": named, "__author__": "torchvision", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(content))
    assert_same_after_loading(path, config, model, part)
