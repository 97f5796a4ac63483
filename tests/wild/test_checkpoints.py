"""Checkpoints as others write them."""

import os
import zipfile

import numpy as np
import pytest
import torch

from detectron2_patch.errors import InputError
from detectron2_patch.weights import read_checkpoint


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.module.", "model."])
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


@pytest.mark.parametrize("value", [np.arange(3), np.random.get_state()])
def test_a_numpy_array_is_told_as_such(tmp_path, value):
    torch.save({"model": {"a": torch.ones(2)}, "best": value}, tmp_path / "x.pth")
    with pytest.raises(InputError, match="a NumPy array beside the tensors"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("length", [8, ord("("), ord("c"), 0x80])  # the last three begin a pickle
def test_safetensors_are_told_as_such(tmp_path, length):
    (tmp_path / "x.pth").write_bytes(bytes([length]) + bytes(7) + b"{}      ")
    with pytest.raises(InputError, match="are safetensors"):
        read_checkpoint(tmp_path / "x.pth")


def archive(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, "x")

    return write


OTHERS = {
    "TorchScript": (
        archive("x/data.pkl", "x/constants.pkl", "x/code/a.py"),
        "a TorchScript program",
    ),
    "NumPy's archive": (archive("a.npy"), "a zip file and no checkpoint of torch, but hold a.npy"),
    "a zip of the file": (archive("weights.pth"), "but hold weights.pth"),
    "Git LFS": (
        lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        "Git LFS's pointer",
    ),
    "a newer pickle": (
        lambda path: torch.save({"model": {"a": torch.ones(2)}}, path, pickle_protocol=5),
        "newer pickle protocol",
    ),
    "whole numbers": (lambda path: torch.save({"a.weight": torch.ones(2).int()}, path), "int32"),
    "complex": (lambda path: torch.save({"a": torch.ones(2) * 1j}, path), "complex64"),
    "sparse": (lambda path: torch.save({"a": torch.eye(2).to_sparse()}, path), "sparse"),
    "meta": (lambda path: torch.save({"a": torch.ones(2, device="meta")}, path), "without values"),
}


def test_a_folder_whose_name_is_no_text_holds_checkpoints_as_any(tmp_path):
    folder = tmp_path / os.fsdecode(b"w\xff")
    try:
        folder.mkdir()
    except (OSError, ValueError):
        pytest.skip("no such names here")
    torch.save({"model": {"a.weight": torch.ones(2)}}, folder / "x.pth")
    assert list(read_checkpoint(folder / "x.pth")) == ["a.weight"]


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_detector_is_told_in_one_line(call, tiny, engine, kind):
    OTHERS[kind][0](tiny / "weights.pth")
    status, line, told = call("train_net", engine)
    assert status == 2 and OTHERS[kind][1] in line and "UserWarning" not in told


def test_two_models_in_one_state_are_named(call, tiny, engine):
    state = torch.load(tiny / "weights.pth")["model"]
    both = {f"{who}.{name}": one for who in ("teacher", "student") for name, one in state.items()}
    torch.save({"model": both}, tiny / "weights.pth")
    status, line, told = call("train_net", engine)
    assert status == 2 and "its names begin with 'teacher.' or 'student.'" in line
    assert "{bias, weight}" not in told  # detectron2 would list every name


def test_torchvisions_own_detector_is_told_as_such(call, tiny, engine):
    torch.save({"backbone.body.conv1.weight": torch.ones(2)}, tiny / "weights.pth")
    status, line, _ = call("train_net", engine)
    assert status == 2 and "torchvision's own detector" in line


@pytest.mark.parametrize("key", ["ema", "ema_state", "model_ema", "averaged_model", "modelEMA"])
def test_a_moving_average_beside_the_model_is_told_once(call, tiny, engine, key):
    content = torch.load(tiny / "weights.pth")
    torch.save({**content, key: content["model"]}, tiny / "weights.pth")
    status, _, told = call("train_net", engine)
    assert status == 0 and told.count(f"moving average beside the model, {key!r}") == 1


def test_what_an_average_was_made_by_is_none(call, tiny, engine):
    content = torch.load(tiny / "weights.pth")
    content |= {"ema_decay": 0.999, "ema_updates": torch.tensor([1, 2]), "ema": None}
    torch.save(content, tiny / "weights.pth")
    status, _, told = call("train_net", engine)
    assert status == 0 and "moving average" not in told


def test_an_average_within_another_dict_is_told_with_its_place(call, tiny):
    content = torch.load(tiny / "weights.pth")
    torch.save({**content, "ema": {"module": content["model"]}}, tiny / "weights.pth")
    assert "torch.load(FILE)['ema']['module']" in call("train_net")[2]


def test_a_lone_number_beside_the_tensors_hides_no_state(call, tiny, engine):
    state = torch.load(tiny / "weights.pth")["model"]
    for content, place in (
        ({"model_state_dict": state, "loss": torch.tensor(1.0)}, "['model_state_dict']"),
        ({"model": {"state_dict": state}}, "['model']['state_dict']"),
    ):
        torch.save(content, tiny / "weights.pth")
        status, line, _ = call("train_net", engine)
        assert status == 2 and f"torch.load(FILE){place}" in line


@pytest.mark.parametrize("key", ["state_dict", "ema_state"])
def test_tensors_under_another_name_are_told_as_such(call, tiny, engine, key):
    torch.save({key: torch.load(tiny / "weights.pth")["model"], "epoch": 3}, tiny / "weights.pth")
    for tool in ("train_net", "visualize"):
        status, line, _ = call(tool, engine)
        assert status == 2 and f"hold tensors under '{key}' and nothing under 'model'" in line
