"""Key levels of made-up results, whose AP of every combination is known."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.analysis.key_levels import KIND, key_levels
from detectron2_patch.analysis.tables import format_key_levels
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.box_matching import SIZES
from detectron2_patch.settings.levels import LEVELS, MAX
from detectron2_patch.settings.setting import Setting

NOISE = np.random.default_rng(0).normal(0, 2, 400)


def result(lost, scope, values, replicates=0, model="m"):
    """A result with the levels of the number ``lost`` at max."""
    cr = {level: MAX if lost >> i & 1 else 1 for i, level in enumerate(LEVELS)}
    one = {
        "setting": Setting.of(cr, scope).to_json(),
        "results": {"bbox": dict(zip(SIZES, values))},
        "dataset": {"name": "scenes", "digest": "0"},
        "engine": "torchvision",
        "weights": {"path": f"{model}.pth", "sha256": model},
        "config": {"digest": "1"},
    }
    if replicates:
        one["bootstrap"] = {
            "replicates": replicates,
            "seed": 0,
            "bbox": {
                size: [None] * replicates
                if value is None
                else (value + NOISE[:replicates]).tolist()
                for size, value in zip(SIZES, values)
            },
        }
    return one


def grid(ap, scopes=("rpn", "pyramid"), **more):
    """All 32 combinations; ``ap`` of a number gives the AP, the same for every size."""
    return [result(lost, scope, [ap(lost)] * 4, **more) for scope in scopes for lost in range(32)]


def additive(lost):
    """P2 costs 30, P3 20, P6 1."""
    return 60.0 - sum(cost for i, cost in ((0, 30), (1, 20), (4, 1)) if lost >> i & 1)


def test_levels_that_work_alone_cost_the_same_in_any_company():
    analysis = key_levels(grid(additive, replicates=400))
    assert analysis["kind"] == KIND and analysis["replicates"] == 400
    assert analysis["dataset"]["name"] == "scenes" and analysis["weights"]["sha256"] == "m"
    assert list(analysis["scopes"]) == ["rpn", "pyramid"]
    for sizes in analysis["scopes"].values():
        assert list(sizes) == list(SIZES)
        for levels in sizes.values():
            for level, cost in zip(LEVELS, (30, 20, 0, 0, 1)):
                for effect in levels[level].values():  # the noise is that of the images: it cancels
                    assert effect == pytest.approx({"value": cost, "low": cost, "high": cost})
    assert analysis["all"]["rpn"]["APm"]["value"] == pytest.approx(51)
    assert analysis["pairs"]["rpn"]["APs"]["p2+p3"]["value"] == pytest.approx(50)
    assert analysis["key"]["pyramid"]["AP"] == ["p2", "p3"]


def test_a_level_that_stands_in_for_another_shows_only_with_it():
    def either(lost):
        return 10.0 if lost & 0b11 == 0b11 else 50.0

    levels = key_levels(grid(either, ("pyramid",)))["scopes"]["pyramid"]["AP"]
    values = {k: [effect["value"] for effect in levels[k].values()] for k in LEVELS}
    assert values["p2"] == values["p3"] == pytest.approx([0, 40, 20])
    assert values["p4"] == pytest.approx([0, 0, 0])


@given(aps=st.lists(st.floats(0, 100), min_size=32, max_size=32))
def test_shapley_values_are_the_mean_over_orders_and_add_up(aps):
    analysis = key_levels(grid(aps.__getitem__, ("rpn",)))
    levels = analysis["scopes"]["rpn"]["AP"]
    found = [levels[level]["shapley"]["value"] for level in LEVELS]
    expected = np.zeros(5)
    for order in permutations(range(5)):
        lost = 0
        for level in order:
            expected[level] += aps[lost] - aps[lost | 1 << level]
            lost |= 1 << level
    assert found == pytest.approx(expected / 120, abs=1e-5)
    assert sum(found) == pytest.approx(aps[0] - aps[31], abs=1e-5)


def cells(text):
    """Of each row of the tables in a text."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]


def test_a_level_is_key_only_where_the_interval_says_so():
    sure = grid(additive, ("rpn",), replicates=400)
    unsure = [dict(one) for one in sure]
    wild = np.random.default_rng(1)
    for one in unsure:  # replicates that go their own way each
        values = wild.normal(0, 100, 400).tolist()
        one["bootstrap"] = {**one["bootstrap"], "bbox": dict.fromkeys(SIZES, values)}
    assert key_levels(sure)["key"]["rpn"]["AP"] == ["p2", "p3"]
    assert key_levels(unsure)["key"]["rpn"]["AP"] == []


def test_without_replicates_in_all_there_are_no_intervals():
    results = grid(additive, ("rpn",), replicates=400)
    del results[7]["bootstrap"]
    analysis = key_levels(results)
    assert analysis["replicates"] == 0
    effect = analysis["scopes"]["rpn"]["AP"]["p2"]["alone"]
    assert effect == {"value": 30, "low": None, "high": None}
    assert "interval" not in format_key_levels(analysis)


def test_a_size_that_no_object_has_is_unknown():
    results = [result(lost, "rpn", [additive(lost)] * 3 + [None], 10) for lost in range(32)]
    analysis = key_levels(results)
    unknown = {"value": None, "low": None, "high": None}
    assert analysis["scopes"]["rpn"]["APl"]["p2"]["shapley"] == unknown
    assert analysis["key"]["rpn"]["APl"] == []
    assert ["APl", "P5", "-"] in [row[:3] for row in cells(format_key_levels(analysis))]


def test_one_scope_may_lend_the_other_its_clean_result():
    results = [one for one in grid(additive) if one["setting"] != Setting().to_json()]
    assert len(results) == 63
    assert list(key_levels(results)["scopes"]) == ["rpn", "pyramid"]


def test_other_settings_beside_them_change_nothing():
    results = grid(additive)
    other = [result(0, "pyramid", [1.0] * 4, model="m") for _ in range(3)]
    other[0]["setting"]["cr"]["p2"] = 8
    other[1]["setting"]["bits"] = {"p3": 4}
    other[2]["dataset"] = None
    assert key_levels(results + other) == key_levels(results)


def test_of_one_evaluation_twice_that_with_more_replicates_counts():
    results = grid(additive, ("rpn",))
    assert key_levels(results + grid(additive, ("rpn",), replicates=9))["replicates"] == 9


def test_a_missing_combination_is_named_with_the_command_that_makes_it():
    results = grid(additive)
    del results[32 + 6]
    with pytest.raises(
        InputError,
        match="scope pyramid lacks 1 of 32.*--cr 1 max max 1 1.*"
        "--grid 1 max --scope pyramid --bootstrap 1000",
    ):
        key_levels(results)
    with pytest.raises(InputError, match="--grid 1 max --scope rpn pyramid --bootstrap 1000"):
        key_levels(results[:1])


def test_results_of_two_models_are_refused():
    both = grid(additive) + [result(3, "rpn", [1.0] * 4, model="other")]
    with pytest.raises(InputError, match="2 models or datasets.*m.pth.*other.pth"):
        key_levels(both)


def test_the_table_has_a_row_a_level_and_the_pairs():
    text = format_key_levels(key_levels(grid(additive, replicates=400)))
    assert "400 resamples" in text
    rows = cells(text)
    assert ["APs", "P2", "30.0 (30.0 to 30.0)"] in [row[:3] for row in rows]
    keys = [cell for row in rows for cell in row if cell == "key"]
    assert len(keys) == 2 + 2 * 4 * 2  # two heads; P2 and P3 in each size and scope
    assert ["APm", "P4+P5"] in [row[:2] for row in rows] and "P2+P3, P2+P6" in text
