"""Reading results: files, folders, foreign JSON, and the origin's files."""

from __future__ import annotations

import copy
import json
import math

import pytest

from detectron2_patch.errors import InputError
from detectron2_patch.results.file import load_results, write_result
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.setting import Setting


def make(scope="rpn"):
    """A result with every key, of this process's making."""
    setting = Setting.of({"p6": 4}, scope).to_json()
    dataset = {"name": "d", "json": "d.json", "images": "d", "image_count": 1, "digest": "0"}
    return {
        "schema": 2,
        "args": {},
        "setting": setting,
        "results": {"bbox": {"AP": 41.25, "APs": None}},
        "payload": {},
        "dataset": dataset,
        "weights": {"path": "w.pth", "sha256": "s"},
        "config": {"file": None, "digest": "1"},
        "engine": "torchvision",
        "versions": {},
        "seconds": 1.5,
    }


def write_json(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_a_folder_is_read_in_order_and_below(tmp_path):
    scopes = {"b.json": "rpn", "a.json": "pyramid", "below/c.json": "rpn"}
    (tmp_path / "below").mkdir()
    for name, scope in scopes.items():
        write_json(tmp_path / name, make(scope=scope))
    for hidden in (".b.json.x", ".hidden.json"):
        (tmp_path / hidden).write_text("half a resu")
    assert [r["setting"]["scope"] for r in load_results(tmp_path)] == ["pyramid", "rpn", "rpn"]


def test_foreign_files_are_skipped_with_one_warning(tmp_path, caplog):
    write_result(make(), tmp_path)
    write_json(tmp_path / "coco.json", {"images": [], "annotations": []})
    (tmp_path / "metrics.json").write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / "notes.txt").write_text("no JSON, and not asked")
    assert load_results(tmp_path) == [make()]
    (record,) = caplog.records
    message = record.getMessage()
    assert "skipped 2 files" in message and "coco.json is not a result: it has no" in message
    assert "metrics.json is not valid JSON" in message and "notes" not in message


def test_an_empty_folder_is_no_results(tmp_path, caplog):
    assert load_results(tmp_path) == []
    assert "no results" in caplog.text


def broken(**changes):
    result = copy.deepcopy(make())
    result.update(changes)
    return json.dumps(result)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("\xff", "not a result|not valid JSON"),
        ("3", "no JSON object"),
        ("[]", "no JSON object"),
        ("{}", "it has no args, setting"),
        (broken(schema=1, payload={"total_bytes": 9}), "cost of its payload"),
        (broken(setting={"scope": "rpn"}), '"cr"'),
        (broken(setting={"scope": "rpn", "cr": {"p2": 1}}), '"cr"'),
        (broken(setting={"scope": "rpn", "cr": dict.fromkeys(LEVELS, 0)}), '"cr"'),
        (broken(setting={"scope": "all", "cr": dict.fromkeys(LEVELS, 1)}), '"scope"'),
        (broken(results={}), '"bbox"'),
        (broken(results={"bbox": {}}), '"bbox"'),
        (broken(results={"bbox": {"AP": "high"}}), "numbers"),
        (broken(dataset="coco"), '"dataset"'),
        ('[{"cr": [1, 1, 1]}, {"bbox": {"AP": 1}}]', '"cr" has 3 entries'),
        ('[{"cr": null}, {"bbox": {"AP": 1}}]', 'list of numbers "cr"'),
        ('[{"cr": [1, 1, 1, 1, 0]}, {"bbox": {"AP": 1}}]', "below 1"),
        ('[{"cr": [1, 1, 1, 1, 4]}, {"segm": {"AP": 1}}]', '"bbox"'),
    ],
)
def test_a_file_asked_for_by_name_has_to_be_a_result(tmp_path, text, words):
    file = tmp_path / "one.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=words) as caught:
        load_results(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_path():
    with pytest.raises(InputError, match="cannot read nowhere.json: No such file"):
        load_results("nowhere.json")


ORIGIN_ARGS = {
    "config_file": "configs/x101.yaml",
    "resume": False,
    "eval_only": True,
    "num_gpus": 1,
    "num_machines": 1,
    "machine_rank": 0,
    "dist_url": "tcp://127.0.0.1:49152",
    "opts": [],
}


def origin(tmp_path, cr):
    text = json.dumps(
        [{**ORIGIN_ARGS, "cr": cr}, {"bbox": {"AP": 42.5, "APs": math.nan}}], indent=4
    )
    assert "NaN" in text
    file = tmp_path / "2-1.0_3-1.0.json"
    file.write_text(text)
    (result,) = load_results(file)
    return result


@pytest.mark.parametrize(
    "cr, expected",
    [
        ([1.0, 1.0, 1.0, 1.0, 4.0], [1, 1, 1, 1, 4]),
        ([1.0, 2.0, 1.0, 1.0, 1.0, 4.0], [1, 2, 1, 1, 1]),  # the sixth was ignored
        ([1.5, 1.0, 1.0, 1.0, 1.0], [1.5, 1, 1, 1, 1]),
    ],
)
def test_origin_ratios_count_from_the_left(tmp_path, cr, expected):
    result = origin(tmp_path, cr)
    assert result["setting"] == {"cr": dict(zip(LEVELS, expected)), "scope": "rpn"}
    assert result["results"] == {"bbox": {"AP": 42.5, "APs": None}}
    assert result["args"]["cr"] == cr
    assert result["engine"] == "detectron2" and result["payload"] is None


def test_origin_weights_of_p5_and_p3(tmp_path):
    setting = origin(tmp_path, [0.3, 0.7])["setting"]
    assert Setting.from_json(setting) == Setting.parse(
        "--send p3 p5 --restore origin:0.7,0.3 --scope rpn"
    )


REPLICATES = {
    "replicates": 2,
    "seed": 0,
    "bbox": {"AP": [41.0, 41.5], "APs": [None, None], "APm": [1, 2], "APl": [0.5, None]},
}


def test_what_was_made_from_results_is_no_stranger_among_them(tmp_path, caplog):
    write_result(make(), tmp_path)
    path = write_json(tmp_path / "key.json", {"kind": "detectron2_patch key levels", "scopes": {}})
    assert load_results(tmp_path) == [make()] and not caplog.records
    with pytest.raises(InputError, match="key.json holds no results but .*key levels"):
        load_results(path)


def test_replicates_are_read_and_change_no_name(tmp_path):
    path = write_result(make(), tmp_path)
    assert write_result({**make(), "bootstrap": REPLICATES}, tmp_path) == path
    assert load_results(path) == [{**make(), "bootstrap": REPLICATES}]


@pytest.mark.parametrize(
    "damage",
    [
        {"replicates": 3},
        {"replicates": None},
        {"seed": "x"},
        {"bbox": []},
        {"bbox": {**REPLICATES["bbox"], "APl": [1, "2"]}},
        {"bbox": {"AP": [1, 2]}},
    ],
)
def test_damaged_replicates_are_refused(tmp_path, damage):
    path = write_json(tmp_path / "x.json", {**make(), "bootstrap": {**REPLICATES, **damage}})
    with pytest.raises(InputError, match="x.json.*bootstrap"):
        load_results(path)
