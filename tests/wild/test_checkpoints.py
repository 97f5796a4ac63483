"""Checkpoints as others write them."""

import numpy as np
import pytest
import torch

from detectron2_patch.errors import InputError
from detectron2_patch.weights import read_checkpoint


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.module."])
def test_a_wrapped_model_is_evaluated(call, tiny, engine, prefix):
    state = torch.load(tiny / "weights.pth")["model"]
    torch.save({"model": {f"{prefix}{k}": v for k, v in state.items()}}, tiny / "weights.pth")
    assert call("train_net", engine)[0] == 0


def test_a_wrong_checksum_is_refused(call, tiny, engine):
    content = bytearray((tiny / "weights.pth").read_bytes())
    tensor = next(iter(torch.load(tiny / "weights.pth")["model"].values()))
    content[content.index(tensor.numpy().tobytes())] ^= 1
    (tiny / "weights.pth").write_bytes(content)
    for tool in ("train_net", "sweep", "visualize"):
        status, line, _ = call(tool, engine)
        assert status == 2 and "wrong checksum" in line


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.module.", "module._orig_mod."])
def test_wrappings_are_taken_off(tmp_path, prefix):
    torch.save({f"{prefix}a.weight": torch.ones(2)}, tmp_path / "x.pth")
    assert list(read_checkpoint(tmp_path / "x.pth")) == ["a.weight"]


def test_a_numpy_number_is_told_as_such(tmp_path):
    torch.save({"model": {"a": torch.ones(2)}, "best": np.float64(3)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match="a NumPy number beside the tensors"):
        read_checkpoint(tmp_path / "x.pth")


def test_safetensors_are_told_as_such(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"\x08" + bytes(7) + b"{}      ")
    with pytest.raises(InputError, match="are safetensors"):
        read_checkpoint(tmp_path / "x.pth")


def test_torchvisions_own_detector_is_told_as_such(call, tiny, engine):
    torch.save({"backbone.body.conv1.weight": torch.ones(2)}, tiny / "weights.pth")
    status, line, _ = call("train_net", engine)
    assert status == 2 and "torchvision's own detector" in line


@pytest.mark.parametrize("key", ["ema", "ema_state", "model_ema", "averaged_model"])
def test_a_moving_average_beside_the_model_is_told_once(call, tiny, engine, key):
    content = torch.load(tiny / "weights.pth")
    torch.save({**content, key: content["model"]}, tiny / "weights.pth")
    status, _, told = call("train_net", engine)
    assert status == 0 and told.count(f"moving average beside the model, {key!r}") == 1


@pytest.mark.parametrize("key", ["state_dict", "ema_state"])
def test_tensors_under_another_name_are_told_as_such(call, tiny, engine, key):
    torch.save({key: torch.load(tiny / "weights.pth")["model"], "epoch": 3}, tiny / "weights.pth")
    for tool in ("train_net", "visualize"):
        status, line, _ = call(tool, engine)
        assert status == 2 and f"hold tensors under '{key}' and nothing under 'model'" in line
