"""torchvision's own detectors through the commands, from the file that torchvision saves."""

import numpy as np
import pytest
import torch
from every_tool import EveryTool, annotate
from torchvision_models import MODELS, make

from detectron2_patch.config import load_cfg
from detectron2_patch.engines.choice import build_engine
from detectron2_patch.settings.levels import LEVELS


@pytest.mark.parametrize("name", MODELS)
def test_every_command(load, tiny, train_data, capsys, name):
    pytest.importorskip("av", reason="needs the extra codecs")
    generator = np.random.default_rng(0)
    picture = torch.from_numpy(generator.random((3, 48, 64), dtype=np.float32))
    torch.save(make(name, 3, picture, size=128).state_dict(), tiny / "model.pth")
    config = f"configs/torchvision/{name}_resnet50_fpn.yaml"
    model = ["--engine", "torchvision", "--device", "cpu", "--config-file", config]
    opts = ["INPUT.MIN_SIZE_TEST", "128", "MODEL.ROI_HEADS.NUM_CLASSES", "2"]
    engine = build_engine("torchvision", load_cfg(config, opts), "cpu")
    engine.load_weights(tiny / "model.pth")
    annotate(tiny, engine)
    opts += ["MODEL.WEIGHTS", tiny / "model.pth"]
    levels = LEVELS if name == "fasterrcnn" else ("p3", "p4", "p5", "p6", "p7")
    tools = EveryTool(load, tiny, levels, model, opts, train_data, capsys)
    if name == "retinanet":  # one of them all, for time; each has passed
        tools.run()
    else:
        tools.evaluate()
        tools.train_a_codec()


def test_the_commands_say_what_such_a_file_needs(train_net, command, tiny, capsys):
    torch.save({"backbone.body.conv1.weight": torch.zeros(64, 3, 7, 7)}, tiny / "weights.pth")
    assert train_net.main(command()) == 2
    assert "configs/torchvision/" in capsys.readouterr().err


def test_a_sweep_of_a_detector_without_an_rpn_has_one_scope(sweep, capsys):
    words = ["--grid", "1", "max", "--dry-run", "--device", "cpu", "--config-file"]
    words.append("configs/torchvision/retinanet_resnet50_fpn.yaml")
    assert sweep.main(words) == 0
    scopes = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert scopes == ["pyramid"] * 32
    for scope in ("rpn", "rpn pyramid"):
        assert sweep.main([*words, "--scope", *scope.split()]) == 2
        assert "no RPN" in capsys.readouterr().err


@pytest.mark.parametrize("tool", ["train_net", "sweep", "train_codec", "fit", "send"])
def test_levels_that_the_detector_contradicts_are_refused(load, command, tiny, tool, capsys):
    words = {"train_net": [], "sweep": ["--grid", "1", "2"], "send": [tiny / "sent", "--bits", "4"]}
    given = words.get(tool, ["-o", tiny / ("made.npz" if tool == "fit" else "made")])
    line = command(*map(str, given), "--levels", "p3 p4 p5 p6 p7")
    if tool not in ("train_net", "sweep"):
        start = line.index("--results-dir")
        del line[start : start + 2]
    assert load(tool).main(line) == 2
    assert "the detector has P2 to P6" in capsys.readouterr().err
    assert {path.name for path in tiny.iterdir()} == {"boxes.json", "images", "weights.pth"}
