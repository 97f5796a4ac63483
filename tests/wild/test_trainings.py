"""Trainings that are resumed from damaged files, or that can't be done."""

import errno
import os

import pytest
import torch

from detectron2_patch.config import load_cfg
from detectron2_patch.errors import InputError
from detectron2_patch.rcnn.model import FasterRCNN
from detectron2_patch.training import checkpoints


@pytest.fixture
def resume(train_net, command, tiny, tmp_path, capsys, engine):
    """Trains for two iterations, or goes on to three: its status and what it said."""

    def resume(*flags, iterations=3, opts=()):
        data = ["--train-data", str(tiny / "boxes.json"), str(tiny / "images")]
        given = ["MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", str(iterations)]
        given += ["SOLVER.IMS_PER_BATCH", "2", "OUTPUT_DIR", str(tmp_path / "out"), *opts]
        given += ["SOLVER.AMP.ENABLED", "False"]
        capsys.readouterr()
        line = command("--train", *data, *flags, opts=given, engine=engine)
        status = train_net.main(line)
        return status, capsys.readouterr().err

    return resume


@pytest.mark.parametrize(
    "content", [b"\x80\xff\0", b"{}\n[1]\nnull\n", b'{"iteration": "x"}', b'{"iter']
)
def test_a_damaged_metrics_json_is_named_and_the_training_goes_on(
    resume, tmp_path, content, engine
):
    assert resume(iterations=2)[0] == 0
    (tmp_path / "out" / "metrics.json").write_bytes(content)
    status, said = resume("--resume")
    assert status == 0, said  # detectron2 adds to the file, and doesn't read it
    assert engine == "detectron2" or ("metrics.json" in said and "damaged" in said)


def test_a_metrics_json_that_cannot_be_written_is_named(resume, tmp_path):
    (tmp_path / "out" / "metrics.json").mkdir(parents=True)
    status, said = resume()
    assert status == 2 and "metrics.json: Is a directory" in said.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*.pth"))


@pytest.mark.parametrize("content", [b"", b"\x80\xff", b"a\0b", b"none.pth", b"..", None])
def test_a_damaged_last_checkpoint_is_named(resume, tmp_path, content):
    (tmp_path / "out").mkdir()
    pointer = tmp_path / "out" / "last_checkpoint"
    pointer.mkdir() if content is None else pointer.write_bytes(content)
    status, said = resume("--resume")
    line = said.splitlines()[-1]
    assert status == 2 and line.startswith(f"error: cannot resume from {pointer}: ")


@pytest.mark.parametrize("content", [b"", b"\x80\xff", b"a\0b", b"none.pth"])
def test_a_damaged_last_checkpoint_is_named_and_the_training_goes_on(resume, tmp_path, content):
    assert resume(iterations=2)[0] == 0
    (tmp_path / "out" / "last_checkpoint").write_bytes(content)
    status, said = resume("--resume")
    assert status == 0 and "last_checkpoint is damaged" in said and "model_final.pth" in said
    assert (tmp_path / "out" / "last_checkpoint").read_bytes() == b"model_final.pth"
    assert said.count("is damaged") == 1


def flip(path):
    """One bit of the weights."""
    content = bytearray(path.read_bytes())
    tensor = torch.load(path)["model"]["roi_heads.box_head.fc1.weight"]
    content[content.index(tensor.numpy().tobytes())] ^= 1
    path.write_bytes(content)


def state_with(**values):
    return lambda path: torch.save({**torch.load(path), **values}, path)


FOREIGN = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:2000]), "are damaged"),
    "empty": (lambda path: path.write_bytes(b""), "are an empty file"),
    "one bit": (flip, "wrong checksum"),
    "weights alone": (lambda p: torch.save({"model": torch.load(p)["model"]}, p), "it lacks"),
    "iteration": (state_with(iteration="x"), "its iteration is 'x'"),
    "optimizer": (state_with(optimizer={}, trainer={}), "of another training"),
    "model": (state_with(model={"x": torch.ones(2)}), "of another training"),
    "NaN": (state_with(model={"x": torch.tensor([torch.nan])}), "x holds NaN"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_checkpoint_of_another_training_is_named(resume, tmp_path, kind):
    assert resume(iterations=2)[0] == 0
    path = tmp_path / "out" / "model_final.pth"
    FOREIGN[kind][0](path)
    before = path.read_bytes()
    status, said = resume("--resume")
    line = said.splitlines()[-1]
    assert status == 2 and line.startswith(f"error: cannot resume from {path}: ")
    assert FOREIGN[kind][1] in line and path.read_bytes() == before


def test_a_training_that_fails_at_once_leaves_no_file(call, tiny, tmp_path):
    (tiny / "images" / "3.png").write_bytes(b"no picture")
    assert call("train")[0] == 2
    assert not list((tmp_path / "out").iterdir())


def test_a_batch_norm_of_one_value_is_refused(resume, tmp_path):
    norms = ["MODEL.RESNETS.NORM", "BN", "SOLVER.IMS_PER_BATCH", "1", "MODEL.BACKBONE.FREEZE_AT"]
    small = ["0", "INPUT.MIN_SIZE_TRAIN", "(8,)", "INPUT.MAX_SIZE_TRAIN", "32"]
    status, said = resume(opts=[*norms, *small])
    line = said.splitlines()[-1]
    assert status == 2 and "a batch norm sees one value" in line and "IMS_PER_BATCH" in line


@pytest.mark.parametrize("tool", ["train_net", "sweep"])
def test_a_group_norm_of_one_value_is_refused_in_evaluation(
    load, command, tiny, tiny_opts, capsys, tool
):
    groups = ["MODEL.FPN.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", "32"]
    cfg = load_cfg("configs/demo.yaml", [*tiny_opts, *groups])
    torch.save({"model": FasterRCNN(cfg).state_dict()}, tiny / "weights.pth")
    small = ["INPUT.MIN_SIZE_TEST", "8", "INPUT.MAX_SIZE_TEST", "16"]
    line = command(*(["--grid", "1"] if tool == "sweep" else []), opts=[*groups, *small])
    assert load(tool).main(line) == 2
    assert "a group norm one of each group" in capsys.readouterr().err.splitlines()[-1]


def test_a_disk_that_fills_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, "model_final", {"model": torch.zeros(3)})
    before = (tmp_path / "model_final.pth").read_bytes()

    def fill(state, file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(InputError, match="No space left"):
        checkpoints.save(tmp_path, "model_final", {"model": torch.ones(3)})
    assert (tmp_path / "model_final.pth").read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["last_checkpoint", "model_final.pth"]
