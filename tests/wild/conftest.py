"""Every command on small inputs as they come: its status, its one line, and nothing written."""

import importlib.util
import json
import logging
from pathlib import Path

import pytest

from detectron2_patch.data import images
from detectron2_patch.engines.choice import detectron2_problem

_spec = importlib.util.spec_from_file_location(
    "tools_conftest", Path(__file__).parent.parent / "tools" / "conftest.py"
)
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)
load, tiny, command = _shared.load, _shared.tiny, _shared.command
tiny_opts = _shared.tiny_opts
train_net, sweep, visualize = _shared.train_net, _shared.sweep, _shared.visualize


@pytest.fixture(params=["torchvision", "detectron2"])
def engine(request):
    if request.param == "detectron2" and (problem := detectron2_problem()):
        pytest.skip(problem)
    return request.param


@pytest.fixture
def edit(tiny):
    """Changes the tiny dataset's JSON: ``edit(lambda document: …)``."""

    def edit(change):
        document = json.loads((tiny / "boxes.json").read_text())
        change(document)
        (tiny / "boxes.json").write_text(json.dumps(document))

    return edit


@pytest.fixture
def call(load, tiny, command, tmp_path, capsys, caplog, monkeypatch):
    """Runs a command on the tiny dataset: ``call("sweep")`` gives its status, its last line on
    stderr and what it warned of."""
    data = [str(tiny / "boxes.json"), str(tiny / "images")]
    monkeypatch.setattr(images, "_warned", [])

    def arguments(tool, engine):
        if tool == "train":
            opts = ("MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "3")
            opts += ("OUTPUT_DIR", str(tmp_path / "out"), "SOLVER.AMP.ENABLED", "False")
            return command("--train", "--train-data", *data, engine=engine, opts=opts)
        if tool == "sweep":
            return command("--grid", "1", "2", engine=engine)
        if tool == "level_shares":
            return ["--data", *data, "--config-file", "configs/demo.yaml"]
        if tool == "visualize":
            opts = [*_shared.TINY, "MODEL.WEIGHTS", str(tiny / "weights.pth")]
            shown = ["--image", str(tiny / "images" / "3.png"), "-o", str(tmp_path / "shown.png")]
            return [*shown, "--config-file", "configs/demo.yaml", "--device", "cpu", *opts]
        return command("--eval-only", engine=engine)

    def call(tool, engine="torchvision"):
        caplog.clear()
        capsys.readouterr()
        status = load("train_net" if tool == "train" else tool).main(arguments(tool, engine))
        lines = capsys.readouterr().err.splitlines() or [""]
        warned = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        if status:
            assert status == 2 and lines[-1].startswith("error: "), lines
            assert not list((tiny / "results").glob("*.json"))
        return status, lines[-1], "\n".join([*warned, *lines])

    return call
