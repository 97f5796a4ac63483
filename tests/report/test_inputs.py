import json

import pytest
from made_results import made, made_grid

from detectron2_patch.analysis.costs import COSTS, SIDES, Costs
from detectron2_patch.errors import InputError
from detectron2_patch.report.inputs import read_inputs
from detectron2_patch.report.records import make_groups
from detectron2_patch.report.table import make_rows
from detectron2_patch.results.file import write_result
from detectron2_patch.results.packing import write_packed
from detectron2_patch.settings.setting import Setting


def test_what_is_no_result_is_left_out_and_named(tmp_path):
    path = write_result(made(1, 1, 1, 1, 2), tmp_path)
    (tmp_path / "half.json").write_text(path.read_text()[:99])
    (tmp_path / "other.json").write_text('{"a": 1}')
    write_packed(made_grid(1, 2), tmp_path / "grid.json.gz")
    (tmp_path / "cut.json.gz").write_bytes((tmp_path / "grid.json.gz").read_bytes()[:-30])
    found = read_inputs([tmp_path])
    assert len(found.results) == 1 + 64
    assert [next(n for n in ("half", "other", "cut") if n in line) for line in found.skipped] == [
        "cut",
        "half",
        "other",
    ]


def test_a_folder_without_results_is_refused_and_names_what_it_has(tmp_path):
    (tmp_path / "half.json").write_text("{")
    with pytest.raises(InputError, match="no results in .*1 files left out: .*half.json"):
        read_inputs([tmp_path])


@pytest.mark.parametrize("text", [None, "{"])
def test_a_file_given_by_name_has_to_be_right(tmp_path, text):
    if text:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="a.json"):
        read_inputs([tmp_path / "a.json"])


def test_key_levels_are_told_from_results(tmp_path):
    one = {"value": 1.0, "low": None, "high": None}
    level = {"alone": one, "with_others": one, "shapley": one}
    analysis = {
        "kind": "detectron2_patch key levels",
        "dataset": {},
        "weights": {},
        "engine": "a",
        "key": {},
        "scopes": {"rpn": {"AP": {"p2": level}}},
    }
    (tmp_path / "keys.json").write_text(json.dumps(analysis))
    analysis["scopes"]["rpn"]["AP"]["p2"] = {"alone": one}
    (tmp_path / "damaged.json").write_text(json.dumps(analysis))
    write_result(made(1, 1, 1, 1, 2), tmp_path)
    found = read_inputs([tmp_path])
    assert [list(one["scopes"]) for one in found.key_levels] == [["rpn"]]
    assert len(found.skipped) == 1 and "damaged.json" in found.skipped[0]


def test_costs_are_told_from_results_and_go_to_their_weights(tmp_path):
    sides = dict.fromkeys(SIDES, dict.fromkeys(COSTS, 7.0))
    result = made(1, 1, 1, 1, 2)
    measured = [(Setting.from_json(result["setting"]), sides)]
    conditions = {"engine": "torchvision", "weights": "a" * 64}
    Costs(conditions, measured).write(tmp_path / "costs.json")
    (tmp_path / "cut.json").write_text('{"kind": "detectron2_patch costs", "costs": [{}]}')
    write_result(result, tmp_path)
    write_result(made(1, 1, 1, 1, 4), tmp_path)
    write_result(made(1, 1, 1, 1, 2, weights="b" * 64), tmp_path)
    found = read_inputs([tmp_path])
    assert len(found.costs) == 1 and "cut.json is damaged" in found.skipped[0]
    rows = make_rows(make_groups(found.results, found.costs))
    told = {(row["weights"], row["p6"]): row["receiver_milliseconds"] for row in rows}
    assert told == {("a" * 8, 2): 7.0, ("a" * 8, 4): None, ("b" * 8, 2): None}
