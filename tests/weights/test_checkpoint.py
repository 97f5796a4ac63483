import collections
import os
import pickle

import numpy as np
import pytest
import torch

from detectron2_patch.errors import InputError
from detectron2_patch.weights import read_checkpoint

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0])}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s, "iteration": 7, "optimizer":
                                                          {"state": {0: {"step": 1}}}}])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files(tmp_path, wrap, legacy):
    path = tmp_path / "a.pth"
    torch.save(wrap(STATE), path, _use_new_zipfile_serialization=not legacy)
    assert same(read_checkpoint(path), STATE)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_zoo_pickles(tmp_path, protocol):
    path = tmp_path / "a.pkl"
    arrays = collections.OrderedDict((k, v.numpy()) for k, v in STATE.items())
    content = {"model": arrays, "__author__": "Detectron2 Model Zoo"}
    path.write_bytes(pickle.dumps(content, protocol))
    assert same(read_checkpoint(path), STATE)


def test_the_content_counts_and_not_the_ending(tmp_path):
    torch.save(STATE, tmp_path / "a.pkl")
    assert same(read_checkpoint(tmp_path / "a.pkl"), STATE)


def test_half_precision_keeps_its_type(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"model": {"w": np.ones(3, np.float16), "n": np.float32(2)}}))
    assert read_checkpoint(path)["w"].dtype == torch.float16


class Runs:
    """A pickle that runs a shell command when it is loaded."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("as_torch", [False, True])
@pytest.mark.parametrize("hidden", [lambda x: x, lambda x: {"model": {"w": x}}])
def test_a_pickle_that_runs_code_does_not_run(tmp_path, monkeypatch, as_torch, hidden):
    monkeypatch.chdir(tmp_path)
    evil = hidden(Runs(os.system, "touch ran"))
    if as_torch:
        torch.save(evil, "a.pth")
    else:
        (tmp_path / "a.pth").write_bytes(pickle.dumps(evil))
    with pytest.raises(InputError) as refusal:
        read_checkpoint("a.pth")
    assert "system" in str(refusal.value) and "\n" not in str(refusal.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("call", [getattr, eval, np.fromfile, np.load, print])
def test_other_globals_are_refused_by_name(tmp_path, call):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"model": Runs(call, "x")}))
    with pytest.raises(InputError, match=call.__name__):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", b"\x80\x05", b"PK\x03\x04 cut", pickle.dumps([1, 2]),
     pickle.dumps({}), pickle.dumps({"model": {"w": "text"}}), "half zip", "half pickle"],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "a.pth"
    torch.save(STATE, path)
    whole = path.read_bytes()
    if content == "half zip":
        content = whole[: len(whole) // 2]
    elif content == "half pickle":
        whole = pickle.dumps({"model": {"w": np.ones(100)}})
        content = whole[: len(whole) // 2]
    path.write_bytes(content)
    with pytest.raises(InputError, match="a.pth") as refusal:
        read_checkpoint(path)
    assert "\n" not in str(refusal.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(InputError, match=path.name):
            read_checkpoint(path)
