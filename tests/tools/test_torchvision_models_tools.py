"""torchvision's own detectors through the commands, from the file that torchvision saves."""

import numpy as np
import pytest
import torch
from torchvision_models import MODELS, make

from detectron2_patch.results.file import load_results


@pytest.mark.parametrize("name", MODELS)
def test_train_net_and_a_sweep(load, tiny, capsys, name):
    generator = np.random.default_rng(0)
    picture = torch.from_numpy(generator.random((3, 48, 64), dtype=np.float32))
    torch.save(make(name, 3, picture, size=64).state_dict(), tiny / "model.pth")

    def flags(folder):
        config = f"configs/torchvision/{name}_resnet50_fpn.yaml"
        line = ["--engine", "torchvision", "--device", "cpu", "--config-file", config]
        line += ["--test-data", str(tiny / "boxes.json"), str(tiny / "images")]
        line += ["--scope", "pyramid", "--results-dir", str(tiny / folder)]
        opts = ["INPUT.MIN_SIZE_TEST", "64", "MODEL.ROI_HEADS.NUM_CLASSES", "2"]
        return [*line, *opts, "MODEL.WEIGHTS", str(tiny / "model.pth")]

    assert load("train_net").main(["--cr", *"42111", *flags("one")]) == 0
    capsys.readouterr()
    level = "p2" if name == "fasterrcnn" else "p3"
    assert load("sweep").main(["--grid", "1", "--grid-" + level, "1", "4", *flags("grid")]) == 0
    assert "one evaluation each" not in capsys.readouterr().err
    (one,), grid = load_results(tiny / "one"), load_results(tiny / "grid")
    assert len(grid) == 2 and all(r["results"]["bbox"]["AP"] is not None for r in [one, *grid])
    assert set(one["setting"]["cr"]) == set(grid[0]["setting"]["cr"])
    assert load("train_net").main(["--cr", *"41111", *flags("single")]) == 0
    (single,) = load_results(tiny / "single")
    (swept,) = [r for r in grid if r["setting"] == single["setting"]]
    assert swept["results"] == single["results"] and swept["payload"] == single["payload"]


def test_the_commands_say_what_such_a_file_needs(train_net, command, tiny, capsys):
    torch.save({"backbone.body.conv1.weight": torch.zeros(64, 3, 7, 7)}, tiny / "weights.pth")
    assert train_net.main(command()) == 2
    assert "configs/torchvision/" in capsys.readouterr().err
