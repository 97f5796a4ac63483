"""Results: names that tell evaluations apart, files whole or not at all, the table."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.results import file as file_module
from detectron2_patch.results import packing
from detectron2_patch.results.file import check_folder, find_clean, load_results, write_result
from detectron2_patch.results.identity import result_name
from detectron2_patch.results.schema import make_result
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils import json_values as plain

BBOX = {"AP": 41.25, "AP50": 60.0, "AP75": 44.0, "APs": None, "APm": 30.5, "APl": 1 / 3}
BBOX["AP-cell"] = 41.25


def make(
    cr=(1, 1, 1, 1, 4), scope="rpn", name="demo_val", digest="d", sha="s", config=None, **more
):
    dataset = CocoDataset(
        name=name,
        json_file=Path("val.json"),
        image_root=Path("val"),
        classes=("cell",),
        category_ids=(1,),
        images=[{"id": 1}],
        annotations={1: []},
        degenerate_boxes=0,
        digest=digest,
    )
    vars(dataset)["content"] = f"of {digest}"  # there are no images here to look into
    arguments = {
        "args": {"cr": ["1", "1", "1", "1", "4"], "config_file": None},
        "setting": Setting.of(dict(zip(LEVELS, cr)), scope),
        "results": {"bbox": BBOX},
        "payload": {"wire": False, "sent": {"p2": 1}},
        "dataset": dataset,
        "weights_path": Path("w.pth"),
        "weights_sha256": sha,
        "config_digest": plain.digest({"MODEL": {"A": 1}} if config is None else config),
        "config_file": "configs/demo.yaml",
        "engine": "torchvision",
        "versions": {"python": "3"},
        "seconds": 1.5,
    }
    return make_result(**{**arguments, **more})


def test_keys_of_a_result():
    result = make()
    assert list(result) == [
        "schema",
        "args",
        "setting",
        "results",
        "payload",
        "dataset",
        "weights",
        "config",
        "engine",
        "versions",
        "seconds",
    ]
    assert result["setting"] == {
        "cr": {"p2": 1, "p3": 1, "p4": 1, "p5": 1, "p6": 4},
        "scope": "rpn",
    }
    assert result["dataset"] == {
        "name": "demo_val",
        "json": "val.json",
        "images": "val",
        "image_count": 1,
        "digest": "d",
        "content": "of d",
    }
    assert result["weights"] == {"path": "w.pth", "sha256": "s"}
    assert result["config"]["file"] == "configs/demo.yaml"


def test_settings_are_written_one_way():
    expected = {"cr": {"p2": 1, "p3": 1, "p4": 1.5, "p5": 4, "p6": "max"}, "scope": "pyramid"}
    for cr in ({"p4": 1.5, "p5": 4.0, "p6": math.inf}, {"p6": "max", "p5": 4, "p4": 1.5, "p2": 1}):
        setting = Setting.of(cr, "pyramid").to_json()
        assert json.dumps(setting) == json.dumps(expected)


@pytest.mark.parametrize(
    "cr, scope, words",
    [
        ({"p2": 1}, "roi", "'roi'.*rpn or pyramid"),
        ({"p7": 1}, "rpn", "p7"),
        ({"p2": 0.5}, "rpn", "0.5"),
    ],
)
def test_settings_that_cannot_be(cr, scope, words):
    with pytest.raises(InputError, match=words):
        Setting.of(cr, scope)


def test_nan_and_infinity_become_null():
    values = {"AP": math.nan, "AP50": math.inf, "AP75": np.float32("nan"), "APs": np.float64(2)}
    result = make(results={"bbox": values})
    assert result["results"]["bbox"] == {"AP": None, "AP50": None, "AP75": None, "APs": 2.0}
    assert "NaN" not in json.dumps(result)


def test_versions_are_collected_when_not_given():
    versions = make(versions=None)["versions"]
    assert {"python", "torch", "torchvision", "numpy", "detectron2_patch", "platform"} < set(
        versions
    )
    assert versions["evaluator"].startswith("hotcoco ")


def test_a_value_without_a_form_in_json_is_an_error():
    with pytest.raises(TypeError, match="no form in JSON"):
        make(payload={"sent": {1, 2}})


def test_name_can_be_read():
    name = result_name(make())
    assert name.startswith("demo_demo_val_torchvision_rpn_cr-1-1-1-1-4_")
    assert name.endswith(".json") and len(name.rsplit("_", 1)[1]) == 12 + len(".json")


ratios = st.one_of(st.just(math.inf), st.integers(1, 9), st.floats(1, 9), st.just(1 + 1e-9))
identities = st.fixed_dictionaries(
    {
        "cr": st.tuples(*[ratios] * 5),
        "scope": st.sampled_from(["rpn", "pyramid"]),
        "name": st.sampled_from(
            ["a", "A", "a b", "a/b", "a-b", "x" * 300, "x" * 301, "ü", ".", ""]
        ),
        "digest": st.sampled_from(["d", "e"]),
        "sha": st.sampled_from(["s", "t"]),
        "config": st.sampled_from([{"A": value} for value in (1, 2, "1", 0.5, "0.5", True)]),
        "engine": st.sampled_from(["torchvision", "detectron2"]),
    }
)


def identity_of(kwargs):
    values = dict(kwargs, cr=tuple(float(r) for r in kwargs["cr"]))
    return {key: repr(value) for key, value in values.items()}


@settings(max_examples=200, deadline=None)
@given(identities, identities, st.data())
def test_names_meet_only_for_the_same_evaluation(first, second, data):
    # Mostly equal pairs, so that single differences are met.
    changed = data.draw(st.sets(st.sampled_from(sorted(first)), max_size=2))
    second = {key: second[key] if key in changed else first[key] for key in first}
    same = identity_of(first) == identity_of(second)
    assert (result_name(make(**first)) == result_name(make(**second))) == same


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300), st.tuples(*[ratios] * 5))
def test_names_are_safe_and_short(name, config_file, cr):
    found = result_name(make(name=name, config_file=config_file, cr=cr))
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert len(found) <= 200 and not found.startswith((".", "-"))


def test_spelling_does_not_matter():
    first = make(cr=(1, 1, 1, 1, math.inf), config={"A": 1, "B": {"C": (1, 2), "D": 2.0}})
    second = make(
        cr=(1.0, 1, 1, 1, "max"),
        config={"B": {"D": 2, "C": [1.0, 2]}, "A": 1},
        weights_path="elsewhere.pth",
        seconds=99.0,
        args={},
        versions={},
    )
    assert result_name(first) == result_name(second)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
percents = st.dictionaries(st.text(max_size=8), st.none() | st.floats(0, 100), max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4), percents)
def test_what_is_written_is_read(tmp_path_factory, args, bbox):
    result = make(args=args, results={"bbox": {"AP": 1.5, **bbox}})
    path = write_result(result, tmp_path_factory.mktemp("out") / "new" / "folder")
    assert path.name == result_name(result)
    assert load_results(path) == [result] == load_results(path.parent)
    assert os.listdir(path.parent) == [path.name]


def test_arguments_that_are_no_unicode_survive(tmp_path):
    result = make(args={"config_file": "caf\udce9.yaml"})
    assert load_results(write_result(result, tmp_path)) == [result]


def test_the_same_evaluation_replaces_its_file_and_another_does_not(tmp_path):
    write_result(make(seconds=1.0), tmp_path)
    write_result(make(seconds=2.0), tmp_path)
    write_result(make(scope="pyramid"), tmp_path)
    assert sorted(r["seconds"] for r in load_results(tmp_path)) == [1.5, 2.0]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_result(make(), tmp_path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_result(make(seconds=7.0), tmp_path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_that_can_be_written(tmp_path):
    check_folder(tmp_path)
    check_folder(tmp_path / "a" / "b")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="choose a folder"):
            check_folder(folder)
        with pytest.raises(InputError, match="cannot write"):
            write_result(make(), folder)
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_to_nowhere_is_no_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="cannot write"):
        check_folder(tmp_path / "link")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        check_folder(tmp_path / "new")


def test_a_full_disk_shows_before_the_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_module.os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        check_folder(tmp_path)
    assert os.listdir(tmp_path) == []


def test_the_clean_result_is_found_anywhere_below_and_in_either_scope(tmp_path):
    clean = make(cr=(1,) * 5, scope="rpn")
    assert find_clean(make(), tmp_path) is None
    write_result(clean, tmp_path / "demo")
    for scope in ("rpn", "pyramid"):
        assert find_clean(make(scope=scope), tmp_path) == clean
    assert find_clean(make(sha="other weights"), tmp_path) is None
    assert find_clean(clean, tmp_path) is None


def test_the_clean_result_is_found_in_a_packed_file(tmp_path):
    clean, other = make(cr=(1,) * 5), make(cr=(2,) * 5)
    packing.write_packed([other, clean], tmp_path / "below" / "all.json.gz")
    (tmp_path / "damaged.json.gz").write_bytes(b"no gzip")
    assert find_clean(make(), tmp_path) == clean
    assert find_clean(make(sha="other weights"), tmp_path) is None
