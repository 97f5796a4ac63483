import pytest
import torch


@pytest.fixture
def export_weights(load):
    return load("export_weights")


def test_the_same_detector_without_its_training(export_weights, tiny):
    state = torch.load(tiny / "weights.pth")["model"]
    torch.save({"model": state, "optimizer": {"state": {}}, "iteration": 3}, tiny / "whole.pth")
    assert export_weights.main([str(tiny / "whole.pth"), str(tiny / "small.pth")]) == 0
    small = torch.load(tiny / "small.pth", weights_only=True)
    assert set(small) == {"model"}
    wanted = {k for k in state if not k.endswith("num_batches_tracked")}
    assert set(small["model"]) == wanted
    assert all(torch.equal(small["model"][k], state[k]) for k in wanted)


def test_a_missing_checkpoint_is_refused(export_weights, tiny, capsys):
    assert export_weights.main([str(tiny / "none.pth"), str(tiny / "small.pth")]) == 2
    assert "none.pth" in capsys.readouterr().err
    assert not (tiny / "small.pth").exists()
