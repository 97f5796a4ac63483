import math

from hypothesis import given
from hypothesis import strategies as st
from made_results import FULL, made, made_grid

from detectron2_patch.report.records import make_groups, pareto_front


def test_results_that_cannot_be_compared_are_apart():
    results = [
        made(1, 1, 1, 1, 1),
        made(2, 1, 1, 1, 1),
        made(1, 1, 1, 1, 1, dataset="coco"),
        made(1, 1, 1, 1, 1, weights="b" * 64),
        made(1, 1, 1, 1, 1, engine="detectron2"),
    ]
    groups = make_groups(results)
    assert [group.name for group in groups] == [
        "cells, demo aaaaaaaa, detectron2",
        "cells, demo aaaaaaaa, torchvision",
        "cells, demo bbbbbbbb, torchvision",
        "coco, demo aaaaaaaa, torchvision",
    ]
    assert [len(group.records) for group in groups] == [1, 2, 1, 1]


def test_the_first_of_two_results_counts_and_a_difference_is_told():
    other = made(2, 1, 1, 1, 1)
    other["results"]["bbox"]["AP"] += 0.25
    (group,) = make_groups([made(2, 1, 1, 1, 1), other, made(1, 1, 1, 1, 1), made(1, 1, 1, 1, 1)])
    assert [record.metrics["AP"] for record in group.records] == [65, 70]
    assert group.notes == [
        "1 settings have two results that differ in AP, by 0.25 points at most "
        "(2 1 1 1 1, scope pyramid); the first one read is shown"
    ]


def test_bytes_are_counted_or_four_an_element_and_none_in_scope_rpn():
    coded = made(1, 1, 1, 1, 1, bits=dict.fromkeys(FULL, 4))
    coded["payload"].update(total_bytes=5440, bits_per_pixel=1.5)
    untold = made(1, 1, 1, 1, 1, bits=dict.fromkeys(FULL, 3))
    (group,) = make_groups([made(2, 1, 1, 1, 1), made(2, 1, 1, 1, 1, scope="rpn"), coded, untold])
    assert [r.bytes for r in group.records] == [
        4 * (10240 + 10240 + 2560 + 640 + 160),
        None,
        5440,
        None,
    ]
    assert group.records[2].smaller == 4 * 54400 / 5440 == 40
    assert [r.plain for r in group.records] == [True, True, False, False]


def test_the_clean_pyramid_of_either_scope_is_found():
    (group,) = make_groups([made(1, 1, 1, 1, 1, scope="rpn"), made(1, 1, 1, 1, "max")])
    assert group.find("pyramid", (1, 1, 1, 1, 1)).scope == "rpn"
    assert group.find("pyramid", (1, 1, 1, 1, math.inf)).scope == "pyramid"
    assert group.find("rpn", (1, 1, 1, 1, math.inf)) is None
    assert group.drop(group.records[1]) == 3


def test_the_origins_files_have_no_dataset():
    result = {**made(1, 1, 1, 1, 1), **dict.fromkeys(("payload", "dataset", "weights"))}
    (group,) = make_groups([result])
    assert (group.dataset, group.weights, group.records[0].bytes) == (
        "unknown dataset",
        "unknown",
        None,
    )


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1))
def test_nothing_beats_the_front(pairs):
    results = []
    for i, (count, ap) in enumerate(pairs):
        results.append(made(1, 1, 1, 1, 1, rank={"p2": i}))
        results[-1]["payload"]["total_bytes"] = count
        results[-1]["results"]["bbox"]["AP"] = ap
    (group,) = make_groups(results)
    front = [(record.bytes, record.metrics["AP"]) for record in pareto_front(group)]
    assert front == sorted(set(front)) and len({ap for _, ap in front}) == len(front)
    for count, ap in pairs:
        assert any(its <= count and score >= ap for its, score in front)


def test_a_grid_is_one_group():
    (group,) = make_groups(made_grid(1, 2))
    assert len(group.records) == 64 and group.scopes == ["rpn", "pyramid"]
