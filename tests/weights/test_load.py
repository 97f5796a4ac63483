import logging
import pickle

import pytest
import torch

from detectron2_patch.errors import InputError
from detectron2_patch.weights import load_weights, read_checkpoint


def save(state, path):
    torch.save({"model": state}, path)
    return path


def test_a_whole_checkpoint_fills_the_model(tmp_path, small_model, caplog):
    source, target = small_model(), small_model()
    state = {
        **source.state_dict(),
        "pixel_mean": torch.zeros(3, 1, 1),
        "backbone.bottom_up.stem.conv1.norm.num_batches_tracked": torch.tensor(7),
        "proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4),
    }
    assert load_weights(target, save(state, tmp_path / "a.pth")) == []
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)
    assert not caplog.text


def test_ordinary_batch_norm_loads_frozen_ones(tmp_path, small_model):
    source, target = small_model(), small_model("MODEL.RESNETS.NORM", "BN")
    assert load_weights(target, save(source.state_dict(), tmp_path / "a.pth")) == []


def test_half_precision_is_cast(tmp_path, small_model):
    target = small_model()
    state = {k: v.half() for k, v in target.state_dict().items()}
    load_weights(target, save(state, tmp_path / "a.pth"))
    assert all(v.dtype == torch.float32 for v in target.state_dict().values())


def test_missing_tensors_are_named_and_counted(tmp_path, small_model):
    state = {k: v for k, v in small_model().state_dict().items() if "roi_heads" not in k}
    target = small_model()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(InputError, match=r"box_head.fc1.weight is missing.* and 5 more$"):
        load_weights(target, save(state, tmp_path / "a.pth"))
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_another_class_count_names_the_key_to_set(tmp_path, small_model):
    state = small_model("MODEL.ROI_HEADS.NUM_CLASSES", "5").state_dict()
    with pytest.raises(InputError, match=r"\(6, 8\).*\(4, 8\).* 5 classes: set .*NUM_CLASSES"):
        load_weights(small_model(), save(state, tmp_path / "a.pth"))


def test_another_width_gives_no_false_hint(tmp_path, small_model):
    state = small_model("MODEL.FPN.OUT_CHANNELS", "4").state_dict()
    with pytest.raises(InputError, match=r"fpn_lateral2.weight is \(4, 8, 1, 1\)") as refusal:
        load_weights(small_model(), save(state, tmp_path / "a.pth"))
    assert "NUM_CLASSES" not in str(refusal.value)


def test_a_new_class_count_starts_the_predictor_at_random(tmp_path, small_model, caplog):
    state = small_model("MODEL.ROI_HEADS.NUM_CLASSES", "5").state_dict()
    target = small_model()
    path = save(state, tmp_path / "a.pth")
    lacking = load_weights(target, path, require_all=False)
    assert lacking == [
        f"roi_heads.box_predictor.{name}"
        for name in ("cls_score.weight", "cls_score.bias", "bbox_pred.weight", "bbox_pred.bias")
    ]
    assert "4 of the model's" in caplog.text and "(6, 8) in the file" in caplog.text
    fc1 = "roi_heads.box_head.fc1.weight"
    assert torch.equal(target.state_dict()[fc1], state[fc1])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_what_is_not_finite_is_named(tmp_path, small_model, value):
    state = small_model().state_dict()
    state["roi_heads.box_head.fc2.bias"] = torch.full((8,), value, dtype=torch.float64)
    with pytest.raises(InputError, match="fc2.bias holds NaN or infinity"):
        load_weights(small_model(), save(state, tmp_path / "a.pth"))


def test_what_has_no_place_is_said(tmp_path, small_model, caplog):
    mask = {f"roi_heads.mask_head.mask_fcn{i}.weight": torch.zeros(1) for i in range(4)}
    with caplog.at_level(logging.WARNING):
        load_weights(
            small_model(), save({**small_model().state_dict(), **mask}, tmp_path / "a.pth")
        )
    assert "4 tensors have no place" in caplog.text and "mask_fcn2.weight …" in caplog.text


def test_a_caffe2_backbone_starts_a_training(tmp_path, small_model, caffe2_file):
    blobs = caffe2_file()
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(blobs, 2))
    target = small_model()
    head = target.roi_heads.box_head.fc1.weight.clone()
    lacking = load_weights(target, path, require_all=False)
    assert lacking and not any(name.startswith("backbone.bottom_up") for name in lacking)
    assert torch.equal(target.roi_heads.box_head.fc1.weight, head)
    bottom_up = target.backbone.bottom_up
    for tensor, blob in (
        (bottom_up.res3[0].shortcut.weight, "res3_0_branch1_w"),
        (bottom_up.res2[1].conv1.norm.weight, "res2_1_branch2a_bn_s"),
        (bottom_up.res5[2].conv3.norm.bias, "res5_2_branch2c_bn_b"),
        (bottom_up.stem.conv1.norm.bias, "res_conv1_bn_b"),
    ):
        assert torch.equal(tensor, torch.from_numpy(blobs[blob]))
    # folded: the norm subtracts nothing and divides by the root of 1
    assert torch.equal(bottom_up.stem.conv1.norm.running_mean, torch.zeros(4))
    assert torch.equal(bottom_up.stem.conv1.norm.running_var, torch.ones(4))
    with pytest.raises(InputError, match="missing.*backbone starts a training"):
        load_weights(small_model(), path)


def test_a_caffe2_detector_has_its_background_last(tmp_path, small_model, caffe2_file):
    content = caffe2_file("detector")
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps(content, 2))
    target, blobs = small_model(), content["blobs"]
    assert load_weights(target, path) == []
    predictor = target.roi_heads.box_predictor
    assert predictor.cls_score.bias.tolist() == blobs["cls_score_b"][[1, 2, 3, 0]].tolist()
    assert predictor.bbox_pred.bias.tolist() == blobs["bbox_pred_b"][4:].tolist()
    assert not any("momentum" in name for name in read_checkpoint(path))


def test_one_missing_statistic_is_not_taken_for_a_folded_norm(tmp_path, small_model):
    state = small_model().state_dict()
    del state["backbone.bottom_up.res2.0.conv1.norm.running_var"]
    with pytest.raises(InputError, match=r"res2.0.conv1.norm.running_var is missing$"):
        load_weights(small_model(), save(state, tmp_path / "a.pth"))


@pytest.mark.parametrize("part", ["backbone.bottom_up.", "backbone."])
def test_a_part_on_its_own_finds_its_place(tmp_path, small_model, part):
    whole, target = small_model().state_dict(), small_model()
    state = {k.removeprefix(part): v for k, v in whole.items() if k.startswith(part)}
    lacking = load_weights(target, save(state, tmp_path / "a.pth"), require_all=False)
    assert lacking == [name for name in whole if not name.startswith(part)]
    assert all(torch.equal(v, whole[k]) for k, v in target.state_dict().items() if part in k)


def test_a_name_that_many_places_end_in_takes_none(tmp_path, small_model):
    stem = "backbone.bottom_up.stem.conv1.norm.weight"
    state = {"norm.weight": torch.full((4,), 5.0), "stem.conv1.norm.weight": torch.full((4,), 3.0)}
    target = small_model()
    load_weights(target, save(state, tmp_path / "a.pth"), require_all=False)
    for name, tensor in target.state_dict().items():
        if name.endswith("norm.weight"):
            assert (tensor == (3.0 if name == stem else 1.0)).all()


def test_a_file_that_shares_nothing_is_refused_for_training_too(tmp_path, small_model):
    path = save({"x": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="missing.*holds no detector"):
        load_weights(small_model(), path, require_all=False)
