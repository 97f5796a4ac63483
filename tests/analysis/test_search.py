import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.analysis.search import Point, best, find_points, front, row
from detectron2_patch.errors import InputError
from detectron2_patch.settings.cost import cost_of
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.settings.setting import Setting

FULL = {"p2": 1024, "p3": 256, "p4": 64, "p5": 16, "p6": 4}


def result(ap, total=None, scope="pyramid", weights="w", replicates=None, **words):
    setting = Setting.of(parse_setting(**words), scope).to_json()
    sent = {level: n if setting["cr"][level] is not None else 0 for level, n in FULL.items()}
    payload = {"wire": scope == "pyramid", "unit": "elements", "sent": sent, "full": FULL}
    if total is not None:
        payload.update(total_bytes=total, side_bytes={"basis": 10}, bits_per_pixel=1.0)
    made = {
        "args": {},
        "setting": setting,
        "payload": payload,
        "engine": "torchvision",
        "results": {"bbox": {"AP": ap, "APs": ap, "APm": ap, "APl": None}},
        "dataset": {"name": "d", "digest": "0"},
        "config": {"digest": "c"},
        "weights": {"path": "w.pth", "sha256": weights},
        "versions": {},
        "seconds": 1.0,
    }
    if replicates is not None:
        values = {size: replicates for size in ("AP", "APs", "APm", "APl")}
        made["bootstrap"] = {"replicates": len(replicates), "seed": 0, "bbox": values}
    return made


CLEAN = result(50.0, replicates=[50.0, 52.0, 48.0])


def point(cost, metric):
    return Point(result(metric), cost, metric, 50 - metric, 50 - metric, 1.0, Setting())


def test_points_are_of_scope_pyramid_with_what_they_lose():
    coded = result(49.0, 100, bits=["4"], replicates=[49.5, 50.5, 47.5])
    clean, points = find_points(
        [
            result(50.0, scope="rpn"),
            CLEAN,
            coded,
            result(10.0, scope="rpn", cr=[8] * 5),
            result(20.0, send=["p3", "p5"]),
        ]
    )
    assert clean is CLEAN
    assert [one.cost for one in points] == [100, 4 * (256 + 16), 4 * sum(FULL.values())]
    cheapest = points[0]
    assert cheapest.drop == 2.0 and cheapest.points == 1.0
    assert cheapest.smaller == 4 * (1024 + 256 + 64 + 16) / 100
    assert cheapest.words == "--cr 1 1 1 1 1 --bits 4 --range level"
    told = row(cheapest, clean, "AP", True)
    assert told["drop_percent"] == 2.0 and told["drop_low"] < 2.0 < told["drop_high"]
    assert told["bytes"] == 100 and told["elements"] == sum(FULL.values())
    assert row(points[1], clean, "AP", False)["drop_low"] is None


def test_old_results_are_float32():
    old = result(50.0)
    assert cost_of(old, "bytes") == 4 * cost_of(old, "elements") == 4 * sum(FULL.values())


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([10.0, 20.0, 30.0, 40.0]))))
def test_no_point_beats_one_of_the_front(pairs):
    points = [point(*pair) for pair in pairs]
    chosen = front(points)
    for one in points:
        beaten = any(
            other.cost <= one.cost
            and other.metric >= one.metric
            and (other.cost, other.metric) != (one.cost, one.metric)
            for other in points
        )
        assert beaten != any((one.cost, one.metric) == (c.cost, c.metric) for c in chosen)
    assert [c.cost for c in chosen] == sorted({c.cost for c in chosen})


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 50))), st.floats(0, 50))
def test_the_best_is_the_cheapest_that_is_allowed(pairs, allowed):
    points = [point(*pair) for pair in pairs]
    found = best(points, max_drop=allowed)
    costs = [one.cost for one in points if one.drop <= allowed]
    assert (found is None) == (not costs)
    if found is not None:
        assert found.cost == min(costs) and found.drop <= allowed
    assert best(points, max_points=allowed) == found  # here a point is a percent


@pytest.mark.parametrize(
    "results, named",
    [
        ([], "no result of scope pyramid"),
        ([result(50.0, scope="rpn")], "no result of scope pyramid"),
        ([result(40.0, cr=[2] * 5)], "clean"),
        ([CLEAN, result(40.0, weights="v")], "2 models"),
    ],
)
def test_results_that_cannot_be_compared_are_refused(results, named):
    with pytest.raises(InputError, match=named):
        find_points(results)


def test_a_metric_without_objects_is_refused():
    with pytest.raises(InputError, match="APl"):
        find_points([CLEAN], metric="APl")
    assert list(FULL) == list(LEVELS)
