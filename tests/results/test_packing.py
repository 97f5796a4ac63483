import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch import load_results
from detectron2_patch.errors import InputError
from detectron2_patch.results import packing
from detectron2_patch.settings.levels import LEVELS


def result(number, **more):
    bbox = {"AP": number / 3, "APl": None if number % 2 else 1.0, "AP-a.b": 2.5}
    return {
        "schema": 2,
        "args": {"grid": "1 2", "opts": []},
        "setting": {"cr": dict.fromkeys(LEVELS, number), "scope": "rpn"},
        "results": {"bbox": {**bbox, **more}},
        "payload": {"wire": False},
        "dataset": {},
        "weights": {"path": "w"},
        "config": None,
        "engine": "torchvision",
        "versions": {},
        "seconds": 0.1 * number,
    }


def test_a_packed_file_reads_like_its_folder(tmp_path):
    results = [result(number) for number in range(1, 9)]
    for one in results:
        (tmp_path / f"{one['setting']['cr']['p2']}.json").write_text(json.dumps(one))
    packing.write_packed(load_results(tmp_path), tmp_path / "packed" / "all.json.gz")
    assert load_results(tmp_path / "packed" / "all.json.gz") == results
    assert load_results(tmp_path / "packed") == results
    first = (tmp_path / "packed" / "all.json.gz").read_bytes()
    packing.write_packed(results, tmp_path / "packed" / "all.json.gz")
    assert (tmp_path / "packed" / "all.json.gz").read_bytes() == first


leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(data=st.data(), keys=st.lists(st.text(), min_size=1, max_size=3, unique=True))
def test_packing_is_lossless(data, keys):
    entry = st.fixed_dictionaries({key: leaf | st.lists(leaf, max_size=2) for key in keys})
    nested = st.lists(
        st.fixed_dictionaries(
            {"a": entry, "b": leaf, "c": st.just({})}, optional={"d": entry, "e": leaf}
        ),  # not all results have all keys
        min_size=1,
        max_size=4,
    )
    results = data.draw(nested)
    text = json.dumps(packing.pack(results))
    found = packing.unpack(json.loads(text))
    assert json.dumps(found, sort_keys=True) == json.dumps(results, sort_keys=True)


def test_what_cannot_be_packed_is_refused(tmp_path):
    with pytest.raises(InputError, match="no results"):
        packing.pack([])


@pytest.mark.parametrize("damage", ["cut", "no gzip", "short column", "no columns"])
def test_a_damaged_file_is_named(tmp_path, damage, caplog):
    path = tmp_path / "all.json.gz"
    packing.write_packed([result(1), result(2)], path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "no gzip":
        path.write_text("{}")
    else:
        packed = packing.pack([result(1), result(2)])
        if damage == "short column":
            packed["columns"][0][1].pop()
        else:
            del packed["columns"]
        import gzip

        path.write_bytes(gzip.compress(json.dumps(packed).encode()))
    with pytest.raises(InputError, match="all.json.gz"):
        load_results(path)
    with caplog.at_level(logging.WARNING):
        assert load_results(tmp_path) == []
    assert "all.json.gz" in caplog.text
