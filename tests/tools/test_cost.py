import json

import pytest
import torch

from detectron2_patch.analysis import sides
from detectron2_patch.analysis.costs import read_costs
from detectron2_patch.errors import InputError

SETTINGS = "--cr 1 1 1 1 1\n--image jpeg:50\n--bits 4\n"


@pytest.fixture
def cost(load):
    return load("cost")


@pytest.fixture
def measured(load, command, tiny, capsys):
    """Results of the tiny detector, and the line of ``cost.py`` for them."""
    (tiny / "list.txt").write_text(SETTINGS)
    more = ["--cr-list", str(tiny / "list.txt"), "--scope", "pyramid"]
    assert load("sweep").main(command(*more)) == 0
    capsys.readouterr()
    given = command(str(tiny / "results"), "-o", str(tiny / "costs.json"), "--images", "1")
    start = given.index("--results-dir")
    return [*given[:start], *given[start + 2 :]]


def test_measures_writes_and_goes_on(cost, measured, tiny, capsys, monkeypatch):
    assert cost.main(measured) == 0
    table = capsys.readouterr().out
    assert "sender: MACs a pixel" in table and "4 bits" in table
    document = json.loads((tiny / "costs.json").read_text())
    image, bits = sorted(document["costs"], key=lambda row: "image" not in row["setting"])
    assert image["sender"]["macs_per_pixel"] == 0 < bits["sender"]["macs_per_pixel"]
    assert image["receiver"]["macs_per_pixel"] > bits["receiver"]["macs_per_pixel"]
    assert document["conditions"]["images"] == 1

    monkeypatch.setattr(sides, "cost_of", None)  # nothing is left to be measured
    assert cost.main(measured) == 0


def test_another_machine_or_number_of_images_needs_another_file(cost, measured, tiny, capsys):
    assert cost.main(measured) == 0
    before = (tiny / "costs.json").read_bytes()
    measured[measured.index("--images") + 1] = "2"
    assert cost.main(measured) == 2
    assert "images 1, and now it is 2" in capsys.readouterr().err
    assert (tiny / "costs.json").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "it is no JSON"),
        ('{"kind": "other"}', "holds no costs"),
        ('{"kind": "detectron2_patch costs", "costs": [{"setting": {}}]}', "is damaged"),
        ('{"kind": "detectron2_patch costs", "costs": []}', "is damaged"),
        ('{"kind": "detectron2_patch costs", "costs": [], "conditions": 5}', "is damaged"),
    ],
)
def test_what_is_no_file_of_costs_is_told(tmp_path, content, words):
    path = tmp_path / "costs.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_costs(path)


def test_of_other_weights_is_refused(cost, measured, tiny, capsys):
    state = torch.load(tiny / "weights.pth")
    state["model"] = {name: value + 1 for name, value in state["model"].items()}
    torch.save(state, tiny / "weights.pth")
    assert cost.main(measured) == 2
    assert "other weights" in capsys.readouterr().err
    assert not (tiny / "costs.json").exists()
